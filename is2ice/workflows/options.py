"""What decides the result of a track."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from numbers import Real
from typing import Any

from is2ice import schema
from is2ice.classifiers.registry import fingerprint
from is2ice.science.area import box_of
from is2ice.science.epoch import span
from is2ice.science.seasurface import METHODS
from is2ice.science.segments import TIDES
from is2ice.version import __version__

__all__ = ["Options"]


@dataclass(frozen=True)
class Options:
    """What decides the result of a track, and nothing else.

    Attributes
    ----------
    length : float
        Segment length, m.
    confidence : int
        Lowest sea-ice confidence of a signal photon.
    quality : tuple of int
        Photon quality codes accepted.
    bbox : (west, south, east, north), optional
        Degrees; west > east crosses the antimeridian.
    time : (start, end), optional
        UTC as ISO 8601, or delta_time in seconds.
    x_atc : (first, last), optional
        Along-track distance, m.
    corrections : tuple of str
        Of tide_ocean, tide_equilibrium and dac.
    reference : {"auto", "mss", "geoid"}
    first_photon : {"auto", "cal19", "model"} or None
    classifier : str
        ``"radiometric"``, or the folder of a trained model; its path is made absolute, so that workers and a run
        that is resumed from elsewhere find it.
    classifier_checksum : str
        Of the trained model, read from it; a model that has changed makes another result.
    method : str
        Of the sea surface (:mod:`is2ice.science.seasurface`).
    until : {"segments", "classes", "freeboard"}
        The last step done.
    seasurface, freeboard : mapping
        Further parameters of :func:`is2ice.science.seasurface.estimate` and :func:`is2ice.science.freeboard.compute`.
    """

    length: float = schema.SEGMENT_LENGTH
    confidence: int = 3
    quality: tuple[int, ...] = (0,)
    bbox: tuple[float, float, float, float] | None = None
    time: tuple[Any, Any] | None = None
    x_atc: tuple[float, float] | None = None
    corrections: tuple[str, ...] = TIDES
    reference: str = "auto"
    first_photon: str | None = "auto"
    classifier: str = "radiometric"
    classifier_checksum: str = ""
    method: str = "crossfit"
    until: str = "freeboard"
    seasurface: Mapping[str, Any] = field(default_factory=dict)
    freeboard: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, kind in (("length", float), ("confidence", int)):
            object.__setattr__(self, name, kind(getattr(self, name)))
        for name, size in (("bbox", 4), ("time", 2), ("x_atc", 2)):
            value = getattr(self, name)
            if value is None:
                continue
            if len(value) != size:
                raise ValueError(f"{name}={value!r}: expected {size} values")
            plain = tuple(_plain(v) if isinstance(v, Real) else str(v) for v in value)
            object.__setattr__(self, name, plain)
        if self.bbox is not None:
            box_of(self.bbox)
        if self.reference not in ("auto", "mss", "geoid"):
            raise ValueError(f"reference={self.reference!r}: expected 'auto', 'mss' or 'geoid'")
        if self.time is not None:
            span(self.time)
        for name in ("seasurface", "freeboard"):
            object.__setattr__(self, name, {k: _plain(v) for k, v in getattr(self, name).items()})
        object.__setattr__(self, "classifier", os.fspath(self.classifier))
        self._name_model()
        if self.method not in METHODS:
            raise ValueError(f"method={self.method!r}: expected one of {', '.join(METHODS)}")
        if self.until not in ("segments", "classes", "freeboard"):
            raise ValueError(f"until={self.until!r}: expected 'segments', 'classes' or 'freeboard'")
        object.__setattr__(self, "quality", tuple(int(q) for q in self.quality))
        object.__setattr__(self, "corrections", tuple(self.corrections))

    def _name_model(self) -> None:
        """Read the model's checksum, or check that the model is still the one that is meant."""
        if self.classifier == "radiometric" or (
            self.classifier_checksum and not os.path.isdir(self.classifier)
        ):
            return  # a stored track's options may name a model that is elsewhere
        have = fingerprint(self.classifier)
        if have:
            object.__setattr__(self, "classifier", os.path.abspath(self.classifier))
        if self.classifier_checksum not in ("", have):
            raise ValueError(
                f"classifier {self.classifier}: its checksum is {have}, expected {self.classifier_checksum}; the model "
                "in this folder has been replaced"
            )
        object.__setattr__(self, "classifier_checksum", have)

    def parameters(self) -> dict[str, Any]:
        """As JSON can hold them."""
        plain = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}
        if not self.classifier_checksum:  # nothing that was trained
            del plain["classifier_checksum"]
        if self.until == "freeboard":  # all of it
            del plain["until"]
        return plain

    def told(self) -> dict[str, Any]:
        """As a store tells them: a trained model by its folder's name and its checksum, wherever it lies here."""
        plain = self.parameters()
        return plain | {"classifier": os.path.basename(plain["classifier"])}

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, Any]) -> Options:
        """Options from :meth:`parameters`, such as a stored track's ``processing_parameters``.

        Raises
        ------
        ValueError
            For a name that is not an option.
        """
        unknown = set(parameters) - {f.name for f in fields(cls)}
        if unknown:
            raise ValueError(f"unknown options {sorted(unknown)}; this is is2ice {__version__}")
        plain: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in parameters.items()}
        return cls(**plain)


def _plain(value: Any) -> Any:
    """A NumPy scalar or array as Python's own, which JSON can hold."""
    return value.tolist() if hasattr(value, "tolist") else value

"""Options that decide the result of a track: plain values, checked when they are made."""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cache
from numbers import Integral, Real
from typing import Any

from is2ice import schema
from is2ice.classifiers.registry import SHIPPED, fingerprint
from is2ice.io.catalogs.areas import area
from is2ice.io.remote.location import is_url
from is2ice.science import freeboard, seasurface
from is2ice.science.area import Area
from is2ice.science.epoch import span
from is2ice.science.seasurface import METHODS
from is2ice.science.segments import TIDES
from is2ice.version import __version__

__all__ = ["Options", "as_options", "pin_classifier"]

#: Values accepted for options that are words.
_WORDS: Mapping[str, tuple[str | None, ...]] = {
    "reference": ("auto", "mss", "geoid"),
    "first_photon": ("auto", "cal19", "model", None),
    "method": tuple(METHODS),
    "until": ("segments", "classes", "freeboard"),
}


@dataclass(frozen=True)
class Options:
    """Options that decide the result of a track, and nothing else.

    Values are checked when the object is made; no file is read.

    Attributes
    ----------
    length : float
        Segment length, m.
    confidence : int
        Lowest sea-ice confidence of a signal photon, 0 to 4.
    quality : tuple of int
        Photon quality codes accepted.
    bbox : (west, south, east, north), optional
        Degrees; west > east crosses the antimeridian.
    time : (start, end), optional
        UTC as ISO 8601, or delta_time in seconds; an end given as a day includes that day.
    x_atc : (first, last), optional
        Along-track distance, m.
    corrections : tuple of str
        Any of tide_ocean, tide_equilibrium and dac.
    reference : {"auto", "mss", "geoid"}
    first_photon : {"auto", "cal19", "model"} or None
    classifier : str
        ``"default"`` (trained, in the package), ``"default:temper"`` or ``"default:keep"`` (the same, also for tracks
        outside of what it was trained on, which the tree classifies otherwise), ``"radiometric"``, ``"paper_lstm"`` or
        ``"paper_mlp"`` (for comparison with the paper only), or the folder or address of a trained model.
    classifier_checksum : str
        Checksum of the trained model, set by :func:`pin_classifier` when a run begins: a model that has changed makes
        another result.
    method : str
        Method of the sea surface (:mod:`is2ice.science.seasurface`).
    until : {"segments", "classes", "freeboard"}
        The last step done.
    seasurface, freeboard : mapping
        Further parameters of :func:`is2ice.science.seasurface.estimate` and :func:`is2ice.science.freeboard.compute`.

    Raises
    ------
    ValueError
        A value that no track can be made with; the message names the option.
    """

    length: float = schema.SEGMENT_LENGTH
    confidence: int = 3
    quality: tuple[int, ...] = (0,)
    bbox: Area | None = None
    time: tuple[Any, Any] | None = None
    x_atc: tuple[float, float] | None = None
    corrections: tuple[str, ...] = TIDES
    reference: str = "auto"
    first_photon: str | None = "auto"
    classifier: str = "default"
    classifier_checksum: str = ""
    method: str = "evidence"
    until: str = "freeboard"
    seasurface: Mapping[str, Any] = field(default_factory=dict)
    freeboard: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, expected in _WORDS.items():
            if (value := getattr(self, name)) not in expected:
                raise ValueError(f"{name}={value!r}: expected one of {', '.join(map(repr, expected))}")
        checked = {
            "length": _number("length", self.length),
            "confidence": _code("confidence", self.confidence, 4),
            "quality": tuple(_code("quality", q) for q in _several("quality", self.quality)),
            "bbox": None if self.bbox is None else _bbox(self.bbox),
            "time": None if self.time is None else _period(self.time),
            "x_atc": None if self.x_atc is None else _stretch(self.x_atc),
            "corrections": _corrections(self.corrections),
            "classifier": os.fspath(self.classifier),
            "seasurface": _parameters("seasurface", self.seasurface, _seasurface_parameters()),
            "freeboard": _parameters("freeboard", self.freeboard, _names(freeboard.compute)),
        }
        for name, value in checked.items():
            object.__setattr__(self, name, value)

    def parameters(self) -> dict[str, Any]:
        """Return the options in the form that JSON can hold."""
        plain = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}
        if not self.classifier_checksum:  # nothing that was trained
            del plain["classifier_checksum"]
        if self.until == "freeboard":  # the whole chain
            del plain["until"]
        return plain

    def stored_parameters(self) -> dict[str, Any]:
        """Return the options as a store records them: a trained model by folder name and checksum, not by path."""
        plain = self.parameters()
        return plain | {"classifier": os.path.basename(plain["classifier"])}

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, Any]) -> Options:
        """Make options from :meth:`parameters`, such as the ``processing_parameters`` of a stored track.

        Raises
        ------
        ValueError
            A name that is no option.
        """
        known = [f.name for f in fields(cls)]
        unknown = sorted(set(parameters) - set(known))
        if unknown:
            raise ValueError(
                f"unknown options {unknown}; this is is2ice {__version__}, expected {', '.join(known)}"
            )
        plain: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in parameters.items()}
        return cls(**plain)


def as_options(given: Options | Mapping[str, Any] | None) -> Options:
    """Return options from a record, from a mapping of their names, or the defaults.

    Raises
    ------
    TypeError
        Something else, or a name that is no option.
    """
    if given is None:
        return Options()
    if isinstance(given, Mapping):
        known = [f.name for f in fields(Options)]
        if unknown := [str(name) for name in given if name not in known]:
            raise TypeError(f"options: no {', '.join(unknown)}; expected some of {', '.join(known)}")
        return Options(**given)
    if not isinstance(given, Options):
        raise TypeError(
            f"options: expected is2ice.Options or a mapping of its names, got {type(given).__name__}"
        )
    return given


def pin_classifier(options: Options) -> Options:
    """Read the checksum of a trained model into the options, or check that the model is still the same.

    The path of the model is made absolute, so that a run that is resumed from elsewhere finds it.

    Raises
    ------
    ValueError, ModelError
        As :func:`is2ice.classifiers.registry.usable`; or the model in the folder has been replaced.
    """
    if options.classifier in SHIPPED or options.until == "segments":
        return options
    have = fingerprint(options.classifier)
    if options.classifier_checksum not in ("", have):
        raise ValueError(
            f"classifier {options.classifier}: its checksum is {have}, expected {options.classifier_checksum}; the "
            "model in this folder has been replaced"
        )
    where = options.classifier if is_url(options.classifier) else os.path.abspath(options.classifier)
    return replace(options, classifier=where, classifier_checksum=have)


# -- checks -------------------------------------------------------------------------------------------
def _number(name: str, value: Any) -> float:
    """Return a positive finite number."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not (math.isfinite(number) and number > 0):
        raise ValueError(f"{name}={value!r}: expected a positive number of metres")
    return number


def _code(name: str, value: Any, most: int = 127) -> int:
    """Return a whole number from 0 to `most`."""
    if not isinstance(value, Integral) or isinstance(value, bool) or not 0 <= int(value) <= most:
        raise ValueError(f"{name}={value!r}: expected a whole number from 0 to {most}")
    return int(value)


def _several(name: str, value: Any) -> tuple[Any, ...]:
    """Return the entries of a list; text is none."""
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise ValueError(f"{name}={value!r}: expected a tuple or list, such as ({value!r},)")
    return tuple(value)


def _pair(name: str, value: Any, size: int) -> tuple[Any, ...]:
    """Return the plain values of a box or an interval."""
    entries = _several(name, value)
    if len(entries) != size:
        raise ValueError(f"{name}={value!r}: expected {size} values, got {len(entries)}")
    return tuple(_plain(v) if isinstance(v, Real) else str(v) for v in entries)


def _bbox(value: Any) -> tuple[Any, ...] | str:
    """Return the plain values of a box, or polygons as text, once they are checked."""
    checked = area(value)
    return (
        checked
        if isinstance(checked, str)
        else _pair("bbox", checked if isinstance(value, str) else value, 4)
    )


def _period(value: Any) -> tuple[Any, ...]:
    """Return the plain values of a span of time, once it is checked."""
    period = _pair("time", value, 2)
    span(period)
    return period


def _stretch(value: Any) -> tuple[Any, ...]:
    stretch = _pair("x_atc", value, 2)
    if not all(isinstance(v, Real) and math.isfinite(v) for v in stretch) or not stretch[0] < stretch[1]:
        raise ValueError(f"x_atc={value!r}: expected (first, last) in metres with first < last")
    return stretch


def _corrections(value: Any) -> tuple[str, ...]:
    names = tuple(map(str, _several("corrections", value)))
    if unknown := [name for name in names if name not in TIDES]:
        raise ValueError(f"corrections: unknown {', '.join(unknown)}; expected any of {', '.join(TIDES)}")
    return names


def _parameters(name: str, value: Any, known: tuple[str, ...]) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{name}={value!r}: expected a mapping of parameters")
    if unknown := sorted(set(map(str, value)) - set(known)):
        raise ValueError(f"{name}: unknown {', '.join(unknown)}; expected any of {', '.join(known)}")
    return {k: _plain(v) for k, v in value.items()}


def _names(function: Callable[..., Any]) -> tuple[str, ...]:
    """Names of the keyword-only parameters of a function."""
    given = inspect.signature(function).parameters.values()
    return tuple(p.name for p in given if p.kind is p.KEYWORD_ONLY)


@cache
def _seasurface_parameters() -> tuple[str, ...]:
    """Names of the parameters of the sea surface that an option may set."""
    return tuple(dict.fromkeys([*_names(seasurface.estimate), *seasurface.OPTIONS]))


def _plain(value: Any) -> Any:
    """Return a NumPy scalar or array as Python's own type, which JSON can hold."""
    return value.tolist() if hasattr(value, "tolist") else value

"""The interface of all classifiers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from is2ice import schema
from is2ice.errors import ModelError
from is2ice.science.melt_season import in_season

from .melt import NOTE, ponds

#: Adds the probability of open water to that of thick ice.
_WATER_IS_ICE = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])

__all__ = [
    "Classifier",
    "add_classes",
    "agree",
]


@runtime_checkable
class Classifier(Protocol):
    """A model that labels segments without looking at any label."""

    @property
    def name(self) -> str:
        """Name recorded with the classes."""
        ...

    def predict(self, segments: xr.Dataset) -> xr.Dataset:
        """Segments with ``surface_class`` and ``class_probability`` added."""
        ...


def agree(card: Mapping[str, Any], where: str, release: str, length: float, model: str = "") -> None:
    """See that segments are such as a model was trained on.

    Parameters
    ----------
    card : mapping
        Card of the model; an empty one accepts anything.
    where : str
        For errors.
    release : str
        Release of ATL03; "unknown" passes.
    length : float
        Length of the segments, m.
    model : str
        Its folder, for errors; the architecture's name by default.

    Raises
    ------
    ModelError
        Another release of ATL03, or another length of segment.
    """
    if not card:
        return
    want, model = str(card.get("release", "unknown")), model or str(card["architecture"])
    if "unknown" not in (release, want) and release != want:
        raise ModelError(
            f"{where}: ATL03 release {release}, the model {model} was trained on {want}. Releases "
            "differ in what photons count as signal: classify data of that release, or train on this one"
        )
    if length != float(card["segment_length"]):
        raise ModelError(
            f"{where}: segments of {length:g} m, the model {model} was trained on {card['segment_length']:g} m"
        )


def add_classes(
    segments: xr.Dataset,
    probability: NDArray[np.floating],
    known: NDArray[np.bool_],
    model: str,
    **about: str,
) -> xr.Dataset:
    """Put class probabilities, and the likeliest class where it is known, on segments.

    Parameters
    ----------
    segments : xarray.Dataset
        Dims ``(beam, x_atc)`` or ``(x_atc,)``.
    probability : (..., 3)
        NaN where unknown.
    known : (...)
        False: unlabelled.
    model : str
        Recorded in the attributes, in the place of what another classifier left there.
    **about
        More to record, under ``classifier_`` and its name.
    """
    dims = segments["n_photons"].dims
    # argmax takes NaN for the largest; what is unknown is overwritten anyway.
    best = np.argmax(np.nan_to_num(probability, nan=-1.0), axis=-1)
    surface_class = np.where(known, best, schema.UNLABELLED).astype("i1")
    maybe = ponds(segments, surface_class)
    if maybe.any():  # what is not water after all is ice, with the probability of both
        surface_class = np.where(maybe, schema.THICK_ICE, surface_class).astype("i1")
        probability = np.where(maybe[..., None], probability @ _WATER_IS_ICE, probability)
    if in_season(segments):
        about["melt_season"] = NOTE
    out = segments.assign_coords(surface=list(schema.CLASSES)).assign(
        surface_class=(dims, surface_class),
        class_probability=((*dims, "surface"), np.where(known[..., None], probability, np.nan).astype("f4")),
    )
    if "segment_quality" in out:
        pond = int(schema.Quality.MELT_POND_POSSIBLE)
        quality = (out["segment_quality"].values & ~np.uint16(pond)) | (pond * maybe).astype("u2")
        out["segment_quality"] = (dims, quality)
    out = schema.annotate(out)
    kept = {k: v for k, v in out.attrs.items() if not k.startswith("classifier")}
    out.attrs = kept | {"classifier": model} | {f"classifier_{k}": v for k, v in about.items()}
    return out

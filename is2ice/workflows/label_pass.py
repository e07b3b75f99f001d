"""Label the segments of a pass from coincident Sentinel-2 scenes."""

from __future__ import annotations

import io
import json
import logging
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

import numpy as np
import xarray as xr

from is2ice.errors import Is2IceError, StoreError
from is2ice.io.documents import parse_json
from is2ice.science.labels import drift as drifts
from is2ice.science.labels import evidence, transfer
from is2ice.science.labels.drift import Drift

from .segment_blocks import part_arrays

if TYPE_CHECKING:
    import geopandas
    import pandas as pd

    from is2ice.science.labels.corrections import Corrections

__all__ = [
    "LabelKeywords",
    "LabelOptions",
    "Labelled",
    "LabellingError",
    "SceneLabels",
    "label_pass",
    "look_at",
    "merge",
    "overlaps",
    "reach",
    "segments_below",
]

log = logging.getLogger("is2ice")

#: Track kept beyond the outline of the images, m: ice from there may have drifted in.
_BEYOND = 2000.0


class LabellingError(Is2IceError, ValueError):
    """A pass and its scenes give no labels: no overlap, or no displacement to rely on."""


@dataclass(frozen=True)
class Labelled:
    """A labelled pass.

    Attributes
    ----------
    segments : xarray.Dataset
        Cube with ``label`` and ``label_flags``.
    drifts : dict of str to Drift
        Displacements by scene, refused ones included.
    classes, reflectance : dict of str to xarray.Dataset
        Class maps and images of the scenes used, lazy.
    """

    segments: xr.Dataset
    drifts: dict[str, Drift]
    classes: dict[str, xr.Dataset] = field(repr=False)
    reflectance: dict[str, xr.Dataset] = field(repr=False)

    def table(self) -> pd.DataFrame:
        """Tabulate the displacement of each scene: score, error, chance, verdict, and use of the scene."""
        import pandas as pd

        rows = [
            {
                "scene": name,
                "dx": d.dx,
                "dy": d.dy,
                "metres": d.distance,
                "score": d.score,
                "uncertainty": d.uncertainty,
                "chance": d.chance,
                "accepted": d.accepted,
                "used": self._used(name),
                "reason": d.reason,
            }
            for name, d in self.drifts.items()
        ]
        return pd.DataFrame(rows)

    def _used(self, name: str) -> str:
        """Describe the use of a scene: with its displacement, as if nothing had moved, or not at all."""
        if name not in self.classes:
            return "no"
        return "yes" if self.drifts[name].accepted else "as unmoved: 0, 0"


class LabelKeywords(TypedDict, total=False):
    """Keywords of a labelling; see :class:`LabelOptions`."""

    within: float
    refused: str
    search: float
    transition: float
    conflict: str
    corrections: Corrections | None
    classes: Mapping[str, Any] | None
    class_file: str | os.PathLike[str] | None
    evidence: bool


@dataclass(frozen=True)
class LabelOptions:
    """Options of a labelling.

    Attributes
    ----------
    within : float
        Largest time between pass and image, minutes.
    refused : {"skip", "still", "raise"}
        Treatment of a scene whose displacement is refused: it gives no labels, it is used as if the ice had not moved,
        or the call fails.
    search : float
        Largest displacement along each axis, m.
    transition, conflict, corrections
        As for :func:`is2ice.science.labels.transfer.transfer`; the default transition leaves no label in leads narrower
        than about 40 m.
    classes : mapping, optional
        Further options of :func:`is2ice.class_map`.
    class_file : path, optional
        GeoTIFF with classes of the one scene given, instead of those made from its bands
        (:func:`is2ice.sentinel2.class_map_files.read_classes`).
    evidence : bool
        Keep reflectance and, of a network, class probabilities of the image beside the labels
        (:mod:`is2ice.science.labels.evidence`).

    Raises
    ------
    ValueError
        A value out of range.
    """

    within: float = 80.0
    refused: str = "skip"
    search: float = 1000.0
    transition: float = 1.5
    conflict: str = "closest"
    corrections: Corrections | None = field(default=None, repr=False)
    classes: Mapping[str, Any] | None = field(default=None, repr=False)
    class_file: str | os.PathLike[str] | None = None
    evidence: bool = True

    def __post_init__(self) -> None:
        if self.refused not in ("skip", "still", "raise"):
            raise ValueError(f"refused: expected 'skip', 'still' or 'raise', got {self.refused!r}")
        if not self.within > 0:
            raise ValueError(f"within: expected minutes above 0 between pass and image, got {self.within!r}")


def label_pass(
    source: Any,
    scenes: Any,
    *,
    beams: str | Iterable[str] | None = None,
    drift: str | Drift | Mapping[str, str | Drift] | Callable[[str], str | Drift] = "estimate",
    options: LabelOptions | None = None,
    **keywords: Unpack[LabelKeywords],
) -> Labelled:
    """Label the segments of a pass from coincident scenes.

    Parameters
    ----------
    source : granule
        As for :func:`is2ice.open_track`.
    scenes : STAC item or items, GeoDataFrame of scenes, or name of a catalogue
        As for :func:`is2ice.workflows.pairing.pairs`.
    beams : optional
        Strong beams by default.
    drift : {"estimate", "none"}, Drift, or mapping or function of scene to one of these
        Displacement of the ice from pass to image. A scene that the mapping does not name is estimated; the mapping may
        name no scenes other than those given or found.
    options : LabelOptions, optional
    **keywords
        ``within``, ``refused``, ``search``, ``transition``, ``conflict``, ``corrections``, ``classes``,
        ``class_file`` and ``evidence`` of :class:`LabelOptions`; they take precedence over `options`.

    Returns
    -------
    Labelled
        Of estimated displacements, ``attrs["label_shift_uncertainty"]`` (m) and ``attrs["label_shift_chance"]`` of the
        segments state the error and the share of unrelated pairs that score as much, in the order of the scenes.

    Raises
    ------
    LabellingError
        No scene overlaps the pass in time and place, or all are refused.
    ValueError
        An unknown option; a displacement of a scene that is not there; no scenes.
    """
    options = replace(options or LabelOptions(), **keywords)
    found = overlaps(source, scenes, beams, drift, options.within)
    segments = segments_below(source, beams, reach(found))
    items = found.drop_duplicates("scene")["item"]
    looked = [look_at(segments, item, drift, options, timed=len(items) > 1) for item in items]
    shifts = {one.scene: one.drift for one in looked}
    used = {one.scene: one for one in looked if one.answer is not None}
    ds = merge(source, segments, looked, options)
    return Labelled(
        ds, shifts, {k: v.classes for k, v in used.items()}, {k: v.reflectance for k, v in used.items()}
    )


@dataclass(frozen=True)
class SceneLabels:
    """Labels of a pass by one of its scenes.

    Attributes
    ----------
    scene : str
    drift : Drift
    answer : Answer, optional
        None for a scene that is not used, since its displacement is refused.
    classes, reflectance : xarray.Dataset
        Class map and image, lazy.
    evidence : dict of str to array
        Values of the image at the segments (:func:`is2ice.science.labels.evidence.interpolate`).
    """

    scene: str
    drift: Drift
    answer: transfer.Answer | None
    classes: Any = field(default=None, repr=False)
    reflectance: Any = field(default=None, repr=False)
    evidence: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def to_bytes(self) -> bytes:
        """Write labels and displacement, without images."""
        stream, about = io.BytesIO(), {"scene": self.scene, "drift": self.drift.to_dict()}
        arrays: dict[str, Any] = {}
        if self.answer is not None:
            arrays = {"label": self.answer.label, "flags": self.answer.flags, **self.evidence}
            about["answer"] = {k: getattr(self.answer, k) for k in ("time", "shift", "name", "method")}
        np.savez_compressed(stream, about=np.frombuffer(json.dumps(about).encode(), np.uint8), **arrays)
        return stream.getvalue()

    @classmethod
    def from_bytes(cls, raw: bytes) -> SceneLabels | None:
        """Read what :meth:`to_bytes` has written; None where it is damaged."""
        held = part_arrays(raw, "labels of a scene")
        if held is None:
            return None
        about = parse_json(
            held["about"].tobytes(), "labels of a scene", error=StoreError, nan=True, kind=dict
        )
        answer, seen = None, {k: a for k, a in held.items() if k.startswith("image_")}
        if "answer" in about:
            told = about["answer"] | {"shift": tuple(about["answer"]["shift"])}
            answer = transfer.Answer(held["label"], held["flags"], **told)
        return cls(about["scene"], Drift.from_dict(about["drift"]), answer, evidence=seen)


def reach(found: geopandas.GeoDataFrame) -> tuple[float, float]:
    """Return the part of the track that its scenes see, with a margin, m along the track."""
    return float(found["x_atc_first"].min()) - _BEYOND, float(found["x_atc_last"].max()) + _BEYOND


def segments_below(source: Any, beams: Any, x_atc: tuple[float, float]) -> xr.Dataset:
    """Read the segments of a part of a pass, with radiometric classes."""
    from is2ice.classifiers import radiometric

    from .opening import open_track

    return radiometric.classify(open_track(source, beams, x_atc=x_atc).load())


def look_at(
    segments: xr.Dataset, item: Any, drift: Any, options: LabelOptions, *, timed: bool
) -> SceneLabels:
    """Estimate the displacement of one scene and look the segments up in its classes.

    Parameters
    ----------
    segments : xarray.Dataset
        All beams of the pass, which share the displacement.
    item : mapping
        STAC item of the scene.
    drift
        As for :func:`label_pass`.
    options : LabelOptions
    timed : bool
        True if the pass has several scenes, which are compared by time.
    """
    from is2ice.sentinel2.scene import open_scene

    if timed and options.class_file is not None:
        raise ValueError(
            "class_file: one map of classes, but several scenes; give the scene it was made from"
        )
    image = open_scene(item)
    code = _classes(image, options)
    name = str(image.attrs["scene"])
    shift = _displacement(segments, image, code, _given(drift, name), options.search)
    log.info("%s: %s", name, shift.reason)
    if not shift.accepted and options.refused == "raise":
        shift.shift_in(shift.crs)
    if not (shift.accepted or options.refused == "still"):
        return SceneLabels(name, shift, None, code, image)
    moved = shift.shift_in(str(segments.attrs["crs"])) if shift.accepted else (0.0, 0.0)
    answer = transfer.look_up(segments, code, shift=moved, transition=options.transition, timed=timed)
    seen: dict[str, Any] = {}
    if options.evidence:
        share = {"class_probability": code["class_probability"]} if "class_probability" in code else {}
        seen = evidence.interpolate(segments, image.assign(share), moved)
    return SceneLabels(name, shift, answer, code, image, seen)


def _classes(image: xr.Dataset, options: LabelOptions) -> xr.Dataset:
    """Classes of a scene: from a file, or made from its bands."""
    from is2ice.sentinel2.class_map_files import read_classes
    from is2ice.sentinel2.scene import class_map

    if options.class_file is None:
        return class_map(image, **(options.classes or {}))
    found = read_classes(options.class_file)
    return found.assign_attrs(scene=image.attrs["scene"], time=image.attrs["time"])


def merge(
    source: Any, segments: xr.Dataset, looked: Iterable[SceneLabels], options: LabelOptions
) -> xr.Dataset:
    """Label a pass from its scenes, in the order of the pairs.

    Raises
    ------
    LabellingError
        No scene can be used.
    """
    looked = list(looked)
    used = [one for one in looked if one.answer is not None]
    answers = [one.answer for one in used if one.answer is not None]
    if not answers:
        why = "; ".join(f"{one.scene}: {one.drift.reason}" for one in looked)
        raise LabellingError(
            f"{source}: the displacement of every scene was refused ({why}). Give one by hand (Drift.by_hand; on "
            "the command line --shift DX DY), or take the ice for unmoved (refused='still'; --refused still)"
        )
    ds = transfer.merge(
        segments,
        answers,
        transition=options.transition,
        conflict=options.conflict,
        corrections=options.corrections,
    )
    if all(one.drift.accepted and np.isfinite(one.drift.chance) for one in used):
        ds.attrs["label_shift_uncertainty"] = [float(one.drift.uncertainty) for one in used]
        ds.attrs["label_shift_chance"] = [float(one.drift.chance) for one in used]
    return evidence.add(ds, [one.evidence for one in used])


def overlaps(source: Any, scenes: Any, beams: Any, drift: Any, within: float) -> geopandas.GeoDataFrame:
    """Pair the pass with its scenes; refuse displacements of scenes that are not among them."""
    from .pairing import pairs

    for given in drift.values() if isinstance(drift, Mapping) else () if callable(drift) else (drift,):
        _check_drift(given)
    if isinstance(scenes, list | tuple) and not scenes:
        raise ValueError(f"{source}: no scenes given; name STAC items, or a catalogue such as 'earth_search'")
    scenes = os.fspath(scenes) if isinstance(scenes, os.PathLike) else scenes
    found = pairs(source, scenes, within, beams=beams)
    rejected = found.attrs.get("rejected", {})
    known = {*found["scene"].astype(str), *map(str, rejected)}
    if isinstance(drift, Mapping) and (unknown := sorted(set(map(str, drift)) - known)):
        raise ValueError(
            f"drift: no scene {', '.join(unknown)} here; the scenes are {', '.join(sorted(known)) or 'none'}"
        )
    if found.empty:
        why = "; ".join(f"{k}: {v}" for k, v in rejected.items())
        raise LabellingError(f"{source}: no scene within {within:g} minutes over the track. {why}".strip())
    return found


def _given(drift: Any, name: str) -> Any:
    """Return the displacement given for one scene."""
    if isinstance(drift, Mapping):
        return drift.get(name, "estimate")
    if not callable(drift):
        return drift
    given = drift(name)
    _check_drift(given)
    return given


def _check_drift(given: Any) -> None:
    if not (isinstance(given, Drift) or (isinstance(given, str) and given in ("estimate", "none"))):
        raise ValueError(f"drift: expected 'estimate', 'none' or a Drift, got {given!r}")


def _displacement(
    segments: xr.Dataset, image: xr.Dataset, code: xr.Dataset, given: Any, search: float
) -> Drift:
    if isinstance(given, Drift):
        return given
    if given == "none":
        return Drift(0.0, 0.0, str(segments.attrs["crs"]), reason="taken for unmoved")
    if not _same_grid(code, image):  # a map of classes on a grid of its own
        return drifts.estimate(segments, image, search=search)
    return drifts.estimate(segments, image.assign(mask=(("y", "x"), code["mask"].data)), search=search)


def _same_grid(a: xr.Dataset, b: xr.Dataset) -> bool:
    """Tell if two rasters of one crs have the same pixels."""
    return all(
        a.sizes[d] == b.sizes[d] and bool(abs(a[d].values - b[d].values).max() < 1e-3) for d in ("y", "x")
    )

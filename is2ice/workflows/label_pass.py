"""Label the segments of a pass from coincident Sentinel-2 scenes."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

import xarray as xr

from is2ice.errors import Is2IceError
from is2ice.science.labels import drift as drifts
from is2ice.science.labels import evidence, transfer
from is2ice.science.labels.drift import Drift

if TYPE_CHECKING:
    import geopandas
    import pandas as pd

    from is2ice.science.labels.corrections import Corrections

__all__ = ["LabelKeywords", "LabelOptions", "Labelled", "LabellingError", "label_pass"]

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
        """Tabulate the displacement of each scene: score, error, verdict, and use of the scene."""
        import pandas as pd

        rows = [
            {
                "scene": name,
                "dx": d.dx,
                "dy": d.dy,
                "metres": d.distance,
                "score": d.score,
                "uncertainty": d.uncertainty,
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

    Raises
    ------
    LabellingError
        No scene overlaps the pass in time and place, or all are refused.
    ValueError
        An unknown option; a displacement of a scene that is not there; no scenes.
    """
    from is2ice.classifiers import radiometric

    from .opening import open_track

    options = replace(options or LabelOptions(), **keywords)
    found = _overlaps(source, scenes, beams, drift, options.within)
    reach = (float(found["x_atc_first"].min()) - _BEYOND, float(found["x_atc_last"].max()) + _BEYOND)
    segments = radiometric.classify(open_track(source, beams, x_atc=reach).load())
    shifts, maps, light = _displaced(segments, found, drift, options)
    if not maps:
        why = "; ".join(f"{k}: {d.reason}" for k, d in shifts.items())
        raise LabellingError(
            f"{source}: the displacement of every scene was refused ({why}). Give one by hand (Drift.by_hand; on "
            "the command line --shift DX DY), or take the ice for unmoved (refused='still'; --refused still)"
        )
    crs = str(segments.attrs["crs"])
    moved = [d.shift_in(crs) if (d := shifts[name]).accepted else (0.0, 0.0) for name in maps]
    ds = transfer.transfer(
        segments,
        list(maps.values()),
        shift=moved,
        transition=options.transition,
        conflict=options.conflict,
        corrections=options.corrections,
    )
    if options.evidence:
        seen = [
            image.assign(class_probability=maps[name]["class_probability"])
            if "class_probability" in maps[name]
            else image
            for name, image in light.items()
        ]
        ds = evidence.along_track(ds, seen, moved)
    return Labelled(ds, shifts, maps, light)


def _overlaps(source: Any, scenes: Any, beams: Any, drift: Any, within: float) -> geopandas.GeoDataFrame:
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


def _displaced(
    segments: xr.Dataset, found: geopandas.GeoDataFrame, drift: Any, options: LabelOptions
) -> tuple[dict[str, Drift], dict[str, xr.Dataset], dict[str, xr.Dataset]]:
    """Return displacements of all scenes, and class maps and images of those to use."""
    from is2ice.sentinel2.scene import open_scene

    shifts: dict[str, Drift] = {}
    maps, light = {}, {}
    scenes = set(found["scene"])
    if options.class_file is not None and len(scenes) != 1:
        raise ValueError(
            f"class_file: one map of classes, but {len(scenes)} scenes; give the scene it was made from"
        )
    for _, pair in found.drop_duplicates("scene").iterrows():
        name = str(pair["scene"])
        image = open_scene(pair["item"])
        code = _classes(image, options)
        shifts[name] = _displacement(segments, image, code, _given(drift, name), options.search)
        log.info("%s: %s", name, shifts[name].reason)
        if not shifts[name].accepted and options.refused == "raise":
            shifts[name].shift_in(shifts[name].crs)
        if shifts[name].accepted or options.refused == "still":
            maps[name], light[name] = code, image
    return shifts, maps, light


def _classes(image: xr.Dataset, options: LabelOptions) -> xr.Dataset:
    """Classes of a scene: from a file, or made from its bands."""
    from is2ice.sentinel2.class_map_files import read_classes
    from is2ice.sentinel2.scene import class_map

    if options.class_file is None:
        return class_map(image, **(options.classes or {}))
    found = read_classes(options.class_file)
    return found.assign_attrs(scene=image.attrs["scene"], time=image.attrs["time"])


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

"""A pass and its images: from a granule and scenes to labelled segments, joining the rooms."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import xarray as xr

from is2ice.errors import Is2IceError
from is2ice.science.labels import drift as drifts
from is2ice.science.labels import transfer
from is2ice.science.labels.drift import Drift

if TYPE_CHECKING:
    import pandas as pd

    from is2ice.science.labels.corrections import Corrections

__all__ = ["Labelled", "LabellingError", "label_pass"]

log = logging.getLogger("is2ice")

#: Track kept beyond the outline of the images, m: the ice there may have drifted in.
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
        By scene, refused ones included.
    classes, reflectance : dict of str to xarray.Dataset
        Of the scenes used, lazy.
    """

    segments: xr.Dataset
    drifts: dict[str, Drift]
    classes: dict[str, xr.Dataset] = field(repr=False)
    reflectance: dict[str, xr.Dataset] = field(repr=False)

    def table(self) -> pd.DataFrame:
        """Displacement of each scene: one row, with score, error, verdict, and how the scene was used."""
        import pandas as pd

        rows = [
            {
                "scene": name, "dx": d.dx, "dy": d.dy, "metres": d.distance, "score": d.score,
                "uncertainty": d.uncertainty, "accepted": d.accepted, "used": self._used(name),
                "reason": d.reason,
            }
            for name, d in self.drifts.items()
        ]  # fmt: skip
        return pd.DataFrame(rows)

    def _used(self, name: str) -> str:
        """What became of a scene: used with its displacement, as if nothing had moved, or not at all."""
        if name not in self.classes:
            return "no"
        return "yes" if self.drifts[name].accepted else "as unmoved: 0, 0"


def label_pass(
    source: Any,
    scenes: Any,
    *,
    beams: str | Iterable[str] | None = None,
    within: float = 80.0,
    drift: str | Drift | Mapping[str, str | Drift] | Callable[[str], str | Drift] = "estimate",
    refused: str = "skip",
    search: float = 1000.0,
    transition: float = 1.5,
    conflict: str = "closest",
    corrections: Corrections | None = None,
    classes: Mapping[str, Any] | None = None,
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
    within : float
        Most minutes between pass and image.
    drift : {"estimate", "none"}, Drift, or mapping or function of scene to one of these
        A scene that the mapping does not name is estimated; it may name no others than those given or found.
    refused : {"skip", "still", "raise"}
        What becomes of a scene whose displacement is refused: it gives no labels, it is used as if the ice
        had not moved, or the call fails.
    search : float
        Largest displacement along each axis, m.
    transition, conflict, corrections
        As for :func:`is2ice.science.labels.transfer.transfer`; the usual transition leaves no label in leads
        narrower than some
        40 m.
    classes : mapping, optional
        Further options of :func:`is2ice.sentinel2.scene.class_map`.

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
    from is2ice.sentinel2.scene import class_map, open_scene

    from .opening import open_track
    from .pairing import pairs

    if refused not in ("skip", "still", "raise"):
        raise ValueError(f"refused: expected 'skip', 'still' or 'raise', got {refused!r}")
    if not within > 0:
        raise ValueError(f"within: expected minutes above 0 between pass and image, got {within!r}")
    for given in drift.values() if isinstance(drift, Mapping) else () if callable(drift) else (drift,):
        _check_drift(given)
    if isinstance(scenes, list | tuple) and not scenes:
        raise ValueError(f"{source}: no scenes given; name STAC items, or a catalogue such as 'earth_search'")
    found = pairs(
        source, os.fspath(scenes) if isinstance(scenes, os.PathLike) else scenes, within, beams=beams
    )
    rejected = found.attrs.get("rejected", {})
    known = {*found["scene"].astype(str), *map(str, rejected)}
    if isinstance(drift, Mapping) and (unknown := sorted(set(map(str, drift)) - known)):
        raise ValueError(
            f"drift: no scene {', '.join(unknown)} here; the scenes are {', '.join(sorted(known)) or 'none'}"
        )
    if found.empty:
        why = "; ".join(f"{k}: {v}" for k, v in rejected.items())
        raise LabellingError(f"{source}: no scene within {within:g} minutes over the track. {why}".strip())
    reach = (float(found["x_atc_first"].min()) - _BEYOND, float(found["x_atc_last"].max()) + _BEYOND)
    segments = radiometric.classify(open_track(source, beams, x_atc=reach).load())
    shifts: dict[str, Drift] = {}
    maps, light = {}, {}
    for _, pair in found.drop_duplicates("scene").iterrows():
        name = str(pair["scene"])
        image = open_scene(pair["item"])
        code = class_map(image, **(classes or {}))
        shifts[name] = _displacement(segments, image, code, _given(drift, name), search)
        log.info("%s: %s", name, shifts[name].reason)
        if not shifts[name].accepted and refused == "raise":
            shifts[name].shift_in(shifts[name].crs)
        if shifts[name].accepted or refused == "still":
            maps[name], light[name] = code, image
    if not maps:
        why = "; ".join(f"{k}: {d.reason}" for k, d in shifts.items())
        raise LabellingError(
            f"{source}: the displacement of every scene was refused ({why}). Give one by hand (Drift.by_hand; on "
            "the command line --shift DX DY), or take the ice for unmoved (refused='still'; --refused still)"
        )
    crs = str(segments.attrs["crs"])
    moved = [d.shift_in(crs) if (d := shifts[name]).accepted else (0.0, 0.0) for name in maps]
    ds = transfer.transfer(
        segments, list(maps.values()), shift=moved, transition=transition, conflict=conflict, corrections=corrections
    )  # fmt: skip
    return Labelled(ds, shifts, maps, light)


def _given(drift: Any, name: str) -> Any:
    """What was said of the displacement of one scene."""
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
    return drifts.estimate(segments, image.assign(mask=code["mask"]), search=search)

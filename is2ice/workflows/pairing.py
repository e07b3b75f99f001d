"""Pairs of ICESat-2 passes and Sentinel-2 scenes: overlap in space, and difference in time.

The time of a pass is that of its photons over the scene. A granule's own time is that of its start, up to
seven minutes earlier.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from is2ice.errors import require
from is2ice.io.catalogs.sentinel2 import item_of, scene_frame, search_scenes
from is2ice.io.catalogs.stac_endpoints import Endpoint
from is2ice.io.icesat2.ground_tracks import ground_tracks
from is2ice.science.footprints import GroundTrack, cut_antimeridian, local_plane

if TYPE_CHECKING:
    import geopandas
    import pandas as pd
    from shapely.geometry.base import BaseGeometry

__all__ = ["COLUMNS", "pairs", "summary"]

logger = logging.getLogger("is2ice")

#: Columns of a frame of pairs, besides ``geometry``.
COLUMNS = (
    "granule",
    "beam",
    "strength",
    "scene",
    "is2_time",
    "s2_time",
    "minutes",
    "overlap_km",
    "x_atc_first",
    "x_atc_last",
    "tile",
    "platform",
    "level",
    "baseline",
    "cloud_cover",
    "item",
)

#: Photons further apart than this are not joined, m.
_GAP = 200.0


def pairs(
    tracks: Any,
    items: Any = "earth_search",
    within: float = 80.0,
    *,
    beams: str | Iterable[str] | None = None,
    least_km: float = 0.0,
    **search: Any,
) -> geopandas.GeoDataFrame:
    """Find passes and scenes that see the same place within some minutes of each other.

    Parameters
    ----------
    tracks : granule, segment cube or track, GroundTrack, or a list of these
        As for :func:`is2ice.io.icesat2.ground_tracks.ground_tracks`.
    items : GeoDataFrame, STAC items, or an endpoint
        Scenes of :func:`is2ice.io.catalogs.sentinel2.search_scenes`, items of any form, or the name or address of a
        catalogue, which is then searched.
    within : float
        Largest difference in time, minutes.
    beams : optional
        Beams of a granule; the strong ones by default.
    least_km : float
        Shortest overlap kept, km.
    **search
        Further options of :func:`is2ice.io.catalogs.sentinel2.search_scenes`, such as ``cloud=30``.

    Returns
    -------
    geopandas.GeoDataFrame
        One row for each beam over each scene, nearest in time first: :data:`COLUMNS` and ``geometry``, the
        ground track over the scene. ``is2_time`` is the mean time of the photons there, ``minutes`` the
        scene's time less that. ``attrs["rejected"]`` gives the reason for every other scene.

    Raises
    ------
    CatalogError
        The catalogue does not answer.
    """
    require("geopandas")
    import geopandas
    import pandas as pd

    found = ground_tracks(tracks, beams)
    if isinstance(items, str | Endpoint) and not str(items).endswith(".json"):
        scenes = search_scenes(found, endpoint=items, within=within, **search)
    else:
        scenes = items if _is_frame(items) else scene_frame(_listed(items))
    rows, shapes, rejected = [], [], {}
    for _, scene in scenes.iterrows():
        if found and scene.geometry is not None:
            kept, why = _with_scene(found, scene, within, least_km)
            rows += [row for row, _ in kept]
            shapes += [shape for _, shape in kept]
            if not kept:
                rejected[scene["scene"]] = why
    for name, why in rejected.items():
        logger.info("%s: no pair: %s", name, why)
    frame = geopandas.GeoDataFrame(
        pd.DataFrame(rows, columns=list(COLUMNS)), geometry=shapes, crs="EPSG:4326"
    )
    for name in ("is2_time", "s2_time"):
        frame[name] = pd.to_datetime(frame[name])
    for name in ("minutes", "overlap_km", "x_atc_first", "x_atc_last", "cloud_cover"):
        frame[name] = frame[name].astype(float)
    order = frame["minutes"].abs().groupby([frame["granule"], frame["scene"]]).transform("min")
    frame = frame.assign(_near=order).sort_values(["_near", "scene", "granule", "beam"], ignore_index=True)
    frame = frame.drop(columns="_near")
    frame.attrs["rejected"] = rejected
    return frame


def _is_frame(items: Any) -> bool:
    import geopandas

    return isinstance(items, geopandas.GeoDataFrame)


def _listed(items: Any) -> list[Any]:
    single = (
        isinstance(items, str) or hasattr(items, "assets") or (hasattr(items, "get") and "assets" in items)
    )
    return [item_of(one) for one in ([items] if single else items)]


def _with_scene(
    tracks: list[GroundTrack], scene: Any, within: float, least_km: float
) -> tuple[list[tuple[dict[str, Any], BaseGeometry]], str]:
    """Return rows and shapes of the tracks over a scene, and the reason if there are none."""
    from shapely import Point, contains_xy, prepare

    to_plane, footprint = local_plane(scene.geometry)
    prepare(footprint)
    time = np.datetime64(scene["time"], "ns")
    kept, nearest, apart = [], np.inf, np.inf
    for track in tracks:
        x, y = to_plane.transform(track.longitude, track.latitude)
        inside = contains_xy(footprint, x, y)
        if not inside.any():
            here = np.isfinite(x) & np.isfinite(y)
            k = np.flatnonzero(here)[np.argmin(np.hypot(x[here], y[here]))] if here.any() else None
            nearest = min(nearest, np.inf if k is None else footprint.distance(Point(x[k], y[k])) / 1e3)
            continue
        nearest = 0.0
        seen = track.time[inside]
        middle = seen.min() + (seen - seen.min()).astype(np.int64).mean().astype("timedelta64[ns]")
        minutes = float((time - middle) / np.timedelta64(1, "s")) / 60.0
        length = _length(track.x_atc, inside)
        apart = min(apart, abs(minutes))
        if abs(minutes) > within or length < least_km:
            continue
        kept.append((_row(track, scene, inside, middle, minutes, length), _piece(track, inside)))
    if nearest > 0.0:
        return kept, f"no photon over it; the nearest track passes {nearest:.1f} km away"
    if apart > within:
        return kept, f"{apart:.1f} minutes apart, more than {within:g}"
    return kept, f"overlap shorter than {least_km:g} km"


def _row(
    track: GroundTrack,
    scene: Any,
    inside: NDArray[np.bool_],
    middle: np.datetime64,
    minutes: float,
    length: float,
) -> dict[str, Any]:
    x_atc = track.x_atc[inside]
    return {
        "granule": track.granule,
        "beam": track.beam,
        "strength": track.strength,
        "is2_time": middle,
        "s2_time": scene["time"],
        "minutes": minutes,
        "overlap_km": length,
        "x_atc_first": float(x_atc[0]),
        "x_atc_last": float(x_atc[-1]),
        **{
            name: scene[name]
            for name in ("scene", "tile", "platform", "level", "baseline", "cloud_cover", "item")
        },
    }


def _length(x_atc: NDArray[np.float64], inside: NDArray[np.bool_]) -> float:
    """Measure the track with photons over the scene, km; gaps are not counted."""
    if inside.sum() < 2:
        return 0.0
    step = np.diff(x_atc)
    joined = inside[1:] & inside[:-1] & (step <= _GAP)
    # A geosegment stands for its own length: n of them cover n spacings, not n - 1.
    whole = step[joined].sum() + (np.median(step[joined]) if joined.any() else 0.0)
    return float(whole / 1e3)


def _piece(track: GroundTrack, inside: NDArray[np.bool_]) -> BaseGeometry:
    from shapely import LineString

    k = np.flatnonzero(inside)
    few = k[np.unique(np.linspace(0, k.size - 1, 30).astype(int))]
    few = few.repeat(2) if few.size == 1 else few
    longitude = np.unwrap(track.longitude[few], period=360.0)
    return cut_antimeridian(LineString(np.column_stack([longitude, track.latitude[few]])))


def summary(found: geopandas.GeoDataFrame) -> pd.DataFrame:
    """Tabulate pairs as the paper does: one row for each pass and scene.

    Parameters
    ----------
    found : geopandas.GeoDataFrame
        From :func:`pairs`.

    Returns
    -------
    pandas.DataFrame
        Times of both to the second, minutes between them (as absolute value), overlap of each beam in km.
    """
    import pandas as pd

    columns = ["IS2 time", "S2 time", "minutes", "tile", "cloud", "granule", "scene"]
    if found.empty:
        return pd.DataFrame(columns=columns)
    keys = [found["granule"], found["scene"]]
    groups = found.groupby(keys, sort=False)
    table = pd.DataFrame(
        {
            "IS2 time": groups["is2_time"].mean().dt.round("s"),
            "S2 time": groups["s2_time"].first().dt.round("s"),
            "minutes": groups["minutes"].mean().abs().round(2),
            "tile": groups["tile"].first(),
            "cloud": groups["cloud_cover"].first(),
        }
    )
    overlap = found.pivot_table("overlap_km", ["granule", "scene"], "beam", sort=True).round(1)
    table = table.join(overlap.add_suffix(" km"))
    table = table.sort_values("minutes").reset_index()
    lengths = [str(c) for c in table.columns if str(c).endswith(" km")]
    return table[columns[:5] + lengths + columns[5:]]

"""STAC items: footprints cut at the antimeridian, and items of ICESat-2 granules."""

from __future__ import annotations

import re
from datetime import UTC, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np
from numpy.typing import ArrayLike

from is2ice.science.epoch import EPOCH_DATETIME
from is2ice.science.footprints import cut_antimeridian

if TYPE_CHECKING:
    import pystac
    from shapely.geometry.base import BaseGeometry

__all__ = ["bounding_box", "granule_item", "line_footprint"]

_EPOCH = EPOCH_DATETIME.replace(tzinfo=UTC)
_NAME = re.compile(r"(?:processed_)?(ATL\d\d)(?:-0[12])?_\d{14}_\d{8}_(\d{3})_\d\d.*")
#: Where each product keeps its positions, under a beam's group: latitude, longitude, time.
_POSITIONS = (
    ("geolocation/reference_photon_lat", "geolocation/reference_photon_lon", "geolocation/delta_time"),
    ("sea_ice_segments/latitude", "sea_ice_segments/longitude", "sea_ice_segments/delta_time"),
    ("freeboard_segment/latitude", "freeboard_segment/longitude", "freeboard_segment/delta_time"),
    ("heights/lat_ph", "heights/lon_ph", "heights/delta_time"),
)
#: Points kept of one ground track.
_POINTS = 60


def bounding_box(geometry: BaseGeometry) -> list[float]:
    """West, south, east, north of a cut geometry; west > east where it crosses the antimeridian."""
    west, south, east, north = geometry.bounds
    if west == -180.0 and east == 180.0 and hasattr(geometry, "geoms"):
        west = min(g.bounds[0] for g in geometry.geoms if g.bounds[0] >= 0.0)
        east = max(g.bounds[2] for g in geometry.geoms if g.bounds[2] <= 0.0)
    return [round(v, 6) for v in (west, south, east, north)]


def line_footprint(tracks: list[tuple[ArrayLike, ArrayLike]]) -> BaseGeometry:
    """Footprint of ground tracks, cut at the antimeridian.

    Parameters
    ----------
    tracks : list of (longitude, latitude)
        Degrees, shape (n,) each; a turn of longitude between neighbours means the antimeridian.
    """
    from shapely import LineString, MultiLineString

    lines = []
    for lon, lat in tracks:
        unwrapped = np.unwrap(np.asarray(lon, float), period=360.0)
        lines.append(LineString(np.column_stack([unwrapped, np.asarray(lat, float)])))
    whole = lines[0] if len(lines) == 1 else MultiLineString(lines)
    return cut_antimeridian(whole)


def granule_item(path: Path, href: str) -> pystac.Item | None:
    """STAC item of an ATL03, ATL07 or ATL10 granule from the positions inside it.

    Parameters
    ----------
    path : Path
    href : str
        Address to give for the file.

    Returns
    -------
    pystac.Item or None
        None if the name or the content is not that of such a granule.
    """
    import pystac
    from shapely.geometry import mapping

    named = _NAME.fullmatch(path.stem)
    if named is None:
        return None
    tracks, times = [], []
    try:
        with h5py.File(path) as f:
            for beam in (f"gt{k}{side}" for k in "123" for side in "lr"):
                found = next((p for p in _POSITIONS if beam in f and all(n in f[beam] for n in p)), None)
                if found is None:
                    continue
                lat, lon, time = (f[beam][name][:] for name in found)
                good = np.flatnonzero((np.abs(lat) <= 90.0) & (np.abs(lon) <= 360.0))
                if good.size < 2:
                    continue
                few = good[np.unique(np.linspace(0, good.size - 1, _POINTS).astype(int))]
                tracks.append((lon[few], lat[few]))
                times += [float(time[good[0]]), float(time[good[-1]])]
    except OSError:
        return None
    if not tracks:
        return None
    footprint = line_footprint(tracks)
    start, end = (_EPOCH + timedelta(seconds=t) for t in (min(times), max(times)))
    item = pystac.Item(
        id=path.stem,
        geometry=mapping(footprint),
        bbox=bounding_box(footprint),
        datetime=start,
        start_datetime=start,
        end_datetime=end,
        properties={"platform": "icesat-2", "instruments": ["atlas"], "mission": "icesat-2"},
        collection=f"{named[1]}_{named[2]}",
    )
    item.add_asset("data", pystac.Asset(href, media_type="application/x-hdf5", roles=["data"]))
    return item

"""Ground track of an ICESat-2 pass from the catalogue's orbit fields: crossing and latitudes.

CMR describes a granule by the longitude at which its orbit crosses the equator going north, and by the
latitudes and directions between which it lies; its own footprints of polar granules are rough, and its
searches over-return. A circular orbit gives the nadir track to a few kilometres.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from is2ice.science.area import crs_of

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

__all__ = ["ground_track", "meets"]

#: Degrees. ICESat-2 repeats its 1387 tracks every 91 days.
INCLINATION = 92.0
TURN = 360.0 * 91.0 / 1387.0
#: Outer beams lie 3.3 km beside nadir; the rest is the circular orbit's error, and off-pointing.
HALF_WIDTH = 15_000.0
_E2 = 0.00669437999014


def ground_track(
    crossing: float, start: tuple[float, str], end: tuple[float, str], points: int = 200
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Nadir track of a pass.

    Parameters
    ----------
    crossing : float
        Longitude of the ascending equator crossing of the orbit, degrees.
    start, end : (latitude, "A" or "D")
        Geodetic latitude, degrees, and whether the satellite goes north (A) or south there.
    points : int

    Returns
    -------
    longitude, latitude : ndarray, shape (points,)
        Degrees; longitudes run on without a jump.
    """
    first, last = _along(*start), _along(*end)
    if last <= first:
        last += 360.0
    u = np.radians(np.linspace(first, last, points))
    tilt = np.radians(INCLINATION)
    geocentric = np.arcsin(np.sin(tilt) * np.sin(u))
    latitude = np.degrees(np.arctan(np.tan(geocentric) / (1.0 - _E2)))
    turned = np.unwrap(np.arctan2(np.cos(tilt) * np.sin(u), np.cos(u)))
    return crossing + np.degrees(turned) - TURN * np.degrees(u) / 360.0, latitude


def _along(latitude: float, direction: str) -> float:
    """Angle along the orbit from its ascending node, degrees in 0..360."""
    geocentric = np.arctan((1.0 - _E2) * np.tan(np.radians(latitude)))
    u = float(np.degrees(np.arcsin(np.clip(np.sin(geocentric) / np.sin(np.radians(INCLINATION)), -1.0, 1.0))))
    return (180.0 - u if direction.upper().startswith("D") else u) % 360.0


def meets(
    longitude: NDArray[np.float64],
    latitude: NDArray[np.float64],
    shape: BaseGeometry,
    half_width: float = HALF_WIDTH,
) -> bool:
    """Return True if a pass comes within a distance of an area.

    Parameters
    ----------
    longitude, latitude : ndarray
        Positions of the track, degrees.
    shape : shapely geometry
        Degrees, cut at the antimeridian.
    half_width : float
        Metres.
    """
    from pyproj import Transformer
    from shapely import LineString, MultiPoint, box, make_valid, segmentize, transform

    for south in (True, False):
        half = box(-180.0, -90.0, 180.0, 0.0) if south else box(-180.0, 0.0, 180.0, 90.0)
        part, here = shape.intersection(half), (latitude < 0) == south
        if part.is_empty or not here.any():
            continue
        to_plane = Transformer.from_crs("EPSG:4326", crs_of(south), always_xy=True)
        flat = make_valid(
            transform(
                segmentize(part, 0.5), lambda p, t=to_plane: np.column_stack(t.transform(p[:, 0], p[:, 1]))
            )
        )
        xy = np.column_stack(to_plane.transform(longitude[here], latitude[here]))
        line = LineString(xy) if len(xy) > 1 else MultiPoint(xy)
        if line.distance(flat) <= half_width:
            return True
    return False

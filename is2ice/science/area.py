"""Areas: the one check of boxes in degrees, and which positions lie in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .footprints import cut_antimeridian

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

__all__ = ["Box", "box_of", "box_shape", "crs_of", "in_box"]

Box = tuple[float, float, float, float]


def box_of(value: Any, name: str = "bbox") -> Box:
    """Check a box.

    Parameters
    ----------
    value : (west, south, east, north)
        Degrees; west > east crosses the antimeridian, and 180 to 190 is the same as 180 to -170.
    name : str
        The option, for messages.

    Raises
    ------
    ValueError
        Not four finite numbers, latitudes out of range or in the wrong order, or no width.
    """
    expected = "expected (west, south, east, north) in degrees, south < north; west > east crosses 180"
    try:
        west, south, east, north = (float(v) for v in value)
    except (TypeError, ValueError):
        raise ValueError(f"{name}={value!r}: {expected}") from None
    if not np.isfinite([west, south, east, north]).all():
        raise ValueError(f"{name}={value!r}: not finite; {expected}")
    if not (-90.0 <= south <= 90.0 and -90.0 <= north <= 90.0 and abs(west) <= 360.0 and abs(east) <= 360.0):
        raise ValueError(f"{name}={value!r}: out of range; {expected}")
    if south >= north or west == east:
        what = "south is not less than north" if south >= north else "west and east are equal"
        raise ValueError(f"{name}={value!r}: {what}; {expected}")
    return west, south, east, north


def crs_of(south: bool) -> str:
    """Return the polar stereographic system of NSIDC of the southern or the northern hemisphere."""
    return "EPSG:3976" if south else "EPSG:3413"


def in_box(longitude: NDArray, latitude: NDArray, box: Box) -> NDArray[np.bool_]:
    """Positions (degrees) that lie in a checked box, its edges included; NaN lie nowhere."""
    west, south, east, north = box
    width = (east - west) % 360.0 or 360.0
    return ((longitude - west) % 360.0 <= width) & (latitude >= south) & (latitude <= north)


def box_shape(box: Box) -> BaseGeometry:
    """A checked box as a geometry, cut at the antimeridian."""
    from shapely import box as rectangle

    west, south, east, north = box
    return cut_antimeridian(rectangle(west, south, east if east > west else east + 360.0, north))

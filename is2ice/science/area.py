"""Areas: boxes in degrees and polygons, the one check of them, and which positions lie in them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from is2ice.errors import require

from .footprints import cut_antimeridian

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

__all__ = ["Area", "Box", "area_of", "area_shape", "box_of", "box_shape", "crs_of", "in_area", "in_box"]

Box = tuple[float, float, float, float]
#: A checked area: a box, or polygons as well-known text (degrees, cut at the antimeridian).
Area = Box | str


def area_of(value: Any, name: str = "bbox") -> Area:
    """Check an area, and return it in a form that can be stored and sent.

    Parameters
    ----------
    value : box, polygons or well-known text
        A box as for :func:`box_of`; a shapely polygon, a GeoDataFrame or GeoSeries (of any projection), GeoJSON as a
        mapping, or any object with ``__geo_interface__``. Edges are straight in degrees; a ring may run past 180
        degrees or jump there.
    name : str
        Name of the option, for messages.

    Returns
    -------
    tuple or str
        The box, or well-known text.

    Raises
    ------
    ValueError
        Neither a box nor polygons, or polygons without an area.
    MissingExtraError
        Polygons need shapely.
    """
    kinds = hasattr(value, "__geo_interface__") or isinstance(value, Mapping | str)
    if not kinds:
        return box_of(value, name)
    require("shapely")
    import shapely

    shape = _polygons(value, name)
    if not shape.geom_type.endswith("Polygon") or shape.is_empty or shape.area == 0:
        raise ValueError(f"{name}: expected polygons with an area, got {shape.geom_type} {shape.wkt[:60]}")
    west, south, east, north = shape.bounds
    if not (south >= -90 and north <= 90 and abs(west) <= 360 and abs(east) <= 360):
        raise ValueError(
            f"{name}: polygons reach from {west:g}, {south:g} to {east:g}, {north:g}; expected degrees of longitude "
            "and latitude (a GeoDataFrame with a crs is projected)"
        )
    whole = cut_antimeridian(shapely.make_valid(_unrolled(shape))).normalize()
    if whole.area == 0:
        raise ValueError(f"{name}: the polygons have no area once cut at 180 degrees: {shape.wkt[:60]}")
    return str(shapely.to_wkt(whole, rounding_precision=7))


def _polygons(value: Any, name: str) -> BaseGeometry:
    """Return the geometry that a value of any kind stands for, in degrees."""
    import shapely
    from shapely.geometry import shape as from_geojson
    from shapely.geometry.base import BaseGeometry

    if isinstance(value, BaseGeometry):
        return value
    if isinstance(value, str):
        try:
            return shapely.from_wkt(value)
        except shapely.errors.GEOSException as error:
            raise ValueError(
                f"{name}={value[:60]!r}: expected well-known text of polygons: {error}"
            ) from None
    if hasattr(value, "to_crs"):
        frame = value.to_crs("EPSG:4326") if value.crs is not None else value
        return frame.geometry.union_all()
    try:
        document = value if isinstance(value, Mapping) else value.__geo_interface__
        features = [f.get("geometry", f) for f in document.get("features", [document])]
        return shapely.union_all([from_geojson(f) for f in features if f is not None])
    except (LookupError, TypeError, ValueError, AttributeError, shapely.errors.ShapelyError) as error:
        raise ValueError(
            f"{name}: expected polygons of GeoJSON, with type and coordinates ({type(error).__name__}: {error})"
        ) from None


def _unrolled(shape: BaseGeometry) -> BaseGeometry:
    """Let rings that jump from 180 to -180 degrees run on instead."""
    import shapely

    def ring(points: NDArray) -> NDArray:
        if (np.abs(np.diff(points[:, 0])) >= 360.0).any():  # an edge around the Earth is no jump
            return points
        return np.column_stack([np.unwrap(points[:, 0], period=360.0), points[:, 1]])

    parts = []
    for polygon in shapely.get_parts(shape):
        if polygon.geom_type != "Polygon":
            continue
        shell = ring(shapely.get_coordinates(polygon.exterior))
        holes = [ring(shapely.get_coordinates(hole)) for hole in polygon.interiors]
        parts.append(shapely.Polygon(shell, holes))
    return shapely.union_all(parts)


def in_area(longitude: NDArray, latitude: NDArray, area: Area) -> NDArray[np.bool_]:
    """Return which positions (degrees) lie in a checked area, its edges included; NaN lie nowhere."""
    if not isinstance(area, str):
        return in_box(longitude, latitude, area)
    import shapely

    shape = area_shape(area)
    shapely.prepare(shape)
    turned = (np.asarray(longitude) + 180.0) % 360.0 - 180.0
    known = np.isfinite(turned) & np.isfinite(latitude)
    out = np.zeros(turned.shape, bool)
    out[known] = shapely.intersects_xy(shape, turned[known], np.asarray(latitude)[known])
    return out


@lru_cache(maxsize=16)
def area_shape(area: Area) -> BaseGeometry:
    """Return a checked area as a geometry, cut at the antimeridian."""
    require("shapely")
    import shapely

    return shapely.from_wkt(area) if isinstance(area, str) else box_shape(area)


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
    """Return a checked box as a geometry, cut at the antimeridian."""
    from shapely import box as rectangle

    west, south, east, north = box
    return cut_antimeridian(rectangle(west, south, east if east > west else east + 360.0, north))

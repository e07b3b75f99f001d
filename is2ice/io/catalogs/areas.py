"""Areas that users name: a sea, a file of polygons, or any object that :mod:`is2ice.science.area` takes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from is2ice.errors import CatalogError, DocumentError, require
from is2ice.io.documents import read_json
from is2ice.science.area import Area, area_of, area_shape
from is2ice.science.footprints import cut_antimeridian

from .seas import SEAS, sea

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

__all__ = ["area", "search_shape"]


def area(value: Any, name: str = "bbox") -> Area:
    """Return the area that a value names, in a form that can be stored and sent.

    Parameters
    ----------
    value : str, path, box or polygons
        A named sea; a file of polygons (GeoJSON, or any that geopandas reads); well-known text; or what
        :func:`is2ice.science.area.area_of` takes.
    name : str
        Name of the option, for messages.

    Returns
    -------
    tuple or str
        A box in degrees, or polygons as well-known text.

    Raises
    ------
    ValueError
        Not an area.
    CatalogError
        Neither a sea nor a file.
    """
    if not isinstance(value, str | os.PathLike):
        return area_of(value, name)
    text = os.fspath(value)
    if "(" in text:  # well-known text
        return area_of(text, name)
    path = Path(text).expanduser()
    if path.is_file():
        return area_of(_read(path), name)
    try:
        return sea(text)
    except CatalogError:
        raise CatalogError(
            f"{name}={text!r}: neither a file of polygons nor a sea; known seas are {', '.join(SEAS)}"
        ) from None


def search_shape(value: Any, name: str) -> BaseGeometry:
    """Return the geometry to search by: an area, or points and lines, cut at the antimeridian.

    Raises
    ------
    ValueError
        Not an area, nor points or lines in degrees.
    """
    require("shapely")
    from shapely.geometry.base import BaseGeometry

    if not isinstance(value, BaseGeometry) or value.geom_type.endswith(("Polygon", "Collection")):
        return area_shape(area(value, name))
    west, south, east, north = value.bounds if not value.is_empty else (np.nan,) * 4
    if not (south >= -90 and north <= 90 and west >= -360 and east <= 360):
        raise ValueError(f"{name}: expected degrees of longitude and latitude, got {value.wkt[:60]}")
    return cut_antimeridian(value)


def _read(path: Path) -> Any:
    if path.suffix.lower() in (".json", ".geojson"):
        return read_json(path, error=DocumentError, kind=dict)
    require("geopandas")
    import geopandas

    try:
        return geopandas.read_parquet(path) if path.suffix == ".parquet" else geopandas.read_file(path)
    except (MemoryError, ImportError):
        raise
    except Exception as error:  # of GDAL, GEOS or Arrow
        said = " ".join(str(error).split())[:200]
        raise DocumentError(
            f"{path}: no file of polygons that can be read ({type(error).__name__}: {said}); expected GeoJSON, "
            "GeoPackage, a shapefile or GeoParquet"
        ) from error

"""Packages of the extras, each with its purpose and the extra that brings it: what is missing is said in one line."""

from __future__ import annotations

import sys
from importlib.util import find_spec

from is2ice.errors import MissingExtraError

__all__ = ["EXTRAS", "message", "require"]

#: Package -> purpose and extra.
EXTRAS = {
    "matplotlib": ("pictures", "plot"),
    "dask_ml": ("scaled features of many tracks", "ml"),
    "earthaccess": ("searches and downloads at NASA", "earthdata"),
    "geopandas": ("tables with geometry and GeoParquet files", "tables"),
    "shapely": ("footprints and areas", "tables"),
    "folium": ("maps of searches", "stac"),
    "pystac": ("STAC items", "stac"),
    "pystac_client": ("searches of STAC catalogues", "stac"),
    "odc.stac": ("images of Sentinel-2", "stac"),
    "rioxarray": ("class maps as files", "stac"),
    "rasterio": ("images of Sentinel-2", "stac"),
    "skimage": ("classes of images", "stac"),
    "stac_geoparquet": ("the index of a published store", "stac"),
    "tensorflow": ("trained models", "tensorflow"),
    "pyspark": ("the engine spark", "spark"),
    "dask_gateway": ("the engine gateway", "gateway"),
    "icechunk": ("Icechunk repositories", "virtual"),
}


def require(*packages: str) -> None:
    """Check that packages of an extra are installed, before they are imported.

    Parameters
    ----------
    *packages : str
        Of :data:`EXTRAS`.

    Raises
    ------
    MissingExtraError
        With the command that installs them.
    """
    for package in packages:
        if not _installed(package):
            raise MissingExtraError(message(package))


def message(package: str) -> str:
    """Return the line that says what needs a package and how to install it; empty for one of no extra."""
    top = package.partition(".")[0]
    known = next((name for name in EXTRAS if name in (package, top) or name.partition(".")[0] == top), None)
    if known is None:
        return ""
    purpose, extra = EXTRAS[known]
    return f"{purpose} {'needs' if purpose.startswith('the ') else 'need'} {known}: pip install 'is2ice[{extra}]'"


def _installed(package: str) -> bool:
    if sys.modules.get(package) is not None:
        return True
    try:
        return find_spec(package) is not None
    except (ModuleNotFoundError, ValueError):  # its parent is missing, or it is blocked
        return False

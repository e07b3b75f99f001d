"""Exceptions of the package, each saying what, where, expected, got and what to do next.

:func:`require` names the extra that brings an absent package.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec

__all__ = [
    "EXTRAS",
    "CatalogError",
    "DamagedTrackError",
    "DocumentError",
    "GranuleError",
    "Is2IceError",
    "MissingExtraError",
    "ModelError",
    "NoSignalError",
    "RemoteError",
    "SchemaError",
    "StoreError",
    "TransitionOrbitError",
    "extra_hint",
    "installed",
    "require",
]


class Is2IceError(Exception):
    """Base of every error raised on purpose by the package."""


class MissingExtraError(Is2IceError, ImportError):
    """A package of an extra is not installed."""


class GranuleError(Is2IceError, ValueError):
    """A file or granule is not what it should be: another product, truncated, a group missing."""


class RemoteError(GranuleError, ConnectionError):
    """A server could not be reached or failed; the same call may succeed later."""


class TransitionOrbitError(GranuleError):
    """The spacecraft was turning (``sc_orient`` 2): strong and weak beams cannot be distinguished."""


class NoSignalError(Is2IceError, ValueError):
    """A track holds photons, but none that the selection accepts."""


class SchemaError(Is2IceError, ValueError):
    """A dataset does not follow the vocabulary of :mod:`is2ice.schema`.

    Attributes
    ----------
    faults : list of str
        Every fault found, not only the first.
    """

    def __init__(self, message: str, faults: list[str] | None = None) -> None:
        super().__init__(message)
        self.faults = list(faults or [])


class StoreError(Is2IceError, OSError):
    """A store cannot be read or written: read-only, another schema version, not a store."""


class DamagedTrackError(StoreError):
    """A stored track is not what was written: an object of it is absent, changed, or cannot be decoded."""


class ModelError(Is2IceError, ValueError):
    """A saved model or checkpoint cannot be used: damaged, of another kind, or made for other data."""


class DocumentError(Is2IceError, ValueError):
    """A configuration or another file of settings cannot be read, or says what it may not."""


class CatalogError(Is2IceError, RuntimeError):
    """A catalogue cannot be searched: unreachable, refusing, or not a STAC API."""


#: Package -> purpose and extra.
EXTRAS = {
    "matplotlib": ("pictures", "plot"),
    "botocore": ("buckets of S3 with a profile or a role", "fsspec"),
    "dask_ml": ("scaled features of many tracks", "ml"),
    "earthaccess": ("searches and downloads at NASA", "earthdata"),
    "icepyx": ("descriptions of products and orders", "earthdata"),
    "harmony": ("orders of parts of granules", "earthdata"),
    "geopandas": ("tables with geometry and GeoParquet files", "tables"),
    "bokeh": ("pages of stores", "explore"),
    "pyarrow": ("tables in Parquet", "tables"),
    "shapely": ("footprints and areas", "tables"),
    "folium": ("maps of searches", "stac"),
    "pystac": ("STAC items", "stac"),
    "pystac_client": ("searches of STAC catalogues", "stac"),
    "odc.stac": ("images of Sentinel-2", "stac"),
    "rasterio": ("images of Sentinel-2", "stac"),
    "rioxarray": ("class maps as files", "stac"),
    "skimage": ("classes of images", "stac"),
    "stac_geoparquet": ("the index of a published store", "stac"),
    "tensorflow": ("trained models", "tensorflow"),
    "horovod": ("trainings in replicas", "horovod"),
    "rustac": ("servers of local archives", "serve"),
    "RangeHTTPServer": ("servers of local archives", "serve"),
    "pyspark": ("the engine spark", "spark"),
    "dask_gateway": ("the engine gateway", "gateway"),
    "icechunk": ("Icechunk repositories", "virtual"),
}


def require(*packages: str) -> None:
    """Check that packages of an extra are installed, before they are imported.

    Parameters
    ----------
    *packages : str
        Names in :data:`EXTRAS`.

    Raises
    ------
    MissingExtraError
        With the command that installs them.
    """
    for package in packages:
        if not installed(package):
            raise MissingExtraError(extra_hint(package))


def extra_hint(package: str) -> str:
    """Return the line that says what needs a package and how to install it; empty for one of no extra."""
    top = package.partition(".")[0]
    known = next((name for name in EXTRAS if name in (package, top) or name.partition(".")[0] == top), None)
    if known is None:
        return ""
    purpose, extra = EXTRAS[known]
    return f"{purpose} {'needs' if purpose.startswith('the ') else 'need'} {known}: pip install 'is2ice[{extra}]'"


def installed(package: str) -> bool:
    """Return True if a package can be imported; nothing is imported."""
    if sys.modules.get(package) is not None:
        return True
    try:
        return find_spec(package) is not None
    except (ModuleNotFoundError, ValueError):  # its parent is missing, or it is blocked
        return False

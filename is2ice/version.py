"""Versions of the package and of what it stands on, for bug reports."""

from __future__ import annotations

__version__ = "0.1.0"
__all__ = ["__version__", "show_versions", "versions"]

_LIBRARIES = (
    "numpy scipy pandas xarray dask distributed zarr h5py h5netcdf fsspec s3fs numba pyproj earthaccess icepyx "
    "pystac-client odc-stac rioxarray dask-ml tensorflow-cpu keras horovod pyspark dask-gateway matplotlib"
).split()


def versions() -> dict[str, str]:
    """Installed versions by name; ``"-"`` for what is not installed. Nothing is imported."""
    import platform
    from importlib import metadata

    out = {"is2ice": __version__, "python": platform.python_version(), "platform": platform.platform()}
    for name in _LIBRARIES:
        try:
            out[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            out[name] = "-"
    return out


def show_versions() -> str:
    """Return the versions as a table, one a line."""
    return "\n".join(f"{name:16} {value}" for name, value in versions().items())

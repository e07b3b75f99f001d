"""Class maps as GeoTIFF: written for other programs, and read from a user's own classification."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from is2ice import schema
from is2ice.errors import require
from is2ice.io.remote.location import BUCKETS
from is2ice.io.remote.whole_files import Address, address, fetched, written
from is2ice.schema import LabelFlag
from is2ice.science.labels.image_grid import grid_of

from .stac_item import SceneError, explain

__all__ = ["read_classes", "write_classes"]

_NAMES = ("surface_class", "mask")


def write_classes(classes: xr.Dataset, raster: Address) -> Path | str:
    """Write a class map as a GeoTIFF of two bands, ``surface_class`` and ``mask``, whole or not at all.

    Parameters
    ----------
    classes : xarray.Dataset
        From :func:`is2ice.class_map`, with its grid; lazy or in memory.
    raster : path or address

    Returns
    -------
    Path or str
    """
    require("rioxarray")
    import rioxarray  # noqa: F401  (registers .rio)

    grid = grid_of(classes)
    bands = xr.concat(
        [classes[n].astype("int16") for n in _NAMES], "band", coords="minimal", compat="override"
    )
    bands = (
        bands.assign_coords(band=[1, 2]).transpose("band", "y", "x").drop_vars("spatial_ref", errors="ignore")
    )
    bands.attrs = {"long_name": _NAMES, **{k: str(v) for k, v in classes.attrs.items()}}
    with written(raster) as part:
        bands.rio.write_crs(grid.crs).rio.write_nodata(-1).rio.to_raster(
            part, driver="GTiff", tiled=True, compress="deflate"
        )
    return address(raster)


def read_classes(
    raster: str | os.PathLike[str], codes: Mapping[str, int] | None = None, *, chunks: int = 2048
) -> xr.Dataset:
    """Read a class map, of this package or of another program, lazily.

    Parameters
    ----------
    raster : path or URL of a GeoTIFF
        Band 1 holds classes; band 2, where there is one named ``mask``, the reasons not to trust them.
    codes : mapping of str to int, optional
        The raster's number of each class name (``thick_ice``, ``thin_ice``, ``open_water``); by default the package's
        codes 0, 1 and 2. Any other number is unlabelled.
    chunks : int
        Pixels per side of a Dask block.

    Returns
    -------
    xarray.Dataset
        ``surface_class`` int8 and ``mask`` uint16, dims (y, x), with the attributes written by :func:`write_classes`;
        ``scene`` is the name of the file where none is stated.

    Raises
    ------
    SceneError
        The file cannot be read, or states no grid in metres.
    ValueError
        An unknown class name.
    """
    text = os.fspath(raster)
    if text.partition("://")[0] in BUCKETS:  # read whole, by the credentials of stores and not of GDAL
        with fetched(raster) as file:
            return read_classes(file, codes, chunks=chunks).load()
    require("rioxarray")
    codes = {name: k for k, name in enumerate(schema.CLASSES)} | dict(codes or {})
    if unknown := sorted(set(codes) - set(schema.CLASSES)):
        raise ValueError(f"class {', '.join(unknown)}: expected {', '.join(schema.CLASSES)}")
    opened = _lazy_bands(text, chunks)
    if opened.rio.crs is None or not opened.rio.crs.is_projected:
        raise SceneError(f"{raster}: expected a map in metres, got the crs {opened.rio.crs}")
    raw = opened.isel(band=0, drop=True)
    found = xr.full_like(raw, schema.UNLABELLED, dtype=np.int8)
    for k, name in enumerate(schema.CLASSES):
        found = xr.where(raw == codes[name], np.int8(k), found)
    names = opened.attrs.get("long_name", ())
    if isinstance(names, tuple) and "mask" in names:
        mask = opened.isel(band=names.index("mask"), drop=True).astype(np.uint16)
    else:
        mask = xr.where(found < 0, np.uint16(LabelFlag.NO_DATA), np.uint16(0))
    out = xr.Dataset(
        {"surface_class": found.astype(np.int8), "mask": mask}, coords={"x": opened["x"], "y": opened["y"]}
    )
    kept = ("scene", "time", "method", "model", "model_checksum", "white")
    attrs = {k: opened.attrs[k] for k in kept if k in opened.attrs}
    attrs = {"scene": Path(str(raster)).stem, "method": f"file {Path(str(raster)).name}"} | attrs
    return out.drop_vars("spatial_ref", errors="ignore").assign_attrs(attrs, crs=opened.rio.crs.to_wkt())


def _lazy_bands(raster: str, chunks: int) -> xr.DataArray:
    """Bands of a raster (band, y, x), Dask-backed; faults name the file wherever its pixels are read."""
    import dask.array as da
    import rioxarray
    from rasterio.errors import RasterioError

    try:
        opened = rioxarray.open_rasterio(raster, cache=False)
        assert isinstance(opened, xr.DataArray)
        with opened:
            pixels = _Pixels(raster, opened.shape, opened.dtype)
            lazy = da.from_array(pixels, chunks=(-1, chunks, chunks), asarray=False, fancy=False)  # type: ignore[no-untyped-call]
            return opened.copy(data=lazy)
    except (RasterioError, OSError) as error:
        raise explain(error, f"class map {Path(raster).name}", raster) from error


@dataclass(frozen=True)
class _Pixels:
    """Pixels of a raster as an array that is read by windows."""

    raster: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    ndim: int = 3

    def __getitem__(self, key: tuple[slice, slice, slice]) -> np.ndarray:
        import rasterio
        from rasterio.windows import Window

        bands = [1 + k for k in range(*key[0].indices(self.shape[0]))]
        window = Window.from_slices(*(s.indices(n)[:2] for s, n in zip(key[1:], self.shape[1:], strict=True)))
        try:
            with rasterio.open(self.raster) as file:
                return np.asarray(file.read(bands, window=window))
        except rasterio.errors.RasterioError as error:
            fault = explain(error, f"class map {Path(self.raster).name}", self.raster)
        raise fault  # apart from GDAL's own exception, which does not survive the way between processes

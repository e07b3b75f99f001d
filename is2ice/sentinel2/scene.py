"""Sentinel-2 scenes: lazy reflectance in the scene's own grid, and maps of surface class from it.

>>> scene = sentinel2.open_scene(scenes.iloc[0])  # doctest: +SKIP
>>> classes = sentinel2.class_map(scene)  # doctest: +SKIP
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from is2ice.errors import require
from is2ice.io.catalogs.sentinel2 import SceneItem, item_of
from is2ice.io.catalogs.stac_endpoints import signed

from . import pixel_kernels
from .class_maps import FILTERS, METHODS, class_map, require_usable, shares
from .stac_item import (
    COLOURS,
    SceneError,
    assets_of,
    check_address,
    gdal_settings,
    grid_of,
    numbers_of,
    read_small,
    stated,
    verified,
)

__all__ = ["FILTERS", "METHODS", "SceneError", "class_map", "open_scene", "require_usable", "shares"]

logger = logging.getLogger("is2ice")

_OPTIONAL = ("B08", "B11", "SCL")


def open_scene(
    item: Any,
    bands: Iterable[str] | None = None,
    *,
    chunks: int = 2048,
    offset: int | None = None,
    check: bool = True,
    retries: int = 3,
    timeout: float = 30.0,
) -> xr.Dataset:
    """Open a Sentinel-2 scene as lazy reflectance, on the 10 m grid of its own UTM zone.

    Parameters
    ----------
    item : pystac.Item, dict, row of a frame of scenes, path or address of an item
    bands : iterable of str, optional
        By default B02, B03, B04 and those of B08, B11 and SCL that there are. Bands of 20 m are repeated.
    chunks : int
        Pixels per side of a Dask block.
    offset : int, optional
        Number to add to the digital numbers (0 or -1000), against what the item says.
    check : bool
        Look at the overviews of two bands now: that they can be read, lie on the grid stated, and have
        numbers that fit the offset.
    retries, timeout : int, float
        Attempts after the first and seconds for each request; delays grow.

    Returns
    -------
    xarray.Dataset
        Dims ``(y, x)``; reflectance float32 with NaN for no data, ``SCL`` uint8. Attributes ``scene``,
        ``time``, ``tile``, ``platform``, ``level``, ``baseline``, ``offset``, ``offset_source``, ``scale``,
        ``crs``, ``cloud_cover``, ``sun_elevation``.

    Raises
    ------
    SceneError
        A band missing or unreadable (the asset is named, when pixels are read too), a grid not in metres,
        an offset unknown.
    CatalogError
        The item cannot be read.
    """
    found = SceneItem.parse(item_of(item))
    wanted = tuple(bands) if bands is not None else COLOURS
    keys = assets_of(found, wanted, () if bands is not None else _OPTIONAL)
    hrefs = {
        band: signed(str(found.assets[key]["href"]), found.collection, retries=retries, timeout=timeout)
        for band, key in keys.items()
    }
    for band, href in hrefs.items():
        check_address(href, f"{found.scene}: asset {keys[band]}")
    colours = [b for b in keys if b != "SCL"]
    finest = next((b for b in ("B02", "B03", "B04", "B08") if b in keys), next(iter(keys)))
    require("rasterio")
    import rasterio

    with rasterio.Env(**gdal_settings(hrefs, retries, timeout)):
        box = grid_of(found, keys[finest], hrefs[finest])
        numbers = {b: numbers_of(found, keys[b], offset) for b in colours}
        if check and colours:
            looked = {finest: read_small(found, keys[finest], hrefs[finest], box)}
            if "B11" in keys and finest != "B11":
                looked["B11"] = read_small(found, keys["B11"], hrefs["B11"])
            numbers = {b: verified(found, n, looked) for b, n in _same(numbers).items()}
        raw = _load(found, keys, hrefs, box, chunks)
    return _reflectance(raw, found, numbers)


def _same(numbers: dict[str, Any]) -> dict[str, Any]:
    if len({n.offset for n in numbers.values()}) > 1:
        logger.warning("DN offsets differ between bands: %s", {b: n.offset for b, n in numbers.items()})
    return numbers


def _load(item: SceneItem, keys: dict[str, str], hrefs: dict[str, str], box: Any, chunks: int) -> xr.Dataset:
    """Digital numbers through odc-stac, from an item that holds the wanted assets under their bands' names."""
    require("odc.stac", "pystac")
    import odc.stac
    import pystac

    from .rio_driver import NamingDriver

    with stated(item.scene):
        time = pystac.utils.str_to_datetime(str(item.time))
    whole = box.extent.to_crs("EPSG:4326").boundingbox
    slim = pystac.Item(
        id=item.scene,
        # Outline and box are not used, since the grid is given; the real ones may cross the antimeridian.
        geometry=box.extent.to_crs("EPSG:4326").json,
        bbox=list(whole.bbox),
        datetime=time,
        properties={},
        collection="scene",
    )
    for band in keys:
        slim.add_asset(band, pystac.Asset(hrefs[band], media_type="image/tiff", roles=["data"]))
    number, byte = {"data_type": "uint16", "nodata": 0}, {"data_type": "uint8", "nodata": 0}
    config = {"scene": {"assets": {band: byte if band == "SCL" else number for band in keys}}}
    loaded = odc.stac.load(
        [slim],
        bands=list(keys),
        geobox=box,
        chunks={"x": chunks, "y": chunks},
        stac_cfg=config,
        groupby="id",
        resampling="nearest",
        driver=NamingDriver(item.scene, {hrefs[b]: keys[b] for b in keys}),
    )
    return loaded.isel(time=0, drop=True)


def _scaled(numbers: NDArray[np.uint16], offset: float, scale: float) -> NDArray[np.float32]:
    """Reflectance of digital numbers; NaN for 0, which is no data."""
    return pixel_kernels.reflectance(np.ascontiguousarray(numbers), np.float32(offset), np.float32(scale))


def _reflectance(raw: xr.Dataset, item: SceneItem, numbers: dict[str, Any]) -> xr.Dataset:
    import dask.array as da

    out = raw.drop_vars(list(numbers))
    for band, n in numbers.items():
        scaled = da.map_blocks(_scaled, raw[band].data, n.offset, n.scale, dtype=np.float32)
        out[band] = raw[band].copy(data=scaled)
        out[band].attrs = {
            "units": "1",
            "long_name": f"{'surface' if item.level == 'L2A' else 'top-of-atmosphere'} reflectance",
            "grid_mapping": "spatial_ref",
        }
    if "SCL" in out:
        out["SCL"].attrs = {"units": "1", "long_name": "scene classification", "grid_mapping": "spatial_ref"}
    for array in out.data_vars.values():
        array.encoding = {}  # else it names the grid, too, and NetCDF refuses to hold it twice
    p = item.properties
    first = next(iter(numbers.values()), None)
    attrs = {k: getattr(item, k) for k in ("scene", "tile", "platform", "level", "baseline", "cloud_cover")}
    with stated(item.scene):
        zenith = float(p.get("s2:mean_solar_zenith", np.nan))
        sun = float(p.get("view:sun_elevation", 90.0 - zenith))
    attrs |= {
        "time": str(item.time).replace("+00:00", "Z"),
        "crs": str(raw.odc.crs),
        "sun_elevation": sun,
    }
    if first is not None:
        attrs |= {"offset": first.offset, "offset_source": first.source, "scale": first.scale}
    out = out[[*numbers, *(b for b in out.data_vars if b not in numbers)]]
    return out.assign_attrs({k: v for k, v in attrs.items() if v is not None})

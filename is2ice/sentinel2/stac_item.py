"""Read a STAC item of a Sentinel-2 scene: assets of the bands, grid, and meaning of its numbers.

Catalogues name assets differently, and three traps lie in the numbers: from processing baseline 04.00 on they
carry 1000 more, in scenes reprocessed since (Collection 1) whatever the sensing date; Earth Search takes the
1000 out of some files while the item still states it; and its flag that says so is not always true.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
from numpy.typing import NDArray

from is2ice.errors import Is2IceError, require
from is2ice.io.catalogs.sentinel2 import SceneItem
from is2ice.io.catalogs.stac_endpoints import endpoints, settings
from is2ice.io.urls import local_path

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

__all__ = [
    "COLOURS",
    "Numbers",
    "SceneError",
    "assets_of",
    "check_address",
    "check_format",
    "explain",
    "gdal_settings",
    "grid_of",
    "numbers_of",
    "open_image",
    "read_small",
    "stated",
]

logger = logging.getLogger("is2ice")

#: Bands of 10 m in colour.
COLOURS = ("B02", "B03", "B04")
_FLAGS = ("earthsearch:boa_offset_applied", "sentinel:boa_offset_applied")
#: GDAL's names of the formats that assets may have.
FORMATS = ("GTiff", "JP2OpenJPEG", "PNG", "JPEG")
#: Most pixels of an edge of a scene.
LARGEST = 200_000
#: Reflectance lower than this in more than this share of pixels cannot be: the offset is out already.
_IMPOSSIBLE, _SHARE = -0.03, 0.01


class SceneError(Is2IceError, ValueError):
    """A Sentinel-2 scene cannot be used: a band missing or unreadable, another grid, numbers of unknown meaning."""


@dataclass(frozen=True)
class Numbers:
    """Meaning of digital numbers: reflectance = (number + offset) x scale; 0 is no data.

    Attributes
    ----------
    scale : float
    offset : int
        As BOA_ADD_OFFSET and RADIO_ADD_OFFSET: -1000 or 0.
    source : str
        Place in the item that states the offset.
    """

    scale: float
    offset: int
    source: str


@contextmanager
def stated(where: str) -> Iterator[None]:
    """Name the item and asset whose fields are not what STAC defines.

    Raises
    ------
    SceneError
        In place of an error of Python.
    """
    try:
        yield
    except Is2IceError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as fault:
        said = f"{type(fault).__name__}: {fault}"[:200]
        raise SceneError(
            f"{where}: a field of the item is not what STAC defines ({said}); fetch the item again"
        ) from fault


def _finite(value: Any) -> float:
    number = float(value)
    if not np.isfinite(number):
        raise ValueError(f"{value!r} is not finite")
    return number


def assets_of(item: SceneItem, bands: tuple[str, ...], optional: tuple[str, ...] = ()) -> dict[str, str]:
    """Asset of each band, by the names any catalogue uses or by the band each asset says it holds.

    Raises
    ------
    SceneError
        A required band is missing; all that are missing are named.
    """
    have = item.assets
    out: dict[str, str] = {}
    for band in (*bands, *optional):
        names = settings()["assets"].get(band, [band])
        with stated(f"{item.scene}: assets"):
            found = next((n for n in names if n in have), None) or _by_band(have, band)
        if found is not None:
            out[band] = found
    missing = [b for b in bands if b not in out]
    if missing:
        raise SceneError(
            f"{item.scene}: no asset for {', '.join(missing)}; the item has {', '.join(sorted(have)) or 'none'}. "
            "Is it an item of Sentinel-2 L1C or L2A?"
        )
    return out


def _by_band(assets: Mapping[str, Any], band: str) -> str | None:
    fits = []
    for key, asset in assets.items():
        bands = [*(asset.get("eo:bands") or ()), *(asset.get("bands") or ())]
        if len(bands) == 1 and bands[0].get("name") == band:
            fits.append((float(asset.get("gsd", asset.get("raster:spatial_resolution", 99))), key))
    return min(fits)[1] if fits else None


def numbers_of(item: SceneItem, key: str, offset: int | None = None) -> Numbers:
    """Return the meaning of the numbers of an asset, by the item's own words and never by the sensing date.

    Parameters
    ----------
    item : SceneItem
    key : str
        Asset.
    offset : int, optional
        Offset to use in place of the item's.

    Raises
    ------
    SceneError
        The offset is stated nowhere, or by two values that differ.
    """
    asset, properties = item.assets[key], item.properties
    with stated(f"{item.scene}: asset {key}"):
        band = next(iter(asset.get("raster:bands") or asset.get("bands") or [{}]))
        scale = _finite(_first(band.get("scale"), band.get("raster:scale"), asset.get("raster:scale"), 1e-4))
        own = _first(band.get("offset"), band.get("raster:offset"), asset.get("raster:offset"))
        by_item = None if own is None else round(_finite(own) / scale)
    if offset is not None:
        return Numbers(scale, int(offset), "given")
    if any(properties.get(flag) is True for flag in _FLAGS):
        return Numbers(scale, 0, "taken out of the files (boa_offset_applied)")
    baseline = item.baseline
    by_baseline = None if baseline is None else -1000 if float(baseline) >= 4.0 else 0
    where = f"{item.scene}: asset {key}"
    if by_item is not None:
        if by_baseline is not None and by_item != by_baseline:
            raise SceneError(
                f"{where} states a DN offset of {by_item}, but processing baseline {baseline} means {by_baseline}; "
                "look at its darkest water and give offset=0 or offset=-1000"
            )
        return Numbers(scale, by_item, f"stated by asset {key}")
    if by_baseline is None:
        raise SceneError(
            f"{where}: the DN offset is unknown (no processing baseline, no raster:bands offset); give offset=0 "
            "(before baseline 04.00) or offset=-1000 (from 04.00 on)"
        )
    return Numbers(scale, by_baseline, f"processing baseline {baseline}")


def _first(*values: Any) -> Any:
    return next((v for v in values if v is not None), None)


def verified(item: SceneItem, numbers: Numbers, samples: Mapping[str, NDArray[Any]]) -> Numbers:
    """Check the meaning of the numbers against a coarse look at the numbers themselves.

    Parameters
    ----------
    item : SceneItem
    numbers : Numbers
    samples : mapping of band to ndarray
        Digital numbers, 0 for no data.
    """
    if numbers.source == "given":
        return numbers
    valid = {band: a[a > 0].astype(float) for band, a in samples.items()}
    if numbers.offset < 0:
        low = {
            b: float(np.mean((v + numbers.offset) * numbers.scale < _IMPOSSIBLE))
            for b, v in valid.items()
            if v.size
        }
        if low and max(low.values()) > _SHARE:
            worst = max(low, key=lambda b: low[b])
            logger.warning(
                "%s: an offset of %d (%s) would make %.0f %% of %s reflect less than %g, which nothing does; the "
                "offset has been taken out of the files and none is applied",
                item.scene,
                numbers.offset,
                numbers.source,
                100 * low[worst],
                worst,
                _IMPOSSIBLE,
            )
            return Numbers(numbers.scale, 0, f"the numbers themselves, against {numbers.source}")
    swir = valid.get("B11")
    late = float(item.baseline or 0) >= 4.0
    if numbers.offset == 0 and late and swir is not None and swir.size and np.percentile(swir, 1) > 1000:
        logger.warning(
            "%s: %s, but B11 nowhere falls under 0.1, as if the offset were still in the files; unless all is "
            "cloud, open with offset=-1000",
            item.scene,
            numbers.source,
        )
    return numbers


# ---- the grid and the files ----


def grid_of(item: SceneItem, key: str, href: str) -> GeoBox:
    """Pixel grid of an asset, from the item or, where that says nothing, from the file.

    Raises
    ------
    SceneError
        No grid, or one not in metres.
    """
    require("odc.stac")
    from affine import Affine
    from odc.geo.geobox import GeoBox
    from pyproj import CRS
    from pyproj.exceptions import CRSError

    asset, p = item.assets[key], item.properties
    shape = asset.get("proj:shape") or p.get("proj:shape")
    transform = asset.get("proj:transform") or p.get("proj:transform")
    code = next((d[k] for d in (asset, p) for k in ("proj:code", "proj:epsg") if d.get(k)), None)
    if shape and transform and code:
        try:
            with stated(f"{item.scene}: asset {key}"):
                crs = CRS.from_user_input(code)
        except CRSError as fault:
            raise SceneError(f"{item.scene}: asset {key}: unknown CRS {code!r}") from fault
        with stated(f"{item.scene}: asset {key}"):
            rows, columns = int(shape[0]), int(shape[1])
            numbers = [_finite(v) for v in transform[:6]]
            if not (0 < rows <= LARGEST and 0 < columns <= LARGEST and numbers[0] and numbers[4]):
                raise ValueError(f"proj:shape {shape}, proj:transform {transform[:6]}"[:100])
            box = GeoBox((rows, columns), Affine(*numbers), crs)
    else:
        with _opened(item, key, href) as f:
            if f.crs is None:
                raise SceneError(f"{item.scene}: asset {key}: neither the item nor the file states a CRS")
            box = GeoBox(f.shape, f.transform, f.crs)
    if box.crs is None or not box.crs.projected:
        raise SceneError(
            f"{item.scene}: asset {key} is in {box.crs}; expected a projected CRS in metres, such as the UTM zone "
            "of its tile"
        )
    return box


def check_address(href: str, where: str) -> None:
    """Refuse an address of an asset that is neither on the network nor a file of its own.

    Raises
    ------
    SceneError
        GDAL's own addresses and documents, which name other files; pipes and folders.
    """
    if "://" in href and not href.startswith("file:"):
        return
    path = local_path(href)
    if path.startswith(("/vsi", "<")) or not os.path.exists(path):
        raise SceneError(f"{where} ({href[:200]}): no such file; expected an address, or a file on disk")
    if not os.path.isfile(path):
        raise SceneError(f"{where} ({href[:200]}): expected a file, got a folder, pipe or device")


@lru_cache(maxsize=256)
def check_format(href: str) -> None:
    """Check that an asset is of a format that names no other files.

    Raises
    ------
    rasterio.errors.RasterioError
        As :func:`open_image`.
    """
    open_image(href).close()


def open_image(href: str) -> Any:
    """Open an asset as one of :data:`FORMATS`.

    Raises
    ------
    rasterio.errors.RasterioError
        It is of another format, such as a virtual one that names other files, or cannot be read.
    """
    import rasterio

    for name in FORMATS:
        try:
            return rasterio.open(href, driver=name)
        except rasterio.errors.RasterioError as fault:
            if "not recognized" not in str(fault) or name == FORMATS[-1]:
                raise


class _opened:
    """An open file of an asset, whose faults are explained."""

    def __init__(self, item: SceneItem, key: str, href: str) -> None:
        self.name, self.href, self.file = f"{item.scene}: asset {key}", href, None

    def __enter__(self) -> Any:
        import rasterio

        try:
            self.file = open_image(self.href)
        except rasterio.errors.RasterioError as fault:
            raise explain(fault, self.name, self.href) from fault
        return self.file

    def __exit__(self, kind: Any, fault: BaseException | None, trace: Any) -> None:
        import rasterio

        if self.file is not None:
            self.file.close()
        if isinstance(fault, rasterio.errors.RasterioError):
            raise explain(fault, self.name, self.href) from fault


def read_small(
    item: SceneItem, key: str, href: str, box: GeoBox | None = None, most: int = 256
) -> NDArray[Any]:
    """Read an asset coarsely, from its overviews; compare its grid with the one the item states.

    Raises
    ------
    SceneError
        Unreadable, or another grid than stated.
    """
    with _opened(item, key, href) as f:
        if box is not None:
            same = f.crs is not None and box.crs is not None and f.crs == box.crs.proj.to_wkt()
            near = np.allclose(tuple(f.transform)[:6], tuple(box.affine)[:6], atol=0.5)
            if not (same and near and tuple(f.shape) == tuple(box.shape)):
                stated, found = (
                    f"{crs}, {shape[0]} x {shape[1]} pixels from {affine.c:.0f}, {affine.f:.0f}"
                    for crs, shape, affine in (
                        (box.crs, box.shape, box.affine),
                        (f.crs, f.shape, f.transform),
                    )
                )
                raise SceneError(f"{item.scene}: asset {key}: the item states {stated}; the file is {found}")
        step = max(1, -(-max(f.shape) // most))
        return np.asarray(f.read(1, out_shape=tuple(-(-n // step) for n in f.shape)))


#: Bytes that GDAL keeps of what it has read; by default a twentieth of the memory, for what is read once.
GDAL_CACHE = 64 * 2**20


def gdal_settings(hrefs: Mapping[str, str], retries: int, timeout: float) -> dict[str, Any]:
    """GDAL settings for reading: bounded retries with growing delays, time limits, and the host's own."""
    out: dict[str, Any] = {
        "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
        "GDAL_HTTP_MAX_RETRY": str(retries),
        "GDAL_HTTP_RETRY_DELAY": "0.3",
        "GDAL_HTTP_RETRY_CODES": "429,500,502,503,504",
        "GDAL_HTTP_TIMEOUT": str(max(1, round(timeout))),
        "GDAL_HTTP_CONNECTTIMEOUT": str(max(1, round(min(timeout, 10.0)))),
    }
    if "GDAL_CACHEMAX" not in os.environ:
        out["GDAL_CACHEMAX"] = GDAL_CACHE
    for site in endpoints().values():
        if site.gdal and any(urlsplit(h).netloc in site.hosts for h in hrefs.values()):
            out |= site.gdal
    return out


def _chain(fault: BaseException | None) -> Iterator[str]:
    seen: set[int] = set()
    while fault is not None and id(fault) not in seen:
        seen.add(id(fault))
        yield str(fault)
        fault = fault.__cause__ or fault.__context__


def explain(fault: BaseException, name: str, href: str) -> SceneError:
    """Explain a failed read: access refused, signature expired, server away, file damaged.

    The address is given without its signature.
    """
    text = " | ".join(_chain(fault))
    where = f"{name} ({href.split('?')[0]})"
    status = re.search(r"(?:HTTP response code|response_code=|HTTP error code)\D*(\d{3})", text)
    code = int(status[1]) if status else 0
    if code in (401, 403):
        until = _expiry(href)
        if until is not None and until < datetime.now(UTC):
            return SceneError(
                f"{where}: HTTP {code}: its signed address expired at {until:%Y-%m-%dT%H:%M:%SZ}; open the scene "
                "again from the unsigned item"
            )
        return SceneError(
            f"{where}: HTTP {code}: access refused; is the address signed, and the signature fresh?"
        )
    if code == 404 or "No such file" in text or "does not exist in the file system" in text:
        return SceneError(f"{where}: no such file{' (HTTP 404)' if code else ''}")
    if code:
        return SceneError(f"{where}: HTTP {code} from the server, also when tried again; try later")
    if re.search(r"timed? ?out|Timeout", text, re.IGNORECASE):
        return SceneError(f"{where}: the server did not answer in time, also when tried again; try later")
    if re.search(r"Could not connect|Couldn't connect|Could not resolve|Connection re", text):
        return SceneError(f"{where}: the server cannot be reached")
    return SceneError(f"{where}: cannot be read, the file is damaged or no image: {text[:300]}")


def _expiry(href: str) -> datetime | None:
    """When a signed address expires (Azure ``se``, S3 ``X-Amz-Expires`` or ``Expires``)."""
    query = {k.lower(): v[0] for k, v in parse_qs(urlsplit(href).query).items()}
    try:
        if "se" in query:
            until = datetime.fromisoformat(query["se"])
            return until if until.tzinfo else until.replace(tzinfo=UTC)
        if "x-amz-date" in query:
            start = datetime.strptime(query["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
            return start + timedelta(seconds=int(query["x-amz-expires"]))
        if "expires" in query:
            return datetime.fromtimestamp(int(query["expires"]), UTC)
    except (ValueError, KeyError):
        return None
    return None

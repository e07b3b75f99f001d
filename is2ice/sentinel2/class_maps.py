"""Maps of surface class from a Sentinel-2 scene, tile by tile and the same whatever the tiles.

The filters themselves are in :mod:`is2ice.sentinel2.cloud_filter`; here they meet a scene's bands, masks and Dask.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from is2ice import schema
from is2ice.extras import require
from is2ice.schema import LabelFlag

from . import cloud_filter
from . import tiles as s2tiles
from .stac_item import SceneError

__all__ = ["FILTERS", "METHODS", "class_map", "require_usable", "shares"]

#: Ways that need no training.
FILTERS = ("guarded", "published", "threshold")
METHODS = (*FILTERS, "unet")

_COLOURS = ("B02", "B03", "B04")
U1 = NDArray[np.uint8]

#: Classes of SCL, by what they mean here. Over sea ice SCL is a poor witness: it has called all of a scene
#: of the Ross Sea water (75 %) or cloud (25 %) and nothing ice.
_SCL_CLOUD, _SCL_SHADOW, _SCL_LAND = (8, 9, 10), (3,), (4, 5)
_STEP = 4  # tiles start on multiples of the filter's blocks


def class_map(
    scene: xr.Dataset,
    method: str = "guarded",
    *,
    white: float = 1.0,
    cloud: str = "auto",
    shadow: str = "scl",
    land: Any = "scl",
    aperture: int = cloud_filter.PUBLISHED_APERTURE,
    per_tile: int | None = None,
    tile: int = 1024,
    model: s2tiles.Network | None = None,
    probabilities: bool = False,
) -> xr.Dataset:
    """Map the surface class of every pixel, with the reasons not to trust some.

    Parameters
    ----------
    scene : xarray.Dataset
        Reflectance as :func:`open_scene` gives it: B02, B03, B04 and, where there are, B11 and SCL; lazy or
        in memory, and the result likewise.
    method : {"guarded", "published", "threshold", "unet"}
        Thresholds with cloud and shadow taken out; the published twelve-step filter; thresholds alone
        (:mod:`is2ice.sentinel2.cloud_filter`); a trained network.
    white : float
        Reflectance of the value 255, the same for every scene.
    cloud : {"auto", "infrared", "scl", "either", "none"}
        What tells of cloud: B11 where there is one, else SCL; one of them; both; nothing.
    shadow : {"scl", "none"}
    land : {"scl", "none"} or geopandas.GeoDataFrame
        SCL's vegetation and bare ground, nothing, or the outlines of land and ice shelves.
    aperture : int
        Of the published filter's background, pixels.
    per_tile : int, optional
        Only with ``method="published"``: run it on squares of this many pixels as if each were an image, as
        the published Spark job did (256). By default its statistics are those of the whole scene.
    tile : int
        Pixels per side of the blocks worked at a time; the result does not depend on it.
    model : is2ice.classifiers.unet.UNet
        Only with ``method="unet"``, and needed there: ``UNet.load(folder)``.
    probabilities : bool
        Add ``class_probability`` float32 (surface, y, x); only with ``method="unet"``.

    Returns
    -------
    xarray.Dataset
        ``surface_class`` int8 (y, x), codes of :mod:`is2ice.schema`, -1 for no data and land; cloud and shadow
        keep the class found beneath. ``mask`` uint16 (y, x): bits no_data, cloud, cloud_shadow and land of
        :data:`is2ice.schema.LABEL_BITS`. Attributes ``scene``, ``time``, ``crs``, ``method`` and more.

    Raises
    ------
    SceneError
        A band that is needed is missing, or no grid.
    ValueError
        An unknown option; no model where one is needed, or one made for other scenes.
    TypeError
        Something else than an opened scene.
    """
    _check_options(scene, method, cloud, shadow, land)
    _check_numbers(method, white, aperture, per_tile, tile)
    if probabilities and model is None:
        raise ValueError("probabilities: only a network (method='unet') gives class probabilities")
    own = _bands_of(model, scene, method, white)
    import dask.array as da

    names = [b for b in (*_COLOURS, "B11", "SCL") if b in scene]
    lazy = any(hasattr(scene[b].data, "dask") for b in names)
    rows, columns = (_tiles(scene.sizes[d], tile) for d in ("y", "x"))
    arrays = [da.asarray(scene[b].transpose("y", "x").data).rechunk((rows, columns)) for b in names]
    evidence = _Evidence(
        tuple(names), _cloud_source(cloud, names), shadow, land if isinstance(land, str) else "none"
    )
    mask = da.map_blocks(evidence.mask, *arrays, dtype=np.uint16, meta=np.zeros((0, 0), np.uint16))
    if not isinstance(land, str):
        mask = mask | da.from_array(_rasterised(land, scene), chunks=(rows, columns))
    if method == "published":
        classes = _published(arrays[:3], white, aperture, per_tile, (rows, columns))
    elif model is not None:
        planes = {b: da.asarray(scene[b].transpose("y", "x").data) for b in own}
        classes = s2tiles.classify(model, planes, white, max(tile, 2 * 1024), probabilities=probabilities)
        if probabilities:
            share, classes = classes, classes.argmax(0).astype(np.int8)
        classes = classes.rechunk((rows, columns))
    else:
        work = _Classes(evidence, method, white)
        depth = _depth(rows, columns, cloud_filter.HALO if method == "guarded" else 0)
        classes = da.map_overlap(
            work, *arrays, depth=depth, boundary="none", dtype=np.int8, meta=np.zeros((0, 0), np.int8),
            allow_rechunk=False,
        )  # fmt: skip
    gone = (mask & np.uint16(LabelFlag.NO_DATA | LabelFlag.LAND)) != 0
    classes = da.where(gone, np.int8(schema.UNLABELLED), classes).astype(np.int8)
    out = xr.Dataset(
        {"surface_class": (("y", "x"), classes), "mask": (("y", "x"), mask)},
        coords={k: scene.coords[k] for k in ("y", "x", "spatial_ref") if k in scene.coords},
    )
    out["surface_class"].attrs = _flags(
        {-1: "unlabelled", **dict(enumerate(schema.CLASSES))}, "values", "surface class"
    )
    if probabilities:
        out["class_probability"] = (("surface", "y", "x"), share)
        out = out.assign_coords(surface=list(schema.CLASSES))
    written = LabelFlag.NO_DATA | LabelFlag.CLOUD | LabelFlag.CLOUD_SHADOW | LabelFlag.LAND
    bits = {bit: name for bit, name in schema.LABEL_BITS.items() if bit & written}
    out["mask"].attrs = _flags(bits, "masks", "why a class is not to be trusted")
    keep = ("scene", "time", "crs", "tile", "platform", "level", "baseline", "offset", "cloud_cover")
    attrs = {k: scene.attrs[k] for k in keep if k in scene.attrs}
    attrs |= {"method": method, "white": white, "cloud_source": evidence.cloud}
    if model is not None:
        attrs |= {
            "model": str(getattr(model, "name", "unet")),
            "model_checksum": str(getattr(model, "checksum", "")),
        }
    out = out.assign_attrs(attrs)
    return out if lazy else out.compute(scheduler="threads")


def _check_numbers(method: str, white: float, aperture: int, per_tile: int | None, tile: int) -> None:
    if not 0 < white < np.inf:
        raise ValueError(f"white={white!r}: expected the reflectance of the value 255, above 0")
    if aperture < 1 or aperture % 2 == 0:
        raise ValueError(f"aperture={aperture!r}: expected an odd number of pixels")
    for name, value in (("per_tile", per_tile), ("tile", tile)):
        if value is not None and value < 1:
            raise ValueError(f"{name}={value!r}: expected pixels, at least 1")
    if per_tile is not None and method != "published":
        raise ValueError(f"per_tile={per_tile} belongs to method='published'; got method={method!r}")


def _check_options(scene: Any, method: str, cloud: str, shadow: str, land: Any) -> None:
    if not isinstance(scene, xr.Dataset):
        raise TypeError(
            f"scene: expected reflectance from is2ice.sentinel2.open_scene, got {type(scene).__name__} {scene!r:.80}"
        )
    for name, value, allowed in (
        ("method", method, METHODS),
        ("cloud", cloud, ("auto", "infrared", "scl", "either", "none")),
        ("shadow", shadow, ("scl", "none")),
    ):
        if value not in allowed:
            raise ValueError(f"{name}={value!r}: expected one of {', '.join(allowed)}")
    if land not in ("scl", "none") if isinstance(land, str) else not hasattr(land, "to_crs"):
        raise ValueError(f"land={land!r:.80}: expected 'scl', 'none' or a GeoDataFrame of outlines")
    missing = [b for b in _COLOURS if b not in scene]
    missing += ["B11"] if cloud == "infrared" and "B11" not in scene else []
    missing += ["SCL"] if cloud == "scl" and "SCL" not in scene else []
    if missing or not {"x", "y"} <= set(scene.dims):
        held = ", ".join(map(str, scene.data_vars)) or "nothing"
        raise SceneError(
            f"{scene.attrs.get('scene', 'scene')}: {', '.join(missing) or 'dims (y, x)'} missing; it holds {held}"
        )


def _bands_of(model: Any, scene: xr.Dataset, method: str, white: float) -> tuple[str, ...]:
    """Bands that the network needs, after a look whether it was made for such a scene."""
    if (model is not None) != (method == "unet"):
        told = (
            "needs model=UNet.load(folder)"
            if model is None
            else "takes no model; it belongs to method='unet'"
        )
        raise ValueError(f"method={method!r} {told}")
    if model is None:
        return ()
    if not all(hasattr(model, n) for n in ("inputs", "size", "probabilities")):
        raise ValueError(f"model: expected is2ice.classifiers.unet.UNet, got {type(model).__name__}")
    where, bands = scene.attrs.get("scene", "scene"), s2tiles.inputs_of(model.inputs)
    if missing := [b for b in bands if b not in scene]:
        held = ", ".join(map(str, scene.data_vars))
        raise SceneError(f"{where}: {', '.join(missing)} missing, which the network needs; it holds {held}")
    card = getattr(model, "card", {})
    for name, have, want in (
        ("level", scene.attrs.get("level", "unknown"), card.get("level", "unknown")),
        ("white", white, float(card.get("white", white))),
    ):
        if have != want and "unknown" not in (have, want):
            raise ValueError(
                f"{where}: {name} {have}, but the network was trained with {name} {want}: its numbers mean another "
                "brightness there. Train it anew, or take such a scene"
            )
    return bands


def _cloud_source(cloud: str, names: list[str]) -> str:
    if cloud == "auto":
        return "infrared" if "B11" in names else "scl" if "SCL" in names else "none"
    if cloud == "either":
        return "+".join(s for s, b in (("infrared", "B11"), ("scl", "SCL")) if b in names) or "none"
    return cloud


def _depth(rows: tuple[int, ...], columns: tuple[int, ...], depth: int) -> dict[int, int]:
    """Halo along each axis: none where one tile holds it all."""
    return {0: depth if len(rows) > 1 else 0, 1: depth if len(columns) > 1 else 0}


def _tiles(n: int, tile: int, least: int = cloud_filter.HALO) -> tuple[int, ...]:
    """Blocks that start on multiples of the filter's own, none smaller than a halo."""
    size = max(least, tile // _STEP * _STEP)
    size += -size % _STEP
    whole, rest = divmod(n, size)
    sizes = [size] * whole + ([rest] if rest else [])
    if len(sizes) > 1 and sizes[-1] < least:
        sizes[-2:] = [sizes[-2] + sizes[-1]]
    return tuple(sizes)


class _Evidence:
    """What tells of cloud, shadow and land in a block; a plain object, so that it can be sent to workers."""

    def __init__(self, names: tuple[str, ...], cloud: str, shadow: str, land: str) -> None:
        self.names, self.cloud, self.shadow, self.land = names, cloud, shadow, land

    def bands(self, arrays: tuple[NDArray[Any], ...]) -> dict[str, NDArray[Any]]:
        return dict(zip(self.names, arrays, strict=True))

    def scl(
        self, bands: dict[str, NDArray[Any]], classes: tuple[int, ...], wanted: bool
    ) -> NDArray[np.bool_] | None:
        return np.isin(bands["SCL"], classes) if wanted and "SCL" in bands else None

    def mask(self, *arrays: NDArray[Any]) -> NDArray[np.uint16]:
        bands = self.bands(arrays)
        colours = [bands[b] for b in _COLOURS]
        out = np.zeros(colours[0].shape, np.uint16)
        valid = np.isfinite(colours[0]) & np.isfinite(colours[1]) & np.isfinite(colours[2])
        brightest = np.fmax(np.fmax(*colours[:2]), colours[2])
        if "infrared" in self.cloud:
            out[cloud_filter.cloud_in_infrared(brightest, bands["B11"])] |= LabelFlag.CLOUD
        for name, classes, wanted in (
            ("cloud", _SCL_CLOUD, "scl" in self.cloud),
            ("cloud_shadow", _SCL_SHADOW, self.shadow == "scl"),
            ("land", _SCL_LAND, self.land == "scl"),
        ):
            where = self.scl(bands, classes, wanted)
            if where is not None:
                out[where] |= LabelFlag[name.upper()]
        out[~valid] = LabelFlag.NO_DATA
        return out


class _Classes:
    """Classes of a block by thresholds or by the guarded filter."""

    def __init__(self, evidence: _Evidence, method: str, white: float) -> None:
        self.evidence, self.method, self.white = evidence, method, white

    def __call__(self, *arrays: NDArray[Any]) -> NDArray[np.int8]:
        bands, evidence = self.evidence.bands(arrays), self.evidence
        blue, green, red = (bands[b] for b in _COLOURS)
        if self.method == "threshold":
            return cloud_filter.threshold(
                cloud_filter.brightness(*(cloud_filter.eight_bit(c, self.white) for c in (red, green, blue)))
            )
        return cloud_filter.guarded(
            red,
            green,
            blue,
            infrared=bands["B11"] if "infrared" in evidence.cloud else None,
            cloud=evidence.scl(bands, _SCL_CLOUD, "scl" in evidence.cloud),
            shadow=evidence.scl(bands, _SCL_SHADOW, evidence.shadow == "scl"),
            white=self.white,
        )


def _published(
    colours: list[Any],
    white: float,
    aperture: int,
    per_tile: int | None,
    tiles: tuple[tuple[int, ...], tuple[int, ...]],
) -> Any:
    """Apply the published filter: contrasts by tile with their neighbourhood, then one table of the scene."""
    import dask.array as da

    blank = np.zeros((0, 0), np.int8)
    if per_tile is not None:
        squares = [c.rechunk((per_tile, per_tile)) for c in colours]
        alone = da.map_blocks(_published_alone, *squares, white, aperture, dtype=np.int8, meta=blank)
        return alone.rechunk(tiles)
    wanted = tiles
    depth = aperture // 2 + 3
    depth += -depth % _STEP
    if min(map(min, tiles)) < depth:  # a tile must hold the neighbourhood of the next
        colours = [
            c.rechunk(tuple(_tiles(sum(t), max(depth, cloud_filter.HALO)) for t in tiles)) for c in colours
        ]
    coded = da.map_overlap(
        _contrast, *colours, depth=_depth(tiles[0], tiles[1], depth), boundary="none", dtype=np.uint16,
        meta=np.zeros((0, 0), np.uint16), allow_rechunk=False, white=white, aperture=aperture,
    )  # fmt: skip
    each = tuple((1,) * n for n in coded.numblocks)
    counts = da.map_blocks(
        _histogram, coded, dtype=np.int64, new_axis=2, chunks=(*each, 256), meta=np.zeros((0, 0, 0), np.int64)
    ).sum(axis=(0, 1))
    table = da.map_blocks(_table, counts.rechunk(256), dtype=np.int8, meta=np.zeros(0, np.int8))
    found = da.blockwise(
        _looked_up, "yx", coded, "yx", table, "k", concatenate=True, dtype=np.int8, meta=blank
    )
    return found.rechunk(wanted)


def _eight(colours: tuple[NDArray[Any], ...], white: float) -> tuple[U1, U1, U1]:
    blue, green, red = (cloud_filter.eight_bit(c, white) for c in colours)
    return red, green, blue


def _published_alone(
    blue: NDArray[Any], green: NDArray[Any], red: NDArray[Any], white: float, aperture: int
) -> NDArray[np.int8]:
    return cloud_filter.published(*_eight((blue, green, red), white), aperture)


def _contrast(*colours: NDArray[Any], white: float, aperture: int) -> NDArray[np.uint16]:
    contrast, water = cloud_filter.published_contrast(*_eight(colours, white), aperture)
    return contrast + np.uint16(256) * water


def _histogram(coded: NDArray[np.uint16]) -> NDArray[np.int64]:
    return np.bincount((coded & 255).ravel(), minlength=256)[None, None, :].astype(np.int64)


def _table(counts: NDArray[np.int64]) -> NDArray[np.int8]:
    return cloud_filter.published_table(counts)[0]


def _looked_up(coded: NDArray[np.uint16], table: NDArray[np.int8]) -> NDArray[np.int8]:
    return np.where(coded > 255, np.int8(schema.OPEN_WATER), table[coded & 255])


def _rasterised(land: Any, scene: xr.Dataset) -> NDArray[np.uint16]:
    """Bit of land where the outlines of a GeoDataFrame cover pixel centres."""
    require("odc.stac", "rasterio")
    import odc.geo.xr  # noqa: F401  (registers the accessor)
    from rasterio.features import rasterize

    box = scene.odc.geobox
    if box is None or box.crs is None:
        raise SceneError(
            f"{scene.attrs.get('scene', 'scene')}: no CRS, so outlines of land cannot be laid on it"
        )
    shapes = [g for g in land.to_crs(str(box.crs)).geometry if g is not None and not g.is_empty]
    bit = np.uint16(LabelFlag.LAND)
    if not shapes:
        return np.zeros(box.shape, np.uint16)
    return rasterize(
        shapes, out_shape=box.shape, transform=box.affine, default_value=int(bit), dtype="uint16"
    )


def _flags(table: dict[int, str], kind: str, long_name: str) -> dict[str, Any]:
    return {
        "units": "1",
        "long_name": long_name,
        f"flag_{kind}": list(table),
        "flag_meanings": " ".join(table.values()),
        "grid_mapping": "spatial_ref",
    }


def shares(classes: xr.Dataset) -> dict[str, float]:
    """Shares of a class map (which is computed): usable, each bit of the mask, and each class of the usable.

    Parameters
    ----------
    classes : xarray.Dataset
        From :func:`class_map`.
    """
    mask, found = np.asarray(classes["mask"]), np.asarray(classes["surface_class"])
    free = (mask == 0) & (found != schema.UNLABELLED)
    out = {"usable": float(free.mean())}
    for name in ("no_data", "cloud", "cloud_shadow", "land"):
        out[name] = float(((mask & LabelFlag[name.upper()]) != 0).mean())
    for code, name in enumerate(schema.CLASSES):
        out[name] = float((found[free] == code).mean()) if free.any() else float("nan")
    return out


def require_usable(classes: xr.Dataset, least: float = 0.01) -> xr.Dataset:
    """Raise an error if a class map holds no class.

    Raises
    ------
    SceneError
        Less than ``least`` of its pixels are free of cloud, shadow, land and no data.
    """
    told = shares(classes)
    if told["usable"] < least:
        why = ", ".join(f"{told[k]:.1%} {k}" for k in ("cloud", "cloud_shadow", "no_data", "land"))
        raise SceneError(
            f"{classes.attrs.get('scene', 'scene')}: {told['usable']:.1%} of its pixels are usable, fewer than "
            f"{least:.1%} ({why}); take another scene, or cloud='none' to use the classes found under cloud"
        )
    return classes

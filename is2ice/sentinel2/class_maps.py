"""Maps of surface class from a Sentinel-2 scene, tile by tile and the same whatever the tiles.

The filters themselves are in :mod:`is2ice.sentinel2.cloud_filter`; here they meet a scene's bands, masks and Dask.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from is2ice import schema
from is2ice.errors import require
from is2ice.schema import LabelFlag

from . import cloud_filter, pixel_kernels
from . import tiles as s2tiles
from .pixel_kernels import STEP
from .stac_item import COLOURS, SceneError

__all__ = ["FILTERS", "METHODS", "ClassOptions", "class_map", "require_usable", "shares"]

#: Ways that need no training.
FILTERS = ("guarded", "published", "threshold")
METHODS = (*FILTERS, "unet")

U1 = NDArray[np.uint8]

#: Classes of SCL, by what they mean here. Over sea ice SCL is a poor witness: it has called all of a scene
#: of the Ross Sea water (75 %) or cloud (25 %) and nothing ice.
_SCL_CLOUD, _SCL_SHADOW, _SCL_LAND = (8, 9, 10), (3,), (4, 5)


@dataclass(frozen=True)
class ClassOptions:
    """Options of a class map.

    Attributes
    ----------
    white : float
        Reflectance of the value 255, the same for every scene.
    cloud : {"auto", "infrared", "scl", "either", "none"}
        Source of cloud: B11 if the scene has it, else SCL; one of them; both; nothing.
    shadow : {"scl", "none"}
    land : {"scl", "none"} or geopandas.GeoDataFrame
        SCL's vegetation and bare ground, nothing, or the outlines of land and ice shelves.
    aperture : int
        Size of the published filter's background, pixels; odd, at most 255.
    per_tile : int, optional
        Only with ``method="published"``: run it on squares of this size, pixels, as if each were an image, as
        the published Spark job did (256). By default its statistics are those of the whole scene.
    tile : int
        Pixels per side of the blocks worked at a time; the result does not depend on it.
    probabilities : bool
        Add ``class_probability`` float32 (surface, y, x); only with ``method="unet"``.

    Raises
    ------
    ValueError
        A value out of range.
    """

    white: float = 1.0
    cloud: str = "auto"
    shadow: str = "scl"
    land: Any = "scl"
    aperture: int = cloud_filter.PUBLISHED_APERTURE
    per_tile: int | None = None
    tile: int = 2048
    probabilities: bool = False

    def __post_init__(self) -> None:
        for name, known in (
            ("cloud", ("auto", "infrared", "scl", "either", "none")),
            ("shadow", ("scl", "none")),
        ):
            if getattr(self, name) not in known:
                raise ValueError(f"{name}={getattr(self, name)!r}: expected one of {', '.join(known)}")
        drawn = not isinstance(self.land, str)
        if not (hasattr(self.land, "to_crs") if drawn else self.land in ("scl", "none")):
            raise ValueError(f"land={self.land!r:.80}: expected 'scl', 'none' or a GeoDataFrame of outlines")
        if not 0 < self.white < np.inf:
            raise ValueError(f"white={self.white!r}: expected the reflectance of the value 255, above 0")
        if not 1 <= self.aperture <= pixel_kernels.WIDEST or self.aperture % 2 == 0:
            most = pixel_kernels.WIDEST
            raise ValueError(f"aperture={self.aperture!r}: expected an odd number of pixels, at most {most}")
        for name in ("per_tile", "tile"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise ValueError(f"{name}={value!r}: expected pixels, at least 1")


def class_map(
    scene: xr.Dataset,
    method: str = "guarded",
    *,
    classifier: s2tiles.Network | None = None,
    options: ClassOptions | None = None,
    **changes: Any,
) -> xr.Dataset:
    """Map the surface class of every pixel, with the reasons not to trust some.

    Parameters
    ----------
    scene : xarray.Dataset
        Reflectance as :func:`open_scene` gives it: B02, B03, B04 and, where there are, B11 and SCL; lazy or
        in memory, as the result then is.
    method : {"guarded", "published", "threshold", "unet"}
        Thresholds with cloud and shadow taken out; the published twelve-step filter; thresholds alone
        (:mod:`is2ice.sentinel2.cloud_filter`); a trained network.
    classifier : is2ice.classifiers.unet.UNet
        Only with ``method="unet"``, and needed there: ``UNet.load(folder)``.
    options : ClassOptions, optional
    **changes
        Fields of :class:`ClassOptions`, in place of those of `options`: white, cloud, shadow, land, aperture,
        per_tile, tile, probabilities.

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
        An unknown option; no classifier for a method that needs one, or one made for other scenes.
    TypeError
        Something else than an opened scene.
    """
    chosen = replace(options or ClassOptions(), **changes)
    _check(scene, method, chosen)
    own = _bands_of(classifier, scene, method, chosen.white)
    if chosen.probabilities and classifier is None:
        raise ValueError("probabilities: only a network (method='unet') gives class probabilities")
    import dask.array as da

    names = [b for b in (*COLOURS, "B11", "SCL") if b in scene]
    lazy = any(hasattr(scene[b].data, "dask") for b in names)
    source = _cloud_source(chosen.cloud, names)
    alone = source == "none" and not ("SCL" in names and chosen.shadow == "scl")
    halo = cloud_filter.HALO_COLOURS if alone and method == "guarded" else cloud_filter.HALO
    chunks = _tiles(scene.sizes["y"], chosen.tile, halo), _tiles(scene.sizes["x"], chosen.tile, halo)
    planes = {b: da.asarray(scene[b].transpose("y", "x").data) for b in (*names, *own)}
    arrays = [planes[b].rechunk(chunks) for b in names]
    land = chosen.land if isinstance(chosen.land, str) else "none"
    evidence = _Evidence(tuple(names), source, chosen.shadow, land, chosen.white)
    light = _planes(evidence.light, arrays, 4)
    if method == "published" and chosen.per_tile is None:
        colours = (
            arrays if min(map(min, chunks)) >= _depth(chosen.aperture) else _wider(arrays, chosen.aperture)
        )
        grey = _planes(evidence.grey, colours, 3)
        mask = grey[2].astype(np.uint16).rechunk(chunks)
        classes = _published(grey, chosen.aperture).rechunk(chunks)
    else:
        mask = light[3].astype(np.uint16)
    if not isinstance(chosen.land, str):
        mask = mask | da.from_array(_rasterised(chosen.land, scene), chunks=chunks)
    if method == "published" and chosen.per_tile is not None:
        classes = _published_squares(arrays[:3], chosen).rechunk(chunks)
    elif classifier is not None:
        inputs, block = {b: planes[b] for b in own}, max(chosen.tile, 2 * 1024)
        how = {"probabilities": chosen.probabilities}
        classes = s2tiles.classify(classifier, inputs, chosen.white, block, **how)
        if chosen.probabilities:
            share, classes = classes, classes.argmax(0).astype(np.int8)
        classes = classes.rechunk(chunks)
    elif method == "guarded":
        blank = np.zeros((0, 0), np.int8)
        guarded = cloud_filter.guarded_classes
        classes = _with_neighbours(guarded, light, halo, blank, white=chosen.white, alone=alone)
    elif method == "threshold":
        classes = da.map_blocks(cloud_filter.threshold, light[0], dtype=np.int8)
    attrs = {"method": method, "white": chosen.white, "cloud_source": evidence.cloud}
    if classifier is not None:
        attrs |= {
            "model": str(getattr(classifier, "name", "unet")),
            "model_checksum": str(getattr(classifier, "checksum", "")),
        }
    out = _dataset(scene, classes, mask).assign_attrs(attrs)
    if chosen.probabilities:
        out["class_probability"] = (("surface", "y", "x"), share)
        out = out.assign_coords(surface=list(schema.CLASSES))
    return out if lazy else out.compute(scheduler="threads")


def _dataset(scene: xr.Dataset, classes: Any, mask: Any) -> xr.Dataset:
    """Dataset of classes and mask (lazy arrays) on the grid of a scene, with its attributes."""
    import dask.array as da

    gone = (mask & np.uint16(LabelFlag.NO_DATA | LabelFlag.LAND)) != 0
    classes = da.where(gone, np.int8(schema.UNLABELLED), classes).astype(np.int8)
    out = xr.Dataset(
        {"surface_class": (("y", "x"), classes), "mask": (("y", "x"), mask)},
        coords={k: scene.coords[k] for k in ("y", "x", "spatial_ref") if k in scene.coords},
    )
    out["surface_class"].attrs = _flags(
        {-1: "unlabelled", **dict(enumerate(schema.CLASSES))}, "values", "surface class"
    )
    written = LabelFlag.NO_DATA | LabelFlag.CLOUD | LabelFlag.CLOUD_SHADOW | LabelFlag.LAND
    bits = {bit: name for bit, name in schema.LABEL_BITS.items() if bit & written}
    out["mask"].attrs = _flags(bits, "masks", "why a class is not to be trusted")
    keep = ("scene", "time", "crs", "tile", "platform", "level", "baseline", "offset", "cloud_cover")
    attrs = {k: scene.attrs[k] for k in keep if k in scene.attrs}
    return out.assign_attrs(attrs)


def _check(scene: Any, method: str, options: ClassOptions) -> None:
    """Refuse anything but an opened scene with the bands that the options need."""
    if not isinstance(scene, xr.Dataset):
        raise TypeError(
            f"scene: expected reflectance from is2ice.sentinel2.open_scene, got {type(scene).__name__} {scene!r:.80}"
        )
    if method not in METHODS:
        raise ValueError(f"method={method!r}: expected one of {', '.join(METHODS)}")
    if options.per_tile is not None and method != "published":
        raise ValueError(f"per_tile={options.per_tile} belongs to method='published'; got method={method!r}")
    missing = [b for b in COLOURS if b not in scene]
    missing += ["B11"] if options.cloud == "infrared" and "B11" not in scene else []
    missing += ["SCL"] if options.cloud == "scl" and "SCL" not in scene else []
    if missing or not {"x", "y"} <= set(scene.dims):
        held = ", ".join(map(str, scene.data_vars)) or "nothing"
        raise SceneError(
            f"{scene.attrs.get('scene', 'scene')}: {', '.join(missing) or 'dims (y, x)'} missing; it holds {held}"
        )


def _bands_of(classifier: Any, scene: xr.Dataset, method: str, white: float) -> tuple[str, ...]:
    """Return the bands that the network needs; refuse one that was made for other scenes."""
    if (classifier is not None) != (method == "unet"):
        needs = "needs classifier=UNet.load(folder)"
        takes = "takes no classifier; it belongs to method='unet'"
        raise ValueError(f"method={method!r} {needs if classifier is None else takes}")
    if classifier is None:
        return ()
    if not all(hasattr(classifier, n) for n in ("inputs", "size", "probabilities")):
        raise ValueError(
            f"classifier: expected is2ice.classifiers.unet.UNet, got {type(classifier).__name__}"
        )
    where, bands = scene.attrs.get("scene", "scene"), s2tiles.inputs_of(classifier.inputs)
    if missing := [b for b in bands if b not in scene]:
        held = ", ".join(map(str, scene.data_vars))
        raise SceneError(f"{where}: {', '.join(missing)} missing, which the network needs; it holds {held}")
    card = getattr(classifier, "card", {})
    for name, have, want in (
        ("level", scene.attrs.get("level", "unknown"), card.get("level", "unknown")),
        ("white", white, float(card.get("white", white))),
    ):
        if have != want and "unknown" not in (have, want):
            raise ValueError(
                f"{where}: {name} {have}, but the network was trained with {name} {want}: its numbers mean another "
                "brightness there. Train it for such scenes, or choose another scene"
            )
    return bands


def _cloud_source(cloud: str, names: list[str]) -> str:
    if cloud == "auto":
        return "infrared" if "B11" in names else "scl" if "SCL" in names else "none"
    if cloud == "either":
        return "+".join(s for s, b in (("infrared", "B11"), ("scl", "SCL")) if b in names) or "none"
    return cloud


def _tiles(n: int, tile: int, least: int = cloud_filter.HALO) -> tuple[int, ...]:
    """Blocks that start on multiples of the filter's own, none smaller than a halo."""
    size = max(least, tile // STEP * STEP)
    size += -size % STEP
    whole, rest = divmod(n, size)
    sizes = [size] * whole + ([rest] if rest else [])
    if len(sizes) > 1 and sizes[-1] < least:
        sizes[-2:] = [sizes[-2] + sizes[-1]]
    return tuple(sizes)


class _Evidence:
    """Bytes of a block's pixels, with its cloud, shadow and land; a plain object, so that it can go to workers."""

    def __init__(self, names: tuple[str, ...], cloud: str, shadow: str, land: str, white: float) -> None:
        self.names, self.cloud, self.white = names, cloud, white
        self.marks = np.zeros(256, np.uint8)
        for classes, mark, wanted in (
            (_SCL_CLOUD, pixel_kernels.CLOUD_MARK, "scl" in cloud),
            (_SCL_SHADOW, pixel_kernels.SHADOW_MARK, shadow == "scl"),
            (_SCL_LAND, pixel_kernels.LAND_MARK, land == "scl"),
        ):
            if wanted:
                self.marks[list(classes)] |= mark

    def light(self, *arrays: NDArray[Any]) -> U1:
        """Bytes of :func:`cloud_filter.guarded_bytes`."""
        bands = dict(zip(self.names, arrays, strict=True))
        codes = bands.get("SCL")
        if codes is not None and codes.dtype.kind == "f":
            codes = np.nan_to_num(codes)
        marks = None if codes is None else self.marks[codes.astype(np.uint8)]
        infrared = bands["B11"] if "infrared" in self.cloud else None
        red, green, blue = (bands[b] for b in ("B04", "B03", "B02"))
        return cloud_filter.guarded_bytes(red, green, blue, infrared, marks, self.white)

    def grey(self, *arrays: NDArray[Any]) -> U1:
        """Bytes of :func:`cloud_filter.published_bytes`."""
        bands = dict(zip(self.names, arrays, strict=True))
        red, green, blue = (bands[b] for b in ("B04", "B03", "B02"))
        return cloud_filter.published_bytes(red, green, blue, self.light(*arrays), self.white)


def _planes(function: Any, arrays: list[Any], n: int) -> Any:
    """Make bytes of bands, which take a fifth of the memory: neighbours are kept while blocks are worked."""
    import dask.array as da

    blank = np.zeros((0, 0, 0), np.uint8)
    shape = (n, *arrays[0].chunks)
    return da.map_blocks(function, *arrays, dtype=np.uint8, new_axis=0, chunks=shape, meta=blank)


def _with_neighbours(function: Any, planes: Any, depth: int, blank: NDArray[Any], **how: Any) -> Any:
    """Apply a function of planes (planes, y, x) to each block and `depth` pixels around it."""
    import dask.array as da

    rows, columns = planes.chunks[1:]
    around = {0: 0, 1: depth if len(rows) > 1 else 0, 2: depth if len(columns) > 1 else 0}
    wide = da.overlap.overlap(planes, around, "none", allow_rechunk=False)
    found = da.map_blocks(function, wide, dtype=blank.dtype, drop_axis=0, meta=blank, **how)
    return da.overlap.trim_internal(found, {0: around[1], 1: around[2]}, "none")


def _depth(aperture: int) -> int:
    """Pixels around a block that the published filter looks at, in whole steps."""
    depth = aperture // 2 + 3
    return depth + -depth % STEP


def _wider(arrays: list[Any], aperture: int) -> list[Any]:
    """Return the arrays in blocks that hold the neighbourhood of the next."""
    least = max(_depth(aperture), cloud_filter.HALO)
    return [a.rechunk(tuple(_tiles(n, least) for n in a.shape)) for a in arrays]


def _published_squares(colours: list[Any], options: ClassOptions) -> Any:
    """Apply the published filter to squares, each as if it were an image."""
    import dask.array as da

    side, blank = options.per_tile, np.zeros((0, 0), np.int8)
    squares = [c.rechunk((side, side)) for c in colours]
    return da.map_blocks(
        _published_alone, *squares, options.white, options.aperture, dtype=np.int8, meta=blank
    )


def _published(planes: Any, aperture: int) -> Any:
    """Apply the published filter: contrasts by tile with their neighbourhood, then one table of the scene."""
    import dask.array as da

    blank = np.zeros((0, 0), np.int8)
    coded = _with_neighbours(
        _contrast, planes, _depth(aperture), np.zeros((0, 0), np.uint16), aperture=aperture
    )
    each = tuple((1,) * n for n in coded.numblocks)
    counts = da.map_blocks(
        _histogram, coded, dtype=np.int64, new_axis=2, chunks=(*each, 256), meta=np.zeros((0, 0, 0), np.int64)
    ).sum(axis=(0, 1))
    table = da.map_blocks(_table, counts.rechunk(256), dtype=np.int8, meta=np.zeros(0, np.int8))
    return da.blockwise(
        _looked_up, "yx", coded, "yx", table, "k", concatenate=True, dtype=np.int8, meta=blank
    )


def _eight(colours: tuple[NDArray[Any], ...], white: float) -> tuple[U1, U1, U1]:
    blue, green, red = (cloud_filter.eight_bit(c, white) for c in colours)
    return red, green, blue


def _published_alone(
    blue: NDArray[Any], green: NDArray[Any], red: NDArray[Any], white: float, aperture: int
) -> NDArray[np.int8]:
    return cloud_filter.published(*_eight((blue, green, red), white), aperture)


def _contrast(planes: U1, aperture: int) -> NDArray[np.uint16]:
    grey, water = planes[:2]
    return cloud_filter.published_contrast(grey, aperture) + np.uint16(256) * water


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

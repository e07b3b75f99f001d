"""Sentinel-2 images of a scene as public catalogues serve them: COGs on the MGRS grid and a STAC item.

The truth of an image (class, cloud, shadow) lies in a file of its own in ``truth/``, named by no item.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pyproj import Transformer

from is2ice.errors import require
from is2ice.twin.scene import optics

from .image import BLOCK, MIN_SUN, NO_CLASS, Image, radiometric_offset
from .mgrs_tiles import TILE_SIZE, Tile, tile_at
from .stac import add_to_collection, image_item

if TYPE_CHECKING:
    from is2ice.twin.scene.scene import Scene

__all__ = ["ImageOptions", "make_scene"]

logger = logging.getLogger("is2ice")

_COG = {"driver": "COG", "COMPRESS": "DEFLATE", "PREDICTOR": "YES", "BLOCKSIZE": 512, "LEVEL": 6}


def _place(
    scene: Scene, centre: tuple[float, float] | None, size_km: float | None
) -> tuple[Tile, float, float, int]:
    """Tile, upper left corner and size (10 m pixels) of an image around a position of the scene."""
    if centre is None:
        track = scene.track("gt2l")
        x, y = track.xy(0.5 * (track.x_start + track.x_end))
        centre = float(x), float(y)
    lon, lat = Transformer.from_crs(scene.crs, 4326, always_xy=True).transform(*centre)
    tile = tile_at(lon, lat)
    if size_km is None:
        return tile, tile.left, tile.top, round(TILE_SIZE / 10)
    if not 0.2 <= size_km <= TILE_SIZE / 1000:
        raise ValueError(
            f"size_km: expected 0.2 to {TILE_SIZE / 1000:g} (or None for a whole tile), got {size_km!r}"
        )
    size = round(size_km * 1000 / 20) * 20
    east, north = Transformer.from_crs(4326, tile.epsg, always_xy=True).transform(lon, lat)
    # On the tile's own 20 m grid, and inside the tile.
    left = tile.left + np.clip(round((east - size / 2 - tile.left) / 20) * 20, 0, TILE_SIZE - size)
    top = tile.top - np.clip(round((tile.top - north - size / 2) / 20) * 20, 0, TILE_SIZE - size)
    return tile, float(left), float(top), size // 10


@dataclass(frozen=True)
class ImageOptions:
    """Options of a simulated image.

    Attributes
    ----------
    minutes : float
        Time of the image after the pass; the ice has drifted, the clouds are blown on.
    level : {"l2a", "l1c"}
        Surface or top-of-atmosphere reflectance.
    baseline : str
        Processing baseline; from 04.00 on digital numbers carry 1000 more.
    centre : tuple of float, optional
        Middle of the image in the scene's crs, m; by default the middle of the track.
    size_km : float, optional
        Side of a square cut from the tile; None for the whole tile of 10,980 pixels.
    platform : {"S2A", "S2B"}
    swath : float
        Share of the diagonal without data, 0 to .9.
    samples : int
        Points per pixel side over which a pixel is averaged, odd.
    offset_applied : bool
        As Earth Search's ``sentinel-2-l2a`` does: the offset is taken out of the files, while the item still
        states it and says ``earthsearch:boa_offset_applied``.
    seed : int, optional
        Seed of the noise; the scene's by default.

    Raises
    ------
    ValueError
        A value out of range.
    """

    minutes: float = 20.0
    level: str = "l2a"
    baseline: str = "05.00"
    centre: tuple[float, float] | None = None
    size_km: float | None = 20.0
    platform: str = "S2B"
    swath: float = 0.0
    samples: int = 3
    offset_applied: bool = False
    seed: int | None = None

    def __post_init__(self) -> None:
        for name, known in (("level", ("l2a", "l1c")), ("platform", ("S2A", "S2B"))):
            if getattr(self, name) not in known:
                raise ValueError(
                    f"{name}: expected {' or '.join(map(repr, known))}, got {getattr(self, name)!r}"
                )
        if not 0.0 <= self.swath <= 0.9:
            raise ValueError(f"swath: expected a share from 0 to 0.9, got {self.swath!r}")
        if self.samples < 1 or self.samples % 2 == 0:
            raise ValueError(f"samples: expected an odd number, got {self.samples!r}")


def make_scene(
    scene: Scene, folder: str | os.PathLike[str], *, options: ImageOptions | None = None, **changes: Any
) -> Path:
    """Write a Sentinel-2 image of a scene with its STAC item, collection and, apart, its truth.

    Parameters
    ----------
    scene : Scene
    folder : path
        Gets ``sentinel-2-<level>/<product>/`` with the item and its COGs, and ``truth/<product>_class.tif``.
    options : ImageOptions, optional
    **changes
        Fields of :class:`ImageOptions`, in place of those of `options`: minutes, level, baseline, centre,
        size_km and so on.

    Returns
    -------
    Path
        Path of the STAC item (JSON).

    Raises
    ------
    ValueError
        An option out of range, a place beyond the tile grid, or no sun at the time.
    """
    how = replace(options or ImageOptions(), **changes)
    tile, left, top, size = _place(scene, how.centre, how.size_km)
    stated = radiometric_offset(how.baseline)
    image = Image(
        scene.at(scene.pass_time + timedelta(minutes=how.minutes)),
        tile,
        left,
        top,
        size,
        size,
        how.level,
        how.baseline,
        how.platform,
        scene.seed if how.seed is None else int(how.seed),
        how.swath,
        how.samples,
        0 if how.offset_applied else stated,
    )
    if image.sun[0] < MIN_SUN:
        raise ValueError(
            f"{image.time:%Y-%m-%dT%H:%M}: the sun stands at {image.sun[0]:.1f} degrees over tile {tile.name}; "
            f"Sentinel-2 takes no images below {MIN_SUN:g}. Choose a preset with daylight"
        )
    root = Path(folder)
    home = root / f"sentinel-2-{how.level}" / image.name
    truth = root / "truth" / f"{image.name}_class.tif"
    for path in (home, truth.parent):
        path.mkdir(parents=True, exist_ok=True)
    logger.info("twin: writing %s (%d x %d pixels)", image.name, size, size)
    counts = _write(image, home, truth)
    item = image_item(image, counts, stated, how.offset_applied)
    return add_to_collection(item, home)


def _write(image: Image, home: Path, truth: Path) -> NDArray[np.int64]:
    """Write the rasters of an image; returns the number of pixels of each scene class."""
    require("rasterio")
    import rasterio
    from rasterio.crs import CRS
    from rasterio.shutil import copy
    from rasterio.transform import from_origin
    from rasterio.windows import Window

    layers: dict[str, tuple[int, int, str]] = dict.fromkeys(optics.BANDS[:4], (1, 10, "uint16"))
    layers |= {"B11": (1, 20, "uint16"), "TCI": (3, 10, "uint8"), "truth": (2, 10, "uint8")}
    if image.level == "l2a":
        layers["SCL"] = (1, 20, "uint8")
    counts = np.zeros(12, np.int64)
    scratch = Path(tempfile.mkdtemp(prefix=".writing-", dir=home))
    try:
        with ExitStack() as stack:
            files = {
                name: stack.enter_context(
                    rasterio.open(
                        scratch / f"{name}.tif",
                        "w",
                        driver="GTiff",
                        dtype=dtype,
                        count=count,
                        width=image.columns * 10 // step,
                        height=image.rows * 10 // step,
                        crs=CRS.from_epsg(image.tile.epsg),
                        transform=from_origin(image.left, image.top, step, step),
                        nodata=NO_CLASS if name == "truth" else 0,
                        tiled=True,
                        blockxsize=BLOCK * 10 // step,
                        blockysize=BLOCK * 10 // step,
                        **({"photometric": "RGB"} if name == "TCI" else {}),
                    )
                )
                for name, (count, step, dtype) in layers.items()
            }
            for row, column, block in image.blocks():
                parts = dict(zip(optics.BANDS[:4], block.bands[:, None], strict=True))
                parts |= {"B11": block.swir[None], "TCI": block.visual, "truth": block.truth}
                parts |= {"SCL": block.scl[None]}
                counts += np.bincount(block.scl.ravel(), minlength=12)
                for name, file in files.items():
                    step = layers[name][1] // 10
                    data = parts[name]
                    file.write(data, window=Window(column // step, row // step, data.shape[2], data.shape[1]))
            files["truth"].set_band_description(1, "surface_class: 0 thick_ice, 1 thin_ice, 2 open_water")
            files["truth"].set_band_description(2, "sky: 0 clear, 1 cloud, 2 cloud_shadow")
        for name in layers:
            target = truth if name == "truth" else home / f"{name}.tif"
            method = "NEAREST" if name in ("SCL", "truth") else "AVERAGE"
            copy(scratch / f"{name}.tif", target, OVERVIEW_RESAMPLING=method, **_COG)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return counts

"""Sentinel-2 images of a scene as public catalogues serve them: COGs on the MGRS grid and a STAC item.

The truth of an image (class, cloud, shadow) lies in a file of its own in ``truth/``, named by no item.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pyproj import Geod, Transformer

from is2ice.extras import require
from is2ice.twin.scene import optics
from is2ice.twin.scene.tracks import sun
from is2ice.twin.server.granule_items import cut_antimeridian

from .mgrs_tiles import TILE_SIZE, Tile, orbit, tile_at
from .stac import add_to_collection, image_item

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

    from is2ice.twin.scene.scene import Scene

__all__ = ["MIN_SUN", "Image", "make_scene", "radiometric_offset"]

logger = logging.getLogger("is2ice")

#: Pixels of a block: even, so that 20 m pixels never straddle blocks.
BLOCK = 256
#: Nodes of the map projection within a block are this many pixels apart; linear between them (< 1 cm).
_NODE = 64
#: Lowest sun under which an image is taken, degrees.
MIN_SUN = 3.0
_NO_CLASS = 255
#: Noise of the instrument, reflectance: a floor, and a share of the signal (radiometric signal-to-noise).
_NOISE_FLOOR = np.array([0.0012, 0.0010, 0.0010, 0.0010, 0.0012])
_NOISE_SHARE = 0.0035
#: Colour image: reflectance of the value 255, as in ESA's true-colour images (bright snow saturates).
_TCI_WHITE = 0.3558
_COG = {"driver": "COG", "COMPRESS": "DEFLATE", "PREDICTOR": "YES", "BLOCKSIZE": 512, "LEVEL": 6}


def radiometric_offset(baseline: str) -> int:
    """Number added to 10,000 times the reflectance: 1000 from processing baseline 04.00, else 0.

    Parameters
    ----------
    baseline : str
        Such as ``"05.00"``.

    Raises
    ------
    ValueError
        Not of this form.
    """
    major, _, minor = baseline.partition(".")
    if not (major.isdigit() and minor.isdigit() and len(major) == len(minor) == 2):
        raise ValueError(
            f"baseline: expected two digits, a point and two digits such as '05.00', got {baseline!r}"
        )
    return 1000 if float(baseline) >= 4.0 else 0


@dataclass(frozen=True)
class Image:
    """One image of a scene: where its pixels lie, when it was taken, and how it is processed.

    Attributes
    ----------
    scene : Scene
        At the time of the image.
    tile : Tile
    left, top : float
        UTM coordinates of the upper left corner, m.
    rows, columns : int
        10 m pixels.
    level : {"l2a", "l1c"}
    baseline, platform : str
    seed : int
        Of the instrument's noise.
    swath : float
        Share of the image's diagonal beyond the edge of the swath (no data), 0 for none.
    samples : int
        Points per pixel side.
    offset : int
        Added to the digital numbers.
    """

    scene: Scene
    tile: Tile
    left: float
    top: float
    rows: int
    columns: int
    level: str
    baseline: str
    platform: str
    seed: int
    swath: float
    samples: int
    offset: int

    @property
    def time(self) -> datetime:
        """UTC, naive."""
        return self.scene.time

    @property
    def name(self) -> str:
        """Product name without its ending."""
        stamp = "%Y%m%dT%H%M%S"
        made = self.time + timedelta(hours=4, minutes=17)
        return (
            f"{self.platform}_MSI{self.level.upper()}_{self.time:{stamp}}_N{self.baseline.replace('.', '')}"
            f"_R{orbit(self.platform, self.time)[1]:03d}_T{self.tile.name}_{made:{stamp}}"
        )

    @property
    def _second(self) -> int:
        return (self.time - datetime(2015, 1, 1)) // timedelta(seconds=1)

    @cached_property
    def _to_lonlat(self) -> Transformer:
        return Transformer.from_crs(self.tile.epsg, 4326, always_xy=True)

    @cached_property
    def _to_scene(self) -> Transformer:
        return Transformer.from_crs(self.tile.epsg, self.scene.crs, always_xy=True)

    @cached_property
    def centre(self) -> tuple[float, float]:
        """Longitude and latitude, degrees."""
        lon, lat = self._to_lonlat.transform(self.left + 5.0 * self.columns, self.top - 5.0 * self.rows)
        return float(lon), float(lat)

    @cached_property
    def sun(self) -> tuple[float, float]:
        """Elevation and azimuth of the sun at the centre, degrees."""
        elevation, azimuth = sun(*self.centre, self.time)
        return float(elevation), float(azimuth)

    @cached_property
    def sun_on_grid(self) -> tuple[float, float]:
        """Unit vector towards the sun along the columns (east) and rows (north) of the grid."""
        lon, lat, _ = Geod(ellps="WGS84").fwd(*self.centre, self.sun[1], 100.0)
        x0, y0 = self.left + 5.0 * self.columns, self.top - 5.0 * self.rows
        x, y = self._to_lonlat.transform(lon, lat, direction="INVERSE")
        return float((x - x0) / np.hypot(x - x0, y - y0)), float((y - y0) / np.hypot(x - x0, y - y0))

    def outside_swath(self, column: NDArray[Any], row: NDArray[Any]) -> NDArray[np.bool_]:
        """Whether points, in pixels from the upper left corner, lie beyond the edge of the swath."""
        # The edge of a descending pass near a pole cuts a corner off.
        return column / self.columns + (1.0 - row / self.rows) > 2.0 * (1.0 - self.swath)

    def footprint(self) -> BaseGeometry:
        """Outline of the pixels with data in longitude and latitude, cut at the antimeridian."""
        from shapely import box, segmentize, transform
        from shapely.geometry import Polygon

        nc, nr = float(self.columns), float(self.rows)
        outline = box(0.0, 0.0, nc, nr)
        if self.swath > 0.0:
            # The line column / nc - row / nr = c within the pixel frame.
            c = 2.0 * (1.0 - self.swath) - 1.0
            outline = outline.intersection(
                Polygon(
                    [((c - 9) * nc, -9 * nr), (-99 * nc, -9 * nr), (-99 * nc, 9 * nr), ((c + 9) * nc, 9 * nr)]
                )
            )

        def geographic(points: NDArray[Any]) -> NDArray[Any]:
            lon, lat = self._to_lonlat.transform(self.left + 10 * points[:, 0], self.top - 10 * points[:, 1])
            # One turn around the centre, so that no edge jumps from 180 to -180 degrees.
            lon = self.centre[0] + (lon - self.centre[0] + 180.0) % 360.0 - 180.0
            return np.round(np.column_stack([lon, lat]), 7)

        return cut_antimeridian(transform(segmentize(outline, max(nc, nr) / 8), geographic))

    def _positions(self, row: int, column: int, rows: int, columns: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """Scene coordinates of the sub-pixel points of a block and one point around it."""
        n = self.samples

        def axis(first: int, count: int) -> tuple[NDArray[Any], NDArray[Any]]:
            points = first + (np.arange(-1, n * count + 1) + 0.5) / n
            nodes = np.linspace(points[0], points[-1], max(2, count // _NODE + 2))
            at = np.clip(np.searchsorted(nodes, points) - 1, 0, nodes.size - 2)
            part = (points - nodes[at]) / (nodes[at + 1] - nodes[at])
            weights = np.zeros((points.size, nodes.size))
            weights[np.arange(points.size), at] = 1.0 - part
            weights[np.arange(points.size), at + 1] += part
            return nodes, weights

        (u, wu), (v, wv) = axis(column, columns), axis(row, rows)
        east, north = np.meshgrid(self.left + 10.0 * u, self.top - 10.0 * v)
        x, y = self._to_scene.transform(east, north)
        return wv @ x @ wu.T, wv @ y @ wu.T

    def block(self, row: int, column: int, rows: int, columns: int) -> Block:
        """Bands, scene classification and truth of some pixels (row, column: of the first)."""
        n = self.samples
        x, y = self._positions(row, column, rows, columns)
        ground = self.scene.surface(x, y)
        inner = (slice(1, -1), slice(1, -1))
        # Slopes towards the sun look brighter, the more the lower it stands; water has none.
        east, north = self.sun_on_grid
        slope = (ground.height[1:-1, 2:] - ground.height[1:-1, :-2]) * east
        slope += (ground.height[:-2, 1:-1] - ground.height[2:, 1:-1]) * north
        slope *= -n / 20.0 / np.tan(np.radians(max(self.sun[0], MIN_SUN)))
        kind = ground.kind[inner]
        light = np.where(kind <= 3, np.clip(1.0 + slope, 0.15, 1.9), 1.0)
        bright = optics.surface_reflectance(kind, ground.albedo_532[inner]) * light[..., None]
        surface = _mean(bright, n)
        shares = np.stack([_mean(ground.surface_class[inner] == c, n) for c in range(3)])
        middle = (slice(1 + n // 2, -1, n), slice(1 + n // 2, -1, n))
        depth = self.scene.cloud(x[middle], y[middle])
        shadow = self.scene.shadow(x[middle], y[middle])
        seen = optics.cloud_over(optics.shade(surface, shadow), depth, self.sun[0])
        air = optics.Atmosphere(self.sun[0])
        space = air.to_space(seen)
        # The corrected image keeps the instrument's noise, and the cloud the correction cannot see.
        rng = np.random.default_rng([self.seed, self._second, row, column])
        space += (_NOISE_FLOOR + _NOISE_SHARE * space) * rng.standard_normal(space.shape)
        reflectance = space if self.level == "l1c" else air.to_surface(space)
        reflectance[..., 4] = np.repeat(np.repeat(_mean(reflectance[..., 4], 2), 2, 0), 2, 1)
        r, c = np.mgrid[row : row + rows, column : column + columns] + 0.5
        outside = self.outside_swath(c, r) if self.swath > 0.0 else np.zeros((rows, columns), bool)
        return self._quantise(reflectance, outside, shares, depth, shadow)

    def _quantise(
        self,
        reflectance: NDArray[Any],
        outside: NDArray[np.bool_],
        shares: NDArray[Any],
        depth: NDArray[Any],
        shadow: NDArray[Any],
    ) -> Block:
        numbers = np.clip(np.rint(reflectance * 10_000.0 + self.offset), 1, 65_535).astype(np.uint16)
        numbers[outside] = 0
        colour = np.clip(np.rint(reflectance[..., [2, 1, 0]] / _TCI_WHITE * 255.0), 1, 255).astype(np.uint8)
        colour[outside] = 0
        coarse = np.stack([_mean(reflectance[..., b], 2) for b in range(5)], -1)
        scl = classify_scene(coarse, _mean(shadow, 2))
        missing = outside[::2, ::2]
        swir = numbers[::2, ::2, 4].copy()
        swir[missing] = scl[missing] = 0
        truth = np.stack([np.argmax(shares, 0), np.where(depth > 0.05, 1, np.where(shadow > 0.1, 2, 0))])
        truth = truth.astype(np.uint8)
        truth[:, outside] = _NO_CLASS
        return Block(np.moveaxis(numbers[..., :4], -1, 0), swir, scl, np.moveaxis(colour, -1, 0), truth)

    def blocks(self) -> Iterator[tuple[int, int, Block]]:
        """All blocks with the row and column of their first pixel, a band of rows in memory at a time."""
        with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
            for row in range(0, self.rows, BLOCK):
                rows = min(BLOCK, self.rows - row)
                starts = range(0, self.columns, BLOCK)
                jobs = [pool.submit(self.block, row, k, rows, min(BLOCK, self.columns - k)) for k in starts]
                for column, job in zip(starts, jobs, strict=True):
                    yield row, column, job.result()


@dataclass(frozen=True)
class Block:
    """Pixels of a part of an image, as written.

    Attributes
    ----------
    bands : uint16, shape (4, rows, columns)
        B02, B03, B04, B08.
    swir, scl : uint16, uint8, shape (rows / 2, columns / 2)
    visual : uint8, shape (3, rows, columns)
    truth : uint8, shape (2, rows, columns)
        Class of the largest share of the pixel; 0 clear, 1 cloud, 2 shadow. 255 outside the swath.
    """

    bands: NDArray[np.uint16]
    swir: NDArray[np.uint16]
    scl: NDArray[np.uint8]
    visual: NDArray[np.uint8]
    truth: NDArray[np.uint8]


def _mean(values: NDArray[Any], n: int) -> NDArray[Any]:
    """Mean of n x n points over the first two axes."""
    rows, columns = values.shape[0] // n, values.shape[1] // n
    return values.reshape(rows, n, columns, n, *values.shape[2:]).mean((1, 3), dtype=np.float64)


def classify_scene(reflectance: NDArray[Any], shadow: NDArray[Any]) -> NDArray[np.uint8]:
    """Scene classification from thresholds on the image, with the errors such thresholds make.

    Cloud over snow shows in the short-wave infrared only; shadow comes from the geometry of the clouds.

    Parameters
    ----------
    reflectance : ndarray, shape (rows, columns, 5)
    shadow : ndarray, shape (rows, columns)
        0-1.
    """
    green, red, infrared, swir = (reflectance[..., b] for b in (1, 2, 3, 4))
    conditions = [swir > 0.30, swir > 0.20, swir > 0.145, shadow > 0.25, (red < 0.10) & (infrared < 0.07)]
    cold = (green - swir) / np.maximum(green + swir, 1e-3) > 0.4
    return np.select([*conditions, cold], [9, 8, 10, 3, 6, 11], 7).astype(np.uint8)


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


def make_scene(
    scene: Scene,
    folder: str | os.PathLike[str],
    *,
    minutes: float = 20.0,
    level: str = "l2a",
    baseline: str = "05.00",
    centre: tuple[float, float] | None = None,
    size_km: float | None = 20.0,
    platform: str = "S2B",
    swath: float = 0.0,
    samples: int = 3,
    offset_applied: bool = False,
    seed: int | None = None,
) -> Path:
    """Write a Sentinel-2 image of a scene with its STAC item, collection and, apart, its truth.

    Parameters
    ----------
    scene : Scene
    folder : path
        Gets ``sentinel-2-<level>/<product>/`` with the item and its COGs, and ``truth/<product>_class.tif``.
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
        As Earth Search's ``sentinel-2-l2a`` does: the offset is taken out of the files, while the item goes
        on stating it and says ``earthsearch:boa_offset_applied``.
    seed : int, optional
        Of the noise; the scene's by default.

    Returns
    -------
    Path
        Of the STAC item (JSON).

    Raises
    ------
    ValueError
        An option out of range, a place beyond the tile grid, or no sun at the time.
    """
    if level not in ("l2a", "l1c"):
        raise ValueError(f"level: expected 'l2a' or 'l1c', got {level!r}")
    if platform not in ("S2A", "S2B"):
        raise ValueError(f"platform: expected 'S2A' or 'S2B', got {platform!r}")
    if not 0.0 <= swath <= 0.9:
        raise ValueError(f"swath: expected a share from 0 to 0.9, got {swath!r}")
    if samples < 1 or samples % 2 == 0:
        raise ValueError(f"samples: expected an odd number, got {samples!r}")
    tile, left, top, size = _place(scene, centre, size_km)
    later = scene.at(scene.pass_time + timedelta(minutes=minutes))
    offset = 0 if offset_applied else radiometric_offset(baseline)
    image = Image(
        later, tile, left, top, size, size, level, baseline, platform,
        scene.seed if seed is None else int(seed), swath, samples, offset,
    )  # fmt: skip
    if image.sun[0] < MIN_SUN:
        raise ValueError(
            f"{image.time:%Y-%m-%dT%H:%M}: the sun stands at {image.sun[0]:.1f} degrees over tile {tile.name}; "
            f"Sentinel-2 takes no images below {MIN_SUN:g}. Choose a preset with daylight"
        )
    root = Path(folder)
    home = root / f"sentinel-2-{level}" / image.name
    truth = root / "truth" / f"{image.name}_class.tif"
    for path in (home, truth.parent):
        path.mkdir(parents=True, exist_ok=True)
    logger.info("twin: writing %s (%d x %d pixels)", image.name, size, size)
    counts = _write(image, home, truth)
    item = image_item(image, counts, radiometric_offset(baseline), offset_applied)
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
                        scratch / f"{name}.tif", "w", driver="GTiff", dtype=dtype, count=count,
                        width=image.columns * 10 // step, height=image.rows * 10 // step,
                        crs=CRS.from_epsg(image.tile.epsg), transform=from_origin(image.left, image.top, step, step),
                        nodata=_NO_CLASS if name == "truth" else 0, tiled=True, blockxsize=BLOCK * 10 // step,
                        blockysize=BLOCK * 10 // step,
                        **({"photometric": "RGB"} if name == "TCI" else {}),
                    )
                )
                for name, (count, step, dtype) in layers.items()
            }  # fmt: skip
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

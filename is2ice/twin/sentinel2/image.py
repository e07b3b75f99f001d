"""Pixels of a simulated Sentinel-2 image: reflectance, digital numbers, scene classification and truth."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pyproj import Geod, Transformer

from is2ice.science.footprints import cut_antimeridian
from is2ice.twin.scene import optics
from is2ice.twin.scene.tracks import sun

from .mgrs_tiles import Tile, orbit

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

    from is2ice.twin.scene.scene import Scene

__all__ = ["BLOCK", "MIN_SUN", "NO_CLASS", "Block", "Image", "classify_scene", "radiometric_offset"]

#: Pixels of a block: even, so that 20 m pixels never straddle blocks.
BLOCK = 256
#: Nodes of the map projection within a block are this many pixels apart; linear between them (< 1 cm).
_NODE = 64
#: Lowest sun under which an image is taken, degrees.
MIN_SUN = 3.0
#: Truth of a pixel outside the swath.
NO_CLASS = 255
#: Noise of the instrument, reflectance: a floor, and a share of the signal (radiometric signal-to-noise).
_NOISE_FLOOR = np.array([0.0012, 0.0010, 0.0010, 0.0010, 0.0012])
_NOISE_SHARE = 0.0035
#: Colour image: reflectance of the value 255, as in ESA's true-colour images (bright snow saturates).
_TCI_WHITE = 0.3558


def radiometric_offset(baseline: str) -> int:
    """Return the number added to 10,000 times the reflectance: 1000 from processing baseline 04.00, else 0.

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
        Seed of the instrument's noise.
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
        """Find points, in pixels from the upper left corner, beyond the edge of the swath."""
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
        truth[:, outside] = NO_CLASS
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

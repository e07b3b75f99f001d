"""Tiles seen several times: turned, mirrored, and under thin cloud or shadow.

A network that is to see through thin cloud and shadow needs labels of what lies below. They are had for
nothing by laying cloud and shadow over tiles that are free of them. Thin cloud adds light that is nearly
grey in the visible and strong in B11; shadow takes most of the direct light and leaves the blue sky's. The
ranges are those quoted for polar spring: cloud adds up to .25 and lifts B11 by .1-.3, shadow multiplies by
.4-.7.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Augmented", "add_cloud_or_shadow"]

F4 = NDArray[np.float32]

#: Light that an opaque cloud would send back, and what a full shadow leaves, by band.
_CLOUD = {"B02": 0.95, "B03": 0.95, "B04": 0.95, "B08": 0.93, "B11": 0.50}
_SHADOW = {"B02": 0.48, "B03": 0.43, "B04": 0.40, "B08": 0.38, "B11": 0.35}
#: Share of tiles with cloud, and with shadow.
_SHARE = 0.4


class Augmented:
    """Training tiles, each several times in an epoch; what ``x`` gives is made when it is asked for.

    Parameters
    ----------
    x : (n, size, size, channels)
    y : (n, size, size)
    bands : sequence of str
        Bands of the channels; empty for no cloud and no shadow.
    copies : int
    seed : int
    """

    def __init__(
        self, x: F4, y: NDArray[np.int8], bands: Sequence[str] = (), *, copies: int = 4, seed: int = 0
    ) -> None:
        if copies < 1:
            raise ValueError(f"copies={copies}: expected at least 1")
        self._tiles, self.bands, self.seed = x, tuple(bands), seed
        self.x = self
        self.y = np.concatenate([_turned(y, k) for k in range(copies)])
        self.shape = (len(self.y), *x.shape[1:])

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, rows: NDArray[np.int64]) -> F4:
        n = len(self._tiles)
        out = np.empty((len(rows), *self.shape[1:]), np.float32)
        for k, row in enumerate(rows):
            copy, tile = divmod(int(row), n)
            out[k] = _turned(self._tiles[tile : tile + 1], copy)[0]
            if copy and self.bands:  # the first copy is as it was seen
                out[k] = add_cloud_or_shadow(out[k], self.bands, np.random.default_rng([self.seed, int(row)]))
        return out


def _turned(tiles: NDArray[Any], copy: int) -> NDArray[Any]:
    """Tiles in one of their eight positions."""
    turned = np.rot90(tiles, copy % 4, axes=(1, 2))
    return turned[:, :, ::-1] if copy % 8 > 3 else turned


def add_cloud_or_shadow(tile: F4, bands: Sequence[str], rng: np.random.Generator) -> F4:
    """Return a tile under thin cloud, or in shadow, or both, or neither.

    Parameters
    ----------
    tile : (size, size, channels)
        Reflectance over the white of the scale.
    bands : sequence of str
    rng : numpy.random.Generator

    Returns
    -------
    (size, size, channels)
    """
    cloud, shadow = rng.random(2) < _SHARE
    if shadow:
        left = np.array([_SHADOW[b] for b in bands], np.float32)
        depth = rng.uniform(0.1, 1.0) * _field(tile.shape[0], rng)[..., None]
        tile = tile * (1.0 - depth * (1.0 - left))
    if cloud:
        light = np.array([_CLOUD[b] for b in bands], np.float32)
        # Ice crystals or droplets: B11 varies on its own.
        light *= np.where(np.array(bands) == "B11", rng.uniform(0.6, 1.3), rng.uniform(0.85, 1.1)).astype(
            np.float32
        )
        cover = rng.uniform(0.05, 0.5) * _field(tile.shape[0], rng)[..., None]
        tile = tile * (1.0 - cover) + cover * light
    return np.asarray(tile, np.float32)


def _field(size: int, rng: np.random.Generator) -> F4:
    """Return a smooth field from 0 to 1 that is 0 over part of the tile, at a random scale."""
    from scipy.ndimage import zoom

    coarse = int(rng.integers(3, max(4, size // 12)))
    fine = zoom(rng.standard_normal((coarse, coarse)), size / coarse, order=1, grid_mode=True, mode="nearest")
    steep = rng.uniform(0.5, 3.0)
    return np.clip(0.5 + steep * (fine + rng.normal(0.0, 0.5)), 0.0, 1.0).astype(np.float32)

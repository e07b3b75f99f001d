"""The surface under a beam: a strip sampled at every metre, and the light that shots get from it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from is2ice.twin.scene.scene import Scene
from is2ice.twin.scene.tracks import BeamTrack

__all__ = ["HALF_STRIP", "SIGMA_FOOTPRINT", "Footprints", "Strip", "make_strip"]

Array = NDArray[np.float64]

#: Footprint: 11 m across (4 sigma). Half-width of the strip, m.
SIGMA_FOOTPRINT = 2.75
HALF_STRIP = 6


@dataclass(frozen=True)
class Strip:
    """The surface under a stretch of a track: rows 1 m apart along, columns 1 m apart across."""

    x: Array
    kind: NDArray[np.int8]
    surface_class: NDArray[np.int8]
    height: NDArray[np.float32]
    rough: NDArray[np.float32]
    backscatter: NDArray[np.float32]

    @property
    def across_weight(self) -> Array:
        """Footprint weight of each column, summing to 1."""
        a = np.arange(-HALF_STRIP, HALF_STRIP + 1)
        w = np.exp(-0.5 * (a / SIGMA_FOOTPRINT) ** 2)
        return w / w.sum()


@dataclass(frozen=True)
class Footprints:
    """Light of some shots, in the rows of which :func:`is2ice.twin.icesat2.photons.simulate_shots` draws photons.

    Attributes
    ----------
    x : (m,) array
        Along-track distance of each row, m.
    x_shot : (n,) array
        Place of each shot in the count of rows.
    along0, sigma : float
        Place of row 0 in that count, and the width of a shot's Gaussian over rows.
    rows : (m,) array
        Backscatter of a row.
    cells : (m, c) array
        Cumulative weight across each row, ending at 1.
    height, rough : (m, c) array
        m.
    """

    x: Array
    x_shot: Array
    along0: float
    sigma: float
    rows: Array
    cells: Array
    height: NDArray[np.float32]
    rough: NDArray[np.float32]


def make_strip(scene: Scene, track: BeamTrack, x_start: float, x_end: float) -> Strip:
    """Sample the scene under the footprints between two along-track distances (whole metres)."""
    x = np.arange(np.floor(x_start) - 9.0, np.ceil(x_end) + 10.0)
    a = np.arange(-HALF_STRIP, HALF_STRIP + 1.0)
    cx, cy = track.xy(x)
    nx, ny = track.normal(x)
    s = scene.surface(cx[:, None] + a * nx[:, None], cy[:, None] + a * ny[:, None])
    return Strip(x, s.kind, s.surface_class, s.height, s.roughness, s.backscatter)

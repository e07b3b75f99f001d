"""Sums and quantiles along a track, and the spots of its beams."""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import NDArray

__all__ = ["local_quantile", "running_sum", "spots"]

F8 = NDArray[np.float64]


def spots(segments: xr.Dataset) -> list[int]:
    """Spot number of each beam (1-6, odd strong).

    Raises
    ------
    ValueError
        Neither a coordinate nor an attribute gives it.
    """
    if "spot" in segments.coords and segments["spot"].ndim == 1:
        return [int(s) for s in segments["spot"].values]
    spot = segments.coords["spot"] if "spot" in segments.coords else segments.attrs.get("spot")
    if spot is None:
        raise ValueError(
            "segments say nothing of the beam's spot: expected a coordinate or attribute 'spot' (1-6, odd strong); "
            "set segments.attrs['spot']"
        )
    return [int(spot)] * segments.sizes.get("beam", 1)


def running_sum(a: F8, half: int) -> F8:
    """Sum over each cell and ``half`` cells on both sides; NaN counts nothing."""
    total = np.concatenate([[0.0], np.cumsum(np.nan_to_num(a))])
    k = np.arange(a.size)
    return total[np.minimum(k + half + 1, a.size)] - total[np.maximum(k - half, 0)]


def local_quantile(a: F8, q: float, stretch: float, length: float, x0: float) -> F8:
    """Return a quantile over stretches along the track, interpolated between their middles.

    Stretches lie at multiples of half their length from the equator crossing (``x0`` is the first cell's
    distance), so a longer or shorter piece of the same track has the same ones. One with less than a tenth of its cells
    counts only where there is no better one.
    """
    size = max(1, round(stretch / length / 2))  # half-stretch blocks, each joined with half its neighbours
    shift = round(x0 / length) % size
    # Those before and after the track reach into it.
    blocks = range(-shift - size, a.size + size, size)
    value, count = np.full(len(blocks), np.nan), np.zeros(len(blocks))
    for j, i in enumerate(blocks):
        part = a[max(0, i - size // 2) : max(0, i + size + size // 2)]
        part = part[np.isfinite(part)]
        if part.size:
            value[j], count[j] = np.quantile(part, q), part.size
    middle = np.array(blocks) + size / 2
    good = count >= 0.2 * size
    good = good if good.any() else count > 0
    if not good.any():
        return np.full(a.size, np.nan)
    return np.interp(np.arange(a.size) + 0.5, middle[good], value[good])

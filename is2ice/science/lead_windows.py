"""Windows over leads: the consensus in each, linear combinations of leads, and their variance.

The inside of :mod:`is2ice.science.seasurface`, where the method is explained. A sea surface is kept as a sparse
matrix whose rows are weights of the leads, so that smoothing, interpolation and propagation of
uncertainty are products.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import sparse

from .compiled import njit
from .leads import CROSSFIT, LEAD_METHODS, MINIMUM, NASA

F8 = NDArray[np.float64]

#: Lowest segments of a window among which ``nearest_minimum`` takes the nearest.
N_LOWEST = 10
#: A lead cut off below costs this much more, in standard errors, than one above: four that agree outvote it.
BELOW = 1.8


@dataclass(frozen=True)
class WindowOptions:
    """Windows of the published methods and of ``crossfit``.

    Attributes
    ----------
    window, step, origin : float
        Length of the windows, distance of their centres, and a centre, m.
    max_gap : float
        Missing data longer than this, m, cut the track into pieces that share no window and no
        interpolation.
    smooth : int, optional
        Running mean over this odd number of windows (3 in ATL10).
    position : {"leads", "centre"}, optional
        Place of a window's value: "leads" for ``crossfit``, "centre" for the published methods.

    Raises
    ------
    ValueError
        A step longer than the window, an even `smooth`, an unknown position.
    """

    window: float = 10_000.0
    step: float = 5_000.0
    origin: float = 0.0
    max_gap: float = 10_000.0
    smooth: int | None = None
    position: str | None = None

    def __post_init__(self) -> None:
        if self.position not in (None, "leads", "centre"):
            raise ValueError(f"unknown position {self.position!r}; expected 'leads' or 'centre'")
        if not 0 < self.step <= self.window:
            raise ValueError(f"step: expected 0 < step <= window ({self.window:g} m), got {self.step:g} m")
        if self.smooth is not None and (self.smooth < 1 or self.smooth % 2 == 0):
            raise ValueError(f"smooth: expected an odd number of windows, got {self.smooth}")


@dataclass(frozen=True)
class SurfaceModel:
    """Assumptions about the sea surface and the leads.

    Attributes
    ----------
    reach, between : float
        No sea surface farther than this from the nearest lead in use, m: beyond the outermost lead, and between two
        leads (never nearer than `reach`).
    most_error : float
        No sea surface where its standard error is larger, m (``evidence`` only).
    reject : float
        Standard errors above the consensus beyond which a lead is left out (``crossfit`` only); NaN is 2.5.
    lead_floor : float
        Real differences between leads, m, added to their errors; NaN is 0.01 for ``crossfit``, 0.008 for ``evidence``,
        which knows the slope of the sea between them, else 0.
    variability : float
        Wander of the sea surface after 1 km, m, growing as the square root of the distance (all methods but
        ``evidence``, which estimates it).
    slope : float
        Prior standard deviation of the sea-surface slope, m/m (all methods but ``evidence``).
    """

    reach: float = 10_000.0
    between: float = 20_000.0
    most_error: float = 0.06
    reject: float = math.nan
    lead_floor: float = math.nan
    variability: float = 0.007
    slope: float = 1e-5

    def of(self, method: str) -> SurfaceModel:
        """Return the same with what `method` assumes where nothing was given."""
        own = {"crossfit": 0.01, "evidence": 0.008}.get(method, 0.0)
        reject = (2.5 if math.isnan(self.reject) else self.reject) if method == "crossfit" else np.inf
        floor = own if math.isnan(self.lead_floor) else self.lead_floor
        return replace(self, reject=reject, lead_floor=floor)


@njit(cache=True, nogil=True)
def _consensus(x: Any, h: NDArray[Any], v: Any, slope: Any, reject: Any) -> Any:
    """Leads that agree on the sea surface: those that are not too high for the others."""
    n = h.size
    keep = np.ones(n, np.bool_)
    if n < 2 or not np.isfinite(reject):
        return keep
    middle = (x / v).sum() / (1.0 / v).sum()
    wide = v + (slope * (x - middle)) ** 2
    order = np.argsort(h)
    base = h[order[0]]
    best, first, last = np.inf, 0, n - 1
    for i in range(n // 2 + 1):
        s0, s1, s2 = 0.0, 0.0, 0.0
        for j in range(i, n):
            k = order[j]
            w, d = 1.0 / wide[k], h[k] - base
            s0 += w
            s1 += w * d
            s2 += w * d * d
            cost = s2 - s1 * s1 / s0 + reject**2 * (n - 1 - j) + (BELOW * reject) ** 2 * i
            if cost < best:
                best, first, last = cost, i, j
    keep[:] = False
    keep[order[first : last + 1]] = True
    for _ in range(8):
        w = np.where(keep, 1.0 / v, 0.0)
        total = w.sum()
        middle = (w * x).sum() / total
        level = (w * h).sum() / total
        var_b = 1.0 / ((w * (x - middle) ** 2).sum() + 1.0 / slope**2)
        b = var_b * (w * (x - middle) * (h - level)).sum()
        spread = np.where(keep, 0.0, 1.0 / total + var_b * (x - middle) ** 2)
        z = (h - level - b * (x - middle)) / np.sqrt(v + spread)
        again = (z < reject) & (z > -BELOW * reject)
        if not again.any() or (again == keep).all():
            break
        keep = again
    return keep


@njit(cache=True, nogil=True)
def _window_weights(
    leads: Any, begin: NDArray[Any], end: NDArray[Any], method: Any, slope: Any, reject: Any
) -> Any:
    """Weights of the leads begin[k]:end[k] in each window k, one after the other."""
    x, h, v, n = leads
    out = np.zeros((end - begin).sum())
    at = 0
    for k in range(begin.size):
        i, j = begin[k], end[k]
        if i == j:
            continue
        w = np.zeros(j - i)
        if method == CROSSFIT:
            w = np.where(_consensus(x[i:j], h[i:j], v[i:j], slope, reject), 1.0 / v[i:j], 0.0)
        elif method == NASA:
            w = 1.0 / v[i:j]
        elif method == MINIMUM:
            w[np.argmin(h[i:j])] = 1.0
        else:
            w = n[i:j].astype(np.float64)
        out[at : at + j - i] = w / w.sum()
        at += j - i
    return out


@njit(cache=True, nogil=True)
def _wander(
    y: NDArray[Any], x: NDArray[Any], begin: NDArray[Any], column: NDArray[Any], c: NDArray[Any]
) -> Any:
    """Sum c|y - x| - 1/2 sum sum c c |x - x| for each y; columns ascending in x (CSR rows)."""
    out = np.empty(y.size)
    for k in range(y.size):
        far, pairs, weight, moment = 0.0, 0.0, 0.0, 0.0
        for p in range(begin[k], begin[k + 1]):
            d = x[column[p]] - y[k]
            far += c[p] * abs(d)
            pairs += c[p] * (d * weight - moment)
            weight += c[p]
            moment += c[p] * d
        out[k] = max(0.0, far - pairs)
    return out


def _rows_in_windows(leads: xr.Dataset, centre: F8, half: float) -> tuple[NDArray, NDArray]:
    x = leads["x"].values
    return np.searchsorted(x, centre - half, "left"), np.searchsorted(x, centre + half, "left")


def window_operator(
    leads: xr.Dataset, centre: F8, half: float, method: str, model: SurfaceModel, smooth: int | None
) -> sparse.csr_array:
    """Rows: weights of all leads in each window (zero rows where a window has none)."""
    begin, end = _rows_in_windows(leads, centre, half)
    variance = leads["sigma"].values ** 2 + model.lead_floor**2
    data = _window_weights(
        (leads["x"].values, leads["height"].values, variance, leads["n"].values),
        begin,
        end,
        LEAD_METHODS[method],
        model.slope,
        model.reject,
    )
    counts = end - begin
    column = np.arange(data.size) - np.repeat(np.cumsum(counts) - counts, counts) + np.repeat(begin, counts)
    indptr = np.concatenate([[0], np.cumsum(counts)])
    operator = sparse.csr_array((data, column, indptr), shape=(centre.size, leads.sizes["lead"]))
    operator.eliminate_zeros()
    if smooth is not None and smooth > 1:
        operator = _running_mean(counts > 0, smooth) @ operator
    return operator


def _running_mean(has: NDArray[np.bool_], width: int) -> sparse.csr_array:
    """Mean over `width` neighbouring windows, of those with leads, for windows with leads."""
    size = has.size
    half = width // 2
    band = sparse.diags_array([1.0] * (2 * half + 1), offsets=range(-half, half + 1), shape=(size, size))
    on = sparse.diags_array(has.astype(float))
    band = sparse.csr_array(on @ band @ on)
    total = np.maximum(band.sum(axis=1), 1.0)
    return sparse.csr_array(sparse.diags_array(1.0 / total) @ band)


def variance_at(
    y: F8, operator: sparse.csr_array, leads: xr.Dataset, model: SurfaceModel, slope: float
) -> F8:
    """Variance at y of the linear combinations of lead heights in the rows of `operator`."""
    operator.sort_indices()
    x = leads["x"].values
    noise = operator.power(2) @ (leads["sigma"].values ** 2 + model.lead_floor**2)
    wander = _wander(y, x, operator.indptr, operator.indices, operator.data)
    # Distances from the first lead keep the product exact to far below a metre.
    lever = operator @ (x - x[0]) - (y - x[0])
    return noise + model.variability**2 * wander / 1e3 + (slope * lever) ** 2


def merge_nodes(node: F8, operator: sparse.csr_array) -> tuple[F8, sparse.csr_array]:
    """Nodes in ascending order; those closer than 1 m (windows with the same leads) become one."""
    order = np.argsort(node, kind="stable")
    group = np.concatenate([[0], np.cumsum(np.diff(node[order]) > 1.0)])
    count = np.bincount(group)
    mean = sparse.csr_array((1.0 / count[group], (group, order)), shape=(count.size, node.size))
    return mean @ node, mean @ operator


def track_slope(node: F8, value: F8, variance: F8, prior: float, step: float) -> float:
    """Root mean square slope between nodes at least half a step apart; the prior counts as two."""
    dx, dh = np.diff(node), np.diff(value)
    far = dx >= step / 2
    square = np.maximum(0.0, dh[far] ** 2 - (variance[1:] + variance[:-1])[far]) / dx[far] ** 2
    return float(np.sqrt((2 * prior**2 + square.sum()) / (2 + square.size)))


def misfit(leads: xr.Dataset, node: F8, value: F8, floor: float) -> float:
    """Mean square of the leads' departures from the surface beyond their own variance, by inverse variance, m2."""
    departure = leads["height"].values - np.interp(leads["x"].values, node, value)
    variance = leads["sigma"].values ** 2 + floor**2
    return max(0.0, float(np.average(departure**2 - variance, weights=1.0 / np.maximum(variance, 1e-12))))


def between(y: F8, node: F8) -> sparse.csr_array:
    """Linear interpolation from nodes to y, constant beyond the ends."""
    rows = np.arange(y.size)
    right = np.clip(np.searchsorted(node, y), 1, max(1, node.size - 1))
    left = right - 1
    if node.size == 1:
        return sparse.csr_array((np.ones(y.size), (rows, np.zeros(y.size, int))), shape=(y.size, 1))
    t = np.clip((y - node[left]) / (node[right] - node[left]), 0.0, 1.0)
    ij = (np.concatenate([rows, rows]), np.concatenate([left, right]))
    return sparse.csr_array((np.concatenate([1 - t, t]), ij), shape=(y.size, node.size))


def nearest_minimum(
    x: F8, h: F8, s: F8, lead: NDArray[np.bool_], centre: F8, half: float, own: NDArray[np.intp], slope: float
) -> tuple[F8, F8]:
    """Height of the nearest of the window's lowest lead segments, and its variance, where the window has any."""
    value, variance = np.full(x.size, np.nan), np.full(x.size, np.nan)
    water = np.flatnonzero(lead)
    begin = np.searchsorted(x[water], centre - half, "left")
    end = np.searchsorted(x[water], centre + half, "left")
    edges = np.searchsorted(own, np.arange(centre.size + 1))
    for k in np.flatnonzero(end > begin):
        rows = water[begin[k] : end[k]]
        low = np.sort(rows[np.argsort(h[rows], kind="stable")[:N_LOWEST]])
        cells = slice(edges[k], edges[k + 1])
        middle = (x[low][1:] + x[low][:-1]) / 2
        pick = low[np.searchsorted(middle, x[cells])]
        value[cells] = h[pick]
        variance[cells] = s[pick] ** 2 + (slope * (x[cells] - x[pick])) ** 2
    return value, variance


def fill(x: F8, value: F8, variance: F8) -> tuple[F8, F8]:
    """Interpolate missing values and variances along the track; the ends are held."""
    known = np.isfinite(value)
    return np.interp(x, x[known], value[known]), np.interp(x, x[known], variance[known])


def nearest_distance(x: F8, points: F8) -> F8:
    """Return the distance of each position to the nearest of some sorted points."""
    k = np.clip(np.searchsorted(points, x), 1, max(1, points.size - 1))
    return np.minimum(np.abs(x - points[k - 1]), np.abs(x - points[min(1, points.size - 1) * k]))

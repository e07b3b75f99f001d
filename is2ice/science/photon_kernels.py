"""Compiled loops over photons and cells. Plain arrays in, plain arrays out; no I/O, no xarray.

Every result of a cell depends only on photons near that cell and is accumulated in file order, so a
track cut into blocks gives the same bits as the whole track.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .compiled import njit

#: Longest run of consecutive pulses without any photon that is filled in, pulses (71 m).
MAX_SILENT_PULSES = 100


class Cells(NamedTuple):
    """Consecutive cells along the track: index of the first, number, and length in m."""

    k0: int
    n: int
    length: float


class Photons(NamedTuple):
    """Photons in file order: position and height (m), three masks, and row of the pulse in its tables."""

    x: NDArray[np.float64]
    h: NDArray[np.floating]
    counted: NDArray[np.bool_]
    selected: NDArray[np.bool_]
    rejected: NDArray[np.bool_]
    pulse: NDArray[np.int32]


@njit(cache=True, nogil=True)
def photon_masks(
    h: NDArray[Any],
    conf: NDArray[np.int8],
    quality: NDArray[np.int8],
    least: int,
    accepted: NDArray[np.bool_],
    limits: tuple[float, float],
) -> Any:
    """Photons that count at all, that are selected, and that quality alone rejects.

    Parameters
    ----------
    h, conf, quality : arrays of one length
        Height (m; NaN for none), confidence and quality code of each photon.
    least : int
        Lowest confidence selected.
    accepted : bool, shape (10,)
        True for each code of quality accepted.
    limits : tuple of float
        Heights between which one is possible, m.
    """
    counted, selected, rejected = (
        np.empty(h.size, np.bool_),
        np.empty(h.size, np.bool_),
        np.empty(h.size, np.bool_),
    )
    for i in range(h.size):
        code = quality[i] % 10
        real = limits[0] < h[i] < limits[1]
        echo = conf[i] == -2 or code == 3
        signal = not echo and least <= conf[i] <= 4
        good = real and accepted[code]
        counted[i], selected[i], rejected[i] = real and not echo, signal and good, signal and not good
    return counted, selected, rejected


@njit(cache=True, nogil=True)
def pulse_runs(pulse: NDArray[Any], counted: NDArray[Any], selected: NDArray[Any], x: NDArray[Any]) -> Any:
    """Group photons, in file order with non-decreasing pulse number, by pulse.

    Returns the pulse number, the distance of the first counted photon, and the counts of all and of
    selected photons of every pulse, and each photon's row in these tables (-1: not counted). A negative
    number of pulses says that the pulse numbers decrease somewhere.
    """
    n = pulse.size
    row = np.empty(n, np.int32)
    k, last = -1, 0
    for i in range(n):
        if counted[i]:
            if k < 0 or pulse[i] != last:
                if k >= 0 and pulse[i] < last:
                    k = -2
                    break
                k, last = k + 1, pulse[i]
            row[i] = k
        else:
            row[i] = -1
    seen = k + 1
    number = np.empty(max(seen, 0), np.int64)
    where = np.empty(max(seen, 0), np.float64)
    n_all, n_sel = np.zeros(max(seen, 0), np.int32), np.zeros(max(seen, 0), np.int32)
    if seen > 0:
        for i in range(n):
            k = row[i]
            if k >= 0:
                if n_all[k] == 0:
                    number[k], where[k] = pulse[i], x[i]
                n_all[k] += 1
                n_sel[k] += selected[i]
    return number, where, n_all, n_sel, row, seen


@njit(cache=True, nogil=True)
def count_pulses(
    number: NDArray[Any],
    where: NDArray[Any],
    n_sel: NDArray[Any],
    n_pulses_seen: Any,
    k0: Any,
    n: Any,
    length: Any,
) -> Any:
    """Pulses, and pulses without a selected photon, centred in each of n cells from index k0.

    Pulses between two seen ones are placed by linear interpolation when no more than
    MAX_SILENT_PULSES are missing, so a dark stretch keeps its pulses while a data gap has none.
    """
    inverse = 1.0 / length
    fired = np.zeros(n, np.int16)
    empty = np.zeros(n, np.int16)
    for j in range(n_pulses_seen):
        c = int(np.floor(where[j] * inverse)) - k0
        if 0 <= c < n:
            fired[c] += 1
            if n_sel[j] == 0:
                empty[c] += 1
        if j + 1 < n_pulses_seen:
            missing = number[j + 1] - number[j] - 1
            if 0 < missing <= MAX_SILENT_PULSES:
                step = (where[j + 1] - where[j]) / (missing + 1)
                for m in range(1, missing + 1):
                    c = int(np.floor((where[j] + m * step) * inverse)) - k0
                    if 0 <= c < n:
                        fired[c] += 1
                        empty[c] += 1
    return fired, empty


@njit(cache=True, nogil=True)
def _median(a: NDArray[Any], lo: Any, hi: Any) -> Any:
    """Median of a[lo:hi], left as it is.

    A cell holds about sixteen photons. Counting how many lie below each one compares more than sorting
    would, but without a branch to mispredict, which is several times faster at this size.
    """
    m = hi - lo
    if m > 64:
        return np.median(a[lo:hi])
    upper = m // 2
    lower = upper if m % 2 else upper - 1
    low = high = np.nan
    for i in range(lo, hi):
        v = a[i]
        below, upto = 0, 0
        for j in range(lo, hi):
            below += a[j] < v
            upto += a[j] <= v
        if below <= lower < upto:
            low = v
        if below <= upper < upto:
            high = v
        if low <= high:  # both are found
            break
    return 0.5 * (low + high)


@njit(cache=True, nogil=True)
def cell_statistics(photons: Any, n_all: NDArray[Any], n_sel: NDArray[Any], cells: Any, trim: Any) -> Any:
    """Per-cell photon statistics; a photon's cell is floor(x * (1 / length)).

    Returns counts of counted and selected photons, a flag for photons rejected by quality, mean,
    median, core mean and sum of squared deviations of selected heights, the same sum over the core (photons
    within ``trim`` of the median) about its own mean, the size of the core, and mean per-pulse counts.
    """
    x, h, counted, selected, rejected, row = photons
    k0, n, length = cells
    size = x.size
    cell = np.empty(size, np.int32)
    inverse = 1.0 / length
    count_all = np.zeros(n, np.int32)
    count = np.zeros(n, np.int32)
    bad = np.zeros(n, np.bool_)
    pcnth = np.zeros(n, np.float64)
    pcnt = np.zeros(n, np.float64)
    for i in range(size):
        cell[i] = -1
        c = int(np.floor(x[i] * inverse)) - k0
        if c < 0 or c >= n:
            continue
        if rejected[i]:
            bad[c] = True
        count_all[c] += counted[i]
        if selected[i]:
            cell[i] = c
            count[c] += 1
            pcnth[c] += n_sel[row[i]]
            pcnt[c] += n_all[row[i]]
    start = np.zeros(n + 1, np.int64)
    for c in range(n):
        start[c + 1] = start[c] + count[c]
    fill = start[:n].copy()
    heights = np.empty(start[n], np.float64)
    for i in range(size):
        c = cell[i]
        if c >= 0:
            heights[fill[c]] = h[i]
            fill[c] += 1
    mean = np.full(n, np.nan)
    median = np.full(n, np.nan)
    squares = np.zeros(n, np.float64)
    core_mean = np.full(n, np.nan)
    core_squares = np.zeros(n, np.float64)
    core_count = np.zeros(n, np.int32)
    for c in range(n):
        lo, hi = start[c], start[c + 1]
        m = hi - lo
        if m == 0:
            continue
        total = 0.0
        for i in range(lo, hi):
            total += heights[i]
        mu = total / m
        ss = 0.0
        for i in range(lo, hi):
            ss += (heights[i] - mu) ** 2
        mean[c] = mu
        squares[c] = ss
        pcnth[c] /= m
        pcnt[c] /= m
        med = _median(heights, lo, hi)
        median[c] = med
        core = 0.0
        k = 0
        for i in range(lo, hi):
            if abs(heights[i] - med) <= trim:
                core += heights[i]
                k += 1
        if k == 0:  # an even number of photons, all far from their middle
            core_mean[c] = mu
            continue
        core /= k
        core_mean[c] = core
        ss = 0.0
        for i in range(lo, hi):
            if abs(heights[i] - med) <= trim:
                ss += (heights[i] - core) ** 2
        core_squares[c] = ss
        core_count[c] = k
    for c in range(n):
        if count[c] == 0:
            pcnth[c] = np.nan
            pcnt[c] = np.nan
    return count_all, count, bad, mean, median, core_mean, squares, core_squares, core_count, pcnth, pcnt


@njit(cache=True, nogil=True)
def pool(
    count: NDArray[Any],
    core_count: NDArray[Any],
    core_squares: NDArray[Any],
    n_pulses: NDArray[Any],
    half: Any,
) -> Any:
    """Return sums over the cells within ``half`` of each cell.

    Returns the pooled spread of core photons about their cell means, and the photons per pulse, of the
    stretch; NaN where it has no degree of freedom or no pulse.
    """
    n = count.size
    spread = np.full(n, np.nan)
    rate = np.full(n, np.nan)
    for c in range(n):
        squares = 0.0
        dof = 0
        photons = 0
        pulses = 0
        for j in range(max(0, c - half), min(n, c + half + 1)):
            photons += count[j]
            pulses += n_pulses[j]
            if core_count[j] > 1:
                squares += core_squares[j]
                dof += core_count[j] - 1
        if dof > 0:
            spread[c] = np.sqrt(squares / dof)
        if pulses > 0:
            rate[c] = photons / pulses
    return spread, rate


@njit(cache=True, nogil=True)
def interpolate_nodes(
    xc: NDArray[Any],
    node_x: NDArray[Any],
    values: NDArray[Any],
    period: NDArray[Any],
    max_gap: Any,
    reach: Any,
) -> Any:
    """Linear interpolation of node columns at increasing positions, never across a gap.

    Parameters
    ----------
    xc : float64 (n,)
        Positions, increasing.
    node_x : float64 (m,)
        Node positions, increasing.
    values : float64 (m, k)
        One column a quantity.
    period : float64 (k,)
        Period of the quantity (360 for longitude) or 0.
    max_gap : float
        Longest node spacing bridged.
    reach : float
        Farthest from the end node of a piece that is extrapolated (linearly).

    Returns
    -------
    float64 (k, n)
        NaN where no node serves.
    """
    n, m, k = xc.size, min(node_x.size, values.shape[0]), min(values.shape[1], period.size)
    out = np.full((k, n), np.nan)
    if m == 0:
        return out
    j = 0
    for i in range(n):
        x = xc[i]
        while j + 1 < m and node_x[j + 1] <= x:
            j += 1
        a = j
        b = j
        if x >= node_x[j]:
            if j + 1 < m and node_x[j + 1] - node_x[j] <= max_gap:
                b = j + 1
            elif x - node_x[j] > reach:
                if not (j + 1 < m and node_x[j + 1] - x <= reach):
                    continue
                a = j + 1
                b = j + 1
                if j + 2 < m and node_x[j + 2] - node_x[j + 1] <= max_gap:
                    b = j + 2
            elif j + 1 < m and node_x[j + 1] - x < x - node_x[j]:
                a = j + 1
                b = j + 1
                if j + 2 < m and node_x[j + 2] - node_x[j + 1] <= max_gap:
                    b = j + 2
            elif j > 0 and node_x[j] - node_x[j - 1] <= max_gap:
                a = j - 1
                b = j
        else:
            if node_x[j] - x > reach:
                continue
            if j + 1 < m and node_x[j + 1] - node_x[j] <= max_gap:
                b = j + 1
        for q in range(k):
            va = values[a, q]
            if a == b or node_x[b] == node_x[a]:
                v = va
            else:
                d = values[b, q] - va
                p = period[q]
                if p > 0.0:
                    d -= p * np.floor(d / p + 0.5)
                v = va + d * ((x - node_x[a]) / (node_x[b] - node_x[a]))
            if period[q] > 0.0:
                p = period[q]
                if v >= 0.5 * p:
                    v -= p
                elif v < -0.5 * p:
                    v += p
            out[q, i] = v
    return out


@njit(cache=True, nogil=True)
def background_at(
    t: NDArray[Any], start: NDArray[Any], counts: NDArray[Any], rate: NDArray[Any], span: Any, max_gap: Any
) -> Any:
    """Background of the 50-pulse record holding each time, and the rate interpolated between records.

    ``start`` is the beginning of each record, ``span`` its duration (s). Times are those of cells along
    the track, NaN in gaps. Rates are interpolated between the middles of records no farther apart than
    ``max_gap``, held within one span beyond the last.
    """
    n, m = t.size, min(start.size, counts.size, rate.size)
    c_out = np.full(n, np.nan)
    r_out = np.full(n, np.nan)
    if m == 0:
        return c_out, r_out
    for i in range(n):
        if np.isnan(t[i]):
            continue
        j = np.searchsorted(start, t[i] + 1e-6, side="right") - 1
        if 0 <= j < m and t[i] - start[j] < span + 1e-4:
            c_out[i] = counts[j]
        tm = t[i] - 0.5 * span
        j = np.searchsorted(start, tm, side="right") - 1
        if j < 0:
            if start[0] - tm <= span:
                r_out[i] = rate[0]
        elif j + 1 < m and start[j + 1] - start[j] <= max_gap:
            w = (tm - start[j]) / (start[j + 1] - start[j])
            r_out[i] = rate[j] + w * (rate[j + 1] - rate[j])
        elif tm - start[j] <= span:
            r_out[i] = rate[j]
        elif j + 1 < m and start[j + 1] - tm <= span:
            r_out[i] = rate[j + 1]
    return c_out, r_out


@njit(cache=True, nogil=True)
def bilinear(
    u: NDArray[Any], v: NDArray[Any], u_axis: NDArray[Any], v_axis: NDArray[Any], table: NDArray[Any]
) -> Any:
    """Bilinear look-up in table[u, v] on increasing axes; clipped at the edges.

    Returns the values (NaN for NaN input) and a flag where a coordinate was clipped.
    """
    n = u.size
    out = np.full(n, np.nan)
    clipped = np.zeros(n, np.bool_)
    nu, nv = u_axis.size, v_axis.size
    if nu < 2 or nv < 2 or table.shape[0] != nu or table.shape[1] != nv:
        return out, clipped
    for i in range(n):
        a, b = u[i], v[i]
        if np.isnan(a) or np.isnan(b):
            continue
        if a < u_axis[0] or a > u_axis[nu - 1] or b < v_axis[0] or b > v_axis[nv - 1]:
            clipped[i] = True
        a = min(max(a, u_axis[0]), u_axis[nu - 1])
        b = min(max(b, v_axis[0]), v_axis[nv - 1])
        p = min(max(np.searchsorted(u_axis, a, side="right") - 1, 0), nu - 2)
        q = min(max(np.searchsorted(v_axis, b, side="right") - 1, 0), nv - 2)
        f = (a - u_axis[p]) / (u_axis[p + 1] - u_axis[p])
        g = (b - v_axis[q]) / (v_axis[q + 1] - v_axis[q])
        out[i] = (
            table[p, q] * (1 - f) * (1 - g)
            + table[p + 1, q] * f * (1 - g)
            + table[p, q + 1] * (1 - f) * g
            + table[p + 1, q + 1] * f * g
        )
    return out, clipped

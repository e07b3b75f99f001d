r"""Light from beside a narrow lead: the offset that the footprint brings, and its uncertainty.

The footprint is a Gaussian disc of 11 m (four standard deviations of 2.75 m). A segment at distances u and v from the
edges of its lead, which the track crosses at some angle, takes the shares

.. math:: A = G(u / 2.75), \quad B = G(v / 2.75), \quad G(t) = \int_0^1 \Phi(-t \sqrt{1 - s^2})\,ds

of its area from the ice before and behind (s is the sine of the angle, uniform for lines crossed at random). Light
counts, not area: where the segment is r times as bright as that ice, the shares of its photons are A / r and B / r:
much in a dark lead, little in a specular one. With the weights a of the lead's segments its height is too high by

.. math:: o = \sum_i a_i \left[ (h_A - H) A_i + (h_B - H) B_i \right] / r_i ,

H the height of the water, :math:`h_A` and :math:`h_B` those of the ice within a footprint of the edges.

From bright leads o is subtracted. Among dark ones some are lifted by more and most by nothing, by the angle, by what
lies aside of the track and by how the classifier drew the edge; of those that it calls water since they are dark,
hardly any is. So o is the mean of what may have been added, which is exponential and never negative
(:mod:`is2ice.science.surface_process`).

All of it is measured on the track itself. The edges lie where the brightness, blurred by the footprint, crosses the
middle between the lead's and that of the ice about it, which makes up for a classifier that draws a lead too narrow or
too wide. It is assumed that edges are straight, that ice beside a lead returns as much light as other ice (a dark rim
counts as lead), and that the height of the ice within a footprint of the edge is that at the edge. For bright leads
an error of SHARE (0.7) of the offset stands for all that and for the angle, which is not known.

**Saturated leads.** Cells whose photon rate exceeds what the detector can count are left out of a lead
(``PHOTON_RATE_SATURATED``). Those that stay beside them are below the limit by chance: they hold fewer photons than the
lead sends, and their first-photon bias, which is taken from these few, is too small. Their height is too high by about
:data:`SATURATION` times the share of water cells left out within a footprint, give or take half as much: 0.7 cm where a
third is left out, 1.5 cm where three quarters are. Both numbers come from the passes of `benchmarks/sea_surface.py
--first 300 --passes 10`, other seeds than those that judge.

`benchmarks/sea_surface.py` prints the errors of leads in use by light and width. On fourteen passes with drawn physics
their weighed means were within 0.5 cm from 12 m on with true classes, dark or bright; with the tree's 0.3 to 1.1 cm for
dark ones, 0.0 to 0.3 for bright ones. Such an error is common to the leads of a pass, and many do not average it away.
The sea surface therefore states :data:`COMMON` (0.5 cm) besides the errors of single leads.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .compiled import njit

__all__ = ["offsets", "saturation"]

F8 = NDArray[np.float64]

#: Error of a surface that is common to all its leads, m.
COMMON = 0.005
#: Standard deviation of the footprint, m.
SPREAD = 2.75
#: Farthest that an edge is looked for beyond the run of the classifier, and the ice beyond an edge, m.
SEARCH, BESIDE = 20.0, 11.0
#: Brightness of the darkest water.
DARKEST = 0.1
#: Logarithm of the brightness within which a lead is as bright as ice.
UNSEEN = 0.4
#: Error of the offset as a share of it, and the most that may come from the ice before nothing is corrected.
SHARE, MOST = 0.7, 0.6
#: Height of a lead of which almost all cells are saturated, m, and its standard error.
SATURATION, SATURATION_ERROR = 0.02, 0.01
#: Gauss-Legendre cosines and weights of the integral over the angle.
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(10)
COSINES, WEIGHTS = np.sqrt(1.0 - (0.5 * (_NODES + 1.0)) ** 2), 0.5 * _WEIGHTS


@njit(cache=True, nogil=True)
def _mean_of_three(a: NDArray[Any], i: Any) -> Any:
    total, n = 0.0, 0
    for j in range(max(0, i - 1), min(a.size, i + 2)):
        if not np.isnan(a[j]):
            total += a[j]
            n += 1
    return total / n if n else np.nan


@njit(cache=True, nogil=True)
def _ice_share(t: Any) -> Any:
    """Share of the footprint beyond an edge at t standard deviations, over random angles of crossing."""
    total = 0.0
    for cosine, weight in zip(COSINES, WEIGHTS):  # noqa: B905 - compiled
        total += weight * 0.5 * math.erfc(t * cosine / 1.4142135623730951)
    return total


@njit(cache=True, nogil=True)
def _edge(x: NDArray[Any], brightness: Any, start: Any, step: Any, inside: Any) -> Any:
    """Distance of the edge of a lead beyond its outermost segment, seen in direction `step`; NaN where none is."""
    middle = 0.5 * (inside + 1.0)
    i, before = start, np.nan
    while 0 <= i < x.size and abs(x[i] - x[start]) <= SEARCH:
        value = _mean_of_three(brightness, i)
        if not np.isnan(value):
            if (value > middle) == (inside < 1.0):
                if np.isnan(before):
                    return x[i]
                return x[i] + (x[i - step] - x[i]) * (value - middle) / (value - before)
            before = value
        i += step
    return np.nan


@njit(cache=True, nogil=True)
def _beside(x: NDArray[Any], height: NDArray[Any], weight: NDArray[Any], edge: Any, step: Any) -> Any:
    """Weighted mean height of what lies within a footprint beyond an edge."""
    total, value = 0.0, 0.0
    i = np.searchsorted(x, edge)
    if step < 0:
        i -= 1
    while 0 <= i < x.size and abs(x[i] - edge) <= BESIDE:
        if not np.isnan(height[i]):
            total += weight[i]
            value += weight[i] * height[i]
        i += step
    return value / total if total > 0.0 else np.nan


@njit(cache=True, nogil=True)
def _offsets(
    x: NDArray[Any],
    height: Any,
    weight: Any,
    brightness: Any,
    share: NDArray[Any],
    first: NDArray[Any],
    last: NDArray[Any],
    lead_height: NDArray[Any],
) -> Any:
    out = np.zeros((2, first.size))
    for k in range(first.size):
        mean, low, high, n = 0.0, np.inf, -np.inf, 0
        for i in range(first[k], last[k] + 1):
            value = _mean_of_three(brightness, i)
            if not np.isnan(value):
                mean, low, high, n = mean + value, min(low, value), max(high, value), n + 1
        if n == 0:
            continue
        # The middle of the lead shows its own brightness best.
        inside = max(low, DARKEST) if mean < n else high
        like_ice = abs(math.log(inside)) < UNSEEN
        for step in (-1, 1):
            outer = first[k] if step < 0 else last[k]
            # Light shows no edge where water is as bright as ice: the classifier's serves.
            edge = x[outer] + step if like_ice else _edge(x, brightness, outer, step, inside)
            if np.isnan(edge):
                continue
            ice = _beside(x, height, weight, edge, step)
            if np.isnan(ice):
                continue
            part = 0.0
            for i in range(first[k], last[k] + 1):
                if share[i] > 0.0:
                    value = _mean_of_three(brightness, i)
                    value = max(mean / n if np.isnan(value) else value, DARKEST)
                    # A segment is no darker than the ice in its footprint and the lead's darkest water make it.
                    water = inside if inside < 1.0 else DARKEST
                    most = max(0.0, (value - water) / (1.0 - water))
                    part += share[i] * min(_ice_share(step * (edge - x[i]) / SPREAD), most) / value
            part = min(part, MOST)
            step_height = max(0.0, ice - lead_height[k]) / (1.0 - part)
            out[0, k] += part * step_height
            out[1, k] += (SHARE * part * step_height) ** 2
    return out[0], np.sqrt(out[1])


def saturation(saturated: F8, leads: tuple[NDArray[np.intp], NDArray[np.intp]], reach: int) -> tuple[F8, F8]:
    """Offset of leads beside cells that saturate the detector, and its standard error.

    Parameters
    ----------
    saturated : numpy.ndarray, shape (n,)
        1 for saturated cells of open water, 0 for others of open water, NaN elsewhere.
    leads : tuple of numpy.ndarray
        First and last row of each lead.
    reach : int
        Cells on both sides that count.

    Returns
    -------
    offset, error : numpy.ndarray, shape (lead,)
        Metres to subtract from the heights, and their standard errors.
    """
    first, last = leads
    total = np.concatenate([[0.0], np.cumsum(np.nan_to_num(saturated))])
    count = np.concatenate([[0], np.cumsum(np.isfinite(saturated))])
    begin, end = np.maximum(first - reach, 0), np.minimum(last + 1 + reach, saturated.size)
    share = (total[end] - total[begin]) / np.maximum(count[end] - count[begin], 1)
    return SATURATION * share, SATURATION_ERROR * share


def offsets(
    x: F8,
    height: F8,
    sigma: F8,
    brightness: F8,
    share: F8,
    leads: tuple[NDArray[np.intp], NDArray[np.intp], F8],
) -> tuple[F8, F8]:
    """Offsets of leads by the ice in their footprints.

    Parameters
    ----------
    x, height, sigma : numpy.ndarray, shape (n,)
        Distance, height and standard error of all segments, m.
    brightness : numpy.ndarray, shape (n,)
        Incident photon rate over that of the ice about; NaN where unknown.
    share : numpy.ndarray, shape (n,)
        Weight of each segment in its lead.
    leads : tuple of numpy.ndarray
        First and last row, and height (m) of each lead.

    Returns
    -------
    offset, error : numpy.ndarray, shape (lead,)
        Metres to subtract from the heights, and their standard errors; 0 where the edge or the ice is not seen.
    """
    with np.errstate(divide="ignore"):
        weight = np.maximum(np.nan_to_num(sigma, nan=np.inf), 1e-3) ** -2.0
    first, last, lead_height = leads
    return _offsets(x, height, weight, brightness, share, first, last, lead_height)

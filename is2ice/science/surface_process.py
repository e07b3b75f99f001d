r"""The sea surface as a random process along the track, seen through leads of which some are false.

The inside of :mod:`is2ice.science.seasurface`, method ``evidence``. The sea under the ground track p, y metres across
from the middle of the pass, stands at distance x at

.. math:: f_p(x) = c(x) + y_p\, g(x) + d_p(x), \qquad c' = s.

s and g are the slopes along and across (Ornstein-Uhlenbeck processes of one standard deviation b, as no direction is
preferred, correlated over 15 km) and d a departure of each track (standard deviation a, correlated over 30 km). So a
stretch beyond the last lead follows the slope of the track and loses it gradually, and what one track knows holds for
its neighbours within the slope across. a and b are estimated from the leads of the pass, by marginal likelihood on a
small grid with a broad prior.

A lead k of height h and error :math:`\sigma` is sea surface with the probability :math:`\pi` that its own evidence
gives (:mod:`is2ice.science.lead_evidence`), else thin or thick ice:

.. math:: p(h) = \pi\, N(f, \sigma^2) + (1-\pi) \sum_j \alpha_j N(f + m_j, \sigma^2 + s_j^2).

With f predicted from all other leads (mean and variance without lead k) this gives the probability q that it is sea
surface, and the lead enters with variance :math:`(\sigma^2 + (1-q) r^2) / q`, r its distance from that prediction; the
two steps alternate until q stands still. A lead with q under one half is left out. Where nothing else is near, the
prediction says nothing and q stays near :math:`\pi`: a lone lead has to be plausible by itself.

The process is Markov, so a Kalman filter and a smoother (modified Bryson-Frazier, without inverses) take time in
proportion to the length of the track.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["Observations", "Process", "Surface", "fit", "surface_at"]

F8 = NDArray[np.float64]

#: Distances over which slope and departures of a ground track are correlated, m.
SLOPE_LENGTH, TRACK_LENGTH = 15_000.0, 30_000.0
#: Slopes (m/m) and departures (m) tried, and the median and log standard deviation of their priors.
SLOPES, DEPARTURES = (2.5e-6, 5e-6, 1e-5, 2e-5), (0.004, 0.008, 0.016, 0.032)
SLOPE_PRIOR, DEPARTURE_PRIOR = (1e-5, 0.5), (0.010, 0.6)
#: Standard deviation of the level before any lead is seen, m.
LEVEL = 1.0
#: False leads: share, mean height above the sea and spread, m, of thin ice and of thick ice.
FALSE = ((0.5, 0.05, 0.04), (0.5, 0.35, 0.25))
#: A lead less probable than this is left out.
LEAST = 0.5
#: Passes of the alternation, and the change of probability at which it ends.
PASSES, STILL = 40, 1e-3


@dataclass(frozen=True)
class Observations:
    """Leads of a pass in order of distance.

    Attributes
    ----------
    x, height, variance, prior : numpy.ndarray, shape (n,)
        Distance and height, m; variance of the height, m2; probability that it is sea surface by its own evidence.
    track : numpy.ndarray of int, shape (n,)
        Number of the ground track, from 0.
    """

    x: F8
    height: F8
    variance: F8
    prior: F8
    track: NDArray[np.intp]


@dataclass(frozen=True)
class Process:
    """Standard deviations of the slope (m/m) and of the departures of single ground tracks (m)."""

    slope: float
    departure: float


@dataclass(frozen=True)
class Surface:
    """Sea surface at nodes, and the leads' probabilities.

    Attributes
    ----------
    height, variance : numpy.ndarray, shape (track, node)
    probability : numpy.ndarray, shape (lead,)
    process : Process
    """

    height: F8
    variance: F8
    probability: F8
    process: Process


@njit(cache=True, nogil=True)
def _step(dx: Any, slope: Any, departure: Any, f: NDArray[Any], q: NDArray[Any]) -> None:
    """Transition f (2 x 2 of level and slope, then the factor of departures) and its noise q over dx."""
    u = dx / SLOPE_LENGTH
    decay = np.exp(-u)
    b2 = slope * slope
    f[0] = SLOPE_LENGTH * (1.0 - decay)
    f[1] = decay
    f[2] = np.exp(-dx / TRACK_LENGTH)
    if u < 1e-2:  # the exact form cancels
        q[0] = 2.0 * b2 * dx * dx * u * (1.0 / 3.0 - u / 4.0)
    else:
        q[0] = 2.0 * b2 * SLOPE_LENGTH * (dx - SLOPE_LENGTH * (1.5 - 2.0 * decay + 0.5 * decay * decay))
    q[1] = b2 * SLOPE_LENGTH * (1.0 - decay) ** 2
    q[2] = b2 * (1.0 - decay * decay)
    q[3] = departure * departure * (1.0 - f[2] * f[2])


@njit(cache=True, nogil=True)
def _transition(f: NDArray[Any], size: Any) -> Any:
    full = np.zeros((size, size))
    full[0, 0], full[0, 1], full[1, 1], full[2, 2] = 1.0, f[0], f[1], f[1]
    for i in range(3, size):
        full[i, i] = f[2]
    return full


@njit(cache=True, nogil=True)
def _filter(
    points: Any,
    slope: Any,
    departure: Any,
    across: NDArray[Any],
    means: NDArray[Any],
    covariances: NDArray[Any],
) -> Any:
    """Kalman filter over sorted points; fills the predicted states and returns the log likelihood.

    `points` are x, seen, track, height and variance; those not seen are nodes without a lead. The states are the level,
    the slopes along and across, and the departures of the tracks, which lie at `across`.
    """
    x, seen, track, height, variance = points
    size = 3 + across.size
    m = np.zeros(size)
    p = np.zeros((size, size))
    p[0, 0], p[1, 1], p[2, 2] = LEVEL**2, slope**2, slope**2
    for i in range(3, size):
        p[i, i] = departure**2
    f, q = np.empty(3), np.empty(4)
    likelihood = 0.0
    for k in range(x.size):
        if k > 0 and x[k] > x[k - 1]:
            _step(x[k] - x[k - 1], slope, departure, f, q)
            full = _transition(f, size)
            m = full @ m
            p = full @ p @ full.T
            p[0, 0] += q[0]
            p[0, 1] += q[1]
            p[1, 0] += q[1]
            p[1, 1] += q[2]
            p[2, 2] += q[2]
            for i in range(3, size):
                p[i, i] += q[3]
        means[k], covariances[k] = m, p
        if seen[k]:
            j, y = 3 + track[k], across[track[k]]
            gain = p[:, 0] + y * p[:, 2] + p[:, j]
            s = gain[0] + y * gain[2] + gain[j] + variance[k]
            residual = height[k] - m[0] - y * m[2] - m[j]
            m = m + gain * (residual / s)
            p = p - np.outer(gain, gain) / s
            likelihood -= 0.5 * (np.log(s) + residual * residual / s)
    return likelihood


@njit(cache=True, nogil=True)
def _smooth(
    points: Any,
    slope: Any,
    departure: Any,
    across: NDArray[Any],
    means: NDArray[Any],
    covariances: NDArray[Any],
    out: NDArray[Any],
    spread: NDArray[Any],
) -> None:
    """Smoothed height and variance of each track at each point, from the predicted states."""
    x, seen, track, height, variance = points
    tracks = across.size
    size = 3 + tracks
    lam = np.zeros(size)
    big = np.zeros((size, size))
    look = np.zeros(size)
    f, q = np.empty(3), np.empty(4)
    for k in range(x.size - 1, -1, -1):
        m, p = means[k], covariances[k]
        if seen[k]:
            look[:] = 0.0
            look[0], look[2], look[3 + track[k]] = 1.0, across[track[k]], 1.0
            gain = p @ look
            s = look @ gain + variance[k]
            c = np.eye(size) - np.outer(gain, look) / s
            big = c.T @ big @ c + np.outer(look, look) / s
            lam = c.T @ lam - look * ((height[k] - look @ m) / s)
        mean = m - p @ lam
        cov = p - p @ big @ p
        for t in range(tracks):
            look[:] = 0.0
            look[0], look[2], look[3 + t] = 1.0, across[t], 1.0
            out[t, k] = look @ mean
            spread[t, k] = look @ cov @ look
        if k > 0 and x[k] > x[k - 1]:
            _step(x[k] - x[k - 1], slope, departure, f, q)
            full = _transition(f, size)
            lam = full.T @ lam
            big = full.T @ big @ full


def _likelihood(leads: Observations, variance: F8, process: Process, across: F8) -> float:
    n, size = leads.x.size, 3 + across.size
    points = leads.x, np.ones(n, np.bool_), leads.track, leads.height, variance
    work = np.empty((n, size)), np.empty((n, size, size))
    return float(_filter(points, process.slope, process.departure, across, *work))


def surface_at(leads: Observations, variance: F8, node: F8, process: Process, across: F8) -> tuple[F8, ...]:
    """Heights and variances of all tracks at the leads and at the nodes."""
    n, size = leads.x.size, 3 + across.size
    x = np.concatenate([leads.x, node])
    order = np.argsort(x, kind="stable")
    seen = order < n
    row = np.where(seen, order, 0)
    points = x[order], seen, np.where(seen, leads.track[row], 0), leads.height[row], variance[row]
    model = process.slope, process.departure, across
    work = np.empty((x.size, size)), np.empty((x.size, size, size))
    _filter(points, *model, *work)
    height, spread = np.empty((across.size, x.size)), np.empty((across.size, x.size))
    _smooth(points, *model, *work, height, spread)
    back = np.empty(x.size, np.intp)
    back[order] = np.arange(x.size)
    height, spread = height[:, back], spread[:, back]
    return height[:, :n], spread[:, :n], height[:, n:], spread[:, n:]


def _normal(r: F8, variance: F8) -> F8:
    return np.exp(-0.5 * r * r / variance) / np.sqrt(2 * np.pi * variance)


def _posterior(leads: Observations, height: F8, spread: F8, used: F8) -> tuple[F8, F8]:
    """Probability of each lead, and its distance from what the surface is without it."""
    # Removing one observation of variance `used` from a normal posterior.
    precision = np.maximum(1.0 / spread - 1.0 / used, 1.0 / LEVEL**2)
    without = (height / spread - leads.height / used) / precision
    without = np.where(precision > 1.0001 / LEVEL**2, without, leads.height)
    wide = 1.0 / precision + leads.variance
    r = leads.height - without
    true = leads.prior * _normal(r, wide)
    false = sum(share * _normal(r - mean, wide + sd**2) for share, mean, sd in FALSE)
    return true / np.maximum(true + (1 - leads.prior) * false, 1e-300), r


def _entered(variance: F8, q: F8, apart: F8) -> F8:
    """Variance with which a lead of probability q enters, `apart` from the prediction of the others."""
    q = np.clip(q, 1e-6, 1.0)
    return (variance + (1.0 - q) * np.minimum(apart, 1.0) ** 2) / q


def _estimate(leads: Observations, variance: F8, across: F8) -> Process:
    """Most probable slope and departure on the grid."""
    best, found = -np.inf, Process(SLOPE_PRIOR[0], DEPARTURE_PRIOR[0])
    for slope in SLOPES:
        for departure in DEPARTURES:
            process = Process(slope, departure)
            prior = sum(
                -0.5 * (np.log(value / median) / width) ** 2
                for value, (median, width) in ((slope, SLOPE_PRIOR), (departure, DEPARTURE_PRIOR))
            )
            score = prior + _likelihood(leads, variance, process, across)
            if score > best:
                best, found = score, process
    return found


def fit(leads: Observations, node: F8, across: F8) -> Surface:
    """Sea surface at nodes from the leads of a pass.

    Parameters
    ----------
    leads : Observations
        At least one.
    node : numpy.ndarray, shape (n,)
        Distances at which the surface is wanted, m, increasing.
    across : numpy.ndarray, shape (track,)
        Distance of each ground track across the pass, m.

    Returns
    -------
    Surface
        Heights are NaN where every lead was left out.
    """
    # About their own level, so that the broad prior of the level has no say.
    base = float(np.average(leads.height, weights=leads.prior / leads.variance + 1e-12))
    centred = Observations(leads.x, leads.height - base, leads.variance, leads.prior, leads.track)
    q, apart = leads.prior.copy(), np.zeros(leads.x.size)
    mine = (leads.track, np.arange(leads.x.size))
    process = Process(SLOPE_PRIOR[0], DEPARTURE_PRIOR[0])
    for turn in range(PASSES):
        used = _entered(leads.variance, q, apart)
        if turn % 5 == 0 and turn <= 10:
            process = _estimate(centred, used, across)
        height, spread, _, _ = surface_at(centred, used, np.empty(0), process, across)
        again, apart = _posterior(centred, height[mine], spread[mine], used)
        # Half a step at a time: two leads that contradict each other would swap for ever.
        change, q = float(np.abs(again - q).max()), 0.5 * (q + again)
        if change < STILL and turn > 10:
            break
    kept = q >= LEAST
    if not kept.any():
        nothing = np.full((across.size, node.size), np.nan)
        return Surface(nothing, nothing, q, process)
    part = Observations(
        centred.x[kept], centred.height[kept], centred.variance[kept], q[kept], centred.track[kept]
    )
    used = _entered(part.variance, part.prior, apart[kept])
    _, _, height, spread = surface_at(part, used, node, process, across)
    return Surface(height + base, spread, q, process)

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
gives (:mod:`is2ice.science.lead_evidence`), else ice of a height c above the sea that nobody knows, but that is not
negative:

.. math:: p(h \mid f) = \pi\, N(h - f, \sigma^2)
          + (1-\pi) \Big[ \alpha \tfrac1w \int_0^w N(h - f - c, \sigma^2)\,dc
          + (1-\alpha) \lambda \int_0^\infty e^{-\lambda c} N(h - f - c, \sigma^2)\,dc \Big] .

The first is water (lifted, where it is dark, by the light of the ice beside, :mod:`is2ice.science.lead_footprint`; with
a share of :data:`WILD` in wider tails; where nilas may cover it unseen, with the probability that its light leaves,
heights from 0 to 4 cm, less for darker ones, are smeared over it), the second thin ice of any height to w, the third
thick ice. So a false lead says that the sea is not above it, and hardly more: it cannot pull the sea up. Products of
such terms have no closed form; expectation propagation replaces each by the normal distribution that gives the right
mean and variance of f, beside all other leads (the terms have closed moments). The same step gives the probability q
that a lead is sea surface. Leads of q under one half are left out: they count nowhere, and those that are no sea for
certain (q under :data:`NO_SEA`) have no say in the surface. Where nothing else is near, the other leads say nothing and
q stays near :math:`\pi`: a lone lead has to be plausible by itself.

The process is Markov, so a Kalman filter and a smoother (modified Bryson-Frazier, without inverses) take time in
proportion to the length of the track.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr, ndtr

from .compiled import njit

__all__ = ["Observations", "Process", "Surface", "fit", "surface_at"]

F8 = NDArray[np.float64]

#: Distances over which slope and departures of a ground track are correlated, m.
SLOPE_LENGTH, TRACK_LENGTH = 15_000.0, 30_000.0
#: Slopes (m/m) and departures (m) tried, and the median and log standard deviation of their priors.
SLOPES, DEPARTURES = (3.5e-6, 6e-6, 1e-5, 1.8e-5), (0.003, 0.008, 0.020)
SLOPE_PRIOR, DEPARTURE_PRIOR = (1e-5, 0.5), (0.008, 0.8)
#: Standard deviation of the level before any lead is seen, m.
LEVEL = 1.0
#: Ice taken for a lead: share and greatest height of thin ice, m, and mean height of thick ice, m.
THIN, THICKEST_THIN, THICK = 0.4, 0.10, 0.30
#: A dark lead counts as lifted only if the mean lift exceeds this share of the error of its height over the sea that
#: the other leads give; less is within that error, and large exponents would cancel in its density.
LEAST_LIFT = 0.05
#: Share of dark leads that light from beside lifts at all (from the passes of `benchmarks/sea_surface.py --first 300
#: --passes 10`, other seeds than those that judge).
LIFTED = 0.5
#: Greatest height of nilas over the water, m.
NILAS = 0.04
#: Share of true leads with a height further off than its error says, and the standard deviation of that, m.
WILD, WILD_ERROR = 0.02, 0.08
#: A lead less probable than this by its own evidence has no say; one less probable with the others is left out, and
#: less probable than the third is no sea.
NO_SAY, LEAST, NO_SEA = 0.05, 0.5, 0.1
#: Passes of expectation propagation, the change of probability at which they end, and the least precision of a site
#: over that of its lead.
PASSES, STILL, FAINT = 30, 2e-3, 1e-3


@dataclass(frozen=True)
class Observations:
    """Leads of a pass in order of distance.

    Attributes
    ----------
    x, height, variance, prior : numpy.ndarray, shape (n,)
        Distance and height, m; variance of the height, m2; probability that it is sea surface by its own evidence.
    track : numpy.ndarray of int, shape (n,)
        Number of the ground track, from 0.
    film, film_height : numpy.ndarray, shape (n,)
        Probability that sea surface is covered by nilas, and its greatest height, m.
    beside : numpy.ndarray, shape (n,)
        Mean height that the light of the ice beside may add, m: exponential, for it cannot be negative.
    """

    x: F8
    height: F8
    variance: F8
    prior: F8
    track: NDArray[np.intp]
    film: F8
    film_height: F8
    beside: F8

    def of(self, rows: NDArray[np.bool_]) -> Observations:
        """Return some of the leads."""
        return Observations(*(getattr(self, f.name)[rows] for f in fields(self)))


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


def _normal(r: F8, variance: F8) -> tuple[F8, F8, F8]:
    """Return normal density and its first two derivatives."""
    n = np.exp(-0.5 * r * r / variance) / np.sqrt(2 * np.pi * variance)
    return n, -r / variance * n, (r * r / variance - 1.0) / variance * n


def _thin(r: F8, variance: F8, most: Any) -> tuple[F8, F8, F8]:
    """Return normal density smeared over heights from 0 to that of thin ice, and its first two derivatives."""
    s = np.sqrt(variance)
    near, far = _normal(r, variance), _normal(r - most, variance)
    density = (ndtr(r / s) - ndtr((r - most) / s)) / most
    return density, (near[0] - far[0]) / most, (near[1] - far[1]) / most


def _above(r: F8, variance: F8, mean: Any) -> tuple[F8, F8, F8]:
    """Return normal density smeared over heights of an exponential distribution, and its first two derivatives."""
    rate, s = 1.0 / mean, np.sqrt(variance)
    near = _normal(r, variance)
    density = rate * np.exp(0.5 * rate * rate * variance - rate * r + log_ndtr(r / s - rate * s))
    first = rate * (near[0] - density)
    return density, first, rate * (near[1] - first)


def _water(r: F8, variance: F8, beside: F8) -> tuple[F8, F8, F8]:
    """Return density of water that the light of the ice beside may lift, and its first two derivatives."""
    near = _normal(r, variance)
    lifted = beside > LEAST_LIFT * np.sqrt(variance)
    smeared = _above(r, variance, np.where(lifted, beside, 1.0))
    share = np.where(lifted, LIFTED, 0.0)
    first, second, third = ((1.0 - share) * a + share * b for a, b in zip(near, smeared, strict=True))
    return first, second, third


def _mixture(r: F8, variance: F8, leads: Observations) -> tuple[F8, F8, F8, F8]:
    """Density of a lead `r` above the predicted sea, its first two derivatives, and the part that is sea surface."""
    prior, film = leads.prior, leads.film
    parts = (
        (prior * (1.0 - WILD) * (1.0 - film), _water(r, variance, leads.beside)),
        (prior * (1.0 - WILD) * film, _thin(r, variance, leads.film_height)),
        (prior * WILD, _normal(r, variance + WILD_ERROR**2)),
        ((1.0 - prior) * THIN, _thin(r, variance, THICKEST_THIN)),
        ((1.0 - prior) * (1.0 - THIN), _above(r, variance, THICK)),
    )
    total, first, second = (np.sum([share * part[k] for share, part in parts], axis=0) for k in range(3))
    sea = np.sum([share * part[0] for share, part in parts[:3]], axis=0)
    return np.maximum(total, 1e-200), first, second, sea


@dataclass(frozen=True)
class _Sites:
    """Normal distributions that stand for the leads: precision (1/m2), and precision times height (1/m)."""

    precision: F8
    shift: F8

    @classmethod
    def first(cls, leads: Observations) -> _Sites:
        """Leads by their own evidence, each with the error that being ice would bring."""
        # A start only: all are taken for lifted, and the first pass knows the share that is. Another start ends within
        # what is left at STILL.
        ice = (1.0 - leads.prior) * THICK**2 + leads.beside**2
        precision = 1.0 / (leads.variance / leads.prior + ice)
        return cls(precision, precision * (leads.height - leads.beside))

    def better(self, leads: Observations, height: F8, spread: F8) -> tuple[_Sites, F8]:
        """Half a step towards sites that fit the posterior of all, and the probability of each lead."""
        without = np.maximum(1.0 / spread - self.precision, 1.0 / LEVEL**2)
        mean = (height / spread - self.shift) / without
        wide = 1.0 / without + leads.variance
        total, first, second, sea = _mixture(leads.height - mean, wide, leads)
        gradient, curve = -first / total, second / total - (first / total) ** 2
        moved, variance = mean + gradient / without, np.maximum((1.0 + curve / without) / without, 1e-12)
        precision = np.maximum(1.0 / variance - without, FAINT / leads.variance)
        shift = (precision + without) * moved - without * mean
        step = _Sites(0.5 * (self.precision + precision), 0.5 * (self.shift + shift))
        return step, sea / total

    def as_leads(self, leads: Observations) -> Observations:
        """Leads at the heights, and with the variances, of their sites."""
        return replace(leads, height=self.shift / self.precision, variance=1.0 / self.precision)


def _estimate(leads: Observations, across: F8) -> Process:
    """Most probable slope and departure on the grid."""
    best, found = -np.inf, Process(SLOPE_PRIOR[0], DEPARTURE_PRIOR[0])
    if not leads.x.size:
        return found
    for slope in SLOPES:
        for departure in DEPARTURES:
            process = Process(slope, departure)
            prior = sum(
                -0.5 * (np.log(value / median) / width) ** 2
                for value, (median, width) in ((slope, SLOPE_PRIOR), (departure, DEPARTURE_PRIOR))
            )
            score = prior + _likelihood(leads, leads.variance, process, across)
            if score > best:
                best, found = score, process
    return found


def _propagate(leads: Observations, across: F8) -> tuple[_Sites, F8, Process]:
    """Sites and probabilities of leads that have a say, and the process."""
    mine = (leads.track, np.arange(leads.x.size))
    process = Process(SLOPE_PRIOR[0], DEPARTURE_PRIOR[0])
    sites, q = _Sites.first(leads), leads.prior
    for turn in range(PASSES):
        at = sites.as_leads(leads)
        if turn == 4:
            process = _estimate(at.of(q >= LEAST), across)
        height, spread, _, _ = surface_at(at, at.variance, np.empty(0), process, across)
        sites, again = sites.better(leads, height[mine], spread[mine])
        change, q = float(np.abs(again - q).max()), again
        if change < STILL and turn > 5:
            break
    return sites, q, process


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
    probability = leads.prior.copy()
    said = leads.prior >= NO_SAY
    nothing = np.full((across.size, node.size), np.nan)
    process = Process(SLOPE_PRIOR[0], DEPARTURE_PRIOR[0])
    if not said.any():
        return Surface(nothing, nothing, probability, process)
    heard = leads.of(said)
    # About their own level, so that the broad prior of the level has no say.
    base = float(np.average(heard.height, weights=heard.prior**2 / heard.variance))
    heard = replace(heard, height=heard.height - base)
    _, q, process = _propagate(heard, across)
    probability[said] = q
    if not (q >= LEAST).any():
        return Surface(nothing, nothing, probability, process)
    # Once more without those that are no sea, so that nothing is left of them. Leads of which that is not certain stay
    # in the mixture: to drop the high ones of them would leave the low ones, and lower the sea.
    kept = heard.of(q >= NO_SEA)
    sites, _, process = _propagate(kept, across)
    at = sites.as_leads(kept)
    _, _, height, spread = surface_at(at, at.variance, node, process, across)
    return Surface(height + base, spread, probability, process)

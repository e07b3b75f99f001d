r"""First-photon bias: a bright return keeps its early photons and loses its late ones.

Each beam falls on ``n_pix`` detector pixels (16 strong, 4 weak); after an event a pixel is blind for
the dead time :math:`d` (about 3 ns). With an incident Poisson rate :math:`\lambda f(t)` per pixel the
rate of detected events is exactly

.. math:: r(t) = \lambda f(t) \left[1 - \int_{t-d}^{t} r(s)\,ds\right],

because events of one pixel are at least :math:`d` apart, so the integral is the probability of being
blind. Its mean is early, so heights are too high. Two sources serve the correction:

- the granule's CAL-19 tables (``ancillary_data/calibrations/first_photon_bias``), made for this
  instrument, by mean dead time, strength (detected photons per pulse) and width (10-90 % span);
- :func:`renewal_table`, the equation above for a Gaussian return, where the tables are missing.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .compiled import njit
from .photon_kernels import bilinear

__all__ = ["FirstPhotonBias", "detected", "from_cal19", "from_model", "incident", "renewal_table"]

F8 = NDArray[np.float64]

#: Half the speed of light, metres of height per nanosecond of two-way time.
M_PER_NS = 0.299792458 / 2
#: 10-90 % span of a Gaussian, standard deviations.
SPAN_10_90 = 2.5631031310892007
PIXELS = {"strong": 16, "weak": 4}
#: Share of pixels that detect above which a return counts as saturated: the bias then grows by centimetres
#: for every tenth of a photon.
SATURATED = 0.9
#: CAL-42 means, ns, where a granule brings none.
LONGEST_DEAD_TIME = 100.0
#: Corrections (ps) that a photon-counting detector can need: late photons are lost, so the bias is not negative.
CORRECTIONS_PS = (-50.0, 1e5)
#: Least and greatest value of the axes of CAL-19: dead time (ns), photons per pulse, width (ns).
AXES = ((0.1, LONGEST_DEAD_TIME), (0.0, 1e3), (0.0, 1e3))
#: Reach of the tables beyond the ends of their axis of dead times, ns.
BEYOND = 0.5
DEAD_TIME = {"strong": 2.98, "weak": 3.05}


def incident(rate: F8 | float, n_pix: int) -> F8:
    """Incident photons per pulse from detected ones: each of the beam's pixels detects once."""
    return -n_pix * np.log1p(-np.minimum(rate, 0.97 * n_pix) / n_pix)


def detected(rate: F8, n_pix: int) -> F8:
    """Return detected photons per pulse from incident ones."""
    return -n_pix * np.expm1(-rate / n_pix)


@dataclass(frozen=True)
class FirstPhotonBias:
    """Bias of the mean height as a table over strength and spread.

    Attributes
    ----------
    strength : numpy.ndarray (n,)
        Detected photons per pulse, increasing.
    spread : numpy.ndarray (m,)
        Standard deviation of detected heights, m, increasing.
    bias : numpy.ndarray (n, m)
        Height bias, m, positive when heights are too high.
    source : str
        ``"cal19"`` or ``"model"``.
    limit : float
        Detected photons per pulse beyond which the pixels are so nearly all blind that neither source can be
        trusted: :data:`SATURATED` of their number.
    """

    strength: F8
    spread: F8
    bias: F8
    source: str
    limit: float = np.inf

    def __call__(self, strength: F8, spread: F8) -> tuple[F8, NDArray[np.bool_]]:
        """Bias (m) at detected photons per pulse and spread (m), and where it lies outside the table."""
        value, clipped = bilinear(
            np.asarray(strength, "f8"), np.asarray(spread, "f8"), self.strength, self.spread, self.bias
        )
        # Fewer photons than the table knows: the bias vanishes with them, so its edge serves.
        faint = (np.asarray(strength) < self.strength[0]) & (self.strength[0] < 1.0)
        return value, clipped & ~faint


def from_cal19(
    dead_time_ns: float, dead_time: F8, strength: F8, width: F8, ffb_corr: F8, n_pix: int | None = None
) -> FirstPhotonBias:
    """Bias from a beam's CAL-19 tables at its mean dead time.

    Parameters
    ----------
    dead_time_ns : float
        Mean dead time of the beam's channels, ns.
    dead_time : (n_d,)
        Axis of dead times, ns.
    strength : (n_d, n_s)
        Detected photons per pulse.
    width : (n_d, n_w)
        10-90 % span of the return, ns.
    ffb_corr : (n_d, n_s, n_w)
        Correction, ps.
    n_pix : int, optional
        Pixels of the beam, which set the limit of trust.

    Returns
    -------
    FirstPhotonBias

    Raises
    ------
    ValueError
        When shapes do not agree or an axis does not increase.
    """
    dead_time, strength, width = (np.asarray(a, "f8") for a in (dead_time, strength, width))
    corr = np.asarray(ffb_corr, "f8")
    shapes = [a.shape for a in (dead_time, strength, width, corr)]
    if dead_time.ndim != 1 or shapes[1:] != [
        (dead_time.size, *strength.shape[1:2]),
        (dead_time.size, *width.shape[1:2]),
        (dead_time.size, *strength.shape[1:2], *width.shape[1:2]),
    ]:
        raise ValueError(
            f"first-photon tables disagree: dead_time {shapes[0]}, strength {shapes[1]}, width {shapes[2]} and "
            f"ffb_corr {shapes[3]}; expected (n), (n, s), (n, w) and (n, s, w)"
        )
    if not (dead_time.size and np.isfinite(dead_time).all() and np.isfinite(dead_time_ns)):
        raise ValueError("first-photon tables: a dead time is missing or not finite")
    # Rows may be filled with huge values where the tables are not valid.
    corr, strength = (np.where(np.abs(a) > 1e6, np.nan, a) for a in (corr, strength))
    wrong = (corr < CORRECTIONS_PS[0]) | (corr > CORRECTIONS_PS[1])
    if wrong.any():
        raise ValueError(
            f"first-photon tables: {wrong.sum():,} corrections are impossible ({corr[wrong][0]:.6g} ps; expected "
            f"{CORRECTIONS_PS[0]:g} to {CORRECTIONS_PS[1]:g}): another sign or unit?"
        )
    order = np.argsort(dead_time)
    _check_axes(dead_time[order], strength, width, corr[order])
    if not dead_time.min() - BEYOND <= dead_time_ns <= dead_time.max() + BEYOND:
        raise ValueError(
            f"first-photon tables: the dead time of the beam, {dead_time_ns:g} ns, lies outside of theirs "
            f"({dead_time.min():g} to {dead_time.max():g} ns)"
        )
    lo = int(np.clip(np.searchsorted(dead_time[order], dead_time_ns) - 1, 0, max(dead_time.size - 2, 0)))
    a, b = order[lo], order[min(lo + 1, dead_time.size - 1)]
    step = dead_time[b] - dead_time[a]
    f = float(np.clip((dead_time_ns - dead_time[a]) / step, 0, 1)) if step > 0 else 0.0
    s_axis = (1 - f) * strength[a] + f * strength[b]
    w_axis = (1 - f) * width[a] + f * width[b]
    table = (1 - f) * corr[a] + f * corr[b]
    rows = np.isfinite(table).all(axis=1) & np.isfinite(s_axis)
    s_axis, table = s_axis[rows], table[rows]
    if min(s_axis.size, w_axis.size) < 2 or not ((np.diff(s_axis) > 0).all() and (np.diff(w_axis) > 0).all()):
        raise ValueError("first-photon tables: the strength or width axis does not increase")
    limit = SATURATED * n_pix if n_pix else np.inf
    return FirstPhotonBias(s_axis, w_axis * M_PER_NS / SPAN_10_90, table * 1e-3 * M_PER_NS, "cal19", limit)


def _check_axes(dead_time: F8, strength: F8, width: F8, corr: F8) -> None:
    """Refuse tables (by increasing dead time) that no detector can have.

    Raises
    ------
    ValueError
    """
    for name, axis, (low, high) in zip(
        ("dead_time", "strength", "width"), (dead_time, strength, width), AXES, strict=True
    ):
        known = axis[np.isfinite(axis)]
        if ((known < low) | (known > high)).any():
            raise ValueError(
                f"first-photon tables: {name} reaches from {known.min():g} to {known.max():g}; expected {low:g} to "
                f"{high:g}"
            )
    if (np.diff(dead_time) <= 0).any():
        raise ValueError("first-photon tables: two have the same dead time")
    whole = corr[:, np.isfinite(corr).all(axis=(0, 2))]
    if whole.size:
        by_dead_time, by_strength, by_width = (whole.mean(axis=k) for k in ((1, 2), (0, 2), (0, 1)))
        grows = (np.diff(by_dead_time) >= 0).all() and by_strength[0] <= by_strength[-1]
        if not (whole.any() and grows and by_width[0] >= by_width[-1]):
            raise ValueError(
                "first-photon tables: corrections are 0 throughout, or do not grow with dead time, strength and "
                "narrowness: never written, or in another order"
            )


@lru_cache(maxsize=8)
def from_model(strength: str = "strong", dead_time_ns: float | None = None) -> FirstPhotonBias:
    """Bias of a Gaussian return from the renewal equation.

    Parameters
    ----------
    strength : {"strong", "weak"}
        Sets the number of pixels (16 or 4).
    dead_time_ns : float, optional
        Mean dead time; 2.98 ns (strong) or 3.05 ns (weak) by default.
    """
    n_pix = PIXELS[strength]
    dead = DEAD_TIME[strength] if dead_time_ns is None else float(dead_time_ns)
    rate, spread, bias = renewal_table(round(dead, 4))
    return FirstPhotonBias(rate * n_pix, spread, bias, "model", SATURATED * n_pix)


@lru_cache(maxsize=8)
def renewal_table(dead_time_ns: float) -> tuple[F8, F8, F8]:
    """Bias by detected events per pixel and pulse and by detected spread.

    Parameters
    ----------
    dead_time_ns : float

    Returns
    -------
    detected : numpy.ndarray (n,)
        Detected events per pixel and pulse.
    spread : numpy.ndarray (m,)
        Standard deviation of the detected heights, m.
    bias : numpy.ndarray (n, m)
        Bias of the mean height, m.
    """
    if not 0.0 < dead_time_ns < LONGEST_DEAD_TIME:
        raise ValueError(
            f"dead time {dead_time_ns} ns: expected more than 0 and less than {LONGEST_DEAD_TIME:g} ns"
        )
    incident = np.concatenate([[1e-4], np.geomspace(0.01, 8.0, 59)])
    sigma = np.geomspace(0.04, 1.2, 40)  # incident spread, m
    n_det, mean_ns, std_ns = _renewal(incident, sigma / M_PER_NS, dead_time_ns)
    bias_in, std_in = -mean_ns * M_PER_NS, std_ns * M_PER_NS
    # For each incident spread, follow the curve of bias and detected spread along the detected rate;
    # then turn the table from incident to detected spread.
    detected = np.linspace(0.0, 0.99, 67)
    by_rate_bias = np.empty((detected.size, sigma.size))
    by_rate_std = np.empty_like(by_rate_bias)
    for j in range(sigma.size):
        by_rate_bias[:, j] = np.interp(detected, n_det[:, j], bias_in[:, j])
        by_rate_std[:, j] = np.interp(detected, n_det[:, j], std_in[:, j])
    spread = np.geomspace(0.05, 1.0, 30)
    bias = np.array(
        [np.interp(spread, s, b) for s, b in zip(by_rate_std, by_rate_bias, strict=True)], dtype="f8"
    )
    bias[0] = 0.0
    return detected, spread, bias


@njit(cache=True, nogil=True)
def _renewal(
    incident: NDArray[Any], sigma_ns: NDArray[Any], dead_ns: Any
) -> Any:  # pragma: no cover - compiled
    """Solve the renewal equation on a time grid; detected number, mean and spread (ns)."""
    n_i, n_s = incident.size, sigma_ns.size
    number = np.empty((n_i, n_s))
    mean = np.empty((n_i, n_s))
    std = np.empty((n_i, n_s))
    for j in range(n_s):
        s = sigma_ns[j]
        dt = min(0.02, s / 20.0)
        half = 5.0 * s
        n = int(2 * half / dt) + 1
        lag = max(int(np.round(dead_ns / dt)), 0)  # a negative one would look for steps to come
        r = np.zeros(n)
        for i in range(n_i):
            blind = 0.0
            m0 = 0.0
            m1 = 0.0
            m2 = 0.0
            for k in range(n):
                t = -half + k * dt
                f = np.exp(-0.5 * (t / s) ** 2) / (s * np.sqrt(2 * np.pi))
                # Half of the current step is already blind: second order in dt.
                lam = incident[i] * f * dt
                r[k] = lam * (1.0 - blind) / (1.0 + 0.5 * lam)
                blind += r[k]
                if k >= lag:
                    blind -= r[k - lag]
                m0 += r[k]
                m1 += r[k] * t
                m2 += r[k] * t * t
            number[i, j] = m0
            mean[i, j] = m1 / m0
            std[i, j] = np.sqrt(m2 / m0 - (m1 / m0) ** 2)
    return number, mean, std

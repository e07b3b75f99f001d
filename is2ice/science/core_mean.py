r"""Bias of the height that segments use: the mean of the core of a return, seen by pixels with a dead time.

``h_core`` is the mean of the photons within half a metre of the median. Tables of the first-photon bias, CAL-19 among
them, are made for the mean of the whole return, which two things tell from the core's:

- the pulse has late tails. The core leaves most of them out, and the more it leaves out the rougher the surface is;
- a dead time acts on the early, dense part of a return, which is all that the core keeps.

Both follow from the shape of the pulse. With the arrival density :math:`f(t)` of the pulse on a rough surface and the
detected density :math:`r(t)` of :mod:`is2ice.science.first_photon_bias`, the term

.. math:: \Delta = \underbrace{t_0 - E_r[t \mid \mathrm{core}]}_{\text{core}}
          - \underbrace{(E_f[t] - E_r[t])}_{\text{whole}}

is added to a table of the whole return; the table keeps what the instrument's makers know of the dead time. Over snow
it is 0.5 to 0.9 cm, over dim flat water 0.4, over specular water 0.6 to 1.0, so that freeboard moves by millimetres and
the sea surface by half a centimetre.

**Pulse.** A Gaussian core of 0.637 ns with exponential tails of 7.5 % (2 ns) and 5.5 % (6.5 ns): they reproduce the
photons of a genuine Arctic night track about its surface. Zero, :math:`t_0`, is the centroid of the pulse within 0.6 m
of its peak, the span in which signal finding by day keeps photons; another span moves all heights alike.

**Few photons.** One photon, or two, have no core: an outlier is their mean. They lie lower and scatter more than the
core of many (:data:`FEW`).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .compiled import njit
from .first_photon_bias import DEAD_TIME, M_PER_NS, PIXELS, SPAN_10_90, FirstPhotonBias

__all__ = ["FEW", "density", "of_core", "pulse_zero"]

F8 = NDArray[np.float64]

#: Standard deviation of the pulse, and (share, mean delay) of its late tails, ns.
PULSE, TAILS = 0.637, ((0.075, 2.0), (0.055, 6.5))
#: Photons that signal finding keeps lie within this of the surface, m: of a flat one, and more by its roughness.
SIGNAL, PER_ROUGHNESS = 0.6, 3.0
#: Farthest photon of the core from the median, m.
TRIM = 0.5
#: Where the centroid of the pulse that heights refer to is taken, ns from its peak.
CENTROID = 4.0
#: By number of photons, from 0 (and for all more): bias of a cell's core mean against that of many photons, m, and its
#: standard error against that of the core. Means of photons drawn from the pulse, within SIGNAL, over water.
FEW = np.array([[0.0, -0.006, -0.006, -0.002, -0.002, -0.001, 0.0], [1.0, 1.12, 1.12, 1.07, 1.05, 1.03, 1.0]])


def density(t: F8, sigma: float) -> F8:
    """Arrival density of the pulse on a surface of roughness sigma, ns, about the peak."""
    from scipy.special import erfcx

    s = float(np.hypot(PULSE, sigma))
    core = np.exp(-0.5 * (t / s) ** 2) / (s * np.sqrt(2 * np.pi))
    out = (1.0 - sum(share for share, _ in TAILS)) * core
    for share, mean in TAILS:
        z = (s / mean - t / s) / np.sqrt(2)
        far = np.exp(np.minimum(0.5 * (s / mean) ** 2 - t / mean, 700.0)) / mean
        tail = core * np.sqrt(np.pi / 2) * s / mean * erfcx(np.maximum(z, -5.0))
        out = out + share * np.where(z > -5.0, tail, far)
    return out


def pulse_zero() -> float:
    """Delay of the centroid, to which heights refer, behind the peak of the pulse, ns."""
    t = np.arange(-CENTROID, CENTROID, 0.01)
    f = density(t, 0.0)
    return float((t * f).sum() / f.sum())


@njit(cache=True, nogil=True)
def _one(t: F8, density: F8, incident: Any, lag: Any, zero: Any, reach: Any) -> Any:
    """Return events of one pixel; core spread, 10-90 % span and biases of the core and of the whole return, ns."""
    n, dt = t.size, t[1] - t[0]
    r = np.empty(n)
    found = np.empty(n)
    blind, events, total, late, arrived, whole = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for k in range(n):
        arrivals = incident * density[k] * dt
        r[k] = arrivals * (1.0 - blind) / (1.0 + 0.5 * arrivals)
        blind += r[k]
        if k >= lag:
            blind -= r[k - lag]
        events += r[k]
        if abs(t[k] - zero) <= reach:
            total += r[k]
            late += r[k] * t[k]
            arrived += density[k]
            whole += density[k] * t[k]
        found[k] = total
    low, middle, high = np.interp(np.array([0.1, 0.5, 0.9]) * total, found, t)
    core, mean, square = 0.0, 0.0, 0.0
    for k in range(n):
        if abs(t[k] - zero) <= reach and abs(t[k] - middle) <= TRIM / M_PER_NS:
            core += r[k]
            mean += r[k] * t[k]
            square += r[k] * t[k] ** 2
    mean /= core
    spread = np.sqrt(square / core - mean * mean)
    return events, spread, high - low, zero - mean, whole / arrived - late / total


@lru_cache(maxsize=8)
def _statistics(dead_time_ns: float) -> F8:
    """Of returns of every rate and roughness: detected events a pixel, core spread, 10-90 % span and both biases, m.

    Shape (5, incident, roughness); the biases are those of the core and of the whole return.
    """
    incident = np.concatenate([[1e-4], np.geomspace(0.05, 6.0, 28)])
    roughness = np.concatenate([[0.0], np.geomspace(0.03, 1.0, 18)])
    out = np.empty((5, incident.size, roughness.size))
    zero, dt = pulse_zero(), 0.03
    for j, rough in enumerate(roughness):
        sigma = rough / M_PER_NS
        half = 5.0 * float(np.hypot(PULSE, sigma))
        t = np.arange(-half, half + 12.0, dt)
        f = density(t, sigma)
        reach = (SIGNAL + PER_ROUGHNESS * rough) / M_PER_NS
        for i, rate in enumerate(incident):
            out[:, i, j] = _one(t, f, rate, round(dead_time_ns / dt), zero, reach)
    out[1:] *= M_PER_NS
    return out


def of_core(bias: FirstPhotonBias, strength: str, dead_time_ns: float | None = None) -> FirstPhotonBias:
    """Bias of the core mean, by detected photons per pulse and the spread of the core.

    Parameters
    ----------
    bias : FirstPhotonBias
        That of the whole return.
    strength : {"strong", "weak"}
    dead_time_ns : float, optional
        Mean dead time; the nominal one by default.

    Returns
    -------
    FirstPhotonBias
        With the source and the limit of `bias`.
    """
    n_pix = PIXELS[strength]
    dead = DEAD_TIME[strength] if dead_time_ns is None else float(dead_time_ns)
    rate, spread, span, core, whole = _statistics(round(20.0 * dead) / 20.0)
    if bias.source == "model":
        value = core
    else:
        # The tables of the product are entered with the span of the whole return, as they were made.
        width = span / SPAN_10_90
        at = bias((n_pix * rate).ravel(), width.ravel())[0]
        value = core - whole + at.reshape(rate.shape)
    detected = np.linspace(0.0, float(rate[-1].min()), 61)
    # For each roughness along the detected rate, then from roughness to the spread of the core.
    columns = [
        (np.interp(detected, rate[:, j], spread[:, j]), np.interp(detected, rate[:, j], value[:, j]))
        for j in range(rate.shape[1])
    ]
    wide, tall = (np.array(a) for a in zip(*columns, strict=True))
    axis = np.linspace(float(spread.min()), 0.28, 40)
    order = np.maximum.accumulate(wide, axis=0)
    table = np.array([np.interp(axis, order[:, k], tall[:, k]) for k in range(detected.size)])
    return FirstPhotonBias(n_pix * detected, axis, table, bias.source, bias.limit)

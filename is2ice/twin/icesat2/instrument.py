"""ATLAS as the twin has it: pulse, pixels, dead time, and the calibration tables that follow from them."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

__all__ = [
    "DEAD_TIME",
    "GROUND_SPEED",
    "PIXELS",
    "C",
    "first_photon_bias_table",
    "pulse_density",
    "pulse_offset",
    "renewal",
]

Array = NDArray[np.float64]

#: Speed of light, m/s; metres of height per ns of delay.
C = 299_792_458.0
NS = C / 2 * 1e-9
#: Speed of the footprint, m/s.
GROUND_SPEED = 7096.0
#: Receiver pixels of a strong and of a weak beam.
PIXELS = {"strong": 16, "weak": 4}
#: Mean dead time of a pixel, ns (measured on orbit: 2.98 and 3.05; no genuine same-pixel delay is under
#: 3.0), and its scatter between pixels.
DEAD_TIME = {"strong": 3.02, "weak": 3.05}
DEAD_SCATTER = 0.012
#: Transmitted pulse: sigma of its core, ns, and (share, mean delay in ns) of its exponential late tails.
#: The tails reproduce the residuals of the genuine Arctic night track.
PULSE_SIGMA = 0.637
PULSE_TAILS = ((0.075, 2.0), (0.055, 6.5))
#: Chance that a detected photon causes an afterpulse in its pixel, and its mean delay past the dead time, ns.
AFTERPULSE = (0.008, 4.0)
#: Heights refer to the centroid of the pulse within this time of its peak, ns: .6 m, the span in which
#: day-time signal finding keeps photons. A wider clip would only move every height alike (.3 cm per .5 ns).
CENTROID_REACH = 4.0


def pulse_density(t: Array, sigma: float = 0.0) -> Array:
    """Density of photon arrival times of a flat rough surface, per ns.

    Parameters
    ----------
    t : array
        Delay from the calibrated centroid, ns (late is positive).
    sigma : float
        Roughness of the surface, ns.
    """
    return _raw_density(np.asarray(t, float) + pulse_offset(), sigma)


def _raw_density(t: Array, sigma: float) -> Array:
    from scipy.special import erfcx

    s = np.hypot(PULSE_SIGMA, sigma)
    core = norm.pdf(t, 0.0, s)
    out = (1.0 - sum(share for share, _ in PULSE_TAILS)) * core
    for share, mean in PULSE_TAILS:
        # Exponentially modified Gaussian, written so that nothing overflows.
        z = (s / mean - t / s) / np.sqrt(2)
        far = np.exp(np.minimum(0.5 * (s / mean) ** 2 - t / mean, 700.0)) / mean
        out = out + share * np.where(
            z > -5.0, core * np.sqrt(np.pi / 2) * s / mean * erfcx(np.maximum(z, -5.0)), far
        )
    return out


@lru_cache(maxsize=1)
def pulse_offset() -> float:
    """Delay of the clipped centroid behind the core's peak, ns; taken out of every height."""
    t = np.arange(-CENTROID_REACH, CENTROID_REACH, 0.01)
    f = _raw_density(t, 0.0)
    return float((t * f).sum() / f.sum())


def renewal(incident: Array, density: Array, dt: float, dead: float) -> Array:
    """Return the detected density of one pixel with a non-paralysable dead time, exactly.

    ``r(t) = lambda f(t) [1 - integral of r over the dead time before t]``, stepped in time.

    Parameters
    ----------
    incident : (...,) array
        Mean photons on the pixel per shot.
    density : (..., n) array
        Arrival density, per ns.
    dt, dead : float
        ns.

    Returns
    -------
    (..., n) array
        Detected photons per ns.
    """
    arrivals = incident[..., None] * density * dt
    detected = np.zeros_like(arrivals)
    blind = np.zeros(arrivals.shape[:-1])
    whole = int(dead // dt)
    part = dead / dt - whole
    for k in range(arrivals.shape[-1]):
        # Exact within a step for a constant rate: a live pixel fires with 1 - exp(-arrivals).
        detected[..., k] = (1.0 - np.minimum(blind, 1.0)) * -np.expm1(-arrivals[..., k])
        blind = blind + detected[..., k]
        if k >= whole:
            blind = blind - (1.0 - part) * detected[..., k - whole]
        if k >= whole + 1:
            blind = blind - part * detected[..., k - whole - 1]
    return detected / dt


@lru_cache(maxsize=2)
def first_photon_bias_table(strength: str) -> dict[str, NDArray[np.float32]]:
    """CAL-19 as the granule carries it, made from the renewal equation.

    Parameters
    ----------
    strength : {"strong", "weak"}

    Returns
    -------
    dict
        ``dead_time`` (6,) ns; ``strength`` (6, 160) detected photons per shot; ``width`` (6, 498) ns, the
        10-90 % span of the detected histogram; ``ffb_corr`` (6, 160, 498) ps to subtract from height
        after conversion (positive: detected photons are early).
    """
    pixels = PIXELS[strength]
    dead_times = np.array([2.6, 2.8, 3.0, 3.2, 3.4, 3.6])
    strengths = np.linspace(0.1, 16.0, 160) * pixels / 16
    widths = 1.0 + 0.05 * np.arange(498)
    sigmas = np.concatenate([np.linspace(0, 3, 25), np.geomspace(3.3, 12.0, 14)])
    incident = np.geomspace(0.004, 12.0, 64)  # per pixel
    dt = 0.04
    table = np.empty((6, 160, 498))
    for d, dead in enumerate(dead_times):
        rate, span, bias = (np.empty((sigmas.size, incident.size)) for _ in range(3))
        for s, sigma in enumerate(sigmas):
            reach = CENTROID_REACH + 3.0 * sigma
            t = np.arange(-reach, reach, dt)
            f = pulse_density(t, sigma)
            got = renewal(incident, np.broadcast_to(f, (incident.size, t.size)), dt, dead) * dt
            total = got.sum(-1)
            cdf = np.cumsum(got, -1) / total[:, None]
            rate[s] = pixels * total
            span[s] = [np.interp(0.9, c, t) - np.interp(0.1, c, t) for c in cdf]
            bias[s] = (f * t).sum() / f.sum() - (got * t).sum(-1) / total
        table[d] = _regrid(rate, span, bias, strengths, widths)
    return {
        "dead_time": dead_times.astype("f4"),
        "strength": np.tile(strengths, (6, 1)).astype("f4"),
        "width": np.tile(widths, (6, 1)).astype("f4"),
        # To an eighth of a ps (20 micrometres), which packs well.
        "ffb_corr": (np.round(8000.0 * table) / 8.0).astype("f4"),
    }


def _regrid(rate: Array, span: Array, bias: Array, strengths: Array, widths: Array) -> Array:
    """From (roughness, incident rate) to (detected rate, detected width), by monotone interpolation."""
    # First onto common detected rates, then, at each, onto common widths; constant beyond the ends.
    at_rate = [
        (np.interp(strengths, r, w), np.interp(strengths, r, b))
        for r, w, b in zip(rate, span, bias, strict=True)
    ]
    w = np.maximum.accumulate(np.array([a for a, _ in at_rate]), axis=0)
    b = np.array([b for _, b in at_rate])
    return np.stack([np.interp(widths, w[:, k], b[:, k]) for k in range(strengths.size)])

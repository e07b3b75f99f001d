r"""Evidence that a lead is sea surface, from the lead itself and the ice about it.

A run of water cells may be a mistake of the classifier. What speaks for it or against it is written as log-odds and
added up (the pieces are taken as independent):

- **class**: the mean probability of open water over the run;
- **length**: the footprint spans 11 m, so errors are short and leads are not. 0.8 a natural logarithm of the length
  over 15 m, within 1.5;
- **brightness**: the incident photon rate against that of the ice within 5 km, from its lower quarter to its upper
  tenth. Water is specular or dark; a run as bright as ice is ice. Beyond that range ice scatters by 15 %, and water is
  anywhere within e^4.5: the logarithm of the ratio of these densities, between -2.5 (as ice) and 2;
- **height**: the sea stands below the ice. z is the height over the lower 2 % of the surface (means over 22 m) within
  5 km, over the error of the lead and 5 cm of a sloping sea; minus half the square of what exceeds one, down to -10.
  With many leads, the lower 2 % are the sea itself; with few, they are thin ice above it.

The constants are those of physics (footprint, scatter of ice) or were set on simulated passes that serve no benchmark.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import NDArray

__all__ = ["REASONS", "low_level", "prior", "reasons"]

F8 = NDArray[np.float64]

#: Length of the means whose lower quantile is the local low level, their largest error, their distance, m.
MEAN, ERROR, WITHIN, QUANTILE = 22.0, 0.03, 5_000.0, 0.02
#: Tolerance of a sea that slopes within that distance, m.
SLOPE = 0.05
#: Largest error of a lead that excuses its height, m: rougher than that is no sea.
MOST_SIGMA = 0.1
#: Length of a lead whose length says nothing, m; log-odds a logarithm of length, and their bound.
LENGTH, PER_LENGTH, MOST_LENGTH = 15.0, 0.8, 1.5
#: Scatter of the ice's own brightness (log), density of water's, and bound of the log-odds.
SCATTER, WATER_DENSITY, MOST_BRIGHTNESS = 0.15, 0.22, 2.0
#: Bound of the log-odds of height.
MOST_HEIGHT = 10.0
#: Why a lead is left out.
REASONS = (
    "",
    "above the lowest ice about it",
    "as bright as ice",
    "short or improbable",
    "disagrees with the other leads",
)


def low_level(x: F8, height: F8, sigma: F8) -> tuple[F8, F8]:
    """Low level of the surface along a track.

    Parameters
    ----------
    x, height, sigma : numpy.ndarray, shape (n,)
        Distance, height and its standard error, m; NaN heights are missing.

    Returns
    -------
    node, level : numpy.ndarray, shape (m,)
        Distances every 1 km (at its multiples), and the level there, m; NaN where too little was seen.
    """
    number = np.floor(x / MEAN).astype(np.intp)
    good = np.isfinite(height) & np.isfinite(sigma)
    if not good.any():
        return np.empty(0), np.empty(0)
    number = number[good] - number[good][0]
    weight = np.maximum(sigma[good], 1e-3) ** -2.0
    total = np.bincount(number, weight)
    seen = total > ERROR**-2.0
    mean = np.bincount(number, weight * height[good])[seen] / total[seen]
    at = (np.floor(x[good][0] / MEAN) + np.flatnonzero(seen) + 0.5) * MEAN
    node = 1e3 * np.arange(np.floor(x[0] / 1e3), np.ceil(x[-1] / 1e3) + 1)
    level = np.full(node.size, np.nan)
    begin, end = np.searchsorted(at, node - WITHIN), np.searchsorted(at, node + WITHIN)
    for k in np.flatnonzero(end - begin >= 20):
        lowest = int(QUANTILE * (end[k] - begin[k] - 1))
        level[k] = np.partition(mean[begin[k] : end[k]], lowest)[lowest]
    return node, level


def _brightness(log_ratio: F8, photons: F8) -> F8:
    variance = SCATTER**2 + 1.0 / np.maximum(photons, 1.0)
    ice = np.exp(-0.5 * log_ratio**2 / variance) / np.sqrt(2 * np.pi * variance)
    with np.errstate(divide="ignore"):
        odds = np.log(WATER_DENSITY) - np.log(ice)
    return np.where(np.isfinite(log_ratio), np.clip(odds, -MOST_BRIGHTNESS - 0.5, MOST_BRIGHTNESS), 0.0)


def terms(leads: xr.Dataset) -> dict[str, F8]:
    """Log-odds of each kind of evidence.

    Parameters
    ----------
    leads : xarray.Dataset
        On ``lead``: height, sigma, length (m) and, NaN where unknown, water_probability, brightness (incident rate over
        that of the ice), ice_dark and ice_bright (the range of the ice in the same unit), photons, low_level (m).
    """
    p = np.clip(np.nan_to_num(leads["water_probability"].values, nan=0.8), 0.05, 0.98)
    length = np.maximum(leads["length"].values, 1.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        over = np.log(leads["brightness"].values / leads["ice_bright"].values)
        under = np.log(leads["brightness"].values / leads["ice_dark"].values)
    beyond_ice = np.maximum(over, 0.0) + np.minimum(under, 0.0)
    above = leads["height"].values - leads["low_level"].values
    z = np.nan_to_num(above / np.hypot(np.minimum(leads["sigma"].values, MOST_SIGMA), SLOPE), nan=0.0)
    return {
        "class": np.log(p / (1 - p)),
        "length": np.clip(PER_LENGTH * np.log(length / LENGTH), -MOST_LENGTH, MOST_LENGTH),
        "brightness": _brightness(beyond_ice, leads["photons"].values),
        "height": -np.minimum(0.5 * np.maximum(z - 1.0, 0.0) ** 2, MOST_HEIGHT),
    }


def prior(leads: xr.Dataset) -> F8:
    """Probability that each lead is sea surface, by its own evidence (see :func:`terms`)."""
    return 1.0 / (1.0 + np.exp(-sum(terms(leads).values())))


def reasons(leads: xr.Dataset, probability: F8) -> NDArray[np.int8]:
    """Rows of REASONS: why each lead of small probability is left out, 0 for those in use."""
    part = terms(leads)
    own = prior(leads)
    weak = np.stack([part["height"], part["brightness"], part["length"] + part["class"] - 1.0])
    return np.where(probability >= 0.5, 0, np.where(own >= 0.5, 4, 1 + weak.argmin(axis=0))).astype(np.int8)

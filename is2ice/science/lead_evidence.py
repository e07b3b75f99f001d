r"""Evidence that a lead is sea surface, from the lead itself and the ice about it.

A run of water cells may be a mistake of the classifier. What speaks for it or against it is written as log-odds and
added up:

- **class**: the mean probability of open water over the run;
- **length**: the footprint spans 11 m, so errors are short and leads are not;
- **brightness**: the incident photon rate against that of the ice within 5 km, from its lower quarter to its upper
  tenth. Water is specular or dark; a run as bright as ice is ice. Beyond that range ice scatters by 15 %, and water is
  anywhere within e^4.5: the logarithm of the ratio of these densities;
- **contrast**: under a cloud all is dark, and not only what lies in a lead. So a dark run must be dark beside the
  brightest tenth of the ice within 600 m, too;
- **background**: by day, water sends back a fourth of the sunlight that snow does. The background rate of the run falls
  below that of the ice within 600 m as far as the lead fills the receiver's view of 35 m;
- **flatness**: heights of water scatter by their errors, those of ice by 5 cm more;
- **height**: the sea stands below the ice. z is the height over the lower 2 % of the surface (means over 22 m) within
  5 km, over the error of the lead and 5 cm of a sloping sea; minus the square of what exceeds one. With many leads, the
  lower 2 % are the sea itself; with few, they are thin ice above it.

Classifiers err more on some passes than on others. On each, among the runs that are darker than ice, brighter, or like
it, the share that stands too high to be sea is counted. False leads that stand on low ice are as many as those heights
tell, and the probabilities of all runs of the kind are moved together until they say as much; those of runs as bright
as ice are not moved up.

The pieces are not independent, so each has a weight. The weights were fitted (logistic regression, equal weight of each
pass) to 14,525 runs of two classifiers, one of them with planted errors, on seventeen simulated passes by day and by
night with drawn physics and both optics of the twin, which serve no benchmark; on them the probability was right within
0.05 wherever it exceeds 0.5. `benchmarks/sea_surface.py` prints, for passes that had no part in the fit, how often
leads of each probability are sea. What is not known of a lead counts nothing, but for its light.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from .compiled import njit
from .surface_process import NILAS

__all__ = ["REASONS", "beside", "film", "film_height", "flatness", "low_level", "prior", "reasons", "terms"]

F8 = NDArray[np.float64]

#: Length of the means whose lower quantile is the local low level, their largest error, their distance, m.
MEAN, ERROR, WITHIN, QUANTILE = 22.0, 0.03, 5_000.0, 0.02
#: Tolerance of a sea that slopes within that distance, m.
SLOPE = 0.05
#: Largest error of a lead that excuses its height, m: rougher than that is no sea.
MOST_SIGMA = 0.1
#: Length of a lead whose length says nothing, m; log-odds a logarithm of length, and their bound.
LENGTH, PER_LENGTH, MOST_LENGTH = 15.0, 0.6, 1.2
#: Scatter of the ice's own brightness (log), density of water's, and bound of the log-odds.
SCATTER, WATER_DENSITY, MOST_BRIGHTNESS = 0.15, 0.22, 2.0
#: Weights of class, brightness, contrast, background, flatness and height, and the log-odds of any lead.
CLASS, LIGHT, CONTRAST, BACKGROUND, FLAT, HIGH, ANY = 0.4, 0.7, 1.3, 2.0, 0.5, 1.0, 0.8
#: Log-odds of a run whose light nobody gives: most true leads are recognised by it.
UNSEEN = -0.35
#: Scatters of the ice's brightness beyond its range from which a run is brighter or darker than ice.
CLEARLY = 2.0
#: Bound of the log-odds of height.
MOST_HEIGHT = 15.0
#: Brightness of ice that is dark for its surroundings, over their brightest tenth; what contrast says nothing.
DARK_ICE, NO_CONTRAST, MOST_CONTRAST = 0.6, 0.6, 1.5
#: Fall of the background that says nothing, its bounds, and the least rate by day, 1/s.
NO_FALL, FALLS, BY_DAY = 0.25, (-0.1, 0.7), 5e5
#: Scatter of heights of water and of ice beyond their errors, m, and bounds of flatness.
CALM, RELIEF, FLATNESS, NOT_FLAT = 0.01, 0.05, (-4.0, 2.0), 0.2
#: Height over the low level, in its errors, that no sea has; share of false leads that stand so high; and the largest
#: share of false leads that is believed.
TOO_HIGH, BETRAYED, MOST_WRONG = 2.5, 0.6, 0.97
#: Runs that the evidence's own expectation counts for beside those seen, and the most that it is lowered and raised.
RUNS, MOST_LOWER, MOST_HIGHER = 10.0, 8.0, 2.0
#: Share of nilas, which is as dark as rough water and stands 0 to 4 cm above it, among dark and bright runs of water.
NILAS_DARK, NILAS_BRIGHT = 0.2, 0.02
#: Brightness of the thickest nilas over that of the ice about it; least height of nilas as a share of the greatest.
NILAS_THICKEST, LEAST_FILM = 0.5, 0.1
#: Why a lead is left out.
REASONS = (
    "",
    "above the lowest ice about it",
    "light of ice",
    "short or improbable",
    "rough as ice",
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


@njit(cache=True, nogil=True)
def beside(
    value: F8, open_water: NDArray[Any], first: NDArray[Any], last: NDArray[Any], skip: int, cells: int
) -> Any:
    """Upper tenth of a value over the cells beside each lead that are no water, some skipped; NaN of fewer than 5."""
    out = np.full(first.size, np.nan)
    work = np.empty(2 * cells)
    for k in range(first.size):
        n = 0
        for i in range(max(0, first[k] - skip - cells), max(0, first[k] - skip)):
            if not open_water[i] and not np.isnan(value[i]):
                work[n] = value[i]
                n += 1
        for i in range(min(value.size, last[k] + 1 + skip), min(value.size, last[k] + 1 + skip + cells)):
            if not open_water[i] and not np.isnan(value[i]):
                work[n] = value[i]
                n += 1
        if n >= 5:
            out[k] = np.sort(work[:n])[int(0.9 * (n - 1) + 0.5)]
    return out


@njit(cache=True, nogil=True)
def flatness(height: F8, sigma: F8, first: NDArray[Any], last: NDArray[Any]) -> Any:
    """Log-odds that the heights of each run scatter as those of water and not as those of ice."""
    calm, rough = CALM, RELIEF
    out = np.zeros(first.size)
    for k in range(first.size):
        total, value, n = 0.0, 0.0, 0
        for i in range(first[k], last[k] + 1):
            if not np.isnan(height[i]):
                w = 1.0 / (sigma[i] ** 2 + calm**2)
                total += w
                value += w * height[i]
                n += 1
        if n < 3:
            continue
        mean = value / total
        odds = 0.0
        for i in range(first[k], last[k] + 1):
            if not np.isnan(height[i]):
                a, b, r = sigma[i] ** 2 + calm**2, sigma[i] ** 2 + rough**2, (height[i] - mean) ** 2
                odds += 0.5 * (np.log(b / a) - r / a + r / b)
        out[k] = odds * (n - 1) / n
    return out


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
        that of the ice), ice_dark and ice_bright (the range of the ice in the same unit), beside_bright (that of the
        brightest ice beside the lead), background and background_beside (1/s), flatness, photons, low_level (m).
    """
    p = np.clip(np.nan_to_num(leads["water_probability"].values, nan=0.8), 0.05, 0.98)
    length = np.maximum(leads["length"].values, 1.0)
    brightness, flat = leads["brightness"].values, leads["flatness"].values
    with np.errstate(divide="ignore", invalid="ignore"):
        over = np.log(brightness / leads["ice_bright"].values)
        under = np.log(brightness / leads["ice_dark"].values)
        contrast = np.log(brightness / leads["beside_bright"].values)
        fall = 1.0 - leads["background"].values / leads["background_beside"].values
    beyond_ice = np.maximum(over, 0.0) + np.minimum(under, 0.0)
    dark = np.clip(np.log(DARK_ICE) - contrast, 0.0, MOST_CONTRAST) - NO_CONTRAST
    above = leads["height"].values - leads["low_level"].values
    z = np.nan_to_num(above / np.hypot(np.minimum(leads["sigma"].values, MOST_SIGMA), SLOPE), nan=0.0)
    by_day = leads["background_beside"].values > BY_DAY
    return {
        "class": CLASS * np.log(p / (1 - p)) + ANY,
        "length": np.clip(PER_LENGTH * np.log(length / LENGTH), -MOST_LENGTH, MOST_LENGTH),
        "brightness": np.where(
            np.isfinite(brightness), LIGHT * _brightness(beyond_ice, leads["photons"].values), UNSEEN
        ),
        "contrast": CONTRAST * np.where(contrast < 0.0, dark, 0.0),
        "background": np.where(by_day, BACKGROUND * np.nan_to_num(np.clip(fall, *FALLS) - NO_FALL), 0.0),
        # Thin ice is flat, too: without its light, flatness says nothing.
        "flatness": np.where(
            np.isfinite(brightness), FLAT * np.nan_to_num(np.clip(flat, *FLATNESS) - NOT_FLAT), 0.0
        ),
        "height": -np.minimum(HIGH * np.maximum(z - 1.0, 0.0) ** 2, MOST_HEIGHT),
    }


def prior(leads: xr.Dataset) -> F8:
    """Probability that each lead of a pass is sea surface, by its own evidence.

    Parameters
    ----------
    leads : xarray.Dataset
        All leads of the pass, as :func:`terms` takes them.
    """
    part = terms(leads)
    height = part.pop("height")
    odds = np.asarray(sum(part.values()))
    high = height < -HIGH * (TOO_HIGH - 1.0) ** 2
    kinds = _kinds(leads)
    for kind in np.unique(kinds[np.isfinite(leads["brightness"].values)]):
        mine = kinds == kind
        # Errors that heights betray stand for those that they do not.
        expected = np.mean(1.0 / (1.0 + np.exp(odds[mine])))
        wrong = (high[mine].sum() / BETRAYED + RUNS * expected) / (mine.sum() + RUNS)
        # Runs as bright as ice are not raised: where their heights betray nothing, their light still is that of ice.
        odds[mine] += _shift(odds[mine], 1.0 - min(wrong, MOST_WRONG), MOST_HIGHER if kind else 0.0)
    return 1.0 / (1.0 + np.exp(-odds - height))


def film(leads: xr.Dataset) -> F8:
    """Probability that nilas covers a lead that counts as sea: dark runs may be nilas, specular ones are not."""
    return np.array([NILAS_DARK, NILAS_BRIGHT, NILAS_DARK, 0.0])[_kinds(leads)]


def film_height(leads: xr.Dataset) -> F8:
    """Greatest height of nilas by brightness, m: the darker the thinner."""
    share = np.nan_to_num(leads["brightness"].values, nan=1.0) / NILAS_THICKEST
    return NILAS * np.clip(share, LEAST_FILM, 1.0)


def _kinds(leads: xr.Dataset) -> NDArray[np.int8]:
    """0 for runs like the ice about them, 1 for brighter and 2 for darker ones, 3 for those of unknown light."""
    beyond = np.exp(CLEARLY * SCATTER)
    with np.errstate(invalid="ignore"):
        bright = (leads["brightness"] > leads["ice_bright"] * beyond).values
        dark = (leads["brightness"] < leads["ice_dark"] / beyond).values
    kind = np.where(bright, 1, np.where(dark, 2, 0))
    return np.where(np.isfinite(leads["brightness"].values), kind, 3).astype(np.int8)


def _shift(odds: F8, share: float, most: float) -> float:
    """Log-odds, at most so high, that bring the mean probability to a share."""
    low, high = -MOST_LOWER, most
    for _ in range(30):
        middle = 0.5 * (low + high)
        if np.mean(1.0 / (1.0 + np.exp(-odds - middle))) > share:
            high = middle
        else:
            low = middle
    return 0.5 * (low + high)


def reasons(leads: xr.Dataset, own: F8, probability: F8) -> NDArray[np.int8]:
    """Rows of REASONS: why each lead of small probability is left out, 0 for those in use.

    Parameters
    ----------
    leads : xarray.Dataset
    own, probability : numpy.ndarray, shape (lead,)
        Probability by the lead's own evidence, and together with the other leads.
    """
    part = terms(leads)
    light = part["brightness"] + part["contrast"] + part["background"]
    weak = np.stack([part["height"], light, part["length"] + part["class"] - 1.0, part["flatness"]])
    return np.where(probability >= 0.5, 0, np.where(own >= 0.5, 5, 1 + weak.argmin(axis=0))).astype(np.int8)

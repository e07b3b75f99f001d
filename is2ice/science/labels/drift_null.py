"""Scores that chance gives, for :mod:`is2ice.science.labels.drift`: the best of a whole search where nothing can fit.

A search takes the best of thousands of displacements, so even a track and an image that have nothing to do with each
other give a high score, the higher the fewer cells there are and the fewer leads dominate both. How high is measured
on the pair itself. The track is reversed and rolled along its positions; where it is short, it is also laid at other
places of the image, too far off for the ice to have come from, as it is, reversed and rolled. Each such pair is
searched just as the true one. Track and image keep their own structure (leads, floes, noise), only their relation is
gone. The best scores of these searches follow a Gumbel law, as maxima do; its tail gives the share of searches in which
chance alone does as well as the score found.

An image that is no larger than the search has no other places, and the rolls of a short track are too few. The track
is then also replaced by noise with the same spectra and cross-spectra (Prichard and Theiler 1994,
doi:10.1103/PhysRevLett.73.951), and the larger share counts.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .drift_moments import Frame, Layers, information

__all__ = ["LEAST", "best_of_chance", "chance_of", "searched"]

F8 = NDArray[np.float64]

#: Share of the largest number of cells on known image that a displacement needs to count.
ENOUGH = 0.5
#: Searches with the track reversed; beside other places of the image; and with noise.
_ROLLS, _FEW_ROLLS, _NOISE = 24, 8, 32
#: Ratio of the length of a track to that of the search from which on its rolls are enough.
LONG = 20.0
#: Distance of other places from each other over the half-width of the search, and the fewest that stand for themselves.
_APART, _PLACES = 2.2, 3
#: Fewest searches that a law is fitted to; the least chance given; and the exponent beyond which it is 1.
_FEWEST, LEAST, _STEEP = 8, 1e-6, 700.0
#: Displacements worked on at a time.
_BLOCK = 256


def searched(
    layers: Layers, frame: Frame, trials: F8, features: NDArray[np.float32] | None = None
) -> tuple[F8, F8]:
    """Gain in log-likelihood at each displacement.

    Parameters
    ----------
    layers : Layers
    frame : Frame
    trials : ndarray, shape (m, 2)
        Displacements (dx, dy), m.
    features : ndarray, shape (R, F, n), optional
        In place of the cells' own.

    Returns
    -------
    gain : ndarray, shape (R, m)
        -inf where too few cells lie on known image.
    count : ndarray, shape (m,)
        Cells on known image.
    """
    sets = np.ascontiguousarray(frame.cells.features.T, np.float32)[None] if features is None else features
    gains, counts = [], []
    for k in range(0, len(trials), _BLOCK):
        moments = layers.totals(frame, trials[k : k + _BLOCK], sets)
        counts.append(moments[:, 0, 0])
        gains.append(information(moments, sets.shape[1]).T * np.maximum(counts[-1], 1.0))
    gain, count = np.concatenate(gains, 1), np.concatenate(counts)
    return np.where(count > ENOUGH * count.max(), gain, -np.inf), count


def best_of_chance(layers: Layers, frame: Frame, trials: F8, search: float, seed: int) -> list[F8]:
    """Best gains of searches in which nothing fits, by kind of search.

    Parameters
    ----------
    layers, frame, trials
        As for :func:`searched`.
    search : float
        Half-width of the search, m.
    seed : int

    Returns
    -------
    list of ndarray
        Each of at least a few searches.
    """
    rng = np.random.default_rng(seed)
    own = np.ascontiguousarray(frame.cells.features.T, np.float32)
    if own.shape[1] * frame.cells.length >= LONG * search:
        return [_best(layers, frame, trials, _rolled(own, _ROLLS, rng))]
    found, places = [_best(layers, frame, trials, _rolled(own, _FEW_ROLLS, rng))], 0
    room = searched(layers, frame, trials[::7])[1]
    steps = np.array([(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1) if i or j]) * _APART * search
    for step in steps:
        there = searched(layers, frame, trials[::7] + step)[1]
        if np.mean(there > ENOUGH * room.max()) < 0.8 * np.mean(room > ENOUGH * room.max()):
            continue
        places += 1
        sets = np.concatenate([own[None], _rolled(own, 3, rng)])
        found.append(_best(layers, frame, trials + step, sets))
    if places >= _PLACES:
        return [np.concatenate(found)]
    return [np.concatenate(found), _best(layers, frame, trials, _noise(own, _NOISE, rng))]


def chance_of(gain: float, best: list[F8]) -> float:
    """Share of searches in which chance alone gives a gain, to three digits; 1 where that is unknown.

    Parameters
    ----------
    gain : float
    best : list of ndarray
        From :func:`best_of_chance`; the kind that gives the largest share counts.

    Returns
    -------
    float
        At least :data:`LEAST`: the law of some tens of searches says no more.
    """
    shares = [0.0]
    for some in best:
        some = some[np.isfinite(some)]
        if some.size < _FEWEST:
            return 1.0
        # Moments of few values underrate the tail.
        scale = some.std(ddof=1) * np.sqrt(6.0) / np.pi * (1.0 + 2.0 / some.size)
        z = (gain - some.mean()) / max(scale, 1e-9) + np.euler_gamma
        shares.append(float(-np.expm1(-np.exp(min(-z, _STEEP)))))
    # Threads of a product of matrices change the last digits, and the tail of the law makes more of them.
    return max(float(f"{max(shares):.3g}"), LEAST)


def _best(layers: Layers, frame: Frame, trials: F8, features: NDArray[np.float32]) -> F8:
    return np.asarray(searched(layers, frame, trials, features)[0].max(1))


def _rolled(features: NDArray[np.float32], n: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Features in reverse order, rolled by equal parts of their length from a random start."""
    size = features.shape[1]
    offsets = ((np.arange(n) + rng.uniform()) * size / n).astype(int)
    return np.stack([np.roll(features[:, ::-1], k, axis=1) for k in offsets])


def _noise(features: NDArray[np.float32], n: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Noise with the spectra and cross-spectra of the features."""
    size = features.shape[1]
    spectrum = np.fft.rfft(features, axis=1)
    turns = np.exp(2j * np.pi * rng.uniform(size=(n, 1, spectrum.shape[1])))
    turns[..., 0] = 1.0
    return np.fft.irfft(spectrum * turns, size, axis=2).astype(np.float32)

r"""Displacement of the ice between a pass and an image, from the data themselves.

Segments and image see the same ice, so what is dark, smooth and low along the track is dark in the image
once the ice has been moved to where the image saw it. For each trial displacement :math:`d` the image
(shares of its classes, or its reflectance) is sampled at the displaced segments of all beams. How much the
two tell of each other is their Gaussian mutual information per cell,

.. math:: I(d) = -\tfrac12 \ln \frac{\det S(d)}{\det S_{ff}(d) \det S_{gg}(d)},

with :math:`S` the covariance of segment features :math:`f` (height, photon rate, spread, background,
class probabilities) and image values :math:`g`. It is the gain in log-likelihood of the best linear
relation over none: no threshold, gain or light level enters, and no relation is assumed beforehand. Under
a low sun snow shows the slopes of its relief rather than its height; heights alone would then be matched a
quarter of a wave aside, so slopes are a feature too wherever they are seen. The score is the correlation
it amounts to, :math:`\sqrt{1 - e^{-2I}}`.

The search runs from coarse to fine. A displacement is accepted if chance hardly ever gives as much
(:mod:`is2ice.science.labels.drift_null` searches pairs in which nothing fits), if its error is small, and if no other
place fits about as well, unless chance explains that one. Stretches of track are resampled (a bootstrap by blocks):
their scatter gives the error, and the share of resamples that find the same place over the whole search compares it
with the others.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from is2ice.errors import Is2IceError

from .drift_moments import (
    Frame,
    Layers,
    information,
    read_layers,
    resampled_information,
    track_cells,
    without_first,
)
from .drift_null import ENOUGH, LEAST, LONG, best_of_chance, chance_of, searched
from .image_grid import grid_of, segment_crs, segment_positions, transformer

__all__ = ["Drift", "DriftError", "estimate"]

log = logging.getLogger("is2ice")

F8 = NDArray[np.float64]

#: Along-track cell, m; cells and steps of the coarse search, m, for tracks at least as long, m.
_CELL, _COARSE = 10.0, ((6000.0, 40.0), (1500.0, 20.0), (0.0, 10.0))
#: Most steps of the coarse search from its centre.
_STEPS = 50
#: Tracks with fewer cells (10 m) are compared by their four plainest features, with the brightness of the image.
_LEAN = 150
#: Half-width of the search at least, m.
_LEAST_SEARCH = 100.0
#: Half-width and step of the middle search, from which the uncertainty comes, and of the finest, m.
_MIDDLE, _FINE = (120.0, 10.0), (24.0, 4.0)
#: Stretch that the bootstrap draws, m, for a number of stretches between these bounds; the shortest; and draws.
_STRETCH, _STRETCHES, _SHORTEST, _DRAWS = 1000.0, (25, 60), 100.0, 120
#: Displacements that resamples choose from in the whole search: the best ones.
_CANDIDATES = 256
#: Another place is explained by chance if this share of searches gives as much. Otherwise this share of resamples must
#: prefer the place found.
_RIVAL, _PREFERRED = 0.05, 0.8
#: Slopes along the track are used where they add this share to what all else tells: light on relief is the
#: first thing that an image without leads shows. Where they add little, heights and slopes together would
#: pass for heights a little further on.
_SHADED = 0.25
#: Two peaks closer than this, m, are one.
_SAME = 80.0
_COMPASS = "N NNE NE ENE E ESE SE SSE S SSW SW WSW W WNW NW NNW"
_POINTS = {name: 22.5 * i for i, name in enumerate(_COMPASS.split())}


class DriftError(Is2IceError, ValueError):
    """A displacement that was refused was used all the same."""


@dataclass(frozen=True)
class Drift:
    """Displacement of the ice from the pass to the image.

    Attributes
    ----------
    dx, dy : float
        m along the axes of ``crs``: a segment at (x, y) is seen in the image at (x + dx, y + dy).
    crs : str
    score : float
        Correlation of segments and image at the displacement, 0-1; NaN by hand.
    covariance : ndarray, shape (2, 2)
        Covariance of (dx, dy), m2; NaN if set by hand.
    agreement : float
        Share of resamples of the track that find the same place in the whole search; NaN by hand.
    chance : float
        Share of searches of unrelated pairs whose best displacement scores as much, at least 1e-6; NaN by hand.
    rival : float
        The same of the best place more than 80 m away.
    accepted : bool
    reason : str
        Why it was accepted or refused.
    table : xarray.Dataset, optional
        ``score`` over the coarse search, dims (dy, dx), m.
    """

    dx: float
    dy: float
    crs: str
    score: float = np.nan
    covariance: F8 = field(default_factory=lambda: np.full((2, 2), np.nan))
    agreement: float = np.nan
    chance: float = np.nan
    rival: float = np.nan
    accepted: bool = True
    reason: str = "by hand"
    table: xr.Dataset | None = field(default=None, repr=False, compare=False)

    @property
    def uncertainty(self) -> float:
        """Standard error along the worse axis, m."""
        if not np.isfinite(self.covariance).all():
            return float("nan")
        return float(np.sqrt(np.linalg.eigvalsh(self.covariance)[-1]))

    @property
    def distance(self) -> float:
        """Length of the displacement, m of the crs."""
        return float(np.hypot(self.dx, self.dy))

    def to_dict(self) -> dict[str, Any]:
        """Give all but the table in the form that JSON can hold."""
        names = ("dx", "dy", "crs", "score", "agreement", "chance", "rival", "accepted", "reason")
        plain = {k: v.item() if hasattr(v := getattr(self, k), "item") else v for k in names}
        return plain | {"covariance": np.asarray(self.covariance).tolist()}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Drift:
        """Make a displacement from :meth:`to_dict`."""
        return cls(**{**document, "covariance": np.array(document["covariance"])})

    def shift_in(self, crs: str) -> tuple[float, float]:
        """Return the displacement for use, in a crs.

        Raises
        ------
        DriftError
            It was refused, or is given in another crs.
        """
        if not self.accepted:
            raise DriftError(
                f"drift: refused ({self.reason}). Give one by hand (Drift.by_hand), or shift=(0.0, 0.0) to "
                "label without one; on the command line --shift DX DY"
            )
        if transformer(self.crs, crs).source_crs != transformer(self.crs, crs).target_crs:
            raise DriftError(f"drift: given in {self.crs}, but the segments' x and y are in {crs}")
        return self.dx, self.dy

    @classmethod
    def by_hand(
        cls,
        metres: float,
        towards: str | float,
        *,
        convention: str,
        at: tuple[float, float] | None = None,
        crs: str = "EPSG:3976",
        moves: str = "image",
    ) -> Drift:
        """Return a displacement as people write it down, such as "550 m NW".

        Parameters
        ----------
        metres : float
        towards : str or float
            Compass point ("NW", "SSE") or degrees clockwise from north.
        convention : {"true", "grid"}
            Direction of north: true north at ``at`` (metres on the ground), or up the y axis of the crs (metres
            of the map). Near 170 W in EPSG:3976 the two differ by some 170 degrees.
        at : (lon, lat), optional
            Degrees; needed for true north.
        crs : str
        moves : {"image", "ice"}
            Thing that was moved. People shift the image until it fits the track, which is against the way that
            the ice went from pass to image.

        Raises
        ------
        ValueError
            An unknown direction, convention or mover; true north without a place.
        """
        azimuth = _POINTS.get(towards.upper(), np.nan) if isinstance(towards, str) else float(towards)
        if not np.isfinite(azimuth):
            raise ValueError(f"towards: expected degrees or one of {' '.join(_POINTS)}, got {towards!r}")
        if convention not in ("true", "grid") or moves not in ("image", "ice"):
            raise ValueError(
                f"expected convention 'true' or 'grid' and moves 'image' or 'ice', got {convention!r} and {moves!r}"
            )
        if convention == "grid":
            a = np.radians(azimuth)
            dx, dy = metres * np.sin(a), metres * np.cos(a)
        else:
            if at is None:
                raise ValueError("at: true north needs a place, at=(longitude, latitude)")
            dx, dy = _on_map(metres, azimuth, at, crs)
        sign = -1.0 if moves == "image" else 1.0
        return cls(sign * float(dx), sign * float(dy), crs)


def _on_map(metres: float, azimuth: float, at: tuple[float, float], crs: str) -> tuple[float, float]:
    """Metres on the ground towards a true azimuth, as a step on the map."""
    from pyproj import Geod

    lon, lat, _ = Geod(ellps="WGS84").fwd(*at, azimuth, metres)
    x, y = transformer("EPSG:4326", crs).transform([at[0], lon], [at[1], lat])
    return x[1] - x[0], y[1] - y[0]


def estimate(
    segments: xr.Dataset,
    image: xr.Dataset,
    *,
    search: float = 1000.0,
    least_overlap: float = 200.0,
    significance: float = 0.005,
    most_uncertain: float = 20.0,
    seed: int = 0,
) -> Drift:
    """Estimate the displacement of the ice from the pass to an image.

    Parameters
    ----------
    segments : xarray.Dataset
        Dims ``(beam, x_atc)`` or ``(x_atc,)``; all beams are used together. With ``class_probability``
        (radiometric classes will do) the estimate is sharper.
    image : xarray.Dataset
        ``surface_class`` (y, x) and optionally ``mask``, as for :func:`is2ice.science.labels.transfer.transfer`; or
        reflectance, float variables (y, x), NaN where unknown; or both.
    search : float
        Largest displacement along each axis, m.
    least_overlap : float
        m of track with a clear image below, summed over beams, that a search needs.
    significance : float
        Largest chance accepted. The law that gives the chance is fitted to some tens of searches: up to twice this
        share of unrelated pairs may be accepted.
    most_uncertain : float
        Largest standard error accepted, m.
    seed : int
        Seed of resampling and of the searches of unrelated pairs.

    Returns
    -------
    Drift
        Refused (``accepted`` False, with the reason) when the image is featureless along the track, overlap
        is short, chance gives as much, another place fits as well, the best lies on the border of the search, or the
        error is large.

    Raises
    ------
    SchemaError
        A variable or crs is missing.
    ValueError
        An option out of range.

    References
    ----------
    Kraskov et al. (2004) on mutual information; Rubin (1981), doi:10.1214/aos/1176345338, on the bootstrap.
    """
    if not search >= _LEAST_SEARCH:
        raise ValueError(f"search: expected at least {_LEAST_SEARCH:g} m, got {search!r}")
    if not 0.0 < significance < 1.0:
        raise ValueError(f"significance: expected a share between 0 and 1, got {significance!r}")
    blank = Drift(0.0, 0.0, segment_crs(segments), accepted=False)
    pair = _pair(segments, image, search, least_overlap)
    if isinstance(pair, str):
        return _refuse(blank, pair)
    step = max(pair.merged.cells.length, np.ceil(search / _STEPS / 10.0) * 10.0)
    trials, steps = _square(search, step)
    gain, count = searched(pair.shrunk, pair.merged, trials)
    clear = count.max() * pair.merged.cells.length
    if clear < least_overlap:
        return _refuse(blank, f"only {clear / 1e3:.1f} km of track lie on clear image")
    if not np.isfinite(gain).any():
        return _refuse(blank, f"{pair.length / 1e3:.1f} km of track are too short to tell")
    table = _table(gain[0] / np.maximum(count, 1.0), steps, blank.crs)
    if not gain.max() > 0:
        return _refuse(blank, "the image is featureless along the track", table)
    place = trials[gain[0].argmax()]
    null = best_of_chance(pair.shrunk, pair.merged, trials, search, seed)
    found = _compared(replace(blank, table=table), pair, trials, gain[0], null, seed)
    return _judge(
        _refined(found, pair, place, seed), search - 1.5 * step, search, significance, most_uncertain
    )


@dataclass(frozen=True)
class _Pair:
    """A track and an image, as they are and for the coarse search; length of track on the image, m; pixel, m."""

    frame: Frame
    layers: Layers
    merged: Frame
    shrunk: Layers
    length: float
    pixel: float


def _pair(segments: xr.Dataset, image: xr.Dataset, search: float, least_overlap: float) -> _Pair | str:
    """Prepare a track and an image; the reason where they do not suffice."""
    crs, grid = segment_crs(segments), grid_of(image)
    cells = track_cells(segments, _CELL)
    if cells is None:
        return "no beam has enough photons"
    row, column = segment_positions(cells.x, cells.y, crs, grid)
    reach = search / grid.pixel
    near = (row > -reach) & (row < grid.rows + reach) & (column > -reach) & (column < grid.columns + reach)
    length = float(near.sum() * cells.length)
    if length < least_overlap:
        return f"only {length / 1e3:.1f} km of track lie on the image"
    cells = cells.where(near)
    wide = 1.1 if length >= LONG * search else 3.3  # a short track is also laid at other places
    layers = read_layers(image, grid, row[near], column[near], round(wide * reach) + 12)
    if len(cells.x) < _LEAN:
        cells, layers = cells.lean(), layers.first(1)
    coarse = next(size for least, size in _COARSE if length >= least)
    merged = Frame.of(cells.merged(max(1, round(coarse / cells.length))), crs, grid)
    shrunk = layers.shrunk(max(1, round(coarse / grid.pixel)))
    return _Pair(Frame.of(cells, crs, grid), layers, merged, shrunk, length, grid.pixel)


def _compared(found: Drift, pair: _Pair, trials: F8, gain: F8, null: list[F8], seed: int) -> Drift:
    """Compare the best place with chance and with the best other one; agreement of resamples on it."""
    place = trials[gain.argmax()]
    far = np.hypot(*(trials - place).T) > _SAME
    best = np.sort(np.argsort(gain)[-_CANDIDATES:])
    candidates = trials[best[np.isfinite(gain[best])]]  # others have too little track on known image
    agreement = _agreement(pair.shrunk, pair.merged, candidates, place, _stretch(pair.length), seed)
    chance, rival = chance_of(float(gain.max()), null), chance_of(float(gain[far].max()), null)
    return replace(found, chance=chance, rival=rival, agreement=agreement)


def _stretch(length: float) -> float:
    """Length of the stretches that are resampled, m, in whole coarse cells."""
    few, many = _STRETCHES
    wanted = min(max(_STRETCH, length / many), length / few)
    return 40.0 * np.ceil(max(wanted, _SHORTEST) / 40.0)


def _agreement(layers: Layers, frame: Frame, candidates: F8, place: F8, stretch: float, seed: int) -> float:
    """Share of resamples whose best candidate is a place."""
    n = frame.cells.features.shape[1]
    moments = layers.moments(frame, candidates, frame.cells.stretches(stretch))
    chosen = resampled_information(moments, _draws(moments.shape[1], seed), n).argmax(1)
    return float(np.mean(np.hypot(*(candidates[chosen] - place).T) < _SAME))


def _refined(found: Drift, pair: _Pair, place: F8, seed: int) -> Drift:
    """Displacement near a place to a few metres, with its error and the agreement of resamples."""
    # Resamples may wander as far as the middle search reaches, along a lone lead for instance: those that go
    # to another place count against the agreement, the others give the error.
    layers, frame = pair.layers, pair.frame
    edges = frame.cells.stretches(_stretch(pair.length))
    n = frame.cells.features.shape[1]
    middle = place + _square(*_MIDDLE)[0]
    moments = layers.moments(frame, middle, edges)
    if n > 3 + frame.cells.day and not _shaded(layers, frame, middle[_known(moments, n).argmax()], n):
        frame = replace(frame, cells=frame.cells.without_slope())
        moments, n = without_first(moments), n - 1
    best = middle[_known(moments, n).argmax()]
    weights = _draws(moments.shape[1], seed)
    kept = np.isfinite(_known(moments, n))
    scores = np.where(kept, resampled_information(moments, weights, n), -np.inf)
    scatter = np.array([_peak(middle, s, _MIDDLE[1]) for s in scores])
    same = np.hypot(*(scatter - best).T) < _SAME
    fine = best + _square(*_FINE)[0]
    score = information(layers.moments(frame, fine, edges[[0, -1]])[:, 0], n)
    dx, dy = (float(v) for v in _peak(fine, score, _FINE[1]))
    # Light on slopes moves the edges that an image shows by up to a pixel, in all stretches alike.
    covariance = _scatter(scatter[same]) + np.eye(2) * (pair.pixel / 2) ** 2
    agreement = min(found.agreement, float(same.mean()))
    return replace(
        found, dx=dx, dy=dy, score=_correlation(score.max()), covariance=covariance, agreement=agreement
    )


def _known(moments: F8, n: int) -> F8:
    """Information of all stretches together, where enough of them lie on known image."""
    total = moments.sum(1)
    return np.where(total[:, 0] > ENOUGH * total[:, 0].max(), information(total, n), -np.inf)


def _shaded(layers: Layers, frame: Frame, best: F8, n: int) -> bool:
    """Return True if slopes explain a part of the image that no other layer does, each at its own best place."""
    edges = np.array([0, len(frame.cells.x)])
    moments = layers.moments(frame, best + _square(*_FINE)[0], edges)[:, 0]
    without = information(without_first(moments), n - 1).max()
    return bool(information(moments, n).max() - without >= _SHADED * without)


def _scatter(places: F8) -> F8:
    """Return the covariance of some places; unknown where there are too few."""
    return np.cov(places.T) if len(places) > 2 else np.full((2, 2), np.nan)


def _square(half: float, step: float) -> tuple[F8, F8]:
    """Displacements on a square grid, shape (m, 2), and the steps of one axis."""
    k = round(half / step)
    steps = np.arange(-k, k + 1) * step
    dy, dx = np.meshgrid(steps, steps, indexing="ij")
    return np.stack([dx.ravel(), dy.ravel()], 1), steps


def _draws(n: int, seed: int) -> F8:
    """Weight of each stretch in each resample, shape (draws, n).

    Weights are exponential (Rubin's bootstrap): none is dropped, which few stretches could not bear.
    """
    weights = np.random.default_rng(seed).exponential(size=(_DRAWS, n))
    return np.asarray(weights * (n / weights.sum(1, keepdims=True)))


def _peak(trials: F8, score: F8, step: float) -> F8:
    """Top of a paraboloid through the scores around the best."""
    best = trials[score.argmax()]
    u, v = (trials - best).T / step
    near = (np.abs(u) <= 2.01) & (np.abs(v) <= 2.01) & np.isfinite(score)
    u, v = u[near], v[near]
    design = np.stack([np.ones_like(u), u, v, u * u, u * v, v * v], 1)
    _, a, b, c, d, e = np.linalg.lstsq(design, score[near], rcond=None)[0]
    curvature = np.array([[2 * c, d], [d, 2 * e]])
    if np.linalg.eigvalsh(curvature)[-1] >= 0:  # no top there
        return best
    return best + step * np.clip(-np.linalg.solve(curvature, [a, b]), -1.5, 1.5)


def _correlation(gain: float) -> float:
    return float(np.sqrt(max(0.0, 1.0 - np.exp(-2.0 * gain))))


def _table(score: F8, steps: F8, crs: str) -> xr.Dataset:
    value = np.sqrt(np.clip(1.0 - np.exp(-2.0 * np.where(np.isfinite(score), score, np.nan)), 0.0, 1.0))
    return xr.Dataset(
        {"score": (("dy", "dx"), value.reshape(steps.size, -1), {"units": "1", "long_name": "correlation"})},
        {"dy": ("dy", steps, {"units": "m"}), "dx": ("dx", steps, {"units": "m"})},
        {"crs": crs},
    )


def _refuse(drift: Drift, reason: str, table: xr.Dataset | None = None) -> Drift:
    log.info("drift refused: %s", reason)
    return replace(drift, accepted=False, reason=reason, table=drift.table if table is None else table)


def _judge(found: Drift, border: float, search: float, significance: float, most_uncertain: float) -> Drift:
    if not found.chance <= significance:
        return _refuse(
            found,
            f"chance alone gives as much in {found.chance:.1%} of searches (at most {significance:.1%})",
        )
    if max(abs(found.dx), abs(found.dy)) > border:
        return _refuse(found, f"the best place lies on the border of the search of {search:g} m")
    if found.rival < _RIVAL and found.agreement < _PREFERRED:
        return _refuse(found, f"another place fits as well: {found.agreement:.0%} of resamples find this one")
    if not found.uncertainty <= most_uncertain:
        return _refuse(found, f"uncertain by {found.uncertainty:.0f} m")
    rare = f"{found.chance:.1g}" if found.chance > LEAST else f"less than {LEAST:g}"
    return replace(
        found,
        accepted=True,
        reason=f"chance gives as much in {rare} of searches; certain to {found.uncertainty:.0f} m",
    )

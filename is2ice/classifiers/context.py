"""Features of each cell's surroundings, from the class probabilities of a first look at the track.

A first forest gives every cell its probabilities from light, height and background about it. They divide the track
into runs of one class, sharper than any threshold could, and the run is what many things are known of: its width, its
mean height over the water nearby, its own brightness behind the blended background record, how even its light is, and
the runs beside it. Runs of thin ice and water without ice between them make an opening, with features of its own.
Light differs from pass to pass, but hardly within one: the thin ice and water of which the first look is sure elsewhere
in the region tell how dark both are there, and a run is compared with them, and with the darkest opening of the region.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from is2ice import schema
from is2ice.science.along_track import running_sum
from is2ice.science.feature_columns import FLAT, REGION, FeatureColumns

__all__ = ["NAMES", "context"]

F8 = NDArray[np.float64]

#: Stretches over which probabilities are averaged, m; the least of them makes the runs.
SCALES = (6.0, 14.0, 40.0, 120.0)
#: Stretch over which the water's height is taken, m, and the photons that it must rest on.
SEA, LEAST = 10_000.0, 40.0
LOWEST, HIGHEST = -0.5, 3.0
#: Cells of a class that the rest of the region must hold for a run to be compared with them.
LEAST_CELLS = 8.0
#: Stretches over which light is summed before its unevenness within a run is taken, m, and the cells at each end of a
#: run that are left out: light of both sides reaches there.
EVEN, ENDS = (10.0, 30.0), 4
#: Sharpness of the soft minimum of brightness: differences of 1/SHARP count.
SHARP = 20.0

NAMES = (
    "odds_thin",
    "odds_water",
    *(f"{name}_{scale:g}m" for scale in SCALES for name in ("thin", "water")),
    *(f"run_{name}" for name in ("width", "thin", "water", "rate", "spread", "relief", "empty")),
    *(f"run_{name}" for name in ("brightness", "above_dark", "noise")),
    *(f"run_{name}" for name in ("above_low", "above_sea", "dip")),
    *(
        f"run_{name}"
        for name in ("odds", "odds_spread", *(f"unevenness_{s:g}m" for s in EVEN), "rate_for_brightness")
    ),
    *(f"opening_{name}" for name in ("width", "thin", "water", "rate", "brightness", "over_darkest")),
    *(f"beside_{name}" for name in ("width", "most_water", "most_thin", "least_water")),
    "sea_known",
    *(f"over_{kind}_{what}" for kind in ("thin", "water") for what in ("brightness", "rate", "noise")),
    *(f"{kind}_elsewhere" for kind in ("thin", "water")),
)


@dataclass
class _Runs:
    """Runs of cells that the first look gives one class; of openings if thin ice and water are merged."""

    track: FeatureColumns
    p: F8
    merged: bool = False

    @cached_property
    def best(self) -> NDArray[np.int64]:
        """Class of each cell over the least stretch; -1 where nothing is known."""
        smooth = self.mean(SCALES[0])
        known = np.isfinite(smooth).all(axis=1)
        code = np.where(known, np.nan_to_num(smooth).argmax(axis=1), -1)
        return np.minimum(code, schema.THIN_ICE) if self.merged else code

    @cached_property
    def change(self) -> NDArray[np.bool_]:
        return np.diff(self.best, prepend=self.best[:1]) != 0

    @cached_property
    def number(self) -> NDArray[np.intp]:
        return np.cumsum(self.change)

    @cached_property
    def size(self) -> F8:
        """Cells of each run."""
        return np.bincount(self.number).astype("f8")

    def mean(self, metres: float) -> F8:
        """Probabilities over a stretch about each cell."""
        half = self.track.cells(metres)
        known = running_sum(np.isfinite(self.p[:, 0]).astype("f8"), half)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.stack([running_sum(c, half) / known for c in self.p.T], axis=1)

    def over(self, a: F8, weight: F8 | None = None) -> F8:
        """Mean of a column over each run; 0 where none is known."""
        w = np.isfinite(a) * (1.0 if weight is None else np.nan_to_num(weight))
        total = np.bincount(self.number, w * np.nan_to_num(a))
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.nan_to_num(total / np.bincount(self.number, w))

    @cached_property
    def height(self) -> F8:
        """Height of each run, weighted by photons; NaN for a run without any."""
        h, n = self.track.column("height"), self.track.photons
        w = np.where(np.isfinite(h), n, 0.0)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.bincount(self.number, w * np.nan_to_num(h)) / np.bincount(self.number, w)

    @cached_property
    def sea(self) -> F8:
        """Height of what the first look holds for water, over some kilometres; NaN where there is too little."""
        h, n = self.track.column("height"), self.track.photons
        w = np.where(np.isfinite(h), n, 0.0) * np.nan_to_num(self.p[:, 2]) ** 2
        w[self.best != schema.OPEN_WATER] = 0.0
        half = self.track.cells(SEA)
        total = running_sum(w, half)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(total > LEAST, running_sum(w * np.nan_to_num(h), half) / total, np.nan)

    def elsewhere(self, code: int, columns: list[F8]) -> tuple[F8, list[F8]]:
        """Cells that are surely of a class in the region outside of each cell's own run, and their mean columns.

        The second look squares probabilities: a doubtful run says little of what the class is like.
        """
        others = self.others
        sure = np.where(self.best == code, np.nan_to_num(self.p[:, code]) ** 2, 0.0)
        count = np.maximum(others(sure), 0.0)
        means = []
        for a in columns:
            w = sure * np.isfinite(a)
            total = others(w)
            with np.errstate(invalid="ignore", divide="ignore"):
                means.append(np.where(total > LEAST_CELLS, others(w * np.nan_to_num(a)) / total, np.nan))
        return count, means

    @cached_property
    def bounds(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """First cell of each run, and the cell after its last."""
        end = np.cumsum(self.size).astype(np.intp)
        return end - self.size.astype(np.intp), end

    def others(self, a: F8) -> F8:
        """Sum of a column over the region about each cell, less the part of its own run that lies there."""
        half, k = self.track.cells(REGION), np.arange(a.size)
        total = np.concatenate([[0.0], np.cumsum(np.nan_to_num(a))])
        begin, end = self.bounds
        first, last = np.maximum(k - half, 0), np.minimum(k + half + 1, a.size)
        own = total[np.minimum(end[self.number], last)] - total[np.maximum(begin[self.number], first)]
        return total[last] - total[first] - own

    @cached_property
    def inner(self) -> NDArray[np.bool_]:
        """Cells away from the ends of their run."""
        k, (begin, end) = np.arange(self.number.size), self.bounds
        return (k >= begin[self.number] + ENDS) & (k < end[self.number] - ENDS)

    def unevenness(self, metres: float) -> F8:
        """Spread of light over each run beyond that of the photon count, relative to its mean, log2 of .1."""
        t = self.track
        half = t.cells(metres)
        photons, pulses = running_sum(t.photons, half), running_sum(t.pulses, half)
        good = self.inner & (pulses > 0)
        count = np.bincount(self.number, good)
        with np.errstate(invalid="ignore", divide="ignore"):
            rate = np.where(good, photons / pulses, 0.0)
            mean = np.bincount(self.number, rate) / count
            square = np.bincount(self.number, rate**2) / count
            noise = np.bincount(self.number, np.where(good, rate / pulses, 0.0)) / count
            share = (square - mean**2 - noise) / mean**2
        share = np.where(np.isfinite(share), share, 0.1**2)
        return np.log2(np.sqrt(np.clip(share, 0.02**2, 2.0)) / 0.1)

    def relief(self) -> F8:
        """Spread of heights within each run less that of their errors, log2 of 2 cm."""
        t = self.track
        h, e = t.column("height"), np.maximum(t.column("height_uncertainty"), 0.01)
        good = np.isfinite(h) & np.isfinite(e)
        w = np.where(good, e**-2.0, 0.0)
        off = np.where(good, h - np.nan_to_num(self.height[self.number]), 0.0)
        total, count = np.bincount(self.number, w), np.bincount(self.number, good)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = np.bincount(self.number, w * off) / total
            variance = np.bincount(self.number, w * off**2) / total - mean**2 - (count - 1.0) / total
        return np.log2(np.sqrt(np.clip(np.nan_to_num(variance), 0.005**2, 1.0)) / 0.02)


def context(segments: xr.Dataset, spot: int, p: F8) -> NDArray[np.float32]:
    """Features of every cell from the probabilities of a first look.

    Parameters
    ----------
    segments : xarray.Dataset
        One track, dims ``(x_atc,)``.
    spot : int
    p : numpy.ndarray, shape (n, 3)
        Probabilities; NaN where the first look has none.

    Returns
    -------
    numpy.ndarray, shape (n, len(NAMES))
        Finite everywhere.
    """
    t = FeatureColumns(segments, spot)
    r = _Runs(t, np.asarray(p, "f8"))
    out = np.empty((t.size, len(NAMES)), "f4")
    # One by one: all of a whole pass at double precision would be half a gigabyte.
    for k, column in enumerate(_columns(t, r)):
        out[:, k] = column
    return out


def _columns(t: FeatureColumns, r: _Runs) -> Iterator[F8]:
    """Features in the order of their names."""
    log = np.log(np.clip(np.nan_to_num(r.p, nan=1 / 3), 1e-4, 1.0))
    yield log[:, 1] - log[:, 0]
    yield log[:, 2] - log[:, 0]
    for scale in SCALES:
        mean = np.nan_to_num(r.mean(scale))
        yield from (mean[:, 1], mean[:, 2])
    yield from (a[r.number] for a in _of_runs(t, r))
    light = _of_light(t, r)
    yield from light
    yield from _of_height(t, r)
    yield from (a[r.number] for a in _of_evenness(t, r, light[0]))
    yield from _of_openings(t, _Runs(t, r.p, merged=True))
    yield from (a[r.number] for a in _beside(t, r))
    yield np.isfinite(r.sea).astype("f8")
    yield from _of_region(r, [light[0], _run_rate(t, r)[r.number], light[2]])


def _of_runs(t: FeatureColumns, r: _Runs) -> list[F8]:
    """Width, probabilities, rate, spread of photons, relief and empty pulses of each run."""
    spread = t.column("h_std")
    return [
        np.log2(np.clip(r.size * t.length / 10.0, 0.2, 500.0)),
        r.over(r.p[:, 1]),
        r.over(r.p[:, 2]),
        _run_rate(t, r),
        np.log2(np.clip(r.over(np.where(spread > 0, spread, np.nan), t.photons), 0.02, 2.0) / FLAT),
        r.relief(),
        r.over(t.empty(), t.pulses),
    ]


def _of_evenness(t: FeatureColumns, r: _Runs, brightness: F8) -> list[F8]:
    """Mean odds of water and thin ice and their spread, evenness of light, and rate over brightness of each run."""
    log = np.log(np.clip(r.p, 1e-3, 1.0))
    odds = log[:, schema.OPEN_WATER] - log[:, schema.THIN_ICE]
    mean = r.over(odds)
    spread = np.sqrt(np.maximum(r.over(odds**2) - mean**2, 0.0))
    ratio = _run_rate(t, r) - np.log2(np.clip(r.over(brightness), 0.05, 2.0))
    return [mean, spread, *(r.unevenness(metres) for metres in EVEN), ratio]


def _of_openings(t: FeatureColumns, o: _Runs) -> list[F8]:
    """Width, probabilities, rate and brightness of each opening; its brightness over the region's darkest other one."""
    brightness = t.alone(o.change, o.best != schema.THICK_ICE)
    dim = (o.best == schema.THIN_ICE).astype("f8")
    count = o.others(dim)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = o.others(dim * np.exp(-SHARP * np.clip(brightness, 0.0, 2.0))) / count
        darkest = np.where(count > LEAST_CELLS, -np.log(np.clip(mean, 1e-20, 1.0)) / SHARP, 1.0)
    runs = [
        np.log2(np.clip(o.size * t.length / 10.0, 0.2, 500.0)),
        o.over(o.p[:, schema.THIN_ICE]),
        o.over(o.p[:, schema.OPEN_WATER]),
        _run_rate(t, o),
    ]
    return [*(a[o.number] for a in runs), brightness, np.clip(brightness - darkest, -1.0, 1.0)]


def _run_rate(t: FeatureColumns, r: _Runs) -> F8:
    """Photon rate of each run over that of the local ice, log2."""
    with np.errstate(invalid="ignore", divide="ignore"):
        rate = r.over(t.light(2.0) / t.ice_light, t.pulses)
    return np.log2((rate + 0.03) / 1.03)


def _of_region(r: _Runs, columns: list[F8]) -> list[F8]:
    """Light of each run less that of thin ice and of water elsewhere in the region, and how much there is of both."""
    out: list[F8] = []
    number: list[F8] = []
    for code in (schema.THIN_ICE, schema.OPEN_WATER):
        count, means = r.elsewhere(code, columns)
        out += [np.clip(np.nan_to_num(a - m), -4.0, 4.0) for a, m in zip(columns, means, strict=True)]
        number.append(np.log2(1.0 + count))
    return out + number


def _of_light(t: FeatureColumns, r: _Runs) -> list[F8]:
    """Brightness of the run alone, the same between the dark and the bright of the region, and its noise photons."""
    alone = t.alone(r.change, (r.best > 0) | (r.best < 0))
    span = np.maximum(1.0 - t.dark_level, 0.2)
    above = np.where(t.day, np.clip((alone - t.dark_level) / span, -0.5, 1.5), 1.0)
    return [alone, above, r.over(t.noise(2.0), t.pulses)[r.number]]


def _of_height(t: FeatureColumns, r: _Runs) -> list[F8]:
    """Height of the run above the low level, above the water nearby, and above what lies within 150 m."""
    height = r.height[r.number]
    low = np.clip(np.nan_to_num(height - t.low), LOWEST, HIGHEST)
    sea = np.clip(np.where(np.isfinite(r.sea), np.nan_to_num(height - r.sea), low), LOWEST, HIGHEST)
    return [low, sea, np.clip(np.nan_to_num(height - t.smooth(150.0)), -1.0, 1.0)]


def _beside(t: FeatureColumns, r: _Runs) -> list[F8]:
    """Lesser width of the runs on both sides, and their greatest and least shares of water and thin ice."""
    width = np.log2(np.clip(r.size * t.length / 10.0, 0.2, 500.0))
    thin, water = r.over(r.p[:, 1]), r.over(r.p[:, 2])

    def sides(a: F8) -> tuple[F8, F8]:
        edge = np.pad(a, 1, "edge")
        return edge[:-2], edge[2:]

    (wa, wb), (ta, tb), (pa, pb) = sides(width), sides(thin), sides(water)
    return [np.minimum(wa, wb), np.maximum(pa, pb), np.maximum(ta, tb), np.minimum(pa, pb)]

"""Columns along one track from which features are made; the only one made from labels says so.

A cell that no pulse met is a gap and NaN in every column. Columns of the published sets are NaN wherever no
photon is; those of ours give an empty cell under pulses a value, since darkness is what water looks like.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from is2ice import schema

from . import deconvolution
from .along_track import local_quantile, running_sum
from .first_photon_bias import PIXELS, incident

__all__ = ["FeatureColumns", "leaking_surface"]

F8 = NDArray[np.float64]

#: Stretch over which the local ice, the local low level and the bright background are read, m.
LOCAL = 10_000.0
#: A stretch that is mostly one wide lead has no bright ice of its own: what is taken for it stays near that of the
#: region, within what haze, thin cloud and the sun's angle do to the light of the same ice.
REGION = 50_000.0
BACKGROUND_RANGE = (0.8, np.inf)
RATE_RANGE = (0.6, 1.6)
#: Background says something of the surface under a sun higher than this, degrees.
SUN_ABOVE = 5.0
#: Photons per pulse that say too little (ATL07's first threshold), and the brightness over 100 m above which
#: neither water nor thin ice is the reason.
LOST = {"strong": 0.65, "weak": 0.16}
BRIGHT_SKY = 0.6
#: Incident light relative to the local ice's below or above which a stretch is a strip of its own.
DIM_STRIP, BRIGHT_STRIP = 0.72, 1.6
#: Heights this far from the local low level say no more than these, m.
LOWEST, HIGHEST = -0.5, 3.0
#: Spread of photons over a flat surface, m: what is taken where none was measured.
FLAT = 0.12


class FeatureColumns:
    """Columns of one track, computed when asked for.

    Parameters
    ----------
    segments : xarray.Dataset
        One track, dims ``(x_atc,)``.
    spot : int
        ATLAS spot: odd strong, even weak.
    """

    def __init__(self, segments: xr.Dataset, spot: int) -> None:
        self._ds = segments
        self._read: dict[str, F8] = {}
        self.strong = spot % 2 == 1
        self.pixels = PIXELS["strong" if self.strong else "weak"]
        self.length = schema.segment_length(segments)
        self.size = segments.sizes["x_atc"]
        self.x0 = float(segments["x_atc"].values[0]) if self.size else 0.0

    def column(self, name: str) -> F8:
        """Return a variable as float64, read once (and only if a feature needs it)."""
        if name not in self._ds:
            raise KeyError(
                f"feature: segments have no variable {name!r} (granule {self._ds.attrs.get('granule')})"
            )
        if name not in self._read:
            self._read[name] = np.asarray(self._ds[name].values, "f8")
        return self._read[name]

    def change(self, name: str) -> F8:
        """Compute the change of a variable from the cell before; NaN behind a gap."""
        return np.diff(self.column(name), prepend=np.nan)

    def cells(self, metres: float) -> int:
        """Cells on each side of one that lie within a stretch about it."""
        return max(0, round((metres / self.length - 1) / 2))

    def local(self, a: F8, q: float, stretch: float = LOCAL) -> F8:
        """Quantile of a column over the local stretch."""
        return local_quantile(a, q, stretch, self.length, self.x0)

    # -- shared ----------------------------------------------------------------------------------------
    @cached_property
    def gap(self) -> NDArray[np.bool_]:
        """Cells that no pulse met."""
        return self.column("n_pulses") <= 0

    @cached_property
    def photons(self) -> F8:
        """Number of photons of each cell."""
        return self.column("n_photons")

    @cached_property
    def pulses(self) -> F8:
        """Number of pulses of each cell."""
        return self.column("n_pulses")

    @cached_property
    def clouded(self) -> NDArray[np.bool_]:
        """Cells under a bright sky whose signal is all but lost over 100 m: cloud, not dark water."""
        half = self.cells(100.0)
        with np.errstate(invalid="ignore", divide="ignore"):
            rate = running_sum(self.photons, half) / running_sum(self.pulses, half)
        lost = rate < LOST["strong" if self.strong else "weak"]
        return lost & self.day & (self.brightness(100.0) > BRIGHT_SKY)

    def light(self, metres: float) -> F8:
        """Incident photons per pulse over a stretch about each cell."""
        half = self.cells(metres)
        with np.errstate(invalid="ignore", divide="ignore"):
            return incident(running_sum(self.photons, half) / running_sum(self.pulses, half), self.pixels)

    def near_region(self, a: F8, q: float, limits: tuple[float, float]) -> F8:
        """Quantile of a column over the local stretch, kept within limits times that over the region."""
        region = self.local(a, q, REGION)
        return np.clip(self.local(a, q), limits[0] * region, limits[1] * region)

    @cached_property
    def ice_light(self) -> F8:
        """Incident photons per pulse of the local bright ice."""
        light = np.where(self.gap, np.nan, self.light(10.0))
        return np.maximum(self.near_region(light, 0.75, RATE_RANGE), 0.05)

    @cached_property
    def low(self) -> F8:
        """Local low level of the surface: the second percentile of smoothed heights."""
        enough = (running_sum(self.photons, self.cells(22.0)) >= 10) & ~self.gap
        return self.local(np.where(enough, self.smooth(22.0), np.nan), 0.02)

    def smooth(self, metres: float) -> F8:
        """Mean height over a stretch, weighted by photons."""
        half, weight = self.cells(metres), np.where(np.isfinite(self.column("height")), self.photons, 0.0)
        with np.errstate(invalid="ignore", divide="ignore"):
            return running_sum(self.column("height") * weight, half) / running_sum(weight, half)

    # -- strips: stretches that the laser tells from the ice beside them --------------------------------
    @cached_property
    def strip_cells(self) -> NDArray[np.bool_]:
        """Cells that send back much less or much more than the local ice, over the footprint."""
        relative = self.light(10.0) / self.ice_light
        with np.errstate(invalid="ignore"):
            return (relative < DIM_STRIP) | (relative > BRIGHT_STRIP)

    @cached_property
    def strip_number(self) -> NDArray[np.intp]:
        """Number of the run of equal cells that each cell belongs to, strips and what lies between them."""
        change = np.diff(self.strip_cells.astype("i1"), prepend=0) != 0
        return np.cumsum(change)

    def over_strip(self, a: F8, weight: F8 | None = None) -> F8:
        """Mean of a column over the strip that a cell lies in; the column itself outside of strips."""
        known = np.isfinite(a)
        w = known.astype("f8") if weight is None else np.where(known, weight, 0.0)
        total = np.bincount(self.strip_number, np.where(known, a, 0.0) * w)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = (total / np.bincount(self.strip_number, w))[self.strip_number]
        return np.where(self.strip_cells, mean, a)

    def strip_width(self) -> F8:
        """Length of a strip along the track, as a logarithm to base 2 of 10 m; -3 outside of strips."""
        cells = np.bincount(self.strip_number)[self.strip_number]
        return np.where(self.strip_cells, np.log2(np.clip(cells * self.length / 10.0, 0.2, 500.0)), -3.0)

    @cached_property
    def strip_share(self) -> F8:
        """Share of strips in what a background record sees: 50 pulses, each a field of view of some 45 m."""
        return deconvolution.share_of(self.strip_cells, self.length)

    @cached_property
    def strip_brightness(self) -> F8:
        """Brightness of strips alone, and of the ice between them (:mod:`is2ice.science.deconvolution`)."""
        return self.alone(np.diff(self.strip_cells.astype("i1"), prepend=0) != 0, self.strip_cells)

    def alone(self, change: NDArray[np.bool_], strip: NDArray[np.bool_]) -> F8:
        """Brightness of each piece alone; 1 where there is no sun.

        Parameters
        ----------
        change : numpy.ndarray of bool, shape (n,)
            Cells that begin a piece.
        strip : numpy.ndarray of bool, shape (n,)
            Cells that are not snow.
        """
        if not self.day.any():
            return np.ones(self.size)
        record = np.where(self.day, self.brightness(), np.nan)
        begins = change | (np.diff(self.gap.astype("i1"), prepend=0) != 0)
        alone = deconvolution.deconvolve(
            record, begins, strip, ~self.gap, length=self.length, first=round(self.x0 / self.length)
        )
        return np.where(self.day, alone, 1.0)

    @cached_property
    def dark_level(self) -> F8:
        """Brightness of the darkest records of the region: that of water, if there is any wide enough."""
        dark = self.local(np.where(self.day, self.brightness(), np.nan), 0.002, REGION)
        return np.where(self.day, np.clip(np.nan_to_num(dark, nan=1.0), 0.0, 1.0), 1.0)

    def above_dark(self) -> F8:
        """Brightness of a piece alone, from 0 at the darkest of the region to 1 at the local bright ice."""
        span = np.maximum(1.0 - self.dark_level, 0.2)
        return np.where(self.day, np.clip((self.strip_brightness - self.dark_level) / span, -0.5, 1.5), 1.0)

    def relief(self, metres: float) -> F8:
        """Spread of heights over a stretch, less that of their own errors, as a logarithm to base 2 of 2 cm."""
        half = self.cells(metres)
        height = self.column("height")
        error = np.maximum(self.column("height_uncertainty"), 0.01)
        good = np.isfinite(height) & np.isfinite(error)
        w = np.where(good, error**-2.0, 0.0)
        h = np.where(good, height - np.nan_to_num(self.low), 0.0)
        with np.errstate(invalid="ignore", divide="ignore"):
            total = running_sum(w, half)
            mean = running_sum(w * h, half) / total
            # Weighted variance; what errors alone would make of it is (number - 1) over the sum of weights.
            variance = (
                running_sum(w * h * h, half) / total
                - mean**2
                - (running_sum(good.astype("f8"), half) - 1.0) / total
            )
        spread = np.sqrt(np.clip(np.nan_to_num(variance), 0.005**2, 1.0))
        return np.log2(spread / 0.02)

    def strip_rate(self) -> F8:
        """Photon rate over a strip, over that of the local ice, as a logarithm to base 2."""
        mean = self.over_strip(self.light(2.0), self.pulses)
        return np.log2((mean + 0.03 * self.ice_light) / (1.03 * self.ice_light))

    def strip_height(self) -> F8:
        """Height of a strip above the local low level, weighted by photons."""
        return np.clip(
            np.nan_to_num(self.over_strip(self.smooth(10.0), self.photons) - self.low), LOWEST, HIGHEST
        )

    def height_dip(self) -> F8:
        """Height over 10 m less that over 150 m."""
        return np.clip(np.nan_to_num(self.smooth(10.0) - self.smooth(150.0)), -1.0, 1.0)

    def beside(self, metres: float, *, high: bool) -> F8:
        """Return the greater or the lesser photon rate (as :meth:`rate`) at a distance before and after a cell."""
        k = max(1, round(metres / self.length))
        rate = self.rate(10.0)
        edge = np.pad(rate, k, "edge")
        before, after = edge[: self.size], edge[2 * k :]
        return np.fmax(before, after) if high else np.fmin(before, after)

    # -- columns of our own set ------------------------------------------------------------------------
    def rate(self, metres: float) -> F8:
        """Photon rate over that of the local ice, as a logarithm to base 2."""
        return np.log2((self.light(metres) + 0.05 * self.ice_light) / (1.05 * self.ice_light))

    def above_low(self, metres: float) -> F8:
        """Height above the local low level; where no photon is, that of the level itself."""
        return np.clip(np.nan_to_num(self.smooth(metres) - self.low), LOWEST, HIGHEST)

    def empty(self) -> F8:
        """Share of pulses without a signal photon."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return self.column("n_pulses_empty") / self.pulses

    def width(self) -> F8:
        """Spread of photons over 22 m, as a logarithm to base 2 of that over a flat surface."""
        spread = self.column("h_spread")
        return np.log2(np.where(np.isfinite(spread), np.clip(spread, 0.02, 2.0), FLAT) / FLAT)

    def own_width(self) -> F8:
        """Spread of the cell's own photons."""
        spread = self.column("h_std")
        known = np.isfinite(spread) & (spread > 0)
        return np.where(
            known, np.log2(np.clip(np.where(known, spread, FLAT), 0.02, 2.0) / FLAT), self.width()
        )

    def skew(self) -> F8:
        """Mean less median height: the late tail of photons."""
        return np.clip(np.nan_to_num(self.column("h_mean") - self.column("h_median")), -0.3, 0.3)

    @cached_property
    def day(self) -> NDArray[np.bool_]:
        """Cells in daylight, in which the background depends on the surface."""
        return (self.column("solar_elevation") > SUN_ABOVE) & np.isfinite(self.column("background_rate"))

    @cached_property
    def bright_ice(self) -> F8:
        """Background rate over the local bright ice."""
        return self.near_region(self.column("background_rate"), 0.9, BACKGROUND_RANGE)

    def brightness(self, metres: float = 0.0) -> F8:
        """Background rate over that of the local bright ice; 1 where there is no sun."""
        rate, half = self.column("background_rate"), self.cells(metres)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = running_sum(rate, half) / running_sum(np.isfinite(rate).astype("f8"), half)
            share = mean / self.bright_ice
        return np.where(self.day, np.clip(np.nan_to_num(share, nan=1.0), 0.0, 2.0), 1.0)

    def noise(self, metres: float) -> F8:
        """Photons that are no signal over those over the local bright ice; 1 where there is no sun."""
        half = self.cells(metres)
        with np.errstate(invalid="ignore", divide="ignore"):
            rate = running_sum(self.column("n_photons_all") - self.photons, half) / running_sum(
                self.pulses, half
            )
            share = rate / np.maximum(self.near_region(rate, 0.9, BACKGROUND_RANGE), 0.1)
        return np.where(self.day, np.clip(np.nan_to_num(share, nan=1.0), 0.0, 3.0), 1.0)

    # -- columns of the published sets -----------------------------------------------------------------
    def h_cor_mean(self) -> F8:
        """Corrected mean height of all selected photons."""
        return self.column("height") + self.column("h_mean") - self.column("h_core")

    def h_diff(self) -> F8:
        """Mean less median height."""
        return self.column("h_mean") - self.column("h_median")

    def above_truth(self) -> F8:
        """Height above the lowest segment labelled water within some kilometres: made from labels."""
        height = self.h_cor_mean()
        there = np.isfinite(height)
        x = self.x0 + self.length * np.arange(self.size)
        out = np.full(self.size, np.nan)
        out[there] = height[there] - leaking_surface(x[there], height[there], self.column("label")[there])
        return out


def leaking_surface(x: F8, height: F8, label: NDArray) -> F8:
    """Sea surface as the published training data have it: from the labels of the very segments.

    Parameters
    ----------
    x, height : (n,)
        Distance and height of the rows of a track, m; x increasing.
    label : (n,)
        Class codes.

    Returns
    -------
    (n,) array
        Lowest height of a segment labelled water within 5 km of the first row of a window; each window begins
        at the row after the last of the one before and overwrites it from its own start on; without water
        interpolated by row; NaN where no row is labelled water.
    """
    surface = np.full(x.size, np.nan)
    first = 0
    while first < x.size:
        a = int(np.searchsorted(x, x[first] - 5000.0, "right"))
        b = int(np.searchsorted(x, x[first] + 5000.0, "left"))
        water = height[a:b][label[a:b] == schema.OPEN_WATER]
        surface[a:b] = water.min() if water.size else np.nan
        first = max(b, first + 1)
    known = np.flatnonzero(np.isfinite(surface))
    return np.interp(np.arange(x.size), known, surface[known]) if known.size else surface

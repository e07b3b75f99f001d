"""Mutual information of a track and an image at trial displacements, for :mod:`is2ice.science.labels.drift`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.ndimage import median_filter
from scipy.special import ndtri
from scipy.stats import rankdata

from is2ice import schema
from is2ice.errors import SchemaError
from is2ice.science.compiled import njit

from .image_grid import Grid, read_near, segment_positions

__all__ = [
    "Cells",
    "Layers",
    "information",
    "read_layers",
    "resampled_information",
    "track_cells",
    "without_first",
]

F8 = NDArray[np.float64]

#: Stretch over which the local level of a feature is taken out, m.
_LEVEL = 5000.0
#: Sun above which the background tells of the surface, degrees.
_SUN = 5.0
#: Floor of variances of standardised features and of image values (shares, reflectance), against zero.
_FLOOR_F, _FLOOR_G = 1e-3, 1e-6


@dataclass(frozen=True)
class Cells:
    """Track cells of all beams: where they are and what was measured there.

    Attributes
    ----------
    x, y : ndarray, shape (n,)
        m in the segments' crs.
    features : ndarray, shape (n, F)
        Standardised; the first is the slope of the height along the track.
    key : ndarray of int, shape (n, 2)
        Beam and number of the cell along it.
    length : float
        m.
    """

    x: F8
    y: F8
    features: F8
    key: NDArray[np.int64]
    length: float

    def where(self, keep: NDArray[np.bool_]) -> Cells:
        """Return some of the cells."""
        return replace(self, x=self.x[keep], y=self.y[keep], features=self.features[keep], key=self.key[keep])

    def without_slope(self) -> Cells:
        """Cells without their first feature."""
        return replace(self, features=self.features[:, 1:])

    def merged(self, factor: int) -> Cells:
        """Cells ``factor`` times as long, means of those they hold."""
        key = self.key // np.array([1, factor])
        unique, group = np.unique(key, axis=0, return_inverse=True)
        group, count = group.ravel(), np.bincount(group.ravel())

        def mean(a: F8) -> F8:
            return np.bincount(group, a) / count

        features = np.stack([mean(f) for f in self.features.T], 1)
        return Cells(mean(self.x), mean(self.y), features, unique, self.length * factor)

    def stretches(self, length: float) -> NDArray[np.int64]:
        """Return the number of the stretch of track each cell lies in, from 0."""
        key = self.key // np.array([1, max(1, round(length / self.length))])
        return np.unique(key, axis=0, return_inverse=True)[1].ravel().astype(np.int64)


def track_cells(segments: xr.Dataset, length: float) -> Cells | None:
    """Cells of all beams with their features; None where no beam has enough of them."""
    beams = (
        [segments.isel(beam=b) for b in range(segments.sizes["beam"])]
        if "beam" in segments.dims
        else [segments]
    )
    parts = []
    for b, beam in enumerate(beams):
        if (part := _beam_cells(beam, b, length)) is not None:
            parts.append(part)
    if not parts:
        return None
    return Cells(
        np.concatenate([p.x for p in parts]),
        np.concatenate([p.y for p in parts]),
        np.concatenate([p.features for p in parts]),
        np.concatenate([p.key for p in parts]),
        length,
    )


def _beam_cells(ds: xr.Dataset, number: int, length: float) -> Cells | None:
    size = max(1, round(length / schema.segment_length(ds)))
    n = ds.sizes["x_atc"] // size
    if n < 50:
        return None

    def column(name: str) -> F8:
        if name not in ds:
            raise SchemaError(
                f"{ds.attrs.get('granule', 'segments')}: {name}: missing, and needed for the drift"
            )
        return np.asarray(ds[name], "f8")[: n * size].reshape(n, size)

    def mean(a: F8) -> F8:
        good = np.isfinite(a)
        with np.errstate(invalid="ignore"):
            return np.where(good, a, 0.0).sum(1) / good.sum(1)

    pulses, photons = column("n_pulses").sum(1), column("n_photons").sum(1)
    x, y = mean(column("x")), mean(column("y"))
    keep = (pulses > 0) & np.isfinite(x) & np.isfinite(y)
    if keep.sum() < 50:
        return None
    with np.errstate(invalid="ignore", divide="ignore"):
        rate = np.log(photons / pulses + 0.1)
        height = mean(column("height"))
        features = [np.gradient(height), height, rate, np.log(mean(column("h_spread")))]
        if mean(column("solar_elevation"))[keep].max() > _SUN:
            features.append(np.log(mean(column("background_rate"))))
    if "class_probability" in ds:
        share = np.asarray(ds["class_probability"], "f8")[: n * size].reshape(n, size, -1)
        features += [mean(share[..., 1]), mean(share[..., 2])]
    window = max(3, round(_LEVEL / length)) | 1
    ready = np.stack([_standard(f[keep], window) for f in features], 1)
    key = np.stack([np.full(n, number), np.arange(n)], 1)[keep]
    return Cells(x[keep], y[keep], ready, key, length)


def _standard(a: F8, window: int) -> F8:
    """Return normal scores of a feature about its local level, so that no tail and no drift of the level rules."""
    good = np.isfinite(a)
    if good.sum() < 10:
        return np.zeros(a.size)
    filled = np.where(good, a, np.median(a[good]))
    level = median_filter(filled, window, mode="nearest") if a.size > window else np.median(filled)
    out = np.zeros(a.size)
    out[good] = ndtri(rankdata((filled - level)[good]) / (good.sum() + 1.0))
    return out


@dataclass(frozen=True)
class Layers:
    """Image values to compare with, in a window around the track.

    Attributes
    ----------
    values : float32 ndarray, shape (K, rows, columns)
        NaN where unknown.
    row0, column0 : float
        Position of the window's first pixel, in pixels of the image.
    pixel : int
        Image pixels a side of a value.
    """

    values: NDArray[np.float32]
    row0: int
    column0: int
    pixel: int = 1

    def shrunk(self, factor: int) -> Layers:
        """Means over ``factor`` x ``factor`` values; unknown where fewer than half are known."""
        k, rows, columns = self.values.shape
        rows, columns = rows // factor, columns // factor
        blocks = self.values[:, : rows * factor, : columns * factor].reshape(k, rows, factor, columns, factor)
        good = np.isfinite(blocks)
        count = good.sum((2, 4), dtype=np.int32)
        with np.errstate(invalid="ignore", divide="ignore"):
            means = np.where(good, blocks, 0.0).sum((2, 4)) / count
        means[count < 0.5 * factor**2] = np.nan
        return Layers(means.astype(np.float32), self.row0, self.column0, self.pixel * factor)

    def moments(
        self, cells: Cells, place: tuple[F8, F8], jacobian: F8, trials: F8, stretch: NDArray[np.int64]
    ) -> F8:
        """Return sums over the cells of each stretch at each trial displacement.

        Parameters
        ----------
        cells : Cells
        place : (rows, columns)
            Positions of the cells, in pixels of the image.
        jacobian : ndarray, shape (n, 2, 2)
            Pixels (row, column) a metre of (x, y).
        trials : ndarray, shape (m, 2)
            Displacements (dx, dy), m.
        stretch : ndarray of int, shape (n,)

        Returns
        -------
        ndarray, shape (m, stretches, 1 + D + D (D + 1) / 2)
            Count, sums and sums of products of the D = F + K features and image values.
        """
        d = cells.features.shape[1] + len(self.values)
        out = np.zeros((len(trials), int(stretch.max()) + 1, 1 + d + d * (d + 1) // 2))
        row, column = (place[0] - self.row0) / self.pixel, (place[1] - self.column0) / self.pixel
        _sum_moments(
            self.values,
            row,
            column,
            jacobian / self.pixel,
            np.ascontiguousarray(cells.features),
            stretch,
            np.ascontiguousarray(trials, np.float64),
            out,
        )
        return out


@njit(cache=True, nogil=True)
def _sum_moments(
    values: NDArray[Any],
    row: NDArray[Any],
    column: NDArray[Any],
    jacobian: NDArray[Any],
    features: NDArray[Any],
    stretch: NDArray[Any],
    trials: NDArray[Any],
    out: NDArray[Any],
) -> None:
    n_layers, height, width = values.shape
    n_features = features.shape[1]
    d = n_features + n_layers
    v = np.empty(d)
    for t in range(trials.shape[0]):
        dx, dy = trials[t, 0], trials[t, 1]
        for i in range(row.size):
            # Values are those of pixel centres, bilinear between them.
            r = row[i] + jacobian[i, 0, 0] * dx + jacobian[i, 0, 1] * dy - 0.5
            c = column[i] + jacobian[i, 1, 0] * dx + jacobian[i, 1, 1] * dy - 0.5
            if not (r >= 0.0 and c >= 0.0 and r < height - 1 and c < width - 1):
                continue
            a, b = int(r), int(c)
            u, w = r - a, c - b
            known = True
            for k in range(n_layers):
                top = (1.0 - w) * values[k, a, b] + w * values[k, a, b + 1]
                low = (1.0 - w) * values[k, a + 1, b] + w * values[k, a + 1, b + 1]
                g = (1.0 - u) * top + u * low
                known = known and not np.isnan(g)
                v[n_features + k] = g
            if not known:
                continue
            for k in range(n_features):
                v[k] = features[i, k]
            s = out[t, stretch[i]]
            s[0] += 1.0
            p = 1 + d
            for j in range(d):
                s[1 + j] += v[j]
                for k in range(j, d):
                    s[p] += v[j] * v[k]
                    p += 1


def information(moments: F8, n_features: int) -> F8:
    """Gaussian mutual information of features and image values, nats a cell, less its bias without any.

    Parameters
    ----------
    moments : ndarray, shape (..., 1 + D + D (D + 1) / 2)
    n_features : int
        The first of the D.

    Returns
    -------
    ndarray, shape (...)
        -inf where there are too few cells.
    """
    d = round((np.sqrt(8 * moments.shape[-1] + 1) - 3) / 2)
    out = np.empty(moments.shape[:-1])
    _sum_information(
        np.ascontiguousarray(moments).reshape(-1, moments.shape[-1]), d, n_features, out.reshape(-1)
    )
    return out


@njit(cache=True, nogil=True)
def _sum_information(moments: NDArray[Any], d: Any, n_features: Any, out: NDArray[Any]) -> None:
    mean, s, factor = np.empty(d), np.empty((d, d)), np.empty((d, d))
    for t in range(moments.shape[0]):
        n = moments[t, 0]
        if not n > 5 * d:
            out[t] = -np.inf
            continue
        for j in range(d):
            mean[j] = moments[t, 1 + j] / n
        p = 1 + d
        for j in range(d):
            for k in range(j, d):
                s[k, j] = moments[t, p] / n - mean[j] * mean[k]
                p += 1
            s[j, j] += _FLOOR_F if j < n_features else _FLOOR_G
        # ln det S = ln det S_ff + the pivots of the image values that follow, so S_ff itself is not needed.
        gain = _log_pivots(s, n_features, n_features, factor) - _log_pivots(s, 0, n_features, factor)
        out[t] = 0.5 * gain - n_features * (d - n_features) / (2.0 * n)


@njit(cache=True, nogil=True)
def _log_pivots(s: NDArray[Any], begin: Any, first: Any, factor: NDArray[Any]) -> Any:
    """Sum of the logarithms of the pivots from ``first`` on, of the block of ``s`` that starts at ``begin``."""
    total = 0.0
    for j in range(begin, s.shape[0]):
        pivot = s[j, j]
        for k in range(begin, j):
            pivot -= factor[j, k] * factor[j, k]
        pivot = max(pivot, 1e-300)  # rounding, where a value is a combination of others
        factor[j, j] = np.sqrt(pivot)
        for i in range(j + 1, s.shape[0]):
            value = s[i, j]
            for k in range(begin, j):
                value -= factor[i, k] * factor[j, k]
            factor[i, j] = value / factor[j, j]
        if j >= first:
            total += np.log(pivot)
    return total


def resampled_information(moments: F8, weights: F8, n_features: int) -> F8:
    """Information at each displacement for resamples of the stretches.

    Parameters
    ----------
    moments : ndarray, shape (m, stretches, 1 + D + D (D + 1) / 2)
        From :meth:`Layers.moments`.
    weights : ndarray, shape (draws, stretches)
        Number of times that each stretch is drawn.
    n_features : int
        Count of features among the D.

    Returns
    -------
    ndarray, shape (draws, m)
    """
    trials, _, size = moments.shape
    flat = np.ascontiguousarray(moments.transpose(1, 0, 2)).reshape(weights.shape[1], -1)
    # A few draws at once: one product of matrices each, and the sums of a few draws fit in memory.
    return np.concatenate(
        [
            information((weights[k : k + 8] @ flat).reshape(-1, trials, size), n_features)
            for k in range(0, len(weights), 8)
        ]
    )


def without_first(moments: F8) -> F8:
    """Moments as they would be without the first feature."""
    d = round((np.sqrt(8 * moments.shape[-1] + 1) - 3) / 2)
    j, k = np.triu_indices(d)
    return moments[..., np.concatenate([[True], np.arange(d) > 0, (j > 0) & (k > 0)])]


def read_layers(image: xr.Dataset, grid: Grid, row: F8, column: F8, margin: int) -> Layers:
    """Shares of classes, or reflectance, or both, around some positions of an image.

    Raises
    ------
    SchemaError
        The image holds neither.
    """
    classes = ["surface_class"] if "surface_class" in image else []
    bands = [
        str(n)
        for n, a in image.data_vars.items()
        if set(a.dims) == {"y", "x"} and a.dtype.kind == "f" and str(n) not in ("B11", "swir16")
    ]
    if not classes and not bands:
        raise SchemaError(
            f"{image.attrs.get('scene', 'image')}: expected surface_class or reflectance (y, x), got "
            f"{sorted(map(str, image.data_vars))}"
        )
    names = classes + (["mask"] if "mask" in image else []) + bands
    parts, row0, column0 = read_near([image[n].transpose("y", "x") for n in names], row, column, margin)
    window = dict(zip(names, parts, strict=True))
    layers = [window[n].astype(np.float32) for n in bands]
    hidden = window["mask"] != 0 if "mask" in window else np.zeros(parts[0].shape, bool)
    if classes:
        code = window["surface_class"]
        hidden = hidden | (code < 0)
        layers += [(code == c).astype(np.float32) for c in (1, 2)]
    for layer in layers:
        layer[hidden] = np.nan
    return Layers(np.stack(layers), row0, column0)


def jacobian(cells: Cells, crs: str, grid: Grid, step: float) -> Any:
    """Pixels (row, column) a metre of (x, y) at each cell, over a step."""
    r0, c0 = segment_positions(cells.x, cells.y, crs, grid)
    rx, cx = segment_positions(cells.x + step, cells.y, crs, grid)
    ry, cy = segment_positions(cells.x, cells.y + step, crs, grid)
    return np.stack([np.stack([rx - r0, ry - r0], -1), np.stack([cx - c0, cy - c0], -1)], -2) / step

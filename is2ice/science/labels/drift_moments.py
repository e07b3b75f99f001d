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
    "Frame",
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
#: Number of the background among the features, after slope, height, photon rate and spread.
_BACKGROUND = 4
#: Fewest cells of a beam.
_FEWEST = 10
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
    day : bool
        True if the background is among the features.
    """

    x: F8
    y: F8
    features: F8
    key: NDArray[np.int64]
    length: float
    day: bool

    def where(self, keep: NDArray[np.bool_]) -> Cells:
        """Return some of the cells."""
        return replace(self, x=self.x[keep], y=self.y[keep], features=self.features[keep], key=self.key[keep])

    def without_slope(self) -> Cells:
        """Return the cells without their first feature."""
        return replace(self, features=self.features[:, 1:])

    def without_background(self) -> Cells:
        """Return the cells without the background, where they have it."""
        if not self.day:
            return self
        return replace(self, features=np.delete(self.features, _BACKGROUND, axis=1), day=False)

    def lean(self) -> Cells:
        """Return the cells with height, photon rate, spread and background only."""
        return replace(self, features=self.features[:, 1 : _BACKGROUND + self.day])

    def merged(self, factor: int) -> Cells:
        """Cells ``factor`` times as long, means of those they hold."""
        key = self.key // np.array([1, factor])
        unique, group = np.unique(key, axis=0, return_inverse=True)
        group, count = group.ravel(), np.bincount(group.ravel())

        def mean(a: F8) -> F8:
            return np.bincount(group, a) / count

        features = np.stack([mean(f) for f in self.features.T], 1)
        return Cells(mean(self.x), mean(self.y), features, unique, self.length * factor, self.day)

    def stretches(self, length: float) -> NDArray[np.int64]:
        """Return the first cell of each stretch of track, and the number of cells as the last."""
        key = self.key // np.array([1, max(1, round(length / self.length))])
        first = np.flatnonzero(np.r_[True, (np.diff(key, axis=0) != 0).any(1)])
        return np.r_[first, len(key)].astype(np.int64)


def track_cells(segments: xr.Dataset, length: float) -> Cells | None:
    """Cells of all beams with their features; None where no beam has enough of them."""
    beams = (
        [segments.isel(beam=b) for b in range(segments.sizes["beam"])]
        if "beam" in segments.dims
        else [segments]
    )
    parts = [part for b, beam in enumerate(beams) if (part := _beam_cells(beam, b, length)) is not None]
    if not parts:
        return None
    day = all(p.day for p in parts)
    if not day:  # the sun may be at the limit: all beams need the same features
        parts = [p.without_background() for p in parts]
    return Cells(
        np.concatenate([p.x for p in parts]),
        np.concatenate([p.y for p in parts]),
        np.concatenate([p.features for p in parts]),
        np.concatenate([p.key for p in parts]),
        parts[0].length,
        day,
    )


def _beam_cells(ds: xr.Dataset, number: int, length: float) -> Cells | None:
    own = schema.segment_length(ds)
    size = max(1, round(length / own))
    n = ds.sizes["x_atc"] // size
    if n < _FEWEST:
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
    if keep.sum() < _FEWEST:
        return None
    with np.errstate(invalid="ignore", divide="ignore"):
        rate = np.log(photons / pulses + 0.1)
        height = mean(column("height"))
        features = [np.gradient(height), height, rate, np.log(mean(column("h_spread")))]
        day = bool((mean(column("solar_elevation"))[keep] > _SUN).any())
        if day:
            features.append(np.log(mean(column("background_rate"))))
    if "class_probability" in ds:
        share = np.asarray(ds["class_probability"], "f8")[: n * size].reshape(n, size, -1)
        features += [mean(share[..., 1]), mean(share[..., 2])]
    window = max(3, round(_LEVEL / (size * own))) | 1
    ready = np.stack([_standard(f[keep], window) for f in features], 1)
    key = np.stack([np.full(n, number), np.arange(n)], 1)[keep]
    return Cells(x[keep], y[keep], ready, key, size * own, day)


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

    def first(self, n: int) -> Layers:
        """Return the first layers only."""
        return replace(self, values=np.ascontiguousarray(self.values[:n]))

    def moments(self, frame: Frame, trials: F8, edges: NDArray[np.int64]) -> F8:
        """Return sums over the cells of each stretch at each trial displacement.

        Parameters
        ----------
        frame : Frame
        trials : ndarray, shape (m, 2)
            Displacements (dx, dy), m.
        edges : ndarray of int, shape (stretches + 1,)
            First cell of each stretch, and the number of cells.

        Returns
        -------
        ndarray, shape (m, stretches, 1 + D + D (D + 1) / 2)
            Count, sums and sums of products of the D = F + K features and image values.
        """
        features = np.ascontiguousarray(frame.cells.features.T, np.float32)
        d = len(features) + len(self.values)
        out = np.zeros((len(trials), len(edges) - 1, 1 + d + d * (d + 1) // 2))
        _sum_moments(self.values, *self._place(frame), features, edges, np.ascontiguousarray(trials), out)
        return out

    def totals(self, frame: Frame, trials: F8, features: NDArray[np.float32]) -> F8:
        """Return sums over all cells, with each of several sets of features laid at their positions.

        Parameters
        ----------
        frame : Frame
        trials : ndarray, shape (m, 2)
            Displacements (dx, dy), m.
        features : ndarray, shape (R, F, n)

        Returns
        -------
        ndarray, shape (m, R, 1 + D + D (D + 1) / 2)
            As of :meth:`moments`.
        """
        n_sets, n_features, n = features.shape
        t, k = len(trials), len(self.values)
        g, known = np.empty((t, k, n), np.float32), np.empty((t, n), np.float32)
        _sample_all(self.values, *self._place(frame), np.ascontiguousarray(trials), g, known)
        i, j = np.triu_indices(n_features)
        flat = features.reshape(-1, n).T
        products = (features[:, i] * features[:, j]).reshape(-1, n).T
        if known.all():  # sums of the features alone are the same everywhere
            known = known[:1]
        d = n_features + k
        out = np.empty((t, n_sets, 1 + d + d * (d + 1) // 2))
        of_product = np.zeros((d, d), int)
        of_product[np.triu_indices(d)] = 1 + d + np.arange(d * (d + 1) // 2)
        out[..., 0] = known.sum(1)[:, None]
        out[..., 1 : 1 + n_features] = (known @ flat).reshape(-1, n_sets, n_features)
        out[..., 1 + n_features : 1 + d] = g.sum(2)[:, None]
        out[..., of_product[i, j]] = (known @ products).reshape(-1, n_sets, i.size)
        mixed = (g.reshape(-1, n) @ flat).reshape(t, k, n_sets, n_features)
        for v in range(k):
            out[..., of_product[:n_features, n_features + v]] = mixed[:, v]
            for w in range(v, k):
                out[..., of_product[n_features + v, n_features + w]] = np.einsum(
                    "tn,tn->t", g[:, v], g[:, w]
                )[:, None]
        return out

    def _place(self, frame: Frame) -> tuple[F8, F8, F8]:
        """Positions of the cells and their steps, in values of the layers."""
        row, column = (frame.row - self.row0) / self.pixel, (frame.column - self.column0) / self.pixel
        return row, column, frame.jacobian / self.pixel


@dataclass(frozen=True)
class Frame:
    """Cells and their positions in an image.

    Attributes
    ----------
    cells : Cells
    row, column : ndarray, shape (n,)
        Pixels of the image.
    jacobian : ndarray, shape (n, 2, 2)
        Pixels (row, column) a metre of (x, y).
    """

    cells: Cells
    row: F8
    column: F8
    jacobian: F8

    @classmethod
    def of(cls, cells: Cells, crs: str, grid: Grid) -> Frame:
        """Locate cells in an image."""
        row, column = segment_positions(cells.x, cells.y, crs, grid)
        return cls(cells, row, column, _jacobian(cells, crs, grid, 500.0))


@njit(cache=True, nogil=True)
def _sample(
    values: NDArray[Any],
    row: NDArray[Any],
    column: NDArray[Any],
    jacobian: NDArray[Any],
    trial: NDArray[Any],
    g: NDArray[Any],
    known: NDArray[Any],
) -> Any:
    """Sample an image at displaced cells, bilinear between pixel centres, 0 where unknown; return the count known."""
    n_layers, height, width = values.shape
    dx, dy = trial[0], trial[1]
    count = 0
    for i in range(row.size):
        r = row[i] + jacobian[i, 0, 0] * dx + jacobian[i, 0, 1] * dy - 0.5
        c = column[i] + jacobian[i, 1, 0] * dx + jacobian[i, 1, 1] * dy - 0.5
        good = r >= 0.0 and c >= 0.0 and r < height - 1 and c < width - 1
        if good:
            a, b = int(r), int(c)
            u, w = np.float32(r - a), np.float32(c - b)
            for k in range(n_layers):
                top = values[k, a, b] + w * (values[k, a, b + 1] - values[k, a, b])
                low = values[k, a + 1, b] + w * (values[k, a + 1, b + 1] - values[k, a + 1, b])
                v = top + u * (low - top)
                good = good and not np.isnan(v)
                g[k, i] = v
        known[i] = 1.0 if good else 0.0
        if good:
            count += 1
        else:
            for k in range(n_layers):
                g[k, i] = 0.0
    return count


@njit(cache=True, nogil=True)
def _sample_all(
    values: NDArray[Any],
    row: NDArray[Any],
    column: NDArray[Any],
    jacobian: NDArray[Any],
    trials: NDArray[Any],
    g: NDArray[Any],
    known: NDArray[Any],
) -> None:
    for t in range(trials.shape[0]):
        _sample(values, row, column, jacobian, trials[t], g[t], known[t])


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz"})
def _dot(a: NDArray[Any], b: NDArray[Any], begin: Any, end: Any) -> Any:
    total = np.float32(0.0)
    for i in range(begin, end):
        total += a[i] * b[i]
    return total


@njit(cache=True, nogil=True)
def _sum_moments(
    values: NDArray[Any],
    row: NDArray[Any],
    column: NDArray[Any],
    jacobian: NDArray[Any],
    features: NDArray[Any],
    edges: NDArray[Any],
    trials: NDArray[Any],
    out: NDArray[Any],
) -> None:
    n_features, n = features.shape
    n_layers = values.shape[0]
    d = n_features + n_layers
    v, known, ones = np.empty((d, n), np.float32), np.empty(n, np.float32), np.ones(n, np.float32)
    kept = False
    for t in range(trials.shape[0]):
        whole = _sample(values, row, column, jacobian, trials[t], v[n_features:], known) == n
        for j in range(n_features):
            v[j] = features[j] * known
        for s in range(edges.size - 1):
            a, b, moments = edges[s], edges[s + 1], out[t, s]
            moments[0] = _dot(known, ones, a, b)
            p = 1 + d
            for j in range(d):
                moments[1 + j] = _dot(v[j], ones, a, b)
                for k in range(j, d):
                    if k < n_features and whole and kept:  # features alone, as before
                        moments[p] = out[t - 1, s, p]
                    else:
                        moments[p] = _dot(v[j], v[k], a, b)
                    p += 1
        kept = whole


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
        Weight of each stretch.
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


def _rotated(layers: NDArray[np.float32]) -> NDArray[np.float32]:
    """Layers about their means along their principal axes, strongest first: bands that differ little keep digits."""
    flat = layers.reshape(len(layers), -1)
    sample = flat[:, :: max(1, flat.shape[1] // 100_000)].astype(float)
    sample = sample[:, np.isfinite(sample).all(0)]
    if sample.shape[1] < 2:
        return layers
    axes = np.linalg.eigh(np.atleast_2d(np.cov(sample)))[1].T[::-1]
    centred = flat - sample.mean(1)[:, None].astype(np.float32)
    return np.ascontiguousarray((axes.astype(np.float32) @ centred).reshape(layers.shape))


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
    return Layers(_rotated(np.stack(layers)), row0, column0)


def _jacobian(cells: Cells, crs: str, grid: Grid, step: float) -> Any:
    """Return pixels (row, column) a metre of (x, y) at each cell, over a step."""
    r0, c0 = segment_positions(cells.x, cells.y, crs, grid)
    rx, cx = segment_positions(cells.x + step, cells.y, crs, grid)
    ry, cy = segment_positions(cells.x, cells.y + step, crs, grid)
    return np.stack([np.stack([rx - r0, ry - r0], -1), np.stack([cx - c0, cy - c0], -1)], -2) / step

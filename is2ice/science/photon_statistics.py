"""Median and deviation of photon counts and background over the photons of each segment: optional variables.

The published data hold mean, deviation and median of the photons of a pulse (of all confidences, and of those selected)
and of the background. The means (``pcnt``, ``pcnth``) come with the segments; this module adds the others, from the
photons that the segments were made of.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from is2ice import schema
from is2ice.errors import SchemaError

__all__ = ["add_statistics"]

F8 = NDArray[np.float64]
#: Variables of photons beside the counts, and the names of their statistics.
_BACKGROUND = ("background_rate", "background_counts")


def add_statistics(
    segments: xr.Dataset, photons: xr.Dataset, *, confidence: int = 3, quality: tuple[int, ...] = (0,)
) -> xr.Dataset:
    """Add ``pcnt_median``, ``pcnt_std``, and the same of ``pcnth``, ``background_rate`` and ``background_counts``.

    Parameters
    ----------
    segments : xarray.Dataset
        One track, dims ``(x_atc,)``.
    photons : xarray.Dataset
        :data:`is2ice.schema.PHOTONS` of the same beam: x_atc, signal_conf, quality and pulse; background_rate and
        background_counts if known, else those of the segments are interpolated.
    confidence : int
        Lowest confidence of a selected photon.
    quality : tuple of int
        Quality codes accepted.

    Returns
    -------
    xarray.Dataset
        Deviations are those of a sample (n - 1), NaN with a single photon; all are NaN in an empty segment.

    Raises
    ------
    SchemaError
        A variable of the photons is missing.
    """
    if missing := [n for n in ("x_atc", "signal_conf", "quality", "pulse") if n not in photons]:
        raise SchemaError(f"photons: {', '.join(missing)} missing; photon statistics need them")
    length = schema.segment_length(segments)
    chosen = (photons["signal_conf"].values >= confidence) & np.isin(photons["quality"].values, quality)
    _, pulse = np.unique(photons["pulse"].values, return_inverse=True)
    count = {"pcnt": np.bincount(pulse)[pulse], "pcnth": np.bincount(pulse, weights=chosen)[pulse]}
    columns = {name: np.asarray(v, float)[chosen] for name, v in count.items()}
    columns |= {
        n: _background(n, segments, photons)[chosen] for n in _BACKGROUND if n in photons or n in segments
    }
    first = segments["x_atc"].values[0] if segments.sizes["x_atc"] else 0.0
    cell = np.floor((photons["x_atc"].values[chosen] - first) / length).astype(np.int64)
    inside = (cell >= 0) & (cell < segments.sizes["x_atc"])
    out = segments.copy()
    for name, values in columns.items():
        middle, deviation = _by_cell(cell[inside], values[inside], segments.sizes["x_atc"])
        out[f"{name}_median"] = ("x_atc", middle.astype("f4"))
        out[f"{name}_std"] = ("x_atc", deviation.astype("f4"))
    return schema.annotate(out, "statistics")


def _background(name: str, segments: xr.Dataset, photons: xr.Dataset) -> F8:
    """Return the background at each photon: its own, else that of the segments, interpolated along the track."""
    if name in photons:
        return photons[name].values.astype(float)
    values = segments[name].values.astype(float)
    known = np.isfinite(values)
    if not known.any():
        return np.full(photons.sizes["photon"], np.nan)
    half = schema.segment_length(segments) / 2
    return np.interp(photons["x_atc"].values, segments["x_atc"].values[known] + half, values[known])


def _by_cell(cell: NDArray[np.int64], values: F8, size: int) -> tuple[F8, F8]:
    """Median and sample deviation of the values of each cell."""
    middle, deviation = np.full(size, np.nan), np.full(size, np.nan)
    if not cell.size:
        return middle, deviation
    order = np.lexsort((values, cell))
    cell, values = cell[order], values[order]
    start = np.flatnonzero(np.concatenate([[True], np.diff(cell) > 0]))
    n = np.diff(np.append(start, cell.size))
    middle[cell[start]] = (values[start + (n - 1) // 2] + values[start + n // 2]) / 2
    mean = np.add.reduceat(values, start) / n
    squares = np.add.reduceat((values - np.repeat(mean, n)) ** 2, start)
    deviation[cell[start]] = np.sqrt(np.divide(squares, n - 1, out=np.full(n.size, np.nan), where=n > 1))
    return middle, deviation

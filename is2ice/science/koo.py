r"""Sea surface and freeboard of ATL07 segments by the method of Koo et al. (2023), which the paper compares with.

Segments of ATL07 bear one of three classes (:mod:`is2ice.classifiers.koo` gives them). Each reference section of 10 km
gets one height. Its leads are runs of neighbouring segments of water whose height is among the lowest 4 % of the
section's range; without any, runs of water or thin ice among the lowest 1 %. With
:math:`u_i = (h_i - h_{min}) / \sigma_i`

.. math:: \alpha_i \propto e^{-2 u_i},\quad h_{lead} = \sum \alpha_i h_i,\quad
          \sigma^2_{lead} = \sum \alpha_i^2 \sigma_i^2,\quad
          h_{ref} = \sum_k \frac{1/\sigma_k^2}{\sum 1/\sigma^2} h_k

Sections without leads are interpolated linearly by section number (the nearest value beyond the ends), each section is
smoothed by a mean over itself and its two neighbours, and freeboard below zero is set to zero. A section that holds no
segment at all, in a gap of the product, takes its place in the count: what lies beyond it is no neighbour.

The published program scales heights to 0 ... 1 before it compares them with the limits 0.04 and 0.01, and does not say
over which stretch; here it is the section. :math:`e^{-2u}` is what its expression ``exp(-u)**2`` computes.

References
----------
Koo et al. (2023), Remote Sensing of Environment 296, 113726; Iqrah et al. (2025), arXiv:2502.02700, section IV.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from is2ice import schema
from is2ice.errors import SchemaError

__all__ = [
    "FEATURES",
    "KooOptions",
    "features",
    "label_segments",
    "reference_sections",
    "sea_surface",
    "section_heights",
]

F8 = NDArray[np.float64]
#: What the classifier sees of a segment: photons a pulse, spread of heights, background at a fixed sun, height, pulses,
#: and mean less median height.
FEATURES = ("photon_rate", "hist_w", "background_r_norm", "height", "n_pulse_seg", "h_diff")
#: Length of a reference section, m.
SECTION = 10_000.0
#: Smallest error of a height, m: one of zero would take all the weight.
_FLOOR = 1e-3


@dataclass(frozen=True)
class KooOptions:
    """Numbers of the method.

    Attributes
    ----------
    water_limit, thin_limit : float
        Largest height of a lead segment of water, and of water or thin ice where there is none, as a share of the
        range of heights in the section.
    smooth : int
        Sections in the running mean, odd.

    Raises
    ------
    ValueError
        A limit beyond 0 to 1, or an even number of sections.
    """

    water_limit: float = 0.04
    thin_limit: float = 0.01
    smooth: int = 3

    def __post_init__(self) -> None:
        if not (0 <= self.thin_limit <= 1 and 0 <= self.water_limit <= 1):
            raise ValueError(
                f"limits: expected shares from 0 to 1, got {self.water_limit}, {self.thin_limit}"
            )
        if self.smooth < 1 or self.smooth % 2 == 0:
            raise ValueError(f"smooth={self.smooth}: expected an odd number of sections, at least 1")


def features(segments: xr.Dataset) -> NDArray[np.float32]:
    """Return :data:`FEATURES` of ATL07 segments.

    Parameters
    ----------
    segments : xarray.Dataset
        As read by :func:`is2ice.io.icesat2.atl07_atl10.open_atl07`, dims (segment,).

    Returns
    -------
    (n, 6) array of float32
        NaN where the product holds no value.

    Raises
    ------
    SchemaError
        A variable is missing.
    """
    needed = (*FEATURES[:-1], "hist_mean_h", "hist_median_h")
    if missing := [name for name in needed if name not in segments]:
        raise SchemaError(
            f"segments of ATL07: {', '.join(missing)} missing; the method of Koo et al. needs {', '.join(needed)}"
        )
    skew = segments["hist_mean_h"].values.astype(float) - segments["hist_median_h"].values.astype(float)
    columns = [segments[name].values.astype(float) for name in FEATURES[:-1]]
    return np.column_stack([*columns, skew]).astype(np.float32)


def label_segments(
    segments: xr.Dataset, track: xr.Dataset, *, least: float = 0.5, agree: float = 0.8
) -> xr.Dataset:
    """Label ATL07 segments with the labels of the 2 m segments that they hold, so from the same images.

    Parameters
    ----------
    segments : xarray.Dataset
        ATL07 of one beam, dims (segment,), with x_atc (centre) and length, m.
    track : xarray.Dataset
        The labelled track of the same beam, dims (x_atc,), with ``label``.
    least : float
        Share of a segment's cells that must bear a label.
    agree : float
        Share of these that must bear the same one.

    Returns
    -------
    xarray.Dataset
        With ``label`` (int8); -1 where the cells bear no label or do not agree.
    """
    step = schema.segment_length(track)
    centre, label = track["x_atc"].values + step / 2, np.asarray(track["label"].values)
    half = segments["length"].values.astype(float) / 2
    x = segments["x_atc"].values.astype(float)
    first, last = np.searchsorted(centre, x - half), np.searchsorted(centre, x + half, side="right")
    count = np.zeros((len(schema.CLASSES), x.size))
    for k in range(len(schema.CLASSES)):
        running = np.concatenate([[0], np.cumsum(label == k)])
        count[k] = running[last] - running[first]
    total, cells = count.sum(0), np.maximum(np.round(2 * half / step), 1)
    good = (total > 0) & (total >= least * cells) & (count.max(0) >= agree * total)
    code = np.where(good, count.argmax(0), schema.UNLABELLED).astype(np.int8)
    return segments.assign(label=("segment", code, {"long_name": "class of the 2 m labels in the segment"}))


def reference_sections(segments: xr.Dataset) -> NDArray[np.int64]:
    """Return the number of each segment's 10 km section: ATL10's where the segments bear it, else by distance."""
    by_distance = np.floor(segments["x_atc"].values / SECTION).astype(np.int64)
    if "refsurf_ndx" not in segments:
        return by_distance
    index = segments["refsurf_ndx"].values.astype(float)
    if not np.isfinite(index).all() or index.size == 0:
        return by_distance
    return index.astype(np.int64)


def section_heights(
    height: ArrayLike,
    error: ArrayLike,
    code: ArrayLike,
    segment_id: ArrayLike,
    section: ArrayLike,
    options: KooOptions | None = None,
) -> tuple[NDArray[np.int64], F8, F8, NDArray[np.bool_]]:
    """Compute the reference height of each section, before gaps are filled and sections smoothed.

    Parameters
    ----------
    height, error : (n,) array_like
        m.
    code : (n,) array_like of int
        Class codes of the package: 0 thick ice, 1 thin ice, 2 open water.
    segment_id, section : (n,) array_like of int
    options : KooOptions, optional

    Returns
    -------
    section : (k,) array of int
        Sections in ascending order.
    h_ref, variance : (k,) array
        m and m2; NaN without a lead.
    lead : (n,) array of bool
        Segments that made them.
    """
    options = options or KooOptions()
    h, code = np.asarray(height, float), np.asarray(code)
    error = np.maximum(np.asarray(error, float), _FLOOR)
    segment_id, section = np.asarray(segment_id, float), np.asarray(section)
    numbers = np.unique(section)
    value, variance = np.full(numbers.size, np.nan), np.full(numbers.size, np.nan)
    lead = np.zeros(h.size, bool)
    for k, number in enumerate(numbers):
        (rows,) = np.nonzero((section == number) & np.isfinite(h) & np.isfinite(error))
        rows = _lead_rows(rows, h, code, options)
        if rows.size:
            lead[rows] = True
            value[k], variance[k] = _one_height(h[rows], error[rows], segment_id[rows])
    return numbers.astype(np.int64), value, variance, lead


def _lead_rows(
    rows: NDArray[np.intp], h: F8, code: NDArray[np.integer], options: KooOptions
) -> NDArray[np.intp]:
    """Choose the lead segments of a section: low water, else low water or thin ice."""
    if not rows.size:
        return rows
    low, span = h[rows].min(), np.ptp(h[rows])
    share = (h[rows] - low) / span if span > 0 else np.zeros(rows.size)
    water = rows[(code[rows] == schema.OPEN_WATER) & (share <= options.water_limit)]
    if water.size:
        return water
    return rows[np.isin(code[rows], (schema.OPEN_WATER, schema.THIN_ICE)) & (share <= options.thin_limit)]


def _one_height(h: F8, error: F8, segment_id: F8) -> tuple[float, float]:
    """Weigh the segments of each lead, and the leads of the section."""
    runs = np.split(np.arange(h.size), np.flatnonzero(np.abs(np.diff(segment_id)) != 1) + 1)
    heights, variances = np.empty(len(runs)), np.empty(len(runs))
    for k, run in enumerate(runs):
        weight = np.exp(-2.0 * (h[run] - h[run].min()) / error[run])
        weight /= weight.sum()
        heights[k] = (weight * h[run]).sum()
        variances[k] = (weight**2 * error[run] ** 2).sum()
    share = 1.0 / variances
    share /= share.sum()
    return float((share * heights).sum()), float((share**2 * variances).sum())


def sea_surface(
    segments: xr.Dataset, section: ArrayLike | None = None, options: KooOptions | None = None
) -> xr.Dataset:
    """Add sea surface and freeboard of the method to classified ATL07 segments.

    Parameters
    ----------
    segments : xarray.Dataset
        Dims (segment,), with ``koo_class``, height, height_uncertainty, segment_id and x_atc.
    section : (n,) array_like of int, optional
        Reference section of each segment; :func:`reference_sections` by default.
    options : KooOptions, optional

    Returns
    -------
    xarray.Dataset
        With ``koo_lead`` (bool), ``koo_h_ref``, ``koo_h_ref_uncertainty`` and ``koo_freeboard`` (m). All are NaN where
        no section has a lead; the uncertainty is NaN in a section that was filled.

    Raises
    ------
    SchemaError
        A variable is missing.
    """
    options = options or KooOptions()
    needed = ("koo_class", "height", "height_uncertainty", "segment_id", "x_atc")
    if missing := [name for name in needed if name not in segments]:
        raise SchemaError(f"segments of ATL07: {', '.join(missing)} missing; classify them first")
    numbers = reference_sections(segments) if section is None else np.asarray(section)
    height = segments["height"].values.astype(float)
    known, value, variance, lead = section_heights(
        height,
        segments["height_uncertainty"],
        segments["koo_class"],
        segments["segment_id"],
        numbers,
        options,
    )
    smooth = _smoothed(known, _filled(known, value), options.smooth)
    at = np.searchsorted(known, numbers)
    h_ref = smooth[at] if known.size else np.full(height.size, np.nan)
    error = np.sqrt(variance)[at] if known.size else np.full(height.size, np.nan)
    out = segments.copy()
    out["koo_lead"] = ("segment", lead)
    for name, values, text in (
        ("koo_h_ref", h_ref, "local sea surface, method of Koo et al. (2023)"),
        ("koo_h_ref_uncertainty", error, "standard error of the section's leads"),
        ("koo_freeboard", np.maximum(height - h_ref, 0.0), "total freeboard, none below zero"),
    ):
        out[name] = ("segment", values, {"units": "m", "long_name": text})
    return out


def _filled(number: NDArray[np.int64], value: F8) -> F8:
    """Fill sections without a lead: linearly by section number, constant beyond the ends."""
    good = np.isfinite(value)
    return np.interp(number, number[good], value[good]) if good.any() else value


def _smoothed(number: NDArray[np.int64], value: F8, width: int) -> F8:
    """Average each section with its neighbours by number; at ends and gaps with those there are."""
    half = width // 2
    first = np.searchsorted(number, number - half)
    last = np.searchsorted(number, number + half, side="right")
    return np.array([value[a:b].mean() for a, b in zip(first, last, strict=True)])

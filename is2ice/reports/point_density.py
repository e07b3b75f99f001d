"""Points per km: ours at 2 m and a product's segments, and the photons that decide both numbers.

A product's segment takes 150 photons or so, and the next begins when about half of these are used again, so its
points overlap: every photon counts twice in a strong beam and eight times in a weak one. Ours use every photon once,
in cells of fixed length. So over bright snow the product has many short segments and the ratio is small; under
haze and over dark ice it has few long ones and the ratio is large. With `p` photons in a cell the ratio of
heights is near 75 / p, and near 150 / p against segments that do not overlap.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from is2ice import schema

__all__ = ["layout", "points"]

F8 = NDArray[np.float64]


def _edges(segments: xr.Dataset) -> tuple[F8, F8]:
    x, half = (segments[n].values.astype(float) for n in ("x_atc", "length"))
    return x - half / 2, x + half / 2


def layout(segments: xr.Dataset) -> dict[str, Any]:
    """How the segments of a product lie along the track.

    Parameters
    ----------
    segments : xarray.Dataset
        Segments of :mod:`is2ice.io.icesat2.atl07_atl10`, with x_atc (centre) and length, m; photon_rate if present.

    Returns
    -------
    dict
        ``n``; ``median_length`` and ``median_spacing`` (m) of neighbours that touch; ``per_km`` of unbroken
        stretches; ``independent_per_km``, of segments that do not overlap; ``photons_per_pulse`` (median).
        None where there is nothing to tell from.
    """
    n = segments.sizes.get("segment", 0)
    names = ("median_length", "median_spacing", "per_km", "independent_per_km", "photons_per_pulse")
    out: dict[str, Any] = {"n": n, **dict.fromkeys(names)}
    if not n or "length" not in segments:
        return out
    low, high = _edges(segments)
    length = float(np.median(high - low))
    step = np.diff((low + high) / 2)
    touch = low[1:] <= high[:-1]
    out["median_length"] = round(length, 2)
    if touch.any():
        out["median_spacing"] = round(float(np.median(step[touch])), 2)
        out["per_km"] = round(1e3 * int(touch.sum()) / float(step[touch].sum()), 2)
        out["independent_per_km"] = round(1e3 / length, 2)
    if "photon_rate" in segments:
        rate = segments["photon_rate"].values.astype(float)
        if np.isfinite(rate).any():
            out["photons_per_pulse"] = round(float(np.nanmedian(rate)), 3)
    return out


def points(track: xr.Dataset, joined: xr.Dataset) -> dict[str, Any]:
    """Points per km of a common stretch.

    Parameters
    ----------
    track : xarray.Dataset
        Ours, dims (x_atc,).
    joined : xarray.Dataset
        The product's segments in the stretch.

    Returns
    -------
    dict
        ``ours_`` and ``theirs_`` ``freeboards_per_km`` and ``heights_per_km`` (values given, over the whole
        stretch), ``theirs_not_overlapping_per_km``, and the ratios of each; ``ratio_where_both``, our freeboards
        to theirs within the segments to which they give one; ``cells_filled`` (share of cells with a height) and
        ``photons_per_cell`` (mean of those); ``most_heights_ratio``, what the ratio of heights would be were every
        cell filled; ``theirs``, their :func:`layout`. None where there is nothing to divide by.
    """
    km = float(np.ptp(track["x_atc"].values)) / 1e3 or np.nan
    step = schema.segment_length(track)
    theirs = layout(joined)
    n = joined.sizes["segment"]
    low, high = _edges(joined)
    before = np.maximum.accumulate(np.concatenate([[-np.inf], high[:-1]])) if n else high
    covered = float(np.maximum(0.0, high - np.maximum(low, before)).sum())
    have = joined["freeboard"].notnull().values if "freeboard" in joined else np.zeros(n, bool)
    given = np.isfinite(track["freeboard"].values)
    filled = np.isfinite(track["height"].values)
    photons = track["n_photons"].values[filled]
    out = {
        "ours_freeboards_per_km": given.sum() / km,
        "theirs_freeboards_per_km": have.sum() / km,
        "ours_heights_per_km": filled.sum() / km,
        "theirs_heights_per_km": int(joined["height"].notnull().sum()) / km,
        "theirs_not_overlapping_per_km": covered / theirs["median_length"] / km if n else 0.0,
        "their_median_length": theirs["median_length"] if n else np.nan,
        "cells_filled": filled.mean() if filled.size else np.nan,
        "photons_per_cell": photons.mean() if photons.size else np.nan,
    }
    out = {k: round(float(v), 3) if np.isfinite(v) else None for k, v in out.items()}

    def ratio(mine: float | None, other: float | None) -> float | None:
        return round(mine / other, 2) if other and mine is not None else None

    for name in ("freeboards", "heights"):
        out[f"ratio_{name}"] = ratio(out[f"ours_{name}_per_km"], out[f"theirs_{name}_per_km"])
    out["ratio_not_overlapping"] = ratio(out["ours_heights_per_km"], out["theirs_not_overlapping_per_km"])
    centre = track["x_atc"].values[given] + step / 2
    out["ratio_where_both"] = ratio(float(_within(centre, low[have], high[have]).sum()), float(have.sum()))
    out["most_heights_ratio"] = ratio(1e3 / step, out["theirs_heights_per_km"])
    return {**out, "theirs": theirs}


def _within(x: F8, low: F8, high: F8) -> NDArray[np.bool_]:
    """Which of x lie in any of the intervals (both in rising order)."""
    if not low.size:
        return np.zeros(x.size, bool)
    reach = np.maximum.accumulate(high)
    k = np.searchsorted(low, x, side="right") - 1
    return (k >= 0) & (x <= reach[np.maximum(k, 0)])

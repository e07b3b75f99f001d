"""Melt ponds: water on ice that must not pass for leads.

A pond is bright or dark, flat, and lies on a floe; light cannot tell it from a lead, only height can. In the melt
season of the Arctic (June to mid September; on Antarctic sea ice ponds are rare) a run of water therefore stays water
only if it is long enough for its height to be known and lies at the low level of a stretch long enough to hold a lead.
Any other is ice that may bear a pond. Where a track has no such stretch the two cannot be told apart at all.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from is2ice import schema
from is2ice.science.along_track import running_sum, spots
from is2ice.science.feature_columns import FeatureColumns
from is2ice.science.melt_season import in_season

__all__ = ["NOTE", "ponds"]

#: Shortest run of open water, height above the low level that it may have, and length of track that it needs, m.
SHORTEST, HIGHEST, STRETCH = 40.0, 0.08, 5000.0
#: Quantile of heights over 22 m, within 10 km, that is the low level.
LOWEST = 0.002
NOTE = "melt season: classes are not to be trusted"


def ponds(segments: xr.Dataset, code: NDArray[np.int8]) -> NDArray[np.bool_]:
    """Find cells called open water that may be ponds.

    Parameters
    ----------
    segments : xarray.Dataset
        Dims ``(beam, x_atc)`` or ``(x_atc,)``.
    code : numpy.ndarray
        Class of each cell, of the segments' shape.

    Returns
    -------
    numpy.ndarray of bool
        None outside of the melt season.
    """
    out = np.zeros(code.shape, bool)
    if not (code == schema.OPEN_WATER).any() or not in_season(segments):
        return out
    cube = "beam" in segments["n_photons"].dims
    tracks = [segments.isel(beam=b) for b in range(segments.sizes["beam"])] if cube else [segments]
    for b, (track, spot) in enumerate(zip(tracks, spots(segments), strict=True)):
        where = b if cube else ...
        out[where] = _on_track(FeatureColumns(track, spot), code[where])
    return out


def _on_track(t: FeatureColumns, code: NDArray[np.int8]) -> NDArray[np.bool_]:
    water = code == schema.OPEN_WATER
    number = np.cumsum(np.diff(water.astype("i1"), prepend=0) != 0)
    h = t.column("height")
    weight = np.where(np.isfinite(h), t.photons, 0.0)
    # A lone lead is less of the track than the low level that other features use.
    enough = (running_sum(t.photons, t.cells(22.0)) >= 10) & ~t.gap
    lowest = t.local(np.where(enough, t.smooth(22.0), np.nan), LOWEST)
    above = np.nan_to_num(h) - np.nan_to_num(lowest)
    with np.errstate(invalid="ignore", divide="ignore"):
        height = np.bincount(number, weight * above) / np.bincount(number, weight)
    length = t.length * np.bincount(number)
    met = running_sum((t.photons > 0).astype("f8"), t.cells(2.0 * STRETCH)) * t.length
    lead = (length[number] >= SHORTEST) & (height[number] <= HIGHEST) & (met >= STRETCH)
    return water & ~lead

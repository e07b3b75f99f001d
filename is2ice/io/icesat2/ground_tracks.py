"""Ground tracks of granules and stores."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import xarray as xr

from is2ice import schema
from is2ice.science.footprints import SPACING, GroundTrack, utc

__all__ = ["ground_tracks"]


def ground_tracks(source: Any, beams: str | Iterable[str] | None = None) -> list[GroundTrack]:
    """Ground tracks of a granule, of a segment cube or track, or of several of them.

    Parameters
    ----------
    source : path, URL, earthaccess granule, Granule, segment Dataset, GroundTrack, or a list of these
    beams : {"strong", "weak", "all"}, name or names, optional
        Beams of the granule; the strong ones by default.

    Raises
    ------
    GranuleError
        Not such a source.
    ValueError
        A Dataset without positions and times of segments.
    """
    if isinstance(source, GroundTrack):
        return [source]
    if isinstance(source, xr.Dataset):
        return list(_of_segments(source))
    if isinstance(source, list | tuple):
        return [track for one in source for track in ground_tracks(one, beams)]
    if isinstance(source, str | os.PathLike):
        from is2ice.io.stores import store as stores

        if stores.is_store(source):
            return list(_of_segments(stores.open_track(source, None, beams)))
    return list(_of_granule(source, beams))


def _of_granule(source: Any, beams: str | Iterable[str] | None) -> Iterator[GroundTrack]:
    from is2ice.io.icesat2.atl03 import Granule, open_granule
    from is2ice.io.icesat2.lazy_cube import usable_plans

    granule = open_granule(source)
    try:
        for plan in usable_plans(granule, beams)[0]:
            beam = plan.beam
            table = granule.table(beam)
            some = (table.count > 0) & np.isfinite(table.latitude) & np.isfinite(table.time)
            strength = granule.strength(beam) if granule.spot(beam) is not None else "unknown"
            yield GroundTrack(
                granule.id,
                beam,
                strength,
                utc(table.time[some]),
                table.longitude[some],
                table.latitude[some],
                table.dist_x[some],
            )
    finally:
        if not isinstance(source, Granule):
            granule.close()


def _of_segments(segments: xr.Dataset) -> Iterator[GroundTrack]:
    segments = schema.segments_of(segments)
    needed = ("delta_time", "latitude", "longitude", "x_atc")
    missing = [name for name in needed if name not in segments.variables]
    if missing:
        raise ValueError(f"segments: no {', '.join(missing)}; expected a segment cube or track with {needed}")
    granule = str(segments.attrs.get("granule", "segments"))
    step = max(1, round(SPACING / schema.segment_length(segments)))
    parts = (
        [segments.isel(beam=k) for k in range(segments.sizes["beam"])]
        if "beam" in segments.dims
        else [segments]
    )
    for part in parts:
        beam = str(part["beam"].item()) if "beam" in part.coords else str(part.attrs.get("beam", "track"))
        spot = int(part["spot"].item()) if "spot" in part.coords else part.attrs.get("spot")
        strength = "unknown" if spot is None else ("strong" if int(spot) % 2 else "weak")
        time = np.asarray(part["delta_time"].values, float)
        latitude, longitude = part["latitude"].values, part["longitude"].values
        filled = np.flatnonzero(np.isfinite(time) & np.isfinite(latitude) & np.isfinite(longitude))
        # One segment in each stretch of the spacing, whichever is filled.
        cell = part["x_atc"].values[filled] // (step * schema.segment_length(segments))
        few = filled[np.unique(cell, return_index=True)[1]]
        if few.size:
            yield GroundTrack(
                granule,
                beam,
                strength,
                utc(time[few]),
                longitude[few].astype(float),
                latitude[few].astype(float),
                part["x_atc"].values[few].astype(float),
            )

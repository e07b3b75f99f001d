"""Segments of stored tracks, from which classes, sea surface and freeboard are computed again."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Any

import xarray as xr

from is2ice import schema
from is2ice.io.remote.location import Location
from is2ice.io.stores import store as stores
from is2ice.io.stores.stored_cube import pick_beams

from .opening import open_track
from .options import Options

__all__ = ["as_stored", "segments", "select"]

#: Attributes of derived variables, or of the stored track as such.
_DERIVED = (
    "classifier",
    "classifier_checksum",
    "classifier_features",
    "track_summary",
    "inputs",
    "processing_parameters",
    "history",
    "date_created",
    "id",
    "title",
)


def select(
    store: str | os.PathLike[str], beams: str | Iterable[str] | None
) -> Iterator[tuple[Location, str, str, dict[str, Any], str]]:
    """Yield place, granule, beam, origin and release of the tracks that a selection of beams names; all by default."""
    listed = stores.open_store(store)
    root = listed.location.rstrip("/")
    for granule in listed.granules:
        strength = {b: str(listed.tracks[granule, b].get("beam_strength", "")) for b in listed.beams(granule)}
        for beam in pick_beams(strength, beams, f"{root}/{granule}"):
            attrs = listed.tracks[granule, beam]
            origin = {"store": root, "inputs": attrs.get("inputs")}
            release = str(attrs.get("release", "unknown"))
            yield listed.root / f"{granule}/{beam}", granule, beam, origin, release


def segments(track: str | os.PathLike[str], options: Options, beam: str | None = None) -> xr.Dataset:
    """Read the segments of a stored track, with its labels if it has some, into memory.

    Parameters
    ----------
    track : path or URL
        A track, or a granule or store that holds one of `beam`.
    options : Options
    beam : str, optional

    Raises
    ------
    StoreError
        Several granules are stored, or no such beam.
    ValueError
        They were made with another length, confidence, quality or corrections than asked for.
    """
    ds = open_track(
        track,
        beam,
        bbox=options.bbox,
        time=options.time,
        x_atc=options.x_atc,
        length=options.length,
        confidence=options.confidence,
        quality=options.quality,
        corrections=options.corrections,
        reference=options.reference,
        first_photon=options.first_photon,
    )
    if "beam" in ds.dims:
        about = {name: ds[name].values[0].item() for name in ("beam", "spot") if name in ds.coords}
        ds = ds.isel(beam=0, drop=True).assign_attrs(about)
    return _plain(ds)


def as_stored(track: str | os.PathLike[str]) -> xr.Dataset:
    """Read the segments and labels of a stored track, made with any options, into memory."""
    return _plain(open_track(track))


def _plain(ds: xr.Dataset) -> xr.Dataset:
    """Return segments and labels in memory, without derived variables."""
    ds = schema.segments_of(ds)
    kept = [name for name in ds.data_vars if name in schema.SEGMENTS or name in schema.LABELS]
    out = ds[kept].compute().reset_coords(drop=True)
    return out.assign_attrs({k: v for k, v in ds.attrs.items() if k not in _DERIVED})

"""One sea surface for the classified beams of a granule, each of its own length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr

from is2ice import schema
from is2ice.science import freeboard, seasurface

from .options import Options
from .track import Item

__all__ = ["Pass", "freeboards", "pass_surface", "together"]

#: Columns that the sea surface reads, and their value where a beam has no cell.
NEEDED: dict[str, Any] = {
    "height": np.nan,
    "height_uncertainty": np.nan,
    "h_std": np.nan,
    "n_photons": 0,
    "n_pulses": 0,
    "background_rate": np.nan,
    "segment_quality": 0,
    "surface_class": schema.UNLABELLED,
    "class_probability": np.nan,
}
#: Columns that the sea surface adds.
ADDED = ("lead_index", "h_ref", "h_ref_uncertainty", "h_ref_flag", "lead_probability")


@dataclass(frozen=True)
class Pass:
    """The unit of work where the beams of a granule are joined.

    Attributes
    ----------
    tracks : tuple of Item
        The beams, in the order of their names.
    """

    tracks: tuple[Item, ...]

    def __str__(self) -> str:
        return f"{self.tracks[0].granule} {' '.join(item.beam for item in self.tracks)}"


def together(items: Sequence[Item]) -> list[Item]:
    """Give every track the names of the beams that it is computed with: with others it is another track."""
    beams: dict[str, list[str]] = {}
    for item in items:
        beams.setdefault(item.granule, []).append(item.beam)
    out = []
    for item in items:
        origin = {k: v for k, v in item.origin.items() if k != "joined"}  # perhaps of more beams
        if len(beams[item.granule]) > 1:
            origin["joined"] = sorted(beams[item.granule])
        out.append(replace(item, origin=origin))
    return out


def freeboards(tracks: list[xr.Dataset], options: Options) -> list[xr.Dataset]:
    """Sea surface of all beams of a granule together, and the freeboard of each."""
    how = {k: v for k, v in options.seasurface.items() if k != "beams"}
    surfaces = pass_surface(tracks, options.method, **how)
    return [freeboard.compute(surface, **options.freeboard) for surface in surfaces]


def pass_surface(tracks: Sequence[xr.Dataset], method: str = "evidence", **options: Any) -> list[xr.Dataset]:
    """Local sea surface of all beams of a pass, which see one sea.

    Parameters
    ----------
    tracks : sequence of xarray.Dataset
        Classified tracks of one granule, dims ``(x_atc,)``, with ``attrs["beam"]`` and ``attrs["spot"]``; they may
        begin and end anywhere.
    method, **options
        As of :func:`is2ice.science.seasurface.estimate`.

    Returns
    -------
    list of xarray.Dataset
        The tracks, each with its sea surface. A single track gets the surface that it has alone.
    """
    if len(tracks) < 2:
        return [seasurface.estimate(track, method, **options) for track in tracks]
    names = [name for name in NEEDED if all(name in track for track in tracks)]
    beams = [
        track[names]
        .expand_dims(beam=[str(track.attrs["beam"])])
        .assign_coords(spot=("beam", [int(track.attrs["spot"])]))
        for track in tracks
    ]
    fill = {name: NEEDED[name] for name in names}
    cube = xr.concat(beams, "beam", join="outer", fill_value=fill, combine_attrs="drop_conflicts")
    surface = seasurface.estimate(cube, method, **options)
    notes = surface.attrs.get("notes", ())
    names = list(surface["beam"].values)
    return [_with(track, surface.isel(beam=k), notes, names) for k, track in enumerate(tracks)]


def _with(track: xr.Dataset, surface: xr.Dataset, notes: Sequence[str], beams: Sequence[str]) -> xr.Dataset:
    """Add its part of the surface, and the notes of its beam, to a track."""
    mine = [note for note in notes if note.startswith(f"{track.attrs['beam']}:")]
    part = surface.sel(x_atc=track["x_atc"])
    out = track.assign({name: (("x_atc",), part[name].values) for name in ADDED if name in part})
    out = schema.annotate(out, "seasurface")
    out["h_ref"].attrs |= {k: v for k, v in surface["h_ref"].attrs.items() if k in ("source", "comment")}
    out["h_ref"].attrs["source"] += f", from beams {', '.join(map(str, beams))}"
    if mine:
        out.attrs["notes"] = list(dict.fromkeys([*track.attrs.get("notes", ()), *mine]))
    return out

"""Receipts of a run: counts of a track, one receipt per track, and a report of all."""

from __future__ import annotations

import html
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from is2ice import schema
from is2ice.errors import SchemaError
from is2ice.io.stores import store as stores
from is2ice.science import freeboard
from is2ice.science.leads import lead_extents

if TYPE_CHECKING:
    import pandas as pd

#: Freeboard that sea ice seldom exceeds, m.
SELDOM = 15.0

__all__ = ["Run", "absences", "summary", "written"]


def summary(track: xr.Dataset) -> dict[str, Any]:
    """Count and average one processed track, in the form that JSON can hold.

    Parameters
    ----------
    track : xarray.Dataset
        Dims ``(x_atc,)``; variables that no stage has added are left out.

    Returns
    -------
    dict
        ``n_cells``, ``n_filled``; ``n_thick_ice``, ``n_thin_ice``, ``n_open_water`` and ``n_unlabelled`` over all cells
        (a cell without photons may be dark water); ``n_leads``, ``n_h_ref`` (over filled cells), ``n_freeboard``,
        ``freeboard_mean`` and ``freeboard_median`` (m; None without any).
    """
    filled = np.asarray(track["n_photons"]) > 0
    out: dict[str, Any] = {
        "n_cells": filled.size,
        "n_filled": int(filled.sum()),
        "length_km": round(filled.size * schema.segment_length(track) / 1e3, 3),
    }
    if "surface_class" in track:
        codes = np.asarray(track["surface_class"])
        for code, name in [*enumerate(schema.CLASSES), (schema.UNLABELLED, "unlabelled")]:
            out[f"n_{name}"] = int((codes == code).sum())
    if "lead_index" in track:
        out["n_leads"] = len(lead_extents(track))
    if "h_ref" in track:
        out["n_h_ref"] = int(np.isfinite(np.asarray(track["h_ref"])[filled]).sum())
    if "freeboard" in track:
        values = np.asarray(track["freeboard"], "f8")
        values = values[np.isfinite(values)]
        out["n_freeboard"] = int(values.size)
        out["freeboard_mean"] = float(values.mean()) if values.size else None
        out["freeboard_median"] = float(np.median(values)) if values.size else None
    return out


def absences(track: xr.Dataset) -> list[str]:
    """List what a track lacks, one line each, for its reader."""
    counts, notes = summary(track), []
    filled = np.asarray(track["n_photons"]) > 0
    n = max(counts["n_filled"], 1)
    if "background_rate" in track and not np.isfinite(np.asarray(track["background_rate"])[filled]).any():
        notes.append("no background rate: the classes use photon rate and width alone")
    if "height" in track and not np.isfinite(np.asarray(track["height"])[filled]).any():
        notes.append("no corrected height: a correction is missing everywhere")
    if counts.get("n_unlabelled", 0) == counts["n_cells"]:
        notes.append("no segment could be classified")
    if counts.get("n_leads") == 0 and not counts.get("n_h_ref"):
        notes.append("no lead: no local sea surface and no freeboard")
    elif counts.get("n_leads") == 0:
        notes.append("no lead of its own: other beams or nilas carry the sea surface (h_ref_flag)")
    elif 0 < counts.get("n_h_ref", n) < 0.99 * n:
        share = 100.0 * (1.0 - counts["n_h_ref"] / n)
        notes.append(f"{share:.0f} % of the segments lie beyond the reach of any lead: no freeboard there")
    if "height" in track and np.isfinite(heights := np.asarray(track["height"])[filled]).any():
        middle = float(np.nanmedian(heights))
        if abs(middle) > SELDOM:
            notes.append(f"half of the heights lie beyond {middle:.1f} m: is it sea ice, or are they wrong?")
    notes += _odd_freeboards(track)
    try:
        schema.conform(track, "segments")
    except SchemaError as error:
        notes += [f"check: {fault}" for fault in error.faults]
    return notes


def _odd_freeboards(track: xr.Dataset) -> list[str]:
    """Note freeboards that cannot be, or that ice seldom has."""
    if not {"freeboard", "h_ref", "height"} <= set(track.variables):
        return []
    values = np.asarray(track["height"], "f8") - np.asarray(track["h_ref"], "f8")
    known = max(int(np.isfinite(values).sum()), 1)
    low, high = freeboard.POSSIBLE
    out = []
    if n := int((np.isfinite(values) & ((values < low) | (values > high))).sum()):
        out.append(
            f"freeboards of {n:,} segments cannot be ({low:g} to {high:g} m are possible): NaN and flagged"
        )
    if (n := int((values > SELDOM).sum())) > 0.01 * known:
        out.append(
            f"freeboards of {n:,} segments exceed {SELDOM:g} m: icebergs, clouds, or heights that are wrong"
        )
    return out


def written(
    counts: Mapping[str, Any], stored: Mapping[str, Any], track: xr.Dataset, seconds: Mapping[str, float]
) -> dict[str, Any]:
    """Return the fields of a receipt that a written track adds.

    Parameters
    ----------
    counts : mapping
        :func:`summary` of the track.
    stored : mapping
        Result of :func:`is2ice.io.stores.store.write_track`.
    track : xarray.Dataset
        Source of the checksum and of the traffic of reading.
    seconds : mapping
        Times of ``load``, ``compute`` and ``write``.
    """
    return {
        **counts,
        "outcome": "done",
        "stored": stored["outcome"],
        "bytes": stored["bytes"],
        "inputs": stored["inputs"],
        "checksum": stores.checksum(track),
        "seconds": {step: round(s, 3) for step, s in seconds.items()},
        **{name: track.attrs[name] for name in ("traffic",) if name in track.attrs},
    }


@dataclass(frozen=True)
class Run:
    """Outcome of a run.

    Attributes
    ----------
    store : str
    receipts : tuple of dict
        One per track, in order of completion: ``granule``, ``beam``, ``source``, ``outcome`` ("done",
        "skipped" or "failed"), ``stored`` ("written" or "replaced"), ``error``, ``notes``, the counts of
        :func:`summary`, ``seconds`` (load, compute, write), ``engine``, ``host``. A
        granule that cannot be opened has one with beam None.
    engine : str
    seconds : float
        Wall-clock time of the whole run.
    log : str
        The same as JSON lines, in the store.
    """

    store: str
    receipts: tuple[dict[str, Any], ...] = field(repr=False)
    engine: str
    seconds: float
    log: str = ""

    @property
    def ok(self) -> bool:
        """True when no track failed."""
        return not self.failed

    @property
    def done(self) -> tuple[dict[str, Any], ...]:
        """Receipts of tracks computed and written."""
        return self._with("done")

    @property
    def skipped(self) -> tuple[dict[str, Any], ...]:
        """Receipts of tracks that were in the store already."""
        return self._with("skipped")

    @property
    def failed(self) -> tuple[dict[str, Any], ...]:
        """Receipts of tracks and granules that failed."""
        return self._with("failed")

    def _with(self, outcome: str) -> tuple[dict[str, Any], ...]:
        return tuple(r for r in self.receipts if r["outcome"] == outcome)

    def __repr__(self) -> str:
        return f"<Run {self.store}: {len(self.done)} done, {len(self.skipped)} skipped, {len(self.failed)} failed>"

    def _repr_html_(self) -> str:
        table = self.table()
        shown = "granule beam outcome n_filled n_leads freeboard_mean freeboard_median traffic error".split()
        table = table[[c for c in shown if c in table and table[c].notna().any()]]
        body = table.to_html(index=False, na_rep="", max_rows=20, float_format="{:.3f}".format)
        return f"<b>{html.escape(repr(self)[1:-1])} in {self.seconds:.1f} s</b>{body}"

    def table(self) -> pd.DataFrame:
        """Return a table with one row per receipt."""
        import pandas as pd

        return pd.json_normalize(list(self.receipts))

    def to_dict(self) -> dict[str, Any]:
        """Return everything in the form of JSON."""
        return {
            "store": self.store,
            "ok": self.ok,
            "engine": self.engine,
            "seconds": round(self.seconds, 3),
            "done": len(self.done),
            "skipped": len(self.skipped),
            "failed": len(self.failed),
            "log": self.log,
            "receipts": list(self.receipts),
        }

    def report(self) -> str:
        """Report the run in plain text: a line per track, what is absent, and failures with their reasons."""
        lines = []
        for r in sorted(self.receipts, key=lambda r: (r["granule"] or "", r["beam"] or "")):
            name = f"{r['granule'] or r['source']} {r['beam'] or ''}".rstrip()
            lines.append(f"{name}: {_line(r, name)}")
        # What all tracks of a granule lack is reported once.
        for granule, notes in _shared_notes(self.receipts).items():
            lines += [f"  note {granule}: {note}" for note in notes]
        lines.append(
            f"{len(self.done)} tracks done, {len(self.skipped)} skipped, {len(self.failed)} failed in "
            f"{self.seconds:.1f} s ({self.engine}); store {self.store}"
        )
        return "\n".join(lines)


def _line(r: Mapping[str, Any], name: str) -> str:
    if r["outcome"] == "failed":
        return f"FAILED: {str(r['error']).removeprefix(f'{name}: ')}"
    parts = [] if r["outcome"] == "done" else ["already there"]
    if "n_filled" in r:
        parts.append(f"{r['n_filled']:,} of {r['n_cells']:,} segments filled")
    if "n_thick_ice" in r:
        parts.append(
            f"{r['n_thick_ice']:,} thick ice, {r['n_thin_ice']:,} thin ice, {r['n_open_water']:,} open water"
        )
    if "n_leads" in r:
        parts.append(f"{r['n_leads']:,} leads")
    if r.get("freeboard_mean") is not None:
        parts.append(
            f"freeboard mean {r['freeboard_mean']:.3f} m, median {r['freeboard_median']:.3f} m "
            f"({r['n_freeboard']:,} segments)"
        )
    elif "n_freeboard" in r:
        parts.append("no freeboard")
    return "; ".join(parts)


def _shared_notes(receipts: tuple[dict[str, Any], ...]) -> dict[str, list[str]]:
    """Collect notes by granule, or by track if not all tracks of the granule have them."""
    there = {(r["granule"], r["beam"]) for r in receipts if r["outcome"] != "failed"}
    tracks = Counter(granule for granule, _ in there)
    noted = {(r["granule"], r["beam"], note) for r in receipts for note in r.get("notes", ())}
    count = Counter((granule, note) for granule, _, note in noted)
    out: dict[str, list[str]] = {}
    for r in receipts:
        for note in dict.fromkeys(r.get("notes", ())):
            everywhere = count[r["granule"], note] == tracks[r["granule"]] > 1
            where = r["granule"] if everywhere else f"{r['granule']} {r['beam']}"
            if note not in out.setdefault(where, []):
                out[where].append(note)
    return out


def json_line(document: Mapping[str, Any]) -> str:
    """Write a document as one line of JSON."""
    return json.dumps(document, default=str)

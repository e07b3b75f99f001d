"""Stored tracks classified anew: another model, and the sea surface and freeboard that follow, without photons."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from functools import partial
from typing import Any

import xarray as xr

from is2ice import schema
from is2ice.errors import StoreError
from is2ice.io.stores import store as stores

from .options import Options
from .receipts import Run
from .run import Chain, Item, run, survey
from .stored_segments import as_stored

__all__ = ["reclassify"]


def reclassify(
    store: str | os.PathLike[str],
    out: str | os.PathLike[str],
    model: str | os.PathLike[str],
    *,
    granules: Iterable[str] | None = None,
    method: str | None = None,
    engine: str = "serial",
    workers: int | None = None,
    engine_options: Mapping[str, Any] | None = None,
    overwrite: stores.Overwrite = "different",
    progress: bool | None = None,
) -> Run:
    """Classify the tracks of a store and write them, with sea surface and freeboard, to another.

    Parameters
    ----------
    store, out : path
        Stores to read (path or URL) and to write (a local folder; made if absent).
    model : str or path
        Folder made by ``is2ice train``, or "radiometric".
    granules : iterable of str, optional
        Of the store; all by default.
    method : str, optional
        Of the sea surface; as stored by default.
    engine, workers, engine_options, overwrite, progress
        As for :func:`is2ice.run`. Each worker loads the model once.

    Returns
    -------
    Run

    Raises
    ------
    StoreError
        Not a store, a granule that is not in it, or tracks made with different options.
    ValueError
        As :func:`is2ice.classifiers.registry.by_name`.
    """
    root = os.fspath(store)
    if "://" not in root and os.path.realpath(root) == os.path.realpath(os.fspath(out)):
        raise StoreError(f"{root}: expected another store to write to; the one read from stays as it is")
    listed = stores.open_store(root)
    chosen = listed.granules if granules is None else tuple(granules)
    unknown = [g for g in chosen if g not in listed.granules]
    if unknown or not chosen:
        held = ", ".join(listed.granules[:5]) or "nothing"
        raise StoreError(f"{root}: {', '.join(unknown) or 'no granule'} not there; it holds {held}")
    options = _options(root, {k: a for k, a in listed.tracks.items() if k[0] in chosen})
    options = replace(
        options, classifier=os.fspath(model), classifier_checksum="", method=method or options.method
    )
    return run(
        [root], out, beams="all", engine=engine, workers=workers,
        engine_options=engine_options, options=options, overwrite=overwrite, progress=progress,
        chain=Chain(survey=partial(_survey, chosen), load=_load), _kind="classes",
    )  # fmt: skip


def _options(root: str, tracks: Mapping[tuple[str, str], Mapping[str, Any]]) -> Options:
    """What the segments were made with: the same in all tracks, since it is told of all."""
    later = ("classifier", "classifier_checksum", "method", "until", "seasurface", "freeboard")
    known = {f.name for f in fields(Options)}
    found: dict[str, list[str]] = {}
    for (granule, beam), attrs in tracks.items():
        told = json.loads(attrs.get("processing_parameters", "{}"))
        told.setdefault("length", float(attrs.get("segment_length", schema.SEGMENT_LENGTH)))
        kept = {k: v for k, v in told.items() if k in known and k not in later}
        found.setdefault(json.dumps(kept, sort_keys=True), []).append(f"{granule} {beam}")
    if len(found) > 1:
        text = "; ".join(f"{names[0]} and {len(names) - 1} more: {told}" for told, names in found.items())
        raise StoreError(f"{root}: tracks made with different options; name granules of one kind ({text})")
    return Options.from_parameters(json.loads(next(iter(found))))


def _survey(granules: tuple[str, ...], source: str, beams: Any) -> list[Item]:
    return [item for item in survey(source, beams) if item.granule in granules]


def _load(source: str, beam: str, options: Options, **how: Any) -> xr.Dataset:
    """Segments as stored: :func:`_options` has read from them what they were made with."""
    return as_stored(source)

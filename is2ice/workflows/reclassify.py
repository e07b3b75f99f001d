"""Classify stored tracks again: another classifier, and the sea surface and freeboard that follow, without photons."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from functools import partial
from typing import Any, Unpack

import xarray as xr

from is2ice import schema
from is2ice.errors import StoreError
from is2ice.io.remote.location import location
from is2ice.io.stores import store as stores

from .execution import RunKeywords, RunSettings
from .options import Options
from .pass_surface import freeboards
from .receipts import Run
from .run import Request, process
from .stored_segments import as_stored
from .track import Chain, Item, survey

__all__ = ["reclassify"]


def reclassify(
    source: str | os.PathLike[str],
    store: str | os.PathLike[str],
    classifier: str | os.PathLike[str],
    *,
    granules: Iterable[str] | None = None,
    method: str | None = None,
    settings: RunSettings | None = None,
    **keywords: Unpack[RunKeywords],
) -> Run:
    """Classify the tracks of a store and write them, with sea surface and freeboard, to another.

    Parameters
    ----------
    source : path or URL
        Store to read.
    store : path
        Store to write to: a folder or a bucket, made if absent.
    classifier : str or path
        As in :class:`~is2ice.workflows.options.Options`: "default", "default:temper", "default:keep", "radiometric",
        "paper_lstm", "paper_mlp" or a folder made by ``is2ice train``.
    granules : iterable of str, optional
        Granules of `source`; all by default.
    method : str, optional
        Method of the sea surface; as stored by default.
    settings : RunSettings, optional
    **keywords
        Settings as for :func:`is2ice.run`. Each worker loads the model once.

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
    settings = RunSettings.merged(settings, keywords)
    target = location(store, settings.storage_options)
    source = settings.addressed(source, target)
    listed = stores.open_store(source)
    root = listed.location
    if listed.root.same(target):
        raise StoreError(f"{root}: expected another store to write to; the source is left unchanged")
    chosen = listed.granules if granules is None else tuple(granules)
    unknown = [g for g in chosen if g not in listed.granules]
    if unknown or not chosen:
        held = ", ".join(listed.granules[:5]) or "nothing"
        raise StoreError(f"{root}: {', '.join(unknown) or 'no granule'} not there; it holds {held}")
    options = _options(root, {k: a for k, a in listed.tracks.items() if k[0] in chosen})
    return process(
        Request(
            (source,),
            target,
            beams="all",
            options=replace(
                options,
                classifier=os.fspath(classifier),
                classifier_checksum="",
                method=method or options.method,
            ),
            chain=Chain(survey=partial(_survey, chosen), load=_load, join=freeboards),
            settings=settings,
            kind="classes",
        )
    )


def _options(root: str, tracks: Mapping[tuple[str, str], Mapping[str, Any]]) -> Options:
    """Return the options of the segments, which must be the same in all tracks."""
    later = ("classifier", "classifier_checksum", "method", "until", "seasurface", "freeboard")
    known = {f.name for f in fields(Options)}
    found: dict[str, list[str]] = {}
    for (granule, beam), attrs in tracks.items():
        stored = stores.json_attribute(attrs, "processing_parameters")
        stored.setdefault("length", float(attrs.get("segment_length", schema.SEGMENT_LENGTH)))
        kept = {k: v for k, v in stored.items() if k in known and k not in later}
        found.setdefault(json.dumps(kept, sort_keys=True), []).append(f"{granule} {beam}")
    if len(found) > 1:
        kinds = "; ".join(f"{names[0]} and {len(names) - 1} more: {text}" for text, names in found.items())
        raise StoreError(f"{root}: tracks made with different options; name granules of one kind ({kinds})")
    return Options.from_parameters(json.loads(next(iter(found))))


def _survey(granules: tuple[str, ...], source: str, beams: Any) -> list[Item]:
    return [item for item in survey(source, beams) if item.granule in granules]


def _load(source: str, beam: str, options: Options, **how: Any) -> xr.Dataset:
    """Return segments as stored: :func:`_options` has read their options."""
    return as_stored(source)

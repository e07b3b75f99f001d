"""Where the rooms meet: photons to segments, classes, sea surface, freeboard and store.

``one_track`` composes the steps for one beam of one granule; ``run`` does so for many, on an engine, into a
store. A track needs nothing of any other, so tracks may be computed anywhere and in any order.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import xarray as xr

from is2ice import engines
from is2ice.classifiers.base import agree
from is2ice.classifiers.registry import usable
from is2ice.errors import GranuleError, Is2IceError, ModelError, RemoteError
from is2ice.io.catalogs.icesat2 import located
from is2ice.io.remote.source import Source
from is2ice.io.stores import store as stores
from is2ice.io.urls import public_url
from is2ice.science import epoch
from is2ice.version import __version__

from . import class_blocks, driver, segment_blocks
from .driver import Manifest, Place, base_receipt, drive, failure
from .opening import open_track
from .options import Options
from .progress import Bar
from .receipts import Run, absences, json_line, summary, written
from .run_record import Earlier, resumable

__all__ = ["Chain", "Item", "Options", "Run", "load", "one_track", "open_track", "resume", "run", "survey"]

log = logging.getLogger("is2ice")


@dataclass(frozen=True)
class Item:
    """The unit of work: one beam of one granule.

    Attributes
    ----------
    source : path, URL, file object or earthaccess granule
    granule, beam : str
    origin : mapping
        What tells one version of the source from another: size and time of change of a local file; of a URL
        only the URL itself counts, so what changed behind it is computed anew with ``overwrite="always"``.
    release : str
        Of ATL03, as a trained model must agree with it.
    """

    source: Any = field(repr=False)
    granule: str
    beam: str
    origin: Mapping[str, Any] = field(default_factory=dict)
    release: str = "unknown"

    def __str__(self) -> str:
        return f"{self.granule} {self.beam}".rstrip()


# -- the steps ----------------------------------------------------------------------------------------
def survey(source: Any, beams: str | Iterable[str] | None) -> list[Item]:
    """The tracks of a granule that a selection of beams names, under a name that a store can hold."""
    from is2ice.io.icesat2.atl03 import Granule

    if stores.is_store(source):
        return _stored_tracks(source, beams)
    source = located(source)
    where = Source.of(source)
    origin: dict[str, Any] = {}
    if where.path is not None:
        stat = os.stat(where.path)
        origin = {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns}
    elif where.url is not None:
        origin = {"url": public_url(where.url)}
    with Granule(where) as granule:
        names = granule.resolve_beams(beams)
        return [Item(source, stores.group_name(granule.id), b, origin, str(granule.release)) for b in names]


def _stored_tracks(store: str, beams: str | Iterable[str] | None) -> list[Item]:
    """The tracks of a store, or of a granule or beam in it."""
    from .stored_segments import select

    return [Item(*found) for found in select(store, beams)]


def load(source: Any, beam: str, options: Options, **how: Any) -> xr.Dataset:
    """Segments of one beam, in memory: from the photons of a granule, or of a stored track as they are.

    ``how`` is passed on to :meth:`is2ice.io.icesat2.atl03.Granule.track`; ``threads`` are its workers.
    """
    from is2ice.io.icesat2.atl03 import Granule, Subset, open_granule

    if stores.is_store(source):
        from .stored_segments import segments

        return segments(source, options)
    threads = how.pop("threads", 2)
    try:
        granule = open_granule(located(source))
    except Exception as error:
        engines.release(error)
        raise
    try:
        subset = Subset(options.bbox, options.time, options.x_atc)
        return granule.track(beam, subset, workers=threads, **segment_blocks.segmenting(options), **how)
    except Exception as error:
        engines.release(error)
        raise
    finally:
        if not isinstance(source, Granule):
            granule.close()


def classes(segments: xr.Dataset, options: Options) -> xr.Dataset:
    """Segments with surface class."""
    from is2ice.classifiers import classify

    return classify(segments, options.classifier)


def derive(
    segments: xr.Dataset,
    options: Options,
    classify: Callable[[xr.Dataset, Options], xr.Dataset] = classes,
) -> xr.Dataset:
    """Segments with surface class, local sea surface and freeboard."""
    from is2ice.science import freeboard, seasurface

    if options.until == "segments":
        return segments
    classified = classify(segments, options)
    if options.classifier_checksum != classified.attrs.get("classifier_checksum", ""):
        raise ModelError(
            f"classifier {options.classifier}: checksum {classified.attrs.get('classifier_checksum')}, expected "
            f"{options.classifier_checksum}; the model was replaced during the run. Run again"
        )
    if options.until == "classes":
        return classified
    surface = seasurface.estimate(classified, options.method, **options.seasurface)
    return freeboard.compute(surface, **options.freeboard)


@dataclass(frozen=True)
class Chain:
    """The steps of a track, each replaceable: by another reader, or by a stand-in in a test."""

    survey: Callable[[Any, Any], list[Item]] = survey
    load: Callable[..., xr.Dataset] = load
    derive: Callable[[xr.Dataset, Options], xr.Dataset] = derive


def one_track(source: Any, beam: str, options: Options | None = None) -> xr.Dataset:
    """One beam of a granule, from photons to freeboard, in memory.

    Parameters
    ----------
    source : path, URL, file object, earthaccess granule or Granule
    beam : str
    options : Options, optional

    Returns
    -------
    xarray.Dataset
        Dims ``(x_atc,)``, with the variables of the stages segments, classified, seasurface and
        freeboard; ``attrs["notes"]`` says what is absent.

    Raises
    ------
    GranuleError, NoSignalError
        As :meth:`is2ice.io.icesat2.atl03.Granule.track`.
    """
    options = options or Options()
    return _finish(derive(load(source, beam, options), options), options)


def _finish(track: xr.Dataset, options: Options) -> xr.Dataset:
    """Notes and history."""
    classifier = track.attrs.get("classifier", options.classifier)
    step = (
        f"{epoch.now()} is2ice {__version__}: ATL03 photons (confidence >= {options.confidence}) to "
        f"{options.length:g} m segments"
    )
    if options.until != "segments":
        step += f"; class {classifier}"
    if options.until == "freeboard":
        step += f"; sea surface {options.method}; freeboard"
    history = [line for line in (track.attrs.get("history", ""), step) if line]
    notes = dict.fromkeys([*track.attrs.get("notes", ()), *absences(track)])
    return track.assign_attrs(history="\n".join(history), notes=list(notes))


# -- many tracks --------------------------------------------------------------------------------------
def run(
    sources: Any,
    store: str | os.PathLike[str],
    *,
    beams: str | Iterable[str] | None = None,
    engine: str | engines.Cluster = "serial",
    workers: int | None = None,
    engine_options: Mapping[str, Any] | None = None,
    options: Options | None = None,
    overwrite: stores.Overwrite = "different",
    block_km: float | None = None,
    retries: int = 2,
    progress: bool | None = None,
    chain: Chain | None = None,
    _kind: str = "run",
    _earlier: driver.Earlier | None = None,
) -> Run:
    """Granules to a store: every selected beam from photons to freeboard.

    Parameters
    ----------
    sources : source or iterable of sources
        Paths, URLs or earthaccess granules; or stores, whose segments are then taken as they are and classified and
        levelled anew.
    store : str or Path
        Local folder; made if absent. Workers on other machines need it under the same path.
    beams : {"strong", "weak", "all"}, name or names, optional
        The strong beams by default; of a store, all that it holds.
    engine : {"serial", "processes", "dask", "gateway", "spark"} or Cluster
        Where to compute (:func:`is2ice.cluster`).
    workers : int, optional
        Of all engines but serial.
    engine_options : mapping, optional
        Further options of the engine, such as ``{"address": "tcp://..."}`` (:func:`is2ice.engines.map`).
    options : Options, optional
    overwrite : {"different", "always", "never"}
        What to do with a track already there: by default it is computed anew only if the granule, the
        options or the package changed.
    block_km : float, optional
        Also split tracks into blocks of about this length, km: photons of one long track are read and resampled,
        and a trained model is evaluated, by several workers. The result is the same. Meant for slow sources: from a
        local disk a track is computed in less time than its blocks are handed about.
    retries : int
        Further attempts, after 1 s, 2 s and so on, at what a network or disk refused and may grant.
    progress : bool, optional
        A bar on standard error; by default only on a terminal.
    chain : Chain, optional
        Other steps.

    Returns
    -------
    Run
        One receipt a track; a track that failed is reported there and stops no other.

    Raises
    ------
    StoreError
        When the store cannot be used at all.
    ValueError
        For an unknown engine or a wrong option of it.
    """
    options, steps = options or Options(), chain or Chain()
    if overwrite not in ("different", "always", "never"):
        raise ValueError(f"overwrite={overwrite!r}: expected 'different', 'always' or 'never'")
    if block_km is not None and block_km <= 0:
        raise ValueError(f"block_km={block_km}: expected a positive length")
    sources = [sources] if _is_one(sources) else list(sources)
    if not sources:
        raise ValueError("nothing to do: expected at least one granule or store")
    extra = dict(engine_options or {}) | ({} if workers is None else {"workers": workers})
    place = Place(engine, extra, retries)
    name = place.name  # checked, as the classifier is, before a store is made for nothing
    card = usable(options.classifier) if options.until != "segments" else {}
    agree(card, "this run", "unknown", options.length, options.classifier)
    root, chain_of_runs = stores.create(store), _earlier or Earlier.new()
    beams = beams if beams is None or isinstance(beams, str) else tuple(beams)
    look = place.attempted(lambda source: steps.survey(source, beams), may_pass)
    since, threads = _earlier.id if _earlier else None, 2 if name == "serial" else 1
    task = _Task(root.url, options, overwrite, steps, name, threads, since, chain_of_runs.id)

    def in_blocks(there: Place, run: str, told: Callable[[Any, bool], None]) -> _Task:
        tracks = [item for ok, found in map(look, sources) if ok for item in found if not task.keeps(item)[0]]
        folder, by = segment_blocks.parts_folder(root, run), (there, may_pass, block_km or 0.0, told)
        joined = replace(steps, load=segment_blocks.prepare(folder, tracks, options, steps.load, *by))
        if card and steps.derive is derive:
            made = class_blocks.prepare(folder, tracks, options, joined.load, *by)
            joined = replace(joined, derive=partial(derive, classify=made))
        return replace(task, chain=joined)

    done = drive(
        root,
        Manifest.of(_kind, sources, beams, options.parameters(), overwrite, block_km),
        place,
        task,
        partial(_items, sources, look, card, name),
        may_pass,
        granules=len(sources),
        progress=progress,
        earlier=chain_of_runs,
        prepare=None if block_km is None else in_blocks,
    )
    segment_blocks.clear(root, resumable(root))
    return done


def resume(store: str | os.PathLike[str], **changes: Any) -> Run:
    """Go on with the last run of a store: what it did is kept, what it did not do or failed at is done.

    Parameters
    ----------
    store : str or Path
    **changes
        Of ``engine``, ``workers``, ``engine_options``, ``block_km``, ``retries``, ``progress`` and ``chain`` of
        :func:`run`; what decides the results stays. ``sources``, if the run's cannot be opened from its manifest.

    Returns
    -------
    Run

    Raises
    ------
    StoreError
        No run to go on with, or its sources cannot be opened again.
    """
    manifest, changes = driver.resumed(store, "run", changes)
    return run(
        changes.pop("sources"),
        store,
        beams=manifest["beams"],
        options=Options.from_parameters(manifest["options"]),
        overwrite=manifest["overwrite"],
        block_km=changes.pop("block_km", manifest.get("block_km")),
        **changes,
    )


def _is_one(sources: Any) -> bool:
    """Whether this is one source (files and earthaccess granules can be iterated too)."""
    single = isinstance(sources, str | os.PathLike) or not isinstance(sources, Iterable)
    return single or hasattr(sources, "read") or hasattr(sources, "data_links")


def may_pass(error: BaseException) -> bool:
    """Whether a failure may pass by itself: one of the network or disk, not one that says what is wrong."""
    lasting = (Is2IceError, FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)
    if isinstance(error, RemoteError):
        return True
    if type(error).__module__.startswith("aiohttp"):  # of a read under way; most of these are no OSError
        status = getattr(error, "status", None)
        return status is None or status >= 500 or status == 429
    return isinstance(error, OSError) and not isinstance(error, lasting)


def _items(
    sources: list[Any],
    look: Callable[[Any], tuple[bool, Any]],
    card: Mapping[str, Any],
    engine: str,
    record: Callable[[Mapping[str, Any]], None],
    bar: Bar,
) -> Iterator[Item]:
    """Tracks of all sources, looked up only as fast as the engine draws them."""
    met = Met(engine)
    for source in sources:
        ok, found = look(source)
        if not ok:
            bar.found(1)
            record(failure(Item(source, "", ""), found, engine))
            continue
        bar.found(len(found))
        for item in found:
            if (again := met.before(item)) is not None:
                record(again)
                continue
            try:
                agree(card, str(item), item.release, float(card.get("segment_length", 0.0)))
            except ModelError as fault:  # told before the photons are read, not after
                record(failure(item, fault, engine))
            else:
                yield item


@dataclass
class Met:
    """The tracks that a run has come to, each with its source: a store holds a track once."""

    engine: str
    sources: dict[tuple[str, str], Any] = field(default_factory=dict)

    def before(self, item: Item) -> dict[str, Any] | None:
        """The receipt of an item whose track was met before, of the same file or of another; else None."""
        key = item.granule, item.beam
        if key not in self.sources:
            self.sources[key] = item.source
            return None
        first = self.sources[key]
        if _place(first) == _place(item.source):
            note = "named twice in this run; computed once"
            return {**base_receipt(item, self.engine), "outcome": "skipped", "notes": [note]}
        error = GranuleError(
            f"{item}: two files of this name, {_place(first)} and {_place(item.source)}; a store holds a "
            "track once: write the second to another store, or rename the file"
        )
        return failure(item, error, self.engine)


@dataclass(frozen=True)
class _Task:
    """What a worker does with an item: load, derive, write, and a receipt."""

    store: str
    options: Options
    overwrite: stores.Overwrite
    chain: Chain
    engine: str
    threads: int
    since: str | None = None
    run: str = ""

    def __call__(self, item: Item) -> dict[str, Any]:
        receipt = base_receipt(item, self.engine)
        parameters = self.options.told()
        keeps, have = self.keeps(item)
        if keeps and have is not None:
            receipt |= stores.track_summary(have)
            return {**receipt, "outcome": "skipped", "notes": list(have.get("notes", ()))}
        t0 = time.perf_counter()
        segments = self.chain.load(item.source, item.beam, self.options, threads=self.threads)
        segments = segments.assign_attrs(granule=item.granule)  # as a store can name it
        t1 = time.perf_counter()
        track = _finish(self.chain.derive(segments, self.options), self.options)
        counts = summary(track)
        track = track.assign_attrs(track_summary=json_line(counts))
        t2 = time.perf_counter()
        stored = stores.write_track(
            track,
            self.store,
            overwrite=self.overwrite,
            parameters=parameters,
            origin=item.origin,
            run=self.run,
        )
        seconds = {"load": t1 - t0, "compute": t2 - t1, "write": time.perf_counter() - t2}
        notes = [*track.attrs["notes"], *_replaced(have, self.options)]
        if stored["outcome"] == "repaired":
            notes.append("replaced a damaged track")
        return {**receipt, "notes": notes, **written(counts, stored, track, seconds)}

    def keeps(self, item: Item) -> tuple[bool, dict[str, Any] | None]:
        """Whether the stored track stays as it is, and its attributes (None: there is none)."""
        inputs = stores.fingerprint(item.granule, item.beam, self.options.told(), item.origin)
        return driver.kept(self.store, item, inputs, self.overwrite, self.since)


def _replaced(have: Mapping[str, Any] | None, options: Options) -> list[str]:
    """What a receipt says of the stored track, made otherwise, in whose place the new one went."""
    if have is None:
        return []
    old, new = (
        json.loads(have.get("processing_parameters", "{}")),
        json.loads(json_line(options.told())),
    )
    other = [f"{k} {old.get(k)} (now {new[k]})" for k in new if old.get(k) != new[k]]
    return ["replaced a stored track" + (f" made with {', '.join(other)}" if other else "")]


def _place(source: Any) -> Any:
    """Where a source lies, the same for each way of naming it, and without what may be secret."""
    if isinstance(source, str | os.PathLike):
        text = os.fspath(source)
        return public_url(text) if "://" in text else os.path.realpath(Path(text).expanduser())
    if hasattr(source, "data_links"):
        return tuple(public_url(link) for link in source.data_links())
    return getattr(source, "name", None) or f"{type(source).__name__} {id(source)}"

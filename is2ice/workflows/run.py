"""Run the whole chain for many tracks on an engine, into a store.

An item is a track, or, where the sea surface joins the beams of a granule (``evidence``), a granule with its beams
(:class:`is2ice.workflows.pass_surface.Pass`). It needs nothing of any other, so items may be computed anywhere and in
any order. The steps of one track are in :mod:`is2ice.workflows.track`.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Unpack

import xarray as xr

from is2ice.classifiers.base import agree
from is2ice.classifiers.registry import to_share, usable
from is2ice.engines import attempt
from is2ice.errors import GranuleError, Is2IceError, ModelError
from is2ice.io.remote.location import FolderLocation, Location, location
from is2ice.io.stores import store as stores
from is2ice.io.urls import public_url

from . import class_blocks, segment_blocks
from .driver import Job, KeepReceipt, ReportBlock, base_receipt, drive, failure, is_up_to_date
from .execution import ExecutionSettings, RunKeywords, RunSettings
from .manifest import Manifest
from .opening import matches
from .options import Options, as_options, pin_classifier
from .pass_surface import Pass, freeboards, together
from .progress import Bar
from .receipts import Run, json_line, summary, written
from .run_record import Earlier, alive, manifests, resumable, resumed
from .track import Chain, Item, derive, finish

__all__ = ["DuplicateGuard", "Request", "plan", "process", "resume", "run"]

log = logging.getLogger("is2ice")

#: Folders of a store that a run writes to.
_OWN_FOLDERS = (".runs/", ".parts/", "index/", "current/", "tracks/")


def run(
    sources: Any,
    store: str | os.PathLike[str],
    *,
    beams: str | Iterable[str] | None = None,
    options: Options | Mapping[str, Any] | None = None,
    block_km: float | None = None,
    chain: Chain | None = None,
    settings: RunSettings | None = None,
    **keywords: Unpack[RunKeywords],
) -> Run:
    """Process granules into a store: every selected beam from photons to freeboard.

    Parameters
    ----------
    sources : source or iterable of sources
        Paths, URLs or earthaccess granules; or stores, whose segments are then used unchanged while classes, sea
        surface and freeboard are computed again.
    store : str or Path
        Folder, or ``s3://``, ``gs://`` or ``az://`` prefix; made if absent. Workers on other machines write into it
        themselves, so they need an address that they reach.
    beams : {"strong", "weak", "all"}, name or names, optional
        The strong beams by default; for a store, all that it holds.
    options : Options or mapping, optional
    block_km : float, optional
        Also split tracks into blocks of about this length, km: photons of one long track are read and resampled,
        and a trained model is evaluated, by several workers. The result is the same. Meant for slow sources: from a
        local disk a track is computed in less time than it takes to distribute its blocks.
    chain : Chain, optional
        Other steps.
    settings : RunSettings, optional
    **keywords
        ``engine``, ``workers``, ``engine_options``, ``retries``, ``overwrite``, ``progress`` and ``storage_options`` of
        :class:`is2ice.workflows.execution.RunSettings`; they take precedence over `settings`.

    Returns
    -------
    Run
        One receipt per track; a track that failed is reported there and stops no other. A new store that no track has
        reached, since all failed, is removed again.

    Raises
    ------
    StoreError
        The store cannot be used at all.
    ValueError
        An unknown engine or a wrong option of it; no source; a block length that is not positive.
    """
    return process(
        Request(
            _listed(sources),
            store,
            beams=beams,
            options=as_options(options),
            block_km=block_km,
            chain=chain or Chain(join=freeboards),
            settings=RunSettings.merged(settings, keywords),
        )
    )


def plan(
    sources: Any,
    store: str | os.PathLike[str],
    *,
    beams: str | Iterable[str] | None = None,
    options: Options | Mapping[str, Any] | None = None,
    overwrite: stores.Overwrite = "different",
) -> list[dict[str, Any]]:
    """List the tracks that :func:`run` would compute or keep; only the sources' tables of contents are read.

    Parameters
    ----------
    sources, store, beams, options, overwrite
        As for :func:`run`.

    Returns
    -------
    list of dict
        ``granule``, ``beam``, ``action`` (``compute``, ``keep`` or ``fail``) and, of a failure, its ``reason``.
    """
    options = pin_classifier(as_options(options))
    chain = Chain(join=freeboards)
    task = _Task(location(store), options, overwrite, chain, "serial", 1)
    there = stores.is_store(store)
    rows = []
    for source in _listed(sources):
        try:
            items = _surveyed(chain, beams, options, source)
        except (Is2IceError, OSError) as error:
            rows.append(
                {"granule": public_url(str(source)), "beam": "", "action": "fail", "reason": str(error)}
            )
            continue
        for item in items:
            keeps = there and task.is_up_to_date(item)[0]
            action = "keep" if keeps else "compute"
            rows.append({"granule": item.granule, "beam": item.beam, "action": action, "reason": ""})
    return rows


def _listed(sources: Any) -> tuple[Any, ...]:
    """Return all sources one by one, with patterns of names resolved."""
    return tuple(s for one in ([sources] if _is_one(sources) else sources) for s in matches(one))


def resume(store: str | os.PathLike[str], **changes: Any) -> Run:
    """Resume the last run of a store: finished tracks are kept, the others are computed.

    Parameters
    ----------
    store : str or Path
    **changes
        ``engine``, ``workers``, ``engine_options``, ``block_km``, ``retries``, ``progress``, ``storage_options`` and
        ``chain`` of :func:`run`; options that decide the results stay. ``sources``, if the run's cannot be opened from
        its manifest.

    Returns
    -------
    Run

    Raises
    ------
    StoreError
        No run to resume, or its sources cannot be opened again.
    """
    store = location(store, changes.get("storage_options"))
    manifest, changes, earlier = resumed(store, "run", changes)
    sources = changes.pop("sources")
    block_km = changes.pop("block_km", manifest.get("block_km"))
    chain = changes.pop("chain", None) or Chain(join=freeboards)
    return process(
        Request(
            tuple([sources] if _is_one(sources) else sources),
            store,
            beams=manifest["beams"],
            options=Options.from_parameters(manifest["options"]),
            block_km=block_km,
            chain=chain,
            settings=RunSettings.merged(RunSettings(overwrite=manifest["overwrite"]), changes),
            earlier=earlier,
        )
    )


@dataclass(frozen=True)
class Request:
    """Arguments of a run of tracks.

    Attributes
    ----------
    sources : tuple
    store, beams, options, block_km, chain, settings
        As for :func:`run`.
    kind : {"run", "classes"}
        Kind of run, as the manifest records it.
    earlier : Earlier, optional
        The run that this one resumes.
    """

    sources: tuple[Any, ...]
    store: str | os.PathLike[str]
    beams: str | Iterable[str] | None = None
    options: Options = field(default_factory=Options)
    block_km: float | None = None
    chain: Chain = field(default_factory=lambda: Chain(join=freeboards))
    settings: RunSettings = field(default_factory=RunSettings)
    kind: str = "run"
    earlier: Earlier | None = None

    def __post_init__(self) -> None:
        if self.block_km is not None and self.block_km <= 0:
            raise ValueError(f"block_km={self.block_km}: expected a positive length")
        if not self.sources:
            raise ValueError("nothing to do: expected at least one granule or store")


def process(request: Request) -> Run:
    """Carry out a request; see :func:`run`."""
    # All that can be refused is refused here, before a store is made for nothing.
    options = pin_classifier(request.options)
    card = usable(options.classifier) if options.until != "segments" else {}
    agree(card, "this run", "unknown", options.length, options.classifier)
    settings = request.settings
    before = _Before.of(request.store, settings.storage_options)
    root = stores.create(request.store, settings.storage_options)
    sources = tuple(settings.addressed(source, root) for source in request.sources)
    beams = request.beams if request.beams is None or isinstance(request.beams, str) else tuple(request.beams)
    manifest = Manifest.of(
        request.kind, sources, beams, options.parameters(), settings.overwrite, request.block_km
    )
    job = _Tracks(
        root,
        manifest,
        settings,
        sources,
        request.earlier or Earlier.new(),
        request.earlier is not None,
        options,
        request.chain,
        beams,
        card,
    )
    done = drive(job)
    segment_blocks.clear(root, resumable(root))
    if before.new and done.receipts and len(done.failed) == len(done.receipts):
        _discard_empty(root, before)
    return done


@dataclass(frozen=True)
class _Before:
    """The address of a store before the run: no store (`new`), its objects then, and a folder to be made."""

    new: bool
    objects: frozenset[str] = frozenset()
    makes_folder: bool = False

    @classmethod
    def of(cls, store: str | os.PathLike[str], options: Mapping[str, Any] | None) -> _Before:
        """Look at an address."""
        if stores.is_store(store):
            return cls(new=False)
        root = location(store, options)
        makes_folder = isinstance(root, FolderLocation) and not root.folder.exists()
        held = [] if makes_folder else [key for prefix in _OWN_FOLDERS for key in root.objects(prefix)]
        return cls(new=True, objects=frozenset(held), makes_folder=makes_folder)


def _discard_empty(root: Location, before: _Before) -> None:
    """Remove a store that this run has made and that no track has reached; another run may have used it meanwhile.

    Nothing goes but what this run has written: the user may have laid files of his own there.
    """
    if len(stores.listing(root)) == 0 and not any(alive(one) is not False for one in manifests(root)):
        written = [stores.META, *(key for prefix in _OWN_FOLDERS for key in root.objects(prefix))]
        root.delete([key for key in written if key not in before.objects])
        if before.makes_folder and isinstance(root, FolderLocation):
            with suppress(OSError):  # someone has put a file there
                root.folder.rmdir()


@dataclass(frozen=True)
class _Tracks(Job):
    """The job of :func:`run`."""

    options: Options
    chain: Chain
    beams: Any
    card: Mapping[str, Any]

    @cached_property
    def share(self) -> Mapping[str, bytes]:
        """The trained model of the run, unless workers read it at its address."""
        return to_share(self.options.classifier, self.options.classifier_checksum)

    @property
    def prepares(self) -> bool:  # type: ignore[override]
        return self.manifest.block_km is not None

    @property
    def task(self) -> _Task:
        name = self.settings.execution.name
        since, chain = self.earlier.id if self.resumes else None, self.earlier.id
        threads = 2 if name == "serial" else 1
        return _Task(
            self.root,
            self.options,
            self.settings.overwrite,
            self.chain,
            name,
            threads,
            since,
            chain,
            self.settings.execution.attempts,
        )

    def items(self, record: KeepReceipt, bar: Bar) -> Iterator[Item | Pass]:
        """Yield the tracks of all sources, or the beams of a granule together.

        Sources are opened only as fast as the engine draws items.
        """
        engine = self.settings.execution.name
        guard = DuplicateGuard(engine)
        look = self._look()
        for source in self.sources:
            ok, found = look(source)
            if not ok:
                bar.found(1)
                record(failure(Item(source, "", ""), found, engine))
                continue
            bar.found(len(found))
            passes: dict[str, list[Item]] = {}
            for item in found:
                if (again := guard.before(item)) is not None:
                    record(again)
                    continue
                try:
                    agree(self.card, str(item), item.release, float(self.card.get("segment_length", 0.0)))
                except ModelError as fault:  # reported before the photons are read, not after
                    record(failure(item, fault, engine))
                else:
                    passes.setdefault(item.granule, []).append(item)
            for items in passes.values():
                if not self.chain.joins(self.options):
                    yield from items
                    continue
                left = sorted(together(items), key=lambda item: item.beam)
                yield Pass(tuple(left)) if len(left) > 1 else left[0]

    def prepare(self, execution: ExecutionSettings, run: str, report: ReportBlock) -> _Task:
        """Make the blocks of all tracks, and return the task that puts them together."""
        task, look = self.task, self._look()
        found = [items for ok, items in map(look, self.sources) if ok]
        tracks = [item for items in found for item in items if not task.is_up_to_date(item)[0]]
        blocks = segment_blocks.Blocks(
            segment_blocks.parts_folder(self.root, run),
            execution,
            self.manifest.block_km or 0.0,
            report,
            self.share,
        )
        chain = replace(
            self.chain, load=segment_blocks.prepare(blocks, tracks, self.options, self.chain.load)
        )
        if self.card and self.chain.derive is derive:
            evaluated = class_blocks.prepare(blocks, tracks, self.options, chain.load)
            chain = replace(chain, derive=partial(derive, classify=evaluated))
        return replace(task, chain=chain)

    def _look(self) -> Callable[[Any], tuple[bool, Any]]:
        """Return a function that lists the tracks of a source, with retries."""
        return self.settings.execution.attempted(partial(_surveyed, self.chain, self.beams, self.options))


def _surveyed(chain: Chain, beams: Any, options: Options, source: Any) -> list[Item]:
    found = chain.survey(source, beams)
    return together(found) if chain.joins(options) else found


def _is_one(sources: Any) -> bool:
    """Return True for a single source (files and earthaccess granules can be iterated too)."""
    single = isinstance(sources, str | os.PathLike) or not isinstance(sources, Iterable)
    return single or hasattr(sources, "read") or hasattr(sources, "data_links")


@dataclass
class DuplicateGuard:
    """The tracks seen in a run, each with its source: a store holds a track once."""

    engine: str
    sources: dict[tuple[str, str], Any] = field(default_factory=dict)

    def before(self, item: Item) -> dict[str, Any] | None:
        """Return the receipt of an item whose track was seen before, in the same file or another; else None."""
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
    """Work on an item: load, derive, write, and return a receipt."""

    store: Location
    options: Options
    overwrite: stores.Overwrite
    chain: Chain
    engine: str
    threads: int
    since: str | None = None
    run: str = ""
    attempts: Callable[[Callable[[Any], Any], Any], tuple[bool, Any]] = attempt

    def __call__(self, item: Item | Pass) -> dict[str, Any] | list[dict[str, Any]]:
        if isinstance(item, Pass):
            return self._together(item)
        keeps, have = self.is_up_to_date(item)
        if keeps and have is not None:
            return self._kept(item, have)
        segments, seconds = self._load(item)
        start = time.perf_counter()
        track = self.chain.derive(segments, self.options)
        return self._write((item, have, track, seconds | {"compute": time.perf_counter() - start}))

    def _together(self, found: Pass) -> list[dict[str, Any]]:
        """Work on the beams of a granule that see one sea; one that fails stops no other."""
        kept = [have if keeps else None for keeps, have in map(self.is_up_to_date, found.tracks)]
        if all(have is not None for have in kept):
            return [self._kept(item, have) for item, have in zip(found.tracks, kept, strict=True) if have]
        receipts: list[dict[str, Any]] = []
        ready: list[tuple[Item, xr.Dataset, dict[str, float]]] = []
        for item in found.tracks:
            ok, value = self.attempts(self._classified, item)
            if ok:
                ready.append((item, *value))
            else:
                receipts.append(failure(item, value, self.engine))
        start = time.perf_counter()
        join = self.chain.join or freeboards
        ok, tracks = self.attempts(partial(_joined, join, self.options), [part[1] for part in ready])
        if not ok:
            return receipts + [failure(part[0], tracks, self.engine) for part in ready]
        share = (time.perf_counter() - start) / max(len(ready), 1)
        # Without a beam that failed the others are other tracks, which the next run replaces once it has that beam.
        made = together([part[0] for part in ready])
        for (whole, _, seconds), item, track in zip(ready, made, tracks, strict=True):
            keeps, have = self.is_up_to_date(whole)
            if not keeps:
                keeps, have = self.is_up_to_date(item)
            if keeps and have is not None:
                receipts.append(self._kept(item, have))
                continue
            seconds["compute"] += share
            ok, value = self.attempts(self._write, (item, have, track, seconds))
            receipts.append(value if ok else failure(item, value, self.engine))
        return receipts

    def _load(self, item: Item) -> tuple[xr.Dataset, dict[str, float]]:
        """Segments of a track, and the time that they took."""
        start = time.perf_counter()
        segments = self.chain.load(item.source, item.beam, self.options, threads=self.threads)
        segments = segments.assign_attrs(granule=item.granule)  # as a store can name it
        return segments, {"load": time.perf_counter() - start}

    def _classified(self, item: Item) -> tuple[xr.Dataset, dict[str, float]]:
        """Classified segments of a track, and the times that they took."""
        segments, seconds = self._load(item)
        start = time.perf_counter()
        track = self.chain.derive(segments, replace(self.options, until="classes"))
        return track, seconds | {"compute": time.perf_counter() - start}

    def _kept(self, item: Item, have: Mapping[str, Any]) -> dict[str, Any]:
        """Receipt of a track that is stored already."""
        receipt = base_receipt(item, self.engine) | stores.track_summary(have)
        return {**receipt, "outcome": "skipped", "notes": list(have.get("notes", ()))}

    def _write(
        self, done: tuple[Item, Mapping[str, Any] | None, xr.Dataset, dict[str, float]]
    ) -> dict[str, Any]:
        """Write a track that replaces what may be stored of it, and return its receipt."""
        item, have, track, seconds = done
        start = time.perf_counter()
        track = finish(track, self.options)
        counts = summary(track)
        track = track.assign_attrs(track_summary=json_line(counts))
        middle = time.perf_counter()
        stored = stores.write_track(
            track,
            self.store,
            overwrite=self.overwrite,
            parameters=self.options.stored_parameters(),
            origin=item.origin,
            run=self.run,
        )
        seconds["compute"] += middle - start
        seconds["write"] = time.perf_counter() - middle
        notes = [*track.attrs["notes"], *_replaced(have, self.options)]
        if stored["outcome"] == "repaired":
            notes.append("replaced a damaged track")
        receipt = base_receipt(item, self.engine)
        return {**receipt, "notes": notes, **written(counts, stored, track, seconds)}

    def is_up_to_date(self, item: Item) -> tuple[bool, dict[str, Any] | None]:
        """Return True if the stored track is kept, and its attributes (None without a stored track)."""
        inputs = stores.fingerprint(item.granule, item.beam, self.options.stored_parameters(), item.origin)
        return is_up_to_date(self.store, item, inputs, self.overwrite, self.since)


def _joined(
    join: Callable[..., list[xr.Dataset]], options: Options, tracks: list[xr.Dataset]
) -> list[xr.Dataset]:
    return join(tracks, options) if tracks else []


def _replaced(have: Mapping[str, Any] | None, options: Options) -> list[str]:
    """Note for a receipt if the track replaces a stored one, with the options that differ."""
    if have is None:
        return []
    old = stores.json_attribute(have, "processing_parameters")
    new = json.loads(json_line(options.stored_parameters()))
    other = [f"{k} {old.get(k)} (now {new[k]})" for k in new if old.get(k) != new[k]]
    return ["replaced a stored track" + (f" made with {', '.join(other)}" if other else "")]


def _place(source: Any) -> Any:
    """Return the location of a source, equal for all its spellings, without secrets."""
    if isinstance(source, str | os.PathLike):
        text = os.fspath(source)
        return public_url(text) if "://" in text else os.path.realpath(Path(text).expanduser())
    if hasattr(source, "data_links"):
        return tuple(public_url(link) for link in source.data_links())
    return getattr(source, "name", None) or f"{type(source).__name__} {id(source)}"

"""Where the rooms meet: photons to segments, classes, sea surface, freeboard and store.

``one_track`` composes the steps for one beam of one granule; ``run`` does so for many, on an engine, into a
store. A track needs nothing of any other, so tracks may be computed anywhere and in any order.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import xarray as xr

from . import __version__, cf, engines
from . import store as stores
from .errors import GranuleError, Is2IceError, RemoteError
from .opening import open_track
from .options import Options
from .progress import Bar
from .progress import progress as show_progress
from .receipts import Run, absences, json_line, summary
from .remote import Source, public_url, scrub

__all__ = ["Chain", "Item", "Options", "Run", "load", "one_track", "open_track", "run", "survey"]

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
    """

    source: Any = field(repr=False)
    granule: str
    beam: str
    origin: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.granule} {self.beam}"


# -- the steps ----------------------------------------------------------------------------------------
def survey(source: Any, beams: str | Iterable[str] | None) -> list[Item]:
    """The tracks of a granule that a selection of beams names, under a name that a store can hold."""
    from .atl03 import Granule

    where = Source.of(source)
    origin: dict[str, Any] = {}
    if where.path is not None:
        stat = os.stat(where.path)
        origin = {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns}
    elif where.url is not None:
        origin = {"url": public_url(where.url)}
    with Granule(where) as granule:
        names = granule.resolve_beams(beams)
        return [Item(source, stores.group_name(granule.id), b, origin) for b in names]


def load(source: Any, beam: str, options: Options, *, threads: int = 2) -> xr.Dataset:
    """Segments of one beam of a granule, in memory."""
    from .atl03 import Granule, Subset, open_granule
    from .segments import Selection

    try:
        granule = open_granule(source)
    except Exception as error:
        engines.release(error)
        raise
    try:
        return granule.track(
            beam,
            Subset(options.bbox, options.time, options.x_atc),
            workers=threads,
            length=options.length,
            selection=Selection(options.confidence, options.quality),
            reference=options.reference,
            corrections=options.corrections,
            first_photon=options.first_photon,
        )
    except Exception as error:
        engines.release(error)
        raise
    finally:
        if not isinstance(source, Granule):
            granule.close()


def derive(segments: xr.Dataset, options: Options) -> xr.Dataset:
    """Segments with surface class, local sea surface and freeboard."""
    from . import freeboard, seasurface
    from .classifiers import classify
    from .classifiers.arrays import ModelError

    classified = classify(segments, options.classifier)
    if options.classifier_checksum != classified.attrs.get("classifier_checksum", ""):
        raise ModelError(
            f"classifier {options.classifier}: checksum {classified.attrs.get('classifier_checksum')}, expected "
            f"{options.classifier_checksum}; the model was replaced during the run. Run again"
        )
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
        As :meth:`is2ice.atl03.Granule.track`.
    """
    options = options or Options()
    return _finish(derive(load(source, beam, options), options), options)


def _finish(track: xr.Dataset, options: Options) -> xr.Dataset:
    """Notes and history."""
    classifier = track.attrs.get("classifier", options.classifier)
    step = (
        f"{cf.now()} is2ice {__version__}: ATL03 photons (confidence >= {options.confidence}) to "
        f"{options.length:g} m segments; class {classifier}; sea surface {options.method}; freeboard"
    )
    history = [line for line in (track.attrs.get("history", ""), step) if line]
    notes = dict.fromkeys([*track.attrs.get("notes", ()), *absences(track)])
    return track.assign_attrs(history="\n".join(history), notes=list(notes))


# -- many tracks --------------------------------------------------------------------------------------
def run(
    sources: Any,
    store: str | os.PathLike[str],
    *,
    beams: str | Iterable[str] | None = None,
    engine: str = "serial",
    workers: int | None = None,
    engine_options: Mapping[str, Any] | None = None,
    options: Options | None = None,
    overwrite: stores.Overwrite = "different",
    retries: int = 2,
    progress: bool | None = None,
    chain: Chain | None = None,
) -> Run:
    """Granules to a store: every selected beam from photons to freeboard.

    Parameters
    ----------
    sources : source or iterable of sources
        Paths, URLs or earthaccess granules.
    store : str or Path
        Local folder; made if absent.
    beams : {"strong", "weak", "all"}, name or names, optional
        The strong beams by default.
    engine : {"serial", "processes", "dask"}
    workers : int, optional
        Of the processes and dask engines.
    engine_options : mapping, optional
        Further options of the engine, such as ``{"address": "tcp://..."}`` (:mod:`is2ice.engines`).
    options : Options, optional
    overwrite : {"different", "always", "never"}
        What to do with a track already there: by default it is computed anew only if the granule, the
        options or the package changed.
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
    started, options, chain = time.perf_counter(), options or Options(), chain or Chain()
    if overwrite not in ("different", "always", "never"):
        raise ValueError(f"overwrite={overwrite!r}: expected 'different', 'always' or 'never'")
    if engine not in engines.ENGINES:  # before a store is made for nothing
        raise ValueError(f"engine {engine!r}: expected one of {', '.join(engines.ENGINES)}")
    root = stores.create(store)
    for line in stores.recover(root):
        log.info(line)
    sources = [sources] if _is_one(sources) else list(sources)
    task = _Task(str(root), options, overwrite, chain, engine, threads=2 if engine == "serial" else 1)
    extra = dict(engine_options or {}) | ({} if workers is None else {"workers": workers})
    retry: dict[str, Any] = {"retries": retries, "retry_on": may_pass, "clean": scrub}
    retry |= {k: extra.pop(k) for k in ("retry_on", "retry_wait") if k in extra}
    look = partial(engines.attempt, partial(_survey, chain, beams), **retry)
    receipts: list[dict[str, Any]] = []
    with _log_file(root) as (path, write), show_progress(progress, len(sources)) as bar:
        write({"started": cf.now(), "is2ice": __version__, "engine": engine, "options": options.parameters()})

        def record(receipt: dict[str, Any]) -> None:
            receipts.append(receipt)
            write(receipt)
            bar.finished(receipt)

        items = _items(sources, look, engine, record, bar)
        try:
            with closing(engines.map(task, items, engine, **retry, **extra)) as results:  # type: ignore[type-var]
                for item, result in results:
                    failed = isinstance(result, BaseException)
                    record(_failure(item, result, engine) if failed else result)
        finally:
            stores.consolidate(root)
    return Run(str(root), tuple(receipts), engine, time.perf_counter() - started, str(path))


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


def _survey(chain: Chain, beams: Any, source: Any) -> list[Item]:
    return chain.survey(source, beams if beams is None or isinstance(beams, str) else tuple(beams))


def _items(
    sources: list[Any],
    look: Callable[[Any], tuple[bool, Any]],
    engine: str,
    record: Callable[[dict[str, Any]], None],
    bar: Bar,
) -> Iterator[Item]:
    """Tracks of all sources, looked up only as fast as the engine draws them."""
    seen: dict[tuple[str, str], Any] = {}
    for source in sources:
        ok, found = look(source)
        if not ok:
            bar.found(1)
            record(_failure(Item(source, "", ""), found, engine))
            continue
        bar.found(len(found))
        for item in found:
            key = item.granule, item.beam
            if key not in seen:
                seen[key] = item.source
                yield item
                continue
            first = seen[key]
            if _place(first) == _place(item.source):
                note = "named twice in this run; computed once"
                record({**_base(item, engine), "outcome": "skipped", "notes": [note]})
            else:
                error = GranuleError(
                    f"{item}: two files of this name, {_place(first)} and {_place(item.source)}; a store holds a "
                    "track once: write the second to another store, or rename the file"
                )
                record(_failure(item, error, engine))


@dataclass(frozen=True)
class _Task:
    """What a worker does with an item: load, derive, write, and a receipt."""

    store: str
    options: Options
    overwrite: stores.Overwrite
    chain: Chain
    engine: str
    threads: int

    def __call__(self, item: Item) -> dict[str, Any]:
        receipt = _base(item, self.engine)
        parameters = self.options.parameters()
        inputs = stores.fingerprint(item.granule, item.beam, parameters, item.origin)
        have = stores.track_attributes(self.store, item.granule, item.beam)
        if have is not None and stores.keeps(have, inputs, self.overwrite):
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
        written = stores.write_track(
            track, self.store, overwrite=self.overwrite, parameters=parameters, origin=item.origin
        )
        seconds = {"load": t1 - t0, "compute": t2 - t1, "write": time.perf_counter() - t2}
        return {
            **receipt,
            **counts,
            "outcome": "done",
            "notes": [*track.attrs["notes"], *_replaced(have, self.options)],
            "stored": written["outcome"],
            "bytes": written["bytes"],
            "inputs": written["inputs"],
            "seconds": {k: round(v, 3) for k, v in seconds.items()},
            **({"traffic": segments.attrs["traffic"]} if "traffic" in segments.attrs else {}),
        }


def _replaced(have: Mapping[str, Any] | None, options: Options) -> list[str]:
    """What a receipt says of the stored track, made otherwise, in whose place the new one went."""
    if have is None:
        return []
    old, new = (
        json.loads(have.get("processing_parameters", "{}")),
        json.loads(json_line(options.parameters())),
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


def _base(item: Item, engine: str) -> dict[str, Any]:
    source = item.source if isinstance(item.source, str | os.PathLike) else getattr(item.source, "name", "")
    return {
        "granule": item.granule or None,
        "beam": item.beam or None,
        "source": scrub(os.fspath(source)) if source else type(item.source).__name__,
        "engine": engine,
        "host": platform.node(),
        "process": os.getpid(),
        "finished": cf.now(),
        "notes": [],
    }


def _failure(item: Item, error: BaseException, engine: str) -> dict[str, Any]:
    detail = "\n".join(getattr(error, "__notes__", ()))
    text = str(error) or type(error).__name__
    if type(error).__module__ == "builtins":  # not one of ours: its text alone may say too little
        text = f"{type(error).__name__}: {text}"
    text, detail = scrub(text), scrub(detail)
    log.debug("%s: %s\n%s", item, text, detail)
    return {
        **_base(item, engine),
        "outcome": "failed",
        "error": text,
        "error_type": type(error).__name__,
        "detail": detail,
    }


@contextmanager
def _log_file(root: Path) -> Iterator[tuple[Path, Callable[[Mapping[str, Any]], None]]]:
    """Receipts as JSON lines, written as they come, so that an interrupted run leaves its record."""
    folder = root / ".runs"
    with stores.clear_errors(root):
        folder.mkdir(exist_ok=True)
        path = folder / f"{cf.now().replace(':', '')}-{os.getpid()}.jsonl"
        stream = path.open("a", buffering=1)
    with stream:

        def write(document: Mapping[str, Any]) -> None:
            stream.write(json_line(document) + "\n")

        yield path, write

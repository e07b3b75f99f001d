"""Where the rooms meet: photons to segments, classes, sea surface, freeboard and store.

``one_track`` composes the steps for one beam of one granule; ``run`` does so for many, on an engine, into a
store. A track needs nothing of any other, so tracks may be computed anywhere and in any order.
"""

from __future__ import annotations

import logging
import os
import platform
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import xarray as xr

from . import __version__, cf, engines
from . import store as stores
from .opening import open_track
from .options import Options
from .progress import Bar
from .progress import progress as show_progress
from .receipts import Run, absences, json_line, summary

__all__ = ["Chain", "Item", "Options", "Run", "load", "one_track", "open_track", "run", "survey"]

log = logging.getLogger("is2ice")


@dataclass(frozen=True)
class Item:
    """The unit of work: one beam of one granule."""

    source: Any
    granule: str
    beam: str
    origin: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.granule} {self.beam}"


# -- the steps ----------------------------------------------------------------------------------------
def survey(source: Any, beams: str | Iterable[str] | None) -> list[Item]:
    """The tracks of a granule that a selection of beams names."""
    from .atl03 import Granule
    from .remote import Source

    where = Source.of(source)
    with Granule(where) as granule:
        names = granule.resolve_beams(beams)
        size = where.size()
        return [Item(source, granule.id, b, {} if size is None else {"size": size}) for b in names]


def load(source: Any, beam: str, options: Options, *, threads: int = 2) -> xr.Dataset:
    """Segments of one beam of a granule, in memory."""
    from .atl03 import Granule, Subset, open_granule
    from .segments import Selection

    granule = open_granule(source)
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
    finally:
        if not isinstance(source, Granule):
            granule.close()


def derive(segments: xr.Dataset, options: Options) -> xr.Dataset:
    """Segments with surface class, local sea surface and freeboard."""
    from . import freeboard, seasurface
    from .classifiers import classify

    classified = classify(segments, options.classifier)
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
    step = (
        f"{cf.now()} is2ice {__version__}: ATL03 photons (confidence >= {options.confidence}) to "
        f"{options.length:g} m segments; class {options.classifier}; sea surface {options.method}; freeboard"
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
    receipts: list[dict[str, Any]] = []
    with _log_file(root) as (path, write), show_progress(progress, len(sources)) as bar:
        write({"started": cf.now(), "is2ice": __version__, "engine": engine, "options": options.parameters()})

        def record(receipt: dict[str, Any]) -> None:
            receipts.append(receipt)
            write(receipt)
            bar.finished(receipt)

        items = _items(sources, beams, chain, engine, record, bar)
        try:
            with closing(engines.map(task, items, engine, **extra)) as results:  # type: ignore[type-var]
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


def _items(
    sources: list[Any],
    beams: Any,
    chain: Chain,
    engine: str,
    record: Callable[[dict[str, Any]], None],
    bar: Bar,
) -> Iterator[Item]:
    """Tracks of all sources, looked up only as fast as the engine draws them."""
    seen: set[tuple[str, str]] = set()
    names = beams if beams is None or isinstance(beams, str) else tuple(beams)
    for source in sources:
        try:
            found = chain.survey(source, names)
        except Exception as error:
            bar.found(1)
            record(_failure(Item(source, "", ""), error, engine))
            continue
        bar.found(len(found))
        for item in found:
            if (item.granule, item.beam) in seen:
                note = "named twice in this run; computed once"
                record({**_base(item, engine), "outcome": "skipped", "notes": [note]})
                continue
            seen.add((item.granule, item.beam))
            yield item


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
            "notes": list(track.attrs["notes"]),
            "bytes": written["bytes"],
            "inputs": written["inputs"],
            "seconds": {k: round(v, 3) for k, v in seconds.items()},
        }


def _base(item: Item, engine: str) -> dict[str, Any]:
    source = item.source if isinstance(item.source, str | os.PathLike) else getattr(item.source, "name", "")
    return {
        "granule": item.granule or None,
        "beam": item.beam or None,
        "source": os.fspath(source).split("?")[0] if source else type(item.source).__name__,
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

"""Drive a job on an engine into a store: one receipt per item, recorded as the receipts arrive.

The record in the store is kept by :mod:`is2ice.workflows.run_record`.
"""

from __future__ import annotations

import logging
import os
import platform
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Any

from is2ice.io.remote.location import Location
from is2ice.io.stores import store as stores
from is2ice.io.urls import scrub
from is2ice.science import epoch

from .execution import ExecutionSettings, RunSettings
from .manifest import Manifest, named
from .progress import Bar
from .progress import progress as show_progress
from .receipts import Run
from .run_record import Earlier, Record

__all__ = ["Job", "KeepReceipt", "ReportBlock", "base_receipt", "drive", "failure", "is_up_to_date"]

log = logging.getLogger("is2ice")

#: Words by which HDF5 reports damaged bytes.
_DAMAGED = re.compile(r"Unable to (synchronously )?|Can't (synchronously )?(read|open)")

#: Takes a receipt.
KeepReceipt = Callable[[Mapping[str, Any]], None]
#: Takes a prepared block of a track, and True if it failed.
ReportBlock = Callable[[Any, bool], None]


@dataclass(frozen=True)
class Job(ABC):
    """A job for :func:`drive`: items, and a task that turns each into receipts.

    Attributes
    ----------
    root : Location
        Store to write to.
    manifest : Manifest
    settings : RunSettings
    sources : tuple
        Granules, stores or passes.
    earlier : Earlier, optional
        The run that this one resumes.
    """

    root: Location
    manifest: Manifest
    settings: RunSettings
    sources: tuple[Any, ...]
    earlier: Earlier
    resumes: bool

    #: True if :meth:`prepare` has work for the workers before the first item.
    prepares = False

    @property
    def share(self) -> Mapping[str, bytes]:
        """Objects that each worker receives once (:func:`is2ice.engines.shared`)."""
        return {}

    @property
    @abstractmethod
    def task(self) -> Callable[[Any], Any]:
        """Function that a worker applies to an item; returns a receipt or a list of receipts."""

    @abstractmethod
    def items(self, record: KeepReceipt, bar: Bar) -> Iterable[Any]:
        """Yield the items; `record` takes the receipt of a source that cannot become one."""

    def prepare(self, execution: ExecutionSettings, run: str, report: ReportBlock) -> Callable[[Any], Any]:
        """Compute parts of the items on the same workers, and return the task that uses them.

        Parameters
        ----------
        execution : ExecutionSettings
            The workers, already started.
        run : str
            Id of the run, or of the first run of a chain of resumed ones.
        report : callable
            Takes each block, and True if it failed.
        """
        return self.task


def drive(job: Job) -> Run:
    """Apply the task of a job to its items on an engine, and record every receipt in the store.

    Parameters
    ----------
    job : Job

    Returns
    -------
    Run
    """
    started = time.perf_counter()
    receipts: list[dict[str, Any]] = []
    written: list[tuple[str, str]] = []
    settings, execution = job.settings, job.settings.execution
    with (
        Record(job.root, job.manifest, execution, job.earlier) as record,
        show_progress(settings.progress, len(job.sources)) as bar,
    ):

        def keep(receipt: Mapping[str, Any]) -> None:
            receipts.append(dict(receipt))
            if receipt["outcome"] == "done":
                written.append((receipt["granule"], receipt["beam"]))
            bar.finished(receipt)

        def add(receipt: Mapping[str, Any]) -> None:
            record.add(receipt)
            keep(receipt)

        def block(part: Any, failed: bool) -> None:
            record.block(failed, time.perf_counter() - started)
            bar.prepared(str(part))

        def drawn() -> Iterator[Any]:  # starts only once there are workers
            record.begun = True
            yield from job.items(add, bar)

        try:
            with ExitStack() as stack:
                there, task = execution, job.task
                if job.prepares:
                    there = stack.enter_context(execution.running())
                    task = job.prepare(there, record.of, block)
                answers = there.map(record.reporting(task), drawn(), job.share)
                stack.enter_context(closing(answers))  # type: ignore[type-var]
                for item, result in answers:
                    if isinstance(result, BaseException):
                        tracks = getattr(item, "tracks", (item,))
                        result = [(failure(track, result, execution.name), False) for track in tracks]
                    for receipt, is_written in result:
                        keep(receipt if is_written else record.write(receipt))
        finally:
            stores.consolidate(job.root, written)
        done = Run(job.root.url, tuple(receipts), execution.name, time.perf_counter() - started, record.log)
        record.finish(done)
    return done


# -- tracks that are stored already -------------------------------------------------------------------
def is_up_to_date(
    store: str | os.PathLike[str], item: Any, inputs: str, overwrite: stores.Overwrite, since: str | None
) -> tuple[bool, dict[str, Any] | None]:
    """Return True if the stored track of an item is kept, and its attributes (None without a stored track).

    Parameters
    ----------
    store : path
    item : Item
    inputs : str
        :func:`is2ice.io.stores.store.fingerprint` of the inputs from which the track would be made.
    overwrite : {"different", "always", "never"}
    since : str, optional
        Id of the chain of runs that this one resumes: tracks that these have written are kept.
    """
    have = stores.track_attributes(store, item.granule, item.beam)
    if have is None:
        return False, None
    keeps = stores.keeps(have, inputs, overwrite)
    if keeps or since is None or have.get("inputs") != inputs:
        return keeps, have
    return have["run"] == since, have


# -- receipts -----------------------------------------------------------------------------------------
def base_receipt(item: Any, engine: str) -> dict[str, Any]:
    """Return the fields that every receipt has: the item, and the place and time of the work."""
    source = item.source if isinstance(item.source, str | os.PathLike) else getattr(item.source, "name", "")
    if hasattr(item.source, "data_links"):
        source, _ = named(item.source)
    return {
        "granule": item.granule or None,
        "beam": item.beam or None,
        "source": scrub(os.fspath(source)) if source else type(item.source).__name__,
        "engine": engine,
        "host": platform.node(),
        "process": os.getpid(),
        "finished": epoch.now(),
        "notes": [],
    }


def failure(item: Any, error: BaseException, engine: str) -> dict[str, Any]:
    """Return the receipt of an item that failed."""
    detail = "\n".join(getattr(error, "__notes__", ()))
    text = str(error) or type(error).__name__
    if type(error).__module__ == "builtins":  # an error from elsewhere: its text alone may say too little
        text = f"{type(error).__name__}: {text}"
    local = isinstance(item.source, str | os.PathLike) and "://" not in os.fspath(item.source)
    if local and _DAMAGED.search(text) and "doesn't exist" not in text:
        text += "; its HDF5 cannot be read there, the file is damaged: download it again"
    if (
        local
        and re.search("no such file|does not exist", text, re.IGNORECASE)
        and os.path.exists(item.source)
    ):
        text += (
            "; it is here, but the worker does not see it: give an address that both reach (s3://, https://)"
        )
    text, detail = scrub(text), scrub(detail)
    log.debug("%s: %s\n%s", item, text, detail)
    return {
        **base_receipt(item, engine),
        "outcome": "failed",
        "error": text,
        "error_type": type(error).__name__,
        "detail": detail,
    }

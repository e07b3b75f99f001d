"""Record of a run in its store: request and outcome in ``.runs/<id>.json``, receipts in ``.runs/<id>/``.

A receipt is an object of its own, written by the process that has the result: the worker, so that nothing is lost with
the driver, or the driver for an item that failed. At the end of the run the driver puts them together in
``.runs/<id>.jsonl``. A run that was killed leaves its record as far as it came. No secret is written.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
import re
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from is2ice import engines
from is2ice.errors import StoreError
from is2ice.io.documents import parse_json
from is2ice.io.remote.location import Location, location
from is2ice.io.urls import scrub
from is2ice.science import epoch
from is2ice.version import __version__

from .execution import RETRY, ExecutionSettings
from .manifest import Manifest
from .processes import machine, process_start
from .receipts import Run, json_line

__all__ = [
    "Earlier",
    "Record",
    "Reporting",
    "alive",
    "command_to_resume",
    "last",
    "read",
    "resumable",
    "resumed",
]

log = logging.getLogger("is2ice")

FOLDER = ".runs"
_SECRET = re.compile(r"secret|passw|token|credential|access.?key|api.?key", re.IGNORECASE)
_USER = re.compile(r"//[^/\s]*@")


class Earlier(NamedTuple):
    """Chain of runs that resume each other: its id, and the start of the first in seconds since 1970."""

    id: str
    since: float

    @classmethod
    def new(cls) -> Earlier:
        """Begin a chain of runs."""
        return cls(uuid.uuid4().hex[:12], time.time() // 1)


@dataclass(frozen=True)
class Reporting:
    """A task that also writes its receipts, each as an object of the run.

    Attributes
    ----------
    task : callable
        Returns a receipt or a list of them.
    root : Location
        Store.
    folder : str
        Key of the run's receipts.
    """

    task: Callable[[Any], Any]
    root: Location
    folder: str

    def __call__(self, item: Any) -> list[tuple[dict[str, Any], bool]]:
        """Process an item; return each receipt, and True if it is written."""
        result = self.task(item)
        out = []
        for receipt in result if isinstance(result, list) else [result]:
            try:
                out.append((_put_receipt(self.root, self.folder, receipt), True))
            except (StoreError, OSError) as error:  # the track is there: the driver writes what this cannot
                log.warning("receipt of %s %s: %s", receipt["granule"], receipt["beam"], scrub(str(error)))
                out.append((receipt, False))
        return out


def _put_receipt(root: Location, folder: str, receipt: Mapping[str, Any]) -> dict[str, Any]:
    """Write a receipt, or return the one there, of an earlier attempt whose worker died before it could answer.

    A damaged one is replaced.
    """
    key = f"{folder}/{receipt['granule'] or _unnamed(receipt)}/{receipt['beam'] or '-'}.json"
    if root.create(key, json_line(receipt).encode()):
        return dict(receipt)
    held = root.read(key)
    earlier: dict[str, Any] = {}
    try:
        earlier = {} if held is None else parse_json(held[0], key, error=StoreError, nan=True, kind=dict)
    except StoreError as error:
        log.warning("a damaged receipt is replaced: %s", error)
    if "outcome" in earlier and (earlier["outcome"] == "done" or receipt["outcome"] != "done"):
        return earlier
    root.put(key, json_line(receipt).encode())
    return dict(receipt)


def _unnamed(receipt: Mapping[str, Any]) -> str:
    """Stand in for the granule of a receipt without one, different for each source."""
    return f"-{hashlib.sha256(str(receipt['source']).encode()).hexdigest()[:16]}"


class Record:
    """Manifest and receipts on disk.

    Attributes
    ----------
    of : str
        Id of the run, or of the first run of a chain of resumed ones.
    begun : bool
        True once workers have been given something. A run that fails before leaves no record, so that the run before
        it stays the last.
    """

    def __init__(
        self, root: Location, manifest: Manifest, execution: ExecutionSettings, earlier: Earlier | None = None
    ) -> None:
        self.root = root
        self.begun = False
        options, withheld = _storable(execution.options)
        now = epoch.now()
        # Runs are numbered, since a clock may be set back between two of them.
        number = max((one.get("number", 0) for one in _manifests(root).values()), default=0) + 1
        name = f"{number:06d}-{now.replace(':', '').replace('-', '')}-{os.getpid()}"
        self.of = earlier.id if earlier else name
        self.document: dict[str, Any] = {
            "id": name,
            "number": number,
            "of": self.of,
            "status": "running",
            "begun": earlier.since if earlier else time.time() // 1,
            "started": now,
            "clock": time.time(),
            "is2ice": __version__,
            "engine": execution.name,
            "engine_options": options,
            "withheld": withheld,
            "where": _plain(execution.engine.where) if isinstance(execution.engine, engines.Cluster) else "",
            "host": platform.node(),
            "process": os.getpid(),
            "process_started": process_start(os.getpid()),
            "machine": machine(),
            **{k: getattr(manifest, k) for k in type(manifest).__dataclass_fields__},
        }

    def __enter__(self) -> Record:
        self.folder = f"{FOLDER}/{self.document['id']}"
        self.key, self.journal = f"{self.folder}.json", f"{self.folder}.jsonl"
        self.log = f"{self.root.url}/{self.journal}"
        self.save()
        return self

    def __exit__(self, kind: Any, fault: Any, trace: Any) -> None:
        if fault is None:
            return
        stopped = kind in (KeyboardInterrupt, GeneratorExit)
        if not (self.begun or stopped):
            self.root.delete([self.key, *self.root.objects(f"{self.folder}/")])
            return
        self.document |= {
            "status": "interrupted" if stopped else "broken off",
            "finished": epoch.now(),
            "error": "" if kind is KeyboardInterrupt else scrub(f"{kind.__name__}: {fault}"),
        }
        self.save()

    def reporting(self, task: Callable[[Any], Any]) -> Reporting:
        """Return a task whose worker writes the receipts."""
        return Reporting(task, self.root, self.folder)

    def write(self, receipt: Mapping[str, Any]) -> dict[str, Any]:
        """Write the receipt of an item that was sent; return it, or that of its worker if there is one."""
        return _put_receipt(self.root, self.folder, receipt)

    def add(self, receipt: Mapping[str, Any]) -> None:
        """Write the receipt of something that was not sent to a worker."""
        self.root.put(f"{self.folder}/-/{uuid.uuid4().hex[:12]}.json", json_line(receipt).encode())

    def block(self, failed: bool, seconds: float) -> None:
        """Count a prepared block of a track; `seconds` is the time since the start of the run."""
        blocks = self.document.setdefault("blocks", {"made": 0, "failed": 0, "seconds": 0.0})
        blocks["failed" if failed else "made"] += 1
        blocks["seconds"] = round(seconds, 3)

    def finish(self, run: Run) -> None:
        """Write the end of the run and its counts."""
        counts = {"done": len(run.done), "skipped": len(run.skipped), "failed": len(run.failed)}
        self.document |= {
            "status": "finished",
            "finished": epoch.now(),
            "seconds": round(run.seconds, 3),
            **counts,
        }
        self.root.put(self.journal, "".join(json_line(r) + "\n" for r in run.receipts).encode())
        self.save()
        self.root.delete(self.root.objects(f"{self.folder}/"))

    def save(self) -> None:
        """Write the manifest in one step."""
        self.root.put(self.key, json.dumps(self.document, indent=1, default=list).encode())


def _storable(options: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return the engine options that are safe to store, and the names of those withheld in whole or in part."""
    out: dict[str, Any] = {}
    for name, value in options.items():
        if isinstance(value, Mapping):
            out[name] = {k: v for k, v in value.items() if not _SECRET.search(k) and _plain(v) == v}
        elif isinstance(value, str | int | float | None) and not _SECRET.search(name):
            out[name] = _plain(value)
    withheld = [k for k, v in options.items() if k not in RETRY and out.get(k, ...) != v]
    return out, withheld


def _plain(value: Any) -> Any:
    """Return a value in the form of JSON; an address loses user and password."""
    if isinstance(value, str):
        return _USER.sub("//", scrub(value))
    return value if isinstance(value, int | float | None) else None


# -- read back ----------------------------------------------------------------------------------------
def _manifests(root: Location) -> dict[str, dict[str, Any]]:
    """Read the manifests of a store by key, oldest first; one that a full disk has left half written is left out."""
    out = {}
    keys = [key for key in root.objects(FOLDER + "/") if key.count("/") == 1 and key.endswith(".json")]
    for key, raw in zip(keys, root.read_all(keys), strict=True):
        try:
            out[key] = _manifest(raw or b"", f"{root.name}/{key}")
        except StoreError as error:
            log.warning("%s", error)
    return dict(sorted(out.items(), key=lambda one: _order(one[1])))


def _manifest(raw: bytes, where: str) -> dict[str, Any]:
    """Read a manifest.

    Raises
    ------
    StoreError
        It is not whole.
    """
    try:
        found = parse_json(raw, where, error=StoreError, nan=True, kind=dict)
        if all(name in found for name in ("status", "started", "engine", "host", "process")):
            return dict(found)
    except StoreError:
        pass
    raise StoreError(f"{where}: not a whole manifest; the disk was full, or its run was killed")


def _order(manifest: Mapping[str, Any]) -> tuple[int, str, float]:
    """Order runs by their numbers; those without one come first."""
    return manifest.get("number", 0), str(manifest["started"]), float(manifest.get("clock", 0.0))


def last(store: str | os.PathLike[str] | Location) -> str:
    """Find the manifest of the last run of a store.

    Raises
    ------
    StoreError
        A store without runs, or no store.
    """
    root, found = _found(store)
    return f"{root.url}/{next(reversed(found))}"


def _found(store: str | os.PathLike[str] | Location) -> tuple[Location, dict[str, dict[str, Any]]]:
    """Return the place of a store and the manifests of its runs, of which there must be one."""
    root = location(store)
    found = _manifests(root)
    if not found:
        raise StoreError(f"{store}: no run has left a manifest here ({root.name}/{FOLDER} holds none)")
    return root, found


def manifests(store: str | os.PathLike[str] | Location) -> list[dict[str, Any]]:
    """Return the manifests of all runs of a store, oldest first."""
    return list(_manifests(location(store)).values())


def worked(store: str | os.PathLike[str] | Location) -> str:
    """Return the manifest of the last run that computed or failed a track; without one, of the last run.

    Raises
    ------
    StoreError
        A store without runs, or no store.
    """
    root, found = _found(store)
    busy = [k for k, m in found.items() if m["status"] != "finished" or m.get("done") or m.get("failed")]
    return f"{root.url}/{busy[-1] if busy else next(reversed(found))}"


def read(run: str | os.PathLike[str]) -> tuple[dict[str, Any], Run]:
    """Read manifest and receipts of a run: the last one of a store, or one by its file in ``<store>/.runs``.

    Returns
    -------
    manifest : dict
    run : Run
        The receipts up to the end, also of a run that was killed.

    Raises
    ------
    StoreError
        No run there.
    """
    text = os.fspath(run).rstrip("/")
    folder, mark, name = text.rpartition(f"/{FOLDER}/")
    options = run.options if isinstance(run, Location) else None
    root = location(folder if mark else text, options)
    key = f"{FOLDER}/{name.removesuffix('l').removesuffix('.json')}.json" if mark else None
    key = key or last(root).removeprefix(f"{root.url}/")
    held = root.read(key)
    if held is None:
        raise StoreError(f"{run}: no such run; expected a store, or a file of its folder {FOLDER}")
    manifest = _manifest(held[0], f"{root.name}/{key}")
    seconds = float(manifest.get("seconds", 0.0))
    return manifest, Run(root.url, _receipts(root, key), manifest["engine"], seconds, f"{root.url}/{key}l")


def _receipts(root: Location, key: str) -> tuple[dict[str, Any], ...]:
    """Read the receipts of a run: put together at its end, or one by one in the order of their writing."""
    joined = root.read(f"{key}l")
    if joined is not None:
        lines: list[bytes | None] = list(joined[0].splitlines())
    else:
        found = root.objects(f"{key.removesuffix('.json')}/")
        lines = list(root.read_all(sorted(found, key=lambda k: found[k].modified)))
    out = []
    for line in filter(None, lines):
        try:
            receipt = parse_json(line, f"{root.name}/{key}l", error=StoreError, nan=True, kind=dict)
        except StoreError as error:  # its track is there, or is made again
            log.warning("a receipt is left out: %s", error)
            continue
        if "outcome" in receipt:
            out.append(receipt)
    return tuple(out)


def alive(manifest: Mapping[str, Any]) -> bool | None:
    """Return True if a run is in progress; None if it runs on another machine, where this cannot be known."""
    if manifest["status"] != "running":
        return False
    if manifest["host"] != platform.node() or manifest.get("machine", machine()) != machine():
        return None
    started = process_start(int(manifest["process"]))
    return started is not None and started == manifest.get("process_started", started)


def resumable(root: Location) -> set[str]:
    """Return the first ids of the runs in progress in a store, and of the last one if it has not finished."""
    found = list(_manifests(root).values())
    going = [m for m in found if alive(m) is not False]
    going += [m for m in found[-1:] if m["status"] != "finished"]
    return {m.get("of", m["id"]) for m in going}


# -- resuming
def resumed(
    store: str | os.PathLike[str], kind: str, changes: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any], Earlier]:
    """Read the last run of a store and collect the arguments that resume it.

    Parameters
    ----------
    store : str or Path
    kind : {"run", "labels"}
        Kind of run expected.
    changes : mapping
        Arguments to change, such as ``engine``; ``sources`` if the recorded ones cannot be opened.

    Returns
    -------
    manifest : dict
    changes : dict
        With ``sources``, ``engine`` and ``engine_options``.
    earlier : Earlier
        The run itself.

    Raises
    ------
    StoreError
        No such run, or one whose record is not enough to resume it.
    """
    manifest, _ = read(store)
    if manifest["kind"] != kind:
        raise StoreError(
            f"{store}: its last run is of kind {manifest['kind']}; resume it by {command_to_resume(manifest, store)}"
        )
    if not manifest["again"] and "sources" not in changes:
        raise StoreError(
            f"{store}: the sources of its last run cannot be opened from its record (signed URLs, open files, objects "
            "of a Python session); give them again"
        )
    if manifest["where"] and "engine" not in changes:
        raise StoreError(
            f"{store}: its last run was on a cluster ({manifest['where']}); name an engine to resume it"
        )
    begun = manifest.get("begun", datetime.fromisoformat(manifest["started"]).timestamp())
    out = {"sources": manifest["sources"], **changes}
    if "engine" not in changes:
        out |= _same_engine(store, manifest, changes)
    return manifest, out, Earlier(manifest.get("of", manifest["id"]), begun)


def _same_engine(
    store: str | os.PathLike[str], manifest: Mapping[str, Any], changes: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the engine of a run and its options with the changes."""
    before, given = manifest["engine_options"], dict(changes.get("engine_options") or {})
    missing = [name for name in manifest.get("withheld", ()) if name not in given]
    if missing:
        raise StoreError(
            f"{store}: {', '.join(missing)} of its last run's engine ({manifest['engine']}) is not recorded, or not "
            "in full, as it may hold secrets; give it again, or name an engine"
        )
    given = {k: {**before.get(k, {}), **v} if isinstance(v, Mapping) else v for k, v in given.items()}
    return {"engine": manifest["engine"], "engine_options": {**before, **given}}


def command_to_resume(manifest: Mapping[str, Any], store: str | os.PathLike[str]) -> str:
    """Return the command that resumes a run."""
    if manifest["kind"] == "classes":
        return "the same is2ice classify command, which skips finished tracks"
    command = {"run": "is2ice run", "labels": "is2ice labels many"}[manifest["kind"]]
    return f"{command} --resume --store {store}"

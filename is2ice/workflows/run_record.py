"""What a run leaves in its store: ``.runs/<id>.json``, what was asked for and how it ended; receipts in ``<id>.jsonl``.

Both are written as things happen, so that a run that was killed has left its record. No secret goes into them.
"""

from __future__ import annotations

import itertools
import json
import logging
import os
import platform
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from is2ice import engines
from is2ice.errors import StoreError
from is2ice.io.stores import store as stores
from is2ice.io.stores.layout import _started, write_json
from is2ice.io.urls import scrub
from is2ice.science import epoch
from is2ice.version import __version__

from .receipts import Run, json_line

if TYPE_CHECKING:
    from .driver import Manifest, Place

__all__ = ["Earlier", "Record", "alive", "last", "read", "resumable"]

log = logging.getLogger("is2ice")

FOLDER = ".runs"
_SECRET = re.compile(r"secret|passw|token|credential|access.?key|api.?key", re.IGNORECASE)
_USER = re.compile(r"//[^/\s]*@")


class Earlier(NamedTuple):
    """The run that others go on with: its id, and when it was begun, s since 1970."""

    id: str
    since: float


class Record:
    """Manifest and receipts on disk.

    Attributes
    ----------
    of : str
        Id of the run, or of the first one that it goes on with.
    begun : bool
        Whether there were workers and they were given something. What never came to that leaves no record, so that
        the run before stays the last.
    """

    def __init__(self, root: Path, manifest: Manifest, place: Place, earlier: Earlier | None = None) -> None:
        self.root = root
        self.begun = False
        options, withheld = _told(place.options)
        now = epoch.now()
        name = stem = f"{now.replace(':', '').replace('-', '')}-{os.getpid()}"
        for k in itertools.count(1):  # several in a second
            if not (root / FOLDER / f"{name}.json").exists():
                break
            name = f"{stem}-{k}"
        self.of = earlier.id if earlier else name
        self.document: dict[str, Any] = {
            "id": name,
            "of": self.of,
            "status": "running",
            "begun": earlier.since if earlier else time.time() // 1,
            "started": now,
            "clock": time.time(),
            "is2ice": __version__,
            "engine": place.name,
            "engine_options": options,
            "withheld": withheld,
            "where": _plain(place.engine.where) if isinstance(place.engine, engines.Cluster) else "",
            "host": platform.node(),
            "process": os.getpid(),
            "process_started": _started(os.getpid()),
            **{k: getattr(manifest, k) for k in type(manifest).__dataclass_fields__},
        }

    def __enter__(self) -> Record:
        folder = self.root / FOLDER
        with stores.clear_errors(self.root):
            folder.mkdir(exist_ok=True)
            self.path = folder / f"{self.document['id']}.json"
            self.log = self.path.with_suffix(".jsonl")
            self.save()
            self.stream = self.log.open("a", buffering=1)
        self.write({k: self.document[k] for k in ("started", "is2ice", "engine", "options")})
        return self

    def __exit__(self, kind: Any, fault: Any, trace: Any) -> None:
        self.stream.close()
        if fault is None:
            return
        stopped = kind in (KeyboardInterrupt, GeneratorExit)
        if not (self.begun or stopped):
            self.path.unlink(missing_ok=True)
            self.log.unlink(missing_ok=True)
            return
        self.document |= {
            "status": "interrupted" if stopped else "broken off",
            "finished": epoch.now(),
            "error": "" if kind is KeyboardInterrupt else scrub(f"{kind.__name__}: {fault}"),
        }
        self.save()

    def write(self, document: Mapping[str, Any]) -> None:
        """A receipt."""
        self.stream.write(json_line(document) + "\n")

    def block(self, failed: bool, seconds: float) -> None:
        """Count a block of a track that was prepared, so many seconds after the run was begun."""
        told = self.document.setdefault("blocks", {"made": 0, "failed": 0, "seconds": 0.0})
        told["failed" if failed else "made"] += 1
        told["seconds"] = round(seconds, 3)

    def finish(self, run: Run) -> None:
        """Say that it has ended, and how."""
        counts = {"done": len(run.done), "skipped": len(run.skipped), "failed": len(run.failed)}
        self.document |= {
            "status": "finished",
            "finished": epoch.now(),
            "seconds": round(run.seconds, 3),
            **counts,
        }
        self.save()

    def save(self) -> None:
        """Write the manifest in one step."""
        with stores.clear_errors(self.root):
            write_json(self.path, self.document, indent=1, default=list)


def _told(options: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """What of an engine's options can be written down, and the names of those that cannot, or not whole."""
    out: dict[str, Any] = {}
    for name, value in options.items():
        if isinstance(value, Mapping):
            out[name] = {k: v for k, v in value.items() if not _SECRET.search(k) and _plain(v) == v}
        elif isinstance(value, str | int | float | None) and not _SECRET.search(name):
            out[name] = _plain(value)
    withheld = [k for k, v in options.items() if k not in ("retry_on", "retry_wait") and out.get(k, ...) != v]
    return out, withheld


def _plain(value: Any) -> Any:
    """A value as JSON can hold it; of an address no user and password."""
    if isinstance(value, str):
        return _USER.sub("//", scrub(value))
    return value if isinstance(value, int | float | None) else None


# -- read back ----------------------------------------------------------------------------------------
def _manifests(store: str | os.PathLike[str]) -> dict[Path, dict[str, Any]]:
    """The manifests in a store, oldest first; what a full disk has left half written is no manifest."""
    out = {}
    for path in (Path(store).expanduser() / FOLDER).glob("*.json"):
        if path.name.startswith("."):
            continue
        try:
            out[path] = json.loads(path.read_text())
        except (ValueError, FileNotFoundError):
            log.warning("%s: not a whole manifest", path)
    return dict(sorted(out.items(), key=lambda one: (one[1]["started"], one[1].get("clock", 0.0))))


def last(store: str | os.PathLike[str]) -> Path:
    """The manifest of a store's last run.

    Raises
    ------
    StoreError
        A store without runs, or no store.
    """
    found = list(_manifests(store))
    if not found:
        folder = Path(store).expanduser() / FOLDER
        raise StoreError(f"{store}: no run has left a manifest here ({folder} holds none)")
    return found[-1]


def read(run: str | os.PathLike[str]) -> tuple[dict[str, Any], Run]:
    """Manifest and receipts of a run: the last one of a store, or one by its file in ``<store>/.runs``.

    Returns
    -------
    manifest : dict
    run : Run
        Of a run that was killed, the receipts up to then.

    Raises
    ------
    StoreError
        No run there.
    """
    path = Path(run).expanduser()
    path = last(path) if path.is_dir() else path.with_suffix(".json")
    if not path.exists():
        raise StoreError(f"{run}: no such run; expected a store, or a file of its folder {FOLDER}")
    try:
        manifest = json.loads(path.read_text())
    except ValueError:
        raise StoreError(f"{path}: not a whole manifest; the disk was full, or its run was killed") from None
    lines = path.with_suffix(".jsonl")
    receipts = []
    for line in lines.read_text().splitlines()[1:] if lines.exists() else ():
        try:
            receipts.append(json.loads(line))
        except ValueError:  # cut short as its run was killed
            log.warning("%s: a receipt cut short", lines)
    seconds = float(manifest.get("seconds", 0.0))
    return manifest, Run(str(path.parent.parent), tuple(receipts), manifest["engine"], seconds, str(lines))


def alive(manifest: Mapping[str, Any]) -> bool | None:
    """Whether a run that has not ended is going on; None where that is not to be told, on another machine."""
    if manifest["status"] != "running":
        return False
    if manifest["host"] != platform.node():
        return None
    started = _started(int(manifest["process"]))
    return started is not None and started == manifest.get("process_started", started)


def resumable(root: Path) -> set[str]:
    """First ids of the runs that are going on in a store, and of the last one if it has not finished."""
    found = list(_manifests(root).values())
    going = [m for m in found if alive(m) is not False]
    going += [m for m in found[-1:] if m["status"] != "finished"]
    return {m.get("of", m["id"]) for m in going}

"""A store's folder: its root, tracks put in place in one step, and the sweeping after crashes."""

from __future__ import annotations

import errno
import json
import logging
import os
import re
import shutil
import socket
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from is2ice import schema
from is2ice.errors import StoreError
from is2ice.io.urls import file_path, public_url
from is2ice.version import __version__

__all__ = [
    "META",
    "attributes",
    "clear_errors",
    "group_meta",
    "hidden_name",
    "is_url",
    "move_in",
    "recover",
    "write_json",
]

log = logging.getLogger("is2ice")

META = "zarr.json"
#: A temporary name tells whose it is: kind, track, a unique part, process (id and start), host.
_HIDDEN = re.compile(
    r"^\.(?P<kind>tmp|old)-(?P<granule>.+)-(?P<beam>gt[123][lr])-(?P<unique>[0-9a-f]{8})"
    r"-(?P<pid>\d+)\.(?P<start>\d+)-(?P<host>.+)$"
)
_HOST = socket.gethostname()
#: What another machine left is taken for dead after this long without a change, s.
FOREIGN_AGE = 86_400.0


@contextmanager
def clear_errors(path: Path) -> Iterator[None]:
    """Failures to write as :class:`StoreError`, saying where and what to do."""
    try:
        yield
    except StoreError:
        raise
    except OSError as error:
        denied = error.errno in (errno.EACCES, errno.EPERM, errno.EROFS)
        hint = "is it read-only? Name a folder you may write to" if denied else "check the path and the disk"
        reason = error.strerror or str(error)
        raise StoreError(f"cannot write to {path}: {reason} ({error.filename or path}); {hint}") from error


def group_meta(attrs: Mapping[str, Any]) -> dict[str, Any]:
    """Zarr v3 metadata of a group."""
    return {"zarr_format": 3, "node_type": "group", "attributes": dict(attrs)}


def write_json(path: Path, document: Mapping[str, Any], **how: Any) -> None:
    """Write a JSON file in one step; `how` as for :func:`json.dumps`."""
    part = path.with_name(f".{path.name}-{uuid.uuid4().hex[:8]}")
    try:
        part.write_text(json.dumps(document, **how))
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def attributes(group: Path) -> dict[str, Any] | None:
    """Attributes of a group on disk, None where there is none."""
    try:
        return dict(json.loads((group / META).read_text()).get("attributes", {}))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError as error:
        raise StoreError(f"{group / META}: cannot be read: {error.strerror}") from error
    except (ValueError, AttributeError) as error:
        raise StoreError(f"{group / META}: not Zarr metadata ({error})") from error


def create(store: str | os.PathLike[str]) -> Path:
    """Make a store, or check that the one there can be used.

    Parameters
    ----------
    store : str or Path
        A local folder: new, empty, or a store.

    Returns
    -------
    Path

    Raises
    ------
    StoreError
        Not writable, not a store, or of another schema version.
    """
    root = local(store)
    if (root / META).exists():
        check_version(attributes(root), str(root))
        return root
    with clear_errors(root):
        taken = root.exists() and any(not p.name.startswith(".") for p in root.iterdir())
        if taken and (root / META).exists():  # made meanwhile by another run, its metadata first
            return create(root)
        if taken:
            raise StoreError(
                f"{root}: not an is2ice store (no {META}) and not empty; name a new folder, or an existing store"
            )
        root.mkdir(parents=True, exist_ok=True)
        attrs = {
            "title": "is2ice tracks",
            "is2ice_store": True,
            "schema_version": schema.SCHEMA_VERSION,
            "is2ice_version": __version__,
        }
        write_json(root / META, group_meta(attrs))
    return root


def is_store(path: Any) -> bool:
    """Whether a path or URL looks like a Zarr group rather than a file."""
    if not isinstance(path, str | os.PathLike):
        return False
    text = os.fspath(path)
    if is_url(text):
        folder = public_url(text).rstrip("/")
        return folder.endswith(".zarr") or ".zarr/" in folder
    return (Path(_local(text)).expanduser() / META).exists()


def is_url(text: str) -> bool:
    return "://" in text and not text.startswith("file://")


def local(store: str | os.PathLike[str]) -> Path:
    text = os.fspath(store)
    if is_url(text):
        where = public_url(text)
        raise StoreError(f"{where}: stores are written to local folders; write there, then copy or sync it")
    return Path(_local(text)).expanduser().absolute()


def check_version(attrs: Mapping[str, Any] | None, where: str) -> None:
    version = str((attrs or {}).get("schema_version", ""))
    if not version:
        raise StoreError(f"{where}: a Zarr group, but not of an is2ice store (no schema_version attribute)")
    if version.split(".")[0] != schema.SCHEMA_VERSION.split(".")[0]:
        raise StoreError(
            f"{where}: schema version {version}; this is2ice ({__version__}) reads and writes version "
            f"{schema.SCHEMA_VERSION}. Use the is2ice of that store, or write to a new one."
        )


def hidden_name(kind: str, granule: str, beam: str) -> str:
    """Name under which this process keeps a track that is not, or no longer, in its place."""
    pid = os.getpid()
    return f".{kind}-{granule}-{beam}-{uuid.uuid4().hex[:8]}-{pid}.{_started(pid) or 0}-{_HOST}"


def move_in(temp: Path, root: Path, granule: str, beam: str) -> None:
    """Put a finished track in its place; the one it replaces stays until then.

    Raises
    ------
    StoreError
        When other runs keep writing the same track.
    """
    group, target = root / granule, root / granule / beam
    group.mkdir(exist_ok=True)
    if not (group / META).exists():
        write_json(group / META, group_meta({"granule": granule, "schema_version": schema.SCHEMA_VERSION}))
    for _ in range(20):  # more than one turn only when another run writes the same track
        if not target.exists():
            if _rename(temp, target):
                return
            continue
        _drop_consolidated(root)
        old = root / hidden_name("old", granule, beam)
        try:
            os.rename(target, old)
        except FileNotFoundError:
            continue
        try:
            if _rename(temp, target):
                return
        finally:
            if target.exists():
                shutil.rmtree(old, ignore_errors=True)
            else:
                os.rename(old, target)
    raise StoreError(f"{target}: other runs keep writing this track; let one run at a time write it")


def _rename(temp: Path, target: Path) -> bool:
    """False when another writer was first."""
    try:
        os.rename(temp, target)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            return False
        raise
    return True


def _drop_consolidated(root: Path) -> None:
    """A root that describes a track about to be replaced would mislead readers after a crash."""
    meta = json.loads((root / META).read_text())
    if meta.pop("consolidated_metadata", None) is not None:
        write_json(root / META, meta)


def _started(pid: int) -> int | None:
    """Start of a live process in clock ticks since boot (0 where /proc is missing), None if dead."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if fields[0] in "ZX" else int(fields[19])
    except (FileNotFoundError, ProcessLookupError):
        if Path("/proc/self/stat").exists():
            return None
    except (OSError, ValueError, IndexError):
        return 0
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except OSError:
        pass
    return 0


def _is_dead(name: re.Match[str], path: Path) -> bool:
    if name["host"] == _HOST:
        start = _started(int(name["pid"]))
        return start is None or str(start) != name["start"]  # else the number was given to another process
    try:
        newest = max(p.stat().st_mtime for p in (path, *path.rglob("*")))
    except OSError:
        return False
    return time.time() - newest > FOREIGN_AGE


def recover(store: str | os.PathLike[str]) -> list[str]:
    """Put back or remove what writers that died left in a store; live writers are not touched.

    A writer on another machine is taken for dead after a day without a change.

    Returns
    -------
    list of str
        What was done, a line each.
    """
    root, done = local(store), []
    with clear_errors(root):
        entries = [(p, m) for p in root.iterdir() if (m := _HIDDEN.match(p.name))]
        for path, name in entries:
            if not _is_dead(name, path):
                continue
            track, target = f"{name['granule']}/{name['beam']}", root / name["granule"] / name["beam"]
            with suppress(FileNotFoundError):  # another run recovers too
                if name["kind"] == "old" and not target.exists():
                    # The writer died between moving the old track away and the new one in.
                    os.rename(path, target)
                    done.append(f"{track}: put back after an interrupted replacement")
                else:
                    shutil.rmtree(path)
                    done.append(f"{track}: removed what an interrupted run left")
    for line in done:
        log.info("%s: %s", root, line)
    return done


def _local(text: str) -> str:
    """Path of a local store, which may be given as a file: URL."""
    return file_path(text) if text.startswith("file:") else text

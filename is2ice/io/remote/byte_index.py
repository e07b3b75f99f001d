"""Kept index of the bytes of remote granules, so that a granule read before opens in one request.

It is kept in the user's cache folder, or in the folder that ``IS2ICE_INDEX`` names; ``IS2ICE_INDEX=0`` keeps none.
Those who may write to one folder share what each has learned. One small JSON file a granule holds the blocks of HDF5
metadata that reading went through, bound to size, entity tag and time of change of the remote file: every opening
still asks the server for these, and an index of another version is thrown away.

Metadata blocks and not Kerchunk references: what one reader learns is part of a granule, and in a reference file
chunks that are not named read as fill values, which is to say as wrong numbers.
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import os
import re
import time
import uuid
import zlib
from contextlib import suppress
from itertools import accumulate
from pathlib import Path
from typing import Any

from .range_file import BLOCK, PAGED_BLOCK, RemoteFile

__all__ = ["folder", "load", "save"]

log = logging.getLogger("is2ice")
#: What a damaged or foreign file raises while it is read.
_UNUSABLE = (OSError, ValueError, KeyError, TypeError, ArithmeticError, RecursionError, zlib.error)
FORMAT = 2
#: Bytes of blocks beyond which no index is kept: that much is not metadata.
LARGEST = 32 * 2**20
#: Bytes of all indices of a folder, beyond which those not used for longest are deleted.
FULL = 256 * 2**20
#: Seconds after which the unfinished file of another writer is one that was never finished.
ABANDONED = 3600.0
#: Names of indices, and of their unfinished files; whatever else lies in the folder is not touched.
_OURS = re.compile(r"(?P<part>\.)?[0-9a-f]{32}\.json(?(part)-[0-9a-f]{8})")


def folder() -> Path | None:
    """Return the folder of kept indices; None if none are to be kept, or no home folder is known to keep them in."""
    named = os.environ.get("IS2ICE_INDEX", "")
    if named.lower() in ("0", "no", "false"):
        return None
    try:
        if named.lower() not in ("", "1", "yes", "true"):
            return Path(named).expanduser()
        return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "is2ice" / "index"
    except RuntimeError:  # a user without a home, as in some containers
        return None


def load(stream: RemoteFile) -> bool:
    """Give a remote file that was just opened the blocks known of it; return True if there were any."""
    path = _path(stream)
    if path is None:
        return False
    try:
        size, blocks = _unpacked(path, stream)
    except FileNotFoundError:
        return False
    except _UNUSABLE as error:
        log.info("%s: its index is dropped (%s)", stream.name, error)
        with suppress(OSError):
            path.unlink()
        return False
    stream.adopt(size, blocks)
    with suppress(OSError):
        os.utime(path)
    return True


def _unpacked(path: Path, stream: RemoteFile) -> tuple[int, dict[int, bytes]]:
    """Read the size of blocks, and the blocks by number, from a kept index; errors where it is not quite right."""
    if path.stat().st_size > 2 * LARGEST:
        raise ValueError("too long")
    document = json.loads(path.read_bytes())
    if document["format"] != FORMAT or document["version"] != _version(stream):
        raise ValueError("of another version")
    size, numbers, packed = document["block"], document["numbers"], base64.b64decode(document["blocks"])
    if document["sha256"] != _digest(size, numbers, packed):
        raise ValueError("damaged")
    last = (stream.size - 1) // size
    if size not in (BLOCK, PAGED_BLOCK) or not all(0 <= i <= last for i in numbers):
        raise ValueError("blocks that the file does not have")
    data = zlib.decompressobj().decompress(packed, LARGEST)
    lengths = [min(size, stream.size - i * size) for i in numbers]
    if sum(lengths) != len(data):
        raise ValueError("damaged")
    starts = accumulate(lengths, initial=0)
    return size, {i: data[at : at + n] for i, at, n in zip(numbers, starts, lengths, strict=False)}


def _digest(size: int, numbers: list[int], packed: bytes) -> str:
    """Checksum of all that an index holds."""
    return hashlib.sha256(json.dumps([size, numbers]).encode() + packed).hexdigest()


def save(stream: RemoteFile) -> Path | None:
    """Keep what is known of a remote file, if that is wanted and more than was kept before."""
    path = _path(stream)
    size, blocks = stream.block, stream.blocks()
    total = sum(map(len, blocks.values()))
    if path is None or len(blocks) <= stream.adopted or total > LARGEST:
        return None
    numbers = sorted(blocks)
    packed = zlib.compress(b"".join(blocks[i] for i in numbers), 3)
    document = {
        "format": FORMAT,
        "url": stream.name,
        "version": _version(stream),
        "block": size,
        "numbers": numbers,
        "sha256": _digest(size, numbers, packed),
        "blocks": base64.b64encode(packed).decode(),
    }
    part = path.with_name(f".{path.name}-{uuid.uuid4().hex[:8]}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(document))
        os.replace(part, path)
        _trim(path.parent)
    except OSError as error:  # an index is a help, never a need
        log.info("%s: no index is kept (%s)", stream.name, error)
        with suppress(OSError):
            part.unlink()
        return None
    stream.adopted = len(blocks)
    return path


def _trim(where: Path) -> None:
    """Delete the indices not used for longest, where they are more than a folder may hold, and abandoned files."""
    kept = []
    for path in where.iterdir():
        named = _OURS.fullmatch(path.name)
        with suppress(OSError):  # another process has deleted it meanwhile
            if named is None:
                continue
            found = path.stat()
            if named["part"] is None:
                kept.append((found.st_mtime, found.st_size, path))
            elif time.time() - found.st_mtime > ABANDONED:
                path.unlink()
    held = 0
    for _, size, path in sorted(kept, reverse=True):
        held += size
        if held > FULL:
            with suppress(OSError):
                path.unlink()


def _path(stream: RemoteFile) -> Path | None:
    where = folder()
    if where is None or _version(stream)[1:] == [None, None]:  # a change could not be noticed
        return None
    return where / f"{hashlib.sha256(stream.name.encode()).hexdigest()[:32]}.json"


def _version(stream: RemoteFile) -> list[Any]:
    assert stream.version is not None
    size, tag, modified = stream.version
    return [size, tag, None if modified is None else modified.isoformat()]

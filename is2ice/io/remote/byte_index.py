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
import uuid
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

from .range_file import RemoteFile

__all__ = ["folder", "load", "save"]

log = logging.getLogger("is2ice")
FORMAT = 1
#: Bytes of blocks beyond which no index is kept: that much is not metadata.
LARGEST = 32 * 2**20
#: Bytes of all indices of a folder, beyond which those not used for longest are deleted.
FULL = 256 * 2**20


def folder() -> Path | None:
    """Return the folder of kept indices; None if none are to be kept."""
    named = os.environ.get("IS2ICE_INDEX", "")
    if named.lower() in ("0", "no", "false"):
        return None
    if named.lower() not in ("", "1", "yes", "true"):
        return Path(named).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "is2ice" / "index"


def load(stream: RemoteFile) -> bool:
    """Give a remote file that was just opened the blocks known of it; whether there were any."""
    path = _path(stream)
    if path is None:
        return False
    try:
        document = json.loads(path.read_bytes())
        if document["format"] != FORMAT or document["version"] != _version(stream):
            raise ValueError("of another version")
        packed = base64.b64decode(document["blocks"])
        if hashlib.sha256(packed).hexdigest() != document["sha256"]:
            raise ValueError("damaged")
        data, size = zlib.decompressobj().decompress(packed, LARGEST), int(document["block"])
        blocks, at = {}, 0
        for i in document["numbers"]:
            length = min(size, stream.size - int(i) * size)
            blocks[int(i)] = data[at : at + length]
            at += length
        if at != len(data):
            raise ValueError("damaged")
    except FileNotFoundError:
        return False
    except (OSError, ValueError, KeyError, TypeError, zlib.error) as error:
        log.info("%s: its index is dropped (%s)", stream.name, error)
        with suppress(OSError):
            path.unlink()
        return False
    stream.adopt(size, blocks)
    with suppress(OSError):
        os.utime(path)
    return True


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
        "sha256": hashlib.sha256(packed).hexdigest(),
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
    """Delete the indices not used for longest, where they are more than a folder may hold."""
    kept = sorted(((s.st_mtime, s.st_size, p) for p in where.glob("*.json") if (s := p.stat())), reverse=True)
    held = 0
    for _, size, path in kept:
        held += size
        if held > FULL:
            path.unlink(missing_ok=True)


def _path(stream: RemoteFile) -> Path | None:
    where = folder()
    if where is None or _version(stream)[1:] == [None, None]:  # a change could not be noticed
        return None
    return where / f"{hashlib.sha256(stream.name.encode()).hexdigest()[:32]}.json"


def _version(stream: RemoteFile) -> list[Any]:
    assert stream.version is not None
    size, tag, modified = stream.version
    return [size, tag, None if modified is None else modified.isoformat()]

"""JSON and TOML documents from outside, read in one way whatever is in them.

A document is refused with an error of the package where it is too large, in another encoding, nested without end, or
says one name twice; where a number in it is no number that JSON has (NaN, Infinity, beyond float64); and where a text
in it is no Unicode. The message names the document and the fault.
"""

from __future__ import annotations

import json
import os
import re
import stat
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from is2ice.errors import Is2IceError

__all__ = ["LARGEST", "limited", "parse_json", "parse_toml", "read_json", "read_text", "read_toml"]

#: Most bytes of a document.
LARGEST = 64 * 2**20
#: Words of JSON for kinds of Python.
_KINDS: dict[type, str] = {dict: "an object", list: "an array"}
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def limited(pieces: Iterable[bytes], where: str, *, error: type[Is2IceError], limit: int = LARGEST) -> bytes:
    """Join the pieces of a body, up to a limit.

    Parameters
    ----------
    pieces : iterable of bytes
    where : str
        Name for the message.
    error : type
        Raised in the package's name.
    limit : int
        Bytes.

    Raises
    ------
    Is2IceError
        An error of the type `error`: more bytes than the limit.
    """
    out, size = [], 0
    for piece in pieces:
        size += len(piece)
        if size > limit:
            raise error(f"{where}: more than {limit:,} bytes; expected a document of at most that")
        out.append(piece)
    return b"".join(out)


def read_text(path: str | os.PathLike[str], *, error: type[Is2IceError], limit: int = LARGEST) -> str:
    """Read a text file in UTF-8.

    Raises
    ------
    FileNotFoundError
    Is2IceError
        An error of the type `error`: no regular file, too large, in another encoding, not readable.
    """
    place = Path(path)
    try:
        kind = place.stat()
        if not stat.S_ISREG(kind.st_mode):
            raise error(f"{path}: expected a file, got a {'folder' if place.is_dir() else 'pipe or device'}")
        if kind.st_size > limit:
            raise error(f"{path}: {kind.st_size:,} bytes, expected at most {limit:,}")
        return place.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        raise error(f"{path}: not text in UTF-8 ({fault}); save it as UTF-8") from None
    except FileNotFoundError:
        raise
    except OSError as fault:
        raise error(f"{path}: cannot be read: {fault.strerror or fault}") from fault


def parse_json(
    text: str | bytes,
    where: str,
    *,
    error: type[Is2IceError],
    nan: bool = False,
    kind: type | None = None,
) -> Any:
    """Parse a JSON document.

    Parameters
    ----------
    text : str or bytes
    where : str
        Name for the message.
    error : type
        Raised in the package's name.
    nan : bool
        Take NaN, Infinity, and names of files that are no UTF-8, as Python writes them.
    kind : type, optional
        ``dict`` or ``list``: kind of the document; any by default.

    Raises
    ------
    Is2IceError
        An error of the type `error`.
    """
    number = float if nan else _number
    try:
        text = (text.decode() if isinstance(text, bytes) else text).removeprefix("\ufeff")
        document = json.loads(text, object_pairs_hook=_unique, parse_constant=number, parse_float=number)
        if _SURROGATE.search(text):
            # A file's name that is no UTF-8 stands so in what Python has written.
            json.dumps(document, ensure_ascii=False).encode(errors="surrogateescape" if nan else "strict")
    except UnicodeError as fault:
        raise error(f"{where}: not text in UTF-8 ({_short(fault)}); fetch or save it again") from None
    except ValueError as fault:
        raise error(f"{where}: not JSON, or truncated ({_short(fault)}); fetch or write it again") from None
    except RecursionError:
        raise error(f"{where}: nested too deeply to be such a document") from None
    if kind is not None and not isinstance(document, kind):
        raise error(
            f"{where}: expected {_KINDS[kind]}, got {_KINDS.get(type(document), 'a single value')}; fetch or write "
            "it again"
        )
    return document


def parse_toml(text: str, where: str, *, error: type[Is2IceError]) -> dict[str, Any]:
    """Parse a TOML document; parameters and errors as for :func:`parse_json`."""
    try:
        return tomllib.loads(text)
    except ValueError as fault:  # of the syntax, or a date that cannot be
        raise error(f"{where}: not a TOML file: {_short(fault)}") from None
    except RecursionError:
        raise error(f"{where}: nested too deeply to be such a file") from None


def read_json(
    path: str | os.PathLike[str],
    *,
    error: type[Is2IceError],
    limit: int = LARGEST,
    nan: bool = False,
    kind: type | None = None,
) -> Any:
    """Read a JSON file; errors as for :func:`read_text` and :func:`parse_json`."""
    text = read_text(path, error=error, limit=limit)
    return parse_json(text, os.fspath(path), error=error, nan=nan, kind=kind)


def read_toml(
    path: str | os.PathLike[str], *, error: type[Is2IceError], limit: int = LARGEST
) -> dict[str, Any]:
    """Read a TOML file; errors as for :func:`read_text` and :func:`parse_toml`."""
    return parse_toml(read_text(path, error=error, limit=limit), os.fspath(path), error=error)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice[:60]!r} is said twice")
    return found


def _number(text: str) -> float:
    value = float(text)
    if value - value != 0.0:
        raise ValueError(f"{text[:40]} is no number")
    return value


def _short(fault: Exception) -> str:
    return re.sub(r"\s+", " ", str(fault))[:200]

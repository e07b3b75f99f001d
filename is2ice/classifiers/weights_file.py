"""Arrays in a file that holds nothing executable, written in one step."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from is2ice.errors import ModelError
from is2ice.io.documents import parse_json
from is2ice.io.remote.whole_files import Address, written

__all__ = ["read_arrays", "write_arrays"]

_META = "meta"


def write_arrays(path: Address, groups: Mapping[str, Sequence[Any]], meta: Mapping[str, Any]) -> None:
    """Write groups of arrays and a JSON document as one ``.npz``, whole or not at all.

    Parameters
    ----------
    path : path or address
    groups : mapping of str to sequence of array
    meta : mapping
        Anything JSON can hold.
    """
    flat = {f"{name}.{k:04d}": np.asarray(a) for name, group in groups.items() for k, a in enumerate(group)}
    flat[_META] = np.frombuffer(json.dumps(meta).encode(), "u1")
    with written(path) as part, part.open("wb") as stream:
        np.savez(stream, **flat)  # type: ignore[arg-type]


def read_arrays(
    path: Path | io.BytesIO, *, name: str = "", limit: int = 2**31
) -> tuple[dict[str, list[NDArray[Any]]], dict[str, Any]]:
    """Read what :func:`write_arrays` wrote.

    Parameters
    ----------
    path : Path or bytes in memory
    name : str
        For errors.
    limit : int
        Most bytes that the arrays may take in memory.

    Returns
    -------
    groups, meta

    Raises
    ------
    ModelError
        Truncated, not such a file, too large, or with Python objects (pickle), which are never loaded.
    """
    where = name or str(path)
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
            if size > limit:
                raise ModelError(f"{where}: {size:,} bytes of arrays, expected at most {limit:,}")
            broken = archive.testzip()
            if broken is not None:
                raise ModelError(f"{where}: {broken} is damaged; copy the file again or train again")
        if isinstance(path, io.BytesIO):
            path.seek(0)
        with np.load(path, allow_pickle=False) as file:
            meta = parse_json(bytes(file[_META]), where, error=ModelError, nan=True)
            groups: dict[str, list[NDArray[Any]]] = {}
            for key in sorted(file.files):
                if key != _META:
                    groups.setdefault(key.rsplit(".", 1)[0], []).append(file[key])
    except ModelError:
        raise
    except FileNotFoundError:
        raise
    except (zipfile.BadZipFile, EOFError, KeyError, ValueError, OSError, TypeError) as error:
        text = str(error)
        if "pickle" in text or "Object arrays" in text:
            text = "it holds Python objects (pickle), which may run code and are never loaded"
        raise ModelError(f"{where}: not a file of arrays written by is2ice, or truncated ({text})") from error
    return groups, meta

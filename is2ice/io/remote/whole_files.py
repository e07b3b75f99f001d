"""Files, and folders of files, that other libraries write or read: at a path or an address of a bucket alike.

What is written is there whole or not at all; what is read from a bucket is fetched first. Stores of tracks need none of
this (:mod:`is2ice.io.remote.location`).
"""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from is2ice.errors import StoreError
from is2ice.io.urls import local_path, public_url

from .location import FolderLocation, Location, clear_errors, is_url, location

__all__ = [
    "Address",
    "address",
    "exists",
    "fetched",
    "place_of",
    "remove",
    "suffix",
    "written",
    "written_folder",
]

Address = str | os.PathLike[str]


def address(where: Address) -> Path | str:
    """Give a path as such, and an address of a bucket as text."""
    text = os.fspath(where)
    return text if is_url(text) else Path(local_path(text)).expanduser()


def suffix(where: Address) -> str:
    """Return the ending of a name, with its dot, in lower case."""
    return os.path.splitext(os.fspath(where).rstrip("/"))[1].lower()


def place_of(where: Address, options: Mapping[str, Any] | None = None) -> tuple[Location, str]:
    """Return the location that holds a file or folder, and its key there.

    Raises
    ------
    StoreError
        No name, an address of another kind, or a folder that is not there.
    """
    options = where.options if isinstance(where, Location) else options
    text = os.fspath(address(where)).rstrip("/")
    if not is_url(text):
        text = os.path.abspath(text)
    above, _, name = text.rpartition("/")
    if not name or above.endswith((":/", "//")):
        raise StoreError(f"{text}: expected a name below a folder or a bucket")
    if not is_url(text) and not os.path.isdir(above or "/"):
        raise StoreError(f"cannot write {text}: there is no folder {above}; make it, or name another")
    return location(above or "/", options), name


def exists(where: Address) -> bool:
    """Return True if a file or a folder is there."""
    if not is_url(os.fspath(where)):
        return Path(address(where)).exists()
    place, name = place_of(where)
    return place.read(name) is not None or bool((place / name).objects())


def remove(where: Address) -> None:
    """Remove a file, if it is there."""
    place, name = place_of(where)
    place.delete([name])


@contextmanager
def written(where: Address, options: Mapping[str, Any] | None = None) -> Iterator[Path]:
    """Give a path to write a file to; when the block ends without an error, the file is at its address.

    Parameters
    ----------
    where : path or address
        An earlier file is replaced.
    options : mapping, optional
        Storage options (:func:`is2ice.io.remote.location.location`).

    Raises
    ------
    StoreError
        Not to be written there.
    """
    place, name = place_of(where, options)
    with _scratch(place, name) as part:
        yield part
        with clear_errors(place.name):
            if isinstance(place, FolderLocation):
                os.replace(part, place.folder / name)
            else:
                place.put(name, part.read_bytes())


@contextmanager
def written_folder(where: Address, last: str, options: Mapping[str, Any] | None = None) -> Iterator[Path]:
    """Give a folder to write to; when the block ends without an error, it is at its address.

    Parameters
    ----------
    where : path or address
        An earlier folder is replaced; for a moment there is none, never a mixture.
    last : str
        Name of the file without which readers take the folder for absent: in a bucket, it is written last.
    options : mapping, optional
        Storage options.

    Raises
    ------
    StoreError
        Not to be written there.
    """
    place, name = place_of(where, options)
    with _scratch(place, name) as part:
        part.mkdir()
        yield part
        with clear_errors(place.name):
            if isinstance(place, FolderLocation):
                _move_in(part, place.folder / name)
                return
        objects = {
            f"{name}/{p.relative_to(part).as_posix()}": p.read_bytes() for p in part.rglob("*") if p.is_file()
        }
        final = {f"{name}/{last}": objects.pop(f"{name}/{last}")}
        earlier = place.objects(f"{name}/").keys() - objects.keys() - final.keys()
        place.delete(final)
        place.put_all(objects)
        place.put_all(final)
        place.delete(earlier)


@contextmanager
def fetched(where: Address, options: Mapping[str, Any] | None = None) -> Iterator[Path]:
    """Give the path of a file that is read: its own, or that of a copy while the block lasts.

    Raises
    ------
    FileNotFoundError
        There is no such file in the bucket.
    """
    if not is_url(os.fspath(where)):
        yield Path(address(where))
        return
    place, name = place_of(where, options)
    held = place.read(name)
    if held is None:
        raise FileNotFoundError(f"{public_url(os.fspath(where))}: no such file")
    with tempfile.TemporaryDirectory(prefix="is2ice-") as folder:
        copy = Path(folder) / Path(urlsplit(name).path).name
        copy.write_bytes(held[0])
        yield copy


@contextmanager
def _scratch(place: Location, name: str) -> Iterator[Path]:
    """Yield a path of the same ending, beside the final one where that is a path; nothing is left of it."""
    if isinstance(place, FolderLocation):
        part = place.folder / f".{uuid.uuid4().hex[:8]}-{name}"
        try:
            with clear_errors(place.folder / name, part):
                yield part
        finally:
            shutil.rmtree(part) if part.is_dir() else part.unlink(missing_ok=True)
    else:
        with tempfile.TemporaryDirectory(prefix="is2ice-") as folder:
            yield Path(folder) / name


def _move_in(part: Path, folder: Path) -> None:
    """Put a folder into its place; a folder cannot be replaced in one step, so that an earlier one is put back."""
    old = folder.with_name(f".{uuid.uuid4().hex[:8]}-{folder.name}.old")
    if folder.exists():
        os.rename(folder, old)
    try:
        os.rename(part, folder)
    except OSError:
        if old.exists():
            os.rename(old, folder)
        raise
    if old.exists():
        for hidden in old.glob(".*"):  # of other programs, such as .DS_Store
            with suppress(OSError):  # the replacement stands; what cannot be moved goes with the old folder
                if not os.path.lexists(folder / hidden.name):
                    os.rename(hidden, folder / hidden.name)
    shutil.rmtree(old, ignore_errors=True)

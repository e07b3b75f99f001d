"""HDF5 files that may be odd, damaged or hostile: the one way in which the package opens objects and reads values.

:class:`Hdf5` is an ``h5py.File`` that follows no link out of the file, opens no dataset whose bytes lie elsewhere,
reads no
more than the file can hold, and raises errors of the package that name file, dataset and remedy. Local master files
made of links are allowed by ``IS2ICE_LINKED_FILES=1``.
"""

from __future__ import annotations

import errno
import os
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
from zlib_ng import zlib_ng

from is2ice.errors import GranuleError, Is2IceError

if TYPE_CHECKING:
    from .range_file import RemoteFile

__all__ = ["MOST_BYTES", "Hdf5", "checked_size", "damage", "locked_text"]

#: Most bytes that one reading may take, whatever a dataset declares.
MOST_BYTES = 8 * 2**30
#: Deflate shrinks to 1/1032 at best; small datasets that were never written may stand in any file.
RATIO, SMALL = 1032, 16 * 2**20
LINKED_FILES = "IS2ICE_LINKED_FILES"
_DAMAGE: Any = (
    OSError,
    RuntimeError,
    ValueError,
    TypeError,
    KeyError,
    EOFError,
    OverflowError,
    zlib.error,
    zlib_ng.error,
)


#: What HDF5 says where memory ran out, which is no damage of a file.
_NO_MEMORY = ("memory allocation failed", "can't allocate", "unable to allocate", "out of memory")


@contextmanager
def damage(name: str, path: str = "", offset: Callable[[], int | None] | None = None) -> Iterator[None]:
    """Turn errors of HDF5 and zlib into a GranuleError with file, dataset, offset and remedy.

    Running out of memory or of open files, a server that fails and the package's own errors pass unchanged.

    Parameters
    ----------
    name : str
        File.
    path : str
        Dataset or group.
    offset : callable, optional
        Gives the byte of the file at which the damaged part begins.
    """
    try:
        yield
    except Is2IceError:
        raise
    except (ConnectionError, TimeoutError, FileNotFoundError, PermissionError):
        raise
    except _DAMAGE as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOMEM, errno.EMFILE, errno.ENFILE):
            raise
        where = f"{name}: {path.lstrip('/')}" if path else name
        text = re.sub(r"\s+", " ", str(error))[:200]
        if any(words in text.lower() for words in _NO_MEMORY):
            raise MemoryError(f"{where}: not enough memory to read it ({text})") from error
        if (locked := locked_text(where, error)) is not None:
            raise GranuleError(locked) from error
        start = None if offset is None else offset()
        at = "" if start is None else f" at byte {start:,}"
        raise GranuleError(
            f"{where} cannot be read{at}: the file is damaged or cut ({type(error).__name__}: {text}); fetch it again"
        ) from error


def locked_text(where: str, error: BaseException) -> str | None:
    """Message for a file that is locked; None for another error."""
    text = re.sub(r"\s+", " ", str(error))[:200]
    if not isinstance(error, BlockingIOError) and "unable to lock" not in text.lower():
        return None
    return (
        f"{where}: the file is locked ({text}): another program writes to it, or the file system knows no locks; "
        "HDF5_USE_FILE_LOCKING=FALSE in the environment reads it all the same"
    )


def checked_size(dataset: h5py.Dataset, rows: int | None = None) -> None:
    """Refuse to read more than a file can hold.

    Parameters
    ----------
    dataset : h5py.Dataset
    rows : int, optional
        Rows along the first axis that are to be read; all by default.

    Raises
    ------
    GranuleError
    """
    count = float(np.prod([float(n) for n in dataset.shape], initial=1.0))
    if rows is not None and dataset.shape and dataset.shape[0]:
        count = count / dataset.shape[0] * min(rows, dataset.shape[0])
    wanted = count * dataset.dtype.itemsize
    if wanted <= SMALL:
        return
    size = getattr(dataset, "file_size", None)
    most = MOST_BYTES if size is None else min(MOST_BYTES, max(SMALL, RATIO * size))
    if wanted > most:
        held = "" if size is None else f" in a file of {size:,} bytes"
        raise GranuleError(
            f"{getattr(dataset, 'granule', dataset.file.filename)}: {dataset.name.lstrip('/')} declares "
            f"{dataset.shape} values of {dataset.dtype} ({wanted:.3g} bytes){held}: not what the product holds; fetch "
            "the file again"
        )


class _Guarded:
    """Common parts of group, file and dataset: the file that they belong to."""

    granule: str = ""
    file_size: int | None = None
    linked: bool = False

    def _like(self, other: Any) -> Any:
        other.granule, other.file_size, other.linked = self.granule, self.file_size, self.linked
        return other


class Dataset(_Guarded, h5py.Dataset):
    """A dataset whose values are read with errors that name it."""

    def __getitem__(self, args: Any, new_dtype: Any = None) -> Any:
        checked_size(self, None if not isinstance(args, slice) else _length(args, self.shape))
        with damage(self.granule, self.name):
            return super().__getitem__(args, new_dtype)


class Group(_Guarded, h5py.Group):
    """A group whose members lie in the file."""

    def __getitem__(self, name: Any) -> Any:
        if not isinstance(name, str):
            return super().__getitem__(name)
        self._check_links(name)
        found = super().__getitem__(name)
        if isinstance(found, h5py.Dataset):
            self._check_storage(found)
            return self._like(Dataset(found.id))
        return self._like(Group(found.id)) if isinstance(found, h5py.Group) else found

    def get(self, name: Any, default: Any = None, **options: Any) -> Any:  # type: ignore[override]
        """Return a member, or the default where there is none."""
        if options:
            return super().get(name, default, **options)
        try:
            return self[name]
        except KeyError:
            return default

    def __contains__(self, name: object) -> bool:
        try:
            self._check_links(str(name))
        except KeyError:
            return False
        return True

    def need(self, path: str, *, rows: int | None = None, ndim: int = 1, why: str = "") -> Dataset:
        """Open a dataset of numbers that is needed.

        Parameters
        ----------
        path : str
        rows : int, optional
            Length that it must have.
        ndim : int
            Dimensions that it must have.
        why : str
            End of the message where it is missing.

        Raises
        ------
        GranuleError
            It is missing, no dataset, no numbers, or of another shape.
        """
        with damage(self.granule, path):
            found = self.get(path)
        where = f"{self.granule}: {path}"
        if found is None:
            raise GranuleError(f"{where} is missing{why or '; the file may be a subset made without it'}")
        if not isinstance(found, h5py.Dataset) or found.dtype.kind not in "fiub":
            got = f"values of {found.dtype}" if isinstance(found, h5py.Dataset) else "a group"
            raise GranuleError(f"{where}: expected numbers, got {got}; fetch the file again")
        if found.ndim != ndim or (rows is not None and found.shape[0] != rows):
            expected = f"{ndim} dimension{'s' if ndim > 1 else ''}" + (
                f" and {rows:,} rows" if rows is not None else ""
            )
            raise GranuleError(
                f"{where}: expected {expected}, got the shape {found.shape}; fetch the file again"
            )
        return found  # type: ignore[no-any-return]

    def _check_links(self, path: str) -> None:
        """Follow a path link by link; KeyError where it ends, GranuleError where it leaves the file."""
        _follow(self, path, self, 0)

    def _check_storage(self, dataset: h5py.Dataset) -> None:
        if self.linked:
            return
        plist = dataset.id.get_create_plist()
        kind = "virtual" if plist.get_layout() == h5py.h5d.VIRTUAL else "stored in other files"
        if kind == "virtual" or plist.get_external_count():
            raise GranuleError(
                f"{self.granule}: {dataset.name.lstrip('/')} is {kind}: its values come from other files, which are "
                "not "
                f"opened; a local master file of your own is read with {LINKED_FILES}=1"
            )


class Hdf5(Group, h5py.File):
    """An open HDF5 file, and the remote file beneath it if it is streamed.

    Parameters
    ----------
    name : path or open binary file
    granule : str
        Name for messages.
    size : int, optional
        Bytes of the file, against which declared sizes are held.
    local : bool
        Links out of the file may be allowed by ``IS2ICE_LINKED_FILES=1``.
    **options
        As for :class:`h5py.File`.
    """

    stream: RemoteFile | None = None

    def __init__(
        self, name: Any, *, granule: str, size: int | None = None, local: bool = False, **options: Any
    ) -> None:
        h5py.File.__init__(self, name, "r", **options)
        self.granule, self.file_size = granule, size
        self.linked = local and os.environ.get(LINKED_FILES, "") not in ("", "0")


def _follow(root: Group, path: str, here: h5py.Group, depth: int) -> None:
    if depth > 16:
        raise KeyError(f"{path}: too many links")
    base = root.file if path.startswith("/") else here
    parts = [p for p in path.split("/") if p not in ("", ".")]
    for i, name in enumerate(parts):
        links = base.id.links
        if not isinstance(base.id, h5py.h5g.GroupID) or not links.exists(name.encode()):
            raise KeyError(path)
        kind = links.get_info(name.encode()).type
        if kind == h5py.h5l.TYPE_SOFT:
            target = links.get_val(name.encode()).decode()
            _follow(root, target, base, depth + 1)
        elif kind != h5py.h5l.TYPE_HARD and not root.linked:
            raise GranuleError(
                f"{root.granule}: {path.lstrip('/')} is a link to another file, which is not opened; a local master "
                "file of "
                f"your own is read with {LINKED_FILES}=1"
            )
        if i + 1 < len(parts):
            base = h5py.Group.__getitem__(base, name)
            if not isinstance(base, h5py.Group):
                raise KeyError(path)


def _length(part: slice, shape: tuple[int, ...]) -> int | None:
    return len(range(*part.indices(shape[0]))) if shape else None

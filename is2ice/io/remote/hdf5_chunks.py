"""Rows of chunked HDF5 datasets, decompressed outside the HDF5 library.

The library reads and decompresses one chunk at a time under a global lock. Here only the raw bytes are
fetched under it; inflating and unshuffling run without any lock, so that threads share the work, and zlib-ng
inflates about twice as fast. Of a remote file only the places of the chunks are asked of the library: their
bytes, of all datasets at once, are then requested in parallel. Whatever is not plain shuffle + deflate is
read by h5py, from bytes fetched beforehand.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
from numpy.typing import NDArray
from zlib_ng import zlib_ng

from is2ice.errors import GranuleError
from is2ice.science.compiled import njit

from . import hdf5_prefetch
from .hdf5_file import checked_size, damage
from .hdf5_prefetch import Chunk

if TYPE_CHECKING:
    from .range_file import RemoteFile

__all__ = ["places", "prefetch", "read_columns", "read_rows"]

_DEFLATE, _SHUFFLE = 1, 2
#: Most bytes of one chunk, inflated; those of the product hold 10,000 rows.
MOST_CHUNK = 2**28


@njit(cache=True, nogil=True)
def _unshuffle(raw: NDArray[Any], out: NDArray[Any], size: Any, n: Any) -> None:
    """Bytes of n items of ``size`` bytes, sorted by significance, back into items."""
    for b in range(size):
        base = b * n
        for i in range(n):
            out[i * size + b] = raw[base + i]


def read_columns(
    datasets: Mapping[str, h5py.Dataset],
    start: int,
    stop: int,
    stream: RemoteFile | None = None,
    column: Mapping[str, int] | None = None,
) -> dict[str, NDArray]:
    """Return the same rows of several datasets; of a remote file, all their chunks in one round of requests.

    Parameters
    ----------
    datasets : mapping of str to h5py.Dataset
    start, stop : int
        Rows along the first axis.
    stream : RemoteFile, optional
        Beneath the datasets' file.
    column : mapping of str to int, optional
        The one column to keep of datasets with two dimensions.

    Returns
    -------
    dict of str to numpy.ndarray
    """
    if stream is not None:
        prefetch(stream, ((dataset, start, stop) for dataset in datasets.values()))
    kept = column or {}
    return {name: read_rows(d, start, stop, stream, kept.get(name)) for name, d in datasets.items()}


def prefetch(stream: RemoteFile, wanted: Iterable[tuple[h5py.Dataset, int, int]]) -> None:
    """Request the bytes of rows of datasets, all at once, so that reading them makes no further request."""
    stream.prefetch(
        [place for dataset, start, stop in wanted for place in places(dataset, start, stop, stream)]
    )


def places(
    dataset: h5py.Dataset, start: int = 0, stop: int | None = None, stream: RemoteFile | None = None
) -> list[tuple[int, int]]:
    """List the byte ranges of a dataset's rows: (first byte, last byte + 1) of each chunk."""
    length = dataset.shape[0] if dataset.shape else 1
    start, stop = max(0, start), length if stop is None else min(stop, length)
    if stop <= start:
        return []
    if dataset.chunks is None:
        first, row = dataset.id.get_offset(), dataset.id.get_storage_size() // length
        return [] if first is None else _inside([(first + start * row, first + stop * row)], stream)
    if dataset.chunks[1:] != dataset.shape[1:]:
        return []
    return _inside([(c.start, c.stop) for c in _located(dataset, start, stop, stream).values()], stream)


def _inside(ranges: list[tuple[int, int]], stream: RemoteFile | None) -> list[tuple[int, int]]:
    """Ranges that lie in the file; others are left to the library, which says what is wrong."""
    return ranges if stream is None else [(a, b) for a, b in ranges if 0 <= a < b <= stream.size]


def _located(dataset: h5py.Dataset, start: int, stop: int, stream: RemoteFile | None) -> dict[int, Chunk]:
    """Chunks that hold rows, by their first row; those never written are not there."""
    rows, tail = dataset.chunks[0], (0,) * (dataset.ndim - 1)
    found = None if stream is None else hdf5_prefetch.chunks(dataset, stream, (start - start % rows, stop))
    if found is not None:
        return found
    out = {}
    for row in range(start - start % rows, stop, rows):
        c = dataset.id.get_chunk_info_by_coord((row, *tail))
        if c.byte_offset is not None:
            out[row] = Chunk(row, c.byte_offset, c.byte_offset + c.size, c.filter_mask)
    return out


def _read(dataset: h5py.Dataset, start: int, stop: int, keep: Any) -> NDArray:
    """Return rows by the library, and the kept column in one piece: kernels are compiled for such arrays."""
    return np.ascontiguousarray(dataset[start:stop][keep])


def read_rows(
    dataset: h5py.Dataset,
    start: int,
    stop: int,
    stream: RemoteFile | None = None,
    column: int | None = None,
) -> NDArray:
    """``dataset[start:stop]``, faster for gzip-compressed chunks.

    Parameters
    ----------
    dataset : h5py.Dataset
    start, stop : int
        Rows along the first axis.
    stream : RemoteFile, optional
        Beneath the dataset's file.
    column : int, optional
        Keep this column of two dimensions alone.

    Returns
    -------
    numpy.ndarray
    """
    keep: Any = ... if column is None else (slice(None), column)
    shape, dtype = dataset.shape, dataset.dtype
    start, stop = max(0, start), min(stop, shape[0])
    shuffled = _plain_filters(dataset, stream is not None)
    if shuffled is None or stop <= start:
        return _read(dataset, start, stop, keep)
    checked_size(dataset, stop - start)
    rows, width = dataset.chunks[0], dtype.itemsize * int(np.prod(shape[1:], dtype=object))
    name = getattr(dataset, "granule", "the file")
    if rows * width > MOST_CHUNK:
        raise GranuleError(
            f"{name}: {dataset.name.lstrip('/')} declares chunks of {rows * width:,} bytes; fetch it again"
        )
    tail, path = (0,) * (len(shape) - 1), dataset.name
    out = np.empty((stop - start, *(shape[1:] if column is None else ())), dtype)
    firsts = range(start - start % rows, stop, rows)
    fetched = None if stream is None else _fetched(dataset, firsts, stream)
    if stream is not None and fetched is None:
        return _read(dataset, start, stop, keep)
    for i, first in enumerate(firsts):
        if fetched is not None:
            raw = fetched[i]
        else:
            try:
                mask, raw = dataset.id.read_direct_chunk((first, *tail))
            except (OSError, RuntimeError, ValueError):  # a chunk never written holds the fill value
                return _read(dataset, start, stop, keep)
            if mask:  # a filter was skipped for this chunk
                return _read(dataset, start, stop, keep)
        lo, hi = max(first, start), min(first + rows, stop)
        with damage(name, path, partial(_start, dataset, first, tail, stream)):
            chunk = _decode(raw, dtype, shuffled, rows * width).reshape(rows, *shape[1:])
        out[lo - start : hi - start] = chunk[lo - first : hi - first][keep]
    return out


def _start(dataset: h5py.Dataset, first: int, tail: tuple[int, ...], stream: RemoteFile | None) -> int | None:
    """Byte of the file at which the chunk of a row begins."""
    if stream is not None:
        found = _located(dataset, first, first + 1, stream).get(first)
        return None if found is None else found.start
    start = dataset.id.get_chunk_info_by_coord((first, *tail)).byte_offset
    return None if start is None else int(start)


def _fetched(dataset: h5py.Dataset, firsts: range, stream: RemoteFile) -> list[bytes] | None:
    """Bytes of chunks of a remote file; None where one was never written or skips a filter."""
    found = _located(dataset, firsts.start, firsts.stop, stream)
    if any(first not in found or found[first].mask for first in firsts):
        return None
    if any(not 0 <= found[first].start < found[first].stop <= stream.size for first in firsts):
        return None
    return stream.fetch([(found[first].start, found[first].stop) for first in firsts])


def _plain_filters(dataset: h5py.Dataset, streamed: bool) -> bool | None:
    """Return True for shuffle + deflate, False for deflate alone, None for anything else or an open file object."""
    if dataset.chunks is None or dataset.chunks[1:] != dataset.shape[1:]:
        return None
    if not streamed and dataset.file.driver != "sec2":
        return None
    plist = dataset.id.get_create_plist()
    filters = [plist.get_filter(i)[0] for i in range(plist.get_nfilters())]
    return {(_SHUFFLE, _DEFLATE): True, (_DEFLATE,): False}.get(tuple(filters))


def _decode(raw: bytes, dtype: np.dtype, shuffled: bool, size: int) -> NDArray:
    """Values of one chunk of a known size, which also bounds what inflating may take."""
    inflated = zlib_ng.decompressobj().decompress(raw, size + 1)
    if len(inflated) != size:
        raise ValueError(f"a chunk of {len(inflated):,} bytes in place of {size:,}")
    data = np.frombuffer(inflated, np.uint8)
    if not shuffled or dtype.itemsize == 1:
        return data.view(dtype)
    out = np.empty_like(data)
    _unshuffle(data, out, dtype.itemsize, data.size // dtype.itemsize)
    return out.view(dtype)

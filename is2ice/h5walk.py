"""HDF5 metadata fetched in parallel, ahead of the library, which asks for one piece after the other.

In files that are not paged (ATL03 before release 007) headers and indices lie scattered over gigabytes, and
each is known only from another: seventy round trips one after the other to open a beam. The library tells
the addresses of a group's members without reading them; here their headers, tables and chunk indices are
followed breadth first, all of one generation in one round of requests, and kept where the library's own
reads will find them. What is fetched so is a hint: the library reads and judges every byte itself.

:func:`chunks` alone answers in the library's place, which would walk a whole index to find one chunk. What
it does not understand it leaves to the library, and a chunk misread would not inflate: deflate carries a
checksum.

References
----------
HDF5 File Format Specification, version 3.0: III.A (B-trees, version 1), III.C-D (symbol tables, local
heaps), IV.A (object headers; messages 0008, 0010, 0011).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import h5py

from .streaming import RemoteFile

__all__ = ["Chunk", "chunks", "warm"]

#: What is asked for of each kind: most headers are smaller; the rest are sizes the library writes by default.
SIZES = {"header": 2048, "tree": 544, "heap": 512, "leaf": 512}
_LAYOUT, _CONTINUATION, _SYMBOLS = 0x08, 0x10, 0x11
_UNDEFINED = 2**64 - 1
Rows = tuple[int, int]


@dataclass(frozen=True)
class Chunk:
    """Where a chunk lies: its first row, its bytes in the file, and the filters skipped for it."""

    row: int
    start: int
    stop: int
    mask: int


@dataclass(frozen=True)
class _Piece:
    """A piece of metadata still to be followed: where, how long, of what kind."""

    address: int
    kind: str  # header, more (of a header), tree, heap, leaf
    rows: Rows | None = None  # those wanted of a chunk index, if it is to be followed
    length: int = 0  # where it is known
    dims: int = 0  # of a chunk index: dimensions of its keys

    @property
    def size(self) -> int:
        if self.kind == "tree" and self.dims:
            return 24 + 64 * 8 + 65 * (8 + 8 * self.dims)
        return self.length or SIZES[self.kind]


def warm(file: h5py.File, stream: RemoteFile, paths: Mapping[str, Rows | None]) -> None:
    """Fetch the metadata that opening objects, and finding their chunks, will read.

    Parameters
    ----------
    file : h5py.File
    stream : RemoteFile
        Beneath the file.
    paths : mapping of str to (start, stop) or None
        Groups and datasets; those that are not there are passed over. With rows, the parts of the chunk index
        that tell of these.
    """
    if stream.paged:
        return
    split = {tuple(path.strip("/").split("/")): rows for path, rows in paths.items()}
    for depth in range(1, max(map(len, split), default=0) + 1):
        level = {path[:depth]: split.get(path[:depth]) for path in split if len(path) >= depth}
        found = {path: address for path in level if (address := _address(file, path)) is not None}
        _follow(stream, [_Piece(address, "header", level[path]) for path, address in found.items()])


def chunks(dataset: h5py.Dataset, stream: RemoteFile, rows: Rows) -> dict[int, Chunk] | None:
    """The chunks that hold rows of a dataset chunked along its first axis, by their first row.

    Returns
    -------
    dict of int to Chunk, or None
        None for an index of another kind than version 1 B-trees. Chunks never written are not among them.
    """
    header = _address(dataset.file, tuple(dataset.name.strip("/").split("/")))
    if header is None:
        return None
    found = _follow(stream, [_Piece(header, "header", rows)])
    return None if found is None else {c.row: c for c in found if c.row < rows[1]}


def _address(file: h5py.File, path: tuple[str, ...]) -> int | None:
    """Where an object's header lies, from its parent's table; None where there is no such object."""
    parent = "/".join(path[:-1]) or "/"
    try:
        group = file[parent]
        info = group.id.links.get_info(path[-1].encode())
    except (KeyError, AttributeError, RuntimeError):
        return None
    return int(info.u) if info.type == h5py.h5l.TYPE_HARD else None


def _follow(stream: RemoteFile, pieces: list[_Piece]) -> list[Chunk] | None:
    """Generation after generation, until nothing new is found; the chunks met, None where no index was."""
    seen: set[int] = set()
    found: list[Chunk] = []
    indexed = False
    while pieces := [p for p in dict.fromkeys(pieces) if p.address not in seen and p.address < stream.size]:
        seen |= {p.address for p in pieces}
        spans = [(p.address, min(p.address + p.size, stream.size)) for p in pieces]
        following: list[_Piece] = []
        stream.load(spans)
        for piece, (start, stop) in zip(pieces, spans, strict=True):
            data = bytes(stream.read_at(start, stop - start))
            try:
                for one in _READ[piece.kind](piece, data):
                    (found if isinstance(one, Chunk) else following).append(one)  # type: ignore[arg-type]
            except (struct.error, IndexError):  # cut off, or not what it seemed: left to the library
                continue
        indexed |= any(p.kind == "tree" and p.dims for p in following)
        pieces = following
    return found if indexed else None


def _header(piece: _Piece, data: bytes) -> Iterator[_Piece]:
    if data[:4] == b"OHDR":
        flags = data[5]
        at = 6 + (16 if flags & 0x20 else 0) + (4 if flags & 0x10 else 0)
        width = 1 << (flags & 3)
        size = int.from_bytes(data[at : at + width], "little")
        yield from _messages(piece, data[at + width : at + width + size], 6 if flags & 0x04 else 4)
    elif data[0] == 1:
        (size,) = struct.unpack_from("<I", data, 8)
        yield from _messages(piece, data[16 : 16 + size], 8)


def _more(piece: _Piece, data: bytes) -> Iterator[_Piece]:
    if data[:4] == b"OCHK":  # whether messages carry an order is told by the header only: both are tried
        for width in (4, 6):
            yield from _messages(piece, data[4:-4], width)
    else:
        yield from _messages(piece, data, 8)


def _messages(piece: _Piece, data: bytes, width: int) -> Iterator[_Piece]:
    """What the messages of an object header point to."""
    at = 0
    while at + width <= len(data):
        kind, size = struct.unpack_from("<HH" if width == 8 else "<BH", data, at)
        body = data[at + width : at + width + size]
        at += width + size
        if kind == _CONTINUATION and len(body) >= 16:
            address, length = struct.unpack_from("<QQ", body)
            yield _Piece(address, "more", piece.rows, min(length, 2**16))
        elif kind == _SYMBOLS and len(body) >= 16:
            tree, heap = struct.unpack_from("<QQ", body)
            yield _Piece(tree, "tree")
            yield _Piece(heap, "heap")
        elif kind == _LAYOUT and len(body) >= 11 and body[:2] == b"\x03\x02" and piece.rows:
            (tree,) = struct.unpack_from("<Q", body, 3)
            if tree != _UNDEFINED:
                yield _Piece(tree, "tree", piece.rows, dims=body[2])


def _tree(piece: _Piece, data: bytes) -> Iterator[_Piece | Chunk]:
    """Children of a node: of a group its symbol nodes; of a chunk index nodes or chunks, near the rows."""
    if data[:4] != b"TREE":
        return
    kind, level, used = struct.unpack_from("<BBH", data, 4)
    key = 8 + 8 * piece.dims if kind == 1 else 8
    for at in range(24, 24 + used * (key + 8), key + 8):
        (child,) = struct.unpack_from("<Q", data, at + key)
        if kind == 0:
            yield _Piece(child, "tree" if level else "leaf")
            continue
        size, mask, row = struct.unpack_from("<IIQ", data, at)
        (following,) = struct.unpack_from("<Q", data, at + key + 16)
        if piece.rows is None or row >= piece.rows[1] or row < following <= piece.rows[0]:
            continue
        yield (
            _Piece(child, "tree", piece.rows, dims=piece.dims)
            if level
            else Chunk(row, child, child + size, mask)
        )


def _heap(piece: _Piece, data: bytes) -> Iterator[_Piece]:
    if data[:4] == b"HEAP":
        size, _, address = struct.unpack_from("<QQQ", data, 8)
        yield _Piece(address, "leaf", length=min(size, 2**16))


def _leaf(piece: _Piece, data: bytes) -> Iterator[_Piece]:
    return iter(())


_READ = {"header": _header, "more": _more, "tree": _tree, "heap": _heap, "leaf": _leaf}

"""HDF5 metadata fetched in parallel, ahead of the library, which asks for one piece after the other.

In files that are not paged (ATL03 before release 007) headers and indices lie scattered over gigabytes, and
each is known only from another: seventy round trips one after the other to open a beam. Here the wanted paths
are followed from the root breadth first, through symbol tables, headers and chunk indices, all of one generation
in one round of requests, and kept where the library's own reads will find them. An entry of a symbol table tells
where a member's header lies and, of a group, its tables too, so that a level of the hierarchy takes two rounds.
The fetched bytes are a hint: the library reads and judges every byte itself, and finds by itself what is not
understood here (groups and indices of newer kinds).

:func:`chunks` alone answers in the library's place, which would walk a whole index to find one chunk. What
it does not understand it leaves to the library, and a chunk misread would not inflate: deflate carries a
checksum.

References
----------
HDF5 File Format Specification, version 3.0: III.A (B-trees, version 1), III.B-D (symbol table nodes and entries,
local heaps), IV.A (object headers; messages 0008, 0010, 0011).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import h5py

from .range_file import BLOCK, RemoteFile

__all__ = ["Chunk", "chunks", "warm"]

#: What is asked for of each kind: most headers are smaller; the rest are sizes the library writes by default.
SIZES = {"header": 2048, "tree": 544, "heap": 512, "leaf": 512}
_LAYOUT, _CONTINUATION, _SYMBOLS = 0x08, 0x10, 0x11
_CONTIGUOUS, _CHUNKED = 1, 2
_UNDEFINED = 2**64 - 1
Rows = tuple[int, int]


@dataclass(frozen=True)
class Chunk:
    """Place of a chunk: its first row, its bytes in the file, and the filters skipped for it."""

    row: int
    start: int
    stop: int
    mask: int


@dataclass
class _Wanted:
    """Wanted parts of an object: the places of rows of a dataset, the members of a group."""

    rows: Rows | None = None
    members: dict[str, _Wanted] = field(default_factory=dict)


@dataclass
class _Table:
    """A group's symbol table while its parts come in: names, and entries that point to them."""

    wanted: _Wanted
    names: bytes | None = None
    entries: list[tuple[int, int, int, int, int]] = field(default_factory=list)

    def members(self) -> Iterator[_Piece]:
        """Pieces of the wanted members that are known by now."""
        if self.names is None:
            return
        for at, header, cached, tree, heap in self.entries:
            name = self.names[at : self.names.index(0, at)].decode(errors="replace")
            if (wanted := self.wanted.members.get(name)) is not None:
                yield _Piece(header, "header", wanted)
                if cached == 1:
                    yield from _symbols(wanted, tree, heap)
        self.entries.clear()


@dataclass
class _Piece:
    """A piece of metadata still to be followed: where, how long, of what kind."""

    address: int
    kind: str  # header, more (of a header), tree, heap, names, leaf, data
    wanted: _Wanted
    length: int = 0  # where it is known
    dims: int = 0  # of a chunk index: dimensions of its keys
    table: _Table | None = None  # of a group's tree, heap, names and leaves

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
        that tell of these, and the data themselves where all of them are smaller than a block.
    """
    root = _Wanted()
    for path, rows in paths.items():
        node = root
        for name in path.strip("/").split("/"):
            node = node.members.setdefault(name, _Wanted())
        node.rows = rows
    _follow(stream, [_Piece(int(h5py.h5o.get_info(file.id).addr), "header", root)])


def chunks(dataset: h5py.Dataset, stream: RemoteFile, rows: Rows) -> dict[int, Chunk] | None:
    """Return the chunks that hold rows of a dataset chunked along its first axis, by their first row.

    Returns
    -------
    dict of int to Chunk, or None
        None for an index of another kind than version 1 B-trees. Chunks never written are not among them.
    """
    # Asked of its group's table: asking the dataset would have the library walk its index, to measure it.
    group, name = dataset.parent, dataset.name.rpartition("/")[2]
    info = group.id.links.get_info(name.encode())
    if info.type != h5py.h5l.TYPE_HARD:
        return None
    found = _follow(stream, [_Piece(int(info.u), "header", _Wanted(rows))])
    return None if found is None else {c.row: c for c in found if c.row < rows[1]}


def _follow(stream: RemoteFile, pieces: list[_Piece]) -> list[Chunk] | None:
    """Fetch generation after generation until nothing new is found; return the chunks met, None where no index was."""
    seen: set[int] = set()
    found: list[Chunk] = []
    indexed = False
    while pieces := _new(pieces, seen, stream.size):
        spans = [(p.address, min(p.address + p.size, stream.size)) for p in pieces]
        following: list[_Piece] = []
        stream.load(spans)
        for piece, (start, stop) in zip(pieces, spans, strict=True):
            try:
                for one in _READ[piece.kind](piece, bytes(stream.read_at(start, stop - start))):
                    (found if isinstance(one, Chunk) else following).append(one)  # type: ignore[arg-type]
            except (
                struct.error,
                IndexError,
                ValueError,
            ):  # cut off, or not what it seemed: left to the library
                continue
        indexed |= any(p.kind == "tree" and p.dims for p in following)
        pieces = following
    return found if indexed else None


def _new(pieces: Iterable[_Piece], seen: set[int], size: int) -> list[_Piece]:
    """Pieces not met before, each address once; they count as met."""
    out = []
    for piece in pieces:
        if piece.address not in seen and 0 < piece.address < size:
            seen.add(piece.address)
            out.append(piece)
    return out


def _symbols(wanted: _Wanted, tree: int, heap: int) -> Iterator[_Piece]:
    """List the tables that name a group's members."""
    table = _Table(wanted)
    yield _Piece(tree, "tree", wanted, table=table)
    yield _Piece(heap, "heap", wanted, table=table)


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
    """List the pieces that the messages of an object header point to."""
    at = 0
    while at + width <= len(data):
        kind, size = struct.unpack_from("<HH" if width == 8 else "<BH", data, at)
        body = data[at + width : at + width + size]
        at += width + size
        if kind == _CONTINUATION and len(body) >= 16:
            address, length = struct.unpack_from("<QQ", body)
            yield _Piece(address, "more", piece.wanted, min(length, 2**16))
        elif kind == _SYMBOLS and len(body) >= 16:
            yield from _symbols(piece.wanted, *struct.unpack_from("<QQ", body))
        elif kind == _LAYOUT and len(body) >= 18 and body[0] == 3 and piece.wanted.rows:
            yield from _layout(piece, body)


def _layout(piece: _Piece, body: bytes) -> Iterator[_Piece]:
    """List the pieces with a dataset's index, or its data."""
    if body[1] == _CHUNKED:
        (tree,) = struct.unpack_from("<Q", body, 3)
        if tree != _UNDEFINED:
            yield _Piece(tree, "tree", piece.wanted, dims=body[2])
    elif body[1] == _CONTIGUOUS:
        address, size = struct.unpack_from("<QQ", body, 2)
        if 0 < size <= BLOCK:
            yield _Piece(address, "data", piece.wanted, size)


def _tree(piece: _Piece, data: bytes) -> Iterator[_Piece | Chunk]:
    """Children of a node: of a group its symbol nodes; of a chunk index nodes or chunks, near the rows."""
    if data[:4] != b"TREE":
        return
    kind, level, used = struct.unpack_from("<BBH", data, 4)
    key, rows = 8 + 8 * piece.dims if kind == 1 else 8, piece.wanted.rows
    for at in range(24, 24 + used * (key + 8), key + 8):
        (child,) = struct.unpack_from("<Q", data, at + key)
        if kind == 0:
            yield _Piece(child, "tree" if level else "leaf", piece.wanted, table=piece.table)
            continue
        size, mask, row = struct.unpack_from("<IIQ", data, at)
        (following,) = struct.unpack_from("<Q", data, at + key + 16)
        if rows is None or row >= rows[1] or row < following <= rows[0]:
            continue
        if level:
            yield _Piece(child, "tree", piece.wanted, dims=piece.dims)
        else:
            yield Chunk(row, child, child + size, mask)
            if used == 1 and size <= BLOCK:  # all of a small dataset
                yield _Piece(child, "data", piece.wanted, size)


def _heap(piece: _Piece, data: bytes) -> Iterator[_Piece]:
    """Names of a group's members, where they follow at once, or the piece that holds them."""
    if data[:4] != b"HEAP":
        return
    size, _, address = struct.unpack_from("<QQQ", data, 8)
    first = address - piece.address
    if first >= 0 and first + size <= len(data):
        yield from _names(piece, data[first : first + size])
    else:
        yield _Piece(address, "names", piece.wanted, min(size, 2**16), table=piece.table)


def _names(piece: _Piece, data: bytes) -> Iterator[_Piece]:
    if piece.table is not None:
        piece.table.names = data
        yield from piece.table.members()


def _leaf(piece: _Piece, data: bytes) -> Iterator[_Piece]:
    """Entries of a symbol table: name, header, and of a group its own tables."""
    if data[:4] != b"SNOD" or piece.table is None:
        return
    (used,) = struct.unpack_from("<H", data, 6)
    piece.table.entries += [struct.unpack_from("<QQI4xQQ", data, 8 + 40 * i) for i in range(used)]
    yield from piece.table.members()


def _data(piece: _Piece, data: bytes) -> Iterator[_Piece]:
    return iter(())


_READ = {
    "header": _header,
    "more": _more,
    "tree": _tree,
    "heap": _heap,
    "names": _names,
    "leaf": _leaf,
    "data": _data,
}

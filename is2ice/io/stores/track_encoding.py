"""A track as the objects of a Zarr v3 group, made in memory, so that its digest is known before it is written.

Every chunk is there, also one that holds fill values only, and ends with its CRC32C: what is absent or changed is
found when it is read, by any reader that follows the specification. The group's metadata hold those of its arrays.
"""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from is2ice import schema

from .cf_attributes import plain

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["META", "decode", "digest_of", "encode", "group_meta"]

META = "zarr.json"
_CRC = {"name": "crc32c"}
_ZSTD = {"name": "zstd", "configuration": {"level": 0, "checksum": False}}
_LITTLE = {"name": "bytes", "configuration": {"endian": "little"}}
#: xarray writes a missing value of the CF attributes in this way into Zarr v3.
_NAN = base64.standard_b64encode(struct.pack("<d", np.nan)).decode()


def group_meta(attrs: Mapping[str, Any]) -> dict[str, Any]:
    """Zarr v3 metadata of a group."""
    return {"zarr_format": 3, "node_type": "group", "attributes": dict(attrs)}


def encode(ds: xr.Dataset) -> dict[str, bytes]:
    """Encode a track, as :func:`is2ice.io.stores.cf_attributes.describe` gives it.

    Parameters
    ----------
    ds : xarray.Dataset
        One track, dims ``(x_atc,)``, in memory.

    Returns
    -------
    dict
        Bytes by their name below the track's group, as ``height/c/0``.
    """
    import xarray as xr

    plan = schema.encoding(ds)
    variables, attributes = xr.conventions.encode_dataset_coordinates(ds)
    out: dict[str, bytes] = {}
    arrays: dict[str, Any] = {}
    for name, variable in sorted((str(k), v) for k, v in variables.items()):
        values = np.asarray(variable.values)
        how = plan[name]
        if "dtype" in how:
            values = values.astype(how["dtype"], copy=False)
        meta = _array_meta(values, variable, how, missing=name not in ds.dims)
        arrays[name] = meta
        out[f"{name}/{META}"] = json.dumps(meta).encode()
        out.update({f"{name}/{key}": raw for key, raw in _chunks(values, how)})
    root = group_meta(plain(attributes))
    root["consolidated_metadata"] = {"kind": "inline", "must_understand": False, "metadata": arrays}
    out[META] = json.dumps(root).encode()
    return out


def decode(objects: Mapping[str, bytes]) -> xr.Dataset:
    """Decode the objects that :func:`encode` makes; ``delta_time`` stays in seconds.

    Raises
    ------
    KeyError, ValueError
        An object is absent, or not what was written.
    """
    import xarray as xr

    root = json.loads(objects[META])
    attrs = dict(root["attributes"])
    variables, named = {}, set(attrs.pop("coordinates", "").split())
    for name, meta in root["consolidated_metadata"]["metadata"].items():
        attributes = {k: v for k, v in meta["attributes"].items() if k != "_FillValue"}
        named.update(attributes.pop("coordinates", "").split())
        values = _values(name, meta, objects)
        variables[name] = xr.Variable(meta.get("dimension_names", ()), values, attributes)
    # Nothing is packed, so that names of coordinates are all that is left to decode (see encode).
    coords = {name: v for name, v in variables.items() if name in named or v.dims == (name,)}
    return xr.Dataset({k: v for k, v in variables.items() if k not in coords}, coords, attrs)


def digest_of(objects: Mapping[str, bytes]) -> str:
    """SHA-256 over the names and the SHA-256 of all objects of a track."""
    sums = {name: hashlib.sha256(raw).hexdigest() for name, raw in objects.items()}
    return hashlib.sha256(json.dumps(sums, sort_keys=True).encode()).hexdigest()


def _array_meta(values: NDArray[Any], variable: Any, how: Mapping[str, Any], missing: bool) -> dict[str, Any]:
    """Zarr v3 metadata of an array; `missing` adds the missing value of CF."""
    text = values.dtype.hasobject
    inner = [{"name": "vlen-utf8"} if text else _serializer(values.dtype), _ZSTD, _CRC]
    outer = how.get("shards", values.shape)
    if "shards" in how:
        shard = {"chunk_shape": list(how["chunks"]), "codecs": inner, "index_codecs": [_LITTLE, _CRC]}
        inner = [{"name": "sharding_indexed", "configuration": {**shard, "index_location": "end"}}]
    attributes = plain(variable.attrs)
    if missing and values.dtype.kind == "f":
        attributes["_FillValue"] = _NAN
    meta: dict[str, Any] = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(values.shape),
        "data_type": "string" if text else values.dtype.name,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(outer)}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": ""
        if text
        else "NaN"
        if values.dtype.kind == "f"
        else False
        if values.dtype == bool
        else 0,
        "codecs": inner,
        "attributes": attributes,
        "storage_transformers": [],
    }
    if variable.dims:
        meta["dimension_names"] = list(variable.dims)
    return meta


def _serializer(dtype: np.dtype[Any]) -> dict[str, Any]:
    return {"name": "bytes"} if dtype.itemsize == 1 else _LITTLE


def _chunks(values: NDArray[Any], how: Mapping[str, Any]) -> list[tuple[str, bytes]]:
    """Keys and bytes of the chunks (or shards) of an array."""
    pack = partial(_shard, shape=how["shards"], chunk=how["chunks"]) if "shards" in how else _chunk
    parts = _parts(values, how.get("shards", values.shape))
    return [("/".join(["c", *map(str, cell)]), pack(part)) for cell, part in parts]


def _shard(values: NDArray[Any], shape: tuple[int, ...], chunk: tuple[int, ...]) -> bytes:
    """Chunks of a shard one after the other, then where each lies, with a checksum (Zarr v3, ``sharding_indexed``)."""
    counts = [s // c for s, c in zip(shape, chunk, strict=True)]
    index = np.full((*counts, 2), 2**64 - 1, "<u8")  # chunks beyond the array's end stay absent
    parts, position = [], 0
    for cell, piece in _parts(values, chunk):
        if piece.shape != chunk:  # chunks are whole: beyond the array's end lies its fill value
            whole = np.full(chunk, np.nan if values.dtype.kind == "f" else 0, values.dtype)
            whole[tuple(map(slice, piece.shape))] = piece
            piece = whole
        raw = _chunk(piece)
        index[cell] = position, len(raw)
        parts.append(raw)
        position += len(raw)
    return b"".join([*parts, _checked(index.tobytes())])


def _chunk(values: NDArray[Any]) -> bytes:
    from numcodecs import VLenUTF8
    from numcodecs.zstd import Zstd

    if values.dtype.hasobject:
        raw: Any = VLenUTF8().encode(values.ravel())
    else:
        little = values.astype(values.dtype.newbyteorder("<"), order="C", copy=False)
        raw = np.ascontiguousarray(little).tobytes()
    return _checked(bytes(Zstd(level=0).encode(raw)))


def _checked(raw: bytes) -> bytes:
    from google_crc32c import value

    return raw + struct.pack("<I", value(raw))


# -- decoding ------------------------------------------------------------------------------------------
def _values(name: str, meta: Mapping[str, Any], objects: Mapping[str, bytes]) -> NDArray[Any]:
    """Values of an array from its chunks or shards."""
    dtype = np.dtype(object if meta["data_type"] == "string" else meta["data_type"])
    out = np.empty(meta["shape"], dtype)
    outer = meta["chunk_grid"]["configuration"]["chunk_shape"]
    sharded = meta["codecs"][0]["name"] == "sharding_indexed"
    for cell, part in _parts(out, outer):
        raw = objects["/".join([name, "c", *map(str, cell)])]
        if not sharded:
            part[...] = _piece(raw, dtype, outer)
            continue
        chunk = meta["codecs"][0]["configuration"]["chunk_shape"]
        counts = [s // c for s, c in zip(outer, chunk, strict=True)]
        index = np.frombuffer(_unchecked(raw[-16 * int(np.prod(counts)) - 4 :]), "<u8").reshape(*counts, 2)
        for inner, piece in _parts(part, chunk):
            first, size = map(int, index[inner])
            whole = _piece(raw[first : first + size], dtype, chunk)
            piece[...] = whole[tuple(map(slice, piece.shape))]
    return out


def _parts(values: NDArray[Any], shape: Sequence[int]) -> Iterator[tuple[tuple[int, ...], NDArray[Any]]]:
    """Cells of a regular grid over an array, with views of what lies in them."""
    for cell in product(*(range(-(-n // s)) for n, s in zip(values.shape, shape, strict=True))):
        window: Any = (slice(k * s, (k + 1) * s) for k, s in zip(cell, shape, strict=True))
        yield cell, values[(..., *window)]


def _piece(raw: bytes, dtype: np.dtype[Any], shape: Sequence[int]) -> NDArray[Any]:
    from numcodecs import VLenUTF8
    from numcodecs.zstd import Zstd

    data = Zstd().decode(_unchecked(raw))
    if dtype.hasobject:
        return np.asarray(VLenUTF8().decode(data), object).reshape(shape)
    return np.frombuffer(data, dtype.newbyteorder("<")).reshape(shape)


def _unchecked(raw: bytes) -> bytes:
    """Bytes without their CRC32C, which must be right."""
    if raw != _checked(raw[:-4]):
        raise ValueError("a chunk does not have its checksum")
    return raw[:-4]

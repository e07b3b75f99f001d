"""Stored tracks as a lazy cube: beams on one along-track grid, one Dask task a variable, beam and block."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from is2ice import schema
from is2ice.errors import DamagedTrackError, StoreError
from is2ice.io.remote.location import HttpLocation, Location
from is2ice.io.urls import public_url, scrub

from .layout import check_version

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["cube", "missing_value", "open_group", "pick_beams"]

#: Variables of a stored track that a dataset in memory does without (``crs`` and ``granule`` say it).
_STORE_ONLY = ("spatial_ref", "trajectory")
_STORE_ATTRS = ("coordinates", "grid_mapping", "_FillValue")
_PER_BEAM = ("beam", "spot", "beam_strength", "notes", "id", "title", "inputs", "track_summary")


def open_group(root: Location, path: str = "", checksum: str = "") -> Any:
    """Open the Zarr group of a track; an object that is absent is an error, now and when values are read.

    Parameters
    ----------
    root : Location
        Store, or the group itself.
    path : str
        Key of the group.
    checksum : str
        Checksum of its metadata, if known.

    Raises
    ------
    DamagedTrackError
    """
    import zarr

    from .track_reader import WholeTrack

    store = WholeTrack(root.zarr_store(), root.name, path, checksum)
    try:
        group = zarr.open_group(store, path=path, mode="r", zarr_format=3)
    except DamagedTrackError:
        raise
    except Exception as error:
        raise _unreadable(root, path, error) from None
    check_version(dict(group.attrs), f"{root.name}/{path}".rstrip("/"))
    return group


def missing_value(name: str, dtype: np.dtype[Any]) -> Any:
    """Return the value of an empty cell: NaN, -1 for codes that have it, 0 for counts and bits."""
    if dtype.kind == "f":
        return np.nan
    var = schema.variables().get(name)
    if name == "lead_index" or (var is not None and var.flag_values and -1 in var.flag_values):
        return -1
    return 0


def cube(
    groups: Sequence[Any], where: str, chunk: int | None, only: Iterable[str] | None = None
) -> xr.Dataset:
    """Tracks of one granule on their common grid.

    Parameters
    ----------
    groups : sequence of zarr.Group
        One a beam.
    where : str
        For messages.
    chunk : int or None
        Cells a Dask block; None loads.
    only : iterable of str, optional
        Variables to open beside the coordinates; all by default.

    Returns
    -------
    xarray.Dataset
        Dims ``(beam, x_atc)``; cells a beam does not reach are empty (NaN, 0 or -1).

    Raises
    ------
    StoreError
        Beams of different segment lengths.
    ValueError
        A variable that no track holds.
    """
    attrs = [dict(g.attrs) for g in groups]
    lengths = {float(a["segment_length"]) for a in attrs}
    if len(lengths) != 1:
        raise StoreError(
            f"{where}: beams of different segment lengths ({', '.join(f'{v:g} m' for v in sorted(lengths))}); open "
            "them one by one with beams="
        )
    (length,) = lengths
    first = [round(float(_fetch(g["x_atc"], 0, 1)[0]) / length) for g in groups]
    size = [g["x_atc"].shape[0] for g in groups]
    k0 = min(first)
    n = max(k + m for k, m in zip(first, size, strict=True)) - k0
    arrays = [dict(g.arrays()) for g in groups]
    for held in arrays:
        if "time" in held:  # the name of delta_time in a file
            held["delta_time"] = held.pop("time")
    import xarray as xr

    variables: dict[str, xr.Variable] = {}
    names = set().union(*arrays)
    if only is not None:
        own = {"delta_time", *schema.COORDINATES, "beam", "spot", "x_atc"}
        if lacks := sorted({*only} - names - own):
            held_here = ", ".join(sorted(names - own - {*_STORE_ONLY}))
            raise ValueError(f"{where}: variables: no {', '.join(lacks)} here; there are {held_here}")
        names &= {*only, *own}
    for name in sorted(names):
        if name in (*_STORE_ONLY, "x_atc"):
            continue
        column = [a.get(name) for a in arrays]
        model = next(a for a in column if a is not None)
        dims = tuple(model.metadata.dimension_names or ())
        notes = {k: v for k, v in model.attrs.items() if k not in _STORE_ATTRS}
        if dims[:1] == ("x_atc",):
            data = _variable(column, [k - k0 for k in first], n, chunk, missing_value(name, model.dtype))
            variables[name] = xr.Variable(("beam", *dims), data, notes)
        elif dims:
            values = np.asarray(_fetch(model, 0, None))
            text = values.dtype.kind not in "iufb"
            variables[name] = xr.Variable(dims, np.array(values.tolist()) if text else values, notes)
    common = {k: v for k, v in attrs[0].items() if all(a.get(k) == v for a in attrs)}
    if len(groups) > 1:
        common = {k: v for k, v in common.items() if k not in _PER_BEAM}
        common["history"] = _history(str(a.get("history", "")) for a in attrs)
    coords = {
        "beam": [a["beam"] for a in attrs],
        "x_atc": (k0 + np.arange(n)) * length,
        "spot": ("beam", np.array([a.get("spot", 0) for a in attrs], "i1")),
    }
    order = [name for name in schema.variables() if name in variables]
    order += [name for name in variables if name not in order]
    ds = xr.Dataset({name: variables[name] for name in order}, coords=coords, attrs=common)
    return schema.with_coordinates(schema.annotate(ds))


def _history(of_beams: Iterable[str]) -> str:
    """Join the histories of beams; those that differ by their times alone count once."""
    distinct: dict[tuple[str, ...], list[str]] = {}
    for text in of_beams:
        steps = text.splitlines()
        distinct.setdefault(tuple(step.partition(" ")[2] for step in steps), steps)
    return "\n".join(dict.fromkeys(step for steps in distinct.values() for step in steps))


def _variable(arrays: Sequence[Any], offsets: Sequence[int], n: int, chunk: int | None, fill: Any) -> Any:
    model = next(a for a in arrays if a is not None)
    tail = model.shape[1:]
    read = partial(_read, tuple(arrays), tuple(offsets), model.dtype, tail, fill)
    if chunk is None:
        return np.concatenate([read(b, 0, n) for b in range(len(arrays))])
    import dask.array as da

    blocks = (chunk,) * (n // chunk) + ((n % chunk,) if n % chunk else ())
    return da.map_blocks(
        partial(_read_block, read),
        chunks=((1,) * len(arrays), blocks, *((m,) for m in tail)),
        dtype=model.dtype,
        meta=np.empty((0,) * (2 + len(tail)), model.dtype),
        name=f"stored-{model.basename}-" + _token(arrays, offsets, n, chunk),
    )


def _token(*args: Any) -> str:
    from dask.base import tokenize

    arrays, *rest = args
    return tokenize([None if a is None else (str(a.store), a.path, a.shape) for a in arrays], rest)


def _read_block(read: Any, block_info: Any = None) -> NDArray[Any]:
    (b, _), (start, stop), *_ = block_info[None]["array-location"]
    return read(b, start, stop)


def _read(
    arrays: tuple[Any, ...],
    offsets: tuple[int, ...],
    dtype: np.dtype[Any],
    tail: tuple[int, ...],
    fill: Any,
    b: int,
    start: int,
    stop: int,
) -> NDArray[Any]:
    """Cells start to stop of the common grid of one beam, reading only what the beam holds of them."""
    out = np.full((1, stop - start, *tail), fill, dtype)
    array = arrays[b]
    if array is not None:
        lo, hi = max(start, offsets[b]), min(stop, offsets[b] + array.shape[0])
        if lo < hi:
            out[0, lo - start : hi - start] = _fetch(array, lo - offsets[b], hi - offsets[b])
    return out


def _fetch(array: Any, start: int, stop: int | None) -> NDArray[Any]:
    try:
        return array[start:stop]
    except DamagedTrackError:
        raise
    except Exception as error:
        where = str(array.store_path).removeprefix("wrapping-")
        if "://" not in where or where.startswith("file://"):
            raise DamagedTrackError(
                f"{array.path}: cannot be read whole ({type(error).__name__}: {error}); run again, and the track is "
                "made again; is2ice verify finds others"
            ) from error
        failure = _unreadable(where.removesuffix(array.path).rstrip("/"), array.path, error)
    raise failure  # without the cause, which may hold a token, and which Dask may not be able to send


def _unreadable(root: Location | str, path: str, error: Exception) -> StoreError:
    """Return the error to raise in place of another one, whose text and cause may hold a token."""
    name = root.name if isinstance(root, Location) else public_url(root)
    status = getattr(error, "status", None)
    if status in (401, 403):
        return HttpLocation(name).unreadable(error, path)
    return DamagedTrackError(f"{name}/{path}: cannot be read: {scrub(f'{type(error).__name__}: {error}')}")


def pick_beams(strength: dict[str, str], beams: str | Iterable[str] | None, where: str) -> tuple[str, ...]:
    """Beams of a selection among those stored.

    Raises
    ------
    StoreError
        When one is not there, naming what is.
    """
    if beams is None or beams == "all":
        return tuple(strength)
    listing = ", ".join(f"{b} ({s})" if s else b for b, s in strength.items())
    if beams in ("strong", "weak"):
        names = tuple(b for b, s in strength.items() if s == beams)
        if not names:
            raise StoreError(f"{where}: no {beams} beam stored; it holds {listing}")
        return names
    names = (beams,) if isinstance(beams, str) else tuple(beams)
    absent = [b for b in names if b not in strength]
    if absent or not names:
        raise StoreError(f"{where}: no beam {', '.join(absent) or '(none named)'}; it holds {listing}")
    return names

"""Open a track: from the photons of a granule, or from a store."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any, TypedDict, Unpack

import numpy as np
import xarray as xr

from is2ice import schema
from is2ice.errors import StoreError
from is2ice.io.catalogs.icesat2 import resolve_granule
from is2ice.io.stores import store as stores
from is2ice.io.urls import scrub
from is2ice.science.area import area_of, in_area
from is2ice.science.epoch import delta_time, span

from .options import Options
from .segment_blocks import segmenting

__all__ = ["SegmentKeywords", "granule_tree", "matches", "open_track"]

#: Options that are lists of values.
_LISTS = ("quality", "corrections")
#: Options that select a part of the segments.
_PART = ("bbox", "time", "x_atc")


class SegmentKeywords(TypedDict, total=False):
    """Keywords of :func:`open_track` that select or decide the segments."""

    bbox: Any
    time: tuple[Any, Any] | None
    x_atc: tuple[float, float] | None
    length: float
    confidence: int
    quality: Iterable[int]
    corrections: Iterable[str]
    reference: str
    first_photon: str | None


def open_track(
    source: Any,
    beams: str | Iterable[str] | None = None,
    *,
    store: str | os.PathLike[str] | None = None,
    granule: str | None = None,
    version: int | None = None,
    chunks: int = schema.CHUNK,
    variables: str | Iterable[str] | None = None,
    **segments: Unpack[SegmentKeywords],
) -> xr.Dataset:
    """Open the 2 m segments of a granule, or the tracks of a store, as a lazy cube.

    Parameters
    ----------
    source : path, URL, file object, earthaccess granule or zarr.Group
        An ATL03 granule, also by its name alone, for which NASA's archive is then searched; or a store, a granule
        in it, or a track in it.
    beams : {"strong", "weak", "all"}, name or names, optional
        By default the strong beams of a granule, or every beam stored.
    store : path or URL, optional
        Then `source` is the name of a granule in it.
    granule : str, optional
        Granule of a store that holds several.
    version : int, optional
        Version of a published store; the current one by default.
    chunks : int
        Cells in one Dask block along ``x_atc``.
    variables : name or names, optional
        Only these variables, beside the coordinates; all by default.
    **segments
        ``bbox``, ``time`` and ``x_atc`` select a part; ``length``, ``confidence``, ``quality``, ``corrections``,
        ``reference`` and ``first_photon`` decide the segments, all as in :class:`is2ice.Options`. The segments of a
        store have been made: there, a value other than theirs is an error.

    Returns
    -------
    xarray.Dataset
        Dims ``(beam, x_atc)``, Dask-backed. A granule gives :data:`is2ice.schema.SEGMENTS`; a store also the derived
        variables. ``time`` (UTC), ``latitude``, ``longitude``, ``x`` and ``y`` are coordinates.

    Raises
    ------
    GranuleError, StoreError
        The source is neither a granule nor a store, or the selection is empty.
    TypeError
        An unknown keyword.
    ValueError
        A value that is not possible; a store whose segments were made with other options than asked for.
    """
    if unknown := sorted(set(segments) - set(SegmentKeywords.__annotations__)):
        known = ", ".join(SegmentKeywords.__annotations__)
        raise TypeError(f"unexpected keyword {', '.join(unknown)}; expected some of {known}")
    given: dict[str, Any] = {k: v for k, v in segments.items() if v is not None or k == "first_photon"}
    lists: dict[str, Any] = {k: tuple(given[k]) for k in _LISTS if not isinstance(given.get(k, ""), str)}
    asked = Options(**(given | lists))
    if store is not None:
        source, granule = store, granule or str(source)
    # A folder that is no store raises with what it is instead, such as an Icechunk repository.
    folder = isinstance(source, str | os.PathLike) and os.path.isdir(source)
    if store is not None or folder or stores.is_store(source) or hasattr(source, "store_path"):
        ds = stores.open_track(source, granule, beams, chunks=chunks, version=version)
        where = scrub(str(source))
        _refuse_other(ds, where, {k: getattr(asked, k) for k in given})
        return _only(schema.with_coordinates(_stored_subset(ds, asked, where)), variables)
    from is2ice.io.icesat2.atl03 import Subset
    from is2ice.io.icesat2.lazy_cube import open_cube

    cube = open_cube(
        resolve_granule(source),
        beams,
        Subset(asked.bbox, asked.time, asked.x_atc),
        chunks=chunks,
        **segmenting(asked),
    )
    return _only(schema.with_coordinates(cube), variables)


def _only(ds: xr.Dataset, variables: str | Iterable[str] | None) -> xr.Dataset:
    """Return a dataset with some of its variables, still able to be closed."""
    if variables is None:
        return ds
    wanted = [variables] if isinstance(variables, str) else list(variables)
    if lacks := [n for n in wanted if n not in ds.variables]:
        raise ValueError(
            f"variables: no {', '.join(lacks)} here; there are {', '.join(map(str, ds.data_vars))}"
        )
    part = ds[[n for n in wanted if n in ds.data_vars]]
    part.set_close(ds._close)
    return part


def matches(source: Any) -> list[Any]:
    """Return the local files and stores that a pattern such as ``"data/ATL03_*.h5"`` names, in order of name.

    Any other source, and a file whose own name holds such letters, is returned unchanged.

    Raises
    ------
    FileNotFoundError
        For a pattern that nothing matches.
    """
    from glob import glob, has_magic

    text = os.fspath(source) if isinstance(source, str | os.PathLike) else ""
    if not has_magic(text) or "://" in text or os.path.exists(text):
        return [source]
    found = sorted(glob(os.path.expanduser(text), recursive=True))
    if not found:
        raise FileNotFoundError(f"{text}: no file or store matches this pattern")
    return found


def _stored_subset(ds: xr.Dataset, subset: Options, where: str) -> xr.Dataset:
    """Cut a part out of a stored cube: trimmed along ``x_atc``, and emptied between as a granule's subset is."""
    ds = schema.segments_of(ds)
    half = schema.segment_length(ds) / 2
    if subset.x_atc is not None:
        centre = ds["x_atc"].values + half
        ds = ds.isel(x_atc=(centre >= subset.x_atc[0]) & (centre < subset.x_atc[1]))
    keep = np.ones(ds["delta_time"].shape, bool)
    if subset.bbox is not None:
        keep &= in_area(ds["longitude"].values, ds["latitude"].values, area_of(subset.bbox))
    if subset.time is not None:
        first, last = map(delta_time, span(subset.time))
        keep &= (ds["delta_time"].values >= first) & (ds["delta_time"].values <= last)
    columns = np.flatnonzero(keep.reshape(-1, keep.shape[-1]).any(axis=0))
    if columns.size == 0:
        raise StoreError(
            f"{where}: no segment lies in bbox={subset.bbox}, time={subset.time}, x_atc={subset.x_atc}"
        )
    if subset.bbox is None and subset.time is None:
        return ds
    inside = slice(int(columns[0]), int(columns[-1]) + 1)
    mask = xr.DataArray(keep, dims=ds["delta_time"].dims).isel(x_atc=inside)
    ds = ds.isel(x_atc=inside)
    for name, a in ds.data_vars.items():
        if "x_atc" in a.dims:
            fill = np.array(stores.missing_value(str(name), a.dtype), a.dtype)
            ds[name] = a.where(mask, fill).astype(a.dtype).transpose(*a.dims)
    return ds


def _refuse_other(ds: xr.Dataset, where: str, asked: Mapping[str, Any]) -> None:
    """Raise an error if stored segments were made with other options than asked for."""
    attrs = ds.attrs
    stored = stores.json_attribute(attrs, "processing_parameters") | {
        "length": schema.segment_length(ds),
        "reference": attrs.get("height_reference"),
        "first_photon": attrs.get("first_photon"),
    }
    for name, value in asked.items():
        have = stored.get(name)
        automatic = value == "auto" and name in ("reference", "first_photon")
        value = "none" if name == "first_photon" and value is None else value
        if name in _PART or automatic or value == have:
            continue
        if isinstance(have, list) and set(have) == set(value):
            continue
        held = f"stored with {name}={have!r}" if have is not None else f"stored without a record of {name}"
        raise ValueError(
            f"{name}={value!r}: the segments of {where} are {held}; leave it out, or open the granule"
        )


def granule_tree(source: Any, beams: Any = None, *, photons: bool = False) -> xr.DataTree:
    """Open a granule as a tree: a node per beam with its segments, lazily, and on request its photons below.

    Parameters
    ----------
    source : as for :func:`is2ice.open_track`
    beams : optional
    photons : bool
        Add ``<beam>/photons``, which are read at once.

    Returns
    -------
    xarray.DataTree
    """
    source = resolve_granule(source)
    cube = open_track(source, beams)
    nodes: dict[str, xr.Dataset] = {"/": xr.Dataset(attrs=cube.attrs)}
    for k, beam in enumerate(map(str, cube["beam"].values)):
        part = cube.isel(beam=k, drop=True)
        nodes[beam] = part.assign_attrs(beam=beam, spot=int(cube["spot"].values[k]))
    if photons:
        from is2ice.io.icesat2.atl03 import open_granule

        granule = open_granule(source)
        nodes |= {f"{beam}/photons": granule.photons(beam) for beam in map(str, cube["beam"].values)}
    return xr.DataTree.from_dict(nodes)

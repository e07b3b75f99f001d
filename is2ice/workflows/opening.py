"""One way to open a track, be it a granule's photons or what a store holds."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from is2ice import schema
from is2ice.errors import StoreError
from is2ice.io.catalogs.icesat2 import located
from is2ice.io.stores import store as stores
from is2ice.io.urls import scrub
from is2ice.science.area import box_of, in_box
from is2ice.science.epoch import delta_time, span

from .options import Options

if TYPE_CHECKING:
    pass

__all__ = ["granule_tree", "open_track"]


def open_track(
    source: Any,
    beams: str | Iterable[str] | None = None,
    *,
    store: str | os.PathLike[str] | None = None,
    granule: str | None = None,
    version: int | None = None,
    bbox: tuple[float, float, float, float] | None = None,
    time: tuple[Any, Any] | None = None,
    x_atc: tuple[float, float] | None = None,
    length: float | None = None,
    confidence: int | None = None,
    quality: Iterable[int] | None = None,
    corrections: Iterable[str] | None = None,
    reference: str = "auto",
    first_photon: str | None = "auto",
    chunks: int = schema.CHUNK,
) -> xr.Dataset:
    """The 2 m segments of a granule, or the tracks of a store, as a lazy cube.

    Parameters
    ----------
    source : path, URL, file object, earthaccess granule or zarr.Group
        An ATL03 granule, also by its name alone, which NASA's archive is then searched for; or a store, a granule
        in it, or a track in it.
    beams : {"strong", "weak", "all"}, name or names, optional
        By default the strong beams of a granule, or every beam stored.
    store : path or URL, optional
        Then `source` is the name of a granule in it.
    granule : str, optional
        Which one, where a store holds several.
    version : int, optional
        Of a published store; the current one by default.
    bbox : (west, south, east, north), optional
        Degrees; west > east crosses the antimeridian.
    time : (start, end), optional
        UTC, or delta_time in seconds; an end given as a day includes that day.
    x_atc : (first, last), optional
        Along-track distance, m.
    length : float, optional
        Segment length, m; 2 by default. This and what follows is of a granule; of a store it is what its
        segments were made with, and asking for anything else is an error.
    confidence : int, optional
        Lowest sea-ice confidence of a signal photon; 3 by default.
    quality : iterable of int, optional
        Photon quality codes accepted; 0 by default.
    corrections : iterable of str, optional
        Of tide_ocean, tide_equilibrium and dac; by default all.
    reference : {"auto", "mss", "geoid"}
    first_photon : {"auto", "cal19", "model"} or None
    chunks : int
        Cells in one Dask block along ``x_atc``.

    Returns
    -------
    xarray.Dataset
        Dims ``(beam, x_atc)``, Dask-backed. A granule gives :data:`is2ice.schema.SEGMENTS`; a store also
        what was derived.

    Raises
    ------
    GranuleError, StoreError
        When the source is neither, or the selection is empty.
    ValueError
        For a store whose segments were made otherwise than asked for.
    """
    from is2ice.io.icesat2.atl03 import Subset
    from is2ice.science.segments import Selection

    if store is not None:
        source, granule = store, granule or str(source)
    if store is not None or stores.is_store(source) or hasattr(source, "store_path"):
        ds = stores.open_track(source, granule, beams, chunks=chunks, version=version)
        asked = {
            "length": length,
            "confidence": confidence,
            "quality": None if quality is None else list(quality),
            "corrections": None if corrections is None else list(corrections),
            "reference": None if reference == "auto" else reference,
            "first_photon": None if first_photon == "auto" else first_photon or "none",
        }
        where = scrub(str(source))
        _refuse_other(ds, where, asked)
        return _stored_subset(ds, Options(bbox=bbox, time=time, x_atc=x_atc), where)
    from is2ice.io.icesat2.lazy_cube import open_cube

    given = {"length": length, "confidence": confidence, "quality": quality, "corrections": corrections}
    made = Options(**{k: v for k, v in given.items() if v is not None})  # type: ignore[arg-type]
    return open_cube(
        located(source),
        beams,
        Subset(bbox, time, x_atc),
        chunks=chunks,
        length=made.length,
        selection=Selection(made.confidence, made.quality),
        reference=reference,
        corrections=made.corrections,
        first_photon=first_photon,
    )


def _stored_subset(ds: xr.Dataset, subset: Options, where: str) -> xr.Dataset:
    """Part of a stored cube: trimmed along ``x_atc``, and emptied between as a granule's subset is."""
    half = float(ds.attrs["segment_length"]) / 2
    if subset.x_atc is not None:
        centre = ds["x_atc"].values + half
        ds = ds.isel(x_atc=(centre >= subset.x_atc[0]) & (centre < subset.x_atc[1]))
    keep = np.ones(ds["delta_time"].shape, bool)
    if subset.bbox is not None:
        keep &= in_box(ds["longitude"].values, ds["latitude"].values, box_of(subset.bbox))
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
    """Raise where stored segments were made otherwise than asked for; None is not asked."""
    attrs = ds.attrs
    stored = json.loads(attrs.get("processing_parameters", "{}")) | {
        "length": float(attrs["segment_length"]),
        "reference": attrs.get("height_reference"),
        "first_photon": attrs.get("first_photon"),
    }
    for name, value in asked.items():
        have = stored.get(name)
        if value is None or value == have:
            continue
        if isinstance(have, list) and set(have) == set(value):
            continue
        held = f"stored with {name}={have!r}" if have is not None else f"stored without a word on {name}"
        raise ValueError(
            f"{name}={value!r}: the segments of {where} are {held}; leave it out, or open the granule"
        )


def granule_tree(source: Any, beams: Any = None, *, photons: bool = False) -> xr.DataTree:
    """A granule as a tree: a node a beam with its segments, lazily, and on request its photons below.

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
    from is2ice.io.catalogs.icesat2 import located
    from is2ice.workflows.opening import open_track

    source = located(source)
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

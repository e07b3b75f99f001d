"""One way to open a track, be it a granule's photons or what a store holds."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import xarray as xr

from . import schema
from . import store as stores
from .errors import StoreError
from .options import Options
from .segments import TIDES

__all__ = ["open_track"]


def open_track(
    source: Any,
    beams: str | Iterable[str] | None = None,
    *,
    granule: str | None = None,
    bbox: tuple[float, float, float, float] | None = None,
    time: tuple[Any, Any] | None = None,
    x_atc: tuple[float, float] | None = None,
    length: float = schema.SEGMENT_LENGTH,
    confidence: int = 3,
    quality: tuple[int, ...] = (0,),
    corrections: Iterable[str] = TIDES,
    reference: str = "auto",
    first_photon: str | None = "auto",
    chunks: int = schema.CHUNK,
) -> xr.Dataset:
    """The 2 m segments of a granule, or the tracks of a store, as a lazy cube.

    Parameters
    ----------
    source : path, URL, file object, earthaccess granule or zarr.Group
        An ATL03 granule; or a store, a granule in it, or a track in it.
    beams : {"strong", "weak", "all"}, name or names, optional
        By default the strong beams of a granule, or every beam stored.
    granule : str, optional
        Which one, where a store holds several.
    bbox : (west, south, east, north), optional
        Degrees; west > east crosses the antimeridian.
    time : (start, end), optional
        UTC, or delta_time in seconds.
    x_atc : (first, last), optional
        Along-track distance, m.
    length : float
        Segment length, m.
    confidence : int
        Lowest sea-ice confidence of a signal photon.
    quality : tuple of int
        Photon quality codes accepted.
    corrections : iterable of str
        Of tide_ocean, tide_equilibrium and dac.
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
    """
    from .atl03 import Subset
    from .segments import Selection

    if stores.is_store(source) or hasattr(source, "store_path"):
        ds = stores.open_track(source, granule, beams, chunks=chunks)
        stored = float(ds.attrs["segment_length"])
        if length not in (schema.SEGMENT_LENGTH, stored):
            raise ValueError(f"length={length:g}: the segments of {source} are stored at {stored:g} m")
        return _stored_subset(ds, Options(bbox=bbox, time=time, x_atc=x_atc), str(source))
    from .cube import open_cube

    return open_cube(
        source,
        beams,
        Subset(bbox, time, x_atc),
        chunks=chunks,
        length=length,
        selection=Selection(confidence, tuple(quality)),
        reference=reference,
        corrections=tuple(corrections),
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
        west, south, east, north = subset.bbox
        width = (east - west) % 360.0 or (360.0 if east != west else 0.0)
        latitude, longitude = ds["latitude"].values, ds["longitude"].values
        keep &= ((longitude - west) % 360.0 <= width) & (latitude >= south) & (latitude <= north)
    if subset.time is not None:
        first, last = (_seconds(t) for t in subset.time)
        keep &= (ds["delta_time"].values >= first) & (ds["delta_time"].values <= last)
    columns = np.flatnonzero(keep.reshape(-1, keep.shape[-1]).any(axis=0))
    if columns.size == 0:
        raise StoreError(
            f"{where}: no segment lies in bbox={subset.bbox}, time={subset.time}, x_atc={subset.x_atc}"
        )
    if subset.bbox is None and subset.time is None:
        return ds
    span = slice(int(columns[0]), int(columns[-1]) + 1)
    mask = xr.DataArray(keep, dims=ds["delta_time"].dims).isel(x_atc=span)
    ds = ds.isel(x_atc=span)
    for name, a in ds.data_vars.items():
        if "x_atc" in a.dims:
            fill = np.array(stores.missing_value(str(name), a.dtype), a.dtype)
            ds[name] = a.where(mask, fill).astype(a.dtype).transpose(*a.dims)
    return ds


def _seconds(value: Any) -> float:
    if isinstance(value, int | float):
        return float(value)
    stamp = np.datetime64(str(value).replace("Z", ""), "ns")
    return float((stamp - np.datetime64("2018-01-01T00:00:00", "ns")) / np.timedelta64(1, "s"))

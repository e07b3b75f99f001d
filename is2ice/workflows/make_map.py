"""Map many tracks on any engine: sums per track, added up, written as NetCDF or Zarr."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from is2ice import schema
from is2ice.io.remote.location import is_url, location
from is2ice.io.remote.whole_files import Address, address, exists, suffix, written, written_folder
from is2ice.io.stores.layout import META, attributes
from is2ice.io.urls import scrub
from is2ice.science import epoch
from is2ice.science import grid as grids
from is2ice.science.snow import snow_model
from is2ice.version import __version__

from .execution import RunSettings

__all__ = ["DERIVED", "MapOptions", "make_map", "write_map"]

log = logging.getLogger("is2ice")

#: Variables that are computed for a map if a track does not hold them: thickness and statistics.
DERIVED = (
    "thickness",
    "snow_depth",
    "roughness",
    "ridge_height",
    "lead_width",
    "lead_spacing",
    "floe_length",
)


@dataclass(frozen=True)
class MapOptions:
    """Options that decide a map.

    Attributes
    ----------
    grid : str
        Name in :data:`is2ice.science.grid.GRIDS`.
    cell : float, optional
        Edge of a cell, m; the grid's own by default.
    period : {"month", "week", "all"}
    values : tuple of str
        Variables to average: freeboard, those of :func:`is2ice.science.thickness.compute` (thickness, snow_depth) and
        of :func:`is2ice.science.icestats.per_segment` (roughness, ridge_height, lead_width, lead_spacing, floe_length).
    where : {"ice", "all"}
        Segments over which means are taken.
    snow : str
        Snow of the thickness, if one is asked for (:func:`is2ice.science.snow.snow_model`).
    min_segments : int
        Means over fewer segments are left out.
    crop : bool
        Keep only the part of the grid that holds data.

    Raises
    ------
    ValueError
        A value that no track could give; the message names the option.
    """

    grid: str = "nsidc_south"
    cell: float | None = None
    period: grids.Period = "month"
    values: tuple[str, ...] = ("freeboard",)
    where: Any = "ice"
    snow: str = "auto"
    min_segments: int = 1
    crop: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", tuple(self.values))
        self.on()
        for name, known in (("period", ("week", "month", "all")), ("where", ("ice", "all"))):
            if getattr(self, name) not in known:
                raise ValueError(f"{name}={getattr(self, name)!r}: expected one of {', '.join(known)}")
        snow_model(self.snow)
        unknown = [v for v in self.values if v not in DERIVED and v not in schema.variables()]
        if unknown or not self.values:
            raise ValueError(
                f"values {', '.join(unknown) or '(none)'}: expected some of freeboard, {', '.join(DERIVED)}, or a "
                "variable of the segments"
            )

    def on(self) -> grids.Grid:
        """Return the grid, with cells of the size asked for."""
        if self.grid not in grids.GRIDS:
            raise ValueError(f"grid {self.grid!r}: expected one of {', '.join(grids.GRIDS)}")
        base = grids.GRIDS[self.grid]
        return base if self.cell is None else base.with_cell(self.cell)


@dataclass(frozen=True)
class _Sum:
    """Work on an item: open one track or product, and sum it."""

    options: MapOptions

    def __call__(self, item: tuple[Any, str, str]) -> xr.Dataset:
        source, granule, beam = item
        options = self.options
        if granule == "ATL10":
            from is2ice.io.icesat2.atl07_atl10 import open_atl10

            tree = open_atl10(source)
            for note in tree.attrs["notes"]:
                log.warning("%s: %s", tree.attrs["granule"], note)
            return grids.product_sums(tree, options.on(), period=options.period)
        from is2ice.io.stores.store import open_track

        track = open_track(source, granule, [beam], chunks=None).isel(beam=0)
        track = _with_values(track.assign_attrs(beam=beam), options)
        return grids.cell_sums(
            track, options.on(), period=options.period, values=options.values, where=options.where
        )


def _with_values(track: xr.Dataset, options: MapOptions) -> xr.Dataset:
    """Add the variables that the map averages to a track that does not hold them."""
    missing = [name for name in options.values if name not in track]
    if any(name in ("thickness", "snow_depth") for name in missing):
        from is2ice.science.thickness import compute

        track = compute(track, snow_model(options.snow))
    if any(name not in track for name in missing):
        from is2ice.science.icestats import per_segment

        track = per_segment(track)
    return track


def _items(sources: Iterable[str | os.PathLike[str]], options: MapOptions) -> Iterable[tuple[Any, str, str]]:
    from is2ice.io.stores.store import is_store, open_store

    for source in sources:
        if is_store(source):
            for granule, beam in open_store(source).tracks:
                yield source, granule, beam
        elif "://" not in os.fspath(source) and not os.path.exists(source):
            raise FileNotFoundError(f"{source}: no such store or file")
        elif options.values != ("freeboard",):
            raise ValueError(
                f"{scrub(os.fspath(source))}: a product gives freeboard only, not {', '.join(options.values)}"
            )
        else:
            yield os.fspath(source), "ATL10", ""


def make_map(
    sources: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    options: MapOptions | None = None,
    *,
    settings: RunSettings | None = None,
    on_failure: Callable[[Any, Exception], None] | None = None,
    **keywords: Any,
) -> xr.Dataset:
    """Map every track of some stores, or some ATL10 granules.

    Parameters
    ----------
    sources : path, URL, or several
        Stores of this package, or ATL10 files (one kind at a time: their populations differ).
    options : MapOptions, optional
    settings : RunSettings, optional
        Engine and retries; every engine gives the same map, bit for bit.
    on_failure : callable, optional
        Takes each item that failed, with its error; the map then lacks it. By default the first failure is raised.
    **keywords
        Fields of :class:`MapOptions`, such as ``grid="nsidc_north"``, and ``engine``, ``workers``, ``engine_options``
        and ``retries`` of :class:`is2ice.workflows.execution.RunSettings`; they take precedence over the records.

    Returns
    -------
    xarray.Dataset
        As :func:`is2ice.science.grid.to_map` returns it.

    Raises
    ------
    TypeError
        An unknown keyword.
    ValueError
        No track, an unknown grid, or stores mixed with products.
    """
    names = {f.name for f in fields(MapOptions)}
    options = replace(options or MapOptions(), **{k: v for k, v in keywords.items() if k in names})
    settings = RunSettings.merged(settings, {k: v for k, v in keywords.items() if k not in names})
    sources = [sources] if isinstance(sources, str | os.PathLike) else list(sources)
    sources = [settings.addressed(source) for source in sources]
    items = list(_items(sources, options))
    if len({granule == "ATL10" for _, granule, _ in items}) > 1:
        raise ValueError(
            "stores and ATL10 files in one map: their segments are not alike; map each by itself"
        )
    parts, failed = [], 0
    for item, result in settings.execution.map(_Sum(options), items):
        if isinstance(result, Exception):
            if on_failure is None:
                raise result
            on_failure(item, result)
            failed += 1
        else:
            parts.append(result)
    if not parts:
        raise ValueError(f"no track to map in {', '.join(scrub(os.fspath(s)) for s in sources) or 'nothing'}")
    total = grids.add(parts)
    if not total["row"].size:
        raise ValueError(
            f"{options.grid}: no segment of {len(parts)} tracks lies on it with a {' or '.join(options.values)}. "
            "Is it the grid of the other hemisphere?"
        )
    made = grids.to_map(total, min_segments=options.min_segments, crop=options.crop)
    made.attrs |= {
        "title": schema.titled(f"ICESat-2 sea ice, {options.grid}, per {options.period}", made.attrs),
        "source": schema.titled(
            "ATL10 freeboard" if items[0][1] == "ATL10" else "ATL03 photons through is2ice", made.attrs
        ),
        "tracks": len(parts),
        "tracks_failed": failed,
        "snow": options.snow if {"thickness", "snow_depth"} & set(options.values) else "not used",
        "history": f"{epoch.now()} is2ice {__version__} map",
    }
    return made


def write_map(ds: xr.Dataset, path: Address) -> Path | str:
    """Write a map as NetCDF (``.nc``) or Zarr (``.zarr``) to a path or an address, whole or not at all.

    Raises
    ------
    ValueError
        Another ending, no such folder, or something there that is not a map.
    """
    ending = suffix(path)
    if ending not in (".nc", ".zarr"):
        raise ValueError(f"{path}: expected a map ending in .nc or .zarr")
    if not is_url(os.fspath(path)) and not Path(path).parent.is_dir():
        raise ValueError(f"{path}: no such folder as {Path(path).parent}")
    _replaceable(path)
    encoding = {str(n): _encoding(v, ending == ".nc") for n, v in ds.variables.items()}
    if ending == ".nc":
        with written(path) as file:
            ds.to_netcdf(file, engine="h5netcdf", encoding=encoding)
        return address(path)
    with written_folder(path, META) as folder, warnings.catch_warnings():
        # Consolidated metadata are newer than the rest of the Zarr v3 specification.
        warnings.filterwarnings("ignore", message="Consolidated metadata is currently not part")
        ds.to_zarr(folder, mode="w", zarr_format=3, consolidated=True, encoding=encoding)
    return address(path)


def _replaceable(path: Address) -> None:
    """Refuse to write over a folder, a store above all, that is not a map."""
    if suffix(path) == ".nc":
        if not is_url(os.fspath(path)) and os.path.isdir(path):
            raise ValueError(f"{path}: is a folder; expected a file to write a NetCDF map to")
        return
    if exists(path) and "grid_name" not in (attributes(path) or {}) and location(path).entries():
        raise ValueError(
            f"{path}: holds something other than a map, perhaps a store of tracks; it is left unchanged. Choose "
            "another name"
        )


def _encoding(variable: xr.Variable, netcdf: bool) -> dict[str, Any]:
    if variable.dtype.kind == "M":
        return {
            "units": f"days since {schema.EPOCH_DATE}",
            "calendar": "standard",
            "dtype": "f8",
            "_FillValue": None,
        }
    if "time" not in variable.dims:
        return {"_FillValue": None}  # CF: a coordinate has no missing values
    fill = {"_FillValue": np.nan} if variable.dtype.kind == "f" else {}
    return fill | ({"zlib": True, "complevel": 4, "shuffle": True} if netcdf else {})

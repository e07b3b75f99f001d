"""Maps of many tracks on any engine: sums per track, added, written as NetCDF or Zarr. ``is2ice grid``."""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
import xarray as xr
from rich.console import Console

from is2ice import engines, schema
from is2ice.cli.console import json_text
from is2ice.io.stores.layout import attributes
from is2ice.io.urls import scrub
from is2ice.science import epoch
from is2ice.science import grid as grids
from is2ice.science.snowmodels import HELP as SNOW_HELP
from is2ice.science.snowmodels import snow_model
from is2ice.version import __version__

__all__ = ["MapOptions", "app", "make_map", "write_map"]

#: Variables of ATL10 that a map is made from; an absent type of surface is not taken for ice.
_NEEDED = ("delta_time", "latitude", "longitude", "length", "freeboard", "surface_type", "ssh_flag")


#: What is computed for a map where a track does not hold it: thickness and statistics.
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
    """What decides a map.

    Attributes
    ----------
    grid : str
        Of :data:`is2ice.science.grid.GRIDS`.
    cell : float, optional
        Edge of a cell, m; the grid's own by default.
    period : {"month", "week", "all"}
    values : tuple of str
        Variables to average: freeboard, those of :func:`is2ice.science.thickness.compute` (thickness, snow_depth) and
        of :func:`is2ice.science.icestats.per_segment` (roughness, ridge_height, lead_width, lead_spacing, floe_length).
    where : {"ice", "all"}
    snow : str
        Snow of the thickness, where one is asked for (:func:`is2ice.science.snowmodels.snow_model`).
    min_segments : int
    crop : bool
        Only the part of the grid that holds data.
    """

    grid: str = "nsidc_south"
    cell: float | None = None
    period: grids.Period = "month"
    values: tuple[str, ...] = ("freeboard",)
    where: Any = "ice"
    snow: str = "auto"
    min_segments: int = 1
    crop: bool = False

    def check(self) -> None:
        """Refuse what no track could give."""
        self.on()
        snow_model(self.snow)
        unknown = [v for v in self.values if v not in DERIVED and v not in schema.variables()]
        if unknown or not self.values:
            raise ValueError(
                f"values {', '.join(unknown) or '(none)'}: expected some of freeboard, {', '.join(DERIVED)}, or a "
                "variable of the segments"
            )

    def on(self) -> grids.Grid:
        """The grid, with cells of the size asked for."""
        if self.grid not in grids.GRIDS:
            raise ValueError(f"grid {self.grid!r}: expected one of {', '.join(grids.GRIDS)}")
        base = grids.GRIDS[self.grid]
        return base if self.cell is None else base.with_cell(self.cell)


@dataclass(frozen=True)
class _Sum:
    """What a worker does with an item: open one track or product, and sum it."""

    options: MapOptions

    def __call__(self, item: tuple[str, str, str]) -> xr.Dataset:
        source, granule, beam = item
        options = self.options
        if granule == "ATL10":
            from is2ice.io.icesat2.atl07_atl10 import open_atl10, require_tables

            tree = open_atl10(source)
            for node in tree.children.values():
                require_tables(node, _NEEDED)
            return grids.product_sums(tree, options.on(), period=options.period)
        from is2ice.io.stores.store import open_track

        track = open_track(source, granule, [beam], chunks=None).isel(beam=0)
        track = _with_values(track.assign_attrs(beam=beam), options)
        return grids.cell_sums(
            track, options.on(), period=options.period, values=options.values, where=options.where
        )


def _with_values(track: xr.Dataset, options: MapOptions) -> xr.Dataset:
    """A track with what the map is to average, computed where it is not stored."""
    missing = [name for name in options.values if name not in track]
    if any(name in ("thickness", "snow_depth") for name in missing):
        from is2ice.science.thickness import compute

        track = compute(track, snow_model(options.snow))
    if any(name not in track for name in missing):
        from is2ice.science.icestats import per_segment

        track = per_segment(track)
    return track


def _items(sources: Iterable[str | os.PathLike[str]], options: MapOptions) -> Iterable[tuple[str, str, str]]:
    from is2ice.io.stores.store import is_store, open_store

    for source in (os.fspath(s) for s in sources):
        if is_store(source):
            for granule, beam in open_store(source).tracks:
                yield source, granule, beam
        elif "://" not in source and not os.path.exists(source):
            raise FileNotFoundError(f"{source}: no such store or file")
        elif options.values != ("freeboard",):
            raise ValueError(
                f"{scrub(source)}: a product gives freeboard only, not {', '.join(options.values)}"
            )
        else:
            yield source, "ATL10", ""


def make_map(
    sources: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    options: MapOptions | None = None,
    *,
    engine: str | engines.Cluster = "serial",
    engine_options: Mapping[str, Any] | None = None,
    on_failure: Callable[[Any, Exception], None] | None = None,
) -> xr.Dataset:
    """A map of every track of some stores, or of ATL10 granules.

    Parameters
    ----------
    sources : path, URL, or several
        Stores of this package, or ATL10 files (one kind at a time: their populations differ).
    options : MapOptions, optional
    engine : str or Cluster
        Of :data:`is2ice.engines.ENGINES`, or of :func:`is2ice.engines.cluster`. Every engine gives the same
        map, bit for bit.
    engine_options : mapping, optional
    on_failure : callable, optional
        Told of each (item, error) that failed, which the map then lacks; by default the first failure is
        raised.

    Returns
    -------
    xarray.Dataset
        As of :func:`is2ice.science.grid.to_map`.

    Raises
    ------
    ValueError
        No track, unknown grid, or stores mixed with products.
    """
    options = options or MapOptions()
    options.check()
    engines.check(engine)
    sources = [sources] if isinstance(sources, str | os.PathLike) else list(sources)
    items = list(_items(sources, options))
    if len({granule == "ATL10" for _, granule, _ in items}) > 1:
        raise ValueError(
            "stores and ATL10 files in one map: their segments are not alike; map each by itself"
        )
    parts, failed = [], 0
    for item, result in engines.map(_Sum(options), items, engine, clean=scrub, **(engine_options or {})):
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
        "title": f"ICESat-2 sea ice, {options.grid}, per {options.period}",
        "source": "ATL10 freeboard" if items[0][1] == "ATL10" else "ATL03 photons through is2ice",
        "tracks": len(parts),
        "tracks_failed": failed,
        "snow": options.snow if {"thickness", "snow_depth"} & set(options.values) else "not used",
        "history": f"{epoch.now()} is2ice {__version__} grid",
    }
    return made


def write_map(ds: xr.Dataset, path: str | os.PathLike[str]) -> Path:
    """Write a map as NetCDF (``.nc``) or Zarr (``.zarr``), whole or not at all.

    Raises
    ------
    ValueError
        Another ending, no such folder, or something there that is not a map.
    """
    path = Path(path)
    if path.suffix not in (".nc", ".zarr"):
        raise ValueError(f"{path}: expected a map ending in .nc or .zarr")
    if not path.parent.is_dir():
        raise ValueError(f"{path}: no such folder as {path.parent}")
    _replaceable(path)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    old = part.with_suffix(".old")
    encoding = {str(n): _encoding(v, path.suffix == ".nc") for n, v in ds.variables.items()}
    try:
        with warnings.catch_warnings():
            # Consolidated metadata are newer than the rest of the Zarr v3 specification.
            warnings.filterwarnings("ignore", message="Consolidated metadata is currently not part")
            if path.suffix == ".nc":
                ds.to_netcdf(part, engine="h5netcdf", encoding=encoding)
            else:
                ds.to_zarr(part, mode="w-", zarr_format=3, consolidated=True, encoding=encoding)
        if path.is_dir():  # a folder is not replaced at once; for a moment there is none, never half of one
            os.replace(path, old)
        os.replace(part, path)
    finally:
        if old.is_dir() and not path.exists():
            os.replace(old, path)
        for left in (part, old):
            shutil.rmtree(left) if left.is_dir() else left.unlink(missing_ok=True)
    return path


def _replaceable(path: Path) -> None:
    """Refuse to write over a folder, a store above all, that is not a map."""
    if not path.is_dir():
        return
    if path.suffix != ".zarr":
        raise ValueError(f"{path}: is a folder; expected a file to write a NetCDF map to")
    if "grid_name" not in (attributes(path) or {}) and any(path.iterdir()):
        raise ValueError(
            f"{path}: holds something other than a map, a store of tracks perhaps; it is left alone. Give --out a name "
            "of its own"
        )


def _encoding(variable: xr.Variable, netcdf: bool) -> dict[str, Any]:
    if variable.dtype.kind == "M":
        return {"units": "days since 2018-01-01", "calendar": "standard", "dtype": "f8", "_FillValue": None}
    if "time" not in variable.dims:
        return {"_FillValue": None}  # CF: a coordinate has no missing values
    fill = {"_FillValue": np.nan} if variable.dtype.kind == "f" else {}
    return fill | ({"zlib": True, "complevel": 4, "shuffle": True} if netcdf else {})


# -- command line -------------------------------------------------------------------------------------
app = typer.Typer(add_completion=False)
out = Console(soft_wrap=True, highlight=False, markup=False)
err = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)


@app.command(
    epilog="Example: is2ice grid ross_sea.zarr --out map.nc --period month --values freeboard,thickness"
)
def make(
    sources: Annotated[list[str], typer.Argument(help="Stores, or ATL10 files.")],
    path: Annotated[Path, typer.Option("--out", help="Map to write, .nc or .zarr.")],
    on: Annotated[str, typer.Option("--grid", help=f"One of {', '.join(grids.GRIDS)}.")] = "nsidc_south",
    cell: Annotated[float | None, typer.Option(help="Edge of a cell, m; 25 km by default.")] = None,
    period: Annotated[str, typer.Option(help="week, month or all.")] = "month",
    values: Annotated[
        str,
        typer.Option(help=f"Of freeboard, {', '.join(DERIVED)}."),
    ] = "freeboard",
    where: Annotated[str, typer.Option(help="Means over ice, or over all.")] = "ice",
    snow: Annotated[str, typer.Option(help=f"Snow of the thickness: {SNOW_HELP}")] = "auto",
    min_segments: Annotated[int, typer.Option(min=1, help="Means of fewer segments are left out.")] = 1,
    crop: Annotated[bool, typer.Option("--crop", help="Only the rows and columns that hold data.")] = False,
    engine: Annotated[str, typer.Option(help=f"One of {', '.join(engines.ENGINES)}.")] = "serial",
    workers: Annotated[int | None, typer.Option(min=1, help="Of engines that have them.")] = None,
    address: Annotated[str | None, typer.Option(help="Of a scheduler, a Gateway or a Spark master.")] = None,
    conf: Annotated[
        list[str] | None, typer.Option("--conf", help="key=value for Spark or the Gateway; repeatable.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Also draw the first value there.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Maps of stores or ATL10 granules: length-weighted means, spread, counts, lead fraction, uncertainty."""
    if where not in ("ice", "all"):
        raise ValueError(f"--where {where}: expected ice or all")
    if period not in ("week", "month", "all"):
        raise ValueError(f"--period {period}: expected week, month or all")
    from .driver import engine_options

    names = tuple(v.strip() for v in values.split(",") if v.strip())
    options = MapOptions(on, cell, period, names, where, snow, min_segments, crop)  # type: ignore[arg-type]
    if path.suffix not in (".nc", ".zarr"):
        raise ValueError(f"{path}: expected a map ending in .nc or .zarr")
    failures: list[str] = []

    def tell(item: Any, error: Exception) -> None:
        where = " ".join(part for part in item if part not in ("", "ATL10"))
        text = str(error) if where in str(error) else f"{where}: {error}"
        failures.append(scrub(text))
        err.print(f"is2ice: {failures[-1]}")

    extra = engine_options(engine, workers, address, conf or ())
    made = make_map(sources, options, engine=engine, engine_options=extra, on_failure=tell)
    write_map(made, path)
    if plot is not None:
        from is2ice.reports.plot_maps import draw_map

        draw_map(made, names[0], path=plot)
    told = summary(made, names)
    if as_json:
        print(json_text({"map": str(path), **told, "failures": failures}))  # noqa: T201
    else:
        when = (
            "all time" if period == "all" else f"{told['times']} {period}{'s' if told['times'] > 1 else ''}"
        )
        out.print(f"{path}: {told['tracks']} tracks, {told['cells']} cells with data, {when}")
        for name in names:
            out.print(
                _line(name, told[name], str(made[name].attrs.get("units", "1")), str(made.attrs["snow"]))
            )
    if failures:
        raise typer.Exit(1)


def _line(name: str, told: dict[str, Any], units: str, snow: str) -> str:
    """A value of a map in words."""
    unit = "" if units == "1" else f" {units}"
    if told["mean"] is not None:
        low, high = told["range"]
        return f"{name}: mean of cells {told['mean']:g}{unit}, from {low:g} to {high:g}{unit}"
    why = f"; snow {snow} is not known there" if name in ("thickness", "snow_depth") else ""
    return f"{name}: no cell has a value{why}"


def summary(made: xr.Dataset, names: Iterable[str]) -> dict[str, Any]:
    """A few numbers of a map, as JSON can hold them."""
    told: dict[str, Any] = {
        "tracks": int(made.attrs["tracks"]),
        "times": int(made.sizes["time"]),
        "cells": int((made["length_observed"] > 0).sum()),
    }
    for name in names:
        v = made[name]
        some = bool(v.notnull().any())
        told[name] = {
            "mean": round(float(v.mean()), 4) if some else None,
            "range": [round(float(f()), 4) for f in (v.min, v.max)] if some else None,
        }
    return told

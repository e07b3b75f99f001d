"""Command ``is2ice map``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any

import typer
import xarray as xr

from is2ice.io.remote.whole_files import suffix
from is2ice.science import grid as grids
from is2ice.science.snow import HELP as SNOW_HELP
from is2ice.workflows.make_map import DERIVED, MapOptions, make_map, write_map

from .console import AsJson, check_picture, err, expand_flags, names, out, print_json, scrubbed
from .engine_options import EngineFlags

__all__ = ["app"]

app = typer.Typer(add_completion=False)


@dataclass(frozen=True)
class MapFlags:
    """Flags that decide a map."""

    grid: Annotated[str, typer.Option("--grid", help=f"One of {', '.join(grids.GRIDS)}.")] = "nsidc_south"
    cell: Annotated[float | None, typer.Option("--cell", help="Edge of a cell, m; 25 km by default.")] = None
    period: Annotated[str, typer.Option("--period", help="week, month or all.")] = "month"
    values: Annotated[
        str, typer.Option("--values", help=f"Any of freeboard, {', '.join(DERIVED)}, with commas.")
    ] = "freeboard"
    where: Annotated[str, typer.Option("--where", help="Take means over ice, or over all.")] = "ice"
    snow: Annotated[str, typer.Option("--snow", help=f"Snow of the thickness: {SNOW_HELP}")] = "auto"
    min_segments: Annotated[
        int, typer.Option("--min-segments", min=1, help="Leave out means of fewer segments.")
    ] = 1
    crop: Annotated[bool, typer.Option("--crop", help="Keep only rows and columns that hold data.")] = False

    def options(self) -> MapOptions:
        """Return the options of the map."""
        return MapOptions(**(vars(self) | {"values": names(self.values)}))


@app.command(
    epilog="Example: is2ice map ross_sea.zarr --out map.nc --out map.png --period month --values freeboard,thickness"
)
@expand_flags
def command(
    sources: Annotated[list[str], typer.Argument(help="Stores, or ATL10 files.")],
    paths: Annotated[
        list[str],
        typer.Option("--out", help="Map to write: .nc, .zarr, or a picture (.png, .pdf, .svg); repeatable."),
    ],
    flags: MapFlags,
    engine: EngineFlags,
    as_json: AsJson = False,
) -> None:
    """Map stores or ATL10 granules: length-weighted means, spread, counts, lead fraction, uncertainty."""
    options = flags.options()
    maps = [path for path in paths if suffix(path) in (".nc", ".zarr")]
    pictures = [path for path in paths if path not in maps]
    for path in pictures:
        if suffix(path) not in (".png", ".pdf", ".svg", ".jpg"):
            raise ValueError(f"{path}: expected a map ending in .nc or .zarr, or a picture")
        check_picture(path)
    failures: list[str] = []

    def note(item: Any, error: Exception) -> None:
        where = " ".join(part for part in item if part not in ("", "ATL10"))
        failures.append(scrubbed(str(error) if where in str(error) else f"{where}: {error}"))
        err.print(f"is2ice: {failures[-1]}")

    made = make_map(sources, options, on_failure=note, **engine.keywords())
    for path in maps:
        write_map(made, path)
    for path in pictures:
        from is2ice.reports.plot_maps import draw_map

        draw_map(made, options.values[0], path=path)
    numbers = summary(made, options.values)
    if as_json:
        print_json({"map": [*map(str, paths)], **numbers, "failures": failures})
    else:
        period = options.period
        when = f"{numbers['times']} {period}{'s' if numbers['times'] > 1 else ''}"
        when = "all time" if period == "all" else when
        written = ", ".join(map(str, paths))
        out.print(f"{written}: {numbers['tracks']} tracks, {numbers['cells']} cells with data, {when}")
        for name in options.values:
            units = str(made[name].attrs.get("units", "1"))
            out.print(_line(name, numbers[name], units, str(made.attrs["snow"])))
    if failures:
        raise typer.Exit(1)


def _line(name: str, numbers: dict[str, Any], units: str, snow: str) -> str:
    """Describe a value of a map in words."""
    unit = "" if units == "1" else f" {units}"
    if numbers["mean"] is not None:
        low, high = numbers["range"]
        return f"{name}: mean of cells {numbers['mean']:g}{unit}, from {low:g} to {high:g}{unit}"
    why = f"; snow {snow} is not known there" if name in ("thickness", "snow_depth") else ""
    return f"{name}: no cell has a value{why}"


def summary(made: xr.Dataset, values: Iterable[str]) -> dict[str, Any]:
    """Return a few numbers of a map, in the form that JSON can hold."""
    numbers: dict[str, Any] = {
        "tracks": int(made.attrs["tracks"]),
        "times": int(made.sizes["time"]),
        "cells": int((made["length_observed"] > 0).sum()),
    }
    for name in values:
        v = made[name]
        some = bool(v.notnull().any())
        numbers[name] = {
            "mean": round(float(v.mean()), 4) if some else None,
            "range": [round(float(f()), 4) for f in (v.min, v.max)] if some else None,
        }
    return numbers

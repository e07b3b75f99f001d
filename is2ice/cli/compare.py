"""Command ``is2ice compare``."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from is2ice.io.remote.whole_files import suffix, written

from .console import AsJson, expand_flags, out

if TYPE_CHECKING:
    import xarray as xr

    from is2ice.reports.nasa_comparison import Comparison

__all__ = ["app"]

app = typer.Typer(add_completion=False)


@dataclass(frozen=True)
class OutsideFlags:
    """Flags of a comparison with another instrument."""

    points: Annotated[
        Path | None,
        typer.Option(
            "--points",
            help="Table of another instrument, in place of a product: ATM L2 (ILATM2_*.csv), a mooring's sonar (with "
            "--at), or any table with time, latitude, longitude and height, freeboard, radar_freeboard or draft.",
        ),
    ] = None
    at: Annotated[
        tuple[float, float] | None, typer.Option("--at", metavar="LAT LON", help="Position of the mooring.")
    ] = None
    drift: Annotated[
        tuple[float, float],
        typer.Option(
            "--drift", metavar="U V", help="Velocity of the ice along x and y of the polar map, m/s."
        ),
    ] = (0.0, 0.0)
    radius: Annotated[float, typer.Option("--radius", help="Segments this near to a point count, m.")] = 50.0
    hours: Annotated[float, typer.Option("--hours", help="Largest time between point and pass.")] = 24.0


@app.command(
    epilog="Examples:\n\nis2ice compare ATL03_x.h5 gt2r --atl10 ATL10-02_x.h5 --out report.html\n\nis2ice compare "
    "s.zarr gt2r --points flight.csv --drift 0.1 -0.05"
)
@expand_flags
def compare(
    source: Annotated[str, typer.Argument(help="An ATL03 granule, or a store.")],
    beam: Annotated[str, typer.Argument(help="The beam.")],
    outside: OutsideFlags,
    granule: Annotated[
        str | None, typer.Option("--granule", help="One granule of a store that holds several.")
    ] = None,
    atl07: Annotated[str | None, typer.Option("--atl07", help="ATL07 of the pass.")] = None,
    atl10: Annotated[str | None, typer.Option("--atl10", help="ATL10 of the pass.")] = None,
    koo: Annotated[
        str | None,
        typer.Option(
            "--koo", help="Folder of a trained Koo classifier of ATL07: its method as a third result."
        ),
    ] = None,
    path: Annotated[
        str | None, typer.Option("--out", help="Report to write: .html or .json; with --points .json.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare a track with ATL07 or ATL10: heights, sea surface, freeboard, points, leads, classes; or with a table."""
    from is2ice.io.stores import store as stores
    from is2ice.reports import nasa_comparison
    from is2ice.reports.nasa_comparison_report import text, write_html
    from is2ice.workflows.track import one_track

    if path is not None and suffix(path) not in (".html", ".json"):
        raise ValueError(f"{path}: expected a report ending in .html or .json")
    if outside.points is not None and path is not None and suffix(path) != ".json":
        raise ValueError(f"{path}: with --points the report is numbers only; expected a name ending in .json")
    if stores.is_store(source):
        track = stores.open_track(source, granule, [beam], chunks=None)
        track = track.isel(beam=0).assign_attrs(beam=beam)
    else:
        track = one_track(source, beam)
    if outside.points is not None:
        _with_points(track, outside, path, as_json)
        return
    result = nasa_comparison.compare(track, atl07, atl10, koo=koo)
    if atl10 is not None and not result.leads["theirs"].size:
        result.statements.append(_leads_elsewhere(result, atl10, beam))
    if path is not None and suffix(path) == ".html":
        write_html(result, path)
    elif path is not None:
        with written(path) as file:
            file.write_text(result.to_json() + "\n")
    if as_json:
        typer.echo(result.to_json())
        return
    out.print(text(result))
    for line in result.statements:
        out.print(f"not comparable: {line}")
    if path is not None:
        out.print(f"report: {path}")


def _with_points(track: xr.Dataset, outside: OutsideFlags, path: str | None, as_json: bool) -> None:
    """Compare with a table of another instrument and print the numbers."""
    from is2ice.reports import outside_data, outside_tables

    assert outside.points is not None
    if outside.at is not None:
        points = outside_tables.read_mooring(outside.points, *outside.at)
    elif outside.points.name.startswith("ILATM2_"):
        points = outside_tables.read_atm(outside.points)
    else:
        points = outside_tables.read_points(outside.points)
    ours = {
        "draft": outside_data.draft,
        "radar_freeboard": outside_data.radar_freeboard,
        "height": outside_data.lidar_height,
    }
    # Freeboard before height: a table with both was made for its freeboard, and needs no sea surface of ours to match.
    name = next(n for n in ("draft", "radar_freeboard", "freeboard", "height") if n in points)
    if name in ours:
        track = track.assign({name: ours[name](track)})
    how: dict[str, Any] = {"radius": outside.radius, "hours": outside.hours, "drift": outside.drift}
    numbers, joined = outside_data.compare_points(track, points, name=name, **how)
    text = json.dumps(numbers, indent=1)
    if path is not None:
        with written(path) as file:
            file.write_text(text + "\n")
    if as_json:
        typer.echo(text)
        return
    for count, what in (
        ("dropped", "rows without time or position"),
        ("impossible", "impossible values, or none"),
    ):
        if points.attrs[count]:
            out.print(f"left out: {points.attrs[count]:,} {what}")
    if not numbers["n"]:
        out.print(
            f"no point meets our {name}: {outside_data.why_none(track, points, joined, outside.radius)}"
        )
        return
    out.print(f"{numbers['n']:,} of {numbers['points']:,} points within {outside.hours:g} h meet our {name}")
    error = numbers["bias_uncertainty"]
    out.print(
        f"ours less theirs {100 * numbers['bias']:+.1f} cm"
        + (f" ± {100 * error:.1f}" if error is not None else "")
        + f", RMSE {100 * numbers['rmse']:.1f} cm, robust sd {100 * numbers['robust_sd']:.1f} cm"
    )


def _leads_elsewhere(c: Comparison, atl10: str, beam: str) -> str:
    """Name the beams on which the product has leads in our stretch, if it has none on ours."""
    from is2ice.io.icesat2.atl07_atl10 import open_atl10

    first, last = (float(c.track["x_atc"].values[k]) for k in (0, -1))
    there = []
    for name, node in open_atl10(atl10).children.items():
        at = node["leads"].to_dataset()["x_atc"].values
        if ((at >= first) & (at <= last)).any():
            there.append(str(name))
    return (
        f"ATL10 has no lead on {beam} in this stretch, and so no sea surface of its own; beams with leads here: "
        f"{', '.join(there) or 'none'}."
    )

"""Command ``is2ice compare``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .console import AsJson, out

if TYPE_CHECKING:
    from is2ice.reports.nasa_comparison import Comparison

__all__ = ["app"]

app = typer.Typer(add_completion=False)


@app.command(epilog="Example: is2ice compare ATL03_x.h5 gt2r --atl10 ATL10-02_x.h5 --out report.html")
def compare(
    source: Annotated[str, typer.Argument(help="An ATL03 granule, or a store.")],
    beam: Annotated[str, typer.Argument(help="The beam.")],
    granule: Annotated[
        str | None, typer.Option("--granule", help="One granule of a store that holds several.")
    ] = None,
    atl07: Annotated[Path | None, typer.Option("--atl07", help="ATL07 of the pass.")] = None,
    atl10: Annotated[Path | None, typer.Option("--atl10", help="ATL10 of the pass.")] = None,
    koo: Annotated[
        Path | None,
        typer.Option(
            "--koo", help="Folder of a trained Koo classifier of ATL07: its method as a third result."
        ),
    ] = None,
    path: Annotated[Path | None, typer.Option("--out", help="Report to write: .html or .json.")] = None,
    as_json: AsJson = False,
) -> None:
    """Compare a track with ATL07 or ATL10: heights, sea surface, freeboard, points, leads, classes."""
    from is2ice.io.stores import store as stores
    from is2ice.reports import nasa_comparison
    from is2ice.reports.nasa_comparison_report import text, write_html
    from is2ice.workflows.track import one_track

    if path is not None and path.suffix not in (".html", ".json"):
        raise ValueError(f"{path}: expected a report ending in .html or .json")
    if stores.is_store(source):
        track = stores.open_track(source, granule, [beam], chunks=None)
        track = track.isel(beam=0).assign_attrs(beam=beam)
    else:
        track = one_track(source, beam)
    result = nasa_comparison.compare(track, atl07, atl10, koo=koo)
    if atl10 is not None and not result.leads["theirs"].size:
        result.statements.append(_leads_elsewhere(result, atl10, beam))
    if path is not None and path.suffix == ".html":
        write_html(result, path)
    elif path is not None:
        path.write_text(result.to_json() + "\n")
    if as_json:
        typer.echo(result.to_json())
        return
    out.print(text(result))
    for line in result.statements:
        out.print(f"not comparable: {line}")
    if path is not None:
        out.print(f"report: {path}")


def _leads_elsewhere(c: Comparison, atl10: Path, beam: str) -> str:
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

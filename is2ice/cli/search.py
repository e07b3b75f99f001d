"""Command ``is2ice search``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

__all__ = ["app"]

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command(
    epilog="Examples: is2ice search ross_sea 2019-11-01 2019-11-30 --release 006\n\n"
    "is2ice search ross_sea 2019-11-01 2019-11-30 --json | is2ice run ..."
)
def search(
    sea: Annotated[str | None, typer.Argument(help="A named sea, such as ross_sea.")] = None,
    start: Annotated[str | None, typer.Argument(help="First day, UTC.")] = None,
    end: Annotated[str | None, typer.Argument(help="Last day, UTC.")] = None,
    bbox: Annotated[
        tuple[float, float, float, float] | None,
        typer.Option("--bbox", metavar="W S E N", help="Degrees; west > east crosses the antimeridian."),
    ] = None,
    product: Annotated[str, typer.Option(help="ATL03, ATL07 or ATL10.")] = "ATL03",
    release: Annotated[str | None, typer.Option(help="Such as 006.")] = None,
    rgt: Annotated[int | None, typer.Option(help="Reference ground track.")] = None,
    cycle: Annotated[int | None, typer.Option(help="91-day cycle.")] = None,
    picture: Annotated[Path | None, typer.Option("--map", help="Write a map (.html).")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """ICESat-2 granules that meet an area; needs no login."""
    from is2ice.io.catalogs.icesat2 import granule_map
    from is2ice.io.catalogs.icesat2 import search as find

    if bbox is not None and sea is not None:
        raise ValueError(f"name a sea ({sea}) or --bbox, not both")
    if start is not None and end is None:
        raise ValueError(f"a first day ({start}) needs a last day")
    where: Any = bbox if bbox is not None else sea
    frame = find(
        where, None if start is None else (start, end), product=product, release=release, rgt=rgt, cycle=cycle
    )
    if picture is not None:
        granule_map(frame, picture)
    table = frame.drop(columns=["geometry", "granule_item"])
    if as_json:
        typer.echo(json.dumps(json.loads(table.to_json(orient="records", date_format="iso"))))
    elif len(frame):
        typer.echo(table[["granule", "start", "rgt", "cycle", "region", "size_mb"]].to_string(index=False))
    else:
        typer.echo("no granule found")

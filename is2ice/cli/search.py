"""Command ``is2ice search``."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from .console import AsJson, Bbox, expand_flags, out, print_json

__all__ = ["app"]

app = typer.Typer(add_completion=False)


@dataclass(frozen=True)
class SearchFlags:
    """Flags that narrow a search."""

    product: Annotated[str, typer.Option("--product", help="ATL03, ATL07 or ATL10.")] = "ATL03"
    release: Annotated[str | None, typer.Option("--release", help="Release, such as 006.")] = None
    rgt: Annotated[int | None, typer.Option("--rgt", help="Reference ground track.")] = None
    cycle: Annotated[int | None, typer.Option("--cycle", help="91-day cycle.")] = None


@app.command(
    epilog="Examples: is2ice search ross_sea 2019-11-01 2019-11-30 --release 006\n\n"
    "is2ice search ross_sea 2019-11-01 2019-11-30 --out granules.html"
)
@expand_flags
def search(
    filters: SearchFlags,
    sea: Annotated[
        str | None, typer.Argument(help="A named sea, such as ross_sea, or a file of polygons.")
    ] = None,
    start: Annotated[str | None, typer.Argument(help="First day, UTC.")] = None,
    end: Annotated[str | None, typer.Argument(help="Last day, UTC.")] = None,
    bbox: Bbox = None,
    path: Annotated[Path | None, typer.Option("--out", help="Map of the granules to write (.html).")] = None,
    as_json: AsJson = False,
) -> None:
    """Find ICESat-2 granules that meet an area; needs no login."""
    from is2ice.io.catalogs.icesat2 import granule_map
    from is2ice.io.catalogs.icesat2 import search as find

    if bbox is not None and sea is not None:
        raise ValueError(f"name a sea ({sea}) or --bbox, not both")
    if start is not None and end is None:
        raise ValueError(f"a first day ({start}) needs a last day")
    where: Any = bbox if bbox is not None else sea
    frame = find(where, None if start is None else (start, end), **vars(filters))
    if path is not None:
        granule_map(frame, path)
    table = frame.drop(columns=["geometry", "granule_item"])
    if as_json:
        print_json(json.loads(table.to_json(orient="records", date_format="iso")))
    elif len(frame):
        out.print(table[["granule", "start", "rgt", "cycle", "region", "size_mb"]].to_string(index=False))
    else:
        out.print("no granule found")

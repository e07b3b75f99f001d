"""Command ``is2ice explore``."""

from __future__ import annotations

from typing import Annotated

import typer

from .console import err, out, state

__all__ = ["app"]

app = typer.Typer(add_completion=False)


@app.command(epilog="Example: is2ice explore s3://bucket/ross_sea --out ross_sea.html")
def explore(
    store: Annotated[str, typer.Argument(help="A working or published store (path or URL).")],
    path: Annotated[
        str, typer.Option("--out", help="Page to write (.html), also in a bucket.")
    ] = "explore.html",
    version: Annotated[
        int | None,
        typer.Option("--version", min=1, help="Version of a published store; else the current one."),
    ] = None,
    points: Annotated[int, typer.Option("--points", min=10, help="Segments shown of each track.")] = 600,
) -> None:
    """Write a page with a polar map of the tracks of a store; a click on a track shows its profile."""
    from is2ice.reports.explorer import explore as write

    with err.status("reading tracks") as status:
        page = write(
            store, path, points=points, version=version, progress=None if state.quiet else status.update
        )
    out.print(f"page: {page}; open it in a browser")

"""Command ``is2ice report``."""

from __future__ import annotations

from typing import Annotated

import typer

from is2ice.workflows import run_report
from is2ice.workflows.run_record import read

from .console import AsJson, out, print_json

__all__ = ["app"]

app = typer.Typer(add_completion=False)


@app.command(epilog="Example: is2ice report ross_sea.zarr")
def report(
    run: Annotated[str, typer.Argument(help="A store (its last run), or a file of its folder .runs.")],
    as_json: AsJson = False,
) -> None:
    """Report a run: engine, workers, seconds per step, slowest tracks, failures. JSON holds every receipt."""
    manifest, done = read(run)
    if as_json:
        document = run_report.figures(manifest, done)
        print_json(document | {"manifest": manifest, "receipts": list(done.receipts)})
    else:
        out.print(run_report.text(manifest, done))

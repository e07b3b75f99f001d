"""Command ``is2ice report``."""

from __future__ import annotations

from typing import Annotated

import typer

from .console import AsJson, out, print_json, print_table

__all__ = ["app"]

app = typer.Typer(add_completion=False)


@app.command(epilog="Example: is2ice report ross_sea.zarr --all")
def report(
    run: Annotated[
        str, typer.Argument(help="A store (its last run that did work), or a file of its folder .runs.")
    ],
    every: Annotated[bool, typer.Option("--all", help="List all runs of the store.")] = False,
    as_json: AsJson = False,
) -> None:
    """Report a run: engine, workers, seconds per step, slowest tracks, failures. JSON holds every receipt."""
    from is2ice.workflows import run_report
    from is2ice.workflows.run_record import FOLDER, last, manifests, read, worked

    if every:
        columns = ("id", "status", "started", "engine", "done", "skipped", "failed")
        rows = [{name: one.get(name) for name in columns} for one in manifests(run)]
        print_json(rows) if as_json else print_table(rows, columns)
        return
    one = f"/{FOLDER}/" in run
    chosen = run if one else worked(run)
    manifest, done = read(chosen)
    if as_json:
        document = run_report.figures(manifest, done)
        print_json(document | {"manifest": manifest, "receipts": list(done.receipts)})
        return
    out.print(run_report.text(manifest, done))
    if not one and last(run) != chosen:
        out.print("later runs found everything in place; --all lists them")

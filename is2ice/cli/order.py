"""Command ``is2ice order``: parts of granules, cut out by NASA."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from .console import AreaFlag, AsJson, Bbox, err, out, print_json, state

__all__ = ["app"]

app = typer.Typer(add_completion=False)


@app.command(
    epilog="Examples: is2ice order ATL07-02_20191104195311_05940501_006_01 --area ross_sea --out subsets\n\n"
    "is2ice order --job 931355e8-0005-4dff-9c76-7903a5be283d --out subsets"
)
def order(
    granules: Annotated[
        list[str] | None, typer.Argument(help="Names of granules of one product and release.")
    ] = None,
    area: AreaFlag = None,
    bbox: Bbox = None,
    time: Annotated[
        tuple[str, str] | None, typer.Option("--time", metavar="START END", help="First and last day, UTC.")
    ] = None,
    job: Annotated[
        str | None, typer.Option("--job", help="Number of an order that was placed, in place of granules.")
    ] = None,
    path: Annotated[
        Path | None, typer.Option("--out", help="Folder to fetch the files to, when the order is done.")
    ] = None,
    patience: Annotated[float, typer.Option("--wait", help="Longest time to wait for it, s.")] = 3600.0,
    skip_preview: Annotated[
        bool,
        typer.Option(
            "--skip-preview",
            help="Process all granules at once: Harmony pauses orders of more than 300 after the first few. "
            "With --job, let a paused order continue.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Order parts of granules from NASA (Harmony), wait for them and fetch them; needs an Earthdata login.

    An order is worth it for small areas in many granules; `is2ice run` streams from whole granules without one. With
    --out, the exit code is 1 unless the order was successful as a whole: files of the others are absent.
    """
    from is2ice.io.catalogs import orders

    if bool(granules) == (job is not None):
        raise ValueError("name granules to order, or the --job of an order that was placed")
    if area is not None and bbox is not None:
        raise ValueError(f"name --area {area} or --bbox, not both")
    if job is None:
        where = bbox if bbox is not None else area
        placed = orders.order(granules, where, time, skip_preview=skip_preview)
        err.print(f"order {placed.job}")  # at once: an interrupted wait is taken up by --job
    else:
        placed = orders.Order(job)
        if skip_preview:
            placed.resume()
    status = placed.status() if path is None else placed.follow(patience)
    lost = path is None or status["status"] in ("failed", "canceled")
    files = [] if path is None or lost else placed.download(path)
    _report(placed.job, status, files, as_json)
    if path is None:
        state.next = f"is2ice order --job {placed.job} --out FOLDER"
    elif status["status"] == "successful":
        state.next = "is2ice products FILE"
    else:
        if status["status"] == "paused":
            state.next = f"is2ice order --job {placed.job} --skip-preview --out {path}"
        err.print(
            f"is2ice: order {placed.job} is {status['status']}, not successful: {status.get('message')}"
        )
        raise typer.Exit(1)


def _report(job: str, status: dict[str, Any], files: list[Path], as_json: bool) -> None:
    found = {k: status.get(k) for k in ("status", "message", "progress")}
    if as_json:
        print_json({"job": job, **found, "files": files})
        return
    out.print(f"order {job}: {found['status']}, {found['progress']} % done: {found['message']}")
    for file in files:
        out.print(str(file))

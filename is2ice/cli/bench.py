"""``is2ice bench scaling``: a simulated archive on each engine with 1, 2, ... workers, and what more would do."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from .console import json_text

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True)
ENGINES = ("processes", "dask", "spark")


@app.callback()
def _group() -> None:
    """How a run scales, measured here and projected."""


@app.command(
    epilog="Example: is2ice bench scaling --engine dask --engine spark --workers 1 --workers 2 --granules 24"
)
def scaling(
    engine: Annotated[
        list[str] | None, typer.Option("--engine", help="processes, dask, spark; repeatable. All by default.")
    ] = None,
    workers: Annotated[
        list[int] | None,
        typer.Option("--workers", help="Repeatable; 1, 2, 4 ... up to the cores by default."),
    ] = None,
    granules: Annotated[int, typer.Option(min=2, help="Of the simulated archive.")] = 24,
    length_km: Annotated[float, typer.Option(min=4.0, help="Of a granule.")] = 8.0,
    cores: Annotated[list[int] | None, typer.Option("--project", help="Cores to project to.")] = None,
    tasks: Annotated[int, typer.Option(help="Tasks of the projected archive.")] = 3000,
    folder: Annotated[Path | None, typer.Option(help="To work in, kept; else a temporary one.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Time labelling and freeboard, in the form of the published tables II and V, and project by a stated model."""
    from is2ice.engines._common import cpus
    from is2ice.reports import scaling as s
    from is2ice.twin.server.timing_archive import make_archive

    names = engine or list(ENGINES)
    unknown = [name for name in names if name not in ENGINES]
    if unknown:
        raise ValueError(f"--engine {unknown[0]}: expected some of {', '.join(ENGINES)}")
    if workers and min(workers) < 1:
        raise ValueError(f"--workers {min(workers)}: expected at least one")
    counts = workers or [n for n in (1, 2, 4, 8, 16, 32) if n <= cpus()]
    with tempfile.TemporaryDirectory(prefix="is2ice-scaling-") as temporary:
        place = folder or Path(temporary)
        data = make_archive(place / "archive", granules, length_km=length_km)
        rate = s.bandwidth(place)
        timings, models = [], {}
        for name in names:
            spent = []
            for n in counts:
                rows, dispatch = s.measure(data.granules, data.scene, place, name, n)
                timings += rows
                spent.append(dispatch)
            for kind in s.KINDS:
                mine = [t for t in timings if (t.kind, t.engine) == (kind, name)]
                if not s.fits(counts, mine[0].tasks):
                    continue
                models[kind, name] = s.Model.fit(
                    [t.workers for t in mine], [t.reduce for t in mine], mine[0].tasks, min(spent),
                    task_bytes=mine[0].read / mine[0].tasks, bandwidth=rate,
                )  # fmt: skip
        busy = os.getloadavg()[0] > 1.5 * max(cpus(), *counts)
        where = {
            "granules": granules,
            "length_km": length_km,
            "megabytes": round(data.bytes / 1e6, 1),
            "cores": cpus(),
            "load_average": round(os.getloadavg()[0], 2),
            "busy": busy,
            "disk_mb_s": round(rate / 1e6, 1),
        }
        ahead: dict[str, Any] = {"cores": cores or [16, 64, 1000], "tasks": tasks}
        if as_json:
            typer.echo(json_text(where | s.document(timings, models, **ahead)))
            return
        typer.echo(
            f"{granules} granules of {length_km:g} km ({where['megabytes']:.0f} MB), {cpus()} cores, load average "
            f"{where['load_average']}, disk {where['disk_mb_s']:.0f} MB/s\n"
        )
        if busy:
            typer.echo(
                "The machine is busy with other work: these times, and what is projected from them, say little.\n"
            )
        typer.echo(s.tables(timings, models, **ahead))

"""Command ``is2ice bench scaling``: a simulated archive on each engine, with 1, 2, ... workers."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from .console import AsJson, expand_flags, out, print_json

__all__ = ["app"]

app = typer.Typer(add_completion=False, no_args_is_help=True)
ENGINES = ("processes", "dask", "spark")


@app.callback()
def _group() -> None:
    """Measure and project the scaling of a run."""


@dataclass(frozen=True)
class ArchiveFlags:
    """Flags of the simulated archive."""

    granules: Annotated[int, typer.Option("--granules", min=2, help="Granules of the simulated archive.")] = (
        24
    )
    length_km: Annotated[float, typer.Option("--length-km", min=4.0, help="Length of a granule, km.")] = 8.0
    folder: Annotated[
        Path | None, typer.Option("--folder", help="Folder to work in, kept; else a temporary one.")
    ] = None


@app.command(
    epilog="Example: is2ice bench scaling --engine dask --engine spark --workers 1 --workers 2 --granules 24"
)
@expand_flags
def scaling(
    archive: ArchiveFlags,
    engine: Annotated[
        list[str] | None, typer.Option("--engine", help="processes, dask, spark; repeatable. All by default.")
    ] = None,
    workers: Annotated[
        list[int] | None,
        typer.Option("--workers", help="Repeatable; 1, 2, 4 ... up to the cores by default."),
    ] = None,
    cores: Annotated[list[int] | None, typer.Option("--project", help="Cores to project to.")] = None,
    tasks: Annotated[int, typer.Option("--tasks", help="Tasks of the projected archive.")] = 3000,
    as_json: AsJson = False,
) -> None:
    """Time labelling and freeboard, in the form of the published tables II and V, and project by a stated model."""
    from is2ice.engines import cpus
    from is2ice.reports import scaling as s
    from is2ice.reports.other_programs import OtherPrograms
    from is2ice.twin.server.timing_archive import make_archive

    names = engine or list(ENGINES)
    unknown = [name for name in names if name not in ENGINES]
    if unknown:
        raise ValueError(f"--engine {unknown[0]}: expected some of {', '.join(ENGINES)}")
    if workers and min(workers) < 1:
        raise ValueError(f"--workers {min(workers)}: expected at least one")
    counts = workers or [n for n in (1, 2, 4, 8, 16, 32) if n <= cpus()]
    with tempfile.TemporaryDirectory(prefix="is2ice-scaling-") as temporary:
        place = archive.folder or Path(temporary)
        data = make_archive(place / "archive", archive.granules, length_km=archive.length_km)
        rate, machine = s.bandwidth(place), OtherPrograms()
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
                    [t.workers for t in mine],
                    [t.reduce for t in mine],
                    mine[0].tasks,
                    min(spent),
                    task_bytes=mine[0].read / mine[0].tasks,
                    bandwidth=rate,
                )
        state = machine.state()
        where = {
            "granules": archive.granules,
            "length_km": archive.length_km,
            "megabytes": round(data.bytes / 1e6, 1),
            **state,
            "cores": cpus(),
            "disk_mb_s": round(rate / 1e6, 1),
        }
        ahead: dict[str, Any] = {"cores": cores or [16, 64, 1000], "tasks": tasks}
        if as_json:
            print_json(where | s.document(timings, models, **ahead))
            return
        elsewhere = "" if state["others"] is None else f", {state['others']} of them at other work"
        out.print(
            f"{archive.granules} granules of {archive.length_km:g} km ({where['megabytes']:.0f} MB), {cpus()} cores"
            f"{elsewhere}, load average {where['load_average']}, disk {where['disk_mb_s']:.0f} MB/s\n"
        )
        if state["busy"]:
            out.print(
                "The machine is busy with other work: these times, and their projection, mean little.\n"
            )
        out.print(s.tables(timings, models, **ahead))

"""``is2ice report RUN``: what a run did, from the manifest and receipts in its store."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from . import runs
from .receipts import Run

__all__ = ["app", "text"]

app = typer.Typer()
STEPS = ("load", "compute", "write")


def figures(manifest: Mapping[str, Any], run: Run) -> dict[str, Any]:
    """Counts and times of a run: seconds a step over all tracks, workers, and how busy they were.

    Returns
    -------
    dict
        ``wall_s`` is that of the whole run (None where it did not end), ``worked_s`` the sum over tracks.
    """
    done = run.done
    seconds = {step: round(sum(r["seconds"][step] for r in done), 3) for step in STEPS}
    worked = sum(seconds.values())
    workers = Counter(f"{r['host']}:{r['process']}" for r in done)
    wall = manifest.get("seconds")
    return {
        "id": manifest["id"],
        "status": manifest["status"],
        "started": manifest["started"],
        "finished": manifest.get("finished"),
        "engine": manifest["engine"],
        "where": manifest.get("where", ""),
        "hosts": sorted({r["host"] for r in done}),
        "workers": len(workers),
        "done": len(done),
        "skipped": len(run.skipped),
        "failed": len(run.failed),
        "segments": sum(r.get("n_cells", 0) for r in done),
        "bytes": sum(r.get("bytes", 0) for r in done),
        "seconds": seconds,
        "worked_s": round(worked, 3),
        "wall_s": wall,
        "busy": round(worked / wall / len(workers), 3) if wall and workers else None,
    }


def text(manifest: Mapping[str, Any], run: Run) -> str:
    """The report in plain text: the run, its steps, its slowest tracks, and what failed and why."""
    f = figures(manifest, run)
    lines = [
        f"run {f['id']}: {f['status']}; started {f['started']}, finished {f['finished'] or 'never'}",
        f"engine {f['engine']}{' on ' + f['where'] if f['where'] else ''}: {f['workers']} workers on "
        f"{', '.join(f['hosts']) or 'no host'}",
        f"{f['done']} tracks done, {f['skipped']} skipped, {f['failed']} failed; {f['segments']:,} segments, "
        f"{f['bytes'] / 1e6:,.1f} MB written",
        "seconds of work: " + ", ".join(f"{step} {f['seconds'][step]:.1f}" for step in STEPS),
    ]
    if f["wall_s"]:
        busy = f"; workers busy {100 * f['busy']:.0f} % of it" if f["busy"] else ""
        lines.append(f"wall clock {f['wall_s']:.1f} s{busy}")
    slow = sorted(run.done, key=lambda r: -sum(r["seconds"].values()))[:3]
    lines += [f"slowest: {r['granule']} {r['beam']} {sum(r['seconds'].values()):.2f} s" for r in slow]
    for r in run.failed:
        lines.append(f"FAILED {r['granule'] or r['source']} {r['beam'] or ''}: {r['error']}")
    if manifest["status"] != "finished":
        lines.append(f"not finished: {runs.again(manifest, run.store)}")
    return "\n".join(lines)


@app.command(epilog="Example: is2ice report ross_sea.zarr")
def report(
    run: Annotated[str, typer.Argument(help="A store (its last run), or a file of its folder .runs.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with every receipt.")] = False,
) -> None:
    """What a run did: engine, workers, seconds a step, slowest tracks, failures."""
    manifest, read = runs.read(run)
    if as_json:
        document = figures(manifest, read) | {"manifest": manifest, "receipts": list(read.receipts)}
        typer.echo(json.dumps(document, indent=1))
    else:
        typer.echo(text(manifest, read))

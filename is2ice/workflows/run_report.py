"""``is2ice report RUN``: what a run did, from the manifest and receipts in its store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from is2ice.cli.console import json_text

from . import driver
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
        "alive": driver.alive(manifest),
        "blocks": manifest.get("blocks"),
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
    workers = (
        f"{f['workers']} workers on {', '.join(f['hosts'])}" if f["workers"] else "no track was computed"
    )
    lines = [
        f"run {f['id']}: {_state(manifest)}",
        f"engine {f['engine']}{' on ' + f['where'] if f['where'] else ''}: {workers}",
        f"{f['done']} tracks done, {f['skipped']} skipped, {f['failed']} failed; {f['segments']:,} segments, "
        f"{f['bytes'] / 1e6:,.1f} MB written",
        "seconds of work: " + ", ".join(f"{step} {f['seconds'][step]:.1f}" for step in STEPS),
    ]
    if f["blocks"]:
        made = f["blocks"]
        lines.append(
            f"blocks: {made['made']} ready, {made['failed']} failed, {made['seconds']:.1f} s after the start of the run"
        )
    if f["wall_s"]:
        busy = f"; workers busy {100 * f['busy']:.0f} % of it" if f["busy"] else ""
        lines.append(f"wall clock {f['wall_s']:.1f} s{busy}")
    slow = sorted(run.done, key=lambda r: -sum(r["seconds"].values()))[:3]
    lines += [f"slowest: {r['granule']} {r['beam']} {sum(r['seconds'].values()):.2f} s" for r in slow]
    for r in run.failed:
        lines.append(f"FAILED {r['granule'] or r['source']} {r['beam'] or ''}: {r['error']}")
    again = driver.again(manifest, run.store)
    if f["alive"] is None:
        lines.append(
            f"whether it is still going on can be told on {manifest['host']} only; if it is not: {again}"
        )
    elif not f["alive"] and manifest["status"] != "finished":
        lines.append(f"not finished: {again}")
    elif run.failed and not f["alive"]:
        lines.append(f"what failed is tried again by {again}")
    return "\n".join(lines)


def _state(manifest: Mapping[str, Any]) -> str:
    """How a run stands, and when it was begun and ended."""
    going, began = driver.alive(manifest), f"started {manifest['started']}"
    if manifest["status"] != "running":
        return f"{manifest['status']}; {began}, finished {manifest.get('finished') or 'never'}"
    if going:
        return f"going on in process {manifest['process']} on {manifest['host']}; {began}"
    if going is None:
        return f"running when it last wrote, in process {manifest['process']} on {manifest['host']}; {began}"
    return f"killed (process {manifest['process']} on {manifest['host']} is no more); {began}, finished never"


@app.command(epilog="Example: is2ice report ross_sea.zarr")
def report(
    run: Annotated[str, typer.Argument(help="A store (its last run), or a file of its folder .runs.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with every receipt.")] = False,
) -> None:
    """What a run did: engine, workers, seconds a step, slowest tracks, failures."""
    manifest, read = driver.read(run)
    if as_json:
        document = figures(manifest, read) | {"manifest": manifest, "receipts": list(read.receipts)}
        typer.echo(json_text(document))
    else:
        typer.echo(text(manifest, read))

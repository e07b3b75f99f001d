"""Report of a run from the manifest and receipts in its store: counts, times, failures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from .receipts import Run
from .run_record import alive, command_to_resume

__all__ = ["figures", "text"]

STEPS = ("load", "compute", "write")


def figures(manifest: Mapping[str, Any], run: Run) -> dict[str, Any]:
    """Count and time a run: seconds per step over all tracks, workers, and the share of time that they worked.

    Returns
    -------
    dict
        Wall-clock time ``wall_s`` of the whole run (None if it did not end), ``worked_s`` summed over tracks, seconds;
        bytes; counts; ``busy`` as a fraction.
    """
    done = run.done
    seconds = {step: round(sum(r["seconds"][step] for r in done), 3) for step in STEPS}
    worked = sum(seconds.values())
    workers = Counter(f"{r['host']}:{r['process']}" for r in done)
    wall = manifest.get("seconds")
    return {
        "id": manifest["id"],
        "status": manifest["status"],
        "alive": alive(manifest),
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
    """Write the report in plain text: the run, its steps, its slowest tracks, and the failures with their reasons."""
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
    again = command_to_resume(manifest, run.store)
    if f["alive"] is None:
        lines.append(f"only {manifest['host']} can show if it is still in progress; if it is not: {again}")
    elif not f["alive"] and manifest["status"] != "finished":
        lines.append(f"not finished: {again}")
    elif run.failed and not f["alive"]:
        lines.append(f"failed tracks are tried again by {again}")
    return "\n".join(lines)


def _state(manifest: Mapping[str, Any]) -> str:
    """Describe the state of a run, and its start and end."""
    going, began = alive(manifest), f"started {manifest['started']}"
    if manifest["status"] != "running":
        return f"{manifest['status']}; {began}, finished {manifest.get('finished') or 'never'}"
    if going:
        return f"in progress in process {manifest['process']} on {manifest['host']}; {began}"
    if going is None:
        return f"running when it last wrote, in process {manifest['process']} on {manifest['host']}; {began}"
    return f"killed (process {manifest['process']} on {manifest['host']} has ended); {began}, not finished"

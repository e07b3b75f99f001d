"""Command ``is2ice run``."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Annotated, Any

import typer

from .console import (
    AreaFlag,
    AsJson,
    Bbox,
    err,
    expand_flags,
    names,
    out,
    print_json,
    print_table,
    progress,
    state,
)
from .engine_options import CLASSIFIER_HELP, EngineFlags, OverwriteFlag, refuse_changes

__all__ = ["app"]

app = typer.Typer(add_completion=False)


@dataclass(frozen=True)
class TrackFlags:
    """Flags that decide the result of a track."""

    beams: Annotated[str, typer.Option("--beams", help="strong, weak, all, or names such as gt1r,gt2r.")] = ""
    until: Annotated[str, typer.Option("--until", help="Last step: segments, classes or freeboard.")] = (
        "freeboard"
    )
    method: Annotated[str, typer.Option("--method", help="Method of the sea surface.")] = "evidence"
    classifier: Annotated[str, typer.Option("--classifier", help=CLASSIFIER_HELP)] = "default"
    confidence: Annotated[
        int, typer.Option("--confidence", min=0, max=4, help="Lowest signal confidence.")
    ] = 3
    length: Annotated[float, typer.Option("--length", help="Segment length, m.")] = 2.0
    bbox: Bbox = None
    area: AreaFlag = None
    time: Annotated[
        tuple[str, str] | None, typer.Option("--time", metavar="FROM TO", help="UTC, as 2019-11-04T19:59:47.")
    ] = None
    x_atc: Annotated[
        tuple[float, float] | None,
        typer.Option("--x-atc", metavar="FROM TO", help="Along-track distance, m."),
    ] = None
    reference: Annotated[str, typer.Option("--reference", help="Heights above: auto, mss or geoid.")] = "auto"
    overwrite: OverwriteFlag = "different"

    def keywords(self) -> dict[str, Any]:
        """Return the keywords ``beams``, ``options`` and ``overwrite`` of a run."""
        from is2ice.workflows.options import Options

        given = {
            f.name: getattr(self, f.name)
            for f in fields(self)
            if f.name not in ("beams", "overwrite", "area")
        }
        if self.area is not None:
            if self.bbox is not None:
                raise ValueError("--bbox and --area: name one of them")
            given["bbox"] = self.area
        beams = self.beams if self.beams in ("strong", "weak", "all") else names(self.beams)
        return {"beams": beams or None, "options": Options(**given), "overwrite": self.overwrite}


@dataclass(frozen=True)
class OutputFlags:
    """Flags of the work that is done and of the text that is printed."""

    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="List the tracks that would be computed or kept; compute nothing."),
    ] = False
    as_json: AsJson = False


@app.command(
    epilog="Examples:\n\nis2ice run ATL03_*.h5 --store s.zarr --engine processes --workers 4\n\n"
    "is2ice run ATL03_20191104*.h5 --store s.zarr --beams gt2r --bbox 170 -78 -150 -72 --json\n\n"
    "is2ice run ATL03_*.h5 --store /shared/s.zarr --engine spark --address spark://host:7077\n\n"
    "is2ice run --resume --store s.zarr"
)
@expand_flags
def run(
    context: typer.Context,
    store: Annotated[str, typer.Option("--store", help="Store to write to; made if absent.")],
    track: TrackFlags,
    engine: EngineFlags,
    output: OutputFlags,
    sources: Annotated[
        list[str] | None, typer.Argument(help="ATL03 files or URLs, or stores whose segments to use.")
    ] = None,
    block_km: Annotated[
        float | None, typer.Option("--block-km", help="Split tracks into blocks of this many km.", min=0.1)
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Resume the store's last run.")] = False,
) -> None:
    """Process granules into a store: 2 m segments, surface class, local sea surface and freeboard."""
    from is2ice.workflows import run as runs

    if not sources and not resume:
        raise ValueError("nothing to do: name ATL03 files, or resume the store's last run by --resume")
    if output.dry_run and resume:
        raise ValueError(
            "--dry-run: leave out --resume; `is2ice report STORE` says what the last run left undone"
        )
    if resume:
        refuse_changes(context, [f.name for f in fields(TrackFlags)])
    how = engine.keywords(store if resume else None) | {"progress": progress(output.as_json)}
    if output.dry_run:
        _print_plan(runs.plan(sources, store, **track.keywords()), output.as_json)
        return
    try:
        if resume:
            changes = {"sources": sources or None, "block_km": block_km}
            done = runs.resume(store, **how, **{k: v for k, v in changes.items() if v is not None})
        else:
            done = runs.run(sources, store, block_km=block_km, **how, **track.keywords())
    except KeyboardInterrupt:
        err.print(f"is2ice: interrupted; finished tracks are in {store}, is2ice run --resume does the rest")
        raise typer.Exit(130) from None
    if output.as_json:
        print_json(done.to_dict())
    else:
        out.print(done.report())
    _print_failures(done, state.quiet or output.as_json)
    if not done.ok:
        if any(r["outcome"] != "failed" for r in done.receipts):
            state.next = (
                f"is2ice report {store}; then is2ice run --resume --store {store} tries what failed again"
            )
        raise typer.Exit(1 if any(r["beam"] for r in done.receipts) else 2)


def _print_plan(planned: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        print_json(planned)
        return
    print_table(planned)
    count = sum(row["action"] == "compute" for row in planned)
    out.print(f"{count} of {len(planned)} tracks would be computed")
    state.next = "the same command without --dry-run"


def _print_failures(done: Any, unreported: bool) -> None:
    """Print failures that no report shows, and tracebacks if asked for."""
    for receipt in done.failed:
        name = f"{receipt['granule'] or receipt['source']} {receipt['beam'] or ''}".rstrip()
        if unreported:
            err.print(f"is2ice: {name}: {str(receipt['error']).removeprefix(f'{name}: ')}")
        if state.debug:
            err.print(receipt["detail"])

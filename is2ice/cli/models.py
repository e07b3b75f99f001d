"""Commands ``is2ice train`` and ``is2ice classify``, and the card of a model that ``is2ice show`` prints."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from .console import AsJson, expand_flags, out, print_json
from .engine_options import EngineFlags, OverwriteFlag

__all__ = ["classify_app", "show_card", "train_app"]

train_app = typer.Typer(add_completion=False)
classify_app = typer.Typer(add_completion=False)


@train_app.command(epilog="Example: is2ice train ross.toml --replicas 2")
def train(
    config: Annotated[Path, typer.Argument(help="Configuration (TOML): see below.")],
    replicas: Annotated[
        int, typer.Option("--replicas", min=1, help="Number of processes that share the data, under Horovod.")
    ] = 1,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing model.")] = False,
    as_json: AsJson = False,
) -> None:
    r"""Train a classifier on labelled stores and save it with its card.

    The configuration is a TOML file; all but the first two lines may be left out:

    labelled = \["labelled.zarr"]

    model = "models/ross"

    architecture = "default" (or lstm, mlp, lstm_notebook, bidirectional)

    seed = 0

    \[data] features ("default", "paper" or "notebook"), leaking (features made from labels, if wanted nevertheless),
    context (cells on each side), normalisation ("z" or "published"), split ("scene", "track", "block" or
    "random_windows"), test and validation (shares), block and guard (m, of the split by block: length of a
    stretch, and the gap between two parts)

    \[training] epochs, batch, learning_rate, loss, gamma, class_weights, patience

    \[parameters] parameters of the architecture

    The same command resumes an interrupted training from its last epoch.
    """
    from is2ice.classifiers.replicas import started_as
    from is2ice.workflows import train as training
    from is2ice.workflows.training_config import read_config

    chosen = read_config(config)
    rank, size = started_as()
    if replicas > 1 and size == 1:
        more = [flag for flag, on in (("--overwrite", overwrite), ("--json", as_json)) if on]
        training.may_write(chosen, overwrite)
        training.launch(config, replicas, more)
        return
    total = chosen.training.get("epochs")
    count = 0

    def report(row: dict[str, float]) -> None:
        nonlocal count
        count += 1
        values = "  ".join(f"{k} {v:.4f}" for k, v in row.items() if k != "seconds")
        out.print(f"epoch {count}{f' of {total}' if total else ''}  {values}  {row['seconds']:.1f} s")

    card = training.train(
        chosen,
        overwrite=overwrite,
        progress=None if as_json else report,
        say=_nothing if as_json else out.print,
    )
    if rank == 0:
        if as_json:
            print_json(card)
        else:
            show_card(str(chosen.model))


@classify_app.command(
    epilog="Example: is2ice classify segments.zarr --classifier models/ross --store classified.zarr --engine processes"
)
@expand_flags
def classify(
    source: Annotated[str, typer.Argument(help="A store of tracks, path or URL.")],
    classifier: Annotated[
        str, typer.Option("--classifier", help="radiometric, default (trained), or a model folder.")
    ],
    store: Annotated[str, typer.Option("--store", help="Store to write to; made if absent.")],
    engine: EngineFlags,
    granule: Annotated[
        list[str] | None, typer.Option("--granule", help="Only this granule; repeatable.")
    ] = None,
    method: Annotated[
        str | None, typer.Option("--method", help="Method of the sea surface; as stored by default.")
    ] = None,
    overwrite: OverwriteFlag = "different",
    as_json: AsJson = False,
) -> None:
    """Classify stored tracks; sea surface and freeboard follow. For granules see `is2ice run --classifier`."""
    from is2ice.workflows.reclassify import reclassify

    done = reclassify(
        source,
        store,
        classifier,
        granules=granule or None,
        method=method,
        overwrite=overwrite,  # type: ignore[arg-type]
        progress=False if as_json else None,
        **engine.keywords(),
    )
    if as_json:
        print_json(done.to_dict())
    else:
        out.print(done.report())
    if not done.ok:
        raise typer.Exit(1)


def show_card(folder: str, *, as_json: bool = False) -> None:
    """Print the card of a model."""
    from is2ice.classifiers import model_folder

    if as_json:
        print_json({**model_folder.read_card(folder), "checksum": model_folder.checksum(folder)})
        return
    for line in model_folder.describe(folder):
        out.print(line)


def _nothing(text: Any) -> None:
    """Drop a line."""

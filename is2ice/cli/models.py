"""Commands ``is2ice train`` and ``is2ice classify``, and the card of a model that ``is2ice show`` prints."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from is2ice.io.remote.whole_files import address

from .console import AsJson, expand_flags, out, print_json, progress, state
from .engine_options import CLASSIFIER_HELP, EngineFlags, OverwriteFlag

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
    path: Annotated[
        str | None,
        typer.Option(
            "--out", help="Folder or address of the model, in place of the one that the file names."
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Report how the labelled data are split, and stop.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    r"""Train a classifier on labelled stores and save it with its card.

    The configuration is a TOML file with the labelled stores and the model to write; the other lines are the defaults:

    labelled = \["labelled.zarr"]

    model = "models/ross"

    architecture = "default" (or lstm, mlp, lstm_notebook, bidirectional); seed = 0

    \[data] features = "default" (or paper, notebook); normalisation = "z" (or published); split = "auto" (or scene,
    track, block, random_windows): the strictest that the data allow; test = 0.2 and validation = 0.2, shares;
    block = 10000 and guard = 1000, m, of the split by block only: length of a stretch, and the gap between two parts;
    context, cells on each side, and leaking, names of features made from labels, as the features have them

    \[training] epochs = 20; batch = 128; learning_rate = 0.002; loss = "cross_entropy" (or focal, with gamma = 2.0);
    class_weights = none (or "balanced"); patience = none, epochs without a lower loss before the training stops.
    The published architectures have their own

    \[parameters] parameters of the architecture

    The same command resumes an interrupted training from its last epoch.
    """
    from is2ice.classifiers.replicas import started_as
    from is2ice.workflows import train as training
    from is2ice.workflows.training_config import read_config

    chosen = read_config(config)
    if path is not None:
        chosen = replace(chosen, model=address(path))
    rank, size = started_as()
    if replicas > 1 and size == 1 and not dry_run:
        more = [flag for flag, on in (("--overwrite", overwrite), ("--json", as_json)) if on]
        training.may_write(chosen, overwrite)
        more += [] if path is None else ["--out", path]
        training.launch(["train", config, *more], replicas)
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
        dry_run=dry_run,
        progress=None if as_json else report,
        say=_nothing if as_json else out.print,
    )
    if dry_run:
        if as_json:
            print_json(card)
        state.next = "the same command without --dry-run"
    elif rank == 0:
        state.next = f"is2ice classify STORE --classifier {chosen.model} --store classified.zarr"
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
    classifier: Annotated[str, typer.Option("--classifier", help=CLASSIFIER_HELP)],
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
        progress=progress(as_json),
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

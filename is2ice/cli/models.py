"""Commands for trained models: ``is2ice train``, ``is2ice classify``, and the card that ``is2ice info`` shows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from .console import json_text

__all__ = ["classify_app", "show_card", "train_app"]

train_app = typer.Typer(add_completion=False)
classify_app = typer.Typer(add_completion=False)
out = Console(soft_wrap=True, highlight=False, markup=False)
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@train_app.command(epilog="Example: is2ice train ross.toml --replicas 2")
def train(
    config: Annotated[Path, typer.Argument(help="Configuration (TOML): see below.")],
    replicas: Annotated[int, typer.Option(min=1, help="Processes that share the data, under Horovod.")] = 1,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a model that is there.")] = False,
    as_json: AsJson = False,
) -> None:
    r"""Train a classifier on labelled stores and save it with its card.

    The configuration is a TOML file; all but the first two lines may be left out:

    labelled = \["labelled.zarr"]

    model = "models/ross"

    architecture = "default" (or lstm, mlp, lstm_notebook, bidirectional)

    seed = 0

    \[data] features ("default", "paper" or "notebook"), leaking (features made from labels, wanted all the same),
    context (cells on each side), normalisation ("z" or "published"), split ("scene", "track", "block" or
    "random_windows"), test and validation (shares), block and guard (m, of the split by block: length of a stretch,
    and the gap left where two parts meet)

    \[training] epochs, batch, learning_rate, loss, gamma, class_weights, patience

    \[parameters] of the architecture

    A training that was interrupted goes on from its last epoch when the same command is given again.
    """
    from is2ice.classifiers.replicas import started_as
    from is2ice.workflows import train as training

    chosen = training.read_config(config)
    rank, size = started_as()
    if replicas > 1 and size == 1:
        more = [flag for flag, on in (("--overwrite", overwrite), ("--json", as_json)) if on]
        training.may_write(chosen, overwrite)
        training.launch(config, replicas, more)
        return
    total = chosen.training.get("epochs")
    count = 0

    def told(row: dict[str, float]) -> None:
        nonlocal count
        count += 1
        values = "  ".join(f"{k} {v:.4f}" for k, v in row.items() if k != "seconds")
        out.print(f"epoch {count}{f' of {total}' if total else ''}  {values}  {row['seconds']:.1f} s")

    card = training.train(
        chosen,
        overwrite=overwrite,
        progress=None if as_json else told,
        say=_nothing if as_json else out.print,
    )
    if rank == 0:
        if as_json:
            print(json_text(card))  # noqa: T201  nothing but JSON
        else:
            show_card(str(chosen.model))


@classify_app.command(
    epilog="Example: is2ice classify segments.zarr --model models/ross --store classified.zarr --engine processes"
)
def classify(
    source: Annotated[str, typer.Argument(help="A store of tracks, path or URL.")],
    model: Annotated[str, typer.Option(help="Folder made by `is2ice train`, or radiometric.")],
    store: Annotated[str, typer.Option(help="Store to write to; made if absent.")],
    granule: Annotated[list[str] | None, typer.Option(help="Only these granules (repeatable).")] = None,
    method: Annotated[str | None, typer.Option(help="Sea surface method; as stored by default.")] = None,
    engine: Annotated[str, typer.Option(help="serial, processes, dask, gateway or spark.")] = "serial",
    workers: Annotated[int | None, typer.Option(min=1, help="Of all engines but serial.")] = None,
    address: Annotated[str | None, typer.Option(help="Of a scheduler, a Gateway or a Spark master.")] = None,
    conf: Annotated[
        list[str] | None, typer.Option("--conf", help="key=value for Spark or the Gateway; repeatable.")
    ] = None,
    overwrite: Annotated[str, typer.Option(help="different, always or never.")] = "different",
    as_json: AsJson = False,
) -> None:
    """Classify stored tracks with a model; sea surface and freeboard follow. Granules: `is2ice run --classifier`."""
    from is2ice.workflows.driver import engine_options
    from is2ice.workflows.reclassify import reclassify

    done = reclassify(
        source, store, model, granules=granule or None, method=method, engine=engine,
        engine_options=engine_options(engine, workers, address, conf or ()),
        overwrite=overwrite,  # type: ignore[arg-type]
        progress=False if as_json else None,
    )  # fmt: skip
    if as_json:
        print(json_text(done.to_dict()))  # noqa: T201  nothing but JSON
    else:
        out.print(done.report())
    if not done.ok:
        raise typer.Exit(1)


def show_card(folder: str, *, as_json: bool = False) -> None:
    """Print the card of a model."""
    from is2ice.classifiers import model_folder

    if as_json:
        card = {**model_folder.read_card(folder), "checksum": model_folder.checksum(folder)}
        print(json_text(card))  # noqa: T201  nothing but JSON
        return
    for line in model_folder.describe(folder):
        out.print(line)


def _nothing(text: Any) -> None:
    """Say nothing."""

"""Commands ``is2ice unet``: train a U-Net on automatic labels of scenes, and classify scenes with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from is2ice.io.remote.whole_files import exists

from .console import AsJson, expand_flags, out, print_json

__all__ = ["app"]

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="U-Net for Sentinel-2 scenes, trained on automatic labels.",
)


@dataclass(frozen=True)
class TileFlags:
    """Flags of the tiles to train on."""

    labels: Annotated[
        str, typer.Option("--labels", help="Filter that makes the labels: guarded, published or threshold.")
    ] = "guarded"
    size: Annotated[int, typer.Option("--size", help="Pixels per side of a tile.")] = 256
    white: Annotated[float, typer.Option("--white", help="Reflectance of the value 255.")] = 1.0


@dataclass(frozen=True)
class FitFlags:
    """Flags of the training itself."""

    epochs: Annotated[int, typer.Option("--epochs", min=1, help="Passes over the tiles.")] = 20
    copies: Annotated[int, typer.Option("--copies", min=1, help="Augmented copies of a tile per epoch.")] = 4
    checkpoint: Annotated[
        str | None, typer.Option("--checkpoint", help="File from which an interrupted training is resumed.")
    ] = None
    seed: Annotated[int, typer.Option("--seed", help="Seed of weights, order and augmentation.")] = 0


@app.command(
    epilog="Example: is2ice unet train a.json b.json --validation c.json --out models/s2 --replicas 2"
)
@expand_flags
def train(
    scenes: Annotated[list[str], typer.Argument(help="STAC items, path or URL.")],
    model: Annotated[str, typer.Option("--out", help="Folder to write the model to.")],
    tile: TileFlags,
    fit: FitFlags,
    validation: Annotated[
        list[str] | None, typer.Option("--validation", help="STAC item to choose the epoch by; repeatable.")
    ] = None,
    architecture: Annotated[
        str, typer.Option("--architecture", help="default, or published (grey).")
    ] = "default",
    replicas: Annotated[
        int,
        typer.Option("--replicas", min=1, help="Number of processes that share the tiles, under Horovod."),
    ] = 1,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing model.")] = False,
    as_json: AsJson = False,
) -> None:
    """Train on tiles of scenes, labelled by a filter."""
    from is2ice.classifiers import tensorflow_logging
    from is2ice.classifiers.model_folder import is_model
    from is2ice.classifiers.replicas import launched, started_as
    from is2ice.classifiers.unet import ARCHITECTURES, UNet
    from is2ice.errors import ModelError
    from is2ice.workflows.train_tiles import labelled_tiles

    for flag, value, known in (
        ("--labels", tile.labels, ("guarded", "published", "threshold")),
        ("--architecture", architecture, tuple(ARCHITECTURES)),
    ):
        if value not in known:
            raise ValueError(f"{flag} {value}: expected one of {', '.join(known)}")
    if exists(model) and not (overwrite and is_model(model)):
        raise ModelError(f"{model}: it exists; choose another --out, or pass --overwrite to replace a model")
    if replicas > 1 and started_as()[1] == 1:
        from is2ice.workflows.train import launch

        flags = {"out": model, "architecture": architecture, **vars(tile), **vars(fit)}
        words = [w for k, v in flags.items() if v is not None for w in (f"--{k}", str(v))]
        words += [w for item in validation or [] for w in ("--validation", item)]
        words += [flag for flag, on in (("--overwrite", overwrite), ("--json", as_json)) if on]
        launch(["unet", "train", *scenes, *words], replicas)
        return
    inputs = ("grey",) if architecture == "published" else None
    ranks = launched(apart=True, seldom=True)
    tensorflow_logging.start()
    tiles = labelled_tiles(scenes, inputs, replicas=ranks, **vars(tile))
    held = labelled_tiles(validation, tiles.inputs, replicas=ranks, **vars(tile)) if validation else None

    def report(row: dict[str, float]) -> None:
        if not as_json:
            out.print("  ".join(f"{k} {v:.4f}" for k, v in row.items()))

    made = UNet.fit(tiles, held, architecture, replicas=ranks, progress=report, **vars(fit))
    if ranks.is_root:
        made = made.save(model, overwrite=overwrite)
        if as_json:
            print_json({**made.card, "checksum": made.checksum})
        else:
            out.print(
                f"wrote {model}: {made.model.count_params():,} parameters, {made.card['data']['tiles']} tiles"
            )


@app.command(epilog="Example: is2ice unet classify item.json --classifier models/s2 --out classes.tif")
def classify(
    scene: Annotated[str, typer.Argument(help="A STAC item, path or URL.")],
    classifier: Annotated[str, typer.Option("--classifier", help="Folder of a trained U-Net.")],
    raster: Annotated[
        str, typer.Option("--out", help="GeoTIFF to write: classes, and the mask as a second band.")
    ],
    as_json: AsJson = False,
) -> None:
    """Classify a whole scene and write the map."""
    from is2ice.classifiers.unet import UNet
    from is2ice.sentinel2 import scene as sentinel2
    from is2ice.sentinel2.class_map_files import write_classes

    found = UNet.load(classifier)
    image = sentinel2.open_scene(scene)
    # The white of the card, which is the scale that the network was trained with.
    classes = sentinel2.class_map(image, "unet", classifier=found, white=float(found.card["white"])).compute()
    write_classes(classes, raster)
    shares = sentinel2.shares(classes)
    if as_json:
        print_json({"raster": raster, "shares": shares})
    else:
        out.print(f"wrote {raster}: " + ", ".join(f"{k} {v:.1%}" for k, v in shares.items()))

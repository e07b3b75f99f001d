"""Commands for the U-Net: train it on automatic labels of scenes, and class scenes with it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from is2ice.extras import require

from .console import json_text

__all__ = ["app", "write_classes"]

app = typer.Typer(no_args_is_help=True, help="U-Net for Sentinel-2 scenes, trained on automatic labels.")
out = Console(soft_wrap=True, highlight=False, markup=False)

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command(epilog="Example: is2ice unet train a.json b.json --validation c.json --model models/s2")
def train(
    scenes: Annotated[list[str], typer.Argument(help="STAC items, path or URL.")],
    model: Annotated[Path, typer.Option(help="Folder to write the model to.")],
    validation: Annotated[
        list[str] | None, typer.Option(help="STAC item to choose the epoch by (repeatable).")
    ] = None,
    architecture: Annotated[str, typer.Option(help="default, or published (grey).")] = "default",
    labels: Annotated[
        str, typer.Option(help="Filter that makes the labels: guarded, published or threshold.")
    ] = "guarded",
    size: Annotated[int, typer.Option(help="Pixels per side of a tile.")] = 256,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the tiles.")] = 20,
    copies: Annotated[
        int, typer.Option(min=1, help="Times a tile is seen in an epoch, turned and veiled.")
    ] = 3,
    white: Annotated[float, typer.Option(help="Reflectance of the value 255.")] = 1.0,
    checkpoint: Annotated[Path | None, typer.Option(help="File to go on from after an interruption.")] = None,
    seed: Annotated[int, typer.Option(help="Of weights, order and veils.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a model that is there.")] = False,
    as_json: Json = False,
) -> None:
    """Train on tiles of scenes, labelled by a filter; run under `horovodrun` every process takes its share."""
    from is2ice.classifiers import tensorflow_logging
    from is2ice.classifiers.model_folder import is_model
    from is2ice.classifiers.replicas import launched
    from is2ice.classifiers.unet import ARCHITECTURES, UNet
    from is2ice.errors import ModelError

    for flag, value, known in (
        ("--labels", labels, ("guarded", "published", "threshold")),
        ("--architecture", architecture, tuple(ARCHITECTURES)),
    ):
        if value not in known:
            raise ValueError(f"{flag} {value}: expected one of {', '.join(known)}")
    if model.exists() and not (overwrite and is_model(model)):
        raise ModelError(f"{model}: it exists; name another folder, or pass --overwrite to replace a model")
    inputs = ("grey",) if architecture == "published" else None
    replicas = launched()
    tensorflow_logging.start()
    tiles = _tiles(scenes, labels, inputs, size, white)
    held = _tiles(validation, labels, tiles.inputs, size, white) if validation else None

    def told(row: dict[str, float]) -> None:
        if not as_json:
            out.print("  ".join(f"{k} {v:.4f}" for k, v in row.items()))

    made = UNet.fit(
        tiles, held, architecture, epochs=epochs, copies=copies, seed=seed, replicas=replicas,
        checkpoint=checkpoint, progress=told,
    )  # fmt: skip
    if replicas.is_root:
        made = made.save(model, overwrite=overwrite)
        if as_json:
            print(json_text({**made.card, "checksum": made.checksum}))  # noqa: T201  nothing but JSON
        else:
            out.print(f"wrote {model}: {made.model.count_params():,} parameters, {len(tiles)} tiles")


def _tiles(items: list[str], labels: str, inputs: Any, size: int, white: float) -> Any:
    from is2ice.sentinel2 import scene as sentinel2
    from is2ice.sentinel2 import tiles as s2tiles

    parts = []
    for item in items:
        scene = sentinel2.open_scene(item).compute()
        classes = sentinel2.class_map(scene, labels, white=white)
        parts.append(s2tiles.tiles_of(scene, classes, inputs, size=size))
    return s2tiles.Tiles.joined(parts)


@app.command(epilog="Example: is2ice unet classify item.json --model models/s2 classes.tif")
def classify(
    scene: Annotated[str, typer.Argument(help="A STAC item, path or URL.")],
    raster: Annotated[Path, typer.Argument(help="GeoTIFF to write: classes, and the mask as a second band.")],
    model: Annotated[Path, typer.Option(help="Folder of a trained U-Net.")],
    as_json: Json = False,
) -> None:
    """Class a whole scene and write the map."""
    from is2ice.classifiers.unet import UNet
    from is2ice.sentinel2 import scene as sentinel2

    found = UNet.load(model)
    image = sentinel2.open_scene(scene)
    # The white of the card: the network knows its scale.
    classes = sentinel2.class_map(image, "unet", model=found, white=float(found.card["white"])).compute()
    write_classes(classes, raster)
    shares = sentinel2.shares(classes)
    if as_json:
        print(json_text({"raster": raster, "shares": shares}))  # noqa: T201  nothing but JSON
    else:
        out.print(f"wrote {raster}: " + ", ".join(f"{k} {v:.1%}" for k, v in shares.items()))


def write_classes(classes: Any, raster: Path) -> None:
    """Write a class map as a GeoTIFF of two bands, ``surface_class`` and ``mask``, whole or not at all.

    Parameters
    ----------
    classes : xarray.Dataset
        From :func:`is2ice.sentinel2.scene.class_map`, with its grid.
    raster : Path
    """
    require("rasterio")
    import rasterio
    from rasterio.transform import from_origin

    from is2ice.science.labels.image_grid import grid_of

    grid = grid_of(classes)
    part = raster.with_name(f".{raster.name}.part")
    try:
        with rasterio.open(
            part, "w", driver="GTiff", dtype="int16", count=2, width=grid.columns, height=grid.rows, crs=grid.crs,
            transform=from_origin(grid.left, grid.top, grid.pixel, grid.pixel), nodata=-1, tiled=True,
            compress="deflate",
        ) as f:  # fmt: skip
            for k, name in enumerate(("surface_class", "mask"), 1):
                f.write(classes[name].transpose("y", "x").values.astype("int16"), k)
                f.set_band_description(k, name)
            f.update_tags(**{k: str(v) for k, v in classes.attrs.items()})
        part.replace(raster)
    finally:
        part.unlink(missing_ok=True)

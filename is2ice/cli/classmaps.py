"""Command ``is2ice classmaps``."""

from __future__ import annotations

from typing import Annotated

import typer

from is2ice.io.remote.whole_files import address

from .console import AsJson, expand_flags, out, print_json
from .engine_options import EngineFlags, OverwriteFlag

__all__ = ["app"]

app = typer.Typer(add_completion=False)


@app.command(
    epilog="Example: is2ice classmaps scenes/*.json --out s3://bucket/classes --engine spark --workers 4"
)
@expand_flags
def command(
    scenes: Annotated[list[str], typer.Argument(help="STAC items of Sentinel-2 scenes (path or URL).")],
    folder: Annotated[str, typer.Option("--out", help="Folder or bucket to write the maps to.")],
    engine: EngineFlags,
    method: Annotated[
        str | None,
        typer.Option(
            "--method",
            help="guarded (default), published, threshold, or unet, which is the default with --classifier.",
        ),
    ] = None,
    classifier: Annotated[
        str | None,
        typer.Option("--classifier", help="Folder or address of a U-Net that classifies the images."),
    ] = None,
    overwrite: OverwriteFlag = "different",
    as_json: AsJson = False,
) -> None:
    """Map the surface classes of many Sentinel-2 scenes on an engine.

    Each scene becomes a GeoTIFF and a description. A scene that fails is named and stops no other; the
    same command again makes what is missing.
    """
    from is2ice.workflows.make_class_maps import make_class_maps

    classes: dict[str, object] = {"method": method or "guarded"}
    if classifier is not None:
        if method not in (None, "unet"):
            raise ValueError(
                f"--method {method} takes no --classifier; leave one of them out, or pass --method unet"
            )
        from is2ice.classifiers.model_folder import read_card

        card = read_card(classifier, "tiles")
        classes = {"method": "unet", "classifier": address(classifier), "white": float(card["white"])}
    how = engine.keywords()
    done = make_class_maps(scenes, folder, classes=classes, overwrite=overwrite, **how)  # type: ignore[arg-type]
    if as_json:
        print_json(
            {"folder": done.folder, "seconds": round(done.seconds, 3), "receipts": list(done.receipts)}
        )
    else:
        out.print(done.report())
    if done.failed:
        raise typer.Exit(1)

"""Commands for labels: make them, see where they are doubtful, draw them, correct them by hand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from is2ice.science.labels.corrections import Correction, Corrections, review

from .console import json_text

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Labels from coincident images, and their correction by hand.")
out = Console(soft_wrap=True, highlight=False)
if not out.is_terminal:  # a file or pipe has no width to fit
    out = Console(soft_wrap=True, highlight=False, width=220)

Store = Annotated[str, typer.Argument(help="A store of labelled tracks, or a granule in it.")]
File = Annotated[Path, typer.Argument(help="A corrections file (CSV).")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_REFUSED = (
    "What becomes of a scene whose displacement is refused: skip (it gives no labels), still (it is used as if "
    "nothing had moved) or raise (the command fails)."
)


@app.command(epilog="Example: is2ice labels make ATL03_...h5 item.json --store labelled.zarr")
def make(
    granule: Annotated[str, typer.Argument(help="An ATL03 granule.")],
    scenes: Annotated[
        list[str], typer.Argument(help="STAC items (path or URL), or the name of a catalogue.")
    ],
    store: Annotated[str, typer.Option(help="Where to write the labelled tracks.")],
    within: Annotated[float, typer.Option(help="Most minutes between pass and image.")] = 80.0,
    shift: Annotated[
        tuple[float, float] | None,
        typer.Option(
            metavar="DX DY",
            help="Displacement of the ice from pass to image, instead of an estimate: m along x and y of the polar "
            "stereographic map (EPSG:3976 in the south, EPSG:3413 in the north). What the pass saw at (x, y) is in "
            "the image at (x + DX, y + DY).",
        ),
    ] = None,
    refused: Annotated[str, typer.Option(help=_REFUSED)] = "skip",
    transition: Annotated[
        float,
        typer.Option(
            help="Pixels from another class within which nothing is labelled. Leads narrower than some 40 m get no "
            "label at 1.5; 0 labels all."
        ),
    ] = 1.5,
    overwrite: Annotated[
        str, typer.Option(help="A track that is stored already: different, always or never.")
    ] = "different",
    corrections: Annotated[Path | None, typer.Option(help="A corrections file to lay on top.")] = None,
    unet: Annotated[Path | None, typer.Option(help="Folder of a U-Net that classes the images.")] = None,
    as_json: Json = False,
) -> None:
    """Label a pass from its images and store the tracks.

    The displacement of the ice is estimated, and refused where the data do not tell it; over level snow without
    leads look at the picture (`is2ice labels draw`) before you rely on it.
    """
    from is2ice.io.stores import store as stores
    from is2ice.science.labels import transfer
    from is2ice.science.labels.drift import Drift
    from is2ice.workflows.label_pass import label_pass

    by_hand = None if corrections is None else Corrections.read(corrections)
    crs = "" if shift is None else _crs(granule)
    done = label_pass(
        granule,
        scenes[0] if len(scenes) == 1 else scenes,
        within=within,
        drift="estimate" if shift is None else Drift(*shift, crs),
        refused=refused,
        transition=transition,
        corrections=by_hand,
        classes=_network(unet),
    )
    ds = done.segments
    outcomes = Counter(
        stores.write_track(ds.sel(beam=[beam]), store, overwrite=overwrite)["outcome"]  # type: ignore[arg-type]
        for beam in ds["beam"].values
    )
    stores.consolidate(store)
    more = {"counts": transfer.summary(ds)}
    if by_hand is not None:
        more["corrections"] = {"intervals": len(by_hand.entries), "segments": ds.attrs["label_corrections"]}
    more["tracks"] = {k: outcomes[k] for k in ("written", "replaced", "skipped")}
    _tell(done.table().to_dict("records"), as_json, more)


def _network(folder: Path | None) -> dict[str, Any]:
    """Options of class maps by a U-Net; none without."""
    if folder is None:
        return {}
    from is2ice.classifiers.unet import UNet

    found = UNet.load(folder)
    return {"method": "unet", "model": found, "white": float(found.card["white"])}


@app.command(
    epilog="Examples:\n\nis2ice labels many ATL03_*.h5 --scenes earth_search --store labelled.zarr --engine dask\n\n"
    "is2ice labels many --resume --store labelled.zarr"
)
def many(
    context: typer.Context,
    store: Annotated[str, typer.Option(help="Where to write the labelled tracks.")],
    granules: Annotated[list[str] | None, typer.Argument(help="ATL03 granules.")] = None,
    scenes: Annotated[
        list[str] | None,
        typer.Option(help="STAC items (path or URL), or the name of a catalogue; repeatable."),
    ] = None,
    engine: Annotated[
        str | None, typer.Option(help="serial (default), processes, dask, gateway or spark.")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Of all engines but serial.")] = None,
    address: Annotated[str | None, typer.Option(help="Of a scheduler, a Gateway or a Spark master.")] = None,
    conf: Annotated[
        list[str] | None, typer.Option("--conf", help="key=value for Spark or the Gateway; repeatable.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the store's last labelling.")] = False,
    within: Annotated[float, typer.Option(help="Most minutes between pass and image.")] = 80.0,
    refused: Annotated[str, typer.Option(help=_REFUSED)] = "skip",
    as_json: Json = False,
) -> None:
    """Label many passes on an engine; passes without a scene are told and the others done."""
    from is2ice.workflows import label_many
    from is2ice.workflows.driver import only_new, placed

    if resume:
        only_new(context, ("within", "refused"))
    place: dict[str, Any] = {"progress": False if as_json else None}
    place |= placed(engine, workers, address, conf or (), store if resume else None)
    one = scenes[0] if scenes and len(scenes) == 1 else scenes
    try:
        if resume:
            named = {"sources": granules, "scenes": one}
            done = label_many.resume(store, **place, **{k: v for k, v in named.items() if v})
        else:
            done = label_many.label_many(
                granules or [], one or [], store, within=within, refused=refused, **place
            )
    except KeyboardInterrupt:
        typer.echo(
            f"is2ice: interrupted; finished tracks are in {store}, is2ice labels many --resume goes on from there",
            err=True,
        )
        raise typer.Exit(130) from None
    print(json_text(done.to_dict())) if as_json else out.print(done.report())  # noqa: T201  nothing but JSON
    if not done.ok:
        raise typer.Exit(1)


def _crs(granule: str) -> str:
    from is2ice.workflows.opening import open_track

    return str(open_track(granule).attrs["crs"])


@app.command("review", epilog="Example: is2ice labels review labelled.zarr --shortest 40")
def review_(
    store: Store,
    shortest: Annotated[float, typer.Option(help="Shortest stretch, m.")] = 20.0,
    most: Annotated[int, typer.Option(help="Rows shown.")] = 20,
    as_json: Json = False,
) -> None:
    """List the stretches where label and predicted class disagree, the longest first."""
    from is2ice.io.stores import store as stores

    _tell(
        review(stores.open_track(store, chunks=None), shortest=shortest).head(most).to_dict("records"),
        as_json,
    )


@app.command(
    epilog="Example: is2ice labels draw labelled.zarr/ATL03_.../gt2r item.json part.png --x-atc 284e5 28403e3"
)
def draw(
    track: Annotated[str, typer.Argument(help="A labelled track: STORE/GRANULE/BEAM.")],
    scene: Annotated[str, typer.Argument(help="The STAC item it was labelled from.")],
    picture: Annotated[Path, typer.Argument(help="Picture to write; the ending sets the format.")],
    x_atc: Annotated[tuple[float, float] | None, typer.Option(help="Part of the track, m.")] = None,
    across: Annotated[float, typer.Option(help="Half-width of the image shown, m.")] = 300.0,
    corrections: Annotated[Path | None, typer.Option(help="Outline the intervals of this file.")] = None,
    unet: Annotated[
        Path | None, typer.Option(help="Folder of the U-Net that the labels were made with.")
    ] = None,
) -> None:
    """Draw image, classes, labels and heights of a track with the axis that a corrections file uses."""
    from is2ice.io.stores import store as stores
    from is2ice.reports.plot_labels import draw_labels
    from is2ice.science.labels.transfer import method_of
    from is2ice.sentinel2 import scene as sentinel2

    ds = stores.open_track(track, chunks=None)
    image = sentinel2.open_scene(scene)
    names, shifts = list(ds.attrs.get("label_scenes", [])), list(ds.attrs.get("label_shift", []))
    k = names.index(image.attrs["scene"]) if image.attrs["scene"] in names else None
    if k is None:
        raise typer.BadParameter(
            f"{track} was labelled from {', '.join(names)}, not from {image.attrs['scene']}"
        )
    by_hand = None if corrections is None else Corrections.read(corrections)
    moved = (float(shifts[2 * k]), float(shifts[2 * k + 1]))
    classes = sentinel2.class_map(image, **_network(unet))
    made = [*ds.attrs.get("label_methods", [])][k : k + 1]
    if made and made[0] != method_of(classes):
        raise typer.BadParameter(
            f"{track} was labelled with classes by {made[0]}, and would be drawn with those by {method_of(classes)}: "
            + (
                "pass --unet with the folder of that network"
                if made[0].startswith("unet")
                else "leave --unet out"
            )
        )
    draw_labels(
        ds, classes, image, shift=moved, x_atc=x_atc, across=across, corrections=by_hand, path=picture
    )
    out.print(f"wrote {picture}")


@app.command(
    epilog="Example: is2ice labels correct hand.csv ATL03_.../gt2r 28400120 28400310 thin_ice --who me --why grey"
)
def correct(
    file: File,
    track: Annotated[str, typer.Argument(help="GRANULE/BEAM.")],
    x_from: Annotated[float, typer.Argument(help="x_atc of the start, m.")],
    x_to: Annotated[float, typer.Argument(help="x_atc of the end, m.")],
    label: Annotated[str, typer.Argument(help="thick_ice, thin_ice, open_water or unlabelled.")],
    who: Annotated[str, typer.Option(help="Who says so.")],
    why: Annotated[str, typer.Option(help="Why.")],
) -> None:
    """Add an interval to a corrections file, made if absent."""
    try:
        entry = Correction(track, x_from, x_to, label, who, why)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    have = Corrections.read(file) if file.exists() else Corrections()
    more = have.add([entry])
    more.write(file)
    out.print(f"{file}: {len(more.entries)} corrections")
    for other, holds in more.contradictions():
        if holds is entry:
            out.print(f"it overlaps {other}; the later line holds")


@app.command(epilog="Example: is2ice labels check hand.csv")
def check(file: File, as_json: Json = False) -> None:
    """Check a corrections file, list its intervals, and say which contradict each other."""
    have = Corrections.read(file)
    pairs = [f"{holds} over {other}" for other, holds in have.contradictions()]
    _tell([vars(e) for e in have.entries], as_json, {"contradictions": pairs} if pairs or as_json else None)


def _tell(rows: Sequence[Mapping[Any, Any]], as_json: bool, more: dict[str, Any] | None = None) -> None:
    if as_json:
        print(json_text({"rows": rows, **(more or {})}))  # noqa: T201  nothing but JSON
        return
    if not rows:
        out.print("nothing to show")
    else:
        table = Table(*rows[0])
        for row in rows:
            table.add_row(
                *(f"{v:.6g}" if isinstance(v, float) and abs(v) < 1e5 else _plain(v) for v in row.values())
            )
        out.print(table)
    for name, value in (more or {}).items():
        told = [f"{k} {v:,}" for k, v in value.items()] if isinstance(value, Mapping) else value
        out.print(f"{name}: " + ", ".join(told))


def _plain(value: Any) -> str:
    if value != value:  # NaN: not estimated
        return "-"
    return f"{value:.0f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    app()

"""Commands ``is2ice labels``: make labels, review them, draw them, correct them by hand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from is2ice import schema
from is2ice.io.remote.whole_files import address
from is2ice.science.labels.corrections import Correction, Corrections, agreement, review
from is2ice.science.labels.drift import Drift

from .console import (
    AsJson,
    check_picture,
    err,
    expand_flags,
    out,
    print_json,
    print_table,
    progress,
)
from .engine_options import EngineFlags, OverwriteFlag, refuse_changes

__all__ = ["app"]

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="Labels from coincident images, and their correction by hand.",
)

Store = Annotated[str, typer.Argument(help="A store of labelled tracks, or a granule in it.")]
File = Annotated[Path, typer.Argument(help="A corrections file (CSV).")]
_REFUSED = (
    "Treatment of a scene whose displacement is refused: skip (it gives no labels), still (it is used as if nothing "
    "had moved) or raise (the command fails)."
)
Within = Annotated[float, typer.Option("--within", help="Largest time between pass and image, minutes.")]
Refused = Annotated[str, typer.Option("--refused", help=_REFUSED)]
ImageClassifier = Annotated[
    str | None,
    typer.Option(
        "--classifier",
        help="Folder or address of a U-Net that classifies the images; by default the colour filter.",
    ),
]

Transition = Annotated[
    float,
    typer.Option(
        "--transition",
        help="Distance from another class, in pixels, within which nothing is labelled. Leads narrower than about 40 m "
        "get no label at 1.5; 0 labels all.",
    ),
]
CorrectionsFile = Annotated[
    Path | None, typer.Option("--corrections", help="A corrections file to apply on top.")
]


@dataclass(frozen=True)
class LabelFlags:
    """Flags of a labelling."""

    within: Within = 80.0
    shift: Annotated[
        tuple[float, float] | None,
        typer.Option(
            "--shift",
            metavar="DX DY",
            help="Displacement of the ice from pass to image, instead of an estimate: m along x and y of the polar "
            "stereographic map (EPSG:3976 in the south, EPSG:3413 in the north). Ice that the pass saw at (x, y) is in "
            "the image at (x + DX, y + DY).",
        ),
    ] = None
    refused: Refused = "skip"
    transition: Transition = 1.5
    corrections: CorrectionsFile = None
    classifier: ImageClassifier = None
    classes: Annotated[
        Path | None,
        typer.Option(
            "--classes",
            help="GeoTIFF with classes of the scene (0 thick ice, 1 thin ice, 2 open water), your own.",
        ),
    ] = None

    def keywords(self, granule: str) -> dict[str, Any]:
        """Return the keywords of :func:`is2ice.label_pass`."""
        return {
            "within": self.within,
            "drift": "estimate" if self.shift is None else Drift(*self.shift, _crs(granule)),
            "refused": self.refused,
            "transition": self.transition,
            "corrections": None if self.corrections is None else Corrections.read(self.corrections),
            "classes": _network(self.classifier),
            "class_file": self.classes,
        }


@app.command(epilog="Example: is2ice labels make ATL03_...h5 item.json --store labelled.zarr")
@expand_flags
def make(
    granule: Annotated[str, typer.Argument(help="An ATL03 granule.")],
    scenes: Annotated[
        list[str], typer.Argument(help="STAC items (path or URL), or the name of a catalogue.")
    ],
    store: Annotated[str, typer.Option("--store", help="Store to write the labelled tracks to.")],
    labelling: LabelFlags,
    overwrite: OverwriteFlag = "different",
    as_json: AsJson = False,
) -> None:
    """Label a pass from its images and store the tracks.

    The displacement of the ice is estimated, and refused if the data do not determine it; over level snow without leads
    check the picture (`is2ice labels draw`) before you rely on it.
    """
    from is2ice.io.stores import store as stores
    from is2ice.science.labels import transfer
    from is2ice.workflows.label_pass import label_pass

    how = labelling.keywords(granule)
    done = label_pass(granule, scenes[0] if len(scenes) == 1 else scenes, **how)
    ds = done.segments
    outcomes = Counter(
        stores.write_track(ds.sel(beam=[beam]), store, overwrite=overwrite)["outcome"]  # type: ignore[arg-type]
        for beam in ds["beam"].values
    )
    stores.consolidate(store)
    more: dict[str, Any] = {"counts": transfer.summary(ds)}
    if how["corrections"] is not None:
        intervals = len(how["corrections"].entries)
        more["corrections"] = {"intervals": intervals, "segments": ds.attrs["label_corrections"]}
    more["tracks"] = {k: outcomes[k] for k in ("written", "replaced", "skipped")}
    _print_rows(done.table().to_dict("records"), as_json, more)


def _network(folder: str | None, *, loaded: bool = True) -> dict[str, Any]:
    """Return the options of class maps by a U-Net, loaded here or left to the workers; none without a folder."""
    if folder is None:
        return {}
    from is2ice.classifiers.model_folder import read_card

    model: Any = address(folder)
    white = float(read_card(model, "tiles")["white"])
    if loaded:
        from is2ice.classifiers.unet import UNet

        model = UNet.load(model)
    return {"method": "unet", "classifier": model, "white": white, "probabilities": True}


@dataclass(frozen=True)
class SceneFlags:
    """Flags that choose the scenes of a labelling."""

    within: Within = 80.0
    refused: Refused = "skip"
    transition: Transition = 1.5
    corrections: CorrectionsFile = None
    classifier: ImageClassifier = None

    def keywords(self) -> dict[str, Any]:
        """Return the keywords of :func:`is2ice.label_many`; files are named, and read when it starts."""
        how: dict[str, Any] = {k: getattr(self, k) for k in ("within", "refused", "transition")}
        how |= {"corrections": self.corrections} if self.corrections else {}
        return how | ({"classes": _network(self.classifier, loaded=False)} if self.classifier else {})


@app.command(
    epilog="Examples:\n\nis2ice labels many ATL03_*.h5 --scenes earth_search --store labelled.zarr --engine dask\n\n"
    "is2ice labels many --resume --store labelled.zarr"
)
@expand_flags
def many(
    context: typer.Context,
    store: Annotated[str, typer.Option("--store", help="Store to write the labelled tracks to.")],
    engine: EngineFlags,
    choice: SceneFlags,
    granules: Annotated[list[str] | None, typer.Argument(help="ATL03 granules.")] = None,
    scenes: Annotated[
        list[str] | None,
        typer.Option("--scenes", help="STAC items (path or URL), or the name of a catalogue; repeatable."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Resume the store's last labelling.")] = False,
    as_json: AsJson = False,
) -> None:
    """Label many passes on an engine; passes without a scene are reported and the others labelled.

    The scenes of one pass go to many workers. The U-Net and the corrections file are read here and sent to them.
    """
    from is2ice.workflows import label_many

    if resume:
        refuse_changes(context, ("within", "refused", "transition", "corrections", "classifier"))
    how: dict[str, Any] = {"progress": progress(as_json)}
    how |= engine.keywords(store if resume else None)
    one = scenes[0] if scenes and len(scenes) == 1 else scenes
    try:
        if resume:
            changes = {"sources": granules, "scenes": one}
            done = label_many.resume(store, **how, **{k: v for k, v in changes.items() if v})
        else:
            done = label_many.label_many(granules or [], one or [], store, **choice.keywords(), **how)
    except KeyboardInterrupt:
        err.print(
            f"is2ice: interrupted; finished tracks are in {store}, is2ice labels many --resume does the rest"
        )
        raise typer.Exit(130) from None
    if as_json:
        print_json(done.to_dict())
    else:
        out.print(done.report())
    if not done.ok:
        raise typer.Exit(1)


def _crs(granule: str) -> str:
    from is2ice.workflows.opening import open_track

    return str(open_track(granule).attrs["crs"])


@app.command(
    "review",
    epilog="Examples:\n\nis2ice labels review labelled.zarr --shortest 40\n\nis2ice labels review labelled.zarr "
    "--page review.html --scene item.json --photons ATL03_...h5",
)
def review_(
    store: Store,
    shortest: Annotated[float, typer.Option("--shortest", help="Shortest stretch, m.")] = 20.0,
    most: Annotated[int, typer.Option("--most", help="Rows to show.")] = 20,
    page: Annotated[
        Path | None,
        typer.Option(
            "--page", help="HTML page to write: a picture of each stretch, and a form for corrections."
        ),
    ] = None,
    scenes: Annotated[
        list[str] | None, typer.Option("--scene", help="STAC item of the image, for the page; repeatable.")
    ] = None,
    photons: Annotated[str | None, typer.Option("--photons", help="The ATL03 granule, for the page.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the stretches in which label and predicted class disagree, the longest first."""
    from is2ice.io.stores import store as stores

    cube = stores.open_track(store, chunks=None)
    if page is not None:
        from is2ice.reports.review_page import write_review_page
        from is2ice.sentinel2 import scene as sentinel2

        images = {str(i.attrs["scene"]): i for i in map(sentinel2.open_scene, scenes or [])}
        how: dict[str, Any] = {"images": images, "granule": photons, "shortest": shortest, "most": most}
        n = write_review_page(cube, page, **how)
        out.print(
            f"{page}: {n} stretches; open it in a browser, save, and apply with labels make --corrections"
        )
        return
    found = review(cube, shortest=shortest)
    _print_rows(found.head(most).to_dict("records"), as_json)


@app.command(epilog="Example: is2ice labels agree mine.csv yours.csv")
def agree(
    first: File,
    second: Annotated[Path, typer.Argument(help="Another annotator's corrections file (CSV).")],
    as_json: AsJson = False,
) -> None:
    """Compare the files of two annotators: segments that both labelled, and Cohen's kappa."""
    found = agreement(Corrections.read(first), Corrections.read(second))
    numbers = {
        "segments": found.n,
        "observed": found.observed,
        "kappa": found.kappa,
        "only_first": found.only_first,
        "only_second": found.only_second,
        "matrix": found.matrix.tolist(),
    }
    if as_json:
        print_json(numbers)
        return
    names = [*schema.CLASSES, "unlabelled"]
    print_table(
        [
            {"first / second": n, **dict(zip(names, row, strict=True))}
            for n, row in zip(names, found.matrix.tolist(), strict=True)
        ]
    )
    out.print(
        f"{found.n:,} segments labelled by both, {100 * found.observed:.1f} % alike, Cohen's kappa {found.kappa:.3f}; "
        f"{found.only_first:,} by the first alone, {found.only_second:,} by the second alone"
    )


@app.command(
    epilog="Example: is2ice labels draw labelled.zarr/ATL03_.../gt2r item.json --out part.png --x-atc 284e5 28403e3"
)
def draw(
    track: Annotated[str, typer.Argument(help="A labelled track: STORE/GRANULE/BEAM.")],
    scene: Annotated[str, typer.Argument(help="The STAC item it was labelled from.")],
    path: Annotated[str, typer.Option("--out", help="Picture to write; the ending sets the format.")],
    x_atc: Annotated[
        tuple[float, float] | None, typer.Option("--x-atc", metavar="FROM TO", help="Part of the track, m.")
    ] = None,
    across: Annotated[float, typer.Option("--across", help="Half-width of the image shown, m.")] = 300.0,
    corrections: Annotated[
        Path | None, typer.Option("--corrections", help="Outline the intervals of this file.")
    ] = None,
    classifier: ImageClassifier = None,
) -> None:
    """Draw image, classes, labels and heights of a track, on the axis that a corrections file uses."""
    from is2ice.io.stores import store as stores
    from is2ice.reports.plot_labels import draw_labels
    from is2ice.science.labels.transfer import method_of
    from is2ice.sentinel2 import scene as sentinel2

    check_picture(path)
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
    classes = sentinel2.class_map(image, **_network(classifier))
    made = [*ds.attrs.get("label_methods", [])][k : k + 1]
    if made and made[0] != method_of(classes):
        raise typer.BadParameter(
            f"{track} was labelled with classes by {made[0]}, and would be drawn with those by {method_of(classes)}: "
            + (
                "pass --classifier with the folder of that network"
                if made[0].startswith("unet")
                else "leave --classifier out"
            )
        )
    draw_labels(ds, classes, image, shift=moved, x_atc=x_atc, across=across, corrections=by_hand, path=path)
    out.print(f"picture: {path}")


@app.command(
    epilog="Example: is2ice labels correct hand.csv ATL03_.../gt2r 28400120 28400310 thin_ice --who me --why grey"
)
def correct(
    file: File,
    track: Annotated[str, typer.Argument(help="GRANULE/BEAM.")],
    x_from: Annotated[float, typer.Argument(help="x_atc of the start, m.")],
    x_to: Annotated[float, typer.Argument(help="x_atc of the end, m.")],
    label: Annotated[str, typer.Argument(help="thick_ice, thin_ice, open_water or unlabelled.")],
    who: Annotated[str, typer.Option("--who", help="Author of the correction.")],
    why: Annotated[str, typer.Option("--why", help="Reason for the correction.")],
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
            out.print(f"it overlaps {other}; the later line counts")


@app.command(epilog="Example: is2ice labels check hand.csv")
def check(file: File, as_json: AsJson = False) -> None:
    """Check a corrections file, list its intervals, and name those that contradict each other."""
    have = Corrections.read(file)
    pairs = [f"{holds} over {other}" for other, holds in have.contradictions()]
    _print_rows(
        [vars(e) for e in have.entries], as_json, {"contradictions": pairs} if pairs or as_json else None
    )


def _print_rows(
    rows: Sequence[Mapping[Any, Any]], as_json: bool, more: Mapping[str, Any] | None = None
) -> None:
    """Print a table, and further counts below it."""
    if as_json:
        print_json({"rows": rows, **(more or {})})
        return
    if rows:
        print_table([{k: _short(v) for k, v in row.items()} for row in rows])
    else:
        out.print("nothing to show")
    for name, value in (more or {}).items():
        parts = [f"{k} {v:,}" for k, v in value.items()] if isinstance(value, Mapping) else value
        out.print(f"{name}: " + ", ".join(parts))


def _short(value: Any) -> Any:
    """Shorten a number: six digits, or whole metres of a long distance."""
    if not isinstance(value, float) or value != value:
        return value
    return f"{value:.6g}" if abs(value) < 1e5 else f"{value:.0f}"

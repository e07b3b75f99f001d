"""Command line: ``is2ice`` or ``python -m is2ice``.

Exit codes: 0 all well, 1 some tracks failed, 2 wrong usage or input, 3 an unexpected fault, 130 interrupted.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from typer.core import TyperGroup

from is2ice.errors import GranuleError, Is2IceError, RemoteError

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["app", "main"]

#: Command groups that live elsewhere, imported when named: name -> (module, attribute, help).
EXTENSIONS = {
    "classify": ("is2ice.cli.models", "classify_app", "Classify stored tracks with a trained model."),
    "compare": (
        "is2ice.reports.nasa_comparison_report",
        "app",
        "Ours against ATL07 or ATL10 on the same beam.",
    ),
    "demo": ("is2ice.cli.demo", "app", "The whole chain on a simulated pass, scored against the truth."),
    "docs": ("is2ice.cli.docs", "app", "Documentation pages, built from the package."),
    "grid": ("is2ice.workflows.make_map", "app", "Maps of stores or ATL10 granules, as NetCDF or Zarr."),
    "bench": ("is2ice.cli.bench", "app", "How a run scales, measured here and projected."),
    "labels": (
        "is2ice.cli.labels",
        "app",
        "Labels from coincident Sentinel-2 images, and corrections by hand.",
    ),
    "products": (
        "is2ice.reports.nasa_product_checks",
        "app",
        "What ATL07 and ATL10 say of themselves, computed again.",
    ),
    "train": ("is2ice.cli.models", "train_app", "Train a classifier on labelled stores."),
    "report": ("is2ice.workflows.run_report", "app", "What a run did, from its receipts."),
    "publish": ("is2ice.cli.publish", "publish_app", "Publish a store to a bucket or folder, versioned."),
    "search": ("is2ice.cli.search", "app", "ICESat-2 granules by area, time, track and cycle."),
    "stores": (
        "is2ice.cli.publish",
        "stores_app",
        "Declared stores: where, licence, citation, update policy.",
    ),
    "stats": ("is2ice.cli.stats", "app", "Leads, floes, ridges and roughness of stored tracks."),
    "twin": ("is2ice.cli.twin", "app", "Simulated granules and images with known truth."),
    "unet": ("is2ice.cli.unet", "app", "U-Net for Sentinel-2 scenes, trained on automatic labels."),
}

# No markup: what is printed holds names of files, and a name such as [a].h5 is not a style.
out = Console(soft_wrap=True, highlight=False, markup=False)
err = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)


class _Lazy(TyperGroup):
    """A group that imports the extensions only when one is named, or their help is asked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        return [*super().list_commands(ctx), *EXTENSIONS]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in EXTENSIONS:
            return super().get_command(ctx, cmd_name)
        module, attribute, text = EXTENSIONS[cmd_name]
        command = typer.main.get_command(getattr(importlib.import_module(module), attribute))
        command.name, command.help = cmd_name, command.help or text
        return command


app = typer.Typer(
    cls=_Lazy,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="ICESat-2 ATL03 photons to 2 m sea-ice class, local sea surface and freeboard.\n\n"
    "Exit codes: 0 all well, 1 some tracks failed, 2 wrong usage or input, 3 an unexpected fault.",
    epilog="Example: is2ice run ATL03_20191104195311_05940510_006_01.h5 --store ross_sea.zarr",
)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Bbox = Annotated[
    tuple[float, float, float, float] | None,
    typer.Option("--bbox", metavar="W S E N", help="Degrees; west > east crosses the antimeridian."),
]
#: What of a run's options decides its results.
_DECIDES = (
    "beams", "until", "method", "classifier", "confidence", "length", "bbox", "time", "x_atc", "reference", "overwrite",
)  # fmt: skip
_state = {"debug": False}


class _Scrubbed(logging.Formatter):
    """Log lines without the secrets of URLs."""

    def format(self, record: logging.LogRecord) -> str:
        return _scrub(super().format(record))


def _scrub(text: str) -> str:
    from is2ice.io.urls import scrub

    return scrub(text)


def _print_version(asked: bool) -> None:
    if asked:
        from is2ice.version import __version__

        out.print(__version__)
        raise typer.Exit


@app.callback()
def _common(
    debug: Annotated[bool, typer.Option("--debug", help="Full tracebacks, and log messages.")] = False,
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version and stop.", is_eager=True, callback=_print_version),
    ] = False,
) -> None:
    _state["debug"] = debug
    handler = logging.StreamHandler()
    handler.setFormatter(_Scrubbed("%(name)s %(levelname)s: %(message)s"))
    logging.basicConfig(level=logging.INFO if debug else logging.WARNING, handlers=[handler])
    # Dask sets up its own logging, here and in its workers, at INFO: the coming and going of every worker.
    os.environ.setdefault("DASK_LOGGING__DISTRIBUTED", "warning")
    # TensorFlow tells of processors and libraries when it is imported: only its errors are for a user.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "0" if debug else "2")


@app.command(epilog="Example: is2ice info ATL03_20191104195311_05940510_006_01.h5")
def info(
    source: Annotated[str, typer.Argument(help="An ATL03 file, a store (path or URL), or a trained model.")],
    counts: Annotated[
        bool, typer.Option("--counts", help="Count photons by confidence (reads them).")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Say what a granule or a store holds, and what it lacks; of a trained model, its card."""
    from is2ice.classifiers.model_folder import is_model
    from is2ice.io.stores import store

    if is_model(source):
        from .models import show_card

        show_card(source, as_json=as_json)
        return
    if store.is_store(source):
        show(source, as_json=as_json)
        return
    document = _describe_granule(source, counts)
    if as_json:
        _print_json(document)
        return
    facing = {0: "backward", 1: "forward", 2: "in transition", None: "unknown"}[document["sc_orient"]]
    track = " ".join(f"{k} {document[k]}" for k in ("rgt", "cycle", "region") if document[k] is not None)
    out.print(f"{document['granule']}  release {document['release']}  {track}  orientation {facing}")
    columns = ["beam", "strength", "spot", "photons", "geosegments", "length_km", "start", "latitude"]
    columns += ["heights_above"] + (["confidence"] if counts else [])
    _print_table(document["beams"], columns)
    for note in document["notes"]:
        out.print(f"note: {note}")


def _describe_granule(source: str, counts: bool) -> dict[str, Any]:
    import numpy as np

    from is2ice.io.catalogs.icesat2 import located
    from is2ice.io.icesat2.atl03 import Granule
    from is2ice.io.icesat2.geolocation import gap_notes
    from is2ice.science.epoch import iso_time

    with Granule(located(source)) as granule:
        beams, notes, failed = [], [], None
        for beam in granule.beams:
            try:
                table = granule.table(beam)
            except RemoteError:
                raise
            except GranuleError as error:
                notes.append(f"{beam} cannot be used: {error}")
                failed = error
                continue
            row: dict[str, Any] = {
                "beam": beam,
                "strength": "unknown" if granule.orientation == 2 else granule.strength(beam),
                "spot": None if granule.orientation == 2 else granule.spot(beam),
                "photons": int(table.count.sum()),
                "geosegments": int(table.dist_x.size),
                "length_km": round(float(table.dist_x[-1] - table.dist_x[0]) / 1e3, 1),
                "x_atc": [float(table.dist_x[0]), float(table.dist_x[-1])],
                "start": iso_time(float(np.nanmin(table.time)))[:19],
                "latitude": [round(float(f(table.latitude)), 4) for f in (np.nanmin, np.nanmax)],
                "in_sea_ice_mask": bool(table.sea_ice),
                "heights_above": table.height_reference,
            }
            if counts:
                codes, n = np.unique(granule.photons(beam)["signal_conf"].values, return_counts=True)
                row["confidence"] = {str(c): int(k) for c, k in zip(codes, n, strict=True)}
            beams.append(row)
            notes += [*table.notes, *gap_notes(beam, table.dist_x)]
        if not beams and failed is not None:
            raise failed
        return {
            "granule": granule.id,
            "release": granule.release,
            "rgt": granule.rgt,
            "cycle": granule.cycle,
            "region": granule.region,
            "sc_orient": granule.orientation,
            "beams": beams,
            "notes": [*granule.notes, *notes],
        }


@app.command(
    epilog="Examples:\n\nis2ice run ATL03_*.h5 --store s.zarr --engine processes --workers 4\n\n"
    "is2ice run ATL03_20191104*.h5 --store s.zarr --beams gt2r --bbox 170 -78 -150 -72 --json\n\n"
    "is2ice run ATL03_*.h5 --store /shared/s.zarr --engine spark --address spark://host:7077\n\n"
    "is2ice run --resume --store s.zarr"
)
def run(
    context: typer.Context,
    store: Annotated[str, typer.Option("--store", help="Store to write to; made if absent.")],
    sources: Annotated[
        list[str] | None, typer.Argument(help="ATL03 files or URLs, or stores whose segments to use.")
    ] = None,
    beams: Annotated[str, typer.Option(help="strong, weak, all, or names such as gt1r,gt2r.")] = "",
    engine: Annotated[
        str | None, typer.Option(help="serial (default), processes, dask, gateway or spark.")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Of all engines but serial.")] = None,
    address: Annotated[
        str | None, typer.Option(help="Of a Dask scheduler, a Gateway or a Spark master.")
    ] = None,
    conf: Annotated[
        list[str] | None, typer.Option("--conf", help="key=value for Spark or the Gateway; repeatable.")
    ] = None,
    block_km: Annotated[
        float | None, typer.Option(help="Split tracks into blocks of this many km.", min=0.1)
    ] = None,
    until: Annotated[str, typer.Option(help="Last step: segments, classes or freeboard.")] = "freeboard",
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the store's last run.")] = False,
    method: Annotated[
        str, typer.Option(help="Sea surface: crossfit, nasa, minimum, mean or nearest_minimum.")
    ] = "crossfit",
    classifier: Annotated[
        str, typer.Option(help="radiometric, or the folder of a trained model.")
    ] = "radiometric",
    confidence: Annotated[int, typer.Option(min=0, max=4, help="Lowest signal confidence.")] = 3,
    length: Annotated[float, typer.Option(help="Segment length, m.")] = 2.0,
    bbox: Bbox = None,
    time: Annotated[
        tuple[str, str] | None, typer.Option("--time", metavar="FROM TO", help="UTC, as 2019-11-04T19:59:47.")
    ] = None,
    x_atc: Annotated[
        tuple[float, float] | None,
        typer.Option("--x-atc", metavar="FROM TO", help="Along-track distance, m."),
    ] = None,
    reference: Annotated[str, typer.Option(help="Heights above: auto, mss or geoid.")] = "auto",
    overwrite: Annotated[str, typer.Option(help="different, always or never.")] = "different",
    as_json: AsJson = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print failures only.")] = False,
) -> None:
    """Granules to a store: 2 m segments, surface class, local sea surface and freeboard."""
    from is2ice.workflows import driver, run

    if not sources and not resume:
        raise ValueError("nothing to do: name ATL03 files, or go on with the store's last run by --resume")
    if resume:
        driver.only_new(context, _DECIDES)
    place: dict[str, Any] = {"progress": False if quiet or as_json else None}
    place |= driver.placed(engine, workers, address, conf or (), store if resume else None)
    try:
        if resume:
            again = {"sources": sources or None, "block_km": block_km}
            done = run.resume(store, **place, **{k: v for k, v in again.items() if v is not None})
        else:
            options = run.Options(
                length=length,
                confidence=confidence,
                bbox=bbox,
                time=time,
                x_atc=x_atc,
                reference=reference,
                method=method,
                classifier=classifier,
                until=until,
            )
            done = run.run(
                sources,
                store,
                beams=_beams(beams),
                options=options,
                overwrite=overwrite,  # type: ignore[arg-type]
                block_km=block_km,
                **place,
            )
    except KeyboardInterrupt:
        err.print(
            f"is2ice: interrupted; finished tracks are in {store}, is2ice run --resume goes on from there"
        )
        raise typer.Exit(130) from None
    if as_json:
        _print_json(done.to_dict())
    elif not quiet:
        out.print(done.report())
    for receipt in done.failed:
        name = f"{receipt['granule'] or receipt['source']} {receipt['beam'] or ''}".rstrip()
        if quiet or as_json:
            err.print(f"is2ice: {name}: {str(receipt['error']).removeprefix(f'{name}: ')}")
        if _state["debug"]:
            err.print(receipt["detail"])
    if not done.ok:
        opened = any(r["beam"] for r in done.receipts)
        raise typer.Exit(1 if opened else 2)


@app.command(epilog="Example: is2ice show s.zarr ATL03_20191104195311_05940510_006_01 gt2r --plot gt2r.png")
def show(
    store: Annotated[str, typer.Argument(help="Path or URL of a store.")],
    granule: Annotated[str | None, typer.Argument(help="One granule of it.")] = None,
    beam: Annotated[str | None, typer.Argument(help="One beam of that.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Save a quick look of the track.")] = None,
    km: Annotated[
        tuple[float, float] | None,
        typer.Option("--km", metavar="FROM TO", help="Part to plot, from the start."),
    ] = None,
    photons: Annotated[
        str | None, typer.Option(help="ATL03 file whose photons to draw behind the segments.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List a store, sum up a track, and draw it."""
    from is2ice.io.stores import store as stores

    if plot is not None:
        _check_picture(plot)
    listed = stores.open_store(store)
    table = listed.table()
    if granule is not None:
        if granule not in listed.granules:
            raise ValueError(f"{granule} is not in {store}: {', '.join(listed.granules[:5]) or 'empty'}")
        table = table[table["granule"] == granule]
    if beam is not None:
        table = table[table["beam"] == beam]
        if table.empty:
            held = ", ".join(listed.beams(str(granule)))
            raise ValueError(f"{beam} of {granule} is not in {store}; it holds {held}")
    if plot is not None:
        if len(table) != 1:
            raise ValueError(f"--plot draws one track; name granule and beam ({len(table)} match)")
        granule, beam = (str(table.iloc[0][k]) for k in ("granule", "beam"))
        track = listed.open_track(granule, [beam], chunks=None)
        _draw(track, _photons(photons, beam, track), km, plot)
    rows = json.loads(table.to_json(orient="records"))
    if as_json:
        tracks = [dict(r, attributes=listed.tracks[r["granule"], r["beam"]]) for r in rows]
        _print_json(tracks if beam else rows)
        return
    if len(rows) == 1:
        attrs = listed.tracks[rows[0]["granule"], rows[0]["beam"]]
        for key, value in rows[0].items():
            out.print(f"{key:20} {_cell(value)}")
        for note in attrs.get("notes", ()):
            out.print(f"note: {note}")
    else:
        columns = ["granule", "beam", "beam_strength", "time_coverage_start", "n_filled", "n_leads"]
        _print_table(rows, [*columns, "n_freeboard", "freeboard_mean", "freeboard_median"])
        out.print(repr(listed)[1:-1])
    if plot is not None:
        out.print(f"picture: {plot}")


@app.command(
    epilog="Example: is2ice quicklook ATL03_20191104195311_05940510_006_01.h5 gt2r --km 0 25 --out a.png"
)
def quicklook(
    source: Annotated[str, typer.Argument(help="An ATL03 file.")],
    beam: Annotated[str | None, typer.Argument(help="A beam; the first strong one by default.")] = None,
    km: Annotated[
        tuple[float, float] | None,
        typer.Option("--km", metavar="FROM TO", help="Part to plot, from the start."),
    ] = None,
    path: Annotated[Path, typer.Option("--out", help="Picture to write.")] = Path("quicklook.png"),
    method: Annotated[str, typer.Option(help="Sea surface method.")] = "crossfit",
) -> None:
    """Process one beam and draw it with its photons, without a store."""
    from is2ice.workflows import run

    _check_picture(path)
    if beam is None:
        beam = run.survey(source, None)[0].beam
    track = run.one_track(source, beam, run.Options(method=method))
    _draw(track, _photons(source, beam, track), km, path)
    for note in track.attrs["notes"]:
        out.print(f"note: {note}")
    out.print(f"picture: {path}")


def _photons(source: str | None, beam: str, track: xr.Dataset) -> xr.Dataset | None:
    if source is None:
        return None
    from is2ice.io.icesat2.atl03 import Granule, Subset

    first, last = float(track["x_atc"].values[0]), float(track["x_atc"].values[-1])
    with Granule(source) as granule:
        return granule.photons(beam, Subset(x_atc=(first, last)))


def _check_picture(path: Path) -> None:
    if path.suffix.lower() not in (".png", ".pdf", ".svg", ".jpg"):
        raise ValueError(f"{path}: expected a picture ending in .png, .pdf, .svg or .jpg")
    if not path.parent.is_dir():
        raise ValueError(f"{path}: no such folder as {path.parent}")


def _draw(track: xr.Dataset, photons: xr.Dataset | None, km: tuple[float, float] | None, path: Path) -> None:
    from is2ice.reports.plot_track import quicklook as draw

    draw(track, photons, x=km, path=path)


@app.command()
def schema() -> None:
    """Print the table of variables as Markdown."""
    from is2ice.schema import markdown_table

    print(markdown_table())  # noqa: T201  Markdown as it is, without rich


@app.command()
def versions(as_json: AsJson = False) -> None:
    """Print the versions of the package and of what it stands on."""
    from is2ice.version import show_versions
    from is2ice.version import versions as table

    if as_json:
        _print_json(table())
    else:
        out.print(show_versions())


# -- printing -----------------------------------------------------------------------------------------
def _beams(text: str) -> str | list[str] | None:
    if not text:
        return None
    return text if text in ("strong", "weak", "all") else [b.strip() for b in text.split(",") if b.strip()]


def _print_json(document: Any) -> None:
    from .console import json_text

    print(json_text(document))  # noqa: T201  nothing but JSON on standard output


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    if isinstance(value, list):
        return " to ".join(map(_cell, value))
    if isinstance(value, dict):
        return ", ".join(f"{k}: {_cell(v)}" for k, v in value.items())
    return str(value)


def _print_table(rows: list[dict[str, Any]], columns: list[str]) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        numeric = any(isinstance(r.get(column), int | float) for r in rows)
        table.add_column(column, justify="right" if numeric else "left", no_wrap=True)
    for row in rows:
        table.add_row(*(_cell(row.get(column)) for column in columns))
    width = None if out.is_terminal else max(out.width, 200)
    wide = Console(width=width, highlight=False, markup=False)
    wide.print(table)


def main(args: list[str] | None = None) -> None:
    """Run the command line; errors are one line unless ``--debug`` is given."""
    try:
        app(args=args, standalone_mode=True)
    except Is2IceError as error:
        _fail(error, str(error), 2)
    except (ValueError, FileNotFoundError) as error:
        _fail(error, str(error), 2)
    except Exception as error:
        _fail(error, f"{type(error).__name__}: {error} (unexpected; --debug shows where)", 3)


def _fail(error: Exception, text: str, code: int) -> None:
    if _state["debug"]:
        err.print(_scrub("".join(traceback.format_exception(error))))
    err.print(f"is2ice: error: {_scrub(text)}")
    sys.exit(code)


if __name__ == "__main__":
    main()

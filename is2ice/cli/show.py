"""Commands ``is2ice show``, ``quicklook``, ``schema`` and ``versions``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .console import AsJson, Km, cell, check_picture, out, print_json, print_table, scrubbed, state

if TYPE_CHECKING:
    import xarray as xr

    from is2ice.io.stores.store import Store

__all__ = ["quicklook_app", "schema_app", "show_app", "versions_app"]

show_app = typer.Typer(add_completion=False)
quicklook_app = typer.Typer(add_completion=False)
schema_app = typer.Typer(add_completion=False)
versions_app = typer.Typer(add_completion=False)


@show_app.command(
    epilog="Examples:\n\nis2ice show ATL03_20191104195311_05940510_006_01.h5\n\n"
    "is2ice show s.zarr ATL03_20191104195311_05940510_006_01 gt2r"
)
def show(
    source: Annotated[
        str, typer.Argument(help="A store (path or URL), an ATL03 granule, or the folder of a trained model.")
    ],
    granule: Annotated[str | None, typer.Argument(help="One granule of a store.")] = None,
    beam: Annotated[str | None, typer.Argument(help="One beam of that granule.")] = None,
    counts: Annotated[
        bool, typer.Option("--counts", help="Count the photons of a granule by confidence (reads them).")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List the contents of a store or granule and what they lack, or show the card of a trained model."""
    from is2ice.io.stores import store as stores

    if _may_be_model(source):
        from .models import show_card

        show_card(source, as_json=as_json)
    elif granule is not None or stores.is_store(source):
        _show_store(source, granule, beam, as_json)
    else:
        _show_granule(source, counts, as_json)


def _may_be_model(source: str) -> bool:
    """Return True for the folder or address of a trained model; classifiers are loaded only if it may be one."""
    if "://" not in source and not Path(source, "card.json").is_file():
        return False
    from is2ice.classifiers.model_folder import is_model

    return is_model(source)


def _show_granule(source: str, counts: bool, as_json: bool) -> None:
    document = _describe_granule(source, counts)
    if as_json:
        print_json(document)
        return
    facing = {0: "backward", 1: "forward", 2: "in transition", None: "unknown"}[document["sc_orient"]]
    track = " ".join(f"{k} {document[k]}" for k in ("rgt", "cycle", "region") if document[k] is not None)
    out.print(f"{document['granule']}  release {document['release']}  {track}  orientation {facing}")
    columns = ["beam", "strength", "spot", "photons", "geosegments", "length_km", "start", "latitude"]
    columns += ["heights_above"] + (["confidence"] if counts else [])
    print_table(document["beams"], columns)
    if document["simulated"]:
        out.print(f"SIMULATED: {document['simulated']}")
    for note in document["notes"]:
        out.print(f"note: {note}")
    out.print(
        f'in Python: is2ice.open_track("{scrubbed(source)}"); '
        'in xarray with engine="is2ice": without it the root is empty'
    )


def _describe_granule(source: str, counts: bool) -> dict[str, Any]:
    import numpy as np

    from is2ice.errors import GranuleError, RemoteError
    from is2ice.io.catalogs.icesat2 import resolve_granule
    from is2ice.io.icesat2.atl03 import Granule
    from is2ice.io.icesat2.geolocation import gap_notes
    from is2ice.science.epoch import iso_time

    with Granule(resolve_granule(source)) as granule:
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
            "simulated": granule.simulated,
            "beams": beams,
            "notes": [*granule.notes, *notes],
        }


def _show_store(store: str, granule: str | None, beam: str | None, as_json: bool) -> None:
    from is2ice.io.stores import store as stores

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
    rows = json.loads(table.to_json(orient="records"))
    if as_json:
        tracks = [dict(r, attributes=listed.tracks[r["granule"], r["beam"]]) for r in rows]
        print_json(tracks if beam else rows)
    else:
        _print_tracks(listed, rows)
    if rows:
        more = f" --granule {rows[0]['granule']}" if len(listed.granules) > 1 else ""
        state.next = f"is2ice quicklook {store} {rows[0]['beam']}{more}"


def _print_tracks(listed: Store, rows: list[dict[str, Any]]) -> None:
    """Print a table of tracks, or all that is known of a single one."""
    from is2ice.schema import simulated_by

    attrs = [listed.tracks[row["granule"], row["beam"]] for row in rows]
    made_by = simulated_by(*attrs)
    if len(rows) == 1:
        for key, value in rows[0].items():
            out.print(f"{key:20} {cell(value)}")
        for note in attrs[0].get("notes", ()):
            out.print(f"note: {note}")
    else:
        columns = ["granule", "beam", "beam_strength", "time_coverage_start", "n_filled", "n_leads"]
        columns += ["n_freeboard", "freeboard_mean", "freeboard_median"]
        # Labelled tracks, for instance, have neither leads nor freeboard.
        print_table(rows, [c for c in columns if any(r.get(c) is not None for r in rows)])
        out.print(repr(listed)[1:-1])
    if made_by:
        out.print(f"SIMULATED: {made_by}")
    if rows:
        chosen = f', granule="{rows[0]["granule"]}"' if len(listed.granules) > 1 else ""
        out.print(f'in Python: is2ice.open_track("{scrubbed(str(listed.location))}"{chosen})')


@quicklook_app.command(
    epilog="Examples:\n\nis2ice quicklook ATL03_20191104195311_05940510_006_01.h5 gt2r --km 0 25 --out a.png\n\n"
    "is2ice quicklook s.zarr gt2r --granule ATL03_20191104195311_05940510_006_01"
)
def quicklook(
    source: Annotated[str, typer.Argument(help="An ATL03 granule, or a store (path or URL).")],
    beam: Annotated[str | None, typer.Argument(help="A beam; by default the first strong one.")] = None,
    granule: Annotated[
        str | None, typer.Option("--granule", help="One granule of a store that holds several.")
    ] = None,
    km: Km = None,
    photons: Annotated[
        str | None,
        typer.Option("--photons", help="ATL03 granule whose photons to draw behind a stored track."),
    ] = None,
    path: Annotated[str, typer.Option("--out", help="Picture to write.")] = "quicklook.png",
    method: Annotated[
        str | None, typer.Option("--method", help="Method of the sea surface, of a granule.")
    ] = None,
    truth: Annotated[
        Path | None, typer.Option("--truth", help="Truth file of a simulated granule, to draw as well.")
    ] = None,
) -> None:
    """Draw one beam: of a granule, which is processed without a store, or of a store."""
    from is2ice.io.stores import store as stores
    from is2ice.reports.plot_track import quicklook as draw

    check_picture(path)
    if stores.is_store(source):
        if method is not None:
            raise ValueError(
                f"--method {method}: {source} is a store, whose sea surface is drawn as it is stored"
            )
        track = _stored_track(source, granule, beam)
    else:
        from is2ice.workflows import track as tracks
        from is2ice.workflows.options import Options

        beam = tracks.survey(source, None)[0].beam if beam is None else beam
        track = tracks.one_track(source, beam, Options() if method is None else Options(method=method))
        photons = source
    name = str(track.attrs["beam"])
    draw(track, _photons(photons, name, track), x=km, path=path, truth=_truth(truth, name))
    for note in track.attrs.get("notes", ()):
        out.print(f"note: {note}")
    out.print(f"picture: {path}")


def _stored_track(store: str, granule: str | None, beam: str | None) -> xr.Dataset:
    """Open one track of a store; refuse a choice that is not one track."""
    from is2ice.io.stores import store as stores

    listed = stores.open_store(store)
    found = [key for key in listed.tracks if granule in (None, key[0]) and beam in (None, key[1])]
    if len(found) != 1:
        raise ValueError(
            f"{store}: quicklook draws one track, {len(found)} match; name a beam, and --granule where the store holds "
            "several (is2ice show lists them)"
        )
    (one,) = found
    return listed.open_track(one[0], [one[1]], chunks=None).isel(beam=0).assign_attrs(beam=one[1])


def _truth(path: Path | None, beam: str) -> Any:
    if path is None:
        return None
    from is2ice.twin.truth import open_truth

    return open_truth(path, beam)


def _photons(source: str | None, beam: str, track: xr.Dataset) -> xr.Dataset | None:
    if source is None:
        return None
    from is2ice.io.icesat2.atl03 import Granule, Subset

    first, last = float(track["x_atc"].values[0]), float(track["x_atc"].values[-1])
    with Granule(source) as granule:
        return granule.photons(beam, Subset(x_atc=(first, last)))


@schema_app.command()
def schema() -> None:
    """Print the table of variables as Markdown."""
    from is2ice.schema import markdown_table

    typer.echo(markdown_table())


@versions_app.command()
def versions(as_json: AsJson = False) -> None:
    """Print the versions of the package and of its dependencies."""
    from is2ice.version import show_versions
    from is2ice.version import versions as table

    if as_json:
        print_json(table())
    else:
        out.print(show_versions())

"""Command ``is2ice export``."""

from __future__ import annotations

from typing import Annotated

import typer

from .console import out

__all__ = ["app"]

app = typer.Typer(add_completion=False)


@app.command(
    epilog="Examples:\n\nis2ice export ross_sea.zarr --granule ATL03_20191104195311_05940510_006_01 --out track.nc\n\n"
    "is2ice export ross_sea.zarr --beam gt2r --variables freeboard,surface_class --out freeboard.gpkg"
)
def export(
    source: Annotated[
        str, typer.Argument(help="A store (path or URL), or an ATL03 granule, whose segments are made.")
    ],
    path: Annotated[
        str,
        typer.Option(
            "--out", help="File to write: .nc (a group per beam), .parquet, .gpkg, .fgb, .csv or .csv.gz."
        ),
    ],
    granule: Annotated[
        str | None, typer.Option("--granule", help="One granule of a store that holds several.")
    ] = None,
    beam: Annotated[list[str] | None, typer.Option("--beam", help="Only this beam; repeatable.")] = None,
    variables: Annotated[
        str | None,
        typer.Option("--variables", help="Only these variables, with commas; positions and time stay."),
    ] = None,
    declaration: Annotated[
        str | None,
        typer.Option(
            "--declaration", help="Declaration (name or .toml file) with creator and licence, for .nc."
        ),
    ] = None,
) -> None:
    """Write tracks of a store or granule as NetCDF, GeoParquet, GeoPackage, FlatGeobuf or CSV."""
    from is2ice.reports import export as exports
    from is2ice.workflows.opening import open_track

    from .console import names

    write = exports.writer(path)
    ds = open_track(source, beam or None, granule=granule)
    if variables is not None:
        ds = exports.choose(ds, names(variables))
    write(ds, path, **({"declaration": declaration} if declaration else {}))
    beams = ", ".join(map(str, ds["beam"].values))
    out.print(f"{path}: {beams} of {ds.attrs.get('granule', source)}")

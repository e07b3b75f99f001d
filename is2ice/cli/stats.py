"""Command ``is2ice stats``."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from is2ice.science.icestats import statistics

from .console import AsJson, out, print_json

__all__ = ["app"]

app = typer.Typer(add_completion=False)


@app.command(epilog="Example: is2ice stats ross_sea.zarr --thin-ice --json")
def stats(
    store: Annotated[str, typer.Argument(help="Path or URL of a store.")],
    granule: Annotated[str | None, typer.Option("--granule", help="Only this granule.")] = None,
    beam: Annotated[str | None, typer.Option("--beam", help="Only this beam.")] = None,
    thin_ice: Annotated[bool, typer.Option("--thin-ice", help="Count thin ice as lead.")] = False,
    as_json: AsJson = False,
) -> None:
    """Measure leads, openings (widths, spacing), floe chords, ridges and roughness, track by track."""
    from is2ice.io.stores import store as stores

    listed = stores.open_store(store)
    keys = [k for k in listed.tracks if granule in (None, k[0]) and beam in (None, k[1])]
    if not keys:
        raise ValueError(f"{listed.location}: no track of {granule or 'any granule'} {beam or ''}".rstrip())
    rows: list[dict[str, Any]] = []
    for name, one in keys:
        track = listed.open_track(name, [one], chunks=None).isel(beam=0)
        rows.append({"granule": name, "beam": one, **statistics(track, thin_ice=thin_ice)})
    if as_json:
        print_json(rows)
        return
    for row in rows:
        out.print(f"{row.pop('granule')} {row.pop('beam')}")
        for group, value in row.items():
            inner = value if isinstance(value, dict) else {"": value}
            text = ", ".join(f"{k.replace('_', ' ')} {_number(k, v)}".strip() for k, v in inner.items())
            out.print(f"  {group.replace('_', ' ')}: {text}")


def _number(name: str, value: float | None) -> str:
    """Write a number with its unit; lengths and heights are in metres."""
    if value is None:
        return "-"
    metres = name.startswith(("width", "distance", "chord", "half_of_ice", "height", "rms"))
    digits = 2 if name.startswith(("height", "rms")) else 0
    return f"{value:,.{digits}f} m" if metres else f"{value:.4g}"

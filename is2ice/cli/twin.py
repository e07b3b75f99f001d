"""Commands of the twin: ``is2ice twin make``, ``serve`` and ``statistics``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

if TYPE_CHECKING:
    from is2ice.twin.server.local_archive import LocalCloud

__all__ = ["app"]

#: Spelled out, since importing the presets would load the simulator for every --help; a test keeps it current.
PRESET_NAMES = "ross_sea_november, arctic_winter_night, marginal_ice_zone, cloudy, no_leads"

app = typer.Typer(
    no_args_is_help=True,
    help="The twin: simulated granules and images with known truth, and a server for them.",
)
_errors = Console(stderr=True)


@app.command()
def make(
    preset: Annotated[str, typer.Argument(help="Kind of scene: " + PRESET_NAMES + ".")],
    out: Annotated[Path, typer.Option(help="Folder to write to.")] = Path("twin"),
    seed: Annotated[int, typer.Option(help="Same seed, same bytes.")] = 1,
    length_km: Annotated[float, typer.Option(min=1.0, help="Length of the pass.")] = 20.0,
    beams: Annotated[str, typer.Option(help="strong, weak, all, or one beam.")] = "strong",
    release: Annotated[str, typer.Option(help="ATL03 release: 006 or 007.")] = "006",
    image: Annotated[bool, typer.Option(help="Write a Sentinel-2 image too.")] = True,
    minutes: Annotated[float, typer.Option(help="Time of the image after the pass.")] = 20.0,
    size_km: Annotated[float, typer.Option(min=0.2, max=109.8, help="Side of the image.")] = 20.0,
    level: Annotated[str, typer.Option(help="l2a (surface) or l1c (top of atmosphere).")] = "l2a",
    baseline: Annotated[str, typer.Option(help="Processing baseline of the image.")] = "05.00",
    as_json: Annotated[bool, typer.Option("--json", help="Print the paths as JSON.")] = False,
) -> None:
    """Write a simulated ATL03 granule, a Sentinel-2 image of the same ice, and the truth apart.

    Example: is2ice twin make ross_sea_november --seed 7 --length-km 20 --out demo
    """
    from is2ice.twin.icesat2.atl03 import make_granule
    from is2ice.twin.scene.presets import PRESETS
    from is2ice.twin.scene.scene import Scene
    from is2ice.twin.sentinel2.image import MIN_SUN
    from is2ice.twin.sentinel2.make_scene import make_scene

    if preset not in PRESETS:
        raise typer.BadParameter(f"unknown preset {preset!r}; expected one of {', '.join(PRESETS)}")
    others = [p.stem for p in (out / "truth").glob("*.nc") if p.stem != f"{preset}_{seed}"]
    if others:
        raise typer.BadParameter(
            f"{out} holds another pass ({', '.join(sorted(others))}) whose files have the same names; "
            "choose another --out"
        )
    scene = Scene.preset(preset, seed=seed, length_km=length_km)
    made: dict[str, str] = {}
    try:
        with _errors.status("photons") as status:
            folder = out / f"ATL03_{release}"
            (out / "truth").mkdir(parents=True, exist_ok=True)
            truth = out / "truth" / f"{preset}_{seed}.nc"
            granule = make_granule(
                scene,
                folder,
                beams=beams,
                release=release,
                truth_path=truth,
                progress=lambda beam, share: status.update(f"photons of {beam}: {share:.0%}"),
            )
            made |= {"granule": str(granule), "truth": str(truth)}
            if image and scene.sun_elevation < MIN_SUN:
                _errors.print(f"no image: the sun stands at {scene.sun_elevation:.0f} degrees")
            elif image:
                status.update("Sentinel-2 image")
                item = make_scene(
                    scene, out, minutes=minutes, size_km=size_km, level=level, baseline=baseline
                )
                made["image"] = str(item)
    except ValueError as fault:
        _errors.print(f"is2ice: error: {fault}", markup=False)
        raise typer.Exit(2) from fault
    typer.echo(json.dumps(made) if as_json else "\n".join(f"{k:8} {v}" for k, v in made.items()))


@app.command()
def serve(
    folder: Annotated[Path, typer.Argument(help="Granules and scenes, as `make` writes them.")],
    host: Annotated[str, typer.Option(help="Address to bind.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Of the files; 0 takes a free one.")] = 0,
    stac_port: Annotated[int, typer.Option(help="Of the STAC API; 0 takes a free one.")] = 0,
    seconds: Annotated[float | None, typer.Option(help="Stop after this time.")] = None,
) -> None:
    """Put a folder behind a STAC API and a file server with range requests, until interrupted.

    Example: is2ice twin serve demo --stac-port 7822
    """
    from is2ice.twin.server.local_archive import CloudError
    from is2ice.twin.server.local_archive import serve as run

    def ready(cloud: LocalCloud) -> None:
        typer.echo(f"files     {cloud.url}\nSTAC API  {cloud.stac_url}  ({cloud.listed} items)")
        typer.echo("Ctrl-C stops both.")

    try:
        traffic = run(folder, host, port, stac_port, seconds=seconds, ready=ready)
    except CloudError as fault:
        _errors.print(f"is2ice: error: {fault}", markup=False)
        raise typer.Exit(2) from fault
    typer.echo(
        f"{traffic.requests} requests, {traffic.partial} of byte ranges, {traffic.sent / 1e6:.1f} MB sent"
    )


@app.command()
def statistics() -> None:
    """Simulate a small campaign and print its numbers beside the genuine ones; 1 where one is out of tolerance."""
    from is2ice.twin.statistics import main

    raise typer.Exit(main())


@app.command()
def sample(
    folder: Annotated[Path, typer.Argument(help="Folder of the sample.")] = Path("sample_data"),
    check: Annotated[
        bool, typer.Option("--check", help="Only compare the files there with their hashes.")
    ] = False,
) -> None:
    """Make the committed sample again, bit for bit, or check it.

    Example: is2ice twin sample sample_data --check
    """
    from is2ice.twin.sample import check_sample, make_sample

    if check:
        wrong = check_sample(folder)
        typer.echo("\n".join(f"differs  {name}" for name in wrong) or f"{folder}: every file as listed")
        raise typer.Exit(1 if wrong else 0)
    for name, digest in make_sample(folder).items():
        typer.echo(f"{digest}  {name}")

"""Commands of the twin: ``is2ice twin make``, ``serve`` and ``statistics``."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .console import AsJson, err, expand_flags, out, print_json

if TYPE_CHECKING:
    from is2ice.twin.server.local_archive import LocalCloud

__all__ = ["app"]

#: Spelled out, since importing the presets would load the simulator for every --help; a test keeps it current.
PRESET_NAMES = (
    "ross_sea_november, arctic_winter_night, marginal_ice_zone, arctic_melt_season, cloudy, no_leads"
)

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="The twin: simulated granules and images with known truth, and a server for them.",
)


@dataclass(frozen=True)
class ImageFlags:
    """Flags of the simulated image."""

    image: Annotated[bool, typer.Option("--image/--no-image", help="Write a Sentinel-2 image too.")] = True
    minutes: Annotated[float, typer.Option("--minutes", help="Time from the pass to the image, minutes.")] = (
        20.0
    )
    size_km: Annotated[
        float, typer.Option("--size-km", min=0.2, max=109.8, help="Side of the image, km.")
    ] = 20.0
    level: Annotated[str, typer.Option("--level", help="l2a (surface) or l1c (top of atmosphere).")] = "l2a"
    baseline: Annotated[str, typer.Option("--baseline", help="Processing baseline of the image.")] = "05.00"

    def options(self) -> dict[str, Any]:
        """Return the keywords of the image."""
        return {k: v for k, v in vars(self).items() if k != "image"}


@app.command()
@expand_flags
def make(
    preset: Annotated[str, typer.Argument(help="Kind of scene: " + PRESET_NAMES + ".")],
    image: ImageFlags,
    folder: Annotated[Path, typer.Option("--out", help="Folder to write to.")] = Path("twin"),
    seed: Annotated[int, typer.Option("--seed", help="Same seed, same bytes.")] = 1,
    length_km: Annotated[float, typer.Option("--length-km", min=1.0, help="Length of the pass, km.")] = 20.0,
    beams: Annotated[str, typer.Option("--beams", help="strong, weak, all, or one beam.")] = "strong",
    release: Annotated[str, typer.Option("--release", help="ATL03 release: 006 or 007.")] = "006",
    as_json: AsJson = False,
) -> None:
    """Write a simulated ATL03 granule, a Sentinel-2 image of the same ice, and the truth apart.

    Example: is2ice twin make ross_sea_november --seed 7 --length-km 20 --out demo
    """
    from is2ice.twin.icesat2.atl03 import make_granule
    from is2ice.twin.scene.scene import Scene
    from is2ice.twin.sentinel2.image import MIN_SUN
    from is2ice.twin.sentinel2.make_scene import make_scene

    _check_target(preset, seed, folder)
    scene = Scene.preset(preset, seed=seed, length_km=length_km)
    made: dict[str, str] = {}
    with err.status("photons") as status:
        (folder / "truth").mkdir(parents=True, exist_ok=True)
        truth = folder / "truth" / f"{preset}_{seed}.nc"
        granule = make_granule(
            scene,
            folder / f"ATL03_{release}",
            beams=beams,
            release=release,
            truth_path=truth,
            progress=lambda beam, share: status.update(f"photons of {beam}: {share:.0%}"),
        )
        made |= {"granule": str(granule), "truth": str(truth)}
        if image.image and scene.sun_elevation < MIN_SUN:
            err.print(f"no image: the sun stands at {scene.sun_elevation:.0f} degrees")
        elif image.image:
            status.update("Sentinel-2 image")
            made["image"] = str(make_scene(scene, folder, **image.options()))
    if as_json:
        print_json(made)
    else:
        for name, path in made.items():
            out.print(f"{name:8} {path}")


def _check_target(preset: str, seed: int, folder: Path) -> None:
    """Refuse an unknown preset, and a folder that holds another pass."""
    from is2ice.twin.scene.presets import PRESETS

    if preset not in PRESETS:
        raise typer.BadParameter(f"unknown preset {preset!r}; expected one of {', '.join(PRESETS)}")
    others = [p.stem for p in (folder / "truth").glob("*.nc") if p.stem != f"{preset}_{seed}"]
    if others:
        raise typer.BadParameter(
            f"{folder} holds another pass ({', '.join(sorted(others))}) whose files have the same names; "
            "choose another --out"
        )


@app.command()
def serve(
    folder: Annotated[Path, typer.Argument(help="Granules and scenes, as `make` writes them.")],
    host: Annotated[str, typer.Option(help="Address to bind.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", help="Port of the files; 0 takes a free one.")] = 0,
    stac_port: Annotated[
        int, typer.Option("--stac-port", help="Port of the STAC API; 0 takes a free one.")
    ] = 0,
    seconds: Annotated[float | None, typer.Option(help="Stop after this time.")] = None,
) -> None:
    """Serve a folder by a STAC API and a file server with range requests, until interrupted.

    Example: is2ice twin serve demo --stac-port 7822
    """
    from is2ice.twin.server.local_archive import CloudError
    from is2ice.twin.server.local_archive import serve as run

    def ready(cloud: LocalCloud) -> None:
        out.print(f"files     {cloud.url}\nSTAC API  {cloud.stac_url}  ({cloud.listed} items)")
        out.print("Ctrl-C stops both.")

    try:
        traffic = run(folder, host, port, stac_port, seconds=seconds, ready=ready)
    except CloudError as fault:
        err.print(f"is2ice: error: {fault}")
        raise typer.Exit(2) from fault
    out.print(
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
        out.print("\n".join(f"differs  {name}" for name in wrong) or f"{folder}: every file as listed")
        raise typer.Exit(1 if wrong else 0)
    for name, digest in make_sample(folder).items():
        out.print(f"{digest}  {name}")
    for line in _label_sample(folder):
        out.print(line)


#: Beams of the sample that its image covers, and seed and beams of the other labelled pass, whose image is not kept.
_LABELLED_BEAMS, _OTHER_SEED, _OTHER_BEAMS = ("gt2r",), 1117, ("gt2r", "gt3r")
TRAIN = """# Try it: is2ice train train.toml --out model
labelled = ["labelled.zarr"]
model = "model"
seed = 3  # of three tracks, this one trains on the track that holds all classes

[training]
epochs = 10
class_weights = "balanced"
"""


def _label_sample(folder: Path) -> Iterator[str]:
    """Write the labelled tracks of the sample and of another pass, by the true displacement of the ice."""
    from is2ice.twin.sample import LABELLED, LENGTH_KM, make_pass

    store = folder / LABELLED
    shutil.rmtree(store, ignore_errors=True)
    granule, item = next(folder.glob("ATL03_*.h5")), next(folder.glob("sentinel-2-l2a/S2*/S2*.json"))
    yield from _label_pass(store, granule, item, _LABELLED_BEAMS)
    with tempfile.TemporaryDirectory() as scratch:
        yield from _label_pass(store, *make_pass(scratch, _OTHER_SEED, LENGTH_KM), _OTHER_BEAMS)
    # A wheel would hold what the links of a store lead to in their place, and not the tracks themselves.
    for links in store.glob("ATL03_*"):
        shutil.rmtree(links)
    (folder / "train.toml").write_text(TRAIN)


def _label_pass(store: Path, granule: Path, item: Path, beams: Iterable[str]) -> Iterator[str]:
    from is2ice.io.stores import store as stores
    from is2ice.science.labels.drift import Drift
    from is2ice.twin.sample import true_shift
    from is2ice.workflows.label_pass import label_pass

    done = label_pass(granule, item, drift=Drift(*true_shift(), "EPSG:3976"))
    for beam in beams:
        stores.write_track(done.segments.sel(beam=[beam]), store)
        yield f"labelled  {granule.stem} {beam}"
    stores.consolidate(store)

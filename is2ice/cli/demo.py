"""Command ``is2ice demo``: the whole chain on simulated passes, offline, scored against the truth."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from .console import out as console

if TYPE_CHECKING:
    import xarray as xr

    from is2ice.twin.scores import Score

__all__ = ["app", "demo"]

app = typer.Typer(add_completion=False)

#: Passes to train on, the last one to choose the epoch by; their length and the side of their images, km.
PASSES, LENGTH_KM, SIZE_KM = 4, 26.0, 22.0
EPOCHS = 8


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder to write to.")] = Path("demo"),
    preset: Annotated[str, typer.Option(help="Kind of scene.")] = "ross_sea_november",
    seed: Annotated[int, typer.Option(help="Same seed, same scene.")] = 2019,
    length_km: Annotated[float, typer.Option(min=10.0, help="Length of the pass.")] = 60.0,
    engine: Annotated[str, typer.Option(help="serial, processes or dask.")] = "serial",
    train: Annotated[
        bool, typer.Option("--train/--no-train", help="Train a classifier on other passes too (minutes).")
    ] = False,
) -> None:
    """Simulate a pass, run the whole chain on it, score it against the truth and draw it.

    The pass is classified by the model that comes trained with the package, and by the tree. With --train other passes
    are labelled from simulated Sentinel-2 images, a classifier is trained on the labels, and the pass, which it has not
    seen, is classified with it as well. The truth is not read before the score.

    Example: is2ice demo --preset marginal_ice_zone --seed 3 --out demo
    """
    from is2ice.errors import require
    from is2ice.twin.icesat2.atl03 import make_granule
    from is2ice.twin.scene.presets import PRESETS
    from is2ice.twin.scene.scene import Scene
    from is2ice.twin.scores import score
    from is2ice.twin.truth import open_truth
    from is2ice.workflows.opening import open_track
    from is2ice.workflows.run import run as run_tracks

    if preset not in PRESETS:
        raise typer.BadParameter(f"unknown preset {preset!r}; expected one of {', '.join(PRESETS)}")
    require("matplotlib")
    started = time.perf_counter()

    def step(text: str) -> None:
        console.print(f"{time.perf_counter() - started:5.0f} s  {text}")

    out.mkdir(parents=True, exist_ok=True)
    step(f"simulating {length_km:.0f} km of {preset} (seed {seed}), three strong beams, photon by photon")
    scene = Scene.preset(preset, seed=seed, length_km=length_km)
    truth_path = out / "truth.nc"
    granule_path = make_granule(
        scene,
        out,
        truth_path=truth_path,
        progress=lambda beam, share: step(f"photons of {beam}") if share == 1.0 else None,
    )
    step(f"{granule_path.name}: {granule_path.stat().st_size / 1e6:.0f} MB as the archive would serve it")

    store = out / "demo.zarr"
    step("photons -> 2 m segments -> classes -> sea surface -> freeboard -> Zarr")
    run = run_tracks([granule_path], store, engine=engine, progress=None)
    console.print(run.report())
    if not run.ok:
        raise typer.Exit(1)

    models: dict[str, str | Path] = {"tree": "radiometric"}
    if train and (trained := _train(out, preset, seed, step, console.print)) is not None:
        models["trained"] = trained
    from is2ice.workflows.reclassify import reclassify

    stores = {"shipped": store}
    for name, model in models.items():
        step(f"classifying the pass with the {name} classifier; sea surface and freeboard follow")
        stores[name] = out / f"demo_{name}.zarr"
        again = reclassify(store, stores[name], model, engine=engine, overwrite="always")
        if not again.ok:
            console.print(again.report())
            raise typer.Exit(1)

    step("opening the stores again and scoring them against the truth")
    truth = open_truth(truth_path)
    tracks = {k: open_track(path, granule=granule_path.stem) for k, path in stores.items()}
    scores = {name: score(track, truth) for name, track in tracks.items()}
    best = "trained" if "trained" in scores else "shipped"
    console.print(scores[best].table())
    console.print("\n".join(_side_by_side(scores)))
    (out / "score.json").write_text(json.dumps({k: s.to_dict() for k, s in scores.items()}, indent=1))
    pictures = _draw(tracks[best], granule_path, out, truth)
    step(f"done: {', '.join(map(str, [*pictures, *stores.values(), out / 'score.json']))}")


# -- training -----------------------------------------------------------------------------------------
@dataclass(frozen=True)
class _Pass:
    """A pass to train on, simulated from its number, so that any process can make it."""

    number: int
    preset: str
    seed: int
    folder: str
    length_km: float = LENGTH_KM
    size_km: float = SIZE_KM

    def __str__(self) -> str:
        return f"training pass {self.number + 1}"


def _labelled(item: _Pass) -> str:
    """Simulate a pass and its image, label the one from the other, store it, and describe the outcome."""
    from is2ice import schema
    from is2ice.io.stores import store as stores
    from is2ice.science.labels import transfer
    from is2ice.twin.icesat2.atl03 import make_granule
    from is2ice.twin.scene.presets import PRESETS
    from is2ice.twin.scene.scene import Scene
    from is2ice.twin.sentinel2.make_scene import make_scene
    from is2ice.workflows.label_pass import label_pass

    folder = Path(item.folder) / f"pass_{item.number + 1}"
    folder.mkdir(parents=True, exist_ok=True)
    day = PRESETS[item.preset].start_time - timedelta(days=item.number + 1)
    scene = Scene.preset(
        item.preset,
        seed=item.seed + 100 * (item.number + 1),
        length_km=item.length_km,
        overpass=day.isoformat(),
    )
    granule = make_granule(scene, folder)
    image = make_scene(scene, folder, minutes=12.0 + 6.0 * item.number, size_km=item.size_km, samples=1)
    done = label_pass(granule, image)
    for beam in done.segments["beam"].values:
        stores.write_track(done.segments.sel(beam=[beam]), folder / "labelled.zarr")
    (drift,) = done.drifts.values()
    found = transfer.summary(done.segments)
    counts = ", ".join(f"{found[k]:,} {k.replace('_', ' ')}" for k in (*schema.CLASSES, "unlabelled"))
    return f"ice moved {drift.distance:.0f} m between pass and image; {counts}"


def _train(
    out: Path, preset: str, seed: int, step: Callable[[str], None], say: Callable[[str], None]
) -> Path | None:
    """Label other passes from their images and train on them; report the reason and return None if that fails."""
    from is2ice import engines

    if find_spec("tensorflow") is None:
        step("no TensorFlow here: nothing is trained")
        return None
    step(f"simulating {PASSES} more passes with Sentinel-2 images, and labelling them (two at a time)")
    items = [_Pass(k, preset, seed, str(out / "training"), LENGTH_KM, SIZE_KM) for k in range(PASSES)]
    made: list[_Pass] = []
    for item, result in engines.map(_labelled, items, "processes", workers=2):
        if isinstance(result, BaseException):
            step(f"{item}: no labels: {result}")
        else:
            made.append(item)
            step(f"{item}: {result}")
    if len(made) < 2:
        step("too few labelled passes to train on")
        return None
    return _fit(sorted(made, key=lambda item: item.number), out, seed, step, say)


def _fit(
    made: list[_Pass], out: Path, seed: int, step: Callable[[str], None], say: Callable[[str], None]
) -> Path:
    from is2ice.classifiers.neural import Neural
    from is2ice.classifiers.training import one_thread
    from is2ice.io.stores import store as stores

    one_thread()
    cubes = [
        stores.open_track(Path(item.folder) / f"pass_{item.number + 1}" / "labelled.zarr", chunks=None)
        for item in made
    ]
    step(f"training on {len(cubes) - 1} passes, the last one chooses the epoch")

    def report(row: dict[str, float]) -> None:
        say(
            f"         loss {row['loss']:.4f}  other pass: loss {row['val_loss']:.4f}, accuracy "
            f"{row['val_accuracy']:.4f}, macro-F1 {row['val_macro_f1']:.3f}  ({row['seconds']:.1f} s)"
        )

    model = Neural.fit(
        cubes[:-1], cubes[-1], "default", epochs=EPOCHS, patience=2, seed=seed, progress=report
    )
    model.save(out / "model", overwrite=True)
    return out / "model"


# -- results ------------------------------------------------------------------------------------------
def _side_by_side(scores: dict[str, Score]) -> list[str]:
    """Write one row per classifier: segments away from class edges, and freeboard of all segments."""
    names = ("thick", "thin", "water")
    lines = [
        "",
        f"{'away from class edges':24}{'accuracy':>10}{'macro-F1':>10}"
        + "".join(f"{'recall ' + n:>14}" for n in names)
        + f"{'freeboard bias':>16}{'RMSE cm':>9}",
    ]
    for name, result in scores.items():
        c, freeboard = result.interior.point, result.all.freeboard
        if c is None or freeboard is None:
            continue
        lines.append(
            f"{name:24}{c.accuracy:>10.4f}{c.macro_f1:>10.4f}"
            + "".join(f"{r:>14.3f}" for r in c.recall)
            + f"{100 * freeboard.bias:>16.2f}{100 * freeboard.rmse:>9.2f}"
        )
    return [*lines, ""]


def _draw(track: xr.Dataset, granule_path: Path, out: Path, truth: Any) -> list[Path]:
    from is2ice.io.icesat2.atl03 import Granule, Subset
    from is2ice.reports import plot_track

    leads = track["lead_index"].max("x_atc").values
    beam = str(track["beam"].values[int(np.argmax(leads))])  # the beam with the most leads
    window = _window(track.sel(beam=beam))
    with Granule(granule_path) as granule:
        photons = granule.photons(beam, Subset(x_atc=window))
    part = track.sel(beam=beam, x_atc=slice(*window))
    pictures: list[tuple[str, Any, Any]] = [
        ("quicklook.png", track.sel(beam=beam), None),
        ("quicklook_5km.png", part, photons),
    ]
    for name, ds, ph in pictures:
        plot_track.quicklook(ds, ph, path=out / name, truth=truth[beam])
    return [out / name for name, _, _ in pictures]


def _window(track: xr.Dataset, length: float = 5000.0) -> tuple[float, float]:
    """Return five kilometres about the first lead, or the first five of the track."""
    x = track["x_atc"].values
    lead = (track["lead_index"].values >= 0).nonzero()[0]
    middle = x[lead[0]] if lead.size else x[0] + length / 2
    start = min(max(middle - length / 2, x[0]), max(x[0], x[-1] - length))
    return float(start), float(start + length)

"""The whole chain on a simulated pass, offline, scored against the truth: ``is2ice demo``."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console

__all__ = ["app", "demo"]

app = typer.Typer(add_completion=False)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder to write to.")] = Path("demo"),
    preset: Annotated[str, typer.Option(help="Kind of scene.")] = "ross_sea_november",
    seed: Annotated[int, typer.Option(help="Same seed, same scene.")] = 2019,
    length_km: Annotated[float, typer.Option(min=10.0, help="Length of the pass.")] = 60.0,
    engine: Annotated[str, typer.Option(help="serial, processes or dask.")] = "serial",
) -> None:
    """Simulate a pass, run the whole chain on it, score it against the truth and draw it.

    Nothing of the truth is read before the score.

    Example: is2ice demo --preset marginal_ice_zone --seed 3 --out demo
    """
    from .. import pipeline, plot
    from ..atl03 import Granule, Subset
    from .atl03 import make_granule
    from .presets import PRESETS
    from .scene import Scene
    from .scores import score
    from .truth import open_truth

    if preset not in PRESETS:
        raise typer.BadParameter(f"unknown preset {preset!r}; expected one of {', '.join(PRESETS)}")
    say = Console(soft_wrap=True, highlight=False)
    started = time.perf_counter()

    def step(text: str) -> None:
        say.print(f"[bold]{time.perf_counter() - started:5.0f} s[/bold]  {text}")

    out.mkdir(parents=True, exist_ok=True)
    step(f"simulating {length_km:.0f} km of {preset} (seed {seed}), three strong beams, photon by photon")
    scene = Scene.preset(preset, seed=seed, length_km=length_km)
    truth_path = out / "truth.nc"
    granule_path = make_granule(scene, out, truth_path=truth_path)
    step(f"{granule_path.name}: {granule_path.stat().st_size / 1e6:.0f} MB as the archive would serve it")

    store = out / "demo.zarr"
    step("photons -> 2 m segments -> classes -> sea surface -> freeboard -> Zarr")
    run = pipeline.run([granule_path], store, engine=engine, progress=None)
    say.print(run.report())
    if not run.ok:
        raise typer.Exit(1)

    step("opening the store again and scoring it against the truth")
    track = pipeline.open_track(store, granule=granule_path.stem)
    result = score(track, open_truth(truth_path))
    say.print(result.table())
    (out / "score.json").write_text(json.dumps(result.to_dict(), indent=1))

    # The beam with the most leads shows most.
    pieces = track["lead_index"].max("x_atc").values
    beam = str(track["beam"].values[int(np.argmax(pieces))])
    window = _window(track.sel(beam=beam))
    with Granule(granule_path) as granule:
        photons = granule.photons(beam, Subset(x_atc=window))
    part = track.sel(beam=beam, x_atc=slice(*window))
    for name, ds, ph in (("quicklook.png", track.sel(beam=beam), None), ("quicklook_5km.png", part, photons)):
        plot.quicklook(ds, ph, path=out / name)
    step(f"done: {out / 'quicklook.png'}, {out / 'quicklook_5km.png'}, {store}, {out / 'score.json'}")


def _window(track, length: float = 5000.0) -> tuple[float, float]:  # type: ignore[no-untyped-def]
    """Five kilometres about the first lead, or the first five of the track."""
    x = track["x_atc"].values
    lead = (track["lead_index"].values >= 0).nonzero()[0]
    middle = x[lead[0]] if lead.size else x[0] + length / 2
    start = min(max(middle - length / 2, x[0]), max(x[0], x[-1] - length))
    return float(start), float(start + length)

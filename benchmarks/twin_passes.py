"""Simulated passes with images of the same ice, labelled as genuine ones are, kept in a folder for reuse.

The truth lies beside each pass and is read by nothing but scores. Drift, hour of the image, day and track differ
from seed to seed; labels come from :func:`is2ice.workflows.label_pass.label_pass`, drift estimate and cloud
filter and all. A
pass whose displacement is refused has no labels and trains nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import xarray as xr

from is2ice import open_track
from is2ice.classifiers import radiometric
from is2ice.io.stores import store
from is2ice.twin import PRESETS, Scene, make_granule
from is2ice.twin.sentinel2.make_scene import make_scene
from is2ice.workflows.label_pass import LabellingError, label_pass


@dataclass(frozen=True)
class Case:
    """One pass; ``image_km`` is the side of its image, 0 for none (a pass that is only scored)."""

    preset: str
    seed: int
    length_km: float
    image_km: float = 0.0

    @property
    def name(self) -> str:
        return f"{self.preset}_{self.seed}"


#: Passes to learn from, to choose the epoch and the temperature by, and to be scored on.
TRAIN = (
    *(Case("ross_sea_november", seed, 26, 22) for seed in range(101, 108)),
    *(Case("marginal_ice_zone", seed, 24, 20) for seed in (201, 202)),
)
VALIDATION = (Case("ross_sea_november", 108, 26, 22),)
TEST = (
    *(Case("ross_sea_november", seed, 40) for seed in (11, 12, 13, 14)),
    Case("marginal_ice_zone", 21, 30),
    Case("cloudy", 31, 30),
    Case("no_leads", 41, 20),
    Case("arctic_winter_night", 51, 30),
)


def scene_of(case: Case) -> tuple[Scene, float]:
    """The scene of a case, and the minutes from pass to image."""
    rng = np.random.default_rng(case.seed)
    speed, angle = rng.uniform(0.0, 0.22), rng.uniform(0, 2 * np.pi)
    preset, shift = PRESETS[case.preset], case.seed % 20
    day = datetime.fromisoformat(preset.overpass) + timedelta(days=shift - 10)
    scene = Scene.preset(
        case.preset,
        seed=case.seed,
        length_km=case.length_km,
        overpass=day.isoformat(),
        drift=(speed * np.cos(angle), speed * np.sin(angle)),
        rgt=(preset.rgt + 15 * shift - 1) % 1387 + 1,
    )
    return scene, float(rng.uniform(8, 60))


def prepare(case: Case, folder: Path, transition: float) -> Path:
    """Folder of a case with ``track.zarr`` (all six beams, labelled where there is an image) and ``truth.nc``."""
    home = folder / case.name
    done = home / "case.json"
    if done.exists() and json.loads(done.read_text())["transition"] == transition:
        return home
    print(f"simulating {case.name} ...", flush=True)
    scene, minutes = scene_of(case)
    granule = make_granule(scene, home, beams="all", truth_path=home / "truth.nc")
    report = {"transition": transition, "labelled": False, "drift": "no image"}
    segments = None
    if case.image_km:
        item = make_scene(scene, home, minutes=minutes, size_km=case.image_km)
        try:
            labelled = label_pass(granule, item, beams="all", transition=transition)
            segments = labelled.segments
            report |= {"labelled": True, "drift": "; ".join(d.reason for d in labelled.drifts.values())}
        except LabellingError as error:
            report["drift"] = str(error)
    if segments is None:
        segments = radiometric.classify(open_track(granule, "all").load())
    for beam in segments["beam"].values:
        store.write_track(segments.sel(beam=[beam]), home / "track.zarr")
    store.consolidate(home / "track.zarr")
    granule.unlink()
    done.write_text(json.dumps(report))
    return home


def cube(home: Path, beams: str = "all") -> xr.Dataset:
    """The tracks of a prepared case, in memory."""
    where = home / "track.zarr"
    (granule,) = store.open_store(where).granules
    ds = store.open_track(where, granule=granule, chunks=None)
    odd = ds["spot"].values % 2 == 1
    return ds if beams == "all" else ds.isel(beam=odd if beams == "strong" else ~odd)


def labelled(folder: Path, cases: tuple[Case, ...], beams: str) -> list[xr.Dataset]:
    """Cubes of the cases that have labels."""
    return [
        cube(folder / c.name, beams)
        for c in cases
        if json.loads((folder / c.name / "case.json").read_text())["labelled"]
    ]


def tracks(home: Path, beams: str) -> Iterator[xr.Dataset]:
    """The tracks of a prepared case, one by one, without labels."""
    ds = cube(home, beams).drop_vars(["label", "label_flags"], errors="ignore")
    for b, beam in enumerate(ds["beam"].values):
        yield ds.isel(beam=b, drop=True).assign_attrs(beam=str(beam), spot=int(ds["spot"].values[b]))

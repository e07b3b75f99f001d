"""Simulated passes whose physics are drawn for each of them, kept in a folder for reuse.

Passes to learn from, passes with the first optics to judge by (other draws of the same ranges), and passes with the
second optics, which nothing learns from (draws of the same ranges, too). A pass is one strong and one weak beam,
resampled, with the truth beside it.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import xarray as xr

from is2ice import open_track
from is2ice.twin import Scene, make_granule, open_truth, truth_for
from is2ice.twin.scene.physics import perturbed

A, B = TypeVar("A"), TypeVar("B")

#: The track of one strong and of one weak beam of a pass that flies forward.
BEAMS = ("gt1r", "gt1l")
#: Distance between the leads of "leads" over that of the preset.
CLOSER = 0.35


@dataclass(frozen=True)
class Pass:
    """One simulated pass.

    Attributes
    ----------
    preset : str
    seed : int
    length_km : float
    physics : {"perturbed", "leads", "default"}
        Drawn; drawn, with leads much closer together than anywhere, to learn of many kinds of them; or the preset's.
    optics : {"strip", "rays"}
    """

    preset: str
    seed: int
    length_km: float
    physics: str = "perturbed"
    optics: str = "strip"

    @property
    def name(self) -> str:
        """Folder of the pass."""
        return f"{self.preset}_{self.physics}_{self.optics}_{self.seed}"

    @property
    def release(self) -> str:
        """ATL03 release: both are learnt from and judged by."""
        return "007" if self.seed % 2 else "006"

    def scene(self) -> Scene:
        """The scene, with physics of its own unless they are the preset's."""
        if self.physics == "default":
            return Scene.preset(self.preset, seed=self.seed, length_km=self.length_km)
        made = perturbed(self.preset, self.seed)
        if self.physics == "leads":
            made = replace(made, lead_spacing=CLOSER * made.lead_spacing)
        return Scene(made, self.seed, self.length_km, made.start_time)


ROSS, EDGE, NIGHT = "ross_sea_november", "marginal_ice_zone", "arctic_winter_night"
#: Lengths of the passes to learn from, km: what a region tells of its leads depends on how much of it is seen.
LENGTHS = (8.0, 12.0, 16.0, 28.0)


def _drawn(preset: str, first: int, number: int, physics: str = "perturbed") -> tuple[Pass, ...]:
    """Passes to learn from; every length in both releases."""
    seeds = range(first, first + number)
    return tuple(Pass(preset, seed, LENGTHS[seed // 2 % len(LENGTHS)], physics) for seed in seeds)


TRAIN = (
    *_drawn(ROSS, 10_000, 120),
    *_drawn(ROSS, 13_000, 120, "leads"),
    *_drawn(EDGE, 11_000, 24),
    *_drawn(NIGHT, 12_000, 20),
    *_drawn(NIGHT, 14_000, 20, "leads"),
)
#: To choose by: all that is compared while a model is made is compared here.
CHOOSE = (
    *(Pass(ROSS, seed, 20.0) for seed in range(2000, 2024)),
    *(Pass(EDGE, seed, 12.0) for seed in range(2100, 2106)),
    *(Pass(NIGHT, seed, 16.0) for seed in range(2200, 2206)),
)
#: To judge by, once, after a model is made.
JUDGES = {
    "default physics": tuple(Pass(ROSS, seed, 20.0, "default") for seed in range(93_400, 93_412)),
    "perturbed physics": tuple(Pass(ROSS, seed, 20.0) for seed in range(93_300, 93_324)),
    "second optics": tuple(Pass(ROSS, seed, 20.0, "perturbed", "rays") for seed in range(94_300, 94_324)),
    "perturbed marginal ice zone": tuple(Pass(EDGE, seed, 12.0) for seed in range(93_500, 93_506)),
    "perturbed winter night": tuple(Pass(NIGHT, seed, 20.0) for seed in range(93_600, 93_608)),
}


def prepare(case: Pass, folder: Path) -> Path:
    """Folder of a pass with ``segments.nc`` and ``truth.nc``, simulated unless it is there."""
    home = folder / case.name
    done = home / "segments.nc"
    if done.exists():
        return home
    home.mkdir(parents=True, exist_ok=True)
    granule = make_granule(
        case.scene(),
        home,
        beams=list(BEAMS),
        release=case.release,
        optics=case.optics,
        truth_path=home / "truth.nc",
    )
    segments = open_track(granule, "all").load()
    part = done.with_suffix(".part")
    segments.to_netcdf(part, engine="h5netcdf")
    part.replace(done)
    granule.unlink()
    return home


def mapped(function: Callable[[A], B], items: Iterable[A]) -> list[B]:
    """Results for all items in order, from as many processes as this one has processors."""
    workers = len(os.sched_getaffinity(0))
    if workers == 1:
        return [function(item) for item in items]
    # Copies of this process (fork) would wait for ever for TensorFlow's threads, which the copy does not have.
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        return pool.map(function, items, 1)


def tracks(case: Pass, folder: Path) -> list[tuple[xr.Dataset, xr.Dataset]]:
    """Segments and truth of each beam of a pass."""
    home = prepare(case, folder)
    with xr.open_dataset(home / "segments.nc", engine="h5netcdf", decode_times=False) as ds:
        cube = ds.load()
    truth = open_truth(home / "truth.nc")
    out = []
    for b, beam in enumerate(cube["beam"].values):
        track = cube.isel(beam=b, drop=True).assign_attrs(beam=str(beam), spot=int(cube["spot"].values[b]))
        out.append((track, truth_for(track, truth)))
    return out

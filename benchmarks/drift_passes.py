"""Passes with an image of the same ice some minutes later, kept in a folder for reuse by ``benchmarks/drift.py``.

All passes of a set fly over the same place, so any pass can be laid over the image of any other: another scene, on
another day. Those of ``CHOOSE`` served to choose the rule by which a displacement is accepted; those of ``JUDGE`` are
other seeds, and judge it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import xarray as xr

from is2ice.classifiers import radiometric
from is2ice.io.icesat2.lazy_cube import open_cube
from is2ice.sentinel2 import scene as sentinel2
from is2ice.twin import Scene, make_granule
from is2ice.twin.scene.physics import perturbed
from is2ice.twin.sentinel2.make_scene import make_scene

PRESET = "ross_sea_november"
BANDS = ("B02", "B03", "B04", "B08")


@dataclass(frozen=True)
class Case:
    """A pass and its image.

    Attributes
    ----------
    kind : {"default", "drawn", "rays"}
        The preset's physics; drawn ones; drawn ones seen through the second optics.
    seed : int
    size_km : float
        Side of the image.
    samples : int
        Points per pixel side of the image.
    """

    kind: str
    seed: int
    size_km: float = 14.0
    samples: int = 3

    @property
    def name(self) -> str:
        """Folder of the pass."""
        return f"{self.kind}_{self.seed}_{self.size_km:g}_{self.samples}"

    @property
    def velocity(self) -> tuple[float, float]:
        """Drift of the ice, m/s."""
        rng = np.random.default_rng([self.seed, 77])
        speed, angle = rng.uniform(0.0, 0.22), rng.uniform(0.0, 2.0 * np.pi)
        return float(speed * np.cos(angle)), float(speed * np.sin(angle))

    @property
    def minutes(self) -> float:
        """Time of the image after the pass."""
        return float(np.random.default_rng([self.seed, 78]).uniform(8.0, 60.0))

    @property
    def shift(self) -> np.ndarray:
        """True displacement (dx, dy), m."""
        return np.array(self.velocity) * self.minutes * 60.0

    def scene(self) -> Scene:
        """The scene, under a sun that stands where it does for the preset."""
        if self.kind == "default":
            return Scene.preset(
                PRESET, seed=self.seed, length_km=self.size_km + 4, drift=self.velocity, cloud_cover=0.0
            )
        made = perturbed(PRESET, self.seed)
        made = replace(made, overpass="2019-11-16T19:34:12", drift=self.velocity)
        return Scene(made, self.seed, self.size_km + 4, made.start_time)


CHOOSE = tuple(
    Case(kind, seed)
    for kind, first in (("default", 610), ("drawn", 620), ("rays", 630))
    for seed in range(first, first + 3)
)
JUDGE = tuple(
    Case(kind, seed)
    for kind, first in (("default", 710), ("drawn", 720), ("rays", 730))
    for seed in range(first, first + 4)
)


def prepare(case: Case, folder: Path) -> tuple[xr.Dataset, xr.Dataset]:
    """Segments of the strong beams with radiometric classes, and the image with its mask and classes."""
    home = folder / case.name
    done = home / "image.nc"
    if not done.exists():
        home.mkdir(parents=True, exist_ok=True)
        scene = case.scene()
        granule = make_granule(scene, home, optics="rays" if case.kind == "rays" else "strip")
        item = make_scene(scene, home, minutes=case.minutes, size_km=case.size_km, samples=case.samples)
        radiometric.classify(open_cube(granule).load()).to_netcdf(home / "segments.nc", engine="h5netcdf")
        image = sentinel2.open_scene(item).load()
        classes = sentinel2.class_map(image)
        kept = (
            image[list(BANDS)].assign(mask=classes["mask"], surface_class=classes["surface_class"]).compute()
        )
        kept = kept.drop_vars([c for c in kept.coords if c not in ("x", "y")]).drop_attrs()
        kept = kept.assign_attrs({k: image.attrs[k] for k in ("crs", "scene")})
        part = home / "image.part"
        kept.to_netcdf(part, engine="h5netcdf")
        part.replace(done)
        granule.unlink()
    with (
        xr.open_dataset(home / "segments.nc", engine="h5netcdf", decode_times=False) as a,
        xr.open_dataset(done, engine="h5netcdf", decode_times=False) as b,
    ):
        return a.load(), b.load()

"""Simulated passes with drawn physics for the benchmark of the sea surface, kept in a folder for reuse.

Each pass draws its ice, leads and light from the twin's ranges (:mod:`is2ice.twin.scene.physics`) and its sea from
those below; every second one has the twin's second optics. Or it is a preset as it stands. A case keeps the classified
segments of its strong beams and the truth beside them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import xarray as xr

from is2ice import open_track, twin
from is2ice.classifiers import radiometric
from is2ice.twin.scene.physics import perturbed

#: Presets drawn from, and factors (log-uniform) by which their sea is perturbed.
PRESETS = ("ross_sea_november", "marginal_ice_zone", "arctic_winter_night", "cloudy", "ross_sea_november")
FACTORS = {"ssh_slope": (0.5, 2.0), "ssh_undulation": (0.5, 1.6)}


@dataclass(frozen=True)
class Case:
    """One simulated pass, by seed: of a preset as it stands, or with physics drawn for it."""

    seed: int
    length_km: float = 60.0
    preset: str = ""

    @property
    def name(self) -> str:
        return f"{self.preset or 'pass'}_{self.seed:03d}_{self.length_km:g}km"

    @property
    def kind(self) -> str:
        """Preset, with or without drawn physics."""
        return self.preset or f"{PRESETS[self.seed % len(PRESETS)]}, drawn"

    def scene(self) -> twin.Scene:
        """Preset and perturbation of this seed."""
        if self.preset:
            return twin.Scene.preset(self.preset, seed=7000 + self.seed, length_km=self.length_km)
        rng = np.random.default_rng([self.seed, 14])
        made = perturbed(PRESETS[self.seed % len(PRESETS)], 7000 + self.seed)
        factors = {k: float(np.exp(rng.uniform(*np.log(span)))) for k, span in FACTORS.items()}
        made = replace(made, **{k: getattr(made, k) * factor for k, factor in factors.items()})
        return twin.Scene(made, 7000 + self.seed, self.length_km, made.start_time)

    @property
    def optics(self) -> str:
        """Optics of the twin."""
        return "rays" if self.seed % 2 and not self.preset else "strip"


def prepare(case: Case, folder: Path) -> tuple[xr.Dataset, xr.Dataset]:
    """Classified segments of the three strong beams, and their truth on the same cells."""
    folder.mkdir(parents=True, exist_ok=True)
    segments, truth = (folder / f"{case.name}_{kind}.nc" for kind in ("segments", "truth"))
    if not (segments.exists() and truth.exists()):
        print(f"simulating {case.name} ...", flush=True)
        raw = folder / f"{case.name}_raw.nc"
        granule = twin.make_granule(
            case.scene(), folder / f"{case.name}.h5", optics=case.optics, truth_path=raw
        )
        cube = radiometric.classify(open_track(granule, "strong").load())
        real = twin.open_truth(raw)
        keep = ["point_class", "point_kind", "footprint_class", "footprint_height", "h_ref"]
        parts = [real[str(b)][keep].reindex(x_atc=cube["x_atc"]) for b in cube["beam"].values]
        xr.concat(parts, "beam").drop_attrs().astype("f4").to_netcdf(truth, engine="h5netcdf")
        _plain(cube).to_netcdf(segments, engine="h5netcdf")
        granule.unlink()
        raw.unlink()
    with (
        xr.open_dataset(segments, engine="h5netcdf", decode_times=False) as a,
        xr.open_dataset(truth, engine="h5netcdf", decode_times=False) as b,
    ):
        return a.load(), b.load()


def _plain(cube: xr.Dataset) -> xr.Dataset:
    """The cube without attributes that netCDF cannot hold."""
    attrs = {k: v for k, v in cube.attrs.items() if k in ("granule", "segment_length", "height_reference")}
    out = cube.drop_attrs().assign_attrs(attrs)
    return out.drop_vars(
        [v for v in out.variables if out[v].dtype.kind in "OM"], errors="ignore"
    ).assign_coords(beam=cube["beam"].values.astype(str))

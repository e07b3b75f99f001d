"""Simulated passes with physics drawn from ranges, kept under build/ for the benchmark of the sea surface.

Each pass draws its own ice, leads, light and sea within the ranges below; nothing in the package reads them. A case
keeps the classified segments of its strong beams and the truth beside them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr

from is2ice import open_track, twin
from is2ice.classifiers import radiometric

#: Presets drawn from, and factors (log-uniform) or values (uniform) by which their physics are perturbed.
PRESETS = ("ross_sea_november", "marginal_ice_zone", "arctic_winter_night", "cloudy")
FACTORS = {
    "freeboard_median": (0.6, 1.6),
    "freeboard_log_sigma": (0.75, 1.25),
    "relief": (0.6, 1.6),
    "snow_rate": (0.75, 1.3),
    "lead_spacing": (0.7, 2.5),
    "lead_water": (0.5, 1.2),
    "calm_fetch": (0.3, 3.0),
    "ssh_slope": (0.5, 2.0),
    "ssh_undulation": (0.5, 1.6),
    "snow_albedo_std": (0.5, 2.5),
    "light_log_sigma": (0.5, 2.0),
    "background_zenith": (0.6, 1.3),
}
VALUES = {"lead_exponent": (1.05, 1.5), "ridge_share": (0.1, 0.7), "sail_mean": (0.3, 0.9)}


@dataclass(frozen=True)
class Case:
    """One simulated pass, by seed."""

    seed: int
    length_km: float = 60.0

    @property
    def name(self) -> str:
        return f"pass_{self.seed:03d}_{self.length_km:g}km"

    def scene(self) -> twin.Scene:
        """Preset and perturbation of this seed."""
        rng = np.random.default_rng([self.seed, 14])
        preset = PRESETS[self.seed % len(PRESETS)]
        base = twin.PRESETS[preset]
        change = {
            k: float(getattr(base, k) * np.exp(rng.uniform(*np.log(span)))) for k, span in FACTORS.items()
        } | {k: float(rng.uniform(*span)) for k, span in VALUES.items()}
        change["lead_water"] = min(change["lead_water"], 0.9)
        change["ssh_level"] = float(rng.uniform(-0.4, 0.4))
        return twin.Scene.preset(preset, seed=7000 + self.seed, length_km=self.length_km, **change)


def prepare(case: Case, folder: Path) -> tuple[xr.Dataset, xr.Dataset]:
    """Classified segments of the three strong beams, and their truth on the same cells."""
    folder.mkdir(parents=True, exist_ok=True)
    segments, truth = (folder / f"{case.name}_{kind}.nc" for kind in ("segments", "truth"))
    if not (segments.exists() and truth.exists()):
        print(f"simulating {case.name} ...", flush=True)
        raw = folder / f"{case.name}_raw.nc"
        granule = twin.make_granule(case.scene(), folder / f"{case.name}.h5", truth_path=raw)
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

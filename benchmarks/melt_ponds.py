"""Ponds of the melt season: what becomes of them, simulated and genuine.

    python benchmarks/melt_ponds.py                              # simulated passes of "arctic_melt_season"
    IS2ICE_REAL_DATA=... python benchmarks/melt_ponds.py --genuine

Printed for each classifier: the share of pond cells that are called open water and that carry `melt_pond_possible`,
the share of other ice called open water, and the share of the water of leads that is kept. The genuine crops of summer
ice (`atl03_s2_crops`) hold ponds and no lead that is known: all that is called water there is false.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import numpy as np
import xarray as xr
from physics_passes import Pass, prepare, tracks

from is2ice import schema
from is2ice.classifiers import classify
from is2ice.science.segments import from_photons
from is2ice.twin import open_truth
from is2ice.twin.scene.fields import POND

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from crops import read_crop

CASES = tuple(Pass("arctic_melt_season", seed, 12.0, "default") for seed in range(5100, 5104))
CLASSIFIERS = ("radiometric", "default")
INTERIOR = 6.0


def counts(out: xr.Dataset, truth: xr.Dataset) -> np.ndarray:
    """Pond cells: all, water, flagged; other ice: all, water; water of leads away from edges: all, water."""
    water = out["surface_class"].values == schema.OPEN_WATER
    flagged = (out["segment_quality"].values & int(schema.Quality.MELT_POND_POSSIBLE)) > 0
    pond = truth["point_kind"].values == POND
    lead = (truth["surface_class_truth"].values == schema.OPEN_WATER) & (
        truth["edge_distance"].values > INTERIOR
    )
    ice = np.isin(truth["surface_class_truth"].values, (schema.THICK_ICE, schema.THIN_ICE)) & ~pond
    sets = (pond, pond & water, pond & flagged, ice, ice & water, lead, lead & water)
    return np.array([int(s.sum()) for s in sets])


def simulated(folder: Path, name: str) -> np.ndarray:
    total = np.zeros(7, int)
    for case in CASES:
        kinds = open_truth(prepare(case, folder) / "truth.nc")
        for track, truth in tracks(case, folder):
            kind = kinds[track.attrs["beam"]]["point_kind"].reindex(x_atc=track["x_atc"], fill_value=-1)
            total += counts(classify(track, name), truth.assign(point_kind=kind))
    return total


def genuine(folder: Path, name: str) -> tuple[int, int, int, int]:
    """Crops; their cells with a class, those called water, and those that carry the flag."""
    crops = cells = water = flagged = 0
    for path in sorted((folder / "atl03_s2_crops").glob("*/*_ATL03_*.csv")):
        ds = from_photons(read_crop(path))
        if "solar_elevation" not in ds or not np.isfinite(ds["solar_elevation"]).any():
            ds["solar_elevation"] = ds["h_spread"] * 0 + 25.0
        out = classify(ds, name)
        code = out["surface_class"].values
        crops, cells = crops + 1, cells + int((code >= 0).sum())
        water += int((code == schema.OPEN_WATER).sum())
        flagged += int(((out["segment_quality"].values & int(schema.Quality.MELT_POND_POSSIBLE)) > 0).sum())
    return crops, cells, water, flagged


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, default=Path("build/classifiers"))
    parser.add_argument("--genuine", action="store_true")
    args = parser.parse_args()
    for name in CLASSIFIERS:
        if args.genuine:
            crops, cells, water, flagged = genuine(Path(os.environ["IS2ICE_REAL_DATA"]), name)
            print(
                f"{name:12} {crops} genuine crops, {cells:,} cells: water {100 * water / cells:.2f} %, flagged "
                f"{100 * flagged / cells:.2f} %"
            )
            continue
        pond, pond_water, pond_flag, ice, ice_water, lead, lead_water = simulated(args.folder, name)
        print(
            f"{name:12} ponds {pond:,}: water {100 * pond_water / pond:.2f} %, flagged {100 * pond_flag / pond:.1f} %; "
            f"other ice {ice:,}: water {100 * ice_water / ice:.2f} %; water of leads {lead:,}: kept "
            f"{100 * lead_water / max(lead, 1):.1f} %"
        )


if __name__ == "__main__":
    main()

"""Displacement, labels and classes of the study's chain on genuine crops: photons and image of summer ice with ponds.

    python benchmarks/genuine_crops.py FOLDER [--json FILE]

FOLDER holds pairs of a CSV of photons (all of them, without confidence) and a GeoTIFF of four bands, as in
`atl03_s2_crops` of the genuine data (IS2ICE_REAL_DATA). Printed for each: the displacement estimated and whether it is
significant, the shares of the labels, those of the tree's classes, and their agreement. Crops are 0.1 to 0.6 km long,
ponds are no class, and no photon has a confidence: a refusal is the right answer.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import xarray as xr
from pyproj import Transformer

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from crops import read_crop, read_image

from is2ice import schema
from is2ice.classifiers import radiometric
from is2ice.science.labels import drift, transfer
from is2ice.science.metrics import Confusion
from is2ice.science.segments import from_photons
from is2ice.sentinel2 import class_map


def pair(path: Path) -> tuple[xr.Dataset, xr.Dataset]:
    """Classified segments of a crop, and its image."""
    ds = radiometric.classify(from_photons(read_crop(path)))
    x, y = Transformer.from_crs(4326, 3413, always_xy=True).transform(ds["longitude"], ds["latitude"])
    ds = ds.assign(x=("x_atc", x), y=("x_atc", y))
    ds = ds.assign_attrs(crs="EPSG:3413", granule=path.stem, beam="gt1l")
    return ds, read_image(path)


def shares(code: np.ndarray) -> dict[str, float]:
    known = code >= 0
    return {
        n: float((code[known] == k).mean()) if known.any() else np.nan for k, n in enumerate(schema.CLASSES)
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    rows = []
    print(
        f"{'crop':46}{'km':>5}{'dx':>6}{'dy':>6}{'score':>7}  {'labels %':16}{'classes %':16}{'alike %':>8}  verdict"
    )
    for path in sorted(args.folder.glob("*/*_ATL03_*.csv")):
        ds, image = pair(path)
        classes = class_map(image, "threshold", cloud="none", shadow="none", land="none")
        found = drift.estimate(ds, image.assign(mask=classes["mask"]))
        shift = found.shift_in("EPSG:3413") if found.accepted else (0.0, 0.0)
        out = transfer.transfer(ds, classes, shift=shift, transition=0)
        label, code = out["label"].values, out["surface_class"].values
        alike = Confusion.of(label, code)
        row = {
            "crop": path.stem[:44],
            "km": ds.sizes["x_atc"] * 0.002,
            "dx": found.dx,
            "dy": found.dy,
            "score": found.score,
            "accepted": found.accepted,
            "reason": found.reason,
            "labels": shares(label),
            "classes": shares(code),
            "alike": alike.accuracy_labelled,
        }
        rows.append(row)
        told = [" ".join(f"{100 * v:4.0f}" for v in row[k].values()) for k in ("labels", "classes")]
        verdict = "accepted" if found.accepted else f"refused: {found.reason}"
        print(
            f"{row['crop']:46}{row['km']:5.1f}{found.dx:6.0f}{found.dy:6.0f}{found.score:7.2f}  "
            f"{told[0]:16}{told[1]:16}{100 * row['alike']:8.1f}  {verdict}"
        )
    if args.json is not None:
        args.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()

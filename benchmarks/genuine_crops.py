"""Displacement, labels and classes of the study's chain on genuine crops: photons and image of summer ice with ponds.

    python benchmarks/genuine_crops.py FOLDER [--json FILE]

FOLDER holds pairs of a CSV of photons (all of them, without confidence) and a GeoTIFF of four bands, as in
`atl03_s2_crops` of the genuine data (IS2ICE_REAL_DATA). Printed for each: the displacement estimated, its chance and
verdict, the shares of the labels, those of the tree's classes, and their agreement. Crops are 0.1 to 0.6 km long, so
each alone holds little; the crops of one pass share their displacement and are also estimated together.

The displacement by hand is the speed in ``drift_values.csv`` times the time from pass to image. It was measured between
the image and another one, earlier or later, which is not named: its sign is unknown, and the nearer of both is given.
Values of millimetres a second come from images days apart and are left out. The rule of acceptance was looked at on the
pass of 5 August 2019 while it was made, so that this one is no blind figure. Wrong pairs are each track over the image
of each other crop, and the crops of a pass together with their images exchanged.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import xarray as xr
from pyproj import Transformer

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from crops import read_crop, read_image

from is2ice import schema
from is2ice.classifiers import radiometric
from is2ice.science.labels import drift, transfer
from is2ice.science.labels.image_grid import grid_of
from is2ice.science.metrics import Confusion
from is2ice.science.segments import from_photons
from is2ice.sentinel2 import class_map

#: Half-width of the search: ice at 0.5 m/s in five minutes. Crops are 0.1 to 0.6 km long, so less track must do.
HOW = {"search": 150.0, "least_overlap": 100.0}
#: Speeds by hand below this, m/s, are no drift.
SLOWEST = 0.02
POLAR = "EPSG:3413"
#: Pixels between crops that are put side by side.
GAP = 60


def pair(path: Path) -> tuple[xr.Dataset, xr.Dataset]:
    """Classified segments of a crop, and its image."""
    ds = radiometric.classify(from_photons(read_crop(path)))
    x, y = Transformer.from_crs(4326, POLAR, always_xy=True).transform(ds["longitude"], ds["latitude"])
    ds = ds.assign(x=("x_atc", x), y=("x_atc", y))
    ds = ds.assign_attrs(crs=POLAR, granule=path.stem, beam="gt1l")
    return ds, read_image(path)


def by_hand(path: Path, ds: xr.Dataset, image: xr.Dataset) -> np.ndarray | None:
    """Displacement by hand (dx, dy), m, of unknown sign."""
    number = path.name.split("_")[0]
    with (path.parent / "drift_values.csv").open() as f:
        speed = {r["Meltpond_ID"]: (float(r["xs_drift"]), float(r["ys_drift"])) for r in csv.DictReader(f)}[
            number
        ]
    if np.hypot(*speed) < SLOWEST:
        return None
    taken = next(path.parent.glob(f"{number}_T*.tiff")).name.split("_")[2]
    passed = datetime(2018, 1, 1) + timedelta(seconds=float(ds["delta_time"].mean()))
    late = (datetime.strptime(taken, "%Y%m%dT%H%M%S") - passed).total_seconds()
    to_image = Transformer.from_crs(POLAR, image.attrs["crs"], always_xy=True)
    x, y = float(ds["x"].mean()), float(ds["y"].mean())
    east, north = to_image.transform(x, y)
    moved = to_image.transform(east + speed[0] * late, north + speed[1] * late, direction="INVERSE")
    return np.array(moved) - [x, y]


def together(
    tracks: list[xr.Dataset], images: list[xr.Dataset], own: list[xr.Dataset]
) -> tuple[xr.Dataset, xr.Dataset]:
    """Crops side by side in one image, each with its track, as beams.

    ``own`` are the images that the tracks belong to: a track keeps its place from the corner of its own image.
    """
    first = grid_of(images[0])
    to_image = Transformer.from_crs(POLAR, first.crs, always_xy=True)
    rows, columns = (
        max(i.sizes["y"] for i in images) + 2 * GAP,
        sum(i.sizes["x"] + GAP for i in images) + GAP,
    )
    bands = {b: np.full((rows, columns), np.nan, np.float32) for b in images[0].data_vars}
    beams, at = [], GAP
    longest = max(t.sizes["x_atc"] for t in tracks)
    for track, image, mine in zip(tracks, images, own, strict=True):
        for name, band in bands.items():
            band[GAP : GAP + image.sizes["y"], at : at + image.sizes["x"]] = image[name].values
        corner = grid_of(mine)
        east, north = to_image.transform(track["x"].values, track["y"].values)
        east, north = east - corner.left + first.left + 10 * at, north - corner.top + first.top - 10 * GAP
        x, y = to_image.transform(east, north, direction="INVERSE")
        moved = track.assign(x=("x_atc", x), y=("x_atc", y)).drop_vars("x_atc")
        beams.append(moved.pad(x_atc=(0, longest - track.sizes["x_atc"])).expand_dims("beam"))
        at += image.sizes["x"] + GAP
    ds = xr.concat(beams, "beam", combine_attrs="override")
    ds = ds.assign({k: ds[k].fillna(0) for k in ("n_pulses", "n_photons")}).assign_attrs(tracks[0].attrs)
    coords = {
        "x": first.left + 10 * (np.arange(columns) + 0.5),
        "y": first.top - 10 * (np.arange(rows) + 0.5),
    }
    return ds, xr.Dataset(
        {b: (("y", "x"), a) for b, a in bands.items()}, coords, {"crs": first.crs, "scene": "crops"}
    )


def shares(code: np.ndarray) -> dict[str, float]:
    """Share of each class among the known codes."""
    known = code >= 0
    return {
        n: float((code[known] == k).mean()) if known.any() else np.nan for k, n in enumerate(schema.CLASSES)
    }


def report(name: str, km: float, found: drift.Drift, hand: np.ndarray | None) -> dict[str, object]:
    """Print a row of the table of displacements."""
    near = np.nan
    if hand is not None and np.isfinite(found.chance):
        hand = min((hand, -hand), key=lambda h: float(np.hypot(found.dx - h[0], found.dy - h[1])))
        near = float(np.hypot(found.dx - hand[0], found.dy - hand[1]))
    told = "" if hand is None else f"{hand[0]:5.0f}{hand[1]:5.0f}"
    verdict = "accepted" if found.accepted else "refused"
    print(
        f"{name:46}{km:5.1f}{found.dx:6.0f}{found.dy:6.0f}{found.uncertainty:7.0f}{told:>12}{near:7.0f}"
        f"{found.chance:9.4f}  {verdict}: {found.reason}"
    )
    return {"crop": name, "km": km, **found.to_dict(), "from_hand": near}


def displacements(pairs: dict[Path, tuple[xr.Dataset, xr.Dataset]]) -> list[dict[str, object]]:
    """Print displacements of each crop, of the crops of each pass together, and of wrong pairs."""
    print(
        f"{'crop':46}{'km':>5}{'dx':>6}{'dy':>6}{'sigma':>7}{'by hand':>12}{'apart':>7}{'chance':>9}  verdict"
    )
    rows, wrong = [], []
    for path, (ds, image) in pairs.items():
        found = drift.estimate(ds, image, **HOW)
        rows.append(report(path.stem[:44], ds.sizes["x_atc"] * 0.002, found, by_hand(path, ds, image)))
    for folder in dict.fromkeys(p.parent for p in pairs):
        mine = {p: v for p, v in pairs.items() if p.parent == folder}
        tracks, images = [ds for ds, _ in mine.values()], [i for _, i in mine.values()]
        hands = [h for p, v in mine.items() if (h := by_hand(p, *v)) is not None]
        found = drift.estimate(*together(tracks, images, images), **HOW)
        length = sum(t.sizes["x_atc"] for t in tracks) * 0.002
        rows.append(report(f"all of {folder.name}"[:44], length, found, np.mean(hands, axis=0)))
        for k in range(1, len(images)):
            wrong.append(drift.estimate(*together(tracks, images[k:] + images[:k], images), **HOW))
    for path, (ds, own) in pairs.items():
        for other, (_, image) in pairs.items():
            if other != path:
                wrong.append(drift.estimate(*together([ds], [image], [own]), **HOW))
    searched = sum(bool(np.isfinite(w.chance)) for w in wrong)
    print(
        f"wrong pairs accepted: {sum(w.accepted for w in wrong)} of {len(wrong)}, of which {searched} are long enough\n"
    )
    return rows


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    pairs = {p: pair(p) for p in sorted(args.folder.glob("*/*_ATL03_*.csv"))}
    rows = displacements(pairs)
    print(f"{'crop, labelled as unmoved':46}  {'labels %':16}{'classes %':16}{'alike %':>8}")
    for path, (ds, image) in pairs.items():
        classes = class_map(image, "threshold", cloud="none", shadow="none", land="none")
        out = transfer.transfer(ds, classes, transition=0)
        label, code = out["label"].values, out["surface_class"].values
        row = {
            "crop": path.stem[:44],
            "labels": shares(label),
            "classes": shares(code),
            "alike": Confusion.of(label, code).accuracy_labelled,
        }
        rows.append(row)
        told = [" ".join(f"{100 * v:4.0f}" for v in row[k].values()) for k in ("labels", "classes")]
        print(f"{row['crop']:46}  {told[0]:16}{told[1]:16}{100 * row['alike']:8.1f}")
    if args.json is not None:
        args.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()

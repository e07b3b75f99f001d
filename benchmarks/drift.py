"""Displacement between pass and image, and what it costs the labels, against the twin's truth.

    python benchmarks/drift.py [--seeds 21 22 23 24] [--size 14]

For scenes with leads, each with a displacement of its own, for snow without leads but with relief, and for
level snow without anything: the true and the estimated displacement from reflectance and from classes, its
error, stated uncertainty and chance (the share of unrelated pairs that score as much); and the share of right labels
(most of the footprint) without a displacement, with the estimate and with the true one. Classes are those of
``is2ice.sentinel2.scene.class_map``. Last come the processor time of an estimate and that of a plain scan:
the correlation of height and brightness at each displacement of the same search, without error or chance.

Right and wrong pairs by length of track: ``benchmarks/drift_pairs.py``. Genuine crops: ``benchmarks/genuine_crops.py``.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from rich.console import Console
from rich.table import Table
from scipy.ndimage import map_coordinates

from is2ice.classifiers import radiometric
from is2ice.io.icesat2.lazy_cube import open_cube
from is2ice.science.labels import drift, transfer
from is2ice.science.labels.drift_moments import Frame, track_cells
from is2ice.science.labels.image_grid import grid_of, segment_crs
from is2ice.sentinel2 import scene as sentinel2
from is2ice.twin import Scene, make_granule, open_truth
from is2ice.twin.sentinel2.make_scene import make_scene

#: Drift velocity (m/s) and minutes from pass to image: displacements of 0 to 700 m.
DRIFTS = [
    ((0.15, -0.12), 60),
    ((-0.10, 0.05), 45),
    ((0.02, 0.19), 60),
    ((-0.13, -0.13), 60),
    ((0.0, 0.0), 30),
]
#: What makes the preset without leads a plain: no ridge, no relief, floes of one height.
LEVEL = {"ridge_share": 0.0, "relief": 0.0, "freeboard_log_sigma": 0.05, "snow_albedo_std": 0.0}


def make(
    folder: Path,
    preset: str,
    seed: int,
    velocity: tuple[float, float],
    minutes: float,
    size: float,
    samples: int = 3,
) -> tuple[np.ndarray, Path]:
    """A granule with truth and an image; returns the true displacement and the image's item.

    ``preset`` is one of the twin's, or "level": no leads and nothing else to see either.
    """
    home = folder / f"{preset}_{seed}_{velocity[0]:g}_{velocity[1]:g}_{minutes:g}_{size:g}_{samples}"
    done = home / "item.txt"
    if not done.exists():
        name, more = ("no_leads", LEVEL) if preset == "level" else (preset, {})
        scene = Scene.preset(name, seed=seed, length_km=size + 4, drift=velocity, cloud_cover=0.0, **more)
        make_granule(scene, home, truth_path=home / "truth.nc")
        done.write_text(str(make_scene(scene, home, minutes=minutes, size_km=size, samples=samples)))
    return np.array(velocity) * minutes * 60.0, Path(done.read_text())


def read_image(item: Path) -> tuple[xr.Dataset, xr.Dataset]:
    """Reflectance where the sky is clear, and classes, of an image."""
    scene = sentinel2.open_scene(item).load()
    classes = sentinel2.class_map(scene)
    return scene.assign(mask=classes["mask"]), classes


def accuracy(
    segments: xr.Dataset,
    classes: xr.Dataset,
    truth: dict[str, xr.Dataset],
    shift: tuple[float, float],
    reach: float,
) -> float:
    """Share of labels that are the true class of most of the footprint, %."""
    ds = transfer.transfer(segments, classes, shift=shift, transition=reach)
    right = total = 0
    for beam in ds["beam"].values:
        label = ds["label"].sel(beam=beam).values
        real = truth[str(beam)]["footprint_class"].reindex(x_atc=ds["x_atc"].values, fill_value=-1).values
        both = (label >= 0) & (real >= 0)
        right += int((label == real)[both].sum())
        total += int(both.sum())
    return 100.0 * right / total


def measure(
    true: np.ndarray, item: Path, sources: Sequence[str] = ("reflectance", "classes")
) -> list[dict[str, Any]]:
    """Return a row for reflectance and one for classes: displacement, and labels with none, it and the true one."""
    home = item.parents[2]
    segments = radiometric.classify(open_cube(next(home.glob("*.h5"))).load())
    reflectance, classes = read_image(item)
    truth = open_truth(home / "truth.nc")
    rows = []
    images = {"reflectance": reflectance, "classes": classes}
    for source in sources:
        start = time.process_time()
        found = drift.estimate(segments, images[source])
        seconds = time.process_time() - start
        shifts = {
            "none": (0.0, 0.0),
            "estimated": (found.dx, found.dy),
            "ideal": (float(true[0]), float(true[1])),
        }
        rows.append(
            {"from": source, "true": true, "found": found, "seconds": seconds}
            | {name: accuracy(segments, classes, truth, s, 0.0) for name, s in shifts.items()}
            | {f"{name} inside": accuracy(segments, classes, truth, s, 1.5) for name, s in shifts.items()}
        )
    return rows


def plain_scan(segments: xr.Dataset, image: xr.Dataset, search: float = 1000.0, step: float = 40.0) -> float:
    """Processor seconds of the correlation of height and brightness at each displacement of a search."""
    start = time.process_time()
    cells = track_cells(segments, 10.0)
    if cells is None:
        raise ValueError("no beam has enough photons")
    frame = Frame.of(cells.merged(round(step / 10.0)), segment_crs(segments), grid_of(image))
    brightness = np.nan_to_num(image["B04"].transpose("y", "x").values)
    height = frame.cells.features[:, 1]
    steps = np.arange(-search, search + 1, step)
    for dx in steps:
        for dy in steps:
            row = frame.row + frame.jacobian[:, 0] @ [dx, dy] - 0.5
            column = frame.column + frame.jacobian[:, 1] @ [dx, dy] - 0.5
            np.corrcoef(height, map_coordinates(brightness, [row, column], order=1))
    return time.process_time() - start


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[21, 22, 23, 24, 26])
    parser.add_argument(
        "--without", type=int, nargs="*", default=[31, 32], help="seeds of scenes without leads"
    )
    parser.add_argument("--level", type=int, nargs="*", default=[51, 52], help="seeds of level snow")
    parser.add_argument("--size", type=float, default=14.0, help="side of the image, km")
    parser.add_argument("--folder", type=Path, default=Path("build/drift"))
    args = parser.parse_args()
    cases = [("ross_sea_november", s) for s in args.seeds] + [("no_leads", s) for s in args.without]
    cases += [("level", s) for s in args.level]
    table = Table(
        "scene", "from", "true m", "error m", "1 sigma m", "chance", "", "none %", "estimated %", "true %"
    )
    table.caption = "Right labels of all segments (in brackets: 1.5 pixels and more from an edge)."
    errors: dict[str, list[np.ndarray]] = {"reflectance": [], "classes": []}
    seconds = []
    for k, (preset, seed) in enumerate(cases):
        for row in measure(*make(args.folder, preset, seed, *DRIFTS[k % len(DRIFTS)], args.size)):
            seconds.append(row["seconds"])
            found = row["found"]
            error = np.array([found.dx, found.dy]) - row["true"]
            if preset == "ross_sea_november":
                errors[row["from"]].append(error)
            pairs = [f"{a:.0f} {b:.0f}" for a, b in (row["true"],)]
            pairs += [f"{a:.1f} {b:.1f}" for a, b in (error, np.sqrt(np.diag(found.covariance)))]
            verdict = "accepted" if found.accepted else "refused"
            shares = [f"{row[n]:.2f} ({row[n + ' inside']:.2f})" for n in ("none", "estimated", "ideal")]
            table.add_row(f"{preset} {seed}", row["from"], *pairs, f"{found.chance:.1g}", verdict, *shares)
    console = Console(width=150)
    console.print(table)
    for source, some in errors.items():
        x, y = np.sqrt(np.mean(np.square(some), axis=0))
        console.print(f"{source}: root mean square error with leads {x:.1f} m in x, {y:.1f} m in y")
    _, item = make(args.folder, *cases[0], *DRIFTS[0], args.size)
    segments = radiometric.classify(open_cube(next(item.parents[2].glob("*.h5"))).load())
    plain = plain_scan(segments, read_image(item)[0])
    one = float(np.median(seconds[1:]))
    console.print(
        f"an estimate {one:.2f} s of processor time, a plain scan {plain:.2f} s: {one / plain:.2f} times"
    )


if __name__ == "__main__":
    main()

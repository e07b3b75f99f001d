"""Class maps against the truth of simulated scenes: published filter, guarded filter, U-Net, thresholds.

    python benchmarks/class_maps.py [--size-km 12] [--seed 21] [--unet FOLDER | --train-seed 101] [--csv table.csv]

Every preset with daylight, under a clear sky and under broken thin cloud (a third of the sky, or the
preset's own where it has more), with all pixels scored that hold data: overall accuracy, recall and
intersection over union of each class. "free" scores only pixels that the mask leaves, "share" is how many
those are; "inner" leaves out pixels beside another class.

The U-Net is trained first, on the guarded filter's labels of scenes of another seed (``--train-seed 0``:
none), or loaded. The last lines compare it with the labels it learned from, and with the 98.97 % published
for filtered scenes. Exits with 1 unless the guarded filter beats the published one everywhere, also from colours alone,
and the U-Net reaches the guarded filter over each preset.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import rasterio
import xarray as xr
from scipy.ndimage import maximum_filter, minimum_filter

from is2ice import schema
from is2ice.classifiers.unet import UNet
from is2ice.sentinel2 import scene as sentinel2
from is2ice.sentinel2 import tiles as s2tiles
from is2ice.twin.scene.presets import PRESETS
from is2ice.twin.scene.scene import Scene
from is2ice.twin.sentinel2.make_scene import make_scene

SKIES = ("clear", "cloud")
#: What is compared: options of :func:`is2ice.sentinel2.scene.class_map`, and bands withheld from it.
METHODS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "thresholds": ({"method": "threshold"}, ()),
    "published": ({"method": "published"}, ()),
    "published, 256 px tiles": ({"method": "published", "per_tile": 256}, ()),
    "guarded": ({"method": "guarded"}, ()),
    "guarded, no SCL": ({"method": "guarded"}, ("SCL",)),
    "guarded, no B11": ({"method": "guarded"}, ("B11",)),
    "guarded, colours only": ({"method": "guarded"}, ("SCL", "B11")),
}


def daylight() -> list[str]:
    """Presets in which Sentinel-2 takes images; ponds are no class."""
    return [
        n for n in PRESETS if not PRESETS[n].pond_share and Scene.preset(n, length_km=1).sun_elevation > 3.0
    ]


def sky_of(preset: str, sky: str) -> dict[str, float]:
    """No cloud; or the preset's own where it has much, else a third of the sky and an optical depth of .5."""
    if sky == "clear":
        return {"cloud_cover": 0.0}
    own = PRESETS[preset]
    return {"cloud_cover": max(own.cloud_cover, 0.35), "cloud_depth": max(own.cloud_depth, 0.5)}


def score(classes: xr.Dataset, truth: np.ndarray) -> dict[str, float]:
    """Agreement of a class map with the true class of each pixel (255: none)."""
    found, free = classes["surface_class"].values, classes["mask"].values == 0
    known = truth < 3
    inner = known & (maximum_filter(truth, 3) == minimum_filter(truth, 3))
    out = {"overall": _right(found, truth, known)}
    for code, name in enumerate(schema.CLASSES):
        is_true, is_found = known & (truth == code), known & (found == code)
        either = np.count_nonzero(is_true | is_found)
        # Without a true pixel of a class there is no recall, and an IoU of 0 would say nothing more.
        some = is_true.any()
        out[f"recall {name}"] = _right(found, truth, is_true)
        out[f"IoU {name}"] = np.count_nonzero(is_true & is_found) / either if some else np.nan
    out["inner"] = _right(found, truth, inner)
    out["free"] = _right(found, truth, known & free)
    out["share"] = float(free[known].mean())
    return out


def _right(found: np.ndarray, truth: np.ndarray, where: np.ndarray) -> float:
    return float(np.mean(found[where] == truth[where])) if where.any() else float("nan")


def make(
    folder: Path, preset: str, sky: str, seed: int, size_km: float, samples: int
) -> tuple[xr.Dataset, np.ndarray]:
    """Reflectance of a simulated scene, in memory, and the true class of each pixel."""
    scene = Scene.preset(preset, seed=seed, length_km=size_km, **sky_of(preset, sky))
    item = make_scene(scene, folder / preset / sky, size_km=size_km, samples=samples)
    with rasterio.open(item.parents[2] / "truth" / f"{item.stem}_class.tif") as f:
        truth = f.read(1)
    return sentinel2.open_scene(item).compute(), truth


def train(
    *,
    seed: int = 101,
    size_km: float = 6.0,
    epochs: int = 14,
    presets: Iterable[str] | None = None,
    architecture: str = "default",
) -> UNet:
    """A U-Net trained on automatic labels of scenes; their truth is not looked at."""
    parts = []
    inputs = ("grey",) if architecture == "published" else None
    size = 256 if architecture == "published" else 128
    with tempfile.TemporaryDirectory() as folder:
        for preset in presets or daylight():
            for sky in SKIES:
                image, _ = make(Path(folder), preset, sky, seed, size_km, 3)
                parts.append(s2tiles.tiles_of(image, sentinel2.class_map(image), inputs, size=size))
    tiles = s2tiles.Tiles.joined(parts)
    start = time.perf_counter()
    made = UNet.fit(tiles, architecture=architecture, epochs=epochs, copies=3)
    last = made.card["training"]["history"]["epochs"][-1]
    print(
        f"U-Net: {made.model.count_params():,} parameters, {len(tiles)} tiles, {epochs} epochs in "
        f"{time.perf_counter() - start:.0f} s; agrees with its labels in {last['accuracy']:.2%}"
    )
    return made


def compare(
    presets: Iterable[str] | None = None,
    *,
    size_km: float = 12.0,
    seed: int = 21,
    samples: int = 3,
    network: UNet | None = None,
) -> pd.DataFrame:
    """One row for each preset, sky and method.

    Parameters
    ----------
    presets : iterable of str, optional
        Those with daylight by default.
    size_km : float
        Side of the scenes.
    seed : int
    samples : int
        Points per pixel side of the simulation.
    network : UNet, optional
    """
    methods = dict(METHODS)
    if network is not None:
        methods["U-Net"] = ({"method": "unet", "classifier": network}, ())
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for preset in presets or daylight():
            for sky in SKIES:
                image, truth = make(Path(folder), preset, sky, seed, size_km, samples)
                for name, (options, without) in methods.items():
                    start = time.perf_counter()
                    classes = sentinel2.class_map(image.drop_vars(without), **options)
                    seconds = time.perf_counter() - start
                    rows.append(
                        {"preset": preset, "sky": sky, "method": name, **score(classes, truth)}
                        | {"Mpx/s": truth.size / 1e6 / seconds}
                    )
    return pd.DataFrame(rows)


def show(table: pd.DataFrame) -> None:
    """Print the table, percentages for shares."""
    from rich.console import Console
    from rich.table import Table

    numbers = [c for c in table.columns if c not in ("preset", "sky", "method", "Mpx/s")]
    for (preset, sky), part in table.groupby(["preset", "sky"], sort=False):
        chart = Table(title=f"{preset}, {sky}", title_justify="left")
        for name in ("method", *numbers, "Mpx/s"):
            chart.add_column(name.replace("_", " "), justify="left" if name == "method" else "right")
        for row in part.to_dict("records"):
            cells = ["" if np.isnan(row[c]) else f"{100 * row[c]:.2f}" for c in numbers]
            chart.add_row(row["method"], *cells, f"{row['Mpx/s']:.1f}")
        Console(width=170).print(chart)


def verdict(table: pd.DataFrame) -> bool:
    """Print what must hold, and whether it does."""
    wide = table.pivot_table("overall", ["preset", "sky"], "method")
    good = True
    for name in ("guarded", "guarded, colours only"):
        above = wide[name] > wide["published"]
        worst = (wide[name] - wide["published"]).min()
        print(
            f"{name}: above the published filter on {above.sum()} of {above.size}, at least by {100 * worst:.2f} points"
        )
        good &= bool(above.all())
    if "U-Net" in wide:
        mean = wide.groupby("preset")[["guarded", "U-Net"]].mean()
        for preset, row in mean.iterrows():
            print(f"{preset}: guarded {row['guarded']:.2%}, U-Net trained on other scenes {row['U-Net']:.2%}")
        good &= bool((mean["U-Net"] >= mean["guarded"]).all())
        if "ross_sea_november" in mean.index:
            case = wide.loc["ross_sea_november", "U-Net"]
            told = ", ".join(f"{sky} {value:.2%}" for sky, value in case.items())
            print(f"the paper's case (Ross Sea, November; published 98.97 % on filtered scenes): {told}")
    return good


def main() -> int:
    """Make the scenes, print the table; 1 if what must hold does not."""
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    options.add_argument("--size-km", type=float, default=12.0)
    options.add_argument("--seed", type=int, default=21)
    options.add_argument("--preset", action="append", choices=daylight())
    options.add_argument("--csv", type=Path)
    options.add_argument("--unet", type=Path, help="a trained U-Net")
    options.add_argument("--train-seed", type=int, default=101, help="of the scenes to train on; 0: no U-Net")
    options.add_argument("--epochs", type=int, default=14)
    options.add_argument("--architecture", choices=("default", "published"), default="default")
    options.add_argument("--save", type=Path, help="keep the trained U-Net in this folder")
    given = options.parse_args()
    if given.train_seed == given.seed and given.unet is None:
        options.error("--train-seed: the scenes to train on must be others than those that judge")
    network = UNet.load(given.unet) if given.unet else None
    if network is None and given.train_seed:
        network = train(seed=given.train_seed, epochs=given.epochs, architecture=given.architecture)
        if given.save:
            network.save(given.save, overwrite=True)
    table = compare(given.preset, size_km=given.size_km, seed=given.seed, network=network)
    show(table)
    if given.csv:
        table.to_csv(given.csv, index=False)
    return int(not verdict(table))


if __name__ == "__main__":
    raise SystemExit(main())

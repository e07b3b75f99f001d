"""Our classes against the images and masks that the paper's authors published, and classes of genuine crops.

    python benchmarks/published_masks.py [FOLDER]

FOLDER holds genuine data (``IS2ICE_REAL_DATA`` by default). The published figures show an image beside its
mask, drawn at a fifth or an eighth of their size, so that borders blur; only pixels that show one of the
mask's three colours are compared. The authors painted these masks by thresholds (the first three) and by the published
filter itself (the last): agreement with them is no independent figure, and no filter can agree with both masks of the
shaded image. The guarded filter's settings for colours alone were chosen with a look at the last. Against the truth of
simulated scenes: ``benchmarks/class_maps.py``. The crops are Arctic summer floes with melt ponds, which no threshold
was made for: shares of classes are printed, there is no truth to compare with.
"""

from __future__ import annotations

import argparse
import os
import warnings
from pathlib import Path

import numpy as np
import rasterio
import xarray as xr

from is2ice import schema
from is2ice.sentinel2 import cloud_filter, scene

#: Figures: file of the image, its axes (row, column, rows, columns), file of the mask, its axes, and by how
#: much the figure is shrunk.
FIGURES = {
    "scene and mask": ("par_14_3.png", (11, 41, 505, 505), "par_14_3.png", (11, 649, 505, 505), 4),
    "shaded image, mask of the same": (
        "Cloud_Sh_9_0.png", (24, 41, 253, 252), "Cloud_Sh_9_0.png", (24, 345, 253, 252), 8,
    ),
    "filtered image, mask of the same": (
        "Cloud_Sh_9_1.png", (24, 41, 253, 252), "Cloud_Sh_9_1.png", (24, 345, 253, 252), 8,
    ),
    "shaded image, mask of the filtered": (
        "Cloud_Sh_9_0.png", (24, 41, 253, 252), "Cloud_Sh_9_1.png", (24, 345, 253, 252), 8,
    ),
}  # fmt: skip


def panel(folder: Path, name: str, at: tuple[int, int, int, int]) -> np.ndarray:
    """One axes of a published figure, (3, rows, columns)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with rasterio.open(folder / "s2_seaice_png" / name) as f:
            pixels = f.read([1, 2, 3])
    r, c, h, w = at
    return pixels[:, r : r + h, c : c + w]


def mask_classes(painted: np.ndarray) -> np.ndarray:
    """Classes of the paper's colours: red thick, blue thin, green water; others, at borders, -1."""
    out = np.full(painted.shape[1:], -1)
    for code, channel in ((schema.THICK_ICE, 0), (schema.OPEN_WATER, 1), (schema.THIN_ICE, 2)):
        rest = [k for k in range(3) if k != channel]
        out[(painted[channel] > 200) & (painted[rest].max(axis=0) < 60)] = code
    return out


def our_classes(image: np.ndarray, shrunk: int) -> dict[str, np.ndarray]:
    """Classes of an 8-bit colour image by each filter, their lengths shrunk as the figure is."""
    aperture = round(cloud_filter.PUBLISHED_APERTURE / shrunk) // 2 * 2 + 1
    red, green, blue = (c.astype(np.float32) / 255.0 for c in image)
    return {
        "thresholds": cloud_filter.threshold(cloud_filter.brightness(*image)),
        "published": cloud_filter.published(*image, aperture, max(1, 7 // shrunk // 2 * 2 + 1)),
        "guarded": cloud_filter.guarded(red, green, blue),
    }


def agreement(folder: Path, figure: str) -> dict[str, float]:
    """Share of the compared pixels that each filter gives the mask's class; and how many are compared."""
    image_name, left, mask_name, right, shrunk = FIGURES[figure]
    truth = mask_classes(panel(folder, mask_name, right))
    known = truth >= 0
    found = our_classes(panel(folder, image_name, left), shrunk)
    return {name: float(np.mean(c[known] == truth[known])) for name, c in found.items()} | {
        "compared": float(known.mean())
    }


def crop(path: Path, offset: float = -1000.0) -> xr.Dataset:
    """Reflectance of a genuine crop, whose numbers carry the offset."""
    with rasterio.open(path) as f:
        numbers = f.read()
    names = zip(("B02", "B03", "B04"), numbers, strict=False)
    bands = {b: (("y", "x"), ((n + offset) / 1e4).astype(np.float32)) for b, n in names}
    return xr.Dataset(bands, attrs={"scene": path.stem})


def main() -> None:
    default = Path(__file__).resolve().parents[2] / "shared" / "data" / "real"
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    options.add_argument("folder", nargs="?", type=Path, default=os.environ.get("IS2ICE_REAL_DATA", default))
    folder = Path(options.parse_args().folder)
    if not folder.is_dir():
        options.error(f"no genuine data at {folder}; set IS2ICE_REAL_DATA to the folder that holds them")
    print(f"{'published figure':36} {'compared':>9} {'thresholds':>11} {'published':>10} {'guarded':>8}")
    for figure in FIGURES:
        row = agreement(folder, figure)
        cells = f"{row['thresholds']:11.2%} {row['published']:10.2%} {row['guarded']:8.2%}"
        print(f"{figure:36} {row['compared']:9.1%} {cells}")
    print(f"\n{'genuine crop':44} {'method':10} {'thick':>7} {'thin':>7} {'water':>7}")
    for path in sorted((folder / "atl03_s2_crops").glob("*/*.tiff")):
        for method in ("threshold", "guarded"):
            found = scene.class_map(crop(path), method)["surface_class"].values
            shares = [float(np.mean(found == code)) for code in range(3)]
            print(f"{path.stem:44} {method:10} " + " ".join(f"{s:7.1%}" for s in shares))


if __name__ == "__main__":
    main()

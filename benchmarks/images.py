"""Class maps of a whole Sentinel-2 tile (10,980 x 10,980 pixels): time and memory of each filter, beside plain reading.

    python benchmarks/images.py [--pixels 10980] [--folder build/images]

The tile repeats a simulated scene of 6 km, written once as GeoTIFF as the archives serve it. Each figure comes
from a process of its own, on one thread (of the guarded filter also on two): seconds of the processor, elapsed
seconds, and the peak of memory over that after a corner of it. "read" is what rasterio alone needs for the
five bands.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

FILTERS = ("read", "threshold", "guarded", "published")


def make_tile(folder: Path, pixels: int) -> Path:
    """Write a scene of so many pixels a side that repeats a simulated one; its item's path."""
    import rasterio

    from is2ice.twin.scene.scene import Scene
    from is2ice.twin.sentinel2.make_scene import make_scene

    item = folder / "tile.json"
    if item.exists():
        return item
    scene = Scene.preset("ross_sea_november", seed=7, length_km=6.0, cloud_cover=0.3, cloud_depth=0.5)
    small = make_scene(scene, folder / "small", size_km=6.0, samples=1)
    described = json.loads(small.read_text())
    for name, asset in described["assets"].items():
        source = (small.parent / asset["href"]).resolve()
        if source.suffix not in (".tif", ".jp2"):
            continue
        with rasterio.open(source) as f:
            band, profile = f.read(1), f.profile
            step = f.transform.a
        side = round(pixels * 10 / step)
        times = -(-side // min(band.shape))
        big = np.tile(
            np.block([[band, band[:, ::-1]], [band[::-1], band[::-1, ::-1]]]), ((times + 1) // 2,) * 2
        )
        profile.update(
            driver="GTiff", height=side, width=side, tiled=True, blockxsize=512, blockysize=512,
            compress="deflate", predictor=2
        )  # fmt: skip
        with rasterio.open(folder / f"{name}.tif", "w", **profile) as out:
            out.write(big[:side, :side], 1)
        asset["href"] = f"{name}.tif"
        asset.pop("proj:shape", None)
        if "proj:shape" in described["properties"]:
            described["properties"]["proj:shape"] = [pixels, pixels]
    item.write_text(json.dumps(described))
    return item


def resident(which: str) -> int:
    """Memory of this process now (VmRSS) or at most (VmHWM), kB; that of getrusage may be its parent's."""
    status = Path("/proc/self/status").read_text()
    return int(status.split(f"{which}:")[1].split()[0])


def measure(item: Path, method: str, workers: int = 1) -> dict[str, float]:
    """Seconds and memory of one method, in this process, on some threads."""
    import dask
    import rasterio

    from is2ice.sentinel2 import class_maps, scene

    # A corner first: libraries and compiled loops are loaded, and are no part of what a tile takes.
    corner = scene.open_scene(item).isel(x=slice(512), y=slice(512))
    class_maps.class_map(corner, "guarded" if method == "read" else method).compute()
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins here
    before = resident("VmRSS")
    start, cpu = time.perf_counter(), time.process_time()
    if method == "read":
        described = json.loads(item.read_text())
        for asset in described["assets"].values():
            if asset["href"].endswith(".tif"):
                with rasterio.open(item.parent / asset["href"]) as f:
                    f.read(1)
    else:
        with dask.config.set(scheduler="threads", num_workers=workers):
            found = class_maps.class_map(scene.open_scene(item), method)
            found["surface_class"].compute()
    peak = resident("VmHWM")
    return {
        "processor_s": time.process_time() - cpu,
        "elapsed_s": time.perf_counter() - start,
        "memory_mb": (peak - before) / 1024,
    }


def apart(folder: Path, pixels: int, method: str, workers: int = 1) -> dict[str, float]:
    """Measure one method in a process of its own."""
    words = ["--pixels", str(pixels), "--folder", str(folder), "--only", method, "--workers", str(workers)]
    done = subprocess.run(
        [sys.executable, __file__, *words], capture_output=True, text=True, check=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "GDAL_NUM_THREADS": "1"},
    )  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])


def main() -> int:
    """Print the table."""
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    options.add_argument("--pixels", type=int, default=10_980)
    options.add_argument("--folder", type=Path, default=Path("build/images"))
    options.add_argument("--only", choices=FILTERS, help="measure one in this process and print JSON")
    options.add_argument("--workers", type=int, default=1, help="threads of that one")
    given = options.parse_args()
    folder = given.folder / str(given.pixels)
    folder.mkdir(parents=True, exist_ok=True)
    item = make_tile(folder, given.pixels)
    if given.only:
        print(json.dumps(measure(item, given.only, given.workers)))
        return 0
    print(f"{'':<20}{'processor s':>12}{'elapsed s':>12}{'memory MB':>12}{'x reading':>12}")
    reading = None
    for name, workers in (*((f, 1) for f in FILTERS), ("guarded", 2)):
        row = apart(given.folder, given.pixels, name, workers)
        reading = reading or row["processor_s"]
        print(
            f"{f'{name}, {workers} workers' if workers > 1 else name:<20}{row['processor_s']:>12.1f}"
            f"{row['elapsed_s']:>12.1f}{row['memory_mb']:>12.0f}{row['processor_s'] / reading:>12.1f}",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

# ruff: noqa: E402 (threads are set before libraries load)
"""Speed and memory of labelling: 1.3 million segments onto a whole Sentinel-2 tile, on one core.

    python benchmarks/labels.py [--segments 1_303_685] [--repeat 3]

Prints, for three beams across a class raster of 10,980 x 10,980 pixels stored as a compressed GeoTIFF:

- reading the whole raster, and labelling from memory;
- both together, reading included (the published figures are 390 s on one core and 24 s on sixteen);
- labelling from the lazy raster, which reads only what the track meets;
- peak memory over the imported package, in a process of its own.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")
os.environ["GDAL_NUM_THREADS"] = "1"
os.environ["GDAL_CACHEMAX"] = "8"  # MB: tiles are decompressed anew in every repeat

import dask
import numpy as np
import psutil
import rasterio
import xarray as xr
from pyproj import Transformer
from rasterio.transform import from_origin
from timing import median_seconds

from is2ice import schema
from is2ice.science.labels import transfer

EPSG, LEFT, TOP, SIZE = 32702, 499_980.0, 1_700_040.0, 10_980
#: The paper's inference set.
SEGMENTS = 1_303_685


def write_raster(path: Path) -> None:
    """Floes of thick ice with leads of water and nilas between them, a pattern without end."""
    column = np.arange(SIZE)
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        dtype="int8",
        count=1,
        width=SIZE,
        height=SIZE,
        crs=f"EPSG:{EPSG}",
        transform=from_origin(LEFT, TOP, 10, 10),
        nodata=-1,
        tiled=True,
        blockxsize=512,
        blockysize=512,
        compress="deflate",
    ) as f:
        for row in range(0, SIZE, 512):
            rows = np.arange(row, min(row + 512, SIZE))[:, None]
            wave = np.sin(rows / 37 + 3 * np.sin(column / 211)) + np.sin(column / 53 + 2 * np.sin(rows / 173))
            code = np.where(wave > 1.75, 2, np.where(wave > 1.5, 1, 0)).astype(np.int8)
            f.write(code, 1, window=rasterio.windows.Window(0, row, SIZE, rows.size))


def class_map(path: Path) -> xr.Dataset:
    """The raster, lazily."""
    import rioxarray

    band = rioxarray.open_rasterio(path, chunks={"x": 2048, "y": 2048}, cache=False).squeeze("band", True)
    return xr.Dataset({"surface_class": band}, attrs={"crs": f"EPSG:{EPSG}", "time": "2019-11-04T19:45:29"})


def segments(n: int) -> xr.Dataset:
    """Three beams aslant across the tile, again and again until there are enough."""
    per_beam = -(-n // 3)
    # One crossing of the tile holds 50,000 cells of 2 m; as many passes as are needed lie side by side.
    cell = np.arange(per_beam)
    along, number = (cell % 50_000) * 2.0, cell // 50_000
    east = LEFT + 8_000 + 0.12 * along + 7_000 * number + 3_300 * np.arange(3)[:, None]
    north = TOP - 5_000 - 0.99 * along + 0 * east
    x, y = Transformer.from_crs(EPSG, 3976, always_xy=True).transform(east, north)
    dims = ("beam", "x_atc")
    data = {"x": (dims, x), "y": (dims, y), "delta_time": (dims, np.full(x.shape, 5.8e7))}
    data["n_photons_all"] = (dims, np.ones(x.shape, "i4"))
    return xr.Dataset(
        data,
        {"beam": ["gt1r", "gt2r", "gt3r"], "x_atc": 2.8e7 + 2.0 * cell},
        {"crs": "EPSG:3976", "granule": "mock"},
    )


def peak(path: Path, n: int) -> None:
    """Runs in a process of its own: peak memory over what is there before labelling, MB."""
    ds, scene = segments(n), class_map(path)
    transfer.transfer(ds.isel(x_atc=slice(100)), scene)
    me = psutil.Process()
    base, most, stop = me.memory_info().rss, [0], threading.Event()

    def watch() -> None:
        while not stop.is_set():
            most[0] = max(most[0], me.memory_info().rss)
            time.sleep(0.002)

    thread = threading.Thread(target=watch)
    thread.start()
    transfer.transfer(ds, scene)
    stop.set()
    thread.join()
    print(f"{(most[0] - base) / 1e6:.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--segments", type=lambda s: int(s.replace("_", "")), default=SEGMENTS)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=Path("build"))
    parser.add_argument("--peak", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.folder.mkdir(exist_ok=True)
    path = args.folder / "classes_10980.tif"
    if not path.exists():
        print(f"writing {path} ...")
        write_raster(path)
    dask.config.set(scheduler="synchronous")
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    if args.peak:
        peak(path, args.segments)
        return
    ds = segments(args.segments)
    n = ds["x"].size
    transfer.transfer(ds.isel(x_atc=slice(1000)), class_map(path).isel(x=slice(2048), y=slice(2048)).load())
    memory = class_map(path).load()
    out = transfer.transfer(ds, memory)
    assert (out["label"].values >= 0).mean() > 0.5
    lazy = transfer.transfer(ds, class_map(path))
    assert (lazy["label"].values == out["label"].values).all()
    print(f"segments                       {n:12,}   raster {SIZE} x {SIZE}   one core")
    print(f"labelled                       {(out['label'].values >= 0).mean():12.1%}")
    read = median_seconds(lambda: class_map(path).load(), args.repeat)
    print(f"read the whole raster          {read:12.2f} s")
    label = median_seconds(lambda: transfer.transfer(ds, memory), args.repeat)
    print(f"label from memory              {label:12.2f} s   {n / label / 1e6:.1f} million segments/s")
    both = median_seconds(lambda: transfer.transfer(ds, class_map(path).load()), args.repeat)
    print(f"read whole and label           {both:12.2f} s   {390 / both:.0f} x the published 390 s")
    near = median_seconds(lambda: transfer.transfer(ds, class_map(path)), args.repeat)
    print(f"label, reading what is met     {near:12.2f} s   {390 / near:.0f} x the published 390 s")
    command = [
        sys.executable,
        __file__,
        "--peak",
        "--segments",
        str(args.segments),
        "--folder",
        str(args.folder),
    ]
    used = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    print(f"peak memory over baseline      {used:>12} MB   {schema.SEGMENT_LENGTH:g} m segments, lazy raster")


if __name__ == "__main__":
    main()

"""Loader of the genuine photon crops, which are text and hold no confidence."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import rasterio
import xarray as xr

from is2ice import schema


def read_crop(path: Path) -> xr.Dataset:
    """Photons of a CSV crop: no confidence there, so a density cut about the mode stands in for it."""
    with path.open() as f:
        rows = list(csv.DictReader(f))
    column = {
        k: np.array([float(r[k]) for r in rows]) for k in ("x_atc", "h_ph", "delta_time", "lat_ph", "lon_ph")
    }
    order = np.lexsort((column["x_atc"], np.round(column["delta_time"] * 1e4)))
    h = column["h_ph"]
    edges = np.arange(h.min(), h.max() + 0.5, 0.5)
    mode = edges[np.argmax(np.histogram(h, edges)[0])]
    channel = np.array([int(r["ph_id_channel"]) for r in rows])
    # Pulse number within the crop from transmit time, 10 kHz.
    pulse = np.round((column["delta_time"] - column["delta_time"].min()) * 1e4).astype("i8")
    ds = xr.Dataset(
        {
            "delta_time": ("photon", column["delta_time"]),
            "latitude": ("photon", column["lat_ph"]),
            "longitude": ("photon", column["lon_ph"]),
            "x_atc": ("photon", column["x_atc"]),
            "h_ph": ("photon", h.astype("f4")),
            "signal_conf": ("photon", np.where(np.abs(h - mode) < 3, 4, 0).astype("i1")),
            "quality": ("photon", np.array([int(float(r["quality"])) for r in rows], "i1")),
            "pulse": ("photon", pulse),
            "channel": ("photon", channel.astype("u1")),
        }
    ).isel(photon=order)
    ds.attrs["spot"] = spot_from_channels(channel)
    return schema.annotate(ds, "photons")


def read_image(path: Path) -> xr.Dataset:
    """Reflectance of the image of a CSV crop, in blue, green and red."""
    with rasterio.open(next(path.parent.glob(f"{path.name.split('_')[0]}_T*.tiff"))) as f:
        numbers, transform, crs = f.read().astype("f4"), f.transform, f.crs
    coords = {
        "x": transform.c + 10 * (np.arange(numbers.shape[2]) + 0.5),
        "y": transform.f - 10 * (np.arange(numbers.shape[1]) + 0.5),
    }
    reflectance = np.where(numbers == 0, np.nan, (numbers - 1000) / 1e4)
    bands = {b: (("y", "x"), r) for b, r in zip(("B02", "B03", "B04"), reflectance, strict=False)}
    return xr.Dataset(bands, coords, {"crs": str(crs), "scene": path.stem})


def spot_from_channels(channel: np.ndarray) -> int:
    """Spot from the channels: each PCE has 20 a side, 16 of the strong spot and 4 of the weak one."""
    within = (channel - 1) % 60
    pce = np.unique(within // 20)
    assert pce.size == 1
    weak = (within % 20 >= 16).all()
    strong = (within % 20 < 16).all()
    assert weak != strong
    return int(pce[0]) * 2 + (2 if weak else 1)

"""Evidence beside a label: reflectance and class probabilities of the image, interpolated to the segments.

Labels are looked up in the pixel below a segment and never interpolated. These values are, linearly between the
centres of pixels, by :meth:`xarray.Dataset.interp` on the points of the track. They show a person who reviews labels,
or a network that learns from them, how clear the case was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from is2ice import schema

from .image_grid import grid_of, segment_crs, transformer

__all__ = ["BANDS", "add", "along_track", "interpolate"]

F8 = NDArray[np.float64]
#: Bands, and the variables that hold them.
BANDS = {band: f"image_{band.lower()}" for band in ("B02", "B03", "B04", "B08", "B11")}
PROBABILITY = "image_class_probability"
#: Cells interpolated together: only the window of the image that they span is read.
_BLOCK = 8192


def interpolate(
    segments: xr.Dataset, image: xr.Dataset, shift: tuple[float, float] = (0.0, 0.0)
) -> dict[str, NDArray[np.float32]]:
    """Interpolate one image at the segments.

    Parameters
    ----------
    segments : xarray.Dataset
        Dims ``(x_atc,)`` or ``(beam, x_atc)``, with x, y and ``attrs["crs"]``.
    image : xarray.Dataset
        Lazy or in memory, dims (y, x), with bands of :data:`BANDS` and optionally ``class_probability``
        (surface, y, x).
    shift : (dx, dy)
        Displacement of the ice from pass to image, m, in the crs of the segments.

    Returns
    -------
    dict of str to array
        ``image_b02`` and so on, shaped as the segments, and ``image_class_probability`` with the classes last; NaN
        outside the image.
    """
    import dask

    (values,) = dask.compute(_lazy(segments, image, shift))
    return {name: np.asarray(array.values, np.float32) for name, array in values.items()}


def add(segments: xr.Dataset, values: Sequence[Mapping[str, NDArray[np.float32]]]) -> xr.Dataset:
    """Put values of images beside labels; of several images the first that sees a segment counts.

    Parameters
    ----------
    segments : xarray.Dataset
    values : sequence of mapping
        As :func:`interpolate` gives them, in order of preference.
    """
    out: dict[str, NDArray[np.float32]] = {}
    for one in values:
        for name, array in one.items():
            out[name] = array if name not in out else np.where(np.isnan(out[name]), array, out[name])
    if not out:
        return segments
    dims = segments["x"].dims
    ds = segments.assign(
        {k: ((*dims, *(("surface",) if k == PROBABILITY else ())), v) for k, v in out.items()}
    )
    if PROBABILITY in out and "surface" not in ds.coords:
        ds = ds.assign_coords(surface=list(schema.CLASSES))
    return schema.annotate(ds, "labels")


def along_track(
    segments: xr.Dataset, images: Sequence[xr.Dataset], shifts: Sequence[tuple[float, float]]
) -> xr.Dataset:
    """Add the values of some images to segments, each with its displacement: :func:`interpolate` and :func:`add`."""
    return add(segments, [interpolate(segments, i, s) for i, s in zip(images, shifts, strict=True)])


def _lazy(segments: xr.Dataset, image: xr.Dataset, shift: tuple[float, float]) -> dict[str, xr.DataArray]:
    """Interpolate one image at the segments, block by block, without computing it."""
    east, north = _points(segments, image, shift)
    names = {band: name for band, name in BANDS.items() if band in image}
    if "class_probability" in image:
        names["class_probability"] = PROBABILITY
    if not names:
        return {}
    table = image[list(names)].drop_vars([c for c in image.coords if c not in ("x", "y", "surface")])
    blocks = []
    for first in range(0, east.sizes["x_atc"], _BLOCK):
        part = {"x_atc": slice(first, first + _BLOCK)}
        blocks.append(table.interp(x=east.isel(part), y=north.isel(part), method="linear"))
    joined = xr.concat(blocks, "x_atc") if len(blocks) > 1 else blocks[0]
    dims = [d for d in ("beam", "x_atc") if d in east.dims]
    return {
        name: joined[band].transpose(*dims, ...).drop_vars(("x", "y"), errors="ignore")
        for band, name in names.items()
    }


def _points(
    segments: xr.Dataset, image: xr.Dataset, shift: tuple[float, float]
) -> tuple[xr.DataArray, xr.DataArray]:
    """Positions of the segments in the crs of the image; those unknown lie far outside."""
    crs, grid = segment_crs(segments), grid_of(image)
    x, y = (np.asarray(segments[n].values, float) for n in ("x", "y"))
    known = np.isfinite(x) & np.isfinite(y)
    east, north = transformer(crs, grid.crs).transform(
        np.where(known, x + shift[0], 0.0), np.where(known, y + shift[1], 0.0)
    )
    # The nearest edge of an image is no place to look for what lies elsewhere: such points get no value.
    outside = ~known | ~np.isfinite(east) | ~np.isfinite(north)
    dims = segments["x"].dims
    far = float(image["x"].max()) + 1e7
    return (
        xr.DataArray(np.where(outside, far, east), dims=dims),
        xr.DataArray(np.where(outside, float(image["y"].mean()), north), dims=dims),
    )

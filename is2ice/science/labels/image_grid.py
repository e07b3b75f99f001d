"""The pixel grid of an image, and reading only the part of it that a track meets."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from pyproj import CRS, Transformer

from is2ice.errors import SchemaError

__all__ = ["Grid", "grid_of", "read_near", "segment_crs", "segment_positions", "transformer"]

F8 = NDArray[np.float64]
#: Rows read at a time, where the image's own chunks do not say.
_STRIP = 512


@dataclass(frozen=True)
class Grid:
    """Positions of the pixels of an image.

    Attributes
    ----------
    crs : str
        WKT or authority code.
    left, top : float
        Outer corner of pixel (0, 0), m.
    dx, dy : float
        Signed steps from column to column and row to row, m.
    rows, columns : int
    """

    crs: str
    left: float
    top: float
    dx: float
    dy: float
    rows: int
    columns: int

    @property
    def pixel(self) -> float:
        """Pixel size, m."""
        return abs(self.dx)

    def locate(self, east: F8, north: F8) -> tuple[F8, F8]:
        """Fractional row and column of map positions: pixel (i, j) covers [i, i + 1) x [j, j + 1)."""
        return (north - self.top) / self.dy, (east - self.left) / self.dx


def grid_of(image: xr.Dataset | xr.DataArray) -> Grid:
    """Return the pixel grid of an image with coordinates ``x``, ``y`` (pixel centres) and a known crs.

    Raises
    ------
    SchemaError
        No ``x``/``y``, irregular or oblong pixels, or no crs.
    """
    where = image.attrs.get("scene") or image.attrs.get("id") or "image"
    if "x" not in image.coords or "y" not in image.coords:
        raise SchemaError(
            f"{where}: expected coordinates x and y of pixel centres, got {sorted(map(str, image.coords))}"
        )
    x, y = np.asarray(image["x"], "f8"), np.asarray(image["y"], "f8")
    if x.size < 2 or y.size < 2:
        raise SchemaError(f"{where}: expected at least 2 x 2 pixels, got {y.size} x {x.size}")
    dx, dy = (x[-1] - x[0]) / (x.size - 1), (y[-1] - y[0]) / (y.size - 1)
    for name, axis, step in (("x", x, dx), ("y", y, dy)):
        if not step or np.abs(np.diff(axis) - step).max() > 0.01 * abs(step):
            raise SchemaError(f"{where}: {name} is not a regular axis; resample the image first")
    if abs(abs(dx) - abs(dy)) > 0.01 * abs(dx):
        raise SchemaError(f"{where}: expected square pixels, got {abs(dx):g} x {abs(dy):g} m")
    return Grid(_crs_of(image, where), x[0] - dx / 2, y[0] - dy / 2, dx, dy, y.size, x.size)


def _crs_of(image: xr.Dataset | xr.DataArray, where: str) -> str:
    crs = image.attrs.get("crs")
    if crs is None and "spatial_ref" in image.coords:
        crs = image["spatial_ref"].attrs.get("crs_wkt") or image["spatial_ref"].attrs.get("spatial_ref")
    if crs is None:
        raise SchemaError(
            f"{where}: no crs; expected attrs['crs'] such as 'EPSG:32702' or a coordinate 'spatial_ref'"
        )
    if not CRS.from_user_input(crs).is_projected:
        raise SchemaError(f"{where}: expected a projected crs in metres, got {crs}")
    return str(crs)


@lru_cache(maxsize=32)
def transformer(source: str, target: str) -> Transformer:
    """Coordinate transformation, x before y."""
    return Transformer.from_crs(source, target, always_xy=True)


def segment_crs(segments: xr.Dataset) -> str:
    """Return the crs of the segments' ``x`` and ``y``.

    Raises
    ------
    SchemaError
        When the segments do not say.
    """
    crs = segments.attrs.get("crs")
    if crs is None or "x" not in segments or "y" not in segments:
        raise SchemaError(
            f"{segments.attrs.get('granule', 'segments')}: expected x, y and attrs['crs'] ('EPSG:3976' or "
            f"'EPSG:3413'), got crs {crs!r} and variables {sorted(map(str, segments.data_vars))[:8]}..."
        )
    return str(crs)


def segment_positions(x: F8, y: F8, crs: str, grid: Grid) -> tuple[F8, F8]:
    """Fractional rows and columns of positions in a crs; NaN where they have none."""
    out = np.full((2, *np.shape(x)), np.nan)
    known = np.isfinite(x) & np.isfinite(y)
    if known.any():
        # Lists, since pyproj takes an array of one for a point.
        inside = [a[known].tolist() if known.sum() == 1 else a[known] for a in (np.asarray(x), np.asarray(y))]
        east, north = transformer(crs, grid.crs).transform(*inside)
        out[0][known], out[1][known] = grid.locate(np.asarray(east), np.asarray(north))
    out[~np.isfinite(out)] = np.nan
    return out[0], out[1]


def read_near(
    arrays: list[xr.DataArray], rows: F8, columns: F8, margin: int
) -> tuple[list[NDArray[Any]], int, int]:
    """Parts of an image around some points, in memory.

    Parameters
    ----------
    arrays : list of xarray.DataArray
        Dims ``(y, x)``, in memory or lazy, all of one shape.
    rows, columns : ndarray
        Fractional pixel positions; those outside the image are ignored.
    margin : int
        Pixels wanted around each point.

    Returns
    -------
    parts : list of ndarray
        Windows that hold every point and its margin. Of a lazy image only strips of rows, each as wide as
        its points ask, are read; the rest of the window is zero and, never touched, takes no memory.
    row0, column0 : int
        Row and column of the windows' first pixel.
    """
    n_rows, n_columns = arrays[0].shape
    inside = (rows >= -margin) & (rows < n_rows + margin)
    inside &= (columns >= -margin) & (columns < n_columns + margin)
    if not inside.any():
        return [np.zeros((0, 0), a.dtype) for a in arrays], 0, 0
    r, c = rows[inside].astype(int), columns[inside].astype(int)
    row0, row1 = max(int(r.min()) - margin, 0), min(int(r.max()) + margin + 1, n_rows)
    col0, col1 = max(int(c.min()) - margin, 0), min(int(c.max()) + margin + 1, n_columns)
    if all(isinstance(a.variable._data, np.ndarray) for a in arrays):
        return [a.values[row0:row1, col0:col1] for a in arrays], row0, col0
    windows = _strips(r, c, margin, (row0, row1), n_columns, arrays[0].chunks)
    parts = [np.zeros((row1 - row0, col1 - col0), a.dtype) for a in arrays]
    pieces = [[a[w] for w in windows] for a in arrays]
    if any(a.chunks for a in arrays):
        import dask

        # One computation, so that chunks shared by strips are made once.
        pieces = list(dask.compute(*pieces))
    for part, values in zip(parts, pieces, strict=True):
        for (rs, cs), value in zip(windows, values, strict=True):
            part[rs.start - row0 : rs.stop - row0, cs.start - col0 : cs.stop - col0] = value
    return parts, row0, col0


def _strips(
    r: NDArray[Any], c: NDArray[Any], margin: int, span: tuple[int, int], n_columns: int, chunks: Any
) -> list[tuple[slice, slice]]:
    """Return strips of rows, each with the columns its points need."""
    edges = np.concatenate([[0], np.cumsum(chunks[0])]) if chunks else np.arange(0, span[1] + _STRIP, _STRIP)
    edges = np.unique(np.clip(edges, *span))
    out = []
    for a, b in pairwise(edges):
        near = c[(r >= a - margin) & (r < b + margin)]
        if near.size:
            columns = slice(max(int(near.min()) - margin, 0), min(int(near.max()) + margin + 1, n_columns))
            if columns.stop > columns.start:
                out.append((slice(int(a), int(b)), columns))
    return out

"""The truth of a scene along its beams, in a file of its own that no stage of the package reads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from is2ice import schema

from .icesat2.strip import HALF_STRIP, SIGMA_FOOTPRINT, Strip, make_strip
from .scene.scene import KINDS, Scene
from .scene.tracks import BeamTrack

__all__ = ["beam_truth", "open_truth", "write_truth"]

_BLOCK = 20_000.0


def beam_truth(scene: Scene, beam: str, *, sc_orient: int = 1) -> xr.Dataset:
    """Truth along one beam on the 2 m grid.

    Parameters
    ----------
    scene : Scene
    beam : str
    sc_orient : int

    Returns
    -------
    xarray.Dataset
        Dim ``x_atc`` (lower edges, multiples of 2 m): ``point_class`` and ``point_kind`` at the cell's
        centre, ``point_height``; ``class_fraction`` (x_atc, surface) and ``footprint_class`` over the
        11 m footprint, ``footprint_height`` (m above the local sea surface), ``h_ref`` (local sea surface
        above the mean sea surface, m), ``freeboard`` (the footprint's height), ``edge_distance`` (m along
        the track to the nearest change of class), ``cloud_optical_depth``, ``x``, ``y``.
    """
    track = scene.track(beam, sc_orient)
    length = schema.SEGMENT_LENGTH
    x_atc = np.arange(np.floor(track.x_start / length), np.ceil(track.x_end / length)) * length
    parts = [
        _block(scene, track, x_atc[a : a + int(_BLOCK / length)])
        for a in range(0, x_atc.size, int(_BLOCK / length))
    ]
    ds = xr.concat(parts, "x_atc")
    ds["edge_distance"] = ("x_atc", _edge_distance(ds["point_class"].values, length))
    ds["edge_distance"].attrs = {
        "units": "m",
        "long_name": "distance along the track to the nearest change of class",
    }
    ds.attrs = {
        "beam": beam,
        "preset": scene.parameters.name,
        "seed": scene.seed,
        "crs": scene.parameters.crs,
        "drift_x": scene.parameters.drift[0],
        "drift_y": scene.parameters.drift[1],
        "pass_time": scene.pass_time.isoformat(),
        "kinds": " ".join(KINDS),
        "footprint_sigma": SIGMA_FOOTPRINT,
    }
    return ds


def _block(scene: Scene, track: BeamTrack, x_atc: NDArray) -> xr.Dataset:
    centre = x_atc + 0.5 * schema.SEGMENT_LENGTH
    strip = make_strip(scene, track, x_atc[0], x_atc[-1] + schema.SEGMENT_LENGTH)
    fraction, height = _footprint(strip, centre)
    cx, cy = track.xy(centre)
    point = scene.surface(cx, cy)
    # Rows of the strip lie on whole metres, and centres on odd ones.
    data = {
        "point_class": (point.surface_class, "class at the centre", "1"),
        "point_kind": (point.kind, "kind of surface at the centre", "1"),
        "point_height": (point.height, "surface height at the centre above the local sea surface", "m"),
        "footprint_class": (fraction.argmax(1).astype("i1"), "class that fills most of the footprint", "1"),
        "footprint_height": (height, "mean surface height in the footprint above the local sea surface", "m"),
        "h_ref": (scene.sea_surface(cx, cy), "local sea surface above the mean sea surface", "m"),
        "freeboard": (height, "total freeboard, mean over the footprint", "m"),
        "cloud_optical_depth": (scene.cloud(cx, cy).astype("f4"), "optical depth of cloud", "1"),
        "x": (cx, "polar stereographic x of the centre", "m"),
        "y": (cy, "polar stereographic y of the centre", "m"),
    }
    ds = xr.Dataset(
        {n: ("x_atc", v, {"long_name": text, "units": units}) for n, (v, text, units) in data.items()},
        {"x_atc": ("x_atc", x_atc, {"units": "m"}), "surface": ("surface", list(schema.CLASSES))},
    )
    ds["class_fraction"] = (
        ("x_atc", "surface"),
        fraction.astype("f4"),
        {"long_name": "share of the footprint by class", "units": "1"},
    )
    return ds


def _footprint(strip: Strip, centre: NDArray) -> tuple[NDArray, NDArray]:
    """Gaussian mean over the footprint of class shares and height, at the centres (on rows of the strip)."""
    across = strip.across_weight
    along = np.exp(-0.5 * (np.arange(-HALF_STRIP, HALF_STRIP + 1) / SIGMA_FOOTPRINT) ** 2)
    along /= along.sum()
    row = np.round(centre - strip.x[0]).astype(int)
    columns = [(strip.surface_class == c) @ across for c in range(3)] + [strip.height @ across]
    smooth = [np.convolve(c, along, "same")[row] for c in columns]
    return np.stack(smooth[:3], 1), smooth[3].astype(np.float32)


def _edge_distance(code: NDArray, length: float) -> NDArray[np.float32]:
    edge = np.flatnonzero(np.diff(code)) + 1.0  # an edge lies on the border before this cell
    if not edge.size:
        return np.full(code.size, np.inf, np.float32)
    centre = np.arange(code.size) + 0.5
    k = np.searchsorted(edge, centre)
    left = np.abs(centre - edge[np.maximum(k - 1, 0)])
    right = np.abs(edge[np.minimum(k, edge.size - 1)] - centre)
    return (length * np.minimum(left, right)).astype(np.float32)


def write_truth(
    scene: Scene, path: str | Path, beams: Sequence[str], *, sc_orient: int = 1, granule: str = ""
) -> Path:
    """Write the truth of some beams to one netCDF file, a group per beam.

    Parameters
    ----------
    scene : Scene
    path : str or Path
    beams : sequence of str
    sc_orient : int
    granule : str
        Name of the granule the truth belongs to.

    Returns
    -------
    Path
    """
    path = Path(path)
    path.unlink(missing_ok=True)
    for k, beam in enumerate(beams):
        ds = beam_truth(scene, beam, sc_orient=sc_orient).assign_attrs(granule=granule)
        encoding = {str(n): {"zlib": True, "complevel": 4, "shuffle": True} for n in ds.data_vars}
        ds.to_netcdf(path, mode="a" if k else "w", group=beam, engine="h5netcdf", encoding=encoding)
    return path


def open_truth(path: str | Path, beam: str | None = None) -> xr.Dataset | dict[str, xr.Dataset]:
    """Read a truth file: one beam, or a dictionary of all.

    Parameters
    ----------
    path : str or Path
    beam : str, optional
    """
    import h5py

    if beam is not None:
        with xr.open_dataset(path, group=beam, engine="h5netcdf") as ds:
            return ds.load()
    with h5py.File(path) as h5:
        beams = [b for b in h5 if b in schema.BEAMS]
    return {b: open_truth(path, b) for b in beams}  # type: ignore[misc]

"""Our tracks beside other instruments: airborne lidar, moored sonar, radar altimeter.

Points are brought to the time of the pass with the drift of the ice, and matched with all segments within a radius:
their mean stands for the place. Neighbouring points share segments, sea surface and weather, so the error of a mean
difference comes from means over blocks along the track, not from the number of points.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from is2ice.science import thickness
from is2ice.science.epoch import EPOCH
from is2ice.science.labels.image_grid import segment_crs, transformer

__all__ = ["compare_points", "draft", "lidar_height", "match_points", "radar_freeboard", "why_none"]

F8 = NDArray[np.float64]


def lidar_height(track: xr.Dataset) -> xr.DataArray:
    """Return the height of the surface above the ellipsoid as another lidar measures it, m.

    It is the mean of the core of the photons less the first-photon bias, which is the photon counter's own. Tides and
    the inverted barometer are left in, since a flight's heights hold them, too: those of another hour differ by them.

    Raises
    ------
    KeyError
        The track lacks ``h_core`` or ``first_photon_bias``.
    """
    height = track["h_core"] - track["first_photon_bias"]
    return height.rename("height_above_ellipsoid").assign_attrs(
        units="m", long_name="surface above the ellipsoid, without first-photon bias"
    )


def draft(track: xr.Dataset) -> xr.DataArray:
    """Return the draft of the ice, as a sonar measures it, m; thickness and snow are computed if absent."""
    ds = track if "thickness" in track else thickness.compute(track)
    return (ds["thickness"] - (ds["freeboard"] - ds["snow_depth"])).assign_attrs(units="m", long_name="draft")


def radar_freeboard(track: xr.Dataset) -> xr.DataArray:
    r"""Return the freeboard that a radar altimeter measures, m; thickness and snow are computed if absent.

    Its pulse is taken to return from the ice below the snow, in which it runs slower: with a depth of snow
    :math:`h_s` of density :math:`\rho` (g/cm3), the radar's freeboard is ours less :math:`h_s (1 + 0.51 \rho)^{1.5}`.
    A pulse that returns from within the snow gives more.

    References
    ----------
    Ulaby et al. 1986, Microwave Remote Sensing, vol. 3; Tilling et al. 2018, Adv. Space Res. 62, 1203.
    """
    ds = track if "thickness" in track else thickness.compute(track)
    density = float(ds["thickness"].attrs["density_snow"][0]) / 1000.0
    found = ds["freeboard"] - ds["snow_depth"] * (1.0 + 0.51 * density) ** 1.5
    return found.assign_attrs(units="m", long_name="freeboard of a radar that sees the ice below the snow")


def match_points(
    track: xr.Dataset,
    points: xr.Dataset,
    *,
    name: str = "freeboard",
    radius: float = 50.0,
    hours: float = 24.0,
    drift: tuple[float, float] = (0.0, 0.0),
) -> xr.Dataset:
    """Match points with the segments around them.

    Parameters
    ----------
    track : xarray.Dataset
        Dims (x_atc,), with x, y, delta_time, ``attrs["crs"]`` and the variable `name`.
    points : xarray.Dataset
        As read by :mod:`is2ice.reports.outside_tables`.
    name : str
        Variable of the track to compare, m.
    radius : float
        Segments this near to a point count, m.
    hours : float
        Largest time between point and pass.
    drift : (u, v)
        Velocity of the ice along x and y of the segments' crs, m/s.

    Returns
    -------
    xarray.Dataset
        The points within `hours`, with ``ours`` (m), ``ours_uncertainty`` (standard error of the mean and, added to it,
        the mean of the variable's own uncertainty, m), ``ours_n``, ``x_atc`` (of the nearest segment, m), ``distance``
        (to it, m) and ``hours`` (point less pass).

    Raises
    ------
    KeyError
        The track lacks the variable.
    """
    from scipy.spatial import cKDTree

    if name not in track:
        raise KeyError(f"{name}: not in the track; it has {', '.join(sorted(map(str, track.data_vars)))}")
    values = np.asarray(track[name].values, float)
    x, y = (np.asarray(track[n].values, float) for n in ("x", "y"))
    good = np.isfinite(values) & np.isfinite(x) & np.isfinite(y)
    crs = segment_crs(track)
    passed = EPOCH + (np.nanmedian(_seconds(track)) * 1e9).astype("m8[ns]")
    late = (points["time"].values - passed) / np.timedelta64(1, "s")
    near = points.isel(point=np.abs(late) <= 3600 * hours)
    late = late[np.abs(late) <= 3600 * hours]
    px, py = transformer("EPSG:4326", crs).transform(near["longitude"].values, near["latitude"].values)
    # The ice that the instrument saw at (px, py) was here when the satellite passed.
    at = np.column_stack([np.asarray(px) - drift[0] * late, np.asarray(py) - drift[1] * late])
    out = near.assign(hours=("point", late / 3600))
    columns = {k: np.full(len(at), np.nan) for k in ("ours", "ours_uncertainty", "x_atc", "distance")}
    count = np.zeros(len(at), int)
    own = track.get(f"{name}_uncertainty")
    error = np.zeros(values.size) if own is None else np.nan_to_num(np.asarray(own.values, float))
    if good.any() and len(at):
        tree = cKDTree(np.column_stack([x[good], y[good]]))
        rows, kept = tree.query_ball_point(at, radius), np.flatnonzero(good)
        distance, nearest = tree.query(at)
        columns["distance"] = distance
        columns["x_atc"] = track["x_atc"].values[kept[nearest]]
        for k, some in enumerate(rows):
            if some:
                v = values[kept[some]]
                count[k] = v.size
                columns["ours"][k] = v.mean()
                spread = v.std(ddof=1) / np.sqrt(v.size) if v.size > 1 else 0.0
                columns["ours_uncertainty"][k] = np.hypot(spread, error[kept[some]].mean())
    found: dict[str, Any] = {k: ("point", v) for k, v in columns.items()}
    return out.assign({"ours_n": ("point", count), **found}).assign_attrs(variable=name)


def _seconds(track: xr.Dataset) -> F8:
    """Seconds since the epoch of the segments."""
    if "delta_time" in track.variables:
        return np.asarray(track["delta_time"].values, float)
    return (track["time"].values - EPOCH) / np.timedelta64(1, "s")


def compare_points(
    track: xr.Dataset,
    points: xr.Dataset,
    *,
    name: str = "freeboard",
    theirs: str | None = None,
    block: float = 5_000.0,
    **matching: Any,
) -> tuple[dict[str, Any], xr.Dataset]:
    """Compare a variable of a track with points of another instrument.

    Parameters
    ----------
    track, points : xarray.Dataset
        As for :func:`match_points`.
    name : str
        Variable of the track.
    theirs : str, optional
        Variable of the points; by default the same name.
    block : float
        Length along the track of the blocks whose means give the error of the bias, m.
    **matching
        ``radius``, ``hours`` and ``drift`` of :func:`match_points`.

    Returns
    -------
    dict
        ``n``, ``points`` (within `hours`), ``bias`` (ours less theirs, m), ``bias_uncertainty`` (from block means; None
        with fewer than two blocks), ``rmse``, ``robust_sd``, ``correlation``, ``z_rms`` (over stated errors, where both
        have one), and ``ours`` and ``theirs`` (mean, median, 5 and 95 %).
    xarray.Dataset
        The matched points.

    Raises
    ------
    KeyError
        A variable is missing.
    """
    theirs = theirs or name
    if theirs not in points:
        raise KeyError(
            f"{theirs}: not among the points; they have {', '.join(sorted(map(str, points.data_vars)))}"
        )
    joined = match_points(track, points, name=name, **matching)
    a, b = np.asarray(joined["ours"].values, float), np.asarray(joined[theirs].values, float)
    good = np.isfinite(a) & np.isfinite(b)
    numbers: dict[str, Any] = {"n": int(good.sum()), "points": joined.sizes["point"], "variable": name}
    if not good.any():
        return numbers, joined
    d = a[good] - b[good]
    low, high = np.quantile(d, [0.16, 0.84])
    numbers |= {
        "bias": float(d.mean()),
        "bias_uncertainty": _block_error(d, joined["x_atc"].values[good], block),
        "rmse": float(np.sqrt((d**2).mean())),
        "robust_sd": float(high - low) / 2,
    }
    varies = good.sum() > 2 and np.ptp(a[good]) > 0 and np.ptp(b[good]) > 0
    numbers["correlation"] = float(np.corrcoef(a[good], b[good])[0, 1]) if varies else None
    if "uncertainty" in joined:
        sigma = np.hypot(joined["ours_uncertainty"].values[good], joined["uncertainty"].values[good])
        numbers["z_rms"] = float(np.sqrt(np.nanmean((d / np.maximum(sigma, 1e-6)) ** 2)))
    return numbers | {"ours": _spread(a[good]), "theirs": _spread(b[good])}, joined


def why_none(track: xr.Dataset, points: xr.Dataset, joined: xr.Dataset, radius: float) -> str:
    """Say why no point met a segment, with what would have to be changed.

    Parameters
    ----------
    track, points : xarray.Dataset
        As given to :func:`match_points`.
    joined : xarray.Dataset
        What that returned.
    radius : float
        As given to it, m.
    """
    if not joined.sizes["point"]:
        first, last = (str(points["time"].values[k])[:16] for k in (0, -1))
        passed = str(EPOCH + (np.nanmedian(_seconds(track)) * 1e9).astype("m8[ns]"))[:16]
        return (
            f"the points are of {first} to {last}, the pass of {passed} (UTC): another pass, or more --hours"
        )
    nearest = float(np.nanmin(np.append(joined["distance"].values, np.inf)))
    if not np.isfinite(nearest):
        return f"the track has no {joined.attrs['variable']} anywhere"
    if nearest > radius:
        return f"the nearest is {nearest / 1e3:,.1f} km from a segment with a value: another place, --drift or --radius"
    return "the points near a segment have no value"


def _block_error(d: F8, x: F8, block: float) -> float | None:
    """Estimate the standard error of a mean difference from the means of blocks along the track."""
    number = np.floor(x / block)
    means = np.array([d[number == k].mean() for k in np.unique(number)])
    return float(means.std(ddof=1) / np.sqrt(means.size)) if means.size > 1 else None


def _spread(values: F8) -> dict[str, float]:
    low, middle, high = np.quantile(values, [0.05, 0.5, 0.95])
    return {"mean": float(values.mean()), "median": float(middle), "p05": float(low), "p95": float(high)}

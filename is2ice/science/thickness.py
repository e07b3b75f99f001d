r"""Sea-ice thickness from total freeboard: the ice floats, and the snow on it is a model's.

With total freeboard :math:`F` (snow included), snow depth :math:`h_s` and densities of sea water, ice and
snow,

.. math:: h_i = \frac{\rho_w}{\rho_w - \rho_i} F - \frac{\rho_w - \rho_s}{\rho_w - \rho_i} h_s .

The snow depth comes from a model of :mod:`is2ice.science.snow`.

Snow ends at the total freeboard, where the ice surface is at sea level; with ``olmi`` it may go
deeper. The flag says so either way.

**Uncertainty.** Thickness is differentiated numerically with respect to freeboard, densities and the snow
model's inputs, which are independent; the parts are kept apart, since that of freeboard is partly random
from segment to segment and those of densities and snow are not. Where freeboard is not positive the
thickness is zero, with the uncertainty that the freeboard's leaves.

**Scale.** Ice floats as a plate, not cell by cell: a ridge is carried by the ice about it. Thickness of single 2 m
cells is there to be averaged; only over floes (hundreds of metres) is it hydrostatic.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from is2ice import schema
from is2ice.errors import SchemaError

from .epoch import EPOCH_DAY
from .snow import SNOW, WARREN_SOUTH, Snow, Warren, snow_model

__all__ = ["Densities", "compute"]

F8 = NDArray[np.float64]
Pair = tuple[Any, float]


@dataclass(frozen=True)
class Densities:
    """Densities and their standard errors, kg/m3 (defaults: those usual with the one-layer method)."""

    water: Pair = (1023.9, 3.0)
    ice: Pair = (915.1, 15.0)
    snow: Pair = (300.0, 100.0)


def compute(
    segments: xr.Dataset,
    snow: str | float | Snow = "auto",
    *,
    densities: Densities | None = None,
    classes: tuple[int, ...] = (schema.THICK_ICE, schema.THIN_ICE, schema.UNLABELLED),
) -> xr.Dataset:
    """Thickness of the ice under each segment.

    Parameters
    ----------
    segments : xarray.Dataset
        Any dims: freeboard, freeboard_uncertainty, latitude, longitude, delta_time; surface_class if known.
    snow : str, float or Snow
        A depth in m, or a word of :func:`is2ice.science.snow.snow_model`, such as ``"constant:0.25,0.08"``. "auto" is
        olmi in the south and warren in the north.
    densities : Densities, optional
    classes : tuple of int
        Segments of other classes (open water) are NaN.

    Returns
    -------
    xarray.Dataset
        The segments with ``snow_depth``, ``thickness``, ``thickness_uncertainty``, its parts
        ``thickness_uncertainty_freeboard``, ``_density`` and ``_snow`` (m), and ``thickness_flag``: 0 as
        computed, 1 snow as deep as the freeboard or deeper, 2 freeboard not positive, 3 no snow known, -1 none.

    Raises
    ------
    SchemaError
        A variable is missing.
    ValueError
        Unknown snow model.

    References
    ----------
    Xu et al. 2021, Geophys. Res. Lett. 48, e2021GL093425; Ozsoy-Cicek et al. 2013, J. Geophys. Res. 118, 3547;
    Warren et al. 1999, J. Climate 12, 1814.
    """
    schema.check_dataset(segments, "thickness")
    needed = ("freeboard", "freeboard_uncertainty", "latitude", "longitude", "delta_time")
    missing = [name for name in needed if name not in segments]
    if missing:
        raise SchemaError(
            f"{', '.join(missing)}: missing; thickness needs {', '.join(needed)}. "
            "Run is2ice.freeboard.compute first",
            [f"{name}: missing" for name in missing],
        )
    dims, shape = segments["freeboard"].dims, segments["freeboard"].shape
    flat = {name: np.asarray(segments[name].values, float).ravel() for name in needed}
    model = _snow(snow, flat["latitude"])
    rho = densities or Densities()
    wanted = np.isfinite(flat["freeboard"])
    if "surface_class" in segments:
        wanted &= np.isin(segments["surface_class"].values.ravel(), classes)
    rows = np.flatnonzero(wanted)
    place = {name: flat[name][rows] for name in ("latitude", "longitude")}
    place["month"] = _month(flat["delta_time"][rows]).astype(float)
    central: dict[str, F8] = {"freeboard": flat["freeboard"][rows]}
    error: dict[str, Any] = {"freeboard": flat["freeboard_uncertainty"][rows]}
    for name in ("water", "ice", "snow"):
        value, sigma = getattr(rho, name)
        central[name], error[name] = np.full(rows.size, float(value)), float(sigma)
    for name, (value, sigma) in model.inputs(place).items():
        central[name], error[name] = value, sigma
    depth, thick, flag = _state(model, central)
    parts = {"freeboard": np.zeros(rows.size), "density": np.zeros(rows.size), "snow": np.zeros(rows.size)}
    for name, sigma in error.items():
        group = name if name == "freeboard" else "density" if name in ("water", "ice", "snow") else "snow"
        up, down = ({**central, name: central[name] + s * sigma} for s in (0.5, -0.5))
        parts[group] += (_state(model, up)[1] - _state(model, down)[1]) ** 2
    known = np.isfinite(thick)
    total = np.sqrt(sum(parts.values()))

    def back(values: F8, dtype: str = "f4", fill: float = np.nan) -> tuple[Any, NDArray]:
        whole = np.full(int(np.prod(shape)), fill)
        whole[rows] = values
        return dims, whole.reshape(shape).astype(dtype)

    made: dict[str, Any] = {
        "snow_depth": back(depth),
        "thickness": back(thick),
        "thickness_uncertainty": back(np.where(known, total, np.nan)),
        "thickness_flag": back(flag.astype(float), "i1", -1),
    }
    for name, square in parts.items():
        made[f"thickness_uncertainty_{name}"] = back(np.where(known, np.sqrt(square), np.nan))
    out = segments.assign(made)
    _describe(out, model, rho)
    if rows.size and not np.isfinite(depth).any():
        south, north = place["latitude"].min(), place["latitude"].max()
        out.attrs["notes"] = [
            *out.attrs.get("notes", ()),
            f"no thickness: the snow model {model.name} has no depth between latitudes {south:.2f} and {north:.2f}"
            + (f" (it covers the Arctic north of {WARREN_SOUTH:g} N)" if isinstance(model, Warren) else "")
            + "; snow='auto' takes the model of the hemisphere",
        ]
    return out


def _snow(snow: str | float | Snow, latitude: F8) -> Snow:
    """Return a snow model from its word, or from a depth in m."""
    if isinstance(snow, int | float):
        snow = f"constant:{snow}"
    if not isinstance(snow, str):
        if not hasattr(snow, "inputs"):
            raise TypeError(f"snow: expected a depth in m, a word or a snow model, got {type(snow).__name__}")
        return snow
    if snow == "auto":
        north = bool(np.nanmean(latitude) > 0) if np.isfinite(latitude).any() else False
        snow = "warren" if north else "olmi"
    found = snow_model(snow)
    return SNOW[found]() if isinstance(found, str) else found


def _month(delta_time: F8) -> NDArray[np.int64]:
    day = np.floor(np.nan_to_num(delta_time) / 86400.0).astype("timedelta64[D]")
    date = EPOCH_DAY + day
    return date.astype("datetime64[M]").astype(np.int64) % 12 + 1


def _state(model: Snow, inputs: Mapping[str, F8]) -> tuple[F8, F8, NDArray[np.int8]]:
    """Snow depth, thickness and flag."""
    freeboard = inputs["freeboard"]
    positive = np.maximum(freeboard, 0.0)
    wanted = model.depth(positive, inputs)
    depth = np.clip(wanted, 0.0, positive if getattr(model, "limited", True) else np.inf)
    water, ice, snow = inputs["water"], inputs["ice"], inputs["snow"]
    thick = (water * positive - (water - snow) * depth) / (water - ice)
    flag = np.where(wanted > positive, 1, 0).astype(np.int8)
    flag[freeboard <= 0] = 2
    flag[~np.isfinite(wanted)] = 3
    return depth, thick, flag


_ABOUT = {
    "snow_depth": "snow depth",
    "thickness": "sea-ice thickness",
    "thickness_uncertainty": "standard error of thickness",
    "thickness_uncertainty_freeboard": "part of it from freeboard (random between segments in its height part)",
    "thickness_uncertainty_density": "part of it from densities (alike for all segments)",
    "thickness_uncertainty_snow": "part of it from the snow model (alike for neighbouring segments)",
}


def _numbers(model: Snow) -> dict[str, float]:
    """Return the plain numbers of a snow model, such as the depth of a constant one, for attributes."""
    return {f"snow_model_{k}": v for k, v in vars(model).items() if isinstance(v, int | float)}


def _describe(ds: xr.Dataset, model: Snow, rho: Densities) -> None:
    for name, text in _ABOUT.items():
        ds[name].attrs = {"units": "m", "long_name": text, "snow_model": model.name, **_numbers(model)}
    ds["thickness"].attrs |= {
        "standard_name": "sea_ice_thickness",
        "ancillary_variables": "thickness_uncertainty thickness_flag",
        **{f"density_{k}": list(getattr(rho, k)) for k in ("water", "ice", "snow")},
    }
    ds["thickness_flag"].attrs = {
        "units": "1",
        "long_name": "how the thickness came about",
        "flag_values": [-1, 0, 1, 2, 3],
        "flag_meanings": "none computed snow_reaches_sea_level freeboard_not_positive no_snow_known",
    }

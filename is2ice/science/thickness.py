r"""Sea-ice thickness from total freeboard: the ice floats, and the snow on it is a model's.

With total freeboard :math:`F` (snow included), snow depth :math:`h_s` and densities of sea water, ice and
snow,

.. math:: h_i = \frac{\rho_w}{\rho_w - \rho_i} F - \frac{\rho_w - \rho_s}{\rho_w - \rho_i} h_s .

The snow is an object with a depth and independent, uncertain inputs:

``constant``
    one depth for all.
``warren``
    Warren et al. (1999): a surface fitted to the snow depths of the Arctic stations for each month; halved
    over young ice by `scale`. The density of snow is that of `densities`, not their monthly one.
``climatology``
    any monthly field on longitude and latitude, or x and y.
``olmi``
    the improved one-layer method for the Antarctic (Xu et al. 2021). In each sector ice thickness and snow
    depth follow the total freeboard linearly (Ozsoy-Cicek et al. 2013), which gives their ratio R alone; snow
    and ice then float as one layer of density :math:`\rho = (R \rho_i + \rho_s) / (R + 1)` and thickness
    :math:`F \rho_w / (\rho_w - \rho)`, of which the snow is :math:`1 / (R + 1)`. This is the equation above with that
    snow depth.

Snow of the other models ends at the total freeboard, where the ice surface is at sea level; of ``olmi`` it
may go deeper. The flag says so either way.

**Uncertainty.** Thickness is differentiated numerically with respect to freeboard, densities and the snow
model's inputs, which are independent; the parts are kept apart, since that of freeboard is partly random
from segment to segment and those of densities and snow are not. Where freeboard is not positive the
thickness is zero, with the uncertainty that the freeboard's leaves.

**Scale.** Ice floats as a plate, not cell by cell: a ridge is carried by the ice about it. Thickness of single 2 m
cells is there to be averaged; only over floes (hundreds of metres) is it hydrostatic.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from is2ice import schema
from is2ice.errors import SchemaError

__all__ = ["SNOW", "Climatology", "Constant", "Densities", "OneLayer", "Snow", "Warren", "compute"]

F8 = NDArray[np.float64]
Pair = tuple[Any, float]


@dataclass(frozen=True)
class Densities:
    """Densities and their standard errors, kg/m3 (defaults: those usual with the one-layer method)."""

    water: Pair = (1023.9, 3.0)
    ice: Pair = (915.1, 15.0)
    snow: Pair = (300.0, 100.0)


class Snow(Protocol):
    """A snow model: its uncertain inputs, and the depth that follows from them."""

    @property
    def name(self) -> str:
        """For attributes and messages."""

    def inputs(self, place: Mapping[str, F8]) -> dict[str, tuple[F8, F8]]:
        """Independent inputs and their standard errors, each of the shape of the places."""

    def depth(self, freeboard: F8, inputs: Mapping[str, F8]) -> F8:
        """Snow depth, m, from total freeboard and the inputs (densities among them: water, ice, snow)."""


@dataclass(frozen=True)
class Constant:
    """The same depth everywhere, m."""

    value: float = 0.2
    error: float = 0.1
    name: str = "constant"

    def inputs(self, place: Mapping[str, F8]) -> dict[str, tuple[F8, F8]]:
        """The depth."""
        shape = place["latitude"].shape
        return {"snow_depth": (np.full(shape, self.value), np.full(shape, self.error))}

    def depth(self, freeboard: F8, inputs: Mapping[str, F8]) -> F8:
        """As given."""
        return inputs["snow_depth"]


#: Warren et al. 1999, table 1, per month: H0, A, B, C, D, E (cm), rms of the fit, interannual deviation. Checked number
#: by number against the tables of pysiral (`pysiral/auxdata/snow`, columns 1 to 7 and 10) and, for the coefficients, of
#: GeoMapApp (`haxby/db/ice/Snow.java`), which also has x along 0 E and y along 90 E in degrees from the pole.
_WARREN_DEPTH = np.array(
    [
        (28.01, 0.1270, -1.1833, -0.1164, -0.0051, 0.0243, 7.6, 4.6),
        (30.28, 0.1056, -0.5908, -0.0263, -0.0049, 0.0044, 7.9, 5.5),
        (33.89, 0.5486, -0.1996, 0.0280, 0.0216, -0.0176, 9.4, 6.2),
        (36.80, 0.4046, -0.4005, 0.0256, 0.0024, -0.0641, 9.4, 6.1),
        (36.93, 0.0214, -1.1795, -0.1076, -0.0244, -0.0142, 10.6, 6.3),
        (36.59, 0.7021, -1.4819, -0.1195, -0.0009, -0.0603, 14.1, 8.1),
        (11.02, 0.3008, -1.2591, -0.0811, -0.0043, -0.0959, 9.5, 6.7),
        (4.64, 0.3100, -0.6350, -0.0655, 0.0059, -0.0005, 4.6, 3.3),
        (15.81, 0.2119, -1.0292, -0.0868, -0.0177, -0.0723, 7.8, 3.8),
        (22.66, 0.3594, -1.3483, -0.1063, 0.0051, -0.0577, 8.0, 4.0),
        (25.57, 0.1496, -1.4643, -0.1409, -0.0079, -0.0258, 7.9, 4.3),
        (26.67, -0.1876, -1.4229, -0.1413, -0.0316, -0.0029, 8.2, 4.8),
    ]
)
#: Area the fit stands for: the central Arctic. Outside it the quadratic means nothing.
_WARREN_SOUTH = 70.0


@dataclass(frozen=True)
class Warren:
    """The Arctic climatology of Warren et al. (1999).

    Attributes
    ----------
    scale : float
        Share of the depth: 0.5 for first-year ice, as is usual since Kurtz and Farrell (2011).
    """

    scale: float = 1.0
    name: str = "warren"

    def inputs(self, place: Mapping[str, F8]) -> dict[str, tuple[F8, F8]]:
        """Depth, with fit and interannual errors as independent; NaN south of 70 N."""
        latitude, longitude = place["latitude"], np.radians(place["longitude"])
        polar = 90.0 - latitude
        x, y = polar * np.cos(longitude), polar * np.sin(longitude)
        row = _WARREN_DEPTH[place["month"].astype(int) - 1]
        h, a, b, c, d, e, fit, years = np.moveaxis(row, -1, 0)
        depth = np.maximum(h + a * x + b * y + c * x * y + d * x**2 + e * y**2, 0.0) / 100.0
        outside = ~(latitude >= _WARREN_SOUTH)
        error = np.hypot(fit, years) / 100.0
        return {"snow_depth": tuple(np.where(outside, np.nan, self.scale * v) for v in (depth, error))}  # type: ignore[dict-item]

    def depth(self, freeboard: F8, inputs: Mapping[str, F8]) -> F8:
        """As the climatology says."""
        return inputs["snow_depth"]


@dataclass(frozen=True, eq=False)
class Climatology:
    """A monthly field of snow depth.

    Attributes
    ----------
    field : xarray.DataArray
        Depth, m, dims (month, ...) with month 1-12, on coordinates longitude and latitude (degrees, rising), or
        x and y (m, in `crs`).
    error : xarray.DataArray or float
        Standard error, m: alike, or one for all.
    crs : str
        Of x and y.
    """

    field: xr.DataArray
    error: xr.DataArray | float = 0.1
    crs: str = "EPSG:3976"
    name: str = "climatology"

    def inputs(self, place: Mapping[str, F8]) -> dict[str, tuple[F8, F8]]:
        """Depth at the nearest cell; NaN off the field."""
        depth = self._at(self.field, place)
        if isinstance(self.error, xr.DataArray):
            return {"snow_depth": (depth, self._at(self.error, place))}
        return {"snow_depth": (depth, np.full(depth.shape, float(self.error)))}

    def _at(self, array: xr.DataArray, place: Mapping[str, F8]) -> F8:
        if {"x", "y"} <= set(array.dims):
            from pyproj import Transformer

            to = Transformer.from_crs("EPSG:4326", self.crs, always_xy=True)
            x, y = to.transform(place["longitude"], place["latitude"])
            names = {"x": np.asarray(x), "y": np.asarray(y)}
        elif {"longitude", "latitude"} <= set(array.dims):
            east = float(array["longitude"].max()) > 180.0
            longitude = place["longitude"] % 360.0 if east else place["longitude"]
            names = {"latitude": place["latitude"], "longitude": longitude}
        else:
            raise SchemaError(
                f"climatology: dims {array.dims}; expected month with x and y, or longitude and latitude"
            )
        index, inside = {}, np.isfinite(place["latitude"])
        for name, value in names.items():
            axis = array[name].values.astype(float)
            step = float(np.median(np.abs(np.diff(axis))))
            cell = np.arange(axis.size)
            if name == "longitude" and abs(np.ptp(axis) + step - 360.0) < step / 2:  # the axis meets itself
                axis, cell = np.concatenate([axis - 360.0, axis, axis + 360.0]), np.tile(cell, 3)
            k = np.argsort(axis)
            near = np.clip(np.searchsorted(axis[k], value - step / 2), 0, axis.size - 1)
            inside = inside & (np.abs(axis[k][near] - value) <= step / 2 * (1 + 1e-9))
            index[name] = xr.DataArray(cell[k[near]], dims="point")
        months = array["month"].values.astype(int)
        month = np.searchsorted(months, place["month"].astype(int))
        known = (month < months.size) & (months[np.minimum(month, months.size - 1)] == place["month"])
        index["month"] = xr.DataArray(np.minimum(month, months.size - 1), dims="point")
        return np.where(inside & known, array.isel(index).values.astype(float), np.nan)

    def depth(self, freeboard: F8, inputs: Mapping[str, F8]) -> F8:
        """As the field says."""
        return inputs["snow_depth"]


#: Longitudes of the Antarctic sectors (west, east) and the regressions on total freeboard F (m): ice a + b F, snow
#: c + d F (Ozsoy-Cicek et al. 2013). Sectors, coefficients, densities and errors are those of the public scripts of
#: Mangatane and Vichi (Magata-Mangatane/Antarctic-Sea-ice-thickness, `OLMi_sit_estimation.py`, 84a4d42), compared
#: number by number; Koo's scripts have the same snow for the Ross Sea. The 2013 paper itself could not be read.
#: One difference: where the snow regression is not positive (F below 1.5 cm) theirs give no thickness, ours has
#: no snow.
SECTORS = {
    "western Weddell": (-60.0, -45.0, 0.220, 2.34, 0.009, 0.88),
    "eastern Weddell": (-45.0, 20.0, 0.178, 2.76, -0.010, 0.87),
    "Indian": (20.0, 90.0, 0.260, 3.50, -0.002, 0.83),
    "Pacific": (90.0, 160.0, 0.260, 3.50, -0.002, 0.83),
    "Ross": (160.0, -130.0, 0.209, 2.45, -0.005, 1.05),
    "Amundsen and Bellingshausen": (-130.0, -60.0, 0.169, 2.79, -0.014, 0.95),
}


@dataclass(frozen=True)
class OneLayer:
    """The improved one-layer method (OLMi) for the Antarctic.

    Attributes
    ----------
    offset_error : (ice, snow)
        Standard errors of the regressions' offsets, m.
    slope_error : float
        Of their slopes, as a share (both as assumed by Mangatane and Vichi for circumpolar maps).
    limited : bool
        Whether snow ends at the freeboard; the published method lets it go deeper, which means flooded ice.
    """

    offset_error: tuple[float, float] = (0.10, 0.01)
    slope_error: float = 0.3
    limited: bool = False
    name: str = "olmi"

    def inputs(self, place: Mapping[str, F8]) -> dict[str, tuple[F8, F8]]:
        """Regression coefficients of each place's sector; NaN in the north."""
        longitude = (place["longitude"] + 180.0) % 360.0 - 180.0
        table = np.full((4, longitude.size), np.nan)
        for west, east, *coefficients in SECTORS.values():
            inside = (longitude - west) % 360.0 < (east - west) % 360.0
            table[:, inside & (place["latitude"] < 0)] = np.array(coefficients)[:, None]
        a, b, c, d = table
        one = np.ones(longitude.size)
        return {
            "ice_offset": (a, self.offset_error[0] * one),
            "ice_slope": (b, self.slope_error * b),
            "snow_offset": (c, self.offset_error[1] * one),
            "snow_slope": (d, self.slope_error * d),
        }

    def depth(self, freeboard: F8, inputs: Mapping[str, F8]) -> F8:
        """Snow part of the one layer that floats with this freeboard."""
        ice = inputs["ice_offset"] + inputs["ice_slope"] * freeboard
        snow = np.maximum(inputs["snow_offset"] + inputs["snow_slope"] * freeboard, 0.0)
        with np.errstate(invalid="ignore", divide="ignore"):
            share = snow / (ice + snow)
            bulk = (1.0 - share) * inputs["ice"] + share * inputs["snow"]
            return share * freeboard * inputs["water"] / (inputs["water"] - bulk)


#: Snow models by name.
SNOW: dict[str, Callable[[], Any]] = {"constant": Constant, "olmi": OneLayer, "warren": Warren}


def compute(
    segments: xr.Dataset,
    snow: str | Snow = "auto",
    *,
    densities: Densities | None = None,
    classes: tuple[int, ...] = (schema.THICK_ICE, schema.THIN_ICE, schema.UNLABELLED),
) -> xr.Dataset:
    """Thickness of the ice under each segment.

    Parameters
    ----------
    segments : xarray.Dataset
        Any dims: freeboard, freeboard_uncertainty, latitude, longitude, delta_time; surface_class if known.
    snow : {"auto", "constant", "olmi", "warren"} or Snow
        "auto" is olmi in the south and warren in the north.
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
            + (f" (it covers the Arctic north of {_WARREN_SOUTH:g} N)" if isinstance(model, Warren) else "")
            + "; snow='auto' takes the model of the hemisphere",
        ]
    return out


def _snow(snow: str | Snow, latitude: F8) -> Snow:
    if not isinstance(snow, str):
        return snow
    if snow == "auto":
        north = bool(np.nanmean(latitude) > 0) if np.isfinite(latitude).any() else False
        snow = "warren" if north else "olmi"
    if snow not in SNOW:
        raise ValueError(
            f"snow {snow!r}: expected auto, {', '.join(SNOW)}, or a snow object such as Climatology"
        )
    return SNOW[snow]()


def _month(delta_time: F8) -> NDArray[np.int64]:
    day = np.floor(np.nan_to_num(delta_time) / 86400.0).astype("timedelta64[D]")
    date = np.datetime64("2018-01-01", "D") + day
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


def _describe(ds: xr.Dataset, model: Snow, rho: Densities) -> None:
    for name, text in _ABOUT.items():
        ds[name].attrs = {"units": "m", "long_name": text, "snow_model": model.name}
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

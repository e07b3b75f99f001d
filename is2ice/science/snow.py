r"""Snow on sea ice: models of its depth, and their names.

A model is an object with a depth and independent, uncertain inputs:

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
    :math:`F \rho_w / (\rho_w - \rho)`, of which the snow is :math:`1 / (R + 1)`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from is2ice.errors import SchemaError

__all__ = ["HELP", "SNOW", "Climatology", "Constant", "OneLayer", "Snow", "Warren", "snow_model"]

F8 = NDArray[np.float64]
#: Help for a flag that takes the name of a snow model.
HELP = "auto, olmi, warren[:SHARE], constant[:DEPTH[,ERROR]] (m), or a NetCDF file with a monthly field."


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
        """Return the depth."""
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
WARREN_SOUTH = 70.0


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
        outside = ~(latitude >= WARREN_SOUTH)
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
        Projection of x and y.
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
        Error of the slopes, as a share (both as assumed by Mangatane and Vichi for circumpolar maps).
    limited : bool
        True if snow ends at the freeboard; the published method lets it go deeper, which means flooded ice.
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


def snow_model(text: str) -> str | Snow:
    """Return the snow model that a word stands for.

    Parameters
    ----------
    text : str
        ``auto``, ``olmi``, ``warren``, ``constant``; ``warren:0.5`` (half the depth, for first-year ice);
        ``constant:0.25`` or ``constant:0.25,0.08`` (depth and standard error, m); or a NetCDF file whose variable
        ``snow_depth`` (or only one) has dims month and latitude, longitude or y, x, and if it has ``snow_depth_error``
        its standard error. A global attribute ``crs`` names the system of x and y.

    Raises
    ------
    ValueError
        None of these.
    """
    if text in ("auto", *SNOW):
        return text
    kind, _, rest = text.partition(":")
    if kind in ("constant", "warren") and rest:
        try:
            numbers = [float(v) for v in rest.split(",")]
        except ValueError:
            numbers = []
        if len(numbers) in ((1, 2) if kind == "constant" else (1,)) and min(numbers) >= 0:
            if kind == "warren":
                return Warren(scale=numbers[0])
            return Constant(value=numbers[0], error=numbers[1] if len(numbers) > 1 else Constant.error)
    elif text.endswith(".nc"):
        return _field(os.path.abspath(text))
    raise ValueError(f"snow {text!r}: expected {HELP}")


@lru_cache(maxsize=4)
def _field(path: str) -> Climatology:
    if not os.path.isfile(path):
        raise ValueError(f"snow {path}: no such file; expected {HELP}")
    with xr.open_dataset(path, decode_times=False) as ds:
        name = "snow_depth" if "snow_depth" in ds else str(next(iter(ds.data_vars), ""))
        if not name or "month" not in ds[name].dims:
            raise ValueError(
                f"{path}: expected a variable snow_depth with a dimension month (1 to 12), found "
                + (f"{name} with {', '.join(map(str, ds[name].dims))}" if name else "no variable")
            )
        field = ds[name].load()
        error = ds["snow_depth_error"].load() if "snow_depth_error" in ds else 0.1
        return Climatology(field, error, crs=str(ds.attrs.get("crs", "EPSG:3976")))

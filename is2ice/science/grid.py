r"""Maps of segments: sums per cell that add up in any order, and what they mean.

A track is summed over the cells it crosses (:func:`cell_sums`), sums of tracks are added
(:func:`add`), and the total becomes a map (:func:`to_map`). The sums are whole numbers: each addend is
rounded to a multiple of a power of two before it is added, and whole numbers add up to the same total in
any order, on any engine, bit for bit. Rounding costs at most 3e-8 of a unit per segment.

A cell's mean weighs each segment by its length, as ATL20 does. Its standard error has two parts: the
noise of segments is independent, the error of the local sea surface is shared by all segments of a track
in a cell and independent between tracks,

.. math:: \sigma^2 = \frac{\sum_i (l_i \sigma_{h,i})^2 + \sum_{tracks} (\sum_i l_i \sigma_{ref,i})^2}
          {(\sum_i l_i)^2},

so a track must be summed whole: parts of it would count as independent. It says how well the mean of what
was crossed is known, not how well the tracks stand for the cell.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from is2ice import schema
from is2ice.errors import SchemaError

from .epoch import EPOCH_DAY
from .leads import used_lead_index

__all__ = ["GRIDS", "Grid", "Period", "add", "cell_sums", "product_sums", "to_map"]

F8 = NDArray[np.float64]
I8 = NDArray[np.int64]
Period = Literal["week", "month", "all"]

#: One unit of a sum is this many of the whole numbers that are added.
UNIT = 2.0**24
_LIMIT = 2**62


@dataclass(frozen=True)
class Grid:
    """A regular grid in a map projection.

    Attributes
    ----------
    name, crs : str
    cell : float
        Edge of a cell, m.
    left, top : float
        Outer corner of the first cell, m.
    columns, rows : int
    """

    name: str
    crs: str
    cell: float
    left: float
    top: float
    columns: int
    rows: int

    def with_cell(self, cell: float) -> Grid:
        """Return the same area with cells of another size (which must fit in it a whole number of times)."""
        width, height = self.columns * self.cell, self.rows * self.cell
        columns, rows = width / cell, height / cell
        if cell <= 0 or columns % 1 or rows % 1:
            raise ValueError(
                f"cell={cell:g} m: expected a size that divides {self.name}'s {width:g} by {height:g} m"
            )
        return replace(self, cell=float(cell), columns=int(columns), rows=int(rows))

    def part(self, row: I8, column: I8) -> tuple[Grid, I8, I8]:
        """Return the least part that holds some cells, and their rows and columns in it."""
        r, c = int(row.min()), int(column.min())
        cut = replace(
            self,
            left=self.left + c * self.cell,
            top=self.top - r * self.cell,
            columns=int(column.max()) - c + 1,
            rows=int(row.max()) - r + 1,
        )
        return cut, row - r, column - c

    @property
    def x(self) -> F8:
        """Centres of the columns, m."""
        return self.left + self.cell * (np.arange(self.columns) + 0.5)

    @property
    def y(self) -> F8:
        """Centres of the rows, m, from the top down."""
        return self.top - self.cell * (np.arange(self.rows) + 0.5)

    def locate(self, longitude: ArrayLike, latitude: ArrayLike) -> tuple[I8, I8, NDArray[np.bool_]]:
        """Row and column of positions, and whether each lies on the grid (and in its hemisphere)."""
        x, y = _projection(self.crs).transform(np.asarray(longitude, float), np.asarray(latitude, float))
        with np.errstate(invalid="ignore"):
            column = np.floor((np.asarray(x) - self.left) / self.cell)
            row = np.floor((self.top - np.asarray(y)) / self.cell)
            inside = (column >= 0) & (column < self.columns) & (row >= 0) & (row < self.rows)
        south = np.sign(np.asarray(latitude, float)) < 0
        inside &= south == (self.name.endswith("south"))
        return (
            np.where(inside, row, -1).astype(np.int64),
            np.where(inside, column, -1).astype(np.int64),
            inside,
        )

    def attrs(self) -> dict[str, Any]:
        """As plain values, for :meth:`of`."""
        return {f"grid_{k}": v for k, v in vars(self).items()}

    @classmethod
    def of(cls, attrs: Mapping[str, Any]) -> Grid:
        """Return the grid that sums or maps were made on, from their attributes."""
        return cls(**{k: attrs[f"grid_{k}"] for k in cls.__dataclass_fields__})


@lru_cache(maxsize=8)
def _projection(crs: str) -> Any:
    from pyproj import Transformer

    return Transformer.from_crs("EPSG:4326", crs, always_xy=True)


#: NSIDC's 25 km grids (as ATL20 has them) and the 25 km EASE-Grid 2.0.
GRIDS = {
    g.name: g
    for g in (
        Grid("nsidc_south", "EPSG:3976", 25e3, -3_950e3, 4_350e3, 316, 332),
        Grid("nsidc_north", "EPSG:3413", 25e3, -3_850e3, 5_850e3, 304, 448),
        Grid("ease2_south", "EPSG:6932", 25e3, -9_000e3, 9_000e3, 720, 720),
        Grid("ease2_north", "EPSG:6931", 25e3, -9_000e3, 9_000e3, 720, 720),
    )
}


# -- sums ---------------------------------------------------------------------------------------------
#: What each class adds its length to.
_CLASS_LENGTH = {code: f"length_{name}" for code, name in enumerate(schema.CLASSES)}
_COUNTS = {
    "n_tracks": "tracks averaged",
    "n_leads": "leads that the sea surface rests on and that begin here",
}
#: Values that stand at one segment for a whole thing (:mod:`is2ice.science.icestats`): averaged by number, over all.
#: They and roughness have no standard error.
EVENTS = ("lead_width", "lead_spacing", "floe_length", "ridge_height")


def cell_sums(
    segments: xr.Dataset,
    grid: Grid,
    *,
    period: Period = "month",
    values: Sequence[str] = ("freeboard",),
    where: Literal["ice", "all"] = "ice",
) -> xr.Dataset:
    """Return sums of segments over the cells and periods they fall in.

    Parameters
    ----------
    segments : xarray.Dataset
        One whole track, or the cube of one granule, with dims (x_atc,) or (beam, x_atc): latitude, longitude,
        delta_time, height_uncertainty, h_ref_uncertainty, the `values`, and, if there, surface_class, lead_index and
        lead_probability.
    grid : Grid
    period : {"month", "week", "all"}
        Calendar months, weeks from Monday (UTC), or all time at once.
    values : sequence of str
        Variables to average. One that has a variable ``<name>_uncertainty`` but is not freeboard takes all of that
        as shared within a track (thickness: its densities and snow are).
    where : {"ice", "all"}
        Surface that means are over: ice, or water too.

    Returns
    -------
    xarray.Dataset
        On ``cell``, sorted: coordinates ``time`` (start of the period), ``row``, ``column``; whole numbers
        ``n_segments``, ``n_tracks``, ``n_leads``, ``length`` (of averaged segments), ``length_observed``,
        ``length_thick_ice`` and so on, and per value ``_n``, ``_length``, ``_sum``, ``_square``, ``_random``,
        ``_common`` and ``_unknown`` (length without a standard error).

    Raises
    ------
    SchemaError
        A variable is missing.
    """
    needed = ["latitude", "longitude", "delta_time", *values]
    missing = [name for name in needed if name not in segments]
    if where == "ice" and "surface_class" not in segments:
        missing.append("surface_class (or where='all')")
    if missing:
        raise SchemaError(
            f"{', '.join(missing)}: missing; a map needs {', '.join(needed)}. Take segments with freeboard",
            [f"{name}: missing" for name in missing],
        )
    length = schema.segment_length(segments)
    beams = range(segments.sizes["beam"]) if "beam" in segments.dims else ()
    parts = []
    for track in [segments.isel(beam=k) for k in beams] or [segments]:
        columns = {name: np.asarray(track[name].values, float) for name in needed}
        n = columns["latitude"].size
        columns["length"] = np.full(n, length)
        columns["code"] = _column(track, "surface_class", n, schema.UNLABELLED)
        columns["lead"] = (
            np.nan_to_num(used_lead_index(track), nan=-1) if "lead_index" in track else np.full(n, -1)
        )
        filled = _column(track, "n_photons", n, 1) > 0
        noise = {name: _errors(track, name, n) for name in values}
        parts.append(_track_sums(columns, filled, noise, grid, period, tuple(values), where))
    return _marked(add(parts), [segments.attrs])


def _column(ds: xr.Dataset, name: str, n: int, missing: float) -> F8:
    """Return a variable as float64, with a value for what is missing."""
    if name not in ds:
        return np.full(n, float(missing))
    return np.nan_to_num(np.asarray(ds[name].values, float), nan=float(missing))


def _errors(track: xr.Dataset, name: str, n: int) -> tuple[F8, F8]:
    """Independent and shared standard errors of a variable."""
    if name == "freeboard":
        return _column(track, "height_uncertainty", n, np.nan), _column(track, "h_ref_uncertainty", n, np.nan)
    return np.zeros(n), _column(track, f"{name}_uncertainty", n, np.nan)


#: Variables of a product's segments that a map needs.
PRODUCT = ("delta_time", "latitude", "longitude", "length", "freeboard", "surface_type", "ssh_flag")


def product_sums(tree: xr.DataTree, grid: Grid, *, period: Period = "month") -> xr.Dataset:
    """Return sums of an ATL10 granule's freeboard, in the form of :func:`cell_sums`.

    Parameters
    ----------
    tree : xarray.DataTree
        Tree from :func:`is2ice.io.icesat2.atl07_atl10.open_atl10`, one beam or all.
    grid, period
        As for :func:`cell_sums`.

    Returns
    -------
    xarray.Dataset
        Means are over all segments with freeboard, as in ATL20. Specular types count as open water, clouds as
        unlabelled, and all else as thick ice, since ATL07 has no thin ice.
    """
    beams = [tree] if "segments" in tree.children else list(tree.children.values())
    parts = []
    for beam in beams:
        ds = beam["segments"].to_dataset()
        n = ds.sizes.get("segment", 0)
        if n and (lacks := [name for name in PRODUCT if name not in ds.variables]):
            raise SchemaError(
                f"{ds.attrs.get('table', 'the segments of a product')} hold no {', '.join(lacks)}, which a map needs; "
                "the file may be a subset made without it",
                lacks,
            )
        columns: dict[str, NDArray] = {
            k: _column(ds, k, n, np.nan) for k in ("latitude", "longitude", "delta_time", "freeboard")
        }
        columns["length"] = _column(ds, "length", n, 0)
        kind = _column(ds, "surface_type", n, 0)  # an unknown type is no ice
        specular = (kind >= 2) & (kind <= 5)
        columns["code"] = np.where(specular, schema.OPEN_WATER, np.where(kind >= 1, 0, -1))
        columns["lead"] = _numbered(_column(ds, "ssh_flag", n, 0) > 0)
        own = _column(ds, "height_uncertainty", n, np.nan)
        shared = np.sqrt(np.maximum(_column(ds, "freeboard_uncertainty", n, np.nan) ** 2 - own**2, 0.0))
        known = np.isfinite(columns["latitude"])
        noise = {"freeboard": (own, shared)}
        parts.append(_track_sums(columns, known, noise, grid, period, ("freeboard",), "all"))
    return _marked(add(parts), [tree.attrs])


def _marked(sums: xr.Dataset, attrs: Iterable[Mapping[Any, Any]]) -> xr.Dataset:
    """Return sums that name the generators of the simulated data in them, if there are any."""
    made_by = schema.simulated_by(*attrs)
    return sums.assign_attrs({schema.SIMULATED: made_by}) if made_by else sums


def _numbered(inside: NDArray[np.bool_]) -> I8:
    """Return the number of the run each row belongs to, -1 outside."""
    start = inside & ~np.concatenate([[False], inside[:-1]])
    return np.where(inside, np.cumsum(start) - 1, -1)


def _track_sums(
    columns: Mapping[str, NDArray],
    filled: NDArray[np.bool_],
    noise: Mapping[str, tuple[F8, F8]],
    grid: Grid,
    period: Period,
    values: tuple[str, ...],
    where: str,
) -> xr.Dataset:
    row, column, inside = grid.locate(columns["longitude"], columns["latitude"])
    use = np.flatnonzero(inside & filled & np.isfinite(columns["delta_time"]))
    day = _period_start(columns["delta_time"][use], period).astype(np.int64)
    cells, at = np.unique(_key(grid, day, row[use], column[use]), return_inverse=True)
    m, weight, code = cells.size, columns["length"][use], columns["code"][use]
    # A lead counts where it begins.
    number, first = np.unique(columns["lead"][use], return_index=True)
    first = first[number >= 0]
    data = {"n_leads": _sum(at[first], np.ones(first.size), m, 1.0), "length_observed": _sum(at, weight, m)}
    for value, name in _CLASS_LENGTH.items():
        data[name] = _sum(at[code == value], weight[code == value], m)
    for name in values:
        v = columns[name][use]
        over_all = where == "all" or name in EVENTS
        good = np.isfinite(v) & (over_all | (code == schema.THICK_ICE) | (code == schema.THIN_ICE))
        v, w, c = v[good], weight[good], at[good]
        own, shared = (error[use][good] for error in noise[name])
        unknown = ~np.isfinite(own + shared)
        own, shared = np.where(unknown, 0.0, own), np.where(unknown, 0.0, shared)
        data[f"{name}_n"] = _sum(c, np.ones(c.size), m, 1.0)
        data[f"{name}_length"] = _sum(c, w, m)
        data[f"{name}_sum"] = _sum(c, w * v, m)
        data[f"{name}_square"] = _sum(c, w * v**2, m)
        data[f"{name}_unknown"] = _sum(c[unknown], w[unknown], m)
        data[f"{name}_random"] = _sum(c, (w * own) ** 2, m)
        data[f"{name}_common"] = _whole((_sum(c, w * shared, m) / UNIT) ** 2)
    data["n_tracks"] = (data[f"{values[0]}_n"] > 0).astype(np.int64)
    return _table(cells, data, grid, {"period": period, "values": list(values), "means_over": where})


def _key(grid: Grid, day: I8, row: I8, column: I8) -> I8:
    """One number for each cell of each period."""
    return (day * grid.rows + row) * grid.columns + column


def _table(cells: I8, data: Mapping[str, I8], grid: Grid, how: Mapping[str, Any]) -> xr.Dataset:
    day, place = np.divmod(cells, grid.rows * grid.columns)
    row, column = np.divmod(place, grid.columns)
    time = day.astype("datetime64[D]").astype("datetime64[s]")
    coords = {"time": ("cell", time), "row": ("cell", row), "column": ("cell", column)}
    out = xr.Dataset({name: ("cell", v) for name, v in data.items()}, coords)
    return out.assign_attrs(**grid.attrs(), **how)


def _whole(value: F8, unit: float = UNIT) -> I8:
    scaled = np.rint(np.asarray(value, float) * unit)
    if scaled.size and np.abs(scaled).max() > _LIMIT:
        raise OverflowError(
            "a cell's sum is too large to be held exactly; use smaller cells or a shorter period"
        )
    return scaled.astype(np.int64)


def _sum(at: NDArray, value: F8, size: int, unit: float = UNIT) -> I8:
    """Whole-number sums of values by cell."""
    out = np.zeros(size, np.int64)
    np.add.at(out, at, _whole(value, unit))
    return out


def _period_start(delta_time: F8, period: Period) -> NDArray[np.datetime64]:
    """First day of the period that each time falls in."""
    day = EPOCH_DAY + np.floor(delta_time / 86400.0).astype("timedelta64[D]")
    if period == "month":
        return day.astype("datetime64[M]").astype("datetime64[D]")
    if period == "week":  # 2018-01-01 was a Monday
        week = np.floor(delta_time / (7 * 86400.0)).astype(np.int64)
        return EPOCH_DAY + (7 * week).astype("timedelta64[D]")
    if period == "all":
        return np.full(delta_time.shape, EPOCH_DAY)
    raise ValueError(f"period={period!r}: expected 'month', 'week' or 'all'")


def add(parts: Iterable[xr.Dataset]) -> xr.Dataset:
    """Add sums, in any order and grouping: the total is the same bit for bit.

    Parameters
    ----------
    parts : iterable of xarray.Dataset
        Sums from :func:`cell_sums`, :func:`product_sums` or this function.

    Raises
    ------
    ValueError
        No part, or parts on different grids or of different periods or values.
    """
    parts = list(parts)
    if not parts:
        raise ValueError("nothing to add: no sums were given")
    told = {k: v for k, v in parts[0].attrs.items() if k != schema.SIMULATED}
    for part in parts[1:]:
        other = [k for k in told if part.attrs.get(k) != told[k]]
        if other:
            k = other[0]
            raise ValueError(
                f"sums differ in {k}: {told[k]!r} and {part.attrs.get(k)!r}; they cannot be added"
            )
    grid = Grid.of(told)
    day = [p["time"].values.astype("datetime64[D]").astype(np.int64) for p in parts]
    keys = [_key(grid, d, p["row"].values, p["column"].values) for d, p in zip(day, parts, strict=True)]
    cells, at = np.unique(np.concatenate(keys), return_inverse=True)
    data = {}
    for name in map(str, parts[0].data_vars):
        data[name] = np.zeros(cells.size, np.int64)
        np.add.at(data[name], at, np.concatenate([p[name].values for p in parts]))
        if cells.size and np.abs(data[name]).max() > _LIMIT:
            raise OverflowError(f"{name}: a cell's sum is too large to be held exactly")
    total = _table(cells, data, grid, {k: told[k] for k in ("period", "values", "means_over")})
    return _marked(total, [p.attrs for p in parts])


# -- maps ---------------------------------------------------------------------------------------------
_LONG = {
    "freeboard": "total freeboard (snow included)",
    "thickness": "sea-ice thickness",
    "snow_depth": "snow depth",
    "roughness": "surface roughness",
}


#: Cells of a map, all times together, beyond which it would fill the memory.
MOST_CELLS = 20_000_000


def to_map(sums: xr.Dataset, *, min_segments: int = 1, crop: bool = False) -> xr.Dataset:
    """Return the map that sums stand for.

    Parameters
    ----------
    sums : xarray.Dataset
    min_segments : int
        Means of fewer segments are NaN.
    crop : bool
        Only the rows and columns that hold data, instead of the whole grid.

    Returns
    -------
    xarray.Dataset
        Dims (time, y, x), one time a period that holds data: per value its length-weighted mean (m), ``_spread``
        (standard deviation) and ``_uncertainty`` (standard error of the mean); ``lead_fraction`` and
        ``thin_ice_fraction`` of the classified length, ``n_segments``, ``n_tracks``, ``n_leads``, ``length_observed``
        (m), ``longitude`` and ``latitude`` of the cells, and the projection ``crs``.

    Raises
    ------
    ValueError
        A map of more than :data:`MOST_CELLS` cells.
    """
    grid, row, column = Grid.of(sums.attrs), sums["row"].values, sums["column"].values
    if crop and row.size:
        grid, row, column = grid.part(row, column)
    times = np.unique(sums["time"].values)
    at = (np.searchsorted(times, sums["time"].values), row, column)
    shape = (times.size, grid.rows, grid.columns)
    if np.prod(shape, dtype=float) > MOST_CELLS:
        raise ValueError(
            f"{grid.name} with cells of {grid.cell:g} m has {grid.rows:,} by {grid.columns:,} cells, too many to hold; "
            "take larger cells, or only the part with data (crop)"
        )

    data: dict[str, Any] = {}

    def put(name: str, values: NDArray, text: str, units: str = "m", **attrs: str) -> None:
        count = values.dtype.kind == "i"
        out = np.full(shape, 0 if count else np.nan, "i4" if count else "f8")
        out[at] = values
        attrs = {"units": units, "long_name": text, "grid_mapping": "crs", **attrs}
        data[name] = (("time", "y", "x"), out, attrs)

    for k, name in enumerate(sums.attrs["values"]):
        stem, number = _LONG.get(name, name.replace("_", " ")), sums[f"{name}_n"].values
        total, enough = sums[f"{name}_length"].values / UNIT, number >= max(min_segments, 1)
        where = "ice" if sums.attrs["means_over"] == "ice" and name not in EVENTS else "ice and water"
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = np.where(enough, sums[f"{name}_sum"].values / UNIT / total, np.nan)
            square = np.where(enough, sums[f"{name}_square"].values / UNIT / total, np.nan)
            variance = (sums[f"{name}_random"].values + sums[f"{name}_common"].values) / UNIT
            known = sums[f"{name}_unknown"].values == 0  # one error unknown, and that of the mean is
            error = np.where(enough & known, np.sqrt(variance) / total, np.nan)
            spread = np.sqrt(np.maximum(square - mean**2, 0.0))
        counted = "n_segments" if k == 0 else f"n_{name}"
        put(
            name,
            mean,
            f"{stem}, length-weighted mean over {where}",
            cell_methods="area: mean (weighted by length along the tracks)",
            ancillary_variables=f"{name}_spread {counted}",
        )
        put(f"{name}_spread", spread, f"standard deviation of {stem} in the cell")
        if name not in (*EVENTS, "roughness"):
            put(f"{name}_uncertainty", error, f"standard error of the mean {stem}")
        put(counted, number, f"segments with {stem}", "1")
    lengths = {code: sums[name].values / UNIT for code, name in _CLASS_LENGTH.items()}
    classified = np.sum(list(lengths.values()), axis=0)
    for name, code in (("lead_fraction", schema.OPEN_WATER), ("thin_ice_fraction", schema.THIN_ICE)):
        with np.errstate(invalid="ignore", divide="ignore"):
            share = np.where(classified > 0, lengths[code] / classified, np.nan)
        put(name, share, f"{schema.CLASSES[code].replace('_', ' ')}, share of the classified length", "1")
    for name, text in _COUNTS.items():
        put(name, sums[name].values, text, "1")
    put("length_observed", sums["length_observed"].values / UNIT, "track length with photons")
    return _marked(_described(xr.Dataset(data), grid, times, str(sums.attrs["period"])), [sums.attrs])


def _described(ds: xr.Dataset, grid: Grid, times: NDArray[np.datetime64], period: str) -> xr.Dataset:
    """Return a map with its coordinates and CF attributes."""
    from pyproj import CRS

    crs = CRS.from_user_input(grid.crs)
    pole = {"latitude_of_projection_origin": -90.0 if grid.name.endswith("south") else 90.0}
    x, y = grid.x, grid.y
    longitude, latitude = _projection(grid.crs).transform(*np.meshgrid(x, y), direction="INVERSE")
    start = "all time" if period == "all" else f"start of the {period}"
    ds = ds.assign_coords(
        time=(
            "time",
            times.astype("datetime64[ns]"),
            {"standard_name": "time", "long_name": start, "units_metadata": "leap_seconds: none"},
        ),
        y=("y", y, {"units": "m", "standard_name": "projection_y_coordinate", "axis": "Y"}),
        x=("x", x, {"units": "m", "standard_name": "projection_x_coordinate", "axis": "X"}),
        longitude=(("y", "x"), longitude, {"units": "degrees_east", "standard_name": "longitude"}),
        latitude=(("y", "x"), latitude, {"units": "degrees_north", "standard_name": "latitude"}),
        crs=((), np.int32(0), {"long_name": crs.name, **crs.to_cf(), **pole, "epsg_code": grid.crs}),
    )
    if period != "all":
        days = times.astype("datetime64[D]")
        end = days + np.timedelta64(7, "D")
        if period == "month":
            end = (days.astype("datetime64[M]") + 1).astype("datetime64[D]")
        bounds = np.stack([days, end], axis=1).astype("datetime64[ns]")
        ds["time_bounds"] = (("time", "bound"), bounds)
        ds["time"].attrs["bounds"] = "time_bounds"
    ds.attrs = {**grid.attrs(), "period": period, "Conventions": "CF-1.11"}
    return ds

"""Tracks as others read them: GeoDataFrame, Parquet, CSV, NetCDF, a tree of a granule, and what to cite."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from is2ice import schema
from is2ice.errors import require
from is2ice.io.remote.whole_files import Address, address, written
from is2ice.io.stores import cf_attributes
from is2ice.io.stores.declarations import Declaration, find_declaration
from is2ice.version import __version__

if TYPE_CHECKING:
    import geopandas
    import pandas as pd
    import xarray as xr

__all__ = [
    "choose",
    "cite",
    "to_csv",
    "to_flatgeobuf",
    "to_frame",
    "to_geodataframe",
    "to_geopackage",
    "to_netcdf",
    "to_parquet",
    "writer",
]

#: Attributes that differ between the beams of a granule; they stand in the groups only.
_OF_A_BEAM = {"beam", "beam_strength", "spot", "id", "title", "n_cells", "n_filled", "checksum", "inputs"}

_ATL03 = (
    "Neumann, T. A., et al. ATLAS/ICESat-2 L2A Global Geolocated Photon Data, Version {version}. NASA National Snow "
    "and Ice Data Center Distributed Active Archive Center. https://doi.org/10.5067/ATLAS/ATL03.{release}"
)
_PAPER = (
    "Iqrah, J. M., Koo, Y., Wang, W., Xie, H., Prasad, S. K. (2025). Scalable Higher Resolution Polar Sea Ice "
    "Classification and Freeboard Calculation from ICESat-2 ATL03 Data. arXiv:2502.02700"
)


def to_frame(ds: xr.Dataset) -> pd.DataFrame:
    """Return the filled segments as a table, one row each; ``time`` in UTC, probabilities one column a class."""
    import pandas as pd

    ds, parts = schema.with_coordinates(ds), []
    for part in [ds.isel(beam=[k]) for k in range(ds.sizes["beam"])] if "beam" in ds.dims else [ds]:
        named = part["beam"].values if "beam" in part.coords else part.attrs.get("beam", "")
        beam = str(np.ravel(named)[0])  # a coordinate with or without a dimension, or an attribute
        part = part.squeeze("beam", drop=True) if "beam" in part.dims else part
        filled = np.flatnonzero(np.asarray(part["n_photons"]) > 0)
        part = part.isel(x_atc=filled).load()
        columns: dict[str, Any] = {"granule": str(part.attrs.get("granule", "")), "beam": beam}
        if made_by := schema.simulated_by(part.attrs):
            columns[schema.SIMULATED] = made_by
        columns["x_atc"] = part["x_atc"].values
        for name, a in part.variables.items():
            if a.dims == ("x_atc",) and name not in ("x_atc", "time"):
                columns[str(name)] = a.values
            elif a.dims == ("x_atc", "surface"):
                for i, surface in enumerate(part["surface"].values):
                    columns[f"{name}_{surface}"] = a.values[:, i]
        frame = pd.DataFrame(columns)
        frame.insert(list(frame.columns).index("x_atc") + 1, "time", part["time"].values)
        parts.append(frame)
    return pd.concat(parts, ignore_index=True)


def to_geodataframe(ds: xr.Dataset) -> geopandas.GeoDataFrame:
    """Return the table of :func:`to_frame` with points (EPSG:4326)."""
    require("geopandas")
    import geopandas

    frame = to_frame(ds)
    points = geopandas.points_from_xy(frame["longitude"], frame["latitude"])
    return geopandas.GeoDataFrame(frame, geometry=points, crs="EPSG:4326")


def to_parquet(ds: xr.Dataset, path: Address) -> Path | str:
    """Write the filled segments as GeoParquet (``.parquet``).

    Raises
    ------
    ValueError
        A name that says another format.
    StoreError
        Not to be written there.
    """
    require("geopandas", "pyarrow")
    with _written(path, ".parquet", ".geoparquet") as file:
        to_geodataframe(ds).to_parquet(file)
    return address(path)


def to_geopackage(ds: xr.Dataset, path: Address) -> Path | str:
    """Write the filled segments as points of a GeoPackage (``.gpkg``), layer ``segments``.

    Raises
    ------
    ValueError, StoreError
        As :func:`to_parquet`.
    """
    with _written(path, ".gpkg") as file:
        to_geodataframe(ds).to_file(file, driver="GPKG", layer="segments")
    return address(path)


def to_flatgeobuf(ds: xr.Dataset, path: Address) -> Path | str:
    """Write the filled segments as points of a FlatGeobuf file (``.fgb``).

    Raises
    ------
    ValueError, StoreError
        As :func:`to_parquet`.
    """
    with _written(path, ".fgb") as file:
        to_geodataframe(ds).to_file(file, driver="FlatGeobuf")
    return address(path)


def writer(path: str | os.PathLike[str]) -> Callable[..., Path | str]:
    """Return the function that writes the format that a file name ends in.

    Raises
    ------
    MissingExtraError
        The format needs a package that is not installed.
    ValueError
        For another ending.
    """
    name = os.fspath(path).lower()
    for ending, write in WRITERS.items():
        if name.endswith(ending):
            require(*_PACKAGES.get(write, ()))
            return write
    raise ValueError(f"{path}: expected a file name that ends in one of {', '.join(WRITERS)}")


def choose(ds: xr.Dataset, variables: Iterable[str]) -> xr.Dataset:
    """Return segments with some variables only; positions, time and what exports need stay.

    Raises
    ------
    ValueError
        For a variable that the segments lack.
    """
    ds, wanted = schema.with_coordinates(ds), list(dict.fromkeys(variables))
    if lacks := [n for n in wanted if n not in ds.variables]:
        raise ValueError(
            f"variables: no {', '.join(lacks)} here; there are {', '.join(map(str, ds.data_vars))}"
        )
    kept = [n for n in ("n_photons", "delta_time") if n in ds.data_vars]
    return ds[list(dict.fromkeys([*kept, *(n for n in wanted if n in ds.data_vars)]))]


def to_csv(ds: xr.Dataset, path: Address) -> Path | str:
    """Write the filled segments as CSV (``.csv``, or compressed: ``.csv.gz``).

    Raises
    ------
    ValueError, StoreError
        As :func:`to_parquet`.
    """
    with _written(path, ".csv", ".csv.gz", ".csv.bz2", ".csv.xz", ".csv.zip") as file:
        to_frame(ds).to_csv(file, index=False)
    return address(path)


def to_netcdf(
    ds: xr.Dataset,
    path: Address,
    *,
    declaration: Declaration | str | os.PathLike[str] | None = None,
    creator: str = "",
    publisher: str = "",
    institution: str = "",
    licence: str = "",
) -> Path | str:
    """Write tracks as NetCDF that follows CF-1.11 and ACDD-1.3: one beam in the root, several in a group each.

    Parameters
    ----------
    ds : xarray.Dataset
    path : path
    declaration : Declaration, name or path, optional
        Declaration of a store: creator, publisher, institution and licence come from it. A
        declaration shipped with the package names its own makers, not the user's, and gives none of the four.
    creator, publisher, institution, licence : str
        Take precedence over the declaration; creator and publisher as ``Name <address> (URL)``. What is named
        nowhere comes from ``IS2ICE_CREATOR`` and the like, or stays away
        (:func:`is2ice.io.stores.declarations.credit`).

    Raises
    ------
    ValueError
        A name that does not end in ``.nc``.
    StoreError
        The file cannot be written.
    """
    import xarray as xr

    credits = _credited(
        declaration,
        {"creator": creator, "publisher": publisher, "institution": institution, "licence": licence},
    )
    several = ds.sizes.get("beam", 1) > 1
    encoding = {"x_atc": {"_FillValue": None}}
    with _written(path, ".nc", ".nc4") as file:
        if not several:
            _described(ds, credits).to_netcdf(file, engine="h5netcdf", encoding=encoding)
            return address(path)
        for k, beam in enumerate(map(str, ds["beam"].values)):
            track = _described(ds.isel(beam=[k]), credits)
            if k == 0:
                common = {n: v for n, v in track.attrs.items() if n not in _OF_A_BEAM}
                xr.Dataset(attrs=common | {"beams": " ".join(map(str, ds["beam"].values))}).to_netcdf(
                    file, engine="h5netcdf"
                )
            track.to_netcdf(file, mode="a", group=beam, engine="h5netcdf", encoding=encoding)
    return address(path)


def _described(ds: xr.Dataset, declaration: Declaration) -> xr.Dataset:
    """Return one track with the attributes of CF and ACDD in types that NetCDF holds."""
    attrs = dict(ds.attrs)
    if "beam" in ds.coords:
        attrs["beam"] = str(np.ravel(ds["beam"].values)[0])
        ds = ds.squeeze("beam", drop=True) if "beam" in ds.dims else ds
        ds = ds.drop_vars(("beam", "spot"), errors="ignore")
    out = cf_attributes.describe(
        ds.load().assign_attrs(attrs),
        granule=str(attrs.get("granule", "track")),
        beam=str(attrs.get("beam", "")),
        inputs=str(attrs.get("inputs", "")),
        declaration=declaration,
    )
    for a in out.variables.values():  # attributes of the variable's own type
        for name in {"flag_values", "flag_masks", "valid_range"} & a.attrs.keys():
            a.attrs[name] = np.array(a.attrs[name], a.dtype)
    for name, value in list(out.attrs.items()):
        if isinstance(value, list):
            out.attrs[name] = "; ".join(map(str, value))
        elif isinstance(value, bool):
            out.attrs[name] = int(value)
    return out


def _credited(declaration: Declaration | str | os.PathLike[str] | None, named: dict[str, Any]) -> Declaration:
    """Return the declaration with the names a user gives, and without those of a declaration that the package ships."""
    if declaration is None:
        declaration = Declaration("", "", "", "", "", "", "")
    elif not isinstance(declaration, Declaration):
        own = os.fspath(declaration).endswith(".toml") or bool(os.environ.get("IS2ICE_STORES"))
        declaration = find_declaration(declaration)
        if not own:
            declaration = replace(declaration, creator="", publisher="", institution="", licence="")
    return replace(declaration, **{name: value for name, value in named.items() if value})


#: Ending of a file name -> function that writes it.
WRITERS: dict[str, Callable[..., Path | str]] = {
    ".nc": to_netcdf,
    ".nc4": to_netcdf,
    ".parquet": to_parquet,
    ".geoparquet": to_parquet,
    ".gpkg": to_geopackage,
    ".fgb": to_flatgeobuf,
    ".csv": to_csv,
    ".csv.gz": to_csv,
}
#: Packages that a format needs.
_PACKAGES = {
    to_parquet: ("geopandas", "pyarrow"),
    to_geopackage: ("geopandas",),
    to_flatgeobuf: ("geopandas",),
}


@contextmanager
def _written(path: Address, *endings: str) -> Iterator[Path]:
    """Check the name of a file that is about to be written, and give the path to write to."""
    name = os.fspath(path)
    if not name.lower().endswith(endings):
        raise ValueError(f"{name}: expected a file name that ends in {' or '.join(endings)}")
    with written(path) as file:
        yield file


def cite(ds: xr.Dataset) -> str:
    """Citations of these data: photons (for simulated ones their generator), method, software, and the store's own."""
    release, made_by = str(ds.attrs.get("release", "006")), schema.simulated_by(ds.attrs)
    lines = [
        f"Simulated photons in the layout of ATL03: {made_by}. No satellite measured them."
        if made_by
        else _ATL03.format(version=release.lstrip("0") or release, release=release),
        _PAPER,
        f"The is2ice developers: is2ice {ds.attrs.get('is2ice_version', __version__)}.",
    ]
    if ds.attrs.get("citation"):
        lines.append(str(ds.attrs["citation"]))
    return "\n".join(lines)


def known(ds: xr.Dataset) -> xr.Dataset:
    """Return the dataset if it holds segments; else raise.

    Raises
    ------
    ValueError
        For a dataset without segments (xarray hides an AttributeError of an accessor).
    """
    ds = schema.with_coordinates(ds) if "x_atc" in ds.dims else ds
    lacks = [n for n in ("n_photons", "delta_time", "latitude", "longitude") if n not in ds.variables]
    if lacks or "x_atc" not in ds.dims:
        raise ValueError(
            f"ds.is2ice: expected segments along x_atc, as is2ice.open_track gives; this dataset lacks "
            f"{', '.join(lacks) or 'x_atc'} (vocabulary: is2ice.schema, {schema.SCHEMA_VERSION})"
        )
    return ds.drop_vars(("spatial_ref", "trajectory"), errors="ignore")

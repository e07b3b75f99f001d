"""Accessor ``ds.is2ice``: exports, figures and citation of segments from the dataset itself.

Registered by ``import is2ice`` if xarray is loaded, else by the first use of any of its names.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xarray as xr

from is2ice import schema

from . import export

if TYPE_CHECKING:
    import geopandas

    from .nasa_comparison import Comparison

__all__ = ["IS2IceAccessor"]


@xr.register_dataset_accessor("is2ice")
class IS2IceAccessor:
    """Segments of one or several beams.

    Raises
    ------
    ValueError
        On first use, where the dataset holds no segments.
    """

    def __init__(self, ds: xr.Dataset) -> None:
        self._ds = export.known(ds)

    def __repr__(self) -> str:
        ds = self._ds
        named = ds["beam"].values.ravel() if "beam" in ds.coords else [ds.attrs.get("beam", "?")]
        beams = ", ".join(map(str, named))
        km = ds.sizes["x_atc"] * schema.segment_length(ds) / 1e3
        about = f"is2ice segments of {ds.attrs.get('granule', '?')}: {beams}; {km:.1f} km"
        return f"<{schema.titled(about, ds.attrs)}>"

    def _repr_html_(self) -> str:
        import html

        ds = self._ds
        about = (schema.SIMULATED, "granule", "release", "rgt", "cycle", "crs", "height_reference", "traffic")
        rows = {k: ds.attrs.get(k) for k in about}
        body = "".join(
            f"<tr><th>{k}</th><td>{html.escape(str(v))}</td></tr>" for k, v in rows.items() if v is not None
        )
        notes = "".join(f"<li>{html.escape(str(n))}</li>" for n in ds.attrs.get("notes", ()))
        return f"<b>{html.escape(repr(self)[1:-1])}</b><table>{body}</table><ul>{notes}</ul>"

    def _one(self, asked: str) -> xr.Dataset:
        """Return one track, dims ``(x_atc,)``, with its beam in the attributes."""
        ds = self._ds
        if ds.sizes.get("beam", 1) != 1:
            raise ValueError(f"ds.is2ice.{asked}: one beam at a time, such as ds.sel(beam='gt2r').is2ice")
        if "beam" in ds.coords:
            about = {k: ds[k].values.ravel()[0].item() for k in ("beam", "spot") if k in ds.coords}
            ds = ds.squeeze("beam") if "beam" in ds.dims else ds
            ds = ds.drop_vars(("beam", "spot"), errors="ignore").assign_attrs(about)
        return ds

    def classify(self, model: Any = "default") -> xr.Dataset:
        """Add the surface class of every segment (see :func:`is2ice.classify`)."""
        from is2ice.classifiers import classify

        return schema.with_coordinates(classify(schema.segments_of(self._ds), model))

    def sea_surface(self, method: str = "evidence", **options: Any) -> xr.Dataset:
        """Add the local sea surface of one classified track (see :func:`is2ice.seasurface.estimate`)."""
        from is2ice.science import seasurface

        track = schema.segments_of(self._one("sea_surface"))
        return schema.with_coordinates(seasurface.estimate(track, method, **options))

    def freeboard(self, **options: Any) -> xr.Dataset:
        """Add the total freeboard above the local sea surface (see :func:`is2ice.freeboard.compute`)."""
        from is2ice.science import freeboard

        return schema.with_coordinates(freeboard.compute(schema.segments_of(self._ds), **options))

    def thickness(self, snow: Any = "auto", **options: Any) -> xr.Dataset:
        """Add snow depth and ice thickness (see :func:`is2ice.thickness.compute`).

        Parameters
        ----------
        snow : str, float or Snow
            A depth in m, a word such as ``"warren:0.5"``, or a snow model.
        **options
        """
        from is2ice.science import thickness

        return schema.with_coordinates(thickness.compute(schema.segments_of(self._ds), snow, **options))

    def stats(self, **options: Any) -> dict[str, Any]:
        """Lead fraction, leads, floes, ridges and roughness of one track (:func:`is2ice.icestats.statistics`)."""
        from is2ice.science.icestats import statistics

        return statistics(schema.segments_of(self._one("stats")).load(), **options)

    def compare(self, atl07: Any = None, atl10: Any = None) -> Comparison:
        """Compare one track with ATL07, ATL10 or both of the same pass."""
        from .nasa_comparison import compare

        return compare(schema.segments_of(self._one("compare")).load(), atl07, atl10)

    @property
    def strong(self) -> xr.Dataset:
        """The strong beams (odd spots)."""
        ds = self._ds
        if "beam" not in ds.dims or "spot" not in ds.coords:
            raise ValueError("ds.is2ice.strong: a cube with the coordinates beam and spot is needed")
        return ds.isel(beam=ds["spot"].values % 2 == 1)

    def to_geodataframe(self) -> geopandas.GeoDataFrame:
        """Return the filled segments as points."""
        return export.to_geodataframe(self._ds)

    def to_parquet(self, path: str | os.PathLike[str]) -> Path | str:
        """Write the filled segments as GeoParquet."""
        return export.to_parquet(self._ds, path)

    def to_geopackage(self, path: str | os.PathLike[str]) -> Path | str:
        """Write the filled segments as a GeoPackage (``.gpkg``)."""
        return export.to_geopackage(self._ds, path)

    def to_flatgeobuf(self, path: str | os.PathLike[str]) -> Path | str:
        """Write the filled segments as FlatGeobuf (``.fgb``)."""
        return export.to_flatgeobuf(self._ds, path)

    def to_csv(self, path: str | os.PathLike[str]) -> Path | str:
        """Write the filled segments as CSV."""
        return export.to_csv(self._ds, path)

    def to_netcdf(self, path: str | os.PathLike[str], **options: Any) -> Path | str:
        """Write NetCDF that follows CF-1.11 and ACDD-1.3 (see :func:`is2ice.reports.export.to_netcdf`).

        Several beams become a group each.
        """
        return export.to_netcdf(self._ds, path, **options)

    def quicklook(self, **options: Any) -> Any:
        """Draw one track (see :func:`is2ice.quicklook`)."""
        from .plot_track import quicklook

        return quicklook(self._one("quicklook"), **options)

    def plot(self, **options: Any) -> Any:
        """Draw one track: another name of :meth:`quicklook`."""
        return self.quicklook(**options)

    def cite(self) -> str:
        """Return the text to cite."""
        return export.cite(self._ds)

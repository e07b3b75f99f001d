"""Accessor ``ds.is2ice``: exports, figures and citation of segments from the dataset itself.

Registered by ``import is2ice`` if xarray is loaded, else by the first use of any of its names.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xarray as xr

from . import export

if TYPE_CHECKING:
    import geopandas

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
        beams = (
            ", ".join(map(str, ds["beam"].values)) if "beam" in ds.dims else str(ds.attrs.get("beam", "?"))
        )
        km = ds.sizes["x_atc"] * float(ds.attrs.get("segment_length", 2.0)) / 1e3
        return f"<is2ice segments of {ds.attrs.get('granule', '?')}: {beams}; {km:.1f} km>"

    def _repr_html_(self) -> str:
        import html

        ds = self._ds
        rows = {
            k: ds.attrs.get(k)
            for k in ("granule", "release", "rgt", "cycle", "crs", "height_reference", "traffic")
        }
        body = "".join(
            f"<tr><th>{k}</th><td>{html.escape(str(v))}</td></tr>" for k, v in rows.items() if v is not None
        )
        notes = "".join(f"<li>{html.escape(str(n))}</li>" for n in ds.attrs.get("notes", ()))
        return f"<b>{html.escape(repr(self)[1:-1])}</b><table>{body}</table><ul>{notes}</ul>"

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

    def to_parquet(self, path: str | os.PathLike[str]) -> Path:
        """Write the filled segments as GeoParquet."""
        return export.to_parquet(self._ds, path)

    def to_csv(self, path: str | os.PathLike[str]) -> Path:
        """Write the filled segments as CSV."""
        return export.to_csv(self._ds, path)

    def to_netcdf(self, path: str | os.PathLike[str], **options: Any) -> Path:
        """One track as NetCDF that follows CF-1.11 and ACDD-1.3 (see :func:`is2ice.reports.export.to_netcdf`)."""
        return export.to_netcdf(self._ds, path, **options)

    def quicklook(self, **options: Any) -> Any:
        """Draw one track (see :func:`is2ice.quicklook`)."""
        from .plot_track import quicklook

        ds = self._ds
        if ds.sizes.get("beam", 1) != 1:
            raise ValueError("ds.is2ice.quicklook: one beam at a time, such as ds.sel(beam='gt2r').is2ice")
        return quicklook(ds.squeeze("beam") if "beam" in ds.dims else ds, **options)

    def cite(self) -> str:
        """Return the text to cite."""
        return export.cite(self._ds)

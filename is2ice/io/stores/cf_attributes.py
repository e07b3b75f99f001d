"""Attributes of a stored track: CF-1.11 and ACDD-1.3, projection, track name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from is2ice import schema
from is2ice.science.epoch import iso_time, now
from is2ice.version import __version__

from .declarations import Declaration, credit

if TYPE_CHECKING:
    import xarray as xr

__all__ = [
    "COORDINATES",
    "describe",
    "plain",
]

#: Variables a stored track declares as auxiliary coordinates.
COORDINATES = schema.COORDINATES
#: Heights above a mean sea surface, of which there is no code of its own, and above the geoid of ATL03 (EGM2008).
VERTICAL = {"mss": "EPSG:5714", "geoid": "EPSG:3855"}
COMMENT = (
    "Heights are tide-free, above the surface named by height_reference. Freeboard is total freeboard, snow included; "
    "it is absent (NaN) where no lead is in reach. Cells without photons hold n_photons = 0 and NaN."
)


def describe(
    ds: xr.Dataset,
    *,
    granule: str,
    beam: str,
    inputs: str,
    parameters: Mapping[str, Any] | None = None,
    origin: Mapping[str, Any] | None = None,
    declaration: Declaration | None = None,
) -> xr.Dataset:
    """Return a track ready to be stored: attributes, coordinates, grid mapping and trajectory name.

    Parameters
    ----------
    ds : xarray.Dataset
        One track, dims ``(x_atc,)``, in memory.
    granule, beam : str
    inputs : str
        Fingerprint of what the track was made from.
    parameters : mapping, optional
        Processing parameters, stored as JSON.
    origin : mapping, optional
        ``size`` (bytes) and ``checksum`` of the source file, where known.
    declaration : Declaration, optional
        Tells creator, publisher, institution and licence; else the environment does
        (:func:`is2ice.io.stores.declarations.credit`).

    Returns
    -------
    xarray.Dataset

    References
    ----------
    CF Conventions 1.11, sections 2.6, 5.6, 9 and H.4; Attribute Convention for Data Discovery 1.3.
    """
    ds = schema.segments_of(ds)
    out = schema.annotate(ds).drop_encoding()
    if "delta_time" in out:  # one time in a file, under the name that every reader knows
        out = out.rename(delta_time="time")
    out = out.set_coords([name for name in COORDINATES if name in out])
    identity = {"cf_role": "trajectory_id", "long_name": "granule and beam"}
    added: dict[str, Any] = {"trajectory": ((), np.array(f"{granule}/{beam}", object), identity)}
    for name, variable in out.variables.items():
        if variable.dtype.kind == "U":  # fixed-width text has no Zarr v3 specification; `string` has
            added[str(name)] = out[name].astype(object)
    crs = out.attrs.get("crs")
    if crs and {"x", "y"} <= set(out.variables):
        added["spatial_ref"] = ((), np.int32(0), _grid_mapping(crs))
        for name, variable in out.variables.items():
            if "x_atc" in variable.dims and name not in out.coords:
                variable.attrs["grid_mapping"] = "spatial_ref"
    out = out.assign(added)
    for name, variable in out.variables.items():
        if name not in ("trajectory", "spatial_ref"):
            variable.attrs.setdefault("coverage_content_type", _content_type(str(name), variable))
    stamp, made_by = now(), schema.simulated_by(ds.attrs)
    photons = f"simulated photons ({made_by}) in the layout of ATL03" if made_by else "ICESat-2 ATL03 photons"
    step = f"{stamp} is2ice {__version__}: written to a Zarr store"
    attrs: dict[str, Any] = {
        "Conventions": "CF-1.11, ACDD-1.3",
        "featureType": "trajectory",
        "cdm_data_type": "Trajectory",
        "title": schema.titled(f"Along-track sea-ice segments of {granule} {beam}", ds.attrs),
        "summary": "Surface height, surface class, local sea surface and total freeboard along one ICESat-2 "
        f"ground track, from {photons}, on a regular along-track grid.",
        "keywords": "ICESat-2, ATL03, sea ice, surface class, sea surface height, total freeboard"
        + (", simulation" if made_by else ""),
        "project": "is2ice",
        "source": f"{photons}, granule {granule}",
        "standard_name_vocabulary": "CF Standard Name Table",
        "time_coverage_resolution": "PT0.0003S",
        "platform": "ICESat-2 (simulated)" if made_by else "ICESat-2",
        "instrument": "ATLAS (simulated)" if made_by else "ATLAS",
        "processing_level": "L3A (along-track, derived from L2A photons)",
        "id": f"{granule}/{beam}",
        "product_version": __version__,
        "date_created": stamp,
        "source_granule": granule,
        "naming_authority": "is2ice",
        "comment": COMMENT,
        "acknowledgement": f"Simulated by {made_by}; no satellite measured these photons"
        if made_by
        else "ICESat-2 ATL03 photons: NASA National Snow and Ice Data Center Distributed Active Archive Center",
        "is2ice_version": __version__,
        "inputs": inputs,
        "processing_parameters": json.dumps(dict(parameters or {}), sort_keys=True, default=list),
    }
    for key in ("size", "checksum"):
        if origin and origin.get(key) is not None:
            attrs[f"source_{key}"] = origin[key]
    history = "\n".join(line for line in (out.attrs.get("history", ""), step) if line)
    out.attrs = {
        **plain(out.attrs),
        **attrs,
        **credit(declaration),
        **_coverage(ds),
        "granule": granule,
        "beam": beam,
        "schema_version": schema.SCHEMA_VERSION,
        "history": history,
    }
    return out


def _grid_mapping(crs: Any) -> dict[str, Any]:
    """Attributes of CF for a projection."""
    from pyproj import CRS

    mapping = CRS.from_user_input(crs).to_cf()
    if mapping.get("grid_mapping_name") == "polar_stereographic":  # CF asks for the pole, pyproj omits it
        mapping.setdefault(
            "latitude_of_projection_origin", float(np.copysign(90.0, mapping["standard_parallel"]))
        )
    return mapping


def _content_type(name: str, a: xr.Variable) -> str:
    """Return the content type of a variable by ISO 19115-1 (as ACDD asks)."""
    if name in (*COORDINATES, *a.dims):
        return "coordinate"
    if "flag_masks" in a.attrs or name.endswith(("_uncertainty", "_flag", "_std", "_spread")):
        return "qualityInformation"
    if "flag_values" in a.attrs or name == "class_probability":
        return "thematicClassification"
    if name.startswith("tide_") or name in ("dac", "mss", "geoid"):
        return "modelResult"
    return "physicalMeasurement"


def plain(attrs: Mapping[Any, Any]) -> dict[str, Any]:
    """Attributes as JSON can hold them; None is left out."""
    out = {}
    for name, value in attrs.items():
        if isinstance(value, np.ndarray | np.generic):
            value = value.tolist()
        if value is not None:
            out[str(name)] = list(value) if isinstance(value, tuple) else value
    return out


def _coverage(ds: xr.Dataset) -> dict[str, Any]:
    out: dict[str, Any] = {}
    time = _finite(ds, "delta_time")
    if time.size:
        first, last = float(time.min()), float(time.max())
        out["time_coverage_start"] = iso_time(first)
        out["time_coverage_end"] = iso_time(last)
        out["time_coverage_duration"] = f"PT{last - first:.3f}S"
    latitude, longitude = _finite(ds, "latitude"), _finite(ds, "longitude")
    if latitude.size and longitude.size:
        # West may be greater than east, as ACDD allows: then the track crosses the antimeridian.
        turn = (longitude - longitude[0] + 180.0) % 360.0 - 180.0
        west, east = ((longitude[0] + t + 180.0) % 360.0 - 180.0 for t in (turn.min(), turn.max()))
        out |= {
            "geospatial_lat_min": float(latitude.min()),
            "geospatial_lat_max": float(latitude.max()),
            "geospatial_lat_units": "degrees_north",
            "geospatial_lon_min": float(west),
            "geospatial_lon_max": float(east),
            "geospatial_lon_units": "degrees_east",
            "geospatial_bounds": _bounds(latitude, longitude[0] + turn),
            "geospatial_bounds_crs": "EPSG:4326",
        }
    height = _finite(ds, "height")
    if height.size:
        out |= {
            "geospatial_vertical_min": float(height.min()),
            "geospatial_vertical_max": float(height.max()),
            "geospatial_vertical_units": "m",
            "geospatial_vertical_positive": "up",
            "geospatial_bounds_vertical_crs": VERTICAL.get(str(ds.attrs.get("height_reference", "mss")), ""),
        }
    return out


def _bounds(latitude: NDArray[np.floating], longitude: NDArray[np.floating]) -> str:
    """Return the track as a line of few vertices, latitude first as EPSG:4326 has it; longitudes run on over 180."""
    few = np.unique(np.linspace(0, latitude.size - 1, 5).astype(int))
    points = [f"{latitude[i]:.5f} {longitude[i % longitude.size]:.5f}" for i in few]
    return f"LINESTRING ({', '.join(points)})"


def _finite(ds: xr.Dataset, name: str) -> NDArray[np.floating]:
    if name not in ds:
        return np.empty(0)
    values = np.asarray(ds[name])
    return values[np.isfinite(values)]

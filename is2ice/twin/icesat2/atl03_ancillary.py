"""The granule's groups beside the beams: orbit, ancillary data, calibrations, impulse response, metadata."""

from __future__ import annotations

import uuid
from datetime import timedelta

import h5py
import numpy as np
from numpy.typing import NDArray

from is2ice.science.epoch import EPOCH_DATETIME
from is2ice.twin.scene.scene import Scene
from is2ice.twin.scene.tracks import sun

from . import atl03_layout, instrument
from .atl03_layout import set_attrs
from .beam import dead_times

__all__ = ["GPS_EPOCH", "sun_along", "write"]

#: ``atlas_sdp_gps_epoch``: GPS seconds of 2018-01-01T00:00:00 UTC, leap seconds included.
GPS_EPOCH = 1_198_800_018.0
_WEEK = 604_800.0


def sun_along(scene: Scene, lon: NDArray, lat: NDArray) -> tuple[NDArray, NDArray]:
    """Sun elevation and azimuth at segments, degrees; one time serves the minute of a pass."""
    return sun(lon, lat, scene.pass_time)


def write(
    h5: h5py.File,
    scene: Scene,
    beams: list[str],
    release: str,
    sc_orient: int,
    orbit: dict[str, int],
    span: tuple[float, float],
    name: str,
) -> None:
    """Write every group of the granule that belongs to no beam, and the root's attributes."""
    start, end = span
    _root(h5, scene, beams, release, start, end, name)
    atl03_layout.write_identification(h5, "ATL03", release, name, _utc(end))
    _orbit_info(h5, scene, sc_orient, orbit, start)
    _ancillary(h5, scene, beams, release, orbit, start, end)
    _calibrations(h5.require_group("ancillary_data/calibrations"), beams, sc_orient)
    _impulse_response(h5)


def _utc(seconds: float) -> str:
    return f"{EPOCH_DATETIME + timedelta(seconds=seconds):%Y-%m-%dT%H:%M:%S.%f}Z"


def _root(
    h5: h5py.File, scene: Scene, beams: list[str], release: str, start: float, end: float, name: str
) -> None:
    lat = np.concatenate([h5[b]["geolocation/reference_photon_lat"][:] for b in beams])
    lon = np.concatenate([h5[b]["geolocation/reference_photon_lon"][:] for b in beams])
    identifier = str(
        uuid.uuid5(uuid.NAMESPACE_URL, f"is2ice-twin:{name}:{scene.parameters.name}:{scene.seed}")
    )
    set_attrs(
        h5,
        {
            "Conventions": "CF-1.6",
            "title": "SET_BY_META",
            "short_name": "ATL03",
            "granule_type": "ATL03",
            "level": "L2",
            "description": "Simulated photon heights over sea ice in the layout of ATL03; not a NASA product.",
            "summary": "Simulated along-track photon data with all heights, confidence and corrections.",
            "institution": "is2ice twin",
            "source": "Simulation",
            "history": f"{_utc(end)[:19]}Z is2ice twin: preset {scene.parameters.name}, seed {scene.seed}",
            "platform": "ICESat-2 > Ice, Cloud, and land Elevation Satellite-2",
            "instrument": "ATLAS > Advanced Topographic Laser Altimeter System",
            "project": "ICESat-2 > Ice, Cloud, and land Elevation Satellite-2",
            "featureType": "trajectory",
            "processing_level": "2A",
            "date_created": _utc(end),
            "date_type": "UTC",
            "time_type": "CCSDS UTC-A",
            "time_coverage_start": _utc(start),
            "time_coverage_end": _utc(end),
            "time_coverage_duration": float(end - start),
            "geospatial_lat_min": float(lat.min()),
            "geospatial_lat_max": float(lat.max()),
            "geospatial_lon_min": float(lon.min()),
            "geospatial_lon_max": float(lon.max()),
            "geospatial_lat_units": "degrees_north",
            "geospatial_lon_units": "degrees_east",
            "spatial_coverage_type": "Horizontal",
            "standard_name_vocabulary": "CF-1.6",
            "identifier_product_type": "ATL03",
            "identifier_product_format_version": "4.0",
            "identifier_product_doi": f"doi:10.5067/ATLAS/ATL03.{release}",
            "identifier_product_doi_authority": "http://dx.doi.org",
            "identifier_file_uuid": identifier,
        },
    )


def _small(group: h5py.Group, name: str, column: atl03_layout.Column, value: object) -> None:
    data = np.atleast_1d(np.asarray(value, column.dtype))
    ds = group.create_dataset(name, data=data, maxshape=(None,), chunks=(16,))
    set_attrs(ds, dict(**column.attrs("")))


def _orbit_info(h5: h5py.File, scene: Scene, sc_orient: int, orbit: dict[str, int], start: float) -> None:
    group = h5.create_group("orbit_info")
    set_attrs(
        group,
        {
            "Description": "Orbit of the pass.",
            "data_rate": "Varies. Data are only provided when one of the stored values changes.",
        },
    )
    track = scene.track("gt2l", sc_orient)
    lon, lat = track.lonlat(np.linspace(track.x_start, track.x_end, 8))
    x_orbit = track.x_start
    values = {
        "bounding_polygon_lat1": np.concatenate([lat - 0.05, lat[::-1] + 0.05]),
        "bounding_polygon_lon1": np.concatenate([lon, lon[::-1]]),
        "crossing_time": start - x_orbit / 7096.0,
        "cycle_number": orbit["cycle"],
        "lan": (float(lon[0]) + 15.0 * x_orbit / 7096.0 / 3600.0 + 180.0) % 360.0 - 180.0,
        "orbit_number": 1387 * (orbit["cycle"] - 1) + orbit["rgt"],
        "rgt": orbit["rgt"],
        "sc_orient": sc_orient,
        "sc_orient_time": start - 2_000_000.0,
    }
    for name, value in values.items():
        _small(group, name, atl03_layout.ORBIT[name], value)
    atl03_layout.attach_orbit_scales(group)


def _ancillary(
    h5: h5py.File,
    scene: Scene,
    beams: list[str],
    release: str,
    orbit: dict[str, int],
    start: float,
    end: float,
) -> None:
    group = h5.create_group("ancillary_data")
    set_attrs(
        group,
        {
            "Description": "Settings and constants of the granule.",
            "data_rate": "Data within this group pertain to the granule in its entirety.",
        },
    )
    ids = np.concatenate([h5[b]["geolocation/segment_id"][:] for b in beams])
    values: dict[str, object] = {
        "atlas_sdp_gps_epoch": GPS_EPOCH,
        "control": f"is2ice twin; preset={scene.parameters.name}; seed={scene.seed}",
        "podppd_pad": 0.0,
        "qa_at_interval": 1.0,
        "release": release,
        "version": "01",
    }
    for end_of, when, geoseg in (("start", start, ids.min()), ("end", end, ids.max())):
        gps = GPS_EPOCH + when
        values |= {
            f"data_{end_of}_utc": _utc(when),
            f"granule_{end_of}_utc": _utc(when),
            f"{end_of}_delta_time": when,
            f"{end_of}_gpsweek": int(gps // _WEEK),
            f"{end_of}_gpssow": gps % _WEEK,
            f"{end_of}_geoseg": int(geoseg),
            f"{end_of}_orbit": 1387 * (orbit["cycle"] - 1) + orbit["rgt"],
            **{f"{end_of}_{key}": orbit[key] for key in ("rgt", "cycle", "region")},
        }
    for name, (dtype, units) in atl03_layout.ANCILLARY.items():
        value = values[name]
        data = np.array([value.encode() if isinstance(value, str) else value], dtype)
        ds = group.create_dataset(name, data=data, compression="gzip" if dtype == "S100000" else None)
        set_attrs(ds, {"units": units, "long_name": name.replace("_", " "), "source": "Operations"})


def _calibrations(group: h5py.Group, beams: list[str], sc_orient: int) -> None:
    for beam in beams:
        strength = "strong" if beam[3] == "lr"[sc_orient] else "weak"
        seconds = np.concatenate([dead_times("strong"), dead_times("weak")]) * 1e-9
        dead = group.require_group(f"dead_time/{beam}")
        _table(
            dead,
            "dead_time",
            seconds.astype("f4"),
            "seconds",
            "dead time of each channel, 16 strong then 4 weak",
        )
        _table(dead, "sigma", np.full(20, 2e-11, "f4"), "seconds", "standard deviation of the dead time")
        bias = group.require_group(f"first_photon_bias/{beam}")
        table = instrument.first_photon_bias_table(strength)
        _table(bias, "dead_time", table["dead_time"], "ns", "dead time of each table")
        _table(bias, "strength", table["strength"], "photons/pulse", "detected photons per pulse")
        _table(bias, "width", table["width"], "ns", "10-90 percent width of the detected return")
        _table(bias, "ffb_corr", table["ffb_corr"], "ps", "first photon bias correction")


def _table(group: h5py.Group, name: str, data: NDArray, units: str, long_name: str) -> None:
    big = data.size > 10_000
    ds = group.create_dataset(
        name,
        data=data,
        chunks=(1, *data.shape[1:]) if big else None,
        compression="gzip" if big else None,
        shuffle=big,
    )
    set_attrs(
        ds, {"units": units, "long_name": long_name, "source": "CAL-19" if "bias" in group.name else "CAL-42"}
    )


def _impulse_response(h5: h5py.File) -> None:
    """Shape of the transmitted pulse, as the transmitter echo shows it."""
    time = np.arange(-20.0, 40.0, 0.05)
    shape = instrument.pulse_density(time)
    for spot in ("pce1_spot1", "pce2_spot3"):
        group = h5.create_group(f"atlas_impulse_response/{spot}/tep_histogram")
        _table(group, "tep_hist", (shape / shape.sum()).astype("f8"), "counts", "transmitter echo histogram")
        _table(group, "tep_hist_time", (time * 1e-9).astype("f8"), "seconds", "time of each histogram bin")

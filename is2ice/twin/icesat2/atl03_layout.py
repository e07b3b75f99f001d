"""Layout of an ATL03 granule as data: every dataset's type, fill and attributes, and what products share.

Names, types, units, long names and fills follow the product; descriptions are our own words.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import h5py
import numpy as np

from is2ice.schema import EPOCH_DATE

__all__ = [
    "ANCILLARY",
    "BACKGROUND",
    "GEOLOCATION",
    "GEOPHYS",
    "GROUPS",
    "HEIGHTS",
    "ORBIT",
    "ORBIT_SCALES",
    "SCALES",
    "SIGNAL_FIND",
    "Column",
    "attach_orbit_scales",
    "set_attrs",
    "write_identification",
]

F4_FILL = np.float32(3.4028235e38)
F8_FILL = np.float64(1.7976931348623157e308)
EPOCH_UNITS = f"seconds since {EPOCH_DATE}"


@dataclass(frozen=True)
class Column:
    """One dataset: HDF5 type, units, names, fill and extra attributes."""

    dtype: str
    units: str
    long_name: str
    source: str
    content: str = "modelResult"
    fill: Any = None
    standard_name: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    description: str = ""
    coordinates: str | None = None

    def attrs(self, coordinates: str) -> dict[str, Any]:
        """Attributes, strings as fixed-length bytes, as the product has them."""
        if self.coordinates is not None:
            coordinates = self.coordinates
        out: dict[str, Any] = {
            "contentType": self.content,
            "coordinates": coordinates,
            "description": self.description or f"{self.long_name}.",
            "long_name": self.long_name,
            "source": self.source,
            "units": self.units,
        }
        if self.standard_name:
            out["standard_name"] = self.standard_name
        out.update(self.extra)
        if not coordinates:
            del out["coordinates"]
        return out


def _range(dtype: str, low: float, high: float) -> dict[str, Any]:
    kind = np.dtype(dtype).type
    return {"valid_min": kind(low), "valid_max": kind(high)}


def _flags(values: list[int], meanings: str) -> dict[str, Any]:
    return {
        "flag_values": np.array(values, "i1"),
        "flag_meanings": meanings,
        **_range("i1", min(values), max(values)),
    }


def _f4(units: str, long_name: str, source: str, content: str = "modelResult", **extra: Any) -> Column:
    return Column("f4", units, long_name, source, content, F4_FILL, extra=extra)


_REF, _PHYS, _QUAL = "referenceInformation", "physicalMeasurement", "qualityInformation"
_LAT: dict[str, Any] = {"standard_name": "latitude", "extra": _range("f8", -90, 90)}
_LON: dict[str, Any] = {"standard_name": "longitude", "extra": _range("f8", -180, 180)}
_LG = "ATL03g ATBD, Section 3.4"
_ID = "Derived as part of Photon ID"
_GPS: dict[str, Any] = {
    "standard_name": "time",
    "description": "Seconds of GPS time since the ATLAS epoch (2018-01-01 UTC).",
}

_CONFIDENCE = _flags([-2, -1, 0, 1, 2, 3, 4], "possible_tep not_considered noise buffer low medium high")
_QUALITY_006 = _flags(
    [0, 1, 2, 3], "nominal possible_afterpulse possible_impulse_response_effect possible_tep"
)
_QUALITY_007 = _flags(
    [0, 1, 2, 3, 4, 5, 10, 11, 12, 14, 15, 20, 21, 22, 24, 25],
    "nominal possible_afterpulse possible_impulse_response_effect possible_tep noise_burst noise_streak "
    "part_sat part_sat_afterpulse part_sat_impulse_response part_sat_burst part_sat_streak full_sat "
    "full_sat_afterpulse full_sat_impulse_response full_sat_burst full_sat_streak",
)

HEIGHTS: dict[str, Column] = {
    "delta_time": Column(
        "f8", EPOCH_UNITS, "Elapsed GPS seconds", "Operations", _REF, coordinates="lat_ph lon_ph", **_GPS
    ),
    "dist_ph_across": Column("f4", "meters", "Distance off RGT.", "ATL03 ATBD, Section 3.1"),
    "dist_ph_along": Column("f4", "meters", "Distance from equator crossing.", "ATL03 ATBD, Section 3.1"),
    "h_ph": Column(
        "f4", "meters", "Photon WGS84 Height", "ATL03g ATBD, Section 3.4", _PHYS, standard_name="height"
    ),
    "lat_ph": Column("f8", "degrees_north", "Latitude", _LG, coordinates="delta_time lon_ph", **_LAT),
    "lon_ph": Column("f8", "degrees_east", "Longitude", _LG, coordinates="delta_time lat_ph", **_LON),
    "pce_mframe_cnt": Column(
        "u4", "counts", "PCE Major frame counter", "Retained from prior a_alt_science_ph packet", _REF
    ),
    "ph_id_channel": Column("u1", "1", "Receive channel id", _ID, _REF, extra=_range("u1", 1, 120)),
    "ph_id_count": Column("u1", "counts", "photon event counter", _ID, _REF),
    "ph_id_pulse": Column("u1", "counts", "laser pulse counter", _ID, _REF),
    "quality_ph": Column("i1", "1", "Photon Quality", "ATL03 ATBD", _QUAL, extra=_QUALITY_006),
    "signal_conf_ph": Column(
        "i1",
        "1",
        "Photon Signal Confidence",
        "ATL03 ATBD, Section 5, Conf",
        _QUAL,
        extra=_CONFIDENCE,
        description="Signal confidence for land, ocean, sea ice, land ice and inland water.",
    ),
    "weight_ph": Column("u1", "1", "Photon weight", "ATBD Section 5", extra=_range("u1", 0, 255)),
}
HEIGHTS_007: dict[str, Column] = {
    **HEIGHTS,
    "quality_ph": Column("i1", "1", "Photon Quality", "ATL03 ATBD", _QUAL, extra=_QUALITY_007),
    "weight_ph": Column("u2", "1", "Photon weight", "ATBD Section 5", extra=_range("u2", 0, 65535)),
    "signal_class_ph": Column(
        "i1",
        "1",
        "Photon Signal Class",
        "ATL03 ATBD, Section 5",
        _QUAL,
        extra=_flags(
            [-1, 0, 1, 2, 3, 4, 5],
            "ignored noise low_density medium_density secondary_signal primary_signal fitted",
        ),
    ),
}

_G = "ATL03G ATBD, Section 3.4"
GEOLOCATION: dict[str, Column] = {
    "altitude_sc": Column("f8", "meters", "Altitude", "ATL03g ATBD, Section 3.4", _PHYS, F8_FILL),
    "bounce_time_offset": _f4("seconds", "ground bounce time offset", "ATL03 ATBD, Section 3.3"),
    "delta_time": Column(
        "f8",
        EPOCH_UNITS,
        "Delta Time",
        "Derived",
        _PHYS,
        **_GPS,
        coordinates="reference_photon_lat, reference_photon_lon",
    ),
    "full_sat_fract": _f4("1", "Full Saturation Fraction", "ATL03 ATBD", _QUAL, **_range("f4", 0, 1)),
    "knn": Column("i4", "counts", "K Nearest Neighbors", "ATL03 ATBD, Section 5.1", _REF),
    "near_sat_fract": _f4("1", "Near Saturation Fraction", "ATL03 ATBD", _QUAL, **_range("f4", 0, 1)),
    "neutat_delay_derivative": _f4("meters/meters", "(Neutral Atmosphere delay)/dh", "ATL03a ATBD"),
    "neutat_delay_total": _f4("meters", "Total Neutral Atmospheric Delay", "ATL03a ATBD"),
    "neutat_ht": _f4("meters", "Neutral atmosphere ref height", "ATL03a ATBD"),
    "ph_index_beg": Column(
        "i8",
        "counts",
        "Photon Index Begin",
        "Derived",
        _REF,
        np.int64(0),
        description="1-based index of the first photon of the segment; 0 where it has none.",
    ),
    "pitch": _f4("degrees", "Pitch", "ANC04"),
    "podppd_flag": Column(
        "i1",
        "1",
        "POD_PPD Flag",
        "ATL02, ANC04, ANC05",
        _REF,
        coordinates="delta_time",
        extra=_flags(
            list(range(8)),
            "nominal pod_degrade ppd_degrade podppd_degrade cal_nominal "
            "cal_pod_degrade cal_ppd_degrade cal_podppd_degrade",
        ),
    ),
    "range_bias_corr": _f4("meters", "range bias correction", "ATL03G ATBD, Section 3.6"),
    "ref_azimuth": _f4("radians", "Azimuth", "ATL03G ATBD, Section 3.3", standard_name="azimuth"),
    "ref_elev": _f4("radians", "elevation", "ATL03G ATBD, Section 3.3", standard_name="elevation"),
    "reference_photon_index": Column(
        "i4",
        "counts",
        "Reference Photon Index",
        "ATL03 ATBD, Section 3.2",
        _REF,
        np.int32(0),
        description="1-based index of the reference photon within the segment; 0 where it has none.",
    ),
    "reference_photon_lat": Column(
        "f8", "degrees_north", "Segment Latitude", _G, coordinates="delta_time", **_LAT
    ),
    "reference_photon_lon": Column(
        "f8", "degrees_east", "Segment Longitude", _G, coordinates="delta_time", **_LON
    ),
    "roll": _f4("degrees", "roll", "ANC04"),
    "segment_dist_x": Column("f8", "meters", "Segment Distance from EQC", "Derived"),
    "segment_id": Column("i4", "1", "along-track segment ID number.", "ATL03 ATBD, Section 3.1", _REF),
    "segment_length": Column("f8", "meters", "along-track segment length", "ATL03 ATBD, Section 3.1"),
    "segment_ph_cnt": Column("i4", "counts", "Number of photons", "Derived", _REF, np.int32(0)),
    "sigma_across": _f4("meters", "across-track geolocation uncertainty", "ATL03G ATBD", _QUAL),
    "sigma_along": _f4("meters", "along-track geolocation uncertainity", "ATL03G ATBD", _QUAL),
    "sigma_h": _f4("meters", "height uncertainty", "ATL03G ATBD, Section 3.6", _QUAL),
    "sigma_lat": _f4("degrees", "latitude uncertainty", "ATL03G ATBD, Section 3.6", _QUAL),
    "sigma_lon": _f4("degrees", "longitude uncertainty", "ATL03G ATBD, Section 3.6", _QUAL),
    "solar_azimuth": _f4("degrees_east", "solar azimuth", "ATL03G ATBD, Section 3.3"),
    "solar_elevation": _f4("degrees", "solar elevation", "ATL03G ATBD, Section 3.3"),
    "surf_type": Column(
        "i1",
        "1",
        "Surface Type",
        "ATL03 ATBD, Section 4",
        _REF,
        extra=_flags([0, 1], "not_type is_type"),
        description="Whether the segment is land, ocean, sea ice, land ice, inland water.",
    ),
    "tx_pulse_energy": _f4("Joules", "Transmit Pulse Energy", "ATL02 ATBD, Section 7.2", _PHYS),
    "tx_pulse_skew_est": _f4("seconds", "Transmit Pulse Skew Estimate", "ATL02 ATBD, Section 7.2"),
    "tx_pulse_width_lower": _f4("seconds", "Transmit Pulse Energy Lower Width", "ATL02 ATBD, Section 7.2"),
    "tx_pulse_width_upper": _f4("seconds", "Transmit Pulse Energy Upper Width", "ATL02 ATBD, Section 7.2"),
    "velocity_sc": _f4("meters/second", "spacecraft velocity", "ATL03G ATBD"),
    "yaw": _f4("degrees", "Yaw", "ANC04"),
}

_S6 = "ATL03 ATBD, Section 6.3."
GEOPHYS: dict[str, Column] = {
    "dac": _f4("meters", "Dynamic Atmosphere Correction", _S6 + "2"),
    "delta_time": Column("f8", EPOCH_UNITS, "Elapsed GPS seconds", "Operations", _REF, **_GPS),
    "dem_flag": Column(
        "i1",
        "1",
        "dem source flag",
        "ATL03 ATBD Section 6.3",
        _REF,
        np.int8(127),
        extra=_flags([0, 1, 2, 3, 4], "none arctic global mss antarctic"),
    ),
    "dem_h": _f4("meters", "DEM Height", "ATL03 ATBD Section 6.3", _REF),
    "geoid": _f4("meters", "Geoid", _S6 + "8", _REF),
    "geoid_free2mean": _f4("meters", "Geoid Free-to-Mean conversion", _S6 + "8"),
    "tide_earth": _f4("meters", "Earth Tide", _S6 + "3"),
    "tide_earth_free2mean": _f4("meters", "Earth Tide Free-to-Mean conversion", _S6 + "8", _REF),
    "tide_equilibrium": _f4("meters", "Long Period Equilibrium Tide", _S6 + "1", _REF),
    "tide_load": _f4("meters", "Load Tide", _S6 + "4", _REF),
    "tide_oc_pole": _f4("meters", "Ocean Pole Tide", _S6 + "6", _REF),
    "tide_ocean": _f4("meters", "Ocean Tide", _S6 + "1", _REF),
    "tide_pole": _f4("meters", "Solid Earth Pole Tide", _S6 + "5", _REF),
}

_S7 = "ATL03 ATBD Section 7.3"
BACKGROUND: dict[str, Column] = {
    "bckgrd_counts": Column("i4", "counts", "ATLAS 50-shot background count", _S7),
    "bckgrd_counts_reduced": Column("i4", "counts", "ATLAS 50-shot background count - reduced", _S7),
    "bckgrd_hist_top": Column("f4", "meters", "Top of the altimetric range window", _S7),
    "bckgrd_int_height": Column("f4", "meters", "Altimetric range window width", _S7),
    "bckgrd_int_height_reduced": Column("f4", "meters", "Altimetric range window height - reduced", _S7),
    "bckgrd_rate": Column(
        "f4", "counts / second", "Background count rate based on the ATLAS 50-shot sum", _S7
    ),
    "delta_time": Column(
        "f8", EPOCH_UNITS, "Time at the start of ATLAS 50-shot sum", "ATL02", _REF, standard_name="time"
    ),
    "pce_mframe_cnt": Column("i8", "counts", "PCE Major frame counter", "ATL02", _REF),
    "tlm_height_band1": Column(
        "f4", "meters", "Height of the telemetry band 1", "ATL03 ATBD, Section 7.3.2", _REF
    ),
    "tlm_height_band2": Column(
        "f4", "meters", "Height of the telemetry band 2", "ATL03 ATBD, Section 7.3.2", _REF
    ),
    "tlm_top_band1": Column(
        "f4",
        "meters",
        "Ellipsoidal height of the top of the telemetry band 1.",
        "ATL03 ATBD, Section 3.2, 7.3.2",
        _REF,
    ),
    "tlm_top_band2": Column(
        "f4",
        "meters",
        "Ellipsoidal height of the top of the telemetry band 2.",
        "ATL03 ATBD, Section 3.2, 7.3.2",
        _REF,
    ),
}

_S5 = "ATL03 ATBD, Section 5"
SIGNAL_FIND: dict[str, Column] = {
    "bckgrd_mean": _f4("counts", "background counts per bin", _S5, _QUAL),
    "bckgrd_sigma": _f4("counts", "background counts per bin sigma", _S5, _QUAL),
    "delta_time": Column("f8", EPOCH_UNITS, "Elapsed GPS seconds", "Derived via Time Tagging", _REF, **_GPS),
    "t_pc_delta": _f4("seconds", "bin width size", _S5, _QUAL),
    "z_pc_delta": _f4("meters", "bin height size", _S5, _QUAL),
}

_OPS = ("Operations", _REF)
ORBIT: dict[str, Column] = {
    "bounding_polygon_lat1": Column("f8", "degrees_north", "Bounding polygon latitude", *_OPS),
    "bounding_polygon_lon1": Column("f8", "degrees_east", "Bounding polygon longitude", *_OPS),
    "crossing_time": Column("f8", EPOCH_UNITS, "Ascending Node Crossing Time", *_OPS),
    "cycle_number": Column("i1", "counts", "Cycle Number", *_OPS),
    "lan": Column("f8", "degrees_east", "Ascending Node Longitude", *_OPS),
    "orbit_number": Column("u2", "1", "Orbit Number", *_OPS),
    "rgt": Column("i2", "counts", "Reference Ground track", *_OPS, extra=_range("i2", 1, 1387)),
    "sc_orient": Column(
        "i1", "1", "Spacecraft Orientation", *_OPS, extra=_flags([0, 1, 2], "backward forward transition")
    ),
    "sc_orient_time": Column("f8", EPOCH_UNITS, "Time of Last Orientation Change", *_OPS),
}
#: Dimension scales at the root.
SCALES = {
    "ds_surf_type": Column(
        "i4",
        "1",
        "Surface Type Dimension Scale",
        "Derived",
        _REF,
        extra={
            "flag_values": np.arange(1, 6, dtype="i4"),
            "flag_meanings": "land ocean seaice landice inland_water",
        },
    ),
    "ds_xyz": Column(
        "i4",
        "1",
        "XYZ Dimension Scale",
        "Derived",
        _REF,
        extra={"flag_values": np.arange(1, 4, dtype="i4"), "flag_meanings": "x y z"},
    ),
}
ANCILLARY: dict[str, tuple[str, str]] = {
    "atlas_sdp_gps_epoch": ("f8", "seconds since 1980-01-06T00:00:00.000000Z"),
    "control": ("S100000", "1"),
    "data_end_utc": ("S27", "1"),
    "data_start_utc": ("S27", "1"),
    "end_cycle": ("i4", "1"),
    "end_delta_time": ("f8", EPOCH_UNITS),
    "end_geoseg": ("i4", "1"),
    "end_gpssow": ("f8", "seconds"),
    "end_gpsweek": ("i4", "weeks from 1980-01-06"),
    "end_orbit": ("i4", "1"),
    "end_region": ("i4", "1"),
    "end_rgt": ("i4", "1"),
    "granule_end_utc": ("S27", "1"),
    "granule_start_utc": ("S27", "1"),
    "podppd_pad": ("f8", "seconds"),
    "qa_at_interval": ("f8", "1"),
    "release": ("S80", "1"),
    "start_cycle": ("i4", "1"),
    "start_delta_time": ("f8", EPOCH_UNITS),
    "start_geoseg": ("i4", "1"),
    "start_gpssow": ("f8", "seconds"),
    "start_gpsweek": ("i4", "weeks from 1980-01-06"),
    "start_orbit": ("i4", "1"),
    "start_region": ("i4", "1"),
    "start_rgt": ("i4", "1"),
    "version": ("S80", "1"),
}
#: Dimension scales of ``orbit_info``, and the variables along them.
ORBIT_SCALES = {
    "crossing_time": ("cycle_number", "lan", "orbit_number", "rgt"),
    "sc_orient_time": ("sc_orient",),
}
GROUPS = {
    "heights": (
        "Arrays of the parameters of each received photon.",
        "Data are stored at the photon detection rate.",
    ),
    "geolocation": (
        "Geolocation of each 20 m segment.",
        "Data within this group are stored at the ICESat-2 20m segment rate.",
    ),
    "geophys_corr": (
        "Geophysical corrections of each 20 m segment.",
        "These parameters are stored at the ICESat-2 Geolocation Along Track Segment rate "
        "(nominally every 20 m along-track).",
    ),
    "signal_find_output": (
        "What the signal finding saw.",
        "Data are stored at the rate of signal finding time intervals.",
    ),
}


def set_attrs(where: h5py.Group | h5py.Dataset, attrs: Mapping[str, Any]) -> None:
    """Write attributes, strings as fixed-length bytes as in the product."""
    for key, value in attrs.items():
        where.attrs[key] = np.bytes_(value) if isinstance(value, str) else value


def attach_orbit_scales(group: h5py.Group) -> None:
    """Make the times of ``orbit_info`` the dimension scales of what holds from then on."""
    for scale, names in ORBIT_SCALES.items():
        group[scale].make_scale(scale)
        for name in names:
            group[name].dims[0].attach_scale(group[scale])


def write_identification(h5: h5py.File, product: str, release: str, name: str, made: str) -> None:
    """Write ``METADATA/DatasetIdentification``, by which readers tell product and release.

    Parameters
    ----------
    h5 : h5py.File
        With the attributes of its root.
    product, release : str
    name : str
        Name of the file, without its suffix.
    made : str
        UTC.
    """
    group = h5.require_group("METADATA/DatasetIdentification")
    attrs = {
        "VersionID": release,
        "abstract": f"Simulated granule in the layout of {product}; not a NASA product.",
        "characterSet": "utf8",
        "creationDate": made,
        "fileName": f"{name}.h5",
        "language": "eng",
        "originatorOrganizationName": "is2ice twin",
        "shortName": product,
        "spatialRepresentationType": "along-track",
        "status": "onGoing",
        "topicCategory": "geoscientificInformation",
        "uuid": h5.attrs["identifier_file_uuid"],
    }
    set_attrs(group, attrs)

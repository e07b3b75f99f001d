"""Geometry of a pass: reference track, six ground tracks, time along them, and the sun above."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pyproj import Geod, Transformer
from scipy.interpolate import CubicSpline

from is2ice import schema
from is2ice.science.epoch import EPOCH_DATETIME
from is2ice.twin.icesat2.instrument import GROUND_SPEED

__all__ = ["GEOSEGMENT", "SHOT_INTERVAL", "BeamTrack", "delta_time", "make_tracks", "sun"]

#: Length of an ATL03 geosegment, m.
GEOSEGMENT = 20.0057
#: Time between laser pulses, s.
SHOT_INTERVAL = 1e-4
#: Offset of each beam from the reference track, positive to the left, m.
ACROSS = {"gt1l": 3345.0, "gt1r": 3255.0, "gt2l": 45.0, "gt2r": -45.0, "gt3l": -3255.0, "gt3r": -3345.0}
#: Shots (whole major frames) between the two beams of a pair at one place: some 2.5 km.
STRONG_WEAK_SHOTS = 3600

_INCLINATION = np.radians(92.0)
_ORBIT = 40_007_863.0  # one turn of the Earth, m
_EARTH_RATE = 465.1  # speed of the ground at the equator, m/s
_NODE = 1000.0
_WGS84 = Geod(ellps="WGS84")
Array = NDArray[np.float64]


def delta_time(time: datetime) -> float:
    """Seconds from the ATLAS epoch (2018-01-01 UTC) to a naive UTC time."""
    return (time - EPOCH_DATETIME) / timedelta(seconds=1)


@dataclass(frozen=True)
class BeamTrack:
    """One ground track over the scene.

    Attributes
    ----------
    beam : str
    across : float
        Offset from the reference track, positive left, m.
    x_start, x_end : float
        Range of ``x_atc``, m.
    t_start : float
        ``delta_time`` at which the beam passes ``x_start``, s.
    """

    beam: str
    across: float
    x_start: float
    x_end: float
    t_start: float
    _xy: CubicSpline
    _lonlat: CubicSpline

    def xy(self, x_atc: ArrayLike) -> tuple[Array, Array]:
        """Position in the scene's crs, m, of any along-track distance."""
        both = self._xy(np.asarray(x_atc, float))
        return both[..., 0], both[..., 1]

    def lonlat(self, x_atc: ArrayLike) -> tuple[Array, Array]:
        """Longitude (-180..180) and latitude, degrees."""
        both = self._lonlat(np.asarray(x_atc, float))
        return (both[..., 0] + 180.0) % 360.0 - 180.0, both[..., 1]

    def time(self, x_atc: ArrayLike) -> Array:
        """``delta_time`` at which the beam passes, s."""
        return self.t_start + (np.asarray(x_atc, float) - self.x_start) / GROUND_SPEED

    def normal(self, x_atc: ArrayLike) -> tuple[Array, Array]:
        """Return the unit vector to the left of the track in the crs, times the local scale factor.

        ``xy + a * normal`` is ``a`` metres to the left on the ground.
        """
        d = self._xy(np.asarray(x_atc, float), 1)
        return -d[..., 1], d[..., 0]


def heading(latitude: float, ascending: bool) -> float:
    """Azimuth of the ground track, degrees, for a 92 degree orbit over a turning Earth."""
    phi = np.radians(latitude)
    sin_az = np.clip(np.cos(_INCLINATION) / np.cos(phi), -1, 1)
    north = GROUND_SPEED * np.sqrt(1 - sin_az**2) * (1 if ascending else -1)
    east = GROUND_SPEED * sin_az - _EARTH_RATE * np.cos(phi)
    return float(np.degrees(np.arctan2(east, north)))


def distance_from_node(latitude: float, ascending: bool) -> float:
    """``x_atc`` of a latitude: along the orbit from the ascending equator crossing, m."""
    u = float(np.arcsin(np.clip(np.sin(np.radians(latitude)) / np.sin(_INCLINATION), -1, 1)))
    u = u % (2 * np.pi) if ascending else np.pi - u
    return u / (2 * np.pi) * _ORBIT


def make_tracks(
    crs: str, lon: float, lat: float, ascending: bool, length: float, start: datetime, sc_orient: int
) -> dict[str, BeamTrack]:
    """Return the six ground tracks of a pass.

    The reference track is the geodesic with the orbit's heading at its start; over some hundred
    kilometres that is within a few kilometres of the true orbit, and nothing depends on it.

    Parameters
    ----------
    crs : str
        Polar stereographic crs of the scene.
    lon, lat : float
        Start of the reference track, degrees.
    ascending : bool
    length : float
        Length of the scene, m.
    start : datetime
        UTC at which the strong beams pass the start.
    sc_orient : int
        0 backward, 1 forward.

    Returns
    -------
    dict of str to BeamTrack
    """
    if sc_orient not in (0, 1):
        raise ValueError(f"sc_orient: expected 0 (backward) or 1 (forward), got {sc_orient!r}")
    x0 = np.round(distance_from_node(lat, ascending) / GEOSEGMENT) * GEOSEGMENT
    # A margin on both sides, so that footprints and beams that lead or lag stay on the splines.
    along = np.arange(-5 * _NODE, length + 6 * _NODE, _NODE)
    n = along.size
    azimuth = np.full(n, heading(lat, ascending))
    lon_r, lat_r, _ = _WGS84.fwd(np.full(n, lon), np.full(n, lat), azimuth, along)
    forward, behind, _ = _WGS84.inv(lon_r[:-1], lat_r[:-1], lon_r[1:], lat_r[1:])
    forward = np.append(forward, behind[-1] + 180.0)
    to_xy = Transformer.from_crs("EPSG:4326", crs, always_xy=True)
    strong = "r" if sc_orient == 1 else "l"
    t0 = delta_time(start)
    # Forward flight puts the weak beams in front: they pass a given point earlier.
    lead = STRONG_WEAK_SHOTS * SHOT_INTERVAL * (1 if sc_orient == 1 else -1)
    tracks = {}
    for beam in schema.BEAMS:
        lon_b, lat_b, _ = _WGS84.fwd(lon_r, lat_r, forward - 90.0, np.full(n, ACROSS[beam]))
        x, y = to_xy.transform(lon_b, lat_b)
        lonlat = np.column_stack([np.unwrap(lon_b, period=360.0), lat_b])
        tracks[beam] = BeamTrack(
            beam,
            ACROSS[beam],
            float(x0),
            float(x0 + length),
            t0 if beam[3] == strong else t0 - lead,
            CubicSpline(x0 + along, np.column_stack([x, y])),
            CubicSpline(x0 + along, lonlat),
        )
    return tracks


def sun(lon: ArrayLike, lat: ArrayLike, time: datetime) -> tuple[Array, Array]:
    """Elevation and azimuth of the sun, degrees (low-precision almanac, within .05 degrees).

    Parameters
    ----------
    lon, lat : array_like
        Degrees.
    time : datetime
        UTC, naive.
    """
    days = delta_time(time) / 86400.0 + 6574.5  # days from J2000
    anomaly = np.radians((357.528 + 0.9856003 * days) % 360)
    mean_lon = (280.460 + 0.9856474 * days) % 360
    ecliptic = np.radians(mean_lon + 1.915 * np.sin(anomaly) + 0.020 * np.sin(2 * anomaly))
    tilt = np.radians(23.439 - 4e-7 * days)
    right_ascension = np.degrees(np.arctan2(np.cos(tilt) * np.sin(ecliptic), np.cos(ecliptic)))
    declination = np.arcsin(np.sin(tilt) * np.sin(ecliptic))
    sidereal = (280.46062 + 360.98564737 * days) % 360
    hour = np.radians(sidereal + np.asarray(lon, float) - right_ascension)
    phi = np.radians(np.asarray(lat, float))
    sin_el = np.sin(phi) * np.sin(declination) + np.cos(phi) * np.cos(declination) * np.cos(hour)
    azimuth = np.arctan2(-np.sin(hour), np.tan(declination) * np.cos(phi) - np.sin(phi) * np.cos(hour))
    return np.degrees(np.arcsin(np.clip(sin_el, -1, 1))), np.degrees(azimuth) % 360

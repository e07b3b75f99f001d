"""A sea-ice scene as a pure function of position: surface, sea level, cloud, and the tracks across it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pyproj import Transformer

from is2ice import schema

from . import fields
from .presets import PRESETS, Preset
from .tracks import BeamTrack, make_tracks, sun

__all__ = ["KINDS", "Scene", "SurfaceSample"]

Array = NDArray[np.float64]

#: Detailed kinds of surface, by code.
KINDS = ("snow_ice", "ridge", "grey_ice", "nilas", "calm_water", "rough_water", "pond")
#: Class of each kind in the package's vocabulary.
CLASS_OF_KIND = np.array(
    [
        schema.THICK_ICE,
        schema.THICK_ICE,
        schema.THIN_ICE,
        schema.THIN_ICE,
        schema.OPEN_WATER,
        schema.OPEN_WATER,
        schema.THICK_ICE,
    ],
    np.int8,
)
#: Leads are drawn per coarse tile and looked up per fine tile, m. No lead reaches past a neighbour tile.
_COARSE, _FINE = 20_000.0, 500.0


@dataclass(frozen=True)
class SurfaceSample:
    """The surface at some points; every array has the points' shape.

    Attributes
    ----------
    kind : int8
        Index into :data:`KINDS`.
    surface_class : int8
        Class codes of :mod:`is2ice.schema`.
    height : float32
        Total freeboard surface above the local sea surface, m.
    albedo_532 : float32
        Diffuse albedo at 532 nm, which sets the background.
    roughness : float32
        Height rms within about 1 m, m.
    backscatter : float32
        Photons returned at nadir relative to snow; calm water is specular and may exceed 1.
    """

    kind: NDArray[np.int8]
    surface_class: NDArray[np.int8]
    height: NDArray[np.float32]
    albedo_532: NDArray[np.float32]
    roughness: NDArray[np.float32]
    backscatter: NDArray[np.float32]


@dataclass(frozen=True)
class Scene:
    """A procedural sea-ice field of any length, from a preset and a seed.

    Attributes
    ----------
    parameters : Preset
        Parameters of the scene.
    seed : int
    length_km : float
        Length along the track.
    time : datetime
        UTC (naive) at which positions are meant; the pass unless changed with :meth:`at`.
    """

    parameters: Preset
    seed: int = 1
    length_km: float = 100.0
    time: datetime = datetime(1, 1, 1)

    @classmethod
    def preset(cls, name: str, *, seed: int = 1, length_km: float = 100.0, **overrides: Any) -> Scene:
        """Scene from a named preset.

        Parameters
        ----------
        name : str
            One of :data:`is2ice.twin.scene.presets.PRESETS`.
        seed : int
            Same seed, same scene.
        length_km : float
        **overrides
            Fields of :class:`~is2ice.twin.scene.presets.Preset` to change.

        Raises
        ------
        KeyError
            Unknown preset.
        TypeError
            Unknown field.
        """
        if name not in PRESETS:
            raise KeyError(f"unknown preset {name!r}; expected one of {', '.join(PRESETS)}")
        if not length_km > 0:
            raise ValueError(f"length_km: expected a positive length, got {length_km!r}")
        parameters = replace(PRESETS[name], **overrides)
        return cls(parameters, int(seed), float(length_km), parameters.start_time)

    def __getattr__(self, name: str) -> Any:
        # The preset's fields read as the scene's own: scene.crs, scene.drift, scene.rgt, ...
        if name.startswith("_") or name == "parameters":
            raise AttributeError(name)
        return getattr(self.parameters, name)

    @property
    def pass_time(self) -> datetime:
        """UTC (naive) of the pass."""
        return self.parameters.start_time

    def at(self, time: datetime) -> Scene:
        """Return the scene at another UTC time: ice moved by its drift, clouds by the wind."""
        return replace(self, time=time.replace(tzinfo=None))

    def _moved(
        self, x: ArrayLike, y: ArrayLike, velocity: tuple[float, float], time: Any
    ) -> tuple[Array, Array]:
        when = self.time if time is None else time.replace(tzinfo=None)
        dt = (when - self.pass_time) / timedelta(seconds=1)
        x0, y0 = self.origin
        return (
            np.asarray(x, float) - velocity[0] * dt - x0,
            np.asarray(y, float) - velocity[1] * dt - y0,
        )

    @cached_property
    def origin(self) -> tuple[float, float]:
        """Start of the reference track in the crs, rounded to 1 km; noise is laid out from here."""
        to_xy = Transformer.from_crs("EPSG:4326", self.parameters.crs, always_xy=True)
        x, y = to_xy.transform(self.parameters.start_lon, self.parameters.start_lat)
        return round(x, -3), round(y, -3)

    def _key(self, salt: int) -> np.uint64:
        return np.uint64(np.random.SeedSequence([self.seed, salt]).generate_state(1, np.uint64)[0])

    # ---- surface ----

    def surface(self, x: ArrayLike, y: ArrayLike, *, time: datetime | None = None) -> SurfaceSample:
        """Surface at points of the crs.

        Parameters
        ----------
        x, y : array_like
            Metres in the crs, any (broadcast) shape.
        time : datetime, optional
            UTC at which the points are looked at; the scene's own time by default.

        Returns
        -------
        SurfaceSample
        """
        p = self.parameters
        px, py = np.broadcast_arrays(*self._moved(x, y, p.drift, time))
        shape = px.shape
        px, py = np.ascontiguousarray(px).ravel(), np.ascontiguousarray(py).ravel()
        tiles = np.column_stack([np.floor(px / _FINE), np.floor(py / _FINE)]).astype(np.int64)
        code = (tiles[:, 0] + 2**30) * 2**32 + tiles[:, 1] + 2**30
        unique, tile_of = np.unique(code, return_inverse=True)
        tx, ty = unique // 2**32 - 2**30, unique % 2**32 - 2**30
        leads = self._leads(tx, ty)
        start, index = fields.candidate_leads(tx, ty, _FINE, leads, 60.0)
        kind = np.empty(px.size, np.int8)
        height, albedo, rough, rate = (np.empty(px.size, np.float32) for _ in range(4))
        settings = np.array(
            [
                p.floe_size,
                p.floe_gap,
                p.ridge_share,
                p.sail_mean,
                p.relief,
                np.log(p.freeboard_median),
                p.freeboard_log_sigma,
                p.physics.water_roughness,
                p.snow_albedo_std,
                p.physics.dark_rate,
                p.physics.dark_spread,
                p.physics.nilas_rate,
                p.physics.grey_rate,
                p.physics.snow_rate_spread,
                _normal_quantile(1.0 - p.pond_share) if p.pond_share else np.inf,
            ]
        )
        near = fields.Leads(tile_of.astype(np.int64).ravel(), start, index, leads, p.lead_water)
        out = fields.Surface(kind, height, albedo, rough, rate)
        fields.surface_kernel(px, py, near, settings, self._key(1), out)
        return SurfaceSample(
            kind.reshape(shape),
            CLASS_OF_KIND[kind].reshape(shape),
            height.reshape(shape),
            albedo.reshape(shape),
            rough.reshape(shape),
            rate.reshape(shape),
        )

    def _leads(self, tx: NDArray[np.int64], ty: NDArray[np.int64]) -> Array:
        """All leads that could reach the fine tiles: those of their coarse tiles and the neighbours."""
        if not self.parameters.lead_spacing:
            return np.zeros((0, 11))
        ratio = round(_COARSE / _FINE)
        wanted = {
            (int(i) + a, int(j) + b)
            for i, j in set(zip((tx // ratio).tolist(), (ty // ratio).tolist(), strict=True))
            for a in (-1, 0, 1)
            for b in (-1, 0, 1)
        }
        return np.concatenate([_tile_leads(self.parameters, self.seed, i, j) for i, j in sorted(wanted)])

    def leads_within(self, x: ArrayLike, y: ArrayLike) -> Array:
        """Table of the leads near some points (rows as in :mod:`is2ice.twin.scene.fields`), for pictures."""
        px, py = self._moved(x, y, self.parameters.drift, None)
        return self._leads(np.floor(px.ravel() / _FINE).astype(int), np.floor(py.ravel() / _FINE).astype(int))

    # ---- smooth fields ----

    def _waves(self, x: ArrayLike, y: ArrayLike, salt: int, wavelengths: Array, amplitudes: Array) -> Array:
        """Sum of plane waves in random directions: smooth, cheap and the same everywhere."""
        rng = np.random.default_rng([self.seed, salt])
        px, py = np.asarray(x, float) - self.origin[0], np.asarray(y, float) - self.origin[1]
        out = np.zeros(np.broadcast_shapes(px.shape, py.shape))
        for wavelength, amplitude in zip(wavelengths, amplitudes, strict=True):
            angle, phase = rng.uniform(0, 2 * np.pi, 2)
            k = 2 * np.pi / wavelength
            out += amplitude * np.sin(k * (px * np.cos(angle) + py * np.sin(angle)) + phase)
        return out

    def sea_surface(self, x: ArrayLike, y: ArrayLike) -> Array:
        """Local sea surface above the mean sea surface, m (tides and atmosphere removed)."""
        p = self.parameters
        short = np.array([21e3, 27e3, 34e3, 42e3, 50e3])
        slope = 120e3 * p.ssh_slope / 1000 / (2 * np.pi)  # a wave whose steepest part has the slope
        return (
            p.ssh_level
            + self._waves(x, y, 11, short, np.full(5, p.ssh_undulation * np.sqrt(2 / 5)))
            + self._waves(x, y, 12, np.array([120e3]), np.array([slope]))
        )

    def geoid(self, x: ArrayLike, y: ArrayLike) -> Array:
        """Geoid above the ellipsoid, tide-free, m."""
        level = -57.0 if self.parameters.hemisphere == "south" else 3.0
        return level + self._waves(x, y, 13, np.array([900e3, 310e3, 120e3]), np.array([3.0, 0.8, 0.15]))

    def mss(self, x: ArrayLike, y: ArrayLike) -> Array:
        """Mean sea surface above the ellipsoid, m: the geoid and a dynamic topography."""
        return self.geoid(x, y) - 0.9 + self._waves(x, y, 14, np.array([700e3, 90e3]), np.array([0.12, 0.04]))

    def corrections(self, x: ArrayLike, y: ArrayLike) -> dict[str, Array]:
        """Tides and atmosphere at the pass, m; names as in ``geophys_corr``."""
        size = {
            "tide_ocean": (0.12, 0.25), "tide_equilibrium": (0.009, 0.002), "dac": (-0.08, 0.10),
            "tide_load": (-0.008, 0.006), "tide_earth": (-0.09, 0.03), "tide_pole": (0.0004, 0.0002),
            "tide_oc_pole": (0.0, 0.0001),
        }  # fmt: skip
        return {
            name: mean
            + self._waves(x, y, 20 + k, np.array([1100e3, 450e3]), np.array([spread, 0.3 * spread]))
            for k, (name, (mean, spread)) in enumerate(size.items())
        }

    # ---- sky ----

    def cloud(self, x: ArrayLike, y: ArrayLike, *, time: datetime | None = None) -> Array:
        """Optical depth of cloud above the points; 0 where clear."""
        p = self.parameters
        px, py = np.broadcast_arrays(*self._moved(x, y, p.wind, time))
        if p.cloud_cover <= 0:
            return np.zeros(px.shape)
        return self._cloud(np.ascontiguousarray(px), np.ascontiguousarray(py))

    def _cloud(self, px: Array, py: Array) -> Array:
        p, shape, flat = self.parameters, px.shape, (px.ravel(), py.ravel())
        z = 0.85 * fields.noise_field(*flat, 9000.0, self._key(2))
        z += 0.45 * fields.noise_field(*flat, 2500.0, self._key(3))
        z += 0.27 * fields.noise_field(*flat, 700.0, self._key(4))
        edge = _normal_quantile(1 - p.cloud_cover)
        return (p.cloud_depth * np.maximum(z - edge, 0) * 1.8).reshape(shape)

    def haze(self, x: ArrayLike, y: ArrayLike) -> Array:
        """Transmission of the clear sky for the laser, one way squared, relative to the best sky's mean."""
        px, py = np.broadcast_arrays(*self._moved(x, y, self.parameters.wind, None))
        flat = (np.ascontiguousarray(px).ravel(), np.ascontiguousarray(py).ravel())
        z = 0.8 * fields.noise_field(*flat, 15000.0, self._key(5)) + 0.6 * fields.noise_field(
            *flat, 2500.0, self._key(6)
        )
        s = self.parameters.sky_log_sigma
        return np.exp(s * z - 0.5 * s * s).reshape(px.shape)

    def brightness(self, x: ArrayLike, y: ArrayLike) -> Array:
        """Sunlight sent back by a unit of brightness, about 1: thin high cloud and the sun's angle on snow."""
        px, py = np.broadcast_arrays(*self._moved(x, y, self.parameters.wind, None))
        flat = (np.ascontiguousarray(px).ravel(), np.ascontiguousarray(py).ravel())
        z = fields.noise_field(*flat, 12000.0, self._key(9))
        s = self.parameters.light_log_sigma
        return np.exp(s * z - 0.5 * s * s).reshape(px.shape)

    def shadow(self, x: ArrayLike, y: ArrayLike, *, time: datetime | None = None) -> Array:
        """Share of direct sunlight taken by cloud, 0..1: the cloud's depth along the sun's ray."""
        p = self.parameters
        px, py = np.broadcast_arrays(*self._moved(x, y, p.wind, time))
        if p.cloud_cover <= 0 or self.sun_elevation <= 0:
            return np.zeros(px.shape)
        # Shadows of a deck at 1500 m fall away from the sun.
        reach = 1500.0 / np.tan(np.radians(max(self.sun_elevation, 5.0)))
        sx, sy = self.sun_direction
        tau = self._cloud(np.ascontiguousarray(px + reach * sx), np.ascontiguousarray(py + reach * sy))
        return 1.0 - np.exp(-tau)

    @cached_property
    def _sun(self) -> tuple[float, float]:
        track = self.track("gt2l")
        lon, lat = track.lonlat(0.5 * (track.x_start + track.x_end))
        elevation, azimuth = sun(lon, lat, self.pass_time)
        return float(elevation), float(azimuth)

    @property
    def sun_elevation(self) -> float:
        """Elevation of the sun at the middle of the scene, degrees."""
        return self._sun[0]

    @property
    def sun_azimuth(self) -> float:
        """Azimuth of the sun, degrees clockwise from true north."""
        return self._sun[1]

    @cached_property
    def sun_direction(self) -> tuple[float, float]:
        """Unit vector towards the sun along the axes of the crs."""
        track = self.track("gt2l")
        lon, lat = track.lonlat(0.5 * (track.x_start + track.x_end))
        to_xy = Transformer.from_crs("EPSG:4326", self.parameters.crs, always_xy=True)
        a, step = np.radians(self.sun_azimuth), 1e-3
        x, y = to_xy.transform(lon, lat)
        xs, ys = to_xy.transform(lon + step * np.sin(a) / np.cos(np.radians(lat)), lat + step * np.cos(a))
        d = np.hypot(xs - x, ys - y)
        return float((xs - x) / d), float((ys - y) / d)

    # ---- tracks ----

    @property
    def length(self) -> float:
        """Length along the track, m."""
        return self.length_km * 1000.0

    def tracks(self, sc_orient: int = 1) -> dict[str, BeamTrack]:
        """Return the six ground tracks for an orientation (which sets only the timing of the beams)."""
        return _tracks(self.parameters, self.length, sc_orient)

    def track(self, beam: str, sc_orient: int = 1) -> BeamTrack:
        """One ground track.

        Raises
        ------
        KeyError
            Unknown beam.
        """
        tracks = self.tracks(sc_orient)
        if beam not in tracks:
            raise KeyError(f"unknown beam {beam!r}; expected one of {', '.join(tracks)}")
        return tracks[beam]


def _normal_quantile(p: float) -> float:
    from scipy.special import ndtri

    return float(ndtri(np.clip(p, 1e-6, 1 - 1e-6)))


@lru_cache(maxsize=8)
def _tracks(p: Preset, length: float, sc_orient: int) -> dict[str, BeamTrack]:
    return make_tracks(p.crs, p.start_lon, p.start_lat, p.ascending, length, p.start_time, sc_orient)


@lru_cache(maxsize=4096)
def _tile_leads(p: Preset, seed: int, i: int, j: int) -> Array:
    """Leads centred in one coarse tile, in metres from the scene's origin.

    A line meets ``density x mean length x 2/pi`` randomly turned leads per metre, which sets the
    density for the wanted spacing.
    """
    rng = np.random.default_rng([seed, 7, i + 2**20, j + 2**20])
    lo, hi = p.lead_width
    half_mean = 4500.0
    density = np.pi / 2 / (2 * half_mean * p.lead_spacing)
    n = rng.poisson(density * _COARSE**2)
    u = rng.random(n)
    a = 1.0 - p.lead_exponent
    width = (lo**a + u * (hi**a - lo**a)) ** (1.0 / a) if abs(a) > 1e-9 else lo * (hi / lo) ** u
    half = np.clip(half_mean * np.exp(0.5 * rng.standard_normal(n) - 0.125), 800.0, 14_000.0)
    half = np.maximum(half, 1.2 * width)
    # Two families of fractures at an acute angle, with scatter.
    family = np.random.default_rng([seed, 8]).uniform(0, np.pi)
    angle = family + np.where(rng.random(n) < 0.6, 0.0, 0.95) + rng.normal(0, 0.30, n)
    light = p.physics
    specular = np.exp(rng.uniform(np.log(light.specular_low), np.log(light.specular_high), n))
    rough = rng.random(n) < (width / (width + p.calm_fetch) if light.dark_share < 0.0 else light.dark_share)
    return np.column_stack(
        [
            (i + rng.random(n)) * _COARSE,
            (j + rng.random(n)) * _COARSE,
            np.cos(angle),
            np.sin(angle),
            half,
            width,
            rng.random(n),
            specular,
            np.minimum(0.02 * half, 50.0) * rng.standard_normal(n).clip(-1, 1),
            rng.random(n),
            rough,
        ]
    )

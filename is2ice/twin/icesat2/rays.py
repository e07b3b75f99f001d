"""A second optical model, written apart from the twin's own, that judges what was trained on the first.

It shares the shape of the ice (kind, height) and the receiver with the first model, and nothing of the light:

==================  ==========================================  ============================================
                    first optics                                here
==================  ==========================================  ============================================
footprint           Gaussian over rows of 1 m, weights fixed    rays drawn for every shot, disc with soft rim
water               backscatter drawn per lead                  facets: rho / (4 mss), slopes by wind (Cox and
                                                                Munk 1954) or by the calm of the lead
thin ice            proportional to the scene's albedo          albedo grows with height, with a glossy lobe
snow                proportional to albedo                      grain: albedo to a power, shaded with relief
background          32 m square of albedo, constant sky light   45 m disc of rays, light of the surroundings
                                                                (400 m), path light, sun glint on water
==================  ==========================================  ============================================

Unknown properties (wind, slopes of calm leads, gloss, path light) are drawn for each pass.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from is2ice.twin.scene.fields import noise_field
from is2ice.twin.scene.scene import Scene, SurfaceSample
from is2ice.twin.scene.tracks import BeamTrack

from .strip import Footprints

__all__ = ["Sky", "background_rate", "footprints"]

Array = NDArray[np.float64]

#: Rays of one shot and of one look at the background.
RAYS, BACKGROUND_RAYS = 24, 48
#: Radius of the lit disc and of the receiver's field of view, m.
LIT, FIELD = 5.8, 22.5
#: Fresnel reflectance of water at nadir.
FRESNEL = 0.021
SNOW = 0.88


@dataclass(frozen=True)
class Sky:
    """Properties drawn once for a pass."""

    wind: float
    calm_slope: float
    gloss: float
    path: float
    surroundings: float
    glint: float
    grain: float

    @classmethod
    def of(cls, scene: Scene) -> Sky:
        """Wind (m/s), mean square slope of calm leads, gloss, path light, light of the surroundings, glint, grain."""
        rng = np.random.default_rng([scene.seed, 90])
        return cls(
            wind=rng.uniform(4.0, 12.0),
            calm_slope=float(np.exp(rng.uniform(np.log(0.0010), np.log(0.0030)))),
            gloss=rng.uniform(0.85, 1.35),
            path=rng.uniform(0.05, 0.16),
            surroundings=rng.uniform(0.03, 0.12),
            glint=rng.uniform(0.0, 0.05),
            grain=rng.uniform(0.8, 2.0),
        )


def _key(scene: Scene, salt: int) -> np.uint64:
    return np.uint64(np.random.SeedSequence([scene.seed, 91, salt]).generate_state(1, np.uint64)[0])


def _noise(scene: Scene, x: Array, y: Array, scale: float, salt: int) -> Array:
    flat = (
        np.ascontiguousarray(x - scene.origin[0]).ravel(),
        np.ascontiguousarray(y - scene.origin[1]).ravel(),
    )
    return noise_field(*flat, scale, _key(scene, salt)).reshape(x.shape)


def _thin_albedo(height: NDArray) -> Array:
    """Albedo of young ice by its height above the water: dark when new, grey by 10 cm."""
    return 0.11 + 0.46 * (1.0 - np.exp(-np.asarray(height, float) / 0.05))


def _returned(scene: Scene, sky: Sky, s: SurfaceSample, x: Array, y: Array) -> Array:
    """Laser light sent back, relative to snow."""
    snow = (s.albedo_532 / SNOW) ** sky.grain * np.exp(-1.5 * np.maximum(s.roughness - 0.02, 0.0))
    thin = sky.gloss * _thin_albedo(s.height) / SNOW
    gust = np.exp(0.3 * _noise(scene, x, y, 150.0, 1))
    wind = 0.003 + 0.00512 * sky.wind * gust
    calm = sky.calm_slope * np.exp(
        0.75 * _noise(scene, x, y, 2500.0, 2) + 0.25 * _noise(scene, x, y, 60.0, 3)
    )
    slope = np.where(s.kind == 5, wind, calm)
    water = np.minimum(FRESNEL / (4.0 * SNOW * slope), 8.0)
    return np.where(s.surface_class == 2, water, np.where(s.surface_class == 1, thin, snow))


def _rays(rng: np.random.Generator, n: int, rays: int, radius: float, rim: float) -> tuple[Array, Array]:
    """Points in a disc whose rim is soft: along and across, m."""
    r = radius * np.sqrt(rng.random((n, rays))) + rim * rng.standard_normal((n, rays))
    angle = 2.0 * np.pi * rng.random((n, rays))
    return r * np.cos(angle), r * np.sin(angle)


def footprints(scene: Scene, track: BeamTrack, x: Array) -> Footprints:
    """Light of some shots, a row of rays for each.

    Parameters
    ----------
    scene : Scene
    track : BeamTrack
    x : (n,) array
        Along-track distance of the shots, m.
    """
    rng = np.random.default_rng([scene.seed, 92, round(x[0])])
    a, b = _rays(rng, x.size, RAYS, LIT, 0.8)
    a += 0.35 * rng.standard_normal((x.size, 1))  # pointing jitter, known to a fraction of a metre
    cx, cy = track.xy(x)
    nx, ny = track.normal(x)
    # Along the track is the normal turned clockwise.
    px = cx[:, None] + b * nx[:, None] + a * ny[:, None]
    py = cy[:, None] + b * ny[:, None] - a * nx[:, None]
    s = scene.surface(px, py)
    light = _returned(scene, Sky.of(scene), s, px, py) / RAYS
    rows = light.sum(1)
    sigma = 0.05  # a shot sees its own row and no other
    rough = np.where(s.kind == 5, 0.03 + 0.004 * Sky.of(scene).wind, s.roughness).astype(np.float32)
    return Footprints(
        x,
        np.arange(x.size, dtype=float),
        0.0,
        sigma,
        rows * sigma * np.sqrt(2.0 * np.pi),
        np.cumsum(light, 1) / rows[:, None],
        s.height,
        rough,
    )


def background_rate(scene: Scene, track: BeamTrack, x_atc: Array, strength: str) -> Array:
    """Background rate, Hz, as :func:`is2ice.twin.icesat2.beam.background_rate` but by rays.

    Parameters
    ----------
    scene : Scene
    track : BeamTrack
    x_atc : (n,) array
        m.
    strength : {"strong", "weak"}
    """
    p, sky = scene.parameters, Sky.of(scene)
    dark = p.background_dark * (1.0 if strength == "strong" else 0.25)
    sun = np.sin(np.radians(scene.sun_elevation))
    if sun <= 0:
        return np.full(x_atc.shape, dark)
    node = np.arange(x_atc[0] - 30.0, x_atc[-1] + 40.0, 6.0)
    rng = np.random.default_rng([scene.seed, 93])
    a, b = _rays(rng, node.size, BACKGROUND_RAYS, FIELD, 1.5)
    cx, cy = track.xy(node)
    nx, ny = track.normal(node)
    px = cx[:, None] + b * nx[:, None] + a * ny[:, None]
    py = cy[:, None] + b * ny[:, None] - a * nx[:, None]
    s = scene.surface(px, py)
    albedo = np.where(
        s.surface_class == 0, s.albedo_532, np.where(s.surface_class == 1, _thin_albedo(s.height), 0.06)
    )
    surface = (albedo / SNOW + sky.glint * (s.surface_class == 2)).mean(1)
    half = round(200.0 / 6.0)
    around = np.convolve(np.pad(surface, half, "edge"), np.ones(2 * half + 1) / (2 * half + 1), "valid")
    tau = scene.cloud(cx, cy)
    through = np.exp(-0.35 * tau) * (1.0 - 0.55 * scene.shadow(cx, cy))
    share = sky.path + sky.surroundings
    seen = (
        (1.0 - share) * surface * through
        + sky.surroundings * around
        + sky.path
        + 0.5 * (1.0 - np.exp(-0.9 * tau))
    )
    # Snow scatters forward under a low sun: less of it comes straight up.
    seen *= 1.0 - 0.25 * (1.0 - sun) * surface
    return dark + np.interp(x_atc, node, p.background_zenith * sun * seen * scene.brightness(cx, cy))

"""Light between sun, ice, cloud and Sentinel-2: reflectance of surfaces, thin cloud, atmosphere.

Reflectances are fractions, in the bands :data:`BANDS` on the last axis. The model is deliberately simple:
Lambertian surface, one cloud layer, Rayleigh scattering above an absorbing ozone layer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["BANDS", "THIN_ICE", "Atmosphere", "cloud_over", "shade", "surface_reflectance"]

Array = NDArray[np.float64]

BANDS = ("B02", "B03", "B04", "B08", "B11")

#: Rayleigh optical depth at sea level; ozone optical depth at 300 Dobson units (Chappuis band).
RAYLEIGH = np.array([0.160, 0.092, 0.045, 0.018, 0.0013])
OZONE = np.array([0.0065, 0.0310, 0.0165, 0.0009, 0.0])
#: Share of sunlight that is direct under a clear sky: blue keeps most light in shadow.
DIRECT = np.array([0.46, 0.51, 0.57, 0.61, 0.63])

#: Thin ice seen from space: thickness (cm) and top-of-atmosphere reflectance in each band; Sentinel-2 L1C
#: means over Arctic thin ice against a thermal thickness product (oyssko/Sentinel_2_ThinSeaIceThickness).
THIN_ICE = np.array(
    [
        [1, 0.31, 0.23, 0.23, 0.17, 0.020],
        [3, 0.36, 0.27, 0.28, 0.24, 0.027],
        [5, 0.44, 0.34, 0.37, 0.34, 0.036],
        [10, 0.54, 0.42, 0.48, 0.47, 0.046],
        [15, 0.60, 0.47, 0.55, 0.55, 0.046],
        [20, 0.64, 0.51, 0.60, 0.60, 0.059],
        [30, 0.64, 0.51, 0.60, 0.62, 0.068],
    ]
)
#: Where that table was measured: ozone (Dobson units) and sun elevation at which its dip in B03 closes.
_TABLE_OZONE, _TABLE_SUN = 400.0, 10.0
#: Dark smooth water, and what wind adds (foam, bubbles, glint).
_WATER = np.array([0.050, 0.042, 0.030, 0.022, 0.006])
_WIND = np.array([0.012, 0.012, 0.011, 0.010, 0.006])
#: Dry snow where the 532 nm albedo is .88, and change of each band per change of that albedo: infrared
#: falls faster as grains grow.
_SNOW = np.array([0.905, 0.890, 0.880, 0.830, 0.090])
_SNOW_SLOPE = np.array([0.9, 1.0, 1.1, 1.6, 0.6])
_SNOW_ALBEDO = 0.88


@dataclass(frozen=True)
class Atmosphere:
    """Clear atmosphere for one position of the sun, seen from straight above.

    Attributes
    ----------
    sun_elevation : float
        Degrees, above 0.
    ozone : float
        Dobson units.
    """

    sun_elevation: float
    ozone: float = 300.0

    @property
    def _terms(self) -> tuple[Array, Array, Array, Array]:
        mu = np.sin(np.radians(self.sun_elevation))
        # Air masses on a sphere stay finite as the sun sinks (Kasten and Young 1989).
        down = 1.0 / (mu + 0.50572 * (self.sun_elevation + 6.07995) ** -1.6364)
        gas = np.exp(-OZONE * self.ozone / 300.0 * (down + 1.0))
        back = 0.5 * RAYLEIGH  # half of what is scattered goes up
        path = RAYLEIGH * 0.75 * (1.0 + mu * mu) * down / 4.0
        through = np.exp(-back * down) * np.exp(-back)
        return gas, path, through, 0.92 * RAYLEIGH * np.exp(-RAYLEIGH)

    def to_space(self, surface: ArrayLike) -> Array:
        """Top-of-atmosphere reflectance of a surface reflectance, shape (..., 5)."""
        gas, path, through, sphere = self._terms
        s = np.asarray(surface, float)
        return gas * (path + through * s / (1.0 - sphere * s))

    def to_surface(self, space: ArrayLike) -> Array:
        """Inverse of :meth:`to_space`: an ideal atmospheric correction, blind to clouds."""
        gas, path, through, sphere = self._terms
        y = (np.asarray(space, float) / gas - path) / through
        return y / (1.0 + sphere * y)


def _thin_spectra() -> tuple[Array, Array]:
    """Albedo at 532 nm and surface reflectance from water to 30 cm of ice, rising."""
    table = Atmosphere(_TABLE_SUN, _TABLE_OZONE).to_surface(THIN_ICE[:, 1:])
    # Ice has no feature in the green: what the assumed ozone leaves of the dip is not the ice's.
    table[:, 1] = table[:, 0] + (560 - 492) / (665 - 492) * (table[:, 2] - table[:, 0])
    spectra = np.vstack([_WATER, np.maximum.accumulate(np.maximum(table, _WATER), axis=0)])
    at_532 = spectra[:, 0] + (532 - 492) / (560 - 492) * (spectra[:, 1] - spectra[:, 0])
    keep = np.r_[True, np.diff(at_532) > 1e-6]
    return at_532[keep], spectra[keep]


_THIN = _thin_spectra()


def surface_reflectance(kind: ArrayLike, albedo_532: ArrayLike) -> Array:
    """Surface reflectance of each kind of surface of :data:`is2ice.twin.scene.scene.KINDS`.

    Thin ice follows the measured series from water to 30 cm, entered with the albedo at the laser's own
    colour, so that lidar and image see the same ice. Ponds are entered there too: dark, bluish, over ice.

    Parameters
    ----------
    kind : array_like of int
    albedo_532 : array_like
        Same shape.

    Returns
    -------
    ndarray, shape (..., 5)
    """
    kind = np.asarray(kind)
    albedo = np.asarray(albedo_532, float)
    out = np.empty((*kind.shape, len(BANDS)))
    at_532, spectra = _THIN
    for b in range(len(BANDS)):
        snow = _SNOW[b] + _SNOW_SLOPE[b] * (albedo - _SNOW_ALBEDO)
        thin = np.interp(albedo, at_532, spectra[:, b])
        water = _WATER[b] + np.where(kind == 5, _WIND[b], 0.0)
        out[..., b] = np.where(kind <= 1, snow, np.where((kind <= 3) | (kind == 6), thin, water))
    return np.clip(out, 0.0, 1.0)


def shade(reflectance: Array, shadow: ArrayLike) -> Array:
    """Reflectance under a cloud's shadow: sky light, which is bluer, remains.

    Parameters
    ----------
    reflectance : ndarray, shape (..., 5)
    shadow : array_like, shape (...)
        Share of the direct sunlight that is missing, 0-1.
    """
    return reflectance * (1.0 - np.asarray(shadow, float)[..., None] * DIRECT)


def cloud_over(surface: Array, depth: ArrayLike, sun_elevation: float) -> Array:
    """Reflectance of a surface with a thin cloud above it.

    Two-stream layer (Meador and Weaver 1980, Eddington coefficients for the slant sunlight) with asymmetry
    .85: nearly grey, bright over water, hardly seen over snow but for the short-wave infrared.

    Parameters
    ----------
    surface : ndarray, shape (..., 5)
    depth : array_like, shape (...)
        Optical depth of the cloud, 0 for none.
    sun_elevation : float
        Degrees.
    """
    tau = np.asarray(depth, float)[..., None]
    g, mu = 0.85, np.sin(np.radians(sun_elevation))
    gamma1, gamma3 = 0.75 * (1.0 - g), (2.0 - 3.0 * g * mu) / 4.0
    sun = (gamma1 * tau + (gamma3 - gamma1 * mu) * (1.0 - np.exp(-tau / mu))) / (1.0 + gamma1 * tau)
    sun = np.clip(sun, 0.0, 1.0)
    diffuse = gamma1 * tau / (1.0 + gamma1 * tau)
    # Water and ice absorb a little at 1.6 um.
    lost = np.array([0.0, 0.0, 0.0, 0.0, 0.08]) * tau
    return sun * np.exp(-lost) + (1.0 - sun) * (1.0 - diffuse) * np.exp(-lost) * surface / (
        1.0 - diffuse * surface
    )

r"""Surface class from photon rate, width and background, as ATL07 tells leads from ice.

No training: the thresholds are physical and stand in ``radiometric.toml``. Photon rate :math:`r` is the
number of signal photons per pulse over the laser footprint, :math:`w` the surface spread, and :math:`b`
the background rate over that of the local bright ice, a measure of brightness over 35 m that exists under
a sun high enough.

==========================================  ==============================================
condition                                   class
==========================================  ==============================================
r below the cloud limit, b not dark         unlabelled
b dark as water                             open water, whatever r
r very bright, w small, b not bright        open water (a specular lead, perhaps narrow)
r dark, w small                             thin ice; open water at night if darkest
b of thin ice, r below that of snow, w small  thin ice
else                                        thick ice
==========================================  ==============================================

A lead beside a bright background under a high sun is taken for ice. Probabilities are those of the tree
given what was measured: the rate's posterior is :math:`\Gamma(n + 1, 1 / \mathrm{pulses})` for :math:`n`
photons, width and brightness are normal with their sampling errors, and all are carried through the table.

The thresholds hold for a nominal laser and a clear sky. Energy, atmosphere and thin cloud change all rates
alike, so thresholds move with the light of the local ice (upper quartile over 10 km), within limits. They
move in incident photons: a beam of :math:`N` pixels that detects :math:`n` a pulse was hit by
:math:`-N \ln(1 - n/N)`, so bright returns saturate and thresholds must not pass what can be detected.

References
----------
Kwok et al. (2016, 2021), ATL07/ATL10 Algorithm Theoretical Basis Document, section 4.2; thresholds as read
off ATL10 release 006.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.resources import files
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from is2ice import schema
from is2ice.science.along_track import local_quantile, running_sum, spots
from is2ice.science.first_photon_bias import PIXELS, detected, incident

from .base import add_classes

__all__ = ["Radiometric", "classes_of_rates", "classify", "thresholds"]

F8 = NDArray[np.float64]


@lru_cache(maxsize=1)
def thresholds() -> dict[str, Any]:
    """Return the thresholds that come with the package."""
    return tomllib.loads(files(__package__).joinpath("radiometric.toml").read_text())


@dataclass(frozen=True)
class Radiometric:
    """Radiometric decision tree with probabilities.

    Attributes
    ----------
    table : dict
        Thresholds, as in ``radiometric.toml``.
    """

    table: dict[str, Any] = field(default_factory=thresholds)
    name: str = "radiometric"

    def predict(self, segments: xr.Dataset) -> xr.Dataset:
        """Add ``surface_class`` and ``class_probability``.

        Parameters
        ----------
        segments : xarray.Dataset
            :data:`is2ice.schema.SEGMENTS`, dims ``(beam, x_atc)`` or ``(x_atc,)``; ``spot`` as coordinate or
            attribute says strong or weak.

        Returns
        -------
        xarray.Dataset
        """
        spot = spots(segments)
        length = schema.segment_length(segments)
        x0 = float(segments["x_atc"].values[0]) if segments.sizes["x_atc"] else 0.0
        names = ("n_photons", "n_pulses", "h_spread", "background_rate", "solar_elevation")
        columns = {name: np.atleast_2d(np.asarray(segments[name], "f8")) for name in names}
        shape = columns["n_photons"].shape
        probability = np.full((*shape, 3), np.nan)
        known = np.zeros(shape, bool)
        for b in range(shape[0]):
            one = {name: a[b] for name, a in columns.items()}
            probability[b], known[b] = self._track(one, spot[b], length, x0)
        if "beam" not in segments["n_photons"].dims:
            probability, known = probability[0], known[0]
        return add_classes(segments, probability, known, self.name)

    def _track(self, a: dict[str, F8], spot: int, length: float, x0: float) -> tuple[F8, NDArray[np.bool_]]:
        from scipy.special import gammainc, ndtr

        limits = self.table["strong" if spot % 2 else "weak"]
        window = self.table["window"]
        half = max(0, round(window["half_cells_m"] / length))
        photons, pulses = running_sum(a["n_photons"], half), running_sum(a["n_pulses"], half)
        seen = (pulses > 0) & (a["n_pulses"] > 0)
        gain = self.table["gain_by_spot"][str(spot)]
        n_pix = PIXELS["strong" if spot % 2 else "weak"]
        light = self._light(photons, pulses, limits["nominal_ice"] * gain, n_pix, length, x0)

        def below(name: str, light: F8 | float = light) -> F8:
            """Probability that the true rate is below a threshold, which moves with the light."""
            limit = detected(light * incident(limits[name] * gain, n_pix), n_pix)
            return gammainc(photons + 1.0, limit * np.maximum(pulses, 1e-9))

        # The cloud limit is a number of photons that says too little, whatever dims them.
        cloud = below("cloud_below", 1.0)
        water, thin = below("water_below"), below("thin_below")
        # A patchy cloud dims the local ice and not the clear ice beside it: the limit of specular returns
        # only rises, since a false lead costs more than a missed one.
        high = 1.0 - below("specular_above", np.maximum(light, 1.0))
        width = self.table["width"]
        surface = np.sqrt(np.maximum(a["h_spread"] ** 2 - width["pulse"] ** 2, 0.0))
        # Sampling error of a spread from as many photons as the stretch holds, never quite zero.
        error = np.maximum(a["h_spread"] / np.sqrt(2.0 * np.maximum(photons, 2.0)), 0.005)
        # No spread measured (too few photons): the darkness itself is the evidence.
        smooth = np.where(np.isfinite(surface), ndtr((width["smooth"] - surface) / error), 1.0)
        rough = np.where(np.isfinite(surface), ndtr((width["rough"] - surface) / error), 1.0)
        specular = high * smooth
        night_water, night_thin = water * rough + specular, (thin - water) * rough
        brightness = self._brightness(a, length, x0)
        day = np.isfinite(brightness)
        test = self.table["background"]
        share = np.where(day, brightness, 1.0)
        dark = ndtr((test["water_below"] - share) / test["error"])
        dim = ndtr((test["thin_below"] - share) / test["error"]) - dark
        bright = (1.0 - dark - dim) * (share < test["bright"])
        dim_thin = below("thin_below_when_dim")
        # Under a dim background the darkest returns are nilas or a lead narrower than the 35 m of the
        # background: the sun alone cannot tell, so the class follows the more common nilas.
        day_water = dark + (dim + bright) * specular + 0.4 * dim * water * rough
        day_thin = dim * (0.6 * water + dim_thin - water) * rough + bright * thin * rough
        p_water, p_thin = np.where(day, day_water, night_water), np.where(day, day_thin, night_thin)
        p = np.stack([1.0 - p_water - p_thin, p_thin, p_water], axis=-1)
        return np.clip(p, 0.0, 1.0), seen & ((cloud < 0.5) | (day & (share < test["thin_below"])))

    def _light(self, photons: F8, pulses: F8, nominal: float, n_pix: int, length: float, x0: float) -> F8:
        """Incident light of the local bright ice over the nominal one, limited: 1 under a clear sky."""
        window = self.table["window"]
        with np.errstate(invalid="ignore", divide="ignore"):
            rate = np.where(pulses > 0, photons / pulses, np.nan)
        local = local_quantile(rate, window["local_quantile"], window["local_m"], length, x0)
        light = incident(np.where(np.isfinite(local), local, nominal), n_pix) / incident(nominal, n_pix)
        return np.clip(light, *window["light_range"])

    def _brightness(self, a: dict[str, F8], length: float, x0: float) -> F8:
        """Background over that of the local bright ice; NaN under a low sun."""
        rate = a["background_rate"]
        local = local_quantile(rate, 0.9, self.table["window"]["local_m"], length, x0)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(
                a["solar_elevation"] > self.table["background"]["sun_above"], rate / local, np.nan
            )


def classify(segments: xr.Dataset) -> xr.Dataset:
    """Radiometric surface classes with the package's thresholds (see :class:`Radiometric`)."""
    return Radiometric().predict(segments)


def classes_of_rates(rate: ArrayLike, width: ArrayLike, spot: int) -> NDArray[np.int8]:
    """Classes of whole segments from rate and width alone, by the thresholds as they stand.

    For segments that others made, such as ATL07's of 150 photons: no pooling, no light of the surroundings and no
    background, so it is the table above at night and under a clear sky.

    Parameters
    ----------
    rate : array_like
        Signal photons per pulse.
    width : array_like
        Spread of the surface, m, the pulse removed (``w_gaussian``).
    spot : int

    Returns
    -------
    numpy.ndarray of int8
        -1 where the rate is below the cloud limit or a value is missing.
    """
    rate, width = np.asarray(rate, float), np.asarray(width, float)
    table, gain = thresholds(), thresholds()["gain_by_spot"][str(spot)]
    limit = {k: v * gain for k, v in table["strong" if spot % 2 else "weak"].items()}
    flat, smooth = width <= table["width"]["rough"], width <= table["width"]["smooth"]
    out = np.full(rate.shape, schema.THICK_ICE, np.int8)
    out[flat & (rate < limit["thin_below"])] = schema.THIN_ICE
    out[flat & (rate < limit["water_below"])] = schema.OPEN_WATER
    out[smooth & (rate > limit["specular_above"])] = schema.OPEN_WATER
    out[(rate < limit["cloud_below"]) | ~np.isfinite(rate) | ~np.isfinite(width)] = schema.UNLABELLED
    return out

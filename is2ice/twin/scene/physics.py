"""Physics of the light in a scene as numbers that can be drawn: what the twin does not know for certain.

A classifier that is judged by one set of values learns these values. :func:`perturbed` therefore draws every value
for each pass from the ranges of :data:`RANGES`, and training and judging use different passes.

====================  ====================================================================================
value                 source of its range
====================  ====================================================================================
background of water   dark water sends back 15 to 35 % of the background of snow: albedo .07 and the light of
                      the air above (genuine day tracks)
dark water            detected photons 0.3-1.5 a shot of a strong beam (Farrell et al. 2020; ATL07 types 6-9)
specular water        9-16 detected photons a shot where it is smooth, and any rate between that and snow
nilas, grey ice       1-4 photons a shot (ATL07 dark leads over thin ice); a factor of two about the albedo's
snow                  5-8 photons a shot by laser energy, spot and sky; varies by floe with grain and frost
lead widths           power law, exponent 1.1-1.6 (Muchow et al. 2021: 1.110-1.413; Landsat and SAR to 1.6)
dark share            no target known: any share of the leads, whatever their width
roughness of water    no target known at 11 m: rms 0.02 to 0.12 m
====================  ====================================================================================
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from .presets import PRESETS, Physics, Preset

__all__ = ["RANGES", "Range", "perturbed"]


@dataclass(frozen=True)
class Range:
    """Bounds of a value that is drawn evenly, or evenly in its logarithm."""

    low: float
    high: float
    log: bool = False

    def draw(self, rng: np.random.Generator) -> float:
        """One value."""
        if self.log:
            return float(np.exp(rng.uniform(np.log(self.low), np.log(self.high))))
        return float(rng.uniform(self.low, self.high))


#: Ranges of :class:`~is2ice.twin.scene.presets.Physics` and of fields of a preset, by name. ``sky_share`` of .08 to
#: .30 makes the background over water 15 to 36 % of that over snow.
RANGES: dict[str, Range] = {
    "sky_share": Range(0.08, 0.30),
    "dark_rate": Range(0.06, 0.24, log=True),
    "dark_spread": Range(0.2, 0.5),
    "water_roughness": Range(0.02, 0.12, log=True),
    "specular_low": Range(0.20, 0.60, log=True),
    "specular_high": Range(2.5, 7.0, log=True),
    "nilas_rate": Range(0.70, 1.40, log=True),
    "grey_rate": Range(0.75, 1.35, log=True),
    "dark_share": Range(0.10, 0.70),
    "snow_rate_spread": Range(0.0, 0.12),
    "snow_rate": Range(4.6, 9.2, log=True),
    "sky_log_sigma": Range(0.05, 0.35),
    "light_log_sigma": Range(0.03, 0.15),
    "cloud_cover": Range(0.0, 0.20),
    "cloud_depth": Range(0.1, 0.5),
    "snow_albedo_std": Range(0.01, 0.05),
    "background_zenith": Range(10e6, 20e6, log=True),
    "freeboard_median": Range(0.15, 0.75, log=True),
    "freeboard_log_sigma": Range(0.45, 0.75),
    "relief": Range(0.05, 0.12, log=True),
    "ridge_share": Range(0.3, 0.7),
    "lead_exponent": Range(1.1, 1.6),
    "lead_spacing": Range(900.0, 2600.0, log=True),
    "lead_water": Range(0.25, 0.70),
    "ssh_level": Range(-0.2, 0.4),
}
_PHYSICS = tuple(Physics.__dataclass_fields__)


def perturbed(base: str, seed: int) -> Preset:
    """Draw a preset with physics of its own.

    Parameters
    ----------
    base : str
        One of :data:`is2ice.twin.scene.presets.PRESETS`, which gives place, season and the kind of ice.
    seed : int
        Same base and seed, same physics.

    Returns
    -------
    Preset
        Named ``<base>_perturbed``; the day lies within 12 days and the hour within 12 hours of the base's, so that the
        sun stands elsewhere. Rates of winter nights are scaled with those of the base.

    Raises
    ------
    KeyError
        Unknown base.
    """
    start = PRESETS[base]
    rng = np.random.default_rng([seed, 1511])
    drawn: dict[str, Any] = {name: some.draw(rng) for name, some in RANGES.items()}
    hours = rng.uniform(-12.0, 12.0) + 24.0 * rng.integers(-12, 13)
    physics = Physics(**{name: drawn.pop(name) for name in _PHYSICS})
    drawn["snow_rate"] *= start.snow_rate / PRESETS["ross_sea_november"].snow_rate
    drawn["lead_spacing"] *= start.lead_spacing / PRESETS["ross_sea_november"].lead_spacing
    if start.floe_gap:  # broken ice is thinner and hardly ridged
        drawn["ridge_share"] = start.ridge_share
        drawn["lead_water"] = start.lead_water
    when = datetime.fromisoformat(start.overpass) + timedelta(hours=round(hours, 3))
    changes: dict[str, Any] = dict(drawn)
    return replace(
        start,
        name=f"{base}_perturbed",
        physics=physics,
        overpass=when.isoformat(timespec="seconds"),
        **changes,
    )

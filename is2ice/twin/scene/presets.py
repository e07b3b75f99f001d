"""Scenes as data: what each preset of the twin assumes, and why."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

__all__ = ["PRESETS", "Physics", "Preset"]


@dataclass(frozen=True)
class Physics:
    """Light that surfaces and air send back; the defaults are the twin's best guess.

    Attributes
    ----------
    sky_share : float
        Background of the clear air above any surface, as a share of that over snow.
    dark_rate, dark_spread : float
        Backscatter of wind-roughened water relative to snow, and its log standard deviation at 80 m.
    water_roughness : float
        Height rms of wind-roughened water, m.
    specular_low, specular_high : float
        Bounds of the backscatter of calm leads relative to snow, drawn evenly in the logarithm.
    nilas_rate, grey_rate : float
        Factors on the backscatter of nilas and of grey ice that follows from their albedo.
    dark_share : float
        Share of leads with rough water, whatever their width; negative: wide leads are rough (``calm_fetch``).
    snow_rate_spread : float
        Log standard deviation of the backscatter of snow from floe to floe, apart from its albedo.
    """

    sky_share: float = 0.20
    dark_rate: float = 0.14
    dark_spread: float = 0.35
    water_roughness: float = 0.05
    specular_low: float = 0.25
    specular_high: float = 5.5
    nilas_rate: float = 1.0
    grey_rate: float = 1.0
    dark_share: float = -1.0
    snow_rate_spread: float = 0.0


@dataclass(frozen=True)
class Preset:
    """Everything a scene is made from, besides its seed.

    Lengths in metres, heights in metres above the local sea surface, rates of the clear scene in
    photons per shot of a strong beam (a weak beam gets a quarter).

    Attributes
    ----------
    name, crs, hemisphere : str
    overpass : str
        UTC of the first shot over the scene, ISO 8601.
    start_lon, start_lat : float
        Point at which the reference track enters the scene, degrees.
    ascending : bool
        Direction of the pass.
    rgt, cycle, region : int
        For the granule's name and ``orbit_info``.
    drift, wind : tuple of float
        Velocity of ice and of clouds along the axes of the crs, m/s.
    freeboard_median, freeboard_log_sigma : float
        Lognormal total freeboard of floes.
    floe_size, floe_gap : float
        Mean distance between floe centres; half-width of the open water between floes (0 for pack).
    pond_share : float
        Share of level ice under melt ponds, which are flat and lie a little below the ice about them.
    ridge_share, sail_mean : float
        Share of floe borders that carry a ridge; mean of the exponential sail height.
    relief : float
        Root-mean-square snow relief at scales under 12 m; longer scales follow from it.
    snow_albedo_std : float
        Standard deviation of the albedo of snow from floe to floe (age, wind, frost).
    lead_spacing : float
        Mean distance between lead crossings along any line; 0 for no leads.
    lead_width : tuple of float
        Bounds of the power law of lead widths.
    lead_exponent : float
        ``p(w) ~ w**-exponent`` between the bounds.
    lead_water : float
        Share of lead area that is open water; nilas and grey ice share the rest.
    calm_fetch : float
        Leads wider than about this have wind-roughened water.
    ssh_level, ssh_slope, ssh_undulation : float
        Sea surface above the mean sea surface: mean (m), greatest regional slope (m/km), rms of
        the 20-50 km undulation (m).
    snow_rate : float
        Incident photons per shot over snow under a clear sky, strong beam.
    sky_log_sigma : float
        Log standard deviation of the transmission at 2-15 km (haze, ice crystals, spindrift).
    light_log_sigma : float
        Log standard deviation of sunlight over the same surface at 12 km (thin high cloud, sun's angle).
    cloud_cover, cloud_depth : float
        Share of the sky with cloud and its mean optical depth.
    background_zenith : float
        Background rate over snow were the sun overhead, Hz; scales with sin(sun elevation).
    background_dark : float
        Rate without sun, Hz.
    background_height : float
        Height over which the 50-shot background sum is taken, m.
    telemetry_band : float
        Height of the telemetered band, m.
    physics : Physics
    """

    name: str
    crs: str = "EPSG:3976"
    hemisphere: str = "south"
    overpass: str = "2019-11-16T19:34:12"
    start_lon: float = -166.0
    start_lat: float = -75.2
    ascending: bool = False
    rgt: int = 741
    cycle: int = 5
    region: int = 10
    drift: tuple[float, float] = (0.11, 0.16)
    wind: tuple[float, float] = (6.0, 4.0)
    freeboard_median: float = 0.25
    freeboard_log_sigma: float = 0.60
    floe_size: float = 520.0
    floe_gap: float = 0.0
    pond_share: float = 0.0
    ridge_share: float = 0.55
    sail_mean: float = 0.60
    relief: float = 0.068
    snow_albedo_std: float = 0.017
    lead_spacing: float = 1800.0
    lead_width: tuple[float, float] = (3.0, 2000.0)
    lead_exponent: float = 1.3
    lead_water: float = 0.42
    calm_fetch: float = 900.0
    ssh_level: float = 0.10
    ssh_slope: float = 0.008
    ssh_undulation: float = 0.03
    snow_rate: float = 6.4
    sky_log_sigma: float = 0.10
    light_log_sigma: float = 0.05
    cloud_cover: float = 0.0
    cloud_depth: float = 0.3
    background_zenith: float = 14.5e6
    background_dark: float = 8.0e3
    background_height: float = 575.0
    telemetry_band: float = 33.0
    physics: Physics = Physics()

    @property
    def start_time(self) -> datetime:
        """UTC of the first shot (naive)."""
        return datetime.fromisoformat(self.overpass)


# The paper's tracks stand higher than the pack as a whole: median freeboard .44 m (10-90 %: .09-1.1 m)
# on 4 November and .99 m on the 26th, over tiles beside the ice shelf.
_ROSS = Preset(
    name="ross_sea_november",
    freeboard_median=0.48,
    freeboard_log_sigma=0.65,
    ssh_level=0.25,
    sky_log_sigma=0.32,
    light_log_sigma=0.12,
    cloud_cover=0.08,
    telemetry_band=75.0,
)

PRESETS: dict[str, Preset] = {
    "ross_sea_november": _ROSS,
    "arctic_winter_night": Preset(
        name="arctic_winter_night",
        crs="EPSG:3413",
        hemisphere="north",
        overpass="2020-01-15T06:12:40",
        start_lon=-150.0,
        start_lat=77.0,
        ascending=True,
        rgt=282,
        cycle=6,
        region=3,
        drift=(-0.06, 0.04),
        freeboard_median=0.28,
        lead_spacing=4000.0,
        lead_width=(3.0, 800.0),
        lead_water=0.2,
        ssh_level=0.05,
        snow_rate=14.0,
        background_height=5006.5,
        background_dark=18.0e3,
    ),
    "marginal_ice_zone": Preset(
        name="marginal_ice_zone",
        overpass="2019-12-10T14:21:30",
        start_lon=-28.0,
        start_lat=-66.2,
        rgt=1104,
        drift=(0.18, -0.12),
        freeboard_median=0.20,
        floe_size=90.0,
        floe_gap=9.0,
        ridge_share=0.15,
        sail_mean=0.30,
        lead_spacing=2500.0,
        lead_width=(10.0, 3000.0),
        lead_water=0.8,
        calm_fetch=40.0,
        ssh_undulation=0.04,
        telemetry_band=75.0,
    ),
    # Ponds cover 20 to 40 % of level ice in July (Webster et al. 2022); their surface is bright where no wind is.
    "arctic_melt_season": Preset(
        name="arctic_melt_season",
        crs="EPSG:3413",
        hemisphere="north",
        overpass="2020-07-10T05:40:00",
        start_lon=-140.0,
        start_lat=80.0,
        ascending=True,
        rgt=282,
        cycle=8,
        region=3,
        drift=(-0.08, 0.05),
        freeboard_median=0.30,
        pond_share=0.25,
        lead_spacing=2500.0,
        lead_width=(3.0, 1500.0),
        lead_water=0.7,
        ssh_level=0.05,
        snow_albedo_std=0.03,
        cloud_cover=0.05,
    ),
    "cloudy": replace(_ROSS, name="cloudy", cloud_cover=0.45, cloud_depth=0.6),
    "no_leads": replace(_ROSS, name="no_leads", lead_spacing=0.0, cloud_cover=0.0, ridge_share=0.5),
}

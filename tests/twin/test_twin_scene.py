"""The scene of the twin: a pure function of position, seed and time, with the geometry of the orbit."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import pytest
from pyproj import Geod, Transformer

from is2ice import schema, twin
from is2ice.twin.scene import tracks as track
from is2ice.twin.statistics import CAMPAIGN


def line(
    scene: twin.Scene, beam: str = "gt2r", step: float = 1.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    t = scene.track(beam)
    x = np.arange(t.x_start, t.x_end, step)
    return x, *t.xy(x)


@pytest.fixture(scope="module")
def scene() -> twin.Scene:
    return twin.Scene.preset("ross_sea_november", seed=5, length_km=30)


def test_a_point_does_not_depend_on_the_tiling(scene):
    _, x, y = line(scene)
    whole = scene.surface(x, y)
    shuffled = np.random.default_rng(0).permutation(x.size)
    again = scene.surface(x[shuffled], y[shuffled])
    pieces = [scene.surface(x[a : a + 137], y[a : a + 137]) for a in range(0, 3000, 137)]
    for name in ("kind", "surface_class", "height", "albedo_532", "roughness", "backscatter"):
        np.testing.assert_array_equal(getattr(whole, name)[shuffled], getattr(again, name))
        joined = np.concatenate([getattr(p, name) for p in pieces])
        np.testing.assert_array_equal(joined, getattr(whole, name)[: joined.size])
    square = scene.surface(x[:12].reshape(3, 4), y[:12].reshape(3, 4))
    assert square.height.shape == (3, 4)
    np.testing.assert_array_equal(square.height.ravel(), whole.height[:12])


def test_the_length_of_the_scene_does_not_change_the_ice(scene):
    longer = twin.Scene.preset("ross_sea_november", seed=5, length_km=500)
    _, x, y = line(scene, step=11.0)
    np.testing.assert_array_equal(scene.surface(x, y).height, longer.surface(x, y).height)
    np.testing.assert_array_equal(scene.sea_surface(x, y), longer.sea_surface(x, y))


def test_the_seed_decides(scene):
    _, x, y = line(scene, step=7.0)
    same = twin.Scene.preset("ross_sea_november", seed=5, length_km=30).surface(x, y)
    other = twin.Scene.preset("ross_sea_november", seed=6, length_km=30).surface(x, y)
    np.testing.assert_array_equal(same.height, scene.surface(x, y).height)
    assert np.mean(same.height == other.height) < 0.05


def test_ice_drifts_and_the_sea_surface_stays(scene):
    _, x, y = line(scene, step=7.0)
    later = scene.pass_time + timedelta(minutes=20)
    vx, vy = scene.drift
    moved = scene.at(later).surface(x + 1200 * vx, y + 1200 * vy)
    # The same floe to the rounding of coordinates; a point on an edge may fall on its other side.
    assert np.mean(moved.kind == scene.surface(x, y).kind) > 0.999
    np.testing.assert_allclose(np.median(np.abs(moved.height - scene.surface(x, y).height)), 0, atol=1e-5)
    assert np.mean(scene.surface(x, y, time=later).kind == scene.surface(x, y).kind) < 0.999
    np.testing.assert_array_equal(scene.at(later).sea_surface(x, y), scene.sea_surface(x, y))


def test_classes_follow_kinds_and_heights_their_class(scene):
    _, x, y = line(scene)
    s = scene.surface(x, y)
    expected = np.array([0, 0, 1, 1, 2, 2])[s.kind]
    np.testing.assert_array_equal(s.surface_class, expected)
    assert np.all(s.height[s.surface_class == schema.OPEN_WATER] == 0)
    thin = s.height[s.surface_class == schema.THIN_ICE]
    assert thin.min() >= 0
    assert thin.max() <= 0.12 + 1e-6
    nilas = s.height[s.kind == 3]
    assert nilas.max() <= 0.04 + 1e-6
    assert s.height[s.surface_class == schema.THICK_ICE].min() > 0


def test_freeboard_is_lognormal_about_its_median():
    level = twin.Scene.preset("no_leads", seed=2, length_km=400, ridge_share=0.0, relief=0.0)
    _, x, y = line(level, step=40.0)
    log = np.log(level.surface(x, y).height)
    # 400 km hold some 45 regions of 9 km and 800 floes, so the mean is known to about .65 / sqrt(45).
    assert np.median(log) == pytest.approx(np.log(0.48), abs=0.3)
    assert log.std() == pytest.approx(0.65, abs=0.12)


def test_leads_have_the_spacing_asked_for_and_power_law_widths():
    scene = twin.Scene.preset("ross_sea_november", seed=3, length_km=400)
    crossings = 0
    for beam in ("gt1r", "gt3r"):
        _, x, y = line(scene, beam, 2.0)
        lead = scene.surface(x, y).surface_class != schema.THICK_ICE
        crossings += int(np.sum(np.diff(lead.astype(int)) == 1))
    # 800 km at one lead per 1.8 km: 444, of which the narrowest slip between 2 m points or close up.
    assert 200 < crossings < 600
    t = scene.track("gt2r")
    px, py = t.xy(np.linspace(t.x_start, t.x_end, 400))
    width = scene.leads_within(px, py)[:, 5]
    a, lo, hi = -0.3, 3.0, 2000.0
    for w in (10.0, 50.0, 300.0):
        expected = (w**a - lo**a) / (hi**a - lo**a)
        assert np.mean(width < w) == pytest.approx(expected, abs=0.04)


def test_presets_are_what_their_names_say():
    share = {}
    for name in twin.PRESETS:
        scene = twin.Scene.preset(name, seed=4, length_km=60)
        _, x, y = line(scene, step=3.0)
        share[name] = np.bincount(scene.surface(x, y).surface_class, minlength=3) / x.size
        cloudy = np.mean(scene.cloud(x, y) > 0)
        assert (cloudy > 0.2) == (name == "cloudy")
    assert share["no_leads"][0] == 1.0
    assert twin.Scene.preset("arctic_melt_season").sun_elevation > 10
    assert share["marginal_ice_zone"][2] > 0.15
    assert share["ross_sea_november"][0] > 0.8
    assert twin.Scene.preset("arctic_winter_night").sun_elevation < -6
    assert twin.Scene.preset("arctic_winter_night").crs == "EPSG:3413"
    with pytest.raises(KeyError, match="no_such_sea"):
        twin.Scene.preset("no_such_sea")
    with pytest.raises(TypeError):
        twin.Scene.preset("no_leads", colour="red")
    with pytest.raises(ValueError, match="length_km"):
        twin.Scene.preset("no_leads", length_km=0)


def test_ponds_are_flat_water_on_floes_and_change_nothing_else():
    wet = twin.Scene.preset("arctic_melt_season", seed=4, length_km=40)
    dry = twin.Scene.preset("arctic_melt_season", seed=4, length_km=40, pond_share=0.0)
    _, x, y = line(wet, step=1.0)
    one, other = wet.surface(x, y), dry.surface(x, y)
    pond = one.kind == 6
    assert 0.19 < pond.sum() / (other.kind == 0).sum() < 0.31
    assert (one.surface_class[pond] == schema.THICK_ICE).all()
    assert one.height[pond].mean() < other.height[pond].mean()
    assert (one.roughness[pond] < 0.005).all()
    assert (one.backscatter[pond] > 1.2).mean() > 0.4
    for name in ("kind", "height", "albedo_532", "backscatter"):
        np.testing.assert_array_equal(getattr(one, name)[~pond], getattr(other, name)[~pond])


def test_sea_surface_is_smooth_and_sloping(scene):
    long = twin.Scene.preset("ross_sea_november", seed=5, length_km=500)
    x, px, py = line(long, step=500.0)
    h = long.sea_surface(px, py)
    slope = np.abs(np.diff(h)) / np.diff(x) * 1000
    assert slope.max() < 0.03  # m/km
    assert 0.02 < h.std() < 0.25
    assert np.abs(h.mean() - long.parameters.ssh_level) < 0.15


def test_beams_lie_in_pairs(scene):
    tracks = scene.tracks()
    middle = {b: t.lonlat(0.5 * (t.x_start + t.x_end)) for b, t in tracks.items()}
    geod = Geod(ellps="WGS84")

    def apart(a: str, b: str) -> float:
        return geod.inv(*middle[a], *middle[b])[2]

    assert apart("gt2l", "gt2r") == pytest.approx(90, abs=0.1)
    assert apart("gt1l", "gt2l") == pytest.approx(3300, rel=1e-3)
    assert apart("gt1l", "gt3r") == pytest.approx(6690, rel=1e-3)


def test_along_track_distance_is_in_metres_on_the_ground(scene):
    t = scene.track("gt2r")
    lon, lat = t.lonlat(np.array([t.x_start, t.x_start + 1000.0, t.x_start + 20000.0]))
    geod = Geod(ellps="WGS84")
    assert geod.inv(lon[0], lat[0], lon[1], lat[1])[2] == pytest.approx(1000, abs=0.05)
    assert geod.inv(lon[0], lat[0], lon[2], lat[2])[2] == pytest.approx(20000, abs=1)
    # Map coordinates shrink by the projection's scale, .9867 at 75 S.
    x, y = t.xy(np.array([t.x_start, t.x_start + 1000.0]))
    assert np.hypot(x[1] - x[0], y[1] - y[0]) == pytest.approx(986.7, abs=1.5)
    # And lon/lat agree with x/y.
    px, py = Transformer.from_crs("EPSG:4326", scene.crs, always_xy=True).transform(lon, lat)
    tx, ty = t.xy(np.array([t.x_start, t.x_start + 1000.0, t.x_start + 20000.0]))
    np.testing.assert_allclose([px, py], [tx, ty], atol=2e-3)


def test_orbit_heading_and_distance_from_the_node():
    # 75 S descending: the paper's tracks lie at x_atc 28.30-28.55e6 m.
    assert 28.2e6 < track.distance_from_node(-75.2, False) < 28.6e6
    assert track.distance_from_node(45.0, True) == pytest.approx(5.0e6, rel=0.01)
    # At 87.3 N, descending, the genuine velocity is (-5270, -4751) m/s.
    azimuth = np.radians(track.heading(87.3, False))
    assert 7096 * np.sin(azimuth) == pytest.approx(-5270, abs=150)
    assert 7096 * np.cos(azimuth) == pytest.approx(-4751, abs=150)


@pytest.mark.parametrize(
    ("day", "declination"),
    [(datetime(2019, 9, 23), 0.0), (datetime(2019, 12, 22), -23.436), (datetime(2019, 11, 16), -18.8)],
    ids=["equinox", "solstice", "16 November"],
)
def test_sun_over_the_ross_sea(day, declination):
    hours = [day + timedelta(minutes=10 * k) for k in range(144)]
    elevation = np.array([track.sun(180.0, -75.0, t)[0] for t in hours])
    # Noon: 90 - |75 - |declination||; midnight: |declination| - 15. The sun moves up to .4 degrees in a day.
    assert elevation.max() == pytest.approx(15 - declination, abs=0.3)
    assert elevation.min() == pytest.approx(-declination - 15, abs=0.3)
    azimuth = track.sun(180.0, -75.0, hours[int(elevation.argmax())])[1]
    assert min(azimuth, 360 - azimuth) < 5  # noon sun stands in the north


def test_times_of_the_beams_follow_the_orientation(scene):
    forward, backward = scene.tracks(1), scene.tracks(0)
    # The weak beam passes 2.55 km (.36 s) ahead in forward flight, behind in backward flight.
    assert forward["gt1r"].t_start - forward["gt1l"].t_start == pytest.approx(0.36)
    assert backward["gt1l"].t_start - backward["gt1r"].t_start == pytest.approx(-0.36)
    assert forward["gt1r"].t_start == track.delta_time(scene.pass_time)


def test_shadow_and_cloud_are_related(scene):
    cloudy = twin.Scene.preset("cloudy", seed=5, length_km=60)
    _, x, y = line(cloudy, step=20.0)
    shadow = cloudy.shadow(x, y)
    assert shadow.min() >= 0
    assert 0.2 < np.mean(shadow > 0) < 0.7
    assert np.all(twin.Scene.preset("arctic_winter_night").shadow(x, y) == 0)


def test_campaign_overrides_are_fields_of_the_preset():
    for changes in CAMPAIGN:
        twin.Scene.preset("ross_sea_november", length_km=1, **changes)


def test_the_command_line_names_every_preset():
    from is2ice.cli.twin import PRESET_NAMES

    assert PRESET_NAMES.split(", ") == list(twin.PRESETS)

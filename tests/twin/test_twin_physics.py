"""Physics drawn for each pass, and the second optics: the defaults are as ever, the draws are in their ranges."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest

from is2ice.twin import PRESETS, Preset, Scene
from is2ice.twin.icesat2 import beam, rays
from is2ice.twin.scene.physics import RANGES, perturbed


@pytest.fixture(scope="module")
def scenes():
    return [
        Scene(perturbed("ross_sea_november", s), s, 6.0, perturbed("ross_sea_november", s).start_time)
        for s in (1, 2)
    ]


def test_draws_are_in_their_ranges_and_the_same_for_a_seed():
    for seed in range(40):
        made = perturbed("ross_sea_november", seed)
        assert made == perturbed("ross_sea_november", seed)
        values = asdict(made) | asdict(made.physics)
        outside = [
            n
            for n, r in RANGES.items()
            if n not in ("snow_rate", "lead_spacing") and not r.low <= values[n] <= r.high
        ]
        assert not outside
    assert perturbed("ross_sea_november", 1) != perturbed("ross_sea_november", 2)
    assert perturbed("arctic_winter_night", 1).snow_rate > perturbed("ross_sea_november", 1).snow_rate


def test_the_range_of_background_over_water_is_that_of_genuine_tracks():
    shares = [0.08 / 0.88 * (1 - s) + s for s in (RANGES["sky_share"].low, RANGES["sky_share"].high)]
    assert 0.14 < shares[0] < 0.18
    assert 0.33 < shares[1] < 0.38


def test_a_value_of_physics_changes_its_own_surface_alone():
    base = PRESETS["ross_sea_november"]
    from dataclasses import replace

    x = base_x(scene := Scene(base, 3, 10.0, base.start_time))
    plain = scene.surface(*x)
    dark = Scene(
        replace(base, physics=replace(base.physics, dark_rate=0.07)), 3, 10.0, base.start_time
    ).surface(*x)
    rough = plain.kind == 5
    assert rough.any()
    np.testing.assert_allclose(dark.backscatter[rough], 0.5 * plain.backscatter[rough], rtol=1e-5)
    np.testing.assert_array_equal(dark.backscatter[~rough], plain.backscatter[~rough])
    np.testing.assert_array_equal(dark.height, plain.height)


def base_x(scene: Scene):
    track = scene.track("gt1r")
    return track.xy(np.arange(track.x_start, track.x_end, 2.0))


def test_an_unknown_base_is_an_error():
    with pytest.raises(KeyError):
        perturbed("atlantis", 1)
    assert isinstance(perturbed("marginal_ice_zone", 1), Preset)


def test_rays_see_what_the_strip_sees(scenes):
    """Heights are of the same ice, and both put dark water below snow, but the light is not the same."""
    scene = scenes[0]
    track = scene.track("gt1r")
    x = track.x_start + 500.0 + 0.71 * np.arange(6000)
    one, two = beam._strip_footprints(scene, track, x), rays.footprints(scene, track, x)
    assert two.cells.shape == (6000, rays.RAYS)
    np.testing.assert_allclose(two.cells[:, -1], 1.0)
    from is2ice.twin.icesat2.strip import HALF_STRIP

    mean = np.interp(x, one.x, one.height[:, HALF_STRIP])
    assert np.corrcoef(mean, two.height.mean(1))[0, 1] > 0.9
    again = rays.footprints(scene, track, x)
    np.testing.assert_array_equal(two.rows, again.rows)


def test_background_of_both_optics_falls_over_water(scenes):
    for scene in scenes:
        track = scene.track("gt1r")
        x = track.x_start + 0.71 * np.arange(8000)
        kind = scene.surface(*track.xy(x)).surface_class
        for model in (beam.background_rate, rays.background_rate):
            rate = model(scene, track, x, "strong")
            assert np.isfinite(rate).all()
            assert (rate > 0).all()
            if scene.sun_elevation > 5 and (kind == 2).sum() > 200:
                assert np.median(rate[kind == 2]) < 0.8 * np.median(rate[kind == 0])

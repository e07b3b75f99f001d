"""Radiometric classes: what rate and width say, and what a cloud does not."""

from __future__ import annotations

import numpy as np
import pytest

from is2ice import schema
from is2ice.classifiers import by_name
from is2ice.classifiers.radiometric import classify, thresholds


def track(rate, spread=0.12, n=400, spot=5, background=6e6, sun=25.0):
    """Segments of three pulses each with given photons per pulse and spread."""
    ds = schema.mock_segments(n)
    rate = np.broadcast_to(np.asarray(rate, "f8"), n)
    ds["n_photons"] = ("x_atc", np.round(3 * rate).astype("i4"))
    ds["h_spread"] = ("x_atc", np.broadcast_to(np.asarray(spread, "f4"), n).copy())
    ds["background_rate"] = ("x_atc", np.broadcast_to(np.asarray(background, "f4"), n).copy())
    ds["solar_elevation"] = ("x_atc", np.full(n, sun, "f4"))
    ds.attrs["spot"] = spot
    return ds


def lead(rate, spread, background=2e6, **kw):
    """Ice with a 60 m lead in the middle."""
    r, s, b = np.full(400, 6.5), np.full(400, 0.14), np.full(400, 6e6)
    r[185:215], s[185:215], b[185:215] = rate, spread, background
    return track(r, s, background=b, **kw)


def middle(ds):
    return classify(ds).surface_class.values[190:210]


@pytest.mark.parametrize(
    ("rate", "spread", "expected"),
    [
        (14.0, 0.10, schema.OPEN_WATER),  # specular
        (0.8, 0.13, schema.OPEN_WATER),  # dark
        (2.3, 0.11, schema.THIN_ICE),
        (6.5, 0.14, schema.THICK_ICE),
        (14.0, 0.30, schema.THICK_ICE),  # bright, but rough
        (2.3, 0.30, schema.THICK_ICE),  # dark and rough: a shaded ridge
    ],
)
def test_classes(rate, spread, expected):
    assert (middle(lead(rate, spread)) == expected).all()


def test_weak_beam_has_its_own_thresholds():
    rate = np.full(400, 1.65)
    rate[185:215] = 3.4
    spread = np.where(rate > 2, 0.10, 0.14)
    ds = track(rate, spread, spot=6, background=np.where(rate > 2, 2e6, 6e6))
    assert (middle(ds) == schema.OPEN_WATER).all()
    assert (classify(ds).surface_class.values[:150] == schema.THICK_ICE).all()


def test_probabilities_sum_to_one_and_sharpen_with_photons():
    few, many = lead(1.2, 0.12), lead(1.2, 0.12)
    for name in ("n_photons", "n_pulses"):
        many[name] = many[name] * 20
    p_few, p_many = (classify(d).class_probability for d in (few, many))
    np.testing.assert_allclose(p_few.sum("surface"), 1, atol=1e-5)
    inside = slice(195, 205)
    assert p_many.isel(x_atc=inside).max("surface").mean() > p_few.isel(x_atc=inside).max("surface").mean()


def test_cloud_is_left_unlabelled():
    ds = track(0.2)
    out = classify(ds)
    assert (out.surface_class == schema.UNLABELLED).all()
    assert out.class_probability.isnull().all()


def test_thin_cloud_does_not_make_thin_ice():
    """A sky that takes 40 % of the light takes it from everything."""
    out = classify(track(6.5 * 0.6)).surface_class
    assert (out == schema.THICK_ICE).mean() > 0.99


def test_bright_background_speaks_against_a_lead():
    assert (middle(lead(2.3, 0.11, background=6e6)) == schema.THICK_ICE).all()
    assert (middle(lead(2.3, 0.11, background=6e6, sun=-5.0)) == schema.THIN_ICE).all()


def test_empty_cells_in_dark_water_are_water_and_gaps_are_nothing():
    ds = lead(0.0, np.nan)
    ds["n_pulses"] = ("x_atc", np.where(np.arange(400) < 50, 0, 3).astype("i2"))
    ds["n_photons"] = ("x_atc", np.where(np.arange(400) < 50, 0, ds.n_photons.values).astype("i4"))
    ds["n_photons"][190:210] = 2  # 0.7 a pulse: dark, not cloud
    out = classify(ds).surface_class.values
    assert (out[:50] == schema.UNLABELLED).all()
    assert (out[195:205] == schema.OPEN_WATER).all()


def test_cube_equals_tracks():
    a, b = lead(14.0, 0.10, spot=5), track(1.65, spot=6)
    import xarray as xr

    cube = xr.concat([a, b], dim="beam").assign_coords(
        beam=["gt1r", "gt1l"], spot=("beam", np.array([5, 6], "i1"))
    )
    cube = schema.annotate(cube)
    out = classify(cube)
    schema.conform(out, "classified")
    for k, one in enumerate((a, b)):
        np.testing.assert_array_equal(out.surface_class[k], classify(one).surface_class)


def test_classes_do_not_depend_on_where_the_grid_starts():
    """A track inside a wider cube, or a piece of it far from its ends, keeps its classes."""
    rng = np.random.default_rng(5)
    n = 20_000
    slow = 5 + 2 * np.sin(np.arange(n) / 1500)
    ds = track(rng.gamma(20, slow / 20), n=n, background=6e6 * rng.normal(1, 0.05, n))
    whole = classify(ds).surface_class
    wide = ds.reindex(x_atc=ds.x_atc.values[0] + 2.0 * np.arange(-3333, n), fill_value=0)
    for name in ("h_spread", "background_rate", "solar_elevation"):
        wide[name] = ds[name].reindex(x_atc=wide.x_atc)
    np.testing.assert_array_equal(classify(wide).surface_class[3333:], whole)
    inner = classify(ds.isel(x_atc=slice(1234, None))).surface_class
    np.testing.assert_array_equal(inner[7500:], whole[1234 + 7500 :])


def test_what_is_missing_is_said():
    ds = track(6.0)
    del ds.attrs["spot"]
    with pytest.raises(ValueError, match="spot"):
        classify(ds)
    with pytest.raises(ValueError, match="classifier 'lstm2'"):
        by_name("lstm2")
    assert thresholds()["strong"]["cloud_below"] == 0.65

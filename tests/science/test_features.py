"""Features: no label in them, none across a gap, the same whole or in pieces; and the published rows."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import xarray as xr

from is2ice import schema
from is2ice.science import features
from is2ice.science.feature_columns import leaking_surface
from is2ice.science.features import FEATURE_SETS, LeakError, Normalisation, build, windows


def a_track(n: int = 4000, seed: int = 3) -> xr.Dataset:
    """Ice with a lead, some dark cells and a gap of five."""
    rng = np.random.default_rng(seed)
    ds = schema.mock_segments(n, stages=("labels",), seed=seed)
    ds["n_photons"][:] = rng.poisson(16, n)
    ds["n_pulses"][:] = 3
    ds["background_rate"][:] = 6e6
    ds["label"][1000:1200] = schema.OPEN_WATER
    ds["height"][1000:1200] = 0.02
    ds["n_photons"][1000:1200] = rng.poisson(2, 200)
    ds["n_photons_all"][:] = ds["n_photons"] + 3
    ds["background_rate"][1000:1200] = 2e6
    for name in ("height", "h_mean", "h_median", "h_core", "h_std", "pcnt", "pcnth"):
        ds[name] = ds[name].where(ds["n_photons"] > 0).astype(ds[name].dtype)
    gap = slice(2500, 2505)
    for name in ("n_photons", "n_photons_all", "n_pulses"):
        ds[name][gap] = 0
    return ds


def test_label_free_sets_do_not_change_with_labels():
    ds = a_track()
    other = ds.assign(label=ds["label"] * 0 + schema.THIN_ICE, surface_class=ds["label"] * 0)
    for name in ("paper", "notebook_label_free", "default"):
        xr.testing.assert_identical(build(ds, name), build(other, name))
        xr.testing.assert_identical(build(ds, name), build(ds.drop_vars(["label", "label_flags"]), name))
    leaking = ["rel_height_min_elev"]
    assert not build(ds, "notebook", leaking=leaking).equals(build(other, "notebook", leaking=leaking))


def test_a_leaking_feature_is_refused_unless_named():
    ds = a_track()
    assert FEATURE_SETS["notebook"].leaking == ("rel_height_min_elev",)
    for wrong in ((), ["h_diff"]):
        with pytest.raises(LeakError, match="rel_height_min_elev is made from the labels"):
            build(ds, "notebook", leaking=wrong)
    with pytest.raises(ValueError, match="expected one of paper, notebook"):
        build(ds, "papers")
    with pytest.raises(ValueError, match="no feature hight"):
        FEATURE_SETS["default"].without("hight")
    with pytest.raises(KeyError, match="background_counts"):
        build(ds.drop_vars("background_counts"), "paper")


def test_sets_as_published():
    assert len(FEATURE_SETS["paper"].names) == 6
    assert len(FEATURE_SETS["notebook"].names) == 8
    assert set(FEATURE_SETS["notebook"].names) - set(FEATURE_SETS["paper"].names) == {
        "h_diff",
        "rel_height_min_elev",
    }


def test_default_does_not_feel_absolute_height_light_or_sunlight():
    ds = a_track()
    base = build(ds, "default")
    high = ds.assign(height=(ds["height"] + 3.7).astype("f4"))
    np.testing.assert_allclose(build(high, "default"), base, atol=2e-6)
    bright = ds.assign(background_rate=ds["background_rate"] * 1.7)
    np.testing.assert_allclose(build(bright, "default"), base, atol=2e-6)
    night = build(ds.assign(solar_elevation=ds["solar_elevation"] * 0 - 20), "default")
    assert float(night.sel(feature="day").max()) == 0.0
    np.testing.assert_array_equal(night.sel(feature="brightness").dropna("x_atc"), 1.0)


def test_every_beam_of_a_cube_is_what_its_track_is():
    one, two = a_track(seed=1), a_track(seed=2)
    cube = xr.concat([one, two], "beam").assign_coords(beam=["gt1r", "gt1l"], spot=("beam", [5, 6]))
    out = build(cube, "default")
    assert out.dims == ("beam", "x_atc", "feature")
    assert out.dtype == np.float32
    np.testing.assert_array_equal(out[0], build(one.assign_attrs(spot=5), "default"))
    np.testing.assert_array_equal(out[1], build(two.assign_attrs(spot=6), "default"))
    lazy = build(cube.chunk(x_atc=500), "default")
    xr.testing.assert_identical(lazy, out)


def test_gaps_are_never_bridged_and_dark_cells_are_values_of_ours_only():
    ds = a_track()
    dark = np.flatnonzero((ds["n_photons"] == 0) & (ds["n_pulses"] > 0))
    gap = np.flatnonzero(ds["n_pulses"] == 0)
    assert dark.size > 5
    assert gap.tolist() == list(range(2500, 2505))
    ours, theirs = build(ds, "default").values, build(ds, "paper").values
    assert np.isfinite(ours[dark]).all()
    assert np.isnan(ours[gap]).all()
    assert np.isnan(theirs[dark]).all()
    for values, holes in ((ours, gap), (theirs, np.concatenate([dark, gap]))):
        for context in (0, 2, 8):
            centre, x = windows(values, context)
            assert x.shape == (centre.size, 2 * context + 1, values.shape[1])
            assert np.isfinite(x).all()
            near = np.abs(centre[:, None] - holes).min(axis=1)
            assert near.min() == context + 1
            k = centre.size // 2
            np.testing.assert_array_equal(x[k], values[centre[k] - context : centre[k] + context + 1])
            # Every cell with values all around it is there.
            whole = [
                i
                for i in range(context, len(values) - context)
                if np.isfinite(values[i - context : i + context + 1]).all()
            ]
            assert centre.tolist() == whole


def test_windows_of_too_little_and_of_wrong_shape():
    centre, x = windows(np.ones((4, 3)), 2)
    assert centre.size == 0
    assert x.shape == (0, 5, 3)
    with pytest.raises(ValueError, match="one track"):
        windows(np.ones((2, 4, 3)))
    with pytest.raises(ValueError, match="context"):
        windows(np.ones((9, 3)), -1)


def test_features_of_a_piece_are_those_of_the_whole_inside():
    ds = a_track(20_000)
    whole, piece = build(ds, "default"), build(ds.isel(x_atc=slice(2_000, 18_000)), "default")
    inner = slice(6_000, 10_000)  # 10 km and more from the ends of the piece
    np.testing.assert_allclose(piece.values[inner], whole.values[2_000:18_000][inner], atol=1e-5)


def test_normalisation_is_learnt_saved_and_applied():
    rng = np.random.default_rng(0)
    x = rng.normal([1.0, -5.0, 6e6], [0.5, 2.0, 1e6], (5_000, 5, 3)).astype("f4")
    n = Normalisation.fit(x, ("a", "b", "c"))
    z = n.apply(x)
    np.testing.assert_allclose(z.mean((0, 1)), 0.0, atol=1e-4)
    np.testing.assert_allclose(z.std((0, 1)), 1.0, atol=1e-4)
    assert z.dtype == np.float32
    assert Normalisation.from_dict(n.to_dict()) == n
    constant = Normalisation.fit(np.full((10, 2), 3.0), ("a", "b"))
    assert constant.scale == (1.0, 1.0)
    with pytest.raises(ValueError, match="expected 3 features"):
        n.apply(x[..., :2])
    x[7, 2, 1] = np.nan
    with pytest.raises(ValueError, match="b: not finite"):
        Normalisation.fit(x, ("a", "b", "c"))
    for damage in ({"scale": [0.0, 1.0, 1.0]}, {"centre": [1.0]}, {"features": None}):
        with pytest.raises(ValueError, match="normalisation"):
            Normalisation.from_dict(n.to_dict() | damage)


def test_lazy_normalisation_is_the_same():
    da = pytest.importorskip("dask.array")
    x = np.random.default_rng(1).normal(2.0, 3.0, (1_000, 5, 2)).astype("f4")
    lazy = da.from_array(x, chunks=(300, 5, 2))
    n, m = Normalisation.fit(x, "ab"), Normalisation.fit(lazy, "ab")
    np.testing.assert_allclose(m.centre, n.centre, rtol=1e-6)
    np.testing.assert_allclose(m.scale, n.scale, rtol=1e-6)
    np.testing.assert_allclose(m.apply(lazy).compute(), n.apply(x), rtol=1e-4, atol=1e-6)


def test_published_rows_window_and_normalise_as_published(real_data):
    """Printed windows of the authors' notebook 3 and their normalised values."""
    with (real_data / "rows" / "real_rows_8features.csv").open() as f:
        rows = [r for r in csv.DictReader(f) if r["origin"].startswith("NB3 c17")]
    names = FEATURE_SETS["notebook"].names
    assert set(names) < set(rows[0])
    # Consecutive windows share cells: put the cells back in their place and cut the windows again.
    by_file: dict[str, dict[int, list[float]]] = {}
    for r in rows:
        cell = int(r["window_index"]) + int(r["offset"])
        values = [float(r[n]) for n in names]
        assert by_file.setdefault(r["file"], {}).setdefault(cell, values) == values
    with (real_data / "rows" / "feature_stats_recovered.csv").open() as f:
        stats = {r["column"]: (float(r["mean"]), float(r["std"])) for r in csv.DictReader(f)}
    mean, sd = np.array([stats[f"{n}-2"] for n in names]).T
    # A stand-in for the training data with those moments, so that the fit itself is what is tested.
    published = Normalisation.fit(np.stack([mean - sd, mean + sd])[:, None], names, form="published")
    np.testing.assert_allclose(published.centre, mean, rtol=1e-6)
    np.testing.assert_allclose(published.scale, 1 - sd, rtol=1e-4)
    spread = dict(zip(names, np.abs(sd / published.scale), strict=True))
    assert spread["h_diff"] == pytest.approx(0.040, abs=5e-4)  # the published form nearly drops these two
    assert spread["height_sd"] == pytest.approx(0.084, abs=5e-4)
    assert spread["pcnth_mean"] == pytest.approx(1.65, abs=5e-3)
    assert spread["h_cor_mean"] == pytest.approx(1.04, abs=5e-3)
    for cells in by_file.values():
        first, last = min(cells), max(cells)
        assert sorted(cells) == list(range(first, last + 1))
        centre, x = windows(np.array([cells[k] for k in sorted(cells)]), 2)
        # The very windows that were printed: 0 to 4 of one file, the last five of the other.
        printed = sorted({int(r["window_index"]) for r in rows if first <= int(r["window_index"]) <= last})
        assert (centre + first).tolist() == printed
        z = published.apply(x)[:, 2]
        counts = names.index("bcnt_mean")
        assert (np.sign(z[:, counts]) == -np.sign(x[:, 2, counts] - mean[counts])).all()  # 1 - sd is negative


def test_surface_of_the_leaking_feature_by_hand():
    x = np.arange(0.0, 30_000.0, 2.0)
    height, label = np.full(x.size, 0.5), np.zeros(x.size, int)
    label[100], height[100] = 2, 0.1  # at 200 m
    label[12_000], height[12_000] = 2, -0.1  # at 24,000 m
    surface = leaking_surface(x, height, label)
    # Windows begin at 0, 5000, 10000 ... and reach 5 km back: that of 5000 overwrites what 0 found.
    assert surface[50] == 0.1
    assert surface[np.searchsorted(x, 22_000.0)] == -0.1
    middle = surface[(x > 6_000) & (x < 14_000)]
    assert ((middle > -0.1) & (middle < 0.1)).all()
    assert np.isnan(leaking_surface(x, height, np.zeros(x.size, int))).all()


def test_nothing_the_twin_knows_is_read():
    source = (
        features.__file__,
        features.build.__globals__["FeatureColumns"].__init__.__globals__["__file__"],
    )
    for path in source:
        with open(path) as f:
            assert "truth_" not in f.read()


def test_a_wide_lead_is_dark_though_its_surroundings_hold_little_else():
    """The first 7 km are water: the bright ice it is compared with is that of the region."""
    ds = a_track(15_000)
    ds["background_rate"][:3_500] = 2e6
    ds["n_photons"][:3_500] = np.random.default_rng(0).poisson(4, 3_500)
    x = build(ds, "default")
    bright = x.sel(feature="brightness")
    assert float(bright[10:3_400].max()) < 0.45
    assert float(bright[5_000:14_000].median()) == pytest.approx(1.0, abs=0.05)
    rate = x.sel(feature="rate_100m")
    assert float(rate[100:3_400].max()) < -0.8


def test_under_a_cloud_that_takes_nearly_all_light_ours_has_no_values_and_over_dark_water_it_has():
    ds = a_track()
    rare = np.random.default_rng(1).random(400) < 0.2
    ds["n_photons"][3_000:3_400] = rare  # the sky stays bright
    x = build(ds, "default")
    assert np.isnan(x[3_030:3_370]).all()
    assert np.isfinite(x[2_600:2_900]).all()
    dark = ds.copy(deep=True)
    dark["background_rate"][2_950:3_450] = 1.5e6
    assert np.isfinite(build(dark, "default")[3_030:3_370]).all()


def test_changes_from_cell_to_cell():
    """The paper's text asks for changes of rates: the first cell, and one behind an empty cell, have none."""
    ds = schema.mock_segments(50)
    ds["pcnt"] = ("x_atc", np.arange(50, dtype="f4") ** 2)
    ds["n_photons"][20], ds["pcnt"][20] = 0, np.nan
    got = build(ds, "paper_changes")
    assert got.sizes["feature"] == 6
    change = got.sel(feature="pcnt_change").values
    assert np.isnan(change[[0, 20, 21]]).all()
    np.testing.assert_allclose(change[[1, 10, 40]], [1.0, 19.0, 79.0])
    np.testing.assert_allclose(got.sel(feature="brate_change").values[5], 0.0)

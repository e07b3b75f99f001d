"""The forest that comes with the package: walked as scikit-learn does, whole or an error, and aware of its range."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from is2ice import schema
from is2ice.classifiers import by_name
from is2ice.classifiers.boosted import Boosted, Forest
from is2ice.classifiers.context import NAMES as CONTEXT
from is2ice.classifiers.context import context
from is2ice.errors import ModelError
from is2ice.science.features import FEATURE_SETS, build

NAMES = FEATURE_SETS["strips"].names


def segments(rate: float = 6.5, n: int = 600, seed: int = 0):
    """Ice with a dark lead in the middle."""
    rng = np.random.default_rng(seed)
    ds = schema.mock_segments(n)
    mean = np.full(n, rate)
    mean[280:320] = 0.15 * rate
    ds["n_photons"] = ("x_atc", rng.poisson(3 * mean).astype("i4"))
    ds["background_rate"] = ("x_atc", np.where(mean < rate, 2e6, 6e6).astype("f4"))
    ds["solar_elevation"] = ("x_atc", np.full(n, 25.0, "f4"))
    ds.attrs["spot"] = 5
    return ds


@pytest.fixture(scope="module")
def fitted():
    from sklearn.ensemble import HistGradientBoostingClassifier

    tracks = [segments(seed=s) for s in range(4)]
    values = [build(t, "strips").values for t in tracks]
    x, y = np.concatenate(values), np.tile(np.where(abs(np.arange(600) - 299.5) < 20, 2, 0), 4)
    y[::37] = 1
    assert np.isfinite(x).all()
    first = HistGradientBoostingClassifier(max_iter=12, random_state=0).fit(x, y)
    around = [context(t, 5, first.predict_proba(v)) for t, v in zip(tracks, values, strict=True)]
    both = np.hstack([x, np.concatenate(around)])
    return first, x, HistGradientBoostingClassifier(max_iter=6, random_state=0).fit(both, y)


@pytest.fixture(scope="module")
def model(fitted):
    first, second, x = Forest.of(fitted[0]), Forest.of(fitted[2]), fitted[1]
    card = {
        "context_names": list(CONTEXT),
        "bias": [0.0, 0.0, 0.0],
        "features": "strips",
        "feature_names": list(NAMES),
        "segment_length": 2.0,
        "temperature": 1.0,
        "range_low": x.min(0).tolist(),
        "range_high": x.max(0).tolist(),
        "outside_limit": 0.05,
        "checksum": "",
    }
    return Boosted(first, second, card)


def test_a_forest_gives_the_probabilities_of_scikit_learn(fitted):
    forest, x = Forest.of(fitted[0]), fitted[1]
    np.testing.assert_allclose(forest.probabilities(x), fitted[0].predict_proba(x), atol=1e-6)


def test_saved_and_read_it_says_the_same(model, tmp_path):
    again = Boosted.load(model.save(tmp_path / "m"))
    ds = segments(seed=9)
    np.testing.assert_array_equal(
        model.predict(ds).class_probability.values, again.predict(ds).class_probability.values
    )
    schema.conform(again.predict(ds), "classified")


def damage(folder: Path, what: str) -> None:
    if what == "card":
        card = json.loads((folder / "card.json").read_text())
        card["feature_names"] = card["feature_names"][::-1]
        (folder / "card.json").write_text(json.dumps(card))
    elif what == "weights":
        raw = bytearray((folder / "forest.npz").read_bytes())
        raw[len(raw) // 2] ^= 0xFF
        (folder / "forest.npz").write_bytes(bytes(raw))
    else:
        raw = (folder / "forest.npz").read_bytes()
        (folder / "forest.npz").write_bytes(raw[: len(raw) // 2])


@pytest.mark.parametrize("what", ["card", "weights", "cut"])
def test_a_damaged_model_is_refused(model, tmp_path, what):
    home = model.save(tmp_path / "m")
    damage(home, what)
    with pytest.raises(ModelError):
        Boosted.load(home)


def test_trees_that_point_backwards_are_refused(model):
    left = model.first.left.copy()
    left[np.flatnonzero(model.first.feature >= 0)[0]] = 0
    bad = Forest(*(left if a is model.first.left else a for a in model.first.arrays()))
    with pytest.raises(ModelError, match="damaged"):
        bad.checked(len(NAMES), "here")


def test_a_track_out_of_range_is_named_and_left_to_the_tree(model):
    from is2ice.classifiers import classify

    strange = segments(seed=3)
    strange["h_spread"] = strange["h_spread"] * 0 + 1.9
    out = model.predict(strange)
    assert out.attrs["classifier_tree_tracks"] == out.attrs["classifier_outside"].rsplit(" ", 1)[0]
    np.testing.assert_array_equal(out.surface_class, classify(strange, "radiometric").surface_class)
    kept = replace(model, outside="keep").predict(strange)
    soft = replace(model, outside="temper").predict(strange)
    assert soft.class_probability.max("surface").mean() < kept.class_probability.max("surface").mean()
    assert "classifier_tree_tracks" not in model.predict(segments(seed=1)).attrs


@pytest.mark.parametrize("outside", ["temper", "keep"])
def test_a_name_says_what_becomes_of_tracks_out_of_range(outside):
    strange = segments(seed=3)
    strange["h_spread"] = strange["h_spread"] * 0 + 1.9
    by_tree = by_name("default").predict(strange).attrs
    assert "classifier_tree_tracks" in by_tree
    assert "classifier_rule" not in by_tree
    out = by_name(f"default:{outside}").predict(strange)
    assert "classifier_tree_tracks" not in out.attrs
    assert out.attrs["classifier_rule"] == outside
    wanted = replace(by_name("default"), outside=outside).predict(strange)
    np.testing.assert_array_equal(out.class_probability, wanted.class_probability)


def test_a_track_without_segments_stays_so(model):
    out = model.predict(segments().isel(x_atc=slice(0, 0)))
    assert (out.sizes["x_atc"], out.class_probability.shape) == (0, (0, 3))


def test_a_cube_is_classified_as_its_tracks_are(model):
    one, two = segments(seed=5), segments(seed=6).assign_attrs(spot=6)
    cube = xr.concat([one, two], "beam").assign_coords(beam=["gt1r", "gt1l"], spot=("beam", [5, 6]))
    out = model.predict(cube)
    for k, track in enumerate((one, two)):
        np.testing.assert_array_equal(out.surface_class[k], model.predict(track).surface_class)


def test_context_knows_the_run_and_the_water_nearby():
    ds = segments(seed=2)
    ds["height"] = ("x_atc", np.where(abs(np.arange(600) - 299.5) < 20, 0.0, 0.5).astype("f4"))
    p = np.tile([0.9, 0.05, 0.05], (600, 1))
    p[280:320] = [0.05, 0.05, 0.9]
    p[100] = np.nan
    x = dict(zip(CONTEXT, context(ds, 5, p).T, strict=True))
    assert all(np.isfinite(v).all() for v in x.values())
    np.testing.assert_allclose(x["run_width"][285:315], np.log2(80 / 10), atol=0.1)
    np.testing.assert_allclose(x["run_above_sea"][285:315], 0.0, atol=0.02)
    np.testing.assert_allclose(x["run_above_sea"][400:], 0.5, atol=0.02)
    assert (x["beside_most_water"][330:] > 0.8).all()
    assert x["run_brightness"][300] < 0.6 < 0.85 < x["run_brightness"][500]


def test_segments_of_another_length_are_left_to_the_tree(model):
    from is2ice.classifiers import classify

    ds = segments()
    ds.attrs["segment_length"] = 10.0
    out = model.predict(ds)
    assert out.attrs["classifier_tree_tracks"]
    np.testing.assert_array_equal(out.surface_class, classify(ds, "radiometric").surface_class)
    with pytest.raises(ModelError, match="10 m"):
        replace(model, outside="keep").predict(ds)


def test_a_copy_of_the_folder_is_the_model(model, tmp_path):
    home = model.save(tmp_path / "a")
    shutil.copytree(home, tmp_path / "b")
    assert Boosted.load(tmp_path / "b").card["checksum"] == Boosted.load(home).card["checksum"]


def test_the_shipped_model_is_small_and_is_the_one_that_was_measured():
    from importlib.resources import files

    home = files("is2ice.classifiers").joinpath("default")
    assert sum(len(f.read_bytes()) for f in home.iterdir()) < 2e6
    assert (
        by_name("default").card["checksum"]
        == "2e12ef317b5d57a6a12ae1a705aac167f3e330f63157666ffa5309c1d963727e"
    )
    out = by_name("default").predict(segments(n=2000))
    schema.conform(out, "classified")


def test_the_readme_shows_the_judgements_of_the_card_those_without_gain_included():
    scores = by_name("default").card["scores"]
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    rmse = []
    for judge in ("perturbed physics", "second optics", "default physics"):
        tree, ours = (scores[judge][name] for name in ("radiometric", "default"))
        f1, water = (
            " / ".join(f"{value(row['everything']):{form}}" for row in (tree, ours))
            for value, form in ((lambda e: e["macro_f1"], ".3f"), (lambda e: e["precision"][2], ".2f"))
        )
        assert f"macro-F1 {f1}, water precision {water}" in readme, judge
        rmse.append(" / ".join(f"{100 * row['freeboard_rmse_m']:.1f}" for row in (tree, ours)))
    assert f"RMSE {', '.join(rmse)} cm" in readme


def test_what_lies_elsewhere_leaves_out_only_the_part_of_a_run_that_is_near(monkeypatch):
    from is2ice.classifiers import context as module
    from is2ice.science.feature_columns import FeatureColumns

    monkeypatch.setattr(module, "REGION", 202.0)  # 50 cells on each side
    p = np.tile([0.9, 0.05, 0.05], (600, 1))
    p[100:400] = [0.05, 0.9, 0.05]  # a run longer than the region
    p[430:450] = [0.05, 0.9, 0.05]
    runs = module._Runs(FeatureColumns(segments(), 5), p)
    a = np.arange(600.0)
    near = abs(a[:, None] - a) <= 50
    apart = runs.number[:, None] != runs.number
    np.testing.assert_allclose(runs.others(a), (near & apart) @ a)


def test_uneven_light_of_a_run_is_told_from_that_of_photon_counts():
    from is2ice.classifiers.context import _Runs
    from is2ice.science.feature_columns import FeatureColumns

    rng, n = np.random.default_rng(4), 6000
    ds = schema.mock_segments(n)
    rate = np.where(np.arange(n) < 3000, 2.0, 2.0 * np.exp(0.4 * np.sin(np.arange(n) / 12.0)))
    ds["n_photons"] = ("x_atc", rng.poisson(3 * rate).astype("i4"))
    ds["n_pulses"] = ("x_atc", np.full(n, 3, "i2"))
    p = np.where((np.arange(n) < 3000)[:, None], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0])
    even, uneven = 0.1 * 2.0 ** _Runs(FeatureColumns(ds, 5), p).unevenness(10.0)[-2:]
    assert even < 0.06
    np.testing.assert_allclose(uneven, 0.4 / np.sqrt(2), atol=0.04)

"""The forest that comes with the package: walked as scikit-learn does, whole or an error, and aware of its range."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from is2ice import schema
from is2ice.classifiers.boosted import Boosted, Forest
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

    x = np.concatenate([build(segments(seed=s), "strips").values for s in range(4)])
    y = np.tile(np.where((np.arange(600) >= 280) & (np.arange(600) < 320), 2, 0), 4)
    y[::37] = 1
    known = np.isfinite(x).all(axis=1)
    return HistGradientBoostingClassifier(max_iter=12, random_state=0).fit(x[known], y[known]), x[known]


@pytest.fixture(scope="module")
def model(fitted):
    forest, x = Forest.of(fitted[0]), fitted[1]
    card = {
        "features": "strips",
        "feature_names": list(NAMES),
        "segment_length": 2.0,
        "temperature": 1.0,
        "range_low": x.min(0).tolist(),
        "range_high": x.max(0).tolist(),
        "outside_limit": 0.05,
        "checksum": "",
    }
    return Boosted(forest, card)


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
    left = model.forest.left.copy()
    left[np.flatnonzero(model.forest.feature >= 0)[0]] = 0
    bad = Forest(*(left if a is model.forest.left else a for a in model.forest.arrays()))
    with pytest.raises(ModelError, match="damaged"):
        bad.checked(len(NAMES), "here")


def test_a_track_out_of_range_is_named_and_left_to_the_tree(model):
    from is2ice.classifiers import classify

    strange = segments(seed=3)
    strange["h_spread"] = strange["h_spread"] * 0 + 1.9
    out = model.predict(strange)
    assert out.attrs["classifier_tree_tracks"] == out.attrs["classifier_outside"].rsplit(" ", 1)[0]
    np.testing.assert_array_equal(out.surface_class, classify(strange, "radiometric").surface_class)
    kept = Boosted(model.forest, model.card, "keep").predict(strange)
    soft = Boosted(model.forest, model.card, "temper").predict(strange)
    assert soft.class_probability.max("surface").mean() < kept.class_probability.max("surface").mean()
    assert "classifier_tree_tracks" not in model.predict(segments(seed=1)).attrs


def test_another_length_of_segment_is_an_error(model):
    ds = segments()
    ds.attrs["segment_length"] = 10.0
    with pytest.raises(ModelError, match="10 m"):
        model.predict(ds)


def test_a_copy_of_the_folder_is_the_model(model, tmp_path):
    home = model.save(tmp_path / "a")
    shutil.copytree(home, tmp_path / "b")
    assert Boosted.load(tmp_path / "b").card["checksum"] == Boosted.load(home).card["checksum"]


def test_the_shipped_model_is_small_and_is_the_one_that_was_measured():
    from importlib.resources import files

    from is2ice.classifiers import by_name

    home = files("is2ice.classifiers").joinpath("default")
    assert sum(len(f.read_bytes()) for f in home.iterdir()) < 2e6
    assert (
        by_name("default").card["checksum"]
        == "ce7c3d16b29ed41fdac25ca5d826f29553bcad8e622184cd482f15cb6c7890b1"
    )
    out = by_name("default").predict(segments(n=2000))
    schema.conform(out, "classified")

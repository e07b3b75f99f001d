"""Estimators of scikit-learn's kind on segments, and a sweep over parameters of a network."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from is2ice import classifiers, schema
from is2ice.classifiers.samples import Samples
from is2ice.classifiers.sklearn_like import SklearnClassifier, WindowEstimator, sweep
from is2ice.science import features as feats


def test_a_fitted_estimator_classifies_segments():
    ds = schema.mock_segments(3000)
    rows = feats.build(ds, feats.feature_set("default")).values
    good = np.isfinite(rows).all(1)
    label = np.where(rows[good][:, 5] > np.median(rows[good][:, 5]), 0, 2)  # two of the three classes
    scaled = LogisticRegression(max_iter=200).fit(rows[good], label)
    out = classifiers.classify(ds, SklearnClassifier(scaled))
    schema.conform(out, "segments", "classified")
    assert out.attrs["classifier"] == "LogisticRegression"
    code = out.surface_class.values
    np.testing.assert_array_equal(code[good], scaled.predict(rows[good]))
    assert (code[~good] == schema.UNLABELLED).all()
    p = out.class_probability.values[good]
    np.testing.assert_allclose(p.sum(1), 1, atol=1e-5)
    assert (p[:, 1] == 0).all()


def samples(n=900):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, 5, 6)).astype("f4")
    y = (np.digitize(x[:, 2, 0], [-0.4, 0.4])).astype("i1")
    track = np.repeat(np.arange(3, dtype="i4"), n // 3)
    names = tuple(f"g{k}/gt1r" for k in range(3))
    return Samples(x, y, track, np.arange(n, dtype=float), names, names, feats.feature_set("paper"))


def test_a_sweep_holds_out_a_scene_and_ranks():
    data = samples()
    rows = sweep(data, {"learning_rate": [1e-6, 0.01], "dropout": [0.1]}, epochs=3)
    assert {r["params"]["learning_rate"] for r in rows} == {1e-6, 0.01}
    assert rows[0]["params"]["learning_rate"] == 0.01
    assert rows[0]["epochs"] == 3  # the best was trained longest
    assert rows[0]["macro_f1"] > rows[-1]["macro_f1"] + 0.1
    one = data.take(data.track == 0)
    with pytest.raises(ValueError, match="two or more scenes"):
        sweep(one, {"dropout": [0.1]})
    with pytest.raises(ValueError, match="layers"):
        WindowEstimator().set_params(layers=3)


def test_an_estimator_travels_with_its_weights():
    data = samples(300)
    made = WindowEstimator(epochs=1).fit(data.x, data.y)
    other = copy.deepcopy(made)
    np.testing.assert_array_equal(other.predict(data.x), made.predict(data.x))
    other.partial_fit(data.x, data.y)
    assert (other.epochs_, made.epochs_) == (2, 1)

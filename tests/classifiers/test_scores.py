"""Scores of classes: against scikit-learn, additive, and what pictures of them show."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, precision_recall_fscore_support

from is2ice import schema
from is2ice.classifiers.scores import score_classes, score_labels, score_leads, table
from is2ice.reports import plot_scores


@pytest.fixture(scope="module")
def data() -> tuple[np.ndarray, np.ndarray]:
    """5,000 segments of uneven classes and probabilities that are right about as often as they say."""
    rng = np.random.default_rng(4)
    p = rng.dirichlet([3.0, 0.4, 0.3], 5_000)
    y = np.array([rng.choice(3, p=row) for row in p])
    return y, p


def test_scores_are_those_of_scikit_learn(data):
    y, p = data
    s = score_classes(y, p).confusion
    best = p.argmax(1)
    assert s.accuracy == pytest.approx(accuracy_score(y, best))
    assert s.macro_f1 == pytest.approx(f1_score(y, best, average="macro"))
    assert s.weighted_f1 == pytest.approx(f1_score(y, best, average="weighted"))
    precision, recall, f1, support = precision_recall_fscore_support(y, best)
    np.testing.assert_allclose(s.precision, precision)
    np.testing.assert_allclose(s.recall, recall)
    np.testing.assert_allclose(s.f1, f1)
    assert s.matrix.sum(1).tolist() == support.tolist()
    assert s.macro_precision == pytest.approx(precision.mean())
    assert s.macro_recall == pytest.approx(recall.mean())


def test_micro_scores_are_those_of_rounded_outputs(data):
    """As the notebooks have it: every output is a prediction of its own, rounded at one half."""
    y, p = data
    rounded, hot = p > 0.5, np.eye(3, dtype=bool)[y]
    r = score_classes(y, p).reliability
    assert r.micro_precision == pytest.approx((rounded & hot).sum() / rounded.sum())
    assert r.micro_recall == pytest.approx((rounded & hot).sum() / hot.sum())
    expected = 2 * r.micro_precision * r.micro_recall / (r.micro_precision + r.micro_recall)
    assert r.micro_f1 == pytest.approx(expected)


def test_reliability_tells_honest_from_boastful(data):
    y, p = data
    sharp = p**4 / (p**4).sum(1, keepdims=True)
    honest, boastful = (score_classes(y, q).reliability.expected_error for q in (p, sharp))
    assert honest < 0.02
    assert boastful > 0.08


def test_parts_add_up_and_unlabelled_counts_against(data):
    y, p = data
    q = p.copy()
    q[::10] = np.nan
    whole = score_classes(y, q)
    parts = score_classes(y[:1_700], q[:1_700]) + score_classes(y[1_700:], q[1_700:])
    np.testing.assert_array_equal(parts.confusion.matrix, whole.confusion.matrix)
    for name, value in vars(whole.reliability).items():
        np.testing.assert_allclose(getattr(parts.reliability, name), value, rtol=1e-12)
    assert json.loads(json.dumps(whole.to_dict()))["reliability"]["n"] == whole.reliability.n.tolist()
    assert whole.confusion.unlabelled == 500
    assert whole.confusion.accuracy < score_classes(y, p).confusion.accuracy
    classes = np.where(np.isfinite(q).all(1), np.nan_to_num(q).argmax(1), -1)
    only = score_classes(y, classes)
    assert only.reliability is None
    np.testing.assert_array_equal(only.confusion.matrix, whole.confusion.matrix)
    assert (whole + only).reliability is None
    for wrong in ((y, p[:, :2]), (y[:5], p), (y[None], p)):
        with pytest.raises(ValueError, match="expected truth"):
            score_classes(*wrong)


def test_a_perfect_score_and_a_class_that_never_occurs():
    y = np.array([0, 0, 1, 1])
    s = score_classes(y, y)
    assert s.confusion.accuracy == s.confusion.macro_f1 == 1.0
    assert np.isnan(s.confusion.recall[2])
    text = table({"perfect": s, "wrong": score_classes(y, 1 - y)})
    assert "100.00" in text
    assert "nan" not in text


def test_labelled_segments_are_scored(data):
    ds = schema.mock_segments(40, stages=("labels", "classified"), beam="gt2r")
    ds["label"][0, :10] = schema.UNLABELLED
    ds["label"][0, 10:15] = schema.THIN_ICE
    s = score_labels(ds)
    assert s.confusion.matrix.sum() == 30
    assert s.confusion.accuracy == pytest.approx(25 / 30)
    with pytest.raises(KeyError, match="no variable 'label'"):
        score_labels(ds.drop_vars("label"))


def test_pictures_show_the_numbers(data, tmp_path):
    y, p = data
    s = score_classes(y, p)
    figure = plot_scores.confusion(
        {"ours": s, "classes only": score_classes(y, p.argmax(1))}, path=tmp_path / "c.png"
    )
    shown = "".join(t.get_text() for t in figure.axes[0].texts)
    assert f"{100 * s.confusion.recall[1]:.2f}" in shown
    assert f"macro-F1 {100 * s.confusion.macro_f1:.2f}" in figure.axes[0].get_title()
    figure = plot_scores.reliability(s, path=tmp_path / "r.png")
    assert (
        f"{100 * s.reliability.expected_error:.2f}" in figure.axes[0].get_legend().get_texts()[0].get_text()
    )
    with pytest.raises(ValueError, match="probabilities"):
        plot_scores.reliability(score_classes(y, y))
    history = {
        "epochs": [
            {"loss": 1.0, "val_loss": 1.2, "accuracy": 0.5},
            {"loss": 0.5, "val_loss": 0.8, "accuracy": 0.7},
        ]
    }
    figure = plot_scores.learning_curves(history | {"best": 1}, path=tmp_path / "l.png")
    assert len(figure.axes) == 2
    assert figure.axes[0].lines[1].get_ydata().tolist() == [1.2, 0.8]
    with pytest.raises(ValueError, match="no epoch"):
        plot_scores.learning_curves({"epochs": []})
    rows = {"all": {"interior": 0.95, "boundary": 0.5}, "without rate": {"interior": 0.9, "boundary": 0.45}}
    figure = plot_scores.ablation(rows, path=tmp_path / "a.png")
    assert [b.get_width() for b in figure.axes[0].patches] == pytest.approx([95.0, 90.0])
    assert {f.name for f in tmp_path.iterdir()} == {"c.png", "r.png", "l.png", "a.png"}


def test_leads_are_counted_by_width():
    truth = np.zeros(200, int)
    predicted = np.zeros(200, int)
    for first, cells, called in ((10, 5, 2), (40, 10, 5), (80, 50, 50)):  # 10 m, 20 m, 100 m
        truth[first : first + cells] = 2
        predicted[first : first + called] = 2
    some = score_leads(truth, predicted)
    assert some.leads == (1, 1, 0, 1, 0)
    assert some.found == (0, 1, 0, 1, 0)
    assert some.cells_found == (2, 5, 0, 50, 0)
    twice = some + some
    assert twice.leads == (2, 2, 0, 2, 0)
    assert "15-30 m: 100.0 % of 2" in str(twice)

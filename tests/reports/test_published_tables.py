"""The paper's tables and figures: published numbers, ours where they were measured, and nothing invented."""

from __future__ import annotations

import json

import numpy as np
import pytest

from is2ice.reports import published_tables
from is2ice.workflows.paper import PAIRS

_ROW = {"kind": "freeboard", "engine": "processes", "tasks": 8, "map": 0.1, "start": 1.0, "measured": True}
SCALING = {
    "measured": [
        {**_ROW, "workers": 1, "load": 4.0, "reduce": 20.0},
        {**_ROW, "workers": 2, "load": 3.0, "reduce": 11.0},
        {**_ROW, "workers": 64, "load": 0.1, "reduce": 1.0, "measured": False},
    ]
}


def test_published_numbers_bear_out_their_footnotes():
    two, five, training = (published_tables.PUBLISHED[k] for k in ("labelling", "freeboard", "training"))
    assert two[1, 1][0] / two[4, 4][0] == pytest.approx(9.0)
    assert two[1, 1][2] / two[4, 4][2] == pytest.approx(16.25)
    assert two[1, 1][2] / two[1, 2][2] > 2.2  # super-linear
    assert {five[k][2] - two[k][2] for k in two} <= {1, 2, 3}
    assert {five[k][0] - two[k][0] for k in two} <= {1, 2, 3}
    samples = [s * per for _, s, per in training.values()]
    assert min(samples) > 3200
    assert max(samples) < 3360
    assert all(48.9 < total / epoch < 51.6 for total, epoch, _ in training.values())
    for row in published_tables.PUBLISHED["confusion"]:
        assert sum(row) == pytest.approx(100, abs=0.02)


def test_tables_without_measurements_say_so():
    tables = [
        published_tables.table_1(PAIRS),
        *(getattr(published_tables, f"table_{k}")() for k in range(2, 6)),
    ]
    text = "\n".join(tables)
    for number in ("I:", "II:", "III:", "IV:", "V:"):
        assert f"### Table {number}" in text
    assert text.count("not measured here") > 12
    assert "| 5 | 11-17 19:02:34 | 11-17 18:15:09 | 47.57 | 47.42 |" in text


def test_figure_4_in_numbers():
    text = published_tables.figure_4({"MLP, here": [[80, 15, 5, 3], [0, 0, 0, 2], [1, 0, 3, 0]]})
    assert "| LSTM, paper | open water | 5.17 | 34.48 | 60.35 |" in text
    assert "| MLP, here | thick ice | 80.00 | 15.00 | 5.00 |" in text  # of those with a class
    assert "| MLP, here | thin ice | - | - | - |" in text
    assert "Not measured here." in published_tables.figure_4({})


def test_what_was_measured_stands_beside_the_paper(tmp_path):
    (tmp_path / "scaling.json").write_text(json.dumps(SCALING))
    ranks = {
        "plain Keras fit": {"best": 9.0},
        "is2ice, 1 rank of Horovod": {"best": 3.0},
        "2 ranks": {"best": 1.8, "total": 20.0},
    }
    (tmp_path / "training.json").write_text(json.dumps({"windows": 9000, "rows": ranks}))
    (tmp_path / "classifiers").mkdir()
    one = {
        "n": 100,
        "unlabelled": 3,
        "accuracy_labelled": 0.9278,
        "accuracy": 0.9,
        "macro_f1": 0.8,
        "classes": {k: {"recall": 0.5} for k in ("a", "b", "c")},
    }
    one |= {"reliability": {"micro_precision": 0.91, "micro_recall": 0.92, "micro_f1": 0.93}}
    (tmp_path / "classifiers" / "scores.json").write_text(
        json.dumps({published_tables.PASS: {"mlp": {"all": one}}})
    )
    have = published_tables.read_measured(tmp_path)
    five = published_tables.table_5(have["scaling"])
    assert "| paper: 1 executor x 2 cores | 60 / 0.4 / 177 | 1.85 / 2.21 |" in five
    assert "| here: processes, 2 workers x 1 core | 3 / 0.1 / 11 | 1.33 / 1.82 |" in five
    assert "8 tasks" in five
    assert "not measured here" in published_tables.table_2(have["scaling"])
    four = published_tables.table_4(have["training"])
    assert "| paper: 2 GPUs | 143.22 / 2.778 / 1160.81 | 1.96 |" in four
    assert "| here: 2 ranks on 2 cores | 20.0 / 1.80 / 5000 | 1.67 |" in four
    assert "Keras" not in four
    (tmp_path / "training.json").write_text("")
    with pytest.raises(ValueError, match="not JSON, or truncated"):
        published_tables.read_measured(tmp_path)
    row = "| mlp, against truth | 90.00 | 91.00 | 92.00 | 93.00 | 80.00 | 50.0 / 50.0 / 50.0 | 3 of 100 (92.78 % right"
    assert row in published_tables.table_3(have["scores"])


def test_the_papers_windows():
    """Its two tracks are shown in its longitudes and distances, any other where most leads are."""
    from is2ice import schema
    from is2ice.reports import plot_figures
    from is2ice.reports.paper_page import as_published, window
    from is2ice.science import seasurface

    ds = schema.mock_segments(70000, stages=("classified",))
    ds["longitude"] = ("x_atc", np.linspace(-171.0, -169.8, 70000))
    ds["surface_class"][100:140] = schema.OPEN_WATER
    theirs = ds.assign_attrs(granule="ATL03_20191104195311_05940510_006_01")
    first, last = window(theirs)
    assert first == pytest.approx(140.0 * 0.5 / 1.2, abs=0.01)
    assert last == pytest.approx(140.0 * 1.0 / 1.2, abs=0.01)
    assert window(ds) is None
    assert window(theirs, (1.0, 2.0)) == (1.0, 2.0)
    far = theirs.assign_coords(x_atc=theirs.x_atc + 5e6)
    for track, limits in ((theirs, (-0.4, 0.4)), (ds, None), (far, None)):
        figure = plot_figures.draw_methods(track, {"nasa": seasurface.estimate(track, "nasa")})
        before = figure.axes[0].get_ylim()
        assert as_published(figure, track).axes[0].get_ylim() == (limits or before)


def test_training_is_drawn_beside_the_published(tmp_path):
    from is2ice.reports import plot_figures

    rows = {"is2ice, 1 rank of Horovod": {"best": 3.0}, "is2ice, 2 ranks of Horovod": {"best": 1.5}}
    here = published_tables.training_rows({"windows": 9000, "rows": rows})
    assert here[2] == {"total": None, "epoch": 1.5, "rate": 6000.0}
    figure = plot_figures.draw_training(published_tables.PUBLISHED["training"], here, "t")
    lines = {line.get_label(): line for line in figure.axes[0].lines}
    assert lines["here, ranks on processors"].get_ydata().tolist() == [1.0, 2.0]
    assert lines["published, GPUs"].get_ydata()[-1] == pytest.approx(5.5 / 0.79)

"""The paper's tables and figures: published numbers, ours where they were measured, and nothing invented."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

from is2ice.reports import published_tables

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
GRANULE = "sample_data/ATL03_20191116193412_07410510_006_01.h5"


_ROW = {"kind": "freeboard", "engine": "processes", "tasks": 8, "map": 0.1, "start": 1.0, "measured": True}
SCALING = {
    "measured": [
        {**_ROW, "workers": 1, "load": 4.0, "reduce": 20.0},
        {**_ROW, "workers": 2, "load": 3.0, "reduce": 11.0},
        {**_ROW, "workers": 64, "load": 0.1, "reduce": 1.0, "measured": False},
    ]
}


def run(name, *args, monkeypatch):
    monkeypatch.setattr(sys, "argv", [name, *map(str, args)])
    monkeypatch.syspath_prepend(str(RECIPES))
    runpy.run_path(str(RECIPES / name), run_name="__main__")


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


def test_tables_without_measurements_say_so(tmp_path, monkeypatch, capsys):
    run("paper_tables.py", "--measured", tmp_path, "--out", tmp_path / "t.md", monkeypatch=monkeypatch)
    text = capsys.readouterr().out
    for number in ("I:", "II:", "III:", "IV:", "V:"):
        assert f"### Table {number}" in text
    assert text.count("not measured here") > 12
    assert "| 5 | 11-17 19:02:34 | 11-17 18:15:09 | 47.57 | 47.42 |" in text
    assert (tmp_path / "t.md").read_text().strip() == text.strip()


def test_what_was_measured_stands_beside_the_paper(tmp_path):
    (tmp_path / "scaling.json").write_text(json.dumps(SCALING))
    ranks = {
        "plain Keras fit": {"best": 9.0},
        "is2ice, 1 rank of Horovod": {"best": 3.0},
        "2 ranks": {"best": 1.8},
    }
    (tmp_path / "training.json").write_text(json.dumps({"windows": 9000, "rows": ranks}))
    (tmp_path / "classifiers").mkdir()
    one = {"accuracy": 0.9, "macro_f1": 0.8, "classes": {k: {"recall": 0.5} for k in ("a", "b", "c")}}
    one |= {"reliability": {"micro_precision": 0.91, "micro_recall": 0.92, "micro_f1": 0.93}}
    (tmp_path / "classifiers" / "scores.json").write_text(
        json.dumps({published_tables.PASS: {"mlp": {"all": one}}})
    )
    have = published_tables.read_measured(tmp_path)
    five = published_tables.table_5(have["scaling"])
    assert "| paper: 1 executor x 2 cores | 60 / 0.4 / 177 | 1.85 / 2.21 |" in five
    assert "| here: processes, 2 workers | 3 / 0.1 / 11 | 1.33 / 1.82 |" in five
    assert "8 tasks" in five
    assert "not measured here" in published_tables.table_2(have["scaling"])
    four = published_tables.table_4(have["training"])
    assert "| paper: 2 GPUs | 143.22 / 2.778 / 1160.81 | 1.96 |" in four
    assert "| here: 2 ranks | - / 1.80 / 5000 | 1.67 |" in four
    assert "Keras" not in four
    (tmp_path / "training.json").write_text("")
    with pytest.raises(ValueError, match="not whole JSON"):
        published_tables.read_measured(tmp_path)
    assert (
        "| mlp, here | 90.00 | 91.00 | 92.00 | 93.00 | 80.00 | 50.0 / 50.0 / 50.0 |"
        in published_tables.table_3(have["scores"])
    )


def test_figures_of_the_sample(tmp_path, monkeypatch, capsys):
    """Every counterpart is drawn, or the reason is printed; the label picture is moved as the labels were."""
    from matplotlib.image import imread

    (tmp_path / "scaling.json").write_text(json.dumps(SCALING))
    run(
        "paper_figures.py",
        GRANULE,
        "gt1r",
        "--sample",
        "--shift",
        79,
        115,
        "--measured",
        tmp_path,
        "--out",
        tmp_path,
        monkeypatch=monkeypatch,
    )
    told = capsys.readouterr().out
    names = sorted(p.stem for p in tmp_path.glob("figure_*.png"))
    drawn = (
        "10_11_freeboard 2_labels 4_confusion 5_scaling_freeboard 6_7_classes 8_sea_surfaces 9_sea_surface"
    )
    assert names == [f"figure_{n}" for n in drawn.split()]
    assert "figure 5_scaling_labelling: not measured here" in told
    assert "the scene labels nothing of gt1r; they show gt2r" in told
    for name in names:
        picture = imread(tmp_path / f"{name}.png")
        assert np.ptp(picture[..., :3]) == 1.0
    run("paper_figures.py", GRANULE, "gt3r", "--out", tmp_path, monkeypatch=monkeypatch)
    assert "no product (--atl07, --atl10)" in capsys.readouterr().out
    for wrong, text in (
        (["--width", -3], "5 to 60 cm"),
        (["--atl10", "nope.h5"], "--atl10 nope.h5: no such file"),
    ):
        with pytest.raises(SystemExit) as stopped:
            run("paper_figures.py", GRANULE, "gt3r", *wrong, "--out", tmp_path, monkeypatch=monkeypatch)
        assert stopped.value.code == 2
        assert text in capsys.readouterr().err


def test_the_papers_windows(monkeypatch):
    """Its two tracks are shown in its longitudes and distances, any other where most leads are."""
    from is2ice import schema
    from is2ice.reports import plot_figures
    from is2ice.science import seasurface

    monkeypatch.syspath_prepend(str(RECIPES))
    recipe = runpy.run_path(str(RECIPES / "paper_figures.py"))
    ds = schema.mock_segments(4000, stages=("classified",))
    ds["longitude"] = ("x_atc", np.linspace(-171.0, -169.8, 4000))
    ds["surface_class"][100:140] = schema.OPEN_WATER
    paper_track = ds.assign_attrs(granule="ATL03_20191104195311_05940510_006_01")
    first, last = recipe["window"](paper_track, None)
    assert first == pytest.approx(8.0 * 0.5 / 1.2, abs=0.01)
    assert last == pytest.approx(8.0 * 1.0 / 1.2, abs=0.01)
    assert recipe["window"](ds, None) is None
    assert recipe["window"](paper_track, (1.0, 2.0)) == (1.0, 2.0)
    for track, limits in ((paper_track, (-0.4, 0.4)), (ds, None)):
        figure = plot_figures.draw_methods(track, {"nasa": seasurface.estimate(track, "nasa")})
        before = figure.axes[0].get_ylim()
        assert recipe["as_published"](figure, track).axes[0].get_ylim() == (limits or before)

"""The demo, small: passes labelled from their images, a model, the first pass classified with it."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from is2ice.classifiers import model_folder
from is2ice.cli import demo
from is2ice.io.stores import store


@pytest.mark.slow
def test_the_demo_trains_and_scores_a_pass_it_was_not_trained_on(tmp_path, monkeypatch):
    pytest.importorskip("tensorflow")
    for name, value in {"PASSES": 2, "LENGTH_KM": 16.0, "SIZE_KM": 12.0, "EPOCHS": 2}.items():
        monkeypatch.setattr(demo, name, value)
    run = CliRunner().invoke(
        demo.app, ["--train", "--out", str(tmp_path), "--length-km", "12", "--seed", "5"]
    )
    assert run.exit_code == 0, run.output
    for words in (
        "training pass 1: ice moved",
        "training on 1 passes",
        "away from class edges",
        "recall water",
    ):
        assert words in run.output
    scores = json.loads((tmp_path / "score.json").read_text())
    assert set(scores) == {"tree", "shipped", "trained"}
    assert scores["trained"]["interior"]["point"]["accuracy"] > 0.9
    card = model_folder.read_card(tmp_path / "model", "windows")
    trained_on = {name.split("/")[0] for name in card["data"]["train"]["tracks"]}
    shown = store.open_store(tmp_path / "demo_trained.zarr").granules
    assert not trained_on & set(shown)
    track = store.open_track(tmp_path / "demo_trained.zarr")
    assert track.attrs["classifier_checksum"] == model_folder.checksum(tmp_path / "model")
    assert (tmp_path / "quicklook.png").stat().st_size > 50_000


@pytest.mark.slow
def test_a_night_without_images_is_shown_untrained(tmp_path, monkeypatch):
    for name, value in {"PASSES": 1, "LENGTH_KM": 10.0, "SIZE_KM": 7.0}.items():
        monkeypatch.setattr(demo, name, value)
    arguments = ["--train", "--out", str(tmp_path), "--length-km", "10", "--preset", "arctic_winter_night"]
    run = CliRunner().invoke(demo.app, arguments)
    assert run.exit_code == 0, run.output
    assert "training pass 1: no labels" in run.output
    assert "too few labelled passes to train on" in run.output
    assert set(json.loads((tmp_path / "score.json").read_text())) == {"tree", "shipped"}

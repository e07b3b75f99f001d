"""Configuration to model to classes, by the command line: ``train``, ``info``, ``classify``, ``run``."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from test_neural import a_track

pytest.importorskip("tensorflow")

from is2ice import Options, classify, schema
from is2ice.classifiers import model_folder
from is2ice.classifiers.neural import Neural
from is2ice.cli.main import main
from is2ice.errors import ModelError, StoreError
from is2ice.io.remote.location import location
from is2ice.io.remote.whole_files import exists
from is2ice.io.stores import store
from is2ice.workflows import run as pipeline
from is2ice.workflows.options import pin_classifier
from is2ice.workflows.reclassify import reclassify
from is2ice.workflows.track import Chain
from is2ice.workflows.train import launch, train
from is2ice.workflows.training_config import VALIDATION, read_config

SAMPLE = Path(__file__).resolve().parents[2] / "sample_data"
CONFIG = """
labelled = "labelled.zarr"
model = "models/small"
architecture = "mlp"
seed = 4

[data]
split = "scene"
test = 0.25
validation = 0.25

[training]
epochs = 4
class_weights = "balanced"

[parameters]
units = 16
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Four labelled granules, and the configuration."""
    where = tmp_path_factory.mktemp("train")
    for k, granule in enumerate("ABCD"):
        for beam in ("gt1r", "gt2r"):
            track = a_track(1500, seed=10 * k + (beam == "gt2r"), beam=beam, granule=granule)
            store.write_track(schema.annotate(track), where / "labelled.zarr")
    store.consolidate(where / "labelled.zarr")
    (where / "small.toml").write_text(CONFIG)
    return where


def command(capsys, *args: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        main([str(a) for a in args])
    captured = capsys.readouterr()
    return int(stop.value.code or 0), captured.out, captured.err


@pytest.fixture(scope="module")
def model(folder) -> Path:
    train(read_config(folder / "small.toml"))
    return folder / "models" / "small"


# -- training -----------------------------------------------------------------------------------------
def test_the_card_tells_data_split_and_scores(model, folder):
    card = model_folder.read_card(model)
    tracks = [set(card["data"][part]["tracks"]) for part in ("train", "validation", "test")]
    assert sum(map(len, tracks)) == len(set.union(*tracks)) == 8
    assert card["split"] == {"by": "scene", "seed": 4, "dropped": 0, "test": 0.25, "validation": 0.25}
    test = card["scores"]["test"]
    assert 0.9 < test["accuracy"] <= 1.0
    assert test["n"] == np.sum(test["matrix"]) == card["data"]["test"]["samples"]
    assert 0.0 <= test["reliability"]["expected_error"] < 0.2
    assert card["parameters"] == {"units": 16, "dropout": 0.2}
    assert (card["release"], card["replicas"], card["seed"]) == ("006", 1, 4)
    assert sorted(p.name for p in (folder / "models").iterdir()) == ["small"]  # no checkpoint is left


def test_the_command_trains_shows_epochs_and_refuses_to_overwrite(folder, capsys):
    text = CONFIG.replace("models/small", "models/other").replace("epochs = 4", "epochs = 2")
    (folder / "other.toml").write_text(text)
    code, out, err = command(capsys, "train", folder / "other.toml")
    assert code == 0, err
    assert "split by scene, seed 4" in out
    assert "epoch 2 of 2" in out
    assert f"checksum {model_folder.checksum(folder / 'models' / 'other')}" in out
    code, _, err = command(capsys, "train", folder / "other.toml")
    assert code == 2
    assert "pass --overwrite" in err
    code, out, _ = command(capsys, "train", folder / "other.toml", "--overwrite", "--json")
    assert code == 0
    assert json.loads(out)["architecture"] == "mlp"


def in_bucket(text: str, folder: Path, place) -> str:
    """Copy the labelled store into a bucket, and return the configuration with addresses there."""
    labelled, there = location(folder / "labelled.zarr"), location(place / "labelled.zarr")
    keys = list(labelled.objects())
    there.put_all(dict(zip(keys, labelled.read_all(keys), strict=True)))
    return text.replace('"labelled', f'"{place}/labelled').replace('"models', f'"{place}/models')


@pytest.mark.parametrize("kind", ["folder", "s3"])
def test_an_interrupted_training_goes_on(folder, clouds, kind, monkeypatch):
    """Labels, checkpoint and model in folders or in a bucket, with the same weights."""
    for name, value in clouds[kind].environment.items():
        monkeypatch.setenv(name, value)
    text = CONFIG.replace("models/small", "models/broken")
    if kind == "s3":
        text = in_bucket(text, folder, clouds[kind])
    (folder / "broken.toml").write_text(text)
    config = read_config(folder / "broken.toml")
    seen: list[dict] = []

    def interrupt(row):
        seen.append(row)
        if len(seen) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(config, progress=interrupt)
    assert exists(config.checkpoint)
    assert not exists(config.model)
    again: list[dict] = []
    card = train(config, progress=again.append)
    assert len(again) == 2
    assert len(card["training"]["history"]["epochs"]) == 4
    assert not exists(config.checkpoint)
    weights = model_folder.packed_weights(config.model, model_folder.read_card(config.model))
    assert weights == _weights.setdefault("broken", weights)
    if kind == "s3":  # a run takes the model by its address
        track = a_track(300, seed=1)
        found = classify(track, config.model)
        assert found.attrs["classifier_checksum"] == model_folder.checksum(config.model)
        with pytest.raises(ModelError, match="pass overwrite=True"):
            Neural.load(config.model).save(config.model)


#: Weights of the interrupted training, wherever it wrote.
_weights: dict[str, bytes] = {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("labelled = [", "not a TOML file"),
        ("model = 'm'", "labelled missing"),
        (CONFIG + "\nlayers = 3\n", r"\[parameters\]: unknown layers; expected some of units, dropout"),
        (CONFIG.replace("epochs = 4", "epochs = 'four'"), r"\[training\]: epochs = 'four': expected int"),
        (CONFIG.replace("epochs = 4", "epoch = 4"), r"\[training\]: unknown epoch; expected some of loss"),
        (CONFIG.replace('"mlp"', '"cnn"'), "architecture 'cnn': expected one of lstm"),
        (CONFIG.replace('"scene"', '"year"'), "split: by: expected one of auto, scene"),
        (CONFIG.replace("labelled.zarr", "nothing.zarr"), "nothing.zarr"),
        (CONFIG.replace('"balanced"', "[1.0, 2.0]"), "2 given, the model has 3 classes"),
    ],
)
def test_a_wrong_configuration_is_named(folder, capsys, text, message):
    (folder / "wrong.toml").write_text(text.replace("models/small", "models/wrong"))
    code, _, err = command(capsys, "train", folder / "wrong.toml")
    assert code == 2
    assert __import__("re").search(message, err), err
    assert not (folder / "models" / "wrong").exists()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("epochs = 4", "epochs = 0", "expected epochs and batch of at least 1"),
        ("epochs = 4", 'loss = "hinge"', "loss='hinge': expected 'focal'"),
        ('"balanced"', "[0.0, 0.0, 0.0]", "class_weights=.*not all 0"),
        ("test = 0.25", "test = 0.8", r"test \+ validation < 1"),
        ("test = 0.25", 'features = "notebok"', "notebok"),
        ("test = 0.25", 'normalisation = "y"', "expected 'z' or 'published'"),
        ("test = 0.25", "guard = 20000.0", "guard 20000.0 and block 10000.0"),
        ("units = 16", 'units = "many"', "units = 'many': expected int"),
    ],
)
def test_values_are_refused_before_any_data_are_read(tmp_path, old, new, message):
    (tmp_path / "c.toml").write_text(CONFIG.replace(old, new))  # there is no store
    with pytest.raises(ValueError, match=f"c.toml: .*{message}"):
        read_config(tmp_path / "c.toml")


def test_tracks_of_two_releases_train_no_model(folder, tmp_path):
    for granule, release in (("A", "006"), ("B", "007")):
        track = a_track(300, granule=granule).assign_attrs(release=release)
        store.write_track(schema.annotate(track), tmp_path / "labelled.zarr")
    (tmp_path / "c.toml").write_text(CONFIG)
    with pytest.raises(ModelError, match=r"several values of release .*006: A; 007: B"):
        train(read_config(tmp_path / "c.toml"))


@pytest.mark.slow
def test_replicas_that_fail_say_why(folder):
    if not Path(sys.executable).with_name("horovodrun").exists():
        pytest.skip("horovodrun is not installed beside this Python")
    (folder / "none.toml").write_text(
        CONFIG.replace("labelled.zarr", "nothing.zarr").replace("models/small", "models/none")
    )
    with pytest.raises(ModelError, match=r"training in 2 replicas failed: .*nothing.zarr"):
        launch(["train", folder / "none.toml"], 2)


@pytest.mark.slow
def test_two_replicas_train_one_model_in_a_bucket(folder, clouds, capfd, monkeypatch):
    if not Path(sys.executable).with_name("horovodrun").exists():
        pytest.skip("horovodrun is not installed beside this Python")
    for name, value in clouds["s3"].environment.items():
        monkeypatch.setenv(name, value)
    text = in_bucket(CONFIG.replace("models/small", "models/two"), folder, clouds["s3"])
    (folder / "two.toml").write_text(text)
    with pytest.raises(SystemExit) as stop:
        main(["train", str(folder / "two.toml"), "--replicas", "2"])
    told = capfd.readouterr()
    assert not stop.value.code, told.err
    assert told.out.count("epoch 4 of 4") == 1  # the root alone speaks
    card = model_folder.read_card(clouds["s3"] / "models/two")
    assert sum(card["data"][part]["samples"] for part in ("train", "validation", "test")) > 8 * 1400
    assert card["replicas"] == card["training"]["replicas"] == 2
    assert card["scores"]["test"]["accuracy"] > 0.9
    with pytest.raises(SystemExit) as stop:
        main(["train", str(folder / "two.toml"), "--replicas", "2"])
    assert stop.value.code == 2
    assert "pass --overwrite" in capfd.readouterr().err


# -- the card -----------------------------------------------------------------------------------------
def test_info_of_an_edited_card_and_of_weights_cut_short(model, tmp_path, capsys):
    import shutil

    copy = Path(shutil.copytree(model, tmp_path / "copy"))
    card = json.loads((copy / "card.json").read_text())
    card["training"]["history"]["best"] = 99
    (copy / "card.json").write_text(json.dumps(card))
    (copy / "weights.npz").write_bytes((copy / "weights.npz").read_bytes()[:-10])
    code, out, err = command(capsys, "show", copy)
    assert code == 0, err
    assert "4 epochs, best 99: no such epoch; the card was edited" in out
    assert "NOT USABLE" in out.splitlines()[-1]
    assert "truncated" in out.splitlines()[-1]


def test_a_terminal_sees_no_notes_of_the_compiler(folder):
    """But every other line, those of native code included."""
    import os
    import subprocess

    code = (
        "import os, tensorflow as tf, is2ice.classifiers.tensorflow_logging as q\n"
        "q.start()\n"
        "tf.function = lambda *a, **k: lambda x: os.write(2, b'I0000 a note\\nE0000 an error\\n')\n"
        "q.start()\n"
        "os.write(2, b'end\\n')\n"
    )
    env = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "2"}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=True)
    assert run.stderr.splitlines() == ["E0000 an error", "end"]


def test_info_shows_the_card(model, capsys):
    code, out, _ = command(capsys, "show", model)
    assert code == 0
    for word in ("mlp of windows", "release", "h_cor_mean", "A/gt", "macro_f1", "is2ice", "seed", "split"):
        assert word in out
    code, out, _ = command(capsys, "show", model, "--json")
    assert code == 0
    assert json.loads(out)["checksum"] == model_folder.checksum(model)


def test_the_card_fits_a_screen(model):
    lines = model_folder.describe(model)
    assert len(lines) <= 24
    assert all(len(line) < 240 for line in lines)


def test_help_names_the_defaults_that_hold(capsys):
    from is2ice.classifiers.architectures import ARCHITECTURES
    from is2ice.classifiers.splits import check_split
    from is2ice.classifiers.training import Settings

    text = " ".join(command(capsys, "train", "--help")[1].replace("│", " ").split())
    defaults = {**vars(Settings()), **ARCHITECTURES["default"].training}
    for name in ("epochs", "batch", "learning_rate", "gamma"):
        assert f"{name} = {defaults[name]}" in text
    assert f'loss = "{defaults["loss"]}"' in text
    assert f"validation = {VALIDATION}" in text
    for name, value in check_split.__kwdefaults__.items():
        assert name == "validation" or f"{name} = {value:g}" in text


def test_the_split_that_fits_is_chosen_and_a_refusal_names_it(folder, tmp_path, capsys):
    for source, by in ((folder / "labelled.zarr", "scene"), (SAMPLE / "labelled.zarr", "track")):
        (tmp_path / "auto.toml").write_text(f'labelled = "{source}"\nmodel = "model"\nseed = 3\n')
        code, out, err = command(capsys, "train", tmp_path / "auto.toml", "--dry-run", "--replicas", "2")
        assert code == 0, err
        assert f"split by {by}, seed 3" in out
    assert not (tmp_path / "model").exists()
    (tmp_path / "auto.toml").write_text((tmp_path / "auto.toml").read_text() + "[data]\nblock = 5000.0\n")
    code, _, err = command(capsys, "train", tmp_path / "auto.toml", "--dry-run")
    assert (code, "split auto chooses the sizes itself" in " ".join(err.split())) == (2, True)
    asked = f'labelled = "{SAMPLE / "labelled.zarr"}"\nmodel = "model"\n[data]\nsplit = "scene"\n'
    (tmp_path / "scene.toml").write_text(asked)
    code, _, err = command(capsys, "train", tmp_path / "scene.toml", "--dry-run")
    assert code == 2
    refusal, lines = err.split("These lines of the configuration work here:")
    assert "split by scene: 2 groups cannot make 3 parts" in refusal
    (tmp_path / "pasted.toml").write_text(asked.partition("[data]")[0] + lines)
    code, out, err = command(capsys, "train", tmp_path / "pasted.toml", "--dry-run")
    assert (code, "split by track" in out) == (0, True), err


def test_the_sample_trains_as_its_configuration_says():
    config = read_config(SAMPLE / "train.toml")
    assert [Path(s).name for s in config.labelled] == ["labelled.zarr"]
    from is2ice.cli.twin import TRAIN

    assert (SAMPLE / "train.toml").read_text() == TRAIN


# -- classification -----------------------------------------------------------------------------------
def test_stored_tracks_are_classified_anew(model, folder, tmp_path, capsys):
    target = tmp_path / "classified.zarr"
    code, out, err = command(
        capsys,
        "classify",
        folder / "labelled.zarr",
        "--classifier",
        model,
        "--store",
        target,
        "--granule",
        "A",
    )
    assert code == 0, err
    assert "A" in out
    done = store.open_track(target, granule="A", chunks=None)
    was = store.open_track(folder / "labelled.zarr", granule="A", chunks=None)
    assert done.attrs["classifier_checksum"] == model_folder.checksum(model)
    known = done["surface_class"].values >= 0
    assert known.mean() > 0.95
    right = done["surface_class"].values[known] == was["label"].values[known]
    assert right.mean() > 0.9
    assert {"class_probability", "h_ref", "freeboard", "label"} <= set(done)
    np.testing.assert_array_equal(done["height"], was["height"])
    parameters = json.loads(done.attrs["processing_parameters"])
    assert parameters["classifier_checksum"] == model_folder.checksum(model)
    with pytest.raises(StoreError, match="is of kind classes; resume it by the same is2ice classify"):
        pipeline.resume(target)
    # The same again is skipped; another model in the folder is another result.
    again = reclassify(folder / "labelled.zarr", target, model, granules=["A"])
    assert len(again.skipped) == 2


@pytest.mark.parametrize("engine", ["processes", "dask"])
def test_every_engine_gives_the_same_classes(model, folder, tmp_path, engine):
    run = reclassify(
        folder / "labelled.zarr", tmp_path / "a.zarr", model, granules=["B"], engine=engine, workers=1
    )
    assert run.ok, run.report()
    reclassify(folder / "labelled.zarr", tmp_path / "b.zarr", model, granules=["B"])
    a, b = (store.open_track(tmp_path / n, granule="B", chunks=None) for n in ("a.zarr", "b.zarr"))
    np.testing.assert_array_equal(a["surface_class"], b["surface_class"])
    np.testing.assert_array_equal(a["class_probability"], b["class_probability"])


def test_a_model_replaced_during_a_run_is_noticed(model, folder, tmp_path, monkeypatch):
    monkeypatch.setattr("is2ice.workflows.options.fingerprint", lambda name: "another")
    run = reclassify(folder / "labelled.zarr", tmp_path / "a.zarr", model, granules=["A"])
    assert len(run.failed) == 2
    assert "the model was replaced during the run" in run.failed[0]["error"]


def never(*args, **how):
    raise AssertionError("work was begun")


def test_another_release_is_told_before_the_work(model, tmp_path):
    track = a_track(300, granule="Z").assign_attrs(release="007")
    store.write_track(schema.annotate(track), tmp_path / "in.zarr")
    options = Options(classifier=model)
    run = pipeline.run(tmp_path / "in.zarr", tmp_path / "out.zarr", options=options, chain=Chain(load=never))
    assert not run.ok
    assert "Z gt1r: ATL03 release 007, the model mlp was trained on 006" in run.failed[0]["error"]


def test_an_unusable_model_is_told_before_the_work(model, tmp_path):
    broken = shutil.copytree(model, tmp_path / "broken")
    weights = broken / "weights.npz"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ModelError, match="truncated, or of another model"):
        pin_classifier(Options(classifier=broken))
    with pytest.raises(
        ModelError, match=r"this run: segments of 10 m, the model \S+small was trained on 2 m"
    ):
        pipeline.run(
            tmp_path / "none.zarr", tmp_path / "s.zarr", options=Options(classifier=model, length=10)
        )
    assert not (tmp_path / "s.zarr").exists()


def stored_segments(folder, n) -> str:
    made = Options(until="segments").stored_parameters()
    store.write_track(schema.annotate(a_track(n, granule="A")), folder / "segments.zarr", parameters=made)
    return str(folder / "segments.zarr")


@pytest.mark.parametrize("where", ["here", pytest.param("dask", marks=pytest.mark.slow)])
def test_a_track_is_classified_in_blocks(model, tmp_path, monkeypatch, request, where):
    """The bits of the whole; each block evaluated once, none of them where the track is written."""
    segments = stored_segments(tmp_path, 10_000)
    options = Options(classifier=model)
    whole = pipeline.run(segments, tmp_path / "whole.zarr", options=options)
    evaluate, seen = Neural.evaluate, []

    def spy(self, values, first=0, stop=None):
        seen.append((first, stop))
        return evaluate(self, values, first, stop)

    monkeypatch.setattr(Neural, "evaluate", spy)
    engine = "serial" if where == "here" else request.getfixturevalue("dask_cluster")
    blocks = pipeline.run(segments, tmp_path / "b.zarr", options=options, block_km=8, engine=engine)
    assert blocks.ok, blocks.report()
    assert seen == ([(0, 4096), (4096, 8192), (8192, 10_000)] if where == "here" else [])
    assert [r["checksum"] for r in blocks.done] == [r["checksum"] for r in whole.done]
    assert whole.done[0]["n_unlabelled"] < 100
    assert not (tmp_path / "b.zarr" / ".parts").exists()


def test_a_run_with_a_model_is_resumed_from_elsewhere(model, tmp_path, monkeypatch):
    """The model was named relative to the folder of the run; the store tells its name and checksum only."""
    monkeypatch.chdir(Path(model).parent)
    name = os.path.basename(model)
    segments = stored_segments(tmp_path, 300)
    first = pipeline.run(segments, tmp_path / "s.zarr", options=Options(classifier=name))
    assert first.ok, first.report()
    monkeypatch.chdir(tmp_path)
    again = pipeline.resume(tmp_path / "s.zarr")
    assert len(again.skipped) == len(first.done) > 0
    held = store.open_store(tmp_path / "s.zarr").tracks["A", "gt1r"]["processing_parameters"]
    assert json.loads(held)["classifier"] == name
    moved = shutil.copytree(model, tmp_path / name)
    same = pipeline.run(segments, tmp_path / "s.zarr", options=Options(classifier=moved))
    assert not same.done


def test_wrong_stores_are_named(model, folder, tmp_path):
    with pytest.raises(StoreError, match="expected another store"):
        reclassify(folder / "labelled.zarr", folder / "labelled.zarr", model)
    with pytest.raises(StoreError, match="E not there; it holds A, B"):
        reclassify(folder / "labelled.zarr", tmp_path / "x.zarr", model, granules=["E"])
    with pytest.raises(ValueError, match="or a folder made by `is2ice train`"):
        reclassify(folder / "labelled.zarr", tmp_path / "x.zarr", "no_model")
    assert not (tmp_path / "x.zarr").exists()

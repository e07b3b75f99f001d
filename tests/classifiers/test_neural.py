"""Trained classifiers on Datasets: fit, predict, save, load, and what a model from elsewhere may not do."""

from __future__ import annotations

import hashlib
import json
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

pytest.importorskip("tensorflow")

from is2ice import classify, schema
from is2ice.classifiers import architectures, model_folder, registry
from is2ice.classifiers.calibration import softmax, temperature
from is2ice.classifiers.neural import Neural, loaded
from is2ice.classifiers.weights_file import read_arrays, write_arrays
from is2ice.errors import ModelError
from is2ice.io.remote import whole_files
from is2ice.science import features
from is2ice.workflows.options import Options, pin_classifier


def a_track(n: int = 3000, seed: int = 0, beam: str = "gt1r", granule: str = "A") -> xr.Dataset:
    """Ice, dim thin ice and dark water in stretches, with labels."""
    rng = np.random.default_rng(seed)
    label = np.repeat(rng.choice(3, n // 50 + 1, p=(0.6, 0.2, 0.2)), 50)[:n].astype("i1")
    ds = schema.mock_segments(n, stages=("labels",), seed=seed)
    ds["label"][:] = label
    light = np.array([8.0, 3.0, 1.0])[label]
    ds["n_photons"][:] = rng.poisson(light * ds["n_pulses"].values).clip(1)
    ds["pcnth"][:] = light + rng.normal(0, 0.2, n)
    ds["h_mean"][:] = np.array([0.5, 0.1, 0.0])[label] + rng.normal(0, 0.05, n)
    return ds.assign_attrs(
        granule=granule, beam=beam, spot=1, release="006", label_scenes=[f"scene of {granule}"]
    )


@pytest.fixture(scope="module")
def model() -> Neural:
    return Neural.fit(
        [a_track(), a_track(seed=1, beam="gt2r")],
        a_track(seed=2, granule="B"),
        "mlp",
        class_weights="balanced",
        epochs=6,
        seed=3,
        card={"split": {"by": "scene"}},
    )


@pytest.fixture
def folder(model, tmp_path) -> Path:
    model.save(tmp_path / "m")
    return tmp_path / "m"


def edit(folder: Path, **changes) -> None:
    card = json.loads((folder / "card.json").read_text())
    (folder / "card.json").write_text(json.dumps(card | changes))


def replace_weights(folder: Path, packed: bytes) -> None:
    """Other weights, with a card that vouches for them: a forger can write both."""
    (folder / "weights.npz").write_bytes(packed)
    card = json.loads((folder / "card.json").read_text())
    told = {"sha256": hashlib.sha256(packed).hexdigest(), "bytes": len(packed)}
    edit(folder, weights=card["weights"] | told)


# -- on data ------------------------------------------------------------------------------------------
def test_a_trained_model_classifies_a_track_it_has_not_seen(model):
    track = a_track(seed=5, granule="C")
    done = model.predict(track.drop_vars(["label", "label_flags"]))
    schema.conform(done, "segments", "classified")
    known = done["surface_class"].values >= 0
    assert known[2:-2].all()
    assert not known[:2].any()
    assert not known[-2:].any()  # no window reaches over the end
    assert np.mean(done["surface_class"].values[known] == track["label"].values[known]) > 0.9
    p = done["class_probability"].values[known]
    np.testing.assert_allclose(p.sum(1), 1.0, rtol=1e-5)
    assert (p.argmax(1) == done["surface_class"].values[known]).all()
    assert done.attrs["classifier"] == "mlp"


def test_gaps_are_not_bridged(model):
    track = a_track(seed=5).drop_vars(["label", "label_flags"])
    for name in track.data_vars:
        if track[name].dtype.kind == "f":
            track[name][1000:1010] = np.nan
    track["n_photons"][1000:1010] = 0
    track["n_pulses"][1000:1010] = 0
    known = model.predict(track)["surface_class"].values >= 0
    assert not known[998:1012].any()
    assert known[997]
    assert known[1012]


def test_a_cube_is_its_tracks(model):
    tracks = [a_track(seed=7, beam=b).drop_vars(["label", "label_flags"]) for b in ("gt1r", "gt2r")]
    cube = xr.concat(tracks, "beam").assign_coords(
        beam=["gt1r", "gt2r"], spot=("beam", np.array([1, 3], "i1"))
    )
    done = model.predict(cube)["class_probability"].values
    for b, track in enumerate(tracks):
        np.testing.assert_allclose(done[b], model.predict(track)["class_probability"].values, atol=1e-6)


def test_blocks_change_nothing(model, monkeypatch):
    track = a_track(seed=7)
    whole = model.predict(track)["class_probability"].values
    monkeypatch.setattr("is2ice.classifiers.neural.BLOCK", 37)
    np.testing.assert_allclose(model.predict(track)["class_probability"].values, whole, atol=1e-6)


def test_cells_embedded_once_a_track_give_what_windows_give():
    """With gaps, another context, and blocks: the default's short cut changes nothing but rounding."""
    rng = np.random.default_rng(0)
    for context, parameters in ((16, {}), (7, {"near": 3, "embed": 8, "dense": (16,)})):
        norm = {"features": ["a", "b"], "centre": [1.0, 0.0], "scale": [2.0, 0.5]}
        card = {
            "architecture": "default",
            "parameters": parameters,
            "context": context,
            "normalisation": norm,
            "temperature": 1.3,
        }
        made = Neural(architectures.build("default", 2 * context + 1, 2, seed=1, **parameters), card)
        track = rng.normal(size=(6000, 2)).astype("f4")
        track[[100, 101, 3000, 4095]] = np.nan
        middle, windows = features.windows(track, context)
        got = made.evaluate(track)
        assert np.flatnonzero(np.isfinite(got[:, 0])).tolist() == middle.tolist()
        np.testing.assert_allclose(got[middle], made.probabilities(windows), atol=1e-6)
        np.testing.assert_array_equal(made.evaluate(track, 4096, 6000), got[4096:])


def test_labels_are_not_looked_at(model):
    track = a_track(seed=7)
    other = track.assign(label=(track["label"].dims, np.roll(track["label"].values, 500)))
    a, b = (model.predict(t)["class_probability"].values for t in (track, other))
    np.testing.assert_array_equal(a, b)


def test_another_classifier_leaves_no_trace(model):
    done = classify(model.predict(a_track(300)), "radiometric")
    assert {k: v for k, v in done.attrs.items() if k.startswith("classifier")} == {
        "classifier": "radiometric"
    }


# -- on disk ------------------------------------------------------------------------------------------
def test_a_model_saved_here_loads_there(model, folder):
    track = a_track(seed=5)
    expected = model.predict(track)
    code = (
        "import sys, numpy as np, xarray as xr; from is2ice import classify;"
        "ds = xr.open_dataset(sys.argv[2]); "
        "np.save(sys.argv[3], classify(ds, sys.argv[1])['class_probability'].values)"
    )
    path = folder.parent / "track.nc"
    plain = track.drop_attrs().assign_attrs(release="006", spot=1)
    plain.to_netcdf(path, engine="h5netcdf")
    out = folder.parent / "p.npy"
    done = subprocess.run(
        [sys.executable, "-c", code, folder, path, out], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    np.testing.assert_allclose(np.load(out), expected["class_probability"].values, atol=1e-5)


def test_the_card_says_what_the_model_is(model, folder):
    card = model_folder.read_card(folder, "windows")
    assert card["architecture"] == "mlp"
    assert card["features"]["names"] == list(features.FEATURE_SETS["paper"].names)
    assert card["classes"] == {"thick_ice": 0, "thin_ice": 1, "open_water": 2}
    assert (card["release"], card["seed"], card["context"]) == ("006", 3, 2)
    assert card["data"]["train"]["tracks"] == ["A/gt1r", "A/gt2r"]
    assert card["data"]["validation"]["scenes"] == ["scene of B"]
    assert card["split"] == {"by": "scene"}
    assert card["training"]["loss"] == "focal"
    assert len(card["training"]["history"]["epochs"]) == 6
    text = "\n".join(model_folder.describe(folder))
    for word in (
        "mlp of windows",
        "seed             3",
        "val_accuracy",
        "split            by scene",
        model_folder.checksum(folder),
    ):
        assert word in text


def test_saving_is_whole_or_not_at_all(model, folder, monkeypatch):
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    with pytest.raises(ModelError, match="a model is there; pass overwrite=True"):
        model.save(folder)

    def broken(*args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr(whole_files, "_move_in", broken)
    with pytest.raises(ModelError, match="disk full"):
        model.save(folder, overwrite=True)
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before
    assert [p.name for p in folder.parent.iterdir()] == ["m"]
    monkeypatch.undo()
    model.save(folder, overwrite=True)
    assert [p.name for p in folder.parent.iterdir()] == ["m"]
    (folder.parent / "other").mkdir()
    with pytest.raises(ModelError, match="it exists"):
        model.save(folder.parent / "other", overwrite=True)
    with pytest.raises(ModelError, match="make it"):
        model.save(folder.parent / "a" / "b")


def test_loaded_once_and_again_when_changed(folder, model):
    first = loaded(folder)
    assert loaded(folder) is first
    edit(folder, note="retrained")
    assert loaded(folder) is not first
    assert first.checksum != loaded(folder).checksum
    assert registry.by_name(str(folder)).name == "mlp"


# -- what must be refused -----------------------------------------------------------------------------
def test_another_release_or_length_of_segment_is_refused(model):
    track = a_track()
    with pytest.raises(ModelError, match="A: ATL03 release 007, the model mlp was trained on 006"):
        model.predict(track.assign_attrs(release="007"))
    with pytest.raises(ModelError, match="segments of 4 m, the model mlp was trained on 2 m"):
        model.predict(track.assign_attrs(segment_length=4.0))
    with pytest.raises(
        ModelError, match="the model models/ross was trained on 006"
    ):  # two may be of one architecture
        Neural(model.model, model.card, folder="models/ross").predict(track.assign_attrs(release="007"))
    with pytest.raises(ModelError, match="several values of release"):
        Neural.fit([track, a_track(granule="B").assign_attrs(release="007")], architecture="mlp", epochs=1)


def test_other_features_are_refused(folder):
    card = model_folder.read_card(folder)
    names = card["features"]["names"]
    for told, message in (
        ({"names": [*names[:-1], "photon_rate"]}, "trained on features .*photon_rate; the set 'paper'"),
        ({"set": "paper_2"}, "feature set 'paper_2': expected one of"),
        ({"units": ["cm"] * len(names)}, "trained on features"),
    ):
        edit(folder, features=card["features"] | told)
        with pytest.raises(ModelError, match=message):
            Neural.load(folder)
    edit(folder, features=card["features"], normalisation=card["normalisation"] | {"scale": [0.0] * 6})
    with pytest.raises(ModelError, match="scale other than 0"):
        Neural.load(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": {"thin_ice": 0, "thick_ice": 1, "open_water": 2}}, "would name ice water"),
        ({"format": 9}, "format 9"),
        ({"is2ice": "9.9.0"}, "trained with is2ice 9.9.0"),
        ({"kind": "tiles"}, "a model of tiles, expected one of windows"),
        ({"architecture": "os.system"}, "expected one of lstm"),
        ({"parameters": {"units": 10**9, "dropout": 0.2}}, "beyond 10000"),
        ({"parameters": {"units": 33, "dropout": 0.2}}, "weights of shapes"),
        ({"context": 3}, "weights of shapes"),
        ({"temperature": 0.0}, "temperature 0.0"),
        ({"weights": None}, "expected their size and checksum"),
    ],
)
def test_a_card_that_does_not_fit_is_refused(folder, change, message):
    edit(folder, **change)
    with pytest.raises(ModelError, match=message):
        Neural.load(folder)


def test_truncated_and_damaged_files_are_refused(folder):
    weights, card = folder / "weights.npz", folder / "card.json"
    whole, text = weights.read_bytes(), card.read_text()
    weights.write_bytes(whole[:-100])
    with pytest.raises(ModelError, match="truncated, or of another model"):
        Neural.load(folder)
    weights.write_bytes(whole[:200] + bytes([whole[200] ^ 1]) + whole[201:])
    with pytest.raises(ModelError, match="checksum"):
        Neural.load(folder)
    replace_weights(folder, whole[:-100])
    with pytest.raises(ModelError, match=r"truncated \("):
        Neural.load(folder)
    card.write_text(text[: len(text) // 2])
    with pytest.raises(ModelError, match="not JSON, or truncated"):
        Neural.load(folder)
    card.write_text("[1, 2]")
    with pytest.raises(ModelError, match="not the card of a model"):
        Neural.load(folder)
    weights.unlink()
    card.write_text(text)
    with pytest.raises(ModelError, match="is missing"):
        Neural.load(folder)


class Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_pickle_is_never_opened(folder, tmp_path):
    gone_off = tmp_path / "gone_off"
    bomb = np.empty(1, object)
    bomb[0] = Bomb(gone_off)
    path = tmp_path / "bomb.npz"
    np.savez(path, **{"weight.0000": bomb, "meta": np.frombuffer(b"{}", "u1")})
    replace_weights(folder, path.read_bytes())
    with pytest.raises(ModelError, match=r"Python objects \(pickle\)"):
        Neural.load(folder)
    replace_weights(folder, pickle.dumps(Bomb(gone_off)))
    with pytest.raises(ModelError, match="not a file of arrays"):
        Neural.load(folder)
    assert not gone_off.exists()
    np.load(path, allow_pickle=True)["weight.0000"]  # the bomb is live
    assert gone_off.exists()


def test_an_archive_that_would_fill_the_memory_is_refused(tmp_path):
    path = tmp_path / "big.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("weight.0000.npy", b"\0" * 2_000_000)
    with pytest.raises(ModelError, match="2,000,000 bytes of arrays, expected at most 1,000,000"):
        read_arrays(path, limit=1_000_000)


def test_arrays_come_back_in_order(tmp_path):
    many = [np.arange(k) for k in range(12)]
    write_arrays(tmp_path / "a.npz", {"a": many, "b": []}, {"n": 1})
    groups, meta = read_arrays(tmp_path / "a.npz")
    assert meta == {"n": 1}
    assert [a.size for a in groups["a"]] == list(range(12))
    with pytest.raises(FileNotFoundError):
        read_arrays(tmp_path / "b.npz")


# -- in the pipeline's options ------------------------------------------------------------------------
def test_options_hold_the_checksum_of_the_model(folder):
    options = pin_classifier(Options(classifier=folder))
    assert options.parameters()["classifier_checksum"] == model_folder.checksum(folder)
    again = Options.from_parameters(options.parameters())
    assert again == options
    edit(folder, note="retrained")
    assert pin_classifier(Options(classifier=folder)).parameters() != options.parameters()
    with pytest.raises(ValueError, match="has been replaced"):
        pin_classifier(Options.from_parameters(options.parameters()))
    assert "classifier_checksum" not in Options().parameters()
    elsewhere = Options.from_parameters(options.parameters() | {"classifier": "/not/here"})
    assert elsewhere.classifier_checksum == options.classifier_checksum


def test_unknown_classifiers_are_named(tmp_path):
    for call in (
        lambda: pin_classifier(Options(classifier="lstm")),
        lambda: classify(a_track(100), str(tmp_path)),
    ):
        with pytest.raises(
            ValueError, match=r"expected 'default', 'radiometric', .* or a folder made by `is2ice train`"
        ):
            call()


def test_the_radiometric_classifier_loads_no_tensorflow():
    code = (
        "import sys; from is2ice import classify, schema, Options; Options();"
        "classify(schema.mock_segments(50).assign_attrs(spot=1)); print('tensorflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]


# -- calibration --------------------------------------------------------------------------------------
def test_temperature_finds_how_much_too_sure_logits_are():
    rng = np.random.default_rng(0)
    true = rng.normal(0, 2, (40_000, 3)).astype("f4")
    y = np.array(
        [
            rng.choice(3, p=p)
            for p in softmax(true).astype("f8") / softmax(true).sum(1, keepdims=True, dtype="f8")
        ]
    )
    assert temperature(true, y) == pytest.approx(1.0, abs=0.05)
    assert temperature(3 * true, y) == pytest.approx(3.0, abs=0.15)
    assert temperature(true, np.full(len(y), -1)) == 1.0


# -- networks that come with the package --------------------------------------------------------------
WEIGHTS = {
    "paper_lstm": "aedecadd64322fb06bbea62d872cd348d7e40548f52b4618a54a31bb593f2794",
    "paper_mlp": "fce7cf9aee7442fca6cc37e0226f506ced38a135cdccb6b4faa3fb7b47c71297",
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_the_published_networks_come_trained(name):
    from importlib.resources import files

    from is2ice.classifiers import by_name

    home = files("is2ice.classifiers").joinpath("networks", name)
    assert sum(len(f.read_bytes()) for f in home.iterdir()) < 2e6
    model = by_name(name)
    assert model.card["weights"]["sha256"] == WEIGHTS[name]
    assert model.card["scores"]["second optics"][name]["interior"]["recall"]
    assert pin_classifier(Options(classifier=name)).classifier_checksum == ""
    track = a_track(300)
    track["n_photons"][100:140] = 0
    for cells in ("h_mean", "h_core"):
        track[cells][100:140] = np.nan
    out = model.predict(track)
    schema.conform(out, "classified")
    p, code = out["class_probability"].values, out["surface_class"].values
    known = code >= 0
    assert not known[100:140].any()
    assert known[2:98].all()  # windows of five cells
    assert np.isnan(p[~known]).all()
    np.testing.assert_allclose(p[known].sum(axis=1), 1.0, atol=1e-5)
    assert (p[known] >= 0).all()
    np.testing.assert_array_equal(code[known], p[known].argmax(axis=1))


@pytest.mark.parametrize("name", WEIGHTS)
def test_cards_of_the_published_networks_say_that_they_are_for_comparison(name):
    """Help and cards speak of most of the water missed: the scores on the cards say so for every judge."""
    from is2ice.classifiers import by_name
    from is2ice.cli.engine_options import CLASSIFIER_HELP

    card = by_name(name).card
    assert "comparison with the paper" in card["not_for"][0]
    assert "miss most of the water" in CLASSIFIER_HELP
    for judge, rows in card["scores"].items():
        assert rows[name]["everything"]["recall"][schema.OPEN_WATER] < 0.5, judge
        assert rows[name]["everything"]["macro_f1"] < 0.41, judge

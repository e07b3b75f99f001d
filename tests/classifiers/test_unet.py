"""The U-Net: its sizes, tiles and veils, whole scenes, training on automatic labels, saving, commands."""

from __future__ import annotations

import json
import pickle
import sys
from pathlib import Path
from types import SimpleNamespace

import dask.array as da
import numpy as np
import pytest
import rasterio
import xarray as xr
from typer.testing import CliRunner

from is2ice import schema
from is2ice.classifiers.augmentation import Augmented, add_cloud_or_shadow
from is2ice.classifiers.unet import DEFAULT_INPUTS, UNet, build
from is2ice.cli.unet import app
from is2ice.errors import ModelError
from is2ice.sentinel2 import scene as sentinel2
from is2ice.sentinel2 import tiles as s2tiles
from is2ice.sentinel2.stac_item import SceneError
from is2ice.twin.scene.scene import Scene
from is2ice.twin.sentinel2.make_scene import make_scene
from is2ice.workflows import train_tiles
from is2ice.workflows.make_class_maps import make_class_maps, open_class_map

SMALL = {"filters": (8, 16, 24)}


# ---- networks ----


def test_the_published_network_is_the_published_one():
    model = build("published", 1)
    assert model.count_params() == 7_775_347
    assert model.input_shape == (None, 256, 256, 1)
    assert model.output_shape == (None, 256, 256, 3)
    kinds = [type(layer).__name__ for layer in model.layers]
    assert (kinds.count("Conv2D"), kinds.count("Conv2DTranspose"), kinds.count("MaxPooling2D")) == (23, 5, 5)
    rates = [layer.rate for layer in model.layers if type(layer).__name__ == "Dropout"]
    assert rates == [0.1, 0.1, 0.2, 0.2, 0.2, 0.3, 0.2, 0.2, 0.2, 0.1, 0.1]
    widths = [layer.filters for layer in model.layers if type(layer).__name__ == "Conv2D"][:-1:2]
    assert widths == [16, 32, 64, 128, 256, 512, 256, 128, 64, 32, 16]


def test_the_default_network_is_smaller_and_its_weights_follow_from_the_seed():
    model = build("default", 5, seed=3)
    assert model.count_params() < 250_000
    for a, b in zip(model.weights, build("default", 5, seed=3).weights, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (("huge", 1), "expected one of published, default"),
        (("default", 1, 100), "multiple of 16"),
        (("default", 0), "a channel"),
    ],
)
def test_what_cannot_be_built(call, message):
    with pytest.raises(ValueError, match=message):
        build(*call)
    with pytest.raises(ValueError, match="has no"):
        build("default", 1, dropout=(0.1,))
    with pytest.raises(ValueError, match="expected 2 to 7"):
        build("default", 1, filters=(10**6, 8))


# ---- tiles ----


def scene_of(rows: int = 100, columns: int = 120, seed: int = 0) -> xr.Dataset:
    rng = np.random.default_rng(seed)
    bands = {b: (("y", "x"), rng.uniform(0, 1, (rows, columns)).astype("f4")) for b in DEFAULT_INPUTS}
    coords = {"y": 1e6 - 10.0 * np.arange(rows), "x": 5e5 + 10.0 * np.arange(columns)}
    return xr.Dataset(bands, coords, {"scene": "mock", "level": "L2A", "crs": "EPSG:32702"})


def test_tiles_hold_pixels_and_labels_of_their_places():
    scene = scene_of()
    scene["B02"][:10] = np.nan
    code = np.random.default_rng(1).integers(0, 3, (100, 120)).astype("i1")
    mask = np.zeros((100, 120), "u2")
    mask[:10], mask[20:30], mask[40:50] = 2, 4, 16
    classes = xr.Dataset(
        {"surface_class": (("y", "x"), code), "mask": (("y", "x"), mask)}, attrs={"white": 1.0}
    )
    tiles = s2tiles.tiles_of(scene, classes, size=32)
    assert tiles.x.shape == (16, 32, 32, 5)  # 4 x 4: the last of each row and column ends at the border
    assert tiles.inputs == DEFAULT_INPUTS
    np.testing.assert_array_equal(tiles.x[3, ..., 4], scene["B11"].values[:32, 88:120])
    assert (tiles.x[0, :10, :, 0] == 0).all()
    assert (tiles.y[0, :10] == -1).all()
    np.testing.assert_array_equal(tiles.y[0, 10:32], code[10:32, :32])  # under cloud, as the filter found it
    assert (tiles.y[4, 8:18] == -1).all()  # land
    clear = s2tiles.tiles_of(scene, classes, size=32, under_cloud=False)
    assert (clear.y[0, 20:30] == -1).all()
    grey = s2tiles.tiles_of(scene, classes, ("grey",), size=32, least=0.99)
    assert len(grey) < 16
    assert 0 <= grey.x.min() <= grey.x.max() <= 1
    with pytest.raises(SceneError, match="B11 missing"):
        s2tiles.tiles_of(scene.drop_vars("B11"), classes, DEFAULT_INPUTS)
    with pytest.raises(SceneError, match="at least one tile of 256"):
        s2tiles.tiles_of(scene, classes)
    with pytest.raises(SceneError, match="of one kind"):
        s2tiles.Tiles.joined([tiles, grey])
    halves = [s2tiles.tiles_of(scene, classes, size=32, part=(k, 2)) for k in (0, 1)]
    for k, half in enumerate(halves):
        np.testing.assert_array_equal(half.x, tiles.x[k::2])
        np.testing.assert_array_equal(half.y, tiles.y[k::2])
    both = s2tiles.Tiles.joined([tiles, clear])
    assert (len(both), both.scenes) == (32, ("mock",))


def test_a_turned_tile_keeps_its_labels_and_a_veil_is_a_cloud_or_a_shadow():
    y = np.random.default_rng(0).integers(0, 3, (2, 16, 16))
    x = np.repeat(y[..., None], 5, -1).astype("f4")
    several = Augmented(x, y.astype("i1"), copies=8)
    got = several[np.arange(16)]
    assert several.shape == (16, 16, 16, 5)
    np.testing.assert_array_equal(got[..., 0], several.y)
    assert len({a.tobytes() for a in several.y}) == 16
    bands, seen = DEFAULT_INPUTS, set()
    for seed in range(40):
        dark = add_cloud_or_shadow(np.full((64, 64, 5), 0.05, "f4"), bands, np.random.default_rng(seed))
        bright = add_cloud_or_shadow(np.full((64, 64, 5), 0.9, "f4"), bands, np.random.default_rng(seed))
        assert np.isfinite(dark).all()
        assert 0 < dark.min() <= dark.max() < 1
        seen.add((bool(dark.max() > 0.06), bool(bright.min() < 0.7)))
    assert seen == {(a, b) for a in (True, False) for b in (True, False)}
    with pytest.raises(ValueError, match="copies"):
        Augmented(x, y.astype("i1"), copies=0)


# ---- whole scenes ----


class Threshold:
    """A network that looks at one pixel only: what comes back must be its pixel's own."""

    inputs, size = ("B02",), 32

    def probabilities(self, x):
        return np.eye(3, dtype="f4")[np.digitize(x[..., 0], [0.3, 0.6])]


@pytest.mark.parametrize("block", [24, 1000])
def test_probabilities_of_a_scene(block):
    """Weights of overlapping tiles add up to one, and the likeliest class is that of the class map."""
    values = np.random.default_rng(2).uniform(0, 1, (33, 97)).astype("f4")
    lazy = {"B02": da.from_array(values, chunks=20)}
    share = s2tiles.classify(Threshold(), lazy, 1.0, block, probabilities=True)
    assert share.shape == (3, 33, 97)
    found = share.compute()
    np.testing.assert_allclose(found.sum(0), 1, atol=1e-5)
    np.testing.assert_array_equal(found.argmax(0), s2tiles.classify(Threshold(), lazy, 1.0, block).compute())


class Place(Threshold):
    """A network whose answer depends on the place in the tile and on what is around."""

    def probabilities(self, x):
        where = np.linspace(0, 1, self.size, dtype="f4")
        some = 0.5 * where + 0.5 * x[..., 0].mean((1, 2), keepdims=True)
        return np.stack([some, 1 - some, 0.5 * np.sin(9 * where) + 0 * some], -1)


@pytest.mark.parametrize("shape", [(100, 120), (33, 97), (20, 10), (96, 96)])
def test_a_scene_is_put_together_from_its_tiles(shape):
    values = np.random.default_rng(2).uniform(0, 1, shape).astype("f4")
    for chunks in (shape, 50, (7, 31)):
        lazy = {"B02": da.from_array(values, chunks=chunks)}
        for block in (24, 48, 1000):
            found = s2tiles.classify(Threshold(), lazy, 1.0, block).compute()
            np.testing.assert_array_equal(found, np.digitize(values, [0.3, 0.6]))
    first = s2tiles.classify(Place(), {"B02": da.from_array(values)}, 1.0, 1000).compute()
    for block in (24, 72):
        np.testing.assert_array_equal(
            s2tiles.classify(Place(), {"B02": da.from_array(values, chunks=40)}, 1.0, block).compute(), first
        )


# ---- training ----


@pytest.fixture(scope="module")
def items(tmp_path_factory) -> dict[str, Path]:
    """Two scenes of one preset, each of other ice."""
    made = {}
    for name, seed in (("train", 3), ("other", 4)):
        scene = Scene.preset(
            "ross_sea_november",
            seed=seed,
            length_km=5,
            lead_spacing=500.0,
            lead_width=(30.0, 900.0),
            cloud_cover=0.0,
        )
        made[name] = make_scene(scene, tmp_path_factory.mktemp(name), size_km=2.56, samples=1)
    return made


@pytest.fixture(scope="module")
def trained(items) -> UNet:
    """A small network, some seconds of training on the automatic labels of one scene."""
    scene = sentinel2.open_scene(items["train"]).compute()
    tiles = s2tiles.tiles_of(scene, sentinel2.class_map(scene), size=64)
    # Fewer epochs, or a greater rate, end in .7 to .99 by the seed; so many, in .99 by any of five.
    return UNet.fit(tiles, parameters=SMALL, epochs=24, copies=4, learning_rate=0.003)


def right(item: Path, classes: xr.Dataset) -> float:
    with rasterio.open(item.parents[2] / "truth" / f"{item.stem}_class.tif") as f:
        truth = f.read(1)
    known = truth < 3
    return float(np.mean(classes["surface_class"].values[known] == truth[known]))


def test_training_on_one_scene_classes_another(items, trained):
    """Against the truth, with labels that never saw it; most of the ice is thick, so all classes must be found."""
    scene = sentinel2.open_scene(items["other"]).compute()
    found = sentinel2.class_map(scene, "unet", classifier=trained)
    assert right(items["other"], found) > 0.95
    assert set(np.unique(found["surface_class"])) == {0, 1, 2}
    assert found.attrs["model"] == "unet default"
    assert (found["mask"].values == sentinel2.class_map(scene)["mask"].values).all()
    assert trained.card["data"]["labels"] == "guarded"
    assert trained.card["training"]["history"]["epochs"][-1]["accuracy"] > 0.9


def test_lazy_chunked_and_pickled_are_the_same(items, trained):
    scene = sentinel2.open_scene(items["other"])
    whole = sentinel2.class_map(scene.compute(), "unet", classifier=trained)["surface_class"].values
    lazy = sentinel2.class_map(
        scene.chunk(x=100, y=77), "unet", classifier=pickle.loads(pickle.dumps(trained))
    )
    assert lazy["surface_class"].chunks is not None
    np.testing.assert_array_equal(lazy["surface_class"].values, whole)


def test_saved_and_loaded(items, trained, tmp_path):
    kept = trained.save(tmp_path / "model")
    assert kept.checksum
    again = UNet.load(tmp_path / "model")
    x = np.random.default_rng(0).uniform(0, 1, (3, 64, 64, 5)).astype("f4")
    np.testing.assert_array_equal(again.probabilities(x), trained.probabilities(x))
    # A tile's result does not depend on how many others there are.
    np.testing.assert_array_equal(again.probabilities(x[:1])[0], again.probabilities(x)[0])
    card = tmp_path / "model" / "card.json"
    document = json.loads(card.read_text())
    for change, message in (
        ({"inputs": ["B02", "B99"]}, "B99"),
        ({"size": "many"}, "damaged"),
        ({"kind": "windows"}, "expected one of tiles"),
        ({"parameters": {"filters": [4, 4]}}, "shapes"),
    ):
        card.write_text(json.dumps({**document, **change}))
        with pytest.raises(ModelError, match=message):
            UNet.load(tmp_path / "model")


def test_scenes_that_the_network_was_not_made_for(items, trained):
    scene = sentinel2.open_scene(items["other"]).compute()
    with pytest.raises(SceneError, match="B11 missing, which the network needs"):
        sentinel2.class_map(scene.drop_vars("B11"), "unet", classifier=trained)
    with pytest.raises(ValueError, match="level L1C, but the network was trained with level L2A"):
        sentinel2.class_map(scene.assign_attrs(level="L1C"), "unet", classifier=trained)
    with pytest.raises(ValueError, match="white"):
        sentinel2.class_map(scene, "unet", classifier=trained, white=0.8)
    with pytest.raises(ValueError, match="needs classifier="):
        sentinel2.class_map(scene, "unet")
    with pytest.raises(ValueError, match="takes no classifier"):
        sentinel2.class_map(scene, classifier=trained)
    with pytest.raises(ValueError, match=r"expected is2ice\.classifiers\.unet\.UNet"):
        sentinel2.class_map(scene, "unet", classifier="folder")
    with pytest.raises(ValueError, match="inputs"):
        UNet.fit((np.zeros((2, 64, 64, 2), "f4"), np.zeros((2, 64, 64), "i1")))
    with pytest.raises(ValueError, match="expected x"):
        UNet.fit((np.zeros((2, 64, 32, 5), "f4"), np.zeros((2, 64, 32), "i1")))


def test_no_data_stays_without_a_class(items, trained):
    scene = sentinel2.open_scene(items["other"]).compute()
    scene["B03"][:40] = np.nan
    found = sentinel2.class_map(scene, "unet", classifier=trained)
    assert (found["surface_class"].values[:40] == schema.UNLABELLED).all()
    assert (found["surface_class"].values[40:] >= 0).all()


def test_commands(items, tmp_path):
    run, folder = CliRunner(), str(tmp_path / "model")
    told = ["--out", folder, "--size", "64", "--epochs", "1", "--copies", "1"]
    made = run.invoke(app, ["train", str(items["train"]), "--validation", str(items["other"]), *told])
    assert made.exit_code == 0, made.output
    assert "16 tiles" in made.stdout
    assert "val_accuracy" in made.stdout
    again = run.invoke(app, ["train", str(items["train"]), *told])
    assert isinstance(again.exception, ModelError)
    wrong = run.invoke(app, ["train", "no.json", "--out", str(tmp_path / "m"), "--labels", "xx"])
    assert "--labels xx: expected one of guarded, published" in str(wrong.exception)
    absent = run.invoke(
        app, ["classify", str(items["other"]), "--out", "c.tif", "--classifier", str(tmp_path / "m")]
    )
    assert "expected a folder made by `is2ice unet train`" in str(absent.exception)
    raster = tmp_path / "classes.tif"
    done = run.invoke(
        app, ["classify", str(items["other"]), "--out", str(raster), "--classifier", folder, "--json"]
    )
    assert done.exit_code == 0, done.output
    with rasterio.open(raster) as f:
        assert (f.count, f.shape, f.nodata) == (2, (256, 256), -1)
        assert f.crs == rasterio.open(items["other"].parent / "B02.tif").crs
        assert f.descriptions == ("surface_class", "mask")
        assert f.tags()["model"] == "unet default"
    assert abs(sum(json.loads(done.stdout)["shares"][k] for k in schema.CLASSES) - 1) < 1e-6


@pytest.mark.parametrize("scenes", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("size", [1, 2, 3])
def test_every_tile_of_every_scene_is_cut_by_one_replica(scenes, size):
    cut = [
        (scene, tile)
        for rank in range(size)
        for scene, (first, step) in train_tiles.shares(scenes, SimpleNamespace(rank=rank, size=size))
        for tile in range(12)[first::step]
    ]
    assert sorted(cut) == [(scene, tile) for scene in range(scenes) for tile in range(12)]


@pytest.mark.slow
def test_two_replicas_share_the_tiles(items, tmp_path, cli):
    if not Path(sys.executable).with_name("horovodrun").exists():
        pytest.skip("horovodrun is not installed beside this Python")
    told = ["--out", tmp_path / "two", "--size", 64, "--epochs", 1, "--copies", 1, "--replicas", 2]
    code, _, error = cli("unet", "train", items["train"], *told)
    assert code == 0, error
    card = UNet.load(tmp_path / "two").card
    assert card["training"]["replicas"] == 2
    assert card["data"]["tiles"] == 16  # of both replicas, one scene cut in turn
    assert sum(card["data"]["shares"].values()) == pytest.approx(1.0, abs=1e-5)


def test_many_scenes_are_classified_on_an_engine(items, tmp_path):
    """Workers get the network with its weights, and give the map that this process gives."""
    scene = sentinel2.open_scene(items["other"]).compute()
    tiles = s2tiles.tiles_of(scene, sentinel2.class_map(scene), size=64)
    network = UNet.fit(tiles, parameters=SMALL, epochs=1, copies=1).save(tmp_path / "model")
    how = {"method": "unet", "classifier": str(tmp_path / "model")}
    made = make_class_maps(items["other"], tmp_path / "maps", engine="processes", workers=1, classes=how)
    assert [(r["outcome"], r.get("error")) for r in made.receipts] == [("done", None)]
    here = sentinel2.class_map(scene, "unet", classifier=network)
    there = open_class_map(tmp_path / "maps", scene.attrs["scene"])
    np.testing.assert_array_equal(there["surface_class"].values, here["surface_class"].values)

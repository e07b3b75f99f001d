"""From a granule and an image to a labelled store, the commands, and the recipes' data."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from is2ice import twin
from is2ice.cli.labels import app
from is2ice.errors import StoreError
from is2ice.io.catalogs import sentinel2
from is2ice.io.stores import store
from is2ice.science.labels.corrections import Correction, Corrections
from is2ice.science.labels.drift import Drift, DriftError
from is2ice.twin.sentinel2.make_scene import make_scene
from is2ice.twin.server.local_archive import LocalCloud
from is2ice.workflows import run_record
from is2ice.workflows.label_pass import LabellingError, label_pass

ROOT = Path(__file__).resolve().parents[2]
SHIFT = (216.0, 288.0)  # 30 minutes of 0.12 and 0.16 m/s


@pytest.fixture(scope="module")
def pass_and_image(tmp_path_factory) -> tuple[Path, Path]:
    """12 km with leads, and an image of 8 km half an hour later."""
    folder = tmp_path_factory.mktemp("pass")
    scene = twin.Scene.preset(
        "ross_sea_november", seed=8, length_km=12, cloud_cover=0.0, drift=(0.12, 0.16), lead_spacing=900.0
    )
    granule = twin.make_granule(scene, folder, truth_path=folder / "truth.nc")
    return granule, make_scene(scene, folder, minutes=30, size_km=8, samples=1)


def test_granule_and_item_to_labels(pass_and_image):
    granule, item = pass_and_image
    done = label_pass(granule, item, drift=Drift(*SHIFT, "EPSG:3976"))
    ds = done.segments
    right = total = 0
    for beam in ds["beam"].values:
        truth = twin.open_truth(granule.parent / "truth.nc", str(beam))["footprint_class"]
        label = ds["label"].sel(beam=beam)
        real = truth.reindex(x_atc=label["x_atc"], fill_value=-1).values
        both = (label.values >= 0) & (real >= 0)
        right, total = right + int((label.values == real)[both].sum()), total + int(both.sum())
    assert total > 8_000
    assert right / total > 0.99
    assert done.table()["accepted"].tolist() == [True]
    assert ds.attrs["label_shift"] == list(SHIFT)
    # Taken for unmoved, more labels are wrong.
    still = label_pass(granule, item, drift="none").segments
    assert (still["label"].values != ds["label"].values).mean() > 0.02


@pytest.mark.slow
def test_many_passes_on_an_engine(pass_and_image, tmp_path, dask_cluster):
    """The same labels as one by one, a bad file named, and a second run that has nothing to do."""
    from is2ice.workflows.label_many import label_many

    granule, item = pass_and_image
    drift = Drift(*SHIFT, "EPSG:3976")
    other = tmp_path / "page.h5"
    other.write_text("<html>")
    run = label_many([granule, other], str(item), tmp_path / "s.zarr", engine=dask_cluster, drift=drift)
    want = label_pass(granule, item, drift=drift).segments
    got = store.open_track(tmp_path / "s.zarr", granule.stem, chunks=None)
    np.testing.assert_array_equal(got["label"].values, want["label"].values)
    assert [(r["source"], r["error_type"]) for r in run.failed] == [(str(other), "GranuleError")]
    assert sum(r["n_labelled"] for r in run.done) == int((want["label"].values >= 0).sum())
    again = label_many([granule], str(item), tmp_path / "s.zarr", drift=drift)
    assert (len(again.done), len(again.skipped)) == (0, 3)


def test_labels_of_many_passes_in_a_bucket(pass_and_image, clouds):
    from is2ice.workflows.label_many import label_many

    (granule, item), place = pass_and_image, clouds["s3"]
    how = {"drift": Drift(*SHIFT, "EPSG:3976"), "beams": "gt2r"}
    run = label_many([granule], str(item), place / "labels.zarr", storage_options=place.options, **how)
    assert run.ok, run.report()
    got = store.open_track(place / "labels.zarr", chunks=None, storage_options=place.options)
    want = label_pass(granule, item, **how).segments
    np.testing.assert_array_equal(got["label"].values, want["label"].values)


def test_scenes_of_one_pass_go_to_many_workers(pass_and_image, tmp_path, monkeypatch):
    """The bits of one process, whatever the order of the answers; a missing answer is made where they are merged."""
    from is2ice.workflows import label_many

    granule, item = pass_and_image
    later = json.loads(item.read_text())
    later["id"] += "_again"
    later["properties"]["datetime"] = later["properties"]["datetime"].replace("T19:", "T20:")
    for asset in later["assets"].values():
        asset["href"] = str((item.parent / asset["href"]).resolve())
    other = tmp_path / "later.json"
    other.write_text(json.dumps(later))
    scenes = [str(item), str(other)]
    want = label_pass(granule, scenes, drift="none").segments
    assert len(want.attrs["label_scenes"]) == 2
    lost = []
    answer = label_many._Label._answer
    monkeypatch.setattr(label_many._Label, "_answer", lambda *a: lost.append(answer(*a)) or answer(*a))
    for engine in ("processes", "serial"):
        store_ = tmp_path / f"{engine}.zarr"
        run = label_many.label_many([granule], scenes, store_, drift="none", engine=engine, beams="gt2r")
        assert run.ok, run.report()
        got = store.open_track(store_, granule.stem, beams="gt2r", chunks=None)
        for name in ("label", "label_flags"):
            np.testing.assert_array_equal(got[name].values.squeeze(), want[name].sel(beam="gt2r").values)
        blocks = run_record.read(store_)[0].get("blocks")
        assert (blocks["made"], blocks["failed"]) == (3, 0) if engine == "processes" else blocks is None
        assert not (store_ / ".parts").exists()


def test_a_damaged_plan_of_a_pass_is_made_again(pass_and_image, tmp_path, caplog):
    from is2ice.io.remote.location import location
    from is2ice.workflows import label_many
    from is2ice.workflows.track import Item

    granule, item = pass_and_image
    parts, scenes = location(tmp_path / "parts"), label_many._Same(str(item), str(item))
    label = label_many._Label(
        location(tmp_path / "s.zarr"), scenes, "gt2r", "different", "serial", {"drift": "none"}, parts=parts
    )
    assert label.plan(Item(granule, "", "")) == 1
    (plan,) = (tmp_path / "parts").glob("*-plan.json")
    whole = plan.read_bytes()
    for damaged in (b'{"items', b"{}"):
        caplog.clear()
        plan.write_bytes(damaged)
        assert label.plan(Item(granule, "", "")) == 1
        assert plan.read_bytes() == whole
        assert "is damaged; it is made again" in caplog.text


def test_scenes_are_recorded_by_their_ids(pass_and_image, tmp_path):
    """Two items, or two frames, have two records: labels by one are not taken for labels by the other."""
    from is2ice.workflows.label_many import label_many

    late = tmp_path / "ATL03_20191105195311_05940510_006_01.h5"
    late.write_text("<html>")
    item = json.loads(pass_and_image[1].read_text())
    other = item | {"id": "other"}
    frame = sentinel2.scene_frame([item, other])
    kept = []
    for k, scenes in enumerate((item, other, [item, other], frame, frame.iloc[0])):
        label_many([late], scenes, tmp_path / f"{k}.zarr")
        kept.append(run_record.read(tmp_path / f"{k}.zarr")[0]["options"]["scenes"])
    assert kept[:3] == [item["id"], "other", [item["id"], "other"]]
    assert sorted(kept[3]) == sorted(kept[2])
    assert kept[4] == frame.iloc[0]["scene"]


def test_a_scene_of_a_signed_granule_is_named_without_its_signature():
    from is2ice.workflows.label_many import Scene

    assert str(Scene("https://host/ATL03_x.h5?sig=SECRET", 1)) == "ATL03_x.h5 scene 1"


def test_a_labelling_is_gone_on_with(pass_and_image, tmp_path, monkeypatch):
    """From another folder, by the command: what was labelled is kept, what failed is tried again."""
    from is2ice.workflows import run as pipeline
    from is2ice.workflows import run_report
    from is2ice.workflows.label_many import label_many

    granule, item = pass_and_image
    late = tmp_path / "ATL03_20191105195311_05940510_006_01.h5"
    late.write_text("<html>")
    monkeypatch.chdir(item.parent)
    first = label_many([granule, late], item.name, tmp_path / "s.zarr", drift="none", beams="gt2r")
    assert (len(first.done), len(first.failed)) == (1, 1)
    late.unlink()
    late.hardlink_to(granule)
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["many", "--resume", "--store", "s.zarr", "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert [(r["granule"], r["outcome"]) for r in told["receipts"]] == [
        (granule.stem, "skipped"),
        (late.stem, "done"),
    ]
    manifest, _ = run_record.read("s.zarr")
    assert manifest["options"] == {"scenes": str(item), "labels": {"drift": "none"}}
    assert "is2ice labels many --resume" in run_report.text(manifest | {"status": "interrupted"}, first)
    with pytest.raises(StoreError, match=r"is of kind labels; resume it by is2ice labels many --resume"):
        pipeline.resume("s.zarr")
    with pytest.raises(ValueError, match="nothing to label"):
        label_many([granule], [], tmp_path / "t.zarr")
    assert not (tmp_path / "t.zarr").exists()


def test_the_displacement_is_estimated_or_the_scene_not_used(pass_and_image):
    granule, item = pass_and_image
    done = label_pass(granule, item)
    (found,) = done.drifts.values()
    assert found.accepted, found.reason
    assert done.segments.attrs["label_shift_uncertainty"] == [found.uncertainty]
    assert done.segments.attrs["label_shift_chance"] == [found.chance]
    error = np.array([found.dx, found.dy]) - SHIFT
    assert np.abs(error / np.sqrt(np.diag(found.covariance))).max() < 3.0
    weak = Drift(0.0, 0.0, "EPSG:3976", accepted=False, reason="too weak")
    with pytest.raises(LabellingError, match="too weak"):
        label_pass(granule, item, drift=weak)
    with pytest.raises(DriftError, match="too weak"):
        label_pass(granule, item, drift=weak, refused="raise")
    with pytest.raises(LabellingError, match="within 5 minutes"):
        label_pass(granule, item, within=5)
    for wrong in ({"refused": "perhaps"}, {"drift": "guess"}, {"drift": {item.stem: 3.0}}, {"within": -1}):
        with pytest.raises(ValueError, match="expected"):
            label_pass(granule, item, **wrong)
    with pytest.raises(ValueError, match="no scenes given"):
        label_pass(granule, [])
    with pytest.raises(ValueError, match=f"no scene S2_other here; the scenes are {item.stem}"):
        label_pass(granule, item, drift={"S2_other": weak})
    with pytest.raises(DriftError, match="given in EPSG:32703"):
        label_pass(granule, item, drift=Drift(0.0, 0.0, "EPSG:32703"))
    # Used as unmoved, the table says so beside the estimate.
    weak = Drift(500.0, 0.0, "EPSG:3976", accepted=False, reason="too weak")
    done = label_pass(granule, item, drift={item.stem: weak}, refused="still")
    assert done.segments.attrs["label_shift"] == [0.0, 0.0]
    assert done.table()[["dx", "accepted", "used"]].values.tolist() == [[500.0, False, "as unmoved: 0, 0"]]


def test_commands_make_review_correct_and_draw(pass_and_image, tmp_path):
    granule, item = pass_and_image
    run, target, hand = CliRunner(), str(tmp_path / "labelled.zarr"), str(tmp_path / "hand.csv")
    shift = ["--shift", str(SHIFT[0]), str(SHIFT[1])]
    made = run.invoke(app, ["make", str(granule), str(item), "--store", target, *shift, "--json"])
    assert made.exit_code == 0, made.output
    told = json.loads(made.stdout, parse_constant=pytest.fail)  # strict: no NaN
    assert (told["rows"][0]["score"], told["rows"][0]["used"]) == (None, "yes")
    assert told["tracks"] == {"written": 3, "replaced": 0, "skipped": 0}
    counts = told["counts"]
    assert counts["thick_ice"] > 5_000
    stored = store.open_track(target, chunks=None)
    assert int((stored["label"] == 0).sum()) == counts["thick_ice"]
    listed = run.invoke(app, ["review", target, "--json"])
    assert listed.exit_code == 0
    assert all(r["label"] != r["surface_class"] for r in json.loads(listed.stdout)["rows"])
    # Correct a labelled stretch and make it again: the store shows the label by hand.
    name = f"{granule.stem}/gt2r"
    x0 = float(stored["x_atc"][(stored["label"].sel(beam="gt2r") == 0).values][0])
    signed = ["--who", "me", "--why", "seen"]
    added = run.invoke(app, ["correct", hand, name, str(x0), str(x0 + 20), "open_water", *signed])
    assert added.exit_code == 0, added.output
    assert Corrections.read(hand).entries == (Correction(name, x0, x0 + 20, "open_water", "me", "seen"),)
    assert run.invoke(app, ["correct", hand, name, "5", "1", "ice", *signed]).exit_code == 2
    assert "open_water" in run.invoke(app, ["check", hand]).stdout
    assert (
        " - " in run.invoke(app, ["make", str(granule), str(item), "--store", target, *shift]).stdout
    )  # no score
    again = run.invoke(
        app, ["make", str(granule), str(item), "--store", target, *shift, "--corrections", hand]
    )
    assert again.exit_code == 0, again.output
    assert "corrections: intervals 1, segments 10" in again.output
    assert "tracks: written 0, replaced 1, skipped 2" in again.output
    part = store.open_track(target, chunks=None)["label"].sel(beam="gt2r", x_atc=slice(x0, x0 + 18))
    assert part.values.tolist() == [2] * 10
    picture = tmp_path / "part.png"
    drawn = run.invoke(
        app, ["draw", f"{target}/{name}", str(item), "--out", str(picture), "--corrections", hand]
    )
    assert drawn.exit_code == 0, drawn.output
    assert picture.stat().st_size > 50_000
    ds = store.open_track(f"{target}/{granule.stem}/gt1r", chunks=None)
    assert ds.attrs["label_methods"] == ["guarded"]
    store.write_track(ds.assign_attrs(label_methods=["unet 0123"]), tmp_path / "net.zarr")
    drawn = run.invoke(
        app, ["draw", f"{tmp_path}/net.zarr/{granule.stem}/gt1r", str(item), "--out", str(picture)]
    )
    assert drawn.exit_code == 2
    assert "pass --classifier" in " ".join(drawn.output.replace("│", " ").split())


def test_from_search_to_labelled_cube_on_the_local_cloud(pass_and_image, monkeypatch):
    """A real STAC API and real range requests; nothing but 127.0.0.1 is spoken to."""
    granule, item = pass_and_image
    connect, asked = socket.socket.connect, []

    def watched(self, address):
        if self.family in (socket.AF_INET, socket.AF_INET6):
            asked.append(address[0])
            assert address[0] == "127.0.0.1", address
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", watched)
    with LocalCloud(granule.parent) as cloud:
        url = cloud.href(granule)
        scenes = sentinel2.search_scenes(url, endpoint=cloud.stac_url, collections=["sentinel-2-l2a"])
        assert scenes["scene"].tolist() == [item.stem]
        far = label_pass(url, scenes, drift=Drift(*SHIFT, "EPSG:3976")).segments
        assert cloud.traffic.partial > 10
    assert set(asked) == {"127.0.0.1"}
    near = label_pass(granule, item, drift=Drift(*SHIFT, "EPSG:3976")).segments
    for name in ("label", "label_flags"):
        np.testing.assert_array_equal(far[name], near[name])


def test_a_scene_elsewhere_is_refused(pass_and_image, tmp_path):
    granule, _ = pass_and_image
    scene = twin.Scene.preset("ross_sea_november", seed=8, length_km=4, start_lon=-150.0)
    aside = make_scene(scene, tmp_path, minutes=30, size_km=2, samples=1)
    with pytest.raises(LabellingError, match="no photon over it; the nearest track passes"):
        label_pass(granule, aside)


def test_a_map_of_classes_from_a_file_labels_the_same(pass_and_image, tmp_path):
    """The package's own map, written and read, gives the labels that the bands give; evidence lies beside them."""
    from is2ice.sentinel2.class_map_files import write_classes

    granule, item = pass_and_image
    how = {"drift": Drift(*SHIFT, "EPSG:3976"), "beams": "gt2r"}
    made = label_pass(granule, item, **how)
    path = write_classes(next(iter(made.classes.values())), tmp_path / "map.tif")
    read = label_pass(granule, item, class_file=path, evidence=False, **how)
    np.testing.assert_array_equal(read.segments.label.values, made.segments.label.values)
    assert "image_b02" not in read.segments
    dark, bright = (
        float(made.segments.image_b03.where(made.segments.label == k).mean()) for k in (2, 0)
    )  # water, thick ice
    assert dark < 0.15 < 0.5 < bright
    done = CliRunner().invoke(
        app,
        [
            "make",
            str(granule),
            str(item),
            "--store",
            str(tmp_path / "s.zarr"),
            "--classes",
            str(path),
            "--shift",
            *map(str, SHIFT),
        ],
    )
    assert done.exit_code == 0, done.output
    stored = store.open_track(tmp_path / "s.zarr", beams=["gt2r"])
    np.testing.assert_array_equal(stored.label.values, made.segments.label.values)
    np.testing.assert_array_equal(stored.image_b03.values, made.segments.image_b03.values)


def test_two_files_of_one_name_are_told(pass_and_image, tmp_path):
    """A store holds a pass once: the second file does not take the place of the first."""
    from is2ice.workflows.label_many import label_many

    granule, item = pass_and_image
    other = tmp_path / "other" / granule.name
    other.parent.mkdir()
    other.hardlink_to(granule)
    run = label_many([granule, granule, other], str(item), tmp_path / "s.zarr", drift="none", beams="gt2r")
    assert (len(run.done), len(run.skipped)) == (1, 1)
    (failed,) = run.failed
    assert failed["error"] == (
        f"{granule.stem}: two files of this name, {granule} and {other}; a store holds a track once: write the second "
        "to another store, or rename the file"
    )

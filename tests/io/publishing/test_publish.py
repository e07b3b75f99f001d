"""Stores published to a folder and to S3: whole or not at all, versioned, from several publishers at once."""

from __future__ import annotations

import importlib.util
import json
import math
import subprocess
import sys
import threading
import time
import warnings
from dataclasses import replace
from itertools import count, pairwise
from pathlib import Path

import numpy as np
import pystac
import pytest
import services
import xarray as xr
from pystac.validation.local_validator import LocalValidator
from typer.testing import CliRunner

from is2ice import publish, schema
from is2ice.cli import main as cli
from is2ice.errors import StoreError
from is2ice.io.publishing import publish as publishing
from is2ice.io.remote import location
from is2ice.io.remote.location import FolderLocation
from is2ice.io.stores import maintenance, store
from is2ice.io.stores.declarations import declarations, find_declaration
from is2ice.workflows import opening

FIRST, SECOND = "ATL03_20191104195311_05940510_006_01", "ATL03_20191105192732_06090510_006_01"
STAGES = ("classified", "seasurface", "freeboard")


def track(granule: str = FIRST, beam: str = "gt2r", n: int = 300, seed: int = 0, **attrs) -> xr.Dataset:
    ds = schema.mock_segments(n, stages=STAGES, seed=seed)
    ds["longitude"] = (
        ("x_atc"),
        (np.linspace(178.0, 182.0, n) + 180.0) % 360.0 - 180.0,
        ds["longitude"].attrs,
    )
    return ds.assign_attrs(
        granule=granule, beam=beam, crs="EPSG:3976", beam_strength="strong", rgt=594, **attrs
    )


def made(path: Path, *tracks: xr.Dataset, **parameters) -> Path:
    for one in tracks or (track(),):
        store.write_track(one, path, parameters=parameters or {"confidence": 3})
    return path


def everything(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def server():
    """An S3 server on this machine with one bucket."""
    pytest.importorskip("moto.server")
    with services.s3_server("results-published") as env, pytest.MonkeyPatch.context() as patch:
        for key, value in env.items():
            patch.setenv(key, value)
        yield


_numbers = count()


@pytest.fixture
def s3(server):
    """A place of its own in the bucket."""
    return f"s3://results-published/{next(_numbers)}"


# -- once, again, and more ----------------------------------------------------------------------------
def test_publish_append_replace_and_nothing(tmp_path):
    local, target = made(tmp_path / "s.zarr"), tmp_path / "public"
    done = publish(local, target)
    assert (done.version, done.added, done.replaced) == (1, (f"{FIRST}/gt2r",), ())
    assert str(done).endswith(f"version 1; 1 added, 0 replaced, 0 unchanged; {done.bytes / 1e6:.1f} MB")
    before = everything(target)
    again = publish(local, target)
    assert (again.version, again.unchanged, again.bytes) == (1, (f"{FIRST}/gt2r",), 0)
    assert everything(target) == before

    made(local, track(SECOND))
    assert publish(local, target, dry_run=True).added == (f"{SECOND}/gt2r",)
    assert everything(target) == before
    assert publish(local, target).version == 2
    made(local, track(seed=5), confidence=4)
    third = publish(local, target)
    assert (third.version, third.replaced, third.unchanged) == (3, (f"{FIRST}/gt2r",), (f"{SECOND}/gt2r",))

    listed = store.open_store(target)
    assert listed.granules == (FIRST, SECOND)
    np.testing.assert_array_equal(listed.open_track(FIRST)["height"][0], track(seed=5)["height"])
    old = store.open_store(target, version=1)
    assert old.granules == (FIRST,)
    np.testing.assert_array_equal(old.open_track()["height"][0], track()["height"])
    cube = opening.open_track(FIRST, store=target, version=2)
    np.testing.assert_array_equal(cube["height"][0], track()["height"])
    assert hasattr(cube["height"].data, "dask")
    with pytest.raises(StoreError, match="no version 7; the current one is 3"):
        store.open_store(target, version=7)
    np.testing.assert_array_equal(
        store.open_track(target / FIRST / "gt2r")["height"], track(seed=5)["height"]
    )
    with pytest.raises(StoreError, match="a store without versions"):
        store.open_store(local, version=1)


def test_plain_xarray_and_zarr_open_it(tmp_path):
    target = tmp_path / "public"
    publish(made(tmp_path / "s.zarr", track(), track(beam="gt1r")), target)
    ds = xr.open_zarr(store.open_store(target).path(FIRST, "gt2r"))
    np.testing.assert_array_equal(ds["freeboard"], track()["freeboard"])
    with warnings.catch_warnings():  # the root holds no data and no metadata of others
        warnings.filterwarnings("ignore", message="Failed to open Zarr store with consolidated metadata")
        root = xr.open_zarr(target)
    assert not root.data_vars
    assert "tracks/<granule>/<beam>/<digest>" in root.attrs["comment"]


def stored(where) -> dict[str, bytes]:
    """All objects of a store, wherever it is."""
    place = location.location(where)
    keys = list(place.objects())
    return dict(zip(keys, place.read_all(keys), strict=True))


@pytest.mark.parametrize("kind", ["folder", "bucket"])
def test_published_in_its_place_and_run_into(tmp_path, s3, kind):
    """What is written to a store that has versions is part of the next one; the versions stay as they are."""
    path = made(tmp_path / "s.zarr" if kind == "folder" else s3)
    assert (publish(path).version, publish(path).version) == (1, 1)
    before = stored(path)
    made(path, track(seed=5), track(SECOND), confidence=4)
    assert len(store.open_store(path)) == 1
    assert len(store.open_store(path, version="draft")) == 2
    np.testing.assert_array_equal(store.open_track(path, FIRST)["height"][0], track()["height"])
    draft = store.open_track(path, FIRST, version="draft")
    np.testing.assert_array_equal(draft["height"][0], track(seed=5)["height"])
    kept = {
        k: v for k, v in before.items() if k.startswith(("tracks/", "versions/", "published/", "zarr.json"))
    }
    assert kept.items() <= stored(path).items()
    done = publish(path)
    assert (done.version, done.replaced, done.added) == (2, (f"{FIRST}/gt2r",), (f"{SECOND}/gt2r",))
    for number, seed in ((1, 0), (2, 5)):
        got = store.open_track(path, FIRST, version=number)["height"][0]
        np.testing.assert_array_equal(got, track(seed=seed)["height"])
    assert maintenance.verify(path).tracks == 3
    assert maintenance.prune(path, at_work=0.0).tracks == 0
    pruned = maintenance.prune(path, at_work=0.0, keep=1)
    assert (pruned.tracks, pruned.versions) == (1, 1)
    assert len(store.open_store(path)) == 2
    with pytest.raises(StoreError, match="no version 1; the current one is 2"):
        store.open_store(path, version=1)


def test_a_run_in_the_target_that_is_not_published_stays(tmp_path):
    local, target = made(tmp_path / "s.zarr"), tmp_path / "public"
    publish(local, target)
    made(target, track(seed=8), confidence=8)
    made(local, track(seed=9), confidence=9)
    publish(local, target)
    np.testing.assert_array_equal(store.open_track(target, FIRST)["height"][0], track(seed=9)["height"])
    draft = store.open_track(target, FIRST, version="draft")
    np.testing.assert_array_equal(draft["height"][0], track(seed=8)["height"])


# -- what is refused ----------------------------------------------------------------------------------
def test_unfit_tracks_are_refused_and_nothing_is_written(tmp_path):
    local = made(tmp_path / "s.zarr", track())
    with pytest.raises(StoreError, match=r"gt2r: not fit to be published:\n  attribute release is missing"):
        publish(made(tmp_path / "unfit.zarr", track(release="")), tmp_path / "public")
    assert not (tmp_path / "public").exists()
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / ".DS_Store").touch()
    for target in (tmp_path / "public", tmp_path / "empty"):
        with pytest.raises(StoreError, match=r"gt2r: not fit to be published"):
            publish(made(tmp_path / "unfit.zarr", track(SECOND), track(beam="gt1r")), target)
    assert not (tmp_path / "public").exists()
    assert [p.name for p in (tmp_path / "empty").rglob("*")] == [".DS_Store"]
    broken = next((local / "tracks" / FIRST / "gt2r").glob("*/height/c/0"))
    broken.write_bytes(broken.read_bytes()[:-40])
    with pytest.raises(StoreError, match=r"gt2r.*: damaged: its bytes are not what was written; run again"):
        publish(local, tmp_path / "public")
    assert not (tmp_path / "public").exists()


@pytest.mark.parametrize("error", [KeyError, ValueError, KeyboardInterrupt])
def test_a_track_that_cannot_be_described_leaves_nothing_behind(tmp_path, monkeypatch, error):
    def describe(ds, **options):
        if ds.attrs["granule"] == SECOND:
            raise error("rgt")
        return {}

    monkeypatch.setattr(publishing, "item_of_track", describe)
    with pytest.raises(error):
        publish(made(tmp_path / "s.zarr", track(), track(SECOND)), tmp_path / "public")
    assert not (tmp_path / "public").exists()


def test_a_failing_first_publication_leaves_what_another_relies_on(tmp_path, monkeypatch):
    """The other one publishes the same track: it has seen the objects there when the first one fails."""
    target, put, create = tmp_path / "public", FolderLocation.put_all, FolderLocation.create
    there, seen, faults = threading.Event(), threading.Event(), []

    def failing(self, objects):
        put(self, objects)
        if not there.is_set():
            there.set()
            assert seen.wait(30)
            raise StoreError("disk full")

    def waiting(self, key, data):
        if key.startswith("current/"):
            seen.set()
            first.join(30)
        return create(self, key, data)

    def publish_first():
        with pytest.raises(StoreError, match="disk full") as caught:
            publish(local, target)
        faults.append(caught.value)

    local = made(tmp_path / "s.zarr")
    monkeypatch.setattr(FolderLocation, "put_all", failing)
    monkeypatch.setattr(FolderLocation, "create", waiting)
    first = threading.Thread(target=publish_first)
    first.start()
    assert there.wait(30)
    assert publish(local, target).version == 1
    assert len(faults) == 1
    assert maintenance.verify(target).ok
    np.testing.assert_array_equal(store.open_track(target, FIRST)["height"][0], track()["height"])


@pytest.mark.parametrize("lost", ["gt2r/*/height/c/0", "gt2r/*.json"])
def test_lost_before_the_pointer_moves_is_put_again(tmp_path, monkeypatch, lost):
    local, target, create = made(tmp_path / "s.zarr"), tmp_path / "public", FolderLocation.create

    def losing(self, key, data):
        done = create(self, key, data)
        if key.startswith("versions/"):
            next((target / "tracks" / FIRST).glob(lost)).unlink()
        return done

    monkeypatch.setattr(FolderLocation, "create", losing)
    assert publish(local, target).version == 1
    assert maintenance.verify(target).ok
    assert store.open_store(target).granules == (FIRST,)


def test_tracks_beyond_what_is_kept_in_memory_are_published(tmp_path, monkeypatch):
    monkeypatch.setattr(publishing, "KEPT", 1)
    assert len(publish(made(tmp_path / "s.zarr"), tmp_path / "public").added) == 1
    assert maintenance.verify(tmp_path / "public").ok


def test_each_object_of_a_track_is_read_once(tmp_path, monkeypatch):
    local = made(tmp_path / "s.zarr", track(), track(SECOND))
    seen, read = [], FolderLocation.read
    monkeypatch.setattr(FolderLocation, "read", lambda self, key: (seen.append(key), read(self, key))[1])
    publish(local, tmp_path / "public")
    objects = list(location.location(local).objects("tracks/"))
    assert len(objects) > 80
    assert sorted(key for key in seen if key in objects) == objects


def test_wrong_places_are_refused(tmp_path):
    local = made(tmp_path / "s.zarr")
    with pytest.raises(StoreError, match=r"host/x: .*") as caught:
        publish(local, "https://me:hush@host/x")
    assert "hush" not in str(caught.value)
    with pytest.raises(StoreError, match="not an is2ice store"):
        publish(tmp_path / "none.zarr", tmp_path / "public")
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"cannot write to .*file"):
        publish(local, tmp_path / "file" / "public")
    store.create(tmp_path / "empty.zarr")
    with pytest.raises(StoreError, match="nothing to publish"):
        publish(tmp_path / "empty.zarr", tmp_path / "public")


def test_places_that_hold_something_else_are_refused_and_left_as_they_are(tmp_path, monkeypatch):
    local = made(tmp_path / "s.zarr")
    full = tmp_path / "full"
    (full / "sub").mkdir(parents=True)
    (full / "collection.json").write_text("mine")
    before = everything(tmp_path)
    for dry_run in (True, False):
        with pytest.raises(
            StoreError, match=r"full: not an is2ice store .* \(it holds collection.json, sub\)"
        ):
            publish(local, full, dry_run=dry_run)
    monkeypatch.chdir(tmp_path)
    for where in ("", "  ", "/", "//", "/.", "file://", "file:///", "s3://", "s3:///x"):
        with pytest.raises(
            StoreError, match=r"local folder of their own|root of the file|bucket is not named"
        ):
            publish(local, where)
    (tmp_path / "link").symlink_to(local)
    for where in (local / "pub", tmp_path / "link" / "pub", local / FIRST / "x" / ".." / "y"):
        with pytest.raises(StoreError, match="lies inside the store"):
            publish(local, where)
    with pytest.raises(StoreError, match="lies inside of it"):
        publish(local, tmp_path)
    (tmp_path / "link").unlink()
    assert everything(tmp_path) == before
    odd = made(tmp_path / "odd")
    (odd / "versions").mkdir(parents=True)
    (odd / "versions" / "000001.json.gz").write_text("[]")
    with pytest.raises(StoreError, match=r"000001\.json\.gz is damaged"):
        publish(local, odd)
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / ".unfinished-0").write_text("")  # of a writer that was killed
    assert publish(local, tmp_path / "new").version == 1


def test_a_prefix_that_holds_something_else_is_refused(tmp_path, s3):
    local = made(tmp_path / "s.zarr")
    location.location(s3).put("mine/notes.txt", b"mine")
    with pytest.raises(StoreError, match=r"not an is2ice store .* \(it holds mine\)"):
        publish(local, s3)
    assert list(location.location(s3).objects()) == ["mine/notes.txt"]
    assert publish(local, f"{s3}/store/").version == 1
    assert publish(local, f"{s3}/store").unchanged


def test_from_one_place_to_another_and_on(tmp_path, s3):
    """A published store is a store: it can be published to a bucket, and from there to another one."""
    publish(made(tmp_path / "s.zarr"), tmp_path / "public")
    assert publish(tmp_path / "public", f"{s3}/one").version == 1
    assert publish(f"{s3}/one", f"{s3}/two").added == (f"{FIRST}/gt2r",)
    np.testing.assert_array_equal(store.open_track(f"{s3}/two")["height"][0], track()["height"])
    assert store.write_track(track(), f"{s3}/two", parameters={"confidence": 3})["outcome"] == "skipped"


def interrupt(folder: Path) -> None:
    assert list(folder.rglob("c/0"))
    raise KeyboardInterrupt


# -- interruption -------------------------------------------------------------------------------------
@pytest.mark.parametrize("moment", ["upload", "manifest", "index", "pointer"])
def test_interrupted_anywhere_the_old_version_stays_and_a_rerun_completes(tmp_path, monkeypatch, moment):
    local, target = made(tmp_path / "s.zarr"), tmp_path / "public"
    publish(local, target)
    made(local, track(SECOND), track(seed=4))
    made(local, track(seed=4), confidence=4)

    real = {name: getattr(FolderLocation, name) for name in ("put", "create", "swap")}

    def killed(name):
        def call(self, key, *args):
            stop = {
                "upload": False,
                "manifest": name == "create" and key.startswith("versions/"),
                "index": name == "put" and key.endswith(".parquet"),
                "pointer": name == "swap" and key == "zarr.json",
            }[moment]
            if stop:
                raise KeyboardInterrupt
            return real[name](self, key, *args)

        return call

    with monkeypatch.context() as patch:
        for name in real:
            patch.setattr(FolderLocation, name, killed(name))
        if moment == "upload":  # the objects are written, beside their place
            patch.setattr(location, "flush_tree", interrupt)
        with pytest.raises(KeyboardInterrupt):
            publish(local, target)
    listed = store.open_store(target)
    assert listed.granules == (FIRST,)
    np.testing.assert_array_equal(listed.open_track()["height"][0], track()["height"])
    done = publish(local, target)
    assert done.version == 2
    assert store.open_store(target).granules == (FIRST, SECOND)
    np.testing.assert_array_equal(
        store.open_store(target).open_track(FIRST)["height"][0], track(seed=4)["height"]
    )
    unchanged = everything(target)
    publish(local, target)
    assert everything(target) == unchanged


def test_a_first_publication_that_was_interrupted_goes_on(tmp_path, monkeypatch):
    local, target = made(tmp_path / "s.zarr"), tmp_path / "public"
    with monkeypatch.context() as patch:
        patch.setattr(location, "flush_tree", interrupt)
        with pytest.raises(KeyboardInterrupt):
            publish(local, target)
    assert publish(local, target).version == 1
    assert store.open_store(target).granules == (FIRST,)


# -- several publishers -------------------------------------------------------------------------------
def _at_once(jobs, publish=publish) -> None:
    faults: list[BaseException] = []
    start = threading.Barrier(len(jobs))

    def run(job) -> None:
        start.wait()
        try:
            publish(*job)
        except BaseException as error:
            faults.append(error)

    threads = [threading.Thread(target=run, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []


def test_several_publishers_lose_nothing(tmp_path):
    beams = ("gt1l", "gt1r", "gt2l", "gt2r")
    stores = [made(tmp_path / f"{b}.zarr", track(beam=b, n=60), track(SECOND, b, 60)) for b in beams]
    stores.append(made(tmp_path / "same.zarr", track(beam="gt1l", n=60)))
    target = tmp_path / "public"
    _at_once([(s, target) for s in stores])
    listed = store.open_store(target)
    assert set(listed.tracks) == {(g, b) for g in (FIRST, SECOND) for b in beams}
    for b in beams:
        np.testing.assert_array_equal(
            listed.open_track(SECOND, [b])["height"][0], track(SECOND, b, 60)["height"]
        )
    # Every version is a subset of the next.
    root = location.location(target)
    versions = [store.read_version(root, n)["tracks"].keys() for n in store.version_numbers(root)]
    assert all(a <= b for a, b in pairwise(versions))
    document = json.loads((target / "zarr.json").read_text())
    assert document["attributes"]["version"] == len(versions)


def test_a_slow_publisher_does_not_turn_the_pointer_back(tmp_path, monkeypatch):
    target, met = tmp_path / "public", []
    publish(made(tmp_path / "a.zarr"), target)
    swap = FolderLocation.swap

    def overtaken(self, key, data, before):
        if key == "zarr.json" and not met:
            met.append(key)
            publish(made(tmp_path / "c.zarr", track(beam="gt1r")), target)
        return swap(self, key, data, before)

    with monkeypatch.context() as patch:
        patch.setattr(FolderLocation, "swap", overtaken)
        assert publish(made(tmp_path / "b.zarr", track(SECOND)), target).version == 2
    assert json.loads((target / "zarr.json").read_text())["attributes"]["version"] == 3
    assert len(store.open_store(target)) == 3


def collection_version(target: Path) -> str:
    return json.loads((target / "collection.json").read_text())["version"]


def test_the_collection_at_the_root_follows_the_pointer(tmp_path, monkeypatch):
    target = tmp_path / "public"
    publish(made(tmp_path / "a.zarr"), target, declaration=find_declaration("demo"))
    put, late = FolderLocation.put, []

    def slow(self, key, data):
        if key == "collection.json" and not late:
            late.append(
                key
            )  # another publishes whole, after the pointer was moved and before this is written
            publish(made(tmp_path / "c.zarr", track(beam="gt1r")), target)
        return put(self, key, data)

    with monkeypatch.context() as patch:
        patch.setattr(FolderLocation, "put", slow)
        done = publish(made(tmp_path / "b.zarr", track(SECOND)), target)
    assert late
    assert done.version == 2
    pointer = json.loads((target / "zarr.json").read_text())["attributes"]
    assert (pointer["version"], collection_version(target)) == (3, "3")
    for number, held in ((1, 1), (2, 2), (3, 3)):  # each version has its own
        one = pystac.Collection.from_file(str(target / f"versions/{number:06d}/collection.json"))
        assert (one.extra_fields["version"], len(list(one.get_items()))) == (str(number), held)
        assert Path(one.assets["items"].get_absolute_href()).is_file()

    root = json.loads((target / "collection.json").read_text())
    for behind in (json.dumps(root | {"version": "2", "links": []}), "not JSON"):
        (target / "collection.json").write_text(behind)
        assert publish(tmp_path / "a.zarr", target).version == 3
        assert json.loads((target / "collection.json").read_text()) == root


def test_what_a_publisher_that_was_second_reports_is_what_it_did(tmp_path, monkeypatch):
    target = tmp_path / "public"
    mine = made(tmp_path / "mine.zarr", track())
    publish(mine, target)
    made(mine, track(SECOND))
    other = made(tmp_path / "other.zarr", track(seed=7), confidence=4)
    create, met = FolderLocation.create, []

    def overtaken(self, key, data):
        if key == "versions/000002.json.gz" and not met:
            met.append(key)
            assert publish(other, target).replaced == (f"{FIRST}/gt2r",)
        return create(self, key, data)

    with monkeypatch.context() as patch:
        patch.setattr(FolderLocation, "create", overtaken)
        done = publish(mine, target)
    assert met
    assert (done.version, done.added, done.replaced) == (3, (f"{SECOND}/gt2r",), (f"{FIRST}/gt2r",))
    got = store.open_store(target).open_track(FIRST)["height"][0]
    np.testing.assert_array_equal(got, track()["height"])
    assert publish(mine, target).version == 3


# -- S3 -----------------------------------------------------------------------------------------------
READER = """
import sys, is2ice
listed = is2ice.open_store(sys.argv[1])
ds = is2ice.open_track(listed.granules[0], store=sys.argv[1])
print(len(listed), float(ds["freeboard"].sum()), listed.location)
"""


def test_on_s3_read_by_another_process_with_its_address_alone(tmp_path, s3, caplog):
    local = made(tmp_path / "s.zarr")
    with caplog.at_level("DEBUG", logger="is2ice"):
        done = publish(local, s3, declaration=find_declaration("demo"))
        assert publish(local, s3).bytes == 0
    assert done.url == s3
    said = subprocess.run([sys.executable, "-c", READER, s3], capture_output=True, text=True)
    assert said.returncode == 0, said.stderr
    count, total, where = said.stdout.split()
    assert (count, where) == ("1", s3)
    assert float(total) == pytest.approx(float(track()["freeboard"].sum()), rel=1e-5)
    place = location.location(s3)
    texts = [raw or b"" for raw in place.read_all(place.objects())]
    texts += [caplog.text.encode(), said.stdout.encode(), repr(done).encode()]
    assert len(texts) > 50
    assert not any(b"planted" in text for text in texts)


def test_publishers_at_once_on_s3(tmp_path, s3):
    stores = [made(tmp_path / f"{b}.zarr", track(beam=b, n=40)) for b in ("gt1r", "gt2r", "gt3r")]
    _at_once([(s, s3) for s in stores])
    assert len(store.open_store(s3)) == 3
    assert location.location(s3).swap("zarr.json", b"x", '"another"') is False
    assert location.location(s3).create("zarr.json", b"x") is False


def test_publishers_at_once_into_icechunk(tmp_path, s3):
    icechunk = pytest.importorskip("icechunk")
    from is2ice.io.publishing import icechunk_repository

    beams = ("gt1r", "gt2r", "gt3r")
    stores = [made(tmp_path / f"{b}.zarr", track(beam=b, n=40)) for b in beams]
    stores.append(made(tmp_path / "same.zarr", track(beam="gt1r", n=40)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        icechunk_repository.repository(s3)
        _at_once([(s, s3) for s in stores], icechunk_repository.publish)
        root = icechunk_repository.open_root(s3)
        for b in beams:
            got = store.open_track(root, FIRST, [b])
            np.testing.assert_array_equal(got["height"][0], track(beam=b, n=40)["height"])
        history = list(icechunk.Repository.ancestry(icechunk_repository.repository(s3), branch="main"))
        assert len(history) == 4  # the empty one, and one a beam
        assert icechunk_repository.publish(stores[0], s3).unchanged == (f"{FIRST}/gt1r",)
    assert not any("planted" in str(snapshot) for snapshot in history)


def test_a_bucket_that_is_not_there(tmp_path, s3):
    local = made(tmp_path / "s.zarr")
    for dry_run in (True, False):
        with pytest.raises(
            StoreError, match=r"^s3://none/x: there is no such bucket; expected one that exists"
        ) as caught:
            publish(local, "s3://none/x", dry_run=dry_run)
        assert "planted" not in str(caught.value)
        assert "<" not in str(caught.value)


@pytest.mark.parametrize(("left", "renewed"), [(60.0, True), (86_400.0, False), (math.inf, False)])
def test_credentials_are_renewed_before_they_end(s3, monkeypatch, left, renewed):
    real, asked = location.s3_settings, []

    def lasting(bucket, profile=None):
        asked.append(bucket)
        return real(bucket)[0], time.time() + left

    monkeypatch.setattr(location, "s3_settings", lasting)
    place = location.location(s3)
    place.put("a", b"1")
    before = len(asked)
    time.sleep(0.3)  # obstore asks no more often than every 0.1 s
    place.put("b", b"2")
    assert (len(asked) > before) == renewed
    assert place.read("b")[0] == b"2"


# -- STAC, CF, ACDD -----------------------------------------------------------------------------------
def test_stac_of_a_published_store(tmp_path):
    import geopandas

    target = tmp_path / "public"
    publish(
        made(tmp_path / "s.zarr", track(), track(SECOND)),
        target,
        declaration=find_declaration("ross_sea_2019_11"),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        validator = LocalValidator()
    collection = pystac.Collection.from_file(str(target / "collection.json"))
    assert list(validator.collection_validator().iter_errors(collection.to_dict(transform_hrefs=False))) == []
    assert collection.id == "ross_sea_2019_11"
    assert collection.license == "CC-BY-4.0"
    items = list(collection.get_items())
    assert {i.id for i in items} == {f"{FIRST}_gt2r", f"{SECOND}_gt2r"}
    west, _, east, _ = collection.extent.spatial.bboxes[0]
    assert west > 177
    assert east < -177
    for item in items:
        document = item.to_dict(transform_hrefs=False)
        assert list(validator.item_validator().iter_errors(document)) == []
        assert item.geometry["type"] == "MultiLineString"  # cut at the antimeridian
        assert item.collection_id == collection.id
        p = item.properties
        assert p["proj:code"] == "EPSG:3976"
        assert p["cube:dimensions"]["x_atc"]["step"] == 2.0
        assert p["cube:variables"]["freeboard"]["unit"] == "m"
        assert p["processing:software"]["is2ice"]
        asset = item.assets["zarr"]
        assert asset.extra_fields["zarr:consolidated"] is True
        assert asset.extra_fields["zarr:zarr_format"] == 3
        assert asset.href == str(target / asset.href.removeprefix(f"{target}/"))  # absolute
        ds = xr.open_zarr(asset.href)
        assert ds.attrs["granule"] == p["is2ice:granule"]
    frame = geopandas.read_parquet(target / "versions" / "000001" / "items.parquet")
    assert sorted(frame["id"]) == sorted(i.id for i in items)
    assert frame.geometry.is_valid.all()


def test_declarations_stay_and_can_be_corrected(tmp_path):
    local, target = made(tmp_path / "s.zarr"), tmp_path / "public"
    ross = find_declaration("ross_sea_2019_11")
    publish(local, target, declaration=ross)
    made(local, track(SECOND))
    assert publish(local, target).version == 2  # appended without a word on licence and citation

    def told(number: int, name: str, licence: str, citation: str) -> None:
        attributes = json.loads((target / "zarr.json").read_text())["attributes"]
        assert (attributes["version"], attributes["license"]) == (number, licence)
        for path in ("collection.json", f"versions/{number:06d}/collection.json"):
            document = json.loads((target / path).read_text())
            assert (document["id"], document["license"]) == (name, licence)
            assert document["sci:citation"] == citation
            assert document["providers"][0]["name"] == "The is2ice developers"
            items = list(pystac.Collection.from_file(str(target / path)).get_items())
            assert len(items) == 2
            assert {(i.collection_id, i.properties["license"]) for i in items} == {(name, licence)}

    told(2, "ross_sea_2019_11", "CC-BY-4.0", ross.citation)
    assert publish(local, target, declaration=ross).version == 2
    corrected = replace(ross, name="ross_sea", licence="CC0-1.0", citation="Corrected.")
    would = publish(local, target, declaration=corrected, dry_run=True)
    assert (would.version, would.declared) == (3, True)
    told(2, "ross_sea_2019_11", "CC-BY-4.0", ross.citation)
    done = publish(local, target, declaration=corrected)
    assert (done.version, done.declared, done.bytes, len(done.unchanged)) == (3, True, 0, 2)
    assert "0 replaced, 2 unchanged; declaration changed;" in str(done)
    told(3, "ross_sea", "CC0-1.0", "Corrected.")
    assert publish(local, target).version == 3


def test_xpystac_opens_an_item(tmp_path):
    target = tmp_path / "public"
    publish(made(tmp_path / "s.zarr"), target)
    collection = pystac.Collection.from_file(str(target / "collection.json"))
    item = next(collection.get_items())
    ds = xr.open_dataset(item.assets["zarr"], engine="stac")
    np.testing.assert_array_equal(ds["freeboard"], track()["freeboard"])


# -- declarations and commands ------------------------------------------------------------------------
def test_declared_stores_name_what_is_there():
    root = Path(__file__).resolve().parents[3]
    found = declarations()
    assert {"demo", "ross_sea_2019_11"} <= found.keys()
    for one in found.values():
        assert (root / one.recipe).is_file(), one.recipe
        assert one.schema_version == schema.SCHEMA_VERSION
        assert one.licence
        assert one.citation


def test_faulty_declarations(tmp_path):
    (tmp_path / "a.toml").write_text('title = "x"\ncolour = "blue"\n')
    with pytest.raises(StoreError, match=r"a\.toml: the declaration lacks citation.* and has unknown colour"):
        declarations(tmp_path)
    (tmp_path / "a.toml").write_text("title = ")
    with pytest.raises(StoreError, match="not a TOML file"):
        declarations(tmp_path)
    with pytest.raises(StoreError, match=r"no store is declared as 'x'; known are .*demo"):
        find_declaration("x")
    with pytest.raises(StoreError, match="no such folder"):
        declarations(tmp_path / "none")


def test_commands(tmp_path):
    run = CliRunner().invoke
    local, target = made(tmp_path / "s.zarr"), tmp_path / "public"
    done = run(cli.app, ["publish", str(local), str(target), "--dry-run"])
    assert done.exit_code == 0, done.output
    assert done.output.startswith(f"would publish to {target}: version 1; 1 added")
    assert not target.exists()
    done = run(cli.app, ["publish", str(local), str(target), "--declaration", "demo", "--json"])
    said = json.loads(done.output)
    assert said["added"] == [f"{FIRST}/gt2r"]
    if importlib.util.find_spec("bokeh"):
        assert said["page"] == f"{target}/explore.html"
        assert FIRST in (target / "explore.html").read_text()
    again = run(cli.app, ["publish", str(local), str(tmp_path / "bare"), "--no-page"])
    assert again.exit_code == 0, again.output
    assert not (tmp_path / "bare" / "explore.html").exists()
    shown = run(cli.app, ["show", str(target)])
    assert "gt2r" in shown.output
    listed = run(cli.app, ["declarations"])
    assert "ross_sea_2019_11" in listed.output
    assert "(not published yet)" in listed.output
    one = json.loads(run(cli.app, ["declarations", "demo", "--json"]).output)
    assert one[0]["licence"] == "MIT"
    assert publishing.publish(local, target).bytes == 0


def test_the_page_is_of_the_current_version(tmp_path):
    pytest.importorskip("bokeh")
    from is2ice.reports.explorer import page_version

    local, target = made(tmp_path / "s.zarr"), tmp_path / "public"
    page = target / "explore.html"
    args = ["publish", str(local), str(target)]
    assert CliRunner().invoke(cli.app, args).exit_code == 0
    assert page_version(page) == 1
    made(local, track(beam="gt1r"))
    assert CliRunner().invoke(cli.app, [*args, "--no-page"]).exit_code == 0
    assert page_version(page) == 1  # it says itself that it is out of date
    assert CliRunner().invoke(cli.app, args).exit_code == 0  # nothing new but the page
    assert page_version(page) == 2
    assert f"{FIRST} gt1r" in page.read_text()
    before = page.stat().st_mtime_ns
    assert CliRunner().invoke(cli.app, args).exit_code == 0
    assert page.stat().st_mtime_ns == before


def test_a_page_that_cannot_be_read_does_not_fail_a_publication(tmp_path):
    local, target = made(tmp_path / "s.zarr"), tmp_path / "public"
    args = ["publish", str(local), str(target)]
    assert CliRunner().invoke(cli.app, [*args, "--no-page"]).exit_code == 0
    (target / "explore.html").symlink_to("explore.html")  # a loop, which the system refuses to open
    done = CliRunner().invoke(cli.app, args)
    assert (done.exit_code, done.exception) == (0, None)
    assert "no page: " in done.stderr
    assert "explore.html: cannot be read" in done.stderr

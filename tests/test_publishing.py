"""Stores published to a folder and to S3: whole or not at all, versioned, from several publishers at once."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import warnings
from itertools import count, pairwise
from pathlib import Path

import numpy as np
import pystac
import pytest
import services
import xarray as xr
from pystac.validation.local_validator import LocalValidator
from typer.testing import CliRunner

from is2ice import __main__ as cli
from is2ice import _versions, opening, publish, publishing, schema, store
from is2ice._target import Target
from is2ice.declarations import declaration, declarations
from is2ice.errors import StoreError

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
    with pytest.raises(StoreError, match=r"every revision .* open_track\('ATL03.*', store="):
        store.open_track(target / FIRST / "gt2r")
    with pytest.raises(StoreError, match="a store without versions"):
        store.open_store(local, version=1)


def test_plain_xarray_and_zarr_open_it(tmp_path):
    target = tmp_path / "public"
    publish(made(tmp_path / "s.zarr", track(), track(beam="gt1r")), target)
    entry = json.loads((target / "versions" / "000001.json").read_text())["tracks"][f"{FIRST}/gt2r"]
    ds = xr.open_zarr(target / entry["path"])
    np.testing.assert_array_equal(ds["freeboard"], track()["freeboard"])
    tree = xr.open_datatree(target, engine="zarr")
    np.testing.assert_array_equal(tree[entry["path"]]["height"], track()["height"])


# -- what is refused ----------------------------------------------------------------------------------
def test_unfit_tracks_are_refused_and_nothing_is_written(tmp_path):
    local = made(tmp_path / "s.zarr")
    meta = local / FIRST / "gt2r" / "zarr.json"
    document = json.loads(meta.read_text())
    del document["attributes"]["summary"]
    meta.write_text(json.dumps(document))
    with pytest.raises(StoreError, match=r"gt2r: not fit to be published:\n  attribute summary is missing"):
        publish(local, tmp_path / "public")
    assert not (tmp_path / "public" / "zarr.json").exists()
    made(local, track(seed=9), confidence=2)
    broken = next((local / FIRST / "gt2r" / "height" / "c").iterdir())
    broken.write_bytes(broken.read_bytes()[:-40])
    with pytest.raises(StoreError, match="gt2r: cannot be read whole"):
        publish(local, tmp_path / "public")


def test_wrong_places_are_refused(tmp_path):
    local = made(tmp_path / "s.zarr")
    with pytest.raises(StoreError, match="onto itself"):
        publish(local, local)
    other = made(tmp_path / "other.zarr")
    with pytest.raises(StoreError, match="a store, but not a published one"):
        publish(local, other)
    with pytest.raises(StoreError, match="published to s3://bucket/prefix or to a local folder"):
        publish(local, "https://me:hush@host/x")
    with pytest.raises(StoreError, match="not an is2ice store"):
        publish(tmp_path / "none.zarr", tmp_path / "public")
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot publish to"):
        publish(local, tmp_path / "file" / "public")
    store.create(tmp_path / "empty.zarr")
    with pytest.raises(StoreError, match="nothing to publish"):
        publish(tmp_path / "empty.zarr", tmp_path / "public")


# -- interruption -------------------------------------------------------------------------------------
@pytest.mark.parametrize("moment", ["upload", "manifest", "index", "pointer"])
def test_interrupted_anywhere_the_old_version_stays_and_a_rerun_completes(tmp_path, monkeypatch, moment):
    local, target = made(tmp_path / "s.zarr"), tmp_path / "public"
    publish(local, target)
    made(local, track(SECOND), track(seed=4))
    made(local, track(seed=4), confidence=4)

    real = {"put": Target.put, "create": Target.create, "swap": Target.swap}
    seen = []

    def killed(name):
        def call(self, key, *args):
            seen.append(key)
            stop = {
                "upload": name == "put" and "/c/" in key and len(seen) > 3,
                "manifest": name == "create" and key.startswith("versions/"),
                "index": name == "put" and key.endswith(".parquet"),
                "pointer": name == "swap",
            }[moment]
            if stop:
                raise KeyboardInterrupt
            return real[name](self, key, *args)

        return call

    with monkeypatch.context() as patch:
        for name in real:
            patch.setattr(Target, name, killed(name))
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
    versions = [
        json.loads(p.read_text())["tracks"].keys() for p in sorted((target / "versions").glob("*.json"))
    ]
    assert all(a <= b for a, b in pairwise(versions))
    document = json.loads((target / "zarr.json").read_text())
    assert document["attributes"]["version"] == len(versions)


def test_a_slow_publisher_does_not_turn_the_pointer_back(tmp_path):
    target = tmp_path / "public"
    publish(made(tmp_path / "a.zarr"), target)
    slow = _versions.read_version(Target(target), 1)
    publish(made(tmp_path / "b.zarr", track(SECOND)), target)
    _versions.point(Target(target), slow, {})
    assert len(store.open_store(target)) == 2


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
        done = publish(local, s3, declared=declaration("demo"))
        assert publish(local, s3).bytes == 0
    assert done.url == s3
    said = subprocess.run([sys.executable, "-c", READER, s3], capture_output=True, text=True)
    assert said.returncode == 0, said.stderr
    count, total, where = said.stdout.split()
    assert (count, where) == ("1", s3)
    assert float(total) == pytest.approx(float(track()["freeboard"].sum()), rel=1e-5)
    import obstore

    from is2ice._target import Target as T

    place = T(s3)
    texts = [obstore.get(place._store, key).bytes().to_bytes() for key in place.sizes("")]
    texts += [caplog.text.encode(), said.stdout.encode(), repr(done).encode()]
    assert len(texts) > 50
    assert not any(b"planted" in text for text in texts)


def test_publishers_at_once_on_s3(tmp_path, s3):
    stores = [made(tmp_path / f"{b}.zarr", track(beam=b, n=40)) for b in ("gt1r", "gt2r", "gt3r")]
    _at_once([(s, s3) for s in stores])
    assert len(store.open_store(s3)) == 3
    assert Target(s3).swap("zarr.json", b"x", '"another"') is False
    assert Target(s3).create("zarr.json", b"x") is False


def test_publishers_at_once_into_icechunk(tmp_path, s3):
    icechunk = pytest.importorskip("icechunk")
    from is2ice import _icechunk

    beams = ("gt1r", "gt2r", "gt3r")
    stores = [made(tmp_path / f"{b}.zarr", track(beam=b, n=40)) for b in beams]
    stores.append(made(tmp_path / "same.zarr", track(beam="gt1r", n=40)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _icechunk.repository(s3)
        _at_once([(s, s3) for s in stores], _icechunk.publish)
        root = _icechunk.open_root(s3)
        for b in beams:
            got = store.open_track(root, FIRST, [b])
            np.testing.assert_array_equal(got["height"][0], track(beam=b, n=40)["height"])
        history = list(icechunk.Repository.ancestry(_icechunk.repository(s3), branch="main"))
        assert len(history) == 4  # the empty one, and one a beam
        assert _icechunk.publish(stores[0], s3).unchanged == (f"{FIRST}/gt1r",)
    assert not any("planted" in str(snapshot) for snapshot in history)


def test_a_bucket_that_refuses(tmp_path, s3):
    with pytest.raises(StoreError, match="s3://none/x: there is no such bucket") as caught:
        publish(made(tmp_path / "s.zarr"), "s3://none/x")
    assert "planted" not in str(caught.value)


# -- STAC, CF, ACDD -----------------------------------------------------------------------------------
def test_stac_of_a_published_store(tmp_path):
    import geopandas

    target = tmp_path / "public"
    publish(
        made(tmp_path / "s.zarr", track(), track(SECOND)), target, declared=declaration("ross_sea_2019_11")
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
        ds = xr.open_zarr(asset.get_absolute_href())
        assert ds.attrs["granule"] == p["is2ice:granule"]
    frame = geopandas.read_parquet(target / "versions" / "000001" / "items.parquet")
    assert sorted(frame["id"]) == sorted(i.id for i in items)
    assert frame.geometry.is_valid.all()


def test_xpystac_opens_an_item(tmp_path):
    target = tmp_path / "public"
    publish(made(tmp_path / "s.zarr"), target)
    collection = pystac.Collection.from_file(str(target / "collection.json"))
    item = next(collection.get_items())
    asset = item.assets["zarr"]
    asset.href = asset.get_absolute_href()
    ds = xr.open_dataset(asset, engine="stac")
    np.testing.assert_array_equal(ds["freeboard"], track()["freeboard"])


# -- declarations and commands ------------------------------------------------------------------------
def test_declared_stores_name_what_is_there():
    root = Path(__file__).resolve().parents[1]
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
    with pytest.raises(StoreError, match="not a declaration"):
        declarations(tmp_path)
    with pytest.raises(StoreError, match="no store is declared as 'x'; known are demo"):
        declaration("x")
    with pytest.raises(StoreError, match="no such folder"):
        declarations(tmp_path / "none")


def test_commands(tmp_path):
    run = CliRunner().invoke
    local, target = made(tmp_path / "s.zarr"), tmp_path / "public"
    done = run(cli.app, ["publish", str(local), str(target), "--dry-run"])
    assert done.exit_code == 0, done.output
    assert "would publish to" in done.output
    assert not (target / "zarr.json").exists()
    done = run(cli.app, ["publish", str(local), str(target), "--declaration", "demo", "--json"])
    assert json.loads(done.output)["added"] == [f"{FIRST}/gt2r"]
    shown = run(cli.app, ["show", str(target)])
    assert "gt2r" in shown.output
    listed = run(cli.app, ["stores"])
    assert "ross_sea_2019_11" in listed.output
    assert "(not published yet)" in listed.output
    one = json.loads(run(cli.app, ["stores", "demo", "--json"]).output)
    assert one[0]["licence"] == "MIT"
    assert publishing.publish(local, target).bytes == 0

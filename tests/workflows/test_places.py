"""Folder, S3, Google Cloud Storage and Azure: the same commands, the same bits, and no secret written down."""

from __future__ import annotations

import json
import time
import traceback
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import services
import xarray as xr
from typer.testing import CliRunner

import is2ice
from is2ice import schema
from is2ice.cli import main as cli
from is2ice.errors import StoreError
from is2ice.io.remote.location import BucketLocation, location
from is2ice.io.remote.whole_files import exists, fetched, written, written_folder
from is2ice.io.stores import store

SAMPLE = Path(__file__).resolve().parents[2] / "sample_data" / "ATL03_20191116193412_07410510_006_01.h5"
BEAM = "gt1r"


def values(ds: xr.Dataset) -> dict[str, bytes]:
    return {str(n): ds[n].values.tobytes() for n in ds.variables if ds[n].dtype.kind not in "OUT"}


def everything(where: Any, options: dict[str, str]) -> dict[str, bytes]:
    """All objects below an address."""
    place = location(where, options)
    keys = list(place.objects())
    return {key: raw or b"" for key, raw in zip(keys, place.read_all(keys), strict=True)}


@pytest.fixture(scope="module")
def expected() -> dict[str, bytes]:
    """The track, computed in memory."""
    return values(is2ice.one_track(SAMPLE, BEAM).reset_coords())


def stored(where: str, options: dict[str, str], **how: Any) -> dict[str, bytes]:
    listed = is2ice.open_store(where, storage_options=options, **how)
    return values(listed.open_track(SAMPLE.stem, BEAM, chunks=None).isel(beam=0, drop=True).reset_coords())


@pytest.mark.parametrize("kind", ["folder", "s3", "gs", "az"])
def test_the_same_bits_everywhere(kind: str, clouds: Any, expected: dict, monkeypatch: Any) -> None:
    place = clouds[kind]
    where, options = place / "work.zarr", place.options
    how: dict[str, Any] = {"storage_options": options, "progress": False}
    done = is2ice.run(SAMPLE, where, beams=BEAM, engine="processes" if kind == "gs" else "serial", **how)
    assert done.ok, done.report()
    got = stored(where, options)
    assert {"height", "freeboard", "surface_class", "time"} <= got.keys() & expected.keys()
    assert {n: raw for n, raw in got.items() if n in expected} == expected

    assert [r["outcome"] for r in is2ice.resume(where, **how).receipts] == ["skipped"]
    location(where, options).delete([f"current/{SAMPLE.stem}/{BEAM}.json"])  # as if the run had died before
    again = is2ice.resume(where, engine="serial", **how)
    assert [r["outcome"] for r in again.receipts] == ["done"]
    assert stored(where, options) == got

    tree = is2ice.reclassify(where, place / "tree.zarr", "radiometric", **how)
    assert tree.ok, tree.report()
    assert stored(place / "tree.zarr", options)["height"] == got["height"]

    assert is2ice.publish(where, place / "public", storage_options=options).version == 1
    assert stored(place / "public", options, version=1) == got

    text = b"".join(everything(where, options).values()) + json.dumps(again.to_dict()).encode()
    for name, secret in options.items():
        assert secret.encode() not in text or name in ("region", "account_name"), name

    for name, value in place.environment.items():
        monkeypatch.setenv(name, value)
    lazy = store.open_track(where, SAMPLE.stem)["height"]
    assert lazy.data.dask
    assert np.isfinite(lazy.values).any()
    for command in (["show", where], ["report", where], ["verify", place / "public"]):
        shown = CliRunner().invoke(cli.app, [str(word) for word in command])
        assert shown.exit_code == 0, shown.output
    assert SAMPLE.stem in CliRunner().invoke(cli.app, ["show", where, "--json"]).stdout


@pytest.mark.parametrize("kind", ["folder", "s3", "gs", "az"])
def test_conditional_writes(kind: str, clouds: Any) -> None:
    root = location(clouds[kind] / "conditions", clouds[kind].options)
    assert root.create("a/b.json", b"first")
    assert not root.create("a/b.json", b"second")
    raw, tag = root.read("a/b.json") or (b"", "")
    assert raw == b"first"
    assert root.objects("a/")["a/b.json"].tag == tag
    assert root.swap("a/b.json", b"third", tag)
    assert not root.swap("a/b.json", b"fourth", tag)
    assert not root.swap("a/none.json", b"x", tag)
    assert root.read_all(["a/b.json", "a/none.json"]) == [b"third", None]
    root.put_all({f"many/{k}": b"x" for k in range(20)})
    assert root.entries() == ["a", "many"]
    root.delete(root.objects("many/"))
    assert list(root.objects()) == ["a/b.json"]


@pytest.mark.parametrize("kind", ["s3", "gs", "az", "s3 to another bucket"])
def test_the_provider_copies(kind: str, clouds: Any, monkeypatch: Any) -> None:
    """No object of a track passes through this machine on its way from store to store."""
    place = clouds[kind.partition(" ")[0]]
    for name, value in place.environment.items():
        monkeypatch.setenv(name, value)
    target = place / "copied"
    if "another" in kind:
        import boto3

        how = {"LocationConstraint": "us-west-2"}
        boto3.client("s3").create_bucket(Bucket="places-2", CreateBucketConfiguration=how)
        target = "s3://places-2/copied"
    ds = schema.mock_segments(100, stages=("classified", "seasurface", "freeboard"))
    ds = ds.assign_attrs(granule="copied", beam=BEAM, crs="EPSG:3976", beam_strength="strong")
    store.write_track(ds, place / "to_copy")
    sent: list[str] = []
    put = BucketLocation.put
    monkeypatch.setattr(BucketLocation, "put", lambda self, key, raw: sent.append(key) or put(self, key, raw))
    done = is2ice.publish(place / "to_copy", target)
    assert (done.version, len(done.added)) == (1, 1)
    assert done.bytes > 10_000
    assert not [key for key in sent if key.startswith("tracks/") and key.count("/") > 3]
    got = is2ice.open_track(target, chunks=None)
    assert got["height"].values.tobytes() == ds["height"].values.tobytes()


@pytest.mark.parametrize("told", [True, False], ids=["their end is told", "their end is not told"])
@pytest.mark.parametrize("kind", ["gs", "az"])
def test_credentials_that_end_are_asked_for_again(kind: str, told: bool, clouds: Any) -> None:
    """Azurite checks signature and end for Azure; a server before the emulator does so for Google."""
    place, given, lasts = clouds[kind], [], 2.0

    def provider() -> dict[str, Any]:
        end = datetime.now(UTC) + timedelta(seconds=lasts)
        token = (
            services.az_token(place.options["account_name"], lasts)
            if kind == "az"
            else f"token-{len(given)}."
        )
        given.append(token)
        return {"sas_token" if kind == "az" else "token": token, "expires_at": end if told else None}

    ds = schema.mock_segments(20, stages=("classified",)).assign_attrs(granule="ends", beam=BEAM)
    with services.in_between(place.environment.get("GOOGLE_BASE_URL", "")) as between:
        options: dict[str, Any] = {"credential_provider": provider, "base_url": between.url}
        if kind == "az":
            options = {k: v for k, v in place.options.items() if k != "account_key"} | {
                "credential_provider": provider
            }
        where = location(place / f"ends-{told}", options)
        store.write_track(ds, where)
        before = len(given)
        between.faults.set({"plan": [{"kind": "expired", "key": "token-0.", "status": 401, "count": None}]})
        time.sleep(lasts + 1.0)
        assert store.write_track(ds.assign_attrs(granule="later"), where)["outcome"] == "written"
        assert len(given) > before
        assert len(store.open_store(where)) == 2
        got = store.open_track(where, "later", chunks=None)["height"].values
        assert got.tobytes() == ds["height"].values.tobytes()
        # Credentials that are refused, also when asked for again: an error that does not tell them.
        lasts = -60.0
        refused = {"kind": "expired", "key": "token-", "status": 401, "count": None}
        between.faults.set({"plan": [refused]})
        place = location(f"{where.url}/x", options)
        with pytest.raises(
            StoreError, match=r"cannot be written: .*; do these credentials allow it"
        ) as caught:
            place.put("key", b"x")
    text = "".join(traceback.format_exception(caught.value))
    assert not [one for one in given if one in text or one[-40:] in text]


@pytest.mark.parametrize("kind", ["s3", "gs", "az"])
def test_a_bucket_that_is_not_there(kind: str, clouds: Any) -> None:
    place = clouds[kind]
    with pytest.raises(StoreError, match=r"there is no such bucket; expected one that exists"):
        store.create(place.url.replace("places", "nowhere") + "/s.zarr", place.options)


def test_maps_figures_tables_and_comparisons_in_a_bucket(
    clouds: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    """What commands write with --out, and exports, beside the same files of a folder."""
    place = clouds["s3"]
    for name, value in place.environment.items():
        monkeypatch.setenv(name, value)
    where = place / "small.zarr"
    assert is2ice.run(SAMPLE, where, beams=BEAM, progress=False).ok
    atl07, atl10 = (next(SAMPLE.parent.glob(f"{name}-*.h5")) for name in ("ATL07", "ATL10"))
    commands = [
        ["map", where, "--out", "OUT/map.nc", "--out", "OUT/map.zarr", "--out", "OUT/map.png", "--crop"],
        ["quicklook", where, BEAM, "--out", "OUT/quick.png"],
        ["compare", where, BEAM, "--atl07", str(atl07), "--atl10", str(atl10), "--out", "OUT/report.json"],
    ]
    for command in commands:
        for out in (place / "out", str(tmp_path)):
            done = CliRunner().invoke(cli.app, [word.replace("OUT", out) for word in command])
            assert done.exit_code == 0, done.output
    track = is2ice.open_track(where, chunks=None).isel(beam=0)
    for out in (place / "out", str(tmp_path)):
        assert str(track.is2ice.to_netcdf(f"{out}/track.nc")) == f"{out}/track.nc"
        track.is2ice.to_csv(f"{out}/track.csv")
        track.is2ice.to_parquet(f"{out}/track.parquet")
    kept = location(place / "out").objects()
    names = {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file()}
    assert kept.keys() == names
    assert {"map.nc", "map.zarr/zarr.json", "map.png", "quick.png", "report.json", "track.parquet"} <= names
    for name in ("quick.png", "track.csv", "report.json", "map.zarr/freeboard/c/0/0/0"):
        with fetched(f"{place}/out/{name}") as copy:
            assert copy.read_bytes() == (tmp_path / name).read_bytes(), name
    with fetched(place / "out/track.nc") as copy, xr.open_dataset(copy) as there:
        xr.testing.assert_equal(there.load(), xr.load_dataset(tmp_path / "track.nc"))
    with pytest.raises(ValueError, match="holds something other than a map"):
        is2ice.write_map(xr.Dataset(), where)


def test_a_folder_in_a_bucket_is_absent_until_it_is_whole(clouds: Any, monkeypatch: Any) -> None:
    place = clouds["s3"]
    for name, value in place.environment.items():
        monkeypatch.setenv(name, value)
    where = place / "thing"
    for text in ("one", "two"):
        with written_folder(where, "card.json") as folder:
            (folder / "card.json").write_text(text)
            (folder / f"{text}.bin").write_text(text)
    assert list(location(where).objects()) == ["card.json", "two.bin"]

    def fail(self: Any, objects: Any) -> None:
        raise StoreError("the network is gone")

    def write(where: str) -> None:
        with written(where) as file:
            file.write_text("half")
            raise ValueError("half")

    with pytest.raises(ValueError, match="half"):
        write(place / "file.txt")
    assert not exists(place / "file.txt")
    monkeypatch.setattr(BucketLocation, "put_all", fail)

    def broken() -> None:
        with written_folder(where, "card.json") as folder:
            (folder / "card.json").write_text("three")
            (folder / "three.bin").write_text("three")

    with pytest.raises(StoreError, match="network"):
        broken()
    assert location(where).read("card.json") is None
    assert location(where).entries() == ["two.bin"]

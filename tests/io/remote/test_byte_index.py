"""What was learned of a remote granule opens it again in one request, and never one that has changed."""

from __future__ import annotations

import json
import os

import pytest

from is2ice.io.icesat2.atl03 import Granule, Subset
from is2ice.io.remote import byte_index
from is2ice.io.remote.range_file import RemoteFile
from is2ice.twin.icesat2.flat_beam import write_beam
from is2ice.twin.server.local_archive import LocalCloud

NAME = "ATL03_20191104195311_05940510_006_01.h5"
BEAM = "gt2r"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("indexed")
    write_beam(folder / NAME, 100_000)
    return folder


@pytest.fixture
def url(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("IS2ICE_INDEX", str(tmp_path / "kept"))
    with LocalCloud(folder, stac=False) as cloud:
        yield f"{cloud.url}/{NAME}"


@pytest.fixture(scope="module")
def part(folder):
    with Granule(folder / NAME) as g:
        first = float(g.table(BEAM).dist_x[200])
        subset = Subset(x_atc=(first, first + 2000.0))
        return subset, g.track(BEAM, subset)


def same(got, expected):
    for name in expected.data_vars:
        assert got[name].values.tobytes() == expected[name].values.tobytes(), name


def read(url, part):
    with Granule(url) as g:
        same(g.track(BEAM, part[0]), part[1])
        return g.traffic


def test_a_second_opening_asks_for_data_only(url, part, tmp_path):
    first, again = read(f"{url}?signature=hush", part), read(f"{url}?signature=other", part)
    assert again.requests < first.requests / 2
    assert again.bytes < first.bytes
    with Granule(url) as g:
        assert g.traffic.requests == 1  # is it still the same?
    kept = list((tmp_path / "kept").iterdir())
    assert len(kept) == 1
    assert "hush" not in kept[0].read_text()


def test_kept_by_default_and_not_where_unwanted(url, part, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("IS2ICE_INDEX", "0")
    read(url, part)
    assert byte_index.folder() is None
    assert not any((tmp_path / name).exists() for name in ("kept", "cache"))
    monkeypatch.delenv("IS2ICE_INDEX")
    read(url, part)
    assert len(list((tmp_path / "cache" / "is2ice" / "index").iterdir())) == 1


def test_a_full_folder_drops_what_was_not_used_for_longest(url, part, tmp_path, monkeypatch):
    read(url, part)
    (kept,) = (tmp_path / "kept").iterdir()
    new, old = f"{'a' * 32}.json", f"{'b' * 32}.json"
    unfinished = f".{new}-{'0' * 8}"
    for age, name in enumerate((new, old, unfinished, "notes.json")):
        other = kept.with_name(name)
        other.write_bytes(kept.read_bytes())
        os.utime(other, (1e9 - age, 1e9 - age))
    monkeypatch.setattr(byte_index, "FULL", 2.5 * kept.stat().st_size)
    kept.unlink()
    read(url, part)
    assert {p.name for p in kept.parent.iterdir()} == {kept.name, new, "notes.json"}  # notes are not ours


def test_without_a_home_none_is_kept(url, part, monkeypatch):
    def homeless(path):
        raise RuntimeError("Could not determine home directory.")

    for name in ("IS2ICE_INDEX", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(byte_index.Path, "expanduser", homeless)
    assert byte_index.folder() is None
    read(url, part)


def test_a_changed_file_drops_its_index(tmp_path, monkeypatch):
    monkeypatch.setenv("IS2ICE_INDEX", str(tmp_path / "kept"))
    served = tmp_path / "served"
    served.mkdir()
    with LocalCloud(served, stac=False) as cloud:
        for seed in (1, 2):
            write_beam(tmp_path / NAME, 40_000, seed=seed).replace(served / NAME)
            with Granule(served / NAME) as local, Granule(f"{cloud.url}/{NAME}") as g:
                assert g.traffic.requests > 1  # nothing was taken from before
                same(g.track(BEAM), local.track(BEAM))
        assert len(list((tmp_path / "kept").iterdir())) == 1


def test_without_validators_nothing_is_kept(folder, part, tmp_path, monkeypatch):
    monkeypatch.setenv("IS2ICE_INDEX", str(tmp_path / "kept"))
    with LocalCloud(folder, stac=False) as cloud:
        cloud.disturb(validators=False)
        read(f"{cloud.url}/{NAME}", part)
    assert not (tmp_path / "kept").exists()


@pytest.mark.parametrize("damage", ["text", "blocks", "numbers", "moved", "size", "nested", "format"])
def test_a_damaged_index_is_dropped(url, part, tmp_path, damage):
    first = read(url, part)
    (kept,) = (tmp_path / "kept").iterdir()
    document = json.loads(kept.read_text())
    text = {
        "text": kept.read_text()[:500],
        "blocks": json.dumps(document | {"blocks": document["blocks"][:-40]}),
        "numbers": json.dumps(document | {"numbers": document["numbers"][1:]}),
        "moved": json.dumps(document | {"numbers": [i + 1 for i in document["numbers"]]}),
        "size": json.dumps(document | {"block": 0}),
        "nested": "[" * 100_000,
        "format": json.dumps([1, 2]),
    }[damage]
    kept.write_text(text)
    stream = RemoteFile(url, url)
    assert not byte_index.load(stream)
    assert not kept.exists()
    assert read(url, part).requests == first.requests


def test_where_no_index_can_be_kept_reading_goes_on(url, part, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("IS2ICE_INDEX", str(tmp_path / "file"))
    read(url, part)

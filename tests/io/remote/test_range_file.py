"""Granules read by byte ranges: what is asked for, what is counted, and every way it can go wrong."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
from pathlib import Path

import h5py
import numpy as np
import pytest

from is2ice import open_track
from is2ice.errors import GranuleError, RemoteError
from is2ice.io.icesat2 import atl03
from is2ice.io.icesat2.atl03 import PHOTON_COLUMNS, Granule, Subset
from is2ice.io.icesat2.geolocation import table_paths
from is2ice.io.remote import range_file
from is2ice.io.remote.hdf5_chunks import places
from is2ice.io.remote.range_file import ChangedError, RemoteFile
from is2ice.twin.icesat2.flat_beam import write_beam
from is2ice.twin.server.faults import Faults
from is2ice.twin.server.local_archive import LocalCloud
from is2ice.workflows import run as pipeline

NAME = "ATL03_20191104195311_05940510_006_01.h5"
BEAM = "gt2r"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stream")
    write_beam(folder / NAME, 400_000)
    return folder


@pytest.fixture(scope="module")
def cloud(folder):
    with LocalCloud(folder, stac=False) as running:
        yield running


@pytest.fixture
def url(cloud, monkeypatch):
    monkeypatch.setattr(range_file, "PAUSE", 0.01)
    cloud.disturb()
    yield f"{cloud.url}/{NAME}"
    cloud.disturb()


@pytest.fixture(scope="module")
def part(folder):
    """A stretch in the middle of the track, and its segments read from disk."""
    with Granule(folder / NAME) as g:
        x = g.table(BEAM).dist_x
        subset = Subset(x_atc=(float(x[x.size // 2]), float(x[x.size // 2]) + 3000.0))
        return subset, g.track(BEAM, subset)


def same(got, expected):
    for name in expected.data_vars:
        assert got[name].values.tobytes() == expected[name].values.tobytes(), name


# -- what is read -------------------------------------------------------------------------------------
def test_only_the_needed_bytes(cloud, url, folder, part):
    subset, expected = part
    before = cloud.traffic
    with Granule(url) as g:
        got = g.track(BEAM, subset)
        used, rows = g.traffic, g._photon_rows(g.table(BEAM), *g._span(g.plan(BEAM, subset)))[0]
        heights, datasets = (
            g.file[f"{BEAM}/heights"],
            [g.file[path] for path in table_paths(BEAM) if path in g.file],
        )
        needed = {p for name in PHOTON_COLUMNS for p in places(heights[name], rows.start, rows.stop)}
        needed |= {p for dataset in datasets for p in places(dataset)}
    same(got, expected)
    after = cloud.traffic
    assert (used.requests, used.bytes) == (after.requests - before.requests, after.sent - before.sent)
    weight = sum(b - a for a, b in needed)
    # Beyond the chunks: metadata in blocks, and gaps that are cheaper than a request.
    assert used.bytes < weight + 110 * range_file.BLOCK
    assert used.bytes < 0.5 * used.size == 0.5 * (folder / NAME).stat().st_size
    assert got.attrs["traffic"] == str(used)
    assert str(used).startswith("read ")
    assert f"in {used.requests} requests" in str(used)


def test_lazy_cube_reads_what_is_computed(cloud, url, folder):
    ds = open_track(url)
    assert ds.attrs["traffic"].endswith("at opening")
    expected = open_track(folder / NAME)
    before = cloud.traffic.sent
    same(ds.isel(x_atc=slice(0, 500)).load(), expected.isel(x_atc=slice(0, 500)).load())
    assert cloud.traffic.sent > before
    same(ds.load(), expected.load())


def test_photons(url, folder, part):
    with Granule(url) as remote, Granule(folder / NAME) as local:
        same(remote.photons(BEAM, part[0]), local.photons(BEAM, part[0]))


@pytest.mark.parametrize(
    "layout", ["paged", "contiguous", "chunked plain", "never written", "gzip two columns"]
)
def test_other_layouts(tmp_path, layout, monkeypatch):
    """Whatever the layout, rows over the network are the rows on disk."""
    from is2ice.io.remote.hdf5_chunks import read_rows
    from is2ice.io.remote.source import Source

    values = np.arange(60_000, dtype="i4").reshape(20_000, 3)
    options = {
        "paged": {"chunks": (1000, 3), "compression": "gzip", "shuffle": True},
        "contiguous": {},
        "chunked plain": {"chunks": (1000, 3)},
        "never written": {"chunks": (1000, 3), "compression": "gzip", "fillvalue": -7},
        "gzip two columns": {"chunks": (1000, 2), "compression": "gzip"},
    }[layout]
    paged = {"fs_strategy": "page", "fs_page_size": 2**20} if layout == "paged" else {}
    with h5py.File(tmp_path / "x.h5", "w", **paged) as f:
        if layout == "never written":
            f.create_dataset("a", (20_000, 3), "i4", **options)[:1000] = 1
        else:
            f.create_dataset("a", data=values, **options)
    with h5py.File(tmp_path / "x.h5") as f:
        expected = f["a"][1500:9100]
    with LocalCloud(tmp_path, stac=False) as cloud, Source.of(f"{cloud.url}/x.h5").open_hdf5() as f:
        assert f.stream.block == (range_file.PAGED_BLOCK if layout == "paged" else range_file.BLOCK)
        np.testing.assert_array_equal(read_rows(f["a"], 1500, 9100, f.stream), expected)


def test_ranges_side_by_side_share_a_request(url, folder):
    file = RemoteFile(url, "x")
    raw = (folder / NAME).read_bytes()
    before = file.traffic
    far = 13 * range_file.GAP + 5000
    got = file.fetch([(200_000, 201_000), (201_500, 202_000), (200_000 + far, 200_100 + far), (5, 5)][:3])
    assert [bytes(g) for g in got] == [
        raw[200_000:201_000],
        raw[201_500:202_000],
        raw[200_000 + far : 200_100 + far],
    ]
    assert (file.traffic - before).requests == 2
    assert file.fetch([(200_000, 201_000)]) == [raw[200_000:201_000]]  # kept
    assert (file.traffic - before).requests == 2
    assert file.read_at(file.size - 10, 100) == raw[-10:]
    assert file.read_at(file.size + 10, 100) == b""


def test_what_is_kept_is_bounded(url, monkeypatch):
    monkeypatch.setattr(range_file, "KEEP_RANGES", 50_000)
    monkeypatch.setattr(range_file, "KEEP_BLOCKS", 20 * range_file.BLOCK)
    file = RemoteFile(url, "x")
    for k in range(20):
        file.fetch([(k * 100_000, k * 100_000 + 20_000)])
        file.read_at(k * 100_000 + 30_000, 10)
    assert sum(map(len, file._ranges.values())) <= 50_000
    assert len(file._blocks) <= 20


# -- what goes wrong ----------------------------------------------------------------------------------
@pytest.mark.parametrize("skip", [0, 3, 12])
@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "status", "status": 500},
        {"kind": "status", "status": 429},
        {"kind": "reset"},
        {"kind": "short"},
    ],
    ids=lambda fault: str(fault.get("status", fault["kind"])),
)
def test_what_passes_is_tried_again(cloud, url, part, fault, skip):
    cloud.disturb([{**fault, "skip": skip, "count": 2}])
    with Granule(url) as g:
        same(g.track(BEAM, part[0]), part[1])
        # The question how long to wait takes the second refusal, where the first came alone.
        assert g.traffic.retries == 2 or (fault.get("status") == 429 and g.traffic.retries == 1)
        assert f"{g.traffic.retries} of them again" in str(g.traffic)


def test_a_stalled_answer_is_given_up_and_tried_again(cloud, url, part, monkeypatch):
    monkeypatch.setattr(range_file, "TIMEOUT", 1.0)
    cloud.disturb([{"kind": "stall", "skip": 4, "count": 1, "seconds": 6.0}])
    with Granule(url) as g:
        same(g.track(BEAM, part[0]), part[1])
        assert g.traffic.retries >= 1  # a busy machine may stall by itself


@pytest.mark.parametrize(
    ("fault", "error", "said"),
    [
        ({"kind": "status", "status": 503}, RemoteError, r"the server failed \(HTTP 503\); try again"),
        ({"kind": "reset"}, RemoteError, "the server cannot be reached; try again"),
        ({"kind": "status", "status": 401}, GranuleError, r"access refused \(HTTP 401\).*signed URL"),
        ({"kind": "status", "status": 403}, GranuleError, r"access refused \(HTTP 403\)"),
        ({"kind": "changed"}, ChangedError, "changed while it was read .its content is another"),
        ({"kind": "truncated"}, ChangedError, "changed while it was read .from [0-9,]+ to [0-9,]+ bytes"),
        ({"kind": "status", "status": 404}, GranuleError, "no such file"),
    ],
)
@pytest.mark.parametrize("skip", [2, 11])
def test_what_lasts_is_said(cloud, url, part, fault, error, said, skip):
    """Mid-metadata (within HDF5's own reading) and mid-data, and never wrong numbers."""
    signed = f"{url}?signature=hush"
    cloud.disturb([{**fault, "skip": skip, "count": None}])
    with pytest.raises(error, match=said) as caught:
        Granule(signed).track(BEAM, part[0])
    assert NAME in str(caught.value)
    assert "hush" not in str(caught.value)
    cloud.disturb()
    same(Granule(signed).track(BEAM, part[0]), part[1])


def test_a_granule_survives_a_failed_read(cloud, url, part):
    g = Granule(url)
    g.table(BEAM)
    cloud.disturb([{"kind": "status", "status": 503, "count": None}])
    with pytest.raises(RemoteError):
        g.track(BEAM, part[0])
    cloud.disturb()
    same(g.track(BEAM, part[0]), part[1])


def test_without_validators_the_size_is_watched(cloud, url, part):
    cloud.disturb(validators=False)
    same(Granule(url).track(BEAM, part[0]), part[1])
    cloud.disturb([{"kind": "truncated", "skip": 8, "count": None}], validators=False)
    with pytest.raises(ChangedError):
        Granule(url).track(BEAM, part[0])


def test_a_file_replaced_between_two_reads(tmp_path, part):
    write_beam(tmp_path / NAME, 60_000)
    with LocalCloud(tmp_path, stac=False) as cloud:
        g = Granule(f"{cloud.url}/{NAME}")
        g.track(BEAM)
        write_beam(tmp_path / "other.h5", 60_000, seed=2)
        (tmp_path / "other.h5").replace(tmp_path / NAME)
        g.stream._ranges.clear()
        with pytest.raises(ChangedError, match="open it again"):
            g.track(BEAM)


def test_servers_that_cannot_be_streamed(tmp_path):
    (tmp_path / "page.h5").write_text("<html>please log in</html>")
    (tmp_path / "empty.h5").write_bytes(b"")
    with LocalCloud(tmp_path, stac=False) as cloud:
        with pytest.raises(GranuleError, match=r"page\.h5: not an HDF5 file .it starts with b'<html>"):
            Granule(f"{cloud.url}/page.h5")
        with pytest.raises(GranuleError, match=r"empty\.h5"):
            Granule(f"{cloud.url}/empty.h5")
        with pytest.raises(GranuleError, match="no such file"):
            Granule(f"{cloud.url}/none.h5")


def test_a_run_says_what_it_read_and_where_it_failed(cloud, url, tmp_path):
    cloud.disturb([{"kind": "status", "status": 503, "skip": 20, "count": None}])
    run = pipeline.run(f"{url}?signature=hush", tmp_path / "s.zarr", retries=0)
    assert "HTTP 503" in run.failed[0]["error"]
    cloud.disturb()
    run = pipeline.run(f"{url}?signature=hush", tmp_path / "s.zarr")
    assert run.ok
    assert "requests" in run.receipts[0]["traffic"]
    assert pipeline.run(f"{url}?signature=hush", tmp_path / "s.zarr").receipts[0]["outcome"] == "skipped"
    everything = [p.read_bytes() for p in (tmp_path / "s.zarr").rglob("*") if p.is_file()]
    assert not any(b"hush" in text for text in everything)
    assert "hush" not in run.report()


def test_collecting_hdf5_objects_while_others_read_cannot_lock(cloud, url, part):
    """Failed reads leave HDF5 objects in cycles; whichever thread collects them, every reader goes on."""
    cloud.disturb([{"kind": "status", "status": 503, "skip": 3 * k, "count": 1} for k in range(1, 60)])
    faults: list[BaseException] = []

    def read() -> None:
        try:
            for _ in range(4):
                g = Granule(url)
                loop = [g.file[BEAM], g]
                loop.append(loop)  # only the collector frees this
                same(g.track(BEAM, part[0]), part[1])
        except BaseException as error:
            faults.append(error)

    old = gc.get_threshold()
    gc.set_threshold(20, 2, 2)  # collect all the time, in whichever thread allocates
    try:
        threads = [threading.Thread(target=read, daemon=True) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
        assert not any(thread.is_alive() for thread in threads)
    finally:
        gc.set_threshold(*old)
    assert faults == []


def test_an_unknown_fault_is_refused(cloud, url):
    with pytest.raises(ValueError, match="fault 'meteor': expected one of status"):
        cloud.disturb([{"kind": "meteor"}])
    with pytest.raises(ValueError, match="meteor"):
        Faults().set({"plan": [{"kind": "meteor"}]})


def test_a_process_may_end_with_a_granule_open(url):
    """HDF5 closes files after Python has ended; it must not call back then."""
    code = (
        "from is2ice.io.icesat2.atl03 import Granule\n"
        f"g = Granule({url!r}); print(g.file['{BEAM}/heights/h_ph'].shape)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("(")


def test_calibrations_that_come_late_are_waited_for(url, monkeypatch):
    """Who waits for them holds the granule's lock, which the thread that fetches them must not need."""
    waited, real = threading.Event(), (atl03.warm, Granule._fetched)
    found: list[int] = []

    def warm(*args) -> None:
        real[0](*args)
        if all(path.startswith(atl03.CALIBRATIONS) for path in args[2]):
            assert waited.wait(60)

    def fetched(granule: Granule) -> None:
        waited.set()
        real[1](granule)

    def read() -> None:
        with Granule(url, [BEAM]) as g:
            found.append(g.track(BEAM).sizes["x_atc"])

    monkeypatch.setattr(atl03, "warm", warm)
    monkeypatch.setattr(Granule, "_fetched", fetched)
    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    reader.join(120)
    assert found


@pytest.mark.parametrize("release", ["006", pytest.param("007", marks=pytest.mark.slow)])
def test_hdf5_finds_what_it_reads(tmp_path, monkeypatch, release):
    """Metadata are there before the library asks, whatever the layout: hardly a request is made under its lock."""
    from is2ice.twin.icesat2.atl03 import make_granule
    from is2ice.twin.scene.scene import Scene

    path = next((Path(__file__).resolve().parents[3] / "sample_data").glob("ATL03_*.h5"))
    if release == "007":
        path = make_granule(
            Scene.preset("ross_sea_november", seed=3, length_km=2.0), tmp_path, release=release
        )
    rounds = {"alone": 0, "together": 0}

    def counted(name, kind):
        real = getattr(RemoteFile, name)

        def call(self, *args):
            before = len(self._sent)
            out = real(self, *args)
            rounds[kind] += len(self._sent) > before
            return out

        monkeypatch.setattr(RemoteFile, name, call)

    counted("_block", "alone")
    counted("load", "together")
    counted("_gather", "together")
    with LocalCloud(path.parent, stac=False) as cloud, Granule(cloud.href(path)) as g:
        got = g.track(BEAM)
    same(got, Granule(path).track(BEAM))
    assert rounds["alone"] <= 4
    assert rounds["together"] <= 18

"""The chain as a whole: options, runs on every engine, receipts, failures, notes, opening."""

from __future__ import annotations

import gzip
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import numpy as np
import pytest
import services
import xarray as xr

import is2ice
from is2ice import schema
from is2ice.errors import GranuleError, Is2IceError, NoSignalError, RemoteError, StoreError
from is2ice.io.stores import store
from is2ice.twin.icesat2.flat_beam import write_beam
from is2ice.workflows import run as pipeline
from is2ice.workflows import run_record
from is2ice.workflows.execution import is_transient
from is2ice.workflows.options import Options
from is2ice.workflows.receipts import Run
from is2ice.workflows.track import Chain, Item, one_track

STAGES = ("classified", "seasurface", "freeboard")
REAL = "ATL03_20181014002445_02350104_006_02"


# -- stand-ins for the reader and the science; plain functions, so that any engine can send them --------
def fake_survey(source: str, beams: object) -> list[Item]:
    if source == "broken.h5":
        raise GranuleError(f"{source}: not an HDF5 file")
    names = beams if isinstance(beams, tuple) else ("gt1r", "gt2r")
    return [Item(source, source.removesuffix(".h5"), b, {"size": 10}) for b in names]


def fake_load(source: str, beam: str, options: Options, *, threads: int) -> xr.Dataset:
    if source == "cloudy.h5" and beam == "gt2r":
        raise NoSignalError("cloudy gt2r: no photon has sea-ice confidence >= 3")
    ds = schema.mock_segments(200, seed=len(source) + int(beam[2]))
    ds["n_photons"][50:60] = 0
    return ds.assign_attrs(granule=source.removesuffix(".h5"), beam=beam, notes=["no orbit_info"])


def fake_derive(segments: xr.Dataset, options: Options) -> xr.Dataset:
    full = schema.mock_segments(200, stages=STAGES)
    for name in full.data_vars:
        if name not in segments:
            segments = segments.assign({name: full[name]})
    leads = np.full(200, -1, "i4")
    leads[10:20], leads[100:110] = 0, 1
    classes = np.zeros(200, "i1")
    classes[leads >= 0] = 2
    freeboard = (segments["height"] - 0.02).astype("f4").where(segments["n_photons"] > 0)
    out = segments.assign_coords(surface=full["surface"])
    return schema.annotate(
        out.assign(
            lead_index=("x_atc", leads),
            surface_class=("x_atc", classes),
            freeboard=freeboard,
        )
    )


FAKE = Chain(fake_survey, fake_load, fake_derive)


def slow_load(source: str, beam: str, options: Options, *, threads: int) -> xr.Dataset:
    time.sleep(0.3)
    return fake_load(source, beam, options, threads=threads)


def pid_load(source: str, beam: str, options: Options, *, threads: int) -> xr.Dataset:
    raise ValueError(f"in process {os.getpid()} with {threads} threads")


# -- options ------------------------------------------------------------------------------------------
def test_options_survive_json() -> None:
    options = Options(
        bbox=[170, -78, -150, -72],  # type: ignore[arg-type]
        time=("2019-11-04", np.datetime64("2019-11-05")),
        method="nasa",
        seasurface={"reach": 5000.0},
    )
    back = Options.from_parameters(json.loads(json.dumps(options.parameters())))
    assert back == options
    assert back.time == ("2019-11-04", "2019-11-05")
    with pytest.raises(ValueError, match=r"unknown options \['colour'\]"):
        Options.from_parameters({"colour": 1})
    with pytest.raises(ValueError, match=r"expected \(west, south, east, north\)"):
        Options(bbox=(170, -72, -150, -78))
    with pytest.raises(ValueError, match=r"bbox=\(1, 2, 3\): expected \(west"):
        Options(bbox=(1, 2, 3))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="method='foo': expected one of"):
        Options(method="foo")


def test_options_of_numpy_scalars() -> None:
    options = Options(
        length=np.float32(2.0),
        confidence=np.int8(4),  # type: ignore[arg-type]
        bbox=tuple(np.array([170, -78, -150, -72])),
        time=(np.float32(1.5), np.int64(2)),
        x_atc=(np.int64(1), np.float32(2.5)),
        seasurface={"reach": np.float32(5000)},
        freeboard={"flags": np.arange(2)},
    )
    plain = Options(
        length=2.0,
        confidence=4,
        bbox=(170, -78, -150, -72),
        time=(1.5, 2),
        x_atc=(1, 2.5),
        seasurface={"reach": 5000.0},
        freeboard={"flags": [0, 1]},
    )
    assert options == plain
    assert json.dumps(options.parameters()) == json.dumps(plain.parameters())


def test_a_note_of_some_beams_is_not_told_of_the_granule() -> None:
    one = {"granule": "g", "outcome": "done", "notes": ["no lead", "no orbit_info"], "beam": "gt1r"}
    other = {**one, "beam": "gt2r", "notes": ["no orbit_info"]}
    run = Run("s", (one, {**one, "beam": "gt3r"}, other), "serial", 1.0)
    notes = [line for line in run.report().splitlines() if line.startswith("  note")]
    assert notes == ["  note g gt1r: no lead", "  note g: no orbit_info", "  note g gt3r: no lead"]
    quiet = Run("s", (one, {**one, "beam": "gt3r"}, {**other, "notes": []}), "serial", 1.0)
    assert "note g:" not in quiet.report()


# -- runs ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize("engine", ["serial", "processes", "dask"])
def test_same_store_from_every_engine(engine: str, tmp_path: Path) -> None:
    workers = None if engine == "serial" else 2
    sources = ["a.h5", "b.h5"]
    run = pipeline.run(sources, tmp_path / "s.zarr", engine=engine, workers=workers, chain=FAKE)
    assert run.ok, run.report()
    assert {(r["granule"], r["beam"]) for r in run.done} == {(g, b) for g in "ab" for b in ("gt1r", "gt2r")}
    for granule in "ab":
        for beam in ("gt1r", "gt2r"):
            got = store.open_track(tmp_path / "s.zarr" / granule / beam, chunks=None)
            want = fake_derive(fake_load(f"{granule}.h5", beam, Options(), threads=1), Options())
            for name in want.variables:
                np.testing.assert_array_equal(got[name].values, want[name].values, err_msg=name)
    # The index is written last and lists every track.
    index = json.loads(gzip.decompress((tmp_path / "s.zarr" / "index" / "all.json.gz").read_bytes()))
    assert len(index) == 4


def test_receipts(tmp_path: Path) -> None:
    run = pipeline.run("a.h5", tmp_path / "s.zarr", beams=["gt1r"], chain=FAKE)
    (receipt,) = run.receipts
    # 200 cells, 10 of them empty; leads at 10-20 and 100-110.
    assert receipt["n_cells"] == 200
    assert receipt["n_filled"] == 190
    assert receipt["n_open_water"] == 20
    assert receipt["n_thick_ice"] == 180  # ten cells without photons have a class as well
    assert receipt["n_leads"] == 2
    assert receipt["n_freeboard"] == 190
    stored = store.open_track(tmp_path / "s.zarr", chunks=None)
    values = stored["freeboard"].values[stored["n_photons"].values > 0].astype("f8")
    assert receipt["freeboard_mean"] == pytest.approx(values.mean(), abs=1e-9)
    assert receipt["freeboard_median"] == pytest.approx(np.median(values), abs=1e-9)
    assert set(receipt["seconds"]) == {"load", "compute", "write"}
    assert receipt["notes"] == ["no orbit_info"]
    assert receipt["engine"] == "serial"
    assert receipt["bytes"] > 0
    lines = [json.loads(line) for line in Path(run.log).read_text().splitlines()]
    assert lines == [json.loads(json.dumps(receipt))]
    assert run_record.read(run.store)[0]["options"]["method"] == "evidence"
    assert store.open_store(tmp_path / "s.zarr").table()["n_leads"].tolist() == [2]
    assert "2 leads" in run.report()
    assert list(run.table()["seconds.load"]) == [receipt["seconds"]["load"]]


@pytest.mark.parametrize("engine", ["serial", "processes"])
def test_failures_are_reported_and_the_rest_finish(engine: str, tmp_path: Path) -> None:
    run = pipeline.run(["broken.h5", "cloudy.h5", "a.h5"], tmp_path / "s.zarr", engine=engine, chain=FAKE)
    assert not run.ok
    assert {(r["granule"], r["beam"]) for r in run.done} == {("a", "gt1r"), ("a", "gt2r"), ("cloudy", "gt1r")}
    broken, cloudy = sorted(run.failed, key=lambda r: r["source"])
    assert (broken["granule"], broken["error"]) == (None, "broken.h5: not an HDF5 file")
    assert (cloudy["granule"], cloudy["beam"]) == ("cloudy", "gt2r")
    assert cloudy["error_type"] == "NoSignalError"
    assert "while processing cloudy gt2r" in cloudy["detail"]
    assert "3 tracks done, 0 skipped, 2 failed" in run.report()
    assert "cloudy gt2r: FAILED: no photon has sea-ice confidence" in run.report()
    assert len(Path(run.log).read_text().splitlines()) == 5


def test_rerun_skips_what_would_not_change(tmp_path: Path) -> None:
    path = tmp_path / "s.zarr"
    pipeline.run(["a.h5"], path, chain=FAKE)
    again = pipeline.run(["a.h5", "b.h5"], path, chain=FAKE)
    assert {r["granule"] for r in again.skipped} == {"a"}
    assert {r["granule"] for r in again.done} == {"b"}
    assert again.skipped[0]["n_filled"] == 190  # from the store
    other = pipeline.run(["a.h5"], path, options=Options(method="nasa"), chain=FAKE)
    assert len(other.done) == 2
    kept = pipeline.run(["a.h5"], path, overwrite="never", chain=FAKE)
    assert len(kept.skipped) == 2
    forced = pipeline.run(["a.h5"], path, overwrite="always", chain=FAKE)
    assert len(forced.done) == 2
    twice = pipeline.run(["c.h5", "c.h5"], path, chain=FAKE)
    assert (len(twice.done), len(twice.skipped)) == (2, 2)


def same_name(source: str, beams: object) -> list[Item]:
    return [Item(source, "a", "gt1r")]


def test_two_files_of_one_name_are_not_one(tmp_path: Path) -> None:
    chain = Chain(same_name, fake_load, fake_derive)
    one, other = tmp_path / "2019" / "a.h5", tmp_path / "2020" / "a.h5"
    again = tmp_path / "2020" / ".." / "2019" / "a.h5"
    sources = [os.fspath(p) for p in (one, other, again)]
    run = pipeline.run(sources, tmp_path / "s.zarr", chain=chain)
    (done,), (skipped,), (failed,) = run.done, run.skipped, run.failed
    assert done["source"] == str(one)
    assert skipped["source"] == str(again)
    assert (failed["granule"], failed["beam"], failed["error_type"]) == ("a", "gt1r", "GranuleError")
    assert str(one) in failed["error"]
    assert str(other) in failed["error"]
    assert not run.ok


def test_a_replaced_track_is_told(tmp_path: Path) -> None:
    path = tmp_path / "s.zarr"
    first = pipeline.run("a.h5", path, beams=["gt1r"], chain=FAKE)
    assert [r["stored"] for r in first.done] == ["written"]
    part = Options(bbox=(170, -78, -150, -72))
    second = pipeline.run("a.h5", path, beams=["gt1r"], options=part, chain=FAKE)
    assert [r["stored"] for r in second.done] == ["replaced"]
    told = "replaced a stored track made with bbox None (now [170, -78, -150, -72])"
    assert told in second.done[0]["notes"]
    assert told in second.report()
    assert told not in store.open_store(path).tracks["a", "gt1r"]["notes"]


tries: list[str] = []


def flaky_survey(source: str, beams: object) -> list[Item]:
    tries.append("survey")
    if tries.count("survey") < 3:
        raise RemoteError(f"{source}: cannot be reached")
    return fake_survey(source, ("gt1r",))


def flaky_load(source: str, beam: str, options: Options, *, threads: int) -> xr.Dataset:
    tries.append("load")
    if tries.count("load") == 1:
        raise ConnectionResetError("reset by peer")
    if tries.count("load") == 2:
        raise RemoteError(f"{source}: the server failed (HTTP 503)")
    return fake_load(source, beam, options, threads=threads)


def test_what_may_pass_is_tried_again(tmp_path: Path) -> None:
    tries.clear()
    quick = {"retry_wait": 0.01}
    chain = Chain(flaky_survey, flaky_load, fake_derive)
    run = pipeline.run("a.h5", tmp_path / "s.zarr", engine_options=quick, chain=chain)
    assert run.ok, run.report()
    assert tries == ["survey"] * 3 + ["load"] * 3
    tries.clear()
    assert not pipeline.run("a.h5", tmp_path / "t.zarr", retries=1, engine_options=quick, chain=chain).ok
    assert tries == ["survey"] * 2
    lasting = (GranuleError("no"), StoreError("no"), FileNotFoundError("no"), ValueError("no"))
    lasting += tuple(aiohttp.ClientResponseError(None, (), status=s) for s in (403, 404))  # type: ignore[arg-type]
    assert [error for error in lasting if is_transient(error)] == []
    passing = (RemoteError("x"), TimeoutError("x"), OSError(5, "I/O"), aiohttp.ServerDisconnectedError())
    passing += tuple(aiohttp.ClientResponseError(None, (), status=s) for s in (429, 503))  # type: ignore[arg-type]
    assert [error for error in passing if not is_transient(error)] == []


def test_a_run_whose_tracks_all_fail_removes_nothing_of_the_user(tmp_path: Path) -> None:
    hidden, other, empty = tmp_path / "hidden", tmp_path / "other", tmp_path / "empty"
    for folder in (hidden / ".git", other, empty):
        folder.mkdir(parents=True)
    (hidden / ".git" / "HEAD").write_text("ref: main")
    assert len(pipeline.run(["broken.h5"], hidden, chain=FAKE).failed) == 1
    assert [p.name for p in hidden.iterdir()] == [".git"]
    assert (hidden / ".git" / "HEAD").read_text() == "ref: main"
    (other / "precious").write_text("x")

    def survey(
        source: str, beams: object
    ) -> list[Item]:  # a file and a link of the user's, laid there meanwhile
        (empty / ".env").write_text("x")
        (empty / ".data").symlink_to(other)
        raise GranuleError("no")

    assert len(pipeline.run(["broken.h5"], empty, chain=Chain(survey, fake_load, fake_derive)).failed) == 1
    assert sorted(p.name for p in empty.iterdir()) == [".data", ".env"]
    assert (other / "precious").exists()
    (empty / ".env").unlink()
    (empty / ".data").unlink()
    pipeline.run(["broken.h5"], empty, chain=FAKE)
    assert list(empty.iterdir()) == []  # a folder of the user's stays
    pipeline.run(["broken.h5"], tmp_path / "new" / "s.zarr", chain=FAKE)
    assert not (tmp_path / "new" / "s.zarr").exists()


def test_wrong_use_of_a_run(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="engine 'spork'"):
        pipeline.run(["a.h5"], tmp_path / "s.zarr", engine="spork", chain=FAKE)
    assert not (tmp_path / "s.zarr").exists()
    (tmp_path / "x").write_text("")
    with pytest.raises(StoreError, match="not empty"):
        pipeline.run(["a.h5"], tmp_path, chain=FAKE)


def test_workers_read_with_one_thread_and_unexpected_errors_say_their_kind(tmp_path: Path) -> None:
    chain = Chain(fake_survey, pid_load, fake_derive)
    run = pipeline.run(["a.h5"], tmp_path / "s.zarr", engine="processes", workers=1, chain=chain)
    assert len(run.failed) == 2
    for receipt in run.failed:
        assert receipt["error"].startswith("ValueError: in process ")
        assert str(os.getpid()) not in receipt["error"]
        assert receipt["error"].endswith("with 1 threads")


def test_progress_only_on_a_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pipeline.run(["a.h5"], tmp_path / "s.zarr", chain=FAKE)
    assert capsys.readouterr().err == ""
    pipeline.run(["b.h5", "broken.h5"], tmp_path / "s.zarr", chain=FAKE, progress=True)
    assert "3/3" in capsys.readouterr().err


KILLED = """
import sys
sys.path.insert(0, sys.argv[2])
import test_run as t
from is2ice.workflows import driver as runs
from is2ice.workflows import run as pipeline
chain = t.Chain(t.fake_survey, t.slow_load, t.fake_derive)
def tell(receipt):
    print("done", flush=True)
sources = [f"g{i}.h5" for i in range(20)]
class Loud(runs.Bar):
    def finished(self, receipt): print("done", flush=True)
from contextlib import contextmanager
@contextmanager
def loud(*a): yield Loud()
runs.show_progress = loud
pipeline.run(sources, sys.argv[1], chain=chain)
"""


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGINT])
def test_an_interrupted_run_goes_on_where_it_stopped(tmp_path: Path, sign: signal.Signals) -> None:
    path = tmp_path / "s.zarr"
    here = str(Path(__file__).parent)
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(path), here],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=services.environment(),
    )
    assert child.stdout is not None
    for _ in range(3):
        assert child.stdout.readline().strip() == "done"
    child.send_signal(sign)
    child.wait(30)
    child.stdout.close()
    before = len(store.open_store(path))
    assert 3 <= before < 40
    assert len(run_record.read(path)[1].receipts) >= 3
    run = pipeline.run([f"g{i}.h5" for i in range(6)], path, chain=FAKE)
    assert run.ok
    assert len(run.skipped) == min(before, 12)
    assert not [p for p in path.iterdir() if p.name.startswith((".tmp", ".old"))]


# -- notes --------------------------------------------------------------------------------------------
def test_notes_say_what_is_absent() -> None:
    from is2ice.workflows.receipts import absences

    ds = fake_derive(fake_load("a.h5", "gt1r", Options(), threads=1), Options())
    assert absences(ds) == []
    bare = ds.assign(lead_index=ds["lead_index"] * 0 - 1, background_rate=ds["background_rate"] * np.nan)
    assert "no lead of its own: other beams or nilas carry the sea surface (h_ref_flag)" in absences(bare)
    bare["h_ref"] = bare["h_ref"] * np.nan
    text = "\n".join(absences(bare))
    assert "no lead: no local sea surface and no freeboard" in text
    assert "no background rate" in text
    far = ds.copy(deep=True)
    far["h_ref"][100:] = np.nan  # 100 of the 190 filled segments
    assert "53 % of the segments lie beyond the reach of any lead" in "\n".join(absences(far))
    wild = ds.copy(deep=True)
    wild["tide_ocean"][0] = 99.0
    assert any(note.startswith("check: tide_ocean: 1 values outside") for note in absences(wild))


# -- the real thing -----------------------------------------------------------------------------------
def test_genuine_granule_end_to_end(real_data: Path, tmp_path: Path) -> None:
    source = real_data / "atl03" / f"{REAL}_gt1l.h5"
    run = is2ice.run([source, real_data / "atl03" / "land_clip_gt1r.h5"], tmp_path / "s.zarr")
    (done,), (failed,) = run.done, run.failed
    assert (done["granule"], done["beam"]) == (REAL, "gt1l")
    notes = "\n".join(done["notes"])
    for absent in ("no orbit_info", "no ancillary_data", "a gap of 403 km", "no lead"):
        assert absent in notes
    # Pack ice at night with no lead: no sea surface is invented.
    assert done["n_leads"] == done["n_h_ref"] == done["n_freeboard"] == 0
    assert done["freeboard_mean"] is None
    assert failed["error_type"] == "NoSignalError"
    assert "signal_conf_ph[:, 2]" in failed["error"]
    track = is2ice.one_track(source, "gt1l")
    schema.conform(track, "segments", *STAGES)
    back = store.open_track(tmp_path / "s.zarr" / REAL / "gt1l", chunks=None)
    for name in track.variables:
        assert back[name].dtype == track[name].dtype, name
        np.testing.assert_array_equal(back[name].values, track[name].values, err_msg=name)


def test_a_store_opens_as_a_granule_does(real_data: Path, tmp_path: Path) -> None:
    source = real_data / "atl03" / f"{REAL}_gt1l.h5"
    path = tmp_path / "s.zarr"
    is2ice.run(source, path)
    granule, stored = is2ice.open_track(source), is2ice.open_track(path)
    assert stored["height"].dims == granule["height"].dims == ("beam", "x_atc")
    for name in granule.variables:
        np.testing.assert_array_equal(stored[name].values, granule[name].values, err_msg=name)
    first = float(granule["x_atc"][0])
    for part in ((first + 20, first + 60), (first, first + 41)):
        a, b = is2ice.open_track(source, x_atc=part), is2ice.open_track(path, x_atc=part)
        filled = (a["n_photons"].values > 0).sum()
        assert filled == (b["n_photons"].values > 0).sum() > 0
        assert np.nansum(a["height"].values) == pytest.approx(np.nansum(b["height"].values))
    with pytest.raises(StoreError, match="no segment lies in bbox"):
        is2ice.open_track(path, bbox=(0, -80, 1, -70))
    assert is2ice.open_track(
        path, length=2, confidence=3, quality=[0], reference=stored.attrs["height_reference"]
    )
    assert is2ice.open_track(path, corrections=stored.attrs["corrections"][::-1])
    for asked in (
        {"length": 5.0},
        {"confidence": 4},
        {"quality": (0, 1)},
        {"corrections": ("dac",)},
        {"reference": "geoid" if stored.attrs["height_reference"] == "mss" else "mss"},
        {"first_photon": None},
    ):
        (name,) = asked
        with pytest.raises(ValueError, match=f"^{name}=.*stored with {name}="):
            is2ice.open_track(path, **asked)  # type: ignore[arg-type]
    with pytest.raises(GranuleError):
        is2ice.open_track(tmp_path / "nothing.h5")


def test_bbox_of_a_store_across_the_antimeridian(tmp_path: Path) -> None:
    ds = schema.mock_segments(100, stages=STAGES).assign_attrs(granule="a", beam="gt1r")
    ds["longitude"][:] = (np.linspace(179.0, 181.0, 100) + 180) % 360 - 180
    ds["label"] = schema.mock_segments(100, stages=("labels",))["label"]
    store.write_track(ds.drop_vars("label"), tmp_path / "s.zarr")
    part = is2ice.open_track(tmp_path / "s.zarr", bbox=(179.5, -90, -179.5, 90))
    longitude = part["longitude"].values[0]
    assert ((longitude >= 179.5) | (longitude <= -179.5)).all()
    expected = np.linspace(179.0, 181.0, 100)
    assert part.sizes["x_atc"] == ((expected >= 179.5) & (expected <= 180.5)).sum()
    schema.conform(part, "segments", *STAGES)


def test_open_file_objects_run_serially(real_data: Path, tmp_path: Path) -> None:
    with (real_data / "atl03" / f"{REAL}_gt1l.h5").open("rb") as source:
        run = is2ice.run(source, tmp_path / "s.zarr")
    assert [r["granule"] for r in run.done] == [REAL], run.report()


def test_a_file_of_any_name(tmp_path: Path) -> None:
    source = tmp_path / "my [granule] 1.h5"
    write_beam(source, 6_000)
    run = is2ice.run(source, tmp_path / "s.zarr")
    assert run.ok, run.report()
    assert {r["granule"] for r in run.done} == {"my_granule_1"}
    assert is2ice.open_track(tmp_path / "s.zarr").attrs["granule"] == "my_granule_1"
    assert is2ice.run(source, tmp_path / "s.zarr").skipped
    os.utime(source, (1, 1))  # another file of the same size
    assert is2ice.run(source, tmp_path / "s.zarr").done


@contextmanager
def server_of(path: Path, good: int) -> Iterator[str]:
    """A server with ranges of one file that answers 403 after so many requests."""
    body, left = path.read_bytes(), itertools.count(good, -1)

    class Handler(services.Quiet):
        def do_GET(self) -> None:
            if next(left) <= 0:
                self.answer(403)
                return
            first, _, last = self.headers["Range"].removeprefix("bytes=").partition("-")
            part = body[int(first) : int(last) + 1]
            there = f"bytes {first}-{int(first) + len(part) - 1}/{len(body)}"
            self.answer(206, part, Accept_Ranges="bytes", Content_Range=there)

    with services.http_server(Handler) as server:
        yield f"http://user:s3cret@127.0.0.1:{server.server_port}/{path.name}?token=s3cret&x=1#s3cret"


def test_secrets_of_a_url_are_not_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", logger="is2ice")
    source, path = tmp_path / "ATL03_20191104195311_05940510_006_01.h5", tmp_path / "s.zarr"
    write_beam(source, 6_000)
    store.create(path)  # a store that the run itself makes would go again with the failures
    reached = set()
    for good in (0, 1, 3, 6, 1000):  # opening takes 4 requests, all of it 8
        with server_of(source, good) as url:
            quick = {"retry_wait": 0.01}
            run = pipeline.run(url, path, engine_options=quick, overwrite="always", retries=1)
            for receipt in run.receipts:
                reached.add((receipt["outcome"], receipt["beam"] is not None))
                assert receipt["source"].endswith(source.name)
            assert "s3cret" not in json.dumps(run.to_dict()) + run.report() + Path(run.log).read_text()
            if good < 1000:
                assert run.failed
                with pytest.raises(Is2IceError) as caught:
                    one_track(url, "gt2r")
                assert "s3cret" not in str(caught.value)
    # Refused when opened, refused while read, and done: each was met.
    assert reached == {("failed", False), ("failed", True), ("done", True)}
    assert "s3cret" not in caplog.text
    for file in path.rglob("*"):
        assert not file.is_file() or b"s3cret" not in file.read_bytes(), file

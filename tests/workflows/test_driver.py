"""Runs on every engine: the same bits, failures named, killed workers and drivers, resuming, reports, blocks."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import services
import test_run as stand_ins
import xarray as xr

import is2ice
from is2ice.engines import Cluster
from is2ice.errors import StoreError
from is2ice.io.remote import location
from is2ice.io.stores import store
from is2ice.workflows import driver, execution, run_record, run_report
from is2ice.workflows import run as pipeline
from is2ice.workflows.execution import ExecutionSettings
from is2ice.workflows.manifest import Manifest, named
from is2ice.workflows.options import Options
from is2ice.workflows.processes import process_start
from is2ice.workflows.receipts import Run
from is2ice.workflows.track import Item, load

SAMPLE = next((Path(__file__).parents[2] / "sample_data").glob("ATL03_*.h5"))
SERVICES = (pytest.param("gateway", marks=pytest.mark.slow), pytest.param("spark", marks=pytest.mark.slow))
ALL = ("serial", "processes", "dask", *SERVICES)


@pytest.fixture
def on(engine: str, request: pytest.FixtureRequest) -> dict[str, Any]:
    """How a run is told of an engine with two workers."""
    if engine in ("serial", "processes"):
        return {"engine": engine, "workers": 2 if engine == "processes" else None}
    return {"engine": request.getfixturevalue(f"{engine}_cluster")}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> is2ice.workflows.run.Run:
    """The sample granule from photons to freeboard, on the serial engine."""
    return is2ice.run(SAMPLE, tmp_path_factory.mktemp("serial") / "s.zarr")


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> is2ice.workflows.run.Run:
    """One beam of it without the others, whose sea surface is its own."""
    return is2ice.run(SAMPLE, tmp_path_factory.mktemp("alone") / "s.zarr", beams="gt2r")


def survey_by_name(source: str, beams: object) -> list[Item]:
    """Stand-in sources are names of no file; a manifest writes paths down in full."""
    return stand_ins.fake_survey(os.path.basename(source), beams)


FAKE = replace(stand_ins.FAKE, survey=survey_by_name)


def checksums(run: Run) -> dict[str, str]:
    return {r["beam"]: r["checksum"] for r in run.done}


def values(path: str | Path) -> dict[str, bytes]:
    """Every file of values in a store, by its name below granule and beam (the digest tells when it was made)."""
    chunks = (p.relative_to(path) for p in (Path(path) / "tracks").rglob("c/**/*") if p.is_file())
    return {"/".join((*p.parts[1:3], *p.parts[4:])): (Path(path) / p).read_bytes() for p in chunks}


# -- the same bits ------------------------------------------------------------------------------------
@pytest.mark.parametrize("engine", ALL)
def test_every_engine_writes_the_same_bits(engine: str, on, whole, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """Through the genuine chain, from photons to freeboard: every file of values is the same."""
    run = is2ice.run(SAMPLE, tmp_path / "s.zarr", **on)
    assert len(run.done) == 3, run.report()
    assert checksums(run) == checksums(whole)
    assert len(values(whole.store)) > 100
    assert values(run.store) == values(whole.store)
    assert {r["engine"] for r in run.done} == {"dask" if engine == "gateway" else engine}


@pytest.mark.parametrize("engine", ["processes", pytest.param("spark", marks=pytest.mark.slow)])
def test_a_track_in_blocks_is_the_track(engine: str, on, alone, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    run = is2ice.run(SAMPLE, tmp_path / "s.zarr", beams="gt2r", block_km=1.7, **on)
    assert checksums(run) == checksums(alone)
    assert not (tmp_path / "s.zarr" / ".parts").exists()


def test_blocks_are_used_and_a_missing_one_is_made(whole, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    from is2ice.workflows import segment_blocks

    asked: list[Any] = []

    def spy(*args: Any, **how: Any) -> xr.Dataset:
        read = how["blocks"]
        return load(*args, **how | {"blocks": lambda *a: asked.append(read(*a)) or asked[-1]})

    options = is2ice.Options()
    joined = segment_blocks.Joined(location.location(tmp_path), 1500, spy)
    for number in (0, 2):
        joined.make(options, segment_blocks.Part(str(SAMPLE), "g", "gt2r", number))
    segments = joined(str(SAMPLE), "gt2r", options, threads=1)
    assert [block is not None for block in asked] == [True, False, True]
    xr.testing.assert_identical(segments, load(str(SAMPLE), "gt2r", options))


def test_stored_segments_are_a_beginning(whole, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    first = is2ice.run(SAMPLE, tmp_path / "segments.zarr", options=is2ice.Options(until="segments"))
    assert "n_leads" not in first.done[0]
    run = is2ice.run(str(tmp_path / "segments.zarr"), tmp_path / "s.zarr")
    assert checksums(run) == checksums(whole)
    again = is2ice.run(str(tmp_path / "segments.zarr"), tmp_path / "s.zarr")
    assert len(again.skipped) == 3
    other = is2ice.run(
        str(tmp_path / "segments.zarr"), tmp_path / "o.zarr", options=is2ice.Options(confidence=4)
    )
    assert len(other.failed) == 3
    assert "confidence=4" in other.failed[0]["error"]


# -- failures -----------------------------------------------------------------------------------------
@pytest.mark.parametrize("engine", ALL)
def test_a_failing_track_is_named_and_the_others_finish(engine: str, on, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    sources = ["broken.h5", "cloudy.h5", "a.h5"]
    run = is2ice.run(sources, tmp_path / "s.zarr", chain=FAKE, **on)
    assert not run.ok
    assert {(r["granule"], r["beam"]) for r in run.done} == {("a", "gt1r"), ("a", "gt2r"), ("cloudy", "gt1r")}
    assert {(r["source"], r["beam"]) for r in run.failed} == {("broken.h5", None), ("cloudy.h5", "gt2r")}


def die_once_load(source: str, beam: str, options: Options, *, threads: int) -> xr.Dataset:
    mark = Path(os.environ["IS2ICE_TEST_MARK"])
    if (source, beam) == ("b.h5", "gt1r") and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return stand_ins.fake_load(source, beam, options, threads=threads)


@pytest.mark.parametrize("engine", ALL[1:])
def test_a_worker_is_killed_and_the_run_completes(engine: str, on, tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    mark = tmp_path / "killed"
    monkeypatch.setenv("IS2ICE_TEST_MARK", str(mark))
    monkeypatch.setattr(
        execution, "CREDENTIALS", ("IS2ICE_TEST_MARK",)
    )  # how it reaches workers that run already
    chain = replace(FAKE, load=die_once_load)
    run = is2ice.run([f"{name}.h5" for name in "abcd"], tmp_path / "s.zarr", chain=chain, **on)
    assert mark.exists()
    assert run.ok, run.report()
    # A track that a killed worker had written but not told of is found, and not computed again.
    assert len(run.done) + len(run.skipped) == 8
    assert len(store.open_store(tmp_path / "s.zarr")) == 8


# -- resuming -----------------------------------------------------------------------------------------
def nap_and_tell(item: str) -> None:
    Path(item).with_suffix(f".{os.getpid()}").touch()
    time.sleep(600)


ORPHANS = """
import sys
sys.path.insert(0, sys.argv[1])
import test_driver
from is2ice import engines
if __name__ == "__main__":
    list(engines.map(test_driver.nap_and_tell, [sys.argv[2]] * 3, "processes", workers=2))
"""


def test_workers_of_a_killed_driver_end(tmp_path: Path) -> None:
    script = tmp_path / "driver.py"
    script.write_text(ORPHANS)
    mark = tmp_path / "worker.mark"
    command = [sys.executable, str(script), str(Path(__file__).parent), str(mark)]
    child = subprocess.Popen(command, env=services.environment())
    while len(pids := [int(p.suffix[1:]) for p in tmp_path.glob("worker.*")]) < 2:
        assert child.poll() is None
        time.sleep(0.1)
    child.kill()
    child.wait()
    while any(process_start(pid) is not None for pid in pids):  # the test's own time limit ends this
        time.sleep(0.1)


DRIVER = """
import json, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
sys.path.insert(0, sys.argv[2])
import test_run as t, test_driver
from is2ice.workflows import driver as runs
from is2ice.workflows import run as pipeline
from is2ice.workflows.processes import process_start
class Loud(runs.Bar):
    def finished(self, receipt): print(receipt["outcome"], flush=True)
from contextlib import contextmanager
@contextmanager
def loud(*a): yield Loud()
if __name__ == "__main__":
    runs.show_progress = loud
    chain = t.Chain(test_driver.survey_by_name, t.slow_load, t.fake_derive)
    workers = None if sys.argv[3] == "serial" else 2
    pipeline.run([f"g{i}.h5" for i in range(12)], sys.argv[1], chain=chain, engine=sys.argv[3], workers=workers,
                 overwrite=sys.argv[4], engine_options=json.loads(sys.argv[5]))
"""


@pytest.fixture
def no_cluster_left(gateway_address: dict[str, str]) -> Iterator[None]:
    """Ends the clusters of a driver that was killed, which a Gateway keeps until they have been idle for long."""
    from dask_gateway import Gateway

    from is2ice.engines.gateway import _closed

    server = Gateway(**gateway_address)
    try:
        before = {c.name for c in server.list_clusters()}
        yield
        for cluster in server.list_clusters():
            if cluster.name not in before:
                server.stop_cluster(cluster.name)
    finally:
        _closed(server)


@pytest.mark.parametrize(
    ("engine", "overwrite", "sign"),
    [
        ("processes", "different", signal.SIGKILL),
        ("serial", "always", signal.SIGKILL),
        ("serial", "different", signal.SIGINT),
        pytest.param("dask", "always", signal.SIGKILL, marks=pytest.mark.slow),
        pytest.param("spark", "always", signal.SIGKILL, marks=pytest.mark.slow),
        pytest.param("gateway", "always", signal.SIGKILL, marks=pytest.mark.slow),
    ],
)
def test_a_killed_driver_is_resumed(
    tmp_path: Path, engine: str, overwrite: str, sign: signal.Signals, request: pytest.FixtureRequest
) -> None:
    path, script = tmp_path / "s.zarr", tmp_path / "driver.py"
    script.write_text(DRIVER)
    reach = request.getfixturevalue("gateway_address") if engine == "gateway" else {}
    if engine == "gateway":
        request.getfixturevalue("no_cluster_left")
    command = [sys.executable, str(script), str(path), str(Path(__file__).parent), engine, overwrite]
    command.append(json.dumps(reach))
    child = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=services.environment()
    )
    assert child.stdout is not None
    for _ in range(3):
        assert child.stdout.readline().strip() == "done"
    child.send_signal(sign)
    child.wait(60)
    child.stdout.close()
    manifest, before = run_record.read(path)
    assert manifest["status"] == ("running" if sign is signal.SIGKILL else "interrupted")
    assert len(before.done) >= 3
    told = run_report.text(manifest, before)
    assert f"not finished: is2ice run --resume --store {path}" in told
    after = pipeline.resume(path, engine="serial", chain=FAKE)
    assert after.ok, after.report()
    assert len(after.done) + len(after.skipped) == 24
    times = Counter((r["granule"], r["beam"]) for r in (*before.done, *after.done))
    assert max(times.values()) == 1  # no track done twice
    assert len(store.open_store(path)) == 24
    assert not [p for p in path.iterdir() if p.name.startswith((".tmp", ".old")) and sign is signal.SIGINT]


def test_what_cannot_be_resumed_says_so(tmp_path: Path) -> None:
    path = tmp_path / "s.zarr"
    with pytest.raises(StoreError, match="no run has left a manifest"):
        pipeline.resume(path)
    store.create(path)
    with pytest.raises(StoreError, match="no run has left a manifest"):
        pipeline.resume(path)
    chain = replace(stand_ins.FAKE, survey=lambda source, beams: stand_ins.fake_survey("a.h5", beams))
    pipeline.run("https://host/a.h5?token=s3cret", path, chain=chain)
    assert "s3cret" not in Path(run_record.last(path)).read_text()
    with pytest.raises(StoreError, match="signed URLs"):
        pipeline.resume(path)
    again = pipeline.resume(path, sources=["https://host/a.h5?token=new"], chain=chain)
    assert len(again.skipped) == 2


def test_a_run_on_a_cluster_is_resumed_where_one_says(tmp_path: Path, dask_cluster: Cluster) -> None:
    pipeline.run(["a.h5", "b.h5"], tmp_path / "s.zarr", engine=dask_cluster, chain=FAKE)
    with pytest.raises(StoreError, match=r"was on a cluster \(local\); name an engine"):
        pipeline.resume(tmp_path / "s.zarr")
    assert len(pipeline.resume(tmp_path / "s.zarr", engine="serial", chain=FAKE).skipped) == 4


# -- manifest, report, command line -------------------------------------------------------------------
def test_manifest_and_report(tmp_path: Path) -> None:
    path = tmp_path / "s.zarr"
    run = pipeline.run(["cloudy.h5", "a.h5"], path, chain=FAKE)
    manifest, read = run_record.read(path)
    assert read.receipts == tuple(json.loads(json.dumps(r)) for r in run.receipts)
    assert (manifest["status"], manifest["done"], manifest["failed"]) == ("finished", 3, 1)
    assert manifest["sources"] == [str(Path(name).absolute()) for name in ("cloudy.h5", "a.h5")]
    assert is2ice.Options.from_parameters(manifest["options"]) == is2ice.Options()
    assert all(len(r["checksum"]) == 64 for r in run.done)
    told = run_report.text(manifest, read)
    assert "3 tracks done, 0 skipped, 1 failed; 600 segments" in told
    assert "FAILED cloudy gt2r: cloudy gt2r: no photon has sea-ice confidence" in told
    figures = run_report.figures(manifest, read)
    assert figures["seconds"]["load"] == pytest.approx(sum(r["seconds"]["load"] for r in run.done), abs=1e-3)
    assert figures["workers"] == 1


def test_on_the_command_line(tmp_path: Path) -> None:
    def is2(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "is2ice", *arguments]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)

    (tmp_path / "bad.h5").write_text("<html>")
    path = str(tmp_path / "s.zarr")
    first = is2("run", str(SAMPLE), "bad.h5", "--store", path, "--beams", "gt2r", "--until", "classes")
    assert first.returncode == 1, first.stderr
    assert "bad.h5" in first.stdout
    resumed = is2("run", "--resume", "--store", path)
    assert resumed.returncode == 1  # what failed is tried again, and fails again
    assert "0 tracks done, 1 skipped, 1 failed" in resumed.stdout
    told = is2("report", path)
    assert told.returncode == 0, told.stderr
    assert "bad.h5: not an HDF5 file" in told.stdout
    assert json.loads(is2("report", path, "--json").stdout)["skipped"] == 1
    for wrong, why in (
        (("run", "--store", path), "nothing to do"),
        (
            ("run", str(SAMPLE), "--store", path, "--address", "tcp://127.0.0.1:1"),
            "--address names a Dask scheduler",
        ),
        (("run", str(SAMPLE), "--store", path, "--conf", "a=b"), "--conf is for spark and gateway"),
        (("report", str(tmp_path / "none")), "no run has left a manifest"),
    ):
        done = is2(*wrong)
        assert (done.returncode, why in done.stderr) == (2, True), done.stderr


# -- what a record is good for --------------------------------------------------------------------------
def test_blocks_interrupted_are_gone_on_with(alone, tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    """The record is there before the first block; parts and length of blocks are found again, and then removed."""
    from is2ice.workflows import segment_blocks

    path, made = tmp_path / "s.zarr", segment_blocks.Joined.make
    count = []

    def two(self: Any, options: Any, part: Any) -> None:
        if len(count) == 2:
            raise KeyboardInterrupt
        count.append(part.number)
        made(self, options, part)

    pipeline.run(["a.h5"], path, chain=FAKE)
    monkeypatch.setattr(segment_blocks.Joined, "make", two)
    with pytest.raises(KeyboardInterrupt):
        is2ice.run(SAMPLE, path, beams="gt2r", block_km=1.7)
    manifest, _ = run_record.read(path)
    assert (manifest["status"], manifest["block_km"], manifest["blocks"]["made"]) == ("interrupted", 1.7, 2)
    assert len(list((path / ".parts" / manifest["of"]).iterdir())) == 2
    other = is2ice.run(["b.h5"], tmp_path / "o.zarr", chain=FAKE)  # of another store
    assert other.ok
    count.clear()
    monkeypatch.setattr(
        segment_blocks.Joined, "make", lambda self, o, part: count.append(part.number) or made(self, o, part)
    )
    read: list[Any] = []
    own = segment_blocks.Joined._read
    monkeypatch.setattr(segment_blocks.Joined, "_read", lambda *a: read.append(own(*a)) or read[-1])
    run = pipeline.resume(path)
    assert checksums(run) == checksums(alone)
    assert len(count) == len(read) > 2
    assert all(block is not None for block in read)
    assert not (path / ".parts").exists()
    told = run_report.text(*run_record.read(path))
    assert f"blocks: {len(count)} ready, 0 failed" in told


def test_blocks_of_a_run_in_progress_stay(tmp_path: Path) -> None:
    from is2ice.workflows import run_record, segment_blocks

    root = store.create(tmp_path / "s.zarr")
    going = run_record.Record(root, Manifest("run", ()), ExecutionSettings())
    with going:
        for run in (going.of, "another"):
            segment_blocks.parts_folder(root, run).put("block", b"x")
        segment_blocks.clear(root, run_record.resumable(root))
        assert os.listdir(root.folder / ".parts") == [going.of]
        told = run_report.text(*run_record.read(root))
        assert f"in progress in process {os.getpid()}" in told
        assert "--resume" not in told
        manifest = run_record.read(root)[0]
        for other in (
            {"host": "elsewhere"},
            {"machine": "another", "process": 1},
        ):  # of this name, such as a container
            assert "can show" in run_report.text(manifest | other, run_record.read(root)[1])
            root.put(f".runs/{manifest['id']}.json", json.dumps(manifest | other).encode())
            segment_blocks.clear(root, run_record.resumable(root))
            assert os.listdir(root.folder / ".parts") == [going.of]
        going.finish(Run(str(root), (), "serial", 0.0))
    segment_blocks.clear(root, run_record.resumable(root))
    assert not (root.folder / ".parts").exists()


def test_an_attempt_without_workers_leaves_no_record(tmp_path: Path) -> None:
    path = tmp_path / "s.zarr"
    pipeline.run(["a.h5", "cloudy.h5"], path, engine="processes", workers=1, chain=FAKE)
    before = run_record.last(path)
    with pytest.raises(ValueError, match="serial engine has one worker"):
        pipeline.resume(path, engine="serial", workers=2, chain=FAKE)
    assert run_record.last(path) == before
    again = pipeline.resume(path, workers=2, chain=FAKE)
    assert (again.engine, len(again.skipped), len(again.failed)) == ("processes", 3, 1)
    assert run_record.read(path)[0]["engine_options"] == {"workers": 2}
    assert f"failed tracks are tried again by is2ice run --resume --store {path}" in run_report.text(
        *run_record.read(path)
    )
    assert "processes: no track was computed" in run_report.text(*run_record.read(path))


def test_half_a_manifest_is_none(tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "s.zarr"
    pipeline.run(["a.h5"], path, chain=FAKE)
    before = run_record.last(path)
    (path / ".runs" / ".x.json").write_text("")
    (path / ".runs" / "y.json").write_text("{")
    assert run_record.last(path) == before
    assert len(pipeline.resume(path, chain=FAKE).skipped) == 2
    with pytest.raises(StoreError, match="not a whole manifest"):
        run_record.read(path / ".runs" / "y.json")

    def full(*args: Any, **how: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        with pytest.raises(StoreError, match="No space left"):
            pipeline.run(["b.h5"], path, chain=FAKE)
    assert not [p for p in (path / ".runs").iterdir() if p.name.startswith(".") and p.name != ".x.json"]


def test_a_second_resume_keeps_what_the_first_run_made(tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "s.zarr"
    first = pipeline.run(["cloudy.h5", "a.h5"], path, chain=FAKE, overwrite="always")
    assert len(first.done) == 3
    manifest = json.loads(Path(run_record.last(path)).read_text())
    for turn in range(2):  # the clock is set back between two runs, then forth
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600 * (-1) ** (turn + 1)))
        monkeypatch.setattr(run_record.epoch, "now", lambda stamp=stamp: stamp)
        again = pipeline.resume(path, chain=FAKE)
        assert (len(again.done), len(again.skipped), len(again.failed)) == (0, 3, 1)
        assert run_record.read(path)[0]["of"] == manifest["of"]


def test_no_secret_is_written_down(tmp_path: Path) -> None:
    from is2ice.workflows import run_record

    options = {
        "address": "http://me:PW@host:1",
        "conf": {"spark.a.secret.key": "PW", "b": "c"},
        "workers": 2,
        "retry_wait": 1.0,
    }
    place = ExecutionSettings(Cluster("spark", {}, "spark://me:PW@host"), options)
    record = run_record.Record(store.create(tmp_path / "s.zarr"), Manifest("run", ()), place)
    with record:
        assert "PW" not in (record.root.folder / record.key).read_text()
        manifest = json.loads((record.root.folder / record.key).read_text())
        record.finish(Run("s", (), "spark", 0.0))
    assert manifest["engine_options"] == {
        "address": "http://host:1",
        "conf": {"b": "c"},
        "workers": 2,
        "retry_wait": 1.0,
    }
    assert manifest["where"] == "spark://host"
    assert manifest["withheld"] == ["address", "conf"]
    (record.root.folder / record.key).write_text(json.dumps(manifest | {"where": "", "status": "finished"}))
    with pytest.raises(StoreError, match=r"address, conf of its last run's engine \(spark\) is not recorded"):
        run_record.resumed(tmp_path / "s.zarr", "run", {})
    given = {"engine_options": {"address": "x", "conf": {"spark.a.secret.key": "PW"}}}
    _, changes, _ = run_record.resumed(tmp_path / "s.zarr", "run", given)
    assert changes["engine_options"]["conf"] == {"spark.a.secret.key": "PW", "b": "c"}
    assert (changes["engine"], changes["engine_options"]["workers"]) == ("spark", 2)


def test_what_resuming_cannot_change_is_refused(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from is2ice.cli.engine_options import EngineFlags
    from is2ice.cli.main import app

    path = str(tmp_path / "s.zarr")
    pipeline.run(["a.h5"], path, chain=FAKE, engine="processes", workers=1)
    for flags in (["--method", "nasa"], ["--overwrite", "always"], ["--beams", "gt1r"]):
        done = CliRunner().invoke(app, ["run", "--resume", "--store", path, *flags])
        assert f"{flags[0]}: --resume repeats the request" in str(done.exception)
    done = CliRunner().invoke(app, ["run", "--resume", "--store", path, "--conf", "a=b"])
    assert "--conf is for spark and gateway (got --engine processes)" in str(done.exception)
    assert EngineFlags(workers=2).keywords(path) == {"engine_options": {"workers": 2}}
    assert EngineFlags().keywords(path) == {}


def test_records_of_one_second_are_apart(tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    from is2ice.io.stores import cf_attributes
    from is2ice.workflows import run_record

    root = store.create(tmp_path / "s.zarr")
    monkeypatch.setattr(cf_attributes, "now", lambda: "2026-01-01T00:00:00Z")
    made = []
    for k in range(12):
        with run_record.Record(root, Manifest("run", (str(k),)), ExecutionSettings()) as record:
            record.finish(Run(str(root), (), "serial", 0.0))
        made.append(record.key)
        assert run_record.last(root) == f"{root.url}/{record.key}"
    assert len(set(made)) == 12


def test_failures_without_a_granule_are_each_recorded(tmp_path: Path) -> None:
    root = store.create(tmp_path / "s.zarr")
    with run_record.Record(root, Manifest("labels", ()), ExecutionSettings()) as record:
        for name in ("a.h5", "b.h5"):
            receipt = driver.failure(Item(name, "", ""), OSError(name), "serial")
            assert record.write(receipt)["source"] == name
        assert [r["source"] for r in run_record.read(root)[1].failed] == ["a.h5", "b.h5"]


def test_what_a_manifest_names() -> None:
    assert named("ATL03_20191104195311_05940510_006_01") == (
        "ATL03_20191104195311_05940510_006_01",
        True,
    )
    assert named("ATL03_20191104195311_05940510_006_01.h5")[0].startswith("/")


def test_damaged_hdf5_is_told_so() -> None:
    told = driver.failure(
        Item("a.h5", "a", "gt1r"),
        KeyError("Unable to synchronously open object (bad heap)"),
        "serial",
    )
    assert "download it again" in told["error"]
    gone = KeyError("Unable to synchronously open object (object 'x' doesn't exist)")
    assert "download" not in driver.failure(Item("a.h5", "a", "gt1r"), gone, "serial")["error"]
    here = Item(str(SAMPLE), "a", "gt1r")
    assert "give an address that both reach" in driver.failure(here, OSError("no such file"), "dask")["error"]
    far = Item("https://host/a.h5", "a", "gt1r")
    assert "download" not in driver.failure(far, OSError("Can't read data"), "serial")["error"]


def test_nothing_to_do_makes_no_store(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nothing to do"):
        is2ice.run([], tmp_path / "s.zarr")
    assert not (tmp_path / "s.zarr").exists()

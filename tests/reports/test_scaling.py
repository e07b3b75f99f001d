"""The scaling model: fitted to what it made itself, held to what was measured, projections marked as such."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from is2ice.cli.bench import app
from is2ice.reports import other_programs, scaling
from is2ice.reports.other_programs import OtherPrograms
from is2ice.reports.scaling import Model, Timing


def test_the_fit_finds_the_model_it_came_from() -> None:
    true = Model(work=0.8, serial=1.5, dispatch=0.004)
    workers = [1, 2, 4, 8]
    fitted = Model.fit(workers, [true.seconds(n, 120) for n in workers], 120, 0.004)
    assert fitted.work == pytest.approx(0.8, rel=1e-6)
    assert fitted.serial == pytest.approx(1.5, rel=1e-4)


def test_the_model_in_numbers() -> None:
    model = Model(work=1.0, serial=2.0, dispatch=0.01, task_bytes=5e6, bandwidth=1e8)
    assert model.seconds(1, 100) == pytest.approx(2.0 + 1.0 + 100.0)
    assert model.seconds(16, 100) == pytest.approx(
        2.0 + 1.0 + 7.0
    )  # seven rounds, the last one of four tasks
    assert model.seconds(1000, 100) == pytest.approx(5.0)  # 500 MB at 100 MB/s
    assert model.serial_fraction(100) == pytest.approx(3.0 / 103.0)
    assert Model.fit([1, 2], [10.0, 9.9], 10, 0.0).work >= 0.0
    assert math.isinf(Model(1.0, 0.0, 0.0).bandwidth)


def test_one_number_of_workers_projects_nothing() -> None:
    with pytest.raises(ValueError, match="two or more numbers of workers"):
        Model.fit([1], [10.0], 10, 0.0)
    timings = [Timing("labelling", "dask", 1, 24, 8.0, 0.01, 12.0, 5.0)]
    text = scaling.tables(timings, {}, cores=[16], tasks=3000)
    assert "NOT PROJECTED" in text
    assert "x)" not in text


def test_a_wrong_engine_is_told_before_an_archive_is_made(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["scaling", "--engine", "flink", "--folder", str(tmp_path / "f")])
    assert "--engine flink: expected some of processes, dask, spark" in str(done.exception)
    assert not (tmp_path / "f").exists()


def test_spark_is_given_an_empty_task_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    from is2ice.engines import spark

    most = []
    monkeypatch.setattr(scaling.engines, "map", lambda fn, items, *a, **o: most.append(spark.MOST) or items)
    assert scaling.overhead("spark") < 1.0
    scaling.overhead("dask")
    assert most == [1, spark.MOST]
    assert spark.MOST > 1


def test_tables_keep_measured_and_projected_apart() -> None:
    timings = [Timing("labelling", "dask", n, 24, 8.0 / n, 0.01, 12.0 / n, 5.0) for n in (1, 2)]
    text = scaling.tables(
        timings, {("labelling", "dask"): Model(0.5, 0.0, 0.0)}, cores=[16, 1000], tasks=3000
    )
    measured, projected = text.split("PROJECTED")
    assert "MEASURED here" in measured
    assert "dask             2     4.00   0.010      6.00    2.00      2.00" in measured
    assert "published       16       12     0.3        24" in measured
    assert "not measured" in projected
    assert "94 s (16x)" in projected  # 188 rounds of half a second
    assert "2 s (1,000x)" in projected
    assert "freeboard" not in text  # nothing of what was not timed


def test_own_work_is_not_that_of_others() -> None:
    """Neither this process's work nor that of its children, living or ended, counts; a stranger's does."""
    spin = "import time; end = time.process_time() + 0.3\nwhile time.process_time() < end: pass\nprint(1, flush=True)"
    began, machine, own = (clock := OtherPrograms())._began
    assert machine is not None
    subprocess.run([sys.executable, "-c", spin], check=True)
    with subprocess.Popen(
        [sys.executable, "-c", f"{spin}\ninput()"], stdin=-1, stdout=-1, text=True
    ) as living:
        assert living.stdout is not None
        living.stdout.readline()
        assert other_programs._own() - own >= 50  # ticks of 10 ms, of both
        living.communicate("\n")
    state = clock.state()
    assert state["others"] is not None
    assert state["busy"] == (state["others"] > 0.1 * state["cores"])
    clock._began = began, machine - 10**6, own  # others have done 10,000 s of work
    assert clock.state()["busy"]


@pytest.mark.slow
def test_a_small_archive_is_timed(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "is2ice", "bench", "scaling", "--json", "--folder", str(tmp_path)]
    command += ["--engine", "processes", "--workers", "1", "--granules", "2", "--length-km", "4"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    kinds = {t["kind"]: t for t in document["measured"]}
    assert set(kinds) == {"labelling", "freeboard"}
    for timing in kinds.values():
        assert timing["reduce"] > timing["map"]  # the action holds the work, the lazy step does not
        assert timing["measured"]
    assert kinds["freeboard"]["tasks"] == 6
    assert 0 < kinds["freeboard"]["read"] < kinds["labelling"]["read"]  # stored segments, and not the photons
    assert document["model"] == document["projected"] == []  # of one number of workers

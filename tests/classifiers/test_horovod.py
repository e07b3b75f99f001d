"""Training in two real processes under ``horovodrun`` (Gloo), with a rank killed on the way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import services
from horovod_ranks import digest
from test_neural import a_track

from is2ice import schema
from is2ice.classifiers.samples import from_tracks
from is2ice.io.stores import store
from is2ice.workflows.train import labelled_tracks

pytest.importorskip("tensorflow")

HERE = Path(__file__).resolve().parents[1]
HOROVODRUN = Path(sys.executable).with_name("horovodrun")


def horovodrun(*arguments: str | Path, launcher: str = "--gloo") -> subprocess.CompletedProcess[str]:
    if not HOROVODRUN.exists():
        pytest.skip("horovodrun is not installed beside this Python")
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")])}
    command = [HOROVODRUN, "-np", "2", launcher, sys.executable, HERE / "horovod_ranks.py", *arguments]
    return subprocess.run(
        [str(c) for c in command], capture_output=True, text=True, env=env, timeout=500, check=False
    )


def write_data(folder: Path) -> None:
    from test_training import windows

    x, y = windows(1601)
    x_held, y_held = windows(801, seed=1)
    np.savez(folder / "data.npz", x=x, y=y, x_held=x_held, y_held=y_held)


def write_labelled(folder: Path, where: str) -> None:
    """Three granules, of which one is shared by the ranks, since its beams are three."""
    for k, (granule, beam) in enumerate([("A", "gt1r"), ("B", "gt1l"), ("B", "gt2l"), ("B", "gt2r")]):
        track = a_track(400, seed=k, beam=beam, granule=granule)
        store.write_track(schema.annotate(track), where)
    store.consolidate(where)
    (folder / "labelled.txt").write_text(where)


def told(folder: Path) -> list[dict]:
    return [json.loads((folder / f"rank-{k}.json").read_text()) for k in (0, 1)]


@pytest.fixture(scope="module")
def bucket(clouds):
    """A bucket, and a server before it that notes who reads what."""
    given = clouds["s3"].environment
    with services.in_between(given["AWS_ENDPOINT_URL"]) as between, pytest.MonkeyPatch.context() as patch:
        for name, value in (given | {"AWS_ENDPOINT_URL": between.url}).items():
            patch.setenv(name, value)
        yield f"{clouds['s3']}/ranks.zarr", between


@pytest.fixture(scope="module")
def two_runs(tmp_path_factory, bucket):
    """The second rank dies in its third epoch; the same command is given again."""
    folder = tmp_path_factory.mktemp("ranks")
    write_data(folder)
    write_labelled(folder, bucket[0])
    first = horovodrun(folder, "3")
    left = sorted(p.name for p in folder.iterdir())
    bucket[1].keys.clear(), bucket[1].paths.clear()
    second = horovodrun(folder)
    return first, left, second, folder


def test_a_killed_rank_ends_the_run_and_leaves_a_checkpoint_of_the_root_only(two_runs):
    first, left, _, _ = two_runs
    assert first.returncode != 0
    assert left == ["checkpoint-root.npz", "data.npz", "labelled.txt"]


def test_the_same_command_goes_on_from_there(two_runs):
    _, _, second, folder = two_runs
    assert second.returncode == 0, second.stderr[-3000:]
    for rank in told(folder):
        assert 2 <= rank["resumed_at"] <= 3
        assert len(rank["history"]) == 6


def test_shards_are_disjoint_and_weights_and_history_the_same_on_every_rank(two_runs):
    a, b = told(two_runs[3])
    assert (a["size"], a["rank"], b["rank"]) == (2, 0, 1)
    assert len(a["shard"]) == len(b["shard"]) == 800
    assert not set(a["shard"]) & set(b["shard"])
    assert sorted(a["held"] + b["held"]) == list(range(801))
    assert a["weights"] == b["weights"]
    assert a["history"] == b["history"]
    assert a["history"][-1]["loss"] < a["history"][0]["loss"]


def test_each_rank_reads_its_share_of_the_bucket_and_has_the_samples_of_all(two_runs, bucket):
    where, between = bucket
    read = [
        (key, tuple(path.partition("/tracks/")[2].split("/")[:2]))
        for key, path in zip(between.keys, between.paths, strict=True)
        if "/label/c/" in path
    ]
    assert sorted(read) == [
        ("rank-0", ("A", "gt1r")),
        ("rank-0", ("B", "gt1l")),
        ("rank-1", ("B", "gt2l")),
        ("rank-1", ("B", "gt2r")),
    ]
    chunks = [path for path in between.paths if "/c/" in path and "/x_atc/" not in path]
    assert len(set(chunks)) == len(chunks) > 40
    one = digest(from_tracks(labelled_tracks(where)))
    assert [rank["samples"] for rank in told(two_runs[3])] == [one, one]
    assert [rank["own"] for rank in told(two_runs[3])] == [["A/gt1r", "B/gt1l"], ["B/gt2l", "B/gt2r"]]


def test_two_ranks_are_as_accurate_as_one(two_runs):
    from is2ice.classifiers import architectures, training

    folder = two_runs[3]
    data = np.load(folder / "data.npz")
    held = (data["x_held"], data["y_held"])
    alone = architectures.build("mlp", 3, 2, units=16, dropout=0.1, seed=0)
    # The same number of updates of the same number of samples: one rank with a batch twice as large.
    training.fit(alone, (data["x"], data["y"]), held, epochs=6, batch=64, class_weights="balanced")
    accuracy = float(np.mean(alone(held[0]).numpy().argmax(1) == held[1]))
    two = told(folder)[0]["accuracy"]
    error = np.sqrt(2 * accuracy * (1 - accuracy) / len(held[1]))
    assert abs(two - accuracy) < 4 * error
    assert two > 0.8


def test_steps_alone_between_averages_are_as_accurate_and_the_card_holds_the_cost(two_runs, tmp_path):
    write_data(tmp_path)
    run = horovodrun(tmp_path, "0", "8")
    assert run.returncode == 0, run.stderr[-3000:]
    a, b = told(tmp_path)
    assert a["weights"] == b["weights"]  # averaged last
    accuracy = told(two_runs[3])[0]["accuracy"]
    assert abs(a["accuracy"] - accuracy) < 4 * np.sqrt(2 * accuracy * (1 - accuracy) / 801)
    assert a["card"]["average_every"] == 8
    for card in (a["card"], told(two_runs[3])[0]["card"]):
        speed = card["speed"]
        assert 0 < speed["share_in_averages"] <= 1
        assert speed["samples_per_s"] == pytest.approx(2 * 800 / speed["s_an_epoch"], rel=0.01)
        assert speed["alone_s_an_epoch"] > 0


def test_mpi_where_it_is_built(tmp_path):
    hvd = pytest.importorskip("horovod.tensorflow")
    if not hvd.mpi_built():
        pytest.skip("this Horovod is built without MPI")
    write_data(tmp_path)
    run = horovodrun(tmp_path, launcher="--mpi")
    assert run.returncode == 0, run.stderr[-3000:]
    a, b = told(tmp_path)
    assert a["weights"] == b["weights"]

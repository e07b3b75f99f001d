"""Engines: the same results from each, tasks that overlap in time, failures that name their item."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import subprocess
import sys
import time
import weakref
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import services

from is2ice import engines
from is2ice.engines import Cluster

#: One test file for all engines. Those on services share one cluster of two workers each (tests/conftest.py).
SERVICES = (pytest.param("gateway", marks=pytest.mark.slow), pytest.param("spark", marks=pytest.mark.slow))
PARALLEL = ("processes", "dask", *SERVICES)
ALL = ("serial", *PARALLEL)


@pytest.fixture
def on(engine: str, request: pytest.FixtureRequest) -> tuple[str | Cluster, dict[str, int]]:
    """An engine with two workers, and its options."""
    if engine in ("serial", "processes"):
        return engine, {"workers": 2} if engine == "processes" else {}
    return request.getfixturevalue(f"{engine}_cluster"), {}


def square(x: int) -> int:
    return x * x


def nap(x: int) -> tuple[float, float, int]:
    start = time.time()
    time.sleep(0.6)
    return start, time.time(), os.getpid()


class Odd(Exception):
    """Cannot be unpickled: its argument is not its message."""

    def __init__(self, number: int, why: str) -> None:
        super().__init__(f"{number} is odd: {why}")


def refuse_three_with_a_cause(x: int) -> int:
    try:
        raise Odd(x, "which cannot be sent")
    except Odd:
        return refuse_three(x)


def refuse_three(x: int) -> int:
    if x == 3:
        raise ValueError("three is not wanted")
    return x


def without_three(text: str) -> str:
    return text.replace("three is", "xxx is")


def refuse_odd(x: int) -> int:
    if x % 2:
        raise Odd(x, "so it is")
    return x


def die_of_two(x: int) -> int:
    if x == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return x


def die_once_of_two(item: tuple[int, str]) -> int:
    x, mark = item
    if x == 2 and not os.path.exists(mark):
        open(mark, "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    return x


def die_later_of_two(x: int) -> int:
    if x == 2:
        time.sleep(0.3)
    return die_of_two(x)


@pytest.mark.parametrize("engine", ALL)
def test_same_results(engine: str, on) -> None:  # type: ignore[no-untyped-def]
    where, options = on
    got = dict(engines.map(square, range(12), where, **options))
    assert got == {x: x * x for x in range(12)}


@pytest.mark.parametrize("engine", PARALLEL)
def test_tasks_overlap_in_time(engine: str, on) -> None:  # type: ignore[no-untyped-def]
    where, options = on
    spans = [result for _, result in engines.map(nap, range(6), where, **options)]
    assert len({pid for *_, pid in spans}) >= 2
    assert os.getpid() not in {pid for *_, pid in spans}
    spans.sort()
    overlaps = sum(b[0] < a[1] for a, b in pairwise(spans))
    assert overlaps >= 2, spans


@pytest.mark.parametrize("engine", ALL)
def test_a_failing_item_is_named_and_the_rest_finish(engine: str, on) -> None:  # type: ignore[no-untyped-def]
    where, options = on
    got = dict(engines.map(refuse_three, range(6), where, **options))
    failed = got.pop(3)
    assert got == {x: x for x in (0, 1, 2, 4, 5)}
    assert type(failed) is ValueError
    assert str(failed) == "three is not wanted"
    notes = "\n".join(failed.__notes__)
    assert "while processing 3" in notes
    assert "refuse_three" in notes  # the traceback of where it ran


class Opened:
    """Stands for a file."""


def test_what_a_failure_holds_is_let_go_at_once() -> None:
    held = []

    def fail(x: int) -> None:
        file = Opened()
        held.append(weakref.ref(file))
        failure = OSError("403")  # the frame holds the failure, and its traceback the frame
        raise failure

    gc.disable()
    try:
        ((_, failed),) = engines.map(fail, [1])
        assert isinstance(failed, OSError)
        assert held[0]() is None
    finally:
        gc.enable()


def test_causes_are_told_but_not_sent() -> None:
    from tblib import pickling_support

    pickling_support.install()
    ((_, failed),) = engines.map(refuse_three_with_a_cause, [3])
    assert type(failed) is ValueError
    assert failed.__context__ is None
    assert "3 is odd: which cannot be sent" in failed.__notes__[0]


@pytest.mark.parametrize("engine", ALL)
def test_an_exception_that_cannot_be_sent_still_tells(engine: str, on) -> None:  # type: ignore[no-untyped-def]
    where, options = on
    got = dict(engines.map(refuse_odd, range(4), where, **options))
    assert got[0] == 0
    assert "1 is odd: so it is" in str(got[1])


@pytest.mark.parametrize("engine", PARALLEL)
def test_a_worker_that_dies_costs_its_own_item_only(engine: str, on) -> None:  # type: ignore[no-untyped-def]
    where, options = on
    got = dict(engines.map(die_of_two, range(6), where, **options))
    assert {x: r for x, r in got.items() if x != 2} == {x: x for x in (0, 1, 3, 4, 5)}
    assert "died" in str(got[2])
    assert "memory" in str(got[2])
    assert any("while processing 2" in note for note in got[2].__notes__)


@pytest.mark.parametrize("engine", PARALLEL)
def test_a_worker_killed_once_costs_nothing(engine: str, on, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    where, options = on
    mark = str(tmp_path / "killed")
    got = dict(engines.map(die_once_of_two, [(x, mark) for x in range(6)], where, **options))
    assert os.path.exists(mark)
    assert {x: r for (x, _), r in got.items()} == {x: x for x in range(6)}


@pytest.mark.parametrize("while_", ["a result is handled", "an item is drawn"])
def test_a_worker_that_dies_meanwhile_costs_its_own_item_only(while_: str) -> None:
    """The pool is found broken when the next item is handed in, not when a result is awaited."""
    drawn = []

    def items():  # type: ignore[no-untyped-def]
        for x in range(8):
            if while_ == "an item is drawn" and x == 3:
                time.sleep(4)
            drawn.append(x)
            yield x

    got = {}
    for x, result in engines.map(die_later_of_two, items(), "processes", workers=1):
        got[x] = result
        if while_ == "a result is handled" and x == 1:
            time.sleep(3)
    assert drawn == list(range(8))
    assert {x: r for x, r in got.items() if x != 2} == {x: x for x in range(8) if x != 2}
    assert "died" in str(got[2])


def test_what_cannot_be_sent_costs_its_own_item_only() -> None:
    """Also when it is tried alone, after another item took the pool down."""
    items = [2, lambda: None, 3]
    got = list(engines.map(die_of_two, items, "processes", workers=2))
    assert len(got) == 3
    (unsent,) = (result for item, result in got if callable(item))
    assert isinstance(unsent, Exception)
    assert (3, 3) in got


def test_retries_for_what_may_pass() -> None:
    calls = []

    def flaky(x: int) -> int:
        calls.append(x)
        if len(calls) < 3:
            raise ConnectionError("reset by peer")
        return x

    assert list(engines.map(flaky, [7], retries=2, retry_wait=0.01)) == [(7, 7)]
    assert calls == [7, 7, 7]
    calls.clear()
    ((_, failed),) = engines.map(refuse_three, [3], retries=5)
    assert isinstance(failed, ValueError)  # not of the kind that passes: one attempt
    chosen = engines.map(flaky, [7], retries=2, retry_wait=0.01, retry_on=lambda e: "peer" not in str(e))
    ((_, failed),) = chosen
    assert isinstance(failed, ConnectionError)
    assert calls == [7]


@pytest.mark.parametrize("engine", ["serial", "processes"])
def test_messages_are_cleaned(engine: str, caplog: pytest.LogCaptureFixture) -> None:
    retry = {"retries": 1, "retry_on": (ValueError,), "retry_wait": 0.01}
    ((_, failed),) = engines.map(refuse_three, [3], engine, clean=without_three, **retry)  # type: ignore[arg-type]
    assert str(failed) == "three is not wanted"  # the exception itself is the caller's to show or not
    (traceback, *_) = failed.__notes__
    assert "xxx is not wanted" in traceback
    assert "three" not in traceback.replace("refuse_three", "")
    if engine == "serial":  # a worker's log is its own
        assert "3: xxx is not wanted; trying again" in caplog.text


@pytest.mark.parametrize("engine", ALL)
def test_items_are_drawn_as_needed(engine: str, on) -> None:  # type: ignore[no-untyped-def]
    where, options = on
    drawn = []

    def items():  # type: ignore[no-untyped-def]
        for x in range(1000):
            drawn.append(x)
            yield x

    results = engines.map(square, items(), where, **options)
    next(results)
    assert len(drawn) <= 8
    results.close()


def test_dask_client_of_the_caller_stays_open() -> None:
    from distributed import Client

    with Client(n_workers=1, threads_per_worker=1, dashboard_address=None, set_as_default=False) as client:
        got = dict(engines.map(square, range(5), "dask", client=client))
        assert got == {x: x * x for x in range(5)}
        by_address = dict(engines.map(square, range(5), "dask", address=client.scheduler.address))
        assert by_address == got
        assert client.status == "running"
        with pytest.raises(ValueError, match="has its own"):
            list(engines.map(square, range(5), "dask", client=client, workers=2))


def ask(name: str) -> tuple[str | None, int]:
    return os.environ.get(name), os.getpid()


@pytest.mark.parametrize("engine", ALL)
def test_credentials_reach_workers_and_are_renewed(engine: str, on, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    """A worker sees what holds here when its item is sent, not what held when it was started."""
    where, options = on
    held = {}
    for value in ("first", "second"):
        monkeypatch.setenv("IS2ICE_TEST_TOKEN", value)
        held["IS2ICE_TEST_TOKEN"] = value
        names = ["IS2ICE_TEST_TOKEN"] * 4
        got = [r for _, r in engines.map(ask, names, where, environment=lambda: held, **options)]
        assert {v for v, _ in got} == {value}
    if engine != "serial":
        assert os.getpid() not in {pid for _, pid in got}


def take(key: str) -> tuple[bytes | None, int]:
    return engines.shared(key), os.getpid()


@pytest.mark.parametrize("engine", ALL)
def test_shared_bytes_reach_every_worker(engine: str, on) -> None:  # type: ignore[no-untyped-def]
    """Also those of a second job on the same workers."""
    where, options = on
    for data in (b"one", b"two"):
        got = list(engines.map(take, ["a", "b"] * 3, where, share={"a": data, "b": 2 * data}, **options))
        assert all(found == {"a": data, "b": 2 * data}[key] for key, (found, _) in got)


def die_of_b_once(item: tuple[str, str]) -> bytes | None:
    key, mark = item
    if key == "b" and not os.path.exists(mark):
        open(mark, "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    return engines.shared("a")


@pytest.mark.parametrize("engine", ["processes", "dask"])
def test_shared_bytes_reach_the_next_worker_too(engine: str, on, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    where, options = on
    items = [(key, str(tmp_path / "mark")) for key in "abc"]
    got = dict(engines.map(die_of_b_once, items, where, share={"a": b"x"}, **options))
    assert set(got.values()) == {b"x"}


def test_what_is_carried_is_not_shown() -> None:
    from is2ice.engines._environment import Environment

    carried = Environment.of("granule gt1r", {"TOKEN": "s3cret"})
    assert "s3cret" not in f"{carried} {carried!r}"
    assert str(carried) == "granule gt1r"


def test_the_package_is_sent_where_it_is_missing() -> None:
    """By a checksum of its sources, since a version stays while code moves."""
    from is2ice.engines import _package_shipping

    sent: list[str] = []
    mine = _package_shipping.digest("is2ice")
    _package_shipping.ensure(lambda: {"w1": mine}, sent.append)
    assert sent == []
    _package_shipping.ensure(lambda: {"w1": mine, "w2": mine if sent else None}, sent.append)
    assert len(sent) == 1
    with pytest.raises(RuntimeError, match=r"1 workers do not run this is2ice .*w2 has other sources"):
        _package_shipping.ensure(lambda: {"w1": mine, "w2": "0123456789"}, sent.append)


def test_the_package_as_a_zip_is_the_package(tmp_path: Path) -> None:
    from is2ice.engines import _package_shipping

    path = _package_shipping.zipped("is2ice", tmp_path)
    code = (
        "import sys, is2ice; from is2ice.engines import _package_shipping; "
        "from is2ice.classifiers.radiometric import thresholds; from is2ice.classifiers.boosted import shipped; "
        "assert '.zip' in is2ice.__file__; assert thresholds(); assert shipped(); "
        "print(_package_shipping.digest('is2ice'))"
    )
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"PYTHONPATH": str(path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == _package_shipping.digest("is2ice")


@pytest.mark.parametrize("quietly", [False, True])
def test_a_heartbeat_cut_off_by_closing_is_no_fault(quietly: bool, caplog: pytest.LogCaptureFixture) -> None:
    """A worker that closes while the scheduler has not yet answered its heartbeat logs an error of its own."""
    from distributed import Scheduler, Worker

    from is2ice.engines._dask_worker import QuietLeave

    async def close_during_a_heartbeat() -> None:
        asked = asyncio.Event()

        async def never_answer(**_: object) -> None:
            asked.set()
            await asyncio.Event().wait()

        async with Scheduler(port=0, dashboard_address=None) as scheduler:
            scheduler.handlers["heartbeat_worker"] = never_answer
            plugins = [QuietLeave()] if quietly else []
            worker = await Worker(scheduler.address, dashboard=False, plugins=plugins)
            under_way = asyncio.ensure_future(worker.heartbeat())
            await asked.wait()
            await worker.close()
            await under_way

    log = logging.getLogger("distributed.worker")
    try:
        asyncio.run(close_during_a_heartbeat())
    finally:
        for kept in log.filters[:]:
            log.removeFilter(kept)
    told = [r for r in caplog.records if "during heartbeat" in r.getMessage()]
    assert bool(told) is not quietly


def test_bad_options() -> None:
    with pytest.raises(
        ValueError, match="engine 'spork': expected one of serial, processes, dask, gateway, spark"
    ):
        list(engines.map(square, [1], "spork"))
    with pytest.raises(ValueError, match="serial engine has one worker"):
        list(engines.map(square, [1], workers=3))
    with pytest.raises(ValueError, match="workers=0"):
        list(engines.map(square, [1], "processes", workers=0))


def test_a_cluster_is_named_by_its_address() -> None:
    with (
        pytest.raises(ValueError, match="cluster 'ftp://x': expected 'local', 'gateway'"),
        engines.cluster("ftp://x"),
    ):
        pass
    with (
        pytest.raises(ValueError, match="has its own workers"),
        engines.cluster("tcp://127.0.0.1:1", workers=2),
    ):
        pass
    with (
        pytest.raises(ValueError, match="workers= sizes a local Spark"),
        engines.cluster("spark://x:1", workers=2),
    ):
        pass
    with pytest.raises(ValueError, match="say how many"), engines.cluster("gateway"):
        pass


@pytest.mark.parametrize(
    ("where", "options", "why"),
    [
        ("tcp://127.0.0.1:1", {}, "Dask scheduler tcp://127.0.0.1:1: .*Does it run there"),
        (
            "http://127.0.0.1:1",
            {"workers": 1, "auth": "basic"},
            "Dask Gateway http://127.0.0.1:1: Cannot connect",
        ),
    ],
)
def test_what_cannot_be_reached_is_named(where: str, options: dict[str, Any], why: str) -> None:
    import dask
    import distributed  # noqa: F401  its own settings, before one of them is set

    with (
        dask.config.set({"distributed.comm.timeouts.connect": "1s"}),
        pytest.raises(ValueError, match=why),
        engines.cluster(where, **options),
    ):
        pass


@pytest.mark.slow
def test_a_gateway_says_what_it_does_not_offer(gateway_address: dict[str, str]) -> None:
    wrong = {"workers": 1, "cluster_options": {"colour": "red"}, **gateway_address}
    with (
        pytest.raises(ValueError, match="colour: this Gateway offers none"),
        engines.cluster("gateway", **wrong),
    ):
        pass


INTERRUPT = """
import sys, time
from is2ice import engines
def slow(x):
    print("started", flush=True)
    time.sleep(150)
if __name__ == "__main__":
    try:
        for _ in engines.map(slow, range(8), sys.argv[1], **eval(sys.argv[2])):
            pass
    except KeyboardInterrupt:
        print("interrupted", flush=True)
        sys.exit(130)
"""


@pytest.mark.parametrize(
    "engine", ["serial", "processes", "dask", pytest.param("spark", marks=pytest.mark.slow)]
)
def test_interrupt_stops_everything(engine: str, tmp_path) -> None:  # type: ignore[no-untyped-def]
    if engine == "spark" and (why := services.why_no_spark()):
        pytest.skip(why)
    options = {} if engine == "serial" else {"workers": 2}
    script = tmp_path / "script.py"
    script.write_text(INTERRUPT)
    child = subprocess.Popen(
        [sys.executable, str(script), engine, repr(options)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert child.stdout is not None
    line = child.stdout.readline()
    while line and "started" not in line:
        line = child.stdout.readline()
    os.killpg(child.pid, signal.SIGINT)  # what a terminal does
    rest = child.stdout.read()
    assert child.wait(100) == 130, rest
    assert "interrupted" in rest
    assert rest.count("started") <= 3  # and nothing new is begun
    child.stdout.close()
    for _ in range(300):  # nothing of the group is left
        try:
            os.killpg(child.pid, 0)
        except ProcessLookupError:
            break
        time.sleep(0.1)
    else:
        pytest.fail("processes outlive the interrupt")


@pytest.mark.parametrize("kind", ["client", "address", "cluster"])
def test_running_workers_of_dask_are_taken_as_they_come(dask_cluster: engines.Cluster, kind: str) -> None:
    client = dask_cluster.client
    given = {"client": client, "address": client.scheduler.address, "cluster": client.cluster}[kind]
    assert sorted(result for _, result in engines.map(abs, [-1, 2, -3], given)) == [1, 2, 3]
    assert engines.check(engines.reach(given)) == "dask"


def test_workers_of_a_job_queue(tmp_path: Path) -> None:
    """Those of dask-jobqueue, by its own cluster that starts jobs as processes of this machine."""
    jobqueue = pytest.importorskip("dask_jobqueue.local")
    with jobqueue.LocalCluster(
        cores=1, processes=1, memory="1GB", log_directory=str(tmp_path), local_directory=str(tmp_path)
    ) as workers:
        workers.scale(jobs=1)
        assert sorted(result for _, result in engines.map(abs, [-1, 2], workers)) == [1, 2]


def test_what_is_no_engine_is_refused() -> None:
    with pytest.raises(ValueError, match="expected the name of an engine"):
        engines.reach(3)

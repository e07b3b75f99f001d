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

import pytest

from is2ice import engines

PARALLEL = ("processes", "dask")
ALL = ("serial", *PARALLEL)


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


def die_later_of_two(x: int) -> int:
    if x == 2:
        time.sleep(0.3)
    return die_of_two(x)


def options(engine: str) -> dict[str, int]:
    return {"workers": 2} if engine in PARALLEL else {}


@pytest.mark.parametrize("engine", ALL)
def test_same_results(engine: str) -> None:
    got = dict(engines.map(square, range(12), engine, **options(engine)))
    assert got == {x: x * x for x in range(12)}


@pytest.mark.parametrize("engine", PARALLEL)
def test_tasks_overlap_in_time(engine: str) -> None:
    spans = [result for _, result in engines.map(nap, range(6), engine, workers=2)]
    assert len({pid for *_, pid in spans}) == 2
    assert os.getpid() not in {pid for *_, pid in spans}
    spans.sort()
    overlaps = sum(b[0] < a[1] for a, b in pairwise(spans))
    assert overlaps >= 2, spans


@pytest.mark.parametrize("engine", ALL)
def test_a_failing_item_is_named_and_the_rest_finish(engine: str) -> None:
    got = dict(engines.map(refuse_three, range(6), engine, **options(engine)))
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


@pytest.mark.parametrize("engine", ["serial", "processes"])
def test_an_exception_that_cannot_be_sent_still_tells(engine: str) -> None:
    got = dict(engines.map(refuse_odd, range(4), engine, **options(engine)))
    assert got[0] == 0
    assert "1 is odd: so it is" in str(got[1])


def test_a_worker_that_dies_costs_its_own_item_only() -> None:
    got = dict(engines.map(die_of_two, range(6), "processes", workers=2))
    assert {x: r for x, r in got.items() if x != 2} == {x: x for x in (0, 1, 3, 4, 5)}
    assert "died" in str(got[2])
    assert any("while processing 2" in note for note in got[2].__notes__)


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
def test_items_are_drawn_as_needed(engine: str) -> None:
    drawn = []

    def items():  # type: ignore[no-untyped-def]
        for x in range(1000):
            drawn.append(x)
            yield x

    results = engines.map(square, items(), engine, **options(engine))
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
    with pytest.raises(ValueError, match="engine 'spork': expected one of serial, processes, dask"):
        list(engines.map(square, [1], "spork"))
    with pytest.raises(ValueError, match="serial engine has one worker"):
        list(engines.map(square, [1], workers=3))
    with pytest.raises(ValueError, match="workers=0"):
        list(engines.map(square, [1], "processes", workers=0))


INTERRUPT = """
import sys, time
from is2ice import engines
def slow(x):
    print("started", flush=True)
    time.sleep(60)
if __name__ == "__main__":
    try:
        for _ in engines.map(slow, range(8), sys.argv[1], **eval(sys.argv[2])):
            pass
    except KeyboardInterrupt:
        print("interrupted", flush=True)
        sys.exit(130)
"""


@pytest.mark.parametrize("engine", ALL)
def test_interrupt_stops_everything(engine: str, tmp_path) -> None:  # type: ignore[no-untyped-def]
    script = tmp_path / "script.py"
    script.write_text(INTERRUPT)
    child = subprocess.Popen(
        [sys.executable, str(script), engine, repr(options(engine))],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert child.stdout is not None
    line = child.stdout.readline()
    while line and "started" not in line:
        line = child.stdout.readline()
    began = time.time()
    os.killpg(child.pid, signal.SIGINT)  # what a terminal does
    rest = child.stdout.read()
    assert child.wait(30) == 130, rest
    assert "interrupted" in rest
    assert time.time() - began < 25
    child.stdout.close()
    for _ in range(50):  # nothing of the group is left
        try:
            os.killpg(child.pid, 0)
        except ProcessLookupError:
            break
        time.sleep(0.1)
    else:
        pytest.fail("processes outlive the interrupt")

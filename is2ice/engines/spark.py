"""The Spark engine: local, a standalone master, or any other that Spark knows.

Every item is a Spark job of one task, handed in by a thread of its own: so results come as they are ready,
no more is begun than there are cores for, and Spark's own retries of lost tasks (four attempts) and its
failures concern one item. One big job would give results in order, or only when all are done, and would end with its
first task that fails four times.

A job costs some fifty milliseconds whatever it holds: Spark plans, pickles, schedules and serves the result of each.
So items that turn out to be short go several to a job, as many as fill :data:`JOB` seconds. Such a job that fails is
taken apart, and each of its items tried alone.
"""

from __future__ import annotations

import os
import queue
import sys
import tempfile
import time
import uuid
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from is2ice.errors import require

from . import _package_shipping
from ._common import Pairs, Unreachable, count

if TYPE_CHECKING:
    from pyspark import SparkContext

__all__ = ["spark", "spark_context"]

#: Attempts at a task whose worker is lost.
ATTEMPTS = 4
#: Seconds of work that a job is filled up to with short items, and the most items that it takes.
JOB, MOST = 0.25, 32
QUICK = "-XX:TieredStopAtLevel=1"
#: Nothing below errors on the console.
LOG4J = """\
rootLogger.level = error
rootLogger.appenderRef.stderr.ref = console
appender.console.type = Console
appender.console.name = console
appender.console.target = SYSTEM_ERR
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{yy/MM/dd HH:mm:ss} %p %c{1}: %m%n%ex{none}
logger.shell.name = org.apache.spark.api.python.PythonGatewayServer
logger.shell.level = error
logger.listener.name = org.apache.spark.TaskContextImpl
logger.listener.level = off
"""


def spark(
    attempt: Callable[[Any], Any],
    items: Iterable[Any],
    *,
    workers: int | None = None,
    master: str | None = None,
    conf: Mapping[str, str] | None = None,
    session: Any = None,
) -> Pairs:
    """Spark executors; options as for :func:`spark_context`.

    `session`, a SparkSession or SparkContext, is used as it is and left running.
    """
    if session is not None and (workers is not None or master or conf):
        raise ValueError("workers=, master= and conf= are of a new Spark session; the one given has its own")
    with ExitStack() as stack:
        if session is None:
            sc = stack.enter_context(spark_context(workers, master=master, conf=conf))
        else:
            sc = getattr(session, "sparkContext", session)
            _same_package(sc)
        yield from _feed(sc, attempt, items)


def _feed(sc: SparkContext, attempt: Callable[[Any], Any], items: Iterable[Any]) -> Pairs:
    from pyspark.util import InheritableThread

    tag = f"is2ice-{uuid.uuid4().hex[:12]}"
    seed = sc.parallelize([0], 1)
    waiting: queue.SimpleQueue[Any] = queue.SimpleQueue()
    ready: queue.SimpleQueue[list[tuple[Any, Any, float]]] = queue.SimpleQueue()
    stopped = False

    def work() -> None:
        sc.addJobTag(tag)
        while (some := waiting.get()) and not stopped:
            done = _job(seed, attempt, some)
            if done is None:
                done = [one for item in some if not stopped for one in _job(seed, attempt, [item]) or ()]
            ready.put(done)

    ahead = sc.defaultParallelism + 1  # so that a core that comes free has its next job waiting
    threads = [InheritableThread(target=work, daemon=True) for _ in range(ahead)]
    for thread in threads:
        thread.start()
    source, pending, pace = iter(items), 0, _Pace()
    try:
        while True:
            while pending < ahead and (some := pace.draw(source)):
                waiting.put(some)
                pending += 1
            if not pending:
                return
            done = _next(ready)
            pending -= 1
            for item, outcome, seconds in done:
                pace.learn(seconds)
                yield item, outcome
    finally:
        stopped = True
        for _ in threads:
            waiting.put(None)
        if pending:
            with suppress(Exception):  # the session may be gone, as after a Ctrl-C elsewhere
                sc.cancelJobsWithTag(tag)
        for thread in threads:
            thread.join(10.0)


class _Pace:
    """How many items a job takes, from how long those before have taken; one, until that is known."""

    def __init__(self) -> None:
        self.mean = JOB

    def learn(self, seconds: float) -> None:
        self.mean += 0.25 * (seconds - self.mean)

    def draw(self, source: Iterator[Any]) -> list[Any]:
        """The next items; fewer where they are slow to come."""
        some: list[Any] = []
        until = time.monotonic() + JOB
        for item in islice(source, int(max(1.0, min(MOST, JOB / max(self.mean, 1e-6))))):
            some.append(item)
            if time.monotonic() > until:
                break
        return some


def _next(ready: queue.SimpleQueue[Any]) -> Any:
    """The next result; a wait without end would keep Ctrl-C from being seen on some systems."""
    while True:
        with suppress(queue.Empty):
            return ready.get(timeout=1.0)


def _job(seed: Any, attempt: Callable[[Any], Any], some: list[Any]) -> list[tuple[Any, Any, float]] | None:
    """Items, what became of them, and seconds of each, from one Spark job; None where one of several made it fail."""
    try:
        outcomes = seed.flatMap(partial(_each, attempt, some)).collect()
        return [(item, outcome, s) for item, (outcome, s) in zip(some, outcomes, strict=True)]
    except Exception as error:  # the workers died, or an item or its result could not be sent
        if len(some) > 1:
            return None
        return [(some[0], (False, RuntimeError(_reason(error))), JOB)]


def _each(attempt: Callable[[Any], Any], some: list[Any], _: int) -> list[tuple[Any, float]]:
    out = []
    for item in some:
        began = time.perf_counter()
        outcome = attempt(item)
        out.append((outcome, time.perf_counter() - began))
    return out


def _reason(error: Exception) -> str:
    """What went wrong with a job, without the Java stack."""
    java = getattr(error, "java_exception", None)
    try:
        text = str(java.getMessage()) if java is not None else str(error)
    except Exception:  # the JVM is gone
        text = str(error)
    if "Python worker exited unexpectedly" in text or "ExecutorLostFailure" in text:
        return f"the Spark worker died {ATTEMPTS} times: out of memory, or killed from outside"
    lines = [
        line for line in text.splitlines() if line.strip() and ".java:" not in line and ".scala:" not in line
    ]
    return f"the Spark job failed: {' '.join(dict.fromkeys(lines[:1] + lines[-1:]))[:500]}"


@contextmanager
def spark_context(
    workers: int | None = None, *, master: str | None = None, conf: Mapping[str, str] | None = None
) -> Iterator[SparkContext]:
    """A Spark session of ours, ended at the end, or the running one where no master is named.

    Parameters
    ----------
    workers : int, optional
        Tasks at a time on this machine, without a master.
    master : str, optional
        ``"spark://host:7077"``, ``"yarn"``, ``"k8s://https://host"``, ``"local[4]"``. Without it, a session
        that is running already (as in a notebook of Dataproc, or under spark-submit), else this machine.
    conf : mapping, optional
        Spark settings, such as ``{"spark.executor.memory": "4g"}``.

    Raises
    ------
    ValueError
        `workers` with a master, which has its own.
    Unreachable
        Spark does not start, as with a wrong master.
    """
    if master is not None and workers is not None:
        raise ValueError(
            "workers= sizes a local Spark; with master= set spark.cores.max or the like in conf="
        )
    with warnings.catch_warnings():  # of pandas 3, whose data frames are not used here
        warnings.filterwarnings("ignore", category=FutureWarning)
        require("pyspark")
        from pyspark import SparkConf, SparkContext
    running = SparkContext._active_spark_context
    if running is not None and master is None and workers is None and not conf:
        _same_package(running)
        yield running
        return
    if running is not None:
        raise ValueError(
            f"a Spark session is running already ({running.master}), and a process has one: use it "
            "(no master=, workers= or conf=), or stop it first"
        )
    if "PYSPARK_GATEWAY_PORT" not in os.environ:  # else started by spark-submit, which has set all this
        # Else workers take whatever python3 their PATH has.
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
        master = master or f"local[{count(workers)},{ATTEMPTS}]"
    with tempfile.TemporaryDirectory(prefix="is2ice-spark-") as folder:
        settings = SparkConf().setAppName("is2ice")
        if master:
            settings.setMaster(master)
        for key, value in _defaults(master, Path(folder)).items():
            settings.setIfMissing(key, value)
        settings.setAll(list((conf or {}).items()))
        sc = None
        try:
            with _named(master):
                sc = SparkContext(conf=settings)
                _same_package(sc)
            yield sc
        finally:
            if sc is not None:
                sc.stop()


@contextmanager
def _named(master: str | None) -> Iterator[None]:
    """Failures of Spark's start say which master it was, without the Java stack."""
    from py4j.protocol import Py4JJavaError

    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=FutureWarning)
            yield
    except Py4JJavaError as error:
        raise Unreachable(
            f"Spark master {master or 'of this machine'}: {_reason(error)}. Does it run there?"
        ) from error


def _defaults(master: str | None, folder: Path) -> dict[str, str]:
    log4j = folder / "log4j2.properties"
    log4j.write_text(LOG4J)
    out = {
        # The JVM only passes bytes on: quick compilation serves it better than the best.
        "spark.driver.extraJavaOptions": f"-Dlog4j2.configurationFile={log4j.as_uri()} {QUICK}",
        "spark.executor.extraJavaOptions": QUICK,
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.locality.wait": "0",
        "spark.task.maxFailures": str(ATTEMPTS),
        "spark.executorEnv.OMP_NUM_THREADS": "1",
        "spark.executorEnv.PYTHONWARNINGS": "ignore::FutureWarning",
    }
    if master and ("127.0.0.1" in master or "localhost" in master or master.startswith("local")):
        out |= {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1"}
    return out


def _same_package(sc: SparkContext) -> None:
    """Executors with this very package, sent to them if need be."""
    from pyspark import cloudpickle

    n = max(2, 2 * sc.defaultParallelism)

    def ask() -> dict[str, str | None]:
        with _package_shipping.by_value(cloudpickle):
            digests = (
                sc.parallelize([_package_shipping.PACKAGE] * n, n).map(_package_shipping.digest).collect()
            )
        return {f"a worker (task {k})": d for k, d in enumerate(digests)}

    _package_shipping.ensure(ask, sc.addPyFile)

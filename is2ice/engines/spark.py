"""Engine spark: on this machine, on a standalone master, or on any other master that Spark knows.

Every item is a Spark job of one task, submitted by a thread of its own. So results arrive as soon as they are ready, no
more items are begun than there are cores, and Spark's own attempts at lost tasks (four) and its failures concern one
item. One big job would give results in order, or only at its end, and would end with its first task that fails four
times.

A job takes about fifty milliseconds in addition to its work, in which Spark plans, pickles, schedules and serves the
result. So short items are put together into jobs of :data:`JOB` seconds. The items of such a job that fails are tried
one by one.
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
from ._shared import Sharing

if TYPE_CHECKING:
    from pyspark import SparkContext

__all__ = ["spark", "spark_context"]

#: Attempts at a task whose worker is lost.
ATTEMPTS = 4
#: Seconds of work in a job of short items, and the largest number of items in it.
JOB, MOST = 0.25, 32
QUICK = "-XX:TieredStopAtLevel=1"
#: Settings of Java's log: only errors on the console.
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
    shared: Mapping[str, bytes],
    workers: int | None = None,
    master: str | None = None,
    conf: Mapping[str, str] | None = None,
    session: Any = None,
) -> Pairs:
    """Apply a function to items on Spark executors; options as for :func:`spark_context`.

    `session`, a SparkSession or SparkContext, is used with its own settings and left running.
    """
    if session is not None and (workers is not None or master or conf):
        raise ValueError("workers=, master= and conf= are of a new Spark session; the one given has its own")
    with ExitStack() as stack:
        if session is None:
            sc = stack.enter_context(spark_context(workers, master=master, conf=conf))
        else:
            sc = getattr(session, "sparkContext", session)
            _same_package(sc)
        common = stack.enter_context(_broadcast(sc, shared)) if shared else None
        yield from _feed(sc, Sharing(attempt, common) if common else attempt, items)


@contextmanager
def _broadcast(sc: SparkContext, shared: Mapping[str, bytes]) -> Iterator[Callable[[], Mapping[str, bytes]]]:
    """Send objects to the executors, once each, and yield the function that gives them there."""
    sent = sc.broadcast(dict(shared))
    try:
        yield partial(getattr, sent, "value")
    finally:
        with suppress(Exception):  # the session may be gone, as after a Ctrl-C elsewhere
            sent.destroy()


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
    """Number of items in a job, from the time that earlier items have taken; one, until that is known."""

    def __init__(self) -> None:
        self.mean = JOB

    def learn(self, seconds: float) -> None:
        """Take the seconds of an item."""
        self.mean += 0.25 * (seconds - self.mean)

    def draw(self, source: Iterator[Any]) -> list[Any]:
        """Draw the next items; fewer if they are slow to arrive."""
        some: list[Any] = []
        until = time.monotonic() + JOB
        for item in islice(source, int(max(1.0, min(MOST, JOB / max(self.mean, 1e-6))))):
            some.append(item)
            if time.monotonic() > until:
                break
        return some


def _next(ready: queue.SimpleQueue[Any]) -> Any:
    """Return the next result; a wait without end would hide Ctrl-C on some systems."""
    while True:
        with suppress(queue.Empty):
            return ready.get(timeout=1.0)


def _job(seed: Any, attempt: Callable[[Any], Any], some: list[Any]) -> list[tuple[Any, Any, float]] | None:
    """Process items in one Spark job; return (item, outcome, seconds) of each, None if a job of several failed."""
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
    """Return the reason why a job failed, without the Java stack."""
    java = getattr(error, "java_exception", None)
    try:
        text = str(java.getMessage()) if java is not None else str(error)
    except Exception:  # the JVM is gone
        text = str(error)
    if "Python worker exited unexpectedly" in text or "ExecutorLostFailure" in text:
        return (
            f"the Spark worker died {ATTEMPTS} times: the system ended it for want of memory, or it was killed from "
            "outside; raise spark.executor.memory, or lower spark.executor.cores"
        )
    lines = [
        line for line in text.splitlines() if line.strip() and ".java:" not in line and ".scala:" not in line
    ]
    return f"the Spark job failed: {' '.join(dict.fromkeys(lines[:1] + lines[-1:]))[:500]}"


@contextmanager
def spark_context(
    workers: int | None = None, *, master: str | None = None, conf: Mapping[str, str] | None = None
) -> Iterator[SparkContext]:
    """Start a Spark session and end it at the end of the block; without a master, use the one that is running.

    Parameters
    ----------
    workers : int, optional
        Number of tasks at a time on this machine; only without a master.
    master : str, optional
        ``"spark://host:7077"``, ``"yarn"``, ``"k8s://https://host"``, ``"local[4]"``. By default the session that
        is running (in a notebook of Dataproc, or under spark-submit), else this machine.
    conf : mapping, optional
        Spark settings, such as ``{"spark.executor.memory": "4g"}``.

    Raises
    ------
    ValueError
        `workers` together with a master, which has its own.
    Unreachable
        Spark does not start; the master may be wrong.
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
    """Raise failures of Spark's start with the name of the master, without the Java stack."""
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
    """Send this package to executors that have none, or another one."""
    from pyspark import cloudpickle

    n = max(2, 2 * sc.defaultParallelism)

    def ask() -> dict[str, str | None]:
        with _package_shipping.by_value(cloudpickle):
            digests = (
                sc.parallelize([_package_shipping.PACKAGE] * n, n).map(_package_shipping.digest).collect()
            )
        return {f"a worker (task {k})": d for k, d in enumerate(digests)}

    _package_shipping.ensure(ask, sc.addPyFile)

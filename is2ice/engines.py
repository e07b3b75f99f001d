"""Engines: a function over items, here, in processes or on Dask. Knows callables and items, not ice.

An engine is a generator function ``(fn, items, **options)`` that yields ``(item, result)`` as results come,
an exception standing in for the result of an item that failed. Its library is imported when it is named.
To add one, write such a function and put it into :data:`ENGINES`.
"""

from __future__ import annotations

import logging
import os
import pickle
import signal
import socket
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from typing import Any

__all__ = ["ENGINES", "attempt", "map", "release"]

log = logging.getLogger("is2ice")
Pairs = Iterator[tuple[Any, Any]]
#: Which failures may pass by themselves: types, or a function of the exception.
RetryOn = tuple[type[BaseException], ...] | Callable[[BaseException], bool]


def map(  # the name of what it does, as in every engine's own library
    fn: Callable[[Any], Any],
    items: Iterable[Any],
    engine: str = "serial",
    *,
    retries: int = 0,
    retry_on: RetryOn = (OSError,),
    retry_wait: float = 1.0,
    clean: Callable[[str], str] = str,
    **options: Any,
) -> Pairs:
    """Apply a function to every item and yield results as they come.

    Parameters
    ----------
    fn : callable
        Of one item. Engines other than ``serial`` need it, the items and the results to be picklable.
    items : iterable
        Drawn only as fast as workers need them.
    engine : {"serial", "processes", "dask"}
    retries : int
        Further attempts at an item whose failure is of `retry_on`.
    retry_on : tuple of exception types, or callable
        By default what a network or disk may do; or a function that tells of an exception whether it may
        pass. Sent to the workers as `fn` is.
    retry_wait : float
        Pause before the second attempt, s; doubled for each further one.
    clean : callable
        Passes log messages and tracebacks on without what must not be told, such as passwords in URLs.
    **options
        ``workers`` for ``processes``; ``workers``, ``address``, ``client`` and ``memory_limit`` for ``dask``.

    Yields
    ------
    item : object
    result : object or Exception
        A failed item's exception carries notes that name the item and where it ran.

    Raises
    ------
    ValueError
        For an unknown engine.
    KeyboardInterrupt
        After what had been started is cancelled and closed.

    Examples
    --------
    >>> sorted(result for item, result in map(abs, [-1, 2]))
    [1, 2]
    """
    if engine not in ENGINES:
        raise ValueError(f"engine {engine!r}: expected one of {', '.join(ENGINES)}")
    one = partial(attempt, fn, retries=retries, retry_on=retry_on, retry_wait=retry_wait, clean=clean)
    for item, (ok, value) in ENGINES[engine](one, items, **options):
        if not ok:
            value.add_note(f"while processing {item}")
        yield item, value


# -- one item, wherever it runs -----------------------------------------------------------------------
def attempt(
    fn: Callable[[Any], Any],
    item: Any,
    *,
    retries: int = 0,
    retry_on: RetryOn = (OSError,),
    retry_wait: float = 1.0,
    clean: Callable[[str], str] = str,
) -> tuple[bool, Any]:
    """(True, result) or (False, exception): an exception as a value survives any way of sending it.

    The parameters are those of :func:`map`.
    """
    for again in range(retries, -1, -1):
        try:
            return True, fn(item)
        except Exception as error:
            passes = isinstance(error, retry_on) if isinstance(retry_on, tuple) else retry_on(error)
            if again and passes:
                log.warning("%s; trying again", clean(f"{item}: {error}"))
                time.sleep(retry_wait)
                retry_wait *= 2
                continue
            return False, _portable(error, clean)
    raise AssertionError("not reached")


def _portable(error: Exception, clean: Callable[[str], str]) -> Exception:
    """The exception itself if it can be pickled, else one that says the same."""
    where = f"on {socket.gethostname()}, process {os.getpid()}"
    note = clean(f"{where}:\n{''.join(traceback.format_exception(error)).rstrip()}")
    # The note tells the causes, in clean words; the exceptions themselves may hold what must not be told, or
    # what cannot be sent (and tblib, which Dask loads, would send them).
    release(error)
    error = error.with_traceback(None)
    error.__cause__ = error.__context__ = None
    try:
        copy = pickle.loads(pickle.dumps(error))  # noqa: S301  our own bytes, made a moment ago
        sound = type(copy) is type(error) and str(copy) == str(error)
    except Exception:
        sound = False
    if not sound:
        error = RuntimeError(f"{type(error).__name__}: {error}")
    error.add_note(note)
    return error


def release(error: BaseException | None) -> None:
    """Let go of what the frames of a failure hold, such as open files, its causes' too.

    fsspec leaves failures in reference cycles, which the garbage collector frees whenever it runs, in whatever
    thread. HDF5 files freed so in the thread that reads for them lock the process up for good.
    """
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


def _cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


# -- engines ------------------------------------------------------------------------------------------
def _serial(attempt: Callable[[Any], Any], items: Iterable[Any], *, workers: int | None = None) -> Pairs:
    if workers not in (None, 1):
        raise ValueError(f"the serial engine has one worker, not {workers}; use engine='processes' or 'dask'")
    for item in items:
        yield item, attempt(item)


def _processes(attempt: Callable[[Any], Any], items: Iterable[Any], *, workers: int | None = None) -> Pairs:
    """A pool of fresh processes. A worker that dies (out of memory) costs its own item only."""
    from concurrent.futures import FIRST_COMPLETED, Future, wait
    from concurrent.futures.process import BrokenProcessPool

    workers = _count(workers)
    queue = iter(items)
    pool = _pool(workers)
    pending: dict[Future[Any], Any] = {}
    try:
        while True:
            suspects = []
            for item in islice(queue, 2 * workers - len(pending)):  # a bounded look ahead
                try:
                    pending[pool.submit(attempt, item)] = item
                except BrokenProcessPool:  # a worker died while results or items were being handled here
                    suspects.append(item)
                    break
            if not pending and not suspects:
                return
            if not suspects:
                wait(pending, return_when=FIRST_COMPLETED)
            for future in [f for f in pending if f.done()]:
                item = pending.pop(future)
                try:
                    outcome = future.result()
                except BrokenProcessPool:
                    suspects.append(item)
                except Exception as error:  # the item or its result could not be sent
                    yield item, (False, error)
                else:
                    yield item, outcome
            if suspects:
                # The pool is gone, and does not say which item took it down: each is tried alone.
                suspects += pending.values()
                pending.clear()
                _stop(pool)
                for item in suspects:
                    yield item, _alone(attempt, item)
                pool = _pool(workers)
    finally:
        _stop(pool)


def _alone(attempt: Callable[[Any], Any], item: Any) -> tuple[bool, Any]:
    from concurrent.futures.process import BrokenProcessPool

    pool = _pool(1)
    try:
        return pool.submit(attempt, item).result()
    except BrokenProcessPool:
        return False, RuntimeError("the worker process died: out of memory, or killed from outside")
    except Exception as error:  # the item or its result could not be sent
        return False, error
    finally:
        _stop(pool)


def _pool(workers: int) -> Any:
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    # Spawned, not forked: a fork copies the locks of HDF5, BLAS and event loops in whatever state they are.
    return ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_ignore_interrupt)


def _ignore_interrupt() -> None:
    """Ctrl-C goes to the whole terminal group; the parent alone decides."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _stop(pool: Any) -> None:
    """Close a pool now: what is running is not waited for."""
    processes = list((getattr(pool, "_processes", None) or {}).values())
    idle = not getattr(pool, "_pending_work_items", None)
    if not idle:
        for process in processes:
            process.terminate()
    pool.shutdown(wait=idle, cancel_futures=True)
    for process in processes:
        process.join(5)


def _dask(
    attempt: Callable[[Any], Any],
    items: Iterable[Any],
    *,
    workers: int | None = None,
    address: str | None = None,
    client: Any = None,
    memory_limit: str | int = "auto",
) -> Pairs:
    """Dask workers: a local cluster of ours, or the one at an address or of a client.

    HDF5 reads are serialised within a process, and over fsspec two threads of one can deadlock: workers
    should have one thread each, as the local cluster's have.
    """
    from contextlib import ExitStack

    from distributed import Client, LocalCluster, as_completed

    if workers is not None and (address or client):
        raise ValueError("workers= sizes the local cluster; a cluster given by address or client has its own")
    with ExitStack() as stack:
        if client is None:
            if address is None:
                cluster = LocalCluster(
                    n_workers=_count(workers),
                    threads_per_worker=1,
                    processes=True,
                    dashboard_address=None,
                    memory_limit=memory_limit,
                    silence_logs=logging.ERROR,
                )
                stack.enter_context(cluster)
                address = cluster.scheduler_address
            client = stack.enter_context(Client(address, set_as_default=False))
        if any(threads > 1 for threads in client.nthreads().values()):
            log.warning("Dask workers have several threads; one thread a worker is safe with HDF5")
        queue = iter(items)
        pending: dict[Any, Any] = {}
        results = as_completed(loop=client.loop)

        def feed() -> None:
            room = max(2, 2 * sum(client.nthreads().values())) - len(pending)
            for item in islice(queue, max(0, room)):
                future = client.submit(attempt, item, pure=False)
                pending[future] = item
                results.add(future)

        stack.callback(lambda: client.cancel(list(pending)) if pending else None)
        feed()
        while pending:
            future = next(results)
            item = pending.pop(future)
            try:
                outcome = future.result()
            except Exception as error:  # the worker died, or the result could not be sent
                outcome = (False, error)
            future.release()
            yield item, outcome
            feed()


def _count(workers: int | None) -> int:
    if workers is None:
        return _cpus()
    if workers < 1:
        raise ValueError(f"workers={workers}: expected at least one")
    return workers


#: Engines by name.
ENGINES: dict[str, Callable[..., Pairs]] = {"serial": _serial, "processes": _processes, "dask": _dask}

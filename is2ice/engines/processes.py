"""Engine processes: a pool of new processes on this machine."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any

from ._common import Pairs, count
from ._shared import hold

__all__ = ["processes"]


def processes(
    attempt: Callable[[Any], Any],
    items: Iterable[Any],
    *,
    shared: Mapping[str, bytes],
    workers: int | None = None,
) -> Pairs:
    """Apply a function to items in a pool of new processes; a worker that dies loses its own item only."""
    from concurrent.futures import FIRST_COMPLETED, Future, wait
    from concurrent.futures.process import BrokenProcessPool

    workers = count(workers)
    queue = iter(items)
    pool = _pool(workers, shared)
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
                # The pool does not say which item ended it, so each is tried alone.
                suspects += pending.values()
                pending.clear()
                _stop(pool)
                for item in suspects:
                    yield item, _alone(attempt, item, shared)
                pool = _pool(workers, shared)
    finally:
        _stop(pool)


def _alone(attempt: Callable[[Any], Any], item: Any, shared: Mapping[str, bytes]) -> tuple[bool, Any]:
    """Process an item in a pool of its own, and say how that ended if it died."""
    from concurrent.futures.process import BrokenProcessPool

    pool = _pool(1, shared)
    try:
        future = pool.submit(attempt, item)
        process = next(iter(pool._processes.values()))
        return future.result()
    except BrokenProcessPool:
        process.join(5)
        return False, RuntimeError(_death(process.exitcode))
    except Exception as error:  # the item or its result could not be sent
        return False, error
    finally:
        _stop(pool)


def _death(code: int | None) -> str:
    """Say how a process ended, from its exit code."""
    if code == -signal.SIGKILL:
        return (
            "the worker process died (exit -9, SIGKILL): the system ended it for want of memory, or it was killed from "
            "outside; use fewer workers, or a machine with more memory"
        )
    how = f"signal {-code}, {signal.Signals(-code).name}" if code and code < 0 else f"exit {code}"
    return f"the worker process died ({how})"


def _pool(workers: int, shared: Mapping[str, bytes]) -> Any:
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    # Spawned, not forked: a fork copies the locks of HDF5, BLAS and event loops in their present state.
    return ProcessPoolExecutor(
        workers, mp_context=get_context("spawn"), initializer=_begin, initargs=(dict(shared),)
    )


def _begin(shared: Mapping[str, bytes]) -> None:
    """Prepare a worker: it keeps the shared objects, leaves Ctrl-C to its parent, and ends with that."""
    hold(shared)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this worker when its parent has been killed; it would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _stop(pool: Any) -> None:
    """Close a pool without waiting for running items."""
    processes = list((getattr(pool, "_processes", None) or {}).values())
    idle = not getattr(pool, "_pending_work_items", None)
    if not idle:
        for process in processes:
            process.terminate()
    pool.shutdown(wait=idle, cancel_futures=True)
    for process in processes:
        process.join(5)

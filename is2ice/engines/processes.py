"""The processes engine: a pool of fresh processes on this machine."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any

from ._common import Pairs, count

__all__ = ["processes"]


def processes(attempt: Callable[[Any], Any], items: Iterable[Any], *, workers: int | None = None) -> Pairs:
    """A pool of fresh processes. A worker that dies (out of memory) costs its own item only."""
    from concurrent.futures import FIRST_COMPLETED, Future, wait
    from concurrent.futures.process import BrokenProcessPool

    workers = count(workers)
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
    return ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_begin)


def _begin() -> None:
    """Ctrl-C goes to the whole terminal group, and the parent alone decides; without it there is nothing to do."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Workers of a parent that was killed would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


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

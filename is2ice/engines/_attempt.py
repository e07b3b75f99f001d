"""One item, wherever it runs: tried, tried again, and its failure made fit to travel."""

from __future__ import annotations

import logging
import os
import pickle
import socket
import time
import traceback
from collections.abc import Callable
from typing import Any

__all__ = ["RetryOn", "attempt", "release"]

log = logging.getLogger("is2ice")
#: Which failures may pass by themselves: types, or a function of the exception.
RetryOn = tuple[type[BaseException], ...] | Callable[[BaseException], bool]


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

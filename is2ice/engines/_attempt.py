"""One item: attempts at it, and its failure in a form that can be sent."""

from __future__ import annotations

import logging
import os
import pickle
import socket
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["RetryOn", "attempt", "release"]

log = logging.getLogger("is2ice")
#: Failures that are worth another attempt: types, or a function of the exception.
RetryOn = tuple[type[BaseException], ...] | Callable[[BaseException], bool]


@dataclass(frozen=True)
class Retry:
    """Further attempts at an item that failed.

    Attributes
    ----------
    retries : int
        Number of further attempts at an item whose failure is of `retry_on`.
    retry_on : tuple of exception types, or callable
        Failures worth another attempt: types of exceptions, or a function of the exception. It is sent to the workers
        as the function of an item is.
    retry_wait : float
        Pause before the second attempt, s; doubled for each further one.
    """

    retries: int = 0
    retry_on: RetryOn = (OSError,)
    retry_wait: float = 1.0


def attempt(
    fn: Callable[[Any], Any],
    item: Any,
    *,
    retries: int = 0,
    retry_on: RetryOn = (OSError,),
    retry_wait: float = 1.0,
    clean: Callable[[str], str] = str,
) -> tuple[bool, Any]:
    """Apply a function to an item; return (True, result) or (False, exception), which any engine can send.

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
    """Return the exception if it can be pickled, else one with the same text."""
    where = f"on {socket.gethostname()}, process {os.getpid()}"
    note = clean(f"{where}:\n{''.join(traceback.format_exception(error)).rstrip()}")
    # The note names the causes without secrets; the exceptions themselves may hold secrets, or what cannot be sent (and
    # tblib, which Dask loads, would send them).
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
    """Release what the frames of a failure and of its causes hold, such as open files.

    fsspec leaves failures in reference cycles, which the garbage collector frees at any time, in any thread. HDF5 files
    freed in the thread that reads for them lock the process for good.
    """
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__

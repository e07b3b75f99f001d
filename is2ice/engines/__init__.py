"""Engines: a function over items, here, in processes or on Dask. Knows callables and items, not ice.

An engine is a generator function ``(fn, items, **options)`` that yields ``(item, result)`` as results come,
an exception standing in for the result of an item that failed. Its library is imported when it is named.
To add one, write such a function and put it into :data:`ENGINES`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from ._attempt import RetryOn, attempt, release
from ._common import Pairs
from .dask import dask as _dask
from .processes import processes as _processes
from .serial import serial as _serial

__all__ = ["ENGINES", "attempt", "map", "release"]


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


#: Engines by name.
ENGINES: dict[str, Callable[..., Pairs]] = {"serial": _serial, "processes": _processes, "dask": _dask}

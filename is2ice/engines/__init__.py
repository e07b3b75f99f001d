"""Engines: a function over items, here, in processes, on Dask or on Spark. Knows callables and items, not ice.

An engine is a generator function ``(fn, items, **options)`` that yields ``(item, result)`` as results come,
an exception standing in for the result of an item that failed. Its library is imported when it is named.
To add one, write such a function and put it into :data:`ENGINES`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from ._attempt import RetryOn, attempt, release
from ._cluster import Cluster, cluster
from ._common import Pairs, cpus
from ._environment import Carry, Environment
from .dask import dask as _dask
from .gateway import gateway as _gateway
from .processes import processes as _processes
from .serial import serial as _serial
from .spark import spark as _spark

__all__ = ["ENGINES", "Cluster", "attempt", "check", "cluster", "cpus", "map", "release"]


def map(  # the name of what it does, as in every engine's own library
    fn: Callable[[Any], Any],
    items: Iterable[Any],
    engine: str | Cluster = "serial",
    *,
    retries: int = 0,
    retry_on: RetryOn = (OSError,),
    retry_wait: float = 1.0,
    clean: Callable[[str], str] = str,
    environment: Callable[[], Mapping[str, str]] | None = None,
    **options: Any,
) -> Pairs:
    """Apply a function to every item and yield results as they come.

    Parameters
    ----------
    fn : callable
        Of one item. Engines other than ``serial`` need it, the items and the results to be picklable.
    items : iterable
        Drawn only as fast as workers need them.
    engine : {"serial", "processes", "dask", "gateway", "spark"} or Cluster
    retries : int
        Further attempts at an item whose failure is of `retry_on`.
    retry_on : tuple of exception types, or callable
        By default what a network or disk may do; or a function that tells of an exception whether it may
        pass. Sent to the workers as `fn` is.
    retry_wait : float
        Pause before the second attempt, s; doubled for each further one.
    clean : callable
        Passes log messages and tracebacks on without what must not be told, such as passwords in URLs.
    environment : callable, optional
        Gives environment variables that workers need, such as credentials. It is asked for every item as that is
        sent, so that workers follow what is renewed here.
    **options
        ``workers`` for all but ``serial``; ``address``, ``client`` and ``memory_limit`` for ``dask``; those of
        :func:`is2ice.engines.gateway.gateway_client`; ``master``, ``conf`` and ``session`` for ``spark``.

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
    name = check(engine)
    if isinstance(engine, Cluster):
        options = {**engine.options, **options}
    one: Any = partial(attempt, fn, retries=retries, retry_on=retry_on, retry_wait=retry_wait, clean=clean)
    if environment is not None and name != "serial":
        one, items = Carry(one), (Environment.of(item, environment()) for item in items)
    for item, (ok, value) in ENGINES[name](one, items, **options):
        item = item.item if isinstance(item, Environment) else item
        if not ok:
            value.add_note(f"while processing {item}")
        yield item, value


def check(engine: str | Cluster) -> str:
    """The name of an engine.

    Raises
    ------
    ValueError
        For one that is not known.
    """
    name = engine.engine if isinstance(engine, Cluster) else engine
    if name not in ENGINES:
        raise ValueError(f"engine {name!r}: expected one of {', '.join(ENGINES)}")
    return name


#: Engines by name.
ENGINES: dict[str, Callable[..., Pairs]] = {
    "serial": _serial,
    "processes": _processes,
    "dask": _dask,
    "gateway": _gateway,
    "spark": _spark,
}

"""Engines apply a function to items: in this process, in others, on Dask or on Spark. They know nothing of ice.

An engine is a generator function ``(fn, items, *, shared, **options)``. It yields ``(item, result)`` as results arrive;
an exception stands in for the result of an item that failed. `shared` are bytes that each worker receives once, for
:func:`shared`. The library of an engine is imported when the engine is used. To add an engine, write such a function
and put it into :data:`ENGINES`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from functools import partial
from typing import Any

from ._attempt import Retry, attempt, release
from ._cluster import Cluster, cluster, reach
from ._common import Pairs, cpus
from ._environment import Carry, Environment
from ._shared import hold, shared
from .dask import dask as _dask
from .gateway import gateway as _gateway
from .processes import processes as _processes
from .serial import serial as _serial
from .spark import spark as _spark

__all__ = [
    "ENGINES",
    "Cluster",
    "Retry",
    "attempt",
    "check",
    "cluster",
    "cpus",
    "hold",
    "map",
    "reach",
    "release",
    "shared",
]


def map(  # the name of what it does, as in every engine's own library
    fn: Callable[[Any], Any],
    items: Iterable[Any],
    engine: Any = "serial",
    *,
    clean: Callable[[str], str] = str,
    environment: Callable[[], Mapping[str, str]] | None = None,
    share: Mapping[str, bytes] | None = None,
    **options: Any,
) -> Pairs:
    """Apply a function to every item and yield results as they come.

    Parameters
    ----------
    fn : callable
        Function of one item. Engines other than ``serial`` pickle it, the items and the results.
    items : iterable
        Drawn only as fast as workers need them.
    engine : {"serial", "processes", "dask", "gateway", "spark"}, or running workers
        Running workers as :func:`reach` takes them: a :class:`Cluster`, a Dask client or cluster, or an address.
    clean : callable
        Removes secrets, such as passwords in URLs, from log messages and tracebacks.
    environment : callable, optional
        Gives environment variables that workers need, such as credentials. It is called for each item when that is
        sent, so that workers receive renewed values.
    share : mapping of str to bytes, optional
        Objects that each worker receives once and finds with :func:`shared`, such as a trained model.
    **options
        Fields of :class:`Retry` (``retries``, ``retry_on``, ``retry_wait``) and options of the engine: ``workers`` for
        all but ``serial``; ``address``, ``client`` and ``memory_limit`` for ``dask``; those of
        :func:`is2ice.engines.gateway.gateway_client`; ``master``, ``conf`` and ``session`` for ``spark``.

    Yields
    ------
    item : object
    result : object or Exception
        A failed item's exception carries notes that name the item and where it ran.

    Raises
    ------
    ValueError
        An unknown engine.
    KeyboardInterrupt
        After all started work is cancelled and the workers are closed.

    Examples
    --------
    >>> sorted(result for item, result in map(abs, [-1, 2]))
    [1, 2]
    """
    engine = reach(engine)
    name = check(engine)
    if isinstance(engine, Cluster):
        options = {**engine.options, **options}
    retry = Retry(**{f.name: options.pop(f.name) for f in fields(Retry) if f.name in options})
    one: Any = partial(attempt, fn, **vars(retry), clean=clean)
    if environment is not None and name != "serial":
        one, items = Carry(one), (Environment.of(item, environment()) for item in items)
    for item, (ok, value) in ENGINES[name](one, items, shared=share or {}, **options):
        item = item.item if isinstance(item, Environment) else item
        if not ok:
            value.add_note(f"while processing {item}")
        yield item, value


def check(engine: str | Cluster) -> str:
    """Return the name of an engine.

    Raises
    ------
    ValueError
        An unknown engine.
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

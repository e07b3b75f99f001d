"""The Dask engine: a local cluster of ours, or the one at an address or of a client."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any

from ._common import Pairs, count

__all__ = ["dask"]

log = logging.getLogger("is2ice")


def dask(
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

    from ._dask_worker import QuietLeave

    if workers is not None and (address or client):
        raise ValueError("workers= sizes the local cluster; a cluster given by address or client has its own")
    with ExitStack() as stack:
        if client is None:
            if address is None:
                cluster = LocalCluster(
                    n_workers=count(workers),
                    threads_per_worker=1,
                    processes=True,
                    dashboard_address=None,
                    memory_limit=memory_limit,
                    silence_logs=logging.ERROR,
                    plugins=(QuietLeave(),),
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

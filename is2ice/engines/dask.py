"""The Dask engine: a local cluster of ours, or the one at an address or of a client."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any

from . import _package_shipping
from ._common import Pairs, Unreachable, count

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["client_at", "dask", "feed", "local_client", "require_same_package"]

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
    should have one thread each, as the local cluster's have. Dask itself runs again what a dying worker held,
    three times at most.
    """
    if workers is not None and (address or client):
        raise ValueError("workers= sizes the local cluster; a cluster given by address or client has its own")
    with ExitStack() as stack:
        if client is None:
            client = stack.enter_context(
                client_at(address) if address else local_client(workers, memory_limit=memory_limit)
            )
        else:
            require_same_package(client)
        yield from feed(client, attempt, items)


def feed(client: Client, attempt: Callable[[Any], Any], items: Iterable[Any]) -> Pairs:
    """Items to the workers of a client, two for each ahead; results as they come."""
    from distributed import KilledWorker, as_completed

    if any(threads > 1 for threads in client.nthreads().values()):
        log.warning("Dask workers have several threads; one thread a worker is safe with HDF5")
    queue = iter(items)
    pending: dict[Any, Any] = {}
    suspects: list[Any] = []
    results = as_completed(loop=client.loop)

    def submit(item: Any) -> None:
        future = client.submit(attempt, item, pure=False)
        pending[future] = item
        results.add(future)

    try:
        while True:
            room = max(2, 2 * sum(client.nthreads().values())) - len(pending)
            for item in islice(queue, max(0, room)):
                submit(item)
            alone = not pending
            if alone and not suspects:
                return
            if alone:
                submit(suspects.pop(0))
            future = next(results)
            item = pending.pop(future)
            try:
                outcome = future.result()
            except KilledWorker:
                # Dask suspects all that the dying workers held, not only what killed them: each is tried alone.
                if not alone:
                    suspects.append(item)
                    continue
                outcome = (False, RuntimeError(_DIED))
            except Exception as error:  # the item or its result could not be sent
                outcome = (False, error)
            finally:
                future.release()
            yield item, outcome
    finally:
        if pending:
            client.cancel(list(pending))


_DIED = "the Dask worker died each time that it was tried: out of memory, or killed from outside"


@contextmanager
def local_client(workers: int | None = None, *, memory_limit: str | int = "auto") -> Iterator[Client]:
    """Client of a cluster on this machine: one process with one thread a worker."""
    from distributed import Client, LocalCluster

    from ._dask_worker import QuietLeave

    with (
        LocalCluster(
            n_workers=count(workers),
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            scheduler_kwargs={
                "dashboard_address": "127.0.0.1:0"
            },  # its other pages: any free port, this machine only
            memory_limit=memory_limit,
            silence_logs=logging.ERROR,
            plugins=(QuietLeave(),),
        ) as cluster,
        Client(cluster.scheduler_address, set_as_default=False) as client,
    ):
        yield client


@contextmanager
def client_at(address: str) -> Iterator[Client]:
    """Client of a scheduler, whose workers are seen to run this package.

    Raises
    ------
    Unreachable
        No scheduler answers there.
    """
    from distributed import Client

    try:
        client = Client(address, set_as_default=False)
    except OSError as error:
        raise Unreachable(
            f"Dask scheduler {address}: {error}. Does it run there, and may this machine reach it?"
        ) from error
    with client:
        require_same_package(client)
        yield client


def require_same_package(client: Client) -> None:
    """Workers with this very package, sent to them if need be; those that join later get it too."""
    import cloudpickle

    def ask() -> dict[str, str | None]:
        with _package_shipping.by_value(cloudpickle):
            scheduler = client.run_on_scheduler(
                _package_shipping.digest, _package_shipping.PACKAGE
            )  # it opens what is sent, too
            return {
                "the scheduler": scheduler,
                **client.run(_package_shipping.digest, _package_shipping.PACKAGE),
            }

    _package_shipping.ensure(ask, client.upload_file)

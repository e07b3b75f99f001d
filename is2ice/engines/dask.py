"""Engine dask: a local cluster that is started here, or the cluster at an address or of a client."""

from __future__ import annotations

import asyncio
import logging
import queue as queues
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any

from . import _package_shipping
from ._common import Pairs, Unreachable, count
from ._shared import Sharing

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["client_at", "dask", "feed", "local_client", "require_same_package"]

log = logging.getLogger("is2ice")

#: Seconds between two looks at the workers while no result arrives, and the longest time without any.
PAUSE, NO_WORKERS = 5.0, 300.0


def dask(
    attempt: Callable[[Any], Any],
    items: Iterable[Any],
    *,
    shared: Mapping[str, bytes],
    workers: int | None = None,
    address: str | None = None,
    client: Any = None,
    memory_limit: str | int = "auto",
) -> Pairs:
    """Apply a function to items on Dask workers: of a local cluster, of the one at an address, or of a client.

    HDF5 serialises reads within a process, and over fsspec two threads of a process can deadlock: workers should have
    one thread each, as those of the local cluster have. Dask itself repeats the tasks of a worker that died, three
    times at most.
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
        yield from feed(client, attempt, items, shared)


def feed(
    client: Client, attempt: Callable[[Any], Any], items: Iterable[Any], shared: Mapping[str, bytes]
) -> Pairs:
    """Give items to the workers of a client, two ahead for each worker; yield results as they arrive."""
    from distributed import KilledWorker

    if any(threads > 1 for threads in client.nthreads().values()):
        log.warning("Dask workers have several threads; one thread a worker is safe with HDF5")
    queue, work = iter(items), _Work(client, attempt, shared)
    suspects: list[Any] = []
    try:
        while True:
            for item in islice(queue, work.room):
                work.submit(item)
            alone = not work.pending
            if alone and not suspects:
                return
            if alone:
                work.submit(suspects.pop(0))
            item, (ok, result) = work.next()
            if isinstance(result, KilledWorker):
                # Dask suspects all items of the dead workers, not only the one that ended them: each is tried alone.
                if not alone:
                    suspects.append(item)
                    continue
                result = RuntimeError(_death(client, result.last_worker.address))
            yield item, (ok, result)
    finally:
        work.cancel()


class _Work:
    """Items that a client has sent to its workers.

    Attributes
    ----------
    pending : dict
        Future to item.
    """

    def __init__(self, client: Client, attempt: Callable[[Any], Any], shared: Mapping[str, bytes]) -> None:
        self.client = client
        self.attempt = attempt
        self.pending: dict[Any, Any] = {}
        self._ready: queues.SimpleQueue[Any] = queues.SimpleQueue()
        # A result as any other: Dask copies it from worker to worker, and makes it again if its workers have died.
        self._common: Any = client.submit(dict, shared, pure=False) if shared else None
        self._alive = time.monotonic()

    @property
    def room(self) -> int:
        """Number of items that can be sent now."""
        return max(0, max(2, 2 * self._threads()) - len(self.pending))

    def _threads(self) -> int:
        """Return the number of threads of all workers.

        Raises
        ------
        Unreachable
            The scheduler has gone.
        """
        status = self.client.status
        if status == "running":
            try:
                return sum(self.client.nthreads().values())
            except OSError as error:
                status = str(error)
        raise Unreachable(
            f"the connection to the Dask scheduler is lost ({status}); finished items are kept: start a cluster and "
            "resume"
        )

    def submit(self, item: Any) -> None:
        """Send an item."""
        common = self._common
        arguments = (self.attempt, item) if common is None else (_sharing, self.attempt, item, common)
        future = self.client.submit(*arguments, pure=False)
        self.pending[future] = item
        future.add_done_callback(self._ready.put)

    def next(self) -> tuple[Any, tuple[bool, Any]]:
        """Wait for an item, and return it with its outcome."""
        while True:
            try:
                future = self._ready.get(timeout=PAUSE)
                outcome = future.result(timeout=PAUSE)
            except queues.Empty:
                self._check_workers()
                continue
            except TimeoutError:  # its worker died before the result was fetched; Dask computes it again
                self._check_workers()
                future.add_done_callback(self._ready.put)
                continue
            except asyncio.CancelledError as error:
                self._check_workers()
                outcome = (False, RuntimeError(f"Dask cancelled the item: {error}"))
            except Exception as error:  # the worker died, or the item or its result could not be sent
                outcome = (False, error)
            self._alive = time.monotonic()
            item = self.pending.pop(future)
            future.release()
            return item, outcome

    def _check_workers(self) -> None:
        """Replace lost workers of a cluster that was started here; raise an error if there have been none for long."""
        if self._threads():
            self._alive = time.monotonic()
            return
        own: Any = self.client.cluster
        if hasattr(own, "worker_spec"):  # starts those again that it has given up, as on a busy machine
            own.scale(len(own.worker_spec))
        if time.monotonic() - self._alive > NO_WORKERS:
            raise Unreachable(
                f"the Dask cluster has had no worker for {NO_WORKERS:g} s; finished items are kept: start workers and "
                "resume"
            )

    def cancel(self) -> None:
        """Give up what is pending."""
        if self.pending and self.client.status == "running":
            self.client.cancel(list(self.pending))


def _sharing(attempt: Callable[[Any], Any], item: Any, objects: Mapping[str, bytes]) -> Any:
    return Sharing(attempt, objects)(item)


def _death(client: Client, worker: str) -> str:
    """Say how a worker ended, from the events of its cluster."""
    events = client.get_events("worker-restart-memory") or ()
    for _, event in events:
        if isinstance(event, dict) and event.get("worker") == worker:
            used = event.get("rss", 0) / 2**30
            return (
                f"the Dask worker died each time: it was ended with {used:.2f} GiB in use, above its memory limit; "
                "give workers more memory (memory_limit=), or use fewer"
            )
    return (
        "the Dask worker died each time: the system ended it for want of memory, or it was killed from outside; its "
        "log says more"
    )


@contextmanager
def local_client(workers: int | None = None, *, memory_limit: str | int = "auto") -> Iterator[Client]:
    """Start a cluster on this machine, one process with one thread for each worker, and yield its client."""
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
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


@contextmanager
def client_at(address: str) -> Iterator[Client]:
    """Yield the client of a scheduler, once its workers run this package.

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
    """Send this package to workers that have none, or another one; those that join later receive it too."""
    import cloudpickle

    def ask() -> dict[str, str | None]:
        with _package_shipping.by_value(cloudpickle):
            scheduler = client.run_on_scheduler(
                _package_shipping.digest, _package_shipping.PACKAGE
            )  # the scheduler unpickles, too
            return {
                "the scheduler": scheduler,
                **client.run(_package_shipping.digest, _package_shipping.PACKAGE),
            }

    _package_shipping.ensure(ask, client.upload_file)

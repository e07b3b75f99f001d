"""A cluster of any kind as one context manager."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Cluster", "cluster", "reach"]

_SCHEDULER = re.compile(r"(tcp|tls|ucxx?|wss?)://")


@dataclass(frozen=True)
class Cluster:
    """Running workers, given in place of the name of an engine.

    Attributes
    ----------
    engine : str
        Engine of the workers.
    options : mapping
        ``client`` (a ``distributed.Client``) or ``session`` (a SparkContext), by which the engine reaches them.
    where : str
    """

    engine: str
    options: Mapping[str, Any] = field(repr=False)
    where: str = ""

    @property
    def client(self) -> Any:
        """The Dask client, for other work with Dask; None for Spark."""
        return self.options.get("client")

    @property
    def workers(self) -> int:
        """Number of tasks that run at a time."""
        if self.engine == "spark":
            return int(self.options["session"].defaultParallelism)
        return sum(self.client.nthreads().values())


def reach(engine: Any) -> Any:
    """Return running workers as a :class:`Cluster`; the name of an engine stays as it is.

    Parameters
    ----------
    engine : str, Cluster, distributed.Client, cluster of Dask or address
        A cluster of Dask is any with ``get_client``, such as those of dask-jobqueue (SLURM, PBS) and a LocalCluster.
        An address is that of a Dask scheduler (``tcp://host:8786``).
    """
    if isinstance(engine, str):
        return Cluster("dask", {"address": engine}, engine) if _SCHEDULER.match(engine) else engine
    if isinstance(engine, Cluster):
        return engine
    client = engine if hasattr(engine, "nthreads") and hasattr(engine, "submit") else None
    if client is None and hasattr(engine, "get_client"):
        client = engine.get_client()
    if client is None:
        raise ValueError(
            f"engine={engine!r}: expected the name of an engine, is2ice.cluster(...), a Dask client or cluster, or the "
            "address of a scheduler such as tcp://host:8786"
        )
    return Cluster("dask", {"client": client}, str(client.scheduler.address))


@contextmanager
def cluster(where: str = "local", workers: int | None = None, **options: Any) -> Iterator[Cluster]:
    """Start or reach workers for a block of code; workers that were started here are stopped at its end.

    Parameters
    ----------
    where : str
        ``"local"``, Dask on this machine; ``"gateway"``, a new cluster of the Dask Gateway that Dask is
        configured for, or a Gateway's ``http(s)://`` address; ``"tcp://host:8786"`` or ``"tls://..."``, a running
        Dask scheduler; ``"spark"``, Spark on this machine, or the session that is running; or a Spark master,
        ``"spark://host:7077"``, ``"local[4]"``, ``"yarn"`` or ``"k8s://..."``.
    workers : int, optional
        Number of workers to start: all cores of this machine by default; required for a Gateway.
    **options
        Options of the kind: ``auth``, ``proxy_address``, ``cluster_options``, ``name`` and ``timeout`` of a Gateway;
        ``conf`` of Spark; ``memory_limit`` of Dask on this machine.

    Yields
    ------
    Cluster
        Give it as ``engine`` to :func:`is2ice.run` or :func:`is2ice.engines.map`.

    Raises
    ------
    ValueError
        An address of no known kind.

    Examples
    --------
    >>> with cluster("local", workers=4) as workers:  # doctest: +SKIP
    ...     is2ice.run(granules, "ross_sea.zarr", engine=workers)
    """
    from . import dask, gateway, spark

    if where == "local":
        with dask.local_client(workers, **options) as client:
            yield Cluster("dask", {"client": client}, where)
    elif where == "gateway" or where.startswith(("http://", "https://")):
        address = None if where == "gateway" else where
        with gateway.gateway_client(workers, **{"address": address} | options) as client:
            yield Cluster("dask", {"client": client}, where)
    elif _SCHEDULER.match(where):
        if workers is not None or options:
            raise ValueError(
                f"{where}: a running scheduler has its own workers; leave workers= and options out"
            )
        with dask.client_at(where) as client:
            yield Cluster("dask", {"client": client}, where)
    elif where == "spark" or where == "yarn" or re.match(r"spark://|k8s://|local(\[|$)", where):
        master = None if where == "spark" else where
        with spark.spark_context(workers, **{"master": master} | options) as context:
            yield Cluster("spark", {"session": context}, where)
    else:
        raise ValueError(
            f"cluster {where!r}: expected 'local', 'gateway' or its http(s):// address, a Dask scheduler such as "
            "tcp://host:8786, 'spark', or a Spark master such as spark://host:7077"
        )

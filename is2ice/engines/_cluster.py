"""A cluster as one context manager, wherever it runs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Cluster", "cluster"]


@dataclass(frozen=True)
class Cluster:
    """Workers that are running, in the place of an engine's name.

    Attributes
    ----------
    engine : str
        The engine they belong to.
    options : mapping
        How that engine reaches them: ``client`` (a ``distributed.Client``) or ``session`` (a SparkContext).
    where : str
    """

    engine: str
    options: Mapping[str, Any] = field(repr=False)
    where: str = ""

    @property
    def client(self) -> Any:
        """The Dask client, for anything else one does with Dask; None of Spark."""
        return self.options.get("client")

    @property
    def workers(self) -> int:
        """Tasks that run at a time."""
        if self.engine == "spark":
            return int(self.options["session"].defaultParallelism)
        return sum(self.client.nthreads().values())


@contextmanager
def cluster(where: str = "local", workers: int | None = None, **options: Any) -> Iterator[Cluster]:
    """Workers for as long as the block lasts; what was started here is stopped at its end.

    Parameters
    ----------
    where : str
        ``"local"``, Dask on this machine; ``"gateway"``, a new cluster of the Dask Gateway that Dask is
        configured for, or a Gateway's ``http(s)://`` address; ``"tcp://host:8786"`` or ``"tls://..."``, a running
        Dask scheduler; ``"spark"``, Spark on this machine, or the session that is running; or a Spark master,
        ``"spark://host:7077"``, ``"local[4]"``, ``"yarn"`` or ``"k8s://..."``.
    workers : int, optional
        Of a cluster that is started here: all cores by default on this machine; needed of a Gateway.
    **options
        Of a Gateway ``auth``, ``proxy_address``, ``cluster_options``, ``name`` and ``timeout``; of Spark ``conf``;
        of local Dask ``memory_limit``.

    Yields
    ------
    Cluster
        To be given as ``engine`` to :func:`is2ice.run` or :func:`is2ice.engines.map`.

    Raises
    ------
    ValueError
        For an address of no known kind.

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
    elif re.match(r"(tcp|tls|ucxx?|wss?)://", where):
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

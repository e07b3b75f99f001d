"""Engine gateway: a cluster of a Dask Gateway, which lasts as long as the work."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from is2ice.errors import require

from ._common import Pairs, Unreachable
from .dask import feed, require_same_package

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["gateway", "gateway_client"]

log = logging.getLogger("is2ice")


def gateway(
    attempt: Callable[[Any], Any], items: Iterable[Any], *, shared: Mapping[str, bytes], **options: Any
) -> Pairs:
    """Apply a function to items on the workers of a Dask Gateway cluster; options as for :func:`gateway_client`."""
    with gateway_client(**options) as client:
        yield from feed(client, attempt, items, shared)


@contextmanager
def gateway_client(
    workers: int | None = None,
    *,
    address: str | None = None,
    proxy_address: str | None = None,
    auth: Any = None,
    name: str | None = None,
    cluster_options: Mapping[str, Any] | None = None,
    timeout: float = 600.0,
) -> Iterator[Client]:
    """Yield the client of a Gateway cluster whose workers run this package.

    Parameters
    ----------
    workers : int
        Number of workers of a new cluster.
    address, proxy_address : str, optional
        Addresses of the Gateway server and its proxy; by default those of Dask's configuration
        (``gateway.address``), as on hubs.
    auth : str or GatewayAuth, optional
        "basic", "kerberos", "jupyterhub"; by default as configured.
    name : str, optional
        Name of a running cluster to use instead of a new one; it is left running.
    cluster_options : mapping, optional
        Options that the server offers (``Gateway().cluster_options()``), such as image and worker memory.
    timeout : float
        Longest wait for the first worker, s.

    Raises
    ------
    ValueError
        No number of workers for a new cluster, or an option that the server does not offer.
    Unreachable
        No Gateway answers.
    TimeoutError
        No worker started.
    """
    require("dask_gateway")
    from aiohttp import ClientConnectionError
    from dask_gateway import Gateway

    if (workers is None) == (name is None):
        raise ValueError(
            "a new Gateway cluster has no workers: say how many with workers= (--workers); or name a running one with "
            "name="
        )
    with Gateway(address, proxy_address=proxy_address, auth=auth) as server, ExitStack() as stack:
        stack.callback(_closed, server)
        try:
            if name is not None:
                cluster = server.connect(name, shutdown_on_close=False)
            else:
                cluster = server.new_cluster(**_checked(server, cluster_options), shutdown_on_close=True)
        except ClientConnectionError as error:
            raise Unreachable(f"Dask Gateway {server.address}: {error}. Does it run there?") from error
        stack.callback(_closed, cluster.gateway)
        with cluster, cluster.get_client(set_as_default=False) as client:
            if workers is not None:
                cluster.scale(workers)
            try:
                client.wait_for_workers(1, timeout=timeout)
            except TimeoutError:
                raise TimeoutError(
                    f"Gateway cluster {cluster.name}: no worker within {timeout:g} s. Is the cluster full, or the "
                    "worker image broken? Its log is with the Gateway's administrator"
                ) from None
            _compare_versions(client)
            require_same_package(client)
            yield client


def _closed(server: Any) -> None:
    """Close a server for good: its __del__ would close it again after the end of Dask's loop, and fail."""
    server.close()
    server.close = lambda: None


def _checked(server: Any, chosen: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return cluster options that the server offers, all of them."""
    if not chosen:
        return {}
    offered = list(server.cluster_options())
    unknown = sorted(set(chosen) - set(offered))
    if unknown:
        raise ValueError(
            f"cluster_options {', '.join(unknown)}: this Gateway offers {', '.join(offered) or 'none'}"
        )
    return dict(chosen)


def _compare_versions(client: Client) -> None:
    """Log one warning if the versions of Dask differ between this process and the workers."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        client.get_versions(check=True)
    for warning in caught:
        if "Mismatched versions" in str(warning.message):
            log.warning("Dask Gateway: %s", str(warning.message).strip())

"""Settings of execution: the engine that computes, its options, retries, and the credentials that workers get."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import Any, TypedDict

from is2ice import engines
from is2ice.errors import Is2IceError, RemoteError
from is2ice.io.remote.location import Location, beside, location
from is2ice.io.stores.layout import is_store
from is2ice.io.stores.store import Overwrite
from is2ice.io.urls import scrub

__all__ = ["EngineKeywords", "ExecutionSettings", "RunKeywords", "RunSettings", "is_transient"]

#: Options of :func:`is2ice.engines.map` for retries; all others are options of the engine itself.
RETRY = ("retry_on", "retry_wait")
#: Environment variables that give workers access to archives; they travel with each item and are stored nowhere.
CREDENTIALS = (
    "EARTHDATA_TOKEN",
    "EARTHDATA_USERNAME",
    "EARTHDATA_PASSWORD",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_NO_SIGN_REQUEST",
    "AZURE_STORAGE_ACCOUNT_NAME",
    "AZURE_STORAGE_ACCOUNT_KEY",
    "AZURE_STORAGE_SAS_KEY",
    "AZURE_STORAGE_TOKEN",
    "AZURE_STORAGE_CLIENT_ID",
    "AZURE_STORAGE_CLIENT_SECRET",
    "AZURE_STORAGE_TENANT_ID",
    "AZURE_STORAGE_ENDPOINT",
    "AZURE_ENDPOINT",
    "AZURE_SKIP_SIGNATURE",
    "GOOGLE_SERVICE_ACCOUNT_KEY",
    "GOOGLE_BEARER_TOKEN",
    "GOOGLE_BASE_URL",
    "GOOGLE_SKIP_SIGNATURE",
)


class EngineKeywords(TypedDict, total=False):
    """Keywords for the engine; see :class:`RunSettings`."""

    engine: str | engines.Cluster
    workers: int | None
    engine_options: Mapping[str, Any] | None
    retries: int


class RunKeywords(EngineKeywords, total=False):
    """Keywords for the engine and for the tracks that a store holds already; see :class:`RunSettings`."""

    overwrite: Overwrite
    progress: bool | None
    storage_options: Mapping[str, Any] | None


@dataclass(frozen=True)
class RunSettings:
    """Settings of a run that do not decide its results.

    Attributes
    ----------
    engine : {"serial", "processes", "dask", "gateway", "spark"}, or running workers
        Engine that computes. Running workers are those of :func:`is2ice.cluster`, which starts a cluster for several
        runs, a Dask client or cluster (also of dask-jobqueue), or the address of a Dask scheduler.
    workers : int, optional
        Number of workers (serial uses none).
    engine_options : mapping, optional
        Further options of the engine, such as ``{"address": "tcp://..."}`` (:func:`is2ice.engines.map`).
    retries : int
        Further attempts, after 1 s, 2 s and so on, after a transient error of network or disk.
    overwrite : {"different", "always", "never"}
        Treatment of a track that is stored already: by default it is replaced only if the granule, the options or
        the package changed.
    progress : bool, optional
        Show a bar on standard error; by default only on a terminal.
    storage_options : mapping, optional
        Options of the bucket that holds the store (:func:`is2ice.location`); they also open stores that are read from
        the same provider. They travel with the tasks and are stored nowhere; the environment supplies what is not
        given.

    Raises
    ------
    ValueError
        An unknown engine or value of ``overwrite``, or negative retries.
    """

    engine: str | engines.Cluster = "serial"
    workers: int | None = None
    engine_options: Mapping[str, Any] | None = field(default=None, repr=False)
    retries: int = 2
    overwrite: Overwrite = "different"
    progress: bool | None = None
    storage_options: Mapping[str, Any] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "engine", engines.reach(self.engine))
        engines.check(self.engine)
        if self.overwrite not in ("different", "always", "never"):
            raise ValueError(f"overwrite={self.overwrite!r}: expected 'different', 'always' or 'never'")
        if self.retries < 0:
            raise ValueError(f"retries={self.retries}: expected 0 or more")

    @classmethod
    def merged(cls, settings: RunSettings | None, keywords: Mapping[str, Any]) -> RunSettings:
        """Combine a record of settings with keywords, which take precedence.

        Raises
        ------
        TypeError
            A keyword that is no setting.
        """
        known = [f.name for f in fields(cls)]
        if unknown := sorted(set(keywords) - set(known)):
            raise TypeError(
                f"unexpected keyword {', '.join(unknown)}; the settings are {', '.join(known)} (of a track: options=)"
            )
        return replace(settings or cls(), **keywords)

    def addressed(self, source: Any, other: Location | None = None) -> Any:
        """Give the location of a store in a bucket with the storage options; return any other source unchanged.

        `other` is a store of the provider that the options are of.
        """
        bucket = isinstance(source, str | os.PathLike) and "://" in os.fspath(source)
        if not (self.storage_options and bucket and is_store(source)):
            return source
        return beside(source, other or location(source, self.storage_options), self.storage_options)

    @property
    def execution(self) -> ExecutionSettings:
        """The part that the engine needs."""
        options = dict(self.engine_options or {}) | (
            {} if self.workers is None else {"workers": self.workers}
        )
        return ExecutionSettings(self.engine, options, self.retries)


@dataclass(frozen=True)
class ExecutionSettings:
    """An engine with its options, ready to map a function over items.

    Attributes
    ----------
    engine : str or Cluster
    options : mapping
        Options of the engine, and ``retry_on`` and ``retry_wait`` of :func:`is2ice.engines.map`.
    retries : int
    """

    engine: str | engines.Cluster = "serial"
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    retries: int = 2

    @property
    def name(self) -> str:
        """Name of the engine."""
        return engines.check(self.engine)

    def attempted(self, fn: Callable[[Any], Any]) -> Callable[[Any], tuple[bool, Any]]:
        """Wrap a function for the driver with the retries of a worker: True and result, or False and error."""
        return partial(self.attempts, fn)

    @property
    def attempts(self) -> Callable[[Callable[[Any], Any], Any], tuple[bool, Any]]:
        """Function of a function and an item that applies one to the other, with the retries of a worker."""
        return partial(engines.attempt, **self._retry())

    def map(
        self, fn: Callable[[Any], Any], items: Iterable[Any], share: Mapping[str, bytes] | None = None
    ) -> Iterator[tuple[Any, Any]]:
        """Run :func:`is2ice.engines.map` with the current credentials; yield (item, result or error)."""
        how = {"environment": _credentials, "share": share, **self._retry(), **self._engine_options()}
        return engines.map(fn, items, self.engine, **how)

    @contextmanager
    def running(self) -> Iterator[ExecutionSettings]:
        """Start the workers once for several calls of :meth:`map`, and yield the settings that use them.

        The engine ``processes`` starts its workers in each call, which is quick.
        """
        own = self._engine_options()
        where = {"dask": own.get("address") or "local"}.get(self.name, self.name)
        known = where in ("local", "gateway", "spark") or re.match(r"(tcp|tls|ucxx?|wss?)://", where)
        if not isinstance(self.engine, str) or not known or {"client", "session"} & set(own):
            yield self
            return
        if self.name == "dask":
            own.pop("address", None)
        with engines.cluster(where, **own) as cluster:
            yield replace(self, engine=cluster, options={k: v for k, v in self.options.items() if k in RETRY})

    def _retry(self) -> dict[str, Any]:
        """Options of retries, with the defaults."""
        out: dict[str, Any] = {"retries": self.retries, "retry_on": is_transient, "clean": scrub}
        return out | {k: self.options[k] for k in RETRY if k in self.options}

    def _engine_options(self) -> dict[str, Any]:
        """Options of the engine itself."""
        return {k: v for k, v in self.options.items() if k not in RETRY}


def is_transient(error: BaseException) -> bool:
    """Return True for a transient error (network or disk) that is worth a retry."""
    lasting = (Is2IceError, FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)
    if isinstance(error, RemoteError):
        return True
    if type(error).__module__.startswith("aiohttp"):  # from a read under way; most of these are no OSError
        status = getattr(error, "status", None)
        return status is None or status >= 500 or status == 429
    return isinstance(error, OSError) and not isinstance(error, lasting)


def _credentials() -> dict[str, str]:
    """Credentials for archives as they are now, from the environment or from the Earthdata session here."""
    out = {name: os.environ[name] for name in CREDENTIALS if name in os.environ}
    auth = getattr(sys.modules.get("earthaccess"), "__auth__", None)
    if getattr(auth, "authenticated", False) and (token := getattr(auth, "token", None)):
        out["EARTHDATA_TOKEN"] = str(token["access_token"])
    return out

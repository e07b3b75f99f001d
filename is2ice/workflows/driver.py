"""A run on an engine: what it was asked for, its receipts as they come, and what of it can be resumed.

What it leaves in its store is kept by :mod:`is2ice.workflows.run_record`.
"""

from __future__ import annotations

import logging
import os
import platform
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from is2ice import engines
from is2ice.errors import StoreError
from is2ice.io.remote.location import Location
from is2ice.io.stores import store as stores
from is2ice.io.urls import public_url, scrub
from is2ice.science import epoch

from .progress import Bar
from .progress import progress as show_progress
from .receipts import Run
from .run_record import Earlier, Record, alive, last, read

__all__ = [
    "Earlier", "Manifest", "Place", "again", "alive", "base_receipt", "drive", "engine_options", "failure", "kept",
    "last", "named", "placed", "read", "resumed",
]  # fmt: skip

log = logging.getLogger("is2ice")

#: Environment variables that let workers into archives; they travel with each item and are stored nowhere.
RETRY = ("retry_on", "retry_wait")
_GRANULE = re.compile(r"ATL\d\d(-\d\d)?_\d{14}_\d{8}_\d{3}_\d\d")
#: How HDF5 says that bytes are not what they should be.
_DAMAGED = re.compile(r"Unable to (synchronously )?|Can't (synchronously )?(read|open)")
CREDENTIALS = (
    "EARTHDATA_TOKEN", "EARTHDATA_USERNAME", "EARTHDATA_PASSWORD",
    "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_REGION",
    "AWS_DEFAULT_REGION", "AWS_NO_SIGN_REQUEST",
)  # fmt: skip


# -- what was asked for -------------------------------------------------------------------------------
@dataclass(frozen=True)
class Manifest:
    """What a run was asked to do.

    Attributes
    ----------
    kind : {"run", "labels", "classes"}
    sources : tuple of str
        Paths and URLs, without secrets.
    beams, options, overwrite
        As given to :func:`is2ice.run`; options as JSON can hold them.
    block_km : float, optional
    again : bool
        Whether the sources can be opened from what is written here (a signed URL cannot, nor an open file).
    """

    kind: str
    sources: tuple[str, ...]
    beams: Any = None
    options: Mapping[str, Any] = field(default_factory=dict)
    overwrite: str = "different"
    again: bool = True
    block_km: float | None = None

    @classmethod
    def of(
        cls,
        kind: str,
        sources: Iterable[Any],
        beams: Any,
        options: Mapping[str, Any],
        overwrite: str,
        block_km: float | None = None,
    ) -> Manifest:
        """A manifest of any sources."""
        told = [named(source) for source in sources]
        names, again = tuple(n for n, _ in told), all(ok for _, ok in told)
        return cls(kind, names, beams, options, overwrite, again, block_km)


def named(source: Any) -> tuple[str, bool]:
    """How a source is written down, and whether it can be opened from that."""
    if isinstance(source, str | os.PathLike):
        text = os.fspath(source)
        if _GRANULE.fullmatch(text) and not os.path.exists(text):
            return text, True  # looked up in NASA's catalogue again
        if "://" not in text:
            return str(Path(text).expanduser().absolute()), True
        return public_url(text), public_url(text) == text
    if hasattr(source, "data_links"):
        links = [link for link in source.data_links() if link.endswith(".h5")]
        return (public_url(links[0]), True) if links else (str(source["umm"]["GranuleUR"]), False)
    return scrub(str(getattr(source, "name", type(source).__name__))), False


@dataclass(frozen=True)
class Place:
    """Where something is computed: an engine, with what it needs.

    Attributes
    ----------
    engine : str or Cluster
    options : mapping
        Of the engine, and ``retry_on`` and ``retry_wait`` of :func:`is2ice.engines.map`.
    retries : int
    """

    engine: str | engines.Cluster = "serial"
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    retries: int = 2

    @property
    def name(self) -> str:
        """The engine's name."""
        return engines.check(self.engine)

    def retry(self, may_pass: Callable[[BaseException], bool]) -> dict[str, Any]:
        """What of the options is about trying again, with the defaults."""
        out: dict[str, Any] = {"retries": self.retries, "retry_on": may_pass, "clean": scrub}
        return out | {k: self.options[k] for k in RETRY if k in self.options}

    def attempted(
        self, fn: Callable[[Any], Any], may_pass: Callable[[BaseException], bool]
    ) -> Callable[[Any], tuple[bool, Any]]:
        """A function tried here, in the driver, as workers try theirs: True and its result, or False and the error."""
        return partial(engines.attempt, fn, **self.retry(may_pass))

    def map(
        self, fn: Callable[[Any], Any], items: Iterable[Any], may_pass: Callable[[BaseException], bool]
    ) -> Iterator[tuple[Any, Any]]:
        """:func:`is2ice.engines.map` here, with the credentials of the moment for the workers."""
        kept = self.retry(may_pass)
        return engines.map(fn, items, self.engine, environment=_credentials, **kept, **self._own())

    @contextmanager
    def running(self) -> Iterator[Place]:
        """This place with its workers started, for several calls of :meth:`map`.

        ``processes`` starts anew each time, which is quick.
        """
        own = self._own()
        where = {"dask": own.get("address") or "local"}.get(self.name, self.name)
        known = where in ("local", "gateway", "spark") or re.match(r"(tcp|tls|ucxx?|wss?)://", where)
        if not isinstance(self.engine, str) or not known or {"client", "session"} & set(own):
            yield self
            return
        if self.name == "dask":
            own.pop("address", None)
        with engines.cluster(where, **own) as cluster:
            kept = {k: v for k, v in self.options.items() if k in RETRY}
            yield replace(self, engine=cluster, options=kept)

    def _own(self) -> dict[str, Any]:
        """Options of the engine itself."""
        return {k: v for k, v in self.options.items() if k not in RETRY}


def engine_options(
    engine: str, workers: int | None = None, address: str | None = None, conf: Iterable[str] = ()
) -> dict[str, Any]:
    """Options of an engine from what a command line says.

    Raises
    ------
    ValueError
        For what the engine has no use for.
    """
    if address and engine not in ("dask", "gateway", "spark"):
        raise ValueError(
            f"--address is of Dask, a Gateway or a Spark master; add --engine dask (got {engine})"
        )
    if conf and engine not in ("spark", "gateway"):
        raise ValueError(f"--conf is of spark and gateway (got --engine {engine})")
    pairs = {}
    for text in conf:
        key, sign, value = text.partition("=")
        if not sign:
            raise ValueError(f"--conf {text!r}: expected key=value")
        pairs[key] = value
    out: dict[str, Any] = {} if workers is None else {"workers": workers}
    if address:
        out["master" if engine == "spark" else "address"] = address
    if pairs:
        out["conf" if engine == "spark" else "cluster_options"] = pairs
    return out


def _credentials() -> dict[str, str]:
    """What lets workers into archives, as it is now: of the environment, or of the Earthdata session here."""
    import sys

    out = {name: os.environ[name] for name in CREDENTIALS if name in os.environ}
    auth = getattr(sys.modules.get("earthaccess"), "__auth__", None)
    if getattr(auth, "authenticated", False) and (token := getattr(auth, "token", None)):
        out["EARTHDATA_TOKEN"] = str(token["access_token"])
    return out


# -- the run itself -----------------------------------------------------------------------------------
def drive(
    root: Location,
    manifest: Manifest,
    place: Place,
    task: Callable[[Any], Any],
    items: Callable[[Callable[[Mapping[str, Any]], None], Bar], Iterable[Any]],
    may_pass: Callable[[BaseException], bool],
    *,
    granules: int,
    progress: bool | None = None,
    earlier: Earlier | None = None,
    prepare: Callable[[Place, str, Callable[[Any, bool], None]], Callable[[Any], Any]] | None = None,
) -> Run:
    """Do a task for every item on an engine, into a store, and keep record.

    Parameters
    ----------
    root : Path
        The store.
    manifest : Manifest
    place : Place
    task : callable
        Item to a receipt, or to a list of them.
    items : callable
        Given a function that records a receipt (for what cannot become an item) and a bar, gives the items.
    may_pass : callable
        Of an exception: whether to try again.
    granules : int
        For the bar.
    progress : bool, optional
    earlier : Earlier, optional
        The run that this one goes on with.
    prepare : callable, optional
        What is to be done first, on the same workers: given these as a place, the first id of the run, and a function
        that is told of each block (and whether it failed), gives the task to do instead.

    Returns
    -------
    Run
    """
    started = time.perf_counter()
    receipts: list[dict[str, Any]] = []
    written: list[tuple[str, str]] = []
    with Record(root, manifest, place, earlier) as record, show_progress(progress, granules) as bar:

        def keep(receipt: Mapping[str, Any]) -> None:
            receipts.append(dict(receipt))
            if receipt["outcome"] == "done":
                written.append((receipt["granule"], receipt["beam"]))
            record.write(receipt)
            bar.finished(receipt)

        def block(part: Any, failed: bool) -> None:
            record.block(failed, time.perf_counter() - started)
            bar.prepared(str(part))

        def drawn() -> Iterator[Any]:  # once there are workers
            record.begun = True
            yield from items(keep, bar)

        try:
            there, stack = place, ExitStack()
            with stack:
                if prepare is not None:
                    there = stack.enter_context(place.running())
                    task = prepare(there, record.of, block)
                results = stack.enter_context(closing(there.map(task, drawn(), may_pass)))  # type: ignore[type-var]
                for item, result in results:
                    if isinstance(result, BaseException):
                        result = failure(item, result, place.name)
                    for receipt in result if isinstance(result, list) else [result]:
                        keep(receipt)
        finally:
            stores.consolidate(root, written)
        done = Run(root.url, tuple(receipts), place.name, time.perf_counter() - started, str(record.log))
        record.finish(done)
    return done


# -- going on -----------------------------------------------------------------------------------------
def resumed(
    store: str | os.PathLike[str], kind: str, changes: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The last run of a store, and what to call it with to go on.

    Parameters
    ----------
    store : str or Path
    kind : {"run", "labels"}
        What it must have been.
    changes : mapping
        What is to be otherwise, such as ``engine``; ``sources`` where those written down cannot be opened.

    Returns
    -------
    manifest : dict
    changes : dict
        With ``sources``, the engine and its options, and ``_earlier``, the run itself.

    Raises
    ------
    StoreError
        No such run, or one that cannot be gone on with from what is written of it.
    """
    manifest, _ = read(store)
    if manifest["kind"] != kind:
        raise StoreError(
            f"{store}: its last run is of {manifest['kind']}; go on with that by {again(manifest, store)}"
        )
    if not manifest["again"] and "sources" not in changes:
        raise StoreError(
            f"{store}: the sources of its last run cannot be opened from what is written of them (signed URLs, open "
            "files, objects of a Python session); give them again"
        )
    if manifest["where"] and "engine" not in changes:
        raise StoreError(
            f"{store}: its last run was on a cluster ({manifest['where']}); name an engine to go on"
        )
    begun = manifest.get("begun", datetime.fromisoformat(manifest["started"]).timestamp())
    out = {"sources": manifest["sources"], "_earlier": Earlier(manifest.get("of", manifest["id"]), begun)}
    return manifest, out | dict(changes) | (
        _same_place(store, manifest, changes) if "engine" not in changes else {}
    )


def _same_place(
    store: str | os.PathLike[str], manifest: Mapping[str, Any], changes: Mapping[str, Any]
) -> dict[str, Any]:
    """The engine of a run, with what is changed of its options."""
    before, given = manifest["engine_options"], dict(changes.get("engine_options") or {})
    missing = [name for name in manifest.get("withheld", ()) if name not in given]
    if missing:
        raise StoreError(
            f"{store}: {', '.join(missing)} of its last run's engine ({manifest['engine']}) is not written down, or "
            "not whole, as it may hold secrets; give it again, or name an engine"
        )
    given = {k: {**before.get(k, {}), **v} if isinstance(v, Mapping) else v for k, v in given.items()}
    return {"engine": manifest["engine"], "engine_options": {**before, **given}}


def placed(
    engine: str | None,
    workers: int | None,
    address: str | None,
    conf: Iterable[str],
    resuming: str | os.PathLike[str] | None = None,
) -> dict[str, Any]:
    """Engine and options from what a command line says; what it does not say is as in the run it goes on with.

    Raises
    ------
    ValueError
        For what the engine has no use for.
    """
    if resuming is None or engine:
        name = engine or "serial"
        engines.check(name)
        return {"engine": name, "engine_options": engine_options(name, workers, address, conf)}
    if not (workers or address or conf):
        return {}
    return {"engine_options": engine_options(read(resuming)[0]["engine"], workers, address, conf)}


def only_new(context: Any, names: Iterable[str]) -> None:
    """Refuse options of a command that would change what a resumed run was asked for.

    Raises
    ------
    ValueError
    """
    given = [
        n for n in names if (how := context.get_parameter_source(n)) is not None and how.name == "COMMANDLINE"
    ]
    if given:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise ValueError(
            f"{flags}: --resume goes on with what the store's last run was asked for; leave that out, or leave out "
            "--resume to begin a new run"
        )


def again(manifest: Mapping[str, Any], store: str | os.PathLike[str]) -> str:
    """The command that goes on with a run."""
    if manifest["kind"] == "classes":
        return "the same is2ice classify; it skips what is done"
    command = {"run": "is2ice run", "labels": "is2ice labels many"}[manifest["kind"]]
    return f"{command} --resume --store {store}"


def kept(
    store: str | os.PathLike[str], item: Any, inputs: str, overwrite: stores.Overwrite, since: str | None
) -> tuple[bool, dict[str, Any] | None]:
    """Whether the stored track of an item stays as it is, and its attributes (None: there is none).

    Parameters
    ----------
    store : path
    item : Item
    inputs : str
        :func:`is2ice.io.stores.store.fingerprint` of what it would be made from.
    overwrite : {"different", "always", "never"}
    since : str, optional
        Id of the run, or of the first one that it resumes; tracks that these have written are kept.
    """
    have = stores.track_attributes(store, item.granule, item.beam)
    if have is None:
        return False, None
    keeps = stores.keeps(have, inputs, overwrite)
    if keeps or since is None or have.get("inputs") != inputs:
        return keeps, have
    return have["run"] == since, have


# -- receipts -----------------------------------------------------------------------------------------
def base_receipt(item: Any, engine: str) -> dict[str, Any]:
    """What every receipt of an item says: what it is of, and where and when it was made."""
    source = item.source if isinstance(item.source, str | os.PathLike) else getattr(item.source, "name", "")
    return {
        "granule": item.granule or None,
        "beam": item.beam or None,
        "source": scrub(os.fspath(source)) if source else type(item.source).__name__,
        "engine": engine,
        "host": platform.node(),
        "process": os.getpid(),
        "finished": epoch.now(),
        "notes": [],
    }


def failure(item: Any, error: BaseException, engine: str) -> dict[str, Any]:
    """The receipt of an item that failed."""
    detail = "\n".join(getattr(error, "__notes__", ()))
    text = str(error) or type(error).__name__
    if type(error).__module__ == "builtins":  # not one of ours: its text alone may say too little
        text = f"{type(error).__name__}: {text}"
    local = isinstance(item.source, str | os.PathLike) and "://" not in os.fspath(item.source)
    if local and _DAMAGED.search(text) and "doesn't exist" not in text:
        text += "; its HDF5 cannot be read there, the file is damaged: download it again"
    text, detail = scrub(text), scrub(detail)
    log.debug("%s: %s\n%s", item, text, detail)
    return {
        **base_receipt(item, engine),
        "outcome": "failed",
        "error": text,
        "error_type": type(error).__name__,
        "detail": detail,
    }

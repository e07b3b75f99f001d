"""A run on an engine: its manifest, its receipts as they come, and what of it can be resumed.

``<store>/.runs/<id>.json`` says what was asked for and how it ended, ``<id>.jsonl`` holds a line a receipt. Both are
written as things happen, so that a run that was killed has left its record.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from . import __version__, cf, engines
from . import store as stores
from .errors import StoreError
from .progress import Bar
from .progress import progress as show_progress
from .receipts import Run, json_line
from .remote import public_url, scrub

__all__ = [
    "Manifest", "Place", "again", "base_receipt", "drive", "engine_options", "failure", "kept", "last", "named", "read",
    "resumed",
]  # fmt: skip

log = logging.getLogger("is2ice")

FOLDER = ".runs"
#: Environment variables that let workers into archives; they travel with each item and are stored nowhere.
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
    again : bool
        Whether the sources can be opened from what is written here (a signed URL cannot, nor an open file).
    """

    kind: str
    sources: tuple[str, ...]
    beams: Any = None
    options: Mapping[str, Any] = field(default_factory=dict)
    overwrite: str = "different"
    again: bool = True

    @classmethod
    def of(
        cls, kind: str, sources: Iterable[Any], beams: Any, options: Mapping[str, Any], overwrite: str
    ) -> Manifest:
        """A manifest of any sources."""
        told = [named(source) for source in sources]
        return cls(kind, tuple(n for n, _ in told), beams, options, overwrite, all(ok for _, ok in told))


def named(source: Any) -> tuple[str, bool]:
    """How a source is written down, and whether it can be opened from that."""
    if isinstance(source, str | os.PathLike):
        text = os.fspath(source)
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
        return out | {k: self.options[k] for k in ("retry_on", "retry_wait") if k in self.options}

    def attempted(
        self, fn: Callable[[Any], Any], may_pass: Callable[[BaseException], bool]
    ) -> Callable[[Any], tuple[bool, Any]]:
        """A function tried here, in the driver, as workers try theirs: True and its result, or False and the error."""
        return partial(engines.attempt, fn, **self.retry(may_pass))

    def map(
        self, fn: Callable[[Any], Any], items: Iterable[Any], may_pass: Callable[[BaseException], bool]
    ) -> Iterator[tuple[Any, Any]]:
        """:func:`is2ice.engines.map` here, with the credentials of the moment for the workers."""
        own = {k: v for k, v in self.options.items() if k not in ("retry_on", "retry_wait")}
        kept = self.retry(may_pass)
        return engines.map(fn, items, self.engine, environment=_credentials, **kept, **own)


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
    root: Path,
    manifest: Manifest,
    place: Place,
    task: Callable[[Any], Any],
    items: Callable[[Callable[[Mapping[str, Any]], None], Bar], Iterable[Any]],
    may_pass: Callable[[BaseException], bool],
    *,
    granules: int,
    progress: bool | None = None,
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

    Returns
    -------
    Run
    """
    started = time.perf_counter()
    receipts: list[dict[str, Any]] = []
    with _Record(root, manifest, place) as record, show_progress(progress, granules) as bar:

        def keep(receipt: Mapping[str, Any]) -> None:
            receipts.append(dict(receipt))
            record.write(receipt)
            bar.finished(receipt)

        try:
            with closing(place.map(task, items(keep, bar), may_pass)) as results:  # type: ignore[type-var]
                for item, result in results:
                    if isinstance(result, BaseException):
                        result = failure(item, result, place.name)
                    for receipt in result if isinstance(result, list) else [result]:
                        keep(receipt)
        finally:
            stores.consolidate(root)
        done = Run(str(root), tuple(receipts), place.name, time.perf_counter() - started, str(record.log))
        record.finish(done)
    return done


class _Record:
    """Manifest and receipts on disk."""

    def __init__(self, root: Path, manifest: Manifest, place: Place) -> None:
        self.root = root
        self.document = {
            "id": f"{cf.now().replace(':', '').replace('-', '')}-{os.getpid()}",
            "status": "running",
            "started": cf.now(),
            "is2ice": __version__,
            "engine": place.name,
            "engine_options": {
                k: v
                for k, v in place.options.items()
                if k in ("workers", "address", "proxy_address", "master") and isinstance(v, str | int | None)
            },
            "where": place.engine.where if isinstance(place.engine, engines.Cluster) else "",
            "host": platform.node(),
            "process": os.getpid(),
            **{k: getattr(manifest, k) for k in Manifest.__dataclass_fields__},
        }

    def __enter__(self) -> _Record:
        folder = self.root / FOLDER
        with stores.clear_errors(self.root):
            folder.mkdir(exist_ok=True)
            self.path = folder / f"{self.document['id']}.json"
            self.log = self.path.with_suffix(".jsonl")
            self.save()
            self.stream = self.log.open("a", buffering=1)
        self.write({k: self.document[k] for k in ("started", "is2ice", "engine", "options")})
        return self

    def __exit__(self, kind: Any, fault: Any, trace: Any) -> None:
        self.stream.close()
        if fault is not None:
            self.document |= {
                "status": "interrupted" if kind in (KeyboardInterrupt, GeneratorExit) else "broken off",
                "finished": cf.now(),
                "error": "" if kind is KeyboardInterrupt else scrub(f"{kind.__name__}: {fault}"),
            }
            self.save()

    def write(self, document: Mapping[str, Any]) -> None:
        self.stream.write(json_line(document) + "\n")

    def finish(self, run: Run) -> None:
        counts = {"done": len(run.done), "skipped": len(run.skipped), "failed": len(run.failed)}
        self.document |= {
            "status": "finished",
            "finished": cf.now(),
            "seconds": round(run.seconds, 3),
            **counts,
        }
        self.save()

    def save(self) -> None:
        with stores.clear_errors(self.root):
            part = self.path.with_name(f".{self.path.name}")
            part.write_text(json.dumps(self.document, indent=1, default=list))
            os.replace(part, self.path)


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
        With ``sources``, the engine and its options, and ``_since`` (when the run was begun).

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
    place = {k: manifest[k] for k in ("engine", "engine_options")} if "engine" not in changes else {}
    since = datetime.fromisoformat(manifest["started"]).timestamp()
    return manifest, {"sources": manifest["sources"], "_since": since} | place | dict(changes)


def again(manifest: Mapping[str, Any], store: str | os.PathLike[str]) -> str:
    """The command that goes on with a run."""
    if manifest["kind"] == "classes":
        return "the same is2ice classify; it skips what is done"
    command = {"run": "is2ice run", "labels": "is2ice labels many"}[manifest["kind"]]
    return f"{command} --resume --store {store}"


def kept(
    store: str | os.PathLike[str], item: Any, inputs: str, overwrite: stores.Overwrite, since: float | None
) -> tuple[bool, dict[str, Any] | None]:
    """Whether the stored track of an item stays as it is, and its attributes (None: there is none).

    Parameters
    ----------
    store : path
    item : Item
    inputs : str
        :func:`is2ice.store.fingerprint` of what it would be made from.
    overwrite : {"different", "always", "never"}
    since : float, optional
        When the run was begun that this one goes on with, s since 1970: what that has written already is kept.
    """
    have = stores.track_attributes(store, item.granule, item.beam)
    if have is None:
        return False, None
    keeps = stores.keeps(have, inputs, overwrite)
    if keeps or since is None or have.get("inputs") != inputs:
        return keeps, have
    path = os.path.join(store, item.granule, item.beam, stores.META)
    return os.stat(path).st_mtime >= since, have


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
        "finished": cf.now(),
        "notes": [],
    }


def failure(item: Any, error: BaseException, engine: str) -> dict[str, Any]:
    """The receipt of an item that failed."""
    detail = "\n".join(getattr(error, "__notes__", ()))
    text = str(error) or type(error).__name__
    if type(error).__module__ == "builtins":  # not one of ours: its text alone may say too little
        text = f"{type(error).__name__}: {text}"
    text, detail = scrub(text), scrub(detail)
    log.debug("%s: %s\n%s", item, text, detail)
    return {
        **base_receipt(item, engine),
        "outcome": "failed",
        "error": text,
        "error_type": type(error).__name__,
        "detail": detail,
    }


# -- what was done ------------------------------------------------------------------------------------
def last(store: str | os.PathLike[str]) -> Path:
    """The manifest of a store's last run.

    Raises
    ------
    StoreError
        A store without runs, or no store.
    """
    folder = Path(store).expanduser() / FOLDER
    found = sorted(folder.glob("*.json"), key=lambda p: (json.loads(p.read_text())["started"], p.name))
    if not found:
        raise StoreError(f"{store}: no run has left a manifest here ({folder} holds none)")
    return found[-1]


def read(run: str | os.PathLike[str]) -> tuple[dict[str, Any], Run]:
    """Manifest and receipts of a run: the last one of a store, or one by its file in ``<store>/.runs``.

    Returns
    -------
    manifest : dict
    run : Run
        Of a run that was killed, the receipts up to then.

    Raises
    ------
    StoreError
        No run there.
    """
    path = Path(run).expanduser()
    path = last(path) if path.is_dir() else path.with_suffix(".json")
    if not path.exists():
        raise StoreError(f"{run}: no such run; expected a store, or a file of its folder {FOLDER}")
    manifest = json.loads(path.read_text())
    lines = path.with_suffix(".jsonl").read_text().splitlines()
    receipts = []
    for line in lines[1:]:
        try:
            receipts.append(json.loads(line))
        except ValueError:  # cut short as its run was killed
            log.warning("%s: a receipt cut short", path.with_suffix(".jsonl"))
    seconds = float(manifest.get("seconds", 0.0))
    store = str(path.parent.parent)
    return manifest, Run(store, tuple(receipts), manifest["engine"], seconds, str(path.with_suffix(".jsonl")))

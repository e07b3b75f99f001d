"""A cloud on this machine: files behind range requests, and their items behind a real STAC API.

Searching and streaming then run for real with no network: pystac-client talks to a STAC server, and GDAL,
fsspec and h5py read byte ranges over HTTP. The truth beside the products is never served.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from is2ice.errors import Is2IceError, MissingExtraError, extra_hint, require

from .granule_items import granule_item

if TYPE_CHECKING:
    import pystac

__all__ = ["CloudError", "LocalCloud", "Traffic", "serve"]

logger = logging.getLogger("is2ice")

_HIDDEN = "truth"


class CloudError(Is2IceError, RuntimeError):
    """The local cloud could not be started, or is not running."""


@dataclass(frozen=True)
class Traffic:
    """Requests that the file server has answered so far.

    Attributes
    ----------
    requests : int
        All requests.
    partial : int
        Those answered with a byte range (206).
    sent : int
        Bytes of content sent.
    """

    requests: int
    partial: int
    sent: int


class LocalCloud:
    """Serve a folder of granules and scenes on this machine until closed.

    STAC items (``*.json``) and collections in the folder are offered with the addresses of their files
    rewritten to the file server; ICESat-2 granules without an item get one. Folders named ``truth`` are
    hidden.

    Parameters
    ----------
    folder : path
        Searched with all its subfolders when the cloud starts.
    host : str
        Address to bind; only this machine can reach the default.
    port, stac_port : int
        Ports of the file server and of the STAC API; 0 takes a free one.
    timeout : float
        Seconds to wait until both answer.
    stac : bool
        Start the STAC API too.

    Attributes
    ----------
    url, stac_url : str
        Addresses of the file server and of the STAC API, once started.
    listed : int
        Items offered.

    Raises
    ------
    CloudError
        On start: no such folder, a port in use, or a server that does not answer in time.

    Examples
    --------
    >>> with LocalCloud("demo") as cloud:  # doctest: +SKIP
    ...     client = pystac_client.Client.open(cloud.stac_url)
    ...     items = client.search(collections=["sentinel-2-l2a"]).items()
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        stac_port: int = 0,
        timeout: float = 30.0,
        stac: bool = True,
    ) -> None:
        self.folder = Path(folder).resolve()
        self.host, self.timeout = host, timeout
        self.url = self.stac_url = ""
        self.listed = 0
        self._ports, self._stac = (port, stac_port), stac
        self._processes: list[subprocess.Popen[bytes]] = []
        self._scratch: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> LocalCloud:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> LocalCloud:
        """Start both servers and wait until they answer."""
        if self._processes:
            return self
        if not self.folder.is_dir():
            raise CloudError(f"local cloud: no folder {self.folder}; make one with `is2ice twin make`")
        self._scratch = tempfile.TemporaryDirectory(prefix="is2ice-cloud-")
        atexit.register(self.close)
        try:
            self._start_files()
            if self._stac:
                self._start_stac(Path(self._scratch.name))
        except BaseException:
            self.close()
            raise
        logger.info("local cloud: %d items at %s, files at %s", self.listed, self.stac_url, self.url)
        return self

    def close(self) -> None:
        """Stop both servers and free their ports; may be called twice."""
        atexit.unregister(self.close)
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    stream.close()
        self._processes.clear()
        if self._scratch is not None:
            self._scratch.cleanup()
            self._scratch = None

    @property
    def traffic(self) -> Traffic:
        """Requests that the file server has answered so far."""
        try:
            with urllib.request.urlopen(f"{self.url}/.traffic", timeout=5) as reply:  # noqa: S310
                return Traffic(**json.load(reply))
        except (ValueError, OSError) as fault:
            raise CloudError(f"local cloud: the file server at {self.url or '?'} does not answer") from fault

    def disturb(
        self, plan: Iterable[Mapping[str, Any]] = (), *, latency: float = 0.0, validators: bool = True
    ) -> None:
        """Delay every answer of the file server by ``latency`` seconds, and let requests go wrong.

        Parameters
        ----------
        plan : iterable of mapping
            As for :class:`is2ice.twin.server.faults.Faults`; none undoes what was set before.
        latency : float
        validators : bool
            True if answers carry entity tag and time of change.
        """
        document = {"plan": list(plan), "latency": latency, "validators": validators}
        request = urllib.request.Request(f"{self.url}/.faults", json.dumps(document).encode(), method="POST")  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=5):  # noqa: S310
                pass
        except urllib.error.HTTPError as fault:
            raise ValueError(fault.read().decode()) from None
        except OSError as fault:
            raise CloudError(f"local cloud: the file server at {self.url or '?'} does not answer") from fault

    def href(self, path: str | os.PathLike[str]) -> str:
        """Address of a file of the folder, given absolute or relative to the folder."""
        local = Path(path)
        inside = local.resolve().relative_to(self.folder) if local.is_absolute() else local
        return f"{self.url}/{urllib.parse.quote(inside.as_posix())}"

    def items(self) -> Iterator[pystac.Item]:
        """Items of the folder, with the addresses of the file server."""
        require("pystac")
        import pystac

        described: set[Path] = set()
        for path, kind in self._documents():
            if kind != "Feature":
                continue
            item = pystac.Item.from_file(os.fspath(path))
            for asset in item.assets.values():
                local = Path(asset.get_absolute_href() or asset.href)
                if local.is_file() and local.resolve().is_relative_to(self.folder):
                    described.add(local.resolve())
                    asset.href = self.href(local.resolve())
            item.clear_links()
            yield item
        for path in self._find("*.h5"):
            if path.resolve() in described:
                continue
            granule = granule_item(path, self.href(path))
            if granule is None:
                logger.info("local cloud: %s is no ICESat-2 granule; served, not listed", path.name)
            else:
                yield granule

    def _find(self, pattern: str) -> list[Path]:
        found = self.folder.rglob(pattern)
        return sorted(p for p in found if _HIDDEN not in p.relative_to(self.folder).parts)

    def _documents(self) -> Iterator[tuple[Path, str]]:
        for path in self._find("*.json"):
            try:
                document = json.loads(path.read_bytes())
            except (ValueError, OSError) as fault:
                logger.warning("local cloud: %s is not JSON (%s); not listed", path, fault)
                continue
            if isinstance(document, dict) and "stac_version" in document:
                yield path, str(document.get("type"))

    def _launch(self, command: list[str], **streams: Any) -> subprocess.Popen[bytes]:
        assert self._scratch is not None
        with (Path(self._scratch.name) / "log").open("ab") as log:
            process = subprocess.Popen(command, stderr=log, **{"stdout": log, **streams})
        self._processes.append(process)
        return process

    def _fault(self, what: str) -> CloudError:
        assert self._scratch is not None
        said = (Path(self._scratch.name) / "log").read_text(errors="replace").strip()[-500:]
        return CloudError(f"local cloud: {what}; it said: {said or 'nothing'}")

    def _start_files(self) -> None:
        require("RangeHTTPServer")
        command = [sys.executable, "-m", "is2ice.twin.server.file_server", os.fspath(self.folder), self.host]
        process = self._launch([*command, str(self._ports[0])], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert process.stdout is not None
        port = process.stdout.readline().strip().decode()  # empty if it ended
        if not port:
            raise self._fault(f"the file server on {self.host}:{self._ports[0]} did not start")
        self.url = f"http://{self.host}:{port}"

    def _start_stac(self, scratch: Path) -> None:
        features = [item.to_dict(include_self_link=False, transform_hrefs=False) for item in self.items()]
        self.listed = len(features)
        sources = [scratch / "items.json"]
        sources[0].write_text(json.dumps({"type": "FeatureCollection", "features": features}))
        for path, kind in self._documents():
            if kind == "Collection":
                document = json.loads(path.read_bytes()) | {"links": []}
                sources.append(scratch / f"collection-{len(sources)}.json")
                sources[-1].write_text(json.dumps(document))
        port = self._ports[1] or _free_port(self.host)
        command = [_program("rustac"), "serve", "--create-collections", "-a", f"{self.host}:{port}"]
        process = self._launch([*command, *map(os.fspath, sources)], stdin=subprocess.DEVNULL)
        self.stac_url = f"http://{self.host}:{port}"
        end = time.monotonic() + self.timeout
        while time.monotonic() < end:
            if process.poll() is not None:
                raise self._fault(f"the STAC API at {self.stac_url} ended with status {process.returncode}")
            if _answers(self.stac_url) and _answers(self.url):
                return
            time.sleep(0.05)
        raise self._fault(f"the STAC API at {self.stac_url} did not answer within {self.timeout:g} s")


def _program(name: str) -> str:
    """Return the path of a script of this Python environment, activated or not."""
    beside = Path(sys.executable).with_name(name)
    found = os.fspath(beside) if beside.is_file() else shutil.which(name)
    if found is None:
        raise MissingExtraError(extra_hint(name))
    return found


def _free_port(host: str) -> int:
    with socket.socket() as s:
        s.bind((host, 0))
        return int(s.getsockname()[1])


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as reply:  # noqa: S310 (our own servers)
            return bool(reply.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def serve(
    folder: str | os.PathLike[str],
    host: str = "127.0.0.1",
    port: int = 0,
    stac_port: int = 0,
    *,
    seconds: float | None = None,
    ready: Callable[[LocalCloud], None] | None = None,
) -> Traffic:
    """Serve a folder until interrupted (or terminated), and tell what was asked for.

    Parameters
    ----------
    folder : path
    host, port, stac_port
        As for :class:`LocalCloud`.
    seconds : float, optional
        Stop by itself after this time.
    ready : callable, optional
        Called with the cloud when both servers answer.
    """
    stop = threading.Event()
    in_main = threading.current_thread() is threading.main_thread()
    names = (signal.SIGINT, signal.SIGTERM) if in_main else ()
    before = {name: signal.signal(name, lambda *_: stop.set()) for name in names}
    try:
        with LocalCloud(folder, host=host, port=port, stac_port=stac_port) as cloud:
            if ready is not None:
                ready(cloud)
            stop.wait(seconds)
            return cloud.traffic
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)

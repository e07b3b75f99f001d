"""The file server of the local cloud: byte ranges over HTTP from a process of its own.

A process of its own because readers such as GDAL may keep Python's lock while they wait for an answer.
Started as ``python -m is2ice.twin.server.file_server FOLDER HOST PORT``, it prints its port and serves until its
standard input closes, so it never outlives whoever started it.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import sys
import threading
import time
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import IO, Any

from RangeHTTPServer import RangeRequestHandler

from .faults import Faults

__all__ = ["FAULTS", "HIDDEN", "TRAFFIC", "main"]

#: Folder names that are never served.
HIDDEN = frozenset({"truth"})
#: Path that answers with the counts so far as JSON.
TRAFFIC = "/.traffic"
#: Path to which a plan of faults is posted as JSON (:mod:`is2ice.twin.server.faults`).
FAULTS = "/.faults"


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, folder: Path, address: tuple[str, int]) -> None:
        self.folder = folder
        self.counts = {"requests": 0, "partial": 0, "sent": 0}
        self.lock = threading.Lock()
        self.faults = Faults()
        super().__init__(address, _Handler)

    def count(self, status: int, size: int) -> None:
        with self.lock:
            self.counts["requests"] += 1
            self.counts["partial"] += status == 206
            self.counts["sent"] += size

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: readers close connections whenever they have what they want."""


class _Handler(RangeRequestHandler):
    """The library's byte ranges, with suffix ranges, kept connections, and nothing hidden given out."""

    server: _Server
    protocol_version = "HTTP/1.1"  # keeps connections open: readers ask for many small ranges
    wbufsize = 1 << 16
    disable_nagle_algorithm = True

    def __init__(self, *args: Any) -> None:
        self._status = self._size = 0
        self.fault: dict[str, Any] = {}
        super().__init__(*args, directory=os.fspath(args[2].folder))

    def do_GET(self) -> None:
        if self.path == TRAFFIC:
            with self.server.lock:
                self._answer(200, json.dumps(self.server.counts))
            return
        self.fault = self.server.faults.next()
        time.sleep(self.server.faults.latency)
        if self.fault.get("kind") == "reset":
            self.connection.close()
            self.close_connection = True
        elif self.fault.get("kind") == "status":
            self._answer(int(self.fault["status"]), "", counted=True)
        elif self.fault.get("kind") == "expired" and self.fault["key"] in self.headers.get(
            "Authorization", ""
        ):
            self._answer(401, "", counted=True)
        else:
            super().do_GET()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path != FAULTS:
            self._answer(405, "")
            return
        try:
            self.server.faults.set(json.loads(body))
        except (ValueError, TypeError) as error:
            self._answer(400, str(error))
        else:
            self._answer(200, "{}")

    def _answer(self, status: int, text: str, *, counted: bool = False) -> None:
        """Send a complete answer; by default not counted, since a question must not change the counts."""
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if counted:
            self.end_headers()
        else:
            super(RangeRequestHandler, self).end_headers()
        self.wfile.write(body)

    def translate_path(self, path: str) -> str:
        local = super().translate_path(path)
        if HIDDEN.intersection(Path(local).relative_to(self.server.folder).parts):
            return os.fspath(self.server.folder / "no such file")
        return local

    def send_head(self) -> IO[bytes] | None:
        # The library knows no suffix range ("the last n bytes"), which Zarr shards need.
        suffix = re.fullmatch(r"bytes=-(\d+)", self.headers.get("Range", "").strip())
        path = self.translate_path(self.path)
        if suffix:
            size = os.path.getsize(path) if os.path.isfile(path) else 0
            first = max(0, size - int(suffix[1]))
            self.headers.replace_header("Range", f"bytes={first}-")
        return super().send_head()

    def send_header(self, keyword: str, value: str) -> None:
        if keyword.lower() == "content-length":
            self._size = int(value)
        if keyword.lower() == "last-modified":
            if not self.server.faults.validators:
                return
            local = self.translate_path(self.path)
            stat = os.stat(local)
            tag = f"{stat.st_mtime_ns:x}-{stat.st_size:x}" + ("-other" if self._kind() == "changed" else "")
            super().send_header("ETag", f'"{tag}"')
        if keyword.lower() == "content-range" and self._kind() == "truncated":
            value = f"{value.rpartition('/')[0]}/{int(value.rpartition('/')[2]) - 1}"
        super().send_header(keyword, value)

    def _kind(self) -> str:
        return str(self.fault.get("kind", ""))

    def end_headers(self) -> None:
        self.server.count(self._status, 0 if self.command == "HEAD" else self._size)
        super().end_headers()

    def copyfile(self, source: IO[bytes], outputfile: IO[bytes]) -> None:
        # Exactly the announced bytes, or the next answer on this connection would be misread.
        if self.range:
            source.seek(self.range[0])
        left = self._size
        if self._kind() in ("short", "stall"):
            outputfile.write(source.read(left // 2))
            outputfile.flush()
            time.sleep(float(self.fault["seconds"]) if self._kind() == "stall" else 0.0)
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        while left > 0 and (block := source.read(min(left, 1 << 18))):
            outputfile.write(block)
            left -= len(block)

    def log_request(self, code: Any = "-", size: Any = "-") -> None:
        self._status, self._size = int(code), 0

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: the counts tell what was asked."""


def main(folder: str, host: str, port: str) -> int:
    """Serve a folder until standard input closes."""
    try:
        server = _Server(Path(folder).resolve(), (host, int(port)))
    except OSError as fault:
        sys.stderr.write(f"cannot bind {host}:{port} ({fault})\n")
        return 1
    sys.stdout.write(f"{server.server_address[1]}\n")
    sys.stdout.flush()
    threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the interrupt key is for whoever started this
    sys.stdin.read()
    server.shutdown()
    server.server_close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))

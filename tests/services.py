"""Real services on 127.0.0.1 for tests and benchmarks: a Spark standalone master, a Dask Gateway server, servers of
the S3 protocol and of HTTP, and one in between that lets requests go wrong."""

from __future__ import annotations

import contextlib
import http.client
import logging
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from is2ice.twin.server.faults import Faults

#: Services may take long to come up on a busy machine.
PATIENCE = 180.0
#: Java that starts soon rather than runs fast.
QUICK_JAVA = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def wait_for(ready: Callable[[], Any], what: str, *processes: subprocess.Popen[Any], log: Path) -> None:
    until = time.monotonic() + PATIENCE
    while not ready():
        dead = [p for p in processes if p.poll() is not None]
        if dead or time.monotonic() > until:
            why = f"ended with {dead[0].returncode}" if dead else f"not up in {PATIENCE:g} s"
            raise RuntimeError(f"{what}: {why}\n{log.read_text()[-3000:]}")
        time.sleep(0.1)


def answers(url: str) -> bool:
    """Whether a page is there; a proxy answers 404 until it is told where to."""
    try:
        with urllib.request.urlopen(url, timeout=5) as reply:
            return reply.status == 200
    except OSError:
        return False


def environment() -> dict[str, str]:
    """This process's environment, with all that it can import for the workers of a service."""
    here = [p for p in sys.path if p and "site-packages" not in p]
    return os.environ | {"PYTHONPATH": os.pathsep.join(here)}


def stop(process: subprocess.Popen[Any]) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(20)


def why_no_spark() -> str | None:
    """Why Spark cannot run here, None where it can."""
    try:
        import pyspark  # noqa: F401
    except ImportError:
        return "pyspark is not installed"
    return None if shutil.which("java") or "JAVA_HOME" in os.environ else "no Java runtime"


def why_no_gateway() -> str | None:
    """Why a Dask Gateway server cannot run here, None where it can."""
    try:
        import dask_gateway  # noqa: F401
        import dask_gateway_server  # noqa: F401
    except ImportError as error:
        return f"{error.name} is not installed"
    return None


#: Starts a program in a mount namespace of its own, in which a folder is empty and the home another one.
_HIDE = 'mount -t tmpfs none "$1" && mkdir -p "$2" && cd "$2" && export HOME="$2" && shift 2 && exec "$@"'


def apart(hidden: Path, home: Path) -> list[str]:
    """Words before a command that keep its process from a folder: it sees an empty one, and has another home."""
    return ["unshare", "--map-root-user", "--mount", "sh", "-c", _HIDE, "sh", str(hidden), str(home)]


def why_not_apart(folder: Path) -> str | None:
    """Why processes cannot have their own mounts here, None where they can."""
    (folder / "hidden").mkdir()
    (folder / "hidden" / "file").touch()
    try:
        command = [*apart(folder / "hidden", folder / "home"), "ls", str(folder / "hidden")]
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError as error:
        return f"no unshare: {error}"
    return (
        None if (done.returncode, done.stdout) == (0, "") else f"no mounts of its own: {done.stderr.strip()}"
    )


@contextlib.contextmanager
def spark_standalone(folder: Path, workers: int = 2, before: Sequence[str] = ()) -> Iterator[str]:
    """A Spark standalone master with workers of one core each, `before` the command of each; yields its address."""
    import pyspark

    home = Path(pyspark.__file__).parent
    env = environment() | {
        "SPARK_HOME": str(home),
        "SPARK_LOCAL_IP": "127.0.0.1",
        "SPARK_DAEMON_MEMORY": "256m",
    }
    env["SPARK_LOCAL_DIRS"] = str(folder / "local")
    env["SPARK_LAUNCHER_OPTS"] = env["SPARK_DAEMON_JAVA_OPTS"] = QUICK_JAVA
    command = [str(home / "bin" / "spark-class")]
    port = free_port()
    address = f"spark://127.0.0.1:{port}"
    log = folder / "spark.log"
    with contextlib.ExitStack() as stack:
        stream = stack.enter_context(log.open("w"))

        def start(*arguments: str, before: Sequence[str] = ()) -> subprocess.Popen[Any]:
            process = subprocess.Popen(
                [*before, *command, *arguments], env=env, stdout=stream, stderr=subprocess.STDOUT, cwd=folder
            )
            stack.callback(stop, process)
            return process

        master = start(
            "org.apache.spark.deploy.master.Master",
            *("--host", "127.0.0.1", "--port", str(port), "--webui-port", "0"),
        )
        wait_for(lambda: "I have been elected leader" in log.read_text(), "Spark master", master, log=log)
        members = [
            start(
                "org.apache.spark.deploy.worker.Worker",
                *("--host", "127.0.0.1", "--cores", "1", "--memory", "1g", "--webui-port", "0"),
                *("--work-dir", str(folder / f"work{k}"), address),
                before=before,
            )
            for k in range(workers)
        ]
        wait_for(
            lambda: log.read_text().count("Successfully registered with master") == workers,
            "Spark workers",
            master,
            *members,
            log=log,
        )
        yield address


GATEWAY = """
c.DaskGateway.address = "127.0.0.1:{port}"
c.DaskGateway.backend_class = "dask_gateway_server.backends.local.UnsafeLocalBackend"
c.UnsafeLocalBackend.clusters_directory = "{folder}"
c.Proxy.address = "127.0.0.1:{http}"
c.Proxy.tcp_address = "127.0.0.1:{tcp}"
c.ClusterConfig.scheduler_cmd = ["{python}", "-m", "dask", "scheduler"]
c.ClusterConfig.worker_cmd = {before} + ["{python}", "-m", "dask", "worker"]
c.ClusterConfig.worker_threads = 1
"""


@contextlib.contextmanager
def dask_gateway(folder: Path, before: Sequence[str] = ()) -> Iterator[dict[str, str]]:
    """A Dask Gateway server whose clusters are processes of this machine; yields how a client reaches it.

    `before` stands before the command of each worker.
    """
    ports = {name: free_port() for name in ("port", "http", "tcp")}
    config, log = folder / "dask_gateway_config.py", folder / "gateway.log"
    names = {"folder": folder / "clusters", "python": sys.executable, "before": list(before)}
    config.write_text(GATEWAY.format(**names, **ports))
    (folder / "clusters").mkdir()
    program = Path(sys.executable).with_name("dask-gateway-server")
    with log.open("w") as stream:
        server = subprocess.Popen(
            [str(program), "-f", str(config)],
            env=environment(),
            stdout=stream,
            stderr=subprocess.STDOUT,
            cwd=folder,
        )
        try:
            address = f"http://127.0.0.1:{ports['http']}"
            wait_for(lambda: answers(f"{address}/api/health"), "Dask Gateway", server, log=log)
            yield {
                "address": address,
                "proxy_address": f"gateway://127.0.0.1:{ports['tcp']}",
                "auth": "basic",
            }
        finally:
            stop(server)


# -- HTTP ---------------------------------------------------------------------------------------------
class Quiet(BaseHTTPRequestHandler):
    """A handler that says nothing."""

    def log_message(self, *args: Any) -> None:
        pass

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        """A whole answer; underscores in the names of headers stand for hyphens."""
        self.send_response(status)
        for name, value in {"Content_Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)


class Server(ThreadingHTTPServer):
    daemon_threads = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Readers close connections as they like."""


@contextlib.contextmanager
def http_server(handler: Callable[..., BaseHTTPRequestHandler], **state: Any) -> Iterator[Server]:
    """A server of one handler, which finds `state` on its server; yields the server, with its address as ``url``."""
    server = Server(("127.0.0.1", 0), handler)
    server.__dict__.update(state)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


# -- the S3 protocol ----------------------------------------------------------------------------------
@contextlib.contextmanager
def s3_server(bucket: str) -> Iterator[dict[str, str]]:
    """A server of the S3 protocol with one bucket; yields the environment that reaches it."""
    import boto3
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    running = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    try:
        host, port = running.get_host_and_port()
        env = {
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_ACCESS_KEY_ID": "planted-key",
            "AWS_SECRET_ACCESS_KEY": "planted-secret",
            "AWS_DEFAULT_REGION": "us-west-2",
        }
        client = boto3.client(
            "s3",
            endpoint_url=env["AWS_ENDPOINT_URL"],
            aws_access_key_id=env["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=env["AWS_SECRET_ACCESS_KEY"],
            region_name=env["AWS_DEFAULT_REGION"],
        )
        client.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
        yield env
    finally:
        running.stop()


S3_ERROR = "<?xml version='1.0' encoding='UTF-8'?><Error><Code>{}</Code><Message>{}</Message></Error>"


class _Between(Quiet):
    """Passes a request on, or lets it go wrong as the plan of its server says; errors as S3 words them."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Any

    def do_GET(self) -> None:
        server, signed = self.server, self.headers.get("Authorization", "")
        fault = server.faults.next()
        kind = fault.get("kind", "")
        time.sleep(server.faults.latency)
        if kind == "expired":
            kind = "expired" if fault["key"] in signed else ""
        found = re.search(r"Credential=([^/]+)/", signed)
        server.keys.append(found[1] if found else "")
        if kind == "reset":
            self.close_connection = True
        elif kind == "status":
            code = "SlowDown" if fault["status"] == 503 else "InternalError"
            self._refuse(int(fault["status"]), code, "injected")
        elif kind == "expired":
            self._refuse(400, "ExpiredToken", "The provided token has expired.")
        else:
            self._pass_on(fault, kind)

    do_HEAD = do_PUT = do_POST = do_DELETE = do_GET

    def _refuse(self, status: int, code: str, message: str) -> None:
        self.answer(status, S3_ERROR.format(code, message).encode(), Content_Type="application/xml")

    def _pass_on(self, fault: dict[str, Any], kind: str) -> None:
        length = int(self.headers.get("Content-Length", 0))
        headers = {k: v for k, v in self.headers.items() if k.lower() not in ("host", "connection")}
        upstream = http.client.HTTPConnection(urlsplit(self.server.upstream).netloc, timeout=60)
        with contextlib.closing(upstream):
            upstream.request(self.command, self.path, self.rfile.read(length) or None, headers)
            reply = upstream.getresponse()
            body = reply.read()
        self.send_response(reply.status)
        for name, value in reply.getheaders():
            low = name.lower()
            if low in ("connection", "transfer-encoding", "date", "server"):
                continue
            if kind == "changed" and low == "etag":
                value = '"another"'
            if kind == "truncated" and low == "content-range":
                value = f"{value.rpartition('/')[0]}/{int(value.rpartition('/')[2]) - 1}"
            self.send_header(name, value)
        self.end_headers()
        if kind in ("short", "stall"):
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()
            time.sleep(float(fault["seconds"]) if kind == "stall" else 0.0)
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        if self.command != "HEAD":
            self.wfile.write(body)


@contextlib.contextmanager
def in_between(upstream: str) -> Iterator[Any]:
    """A server before another, through which requests go wrong as :class:`is2ice.twin.server.faults.Faults` says.

    Yields the server: ``url``; ``faults``, to be set; ``keys``, the access key of each request.
    """
    with http_server(_Between, upstream=upstream, faults=Faults(), keys=[]) as server:
        yield server

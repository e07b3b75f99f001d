"""Real services on 127.0.0.1 for tests and benchmarks: a Spark standalone master, a Dask Gateway server."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

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


@contextlib.contextmanager
def spark_standalone(folder: Path, workers: int = 2) -> Iterator[str]:
    """A Spark standalone master with workers of one core each; yields its address."""
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

        def start(*arguments: str) -> subprocess.Popen[Any]:
            process = subprocess.Popen(
                [*command, *arguments], env=env, stdout=stream, stderr=subprocess.STDOUT, cwd=folder
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
            )
            for k in range(workers)
        ]
        wait_for(
            lambda: log.read_text().count("Successfully registered with master") == workers,
            "Spark workers", master, *members, log=log,
        )  # fmt: skip
        yield address


GATEWAY = """
c.DaskGateway.address = "127.0.0.1:{port}"
c.DaskGateway.backend_class = "dask_gateway_server.backends.local.UnsafeLocalBackend"
c.UnsafeLocalBackend.clusters_directory = "{folder}"
c.Proxy.address = "127.0.0.1:{http}"
c.Proxy.tcp_address = "127.0.0.1:{tcp}"
c.ClusterConfig.scheduler_cmd = ["{python}", "-m", "dask", "scheduler"]
c.ClusterConfig.worker_cmd = ["{python}", "-m", "dask", "worker"]
c.ClusterConfig.worker_threads = 1
"""


@contextlib.contextmanager
def dask_gateway(folder: Path) -> Iterator[dict[str, str]]:
    """A Dask Gateway server whose clusters are processes of this machine; yields how a client reaches it."""
    ports = {name: free_port() for name in ("port", "http", "tcp")}
    config, log = folder / "dask_gateway_config.py", folder / "gateway.log"
    config.write_text(GATEWAY.format(folder=folder / "clusters", python=sys.executable, **ports))
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

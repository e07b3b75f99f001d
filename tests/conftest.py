"""Shared fixtures: where genuine data lie, and small twin granules."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
import services

from is2ice import engines

# Servers of tests that fail on purpose are not asked for minutes, by the processes that tests start either.
os.environ.setdefault("IS2ICE_RETRY_SECONDS", "2")
os.environ.setdefault("IS2ICE_INDEX", "0")  # files of tests are not met again


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of genuine satellite data, named by IS2ICE_REAL_DATA or beside the checkout."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data" / "real"
    folder = Path(os.environ.get("IS2ICE_REAL_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"no genuine data at {folder}; set IS2ICE_REAL_DATA to the folder that holds them")
    return folder


# -- clusters, one of each for all tests, on real services of this machine ------------------------------
@pytest.fixture(scope="module")
def dask_cluster() -> Iterator[engines.Cluster]:
    """Dask on this machine, two workers."""
    with engines.cluster("local", workers=2) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def gateway_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A Dask Gateway server: what a client needs to reach it."""
    if why := services.why_no_gateway():
        pytest.skip(why)
    with services.dask_gateway(tmp_path_factory.mktemp("gateway")) as address:
        yield address


@pytest.fixture(scope="module")
def gateway_cluster(gateway_address: dict[str, str]) -> Iterator[engines.Cluster]:
    """A cluster of the Gateway, two workers."""
    with engines.cluster("gateway", workers=2, **gateway_address) as cluster:
        cluster.client.wait_for_workers(2, timeout=services.PATIENCE)
        yield cluster


@pytest.fixture(scope="module")
def spark_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[engines.Cluster]:
    """A Spark standalone master with two workers of one core each."""
    if why := services.why_no_spark():
        pytest.skip(why)
    with (
        services.spark_standalone(tmp_path_factory.mktemp("spark")) as master,
        engines.cluster(master) as cluster,
    ):
        yield cluster


# -- places of stores: a folder, and buckets of three providers on servers of this machine ---------------
@dataclass
class Place:
    """Where a test may write: an address, the environment that reaches it, and the same as storage options."""

    url: str
    environment: dict[str, str]
    options: dict[str, str]

    def __str__(self) -> str:
        return self.url

    def __truediv__(self, below: str) -> str:
        return f"{self.url}/{below}"


class Clouds:
    """Places by scheme; a server starts with the first test that needs it."""

    def __init__(self, folder: Callable[[str], Path], stack: ExitStack) -> None:
        self._make, self._stack = folder, stack
        self._places: dict[str, Place] = {}

    def __getitem__(self, kind: str) -> Place:
        if kind not in self._places:
            self._places[kind] = getattr(self, f"_{kind}")(self._make(kind))
        return self._places[kind]

    def _folder(self, folder: Path) -> Place:
        return Place(str(folder), {}, {})

    def _s3(self, folder: Path) -> Place:
        pytest.importorskip("moto.server")
        env = self._stack.enter_context(services.s3_server("places"))
        names = "endpoint access_key_id secret_access_key region"
        return Place("s3://places", env, dict(zip(names.split(), env.values(), strict=True)))

    def _az(self, folder: Path) -> Place:
        if why := services.why_no_azurite():
            pytest.skip(why)
        env = self._stack.enter_context(services.az_server("places", folder))
        names = "account_name account_key endpoint"
        return Place("az://places", env, dict(zip(names.split(), env.values(), strict=True)))

    def _gs(self, folder: Path) -> Place:
        if why := services.why_no_gcs():
            pytest.skip(why)
        env = self._stack.enter_context(services.gs_server("places", folder))
        return Place("gs://places", env, dict(zip(("base_url", "bearer_token"), env.values(), strict=True)))


@pytest.fixture(scope="session")
def clouds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clouds]:
    """Places to write to: ``clouds["s3"]``, ``"gs"``, ``"az"`` and ``"folder"``."""
    with ExitStack() as stack:
        yield Clouds(tmp_path_factory.mktemp, stack)


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Call the command line: exit status, standard output, standard error."""
    from is2ice.cli.main import main

    def call(*args: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stop:
            main([str(a) for a in args])
        captured = capsys.readouterr()
        return int(stop.value.code or 0), captured.out, captured.err

    return call


# -- two processes at once ------------------------------------------------------------------------------
#: Files that take longest, in the order in which they start, so that none runs alone at the end.
LONGEST = (
    "test_engines.py",
    "test_driver.py",
    "test_drift.py",
    "test_demo.py",
    "test_horovod.py",
    "test_closed_loop.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start with the longest files (a file stays in one process, see the Makefile)."""
    rank = {name: k for k, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.name, len(rank)))

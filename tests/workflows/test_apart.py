"""Workers that see neither the driver's folders nor its home: all goes by addresses and with the tasks."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import services
from test_neural import a_track

pytest.importorskip("tensorflow")

import is2ice
from is2ice import engines, schema
from is2ice.classifiers.neural import Neural
from is2ice.io.stores import store
from is2ice.science.labels.corrections import Correction, Corrections
from is2ice.twin.server.local_archive import LocalCloud
from is2ice.workflows import label_many
from is2ice.workflows import run as pipeline

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = next((ROOT / "sample_data").glob("ATL03_*.h5"))


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The driver's folder, which workers see empty: model, STAC item and corrections lie there and nowhere else."""
    base = tmp_path_factory.mktemp("apart")
    if why := services.why_not_apart(base):
        pytest.skip(why)
    folder = base / "driver"
    folder.mkdir()
    tracks = [a_track(1500, seed=k, beam="gt1r", granule="AB"[k]) for k in range(2)]
    Neural.fit(tracks[:1], tracks[1:], "mlp", parameters={"units": 8}, epochs=1).save(folder / "model")
    Corrections().add([Correction(f"{SAMPLE.stem}/gt2r", 0.0, 1e9, "thin_ice", "me", "a test")]).write(
        folder / "hand.csv"
    )
    return folder


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with services.s3_server("apart") as env, pytest.MonkeyPatch.context() as patch:
        for name, value in env.items():
            patch.setenv(name, value)
        yield "s3://apart"


@pytest.fixture(scope="module")
def cloud() -> Iterator[LocalCloud]:
    with LocalCloud(ROOT / "sample_data", stac=False) as running:
        yield running


@pytest.fixture
def far(engine: str, driver: Path, tmp_path: Path) -> Iterator[engines.Cluster]:
    """Two workers in a mount namespace of their own."""
    before = services.apart(driver, tmp_path / "home")
    if engine == "spark":
        if why := services.why_no_spark():
            pytest.skip(why)
        with services.spark_standalone(tmp_path, 2, before) as master, engines.cluster(master) as cluster:
            yield cluster
    else:
        if why := services.why_no_gateway():
            pytest.skip(why)
        with (
            services.dask_gateway(tmp_path, before) as address,
            engines.cluster("gateway", workers=2, **address) as cluster,
        ):
            yield cluster


def seen(folder: str) -> tuple[list[str], str]:
    return os.listdir(folder), os.environ["HOME"]


def checksums(run: Any) -> dict[str, str]:
    return {r["beam"]: r["checksum"] for r in run.done}


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["gateway", "spark"])
def test_workers_share_nothing_with_the_driver(engine, far, driver, bucket, cloud, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    """A run with a trained model, its resuming, and labels with corrections: the bits of one process in a folder."""
    ((_, (names, home)),) = engines.map(seen, [str(driver)], far)
    assert (names, home.endswith("home")) == ([], True)
    granule = f"{cloud.url}/{SAMPLE.name}"
    options = is2ice.Options(classifier=str(driver / "model"))
    here = is2ice.run(SAMPLE, driver / f"here-{engine}.zarr", options=options)
    # Two beams, and the run resumed; then all three, whose sea surface is another since they are joined.
    there = f"{bucket}/{engine}.zarr"
    first = is2ice.run(granule, there, options=options, engine=far, beams=["gt1r", "gt2r"])
    assert first.ok, first.report()
    assert {r["host"] for r in first.done}
    more = pipeline.resume(there, engine=far)
    assert (len(more.done), len(more.skipped)) == (0, 2)
    rest = is2ice.run(granule, there, options=options, engine=far)
    assert (len(rest.done), len(rest.skipped)) == (3, 0)
    assert checksums(rest) == checksums(here)

    item = next((ROOT / "sample_data").glob("sentinel-2-l2a/*/*.json"))
    shutil.copy(item, driver / "item.json")
    addressed = driver / "item.json"
    addressed.write_text(
        addressed.read_text().replace('"./', f'"{cloud.url}/sentinel-2-l2a/{item.parent.name}/')
    )
    how = {"drift": "none", "corrections": driver / "hand.csv"}
    run = label_many.label_many(
        [granule], str(addressed), f"{bucket}/{engine}-labels.zarr", engine=far, **how
    )
    assert run.ok, run.report()
    want = is2ice.label_pass(
        SAMPLE, str(item), drift="none", corrections=Corrections.read(driver / "hand.csv")
    ).segments
    got = store.open_track(f"{bucket}/{engine}-labels.zarr", chunks=None)
    np.testing.assert_array_equal(got["label"].values, want["label"].values)
    assert schema.CLASSES.index("thin_ice") in want["label"].sel(beam="gt2r").values
    again = label_many.resume(f"{bucket}/{engine}-labels.zarr", engine=far)
    assert (len(again.done), len(again.skipped)) == (0, 3)

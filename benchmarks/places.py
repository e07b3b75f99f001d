"""Run the same commands in a folder and in buckets of three providers, and compare the bits of what they wrote.

    python benchmarks/places.py [--only folder s3 gs az]

The servers are of this machine: moto (S3), fake-gcs-server, Azurite. Each column is a checksum of values, or of a file.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import xarray as xr
from typer.testing import CliRunner

import is2ice
from is2ice.classifiers import model_folder
from is2ice.cli import main as cli
from is2ice.io.remote.location import location
from is2ice.io.remote.whole_files import fetched
from is2ice.io.stores import store

ROOT = Path(__file__).resolve().parents[1]
SAMPLE = ROOT / "sample_data"
sys.path.insert(0, str(ROOT / "tests"))
import services  # noqa: E402

GRANULE = str(next(SAMPLE.glob("ATL03_*.h5")))
SCENE = str(next(SAMPLE.glob("sentinel-2-l2a/*/*.json")))
ATL07, ATL10 = (str(next(SAMPLE.glob(f"{name}-*.h5"))) for name in ("ATL07", "ATL10"))
CONFIG = """
labelled = "{place}/labelled.zarr"
model = "{place}/model"
architecture = "mlp"
seed = 3
[training]
epochs = 1
"""
#: Commands in their order, words apart by blanks; PLACE is an address, CONFIG the file of a training.
COMMANDS = (
    f"run {GRANULE} --store PLACE/work.zarr",
    "run --resume --store PLACE/work.zarr",
    f"labels many {GRANULE} --scenes {SCENE} --refused still --store PLACE/labels.zarr",
    "train CONFIG",
    "classify PLACE/work.zarr --classifier PLACE/model --store PLACE/classified.zarr",
    "map PLACE/classified.zarr --out PLACE/map.nc --crop",
    f"compare PLACE/work.zarr gt1r --atl07 {ATL07} --atl10 {ATL10} --out PLACE/compare.json",
    "show PLACE/work.zarr",
    "report PLACE/work.zarr",
    "publish PLACE/work.zarr PLACE/public",
    "verify PLACE/public",
)


def places(folder: Path, names: list[str], stack: contextlib.ExitStack) -> Iterator[tuple[str, str]]:
    """Start the servers, and give the name and address of each place; the environment reaches them."""
    servers = {
        "s3": lambda: services.s3_server("places"),
        "gs": lambda: services.gs_server("places", folder),
        "az": lambda: services.az_server("places", folder),
    }
    for name in names:
        if name == "folder":
            (folder / "place").mkdir()
            yield name, str(folder / "place")
        else:
            os.environ.update(stack.enter_context(servers[name]()))
            yield name, f"{name}://places/p"


def short(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()[:10]


def values(where: str) -> str:
    """Checksum of all tracks of a store."""
    tracks = sorted(is2ice.open_store(where).tracks)
    sums = [store.checksum(is2ice.open_track(f"{where}/{g}/{b}").load()) for g, b in tracks]
    return short("".join(sums).encode())


def found(place: str) -> dict[str, str]:
    """Checksums of all that the commands wrote."""
    out = {
        name: values(f"{place}/{name}") for name in ("work.zarr", "labels.zarr", "classified.zarr", "public")
    }
    out["model"] = short(
        model_folder.packed_weights(f"{place}/model", model_folder.read_card(f"{place}/model"))
    )
    with fetched(f"{place}/map.nc") as file, xr.open_dataset(file) as ds:
        out["map.nc"] = short(b"".join(ds[n].values.tobytes() for n in sorted(map(str, ds.data_vars))))
    with fetched(f"{place}/compare.json") as file:
        out["compare"] = short(file.read_bytes().replace(place.encode(), b""))
    return out


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", default=["folder", "s3", "gs", "az"])
    asked = parser.parse_args()
    warnings.filterwarnings("ignore")
    rows: dict[str, dict[str, str]] = {}
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="is2ice-places-")))
        labelled = location(SAMPLE / "labelled.zarr")
        keys = list(labelled.objects())
        for name, place in places(folder, asked.only, stack):
            began = time.perf_counter()
            location(f"{place}/labelled.zarr").put_all(
                {key: raw or b"" for key, raw in zip(keys, labelled.read_all(keys), strict=True)}
            )
            config = folder / f"{name}.toml"
            config.write_text(CONFIG.format(place=place))
            for command in COMMANDS:
                words = [w.replace("PLACE", place).replace("CONFIG", str(config)) for w in command.split()]
                done = CliRunner().invoke(cli.app, words)
                if done.exit_code:
                    print(f"{name}: is2ice {' '.join(words)}: exit {done.exit_code}\n{done.output}")
                    return 1
            rows[name] = found(place)
            if len(rows) == 1:
                print(f"{'':8}" + "".join(f"{column:>17}" for column in rows[name]) + f"{'s':>7}")
            seconds = time.perf_counter() - began
            print(
                f"{name:8}" + "".join(f"{v:>17}" for v in rows[name].values()) + f"{seconds:7.0f}", flush=True
            )
    same = len({tuple(row.values()) for row in rows.values()}) == 1
    print(f"{len(COMMANDS)} commands in {len(rows)} places: {'the same bits' if same else 'DIFFERENT bits'}")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())

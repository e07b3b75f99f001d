"""Cost of stores: writing a track, against plain xarray; publishing, against copies; listing and opening; Icechunk.

    python benchmarks/stores.py [--tracks 10 1000 10000] [--publish 200] [--repeat 10] [--icechunk]

The server of S3 is one of this machine, the same for both writers. Each figure is the median of its repeats, wall-clock
and processor seconds of this process.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import xarray as xr
import zarr
from obstore.store import S3Store
from zarr.core.sync import sync
from zarr.storage import MemoryStore, ObjectStore

import is2ice
from is2ice import schema
from is2ice.io.remote.location import FolderLocation, location
from is2ice.io.stores import store
from is2ice.io.stores.cf_attributes import describe
from is2ice.io.stores.layout import entry_bytes, entry_key
from is2ice.workflows.track import one_track

ROOT = Path(__file__).resolve().parents[1]
SAMPLE = ROOT / "sample_data" / "ATL03_20191116193412_07410510_006_01.h5"
sys.path.insert(0, str(ROOT / "tests"))
import services  # noqa: E402

#: A task and its yardstick, with the processor seconds of each.
Row = tuple[str, float, str, float]


def timed(fn: Callable[[], Any], repeat: int = 1) -> tuple[float, float]:
    """Median wall-clock and processor seconds of some calls."""
    walls, cpus = [], []
    for _ in range(repeat):
        wall, cpu = time.perf_counter(), time.process_time()
        fn()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return median(walls), median(cpus)


def written(track: xr.Dataset, folder: Path, repeat: int) -> list[Row]:
    """Print the time of writing one track by this package and by xarray, to a folder and to S3."""
    rows: list[Row] = []
    plain = describe(track, granule="plain", beam="gt1r", inputs="")
    encoding = schema.encoding(plain)
    print(f"one track: {track.sizes['x_atc']:,} segments, {len(plain.variables)} arrays")
    with services.s3_server("benchmark") as env:
        os.environ.update(env)
        bucket = S3Store("benchmark", endpoint=env["AWS_ENDPOINT_URL"], client_options={"allow_http": True})
        fsspec = {"client_kwargs": {"endpoint_url": env["AWS_ENDPOINT_URL"]}}
        places = (
            ("folder", folder / "ours", lambda name: (folder / "plain" / name, {})),
            ("S3", "s3://benchmark/ours", lambda name: (ObjectStore(bucket), {"group": f"plain/{name}"})),
            (
                "S3, xarray by fsspec",
                "s3://benchmark/ours",
                lambda name: (f"s3://benchmark/plain/{name}", {"storage_options": fsspec}),
            ),
        )
        for name, root, target in places:

            def ours(root: Any = root) -> None:
                one = track.assign_attrs(granule=f"g{time.time_ns()}")
                store.write_track(one, root, parameters={"a": 1})

            def xarrays(target: Any = target) -> None:
                where, more = target(f"g{time.time_ns()}")
                how: Any = {"mode": "w", "zarr_format": 3, "consolidated": True, "encoding": encoding}
                plain.to_zarr(where, **how, **more)

            ours(), xarrays()
            # In turn, so that the machine is the same for both.
            pairs = [(timed(ours), timed(xarrays)) for _ in range(repeat)]
            (mine, cpu), (theirs, their_cpu) = (
                tuple(median(pair[k][j] for pair in pairs) for j in (0, 1)) for k in (0, 1)
            )
            ratio = median(a[0] / b[0] for a, b in pairs)
            print(
                f"write to {name}: {mine * 1e3:.0f} ms (processor {cpu * 1e3:.0f}); xarray.to_zarr "
                f"{theirs * 1e3:.0f} ms (processor {their_cpu * 1e3:.0f}); ratio {ratio:.2f}",
                flush=True,
            )
            rows.append((f"write one track to {name}", cpu, "to_zarr", their_cpu))
    return rows


def published(track: xr.Dataset, folder: Path, n: int) -> list[Row]:
    """Print the time of publishing tracks to a folder and to S3, against copies of the same objects."""
    out: list[Row] = []
    root = FolderLocation(str(folder / "work"))
    for k in range(n):
        store.write_track(track.assign_attrs(granule=f"g{k:06d}"), root, parameters={"a": 1})
    objects = dict(zip(keys := list(root.objects("tracks/")), root.read_all(keys), strict=True))
    print(f"{n} tracks, {len(objects):,} objects, {sum(map(len, objects.values())) / 1e6:.1f} MB")  # type: ignore[arg-type]
    with services.s3_server("benchmark") as env:
        os.environ.update(env)
        plain = location("s3://benchmark/uploaded")
        rows = (
            (
                "a folder",
                folder / "public",
                "cp -r",
                partial(shutil.copytree, root.folder, folder / "copied"),
            ),
            ("S3", "s3://benchmark/public", "plain upload", partial(plain.put_all, objects)),
        )
        for name, target, other, copied in rows:
            theirs, their_cpu = timed(copied)
            mine, cpu = timed(partial(is2ice.publish, root.folder, target))
            print(
                f"publish to {name}: {mine / n * 1e3:.0f} ms a track (processor {cpu / n * 1e3:.0f}); {other} "
                f"{theirs / n * 1e3:.0f} ms (processor {their_cpu / n * 1e3:.0f}); ratio {mine / theirs:.2f}",
                flush=True,
            )
            out.append((f"publish {n} tracks to {name}", cpu, other, their_cpu))
    return out


def filled(root: FolderLocation, n: int, track: xr.Dataset) -> None:
    """Make a store of one track, and of n - 1 entries like its own, each with a name and numbers of its own."""
    store.write_track(track.assign_attrs(granule="g"), root, parameters={"a": 1})
    entry = store.parse_entry((root.read(entry_key("g", "gt1r")) or (b"",))[0], "", "g", "gt1r")
    draw = random.Random(0)
    for k in range(n - 1):
        granule = f"ATL03_2019{draw.randrange(10**10):010d}_{k:08d}_006_01"
        numbers = {
            name: draw.uniform(-90, 90) for name, v in entry["attributes"].items() if isinstance(v, float)
        }
        names = {"granule": granule, "inputs": f"{draw.getrandbits(128):032x}"}
        fresh = {**entry, **names, "digest": f"{draw.getrandbits(256):064x}"}
        fresh["attributes"] = {**entry["attributes"], **names, **numbers}
        path = root.folder / entry_key(granule, "gt1r")
        path.parent.mkdir(parents=True)
        path.write_bytes(entry_bytes(fresh))


def listed(track: xr.Dataset, folder: Path, counts: list[int], repeat: int) -> list[Row]:
    """Print the cost of listing and opening in stores of several sizes; plain xarray opens the track by its address."""
    rows: list[Row] = []
    for n in counts:
        root = FolderLocation(str(folder / f"listed{n}"))
        filled(root, n, track)
        bare = timed(partial(store.open_store, root))
        index = timed(partial(store.consolidate, root))
        assert len(store.open_store(root)) == n
        opened = timed(partial(store.open_store, root), repeat)
        one = timed(lambda root=root: store.open_track(root, "g"), repeat)
        address = store.open_store(root).path("g", "gt1r")
        plain = timed(lambda address=address: xr.open_zarr(address, chunks=None).close(), repeat)

        def more(root: FolderLocation = root) -> None:
            granule = f"h{time.time_ns()}"
            store.write_track(track.assign_attrs(granule=granule), root, parameters={"a": 1})
            store.consolidate(root, [(granule, "gt1r")])

        write = timed(more, repeat)
        size = sum(o.size for o in root.objects("index/").values())
        print(
            f"{n:,} tracks: list without index {bare[0]:.2f} s (processor {bare[1]:.2f}); make index {index[0]:.2f} s "
            f"({index[1]:.2f}), {size / 1e6:.2f} MB; "
            f"list {opened[0]:.3f} s (processor {opened[1]:.3f}); "
            f"open one {one[0] * 1e3:.0f} ms ({one[1] * 1e3:.0f}); "
            f"write one more and add it to the index {write[0] * 1e3:.0f} ms ({write[1] * 1e3:.0f})",
            flush=True,
        )
        rows.append((f"open one track of {n:,}", one[1], "xr.open_zarr", plain[1]))
        shutil.rmtree(root.folder)
    return rows


def _model() -> dict[str, Any]:
    """Objects of a track of four arrays without chunks: the nodes are what a snapshot grows by."""
    memory = MemoryStore()
    group = zarr.open_group(memory, path="g", mode="w", zarr_format=3)
    for j in range(4):
        group.create_array(f"a{j}", shape=(4000,), chunks=(4000,), dtype="f4", fill_value=0)
    return dict(memory._store_dict)


async def _fill(target: Any, model: dict[str, Any], n: int) -> None:
    for key, data in model.items():
        for k in range(n):
            await target.set(f"g{k}{key[1:]}" if key.startswith("g/") else key, data)


def icechunk(track: xr.Dataset, folder: Path, counts: list[int], repeat: int) -> None:
    """Print what a repository of Icechunk costs: its snapshot, one more commit, opening a track."""
    import icechunk

    few = describe(track, granule="g", beam="gt1r", inputs="")[["height", "freeboard"]].drop_encoding()
    for n in counts:
        path = folder / f"icechunk{n}"
        repo = icechunk.Repository.open_or_create(icechunk.local_filesystem_storage(str(path)))
        session = repo.writable_session("main")
        began = time.perf_counter()
        sync(_fill(session.store, _model(), n))
        filling = time.perf_counter() - began
        session.commit("all")
        snapshot = max(p.stat().st_size for p in (path / "snapshots").iterdir())

        def more(repo: Any = repo) -> None:
            session = repo.writable_session("main")
            few.to_zarr(session.store, group=f"h{time.time_ns()}/gt1r", zarr_format=3, consolidated=False)
            session.commit("one")

        one = timed(more, repeat)
        read = timed(
            lambda repo=repo: zarr.open_group(repo.readonly_session("main").store, path="g0", mode="r"),
            repeat,
        )
        print(
            f"Icechunk {icechunk.__version__}, {n:,} tracks of 4 arrays: snapshot {snapshot / 1e3:,.0f} kB (filled in "
            f"{filling:.0f} s); commit of one more (2 arrays) {one[0] * 1e3:.0f} ms ({one[1] * 1e3:.0f}); open one "
            f"{read[0] * 1e3:.0f} ms ({read[1] * 1e3:.0f})",
            flush=True,
        )
        shutil.rmtree(path)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tracks", type=int, nargs="+", default=[10, 1_000, 10_000])
    parser.add_argument("--repeat", type=int, default=10)
    parser.add_argument("--publish", type=int, default=200, help="number of tracks to publish")
    parser.add_argument("--icechunk", action="store_true", help="measure Icechunk too (minutes)")
    parser.add_argument("--only", choices=["write", "publish", "list", "icechunk"], help="one part")
    asked = parser.parse_args()
    warnings.filterwarnings("ignore")
    track = one_track(SAMPLE, "gt1r").load()
    folder = Path(tempfile.mkdtemp(prefix="is2ice-stores-"))
    try:
        if asked.only in (None, "write"):
            written(track, folder, asked.repeat)
        if asked.only in (None, "publish"):
            published(track, folder, asked.publish)
        if asked.only in (None, "list"):
            listed(track, folder, asked.tracks, asked.repeat)
        if asked.icechunk or asked.only == "icechunk":
            icechunk(track, folder, asked.tracks, asked.repeat)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()

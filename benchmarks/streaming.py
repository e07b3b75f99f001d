"""Streaming against h5py over a plain fsspec file: bytes, requests and time of one beam and a 50 km box.

A twin granule of six beams (hundreds of MB; made once, which takes minutes) is served by this machine's range
server with a delay before every answer. "Weight" is what the chunks hold that the answer is made from: the beam's
whole 20 m table, and the photons of the box. The same is then read with an index kept from the first reading, and,
of a paged file (release 007), by h5py with HDF5's own page buffer.

    python benchmarks/streaming.py build/stream --releases 006 007
"""

import argparse
import contextlib
import importlib.util
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import h5py

from is2ice.io.icesat2.atl03 import PHOTON_COLUMNS, Granule, Subset
from is2ice.io.icesat2.geolocation import table_paths
from is2ice.io.remote.hdf5_chunks import places
from is2ice.io.remote.source import Source
from is2ice.twin.icesat2.atl03 import make_granule
from is2ice.twin.scene.scene import Scene
from is2ice.twin.server.local_archive import LocalCloud

BOX_KM = 50.0


def granule(folder: Path, release: str, length_km: float) -> Path:
    """A granule of all six beams, made once."""
    found = sorted((folder.resolve() / release).glob("ATL03_*.h5"))
    if found:
        return found[0]
    scene = Scene.preset("ross_sea_november", seed=17, length_km=length_km)
    return make_granule(scene, folder / release, release=release, beams="all")


def box(path: Path, beam: str) -> Subset:
    """The 50 km in the middle of a beam, as a box in latitude and all longitudes."""
    with Granule(path) as g:
        table = g.table(beam)
        middle = table.dist_x.size // 2
        half = round(BOX_KM * 500 / 20)
        latitude = table.latitude[[middle - half, middle + half]]
        return Subset(bbox=(-180.0, float(latitude.min()), 180.0, float(latitude.max())))


def weight(path: Path, beam: str, subset: Subset) -> int:
    """Bytes of the chunks that the answer needs."""
    with Granule(path) as g:
        rows, _ = g._photon_rows(g.table(beam), *g._span(g.plan(beam, subset)))
        file = g.file
        need = {
            p
            for name in PHOTON_COLUMNS
            for p in places(file[f"{beam}/heights/{name}"], rows.start, rows.stop)
        }
        for name in table_paths(beam):
            if isinstance(file.get(name), h5py.Dataset):
                need |= set(places(file[name]))
        return sum(b - a for a, b in need)


def timed(open_it, beam: str, subset: Subset, **options) -> tuple[float, Granule]:
    start = time.perf_counter()
    g = Granule(open_it(), [beam])
    g.track(beam, subset, **options)
    return time.perf_counter() - start, g


def first_opening(path: Path, beam: str, latency: float) -> dict[str, float]:
    """Seconds, MB and requests of the box without and with a kept index, and what plain fsspec takes."""
    found, path = {}, path.resolve()
    subset = box(path, beam)
    timed(lambda: path, beam, subset)  # compiles
    with LocalCloud(path.parent, stac=False) as cloud, tempfile.TemporaryDirectory() as kept, indexed("0"):
        url = cloud.href(path)
        cloud.disturb(latency=latency)
        ways: dict[str, tuple[str, Callable[[], object]]] = {
            "is2ice": ("0", lambda: url), "is2ice, keeping index": (kept, lambda: url),
            "is2ice, with index": (kept, lambda: url), "plain fsspec": ("0", lambda: fsspec.open(url).open()),
        }  # fmt: skip
        for name, (index, open_it) in ways.items():
            os.environ["IS2ICE_INDEX"] = index
            before = cloud.traffic
            found[name], _ = timed(open_it, beam, subset)
            found[f"{name}, MB"] = sent = (cloud.traffic.sent - before.sent) / 1e6
            found[f"{name}, requests"] = asked = cloud.traffic.requests - before.requests
            print(f"  {name:22} {found[name]:6.2f} s  {sent:8.2f} MB in {asked:4} requests")
        if importlib.util.find_spec("h5coro") is not None:
            read, start = by_h5coro(path, beam, subset, url), time.perf_counter()
            read()
            found["h5coro"] = time.perf_counter() - start
            print(f"  h5coro                 {found['h5coro']:6.2f} s")
    return found


def by_h5coro(path: Path, beam: str, subset: Subset, url: str) -> Callable[[], None]:
    """Return a reading of the same tables and photons by h5coro, with the rows that we look up."""
    from h5coro import h5coro, webdriver

    with Granule(path) as g:
        plan, table = g.plan(beam, subset), g.table(beam)
        rows = g._photon_range(table, *g._reach(table, plan, plan.k0, plan.n))
        wanted: list[Any] = [name for name in table_paths(beam) if name in g.file]
    wanted += [
        {"dataset": f"{beam}/heights/{name}", "hyperslice": [[rows.start, rows.stop]]}
        for name in PHOTON_COLUMNS
    ]

    def read() -> None:
        got = h5coro.H5Coro(url, webdriver.HTTPDriver, credentials="").readDatasets(wanted, block=True)
        assert all(len(got[name]) for name in got.datasets)

    return read


@contextlib.contextmanager
def indexed(where: str) -> Iterator[None]:
    """Set the folder of kept indices, and put back afterwards."""
    before = os.environ.get("IS2ICE_INDEX")
    os.environ["IS2ICE_INDEX"] = where
    try:
        yield
    finally:
        os.environ.pop("IS2ICE_INDEX")
        if before is not None:
            os.environ["IS2ICE_INDEX"] = before


def compare(path: Path, beam: str, release: str, latency: float) -> dict[str, float]:
    """Read the box in each way, print what it took, and return the seconds."""
    size, chunks = path.stat().st_size, weight(path, beam, box(path, beam))
    print(f"release {release}: {size / 1e6:.0f} MB; chunks of the box {chunks / 1e6:.2f} MB")
    found = first_opening(path, beam, latency)
    if release >= "007":
        buffer = (("page_buf_size", 32 * 2**20), ("rdcc_nbytes", 8 * 2**20))
        with LocalCloud(path.parent, stac=False) as cloud:
            cloud.disturb(latency=latency)
            url = cloud.href(path)
            paged, _ = timed(
                lambda: Source("paged", handle=fsspec.open(url).open(), options=buffer), beam, box(path, beam)
            )
        print(f"  fsspec, page buffer    {paged:6.2f} s")
    ours, sent = found["is2ice"], found["is2ice, MB"] * 1e6
    print(
        f"  {sent / size:.2%} of the file, {sent / chunks:.2f} of the chunks' weight, "
        f"{found['plain fsspec'] / ours:.1f} times as fast as plain fsspec, with index "
        f"{ours / found['is2ice, with index']:.1f} times as fast as without"
    )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--length-km", type=float, default=600.0)
    parser.add_argument("--releases", nargs="+", default=["006", "007"])
    parser.add_argument("--beam", default="gt2r")
    parser.add_argument("--latency", type=float, default=0.05, help="seconds before every answer")
    args = parser.parse_args()
    for release in args.releases:
        compare(granule(args.folder, release, args.length_km), args.beam, release, args.latency)


if __name__ == "__main__":
    main()

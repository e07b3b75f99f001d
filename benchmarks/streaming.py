"""Streaming against h5py over a plain fsspec file: bytes, requests and time of one beam and a 50 km box.

A twin granule of six beams (hundreds of MB; made once, which takes minutes) is served by this machine's range
server with a delay before every answer. "Weight" is what the chunks hold that the answer is made from: the beam's
whole 20 m table, and the photons of the box. The same is then read with an index kept from the first reading, and,
of a paged file (release 007), by h5py with HDF5's own page buffer.

    python benchmarks/streaming.py build/stream --releases 006 007
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

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
    g = Granule(open_it())
    g.track(beam, subset, **options)
    return time.perf_counter() - start, g


def compare(path: Path, beam: str, release: str, latency: float) -> dict[str, float]:
    """Read the box in each way, print what it took, and return the seconds."""
    found = {}
    subset, size = box(path, beam), path.stat().st_size
    chunks = weight(path, beam, subset)
    print(f"release {release}: {size / 1e6:.0f} MB; chunks of the box {chunks / 1e6:.2f} MB")
    timed(lambda: path, beam, subset)  # compiles
    with LocalCloud(path.parent, stac=False) as cloud, tempfile.TemporaryDirectory() as kept:
        url = cloud.href(path)
        cloud.disturb(latency=latency)

        def row(name: str, open_it: Callable[[], object]) -> tuple[float, int]:
            before = cloud.traffic
            seconds, _ = timed(open_it, beam, subset)
            after = cloud.traffic
            sent, asked = after.sent - before.sent, after.requests - before.requests
            found[name] = seconds
            print(f"  {name:22} {seconds:6.2f} s  {sent / 1e6:8.2f} MB in {asked:4} requests")
            return seconds, sent

        plain, _ = row("plain fsspec", lambda: fsspec.open(url).open())
        if release >= "007":
            buffer = (("page_buf_size", 32 * 2**20), ("rdcc_nbytes", 8 * 2**20))
            row(
                "fsspec, page buffer", lambda: Source("paged", handle=fsspec.open(url).open(), options=buffer)
            )
        ours, sent = row("is2ice", lambda: url)
        print(
            f"  {sent / size:.2%} of the file, {sent / chunks:.2f} of the chunks' weight, "
            f"{plain / ours:.1f} times as fast as plain fsspec"
        )
        os.environ["IS2ICE_INDEX"] = kept
        row("is2ice, keeping index", lambda: url)
        again, _ = row("is2ice, with index", lambda: url)
        os.environ.pop("IS2ICE_INDEX")
        weighs = sum(p.stat().st_size for p in Path(kept).iterdir())
        print(f"  index of {weighs / 1e3:.0f} kB: {ours / again:.1f} times as fast as without")
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

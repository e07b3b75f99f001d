"""A granule of full length: seconds, memory and bytes of streaming, of a run, and of the store, on two workers.

    python benchmarks/long_granule.py [--km 1500] [--granules 1] [--folder build/long] [--keep]

A simulated granule of six beams (30 km) is lengthened by repeating its photons along the track, chunk by chunk as
they are compressed, under a ground track, times and pulse numbers that go on: as many photons, chunks and bytes as
one of that length, with the surface of a short one. (Positions and times of single photons, which no step reads,
repeat as well.) Streaming reads a 50 km box of one beam from a server of this machine with a delay before every
answer. The run takes the three strong beams through to freeboard and writes the store. Memory is the peak over the
imported package of the driver and of all processes below it. With `--granules` the same run is made over several
granules, which share their photons.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np

RADIUS, FRAME = 6.371e6, 0.02
#: Simulated part, km, and rows of a chunk of photons.
PART_KM, CHUNK = 30.0, 10_000


def simulated(folder: Path, km: float = PART_KM) -> Path:
    """Make the short granule of six beams, once."""
    from is2ice.twin.icesat2.atl03 import make_granule
    from is2ice.twin.scene.scene import Scene

    if found := sorted(folder.glob("ATL03_*.h5")):
        return found[0]
    scene = Scene.preset("ross_sea_november", seed=17, length_km=km)
    return make_granule(scene, folder, release="006", beams="all")


def lengthened(source: Path, target: Path, km: float) -> Path:
    """Repeat the photons of a granule along its track up to a length, once; the path of the new one."""
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_suffix(".part")
    with h5py.File(source) as old, h5py.File(part, "w") as new:
        new.attrs.update(old.attrs)
        for name in old:
            if name.startswith("gt") and "heights" in old[name]:
                _beam(old[name], new.create_group(name), km * 1e3)
            else:
                old.copy(name, new)
    part.rename(target)
    return target


def _beam(old: h5py.Group, new: h5py.Group, length: float) -> None:
    """Write a lengthened beam: whole chunks of photons repeated, tables continued."""
    new.attrs.update(old.attrs)
    for name in old:
        if name not in ("heights", "geolocation", "geophys_corr", "bckgrd_atlas"):
            old.copy(name, new)
    photons = old["heights/h_ph"].shape[0] // CHUNK * CHUNK
    table = {name: d[()] for name, d in old["geolocation"].items() if isinstance(d, h5py.Dataset)}
    begin, count = table["ph_index_beg"], table["segment_ph_cnt"]
    rows = int(np.flatnonzero((count > 0) & (begin <= photons))[-1]) + 1
    table = {name: a[:rows].copy() for name, a in table.items()}
    table["segment_ph_cnt"][-1] = photons - table["ph_index_beg"][-1] + 1
    table["reference_photon_index"] = np.minimum(table["reference_photon_index"], table["segment_ph_cnt"])
    step = float(np.median(np.diff(table["segment_dist_x"])))
    times = int(np.ceil(length / (rows * step)))
    frames = int(np.ptp(old["heights/pce_mframe_cnt"][:photons])) + 1
    seconds = frames * FRAME
    k = np.repeat(np.arange(times), rows)

    def tiled(a: np.ndarray, shift: float = 0.0) -> np.ndarray:
        """Copies of a column in a row, each raised by a shift."""
        n = np.repeat(np.arange(times), len(a)).reshape(-1, *(1,) * (a.ndim - 1))
        out = np.concatenate([a] * times)
        return (out + n * shift).astype(a.dtype) if shift else out

    shifts = {"segment_dist_x": rows * step, "segment_id": rows, "delta_time": seconds}
    columns = {name: tiled(a, shifts.get(name, 0.0)) for name, a in table.items()}
    columns["ph_index_beg"] = np.where(
        columns["segment_ph_cnt"] > 0, columns["ph_index_beg"] + k * photons, 0
    )
    columns["reference_photon_lat"], columns["reference_photon_lon"] = _course(
        table, columns["segment_dist_x"]
    )
    for name, a in columns.items():
        _write(old["geolocation"][name], new.require_group("geolocation"), name, a)
    for name, d in old["geophys_corr"].items():
        _write(d, new.require_group("geophys_corr"), name, tiled(d[:rows], shifts.get(name, 0.0)))
    records = {"delta_time": seconds, "pce_mframe_cnt": frames}
    for name, d in old["bckgrd_atlas"].items():
        kept = d[: int(np.ceil(rows / begin.size * d.shape[0]))]
        _write(d, new.require_group("bckgrd_atlas"), name, tiled(kept, records.get(name, 0.0)))
    for name, d in old["heights"].items():
        into = new.require_group("heights")
        if name == "pce_mframe_cnt":
            _write(d, into, name, tiled(d[:photons], frames))
        else:
            _repeat(d, into, name, photons, times)
    for group in ("heights", "geolocation", "geophys_corr", "bckgrd_atlas"):
        new[group].attrs.update(old[group].attrs)


def _course(table: dict[str, np.ndarray], dist_x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions (degrees) on the great circle through the first and last geosegment, at distances along it."""
    phi, lam = np.radians(table["reference_photon_lat"]), np.radians(table["reference_photon_lon"])
    xyz = np.stack([np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)], -1)
    first, last = xyz[0], xyz[-1]
    ahead = last - (last @ first) * first
    ahead /= np.linalg.norm(ahead)
    way = (np.arccos(np.clip(last @ first, -1, 1))) / (
        table["segment_dist_x"][-1] - table["segment_dist_x"][0]
    )
    angle = ((dist_x - dist_x[0]) * way)[:, None]
    at = np.cos(angle) * first + np.sin(angle) * ahead
    return np.degrees(np.arcsin(at[:, 2])), np.degrees(np.arctan2(at[:, 1], at[:, 0]))


def _create(like: h5py.Dataset, into: h5py.Group, name: str, rows: int) -> h5py.Dataset:
    """Create a dataset as another one is, but for its length."""
    shape = (rows, *like.shape[1:])
    most = tuple(
        h5py.h5s.UNLIMITED if n is None else max(n, m) for n, m in zip(like.maxshape, shape, strict=True)
    )
    space = h5py.h5s.create_simple(shape, most)
    made = h5py.h5d.create(into.id, name.encode(), like.id.get_type(), space, like.id.get_create_plist())
    found = h5py.Dataset(made)
    for key in like.attrs:
        if key not in ("DIMENSION_LIST", "REFERENCE_LIST", "CLASS", "NAME"):
            found.attrs[key] = like.attrs[key]
    return found


def _write(like: h5py.Dataset, into: h5py.Group, name: str, values: np.ndarray) -> None:
    """Write values as another dataset is written."""
    _create(like, into, name, len(values))[...] = values


def _repeat(like: h5py.Dataset, into: h5py.Group, name: str, photons: int, times: int) -> None:
    """Repeat the compressed chunks of a dataset."""
    assert like.chunks[0] == CHUNK
    made = _create(like, into, name, photons * times)
    tail = (0,) * (like.ndim - 1)
    for first in range(0, photons, CHUNK):
        mask, raw = like.id.read_direct_chunk((first, *tail))
        for k in range(times):
            made.id.write_direct_chunk((first + k * photons, *tail), raw, mask)


class Memory:
    """Peak of memory of this process and all below it, over what it was at the beginning, in MB."""

    def __init__(self) -> None:
        self.peak, self.base, self._stop = 0.0, self._now(), threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _now(self) -> float:
        import psutil

        total = 0.0
        for process in (psutil.Process(), *psutil.Process().children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                total += process.memory_full_info().uss
        return total / 1e6

    def _watch(self) -> None:
        while not self._stop.wait(0.2):
            self.peak = max(self.peak, self._now())

    def stop(self) -> float:
        """Return the peak over the beginning, MB."""
        self._stop.set()
        self._thread.join()
        return self.peak - self.base


def streamed(path: Path, latency: float) -> dict[str, float]:
    """Seconds and bytes of the first opening of a 50 km box, without and with the kept index."""
    import streaming as parts

    return parts.first_opening(path, "gt2r", latency)


def ran(granules: list[Path], store: Path, workers: int) -> dict[str, Any]:
    """Run the strong beams into a new store; seconds, seconds a step summed over tracks, memory and bytes."""
    import is2ice
    from is2ice import engines

    shutil.rmtree(store, ignore_errors=True)
    with engines.cluster("local", workers=workers) as cluster:
        list(engines.map(abs, range(4 * workers), cluster))
        memory, began = Memory(), time.perf_counter()
        done = is2ice.run([str(g) for g in granules], store, engine=cluster, progress=False)
        seconds, peak = time.perf_counter() - began, memory.stop()
    steps: dict[str, float] = {}
    for receipt in done.done:
        for name, s in receipt["seconds"].items():
            steps[name] = steps.get(name, 0.0) + s
    size = sum(f.stat().st_size for f in store.rglob("*") if f.is_file())
    return {
        "tracks": len(done.done), "failed": len(done.failed), "seconds": seconds, "steps": steps,
        "memory_mb": peak, "store_mb": size / 1e6,
    }  # fmt: skip


def read_plainly(path: Path) -> None:
    """Read the columns of photons that a run needs, of the strong beams, with h5py."""
    from segments import READ

    with h5py.File(path) as f:
        for beam in ("gt1r", "gt2r", "gt3r"):
            for name in READ:
                f[f"{beam}/heights/{name}"][()]


def named(path: Path, n: int) -> list[Path]:
    """Return further names of one granule, each another pass, as links to the same bytes."""
    out = [path]
    for k in range(1, n):
        stamp, track = path.name.split("_")[1:3]
        other = path.with_name(
            path.name.replace(track, f"{int(track[:4]) + k:04d}{track[4:]}").replace(
                stamp, f"{int(stamp) + k}"
            )
        )
        if not other.exists():
            os.link(path, other)
        out.append(other)
    return out


def main() -> int:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    options.add_argument("--km", type=float, default=1500.0)
    options.add_argument("--granules", type=int, default=1)
    options.add_argument("--workers", type=int, default=2)
    options.add_argument("--latency", type=float, default=0.05)
    options.add_argument("--folder", type=Path, default=Path("build/long"))
    options.add_argument("--keep", action="store_true", help="leave the granule where it was made")
    options.add_argument("--json", type=Path, help="also write the figures there")
    given = options.parse_args()
    source = simulated(given.folder / "part")
    path = lengthened(source, given.folder / f"{given.km:g}" / source.name, given.km)
    with h5py.File(path) as f:
        photons = sum(f[b]["heights/h_ph"].shape[0] for b in f if b.startswith("gt"))
    print(f"{given.km:,.0f} km, six beams: {photons / 1e6:.1f} M photons, {path.stat().st_size / 1e9:.2f} GB")
    found: dict[str, Any] = {"km": given.km, "photons": photons, "bytes": path.stat().st_size}
    try:
        found["streamed"] = streamed(path, given.latency)
        for n in dict.fromkeys((1, given.granules)):
            row = found[f"run of {n}"] = ran(named(path, n), given.folder / "store.zarr", given.workers)
            steps = ", ".join(f"{k} {s:.1f}" for k, s in row["steps"].items())
            print(
                f"run of {n} ({row['tracks']} tracks, {row['failed']} failed), {given.workers} workers: "
                f"{row['seconds']:.1f} s (summed over tracks: {steps}); peak {row['memory_mb']:.0f} MB over base; "
                f"store {row['store_mb']:.1f} MB",
                flush=True,
            )
    finally:
        shutil.rmtree(given.folder / "store.zarr", ignore_errors=True)
        if not given.keep:
            shutil.rmtree(path.parent)
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

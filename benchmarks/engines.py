# ruff: noqa: E402 (threads are set before libraries load)
"""Engines: gain of a second worker, cost of a task, the published volume on one core, memory over a long run.

    python benchmarks/engines.py [gain] [overhead] [volume] [long] [scaling] [memory] [--engines processes dask spark]

- gain: 24 tasks of pure computation (no memory traffic), and as many that only wait, with one and with two workers
  started before; the second kind shows the engine alone, also on a machine whose cores are taken;
- overhead: a task that does nothing, among 200, with one worker of each engine: what a track costs beside its work,
  by the clock and in processor time (of the driver and all below it, which a busy machine does not stretch);
- volume: labels, classes, sea surface and freeboard of 15 tracks, 1.41 million rows in all, on one core (the published
  figures are 390 + 392 s on one core and 24 + 25 s on sixteen);
- long: one long track, whole and in blocks, with one and two workers, radiometric and with a trained model; its steps'
  seconds, and whether all wrote the same bits;
- scaling: 10, 100 and 1,000 granules of 4 km (`--counts`) on two workers: processor seconds a granule of the driver
  and all below it, workers started before;
- memory: 200 small granules through the whole chain; resident memory of the driver and of all below it after a
  quarter, half and all of the tracks (--engines serial as well).

Timings on a busy machine say little; compare what stands in one run. The load average is printed.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import numpy as np
import psutil
import xarray as xr

from is2ice import engines, twin
from is2ice.classifiers import classify
from is2ice.io.icesat2.atl03 import Granule
from is2ice.reports import scaling
from is2ice.science import freeboard, seasurface
from is2ice.science.labels import transfer
from is2ice.twin.server.timing_archive import make_archive
from is2ice.workflows import driver
from is2ice.workflows import run as pipeline
from is2ice.workflows.options import Options
from is2ice.workflows.progress import Bar

ROWS, TRACKS = 1_410_628, 15
QUICK_JAVA = {"spark.driver.memory": "512m"}


def spin(n: int) -> int:
    """Pure computation in the interpreter."""
    total = 0
    for k in range(n):
        total += k * k % 7
    return total


@contextlib.contextmanager
def started(engine: str, workers: int) -> Iterator[dict]:
    """How :func:`is2ice.engines.map` is told of an engine with workers that are up and have imported."""
    if engine in ("serial", "processes"):
        yield {"engine": engine, "workers": 1 if engine == "serial" else workers}
        return
    options = {"conf": QUICK_JAVA} if engine == "spark" else {}
    with engines.cluster({"dask": "local"}.get(engine, engine), workers=workers, **options) as cluster:
        list(engines.map(spin, [1000] * 4 * workers, cluster))
        yield {"engine": cluster}


def gain(names: list[str], work: int, tasks: int = 24) -> None:
    began = time.perf_counter()
    spin(work)
    print(f"one and two workers: {tasks} tasks of {time.perf_counter() - began:.2f} s alone")
    for name in names:
        seconds, waits = {}, {}
        for workers in (1, 2):
            with started(name, workers) as how:
                seconds[workers] = steady(spin, [work] * tasks, workers, how)
                waits[workers] = steady(time.sleep, [0.5] * tasks, workers, how)
        print(
            f"  {name:10} computing: {seconds[1]:6.2f} s, {seconds[2]:6.2f} s: {seconds[1] / seconds[2]:.2f}x;  "
            f"waiting half a second: {waits[1]:6.2f} s, {waits[2]:6.2f} s: {waits[1] / waits[2]:.2f}x",
            flush=True,
        )


def steady(fn: Callable, items: list, workers: int, how: dict) -> float:
    """Seconds of all items, from the first results on: the start of a pool of processes is left out."""
    stamps = [time.perf_counter()]
    for _ in engines.map(fn, items, **how):
        stamps.append(time.perf_counter())
    return (stamps[-1] - stamps[workers]) / (len(items) - workers) * len(items)


def overhead(names: list[str]) -> None:
    print("a task that does nothing, one worker, 200 of them")
    for name in names:
        with started(name, 1) as how:
            before, began = processor_seconds(), time.perf_counter()
            each = scaling.overhead(how["engine"], how.get("workers"), tasks=200)
            share = (processor_seconds() - before) / (time.perf_counter() - began)
        print(f"  {name:10} {1e3 * each:6.1f} ms of the clock, {1e3 * each * share:6.1f} ms of processors")


def processor_seconds() -> float:
    """Of this process and all below it: what work costs, however busy the machine."""
    total = 0.0
    for process in (psutil.Process(), *psutil.Process().children(recursive=True)):
        with contextlib.suppress(psutil.Error):
            times = process.cpu_times()
            total += times.user + times.system
    return total


def volume() -> None:
    rows = -(-ROWS // TRACKS)
    with tempfile.TemporaryDirectory() as folder:
        scene = twin.Scene.preset("ross_sea_november", seed=3, length_km=2 * rows / 1e3 + 1)
        granule = twin.make_granule(scene, Path(folder) / "ATL03_20191104195311_05940510_006_01.h5")
        with Granule(granule) as opened:
            three = [opened.track(beam).isel(x_atc=slice(rows)) for beam in opened.resolve_beams("strong")]
    tracks = [three[k % 3] for k in range(TRACKS)]
    image = class_map(three)
    n = sum(t.sizes["x_atc"] for t in tracks)
    # Compiled loops are compiled, or read from their cache, before.
    warm = three[0].isel(x_atc=slice(5000))
    freeboard.compute(seasurface.estimate(classify(warm)))
    transfer.transfer(warm, image)
    spent = {}

    def timed(what: str, step):  # type: ignore[no-untyped-def]
        began = time.perf_counter()
        out = [step(t) for t in tracks]
        spent[what] = time.perf_counter() - began
        return out

    timed("labels", lambda t: transfer.transfer(t, image))
    tracks = timed("classes", classify)
    tracks = timed("sea surface", seasurface.estimate)
    tracks = timed("freeboard", freeboard.compute)
    done = sum(int(np.isfinite(t["freeboard"].values).sum()) for t in tracks)
    total = sum(spent.values())
    print(f"{TRACKS} tracks, {n:,} rows, one core, in memory ({done:,} freeboards):")
    print("  " + ", ".join(f"{what} {s:.2f} s" for what, s in spent.items()) + f": {total:.2f} s in all")
    print(
        "  published: 390 + 392 s on one core, 24 + 25 s on sixteen (with reading 108 + 111 s and 12 + 13 s)"
    )


def class_map(tracks: list[xr.Dataset]) -> xr.Dataset:
    """Floes and leads at 10 m over all tracks, in their map projection."""
    x = np.concatenate([t["x"].values for t in tracks])
    y = np.concatenate([t["y"].values for t in tracks])
    columns = np.arange(np.nanmin(x) - 500, np.nanmax(x) + 500, 10.0)
    lines = np.arange(np.nanmax(y) + 500, np.nanmin(y) - 500, -10.0)
    wave = np.sin(columns / 310.0)[None, :] + np.sin(lines / 470.0)[:, None]
    codes = np.where(wave > 1.75, 2, np.where(wave > 1.55, 1, 0)).astype("i1")
    attrs = {"crs": tracks[0].attrs["crs"], "scene": "pattern"}
    return xr.Dataset({"surface_class": (("y", "x"), codes)}, {"y": lines, "x": columns}, attrs)


def long(names: list[str], km: float) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        scene = twin.Scene.preset("ross_sea_november", seed=3, length_km=km)
        granule = twin.make_granule(scene, folder / "ATL03_20191104195311_05940510_006_01.h5")
        kinds = {
            "radiometric": Options(classifier="radiometric"),
            "trained": Options(classifier=a_model(granule, folder)),
        }
        print(f"one track of {km:g} km, {granule.stat().st_size / 1e6:.0f} MB of three beam pairs; seconds")
        for name in names:
            for kind, options in kinds.items():
                sums, whole = set(), {}
                for workers in (1, 2):
                    with started(name, workers) as how:
                        plans = (None, km / 10) if workers == 1 else (km / 10,)
                        for block in plans * 2:  # first once for imports, compiled loops and file caches
                            began = time.perf_counter()
                            run = pipeline.run(
                                granule,
                                folder / "s.zarr",
                                beams="gt2r",
                                options=options,
                                block_km=block,
                                overwrite="always",
                                **how,
                            )
                            whole[workers, block is not None] = time.perf_counter() - began
                            sums.add(run.done[0]["checksum"])
                            if block is None:
                                steps = ", ".join(f"{k} {s:.2f}" for k, s in run.done[0]["seconds"].items())
                same = "the same bits" if len(sums) == 1 else "OTHER BITS"
                print(
                    f"  {name:10} {kind:11}: whole {whole[1, False]:.2f} ({steps}); in blocks, 1 worker "
                    f"{whole[1, True]:.2f}, 2 workers {whole[2, True]:.2f}: {whole[1, True] / whole[2, True]:.2f}x, "
                    f"{whole[1, False] / whole[2, True]:.2f}x the whole; {same}",
                    flush=True,
                )


def a_model(granule: Path, folder: Path) -> Path:
    """A model of the default architecture, hardly trained: what it costs to evaluate does not depend on that."""
    from is2ice.classifiers.neural import Neural

    with Granule(granule) as opened:
        track = classify(opened.track("gt2r").isel(x_atc=slice(20_000)))
    track = track.assign(label=track["surface_class"])
    Neural.fit(track, architecture="default", epochs=1).save(folder / "model")
    return folder / "model"


def memory(names: list[str], granules: int) -> None:
    print(
        f"{granules} granules through the whole chain, 2 workers; MB resident of driver + all processes below it"
    )
    with tempfile.TemporaryDirectory() as folder:
        data = make_archive(Path(folder) / "archive", granules, length_km=4.0)
        for name in names:
            with started(name, 2) as how:
                marks = Marks(granules)
                shown, driver.show_progress = driver.show_progress, marks.bar
                began = time.perf_counter()
                run = pipeline.run(data.granules, Path(folder) / f"{name}.zarr", beams="gt2r", **how)
                driver.show_progress = shown
            if not run.ok:
                print(run.report())
            told = ", ".join(f"after {k}: {a:.0f} + {b:.0f}" for k, (a, b) in marks.seen.items())
            print(
                f"  {name:10} {len(run.done)} tracks in {time.perf_counter() - began:.0f} s; {told}",
                flush=True,
            )


def scaling_of(
    names: list[str], counts: list[int], folder: Path
) -> dict[str, dict[int, tuple[float, float]]]:
    """Processor and wall-clock seconds a granule, by engine and number of granules."""
    data = make_archive(folder / "archive", max(counts), length_km=4.0)
    found: dict[str, dict[int, tuple[float, float]]] = {}
    for name in names:
        with started(name, 2) as how:
            pipeline.run(
                data.granules[:8],
                folder / "warm.zarr",
                beams="gt2r",
                progress=False,
                overwrite="always",
                **how,
            )
            for n in counts:
                store = folder / f"{name}{n}.zarr"
                before, began = processor_seconds(), time.perf_counter()
                done = pipeline.run(data.granules[:n], store, beams="gt2r", progress=False, **how)
                spent = processor_seconds() - before, time.perf_counter() - began
                assert done.ok, done.report()
                found.setdefault(name, {})[n] = (spent[0] / n, spent[1] / n)
                shutil.rmtree(store)
                cpu, clock = (1e3 * s for s in found[name][n])
                print(
                    f"  {name:10} {n:6,} granules: {cpu:6.0f} ms of processors, {clock:6.0f} ms of the clock each"
                )
    return found


class Marks(Bar):
    """A bar that looks at the memory when a quarter, a half, three quarters and all are done."""

    def __init__(self, total: int) -> None:
        self.at = {total // 4, total // 2, 3 * total // 4, total}
        self.n, self.seen = 0, {}

    @contextlib.contextmanager
    def bar(self, *_: object) -> Iterator[Marks]:
        yield self

    def finished(self, receipt: object) -> None:
        self.n += 1
        if self.n in self.at:
            me = psutil.Process()
            below = 0
            for child in me.children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    below += child.memory_info().rss
            self.seen[self.n] = me.memory_info().rss / 1e6, below / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", nargs="*", default=["gain", "overhead", "volume", "long", "memory"])
    parser.add_argument("--engines", nargs="+", default=["processes", "dask", "spark"])
    parser.add_argument("--granules", type=int, default=200)
    parser.add_argument("--counts", type=int, nargs="+", default=[10, 100, 1000])
    parser.add_argument("--km", type=float, default=400.0, help="of the long track")
    parser.add_argument("--work", type=int, default=6_000_000)
    args = parser.parse_args()
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores", flush=True)
    if "gain" in args.what:
        gain(args.engines, args.work)
    if "overhead" in args.what:
        overhead(args.engines)
    if "volume" in args.what:
        volume()
    if "long" in args.what:
        long(args.engines, args.km)
    if "scaling" in args.what:
        with tempfile.TemporaryDirectory() as folder:
            scaling_of(args.engines, args.counts, Path(folder))
    if "memory" in args.what:
        memory(args.engines, args.granules)
    print(f"load average {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()

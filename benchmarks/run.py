"""Speed of every step beside a plain tool that does the same bytes' work, in one run.

    python benchmarks/run.py [--only photons --only stores] [--out build/bench.json] [--add] [--repeat 3]
    python benchmarks/run.py --show build/bench.json

Each row is the time of one task, that of its yardstick on the same input (plain h5py, `to_zarr`, `cp`, a plain
upload, fsspec, rasterio, plain Keras, a bare interpreter; h5coro, flox and polars where they are installed), and the
ratio of the two; before it the figure that stood there once, and the one aimed at. It is processor time, which
depends less on what else the machine does, but where a task waits for others, or shares work between cores, that of
the clock; and memory where it says MB. The JSON file also holds the machine, its load and the commit;
benchmarks/compare.py sets two of them side by side. With the inputs made (build/) the whole takes about 20 minutes on
two cores; the scripts beside this one measure more of each section.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from timing import median_seconds

HERE = Path(__file__).resolve().parent
SAMPLE = HERE.parent / "sample_data"


#: What stood there when the figures were first taken on two quiet cores, and what is aimed at; "x": of the yardstick.
GOALS = {
    "is2ice --help": ("1.4", "0.3"),
    "is2ice info GRANULE": ("1.4", "0.3"),
    "is2ice show GRANULE": ("1.6", "0.8"),
    "open and resample 3.6 M photons": ("1.33 x", "1.1 x"),
    "one thread, 10 M photons": ("1.35", "1.0"),
    "write one track to folder": ("0.26", "0.06"),
    "open one track of 1,000": ("11.7", "0.05"),
    "publish 60 tracks to a folder": ("11 x", "2 x"),
    "publish 60 tracks to S3": ("2.2 x", "1.2 x"),
    "50 km box, is2ice": ("1.22", "0.6"),
    "50 km box, MB": ("4.6", "8"),
    "50 km box, is2ice, with index": ("0.34", ""),
    "class map, threshold": ("14.7", ""),
    "class map, guarded": ("55.8", "20"),
    "class map, published": ("150", "30"),
    "class map, guarded, memory": ("3850", "1000"),
    "class map, published, memory": ("", "1000"),
    "class map, guarded, two workers": ("", "0.56 x"),
    "two ranks, averaged gradients": ("3.8 x", ""),
    "two ranks, weights every 64 steps": ("", "0.62 x"),
    "two ranks, weights every 512 steps": ("", "0.62 x"),
    "two ranks, U-Net": ("0.74 x", "0.59 x"),
    "task that does nothing, dask": ("0.010", ""),
    "task that does nothing, spark": ("0.055", ""),
    "drift estimate of a pass and scene": ("5.3", "1.5"),
    "sum 1,500 km over cells": ("1.3", "0.3"),
}


@dataclass(frozen=True)
class Row:
    """One task beside its yardstick: processor seconds, seconds of the clock where waiting is the cost, or MB."""

    section: str
    task: str
    seconds: float
    yardstick: str
    yardstick_seconds: float
    of: str = "CPU"

    @property
    def ratio(self) -> float:
        """Times the yardstick."""
        return self.seconds / max(self.yardstick_seconds, 1e-9)


def wall(function: Callable[[], object], repeat: int) -> float:
    """Median seconds of the clock of several calls, after one that warms up."""
    function()
    return median_seconds(function, repeat)


def clock(function: Callable[[], object], repeat: int) -> float:
    """Median processor seconds of several calls, children included; the first call warms up and does not count."""
    function()
    seconds = []
    for _ in range(repeat):
        start = _used()
        function()
        seconds.append(_used() - start)
    return statistics.median(seconds)


def _used() -> float:
    return sum(
        resource.getrusage(who).ru_utime + resource.getrusage(who).ru_stime
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )


def start_up(repeat: int, folder: Path) -> Iterator[Row]:
    """Starting the package and its command line, against a bare interpreter."""

    def python(*words: str) -> Callable[[], object]:
        env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}  # as users start it
        return lambda: subprocess.run([sys.executable, *words], check=True, capture_output=True, env=env)

    bare = clock(python("-c", "pass"), repeat)
    granule = next(SAMPLE.glob("ATL03*.h5"))
    for task, words in (
        ("import is2ice", ("-c", "import is2ice")),
        ("is2ice --help", ("-m", "is2ice", "--help")),
        ("is2ice info GRANULE", ("-m", "is2ice", "info", str(granule))),
        ("is2ice show GRANULE", ("-m", "is2ice", "show", str(granule))),
    ):
        yield Row("start_up", task, clock(python(*words), repeat), "bare Python", bare)


def photons(repeat: int, folder: Path) -> Iterator[Row]:
    """Opening and resampling beams, against reading the same columns with h5py; on two threads by the clock."""
    import segments

    from is2ice.io.icesat2.atl03 import Granule
    from is2ice.twin.icesat2.flat_beam import write_beam

    for n in (600_000, 3_600_000, 10_000_000):
        path = folder / f"beam_{n}.h5"
        write_beam(path, n)

        def track(path: Path = path, workers: int = 2) -> None:
            with Granule(path) as granule:
                granule.track(segments.BEAM, workers=workers)

        def plain(path: Path = path) -> None:
            segments.plain_read(path)

        task, size = "open and resample", f"{n / 1e6:g} M photons"
        yield Row(
            "photons", f"{task} {size}", wall(track, repeat), "plain h5py", wall(plain, repeat), "clock"
        )
    read = clock(plain, repeat)
    yield Row("photons", f"one thread, {size}", clock(lambda: track(workers=1), repeat), "plain h5py", read)
    yield from _means(path, repeat)


def _means(path: Path, repeat: int) -> Iterator[Row]:
    """The same means from photons in memory, against other programs where they are installed."""
    import segments

    from is2ice.io.icesat2.atl03 import Granule

    with Granule(path) as granule:
        blocks = segments.blocks_in_memory(granule, 16_384)
        ours = clock(lambda: segments.resample(granule, blocks, 1), repeat)
        frame = segments.pandas_frame(granule)
    for name, by in segments.OTHERS.items():
        if importlib.util.find_spec(name) is not None:
            yield Row(
                "photons", f"means of 2 m, beside {name}", ours, name, clock(lambda by=by: by(frame), 1)
            )


def stores(repeat: int, folder: Path) -> Iterator[Row]:
    """Writing, publishing and opening tracks (benchmarks/stores.py), against xarray, plain copies and uploads."""
    import is2ice
    import stores as parts

    track = is2ice.one_track(next(SAMPLE.glob("ATL03*.h5")), "gt1r").load()
    with contextlib.redirect_stdout(sys.stderr):
        rows = parts.written(track, folder, repeat)
        rows += parts.published(track, folder, 60)
        rows += parts.listed(track, folder, [10, 1_000], repeat)
    for row in rows:
        yield Row("stores", *row)


def streaming(repeat: int, folder: Path) -> Iterator[Row]:
    """First opening of a 50 km box at 50 ms a request (benchmarks/streaming.py), against fsspec; by the clock."""
    import long_granule
    import streaming as parts

    home = HERE.parent / "build" / "stream"
    with contextlib.redirect_stdout(sys.stderr):
        source = long_granule.simulated(home / "part")
        path = long_granule.lengthened(source, home / "300" / source.name, 300.0)
        found = parts.first_opening(path, "gt2r", 0.05)
    for name in ("is2ice", "is2ice, with index"):
        yield Row("streaming", f"50 km box, {name}", found[name], "fsspec", found["plain fsspec"], "clock")
    if "h5coro" in found:
        yield Row("streaming", "50 km box beside h5coro", found["is2ice"], "h5coro", found["h5coro"], "clock")
    yield Row("streaming", "50 km box, MB", found["is2ice, MB"], "fsspec", found["plain fsspec, MB"], "MB")


def engines(repeat: int, folder: Path) -> Iterator[Row]:
    """A task that does nothing, and runs of 10, 100 and 1,000 short granules (benchmarks/engines.py)."""
    import engines as parts

    from is2ice.reports import scaling

    each = {}
    for name in ("processes", "dask", "spark"):
        with parts.started(name, 1) as how:
            each[name] = scaling.overhead(how["engine"], how.get("workers"), tasks=200)
    for name in ("dask", "spark"):
        yield Row(
            "engines", f"task that does nothing, {name}", each[name], "processes", each["processes"], "clock"
        )
    first = None
    for name, counts in (
        ("serial", [10, 100]),
        ("dask", [10, 100, 1000]),
        ("spark", [10, 100, 1000]),
        ("serial", [1000]),
    ):
        with contextlib.redirect_stdout(sys.stderr):
            found = parts.scaling_of([name], counts, folder)[name]
        first = first or found[10][0]
        for n, (cpu, _) in found.items():
            yield Row("engines", f"a granule of {n:,}, {name}", cpu, "serial, of 10", first)


def training(repeat: int, folder: Path) -> Iterator[Row]:
    """An epoch of the paper's LSTM (benchmarks/training.py), against plain Keras and one rank; by the clock."""
    kept = folder / "training.json"
    words = ["--windows", "20000", "--epochs", "3", "--skip-inference", "--json", str(kept)]
    subprocess.run([sys.executable, str(HERE / "training.py"), *words], check=True, stdout=sys.stderr)
    rows = json.loads(kept.read_text())["rows"]
    keras = rows["plain Keras fit"]["best"]
    yield Row(
        "training", "epoch, one thread", rows["is2ice, one thread"]["best"], "plain Keras", keras, "clock"
    )
    names = {"is2ice, 2 ranks of Horovod": "averaged gradients", "U-Net, two replicas": "U-Net"}
    names |= {
        f"is2ice, two replicas, averages every {k} steps": f"weights every {k} steps" for k in (64, 512)
    }
    for name, task in names.items():
        if row := rows.get(name):
            both, alone = row["s_an_epoch"], row["alone_s_an_epoch"]
            yield Row("training", f"two ranks, {task}", both, "one rank", alone, "clock")


def images(repeat: int, folder: Path) -> Iterator[Row]:
    """Class maps of a whole tile, against reading its bands with rasterio; memory over the imported package."""
    import images as parts

    home = HERE.parent / "build" / "images"
    (home / "10980").mkdir(parents=True, exist_ok=True)
    parts.make_tile(home / "10980", 10_980)
    rows = {method: parts.apart(home, 10_980, method) for method in parts.FILTERS}
    reading = rows.pop("read")
    for method, row in rows.items():
        yield Row("images", f"class map, {method}", row["processor_s"], "rasterio", reading["processor_s"])
        yield Row(
            "images", f"class map, {method}, memory", row["memory_mb"], "rasterio", reading["memory_mb"], "MB"
        )
    two = parts.apart(home, 10_980, "guarded", 2)["elapsed_s"]
    yield Row(
        "images", "class map, guarded, two workers", two, "one worker", rows["guarded"]["elapsed_s"], "clock"
    )


def drift(repeat: int, folder: Path) -> Iterator[Row]:
    """Displacement between a pass and an image (benchmarks/drift.py), against the class map of the image."""
    import drift as parts

    from is2ice.classifiers import radiometric
    from is2ice.io.icesat2.lazy_cube import open_cube
    from is2ice.science.labels import drift as displacement

    home = HERE.parent / "build" / "drift"
    velocity, minutes = parts.DRIFTS[0]
    _, item = parts.make(home, "ross_sea_november", 21, velocity, minutes, 14.0)
    segments = radiometric.classify(open_cube(next(item.parents[2].glob("*.h5"))).load())
    image = parts.read_image(item)[0]
    yield Row(
        "drift", "drift estimate of a pass and scene",
        clock(lambda: displacement.estimate(segments, image), min(repeat, 2)),
        "class map", clock(lambda: parts.read_image(item), 1),
    )  # fmt: skip


def long(repeat: int, folder: Path) -> Iterator[Row]:
    """A long granule of six beams through a run on two workers (benchmarks/long_granule.py), beside its bytes read."""
    import long_granule as parts

    home = HERE.parent / "build" / "stream"
    with contextlib.redirect_stdout(sys.stderr):
        source = parts.simulated(home / "part")
        path = parts.lengthened(source, home / "300" / source.name, 300.0)
        done = parts.ran([path], folder / "long.zarr", 2)
    plain = wall(lambda: parts.read_plainly(path), 1)
    yield Row(
        "long", "run of 300 km, three beams, two workers", done["seconds"], "plain h5py", plain, "clock"
    )
    yield Row("long", "run of 300 km, memory", done["memory_mb"], "its store", done["store_mb"], "MB")


def maps(repeat: int, folder: Path) -> Iterator[Row]:
    """Sums per cell of a track of 1,500 km, against the projection of its positions alone."""
    from pyproj import Transformer

    from is2ice.science import grid

    n = 750_000
    rng = np.random.default_rng(0)
    columns = {
        "latitude": np.linspace(-78.0, -64.5, n),
        "longitude": np.linspace(170.0, 165.0, n),
        "delta_time": 60e6 + np.arange(n) * 2.0 / 6900.0,
        "freeboard": rng.normal(0.3, 0.2, n),
        "height_uncertainty": np.full(n, 0.03),
        "h_ref_uncertainty": np.full(n, 0.02),
        "surface_class": rng.integers(-1, 3, n).astype(np.int8),
        "lead_index": np.where(rng.random(n) < 0.1, np.arange(n) // 1000, -1),
        "n_photons": np.ones(n, np.int32),
    }
    track = xr.Dataset({k: ("x_atc", v) for k, v in columns.items()})
    onto = Transformer.from_crs("EPSG:4326", grid.GRIDS["nsidc_south"].crs, always_xy=True)
    yield Row(
        "maps", "sum 1,500 km over cells", clock(lambda: grid.cell_sums(track, grid.GRIDS["nsidc_south"]), repeat),
        "projection alone", clock(lambda: onto.transform(columns["longitude"], columns["latitude"]), repeat),
    )  # fmt: skip


_ALL = (start_up, photons, stores, streaming, images, drift, maps, engines, training, long)
SECTIONS = {f.__name__: f for f in _ALL}


def surroundings() -> dict[str, object]:
    """Machine, load and commit of a measurement."""
    commit = subprocess.run(
        ["git", "-C", str(HERE), "describe", "--always", "--dirty"],
        capture_output=True,
        text=True,
        check=False,
    )
    return {
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "commit": commit.stdout.strip() or "unknown",
        "machine": platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "load": os.getloadavg()[0],
    }


HEAD = f"{'':<40}{'then':>8}{'target':>8}{'now':>9} {'':<6}{'yardstick':<16}{'':>9}{'ratio':>7}"


def line(row: dict[str, Any]) -> str:
    """One row of the table."""
    return (
        f"{row['task']:<40}{row['then']:>8}{row['target']:>8}{row['seconds']:>9.3f} {row['of']:<6}"
        f"{row['yardstick']:<16}{row['yardstick_seconds']:>9.3f}{row['ratio']:>7.2f}"
    )


def measured(name: str, repeat: int) -> Iterator[dict[str, Any]]:
    """Rows of a section, printed as they come."""
    with tempfile.TemporaryDirectory() as folder:
        for row in SECTIONS[name](repeat, Path(folder)):
            then, target = GOALS.get(row.task, ("", ""))
            found = asdict(row) | {"ratio": row.ratio, "then": then, "target": target}
            print(line(found), flush=True)
            yield found


def show(held: dict[str, Any]) -> None:
    """Print the table of a file, with the circumstances of each section."""
    print(HEAD)
    for name, about in held["sections"].items():
        print(f"[{name}] {about['date']}, commit {about['commit']}, others used {about['others']} cores")
        for row in held["rows"]:
            if row["section"] == name:
                print(line(row))


def main() -> int:
    """Measure, print and write."""
    from is2ice.reports.other_programs import OtherPrograms

    options = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    options.add_argument("--only", action="append", choices=SECTIONS, help="a section; all by default")
    options.add_argument("--out", type=Path, default=HERE.parent / "build" / "bench.json")
    options.add_argument("--repeat", type=int, default=3)
    options.add_argument("--add", action="store_true", help="keep the other sections of the file")
    options.add_argument("--show", type=Path, help="print the table of that file, and measure nothing")
    given = options.parse_args()
    if given.show:
        show(json.loads(given.show.read_text()))
        return 0
    held: dict[str, Any] = {"before": surroundings(), "sections": {}, "rows": []}
    if given.add and given.out.exists():
        held = json.loads(given.out.read_text()) | {"before": held["before"]}
    given.out.parent.mkdir(parents=True, exist_ok=True)
    print(HEAD)
    for name in given.only or SECTIONS:
        about, others = surroundings(), OtherPrograms()
        held["rows"] = [row for row in held["rows"] if row["section"] != name]
        for row in measured(name, given.repeat):
            held["rows"].append(row)
            held["sections"][name] = about | {"others": others.state()["others"]}
            given.out.write_text(json.dumps(held, indent=1) + "\n")  # kept if a later one fails
    print(f"{given.out}: load {held['before']['load']:.1f} before and {os.getloadavg()[0]:.1f} after")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

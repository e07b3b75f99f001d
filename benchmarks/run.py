"""Speed of every step beside a plain tool that does the same bytes' work, in one run.

    python benchmarks/run.py [--only photons --only stores] [--out build/bench.json] [--repeat 3]

Each row is the time of one task, that of its yardstick on the same input (plain h5py, `to_zarr`, `cp`, a plain
upload, fsspec, rasterio, plain Keras, a bare interpreter), and the ratio of the two. It is processor time, which
depends less on what else the machine does, but where a task waits for others it is that of the clock. The JSON
file also holds the machine, its load and the commit; benchmarks/compare.py sets two of them side by side. The scripts
beside this one measure more of each section.
"""

from __future__ import annotations

import argparse
import contextlib
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

import numpy as np
import xarray as xr

HERE = Path(__file__).resolve().parent
SAMPLE = HERE.parent / "sample_data"


@dataclass(frozen=True)
class Row:
    """One task beside its yardstick, seconds of the processor, or of the clock where waiting is the cost."""

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
        ("is2ice show GRANULE", ("-m", "is2ice", "show", str(granule))),
    ):
        yield Row("start", task, clock(python(*words), repeat), "bare Python", bare)


def photons(repeat: int, folder: Path) -> Iterator[Row]:
    """Opening and resampling beams, against reading the same columns with h5py."""
    import segments

    from is2ice.twin.icesat2.flat_beam import write_beam

    for n in (600_000, 3_600_000, 10_000_000):
        path = folder / f"beam_{n}.h5"
        write_beam(path, n)
        yield Row(
            "photons", f"open and resample {n / 1e6:g} M photons",
            clock(lambda path=path: segments.open_and_resample(path), repeat),
            "plain h5py", clock(lambda path=path: segments.plain_read(path), repeat),
        )  # fmt: skip


def stores(repeat: int, folder: Path) -> Iterator[Row]:
    """Writing, publishing and opening tracks (benchmarks/stores.py), against xarray, plain copies and uploads."""
    import is2ice
    import stores as parts

    track = is2ice.one_track(next(SAMPLE.glob("ATL03*.h5")), "gt1r").load()
    with contextlib.redirect_stdout(sys.stderr):
        rows = parts.written(track, folder, repeat)
        rows += parts.published(track, folder, 50)
        rows += parts.listed(track, folder, [10, 1_000], repeat)
    for row in rows:
        yield Row("stores", *row)


def streaming(repeat: int, folder: Path) -> Iterator[Row]:
    """First opening of a 50 km box at 50 ms a request (benchmarks/streaming.py), against fsspec; by the clock."""
    import streaming as parts

    home = HERE.parent / "build" / "stream"
    with contextlib.redirect_stdout(sys.stderr):
        found = parts.compare(parts.granule(home / "120", "006", 120.0), "gt2r", "006", 0.05)
    for name in ("is2ice", "is2ice, with index"):
        yield Row("streaming", f"50 km box, {name}", found[name], "fsspec", found["plain fsspec"], "clock")


def engines(repeat: int, folder: Path) -> Iterator[Row]:
    """A task that does nothing on each engine (benchmarks/engines.py), against a pool of processes; by the clock."""
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


def training(repeat: int, folder: Path) -> Iterator[Row]:
    """An epoch of the paper's LSTM (benchmarks/training.py), against plain Keras and one rank; by the clock."""
    told = folder / "training.json"
    words = ["--windows", "30000", "--epochs", "3", "--skip-inference", "--json", str(told)]
    subprocess.run([sys.executable, str(HERE / "training.py"), *words], check=True, stdout=sys.stderr)
    rows = json.loads(told.read_text())["rows"]
    keras = rows["plain Keras fit"]["best"]
    yield Row(
        "training", "epoch, one thread", rows["is2ice, one thread"]["best"], "plain Keras", keras, "clock"
    )
    for name, row in rows.items():
        if "2 ranks" in name:
            yield Row(
                "training",
                f"epoch, {name[8:]}",
                row["s_an_epoch"],
                "one rank",
                row["alone_s_an_epoch"],
                "clock",
            )


def images(repeat: int, folder: Path) -> Iterator[Row]:
    """Class maps of a quarter of a tile's side, against reading its bands with rasterio."""
    home = HERE.parent / "build" / "images"

    def seconds(method: str) -> float:
        words = [sys.executable, str(HERE / "images.py"), "--pixels", "2745", "--folder", str(home)]
        done = [
            subprocess.run([*words, "--only", method], check=True, capture_output=True, text=True).stdout
            for _ in range(repeat)
        ]
        return statistics.median(json.loads(text.splitlines()[-1])["processor_s"] for text in done)

    reading = seconds("read")
    for method in ("threshold", "guarded", "published"):
        yield Row("images", f"class map, {method}", seconds(method), "rasterio", reading)


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


SECTIONS = {f.__name__: f for f in (start_up, photons, stores, streaming, images, maps, engines, training)}


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


def main() -> int:
    """Measure, print and write."""
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    options.add_argument("--only", action="append", choices=SECTIONS, help="a section; all by default")
    options.add_argument("--out", type=Path, default=HERE.parent / "build" / "bench.json")
    options.add_argument("--repeat", type=int, default=3)
    given = options.parse_args()
    rows, held = [], {"before": surroundings()}
    print(f"{'':<48}{'seconds':>9}   {'yardstick':<18}{'seconds':>9}{'ratio':>8}")
    given.out.parent.mkdir(parents=True, exist_ok=True)
    for name in given.only or SECTIONS:
        with tempfile.TemporaryDirectory() as folder:
            for row in SECTIONS[name](given.repeat, Path(folder)):
                rows.append(asdict(row) | {"ratio": row.ratio})
                print(
                    f"{row.task:<48}{row.seconds:>9.3f}   {row.yardstick:<18}{row.yardstick_seconds:>9.3f}"
                    f"{row.ratio:>8.2f}{'' if row.of == 'CPU' else '  clock'}",
                    flush=True,
                )
        held |= {"rows": rows, "load after": os.getloadavg()[0]}
        given.out.write_text(json.dumps(held, indent=1) + "\n")  # kept if a later section fails
    print(f"{given.out}: load {held['before']['load']:.1f} before and {held['load after']:.1f} after")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

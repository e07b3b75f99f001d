r"""How a run scales: timed with one, two and more workers, and a stated model fitted to that.

Actions are timed to their end: tracks read, resampled and written (*load*); labelled, or classified, referenced to the
sea surface and written (*reduce*). *map* is the lazy part: naming the work, without any of it done. (In the published
tables *map* is the time to build such a lazy collection, and nothing was computed in it.) The start of workers and
their first imports are not counted but reported apart.

The model of the wall-clock time of N tasks on n workers is

.. math:: T(n) = \max\Big(s + N d + \lceil N / n \rceil\,w,\; B / b\Big)

with w the work of a task on a worker, d what handing out a task costs the one driver (measured with tasks that do
nothing), s whatever else is serial, and B bytes through a bandwidth of b (measured by writing and reading a file
where the store is). w and s come from the measured T by least squares, neither negative. What the model leaves out:
workers that disturb each other (memory, caches, shared disks beyond b), stragglers, and lost workers.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from is2ice import engines
from is2ice.engines import Cluster
from is2ice.workflows import label_many
from is2ice.workflows import run as pipeline
from is2ice.workflows.options import Options
from is2ice.workflows.receipts import Run
from is2ice.workflows.track import survey

__all__ = ["Model", "Timing", "bandwidth", "document", "fits", "measure", "overhead", "tables"]

#: Seconds of the published tables (Iqrah et al. 2025, Tables II and V) on 1 and 16 cores: load, map, reduce.
PUBLISHED = {
    "labelling": {1: (108.0, 0.4, 390.0), 16: (12.0, 0.3, 24.0)},
    "freeboard": {1: (111.0, 0.4, 392.0), 16: (13.0, 0.3, 25.0)},
}
KINDS = tuple(PUBLISHED)


# -- measured -----------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Timing:
    """Seconds of one kind of work on one engine with some workers, and the bytes that all its tasks read."""

    kind: str
    engine: str
    workers: int
    tasks: int
    load: float
    map: float
    reduce: float
    start: float
    measured: bool = True
    read: int = 0


def nothing(item: Any) -> None:
    """Do nothing: a task without work."""


def measure(
    granules: Sequence[Path],
    scene: Path,
    folder: Path,
    engine: str,
    workers: int,
    kinds: Sequence[str] = KINDS,
    **options: Any,
) -> tuple[list[Timing], float]:
    """Time the actions of some kinds of work.

    Parameters
    ----------
    granules : sequence of Path
    scene : Path
        STAC item of the image that labels them.
    folder : Path
        For the stores.
    engine : {"serial", "processes", "dask", "spark"}
        Engine, started once for all that is timed (``processes`` starts again each time).
    workers : int
    kinds : sequence of {"labelling", "freeboard"}
    **options
        Options of :func:`is2ice.cluster`, such as ``conf`` of Spark.

    Returns
    -------
    list of Timing
    float
        Seconds of a task that does nothing, handed out among many.
    """
    if engine in ("serial", "processes"):
        how: dict[str, Any] = {"engine": engine, "workers": workers if engine == "processes" else None}
        return _timed(granules, scene, folder, engine, workers, how, 0.0, kinds)
    began = time.perf_counter()
    with engines.cluster({"dask": "local"}.get(engine, engine), workers=workers, **options) as cluster:
        return _timed(
            granules, scene, folder, engine, workers, {"engine": cluster}, time.perf_counter() - began, kinds
        )


def _timed(
    granules: Sequence[Path],
    scene: Path,
    folder: Path,
    engine: str,
    workers: int,
    how: dict[str, Any],
    start: float,
    kinds: Sequence[str],
) -> tuple[list[Timing], float]:
    folder = folder / f"{engine}-{workers}"
    began = time.perf_counter()
    _good(pipeline.run(granules[: 2 * workers], folder / "warm.zarr", **how))
    if "labelling" in kinds:
        _good(
            label_many.label_many(granules[:workers], str(scene), folder / "warml.zarr", drift="none", **how)
        )
    start += time.perf_counter() - began
    segments = folder / "segments.zarr"
    load = _seconds(
        lambda: pipeline.run(granules, segments, options=Options(until="segments"), overwrite="always", **how)
    )
    out = []
    for kind in kinds:
        actions: dict[str, Callable[[], Run]] = {
            "labelling": lambda: label_many.label_many(
                granules,
                str(scene),
                folder / "labels.zarr",
                drift="none",
                overwrite="always",
                **how,
            ),
            "freeboard": lambda: pipeline.run(
                str(segments), folder / "freeboard.zarr", overwrite="always", **how
            ),
        }
        began = time.perf_counter()
        tasks = len(granules) if kind == "labelling" else len(survey(str(segments), None))
        lazy = time.perf_counter() - began
        read = (
            sum(os.stat(p).st_size for p in granules)
            if kind == "labelling"
            else sum(p.stat().st_size for p in segments.rglob("*") if p.is_file())
        )
        seconds = _seconds(actions[kind])
        out.append(Timing(kind, engine, workers, tasks, load, lazy, seconds, start, read=read))
    return out, overhead(how["engine"], how.get("workers"))


def _seconds(action: Callable[[], Run]) -> float:
    began = time.perf_counter()
    _good(action())
    return time.perf_counter() - began


def _good(run: Run) -> None:
    if not run.ok:
        raise RuntimeError(f"the timed run failed: {run.failed[0]['error']}")


def overhead(engine: str | Cluster, workers: int | None = None, tasks: int = 100) -> float:
    """Seconds an engine spends on a task that does nothing, among many, without its start-up.

    Spark is given one task a job, as it is of tasks that do something: several short ones would share a job's cost.
    """
    options: dict[str, Any] = {} if workers is None else {"workers": workers}
    stamps = []
    with _one_a_job() if engines.check(engine) == "spark" else nullcontext():
        for _ in engines.map(nothing, range(tasks + 10), engine, **options):
            stamps.append(time.perf_counter())
    return (stamps[-1] - stamps[9]) / (len(stamps) - 10)


@contextmanager
def _one_a_job() -> Iterator[None]:
    from is2ice.engines import spark

    most, spark.MOST = spark.MOST, 1
    try:
        yield
    finally:
        spark.MOST = most


def bandwidth(folder: Path, megabytes: int = 256) -> float:
    """Bytes a second through the disk (and its cache) of a folder: the slower of writing and reading a file."""
    path = folder / ".bandwidth"
    block = os.urandom(2**20)
    began = time.perf_counter()
    with path.open("wb") as stream:
        for _ in range(megabytes):
            stream.write(block)
        stream.flush()
        os.fsync(stream.fileno())
    written = time.perf_counter() - began
    began = time.perf_counter()
    with path.open("rb", buffering=0) as stream:
        while stream.read(2**20):
            pass
    read = time.perf_counter() - began
    path.unlink()
    return megabytes * 2**20 / max(written, read)


# -- projected ----------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Model:
    """The model above, fitted to measured times of one kind of work on one engine.

    Attributes
    ----------
    work, serial, dispatch : float
        Seconds: of a task, of the run, and of handing out a task.
    task_bytes, bandwidth : float
        Bytes a task moves, and bytes a second.
    """

    work: float
    serial: float
    dispatch: float
    task_bytes: float = 0.0
    bandwidth: float = math.inf

    @classmethod
    def fit(
        cls, workers: Sequence[int], seconds: Sequence[float], tasks: int, dispatch: float, **io: float
    ) -> Model:
        """Least squares over the workers measured; work and serial part are not negative.

        Raises
        ------
        ValueError
            Each number of workers gives as many tasks a worker, so that work and serial part cannot be separated.
        """
        from scipy.optimize import nnls

        if not fits(workers, tasks):
            raise ValueError(
                f"{tasks} tasks on {', '.join(map(str, workers))} workers: times with two or more numbers of workers "
                "are needed to tell the work of a task from what is serial"
            )
        rows = np.array([[math.ceil(tasks / n), 1.0] for n in workers], float)
        (work, serial), _ = nnls(rows, np.maximum(np.array(seconds, float) - tasks * dispatch, 0.0))
        return cls(float(work), float(serial), dispatch, **io)

    def seconds(self, workers: int, tasks: int) -> float:
        """Wall-clock time of a number of tasks on a number of workers."""
        busy = self.serial + tasks * self.dispatch + math.ceil(tasks / workers) * self.work
        return max(busy, tasks * self.task_bytes / self.bandwidth)

    def serial_fraction(self, tasks: int) -> float:
        """Share of the time on one worker that more workers do not shorten."""
        return (self.serial + tasks * self.dispatch) / self.seconds(1, tasks)

    def __str__(self) -> str:
        rate = f"{self.bandwidth / 1e6:,.0f} MB/s" if math.isfinite(self.bandwidth) else "unlimited"
        return (
            f"work {1e3 * self.work:.1f} ms a task, serial {self.serial:.2f} s, dispatch {1e3 * self.dispatch:.2f} ms "
            f"a task, {self.task_bytes / 1e6:.2f} MB a task at {rate}"
        )


def fits(workers: Sequence[int], tasks: int) -> bool:
    """Return True if times with these workers separate the work of a task from the serial part."""
    return len({math.ceil(tasks / n) for n in workers}) > 1


def document(
    timings: Sequence[Timing], models: Mapping[tuple[str, str], Model], *, cores: Sequence[int], tasks: int
) -> dict[str, Any]:
    """Return the content of :func:`tables` for JSON: measured, published and projected times apart, each named so.

    Returns
    -------
    dict
        ``measured`` (rows of :class:`Timing`), ``published`` (kind to cores to load, map and reduce, s), ``model``
        (by kind and engine, with ``serial_fraction`` of the projected archive) and ``projected`` (rows of kind,
        engine, cores, tasks, seconds and gain over one core; ``measured`` is False).
    """
    projected = [
        {
            "kind": kind,
            "engine": engine,
            "cores": n,
            "tasks": tasks,
            "seconds": model.seconds(n, tasks),
            "gain": model.seconds(1, tasks) / model.seconds(n, tasks),
            "measured": False,
        }
        for (kind, engine), model in models.items()
        for n in cores
    ]
    fitted = [
        {"kind": kind, "engine": engine, **asdict(m), "serial_fraction": m.serial_fraction(tasks)}
        for (kind, engine), m in models.items()
    ]
    return {
        "measured": [asdict(t) for t in timings],
        "published": {kind: {str(n): row for n, row in PUBLISHED[kind].items()} for kind in KINDS},
        "model": fitted,
        "projected": projected,
    }


def tables(
    timings: Sequence[Timing], models: Mapping[tuple[str, str], Model], *, cores: Sequence[int], tasks: int
) -> str:
    """Measured and projected times, in the form of the published tables II and V, as plain text.

    Parameters
    ----------
    timings : sequence of Timing
    models : mapping of (kind, engine) to Model
    cores : sequence of int
        To project to.
    tasks : int
        Tasks of the projected archive.
    """
    lines = []
    for kind, number in zip(KINDS, ("II", "V"), strict=True):
        mine = [t for t in timings if t.kind == kind]
        if not mine:
            continue
        lines += [
            f"{kind} (form of Table {number}), {mine[0].tasks} tasks, MEASURED here",
            f"{'engine':10} {'workers':>7} {'load s':>8} {'map s':>7} {'reduce s':>9} {'x load':>7} {'x reduce':>9}"
            f" {'start s':>8}",
        ]
        for t in mine:
            one = next((o for o in mine if (o.engine, o.workers) == (t.engine, 1)), None)
            gain = f"{one.load / t.load:7.2f} {one.reduce / t.reduce:9.2f}" if one else f"{'-':>7} {'-':>9}"
            lines.append(
                f"{t.engine:10} {t.workers:7} {t.load:8.2f} {t.map:7.3f} {t.reduce:9.2f} {gain} {t.start:8.1f}"
            )
        for n, (load, lazy, reduce) in PUBLISHED[kind].items():
            lines.append(
                f"{'published':10} {n:7} {load:8.0f} {lazy:7.1f} {reduce:9.0f}   (1.41 million rows, 15 tracks)"
            )
        if not any(what == kind for what, _ in models):
            lines += [
                "",
                f"{kind}: NOT PROJECTED: that takes two or more numbers of workers (--workers 1 --workers 2)",
                "",
            ]
            continue
        lines += ["", f"{kind}, {tasks:,} tasks, PROJECTED by the model, not measured"]
        lines.append(f"{'engine':10} " + " ".join(f"{f'{n:,} cores':>18}" for n in cores))
        for (what, engine), model in models.items():
            if what == kind:
                cells = [
                    f"{s:,.0f} s ({model.seconds(1, tasks) / s:,.0f}x)"
                    for n in cores
                    if (s := model.seconds(n, tasks))
                ]
                lines.append(f"{engine:10} " + " ".join(f"{cell:>18}" for cell in cells))
                lines.append(
                    f"           fitted: {model}; serial fraction {100 * model.serial_fraction(tasks):.1f} %"
                )
        lines.append("")
    return "\n".join(lines)

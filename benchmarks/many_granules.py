"""One run of many short granules: the driver's memory and open files, and seconds per track, as the run grows.

    python benchmarks/many_granules.py                    # 500 granules on two processes, in a folder
    python benchmarks/many_granules.py --bucket           # into a bucket of a local server of the S3 protocol

The granules are one file under many names. The driver looks at itself whenever 50, 250 and 500 tracks are
written. Time per track is processor time of the driver and its workers, over the tracks since the mark before, since
other programs of the machine change the time on the clock.
"""

import argparse
import contextlib
import os
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / "tests")]

import psutil  # noqa: E402
import services  # noqa: E402  (of the tests)

import is2ice  # noqa: E402
from is2ice.twin.icesat2.flat_beam import write_beam  # noqa: E402
from is2ice.workflows import driver  # noqa: E402
from is2ice.workflows.progress import Bar  # noqa: E402


class Watch(Bar):
    """Looks at this process each time that a number of tracks is finished."""

    def __init__(self, marks: list[int]) -> None:
        self.marks, self.count, self.rows = marks, 0, []
        self.process = psutil.Process()
        self.before = (0, 0.0, 0.0)

    def processor(self) -> tuple[float, float]:
        """Processor seconds of the driver, and of its workers."""
        own = self.process.cpu_times()
        workers = 0.0
        for child in self.process.children(recursive=True):
            with contextlib.suppress(psutil.Error):
                times = child.cpu_times()
                workers += times.user + times.system
        return own.user + own.system, workers

    def finished(self, receipt: object) -> None:
        self.count += 1
        if self.count not in (10, *self.marks):  # the first ten pay for starting and compiling
            return
        n, own, workers = self.before
        now = self.processor()
        each = [(v - b) / (self.count - n) for v, b in zip(now, (own, workers), strict=True)]
        self.before = (self.count, *now)
        memory = self.process.memory_info().rss / 2**20
        self.rows.append((self.count, memory, self.process.num_fds(), threading.active_count(), *each))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--granules", type=int, nargs="+", default=[50, 250, 500])
    parser.add_argument("--engine", default="processes")
    parser.add_argument("--bucket", action="store_true")
    args = parser.parse_args()
    watch = Watch(args.granules)

    @contextlib.contextmanager
    def watched(*_: object):  # type: ignore[no-untyped-def]
        yield watch

    driver.show_progress = watched
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="is2ice-many-")))
        store = str(folder / "s.zarr")
        if args.bucket:
            server = stack.enter_context(services.s3_server("many"))
            os.environ.update(server)
            store = "s3://many/s.zarr"
        one = write_beam(folder / "one" / "beam.h5", 6_000)
        names = []
        for k in range(max(args.granules)):
            names.append(folder / f"ATL03_201911{k // 60 + 10:02}{k % 60:02}0000_0{k:03}0510_006_01.h5")
            names[-1].hardlink_to(one)
        began = time.perf_counter()
        how = {} if args.engine == "serial" else {"workers": 2}
        run = is2ice.run(names, store, engine=args.engine, **how)
        seconds = time.perf_counter() - began
    print(f"{len(run.done)} tracks done, {len(run.failed)} failed, {seconds:.0f} s on {args.engine}")
    print("tracks  driver MiB  open files  threads  driver s/track  workers s/track")
    for n, memory, files, threads, own, workers in watch.rows:
        print(f"{n:6}  {memory:10.1f}  {files:10}  {threads:7}  {own:14.4f}  {workers:15.4f}")
    return 0 if run.ok else 1


if __name__ == "__main__":
    sys.exit(main())

"""Kill workers, drivers, executors and ranks at random moments; compare what remains with an uninterrupted run.

    python benchmarks/kills.py --seed 1                       # 40 kills: worker and driver, folder and bucket
    python benchmarks/kills.py --only dask-driver spark-executor horovod-rank --each 20

A reader in a process of its own opens every track of the store over and over, and compares its values. A killed driver
is resumed; a run that loses a worker must end by itself. A rank that is killed must end its training with an error that
names it within a minute, and the same command must finish it.
"""

import argparse
import contextlib
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "classifiers")]

import services  # noqa: E402  (of the tests)

import is2ice  # noqa: E402
from is2ice.errors import StoreError  # noqa: E402
from is2ice.io.stores import store as stores  # noqa: E402
from is2ice.workflows import run as pipeline  # noqa: E402
from is2ice.workflows import run_record  # noqa: E402

SAMPLE = next((ROOT / "sample_data").glob("ATL03_*.h5"))
KINDS = (
    "worker-folder",
    "worker-bucket",
    "driver-folder",
    "driver-bucket",
    "dask-driver",
    "spark-executor",
    "horovod-rank",
)
#: Seconds in which a run must end or say why it cannot.
MINUTE = 60.0
DRIVER = """
import glob, json, sys, is2ice
if __name__ == "__main__":
    granules, store, how = sorted(glob.glob(sys.argv[1])), sys.argv[2], json.loads(sys.argv[3])
    run = is2ice.run(granules, store, beams=["gt2r"], **how)
    print(run.report())
    sys.exit(not run.ok)
"""
READER = """
import json, select, sys
sys.path[:0] = [sys.argv[1]]
import kills
want, lines = json.loads(open(sys.argv[2]).read()), open(0, "rb", buffering=0)
print("ready", flush=True)
while where := lines.readline().decode().strip():
    looks, wrong = 0, []
    while not select.select([lines], [], [], 0.3)[0]:
        for name, found in kills.contents(where, wrong).items():
            looks += 1
            if want[name] != found:
                wrong.append(f"{name}: other values")
    lines.readline()
    print(json.dumps({"looks": looks, "wrong": wrong}), flush=True)
"""


def contents(where: str, faults: list[str] | None = None) -> dict[str, str]:
    """Checksum of the values of every track in a store; what cannot be opened goes to `faults`, or is raised."""
    try:
        listed = is2ice.open_store(where)
    except StoreError:
        return {}  # not made yet
    out = {}
    for granule, beam in listed.tracks:
        try:
            out[f"{granule}/{beam}"] = stores.checksum(is2ice.open_track(f"{where}/{granule}/{beam}").load())
        except Exception as error:
            if faults is None:
                raise
            faults.append(f"{granule}/{beam}: {type(error).__name__}: {error}")
    return out


def children(pid: int) -> list[int]:
    """All processes below one."""
    found = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True).stdout.split()
    below: dict[int, list[int]] = {}
    for child, parent in zip(map(int, found[::2]), map(int, found[1::2]), strict=True):
        below.setdefault(parent, []).append(child)
    out, waiting = [], [pid]
    while waiting:
        waiting += (more := below.get(waiting.pop(), []))
        out += more
    return out


def command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


@dataclass
class Row:
    """Outcomes of one kind of kill."""

    kind: str
    runs: int = 0
    kills: int = 0
    resumed: int = 0
    clear: int = 0
    same: int = 0
    looks: int = 0
    half: int = 0
    longest: float = 0.0
    notes: list[str] = field(default_factory=list)

    def line(self) -> str:
        numbers = (self.runs, self.kills, self.resumed, self.clear, self.same, self.looks, self.half)
        widths = (5, 6, 9, 12, 10, 8, 6)
        cells = (f"{n:{w}}" for n, w in zip(numbers, widths, strict=True))
        return f"{self.kind:15} {''.join(cells)} {self.longest:9.1f}"


HEAD = "kind             runs kills  resumed clear error same bits   reads  half longest s"


@dataclass
class Bench:
    """Granules, the values of an uninterrupted run, and services."""

    folder: Path
    random: random.Random
    bucket: str = ""
    spark: str = ""
    want: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    number: int = 0
    reading: subprocess.Popen[str] = field(init=False)

    def granules(self, count: int) -> str:
        for k in range(count):
            name = SAMPLE.name.replace("193412", f"19{k // 60:02}{k % 60:02}")
            (self.folder / name).symlink_to(SAMPLE)
        return str(self.folder / "ATL03_*.h5")

    def prepare(self, count: int) -> None:
        """Compute without interruption, and take the time from the beginning of the record."""
        self.pattern = self.granules(count)
        (self.folder / "driver.py").write_text(DRIVER)
        pipeline.run(SAMPLE, self.folder / "warm.zarr", beams=["gt2r"])  # compiles, for all that follow
        with self.driver(str(self.folder / "whole.zarr"), {"engine": "processes", "workers": 2}) as run:
            assert run.wait() == 0, (self.folder / "log.txt").read_text()
        self.seconds = run_record.read(self.folder / "whole.zarr")[1].seconds
        self.want = contents(str(self.folder / "whole.zarr"))
        assert len(self.want) == count
        (self.folder / "want.json").write_text(json.dumps(self.want))

    @contextlib.contextmanager
    def driver(self, where: str, how: dict[str, object]) -> Iterator[subprocess.Popen[str]]:
        command = [sys.executable, str(self.folder / "driver.py"), self.pattern, where, json.dumps(how)]
        with (self.folder / "log.txt").open("w") as log:
            run = subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT, text=True, env=services.environment()
            )
            try:
                yield run
            finally:
                if run.poll() is None:
                    run.kill()
                run.wait()

    def start_reader(self) -> None:
        """Start the process that reads, once for all kills."""
        arguments = [str(ROOT / "benchmarks"), str(self.folder / "want.json")]
        self.reading = subprocess.Popen(
            [sys.executable, "-c", READER, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=services.environment(),
        )
        assert self.said() == "ready"

    def said(self) -> str:
        return self.reading.stdout.readline().strip()  # type: ignore[union-attr]

    def tell(self, line: str) -> None:
        print(line, file=self.reading.stdin, flush=True)

    @contextlib.contextmanager
    def reader(self, where: str, row: Row) -> Iterator[None]:
        """Let the reader look at a store while the block lasts."""
        self.tell(where)
        try:
            yield
        finally:
            self.tell("")
            told = json.loads(self.said())
            row.looks += told["looks"]
            row.half += len(told["wrong"])
            row.notes += told["wrong"][:3]

    def place(self, kind: str) -> str:
        self.number += 1
        return f"{self.bucket if 'bucket' in kind else self.folder}/{kind}-{self.number}.zarr"

    def moment(self, where: str, run: subprocess.Popen[str]) -> None:
        """Wait for a random moment of a run, from its record on."""
        until = time.monotonic() + 120
        while run.poll() is None and time.monotonic() < until:
            with contextlib.suppress(StoreError):
                run_record.last(where)
                break
            time.sleep(0.2)
        time.sleep(self.random.uniform(0.0, self.seconds))


def kill_worker(bench: Bench, kind: str, row: Row) -> None:
    """One worker of a pool, or an executor of Spark with what it runs: the run must complete by itself."""
    spark = kind == "spark-executor"
    how = {"engine": "processes", "workers": 2}
    if spark:
        how = {"engine": "spark", "engine_options": {"master": bench.spark}}  # type: ignore[dict-item]
    where = bench.place(kind)
    with bench.reader(where, row), bench.driver(where, how) as run:  # type: ignore[arg-type]
        bench.moment(where, run)
        pids = children(os.getpid() if spark else run.pid)
        words = "CoarseGrainedExecutorBackend" if spark else "spawn_main"
        victims = [pid for pid in pids if words in command_of(pid)]
        if victims and run.poll() is None:
            os.kill(bench.random.choice(victims), signal.SIGKILL)
            row.kills += 1
        began = time.monotonic()
        code = run.wait(timeout=10 * MINUTE)
        row.longest = max(row.longest, time.monotonic() - began)
    finish(bench, where, row, complete=code == 0)


def kill_driver(bench: Bench, kind: str, row: Row) -> None:
    where = bench.place(kind)
    how = {"engine": "dask" if kind == "dask-driver" else "processes", "workers": 2}
    with bench.reader(where, row):
        with bench.driver(where, how) as run:  # type: ignore[arg-type]
            bench.moment(where, run)
            below = children(run.pid)
            if run.poll() is None:
                run.kill()
                row.kills += 1
            run.wait()
        began = time.monotonic()
        while any(command_of(pid) for pid in below) and time.monotonic() < began + MINUTE:
            time.sleep(0.1)
        left = [command_of(pid)[:60] for pid in below if command_of(pid)]
        row.notes += [f"still there: {one}" for one in left]
        row.longest = max(row.longest, time.monotonic() - began)
        finish(bench, where, row, complete=False)


def finish(bench: Bench, where: str, row: Row, *, complete: bool) -> None:
    """Resume a run that is not complete, and compare its values."""
    if not complete:
        run = pipeline.resume(where, engine="serial")
        row.notes += [r["error"] for r in run.failed][:3]
    row.resumed += 1
    row.same += contents(where) == bench.want


def kill_rank(bench: Bench, kind: str, row: Row) -> None:
    """One of two ranks of a training: an error within a minute, and the same command finishes it."""
    bench.number += 1
    config = bench.folder / "small.toml"
    model = bench.folder / f"model-{bench.number}"
    config.write_text(TRAINING.format(model=model, labelled=bench.folder / "labelled.zarr"))
    command = [sys.executable, "-m", "is2ice", "train", str(config), "--replicas", "2"]
    env = services.environment() | {"OMP_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "2"}
    run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)
    assert run.stdout is not None
    seen = 0
    for line in run.stdout:  # until the first epoch
        seen += "epoch" in line.lower()
        if seen:
            break
    time.sleep(bench.random.uniform(0.0, 3.0))
    ranks = [
        pid
        for pid in children(run.pid)
        if " train " in command_of(pid) and "horovodrun" not in command_of(pid)
    ]
    ranks = [pid for pid in ranks if command_of(pid).startswith(sys.executable)]
    if ranks and run.poll() is None:
        os.kill(bench.random.choice(ranks), signal.SIGKILL)
        row.kills += 1
    began = time.monotonic()
    _, errors = run.communicate(timeout=10 * MINUTE)
    row.longest = max(row.longest, time.monotonic() - began)
    row.clear += run.returncode == 2 and "is2ice: error: training in 2 replicas failed" in errors
    if run.returncode != 0:
        again = subprocess.run(command, capture_output=True, text=True, env=env)
        row.resumed += again.returncode == 0
        row.notes += [] if again.returncode == 0 else [again.stderr[-300:]]
    row.same += (model / "card.json").exists()


TRAINING = """
labelled = "{labelled}"
model = "{model}"
architecture = "mlp"
[data]
split = "scene"
test = 0.25
validation = 0.25
[training]
epochs = 40
patience = 40
"""


def labelled_store(folder: Path) -> None:
    from test_neural import a_track

    from is2ice import schema

    for k, granule in enumerate("ABCD"):
        track = a_track(1500, seed=k, granule=granule)
        stores.write_track(schema.annotate(track), folder / "labelled.zarr")
    stores.consolidate(folder / "labelled.zarr")


def kill(kind: str) -> Callable[[Bench, str, Row], None]:
    return kill_rank if kind == "horovod-rank" else kill_driver if "driver" in kind else kill_worker


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", default=KINDS[:4], choices=KINDS)
    parser.add_argument("--each", type=int, default=10, help="kills of each kind")
    parser.add_argument("--granules", type=int, default=4)
    args = parser.parse_args()
    rows = []
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="is2ice-kills-")))
        env = stack.enter_context(services.s3_server("kills"))
        os.environ.update(env)
        bench = Bench(folder, random.Random(args.seed), "s3://kills")
        bench.prepare(args.granules)
        bench.start_reader()
        stack.callback(bench.reading.kill)
        if "spark-executor" in args.only:
            (folder / "spark").mkdir()
            bench.spark = stack.enter_context(services.spark_standalone(folder / "spark"))
        if "horovod-rank" in args.only:
            labelled_store(folder)
        print(
            f"seed {args.seed}, {args.granules} tracks, {bench.seconds:.1f} s without interruption\n{HEAD}",
            flush=True,
        )
        for kind in args.only:
            rows.append(row := Row(kind))
            while row.kills < args.each and row.runs < 3 * args.each:  # some moments come after the end
                row.runs += 1
                kill(kind)(bench, kind, row)
            print(row.line(), flush=True)
            for note in row.notes[:5]:
                print(f"    {note}")
    digest = hashlib.sha256(json.dumps(bench.want, sort_keys=True).encode()).hexdigest()[:16]
    print(f"values {digest}; {sum(r.kills for r in rows)} kills")
    return 0 if all(r.same == r.runs and r.kills == args.each and not r.half for r in rows) else 1


if __name__ == "__main__":
    sys.exit(main())

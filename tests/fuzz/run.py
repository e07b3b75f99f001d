"""A long run of the fuzzer: ``python tests/fuzz/run.py --cases 2000``, or ``make fuzz``.

Hypothesis draws the edits; a process of its own, with a limit of memory and of time, applies them and reads the result,
so that a crash and a hang are outcomes as well. A table of outcomes is printed, and every bad one is written with its
edits to a file of JSON lines, from which it is repeated by ``--repeat FILE``.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import select
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import edits
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from targets import GOOD, OUTCOMES, SHARES, TARGETS, Target, strategies

#: Seconds of one case, and of the first of a process, which compiles; bytes that a process may take beyond its start.
SECONDS, FIRST, MEMORY = 120.0, 600.0, 4 * 2**30


class Worker:
    """The process that reads changed inputs."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[str] | None = None

    def outcome(self, name: str, change: list[edits.Edit]) -> tuple[str, str]:
        """Outcome of a case; a process that ends or hangs is replaced."""
        fresh = self.process is None
        if self.process is None:
            self.process = subprocess.Popen(
                [sys.executable, __file__, "--work"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps([name, edits.to_json(change)]) + "\n")
        self.process.stdin.flush()
        ready, _, _ = select.select([self.process.stdout], [], [], FIRST if fresh else SECONDS)
        line = self.process.stdout.readline() if ready else ""
        if line:
            found = json.loads(line)
            return found[0], found[1]
        if not ready:
            self.close()
            return "hang", f"no answer within {SECONDS:g} s"
        code = self.process.wait()
        self.process = None
        return "crash", f"the process ended with {code}"

    def close(self) -> None:
        """End the process."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


def work() -> None:
    """Read cases from standard input, and answer each with its outcome."""
    sys.setrecursionlimit(1000)
    with tempfile.TemporaryDirectory() as folder:
        targets: dict[str, Target] = {}
        for line in sys.stdin:
            name, document = json.loads(line)
            target = targets.setdefault(name, Target(name, Path(folder) / name))
            before = target.expected is not None and _peak()
            outcome, said = target.outcome(edits.from_json(document))
            if _peak() - before > MEMORY:
                outcome, said = "memory", f"{(_peak() - before) / 2**30:.1f} GiB"
            print(json.dumps([outcome, said]), flush=True)


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def drawn(cases: int, start: int) -> Iterator[tuple[str, list[edits.Edit]]]:
    """Cases of Hypothesis, the targets by their shares."""
    found: list[tuple[str, list[edits.Edit]]] = []
    with tempfile.TemporaryDirectory() as folder:
        for name, strategy in strategies(Path(folder)).items():
            wanted = max(1, round(cases * SHARES[name] / 100))
            mine: list[list[edits.Edit]] = []

            @seed(start)
            @settings(
                max_examples=wanted,
                database=None,
                deadline=None,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            @given(st.data())
            def draw(data: Any) -> None:
                mine.append(data.draw(strategy))  # noqa: B023  drawn before the next target

            draw()
            found += [(name, change) for change in mine[:wanted]]
    random.Random(start).shuffle(found)  # so that a run that ends early has seen all of them
    return iter(found)


def table(counts: Counter[tuple[str, str]]) -> str:
    """Outcomes by target, as text."""
    lines = ["| input | cases | " + " | ".join(OUTCOMES) + " |", "|---" * (len(OUTCOMES) + 2) + "|"]
    for name in (*TARGETS, "all"):
        row = [
            sum(n for (t, o), n in counts.items() if o == outcome and name in (t, "all"))
            for outcome in OUTCOMES
        ]
        lines.append(f"| {name} | {sum(row)} | " + " | ".join(map(str, row)) + " |")
    return "\n".join(lines)


def main() -> int:
    """Run, print the table; 1 where any outcome is bad."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bad", type=Path, default=Path("build/fuzz.jsonl"))
    parser.add_argument("--repeat", type=Path)
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work:
        work()
        return 0
    worker, counts = Worker(), Counter[tuple[str, str]]()
    if args.repeat is not None:
        lines = [json.loads(line) for line in args.repeat.read_text().splitlines()]
        cases = iter([(one["target"], edits.from_json(one["edits"])) for one in lines])
    else:
        cases = drawn(args.cases, args.seed)
    args.bad.parent.mkdir(parents=True, exist_ok=True)
    bad = []
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        for k, (name, change) in enumerate(cases):
            outcome, said = worker.outcome(name, change)
            counts[name, outcome] += 1
            if outcome not in GOOD:
                bad.append({"target": name, "outcome": outcome, "said": said, "edits": edits.to_json(change)})
                args.bad.write_text("".join(json.dumps(one) + "\n" for one in bad))
            if k % 100 == 99:
                print(f"{k + 1} cases, {len(bad)} bad", flush=True)
    except KeyboardInterrupt:
        print("ended early")
    worker.close()
    print(table(counts))
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main())

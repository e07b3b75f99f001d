"""Run a command of the validation page and keep what it prints, with commit, date, machine and load.

    python docs/measure.py python benchmarks/closed_loop.py
    python docs/measure.py is2ice products sample_data/ATL10-02_20191116193412_07410501_006_01.h5

The output goes to ``docs/measured/``, from where the page takes it.
"""

from __future__ import annotations

import os
import platform
import re
import shlex
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
KEPT = ROOT / "docs" / "measured"


def file_of(command: str) -> Path:
    """Return the file that keeps the output of a command."""
    return KEPT / (re.sub(r"\W+", "_", command).strip("_")[:80] + ".txt")


def measure(words: list[str]) -> Path:
    """Run a command from the root of the checkout; keep a head of four lines, and its output.

    Raises
    ------
    RuntimeError
        The command failed.
    """
    own = {"python": [sys.executable], "is2ice": [sys.executable, "-m", "is2ice"]}
    load, start = os.getloadavg()[0], time.perf_counter()
    done = subprocess.run([*own[words[0]], *words[1:]], capture_output=True, text=True, cwd=ROOT)
    if done.returncode:
        raise RuntimeError(f"{shlex.join(words)}: ended with {done.returncode}:\n{done.stderr[-2000:]}")
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=ROOT)
    head = [
        f"$ {shlex.join(words)}",
        f"commit {commit.stdout.strip()}, {datetime.now(UTC):%Y-%m-%d}, {time.perf_counter() - start:.0f} s",
        f"{platform.machine()}, {os.cpu_count()} cores, load {load:.1f} at the start, "
        f"Python {platform.python_version()}",
        "",
    ]
    KEPT.mkdir(exist_ok=True)
    kept = file_of(shlex.join(words))
    kept.write_text("\n".join([*head, done.stdout.rstrip(), ""]))
    return kept


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in ("python", "is2ice"):
        raise SystemExit("usage: python docs/measure.py {python FILE|is2ice COMMAND} ...")
    print(measure(sys.argv[1:]))

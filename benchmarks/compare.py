"""Two measurements of benchmarks/run.py side by side: which task became slower, by its ratio to its yardstick.

    python benchmarks/compare.py BEFORE.json AFTER.json [--slower 1.15]
    python benchmarks/compare.py v0.9 HEAD --only start_up --only maps

Each of the two is a file of results, or a commit, which is then checked out apart and measured here (by the run.py
that it holds). Exits with 1 where a ratio grew by more than `--slower`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


def results(given: str, only: list[str]) -> dict[str, Any]:
    """Results in a file, or of a commit."""
    if Path(given).is_file():
        return json.loads(Path(given).read_text())
    with tempfile.TemporaryDirectory() as folder:
        tree, out = Path(folder) / "tree", Path(folder) / "bench.json"
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "--detach", str(tree), given], check=True, capture_output=True)
        try:
            sections = [word for name in only for word in ("--only", name)]
            words = [sys.executable, "benchmarks/run.py", "--out", str(out), *sections]
            env = os.environ | {"PYTHONPATH": str(tree)}
            subprocess.run(words, check=True, cwd=tree, env=env, stdout=sys.stderr)
        finally:
            subprocess.run([*git, "remove", "--force", str(tree)], check=True)
        return json.loads(out.read_text())


def main() -> int:
    """Print both ratios of each task that both hold."""
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    options.add_argument("before", help="file of results, or commit")
    options.add_argument("after", help="file of results, or commit")
    options.add_argument(
        "--only", action="append", default=[], help="section to measure of a commit; all by default"
    )
    options.add_argument("--slower", type=float, default=1.15)
    given = options.parse_args()
    before, after = (results(name, given.only) for name in (given.before, given.after))
    old = {(row["task"], row["of"]): row["ratio"] for row in before["rows"]}
    worse = 0
    print(f"{'':<44}{before['before']['commit']:>14}{after['before']['commit']:>14}{'change':>9}")
    for row in after["rows"]:
        if (first := old.get((row["task"], row["of"]))) is None:
            continue
        change = row["ratio"] / first
        worse += change > given.slower
        print(f"{row['task']:<44}{first:>14.2f}{row['ratio']:>14.2f}{change:>9.2f}")
    return int(worse > 0)


if __name__ == "__main__":
    raise SystemExit(main())

"""Two measurements of benchmarks/run.py side by side: which task became slower, by its ratio to its yardstick.

    python benchmarks/compare.py BEFORE.json AFTER.json [--slower 1.15]

Exits with 1 where a ratio grew by more than `--slower`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path


def main() -> int:
    """Print both ratios of each task that both files hold."""
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    options.add_argument("before", type=Path)
    options.add_argument("after", type=Path)
    options.add_argument("--slower", type=float, default=1.15)
    given = options.parse_args()
    before, after = (json.loads(path.read_text()) for path in (given.before, given.after))
    old = {(row["section"], row["task"]): row["ratio"] for row in before["rows"]}
    worse = 0
    print(f"{'':<44}{before['before']['commit']:>14}{after['before']['commit']:>14}{'change':>9}")
    for row in after["rows"]:
        if (first := old.get((row["section"], row["task"]))) is None:
            continue
        change = row["ratio"] / first
        worse += change > given.slower
        print(f"{row['task']:<44}{first:>14.2f}{row['ratio']:>14.2f}{change:>9.2f}")
    return int(worse > 0)


if __name__ == "__main__":
    raise SystemExit(main())

"""Parts that engines share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

__all__ = ["Pairs", "Unreachable", "count", "cpus"]

#: What an engine yields: items and their outcomes.
Pairs = Iterator[tuple[Any, Any]]


class Unreachable(ConnectionError, ValueError):
    """No scheduler, Gateway or master at the address given."""


def cpus() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def count(workers: int | None) -> int:
    """Return the number of workers asked for; by default one per core."""
    if workers is None:
        return cpus()
    if workers < 1:
        raise ValueError(f"workers={workers}: expected at least one")
    return workers

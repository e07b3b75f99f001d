"""Names that all engines use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

__all__ = ["Pairs", "Unreachable", "count", "cpus"]

#: Items and their outcomes, as engines yield them.
Pairs = Iterator[tuple[Any, Any]]


class Unreachable(ConnectionError, ValueError):
    """No scheduler, Gateway or master answers at an address."""


def cpus() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def count(workers: int | None) -> int:
    """Return a number of workers: all cores by default."""
    if workers is None:
        return cpus()
    if workers < 1:
        raise ValueError(f"workers={workers}: expected at least one")
    return workers

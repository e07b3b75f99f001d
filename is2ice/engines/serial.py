"""The serial engine: one item after another, in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ._common import Pairs
from ._shared import hold

__all__ = ["serial"]


def serial(
    attempt: Callable[[Any], Any],
    items: Iterable[Any],
    *,
    shared: Mapping[str, bytes],
    workers: int | None = None,
) -> Pairs:
    """Apply a function to one item after another."""
    if workers not in (None, 1):
        raise ValueError(f"the serial engine has one worker, not {workers}; use engine='processes' or 'dask'")
    hold(shared)
    for item in items:
        yield item, attempt(item)

"""The serial engine: one item after another, in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ._common import Pairs

__all__ = ["serial"]


def serial(attempt: Callable[[Any], Any], items: Iterable[Any], *, workers: int | None = None) -> Pairs:
    if workers not in (None, 1):
        raise ValueError(f"the serial engine has one worker, not {workers}; use engine='processes' or 'dask'")
    for item in items:
        yield item, attempt(item)

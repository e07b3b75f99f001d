"""Bytes that the items of a job have in common, sent to each worker once: a trained model, for example."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Sharing", "hold", "shared"]

#: Objects that a process keeps, by key; the oldest go first.
_held: dict[str, bytes] = {}
_lock = threading.Lock()
#: Number of objects that a process keeps at most.
MOST = 64


def hold(objects: Mapping[str, bytes]) -> None:
    """Keep objects in this process."""
    with _lock:
        for key, data in objects.items():
            if _held.get(key) is not data:
                _held.pop(key, None)
                _held[key] = data
        for key in list(_held)[:-MOST]:
            del _held[key]


def shared(key: str) -> bytes | None:
    """Return an object that came with the job of this worker; None if there is none under this key."""
    return _held.get(key)


@dataclass(frozen=True)
class Sharing:
    """A function of items that first keeps the objects of the job.

    Attributes
    ----------
    fn : callable
        Function of one item.
    objects : mapping, or callable
        The objects, or a function that gives them on the worker.
    """

    fn: Callable[[Any], Any]
    objects: Any = field(repr=False)

    def __call__(self, item: Any) -> Any:
        hold(self.objects() if callable(self.objects) else self.objects)
        return self.fn(item)

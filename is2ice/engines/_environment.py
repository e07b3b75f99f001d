"""Environment variables that go to a worker with an item, with their values at the time of sending."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Carry", "Environment"]


@dataclass(frozen=True)
class Environment:
    """An item with environment variables that its worker sets; neither repr nor str shows their values."""

    item: Any
    _variables: Mapping[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, item: Any, variables: Mapping[str, str]) -> Environment:
        """Join an item with variables."""
        return cls(item, dict(variables))

    def __str__(self) -> str:
        return str(self.item)

    def open(self) -> Any:
        """Set the variables in this process, and return the item."""
        os.environ.update(self._variables)
        return self.item


@dataclass(frozen=True)
class Carry:
    """A function of items, applied to :class:`Environment`."""

    fn: Callable[[Any], Any]

    def __call__(self, carried: Environment) -> Any:
        return self.fn(carried.open())

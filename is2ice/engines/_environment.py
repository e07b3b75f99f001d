"""What goes to a worker beside an item: environment variables, as they are when the item is sent."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Carry", "Environment"]


@dataclass(frozen=True)
class Environment:
    """An item and environment variables that its worker sets. Neither repr nor str shows their values."""

    item: Any
    _variables: Mapping[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, item: Any, variables: Mapping[str, str]) -> Environment:
        return cls(item, dict(variables))

    def __str__(self) -> str:
        return str(self.item)

    def open(self) -> Any:
        """The item, once its variables are set in this process."""
        os.environ.update(self._variables)
        return self.item


@dataclass(frozen=True)
class Carry:
    """A function of items as a function of :class:`Environment`."""

    fn: Callable[[Any], Any]

    def __call__(self, carried: Environment) -> Any:
        return self.fn(carried.open())

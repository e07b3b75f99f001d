"""Loops that numba compiles at their first call: to import numba takes a third of a second."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import update_wrapper
from threading import RLock
from typing import Any

__all__ = ["njit"]

#: Held while a loop takes its compiled form, by one thread at a time; a loop may compile the ones that it calls.
_COMPILING = RLock()


class _Loop:
    """A loop in Python that stands in the place of its compiled form until the first call."""

    def __init__(self, function: Callable[..., Any], options: dict[str, Any]) -> None:
        update_wrapper(self, function)
        self._function, self._options = function, options
        self._compiled: Callable[..., Any] | None = None

    def __call__(self, *args: Any, **named: Any) -> Any:
        return (self._compiled or self.compile())(*args, **named)

    def compile(self) -> Callable[..., Any]:
        """Hand the loop, and first the loops that it calls, to numba; put them into their modules' names."""
        import numba

        with _COMPILING:
            if self._compiled is not None:
                return self._compiled
            names = self._function.__globals__
            for name in self._function.__code__.co_names:
                if isinstance(loop := names.get(name), _Loop):
                    names[name] = loop.compile()
            self._compiled = numba.njit(**self._options)(self._function)
            home = vars(sys.modules[self._function.__module__])
            if home.get(self._function.__name__) is self:
                home[self._function.__name__] = self._compiled
            return self._compiled


def njit(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Decorate a loop as ``numba.njit`` does, and import numba at its first call.

    Parameters
    ----------
    **options
        Options of ``numba.njit``, such as ``cache`` and ``nogil``.
    """
    return lambda function: _Loop(function, options)

"""Faults of an archive on demand: delays, refusals, stalls, cut and changed answers."""

from __future__ import annotations

import threading
from typing import Any

__all__ = ["KINDS", "Faults"]

#: ``status`` answers with another status; ``stall`` stops in the middle for a while; ``reset`` cuts the
#: connection before any answer; ``short`` in the middle of one; ``changed`` gives another entity tag;
#: ``truncated`` states a smaller size; ``expired`` refuses whoever asks with the credentials ``key``.
KINDS = ("status", "stall", "reset", "short", "changed", "truncated", "expired")


class Faults:
    """Which requests go wrong, and how.

    A plan is a list of ``{"kind": ..., "skip": 0, "count": 1, "status": 500, "seconds": 5.0, "key": ""}``: the
    fault befalls `count` requests (None: all that follow) after `skip` more have passed untouched.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.latency, self.validators = 0.0, True
        self._plan: list[dict[str, Any]] = []

    def set(self, document: dict[str, Any]) -> None:
        """Replace delays and plan: ``{"latency": seconds, "validators": bool, "plan": [...]}``.

        Raises
        ------
        ValueError
            An unknown kind.
        """
        plan = [
            {"skip": 0, "count": 1, "status": 500, "seconds": 5.0, "key": "", **one}
            for one in document.get("plan", [])
        ]
        for one in plan:
            if one.get("kind") not in KINDS:
                raise ValueError(f"fault {one.get('kind')!r}: expected one of {', '.join(KINDS)}")
        with self._lock:
            self.latency = float(document.get("latency", 0.0))
            self.validators = bool(document.get("validators", True))
            self._plan = plan

    def next(self) -> dict[str, Any]:
        """Return the fault to apply to this request; empty for none."""
        with self._lock:
            for one in self._plan:
                if one["skip"] > 0:
                    one["skip"] -= 1
                    return {}
                if one["count"] is None:
                    return one
                if one["count"] > 0:
                    one["count"] -= 1
                    return one
            return {}

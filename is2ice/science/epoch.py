"""The epoch of ICESat-2 (2018-01-01) and conversions from and to it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np

__all__ = ["EPOCH", "delta_time", "iso_time", "now"]

EPOCH = np.datetime64("2018-01-01T00:00:00", "ns")


def delta_time(value: Any) -> float:
    """Seconds since 2018-01-01 of a UTC time, or of what already is such a number."""
    if isinstance(value, int | float | np.floating | np.integer):
        return float(value)
    stamp = np.datetime64(str(value).replace("Z", ""), "ns")
    return float((stamp - EPOCH) / np.timedelta64(1, "s"))


def now() -> str:
    """This moment, UTC, ISO 8601."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def iso_time(delta_time: float) -> str:
    """Seconds since 2018-01-01 as UTC, ISO 8601."""
    return f"{EPOCH.astype('datetime64[us]') + np.timedelta64(round(delta_time * 1e6), 'us')}Z"

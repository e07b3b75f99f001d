"""The melt season of Arctic sea ice, by day of the year and latitude."""

from __future__ import annotations

import numpy as np
import xarray as xr

__all__ = ["in_season"]

#: Days of the year, and latitude, degrees north.
FIRST_DAY, LAST_DAY, NORTH_OF = 152, 258, 60.0


def in_season(segments: xr.Dataset) -> bool:
    """Return True for a track of the Arctic summer, and False where time or place is not known."""
    if not {"delta_time", "latitude"} <= set(segments.variables):
        return False
    time, latitude = (np.asarray(segments[n].values, "f8") for n in ("delta_time", "latitude"))
    known = np.isfinite(time) & np.isfinite(latitude)
    if not known.any():
        return False
    date = np.datetime64("2018-01-01") + np.timedelta64(int(np.median(time[known])), "s")
    day = int((date - date.astype("datetime64[Y]")) / np.timedelta64(1, "D")) + 1
    return bool(FIRST_DAY <= day <= LAST_DAY and np.median(latitude[known]) > NORTH_OF)

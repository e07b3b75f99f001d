"""Plain tables of other instruments: airborne lidar, upward-looking sonar, radar altimeter.

Every reader gives a Dataset with dim ``point``: ``time`` (datetime64, UTC), ``latitude``, ``longitude`` (degrees,
WGS84) and one or more of ``height`` (m above the ellipsoid), ``freeboard`` (m, snow included), ``radar_freeboard`` (m)
and ``draft`` (m), with ``uncertainty`` (m) where the table gives one. Columns that a table lacks are absent.

Layouts read:

- airborne, ATM L2 (ILATM2): comment lines ``#``, then ``UTC_Seconds_Of_Day, Latitude(deg), Longitude(deg),
  WGS84_Ellipsoid_Height(m), South-to-North_Slope, West-to-East_Slope, RMS_Fit(cm), ...``; the file's name has the date;
- any table with a first line of names: ``time`` (ISO 8601) or ``delta_time`` (s since 2018-01-01), ``latitude``,
  ``longitude``, and ``height``, ``freeboard`` or ``draft``, ``uncertainty``; names of ATL10 (``beam_fb_height``,
  ``beam_fb_unc``) and of CryoSat-2 tables (``lat``, ``lon``, ``radar_freeboard``) are understood;
- mooring (BGEP ULS): comment lines ``%``, then ``yyyymmdd hhmmss draft``; the position is given by the caller.

Values that no ice or sea has, such as -999 where there is none, are absent; ``attrs["impossible"]`` counts them, and
``attrs["dropped"]`` the rows without time or position.
"""

from __future__ import annotations

import os
import re
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from is2ice.errors import Is2IceError

__all__ = ["TableError", "read_atm", "read_mooring", "read_points"]

#: Names of columns in other tables, and ours.
NAMES = {
    "lat": "latitude",
    "lon": "longitude",
    "elevation": "height",
    "h": "height",
    "fb": "freeboard",
    "beam_fb_height": "freeboard",
    "beam_fb_unc": "uncertainty",
    "sigma": "uncertainty",
    "freeboard_uncertainty": "uncertainty",
    "radar_freeboard_uncertainty": "uncertainty",
    "utc": "time",
}
#: Variables of a table, and the range of what ice or sea can have, m.
RANGES = {
    "height": (-200.0, 9000.0),
    "freeboard": (-5.0, 50.0),
    "radar_freeboard": (-10.0, 50.0),
    "draft": (-5.0, 100.0),
}
VALUES = tuple(RANGES)
_ATM = ("seconds", "latitude", "longitude", "height", "slope_north", "slope_east", "rms_cm")


class TableError(Is2IceError, ValueError):
    """A table of another instrument cannot be read."""


def read_points(path: str | os.PathLike[str]) -> xr.Dataset:
    """Read a table with named columns; see the module.

    Raises
    ------
    TableError
        A column is missing or stands twice, a time cannot be read, or a position lies outside the globe.
    """
    table = _table(path, comment="#")
    table = table.rename(columns={c: NAMES.get(c.strip().lower(), c.strip().lower()) for c in table.columns})
    if doubled := [str(name) for name in table.columns[table.columns.duplicated()]]:
        raise TableError(f"{path}: more than one column means {', '.join(doubled)}; leave one of them")
    if "time" not in table and "delta_time" in table:
        table["time"] = pd.Timestamp("2018-01-01") + pd.to_timedelta(table["delta_time"], unit="s")
    missing = [n for n in ("time", "latitude", "longitude") if n not in table]
    if str(table.columns[0]).startswith("%"):
        raise TableError(f"{path}: looks like the table of a mooring; give its position with --at LAT LON")
    if missing or not any(v in table for v in VALUES):
        raise TableError(
            f"{path}: lacks {', '.join(missing) or ' or '.join(VALUES)}; expected the columns time (or delta_time), "
            f"latitude, longitude and {', '.join(VALUES)}, got {', '.join(map(str, table.columns))}"
        )
    return _points(table, path)


def read_atm(path: str | os.PathLike[str]) -> xr.Dataset:
    """Read an ATM L2 (ILATM2) table, whose name holds the date of the flight.

    Raises
    ------
    TableError
        No date in the name, or another layout.
    """
    date = re.search(r"ILATM2_(\d{8})_", Path(path).name)
    if date is None:
        raise TableError(f"{path}: expected a name such as ILATM2_20191104_193000_smooth_nadir3seg_50pt.csv")
    table = _table(path, comment="#", header=None)
    if table.shape[1] < len(_ATM):
        raise TableError(f"{path}: expected at least {len(_ATM)} columns of ATM L2, got {table.shape[1]}")
    table = table.iloc[:, : len(_ATM)].set_axis(list(_ATM), axis="columns")
    table["time"] = pd.Timestamp(date[1]) + pd.to_timedelta(table["seconds"], unit="s")
    table["longitude"] = (table["longitude"] + 180.0) % 360.0 - 180.0
    table["uncertainty"] = table["rms_cm"] / 100.0
    return _points(table, path)


def read_mooring(path: str | os.PathLike[str], latitude: float, longitude: float) -> xr.Dataset:
    """Read ice draft of an upward-looking sonar at a fixed place.

    Parameters
    ----------
    path : path
    latitude, longitude : float
        Position of the mooring, degrees.

    Raises
    ------
    TableError
        Another layout.
    """
    table = _table(path, comment="%", header=None, sep=r"\s+|,", engine="python", dtype=str)
    if table.shape[1] < 3:
        raise TableError(f"{path}: expected yyyymmdd hhmmss draft, got {table.shape[1]} columns")
    stamp = table[0].str.strip() + table[1].str.strip().str.zfill(6)
    out = pd.DataFrame({"draft": pd.to_numeric(table[2], errors="coerce")})
    out["time"] = pd.to_datetime(stamp, format="%Y%m%d%H%M%S", errors="coerce")
    return _points(out.assign(latitude=float(latitude), longitude=float(longitude)), path)


def _table(path: str | os.PathLike[str], **how: object) -> pd.DataFrame:
    try:
        return pd.read_csv(path, skipinitialspace=True, **how)  # type: ignore[call-overload,no-any-return]
    except OSError as error:
        raise TableError(f"{path}: {error.strerror or error}; expected a table of text (CSV)") from error
    except (
        pd.errors.ParserError,
        pd.errors.EmptyDataError,
        UnicodeDecodeError,
        EOFError,
        zlib.error,
    ) as error:
        raise TableError(f"{path}: not a table ({error})") from error


def _points(table: pd.DataFrame, path: str | os.PathLike[str]) -> xr.Dataset:
    """Check positions and times, and order by time."""
    table = table.copy()
    table["time"] = pd.to_datetime(table["time"], utc=True, errors="coerce").dt.tz_localize(None)
    names = [n for n in (*VALUES, "uncertainty") if n in table]
    numbers = table[["latitude", "longitude", *names]].apply(pd.to_numeric, errors="coerce")
    good = table["time"].notna() & numbers[["latitude", "longitude"]].notna().all(axis=1)
    if not good.any():
        raise TableError(f"{path}: no row with a time and a position")
    numbers, time = numbers[good], table["time"][good]
    wrong = (numbers["latitude"].abs() > 90) | (numbers["longitude"].abs() > 360)
    if wrong.any():
        raise TableError(
            f"{path}: {int(wrong.sum())} positions outside the globe; are latitude and longitude swapped?"
        )
    impossible = pd.Series(False, numbers.index)
    for name, (low, high) in RANGES.items():
        if name in numbers:
            out = numbers[name].notna() & ~numbers[name].between(low, high)
            numbers.loc[out, name], impossible = np.nan, impossible | out
    order = np.argsort(time.to_numpy("M8[ns]"), kind="stable")
    data = {"time": ("point", time.to_numpy("M8[ns]")[order])}
    units = {"latitude": "degrees_north", "longitude": "degrees_east"}
    data |= {n: ("point", numbers[n].to_numpy(float)[order], {"units": units.get(n, "m")}) for n in numbers}
    counts = {"dropped": int((~good).sum()), "impossible": int(impossible.sum())}
    return xr.Dataset(data, attrs={"source": Path(path).name, **counts})

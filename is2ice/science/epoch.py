"""Times: the one parser of what a user or a file calls a time, and the epoch of ICESat-2 (2018-01-01).

Text is ISO 8601, extended (``2019-11-16T19:34``) or basic (``20191116T193412``), of a day, a month or an instant,
with or without a zone (UTC is meant where there is none). Dates, datetimes, pandas and NumPy times are taken as
they are, and numbers as seconds since 2018. The end of a span that is given as a day or month is the end of it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import numpy as np

from is2ice.schema import EPOCH_DATE, EPOCH_TIME

__all__ = [
    "EPOCH",
    "EPOCH_DATETIME",
    "EPOCH_DAY",
    "delta_time",
    "instant",
    "iso_time",
    "now",
    "span",
    "stamp",
]

EPOCH = EPOCH_TIME
#: The same as a day.
EPOCH_DAY = EPOCH.astype("datetime64[D]")
#: The same as a naive datetime, UTC.
EPOCH_DATETIME = datetime.fromisoformat(EPOCH_DATE)
EXPECTED = "expected UTC such as 2019-11-04, 20191104T195947 or 2019-11-04T19:59:47Z, or seconds since 2018"
#: Years that a time may lie in: all satellites concerned, with room to simulate.
YEARS = range(1980, 2101)
#: Largest number that is taken for seconds since 2018 (the year 2049); larger ones count from 1970 or 1980.
LATEST = 1e9
#: Shortest step that seconds since 2018 resolve in double precision throughout the mission.
TICK = np.timedelta64(1, "us")
_TEXT = re.compile(
    r"(?P<y>\d{4})(?:-(?P<m>\d\d)(?:-(?P<d>\d\d))?|(?P<m2>\d\d)(?P<d2>\d\d))"
    r"(?:[T ]?(?P<H>\d\d)(?::?(?P<M>\d\d)(?::?(?P<S>\d\d)(?:[.,](?P<f>\d+))?)?)?"
    r" ?(?P<z>Z|UTC|[+-]\d\d(?::?\d\d)?)?)?",
    re.IGNORECASE | re.ASCII,
)


def instant(value: Any, *, end: bool = False) -> np.datetime64:
    """Parse a time.

    Parameters
    ----------
    value : str, date, datetime, pandas.Timestamp, numpy.datetime64, or number
        A number is seconds since 2018 (``delta_time``).
    end : bool
        The value ends a span: a day or month then means its last microsecond.

    Returns
    -------
    numpy.datetime64[ns]
        UTC.

    Raises
    ------
    ValueError
        Not a time, no such day or hour, out of range, or ambiguous.
    """
    try:
        first, after = _period(value)
    except (ValueError, OverflowError, TypeError) as error:
        why = str(error)
        raise ValueError(f"time {value!r}: {why + '; ' if why else ''}{EXPECTED}") from None
    return after - TICK if end and after is not None else first


def span(time: Any) -> tuple[np.datetime64, np.datetime64]:
    """Parse a span of time: ``(start, end)``, in which an end given as a day includes that day.

    Raises
    ------
    ValueError
        Not two times, one that cannot be read, or an end before the start.
    """
    if isinstance(time, str | bytes | Mapping) or not hasattr(time, "__len__") or len(time) != 2:
        raise ValueError(f"time={time!r}: expected two times, (start, end)")
    start, stop = instant(time[0]), instant(time[1], end=True)
    if stop < start:
        raise ValueError(f"time=({time[0]}, {time[1]}): the end lies before the start; expected (start, end)")
    return start, stop


def delta_time(value: Any, *, end: bool = False) -> float:
    """Seconds since 2018-01-01 of a UTC time, or of a number that already is such a time.

    Raises
    ------
    ValueError
        As :func:`instant`.
    """
    return float((instant(value, end=end) - EPOCH) / np.timedelta64(1, "s"))


def stamp(time: np.datetime64, unit: str = "s") -> str:
    """Write a UTC time as ISO 8601 with its zone, cut to a unit (``"s"``, ``"ms"``)."""
    return f"{np.datetime_as_string(time, unit=unit)}Z"  # type: ignore[call-overload]


def now() -> str:
    """Return the present moment, UTC, ISO 8601."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def iso_time(delta_time: float) -> str:
    """Seconds since 2018-01-01 as UTC, ISO 8601."""
    return f"{EPOCH.astype('datetime64[us]') + np.timedelta64(round(delta_time * 1e6), 'us')}Z"


def _period(value: Any) -> tuple[np.datetime64, np.datetime64 | None]:
    """Beginning of a time and, of a day or month, the beginning of the next."""
    if getattr(value, "ndim", None) == 0 and hasattr(value, "dtype"):  # such as ds.time[0]
        value = np.asarray(value)[()]
    if isinstance(value, str):
        return _of_text(value.strip())
    if isinstance(value, np.datetime64):
        return _of_numpy(value)
    if isinstance(value, datetime):  # pandas.Timestamp is one
        if value != value:
            raise ValueError("not a time")
        _check_year(value.year)
        moment = value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value
        exact = moment.to_datetime64() if hasattr(moment, "to_datetime64") else np.datetime64(moment)
        return exact.astype("datetime64[ns]"), None
    if isinstance(value, date):
        return _day(value.year, value.month, value.day)
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.integer | np.floating):
        raise ValueError("")
    return _of_number(float(value)), None


def _of_number(seconds: float) -> np.datetime64:
    if not np.isfinite(seconds):
        raise ValueError("not finite")
    # A day written as a number, 20191117, would be 2018-08-22: before the first data of the mission.
    if seconds.is_integer() and re.fullmatch(
        r"(19|20|21)\d\d(0[1-9]|1[0-2])([0-2]\d|3[01])", f"{seconds:.0f}"
    ):
        raise ValueError(f"ambiguous: a day is written '{seconds:.0f}', as text")
    if abs(seconds) > LATEST:
        raise ValueError("out of range; is it counted from 1970 or 1980, and not from 2018?")
    return EPOCH + np.timedelta64(round(seconds * 1e9), "ns")


def _of_numpy(value: np.datetime64) -> tuple[np.datetime64, np.datetime64 | None]:
    if np.isnat(value):
        raise ValueError("not a time")
    unit = np.datetime_data(value.dtype)[0]
    _check_year(int(value.astype("datetime64[Y]").astype(int)) + 1970)
    following = (value + 1).astype("datetime64[ns]") if unit in ("Y", "M", "W", "D") else None
    return value.astype("datetime64[ns]"), following


def _of_text(text: str) -> tuple[np.datetime64, np.datetime64 | None]:
    found = _TEXT.fullmatch(text)
    if found is None:
        raise ValueError("")
    year, month = int(found["y"]), int(found["m"] or found["m2"])
    day = found["d"] or found["d2"]
    if day is None:
        if found["H"]:
            raise ValueError("a month has no hour")
        nextone = (year + month // 12, month % 12 + 1)
        return _day(year, month, 1)[0], _day(*nextone, 1)[0]
    if not found["H"]:
        return _day(year, month, int(day))
    _check_year(year)
    moment = datetime(year, month, int(day), int(found["H"]), int(found["M"] or 0), int(found["S"] or 0))
    moment = moment.replace(tzinfo=_zone(found["z"])).astimezone(UTC).replace(tzinfo=None)
    fraction = np.timedelta64(int((found["f"] or "0")[:9].ljust(9, "0")), "ns")
    return np.datetime64(moment, "ns") + fraction, None


def _zone(text: str | None) -> timezone:
    if not text or text.upper() in ("Z", "UTC"):
        return UTC
    digits = text[1:].replace(":", "").ljust(4, "0")
    offset = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    return timezone(-offset if text[0] == "-" else offset)


def _day(year: int, month: int, day: int) -> tuple[np.datetime64, np.datetime64]:
    _check_year(year)
    first = np.datetime64(date(year, month, day), "ns")
    return first, first + np.timedelta64(1, "D")


def _check_year(year: int) -> None:
    """Refuse years that the clock of nanoseconds would take for others, before it is used."""
    if year not in YEARS:
        raise ValueError(f"the year {year} is out of range ({YEARS[0]} to {YEARS[-1]})")

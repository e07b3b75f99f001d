"""Times and areas: every way to write one, and what is refused."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from is2ice.science.area import box_of, box_shape, in_box
from is2ice.science.epoch import delta_time, instant, span, stamp

NOON = np.datetime64("2019-11-16T12:00:00", "ns")
DAY = np.datetime64("2019-11-16T00:00:00", "ns")
LAST = np.datetime64("2019-11-16T23:59:59.999999", "ns")


@pytest.mark.parametrize(
    "value",
    [
        "2019-11-16T12:00:00Z",
        "2019-11-16T12:00",
        "2019-11-16 12:00:00",
        "20191116T120000Z",
        "20191116T12",
        "20191116120000",
        "2019-11-16T13:00:00+01:00",
        "2019-11-16T11:30-0030",
        "2019-11-16T12:00:00.000Z",
        " 2019-11-16T12:00:00 UTC",
        datetime(2019, 11, 16, 12),
        datetime(2019, 11, 16, 13, tzinfo=timezone(timedelta(hours=1))),
        pd.Timestamp("2019-11-16 12:00"),
        pd.Timestamp("2019-11-16 12:00", tz="UTC"),
        np.datetime64("2019-11-16T12:00"),
        59140800,
        59140800.0,
        np.float64(59140800.0),
    ],
)
def test_every_way_to_write_an_instant(value):
    assert instant(value) == instant(value, end=True) == NOON
    assert delta_time(value) == 59140800.0


@pytest.mark.parametrize("value", ["2019-11-16", "20191116", date(2019, 11, 16), np.datetime64("2019-11-16")])
def test_a_day_begins_at_midnight_and_ends_before_the_next(value):
    assert instant(value) == DAY
    assert instant(value, end=True) == LAST
    assert span((value, value)) == (DAY, LAST)


def test_a_month_a_midnight_and_fractions():
    assert span(("2019-11", "2019-12")) == (
        np.datetime64("2019-11-01T00:00:00", "ns"),
        np.datetime64("2019-12-31T23:59:59.999999", "ns"),
    )
    assert instant(datetime(2019, 11, 16, tzinfo=UTC), end=True) == DAY  # an instant, not a day
    assert instant("20191116T120000.123456789") - NOON == np.timedelta64(123456789, "ns")
    assert stamp(NOON) == "2019-11-16T12:00:00Z"
    assert stamp(LAST, "ms") == "2019-11-16T23:59:59.999Z"


def test_single_values_of_arrays_are_times():
    times = np.array([NOON, DAY])
    assert instant(np.array(NOON)) == instant(xr.DataArray(times)[0]) == NOON
    assert span(xr.DataArray(times[::-1])) == (DAY, NOON)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("2019-02-30", "day"),
        ("2019-13-01", "month"),
        ("2019-11-16T25:00", "hour"),
        ("16.11.2019", "expected UTC"),
        ("11/16/2019", "expected UTC"),
        ("201911", "expected UTC"),
        ("0191117", "expected UTC"),
        ("20191117999999", "expected UTC"),
        ("NaT", "expected UTC"),
        ("", "expected UTC"),
        ("1789-07-14", "out of range"),
        ("9999-12-31", "out of range"),
        (20191117, "ambiguous"),
        (20191117.0, "ambiguous"),
        (float("nan"), "not finite"),
        (float("inf"), "not finite"),
        (1e30, "out of range"),
        (True, "expected UTC"),
        (None, "expected UTC"),
        ([1], "expected UTC"),
        (np.datetime64("NaT"), "not a time"),
        (np.datetime64(20191117, "Y"), "out of range"),
        # The clock of nanoseconds would take these for days of 2019.
        ("2604-06-04", "year 2604 is out of range"),
        ("2604-06-04T10:00", "year 2604 is out of range"),
        (date(2604, 6, 4), "year 2604 is out of range"),
        (datetime(2604, 6, 4), "year 2604 is out of range"),
        (1572897191, "counted from 1970"),
        (pd.NaT, "not a time"),
    ],
)
def test_impossible_and_ambiguous_times_are_refused(value, why):
    with pytest.raises(ValueError, match=why) as told:
        instant(value)
    assert "expected UTC such as" in str(told.value)


@pytest.mark.parametrize(
    "time", ["2019-11-16", ("2019-11-16",), None, 5, {"start": 1, "end": 2}, ("2019-11-17", "2019-11-16")]
)
def test_spans_that_are_none(time):
    with pytest.raises(ValueError, match="expected"):
        span(time)


@pytest.mark.parametrize(
    "box",
    [
        (0, 10, 5, -10),
        (0, -100, 5, -80),
        (5, -80, 5, -70),
        (np.nan, -80, 5, -70),
        (0, -80, 5),
        "abcd",
        None,
        (-75, 170, -70, -170),
        (0, -80, 500, -70),
    ],
)
def test_boxes_that_are_none(box):
    with pytest.raises(ValueError, match="west, south, east, north"):
        box_of(box)


def test_a_box_across_the_antimeridian_and_around_the_globe():
    longitude, latitude = np.array([179.0, -179.0, 0.0, np.nan]), np.full(4, -75.0)
    across = box_of((170, -78, -150, -72))
    np.testing.assert_array_equal(in_box(longitude, latitude, across), [True, True, False, False])
    np.testing.assert_array_equal(in_box(longitude, latitude, box_of((-180, -90, 180, 90)))[:3], True)
    west, _, east, _ = box_shape(across).bounds
    assert (west, east) == (-180.0, 180.0)
    assert box_shape(across).area == pytest.approx(40 * 6)

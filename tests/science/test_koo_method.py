"""Koo's method on ATL07 segments: features of genuine rows, leads, weights, gaps, and freeboard."""

from __future__ import annotations

import csv
from datetime import datetime, timedelta

import numpy as np
import pytest
import xarray as xr

from is2ice import schema
from is2ice.errors import SchemaError
from is2ice.science import koo


def table(n=60, *, sections=3, seed=0):
    """Segments 10 km apart in three sections, ice at 0.5 m."""
    rng = np.random.default_rng(seed)
    x = np.sort(rng.uniform(0, sections * koo.SECTION, n))
    return xr.Dataset(
        {
            "x_atc": ("segment", x),
            "height": ("segment", 0.5 + 0.2 * rng.random(n)),
            "height_uncertainty": ("segment", np.full(n, 0.02)),
            "segment_id": ("segment", np.arange(n)),
            "length": ("segment", np.full(n, 20.0)),
            "koo_class": ("segment", np.zeros(n, np.int8)),
        }
    )


def test_genuine_rows_are_reproduced(real_data):
    """Printed rows of the published reader: mean less median, GPS time, and the features' order of columns."""
    with (real_data / "rows" / "real_rows_atl07_koo.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    column = {
        k: np.array([float(r[k]) for r in rows])
        for k in ("height", "h_mean", "h_median", "h_diff", "seg_len")
    }
    names = {n: ("segment", np.ones(len(rows))) for n in koo.FEATURES[:-1]}
    names |= {
        "height": ("segment", column["height"]),
        "hist_mean_h": ("segment", column["h_mean"]),
        "hist_median_h": ("segment", column["h_median"]),
    }
    found = koo.features(xr.Dataset(names))
    np.testing.assert_allclose(found[:, -1], column["h_diff"], atol=1.5e-6)
    np.testing.assert_allclose(found[:, 3], column["height"], atol=1e-6)
    for row in rows:  # seven printed digits of delta_time: to 5 s; their clock is GPS, 18 s before UTC
        utc = datetime(2018, 1, 1) + timedelta(seconds=float(row["deltatime"]))
        printed = datetime.fromisoformat(row["time"])
        assert abs((printed - utc).total_seconds() - 18) <= 5.5
    # Types of the product: the dark rows 6 and 8 and the ice row lie within the lowest heights of this stretch.
    kinds = np.array([int(r["stype"]) for r in rows])
    assert set(kinds) == {1, 6, 8}
    assert column["height"][kinds > 1].max() < 0.04
    assert (column["seg_len"] > 10).all()


def test_one_lead_by_hand():
    ds = table()
    first = np.flatnonzero(ds.x_atc.values < koo.SECTION)[:2]
    ds["height"][first] = [0.00, 0.02]
    ds["koo_class"][first] = schema.OPEN_WATER
    got = koo.sea_surface(ds)
    w = np.exp(-2.0 * np.array([0.0, 0.02]) / 0.02)
    a = w / w.sum()
    h = float((a * [0.0, 0.02]).sum())
    assert np.flatnonzero(got.koo_lead.values).tolist() == first.tolist()
    np.testing.assert_allclose(got.koo_h_ref.values, h)  # the only section with a lead fills the others
    inside = ds.x_atc.values < koo.SECTION
    np.testing.assert_allclose(got.koo_h_ref_uncertainty.values[inside], np.sqrt((a**2 * 0.02**2).sum()))
    assert np.isnan(got.koo_h_ref_uncertainty.values[~inside]).all()
    np.testing.assert_allclose(got.koo_freeboard.values, np.maximum(ds.height.values - h, 0))
    assert got.koo_freeboard.values[first[0]] == 0  # clipped


def test_sections_are_filled_by_number_and_smoothed_by_three():
    ds = table(200, sections=5)
    section = koo.reference_sections(ds)
    for number, height in ((0, 0.10), (4, 0.30)):
        k = np.flatnonzero(section == number)[0]
        ds["height"][k], ds["koo_class"][k] = height, schema.OPEN_WATER
    got = koo.sea_surface(ds)
    values = [float(got.koo_h_ref.values[section == k][0]) for k in range(5)]
    raw = [0.10, 0.15, 0.20, 0.25, 0.30]
    want = [np.mean(raw[:2]), *(np.mean(raw[k - 1 : k + 2]) for k in (1, 2, 3)), np.mean(raw[3:])]
    np.testing.assert_allclose(values, want, atol=1e-12)
    plain = koo.sea_surface(ds, options=koo.KooOptions(smooth=1))
    np.testing.assert_allclose(plain.koo_h_ref.values[section == 2], 0.20)


def test_a_gap_counts_by_its_sections():
    """Sections 0, 1 and 8: linear in the number, and section 8 is no neighbour of section 1."""
    ds = table(30, sections=3)
    section = np.array([0, 1, 8])[koo.reference_sections(ds)]
    for number, height in ((0, 0.10), (8, 0.26)):
        k = np.flatnonzero(section == number)[0]
        ds["height"][k], ds["koo_class"][k] = height, schema.OPEN_WATER
    plain = koo.sea_surface(ds, section, koo.KooOptions(smooth=1)).koo_h_ref.values
    np.testing.assert_allclose(plain[section == 1], 0.12)  # an eighth of the way, not half
    smooth = koo.sea_surface(ds, section).koo_h_ref.values
    np.testing.assert_allclose(smooth[section == 8], 0.26)
    np.testing.assert_allclose(smooth[section == 1], 0.11)


def test_high_water_is_no_lead_and_thin_ice_stands_in():
    ds = table(80, sections=1)
    ds["koo_class"][5] = schema.OPEN_WATER  # amid the ice: not among the lowest 4 % of the range
    assert not koo.sea_surface(ds).koo_lead.values.any()
    assert np.isnan(koo.sea_surface(ds).koo_h_ref.values).all()
    ds["height"][9], ds["koo_class"][9] = 0.1, schema.THIN_ICE
    got = koo.sea_surface(ds)
    assert np.flatnonzero(got.koo_lead.values).tolist() == [9]
    np.testing.assert_allclose(got.koo_h_ref.values, 0.1)


def test_a_gap_in_segment_numbers_ends_a_lead():
    error = np.full(3, 0.02)
    h, code = np.array([0.0, 0.0, 0.004]), np.full(3, 2)
    args = ([0, 0, 0], koo.KooOptions(water_limit=1.0))
    _, joined, _, _ = koo.section_heights(h, error, code, [1, 2, 3], *args)
    _, apart, variance, _ = koo.section_heights(h, error, code, [1, 2, 7], *args)
    assert apart[0] == pytest.approx(0.004 / 3)  # the lead of two weighs twice that of one
    assert joined[0] < apart[0]
    assert variance[0] == pytest.approx(0.02**2 / 3)


def test_labels_of_segments_are_those_of_their_cells():
    x = np.arange(0.0, 200.0, 2.0)
    label = np.zeros(100, np.int8)
    label[25:50] = 2
    label[60:] = -1
    track = xr.Dataset({"label": ("x_atc", label)}, coords={"x_atc": x}, attrs={"segment_length": 2.0})
    ds = xr.Dataset(
        {"x_atc": ("segment", [20.0, 50.0, 75.0, 115.0, 160.0]), "length": ("segment", np.full(5, 20.0))}
    )
    assert koo.label_segments(ds, track).label.values.tolist() == [0, -1, 2, 0, -1]


def test_wrong_input_is_named():
    with pytest.raises(SchemaError, match="hist_mean_h"):
        koo.features(table())
    with pytest.raises(SchemaError, match="koo_class missing; classify"):
        koo.sea_surface(table().drop_vars("koo_class"))
    with pytest.raises(ValueError, match="odd"):
        koo.KooOptions(smooth=2)
    with pytest.raises(ValueError, match="0 to 1"):
        koo.KooOptions(water_limit=4)

"""Points per km: segments that overlap, gaps, and the photons that decide the ratio."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from is2ice import schema
from is2ice.io.icesat2 import atl07_atl10
from is2ice.reports import point_density


def segments(x, length, **put):
    x = np.asarray(x, float)
    base = {"x_atc": x, "length": np.full(x.size, float(length)), "height": np.zeros(x.size)}
    return xr.Dataset({k: ("segment", np.asarray(v)) for k, v in {**base, **put}.items()})


def test_layout_of_half_overlapping_segments_with_a_gap():
    """20 m long, one every 10 m: 100 per km where the track is unbroken, 50 that do not overlap."""
    x = np.concatenate([np.arange(0, 1000, 10.0), np.arange(5000, 6000, 10.0)])
    told = point_density.layout(segments(x, 20.0, photon_rate=np.full(x.size, 6.0)))
    assert told["n"] == 200
    assert (told["median_length"], told["median_spacing"]) == (20.0, 10.0)
    assert (told["per_km"], told["independent_per_km"]) == (100.0, 50.0)
    assert told["photons_per_pulse"] == 6.0
    empty = point_density.layout(segments([], 20.0))
    assert empty["n"] == 0
    assert empty["per_km"] is None
    assert point_density.layout(segments([5.0], 20.0))["per_km"] is None


def test_points_count_what_is_given():
    """A fifth of our cells empty, half of theirs without freeboard: ratios by hand."""
    ds = schema.mock_segments(501, stages=("classified", "seasurface", "freeboard"))
    for name in ("height", "freeboard"):
        ds[name] = ds[name].where(np.arange(501) % 5 > 0)
    x0 = float(ds.x_atc[0])
    x = x0 + np.arange(10.0, 990.0, 10.0)
    have = np.where(x < x0 + 500.0, 0.2, np.nan)
    told = point_density.points(ds, segments(x, 20.0, freeboard=have))
    assert told["ours_heights_per_km"] == told["ours_freeboards_per_km"] == 400.0
    assert told["theirs_heights_per_km"] == 98.0
    assert told["theirs_freeboards_per_km"] == 49.0
    assert told["ratio_freeboards"] == pytest.approx(400 / 49, abs=0.01)
    assert told["theirs_not_overlapping_per_km"] == pytest.approx(49.5)
    assert told["most_heights_ratio"] == pytest.approx(500 / 98, abs=0.01)
    assert told["ratio_where_both"] == pytest.approx(200 / 49, rel=0.03)
    assert told["cells_filled"] == pytest.approx(0.8, abs=0.01)
    assert told["photons_per_cell"] == pytest.approx(float(ds.n_photons.mean()), rel=0.05)
    none = point_density.points(ds, segments([], 20.0))
    assert none["ratio_heights"] is None
    assert none["ratio_freeboards"] is None


def test_genuine_strong_beams_advance_by_half_a_segment(real_data):
    """So with 6 photons a pulse there are over 80 segments a km: 500 cells cannot be ten times as many."""
    name = "processed_ATL10-01_20220104070710_01991401_006_01.h5"
    tree = atl07_atl10.open_atl10(real_data / "atl10" / name)
    for beam in ("gt1l", "gt2l", "gt3l"):
        told = point_density.layout(tree[beam]["segments"].to_dataset())
        assert 0.45 < told["median_spacing"] / told["median_length"] < 0.52
        assert 5.0 < told["photons_per_pulse"] < 7.0
        assert 500 / told["per_km"] < 6.5

"""Melt ponds are not leads: what the season, the height and the length of a track allow."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from crops import read_crop

from is2ice import open_track, schema
from is2ice.classifiers import classify, melt
from is2ice.classifiers.base import add_classes
from is2ice.science.segments import from_photons
from is2ice.twin import Scene, make_granule, open_truth
from is2ice.twin.scene.fields import POND

JULY, NOVEMBER = 58_000_000.0 - 120 * 86_400, 58_000_000.0  # seconds from 2018


def track(time: float = JULY, n: int = 4000, latitude: float = 82.0) -> xr.Dataset:
    """Floes of 30 cm with a lead at the level of the sea and a pond as high as the ice, 80 m each."""
    ds = schema.mock_segments(n).assign_attrs(spot=5)
    height = np.full(n, 0.30)
    height[1000:1040] = 0.0
    ds["height"] = ("x_atc", height.astype("f4"))
    ds["n_photons"] = ("x_atc", np.full(n, 20, "i4"))
    ds["delta_time"] = ("x_atc", time + np.arange(n) * 3e-4)
    ds["latitude"] = ("x_atc", np.full(n, latitude))
    return ds


def classed(ds: xr.Dataset) -> xr.Dataset:
    p = np.tile([0.90, 0.05, 0.05], (ds.sizes["x_atc"], 1))
    for a in (1000, 3000):
        p[a : a + 40] = [0.1, 0.1, 0.8]
    return add_classes(ds, p, np.ones(len(p), bool), "test")


def test_in_summer_water_as_high_as_the_ice_is_ice_that_may_bear_a_pond():
    out = classed(track())
    code, quality = out["surface_class"].values, out["segment_quality"].values
    assert (code[1000:1040] == schema.OPEN_WATER).all()
    assert (code[3000:3040] == schema.THICK_ICE).all()
    np.testing.assert_array_equal(
        np.flatnonzero(quality & schema.Quality.MELT_POND_POSSIBLE), np.arange(3000, 3040)
    )
    np.testing.assert_allclose(out["class_probability"].values[3010], [0.9, 0.1, 0.0], atol=1e-6)
    assert out.attrs["classifier_melt_season"] == melt.NOTE
    schema.conform(out, "classified")
    # Classified again in another light, the bit of the first time is gone.
    again = add_classes(out, np.tile([1.0, 0, 0], (4000, 1)), np.ones(4000, bool), "test")
    assert not (again["segment_quality"].values & schema.Quality.MELT_POND_POSSIBLE).any()


@pytest.mark.parametrize(("time", "latitude"), [(NOVEMBER, 82.0), (JULY, -74.0)])
def test_elsewhere_and_in_other_seasons_water_stays_water(time, latitude):
    out = classed(track(time, latitude=latitude))
    assert (out["surface_class"].values == schema.OPEN_WATER).sum() == 80
    assert "classifier_melt_season" not in out.attrs


def test_a_track_too_short_to_hold_a_lead_has_none():
    out = classed(track(n=4000).isel(x_atc=slice(0, 4000))).isel(x_atc=slice(900, 1100))
    short = add_classes(
        out.drop_vars(["surface_class", "class_probability", "surface"]),
        out["class_probability"].values,
        np.ones(200, bool),
        "test",
    )
    assert not (short["surface_class"].values == schema.OPEN_WATER).any()


@pytest.mark.parametrize("name", ["radiometric", "default"])
def test_ponds_of_genuine_crops_are_no_water(real_data, name):
    water = cells = 0
    for path in sorted((real_data / "atl03_s2_crops").glob("*/*_ATL03_*.csv")):
        ds = from_photons(read_crop(path))
        if "solar_elevation" not in ds or not np.isfinite(ds["solar_elevation"]).any():
            ds["solar_elevation"] = ds["h_spread"] * 0 + 25.0
        code = classify(ds, name)["surface_class"].values
        water, cells = water + int((code == schema.OPEN_WATER).sum()), cells + int((code >= 0).sum())
    assert cells > 500
    assert water < 0.02 * cells


def test_ponds_of_the_melt_season_are_flagged_and_make_no_lead(tmp_path):
    scene = Scene.preset("arctic_melt_season", seed=5, length_km=6, cloud_cover=0.0)
    granule = make_granule(scene, tmp_path, beams=["gt1r"], truth_path=tmp_path / "truth.nc")
    out = classify(open_track(granule, "gt1r").load().isel(beam=0), "radiometric")
    kind = open_truth(tmp_path / "truth.nc", "gt1r")["point_kind"].reindex(x_atc=out["x_atc"], fill_value=-1)
    flagged = (out["segment_quality"].values & schema.Quality.MELT_POND_POSSIBLE) > 0
    pond, water = kind.values == POND, out["surface_class"].values == schema.OPEN_WATER
    assert pond.sum() > 400
    assert water[pond].mean() < 0.02
    # What the flag marks was called water first: most of it is ponds, not snow.
    assert flagged.sum() > 30
    assert pond[flagged].mean() > 0.5
    assert out.attrs["classifier_melt_season"] == melt.NOTE

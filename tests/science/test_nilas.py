"""Runs of nilas that carry the sea surface out of reach of leads, and the season in which none does."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import xarray as xr

from is2ice import schema
from is2ice.science import freeboard, melt_season, nilas, seasurface, surface_process

JULY, NOVEMBER = 58_000_000.0 - 120 * 86_400, 58_000_000.0  # seconds from 2018
EVERY_4_KM = range(1_000, 15_000, 2_000)
FLOE = 0.35


def track(runs: Sequence[int], height: float, *, light: float = 0.2, cells: int = 30) -> xr.Dataset:
    """A beam of 32 km over rough ice from 35 to 45 cm, with runs of thin ice of one height and brightness."""
    ds = schema.mock_segments(16_000, stages=("classified",))
    rng = np.random.default_rng(1)
    level, share = FLOE + 0.1 * rng.random(16_000) + rng.normal(0, 0.03, 16_000), np.ones(16_000)
    for at in runs:
        run = slice(at, at + cells)
        level[run], share[run] = height + rng.normal(0, 0.01, cells), light
        ds["surface_class"][run] = schema.THIN_ICE
        ds["class_probability"][run] = [0.05, 0.65, 0.30]
    ds["height"][:] = level
    ds["n_photons"][:] = np.round(ds["n_photons"] * share)
    return ds


def with_lead(ds: xr.Dataset, at: int) -> xr.Dataset:
    """The beam with a dark lead of 80 m, 1 cm below 0."""
    run, out = slice(at, at + 40), ds.copy(deep=True)
    out["height"][run] = -0.01 + np.random.default_rng(2).normal(0, 0.01, 40)
    out["n_photons"][run] = 3
    out["surface_class"][run] = schema.OPEN_WATER
    out["class_probability"][run] = [0.02, 0.08, 0.90]
    return out


@pytest.mark.parametrize(("light", "stands"), [(0.2, 0.008), (0.1, 0.004)])
@pytest.mark.parametrize("height", [0.02, -0.10])
def test_dim_runs_carry_the_surface_with_an_offset_and_an_error(height, light, stands):
    """A film that is thinner the darker it is: half of 4 cm times the brightness over one half is taken off."""
    out = seasurface.estimate(track(EVERY_4_KM, height, light=light))
    assert (out["h_ref_flag"].values == seasurface.FROM_NILAS).all()
    inside = slice(1_000, 13_000)
    assert out["h_ref"].values[inside].mean() == pytest.approx(height - stands, abs=0.003)
    error = out["h_ref_uncertainty"].values[inside]
    assert error.min() > 0.012  # that of heights anywhere between 0 and 4 cm, which all runs share
    assert error.max() < 0.025


@pytest.mark.parametrize(
    "change",
    [
        {"light": 0.45},  # thicker than nilas
        {"light": 1.0},  # as bright as ice
        {"cells": 8},  # shorter than two footprints
        {"height": 0.80},  # above the lowest ice
    ],
)
def test_other_runs_carry_nothing(change):
    out = seasurface.estimate(track(EVERY_4_KM, **{"height": 0.02} | change))
    assert (out["h_ref_flag"].values == -1).all()
    assert np.isnan(out["h_ref"].values).all()


def test_nothing_changes_where_a_lead_is_in_reach():
    alone = seasurface.estimate(with_lead(track([], 0.0), 1_500))
    near = seasurface.estimate(with_lead(track([2_500, 3_500, 4_500, 5_500], 0.05), 1_500))
    both = seasurface.estimate(with_lead(track(EVERY_4_KM, 0.05), 1_500))
    own = alone["h_ref_flag"].values >= 0
    assert 4_000 < own.sum() < 7_000
    assert (both["h_ref_flag"].values[~own] == seasurface.FROM_NILAS).all()
    for name in ("h_ref", "h_ref_uncertainty", "h_ref_flag"):
        np.testing.assert_array_equal(near[name].values, alone[name].values)
        np.testing.assert_array_equal(both[name].values[own], alone[name].values[own])


def test_leads_beside_runs_keep_the_probability_of_their_own_evidence(monkeypatch):
    """Their probability with the others holds their heights, which would count twice."""
    seen, real = [], surface_process.fit

    def fit(leads, node, across):
        seen.append(leads)
        return real(leads, node, across)

    monkeypatch.setattr(surface_process, "fit", fit)
    ds = with_lead(with_lead(track(EVERY_4_KM, 0.02), 1_500), 2_500)
    ds["class_probability"][1_500:1_540] = [0.20, 0.20, 0.60]
    seasurface.estimate(ds)
    first, second = seen
    assert (real(first, np.array([3e3]), np.zeros(1)).probability > first.prior + 1e-3).any()
    np.testing.assert_array_equal(second.prior[np.isin(second.x, first.x)], first.prior)
    assert (second.prior[~np.isin(second.x, first.x)] == nilas.PRIOR).all()


@pytest.mark.parametrize(
    ("time", "latitude", "carried"), [(JULY, 80.0, False), (NOVEMBER, 80.0, True), (JULY, -74.0, True)]
)
def test_in_the_melt_season_dim_runs_are_ponds(time, latitude, carried):
    """On a floe without leads a pond is the lowest surface: 25 cm above the sea, and nothing tells."""
    ds = track(EVERY_4_KM, 0.25)
    ds["delta_time"][:], ds["latitude"][:] = time, latitude
    assert melt_season.in_season(ds) is not carried
    out = freeboard.compute(seasurface.estimate(ds))
    assert ((out["h_ref_flag"].values == seasurface.FROM_NILAS) == carried).all()
    assert (np.isfinite(out["freeboard"].values) == carried).all()

"""Sea surface: answers worked out by hand, bias on simulated noise, honesty of the uncertainty."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from is2ice import schema
from is2ice.errors import SchemaError
from is2ice.science import seasurface
from is2ice.science.leads import consecutive_runs, find_leads
from is2ice.science.seasurface import METHODS, sea_surface


def track(
    leads: dict[float, float], *, km: float = 40.0, ice: float = 0.5, cells: int = 5, sigma: float = 0.02
):
    """Noise-free 2 m cells from x = 0: ice, and leads of given centre (m) and height (m)."""
    x = np.arange(1.0, km * 1e3, 2.0)
    height, is_lead = np.full(x.size, ice), np.zeros(x.size, bool)
    for at, value in leads.items():
        i = int(at // 2) - cells // 2
        height[i : i + cells], is_lead[i : i + cells] = value, True
    return x, height, np.full(x.size, sigma), is_lead


def by_windows(*args, **options):
    """The sea surface by windows, with the lower consensus."""
    return sea_surface(*args, **{"method": "crossfit"} | options)


# --- leads -----------------------------------------------------------------------------------------------


def test_runs_end_at_ice_and_at_missing_segments():
    lead = [1, 1, 0, 1, 1, 1, 0, 1]
    first, last = consecutive_runs(lead, breaks=[0, 0, 0, 0, 0, 1, 0, 0])
    assert first.tolist() == [0, 3, 5, 7]
    assert last.tolist() == [1, 4, 5, 7]
    first, _ = consecutive_runs(lead, min_segments=2)
    assert first.tolist() == [0, 3]
    assert consecutive_runs([])[0].size == 0


def test_lead_by_hand():
    # w = 1, e^-1: u = (0.15 - 0.10) / 0.05 = 1.
    h, s = [0.10, 0.15], [0.05, 0.05]
    e = np.exp(-1.0)
    a = np.array([1.0, e]) / (1.0 + e)
    lead = find_leads([0.0, 2.0], h, s, [1, 1], 2.0, method="nasa", extent=11.0)
    assert lead.height.item() == pytest.approx(0.10 + 0.05 * a[1], abs=1e-12)
    assert lead.sigma.item() == pytest.approx(0.05 * np.hypot(*a), abs=1e-12)
    assert lead.x.item() == pytest.approx(2.0 * a[1], abs=1e-12)
    assert lead.length.item() == 13.0
    exponential = find_leads([0.0, 2.0], h, s, [1, 1], 2.0, method="nasa", kernel="exponential")
    assert exponential.height.item() == pytest.approx(0.10 + 0.05 * e**2 / (1 + e**2), abs=1e-12)
    # The weights may take another width than the variance: u = 0.05 / 0.1.
    wide = find_leads([0.0, 2.0], h, s, [1, 1], 2.0, method="nasa", scale=[0.1, 0.1])
    b = np.exp(-0.25) / (1 + np.exp(-0.25))
    assert wide.height.item() == pytest.approx(0.10 + 0.05 * b, abs=1e-12)
    assert wide.sigma.item() == pytest.approx(0.05 * np.hypot(b, 1 - b), abs=1e-12)
    assert find_leads([0.0, 2.0], h, s, [1, 1], method="minimum").height.item() == 0.10
    assert find_leads([0.0, 2.0], h, s, [1, 1], method="mean").height.item() == pytest.approx(0.125)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_crossfit_of_a_short_lead_is_the_mean(n):
    h = np.array([0.1, 0.3, 0.2])[:n]
    lead = find_leads(2.0 * np.arange(n), h, np.full(n, 0.06), np.ones(n), 2.0)
    assert lead.height.item() == pytest.approx(h.mean(), abs=1e-12)
    assert lead.x.item() == pytest.approx(n - 1.0, abs=1e-12)


@pytest.mark.parametrize("n", [4, 9, 50])
def test_crossfit_weights_of_one_half_do_not_see_its_heights(n):
    """The property from which the missing bias follows."""
    rng = np.random.default_rng(n)
    h = rng.normal(0, 0.05, n)
    s = rng.uniform(0.02, 0.06, n)
    for half in (0, 1):
        other = h.copy()
        other[half::2] += rng.normal(0, 0.2, h[half::2].size)
        before = find_leads(2.0 * np.arange(n), h, s, np.ones(n)).weight.values
        after = find_leads(2.0 * np.arange(n), other, s, np.ones(n)).weight.values
        np.testing.assert_allclose(after[half::2], before[half::2], rtol=1e-12)
        assert before[half::2].sum() == pytest.approx(h[half::2].size / n)


def simulated_leads(method, n, *, noise=0.05, thin=0.0, share=0.0, repeat=4000, seed=0, **options):
    """Estimates and sigmas for `repeat` leads at height 0, part of each covered by ice of freeboard `thin`."""
    rng = np.random.default_rng(seed)
    surface = np.zeros((repeat, n + 1))
    k = round(share * n)
    if k:
        start = rng.integers(0, n - k + 1, repeat)
        cell = np.arange(n + 1)
        surface[(cell >= start[:, None]) & (cell < start[:, None] + k)] = thin
    h = (surface + rng.normal(0, noise, surface.shape)).ravel()
    is_lead = np.tile(np.arange(n + 1) < n, repeat)
    table = find_leads(2.0 * np.arange(h.size), h, noise, is_lead, 2.0, method=method, **options)
    assert table.sizes["lead"] == repeat
    return table.height.values, table.sigma.values


def test_bias_of_each_method():
    """METHOD: 1.4/1.9/2.3 cm low with the spread, 5.5/7.8/9.4 cm with the standard error; none for ours."""
    published = {"spread": (1.4, 1.9, 2.3), "standard error": (5.5, 7.8, 9.4)}
    print("\nbias, cm, of a lead of      10      50     200 segments of 5 cm noise")
    for name, scale in (("spread", 0.158), ("standard error", 0.05)):
        bias = [-100 * simulated_leads("nasa", n, scale=scale)[0].mean() for n in (10, 50, 200)]
        print(f"nasa, sigma = {name:14s}", *(f"{-b:7.2f}" for b in bias))
        np.testing.assert_allclose(bias, published[name], atol=0.2)
    for method in ("minimum", "mean", "crossfit"):
        estimates = [100 * simulated_leads(method, n)[0] for n in (10, 50, 200)]
        bias = np.array([e.mean() for e in estimates])
        error = np.array([e.std() / np.sqrt(e.size) for e in estimates])
        print(f"{method:28s}", *(f"{b:7.2f}" for b in bias))
        if method == "minimum":  # the expected extremes of 10, 50, 200 normal deviates: 1.54, 2.25, 2.75
            np.testing.assert_allclose(bias, [-7.7, -11.2, -13.7], atol=0.2)
        else:
            assert (np.abs(bias) < 3.5 * error).all()
            assert (np.abs(bias) < 0.1).all()


@pytest.mark.parametrize("n", [1, 2, 4, 10, 50, 200])
def test_sigma_of_a_crossfit_lead_is_honest(n):
    height, sigma = simulated_leads("crossfit", n)
    # The covariance of the halves is left out of sigma: five per cent in the longest leads.
    assert 0.85 < np.std(height / sigma) < 1.10
    # The price of not choosing by one's own noise: at most a fifth over the plain mean.
    assert np.std(height) < 1.2 * 0.05 / np.sqrt(n)


@pytest.mark.parametrize(
    ("n", "thin", "share", "left"), [(50, 0.1, 0.25, 0.6), (100, 0.1, 0.5, 0.9), (100, 0.05, 0.2, 0.5)]
)
def test_thin_ice_inside_a_lead_is_weighed_down(n, thin, share, left):
    """Centimetres that remain of the step; the plain mean keeps thin * share."""
    mean = 100 * simulated_leads("mean", n, thin=thin, share=share, repeat=1000)[0].mean()
    ours = 100 * simulated_leads("crossfit", n, thin=thin, share=share, repeat=1000)[0].mean()
    print(
        f"\n{share:.0%} ice of {100 * thin:g} cm in {n} segments: mean {mean:.2f} cm, crossfit {ours:.2f} cm"
    )
    assert mean == pytest.approx(100 * thin * round(share * n) / n, abs=0.2)
    assert -0.2 < ours < left


@pytest.mark.parametrize(("n", "ends"), [(3, 0), (4, 1), (10, 2), (12, 3), (50, 3)])
def test_ends_of_a_lead_are_trimmed_by_place(n, ends):
    """5.5 m are three cells of 2 m, at most a quarter of the lead at each end."""
    h = np.zeros(n)
    h[:ends], h[n - ends :] = 0.2, 0.2
    lead = find_leads(2.0 * np.arange(n), h, 0.05, np.ones(n), 2.0, trim=5.5)
    assert (lead.weight.values == 0).sum() == 2 * ends
    assert lead.height.item() == 0.0
    assert lead.n.item() == n


def test_footprints_at_the_edge_of_a_narrow_lead():
    """Ice of 30 cm around a lead of 20 m, seen by a disc of 11 m; cells with half water count as lead."""
    fine = np.arange(-150, 150, 0.25)
    disc = np.sqrt(np.maximum(0, 5.5**2 - np.arange(-5.5, 5.51, 0.25) ** 2))
    ice = np.convolve(np.abs(fine) >= 10, disc / disc.sum(), "same").reshape(-1, 8).mean(1)
    x = fine.reshape(-1, 8).mean(1)
    height = {
        t: find_leads(x, 0.3 * ice, 0.03, (ice <= 0.5) & (np.abs(x) < 50), trim=t).height.item()
        for t in (0, 5.5)
    }
    print(f"\nedges lift a 20 m lead by {100 * height[0]:.2f} cm, trimmed {100 * height[5.5]:.2f} cm")
    assert height[0] > 0.015
    assert height[5.5] < 0.005


def test_scatter_beyond_the_errors_widens_sigma():
    """Noise of 5 cm that claims to be 1 cm: the stated error of the lead is at least the true one."""
    x, ones = np.arange(0.0, 200.0, 2.0), np.ones(100)
    assert find_leads(x, 0 * x, 0.01, ones).sigma.item() == pytest.approx(0.01 / 10)
    rng = np.random.default_rng(2)
    table = [find_leads(x, rng.normal(0, 0.05, 100), 0.01, ones) for _ in range(200)]
    true = np.std([t.height.item() for t in table])
    assert np.mean([t.sigma.item() for t in table]) > true > 0.004


def test_missing_and_zero_sigma():
    x, ones = np.arange(4.0), np.ones(4)
    lead = find_leads(x, [0.0, 0.1, 0.2, 0.3], [0.0, np.nan, 0.05, 0.02], ones, method="mean", min_sigma=0.01)
    # 0 is floored at 0.01, NaN becomes the largest known, 0.05.
    assert lead.sigma.item() == pytest.approx(np.sqrt(0.01**2 + 2 * 0.05**2 + 0.02**2) / 4)
    assert np.isfinite(find_leads(x, x, np.full(4, np.nan), ones).height.item())


def test_long_leads_are_cut_to_length():
    x = np.arange(1000.0) * 2
    leads = find_leads(x, 0 * x, 0.05, x >= 0, 2.0, max_length=500.0)
    assert leads.n.values.tolist() == [250] * 4
    assert leads["first"].values.tolist() == [0, 250, 500, 750]
    assert leads["last"].values.tolist() == [249, 499, 749, 999]


# --- windows ---------------------------------------------------------------------------------------------


def test_window_by_inverse_variance():
    # Leads of five cells with 2 cm and 4 cm errors: sigma_lead^2 in the ratio 1 : 4, weights 0.8 and 0.2.
    x, h, s, lead = track({4000: 0.0, 6000: 0.1}, km=10)
    s[x > 5000] = 0.04
    result = sea_surface(x, h, s, lead, method="nasa", spacing=2.0, window=10_000, step=10_000, origin=5000)
    assert result.windows.height.values[0] == pytest.approx(0.02)
    assert result.windows.n_leads.values[0] == 2
    # sigma^2 = 0.8^2 0.02^2/5 + 0.2^2 0.04^2/5
    assert result.windows.sigma.values[0] == pytest.approx(np.sqrt((0.64 * 4e-4 + 0.04 * 16e-4) / 5))
    np.testing.assert_allclose(result.h_ref, 0.02)
    assert (result.flag == 0).all()
    assert result.lead_index[lead].tolist() == [0] * 5 + [1] * 5
    assert (result.lead_index[~lead] == -1).all()


def test_methods_by_hand():
    x, h, s, lead = track({4000: 0.0, 6000: 0.1}, km=10)
    h[2000] = -0.06  # one cell of the first lead
    one = {"spacing": 2.0, "window": 10_000, "step": 10_000, "origin": 5000}
    assert sea_surface(x, h, s, lead, method="minimum", **one).h_ref[0] == pytest.approx(-0.06)
    # ten cells: four at 0, one at -0.06, five at 0.1
    assert sea_surface(x, h, s, lead, method="mean", **one).h_ref[0] == pytest.approx(0.044)
    nearest = sea_surface(x, h, s, lead, method="nearest_minimum", **one).h_ref
    # the ten lowest are all the ten; the nearest one to the left end is a cell at 0, at the right end at 0.1
    assert nearest[0] == 0.0
    assert nearest[2000] == pytest.approx(-0.06)
    assert nearest[-1] == pytest.approx(0.1)
    assert nearest[x < 4900].max() == 0.0
    assert nearest[x > 5100].min() == pytest.approx(0.1)


def test_nearest_of_only_the_ten_lowest():
    x, h, s, lead = track({2000: 0.1, 5000: 0.0, 6000: 0.0}, km=10)
    one = {"spacing": 2.0, "window": 10_000, "step": 10_000, "origin": 5000}
    assert (sea_surface(x, h, s, lead, method="nearest_minimum", **one).h_ref == 0.0).all()


@pytest.mark.parametrize("method", [m for m in METHODS if m != "evidence"])
def test_interpolation_is_linear_in_distance_not_in_rows(method):
    """Leads at 5 and 35 km, the cells between 10 and 20 km missing: 20 km is still half way."""
    x, h, s, lead = track({5000: 0.0, 35_000: 0.3}, km=40)
    h[(x > 10_000) & (x < 19_000)] = np.nan
    result = sea_surface(
        x,
        h,
        s,
        lead,
        method=method,
        spacing=2.0,
        window=10_000,
        step=10_000,
        origin=5000,
        reach=16_000,
        slope=1e-4,
    )
    at = np.searchsorted(x, 20_000.0)
    if method == "nearest_minimum":  # constant to the edge of each window, then linear: 10 to 30 km
        assert result.h_ref[at] == pytest.approx(0.15, abs=1e-4)
        assert result.h_ref[x < 9_999].max() == 0.0
    else:
        np.testing.assert_allclose(result.h_ref[at], 0.15, atol=1e-4)
        np.testing.assert_allclose(result.h_ref[np.searchsorted(x, 12_500.0)], 0.075, atol=1e-4)
        assert result.h_ref[0] == pytest.approx(0.0, abs=1e-9)
    assert result.flag[[0, at, -1]].tolist() == [0, 1, 0]


def test_flags_reach_and_end_points():
    x, h, s, lead = track({25_000: 0.0, 26_000: 0.0, 40_000: 0.1}, km=80)
    result = by_windows(x, h, s, lead, spacing=2.0, reach=12_000)

    def flag(km):
        return int(result.flag[np.searchsorted(x, km * 1e3)])

    # Windows centred at 25 km hold 20-30 km and answer for 22.5-27.5 km; the one at 20 km holds 15-25 km (the
    # lead centred just at 25 km lies in [20, 30) only), 30 km holds 25-35, 35 km 30-40, 40 and 45 the last.
    assert [flag(k) for k in (25, 26, 30, 36, 40)] == [0, 0, 0, 1, 0]
    assert flag(18) == 3
    assert flag(12.9) == -1
    assert flag(51.9) == 3
    assert flag(52.1) == -1
    finite = np.isfinite(result.h_ref)
    np.testing.assert_array_equal(finite, result.flag >= 0)
    np.testing.assert_array_equal(finite, np.isfinite(result.uncertainty))
    assert result.h_ref[np.searchsorted(x, 51_000.0)] == pytest.approx(0.1)
    single = by_windows(*track({25_000: 0.2}, km=80), spacing=2.0, reach=12_000)
    assert sorted(set(single.flag.tolist())) == [-1, 0, 2]
    np.testing.assert_allclose(single.h_ref[single.flag >= 0], 0.2)


def test_between_two_leads_the_surface_reaches_farther_than_beyond_the_last():
    """Leads at 30 and 74 km: 20 km from each between them, 10 km outside."""
    x, h, s, lead = track({30_000: 0.0, 74_000: 0.2}, km=100)
    result = by_windows(x, h, s, lead, spacing=2.0, slope=1e-4)

    def given(km, of=result):
        return bool(of.flag[np.searchsorted(x, km * 1e3)] >= 0)

    told = [given(k) for k in (19.9, 20.1, 49.9, 50.2, 53.8, 54.2, 83.9, 84.1)]
    assert told == [False, True, True, False, False, True, True, False]
    assert result.h_ref[np.searchsorted(x, 49_000.0)] == pytest.approx(0.2 * 19 / 44, abs=1e-3)
    assert set(result.flag[(x > 41_000) & (x < 49_900)].tolist()) == {1}
    narrow = by_windows(x, h, s, lead, spacing=2.0, slope=1e-4, between=0.0)
    assert [given(k, narrow) for k in (39.9, 40.2)] == [True, False]  # never nearer than reach


@pytest.mark.parametrize("method", METHODS)
def test_no_lead_no_sea_surface(method):
    x, h, s, lead = track({}, km=20)
    for is_lead in (lead, np.isnan(h)):
        result = sea_surface(x, h, s, is_lead, method=method, spacing=2.0)
        assert np.isnan(result.h_ref).all()
        assert np.isnan(result.uncertainty).all()
        assert (result.flag == -1).all()
        assert result.leads.sizes["lead"] == 0
    # Leads where the height is missing are no leads.
    h[:] = np.nan
    assert (sea_surface(x, h, s, ~lead, method=method, spacing=2.0).flag == -1).all()


def test_gaps_split_leads_and_pieces():
    x, h, s, lead = track({5000: 0.0, 25_000: 0.4}, km=30, cells=9)
    h[np.flatnonzero(lead)[4]] = np.nan
    result = by_windows(x, h, s, lead, spacing=2.0)
    assert result.leads.n.values.tolist() == [4, 4, 9]
    assert (result.lead_index[np.isnan(h)] == -1).all()
    assert by_windows(x, h, s, lead, spacing=4.0).leads.n.values.tolist() == [8, 9]
    h[(x > 10_000) & (x < 20_000)] = np.nan
    whole = by_windows(x, h, s, lead, spacing=2.0, max_gap=20_000, reach=30_000, slope=1e-4)
    assert whole.h_ref[np.searchsorted(x, 15_000.0)] == pytest.approx(0.2, abs=1e-3)
    split = by_windows(x, h, s, lead, spacing=2.0, max_gap=5_000, reach=30_000)
    assert (split.flag[(x > 10_010) & (x < 19_990)] == -1).all()
    np.testing.assert_allclose(split.h_ref[x < 10_000], 0.0, atol=1e-9)
    np.testing.assert_allclose(split.h_ref[x > 20_000], 0.4, atol=1e-9)


def test_rows_that_do_not_follow_split_a_lead():
    x = np.array([0.0, 15, 31, 47, 60])  # segments of uneven length, one missing before the fourth
    result = by_windows(x, 0 * x, 0.01, x >= 0, [0, 0, 0, 1, 0])
    assert result.leads.n.values.tolist() == [3, 2]


def test_uncertainty_by_hand():
    # One lead of 4 cells with 2 cm: sigma 1 cm, floor 1 cm. Away from it by d: wander v d and prior slope b d.
    x, h, s, lead = track({20_000: 0.0}, km=40, cells=4)
    result = by_windows(x, h, s, lead, spacing=2.0, variability=0.01, slope=1e-5, reach=15_000)
    d = np.abs(x - result.leads.x.item())
    near = np.isfinite(result.h_ref)
    expected = np.sqrt(0.01**2 + 0.01**2 + 0.01**2 * d / 1e3 + (1e-5 * d) ** 2)
    np.testing.assert_allclose(result.uncertainty[near], expected[near], rtol=0.02, atol=1e-4)
    # Half way between two leads D apart: half the variance of one, and the wander of a bridge, v D / 4.
    x, h, s, lead = track({10_000: 0.0, 30_000: 0.0}, km=40, cells=4)
    result = by_windows(x, h, s, lead, spacing=2.0, variability=0.01, slope=1e-5)
    middle = result.uncertainty[np.searchsorted(x, 20_000.0)]
    assert middle == pytest.approx(np.sqrt((2e-4) / 2 + 1e-4 * 20 / 4), rel=0.01)


def test_smoothing_over_three_windows():
    x, h, s, lead = track({5000: 0.0, 15_000: 0.3, 25_000: 0.0}, km=30)
    options = {"method": "mean", "spacing": 2.0, "window": 10_000, "step": 10_000, "origin": 5000}
    plain = sea_surface(x, h, s, lead, **options).windows.height.values
    smooth = sea_surface(x, h, s, lead, smooth=3, **options).windows.height.values
    np.testing.assert_allclose(plain, [0.0, 0.3, 0.0], atol=1e-12)
    np.testing.assert_allclose(smooth, [0.15, 0.1, 0.15], atol=1e-12)


def test_consensus_leaves_out_false_leads_but_follows_a_slope():
    places = {3000: 0.0, 4000: 0.01, 5000: -0.01, 6000: 0.15, 7000: 0.0, 8000: -0.3}
    x, h, s, lead = track(places, km=10)
    options = {"spacing": 2.0, "window": 10_000, "step": 10_000, "origin": 5000}
    result = by_windows(x, h, s, lead, **options)
    assert result.leads.used.values.tolist() == [True, True, True, False, True, False]
    np.testing.assert_allclose(result.h_ref, 0.0, atol=1e-9)
    tilted = {at: 2e-5 * at for at in range(1000, 9500, 500)}
    x, h, s, lead = track(tilted, km=10)
    assert by_windows(x, h, s, lead, **options).leads.used.values.all()
    # All that two leads can say: the lower one, when they disagree by far.
    x, h, s, lead = track({4000: 0.0, 6000: 0.2}, km=10)
    assert by_windows(x, h, s, lead, **options).leads.used.values.tolist() == [True, False]


def test_bias_of_the_consensus_is_negligible():
    """Windows of true leads with 2 cm errors: the one-sided test costs a fraction of a millimetre."""
    rng = np.random.default_rng(5)
    windows, per = 3000, 8
    x = np.arange(windows * per) * 10_000.0 / per + 600.0
    h = rng.normal(0, 0.02, x.size)
    gaps = np.ones(x.size, bool)
    result = by_windows(x, h, np.sqrt(0.02**2 - 0.01**2), gaps, gaps, window=10_000, step=10_000, origin=5000)
    bias = result.windows.height.mean().item()
    left_out = 1 - result.leads.used.mean().item()
    error = 0.02 / np.sqrt(x.size)
    print(
        f"\nconsensus: bias {1e3 * bias:.2f} +- {1e3 * error:.2f} mm, {left_out:.2%} of true leads left out"
    )
    assert abs(bias) < 0.0008
    assert left_out < 0.02


def test_position_of_the_leads_beats_the_centre_on_a_slope():
    """Leads at one side of their windows, a sea that slopes by 2 cm/km: centred values are off by centimetres."""
    slope = 2e-5
    at = [3000, 4000, 18_000, 33_000, 34_000, 48_000]
    x, h, s, lead = track({a: slope * a for a in at}, km=50)
    inside = (x > 3500) & (x < 47_500)
    error = {
        where: (by_windows(x, h, s, lead, spacing=2.0, position=where).h_ref - slope * x)[inside]
        for where in ("leads", "centre")
    }
    rms = {k: 100 * np.sqrt(np.nanmean(v**2)) for k, v in error.items()}
    print(f"\nrms error on 2 cm/km: at the leads {rms['leads']:.3f} cm, at the centre {rms['centre']:.2f} cm")
    assert rms["leads"] < 0.02
    assert rms["centre"] > 1.0


def sea(
    rng, *, km=100.0, every=2000.0, slope=0.0, amplitude=0.035, wave=35e3, noise=0.03, false=0.0, thin=0.1
):
    """A noisy track with random leads 1 cm apart in height, on a sloping and undulating sea."""
    x = np.arange(1.0, km * 1e3, 2.0)
    true = slope * (x - x.mean()) + amplitude * np.sin(2 * np.pi * (x / wave + rng.random()))
    h, lead = true + 0.3, np.zeros(x.size, bool)
    place = np.cumsum(rng.exponential(every, int(3 * km * 1e3 / every) + 5))
    for p in place[place < km * 1e3]:
        cells = slice(int(p / 2), int(p / 2) + int(rng.integers(10, 100)))
        lead[cells] = True
        h[cells] = true[cells] + rng.normal(0, 0.01) + (thin if rng.random() < false else 0.0)
    return x, h + rng.normal(0, noise, x.size), np.full(x.size, noise), lead, true


SEAS = {
    # bias and rmse (cm) that the estimate must keep below, and the range of the rms normalised error
    "undulation of 35 km": ({}, 0.15, 1.2, (0.6, 1.2)),
    "undulation of 50 km": ({"amplitude": 0.05, "wave": 50e3}, 0.15, 1.2, (0.5, 1.2)),
    "5 cm over 20 km": ({"amplitude": 0.05, "wave": 20e3}, 0.3, 3.0, (0.7, 1.4)),
    "slope of 1 cm/km": ({"slope": 1e-5}, 0.3, 1.5, (0.6, 1.2)),
    "slope of 3 cm/km": ({"slope": 3e-5}, 0.6, 3.0, (0.5, 1.2)),
    "leads every 15 km": ({"every": 15e3}, 0.5, 3.0, (0.7, 1.3)),
    "a fifth are ice of 10 cm": ({"false": 0.2}, 1.0, 3.0, (0.6, 1.4)),
}


@pytest.mark.parametrize("method", ["crossfit", "evidence"])
@pytest.mark.parametrize("name", SEAS)
def test_errors_on_simulated_seas_are_small_and_honest(name, method):
    options, most_bias, most_rmse, (low, high) = SEAS[name]
    error, score = [], []
    for seed in range(12):
        x, h, s, lead, true = sea(np.random.default_rng(seed), **options)
        result = sea_surface(x, h, s, lead, spacing=2.0, min_segments=3, method=method)
        there = np.flatnonzero(result.flag >= 0)[::100]
        error.append((result.h_ref - true)[there])
        score.append(error[-1] / result.uncertainty[there])
    e, z = 100 * np.concatenate(error), np.concatenate(score)
    rmse, normalised = np.sqrt(np.mean(e**2)), np.sqrt(np.mean(z**2))
    within = np.mean(np.abs(z) < 2)
    print(
        f"\n{name}: bias {e.mean():.2f} cm, rmse {rmse:.2f} cm, normalised {normalised:.2f}, |z|<2 {within:.1%}"
    )
    assert abs(e.mean()) < most_bias
    assert rmse < most_rmse
    assert low < normalised < high


def test_subset_and_shift_of_the_track_change_nothing_near():
    """Windows lie at multiples of the step, so a cut-out has the same sea surface as the whole."""
    x, h, s, lead, _ = sea(np.random.default_rng(3))
    whole = by_windows(x, h, s, lead, spacing=2.0)
    part = slice(10_000, 40_000)
    cut = by_windows(x[part], h[part], s[part], lead[part], spacing=2.0)
    inner = slice(10_000, 20_000)
    np.testing.assert_allclose(cut.h_ref[inner], whole.h_ref[part][inner], atol=1e-9)


# --- the xarray face -------------------------------------------------------------------------------------


def water(n=3000, **kwargs) -> xr.Dataset:
    ds = schema.mock_segments(n, stages=("classified",), **kwargs)
    ds["surface_class"][..., 1000:1020] = schema.OPEN_WATER
    ds["height"][..., 1000:1020] = 0.1
    ds["n_photons"][..., 1000:1020] = 2
    ds["class_probability"][..., 1000:1020, :] = [0.05, 0.05, 0.9]
    return ds


@pytest.mark.parametrize("beam", [None, "gt2r"])
@pytest.mark.parametrize("method", METHODS)
def test_face_follows_the_schema(beam, method):
    ds = water(beam=beam)
    ds["height"][..., 5:50] = np.nan
    out = seasurface.estimate(ds, method)
    schema.conform(out, "segments", "classified", "seasurface")
    assert out.h_ref.dims == ds.height.dims
    # By evidence a dark lead may be nilas.
    np.testing.assert_allclose(out.h_ref.values, 0.1, atol=0.006 if method == "evidence" else 1e-6)
    assert (out.h_ref_flag == 0).all()
    assert (out.lead_index.values.ravel()[[999, 1000, 1019, 1020]] == [-1, 0, 0, -1]).all()
    assert "h_ref" not in ds


def test_beams_are_apart():
    one, two = water(beam="gt1r"), schema.mock_segments(3000, stages=("classified",), beam="gt2r")
    out = seasurface.estimate(xr.concat([one, two], "beam"), beams="alone")
    assert (out.h_ref_flag.sel(beam="gt1r") == 0).all()
    assert (out.h_ref_flag.sel(beam="gt2r") == -1).all()
    assert np.isnan(out.h_ref.sel(beam="gt2r")).all()


def test_which_segments_are_leads():
    ds = water()
    mask = np.zeros(3000, bool)
    mask[2000:2010] = True
    assert (seasurface.estimate(ds, leads=mask).lead_index.values >= 0).sum() == 10
    ds["mine"] = ("x_atc", mask)
    assert (seasurface.estimate(ds, leads="mine").lead_index.values >= 0).sum() == 10
    ds["class_probability"][1000:1020, 2] = 0.6
    assert (seasurface.estimate(ds, min_probability=0.5).h_ref_flag == 0).all()
    assert (seasurface.estimate(ds, min_probability=0.7).h_ref_flag == -1).all()
    assert (seasurface.estimate(ds, min_segments=21).h_ref_flag == -1).all()
    ds["height"][1010] = np.nan
    assert set(seasurface.estimate(ds).lead_index.values.tolist()) == {-1, 0, 1}
    assert set(seasurface.estimate(ds, bridge=2.0).lead_index.values.tolist()) == {-1, 0}


def test_sigma_of_the_weights():
    ds = water()
    ds["height"][1000:1020] = np.linspace(0.0, 0.1, 20)
    narrow = seasurface.estimate(ds, "nasa").h_ref.values[0]
    wide = seasurface.estimate(ds, "nasa", sigma="spread").h_ref.values[0]
    given = seasurface.estimate(ds, "nasa", sigma=0.03).h_ref.values[0]
    assert narrow == pytest.approx(given, abs=1e-6)  # height_uncertainty of the mock is 0.03
    assert wide > narrow


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (lambda d: d.drop_vars("surface_class"), {}, "surface_class: missing"),
        (lambda d: d.drop_vars("height"), {}, "height: missing"),
        (lambda d: d.isel(x_atc=slice(None, None, -1)), {}, "must increase"),
        (lambda d: d, {"leads": "nothing"}, "no such variable"),
        (lambda d: d, {"leads": np.zeros(3, bool)}, "expected shape"),
        (lambda d: d, {"leads": np.zeros(3000)}, "boolean"),
        (lambda d: d, {"sigma": "nothing"}, "sigma='nothing'"),
        (lambda d: d, {"method": "best"}, "unknown sea-surface method"),
        (lambda d: d, {"step": 20_000.0}, "step"),
        (lambda d: d, {"smooth": 2}, "odd"),
    ],
)
def test_wrong_input_is_refused(change, options, message):
    with pytest.raises(ValueError, match=message):
        seasurface.estimate(change(water()), **options)


def test_shapes_must_agree():
    with pytest.raises(SchemaError, match="height: expected shape"):
        sea_surface(np.arange(4.0), np.zeros(3), 0.1, np.ones(4))
    with pytest.raises(SchemaError, match="one dimension"):
        sea_surface(np.zeros((2, 4)), np.zeros((2, 4)), 0.1, np.ones((2, 4)))


def test_degenerate_tracks():
    for n in (0, 1, 2):
        track = np.arange(n) * 2.0, np.zeros(n), 0.02, np.ones(n, bool)
        assert sea_surface(*track, spacing=2.0).h_ref.shape == (n,)
        result = by_windows(*track, spacing=2.0)
        assert result.h_ref.shape == (n,)
        assert (result.flag == 0).all()


# --- genuine rows ----------------------------------------------------------------------------------------


def test_minimum_of_published_windows(real_data):
    """The printed water rows of published windows (a few of each): never below the published minimum, equal in
    the window whose lowest row was printed, and the means of the rows within their scatter."""
    rows = pd.read_csv(real_data / "rows" / "real_rows.csv")
    windows = pd.read_csv(real_data / "rows" / "real_windows.csv").dropna(subset=["ow_min_elev"])
    rows = rows[rows.label == 2].drop_duplicates(["file", "x_atc"])
    seen, equal = 0, 0
    for w in windows.itertuples():
        mine = rows[(rows.file == w.file) & (rows.x_atc > w.start_x) & (rows.x_atc < w.end_x)].sort_values(
            "x_atc"
        )
        if mine.empty:
            continue
        result = sea_surface(
            mine.x_atc.to_numpy(float),
            mine.h_cor_mean.to_numpy(),
            0.05,
            np.ones(len(mine)),
            method="minimum",
            spacing=2.0,
            window=10_000.0,
            step=10_000.0,
            origin=float(w.base_x),
            reach=1e6,
        )
        lowest = float(result.windows.height.min())
        assert lowest > w.ow_min_elev - 1e-6
        seen += 1
        equal += abs(lowest - w.ow_min_elev) < 1e-6
    print(f"\n{seen} published windows with printed water rows, {equal} with the lowest row among them")
    assert seen == 14
    assert equal >= 1

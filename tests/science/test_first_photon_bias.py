"""First-photon bias: the renewal equation against a Monte Carlo, and the granule's tables."""

from __future__ import annotations

import numpy as np
import pytest

from is2ice.science import core_mean
from is2ice.science.first_photon_bias import M_PER_NS, SPAN_10_90, from_cal19, from_model

PULSE = 0.637 * M_PER_NS


def monte_carlo(incident: float, n_pix: int, sigma: float, dead_ns: float, shots: int, seed: int):
    """Detected heights of many pulses, event by event: photons, random pixels, non-paralysable dead time."""
    rng = np.random.default_rng(seed)
    heights = []
    for _ in range(shots):
        t = np.sort(rng.normal(0, sigma / M_PER_NS, rng.poisson(incident)))
        pixel = rng.integers(0, n_pix, t.size)
        last = np.full(n_pix, -np.inf)
        for time, k in zip(t, pixel, strict=True):
            if time - last[k] >= dead_ns:
                last[k] = time
                heights.append(-time * M_PER_NS)
    return np.array(heights)


@pytest.mark.parametrize(
    ("strength", "n_pix", "incident", "rough"),
    [
        ("strong", 16, 7.0, 0.10),
        ("strong", 16, 30.0, 0.0),
        ("strong", 16, 16.0, 0.25),
        ("weak", 4, 2.0, 0.10),
    ],
)
def test_model_equals_monte_carlo(strength, n_pix, incident, rough):
    dead = {"strong": 2.98, "weak": 3.05}[strength]
    shots = int(250_000 / incident)
    h = monte_carlo(incident, n_pix, np.hypot(PULSE, rough), dead, shots, seed=3)
    bias, clipped = from_model(strength)(np.array([h.size / shots]), np.array([h.std()]))
    error = h.std() / np.sqrt(h.size)
    assert not clipped[0]
    assert bias[0] == pytest.approx(h.mean(), abs=4 * error + 2e-4)


def test_published_magnitudes():
    """Strong beam, 0.10 m roughness: 5.0, 7.5 and 10.3 detected photons give 1.3, 2.2 and 3.4 cm."""
    spread = np.full(3, 0.97 * np.hypot(PULSE, 0.10))  # the dead time narrows what is detected
    bias, _ = from_model("strong")(np.array([5.0, 7.5, 10.3]), spread)
    np.testing.assert_allclose(bias, [0.013, 0.022, 0.034], atol=0.0008)


def test_more_light_more_bias_and_no_light_none():
    f = from_model("strong")
    bias, _ = f(np.linspace(0, 15, 40), np.full(40, 0.12))
    assert bias[0] == 0.0
    assert (np.diff(bias) > 0).all()
    _, clipped = f(np.array([17.0, 5.0]), np.array([0.12, 5.0]))
    assert clipped.all()
    assert np.isnan(f(np.array([np.nan]), np.array([0.1]))[0][0])


def test_limits_of_trust():
    assert from_model("strong").limit == pytest.approx(14.4)  # 0.9 of 16 pixels
    assert from_model("weak").limit == pytest.approx(3.6)
    dead, strength, width, corr = tables()
    f = from_cal19(3.0, dead, strength + 0.4, width, corr, 16)
    assert f.limit == pytest.approx(14.4)
    _, outside = f(np.array([0.1, 5.0, 17.0]), np.full(3, 0.12))
    np.testing.assert_array_equal(outside, [False, False, True])  # faint returns have no bias to speak of


def tables(n_d=6, n_s=160, n_w=498):
    """CAL-19 shaped tables whose correction is linear in every axis, so that the look-up is exact."""
    dead = np.linspace(2.5, 3.5, n_d)
    strength = np.tile(np.linspace(0.1, 16, n_s), (n_d, 1))
    width = np.tile(np.linspace(0.5, 10, n_w), (n_d, 1))
    corr = 100 * dead[:, None, None] + 10 * strength[:, :, None] - 2 * width[:, None, :]
    return dead, strength, width, corr


def test_cal19_axes_and_units():
    dead, strength, width, corr = tables()
    f = from_cal19(2.98, dead, strength, width, corr)
    assert f.source == "cal19"
    spread = np.array([0.12, 0.3])
    got, clipped = f(np.array([5.0, 12.3]), spread)
    span_ns = spread * SPAN_10_90 / M_PER_NS
    ps = 100 * 2.98 + 10 * np.array([5.0, 12.3]) - 2 * span_ns
    np.testing.assert_allclose(got, ps * 1e-12 * 299792458 / 2, rtol=1e-9)
    assert not clipped.any()


def test_cal19_with_swapped_axes_is_refused():
    dead, strength, width, corr = tables()
    with pytest.raises(ValueError, match=r"ffb_corr \(498, 160, 6\); expected \(n\)"):
        from_cal19(3.0, dead, strength, width, corr.T)


def test_cal19_invalid_rows_are_left_out():
    dead, strength, width, corr = tables()
    corr[:, 100:, :] = 3.4e38
    f = from_cal19(3.0, dead, strength, width, corr)
    assert f.strength[-1] == pytest.approx(strength[0, 99])
    _, clipped = f(np.array([15.0]), np.array([0.12]))
    assert clipped[0]


# -- the core mean -----------------------------------------------------------------------------------------
def core_of(incident: float, rough: float, shots: int, seed: int) -> tuple[float, float, float]:
    """Photons a pulse, bias and spread of the core mean of many photons, drawn one by one with the pulse's tails."""
    rng = np.random.default_rng(seed)
    offset = core_mean.pulse_zero()
    kept, detected = [], 0
    for _ in range(shots):
        n = rng.poisson(incident)
        t = rng.normal(0, np.hypot(core_mean.PULSE, rough / M_PER_NS), n) - offset
        u = rng.random(n)
        (a, slow), (b, slower) = core_mean.TAILS
        t += np.where(u < a, rng.exponential(slow, n), np.where(u < a + b, rng.exponential(slower, n), 0.0))
        last = np.full(16, -np.inf)
        for time in np.sort(t):
            k = rng.integers(16)
            if time - last[k] >= 2.98:
                last[k] = time
                detected += 1
                kept.append(-time * M_PER_NS)
    h = np.array(kept)
    h = h[np.abs(h) < core_mean.SIGNAL + core_mean.PER_ROUGHNESS * rough]
    core = h[np.abs(h - np.median(h)) <= core_mean.TRIM]
    return detected / shots, float(core.mean()), float(core.std())


@pytest.mark.parametrize(("incident", "rough"), [(1.0, 0.0), (7.0, 0.10), (12.0, 0.02)])
def test_bias_of_the_core_equals_monte_carlo(incident, rough):
    rate, expected, spread = core_of(incident, rough, int(60_000 / incident), 5)
    bias, _ = core_mean.of_core(from_model("strong"), "strong")(np.array([rate]), np.array([spread]))
    assert bias[0] == pytest.approx(expected, abs=4 * spread / np.sqrt(60_000) + 5e-4)


def test_few_photons_lie_lower_and_scatter_more():
    rng = np.random.default_rng(1)
    t = np.arange(-4.0, 9.0, 0.01)
    f = core_mean.density(t, 0.05 / M_PER_NS)
    h = -(t - core_mean.pulse_zero()) * M_PER_NS
    f[np.abs(h) > core_mean.SIGNAL + 0.05] = 0.0
    drawn = np.interp(rng.random((100_000, 4)), np.cumsum(f) / f.sum(), h)
    many = drawn.ravel()
    many = many[np.abs(many - np.median(many)) <= core_mean.TRIM]
    for n in (1, 2, 4):
        few = drawn[:, :n]
        core = np.abs(few - np.median(few, axis=1, keepdims=True)) <= core_mean.TRIM
        mean = np.where(core.any(1), (few * core).sum(1) / np.maximum(core.sum(1), 1), few.mean(1))
        low, wide = core_mean.FEW[:, n]
        assert mean.mean() - many.mean() == pytest.approx(low, abs=0.001)
        assert mean.std() * np.sqrt(n) / many.std() == pytest.approx(wide, abs=0.035)

"""Evidence for leads, the footprint of narrow ones, and the sea surface as a process seen by all beams of a pass."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import xarray as xr
from scipy.ndimage import gaussian_filter1d

from is2ice import schema
from is2ice.science import lead_evidence, lead_footprint, seasurface, surface_process
from is2ice.science.surface_process import SLOPE_LENGTH, TRACK_LENGTH, Observations, Process

ICE, SEA, DARK = 0.5, 0.1, 0.2


def cube(leads: dict[str, list[int]], *, n: int = 20_000, cells: int = 30, seed: int = 0) -> xr.Dataset:
    """Three strong beams of noisy ice, with dark leads crossed at random at the given cells; a sea of 1 cm/km."""
    rng = np.random.default_rng(seed)
    beams = []
    for beam in ("gt1r", "gt2r", "gt3r"):
        ds = schema.mock_segments(n, stages=("classified",), beam=beam, seed=int(beam[2]))
        sea = SEA + 1e-5 * 2.0 * np.arange(n)
        water, inside = np.zeros(n), np.zeros(n)
        for at in leads.get(beam, []):
            water[at : at + cells] = 1.0
            # Light through the footprint: dark water and bright ice beside it, blurred where edges are oblique.
            one = (np.arange(n) >= at) & (np.arange(n) < at + cells)
            cosine = max(np.sqrt(1.0 - rng.random() ** 2), 0.2)
            inside += gaussian_filter1d(
                one.astype(float), lead_footprint.SPREAD / 2.0 / cosine, mode="nearest"
            )
        light = inside * DARK + (1 - inside)
        height = (inside * DARK * sea + (1 - inside) * (sea + ICE)) / light
        height += np.where(inside < 0.01, 0.15 * rng.random(n), 0.0) + rng.normal(0, 0.03, n)
        ds["n_photons"][...] = np.round(ds["n_photons"] * light)
        ds["surface_class"][..., water > 0] = schema.OPEN_WATER
        ds["class_probability"][..., water > 0, :] = [0.05, 0.15, 0.80]
        ds["height"] = ds["height"].copy(data=height[None].astype("f4"))
        beams.append(ds)
    return xr.concat(beams, "beam")


def plant(ds: xr.Dataset, beam: int, at: int, cells: int = 5) -> xr.Dataset:
    """A false lead: ice, as bright and as high as it is, called water."""
    ds = ds.copy(deep=True)
    ds["surface_class"][beam, at : at + cells] = schema.OPEN_WATER
    ds["class_probability"][beam, at : at + cells, :] = [0.20, 0.05, 0.75]
    return ds


def error(out: xr.Dataset, beam: int) -> np.ndarray:
    """Height of the surface over the true sea."""
    return out["h_ref"].values[beam] - (SEA + 2e-5 * np.arange(out.sizes["x_atc"]))


# --- evidence ---------------------------------------------------------------------------------------------


def table(**columns: float) -> xr.Dataset:
    """One dark lead of 30 m, unless told otherwise."""
    values = {
        "height": 0.1,
        "sigma": 0.03,
        "length": 30.0,
        "water_probability": 0.8,
        "brightness": 0.2,
        "ice_dark": 0.9,
        "ice_bright": 1.2,
        "photons": 30.0,
        "low_level": 0.1,
        "beside_bright": 1.1,
        "background": np.nan,
        "background_beside": np.nan,
        "flatness": np.nan,
    } | columns
    return xr.Dataset({k: ("lead", [v]) for k, v in values.items()})


@pytest.mark.parametrize(
    ("change", "low", "high"),
    [
        ({}, 0.97, 1.0),
        ({"brightness": 2.5, "beside_bright": np.nan}, 0.95, 1.0),  # specular
        ({"brightness": 1.0, "length": 8.0}, 0.0, 0.3),  # as bright as ice
        ({"height": 0.5}, 0.0, 0.05),  # above the lowest ice
        ({"height": -0.3}, 0.97, 1.0),  # below it: no ice so low is needed
        (
            {"water_probability": 0.4, "length": 6.0, "brightness": np.nan},
            0.3,
            0.6,
        ),  # nothing for it or against it
        ({"brightness": np.nan, "low_level": np.nan, "water_probability": np.nan}, 0.8, 0.95),
        ({"height": 0.8, "sigma": 0.6}, 0.0, 0.1),  # a rough run is no excuse for its height
    ],
)
def test_probability_of_a_lead_by_itself(change, low, high):
    assert low <= lead_evidence.prior(table(**change))[0] <= high


def test_low_level_is_the_lowest_fiftieth_within_five_kilometres():
    x = np.arange(1.0, 30_000.0, 2.0)
    height = np.where(x < 15_000, 0.5, 0.8)
    height[(x > 2_000) & (x < 2_400)] = 0.1  # 4 % of the ten kilometres about
    node, level = lead_evidence.low_level(x, height, np.full(x.size, 0.05))
    assert level[node == 4_000] == pytest.approx(0.1)
    assert level[node == 10_000] == pytest.approx(0.5)
    assert level[node == 25_000] == pytest.approx(0.8)
    height[x > 12_000] = np.nan
    assert np.isnan(lead_evidence.low_level(x, height, np.full(x.size, 0.05))[1][-1])


# --- footprint --------------------------------------------------------------------------------------------


def narrow(width: float, water: float, *, angle: float = 0.0) -> tuple[float, float, float]:
    """Error of a lead's mean height, the offset found for it and its error; light mixed by a Gaussian footprint."""
    rng = np.random.default_rng(3)
    x = np.arange(1.0, 400.0, 2.0)
    inside = np.zeros(x.size)
    fine = np.arange(0.0, 400.0, 0.1)
    lies = (np.abs(fine - 200.0) < width / 2).astype(float)
    spread = lead_footprint.SPREAD / np.cos(angle)
    for i, at in enumerate(x):
        disc = np.exp(-0.5 * ((fine - at) / spread) ** 2)
        inside[i] = (disc * lies).sum() / disc.sum()
    brightness = inside * water + (1 - inside)
    height = ICE * (1 - inside) / brightness
    run = np.flatnonzero(np.abs(x - 200.0) < width / 2)
    share = np.zeros(x.size)
    share[run] = 1.0 / run.size
    lead = float(height[run].mean())
    seen = brightness * (1 + rng.normal(0, 0.02, x.size))
    offset, sigma = lead_footprint.offsets(
        x, height, np.full(x.size, 0.03), seen, share, (run[:1], run[-1:], np.array([lead]))
    )
    return lead, float(offset[0]), float(sigma[0])


@pytest.mark.parametrize(
    ("width", "water", "least"), [(18.0, 0.15, 0.5), (26.0, 0.15, 0.65), (40.0, 0.15, 0.8), (16.0, 3.0, 0.6)]
)
def test_light_of_the_ice_is_seen_on_the_average_of_angles(width, water, least):
    sine = (np.arange(8) + 0.5) / 8
    found = np.array([narrow(width, water, angle=np.arcsin(s)) for s in sine])
    lead, offset, _ = found.mean(axis=0)
    assert least * lead < offset < 1.1 * lead
    assert np.mean(np.abs(found[:, 0] - found[:, 1]) < 2 * found[:, 2] + 0.01) > 0.7


def test_wide_leads_and_unknown_brightness_are_left_alone():
    lead, offset, _ = narrow(200.0, 3.0)
    assert abs(lead - offset) < 3e-3
    x = np.arange(0.0, 100.0, 2.0)
    nothing = np.full(x.size, np.nan)
    got = lead_footprint.offsets(
        x, 0 * x, 0 * x + 0.03, nothing, 0 * x, (np.array([10]), np.array([20]), np.array([0.0]))
    )
    assert got[0][0] == got[1][0] == 0.0


def test_saturated_neighbours_lower_a_lead():
    """Two leads of ten cells: a third of the water about the first is saturated, none about the second."""
    saturated = np.full(100, np.nan)
    saturated[10:25], saturated[60:70] = 0.0, 0.0
    saturated[20:25] = 1.0
    rows = np.array([10, 60]), np.array([19, 69])
    offset, sigma = lead_footprint.saturation(saturated, rows, 6)
    assert offset == pytest.approx([lead_footprint.SATURATION / 3, 0.0])
    assert sigma == pytest.approx([lead_footprint.SATURATION_ERROR / 3, 0.0])


# --- the process ------------------------------------------------------------------------------------------


def dense(x: np.ndarray, track: np.ndarray, across: np.ndarray, process: Process) -> np.ndarray:
    """Covariance of the surface at points, by steps of the states' means: an independent way to the same."""
    n, size = x.size, 3 + across.size
    look = np.zeros((n, size))
    look[:, 0], look[:, 2] = 1.0, across[track]
    look[np.arange(n), 3 + track] = 1.0
    first = np.zeros(size)
    first[[0, 1, 2]] = surface_process.LEVEL**2, process.slope**2, process.slope**2
    first[3:] = process.departure**2
    # Fine Euler steps of independent noise give the covariance of states at every point.
    states = [np.diag(first)]
    carry = [np.eye(size)]
    for a, b in pairwise(x):
        p, f = states[-1].copy(), np.eye(size)
        steps = 400
        dx = (b - a) / steps
        one = np.eye(size)
        one[0, 1] = dx
        one[1, 1] = one[2, 2] = 1 - dx / SLOPE_LENGTH
        one[3:, 3:] = np.eye(across.size) * (1 - dx / TRACK_LENGTH)
        noise = np.zeros(size)
        noise[1:3] = 2 * process.slope**2 * dx / SLOPE_LENGTH
        noise[3:] = 2 * process.departure**2 * dx / TRACK_LENGTH
        for _ in range(steps):
            p, f = one @ p @ one.T + np.diag(noise), one @ f
        states.append(p)
        carry.append(f)
    out = np.zeros((n, n))
    for i in range(n):
        f = np.eye(size)
        for j in range(i, n):
            f = carry[j] @ f if j > i else f
            out[j, i] = out[i, j] = look[j] @ f @ states[i] @ look[i]
    return out


def test_filter_and_smoother_are_the_gaussian_process():
    rng = np.random.default_rng(1)
    x = np.sort(rng.uniform(0, 60e3, 14))
    track, across = rng.integers(0, 3, 14), np.array([-3300.0, 0.0, 3300.0])
    process = Process(1e-5, 0.01)
    height, variance = rng.normal(0, 0.05, 14), rng.uniform(0.01, 0.04, 14) ** 2
    at = np.array([7e3, 31e3, 58e3])
    everywhere = np.concatenate([x, at])
    order = np.argsort(everywhere)
    points = np.concatenate([track, [1, 1, 1]])
    k = dense(everywhere[order], points[order], across, process)
    back = np.argsort(order)
    k = k[np.ix_(back, back)]
    solve = np.linalg.solve(k[:14, :14] + np.diag(variance), np.column_stack([height, k[:14, 14:]]))
    expected, spread = k[14:, :14] @ solve[:, 0], np.diag(k[14:, 14:] - k[14:, :14] @ solve[:, 1:])
    leads = Observations(x, height, variance, np.ones(14), track, np.zeros(14), np.ones(14), np.zeros(14))
    _, _, mean, var = surface_process.surface_at(leads, variance, at, process, across)
    np.testing.assert_allclose(mean[1], expected, atol=2e-4)
    np.testing.assert_allclose(np.sqrt(var[1]), np.sqrt(spread), rtol=0.02)


def test_a_false_lead_bounds_the_sea_and_does_not_pull_it_up():
    """Six true leads at 0, and one or many doubtful ones of any height above: the sea stays."""
    across, node = np.zeros(1), np.array([10e3])

    def sea(height: list[float], prior: float) -> float:
        x = np.linspace(1e3, 19e3, 6 + len(height))
        h = np.array([0.0, *height[:2], 0.0, 0.0, *height[2:], 0.0, 0.0, 0.0])
        p = np.where(h > 0, prior, 0.97)
        one = np.ones(x.size)
        leads = Observations(x, h, one * 0.03**2, p, np.zeros(x.size, int), 0.0 * one, one, 0.0 * one)
        return float(surface_process.fit(leads, node, across).height[0, 0])

    clean = sea([], 0.5)
    for height in ([0.3], [0.12], [0.2, 0.3, 0.25, 0.4], [0.08, 0.5, 0.15]):
        assert abs(sea(height, 0.5) - clean) < 0.005
    assert sea([0.3], 0.9) - clean < 0.005


@pytest.mark.parametrize(("lifted", "most"), [(0.0, 0.02), (0.5, 0.025), (1.0, 0.045)])
def test_light_from_beside_lifts_some_and_lowers_none(lifted, most):
    """Sixty dark leads, none, half or all of them lifted by 8 cm on the average: the sea stays near 0."""
    rng = np.random.default_rng(2)
    x, one = np.linspace(1e3, 40e3, 60), np.ones(60)
    lift = rng.exponential(0.08, x.size) * (rng.random(x.size) < lifted)
    height = lift + rng.normal(0, 0.02, x.size)
    none = 0.0 * one

    def sea(beside: float) -> float:
        rows = np.zeros(60, int)
        leads = Observations(x, height, one * 0.02**2, 0.97 * one, rows, none, one, beside * one)
        return float(surface_process.fit(leads, np.array([20e3]), np.zeros(1)).height[0, 0])

    assert abs(sea(0.08)) < most
    # Without knowing of the lift, the surface follows the lifted leads, and no others.
    assert (sea(0.0) > most + 0.01) == (lifted > 0)


# --- the surface ------------------------------------------------------------------------------------------

PLACES = [2_000, 5_000, 8_000, 12_000, 15_000, 18_000]


@pytest.mark.parametrize("beams", ["joint", "alone"])
@pytest.mark.parametrize("places", [PLACES, PLACES[1:5], PLACES[2:4]])
def test_one_false_lead_moves_nothing_by_a_centimetre(places, beams):
    clean = cube({"gt1r": places, "gt2r": places, "gt3r": places})
    # A limit of the error would make flags of cells at the limit depend on its last digits.
    before = seasurface.estimate(clean, beams=beams, most_error=1.0)
    for at in (3_500, 17_000):
        after = seasurface.estimate(plant(clean, 1, at), beams=beams, most_error=1.0)
        moved = np.nanmean(after["h_ref"].values[1] - before["h_ref"].values[1])
        assert abs(moved) < 0.01
        assert after["lead_probability"].values[1, at] < 0.5
        assert any("gt2r: 1 of" in note for note in after.attrs["notes"])
        np.testing.assert_array_equal(after["h_ref_flag"].values[1], before["h_ref_flag"].values[1])


def test_no_lead_or_only_an_implausible_one_makes_no_surface():
    empty = cube({})
    for ds in (empty, plant(empty, 0, 10_000)):
        out = seasurface.estimate(ds)
        assert (out["h_ref_flag"].values == -1).all()
        assert np.isnan(out["h_ref"].values).all()
    lone = seasurface.estimate(cube({"gt1r": [10_000]}))
    assert (lone["h_ref_flag"].values[0] >= 0).any()


def test_beams_without_leads_borrow_from_their_neighbours():
    z = []
    for seed in range(4):
        out = seasurface.estimate(cube({"gt2r": PLACES}, seed=seed))
        schema.conform(out, "segments", "classified", "seasurface")
        assert set(np.unique(out["h_ref_flag"].values[[0, 2]])) == {4}
        assert set(np.unique(out["h_ref_flag"].values[1])) <= {0, 1, 3}
        aside, own = (float(out["h_ref_uncertainty"].values[k].mean()) for k in (0, 1))
        assert aside > 1.5 * own
        z += [np.mean(error(out, k) / out["h_ref_uncertainty"].values[k]) for k in range(3)]
    assert np.sqrt(np.mean(np.square(z))) < 1.2
    alone = seasurface.estimate(cube({"gt2r": PLACES}), beams="alone")
    assert (alone["h_ref_flag"].values[[0, 2]] == -1).all()


def test_beyond_the_last_lead_the_surface_follows_the_slope():
    out = seasurface.estimate(cube({"gt2r": PLACES[:4]}, cells=60), beams="alone")
    beyond = np.flatnonzero(out["h_ref_flag"].values[1] == 3)[-1]
    off = error(out, 1)[beyond]
    assert abs(off) < 0.06  # held constant it would be 10 cm
    u = out["h_ref_uncertainty"].values[1]
    assert abs(off) < 2 * u[beyond]
    assert u[beyond] > 2 * u[7_000]


def test_one_beam_is_the_same_alone_and_in_a_cube_of_one():
    ds = cube({"gt2r": PLACES}).sel(beam=["gt2r"])
    joint, alone = seasurface.estimate(ds), seasurface.estimate(ds, beams="alone")
    xr.testing.assert_identical(joint, alone)
    single = seasurface.estimate(ds.isel(beam=0))
    np.testing.assert_array_equal(single["h_ref"].values, joint["h_ref"].values[0])


def test_order_of_the_beams_does_not_matter():
    ds = cube({"gt1r": PLACES[:3], "gt3r": PLACES[2:]})
    a, b = seasurface.estimate(ds), seasurface.estimate(ds.isel(beam=[2, 0, 1])).isel(beam=[1, 2, 0])
    np.testing.assert_array_equal(a["h_ref"].values, b["h_ref"].values)
    np.testing.assert_array_equal(a["h_ref_flag"].values, b["h_ref_flag"].values)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reech": 1.0}, "unknown option 'reech'"),
        ({"beams": "all"}, "expected 'joint' or 'alone'"),
        ({"smooth": 3}, "no value per window"),
    ],
)
def test_options_are_checked(options, message):
    with pytest.raises((TypeError, ValueError), match=message):
        seasurface.estimate(cube({}, n=100), **options)

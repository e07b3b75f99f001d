"""ATL07 and ATL10 of the twin: the steps by hand, genuine histograms, layouts, and a small granule against truth."""

from __future__ import annotations

import ast
import hashlib
from pathlib import Path

import h5py
import numpy as np
import pytest

from is2ice import twin
from is2ice.errors import GranuleError
from is2ice.io.icesat2 import atl07_atl10
from is2ice.twin.icesat2 import atl07, atl07_atl10_layout, atl10, fine_tracking

ATL07 = "ATL07-01_20190222003738_003_02_subset.h5"
ATL10 = "processed_ATL10-01_20220104070710_01991401_006_01.h5"
MADE_OF = ("fine_tracking", "atl07", "atl10", "atl07_atl10_layout")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A strong and a weak beam over 20 km with leads: ATL03, ATL07, ATL10 and the truth."""
    folder = tmp_path_factory.mktemp("nasa")
    scene = twin.Scene.preset("ross_sea_november", seed=11, length_km=20)
    atl03 = twin.make_granule(scene, folder, beams=["gt1r", "gt1l"], truth_path=folder / "truth.nc")
    seven = twin.make_atl07(atl03, folder)
    return {
        "atl03": atl03,
        "atl07": seven,
        "atl10": twin.make_atl10(seven, folder),
        "truth": folder / "truth.nc",
    }


# ---- steps by hand ----


def test_gather_counts_photons_and_drops_bright_pulses():
    # Pulses of 2, 2, 20, 2, 2, 2 photons: the bright third is left out; segments of 4 photons, advance 2.
    pulse = np.repeat(np.arange(6), [2, 2, 20, 2, 2, 2])
    keep, dropped, first, last = fine_tracking.gather(0.7 * pulse, pulse, 4, 200, 2, 16, 200.0)
    assert pulse[keep].tolist() == [0, 0, 1, 1, 3, 3, 4, 4, 5, 5]
    assert dropped.tolist() == [0] * 4 + [1] * 6
    assert list(zip(first, last, strict=True)) == [(0, 4), (2, 6), (4, 8), (6, 10)]


def test_gather_stops_at_the_greatest_length_and_at_gaps():
    # One photon a pulse: 3 pulses hold 3 of 4 photons.
    pulse = np.arange(12)
    _, _, first, last = fine_tracking.gather(0.7 * pulse, pulse, 4, 3, 4, 16, 200.0)
    assert set((last - first).tolist()) <= {2, 3}
    assert (last - first).max() == 3
    # A gap of 300 m after the sixth photon.
    x = 0.7 * pulse + np.where(pulse > 5, 300.0, 0.0)
    _, _, first, last = fine_tracking.gather(x, pulse, 4, 200, 2, 16, 200.0)
    assert all(not (a < 6 < b) for a, b in zip(first, last, strict=True))


def test_histogram_is_trimmed_to_two_standard_deviations():
    # 40 photons at each of -.1, 0 and .1 m, 2 at -1 m, 1 at 1 m: about the coarse height of 0 the mean is
    # -1/123 = -.0081 m, the standard deviation sqrt((80 * .01 + 3) / 123 - .0081^2) = .1756 m.
    h = 0.3 + np.repeat([-1.0, -0.1, 0.0, 0.1, 1.0], [2, 40, 40, 40, 1])
    counts, span, stats = fine_tracking.histograms(
        h, np.array([0]), np.array([h.size]), fine_tracking.N_BINS, fine_tracking.BIN, fine_tracking.BOTTOM, 2
    )
    total, used, mean, sd, median, width, coarse, coarse_sd, low, high = stats[0]
    assert counts.sum() == total == 123
    assert coarse == pytest.approx(0.3)
    assert coarse_sd == pytest.approx(0.1756, abs=1e-4)
    # Bins are centred on -2 + .025 k: 76, 80 and 84 hold the three groups; +-.35 m leaves just these.
    assert np.flatnonzero(counts[0]).tolist() == [40, 76, 80, 84, 120]
    assert span[0].tolist() == [76, 84]
    assert used == 120
    assert (mean, median) == pytest.approx((0.0, 0.0), abs=1e-12)
    assert sd == pytest.approx(np.sqrt(0.02 / 3))
    assert (low, high) == pytest.approx((-0.1, 0.1))
    assert width == pytest.approx(0.2)


def test_outer_bins_of_one_photon_are_cut():
    h = np.repeat([-0.05, 0.0, 0.05, 0.1], [1, 30, 30, 2])
    _, span, stats = fine_tracking.histograms(
        h, np.array([0]), np.array([h.size]), fine_tracking.N_BINS, fine_tracking.BIN, fine_tracking.BOTTOM, 2
    )
    # The coarse height is .05 m; sigma .029 m about .026 m keeps up to .085 m: 0 and .05 m stay.
    assert span[0].tolist() == [78, 80]
    assert stats[0, 1] == 60


@pytest.mark.parametrize(("height", "width"), [(0.0, 0.1), (0.103, 0.25), (-0.2137, 0.055), (0.31, 0.62)])
def test_fit_returns_the_surface_of_a_perfect_histogram(height, width):
    pulse = fine_tracking.pulse_from_echo()
    sigma = np.hypot(width, 1.5e-9 / 2.3548 * 299_792_458 / 2)
    z = fine_tracking.WINDOW[0] + fine_tracking.BIN * np.arange(fine_tracking.N_BINS)
    counts = 1e4 * np.exp(-0.5 * ((z - height) / sigma) ** 2)
    near = np.flatnonzero(np.abs(z - height) < 2 * sigma)
    fit = fine_tracking.fit_histograms(
        counts[None], np.array([[near[0], near[-1]]]), np.array([height + 0.04]), pulse
    )
    assert fit.height[0] == pytest.approx(height, abs=5e-4)
    assert fit.width[0] == pytest.approx(width, abs=1.5e-3)
    assert fit.quality[0] == (1 if width < 0.755 else 2)


def test_fit_of_poisson_photons_is_unbiased():
    rng = np.random.default_rng(7)
    n = 2000
    h = rng.normal(0.0, np.hypot(0.12, 0.0955), (n, 150)).ravel()
    first = 150 * np.arange(n)
    counts, span, stats = fine_tracking.histograms(
        h,
        first,
        first + 150,
        fine_tracking.N_BINS,
        fine_tracking.BIN,
        fine_tracking.BOTTOM,
        fine_tracking.MIN_COUNT,
    )
    fit = fine_tracking.fit_histograms(counts, span, stats[:, 2], fine_tracking.pulse_from_echo())
    error = stats[:, 6] + fit.height
    # The mean of 150 photons would scatter by .153 / sqrt(150) = 12.5 mm; the median of 2000 by .35 mm.
    assert abs(np.median(error)) < 0.0015
    assert 0.0125 < error.std() < 0.020
    assert np.median(fit.width) == pytest.approx(0.12, abs=0.025)


def test_a_late_tail_of_the_pulse_does_not_lower_the_surface():
    # The tail reaches below the surface; its centroid, not its peak, is height zero.
    t = np.arange(-20.0, 40.0, 0.05) * 1e-9
    core = np.exp(-0.5 * (t / 0.637e-9) ** 2)
    tail = np.where(t > 0, 0.1 * np.exp(-t / 2e-9), 0.0)
    pulse = fine_tracking.pulse_from_echo(t, core + tail)
    z = (np.arange(pulse.table.shape[1]) - pulse.centre) * 0.005
    flat = pulse.table[0] / pulse.table[0].sum()
    assert flat[z < -0.4].sum() > 3 * flat[z > 0.4].sum()
    near = np.abs(z - z[flat.argmax()]) <= 0.6
    assert (z * flat)[near].sum() / flat[near].sum() == pytest.approx(0.0, abs=0.005)
    np.testing.assert_allclose(pulse.table.sum(1)[:60], pulse.table[0].sum(), rtol=1e-3)


def test_surface_types_by_hand():
    rate = np.array([0.4, 2.0, 2.0, 2.0, 6.0, 12.0, 12.0, 15.0])
    width = np.array([0.1, 0.1, 0.15, 0.3, 0.1, 0.1, 0.2, 0.05])
    dark, low_sun = np.full(8, 2e6), np.full(8, -20.0)
    night = atl07.surface_types(rate, width, dark, low_sun, "strong")
    assert night.tolist() == [0, 7, 9, 1, 1, 3, 1, 5]
    # With the sun at 30 degrees and dark surroundings the leads stay and are even.
    assert atl07.surface_types(rate, width, dark, low_sun + 50, "strong").tolist() == [0, 6, 8, 1, 1, 2, 1, 4]
    # Bright surroundings, over 4 MHz, make them ice.
    assert atl07.surface_types(rate, width, 3 * dark, low_sun + 50, "strong").tolist() == [
        0,
        1,
        1,
        1,
        1,
        1,
        1,
        1,
    ]
    # Weak beams: a quarter of the rate.
    np.testing.assert_array_equal(atl07.surface_types(rate / 4, width, dark, low_sun, "weak"), night)
    # A failed fit is ice, whatever the rate.
    assert atl07.surface_types(rate, np.full(8, np.nan), dark, low_sun, "strong").tolist() == [0] + [1] * 7


def test_leads_by_hand():
    x = np.array([0.0, 10.0, 20.0, 30.0, 40.0])
    h = np.array([0.02, 0.01, 0.50, 0.03, 0.03])
    s = np.array([0.01, 0.01, 0.01, 0.01, 0.02])
    ssh = np.array([True, True, False, True, True])
    leads = atl10.find_leads(x, h, s, ssh, np.array([1, 2, 3, 4, 6]))
    # The identifier jumps between the last two, so they are leads of their own.
    assert leads.first.tolist() == [0, 3, 4]
    assert leads.count.tolist() == [2, 1, 1]
    w = np.array([np.exp(-1.0), 1.0])  # .01 m above the lowest, sigma .01 m
    a = w / w.sum()
    assert leads.height[0] == pytest.approx(a[0] * 0.02 + a[1] * 0.01)
    assert leads.sigma[0] == pytest.approx(0.01 * np.sqrt((a**2).sum()))
    assert leads.height[1:].tolist() == [0.03, 0.03]
    assert leads.x.tolist() == [5.0, 30.0, 40.0]
    assert leads.length.tolist() == [21.0, 11.0, 11.0]


def leads_at(x, height, sigma):
    n = len(x)
    one = np.ones(n, np.int64)
    return atl10.Leads(np.arange(n), one, *(np.array(v, float) for v in (height, sigma, x)), 11.0 * one)


def test_sections_weigh_leads_by_inverse_variance():
    s = atl10.reference_surfaces(leads_at([2e3, 6e3], [0.10, 0.20], [0.01, 0.02]), 0.0, 1)
    # Weights 1 / 1 : 1 / 4.
    assert s.height[0] == pytest.approx(0.8 * 0.10 + 0.2 * 0.20)
    assert s.sigma[0] == pytest.approx(np.sqrt(0.64 * 1e-4 + 0.04 * 4e-4))
    assert s.x[0] == pytest.approx(4e3)
    assert (s.lead_first[0], s.lead_count[0], s.flag[0]) == (0, 2, 0)
    # Half a metre is out of bounds: no surface is invented.
    off = atl10.reference_surfaces(leads_at([2e3], [0.6], [0.01]), 0.0, 1)
    assert np.isnan(off.height[0])
    assert off.flag[0] == -1


def test_sections_are_smoothed_over_three():
    leads = leads_at([5e3, 15e3, 25e3], [0.00, 0.06, 0.03], [0.01, 0.01, 0.01])
    assert atl10.reference_surfaces(leads, 0.0, 3).height.tolist() == pytest.approx([0.0, 0.03, 0.03])
    assert atl10.reference_surfaces(leads, 0.0, 3).sigma[1] == pytest.approx(0.01 / np.sqrt(3))
    assert atl10.reference_surfaces(leads, 0.0, 3, smooth=False).height.tolist() == pytest.approx(
        [0.0, 0.06, 0.03]
    )


def test_empty_sections_are_filled_and_flagged():
    # Leads in sections 2, 5 and 7: 2 to 5 differ by .03 m, 5 to 7 by .20 m.
    s = atl10.reference_surfaces(leads_at([25e3, 55e3, 75e3], [0.00, 0.03, 0.23], [0.01] * 3), 0.0, 10)
    assert s.flag.tolist() == [-1, 3, 0, 1, 1, 0, 2, 0, 3, -1]
    np.testing.assert_allclose(
        s.height, [np.nan, 0.0, 0.0, 0.01, 0.02, 0.03, 0.13, 0.23, 0.23, np.nan], atol=1e-12
    )
    assert s.sigma[3] == s.sigma[6] == s.sigma[8] == 0.05
    # A wide gap with unlike ends is filled only beside its ends.
    wide = atl10.reference_surfaces(leads_at([5e3, 55e3], [0.0, 0.2], [0.01] * 2), 0.0, 6)
    assert wide.flag.tolist() == [0, 3, -1, -1, 3, 0]


def test_first_photon_bias_is_the_nearest_entry(tmp_path):
    with h5py.File(tmp_path / "cal.h5", "w") as f:
        f.create_group("gt1r").attrs["atlas_beam_type"] = np.bytes_("strong")
        seconds = np.r_[np.full(16, 3.0), np.full(4, 9.0)] * 1e-9
        f["ancillary_data/calibrations/dead_time/gt1r/dead_time"] = seconds.astype("f4")
        base = "ancillary_data/calibrations/first_photon_bias/gt1r"
        f[f"{base}/dead_time"] = np.array([2.5, 3.1], "f4")
        f[f"{base}/strength"] = np.array([[1, 2, 3], [1, 2, 3]], "f4")
        f[f"{base}/width"] = np.array([[1, 2], [1, 2]], "f4")
        table = np.arange(12.0).reshape(2, 3, 2) * 10
        table[1, 2, 1] = 3.4e38
        f[f"{base}/ffb_corr"] = table.astype("f4")
        dead, bias = atl07._first_photon_bias(f, "gt1r", np.array([1.4, 1.6, 9.0]), np.array([1.0, 1.9, 5.0]))
    assert dead == pytest.approx(3.0, rel=1e-6)
    # Second table: (0, 0) is 60 ps, (1, 1) is 90 ps, (2, 1) is fill; 1 ps is .15 mm.
    np.testing.assert_allclose(bias, [60 * 1.49896e-4, 90 * 1.49896e-4, np.nan], rtol=1e-4)


# ---- genuine data ----


def genuine_histograms(folder):
    """Histograms of genuine ATL07 and what the product made of them, beam by beam."""
    with h5py.File(folder / "atl07" / ATL07) as f:
        for beam in ("gt1l", "gt1r", "gt3l", "gt3r"):
            group = f[beam]["sea_ice_segments"]
            there = group["heights/height_segment_w_gaussian"][:] < 1e30
            names = {
                **{
                    n: f"stats/{n}"
                    for n in (
                        "height_coarse_mn",
                        "trim_height_bottom",
                        "trim_height_top",
                        "hist_mean_h",
                        "hist_w",
                        "fpb_corr",
                        "n_photons_used",
                        "hist_photon_heights",
                    )
                },
                **{n: f"heights/height_segment_{n}" for n in ("height", "surface_error_est")},
            }
            yield {n: group[path][:].astype(float)[there] for n, path in names.items()}


def test_genuine_histograms_are_trimmed_as_the_product_does(real_data):
    agree = []
    for g in genuine_histograms(real_data):
        z = fine_tracking.WINDOW[0] + fine_tracking.BIN * np.arange(fine_tracking.N_BINS)
        rows = [np.repeat(z, c.astype(int)) for c in g["hist_photon_heights"]]
        last = np.cumsum([r.size for r in rows])
        first = last - [r.size for r in rows]
        # Heights are known to a bin; the zero is the product's, not the median, so both are shifted alike.
        _, _, stats = fine_tracking.histograms(
            np.concatenate(rows),
            first,
            last,
            fine_tracking.N_BINS,
            fine_tracking.BIN,
            fine_tracking.BOTTOM,
            fine_tracking.MIN_COUNT,
        )
        agree.append(stats[:, 1] == g["n_photons_used"])
        mean = stats[:, 6] + stats[:, 2] - (g["hist_mean_h"] - g["height_coarse_mn"])
        assert abs(np.median(mean)) < 0.001
        np.testing.assert_allclose(
            g["surface_error_est"], g["hist_w"] / np.sqrt(g["n_photons_used"]), rtol=1e-4
        )
    # The rest differ by the photons of one bin at the rim, where heights within the bin decide.
    assert np.concatenate(agree).mean() > 0.8


def test_fit_repeats_genuine_heights(real_data):
    """Genuine photon histograms give genuine heights, but for the unknown zero of the genuine pulse."""
    difference = []
    for g in genuine_histograms(real_data):
        trimmed = np.stack([g["trim_height_bottom"], g["trim_height_top"]], 1)
        span = np.floor((trimmed - fine_tracking.BOTTOM) / fine_tracking.BIN).astype(int)
        mean = g["hist_mean_h"] - g["height_coarse_mn"]
        fit = fine_tracking.fit_histograms(
            g["hist_photon_heights"], span, mean, fine_tracking.pulse_from_echo()
        )
        difference.append(g["height_coarse_mn"] + fit.height - g["fpb_corr"] - g["height"])
    d = np.concatenate(difference)
    assert d.size > 500
    # A Gaussian pulse stands half a bin lower than the granule's own; the scatter is what the fit adds.
    assert -0.014 < np.median(d) < -0.008
    assert np.diff(np.quantile(d, [0.16, 0.84]))[0] / 2 < 0.006


def variables(group, prefix=""):
    out = {}
    for name, item in group.items():
        if isinstance(item, h5py.Group):
            out |= variables(item, f"{prefix}{name}/")
        else:
            fill = np.ravel(item.attrs["_FillValue"])[0] if "_FillValue" in item.attrs else None
            units = item.attrs["units"]
            out[prefix + name] = (
                item.dtype,
                item.shape[1:],
                fill,
                units.decode() if isinstance(units, bytes) else units,
            )
    return out


def test_layout_of_atl10_is_the_genuine_one(real_data, made):
    with h5py.File(made["atl10"]) as own, h5py.File(real_data / "atl10" / ATL10) as genuine:
        ours, theirs = variables(own["gt1r"]), variables(genuine["gt1l"])
        assert set(ours) == set(theirs)
        assert {n: v for n, v in theirs.items() if n in ours and v != ours[n]} == {}
        assert set(genuine["gt1l"].attrs) <= set(own["gt1r"].attrs)
        assert set(genuine["orbit_info"]) == set(own["orbit_info"])
        settings = "ancillary_data/freeboard_estimation"
        assert {n: genuine[settings][n].dtype for n in own[settings]} == {
            n: d.dtype for n, d in own[settings].items()
        }
        assert own["gt1r/leads"].attrs.keys() >= {"data_rate"}


def test_layout_of_atl07_is_the_genuine_one_but_for_its_release(real_data, made):
    with h5py.File(made["atl07"]) as own, h5py.File(real_data / "atl07" / ATL07) as genuine:
        ours = variables(own["gt1r/sea_ice_segments"])
        theirs = variables(genuine["gt1l/sea_ice_segments"])
        # Genuine here is release 003; 006 has two ice concentrations, and some more corrections.
        assert set(theirs) - set(ours) == {"stats/ice_conc"}
        assert {n: (v, ours[n]) for n, v in theirs.items() if n in ours and v != ours[n]} == {}
        theirs10 = {"stats/ice_conc_ssmi", "stats/ice_conc_amsr2", "stats/dist2land"}
        assert theirs10 < set(ours)


# ---- a small granule ----


def test_names_and_bytes(made, tmp_path):
    assert made["atl07"].name == "ATL07-02_20191116193412_07410501_006_01.h5"
    assert made["atl10"].name == "ATL10-02_20191116193412_07410501_006_01.h5"
    again = twin.make_atl07(made["atl03"], tmp_path)
    ten = twin.make_atl10(again, tmp_path)
    for a, b in ((made["atl07"], again), (made["atl10"], ten)):
        assert hashlib.sha256(a.read_bytes()).digest() == hashlib.sha256(b.read_bytes()).digest()
    assert twin.make_atl10(made["atl03"], tmp_path / "direct").read_bytes() == ten.read_bytes()


def test_readers_open_both(made):
    seven = atl07_atl10.open_atl07(made["atl07"], "gt1r")
    assert seven.attrs["beam_strength"] == "strong"
    assert seven.sizes["segment"] > 1000
    assert np.isnan(seven["ice_conc_ssmi"]).all()
    tree = atl07_atl10.open_atl10(made["atl10"])
    assert set(tree.children) == {"gt1l", "gt1r"}
    assert tree.attrs["release"] == "006"
    assert tree["gt1r/leads"].sizes["lead"] > 3


def test_segments_look_like_atl07(made):
    for beam, length, photons in (("gt1r", (10, 40), 16.5), ("gt1l", (35, 160), 4.2)):
        ds = atl07_atl10.open_atl07(made["atl07"], beam)
        assert length[0] < np.median(ds["length"]) < length[1]
        assert 130 < np.median(ds["n_photons_used"]) < 148
        assert 0 < ds["photon_rate"].max() < photons
        # Segments overlap: by half in strong beams, by seven eighths in weak ones.
        ratio = np.median(np.diff(ds["x_atc"].values)) / np.median(ds["length"])
        assert ratio == pytest.approx({"gt1r": 0.5, "gt1l": 0.125}[beam], rel=0.15)
        assert (np.diff(ds["x_atc"].values) >= 0).all()
        assert ds["hist_photon_heights"].sum("hist_photon_heights_1").max() <= 170
        np.testing.assert_allclose(
            ds["height_uncertainty"], ds["hist_w"] / np.sqrt(ds["n_photons_used"]), rtol=1e-5, equal_nan=True
        )


def segment_truth(truth, ds):
    """Mean true height above the mean sea surface under each segment."""
    cell = truth["x_atc"].values + 1.0
    level = np.concatenate([[0.0], np.cumsum(truth["h_ref"].values + truth["footprint_height"].values)])
    a, b = np.searchsorted(cell, [ds["x_atc"] - ds["length"] / 2 - 1, ds["x_atc"] + ds["length"] / 2 + 1])
    return (level[b] - level[a]) / np.maximum(b - a, 1)


def test_heights_against_truth(made):
    for beam in ("gt1r", "gt1l"):
        ds = atl07_atl10.open_atl07(made["atl07"], beam)
        error = ds["height"].values - segment_truth(twin.open_truth(made["truth"], beam), ds)
        error = error[np.isfinite(error)]
        assert error.size > 0.99 * ds.sizes["segment"]
        assert abs(np.median(error)) < 0.02
        # 2 cm over flat ice, as the product states; ridges and edges add to it.
        assert np.diff(np.quantile(error, [0.16, 0.84]))[0] / 2 < 0.04


def test_candidates_are_low_and_specular(made):
    ds = atl07_atl10.open_atl07(made["atl07"], "gt1r")
    ssh = ds["ssh_flag"].values == 1
    assert ssh.sum() > 10
    assert np.isin(ds["surface_type"].values[ssh], (2, 3, 4, 5)).all()
    truth = twin.open_truth(made["truth"], "gt1r")
    near = np.searchsorted(truth["x_atc"].values, ds["x_atc"].values[ssh]) - 1
    height = truth["footprint_height"].values[near]
    # A specular segment reaches over the rim of a narrow lead; most of them do not.
    assert np.median(height) < 0.01
    assert np.mean(height < 0.05) > 0.8


def test_leads_and_sections_can_be_repeated_from_the_file(made, tmp_path):
    path = twin.make_atl10(made["atl07"], tmp_path / "raw.h5", smooth=False)
    tree = atl07_atl10.open_atl10(path, "gt1r")
    segments, leads, sections = (tree[n].to_dataset() for n in ("segments", "leads", "sections"))
    row = atl07_atl10.match_leads(tree)
    np.testing.assert_array_equal(row, leads["ssh_ndx"].values - 1)
    for k, first in enumerate(row):
        part = slice(first, first + int(leads["ssh_n"][k]))
        h, s = (
            segments["height"].values[part].astype(float),
            segments["height_uncertainty"].values[part].astype(float),
        )
        w = np.exp(-(((h - h.min()) / s) ** 2))
        w /= w.sum()
        assert float(leads["height"][k]) == pytest.approx(w @ h, abs=1e-6)
        assert float(leads["height_uncertainty"][k]) == pytest.approx(np.sqrt(w**2 @ s**2), rel=1e-5)
        assert (segments["ssh_flag"].values[part] == 2).all()
    own = np.flatnonzero(sections["h_ref_flag"].values == 0)
    assert own.size
    for k in own:
        a = int(sections["lead_ndx"][k]) - 1
        mine = slice(a, a + int(sections["lead_n"][k]))
        h, s = (
            leads["height"].values[mine].astype(float),
            leads["height_uncertainty"].values[mine].astype(float),
        )
        assert float(sections["h_ref"][k]) == pytest.approx(np.average(h, weights=s**-2), abs=1e-5)
        assert float(sections["h_ref_uncertainty"][k]) == pytest.approx((s**-2).sum() ** -0.5, rel=1e-4)
    reference = sections["h_ref"].values[segments["refsurf_ndx"].values - 1]
    expected = np.maximum(segments["height"] - reference, 0.0)  # as release 006
    np.testing.assert_allclose(segments["freeboard"], expected, atol=1e-6)
    sigma = np.hypot(
        segments["height_uncertainty"],
        sections["h_ref_uncertainty"].values[segments["refsurf_ndx"].values - 1],
    )
    np.testing.assert_allclose(segments["freeboard_uncertainty"], sigma, rtol=1e-5)


def test_reference_and_freeboard_against_truth(made):
    tree = atl07_atl10.open_atl10(made["atl10"], "gt1r")
    sections, segments = tree["sections"].to_dataset(), tree["segments"].to_dataset()
    truth = twin.open_truth(made["truth"], "gt1r")
    own = sections["h_ref_flag"].values == 0
    expected = np.interp(sections["x_atc"].values[own], truth["x_atc"].values + 1, truth["h_ref"].values)
    np.testing.assert_allclose(sections["h_ref"].values[own], expected, atol=0.03)
    error = segments["freeboard"].values - np.interp(
        segments["x_atc"].values, truth["x_atc"].values + 1, truth["freeboard"].values
    )
    assert abs(np.nanmedian(error)) < 0.03


def test_without_leads_no_freeboard(tmp_path):
    scene = twin.Scene.preset("no_leads", seed=3, length_km=3)
    atl03 = twin.make_granule(scene, tmp_path, beams=["gt2r"])
    tree = atl07_atl10.open_atl10(twin.make_atl10(atl03, tmp_path), "gt2r")
    assert tree["leads"].sizes.get("lead", 0) == 0
    assert np.isnan(tree["segments"]["freeboard"]).all()
    assert (tree["sections"]["h_ref_flag"] == -1).all()
    assert (tree["segments"]["freeboard_quality"] == -1).all()


def test_wrong_input_raises(made, tmp_path):
    with pytest.raises(GranuleError, match="no photons of gt2r; the granule has gt1l, gt1r"):
        twin.make_atl07(made["atl03"], tmp_path, beams=["gt2r"])
    with h5py.File(tmp_path / "other.h5", "w") as f:
        f.attrs["short_name"] = np.bytes_("ATL12")
    with pytest.raises(GranuleError, match="expected ATL07 or ATL03, got 'ATL12'"):
        twin.make_atl10(tmp_path / "other.h5", tmp_path)


def test_nothing_of_the_package_or_the_truth_is_used():
    """The products are made from the file alone, so that they judge the package's own rooms."""
    folder = Path(atl07.__file__).parent
    for name in MADE_OF:
        tree = ast.parse((folder / f"{name}.py").read_text())
        used = {
            f"{'.' * node.level}{node.module or ''}"
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and (node.level or str(node.module).startswith("is2ice"))
        }
        own = {"." + m for m in (*MADE_OF, "atl03_layout", "instrument")} | {"."}
        assert used <= own | {"is2ice.errors", "is2ice.schema"}, (name, used)
    assert set(atl07_atl10_layout.SETTINGS) == {"ATL07", "ATL10"}

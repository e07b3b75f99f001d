"""Photons to segments: against plain NumPy, under cutting, and at the edges."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from crops import read_crop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from is2ice import schema
from is2ice.errors import NoSignalError, SchemaError
from is2ice.science.segments import Cells, Nodes, PhotonArrays, Selection, from_photons, margin, segment_block


def photons(x, h, conf=4, quality=0, pulse=None, spot=3) -> xr.Dataset:
    x = np.asarray(x, "f8")
    n = x.size
    pulse = np.floor(x / 0.71).astype("i8") if pulse is None else np.asarray(pulse, "i8")
    ds = xr.Dataset(
        {
            "delta_time": ("photon", 1e7 + pulse * 1e-4),
            "x_atc": ("photon", x),
            "h_ph": ("photon", np.asarray(h, "f4")),
            "signal_conf": ("photon", np.broadcast_to(np.asarray(conf, "i1"), n).copy()),
            "quality": ("photon", np.broadcast_to(np.asarray(quality, "i1"), n).copy()),
            "pulse": ("photon", pulse),
        },
        attrs={"spot": spot},
    )
    return schema.annotate(ds, "photons")


def test_one_cell_by_hand():
    """Four photons of two pulses in the cell [100, 102), one of them noise, and one pulse with none."""
    ds = from_photons(
        photons(
            [100.1, 100.1, 100.1, 101.52, 104.5],
            [1.0, 2.0, 9.0, 6.0, 0.0],
            conf=[4, 3, 0, 4, 4],
            pulse=[10, 10, 10, 12, 16],
        ),
        bias=None,
    )
    np.testing.assert_array_equal(ds.x_atc, [100.0, 102.0, 104.0])
    np.testing.assert_array_equal(ds.n_photons, [3, 0, 1])
    np.testing.assert_array_equal(ds.n_photons_all, [4, 0, 1])
    # Pulses 10 and 12 are seen at 100.1 and 101.52; 11 lies between them; 13 to 15 between 101.52 and 104.5
    # at 102.265, 103.01 and 103.755; 16 is the last.
    np.testing.assert_array_equal(ds.n_pulses, [3, 3, 1])
    np.testing.assert_array_equal(ds.n_pulses_empty, [1, 3, 0])
    assert ds.photon_rate.values[0] == pytest.approx(1.0)
    assert ds.h_mean.values[0] == pytest.approx(3.0)
    assert ds.h_median.values[0] == pytest.approx(2.0)
    assert ds.h_std.values[0] == pytest.approx(np.sqrt(7.0))  # (4 + 1 + 9) / 2
    # Photon-weighted counts: two photons see a pulse of 2 signal (3 in all), one a pulse of 1 (1).
    assert ds.pcnth.values[0] == pytest.approx(5 / 3)
    assert ds.pcnt.values[0] == pytest.approx(7 / 3)
    assert np.isnan(ds.h_mean.values[1])
    assert ds.height.isnull().all()  # no corrections given
    assert (ds.segment_quality.values[[0, 2]] & 8).all()
    assert ds.segment_quality.values[2] & 1  # a single photon


def test_standard_error_is_pooled_spread_over_root_n():
    rng = np.random.default_rng(1)
    x = np.sort(rng.uniform(1000, 1200, 2000))
    ds = from_photons(photons(x, rng.normal(0, 0.15, 2000)), bias=None)
    k = 50
    near = slice(k - 5, k + 6)
    n = ds.n_photons.values[near]
    pooled = np.sqrt((ds.h_std.values[near] ** 2 * (n - 1)).sum() / (n - 1).sum())
    assert ds.height_uncertainty.values[k] == pytest.approx(
        pooled / np.sqrt(ds.n_photons.values[k]), rel=1e-5
    )


def test_errors_are_honest():
    """Means of simulated photons miss the truth by their standard error, on average."""
    rng = np.random.default_rng(2)
    x = np.sort(rng.uniform(0, 20_000, 160_000))
    ds = from_photons(photons(x, rng.normal(0, 0.12, x.size)), bias=None)
    z = (ds.h_core / ds.height_uncertainty).values
    assert np.nanstd(z) == pytest.approx(1.0, abs=0.02)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.integers(0, 10_000), n=st.integers(1, 400), length=st.sampled_from([0.7, 1.0, 2.0, 10.0, 30.0])
)
def test_equals_plain_numpy(seed, n, length):
    rng = np.random.default_rng(seed)
    x = np.sort(rng.uniform(5000, 5000 + rng.uniform(1, 300), n))
    h = rng.normal(0, 1, n).astype("f4")
    conf = rng.integers(0, 5, n)
    quality = rng.choice([0, 0, 0, 1, 2, 10, 21], n)
    conf[0], quality[0] = 4, 0
    ds = from_photons(photons(x, h, conf, quality), length=length, bias=None)
    keep = (conf >= 3) & (quality % 10 == 0)
    cell = np.floor(x * (1 / length)).astype(int)
    assert int(ds.n_photons.sum()) == keep.sum()
    assert int(ds.n_photons_all.sum()) == n
    first = cell.min()
    assert ds.x_atc.values[0] == pytest.approx(first * length)
    for edge in np.unique(cell[keep]):
        values = h[keep & (cell == edge)].astype("f8")
        row = ds.isel(x_atc=edge - first)
        assert int(row.n_photons) == values.size
        assert float(row.h_mean) == pytest.approx(values.mean(), abs=1e-12)
        assert float(row.h_median) == pytest.approx(np.median(values), abs=1e-12)
        if values.size > 1:
            assert float(row.h_std) == pytest.approx(values.std(ddof=1), abs=1e-6)


@settings(max_examples=25, deadline=None)
@given(cut=st.integers(1, 199), seed=st.integers(0, 50))
def test_blocks_do_not_matter(cut, seed):
    """Any block of the grid has the same bits whichever photons beyond its margin are at hand."""
    rng = np.random.default_rng(seed)
    x = np.sort(rng.uniform(0, 400, 3000)) + 10_000.0
    ph = PhotonArrays(
        x,
        rng.normal(0, 0.1, x.size).astype("f4"),
        rng.integers(0, 5, x.size).astype("i1"),
        rng.choice([0, 1], x.size, p=[0.9, 0.1]).astype("i1"),
        np.floor(x / 0.71).astype("i8"),
    )
    node_x = np.arange(9_800, 10_600, 20.0)
    nodes = Nodes(
        node_x, {"delta_time": node_x / 7000, "longitude": (node_x * 0.7) % 360 - 180, "mss": node_x * 1e-5}
    )
    kw = {"background": None, "bias": None, "selection": Selection(), "reference": "mss"}
    whole = segment_block(ph, nodes, cells=Cells(5000, 200, 2.0), **kw)
    for k, n in ((0, cut), (cut, 200 - cut)):
        lo, hi = (5000 + k) * 2.0 - margin(2.0), (5000 + k + n) * 2.0 + margin(2.0)
        part = PhotonArrays(*(a[(x >= lo) & (x < hi)] for a in (ph.x, ph.h, ph.conf, ph.quality, ph.pulse)))
        near = (node_x >= lo) & (node_x <= hi)
        some = Nodes(node_x[near], {name: a[near] for name, a in nodes.columns.items()})
        got = segment_block(part, some, cells=Cells(5000 + k, n, 2.0), **kw)
        for name, a in got.items():
            assert a.tobytes() == whole[name][k : k + n].tobytes(), name


def test_longitude_interpolates_across_the_antimeridian():
    node_x = np.array([0.0, 20.0, 40.0])
    nodes = Nodes(node_x, {"longitude": np.array([179.9999, -179.9999, -179.9997])})
    ph = PhotonArrays(
        np.array([1.0]), np.zeros(1, "f4"), np.array([4], "i1"), np.zeros(1, "i1"), np.array([1], "i8")
    )
    out = segment_block(ph, nodes, None, None, Cells(0, 20, 2.0), selection=Selection(), reference="mss")[
        "longitude"
    ]
    assert (np.abs(out) > 179.99).all()
    assert np.abs(np.diff((out + 360) % 360)).max() < 3e-5
    assert out[4] == pytest.approx(179.9999 + 0.0002 * 9 / 20)


def test_a_gap_is_not_bridged():
    node_x = np.array([0.0, 20.0, 5000.0, 5020.0])
    nodes = Nodes(node_x, {"delta_time": np.array([0.0, 1.0, 100.0, 101.0])})
    ph = PhotonArrays(
        np.array([1.0, 5010.0]),
        np.zeros(2, "f4"),
        np.full(2, 4, "i1"),
        np.zeros(2, "i1"),
        np.array([1, 9000], "i8"),
    )
    out = segment_block(ph, nodes, None, None, Cells(0, 2520, 2.0), selection=Selection(), reference="mss")
    x = np.arange(2520) * 2.0 + 1
    inside_gap = (x > 55) & (x < 4965)
    assert np.isnan(out["delta_time"][inside_gap]).all()
    assert np.isfinite(out["delta_time"][~inside_gap & (x > 0) & ((x < 49) | (x > 4971))]).all()
    assert out["n_pulses"][inside_gap].sum() == 0


def test_fill_and_nan_heights_do_not_count():
    h = np.array([1.0, np.nan, 3.4028235e38, 1.2, np.inf])
    ds = from_photons(photons(np.full(5, 10.5), h, pulse=[1, 1, 1, 2, 2]), bias=None)
    assert int(ds.n_photons.sum()) == 2
    assert int(ds.n_photons_all.sum()) == 2
    assert float(ds.h_mean[0]) == pytest.approx(1.1, abs=1e-6)
    assert ds.segment_quality.values[0] & 256


def test_echoes_and_saturation_codes():
    """TEP photons vanish, afterpulses count as photons but not as signal, saturated ones are kept."""
    ds = from_photons(
        photons(
            np.full(5, 10.5), np.zeros(5), conf=[4, -2, 4, 4, 4], quality=[0, 0, 3, 1, 20], pulse=[1] * 5
        ),
        bias=None,
    )
    assert int(ds.n_photons_all[0]) == 3
    assert int(ds.n_photons[0]) == 2
    assert ds.segment_quality.values[0] & 256


def test_unordered_pulses_are_grouped_all_the_same():
    x = [10.1, 10.2, 10.3, 10.4]
    straight = from_photons(photons(x, [0, 1, 2, 3], pulse=[1, 1, 2, 2]), bias=None)
    mixed = from_photons(photons(x, [0, 1, 2, 3], pulse=[1, 2, 1, 2]), bias=None)
    assert float(straight.pcnt[0]) == float(mixed.pcnt[0]) == 2.0


def test_bad_input_is_refused():
    good = schema.mock_photons(50)
    with pytest.raises(ValueError, match="segment length: expected a positive number"):
        from_photons(good, length=0.0)
    with pytest.raises(ValueError, match="segment length"):
        from_photons(good, length=float("nan"))
    with pytest.raises(SchemaError, match="2 faults"):
        from_photons(good.drop_vars(["pulse", "h_ph"]))
    noise = good.assign(signal_conf=xr.zeros_like(good.signal_conf))
    noise = schema.annotate(noise, "photons")
    with pytest.raises(NoSignalError, match=rf"of sea-ice confidence below 3 .*0: {noise.sizes['photon']}\)"):
        from_photons(noise)


def test_genuine_crops(real_data):
    """Genuine release 006 photons with noise, as text: any loader can feed the same resampler."""
    paths = sorted((real_data / "atl03_s2_crops").glob("*/*_ATL03_*.csv"))
    assert len(paths) == 9
    for path in paths:
        ph = read_crop(path)
        # The suffix of the names says "w" for the strong spots: the channels are the better witness.
        assert ph.attrs["spot"] % 2 == (1 if path.name.split("_")[6][4] == "w" else 0), path.name
        ds = from_photons(ph)
        x, h = ph.x_atc.values, ph.h_ph.values.astype("f8")
        keep = (ph.signal_conf.values >= 3) & (ph.quality.values == 0)
        assert int(ds.n_photons.sum()) == keep.sum()
        cell = np.floor(x / 2).astype(int)
        for k in np.unique(cell[keep])[::25]:
            expected = h[keep & (cell == k)].mean()
            assert float(ds.h_mean.sel(x_atc=2.0 * k)) == pytest.approx(expected, abs=1e-6)
        filled = ds.where(ds.n_photons > 0, drop=True)
        assert np.isfinite(filled.latitude).all()
        limit = 16 if ph.attrs["spot"] % 2 else 4
        assert float(filled.photon_rate.median()) < limit
        assert float(filled.first_photon_bias.max()) < 0.12

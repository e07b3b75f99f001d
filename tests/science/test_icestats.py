"""Leads, floes, ridges and roughness: made by hand, and found again."""

from __future__ import annotations

import json

import numpy as np
import pytest

from is2ice import schema
from is2ice.errors import SchemaError
from is2ice.science import icestats

I, W, T, M = 0, 2, 1, -1


def track(runs, **put):
    """Segments with classes by runs of (class, cells)."""
    code = np.concatenate([np.full(n, c) for c, n in runs])
    ds = schema.mock_segments(code.size, stages=("classified", "seasurface", "freeboard"))
    ds["surface_class"] = ("x_atc", code.astype("i1"))
    ds["n_photons"] = ds["n_photons"].where(ds["surface_class"] >= 0, 0)
    for name, v in put.items():
        ds[name] = ("x_atc", np.asarray(v, "f4"))
    return ds


def test_chords_by_hand():
    """Ice at the start is cut short; 100 m lead, 400 m floe, 20 m lead, ice to the end."""
    table = icestats.chords(track([(I, 100), (W, 50), (I, 200), (W, 10), (I, 100)]))
    assert table.kind.values.tolist() == [0, 1, 0, 1, 0]
    assert table.length.values.tolist() == [200, 100, 400, 20, 200]
    assert table.complete.values.tolist() == [False, True, True, True, False]
    x = 28_400_000.0 + 2 * (100 + 25)
    assert float(table.x[1]) == pytest.approx(x)
    told = icestats.statistics(track([(I, 100), (W, 50), (I, 200), (W, 10), (I, 100)]))
    widths = {"width_mean": 60.0, "width_median": 60.0, "width_p90": 92.0}
    assert told["openings"] == {"n": 2, "complete": 2, "per_km": round(2 / 0.92, 5), **widths}
    assert told["spacing"]["distance_mean"] == pytest.approx(50 + 400 + 10)
    assert told["floes"]["chord_mean"] == 400.0
    assert told["leads"] == {"n": 0, "per_km": 0.0}  # no sea surface rests on the openings
    assert told["lead_fraction"] == pytest.approx(60 / 460, abs=1e-5)
    json.dumps(told)


def test_floes_of_the_ice_and_number_of_leads():
    """Nine floes of 20 m and one of 820 m: the mean chord is 100 m, but most of the ice lies in the long one."""
    ds = track([(I, 9), (W, 5), *[(I, 10), (W, 5)] * 9, (I, 410), (W, 5), (I, 9)])
    ds["lead_index"][9:14], ds["lead_index"][24:29] = 0, 1
    told = icestats.statistics(ds)
    floes = told["floes"]
    assert (floes["n"], floes["complete"], floes["chord_mean"], floes["chord_median"]) == (
        12,
        10,
        100.0,
        20.0,
    )
    assert floes["chord_mean_by_length"] == pytest.approx((9 * 20**2 + 820**2) / 1000)
    assert floes["half_of_ice_in_chords_over"] == 820.0
    assert (told["openings"]["n"], told["leads"]["n"]) == (11, 2)
    ds["lead_probability"] = ("x_atc", np.where(ds["lead_index"] == 1, 0.3, 0.9).astype("f4"))
    assert icestats.statistics(ds)["leads"]["n"] == 1  # a lead left out does not count


def test_small_things_and_gaps():
    """Single water cells are no leads, a few metres of ice no floe; short gaps are bridged, long ones cut."""
    runs = [(I, 100), (W, 1), (I, 100), (W, 20), (I, 3), (W, 20), (I, 100)]
    table = icestats.chords(track(runs))
    assert table.length.values.tolist() == [402, 86, 200]
    dark = icestats.chords(track([(I, 100), (W, 10), (M, 8), (W, 10), (I, 100)]))
    assert dark.length.values.tolist() == [200, 56, 200]
    edge = icestats.chords(track([(I, 100), (M, 4), (W, 10), (I, 100)]))
    assert edge.length.values.tolist() == [204, 24, 200]
    cut = icestats.chords(track([(I, 100), (W, 10), (M, 50), (W, 10), (I, 100)]))
    assert cut.length.values.tolist() == [200, 20, 20, 200]
    assert not cut.complete.any()
    thin = [(I, 100), (T, 30), (I, 100)]
    assert icestats.chords(track(thin)).kind.values.tolist() == [0]
    assert icestats.chords(track(thin), thin_ice=True).length.values.tolist() == [200, 60, 200]


def test_nothing_there():
    none = track([(M, 50)])
    assert icestats.chords(none).sizes["chord"] == 0
    told = icestats.statistics(none)
    assert told["lead_fraction"] is None
    assert told["floes"]["chord_mean"] is None
    assert np.isnan(icestats.per_segment(none).roughness).all()
    with pytest.raises(SchemaError, match="expected one track"):
        icestats.statistics(none.expand_dims(beam=["gt2r"]))
    with pytest.raises(SchemaError, match="surface_class: missing"):
        icestats.chords(none.drop_vars("surface_class"))


def test_ridges_by_hand():
    """Triangles of known height on level ice of 0.3 m; two crests with a shallow trough between are one ridge."""
    n = 3000
    f = np.full(n, 0.3)
    for at, height, half in ((400, 1.5, 8), (900, 0.7, 8), (1500, 2.0, 10), (2200, 1.2, 8)):
        k = np.arange(at - half, at + half + 1)
        f[k] += height * (1 - np.abs(k - at) / (half + 1))
    f[2208] += 1.0  # rises 1.0 - from 0.13 m: under the half-height trough rule seen from its side
    ds = track([(I, n)], freeboard=f)
    table = icestats.ridges(ds)
    assert table.row.values.tolist() == [400, 1500, 2200, 2208]
    np.testing.assert_allclose(table.height[:3], [1.5, 2.0, 1.2], atol=0.02)
    f[2201:2208] = np.maximum(f[2201:2208], 1.3)  # now the trough is shallow
    assert icestats.ridges(track([(I, n)], freeboard=f)).row.values.tolist() == [400, 1500, 2200]
    assert icestats.ridges(ds, cutoff=1.8).row.values.tolist() == [1500]
    # A missing cell beside a crest does not make two ridges of it; water is no ridge.
    f[[397, 1498]] = np.nan
    assert icestats.ridges(track([(I, n)], freeboard=f)).sizes["ridge"] == 3
    water = track([(I, 390), (W, 20), (I, n - 410)], freeboard=f)
    assert 400 not in icestats.ridges(water).row.values


def test_roughness_is_that_put_in():
    """Noise of the heights is taken out, slopes do not count, and windows with water have none."""
    rng = np.random.default_rng(0)
    n, rough, noise = 100_000, 0.08, 0.04
    h = rng.normal(0, rough, n) + rng.normal(0, noise, n) + np.arange(n) * 2 * 1e-3
    ds = track([(I, n - 50), (W, 50)], height=h, height_uncertainty=np.full(n, noise))
    values = icestats.roughness(ds)
    assert np.sqrt(np.nanmean(values**2)) == pytest.approx(rough, rel=0.02)
    assert np.isnan(values[-50:]).all()
    calm = track([(I, n)], height=rng.normal(0, noise, n), height_uncertainty=np.full(n, noise))
    assert np.nanmedian(icestats.roughness(calm)) < 0.02


def test_events_stand_on_segments():
    made = icestats.per_segment(track([(I, 100), (W, 50), (I, 200), (W, 10), (I, 100)]))
    assert made.lead_width.dropna("x_atc").values.tolist() == [100, 20]
    assert made.floe_length.dropna("x_atc").values.tolist() == [400]
    assert made.lead_spacing.dropna("x_atc").values.tolist() == [460]
    assert made.lead_width.attrs["units"] == "m"

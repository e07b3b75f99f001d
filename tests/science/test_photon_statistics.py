"""Median and deviation of counts and background: against pandas, and by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from is2ice import schema
from is2ice.errors import SchemaError
from is2ice.io.icesat2.atl03 import Granule, Subset
from is2ice.science.photon_statistics import add_statistics
from is2ice.science.segments import from_photons


def test_against_pandas():
    ph = schema.mock_photons(5000, seed=2)
    ph["signal_conf"][::7] = 1  # some are not selected: they count for pcnt alone
    ph["background_rate"] = ("photon", np.random.default_rng(0).uniform(1e6, 9e6, ph.sizes["photon"]))
    ds = from_photons(ph)
    got = add_statistics(ds, ph)
    table = pd.DataFrame(
        {n: ph[n].values for n in ("pulse", "x_atc", "signal_conf", "quality", "background_rate")}
    )
    table["pcnt"] = table.groupby("pulse")["pulse"].transform("size")
    table["chosen"] = (table.signal_conf >= 3) & (table.quality == 0)
    table["pcnth"] = table.groupby("pulse")["chosen"].transform("sum")
    some = table[table.chosen].assign(cell=lambda t: 2.0 * np.floor(t.x_atc / 2.0))
    for name in ("pcnt", "pcnth", "background_rate"):
        for what in ("median", "std"):
            want = getattr(some.groupby("cell")[name], what)().reindex(ds.x_atc.values).to_numpy()
            np.testing.assert_allclose(got[f"{name}_{what}"].values, want, rtol=1e-5)
    schema.conform(got, "segments", "statistics")
    # The mean that the segments hold lies on the same counts.
    mean = some.groupby("cell")["pcnt"].mean().reindex(ds.x_atc.values).to_numpy()
    np.testing.assert_allclose(ds.pcnt.values, mean, rtol=1e-5)


def test_one_photon_has_no_deviation_and_missing_columns_are_named():
    ph = schema.mock_photons(400)
    ds = from_photons(ph)
    lonely = ph.isel(photon=[10])
    got = add_statistics(ds, lonely)
    assert int(np.isfinite(got.pcnt_median.values).sum()) == 1
    assert np.isnan(got.pcnt_std.values).all()
    with pytest.raises(SchemaError, match="pulse missing"):
        add_statistics(ds, xr.Dataset({n: ph[n] for n in ("x_atc", "signal_conf", "quality")}))


def test_of_a_granule():
    """As a user calls it; the background of a segment is that of its photons."""
    with Granule("sample_data/ATL03_20191116193412_07410510_006_01.h5") as granule:
        part = Subset(x_atc=tuple(granule.track("gt2r").x_atc.values[[0, 300]]))
        got = add_statistics(granule.track("gt2r", part), granule.photons("gt2r", part))
    schema.conform(got, "segments", "statistics")
    known = np.isfinite(got.background_rate_median.values)
    assert known.sum() > 200
    ratio = got.background_rate_median.values[known] / got.background_rate.values[known]
    assert 0.9 < np.median(ratio) < 1.1

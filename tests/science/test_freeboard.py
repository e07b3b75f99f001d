"""Freeboard by hand."""

from __future__ import annotations

import numpy as np
import pytest

from is2ice import schema
from is2ice.errors import SchemaError
from is2ice.science import freeboard, seasurface


def segments(**columns):
    ds = schema.mock_segments(4, stages=("seasurface",))
    for name, values in columns.items():
        ds[name] = ("x_atc", np.asarray(values, ds[name].dtype), ds[name].attrs)
    return ds


def by_hand(**options):
    ds = segments(
        height=[0.5, 0.1, np.nan, 0.4],
        height_uncertainty=[0.03, 0.03, 0.03, 0.03],
        h_ref=[0.1, 0.13, 0.1, np.nan],
        h_ref_uncertainty=[0.04, 0.0, 0.04, np.nan],
        h_ref_flag=[0, 3, 1, -1],
    )
    return freeboard.compute(ds, **options)


def test_difference_and_errors_in_quadrature():
    out = by_hand()
    schema.conform(out, "segments", "seasurface", "freeboard")
    np.testing.assert_allclose(out.freeboard, [0.4, -0.03, np.nan, np.nan], atol=1e-7)
    np.testing.assert_allclose(out.freeboard_uncertainty, [0.05, 0.03, np.nan, np.nan], atol=1e-7)


def test_options():
    assert by_hand(clip=True).freeboard.values[1] == 0.0
    assert "zero" in by_hand(clip=True).freeboard.attrs["comment"]
    np.testing.assert_array_equal(np.isfinite(by_hand(flags=(0,)).freeboard), [True, False, False, False])
    np.testing.assert_array_equal(
        np.isfinite(by_hand(max_uncertainty=0.04).freeboard), [False, True, False, False]
    )
    with pytest.raises(ValueError, match="unknown"):
        by_hand(flags=(7,))


def test_missing_sea_surface_is_named():
    with pytest.raises(SchemaError, match="h_ref, h_ref_uncertainty, h_ref_flag: missing") as error:
        freeboard.compute(schema.mock_segments(3))
    assert len(error.value.faults) == 3


@pytest.mark.parametrize("beam", [None, "gt2r"])
def test_after_the_sea_surface(beam):
    ds = schema.mock_segments(2000, stages=("classified",), beam=beam)
    ds["surface_class"][..., 700:730] = schema.OPEN_WATER
    ds["height"][..., 700:730] = 0.05
    ds["height"][..., :5] = np.nan
    out = freeboard.compute(seasurface.estimate(ds, "crossfit"))
    assert out.freeboard.dims == ds.height.dims
    np.testing.assert_allclose(out.freeboard, ds.height - 0.05, atol=1e-6)
    assert np.isnan(out.freeboard_uncertainty[..., :5]).all()


def test_lazy_stays_lazy():
    ds = seasurface.estimate(schema.mock_segments(50, stages=("classified",))).chunk(x_atc=10)
    out = freeboard.compute(ds)
    assert out.freeboard.chunks is not None
    assert np.isnan(out.freeboard.values).all()  # no lead, no freeboard


def test_stated_uncertainty_is_the_scatter():
    """Noisy ice over a noisy lead, many times: freeboard errors have the stated size, without bias.

    The simulated sea neither wanders nor has footprints that reach beyond the lead, so those errors are off.
    """
    rng = np.random.default_rng(4)
    scores, errors = [], []
    for _ in range(60):
        ds = schema.mock_segments(1500, stages=("classified",))
        ds["surface_class"][700:712] = schema.OPEN_WATER
        truth = np.where(np.arange(1500) // 12 == 700 // 12, 0.0, 0.3)
        truth[700:712] = 0.0
        level = np.where(truth == 0.0, rng.normal(0, 0.01), 0.0)  # a lead's own departure from the sea
        ds["height"] = ("x_atc", (truth + level + rng.normal(0, 0.03, 1500)).astype("f4"), ds.height.attrs)
        out = freeboard.compute(seasurface.estimate(ds, "crossfit", variability=0.0, edge=0.0))
        ice = slice(0, 600, 7)
        errors.append((out.freeboard - truth)[ice].values)
        scores.append((errors[-1] / out.freeboard_uncertainty[ice]).values)
    assert abs(np.mean(errors)) < 0.005
    assert 0.9 < np.std(np.concatenate(scores)) < 1.1

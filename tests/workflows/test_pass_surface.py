"""Beams of different length share one sea."""

from __future__ import annotations

import numpy as np
import xarray as xr

from is2ice import schema
from is2ice.science import seasurface
from is2ice.workflows.pass_surface import pass_surface


def track(beam: str, spot: int, leads: list[int], n: int = 12_000) -> xr.Dataset:
    """Noisy ice, and dark leads of 80 m."""
    rng = np.random.default_rng(spot)
    ds = schema.mock_segments(n, stages=("classified",), seed=spot).assign_attrs(beam=beam, spot=spot)
    height = 0.6 + 0.2 * rng.random(n)
    for at in leads:
        water = slice(at, at + 40)
        height[water] = 0.1 + rng.normal(0, 0.02, 40)
        ds["n_photons"][water], ds["surface_class"][water] = 3, schema.OPEN_WATER
        ds["class_probability"][water] = [0.05, 0.1, 0.85]
    return ds.assign(height=ds["height"].copy(data=height.astype("f4")))


def test_tracks_get_what_the_cube_gets_and_keep_their_own_cells():
    tracks = [track("gt1r", 5, [2000, 6000]), track("gt2r", 3, []), track("gt3r", 1, [9000])]
    tracks[2] = tracks[2].isel(x_atc=slice(1500, 11_000))
    whole = pass_surface(tracks)
    for before, after in zip(tracks, whole, strict=True):
        assert after.sizes == before.sizes
        schema.conform(after, "segments", "classified", "seasurface")
        for name in before.variables:
            np.testing.assert_array_equal(before[name].values, after[name].values)
    assert set(np.unique(whole[1]["h_ref_flag"])) == {4}
    alone = [pass_surface([t])[0] for t in tracks]
    assert (alone[1]["h_ref_flag"] == -1).all()
    xr.testing.assert_identical(alone[0], seasurface.estimate(tracks[0]))
    near = float(whole[1]["h_ref"].values[6000])
    assert abs(near - 0.1) < 3 * float(whole[1]["h_ref_uncertainty"].values[6000])


def test_published_methods_take_each_beam_alone():
    tracks = [track("gt1r", 5, [2000, 6000]), track("gt3r", 1, [9000])]
    for together, by_itself in zip(pass_surface(tracks, "nasa"), tracks, strict=True):
        np.testing.assert_array_equal(together["h_ref"], seasurface.estimate(by_itself, "nasa")["h_ref"])

"""Values of the image interpolated to the track: exact on a plane, absent outside, lazy, first image first."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
import xarray as xr

from is2ice import schema
from is2ice.science.labels import evidence

CRS = "EPSG:3976"


def image(x0=0.0, y0=0.0, n=60, chunks=None, **more):
    """Reflectance that is a plane: 0.001 x + 0.0005 y."""
    x, y = x0 + 5.0 + 10.0 * np.arange(n), y0 - 5.0 - 10.0 * np.arange(n)
    plane = (0.001 * x[None, :] + 0.0005 * y[:, None]).astype("f4")
    values = plane if chunks is None else da.from_array(plane, chunks=chunks)
    data = {"B02": (("y", "x"), values), **more}
    return xr.Dataset(data, coords={"x": x, "y": y}, attrs={"crs": CRS, "scene": "a"})


def segments(x, y):
    ds = xr.Dataset(
        {"x": ("x_atc", np.asarray(x, float)), "y": ("x_atc", np.asarray(y, float))}, attrs={"crs": CRS}
    )
    return ds.assign_coords(x_atc=2.0 * np.arange(len(x)))


def test_a_plane_is_interpolated_exactly_and_moved():
    x, y = np.linspace(20, 500, 200), np.linspace(-20, -480, 200)
    got = evidence.along_track(segments(x, y), [image()], [(7.0, -3.0)])
    want = 0.001 * (x + 7.0) + 0.0005 * (y - 3.0)
    np.testing.assert_allclose(got.image_b02.values, want, atol=1e-6)
    assert got.image_b02.dtype == np.float32
    assert got.image_b02.attrs["units"] == "1"
    assert "image_b11" not in got


def test_lazy_images_give_the_same_and_blocks_do_not_matter(monkeypatch):
    x, y = np.linspace(20, 500, 300), np.linspace(-480, -30, 300)
    whole = evidence.along_track(segments(x, y), [image()], [(0.0, 0.0)])
    monkeypatch.setattr(evidence, "_BLOCK", 64)
    lazy = evidence.along_track(segments(x, y), [image(chunks=16)], [(0.0, 0.0)])
    np.testing.assert_array_equal(lazy.image_b02.values, whole.image_b02.values)


def test_outside_is_absent_and_the_second_image_fills():
    x, y = [100.0, 650.0, 5000.0, np.nan], [-100.0, -100.0, -100.0, np.nan]
    one = evidence.along_track(segments(x, y), [image()], [(0.0, 0.0)]).image_b02.values
    assert np.isfinite(one).tolist() == [True, False, False, False]
    second = image(x0=300.0)
    both = evidence.along_track(segments(x, y), [image(), second], [(0.0, 0.0)] * 2).image_b02.values
    assert both[0] == one[0]
    assert both[1] == pytest.approx(0.001 * 650 - 0.05, abs=1e-6)
    assert np.isnan(both[2:]).all()


def test_probabilities_of_classes_and_several_beams():
    p = np.zeros((3, 60, 60), "f4")
    p[0], p[2] = 0.25, 0.75
    scene = image(class_probability=(("surface", "y", "x"), p)).assign_coords(surface=list(schema.CLASSES))
    one = segments(np.linspace(50, 400, 30), np.linspace(-50, -400, 30))
    cube = xr.concat([one, one], "beam").assign_coords(beam=["gt1r", "gt2r"]).assign_attrs(one.attrs)
    got = evidence.along_track(cube, [scene], [(0.0, 0.0)])
    assert got.image_class_probability.dims == ("beam", "x_atc", "surface")
    np.testing.assert_allclose(got.image_class_probability.values[1, 4], [0.25, 0.0, 0.75], atol=1e-6)
    np.testing.assert_array_equal(got.image_b02.values[0], got.image_b02.values[1])

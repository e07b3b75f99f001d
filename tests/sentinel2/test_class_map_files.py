"""Class maps as GeoTIFF: written and read again, a user's own codes, and what is no map."""

from __future__ import annotations

import numpy as np
import pytest
import rioxarray  # noqa: F401
import xarray as xr

from is2ice import schema
from is2ice.sentinel2.class_map_files import read_classes, write_classes
from is2ice.sentinel2.stac_item import SceneError

CRS = "EPSG:32703"


@pytest.fixture
def classes():
    rng = np.random.default_rng(0)
    code = rng.integers(-1, 3, (40, 30)).astype("i1")
    mask = np.where(code < 0, schema.LabelFlag.NO_DATA, 0).astype("u2")
    mask[3, 4] = schema.LabelFlag.CLOUD
    x, y = 500_005.0 + 10 * np.arange(30), 1_599_995.0 - 10 * np.arange(40)
    return xr.Dataset(
        {"surface_class": (("y", "x"), code), "mask": (("y", "x"), mask)},
        coords={"x": x, "y": y},
        attrs={
            "crs": CRS,
            "scene": "S2B_x",
            "time": "2019-11-04T19:45:29Z",
            "method": "guarded",
            "white": 1.0,
        },
    )


def test_written_and_read_again(classes, tmp_path):
    path = write_classes(classes.chunk(16), tmp_path / "map.tif")
    assert [p.name for p in tmp_path.iterdir()] == ["map.tif"]
    again = read_classes(path, chunks=16)
    assert hasattr(again.surface_class.data, "dask")
    for name in ("surface_class", "mask"):
        np.testing.assert_array_equal(again[name].values, classes[name].values)
        assert again[name].dtype == classes[name].dtype
    np.testing.assert_allclose(again.x.values, classes.x.values)
    np.testing.assert_allclose(again.y.values, classes.y.values)
    assert (again.attrs["scene"], again.attrs["time"], again.attrs["method"]) == (
        "S2B_x",
        classes.time,
        "guarded",
    )


def test_a_users_own_classification(classes, tmp_path):
    """One band of other numbers, no mask: what is none of the classes is unlabelled, for want of data."""
    own = (classes.surface_class + 10).astype("u1").rio.write_crs(CRS)
    own.rio.to_raster(tmp_path / "own.tif")
    got = read_classes(tmp_path / "own.tif", {"thick_ice": 10, "thin_ice": 11, "open_water": 12})
    np.testing.assert_array_equal(got.surface_class.values, classes.surface_class.values)
    assert ((got["mask"].values == schema.LabelFlag.NO_DATA) == (classes.surface_class.values < 0)).all()
    assert got.attrs["scene"] == "own"
    with pytest.raises(ValueError, match="expected thick_ice"):
        read_classes(tmp_path / "own.tif", {"snow": 1})


def test_no_map(classes, tmp_path):
    with pytest.raises(SceneError, match="no such file"):
        read_classes(tmp_path / "none.tif")
    flat = classes.surface_class.assign_coords(x=np.linspace(10, 11, 30), y=np.linspace(-70, -71, 40))
    flat.rio.write_crs("EPSG:4326").rio.to_raster(tmp_path / "degrees.tif")
    with pytest.raises(SceneError, match="in metres"):
        read_classes(tmp_path / "degrees.tif")


def test_cut_pixels_are_an_error_with_the_file_when_they_are_read(classes, tmp_path):
    path = write_classes(classes, tmp_path / "map.tif")
    raw = path.read_bytes()
    path.write_bytes(raw[: len(raw) // 2])
    with pytest.raises(SceneError, match=r"class map map\.tif .*damaged"):
        read_classes(path).load()

"""Thickness: hydrostatics in closed form, snow models against their published numbers, uncertainty by trial."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from is2ice import schema
from is2ice.errors import SchemaError
from is2ice.science import thickness
from is2ice.science.snow import Climatology, Constant, OneLayer, Warren
from is2ice.science.thickness import Densities


def ice(freeboard, lat=-74.0, lon=-170.0, sigma=0.05, days=0.0):
    f = np.atleast_1d(np.asarray(freeboard, "f4"))
    ds = schema.mock_segments(f.size, stages=("classified", "seasurface", "freeboard"))
    put = {"freeboard": f, "freeboard_uncertainty": np.full(f.size, sigma, "f4")}
    put |= {"latitude": np.full(f.size, lat), "longitude": np.full(f.size, lon)}
    for name, v in put.items():
        ds[name] = ("x_atc", v)
    ds["delta_time"] = ds["delta_time"] + 86400.0 * days
    return ds


def test_hydrostatics_by_hand():
    """0.4 m of freeboard under 0.2 m of snow: draft and weight agree."""
    made = thickness.compute(ice([0.4, 0.1, -0.02]), Constant(0.2))
    h, snow = made.thickness.values, made.snow_depth.values
    for k in (0, 1):
        weight = 915.1 * h[k] + 300.0 * snow[k]
        assert weight == pytest.approx(1023.9 * (h[k] + snow[k] - (0.4, 0.1)[k]), rel=1e-5)
    assert made.thickness_flag.values.tolist() == [0, 1, 2]
    assert snow[1] == pytest.approx(0.1)  # no deeper than the freeboard
    assert h[2] == 0.0
    assert made.thickness_uncertainty[2] >= 0


def test_one_layer_method_in_its_published_form():
    """Ice thickness is F rho_w / (rho_w - rho') R / (R + 1) with R from the sector's regressions."""
    f = np.array([0.15, 0.3, 0.6, 1.2])
    made = thickness.compute(ice(f), "olmi")
    ratio = (0.209 + 2.45 * f) / (-0.005 + 1.05 * f)
    bulk = (ratio * 915.1 + 300.0) / (ratio + 1)
    expected = f * 1023.9 / (1023.9 - bulk) * ratio / (ratio + 1)
    np.testing.assert_allclose(made.thickness, expected, rtol=1e-5)
    np.testing.assert_allclose(made.snow_depth, expected / ratio, rtol=1e-5)
    sectors = thickness.compute(ice([0.3] * 6), "olmi")
    lon = [-50.0, 0.0, 60.0, 120.0, 179.0, -100.0]
    by_sector = [float(thickness.compute(ice(0.3, lon=x), "olmi").thickness[0]) for x in lon]
    assert len({round(v, 4) for v in by_sector}) == 5  # the Indian and Pacific sectors share theirs
    assert by_sector[4] == pytest.approx(float(sectors.thickness[0]))  # the Ross sector crosses 180 degrees
    assert thickness.compute(ice(0.3, lat=80.0), "olmi").thickness_flag.values.tolist() == [3]


def test_warren_at_the_pole_and_elsewhere():
    """At the pole the fit is its first coefficient; 85 N 0 E in April from the quadratic by hand."""
    at = ice([0.6, 0.6], lat=90.0, days=-300)  # 58e6 s is November 2019; 300 days before, January
    made = thickness.compute(at, "warren")
    np.testing.assert_allclose(made.snow_depth, 0.2801, rtol=1e-5)
    april = thickness.compute(ice(0.6, lat=85.0, lon=0.0, days=160), Warren(scale=0.5))
    assert float(april.snow_depth[0]) == pytest.approx(
        0.5 * (36.80 + 5 * 0.4046 + 25 * 0.0024) / 100, rel=1e-5
    )
    assert thickness.compute(ice(0.6, lat=60.0), "warren").thickness_flag.values.tolist() == [3]
    assert np.isnan(thickness.compute(ice(0.6, lat=60.0), "warren").thickness.values).all()


def test_snow_of_the_other_hemisphere_says_why_there_is_no_thickness():
    made = thickness.compute(ice([0.4, 0.3], lat=-74.0), Warren())
    assert np.isnan(made.thickness).all()
    (note,) = made.attrs["notes"]
    assert "warren has no depth between latitudes -74.00 and -74.00" in note
    assert "Arctic north of 70 N" in note
    assert "notes" not in thickness.compute(ice([0.4]), Constant(0.2)).attrs


@pytest.mark.parametrize("on", ["lonlat", "xy"])
def test_a_climatology_of_ones_own(on):
    if on == "lonlat":
        axes = {"latitude": np.arange(-80.0, -60.0, 1.0), "longitude": np.arange(-179.5, 180.0, 1.0)}
        place = {"lat": -74.2, "lon": -170.4}
        nearest = {"latitude": -74.0, "longitude": -170.5}
    else:
        axes = {"y": np.arange(-2e6, 0.0, 25e3)[::-1], "x": np.arange(-1e6, 1e6, 25e3)}
        place = {"lat": -74.2, "lon": -170.4}
        from pyproj import Transformer

        x, y = Transformer.from_crs("EPSG:4326", "EPSG:3976", always_xy=True).transform(-170.4, -74.2)
        nearest = {"x": x, "y": y}
    rng = np.random.default_rng(0)
    shape = (12, *(a.size for a in axes.values()))
    field = xr.DataArray(
        rng.uniform(0, 0.3, shape), dims=("month", *axes), coords={"month": np.arange(1, 13), **axes}
    )
    made = thickness.compute(ice(0.5, **place), Climatology(field, 0.05))
    expected = float(field.sel(month=11).sel(nearest, method="nearest"))
    assert float(made.snow_depth[0]) == pytest.approx(expected, rel=1e-6)
    off = thickness.compute(ice(0.5, lat=-50.0, lon=100.0), Climatology(field, 0.05))
    assert off.thickness_flag.values.tolist() == [3]
    only = field.sel(month=[1, 2])
    assert thickness.compute(ice(0.5, **place), Climatology(only)).thickness_flag.values.tolist() == [3]


@pytest.mark.parametrize(
    "longitudes", [np.arange(0.0, 360.0), np.arange(-180.0, 180.0)], ids=["0-359", "-180-179"]
)
def test_a_global_climatology_has_no_seam(longitudes):
    axes = {"month": np.arange(1, 13), "latitude": np.arange(-80.0, -60.0), "longitude": longitudes}
    field = xr.DataArray(np.zeros([a.size for a in axes.values()]), dims=tuple(axes), coords=axes)
    field += np.cos(np.radians(field["longitude"] / 2)) * 0.1 + 0.1
    for east in (-179.7, -0.3, 0.3, 179.7):
        made = thickness.compute(ice(0.5, lat=-74.2, lon=east), Climatology(field, 0.05))
        near = longitudes[np.argmin(np.abs((longitudes - east + 180.0) % 360.0 - 180.0))]
        expected = float(field.sel(month=11, longitude=near).sel(latitude=-74.0))
        assert float(made.snow_depth[0]) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("snow", [Constant(0.1, 0.03), OneLayer()], ids=["constant", "olmi"])
def test_uncertainty_is_that_of_trials(snow):
    """Ten thousand draws of every input against the propagated standard error (small errors, so that it is linear)."""
    small = Densities(water=(1023.9, 1.0), ice=(915.1, 4.0), snow=(300.0, 30.0))
    if isinstance(snow, OneLayer):
        snow = OneLayer(offset_error=(0.02, 0.005), slope_error=0.05)
    one = thickness.compute(ice(0.5, sigma=0.02), snow, densities=small)
    rng = np.random.default_rng(1)
    n = 10_000
    place = {"latitude": np.full(n, -74.0), "longitude": np.full(n, -170.0), "month": np.full(n, 11.0)}
    drawn = {k: v + rng.normal(size=n) * s for k, (v, s) in snow.inputs(place).items()}
    drawn |= {
        k: getattr(small, k)[0] + rng.normal(size=n) * getattr(small, k)[1] for k in ("water", "ice", "snow")
    }
    drawn["freeboard"] = 0.5 + rng.normal(size=n) * 0.02
    _, trials, _ = thickness._state(snow, drawn)
    assert float(one.thickness_uncertainty[0]) == pytest.approx(trials.std(), rel=0.05)
    total = sum(float(one[f"thickness_uncertainty_{k}"][0]) ** 2 for k in ("freeboard", "density", "snow"))
    assert total**0.5 == pytest.approx(float(one.thickness_uncertainty[0]), rel=1e-5)


def test_water_and_missing_freeboard_have_no_thickness():
    ds = ice([0.3, 0.3, 0.3])
    ds["surface_class"][0] = schema.OPEN_WATER
    ds["freeboard"][1] = np.nan
    made = thickness.compute(ds)
    assert np.isnan(made.thickness.values).tolist() == [True, True, False]
    assert made.thickness_flag.values.tolist() == [-1, -1, 0]
    cube = thickness.compute(ds.expand_dims(beam=["gt2r"]))
    np.testing.assert_array_equal(cube.thickness.values[0], made.thickness.values)
    assert made.thickness.attrs["density_ice"] == [915.1, 15.0]
    assert made.thickness.attrs["snow_model"] == "olmi"


def test_wrong_requests():
    with pytest.raises(SchemaError, match="freeboard_uncertainty: missing"):
        thickness.compute(ice(0.3).drop_vars("freeboard_uncertainty"))
    with pytest.raises(ValueError, match="expected auto, olmi, warren"):
        thickness.compute(ice(0.3), "deep")
    with pytest.raises(SchemaError, match="expected month with x and y"):
        thickness.compute(ice(0.3), Climatology(xr.DataArray(np.zeros(12), dims="month")))


def test_snow_by_word_number_or_file(tmp_path):
    """What the command line names: models, depths, and a file with a monthly field."""
    from is2ice.science.snow import snow_model

    assert [snow_model(w) for w in ("auto", "olmi")] == ["auto", "olmi"]
    assert snow_model("constant:0.25,0.08") == Constant(0.25, 0.08)
    assert snow_model("warren:0.5") == Warren(0.5)
    axes = {
        "month": np.arange(1, 13),
        "latitude": np.arange(-79.5, -60.0),
        "longitude": np.arange(-179.5, 180.0),
    }
    field = xr.DataArray(np.full((12, 20, 360), 0.3), axes, name="snow_depth")
    field.to_netcdf(tmp_path / "snow.nc")
    made = thickness.compute(ice([0.6]), snow_model(str(tmp_path / "snow.nc")))
    assert float(made.snow_depth[0]) == pytest.approx(0.3)
    field.isel(month=0, drop=True).to_netcdf(tmp_path / "one.nc")
    for wrong in (
        "climatology",
        "constant:x",
        "constant:0.2,0.1,3",
        "warren:-1",
        "none.nc",
        str(tmp_path / "one.nc"),
    ):
        with pytest.raises(ValueError, match="expected"):
            snow_model(wrong)


def test_snow_may_be_a_depth():
    segments = schema.mock_segments(50, stages=("freeboard",))
    by_number, by_word = (thickness.compute(segments, snow) for snow in (0.2, "constant:0.2"))
    xr.testing.assert_identical(by_number, by_word)
    with pytest.raises(TypeError, match="expected a depth in m, a word or a snow model, got list"):
        thickness.compute(segments, [0.2])

"""One dataset whichever way it was opened: coordinates, bits, and the methods of ``ds.is2ice``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import is2ice
from is2ice import schema
from is2ice.errors import GranuleError, StoreError
from is2ice.workflows.opening import matches
from is2ice.workflows.options import Options

SAMPLES = Path(__file__).resolve().parents[2] / "sample_data"
SAMPLE = next(SAMPLES.glob("ATL03_*.h5"))
ATL10 = next(SAMPLES.glob("ATL10-02_*.h5"))
GRANULE = SAMPLE.stem


@pytest.fixture(scope="module")
def stored(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("face") / "s.zarr"
    is2ice.run([SAMPLE], folder, beams="gt2r", progress=False)
    return folder


@pytest.fixture(scope="module")
def plain(stored) -> xr.Dataset:
    return xr.open_zarr(stored, group=f"{GRANULE}/gt2r").load()


def test_every_way_of_opening_gives_the_same_coordinates_and_bits(stored, plain):
    ours = is2ice.open_track(str(stored)).sel(beam="gt2r").load()
    ways = {
        "open_track of the granule": is2ice.open_track(SAMPLE, "gt2r").isel(beam=0),
        "open_track with a part": is2ice.open_track(str(stored), bbox=(-180, -90, 180, 0)).isel(beam=0),
        "one_track": is2ice.one_track(SAMPLE, "gt2r", Options()),
        "engine, granule": xr.open_dataset(SAMPLE, engine="is2ice", group="gt2r"),
        "engine, store": xr.open_dataset(stored, engine="is2ice", group=f"{GRANULE}/gt2r"),
        "Store.open_track": is2ice.open_store(stored).open_track(GRANULE).isel(beam=0),
    }
    for way, ds in {"open_zarr": plain, **ways}.items():
        assert set(schema.COORDINATES) <= set(ds.coords), way
        assert ds["time"].dtype == np.dtype("M8[ns]"), way
        late = np.abs(ds["time"].values - ours["time"].values)
        assert late[~np.isnat(late)].max() <= np.timedelta64(10, "ns"), (
            way
        )  # xarray's decoder rounds products
        for name in set(ds.variables) & set(ours.variables) - {"time"}:
            if ds[name].dtype.kind in "fiu" and name != "spot":
                np.testing.assert_array_equal(ds[name].values, ours[name].values, f"{way}: {name}")
    for way, ds in ways.items():
        np.testing.assert_array_equal(ds["time"].values, ours["time"].values, way)


def test_times_come_back_bit_for_bit():
    ds = schema.mock_segments(50_000)
    ds["delta_time"] = ("x_atc", np.sort(np.random.default_rng(0).uniform(3.0e7, 3.0e8, 50_000)))
    ds["delta_time"][7] = np.nan
    only = schema.with_coordinates(ds).drop_vars("delta_time")
    assert np.isnat(only["time"].values[7])
    np.testing.assert_array_equal(schema.segments_of(only)["delta_time"], ds["delta_time"])


def test_a_store_holds_one_time(stored):
    raw = xr.open_zarr(stored, group=f"{GRANULE}/gt2r", decode_times=False)
    assert "delta_time" not in raw.variables
    assert raw["time"].attrs["units"] == schema.EPOCH
    schema.conform(raw)


def test_a_store_of_the_schema_before_is_read(stored, tmp_path):
    raw = xr.open_zarr(stored, group=f"{GRANULE}/gt2r", decode_times=False).load()
    old = raw.rename(time="delta_time").drop_encoding().assign_attrs(schema_version="1.0")
    group = tmp_path / "old.zarr" / GRANULE
    old.to_zarr(group / "gt2r", zarr_format=3)
    ds = is2ice.open_track(str(group / "gt2r"))
    np.testing.assert_array_equal(ds["delta_time"], raw["time"])
    decoded = xr.open_zarr(group / "gt2r")
    assert decoded.is2ice.to_geodataframe()["time"].notna().all()


def test_every_method_of_a_track_opened_by_plain_xarray(plain, tmp_path):
    face = plain.is2ice
    assert repr(face).startswith(f"<SIMULATED: is2ice segments of {GRANULE}: gt2r; ")
    classified = face.classify()
    np.testing.assert_array_equal(classified["surface_class"], plain["surface_class"])
    levelled = classified.is2ice.sea_surface()
    freeboards = levelled.is2ice.freeboard()
    np.testing.assert_array_equal(freeboards["freeboard"], plain["freeboard"])
    thick = freeboards.is2ice.thickness("constant:0.2")
    assert np.isfinite(thick["thickness"]).any()
    assert set(schema.COORDINATES) <= set(thick.coords)
    assert face.stats() == is2ice.icestats.statistics(schema.segments_of(plain))
    assert face.compare(atl10=ATL10).numbers["stretch_km"] > 1
    assert face.plot(path=tmp_path / "t.png").get_suptitle()
    with xr.open_dataset(face.to_netcdf(tmp_path / "t.nc")) as back:
        np.testing.assert_array_equal(back["time"], plain["time"])
        np.testing.assert_array_equal(
            back.is2ice.to_geodataframe()["freeboard"], face.to_geodataframe()["freeboard"]
        )
    assert face.to_csv(tmp_path / "t.csv").stat().st_size > 1000


def test_a_beam_chosen_from_a_cube_is_known(stored):
    one = is2ice.open_track(str(stored)).sel(beam="gt2r")
    assert ": gt2r; " in repr(one.drop_attrs(deep=False).is2ice)


def test_patterns_name_local_files(tmp_path):
    for name in ("b.h5", "a.h5"):
        (tmp_path / name).touch()
    (tmp_path / "a[1].h5").touch()
    assert matches(tmp_path / "?.h5") == [str(tmp_path / "a.h5"), str(tmp_path / "b.h5")]
    assert matches(str(tmp_path / "a[1].h5")) == [str(tmp_path / "a[1].h5")]
    assert matches("https://example.org/*.h5") == ["https://example.org/*.h5"]
    with pytest.raises(FileNotFoundError, match="no file or store matches"):
        is2ice.run(tmp_path / "none*.h5", tmp_path / "s.zarr")
    assert not (tmp_path / "s.zarr").exists()


def test_the_engine_takes_decoders_and_groups(stored):
    def opened(**more):
        return xr.open_dataset(SAMPLE, engine="is2ice", group="gt2r", **more)

    assert "time" not in opened(decode_times=False).variables
    assert "latitude" in opened(decode_coords=False).data_vars
    assert "height" not in opened(drop_variables=["height", "nothing"])
    opened(mask_and_scale=False, decode_cf=None).close()
    assert "time" not in opened(decode_cf=False).variables
    cube = xr.open_dataset(stored, engine="is2ice")
    assert dict(cube.sizes)["beam"] == 1
    tree = xr.open_datatree(stored, engine="is2ice")
    assert tree[f"{GRANULE}/gt2r"].sizes["x_atc"] == cube.sizes["x_atc"]
    groups = xr.open_groups(SAMPLE, engine="is2ice", drop_variables="dac")
    assert set(groups) == {"/", "/gt1r", "/gt2r", "/gt3r"}
    assert "dac" not in groups["/gt1r"]
    with pytest.raises(ValueError, match="confidence=9: expected a whole number from 0 to 4"):
        opened(confidence=9)
    with pytest.raises(ValueError, match="a store's segments are made"):
        xr.open_dataset(stored, engine="is2ice", length=10.0)
    with pytest.raises(ValueError, match="group='gt9x': no such group"):
        xr.open_groups(SAMPLE, engine="is2ice", group="gt9x")


def test_variables_and_photon_fields_on_request(stored):
    for source in (is2ice.sample(), stored):
        ds = is2ice.open_track(source, variables=["height", "n_photons", "time"])
        assert set(ds.data_vars) == {"height", "n_photons"}
        assert {"time", "latitude", "x"} <= set(ds.coords)
        with pytest.raises(ValueError, match="variables: no snow here; there are"):
            is2ice.open_track(source, variables="snow")
    with is2ice.Granule(is2ice.sample()) as granule:
        photons = granule.photons("gt1r", photon_fields=["ph_id_count", "dist_ph_across"])
        assert photons["dist_ph_across"].dims == ("photon",)
        np.testing.assert_array_equal(photons["h_ph"], granule.photons("gt1r")["h_ph"])
        with pytest.raises(GranuleError, match=r"no 'colour' with one value a photon; there are .*h_ph"):
            granule.photons("gt1r", photon_fields="colour")
    group = xr.open_dataset(
        is2ice.sample(), engine="is2ice", group="gt1r/heights", photon_fields=["ph_id_count"]
    )
    assert "ph_id_count" in group


def test_one_track_of_a_store_uses_its_segments(stored):
    made = is2ice.one_track(stored, "gt2r", is2ice.Options(until="classes"))
    assert (made.attrs["beam"], made.attrs["spot"]) == ("gt2r", 3)
    xr.testing.assert_equal(
        made["height"], is2ice.open_track(stored)["height"].isel(beam=0, drop=True).compute()
    )
    with pytest.raises(StoreError, match="this is beam gt2r; open the granule to choose gt1r"):
        is2ice.one_track(f"{stored}/{GRANULE}/gt2r", "gt1r")


def test_a_name_that_is_nearly_right_is_suggested():
    with pytest.raises(AttributeError, match="did you mean open_track"):
        _ = is2ice.opentrack


@pytest.mark.parametrize(
    "call",
    [
        is2ice.classify,
        is2ice.seasurface.estimate,
        is2ice.freeboard.compute,
        is2ice.thickness.compute,
        is2ice.icestats.statistics,
        is2ice.compare,
        is2ice.quicklook,
    ],
)
def test_the_path_of_a_granule_is_no_dataset(call):
    with pytest.raises(TypeError, match=r"got PosixPath; is2ice\.one_track and is2ice\.open_track"):
        call(SAMPLE)


def test_options_are_a_record_or_a_mapping(stored):
    by_name = is2ice.one_track(stored, "gt2r", {"until": "classes", "classifier": "radiometric"})
    assert by_name.attrs["classifier"] == "radiometric"
    with pytest.raises(TypeError, match="options: no confidense; expected some of length, confidence"):
        is2ice.one_track(SAMPLE, "gt2r", {"confidense": 2})
    with pytest.raises(TypeError, match=r"expected is2ice\.Options or a mapping of its names, got str"):
        is2ice.run([SAMPLE], "never.zarr", options="freeboard")
    with pytest.raises(TypeError, match=r"unexpected keyword confidence; .* \(of a track: options=\)"):
        is2ice.run([SAMPLE], "never.zarr", confidence=2)

"""Maps: whole-number sums that add up alike in any order and on every engine, and what the maps say."""

from __future__ import annotations

import json
import random
import shutil

import checkers
import h5py
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from is2ice import engines, schema
from is2ice.errors import SchemaError
from is2ice.io.icesat2 import atl07_atl10
from is2ice.io.stores import store
from is2ice.science import grid
from is2ice.workflows import make_map

SOUTH = grid.GRIDS["nsidc_south"]
SAMPLE = "sample_data/ATL10-02_20191116193412_07410501_006_01.h5"


def track(n=3000, seed=0, lon=-170.0, lat=-74.0, beam="gt2r", days=0.0, granule="mock"):
    """A mock track with leads, a slope of freeboard, and missing cells."""
    rng = np.random.default_rng(seed)
    ds = schema.mock_segments(n, stages=("classified", "seasurface", "freeboard"), seed=seed)
    k = np.arange(n)
    ds["latitude"] = ("x_atc", lat - k * 1.8e-5)
    ds["longitude"] = ("x_atc", np.full(n, float(lon)))
    ds["delta_time"] = ds["delta_time"] + days * 86400.0
    ds["freeboard"] = ("x_atc", (0.3 + k / n + rng.normal(0, 0.05, n)).astype("f4"))
    ds["h_ref_uncertainty"] = ("x_atc", np.full(n, 0.02, "f4"))
    for first in range(200, n - 60, 700):
        ds["surface_class"][first : first + 50] = schema.OPEN_WATER
        ds["lead_index"][first : first + 50] = first // 700
        ds["freeboard"][first : first + 50] = 0.0
    gone = rng.random(n) < 0.02
    ds["n_photons"] = ds["n_photons"].where(~gone, 0).astype("i4")
    ds["freeboard"] = ds["freeboard"].where(~gone)
    ds["surface_class"] = ds["surface_class"].where(~gone, -1).astype("i1")
    ds.attrs |= {"beam": beam, "granule": granule}
    return schema.annotate(ds)


def parts(n=6):
    return [grid.cell_sums(track(2000, seed=s, lon=-170 + s % 3, days=20 * s), SOUTH) for s in range(n)]


def test_a_cell_by_hand():
    """One track inside one cell: every number of the map from the segments themselves."""
    ds = track(3000)
    made = grid.to_map(grid.cell_sums(ds, SOUTH))
    cell = made.isel(time=0).stack(c=("y", "x"))
    cell = cell.isel(c=int(np.argmax(cell.n_segments.values)))
    ice = ds.freeboard.where(ds.surface_class == schema.THICK_ICE)
    if int((made.n_segments > 0).sum()) == 1:
        ice = ice.dropna("x_atc")
    n = ice.size
    assert int(cell.n_segments) == n
    np.testing.assert_allclose(cell.freeboard, ice.astype("f8").mean(), atol=1e-7)
    np.testing.assert_allclose(cell.freeboard_spread, ice.astype("f8").std(), atol=1e-6)
    np.testing.assert_allclose(cell.freeboard_uncertainty, np.hypot(0.03 / n**0.5, 0.02), rtol=1e-5)
    observed = ds.n_photons > 0
    np.testing.assert_allclose(cell.length_observed, 2.0 * observed.sum())
    water = (ds.surface_class == schema.OPEN_WATER) & observed
    np.testing.assert_allclose(cell.lead_fraction, water.sum() / (ds.surface_class >= 0).sum(), rtol=1e-6)
    assert int(cell.n_tracks) == 1
    assert int(cell.n_leads) == int(ds.lead_index.max()) + 1


def test_leads_left_out_are_not_counted():
    ds = track(3000)
    chance = np.where(ds.lead_index.values == 0, 0.2, 0.9).astype("f4")
    left = grid.cell_sums(ds.assign(lead_probability=("x_atc", chance)), SOUTH)
    assert int(left.n_leads.sum()) == int(grid.cell_sums(ds, SOUTH).n_leads.sum()) - 1


def test_cells_are_where_they_should_be():
    """The middle of the map's cell that a segment falls in is within half a cell of the segment."""
    from pyproj import Transformer

    for name, lat in (
        ("nsidc_south", -75.0),
        ("ease2_south", -75.0),
        ("nsidc_north", 80.0),
        ("ease2_north", 80.0),
    ):
        g = grid.GRIDS[name]
        x, y = Transformer.from_crs("EPSG:4326", g.crs, always_xy=True).transform(-165.0, lat)
        row, column, inside = g.locate([-165.0, -165.0, np.nan], [lat, -lat, lat])
        assert inside.tolist() == [True, False, False]
        assert abs(g.x[column[0]] - x) <= g.cell / 2
        assert abs(g.y[row[0]] - y) <= g.cell / 2
    assert grid.GRIDS["nsidc_south"].with_cell(12_500).columns == 632
    with pytest.raises(ValueError, match="divides"):
        SOUTH.with_cell(24_000)


def test_two_tracks_halve_the_shared_error_and_two_beams_of_a_cube_count_as_two():
    one, two = track(3000, seed=1), track(3000, seed=2, beam="gt1r")
    made = [grid.to_map(grid.add([grid.cell_sums(t, SOUTH) for t in ts])) for ts in ([one], [one, two])]
    at = made[1].n_segments == made[1].n_segments.max()
    error = [float(m.freeboard_uncertainty.where(at).max()) for m in made]
    assert error[1] == pytest.approx(error[0] / 2**0.5, rel=0.01)
    cube = xr.concat([one, two], "beam", combine_attrs="drop_conflicts")
    xr.testing.assert_identical(
        grid.cell_sums(cube, SOUTH).drop_attrs(),
        grid.add([grid.cell_sums(t, SOUTH) for t in (one, two)]).drop_attrs(),
    )


@settings(max_examples=12, deadline=None)
@given(st.permutations(range(6)), st.integers(1, 5))
def test_any_order_and_grouping_give_the_same_bits(order, cut):
    made = _PARTS
    whole = grid.add(made)
    shuffled = [made[k] for k in order]
    grouped = grid.add([grid.add(shuffled[:cut]), grid.add(shuffled[cut:])])
    xr.testing.assert_identical(whole, grouped)
    xr.testing.assert_identical(grid.to_map(whole), grid.to_map(grouped))


_PARTS = parts()


def test_whole_numbers_are_as_exact_as_floats_need():
    """Sums of whole numbers against the exact fraction: rounding costs under 3e-8 of a unit per segment."""
    from fractions import Fraction

    ds = track(3000)
    sums = grid.cell_sums(ds, SOUTH)
    use = (ds.surface_class == schema.THICK_ICE) & np.isfinite(ds.freeboard)
    exact = sum(Fraction(float(v)) for v in ds.freeboard.values[use.values]) * 2
    assert abs(float(Fraction(int(sums.freeboard_sum.sum()), int(grid.UNIT)) - exact)) < 3e-8 * int(use.sum())


def test_sums_that_differ_are_not_added():
    ds = track(500)
    with pytest.raises(ValueError, match="differ in period: 'month' and 'week'"):
        grid.add([grid.cell_sums(ds, SOUTH), grid.cell_sums(ds, SOUTH, period="week")])
    with pytest.raises(ValueError, match="differ in grid_cell"):
        grid.add([grid.cell_sums(ds, SOUTH), grid.cell_sums(ds, SOUTH.with_cell(12_500))])
    with pytest.raises(ValueError, match="nothing to add"):
        grid.add([])
    with pytest.raises(SchemaError, match="freeboard: missing"):
        grid.cell_sums(ds.drop_vars("freeboard"), SOUTH)
    with pytest.raises(ValueError, match="expected 'month', 'week' or 'all'"):
        grid.cell_sums(ds, SOUTH, period="day")


@pytest.mark.parametrize(("period", "starts"), [("month", 2), ("week", 3), ("all", 1)])
def test_periods(period, starts):
    """58e6 s is 3 November 2019, a Sunday; 2 and 30 days on are another week, then another month."""
    made = grid.to_map(
        grid.add([grid.cell_sums(track(300, days=d), SOUTH, period=period) for d in (0, 0.1, 2, 30)])
    )
    assert made.sizes["time"] == starts
    if period == "month":
        assert made.time.values.astype("datetime64[D]").astype(str).tolist() == ["2019-11-01", "2019-12-01"]
        assert made.time_bounds.values.astype("datetime64[D]").astype(str)[0].tolist() == [
            "2019-11-01",
            "2019-12-01",
        ]
    if period == "week":
        first = made.time.values.astype("datetime64[D]")
        assert ((first - np.datetime64("2018-01-01")).astype(int) % 7 == 0).all()


def test_a_track_off_the_grid_or_without_freeboard_gives_an_empty_map():
    north = track(200)
    north["latitude"] = -north["latitude"]
    sums = grid.cell_sums(north, SOUTH)
    assert sums.sizes["cell"] == 0
    assert grid.to_map(sums).sizes["time"] == 0
    none = track(200)
    none["freeboard"] = none["freeboard"] * np.nan
    with pytest.raises(SchemaError, match="where='all'"):
        grid.cell_sums(none.drop_vars("surface_class"), SOUTH)
    made = grid.to_map(grid.cell_sums(none, SOUTH))
    assert made.freeboard.isnull().all()
    assert int(made.n_tracks.sum()) == 0
    assert int(made.lead_fraction.notnull().sum()) >= 1


def test_products_are_mapped_as_atl20_does():
    tree = atl07_atl10.open_atl10(SAMPLE)
    made = grid.to_map(grid.product_sums(tree, SOUTH))
    segments = tree["gt1r/segments"].to_dataset()
    good = np.isfinite(segments.freeboard)
    weight = segments.length.where(good, 0).astype("f8")
    expected = float((segments.freeboard.fillna(0) * weight).sum() / weight.sum())
    lengths = made.freeboard * 0 + grid_lengths(tree)
    assert float((made.freeboard * lengths).sum() / lengths.sum()) == pytest.approx(expected, abs=1e-6)
    assert int(made.n_segments.sum()) == int(good.sum())


def grid_lengths(tree):
    """Length averaged per cell, from the sums."""
    sums = grid.product_sums(tree, SOUTH)
    out = np.zeros((1, SOUTH.rows, SOUTH.columns))
    out[0, sums.row.values, sums.column.values] = sums.freeboard_length.values / grid.UNIT
    return out


@pytest.fixture(scope="module")
def small_store(tmp_path_factory):
    """A store of four tracks of two granules."""
    root = tmp_path_factory.mktemp("grid") / "s.zarr"
    for granule, day in (("ATL03_a", 0.0), ("ATL03_b", 25.0)):
        for k, beam in enumerate(("gt1r", "gt2r")):
            ds = track(2500, seed=k, lon=-170 - k, days=day, beam=beam, granule=granule)
            store.write_track(ds, root)
    store.consolidate(root)
    return root


@pytest.fixture(scope="module")
def serial_map(small_store):
    return make_map.make_map(
        small_store, make_map.MapOptions(values=("freeboard", "thickness", "lead_width"))
    )


@pytest.fixture
def engine_options(request):
    """Workers that start quickly: one process, Dask's scheduler and a worker within this one, the running Spark."""
    if request.node.callspec.params["engine"] != "dask":
        # A process has one Spark session: without options the one that other tests have left is used.
        yield {} if request.node.callspec.params["engine"] == "spark" else {"workers": 1}
        return
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield {"client": client}


def test_notes_on_products_name_their_granule(tmp_path, caplog):
    path = shutil.copy(SAMPLE, tmp_path / "ATL10-01_noted.h5")
    with h5py.File(path, "r+") as f:
        beam = next(b for b in schema.BEAMS if f"{b}/leads" in f)
        del f[f"{beam}/leads"]
    make_map.make_map(path)
    assert f"ATL10-01_noted: {beam}/leads is missing" in caplog.text


# A Gateway's workers are Dask's, behind a server that tests of the engines start.
@pytest.mark.parametrize("engine", [e for e in engines.ENGINES if e not in ("serial", "gateway")])
def test_every_engine_gives_the_same_map(engine, engine_options, small_store, serial_map):
    options = make_map.MapOptions(values=("freeboard", "thickness", "lead_width"))
    made = make_map.make_map(small_store, options, engine=engine, engine_options=engine_options)
    xr.testing.assert_identical(made.drop_attrs(deep=False), serial_map.drop_attrs(deep=False))
    assert made.attrs["tracks"] == 4


@pytest.mark.parametrize("name", ["map.nc", "map.zarr"])
def test_written_and_opened_again(name, tmp_path, serial_map):
    path = make_map.write_map(serial_map, tmp_path / name)
    make_map.write_map(serial_map, path)  # again, over the first
    again = xr.open_zarr(path) if name.endswith("zarr") else xr.open_dataset(path)
    with again:
        for variable in serial_map.data_vars:
            np.testing.assert_array_equal(again[variable].values, serial_map[variable].values)
        assert again.crs.attrs["grid_mapping_name"] == "polar_stereographic"
        assert (
            again.freeboard.attrs["grid_mapping"] == "crs"
            or again.freeboard.encoding["grid_mapping"] == "crs"
        )
        assert again.time.values[0] == np.datetime64("2019-11-01")
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_a_map_replaces_maps_and_nothing_else(small_store, tmp_path, serial_map):
    copy = shutil.copytree(small_store, tmp_path / "copy.zarr")
    with pytest.raises(ValueError, match="something other than a map"):
        make_map.write_map(serial_map, copy)
    assert len(store.open_store(copy)) == 4
    (tmp_path / "map.nc").mkdir()
    with pytest.raises(ValueError, match="is a folder"):
        make_map.write_map(serial_map, tmp_path / "map.nc")


def test_an_unknown_error_is_not_taken_for_none():
    ds = track(300)
    known = grid.to_map(grid.cell_sums(ds, SOUTH), crop=True)
    assert np.isfinite(known["freeboard_uncertainty"].values[known["n_segments"].values > 0]).all()
    ds["h_ref_uncertainty"][np.flatnonzero(np.isfinite(ds["freeboard"].values))[0]] = np.nan
    one = grid.to_map(grid.cell_sums(ds, SOUTH), crop=True)
    none = grid.to_map(grid.cell_sums(ds.drop_vars("height_uncertainty"), SOUTH), crop=True)
    np.testing.assert_array_equal(one["freeboard"], known["freeboard"])
    assert np.isnan(one["freeboard_uncertainty"].values).any()
    assert np.isnan(none["freeboard_uncertainty"].values).all()


def test_map_passes_the_cf_checker(tmp_path, serial_map):
    path = make_map.write_map(serial_map, tmp_path / "map.nc")
    said = checkers.remarks(path, "cf:1.11")
    assert said["high"] == said["medium"] == []


def test_values_may_be_a_list():
    assert make_map.MapOptions(values=["freeboard"]) == make_map.MapOptions()
    assert make_map.make_map(SAMPLE, values=["freeboard"])["n_segments"].sum() > 0


def test_wrong_requests(small_store, tmp_path, serial_map):
    with pytest.raises(ValueError, match="expected one of nsidc_south"):
        make_map.make_map(small_store, make_map.MapOptions(grid="mercator"))
    with pytest.raises(ValueError, match="each by itself"):
        make_map.make_map([small_store, SAMPLE])
    with pytest.raises(ValueError, match="expected some of freeboard"):
        make_map.make_map(small_store, make_map.MapOptions(values=("nonsense",)))
    with pytest.raises(ValueError, match="expected auto, olmi"):
        make_map.make_map(small_store, make_map.MapOptions(values=("thickness",), snow="climatology"))
    with pytest.raises(ValueError, match="other hemisphere"):
        make_map.make_map(small_store, make_map.MapOptions(grid="nsidc_north"))
    with pytest.raises(ValueError, match="too many to hold"):
        make_map.make_map(small_store, make_map.MapOptions(grid="ease2_south", cell=1000.0))
    with pytest.raises(ValueError, match="freeboard only, not thickness"):
        make_map.make_map(SAMPLE, make_map.MapOptions(values=("thickness",)))
    with pytest.raises(FileNotFoundError, match="no such store or file"):
        make_map.make_map("nowhere.zarr")
    with pytest.raises(ValueError, match=r"\.nc or \.zarr"):
        make_map.write_map(serial_map, tmp_path / "map.tif")
    with pytest.raises(ValueError, match="no such folder"):
        make_map.write_map(serial_map, tmp_path / "not" / "map.nc")


def test_command_line(small_store, tmp_path, capsys):
    from is2ice.cli.main import main

    with pytest.raises(SystemExit) as stopped:
        main(
            [
                "map",
                str(small_store),
                "--out",
                str(tmp_path / "m.nc"),
                "--cell",
                "12500",
                "--period",
                "all",
                "--out",
                str(tmp_path / "m.png"),
                "--json",
            ]
        )
    assert not stopped.value.code
    told = json.loads(capsys.readouterr().out)
    assert told["tracks"] == 4
    assert 0.5 < told["freeboard"]["mean"] < 1.2
    assert (tmp_path / "m.png").stat().st_size > 10_000
    with pytest.raises(SystemExit) as stopped:
        main(["map", str(small_store), "--out", str(tmp_path / "m.tif")])
    assert stopped.value.code == 2
    # One product that cannot be read: told, the rest mapped, exit 1.
    (tmp_path / "bad.h5").write_text("x")
    with pytest.raises(SystemExit) as stopped:
        main(["map", SAMPLE, str(tmp_path / "bad.h5"), "--out", str(tmp_path / "p.nc")])
    assert stopped.value.code == 1
    assert "bad.h5" in capsys.readouterr().err


def test_statistics_of_a_store(small_store, capsys):
    from is2ice.cli.main import main

    with pytest.raises(SystemExit) as stopped:
        main(["stats", str(small_store), "--beam", "gt1r", "--json"])
    assert not stopped.value.code
    told = json.loads(capsys.readouterr().out)
    assert [(t["granule"], t["beam"]) for t in told] == [("ATL03_a", "gt1r"), ("ATL03_b", "gt1r")]
    assert told[0]["openings"]["complete"] == 4
    assert 90 <= told[0]["openings"]["width_median"] <= 110
    with pytest.raises(SystemExit) as stopped:
        main(["stats", str(small_store), "--granule", "ATL03_a"])
    assert "lead fraction: 0.0" in capsys.readouterr().out
    with pytest.raises(SystemExit) as stopped:
        main(["stats", str(small_store), "--beam", "gt3l"])
    assert stopped.value.code == 2


def test_a_cropped_map_is_a_part_of_the_whole():
    total = grid.add(parts())
    whole, cut = grid.to_map(total), grid.to_map(total, crop=True)
    part = whole.sel(x=cut.x, y=cut.y)
    xr.testing.assert_identical(cut.drop_attrs(deep=False), part.drop_attrs(deep=False))
    assert int(cut.n_segments.sum()) == int(whole.n_segments.sum()) > 0
    for edge in (cut.isel(x=0), cut.isel(x=-1), cut.isel(y=0), cut.isel(y=-1)):
        assert int(edge.length_observed.fillna(0).sum()) > 0
    fine = grid.cell_sums(track(2000), grid.GRIDS["ease2_south"].with_cell(1000.0))
    assert grid.to_map(fine, crop=True).sizes["x"] < 10


def test_shuffled_sources_give_the_same_map(small_store, serial_map):
    listed = list(store.open_store(small_store).tracks)
    options = make_map.MapOptions(values=("freeboard", "thickness", "lead_width"))
    items = [(str(small_store), *key) for key in listed]
    random.Random(3).shuffle(items)
    made = grid.to_map(grid.add([make_map._Sum(options)(i) for i in items]))
    xr.testing.assert_identical(made.drop_attrs(deep=False), serial_map.drop_attrs(deep=False))

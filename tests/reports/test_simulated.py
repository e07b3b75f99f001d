"""Simulated data say so in everything that is made from them, and measured data never do."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import is2ice
from is2ice import schema
from is2ice.io.icesat2.atl07_atl10 import open_atl10
from is2ice.io.publishing.publish import publish
from is2ice.io.stores import store
from is2ice.reports import nasa_comparison, nasa_comparison_report
from is2ice.reports.plot_maps import draw_map
from is2ice.science import grid
from is2ice.workflows.make_map import MapOptions, make_map

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = next((ROOT / "sample_data").glob("ATL03_*.h5"))
ATL10 = next((ROOT / "sample_data").glob("ATL10-02_*.h5"))
MADE_BY = "is2ice twin, preset ross_sea_november, seed 1110"
MEASURED = "ATL03_20191104195311_05940510_006_01"


def measured() -> xr.Dataset:
    ds = schema.mock_segments(200, stages=("classified", "seasurface", "freeboard"))
    return ds.assign_attrs(granule=MEASURED, beam="gt2r", crs="EPSG:3976", beam_strength="strong")


@pytest.fixture(scope="module")
def stored(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("simulated") / "s.zarr"
    is2ice.run([SAMPLE], folder, beams="gt2r", progress=False)
    return folder


@pytest.fixture(scope="module")
def one(stored) -> xr.Dataset:
    return is2ice.open_track(str(stored)).sel(beam="gt2r").load()


def test_granule_track_store_and_what_is_made_from_a_store(stored, one, tmp_path):
    with is2ice.Granule(SAMPLE) as granule:
        assert granule.simulated == MADE_BY
        assert granule.photons("gt2r", is2ice_subset(granule)).attrs["simulated"] == MADE_BY
    assert is2ice.open_track(SAMPLE).attrs["simulated"] == MADE_BY
    assert one.attrs["simulated"] == MADE_BY
    again = is2ice.run(stored, tmp_path / "again.zarr", progress=False)
    assert not again.failed
    attrs = xr.open_zarr(tmp_path / "again.zarr", group=f"{again.receipts[0]['granule']}/gt2r").attrs
    assert attrs["simulated"] == MADE_BY
    assert attrs["title"].startswith("SIMULATED: ")
    assert "NASA" not in attrs["acknowledgement"]


def is2ice_subset(granule):
    from is2ice.io.icesat2.atl03 import Subset

    first = granule.table("gt2r").dist_x[0]
    return Subset(x_atc=(first, first + 200.0))


def test_exports_and_citation(one, tmp_path):
    import pandas as pd

    with xr.open_dataset(one.is2ice.to_netcdf(tmp_path / "t.nc")) as back:
        assert back.attrs["simulated"] == MADE_BY
        assert back.attrs["platform"] == "ICESat-2 (simulated)"
    assert set(pd.read_csv(one.is2ice.to_csv(tmp_path / "t.csv"))["simulated"]) == {MADE_BY}
    cited = one.is2ice.cite()
    assert MADE_BY in cited
    assert "NASA" not in cited
    assert "10.5067" not in cited


def test_pictures_and_comparison(one):
    assert one.is2ice.quicklook().get_suptitle().startswith("SIMULATED: ")
    found = nasa_comparison.compare(one.assign_attrs(beam="gt2r"), atl10=ATL10)
    assert found.numbers["ours"]["simulated"] == found.numbers["theirs"]["simulated"] == MADE_BY
    assert nasa_comparison_report.text(found).startswith("SIMULATED: ")


def test_maps(stored):
    made = make_map(str(stored), MapOptions(crop=True))
    assert made.attrs["simulated"] == MADE_BY
    assert draw_map(made).get_suptitle().startswith("SIMULATED: ")
    assert grid.product_sums(open_atl10(ATL10), grid.GRIDS["nsidc_south"]).attrs["simulated"] == MADE_BY


def test_a_measured_and_a_simulated_track_in_one_map_and_one_collection(stored, one, tmp_path):
    on = grid.GRIDS["nsidc_south"]
    parts = [grid.cell_sums(measured(), on), grid.cell_sums(one, on)]
    assert [p.attrs.get("simulated") for p in parts] == [None, MADE_BY]
    assert grid.to_map(grid.add(parts), crop=True).attrs["simulated"] == MADE_BY
    np.testing.assert_array_equal(grid.add(parts)["n_tracks"], grid.add(parts[::-1])["n_tracks"])

    store.write_track(measured().assign_attrs(release="006"), tmp_path / "both.zarr", parameters={})
    is2ice.run(stored, tmp_path / "both.zarr", progress=False)
    publish(tmp_path / "both.zarr", tmp_path / "published")
    path, *versions = sorted((tmp_path / "published").rglob("collection.json"))
    collection = json.loads(path.read_text())
    assert {json.loads(p.read_text())["title"] for p in versions} == {collection["title"]}
    assert collection["title"].startswith("SIMULATED: ")
    assert "1 of 2 tracks" in collection["description"]
    assert collection["summaries"]["platform"] == ["icesat-2", "icesat-2-simulated"]
    assert collection["summaries"]["is2ice:simulated"] == [MADE_BY]
    items = [
        json.loads(p.read_text())
        for p in (tmp_path / "published").rglob("*.json")
        if '"Feature"' in p.read_text()
    ]
    said = {i["properties"]["is2ice:granule"]: i for i in items}
    ours = said.pop(SAMPLE.stem)
    assert ours["properties"]["is2ice:simulated"] == MADE_BY
    assert [link["rel"] for link in ours["links"]] == ["collection"] or "derived_from" not in str(
        ours["links"]
    )
    theirs = json.dumps(said[MEASURED]).replace(str(tmp_path), "")
    assert "simulat" not in theirs.lower()


def test_measured_data_are_never_called_simulated(real_data, tmp_path):
    (path,) = (real_data / "atl03").glob("ATL03_20181014002445_*.h5")
    ds = is2ice.open_track(path, beams="all")
    assert "simulated" not in ds.attrs
    track = measured()
    text = str(track.attrs) + track.is2ice.cite() + track.is2ice.quicklook().get_suptitle()
    with xr.open_dataset(track.is2ice.to_netcdf(tmp_path / "m.nc")) as back:
        text += str(back.attrs)
    assert "simulat" not in text.lower()
    assert "simulated" not in track.is2ice.to_geodataframe()


def test_nobody_but_the_user_is_named_as_creator(tmp_path, monkeypatch):
    for name in ("CREATOR", "PUBLISHER", "INSTITUTION", "LICENCE"):
        monkeypatch.delenv(f"IS2ICE_{name}", raising=False)
    named = ("creator_name", "publisher_name", "institution", "license")
    with xr.open_dataset(
        measured().is2ice.to_netcdf(tmp_path / "a.nc", declaration="ross_sea_2019_11")
    ) as back:
        assert not set(named) & back.attrs.keys()
    path = measured().is2ice.to_netcdf(
        tmp_path / "b.nc",
        declaration="ross_sea_2019_11",
        creator="Jane Doe <jane@example.org>",
        licence="CC0-1.0",
    )
    with xr.open_dataset(path) as back:
        assert (back.attrs["creator_name"], back.attrs["creator_email"]) == ("Jane Doe", "jane@example.org")
        assert back.attrs["license"] == "CC0-1.0"

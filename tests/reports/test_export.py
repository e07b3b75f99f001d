"""The accessor, exports, a granule's tree, the recipes and their notebooks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import checkers
import numpy as np
import pytest
import services
import xarray as xr

import is2ice
from is2ice import schema
from is2ice.errors import StoreError
from is2ice.io.stores import store
from is2ice.io.stores.declarations import Declaration, credit
from is2ice.reports import accessor, export
from is2ice.twin.server.local_archive import LocalCloud
from is2ice.workflows.receipts import Run

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = next((ROOT / "sample_data").glob("ATL03_*.h5"))
GRANULE = "ATL03_20191104195311_05940510_006_01"


def track(n: int = 200) -> xr.Dataset:
    ds = schema.mock_segments(n, stages=("classified", "seasurface", "freeboard"))
    ds["n_photons"][5:9] = 0
    return ds.assign_attrs(granule=GRANULE, beam="gt2r", crs="EPSG:3976", beam_strength="strong")


def test_tables_hold_what_the_segments_hold(tmp_path):
    import geopandas
    import pandas as pd

    ds = track()
    frame = ds.is2ice.to_geodataframe()
    assert len(frame) == 196
    filled = np.asarray(ds["n_photons"]) > 0
    np.testing.assert_array_equal(frame["freeboard"], ds["freeboard"].values[filled])
    np.testing.assert_array_equal(frame.geometry.x, ds["longitude"].values[filled])
    assert str(frame["time"].iloc[0]).startswith("2019-11-03")
    assert "class_probability_open_water" in frame
    back = geopandas.read_parquet(ds.is2ice.to_parquet(tmp_path / "t.parquet"))
    assert back.crs.to_epsg() == 4326
    assert len(back) == 196
    table = pd.read_csv(ds.is2ice.to_csv(tmp_path / "t.csv"))
    np.testing.assert_allclose(table["height"], ds["height"].values[filled], rtol=1e-6)


def test_the_beam_chosen_by_name_stays_in_the_tables(tmp_path):
    import pandas as pd

    cube = xr.concat([track(), track()], "beam").assign_coords(beam=["gt1l", "gt2r"])
    cube.attrs.pop("beam", None)
    one = cube.sel(beam="gt2r")
    assert set(one.is2ice.to_geodataframe()["beam"]) == {"gt2r"}
    assert set(pd.read_csv(one.is2ice.to_csv(tmp_path / "t.csv.gz"))["beam"]) == {"gt2r"}
    assert set(pd.read_parquet(one.is2ice.to_parquet(tmp_path / "t.parquet"))["beam"]) == {"gt2r"}
    assert list(pd.unique(cube.is2ice.to_geodataframe()["beam"])) == ["gt1l", "gt2r"]


def test_several_beams_are_groups_of_one_netcdf_file(tmp_path):
    cube = xr.concat([track(), 2 * track()], "beam", combine_attrs="override").assign_coords(
        beam=["gt1l", "gt2r"]
    )
    path = cube.assign_attrs(track().attrs).is2ice.to_netcdf(tmp_path / "granule.nc")
    with xr.open_datatree(path) as tree:
        assert set(tree.children) == {"gt1l", "gt2r"}
        assert (tree.attrs["beams"], tree.attrs["granule"]) == ("gt1l gt2r", GRANULE)
        assert "beam" not in tree.attrs
        assert tree["gt2r"].attrs["beam"] == "gt2r"
        np.testing.assert_array_equal(tree["gt2r"]["freeboard"], 2 * track()["freeboard"])
    with xr.open_dataset(path, group="gt1l") as one:
        assert set(one.coords) >= {"time", "latitude", "longitude"}


@pytest.mark.parametrize("ending", [".gpkg", ".fgb"])
def test_geographic_files_hold_points_times_and_classes(tmp_path, ending):
    import geopandas

    ds = track()
    path = export.writer(f"t{ending}")(export.choose(ds, ["freeboard"]), tmp_path / f"t{ending}")
    back = geopandas.read_file(path).sort_values("x_atc", ignore_index=True)
    filled = np.asarray(ds["n_photons"]) > 0
    assert back.crs.to_epsg() == 4326
    np.testing.assert_array_equal(back["x_atc"], ds["x_atc"].values[filled])
    np.testing.assert_allclose(back["freeboard"], ds["freeboard"].values[filled], rtol=1e-6)
    assert (
        abs(
            back["time"].dt.tz_localize(None).iloc[0] - ds.is2ice.to_geodataframe()["time"].iloc[0]
        ).total_seconds()
        < 1e-3
    )
    assert "surface_class" not in back
    with pytest.raises(ValueError, match="variables: no snow here"):
        export.choose(ds, ["snow"])
    with pytest.raises(ValueError, match="ends in one of"):
        export.writer("t.shp")


@pytest.mark.parametrize("way", ["to_csv", "to_parquet", "to_netcdf"])
def test_a_file_that_cannot_be_what_it_is_called_or_lie_where_it_should(tmp_path, way):
    write = getattr(track().is2ice, way)
    ending = {"to_csv": ".csv", "to_parquet": ".parquet", "to_netcdf": ".nc"}[way]
    with pytest.raises(ValueError, match=rf"e\.txt: expected a file name that ends in \{ending}"):
        write(tmp_path / "e.txt")
    with pytest.raises(StoreError, match=r"there is no folder .*none; make it, or name another"):
        write(tmp_path / "none" / f"e{ending}")
    (tmp_path / f"e{ending}").mkdir()
    with pytest.raises(StoreError, match="cannot write to"):
        write(tmp_path / f"e{ending}")


def test_checkers_on_an_exported_track(tmp_path, monkeypatch):
    for name in ("CREATOR", "PUBLISHER", "INSTITUTION", "LICENCE"):
        monkeypatch.delenv(f"IS2ICE_{name}", raising=False)
    bare = checkers.remarks(track().is2ice.to_netcdf(tmp_path / "bare.nc"), "acdd")
    unnamed = {
        f"{role}_{what} not present" for role in ("creator", "publisher") for what in ("name", "url", "email")
    }
    # A trajectory over a surface has no vertical coordinate: its extent is that of the heights measured.
    lasting = {m for m in bare["medium"] if m.startswith("Could not find vertical variable")}
    assert set(bare["medium"]) - lasting == unnamed | {"institution not present", "license not present"}

    monkeypatch.setenv("IS2ICE_CREATOR", "Jane Doe <jane@example.org> (https://example.org/jane)")
    (tmp_path / "mine.toml").write_text(
        'title = "x"\nschema_version = "1.0"\nrecipe = "r.py"\nlicence = "CC-BY-4.0"\ncitation = "c"\nupdate = "u"\n'
        'institution = "Example Institute"\npublisher = "Archive <data@example.org> (https://example.org)"\n'
    )
    path = track().is2ice.to_netcdf(tmp_path / "t.nc", declaration=str(tmp_path / "mine.toml"))
    cf, acdd = checkers.remarks(path, "cf:1.11"), checkers.remarks(path, "acdd")
    assert (cf["high"], cf["medium"]) == ([], [])
    # The CF table has no name for an along-track distance, a photon count and the like; nothing else is amiss.
    assert set(acdd["high"]) <= {"standard_name"}
    assert set(acdd["medium"]) == lasting
    with xr.open_dataset(path, decode_times=False) as back:
        assert back.attrs["creator_email"] == "jane@example.org"
        assert back.attrs["publisher_name"] == "Archive"
        assert back.attrs["license"] == "CC-BY-4.0"
    with pytest.raises(StoreError, match=r"expected a name, or Name <address> \(URL\)"):
        credit(Declaration("x", *[""] * 6, creator="<jane@example.org>"))


def test_what_is_no_track_is_refused():
    assert accessor.IS2IceAccessor
    with pytest.raises(ValueError, match=r"expected segments along x_atc.*lacks n_photons"):
        _ = xr.Dataset({"a": 1}).is2ice
    cube = track().expand_dims(beam=["gt1l", "gt2r"]).assign_coords(spot=("beam", [6, 3]))
    assert list(cube.is2ice.strong["beam"].values) == ["gt2r"]
    with pytest.raises(ValueError, match="one beam at a time"):
        cube.is2ice.quicklook()
    assert "gt1l, gt2r; 0.4 km" in repr(cube.is2ice)
    assert "<table>" in cube.assign_attrs(notes=["<b>"]).is2ice._repr_html_()
    assert "&lt;b&gt;" in cube.assign_attrs(notes=["<b>"]).is2ice._repr_html_()
    assert "10.5067/ATLAS/ATL03.006" in cube.is2ice.cite()


def test_a_run_and_a_store_show_their_tracks(tmp_path):
    store.write_track(track().assign_attrs(release="<b>"), tmp_path / "s.zarr", parameters={})
    shown = store.open_store(tmp_path / "s.zarr")._repr_html_()
    assert "<td>gt2r</td>" in shown
    assert "<td>&lt;b&gt;</td>" in shown
    failed = {"granule": GRANULE, "beam": None, "source": "x", "outcome": "failed", "error": "<i>"}
    run = Run("s.zarr", (failed, {**failed, "outcome": "done", "beam": "gt2r", "error": None}), "serial", 1.0)
    assert "1 done, 0 skipped, 1 failed in 1.0 s" in run._repr_html_()
    assert "<td>&lt;i&gt;</td>" in run._repr_html_()


@pytest.mark.parametrize(
    "code",
    [
        "import xarray as xr, is2ice",
        "import is2ice, xarray as xr; is2ice.schema",
        "from is2ice import open_store; import xarray as xr",
    ],
)
def test_the_accessor_is_there(code):
    check = f"{code}; print(hasattr(xr.Dataset, 'is2ice'))"
    done = subprocess.run([sys.executable, "-c", check], env=_environment(), capture_output=True, text=True)
    assert done.stdout == "True\n", done.stderr


def test_a_granule_as_a_tree():
    tree = is2ice.granule_tree(SAMPLE, ["gt2r"], photons=True)
    assert hasattr(tree["gt2r/height"].data, "dask")
    assert tree["gt2r/photons/h_ph"].size > 1000
    assert tree.attrs["granule"].startswith("ATL03_")


def test_icechunk_keeps_versions(tmp_path):
    pytest.importorskip("icechunk")
    from is2ice.io.publishing.icechunk_repository import open_root, publish

    store.write_track(track(), tmp_path / "s.zarr", parameters={"a": 1})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        done = publish(tmp_path / "s.zarr", tmp_path / "ice")
        assert (done.version, done.added) == (1, (f"{GRANULE}/gt2r",))
        again = publish(tmp_path / "s.zarr", tmp_path / "ice")
        assert (again.unchanged, again.version) == (done.added, done.version)
        back = store.open_track(open_root(tmp_path / "ice"), GRANULE)
    np.testing.assert_array_equal(back["height"][0], track()["height"])


def test_icechunk_from_the_command_line(tmp_path):
    pytest.importorskip("icechunk")
    local, ice = tmp_path / "s.zarr", tmp_path / "ice"
    store.write_track(track(), local, parameters={"a": 1})

    def run(*words: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "is2ice", *map(str, words)]
        env = {k: v for k, v in _environment().items() if k != "ICECHUNK_LOG"}
        return subprocess.run(command, env=env, capture_output=True, text=True)

    dry = run("publish", local, ice, "--icechunk", "--dry-run")
    assert dry.stdout.startswith(f"would publish to {ice}: version 1; 1 added"), dry.stderr
    assert not ice.exists()
    done = run("publish", local, ice, "--icechunk")
    assert done.stdout.startswith(f"{ice}: version 1; 1 added"), done.stderr
    assert "WARN" not in done.stdout + done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    with pytest.raises(StoreError, match="an Icechunk repository; open it with icechunk"):
        store.open_store(ice)


def test_icechunk_takes_only_a_place_of_its_own(tmp_path):
    pytest.importorskip("icechunk")
    from is2ice.io.publishing.icechunk_repository import publish

    local, full = tmp_path / "s.zarr", tmp_path / "full"
    store.write_track(track(), local, parameters={"a": 1})
    full.mkdir()
    (full / "mine").write_text("mine")
    with pytest.raises(StoreError, match="not empty and not an Icechunk repository"):
        publish(local, full)
    with pytest.raises(StoreError, match="lies inside the store"):
        publish(local, local / "ice")
    with pytest.raises(StoreError, match="local folder of their own"):
        publish(local, "")
    assert [p.name for p in full.iterdir()] == ["mine"]


def _environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": "agg", **more}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["stream_granule", "publish_region", "gateway_month"])
def test_notebooks_run_and_are_kept_without_output(tmp_path, name):
    document = json.loads((ROOT / "recipes" / f"{name}.ipynb").read_text())
    code = [c for c in document["cells"] if c["cell_type"] == "code"]
    assert all(c["outputs"] == [] and c["execution_count"] is None for c in code)
    script = "\n".join("".join(c["source"]) for c in code)
    bucket = name.replace("_", "-")
    with services.s3_server(bucket) as s3, LocalCloud(SAMPLE.parent, stac=False) as cloud:
        where = {"FOLDER": str(tmp_path), "BUCKET": f"s3://{bucket}/one"}
        env = _environment(GRANULE=cloud.href(SAMPLE), **where, **s3)
        done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert cloud.traffic.partial > 5


@pytest.mark.slow
def test_recipes_run(tmp_path):
    with LocalCloud(SAMPLE.parent, stac=False) as cloud:
        for command in (
            ["stream_granule.py", cloud.href(SAMPLE), "--csv", str(tmp_path / "t.csv")],
            [
                "publish_region.py",
                "demo",
                str(tmp_path / "s.zarr"),
                str(tmp_path / "p"),
                "--granules",
                cloud.href(SAMPLE),
            ],
        ):
            path = str(ROOT / "recipes" / command[0])
            done = subprocess.run(
                [sys.executable, path, *command[1:]], env=_environment(), capture_output=True, text=True
            )
            assert done.returncode == 0, done.stderr
    assert (tmp_path / "t.csv").stat().st_size > 10_000
    assert "version 1; 3 added" in done.stdout


@pytest.mark.slow
def test_a_month_on_dask_gateway(gateway_address, tmp_path):
    """The recipe on a real Gateway server, its scheduler and its worker; published to S3, opened from there."""
    pytest.importorskip("moto.server")
    with services.s3_server("months") as env, LocalCloud(SAMPLE.parent, stac=False) as cloud:
        where = ["--gateway", gateway_address["address"], "--proxy", gateway_address["proxy_address"]]
        recipe = [sys.executable, str(ROOT / "recipes" / "gateway_month.py"), "demo"]
        work = [
            "s3://months/s.zarr",
            "s3://months/demo",
            "--workers",
            "1",
            "--granules",
            cloud.href(SAMPLE),
        ]
        done = subprocess.run(
            [*recipe, *work, *where], env=_environment(**env), capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        assert "s3://months/demo: version 1; 3 added" in done.stdout
        code = "import is2ice; print(len(is2ice.open_store('s3://months/demo')))"
        read = subprocess.run(
            [sys.executable, "-c", code], env=_environment(**env), capture_output=True, text=True
        )
        assert read.stdout == "3\n", read.stderr
    assert "planted" not in done.stdout + done.stderr

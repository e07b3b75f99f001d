"""Stores: what is written is what is read, whole or not at all, and every refusal says why."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import checkers
import numpy as np
import pytest
import services
import xarray as xr
import zarr

from is2ice import publish, schema
from is2ice.errors import DamagedTrackError, GranuleError, SchemaError, StoreError
from is2ice.io.remote import location
from is2ice.io.remote.whole_files import written, written_folder
from is2ice.io.stores import layout, maintenance, store
from is2ice.workflows import opening

GRANULE = "ATL03_20191104195311_05940510_006_01"
STAGES = ("classified", "seasurface", "freeboard")


def track(n: int = 300, beam: str = "gt2r", *, start: int = 0, seed: int = 0) -> xr.Dataset:
    """A track with gaps, every class and flag, shifted along the grid by whole cells."""
    ds = schema.mock_segments(n, stages=STAGES, seed=seed)
    ds = schema.annotate(ds.assign_coords(x_atc=28_400_000.0 + 2.0 * (np.arange(n) + start)))
    for name in ds.data_vars:
        if ds[name].dtype.kind == "f":
            ds[name][n // 3 : n // 2] = np.nan
    ds["surface_class"][:] = np.resize(np.array([-1, 0, 1, 2], "i1"), n)
    ds["h_ref_flag"][:] = np.resize(np.array([-1, 0, 1, 3], "i1"), n)
    ds["longitude"][:] = (np.linspace(179.9, 180.1, n) + 180) % 360 - 180
    spot = {"gt1r": 1, "gt2r": 3, "gt3r": 5}.get(beam, 2)
    strength = "strong" if spot % 2 else "weak"
    return ds.assign_attrs(
        granule=GRANULE, beam=beam, spot=spot, beam_strength=strength, crs="EPSG:3976", notes=["a note"]
    )


def files(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*")}


# -- round trip ---------------------------------------------------------------------------------------
def test_what_is_written_is_read(tmp_path: Path) -> None:
    ds = track()
    receipt = store.write_track(ds, tmp_path / "s.zarr", parameters={"length": 2.0})
    assert receipt["outcome"] == "written"
    assert receipt["bytes"] > 0
    back = store.open_track(tmp_path / "s.zarr" / GRANULE / "gt2r")
    assert all(v.chunks is not None for v in back.data_vars.values())  # lazy
    schema.conform(back, "segments", *STAGES)
    for name in ds.variables:
        assert back[name].dtype == ds[name].dtype, name
        np.testing.assert_array_equal(back[name].values, ds[name].values, err_msg=name)
    assert {k: back.attrs[k] for k in ds.attrs} == ds.attrs
    assert set(back.variables) == {*ds.variables, "time"}


def test_plain_xarray_reads_times_classes_and_attributes(tmp_path: Path) -> None:
    ds = track()
    store.write_track(ds, tmp_path / "s.zarr", parameters={"length": 2.0}, origin={"size": 123})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plain = xr.open_zarr(tmp_path / "s.zarr" / GRANULE / "gt2r")
    assert plain["time"].dtype.kind == "M"
    expected = np.datetime64("2018-01-01") + np.timedelta64(round(float(ds.delta_time[0]) * 1e9), "ns")
    assert abs(plain["time"].values[0] - expected) < np.timedelta64(1, "us")
    assert plain["surface_class"].dtype == np.int8
    assert plain["n_photons"].dtype == np.int32
    assert set(plain.coords) >= {"latitude", "longitude", "x", "y", "time"}
    assert plain["height"].attrs["grid_mapping"] == "spatial_ref"
    assert plain["spatial_ref"].attrs["grid_mapping_name"] == "polar_stereographic"
    assert plain["trajectory"].attrs["cf_role"] == "trajectory_id"
    assert plain["trajectory"].item() == f"{GRANULE}/gt2r"
    a = plain.attrs
    assert a["featureType"] == "trajectory"
    assert a["Conventions"] == "CF-1.11, ACDD-1.3"
    assert a["source_size"] == 123
    assert json.loads(a["processing_parameters"]) == {"length": 2.0}
    assert "written to a Zarr store" in a["history"]
    # From 179.9 E eastwards to 179.9 W: west is greater than east.
    assert a["geospatial_lon_min"] == pytest.approx(179.9)
    assert a["geospatial_lon_max"] == pytest.approx(-179.9)
    assert a["time_coverage_start"] < a["time_coverage_end"]


def test_arrays_are_sharded_zarr_v3(tmp_path: Path) -> None:
    n = schema.CHUNK * 2 + 5
    store.write_track(track(n), tmp_path / "s.zarr")
    array = zarr.open_array(tmp_path / "s.zarr" / GRANULE / "gt2r" / "height", mode="r")
    assert array.metadata.zarr_format == 3
    assert array.chunks == (schema.CHUNK,)
    assert array.shards == (3 * schema.CHUNK,)


def test_netcdf_export_passes_the_cf_checker(tmp_path: Path) -> None:
    store.write_track(track(), tmp_path / "s.zarr", parameters={"length": 2.0})
    plain = xr.open_zarr(tmp_path / "s.zarr" / GRANULE / "gt2r", decode_cf=False).compute()
    for var in plain.variables.values():  # Zarr's JSON attributes carry no number types, NetCDF's do
        for name in {"flag_values", "flag_masks", "valid_range"} & set(var.attrs):
            var.attrs[name] = np.array(var.attrs[name], var.dtype)
    plain.attrs["notes"] = "; ".join(plain.attrs["notes"])
    plain.to_netcdf(tmp_path / "t.nc", engine="h5netcdf", encoding={"x_atc": {"_FillValue": None}})
    said = checkers.remarks(tmp_path / "t.nc", "cf:1.11")
    assert said["high"] == said["medium"] == []


# -- cubes --------------------------------------------------------------------------------------------
def test_beams_align_on_the_common_grid(tmp_path: Path) -> None:
    one, two = track(300, "gt1r", seed=1), track(250, "gt2r", start=180, seed=2)
    two["n_photons"] = two["n_photons"].copy()
    for ds in (one, two):
        store.write_track(ds, tmp_path / "s.zarr")
    cube = store.open_track(tmp_path / "s.zarr", chunks=100)
    assert cube["height"].dims == ("beam", "x_atc")
    assert cube["height"].chunks == ((1, 1), (100, 100, 100, 100, 30))
    assert list(cube["beam"].values) == ["gt1r", "gt2r"]
    assert list(cube["spot"].values) == [1, 3]
    np.testing.assert_array_equal(cube["x_atc"], 28_400_000.0 + 2.0 * np.arange(430))
    schema.conform(cube, "segments", *STAGES)
    for name in one.data_vars:
        assert cube[name].dtype == one[name].dtype, name
        np.testing.assert_array_equal(cube[name].sel(beam="gt1r")[:300], one[name], err_msg=name)
        np.testing.assert_array_equal(cube[name].sel(beam="gt2r")[180:], two[name], err_msg=name)
    # Cells that the second beam does not reach.
    empty = cube.sel(beam="gt2r").isel(x_atc=slice(0, 180)).compute()
    assert (empty["n_photons"] == 0).all()
    assert (empty["n_photons_all"] == 0).all()
    for code in ("surface_class", "h_ref_flag", "lead_index"):
        assert (empty[code] == -1).all()
    assert empty["height"].isnull().all()
    assert "beam" not in cube.attrs
    assert cube.attrs["granule"] == GRANULE
    assert "written to a Zarr store" in cube.attrs["history"]
    loaded = store.open_track(tmp_path / "s.zarr", chunks=None)
    xr.testing.assert_identical(loaded, cube.compute())
    for names in ("height", ["height"]):
        part = store.open_track(tmp_path / "s.zarr", chunks=None, variables=names)
        xr.testing.assert_identical(part, loaded[["height", "delta_time"]])
    with pytest.raises(ValueError, match=r"no not_stored here; there are .*height"):
        store.open_track(tmp_path / "s.zarr", variables=["height", "not_stored"])


def test_slicing_reads_only_its_blocks(tmp_path: Path) -> None:
    store.write_track(track(400), tmp_path / "s.zarr")
    cube = store.open_track(tmp_path / "s.zarr", chunks=50)
    part = cube["height"].sel(x_atc=slice(28_400_100.0, 28_400_150.0))
    import dask

    (optimised,) = dask.optimize(part)
    reads = [k for k in optimised.__dask_graph__() if "stored-height" in str(k)]
    assert 1 <= len(reads) <= 2, reads


def test_steps_of_beams_that_differ_by_their_time_alone_count_once(tmp_path: Path) -> None:
    for second, beam in enumerate(("gt1r", "gt2r", "gt3r")):
        step = f"2026-11-29T17:09:1{second}Z is2ice: {'label' if beam == 'gt3r' else 'segments'}"
        store.write_track(track(beam=beam).assign_attrs(history=step), tmp_path / "s.zarr")
    steps = store.open_track(tmp_path / "s.zarr").attrs["history"].splitlines()
    assert [s for s in steps if "written" not in s] == [
        "2026-11-29T17:09:10Z is2ice: segments",
        "2026-11-29T17:09:12Z is2ice: label",
    ]


def test_beam_selection(tmp_path: Path) -> None:
    for beam in ("gt1l", "gt2r"):
        store.write_track(track(50, beam), tmp_path / "s.zarr")
    path = tmp_path / "s.zarr"
    assert list(store.open_track(path, beams="strong")["beam"].values) == ["gt2r"]
    assert list(store.open_track(path, beams="gt1l")["beam"].values) == ["gt1l"]
    assert list(store.open_track(path / GRANULE)["beam"].values) == ["gt1l", "gt2r"]
    with pytest.raises(StoreError, match=r"no beam gt3r; it holds gt1l \(weak\), gt2r \(strong\)"):
        store.open_track(path, beams="gt3r")
    with pytest.raises(StoreError, match="granule ATL03_x is not stored; it holds ATL03_2019"):
        store.open_track(path, "ATL03_x")
    store.write_track(track(50).assign_attrs(granule="other"), path)
    with pytest.raises(StoreError, match="2 granules stored"):
        store.open_track(path)


def test_listing(tmp_path: Path) -> None:
    for beam in ("gt3r", "gt1r"):
        store.write_track(track(50, beam), tmp_path / "s.zarr")
    listed = store.open_store(tmp_path / "s.zarr")
    assert listed.granules == (GRANULE,)
    assert listed.beams(GRANULE) == ("gt1r", "gt3r")
    assert len(listed) == 2
    table = listed.table()
    assert list(table["beam"]) == ["gt1r", "gt3r"]
    assert list(table["beam_strength"]) == ["strong", "strong"]
    assert "1 granules, 2 tracks" in repr(listed)


def test_read_over_http(tmp_path: Path) -> None:
    ds = track(120)
    store.write_track(ds, tmp_path / "s.zarr")
    assert store.consolidate(tmp_path / "s.zarr") == 1

    class Folder(services.Quiet, SimpleHTTPRequestHandler):
        pass

    with services.http_server(partial(Folder, directory=str(tmp_path))) as server:
        url = f"{server.url}/s.zarr"
        assert store.is_store(url)
        assert store.open_store(url).granules == (GRANULE,)
        cube = store.open_track(url)
        np.testing.assert_array_equal(cube["height"].isel(beam=0), ds["height"])
        with pytest.raises(StoreError, match=r"not an is2ice store: no zarr.json"):
            store.open_store(f"{server.url}/none.zarr")
        with pytest.raises(GranuleError, match=r"Expected the address of a file .* there is no store here"):
            opening.open_track(f"{server.url}/folder")
    with services.http_server(partial(Folder, directory=str(tmp_path / "s.zarr"))) as server:
        at_root = opening.open_track(server.url)  # a name without an ending: the server is asked
        np.testing.assert_array_equal(at_root["height"].isel(beam=0), ds["height"])


def test_a_server_is_asked_once_for_an_address_without_an_ending() -> None:
    asked = []

    class Counting(services.Quiet, SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

    with services.http_server(Counting) as server:
        assert [store.is_store(f"{server.url}/granule") for _ in range(3)] == [False] * 3
    assert asked == ["/granule/zarr.json"]


@contextmanager
def guarded(folder: Path, token: str, allowed: Callable[[str], bool] = lambda path: True) -> Iterator[str]:
    """A server of a folder that answers 403 to requests without the token, or of paths not allowed."""

    class Guard(services.Quiet, SimpleHTTPRequestHandler):
        def send_head(self):  # type: ignore[no-untyped-def]
            parts = urlsplit(self.path)
            if parse_qs(parts.query).get("token") != [token] or not allowed(parts.path):
                self.send_error(403)
                return None
            return super().send_head()

    with services.http_server(partial(Guard, directory=str(folder))) as server:
        yield server.url


def test_signed_url_of_a_store(tmp_path: Path) -> None:
    ds = track(120)
    store.write_track(ds, tmp_path / "s.zarr")
    store.consolidate(tmp_path / "s.zarr")
    token = "s3+cr/et="
    with guarded(tmp_path, token) as host:
        url = f"{host}/s.zarr?token={quote(token, safe='')}&x="
        assert store.is_store(url)
        assert not store.is_store(f"{host}/a.h5?from=b.zarr/")
        listed = store.open_store(url)
        assert listed.granules == (GRANULE,)
        assert listed.location == f"{host}/s.zarr"
        for cube in (listed.open_track(), store.open_track(url), opening.open_track(url)):
            np.testing.assert_array_equal(cube["height"].isel(beam=0), ds["height"])
        below = store.open_track(url.replace("s.zarr", f"s.zarr/{GRANULE}/gt2r"))
        np.testing.assert_array_equal(below["height"], ds["height"])
        assert "s3" not in repr(listed).replace(host, "")


def test_a_refused_store_does_not_tell_the_token(tmp_path: Path) -> None:
    store.write_track(track(120), tmp_path / "s.zarr")
    store.consolidate(tmp_path / "s.zarr")
    texts = []

    def refused(call: Callable[[], object]) -> StoreError:
        with pytest.raises(StoreError, match=r"access refused \(HTTP 403\).*expired") as caught:
            call()
        texts.append("".join(traceback.format_exception(caught.value)))
        return caught.value

    with guarded(tmp_path, "good") as host:
        url = f"{host.replace('//', '//me:secret@')}/s.zarr?token=secret"
        refused(lambda: store.open_store(url))
        refused(lambda: store.open_track(url))
        refused(lambda: opening.open_track(url.replace("s.zarr", f"s.zarr/{GRANULE}")))
    with guarded(tmp_path, "secret", lambda path: "/c/" not in path) as host:
        refused(lambda: store.open_track(f"{host}/s.zarr/{GRANULE}/gt2r?token=secret"))
    with guarded(tmp_path, "secret", lambda path: "/height/c/" not in path) as host:
        cube = store.open_track(f"{host}/s.zarr/{GRANULE}/gt2r?token=secret")
        error = refused(lambda: cube["height"].compute())
        assert error.__context__ is None, "a worker of Dask could not send the reply of the server"
    for call in (
        lambda: store.create("https://me:secret@host/s.zarr?token=secret"),
        lambda: store.open_store("s3://bucket/s.zarr?token=secret"),
        lambda: store.open_track("http://127.0.0.1:9/s.zarr?token=secret"),
    ):
        with pytest.raises(StoreError) as caught:
            call()
        texts.append("".join(traceback.format_exception(caught.value)))
    assert len(texts) == 8
    for text in texts:
        said = [line for line in text.splitlines() if not line.startswith("    ")]  # but lines of code
        assert "secret" not in "\n".join(said)
        assert "HTTP 403" in text or "storage_options" in text or ":9/" in text or "host" in text


def test_threads_on_a_fresh_store(tmp_path: Path) -> None:
    """Whoever comes second finds a store that was not there a moment ago."""
    faults: list[Exception] = []

    def write(path: Path, beam: str, start: threading.Barrier) -> None:
        start.wait()
        try:
            store.create(path)
            (path / beam).mkdir()
        except Exception as error:
            faults.append(error)

    for turn in range(40):
        start = threading.Barrier(8)
        path = tmp_path / f"s{turn}.zarr"
        threads = [threading.Thread(target=write, args=(path, f"g{i}", start)) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert faults == []


def test_plain_xarray_opens_every_track_by_its_path(tmp_path: Path) -> None:
    path = tmp_path / "s.zarr"
    for beam in ("gt1r", "gt2r"):
        store.write_track(track(60, beam), path)
    store.write_track(track(70, "gt1r"), path, overwrite="always")
    listed = store.open_store(path)
    for where in (listed.path(GRANULE, "gt1r"), path / GRANULE / "gt1r"):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            np.testing.assert_array_equal(xr.open_zarr(where)["height"], track(70, "gt1r")["height"])
    assert "tracks/<granule>/<beam>/<digest>" in zarr.open_group(path, mode="r").attrs["comment"]


# -- writing again ------------------------------------------------------------------------------------
def test_identical_rerun_is_skipped(tmp_path: Path) -> None:
    path, ds = tmp_path / "s.zarr", track()
    first = store.write_track(ds, path, parameters={"confidence": 3})
    before = {p: p.stat().st_mtime_ns for p in (path / GRANULE).rglob("*") if p.is_file()}
    again = store.write_track(ds, path, parameters={"confidence": 3})
    assert again["outcome"] == "skipped"
    assert again["inputs"] == first["inputs"]
    assert {p: p.stat().st_mtime_ns for p in (path / GRANULE).rglob("*") if p.is_file()} == before
    assert store.write_track(ds, path, parameters={"confidence": 4})["outcome"] == "replaced"
    assert (
        store.write_track(ds, path, parameters={"confidence": 2}, overwrite="never")["outcome"] == "skipped"
    )
    again = store.write_track(ds, path, parameters={"confidence": 4}, overwrite="always")
    assert again["outcome"] == "replaced"
    other = store.write_track(ds, path, parameters={"confidence": 4}, origin={"size": 7})
    assert other["outcome"] == "replaced"  # another file under the same name
    with pytest.raises(ValueError, match="overwrite='sometimes'"):
        store.write_track(ds, path, overwrite="sometimes")  # type: ignore[arg-type]
    assert not [f for f in files(path) if f.startswith(".")]


def test_without_parameters_the_data_decide(tmp_path: Path) -> None:
    path, ds = tmp_path / "s.zarr", track()
    assert store.write_track(ds, path)["outcome"] == "written"
    assert store.write_track(ds.copy(deep=True), path)["outcome"] == "skipped"
    changed = ds.copy(deep=True)
    changed["height"][0] += 0.01
    assert store.write_track(changed, path)["outcome"] == "replaced"
    back = store.open_track(path, chunks=None)
    np.testing.assert_array_equal(back["height"][0], changed["height"])


# -- interruption -------------------------------------------------------------------------------------
KILLED = """
import sys, time
from is2ice import publish, schema
from is2ice.io.remote import location
from is2ice.io.stores import store
def stop(*args, **kwargs):
    print("there", flush=True)
    time.sleep(60)
if sys.argv[2] == "before the entry":
    location.FolderLocation.swap = stop
else:                                       # "before a flush": the objects are written beside their place
    location.flush_tree = stop
ds = schema.mock_segments(50).assign_attrs(granule="ATL03_killed", beam="gt2r")
store.write_track(ds, sys.argv[1], parameters={"n": 50})
"""


@pytest.mark.parametrize("moment", ["before the entry", "before a flush"])
def test_killed_while_writing(tmp_path: Path, moment: str) -> None:
    path = tmp_path / "s.zarr"
    store.write_track(schema.mock_segments(40).assign_attrs(granule="before", beam="gt1l"), path)
    before = files(path)
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(path), moment], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    try:
        assert child.stdout.readline().strip() == "there"
        # While the writer may live nobody touches what is its own, whatever process table it is in.
        begun = files(path)
        assert begun > before
        assert maintenance.prune(path).objects == 0
        assert files(path) >= begun
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
    listed = store.open_store(path)
    assert listed.granules == ("before",)  # opens, and knows nothing of the half-written track
    assert store.open_track(path)["height"].shape == (1, 40)
    ds = schema.mock_segments(50).assign_attrs(granule="ATL03_killed", beam="gt2r")
    assert store.write_track(ds, path, parameters={"n": 50})["outcome"] == "written"
    assert store.open_store(path).granules == ("ATL03_killed", "before")
    maintenance.prune(path, at_work=0.0)
    assert not [p for p in path.rglob("*") if p.name.startswith(location.UNFINISHED)]
    assert maintenance.verify(path).tracks == 2
    assert maintenance.verify(path).ok


def test_a_failed_write_leaves_the_old_track(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "s.zarr"
    store.write_track(track(40), path, parameters={"n": 40})

    def full(folder: Path) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(location, "flush_tree", full)
        with pytest.raises(StoreError, match="No space left on device"):
            store.write_track(track(50), path, parameters={"n": 50})
    assert store.open_track(path)["height"].shape == (1, 40)
    assert not [p for p in path.rglob("*") if p.name.startswith(location.UNFINISHED)]


def test_every_object_is_flushed_before_the_track_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[tuple[str, set[str]]] = []
    tree, one = location.flush_tree, os.fsync

    def flush(folder: Path) -> None:
        flushed.append(("tree", files(folder)))
        tree(folder)

    def fsync(handle: int) -> None:
        flushed.append((os.readlink(f"/proc/self/fd/{handle}"), set()))
        one(handle)

    monkeypatch.setattr(location, "flush_tree", flush)
    monkeypatch.setattr(location.os, "fsync", fsync)
    store.write_track(track(40), tmp_path / "s.zarr")
    (folder,) = (tmp_path / "s.zarr" / "tracks" / GRANULE / "gt2r").iterdir()
    steps = [name for name, _ in flushed]
    at = steps.index("tree")
    assert flushed[at][1] == files(folder)
    assert steps[at + 1] == str(folder.parent)  # and its name
    assert "/current/" in steps[at + 2]
    assert location.UNFINISHED in steps[at + 2]
    assert steps[at + 3].endswith(f"/current/{GRANULE}")


def test_a_link_that_leads_out_of_the_store_is_not_written_through(tmp_path: Path) -> None:
    path, outside = tmp_path / "s.zarr", tmp_path / "outside"
    store.write_track(track(40), path)
    outside.mkdir()
    (path / "tracks" / "other").symlink_to(outside)
    (path / "third").symlink_to(outside)
    with pytest.raises(StoreError, match=r"leads out of .*outside.* by a symbolic link; remove the link"):
        store.write_track(track(40).assign_attrs(granule="other"), path)
    store.write_track(track(40).assign_attrs(granule="third"), path)
    assert files(outside) == set()
    assert store.open_store(path).granules == (GRANULE, "third")


# -- damage -------------------------------------------------------------------------------------------
def values(ds: xr.Dataset) -> dict[str, bytes]:
    return {str(n): ds[n].values.tobytes() for n in ds.variables if ds[n].dtype.kind not in "OUT"}


def test_a_flipped_bit_anywhere_is_found(tmp_path: Path) -> None:
    path, rng = tmp_path / "s.zarr", np.random.default_rng(3)
    store.write_track(track(300), path)
    whole = values(store.open_track(path))
    objects = sorted(
        p for p in path.rglob("*") if p.is_file() and p.parent != path and "index" not in p.parts
    )
    assert len(objects) > 80
    for one in objects:
        raw = one.read_bytes()
        flipped = bytearray(raw)
        flipped[rng.integers(len(raw))] ^= 1 << int(rng.integers(8))
        one.write_bytes(flipped)
        assert not maintenance.verify(path).ok, one
        with suppress(StoreError):
            assert values(store.open_track(path)) == whole, one  # metadata of an array that the group repeats
        one.write_bytes(raw)
    assert maintenance.verify(path).ok


def test_damaged_tracks_are_told_from_the_others_and_made_again(tmp_path: Path) -> None:
    path = tmp_path / "s.zarr"
    names = ("chunk gone", "chunk empty", "metadata gone", "entry empty", "whole")
    for name in names:
        store.write_track(track(60).assign_attrs(granule=name.replace(" ", "_")), path, parameters={"a": 1})
    group = {name: next((path / "tracks" / name.replace(" ", "_") / "gt2r").iterdir()) for name in names}
    (group["chunk gone"] / "height" / "c" / "0").unlink()
    (group["chunk empty"] / "height" / "c" / "0").write_bytes(b"")
    (group["metadata gone"] / "zarr.json").unlink()
    (path / "current" / "entry_empty" / "gt2r.json").write_bytes(b"")
    found = maintenance.verify(path).damaged
    assert set(found) == {f"{name.replace(' ', '_')}/gt2r" for name in names[:-1]}
    assert re.match(r".*: 1 of \d+ objects are gone", found["chunk_gone/gt2r"])
    listed = store.open_store(path)
    assert (len(listed), set(listed.damaged)) == (4, {("entry_empty", "gt2r")})
    assert store.open_track(path, "whole")["height"].shape == (1, 60)
    for name in names[:-1]:
        with pytest.raises(DamagedTrackError):
            store.open_track(path, name.replace(" ", "_"))["height"].compute()
        assert store.track_attributes(path, name.replace(" ", "_"), "gt2r") is None
    for name in names:
        one = track(60).assign_attrs(granule=name.replace(" ", "_"))
        outcome = store.write_track(one, path, parameters={"a": 1})["outcome"]
        assert outcome == ("skipped" if name == "whole" else "repaired"), name
    assert maintenance.verify(path).ok
    # A track that is made again within the second of the first has its digest, and its place.
    again = {name: path / one["zarr_path"] for (name, _), one in store.open_store(path).tracks.items()}
    moved = [name for name in names if again[name.replace(" ", "_")] != group[name]]
    assert maintenance.prune(path, at_work=0.0).tracks == len(moved)
    for name in names:
        assert any(p.is_file() for p in group[name].rglob("*")) == (name not in moved), name


def test_whole_objects_in_a_wrong_place_are_found(tmp_path: Path) -> None:
    """Bytes that pass their own checksums: of another variable, of another track, cut short, or all gone."""
    path, other = tmp_path / "s.zarr", "another"
    for granule in (GRANULE, other):
        store.write_track(track(60, seed=len(granule)).assign_attrs(granule=granule), path, parameters={})
    whole = values(store.open_track(path, other, chunks=None))
    entries = [path / layout.entry_key(granule, "gt2r") for granule in (GRANULE, other)]
    entries[0].write_bytes(entries[1].read_bytes())
    listed = store.open_store(path)
    assert listed.granules == (other,)
    assert list(listed.damaged) == [(GRANULE, "gt2r")]
    with pytest.raises(DamagedTrackError, match=f"{GRANULE}/gt2r: the entry of this track is damaged"):
        store.open_track(path, GRANULE)
    assert values(store.open_track(path, other, chunks=None)) == whole
    assert write(path, GRANULE) == "repaired"

    def chunk(name: str) -> Path:
        return path / store.open_store(path).tracks[GRANULE, "gt2r"]["zarr_path"] / name / "c" / "0"

    chunk("height").write_bytes(chunk("freeboard").read_bytes())
    assert list(maintenance.verify(path).damaged) == [f"{GRANULE}/gt2r"]
    with pytest.raises(StoreError, match="its bytes are not what was written"):
        publish(path, tmp_path / "public")
    assert write(path, GRANULE) == "repaired"

    chunk("height").write_bytes(chunk("height").read_bytes()[:-3])
    with pytest.raises(DamagedTrackError, match="height: cannot be read whole"):
        store.open_track(path, GRANULE)["height"].compute()
    assert write(path, GRANULE) == "repaired"

    shutil.rmtree(path / "tracks" / GRANULE)
    with pytest.raises(DamagedTrackError, match=r"zarr\.json is gone"):
        store.open_track(path, GRANULE)
    assert values(store.open_track(path, other, chunks=None)) == whole
    assert write(path, GRANULE) == "repaired"
    assert maintenance.verify(path).ok


def write(path: Path, granule: str) -> str:
    one = track(60, seed=len(granule)).assign_attrs(granule=granule)
    return str(store.write_track(one, path, parameters={})["outcome"])


def test_a_track_of_another_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "s.zarr"
    for granule in ("one", "two"):
        store.write_track(track(20).assign_attrs(granule=granule), path)
    key = path / "current" / "one" / "gt2r.json"
    entry = layout.parse_entry(key.read_bytes(), "", key.parent.name, key.stem)
    entry["attributes"]["schema_version"] = "2.0"
    key.write_bytes(layout.entry_bytes(entry))
    with pytest.raises(StoreError, match=r"schema version 2\.0; this is2ice"):
        store.open_track(path, "one")
    assert store.open_track(path, "two").sizes["x_atc"] == 20


# -- size and buckets ---------------------------------------------------------------------------------
def test_one_track_costs_the_same_in_a_small_and_a_large_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The objects and bytes that are read and written are counted, in stores of 10 and of 1,000 tracks."""
    seen: list[tuple[str, int]] = []
    read, put, listing = (
        location.FolderLocation.read,
        location.FolderLocation.put,
        location.FolderLocation.objects,
    )

    def counted(self, key):  # type: ignore[no-untyped-def]
        got = read(self, key)
        seen.append(("read", 0 if got is None else len(got[0]) // 1000))
        return got

    monkeypatch.setattr(location.FolderLocation, "read", counted)
    monkeypatch.setattr(
        location.FolderLocation,
        "put",
        lambda self, key, data: (seen.append(("put", 0)), put(self, key, data))[1],
    )
    monkeypatch.setattr(
        location.FolderLocation,
        "objects",
        lambda self, prefix="": (seen.append(("list", 0)), listing(self, prefix))[1],
    )
    cost = []
    for size in (10, 1000):
        path = tmp_path / f"{size}.zarr"
        store.write_track(track(10).assign_attrs(granule="g001"), path)
        like = (path / layout.entry_key("g001", "gt2r")).read_bytes()
        entry = layout.parse_entry(like, "", "g001", "gt2r")
        for k in range(1, size):
            other = path / layout.entry_key(f"h{k:04d}", "gt2r")
            other.parent.mkdir()
            other.write_bytes(layout.entry_bytes({**entry, "granule": other.parent.name}))
        store.consolidate(path)
        seen.clear()
        store.open_track(path, "g001")
        store.write_track(track(10).assign_attrs(granule="another"), path)
        cost.append(sorted(seen))
        seen.clear()
        assert len(store.open_store(path)) == size + 1
        # the root, the index, and the entry that the index lacks
        assert len([s for s in seen if s[0] == "read"]) <= 4
    assert cost[0] == cost[1]


def test_the_index_is_only_a_copy(tmp_path: Path) -> None:
    path = tmp_path / "s.zarr"
    for k in range(4):
        store.write_track(track(10).assign_attrs(granule=f"g{k}"), path, parameters={"a": 1})
    assert store.consolidate(path) == 4
    store.write_track(track(20).assign_attrs(granule="g1"), path, parameters={"a": 2})
    (path / "current" / "g2" / "gt2r.json").unlink()
    listed = store.open_store(path)
    assert listed.granules == ("g0", "g1", "g3")
    assert listed.tracks["g1", "gt2r"]["processing_parameters"] == '{"a": 2}'
    (path / "index" / "all.json.gz").write_bytes(b"damaged")
    assert store.open_store(path).tracks == listed.tracks


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """A bucket of an S3 server on this machine."""
    pytest.importorskip("moto.server")
    with services.s3_server("stores-bucket") as env, pytest.MonkeyPatch.context() as patch:
        for key, value in env.items():
            patch.setenv(key, value)
        yield "s3://stores-bucket"


def test_a_bucket_holds_the_same_as_a_folder(tmp_path: Path, bucket: str) -> None:
    where, path = f"{bucket}/same/s.zarr", tmp_path / "s.zarr"
    for beam in ("gt1r", "gt2r"):
        got = [store.write_track(track(60, beam), one, parameters={"a": 1}) for one in (where, path)]
        assert [one["outcome"] for one in got] == ["written", "written"]
    a, b = store.open_track(where, chunks=None), store.open_track(path, chunks=None)
    assert values(a) == values(b)
    assert values(store.open_track(f"{where}/{GRANULE}/gt2r")) == values(
        store.open_track(path / GRANULE / "gt2r")
    )
    assert store.consolidate(where) == 2
    listed = store.open_store(where)
    assert listed.beams(GRANULE) == ("gt1r", "gt2r")
    assert store.write_track(track(60), where, parameters={"a": 1})["outcome"] == "skipped"
    plain = xr.open_zarr(
        listed.path(GRANULE, "gt2r"),
        storage_options={"client_kwargs": {"endpoint_url": os.environ["AWS_ENDPOINT_URL"]}},
    )
    np.testing.assert_array_equal(plain["height"], track(60)["height"])
    lazy = pickle.loads(pickle.dumps(store.open_track(where)))  # as workers get it
    np.testing.assert_array_equal(lazy["height"][1], track(60)["height"])
    root = location.location(where)
    chunk = f"{listed.tracks[GRANULE, 'gt2r']['zarr_path']}/height/c/0"
    root.delete([chunk])
    with pytest.raises(DamagedTrackError, match=r"height/c/0 is gone"):
        store.open_track(where, GRANULE, "gt2r")["height"].compute()
    assert list(maintenance.verify(where).damaged) == [f"{GRANULE}/gt2r"]
    assert store.write_track(track(60), where, parameters={"a": 1})["outcome"] == "repaired"
    assert maintenance.verify(where).ok


def test_two_writers_at_once_in_a_bucket(bucket: str) -> None:
    where = f"{bucket}/two/s.zarr"
    faults: list[Exception] = []

    def write(k: int) -> None:
        try:
            for beam in ("gt1r", "gt2r"):
                store.write_track(track(20 + k, beam), where, parameters={"k": k})
                store.write_track(track(20).assign_attrs(granule=f"own{k}", beam=beam), where)
        except Exception as error:
            faults.append(error)

    threads = [threading.Thread(target=write, args=(k,)) for k in range(3)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert faults == []
    assert len(store.open_store(where)) == 8
    assert maintenance.verify(where).ok


def test_addresses_of_other_clouds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their servers are not at hand here: what is checked is the class that reaches them, and its options."""
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "account")
    gs = location.location("gs://bucket/a/b", {"skip_signature": True})
    az = location.location("az://container/a", {"skip_signature": True})
    assert (type(gs._bucket).__name__, gs.url) == ("GCSStore", "gs://bucket/a/b")
    assert (type(az._bucket).__name__, az.url) == ("AzureStore", "az://container/a")
    assert store.is_store("gs://bucket/ross_sea")
    assert not store.is_store("az://container/ATL03_x.h5")
    with pytest.raises(StoreError, match="got ftp://"):
        location.location("ftp://host/x")


# -- other layouts, and what is not ours ----------------------------------------------------------------
@pytest.mark.parametrize("layout", ["", '"store_layout": 3'])
def test_a_store_of_another_layout_is_refused(tmp_path: Path, layout: str) -> None:
    path = tmp_path / "s.zarr"
    store.create(path)
    root = path / "zarr.json"
    root.write_text(root.read_text().replace('"store_layout": 2', layout or '"other": 0'))
    for call in (store.open_store, store.open_track, partial(store.write_track, track(10))):
        with pytest.raises(
            StoreError, match=r"store layout (None|3), expected 2; use the is2ice that wrote it"
        ):
            call(path)


@pytest.mark.parametrize("kind", ["folder", "bucket"])
def test_hidden_files_of_other_programs_count_for_nothing(tmp_path: Path, bucket: str, kind: str) -> None:
    """They neither block a store nor are taken for a part of it, and nothing removes them."""
    where = str(tmp_path / "s.zarr") if kind == "folder" else f"{bucket}/hidden/s.zarr"
    place = location.location(where)
    path = store.group_name(GRANULE)
    foreign = [".DS_Store", ".~lock.a.ods#", f"current/{path}/._gt2r.json", "tracks/.DS_Store"]
    for key in foreign[:2]:
        place.put(key, b"foreign")
    written = store.write_track(track(40), where, parameters={"a": 1})
    inside = f"{written['path'].removeprefix(place.url + '/')}/height/.directory"
    for key in (*foreign[2:], inside):
        place.put(key, b"foreign")
    assert maintenance.verify(where).ok
    assert store.write_track(track(40), where, parameters={"a": 1})["outcome"] == "skipped"
    target = location.location(f"{where.removesuffix('.zarr')}-public")
    target.put(".DS_Store", b"foreign")
    assert publish(where, target.url).version == 1
    store.write_track(track(50), where, parameters={"a": 2})
    assert maintenance.prune(where, at_work=0.0).tracks == 1
    assert [place.read(key) is not None for key in (*foreign, inside)] == [True] * 5
    assert target.read(".DS_Store") is not None


def test_two_writers_of_one_track(tmp_path: Path) -> None:
    path = tmp_path / "s.zarr"
    errors = []

    def write(n: int) -> None:
        try:
            for i in range(4):
                store.write_track(track(n), path, parameters={"n": n, "i": i})
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(n,)) for n in (40, 50)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert errors == []
    assert store.open_track(path)["height"].shape in ((1, 40), (1, 50))
    assert maintenance.verify(path).ok


# -- refusals -----------------------------------------------------------------------------------------
def test_not_a_store(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="not an is2ice store: no such folder"):
        store.open_store(tmp_path / "none.zarr")
    (tmp_path / "readme.txt").write_text("x")
    with pytest.raises(StoreError, match=r"no zarr.json"):
        store.open_store(tmp_path)
    (tmp_path / "granules").mkdir()
    (tmp_path / "granules" / "a.h5").touch()
    with pytest.raises(StoreError, match=r"HDF5 files, which open one by one, such as a\.h5"):
        store.open_track(tmp_path / "granules")
    (tmp_path / "granules" / "a.h5").unlink()
    (tmp_path / "granules").rmdir()
    with pytest.raises(StoreError, match=r"not empty \(it holds readme.txt\); name a new folder"):
        store.write_track(track(10), tmp_path)
    zarr.create_group(tmp_path / "other.zarr", zarr_format=3)
    with pytest.raises(StoreError, match="no schema_version attribute"):
        store.open_store(tmp_path / "other.zarr")
    with pytest.raises(StoreError, match="not an is2ice store"):
        store.open_track(tmp_path / "none.zarr")
    with pytest.raises(StoreError, match="a web server is read only; write to a folder"):
        location.location("https://host/s.zarr").put("a", b"")
    (tmp_path / "zarr.json").write_text("{broken")
    with pytest.raises(StoreError, match=r"zarr\.json: not JSON"):
        store.open_store(tmp_path)


@pytest.mark.parametrize(("version", "refused"), [("2.0", True), ("0.9", True), ("1.7", False)])
def test_store_of_another_schema_version(tmp_path: Path, version: str, refused: bool) -> None:
    path = tmp_path / "s.zarr"
    store.write_track(track(10), path)
    meta = json.loads((path / "zarr.json").read_text())
    meta["attributes"]["schema_version"] = version
    (path / "zarr.json").write_text(json.dumps(meta))
    calls = (
        lambda: store.open_store(path),
        lambda: store.open_track(path),
        lambda: store.write_track(track(20), path),
    )
    for call in calls:
        if refused:
            with pytest.raises(StoreError, match=f"schema version {version}; this is2ice"):
                call()
        else:
            call()


def test_read_only_target(tmp_path: Path) -> None:
    path = tmp_path / "s.zarr"
    store.write_track(track(10), path)
    path.chmod(0o555)
    for folder in (tmp_path, *tmp_path.parents):  # let another user in, up to the folder of temporary files
        if folder == Path(tempfile.gettempdir()):
            break
        folder.chmod(0o755)
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)  # root may write anywhere
    try:
        with pytest.raises(StoreError, match=r"cannot write to .*s\.zarr: Permission denied .*read-only"):
            store.write_track(track(20), path)
        with pytest.raises(StoreError, match="Permission denied"):
            store.create(path / "new.zarr")
    finally:
        if root:
            os.seteuid(0)
        path.chmod(0o755)
    assert store.open_track(path)["height"].shape == (1, 10)
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="Not a directory"):
        store.write_track(track(20), tmp_path / "file" / "s.zarr")


def test_only_whole_named_conforming_tracks(tmp_path: Path) -> None:
    path = tmp_path / "s.zarr"
    with pytest.raises(StoreError, match="expected attrs"):
        store.write_track(track(10).assign_attrs(granule="../up"), path)
    with pytest.raises(StoreError, match="beam 'gt9x'"):
        store.write_track(track(10).assign_attrs(beam="gt9x"), path)
    with pytest.raises(StoreError, match="no segments"):
        store.write_track(track(10).isel(x_atc=slice(0)), path)
    with pytest.raises(SchemaError, match="height: dtype float64, expected float32"):
        store.write_track(track(10).assign(height=track(10)["height"].astype("f8")), path)
    cube = xr.concat(
        [track(10, b).expand_dims(beam=[b]) for b in ("gt1l", "gt1r")], "beam", combine_attrs="override"
    )
    with pytest.raises(StoreError, match="2 beams; write one track at a time"):
        store.write_track(cube, path)
    assert not path.exists()
    assert store.write_track(cube.isel(beam=[1]), path)["beam"] == "gt1r"


def test_a_short_write_of_many_objects_is_a_failure(tmp_path):
    """A file system that takes only a part of an object, as at the end of a quota."""
    code = (
        "import resource, signal, sys\n"
        "from is2ice.io.remote.location import location\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "location(sys.argv[1]).put_all({'a/b/x': bytes(5000)})\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True)
    assert "StoreError: cannot write to" in done.stderr
    assert not (tmp_path / "a" / "b").exists()


def test_only_failures_of_writing_are_told_as_such(tmp_path):
    def block(name: str) -> None:
        with written(tmp_path / "out.txt") as part:
            (part / "below" if name == "part" else tmp_path / name).read_bytes()

    (tmp_path / "out.txt").write_text("whole")
    with pytest.raises(FileNotFoundError, match="absent"):
        block("absent")
    with pytest.raises(StoreError, match=r"cannot write to .*out\.txt"):
        block("part")
    assert [p.name for p in tmp_path.iterdir()] == ["out.txt"]
    assert (tmp_path / "out.txt").read_text() == "whole"


def test_a_replaced_folder_keeps_hidden_files_of_other_programs(tmp_path):
    (tmp_path / "map").mkdir()
    for name in (".DS_Store", "old"):
        (tmp_path / "map" / name).write_text(name)
    with written_folder(tmp_path / "map", "new") as part:
        (part / "new").write_text("new")
    assert files(tmp_path) == {"map", "map/.DS_Store", "map/new"}
    with written_folder(tmp_path / "map", "new") as part:
        (part / "new").write_text("new")
        (part / ".DS_Store").write_text("of the new one")
    assert files(tmp_path) == {"map", "map/.DS_Store", "map/new"}
    assert (tmp_path / "map" / ".DS_Store").read_text() == "of the new one"

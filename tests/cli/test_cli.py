"""The command line: what it prints, and the exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler
from pathlib import Path

import numpy as np
import pytest
import services

import is2ice
from is2ice import schema
from is2ice.cli.main import COMMANDS
from is2ice.io.icesat2.atl03 import Granule
from is2ice.io.stores import store
from is2ice.twin.icesat2.flat_beam import write_beam
from is2ice.twin.server.local_archive import LocalCloud

NAME = "ATL03_20181014002445_02350104_006_02"


class Folder(services.Quiet, SimpleHTTPRequestHandler):
    """A folder over HTTP."""


@pytest.fixture
def granule(real_data: Path) -> Path:
    return real_data / "atl03" / f"{NAME}_gt1l.h5"


@pytest.fixture
def small_store(tmp_path: Path) -> Path:
    path = tmp_path / "small.zarr"
    for beam in ("gt1r", "gt2r"):
        ds = schema.mock_segments(300, stages=("classified", "seasurface", "freeboard"))
        ds = ds.assign_attrs(granule="ATL03_x", beam=beam, notes=["no orbit_info"])
        store.write_track(ds, path)
    return path


def test_info_of_a_genuine_granule(cli, granule: Path) -> None:  # type: ignore[no-untyped-def]
    code, out, _ = cli("show", granule, "--counts")
    assert code == 0
    for expected in (
        NAME,
        "release 006",
        "forward",
        "weak",
        "2,909",
        "no orbit_info",
        "no ancillary_data",
        "403 km",
    ):
        assert expected in out, expected
    code, out, _ = cli("show", granule, "--counts", "--json")
    document = json.loads(out)
    (beam,) = document["beams"]
    assert beam["photons"] == 2909
    assert sum(beam["confidence"].values()) == 2909
    assert beam["spot"] == 6


def test_run_show_and_quicklook(cli, granule: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "s.zarr"
    code, out, _ = cli("run", granule, "--store", path)
    assert code == 0
    assert "1 tracks done, 0 skipped, 0 failed" in out
    for absent in ("no orbit_info", "no ancillary_data", "403 km", "no lead"):
        assert absent in out, absent
    code, out, _ = cli("run", granule, "--store", path, "--json")
    assert code == 0
    document = json.loads(out)
    assert (document["done"], document["skipped"]) == (0, 1)
    code, out, _ = cli("show", path, NAME, "gt1l")
    assert code == 0
    assert "n_filled" in out
    code, out, _ = cli("quicklook", path, "gt1l", "--out", tmp_path / "q.png", "--photons", granule)
    assert code == 0
    assert (tmp_path / "q.png").stat().st_size > 20_000
    code, out, _ = cli("show", path)
    assert NAME in out


def test_quicklook_without_a_store(cli, granule: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    code, out, _ = cli("quicklook", granule, "--out", tmp_path / "q.png")
    assert code == 0
    assert (tmp_path / "q.png").exists()
    assert "no lead" in out


def test_failing_tracks_exit_1_and_unusable_input_2(
    cli, real_data: Path, granule: Path, tmp_path: Path
) -> None:  # type: ignore[no-untyped-def]
    land = real_data / "atl03" / "land_clip_gt1r.h5"
    code, out, err = cli("run", granule, land, "--store", tmp_path / "s.zarr")
    assert code == 1
    assert "1 tracks done, 0 skipped, 1 failed" in out
    assert "signal_conf_ph[:, 2]" in out
    code, out, err = cli("run", granule, land, "--store", tmp_path / "s.zarr", "--quiet")
    assert code == 1
    assert out == ""
    assert "of sea-ice confidence below" in err
    assert "Traceback" not in err
    code, out, err = cli("run", tmp_path / "none.h5", "--store", tmp_path / "t.zarr")
    assert code == 2
    assert "no such file" in out


def test_options_reach_the_run(cli, granule: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "s.zarr"
    code, out, _ = cli(
        "run",
        granule,
        "--store",
        path,
        "--length",
        10,
        "--confidence",
        4,
        "--method",
        "nasa",
        "--beams",
        "gt1l",
        "--bbox",
        -180,
        80,
        180,
        90,
        "--json",
    )
    assert code == 0, out
    attrs = store.track_attributes(path, NAME, "gt1l")
    assert attrs is not None
    parameters = json.loads(attrs["processing_parameters"])
    assert parameters["length"] == 10.0
    assert parameters["confidence"] == 4
    assert parameters["method"] == "nasa"
    assert parameters["bbox"] == [-180.0, 80.0, 180.0, 90.0]
    assert is2ice.open_track(path).attrs["segment_length"] == 10.0
    code, _, err = cli("run", granule, "--store", path, "--beams", "gt9x")
    assert code == 2
    code, _, err = cli("run", granule, "--store", tmp_path / "no.zarr", "--engine", "spork")
    assert (code, err.strip()) == (
        2,
        "is2ice: error: engine 'spork': expected one of serial, processes, dask, gateway, spark",
    )
    assert not (tmp_path / "no.zarr").exists()
    assert cli("run", granule, "--store", tmp_path / "no.zarr", "--overwrite", "maybe")[0] == 2
    code, _, err = cli("run", granule, "--store", tmp_path / "no.zarr", "--address", "tcp://x:1")
    assert (code, "add --engine dask" in err) == (2, True)


def test_show_lists_a_store(cli, small_store: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    code, out, _ = cli("show", small_store)
    assert code == 0
    assert "gt1r" in out
    assert "1 granules, 2 tracks" in out
    code, out, _ = cli("show", small_store, "--json")
    assert [r["beam"] for r in json.loads(out)] == ["gt1r", "gt2r"]
    code, out, _ = cli("show", small_store, "ATL03_x", "gt2r")
    assert "note: no orbit_info" in out
    code, out, _ = cli("show", small_store, "ATL03_x", "gt2r", "--json")
    assert json.loads(out)[0]["attributes"]["beam"] == "gt2r"
    code, _, _ = cli(
        "quicklook",
        small_store,
        "gt2r",
        "--granule",
        "ATL03_x",
        "--out",
        tmp_path / "a.png",
        "--km",
        "0.1",
        "0.3",
    )
    assert code == 0
    assert (tmp_path / "a.png").exists()


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (("show", "{store}", "nothing"), "nothing is not in"),
        (("show", "{store}", "ATL03_x", "gt3l"), "it holds gt1r, gt2r"),
        (("quicklook", "{store}", "--out", "a.png"), "draws one track, 2 match"),
        (("quicklook", "{store}", "gt1r", "--method", "nasa"), "drawn as it is stored"),
        (("quicklook", "{store}", "gt1r", "--out", "a.txt"), "ending in .png"),
        (("quicklook", "{store}", "gt1r", "--out", "/nowhere/a.png"), "no such folder"),
        (("show", "{tmp}/none.zarr"), "no such file"),
        (("show", "{tmp}/none.h5"), "no such file"),
        (("train", "{tmp}/none.toml"), "none.toml: no such file"),
        (("run", "x.h5", "--store", "{tmp}/file"), "Not a directory"),
    ],
)
def test_bad_input_is_one_clear_line_and_exit_2(
    cli, small_store: Path, tmp_path: Path, args, text: str
) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "file").write_text("")
    code, _, err = cli(*(a.format(store=small_store, tmp=tmp_path) for a in args))
    assert code == 2
    assert text in err
    assert err.startswith("is2ice: error: ")
    assert len(err.strip().splitlines()) == 1


def test_not_hdf5_and_debug(cli, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "page.h5").write_text("<html>please log in</html>")
    code, _, err = cli("show", tmp_path / "page.h5")
    assert code == 2
    assert "not an HDF5 file" in err
    code, _, err = cli("--debug", "show", tmp_path / "page.h5")
    assert code == 2
    assert "Traceback" in err
    cli("versions")  # leaves debugging off again


def test_usage_help_and_versions(cli) -> None:  # type: ignore[no-untyped-def]
    assert cli("frobnicate")[0] == 2
    assert cli("run", "a.h5")[0] == 2  # no --store
    code, out, _ = cli("run", "--help")
    assert code == 0
    assert "Examples" in out
    assert "ATL03_*.h5" in out
    code, out, _ = cli("versions")
    assert f"is2ice           {is2ice.__version__}" in out
    assert json.loads(cli("versions", "--json")[1])["numpy"] == np.__version__
    assert cli("--version")[1].strip() == is2ice.__version__
    code, out, _ = cli("schema")
    assert out.strip() == schema.markdown_table().strip()


def test_extensions_are_listed_and_reached(cli) -> None:  # type: ignore[no-untyped-def]
    out = cli("--help")[1]
    for name in COMMANDS:
        assert name in out
        assert cli(name, "--help")[0] == 0


def test_module_and_script_run_the_same(tmp_path: Path) -> None:
    module = subprocess.run([sys.executable, "-m", "is2ice", "schema"], capture_output=True, text=True)
    assert module.returncode == 0
    assert module.stdout.startswith("# Variables")
    script = Path(sys.executable).with_name("is2ice")
    if script.exists():
        done = subprocess.run([script, "show", tmp_path / "none.h5"], capture_output=True, text=True)
        assert done.returncode == 2
        assert "no such file" in done.stderr


def test_ctrl_c_is_130_and_leaves_a_store(granule: Path, tmp_path: Path) -> None:
    copies = []
    for i in range(40):  # many granules of the same photons
        copy = tmp_path / f"ATL03_2018101400{i:02d}45_02350104_006_02.h5"
        os.link(granule, copy) if granule.stat().st_dev == tmp_path.stat().st_dev else copy.symlink_to(
            granule
        )
        copies.append(str(copy))
    path = tmp_path / "s.zarr"
    child = subprocess.Popen(
        [sys.executable, "-m", "is2ice", "run", *copies, "--store", str(path)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stderr is not None
    while child.poll() is None and not list(path.glob("ATL03_*/gt1l")):
        time.sleep(0.02)
    child.send_signal(signal.SIGINT)
    err = child.stderr.read()
    child.stderr.close()
    assert child.wait(60) == 130, err
    assert "is2ice run --resume does the rest" in err
    assert 1 <= len(store.open_store(path)) < 40


def test_names_in_brackets_are_not_styles(cli, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    for name in ("[/x]/nothing.h5", "[red]nothing.h5"):
        code, out, err = cli("run", name, "--store", tmp_path / "s.zarr")
        assert code == 2
        assert name in out + err
        code, _, err = cli("show", name)
        assert code == 2
        assert f"{name}: no such file" in err
    for beam in ("gt1r", "gt2r"):
        ds = schema.mock_segments(300, stages=("classified", "seasurface", "freeboard"))
        store.write_track(ds.assign_attrs(granule="a", beam=beam, beam_strength="[/b]"), tmp_path / "t.zarr")
    code, out, _ = cli("show", tmp_path / "t.zarr")
    assert code == 0
    assert "[/b]" in out


def test_a_wrong_picture_is_refused_before_the_work(cli, tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    worked = []
    monkeypatch.setattr("is2ice.workflows.track.survey", lambda *a: worked.append(a))
    for path, why in ((tmp_path / "q.txt", "ending in .png"), (tmp_path / "no" / "q.png", "no such folder")):
        code, _, err = cli("quicklook", "any.h5", "--out", path)
        assert code == 2
        assert why in err
    assert worked == []


def test_secrets_stay_out_of_tracebacks(cli) -> None:  # type: ignore[no-untyped-def]
    code, out, err = cli("--debug", "show", "https://me:s3cret@127.0.0.1:9/s.zarr?token=s3cret")
    assert code == 2
    assert "https://127.0.0.1:9/s.zarr" in err
    assert "Traceback" in err
    assert "s3cret" not in out + err


def test_secrets_stay_out_of_the_next_step(cli, small_store: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    store.consolidate(small_store)
    with services.http_server(partial(Folder, directory=str(tmp_path))) as server:
        code, out, err = cli("show", f"{server.url}/small.zarr?token=s3cret")
    assert code == 0, err
    assert f"next: is2ice quicklook {server.url}/small.zarr gt1r" in err
    assert "s3cret" not in out + err
    write_beam(tmp_path / "a.h5", 6_000)
    with LocalCloud(tmp_path, stac=False) as cloud:
        code, out, err = cli("show", f"{cloud.url}/a.h5?token=s3cret")
    assert code == 0, err
    assert f'is2ice.open_track("{cloud.url}/a.h5")' in out
    assert "s3cret" not in out + err


@pytest.mark.slow
def test_dask_is_quiet(tmp_path: Path) -> None:
    write_beam(tmp_path / "a.h5", 6_000)
    command = [
        sys.executable,
        "-m",
        "is2ice",
        "run",
        str(tmp_path / "a.h5"),
        "--store",
        str(tmp_path / "s.zarr"),
    ]
    done = subprocess.run([*command, "--engine", "dask", "--workers", "1"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "1 tracks done" in done.stdout
    # Of its workers' coming and going nothing is told; a fault, such as a machine too busy, may be.
    assert " - INFO - " not in done.stderr


def test_run_takes_a_part_of_a_track_and_refuses_wrong_parts_at_once(cli, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    granule, store = write_beam(tmp_path / "a.h5", 6_000), tmp_path / "s.zarr"
    with Granule(granule) as opened:
        beam = opened.beams[0]
        first = float(opened.table(beam).dist_x[0])
    part = ("--x-atc", first + 100, first + 300)
    code, out, err = cli("run", granule, "--store", store, "--beams", beam, *part, "--reference", "geoid")
    assert code == 0, err
    assert "of 100 segments filled" in out
    for option, why in (
        (("--reference", "sea"), "reference='sea': expected one of 'auto', 'mss', 'geoid'"),
        (("--time", "2019-11-16T19:34:12", "soon"), "time 'soon': expected UTC"),
    ):
        code, _, err = cli("run", granule, "--store", tmp_path / "never.zarr", *option)
        assert code == 2
        assert why in err
    assert not (tmp_path / "never.zarr").exists()

"""The command line as a whole: help, completion, configuration, the next step, and commands about the installation."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from is2ice import schema
from is2ice.cli.commands import COMMANDS
from is2ice.cli.main import load
from is2ice.io.stores import store
from is2ice.twin.icesat2.flat_beam import write_beam
from is2ice.workflows.run import run


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("ran")
    granule = write_beam(folder / "ATL03_20191104195311_05940510_006_01.h5", 6_000)
    assert run([granule], folder / "s.zarr", progress=False).ok
    return granule, folder / "s.zarr"


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("stored") / "s.zarr"
    for beam in ("gt1r", "gt2r"):
        ds = schema.mock_segments(300, stages=("classified", "seasurface", "freeboard"))
        store.write_track(ds.assign_attrs(granule="ATL03_x", beam=beam), path)
    return path


def test_the_table_repeats_the_help_of_each_command() -> None:
    for name, entry in COMMANDS.items():
        first = str(load(name).help).split("\n\n")[0]
        assert " ".join(first.split()).startswith(entry.help.rstrip(".")), name


def test_every_command_has_a_next_step_that_names_its_parameters() -> None:
    for name, entry in COMMANDS.items():
        command = load(name)
        for inner, leaf in getattr(command, "commands", {"": command}).items():
            template = entry.inner.get(inner, entry.next)
            assert template, name
            known = {p.name for p in leaf.params}
            assert set(re.findall(r"{(\w+)}", template)) <= known, (name, inner)


def test_completion_is_at_the_top_alone(cli) -> None:  # type: ignore[no-untyped-def]
    assert "--install-completion" in cli("--help")[1]
    for name in COMMANDS:
        assert "completion" not in cli(name, "--help")[1]


def test_the_shell_completes_commands_and_options() -> None:
    def complete(words: str, number: int) -> list[str]:
        env = {"_IS2ICE_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(number)}
        code = "from is2ice.cli.main import main; main()"
        done = subprocess.run(
            [sys.executable, "-c", code], env=os.environ | env, capture_output=True, text=True
        )
        return done.stdout.split()

    assert "search" in complete("is2ice se", 1)
    assert "--resume" in complete("is2ice run --res", 2)


def test_help_loads_neither_arrays_nor_files() -> None:
    heavy = "numpy xarray pandas h5py zarr numba dask matplotlib".split()
    code = (
        "import sys\nfrom is2ice.cli.main import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        f"print('loaded', [m for m in {heavy} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "loaded []", done.stderr


def test_options_come_from_the_file_the_environment_and_the_command_line(
    cli, ran, tmp_path, monkeypatch
) -> None:  # type: ignore[no-untyped-def]
    granule, _ = ran
    monkeypatch.chdir(tmp_path)
    (tmp_path / "is2ice.toml").write_text(
        '[run]\nstore = "file.zarr"\nuntil = "segments"\nx-atc = [0, 1e9]\n'
    )
    assert cli("run", granule, "--quiet")[0] == 0
    assert "freeboard_mean" not in cli("show", "file.zarr", "--json")[1].replace('"freeboard_mean": null', "")
    monkeypatch.setenv("IS2ICE_RUN_STORE", "variable.zarr")
    assert cli("run", granule, "--quiet")[0] == 0
    assert cli("run", granule, "--quiet", "--store", "line.zarr")[0] == 0
    assert {"file.zarr", "variable.zarr", "line.zarr"} <= {p.name for p in tmp_path.iterdir()}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('[run]\nengin = "dask"\n', "[run] has no option 'engin'; expected some of address"),
        ("[rum]\n", "[rum] is no command; expected search"),
        ("run = 1\n", "run: expected a table [run], got 1"),
        ("[labels.make]\nstores = 1\n", "[labels.make] has no option 'stores'"),
        ("[run\n", "not a TOML file"),
    ],
)
def test_a_wrong_configuration_is_one_clear_line(cli, tmp_path, monkeypatch, text: str, why: str) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "mine.toml").write_text(text)
    monkeypatch.setenv("IS2ICE_CONFIG", str(tmp_path / "mine.toml"))
    command = ("labels", "make") if "labels" in text else ("run",)
    code, _, err = cli(*command, "a.h5", "--store", tmp_path / "never.zarr")
    assert code == 2
    assert why in err
    assert str(tmp_path / "mine.toml") in err


def test_the_last_line_is_the_next_step(cli, ran) -> None:  # type: ignore[no-untyped-def]
    granule, path = ran
    assert cli("run", granule, "--store", path)[2].splitlines()[-1] == f"next: is2ice show {path}"
    assert cli("show", path, "--json")[2] == ""
    assert f'in Python: is2ice.open_track("{path}")' in cli("show", path)[1]
    assert cli("publish", path, path.parent / "new", "--dry-run")[2].endswith("without --dry-run\n")
    code, out, err = cli("show", path, "--quiet")
    assert (code, out, err) == (0, "", "")


def test_run_lists_what_it_would_do(cli, ran, tmp_path) -> None:  # type: ignore[no-untyped-def]
    granule, path = ran
    code, out, err = cli("run", granule, tmp_path / "none.h5", "--store", path, "--dry-run", "--json")
    assert code == 0, err
    assert [row["action"] for row in json.loads(out)] == ["keep", "fail"]
    code, out, _ = cli("run", granule, "--store", tmp_path / "new.zarr", "--dry-run")
    assert code == 0
    assert "1 of 1 tracks would be computed" in out
    assert not (tmp_path / "new.zarr").exists()


def test_a_run_of_nothing_but_failures_leaves_no_store(cli, ran, tmp_path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "page.h5").write_text("<html>")
    path = tmp_path / "deep" / "new.zarr"
    code, out, err = cli("run", tmp_path / "page.h5", "--store", path)
    assert code == 2
    assert "not an HDF5 file" in out
    assert "next:" not in err
    assert not path.exists()
    _, there = ran
    before = set(there.rglob("*"))
    assert cli("run", tmp_path / "page.h5", "--store", there)[0] == 2
    assert before < set(there.rglob("*"))  # a store with tracks stays, with the record of the failure


def test_report_shows_the_run_that_worked(cli, tmp_path) -> None:  # type: ignore[no-untyped-def]
    granule, path = write_beam(tmp_path / "a.h5", 6_000), tmp_path / "s.zarr"
    for _ in range(2):
        assert run([granule], path, progress=False).ok
    code, out, _ = cli("report", path)
    assert code == 0
    assert "1 tracks done, 0 skipped" in out
    assert "later runs found everything in place" in out
    rows = json.loads(cli("report", path, "--all", "--json")[1])
    assert [(r["done"], r["skipped"]) for r in rows] == [(1, 0), (0, 1)]


def test_export_writes_what_the_ending_says(cli, stored, tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    for ending in ("nc", "csv"):
        code, out, err = cli("export", stored, "--out", tmp_path / f"t.{ending}", "--beam", "gt2r")
        assert code == 0, err
        assert f"t.{ending}: gt2r of ATL03_x" in out
    head = (tmp_path / "t.csv").read_text().splitlines()[0].split(",")
    assert {"time", "latitude", "longitude", "freeboard", "height"} <= set(head)
    cli("export", stored, "--out", tmp_path / "less.csv", "--variables", "freeboard")
    head = (tmp_path / "less.csv").read_text().splitlines()[0].split(",")
    assert "freeboard" in head
    assert "height" not in head
    monkeypatch.setitem(sys.modules, "geopandas", None)
    code, _, err = cli("export", tmp_path / "none.zarr", "--out", tmp_path / "t.gpkg")  # before it is opened
    assert code == 2
    assert "need geopandas: pip install 'is2ice[tables]'" in err
    code, _, err = cli("export", stored, "--out", tmp_path / "t.shp")
    assert code == 2
    assert "ends in one of .nc" in err


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("compare x.h5 gt2r --points t.csv --out r.html", "expected a name ending in .json"),
        ("classmaps x.json --out maps --method published --classifier m", "published takes no --classifier"),
    ],
)
def test_flags_that_do_not_go_together_are_refused(cli, tmp_path, monkeypatch, words: str, why: str) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.chdir(tmp_path)
    code, _, err = cli(*words.split())
    assert code == 2
    assert why in " ".join(err.split())
    assert not list(tmp_path.iterdir())


def test_unet_train_augments_as_the_library_does() -> None:
    from is2ice.classifiers.unet import TileOptions
    from is2ice.cli.unet import FitFlags

    assert FitFlags().copies == TileOptions().copies


def test_doctor_names_what_is_missing(cli, tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.chdir(tmp_path)
    for name in ("EARTHDATA_TOKEN", "EARTHDATA_USERNAME", "EARTHDATA_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setitem(sys.modules, "icechunk", None)
    code, out, _ = cli("doctor")
    assert code == 0
    assert re.search(r"^-- +login +no Earthdata login: set EARTHDATA_TOKEN", out, re.MULTILINE)
    assert "icechunk missing: pip install 'is2ice[virtual]'" in out
    assert cli("doctor", "--strict")[0] == 1
    (tmp_path / "netrc").write_text("machine urs.earthdata.nasa.gov login me password s3cret\n")
    rows = {r["what"]: r for r in json.loads(cli("doctor", "--json")[1])}
    assert rows["login"]["ok"]
    assert "s3cret" not in json.dumps(rows)
    assert {"is2ice", "python", "cache", "disk", "sample", "configuration"} <= set(rows)

"""Documentation: every page builds, links lead somewhere, every command and public name is told, examples exist."""

from __future__ import annotations

import importlib
import re
import shlex
import types
from importlib.resources import files

import pytest

import is2ice
from is2ice.cli import docs
from is2ice.cli.main import COMMANDS


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("docs")
    (folder / "printed").mkdir()
    (folder / "printed" / "python_benchmarks_drift_py.txt").write_text("what it printed <last>\n")
    docs.build(folder / "site", outputs=folder / "printed")
    return folder / "site"


def test_every_page_is_built_and_links_lead_somewhere(site):
    assert {p.stem for p in site.glob("*.html")} == set(docs.PAGES)
    for page in site.glob("*.html"):
        text = page.read_text()
        assert not re.search(r"^(<p>)?\[\[\w+", text, re.MULTILINE)  # nothing left unreplaced
        for target in re.findall(r'(?:href|src)="([^"]+)"', text):
            assert (site / target).is_file(), f"{page.name}: {target}"


def test_what_was_run_is_shown_and_what_was_not_is_said(site):
    text = (site / "validation.html").read_text()
    assert "what it printed &lt;last&gt;" in text
    assert "$ python benchmarks/closed_loop.py\nnot run here" in text


def test_commands_and_names_are_all_told(site):
    commands, api = (site / "commands.html").read_text(), (site / "api.html").read_text()
    for name in COMMANDS:
        assert f"<h2>is2ice {name}</h2>" in commands
    for name in is2ice.__all__:
        assert name.startswith("__") or f"<h2>is2ice.{name}</h2>" in api


def test_the_face_is_one_set():
    """Names, dir() and the table of commands agree; no submodule stands in for a public function."""
    table = files("is2ice.cli.docs").joinpath("pages/api.md").read_text()
    assert set(dir(is2ice)) == set(is2ice.__all__)
    for command, python in re.findall(r"^\| (`is2ice .+?) \| (.+) \|$", table, re.MULTILINE):
        assert {c.split()[1] for c in re.findall(r"`(.+?)`", command)} <= set(COMMANDS)
        assert set(re.findall(r"`(\w+)`", python)) <= set(is2ice.__all__)
    for name, home in is2ice._PUBLIC.items():
        importlib.import_module(f"is2ice.{home.removesuffix('!')}")
        assert isinstance(getattr(is2ice, name), types.ModuleType) == home.endswith("!"), name


def test_commands_on_the_pages_name_files_that_exist():
    for page in files("is2ice.cli.docs").joinpath("pages").iterdir():
        for command in re.findall(r"^\[\[run (.+)\]\]$", page.read_text(), re.MULTILINE):
            for word in shlex.split(command):
                if word.endswith((".py", ".h5")):
                    assert (docs.ROOT / word).is_file(), f"{page.name}: {word}"


def test_getting_started_works_as_it_stands(tmp_path, monkeypatch, capsys):
    """Every line of the first page after the environment is made, as it is printed there."""
    import glob

    from is2ice.cli.main import main

    text = files("is2ice.cli.docs").joinpath("pages/index.md").read_text()
    (tmp_path / "sample_data").symlink_to(docs.ROOT / "sample_data")
    monkeypatch.chdir(tmp_path)
    (python,) = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    exec(compile(python, "index.md", "exec"), {})
    assert (tmp_path / "quicklook.png").stat().st_size > 10_000
    lines = [
        w
        for block in re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
        for w in block.splitlines()
    ]
    commands = [line for line in lines if line.startswith("is2ice ")]
    assert len(commands) == 5
    for line in commands:
        words = [g for w in shlex.split(line, comments=True)[1:] for g in (sorted(glob.glob(w)) or [w])]
        with pytest.raises(SystemExit) as stopped:
            main(words)
        assert not stopped.value.code, (line, capsys.readouterr().err)
    assert {"sample.nc", "sample.png", "report.html"} <= {p.name for p in tmp_path.iterdir()}


def test_a_command_is_run_and_kept(tmp_path):
    text = docs._insert("run", "is2ice versions --json", tmp_path, tmp_path / "kept", True)
    assert '"is2ice"' in text
    assert docs._insert("run", "is2ice versions --json", tmp_path, tmp_path / "kept", False) == text
    assert docs._insert("run", "is2ice versions --json", tmp_path, tmp_path / "kept", "other word") == text
    with pytest.raises(RuntimeError, match="ended with 2"):
        docs._insert("run", "is2ice show nowhere.zarr", tmp_path, tmp_path / "kept", True)
    with pytest.raises(ValueError, match="expected run COMMAND"):
        docs._insert("picture", "nothing", tmp_path, tmp_path, False)

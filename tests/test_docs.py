"""The site: every public name and command has its place, the face is one set, pages and their files exist."""

from __future__ import annotations

import importlib
import importlib.util
import re
import subprocess
import sys
import types
from pathlib import Path

import pytest

import is2ice
from is2ice.cli.commands import COMMANDS

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
MISSING = [
    m for m in ("sphinx", "pydata_sphinx_theme", "numpydoc", "myst_nb") if importlib.util.find_spec(m) is None
]


def test_the_face_is_one_set() -> None:
    """Names, dir() and the table of commands agree; no submodule stands in for a public function."""
    table = (DOCS / "api.md").read_text()
    assert set(dir(is2ice)) == set(is2ice.__all__)
    for command, python in re.findall(r"^\| (`is2ice .+?) \| (.+) \|$", table, re.MULTILINE):
        assert {c.split()[1] for c in re.findall(r"`(is2ice .+?)`", command)} <= set(COMMANDS)
        assert set(re.findall(r"`(\w+)`", python)) <= set(is2ice.__all__)
    for name, home in is2ice._PUBLIC.items():
        importlib.import_module(f"is2ice.{home.removesuffix('!')}")
        assert isinstance(getattr(is2ice, name), types.ModuleType) == home.endswith("!"), name


def test_every_public_name_is_on_the_page() -> None:
    listed = set(re.findall(r"^   (is2ice\.[\w.]+)$", (DOCS / "api.md").read_text(), re.MULTILINE))
    for name, home in is2ice._PUBLIC.items():
        assert f"is2ice.{home.removesuffix('!') if home.endswith('!') else name}" in listed


def test_commands_that_are_measured_name_files_that_exist() -> None:
    commands = [
        c for p in DOCS.glob("*.md") for c in re.findall(r"^```{measured} (.+)$", p.read_text(), re.MULTILINE)
    ]
    assert len(commands) > 10
    for command in commands:
        for word in command.split():
            assert not word.endswith((".py", ".h5")) or (ROOT / word).is_file(), command


def test_notebooks_of_the_gallery_are_listed_and_hold_their_outputs() -> None:
    import json

    index = (DOCS / "gallery" / "index.md").read_text()
    for path in (DOCS / "gallery").glob("*.ipynb"):
        assert path.stem in index
        cells = [c for c in json.loads(path.read_text())["cells"] if c["cell_type"] == "code"]
        assert all(c["execution_count"] for c in cells), path.name
        assert not [o for c in cells for o in c["outputs"] if o["output_type"] == "error"], path.name
        assert any(c["outputs"] for c in cells), path.name


@pytest.mark.skipif(bool(MISSING), reason=f"{', '.join(MISSING)} missing: pip install 'is2ice[docs]'")
def test_the_site_builds_and_its_links_lead_somewhere(tmp_path: Path) -> None:
    site = tmp_path / "html"
    build = [sys.executable, "-m", "sphinx", "-q", "-b", "html", "-D", "intersphinx_mapping=", DOCS, site]
    done = subprocess.run(build, capture_output=True, text=True, cwd=ROOT, timeout=400)
    assert done.returncode == 0, done.stderr
    assert "is2ice.open_track" in (site / "_generated" / "api" / "is2ice.open_track.html").read_text()
    for name in COMMANDS:
        assert f"is2ice {name}<" in (site / "_generated" / "commands.html").read_text()
    check = subprocess.run([sys.executable, DOCS / "check_links.py", site], capture_output=True, text=True)
    assert check.returncode == 0, check.stdout

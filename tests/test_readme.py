"""README runs as it stands: every block of code, in its order, in one folder.

A block whose first line is a comment that begins with ``# needs`` is left out; of the targets of make only their
existence is tested.
"""

from __future__ import annotations

import glob
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from is2ice.cli.main import main

ROOT = Path(__file__).resolve().parents[1]
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    shell = [text for language, text in BLOCKS if language == "sh" and not text.startswith("# needs")]
    return [line for text in shell for line in text.splitlines() if not line.startswith("#")]


def test_blocks_are_python_or_shell_and_few_are_left_out() -> None:
    assert {language for language, _ in BLOCKS} == {"python", "sh"}
    assert sum(text.startswith("# needs") for _, text in BLOCKS) == 1


def test_every_block_runs_as_it_stands(tmp_path: Path, monkeypatch, capsys) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "sample_data").symlink_to(ROOT / "sample_data")
    monkeypatch.chdir(tmp_path)
    for language, text in BLOCKS:
        if language == "python":
            exec(compile(text, "README.md", "exec"), {})
    printed = capsys.readouterr().out
    assert re.search(r"^0\.\d+ m$", printed, re.MULTILINE)
    assert "3 tracks done" in printed
    ran = 0
    for line in commands():
        program, *words = shlex.split(line, comments=True)
        if program == "make":
            continue
        assert program == "is2ice", line
        with pytest.raises(SystemExit) as stopped:
            main([g for w in words for g in (sorted(glob.glob(w)) or [w])])
        said = capsys.readouterr()
        assert not stopped.value.code, (line, said.err)
        assert "\nnext: " in "\n" + said.err, line
        ran += 1
    assert ran == 10
    made = {p.name for p in tmp_path.iterdir()}
    assert {
        "quicklook.png",
        "track.png",
        "explore.html",
        "report.html",
        "map.nc",
        "map.png",
        "freeboard.csv",
    } <= made
    assert "published" not in made  # a dry run


def test_targets_of_make_exist() -> None:
    targets = [shlex.split(line, comments=True)[1] for line in commands() if line.startswith("make ")]
    assert targets == ["demo", "test"]
    for target in targets:
        done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def test_files_that_readme_links_exist() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", (ROOT / "README.md").read_text()):
        assert "://" in target or (ROOT / target).exists(), target

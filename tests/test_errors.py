"""A package that is not installed: what needs it and what to install, in one line and with exit status 2."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from is2ice.errors import EXTRAS, MissingExtraError, extra_hint, require

ROOT = Path(__file__).resolve().parents[1]
SAMPLE = next((ROOT / "sample_data").glob("ATL03_*.h5"))


def without(package: str, code: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process in which a package cannot be imported."""
    block = f"import sys; sys.modules[{package!r}] = None\n"
    return subprocess.run([sys.executable, "-c", block + code], capture_output=True, text=True, timeout=120)


def test_every_extra_is_declared_and_names_its_package() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    distribution = {
        "skimage": "scikit-image",
        "tensorflow": "tensorflow-cpu",
        "rasterio": "odc-stac",
        "harmony": "harmony-py",
        "RangeHTTPServer": "rangehttpserver",
    }
    for package, (_, extra) in EXTRAS.items():
        name = distribution.get(package, package.replace("_", "-").replace(".", "-"))
        assert any(line.startswith(name) for line in declared[extra]), f"{package} in {extra}"


def test_a_package_that_is_there_is_not_asked_for() -> None:
    require("shapely", "odc.stac")
    assert extra_hint("json") == ""


def test_python_names_the_extra() -> None:
    code = (
        "import is2ice\nfrom is2ice import schema\nfrom is2ice.errors import MissingExtraError\n"
        "track = schema.mock_segments(50)\n"
        "try:\n    is2ice.quicklook(track)\nexcept MissingExtraError as error:\n    print(error)\n"
    )
    done = without("matplotlib", code)
    assert done.stdout.strip() == "pictures need matplotlib: pip install 'is2ice[plot]'", done.stderr


def test_the_command_line_ends_with_status_2() -> None:
    done = without("matplotlib", f"from is2ice.cli.main import main\nmain(['quicklook', {str(SAMPLE)!r}])")
    assert done.returncode == 2, done.stderr
    assert "is2ice: error: pictures need matplotlib: pip install 'is2ice[plot]'" in " ".join(
        done.stderr.split()
    )


def test_an_order_without_its_client_names_the_extra() -> None:
    code = "from is2ice.cli.main import main\nmain(['order', 'ATL03_x', '--area', 'ross_sea'])"
    done = without("harmony", code)
    assert done.returncode == 2, done.stderr
    assert "need harmony: pip install 'is2ice[earthdata]'" in " ".join(done.stderr.split())


def test_a_blocked_package_raises_an_import_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "icechunk", None)
    with pytest.raises(MissingExtraError, match=r"Icechunk repositories need icechunk: .*is2ice\[virtual\]"):
        require("icechunk")
    assert issubclass(MissingExtraError, ImportError)

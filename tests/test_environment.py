"""The environment that `make env` builds: every mandated package as locked, Horovod really reducing."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MANDATED = (
    "xarray dask dask-ml zarr earthaccess icepyx h5netcdf rioxarray odc-stac pystac-client pyspark tensorflow-cpu "
    "horovod pytest"
).split()


OLD = sys.version_info[:2] == (3, 11)
if not OLD:  # Horovod builds against TensorFlow 2.18, which newer Pythons lack
    MANDATED.remove("horovod")


def locked() -> dict[str, str]:
    names = (
        ("requirements.lock", "horovod.lock")
        if OLD
        else ("requirements-{}.{}.lock".format(*sys.version_info),)
    )
    text = "".join((ROOT / "cluster" / name).read_text() for name in names)
    return dict(re.findall(r"^([A-Za-z0-9_.-]+)(?:\[[^\]]*\])?==([^ ;\\\n]+)", text, flags=re.M))


def test_the_lock_holds_every_mandated_package():
    assert set(MANDATED) <= set(locked())


def test_installed_versions_are_the_locked_ones():
    wrong = []
    for name, version in locked().items():
        try:
            have = metadata.version(name)
        except metadata.PackageNotFoundError:
            have = "not installed"
        if have != version:
            wrong.append(f"{name}: locked {version}, {have}")
    if not (ROOT / ".venv" / ".ready").exists():
        pytest.skip("not in the environment of `make env`")
    assert wrong == []


#: Dependencies that no module imports, and what needs them.
NOT_IMPORTED = {
    "h5netcdf": "the engine with which xarray writes NetCDF",
    "pyarrow": "geopandas writes Parquet by it",
    "rustac": "a program, which serves the twin's catalogue",
    "s3fs": "fsspec finds it for addresses of S3 in plain xarray",
}


def imported(source: str) -> set[str]:
    """Top-level names of the modules that a source imports."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found


def test_only_imports_count():
    assert imported(
        'import a.b\nfrom c.d import e\nfrom . import f\nEXTRAS = {"g": ""}\n"""\nimport h\n"""'
    ) == {"a", "c"}


def test_every_dependency_is_used():
    """Each that a user installs is imported by the package, or has a reason (``NOT_IMPORTED``)."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = (v for k, v in project["optional-dependencies"].items() if k not in ("test", "docs", "all"))
    needed = {re.match(r"[\w.-]+", r)[0] for part in (project["dependencies"], *extras) for r in part}
    modules: dict[str, set[str]] = {}
    for module, names in metadata.packages_distributions().items():
        for name in names:
            modules.setdefault(re.sub(r"[-_.]+", "-", name).lower(), set()).add(module)
    used = set().union(*(imported(p.read_text()) for p in (ROOT / "is2ice").rglob("*.py")))
    unused = {n for n in needed if not used & (modules.get(n.lower(), set()) | {n, n.replace("-", "_")})}
    assert unused == NOT_IMPORTED.keys()


def test_the_lock_names_no_host():
    for path in (ROOT / "cluster").glob("*.lock"):
        assert "://" not in path.read_text()


@pytest.mark.slow
def test_horovod_reduces_over_two_ranks(tmp_path):
    script = tmp_path / "ranks.py"
    script.write_text(
        "import horovod.tensorflow as hvd, tensorflow as tf\n"
        "hvd.init()\n"
        "total = hvd.allreduce(tf.constant([1.0 + hvd.rank()]), op=hvd.Sum)\n"
        "print('rank', hvd.rank(), 'of', hvd.size(), 'sum', float(total[0]), flush=True)\n"
    )
    program = Path(sys.executable).with_name("horovodrun")
    if not program.exists():
        pytest.skip("horovodrun is not installed beside this Python")
    run = subprocess.run(
        [program, "-np", "2", "--gloo", sys.executable, str(script)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    for rank in (0, 1):
        assert f"rank {rank} of 2 sum 3.0" in run.stdout


def test_the_conda_recipe_needs_what_the_package_needs() -> None:
    """Names and lower bounds of the recipe are those of pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    text = (ROOT / "cluster" / "conda" / "recipe.yaml").read_text()
    run = re.findall(r"^    - (\S+) (>=\S+)$", text.split("  run:\n")[1].split("\ntests:")[0], re.MULTILINE)
    wanted = {re.split(r"[>\[]", d)[0].replace("_", "-"): d[d.index(">") :] for d in project["dependencies"]}
    wanted = {"dask-core" if n == "dask" else n: b for n, b in wanted.items()} | {
        "distributed": wanted["dask"]
    }
    assert dict(run) == wanted | {"python": project["requires-python"]}
    assert f'version: "{project["version"]}"' in text

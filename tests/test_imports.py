"""The direction of imports, and what ``import is2ice`` does not load."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "is2ice"

#: Each room and the rooms it may import. A room not named here must be given its place.
#: The vocabulary, and the measures that the twin and the classifiers count alike.
VOCABULARY = {"schema", "errors", "measures", "__init__"}
SCIENCE = {
    "segments", "firstphoton", "_kernels",
    "seasurface", "leads", "_windows", "freeboard",
    "labels", "drift", "corrections", "_raster", "_match",
    "features", "_columns", "_light", "grid", "thickness", "icestats", "density",
}  # fmt: skip
#: Readers of photons hand them to the resampler block by block, so that memory stays bounded.
READERS = {
    "atl03", "identity", "geolocation", "remote", "cube", "chunks", "backend", "streaming", "h5walk", "byteindex",
    "access", "earthdata",
}  # fmt: skip
STORES = {"store", "_folder", "_stored", "_published", "_target", "_versions", "declarations", "cf"}
OTHER_IO = {
    "products", "sentinel2", "s2classes", "s2driver", "s2item", "s2tiles", "cloudfilter", "catalog", "endpoints",
}  # fmt: skip
TOP = {
    "pipeline", "runs", "records", "blocks", "block_classes", "stored_tracks", "report", "bench", "scaling",
    "label_run", "options", "opening", "receipts", "progress", "plot", "versions", "__main__", "footprints", "pairing",
    "labelling", "labels_cli", "unet_cli", "plot_labels", "plot_scores", "training_data",
    "snowmodels",
    "mapping", "plot_maps", "compare", "compare_report", "plot_compare", "docs", "product_checks", "paper", "stats_cli",
    "train", "reclassify", "models_cli",
    "publishing", "publish_cli", "results_stac", "granules", "orders", "orbits", "seas", "search_cli", "accessor",
    "export", "_icechunk", "_index", "printed",
}  # fmt: skip
GROUPS = [
    (VOCABULARY, VOCABULARY),
    (SCIENCE, VOCABULARY | SCIENCE),
    (READERS, VOCABULARY | READERS | {"segments", "firstphoton", "_kernels"}),
    (STORES, VOCABULARY | STORES | {"remote", "access"}),
    (OTHER_IO, VOCABULARY | OTHER_IO | {"remote"}),
    ({"classifiers"}, VOCABULARY | {"features", "_light", "firstphoton"}),
    ({"engines"}, set()),
    (TOP, VOCABULARY | SCIENCE | READERS | STORES | OTHER_IO | {"classifiers", "engines"} | TOP),
    # The twin makes products; it takes names from the vocabulary, never from a stage it is to judge.
    ({"twin"}, VOCABULARY | {"versions"}),
]
MAY = {room: set(allowed) for rooms, allowed in GROUPS for room in rooms}
MAY["__main__"].add("twin")
#: A search may be asked along a track, and only the joining rooms can open one.
MAY["catalog"].add("footprints")
#: The twin's own commands join rooms as ``__main__`` does.
COMMANDS = {"twin/cli.py", "twin/demo.py", "bench.py"}
#: Pages are built from everything.
MAY["docs"] |= {"__main__", "__init__"}
#: Science works on arrays: no files, no engines, no pictures. Lazy arrays are arrays, so dask itself may be
#: imported inside a function that is handed some; never at the top of a module, and never its scheduler.
FORBIDDEN_IN_SCIENCE = (
    "h5py",
    "h5netcdf",
    "zarr",
    "fsspec",
    "rasterio",
    "distributed",
    "pyspark",
    "matplotlib",
)


def modules() -> list[Path]:
    return sorted(p for p in PACKAGE.rglob("*.py"))


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    """Absolute names of everything a module imports, anywhere but under TYPE_CHECKING."""
    tree = ast.parse(path.read_text())
    package = ["is2ice", *path.relative_to(PACKAGE).parts[:-1]]
    skipped: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            skipped |= {inner for child in node.body for inner in ast.walk(child)}
    found: set[str] = set()
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            stem = ".".join([*base, *([node.module] if node.module else [])])
            found |= {f"{stem}.{alias.name}" for alias in node.names}
    return found


def rooms_imported(path: Path) -> set[str]:
    names = {p.stem if p.is_file() else p.name for p in PACKAGE.iterdir()}
    out = set()
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "is2ice":
            out.add(parts[1] if len(parts) > 1 and parts[1] in names else "__init__")
    return out


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_run_one_way(path: Path) -> None:
    assert room(path) in MAY, f"{room(path)}: give the new room its place in the direction of imports"
    place = str(path.relative_to(PACKAGE))
    allowed = MAY["__main__"] if place in COMMANDS else MAY[room(path)]
    wrong = rooms_imported(path) - allowed - {room(path)}
    if place == "__init__.py":
        wrong = set()  # the public face imports lazily, whatever it names
    assert not wrong, f"{path.name} imports {', '.join(sorted(wrong))}"


def test_the_check_itself_sees_imports() -> None:
    assert {"cf", "store", "engines"} <= rooms_imported(PACKAGE / "pipeline.py")
    assert "classifiers" in rooms_imported(PACKAGE / "pipeline.py")  # imported inside a function
    assert rooms_imported(PACKAGE / "engines" / "dask.py") <= {"engines"}


@pytest.mark.parametrize("name", sorted(SCIENCE))
def test_science_knows_no_files_and_no_engines(name: str) -> None:
    path = PACKAGE / f"{name}.py"
    if not path.exists():
        pytest.skip(f"{name} is not written yet")
    used = {n.split(".")[0] for n in imports(path)}
    assert not used & set(FORBIDDEN_IN_SCIENCE)
    top = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.Import | ast.ImportFrom)]
    assert not [ast.unparse(node) for node in top if "dask" in ast.unparse(node)]


HEAVY = (
    "dask",
    "distributed",
    "pyspark",
    "tensorflow",
    "keras",
    "matplotlib",
    "zarr",
    "h5py",
    "numba",
    "xarray",
)


def test_import_is_light() -> None:
    code = (
        "import sys, time; t = time.perf_counter(); import is2ice; s = time.perf_counter() - t; "
        f"print(s, *[m for m in {HEAVY!r} if m in sys.modules])"
    )
    results = []
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        seconds, *loaded = done.stdout.split()
        assert loaded == []
        results.append(float(seconds))
    print(f"import is2ice: {min(results):.4f} s")
    assert min(results) < 0.5


def test_the_schema_alone_loads_no_engine() -> None:
    code = (
        "import sys; import is2ice.schema, is2ice.engines; "
        "print(*[m for m in ('dask', 'distributed', 'pyspark', 'tensorflow', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []

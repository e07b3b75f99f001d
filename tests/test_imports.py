"""The direction of imports, and what ``import is2ice`` does not load."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "is2ice"

#: The rooms, lowest first. A module imports from its own room and from rooms above it in this list, nothing else.
ROOMS = [
    "errors",
    "version",
    "schema",
    "engines",
    "io.urls",
    "io.documents",
    "science",
    "io.remote",
    "io.stores",
    "io.icesat2",
    "io.publishing",
    "io.catalogs",
    "classifiers",
    "sentinel2",
    "workflows",
    "reports",
    "cli",
]
#: Engines know nothing of the package but errors; the twin knows words, metrics and geometry, never a stage
#: that it judges.
ONLY = {
    "engines": {"engines", "errors"},
    "twin": {
        "twin",
        "schema",
        "errors",
        "version",
        "science.metrics",
        "science.epoch",
        "science.footprints",
    },
}
#: Seen by the command line alone.
CLI_SEES = {"twin"}
#: Science works on arrays and Datasets: no files, no engines, no pictures.
FORBIDDEN_IN_SCIENCE = {
    "h5py",
    "h5netcdf",
    "zarr",
    "fsspec",
    "rasterio",
    "distributed",
    "pyspark",
    "matplotlib",
}


def modules(package: Path = PACKAGE) -> dict[str, Path]:
    """Dotted name below the package, such as ``io.urls``, of every module."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        name = ".".join(path.relative_to(package).with_suffix("").parts).removesuffix("__init__").rstrip(".")
        found[name] = path
    return found


def room(module: str) -> str:
    """Room of a module: the longest of the rooms' names that it begins with; "" for the face of the package."""
    names = [name for name in (*ROOMS, *ONLY) if module == name or module.startswith(name + ".")]
    return max(names, key=len, default="")


def imports(module: str, path: Path, package: str = "is2ice") -> Iterator[str]:
    """Absolute names of everything a module imports: at its head, inside functions, for types only."""
    here = [
        package,
        *([p for p in module.split(".") if p] if path.name == "__init__.py" else module.split(".")[:-1]),
    ]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = here[: len(here) - node.level + 1] if node.level else []
            stem = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{stem}.{alias.name}" for alias in node.names)


def own_imports(module: str, known: dict[str, Path]) -> set[str]:
    """Modules of the package that a module imports."""
    found = set()
    for name in imports(module, known[module]):
        parts = name.split(".")
        if parts[0] == "is2ice":
            below = [".".join(parts[1:n]) for n in range(len(parts), 0, -1)]
            found.add(next(b for b in below if b in known))
    return found - {module}


def upward(known: dict[str, Path]) -> list[str]:
    """Imports that run against the list of rooms."""
    wrong = []
    for module in known:
        mine = room(module)
        if not mine:
            continue  # the face imports lazily, whatever it names; package heads of several rooms hold nothing
        for other in sorted(own_imports(module, known)):
            theirs = room(other)
            if mine in ONLY:
                fine = theirs == mine or any(other == o or other.startswith(o + ".") for o in ONLY[mine])
            elif theirs in CLI_SEES:
                fine = mine == "cli"
            else:
                fine = theirs in ROOMS and ROOMS.index(theirs) <= ROOMS.index(mine)
            if not fine:
                wrong.append(f"{module} imports {other}")
    return wrong


def circles(known: dict[str, Path]) -> list[str]:
    """Circles between modules, each as the modules of one strongly connected part (Tarjan's algorithm)."""
    edges = {m: own_imports(m, known) - {""} for m in known if m}
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[str] = []

    def visit(m: str) -> None:
        index[m] = low[m] = len(index)
        stack.append(m)
        for other in sorted(edges[m]):
            if other not in index:
                visit(other)
                low[m] = min(low[m], low[other])
            elif other in stack:
                low[m] = min(low[m], index[other])
        if low[m] == index[m]:
            part = []
            while not part or part[-1] != m:
                part.append(stack.pop())
            if len(part) > 1:
                found.append(" <-> ".join(sorted(part)))

    for m in sorted(edges):
        if m not in index:
            visit(m)
    return found


def test_every_module_has_a_room() -> None:
    homeless = [m for m in modules() if not room(m) and m not in ("", "io", "__main__")]
    assert not homeless, f"give {', '.join(homeless)} a place in ROOMS"


def test_imports_run_one_way() -> None:
    wrong = upward(modules())
    assert not wrong, "\n".join(wrong)


def test_no_circle() -> None:
    assert not circles(modules())


def plant(folder: Path, **sources: str) -> dict[str, Path]:
    known = {"": folder / "__init__.py"}
    for module, source in sources.items():
        path = folder / f"{module}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
        known[module.replace("/", ".")] = path
    known[""].write_text("")
    return known


@pytest.mark.parametrize(
    "source",
    [
        "from is2ice.workflows.run import run\n",
        "def f():\n    from is2ice.workflows import run\n",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from ..workflows.run import run\n",
    ],
)
def test_an_upward_import_is_seen(tmp_path: Path, source: str) -> None:
    known = plant(tmp_path, **{"science/leads": source, "workflows/run": "def run(): ...\n"})
    assert upward(known) == ["science.leads imports workflows.run"]


def test_a_circle_is_seen(tmp_path: Path) -> None:
    known = plant(
        tmp_path,
        **{
            "science/a": "from .b import f\n",
            "science/b": "def f():\n    from is2ice.science.a import g\n",
            "science/c": "from .a import g\n",
        },
    )
    assert circles(known) == ["science.a <-> science.b"]


def test_the_twin_sees_no_stage_and_only_the_command_line_sees_the_twin(tmp_path: Path) -> None:
    known = plant(
        tmp_path,
        **{
            "twin/a": "from is2ice.science.metrics import f\nfrom is2ice.science.segments import g\n",
            "science/metrics": "",
            "science/segments": "",
            "workflows/run": "from is2ice.twin import a\n",
            "cli/demo": "from is2ice.twin import a\n",
        },
    )
    assert upward(known) == ["twin.a imports science.segments", "workflows.run imports twin.a"]


def private_names(known: dict[str, Path], package: str = "is2ice") -> list[str]:
    """Uses of a private name of another module: imported, or taken as an attribute of an imported module.

    A module whose own name is private may be imported within its package.
    """
    found = []
    for module, path in known.items():
        here = path.parent
        named: set[str] = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.level or (node.module or "").startswith(package)):
                near = node.level == 1
                parts = [*(node.module or "").split("."), *(alias.name for alias in node.names)]
                for part in parts:
                    sibling = near and ((here / f"{part}.py").exists() or (here / part).is_dir())
                    if part.startswith("_") and not part.startswith("__") and not sibling:
                        found.append(f"{module} imports {part} of {node.module or '.'}")
                named |= {alias.asname or alias.name for alias in node.names}
            elif isinstance(node, ast.Import):
                named |= {
                    alias.asname for alias in node.names if alias.name.startswith(package) and alias.asname
                }
            elif (
                isinstance(node, ast.Attribute)
                and isinstance(node.value, ast.Name)
                and node.value.id in named
            ):
                if node.attr.startswith("_") and not node.attr.startswith("__"):
                    found.append(f"{module} takes {node.value.id}.{node.attr}")
    return found


def test_no_private_name_crosses_modules() -> None:
    assert not private_names(modules())


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("from .leads import _hidden\n", "science.a imports _hidden of leads"),
        (
            "def f():\n    from is2ice.science.leads import _hidden\n",
            "science.a imports _hidden of is2ice.science.leads",
        ),
        ("from is2ice.engines import _common\n", "science.a imports _common of is2ice.engines"),
        ("from is2ice.engines._common import cpus\n", "science.a imports _common of is2ice.engines._common"),
        ("from . import leads\nleads._hidden\n", "science.a takes leads._hidden"),
        ("import is2ice.science.leads as l\nl._hidden()\n", "science.a takes l._hidden"),
    ],
)
def test_a_private_name_of_another_module_is_seen(tmp_path: Path, source: str, found: str) -> None:
    assert private_names(plant(tmp_path, **{"science/a": source, "science/leads": ""})) == [found]


def layout_kept(path: Path) -> Iterator[int]:
    """Lines that keep a layout of their own and do not stand in a table of numbers."""
    text = path.read_text()
    if "# fmt: skip" not in text:
        return
    nodes: list[Any] = [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.stmt)]
    nodes += [d for n in nodes for d in getattr(n, "decorator_list", [])]
    for k, line in enumerate(text.splitlines(), 1):
        if line.endswith("# fmt: skip"):
            node = max((n for n in nodes if n.lineno <= k <= n.end_lineno), key=lambda n: n.lineno)
            leaves = [n for n in ast.walk(node) if isinstance(n, ast.Constant | ast.Name)]
            numbers = [n for n in leaves if isinstance(n, ast.Constant) and type(n.value) in (int, float)]
            if len(numbers) < max(12, len(leaves) / 2):
                yield k


def test_the_formatter_wins_but_in_tables_of_numbers(tmp_path: Path) -> None:
    root = PACKAGE.parent
    found = {
        p.relative_to(root): [*layout_kept(p)] for f in ("is2ice", "tests") for p in (root / f).rglob("*.py")
    }
    assert not {k: v for k, v in found.items() if v}
    (tmp_path / "a.py").write_text(
        f"a = [\n    x, y,\n]  # fmt: skip\nb = [\n    {'1, ' * 12}\n]  # fmt: skip\n"
    )
    assert list(layout_kept(tmp_path / "a.py")) == [3]


@pytest.mark.parametrize("module", [m for m in modules() if m.startswith("science.")])
def test_science_knows_no_files_and_no_engines(module: str) -> None:
    path = modules()[module]
    names = list(imports(module, path))
    assert not {n.split(".")[0] for n in names} & FORBIDDEN_IN_SCIENCE
    assert not [n for n in names if n.startswith("is2ice.engines")]
    # Lazy arrays are arrays: dask may be imported inside a function that is handed some, not at the head.
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


def loaded_by(code: str) -> set[str]:
    show = f"; import sys; print(*[m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code + show], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_import_is_light() -> None:
    assert loaded_by("import is2ice") == set()


def test_the_schema_and_the_engines_load_no_engine() -> None:
    assert not loaded_by("import is2ice.schema, is2ice.engines") & {
        "dask",
        "pyspark",
        "tensorflow",
        "matplotlib",
    }


def test_a_granule_is_described_without_the_compiler() -> None:
    assert "numba" not in loaded_by("import is2ice.io.icesat2.atl03, is2ice.science.seasurface")


def test_a_granule_is_shown_without_xarray() -> None:
    granule = next((Path(__file__).parents[1] / "sample_data").glob("ATL03*.h5"))
    code = f"from is2ice.cli.show import _describe_granule; _describe_granule({str(granule)!r}, False)"
    assert not loaded_by(code) & {"xarray", "numba", "dask"}


def test_areas_load_no_reader_of_files() -> None:
    assert "h5py" not in loaded_by("import is2ice.io.catalogs.seas")


def test_every_module_has_a_place_in_the_tests() -> None:
    """A module is tested by a file of its name, or ``tests/README.md`` names the file, in its room's line."""
    tests = Path(__file__).parent
    files = {path.name for path in tests.rglob("test_*.py")}
    listed = set()
    for line in (tests / "README.md").read_text().splitlines():
        if line.startswith("| ") and not line.startswith("| room"):
            place, file, names = (cell.strip() for cell in line.strip("|").split("|"))
            assert file.strip("`") in files, f"{file} is not there"
            folder = "" if place == "(top)" else place + "/"
            listed |= {f"{folder}{name.strip().strip('`')}" for name in names.split(",")}
    found = {str(path.relative_to(PACKAGE).with_suffix("")) for path in PACKAGE.rglob("*.py")}
    found = {name for name in found if not Path(name).name.startswith("__")}
    own = {name for name in found if (tests / Path(name).parent / f"test_{Path(name).name}.py").is_file()}
    assert listed - found == set(), "in the list, but no modules"
    assert found - own - listed == set(), "neither a file of their name nor a line in the list"
    assert listed & own == set(), "in the list in vain: they have a file of their name"

"""The wheel in empty environments: alone, with each extra alone, with all; sizes, and messages for what is missing.

    python benchmarks/extras.py [--python 3.11] [--python 3.13] [--only base,plot] [--folder build/extras]

Needs ``uv``. Environments are removed after their row. Sizes are of installed files, without compiled modules. Horovod
is left out: it is built against the TensorFlow of its environment, which is what ``make env`` does.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

#: Modules of an extra that :data:`is2ice.errors.EXTRAS` does not hold.
FURTHER = {
    "fsspec": ["s3fs"],
    "ml": ["dask.dataframe", "sklearn"],
    "serve": ["rustac", "RangeHTTPServer"],
}
#: A command that needs the extra; {granule}, {labelled} and {folder} are of the sample.
NEEDS = {
    "plot": "quicklook {labelled} gt2r --granule {name} --out a.png",
    "tables": "export {labelled} --granule {name} --out a.parquet",
    "explore": "explore {labelled}",
    "earthdata": "search ross_sea 2019-11-01 2019-11-30",
    "stac": "publish {labelled} published",
    "tensorflow": "train {folder}/train.toml --out model",
    "horovod": "train {folder}/train.toml --out model --replicas 2",
    "spark": "run {granule} --store s.zarr --engine spark",
    "gateway": "run {granule} --store s.zarr --engine gateway",
    "virtual": "publish {labelled} ice --icechunk",
    "serve": "twin serve {folder} --seconds 1",
    "fsspec": "show s3://bucket/store",
}
#: Extras whose command ends by itself, without a network and in seconds.
RUNS = "plot", "tables", "explore", "stac", "virtual", "serve"
#: Print versions, what each extra lacks, and what stops the import of its modules.
PROBE = """
import importlib, json, sys
import is2ice
from is2ice.errors import EXTRAS
wanted, further, extra = {}, json.loads(sys.argv[1]), sys.argv[2]
for package, (_, of) in EXTRAS.items():
    wanted.setdefault(of, []).append(package)
for of, more in further.items():
    wanted.setdefault(of, []).extend(more)
failed = []
for module in [m for of, ms in wanted.items() if extra in (of, "all") for m in ms]:
    try:
        importlib.import_module(module)
    except ImportError as error:
        failed.append(f"{module}: {error}")
print(json.dumps({"version": is2ice.__version__, "failed": failed, "sample": str(is2ice.sample("folder"))}))
"""


def call(*words: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
    """Run a program without this checkout on the path of modules."""
    own = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    own |= {
        "PYTHONDONTWRITEBYTECODE": "1",
        "AWS_PROFILE": "nobody",
        "UV_LINK_MODE": "hardlink",
        "COLUMNS": "300",
    }
    return subprocess.run(list(words), capture_output=True, text=True, env=own, timeout=900, **options)  # type: ignore[call-overload, no-any-return]


def megabytes(folder: Path) -> tuple[float, int]:
    """Return the size of installed files in MB, and the number of distributions."""
    files = [p for p in folder.rglob("*") if p.is_file() and p.suffix != ".pyc" and not p.is_symlink()]
    return sum(p.stat().st_size for p in files) / 1e6, len({p.parent for p in files if p.name == "METADATA"})


def install(uv: str, python: str, folder: Path, requirement: str) -> float:
    """Make an environment with one requirement; return the seconds."""
    shutil.rmtree(folder, ignore_errors=True)
    start = time.perf_counter()
    for words in (
        (uv, "venv", "-q", "--python", python, folder),
        (uv, "pip", "install", "-q", "--python", folder / "bin" / "python", requirement),
    ):
        done = call(*words)
        if done.returncode:
            raise RuntimeError(done.stderr.strip()[-600:])
    return time.perf_counter() - start


def try_commands(folder: Path, sample: str, extras: Sequence[str]) -> None:
    """Print exit status and last line of the commands that need some extras: the message where one is missing."""
    where = {
        "granule": next(Path(sample).glob("ATL03_*.h5")),
        "labelled": Path(sample) / "labelled.zarr",
        "folder": sample,
        "name": next(Path(sample).glob("ATL03_*.h5")).stem,
    }
    for extra in (e for e in extras if e in NEEDS):
        words = NEEDS[extra].format(**where).split()
        done = call(folder / "bin" / "is2ice", *words, cwd=folder)
        last = ((done.stderr if done.returncode else done.stdout).strip().splitlines() or ["no message"])[-1]
        last = last.replace(f"{folder}/", "")
        print(f"    {extra:11} exit {done.returncode}  {' '.join(words[:1])}: {last}", flush=True)


def main() -> None:
    """Print one row for each environment."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--python", action="append", help="version or interpreter, as uv finds it; repeatable"
    )
    parser.add_argument("--only", default="", help="base, all, or extras, separated by commas")
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "extras")
    asked = parser.parse_args()
    beside = Path(sys.executable).with_name("uv")
    uv = str(beside) if beside.exists() else "uv"
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    extras = [e for e in declared if e not in ("test", "docs", "all", "horovod")]
    folder = (asked.folder / str(os.getpid())).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    built = call(uv, "build", "-q", "--wheel", "-o", folder / "wheel", ROOT)
    if built.returncode:
        raise SystemExit(built.stderr)
    wheel = next((folder / "wheel").glob("is2ice-*.whl"))
    print(f"{wheel.name}: {wheel.stat().st_size / 1e6:.1f} MB")
    chosen = re.findall(r"[\w-]+", asked.only) or ["base", *extras, "all"]
    for python in asked.python or [sys.executable]:
        for extra in chosen:
            place = folder / f"env-{Path(python).name}"
            try:
                seconds = install(uv, python, place, str(wheel) + (f"[{extra}]" if extra != "base" else ""))
            except RuntimeError as error:
                print(f"{Path(python).name:11} {extra:11} NOT INSTALLED: {error}", flush=True)
                continue
            size, count = megabytes(place)
            done = call(place / "bin" / "python", "-c", PROBE, json.dumps(FURTHER), extra, cwd=place)
            found = json.loads(done.stdout) if done.returncode == 0 else {"failed": [done.stderr[-300:]]}
            version = call(place / "bin" / "python", "-V").stdout.split()[-1]
            state = "; ".join(found["failed"]) or "its packages import"
            print(
                f"{version:8} {extra:11} {size:6.0f} MB {count:4} packages  {seconds:4.0f} s  {state}",
                flush=True,
            )
            if "sample" in found:
                tried = {"base": [*extras, "horovod"], "all": RUNS}.get(
                    extra, [e for e in RUNS if e == extra]
                )
                try_commands(place, found["sample"], tried)
            shutil.rmtree(place)
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()

"""Command ``is2ice doctor``."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from .console import AsJson, out, print_json

__all__ = ["app", "findings"]

app = typer.Typer(add_completion=False)


class Finding(NamedTuple):
    """A line of the report: what was looked at, if it is well, and what was found or what to do."""

    what: str
    ok: bool
    text: str


@app.command(epilog="Example: is2ice doctor --json")
def doctor(
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 if anything is missing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Check this installation: versions, extras, login, cache, disk and configuration."""
    found = list(findings())
    if as_json:
        print_json([one._asdict() for one in found])
    else:
        for one in found:
            out.print(f"{'ok' if one.ok else '--':3} {one.what:14} {one.text}")
    if strict and not all(one.ok for one in found):
        raise typer.Exit(1)


def findings() -> Iterator[Finding]:
    """Look at the installation; nothing heavy is imported, and no server is asked."""
    from is2ice.version import versions

    table = versions()
    yield Finding("is2ice", True, f"{table['is2ice']} in {Path(__file__).resolve().parents[1]}")
    yield Finding(
        "python", (3, 11) <= sys.version_info[:2] <= (3, 13), f"{table['python']} (3.11 to 3.13 are tested)"
    )
    core = "numpy", "xarray", "zarr", "h5py", "dask"
    yield Finding("core", all(table[n] != "-" for n in core), ", ".join(f"{n} {table[n]}" for n in core))
    yield from _extras()
    yield _login()
    yield _cache()
    yield _disk()
    yield _sample()
    yield _configuration()


def _extras() -> Iterator[Finding]:
    from is2ice.errors import EXTRAS, installed

    by_extra: dict[str, list[str]] = {}
    for package, (_, extra) in EXTRAS.items():
        by_extra.setdefault(extra, []).append(package)
    for extra, packages in by_extra.items():
        missing = [p for p in packages if not installed(p)]
        text = (
            f"{', '.join(missing)} missing: pip install 'is2ice[{extra}]'" if missing else ", ".join(packages)
        )
        yield Finding(f"[{extra}]", not missing, text)


def _login() -> Finding:
    if os.environ.get("EARTHDATA_TOKEN"):
        return Finding("login", True, "EARTHDATA_TOKEN is set")
    if os.environ.get("EARTHDATA_USERNAME") and os.environ.get("EARTHDATA_PASSWORD"):
        return Finding("login", True, "EARTHDATA_USERNAME and EARTHDATA_PASSWORD are set")
    netrc = Path(os.environ.get("NETRC", "~/.netrc")).expanduser()
    if netrc.is_file() and "urs.earthdata.nasa.gov" in netrc.read_text(errors="replace"):
        return Finding("login", True, f"{netrc} has an entry for urs.earthdata.nasa.gov")
    return Finding(
        "login", False, "no Earthdata login: set EARTHDATA_TOKEN, or write ~/.netrc; only downloads need it"
    )


def _cache() -> Finding:
    from is2ice.io.remote.byte_index import folder as index_folder

    folder = index_folder()
    if folder is None:
        return Finding(
            "cache", True, "no index of remote granules is kept (IS2ICE_INDEX=0, or no home folder)"
        )
    size = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) if folder.is_dir() else 0
    return Finding("cache", os.access(_existing(folder), os.W_OK), f"{folder}, {size / 1e6:.1f} MB")


def _existing(folder: Path) -> Path:
    return next(p for p in (folder, *folder.resolve().parents) if p.exists())


def _disk() -> Finding:
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    return Finding(
        "disk", free > 1.0, f"{free:.1f} GB free in {Path.cwd()}; a granule's store takes about 0.1 GB"
    )


def _sample() -> Finding:
    from is2ice.io.icesat2.sample import sample

    try:
        return Finding("sample", True, str(sample("folder")))
    except FileNotFoundError as error:
        return Finding("sample", False, str(error))


def _configuration() -> Finding:
    from .settings import configuration, configuration_file

    try:
        path, table = configuration_file(), configuration()
    except (FileNotFoundError, ValueError) as error:
        return Finding("configuration", False, str(error))
    return Finding("configuration", True, f"{path}: {', '.join(table)}" if path else "no is2ice.toml here")

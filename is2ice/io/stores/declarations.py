"""Declarations of published stores: what each is called, holds, allows and asks for, one TOML file a store."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from is2ice.errors import StoreError
from is2ice.io.documents import read_toml

__all__ = ["Declaration", "credit", "declarations", "find_declaration", "who"]


@dataclass(frozen=True)
class Declaration:
    """A store as its makers declare it.

    Attributes
    ----------
    name : str
        Name of the file.
    title, description : str
    url : str
        Address of the published store; empty before it is published.
    schema_version : str
    recipe : str
        The script that makes it.
    licence : str
        SPDX identifier.
    citation : str
    update : str
        When and how the store changes.
    region : tuple of float
        West, south, east, north, degrees; west > east crosses the antimeridian.
    time : tuple of str
        First and last day.
    creator, publisher : str
        ``Name <address> (URL)``; of these the address and URL may be absent.
    institution : str
    """

    name: str
    title: str
    schema_version: str
    recipe: str
    licence: str
    citation: str
    update: str
    description: str = ""
    url: str = ""
    region: tuple[float, ...] = ()
    time: tuple[str, ...] = ()
    creator: str = ""
    publisher: str = ""
    institution: str = ""


#: A person or body: name, electronic address, home page.
_WHO = re.compile(r"\s*(?P<name>[^<(]*?)\s*(?:<(?P<email>[^>]*)>)?\s*(?:\((?P<url>[^)]*)\))?\s*")


def who(text: str) -> dict[str, str]:
    """Split ``Name <address> (URL)`` into name, email and url, as far as given.

    Raises
    ------
    StoreError
        Not of this form.
    """
    found = _WHO.fullmatch(text)
    if found is None or (text.strip() and not found["name"]):
        raise StoreError(f"{text!r}: expected a name, or Name <address> (URL)")
    return {key: value for key, value in found.groupdict().items() if value}


def credit(declaration: Declaration | None = None) -> dict[str, str]:
    """Who made the data, who publishes them and how they may be used, as ACDD-1.3 has it.

    Parameters
    ----------
    declaration : Declaration, optional
        Empty fields are taken from ``IS2ICE_CREATOR``, ``IS2ICE_PUBLISHER`` (both ``Name <address> (URL)``),
        ``IS2ICE_INSTITUTION`` and ``IS2ICE_LICENCE``; what these leave open too is left out.

    Returns
    -------
    dict
    """

    def named(name: str) -> str:
        return (getattr(declaration, name) if declaration else "") or os.environ.get(
            f"IS2ICE_{name.upper()}", ""
        )

    out = {f"{role}_{k}": v for role in ("creator", "publisher") for k, v in who(named(role)).items()}
    out |= {"institution": named("institution"), "license": named("licence")}
    return {key: value for key, value in out.items() if value}


PACKAGE = Path(__file__).resolve().parents[2]


def _folder() -> Path:
    named = os.environ.get("IS2ICE_STORES")
    if named:
        return Path(named)
    installed = PACKAGE / "_stores"
    return installed if installed.is_dir() else PACKAGE.parent / "stores"


def declarations(folder: str | os.PathLike[str] | None = None) -> dict[str, Declaration]:
    """All declarations of a folder, by name.

    Parameters
    ----------
    folder : path, optional
        By default that of ``IS2ICE_STORES``, else the package's own.

    Raises
    ------
    StoreError
        A declaration that lacks something, or says what is not known.
    """
    where = Path(folder) if folder is not None else _folder()
    if not where.is_dir():
        raise StoreError(f"{where}: no such folder of store declarations")
    return {path.stem: _read(path) for path in sorted(where.glob("*.toml"))}


def find_declaration(
    which: Declaration | str | os.PathLike[str], folder: str | os.PathLike[str] | None = None
) -> Declaration:
    """Return a declaration given by its name, by the path of its file, or as such.

    Parameters
    ----------
    which : Declaration, str or path
        A path ends in ``.toml``.
    folder : path, optional
        Folder in which names are looked up (:func:`declarations`).

    Raises
    ------
    StoreError
        No declaration of this name, or a file that is none.
    """
    if isinstance(which, Declaration):
        return which
    name = os.fspath(which)
    if name.endswith(".toml"):
        return _read(Path(name))
    known = declarations(folder)
    if name not in known:
        raise StoreError(f"no store is declared as {name!r}; known are {', '.join(known) or 'none'}")
    return known[name]


def _read(path: Path) -> Declaration:
    try:
        table = read_toml(path, error=StoreError)
    except FileNotFoundError:
        raise StoreError(f"{path}: no such file; expected a declaration of a store") from None
    known = {f.name for f in fields(Declaration)} - {"name"}
    needed = {"title", "schema_version", "recipe", "licence", "citation", "update"}
    lacks, other = sorted(needed - table.keys()), sorted(table.keys() - known)
    if lacks or other:
        said = [f"lacks {', '.join(lacks)}"] if lacks else []
        said += [f"has unknown {', '.join(other)}"] if other else []
        raise StoreError(f"{path}: the declaration {' and '.join(said)}; expected {', '.join(sorted(known))}")
    given: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in table.items()}
    return Declaration(name=path.stem, **given)

"""Parts that all commands share: consoles, JSON, tables, and records of flags."""

from __future__ import annotations

import functools
import inspect
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer
from rich.console import Console
from rich.table import Table

__all__ = [
    "AreaFlag",
    "AsJson",
    "Bbox",
    "Km",
    "cell",
    "check_picture",
    "err",
    "expand_flags",
    "json_text",
    "names",
    "out",
    "print_json",
    "print_table",
    "progress",
    "scrubbed",
    "state",
]

# No markup: the output holds names of files, and a name such as [a].h5 is not a style.
out = Console(soft_wrap=True, highlight=False, markup=False)
err = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Bbox = Annotated[
    tuple[float, float, float, float] | None,
    typer.Option("--bbox", metavar="W S E N", help="Degrees; west > east crosses the antimeridian."),
]
AreaFlag = Annotated[
    str | None, typer.Option("--area", help="A named sea, or a file of polygons (GeoJSON, GeoPackage, ...).")
]
Km = Annotated[
    tuple[float, float] | None,
    typer.Option("--km", metavar="FROM TO", help="Part to draw, km from the start of the track."),
]


@dataclass
class State:
    """State of the program.

    Attributes
    ----------
    debug, quiet : bool
        Set by the options of these names.
    next : str
        Next step that a command names; without one, the step of the table of commands is printed.
    """

    debug: bool = False
    quiet: bool = False
    next: str = ""


state = State()


def expand_flags(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command one flag per field of each parameter that is a dataclass.

    The fields are annotated as parameters of a Typer command are, and the command gets the records filled.
    """
    hints = get_type_hints(command, include_extras=True)
    records = {name: kind for name, kind in hints.items() if inspect.isclass(kind) and is_dataclass(kind)}
    parameters: list[inspect.Parameter] = []
    for p in inspect.signature(command).parameters.values():
        if p.name not in records:
            parameters.append(p.replace(kind=p.KEYWORD_ONLY, annotation=hints[p.name]))
            continue
        inner = get_type_hints(records[p.name], include_extras=True)
        for f in fields(records[p.name]):
            default = p.empty if f.default is MISSING else f.default
            parameters.append(
                inspect.Parameter(f.name, p.KEYWORD_ONLY, default=default, annotation=inner[f.name])
            )

    @functools.wraps(command)
    def call(**given: Any) -> None:
        made = {
            name: kind(**{f.name: given.pop(f.name) for f in fields(kind)}) for name, kind in records.items()
        }
        command(**given, **made)

    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    call.__annotations__ = {p.name: p.annotation for p in parameters}
    return call


def names(text: str) -> tuple[str, ...]:
    """Split names at commas."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def check_picture(path: str) -> None:
    """Refuse a picture that cannot be drawn or written, before the work.

    Raises
    ------
    MissingExtraError
        No matplotlib.
    ValueError
        Another ending than that of a picture, or no such folder.
    """
    from is2ice.errors import require
    from is2ice.io.remote.location import is_url
    from is2ice.io.remote.whole_files import suffix

    if suffix(path) not in (".png", ".pdf", ".svg", ".jpg"):
        raise ValueError(f"{path}: expected a picture ending in .png, .pdf, .svg or .jpg")
    if not is_url(path) and not Path(path).parent.is_dir():
        raise ValueError(f"{path}: no such folder as {Path(path).parent}")
    require("matplotlib")


def progress(as_json: bool) -> bool | None:
    """Return the choice of a progress bar: none beside JSON or if quiet, else one on a terminal."""
    return False if as_json or state.quiet else None


def scrubbed(text: str) -> str:
    """Remove the secrets of URLs from a text."""
    from is2ice.io.urls import scrub

    return scrub(text)


# -- JSON ---------------------------------------------------------------------------------------------
def print_json(document: Any) -> None:
    """Print a document as JSON, and nothing else, on standard output."""
    typer.echo(json_text(document))


def json_text(document: Any) -> str:
    """Write a document as strict JSON.

    Numbers that are not finite become null, arrays become lists, and other objects their text.

    Parameters
    ----------
    document : any
        Mappings, sequences, NumPy scalars and arrays, numbers, and objects that have a text.
    """
    return json.dumps(_plain(document), indent=1, allow_nan=False)


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):  # NumPy scalars and arrays
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(v) for v in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)


# -- tables -------------------------------------------------------------------------------------------
def print_table(rows: Sequence[Mapping[Any, Any]], columns: Sequence[str] | None = None) -> None:
    """Print rows as a table; by default with all columns of the first row."""
    columns = list(rows[0]) if columns is None else columns
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        numeric = any(isinstance(r.get(column), int | float) for r in rows)
        table.add_column(column, justify="right" if numeric else "left", no_wrap=True)
    for row in rows:
        table.add_row(*(cell(row.get(column)) for column in columns))
    # A file or pipe has no width to fit.
    width = None if out.is_terminal else max(out.width, 200)
    Console(width=width, highlight=False, markup=False).print(table)


def cell(value: Any) -> str:
    """Write a value of a table."""
    if value is None or value != value:  # NaN: not estimated
        return "-"
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    if isinstance(value, list):
        return " to ".join(map(cell, value))
    if isinstance(value, dict):
        return ", ".join(f"{k}: {cell(v)}" for k, v in value.items())
    return str(value)

"""Options from a configuration file and from the environment, the same for every command.

``is2ice.toml`` in the working folder, or the file that ``IS2ICE_CONFIG`` names, holds a table for each command::

    [run]
    engine = "processes"
    workers = 4

    [labels.many]
    scenes = "earth_search"

Every option also has an environment variable: ``IS2ICE_``, the command and the option, such as
``IS2ICE_RUN_ENGINE``. The command line takes precedence over the environment, and that over the file.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from is2ice.errors import DocumentError
from is2ice.io.documents import read_toml

__all__ = ["configuration", "configuration_file", "defaults", "name_variables"]


def configuration_file() -> Path | None:
    """Return the path of the configuration in use; None if there is none.

    Raises
    ------
    FileNotFoundError
        ``IS2ICE_CONFIG`` names no file.
    """
    if named := os.environ.get("IS2ICE_CONFIG"):
        if not Path(named).is_file():
            raise FileNotFoundError(f"IS2ICE_CONFIG={named}: no such file")
        return Path(named)
    here = Path("is2ice.toml")
    return here if here.is_file() else None


def configuration() -> dict[str, Any]:
    """Read the configuration; empty if there is none.

    Raises
    ------
    DocumentError
        A file that is not TOML.
    """
    path = configuration_file()
    if path is None:
        return {}
    return read_toml(path, error=DocumentError)


def defaults(command: Any, table: Any, where: str) -> dict[str, Any]:
    """Return the defaults of a command by the names of its parameters.

    Parameters
    ----------
    command : click command
    table : mapping
        Table of the configuration; keys are options without dashes, such as ``x-atc`` or ``x_atc``.
    where : str
        Name of the table, for messages.

    Raises
    ------
    ValueError
        A key that is no option of the command.
    """
    if not isinstance(table, Mapping):
        raise ValueError(f"{configuration_file()}: {where}: expected a table [{where}], got {table!r}")
    known = _inner(command) or _options(command)
    found = {}
    for key, value in table.items():
        name = str(key).replace("_", "-")
        if name not in known:
            raise ValueError(
                f"{configuration_file()}: [{where}] has no option {key!r}; expected some of {', '.join(sorted(known))}"
            )
        one = known[name]
        inner = hasattr(one, "params")
        found[one.name] = defaults(one, value, f"{where}.{name}") if inner else value
    return found


def name_variables(command: Any, path: str) -> None:
    """Give each option of a command its environment variable."""
    for name, option in _options(command).items():
        if option.envvar is None:
            option.envvar = f"IS2ICE_{path}_{name}".upper().replace("-", "_").replace(" ", "_")


def _inner(command: Any) -> dict[str, Any]:
    return dict(getattr(command, "commands", {}) or {})


def _options(command: Any) -> dict[str, Any]:
    """Options by their long name without dashes; ``--help`` is none of them."""
    return {
        spelled.removeprefix("--"): p
        for p in command.params
        for spelled in p.opts
        if spelled.startswith("--") and spelled != "--help"
    }

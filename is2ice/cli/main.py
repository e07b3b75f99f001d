"""Command line: ``is2ice`` or ``python -m is2ice``.

Exit codes: 0 success, 1 some tracks failed, 2 wrong usage or input, 3 an unexpected error, 130 interrupted.
"""

from __future__ import annotations

import importlib
import logging
import os
import sys
import traceback
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from is2ice.errors import Is2IceError, extra_hint

from .console import err, out, scrubbed, state

__all__ = ["COMMANDS", "app", "main"]

#: Commands, imported when named: name -> (module, attribute, help of a group).
COMMANDS = {
    "run": ("run", "app", ""),
    "show": ("show", "show_app", ""),
    "quicklook": ("show", "quicklook_app", ""),
    "convert": ("care", "convert_app", "Convert a store of an earlier is2ice."),
    "prune": ("care", "prune_app", "Remove replaced tracks that no version holds."),
    "verify": ("care", "verify_app", "Read a store whole and report damaged tracks."),
    "search": ("search", "app", ""),
    "labels": ("labels", "app", ""),
    "train": ("models", "train_app", ""),
    "classify": ("models", "classify_app", ""),
    "unet": ("unet", "app", ""),
    "classmaps": ("classmaps", "app", ""),
    "map": ("maps", "app", ""),
    "stats": ("stats", "app", ""),
    "compare": ("compare", "app", ""),
    "products": ("products", "app", ""),
    "report": ("report", "app", ""),
    "publish": ("publish", "publish_app", ""),
    "declarations": ("publish", "declarations_app", ""),
    "demo": ("demo", "app", ""),
    "twin": ("twin", "app", ""),
    "bench": ("bench", "app", "Measure and project the scaling of a run."),
    "docs": ("docs", "app", ""),
    "schema": ("show", "schema_app", ""),
    "versions": ("show", "versions_app", ""),
}
#: Commands that scripts may still call by an earlier name.
RENAMED = {"info": "show", "grid": "map"}


class _Lazy(TyperGroup):
    """A group that imports a command only when it is named, or when the help of all is asked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        cmd_name = RENAMED.get(cmd_name, cmd_name)
        if cmd_name not in COMMANDS:
            return None
        module, attribute, text = COMMANDS[cmd_name]
        home = importlib.import_module(f".{module}", __package__)
        command = typer.main.get_command(getattr(home, attribute))
        command.name, command.help = cmd_name, command.help or text
        return command


app = typer.Typer(
    cls=_Lazy,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="ICESat-2 ATL03 photons to 2 m sea-ice class, local sea surface and freeboard.\n\n"
    "Exit codes: 0 success, 1 some tracks failed, 2 wrong usage or input, 3 an unexpected error.",
    epilog="Example: is2ice run ATL03_20191104195311_05940510_006_01.h5 --store ross_sea.zarr",
)


class _Scrubbed(logging.Formatter):
    """Log lines without the secrets of URLs."""

    def format(self, record: logging.LogRecord) -> str:
        return scrubbed(super().format(record))


def _print_version(asked: bool) -> None:
    if asked:
        from is2ice.version import __version__

        out.print(__version__)
        raise typer.Exit


@app.callback()
def _common(
    debug: Annotated[bool, typer.Option("--debug", help="Print full tracebacks and log messages.")] = False,
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version and stop.", is_eager=True, callback=_print_version),
    ] = False,
) -> None:
    state.debug = debug
    handler = logging.StreamHandler()
    handler.setFormatter(_Scrubbed("%(name)s %(levelname)s: %(message)s"))
    logging.basicConfig(level=logging.INFO if debug else logging.WARNING, handlers=[handler])
    # By default Dask logs at INFO, here and in its workers: every start and end of a worker.
    os.environ.setdefault("DASK_LOGGING__DISTRIBUTED", "warning")
    # At import TensorFlow logs processors and libraries; only its errors concern a user.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "0" if debug else "2")


def main(args: list[str] | None = None) -> None:
    """Run the command line; errors are one line unless ``--debug`` is given."""
    try:
        app(args=args, standalone_mode=True)
    except (Is2IceError, ValueError, FileNotFoundError) as error:
        _fail(error, str(error), 2)
    except ModuleNotFoundError as error:
        line = extra_hint(error.name or "")
        _fail(error, line or f"{error} (unexpected; --debug shows where)", 2 if line else 3)
    except Exception as error:
        _fail(error, f"{type(error).__name__}: {error} (unexpected; --debug shows the traceback)", 3)


def _fail(error: Exception, text: str, code: int) -> None:
    if state.debug:
        err.print(scrubbed("".join(traceback.format_exception(error))))
    err.print(f"is2ice: error: {scrubbed(text)}")
    sys.exit(code)


if __name__ == "__main__":
    main()

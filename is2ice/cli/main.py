"""Command line: ``is2ice`` or ``python -m is2ice``.

Exit codes: 0 success, 1 some tracks failed or an order is incomplete, 2 wrong usage or input, 3 an unexpected error,
130 interrupted.
"""

from __future__ import annotations

import functools
import importlib
import logging
import os
import sys
import traceback
from collections.abc import Iterator
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from is2ice.errors import Is2IceError, extra_hint

from .commands import COMMANDS, RENAMED
from .console import err, out, scrubbed, state
from .settings import configuration, configuration_file, defaults, name_variables

__all__ = ["COMMANDS", "app", "load", "main"]


def _shared(
    quiet: Annotated[
        bool,
        typer.Option(
            "--quiet",
            "-q",
            help="Print failures only.",
            callback=lambda on: _set("quiet", on),
            expose_value=False,
        ),
    ] = False,
    verbose: Annotated[
        bool,
        typer.Option(
            "--verbose",
            "-v",
            help="Print log messages.",
            callback=lambda on: _set("verbose", on),
            expose_value=False,
        ),
    ] = False,
) -> None:
    """Hold the options that every command has."""


def _set(name: str, on: bool) -> None:
    if not on:
        return
    if name == "quiet":
        state.quiet = out.quiet = True
    else:
        logging.getLogger().setLevel(logging.INFO)


class _Lazy(TyperGroup):
    """A group that imports a command only when it runs; ``--help`` and completion need its line of help alone."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        cmd_name = RENAMED.get(cmd_name, cmd_name)
        if cmd_name not in COMMANDS:
            return None
        entry = COMMANDS[cmd_name]
        return TyperCommand(name=cmd_name, help=entry.help, rich_help_panel=entry.panel)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, found, rest = super().resolve_command(ctx, args)
        if found is None:
            return name, found, rest
        command, table = load(str(found.name)), configuration()
        if unknown := sorted(table.keys() - COMMANDS.keys()):
            raise ValueError(
                f"{configuration_file()}: [{unknown[0]}] is no command; expected {', '.join(COMMANDS)}"
            )
        if command.name in table:
            ctx.default_map = {command.name: defaults(command, table[command.name], command.name)}
        return command.name, command, rest


def load(name: str) -> Any:
    """Import a command and complete it: shared options, environment variables, the line of the next step."""
    entry = COMMANDS[name]
    module, _, attribute = entry.home.partition(":")
    command = typer.main.get_command(getattr(importlib.import_module(f".{module}", __package__), attribute))
    command.name, command.help = name, command.help or entry.help
    for path, leaf in _leaves(name, command):
        have = {p.name for p in leaf.params}
        leaf.params += [p for p in _common_options() if p.name not in have]
        name_variables(leaf, path)
        _end_with_next(leaf, entry.inner.get(str(leaf.name), entry.next))
    return command


@functools.cache
def _common_options() -> tuple[Any, ...]:
    holder = typer.Typer(add_completion=False)
    holder.command()(_shared)
    return tuple(p for p in typer.main.get_command(holder).params if p.name != "help")


def _leaves(path: str, command: Any) -> Iterator[tuple[str, Any]]:
    inner = getattr(command, "commands", None)
    if inner is None:
        yield path, command
    for name, one in (inner or {}).items():
        yield from _leaves(f"{path} {name}", one)


def _end_with_next(command: Any, template: str) -> None:
    """Let a command that succeeds end with the line of its next step, on standard error."""
    work = command.invoke

    def invoke(ctx: Any) -> Any:
        state.next = ""
        try:
            done = work(ctx)
        except typer.Exit as stop:
            if stop.exit_code and not state.next:
                raise
            _print_next(ctx, template)
            raise
        _print_next(ctx, template)
        return done

    command.invoke = invoke


def _print_next(ctx: Any, template: str) -> None:
    if state.quiet or ctx.params.get("as_json"):
        return
    values = {k: v if v is not None else k.upper() for k, v in ctx.params.items()}
    err.print(scrubbed(f"next: {state.next or template.format_map(values)}"))


app = typer.Typer(
    cls=_Lazy,
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="ICESat-2 ATL03 photons to 2 m sea-ice class, local sea surface and freeboard.\n\n"
    "Exit codes: 0 success, 1 some tracks failed or an order is incomplete, 2 wrong usage or input, "
    "3 an unexpected error.\n\n"
    "Options also come from is2ice.toml (a table for each command; IS2ICE_CONFIG names another file) and from the "
    "environment, such as IS2ICE_RUN_ENGINE.",
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
    debug: Annotated[
        bool, typer.Option("--debug", help="Print full tracebacks and log messages.", envvar="IS2ICE_DEBUG")
    ] = False,
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version and stop.", is_eager=True, callback=_print_version),
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print failures only.")] = False,
) -> None:
    state.debug, state.quiet, out.quiet = debug, quiet, quiet
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
        app(args=args, standalone_mode=True, prog_name="is2ice")
    except (Is2IceError, ValueError) as error:
        _fail(error, str(error), 2)
    except (
        FileNotFoundError,
        FileExistsError,
        IsADirectoryError,
        NotADirectoryError,
        PermissionError,
    ) as error:
        named = (
            f"{error.filename}: {str(error.strerror).lower()}"  # without the number that str() puts before it
        )
        _fail(error, named if error.filename else str(error), 2)
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

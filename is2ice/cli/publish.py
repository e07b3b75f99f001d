"""Commands ``is2ice publish`` and ``is2ice stores``."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer

__all__ = ["publish_app", "stores_app"]

publish_app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
stores_app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@publish_app.command(
    epilog="Example: is2ice publish ross_sea.zarr s3://bucket/ross_sea --declaration ross_sea_2019_11"
)
def publish(
    store: Annotated[str, typer.Argument(help="Folder or bucket of a store, as `is2ice run` writes it.")],
    target: Annotated[
        str | None,
        typer.Argument(
            help="Folder or bucket to publish to: new, empty or a store; by default in its place."
        ),
    ] = None,
    declaration: Annotated[
        str | None, typer.Option(help="Name of a declared store, or a declaration's .toml file.")
    ] = None,
    icechunk: Annotated[
        bool, typer.Option("--icechunk", help="Publish into an Icechunk repository instead.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check and compare; write nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Publish a store: check it, copy what is new, and move the pointer last.

    Run again it changes nothing; with new granules in the store, or another declaration, it makes the next version.
    """
    from is2ice.io.stores.declarations import declaration as declared_as

    declared = declared_as(declaration) if declaration else None
    if icechunk:
        from is2ice.io.publishing.icechunk_repository import publish as publish_icechunk

        if target is None:
            raise ValueError("--icechunk: name the folder or bucket of the repository")
        _quiet_icechunk()
        done = publish_icechunk(store, target, declared=declared, dry_run=dry_run)
    else:
        from is2ice.io.publishing.publish import publish as publish_store

        done = publish_store(store, target, declared=declared, dry_run=dry_run)
    typer.echo(json.dumps(asdict(done)) if as_json else f"{'would publish to ' if dry_run else ''}{done}")


def _quiet_icechunk() -> None:
    """Errors alone of what Icechunk logs in colours, unless ICECHUNK_LOG asks for more."""
    import os

    import icechunk

    if "ICECHUNK_LOG" not in os.environ:
        icechunk.set_logs_filter("error")


@stores_app.command(epilog="Example: is2ice stores ross_sea_2019_11")
def stores(
    name: Annotated[str | None, typer.Argument(help="One store, in full.")] = None,
    folder: Annotated[str | None, typer.Option(help="Of declarations; by default the package's own.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the declared stores: what each holds, where it is, its licence, citation and update policy."""
    from is2ice.io.stores.declarations import declaration as declared_as
    from is2ice.io.stores.declarations import declarations

    found = {name: declared_as(name, folder)} if name else declarations(folder)
    if as_json:
        typer.echo(json.dumps([asdict(one) for one in found.values()]))
    elif name:
        for key, value in asdict(found[name]).items():
            typer.echo(f"{key:15} {value if value != '' else '-'}")
    else:
        for one in found.values():
            typer.echo(f"{one.name:20} {one.url or '(not published yet)'}  {one.licence}  {one.title}")

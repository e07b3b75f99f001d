"""Commands ``is2ice verify`` and ``is2ice prune``."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer

__all__ = ["prune_app", "verify_app"]

verify_app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
prune_app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
Address = Annotated[str, typer.Argument(help="Folder or bucket of a store.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@verify_app.command(epilog="Example: is2ice verify ross_sea.zarr")
def verify(store: Address, as_json: AsJson = False) -> None:
    """Read every track of a store and its versions, and report the damaged ones; exit code 1 if there are any."""
    from is2ice.io.stores.maintenance import verify as read_all

    found = read_all(store)
    typer.echo(json.dumps(asdict(found)) if as_json else str(found))
    if not found.ok:
        raise typer.Exit(1)


@prune_app.command(epilog="Example: is2ice prune s3://bucket/ross_sea --keep 3")
def prune(
    store: Address,
    keep: Annotated[int | None, typer.Option(min=1, help="Newest versions to keep; all by default.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count only; remove nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove replaced tracks that no version holds, and what writers that died left more than a day ago."""
    from is2ice.io.stores.maintenance import prune as remove

    done = remove(store, keep=keep, dry_run=dry_run)
    typer.echo(json.dumps(asdict(done)) if as_json else f"{'would be pruned: ' if dry_run else ''}{done}")

"""Commands ``is2ice publish`` and ``is2ice declarations``."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from .console import AsJson, err, out, print_json, scrubbed, state

if TYPE_CHECKING:
    from is2ice.io.publishing.publish import Published

__all__ = ["declarations_app", "publish_app"]

publish_app = typer.Typer(add_completion=False)
declarations_app = typer.Typer(add_completion=False)


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
        str | None, typer.Option("--declaration", help="Name of a declaration, or its .toml file.")
    ] = None,
    icechunk: Annotated[
        bool, typer.Option("--icechunk", help="Publish into an Icechunk repository instead.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check and compare; write nothing.")] = False,
    page: Annotated[
        bool,
        typer.Option("--page/--no-page", help="Put a page with a map of the tracks beside the collection."),
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Publish a store: check it, copy what is new, and move the pointer last.

    A second call changes nothing; new granules in the store, or another declaration, make the next version.
    """
    if icechunk:
        from is2ice.io.publishing.icechunk_repository import publish as publish_icechunk

        if target is None:
            raise ValueError("--icechunk: name the folder or bucket of the repository")
        _quiet_icechunk()
        done = publish_icechunk(store, target, declaration=declaration, dry_run=dry_run)
    else:
        from is2ice.io.publishing.publish import publish as publish_store

        done = publish_store(store, target, declaration=declaration, dry_run=dry_run)
    written = None if icechunk or dry_run or not page else _write_page(target or store, done)
    if as_json:
        print_json(asdict(done) | {"page": written})
        return
    out.print(f"{'would publish to ' if dry_run else ''}{done}")
    if dry_run:
        state.next = "the same command without --dry-run"
    if written:
        out.print(f"page: {written}")


def _write_page(target: str, done: Published) -> str | None:
    """Write the page of a published store, unless it is there for this version; return its address.

    The store is published by now: without a page, the command succeeds all the same and says why.
    """
    from is2ice.errors import Is2IceError, extra_hint, installed
    from is2ice.reports.explorer import explore, page_version

    path = f"{target.rstrip('/')}/explore.html"
    try:
        if page_version(path) == done.version:
            return path
        if not installed("bokeh"):
            err.print(f"no page: {extra_hint('bokeh')}")
            return None
        with err.status("reading tracks for the page") as status:
            shown = None if state.quiet else status.update
            return str(explore(target, path, version=done.version, progress=shown))
    except (Is2IceError, OSError) as error:  # such as tracks of both hemispheres, or a bucket that refuses
        err.print(f"no page: {scrubbed(str(error))}")
        return None


def _quiet_icechunk() -> None:
    """Let Icechunk log errors only, unless ICECHUNK_LOG asks for more."""
    import icechunk

    if "ICECHUNK_LOG" not in os.environ:
        icechunk.set_logs_filter("error")


@declarations_app.command(epilog="Example: is2ice declarations ross_sea_2019_11")
def declarations(
    name: Annotated[str | None, typer.Argument(help="One declaration, in full.")] = None,
    folder: Annotated[
        str | None, typer.Option("--folder", help="Folder of declarations; by default the package's own.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the declared stores: contents, address, licence, citation and update policy of each."""
    from is2ice.io.stores.declarations import declarations as listed
    from is2ice.io.stores.declarations import find_declaration

    found = {name: find_declaration(name, folder)} if name else listed(folder)
    if as_json:
        print_json([asdict(one) for one in found.values()])
    elif name:
        for key, value in asdict(found[name]).items():
            out.print(f"{key:15} {value if value != '' else '-'}")
    else:
        for one in found.values():
            out.print(f"{one.name:20} {one.url or '(not published yet)'}  {one.licence}  {one.title}")

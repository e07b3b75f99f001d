"""Progress of a run: a bar on a terminal, nothing elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

__all__ = ["Bar", "progress"]


class Bar:
    """Progress without display."""

    def found(self, tracks: int) -> None:
        """Take the number of tracks in a granule that was opened."""

    def finished(self, receipt: Mapping[str, Any]) -> None:
        """Take the receipt of a track that is done, skipped or failed."""

    def prepared(self, block: str) -> None:
        """Take the name of a block of a track that is ready."""


class RichBar(Bar):
    """A bar whose total is estimated from the granules opened so far."""

    def __init__(self, bar: Any, granules: int) -> None:
        self.bar, self.left, self.opened, self.tracks = bar, granules, 0, 0
        self.task = bar.add_task("tracks", total=None, last="")

    def found(self, tracks: int) -> None:
        """Estimate the number of all tracks from the granules opened so far."""
        self.left, self.opened, self.tracks = self.left - 1, self.opened + 1, self.tracks + tracks
        self.bar.update(self.task, total=round(self.tracks * (1 + self.left / self.opened)))

    def finished(self, receipt: Mapping[str, Any]) -> None:
        """Advance the bar by a track and name it."""
        last = f"{receipt['granule'] or receipt['source']} {receipt['beam'] or ''} {receipt['outcome']}"
        self.bar.update(self.task, advance=1, last=last)

    def prepared(self, block: str) -> None:
        """Name the block."""
        self.bar.update(self.task, last=f"{block} ready")


@contextmanager
def progress(show: bool | None, granules: int) -> Iterator[Bar]:
    """Show a bar on standard error if asked for, or by default if that is a terminal."""
    if not (sys.stderr.isatty() if show is None else show):
        yield Bar()
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[last]}", markup=False),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        yield RichBar(bar, granules)

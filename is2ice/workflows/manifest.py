"""The request of a run as its store records it: sources, options, and whether it can be repeated from that."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from is2ice.io.urls import public_url, scrub

__all__ = ["Manifest", "named"]

_GRANULE = re.compile(r"ATL\d\d(-\d\d)?_\d{14}_\d{8}_\d{3}_\d\d")


@dataclass(frozen=True)
class Manifest:
    """Request of a run.

    Attributes
    ----------
    kind : {"run", "labels", "classes"}
    sources : tuple of str
        Paths and URLs, without secrets.
    beams, options, overwrite
        Arguments of :func:`is2ice.run`; options in the form that JSON can hold.
    again : bool
        True if the sources can be opened from this record (a signed URL cannot, nor an open file).
    block_km : float, optional
    """

    kind: str
    sources: tuple[str, ...]
    beams: Any = None
    options: Mapping[str, Any] = field(default_factory=dict)
    overwrite: str = "different"
    again: bool = True
    block_km: float | None = None

    @classmethod
    def of(
        cls,
        kind: str,
        sources: Iterable[Any],
        beams: Any,
        options: Mapping[str, Any],
        overwrite: str,
        block_km: float | None = None,
    ) -> Manifest:
        """Make a manifest from sources of any kind."""
        recorded = [named(source) for source in sources]
        names, again = tuple(n for n, _ in recorded), all(ok for _, ok in recorded)
        return cls(kind, names, beams, options, overwrite, again, block_km)


def named(source: Any) -> tuple[str, bool]:
    """Return the text under which a source is recorded, and True if that text opens it again."""
    if isinstance(source, str | os.PathLike):
        text = os.fspath(source)
        if _GRANULE.fullmatch(text) and not os.path.exists(text):
            return text, True  # looked up in NASA's catalogue again
        if "://" not in text:
            return str(Path(text).expanduser().absolute()), True
        return public_url(text), public_url(text) == text
    if hasattr(source, "data_links"):
        links = [link for link in source.data_links() if link.endswith(".h5")]
        return (public_url(links[0]), True) if links else (str(source["umm"]["GranuleUR"]), False)
    return scrub(str(getattr(source, "name", type(source).__name__))), False

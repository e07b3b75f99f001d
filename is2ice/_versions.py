"""Versions of a published store: immutable lists of tracks, and the pointer that names the current one.

::

    zarr.json                          pointer: root group, its attributes name the current version
    versions/000003.json               what version 3 holds: tracks, their paths, digests and attributes
    versions/000003/items.parquet      STAC items of version 3 as geoparquet
    <granule>/<beam>/<digest>/         a track: Zarr, never changed once it is there
    <granule>/<beam>/<digest>.json     its STAC item
    collection.json                    STAC collection of the current version

A track's path holds the digest of its content, so two publishers that write the same path write the same
bytes. Whoever creates ``versions/NNNNNN.json`` first owns that number; another takes what it holds, adds
its own tracks, and creates the next.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from . import __version__, schema
from ._folder import META, check_version, group_meta
from ._target import Target
from .errors import StoreError

__all__ = ["current", "latest", "point", "read_version", "version_key"]

Manifest = dict[str, Any]


def version_key(number: int) -> str:
    """Where the manifest of a version lies."""
    return f"versions/{number:06d}.json"


def current(target: Target) -> tuple[Manifest | None, str | None]:
    """The manifest the pointer names, and the pointer's entity tag; (None, None) of an empty target.

    Raises
    ------
    StoreError
        Something else lies there.
    """
    held = target.read(META)
    if held is None:
        return None, None
    try:
        attributes = json.loads(held[0]).get("attributes", {})
    except (ValueError, AttributeError):
        raise StoreError(f"{target.name}: {META} is not Zarr metadata; name an empty target") from None
    check_version(attributes, target.name)
    if "version" not in attributes:
        raise StoreError(
            f"{target.name}: a store, but not a published one; publish to another place, never onto the store itself"
        )
    return read_version(target, int(attributes["version"])), held[1]


def latest(target: Target) -> Manifest | None:
    """The newest manifest, which the pointer may not name yet: its publisher is at it, or was interrupted."""
    found = (re.fullmatch(r"versions/(\d{6})\.json", key) for key in target.sizes("versions"))
    numbers = [int(m[1]) for m in found if m]
    return read_version(target, max(numbers)) if numbers else None


def read_version(target: Target, number: int) -> Manifest:
    """The manifest of a version."""
    held = target.read(version_key(number))
    if held is None:
        raise StoreError(f"{target.name}: no version {number}")
    return dict(json.loads(held[0]))


def point(target: Target, manifest: Manifest, nodes: Mapping[str, Any]) -> None:
    """Let the pointer name a version, unless it names a later one already.

    Parameters
    ----------
    target : Target
    manifest : dict
    nodes : mapping
        Zarr metadata of every node, consolidated into the root so that one request lists the store; none
        for a store so large that this would be of no use.
    """
    while True:
        held = target.read(META)
        if held is not None:
            named = json.loads(held[0]).get("attributes", {}).get("version", 0)
            if int(named) >= int(manifest["version"]):
                return
        attributes = {
            "title": manifest["title"],
            "is2ice_store": True,
            "schema_version": schema.SCHEMA_VERSION,
            "is2ice_version": __version__,
            "version": manifest["version"],
            "manifest": version_key(manifest["version"]),
            "date_modified": manifest["created"],
            **({"license": manifest["licence"]} if manifest.get("licence") else {}),
            **({"citation": manifest["citation"]} if manifest.get("citation") else {}),
        }
        document = group_meta(attributes)
        if nodes:
            document["consolidated_metadata"] = {
                "kind": "inline",
                "must_understand": False,
                "metadata": dict(nodes),
            }
        if target.swap(META, json.dumps(document).encode(), held[1] if held else None):
            return

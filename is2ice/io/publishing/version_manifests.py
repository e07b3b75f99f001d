"""Versions of a published store: immutable lists of tracks, and the pointer that names the current one.

::

    zarr.json                          pointer: root group, its attributes name the current version
    versions/000003.json               what version 3 holds: tracks, their paths, digests and attributes
    versions/000003/items.parquet      STAC items of version 3 as geoparquet
    versions/000003/collection.json    STAC collection of version 3
    versions/claim                     says whose place this is, before anything else is there
    <granule>/<beam>/<digest>/         a track: Zarr, never changed once it is there
    <granule>/<beam>/<digest>.json     its STAC item
    collection.json                    STAC collection of the current version, written after the pointer

A track's path holds the digest of its content, so two publishers that write the same path write the same
bytes. Whoever creates ``versions/NNNNNN.json`` first owns that number; another takes what it holds, adds
its own tracks, and creates the next.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from is2ice import schema
from is2ice.errors import StoreError
from is2ice.io.stores.declarations import Declaration
from is2ice.io.stores.layout import META, check_version, group_meta
from is2ice.version import __version__

from .target import Target

__all__ = [
    "check_place",
    "claim",
    "current",
    "declaration_of",
    "kept_of",
    "latest",
    "point",
    "read_version",
    "version_key",
]

Manifest = dict[str, Any]
#: Made first, so that an interrupted first publication is told from a folder of somebody's.
CLAIM = "versions/claim"
#: What the root says to those who open it without is2ice.
WHERE = (
    "Published by is2ice: every revision of a track is a Zarr group of its own, <granule>/<beam>/<digest>; which ones "
    "belong to a version is in its manifest (attribute manifest: tracks, path) and in the assets of the STAC items. "
    "is2ice.open_store opens this address, xarray.open_zarr one of those paths below it."
)


def version_key(number: int) -> str:
    """Where the manifest of a version lies."""
    return f"versions/{number:06d}.json"


def check_place(target: Target) -> None:
    """Refuse a place that holds something, but no published store and none that is being published.

    Raises
    ------
    StoreError
    """
    names = target.entries()  # first: whoever publishes there claims the place before anything else
    if not names or current(target)[0] is not None:
        return
    below = {key.split("/", 1)[1] for key in target.sizes("versions")}
    if any(key == "claim" or re.fullmatch(r"\d{6}\.json", key) for key in below):
        return
    if names == ["versions"] and not below:  # a claim that is being written
        return
    held = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    raise StoreError(
        f"{target.name}: not empty (it holds {held}) and not a published store; name a new or empty folder or prefix"
    )


def claim(target: Target) -> None:
    """Mark a place as one that is published to."""
    target.create(CLAIM, json.dumps({"is2ice": __version__}).encode())


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
    try:
        manifest = dict(json.loads(held[0]))
        return {**manifest, "version": int(manifest["version"]), "tracks": dict(manifest["tracks"])}
    except (ValueError, KeyError, TypeError):
        raise StoreError(
            f"{target.name}: {version_key(number)} is not the list of a version; name an empty target"
        ) from None


def kept_of(declared: Declaration | None) -> Manifest | None:
    """What a manifest keeps of a declaration: all but the address, which is where it lies."""
    if declared is None:
        return None
    told = {key: value for key, value in asdict(declared).items() if key != "url"}
    return dict(json.loads(json.dumps(told)))


def declaration_of(manifest: Mapping[str, Any] | None) -> Declaration | None:
    """The declaration that a version was published with; None where it had none."""
    told = (manifest or {}).get("declaration")
    if told is None:
        if not (manifest or {}).get("citation"):
            return None
        told = manifest or {}  # of a version before declarations were kept whole
    given: dict[str, Any] = {f.name: told.get(f.name, "") for f in fields(Declaration) if f.name != "url"}
    given |= {key: tuple(value) for key, value in given.items() if isinstance(value, list)}
    return Declaration(**given)


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
            "comment": WHERE,
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

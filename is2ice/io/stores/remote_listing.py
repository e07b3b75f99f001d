"""Stores at URLs, read through fsspec: their address, signed or not, their groups and their listing."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from is2ice import schema
from is2ice.errors import StoreError
from is2ice.io.urls import public_url, scrub

from .layout import META, check_version, is_url, local

__all__ = ["address", "is_published", "listing", "open_group", "unreadable"]


def address(store: str | os.PathLike[str], options: Mapping[str, Any] | None) -> tuple[str, dict[str, Any]]:
    """Where a store is opened, and the options of fsspec.

    A signature (``https://host/s.zarr?token=...``) has no place in the address, to which the paths of groups
    are appended: it becomes the query of every request.

    Raises
    ------
    StoreError
        For a query in a URL that is not of HTTP.
    """
    text, out = os.fspath(store), dict(options or {})
    if not is_url(text):
        return str(local(text)), out
    parts = urlsplit(text)
    if parts.query:
        if parts.scheme not in ("http", "https"):
            raise StoreError(
                f"{public_url(text)}: a query ('?...') is known of https:// only; give credentials of "
                f"{parts.scheme}:// in storage_options"
            )
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        out["params"] = {**query, **out.get("params", {})}
    return urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/"), "", "")), out


def open_group(base: Any, path: str, options: Mapping[str, Any]) -> Any:
    """The Zarr group, None where there is none."""
    import zarr

    try:
        return zarr.open_group(
            base, path=path, mode="r", zarr_format=3, storage_options=dict(options) or None
        )
    except (FileNotFoundError, KeyError):
        return None
    except Exception as error:
        if isinstance(base, str) and is_url(base):
            raise unreadable(f"{base}/{path}".rstrip("/"), error) from None
        raise


Tracks = dict[tuple[str, str], dict[str, Any]]


def listing(base: str, options: Mapping[str, Any], version: int | None = None) -> Tracks:
    """Attributes of each track of a published store, by granule and beam, ``zarr_path`` among them.

    Parameters
    ----------
    base : str
        URL or folder.
    options : mapping
        For fsspec.
    version : int, optional
        Of a store made by :func:`is2ice.publish`; the current one by default.

    Raises
    ------
    StoreError
        Not a store, not consolidated, or not to be read.
    """
    where = public_url(base) if is_url(base) else base
    document = _json(base, META, options)
    if document is None:
        raise StoreError(f"{where}: not an is2ice store: no {META} there")
    attributes = document.get("attributes") or {}
    check_version(attributes, where)
    if "manifest" in attributes:
        return _of_version(base, where, attributes, options, version)
    if version is not None:
        raise StoreError(
            f"{where}: a store without versions (see is2ice publish); leave out version={version}"
        )
    groups = (document.get("consolidated_metadata") or {}).get("metadata")
    if groups is None:
        raise StoreError(
            f"{where}: no consolidated metadata, so a URL cannot be listed; run "
            "is2ice.io.stores.store.consolidate on the store before publishing, or open a track by its own URL "
            "(…/<granule>/<beam>)"
        )
    out: Tracks = {}
    for path, meta in groups.items():
        granule, _, beam = path.partition("/")
        if beam in schema.BEAMS and "inputs" in meta.get("attributes", {}):
            out[granule, beam] = {**meta["attributes"], "zarr_path": path}
    return out


def _of_version(
    base: str, where: str, attributes: Mapping[str, Any], options: Mapping[str, Any], version: int | None
) -> Tracks:
    key = str(attributes["manifest"]) if version is None else f"versions/{version:06d}.json"
    manifest = _json(base, key, options)
    if manifest is None:
        raise StoreError(f"{where}: no version {version}; the current one is {attributes['version']}")
    out: Tracks = {}
    for name, entry in manifest["tracks"].items():
        granule, _, beam = name.partition("/")
        out[granule, beam] = {**entry["attributes"], "zarr_path": entry["path"]}
    return out


def is_published(base: str, options: Mapping[str, Any]) -> bool:
    """Whether a place is the root of a store made by :func:`is2ice.publish`."""
    try:
        document = _json(base, META, options)
    except StoreError:
        return False
    return document is not None and "manifest" in (document.get("attributes") or {})


def _json(base: str, key: str, options: Mapping[str, Any]) -> dict[str, Any] | None:
    from fsspec.core import url_to_fs

    try:
        # Listings of folders are not asked for, and would go stale under a store that is published again.
        files, path = url_to_fs(base, **options)
        return dict(json.loads(files.cat_file(f"{path}/{key}")))
    except FileNotFoundError:
        return None
    except Exception as error:
        raise unreadable(base, error) from None


def unreadable(url: str, error: Exception) -> StoreError:
    """What stands in for an error of the network, whose text and cause may hold a token."""
    status = getattr(error, "status", None)
    if status in (401, 403):
        hint = "; if the URL is signed: has it expired, and does the signature hold for every file below it?"
        return StoreError(f"{public_url(url)}: access refused (HTTP {status}){hint}")
    said = scrub(f"{type(error).__name__}: {error}")
    return StoreError(f"{public_url(url)}: cannot be read as a store: {said}")

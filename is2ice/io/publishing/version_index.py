"""What describes a version of a published store: STAC items, their index, the collection, and Zarr's own metadata.

Each version has an index and a collection of its own. The collection at the root, and what the items say of it, are
copies of what the current version says: they are written after the pointer, which is then read again, so that of
several publishers the last one leaves them as they belong.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from is2ice import schema
from is2ice.errors import StoreError
from is2ice.io.stores import store as stores
from is2ice.io.stores.layout import META, group_meta

from . import version_manifests
from .stac_items import collection_of, geoparquet_of
from .target import Target

__all__ = ["PARALLEL", "complete"]

#: Requests at a time.
PARALLEL = 8
COLLECTION = "collection.json"
Document = dict[str, Any]


def complete(place: Target, manifest: Mapping[str, Any], *, touched: bool) -> None:
    """Index and collection of a version, then the pointer, then the copies at the root.

    Parameters
    ----------
    place : Target
    manifest : mapping
        Of the version; nothing is done where the pointer names it, or a later one, already.
    touched : bool
        Whether tracks were uploaded, whose items may say what another publisher has changed since.
    """
    named, _ = version_manifests.current(place)
    if named is None or named["version"] < manifest["version"]:
        places = _places(manifest)
        items = _items(place, manifest)
        index = f"versions/{manifest['version']:06d}"
        absolute = [_with_href(item, f"../../{p}") for p, item in items.items()]
        place.put(f"{index}/items.parquet", geoparquet_of(absolute))
        own = _collection(manifest, items, "../..", "./items.parquet")
        place.put(f"{index}/{COLLECTION}", json.dumps(own).encode())
        nodes: Document = {}
        if len(places) <= stores.CONSOLIDATE_LIMIT:
            nodes = _nodes(manifest, _read_all(place, [f"{p}/{META}" for p in places]))
        version_manifests.point(place, dict(manifest), nodes)
    _settle(place, touched)


def _settle(place: Target, touched: bool) -> None:
    """Let the copies at the root say what the version says that the pointer names, also one that is named meanwhile."""
    while True:
        manifest, _ = version_manifests.current(place)
        if manifest is None:
            return
        if touched or _told(place) != manifest["version"]:
            _copy(place, manifest)
        now, _ = version_manifests.current(place)
        if now is not None and now["version"] == manifest["version"]:
            return


def _told(place: Target) -> int | None:
    """Version of the root's collection."""
    held = place.read(COLLECTION)
    try:
        return None if held is None else int(json.loads(held[0])["version"])
    except (ValueError, KeyError, TypeError):
        return None


def _copy(place: Target, manifest: Mapping[str, Any]) -> None:
    """Items that say what the version's collection says, and last the collection itself."""
    held = dict(zip(_places(manifest), _read_items(place, manifest), strict=True))
    items = _items(place, manifest, held)
    for path, item in items.items():
        if item != held[path]:
            place.put(f"{path}.json", json.dumps(item).encode())
    index = f"./versions/{manifest['version']:06d}/items.parquet"
    place.put(COLLECTION, json.dumps(_collection(manifest, items, ".", index)).encode())


def _places(manifest: Mapping[str, Any]) -> list[str]:
    return [str(entry["path"]) for entry in manifest["tracks"].values()]


def _read_items(place: Target, manifest: Mapping[str, Any]) -> list[Document]:
    return _read_all(place, [f"{p}.json" for p in _places(manifest)])


def _items(
    place: Target, manifest: Mapping[str, Any], held: Mapping[str, Document] | None = None
) -> dict[str, Document]:
    """Items of a version by the path of their track, of its collection and under its licence."""
    if held is None:
        held = dict(zip(_places(manifest), _read_items(place, manifest), strict=True))
    licence = manifest.get("licence") or "other"
    return {
        path: {
            **item,
            "collection": manifest["name"],
            "properties": {**item["properties"], "license": licence},
        }
        for path, item in held.items()
    }


def _collection(
    manifest: Mapping[str, Any], items: Mapping[str, Document], root: str, index: str
) -> Document:
    """STAC collection of a version; `root` and `index` as they are addressed from where it lies."""
    declared = version_manifests.declaration_of(manifest)
    hrefs = [f"{root}/{path}.json" for path in items]
    out = collection_of(manifest["name"], list(items.values()), declared, hrefs)
    out["assets"] = {
        "items": {"href": index, "type": "application/vnd.apache.parquet", "roles": ["stac-items"]},
        "store": {"href": root, "type": "application/vnd.zarr", "roles": ["data"]},
    }
    return out | {"version": str(manifest["version"])}


def _nodes(manifest: Mapping[str, Any], documents: list[Document]) -> Document:
    """Zarr metadata of every node of a version."""
    out: Document = {}
    for (key, entry), document in zip(manifest["tracks"].items(), documents, strict=True):
        granule = key.split("/")[0]
        inner = (document.pop("consolidated_metadata", None) or {}).get("metadata", {})
        out.setdefault(granule, group_meta({"granule": granule, "schema_version": schema.SCHEMA_VERSION}))
        out[key] = group_meta({"published": key, "schema_version": schema.SCHEMA_VERSION})
        out[entry["path"]] = document
        out.update({f"{entry['path']}/{name}": meta for name, meta in inner.items()})
    return out


def _read_all(place: Target, keys: list[str]) -> list[Document]:
    def read(key: str) -> Document:
        held = place.read(key)
        if held is None:
            raise StoreError(f"{place.name}: {key} is missing; publish the store again")
        return dict(json.loads(held[0]))

    with ThreadPoolExecutor(PARALLEL) as pool:
        return list(pool.map(read, keys))


def _with_href(item: Document, href: str) -> Document:
    asset = {**item["assets"]["zarr"], "href": href}
    return {**item, "assets": {"zarr": asset}}

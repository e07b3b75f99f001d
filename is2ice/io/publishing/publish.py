"""Publishing: check what a store holds, describe it, list it as a version, and move the pointer, last and in one step.

A store is published in its place, or to another one, a folder or a bucket, which gets the tracks it lacks. Tracks and
their STAC items go first, to places that no version names yet; then the list of the version, which the publisher owns
who creates it; then its index and collection; then the pointer, in the root. An interrupted publication leaves the
published version unchanged, and the same command completes it. No publisher removes anything, since another may rely
on it: all tracks of a first publication are checked before anything is written.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, fields
from functools import partial
from itertools import accumulate
from typing import Any

import xarray as xr

from is2ice import schema
from is2ice.errors import SchemaError, StoreError, require
from is2ice.io.documents import parse_json
from is2ice.io.remote.location import PARALLEL, FolderLocation, Location, beside, location
from is2ice.io.stores import store as stores
from is2ice.io.stores.declarations import Declaration, find_declaration
from is2ice.io.stores.layout import (
    META,
    entry_bytes,
    entry_key,
    holds_store,
    packed,
    root_attributes,
    root_meta,
    track_path,
    unpacked,
)
from is2ice.io.stores.track_encoding import decode
from is2ice.science import epoch
from is2ice.version import __version__

from .stac_items import collection_of, declared_item, geoparquet_of, item_of_track

__all__ = ["Published", "check_apart", "check_track", "publish", "source"]

log = logging.getLogger("is2ice")
#: Tracks that are checked and put at a time.
AT_ONCE = 4
#: Bytes of tracks that are kept from their check to their upload; those beyond are read twice.
KEPT = 256_000_000
Document = dict[str, Any]
COLLECTION = "collection.json"
#: Global attributes without which a track is not fit to be found or cited (ACDD-1.3, CF-1.11).
REQUIRED = tuple(
    (
        "Conventions title summary keywords featureType platform instrument history date_created "
        "time_coverage_start time_coverage_end geospatial_lat_min geospatial_lat_max geospatial_lon_min "
        "geospatial_lon_max source_granule processing_parameters release schema_version inputs"
    ).split()
)


@dataclass(frozen=True)
class Published:
    """Result of a publication.

    Attributes
    ----------
    url : str
        Address of the published store.
    version : int
        The current one afterwards; of a dry run, the one that would be.
    added, replaced, unchanged : tuple of str
        Tracks, ``<granule>/<beam>``.
    bytes : int
        Bytes copied.
    declared : bool
        True if the declaration differs from that of the version before.
    """

    url: str
    version: int
    added: tuple[str, ...] = ()
    replaced: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()
    bytes: int = 0
    declared: bool = False

    def __str__(self) -> str:
        done = f"{len(self.added)} added, {len(self.replaced)} replaced, {len(self.unchanged)} unchanged"
        done += "; declaration changed" if self.declared else ""
        return f"{self.url}: version {self.version}; {done}; {self.bytes / 1e6:.1f} MB"


def publish(
    store: str | os.PathLike[str],
    target: str | os.PathLike[str] | None = None,
    *,
    declaration: Declaration | str | os.PathLike[str] | None = None,
    dry_run: bool = False,
    storage_options: Mapping[str, Any] | None = None,
) -> Published:
    """Publish a store: new and changed tracks become part of a new version; without any, nothing changes.

    The explorer's page beside the collection is written by the command ``is2ice publish`` only; in Python write it with
    :func:`is2ice.reports.explorer.explore`.

    Parameters
    ----------
    store : str or Path
        Folder or URL of a store, as :func:`is2ice.run` writes it.
    target : str or Path, optional
        Folder or bucket to publish to: new, empty, or a store. By default the store is published in its place.
    declaration : Declaration, name or path, optional
        Title, licence and citation of the published store; by default those of the version before. Another one
        makes a new version, also where no track is new.
    dry_run : bool
        Check and compare only; nothing is written.
    storage_options : mapping, optional
        Options of the bucket of `target` (:func:`is2ice.location`), and of `store` if it lies at the same provider.

    Returns
    -------
    Published

    Raises
    ------
    StoreError
        Not a store, an unfit track (with everything that is wrong with it), or a target that cannot be
        written or holds something else. Earlier versions stay unchanged.
    """
    require("pystac", "stac_geoparquet")
    found = None if declaration is None else find_declaration(declaration)
    place = location(store if target is None else target, storage_options)
    work = _Publication.of(beside(store, place, storage_options), None if target is None else place, found)
    first, fresh = work.base, work.differing()
    if dry_run:
        size = work.each(lambda key: sum(map(len, work.check(key).values())), fresh)
        return work.result(first, _number(first) + bool(fresh or work.redeclared), fresh, size)
    size = 0
    while fresh or work.redeclared:
        size += work.put_all(fresh)
        manifest = work.merged(fresh)
        if work.place.create(stores.version_key(manifest["version"]), packed(manifest)):
            break
        # Another publisher was first: its tracks stay, and those that differ are compared again.
        work.base = work.latest()
        fresh = work.differing()
    else:
        manifest = work.base or {}
    if manifest:
        size += work.mend(manifest)
        _complete(work.place, manifest)
    return work.result(first, _number(manifest), fresh, size)


@dataclass
class _Publication:
    """A store on its way to a place.

    Attributes
    ----------
    root, place : Location
        To publish from and to; the same if in place.
    wanted : dict
        Entries by ``<granule>/<beam>``.
    declared : Declaration, optional
    base : dict, optional
        The newest version of the place, which its pointer may not name yet.
    items : dict
        STAC items of the tracks that were checked.
    new : bool
        True if this publication makes the place: no track needs to be looked for there.
    sent : set of str
        Tracks that it put there, with their items.
    kept : dict
        Objects of tracks that were checked and are still to be put.
    """

    root: Location
    place: Location
    wanted: dict[str, Document]
    declared: Declaration | None
    base: Document | None = None
    items: dict[str, Document] = field(default_factory=dict)
    new: bool = False
    sent: set[str] = field(default_factory=set)
    kept: dict[str, dict[str, bytes]] = field(default_factory=dict)

    @classmethod
    def of(
        cls, store: str | os.PathLike[str] | Location, target: Location | None, declared: Declaration | None
    ) -> _Publication:
        entries, root = source(store)
        place = root if target is None else target
        if place is not root:
            check_apart(root, place)
            place = root if place.url == root.url else place
            holds_store(place)
        work = cls(root, place, entries, declared)
        work.base = work.latest()
        return work

    def latest(self) -> Document | None:
        """Read the newest version of the place."""
        numbers = stores.version_numbers(self.place)
        return stores.read_version(self.place, numbers[-1]) if numbers else None

    def differing(self) -> set[str]:
        """Find the tracks that the newest version lacks, or holds made otherwise."""
        held = (self.base or {}).get("tracks", {})
        by = "digest" if self.place is self.root else "inputs"
        return {key for key, entry in self.wanted.items() if held.get(key, {}).get(by) != entry[by]}

    @property
    def redeclared(self) -> bool:
        """True if a declaration is given that differs from that of the newest version."""
        return self.declared is not None and _declared_as(self.declared) != (self.base or {}).get(
            "declaration"
        )

    def each(self, step: Callable[[str], int], keys: Iterable[str], at_once: int = AT_ONCE) -> int:
        """Do a step for several tracks at a time; return the sum of its results."""
        with ThreadPoolExecutor(at_once) as pool:
            return sum(pool.map(step, sorted(keys)))

    def check(self, key: str) -> dict[str, bytes]:
        """Read a track, which must be whole and fit to be published, and describe it."""
        entry = self.wanted[key]
        objects = stores.read_track(self.root, entry)
        declared = self.declared or _declaration(self.base)
        address = (declared.url if declared else "").rstrip("/") or self.place.url
        self.items[key] = item_of_track(
            check_track(objects, key),
            href=f"{address}/{track_path(entry)}",
            declared=declared,
            digest=entry["digest"],
            size=entry["bytes"],
        )
        return objects

    def put_all(self, keys: Iterable[str]) -> int:
        """Put tracks into the place, and make them part of it; return the bytes copied.

        Each is checked before. If one is unfit, a place that held nothing stays as it is.
        """
        if not holds_store(self.place):
            self.check_all(keys)
            self.new = self.place.create(META, root_meta())
        size = self.each(self.put, keys)
        if self.place is not self.root:
            self.each(self._take, keys, PARALLEL)
        return size

    def check_all(self, keys: Iterable[str]) -> None:
        """Check and describe tracks, and keep the objects of the first ones."""
        order = sorted(keys)
        totals = accumulate(self.wanted[key]["bytes"] for key in order)
        first = {key for key, total in zip(order, totals, strict=True) if total <= KEPT}

        def step(key: str) -> int:
            objects = self.check(key)
            if key in first:
                self.kept[key] = objects
            return 0

        self.each(step, order)

    def put(self, key: str) -> int:
        """Put a track and its item into the place, where no version names it yet; return the bytes copied."""
        if key in self.sent:  # put before another publisher was first
            return 0
        objects = self.kept.pop(key, None)
        if objects is None:
            objects = self.check(key)
        path, copied = track_path(self.wanted[key]), 0
        if self.place is not self.root:
            there = {} if self.new else self.place.objects(f"{path}/")
            lacking = {f"{path}/{name}": raw for name, raw in objects.items()}
            lacking = {k: raw for k, raw in lacking.items() if k not in there or there[k].size != len(raw)}
            if not self.place.copy(self.root, {k: k for k in lacking}):
                self.place.put_all(lacking)
            copied = sum(map(len, lacking.values()))
        self.place.put(f"{path}.json", json.dumps(self.items[key]).encode())
        self.sent.add(key)
        log.info("%s: %s, %d bytes copied", self.place.name, path, copied)
        return copied

    def mend(self, manifest: Document) -> int:
        """Put again what a version that is not pointed to yet names and the place lacks; return the bytes copied."""
        before, _ = _pointed(self.place)
        if before >= manifest["version"]:
            return 0
        new = _changed(self.place, manifest, before)
        mine = [k for k, entry in new.items() if self.wanted.get(k, {}).get("digest") == entry["digest"]]
        self.new = False
        return self.each(self._mend, mine, PARALLEL)

    def _mend(self, key: str) -> int:
        entry = self.wanted[key]
        path = track_path(entry)
        held = self.place.objects(f"{path}/").values()
        whole = (len(held), sum(one.size for one in held)) == (entry["objects"], entry["bytes"])
        if whole and self.place.read(f"{path}.json") is not None:
            return 0
        log.warning("%s: %s is incomplete; it is put again", self.place.name, path)
        self.sent.discard(key)
        return self.put(key)

    def _take(self, key: str) -> int:
        """Make a track part of the place, unless a run wrote another one there that is not published yet."""
        entry = self.wanted[key]
        at = entry_key(entry["granule"], entry["beam"])
        held = self.place.read(at)
        before = (self.base or {}).get("tracks", {}).get(key, {}).get("digest")
        other = held is not None and before is not None and f'"{before}"'.encode() not in held[0]
        if not other and self.place.swap(at, entry_bytes(entry), held[1] if held else None):
            stores.show_track(self.place, entry)
        return 0

    def merged(self, fresh: Iterable[str]) -> Document:
        """Make the next version: all that the newest one holds, and these tracks."""
        tracks = {**(self.base or {}).get("tracks", {}), **{key: self.wanted[key] for key in fresh}}
        declared = self.declared or _declaration(self.base)
        return {
            "version": _number(self.base) + 1,
            "created": epoch.now(),
            "is2ice": __version__,
            "schema_version": schema.SCHEMA_VERSION,
            "declaration": _declared_as(declared),
            "tracks": dict(sorted(tracks.items())),
        }

    def result(self, first: Document | None, version: int, fresh: set[str], size: int) -> Published:
        """Report on the publication, compared with the version that was there first."""
        held = (first or {}).get("tracks", {})
        return Published(
            self.place.name,
            version,
            tuple(sorted(k for k in fresh if k not in held)),
            tuple(sorted(k for k in fresh if k in held)),
            tuple(sorted(self.wanted.keys() - fresh)),
            size,
            first is not None
            and self.declared is not None
            and _declared_as(self.declared) != first.get("declaration"),
        )


def source(store: str | os.PathLike[str] | Location) -> tuple[dict[str, Document], Location]:
    """Entries of all tracks of a store that is to be published, and its location.

    Raises
    ------
    StoreError
        No store, an empty one, or one with damaged entries.
    """
    root, entries, damaged = stores.draft(store)
    if damaged:
        raise StoreError(f"{root.name}: {len(damaged)} damaged tracks: {'; '.join(damaged.values())}")
    if not entries:
        raise StoreError(f"{root.name}: the store holds no track; there is nothing to publish")
    return entries, root


def check_apart(root: Location, place: Location) -> None:
    """Refuse to publish a store into itself or around itself.

    Raises
    ------
    StoreError
    """
    if not (isinstance(root, FolderLocation) and isinstance(place, FolderLocation)):
        return
    here, there = root.folder.resolve(), place.folder.resolve()
    if here != there and here in there.parents:
        raise StoreError(
            f"{place.name}: lies inside the store {root.name}; name a folder outside of it, or a bucket"
        )
    if there in here.parents:
        raise StoreError(
            f"{place.name}: the store {root.name} lies inside of it; name a folder beside it, or a bucket"
        )
    if here == there and place.url != root.url:
        place.url = place.name = root.url  # by another name


def check_track(objects: Mapping[str, bytes], where: str) -> xr.Dataset:
    """Give a stored track, if it is fit to be published.

    Parameters
    ----------
    objects : mapping
        Bytes of its Zarr group by name.
    where : str
        For messages.

    Returns
    -------
    xarray.Dataset
        Loaded, so every chunk has been read.

    Raises
    ------
    StoreError
        With everything that is wrong: values against the vocabulary, attributes of CF-1.11 and ACDD-1.3.
    """
    try:
        ds = decode(objects)
    except Exception as error:
        raise StoreError(
            f"{where}: cannot be read whole ({type(error).__name__}: {error}); compute it again"
        ) from None
    faults = [f"attribute {name} is missing" for name in REQUIRED if ds.attrs.get(name) in (None, "")]
    if "CF-1." not in str(ds.attrs.get("Conventions")) or "ACDD-1.3" not in str(ds.attrs.get("Conventions")):
        faults.append(f"Conventions are {ds.attrs.get('Conventions')!r}, expected CF-1.11, ACDD-1.3")
    for name, a in ds.data_vars.items():
        if "x_atc" in a.dims and not ({"long_name", "standard_name"} & a.attrs.keys()):
            faults.append(f"{name} has neither long_name nor standard_name")
    stages = [
        s for s, table in schema.STAGES.items() if s != "photons" and any(n in ds.data_vars for n in table)
    ]
    try:
        schema.conform(ds, *stages)
    except SchemaError as error:
        faults += error.faults
    if faults:
        raise StoreError(f"{where}: not fit to be published:\n  " + "\n  ".join(faults))
    return ds


# -- describing and pointing --------------------------------------------------------------------------
def _complete(place: Location, manifest: Document) -> None:
    """Write index and collection of a version, then the pointer, then the copies at the root."""
    before, _ = _pointed(place)
    if before < manifest["version"]:
        below = f"versions/{manifest['version']:06d}"
        items = _items(place, manifest, before)
        place.put(f"{below}/items.json.gz", packed(items))
        place.put(f"{below}/items.parquet", geoparquet_of(items.values()))
        place.put(f"{below}/{COLLECTION}", _collection(manifest, items, "../..", "./items.parquet"))
        _revise(place, manifest, before)
        while True:
            number, tag = _pointed(place)
            if number >= manifest["version"] or place.swap(META, _root_of(manifest), tag):
                break
    while True:  # the copies at the root follow the pointer, also one that is moved meanwhile
        number, _ = _pointed(place)
        if (told := _told(place)) != number:
            _settle(place, number, told)
        if _pointed(place)[0] == number:
            return


def _items(place: Location, manifest: Document, before: int) -> dict[str, Document]:
    """STAC items of a version by track: those that an earlier version has too, the others as they were put."""
    held = place.read(f"versions/{before:06d}/items.json.gz") if before else None
    known = unpacked(held[0]) if held else {}
    tracks = manifest["tracks"]
    new = [
        k
        for k, e in tracks.items()
        if known.get(k, {}).get("assets", {}).get("zarr", {}).get("is2ice:sha256") != e["digest"]
    ]
    paths = [f"{track_path(e)}.json" for e in (tracks[k] for k in new)]
    for key, path, raw in zip(new, paths, place.read_all(paths), strict=True):
        if raw is None:
            raise StoreError(f"{place.name}: {path} is missing; publish the store again")
        known[key] = parse_json(raw, f"{place.name}/{path}", error=StoreError, nan=True, kind=dict)
    declared = _declaration(manifest)
    return {key: declared_item(known[key], declared) for key in tracks}


def _changed(place: Location, manifest: Document, before: int) -> dict[str, Document]:
    """Return the entries of a version that an earlier one (0: none) lacks, or holds made otherwise."""
    old = stores.read_version(place, before)["tracks"] if before else {}
    return {k: e for k, e in manifest["tracks"].items() if old.get(k, {}).get("digest") != e["digest"]}


def _revise(place: Location, manifest: Document, before: int) -> None:
    """Note in each track that a version changes since when it is so: opening it then needs no list of all."""
    new = _changed(place, manifest, before).values()
    with ThreadPoolExecutor(PARALLEL) as pool:
        list(pool.map(partial(stores.add_revision, place, manifest["version"]), new))


def _settle(place: Location, number: int, told: int | None) -> None:
    """Bring items and collection at the root from one version (None: an unknown one) to another."""
    current = stores.read_version(place, number)
    known = told in stores.version_numbers(place)
    before = stores.read_version(place, int(told or 0)) if known else {"tracks": {}, "declaration": None}
    items = _items(place, current, number)
    redeclared = before["declaration"] != current["declaration"]
    wanted = {
        f"{track_path(entry)}.json": json.dumps(items[key]).encode()
        for key, entry in current["tracks"].items()
        if redeclared or before["tracks"].get(key, {}).get("digest") != entry["digest"]
    }
    held = place.read_all(wanted)
    place.put_all({key: raw for (key, raw), there in zip(wanted.items(), held, strict=True) if raw != there})
    place.put(COLLECTION, _collection(current, items, ".", f"./versions/{number:06d}/items.parquet"))


def _pointed(place: Location) -> tuple[int, str | None]:
    """Return the number of the version that the pointer names, 0 without any, and the tag of the root."""
    held = root_attributes(place)
    return (0, None) if held is None else (int(held[0].get("version", 0)), held[1])


def _told(place: Location) -> int | None:
    """Version of the root's collection; None of an unreadable one."""
    held = place.read(COLLECTION)
    try:
        return None if held is None else int(parse_json(held[0], COLLECTION, error=StoreError)["version"])
    except (StoreError, ValueError, KeyError, TypeError):
        return None


def _root_of(manifest: Document) -> bytes:
    declared = _declaration(manifest)
    told = (
        {"title": declared.title, "license": declared.licence, "citation": declared.citation}
        if declared
        else {}
    )
    number = manifest["version"]
    return root_meta(
        version=number,
        manifest=stores.version_key(number),
        date_modified=manifest["created"],
        **{k: v for k, v in told.items() if v},
    )


def _collection(manifest: Document, items: Mapping[str, Document], root: str, index: str) -> bytes:
    """STAC collection of a version; `root` and `index` as they are addressed from its place."""
    declared = _declaration(manifest)
    entries = manifest["tracks"].values()
    hrefs = [f"{root}/{track_path(e)}.json" for e in entries]
    out = collection_of(declared.name if declared else "is2ice", list(items.values()), declared, hrefs)
    out["assets"] = {
        "items": {"href": index, "type": "application/vnd.apache.parquet", "roles": ["stac-items"]},
        "store": {"href": root, "type": "application/vnd.zarr", "roles": ["data"]},
    }
    return json.dumps(out | {"version": str(manifest["version"])}).encode()


def _declared_as(declared: Declaration | None) -> Document | None:
    """Return a declaration as a version keeps it."""
    return None if declared is None else dict(json.loads(json.dumps(asdict(declared))))


def _declaration(manifest: Mapping[str, Any] | None) -> Declaration | None:
    """Return the declaration that a version was published with; None where it had none."""
    told = (manifest or {}).get("declaration")
    if told is None:
        return None
    known = {f.name for f in fields(Declaration)}
    given: Any = {k: tuple(v) if isinstance(v, list) else v for k, v in told.items() if k in known}
    return Declaration(**given)


def _number(manifest: Mapping[str, Any] | None) -> int:
    return int((manifest or {}).get("version", 0))

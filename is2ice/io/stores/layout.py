"""The one layout of stores, in a folder or a bucket, being worked on or published.

::

    zarr.json                             root: a Zarr group that says what this is; names the published version
    tracks/<granule>/<beam>/<digest>/     a track: a Zarr group, never changed once it is there
    tracks/<granule>/<beam>/<digest>.json its STAC item, once it is published
    current/<granule>/<beam>.json         the entry: which digest is the track, and its attributes
    published/<granule>/<beam>.json       the same of published versions: since which one each entry holds
    index/                                entries of many tracks, so that listing needs no request for each
    versions/000003.json.gz               version 3: a list of entries, never changed
    versions/000003/                      STAC items (geoparquet) and collection of version 3
    collection.json                       STAC collection of the published version
    <granule>/<beam>                      in folders only: a symbolic link to the track, for plain xarray

A track becomes part of the store when its entry is written, in one conditional write; its objects lie in their place
by then, under a digest of what they hold. A replaced track stays until :func:`is2ice.io.stores.store.prune`. No step
looks at other tracks, so that one track costs the same in a store of ten and of ten thousand.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import time
import zlib
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from is2ice import schema
from is2ice.errors import DamagedTrackError, StoreError
from is2ice.io.documents import parse_json
from is2ice.io.remote.location import Location, is_url, location
from is2ice.io.urls import local_path, public_url
from is2ice.version import __version__

from .track_encoding import META, group_meta

__all__ = [
    "CURRENT",
    "META",
    "Place",
    "attributes",
    "check_version",
    "create",
    "entry_bytes",
    "entry_key",
    "holds_store",
    "is_store",
    "packed",
    "parse_entry",
    "resolve",
    "root_attributes",
    "root_meta",
    "track_path",
    "unpacked",
]

#: Number of this layout; a root without it is of an earlier one.
LAYOUT = 2
CURRENT = "current"
#: Suffixes of granules and other files, which are no stores.
_FILES = tuple((".h5 .hdf5 .hdf .nc .nc4 .json .parquet .csv .tif .tiff .keras .npz").split())
#: Attributes of a track that its entry does without: they are the same for all, or long.
_BOILERPLATE = frozenset(
    (
        "Conventions featureType cdm_data_type summary keywords project source comment platform "
        "standard_name_vocabulary time_coverage_resolution instrument processing_level naming_authority "
        "acknowledgement geospatial_lat_units geospatial_lon_units geospatial_bounds_crs history "
        "geospatial_vertical_units geospatial_vertical_positive geospatial_bounds_vertical_crs title"
    ).split()
)
#: Seconds that the answer of a web server holds, and that it is waited for, where an address may be that of a store.
_HOLDS, _PATIENCE = 300.0, 10.0
COMMENT = (
    "A store of is2ice: is2ice.open_store opens this address. Each track is a Zarr group of its own, "
    "tracks/<granule>/<beam>/<digest>, which xarray.open_zarr opens; current/<granule>/<beam>.json names its digest, "
    "as do the STAC items of a published version (collection.json)."
)


class Place(NamedTuple):
    """A store, and what of it an address names: all of it, a granule, or a track."""

    root: Location
    granule: str | None = None
    beam: str | None = None
    direct: str | None = None  # key of a track's own Zarr group

    @property
    def name(self) -> str:
        """Address for messages."""
        return "/".join(part for part in (self.root.name, self.direct or self.granule, self.beam) if part)


def track_path(entry: Mapping[str, Any]) -> str:
    """Key of the Zarr group of an entry."""
    return f"tracks/{entry['granule']}/{entry['beam']}/{entry['digest'][:16]}"


def packed(document: Any) -> bytes:
    """Return a document as JSON, compressed; the same document gives the same bytes."""
    return gzip.compress(json.dumps(document).encode(), 1, mtime=0)


def unpacked(raw: bytes) -> Any:
    """Read what :func:`packed` wrote.

    Raises
    ------
    ValueError
        The bytes are no compressed JSON.
    """
    try:
        return json.loads(gzip.decompress(raw))
    except (OSError, EOFError, zlib.error, RecursionError) as error:
        raise ValueError(str(error)) from None


def entry_key(granule: str, beam: str) -> str:
    """Key of the entry that makes a track part of the store."""
    return f"{CURRENT}/{granule}/{beam}.json"


def entry_bytes(entry: Mapping[str, Any]) -> bytes:
    """Return an entry as JSON that holds a checksum of itself."""
    document = {
        **entry,
        "attributes": {k: v for k, v in entry["attributes"].items() if k not in _BOILERPLATE},
    }
    return json.dumps({**document, "sum": _sum(document)}).encode()


def parse_entry(raw: bytes, store: str, granule: str, beam: str) -> dict[str, Any]:
    """Read the entry of a track.

    Parameters
    ----------
    raw : bytes
    store : str
        Name of the store, for messages.
    granule, beam : str
        The track whose entry it must be.

    Raises
    ------
    DamagedTrackError
        It is not what was written, or of another track.
    StoreError
        A track of another schema version.
    """
    where = f"{store}/{granule}/{beam}"
    try:
        document = parse_json(raw, where, error=DamagedTrackError, nan=True, kind=dict)
        whole = document.pop("sum") == _sum(document)
        whole &= (document["granule"], document["beam"]) == (granule, beam)
        whole &= isinstance(document["attributes"], dict)
    except (DamagedTrackError, KeyError, TypeError):
        whole = False
    if not whole:
        raise DamagedTrackError(
            f"{where}: the entry of this track is damaged; run again, or restore the file"
        )
    check_version(document["attributes"], where)
    return document


def _sum(document: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True, default=str).encode()).hexdigest()[:32]


def root_meta(**attrs: Any) -> bytes:
    """Return the root of a store, with further attributes."""
    own = {
        "title": "is2ice tracks",
        "comment": COMMENT,
        "is2ice_store": True,
        "store_layout": LAYOUT,
        "schema_version": schema.SCHEMA_VERSION,
        "is2ice_version": __version__,
    }
    return json.dumps(group_meta(own | attrs)).encode()


def root_attributes(root: Location) -> tuple[dict[str, Any], str] | None:
    """Attributes of a store's root and the tag of the object; None where there is no Zarr group.

    Raises
    ------
    StoreError
        Not Zarr metadata.
    """
    held = root.read(META)
    if held is None:
        return None
    where = f"{root.name}/{META}"
    found = parse_json(held[0], where, error=StoreError, nan=True, kind=dict).get("attributes", {})
    if not isinstance(found, dict):
        raise StoreError(f"{where}: not Zarr metadata: attributes are no object; restore the file")
    return found, held[1]


def attributes(group: str | os.PathLike[str]) -> dict[str, Any] | None:
    """Attributes of a Zarr group; None where there is none."""
    held = root_attributes(location(group))
    return None if held is None else held[0]


def create(store: str | os.PathLike[str] | Location, options: Mapping[str, Any] | None = None) -> Location:
    """Make a store, or check that the one there can be used.

    Parameters
    ----------
    store : str, Path or Location
        A folder or a prefix of a bucket: new, empty, or a store.
    options : mapping, optional
        Storage options (:func:`is2ice.io.remote.location.location`).

    Returns
    -------
    Location

    Raises
    ------
    StoreError
        Not writable, not a store, or of another schema version.
    """
    root = location(store, options)
    if not holds_store(root):
        root.create(META, root_meta())  # unless another writer was first
    return root


def holds_store(root: Location) -> bool:
    """Return True if a store is there, False if nothing is.

    Raises
    ------
    StoreError
        Something else, or a store of another schema version or layout.
    """
    if (held := root_attributes(root)) is None and (names := root.entries()):
        held = root_attributes(root)  # made meanwhile, its root first
        if held is None:
            found = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
            raise StoreError(
                f"{root.name}: not an is2ice store (no {META}) and not empty (it holds {found}); name a new folder or "
                "prefix, or an existing store"
            )
    if held is None:
        return False
    check_root(held[0], root.name)
    return True


def check_version(attrs: Mapping[str, Any] | None, where: str) -> None:
    """Refuse data of another schema version.

    Raises
    ------
    StoreError
    """
    version = str((attrs or {}).get("schema_version", ""))
    if not version:
        raise StoreError(f"{where}: a Zarr group, but not of an is2ice store (no schema_version attribute)")
    if version.split(".")[0] != schema.SCHEMA_VERSION.split(".")[0]:
        raise StoreError(
            f"{where}: schema version {version}; this is2ice ({__version__}) reads and writes version "
            f"{schema.SCHEMA_VERSION}. Use the is2ice of that store, or write to a new one."
        )


def check_root(attrs: Mapping[str, Any], where: str) -> None:
    """Refuse a root that is not of a store, or of a store of another schema or layout.

    Raises
    ------
    StoreError
    """
    check_version(attrs, where)
    if "granule" in attrs:
        raise StoreError(f"{where}: one granule of a store, not a store; open the store, or use open_track")
    if (layout := attrs.get("store_layout")) != LAYOUT:
        raise StoreError(f"{where}: store layout {layout}, expected {LAYOUT}; use the is2ice that wrote it")


def is_store(source: Any) -> bool:
    """Return True for the address of a store, a granule or a track in it, rather than of a file.

    A URL counts by its name alone, a path by what lies there; a web server is asked if the name has no ending, once in
    five minutes.
    """
    if isinstance(source, Location):
        return True
    if not isinstance(source, str | os.PathLike):
        return False
    text = os.fspath(source)
    if is_url(text):
        parts = urlsplit(public_url(text))
        folder = parts.path.rstrip("/")
        if folder.lower().endswith(_FILES):
            return False
        if (
            parts.scheme in ("http", "https")
            and "." not in folder.rpartition("/")[2]
            and ".zarr/" not in folder
        ):
            return _served(text, int(time.monotonic() // _HOLDS))
        return folder.endswith(".zarr") or ".zarr/" in folder or parts.scheme in ("s3", "gs", "az", "abfs")
    path = local_path(text)
    if not path.strip() or os.path.isfile(os.path.expanduser(path)):
        return False
    path = os.path.abspath(os.path.expanduser(path))
    keys = ["", os.path.join(CURRENT, os.path.basename(path)), entry_key(*path.rsplit("/", 2)[-2:])]
    for key in keys:  # the store itself, a granule, a track
        if os.path.exists(os.path.join(path, META)) and os.path.exists(os.path.join(path, key)):
            return True
        path = os.path.dirname(path)
    return False


@lru_cache(maxsize=1024)
def _served(url: str, period: int) -> bool:
    """Return True if a web server has the root of a store at an address; `period` ends the validity of an answer."""
    from aiohttp import ClientTimeout

    try:
        options = {"client_kwargs": {"timeout": ClientTimeout(total=_PATIENCE)}}
        return root_attributes(location(url, options)) is not None
    except StoreError:
        return False


def resolve(source: str | os.PathLike[str] | Location, options: Mapping[str, Any] | None = None) -> Place:
    """Find the store that an address lies in: its own, that of a granule, or of a track.

    Raises
    ------
    StoreError
        There is none, or one that this package cannot read.
    """
    if isinstance(source, Location):
        options = source.options
    text = os.fspath(source).rstrip("/") or os.fspath(source)
    url, mark, query = text.partition("?") if is_url(text) else (text, "", "")
    steps = url.split("/")
    for depth in (2, 0, 1) if steps[-1] in schema.BEAMS else (0, 1):
        if len(steps) <= depth or not steps[-1 - depth]:
            continue
        above = "/".join(steps[: len(steps) - depth]) + mark + query
        try:
            found = _root(location(above, options))
        except StoreError:
            if depth == 0:
                raise
            continue
        if found is not None:
            below = steps[len(steps) - depth :]
            return found if depth == 0 else Place(found.root, *below)
    return _absent(location(text, options))


def _root(root: Location) -> Place | None:
    """Return the place of a root or of a track's own group; None of anything else."""
    held = root_attributes(root)
    if held is None:
        return None
    if "beam" in held[0]:
        check_version(held[0], root.name)
        return Place(root, direct="")
    check_root(held[0], root.name)
    return Place(root)


def _absent(root: Location) -> Place:
    names = [] if is_url(root.url) and "s3:" not in root.url else root.entries()
    what = f"no {META} there"
    if "snapshots" in names and {"refs", "repo"} & set(names):  # of Icechunk 1, of Icechunk 2
        what = (
            "an Icechunk repository; open it with icechunk, and hand the Zarr group of its session to "
            "is2ice.open_track (documentation: How to, Publish a store)"
        )
    elif not is_url(root.url):
        what = f"not a Zarr group (no {META})" if os.path.exists(root.url) else "no such folder"
        if files := sorted(n for n in names if n.endswith(".h5")):
            what += f"; it holds HDF5 files, which open one by one, such as {files[0]}"
    raise StoreError(f"{root.name}: not an is2ice store: {what}")

"""Publishing: a store to a bucket or folder, staged, checked, versioned, the pointer moved last.

Tracks go first, each to a path of its own that holds the digest of its content and that no version names
yet; then the version's list; then, in one step, the pointer. Whatever is interrupted leaves the old version
as it was, and the same command goes on from there. See :mod:`is2ice.io.publishing.version_manifests` for the layout.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import xarray as xr

from is2ice import schema
from is2ice.errors import SchemaError, StoreError
from is2ice.io.stores import store as stores
from is2ice.io.stores.declarations import Declaration
from is2ice.io.stores.layout import META, group_meta, is_url
from is2ice.io.stores.remote_listing import is_published
from is2ice.io.urls import file_path, public_url
from is2ice.science import epoch
from is2ice.version import __version__

from . import version_manifests
from .stac_items import item_of_track
from .target import Target
from .version_index import PARALLEL, complete

__all__ = ["Published", "check_track", "publish", "source"]

log = logging.getLogger("is2ice")
#: Global attributes without which a track is not fit to be found or cited (ACDD-1.3, CF-1.11).
REQUIRED = (
    "Conventions", "title", "summary", "keywords", "featureType", "platform", "instrument", "history", "date_created",
    "time_coverage_start", "time_coverage_end", "geospatial_lat_min", "geospatial_lat_max", "geospatial_lon_min",
    "geospatial_lon_max", "source_granule", "processing_parameters", "release", "schema_version", "inputs",
)  # fmt: skip


@dataclass(frozen=True)
class Published:
    """What a publication did.

    Attributes
    ----------
    url : str
        Address of the published store.
    version : int
        The current one afterwards; of a dry run, the one that would be.
    added, replaced, unchanged : tuple of str
        Tracks, ``<granule>/<beam>``.
    bytes : int
        Uploaded.
    declared : bool
        Whether the declaration is another one than the version before has.
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


@dataclass(frozen=True)
class _Track:
    """A track of the local store, ready to be uploaded."""

    key: str  # <granule>/<beam>
    path: Path
    attrs: Mapping[str, Any] = field(repr=False)
    files: Mapping[str, str] = field(repr=False)  # SHA-256 by name below the track's group
    digest: str = ""
    size: int = 0

    @property
    def place(self) -> str:
        return f"{self.key}/{self.digest[:12]}"


def publish(
    store: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    declared: Declaration | None = None,
    dry_run: bool = False,
) -> Published:
    """Publish a store: what is new or made otherwise becomes part of a new version; else nothing changes.

    Parameters
    ----------
    store : str or Path
        Local store, as :func:`is2ice.run` writes it.
    target : str or Path
        ``s3://bucket/prefix`` or a folder; of its own: new, empty, or published to before.
    declared : Declaration, optional
        Title, licence and citation of the published store; by default those of the version before. Another one
        makes a new version, also where no track is new.
    dry_run : bool
        Check and compare only; nothing is written.

    Returns
    -------
    Published

    Raises
    ------
    StoreError
        Not a store, an unfit track (with everything that is wrong with it), or a target that cannot be
        written or holds something else. What was published before stays as it was.
    """
    listed, root = source(store)
    place = Target(target)
    check_apart(root, place)
    version_manifests.current(place)  # refuses another store, before anything is written
    version_manifests.check_place(place)
    base = version_manifests.latest(place)
    wanted = {f"{g}/{b}": attrs for (g, b), attrs in listed.tracks.items()}
    fresh, changed = _differing(wanted, base), _redeclared(declared, base)
    tracks = {key: _checked(root / key, key) for key in sorted(fresh)}
    if dry_run:
        would = {"version": _number(base) + bool(fresh or changed)}
        size = sum(t.size for t in tracks.values())
        return _told(place, base, would, fresh, wanted, size, changed)
    version_manifests.claim(place)
    uploaded: dict[str, int] = {}
    while fresh or changed:
        for key in sorted(fresh - uploaded.keys()):
            tracks[key] = tracks.get(key) or _checked(root / key, key)
            uploaded[key] = _upload(place, tracks[key])
        manifest = _merged(base, [tracks[key] for key in sorted(fresh)], declared)
        if place.create(version_manifests.version_key(manifest["version"]), json.dumps(manifest).encode()):
            break
        # Another publisher was first: what it added stays, and what it has otherwise is compared again.
        base = version_manifests.latest(place)
        fresh, changed = _differing(wanted, base), _redeclared(declared, base)
    else:
        manifest = base or {}
    complete(place, manifest, touched=bool(uploaded))
    return _told(place, base, manifest, fresh, wanted, sum(uploaded.values()), changed)


def source(store: str | os.PathLike[str]) -> tuple[stores.Store, Path]:
    """The local store that is to be published, and its folder.

    Raises
    ------
    StoreError
        None, an empty one, or one that was published already.
    """
    text = os.fspath(store)
    if is_url(text):
        raise StoreError(f"{public_url(text)}: what is published is a local store, as is2ice run writes it")
    root = Path(file_path(text) if text.startswith("file:") else text).expanduser().absolute()
    if is_published(str(root), {}):
        raise StoreError(
            f"{root}: this is a published store, its versions and all; publish the local store that it was made from, "
            "or copy the folder as it is"
        )
    listed = stores.open_store(store)
    if not len(listed):
        raise StoreError(f"{root}: the store holds no track; there is nothing to publish")
    return listed, root


def check_apart(root: Path, place: Target) -> None:
    """Refuse to publish a store onto itself, into itself, or around itself."""
    if place.folder is None:
        return
    here, there = root.resolve(), place.folder.resolve()
    if here == there:
        raise StoreError(f"{root}: a store cannot be published onto itself; name another folder or a bucket")
    if here in there.parents:
        raise StoreError(
            f"{place.name}: lies inside the store {root}; name a folder outside of it, or a bucket"
        )
    if there in here.parents:
        raise StoreError(
            f"{place.name}: the store {root} lies inside of it; name a folder beside it, or a bucket"
        )


def _number(manifest: Mapping[str, Any] | None) -> int:
    return int((manifest or {}).get("version", 0))


def _redeclared(declared: Declaration | None, base: Mapping[str, Any] | None) -> bool:
    """Whether a declaration is given, and another one than that of a version."""
    return declared is not None and version_manifests.kept_of(declared) != (base or {}).get("declaration")


def _differing(wanted: Mapping[str, Mapping[str, Any]], base: Mapping[str, Any] | None) -> set[str]:
    """Tracks that a version lacks, or holds made otherwise."""
    held = (base or {}).get("tracks", {})
    return {key for key, attrs in wanted.items() if held.get(key, {}).get("inputs") != attrs["inputs"]}


def _told(
    place: Target,
    base: Any,
    manifest: Any,
    fresh: set[str],
    wanted: Mapping[str, Any],
    size: int,
    changed: bool,
) -> Published:
    held = (base or {}).get("tracks", {})
    return Published(
        place.name,
        _number(manifest),
        tuple(sorted(k for k in fresh if k not in held)),
        tuple(sorted(k for k in fresh if k in held)),
        tuple(sorted(wanted.keys() - fresh)),
        size,
        changed and base is not None,
    )


# -- checking -----------------------------------------------------------------------------------------
def check_track(path: str | os.PathLike[str]) -> xr.Dataset:
    """A stored track, if it is fit to be published.

    Parameters
    ----------
    path : str or Path
        The track's group in a local store.

    Returns
    -------
    xarray.Dataset
        Loaded, so every chunk has been read.

    Raises
    ------
    StoreError
        With everything that is wrong: values against the vocabulary, attributes of CF-1.11 and ACDD-1.3.
    """
    where = "/".join(Path(path).parts[-2:])
    try:
        with xr.open_zarr(path, decode_times=False, chunks=None, consolidated=True) as ds:
            ds.load()
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


def _checked(path: Path, key: str) -> _Track:
    ds = check_track(path)
    files = {p.relative_to(path).as_posix(): p for p in sorted(path.rglob("*")) if p.is_file()}
    sums = {name: hashlib.sha256(p.read_bytes()).hexdigest() for name, p in files.items()}
    digest = hashlib.sha256(json.dumps(sums, sort_keys=True).encode()).hexdigest()
    return _Track(key, path, dict(ds.attrs), sums, digest, sum(p.stat().st_size for p in files.values()))


# -- uploading ----------------------------------------------------------------------------------------
def _upload(place: Target, track: _Track) -> int:
    """Put a track where no version names it yet; what an interrupted upload left there is used."""
    there = place.sizes(track.place)
    sizes = {f"{track.place}/{name}": (track.path / name).stat().st_size for name in track.files}
    missing = [
        name for name in track.files if there.get(f"{track.place}/{name}") != sizes[f"{track.place}/{name}"]
    ]
    with ThreadPoolExecutor(PARALLEL) as pool:
        list(pool.map(lambda name: place.put(f"{track.place}/{name}", track.path / name), missing))
    after = place.sizes(track.place)
    lost = [key for key, size in sizes.items() if after.get(key) != size]
    if lost:
        raise StoreError(
            f"{place.name}: {len(lost)} files did not arrive whole, such as {lost[0]}; publish again"
        )
    granule = track.key.split("/")[0]
    parent = group_meta({"granule": granule, "schema_version": schema.SCHEMA_VERSION})
    place.put(f"{granule}/{META}", json.dumps(parent).encode())
    revisions = group_meta({"published": track.key, "schema_version": schema.SCHEMA_VERSION})
    place.put(f"{track.key}/{META}", json.dumps(revisions).encode())
    with xr.open_zarr(track.path, decode_times=False, chunks=None) as ds:
        item = item_of_track(
            ds,
            href=f"./{track.digest[:12]}",
            collection="is2ice",  # until a version's collection has it
            digest=track.digest,
            size=track.size,
        )
    place.put(f"{track.place}.json", json.dumps(item).encode())
    log.info("%s: %s, %d of %d files", place.name, track.place, len(missing), len(track.files))
    return sum(sizes[f"{track.place}/{name}"] for name in missing)


def _merged(
    base: Mapping[str, Any] | None, tracks: list[_Track], declared: Declaration | None
) -> dict[str, Any]:
    """The next version: all that the last one holds, and these tracks."""
    entries = dict((base or {}).get("tracks", {}))
    for track in tracks:
        entries[track.key] = {
            "path": track.place,
            "inputs": track.attrs["inputs"],
            "sha256": track.digest,
            "bytes": track.size,
            "files": dict(track.files),
            "attributes": json.loads(json.dumps(dict(track.attrs), default=str)),
        }
    declared = declared or version_manifests.declaration_of(base)
    return {
        "version": _number(base) + 1,
        "created": epoch.now(),
        "is2ice": __version__,
        "schema_version": schema.SCHEMA_VERSION,
        "name": declared.name if declared else "is2ice",
        "title": declared.title if declared else "is2ice tracks",
        "licence": declared.licence if declared else "",
        "citation": declared.citation if declared else "",
        "declaration": version_manifests.kept_of(declared),
        "tracks": dict(sorted(entries.items())),
    }

"""Tracks written to a store and read from it, a folder or a bucket alike; see :mod:`is2ice.io.stores.layout`."""

from __future__ import annotations

import hashlib
import html
import json
import logging
import os
import re
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from is2ice import schema
from is2ice.errors import DamagedTrackError, StoreError
from is2ice.io.documents import parse_json
from is2ice.io.remote.location import FolderLocation, HttpLocation, Location, location
from is2ice.science import epoch
from is2ice.version import __version__

from . import cf_attributes
from .layout import (
    CURRENT,
    META,
    Place,
    check_version,
    create,
    entry_bytes,
    entry_key,
    is_store,
    packed,
    parse_entry,
    resolve,
    root_attributes,
    track_path,
    unpacked,
)
from .stored_cube import cube, missing_value, open_group, pick_beams
from .track_encoding import digest_of, encode

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

__all__ = [
    "DRAFT",
    "META",
    "Overwrite",
    "Store",
    "add_revision",
    "checksum",
    "consolidate",
    "create",
    "damage",
    "draft",
    "fingerprint",
    "group_name",
    "is_store",
    "json_attribute",
    "keeps",
    "missing_value",
    "open_store",
    "open_track",
    "parse_entry",
    "read_track",
    "read_version",
    "show_track",
    "track_attributes",
    "track_summary",
    "version_key",
    "version_numbers",
    "write_track",
]

log = logging.getLogger("is2ice")

Overwrite = Literal["different", "always", "never"]
#: Name of what a store holds now, published or not.
DRAFT = "draft"
#: The index is written whole while it is below this size, bytes; above it, each run adds a part.
SMALL_INDEX = 250_000
#: So many parts of the index are joined.
MANY_PARTS = 64


# -- writing ------------------------------------------------------------------------------------------
def fingerprint(
    granule: str,
    beam: str,
    parameters: Mapping[str, Any] | None = None,
    origin: Mapping[str, Any] | None = None,
) -> str:
    """Fingerprint of everything a track is made from; the same means that nothing would change.

    Parameters
    ----------
    granule, beam : str
    parameters : mapping
        Processing parameters that JSON can hold.
    origin : mapping, optional
        Size and checksum of the source, where known.

    Returns
    -------
    str
        32 hexadecimal digits.
    """
    document = {
        "granule": granule,
        "beam": beam,
        "parameters": dict(parameters or {}),
        "origin": dict(origin or {}),
        "is2ice": __version__,
        "schema": schema.SCHEMA_VERSION,
    }
    text = json.dumps(document, sort_keys=True, default=list)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def group_name(granule: str) -> str:
    """Name of a granule that a store can hold: all but letters, digits, _ . and - becomes _."""
    return re.sub(r"[^\w.-]+", "_", granule).lstrip(".-") or "granule"


def track_attributes(
    store: str | os.PathLike[str] | Location, granule: str, beam: str
) -> dict[str, Any] | None:
    """Attributes of a stored track that is whole; None where it is not there, or damaged (a warning says how).

    The track is read and compared with its digest.
    """
    root = location(store)
    entry, _, fault = _current(root, granule, beam)
    if entry is None:
        return None
    fault = fault or damage(root, entry)
    if fault:
        log.warning("%s/%s/%s: %s; it is made again", root.name, granule, beam, fault)
        return None
    return {**entry["attributes"], "run": entry.get("run", "")}


def track_summary(attrs: Mapping[str, Any]) -> dict[str, Any]:
    """Return counts stored with a track, from its attributes."""
    return json_attribute(attrs, "track_summary")


def json_attribute(attrs: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Read an attribute of a track that holds an object as JSON; empty if it is absent.

    Raises
    ------
    StoreError
        The attribute is no JSON object.
    """
    where = f"attribute {name} of {attrs.get('granule', '')} {attrs.get('beam', '')}".rstrip()
    found = parse_json(str(attrs.get(name, "{}")), where, error=StoreError, nan=True, kind=dict)
    return dict(found)


def write_track(
    ds: xr.Dataset,
    store: str | os.PathLike[str] | Location,
    *,
    overwrite: Overwrite = "different",
    parameters: Mapping[str, Any] | None = None,
    origin: Mapping[str, Any] | None = None,
    run: str = "",
) -> dict[str, Any]:
    """Write one track, whole, and make it part of the store in one step.

    Parameters
    ----------
    ds : xarray.Dataset
        Segments of one track, dims ``(x_atc,)``, or a cube of one beam; ``attrs["granule"]`` names it.
    store : str, Path or Location
        Folder or bucket; made if absent.
    overwrite : {"different", "always", "never"}
        Replace a track already there if it was made from other inputs, always, or never. A damaged one is replaced.
    parameters : mapping, optional
        Processing parameters; without them the data themselves are the fingerprint.
    origin : mapping, optional
        Size and checksum of the source, where known.
    run : str
        Id of the run that writes.

    Returns
    -------
    dict
        ``granule``, ``beam``, ``path`` (address of its Zarr group), ``inputs``, ``bytes``, ``seconds`` and ``outcome``:
        ``"written"``, ``"replaced"``, ``"repaired"`` (a damaged one) or ``"skipped"``.

    Raises
    ------
    StoreError
        Read-only target, not a store, another schema version, not one track.
    SchemaError
        When variables do not follow the vocabulary.
    """
    if overwrite not in ("different", "always", "never"):
        raise ValueError(f"overwrite={overwrite!r}: expected 'different', 'always' or 'never'")
    started = time.perf_counter()
    ds, granule, beam = _one_track(ds)
    root = create(store)
    inputs = fingerprint(
        granule, beam, {"content": checksum(ds)} if parameters is None else parameters, origin
    )
    ready = cf_attributes.describe(
        ds, granule=granule, beam=beam, inputs=inputs, parameters=parameters, origin=origin
    )
    objects = encode(ready)
    entry = _new_entry(granule, beam, objects, dict(ready.attrs), run)
    put = False
    while True:  # more than one turn only when another run writes the same track
        have, tag, fault = _current(root, granule, beam)
        if have is not None and keeps(have, inputs, overwrite) and not (fault := damage(root, have)):
            entry, outcome = have, "skipped"
            break
        if not put:
            root.put_all({f"{track_path(entry)}/{name}": raw for name, raw in objects.items()})
            put = True
        if root.swap(entry_key(granule, beam), entry_bytes(entry), tag):
            show_track(root, entry)
            outcome = "repaired" if fault else "written" if have is None else "replaced"
            break
    return {
        "granule": granule,
        "beam": beam,
        "inputs": inputs,
        "path": f"{root.url}/{track_path(entry)}",
        "bytes": 0 if outcome == "skipped" else entry["bytes"],
        "seconds": time.perf_counter() - started,
        "outcome": outcome,
    }


def _new_entry(
    granule: str, beam: str, objects: Mapping[str, bytes], attrs: Mapping[str, Any], run: str = ""
) -> dict[str, Any]:
    """Entry of a track: its digest, the checksum of its metadata, its inputs and attributes."""
    return {
        "granule": granule,
        "beam": beam,
        "digest": digest_of(objects),
        "metadata": hashlib.sha256(objects[META]).hexdigest(),
        "inputs": attrs["inputs"],
        "bytes": sum(map(len, objects.values())),
        "objects": len(objects),
        "run": run,
        "made": epoch.now(),
        "attributes": json.loads(json.dumps(dict(attrs), default=str)),
    }


def show_track(root: Location, entry: Mapping[str, Any]) -> None:
    """Let ``<granule>/<beam>`` of a folder lead to a track."""
    if isinstance(root, FolderLocation):
        granule, beam = entry["granule"], entry["beam"]
        root.link(f"{granule}/{beam}", track_path(entry))


def keeps(have: Mapping[str, Any] | None, inputs: str, overwrite: Overwrite) -> bool:
    """Return True if a stored track (its attributes or entry, or None) stays unchanged."""
    if have is None or overwrite == "always":
        return False
    return overwrite == "never" or have.get("inputs") == inputs


def _current(root: Location, granule: str, beam: str) -> tuple[dict[str, Any] | None, str | None, str]:
    """Entry of a track, the tag of its object, and what is wrong with it."""
    held = root.read(entry_key(granule, beam))
    if held is None:
        return None, None, ""
    try:
        return parse_entry(held[0], root.name, granule, beam), held[1], ""
    except DamagedTrackError as error:
        log.warning("%s", error)
        return None, held[1], "its entry is damaged"


def read_track(root: Location, entry: Mapping[str, Any]) -> dict[str, bytes]:
    """Read all objects of a track, compared with its digest.

    Raises
    ------
    DamagedTrackError
    """
    path = track_path(entry)
    keys = list(root.objects(path + "/"))
    found = {
        key[len(path) + 1 :]: raw
        for key, raw in zip(keys, root.read_all(keys), strict=True)
        if raw is not None
    }
    if digest_of(found) != entry["digest"]:
        lost = entry["objects"] - len(found)
        what = (
            f"{lost} of {entry['objects']} objects are gone"
            if lost > 0
            else "its bytes are not what was written"
        )
        raise DamagedTrackError(f"{root.name}/{path}: damaged: {what}; run again to make it again")
    return found


def damage(root: Location, entry: Mapping[str, Any]) -> str:
    """Fault of a stored track, found by reading it; empty if it is whole."""
    try:
        read_track(root, entry)
    except DamagedTrackError as error:
        return str(error).partition(": ")[2]
    return ""


def _one_track(ds: xr.Dataset) -> tuple[xr.Dataset, str, str]:
    """Return the track as (x_atc,) in memory, its granule and beam."""
    beam, granule = ds.attrs.get("beam"), ds.attrs.get("granule")
    if "beam" in ds.dims:
        if ds.sizes["beam"] != 1:
            raise StoreError(
                f"{granule}: {ds.sizes['beam']} beams; write one track at a time, such as ds.sel(beam=['gt1r'])"
            )
        beam = str(ds["beam"].values[0])
        if "spot" in ds:
            ds = ds.assign_attrs(spot=int(ds["spot"].values[0]))
        ds = ds.squeeze("beam", drop=True).drop_vars("spot", errors="ignore")
    if beam not in schema.BEAMS or not re.fullmatch(r"\w[\w.-]*", str(granule)):
        raise StoreError(
            f"granule {granule!r}, beam {beam!r}: expected attrs['granule'] of letters, digits, _ . and -, and a "
            f"beam among {', '.join(schema.BEAMS)}"
        )
    if ds.sizes.get("x_atc", 0) == 0:
        raise StoreError(f"{granule} {beam}: no segments along x_atc; there is nothing to store")
    stages = [
        stage
        for stage, table in schema.STAGES.items()
        if stage != "photons" and any(name in ds.data_vars for name in table)
    ]
    ds = ds.compute()
    schema.conform(ds, *stages, values=False)
    return ds, str(granule), str(beam)


def checksum(ds: xr.Dataset) -> str:
    """SHA-256 of all values of a track, whatever its attributes: the same bits give the same."""
    digest = hashlib.sha256()
    for name in sorted(str(n) for n in ds.variables if n != "time"):  # which only repeats delta_time
        values = np.ascontiguousarray(ds[name].values)
        digest.update(name.encode())
        digest.update(repr(values.tolist()).encode() if values.dtype.hasobject else values.tobytes())
    return digest.hexdigest()


# -- the index ----------------------------------------------------------------------------------------
def consolidate(
    store: str | os.PathLike[str] | Location, tracks: Iterable[tuple[str, str]] | None = None
) -> int:
    """Add entries to the index, from which :func:`open_store` lists a store without a request for each track.

    Parameters
    ----------
    store : str, Path or Location
    tracks : iterable of (granule, beam), optional
        Those written since; by default the index is written whole.

    Returns
    -------
    int
        Tracks added, or of the whole index.
    """
    root = create(store)
    parts = root.objects("index/")
    size = sum(part.size for part in parts.values())
    if tracks is None or (size < SMALL_INDEX and len(parts) <= 1) or len(parts) > MANY_PARTS:
        entries = _list_entries(root, _read_index(root, list(parts)))[0]
        root.put("index/all.json.gz", packed(entries))
        root.delete(key for key in parts if key != "index/all.json.gz")
        return len(entries)
    fresh = {}
    for granule, beam in dict.fromkeys(tracks):
        held = root.read(entry_key(granule, beam))
        if held is not None:
            fresh[entry_key(granule, beam)] = [held[1], parse_entry(held[0], root.name, granule, beam)]
    if fresh:
        root.put(f"index/{time.time_ns():020d}-{uuid.uuid4().hex[:8]}.json.gz", packed(fresh))
    return len(fresh)


def _read_index(root: Location, parts: Iterable[str]) -> dict[str, Any]:
    """Tag and entry by key of all parts of an index; a damaged part counts for nothing."""
    out: dict[str, Any] = {}
    ordered = sorted(parts, key=lambda key: ("/all." not in key, key))
    for key, raw in zip(ordered, root.read_all(ordered), strict=True):
        try:
            out |= unpacked(raw or b"")
        except ValueError as error:
            log.debug("%s/%s: %s", root.name, key, error)
    return out


def _list_entries(
    root: Location, known: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[tuple[str, str], str]]:
    """Tag and entry of each track by key, those that the index lacks read; and the damaged ones, why."""
    listed = {k: o.tag for k, o in root.objects(CURRENT + "/").items() if k.endswith(".json")}
    entries = {k: known[k] for k, tag in listed.items() if k in known and known[k][0] == tag}
    missing = [key for key in listed if key not in entries]
    damaged = {}
    for key, raw in zip(missing, root.read_all(missing), strict=True):
        _, granule, beam = key.removesuffix(".json").split("/")
        try:
            entries[key] = [listed[key], parse_entry(raw or b"", root.name, granule, beam)]
        except DamagedTrackError as error:
            damaged[granule, beam] = str(error)
    return entries, damaged


# -- listing ------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Store:
    """Contents of a store.

    Attributes
    ----------
    root : Location
    tracks : dict
        Attributes of each track by ``(granule, beam)``; ``zarr_path`` is the key of its Zarr group.
    version : int, "draft" or None
        As asked for.
    damaged : dict
        Tracks whose entry is damaged, and why; ``is2ice verify`` also reads what the others hold.
    """

    root: Location
    tracks: dict[tuple[str, str], dict[str, Any]] = field(repr=False)
    version: int | str | None = None
    damaged: dict[tuple[str, str], str] = field(default_factory=dict)

    @property
    def location(self) -> str:
        """Path or URL, without secrets."""
        return self.root.name

    @property
    def granules(self) -> tuple[str, ...]:
        """Granules, in order of name (which is of time)."""
        return tuple(sorted({granule for granule, _ in self.tracks}))

    def beams(self, granule: str) -> tuple[str, ...]:
        """Beams stored of a granule."""
        return tuple(b for b in schema.BEAMS if (granule, b) in self.tracks)

    def __len__(self) -> int:
        return len(self.tracks)

    def __repr__(self) -> str:
        return f"<Store {self.location}: {len(self.granules)} granules, {len(self)} tracks>"

    def _repr_html_(self) -> str:
        table = self.table()
        shown = "granule beam release time_coverage_start n_filled n_leads freeboard_mean freeboard_median".split()
        table = table[[c for c in shown if c in table]]
        body = table.to_html(index=False, na_rep="", max_rows=20, float_format="{:.3f}".format)
        return f"<b>{html.escape(repr(self)[1:-1])}</b>{body}"

    def table(self) -> pd.DataFrame:
        """Give one row a track: its names, position and time, and the counts of its summary."""
        import pandas as pd

        columns = (
            "beam_strength release rgt cycle time_coverage_start geospatial_lat_min geospatial_lat_max crs"
        )
        rows = []
        for (granule, beam), attrs in sorted(self.tracks.items()):
            row = {"granule": granule, "beam": beam, **{c: attrs.get(c) for c in columns.split()}}
            rows.append(row | track_summary(attrs))
        return pd.DataFrame(rows)

    def open_track(
        self, granule: str | None = None, beams: str | Iterable[str] | None = None, **options: Any
    ) -> xr.Dataset:
        """Return a granule's cube (see :func:`open_track`)."""
        return open_track(self.root, granule, beams, **{"version": self.version, **options})

    def path(self, granule: str, beam: str) -> str:
        """Address of a track's Zarr group, which plain ``xarray.open_zarr`` opens."""
        return f"{self.root.url}/{self.tracks[granule, beam]['zarr_path']}"


def open_store(
    store: str | os.PathLike[str] | Location,
    *,
    storage_options: Mapping[str, Any] | None = None,
    version: int | str | None = None,
) -> Store:
    """List a store.

    Parameters
    ----------
    store : str, Path or Location
        Folder, or ``s3://``, ``gs://``, ``az://`` or ``https://`` URL. The query of a signed ``https://`` URL goes with
        every request.
    storage_options : mapping, optional
        Options of obstore for buckets, of fsspec for ``https://``; they are not written down.
    version : int or "draft", optional
        By default the published version, or what was written to a store without versions. "draft" is all that was
        written, published or not.

    Returns
    -------
    Store

    Raises
    ------
    StoreError
        Not a store, or of another schema version.
    """
    place = resolve(store, storage_options)
    if place.direct is not None or place.granule is not None:
        raise StoreError(f"{place.name}: part of a store, not a store; open the store, or use open_track")
    return listing(place.root, version)


def listing(root: Location, version: int | str | None = None) -> Store:
    """List a store whose root was checked; see :func:`open_store`."""
    entries, damaged = _all_entries(root, _version(root, version))
    for reason in damaged.values():
        log.warning("%s", reason)
    tracks = {(e["granule"], e["beam"]): _described(e) for e in entries}
    return Store(root, tracks, version, damaged)


def _all_entries(
    root: Location, number: int | None
) -> tuple[list[dict[str, Any]], dict[tuple[str, str], str]]:
    """Entries of a version, or of the draft, and why others of the draft are damaged."""
    if number is not None:
        return list(read_version(root, number)["tracks"].values()), {}
    if not isinstance(root, HttpLocation):
        found, damaged = _list_entries(root, _read_index(root, root.objects("index/")))
        return [entry for _, entry in found.values()], damaged
    known = _read_index(root, ["index/all.json.gz"])  # a web server lists nothing
    if not known:
        raise StoreError(
            f"{root.name}: no index, so a URL cannot be listed; run is2ice.io.stores.store.consolidate on the store, "
            "or publish it, or open a track by its own URL (.../<granule>/<beam>)"
        )
    return [entry for _, entry in known.values()], {}


def draft(
    store: str | os.PathLike[str] | Location,
) -> tuple[Location, dict[str, dict[str, Any]], dict[tuple[str, str], str]]:
    """Location of a store, entries of all that was written to it by ``<granule>/<beam>``, and damaged ones, why."""
    place = resolve(store)
    if place.direct is not None or place.granule is not None or isinstance(place.root, HttpLocation):
        raise StoreError(f"{place.name}: expected a whole store, in a folder or a bucket")
    entries, damaged = _all_entries(place.root, None)
    return place.root, {f"{e['granule']}/{e['beam']}": e for e in entries}, damaged


def _described(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes of a track as listed, with its place and digest; the entry's own, to copy nothing."""
    attributes: dict[str, Any] = entry["attributes"]
    attributes |= {"zarr_path": track_path(entry), "digest": entry["digest"], "bytes": entry["bytes"]}
    return attributes


# -- versions -----------------------------------------------------------------------------------------
def version_key(number: int) -> str:
    """Key of the list of a version."""
    return f"versions/{number:06d}.json.gz"


def version_numbers(root: Location) -> list[int]:
    """Numbers of the versions that are there, published or about to be."""
    found = (re.fullmatch(r"versions/(\d{6})\.json\.gz", key) for key in root.objects("versions/"))
    return sorted(int(match[1]) for match in found if match)


def _version(root: Location, version: int | str | None) -> int | None:
    """Return the number of the version asked for; None means the draft."""
    held = root_attributes(root)
    current = (held[0] if held else {}).get("version")
    if version == DRAFT or (version is None and current is None):
        return None
    if current is None:
        raise StoreError(
            f"{root.name}: a store without versions (see is2ice publish); leave out version={version}"
        )
    return int(current if version is None else version)


def read_version(root: Location, number: int) -> dict[str, Any]:
    """Read the list of a version: ``tracks`` (entries by ``<granule>/<beam>``), ``created``, ``declaration`` ...

    Raises
    ------
    StoreError
        There is none, or it is damaged.
    """
    held = root.read(version_key(number))
    if held is None:
        current = (root_attributes(root) or ({},))[0].get("version")
        raise StoreError(f"{root.name}: no version {number}; the current one is {current}")
    try:
        document = dict(unpacked(held[0]))
        return {**document, "version": int(document["version"]), "tracks": dict(document["tracks"])}
    except (ValueError, KeyError, TypeError):
        raise StoreError(
            f"{root.name}: {version_key(number)} is damaged; restore it, or publish again"
        ) from None


def _revision_key(granule: str, beam: str) -> str:
    return f"published/{granule}/{beam}.json"


def add_revision(root: Location, number: int, entry: Mapping[str, Any]) -> None:
    """Note that a track is published as this entry from a version on."""
    key = _revision_key(entry["granule"], entry["beam"])
    one = {"since": number, "entry": entry_bytes(entry).decode()}
    if number == 1 and root.create(key, json.dumps([one]).encode()):
        return
    while True:  # until no other publisher was first
        held = root.read(key)
        revisions = [r for r in _revisions(held) if r["since"] != number]
        if root.swap(key, json.dumps([*revisions, one]).encode(), held[1] if held else None):
            return


def _revisions(held: tuple[bytes, str] | None) -> list[dict[str, Any]]:
    try:
        return list(parse_json(held[0], "revisions", error=StoreError, kind=list)) if held else []
    except StoreError:  # the list of all tracks of a version says the same
        return []


def _published(root: Location, granule: str, beam: str, number: int) -> dict[str, Any] | None:
    """Entry of a track in a version, without the list of all its tracks; None if that must be asked."""
    found = [r for r in _revisions(root.read(_revision_key(granule, beam))) if r["since"] <= number]
    if not found:
        return None
    try:
        newest = max(found, key=lambda r: int(r["since"]))
        return parse_entry(newest["entry"].encode(), root.name, granule, beam)
    except DamagedTrackError:
        return None


# -- reading ------------------------------------------------------------------------------------------
def open_track(
    source: Any,
    granule: str | None = None,
    beams: str | Iterable[str] | None = None,
    *,
    chunks: int | Literal["auto"] | None = "auto",
    storage_options: Mapping[str, Any] | None = None,
    version: int | str | None = None,
    variables: str | Iterable[str] | None = None,
) -> xr.Dataset:
    """Open a stored granule as a cube, or one stored track.

    Parameters
    ----------
    source : str, Path, Location or zarr.Group
        A store, a granule in it (``<store>/<granule>``) or a track (``<store>/<granule>/<beam>``, or its Zarr group).
    granule : str, optional
        Needed where a store holds several.
    beams : {"strong", "weak", "all"}, name or names, optional
        All beams stored by default.
    chunks : int, "auto" or None
        Cells in one Dask block along ``x_atc``; "auto" is the shard, None loads.
    storage_options, version
        As for :func:`open_store`.
    variables : name or names, optional
        Those to open beside the coordinates; all by default.

    Returns
    -------
    xarray.Dataset
        Dims ``(beam, x_atc)`` on the smallest grid that holds every beam; cells a beam does not reach are
        empty. A track opened by its own path has dims ``(x_atc,)``. ``delta_time`` is in seconds, ``time`` the same
        as UTC; this, ``latitude``, ``longitude``, ``x`` and ``y`` are coordinates.

    Raises
    ------
    StoreError
        Not a store, another schema version, or a granule or beam that is not there.
    DamagedTrackError
        An object of the track is absent or changed; also when its values are computed.
    ValueError
        Chunks that are not possible; a variable that no track of the granule holds.
    """
    if not (chunks is None or chunks == "auto" or (isinstance(chunks, int) and chunks > 0)):
        raise ValueError(f"chunks={chunks!r}: expected a positive number of cells, 'auto' or None")
    only = [variables] if isinstance(variables, str) else variables and list(variables)
    build = partial(cube, chunk=schema.SHARD if chunks == "auto" else chunks, only=only)
    if hasattr(source, "store_path"):
        return _of_group(source, granule, beams, build)
    beams = beams if beams is None or isinstance(beams, str) else list(beams)
    place = resolve(source, storage_options)
    if place.direct is not None:
        group = open_group(place.root)
        own = None, group.attrs["beam"], [group.attrs["beam"]]
        if granule not in (None, group.attrs.get("granule")) or beams not in own:
            raise StoreError(
                f"{place.name}: this is {group.attrs.get('granule')} {group.attrs['beam']}; open the store to choose"
            )
        return _single(group, place.name, build)
    if place.granule and granule not in (None, place.granule):
        raise StoreError(f"{place.name}: this is granule {place.granule}; open the store to choose {granule}")
    if place.beam and beams not in (None, place.beam, [place.beam]):
        raise StoreError(f"{place.name}: this is beam {place.beam}; open the granule to choose {beams}")
    entries = _entries_of(place, place.granule or granule, version)
    where = f"{place.root.name}/{next(iter(entries.values()))['granule']}"
    strength = {b: str(e["attributes"].get("beam_strength", "")) for b, e in entries.items()}
    names = pick_beams(strength, place.beam or beams, where)
    groups = [_group_of(place.root, entries[b]) for b in names]
    return _single(groups[0], place.name, build) if place.beam else build(groups, where)


def _single(group: Any, where: str, build: Callable[..., xr.Dataset]) -> xr.Dataset:
    track = build([group], where).isel(beam=0, drop=True)
    return track.assign_attrs(beam=group.attrs["beam"])


def _group_of(root: Location, entry: Mapping[str, Any]) -> Any:
    path = track_path(entry)
    return open_group(root, path, entry["metadata"])


def _entries_of(place: Place, granule: str | None, version: int | str | None) -> dict[str, dict[str, Any]]:
    """Entries of a granule's beams; of a named granule no other is looked at."""
    root = place.root
    number = _version(root, version)
    if granule is not None:
        out = {}
        for beam in (place.beam,) if place.beam else schema.BEAMS:
            if number is not None:
                entry = _published(root, granule, beam, number)
            else:
                held = root.read(entry_key(granule, beam))
                entry = None if held is None else parse_entry(held[0], root.name, granule, beam)
            if entry is not None:
                out[beam] = entry
        if out:
            return out
    tracks, damaged = _all_entries(root, number)
    granules = sorted({str(t["granule"]) for t in tracks})
    if granule is None and len(granules) + len(damaged) == 1:
        if damaged:
            raise DamagedTrackError(*damaged.values())
        granule = granules[0]
    shown = ", ".join(granules[:5]) + (f" and {len(granules) - 5} more" if len(granules) > 5 else "")
    if granule is None:
        raise StoreError(
            f"{root.name}: {len(granules)} granules stored ({shown or 'none'}); name one with granule= (--granule)"
        )
    held_beams = {str(t["beam"]): t for t in tracks if t["granule"] == granule}
    if not held_beams:
        raise StoreError(f"{root.name}: granule {granule} is not stored; it holds {shown or 'none'}")
    if place.beam and place.beam not in held_beams:
        raise StoreError(f"{place.name}: beam {place.beam} is not stored; it holds {', '.join(held_beams)}")
    return {b: held_beams[b] for b in schema.BEAMS if b in held_beams}


def _of_group(
    source: Any, granule: str | None, beams: str | Iterable[str] | None, build: Callable[..., xr.Dataset]
) -> xr.Dataset:
    """Return a granule or track of a Zarr group of another store, such as a session of Icechunk."""
    import zarr

    where, attrs = str(source.path or source), dict(source.attrs)
    check_version(attrs, where)
    if "beam" in attrs:
        return _single(source, where, build)
    open_below = partial(zarr.open_group, source.store, mode="r", zarr_format=3)
    if "granule" not in attrs:
        if granule is None:
            held = sorted(source.group_keys())
            if len(held) != 1:
                shown = ", ".join(held[:5]) + (f" and {len(held) - 5} more" if len(held) > 5 else "")
                raise StoreError(
                    f"{len(held)} granules in this group ({shown or 'none'}); name one with granule="
                )
            granule = held[0]
        where = f"{where}/{granule}"
    groups = {}
    for beam in schema.BEAMS:
        path = "/".join(
            part for part in (source.path, granule if "granule" not in attrs else "", beam) if part
        )
        try:
            groups[beam] = open_below(path=path)
        except (FileNotFoundError, KeyError):
            continue
    if not groups:
        raise StoreError(f"{where}: no beam is stored there")
    strength = {b: str(g.attrs.get("beam_strength", "")) for b, g in groups.items()}
    return build([groups[b] for b in pick_beams(strength, beams, where)], where)

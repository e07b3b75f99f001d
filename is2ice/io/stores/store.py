"""Zarr stores of tracks: ``<store>/<granule>/<beam>``, each written whole or not at all.

A track is written beside its place under a hidden name and then renamed into it, so that an interrupted
run leaves nothing half done: the next run removes what dead writers left and goes on. Stores are read
from local folders and, through fsspec, from ``https://`` and ``s3://`` URLs.
"""

from __future__ import annotations

import hashlib
import html
import json
import os
import re
import shutil
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr

from is2ice import schema
from is2ice.errors import StoreError
from is2ice.io.urls import public_url
from is2ice.version import __version__

from . import cf_attributes
from .layout import (
    META,
    check_version,
    clear_errors,
    create,
    group_meta,
    hidden_name,
    is_store,
    is_url,
    local,
    move_in,
    recover,
    write_json,
)
from .layout import attributes as read_attributes
from .remote_listing import address, listing, open_group
from .stored_cube import cube, missing_value, pick_beams

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "META",
    "Overwrite",
    "Store",
    "checksum",
    "clear_errors",
    "consolidate",
    "create",
    "fingerprint",
    "group_name",
    "is_store",
    "keeps",
    "missing_value",
    "open_store",
    "open_track",
    "recover",
    "track_attributes",
    "track_summary",
    "write_track",
]

Overwrite = Literal["different", "always", "never"]

#: Beyond this many tracks the root's consolidated metadata would be larger than it is useful.
CONSOLIDATE_LIMIT = 2_000


# -- writing ------------------------------------------------------------------------------------------
def fingerprint(
    granule: str,
    beam: str,
    parameters: Mapping[str, Any] | None = None,
    origin: Mapping[str, Any] | None = None,
) -> str:
    """What a track is made from, as 32 hexadecimal digits: the same means nothing would change.

    Parameters
    ----------
    granule, beam : str
    parameters : mapping
        Processing parameters that JSON can hold.
    origin : mapping, optional
        Size and checksum of the source, where known.
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
    """A granule's name as a store can hold it: what is not a letter, digit, _ . or - becomes _."""
    return re.sub(r"[^\w.-]+", "_", granule).lstrip(".-") or "granule"


def track_attributes(store: str | os.PathLike[str], granule: str, beam: str) -> dict[str, Any] | None:
    """Attributes of a stored track, None where it is not there."""
    return read_attributes(local(store) / granule / beam)


def track_summary(attrs: Mapping[str, Any]) -> dict[str, Any]:
    """Counts stored with a track, from its attributes."""
    return dict(json.loads(attrs.get("track_summary", "{}")))


def write_track(
    ds: xr.Dataset,
    store: str | os.PathLike[str],
    *,
    overwrite: Overwrite = "different",
    parameters: Mapping[str, Any] | None = None,
    origin: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Write one track, whole, in one step.

    Parameters
    ----------
    ds : xarray.Dataset
        Segments of one track, dims ``(x_atc,)``, or a cube of one beam; ``attrs["granule"]`` names it.
    store : str or Path
        Local folder; made if absent.
    overwrite : {"different", "always", "never"}
        What to do with a track already there: replace it if made from other inputs, always, or keep it.
    parameters : mapping, optional
        Processing parameters; without them the data themselves are the fingerprint.
    origin : mapping, optional
        Size and checksum of the source, where known.

    Returns
    -------
    dict
        ``granule``, ``beam``, ``path``, ``inputs``, ``bytes``, ``seconds`` and ``outcome``: ``"written"``,
        ``"replaced"`` or ``"skipped"``.

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
    recover(root)
    inputs = fingerprint(granule, beam, parameters if parameters is not None else _content(ds), origin)
    target = root / granule / beam
    have = read_attributes(target)
    receipt = {"granule": granule, "beam": beam, "path": str(target), "inputs": inputs}
    if keeps(have, inputs, overwrite):
        return {**receipt, "bytes": 0, "seconds": time.perf_counter() - started, "outcome": "skipped"}
    ready = cf_attributes.describe(
        ds, granule=granule, beam=beam, inputs=inputs, parameters=parameters, origin=origin
    )
    temp = root / hidden_name("tmp", granule, beam)
    with clear_errors(root):
        try:
            _to_zarr(ready, temp)
            size = sum(p.stat().st_size for p in temp.rglob("*") if p.is_file())
            move_in(temp, root, granule, beam)
        finally:
            shutil.rmtree(temp, ignore_errors=True)
    outcome = "written" if have is None else "replaced"
    return {**receipt, "bytes": size, "seconds": time.perf_counter() - started, "outcome": outcome}


def keeps(have: Mapping[str, Any] | None, inputs: str, overwrite: Overwrite) -> bool:
    """Whether a stored track (its attributes, or None) stays as it is."""
    if have is None or overwrite == "always":
        return False
    return overwrite == "never" or have.get("inputs") == inputs


def _one_track(ds: xr.Dataset) -> tuple[xr.Dataset, str, str]:
    """The track as (x_atc,) in memory, its granule and beam."""
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
    return _content(ds)["content"]


def _content(ds: xr.Dataset) -> dict[str, str]:
    digest = hashlib.sha256()
    for name in sorted(str(n) for n in ds.variables if n != "time"):  # which only repeats delta_time
        values = np.ascontiguousarray(ds[name].values)
        digest.update(name.encode())
        digest.update(repr(values.tolist()).encode() if values.dtype.hasobject else values.tobytes())
    return {"content": digest.hexdigest()}


def _to_zarr(ds: xr.Dataset, path: Path) -> None:
    encoding = schema.encoding(ds)
    encoding["x_atc"]["_FillValue"] = None  # CF: a coordinate variable has no missing values
    with warnings.catch_warnings():  # consolidated metadata are newer than the rest of the v3 specification
        warnings.filterwarnings("ignore", message="Consolidated metadata is currently not part")
        ds.to_zarr(path, mode="w-", zarr_format=3, consolidated=True, encoding=encoding)


def consolidate(store: str | os.PathLike[str]) -> int:
    """Write the metadata of all tracks into the root, so that one request lists a published store.

    Returns
    -------
    int
        Tracks listed; 0 when there are more than :data:`CONSOLIDATE_LIMIT`, and none is.
    """
    root = create(store)
    listing: dict[str, Any] = {}
    tracks = [key for key, _ in _local_tracks(root)]
    if len(tracks) <= CONSOLIDATE_LIMIT:
        for granule, beam in tracks:
            listing.setdefault(granule, group_meta(read_attributes(root / granule) or {}))
            meta = json.loads((root / granule / beam / META).read_text())
            inner = (meta.pop("consolidated_metadata", None) or {}).get("metadata", {})
            listing[f"{granule}/{beam}"] = meta
            listing.update({f"{granule}/{beam}/{name}": m for name, m in inner.items()})
    with clear_errors(root):
        meta = json.loads((root / META).read_text())
        meta["consolidated_metadata"] = {"kind": "inline", "must_understand": False, "metadata": listing}
        if not listing:
            del meta["consolidated_metadata"]
        write_json(root / META, meta)
    return len(tracks) if listing else 0


# -- listing ------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Store:
    """What a store holds.

    Attributes
    ----------
    location : str
        Path or URL, without what may be secret in it.
    tracks : dict
        Attributes of each track by ``(granule, beam)``.
    version : int or None
        Of a published store, if one was asked for.
    """

    location: str
    tracks: dict[tuple[str, str], dict[str, Any]] = field(repr=False)
    version: int | None = None
    _address: str | None = field(default=None, repr=False)
    _options: Mapping[str, Any] = field(default_factory=dict, repr=False)

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
        """One row a track: what it is, where and when, and the counts of its summary."""
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
        """A granule's cube (see :func:`open_track`)."""
        options = {"storage_options": self._options, "version": self.version, **options}
        return open_track(self._address or self.location, granule, beams, **options)


def open_store(
    store: str | os.PathLike[str],
    *,
    storage_options: Mapping[str, Any] | None = None,
    version: int | None = None,
) -> Store:
    """List a store.

    Parameters
    ----------
    store : str or Path
        Local folder, or ``https://`` or ``s3://`` URL of a consolidated store. The query of a signed
        ``https://`` URL goes with every request.
    storage_options : mapping, optional
        For fsspec, with URLs.
    version : int, optional
        Of a published store; the current one by default.

    Returns
    -------
    Store

    Raises
    ------
    StoreError
        Not a store, or of another schema version.
    """
    if is_url(os.fspath(store)):
        url, options = address(store, storage_options)
        return Store(public_url(url), listing(url, options, version), version, url, options)
    root = local(store)
    attributes = read_attributes(root)
    if attributes is None:
        what = "no such folder" if not root.exists() else f"not a Zarr group (no {META})"
        if (root / "snapshots").is_dir() and (root / "refs").is_dir():
            what = (
                "an Icechunk repository; open it with icechunk, and hand the Zarr group of its session to "
                "is2ice.open_track (documentation: How to, Publish a store)"
            )
        raise StoreError(f"{root}: not an is2ice store: {what}")
    check_version(attributes, str(root))
    if "granule" in attributes:
        raise StoreError(f"{root}: one granule of a store, not a store; open {root.parent} or use open_track")
    if "manifest" in attributes or version is not None:
        return Store(str(root), listing(str(root), {}, version), version)
    return Store(str(root), dict(_local_tracks(root)))


def _local_tracks(root: Path) -> Iterator[tuple[tuple[str, str], dict[str, Any]]]:
    for group in sorted(root.iterdir()):
        if group.name.startswith(".") or not group.is_dir():
            continue
        for beam in schema.BEAMS:
            attributes = read_attributes(group / beam)
            if attributes is not None and "inputs" in attributes:
                yield (group.name, beam), attributes


# -- reading ------------------------------------------------------------------------------------------
def open_track(
    source: Any,
    granule: str | None = None,
    beams: str | Iterable[str] | None = None,
    *,
    chunks: int | Literal["auto"] | None = "auto",
    storage_options: Mapping[str, Any] | None = None,
    version: int | None = None,
) -> xr.Dataset:
    """Open a stored granule as a cube, or one stored track.

    Parameters
    ----------
    source : str, Path or zarr.Group
        A store, a granule in it (``<store>/<granule>``) or a track (``<store>/<granule>/<beam>``).
    granule : str, optional
        Needed where a store holds several.
    beams : {"strong", "weak", "all"}, name or names, optional
        All beams stored by default.
    chunks : int, "auto" or None
        Cells in one Dask block along ``x_atc``; "auto" is the shard, None loads.
    storage_options : mapping, optional
        For fsspec, with URLs.
    version : int, optional
        Of a published store; the current one by default.

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
    """
    if not (chunks is None or chunks == "auto" or (isinstance(chunks, int) and chunks > 0)):
        raise ValueError(f"chunks={chunks!r}: expected a positive number of cells, 'auto' or None")
    chunk = schema.SHARD if chunks == "auto" else chunks
    if hasattr(source, "store_path"):
        base, path, where = source.store, source.path, str(source.path or source)
        options: dict[str, Any] = {}
    else:
        (base, options), path = address(source, storage_options), ""
        where = public_url(base) if is_url(base) else base
    group = open_group(base, path, options)
    if group is None:
        raise StoreError(f"{where}: not an is2ice store: no Zarr group there")
    attrs = dict(group.attrs)
    check_version(attrs, where)
    if "beam" in attrs:
        if granule not in (None, attrs.get("granule")) or beams not in (None, attrs["beam"]):
            raise StoreError(
                f"{where}: this is {attrs.get('granule')} {attrs['beam']}; open the store to choose"
            )
        track = cube([group], where, chunk).isel(beam=0, drop=True)
        return track.assign_attrs(beam=attrs["beam"])
    if "published" in attrs:
        key = str(attrs["published"])
        raise StoreError(
            f"{where}: every revision of {key} lies here; open the store and name the granule: "
            f"open_track({key.partition('/')[0]!r}, store=...)"
        )
    paths = {b: f"{path}/{b}".strip("/") for b in schema.BEAMS}
    if "granule" not in attrs:
        listed = _choose(granule, base, where, options, version)
        if listed is not None:
            granule, paths = listed
        else:
            paths = {b: f"{path}/{granule}/{b}".strip("/") for b in schema.BEAMS}
        where = f"{where}/{granule}"
    groups = {b: g for b, p in paths.items() if (g := open_group(base, p, options)) is not None}
    if not groups:
        raise StoreError(f"{where}: no beam is stored there")
    strength = {b: str(g.attrs.get("beam_strength", "")) for b, g in groups.items()}
    return cube([groups[b] for b in pick_beams(strength, beams, where)], where, chunk)


def _choose(
    granule: str | None, base: Any, where: str, options: dict[str, Any], version: int | None
) -> tuple[str, dict[str, str]] | None:
    """The granule to open, and where its beams lie; None of a Zarr group, which is not listed."""
    if not isinstance(base, str):
        if granule is None:
            raise StoreError(f"{where}: name the granule to open")
        return None
    store = open_store(base, storage_options=options, version=version)
    granules = store.granules
    if granule is None and len(granules) == 1:
        granule = granules[0]
    listing = ", ".join(granules[:5]) + (f" and {len(granules) - 5} more" if len(granules) > 5 else "")
    if granule is None:
        raise StoreError(
            f"{where}: {len(granules)} granules stored ({listing or 'none'}); name one with granule="
        )
    if granule not in granules:
        raise StoreError(f"{where}: granule {granule} is not stored; it holds {listing or 'none'}")
    beams = store.beams(granule)
    return granule, {b: str(store.tracks[granule, b].get("zarr_path", f"{granule}/{b}")) for b in beams}

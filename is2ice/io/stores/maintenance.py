"""Care of a store: reading all that it holds, and removing what nothing names any more."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from is2ice.errors import StoreError
from is2ice.io.remote.location import PARALLEL, FolderLocation, Location

from . import store as stores
from .layout import track_path

__all__ = ["Pruned", "Verified", "prune", "verify"]

#: Objects younger than this may be of a writer at work, s.
AT_WORK = 86_400.0
_TRACK = re.compile(r"tracks/(?P<granule>[^/]+)/(?P<beam>gt[123][lr])/(?P<digest>[0-9a-f]{16})(?:/.+|\.json)")


@dataclass(frozen=True)
class Verified:
    """Result of reading a store whole.

    Attributes
    ----------
    store : str
    tracks : int
        Tracks read, those of earlier versions among them.
    damaged : dict
        Damaged tracks, ``<granule>/<beam>`` with the digest of one that only a version holds, and why.
    """

    store: str
    tracks: int
    damaged: dict[str, str] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """True if no track is damaged."""
        return not self.damaged

    def __str__(self) -> str:
        lines = [f"{name}: {why}" for name, why in sorted(self.damaged.items())]
        end = "run again to make them again" if self.damaged else "all are what was written"
        return "\n".join(
            [*lines, f"{self.store}: {self.tracks} tracks read, {len(self.damaged)} damaged; {end}"]
        )


@dataclass(frozen=True)
class Pruned:
    """Result of removing what no entry and no version names.

    Attributes
    ----------
    store : str
    tracks, versions, objects, bytes : int
        Removed.
    """

    store: str
    tracks: int
    versions: int
    objects: int
    bytes: int

    def __str__(self) -> str:
        return (
            f"{self.store}: {self.tracks} tracks and {self.versions} versions removed, {self.objects} objects, "
            f"{self.bytes / 1e6:.1f} MB"
        )


def verify(store: str | os.PathLike[str] | Location) -> Verified:
    """Read every track of a store and its versions, and compare it with its digest.

    Parameters
    ----------
    store : str, Path or Location
        Folder or bucket.

    Returns
    -------
    Verified

    Raises
    ------
    StoreError
        Not a store.
    """
    root, entries, broken = stores.draft(store)
    damaged = {f"{granule}/{beam}": why for (granule, beam), why in broken.items()}
    named = dict(entries)
    for entry in _of_versions(root, damaged):
        key = f"{entry['granule']}/{entry['beam']}"
        if entries.get(key, {}).get("digest") != entry["digest"]:
            named[f"{key} ({entry['digest'][:16]})"] = entry
    with ThreadPoolExecutor(PARALLEL // 4) as pool:
        faults = pool.map(lambda entry: stores.damage(root, entry), named.values())
        damaged |= {name: fault for name, fault in zip(named, faults, strict=True) if fault}
    return Verified(root.name, len(named), damaged)


def _of_versions(
    root: Location, damaged: dict[str, str], keep: int | None = None
) -> Iterator[dict[str, Any]]:
    numbers = stores.version_numbers(root)
    for number in numbers if keep is None else numbers[-keep:]:
        try:
            yield from stores.read_version(root, number)["tracks"].values()
        except StoreError as error:
            damaged[f"version {number}"] = str(error)


def prune(
    store: str | os.PathLike[str] | Location,
    *,
    keep: int | None = None,
    at_work: float = AT_WORK,
    dry_run: bool = False,
) -> Pruned:
    """Remove tracks that neither the store's entries nor its versions name, and what dead writers left.

    Parameters
    ----------
    store : str, Path or Location
        Folder or bucket.
    keep : int, optional
        Newest versions to keep; earlier ones are removed with the tracks that only they name. All by default.
    at_work : float
        Objects younger than this stay, since a writer may be at work, s.
    dry_run : bool
        Count only.

    Returns
    -------
    Pruned

    Raises
    ------
    StoreError
        Not a store; damaged entries or versions, whose tracks are not known.
    """
    if keep is not None and keep < 1:
        raise ValueError(f"keep={keep}: expected at least 1 version")
    root, entries, damaged = stores.draft(store)
    faults = {"/".join(track): why for track, why in damaged.items()}
    kept = [*entries.values(), *_of_versions(root, faults, keep)]
    if faults:
        raise StoreError(f"{root.name}: nothing is removed, as it is damaged: {'; '.join(faults.values())}")
    before = time.time() - at_work
    named = {track_path(e) for e in kept}
    gone, tracks = [], set()
    listed = root.objects("tracks/")
    for key, found in listed.items():
        match = _TRACK.fullmatch(key)
        if match is None or found.modified > before:
            continue
        path = f"tracks/{match['granule']}/{match['beam']}/{match['digest']}"
        if path not in named:
            gone.append(key)
            tracks.add(path)
    versions = [] if keep is None else stores.version_numbers(root)[:-keep]
    for number in versions:
        below = root.objects(f"versions/{number:06d}/")
        listed |= below | {stores.version_key(number): root.objects("versions/")[stores.version_key(number)]}
        gone += [*below, stores.version_key(number)]
    size = sum(listed[key].size for key in gone)
    if not dry_run:
        root.delete(gone)
        stores.consolidate(root)
        if isinstance(root, FolderLocation):
            root.remove_unfinished(before)
    return Pruned(root.name, len(tracks), len(versions), len(gone), size)

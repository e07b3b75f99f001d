"""Publishing into an Icechunk repository: one transaction a publication, versions kept by Icechunk itself."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from is2ice import schema
from is2ice.errors import StoreError, require
from is2ice.io.remote.location import Location, location
from is2ice.io.remote.object_store import s3_settings
from is2ice.io.stores import store as stores
from is2ice.io.stores.declarations import Declaration, find_declaration

from .publish import Published, check_apart, check_track, source

__all__ = ["open_root", "publish", "repository"]

#: Times a publication begins again because another one was committed meanwhile.
ATTEMPTS = 20
#: Names at the top of a repository.
LAYOUT = {"snapshots", "refs", "manifests", "transactions", "chunks", "config.yaml", "repo", "overwritten"}


def repository(where: str | os.PathLike[str], *, make: bool = True) -> Any:
    """Open the repository in a folder or at ``s3://bucket/prefix``; where there is none, it is made, or None.

    Raises
    ------
    StoreError
        Not such a place, or it holds something else.
    """
    require("icechunk")
    import icechunk

    place = location(where)
    storage = _storage(place.url)
    if names := place.entries():
        # A repository that another publisher is making, or has left half made, is none yet.
        if not icechunk.Repository.exists(storage) and not LAYOUT.issuperset(names):
            raise StoreError(
                f"{place.name}: not empty and not an Icechunk repository; name a new folder or prefix"
            )
    elif not make:
        return None
    return icechunk.Repository.open_or_create(storage)


def _storage(text: str) -> Any:
    require("icechunk")
    import icechunk

    if text.startswith("s3://"):
        bucket, _, prefix = text[len("s3://") :].partition("/")
        settings, _ = s3_settings(bucket)
        endpoint = settings.get("endpoint")
        return icechunk.s3_storage(
            bucket=bucket,
            prefix=prefix,
            region=settings["region"],
            endpoint_url=endpoint,
            allow_http=str(endpoint).startswith("http://"),
            force_path_style=endpoint is not None,
            access_key_id=settings.get("access_key_id"),
            secret_access_key=settings.get("secret_access_key"),
            session_token=settings.get("session_token"),
            anonymous=settings.get("skip_signature"),
        )
    return icechunk.local_filesystem_storage(text)


def open_root(where: str | os.PathLike[str], branch: str = "main") -> Any:
    """Return the Zarr group of a repository's branch, which :func:`is2ice.io.stores.store.open_track` opens."""
    import zarr

    return zarr.open_group(repository(where).readonly_session(branch).store, mode="r")


def publish(
    store: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    declaration: Declaration | str | os.PathLike[str] | None = None,
    dry_run: bool = False,
) -> Published:
    """Publish a store into a repository; what is there with the same inputs stays as it is.

    Parameters and errors as of :func:`is2ice.publish`; ``version`` counts the publications in its history. Of several
    publishers at once each commits on top of what the others did, so that nothing is lost; of the same track the
    last stays current, and the others are in the history. A folder as repository is for one publisher at a time:
    Icechunk has no safe commits there.
    """
    require("icechunk")
    import icechunk

    wanted, root = source(store)
    place = location(target)
    check_apart(root, place)
    declared = None if declaration is None else find_declaration(declaration)
    name, repo = place.name, repository(target, make=not dry_run)
    if repo is None:
        return Published(name, 1, tuple(wanted), bytes=sum(_checked(root, wanted[key]) for key in wanted))
    for _ in range(ATTEMPTS):
        session = repo.writable_session("main")
        fresh, replaced, same = _differing(session, wanted)
        size = 0
        for key in (*fresh, *replaced):
            size += _checked(root, wanted[key]) if dry_run else _put(session, root, wanted[key])
        if dry_run or not (fresh or replaced):
            break
        _describe(session, declared)
        try:
            session.commit(f"{len(fresh)} tracks added, {len(replaced)} replaced")
            break
        except icechunk.ConflictError:  # another publisher was first: begin again on top of it
            continue
    else:
        raise StoreError(f"{name}: other publishers were first {ATTEMPTS} times; publish again")
    version = len(list(repo.ancestry(branch="main"))) - 1  # the first snapshot is the empty repository
    version += bool(dry_run and (fresh or replaced))
    return Published(name, version, tuple(fresh), tuple(replaced), tuple(same), size)


def _differing(
    session: Any, wanted: Mapping[str, Mapping[str, Any]]
) -> tuple[list[str], list[str], list[str]]:
    """Tracks that a repository lacks, holds made otherwise, and holds the same."""
    import zarr

    root = zarr.open_group(session.store, mode="a")
    fresh: list[str] = []
    replaced: list[str] = []
    same: list[str] = []
    for key, entry in sorted(wanted.items()):
        held = root.get(key)
        unchanged = held is not None and held.attrs.get("inputs") == entry["inputs"]
        (fresh if held is None else same if unchanged else replaced).append(key)
    return fresh, replaced, same


def _checked(root: Location, entry: Mapping[str, Any]) -> int:
    """Bytes of a track that is fit to be published."""
    check_track(stores.read_track(root, entry), f"{entry['granule']}/{entry['beam']}")
    return int(entry["bytes"])


def _put(session: Any, root: Location, entry: Mapping[str, Any]) -> int:
    """Check a track and write it into a session; its bytes in the store."""
    import zarr

    granule, key = entry["granule"], f"{entry['granule']}/{entry['beam']}"
    ds = check_track(stores.read_track(root, entry), key).drop_encoding()
    how: Any = {"mode": "w", "zarr_format": 3, "consolidated": False, "encoding": schema.encoding(ds)}
    ds.to_zarr(session.store, group=key, **how)
    group = zarr.open_group(session.store, path=granule, mode="a")
    group.attrs.update(granule=granule, schema_version=schema.SCHEMA_VERSION)
    return int(entry["bytes"])


def _describe(session: Any, declared: Declaration | None) -> None:
    import zarr

    root = zarr.open_group(session.store, mode="a")
    title = declared.title if declared else root.attrs.get("title", "is2ice tracks")
    root.attrs.update(schema_version=schema.SCHEMA_VERSION, is2ice_store=True, title=title)

"""Publishing into an Icechunk repository: one transaction a publication, versions kept by Icechunk itself."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from . import schema
from . import store as stores
from .access import s3_settings
from .declarations import Declaration
from .errors import StoreError
from .publishing import Published, check_track

__all__ = ["open_root", "publish", "repository"]


def repository(where: str | os.PathLike[str]) -> Any:
    """The repository in a folder or at ``s3://bucket/prefix``, made if absent."""
    import icechunk

    text = os.fspath(where).rstrip("/")
    if text.startswith("s3://"):
        bucket, _, prefix = text[len("s3://") :].partition("/")
        settings, _ = s3_settings(bucket)
        endpoint = settings.get("endpoint")
        storage = icechunk.s3_storage(
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
    elif "://" in text:
        raise StoreError("an Icechunk repository lies in a local folder or at s3://bucket/prefix")
    else:
        storage = icechunk.local_filesystem_storage(str(Path(text).expanduser().absolute()))
    return icechunk.Repository.open_or_create(storage)


def open_root(where: str | os.PathLike[str], branch: str = "main") -> Any:
    """The Zarr group of a repository's branch, which :func:`is2ice.store.open_track` opens."""
    import zarr

    return zarr.open_group(repository(where).readonly_session(branch).store, mode="r")


def publish(
    store: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    declared: Declaration | None = None,
    dry_run: bool = False,
) -> Published:
    """Publish a store into a repository; what is there with the same inputs stays as it is.

    Parameters and errors as of :func:`is2ice.publish`; ``version`` counts the repository's snapshots. Publishers
    of different tracks at once are reconciled by Icechunk; of the same track, the second fails.
    """
    import icechunk
    import zarr

    listed = stores.open_store(store)
    repo = repository(target)
    session = repo.writable_session("main")
    root = zarr.open_group(session.store, mode="a")
    fresh: list[str] = []
    replaced: list[str] = []
    same: list[str] = []
    size = 0
    for (granule, beam), attrs in sorted(listed.tracks.items()):
        key = f"{granule}/{beam}"
        held = root.get(key)
        if held is not None and held.attrs.get("inputs") == attrs["inputs"]:
            same.append(key)
            continue
        path = Path(listed.location) / granule / beam
        ds = check_track(path).drop_encoding()
        (fresh if held is None else replaced).append(key)
        size += sum(p.stat().st_size for p in path.rglob("*") if p.is_file())
        if not dry_run:
            ds.to_zarr(
                session.store,
                group=key,
                mode="w",
                zarr_format=3,
                consolidated=False,
                encoding=schema.encoding(ds),
            )
            root[granule].attrs.update(granule=granule, schema_version=schema.SCHEMA_VERSION)
    if (fresh or replaced) and not dry_run:
        root.attrs.update(
            schema_version=schema.SCHEMA_VERSION,
            is2ice_store=True,
            title=declared.title if declared else "is2ice tracks",
        )
        session.commit(
            f"{len(fresh)} tracks added, {len(replaced)} replaced", rebase_with=icechunk.ConflictDetector()
        )
    version = len(list(repo.ancestry(branch="main")))
    return Published(stores.public_url(os.fspath(target)) if "://" in os.fspath(target) else os.fspath(target),
                     version, tuple(fresh), tuple(replaced), tuple(same), size)  # fmt: skip

"""One address for everything that is read and written as whole objects: a folder, s3://, gs://, az:// or https://.

On a worker, ``shared://`` names objects that came with its job (:func:`is2ice.engines.shared`).

An object is seen whole or not at all. :meth:`Location.create` succeeds for one of several writers, and
:meth:`Location.swap` replaces an object only while it is still the one that was read. In a folder an object is
flushed to the disk before it counts as written.
"""

from __future__ import annotations

import ctypes
import fcntl
import math
import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from errno import EACCES, EDQUOT, EFBIG, ENOSPC, ENOTEMPTY, EPERM, EROFS
from functools import cached_property, partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from is2ice.engines import shared
from is2ice.errors import Is2IceError, StoreError
from is2ice.io.urls import local_path, public_url, scrub

from .object_store import s3_settings

__all__ = [
    "BUCKETS",
    "PARALLEL",
    "SHARED",
    "BucketLocation",
    "FolderLocation",
    "HttpLocation",
    "Location",
    "Object",
    "beside",
    "clear_errors",
    "is_url",
    "location",
]

T = TypeVar("T")
#: Requests at a time.
PARALLEL = 16
#: Objects of a folder that are being written; the rest of the name is random.
UNFINISHED = ".unfinished-"
#: Hidden names that hold objects of this package; all others are of other programs (``.DS_Store``, ``.~lock``) or are
#: being written, and count for nothing.
HIDDEN = (".runs", ".parts")
#: Addresses of objects that came with the job of a worker.
SHARED = "shared://"
#: Schemes of buckets, with the class of obstore that reaches them.
BUCKETS = {"s3": "S3Store", "s3a": "S3Store", "gs": "GCSStore", "az": "AzureStore", "abfs": "AzureStore"}
#: Names of fsspec and botocore for options of obstore.
_ALSO = {
    "S3Store": {
        "anon": "skip_signature",
        "key": "access_key_id",
        "secret": "secret_access_key",
        "token": "session_token",
        "endpoint_url": "endpoint",
    },
    "GCSStore": {
        "anon": "skip_signature",
        "token": "service_account",
        "endpoint_url": "base_url",
        "endpoint": "base_url",
    },
    "AzureStore": {"anon": "skip_signature", "sas_token": "sas_key", "endpoint_url": "endpoint"},
}
#: Environment variables that name the server of a provider other than its own.
_ENDPOINTS = {
    "S3Store": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"),
    "GCSStore": ("GOOGLE_BASE_URL",),
    "AzureStore": ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"),
}
_KEYS = ("access_key_id", "secret_access_key", "session_token")
#: What a server of S3 answers in XML.
_CODE = re.compile(r"<Code>([^<]*)</Code>")
_MESSAGE = re.compile(r"<Message>([^<\n]*)")


class Object(NamedTuple):
    """Size of an object in bytes, the tag that changes with its replacement, and when it was written (s since 1970)."""

    size: int
    tag: str
    modified: float


def is_url(text: str) -> bool:
    """Return True for an address with a scheme other than ``file``."""
    return "://" in text and not text.startswith("file:")


@contextmanager
def clear_errors(where: str | os.PathLike[str], part: Path | None = None) -> Iterator[None]:
    """Report failures to write files as :class:`StoreError`, saying where and what to do.

    Parameters
    ----------
    where : path
        For the message.
    part : Path, optional
        File or folder that the block writes; failures of other files pass as they are.
    """
    try:
        yield
    except StoreError:
        raise
    except OSError as error:
        if part is not None and error.errno not in (ENOSPC, EDQUOT, EFBIG, EROFS):
            named = Path(os.fsdecode(error.filename)) if isinstance(error.filename, str | bytes) else None
            if named is None or part not in (named, *named.parents):
                raise
        denied = error.errno in (EACCES, EPERM, EROFS)
        hint = "is it read-only? Name a folder you may write to" if denied else "check the path and the disk"
        reason = error.strerror or str(error)
        raise StoreError(f"cannot write to {where}: {reason} ({error.filename or where}); {hint}") from error


def location(where: str | os.PathLike[str] | Location, options: Mapping[str, Any] | None = None) -> Location:
    """Give the location of an address.

    Parameters
    ----------
    where : str, Path or Location
        A folder, ``s3://bucket/prefix``, ``gs://bucket/prefix``, ``az://container/prefix`` or ``https://`` (to read).
    options : mapping, optional
        Storage options: of obstore for buckets, of fsspec for ``https://``. ``s3://`` takes ``profile``,
        ``access_key_id``, ``secret_access_key``, ``session_token``, ``region`` and ``endpoint``; ``gs://``
        ``service_account`` (a file), ``bearer_token`` and ``base_url``; ``az://`` ``account_name``, ``account_key``,
        ``sas_key`` and ``endpoint``; each ``skip_signature=True`` for a public bucket, names of fsspec such as
        ``anon``, and ``credential_provider``, a function that returns credentials as obstore describes. It is asked
        again before these end (``expires_at``), and when they are refused, but not for chunks of an open track. The
        environment (``AWS_...``, ``GOOGLE_...``, ``AZURE_STORAGE_...``), the provider's configuration files and the
        role of the machine supply what is not given. No option is ever written down.

    Raises
    ------
    StoreError
        An address of another kind, or without a bucket.
    """
    if isinstance(where, Location):
        return where
    text = os.fspath(where)
    if not is_url(text):
        return FolderLocation(text)
    scheme = urlsplit(text).scheme
    if scheme in BUCKETS:
        return BucketLocation(text, options)
    if scheme in ("http", "https"):
        return HttpLocation(text, options)
    if text.startswith(SHARED):
        return SharedLocation(text)
    raise StoreError(
        f"{public_url(text)}: expected a folder, s3://bucket/prefix, gs://bucket/prefix, az://container/prefix or "
        f"https://, got {scheme}://"
    )


def beside(
    where: str | os.PathLike[str], other: Location, options: Mapping[str, Any] | None = None
) -> Location:
    """Give the location of an address, with storage options if its scheme is that of another location."""
    scheme = os.fspath(where).partition("://")[0]
    return location(where, options if other.url.startswith(f"{scheme}://") else None)


class Location:
    """Objects below an address, by keys with ``/`` between their parts.

    Attributes
    ----------
    url : str
        Address that readers use.
    name : str
        The same without secrets, for messages.
    options : mapping
        Storage options, which no text shows.
    """

    url: str
    name: str
    options: Mapping[str, Any] = MappingProxyType({})

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"

    def __fspath__(self) -> str:
        return self.url

    def __truediv__(self, below: str) -> Location:
        return location(f"{self.url}/{below}", self.options)

    def __reduce__(self) -> Any:
        return location, (self.url, dict(self.options))

    def __dask_tokenize__(self) -> str:
        return self.name

    def same(self, other: Location) -> bool:
        """Return True if both are the same place, also by other names of a folder."""
        return self.url == other.url

    def read(self, key: str) -> tuple[bytes, str] | None:
        """Read an object and its tag; None where there is none."""
        raise NotImplementedError

    def put(self, key: str, data: bytes) -> str:
        """Write an object, whole or not at all; return its tag."""
        raise NotImplementedError

    def create(self, key: str, data: bytes) -> bool:
        """Write an object that must not be there; return False when another writer was first."""
        raise NotImplementedError

    def swap(self, key: str, data: bytes, before: str | None) -> bool:
        """Replace an object whose tag is still `before` (None: there is none); return False otherwise."""
        raise NotImplementedError

    def objects(self, prefix: str = "") -> dict[str, Object]:
        """List the objects below a prefix that ends at a ``/``, by key."""
        raise NotImplementedError

    def entries(self) -> list[str]:
        """List the names at the top, aside from hidden ones."""
        raise NotImplementedError

    def delete(self, keys: Iterable[str]) -> None:
        """Remove objects."""
        raise NotImplementedError

    def copy(self, source: Location, pairs: Mapping[str, str]) -> bool:
        """Let the provider copy objects of another location, keys here by keys there; False if it cannot."""
        return False

    def zarr_store(self) -> Any:
        """Give the read-only store of zarr-python."""
        raise NotImplementedError

    def put_all(self, objects: Mapping[str, bytes]) -> None:
        """Write several objects at a time."""
        with ThreadPoolExecutor(PARALLEL) as pool:
            list(pool.map(self.put, objects.keys(), objects.values()))

    def read_all(self, keys: Iterable[str]) -> list[bytes | None]:
        """Read several objects at a time, in the order of their keys; None for one that is not there."""
        with ThreadPoolExecutor(PARALLEL) as pool:
            return [None if got is None else got[0] for got in pool.map(self.read, keys)]


class FolderLocation(Location):
    """A folder of this machine, of which nothing is made before the first object is written.

    Attributes
    ----------
    folder : Path
    """

    def __init__(self, where: str) -> None:
        if not local_path(where).strip():
            raise StoreError(
                f"{where!r}: expected a local folder of their own for stores, or s3://bucket/prefix"
            )
        self.folder = Path(local_path(where)).expanduser().absolute()
        self.url = self.name = str(self.folder)
        if self.folder.resolve().parent == self.folder.resolve():
            raise StoreError(f"{self.name}: the root of the file system; name a folder of the store's own")
        self._inside: set[Path] = set()

    def same(self, other: Location) -> bool:
        return isinstance(other, FolderLocation) and self.folder.resolve() == other.folder.resolve()

    def read(self, key: str) -> tuple[bytes, str] | None:
        try:
            with (self.folder / key).open("rb") as stream:
                return stream.read(), _tag(os.fstat(stream.fileno()))
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None
        except OSError as error:
            raise StoreError(f"{self.folder / key}: cannot be read: {error.strerror}") from error

    def put(self, key: str, data: bytes) -> str:
        with self._written(key, data) as part:
            os.replace(part, self.folder / key)
            return _tag(os.stat(self.folder / key))

    def create(self, key: str, data: bytes) -> bool:
        with self._written(key, data) as part:
            try:
                os.link(part, self.folder / key)
            except FileExistsError:
                return False
            return True

    def swap(self, key: str, data: bytes, before: str | None) -> bool:
        if before is None:
            return self.create(key, data)
        with self._locked(key):  # a file system knows no conditional writes
            now = self.read(key)
            if now is None or now[1] != before:
                return False
            self.put(key, data)
            return True

    def read_all(self, keys: Iterable[str]) -> list[bytes | None]:
        # One after the other: a file that the system holds is read sooner than a thread takes it up.
        return [None if (got := self.read(key)) is None else got[0] for key in keys]

    def objects(self, prefix: str = "") -> dict[str, Object]:
        out: dict[str, Object] = {}
        waiting = [(prefix.rstrip("/"), str(self.folder / prefix))]
        while waiting:
            key, folder = waiting.pop()
            with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as found:
                for entry in found:
                    if _foreign(entry.name) or entry.name.endswith(".lock"):
                        continue
                    below = f"{key}/{entry.name}" if key else entry.name
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append((below, entry.path))
                    elif entry.is_dir():  # a link: objects below it have another place
                        continue
                    else:
                        stat = entry.stat()
                        out[below] = Object(stat.st_size, _tag(stat), stat.st_mtime)
        return dict(sorted(out.items()))

    def entries(self) -> list[str]:
        try:
            return sorted(name for name in os.listdir(self.folder) if not name.startswith("."))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StoreError(f"cannot write to {self.name}: {error.strerror}") from error

    def delete(self, keys: Iterable[str]) -> None:
        parents: set[Path] = set()
        for key in keys:
            with suppress(FileNotFoundError):
                (self.folder / key).unlink()
            parents.update(p for p in Path(key).parents if p != Path("."))
        for parent in sorted(parents, key=lambda p: -len(p.parts)):
            with suppress(OSError):  # others lie in it
                (self.folder / parent).rmdir()

    def remove_unfinished(self, older_than: float) -> int:
        """Remove objects that dead writers left half written, untouched since a time (s since 1970)."""
        count = 0
        for path in self.folder.rglob(f"{UNFINISHED}*"):
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < older_than:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
                    count += 1
        return count

    def link(self, key: str, target: str) -> None:
        """Let a symbolic link at `key` lead to another key; nothing where the file system has no links."""
        place = self.folder / key
        with suppress(OSError, StoreError):
            if not place.is_symlink() and place.exists():
                return
            part = self._folder_of(key).with_name(f"{UNFINISHED}{uuid.uuid4().hex[:8]}")
            os.symlink(os.path.relpath(self.folder / target, place.parent), part)
            os.replace(part, place)

    def zarr_store(self) -> Any:
        from zarr.storage import LocalStore

        return LocalStore(self.folder, read_only=True)

    def put_all(self, objects: Mapping[str, bytes]) -> None:
        """Write several objects; those of a new folder beside it, flushed together, and then moved in."""
        top = os.path.commonpath([os.path.dirname(key) for key in objects]) if objects else ""
        if not top or (self.folder / top).exists() or not self._made(top, objects):
            super().put_all(objects)

    def _made(self, top: str, objects: Mapping[str, bytes]) -> bool:
        """Write all objects of a folder that is not there; False if another writer was first."""
        with clear_errors(self.name):
            part = self._folder_of(top).with_name(f"{UNFINISHED}{uuid.uuid4().hex[:12]}")
            try:
                made: set[str] = set()
                for key, data in objects.items():
                    place = f"{part}/{key[len(top) + 1 :]}"
                    if (above := os.path.dirname(place)) not in made:
                        os.makedirs(above, exist_ok=True)
                        made.add(above)
                    with open(place, "xb") as stream:  # a raw stream may write less than it is given
                        stream.write(data)
                flush_tree(part)
                os.rename(part, self.folder / top)
            except FileExistsError:
                return False
            except OSError as error:
                if error.errno != ENOTEMPTY:
                    raise
                return False
            finally:
                shutil.rmtree(part, ignore_errors=True)
            _flush_folder((self.folder / top).parent)
            return True

    def _folder_of(self, key: str) -> Path:
        """Path of a key whose folder is made, and does not lead out of this location by a symbolic link."""
        place = self.folder / key
        if place.parent not in self._inside:
            root, there = os.path.realpath(self.folder), os.path.realpath(place.parent)
            if os.path.commonpath((root, there)) != root:
                raise StoreError(
                    f"{place.parent}: leads out of {self.name} to {there} by a symbolic link; remove the link"
                )
            place.parent.mkdir(parents=True, exist_ok=True)
            self._inside.add(place.parent)
        return place

    @contextmanager
    def _written(self, key: str, data: bytes) -> Iterator[Path]:
        """Write the bytes beside their place and flush them; the entry of the file is flushed afterwards."""
        with clear_errors(self.name):
            place = self._folder_of(key)
            part = place.with_name(f"{UNFINISHED}{uuid.uuid4().hex[:12]}")
            try:
                try:
                    stream = part.open("wb")
                except FileNotFoundError:  # removed since it was made
                    self._inside.clear()
                    stream = self._folder_of(key).with_name(part.name).open("wb")
                with stream:
                    stream.write(data)
                    stream.flush()
                    os.fsync(stream.fileno())
                yield part
                _flush_folder(place.parent)
            finally:
                part.unlink(missing_ok=True)

    @contextmanager
    def _locked(self, key: str) -> Iterator[None]:
        with clear_errors(self.name), self._folder_of(f"{key}.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


class BucketLocation(Location):
    """A prefix of a bucket, reached by obstore."""

    def __init__(self, where: str, options: Mapping[str, Any] | None = None) -> None:
        parts = urlsplit(where)
        bucket, prefix = parts.netloc, parts.path.strip("/")
        self.name = self.url = f"{parts.scheme}://{bucket}/{prefix}".rstrip("/")
        if parts.query:
            raise StoreError(
                f"{public_url(where)}: a query ('?...') is known of https:// only; give credentials of "
                f"{parts.scheme}:// in storage_options"
            )
        if not bucket:
            raise StoreError(
                f"{parts.scheme}://: the bucket is not named; expected {parts.scheme}://bucket/prefix"
            )
        self.options = MappingProxyType(dict(options or {}))
        self.bucket, self.prefix, self._kind = bucket, prefix, BUCKETS[parts.scheme]
        _ = self._bucket  # so that what is wrong with an address is said at once

    @cached_property
    def _bucket(self) -> Any:
        return _bucket(urlsplit(self.url).scheme, self.bucket, self.prefix, self.options)

    def __reduce__(self) -> Any:
        return _sent_bucket, (
            {k: v for k, v in vars(self).items() if k != "_bucket"} | {"options": dict(self.options)},
        )

    def read(self, key: str) -> tuple[bytes, str] | None:
        def get(bucket: Any) -> tuple[bytes, str]:
            got = bucket.get(key)
            return got.bytes().to_bytes(), str(got.meta["e_tag"])

        try:
            return self._ask("read", get)
        except FileNotFoundError:
            return None

    def put(self, key: str, data: bytes) -> str:
        return str(self._ask("written", lambda bucket: bucket.put(key, data))["e_tag"])

    def create(self, key: str, data: bytes) -> bool:
        from obstore.exceptions import AlreadyExistsError

        try:
            self._ask("written", lambda bucket: bucket.put(key, data, mode="create"))
        except AlreadyExistsError:
            return False
        return True

    def swap(self, key: str, data: bytes, before: str | None) -> bool:
        from obstore.exceptions import PreconditionError

        if before is None:
            return self.create(key, data)
        condition = {"e_tag": before}
        try:
            if (
                self._kind == "GCSStore"
            ):  # knows conditions on generations only; the tag is that of the content
                now = self._ask("read", lambda bucket: bucket.head(key))
                if now["e_tag"] != before:
                    return False
                condition["version"] = now["version"]
            self._ask("written", lambda bucket: bucket.put(key, data, mode=condition))
        except (PreconditionError, FileNotFoundError):
            return False
        return True

    def objects(self, prefix: str = "") -> dict[str, Object]:
        def objects(bucket: Any) -> list[Any]:
            return [o for batch in bucket.list(prefix or None) for o in batch]

        return {
            str(o["path"]): Object(int(o["size"]), _quoted(o["e_tag"]), o["last_modified"].timestamp())
            for o in self._ask("listed", objects)
            if not any(map(_foreign, str(o["path"]).split("/")))
        }

    def entries(self) -> list[str]:
        got = self._ask("listed", lambda bucket: bucket.list_with_delimiter())
        found = [*got["common_prefixes"], *(o["path"] for o in got["objects"])]
        names = (str(path).rstrip("/").rsplit("/", 1)[-1] for path in found)
        return sorted(name for name in names if name and not name.startswith("."))

    def delete(self, keys: Iterable[str]) -> None:
        for key in keys:
            with suppress(FileNotFoundError):
                self._ask("removed", partial(_delete, key))

    def copy(self, source: Location, pairs: Mapping[str, str]) -> bool:
        if (
            not isinstance(source, BucketLocation)
            or source._kind != self._kind
            or source.options != self.options
        ):
            return False
        if source.bucket == self.bucket:
            scheme = urlsplit(self.url).scheme
            whole = _bucket(scheme, self.bucket, "", self.options)
            copied: Callable[[str, str], Any] = whole.copy
        elif self._kind == "S3Store":
            copied = partial(_copy_s3, _client_of_s3(self.bucket, self.options), source.bucket, self.bucket)
        else:
            return False
        with self._faults("written"), ThreadPoolExecutor(PARALLEL) as pool:
            there = [f"{source.prefix}/{key}".lstrip("/") for key in pairs]
            list(pool.map(copied, there, [f"{self.prefix}/{key}".lstrip("/") for key in pairs.values()]))
        return True

    def zarr_store(self) -> Any:
        from zarr.storage import ObjectStore

        return ObjectStore(self._bucket, read_only=True)

    def _ask(self, step: str, request: Callable[[Any], T]) -> T:
        """Send a request of obstore, once more with other credentials if its own are refused and can be renewed."""
        from obstore.exceptions import PermissionDeniedError, UnauthenticatedError

        with self._faults(step):
            bucket = self._bucket
            try:
                return request(bucket)
            except (PermissionDeniedError, UnauthenticatedError):
                if "credential_provider" not in self.options:
                    raise
                if self._bucket is bucket:  # no other thread was first
                    vars(self).pop("_bucket", None)
                return request(self._bucket)

    @contextmanager
    def _faults(self, step: str) -> Iterator[None]:
        """Report failures in words that hold no secrets; those that callers decide by go through."""
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        try:
            yield
        except (Is2IceError, AlreadyExistsError, PreconditionError):
            raise
        except Exception as error:
            kind = _CODE.search(str(error))
            if kind is not None and kind[1] in ("NoSuchBucket", "ContainerNotFound"):
                raise StoreError(
                    f"{self.name}: there is no such bucket; expected one that exists: make it first, or correct its "
                    "name (or the endpoint, which says whose it is)"
                ) from None
            if isinstance(error, FileNotFoundError):
                raise
            kinds = ("UnauthenticatedError", "PermissionDeniedError", "PermissionError")
            hint = "; do these credentials allow it?" if type(error).__name__ in kinds else ""
            raise StoreError(f"{self.name} cannot be {step}: {_first(error)}{hint}") from None


def _sent_bucket(state: Mapping[str, Any]) -> BucketLocation:
    """Make a location again without its client: where a task is unpickled, credentials may not be there yet."""
    made = BucketLocation.__new__(BucketLocation)
    vars(made).update(state)
    return made


class HttpLocation(Location):
    """A store on a web server, read through fsspec; the query of a signed address goes with every request."""

    def __init__(self, where: str, options: Mapping[str, Any] | None = None) -> None:
        parts = urlsplit(where)
        given = dict(options or {})
        if parts.query:
            query = dict(parse_qsl(parts.query, keep_blank_values=True))
            given["params"] = {**query, **given.get("params", {})}
        self.options = MappingProxyType(given)
        self.url = urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/"), "", ""))
        self.name = public_url(self.url)

    def read(self, key: str) -> tuple[bytes, str] | None:
        from fsspec.core import url_to_fs

        try:
            # Listings of folders are not asked for, and would go stale under a store that is published again.
            files, path = url_to_fs(self.url, **self.options)
            return files.cat_file(f"{path}/{key}"), ""
        except FileNotFoundError:
            return None
        except Exception as error:
            raise self.unreadable(error) from None

    def put(self, key: str, data: bytes) -> str:
        raise StoreError(f"{self.name}: a web server is read only; write to a folder, s3://, gs:// or az://")

    def create(self, key: str, data: bytes) -> bool:
        return bool(self.put(key, data))

    def zarr_store(self) -> Any:
        from zarr.storage import FsspecStore

        return FsspecStore.from_url(self.url, storage_options=dict(self.options), read_only=True)

    def unreadable(self, error: Exception, key: str = "") -> StoreError:
        """Give the error that stands in for one of the network, whose text and cause may hold a token."""
        where, status = f"{self.name}/{key}".rstrip("/"), getattr(error, "status", None)
        if status in (401, 403):
            hint = (
                "; if the URL is signed: has it expired, and does the signature hold for every file below it?"
            )
            return StoreError(f"{where}: access refused (HTTP {status}){hint}")
        return StoreError(f"{where}: cannot be read as a store: {scrub(f'{type(error).__name__}: {error}')}")


class SharedLocation(Location):
    """Objects that came with the job of this worker."""

    def __init__(self, where: str) -> None:
        self.url = self.name = where

    def read(self, key: str) -> tuple[bytes, str] | None:
        data = shared(f"{self.url}/{key}")
        return None if data is None else (data, "")


def _delete(key: str, bucket: Any) -> None:
    bucket.delete(key)


def _foreign(name: str) -> bool:
    """Return True for a hidden name that holds no object of this package."""
    return name.startswith(".") and name not in HIDDEN


def _tag(stat: os.stat_result) -> str:
    return f"{stat.st_ino:x}-{stat.st_mtime_ns:x}-{stat.st_size:x}"


def flush_tree(folder: Path) -> None:
    """Flush all files below a folder, and their names, to the disk: in one request, which is quicker than one each."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        syncfs = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
        if syncfs is None:  # of Linux
            os.sync()
        elif syncfs(handle):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(folder))
    finally:
        os.close(handle)


def _flush_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # not every file system can
            os.fsync(handle)
    finally:
        os.close(handle)


def _bucket(scheme: str, bucket: str, prefix: str, options: Mapping[str, Any]) -> Any:
    """Store of obstore for a bucket's prefix."""
    from obstore import store

    kind = BUCKETS[scheme]
    given = {_ALSO[kind].get(k, k): v for k, v in options.items()}
    profile = given.pop("profile", None)
    if kind == "S3Store":
        settings: dict[str, Any] = {}
        if not {"access_key_id", "skip_signature", "credential_provider"} & given.keys():
            settings, _ = s3_settings(bucket, profile)
            if "access_key_id" in settings:
                settings = {k: v for k, v in settings.items() if k not in _KEYS}
                settings["credential_provider"] = _Renewed(bucket, profile)
        given = settings | given
    server = "base_url" if kind == "GCSStore" else "endpoint"
    for name in _ENDPOINTS[kind]:
        if name in os.environ:
            given.setdefault(server, os.environ[name])
    client: Any = given.pop("client_options", {"allow_http": str(given.get(server)).startswith("http://")})
    try:
        return getattr(store, kind)(bucket, prefix=prefix or None, client_options=client, **given)
    except StoreError:
        raise
    except Exception as error:
        raise StoreError(f"{scheme}://{bucket}: cannot be reached: {_first(error)}") from None


def _client_of_s3(bucket: str, options: Mapping[str, Any]) -> Any:
    """Client of botocore, which copies from one bucket to another (obstore copies within one)."""
    import botocore.session

    given = {_ALSO["S3Store"].get(k, k): v for k, v in options.items()}
    session = botocore.session.Session(profile=given.get("profile"))
    settings = given if "access_key_id" in given else s3_settings(bucket, given.get("profile"))[0] | given
    return session.create_client(
        "s3",
        region_name=settings.get("region"),
        endpoint_url=settings.get("endpoint"),
        aws_access_key_id=settings.get("access_key_id"),
        aws_secret_access_key=settings.get("secret_access_key"),
        aws_session_token=settings.get("session_token"),
    )


def _copy_s3(client: Any, origin: str, bucket: str, source: str, key: str) -> None:
    client.copy_object(Bucket=bucket, Key=key, CopySource={"Bucket": origin, "Key": source})


def _quoted(tag: Any) -> str:
    """Return a tag as objects have it that are read; lists of Azure give it without quotes."""
    return f'"{str(tag).strip(chr(34))}"'


class _Renewed:
    """Credentials of a bucket, which obstore asks for again before they end: a transfer may last longer."""

    def __init__(self, bucket: str, profile: str | None = None) -> None:
        self.bucket, self.profile = bucket, profile

    def __call__(self) -> dict[str, Any]:
        settings, until = s3_settings(self.bucket, self.profile)
        key, secret, token = (settings.get(name) for name in _KEYS)
        ends = None if math.isinf(until) else datetime.fromtimestamp(until, UTC)
        return {"access_key_id": key, "secret_access_key": secret, "token": token, "expires_at": ends}


def _first(error: Exception) -> str:
    """Return the message of an error, in a line without secrets and without XML."""
    text = str(error)
    found = [match[1] for match in (_CODE.search(text), _MESSAGE.search(text)) if match]
    line = text.split("\n", 1)[0].split("<?xml", 1)[0].rstrip(": ")
    return scrub(": ".join([line[:300], *found]))

"""Where stores are published: keys and bytes in a bucket or a folder, with the few promises publishing needs.

An object is seen whole or not at all; :meth:`Target.create` succeeds for one of several writers; and
:meth:`Target.swap` replaces an object only if it is still the one that was read.
"""

from __future__ import annotations

import fcntl
import math
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from is2ice.errors import StoreError
from is2ice.io.remote.object_store import s3_settings
from is2ice.io.stores.layout import is_url
from is2ice.io.urls import file_path, public_url, scrub

__all__ = ["Target"]


class Target:
    """A bucket's prefix or a local folder, of which nothing is made before the first object is written.

    Parameters
    ----------
    where : str or Path
        ``s3://bucket/prefix`` or a folder, made if absent.

    Attributes
    ----------
    url : str
        Address readers use.
    name : str
        The same, for messages.
    folder : Path or None
        Of a local one.

    Raises
    ------
    StoreError
        Neither of the two, or not to be reached.
    """

    def __init__(self, where: str | os.PathLike[str]) -> None:
        given = os.fspath(where).strip()
        text = given.rstrip("/")
        self.name = public_url(text) if is_url(text) else text
        self.folder: Path | None = None
        self._store: Any = None
        if text.startswith("s3://"):
            bucket, _, prefix = text[len("s3://") :].partition("/")
            self.url = text
            self._store = _bucket(bucket, prefix)
        elif is_url(text) or text in ("", "file:", "s3:"):
            raise StoreError(
                f"{self.name or repr(given)}: stores are published to s3://bucket/prefix or to a local folder of "
                "their own; name one"
            )
        else:
            self.folder = Path(file_path(text) if text.startswith("file:") else text).expanduser().absolute()
            self.url = self.name = str(self.folder)
            if self.folder.resolve() == Path(self.folder.anchor):
                raise StoreError(
                    f"{self.name}: the root of the file system; name a folder of the store's own"
                )
            there = next(p for p in (self.folder, *self.folder.parents) if p.exists())
            if not there.is_dir():
                raise StoreError(f"cannot publish to {self.name}: {there} is a file")

    def _made(self) -> Any:
        """The store of obstore, its folder made."""
        from obstore.store import LocalStore

        if self._store is None:
            try:
                self._store = LocalStore(self.folder, mkdir=True)
            except Exception as error:
                raise StoreError(f"cannot publish to {self.name}: {_first(error)}") from None
        return self._store

    @property
    def _there(self) -> bool:
        return self.folder is None or self.folder.is_dir()

    def entries(self) -> list[str]:
        """Names at the top of it, hidden ones aside."""
        import obstore

        if self.folder is not None:
            found = os.listdir(self.folder) if self._there else []
        else:
            with self._said("listed"):
                got = obstore.list_with_delimiter(self._store)
            found = [*got["common_prefixes"], *(o["path"] for o in got["objects"])]
            found = [str(path).rstrip("/").rsplit("/", 1)[-1] for path in found]
        return sorted(name for name in found if name and not name.startswith("."))

    def read(self, key: str) -> tuple[bytes, str] | None:
        """An object and its entity tag; None where there is none."""
        import obstore

        if not self._there:
            return None
        try:
            with self._said("read"):
                got = obstore.get(self._made(), key)
                return got.bytes().to_bytes(), str(got.meta["e_tag"])
        except FileNotFoundError:
            return None

    def put(self, key: str, data: bytes | Path) -> None:
        """Write an object, whole or not at all."""
        import obstore

        with self._said("written"):
            obstore.put(self._made(), key, data)

    def create(self, key: str, data: bytes) -> bool:
        """Write an object that must not be there; False when another writer was first."""
        import obstore
        from obstore.exceptions import AlreadyExistsError

        try:
            with self._said("written"):
                obstore.put(self._made(), key, data, mode="create")
        except AlreadyExistsError:
            return False
        return True

    def swap(self, key: str, data: bytes, before: str | None) -> bool:
        """Replace an object if its entity tag is still `before` (None: if there is none); False otherwise."""
        import obstore
        from obstore.exceptions import PreconditionError

        if before is None:
            return self.create(key, data)
        if self.folder is not None:
            with self._locked():
                now = self.read(key)
                if now is None or now[1] != before:
                    return False
                self.put(key, data)
                return True
        try:
            with self._said("written"):
                obstore.put(self._made(), key, data, mode={"e_tag": before})
        except PreconditionError:
            return False
        return True

    def sizes(self, prefix: str) -> dict[str, int]:
        """Keys below a prefix, and their sizes."""
        import obstore

        if not self._there:
            return {}
        try:
            with self._said("listed"):
                found = [o for batch in obstore.list(self._made(), prefix) for o in batch]
        except FileNotFoundError:
            found = []
        return {str(o["path"]): int(o["size"]) for o in found}

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """A folder knows no conditional writes: one publisher at a time replaces its pointer."""
        assert self.folder is not None
        with (self.folder / ".publish.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    @contextmanager
    def _said(self, what: str) -> Iterator[None]:
        """Failures in words that hold no secrets; those that publishing decides by go through."""
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        try:
            yield
        except (StoreError, AlreadyExistsError, PreconditionError):
            raise
        except Exception as error:
            kind = _CODE.search(str(error))
            if kind is not None and kind[1] == "NoSuchBucket":
                raise StoreError(
                    f"{self.name}: there is no such bucket; expected one that exists: make it first, or correct its "
                    "name (or AWS_ENDPOINT_URL, which says whose it is)"
                ) from None
            if what != "written" and isinstance(error, FileNotFoundError):
                raise
            refused = type(error).__name__ in (
                "UnauthenticatedError",
                "PermissionDeniedError",
                "PermissionError",
            )
            hint = "; may these credentials write there?" if refused else ""
            raise StoreError(f"{self.name} cannot be {what}: {_first(error)}{hint}") from None


#: What a server of S3 answers in XML.
_CODE = re.compile(r"<Code>([^<]*)</Code>")
_MESSAGE = re.compile(r"<Message>([^<]*)</Message>")


def _first(error: Exception) -> str:
    """What an error says, in a line without secrets and without XML."""
    text = str(error)
    told = [found[1] for found in (_CODE.search(text), _MESSAGE.search(text)) if found]
    line = text.split("\n", 1)[0].split("<?xml", 1)[0].rstrip(": ")
    return scrub(": ".join([line[:300], *told]))


def _bucket(bucket: str, prefix: str) -> Any:
    """Store of obstore for a bucket's prefix."""
    from obstore.store import S3Store

    if not bucket:
        raise StoreError("s3://: the bucket is not named; expected s3://bucket/prefix")
    settings, _ = s3_settings(bucket)
    plain = str(settings.get("endpoint", "")).startswith("http://")
    given = {k: v for k, v in settings.items() if k not in _KEYS}
    if "access_key_id" in settings:
        given["credential_provider"] = _Renewed(bucket)
    return S3Store(bucket, prefix=prefix or None, **given, client_options={"allow_http": plain})


_KEYS = ("access_key_id", "secret_access_key", "session_token")


class _Renewed:
    """Credentials of a bucket, which obstore asks for again before they end: an upload may last longer."""

    def __init__(self, bucket: str) -> None:
        self.bucket = bucket

    def __call__(self) -> dict[str, Any]:
        settings, until = s3_settings(self.bucket)
        key, secret, token = (settings.get(name) for name in _KEYS)
        ends = None if math.isinf(until) else datetime.fromtimestamp(until, UTC)
        return {"access_key_id": key, "secret_access_key": secret, "token": token, "expires_at": ends}

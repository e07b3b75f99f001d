"""Where stores are published: keys and bytes in a bucket or a folder, with the few promises publishing needs.

An object is seen whole or not at all; :meth:`Target.create` succeeds for one of several writers; and
:meth:`Target.swap` replaces an object only if it is still the one that was read.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ._folder import is_url
from .access import s3_settings
from .errors import StoreError
from .remote import public_url, scrub

__all__ = ["Target"]


class Target:
    """A bucket's prefix or a local folder.

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

    Raises
    ------
    StoreError
        Neither of the two, or not to be reached.
    """

    def __init__(self, where: str | os.PathLike[str]) -> None:
        from obstore.store import LocalStore, S3Store

        text = os.fspath(where).rstrip("/")
        self.name = public_url(text) if is_url(text) else text
        self._folder: Path | None = None
        if text.startswith("s3://"):
            bucket, _, prefix = text[len("s3://") :].partition("/")
            settings, _ = s3_settings(bucket)
            plain = str(settings.get("endpoint", "")).startswith("http://")
            self.url = text
            self._store: Any = S3Store(
                bucket, prefix=prefix or None, **settings, client_options={"allow_http": plain}
            )
        elif is_url(text):
            raise StoreError(f"{self.name}: stores are published to s3://bucket/prefix or to a local folder")
        else:
            self._folder = Path(text.removeprefix("file://")).expanduser().absolute()
            self.url = self.name = str(self._folder)
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise StoreError(f"cannot publish to {self.name}: {error.strerror}") from None
            self._store = LocalStore(self._folder)

    def read(self, key: str) -> tuple[bytes, str] | None:
        """An object and its entity tag; None where there is none."""
        import obstore

        try:
            with self._said("read"):
                got = obstore.get(self._store, key)
                return got.bytes().to_bytes(), str(got.meta["e_tag"])
        except FileNotFoundError:
            return None

    def put(self, key: str, data: bytes | Path) -> None:
        """Write an object, whole or not at all."""
        import obstore

        with self._said("written"):
            obstore.put(self._store, key, data)

    def create(self, key: str, data: bytes) -> bool:
        """Write an object that must not be there; False when another writer was first."""
        import obstore
        from obstore.exceptions import AlreadyExistsError

        try:
            with self._said("written"):
                obstore.put(self._store, key, data, mode="create")
        except AlreadyExistsError:
            return False
        return True

    def swap(self, key: str, data: bytes, before: str | None) -> bool:
        """Replace an object if its entity tag is still `before` (None: if there is none); False otherwise."""
        import obstore
        from obstore.exceptions import PreconditionError

        if before is None:
            return self.create(key, data)
        if self._folder is not None:
            with self._locked():
                now = self.read(key)
                if now is None or now[1] != before:
                    return False
                self.put(key, data)
                return True
        try:
            with self._said("written"):
                obstore.put(self._store, key, data, mode={"e_tag": before})
        except PreconditionError:
            return False
        return True

    def sizes(self, prefix: str) -> dict[str, int]:
        """Keys below a prefix, and their sizes."""
        import obstore

        try:
            with self._said("listed"):
                found = [o for batch in obstore.list(self._store, prefix) for o in batch]
        except FileNotFoundError:
            found = []
        return {str(o["path"]): int(o["size"]) for o in found}

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """A folder knows no conditional writes: one publisher at a time replaces its pointer."""
        assert self._folder is not None
        with (self._folder / ".publish.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    @contextmanager
    def _said(self, what: str) -> Iterator[None]:
        """Failures in words that hold no secrets; those that publishing decides by go through."""
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        try:
            yield
        except (FileNotFoundError, AlreadyExistsError, PreconditionError):
            raise
        except Exception as error:
            if "NoSuchBucket" in str(error):
                raise StoreError(
                    f"{self.name}: there is no such bucket; make it first, or check its name"
                ) from None
            first = scrub(str(error).split("\n", 1)[0])
            refused = type(error).__name__ in (
                "UnauthenticatedError",
                "PermissionDeniedError",
                "PermissionError",
            )
            hint = "; may these credentials write there?" if refused else ""
            raise StoreError(f"{self.name} cannot be {what}: {first[:300]}{hint}") from None

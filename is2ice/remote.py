"""Where bytes come from: local paths, URLs through fsspec, open files, Earthdata granules."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import h5py

from .errors import GranuleError, RemoteError

__all__ = ["Source", "public_url", "scrub"]

_URL = re.compile(r"[a-z][a-z0-9+.-]*://[^\s'\"<>)]+", re.IGNORECASE)
SIGNATURE = b"\x89HDF\r\n\x1a\n"
#: Range-request block of remote files; most of a granule's metadata fits in a few of these.
BLOCK = 8 * 2**20


def public_url(url: str) -> str:
    """A URL without user, password, query and fragment, which may hold secrets (signed URLs do)."""
    try:
        parts = urlsplit(url)
    except ValueError:  # cut out of a message in the middle of an IPv6 address
        return "<url>"
    return urlunsplit((parts.scheme, parts.netloc.rsplit("@", 1)[-1], parts.path, "", ""))


def scrub(text: str) -> str:
    """Text with the secrets of every URL in it taken out: user, password, query."""
    return _URL.sub(lambda found: public_url(found.group()), text)


@dataclass(frozen=True)
class Source:
    """A file that can be opened again, in another thread or process if it has a path or URL.

    Attributes
    ----------
    name : str
        Path, URL or name, for messages and provenance (never with credentials).
    """

    name: str
    path: str | None = None
    url: str | None = field(default=None, repr=False)
    handle: Any = field(default=None, compare=False)
    options: tuple[tuple[str, Any], ...] = ()

    @classmethod
    def of(cls, source: Any) -> Source:
        """A source from a path, URL, open binary file or earthaccess granule.

        Raises
        ------
        GranuleError
            For anything else, and for a path that does not exist.
        """
        if isinstance(source, Source):
            return source
        if isinstance(source, str | os.PathLike):
            text = os.fspath(source)
            if "://" in text:
                if text.startswith("file://"):
                    return cls.of(text[len("file://") :])
                return cls(name=public_url(text), url=text)
            path = Path(text).expanduser()
            if path.is_dir():
                raise GranuleError(f"{path} is a folder; expected an ATL03 HDF5 file")
            if not path.exists():
                raise GranuleError(f"{path}: no such file")
            return cls(name=path.name, path=str(path.resolve()))
        if hasattr(source, "data_links"):  # earthaccess.DataGranule
            return cls._of_earthdata(source)
        if hasattr(source, "read") and hasattr(source, "seek"):
            name = getattr(source, "full_name", None) or getattr(source, "name", None) or "open file"
            return cls(name=os.path.basename(public_url(str(name))), handle=source)
        raise GranuleError(
            f"cannot open {type(source).__name__}: expected a path, an https:// or s3:// URL, an open binary "
            "file or an earthaccess granule"
        )

    @classmethod
    def _of_earthdata(cls, granule: Any) -> Source:
        import earthaccess

        links = [link for link in granule.data_links() if link.endswith(".h5")]
        name = links[0].rsplit("/", 1)[-1] if links else str(granule["umm"]["GranuleUR"])
        if not getattr(getattr(earthaccess, "__auth__", None), "authenticated", False):
            raise GranuleError(
                f"{name}: Earthdata needs a login before it can be opened; call earthaccess.login() "
                '(strategy="netrc" or "environment" in batch jobs) and try again'
            )
        return cls(name=name, handle=earthaccess.open([granule])[0])

    def fingerprint(self) -> tuple[str, ...]:
        """What tells one version of the file from another."""
        if self.path is not None:
            stat = os.stat(self.path)
            return ("path", self.path, str(stat.st_size), str(stat.st_mtime_ns))
        if self.url is not None:
            return ("url", self.url)
        return ("handle", str(id(self.handle)))

    def size(self) -> int | None:
        """Bytes of a local file, None elsewhere."""
        return os.stat(self.path).st_size if self.path is not None else None

    def open_hdf5(self) -> h5py.File:
        """Open for reading.

        Raises
        ------
        GranuleError
            When the bytes are not HDF5 or end too early.
        """
        try:
            return self._open()
        except FileNotFoundError as error:
            # fsspec says so of a server that does not answer or refuses, too; its cause tells.
            if getattr(error.__cause__, "status", 404) != 404:
                raise self._refused(error.__cause__) from None  # type: ignore[arg-type]
            if isinstance(error.__cause__, OSError) and not isinstance(error.__cause__, FileNotFoundError):
                raise RemoteError(f"{self.name}: the server cannot be reached; try again") from None
            raise GranuleError(f"{self.name}: no such file") from (None if self.url else error)
        except OSError as error:
            if self.url is not None and not isinstance(error, PermissionError) and self._is_network(error):
                # Without the cause: its text holds the URL, and that may hold a token.
                raise RemoteError(f"{self.name}: cannot be reached: {scrub(str(error))}; try again") from None
            raise GranuleError(scrub(self._diagnose(error))) from (None if self.url else error)
        except Exception as error:
            if self.url is None:
                raise
            raise self._refused(error) from None

    @staticmethod
    def _is_network(error: OSError) -> bool:
        """Whether an error came from the network rather than from the bytes."""
        return isinstance(error, ConnectionError | TimeoutError) or "aiohttp" in type(error).__module__

    def _refused(self, error: Exception) -> GranuleError:
        """What a server's answer means to the user."""
        status = getattr(error, "status", None)
        said = f"HTTP {status}" if status else scrub(f"{type(error).__name__}: {error}")
        if status in (401, 403):
            return GranuleError(
                f"{self.name}: access refused ({said}); log in, or ask for a new signed URL if this one has expired"
            )
        if "Credentials" in type(error).__name__:
            return GranuleError(
                f"{self.name}: no credentials for this bucket ({said}); set AWS_ACCESS_KEY_ID and "
                "AWS_SECRET_ACCESS_KEY, or open the granule through earthaccess"
            )
        if status is None or status >= 500 or status == 429:
            return RemoteError(f"{self.name}: the server failed ({said}); try again")
        return GranuleError(f"{self.name}: cannot be read ({said})")

    def _open(self) -> h5py.File:
        if self.path is not None:
            return h5py.File(self.path, "r", rdcc_nbytes=16 * 2**20)
        if self.url is not None:
            import fsspec.core

            fs, path = fsspec.core.url_to_fs(self.url)
            return h5py.File(fs.open(path, "rb", block_size=BLOCK, cache_type="blockcache"), "r")
        self.handle.seek(0)
        return h5py.File(self.handle, "r")

    def _diagnose(self, error: OSError) -> str:
        text = str(error)
        if "truncated" in text.lower():
            return f"{self.name}: the file is truncated ({text.split('(', 1)[-1].rstrip(')')}); download it again"
        head = b""
        if self.path is not None:
            with open(self.path, "rb") as f:
                head = f.read(8)
            if head != SIGNATURE:
                got = f"it starts with {head!r}" if head else "it is empty"
                return f"{self.name}: not an HDF5 file ({got}). An error page saved in place of the granule?"
        if self.url is not None:
            text = text.replace(self.url, self.name)
        return f"{self.name}: cannot be opened as HDF5: {text}"

    def __getstate__(self) -> dict[str, Any]:
        if self.handle is not None:
            raise TypeError(
                f"{self.name}: an open file cannot be sent to another process; give its path or URL instead"
            )
        return dict(self.__dict__)

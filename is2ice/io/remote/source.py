"""Sources of bytes: local paths, URLs through fsspec, open files, Earthdata granules."""

from __future__ import annotations

import atexit
import os
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py

from is2ice.errors import GranuleError, RemoteError
from is2ice.io.urls import file_path, public_url, scrub

from . import byte_index, earthdata, object_store
from .hdf5_file import Hdf5, locked_text
from .range_file import RemoteFile

__all__ = [
    "Hdf5",
    "Source",
]

SIGNATURE = b"\x89HDF\r\n\x1a\n"
#: Bytes that a user block may take before the signature.
USER_BLOCKS = (0, 512, 1024, 2048, 4096, 8192)
#: Block of remote files of other schemes than http(s) and s3, which are read through fsspec.
BLOCK = 8 * 2**20


@atexit.register
def _close_streams() -> None:
    """Close what is read through Python: HDF5 would do so after Python has ended, and crash."""
    for found in h5py.h5f.get_obj_ids(h5py.h5f.OBJ_ALL, h5py.h5f.OBJ_FILE):
        file = h5py.File(found)
        if file.driver == "fileobj":
            file.close()


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
        """Return a source from a path, URL, open binary file or earthaccess granule.

        Raises
        ------
        GranuleError
            For anything else, and for a path that does not exist.
        """
        if isinstance(source, Source):
            return source
        if isinstance(source, str | os.PathLike):
            text = os.fspath(source)
            if text.lower().startswith("file:"):
                return cls.of(file_path(text))
            if "://" in text:
                return cls(name=public_url(text), url=text)
            path = Path(text).expanduser()
            if path.is_dir():
                raise GranuleError(
                    f"{path} is a folder; expected an ATL03 file; {path}/ATL03_*.h5 names all in it"
                )
            if not path.exists():
                raise GranuleError(f"{path}: no such file")
            if not path.is_file():  # a pipe would never answer
                raise GranuleError(f"{path}: expected an ATL03 HDF5 file, got a pipe or device")
            return cls(name=path.name, path=str(path.resolve()))
        if hasattr(source, "data_links"):  # earthaccess.DataGranule
            return cls._of_earthdata(source)
        if hasattr(source, "get") and source.get("granule_item") is not None:  # a row of a search
            return cls.of(source["granule_item"])
        if hasattr(source, "read") and hasattr(source, "seek"):
            name = getattr(source, "full_name", None) or getattr(source, "name", None) or "open file"
            return cls(name=os.path.basename(public_url(str(name))), handle=source)
        raise GranuleError(
            f"cannot open {type(source).__name__}: expected a path, an https:// or s3:// URL, an open binary "
            "file or an earthaccess granule"
        )

    @classmethod
    def _of_earthdata(cls, granule: Any) -> Source:
        """Return the granule's own address: in region its bucket, elsewhere https; a worker can open it again."""
        https = [link for link in granule.data_links(access="external") if link.endswith(".h5")]
        direct = [link for link in granule.data_links(access="direct") if link.endswith(".h5")]
        name = (https or direct or [str(granule["umm"]["GranuleUR"])])[0].rsplit("/", 1)[-1]
        if not https and not direct:
            raise GranuleError(f"{name}: the search result has no address of an HDF5 file")
        return cls.of(direct[0] if direct and (earthdata.in_region() or not https) else https[0])

    def fingerprint(self) -> tuple[str, ...]:
        """Values that differ between versions of the file."""
        if self.path is not None:
            stat = os.stat(self.path)
            return ("path", self.path, str(stat.st_size), str(stat.st_mtime_ns))
        if self.url is not None:
            return ("url", self.url)
        return ("handle", str(id(self.handle)))

    def size(self) -> int | None:
        """Bytes of a local file, None elsewhere."""
        return os.stat(self.path).st_size if self.path is not None else None

    def open_hdf5(self) -> Hdf5:
        """Open for reading.

        Raises
        ------
        GranuleError
            When the bytes are not HDF5 or end too early.
        """
        try:
            return self._open()
        except (GranuleError, earthdata.LoginError) as error:
            if (
                self.url is None
                or type(error) is not GranuleError
                or self.name.lower().endswith((".h5", ".hdf5"))
            ):
                raise
            raise GranuleError(  # probably a folder, or the root of a server
                f"{error}. Expected the address of a file (.../ATL03_....h5) or of a store; there is no store here"
            ) from None
        except FileNotFoundError as error:
            raise GranuleError(f"{self.name}: no such file") from (None if self.url else error)
        except Exception as error:
            if self.url is None and not isinstance(error, OSError):
                raise
            if isinstance(error, ConnectionError | TimeoutError):
                raise RemoteError(f"{self.name}: cannot be reached: {scrub(str(error))}; try again") from None
            # Without the cause of a URL's failure: its text may hold a token.
            raise GranuleError(scrub(self._diagnose(error))) from (None if self.url else error)

    def _open(self) -> Hdf5:
        if self.path is not None:
            return Hdf5(self.path, granule=self.name, size=self.size(), local=True, rdcc_nbytes=16 * 2**20)
        if self.url is None:
            self.handle.seek(0)
            return Hdf5(self.handle, granule=self.name, **dict(self.options))
        if self.url.split("://", 1)[0] not in object_store.SCHEMES:
            import fsspec.core

            fs, path = fsspec.core.url_to_fs(self.url)
            handle = fs.open(path, "rb", block_size=BLOCK, cache_type="blockcache")
            return Hdf5(handle, granule=self.name, size=getattr(handle, "size", None))
        stream = RemoteFile(self.url, self.name)
        if not any(stream.read_at(at, 8) == SIGNATURE for at in USER_BLOCKS if at + 8 <= stream.size):
            got = bytes(stream.read_at(0, 8))
            raise GranuleError(
                f"{self.name}: not an HDF5 file ({f'it starts with {got!r}' if got else 'it is empty'}). "
                "An error page in place of the granule?"
            )
        byte_index.load(stream)
        # Chunks are read beside HDF5 (:mod:`is2ice.io.remote.hdf5_chunks`): its own chunk cache would only hold copies.
        file = Hdf5(stream, granule=self.name, size=stream.size, rdcc_nbytes=2 * 2**20)
        file.stream = stream
        if file.id.get_create_plist().get_file_space_strategy()[0] == h5py.h5f.FSPACE_STRATEGY_PAGE:
            stream.use_pages()
        return file

    def _diagnose(self, error: Exception) -> str:
        text = str(error)
        if (locked := locked_text(self.name, error)) is not None:
            return locked
        if "truncated" in text.lower():
            return f"{self.name}: the file is truncated ({text.split('(', 1)[-1].rstrip(')')}); download it again"
        if isinstance(error, PermissionError):
            return f"{self.name}: may not be read ({error.strerror}); ask for the right to read it"
        if self.path is not None:
            heads = []
            with suppress(OSError), open(self.path, "rb") as f:
                for at in USER_BLOCKS:
                    f.seek(at)
                    heads.append(f.read(8))
            if heads and SIGNATURE not in heads:
                head = heads[0]
                got = f"it starts with {head!r}" if head else "it is empty"
                return f"{self.name}: not an HDF5 file ({got}). An error page saved in place of the granule?"
        if self.url is not None:
            text = text.replace(self.url, self.name)
        return f"{self.name}: cannot be opened as HDF5: {text}. The file is damaged; fetch it again"

    def __getstate__(self) -> dict[str, Any]:
        if self.handle is not None:
            raise TypeError(
                f"{self.name}: an open file cannot be sent to another process; give its path or URL instead"
            )
        return dict(self.__dict__)

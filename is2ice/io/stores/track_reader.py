"""Reading of a track's Zarr group, in which an absent object is an error and no missing value."""

from __future__ import annotations

import hashlib
from typing import Any

from zarr.abc.store import ByteRequest
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import WrapperStore

from is2ice.errors import DamagedTrackError

from .track_encoding import META

__all__ = ["WholeTrack"]


class WholeTrack(WrapperStore[Any]):
    """A Zarr store of whose objects none may be absent; the metadata of one group are compared with their checksum.

    Parameters
    ----------
    store : zarr.abc.store.Store
    name : str
        Address, for messages.
    path : str
        Key of the group.
    checksum : str
        SHA-256 of the group's metadata; empty where it is not known.
    """

    def __init__(self, store: Any, name: str = "", path: str = "", checksum: str = "") -> None:
        super().__init__(store)
        self.name, self.path, self.checksum = name, path, checksum

    def __str__(self) -> str:  # obstore's text of a container of Azure needs its account among the options
        return self.name or super().__str__()

    def _with_store(self, store: Any) -> WholeTrack:
        return type(self)(store, self.name, self.path, self.checksum)

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """Read an object of the track; a chunk that is absent or empty is an error."""
        found = await self._store.get(key, prototype, byte_range)
        metadata = key == f"{self.path}/{META}".lstrip("/")
        needed = metadata or not key.endswith(META)
        if needed and (found is None or len(found) == 0):  # Zarr takes both for chunks of missing values
            raise DamagedTrackError(f"{self.name}: {key} is gone or empty; run again to make the track again")
        if found is not None and metadata and self.checksum not in ("", _sha256(found)):
            raise DamagedTrackError(f"{self.name}: {key} was changed; run again to make the track again")
        return found


def _sha256(found: Buffer) -> str:
    return hashlib.sha256(found.to_bytes()).hexdigest()

"""Exceptions of the package, each saying what, where, expected, got and what to do next."""

from __future__ import annotations

__all__ = [
    "CatalogError",
    "DamagedTrackError",
    "DocumentError",
    "GranuleError",
    "Is2IceError",
    "MissingExtraError",
    "ModelError",
    "NoSignalError",
    "RemoteError",
    "SchemaError",
    "StoreError",
    "TransitionOrbitError",
]


class Is2IceError(Exception):
    """Base of every error raised on purpose by the package."""


class MissingExtraError(Is2IceError, ImportError):
    """A package of an extra is not installed."""


class GranuleError(Is2IceError, ValueError):
    """A file or granule is not what it should be: another product, truncated, a group missing."""


class RemoteError(GranuleError, ConnectionError):
    """A server could not be reached or failed; the same call may succeed later."""


class TransitionOrbitError(GranuleError):
    """The spacecraft was turning (``sc_orient`` 2): strong and weak beams cannot be told apart."""


class NoSignalError(Is2IceError, ValueError):
    """A track holds photons, but none that the selection accepts."""


class SchemaError(Is2IceError, ValueError):
    """A dataset does not follow the vocabulary of :mod:`is2ice.schema`.

    Attributes
    ----------
    faults : list of str
        Every fault found, not only the first.
    """

    def __init__(self, message: str, faults: list[str] | None = None) -> None:
        super().__init__(message)
        self.faults = list(faults or [])


class StoreError(Is2IceError, OSError):
    """A store cannot be read or written: read-only, another schema version, not a store."""


class DamagedTrackError(StoreError):
    """A stored track is not what was written: an object of it is absent, changed, or cannot be decoded."""


class ModelError(Is2IceError, ValueError):
    """A saved model or checkpoint cannot be used: damaged, of another kind, or made for other data."""


class DocumentError(Is2IceError, ValueError):
    """A configuration or another file of settings cannot be read, or says what it may not."""


class CatalogError(Is2IceError, RuntimeError):
    """A catalogue cannot be searched: unreachable, refusing, or not a STAC API."""

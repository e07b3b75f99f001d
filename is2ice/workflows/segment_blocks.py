"""Compute one long track on several workers: photons are read and resampled in blocks, then put together.

Photons to segments takes most of the time and is done block by block: :meth:`is2ice.io.icesat2.atl03.Granule.block`
reads what a block needs beyond its ends (its halo) and gives the same cells for every division into blocks. Classes of
a trained model are computed in blocks too (:mod:`is2ice.workflows.class_blocks`). The other steps need the whole track,
are quick (timed by ``benchmarks/engines.py long``), and are done once the blocks are together, so that the result has
the same bits: the radiometric tree reads the light of the ice over 10 km and, across a gap, from beyond it; the
uncertainty of the sea surface takes the slopes between all leads of the track and their departures from it; freeboard
is a difference, which costs less than its transport.

Blocks wait in the store's hidden folder ``.parts``, in a folder per run. A resumed run finds the blocks of the run
before; a missing block is computed where the track is put together.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import zipfile
import zlib
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from is2ice import schema
from is2ice.io.remote.location import Location
from is2ice.io.remote.source import Source
from is2ice.io.stores import store as stores
from is2ice.version import __version__

from .execution import ExecutionSettings
from .options import Options

if TYPE_CHECKING:
    from is2ice.io.icesat2.atl03 import Plan


__all__ = ["Blocks", "Joined", "Part", "clear", "part_arrays", "parts_folder", "prepare", "segmenting"]

log = logging.getLogger("is2ice")

FOLDER = ".parts"


def segmenting(options: Options) -> dict[str, Any]:
    """Return the options that decide the segments, as :meth:`is2ice.io.icesat2.atl03.Granule.plan` takes them."""
    from is2ice.science.segments import Selection

    return {
        "length": options.length,
        "selection": Selection(options.confidence, options.quality),
        "reference": options.reference,
        "corrections": options.corrections,
        "first_photon": options.first_photon,
    }


def part_arrays(raw: bytes, where: str) -> dict[str, NDArray] | None:
    """Read the arrays of a part (.npz); None, with a warning, where it is damaged: it is then computed once more."""
    try:
        with np.load(io.BytesIO(raw), allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        log.warning("%s: a part is damaged (%s), and is computed once more", where, error)
        return None


@dataclass(frozen=True)
class Part:
    """Block `number` of a track."""

    source: Any
    granule: str
    beam: str
    number: int

    def __str__(self) -> str:
        return f"{self.granule} {self.beam} block {self.number}"


@dataclass(frozen=True)
class Joined:
    """Load a track from its blocks, and make them.

    Attributes
    ----------
    folder : Location
        Place of the blocks.
    cells : int
        Segments per block.
    whole : callable
        Loads a track: :func:`is2ice.workflows.track.load`.
    """

    folder: Location
    cells: int
    whole: Callable[..., xr.Dataset]

    def __call__(self, source: Any, beam: str, options: Options, *, threads: int = 2) -> xr.Dataset:
        """Load a track; a missing block is made here."""
        if stores.is_store(source):
            return self.whole(source, beam, options)
        read = partial(self._read, self._key(source, beam, options))
        return self.whole(source, beam, options, threads=threads, block=self.cells, blocks=read)

    def make(self, options: Options, part: Part) -> None:
        """Compute a block and put it into the folder, if it is not there."""
        from is2ice.io.icesat2.atl03 import Granule, Subset

        name = f"{self._key(part.source, part.beam, options)}-{part.number}.npz"
        if self.folder.read(name) is not None:
            return
        with Granule(part.source) as granule:
            subset = Subset(options.bbox, options.time, options.x_atc)
            plan = granule.plan(part.beam, subset, **segmenting(options))
            first = part.number * self.cells
            block = granule.block(plan, plan.k0 + first, min(self.cells, plan.n - first))
            block |= granule.findings(part.beam)
        stream = io.BytesIO()
        np.savez(stream, **block)  # type: ignore[arg-type]
        self.folder.put(name, stream.getvalue())

    def _read(self, key: str, plan: Plan, k0: int, n: int) -> Mapping[str, NDArray] | None:
        held = self.folder.read(f"{key}-{(k0 - plan.k0) // self.cells}.npz")
        if held is None:
            return None
        block = part_arrays(held[0], self.folder.name)
        return block if block and block["h_core"].shape == (n,) else None

    def _key(self, source: Any, beam: str, options: Options) -> str:
        """Key that distinguishes the blocks of one track, file and set of options from all others."""
        made_by = [__version__, schema.SCHEMA_VERSION]
        what = [*made_by, Source.of(source).fingerprint(), beam, self.cells, options.parameters()]
        return hashlib.sha256(json.dumps(what, sort_keys=True, default=str).encode()).hexdigest()[:24]


@dataclass(frozen=True)
class Blocks:
    """Place and workers for the blocks of a run.

    Attributes
    ----------
    folder : Location
        Place from :func:`parts_folder`.
    execution : ExecutionSettings
        Workers, already started.
    km : float
        Length of a block.
    report : callable
        Takes each block, and True if it failed.
    share : mapping
        Objects that each worker receives once.
    """

    folder: Location
    execution: ExecutionSettings
    km: float
    report: Callable[[Any, bool], None]
    share: Mapping[str, bytes] = field(default_factory=dict, repr=False)

    def map(self, fn: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
        """Apply a function on the workers; yield items and results. Failures are left to the task of the track."""
        with closing(self.execution.map(fn, items, self.share)) as results:  # type: ignore[type-var]
            for item, result in results:
                failed = isinstance(result, BaseException)
                self.report(item, failed)
                if failed:
                    log.debug("%s: %s", item, result)
                else:
                    yield item, result


def prepare(
    blocks: Blocks, items: Iterable[Any], options: Options, whole: Callable[..., xr.Dataset]
) -> Joined:
    """Make the blocks of some tracks, and return the callable that loads a track from them.

    Parameters
    ----------
    blocks : Blocks
    items : iterable of Item
        The tracks to come.
    options : Options
    whole : callable
        Loads a whole track.
    """
    joined = Joined(blocks.folder, max(1, round(blocks.km * 1e3 / options.length)), whole)
    for _ in blocks.map(partial(joined.make, options), _parts(items, options, joined.cells)):
        pass
    return joined


def _parts(items: Iterable[Any], options: Options, cells: int) -> Iterator[Part]:
    from is2ice.io.icesat2.atl03 import Granule, Subset

    for item in items:
        if stores.is_store(item.source):
            continue
        try:
            with Granule(item.source) as granule:
                subset = Subset(options.bbox, options.time, options.x_atc)
                n = granule.plan(item.beam, subset, **segmenting(options)).n
        except Exception as error:  # reported by the task of the track
            log.debug("%s: %s", item, error)
            continue
        yield from (Part(item.source, item.granule, item.beam, k) for k in range(-(-n // cells)))


def parts_folder(root: Location, run: str) -> Location:
    """Return the place at which the parts of a run's tracks wait.

    Parameters
    ----------
    root : Location
        Store.
    run : str
        Id of the run, or of the first one that it resumes.
    """
    return root / f"{FOLDER}/{run}"


def clear(root: Location, keep: Container[str] = ()) -> None:
    """Remove the blocks of the runs of a store that have ended, but for those to keep."""
    root.delete(key for key in root.objects(f"{FOLDER}/") if key.split("/")[1] not in keep)

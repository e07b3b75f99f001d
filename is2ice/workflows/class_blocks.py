"""Classes of a trained model for one long track, evaluated in blocks by several workers.

A worker puts the track's segments together and makes its features (the light and the low level of the ice are common to
tens of kilometres, and quick to read). Then blocks of cells are evaluated, each with as many cells beyond its ends as
the model's windows reach: its halo. Blocks begin at fixed cells of the track, and a model evaluates batches that begin
at fixed cells, so the bits are those of the whole track whoever evaluates what.

Features and classes wait beside the blocks of segments (:mod:`is2ice.workflows.segment_blocks`), under a
checksum of the segments that
they are of; what is missing is evaluated where the track is written.
"""

from __future__ import annotations

import hashlib
import io
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from is2ice.io.remote.location import location
from is2ice.io.stores import store as stores
from is2ice.version import __version__

from .options import Options

if TYPE_CHECKING:
    from .driver import Place

__all__ = ["Classes", "prepare"]

log = logging.getLogger("is2ice")


@dataclass(frozen=True)
class Cells:
    """Some cells of a track whose features are in a file."""

    track: str
    key: str
    first: int
    stop: int

    def __str__(self) -> str:
        return f"{self.track} cells {self.first:,} to {self.stop:,}"


@dataclass(frozen=True)
class Classes:
    """Classifies a track from its evaluated blocks, and makes them.

    Attributes
    ----------
    folder : str
        Where features and blocks are.
    cells : int
        Segments a block.
    """

    folder: str
    cells: int

    def __call__(self, segments: xr.Dataset, options: Options) -> xr.Dataset:
        """Segments with class and probabilities, as :func:`is2ice.classifiers.classify` gives them."""
        from is2ice.classifiers.neural import loaded

        evaluated = self._read(_key(segments, options), segments.sizes["x_atc"])
        return loaded(options.classifier).predict(segments, evaluated=evaluated)

    def features(self, load: Callable[..., xr.Dataset], options: Options, item: Any) -> tuple[str, int]:
        """Put the features of a track into the folder; the key they are under, and the cells of the track."""
        from is2ice.classifiers.neural import loaded

        segments = load(item.source, item.beam, options, threads=1)
        key = _key(segments, options)
        values = loaded(options.classifier).features(segments)
        self._put(f"{key}-features.npy", values)
        return key, len(values)

    def evaluate(self, options: Options, some: Cells) -> None:
        """Evaluate a block and put it into the folder, if it is not there."""
        from is2ice.classifiers.neural import loaded

        name = f"{some.key}-{some.first}.npy"
        if self._get(name) is not None:
            return
        values = self._get(f"{some.key}-features.npy")
        if values is None:
            raise FileNotFoundError(f"{self.folder}/{some.key}-features.npy: the features of {some} are gone")
        self._put(name, loaded(options.classifier).evaluate(values, some.first, some.stop))

    def _read(self, key: str, n: int) -> NDArray[np.float32] | None:
        """Probabilities of all cells of a track; None where a block is missing."""
        blocks = []
        for first in range(0, n, self.cells):
            if (block := self._get(f"{key}-{first}.npy")) is None:
                return None
            blocks.append(block)
        out = np.concatenate(blocks)
        return out if len(out) == n else None

    def _put(self, name: str, values: NDArray) -> None:
        stream = io.BytesIO()
        np.save(stream, values, allow_pickle=False)
        location(self.folder).put(name, stream.getvalue())

    def _get(self, name: str) -> NDArray | None:
        held = location(self.folder).read(name)
        return None if held is None else np.load(io.BytesIO(held[0]), allow_pickle=False)


def _key(segments: xr.Dataset, options: Options) -> str:
    """Tells segments and a model from all others."""
    what = f"{__version__} {stores.checksum(segments)} {options.classifier_checksum}"
    return hashlib.sha256(what.encode()).hexdigest()[:24]


def prepare(
    folder: str, items: Iterable[Any], options: Options, load: Callable[..., xr.Dataset], place: Place,
    may_pass: Callable[[BaseException], bool], km: float, told: Callable[[Any, bool], None],
) -> Classes:  # fmt: skip
    """Evaluate the blocks of some tracks on an engine; give what classifies a track from them.

    Parameters
    ----------
    folder : str
        Address from :func:`is2ice.workflows.segment_blocks.parts_folder`.
    items : iterable of Item
        The tracks to come.
    options, place, may_pass
        Of the run; its classifier is a trained model.
    load : callable
        Loads a track's segments: those that :mod:`is2ice.workflows.segment_blocks` has made.
    km : float
        Length of a block; rounded to batches of the model.
    told : callable
        Of each block, and whether it failed.
    """
    from is2ice.classifiers.neural import BLOCK

    cells = BLOCK * max(1, round(km * 1e3 / options.length / BLOCK))
    classes = Classes(folder, cells)
    tracks = []
    for item, made in _done(place, partial(classes.features, load, options), items, may_pass, told):
        tracks.append((str(item), *made))
    blocks = (
        Cells(track, key, first, min(first + cells, n))
        for track, key, n in tracks
        for first in range(0, n, cells)
    )
    for _ in _done(place, partial(classes.evaluate, options), blocks, may_pass, told):
        pass
    return classes


def _done(
    place: Place,
    fn: Callable[[Any], Any],
    items: Iterable[Any],
    may_pass: Callable[[BaseException], bool],
    told: Callable[[Any, bool], None],
) -> Iterator[tuple[Any, Any]]:
    """Items and results on an engine; a failure is told when the track comes to it."""
    with closing(place.map(fn, items, may_pass)) as results:  # type: ignore[type-var]
        for item, result in results:
            told(item, isinstance(result, BaseException))
            if isinstance(result, BaseException):
                log.debug("%s: %s", item, result)
            else:
                yield item, result

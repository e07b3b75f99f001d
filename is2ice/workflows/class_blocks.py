"""Evaluate a trained model for one long track in blocks, on several workers.

A worker puts the segments of the track together and makes its features (the light and the low level of the ice are
common to tens of kilometres, and quick to read). Then blocks of cells are evaluated, each with as many cells beyond its
ends as the windows of the model reach (its halo). Blocks begin at fixed cells of the track, and a model evaluates
batches that begin at fixed cells, so the bits are those of the whole track for every distribution of the blocks.

Features and classes wait beside the blocks of segments (:mod:`is2ice.workflows.segment_blocks`), under a checksum of
their segments; a missing block is evaluated where the track is written.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from is2ice.io.remote.location import Location
from is2ice.io.stores import store as stores
from is2ice.version import __version__

from .options import Options
from .segment_blocks import Blocks, part_arrays

__all__ = ["Classes", "prepare"]


@dataclass(frozen=True)
class Cells:
    """Cells of a track whose features are in a file."""

    track: str
    key: str
    first: int
    stop: int

    def __str__(self) -> str:
        return f"{self.track} cells {self.first:,} to {self.stop:,}"


@dataclass(frozen=True)
class Classes:
    """Classify a track from its evaluated blocks, and make them.

    Attributes
    ----------
    folder : str
        Folder of features and blocks.
    cells : int
        Segments per block.
    """

    folder: Location
    cells: int

    def __call__(self, segments: xr.Dataset, options: Options) -> xr.Dataset:
        """Add class and probabilities to segments, as :func:`is2ice.classifiers.classify` does."""
        from is2ice.classifiers.neural import loaded

        evaluated = self._read(_key(segments, options), segments.sizes["x_atc"])
        return loaded(options.classifier, options.classifier_checksum).predict(segments, evaluated=evaluated)

    def features(self, load: Callable[..., xr.Dataset], options: Options, item: Any) -> tuple[str, int]:
        """Put the features of a track into the folder; return their key and the number of cells of the track."""
        from is2ice.classifiers.neural import loaded

        segments = load(item.source, item.beam, options, threads=1)
        key = _key(segments, options)
        values = loaded(options.classifier, options.classifier_checksum).features(segments)
        self._put(f"{key}-features.npz", values)
        return key, len(values)

    def evaluate(self, options: Options, some: Cells) -> None:
        """Evaluate a block and put it into the folder, if it is not there."""
        from is2ice.classifiers.neural import loaded

        name = f"{some.key}-{some.first}.npz"
        if self._get(name) is not None:
            return
        values = self._get(f"{some.key}-features.npz")
        if values is None:
            raise FileNotFoundError(f"{self.folder}/{some.key}-features.npz: the features of {some} are gone")
        self._put(
            name,
            loaded(options.classifier, options.classifier_checksum).evaluate(values, some.first, some.stop),
        )

    def _read(self, key: str, n: int) -> NDArray[np.float32] | None:
        """Read the probabilities of all cells of a track; return None if a block is missing."""
        blocks = []
        for first in range(0, n, self.cells):
            if (block := self._get(f"{key}-{first}.npz")) is None:
                return None
            blocks.append(block)
        out = np.concatenate(blocks)
        return out if len(out) == n else None

    def _put(self, name: str, values: NDArray) -> None:
        stream = io.BytesIO()
        np.savez(stream, values=values)
        self.folder.put(name, stream.getvalue())

    def _get(self, name: str) -> NDArray | None:
        held = self.folder.read(name)
        found = None if held is None else part_arrays(held[0], self.folder.name)
        return None if found is None else found["values"]


def _key(segments: xr.Dataset, options: Options) -> str:
    """Key that distinguishes segments and model from all others."""
    what = f"{__version__} {stores.checksum(segments)} {options.classifier_checksum}"
    return hashlib.sha256(what.encode()).hexdigest()[:24]


def prepare(
    blocks: Blocks, items: Iterable[Any], options: Options, load: Callable[..., xr.Dataset]
) -> Classes:
    """Evaluate the blocks of some tracks, and return the callable that classifies a track from them.

    Parameters
    ----------
    blocks : Blocks
        Their length is rounded to batches of the model.
    items : iterable of Item
        The tracks to come.
    options : Options
        Those of the run; their classifier is a trained model.
    load : callable
        Loads the segments of a track, from the blocks that :mod:`is2ice.workflows.segment_blocks` has made.
    """
    from is2ice.classifiers.neural import BLOCK

    cells = BLOCK * max(1, round(blocks.km * 1e3 / options.length / BLOCK))
    classes = Classes(blocks.folder, cells)
    tracks = [
        (str(item), *made) for item, made in blocks.map(partial(classes.features, load, options), items)
    ]
    parts = (
        Cells(track, key, first, min(first + cells, n))
        for track, key, n in tracks
        for first in range(0, n, cells)
    )
    for _ in blocks.map(partial(classes.evaluate, options), parts):
        pass
    return classes

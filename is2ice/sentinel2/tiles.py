"""Tiles of a scene: to train a network on, and put together again from what it says of them.

A scene is cut at fixed places, multiples of a step counted from its first pixel, whatever its chunks are;
tiles overlap and are blended by weights that fall to nothing at their borders and add up to one. So the
result depends neither on chunks nor on tiles' borders.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from is2ice import schema

from . import cloud_filter
from .stac_item import SceneError

__all__ = ["OVERLAP", "Network", "Tiles", "classify", "inputs_of", "one_kind", "stacked", "tiles_of"]

F4 = NDArray[np.float32]
#: Inputs, pixels per side, white, level and labels of tiles.
TileKind = tuple[tuple[str, ...], int, float, str, str]

#: Share of a tile's side that it has in common with the next.
OVERLAP = 0.25
#: Bits of a mask that thin cloud and shadow set.
_SKY = schema.LabelFlag.CLOUD | schema.LabelFlag.CLOUD_SHADOW
#: Brighter than any surface or cloud, reflectance over the white of the scale.
_BRIGHTEST = 1.5


class Network(Protocol):
    """The interface of a model of tiles."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """Bands, or "grey"."""
        ...

    @property
    def size(self) -> int:
        """Pixels per side of a tile."""
        ...

    def probabilities(self, x: F4) -> F4:
        """``(n, size, size, channels)`` to ``(n, size, size, 3)``."""
        ...


@dataclass(frozen=True)
class Tiles:
    """Tiles with automatic labels.

    Attributes
    ----------
    x : float32 ndarray, shape (n, size, size, channels)
        On the fixed scale; 0 for no data.
    y : int8 ndarray, shape (n, size, size)
        Class codes; -1 for no data and land, and for cloud and shadow if so asked.
    inputs : tuple of str
        Names of the channels.
    white : float
        Reflectance of the value 1.
    level : str
        "L1C" or "L2A".
    labels : str
        How the labels were made.
    scenes : tuple of str
    """

    x: F4
    y: NDArray[np.int8]
    inputs: tuple[str, ...]
    white: float = 1.0
    level: str = "unknown"
    labels: str = "unknown"
    scenes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.y)

    @classmethod
    def joined(cls, parts: Iterable[Tiles]) -> Tiles:
        """Tiles of several scenes as one set.

        Raises
        ------
        SceneError
            None, or they differ in inputs, size, scale, level or labels.
        """
        parts = list(parts)
        one_kind(p.kind for p in parts)
        inputs, _, white, level, labels = parts[0].kind
        names = tuple(dict.fromkeys(n for p in parts for n in p.scenes))
        x, y = np.concatenate([p.x for p in parts]), np.concatenate([p.y for p in parts])
        return cls(x, y, inputs, white, level, labels, names)

    @property
    def kind(self) -> TileKind:
        """Inputs, pixels per side, white, level and labels, in which the tiles of one training agree."""
        return self.inputs, self.x.shape[1], self.white, self.level, self.labels


def one_kind(kinds: Iterable[TileKind]) -> None:
    """Refuse tiles that no single network can be trained on.

    Raises
    ------
    SceneError
        No kind, or several.
    """
    found = dict.fromkeys(kinds)
    if len(found) != 1:
        told = "; ".join(f"{k[0]}, {k[1]} pixels, white {k[2]:g}, {k[3]}, {k[4]}" for k in found)
        raise SceneError(f"tiles of one kind are needed to train one network, got {told or 'none at all'}")


def inputs_of(names: Sequence[str]) -> tuple[str, ...]:
    """Bands that inputs are made of."""
    return tuple(dict.fromkeys(b for n in names for b in (("B02", "B03", "B04") if n == "grey" else (n,))))


def stacked(bands: Mapping[str, NDArray[Any]], inputs: Sequence[str], white: float = 1.0) -> F4:
    """Return the inputs of a network, ``(rows, columns, channels)``: reflectance over white, or grey of 8 bits.

    Parameters
    ----------
    bands : mapping of str to (rows, columns)
        Reflectance; NaN for no data.
    inputs : sequence of str
    white : float
    """
    planes = []
    for name in inputs:
        if name == "grey":
            red, green, blue = (
                cloud_filter.eight_bit(bands[b], white).astype(np.float32) for b in ("B04", "B03", "B02")
            )
            planes.append((0.299 * red + 0.587 * green + 0.114 * blue) / 255.0)
        else:
            planes.append(np.clip(np.nan_to_num(bands[name], nan=0.0) / white, 0.0, _BRIGHTEST))
    return np.stack(planes, -1).astype(np.float32)


def tiles_of(
    scene: xr.Dataset,
    class_map: xr.Dataset,
    inputs: Sequence[str] | None = None,
    *,
    size: int = 256,
    step: int | None = None,
    least: float = 0.2,
    under_cloud: bool = True,
    part: tuple[int, int] = (0, 1),
) -> Tiles:
    """Tiles of a scene, labelled by a class map.

    Parameters
    ----------
    scene : xarray.Dataset
        Reflectance as :func:`is2ice.sentinel2.scene.open_scene` gives it.
    class_map : xarray.Dataset
        From :func:`is2ice.sentinel2.scene.class_map`.
    inputs : sequence of str, optional
        Bands, or "grey"; by default those of B02, B03, B04, B08 and B11 that there are.
    size, step : int
        Pixels per side of a tile, and from one to the next (as many by default). What is left at the far
        borders is covered by tiles that end there.
    least : float
        Share of labelled pixels that a tile needs.
    under_cloud : bool
        True if the filter's classes below thin cloud and shadow are labels, as in the published work; else
        such pixels are unlabelled.
    part : (first, step)
        Cut the first tile of those that are labelled well enough, and every step-th after it.

    Returns
    -------
    Tiles

    Raises
    ------
    SceneError
        A band is missing, the scene is smaller than a tile, or has another shape than the class map.
    """
    where = scene.attrs.get("scene", "scene")
    names = tuple(inputs or (b for b in ("B02", "B03", "B04", "B08", "B11") if b in scene))
    if missing := [b for b in inputs_of(names) if b not in scene]:
        raise SceneError(
            f"{where}: {', '.join(missing)} missing; it holds {', '.join(map(str, scene.data_vars))}"
        )
    shape = (scene.sizes["y"], scene.sizes["x"])
    code, mask = (np.asarray(class_map[n].transpose("y", "x")) for n in ("surface_class", "mask"))
    if code.shape != shape or min(shape) < size:
        raise SceneError(
            f"{where}: {shape[0]} x {shape[1]} pixels, its class map {code.shape[0]} x {code.shape[1]}; expected the "
            f"same and at least one tile of {size}"
        )
    label = np.where((mask & ~np.uint16(_SKY if under_cloud else 0)) == 0, code, schema.UNLABELLED).astype(
        np.int8
    )
    white = float(class_map.attrs.get("white", 1.0))
    bands = {b: np.asarray(scene[b].transpose("y", "x")) for b in inputs_of(names)}
    places = [
        (slice(a, a + size), slice(b, b + size))
        for a in _starts(shape[0], size, step or size)
        for b in _starts(shape[1], size, step or size)
    ]
    chosen = [at for at in places if (label[at] >= 0).mean() >= least][part[0] :: part[1]]
    xs = [stacked({n: v[at] for n, v in bands.items()}, names, white) for at in chosen]
    ys = [label[at] for at in chosen]
    x = np.stack(xs) if xs else np.empty((0, size, size, len(names)), np.float32)
    y = np.stack(ys) if ys else np.empty((0, size, size), np.int8)
    told = (str(scene.attrs.get("level", "unknown")), str(class_map.attrs.get("method", "unknown")))
    return Tiles(x, y, names, white, *told, (str(where),))


def _starts(n: int, size: int, step: int) -> list[int]:
    starts = list(range(0, n - size + 1, step))
    return starts if starts[-1] + size == n else [*starts, n - size]


# ---- whole scenes ----


def classify(
    network: Network,
    bands: Mapping[str, Any],
    white: float,
    block: int = 2048,
    overlap: float = OVERLAP,
    *,
    probabilities: bool = False,
) -> Any:
    """Classify a scene by a network of tiles, as a Dask array.

    Parameters
    ----------
    network : Network
    bands : mapping of str to dask.array.Array (rows, columns)
        Reflectance in all that the network's inputs are made of.
    white : float
    block : int
        About how many pixels per side are worked at a time; the result does not depend on it.
    overlap : float
        Share of a tile's side in common with the next, above 0 and at most a half.
    probabilities : bool
        Give the probability of each class instead.

    Returns
    -------
    dask.array.Array of int8, shape (rows, columns), or of float32, shape (class, rows, columns)
    """
    import dask.array as da

    size = network.size
    common = min(max(round(size * overlap), 1), size // 2)
    step = size - common
    names = inputs_of(network.inputs)
    rows, columns = bands[names[0]].shape
    # Tiles start one overlap before the first pixel; beyond the borders the scene is mirrored as far as it
    # goes and then repeats its last pixels.
    last = [n + (-n % step) + size for n in (rows, columns)]
    at = [
        _mirrored(np.arange(-common, end - common), n) for end, n in zip(last, (rows, columns), strict=True)
    ]
    padded = [da.take(da.take(bands[b], at[0], axis=0), at[1], axis=1) for b in names]
    per = max(1, block // step) * step
    out = []
    for a in range(0, rows, per):
        line = []
        for b in range(0, columns, per):
            n, m = min(per, rows - a), min(per, columns - b)
            span = [slice(s, s + k + (-k % step) + size) for s, k in ((a, n), (b, m))]
            parts = [p[tuple(span)].rechunk(-1) for p in padded]
            work = _Blended(network, names, white, common, (n, m), probabilities)
            line.append(_mapped(work, parts, (n, m)))
        out.append(line)
    return da.block(out)


def _mapped(work: _Blended, parts: list[Any], shape: tuple[int, int]) -> Any:
    """Apply the work to a block whose parts are single chunks."""
    import dask.array as da

    n, m = shape
    if work.probabilities:
        chunks, meta = ((len(schema.CLASSES),), (n,), (m,)), np.zeros((0, 0, 0), np.float32)
        return da.map_blocks(work, *parts, dtype=np.float32, chunks=chunks, new_axis=0, meta=meta)
    return da.map_blocks(work, *parts, dtype=np.int8, chunks=((n,), (m,)), meta=np.zeros((0, 0), np.int8))


def _mirrored(index: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """Reflect indices beyond the ends back inside."""
    folded = np.where(index < 0, -index - 1, index)
    folded = np.where(folded >= n, 2 * n - 1 - folded, folded)
    return np.clip(folded, 0, n - 1)


class _Blended:
    """Classes of a block from its tiles; a plain object, so that it can be sent to workers."""

    def __init__(
        self,
        network: Network,
        names: tuple[str, ...],
        white: float,
        common: int,
        shape: tuple[int, int],
        probabilities: bool = False,
    ) -> None:
        self.network, self.names, self.white, self.common, self.shape = network, names, white, common, shape
        self.probabilities = probabilities

    def __call__(self, *arrays: NDArray[Any]) -> NDArray[Any]:
        size, common = self.network.size, self.common
        x = stacked(dict(zip(self.names, arrays, strict=True)), self.network.inputs, self.white)
        ramp = ((np.arange(common) + 0.5) / common).astype(np.float32)
        side = np.concatenate([ramp, np.ones(size - 2 * common, np.float32), ramp[::-1]])
        weight = (side[:, None] * side)[..., None]
        total = np.zeros((*x.shape[:2], len(schema.CLASSES)), np.float32)
        columns = range(0, x.shape[1] - size + 1, size - common)
        for a in range(0, x.shape[0] - size + 1, size - common):  # a row of tiles at a time
            tiles = np.stack([x[a : a + size, b : b + size] for b in columns])
            for b, p in zip(columns, self.network.probabilities(tiles), strict=True):
                total[a : a + size, b : b + size] += weight * p
        inner = total[common : common + self.shape[0], common : common + self.shape[1]]
        if self.probabilities:
            return np.ascontiguousarray(np.moveaxis(inner, -1, 0))
        return inner.argmax(-1).astype(np.int8)

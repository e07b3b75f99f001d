"""Labelled tiles of scenes to train a U-Net on, cut by replicas that share the scenes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from is2ice.classifiers.replicas import Alone, Replicas
from is2ice.errors import Is2IceError
from is2ice.sentinel2.scene import class_map, open_scene
from is2ice.sentinel2.stac_item import SceneError
from is2ice.sentinel2.tiles import Tiles, one_kind, tiles_of

__all__ = ["labelled_tiles", "shares"]


def shares(count: int, replicas: Replicas) -> Iterator[tuple[int, tuple[int, int]]]:
    """Give the scenes of a replica, each with the part of its tiles: whole scenes in turn, the last few in pieces.

    Parameters
    ----------
    count : int
        Number of scenes.
    replicas : Replicas

    Yields
    ------
    int, (first, step)
        Index of a scene, and which of its tiles (:func:`is2ice.sentinel2.tiles.tiles_of`).
    """
    rank, size = replicas.rank, replicas.size
    whole = count - count % size
    yield from ((k, (0, 1)) for k in range(rank, whole, size))
    yield from ((k, (rank, size)) for k in range(whole, count))


def labelled_tiles(
    scenes: Sequence[str | os.PathLike[str] | Mapping[str, Any]],
    inputs: Sequence[str] | None = None,
    *,
    labels: str = "guarded",
    size: int = 256,
    white: float = 1.0,
    replicas: Replicas | None = None,
) -> Tiles:
    """Cut tiles out of scenes and label them by a filter; a replica opens and cuts its share only.

    Parameters
    ----------
    scenes : sequence of STAC items
        Path, URL or document.
    inputs : sequence of str, optional
        As for :func:`is2ice.sentinel2.tiles.tiles_of`.
    labels : {"guarded", "published", "threshold"}
        Filter that makes the labels.
    size : int
        Pixels per side of a tile.
    white : float
        Reflectance of the value 255.
    replicas : Replicas, optional
        Copies of a training that are apart (:func:`is2ice.classifiers.replicas.launched`).

    Returns
    -------
    Tiles
        Those of this replica.

    Raises
    ------
    SceneError
        Scenes that cannot be read or differ in kind, or a replica without a tile; in every replica.
    """
    copies = replicas or Alone()
    made, fault = None, ""
    try:
        made = Tiles.joined(
            _tiles(scenes[k], inputs, labels, size, white, part) for k, part in shares(len(scenes), copies)
        )
    except Is2IceError as error:  # every replica must hear of it, or the others would wait
        if copies.size == 1:
            raise
        fault = str(error)
    answers = copies.gathered((fault, None if made is None else (made.kind, len(made))))
    if faults := [text for text, _ in answers if text]:
        raise SceneError(faults[0])
    one_kind(kind for _, (kind, _) in answers)
    if empty := [rank for rank, (_, (_, n)) in enumerate(answers) if not n]:
        raise SceneError(
            f"rank {empty[0]} of {copies.size} has no labelled tile; take fewer replicas or more scenes"
            if copies.size > 1
            else f"no tile of {size} pixels is labelled in a fifth of its pixels or more; take other scenes"
        )
    assert made is not None
    return made


def _tiles(
    scene: Any, inputs: Sequence[str] | None, labels: str, size: int, white: float, part: tuple[int, int]
) -> Tiles:
    image = open_scene(scene).compute()
    return tiles_of(image, class_map(image, labels, white=white), inputs, size=size, part=part)

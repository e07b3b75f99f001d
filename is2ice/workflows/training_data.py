"""Labelled stores to samples: where the stores meet the classifiers."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

import xarray as xr

from is2ice import schema
from is2ice.errors import StoreError
from is2ice.io.stores import store as stores

if TYPE_CHECKING:
    from is2ice.classifiers.samples import Samples
    from is2ice.science.features import FeatureSet

__all__ = ["labelled_samples", "labelled_tracks"]


def labelled_tracks(
    where: str | os.PathLike[str] | Iterable[str | os.PathLike[str]], *, chunks: int = schema.CHUNK
) -> list[xr.Dataset]:
    """The labelled granules of one or more stores, each a lazy cube.

    Parameters
    ----------
    where : store, or iterable of stores
    chunks : int
        Cells in a Dask block.

    Raises
    ------
    StoreError
        A store that cannot be read, or no labelled track in any.
    """
    roots = [where] if isinstance(where, str | os.PathLike) else list(where)
    cubes = []
    for root in roots:
        for granule in stores.open_store(root).granules:
            cube = stores.open_track(root, granule=granule, chunks=chunks)
            if "label" in cube:
                cubes.append(cube)
    if not cubes:
        raise StoreError(
            f"{', '.join(map(str, roots))}: no labelled track; make some with `is2ice labels make` or "
            "is2ice.workflows.label_pass.label_pass"
        )
    return cubes


def labelled_samples(
    where: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    features: str | FeatureSet = "default",
    context: int | None = None,
    *,
    leaking: Iterable[str] = (),
) -> Samples:
    """Samples of every labelled track of one or more stores (:func:`is2ice.classifiers.samples.from_tracks`)."""
    from is2ice.classifiers.samples import from_tracks

    return from_tracks(labelled_tracks(where), features, context, leaking=leaking)

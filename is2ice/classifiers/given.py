"""Surface classes that a user brings, in the place of a classifier's."""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from is2ice import schema

__all__ = ["given_classes"]

#: Name of the classifier in the attributes of such tracks.
NAME = "given"


def given_classes(segments: xr.Dataset, codes: ArrayLike | xr.DataArray) -> xr.Dataset:
    """Put a user's class codes on segments; the class given has probability 1.

    Rules of the classifiers, such as that of melt ponds, are not applied.

    Parameters
    ----------
    segments : xarray.Dataset
        Dims ``(beam, x_atc)`` or ``(x_atc,)``.
    codes : array-like of int
        0 thick ice, 1 thin ice, 2 open water, -1 unlabelled; of the shape of the segments.

    Raises
    ------
    ValueError
        Another shape, a code that is none of these, or coordinates of other segments.
    """
    like = segments["n_photons"]
    values = np.asarray(_in_order(codes, like) if isinstance(codes, xr.DataArray) else codes)
    if values.shape != like.shape:
        raise ValueError(
            f"class codes: expected the shape {like.shape} of the segments, got {values.shape or repr(codes)}"
        )
    known = [schema.UNLABELLED, *range(len(schema.CLASSES))]
    if values.dtype.kind not in "iub" or not np.isin(values, known).all():
        strange = np.unique(values[~np.isin(values, known)])[:3].tolist() or f"the type {values.dtype}"
        raise ValueError(
            f"class codes: got {strange}, expected whole numbers: 0 thick ice, 1 thin ice, 2 open water, -1 unlabelled"
        )
    values = values.astype("i1")
    out = segments.assign_coords(surface=list(schema.CLASSES)).assign(
        surface_class=(like.dims, values),
        class_probability=((*like.dims, "surface"), _certain(values)),
    )
    out = schema.annotate(out)
    kept = {k: v for k, v in out.attrs.items() if not k.startswith("classifier")}
    return out.assign_attrs(kept | {"classifier": NAME})


def _in_order(codes: xr.DataArray, like: xr.DataArray) -> xr.DataArray:
    """Return labelled codes with the dimensions in the order of the segments, whose coordinates they must share."""
    for d in like.dims:
        both = d in codes.coords and d in like.coords
        if both and codes.sizes[d] == like.sizes[d] and not np.array_equal(codes[d], like[d]):
            raise ValueError(
                f"class codes: their {d} is not that of the segments; take codes.reindex_like(segments, "
                "fill_value=-1), or codes.values where the order is the same"
            )
    return codes.transpose(*(d for d in like.dims if d in codes.dims), ...)


def _certain(codes: NDArray[np.int8]) -> NDArray[np.float32]:
    """Return probability 1 of the class of each cell, NaN where there is none."""
    one = (codes[..., None] == np.arange(len(schema.CLASSES))).astype("f4")
    one[codes == schema.UNLABELLED] = np.nan
    return one

"""Surface classifiers: segments in, ``surface_class`` and ``class_probability`` out."""

from __future__ import annotations

import os
from typing import Any

import xarray as xr

from is2ice import schema
from is2ice.classifiers.base import Classifier
from is2ice.classifiers.given import given_classes
from is2ice.classifiers.registry import by_name

__all__ = ["Classifier", "by_name", "classify"]


def classify(segments: xr.Dataset, model: Any = "default") -> xr.Dataset:
    """Add the surface class of every segment.

    Parameters
    ----------
    segments : xarray.Dataset
        :data:`is2ice.schema.SEGMENTS`, dims ``(beam, x_atc)`` or ``(x_atc,)``.
    model : str, path, Classifier or array of int
        ``"default"`` comes trained; of tracks outside of what it was trained on the tree takes over, unless
        ``"default:temper"`` draws its probabilities towards even or ``"default:keep"`` leaves them. ``"radiometric"``
        is that tree, of physical thresholds. ``"paper_lstm"`` and ``"paper_mlp"`` are the published networks, trained
        on fewer passes of the same kind as the default: for comparison with the paper, not for use (macro-F1 0.29 to
        0.41 and water recall up to 0.31 on all judges). Otherwise a folder made by ``is2ice train``. An array of class
        codes of the shape of the segments (0 thick ice, 1 thin ice, 2 open water, -1 unlabelled) takes the place of a
        classifier.

    Returns
    -------
    xarray.Dataset
        With the variables of :data:`is2ice.schema.CLASSIFIED`.

    Raises
    ------
    ValueError
        For a name that is not known, codes that are none, or a model that does not fit the segments or this package.
    """
    schema.check_dataset(segments, "classify")
    if isinstance(model, os.PathLike):
        model = os.fspath(model)
    if not isinstance(model, str) and not hasattr(model, "predict"):
        return given_classes(segments, model)
    return (by_name(model) if isinstance(model, str) else model).predict(segments)

"""Scores of classes against labels or truth: per class, macro, weighted, as published, and their reliability.

The sums add up over tracks. ``micro`` scores are those of the published notebooks (``keras.metrics.Precision`` and
``Recall`` on rounded softmax outputs): over all classes together, of the classes given more than one half. With
one class in twenty of thin ice they say next to nothing of it; macro-F1 does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from is2ice import schema
from is2ice.science.metrics import Confusion, Reliability

__all__ = ["ClassScore", "score_classes", "score_labels", "table"]


@dataclass(frozen=True)
class ClassScore:
    """Scores of one set of segments.

    Attributes
    ----------
    confusion : Confusion
    reliability : Reliability or None
        None where only classes, no probabilities, were scored.
    """

    confusion: Confusion
    reliability: Reliability | None = None

    def __add__(self, other: ClassScore) -> ClassScore:
        mine, theirs = self.reliability, other.reliability
        both = None if mine is None or theirs is None else mine + theirs
        return ClassScore(self.confusion + other.confusion, both)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and lists, for a model's card."""
        out = self.confusion.to_dict()
        out["reliability"] = None if self.reliability is None else self.reliability.to_dict()
        return out


def score_classes(truth: NDArray[Any], predicted: NDArray[Any]) -> ClassScore:
    """Score classes, or probabilities of them.

    Parameters
    ----------
    truth : (n,) array of int
        Class codes; what is not 0 to 2 is left out.
    predicted : (n,) array of int or (n, 3) array of float
        Class codes (-1 unlabelled), or probabilities (NaN unlabelled).

    Raises
    ------
    ValueError
        Shapes that do not fit.
    """
    truth, predicted = np.asarray(truth), np.asarray(predicted)
    if truth.ndim != 1 or predicted.shape not in (truth.shape, (*truth.shape, len(schema.CLASSES))):
        raise ValueError(
            f"scores: expected truth (n,) and classes (n,) or probabilities (n, {len(schema.CLASSES)}), got "
            f"{truth.shape} and {predicted.shape}"
        )
    if predicted.ndim == 1:
        return ClassScore(Confusion.of(truth, predicted))
    known = np.isfinite(predicted).all(axis=1)
    best = np.where(known, np.nan_to_num(predicted).argmax(axis=1), schema.UNLABELLED)
    return ClassScore(Confusion.of(truth, best), Reliability.of(truth, predicted))


def score_labels(classified: xr.Dataset) -> ClassScore:
    """Score the classes of labelled segments against their labels.

    Parameters
    ----------
    classified : xarray.Dataset
        With ``label``, ``surface_class`` and ``class_probability``, dims (beam, x_atc) or (x_atc,).

    Raises
    ------
    KeyError
        A variable is missing.
    """
    for name in ("label", "surface_class", "class_probability"):
        if name not in classified:
            raise KeyError(f"scores: no variable {name!r}; label the segments and classify them first")
    label = np.asarray(classified["label"].values).ravel()
    probability = np.asarray(classified["class_probability"].values).reshape(label.size, -1)
    predicted = np.asarray(classified["surface_class"].values).ravel()
    return ClassScore(Confusion.of(label, predicted), Reliability.of(label, probability))


def table(scores: Mapping[str, ClassScore]) -> str:
    """Scores of several models as text, %, one row each."""
    classes = [name.replace("_", " ") for name in schema.CLASSES]
    lines = [
        f"{'':30}{'accuracy':>9}{'macro-F1':>9}{'wtd F1':>8}{'micro F1':>9}{'ECE':>6}"
        + "".join(f"{name:>20}" for name in classes),
        f"{'':71}" + f"{'precision recall F1':>20}" * len(classes),
    ]
    for name, s in scores.items():
        c, r = s.confusion, s.reliability
        micro, error = (np.nan, np.nan) if r is None else (r.micro_f1, r.expected_error)
        row = f"{name:30}" + _cell(c.accuracy, 9) + _cell(c.macro_f1, 9) + _cell(c.weighted_f1, 8)
        row += _cell(micro, 9) + _cell(error, 6)
        for k in range(len(classes)):
            row += _cell(c.precision[k], 8) + _cell(c.recall[k], 6) + _cell(c.f1[k], 6)
        lines.append(row)
    return "\n".join(lines)


def _cell(value: float, width: int) -> str:
    return f"{'-':>{width}}" if not np.isfinite(value) else f"{100 * value:>{width}.{1 if width < 8 else 2}f}"

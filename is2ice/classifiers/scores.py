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

__all__ = ["WIDTHS", "ClassScore", "LeadScore", "score_classes", "score_labels", "score_leads", "table"]


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


#: Bounds of the widths (along the track, m) by which leads are counted.
WIDTHS = (0.0, 15.0, 30.0, 70.0, 150.0, np.inf)


@dataclass(frozen=True)
class LeadScore:
    """Leads of true open water by their length along the track.

    Attributes
    ----------
    found, leads : tuple of int
        Leads of which at least half of the segments are called water, and all, per width of :data:`WIDTHS`.
    cells_found, cells : tuple of int
        Segments in them called water, and all.
    """

    found: tuple[int, ...]
    leads: tuple[int, ...]
    cells_found: tuple[int, ...]
    cells: tuple[int, ...]

    def __add__(self, other: LeadScore) -> LeadScore:
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return LeadScore(*(tuple(x + y for x, y in zip(a, b, strict=True)) for a, b in pairs))

    def to_dict(self) -> dict[str, dict[str, list[int]]]:
        """Found and all, leads and segments, by width as text."""
        rows = zip(WIDTHS, WIDTHS[1:], *vars(self).values(), strict=False)
        return {f"{a:g}-{b:g} m": {"leads": [f, n], "segments": [cf, c]} for a, b, f, n, cf, c in rows}

    def __str__(self) -> str:
        return "  ".join(
            f"{width}: {_cell(d['leads'][0] / d['leads'][1] if d['leads'][1] else np.nan, 5)} % of {d['leads'][1]}"
            for width, d in self.to_dict().items()
        )


def score_leads(
    truth: NDArray[Any], predicted: NDArray[Any], length: float = schema.SEGMENT_LENGTH
) -> LeadScore:
    """Score leads one by one.

    Parameters
    ----------
    truth, predicted : (n,) array of int
        Class codes of the segments of one track, in order.
    length : float
        Length of a segment, m.
    """
    water = np.concatenate([[False], np.asarray(truth) == schema.OPEN_WATER, [False]])
    edge = np.flatnonzero(np.diff(water.astype("i1")))
    first, last = edge[::2], edge[1::2]
    hits = np.concatenate([[0], np.cumsum(np.asarray(predicted) == schema.OPEN_WATER)])
    cells, called = last - first, hits[last] - hits[first]
    which = np.digitize(length * cells, WIDTHS) - 1
    n = len(WIDTHS) - 1

    def count(weight: NDArray[Any]) -> tuple[int, ...]:
        return tuple(int(v) for v in np.bincount(which, weight, n))

    return LeadScore(count(2 * called >= cells), count(np.ones(cells.size)), count(called), count(cells))

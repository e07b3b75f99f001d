"""Measures that add up: confusion matrices, how far probabilities can be trusted, and errors of a quantity.

Each is kept as sums, so that tracks, beams and scenes add up to a whole in any order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from is2ice import schema

__all__ = ["Confusion", "Errors", "Reliability"]

_N = len(schema.CLASSES)


@dataclass(frozen=True)
class Confusion:
    """Confusion matrix and what follows from it.

    Attributes
    ----------
    matrix : (3, 4) array of int
        Segments by true class (rows) and predicted class (columns: thick ice, thin ice, open water,
        unlabelled).
    """

    matrix: NDArray[np.int64]

    @classmethod
    def of(cls, truth: NDArray, predicted: NDArray) -> Confusion:
        """Count segments; truth outside 0..2 is left out, predictions outside 0..2 are unlabelled."""
        known = (truth >= 0) & (truth < _N)
        column = np.where((predicted >= 0) & (predicted < _N), predicted, _N)
        code = truth[known].astype(np.int64) * (_N + 1) + column[known].astype(np.int64)
        return cls(np.bincount(code, minlength=_N * (_N + 1)).reshape(_N, _N + 1))

    def __add__(self, other: Confusion) -> Confusion:
        return Confusion(self.matrix + other.matrix)

    @property
    def n(self) -> int:
        """Segments."""
        return int(self.matrix.sum())

    @property
    def unlabelled(self) -> int:
        """Segments the result has no class for."""
        return int(self.matrix[:, _N].sum())

    @property
    def coverage(self) -> float:
        """Share of segments with a class."""
        return _ratio(self.n - self.unlabelled, self.n)

    @property
    def precision(self) -> NDArray[np.float64]:
        """Right among predicted, per class; NaN where a class is never predicted."""
        return _ratios(self._right, self.matrix[:, :_N].sum(0))

    @property
    def recall(self) -> NDArray[np.float64]:
        """Right among true, per class, unlabelled ones counted as missed; NaN where a class does not occur."""
        return _ratios(self._right, self.matrix.sum(1))

    @property
    def recall_labelled(self) -> NDArray[np.float64]:
        """Recall among labelled segments only."""
        return _ratios(self._right, self.matrix[:, :_N].sum(1))

    @property
    def f1(self) -> NDArray[np.float64]:
        """Harmonic mean of precision and recall; NaN for a class that neither occurs nor is predicted."""
        return _ratios(2 * self._right, self.matrix.sum(1) + self.matrix[:, :_N].sum(0))

    @property
    def macro_f1(self) -> float:
        """Mean F1 of the classes that occur or are predicted."""
        return _mean(self.f1)

    @property
    def weighted_f1(self) -> float:
        """Mean F1 of the classes that occur, each weighted by how often it does."""
        support = self.matrix.sum(1)
        return _ratio(float((np.nan_to_num(self.f1) * support).sum()), self.n)

    @property
    def macro_precision(self) -> float:
        """Mean precision of the classes that are predicted."""
        return _mean(self.precision)

    @property
    def macro_recall(self) -> float:
        """Mean recall of the classes that occur."""
        return _mean(self.recall)

    @property
    def accuracy(self) -> float:
        """Right among all, unlabelled ones counted as wrong."""
        return _ratio(int(self._right.sum()), self.n)

    @property
    def accuracy_labelled(self) -> float:
        """Right among labelled segments."""
        return _ratio(int(self._right.sum()), self.n - self.unlabelled)

    @property
    def _right(self) -> NDArray[np.int64]:
        return np.diagonal(self.matrix[:, :_N])

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and lists."""
        per_class = {
            name: {
                "support": int(self.matrix[k].sum()),
                **{q: _number(getattr(self, q)[k]) for q in ("precision", "recall", "recall_labelled", "f1")},
            }
            for k, name in enumerate(schema.CLASSES)
        }
        return {
            "n": self.n,
            "unlabelled": self.unlabelled,
            **{
                q: _number(getattr(self, q))
                for q in ("coverage", "accuracy", "accuracy_labelled", "macro_f1", "weighted_f1")
            },
            "classes": per_class,
            "matrix": self.matrix.tolist(),
        }


@dataclass(frozen=True)
class Reliability:
    """How often the likeliest class is right, by the probability it was given.

    Attributes
    ----------
    n : (bins,) array of int
        Segments by probability of their likeliest class, in bins of equal width from 0 to 1.
    right : (bins,) array of int
        Those of them that are right.
    total : (bins,) array of float
        Sum of those probabilities.
    above, above_right : int
        Classes given more than one half, and those of them that are right: the published notebooks count these.
    """

    n: NDArray[np.int64]
    right: NDArray[np.int64]
    total: NDArray[np.float64]
    above: int = 0
    above_right: int = 0

    @classmethod
    def of(cls, truth: NDArray, probability: NDArray, bins: int = 20) -> Reliability:
        """Count segments of known class that have probabilities.

        Parameters
        ----------
        truth : (n,) array of int
        probability : (n, 3) array
            NaN where unlabelled.
        """
        there = (truth >= 0) & (truth < _N) & np.isfinite(probability).all(axis=-1)
        p, y = probability[there].astype("f8"), truth[there]
        best = p.argmax(axis=-1)
        top, right = p[np.arange(y.size), best], best == y
        k = np.minimum((top * bins).astype(int), bins - 1)
        hits, total = np.bincount(k[right], minlength=bins), np.bincount(k, weights=top, minlength=bins)
        above = top > 0.5
        return cls(
            np.bincount(k, minlength=bins),
            hits,
            total.astype("f8"),
            int(above.sum()),
            int((above & right).sum()),
        )

    def __add__(self, other: Reliability) -> Reliability:
        return Reliability(*(a + b for a, b in zip(vars(self).values(), vars(other).values(), strict=True)))

    @property
    def expected_error(self) -> float:
        """Expected calibration error: mean distance of probability and share of right ones, over the bins."""
        return _ratio(float(np.abs(self.total - self.right).sum()), int(self.n.sum()))

    @property
    def micro_precision(self) -> float:
        """Right among the classes given more than one half, over all classes together."""
        return _ratio(self.above_right, self.above)

    @property
    def micro_recall(self) -> float:
        """Segments whose class was given more than one half."""
        return _ratio(self.above_right, int(self.n.sum()))

    @property
    def micro_f1(self) -> float:
        """Harmonic mean of the two."""
        return _ratio(2 * self.above_right, self.above + int(self.n.sum()))

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and lists."""
        names = ("expected_error", "micro_precision", "micro_recall", "micro_f1")
        return {
            **{q: _number(getattr(self, q)) for q in names},
            "n": self.n.tolist(),
            "right": self.right.tolist(),
            "mean_probability": [_number(v) for v in _ratios(self.total, self.n)],
        }


@dataclass(frozen=True)
class Errors:
    """Errors of a quantity, kept as sums so that beams add up.

    Attributes
    ----------
    possible, n : int
        Segments with truth, and those among them with a value.
    total, square : float
        Sums of the errors (result less truth) and of their squares, m.
    n_z, z_total, z_square, within_1, within_2
        Number, sums and counts within 1 and 2 of errors divided by the stated standard error.
    """

    possible: int = 0
    n: int = 0
    total: float = 0.0
    square: float = 0.0
    n_z: int = 0
    z_total: float = 0.0
    z_square: float = 0.0
    within_1: int = 0
    within_2: int = 0

    @classmethod
    def of(cls, error: NDArray, sigma: NDArray | None = None) -> Errors:
        """Sum up errors (m, NaN where the result has no value) with their stated standard errors."""
        error = np.asarray(error, float)
        there = np.isfinite(error)
        e = error[there]
        z = np.empty(0)
        if sigma is not None:
            s = np.asarray(sigma, float)[there]
            good = np.isfinite(s) & (s > 0)
            z = e[good] / s[good]
        size = np.abs(z)
        return cls(
            error.size,
            e.size,
            float(e.sum()),
            float((e**2).sum()),
            z.size,
            float(z.sum()),
            float((z**2).sum()),
            int((size <= 1).sum()),
            int((size <= 2).sum()),
        )

    def __add__(self, other: Errors) -> Errors:
        return Errors(*(a + b for a, b in zip(vars(self).values(), vars(other).values(), strict=True)))

    @property
    def coverage(self) -> float:
        """Share of segments with a value."""
        return _ratio(self.n, self.possible)

    @property
    def bias(self) -> float:
        """Mean error, m."""
        return _ratio(self.total, self.n)

    @property
    def rmse(self) -> float:
        """Root-mean-square error, m."""
        return float(np.sqrt(_ratio(self.square, self.n)))

    @property
    def z_bias(self) -> float:
        """Mean of error over standard error."""
        return _ratio(self.z_total, self.n_z)

    @property
    def z_spread(self) -> float:
        """Root-mean-square of error over standard error: 1 where the stated uncertainty is right."""
        return float(np.sqrt(_ratio(self.z_square, self.n_z)))

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers."""
        return {
            "possible": self.possible,
            "n": self.n,
            **{q: _number(getattr(self, q)) for q in ("coverage", "bias", "rmse", "z_bias", "z_spread")},
            "within_1_sigma": _number(_ratio(self.within_1, self.n_z)),
            "within_2_sigma": _number(_ratio(self.within_2, self.n_z)),
        }


def _ratio(a: float, b: float) -> float:
    return float(a / b) if b else float("nan")


def _ratios(a: NDArray, b: NDArray) -> NDArray[np.float64]:
    return np.divide(a, b, out=np.full(a.shape, np.nan), where=b > 0)


def _mean(values: NDArray[np.float64]) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else float("nan")


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None

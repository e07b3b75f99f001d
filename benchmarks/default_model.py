"""The model that the package ships: two boosted forests, trained on simulated passes whose physics are drawn for each.

Cells are weighted by the width of what they lie in, so that narrow leads count; cells at an edge are of both classes
and weigh half. The second forest learns from what the first makes of passes that it was not trained on. Temperature and
bias of the probabilities are fitted on the passes kept for choosing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from physics_passes import CHOOSE, TRAIN, Pass, tracks

from is2ice import __version__, schema
from is2ice.classifiers.boosted import Boosted, Forest
from is2ice.classifiers.context import NAMES, context
from is2ice.science.features import FEATURE_SETS, build
from is2ice.twin.scene.physics import RANGES

FEATURES = "strips"
#: Cells of thick ice kept of each track, as a share; their weight makes up for it.
KEEP = 0.2
#: Cells of strips narrower than this count more, by the root of its ratio to the width, at most so much.
WIDE, MOST = 60.0, 6.0
#: Folds in which the first forest is trained for the second one.
FOLDS = 2

F8 = NDArray[np.float64]
F4 = NDArray[np.float32]


@dataclass(frozen=True)
class Settings:
    """Size of the forests."""

    rounds: int = 80
    leaves: int = 24
    rate: float = 0.08


@dataclass
class Cells:
    """Cells of one track: segments, features, classes, and which of them to learn from with what weight."""

    track: xr.Dataset
    case: Pass
    x: F4
    y: NDArray[np.int64]
    edge: F8
    chosen: NDArray[np.bool_]
    weight: F8

    @property
    def known(self) -> NDArray[np.bool_]:
        """Cells that have features."""
        return np.asarray(np.isfinite(self.x).all(axis=1))

    def with_context(self, first: Any) -> F4:
        """Features of both looks, by a fitted first forest."""
        p = np.full((len(self.x), 3), np.nan)
        p[self.known] = first(self.x[self.known])
        return np.hstack([self.x, context(self.track, int(self.track.attrs["spot"]), p)])


def run_lengths(code: NDArray[Any]) -> NDArray[np.int64]:
    """Number of cells in the run of equal codes that each cell belongs to."""
    number = np.cumsum(np.diff(code, prepend=code[:1]) != 0)
    return np.bincount(number)[number]


def cells_of(cases: Iterable[Pass], folder: Path, keep: float = 1.0) -> list[Cells]:
    """Cells of some passes, a track each."""
    rng = np.random.default_rng(15)
    out = []
    for case in cases:
        for track, truth in tracks(case, folder):
            x = build(track, FEATURES).values
            y = truth["surface_class_truth"].values.astype(int)
            edge = truth["edge_distance"].values
            width = schema.SEGMENT_LENGTH * run_lengths(y)
            fine = np.isfinite(x).all(axis=1) & (y >= 0)
            chosen = fine & ((y > 0) | (rng.random(y.size) < keep))
            weight = np.where(y > 0, np.sqrt(np.clip(WIDE / width, 1.0, MOST)), 1.0 / keep)
            weight = np.where(edge < schema.SEGMENT_LENGTH, 0.5 * weight, weight)
            out.append(Cells(track, case, x, y, edge, chosen, weight))
    return out


def fit(
    x: list[F4], some: list[Cells], settings: Settings, columns: NDArray[np.intp] | None = None, seed: int = 0
) -> Any:
    """A boosted forest on the chosen cells of some tracks, and on some columns of their features."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    forest = HistGradientBoostingClassifier(
        max_iter=settings.rounds, learning_rate=settings.rate, max_leaf_nodes=settings.leaves, min_samples_leaf=60,
        l2_regularization=5.0, max_features=0.5, early_stopping=False, random_state=seed,
    )  # fmt: skip
    matrix = np.concatenate([a[c.chosen] for a, c in zip(x, some, strict=True)])
    y, weight = (np.concatenate([getattr(c, n)[c.chosen] for c in some]) for n in ("y", "weight"))
    return forest.fit(matrix if columns is None else matrix[:, columns], y, weight)


def fit_both(
    learn: list[Cells], settings: Settings, columns: NDArray[np.intp] | None = None
) -> tuple[Any, Any]:
    """Fit the first forest, and the second one on what first forests make of passes not their own."""

    def first_of(some: list[Cells]) -> Any:
        return fit([c.x for c in some], some, settings, columns)

    def picked(a: F4) -> F4:
        return a if columns is None else a[:, columns]

    passes = {case: k % FOLDS for k, case in enumerate(dict.fromkeys(c.case for c in learn))}
    both: list[F4] = [np.empty(0, "f4")] * len(learn)
    for fold in range(FOLDS):
        first = first_of([c for c in learn if passes[c.case] != fold])
        for k, c in enumerate(learn):
            if passes[c.case] == fold:
                both[k] = c.with_context(lambda x, f=first: f.predict_proba(picked(x)))
    wide = None if columns is None else np.concatenate([columns, np.arange(len(NAMES)) + learn[0].x.shape[1]])
    return first_of(learn), fit(both, learn, settings, wide)

"""The model that the package ships: two boosted forests, trained on simulated passes whose physics are drawn for each.

Cells of narrow strips weigh more, those at an edge, which are of both classes, weigh half; of wide strips and of level
ice only some cells are taken, and weigh so much more. The second forest learns from what the first makes of passes that
it was not trained on. Temperature and bias of the probabilities are fitted on the passes kept for choosing, by
likelihood alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from physics_passes import CHOOSE, TRAIN, Pass, mapped, tracks

from is2ice import __version__, schema
from is2ice.classifiers.boosted import Boosted, Forest
from is2ice.classifiers.context import NAMES, context
from is2ice.classifiers.scores import ClassScore, score_classes
from is2ice.science.features import FEATURE_SETS, build
from is2ice.twin.scene.physics import RANGES

__all__ = ["Calibration", "Cells", "Settings", "calibrations", "cells_of", "fit", "fit_both", "make"]

FEATURES = "strips"
#: Cells taken of strips: as many as make this length, m, since those of one run are much alike; of thick ice near to a
#: strip (m) and elsewhere.
STRIP = 50.0
NEAR, NEAR_SHARE, FAR_SHARE = 30.0, 0.1, 0.01
#: Cells of strips narrower than this weigh more, by the root of its ratio to the width, at most by the root of this.
WIDE, MOST = 60.0, 6.0
#: Variables of segments that features are made of, those of the published sets included.
COLUMNS = (
    *("n_photons", "n_photons_all", "n_pulses", "n_pulses_empty", "height", "height_uncertainty"),
    *("h_mean", "h_median", "h_core", "h_std", "h_spread", "background_rate", "solar_elevation"),
    *("pcnt", "pcnth", "background_counts"),
)
#: Folds in which first forests are trained for the second one.
FOLDS = 2
#: Cells farther than this from an edge are of the interior, m.
INTERIOR = 6.0
#: Expected calibration error that a bias towards the rare classes may cost.
MOST_ERROR = 0.015

#: How the model was chosen and judged, for the card.
RULE = (
    "temperature and bias by likelihood alone, on the passes for choosing; features, weights and sizes were chosen "
    "there, too. The judges are draws that nothing looked at before, scored once, after the model was final"
)

F8 = NDArray[np.float64]
F4 = NDArray[np.float32]


@dataclass(frozen=True)
class Settings:
    """Size of a forest."""

    rounds: int = 100
    leaves: int = 24
    rate: float = 0.08


#: The first forest, and the second one, which has more to weigh.
FIRST, SECOND = Settings(), Settings(rounds=140, leaves=31)
#: Least cells of a leaf: those of several runs, which are much alike within each.
LEAF = 120


@dataclass(frozen=True)
class Cells:
    """Cells of one track: features, classes, distance to an edge (m), and which of them to learn from."""

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

    def context(self, first: Forest) -> F4:
        """Features of the surroundings of the cells to learn from, by a first forest."""
        p = np.full((len(self.x), len(schema.CLASSES)), np.nan)
        p[self.known] = first.probabilities(self.x[self.known])
        return context(self.track, int(self.track.attrs["spot"]), p)[self.chosen]


def run_lengths(code: NDArray[Any]) -> NDArray[np.int64]:
    """Number of cells in the run of equal codes that each cell belongs to."""
    number = np.cumsum(np.diff(code, prepend=code[:1]) != 0)
    return np.bincount(number)[number]


def cells_of(cases: Iterable[Pass], folder: Path) -> list[Cells]:
    """Cells of some passes, a track each."""
    return [c for some in mapped(partial(_of_pass, folder), cases) for c in some]


def _of_pass(folder: Path, case: Pass) -> list[Cells]:
    rng = np.random.default_rng([15, case.seed])
    out = []
    for track, truth in tracks(case, folder):
        x = build(track, FEATURES).values
        y = truth["surface_class_truth"].values.astype(int)
        edge = truth["edge_distance"].values.astype(float)
        width = schema.SEGMENT_LENGTH * run_lengths(y)
        share = np.where(y > 0, np.minimum(STRIP / width, 1.0), np.where(edge < NEAR, NEAR_SHARE, FAR_SHARE))
        chosen = np.isfinite(x).all(axis=1) & (y >= 0) & (rng.random(y.size) < share)
        weight = np.where(y > 0, np.sqrt(np.clip(WIDE / width, 1.0, MOST)), 1.0) / share
        weight = np.where(edge < schema.SEGMENT_LENGTH, 0.5 * weight, weight)
        out.append(Cells(track[list(COLUMNS)], case, x, y, edge, chosen, weight))
    return out


def fit(x: Sequence[F4], some: Sequence[Cells], settings: Settings) -> Any:
    """Fit a forest to the chosen cells of some tracks.

    Parameters
    ----------
    x : sequence of numpy.ndarray
        Features of the chosen cells of each track.
    some : sequence of Cells
    settings : Settings
    """
    from sklearn.ensemble import HistGradientBoostingClassifier

    forest = HistGradientBoostingClassifier(
        max_iter=settings.rounds,
        learning_rate=settings.rate,
        max_leaf_nodes=settings.leaves,
        min_samples_leaf=LEAF,
        l2_regularization=5.0,
        max_features=0.5,
        early_stopping=False,
        random_state=0,
    )
    y, weight = (np.concatenate([getattr(c, n)[c.chosen] for c in some]) for n in ("y", "weight"))
    return forest.fit(np.concatenate(x), y, weight)


#: Cells that processes of :func:`fit_both` inherit.
_shared: dict[str, Any] = {}


def _first(fold: int) -> tuple[Forest, list[F4]]:
    """A first forest without the tracks of a fold, and what it makes of them; with all tracks for fold -1."""
    learn, number = _shared["learn"], _shared["fold"]
    some = [c for c, f in zip(learn, number, strict=True) if f != fold]
    forest = Forest.of(fit([c.x[c.chosen] for c in some], some, FIRST))
    return forest, [c.context(forest) for c, f in zip(learn, number, strict=True) if f == fold]


def fit_both(learn: list[Cells]) -> tuple[Forest, Forest]:
    """Fit the first forest, and the second one on what first forests make of passes not their own."""
    # By eights: each of them has both releases and all lengths.
    fold_of = {case: k // 8 % FOLDS for k, case in enumerate(dict.fromkeys(c.case for c in learn))}
    number = [fold_of[c.case] for c in learn]
    _shared.update(learn=learn, fold=number)
    results = mapped(_first, [*range(FOLDS), -1])
    around = [iter(contexts) for _, contexts in results]
    both = [np.hstack([c.x[c.chosen], next(around[f])]) for c, f in zip(learn, number, strict=True)]
    return results[-1][0], Forest.of(fit(both, learn, SECOND))


class Calibration:
    """Probabilities of cells of many physics, to be made likelier by a temperature and a bias.

    Parameters
    ----------
    probability : sequence of numpy.ndarray, shape (n, 3)
        Probabilities of the cells of each track; NaN where there is none.
    held : sequence of Cells
        The tracks, which the model was not trained on.
    """

    def __init__(self, probability: Sequence[F8], held: Sequence[Cells]) -> None:
        fine = [np.isfinite(p).all(axis=1) & (c.y >= 0) for p, c in zip(probability, held, strict=True)]
        log = [np.log(np.maximum(p[f], 1e-9)) for p, f in zip(probability, fine, strict=True)]
        self.z, self.y = (
            np.concatenate(log),
            np.concatenate([c.y[f] for c, f in zip(held, fine, strict=True)]),
        )
        self.inside = np.concatenate([c.edge[f] > INTERIOR for c, f in zip(held, fine, strict=True)])

    def probabilities(self, v: F8) -> F8:
        """Probabilities with the logarithm of the temperature and the biases of thin ice and water."""
        q = self.z / np.exp(v[0]) + np.array([0.0, v[1], v[2]])
        q = np.exp(q - q.max(axis=1, keepdims=True))
        return np.asarray(q / q.sum(axis=1, keepdims=True))

    def likeliest(self) -> F8:
        """Return the values that make the true classes likeliest."""
        from scipy.optimize import minimize

        def loss(v: F8) -> float:
            return float(-np.log(self.probabilities(v)[np.arange(self.y.size), self.y] + 1e-12).mean())

        found = minimize(loss, np.zeros(3), method="Nelder-Mead", options={"xatol": 1e-3, "fatol": 1e-7})
        return np.asarray(found.x)

    def towards_the_rare(self) -> F8:
        """Return the same with the bias moved towards thin ice and water, for models that hardly call anything water.

        It goes to where macro-F1 and the mean recall of both away from edges are greatest together, as long as the
        expected calibration error stays below :data:`MOST_ERROR`. The forests go without it.
        """
        best, steps = self.likeliest(), (0.0, 0.4, 0.8, 1.2, 1.6)
        tried = [best + np.array([0.0, a, b]) for a in steps for b in steps]
        return tried[int(np.argmax([self._worth(v) for v in tried]))]

    def _worth(self, v: F8) -> float:
        p = self.probabilities(v)
        score = score_classes(self.y, p)
        assert score.reliability is not None
        if score.reliability.expected_error > MOST_ERROR:
            return -1.0
        recall = score_classes(self.y[self.inside], p[self.inside]).confusion.recall
        return float(score.confusion.macro_f1 + np.mean(recall[1:]))


def calibration_of(model: Boosted, held: Sequence[Cells]) -> Calibration:
    """Return the calibration of a model's forests on the passes kept for choosing, whatever its card says of it."""
    raw = Boosted(
        model.first, model.second, dict(model.card) | {"temperature": 1.0, "bias": [0.0] * 3}, "keep"
    )
    return Calibration([raw.probabilities(c.track, int(c.track.attrs["spot"]), c.x) for c in held], held)


def calibrations(model: Boosted, held: Sequence[Cells]) -> dict[str, ClassScore]:
    """Score both rules of calibration on the passes kept for choosing."""
    found = calibration_of(model, held)
    rules = {"likeliest": found.likeliest(), "towards the rare": found.towards_the_rare()}
    return {name: score_classes(found.y, found.probabilities(v)) for name, v in rules.items()}


def outside_limit(model: Boosted, held: list[Cells]) -> float:
    """Share of segments outside the ranges that puts a track out of depth: twice that of any choosing track."""
    return 2.0 * max(*(model.share_outside(c.x[c.known]) for c in held), 0.01)


def make(learn: list[Cells], held: list[Cells], home: Path) -> Boosted:
    """Train the shipped model and write it with a card that has no scores yet.

    Parameters
    ----------
    learn, held : list of Cells
        Tracks to learn from, and to choose by.
    home : Path
        Folder to write.
    """
    first, second = fit_both(learn)
    return finish(first, second, np.concatenate([c.x[c.chosen] for c in learn]), held, home)


def finish(first: Forest, second: Forest, chosen: F4, held: list[Cells], home: Path) -> Boosted:
    """Calibrate two forests on the passes kept for choosing, and write them with their card.

    Parameters
    ----------
    first, second : Forest
    chosen : numpy.ndarray
        Features of the cells that they were trained on.
    held : list of Cells
        Tracks to choose by.
    home : Path
    """
    low, high = np.quantile(chosen, [0.0005, 0.9995], axis=0)
    card: dict[str, Any] = {
        "name": "default",
        "kind": "two boosted forests",
        "is2ice_version": __version__,
        "classes": list(schema.CLASSES),
        "features": FEATURES,
        "feature_names": list(FEATURE_SETS[FEATURES].names),
        "context_names": list(NAMES),
        "segment_length": schema.SEGMENT_LENGTH,
        "releases": ["006", "007"],
        "temperature": 1.0,
        "bias": [0.0, 0.0, 0.0],
        "range_low": [float(v) for v in low],
        "range_high": [float(v) for v in high],
        "outside_limit": 1.0,
        "checksum": "",
        "trained_on": {
            "what": "truth of simulated passes, physics drawn for each; no image and no genuine data",
            "passes": [c.name for c in TRAIN],
            "chosen_on": [c.name for c in CHOOSE],
            "calibration": RULE,
            "cells": len(chosen),
            "physics": {name: [r.low, r.high] for name, r in RANGES.items()},
        },
        "not_for": [
            "melt ponds and wet snow (not trained on; in the Arctic summer, water that may be a pond is called ice)",
            "segments of another length than 2 m (the tree takes those), other photons than the default ones",
            "seas with land-fast ice, icebergs or land in view (not simulated)",
        ],
    }
    fitted = calibration_of(Boosted(first, second, card, "keep"), held).likeliest()
    card["temperature"], card["bias"] = float(np.exp(fitted[0])), [0.0, float(fitted[1]), float(fitted[2])]
    card["outside_limit"] = outside_limit(Boosted(first, second, card, "keep"), held)
    Boosted(first, second, card, "keep").save(home)
    return Boosted.load(home)

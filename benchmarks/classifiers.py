"""Classifiers on physics they were not trained on, by the width of leads; the model that the package ships.

    python benchmarks/classifiers.py prepare        # simulate the passes (about 8 minutes of a processor)
    python benchmarks/classifiers.py choose         # the model on passes kept for choosing, with and without features
    python benchmarks/classifiers.py make-default   # train the shipped model and write it into the package
    python benchmarks/classifiers.py score          # the tables: every classifier on every judge
    python benchmarks/classifiers.py shift          # how far each feature moves between physics

Passes are kept in ``--folder`` (build/classifiers). The shipped model learns from the truth of simulated passes whose
physics are drawn for each of them (:mod:`is2ice.twin.scene.physics`); it is judged by passes of other seeds, and by a
second optical model that nothing learns from (:mod:`is2ice.twin.icesat2.rays`). Cells are judged by the class at their
centre; a cell without class counts as wrong. A lead is found if at least half of its cells are called water.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from physics_passes import CHOOSE, JUDGES, TRAIN, Pass, prepare, tracks

import is2ice.classifiers
from is2ice import __version__, schema
from is2ice.classifiers import by_name, classify
from is2ice.classifiers.boosted import Boosted, Forest
from is2ice.classifiers.scores import ClassScore, LeadScore, score_classes, score_leads, table
from is2ice.science import freeboard, seasurface
from is2ice.science.features import FEATURE_SETS, build
from is2ice.science.metrics import Errors
from is2ice.twin.scene.physics import RANGES

FEATURES = "strips"
#: Cells of thick ice kept of each track, as a share; their weight makes up for it.
KEEP = 0.2
#: Cells of strips narrower than this count more, by the root of its ratio to the width.
WIDE = 60.0
INTERIOR = 6.0


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("task", choices=["prepare", "choose", "make-default", "score", "shift"])
    parser.add_argument("--folder", type=Path, default=Path("build/classifiers"))
    parser.add_argument("--model", type=Path, default=Path(is2ice.classifiers.__file__).parent / "default")
    parser.add_argument("--classifiers", nargs="+", default=["radiometric", "default"])
    args = parser.parse_args()
    if args.task == "prepare":
        for case in (*TRAIN, *CHOOSE, *(c for some in JUDGES.values() for c in some)):
            print(prepare(case, args.folder), flush=True)
    elif args.task == "choose":
        choose(args.folder)
    elif args.task == "make-default":
        make_default(args.folder, args.model)
    elif args.task == "score":
        document = judge({name: by_name(name) for name in args.classifiers}, args.folder, JUDGES)
        (args.folder / "scores.json").write_text(json.dumps(document, indent=1))
    else:
        shift(args.folder)


# -- training -----------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Cells:
    """Cells to learn from: features, classes, weights."""

    x: NDArray[np.float32]
    y: NDArray[np.int64]
    weight: NDArray[np.float64]


def run_lengths(code: NDArray[Any]) -> NDArray[np.int64]:
    """Number of cells in the run of equal codes that each cell belongs to."""
    number = np.cumsum(np.diff(code, prepend=code[:1]) != 0)
    return np.bincount(number)[number]


def cells_of(cases: Iterable[Pass], folder: Path, keep: float = 1.0) -> Cells:
    """Cells of some passes, balanced by the width of what they lie in."""
    rng = np.random.default_rng(15)
    parts = []
    for case in cases:
        for track, truth in tracks(case, folder):
            x = build(track, FEATURES).values
            y = truth["surface_class_truth"].values.astype(int)
            width = schema.SEGMENT_LENGTH * run_lengths(y)
            fine = np.isfinite(x).all(axis=1) & (y >= 0)
            some = fine & ((y > 0) | (rng.random(y.size) < keep))
            weight = np.where(y > 0, np.sqrt(np.clip(WIDE / width, 1.0, 6.0)), 1.0 / keep)
            # A cell at an edge is of both classes: the class of its centre says less.
            weight = np.where(truth["edge_distance"].values < 2.0, 0.5 * weight, weight)
            parts.append((x[some], y[some], weight[some]))
    return Cells(*(np.concatenate(a) for a in zip(*parts, strict=True)))


def fit(cells: Cells, columns: NDArray[np.int64] | None = None, rounds: int = 50, seed: int = 0) -> Any:
    """A boosted forest on some columns of the features (all by default)."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    forest = HistGradientBoostingClassifier(
        max_iter=rounds,
        learning_rate=0.08,
        max_leaf_nodes=24,
        min_samples_leaf=60,
        l2_regularization=5.0,
        max_features=0.5,
        early_stopping=False,
        random_state=seed,
    )
    return forest.fit(cells.x if columns is None else cells.x[:, columns], cells.y, cells.weight)


def temperature_of(forest: Forest, cells: Cells) -> float:
    """Temperature that makes the probabilities of cells likeliest: one for the cells of many physics."""
    p = forest.probabilities(cells.x)
    z = np.log(np.maximum(p, 1e-9))
    grid = np.exp(np.linspace(np.log(0.6), np.log(2.5), 40))
    loss = []
    for t in grid:
        q = z / t
        q -= np.log(np.exp(q).sum(axis=1, keepdims=True))
        loss.append(-q[np.arange(cells.y.size), cells.y].mean())
    return float(grid[int(np.argmin(loss))])


def make_default(folder: Path, home: Path) -> None:
    """Train the shipped model, measure it, and write it with its card."""
    learn, held = cells_of(TRAIN, folder, KEEP), cells_of(CHOOSE, folder)
    forest = Forest.of(fit(learn))
    low, high = np.quantile(learn.x, [0.0005, 0.9995], axis=0)
    card = {
        "name": "default",
        "kind": "boosted forest",
        "is2ice_version": __version__,
        "classes": list(schema.CLASSES),
        "features": FEATURES,
        "feature_names": list(FEATURE_SETS[FEATURES].names),
        "segment_length": schema.SEGMENT_LENGTH,
        "releases": ["006", "007"],
        "temperature": temperature_of(forest, held),
        "range_low": [float(v) for v in low],
        "range_high": [float(v) for v in high],
        "outside_limit": 1.0,
        "checksum": "",
        "trained_on": {
            "what": "truth of simulated passes, physics drawn for each; no image and no genuine data",
            "passes": [c.name for c in TRAIN],
            "chosen_on": [c.name for c in CHOOSE],
            "cells": int(learn.y.size),
            "physics": {name: [r.low, r.high] for name, r in RANGES.items()},
        },
        "not_for": [
            "melt ponds and wet snow (not simulated)",
            "segments of another length than 2 m, or photons of another confidence than the default",
            "seas with land-fast ice, icebergs or land in view (not simulated)",
        ],
    }
    model = Boosted(forest, card, "keep")
    card["outside_limit"] = outside_limit(model, folder)
    model.save(home)
    model = Boosted.load(home)
    scores = judge({"radiometric": by_name("radiometric"), "default": model}, folder, JUDGES)
    model = replace(model, card=dict(model.card) | {"scores": scores})
    model.save(home)
    size = sum(f.stat().st_size for f in home.iterdir())
    print(
        f"{home}: {forest.feature.size:,} nodes, {size / 1e6:.2f} MB, checksum {Boosted.load(home).card['checksum']}"
    )


def outside_limit(model: Boosted, folder: Path) -> float:
    """Share of segments outside the ranges that puts a track out of depth: twice that of any choosing pass."""
    shares = []
    for case in CHOOSE:
        for track, _ in tracks(case, folder):
            x = build(track, FEATURES).values
            shares.append(model.share_outside(x[np.isfinite(x).all(axis=1)]))
    return 2.0 * max(*shares, 0.01)


# -- choosing -----------------------------------------------------------------------------------------
GROUPS = {
    "photon rate": ("rate_", "empty"),
    "height": ("height_", "strip_height"),
    "width and skew": ("width", "own_width", "skew", "strip_spread"),
    "background": ("brightness", "noise_", "strip_noise", "strip_brightness", "strip_share"),
    "strips": ("strip_",),
    "neighbours": ("beside_",),
}


def choose(folder: Path) -> None:
    """Macro-F1 and water recall on the choosing passes, whole and without a group of features."""
    learn, held = cells_of(TRAIN, folder, KEEP), cells_of(CHOOSE, folder)
    names = FEATURE_SETS[FEATURES].names
    print(f"{learn.y.size:,} cells to learn from, {held.y.size:,} to choose by")
    for label, starts in {"all": (), **GROUPS}.items():
        columns = np.array([k for k, n in enumerate(names) if not (starts and n.startswith(starts))])
        p = fit(learn, columns, 60).predict_proba(held.x[:, columns])
        print(
            table({label if label == "all" else f"without {label}": score_classes(held.y, p)}).splitlines()[
                -1
            ],
            flush=True,
        )


def shift(folder: Path) -> None:
    """Median of each feature over each class: spread between passes, and the second optics against the first."""
    names = FEATURE_SETS[FEATURES].names
    first, second = (
        [cells_of([c], folder) for c in JUDGES[k]] for k in ("perturbed physics", "second optics")
    )
    print(
        f"{'':20}"
        + "".join(f"{c:>24}" for c in schema.CLASSES)
        + "   (between passes, between optics; in spreads of cells)"
    )
    for k, name in enumerate(names):
        row = f"{name:20}"
        for code in range(3):
            medians = [
                [np.median(c.x[c.y == code, k]) for c in some if (c.y == code).any()]
                for some in (first, second)
            ]
            spread = np.std(np.concatenate([c.x[:, k] for c in first])) + 1e-9
            row += f"{np.std(medians[0]) / spread:>14.2f}{(np.mean(medians[1]) - np.mean(medians[0])) / spread:>10.2f}"
        print(row)


# -- judging ------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Result:
    """Scores of one classifier on some tracks."""

    everything: ClassScore
    interior: ClassScore
    leads: LeadScore
    freeboard: Errors
    freeboard_true_classes: Errors
    within_1cm: tuple[int, int]

    def __add__(self, other: Result) -> Result:
        near = (self.within_1cm[0] + other.within_1cm[0], self.within_1cm[1] + other.within_1cm[1])
        sums = [getattr(self, n) + getattr(other, n) for n in list(vars(self))[:-1]]
        return Result(*sums, near)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, for a model's card."""
        out: dict[str, Any] = {}
        for name in ("everything", "interior"):
            s = getattr(self, name)
            out[name] = {
                "macro_f1": round(float(s.confusion.macro_f1), 4),
                "recall": [round(float(v), 4) for v in s.confusion.recall],
                "precision": [round(float(v), 4) for v in s.confusion.precision],
                "calibration_error": round(float(s.reliability.expected_error), 4),
            }
        out["leads_found_by_width"] = self.leads.to_dict()
        out["freeboard_rmse_m"] = round(float(self.freeboard.rmse), 4)
        out["freeboard_rmse_true_classes_m"] = round(float(self.freeboard_true_classes.rmse), 4)
        out["beams_within_1cm"] = list(self.within_1cm)
        return out


def freeboard_of(classified: xr.Dataset) -> NDArray[np.float64]:
    return np.asarray(freeboard.compute(seasurface.estimate(classified))["freeboard"].values, float)


def one_track(track: xr.Dataset, truth: xr.Dataset, model: Any) -> Result:
    """Judge a classifier on one track; freeboards are compared where both they and the truth exist."""
    out = classify(track, model)
    true, edge = truth["surface_class_truth"].values, truth["edge_distance"].values
    got = out["surface_class"].values
    p = np.where((got < 0)[:, None], np.nan, out["class_probability"].values)
    ours = freeboard_of(out)
    theirs = freeboard_of(out.assign(surface_class=("x_atc", true.astype("i1"))))
    both = np.isfinite(ours) & np.isfinite(theirs) & (true >= 0)
    a, b = (Errors.of((f - truth["freeboard_truth"].values)[both]) for f in (ours, theirs))
    counted = int(both.any())
    near = int(counted and abs(a.rmse - b.rmse) <= 0.01)
    inside = edge > INTERIOR
    return Result(
        score_classes(true, p),
        score_classes(true[inside], p[inside]),
        score_leads(true, got),
        a,
        b,
        (near, counted),
    )


def judge(models: Mapping[str, Any], folder: Path, judges: Mapping[str, tuple[Pass, ...]]) -> dict[str, Any]:
    """Print the tables of every judge; return the figures."""
    document: dict[str, Any] = {}
    for where, cases in judges.items():
        results = {
            name: reduce(add, [one_track(t, truth, m) for c in cases for t, truth in tracks(c, folder)])
            for name, m in models.items()
        }
        print(f"\n== {where}: {len(cases)} passes ==")
        for region in ("everything", "interior"):
            print(f"-- {region}\n" + table({n: getattr(r, region) for n, r in results.items()}))
        print("-- leads found, by width\n" + "\n".join(f"{n:20}{r.leads}" for n, r in results.items()))
        print("-- freeboard: RMSE with predicted and with true classes, cm; beams within 1 cm of each other")
        for n, r in results.items():
            rmse = 100 * r.freeboard.rmse, 100 * r.freeboard_true_classes.rmse
            print(f"{n:20}{rmse[0]:8.2f}{rmse[1]:8.2f}   {r.within_1cm[0]}/{r.within_1cm[1]}", flush=True)
        document[where] = {n: r.to_dict() for n, r in results.items()}
    return document


if __name__ == "__main__":
    main()

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
import multiprocessing
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial, reduce
from operator import add
from pathlib import Path
from typing import Any

import default_model
import numpy as np
import xarray as xr
from numpy.typing import NDArray
from physics_passes import CHOOSE, JUDGES, TRAIN, Pass, prepare, tracks

import is2ice.classifiers
from is2ice import schema
from is2ice.classifiers import by_name, classify
from is2ice.classifiers.boosted import Boosted
from is2ice.classifiers.scores import ClassScore, LeadScore, score_classes, score_leads, table
from is2ice.science import freeboard, seasurface
from is2ice.science.features import FEATURE_SETS
from is2ice.science.metrics import Errors

INTERIOR = 6.0


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("task", choices=["prepare", "choose", "make-default", "score", "shift"])
    parser.add_argument("--folder", type=Path, default=Path("build/classifiers"))
    parser.add_argument("--model", type=Path, default=Path(is2ice.classifiers.__file__).parent / "default")
    parser.add_argument("--classes-only", action="store_true", help="compare no freeboards")
    parser.add_argument("--classifiers", nargs="+", default=["radiometric", "default"])
    args = parser.parse_args()
    if args.task == "prepare":
        for case in (*TRAIN, *CHOOSE, *(c for some in JUDGES.values() for c in some)):
            print(prepare(case, args.folder), flush=True)
    elif args.task == "choose":
        choose(args.folder)
    elif args.task == "make-default":
        make_default(args.folder, args.model, levels=not args.classes_only)
    elif args.task == "score":
        document = judge(
            {name: by_name(name) for name in args.classifiers},
            args.folder,
            JUDGES,
            levels=not args.classes_only,
        )
        (args.folder / "scores.json").write_text(json.dumps(document, indent=1))
    else:
        shift(args.folder)


# -- the shipped model --------------------------------------------------------------------------------
def make_default(folder: Path, home: Path, *, levels: bool = True) -> None:
    """Train the shipped model, judge it beside the tree, and write it with its card."""
    model = default_model.make(folder, home)
    scores = judge({"radiometric": by_name("radiometric"), "default": model}, folder, JUDGES, levels=levels)
    replace(model, card=dict(model.card) | {"scores": scores}).save(home)
    size = sum(f.stat().st_size for f in home.iterdir())
    print(f"{home}: {size / 1e6:.2f} MB, checksum {Boosted.load(home).card['checksum']}")


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
    """Scores of the first forest on the choosing passes, whole and without a group of features."""
    learn, held = default_model.cells_of(TRAIN, folder), default_model.cells_of(CHOOSE, folder)
    names = FEATURE_SETS[default_model.FEATURES].names
    print(f"{sum(int(c.chosen.sum()) for c in learn):,} cells to learn from, {len(held)} tracks to choose by")
    for label, starts in {"all": (), **GROUPS}.items():
        columns = np.array([k for k, n in enumerate(names) if not (starts and n.startswith(starts))])
        forest = default_model.fit([c.x[:, columns] for c in learn], learn, default_model.Settings(rounds=30))
        scores = reduce(add, (score_classes(c.y, _by(forest, c.x[:, columns])) for c in held))
        row = table({label if label == "all" else f"without {label}": scores}).splitlines()[-1]
        print(row, flush=True)


def _by(forest: Any, x: NDArray[np.float32]) -> NDArray[np.float64]:
    """Probabilities of a fitted forest, NaN where a cell has no features."""
    known = np.isfinite(x).all(axis=1)
    p = np.full((len(x), len(schema.CLASSES)), np.nan)
    p[known] = forest.predict_proba(x[known])
    return p


def shift(folder: Path) -> None:
    """Median of each feature over each class: spread between passes, and the second optics against the first."""
    names = FEATURE_SETS[default_model.FEATURES].names
    first, second = (
        [default_model.cells_of([c], folder) for c in JUDGES[k]]
        for k in ("perturbed physics", "second optics")
    )
    spread = np.nanstd(np.concatenate([c.x for some in first for c in some]), axis=0) + 1e-9
    print(
        f"{'':20}"
        + "".join(f"{c:>24}" for c in schema.CLASSES)
        + "   (between passes, between optics; in spreads of cells)"
    )
    for k, name in enumerate(names):
        row = f"{name:20}"
        for code in range(3):
            one, two = (_medians(passes, code, k) for passes in (first, second))
            row += f"{np.std(one) / spread[k]:>14.2f}{(np.mean(two) - np.mean(one)) / spread[k]:>10.2f}"
        print(row)


def _medians(passes: list[list[default_model.Cells]], code: int, k: int) -> list[float]:
    """Median of a feature over the cells of a class in each pass that has any."""
    values = [np.concatenate([c.x[c.known & (c.y == code), k] for c in some]) for some in passes]
    return [float(np.median(v)) for v in values if v.size]


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
        if not self.within_1cm[1]:
            return out
        out["freeboard_rmse_m"] = round(float(self.freeboard.rmse), 4)
        out["freeboard_rmse_true_classes_m"] = round(float(self.freeboard_true_classes.rmse), 4)
        out["beams_within_1cm"] = list(self.within_1cm)
        return out


def freeboard_of(classified: xr.Dataset) -> NDArray[np.float64]:
    return np.asarray(freeboard.compute(seasurface.estimate(classified))["freeboard"].values, float)


def one_track(track: xr.Dataset, truth: xr.Dataset, model: Any, levels: bool = True) -> Result:
    """Judge a classifier on one track; freeboards are compared where both they and the truth exist, if at all."""
    out = classify(track, model)
    true, edge = truth["surface_class_truth"].values, truth["edge_distance"].values
    got = out["surface_class"].values
    p = np.where((got < 0)[:, None], np.nan, out["class_probability"].values)
    ours = theirs = np.full(true.shape, np.nan)
    if levels:
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


def _one_pass(models: dict[str, Any], folder: Path, levels: bool, case: Pass) -> dict[str, Result]:
    pairs = tracks(case, folder)
    return {
        name: reduce(add, [one_track(track, truth, m, levels) for track, truth in pairs])
        for name, m in models.items()
    }


def judge(
    models: Mapping[str, Any], folder: Path, judges: Mapping[str, tuple[Pass, ...]], *, levels: bool = True
) -> dict[str, Any]:
    """Print the tables of every judge; return the figures.

    Parameters
    ----------
    models : mapping
        Classifiers by name.
    folder : Path
    judges : mapping
        Passes by name.
    levels : bool
        Compare freeboards too, which takes most of the time.
    """
    document: dict[str, Any] = {}
    for where, cases in judges.items():
        with multiprocessing.get_context("fork").Pool(default_model.WORKERS) as pool:
            parts = pool.map(partial(_one_pass, dict(models), folder, levels), cases, 1)
        results = {name: reduce(add, [part[name] for part in parts]) for name in models}
        print(f"\n== {where}: {len(cases)} passes ==")
        for region in ("everything", "interior"):
            print(f"-- {region}\n" + table({n: getattr(r, region) for n, r in results.items()}))
        print("-- leads found, by width\n" + "\n".join(f"{n:20}{r.leads}" for n, r in results.items()))
        if not levels:
            document[where] = {n: r.to_dict() for n, r in results.items()}
            continue
        print("-- freeboard: RMSE with predicted and with true classes, cm; beams within 1 cm of each other")
        for n, r in results.items():
            rmse = 100 * r.freeboard.rmse, 100 * r.freeboard_true_classes.rmse
            print(f"{n:20}{rmse[0]:8.2f}{rmse[1]:8.2f}   {r.within_1cm[0]}/{r.within_1cm[1]}", flush=True)
        document[where] = {n: r.to_dict() for n, r in results.items()}
    return document


if __name__ == "__main__":
    main()

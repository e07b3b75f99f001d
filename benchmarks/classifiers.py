"""Judge the classifiers that come with the package, and make the trained ones.

    python benchmarks/classifiers.py prepare        # simulate the passes (about 15 minutes of a processor)
    python benchmarks/classifiers.py make-default   # train the shipped model and write it into the package
    python benchmarks/classifiers.py score          # the tables: every classifier on every judge
    python benchmarks/classifiers.py cards          # write the scores and the comparison with the tree on the cards
    python benchmarks/classifiers.py choose         # on passes for choosing: without some features; both calibrations
    python benchmarks/classifiers.py curve          # on passes for choosing: learnt from 1/4, 1/2 and all passes
    python benchmarks/classifiers.py shift          # how far each feature moves between physics
    python benchmarks/classifiers.py speed          # time of each classifier on a long track, beside the chain's

Passes are kept in `--folder` (build/classifiers). The shipped models learn from the truth of simulated passes whose
physics are drawn for each of them (:mod:`is2ice.twin.scene.physics`); they are judged by other draws of the same
ranges, and by a second optical model that nothing learns from (:mod:`is2ice.twin.icesat2.rays`). Cells are judged by
the class at their centre; a cell without class counts as wrong. A lead is found if at least half of its cells are
called water. Standard errors of macro-F1 and of recalls are those of resampled passes: the cells of one are much alike.
Freeboards of the first two classifiers are compared where theirs, those of the true classes and of the truth exist.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial, reduce
from operator import add
from pathlib import Path
from typing import Any

import default_model
import numpy as np
import xarray as xr
from default_model import INTERIOR
from numpy.typing import NDArray
from physics_passes import BEAMS, CHOOSE, JUDGES, TRAIN, Pass, mapped, prepare, tracks

import is2ice.classifiers
from is2ice import open_track, schema
from is2ice.classifiers import by_name, classify
from is2ice.classifiers.base import add_classes
from is2ice.classifiers.boosted import Boosted, Forest
from is2ice.classifiers.registry import NETWORKS
from is2ice.classifiers.scores import WIDTHS, ClassScore, LeadScore, score_classes, score_leads, table
from is2ice.science import freeboard, seasurface
from is2ice.science.features import FEATURE_SETS
from is2ice.science.metrics import Errors
from is2ice.twin import make_granule

#: Times that passes are drawn again for standard errors.
DRAWS = 200


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "task", choices=["prepare", "make-default", "score", "cards", "choose", "curve", "shift", "speed"]
    )
    parser.add_argument("--folder", type=Path, default=Path("build/classifiers"))
    parser.add_argument("--model", type=Path, default=Path(is2ice.classifiers.__file__).parent / "default")
    parser.add_argument("--networks", action="store_true", help="make-default: the published networks, too")
    parser.add_argument("--classes-only", action="store_true", help="compare no freeboards")
    parser.add_argument("--classifiers", nargs="+", default=["radiometric", "default", *NETWORKS])
    parser.add_argument("--judges", nargs="+", choices=JUDGES, default=list(JUDGES), help="score by these")
    args = parser.parse_args()
    started = time.perf_counter(), time.process_time()
    if args.task == "prepare":
        everything = (*TRAIN, *CHOOSE, *(c for some in JUDGES.values() for c in some))
        print(f"{len(mapped(partial(prepare, folder=args.folder), everything))} passes in {args.folder}")
    elif args.task == "make-default":
        make_default(args.folder, args.model, args.networks)
    elif args.task == "score":
        score(args)
    elif args.task == "cards":
        write_cards(json.loads((args.folder / "scores.json").read_text()), args.model)
    else:
        {"choose": choose, "curve": curve, "shift": shift, "speed": speed}[args.task](args.folder)
    spent = time.perf_counter() - started[0], time.process_time() - started[1]
    print(f"{args.task}: {spent[0]:.0f} s, {spent[1]:.0f} s of them of this process's processor")


# -- the shipped model --------------------------------------------------------------------------------
def make_default(folder: Path, home: Path, networks: bool) -> None:
    """Train the shipped model, and the published networks if asked; their cards have no scores yet."""
    learn, held = (default_model.cells_of(cases, folder) for cases in (TRAIN, CHOOSE))
    print(f"{sum(int(c.chosen.sum()) for c in learn):,} cells to learn from")
    model = default_model.make(learn, held, home)
    print(f"checksum {model.card['checksum']}", flush=True)
    places = [home]
    if networks:
        import paper_networks

        paper_networks.make(learn, held, home.parent / "networks")
        places += [home.parent / "networks" / n for n in NETWORKS]
    for place in places:
        size = sum(f.stat().st_size for f in place.iterdir())
        print(f"{place}: {size / 1e6:.2f} MB")


def score(args: argparse.Namespace) -> None:
    """Print the tables of some judges, and keep their figures beside those of other judges and classifiers."""
    kept = args.folder / "scores.json"
    scores = json.loads(kept.read_text()) if kept.exists() else {}
    models = {name: by_name(name) for name in args.classifiers}
    for where in args.judges:
        cases = {where: JUDGES[where]}
        scores[where] = (
            scores.get(where, {}) | judge(models, args.folder, cases, levels=not args.classes_only)[where]
        )
    kept.write_text(json.dumps(scores, indent=1))


def write_cards(scores: Mapping[str, Any], home: Path) -> None:
    """Write the scores of all judges on the cards of the shipped models."""
    model = Boosted.load(home)
    card = dict(model.card) | {"against_the_tree": verdict(scores), "scores": scores}
    replace(model, card=card).save(home)
    for name in NETWORKS:
        network = by_name(name)
        own = network.card | {"scores": {k: {name: rows[name]} for k, rows in scores.items()}}
        replace(network, card=own).save(home.parent / "networks" / name, overwrite=True)


def verdict(scores: Mapping[str, Any]) -> str:
    """Compare the model with the tree: on other draws of the ranges, by the second optics, on the preset's physics."""
    parts = []
    for where in ("perturbed physics", "second optics", "default physics"):
        tree, ours = (scores[where][name] for name in ("radiometric", "default"))
        part = f"{where}: macro-F1 {tree['everything']['macro_f1']:.3f} (tree), {ours['everything']['macro_f1']:.3f}"
        water = [r["interior"]["recall"][schema.OPEN_WATER] for r in (tree, ours)]
        part += f"; water recall away from edges {water[0]:.2f}, {water[1]:.2f}"
        water = [r["everything"]["precision"][schema.OPEN_WATER] for r in (tree, ours)]
        part += f"; water precision {water[0]:.2f}, {water[1]:.2f}"
        if "freeboard_rmse_m" in tree:
            rmse = [100 * r["freeboard_rmse_m"] for r in (tree, ours)]
            part += f"; freeboard RMSE {rmse[0]:.1f}, {rmse[1]:.1f} cm"
        parts.append(part)
    return ". ".join(parts)


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
    """Score both calibrations of the shipped model on the choosing passes, and first forests without some features."""
    learn, held = default_model.cells_of(TRAIN, folder), default_model.cells_of(CHOOSE, folder)
    names = FEATURE_SETS[default_model.FEATURES].names
    print(f"{sum(int(c.chosen.sum()) for c in learn):,} cells to learn from, {len(held)} tracks to choose by")
    print(table(default_model.calibrations(by_name("default"), held)), flush=True)
    for label, starts in {"all": (), **GROUPS}.items():
        columns = np.array([k for k, n in enumerate(names) if not (starts and n.startswith(starts))])
        chosen = [c.x[c.chosen][:, columns] for c in learn]
        forest = Forest.of(default_model.fit(chosen, learn, default_model.Settings(rounds=30)))
        scores = reduce(add, (score_classes(c.y, _by(forest, c.x[:, columns])) for c in held))
        row = table({label if label == "all" else f"without {label}": scores}).splitlines()[-1]
        print(row, flush=True)


def curve(folder: Path) -> None:
    """Score models that learn from a quarter, a half and all of the passes, on the choosing passes."""
    learn, held = default_model.cells_of(TRAIN, folder), default_model.cells_of(CHOOSE, folder)
    passes = list(dict.fromkeys(c.case for c in learn))
    for part in (4, 2, 1):
        some = {case for k, case in enumerate(passes) if k // 8 % part == 0}  # both releases, all lengths
        forests = default_model.fit_both([c for c in learn if c.case in some])
        raw = Boosted(*forests, {"temperature": 1.0, "bias": [0.0] * 3}, "keep")
        probability = [raw.probabilities(c.track, int(c.track.attrs["spot"]), c.x) for c in held]
        found = default_model.Calibration(probability, held)
        fitted = found.probabilities(found.likeliest())
        inside = score_classes(found.y[found.inside], fitted[found.inside])
        rows = {f"{len(some)} passes": score_classes(found.y, fitted), "  interior": inside}
        print("\n".join(table(rows).splitlines()[2 if part < 4 else 0 :]), flush=True)


def speed(folder: Path) -> None:
    """Time classifiers, and the rest of the chain from photons to freeboard, on one pass of 60 km."""
    case = Pass("ross_sea_november", 990_000, 60.0, "default")
    home = folder / case.name
    granule = make_granule(case.scene(), home, beams=list(BEAMS), release=case.release)
    steps: dict[str, Callable[[], Any]] = {
        "photons to segments": lambda: open_track(granule, BEAMS[0]).load()
    }
    track = steps["photons to segments"]()
    steps |= {f"classes, {name}": partial(classify, track, name) for name in ("radiometric", "default")}
    levels = classify(track, "default")
    steps["sea surface and freeboard"] = partial(freeboard_of, levels)
    for name, step in steps.items():
        step()  # compiles
        spent = []
        for _ in range(3):
            begin = time.process_time()
            step()
            spent.append(time.process_time() - begin)
        print(
            f"{name:28}{1e6 * min(spent) / track.sizes['x_atc']:8.1f} us of a processor for a segment",
            flush=True,
        )
    granule.unlink()


def _by(forest: Forest, x: NDArray[np.float32]) -> NDArray[np.float64]:
    """Probabilities of a forest, NaN where a cell has no features."""
    known = np.isfinite(x).all(axis=1)
    p = np.full((len(x), len(schema.CLASSES)), np.nan)
    p[known] = forest.probabilities(x[known])
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
    covered: tuple[int, int]
    within_1cm: tuple[int, int]

    def __add__(self, other: Result) -> Result:
        sums = {n: getattr(self, n) + getattr(other, n) for n in list(vars(self))[:-2]}
        for name in ("covered", "within_1cm"):
            mine, theirs = getattr(self, name), getattr(other, name)
            sums[name] = (mine[0] + theirs[0], mine[1] + theirs[1])
        return Result(**sums)

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
        out["freeboard_bias_m"] = round(float(self.freeboard.bias), 4)
        out["freeboard_rmse_true_classes_m"] = round(float(self.freeboard_true_classes.rmse), 4)
        out["freeboard_coverage"] = round(self.covered[0] / max(self.covered[1], 1), 4)
        out["beams_within_1cm"] = list(self.within_1cm)
        return out


def errors_of(parts: Sequence[Result]) -> dict[str, float]:
    """Standard errors, from passes drawn again: of macro-F1, interior recalls and leads wider than 30 m found."""
    rng, wide = np.random.default_rng(0), WIDTHS.index(30.0)
    rows = []
    for _ in range(DRAWS):
        some = [parts[k] for k in rng.integers(len(parts), size=len(parts))]
        everything, interior = (
            reduce(add, (getattr(r, n).confusion for r in some)) for n in ("everything", "interior")
        )
        leads = reduce(add, (r.leads for r in some))
        found, number = sum(leads.found[wide:]), sum(leads.leads[wide:])
        rows.append([everything.macro_f1, *interior.recall[1:], found / number if number else np.nan])
    names = ("macro_f1", "interior_recall_thin_ice", "interior_recall_open_water", "leads_above_30m")
    return dict(zip(names, np.round(np.nanstd(rows, axis=0), 4).tolist(), strict=True))


def freeboard_of(classified: xr.Dataset) -> NDArray[np.float64]:
    return np.asarray(freeboard.compute(seasurface.estimate(classified))["freeboard"].values, float)


def with_classes(track: xr.Dataset, code: NDArray[np.int8]) -> xr.Dataset:
    """Return the track with classes that are certain."""
    p = np.where(code[:, None] >= 0, np.eye(len(schema.CLASSES))[np.maximum(code, 0)], np.nan)
    return add_classes(track, p, code >= 0, "truth")


def one_track(
    track: xr.Dataset, truth: xr.Dataset, models: Mapping[str, Any], levels: bool = True
) -> dict[str, Result]:
    """Judge classifiers on one track."""
    true, edge = truth["surface_class_truth"].values, truth["edge_distance"].values
    inside, known = edge > INTERIOR, true >= 0
    out = {name: classify(track, model) for name, model in models.items()}
    ours = {name: np.full(true.shape, np.nan) for name in models}
    best = np.full(true.shape, np.nan)
    if levels:
        ours |= {name: freeboard_of(out[name]) for name in list(models)[:2]}
        best = freeboard_of(with_classes(track, true.astype("i1")))
    both = known & np.isfinite(best) & np.all([np.isfinite(f) for f in list(ours.values())[:2]], axis=0)
    results = {}
    for name, one in out.items():
        got = one["surface_class"].values
        p = np.where((got < 0)[:, None], np.nan, one["class_probability"].values)
        there = both & np.isfinite(ours[name])
        off, least = (Errors.of((f - truth["freeboard_truth"].values)[there]) for f in (ours[name], best))
        near = int(there.any() and abs(off.rmse - least.rmse) <= 0.01)
        results[name] = Result(
            score_classes(true, p),
            score_classes(true[inside], p[inside]),
            score_leads(true, got),
            off,
            least,
            (int((known & np.isfinite(ours[name])).sum()), int(known.sum())),
            (near, int(there.any())),
        )
    return results


def _one_pass(models: dict[str, Any], folder: Path, levels: bool, case: Pass) -> dict[str, Result]:
    parts = [one_track(track, truth, models, levels) for track, truth in tracks(case, folder)]
    return {name: reduce(add, [part[name] for part in parts]) for name in models}


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
        parts = mapped(partial(_one_pass, dict(models), folder, levels), cases)
        results = {name: reduce(add, [part[name] for part in parts]) for name in models}
        errors = {name: errors_of([part[name] for part in parts]) for name in models}
        print(f"\n== {where}: {len(cases)} passes ==")
        for region in ("everything", "interior"):
            print(f"-- {region}\n" + table({n: getattr(r, region) for n, r in results.items()}))
        print("-- leads found, by width\n" + "\n".join(f"{n:20}{r.leads}" for n, r in results.items()))
        print(
            "-- standard errors, %: macro-F1; interior recall of thin ice, of water; share of leads above 30 m found"
        )
        for n, row in errors.items():
            print(f"{n:20}" + "".join(f"{100 * v:8.1f}" for v in row.values()))
        order = sorted(results, key=lambda n: -results[n].everything.confusion.macro_f1)
        print("-- by macro-F1: " + ", ".join(order), flush=True)
        document[where] = {n: r.to_dict() | {"standard_errors": errors[n]} for n, r in results.items()}
        if levels:
            print(
                "-- freeboard, cm: RMSE, bias, RMSE with true classes; share of cells; beams within 1 cm of it"
            )
            for n, r in list(results.items())[:2]:
                off = r.freeboard.rmse, r.freeboard.bias, r.freeboard_true_classes.rmse
                row = "".join(f"{100 * e:8.2f}" for e in off)
                share = r.covered[0] / max(r.covered[1], 1)
                print(f"{n:20}{row}{share:8.3f}   {r.within_1cm[0]}/{r.within_1cm[1]}", flush=True)
    return document


if __name__ == "__main__":
    main()

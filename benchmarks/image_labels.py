"""Classifiers on passes and scenes they have not seen, against the truth; the leak measured; an ablation.

    python benchmarks/image_labels.py prepare            # simulate and label the passes (an hour on two cores)
    python benchmarks/image_labels.py train [MODEL ...]  # models are kept; delete one to train it again
    python benchmarks/image_labels.py score              # the table, freeboard, pictures
    python benchmarks/image_labels.py leak               # the leaking feature and the random split, beside honest ones
    python benchmarks/image_labels.py ablation           # the default model without a feature, with other contexts

Everything is kept in ``--folder`` (build/image_labels), so that what is there is not made again. Training reads
labels only, made from images with drift and cloud; scores are against the truth of other seeds, on segments whose
class is known at their centre. Interior segments lie more than 6 m from a change of class. A segment without class
counts as wrong. The published models learn from strong beams, as published; ours from all six.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from twin_passes import TEST, TRAIN, VALIDATION, labelled, prepare, tracks

from is2ice.classifiers import classify
from is2ice.classifiers.neural import Neural
from is2ice.classifiers.samples import Samples, from_tracks
from is2ice.classifiers.scores import ClassScore, score_classes, table
from is2ice.classifiers.splits import split
from is2ice.reports import plot_scores
from is2ice.science import freeboard, seasurface
from is2ice.science.features import FEATURE_SETS, FeatureSet, build, centres, sequences
from is2ice.science.metrics import Errors
from is2ice.twin import open_truth, truth_for

#: Pixels from another class within which a label is not used. The default of the labels, 1.5, leaves no lead
#: narrower than 40 m to learn from.
TRANSITION = 0.5
#: Windows the published models were trained and tested on.
PUBLISHED = 122_936
#: One window of thick ice in so many trains ours.
KEEP = 4


@dataclass(frozen=True)
class Recipe:
    """How a model is trained here."""

    architecture: str
    features: str | FeatureSet
    beams: str = "strong"
    options: Mapping[str, Any] = field(default_factory=dict)


MODELS = {
    "mlp": Recipe("mlp", "paper"),
    "lstm": Recipe("lstm", "paper"),
    # The notebooks' eight features, the leaking one made without labels: with labels it does not exist at inference.
    "lstm_notebook": Recipe("lstm_notebook", "notebook_label_free"),
    "default": Recipe("default", "default", "all"),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["prepare", "train", "score", "leak", "ablation"])
    parser.add_argument("models", nargs="*", help=f"of {', '.join(MODELS)}; all by default")
    parser.add_argument("--folder", type=Path, default=Path("build/image_labels"))
    parser.add_argument("--epochs", type=int, help="instead of each model's own")
    parser.add_argument("--presets", nargs="+", help="to score; all by default")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    if args.what == "prepare":
        for case in (*TRAIN, *VALIDATION, *TEST):
            home = prepare(case, args.folder, TRANSITION)
            print(f"{case.name:24} {json.loads((home / 'case.json').read_text())['drift']}", flush=True)
    elif args.what == "train":
        for name in args.models or MODELS:
            train(name, args.folder, args.epochs)
    elif args.what == "score":
        score(args.folder, args.presets)
    elif args.what == "leak":
        leak(args.folder, args.epochs or 20)
    else:
        ablation(args.folder, args.epochs or 4)


# -- training -----------------------------------------------------------------------------------------
def samples_of(folder: Path, recipe: Recipe, cases: tuple[Any, ...], context: int | None = None) -> Samples:
    return from_tracks(labelled(folder, cases, recipe.beams), recipe.features, context)


def fit(learn: Samples, held: Samples, architecture: str, name: str, **options: Any) -> Neural:
    """A model; the published ones from as many windows as were published, ours from all but most of the thick ice."""
    if learn.features.dark_cells:
        learn, options["class_weights"] = fewer_thick(learn)
    else:
        learn = published_number(learn)
    return Neural.fit(
        learn,
        held,
        architecture,
        release="006",
        seed=1,
        progress=lambda row: print(name, {k: round(v, 4) for k, v in row.items()}, flush=True),
        **options,
    )


def fewer_thick(samples: Samples) -> tuple[Samples, list[float]]:
    """A quarter of the windows of thick ice, and weights that make up for it: probabilities stay what they are."""
    thick = np.flatnonzero(samples.y == 0)
    keep = np.ones(len(samples), bool)
    keep[np.random.default_rng(0).choice(thick, thick.size - thick.size // KEEP, replace=False)] = False
    return samples.take(keep), [float(KEEP), 1.0, 1.0]


def published_number(samples: Samples) -> Samples:
    """As many windows as were published, drawn evenly from all tracks."""
    if len(samples) <= PUBLISHED:
        return samples
    return samples.take(np.sort(np.random.default_rng(0).choice(len(samples), PUBLISHED, replace=False)))


def train(name: str, folder: Path, epochs: int | None = None) -> Neural:
    """A model, from the folder if it is there."""
    home = folder / "models" / name
    if (home / "card.json").exists():
        return Neural.load(home)
    recipe = MODELS[name]
    started = time.perf_counter()
    home.parent.mkdir(exist_ok=True)
    learn, held = (samples_of(folder, recipe, cases) for cases in (TRAIN, VALIDATION))
    options = dict(recipe.options) | ({} if epochs is None else {"epochs": epochs})
    model = fit(learn, held, recipe.architecture, name, checkpoint=home.with_suffix(".npz"), **options)
    print(f"{name}: trained in {time.perf_counter() - started:.0f} s")
    plot_scores.learning_curves(model.card["training"]["history"], path=folder / f"learning_{name}.png")
    return model.save(home)


# -- the table ----------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Result:
    """Scores of one model on some tracks."""

    interior: ClassScore
    boundary: ClassScore
    freeboard: Errors
    with_true_classes: Errors

    def __add__(self, other: Result) -> Result:
        return Result(*(a + b for a, b in zip(vars(self).values(), vars(other).values(), strict=True)))

    @property
    def all(self) -> ClassScore:
        return self.interior + self.boundary


def freeboard_of(classified: xr.Dataset) -> np.ndarray:
    return freeboard.compute(seasurface.estimate(classified))["freeboard"].values


def one_track(track: xr.Dataset, truth: xr.Dataset, model: Any) -> Result:
    """One model on one track. Freeboards are compared where both that of the model and that of the truth exist."""
    out = classify(track.drop_vars(["surface_class", "class_probability"], errors="ignore"), model)
    true = truth["surface_class_truth"].values
    edge = truth["edge_distance"].values <= 6.0
    predicted = out["class_probability"].values if "class_probability" in out else out["surface_class"].values
    # The tree leaves segments under cloud unlabelled, whatever their probabilities.
    predicted = np.where((out["surface_class"].values < 0)[:, None], np.nan, predicted)
    interior, boundary = (score_classes(true[w], predicted[w]) for w in (~edge, edge))
    ours = freeboard_of(out)
    theirs = freeboard_of(out.assign(surface_class=("x_atc", true.astype("i1"))))
    both = np.isfinite(ours) & np.isfinite(theirs) & (true >= 0)
    errors = (Errors.of((f - truth["freeboard_truth"].values)[both]) for f in (ours, theirs))
    return Result(interior, boundary, *errors)


def score(folder: Path, presets: list[str] | None = None) -> None:
    models = {"radiometric": "radiometric"} | {
        name: Neural.load(folder / "models" / name)
        for name in MODELS
        if (folder / "models" / name / "card.json").exists()
    }
    results: dict[str, dict[str, Result]] = {}
    groups: dict[str, list[Any]] = {}
    for case in TEST:
        if (folder / case.name / "case.json").exists() and (presets is None or case.preset in presets):
            groups.setdefault(case.preset, []).append(case)
    for beams in ("strong", "weak"):
        for preset, cases in groups.items():
            where = f"{preset}, {beams} beams"
            for name, model in models.items():
                if beams == "weak" and name in MODELS and MODELS[name].beams == "strong":
                    continue
                parts = []
                for case in cases:
                    truth = open_truth(folder / case.name / "truth.nc")
                    for track in tracks(folder / case.name, beams):
                        parts.append(one_track(track, truth_for(track, truth), model))
                results.setdefault(where, {})[name] = reduce(add, parts)
            tell(where, results[where])
    ross = results.get("ross_sea_november, strong beams", next(iter(results.values())))
    plot_scores.confusion({n: r.interior for n, r in ross.items()}, path=folder / "confusion.png")
    plot_scores.reliability({n: r.all for n, r in ross.items()}, path=folder / "reliability.png")
    document = {
        where: {
            name: {region: getattr(r, region).to_dict() for region in ("all", "interior", "boundary")}
            | {"freeboard": r.freeboard.to_dict(), "with_true_classes": r.with_true_classes.to_dict()}
            for name, r in some.items()
        }
        for where, some in results.items()
    }
    (folder / "scores.json").write_text(json.dumps(document, indent=1))


def tell(where: str, results: Mapping[str, Result]) -> None:
    """The rows of one preset."""
    print(f"\n== {where} ==")
    for region in ("all", "interior", "boundary"):
        print(f"-- {region}")
        print(table({name: getattr(r, region) for name, r in results.items()}))
    print(
        f"{'-- freeboard':30}{'segments':>10}{'bias cm':>10}{'RMSE cm':>10}{'RMSE with true classes cm':>28}"
    )
    for name, r in results.items():
        f = r.freeboard
        print(
            f"{name:30}{f.n:>10,}{100 * f.bias:>10.2f}{100 * f.rmse:>10.2f}{100 * r.with_true_classes.rmse:>28.2f}",
            flush=True,
        )


# -- the leak -----------------------------------------------------------------------------------------
def leak(folder: Path, epochs: int) -> None:
    """The notebook's model with and without the leaking feature, split as published and by scene.

    Scored on the labels of the held-out part, as published, and so on what labels know: no edges, no truth.
    """
    cubes = labelled(folder, (*TRAIN, *VALIDATION), "strong")
    rows = {}
    for features in ("notebook", "notebook_label_free"):
        names = FEATURE_SETS[features].leaking
        every = published_number(from_tracks(cubes, features, 2, leaking=names)).compute()
        every = every.take(np.isfinite(every.x).all(axis=(1, 2)))
        for by in ("random_windows", "scene"):
            parts = split(every, by, test=0.2, validation=0.2, seed=20)
            model = Neural.fit(
                parts.train, parts.validation, "lstm_notebook", leaking=names, seed=20, epochs=epochs
            )
            name = f"{features}, {by}"
            rows[name] = score_classes(parts.test.y, model.probabilities(parts.test.x))
            print(table({name: rows[name]}), flush=True)
    print(table(rows))
    plot_scores.confusion(rows, path=folder / "leak.png")
    (folder / "leak.json").write_text(json.dumps({n: s.to_dict() for n, s in rows.items()}, indent=1))


# -- ablation -----------------------------------------------------------------------------------------
GROUPS = {
    "photon rate": ("rate_", "empty"),
    "height": ("height_",),
    "width and skew": ("width", "own_width", "skew"),
    "background": ("brightness", "noise_", "day"),
}


def ablation(folder: Path, epochs: int) -> None:
    """The default model anew without a group of features, and with other contexts; scored on ross_sea_november."""
    whole = FEATURE_SETS["default"]
    variants: dict[str, tuple[FeatureSet, int | None]] = {"all features": (whole, None)}
    for name, starts in GROUPS.items():
        gone = [n for n in whole.names if n.startswith(starts)]
        variants[f"without {name}"] = (whole.without(*gone), None)
    for context in (0, 2, 8, 32):
        variants[f"context {context}"] = (whole, context)
    rows = {}
    for name, (features, context) in variants.items():
        some = ablated(folder, features, context, epochs)
        rows[name] = {r: s.confusion.macro_f1 for r, s in zip(("interior", "boundary"), some, strict=True)}
        print(f"{name:28}" + "".join(f"{r:>12} {100 * v:6.2f}" for r, v in rows[name].items()), flush=True)
        plot_scores.ablation(rows, path=folder / "ablation.png")
        (folder / "ablation.json").write_text(json.dumps(rows, indent=1))


def ablated(
    folder: Path, features: FeatureSet, context: int | None, epochs: int
) -> tuple[ClassScore, ClassScore]:
    """A variant of the default model, trained for fewer epochs, on the strong beams of ross_sea_november."""
    recipe = Recipe("default", features, "all")
    learn, held = (samples_of(folder, recipe, cases, context) for cases in (TRAIN, VALIDATION))
    model = fit(learn, held, "default", features.name, epochs=epochs)
    parts = []
    for case in (c for c in TEST if c.preset == "ross_sea_november"):
        truth = open_truth(folder / case.name / "truth.nc")
        for track in tracks(folder / case.name, "strong"):
            known = truth_for(track, truth)
            values = build(track, features).values
            centre = centres(values, learn.context)
            p = np.full((len(values), 3), np.nan)
            p[centre] = model.probabilities(sequences(values, centre, learn.context))
            true, edge = known["surface_class_truth"].values, known["edge_distance"].values <= 6.0
            parts.append([score_classes(true[w], p[w]) for w in (~edge, edge)])
    interior, boundary = (reduce(add, some) for some in zip(*parts, strict=True))
    return interior, boundary


if __name__ == "__main__":
    main()

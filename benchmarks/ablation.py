"""What each step of the preprocessing and each setting of the network is worth: one table.

    python benchmarks/ablation.py STUDY [--classifiers lstm mlp radiometric] [--sweep mlp lstm] [--json FILE]

STUDY is the folder of `recipes/paper.py --offline`; labels of the images judge, no truth is read. Steps: confidence,
corrections, first-photon bias, mean of the core of the photons, subset of beams. Each is left out or changed alone,
segments are made again from the photons, and the classes are scored against the labels of the same cells. A cell
without class (a gap in its window) counts as wrong, and `known` is the accuracy of the others. The median freeboard of
ice says what a step does to heights. Simulated photons have confidence 0, 1 or 4, so that 4 only is the same as the
usual 3 and more. `--sweep` trains an architecture over dropout, epochs and learning
rate by Hyperband with whole scenes held out (dask-ml); these scenes both choose and score.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import xarray as xr

from is2ice import schema
from is2ice.io.stores import store as stores
from is2ice.science.metrics import Confusion
from is2ice.workflows.options import Options, pin_classifier
from is2ice.workflows.track import derive, load

#: Options of each variant, beside the classifier; the first is the whole chain.
VARIANTS = {
    "as it is": {},
    "confidence 4 only": {"confidence": 4},
    "confidence 1 and more": {"confidence": 1},
    "no ocean tide, equilibrium tide, DAC": {"corrections": ()},
    "no first-photon bias": {"first_photon": None},
    "above the geoid": {"reference": "geoid"},
    "mean of all photons, not of their core": {"core": False},
}
GRID = {"dropout": [0.0, 0.2, 0.4], "learning_rate": [0.0003, 0.001, 0.003, 0.01]}


def granules(study: Path) -> list[Path]:
    found = sorted(study.glob("archive/*/ATL03*.h5"))
    if not found:
        raise SystemExit(
            f"{study}: no archive/*/ATL03*.h5; make it with recipes/paper.py --offline --out {study}"
        )
    return found


def variant_of(path: Path, beam: str, options: dict) -> xr.Dataset:
    """Segments of a track, made as a variant says."""
    segments = load(path, beam, Options(**{k: v for k, v in options.items() if k != "core"}))
    if not options.get("core", True):
        segments["height"] = (segments["height"] + segments["h_mean"] - segments["h_core"]).astype("f4")
    return segments


def scores(study: Path, classifiers: list[str], options: dict, beams: list[str] | None, most: int) -> dict:
    """Scores of a variant by classifier; a track is resampled once for all."""
    held = stores.open_store(study / "labelled.zarr")
    total = {name: Confusion(np.zeros((3, 4), np.int64)) for name in classifiers}
    freeboard: dict[str, list[np.ndarray]] = {name: [] for name in classifiers}
    own = {k: v for k, v in options.items() if k != "core"}
    for path in granules(study)[:most]:
        for beam in held.beams(path.stem):
            if beams and beam not in beams:
                continue
            label = held.open_track(path.stem, [beam], chunks=None)["label"].isel(beam=0)
            segments = variant_of(path, beam, options)
            for name in classifiers:
                model = study / "models" / name
                chosen = pin_classifier(Options(classifier=str(model) if model.is_dir() else name, **own))
                ours = derive(segments.copy(), chosen)
                code = ours["surface_class"].reindex(x_atc=label["x_atc"], fill_value=schema.UNLABELLED)
                total[name] += Confusion.of(label.values, code.values)
                ice = np.isin(ours["surface_class"].values, (0, 1))
                freeboard[name].append(np.asarray(ours["freeboard"].values, float)[ice])
    return {name: summary(total[name], freeboard[name]) for name in classifiers}


def summary(total: Confusion, freeboard: list[np.ndarray]) -> dict:
    values = np.concatenate([*freeboard, np.empty(0)])
    values = values[np.isfinite(values)]
    return {
        "accuracy": total.accuracy,
        "accuracy_labelled": total.accuracy_labelled,
        "unlabelled": total.unlabelled,
        "macro_f1": total.macro_f1,
        "recall": total.recall.tolist(),
        "freeboard_median": float(np.median(values)) if values.size else None,
        "n": total.n,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("study", type=Path)
    parser.add_argument("--classifiers", nargs="+", default=["lstm", "mlp", "radiometric"])
    parser.add_argument("--most", type=int, default=4, help="passes")
    parser.add_argument("--no-ablation", action="store_true", help="sweep only")
    parser.add_argument("--sweep", nargs="+", default=[], help="architectures to sweep: mlp, lstm")
    parser.add_argument("--epochs", type=int, default=9, help="most epochs of a combination in the sweep")
    parser.add_argument("--samples", type=int, default=4000, help="samples of each class in the sweep")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    out: dict = {"ablation": {} if args.no_ablation else ablation(args), "sweep": {}}
    for architecture in args.sweep:
        out["sweep"][architecture] = swept(args, architecture)
    if args.json is not None:
        args.json.write_text(json.dumps(out, indent=1))


def ablation(args: argparse.Namespace) -> dict:
    """Print and return the scores of each variant and classifier."""
    out = {}
    head = ("accuracy", "macro-F1", "thin", "water", "no class", "known", "freeboard")
    print(f"{'variant':40}{'classifier':12}" + "".join(f"{h:>10}" for h in head))
    variants = {**{k: (v, None) for k, v in VARIANTS.items()}, "one beam, gt2r": ({}, ["gt2r"])}
    for variant, (options, beams) in variants.items():
        for classifier, row in scores(args.study, args.classifiers, options, beams, args.most).items():
            out[f"{classifier}: {variant}"] = row
            values = [row["accuracy"], row["macro_f1"], *row["recall"][1:]]
            values += [row["unlabelled"] / max(row["n"], 1), row["accuracy_labelled"]]
            middle = "-" if row["freeboard_median"] is None else f"{row['freeboard_median']:.3f}"
            cells = "".join(f"{100 * v:10.2f}" for v in values)
            print(f"{variant:40}{classifier:12}{cells}{middle:>10}", flush=True)
    return out


def swept(args: argparse.Namespace, architecture: str) -> list[dict]:
    """Print and return the rows of a sweep."""
    from is2ice.classifiers.sklearn_like import sweep
    from is2ice.workflows.train import labelled_samples

    samples = labelled_samples(str(args.study / "labelled.zarr"), "paper", 2).thin(args.samples)
    rows = sweep(samples, GRID, architecture=architecture, epochs=args.epochs)
    print(
        f"sweep of {architecture}, macro-F1 on a quarter of the scenes, held out whole; they also chose what was "
        "trained longer,\nso the best row is too good a judgement of itself:"
    )
    for row in rows:
        values = ", ".join(f"{k} {v:g}" for k, v in sorted(row["params"].items()))
        print(f"  {100 * row['macro_f1']:6.2f}  {row['epochs']:2} epochs  {values}", flush=True)
    return rows


if __name__ == "__main__":
    main()

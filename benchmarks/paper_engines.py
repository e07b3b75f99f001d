"""The published study on several engines: the same bits in every track and model as on one process, and the seconds.

    python benchmarks/paper_engines.py [--engines dask spark] [--pairs 2] [--length-km 20] [--folder DIR]

Simulated pairs of Table I, short; labels, LSTM, MLP, Koo's classifier, classes, sea surface and freeboard. Every
variable of every track is compared, the weights of the models, the numbers of the comparison with NASA's products, and
what failed. Exits with 1 if anything differs.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

from is2ice.classifiers.model_folder import is_model, read_card
from is2ice.io.stores import store as stores
from is2ice.reports import paper_page
from is2ice.twin.server.paper_archive import SimulatedPair, make_pair
from is2ice.workflows import paper
from is2ice.workflows.execution import RunSettings

FIRST = "serial"


def simulate(args: argparse.Namespace, folder: Path) -> list[paper.PassData]:
    made = []
    for p in paper.PAIRS[: args.pairs]:
        pair = SimulatedPair(
            p.granule, p.scene_time, str(folder), args.length_km, args.size_km, ("gt2r",), 2018 + p.number
        )
        paths = make_pair(pair)
        made.append(paper.PassData(paths["granule"], [paths["scene"]], paths["atl07"], paths["atl10"]))
    return made


def contents(study: paper.Study) -> dict[str, str]:
    """Checksum of each variable of each track of the study's stores, with its coordinates, and of each model."""
    found = {}
    for path in (study.labelled, study.tracks("segments"), *map(study.tracks, study.classifiers)):
        for granule, beam in sorted(stores.open_store(path).tracks):
            track = stores.open_track(path, granule, [beam], chunks=None)
            for name in sorted(map(str, track.data_vars)):
                found[f"{path.name} {granule} {beam} {name}"] = stores.checksum(track[[name]])
    for path in sorted((study.folder / "models").iterdir()):
        if is_model(path):
            found[f"model {path.name}"] = read_card(path)["weights"]["sha256"]
    return found


def carry_out(engine: str, passes: list[paper.PassData], args: argparse.Namespace, folder: Path):
    """Carry out the study on an engine; return its contents and the seconds."""
    began = time.perf_counter()
    settings = RunSettings(engine, None if engine == FIRST else args.workers, progress=False)
    study = paper.Study(
        folder / engine,
        passes,
        shift="none",
        epochs=args.epochs,
        koo_epochs=args.epochs,
        settings=settings,
        say=(lambda line: print(f"  {line}", flush=True)) if args.verbose else (lambda line: None),
    )
    study.carry_out()
    measured = paper_page.measure(study, "lstm")
    found = contents(study) | {f"measured {k}": json.dumps(v, sort_keys=True) for k, v in measured.items()}
    found |= {f"failed {k}": why for k, why in study.failed.items()}
    return found, time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--engines", nargs="+", default=["dask", "spark"], help="processes, dask, gateway or spark")
    add("--pairs", type=int, default=2, help="number of pairs")
    add("--length-km", type=float, default=20.0)
    add("--size-km", type=float, default=12.0, help="side of the images, km")
    add("--epochs", type=int, default=2)
    add("--workers", type=int, default=2)
    add("--folder", type=Path, help="folder to work in, kept; else a temporary one")
    add("--verbose", action="store_true", help="print the steps")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="is2ice-paper-") as temporary:
        folder = args.folder or Path(temporary)
        passes = simulate(args, folder / "archive")
        print(f"{args.pairs} simulated pairs of {args.length_km:g} km, {args.workers} workers")
        first, seconds = carry_out(FIRST, passes, args, folder)
        print(f"{FIRST}: {len(first)} variables, models and comparisons, {seconds:.0f} s", flush=True)
        print("".join(f"  {k}: {v}\n" for k, v in first.items() if k.startswith("failed")), end="")
        differ = False
        for engine in args.engines:
            found, seconds = carry_out(engine, passes, args, folder)
            other = sorted(k for k in first.keys() | found.keys() if first.get(k) != found.get(k))
            differ |= bool(other)
            told = f"{len(other)} differ: {other[:5]}" if other else "the same bits"
            print(
                f"{engine}: {len(found)} variables, models and comparisons, {told}, {seconds:.0f} s",
                flush=True,
            )
    sys.exit(differ)


if __name__ == "__main__":
    main()

"""Reproduce Iqrah et al. (2025), arXiv:2502.02700: labels, classifiers, sea surface, freeboard, every table and figure.

    python recipes/paper.py --offline --out paper                 # simulated pairs, no login, no network
    python recipes/paper.py --granules 'ATL03_*.h5' --scenes items/*.json --products 'ATL[01]*.h5' --out paper
    python recipes/paper.py --out paper                           # from the archives; needs an Earthdata login
    python recipes/paper.py --out paper --pairs 2 8 --shift table --engine processes --workers 2
    python recipes/paper.py --granules ... --scenes ... --classifier radiometric --no-train     # minutes, no training

The page is OUT/index.html. The same command resumes an interrupted study: what is there and up to date is kept. A pair
that fails is named on the page and stops no other. `--offline` simulates the eight pairs of Table I under their names
(60 km, two strong beams, images of 20 km); all that follows from them says that it is simulated.
"""

import argparse
import resource
import subprocess
import sys
import time
from glob import glob
from pathlib import Path

from is2ice import engines
from is2ice.errors import CatalogError, Is2IceError
from is2ice.io.catalogs.sentinel2 import item_of
from is2ice.reports import paper_page, published_tables
from is2ice.workflows import paper
from is2ice.workflows.execution import RunSettings

#: Commands that measure scaling and training, small enough for a laptop; they write what tables II, IV and V show.
BENCH = (
    "-m",
    "is2ice",
    "bench",
    "scaling",
    "--engine",
    "processes",
    "--granules",
    "6",
    "--length-km",
    "4",
    "--json",
)
TRAINING = (
    str(Path(__file__).parents[1] / "benchmarks" / "training.py"),
    "--windows",
    "20000",
    "--epochs",
    "3",
    "--skip-inference",
)
MEASURE = {"scaling": BENCH, "training": TRAINING}


def simulated(args: argparse.Namespace) -> list[paper.PassData]:
    """Simulate the pairs of Table I."""
    from is2ice.twin.server.paper_archive import SimulatedPair, make_pair

    items = [
        SimulatedPair(
            p.granule,
            p.scene_time,
            str(args.out / "archive"),
            args.length_km,
            args.size_km,
            tuple(args.beams),
            2018 + p.number,
            p.number in args.overcast,
        )
        for p in paper.PAIRS
        if p.number in args.pairs
    ]
    made = []
    for item, paths in engines.map(make_pair, items, "processes", workers=args.workers or 2):
        if isinstance(paths, BaseException):
            args.say(f"  {item}: {paths}")
        else:
            made.append(paper.PassData(paths["granule"], [paths["scene"]], paths["atl07"], paths["atl10"]))
            args.say(f"  {item}: simulated")
    return sorted(made, key=lambda p: p.name)


def given(args: argparse.Namespace) -> list[paper.PassData]:
    """Join the files and items that were named."""
    names = {
        k: [f for pattern in getattr(args, k) for f in (glob(pattern) or [pattern])]
        for k in ("granules", "scenes", "products")
    }
    items = [
        item for s in names["scenes"] for item in (items_in(Path(s), args.say) if Path(s).is_dir() else [s])
    ]
    return paper.from_files(names["granules"], items, names["products"])


def items_in(folder: Path, say) -> list[str]:
    """Find the STAC items below a folder; other documents there are named and left out."""
    found = []
    for path in sorted(folder.rglob("*.json")):
        try:
            item_of(str(path))
        except CatalogError as error:
            if path.name not in ("catalog.json", "collection.json"):
                say(f"left out: {error}")
        else:
            found.append(str(path))
    return found


def measure(folder: Path, say) -> None:
    """Measure what tables II, IV and V show, unless it was measured before on a machine that was not busy."""
    folder.mkdir(parents=True, exist_ok=True)
    have = published_tables.read_measured(folder)
    for name, command in MEASURE.items():
        path = folder / published_tables.FILES[name]
        if have[name] is not None and not have[name].get("busy"):
            continue
        say(f"measuring {name}")
        part = path.with_suffix(".part")
        more = ("--json", str(part)) if name == "training" else ()
        done = subprocess.run([sys.executable, *command, *more], capture_output=True, text=True, check=False)
        if done.returncode:
            why = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
            say(f"  {name}: {why}; the table says 'not measured here'")
            continue
        if name == "scaling":
            part.write_text(done.stdout)
        part.replace(path)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--out", type=Path, default=Path("paper"), help="folder of the study")
    add("--offline", action="store_true", help="simulate the pairs")
    add("--granules", nargs="+", default=[], help="ATL03 granules: paths, patterns or URLs")
    add("--scenes", nargs="+", default=[], help="STAC items: paths, URLs, patterns, or folders of items")
    add("--products", nargs="+", default=[], help="ATL07 and ATL10 of the same passes")
    add("--pairs", type=int, nargs="+", default=[p.number for p in paper.PAIRS], help="rows of Table I")
    add(
        "--shift",
        nargs="+",
        default=["estimate"],
        help="displacement of the ice: estimate, table, none, or DX DY in m",
    )
    add("--convention", choices=("true", "grid"), default="true", help="north of the table's directions")
    add("--endpoint", default="earth_search", help="catalogue of images")
    add("--classifier", default="lstm", help="of figures 6 to 11: lstm, mlp, radiometric or default")
    add("--no-train", action="store_true", help="train nothing; needs --classifier radiometric or default")
    add("--epochs", type=int, default=20)
    add("--koo-epochs", type=int, default=30)
    add("--engine", default="processes", help="serial, processes, dask, gateway or spark")
    add("--workers", type=int)
    add(
        "--measured",
        type=Path,
        help="folder of measured scaling; by default OUT/measured, measured if absent or BUSY",
    )
    add("--no-measure", action="store_true", help="do not measure scaling and training")
    add("--km", type=float, nargs=2, help="part of the tracks shown, km")
    add("--length-km", type=float, default=60.0, help="offline: length of the passes")
    add("--size-km", type=float, default=20.0, help="offline: side of the images")
    add("--beams", nargs="+", default=["gt1r", "gt2r"], help="offline: beams")
    add("--overcast", type=int, nargs="*", default=[], help="offline: rows whose image is cloud only")
    args = parser.parse_args()
    if args.offline and (args.granules or args.scenes):
        parser.error("--offline simulates its own pairs; leave out --granules and --scenes")
    if bool(args.granules) != bool(args.scenes):
        parser.error("--granules and --scenes go together; without both the archives are searched")
    if args.no_train and args.classifier in paper.ARCHITECTURES:
        parser.error(
            f"--classifier {args.classifier} is trained; with --no-train take radiometric or default"
        )
    try:
        args.shift = args.shift[0] if len(args.shift) == 1 else tuple(map(float, args.shift))
    except ValueError:
        parser.error(f"--shift {' '.join(args.shift)}: expected estimate, table, none, or two numbers")
    return args


def main() -> None:
    """Run the recipe."""
    args, began = arguments(), time.perf_counter()
    args.say = lambda line: print(f"{time.perf_counter() - began:6.0f} s  {line}", flush=True)
    args.out.mkdir(parents=True, exist_ok=True)
    if args.offline:
        args.say(f"simulating {len(args.pairs)} pairs")
        passes = simulated(args)
    elif args.granules:
        passes = given(args)
    else:
        import is2ice

        is2ice.login()
        passes = paper.from_archives(args.pairs, args.endpoint, args.say)
    workers = args.workers or (2 if args.engine == "processes" else None)
    trained = () if args.no_train else paper.ARCHITECTURES
    study = paper.Study(
        args.out,
        passes,
        shift=args.shift,
        convention=args.convention,
        classifiers=tuple(dict.fromkeys([*trained, args.classifier])),
        epochs=0 if args.no_train else args.epochs,
        koo_epochs=args.koo_epochs,
        settings=RunSettings(args.engine, workers, progress=False),
        say=args.say,
    )
    measured = args.measured or args.out / "measured"
    if not args.no_measure and args.measured is None:
        measure(measured, args.say)  # first, while nothing else runs
    study.carry_out()
    km = None if args.km is None else (args.km[0], args.km[1])
    paper_page.write_page(study, paper_page.PageOptions(args.classifier, measured, km=km))
    for name, why in study.failed.items():
        args.say(f"failed: {name}: {why}")
    spent = sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    args.say(f"{spent:.0f} processor seconds on this machine")


if __name__ == "__main__":
    try:
        main()
    except (Is2IceError, ValueError) as error:
        sys.exit(f"paper.py: error: {error}")

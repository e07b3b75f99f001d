"""Displacements accepted and refused, of right and of wrong pairs of a pass and an image, by length of track.

    python benchmarks/drift_pairs.py [--set judge] [--folder build/drift_pairs] [--rows FILE]
    python benchmarks/drift_pairs.py --lengths 2 5 --beams 3

Passes of the default physics, of drawn physics and through the second optics, each with an image of its own ice
(``drift_passes.py``). Pieces of one beam (or of all three), 0.5 to 10 km long, and whole passes (three beams, 18 km
each) are laid over their own image and over images of other seeds: other scenes, other days. Printed for each length:
the share accepted of right pairs, the error of those accepted within 100 m of the truth, how many of all accepted are
off by more than three times their stated error and 20 m; and how many of the wrong pairs are accepted. The rule was
chosen on ``--set choose``; ``judge`` has other seeds.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from drift_passes import CHOOSE, JUDGE, Case, prepare

from is2ice.science.labels import drift

#: Length of a piece of one beam, km; 0 for the whole pass.
LENGTHS = (0.5, 1.0, 2.0, 5.0, 10.0, 0.0)
#: Track beside the image at either end of a pass, m.
BESIDE = 2400.0


def pieces(
    segments: xr.Dataset, km: float, beams: int, count: int, rng: np.random.Generator
) -> Iterator[xr.Dataset]:
    """Pieces of one or of all beams at random places, or the whole pass once."""
    if not km:
        yield segments
        return
    size, beside = round(km * 500), round(BESIDE / 2)
    for _ in range(count):
        first = int(rng.integers(beside, segments.sizes["x_atc"] - beside - size))
        one = int(rng.integers(segments.sizes["beam"]))
        yield segments.isel(x_atc=slice(first, first + size), beam=[one] if beams == 1 else slice(None))


def measure(
    cases: tuple[Case, ...], folder: Path, lengths: tuple[float, ...], beams: int, count: int
) -> Iterator[dict[str, Any]]:
    """A row for each pair: length, whether it is right, what was found, and processor seconds."""
    made = {case: prepare(case, folder) for case in cases}
    for km in lengths:
        rng = np.random.default_rng([17, round(10 * km)])
        for case, (segments, _) in made.items():
            others = [c for c in cases if c != case]
            for piece in pieces(segments, km, beams, count, rng):
                wrong = others if not km else [others[int(rng.integers(len(others)))]]
                for over in (case, *wrong):
                    image = made[over][1].drop_vars("surface_class")
                    start = time.process_time()
                    found = drift.estimate(piece, image)
                    spent = time.process_time() - start
                    error = np.array([found.dx, found.dy]) - case.shift
                    yield {
                        "track": f"{beams} x {km:g} km" if km else "3 x 18 km",
                        "pass": case.name,
                        "image": over.name,
                        "right": over is case,
                        "accepted": bool(found.accepted),
                        "chance": found.chance,
                        "rival": found.rival,
                        "agreement": found.agreement,
                        "error": [float(v) for v in error] if over is case else None,
                        "sigma": found.uncertainty,
                        "reason": found.reason,
                        "seconds": spent,
                    }


def show(rows: list[dict[str, Any]]) -> None:
    """Print the table."""
    print(
        f"{'track':>12}{'right':>7}{'accepted':>10}{'rms m':>7}{'rms/stated':>12}{'astray':>8}"
        f"{'wrong':>8}{'accepted':>10}{'s':>7}"
    )
    for name in [*dict.fromkeys(r["track"] for r in rows), "all"]:
        some = [r for r in rows if name in ("all", r["track"])]
        right, wrong = [r for r in some if r["right"]], [r for r in some if not r["right"]]
        held = [r for r in right if r["accepted"]]
        error = np.array([r["error"] for r in held]).reshape(-1, 2)
        sigma = np.array([r["sigma"] for r in held])
        size = np.hypot(*error.T)
        near = size < 100.0
        rms = np.sqrt(np.mean(error[near] ** 2)) if near.any() else np.nan
        pull = np.sqrt(np.mean((error[near] / sigma[near, None]) ** 2)) if near.any() else np.nan
        share = np.mean([r["accepted"] for r in right])
        print(
            f"{name:>12}{len(right):7}{share:10.0%}{rms:7.1f}{pull:12.2f}"
            f"{int((size > np.maximum(3.0 * sigma, 20.0)).sum()):8}{len(wrong):8}"
            f"{sum(r['accepted'] for r in wrong):10}{np.mean([r['seconds'] for r in some]):7.2f}"
        )
    for kind in ("default", "drawn", "rays"):
        some = [r for r in rows if r["pass"].startswith(kind)]
        right, wrong = ([r["accepted"] for r in some if r["right"] == k] for k in (True, False))
        print(f"{kind:>12}: right {np.mean(right):.0%} of {len(right)}, wrong {sum(wrong)} of {len(wrong)}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--set", choices=("choose", "judge"), default="judge")
    parser.add_argument("--folder", type=Path, default=Path("build/drift_pairs"))
    parser.add_argument("--lengths", type=float, nargs="+", default=LENGTHS, help="km; 0: the whole pass")
    parser.add_argument("--beams", type=int, choices=(1, 3), default=1, help="of a piece")
    parser.add_argument("--pieces", type=int, default=4, help="of each pass and length")
    parser.add_argument(
        "--rows", type=Path, help="file for a line of JSON of each pair, written as it is measured"
    )
    args = parser.parse_args()
    cases = CHOOSE if args.set == "choose" else JUDGE
    rows = []
    for row in measure(cases, args.folder, tuple(args.lengths), args.beams, args.pieces):
        rows.append(row)
        if args.rows is not None:
            with args.rows.open("a") as f:
                f.write(json.dumps(row) + "\n")
    show(rows)


if __name__ == "__main__":
    main()

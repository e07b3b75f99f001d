"""Closed loop: simulated passes through the whole chain with its defaults, scored against their truth.

    python benchmarks/closed_loop.py [--presets ...] [--seeds 11 12] [--length-km 100]

One row a preset and origin of the sea surface: bias, RMSE and spread of normalised errors of h_ref and of
freeboard over all strong beams and seeds, and the classes' macro-F1 away from class edges.
"""

from __future__ import annotations

import argparse
import tempfile
from functools import reduce
from operator import add
from pathlib import Path

from is2ice import twin
from is2ice.io.icesat2.atl03 import Granule
from is2ice.workflows.track import one_track

PRESETS = ("ross_sea_november", "marginal_ice_zone", "arctic_winter_night", "cloudy", "no_leads")


def one_pass(preset: str, seed: int, length_km: float, folder: Path):
    """Score of one simulated pass, three strong beams."""
    scene = twin.Scene.preset(preset, seed=seed, length_km=length_km)
    truth = folder / f"{preset}_{seed}_truth.nc"
    granule = twin.make_granule(scene, folder / f"{preset}_{seed}.h5", truth_path=truth)
    parts = []
    with Granule(granule) as opened:
        for beam in opened.resolve_beams("strong"):
            parts.append(twin.score(one_track(opened, beam), truth))
    granule.unlink()
    truth.unlink()
    return parts


def z_rms(errors) -> float:
    """Root mean square of errors over their stated uncertainties: 1 is honest."""
    return (errors.z_square / errors.n_z) ** 0.5 if errors.n_z else float("nan")


def rows(name: str, scores: list) -> None:
    """Print the rows of one preset."""
    total = reduce(add, (s.all for s in scores))
    interior = reduce(add, (s.interior for s in scores))
    f1 = interior.point.macro_f1 if interior.point is not None else float("nan")
    kinds = [("all", total.h_ref, total.freeboard)]
    for flag in total.h_ref_by_flag:
        kinds.append((flag, total.h_ref_by_flag[flag], total.freeboard_by_flag[flag]))
    for flag, sea, freeboard in kinds:
        share = sea.n / max(total.h_ref.possible, 1)
        print(
            f"{name:20} {flag:13} {share:8.2f} {100 * sea.bias:8.2f} {100 * sea.rmse:8.2f} {z_rms(sea):7.2f} "
            f"{100 * freeboard.bias:9.2f} {100 * freeboard.rmse:8.2f} {z_rms(freeboard):7.2f} {f1:9.3f}"
        )
        name, f1 = "", float("nan")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--presets", nargs="+", default=list(PRESETS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[11, 12])
    parser.add_argument("--length-km", type=float, default=100.0)
    args = parser.parse_args()
    print(
        f"{'preset':20} {'sea surface':13} {'share':>8} {'bias cm':>8} {'RMSE cm':>8} {'z rms':>7} "
        f"{'fb bias':>9} {'fb RMSE':>8} {'fb z':>7} {'macro-F1':>9}"
    )
    with tempfile.TemporaryDirectory() as folder:
        for preset in args.presets:
            scores = []
            for seed in args.seeds:
                scores += one_pass(preset, seed, args.length_km, Path(folder))
            rows(preset, scores)


if __name__ == "__main__":
    main()

"""How often a track that has nothing to do with an image is accepted, and how often one that has is.

    python benchmarks/drift_chance.py [--pairs 200] [--length 3.0]

Tracks are pieces of the simulated passes of ``classifiers.py prepare``; images are the brightness of their scenes on
pixels of 10 m. All scenes lie at one place, so that a track fits on the image of any other scene as on that of its own.
An own image counts as right where it is accepted within 15 m of no displacement.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import xarray as xr
from physics_passes import CHOOSE, ROSS, Pass, tracks

from is2ice.science.labels import drift

PIXEL, MARGIN = 10.0, 1200.0


def image_of(case: Pass, near: xr.Dataset) -> xr.Dataset:
    """Brightness of a pass's scene about some segments."""
    x, y = near["x"].values, near["y"].values
    east = np.arange(np.nanmin(x) - MARGIN, np.nanmax(x) + MARGIN, PIXEL) + PIXEL / 2
    north = np.arange(np.nanmax(y) + MARGIN, np.nanmin(y) - MARGIN, -PIXEL) - PIXEL / 2
    scene = case.scene()
    seen = scene.surface(*np.meshgrid(east, north)).albedo_532
    return xr.Dataset(
        {"B04": (("y", "x"), seen.astype("f4"))},
        {"y": north, "x": east},
        {"crs": scene.parameters.crs, "scene": case.name},
    )


def piece_of(case: Pass, folder: Path, length: float, seed: int) -> xr.Dataset:
    """A piece of the strong beam of a pass."""
    track = next(t for t, _ in tracks(case, folder) if int(t.attrs["spot"]) % 2)
    n = round(1000 * length / 2)
    first = int(np.random.default_rng(seed).integers(0, max(1, track.sizes["x_atc"] - n)))
    part = track.isel(x_atc=slice(first, first + n))
    return part.assign_attrs(crs=case.scene().parameters.crs)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=200)
    parser.add_argument("--length", type=float, default=3.0, help="length of the pieces, km")
    parser.add_argument("--folder", type=Path, default=Path("build/classifiers"))
    args = parser.parse_args()
    cases = [c for c in CHOOSE if c.preset == ROSS]
    wrong, right, accepted = 0, 0, 0
    for k in range(args.pairs):
        own, other = cases[k % len(cases)], cases[(k + 1 + k // len(cases)) % len(cases)]
        piece = piece_of(own, args.folder, args.length, k)
        if other != own:
            accepted += drift.estimate(piece, image_of(other, piece)).accepted
            wrong += 1
        if k < 2 * len(cases):
            found = drift.estimate(piece, image_of(own, piece))
            right += found.accepted and found.distance < 15.0
            print(f"{own.name} {k}: {found.distance:.0f} m, {found.reason}", flush=True)
    tried = min(args.pairs, 2 * len(cases))
    print(
        f"{args.length:g} km: {accepted} of {wrong} wrong pairs accepted, {right} of {tried} own images right"
    )


if __name__ == "__main__":
    main()

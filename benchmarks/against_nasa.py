"""Ours and the twin's ATL10, made by separate code from the same photons, against the truth side by side.

    python benchmarks/against_nasa.py [--presets ...] [--seeds 21 22] [--length-km 60] [--json FILE]

For each simulated pass (three strong beams): sea surface and freeboard where both have one, each against the
truth at its own resolution and both against the truth every 2 m; points per km; leads of the truth by width, and
how many of them each sees. NASA's freeboard is constant within a segment, so at 2 m its error holds what it averages.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np

from is2ice import compare, pipeline, products, twin
from is2ice.atl03 import Granule
from is2ice.compare import overlaps
from is2ice.products import SPECULAR

PRESETS = ("ross_sea_november", "marginal_ice_zone", "arctic_winter_night")


def errors(d: np.ndarray) -> tuple[int, float, float]:
    """Number, bias and mean square."""
    d = d[np.isfinite(d)]
    return d.size, float(d.sum()), float((d**2).sum())


def mean_truth(truth, name: str, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Mean of a truth variable between distances."""
    centre = truth["x_atc"].values + 1.0
    total = np.concatenate([[0.0], np.cumsum(truth[name].values.astype(float))])
    a, b = np.searchsorted(centre, low), np.searchsorted(centre, high, side="right")
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(b > a, (total[b] - total[a]) / (b - a), np.nan)


def truth_leads(truth, low: float, high: float) -> np.ndarray:
    """Open water of the truth along the beam: first and last metre of each run, 4 m or longer."""
    x = truth["x_atc"].values
    water = (truth["point_class"].values == 2) & (x >= low) & (x < high)
    edge = np.flatnonzero(np.diff(np.concatenate([[False], water, [False]]).astype(int)))
    runs = np.column_stack([x[edge[::2]], x[edge[1::2] - 1] + 2.0])
    return runs[np.diff(runs, axis=1).ravel() >= 4.0]


def one_beam(track, seven, ten, truth) -> dict:
    """Sums of one beam; of different beams they add up."""
    result = compare.compare(track, seven, ten)
    s, t = result.segments, result.track
    out: dict = {}
    half = s["length"].values / 2
    low, high = s["x_atc"].values - half, s["x_atc"].values + half
    theirs = s["freeboard"].values.astype(float)
    both = np.isfinite(theirs) & np.isfinite(s["ours_freeboard"].values)
    at_segment = mean_truth(truth, "freeboard", low, high)
    out["theirs, own segments"] = errors((theirs - at_segment)[both])
    out["ours averaged to their segments"] = errors((s["ours_freeboard"].values - at_segment)[both])
    # Every 2 m, where the nearest of their segments holds the cell.
    x = t["x_atc"].values + 1.0
    near = np.clip(np.searchsorted(s["x_atc"].values, x), 1, max(s.sizes["segment"] - 1, 1))
    near -= (x - s["x_atc"].values[near - 1]) < (s["x_atc"].values[near] - x)
    held = np.where(np.abs(x - s["x_atc"].values[near]) <= half[near], theirs[near], np.nan)
    ours = t["freeboard"].values.astype(float)
    cell = np.interp(x, truth["x_atc"].values + 1.0, truth["freeboard"].values)
    common = np.isfinite(held) & np.isfinite(ours)
    out["ours, 2 m"] = errors((ours - cell)[common])
    out["theirs, taken every 2 m"] = errors((held - cell)[common])
    every = np.isfinite(ours)
    out["ours, 2 m, everywhere"] = errors((ours - cell)[every])
    level = np.interp(x, truth["x_atc"].values + 1.0, truth["h_ref"].values)
    reference = np.where(np.isfinite(held), s["height"].values[near] - theirs[near], np.nan)
    out["sea surface ours"] = errors((t["h_ref"].values - level)[common])
    out["sea surface theirs"] = errors((reference - level)[common])
    km = float(np.ptp(x)) / 1e3
    out["km"] = km
    out["points"] = [int(every.sum()), int(np.isfinite(theirs).sum())]
    density = result.numbers["density"]
    out["heights"] = [density["ours_heights_per_km"] * km, density["theirs_heights_per_km"] * km]
    out["alone"] = density["theirs_not_overlapping_per_km"] * km
    leads = truth_leads(truth, x[0], x[-1])
    width = np.diff(leads, axis=1).ravel()
    # Theirs at their best: leads of the product, or any specular segment.
    specular = np.isin(s["surface_type"].values, SPECULAR)
    their = np.concatenate([result.leads["theirs"], np.column_stack([low, high])[specular]])
    mine, nasa = (overlaps(leads, v, 0.0) for v in (result.leads["ours"], their))
    typical = np.median(2 * half)
    rows = {"narrower": width < typical, "wider": width >= typical}
    out["leads"] = {
        k: [int(w.sum()), int((mine & w).sum()), int((nasa & w).sum()), int((mine & ~nasa & w).sum())]
        for k, w in rows.items()
    }
    false = [int((~overlaps(v, leads, 11.0)).sum()) for v in (result.leads["ours"], result.leads["theirs"])]
    out["false"] = [*false, len(result.leads["ours"]), len(result.leads["theirs"])]
    return out


def one_pass(preset: str, seed: int, length_km: float, folder: Path) -> list[dict]:
    """One simulated pass, three strong beams."""
    scene = twin.Scene.preset(preset, seed=seed, length_km=length_km)
    truth = folder / "truth.nc"
    granule = twin.make_granule(scene, folder / "ATL03.h5", truth_path=truth)
    seven = twin.make_atl07(granule, folder / "seven.h5")
    ten = twin.make_atl10(seven, folder / "ten.h5")
    found = []
    with Granule(granule) as opened:
        for beam in opened.resolve_beams("strong"):
            track = pipeline.one_track(opened, beam)
            tree = products.open_atl10(ten, beam)
            found.append(one_beam(track, None, tree, twin.open_truth(truth, beam)))
    return found


def add(parts: list) -> object:
    """Sums of equal structures."""
    first = parts[0]
    if isinstance(first, dict):
        return {k: add([p[k] for p in parts]) for k in first}
    if isinstance(first, list | tuple):
        return [add(list(v)) for v in zip(*parts, strict=True)]
    return sum(parts)


def show(name: str, total: dict) -> dict:
    """Print one table, and give its numbers."""
    print(f"\n{name}: {total['km']:.0f} km of beams")
    told: dict = {"km": round(total["km"], 1)}
    print(f"  {'':34}{'points':>9}{'bias cm':>9}{'RMSE cm':>9}")
    for key, value in total.items():
        if not isinstance(value, list) or len(value) != 3:
            continue
        n, s, q = value
        if n:
            told[key] = {"n": n, "bias_cm": round(100 * s / n, 2), "rmse_cm": round(100 * (q / n) ** 0.5, 2)}
            kind = key if key.startswith("sea") else f"freeboard {key}"
            print(f"  {kind:34}{n:>9,}{told[key]['bias_cm']:>9.2f}{told[key]['rmse_cm']:>9.2f}")
        else:
            print(f"  {key:34}{'none':>9}")
    ours, theirs = total["points"]
    told["freeboards_per_km"] = [round(v / total["km"], 1) for v in (ours, theirs)]
    told["ratio"] = round(ours / theirs, 2) if theirs else None
    told["heights_per_km"] = [round(v / total["km"], 1) for v in total["heights"]]
    told["ratio_heights"] = round(total["heights"][0] / total["heights"][1], 2)
    told["ratio_not_overlapping"] = round(total["heights"][0] / total["alone"], 2)
    for what in ("freeboards", "heights"):
        (a, b), ratio = told[f"{what}_per_km"], told["ratio" if what == "freeboards" else "ratio_heights"]
        print(f"  {what} per km: ours {a}, theirs {b}, ratio {ratio}")
    print(f"  our heights to their segments that do not overlap: ratio {told['ratio_not_overlapping']}")
    for k, (n, mine, nasa, only) in total["leads"].items():
        told[f"leads_{k}"] = {"truth": n, "ours": mine, "theirs": nasa, "only_ours": only}
        print(f"  leads {k} than an ATL07 segment: {n} true, ours {mine}, theirs {nasa}, only ours {only}")
    mine, nasa, of_mine, of_nasa = total["false"]
    told["false_leads"] = {"ours": [mine, of_mine], "theirs": [nasa, of_nasa]}
    print(
        f"  leads without water of the truth within 11 m: ours {mine} of {of_mine}, theirs {nasa} of {of_nasa}"
    )
    return told


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--presets", nargs="+", default=list(PRESETS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[21, 22])
    parser.add_argument("--length-km", type=float, default=60.0)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    told = {}
    for preset in args.presets:
        parts = []
        for seed in args.seeds:
            with tempfile.TemporaryDirectory() as folder:
                parts += one_pass(preset, seed, args.length_km, Path(folder))
        told[preset] = show(f"{preset}, seeds {args.seeds}, {args.length_km:g} km", add(parts))
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(told, indent=1))


if __name__ == "__main__":
    main()

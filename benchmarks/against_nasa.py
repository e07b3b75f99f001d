"""Ours and the twin's ATL10, made by separate code from the same photons, against the truth side by side.

    python benchmarks/against_nasa.py [--presets ...] [--seeds 21 22 23 24] [--length-km 60] [--json FILE]
    python benchmarks/against_nasa.py --classifier models/ross            # a trained classifier instead of the default
    python benchmarks/against_nasa.py --keep FOLDER                       # simulated files stay, and are used again
    python benchmarks/against_nasa.py --products ATL10_a.h5 ATL07_b.h5    # how genuine segments lie, beside the twin's

For each simulated pass (three strong beams): sea surface and freeboard where both have one, each against the
truth at its own resolution and both against the truth every 2 m; points per km; leads of the truth by width, and
how many of them each sees. NASA's freeboard is constant within a segment, so at 2 m its error holds what it averages.

Points per km are told three ways, all over the same stretch of track: freeboards that are given (of ours, cells with
photons within reach of a lead; of theirs, segments of sections with a reference surface); heights; and heights against
the product's segments that do not overlap. Under each stands the photon budget that decides it
(`is2ice.reports.point_density`).
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np

from is2ice import twin
from is2ice.io.icesat2 import atl07_atl10
from is2ice.io.icesat2.atl03 import Granule
from is2ice.io.icesat2.atl07_atl10 import SPECULAR
from is2ice.reports import nasa_comparison, point_density
from is2ice.reports.nasa_comparison import overlaps
from is2ice.workflows.options import Options
from is2ice.workflows.track import one_track

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
    result = nasa_comparison.compare(track, seven, ten)
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
    out["sea surface ours, in our leads"] = errors((t["h_ref"].values - level)[t["lead_index"].values >= 0])
    # An offset that water and ice share falls out of freeboard.
    k = np.clip(np.searchsorted(truth["x_atc"].values, x, side="right") - 1, 0, truth.sizes["x_atc"] - 1)
    inner, kind = truth["edge_distance"].values[k] > 12.0, truth["point_class"].values[k]
    rate, off = t["photon_rate"].values, t["height"].values - level - cell
    out["heights ours, ice 12 m from any edge"] = errors(off[inner & (kind == 0)])
    out["heights ours, dark water (rate below 3)"] = errors(off[inner & (kind == 2) & (rate < 3.0)])
    out["heights ours, bright water (rate over 10)"] = errors(off[inner & (kind == 2) & (rate > 10.0)])
    km = float(np.ptp(x)) / 1e3
    out["km"] = km
    told = result.numbers["density"]
    out["points"] = [
        km * told[f"{who}_{what}_per_km"] for what in ("freeboards", "heights") for who in ("ours", "theirs")
    ]
    out["alone"] = told["theirs_not_overlapping_per_km"] * km
    filled = told["ours_heights_per_km"] * km
    out["budget"] = [filled, x.size, filled * (told["photons_per_cell"] or 0.0)]
    out["layouts"] = [[told["theirs"]["median_length"], told["theirs"]["median_spacing"]]]
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
    false = [~overlaps(v, leads, 11.0) for v in (result.leads["ours"], result.leads["theirs"])]
    out["false"] = [*(int(f.sum()) for f in false), len(result.leads["ours"]), len(result.leads["theirs"])]
    none = result.leads["ours"][false[0]]
    out["false_freeboard"] = errors(mean_truth(truth, "freeboard", none[:, 0], none[:, 1]))
    return out


def one_pass(
    preset: str, seed: int, length_km: float, folder: Path, options: Options | None = None
) -> list[dict]:
    """One simulated pass, three strong beams."""
    truth, granule, seven, ten = (folder / f for f in ("truth.nc", "ATL03.h5", "seven.h5", "ten.h5"))
    if not ten.exists():
        folder.mkdir(parents=True, exist_ok=True)
        scene = twin.Scene.preset(preset, seed=seed, length_km=length_km)
        twin.make_granule(scene, granule, truth_path=truth)
        twin.make_atl07(granule, seven)
        twin.make_atl10(seven, ten)
    found = []
    with Granule(granule) as opened:
        for beam in opened.resolve_beams("strong"):
            track = one_track(opened, beam, options)
            tree = atl07_atl10.open_atl10(ten, beam)
            found.append(one_beam(track, None, tree, twin.open_truth(truth, beam)))
    return found


def add(parts: list) -> object:
    """Sums of equal structures; lists under "layouts" are joined."""
    first = parts[0]
    if isinstance(first, dict):
        return {
            k: [v for p in parts for v in p[k]] if k == "layouts" else add([p[k] for p in parts])
            for k in first
        }
    if isinstance(first, list | tuple):
        return [add(list(v)) for v in zip(*parts, strict=True)]
    return sum(parts)


def show(name: str, total: dict) -> dict:
    """Print one table, and give its numbers."""
    km = total["km"]
    print(f"\n{name}: {km:.0f} km of beams")
    told: dict = {"km": round(km, 1)}
    print(f"  {'':46}{'points':>9}{'bias cm':>9}{'RMSE cm':>9}")
    for key, value in total.items():
        if key in ("budget", "false_freeboard") or not isinstance(value, list) or len(value) != 3:
            continue
        n, s, q = value
        kind = key if key.startswith(("sea", "heights")) else f"freeboard {key}"
        if n:
            told[key] = {"n": n, "bias_cm": round(100 * s / n, 2), "rmse_cm": round(100 * (q / n) ** 0.5, 2)}
            print(f"  {kind:46}{n:>9,}{told[key]['bias_cm']:>9.2f}{told[key]['rmse_cm']:>9.2f}")
        else:
            print(f"  {kind:46}{'none':>9}")
    _show_points(total, told)
    _show_leads(total, told)
    return told


def _show_points(total: dict, told: dict) -> None:
    km = total["km"]
    fb, fb_theirs, h, h_theirs = (v / km for v in total["points"])
    filled, cells, photons = total["budget"]
    length, spacing = np.median(np.array(total["layouts"], float), axis=0)
    rows = {
        "freeboards given": (fb, fb_theirs),
        "heights": (h, h_theirs),
        "heights, theirs that do not overlap": (h, total["alone"] / km),
    }
    print("  points per km:" + f"{'ours':>45}{'theirs':>9}{'ratio':>9}")
    for what, (a, b) in rows.items():
        ratio = round(a / b, 2) if b else None
        told[what] = {"ours": round(a, 1), "theirs": round(b, 1), "ratio": ratio}
        print(f"    {what:46}{a:>9.1f}{b:>9.1f}{ratio if ratio is not None else '-':>9}")
    told["budget"] = {
        "cells_filled": round(filled / cells, 4),
        "photons_per_filled_cell": round(photons / filled, 2),
        "their_length_m": round(float(length), 1),
        "their_spacing_m": round(float(spacing), 1),
        "most_ratio_of_heights": round(500.0 / h_theirs, 2),
    }
    print(
        f"    photons: {photons / filled:.1f} in each of our cells, of which {100 * filled / cells:.1f} % hold some; "
        f"theirs {length:.1f} m long, one every {spacing:.1f} m"
    )
    print(f"    were every cell of ours filled, the ratio of heights would be {500.0 / h_theirs:.2f}")
    if h:
        print(
            f"    of our heights {100 * fb / h:.1f} % have a freeboard; the others lie beyond the reach of any lead"
        )


def _show_leads(total: dict, told: dict) -> None:
    for k, (n, mine, nasa, only) in total["leads"].items():
        told[f"leads_{k}"] = {"truth": n, "ours": mine, "theirs": nasa, "only_ours": only}
        print(f"  leads {k} than an ATL07 segment: {n} true, ours {mine}, theirs {nasa}, only ours {only}")
    mine, nasa, of_mine, of_nasa = total["false"]
    told["false_leads"] = {"ours": [mine, of_mine], "theirs": [nasa, of_nasa]}
    n, s, _ = total["false_freeboard"]
    what = f" (of ours, thin ice with a mean freeboard of {100 * s / n:.1f} cm)" if n else ""
    print(
        f"  leads without water of the truth within 11 m: ours {mine} of {of_mine}, theirs {nasa} of {of_nasa}{what}"
    )


def show_products(paths: list[Path]) -> dict:
    """How the segments of genuine granules lie, strong beams."""
    print("genuine segments of strong beams, in unbroken stretches")
    print(
        f"  {'':44}{'photons':>9}{'length':>8}{'every':>8}{'per km':>8}{'apart':>8}{'500 cells':>11}{'apart':>8}"
    )
    print(
        f"  {'granule, beam, segments':44}{'a pulse':>9}{'m':>8}{'m':>8}{'':>8}{'per km':>8}{'ratio':>11}{'ratio':>8}"
    )
    told = {}
    for path in paths:
        read = atl07_atl10.open_atl10 if "ATL10" in path.name else atl07_atl10.open_atl07
        for beam, node in read(path).children.items():
            one = point_density.layout(node["segments"].to_dataset())
            if node.attrs.get("beam_strength") != "strong" or not one["per_km"]:
                continue
            told[f"{path.name} {beam}"] = one
            ratios = 500.0 / one["per_km"], 500.0 / one["independent_per_km"]
            rate = "-" if one["photons_per_pulse"] is None else f"{one['photons_per_pulse']:.2f}"
            name = f"{path.name.removeprefix('processed_')[:30]} {beam} {one['n']:,}"
            print(
                f"  {name:44}{rate:>9}{one['median_length']:>8.1f}{one['median_spacing']:>8.1f}{one['per_km']:>8.1f}"
                f"{one['independent_per_km']:>8.1f}{ratios[0]:>11.2f}{ratios[1]:>8.2f}"
            )
    return told


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--presets", nargs="+", default=list(PRESETS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[21, 22, 23, 24])
    parser.add_argument("--length-km", type=float, default=60.0)
    parser.add_argument(
        "--keep", type=Path, help="keep the simulated files here, and use those that are there"
    )
    parser.add_argument("--classifier", default="radiometric", help="its name, or a trained model")
    parser.add_argument(
        "--products", nargs="+", type=Path, help="genuine granules: only say how their segments lie"
    )
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    told = {"products": show_products(args.products)} if args.products else {}
    options = Options(classifier=args.classifier)
    for preset in () if args.products else args.presets:
        parts = []
        for seed in args.seeds:
            with tempfile.TemporaryDirectory() as passing:
                folder = Path(args.keep or passing) / f"{preset}_{seed}_{args.length_km:g}km"
                parts += one_pass(preset, seed, args.length_km, folder, options)
        title = f"{preset}, seeds {args.seeds}, {args.length_km:g} km, classes {args.classifier}"
        told[preset] = show(title, add(parts))
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(told, indent=1))


if __name__ == "__main__":
    main()

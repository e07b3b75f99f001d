"""Sea surface and freeboard on passes with drawn physics, and what planted errors of the classifier do to them.

    python benchmarks/sea_surface.py [--passes 14] [--length-km 60] [--first 200]

Every pass has ice, leads, light and sea of its own (`sea_surface_passes.py`; nothing was tuned on these seeds); classes
come from the radiometric tree or
from the truth. Printed are, by method and for beams alone or joint: bias, RMSE, coverage and calibration of the sea
surface, the freeboard against the one that true classes give, and how far the mean freeboard of a beam moves when false
leads of 3 to 10 thick-ice cells (water probability 0.75) are planted in it, with all, 4, 2 or none of its true leads.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import xarray as xr
from sea_surface_passes import Case, prepare

from is2ice import schema
from is2ice.science import seasurface
from is2ice.science.leads import consecutive_runs

#: What is compared: name, and a function of segments that gives them a sea surface.
VARIANTS: dict[str, Callable[[xr.Dataset], xr.Dataset]] = {
    "crossfit": lambda ds: seasurface.estimate(ds, "crossfit"),
    "evidence alone": lambda ds: seasurface.estimate(ds, "evidence", beams="alone"),
    "evidence joint": lambda ds: seasurface.estimate(ds, "evidence"),
}
CM = 100.0


def with_classes(cube: xr.Dataset, truth: xr.Dataset, kind: str) -> xr.Dataset:
    """The cube with classes of the tree, of the truth, or with a twentieth of the tree's labels flipped."""
    if kind == "tree":
        return cube
    if kind == "truth":
        code = np.where(np.isfinite(truth["footprint_class"].values), truth["footprint_class"].values, -1)
        code = np.where(cube["surface_class"].values < 0, -1, code).astype("i1")
        chance = (code[..., None] == np.arange(3)) * 0.94 + 0.02
    else:
        rng = np.random.default_rng(5)
        code = cube["surface_class"].values.copy()
        flip = (rng.random(code.shape) < 0.05) & (code >= 0)
        code[flip] = (code[flip] + rng.integers(1, 3, flip.sum())) % 3
        chance = np.where(
            flip[..., None], (code[..., None] == np.arange(3)) * 0.5 + 0.16, cube["class_probability"]
        )
    dims = cube["surface_class"].dims
    return cube.assign(
        surface_class=(dims, code), class_probability=((*dims, "surface"), chance.astype("f4"))
    )


def errors(out: xr.Dataset, truth: xr.Dataset) -> Iterator[dict[str, np.ndarray]]:
    """Errors of each beam, with their stated errors, flags and number of leads."""
    for k in range(out.sizes["beam"]):
        known = np.isfinite(truth["h_ref"].values[k])
        h = out["h_ref"].values[k].astype(float)[known]
        index = out["lead_index"].values[k]
        leads = index.max() + 1
        if "lead_probability" in out:
            leads = len(
                {i for i, p in zip(index, out["lead_probability"].values[k], strict=True) if p >= 0.5}
            )
        yield {
            "e": h - truth["h_ref"].values[k][known],
            "u": out["h_ref_uncertainty"].values[k].astype(float)[known],
            "flag": out["h_ref_flag"].values[k][known],
            "leads": leads,
        }


def summary(name: str, beams: list[dict]) -> str:
    """One row: bias, RMSE, coverage and calibration over all beams."""
    e, u = (np.concatenate([b[key] for b in beams]) for key in ("e", "u"))
    there = np.isfinite(e)
    z = e[there] / u[there]
    mean = np.array([np.nanmean(b["e"]) if np.isfinite(b["e"]).any() else np.nan for b in beams])
    five = np.array([b["leads"] >= 5 for b in beams])
    worst = np.nanmax(np.abs(mean[five]), initial=0.0)
    return (
        f"{name:24} {there.mean():5.2f} {CM * e[there].mean():7.2f} {CM * np.nanmean(mean):7.2f} "
        f"{CM * np.sqrt((e[there] ** 2).mean()):7.2f} {CM * np.median(np.abs(e[there])):7.2f} "
        f"{np.sqrt((z**2).mean()):6.2f} {z.mean():6.2f} {CM * worst:7.2f} {int(np.isfinite(mean).sum()):5d}"
    )


def by_flag(beams: list[dict]) -> list[str]:
    """Rows by the origin of the surface."""
    flag = np.concatenate([b["flag"] for b in beams])
    e, u = (np.concatenate([b[key] for b in beams]) for key in ("e", "u"))
    rows = []
    for value, name in schema.H_REF_FLAGS.items():
        here = (flag == value) & np.isfinite(e)
        if here.any():
            z = e[here] / u[here]
            rows.append(
                f"    {name:20} {here.mean():5.2f} {CM * e[here].mean():7.2f} {'':7} "
                f"{CM * np.sqrt((e[here] ** 2).mean()):7.2f} {CM * np.median(np.abs(e[here])):7.2f} "
                f"{np.sqrt((z**2).mean()):6.2f} {z.mean():6.2f}"
            )
    return rows


# -- planted errors --------------------------------------------------------------------------------------------
def keep_leads(
    cube: xr.Dataset, truth: xr.Dataset, number: int | None, rng: np.random.Generator
) -> xr.Dataset:
    """The cube with so many of each beam's true leads; the rest of its water becomes thick ice."""
    if number is None:
        return cube
    code = cube["surface_class"].values.copy()
    for k in range(code.shape[0]):
        height = cube["height"].values[k]
        first, last = consecutive_runs((code[k] == schema.OPEN_WATER) & np.isfinite(height), min_segments=3)
        real = [
            (i, j)
            for i, j in zip(first, last, strict=True)
            if np.nanmean(truth["footprint_class"].values[k, i : j + 1] == schema.OPEN_WATER) > 0.5
        ]
        chosen = [real[i] for i in rng.permutation(len(real))[:number]]
        water = np.zeros(code.shape[1], bool)
        for i, j in chosen:
            water[i : j + 1] = True
        code[k, (code[k] == schema.OPEN_WATER) & ~water] = schema.THICK_ICE
    return cube.assign(surface_class=(cube["surface_class"].dims, code))


def plant(
    cube: xr.Dataset, truth: xr.Dataset, beam: int, number: int, rng: np.random.Generator
) -> xr.Dataset:
    """The cube with false leads of 3 to 10 thick-ice cells in one beam."""
    code, chance = cube["surface_class"].values.copy(), cube["class_probability"].values.copy()
    real = truth["point_class"].values[beam]
    done = 0
    for _ in range(10_000):
        n = int(rng.integers(3, 11))
        i = int(rng.integers(10, code.shape[1] - 20))
        around = slice(i - 5, i + n + 5)
        thick = (code[beam, around] == schema.THICK_ICE) & (real[around] == schema.THICK_ICE)
        if thick.all() and np.isfinite(cube["height"].values[beam, around]).all():
            code[beam, i : i + n] = schema.OPEN_WATER
            chance[beam, i : i + n] = 0.20, 0.05, 0.75
            done += 1
        if done == number:
            break
    dims = cube["surface_class"].dims
    return cube.assign(surface_class=(dims, code), class_probability=((*dims, "surface"), chance))


def moves(cases: list[tuple[xr.Dataset, xr.Dataset]]) -> None:
    """Print how far planted leads move the mean freeboard of a beam, over the cells that have it before and after."""
    print(
        f"\n{'planted':8} {'true leads':10} {'variant':16} {'beams':>5} {'largest cm':>10} {'rms cm':>7} "
        f"{'> 1 cm':>7} {'surface made of it':>19}"
    )
    for number in (1, 10):
        for left in (None, 4, 2, 0):
            found: dict[str, list[float]] = {name: [] for name in VARIANTS}
            made = dict.fromkeys(VARIANTS, 0)
            total = 0
            for c, (cube, truth) in enumerate(cases):
                rng = np.random.default_rng([c, number, 0 if left is None else left + 1])
                clean = keep_leads(cube, truth, left, rng)
                before = {name: run(clean) for name, run in VARIANTS.items()}
                for beam in range(cube.sizes["beam"]):
                    false = plant(clean, truth, beam, number, rng)
                    total += 1
                    for name, run in VARIANTS.items():
                        a, b = (ds["h_ref"].values[beam].astype(float) for ds in (before[name], run(false)))
                        both = np.isfinite(a) & np.isfinite(b)
                        if both.any():
                            found[name].append(float(np.mean(a[both] - b[both])))
                        made[name] += int(np.isnan(a).all() and np.isfinite(b).any())
            for name, values in found.items():
                v = np.abs(np.array(values or [np.nan]))
                print(
                    f"{number:8d} {'all' if left is None else left:>10} {name:16} {len(values):5d} "
                    f"{CM * v.max():10.2f} {CM * np.sqrt(np.mean(v**2)):7.2f} {(v > 0.01).mean():7.1%} "
                    f"{made[name]:10d} of {total}"
                )


def borrowed(cases: list[tuple[xr.Dataset, xr.Dataset]]) -> None:
    """Print the errors of two beams that have no lead beside one that has, and what no lead in any beam gives."""
    beams, invented, nilas = [], 0, []
    for cube, truth in cases:
        code = cube["surface_class"].values.copy()
        for k in range(code.shape[0]):
            if k != code.shape[0] // 2:
                code[k, code[k] == schema.OPEN_WATER] = schema.THICK_ICE
        dims = cube["surface_class"].dims
        out = VARIANTS["evidence joint"](cube.assign(surface_class=(dims, code)))
        found = list(errors(out, truth))
        beams += [beam for k, beam in enumerate(found) if k != len(found) // 2]
        none = np.where(code == schema.OPEN_WATER, schema.THICK_ICE, code)
        empty = VARIANTS["evidence joint"](cube.assign(surface_class=(dims, none)))
        carried = schema.H_REF_FLAGS[5]
        flags = empty["h_ref_flag"].values
        invented += int((empty["h_ref"].notnull().values & (flags != 5)).sum())
        nilas += [b for b in errors(empty, truth) if np.isfinite(b["e"]).any()]
    print("\nleads in the middle beam alone, errors of the other two:")
    print(summary("evidence joint", beams))
    print("\n".join(by_flag(beams)))
    print(f"no lead in any beam: {invented} cells with a sea surface from leads; {carried}:")
    if nilas:
        print(summary("evidence joint", nilas))


def clean_table(cases: list[tuple[xr.Dataset, xr.Dataset]]) -> None:
    """Print the errors of the sea surface and the freeboard's distance from that of true classes."""
    print(
        f"{'classes, variant':24} {'cover':>5} {'bias':>7} {'beams':>7} {'RMSE':>7} {'|e|':>7} {'z rms':>6} "
        f"{'z mean':>6} {'worst5':>7} {'n':>5}   cm"
    )
    reference: dict[str, list[xr.Dataset]] = {}
    for kind in ("truth", "tree", "flipped"):
        for name, run in VARIANTS.items():
            out = [run(with_classes(cube, truth, kind)) for cube, truth in cases]
            beams = [b for o, (_, truth) in zip(out, cases, strict=True) for b in errors(o, truth)]
            print(summary(f"{kind}, {name}", beams))
            if name != "crossfit" or kind == "tree":
                print("\n".join(by_flag(beams)))
            if kind == "truth":
                reference[name] = out
                continue
            shift = []
            for a, b in zip(reference[name], out, strict=True):
                d = (a["h_ref"] - b["h_ref"]).values
                shift += [float(np.nanmean(row)) for row in d if np.isfinite(row).any()]
            worst = np.abs(shift)
            print(
                f"    mean freeboard against true classes: mean {CM * np.mean(shift):.2f}, rms "
                f"{CM * np.sqrt(np.mean(worst**2)):.2f}, largest {CM * worst.max():.2f} cm, beams within 0.5 cm "
                f"{(worst < 0.005).mean():.0%}"
            )


def z_numbers(z: np.ndarray) -> str:
    """Root mean square, mean and robust spread of normalised errors."""
    z = z[np.isfinite(z)]
    if z.size < 100:
        return f"{'-':>5} {'-':>6} {'-':>5}"
    low, high = np.quantile(z, [0.16, 0.84])
    return f"{np.sqrt((z**2).mean()):5.2f} {z.mean():6.2f} {(high - low) / 2:5.2f}"


def calibration(cases: list[tuple[str, xr.Dataset, xr.Dataset]]) -> None:
    """Print errors over stated errors of heights by surface, sea surface and freeboard, by preset."""
    kinds = {"snow ice": (0,), "ridge": (1,), "thin ice": (2, 3), "bright water": (4,), "dark water": (5,)}
    print(
        "\nerrors over stated errors (rms, mean, robust spread); heights more than 12 m from a change of surface"
    )
    groups: dict[str, dict[str, list[np.ndarray]]] = {}
    for preset, cube, truth in cases:
        out = VARIANTS["evidence joint"](cube)
        rows = groups.setdefault(preset, {})
        h, u = cube["height"].values.astype(float), cube["height_uncertainty"].values.astype(float)
        sea, su = out["h_ref"].values.astype(float), out["h_ref_uncertainty"].values.astype(float)
        real = truth["footprint_height"].values.astype(float)
        for k in range(h.shape[0]):
            inside = alike(truth["point_kind"].values[k], 6)
            z = (h[k] - real[k] - truth["h_ref"].values[k]) / u[k]
            for name, codes in kinds.items():
                rows.setdefault(name, []).append(z[inside & np.isin(truth["point_kind"].values[k], codes)])
            rows.setdefault("sea surface", []).append((sea[k] - truth["h_ref"].values[k]) / su[k])
            both = np.hypot(u[k], su[k])
            rows.setdefault("freeboard", []).append(((h[k] - sea[k] - real[k]) / both)[inside])
    names = [*kinds, "sea surface", "freeboard"]
    print(f"{'':34}" + "".join(f"{name:^21}" for name in names))
    for preset, rows in groups.items():
        print(f"{preset:34}" + "  ".join(f"{z_numbers(np.concatenate(rows[name])):19}" for name in names))


def alike(kind: np.ndarray, reach: int) -> np.ndarray:
    """Cells whose neighbours, as far as so many cells, are all of one kind."""
    change = np.concatenate([[0], np.cumsum(np.diff(kind) != 0)])
    k = np.arange(kind.size)
    return np.asarray(change[np.minimum(k + reach, k.size - 1)] == change[np.maximum(k - reach, 0)])


def reliability(cases: list[tuple[xr.Dataset, xr.Dataset]]) -> None:
    """Print how often runs that the tree calls water are sea, by probability: over half of their cells stand as low."""
    prior, after, sea = [], [], []
    for cube, truth in cases:
        for k, one in enumerate(seasurface.surfaces(cube)):
            low = (truth["footprint_class"].values[k] == schema.OPEN_WATER) | (
                truth["footprint_height"].values[k] < seasurface.nilas.ERROR
            )
            for i, j in zip(one.leads["first"].values, one.leads["last"].values, strict=True):
                sea.append(low[i : j + 1].mean() > 0.5)
            prior.append(one.leads["prior"].values)
            after.append(one.leads["probability"].values)
    are = np.array(sea)
    print("\nshare of leads that are sea, by probability (number)")
    for name, value in (
        ("by their own evidence", np.concatenate(prior)),
        ("with the others", np.concatenate(after)),
    ):
        row = []
        for low, high in pairwise((0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.01)):
            m = (value >= low) & (value < high)
            row.append(
                f"{low:.1f}-{min(high, 1):.1f}: {are[m].mean() if m.any() else np.nan:.2f} ({m.sum()})"
            )
        print(f"{name:22} " + "  ".join(row))


def leads_table(cases: list[tuple[xr.Dataset, xr.Dataset]]) -> None:
    """Print errors of single leads in use, by light and width, before and after what the footprint model takes out."""
    names = {"n": 6, "raw": 7, "taken": 6, "may add": 8, "error": 7, "weighed": 8, "z rms": 6, "z mean": 7}
    print(f"\n{'leads in use, cm':24}" + " ".join(f"{name:>{w}}" for name, w in names.items()))
    for kind in ("truth", "tree"):
        parts = []
        for cube, truth in cases:
            found = seasurface.surfaces(with_classes(cube, truth, kind))
            x = cube["x_atc"].values + 1.0
            for k, one in enumerate(found):
                t, real = one.leads, truth["h_ref"].values[k]
                good = np.isfinite(real)
                error = t["height"].values - np.interp(t["x"].values, x[good], real[good])
                columns = (t[n].values for n in ("length", "brightness", "sigma", "offset", "beside"))
                parts.append(np.stack([error, *columns])[:, t["used"].values])
        error, length, light, sigma, offset, beside = np.concatenate(parts, axis=1)
        z = error / np.hypot(sigma, 0.008)
        weight = np.hypot(sigma, 0.008) ** -2.0
        for name, here in (("dark", light < 1.0), ("bright", light >= 1.0)):
            for low, high in pairwise((0.0, 8.0, 12.0, 18.0, 26.0, 40.0, 80.0, np.inf)):
                m = here & (length >= low) & (length < high)
                if m.sum() < 5:
                    continue
                values = (error + offset, offset, beside, error)
                text = " ".join(
                    f"{CM * v[m].mean():{w}.2f}" for v, w in zip(values, (7, 6, 8, 7), strict=True)
                )
                print(
                    f"{kind:5} {name:6} {low:4g} to {high:3g} m {m.sum():6d} {text} "
                    f"{CM * np.average(error[m], weights=weight[m]):8.2f} {np.sqrt((z[m] ** 2).mean()):6.2f} "
                    f"{z[m].mean():7.2f}"
                )


def speed() -> None:
    """Print the time of three joint beams of 300 km with a lead about every 2 km."""
    rng = np.random.default_rng(0)
    ds = schema.mock_segments(150_000, stages=("classified",), beam="gt1r")
    cubes = []
    for beam in ("gt1r", "gt2r", "gt3r"):
        one = schema.mock_segments(150_000, stages=("classified",), beam=beam)
        for at in rng.integers(0, 149_900, 150):
            cells = slice(at, at + int(rng.integers(3, 60)))
            one["surface_class"][..., cells] = schema.OPEN_WATER
            one["height"][..., cells] = 0.1
        cubes.append(one)
    cube = xr.concat(cubes, "beam")
    seasurface.estimate(ds)
    start = time.process_time()
    seasurface.estimate(cube)
    print(f"\nthree joint beams of 300 km: {time.process_time() - start:.2f} s of one core")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--passes", type=int, default=14)
    parser.add_argument("--first", type=int, default=200, help="seed of the first pass")
    parser.add_argument("--length-km", type=float, default=60.0)
    parser.add_argument("--folder", type=Path, default=Path("build/sea_surface"))
    parser.add_argument("--planted", type=int, default=6, help="passes in which false leads are planted")
    parser.add_argument(
        "--presets", nargs="*", default=[], help="presets as they stand whose calibration is printed, too"
    )
    parts = ("clean", "leads", "borrowed", "planted", "calibration", "speed")
    parser.add_argument("--skip", nargs="*", choices=parts, default=[])
    args = parser.parse_args()
    warnings.filterwarnings("ignore", "Mean of empty slice")
    made = [Case(args.first + k, args.length_km) for k in range(args.passes)]
    cases = [prepare(case, args.folder) for case in made]
    if "clean" not in args.skip:
        clean_table(cases)
    if "leads" not in args.skip:
        leads_table(cases)
        reliability(cases)
    if "borrowed" not in args.skip:
        borrowed(cases)
    if "planted" not in args.skip:
        moves(cases[: args.planted])
    if "calibration" not in args.skip:
        named = [(case.kind, *both) for case, both in zip(made, cases, strict=True)]
        for preset in args.presets:
            for k in range(2):
                named.append((preset, *prepare(Case(args.first + k, args.length_km, preset), args.folder)))
        calibration(named)
    if "speed" not in args.skip:
        speed()


if __name__ == "__main__":
    main()

"""What NASA's products say of themselves, computed again: ``is2ice products FILE``.

ATL10: heights of leads from their segments, reference surfaces from their leads, freeboards from both.
ATL07: histograms against photon counts, and the surface types against our thresholds.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
import xarray as xr
from numpy.typing import NDArray
from rich.console import Console

from is2ice import schema
from is2ice.classifiers.radiometric import classes_of_rates
from is2ice.cli.console import json_text
from is2ice.errors import GranuleError
from is2ice.io.icesat2.atl07_atl10 import match_leads, open_atl07, open_atl10, require, require_tables
from is2ice.science.leads import find_leads

from . import point_density

__all__ = ["agreement", "app", "check_atl07", "check_atl10"]

F8 = NDArray[np.float64]

#: Length of a section, and how far the product interpolates: ``maxgaptime`` of 30 s at 7.1 km/s, m.
SECTION, MAX_GAP = 10_000.0, 213_000.0
#: Single-precision heights agree to this, m.
SAME = 1e-4


def check_atl10(tree: xr.DataTree) -> dict[str, Any]:
    """Leads, reference surfaces and freeboards of an ATL10 granule from what the file holds.

    Parameters
    ----------
    tree : xarray.DataTree
        Of :func:`is2ice.io.icesat2.atl07_atl10.open_atl10`, all beams or one.

    Returns
    -------
    dict
        Per beam: ``layout`` (:func:`is2ice.reports.point_density.layout`), ``leads`` (n, with_segments,
        largest difference of
        height and sigma, m), ``sections`` (one
        entry each: x_atc, h_ref, flag, leads, ours, difference, why), ``freeboard`` (n, compared, largest
        difference). JSON can hold it; what cannot be computed is None.

    Notes
    -----
    Sections of one granule lie on one grid of 10 km. Where the file holds their centres it follows from
    them, else from where ``refsurf_ndx`` of the segments changes.
    """
    beams = {"": tree} if "segments" in tree.children else dict(tree.children)
    return {str(node.attrs.get("beam", name)): _check_beam(node) for name, node in beams.items()}


def _check_beam(node: xr.DataTree) -> dict[str, Any]:
    require_tables(node, ("x_atc", "height", "freeboard"))
    segments, leads, sections = (node[k].to_dataset() for k in ("segments", "leads", "sections"))
    out: dict[str, Any] = {
        "strength": node.attrs.get("beam_strength"),
        "layout": point_density.layout(segments),
    }
    out["leads"] = _check_leads(node)
    edges = _edges(segments, sections)
    number = np.floor((leads["x_atc"].values - edges) / SECTION)
    mine = np.floor((sections["x_atc"].values - edges) / SECTION)
    raw = {k: _weighted(leads.isel(lead=np.flatnonzero(number == k))) for k in np.unique(number)}
    centre = edges + SECTION * (mine + 0.5)
    out["sections"] = [_section(sections, i, int(mine[i]), raw, leads, centre) for i in range(mine.size)]
    at = np.floor((segments["x_atc"].values - edges) / SECTION)
    if "refsurf_ndx" in segments and at.size:  # exact at the borders, once it is known which section is which
        ndx = segments["refsurf_ndx"].values.astype(float)
        numbered = np.isfinite(ndx)
        if numbered.any():
            at = np.where(numbered, ndx + np.median((at - ndx)[numbered]), at)
    out["freeboard"] = _check_freeboard(segments, sections, at, mine)
    return out


def _check_leads(node: xr.DataTree) -> dict[str, Any]:
    segments, leads = node["segments"].to_dataset(), node["leads"].to_dataset()
    row = match_leads(node)
    height, sigma = [], []
    for k in np.flatnonzero(row >= 0):
        part = segments.isel(segment=slice(row[k], row[k] + int(leads["ssh_n"][k])))
        lead = find_leads(
            part["x_atc"].values, part["height"].values, part["height_uncertainty"].values,
            np.ones(part.sizes["segment"]), method="nasa", min_sigma=1e-6,
        )  # fmt: skip
        height.append(abs(float(lead["height"][0]) - float(leads["height"][k])))
        sigma.append(abs(float(lead["sigma"][0]) - float(leads["height_uncertainty"][k])))
    return {
        "n": int(row.size),
        "with_segments": int((row >= 0).sum()),
        "height_difference_max": max(height, default=None),
        "sigma_difference_max": max(sigma, default=None),
    }


def _edges(segments: xr.Dataset, sections: xr.Dataset) -> float:
    """Where the sections begin, modulo their length."""
    x = sections["x_atc"].values
    centres = x.size > 1 and np.allclose((np.diff(x) / SECTION) % 1.0, 0.0, atol=1e-4)
    if centres:
        return float(x[0] - SECTION / 2)
    at = segments["x_atc"].values
    if "refsurf_ndx" in segments and at.size:
        change = np.flatnonzero(np.diff(segments["refsurf_ndx"].values) > 0)
        if change.size:
            first = at[change[0]]
            # A border lies between the two segments that it parts; the closest pair tells it best.
            low = ((at[change] - first) % SECTION + SECTION / 2) % SECTION - SECTION / 2
            high = low + (at[change + 1] - at[change])
            return float(first + 0.5 * (low.max() + high.min()))
        return float(at.min())
    return float(x.min() - SECTION / 2) if x.size else 0.0


def _weighted(leads: xr.Dataset) -> tuple[float, float, int]:
    """Inverse-variance mean of leads, its standard error, and how many they are."""
    weight = leads["height_uncertainty"].values.astype(float) ** -2.0
    height = leads["height"].values.astype(float)
    return float((weight * height).sum() / weight.sum()), float(weight.sum() ** -0.5), int(height.size)


def _section(
    sections: xr.Dataset, i: int, k: int, raw: dict[Any, tuple[float, float, int]], leads: xr.Dataset, centre: F8
) -> dict[str, Any]:  # fmt: skip
    value, flag = float(sections["h_ref"][i]), int(np.nan_to_num(sections["h_ref_flag"].values[i], nan=-1))
    ours, why = None, ""
    here = raw.get(k)
    if flag == 0 and here is not None:
        ours, why = here[0], "inverse-variance mean of its leads"
        around = [raw.get(j) for j in (k - 1, k, k + 1)]
        if abs(ours - value) > SAME and all(a is not None for a in around):
            smoothed = float(np.mean([a[0] for a in around if a is not None]))
            if abs(smoothed - value) < abs(ours - value):
                ours, why = smoothed, "mean of three neighbouring sections (refsurf_3pt_smoother)"
        if abs(ours - value) > SAME:
            why += "; differs: a neighbour that the product refused, or leads cut off at the file's end"
    elif flag == 0:
        why = "from leads by its flag, but the file holds none of them"
    elif flag in (1, 2, 3):
        ours, why = _filled(sections, centre, i, flag)
    else:
        why = _absence(float(sections["x_atc"][i]), here, leads)
    return {
        "x_atc": float(sections["x_atc"][i]),
        "h_ref": None if np.isnan(value) else value,
        "flag": flag,
        "leads": 0 if here is None else here[2],
        "ours": ours,
        "difference": None if ours is None or np.isnan(value) else ours - value,
        "why": why,
    }


def _filled(sections: xr.Dataset, x: F8, i: int, flag: int) -> tuple[float | None, str]:
    """What the product fills an empty section with, from its neighbours that have leads."""
    h = sections["h_ref"].values.astype(float)
    own = np.flatnonzero(sections["h_ref_flag"].values == 0)
    before, after = own[own < i], own[own > i]
    if flag == 3:
        near = [j for j in (*before[-1:], *after[:1]) if abs(j - i) == 1]
        return (float(h[near[0]]) if near else None), "end point: as the adjacent section"
    if not (before.size and after.size):
        return None, "interpolated from sections that the file does not hold"
    pair = [before[-1], after[0]]
    return float(np.interp(x[i], x[pair], h[pair])), "interpolated between the sections beside it"


def _absence(x: float, here: tuple[float, float, int] | None, leads: xr.Dataset) -> str:
    """Why the product gives no reference in a section."""
    if here is not None:
        return f"none: the mean of its {here[2]} leads, {here[0]:.2f} m, was refused (bounds +-0.5 m, or filters)"
    at = leads["x_atc"].values
    before, after = at[at < x], at[at > x]
    if not (before.size and after.size):
        near = min(np.abs(at - x), default=None)
        told = (
            "the beam has none"
            if near is None
            else f"none on one side, {near / 1e3:.0f} km to the nearest on the other"
        )
        return f"none: no lead in it, {told}: nothing to interpolate between"
    gap = after.min() - before.max()
    far = "more than" if gap > MAX_GAP else "within"
    return (
        f"none: no lead in it, the nearest {(x - before.max()) / 1e3:.0f} km before and "
        f"{(after.min() - x) / 1e3:.0f} km after: {far} the {MAX_GAP / 1e3:.0f} km (30 s) of interpolation"
    )


def _check_freeboard(segments: xr.Dataset, sections: xr.Dataset, at: F8, mine: F8) -> dict[str, Any]:
    n = segments.sizes.get("segment", 0)
    value = segments["freeboard"].values.astype(float) if "freeboard" in segments else np.full(n, np.nan)
    reference = dict(zip(mine.tolist(), sections["h_ref"].values.astype(float).tolist(), strict=True))
    ours = segments["height"].values - np.array([reference.get(k, np.nan) for k in at.tolist()], float)
    both = np.isfinite(value) & np.isfinite(ours)
    return {
        "n": int(np.isfinite(value).sum()),
        "of_segments": n,
        "compared": int(both.sum()),
        "difference_max": float(np.abs(value - ours)[both].max()) if both.any() else None,
        "without_reference": int((~np.isfinite(ours)).sum()),
    }


def check_atl07(tree: xr.DataTree) -> dict[str, Any]:
    """Histograms against counts, and types against our thresholds, of an ATL07 granule.

    Parameters
    ----------
    tree : xarray.DataTree
        Of :func:`is2ice.io.icesat2.atl07_atl10.open_atl07`, all beams.

    Returns
    -------
    dict
        Per beam: ``segments``, ``layout`` (:func:`is2ice.reports.point_density.layout`),
        ``histogram_is_gathered`` (segments
        whose histogram sums to n_photons_actual),
        ``trimmed_is_used`` (whose bins between the trim heights sum to n_photons_used), ``types`` (class by our
        thresholds for each type of the product: counts).
    """
    return {str(name): _check_segments(node) for name, node in tree.children.items()}


def _check_segments(node: xr.DataTree) -> dict[str, Any]:
    ds = node["segments"].to_dataset()
    n = ds.sizes.get("segment", 0)
    out: dict[str, Any] = {
        "strength": node.attrs.get("beam_strength"),
        "segments": n,
        "layout": point_density.layout(ds),
    }
    if not n:
        return out
    require(ds, "surface_type", "photon_rate", "w_gaussian")
    if "hist_photon_heights" in ds:
        counts = np.nan_to_num(ds["hist_photon_heights"].values.astype(float))
        out["histogram_is_gathered"] = int((counts.sum(1) == ds["n_photons_actual"].values).sum())
        out["histogram_difference_max"] = int(np.abs(counts.sum(1) - ds["n_photons_actual"].values).max())
        used = ds["n_photons_used"].values.astype(float)
        out["used_not_more_than_gathered"] = int((~(used > ds["n_photons_actual"].values)).sum())
    spot = int(node.attrs.get("spot", 1))
    ours = classes_of_rates(ds["photon_rate"].values, ds["w_gaussian"].values, spot)
    table: dict[str, dict[str, int]] = {}
    for kind in np.unique(ds["surface_type"].values):
        count = Counter(ours[ds["surface_type"].values == kind].tolist())
        names = [*enumerate(schema.CLASSES), (schema.UNLABELLED, "unlabelled")]
        table[f"{int(kind)} {TYPES[int(kind)]}"] = {name: count.get(code, 0) for code, name in names}
    out["types"] = table
    return out


TYPES = {
    0: "cloud", 1: "ice", 2: "specular low, background tested", 3: "specular low",
    4: "specular high, background tested", 5: "specular high", 6: "dark smooth, background tested", 7: "dark smooth",
    8: "dark rough, background tested", 9: "dark rough",
}  # fmt: skip

#: How often our thresholds and the product's types agree that a segment is ice, or that it is none: by type, the
#: classes of ours that agree. Clouds, and what ours leave unlabelled, count nowhere; thin ice is dark and smooth, so
#: either answer agrees with a dark type.
AGREES = {1: ("thick_ice", "thin_ice"), **dict.fromkeys((2, 3, 4, 5), ("open_water",)),
          **dict.fromkeys((6, 7, 8, 9), ("open_water", "thin_ice"))}  # fmt: skip


def agreement(told: dict[str, Any]) -> dict[str, dict[str, int]]:
    """Segments labelled and agreeing by kind of type, over all beams of a result of :func:`check_atl07`."""
    out: dict[str, dict[str, int]] = {}
    for one in told.values():
        for kind, row in one.get("types", {}).items():
            code = int(kind.split()[0])
            if code not in AGREES:
                continue
            group = "ice" if code == 1 else "specular" if code < 6 else "dark"
            count = out.setdefault(group, {"segments": 0, "labelled": 0, "agree": 0})
            count["segments"] += sum(row.values())
            count["labelled"] += sum(v for k, v in row.items() if k != "unlabelled")
            count["agree"] += sum(row[k] for k in AGREES[code])
    return out


# -- command line -------------------------------------------------------------------------------------
app = typer.Typer(add_completion=False)
out = Console(soft_wrap=True, highlight=False, markup=False)


@app.command(epilog="Example: is2ice products ATL10-02_20191104195311_05940501_006_01.h5")
def check(
    path: Annotated[Path, typer.Argument(help="An ATL07 or ATL10 granule.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compute again what an ATL07 or ATL10 granule says of itself, and print the agreement."""
    try:
        ten, told = True, check_atl10(open_atl10(path))
    except GranuleError as error:
        if "another product" not in str(error):
            raise
        ten, told = False, check_atl07(_atl07(path))
    if as_json:
        document: dict[str, Any] = {
            "granule": path.name,
            "product": "ATL10" if ten else "ATL07",
            "beams": told,
        }
        document |= {"not_computed_again": _left_out(told)} if ten else {"agreement": agreement(told)}
        print(json_text(document))  # noqa: T201
        return
    for line in lines_atl10(told) if ten else lines_atl07(told):
        out.print(line)


def _atl07(path: Path) -> xr.DataTree:
    """ATL07, of what is not ATL10."""
    try:
        return open_atl07(path)
    except GranuleError as error:
        found = re.search(r"found the groups (.*?)\. Is this another product", str(error))
        if found is None:
            raise
        raise GranuleError(
            f"{path}: expected ATL07 (gtx/sea_ice_segments) or ATL10 (gtx/freeboard_segment), found the groups "
            f"{found[1]}. Is this another product, such as ATL03?"
        ) from error


def _left_out(told: dict[str, Any]) -> list[str]:
    """What of an ATL10 granule cannot be computed again at all, and why."""
    leads = [one["leads"] for one in told.values()]
    sections = [s for one in told.values() for s in one["sections"]]
    freeboards = [one["freeboard"] for one in told.values()]
    n, given = sum(k["n"] for k in leads), [s for s in sections if s["h_ref"] is not None]
    out = []
    if not any(k["with_segments"] for k in leads):
        out.append(
            f"heights of leads ({f'the segments of all {n} lie outside the file' if n else 'it has none'})"
        )
    if not any(s["difference"] is not None for s in given):
        why = f"the leads of all {len(given)} lie outside the file" if given else "no section has one"
        out.append(f"references of its {len(sections)} sections ({why})")
    if not any(k["compared"] for k in freeboards):
        some = any(k["n"] for k in freeboards)
        out.append(
            f"freeboards ({'their references lie outside the file' if some else 'no segment has one'})"
        )
    return out


def _warned(told: dict[str, Any]) -> list[str]:
    """The line that stands first where a file allows too little to be computed again."""
    left = _left_out(told)
    if not left:
        return []
    outside = sum(one["leads"]["n"] - one["leads"]["with_segments"] for one in told.values())
    subset = "this file is a subset of its granule: " if outside else ""
    nothing = "nothing can be verified of it; " if len(left) == 3 else ""
    return [f"{subset}{nothing}not computed again: {'; '.join(left)}"]


def _m(value: float | None, digits: int = 4) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _lie(layout: dict[str, Any]) -> list[str]:
    """How segments lie, in words."""
    if not layout["per_km"]:
        return []
    rate = (
        "" if layout["photons_per_pulse"] is None else f", {layout['photons_per_pulse']:.2f} photons a pulse"
    )
    return [
        f"  segments {layout['median_length']:.1f} m long, one every {layout['median_spacing']:.1f} m: "
        f"{layout['per_km']:.0f} per km of unbroken track, {layout['independent_per_km']:.0f} that do not overlap{rate}"
    ]


def lines_atl10(told: dict[str, Any]) -> list[str]:
    """The result of :func:`check_atl10` as text."""
    lines = _warned(told)
    for beam, one in told.items():
        leads, fb = one["leads"], one["freeboard"]
        held = f"{leads['with_segments']} of {leads['n']} leads have their segments in the file"
        same = f", heights agree to {leads['height_difference_max']:.1e} m" if leads["with_segments"] else ""
        lines += [f"{beam} ({one['strength']}): {held}{same}", *_lie(one["layout"])]
        for s in one["sections"]:
            lines.append(
                f"  section at {s['x_atc'] / 1e3:.1f} km: h_ref {_m(s['h_ref'])} m, flag {s['flag']}, {s['leads']} "
                f"leads; ours {_m(s['ours'])}, difference {_m(s['difference'], 6)} m: {s['why']}"
            )
        lines.append(
            f"  freeboard: {fb['n']} of {fb['of_segments']} segments have one, {fb['compared']} computed again"
            + (f", to {fb['difference_max']:.1e} m" if fb["compared"] else "")
            + (
                f"; {fb['without_reference']} lie where there is no reference"
                if fb["without_reference"]
                else ""
            )
        )
    return [*lines, *_in_all(told)]


def _in_all(told: dict[str, Any]) -> list[str]:
    """Sections of all beams by what became of them."""
    every = [s for one in told.values() for s in one["sections"]]
    made = [abs(s["difference"]) for s in every if s["difference"] is not None]
    same = sum(d <= SAME for d in made)
    absent = [s for s in every if s["h_ref"] is None]
    lines = [
        f"in all: {len(every)} sections; {len(made)} references computed again, {same} of them to {SAME:g} m"
        + (f" (largest difference {max(made):.1e} m)" if made else "")
        + f"; {len(absent)} have none"
    ]
    for why, n in Counter(re.sub(r"-?\d+(\.\d+)? (km|m)\b", "...", s["why"]) for s in absent).most_common():
        lines.append(f"  {n}: {why}")
    return lines


def lines_atl07(told: dict[str, Any]) -> list[str]:
    """The result of :func:`check_atl07` as text."""
    lines = []
    for beam, one in told.items():
        lines += [f"{beam} ({one['strength']}): {one['segments']} segments", *_lie(one["layout"])]
        if "histogram_is_gathered" in one:
            lines.append(
                f"  histogram sums to the photons gathered in {one['histogram_is_gathered']} of {one['segments']} "
                f"(largest difference {one['histogram_difference_max']})"
            )
        for kind, row in one.get("types", {}).items():
            lines.append(
                f"  type {kind}: " + ", ".join(f"{name.replace('_', ' ')} {k}" for name, k in row.items())
            )
    lines.append("agreement of our thresholds (rate and width alone) with the product's types, all beams:")
    for group, k in agreement(told).items():
        share = f", {100 * k['agree'] / k['labelled']:.1f} %" if k["labelled"] else ""
        dim = k["segments"] - k["labelled"]
        lines.append(
            f"  {group}: {k['agree']} of {k['labelled']} labelled segments agree{share}; {dim} too dim for us to label"
        )
    return lines

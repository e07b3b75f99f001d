"""Values of NASA's products, computed again from the products: ``is2ice products FILE``.

ATL10: heights of leads from their segments, reference surfaces from their leads, freeboards from both.
ATL07: histograms against photon counts, and the surface types against our thresholds.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from is2ice import schema
from is2ice.classifiers.radiometric import classes_of_rates
from is2ice.io.icesat2.atl07_atl10 import match_leads, named_variables
from is2ice.science.leads import find_leads

from . import point_density

__all__ = ["agreement", "check_atl07", "check_atl10"]

F8 = NDArray[np.float64]

#: Length of a section, and how far the product interpolates: ``maxgaptime`` of 30 s at 7.1 km/s, m.
SECTION, MAX_GAP = 10_000.0, 213_000.0
#: Single-precision references agree to this, and freeboards of the file's own references, m.
SAME, SAME_FREEBOARD = 1e-4, 1e-6
#: Why a segment's freeboard is what it is, in the order in which they are tried.
FREEBOARDS = {
    "same": "height less the section's reference",
    "clipped": "negative, and set to 0 by the product",
    "unsmoothed": "height less the mean of the section's own leads, before neighbours were averaged in",
    "interpolated": "height less the reference interpolated along the track",
    "outside_file": "of a section that the file does not hold",
    "differs": "another value",
    "refused": "none, though height and reference are there",
    "no_reference": "none: the section has no reference",
}


def check_atl10(tree: xr.DataTree) -> dict[str, Any]:
    """Leads, reference surfaces and freeboards of an ATL10 granule from what the file holds.

    Parameters
    ----------
    tree : xarray.DataTree
        Tree from :func:`is2ice.io.icesat2.atl07_atl10.open_atl10`, all beams or one.

    Returns
    -------
    dict
        Per beam: ``layout`` (:func:`is2ice.reports.point_density.layout`), ``leads`` (n, with_segments,
        largest difference of
        height and sigma, m), ``sections`` (one
        entry each: x_atc, h_ref, flag, leads, ours, difference, why, and ``freeboards``, the number of segments by
        :data:`FREEBOARDS`), ``freeboard`` (n, compared, largest difference, and the same numbers over all sections).
        JSON can hold it; what cannot be computed is None.

    Notes
    -----
    Sections of one granule lie on one grid of 10 km. Where the file holds their centres it follows from
    them, else from where ``refsurf_ndx`` of the segments changes.
    """
    beams = {"": tree} if "segments" in tree.children else dict(tree.children)
    out = {}
    for name, node in beams.items():
        beam = str(node.attrs.get("beam", name))
        with named_variables(f"ATL10 {beam}"):
            out[beam] = _check_beam(node)
    return out


def _check_beam(node: xr.DataTree) -> dict[str, Any]:
    segments, leads, sections = (node[k].to_dataset() for k in ("segments", "leads", "sections"))
    if segments.sizes.get("segment"):
        for name in ("x_atc", "height", "freeboard"):
            segments[name]  # its absence must not be taken for a beam without values
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
        # Numbers skip sections that the product left out, so each number is placed by its own segments.
        for k in np.unique(ndx[np.isfinite(ndx)]):
            at[ndx == k] = np.median(at[ndx == k])
    kind = _kinds_of_freeboard(segments, sections, at, mine, raw)
    for section, number in zip(out["sections"], mine, strict=True):
        section["freeboards"] = _numbers(kind[at == number])
    out["freeboard"] = _check_freeboard(segments, sections, at, mine) | {"by_kind": _numbers(kind)}
    return out


def _check_leads(node: xr.DataTree) -> dict[str, Any]:
    segments, leads = node["segments"].to_dataset(), node["leads"].to_dataset()
    row = match_leads(node)
    height, sigma = [], []
    for k in np.flatnonzero(row >= 0):
        part = segments.isel(segment=slice(row[k], row[k] + int(leads["ssh_n"][k])))
        lead = find_leads(
            part["x_atc"].values,
            part["height"].values,
            part["height_uncertainty"].values,
            np.ones(part.sizes["segment"]),
            method="nasa",
            min_sigma=1e-6,
        )
        height.append(abs(float(lead["height"][0]) - float(leads["height"][k])))
        sigma.append(abs(float(lead["sigma"][0]) - float(leads["height_uncertainty"][k])))
    return {
        "n": int(row.size),
        "with_segments": int((row >= 0).sum()),
        "height_difference_max": max(height, default=None),
        "sigma_difference_max": max(sigma, default=None),
    }


def _edges(segments: xr.Dataset, sections: xr.Dataset) -> float:
    """Return the start of the sections, modulo their length."""
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
    sections: xr.Dataset,
    i: int,
    k: int,
    raw: dict[Any, tuple[float, float, int]],
    leads: xr.Dataset,
    centre: F8,
) -> dict[str, Any]:
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
    """Fill empty sections from their neighbours with leads, as the product does."""
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
    clipped = both & (value == 0.0) & (ours < 0.0)
    value[clipped] = ours[clipped]  # release 006 sets negative freeboards to 0: no difference, but counted
    return {
        "n": int(np.isfinite(value).sum()),
        "of_segments": n,
        "compared": int(both.sum()),
        "difference_max": float(np.abs(value - ours)[both].max()) if both.any() else None,
        "clipped": int(clipped.sum()),
        "without_reference": int((~np.isfinite(ours)).sum()),
    }


def _numbers(kind: NDArray[Any]) -> dict[str, int]:
    """Count segments by kind of freeboard; kinds that there are none of are left out."""
    count = Counter(kind.tolist())
    return {name: count[name] for name in FREEBOARDS if count[name]}


def _kinds_of_freeboard(
    segments: xr.Dataset, sections: xr.Dataset, at: F8, mine: F8, raw: dict[Any, tuple[float, float, int]]
) -> NDArray[Any]:
    """Row of FREEBOARDS for each segment."""
    n = segments.sizes.get("segment", 0)
    if not n:
        return np.empty(0, "U1")
    x, height = (segments[name].values.astype(float) for name in ("x_atc", "height"))
    value = segments["freeboard"].values.astype(float)
    h_ref = sections["h_ref"].values.astype(float)
    place = {k: i for i, k in enumerate(mine.tolist())}
    row = np.array([place.get(k, -1) for k in at.tolist()])
    own = np.append(h_ref, np.nan)[row]
    unsmoothed = np.array([raw.get(k, (np.nan,))[0] for k in at.tolist()])
    good = np.isfinite(h_ref)
    along = np.full(n, np.nan)
    if good.sum() > 1:
        along = np.interp(x, sections["x_atc"].values[good], h_ref[good], left=np.nan, right=np.nan)
    with np.errstate(invalid="ignore"):
        near = [np.abs(value - (height - h)) <= SAME_FREEBOARD for h in (own, unsmoothed, along)]
        clipped = (value == 0.0) & (height < own)
    given = np.isfinite(value)
    tests = {
        "same": near[0],
        "clipped": clipped,
        "unsmoothed": near[1],
        "interpolated": near[2],
        "outside_file": row < 0,
        "differs": given & np.isfinite(own),
        "refused": np.isfinite(own) & np.isfinite(height),
    }
    order = [name for name in FREEBOARDS if name in tests]
    return np.select([tests[name] for name in order], order, "no_reference")


def check_atl07(tree: xr.DataTree) -> dict[str, Any]:
    """Histograms against counts, and types against our thresholds, of an ATL07 granule.

    Parameters
    ----------
    tree : xarray.DataTree
        Tree from :func:`is2ice.io.icesat2.atl07_atl10.open_atl07`, all beams.

    Returns
    -------
    dict
        Per beam: ``segments``, ``layout`` (:func:`is2ice.reports.point_density.layout`),
        ``histogram_is_gathered`` (segments
        whose histogram sums to n_photons_actual),
        ``trimmed_is_used`` (whose bins between the trim heights sum to n_photons_used), ``types`` (class by our
        thresholds for each type of the product: counts).
    """
    out = {}
    for name, node in tree.children.items():
        with named_variables(f"ATL07 {name}"):
            out[str(name)] = _check_segments(node)
    return out


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
    if "hist_photon_heights" in ds:
        counts = np.nan_to_num(ds["hist_photon_heights"].values.astype(float))
        off = np.abs(counts.sum(1) - ds["n_photons_actual"].values)
        out["histogram_is_gathered"] = int((off == 0).sum())
        out["histogram_difference_max"] = int(off[known].max()) if (known := np.isfinite(off)).any() else None
        used = ds["n_photons_used"].values.astype(float)
        out["used_not_more_than_gathered"] = int((~(used > ds["n_photons_actual"].values)).sum())
    spot = int(node.attrs.get("spot", 1))
    ours = classes_of_rates(ds["photon_rate"].values, ds["w_gaussian"].values, spot)
    table: dict[str, dict[str, int]] = {}
    kinds = ds["surface_type"].values
    for kind in np.unique(kinds[np.isfinite(kinds)]):
        count = Counter(ours[kinds == kind].tolist())
        names = [*enumerate(schema.CLASSES), (schema.UNLABELLED, "unlabelled")]
        table[f"{int(kind)} {TYPES.get(int(kind), 'unknown')}"] = {
            name: count.get(code, 0) for code, name in names
        }
    out["types"] = table
    return out


TYPES = {
    0: "cloud",
    1: "ice",
    2: "specular low, background tested",
    3: "specular low",
    4: "specular high, background tested",
    5: "specular high",
    6: "dark smooth, background tested",
    7: "dark smooth",
    8: "dark rough, background tested",
    9: "dark rough",
}

#: How often our thresholds and the product's types agree that a segment is ice, or that it is none: by type, the
#: classes of ours that agree. Clouds, and what ours leave unlabelled, count nowhere; thin ice is dark and smooth, so
#: either answer agrees with a dark type.
AGREES = {
    1: ("thick_ice", "thin_ice"),
    **dict.fromkeys((2, 3, 4, 5), ("open_water",)),
    **dict.fromkeys((6, 7, 8, 9), ("open_water", "thin_ice")),
}


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

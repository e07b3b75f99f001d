"""Ours against NASA's on the same beam: ``is2ice compare``.

Segments are matched by along-track distance, never by position: each segment of ATL07 or ATL10 with our
cells whose centres it holds, weighted by their photons. Our heights are first brought to the product's
corrections, so that a difference is one of surfaces. Distributions are compared over like populations: the same
stretches of ice, at the product's resolution; segments that only we have are counted apart.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from is2ice import schema
from is2ice.io.icesat2.atl07_atl10 import (
    DARK,
    SPECULAR,
    named_variables,
    open_atl07,
    open_atl10,
)
from is2ice.science import icestats
from is2ice.science import koo as koo_method
from is2ice.science.leads import find_leads, lead_extents

from . import point_density

if TYPE_CHECKING:
    from is2ice.classifiers.koo import Koo

__all__ = [
    "Comparison",
    "alike_places",
    "columns",
    "compare",
    "in_order",
    "match",
    "not_comparable",
    "overlaps",
    "surface_leads",
]

F8 = NDArray[np.float64]
#: Half the footprint, m: leads whose edges are this near to each other overlap on the ground.
FOOT = 5.5
#: Bounds of the classes of width for which the precision of leads is given, m.
WIDTHS = (0.0, 12.0, 25.0, 50.0, np.inf)
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True)
class Comparison:
    """Result of :func:`compare`.

    Attributes
    ----------
    numbers : dict
        As JSON can hold them; None where there is nothing to compare.
    statements : list of str
        Statements on what cannot be compared, and why.
    track, segments : xarray.Dataset
        Ours in the common stretch; the product's segments there with ``ours_*`` beside them.
    sections : xarray.Dataset or None
        Reference surfaces of ATL10 with ours.
    atl07_leads : xarray.Dataset or None
        Runs of sea-surface segments of ATL07 (their heights as ATL10 weighs them) with ours.
    leads : dict of str to array, shape (n, 2)
        ``ours`` and ``theirs`` (and ``koo``): first and last metre of each lead.
    koo : xarray.Dataset or None
        Segments of ATL07 in the stretch with classes, sea surface and freeboard of Koo's method
        (:mod:`is2ice.science.koo`) and ``ours_*`` beside them.
    """

    numbers: dict[str, Any]
    statements: list[str]
    track: xr.Dataset = field(repr=False)
    segments: xr.Dataset = field(repr=False)
    sections: xr.Dataset | None = field(repr=False)
    leads: dict[str, F8] = field(repr=False)
    koo: xr.Dataset | None = field(default=None, repr=False)
    atl07_leads: xr.Dataset | None = field(default=None, repr=False)

    def to_json(self) -> str:
        """Numbers and statements."""
        return json.dumps({**self.numbers, "not_comparable": self.statements}, indent=1)


#: Variables of the segments that a comparison rests on, and those of ATL10 besides.
_NEEDED = ("x_atc", "height", "height_uncertainty", "length", "surface_type", "ssh_flag", "segment_id")
_OF_ATL10 = ("freeboard", "freeboard_uncertainty")


def match(track: xr.Dataset, segments: xr.Dataset) -> xr.Dataset:
    """Ours under each segment of a product.

    Parameters
    ----------
    track : xarray.Dataset
        One track of ours, dims (x_atc,).
    segments : xarray.Dataset
        Segments of :mod:`is2ice.io.icesat2.atl07_atl10`, with x_atc (centre) and length, m.

    Returns
    -------
    xarray.Dataset
        The segments with ``ours_n`` (cells with a height), ``ours_height``, ``ours_h_ref``, ``ours_freeboard`` (means
        weighted by photons over cells that hold them, m) and their ``_uncertainty``, ``ours_class`` (of most cells),
        ``ours_correction`` (what was taken from our heights, m).
    """
    step = schema.segment_length(track)
    centre = track["x_atc"].values + step / 2
    half = segments["length"].values / 2
    a = np.searchsorted(centre, segments["x_atc"].values - half)
    b = np.searchsorted(centre, segments["x_atc"].values + half, side="right")
    weight = np.asarray(track["n_photons"].values, float)

    def total(values: F8) -> F8:
        running = np.concatenate([[0.0], np.cumsum(np.nan_to_num(values))])
        return running[b] - running[a]

    def mean(name: str, power: int = 1) -> F8:
        values = np.asarray(track[name].values, float) if name in track else np.full(weight.size, np.nan)
        good = np.isfinite(values)
        norm = total(weight**power * good) if power == 1 else total(weight * good) ** 2
        with np.errstate(invalid="ignore", divide="ignore"):
            return total(weight**power * values**power * good) / np.where(norm > 0, norm, np.nan)

    out = segments.copy()
    names = {"ours_height": "height", "ours_h_ref": "h_ref", "ours_freeboard": "freeboard"}
    for name, source in names.items():
        out[name] = ("segment", mean(source))
    own = np.sqrt(mean("height_uncertainty", 2))  # independent noise
    shared = mean("h_ref_uncertainty")  # one sea surface for all cells of a segment
    out["ours_height_uncertainty"] = ("segment", own)
    out["ours_h_ref_uncertainty"] = ("segment", shared)
    out["ours_freeboard_uncertainty"] = ("segment", np.hypot(own, shared))
    out["ours_n"] = ("segment", total(np.isfinite(track["height"].values).astype(float)).astype(int))
    code = track["surface_class"].values if "surface_class" in track else np.full(weight.size, -1)
    count = np.stack([total((code == c).astype(float)) for c in (0, 1, 2)])
    out["ours_class"] = ("segment", np.where(count.sum(0) > 0, count.argmax(0), -1).astype("i1"))
    reference = "geoid" if track.attrs.get("height_reference") == "geoid" else "mss"
    taken = [reference, *_list(track.attrs.get("corrections", ("tide_ocean", "tide_equilibrium", "dac")))]
    out["ours_correction"] = ("segment", np.sum([mean(n) for n in taken if n in track], axis=0))
    return out


def _list(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else [str(v) for v in value]


def _their_correction(segments: xr.Dataset) -> F8 | None:
    """Sum the product's corrections of its heights, m: mean sea surface, tides, and DAC (or IB where it has no DAC)."""
    inverse = next((n for n in ("dac", "ib") if n in segments and segments[n].notnull().any()), None)
    names = ["mss", "tide_ocean", "tide_equilibrium", *([inverse] if inverse else [])]
    if not all(n in segments for n in names):
        return None
    total = np.sum([segments[n].values.astype(float) for n in names], axis=0)
    return total if np.isfinite(total).any() else None


def compare(
    track: xr.Dataset,
    atl07: str | os.PathLike[str] | xr.Dataset | None = None,
    atl10: str | os.PathLike[str] | xr.DataTree | None = None,
    *,
    koo: str | os.PathLike[str] | Koo | None = None,
) -> Comparison:
    """Compare a track of ours with ATL07, ATL10 or both, of the same pass and beam.

    Parameters
    ----------
    track : xarray.Dataset
        Dims (x_atc,), from photons to freeboard, with attributes granule and beam.
    atl07 : path or Dataset, optional
    atl10 : path or DataTree of one beam, optional
        If both are given, segments and freeboards are those of ATL10. Heights of all segments of ATL07, and its own
        sea surface (the heights of its runs of sea-surface segments), are compared besides.
    koo : path or Koo, optional
        A trained classifier of ATL07 segments (:mod:`is2ice.classifiers.koo`): adds the method of Koo et al. (2023) as
        a third result. It needs `atl07`; reference sections are those of `atl10` if given.

    Returns
    -------
    Comparison

    Raises
    ------
    ValueError
        No product, another pass or beam, no common stretch, or `koo` without ATL07.
    """
    schema.check_dataset(track, "compare")
    if koo is not None and atl07 is None:
        raise ValueError("koo: the method classifies segments of ATL07; give atl07 too")
    with named_variables("the product"):
        return _compare(track, atl07, atl10, koo)


def _compare(
    track: xr.Dataset,
    atl07: str | os.PathLike[str] | xr.Dataset | None,
    atl10: str | os.PathLike[str] | xr.DataTree | None,
    koo: str | os.PathLike[str] | Koo | None,
) -> Comparison:
    beam = str(track.attrs.get("beam", ""))
    if "beam" in track.dims or not beam:
        raise ValueError("expected one track with attrs['beam'], such as cube.sel(beam='gt2r')")
    if atl07 is None and atl10 is None:
        raise ValueError("nothing to compare with: give atl07, atl10 or both")
    seven = open_atl07(atl07, beam) if isinstance(atl07, str | os.PathLike) else atl07
    ten = open_atl10(atl10, beam) if isinstance(atl10, str | os.PathLike) else atl10
    theirs = ten["segments"].to_dataset() if ten is not None else seven
    assert theirs is not None
    for table, names in ((seven, _NEEDED), (theirs if ten is not None else None, (*_NEEDED, *_OF_ATL10))):
        if table is not None and table.sizes.get("segment"):
            for name in names:
                table[name]  # its absence must not be taken for a comparison without it
    about = {str(k): v for k, v in (ten if ten is not None else theirs).attrs.items()}
    for product in (p for p in (seven, ten) if p is not None):
        _same_pass(track, {str(k): v for k, v in product.attrs.items()})
    theirs, track = _common(theirs.assign_attrs(about), track)
    joined, shift = _brought(match(track, theirs))
    seven_joined = joined
    if ten is not None and seven is not None:
        seven_joined, _ = _brought(match(track, _common(seven, track)[0]))
    runs = None if seven is None else _atl07_leads(seven_joined)
    sections = _sections(ten, joined) if ten is not None else None
    their_leads = _their_leads(ten, joined)
    leads = {"ours": _our_leads(track), "theirs": their_leads}
    openings = _openings(track)
    lead_numbers = _compare_leads(leads, joined)
    lead_numbers["our_openings"] = len(openings)
    lead_numbers["theirs_in_our_openings"] = int(overlaps(their_leads, openings).sum())
    third = None if koo is None or seven is None else _koo(koo, seven, ten, track)
    numbers: dict[str, Any] = {
        "ours": _about(
            track.attrs,
            "granule",
            "beam",
            "release",
            "segment_length",
            "classifier",
            "sea_surface_method",
            schema.SIMULATED,
        ),
        "theirs": _about(about, "product", "granule", "beam", "release", "layout", schema.SIMULATED),
        "stretch_km": round(float(np.ptp(track["x_atc"].values)) / 1e3, 3),
        "corrections": _differences(shift if shift is not None else np.empty(0)),
        "height": _heights(joined),
        "atl07": None
        if runs is None
        else {
            "height": _heights(seven_joined),
            "sea_surface": _differences(
                runs["ours_h_ref"].values - runs["height"].values,
                _total(runs, "ours_h_ref_uncertainty", "sigma"),
            ),
        },
        "sea_surface": None
        if sections is None
        else _differences(
            sections["ours_h_ref"].values - sections["h_ref"].values,
            _total(sections, "ours_h_ref_uncertainty", "h_ref_uncertainty"),
        ),
        "freeboard": _freeboards(track, joined),
        "density": point_density.points(track, joined),
        "leads": lead_numbers,
        "classes": _classes(joined),
    }
    statements = not_comparable(track, about, joined, numbers, shift is not None)
    statements += [str(note) for p in (seven, ten) if p is not None for note in p.attrs.get("notes", ())]
    if third is not None:
        leads["koo"] = _koo_leads(third)
        numbers["koo"] = _koo_numbers(third, leads)
    return Comparison(numbers, statements, track, joined, sections, leads, third, runs)


def _brought(joined: xr.Dataset) -> tuple[xr.Dataset, F8 | None]:
    """Ours brought to the product's corrections, and the difference taken out; None where it holds no corrections."""
    correction = _their_correction(joined)
    if correction is None:
        return joined, None
    # NaN where the product does not say what it took from its heights.
    shift = joined["ours_correction"].values - correction
    names = ("ours_height", "ours_h_ref")
    return joined.assign({name: ("segment", joined[name].values + shift) for name in names}), shift


def _heights(joined: xr.Dataset) -> dict[str, Any]:
    return _differences(
        joined["ours_height"].values - joined["height"].values,
        _total(joined, "ours_height_uncertainty", "height_uncertainty"),
    )


def in_order(segments: xr.Dataset) -> xr.Dataset:
    """Take the segments of a product that lie beyond all before them: genuine ones repeat some distances."""
    x = segments["x_atc"].values.astype(float)
    before = np.fmax.accumulate(np.concatenate([[-np.inf], x[:-1]]))
    return segments.isel(segment=np.flatnonzero(x > before))


def columns(segments: xr.Dataset) -> tuple[F8, F8, F8, NDArray[np.bool_]]:
    """Return what a sea surface is made of: distances, heights and their errors (m), and the breaks between segments.

    Parameters
    ----------
    segments : xarray.Dataset
        Segments of increasing distance (:func:`in_order`).

    Returns
    -------
    x, height, sigma : numpy.ndarray, shape (segment,)
    breaks : numpy.ndarray of bool, shape (segment,)
        True where a segment does not follow on the one before.
    """
    x, height, sigma = (segments[k].values.astype(float) for k in ("x_atc", "height", "height_uncertainty"))
    return (
        x,
        height,
        sigma,
        np.diff(segments["segment_id"].values, prepend=segments["segment_id"].values[:1] - 1) != 1,
    )


def surface_leads(segments: xr.Dataset, surface: NDArray[np.bool_]) -> xr.Dataset:
    """Leads of a product's segments, with heights as ATL10 weighs them.

    Parameters
    ----------
    segments : xarray.Dataset
        Segments of increasing distance (:func:`in_order`).
    surface : numpy.ndarray of bool, shape (segment,)
        Segments that are sea surface.

    Returns
    -------
    xarray.Dataset
        As of :func:`is2ice.science.leads.find_leads`.
    """
    x, height, sigma, breaks = columns(segments)
    return find_leads(x, height, sigma, surface, breaks=breaks, method="nasa", min_sigma=1e-6)


def _atl07_leads(joined: xr.Dataset) -> xr.Dataset:
    """Sea surface of ATL07 itself: heights of its runs of sea-surface segments, with ours."""
    joined = in_order(joined)
    table = surface_leads(joined, joined["ssh_flag"].values > 0)
    weight = table["weight"].values
    out = table[["x", "height", "sigma", "n"]]
    for name in ("ours_h_ref", "ours_h_ref_uncertainty"):
        parts = [
            (joined[name].values[i : j + 1], weight[i : j + 1])
            for i, j in zip(table["first"].values, table["last"].values, strict=True)
        ]
        out[name] = ("lead", np.array([float((v * w).sum() / w.sum()) for v, w in parts]))
    return out


def _about(attrs: Any, *names: str) -> dict[str, Any]:
    return {n: (v.item() if hasattr(v, "item") else v) for n in names if (v := attrs.get(n)) is not None}


def _same_pass(track: xr.Dataset, about: dict[str, Any]) -> None:
    for name in ("rgt", "cycle", "beam"):
        ours, theirs = track.attrs.get(name), about.get(name)
        if ours is not None and theirs is not None and str(ours) != str(theirs):
            raise ValueError(
                f"{name}: ours is {ours} ({track.attrs.get('granule')}), the {about.get('product')} has {theirs} "
                f"({about.get('granule')}); give the product of the same pass and beam"
            )


def _common(theirs: xr.Dataset, track: xr.Dataset) -> tuple[xr.Dataset, xr.Dataset]:
    """Both within the stretch that both cover."""
    ours = track["x_atc"].values[np.isfinite(track["height"].values)]
    x, half = theirs["x_atc"].values, theirs["length"].values / 2
    if not x.size or not ours.size:
        lacks = "the product has no segment" if ours.size else "no height of ours"
        raise ValueError(f"{track.attrs.get('beam')}: {lacks} to compare")
    low, high = max(ours[0], np.nanmin(x - half)), min(ours[-1] + 2.0, np.nanmax(x + half))
    if low >= high:
        raise ValueError(
            f"no common stretch: ours lies at {ours[0]:,.0f} to {ours[-1]:,.0f} m along the track, the product at "
            f"{x[0]:,.0f} to {x[-1]:,.0f} m. Is it the same pass?"
        )
    keep = (x - half >= low - 1) & (x + half <= high + 1)
    cells = (track["x_atc"].values >= low - 1) & (track["x_atc"].values < high)
    return theirs.isel(segment=keep), track.isel(x_atc=cells).compute()


def _total(ds: xr.Dataset, a: str, b: str) -> F8:
    return np.hypot(ds[a].values.astype(float), ds[b].values.astype(float))


def _differences(d: F8, sigma: F8 | None = None) -> dict[str, Any]:
    """Bias, RMSE and robust spread (m), and the same over the stated errors."""
    good = np.isfinite(d)
    if not good.any():
        return {"n": 0}
    v = d[good]
    low, high = np.quantile(v, [0.16, 0.84])
    out = {"n": int(v.size), "bias": v.mean(), "rmse": np.sqrt((v**2).mean()), "robust_sd": (high - low) / 2}
    if sigma is not None:
        z = v / np.maximum(sigma[good], 1e-9)
        z = z[np.isfinite(z)]
        if z.size:
            low, high = np.quantile(z, [0.16, 0.84])
            out |= {"z_mean": z.mean(), "z_rms": np.sqrt((z**2).mean()), "z_robust_sd": (high - low) / 2}
    return {k: v if isinstance(v, int) else round(float(v), 5) for k, v in out.items()}


def _sections(ten: xr.DataTree, joined: xr.Dataset) -> xr.Dataset:
    """Join the reference surfaces of ATL10 with the mean of ours over the same segments."""
    sections = ten["sections"].to_dataset()
    at = np.abs(joined["x_atc"].values[:, None] - sections["x_atc"].values[None, :])
    nearest = at.argmin(1) if sections.sizes.get("section", 0) else np.empty(0, int)
    if "refsurf_ndx" in joined and nearest.size:
        ndx = joined["refsurf_ndx"].values.astype(float)
        numbered = np.isfinite(ndx)
        if numbered.any():  # exact at the borders, once it is known which section is which
            # Numbers skip sections that the product left out, so each number is placed by its own segments.
            for k in np.unique(ndx[numbered]):
                nearest[ndx == k] = int(np.median(nearest[ndx == k]))
    n = sections.sizes.get("section", 0)
    for name in ("ours_h_ref", "ours_h_ref_uncertainty"):
        values = joined[name].values
        means = [values[(nearest == k) & np.isfinite(values)] for k in range(n)]
        sections[name] = ("section", np.array([m.mean() if m.size else np.nan for m in means]))
    return sections


def _koo(
    koo: str | os.PathLike[str] | Koo, seven: xr.Dataset, ten: xr.DataTree | None, track: xr.Dataset
) -> xr.Dataset:
    """Apply Koo's method to the whole ATL07 beam, and cut it to the stretch, ours beside it."""
    from is2ice.classifiers.koo import Koo, loaded

    model = koo if isinstance(koo, Koo) else loaded(os.fspath(koo))
    section = None
    if ten is not None and "refsurf_ndx" in ten["segments"]:
        theirs = ten["segments"].to_dataset()
        section = _sections_of(seven, theirs["segment_id"].values, theirs["refsurf_ndx"].values)
    done = koo_method.sea_surface(model.classify(seven), section)
    done, _ = _common(done, track)
    return _brought(match(track, done))[0]


def _sections_of(seven: xr.Dataset, segment_id: F8, index: F8) -> NDArray[np.int64] | None:
    """Give segments of ATL07 the reference section of the nearest segment that ATL10 kept; None without one."""
    known = np.isfinite(segment_id) & np.isfinite(index)
    if not known.any():
        return None
    ids, index = np.asarray(segment_id, float)[known], np.asarray(index)[known]
    order = np.argsort(ids)
    place = np.interp(seven["segment_id"].values.astype(float), ids[order], np.arange(order.size))
    return index[order][np.round(place).astype(int)].astype(np.int64)


def _koo_leads(done: xr.Dataset) -> F8:
    x, half = done["x_atc"].values, done["length"].values / 2
    follows = np.diff(done["segment_id"].values) == 1
    return _intervals(done["koo_lead"].values, x - half, x + half, follows)


def _koo_numbers(done: xr.Dataset, leads: dict[str, F8]) -> dict[str, Any]:
    """Compare ours with Koo's method over the segments of ATL07: sea surface, freeboard of ice, leads and classes."""
    code, ours = done["koo_class"].values, done["ours_class"].values
    ice = np.isin(code, (0, 1)) & np.isin(ours, (0, 1))
    a, b = done["ours_freeboard"].values, done["koo_freeboard"].values
    alike = ice & np.isfinite(a) & np.isfinite(b)
    names = [*enumerate(schema.CLASSES), (schema.UNLABELLED, "unlabelled")]
    return {
        "sea_surface": _differences(done["ours_h_ref"].values - done["koo_h_ref"].values),
        "freeboard": {
            "n": int(alike.sum()),
            "ours": _quantiles(a[alike]),
            "koo": _quantiles(b[alike]),
            "difference": _differences(a[alike] - b[alike]),
            "clipped": int((b == 0).sum()),
        },
        "leads": {
            "koo": len(leads["koo"]),
            "koo_with_ours": int(overlaps(leads["koo"], leads["ours"]).sum()),
        },
        "classes": {
            kind: {name: int(((code == c) & (ours == o)).sum()) for o, name in names}
            for c, kind in enumerate(schema.CLASSES)
        },
    }


def _intervals(inside: NDArray[np.bool_], first: F8, last: F8, follows: NDArray[np.bool_]) -> F8:
    """First and last metre of each run."""
    joined = np.concatenate([[False], inside[1:] & inside[:-1] & follows, [False]])
    start, stop = np.flatnonzero(inside & ~joined[:-1]), np.flatnonzero(inside & ~joined[1:])
    return np.column_stack([first[start], last[stop]])


def _their_leads(ten: xr.DataTree | None, joined: xr.Dataset) -> F8:
    """Leads of ATL10, or runs of sea-surface candidates (else specular types) of ATL07, within the stretch."""
    x, half = joined["x_atc"].values, joined["length"].values / 2
    low, high = (x - half).min(initial=np.inf), (x + half).max(initial=-np.inf)
    if ten is not None:
        leads = ten["leads"].to_dataset()
        at, wide = leads["x_atc"].values, leads["length"].values
        keep = (at >= low) & (at <= high)
        return np.column_stack([(at - wide / 2)[keep], (at + wide / 2)[keep]])
    mask = joined["ssh_flag"].values > 0
    if not mask.any() and "surface_type" in joined:
        mask = np.isin(joined["surface_type"].values, SPECULAR)
    return _intervals(mask, x - half, x + half, np.diff(joined["segment_id"].values) == 1)


def _our_leads(track: xr.Dataset) -> F8:
    """Begin and end of our leads (:func:`is2ice.science.leads.lead_extents`), m; of openings without a sea surface."""
    return lead_extents(track) if "lead_index" in track else _openings(track)


def _openings(track: xr.Dataset) -> F8:
    """Begin and end of open water by class alone, m."""
    table = icestats.chords(track)
    lead = table.isel(chord=np.flatnonzero(table["kind"].values == icestats.LEAD))
    return np.column_stack(
        [lead["x"].values - lead["length"].values / 2, lead["x"].values + lead["length"].values / 2]
    )


def overlaps(a: F8, b: F8, reach: float = 2 * FOOT) -> NDArray[np.bool_]:
    """Which intervals of `a` come within `reach` of one of `b`."""
    if not a.size or not b.size:
        return np.zeros(len(a), bool)
    return ((a[:, None, 0] <= b[None, :, 1] + reach) & (a[:, None, 1] >= b[None, :, 0] - reach)).any(1)


def _compare_leads(leads: dict[str, F8], joined: xr.Dataset) -> dict[str, Any]:
    ours, theirs = leads["ours"], leads["theirs"]
    seen, found = overlaps(ours, theirs), overlaps(theirs, ours)
    width = np.diff(ours, axis=1).ravel()
    near = (
        np.abs(joined["x_atc"].values[None, :] - ours.mean(1)[:, None]).argmin(1)
        if ours.size
        else np.empty(0, int)
    )
    narrow = width < joined["length"].values[near] if ours.size else np.empty(0, bool)

    def share(a: Any, b: int) -> float | None:
        return round(float(a) / b, 4) if b else None

    return {
        "ours": len(ours),
        "theirs": len(theirs),
        "ours_with_theirs": int(seen.sum()),
        "theirs_with_ours": int(found.sum()),
        "precision": share(seen.sum(), len(ours)),
        "recall": share(found.sum(), len(theirs)),
        "ours_only": int((~seen).sum()),
        "ours_only_narrower_than_a_segment": int((~seen & narrow).sum()),
        "median_width_ours": float(np.median(width)) if width.size else None,
        "precision_by_width": [
            {
                "from": low,
                "to": high if np.isfinite(high) else None,
                "ours": int(here.sum()),
                "precision": share((seen & here).sum(), int(here.sum())),
            }
            for low, high in pairwise(WIDTHS)
            for here in [(width >= low) & (width < high)]
        ],
    }


def _quantiles(values: F8) -> dict[str, Any]:
    values = values[np.isfinite(values)]
    if not values.size:
        return {"n": 0}
    names = {f"p{round(100 * q):02d}": round(float(np.quantile(values, q)), 4) for q in _QUANTILES}
    return {"n": int(values.size), "mean": round(float(values.mean()), 4), **names}


def alike_places(joined: xr.Dataset) -> NDArray[np.bool_]:
    """Segments of the like populations: both have freeboard, and neither takes them for a lead."""
    ice = np.ones(joined.sizes["segment"], bool)
    if "surface_type" in joined:
        ice &= ~np.isin(joined["surface_type"].values, SPECULAR)
    ice &= (joined["ssh_flag"].values == 0) & np.isin(joined["ours_class"].values, (0, 1))
    if "freeboard" not in joined:
        return np.zeros(ice.size, bool)
    return ice & np.isfinite(joined["freeboard"].values) & np.isfinite(joined["ours_freeboard"].values)


def _freeboards(track: xr.Dataset, joined: xr.Dataset) -> dict[str, Any]:
    ice = np.isin(track["surface_class"].values, (0, 1))
    ours = np.asarray(track["freeboard"].values, float)
    out: dict[str, Any] = {"ours_2m_ice": _quantiles(ours[ice])}
    if "freeboard" not in joined:
        return {**out, "alike": {"n": 0}}
    alike = alike_places(joined)
    a, b = joined["ours_freeboard"].values[alike], joined["freeboard"].values[alike].astype(float)
    # Release 006 sets negative freeboards to 0, so ours are compared as it would show them.
    theirs = joined["freeboard"].values[np.isfinite(joined["freeboard"].values)]
    clips = bool((theirs == 0).any() and (theirs >= 0).all())
    out["clipped"] = int(((a < 0) & (b == 0)).sum()) if clips else 0
    a = np.maximum(a, 0.0) if clips else a
    out["theirs_all"] = _quantiles(joined["freeboard"].values.astype(float))
    out["alike"] = {"n": int(alike.sum()), "ours": _quantiles(a), "theirs": _quantiles(b)}
    if alike.any():
        from scipy.stats import ks_2samp

        sigma = _total(joined, "ours_freeboard_uncertainty", "freeboard_uncertainty")[alike]
        out["alike"]["difference"] = _differences(a - b, sigma)
        out["alike"]["ks_distance"] = round(float(ks_2samp(a, b).statistic), 4)
    return out


def _classes(joined: xr.Dataset) -> dict[str, dict[str, int]]:
    """Our class of most cells for each kind of the product's types: counts of segments."""
    if "surface_type" not in joined:
        return {}
    kind, ours = joined["surface_type"].values, joined["ours_class"].values
    groups = {"cloud": (0,), "ice": (1,), "specular": SPECULAR, "dark": DARK}
    names = [*enumerate(schema.CLASSES), (schema.UNLABELLED, "unlabelled")]
    return {
        g: {n: int((np.isin(kind, codes) & (ours == c)).sum()) for c, n in names}
        for g, codes in groups.items()
    }


def not_comparable(
    track: xr.Dataset, about: dict[str, Any], joined: xr.Dataset, numbers: dict[str, Any], corrected: bool
) -> list[str]:
    """List the quantities that cannot be compared, with the reasons.

    Parameters
    ----------
    track, joined : xarray.Dataset
        Ours, and the product's segments with ours beside them.
    about : dict
        The product's attributes.
    numbers : dict
    corrected : bool
        True if our heights could be brought to the product's corrections.
    """
    product, release = about.get("product"), str(about.get("release", ""))
    ours = str(track.attrs.get("release", release))
    said = [
        "ATL07 has no class of thin ice: its types and our classes can agree or differ only as lead or ice.",
        "Since release 003 only specular leads make the product's sea surface; ours takes dark open water too.",
        "The product leaves out ice of under half concentration and within 25 km of land; ours does not.",
        "Segments of the product overlap by half or more, so their number overstates independent points.",
        "Freeboards at 2 m ('ours_2m_ice') hold the ridges, rims and noise that a longer segment averages: they and "
        "the product's are unlike populations, and only 'alike' is a comparison.",
    ]
    if not corrected:
        said.append(
            f"{product} holds no corrections here: heights and sea surfaces are compared as they are."
        )
    unknown = int(((joined["ours_n"] > 0) & joined["ours_height"].isnull()).sum())
    if unknown:
        said.append(
            f"{unknown:,} segments lack one of the product's corrections: heights and sea surfaces are compared "
            "without them."
        )
    if track.attrs.get("height_reference") == "geoid":
        said.append(
            "Our heights are above the geoid, the product's above the mean sea surface; that was taken out."
        )
    if release and ours != release:
        said.append(
            f"Our photons are of release {ours}, the product of {release}: heights may differ by centimetres."
        )
    if product == "ATL10" and release < "007":
        said.append(
            "The product has one reference per 10 km, ours varies along the track: their means are compared."
        )
    if numbers["sea_surface"] is not None and not numbers["sea_surface"]["n"]:
        said.append(
            "No section has a reference surface of both: neither sea surface nor freeboard can be compared."
        )
    if "freeboard" not in joined:
        said.append("ATL07 holds no freeboard; give the ATL10 of this pass to compare it.")
    elif not joined["freeboard"].notnull().any():
        said.append(
            "The product gives no freeboard in this stretch: there is no ratio of points and no distribution."
        )
    return said

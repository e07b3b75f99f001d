r"""The local sea surface of a pass, from its leads.

=================== ============================================ =====================
method              value                                        placed at
=================== ============================================ =====================
``evidence``        all beams of a pass as one random process    everywhere
``crossfit``        inverse variance over the lower consensus    position of its leads
``nasa``            inverse variance over all leads (ATL10)      centre of the window
``minimum``         lowest segment of any lead                   centre
``mean``            mean of all lead segments                    centre
``nearest_minimum`` per segment: the nearest of the ten lowest   each segment
=================== ============================================ =====================

The lower five gather leads in windows of 10 km every 5 km (at multiples of the step, so that beams, passes and subsets
share them), beam by beam; between windows the surface is linear in distance. The height of a lead is explained in
:mod:`is2ice.science.leads`.

**Evidence** (the default). Freeboard hangs on a few leads, and classifiers err. Each lead gets a probability that it is
sea surface from what is known of it: class, length, brightness, height over the lowest ice about it
(:mod:`is2ice.science.lead_evidence`). Narrow leads are corrected for the light of the ice beside them, with the
uncertainty of that correction (:mod:`is2ice.science.lead_footprint`). The sea of all beams of a pass is one random
process of level, slopes along and across, and small departures of each ground track. A lead is sea, or else ice of
unknown height above it; which, it settles with the others or by its own evidence
(:mod:`is2ice.science.surface_process`). A lone implausible lead makes no surface. What is left out is listed with its
reason. Beams without leads in reach borrow from the others (flag ``from_other_beams``). Where none has any, runs of dim
smooth cells, nilas or dark water, carry the surface with an offset and an error that say so (flag ``from_nilas``,
:mod:`is2ice.science.nilas`); not in the melt season, when such runs are ponds. Where the standard error exceeds
`most_error` (6 cm) there is no surface. `benchmarks/sea_surface.py` compares it with ``crossfit`` over passes with
drawn physics and planted errors.

**Position.** The mean of leads at :math:`x_k` with weights :math:`a_k` is the height of a sloping sea at
:math:`\sum a_k x_k`, whatever the slope. Put at the centre of the window instead it is wrong by slope times the
distance between the two (a slope of 1 cm/km and leads at one end: 4 cm). So ``crossfit`` needs no
slope to be fitted: lines between its nodes follow one by themselves.

**Lower consensus.** A stretch of ice taken for a lead lies above the sea. Leads more than `reject` (2.5)
standard errors above the others are left out, by the cheapest cut of the leads sorted by height: a lead
kept costs its squared residual, one cut off above reject^2, one cut off below (1.8 reject)^2, so that four
which agree outvote a low one. A line with a weak prior on its slope then refines the choice. The test is
one-sided by design; cutting a normal distribution at 2.5 sigma costs at most 0.018 sigma, 0.4 mm at
2 cm (simulated windows of eight leads: below 0.3 mm). The standard errors include a floor of 1 cm for real
differences between leads (2545 leads of two ATL10 granules, Greenland Sea, January 2022: robust difference
of pairs within 4 km 1.9 cm, of which 1.0 cm is their stated error).

**Uncertainty** (by windows). At any x, h_ref is a linear combination :math:`\sum c_k h_k` of lead heights. With
:math:`\sigma_k` the errors of the leads, a sea surface that wanders with variance v per distance
(`variability`\ :sup:`2`) and an unknown slope of standard deviation b,

.. math:: \mathrm{Var} = \sum c_k^2 \sigma_k^2
          + v \Big(\sum_k c_k |x - x_k| - \tfrac12 \sum_{kl} c_k c_l |x_k - x_l|\Big)
          + b^2 \Big(\sum_k c_k x_k - x\Big)^2 ,

which grows away from the leads, slowly between them and faster beyond the last one. b is the root mean square of
the slopes between the track's own nodes, with `slope` as prior. Where the leads in use stray from the
resulting surface by more than their errors (undulation shorter than the windows), the weighted mean square
excess is added.

**Reach.** Beyond the outermost leads the surface is given as far as `reach` (10 km), between two leads as far as
`between` (20 km) from the nearer, for there it is held from both sides: over eleven simulated passes of the Ross Sea
(33 beams) it was 2.2 cm off between leads 10 to 20 km from the nearest, and 6.3 cm within 10 km beyond the last
(`benchmarks/closed_loop.py` tells errors by flag). Elsewhere there is no sea surface (NaN, flag -1), unless by
``evidence`` runs of nilas carry it (flag 5, ``from_nilas``).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from is2ice import schema
from is2ice.errors import SchemaError

from . import lead_evidence, lead_footprint, melt_season, nilas, surface_process
from .along_track import local_quantile, running_sum, spots
from .first_photon_bias import PIXELS, incident
from .lead_windows import (
    F8,
    SurfaceModel,
    WindowOptions,
    between,
    fill,
    merge_nodes,
    misfit,
    nearest_distance,
    nearest_minimum,
    track_slope,
    variance_at,
    window_operator,
)
from .leads import EDGE, FOOTPRINT, LEAD_METHODS, LeadOptions, check_track, find_leads, lead_index

__all__ = [
    "METHODS",
    "OPTIONS",
    "SeaSurface",
    "check_options",
    "estimate",
    "find_leads",
    "sea_surface",
    "surfaces",
]

log = logging.getLogger("is2ice")

#: Methods of the sea surface: our own by evidence, and those by windows.
METHODS = ("evidence", *LEAD_METHODS, "nearest_minimum")
#: Distance of the nodes at which ``evidence`` computes the surface, m; within half a window of an own lead the
#: surface is "from leads".
NODE, NEAR = 500.0, 5_000.0
#: Stretch over which the brightness of ice is taken, and that beside a lead, m.
ICE, BESIDE = 10_000.0, 600.0
#: Flag of a surface that nilas carries.
FROM_NILAS = 5
#: Distance of the pairs of beams across the track, m.
PAIR_SPACING = 3_300.0


@dataclass(frozen=True)
class SeaSurface:
    """Sea surface of one track.

    Attributes
    ----------
    h_ref, uncertainty : numpy.ndarray, shape (n,)
        Height and standard error, m; NaN where there is none.
    flag : numpy.ndarray of int8, shape (n,)
        Codes of :data:`is2ice.schema.H_REF_FLAGS`.
    lead_index : numpy.ndarray of int32, shape (n,)
        Row of `leads`, -1 outside leads.
    leads : xarray.Dataset
        As of :func:`is2ice.science.leads.find_leads`; with ``used``, False for a lead left out (by ``crossfit``: in
        every window). Of ``evidence`` also ``prior`` and ``probability`` that it is sea surface, ``reason``, a row of
        :data:`is2ice.science.lead_evidence.REASONS`, ``offset`` that was taken from its height, and ``beside``, the
        mean height that the light of the ice beside may add (m).
    windows : xarray.Dataset
        On ``window``: centre, x (position of the value), height, sigma, n_leads; NaN without leads.
    """

    h_ref: F8
    uncertainty: F8
    flag: NDArray[np.int8]
    lead_index: NDArray[np.int32]
    leads: xr.Dataset
    windows: xr.Dataset


@dataclass(frozen=True)
class _Beam:
    """Segments of one beam: distance, height, error, leads, breaks, width of weights, and columns of evidence."""

    x: F8
    height: F8
    sigma: F8
    is_lead: NDArray[np.bool_]
    gaps: NDArray[np.bool_] | None = None
    scale: F8 | None = None
    spacing: float | None = None
    evidence: Mapping[str, F8] | None = None

    def leads(self, rules: LeadOptions) -> tuple[xr.Dataset, NDArray[np.int32]]:
        """Leads by rows of the beam, and each row's lead."""
        row = np.flatnonzero(np.isfinite(self.height))
        breaks = None if self.gaps is None else np.diff(np.cumsum(self.gaps)[row], prepend=0) > 0
        leads = find_leads(
            self.x[row],
            self.height[row],
            self.sigma[row],
            self.is_lead[row],
            self.spacing,
            breaks=breaks,
            scale=None if self.scale is None else self.scale[row],
            options=rules,
        )
        index = np.full(self.x.size, -1, np.int32)
        index[row] = lead_index(leads, row.size)
        leads["first"], leads["last"] = (("lead", row[leads[k].values]) for k in ("first", "last"))
        weight = np.zeros(self.x.size)
        weight[row] = leads["weight"].values
        leads["weight"] = ("segment", weight)
        return leads, index


def _piece(
    beam: _Beam,
    in_lead: NDArray[np.bool_],
    leads: xr.Dataset,
    method: str,
    windows: WindowOptions,
    model: SurfaceModel,
) -> tuple[F8, F8, NDArray[np.int8], xr.Dataset, NDArray[np.bool_]]:
    """Sea surface of one piece of track from its leads (at least one)."""
    x, step, half = beam.x, windows.step, windows.window / 2
    number = np.floor((x - windows.origin) / step + 0.5).astype(np.intp)
    centre = windows.origin + step * np.arange(number[0], number[-1] + 1)
    own = number - number[0]
    as_leads = "minimum" if method == "nearest_minimum" else method
    operator = window_operator(leads, centre, half, as_leads, model, windows.smooth)
    weight = operator.sum(axis=1)
    has = weight > 0
    full = operator[np.flatnonzero(has)]
    x0 = leads["x"].values[0]
    node = full @ (leads["x"].values - x0) + x0 if windows.position == "leads" else centre[has]
    at, merged = merge_nodes(node, full)
    value = merged @ leads["height"].values
    slope = track_slope(at, value, merged.power(2) @ (leads["sigma"].values ** 2), model.slope, step)

    if method == "nearest_minimum":
        h_ref, variance = nearest_minimum(x, beam.height, beam.sigma, in_lead, centre, half, own, slope)
        h_ref, variance = fill(x, h_ref, variance)
        used = np.ones(leads.sizes["lead"], bool)
        variance += model.variability**2 * nearest_distance(x, leads["x"].values) / 1e3
    else:
        h_ref = np.interp(x, at, value)
        y = np.unique(np.concatenate([at, np.arange(x[0], x[-1] + step / 20, step / 20)]))
        rough = variance_at(y, between(y, at) @ merged, leads, model, slope)
        variance = np.square(np.interp(x, y, np.sqrt(rough)))
        used = np.asarray(abs(operator).sum(axis=0) > 0)
        variance += misfit(leads.isel(lead=used), at, value, model.lead_floor)
    flag = np.where(has[own], 0, np.where((x < at[0]) | (x > at[-1]), 3, 1)).astype(np.int8)
    if at.size == 1:
        flag[~has[own]] = 2
    limit = np.where(flag >= 2, model.reach, max(model.reach, model.between))
    beyond = nearest_distance(x, leads["x"].values[used]) > limit
    h_ref[beyond], variance[beyond], flag[beyond] = np.nan, np.nan, -1

    def spread(values: F8) -> tuple[str, F8]:
        out = np.full(centre.size, np.nan)
        out[has] = values
        return ("window", out)

    table = xr.Dataset(
        {
            "centre": ("window", centre),
            "x": spread(node),
            "height": spread(full @ leads["height"].values),
            "sigma": spread(np.sqrt(full.power(2) @ (leads["sigma"].values ** 2 + model.lead_floor**2))),
            "n_leads": ("window", np.diff(operator.indptr).astype(np.int32)),
        }
    )
    return h_ref, np.sqrt(variance), flag, table, used


def _windowed(
    beam: _Beam, method: str, rules: LeadOptions, windows: WindowOptions, model: SurfaceModel
) -> SeaSurface:
    """Sea surface of one beam by windows."""
    leads, index = beam.leads(rules)
    x, row = beam.x, np.flatnonzero(np.isfinite(beam.height))
    sigma = np.where(np.isfinite(beam.sigma), np.maximum(beam.sigma, rules.min_sigma), 0.1)
    h_ref, error = np.full(x.size, np.nan), np.full(x.size, np.nan)
    flag, used = np.full(x.size, -1, np.int8), np.zeros(leads.sizes["lead"], bool)
    tables = []
    cuts = np.flatnonzero(np.diff(x[row]) > windows.max_gap) + 1
    for i, j in zip([0, *cuts], [*cuts, row.size], strict=True):
        if i == j:
            continue
        cells = slice(row[i], row[j - 1] + 1)
        mine = np.flatnonzero((leads["first"].values >= cells.start) & (leads["last"].values < cells.stop))
        if not mine.size:
            continue
        missing = ~np.isfinite(beam.height[cells])
        part = _Beam(
            x[cells], beam.height[cells], np.where(missing, np.nan, sigma[cells]), beam.is_lead[cells]
        )
        h_ref[cells], error[cells], flag[cells], table, used[mine] = _piece(
            part, index[cells] >= 0, leads.isel(lead=mine), method, windows, model
        )
        tables.append(table)
    names = ("centre", "x", "height", "sigma", "n_leads")
    empty = xr.Dataset({k: ("window", np.empty(0)) for k in names})
    table = xr.concat(tables, "window") if tables else empty
    return SeaSurface(h_ref, error, flag, index, leads.drop_vars("weight").assign(used=("lead", used)), table)


# -- by evidence -------------------------------------------------------------------------------------------
def _with_evidence(beam: _Beam, leads: xr.Dataset) -> xr.Dataset:
    """Leads with the columns that their probability is judged by."""
    first, end = leads["first"].values, leads["last"].values + 1
    out = {}
    for name in ("water_probability", "brightness", "ice_dark", "ice_bright", "photons", "background"):
        column = (beam.evidence or {}).get(name)
        if column is None:
            out[name] = np.full(first.size, np.nan)
            continue
        total = np.concatenate([[0.0], np.cumsum(np.nan_to_num(column))])
        count = np.concatenate([[0], np.cumsum(np.isfinite(column))])
        with np.errstate(invalid="ignore", divide="ignore"):
            # Brightness is a share of rates: a mean over pulses. Photons are counted.
            out[name] = (total[end] - total[first]) / (1 if name == "photons" else count[end] - count[first])
    node, level = lead_evidence.low_level(beam.x, beam.height, beam.sigma)
    good = np.isfinite(level)
    out["low_level"] = (
        np.interp(leads["x"].values, node[good], level[good]) if good.any() else np.full(first.size, np.nan)
    )
    out |= _surroundings(beam, leads["weight"].values, first, end - 1)
    leads = leads.assign({name: ("lead", value) for name, value in out.items()})
    return _without_ice(beam, leads, _spacing(beam.x)).drop_vars("weight")


def _spacing(x: F8) -> float:
    """Distance of segments, m."""
    return float(np.median(np.diff(x))) if x.size > 1 else 2.0


def _surroundings(beam: _Beam, weight: F8, first: NDArray[np.intp], last: NDArray[np.intp]) -> dict[str, F8]:
    """Light of the ice beside leads, and how flat they are."""
    columns, spacing = beam.evidence or {}, _spacing(beam.x)
    skip, cells = round(FOOTPRINT / spacing), round(BESIDE / spacing)
    # Cells that are neither water nor missing: the classifier's ice.
    water = beam.is_lead | ~np.isfinite(beam.height)
    names = {"beside_bright": "light", "background_beside": "background"}
    nothing = np.full(first.size, np.nan)
    out = {
        name: lead_evidence.beside(np.asarray(columns[key], float), water, first, last, skip, cells)
        if columns.get(key) is not None
        else nothing
        for name, key in names.items()
    }
    # Without the ends of the leads, whose footprints reach onto the ice.
    inner = np.where(weight > 0, beam.height, np.nan)
    return out | {"flatness": lead_evidence.flatness(inner, beam.sigma, first, last)}


def _without_ice(beam: _Beam, leads: xr.Dataset, spacing: float) -> xr.Dataset:
    """Leads without the light of the ice beside bright ones, and without the offset of saturated cells beside them.

    What the ice beside may add to dark ones is a column of its own, since it lifts some and others not at all.
    """
    columns = beam.evidence or {}
    nothing = np.zeros(leads.sizes["lead"])
    offset, error, beside = nothing, nothing, nothing
    rows = leads["first"].values, leads["last"].values
    if "brightness" in columns:
        found = lead_footprint.offsets(
            beam.x,
            beam.height,
            beam.sigma,
            np.asarray(columns["brightness"], float),
            leads["weight"].values,
            (*rows, leads["height"].values),
        )
        dark = leads["brightness"].values < 1.0
        offset, error = (np.where(dark, 0.0, value) for value in found)
        beside = np.where(dark, found[0], 0.0)
    if "saturated" in columns:
        more = lead_footprint.saturation(columns["saturated"], rows, round(FOOTPRINT / spacing))
        offset, error = offset + more[0], np.hypot(error, more[1])
    return leads.assign(
        height=leads["height"] - offset,
        sigma=("lead", np.hypot(leads["sigma"].values, error)),
        offset=("lead", offset),
        beside=("lead", beside),
    )


@dataclass(frozen=True)
class _Leads:
    """Leads of all beams: a table for each beam, the number of its ground track, and the tracks' places across, m."""

    tables: list[xr.Dataset]
    tracks: NDArray[np.intp]
    across: F8

    def column(self, name: str) -> F8:
        """Return a column of all leads, beam by beam."""
        return np.concatenate([leads[name].values for leads in self.tables])

    def parts(self, values: NDArray[Any]) -> list[NDArray[Any]]:
        """Split values of all leads by beam."""
        return np.split(values, np.cumsum([leads.sizes["lead"] for leads in self.tables])[:-1])

    def observed(
        self, prior: F8, film: F8, floor: float
    ) -> tuple[surface_process.Observations, NDArray[np.intp]]:
        """Leads in order of distance, as the process takes them, and that order."""
        order = np.argsort(self.column("x"), kind="stable")
        sizes = [leads.sizes["lead"] for leads in self.tables]
        variance = self.column("sigma") ** 2 + floor**2
        found = surface_process.Observations(
            self.column("x")[order],
            self.column("height")[order],
            variance[order],
            prior[order],
            np.repeat(self.tracks, sizes)[order].astype(np.intp),
            film[order],
            lead_evidence.film_height(xr.concat(self.tables, "lead"))[order],
            self.column("beside")[order],
        )
        return found, order


def _by_evidence(
    beams: Sequence[_Beam], across: Sequence[float], rules: LeadOptions, model: SurfaceModel
) -> list[SeaSurface]:
    """Sea surfaces of beams that see one sea, at distances across (m); beams at one distance see the same strip."""
    strips, tracks = np.unique(np.asarray(across, float), return_inverse=True)
    found = [beam.leads(rules) for beam in beams]
    leads = _Leads(
        [_with_evidence(beam, table) for beam, (table, _) in zip(beams, found, strict=True)],
        tracks,
        strips - strips.mean(),
    )
    everything = xr.concat(leads.tables, "lead")
    prior, film = lead_evidence.prior(everything), lead_evidence.film(everything)
    observed, order = leads.observed(prior, film, model.lead_floor)
    node, surface = _at_nodes(beams, observed, leads.across)
    probability = np.zeros(order.size)
    if surface is not None:
        probability[order] = surface.probability
    used = probability >= surface_process.LEAST
    everyone = np.sort(observed.x[used[order]])
    out = []
    own = [leads.parts(values) for values in (prior, probability, used)]
    for k, (beam, (_, index), p, q, keep) in enumerate(zip(beams, found, *own, strict=True)):
        table = leads.tables[k].assign(
            prior=("lead", p),
            probability=("lead", q),
            used=("lead", keep),
            reason=("lead", lead_evidence.reasons(leads.tables[k], p, q)),
        )
        flag = _origin(beam.x, np.sort(table["x"].values[keep]), everyone, model)
        h_ref, error, flag = _on_track(beam.x, node, surface, tracks[k], flag, model)
        out.append(SeaSurface(h_ref, error, flag, index, table, _nodes(node, surface, tracks[k])))
    if all((one.flag >= 0).all() for one in out):
        return out
    return _with_nilas(beams, leads, out, (prior, probability, film), rules, model)


def _at_nodes(
    beams: Sequence[_Beam], observed: surface_process.Observations, across: F8
) -> tuple[F8, surface_process.Surface | None]:
    """Nodes of a pass and the surface there; none without a lead."""
    if not observed.x.size:
        return np.empty(0), None
    ends = min(b.x[0] for b in beams if b.x.size), max(b.x[-1] for b in beams if b.x.size)
    node = NODE * np.arange(np.floor(ends[0] / NODE), np.ceil(ends[1] / NODE) + 1)
    surface = surface_process.fit(observed, node, across)
    if surface is not None:
        surface = replace(surface, variance=surface.variance + lead_footprint.COMMON**2)
    return node, surface


def _on_track(
    x: F8,
    node: F8,
    surface: surface_process.Surface | None,
    track: int,
    flag: NDArray[np.int8],
    model: SurfaceModel,
    *,
    common: float = 0.0,
) -> tuple[F8, F8, NDArray[np.int8]]:
    """Surface and error at the rows of a track, with the flags of those that have one; a common error is added."""
    h_ref, error = np.full(x.size, np.nan), np.full(x.size, np.nan)
    if surface is None:
        return h_ref, error, np.full(x.size, -1, np.int8)
    deviation = np.hypot(np.sqrt(np.interp(x, node, surface.variance[track])), common)
    flag = np.where(deviation <= model.most_error, flag, -1).astype(np.int8)
    there = flag >= 0
    error[there] = deviation[there]
    h_ref[there] = np.interp(x[there], node, surface.height[track])
    return h_ref, error, flag


def _with_nilas(
    beams: Sequence[_Beam],
    leads: _Leads,
    surfaces: list[SeaSurface],
    judged: tuple[F8, F8, F8],
    rules: LeadOptions,
    model: SurfaceModel,
) -> list[SeaSurface]:
    """Return the surfaces, and where they have none, those that runs of nilas out of reach of all leads carry."""
    prior, probability, film = judged
    used = probability >= surface_process.LEAST
    everyone = np.sort(leads.column("x")[used])
    dim = [_nilas(beam, rules, everyone, model.reach) for beam in beams]
    here = np.sort(np.concatenate([runs["x"].values for runs in dim]))
    if not here.size:
        return surfaces
    mine = leads.parts(used)
    kept = [table.isel(lead=keep) for table, keep in zip(leads.tables, mine, strict=True)]
    both = _Leads(
        [xr.concat(pair, "lead") for pair in zip(kept, dim, strict=True)], leads.tracks, leads.across
    )

    def joined(of_leads: F8, of_nilas: float) -> F8:
        return np.concatenate(
            [
                np.append(a[keep], np.full(runs.sizes["lead"], of_nilas))
                for a, keep, runs in zip(leads.parts(of_leads), mine, dim, strict=True)
            ]
        )

    # By their own evidence, as in the first fit: their probability with the others already holds their heights.
    observed, _ = both.observed(joined(prior, nilas.PRIOR), joined(film, 1.0), model.lead_floor)
    node, surface = _at_nodes(beams, observed, leads.across)
    out = []
    for k, (beam, one) in enumerate(zip(beams, surfaces, strict=True)):
        near = nearest_distance(beam.x, here) <= model.reach
        wanted = np.where(near & (one.flag < 0), FROM_NILAS, -1).astype(np.int8)
        h_ref, error, flag = _on_track(
            beam.x, node, surface, int(leads.tracks[k]), wanted, model, common=nilas.ERROR
        )
        more = flag >= 0
        out.append(
            replace(
                one,
                h_ref=np.where(more, h_ref, one.h_ref),
                uncertainty=np.where(more, error, one.uncertainty),
                flag=np.where(more, flag, one.flag).astype(np.int8),
            )
        )
    return out


def _nilas(beam: _Beam, rules: LeadOptions, leads: F8, reach: float) -> xr.Dataset:
    """Find runs of nilas or dark water of a beam out of reach of all leads."""
    columns = beam.evidence or {}
    dim = np.zeros(beam.x.size, bool)
    if "thin_or_water" in columns and "brightness" in columns:
        dim = nilas.cells(columns, round(FOOTPRINT / 2 / _spacing(beam.x)))
    one = replace(beam, is_lead=dim)
    runs = _with_evidence(one, one.leads(rules)[0])
    keep = nilas.are_nilas(runs)
    if leads.size:
        keep &= nearest_distance(runs["x"].values, leads) > reach
    return runs.isel(lead=keep)


def _origin(x: F8, own: F8, everyone: F8, model: SurfaceModel) -> NDArray[np.int8]:
    """Flag of each row: from own leads, between them, beyond them, from other beams, or none."""
    flag = np.full(x.size, -1, np.int8)
    for points, other in ((everyone, True), (own, False)):
        if not points.size:
            continue
        distance = nearest_distance(x, points)
        outside = (x < points[0]) | (x > points[-1])
        reached = distance <= np.where(outside, model.reach, max(model.reach, model.between))
        kind = np.where(distance <= NEAR, 0, np.where(outside, 2 if points.size == 1 else 3, 1))
        flag = np.where(reached, 4 if other else kind, flag).astype(np.int8)
    return flag


def _nodes(node: F8, surface: surface_process.Surface | None, track: int) -> xr.Dataset:
    """Nodes of the surface as the table that windows fill."""
    height = np.full(node.size, np.nan) if surface is None else surface.height[track]
    sigma = np.full(node.size, np.nan) if surface is None else np.sqrt(surface.variance[track])
    values = {
        "centre": node,
        "x": node,
        "height": height,
        "sigma": sigma,
        "n_leads": np.zeros(node.size, np.int32),
    }
    return xr.Dataset({name: ("window", value) for name, value in values.items()})


#: Names of the options that every face takes besides its own.
OPTIONS = tuple(
    f.name for kind in (LeadOptions, WindowOptions, SurfaceModel) for f in fields(kind) if f.name != "method"
)


# -- faces -------------------------------------------------------------------------------------------------
def check_options(method: str, options: Mapping[str, Any]) -> tuple[LeadOptions, WindowOptions, SurfaceModel]:
    """Sort keywords into the records of leads, windows and surface, with the defaults of a method.

    Parameters
    ----------
    method : str
        One of :data:`METHODS`.
    options : mapping
        Fields of :class:`~is2ice.science.leads.LeadOptions` (but its method),
        :class:`~is2ice.science.lead_windows.WindowOptions` and :class:`~is2ice.science.lead_windows.SurfaceModel`.

    Raises
    ------
    ValueError
        An unknown method, or a value out of range.
    TypeError
        An unknown name.
    """
    if method not in METHODS:
        raise ValueError(f"unknown sea-surface method {method!r}; expected one of {', '.join(METHODS)}")
    parts: list[dict[str, Any]] = [{}, {}, {}]
    names = [{f.name for f in fields(c)} for c in (LeadOptions, WindowOptions, SurfaceModel)]
    names[0].discard("method")
    for name, value in options.items():
        home = [k for k in range(3) if name in names[k]]
        if not home:
            known = ", ".join(sorted(set().union(*names)))
            raise TypeError(f"unknown option {name!r} of the sea surface; expected some of {known}")
        parts[home[0]][name] = value
    windows = WindowOptions(**parts[1])
    if windows.smooth is not None and method in ("nearest_minimum", "evidence"):
        raise ValueError(f"smooth: {method} has no value per window to smooth; leave it out")
    if windows.position is None:
        windows = WindowOptions(**parts[1] | {"position": "leads" if method == "crossfit" else "centre"})
    of_leads = {"nearest_minimum": "minimum", "evidence": "crossfit"}.get(method, method)
    leads = LeadOptions(**{"max_length": 1_000.0} | parts[0] | {"method": of_leads})
    return leads, windows, SurfaceModel(**parts[2]).of(method)


def sea_surface(
    x: ArrayLike,
    height: ArrayLike,
    sigma: ArrayLike,
    is_lead: ArrayLike,
    gaps: ArrayLike | None = None,
    *,
    method: str = "evidence",
    **options: Any,
) -> SeaSurface:
    """Sea surface of one track from any segments: 2 m cells, or those of ATL07 and ATL10.

    Parameters
    ----------
    x : array_like, shape (n,)
        Along-track distance of the segments' centres, m, increasing.
    height, sigma : array_like, shape (n,)
        Height and standard error, m; NaN heights are missing data.
    is_lead : array_like of bool, shape (n,)
    gaps : array_like of bool, shape (n,), optional
        Rows that no lead may join to the row before (beside `spacing`).
    method : {"evidence", "crossfit", "nasa", "minimum", "mean", "nearest_minimum"}
    **options
        ``spacing``, the greatest distance of neighbouring segments of one lead, m (by default any rows that follow each
        other); ``scale``, the width of the weights of ``nasa``, m; ``evidence``, a mapping of names to arrays of shape
        (n,), of which any may be left out: ``water_probability``; ``photons`` (number); ``brightness`` (incident photon
        rate over the median of that of the ice within 5 km), ``ice_dark`` and ``ice_bright`` (lower quarter and upper
        tenth of the ice's rate there) and ``light`` (rate of the mean over a footprint of cells that are no water), all
        over that median; ``background`` (1/s); ``thin_or_water`` (1 where the classifier says thin ice or open water,
        else 0: cells of which runs of nilas may be made; leave it out in the melt season);
        ``saturated`` (1 for cells of open water that saturate the detector, 0 for others of open water, NaN elsewhere);
        and fields of :class:`~is2ice.science.leads.LeadOptions`,
        :class:`~is2ice.science.lead_windows.WindowOptions` and :class:`~is2ice.science.lead_windows.SurfaceModel`.

    Returns
    -------
    SeaSurface

    Raises
    ------
    SchemaError
        Shapes differ, or x does not increase.

    References
    ----------
    Iqrah et al. 2025, arXiv:2502.02700 (the four published methods); ATBD for ATL07/ATL10, 4.1.1.17.
    """
    spacing, scale, evidence = (options.pop(k, None) for k in ("spacing", "scale", "evidence"))
    rules, windows, model = check_options(method, options)
    x, height = np.asarray(x, float), np.asarray(height, float)
    check_track(x, height=height, is_lead=is_lead)
    beam = _Beam(
        x,
        height,
        np.broadcast_to(np.asarray(sigma, float), x.shape),
        np.asarray(is_lead, bool),
        None if gaps is None else np.asarray(gaps, bool),
        None if scale is None else np.broadcast_to(np.asarray(scale, float), x.shape),
        spacing,
        evidence,
    )
    if method == "evidence":
        return _by_evidence([beam], [0.0], rules, model)[0]
    return _windowed(beam, method, rules, windows, model)


def _is_lead(
    ds: xr.Dataset, leads: str | ArrayLike | xr.DataArray, min_probability: float
) -> NDArray[np.bool_]:
    """Which segments of a dataset are leads, in the shape of its height."""
    if isinstance(leads, str) and leads == "water":
        if "surface_class" not in ds:
            raise SchemaError(
                "surface_class: missing, so no segment is known to be open water. Classify first "
                "(is2ice.classifiers), or name a boolean variable with leads="
            )
        mask = ds["surface_class"].values == schema.OPEN_WATER
        if "segment_quality" in ds:
            # Returns that saturate the detector are centimetres to a decimetre too high, all of a lead alike.
            mask &= (ds["segment_quality"].values & schema.Quality.PHOTON_RATE_SATURATED) == 0
        if min_probability > 0:
            if "class_probability" not in ds:
                raise SchemaError("class_probability: missing; min_probability needs it. Leave it at 0")
            p = ds["class_probability"].transpose(..., "surface").values[..., schema.OPEN_WATER]
            mask &= p >= min_probability
        return mask
    if isinstance(leads, str):
        if leads not in ds:
            raise SchemaError(f"leads={leads!r}: no such variable; the dataset has {', '.join(map(str, ds))}")
        leads = ds[leads]
    mask = np.asarray(leads)
    if mask.shape != ds["height"].shape:
        raise SchemaError(f"leads: expected shape {ds['height'].shape} as height, got {mask.shape}")
    if mask.dtype.kind not in "bui":
        raise SchemaError(f"leads: expected a boolean mask, got dtype {mask.dtype}")
    return mask.astype(bool)


def _sigma(ds: xr.Dataset, sigma: str | float) -> F8:
    names = {"standard_error": "height_uncertainty", "spread": "h_std"}
    if not isinstance(sigma, str):
        return np.full(ds["height"].shape, float(sigma))
    name = names.get(sigma, sigma)
    if name not in ds:
        raise SchemaError(
            f"sigma={sigma!r}: the dataset has no {name}; expected 'standard_error' (height_uncertainty), "
            "'spread' (h_std), the name of a variable, or a number of metres"
        )
    return np.asarray(ds[name].values, float)


def _evidence(ds: xr.Dataset, leads: Any) -> list[dict[str, F8]]:
    """Columns by which leads are judged, a mapping for each beam; none where the caller chose the leads."""
    rows = np.atleast_2d(ds["height"].values).shape[0]
    needed = ("class_probability", "n_photons", "n_pulses", "surface_class")
    if not (isinstance(leads, str) and leads == "water") or any(name not in ds for name in needed):
        return [{} for _ in range(rows)]
    dims = ds["height"].dims
    probability = ds["class_probability"].transpose(*dims, "surface").values[..., schema.OPEN_WATER]
    columns = [np.atleast_2d(a) for a in (probability, *(ds[name].values for name in needed[1:]))]
    try:
        pixels = [PIXELS["strong" if spot % 2 else "weak"] for spot in spots(ds)]
    except ValueError:
        pixels = [PIXELS["strong"]] * rows
    x_atc = ds["x_atc"].values.astype(float)
    # Melt ponds are as dim, flat and low as nilas, but lie on floes: then no such run carries the sea surface.
    melting = melt_season.in_season(ds)
    out = []
    for k, (p, photons, pulses, kind, n_pix) in enumerate(zip(*columns, pixels, strict=True)):
        one = {"water_probability": p.astype(float), "photons": photons.astype(float)}
        if not melting:
            one["thin_or_water"] = np.isin(kind, (schema.THIN_ICE, schema.OPEN_WATER)).astype(float)
        if "segment_quality" in ds:
            flagged = np.atleast_2d(ds["segment_quality"].values)[k] & schema.Quality.PHOTON_RATE_SATURATED
            one["saturated"] = np.where(kind == schema.OPEN_WATER, (flagged > 0).astype(float), np.nan)
        if "background_rate" in ds:
            one["background"] = np.atleast_2d(ds["background_rate"].values)[k].astype(float)
        out.append(one | _brightness(photons, pulses, kind, n_pix, x_atc))
    return out


def _brightness(photons: NDArray, pulses: NDArray, kind: NDArray, n_pix: int, x_atc: F8) -> dict[str, F8]:
    """Incident rate of each segment, of the ice about it and the range of that ice, over its median."""
    if not x_atc.size:
        return {name: np.empty(0) for name in ("brightness", "light", "ice_dark", "ice_bright")}
    length = _spacing(x_atc)
    half = max(0, round(FOOTPRINT / length))
    # The range of ice is that of means over two footprints: single cells scatter by their few photons.
    with np.errstate(invalid="ignore", divide="ignore"):
        rate = incident(np.where(pulses > 0, photons / pulses, np.nan), n_pix)
        ice = _light(photons, pulses, kind != schema.THICK_ICE, half, n_pix)
        light = _light(photons, pulses, kind == schema.OPEN_WATER, half // 2, n_pix)
    dark, middle, bright = (local_quantile(ice, q, ICE, length, x_atc[0]) for q in (0.25, 0.5, 0.9))
    middle = np.where(middle > 0, middle, np.nan)
    return {
        "brightness": rate / middle,
        "light": light / middle,
        "ice_dark": dark / middle,
        "ice_bright": bright / middle,
    }


def _light(photons: NDArray, pulses: NDArray, other: NDArray[np.bool_], half: int, n_pix: int) -> F8:
    """Incident rate of the mean over some cells about each, without those that are something else."""
    total, fired = (running_sum(np.where(other, 0, a).astype(float), half) for a in (photons, pulses))
    return np.where(other, np.nan, incident(np.where(fired > 0, total / fired, np.nan), n_pix))


def _across(ds: xr.Dataset) -> list[float]:
    """Distance of each beam across the pass, m: three pairs 3.3 km apart, whose beams, 90 m apart, see one strip."""
    names = [str(b) for b in np.atleast_1d(ds["beam"].values)] if "beam" in ds["height"].dims else [""]
    return [PAIR_SPACING * (int(name[2]) if name in schema.BEAMS else 10 + k) for k, name in enumerate(names)]


def estimate(
    segments: xr.Dataset,
    method: str = "evidence",
    *,
    beams: str = "joint",
    leads: str | ArrayLike | xr.DataArray = "water",
    min_probability: float = 0.0,
    sigma: str | float = "standard_error",
    bridge: float = 0.0,
    **options: Any,
) -> xr.Dataset:
    """Local sea surface of classified segments.

    Parameters
    ----------
    segments : xarray.Dataset
        With dims (beam, x_atc) or (x_atc,): height, height_uncertainty and surface_class.
    method : {"evidence", "crossfit", "nasa", "minimum", "mean", "nearest_minimum"}
        See the module's text.
    beams : {"joint", "alone"}
        Let the beams of a pass share one sea (``evidence`` only; the other methods always take each beam alone).
    leads : "water", str, or boolean array
        Segments that are leads: those of surface_class open_water, a variable, or a mask shaped as height. Leads that
        the caller chose are not judged by class and brightness.
    min_probability : float
        Least class_probability of open water of a lead segment.
    sigma : {"standard_error", "spread"} or str or float
        Width of the weights of ``nasa``: height_uncertainty, h_std, another variable, or metres. The
        variance is always that of height_uncertainty unless a number is given.
    bridge : float
        Missing cells over this length, m, do not end a lead (dark water leaves cells empty). By default any do.
    **options
        Fields of :class:`~is2ice.science.leads.LeadOptions`, :class:`~is2ice.science.lead_windows.WindowOptions` and
        :class:`~is2ice.science.lead_windows.SurfaceModel`. Here ``min_segments`` is 3 by default (6 m leave out
        single mistaken cells) and ``trim`` half a footprint.

    Returns
    -------
    xarray.Dataset
        The segments with lead_index, h_ref, h_ref_uncertainty and h_ref_flag; where no lead is in reach,
        NaN and -1, unless by ``evidence`` runs of nilas carry the surface (flag 5, ``from_nilas``). ``evidence`` adds
        lead_probability.

    Raises
    ------
    SchemaError
        A variable is missing, or x_atc does not increase.

    Examples
    --------
    >>> from is2ice import schema
    >>> ds = schema.mock_segments(2000, stages=("classified",))
    >>> ds["surface_class"][500:520] = schema.OPEN_WATER
    >>> estimate(ds, "crossfit").h_ref_flag.values[[0, 1999]]
    array([0, 0], dtype=int8)
    """
    schema.check_dataset(segments, "sea surface")
    how: dict[str, Any] = {
        "leads": leads,
        "min_probability": min_probability,
        "sigma": sigma,
        "bridge": bridge,
    }
    results = surfaces(segments, method, beams=beams, **how, **options)
    return _with_surface(segments, results, method, check_options(method, options)[1])


def surfaces(
    segments: xr.Dataset,
    method: str = "evidence",
    *,
    beams: str = "joint",
    leads: str | ArrayLike | xr.DataArray = "water",
    min_probability: float = 0.0,
    sigma: str | float = "standard_error",
    bridge: float = 0.0,
    **options: Any,
) -> list[SeaSurface]:
    """Local sea surface of classified segments, with the tables of leads that it rests on.

    Parameters
    ----------
    segments, method, beams, leads, min_probability, sigma, bridge, **options
        As of :func:`estimate`.

    Returns
    -------
    list of SeaSurface
        One for each beam.
    """
    if "height" not in segments:
        raise SchemaError("height: missing; the sea surface needs segments with a corrected height")
    if beams not in ("joint", "alone"):
        raise ValueError(f"beams={beams!r}: expected 'joint' or 'alone'")
    length = schema.segment_length(segments)
    dims = segments["height"].dims
    if dims not in (("x_atc",), ("beam", "x_atc")):
        raise SchemaError(f"height: expected dims (x_atc,) or (beam, x_atc), got {dims}")
    defaults = {"min_segments": 3, "trim": FOOTPRINT / 2, "extent": length}
    # By evidence the light of the ice beside is taken out, and only what a straight edge does not explain is left.
    defaults["edge"] = (
        {"crossfit": EDGE, "evidence": EDGE / 2}.get(method, 0.0) if length < FOOTPRINT else 0.0
    )
    rules, windows, model = check_options(method, defaults | options)
    tracks = _beams(segments, leads, min_probability, sigma, length + bridge)
    if method != "evidence":
        return [_windowed(beam, method, rules, windows, model) for beam in tracks]
    if beams == "joint":
        # In the order of their names, so that the same bits come from any order of the beams.
        order = np.argsort(np.atleast_1d(segments["beam"].values).astype(str)) if len(tracks) > 1 else [0]
        across = _across(segments)
        found = _by_evidence([tracks[k] for k in order], [across[k] for k in order], rules, model)
        return [found[k] for k in np.argsort(order)]
    return [_by_evidence([beam], [0.0], rules, model)[0] for beam in tracks]


def _beams(
    ds: xr.Dataset, leads: Any, min_probability: float, sigma: str | float, spacing: float
) -> list[_Beam]:
    """Return the beams of a dataset as arrays."""
    x = ds["x_atc"].values.astype(float) + schema.segment_length(ds) / 2
    check_track(x)
    height = np.atleast_2d(np.asarray(ds["height"].values, float))
    mask = np.atleast_2d(_is_lead(ds, leads, min_probability))
    error = np.atleast_2d(_sigma(ds, "standard_error" if isinstance(sigma, str) else sigma))
    scale = np.atleast_2d(_sigma(ds, sigma))
    judged = _evidence(ds, leads)
    return [
        _Beam(x, height[k], error[k], mask[k], None, scale[k], spacing, judged[k])
        for k in range(height.shape[0])
    ]


def _with_surface(
    segments: xr.Dataset, results: list[SeaSurface], method: str, windows: WindowOptions
) -> xr.Dataset:
    """Return the segments with the surfaces of their beams, and a note on leads left out."""
    dims, shape = segments["height"].dims, segments["height"].shape

    def stack(values: list[np.ndarray], dtype: str) -> tuple[tuple[Any, ...], np.ndarray]:
        return dims, np.stack(values).astype(dtype).reshape(shape)

    out = segments.assign(
        lead_index=stack([r.lead_index for r in results], "i4"),
        h_ref=stack([r.h_ref for r in results], "f4"),
        h_ref_uncertainty=stack([r.uncertainty for r in results], "f4"),
        h_ref_flag=stack([r.flag for r in results], "i1"),
    )
    names = segments["beam"].values if "beam" in dims else [segments.attrs.get("beam", "track")]
    notes = [note for name, r in zip(names, results, strict=True) if (note := _left_out(str(name), r.leads))]
    if method == "evidence":
        p = [np.append(r.leads["probability"].values, np.nan)[r.lead_index] for r in results]
        out["lead_probability"] = stack(p, "f4")
        if notes:
            out.attrs["notes"] = list(dict.fromkeys([*segments.attrs.get("notes", ()), *notes]))
    if segments.attrs.get("height_reference") == "geoid":
        out["h_ref"].attrs["comment"] = "above the geoid: no mean sea surface was given"
    out = schema.annotate(out, "seasurface")
    how = f", windows of {windows.window:g} m every {windows.step:g} m" if method != "evidence" else ""
    out["h_ref"].attrs["source"] = method + how
    return out


def _left_out(beam: str, leads: xr.Dataset) -> str:
    """Return a line on the leads of a beam that are not used, by reason; empty if all are."""
    out = int((~leads["used"].values).sum())
    if not out:
        return ""
    why = ""
    if "reason" in leads:
        count = np.bincount(leads["reason"].values, minlength=len(lead_evidence.REASONS))
        why = ": " + ", ".join(f"{count[k]} {lead_evidence.REASONS[k]}" for k in np.flatnonzero(count) if k)
    line = f"{beam}: {out} of {leads.sizes['lead']} leads left out{why}"
    log.debug(line)
    return line

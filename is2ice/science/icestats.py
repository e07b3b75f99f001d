r"""Statistics of leads, floes, ridges and roughness along a track.

All are what a line across the ice meets: the *width* of an opening is the length of water along the track, which
is the true width only where the crossing is square; the same holds for a floe's *chord*.

* **Leads and openings.** A *lead* is open water that the sea surface rests on
  (:func:`is2ice.science.leads.lead_extents`): its number is the same in runs, stores, maps, comparisons and here. An
  *opening* is water by its class alone, and thin ice too if asked for; widths and spacings are those of openings.

* **Chords.** Segments are lead (open water, or thin ice too) or ice. Missing cells take the state of the nearest
  cell where the gap is no longer than `bridge`; longer gaps cut the track. Leads shorter than `min_lead` are taken
  as ice, then ice shorter than `min_floe` between leads as lead. A chord is complete where the track
  goes on in the other state at both ends; only complete ones enter means, since those cut short are longer
  than they look. (Long chords are cut more often, so means remain a little low in broken tracks.) A mean over floes
  is not the floe that a place on the ice lies in: many rims and brash outnumber the few floes that hold most of the
  ice. So floes also have a mean weighted by length, and the chord over which half of the ice lies.
* **Ridges.** Height above the local level ice (the lower quartile of the ice freeboard over 1 km). A crest is a
  maximum above the cutoff that rises above the troughs beside it by at least half its height (Rayleigh's
  criterion).
* **Roughness.** Standard deviation of ice heights about a straight line over 100 m, at multiples of 100 m, less
  the variance that the heights' own errors explain. Windows with water, or less than half filled, have none.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from is2ice import schema
from is2ice.errors import SchemaError

from .leads import lead_extents

__all__ = ["chords", "per_segment", "ridges", "roughness", "statistics"]

F8 = NDArray[np.float64]
LEAD, ICE, MISSING = 1, 0, -1


def _track(segments: xr.Dataset, *names: str) -> tuple[F8, float]:
    """Distances of the cells' centres and the cell length of one track that holds some variables."""
    if "beam" in segments.dims:
        raise SchemaError("dims (beam, x_atc): expected one track; take one beam, such as cube.isel(beam=0)")
    missing = [name for name in names if name not in segments]
    if missing:
        raise SchemaError(
            f"{', '.join(missing)}: missing; these statistics need {', '.join(names)}",
            [f"{name}: missing" for name in missing],
        )
    length = schema.segment_length(segments)
    return segments["x_atc"].values.astype(float) + length / 2, length


def _is_ice(segments: xr.Dataset) -> NDArray[np.bool_]:
    return np.isin(segments["surface_class"].values, (schema.THICK_ICE, schema.THIN_ICE))


def _runs(state: NDArray) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """First and last row of each run of equal values."""
    edge = np.flatnonzero(np.diff(state)) + 1
    return np.r_[0, edge], np.r_[edge, state.size] - 1


def _states(segments: xr.Dataset, bridge: int, min_lead: int, min_floe: int, thin_ice: bool) -> NDArray:
    """Lead, ice or missing, cell by cell."""
    code = np.asarray(segments["surface_class"].values).astype(int)
    lead = code == schema.OPEN_WATER
    if thin_ice:
        lead |= code == schema.THIN_ICE
    state = np.where(code == schema.UNLABELLED, MISSING, np.where(lead, LEAD, ICE))
    if not state.size:
        return state
    first, last = _runs(state)
    for i, j in zip(first, last, strict=True):
        if state[i] == MISSING and i > 0 and j < state.size - 1 and j - i + 1 <= bridge:
            half = (i + j + 1) // 2
            state[i:half], state[half : j + 1] = state[i - 1], state[j + 1]
    for kind, other, least in ((LEAD, ICE, min_lead), (ICE, LEAD, min_floe)):
        first, last = _runs(state)
        for k, (i, j) in enumerate(zip(first, last, strict=True)):
            inner = 0 < k < first.size - 1 and state[i - 1] == other == state[j + 1]
            if state[i] == kind and j - i + 1 < least and (inner or kind == LEAD):
                state[i : j + 1] = other
    return state


def chords(
    segments: xr.Dataset,
    *,
    bridge: float = 20.0,
    min_lead: float = 6.0,
    min_floe: float = 10.0,
    thin_ice: bool = False,
) -> xr.Dataset:
    """Leads and floes along one track.

    Parameters
    ----------
    segments : xarray.Dataset
        Dims (x_atc,), with surface_class.
    bridge, min_lead, min_floe : float
        m; see the module's text. Leads of under 6 m are seldom more than single mistaken cells, and floes of
        under 10 m are smaller than the footprint.
    thin_ice : bool
        True if thin ice counts as lead.

    Returns
    -------
    xarray.Dataset
        On ``chord``, in order: ``kind`` (1 lead, 0 floe), ``first`` and ``last`` row, ``x`` (centre, m), ``length``
        (m), ``complete``.

    Raises
    ------
    SchemaError
        Several beams, or no classes.
    """
    x, length = _track(segments, "surface_class")
    gap, lead, floe = (round(v / length) for v in (bridge, min_lead, min_floe))
    state = _states(segments, gap, lead, floe, thin_ice)
    first, last = _runs(state) if state.size else (np.empty(0, int), np.empty(0, int))
    around = np.concatenate([[MISSING], state, [MISSING]])
    kind = state[first] if state.size else first
    complete = (around[first] == 1 - kind) & (around[last + 2] == 1 - kind)
    keep = kind != MISSING
    first, last = first[keep], last[keep]
    return xr.Dataset(
        {
            "kind": ("chord", kind[keep].astype("i1")),
            "first": ("chord", first),
            "last": ("chord", last),
            "x": ("chord", (x[first] + x[last]) / 2, {"units": "m"}),
            "length": ("chord", (last - first + 1) * length, {"units": "m"}),
            "complete": ("chord", complete[keep]),
        },
        attrs={"bridge": bridge, "min_lead": min_lead, "min_floe": min_floe, "thin_ice": int(thin_ice)},
    )


def ridges(
    segments: xr.Dataset, *, cutoff: float = 0.8, level_quantile: float = 0.25, window: float = 1_000.0
) -> xr.Dataset:
    """Ridge crests along one track.

    Parameters
    ----------
    segments : xarray.Dataset
        Dims (x_atc,), with freeboard and surface_class.
    cutoff : float
        Least height above the level ice, m.
    level_quantile, window : float
        The level ice is this quantile of the ice freeboard over this length, m.

    Returns
    -------
    xarray.Dataset
        On ``ridge``: ``row``, ``x`` (m), ``height`` (above the level ice, m), ``level`` (m).
    """
    from scipy.signal import find_peaks

    x, length = _track(segments, "freeboard", "surface_class")
    freeboard = np.asarray(segments["freeboard"].values, float)
    ice = np.isfinite(freeboard) & _is_ice(segments)
    level = _running_quantile(np.where(ice, freeboard, np.nan), level_quantile, round(window / length))
    above = np.where(ice, freeboard - level, np.nan)
    good = np.isfinite(above)
    peak = np.empty(0, int)
    if good.any():
        # Single missing cells do not cut a ridge; water and longer gaps lie at the level.
        row = np.arange(above.size)
        near = np.interp(row, row[good], above[good])
        gap = np.abs(row - row[good][np.clip(np.searchsorted(row[good], row), 0, good.sum() - 1)]) > 2
        filled = np.where(good, above, np.where(gap | np.isfinite(freeboard), 0.0, near))
        peak, told = find_peaks(filled, height=cutoff, prominence=cutoff / 2)
        peak = peak[told["prominences"] >= told["peak_heights"] / 2]
        peak = peak[good[peak]]
    return xr.Dataset(
        {
            "row": ("ridge", peak),
            "x": ("ridge", x[peak], {"units": "m"}),
            "height": ("ridge", above[peak], {"units": "m"}),
            "level": ("ridge", level[peak], {"units": "m"}),
        },
        attrs={"cutoff": cutoff},
    )


def _running_quantile(a: F8, q: float, cells: int) -> F8:
    """Compute a quantile over stretches of `cells`, every half stretch, linear between their middles."""
    cells = max(cells, 2)
    middle, value = [], []
    for i in range(0, a.size, max(cells // 2, 1)):
        part = a[max(0, i - cells // 2) : i + cells // 2 + 1]
        part = part[np.isfinite(part)]
        if part.size >= max(5, cells // 50):
            middle.append(i)
            value.append(np.quantile(part, q))
    if not value:
        return np.full(a.size, np.nan)
    return np.interp(np.arange(a.size), middle, value)


def roughness(segments: xr.Dataset, *, window: float = 100.0) -> F8:
    """Roughness of the ice surface, m, the same for all cells of a window.

    Parameters
    ----------
    segments : xarray.Dataset
        Dims (x_atc,), with height, height_uncertainty and surface_class.
    window : float
        m.

    Returns
    -------
    numpy.ndarray, shape (x_atc,)
        NaN in windows with water, or less than half filled.
    """
    x, length = _track(segments, "height", "height_uncertainty", "surface_class")
    h = np.asarray(segments["height"].values, float)
    noise = np.asarray(segments["height_uncertainty"].values, float) ** 2
    water = segments["surface_class"].values == schema.OPEN_WATER
    number = np.floor(x / window).astype(np.int64)
    number -= number[0] if number.size else 0
    size = int(number[-1]) + 1 if number.size else 0
    good = np.isfinite(h) & np.isfinite(noise) & _is_ice(segments)
    k, t = number[good], (x[good] / window) % 1.0 - 0.5

    def total(values: F8) -> F8:
        return np.bincount(k, values, size).astype(float)

    n = total(np.ones(k.size))
    # Heights of a window about one of their own, so that squares keep their digits.
    with np.errstate(invalid="ignore", divide="ignore"):
        centred = h[good] - (total(h[good]) / n)[k]
        mean_t = total(t) / n
        tt = total(t * t) - n * mean_t**2
        th = total(t * centred)
        square = total(centred**2) - np.where(tt > 0, th**2 / tt, 0.0)
        variance = square / (n - 2.0) - total(noise[good]) / n
        enough = (n >= max(3.0, 0.5 * window / length)) & (np.bincount(number, water, size) == 0)
        return np.sqrt(np.where(enough, np.maximum(variance, 0.0), np.nan))[number]


_EVENTS = {
    "lead_width": "length of open water along the track, at the middle of a complete lead",
    "lead_spacing": "distance from the middle of the lead before, at the middle of a lead",
    "floe_length": "length of ice along the track, at the middle of a complete floe",
    "ridge_height": "height of a ridge crest above the level ice",
    "roughness": "standard deviation of ice heights over 100 m about a straight line, without their noise",
}


def per_segment(segments: xr.Dataset, **options: Any) -> xr.Dataset:
    """Leads, floes, ridges and roughness as variables of the segments, so that they can be mapped.

    Parameters
    ----------
    segments : xarray.Dataset
        Dims (x_atc,), with height, height_uncertainty, surface_class and freeboard.
    **options
        Options of :func:`chords`.

    Returns
    -------
    xarray.Dataset
        The segments with ``lead_width``, ``lead_spacing``, ``floe_length``, ``ridge_height`` (each at one segment, NaN
        elsewhere) and ``roughness``, m.
    """
    table = chords(segments, **options)
    n = segments.sizes["x_atc"]
    out = {name: np.full(n, np.nan, "f4") for name in _EVENTS}
    middle = ((table["first"] + table["last"]) // 2).values
    whole, lead = table["complete"].values, table["kind"].values == LEAD
    out["lead_width"][middle[whole & lead]] = table["length"].values[whole & lead]
    out["floe_length"][middle[whole & ~lead]] = table["length"].values[whole & ~lead]
    later, spacing = _spacing(table)
    out["lead_spacing"][middle[later]] = spacing
    crests = ridges(segments)
    out["ridge_height"][crests["row"].values] = crests["height"].values
    out["roughness"] = roughness(segments).astype("f4")
    made = {name: ("x_atc", v, {"units": "m", "long_name": _EVENTS[name]}) for name, v in out.items()}
    return segments.assign(made)


def _spacing(table: xr.Dataset) -> tuple[NDArray[np.intp], F8]:
    """Leads that have one before them across nothing but a complete floe, and the distance of their middles."""
    kind, whole, x = table["kind"].values, table["complete"].values, table["x"].values
    floe = np.flatnonzero((kind == ICE) & whole)
    return floe + 1, x[floe + 1] - x[floe - 1]


def statistics(segments: xr.Dataset, **options: Any) -> dict[str, Any]:
    """Statistics of one track, as JSON can hold them.

    Parameters
    ----------
    segments : xarray.Dataset
        As for :func:`per_segment`.
    **options
        Options of :func:`chords`.

    Returns
    -------
    dict
        ``length_km`` (classified), ``lead_fraction``, ``thin_ice_fraction``; ``leads`` (n, per_km; None without a sea
        surface), ``openings`` (n, complete, per_km, width_mean, width_median, width_p90), ``spacing`` (n, mean,
        median), ``floes`` (n, complete, chord_mean, chord_median, chord_p90; ``chord_mean_by_length`` and
        ``half_of_ice_in_chords_over``, of the ice and not of the floes), ``ridges`` (n, per_km of ice, height_mean),
        ``roughness`` (km, mean, median). m unless named; None where there is nothing to average.
    """
    schema.check_dataset(segments, "statistics")
    _, length = _track(segments, "surface_class")
    code = segments["surface_class"].values
    classified = int((code != schema.UNLABELLED).sum())
    km = classified * length / 1e3
    ice_km = _is_ice(segments).sum() * length / 1e3
    table = chords(segments, **options)
    lead, whole = table["kind"].values == LEAD, table["complete"].values
    long = table["length"].values
    crests, rough = ridges(segments)["height"].values, roughness(segments)
    rough = rough[np.isfinite(rough)]
    leads = len(lead_extents(segments)) if "lead_index" in segments else None
    return {
        "length_km": round(km, 3),
        "lead_fraction": _ratio((code == schema.OPEN_WATER).sum(), classified),
        "thin_ice_fraction": _ratio((code == schema.THIN_ICE).sum(), classified),
        "leads": {"n": leads, "per_km": None if leads is None else _ratio(leads, km)},
        "openings": {
            "n": int(lead.sum()),
            "complete": int((lead & whole).sum()),
            "per_km": _ratio(lead.sum(), km),
        }
        | _summary(long[lead & whole], "width"),
        "spacing": {"n": int(_spacing(table)[1].size)} | _summary(_spacing(table)[1], "distance"),
        "floes": {"n": int((~lead).sum()), "complete": int((~lead & whole).sum())}
        | _summary(long[~lead & whole], "chord")
        | _by_length(long[~lead & whole]),
        "ridges": {"n": int(crests.size), "per_km": _ratio(crests.size, ice_km)} | _summary(crests, "height"),
        "roughness": {"km": round(rough.size * length / 1e3, 3)} | _summary(rough, "rms"),
    }


def _by_length(chord: F8) -> dict[str, float | None]:
    """Mean chord weighted by length, and the chord over which half of the ice lies."""
    if not chord.size:
        return {"chord_mean_by_length": None, "half_of_ice_in_chords_over": None}
    order = np.sort(chord)
    half = order[np.searchsorted(np.cumsum(order), 0.5 * order.sum())]
    return {
        "chord_mean_by_length": round(float((chord**2).sum() / chord.sum()), 4),
        "half_of_ice_in_chords_over": round(float(half), 4),
    }


def _ratio(a: Any, b: Any) -> float | None:
    return round(float(a) / float(b), 5) if b else None


def _summary(values: F8, name: str) -> dict[str, float | None]:
    if not values.size:
        return {f"{name}_{k}": None for k in ("mean", "median", "p90")}
    numbers = (values.mean(), np.median(values), np.quantile(values, 0.9))
    return {
        f"{name}_{k}": round(float(v), 4) for k, v in zip(("mean", "median", "p90"), numbers, strict=True)
    }

r"""The local sea surface along a track, from its leads.

Windows of 10 km every 5 km (at multiples of the step, so that beams, passes and subsets share them) gather
the leads whose centre they hold; between windows the surface is linear in distance. How a lead gets its height is told
in :mod:`is2ice.science.leads`; the methods of a window are

=================== ============================================ =====================
method              value of the window                          placed at
=================== ============================================ =====================
``crossfit``        inverse variance over the lower consensus    position of its leads
``nasa``            inverse variance over all leads (ATL10)      centre of the window
``minimum``         lowest segment of any lead                   centre
``mean``            mean of all lead segments                    centre
``nearest_minimum`` per segment: the nearest of the ten lowest   each segment
=================== ============================================ =====================

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

**Uncertainty.** At any x, h_ref is a linear combination :math:`\sum c_k h_k` of lead heights. With
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
(`benchmarks/closed_loop.py` tells errors by flag). Elsewhere there is no sea surface: NaN, flag -1.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from is2ice import schema
from is2ice.errors import SchemaError

from .lead_windows import (
    F8,
    METHODS,
    Model,
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
from .leads import FOOTPRINT, check_track, find_leads, lead_index

__all__ = ["METHODS", "SeaSurface", "estimate", "find_leads", "sea_surface"]

log = logging.getLogger("is2ice")

#: A lead's segments near its ends see ice through the 11 m footprint. Over simulated passes (650 bright and dark
#: leads of three presets) leads of 5-17 m were 2.5-3 cm worse than their photons say, of 17-40 m 1-2 cm, of more
#: than 40 m below 1 cm: an error of EDGE exp(-length / EDGE_LENGTH) describes it.
EDGE, EDGE_LENGTH = 0.05, 20.0


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
        As of :func:`is2ice.science.leads.find_leads`; with ``used``, False where every window left the lead out.
    windows : xarray.Dataset
        On ``window``: centre, x (position of the value), height, sigma, n_leads; NaN without leads.
    """

    h_ref: F8
    uncertainty: F8
    flag: NDArray[np.int8]
    lead_index: NDArray[np.int32]
    leads: xr.Dataset
    windows: xr.Dataset


def _piece(
    x: F8, h: F8, s: F8, lead: NDArray[np.bool_], leads: xr.Dataset, grid: tuple[float, float, float],
    method: str, position: str, smooth: int | None, model: Model,
) -> tuple[F8, F8, NDArray[np.int8], xr.Dataset, NDArray[np.bool_]]:  # fmt: skip
    """Sea surface at the rows x of one piece of track from its leads (at least one)."""
    window, step, origin = grid
    number = np.floor((x - origin) / step + 0.5).astype(np.intp)
    centre = origin + step * np.arange(number[0], number[-1] + 1)
    own = number - number[0]
    as_leads = "minimum" if method == "nearest_minimum" else method
    operator = window_operator(leads, centre, window / 2, as_leads, model, smooth)
    weight = operator.sum(axis=1)
    has = weight > 0
    full = operator[np.flatnonzero(has)]
    x0 = leads["x"].values[0]
    node = full @ (leads["x"].values - x0) + x0 if position == "leads" else centre[has]
    at, merged = merge_nodes(node, full)
    value = merged @ leads["height"].values
    slope = track_slope(at, value, merged.power(2) @ (leads["sigma"].values ** 2), model.slope, step)

    if method == "nearest_minimum":
        h_ref, variance = nearest_minimum(x, h, s, lead, centre, window / 2, own, slope)
        h_ref, variance = fill(x, h_ref, variance)
        used = np.ones(leads.sizes["lead"], bool)
        variance += model.variability**2 * nearest_distance(x, leads["x"].values) / 1e3
    else:
        h_ref = np.interp(x, at, value)
        y = np.unique(np.concatenate([at, np.arange(x[0], x[-1] + step / 20, step / 20)]))
        rough = variance_at(y, between(y, at) @ merged, leads, model, slope)
        variance = np.square(np.interp(x, y, np.sqrt(rough)))
        used = np.asarray(abs(operator).sum(axis=0) > 0)
        variance += misfit(leads.isel(lead=used), at, value, model.floor)
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

    windows = xr.Dataset(
        {
            "centre": ("window", centre),
            "x": spread(node),
            "height": spread(full @ leads["height"].values),
            "sigma": spread(np.sqrt(full.power(2) @ (leads["sigma"].values ** 2 + model.floor**2))),
            "n_leads": ("window", np.diff(operator.indptr).astype(np.int32)),
        }
    )
    return h_ref, np.sqrt(variance), flag, windows, used


def sea_surface(
    x: ArrayLike,
    height: ArrayLike,
    sigma: ArrayLike,
    is_lead: ArrayLike,
    gaps: ArrayLike | None = None,
    *,
    method: str = "crossfit",
    window: float = 10_000.0,
    step: float = 5_000.0,
    origin: float = 0.0,
    spacing: float | None = None,
    min_segments: int = 1,
    max_length: float | None = 1_000.0,
    edge: float = 0.0,
    extent: float = 0.0,
    max_gap: float = 10_000.0,
    reach: float = 10_000.0,
    between: float = 20_000.0,
    smooth: int | None = None,
    position: str | None = None,
    reject: float | None = None,
    lead_floor: float | None = None,
    variability: float = 0.007,
    slope: float = 1e-5,
    scale: ArrayLike | None = None,
    kernel: str = "gaussian",
    trim: float = 0.0,
    min_sigma: float = 1e-3,
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
    method : {"crossfit", "nasa", "minimum", "mean", "nearest_minimum"}
    window, step, origin : float
        Length of the windows, distance of their centres, and a centre, m.
    spacing : float, optional
        Greatest distance of neighbouring segments of one lead, m. By default any rows that follow each other.
    min_segments : int
        Shorter runs of lead segments are no leads.
    max_length : float, optional
        Longer leads are cut into equal parts, m.
    edge : float
        Error of very short leads, m, falling off by e every EDGE_LENGTH of lead: their footprints reach the
        ice on both sides.
    extent : float
        Added to the distance of first and last centre to give a lead's length, m.
    max_gap : float
        Missing data longer than this, m, cut the track into pieces that share no window and no
        interpolation.
    reach, between : float
        No sea surface farther than this from the nearest lead in use, m: beyond the outermost lead, and between two
        leads (never nearer than `reach`).
    smooth : int, optional
        Running mean over so many windows (3 in ATL10).
    position : {"leads", "centre"}, optional
        Where the value of a window is put; "leads" for ``crossfit``, "centre" for the published methods.
    reject : float, optional
        Standard errors above the consensus beyond which a lead is left out (``crossfit`` only); 2.5.
    lead_floor : float, optional
        Real differences between leads, m, added to their errors; 0.01 for ``crossfit``, else 0.
    variability : float
        Wander of the sea surface after 1 km, m, growing as the square root of the distance.
    slope : float
        Prior standard deviation of the sea-surface slope, m/m.
    scale, kernel, trim, min_sigma
        As of :func:`is2ice.science.leads.find_leads`.

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
    position = position or ("leads" if method == "crossfit" else "centre")
    _check_options(method, position, window, step, smooth)
    x, height = np.asarray(x, float), np.asarray(height, float)
    check_track(x, height=height, is_lead=is_lead)
    sigma = np.broadcast_to(np.asarray(sigma, float), x.shape)
    crossfit = method == "crossfit"
    model = Model(
        reject=(2.5 if reject is None else reject) if crossfit else np.inf,
        floor=(0.01 if crossfit else 0.0) if lead_floor is None else lead_floor,
        variability=variability,
        slope=slope,
        reach=reach,
        between=between,
    )
    row = np.flatnonzero(np.isfinite(height))
    xd, hd, sd = x[row], height[row], sigma[row]
    breaks = None if gaps is None else np.diff(np.cumsum(np.asarray(gaps, bool))[row], prepend=0) > 0
    leads = find_leads(
        xd, hd, sd, np.asarray(is_lead, bool)[row], spacing,
        method="minimum" if method == "nearest_minimum" else method,
        breaks=breaks, min_segments=min_segments, max_length=max_length, extent=extent,
        scale=None if scale is None else np.broadcast_to(scale, x.shape)[row], kernel=kernel, trim=trim,
        min_sigma=min_sigma,
    )  # fmt: skip
    if edge:
        beyond_footprint = edge * np.exp(-leads["length"].values / EDGE_LENGTH)
        leads["sigma"] = np.hypot(leads["sigma"], beyond_footprint)
    index = np.full(x.size, -1, np.int32)
    index[row] = lead_index(leads, row.size)
    sd = np.where(np.isfinite(sd), np.maximum(sd, min_sigma), 0.1)

    h_ref, error = np.full(x.size, np.nan), np.full(x.size, np.nan)
    flag, used = np.full(x.size, -1, np.int8), np.zeros(leads.sizes["lead"], bool)
    windows = []
    cuts = np.flatnonzero(np.diff(xd) > max_gap) + 1
    for i, j in zip([0, *cuts], [*cuts, row.size], strict=True):
        mine = np.flatnonzero((leads["first"].values >= i) & (leads["last"].values < j))
        if i == j or not mine.size:
            continue
        cells = slice(row[i], row[j - 1] + 1)
        everywhere = np.full((2, x[cells].size), np.nan)
        everywhere[:, row[i:j] - row[i]] = hd[i:j], sd[i:j]
        h_ref[cells], error[cells], flag[cells], table, used[mine] = _piece(
            x[cells], everywhere[0], everywhere[1], index[cells] >= 0, leads.isel(lead=mine),
            (window, step, origin), method, position, smooth, model,
        )  # fmt: skip
        windows.append(table)
    leads = leads.drop_vars("weight").assign(
        first=("lead", row[leads["first"].values]),
        last=("lead", row[leads["last"].values]),
        used=("lead", used),
    )
    names = ("centre", "x", "height", "sigma", "n_leads")
    empty = xr.Dataset({k: ("window", np.empty(0)) for k in names})
    table = xr.concat(windows, "window") if windows else empty
    return SeaSurface(h_ref, error, flag, index, leads, table)


def _check_options(method: str, position: str, window: float, step: float, smooth: int | None) -> None:
    if method not in METHODS:
        raise ValueError(f"unknown sea-surface method {method!r}; expected one of {', '.join(METHODS)}")
    if position not in ("leads", "centre"):
        raise ValueError(f"unknown position {position!r}; expected 'leads' or 'centre'")
    if not 0 < step <= window:
        raise ValueError(f"step: expected 0 < step <= window ({window:g} m), got {step:g} m")
    if smooth is not None and (smooth < 1 or smooth % 2 == 0):
        raise ValueError(f"smooth: expected an odd number of windows, got {smooth}")
    if smooth is not None and method == "nearest_minimum":
        raise ValueError("smooth: nearest_minimum has no value per window to smooth; leave it out")


#: Bit of segment_quality: more photons a pulse than the first-photon bias can be corrected for.
SATURATED_BIT = next(b for b, name in schema.QUALITY_BITS.items() if name == "photon_rate_saturated")


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
            mask &= (ds["segment_quality"].values & SATURATED_BIT) == 0
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


def estimate(
    segments: xr.Dataset,
    method: str = "crossfit",
    *,
    window: float = 10_000.0,
    step: float = 5_000.0,
    min_segments: int = 3,
    max_gap: float = 10_000.0,
    reach: float = 10_000.0,
    between: float = 20_000.0,
    smooth: int | None = None,
    position: str | None = None,
    sigma: str | float = "standard_error",
    leads: str | ArrayLike | xr.DataArray = "water",
    min_probability: float = 0.0,
    bridge: float = 0.0,
    trim: float = FOOTPRINT / 2,
    **options: Any,
) -> xr.Dataset:
    """Local sea surface of classified segments.

    Parameters
    ----------
    segments : xarray.Dataset
        With dims (beam, x_atc) or (x_atc,): height, height_uncertainty and surface_class. Each beam has its own
        sea surface.
    method : {"crossfit", "nasa", "minimum", "mean", "nearest_minimum"}
        See the module's text.
    window, step : float
        Length and distance of the windows, m.
    min_segments : int
        Fewer consecutive segments are no lead. Three (6 m) leave out single mistaken cells; a lead that the
        11 m footprint can see fills more.
    max_gap : float
        Missing data longer than this, m, cut the track into separate pieces.
    reach, between : float
        No sea surface farther than this from the nearest lead, m: beyond the outermost lead, and between two.
    smooth : int, optional
        Running mean over so many windows.
    position : {"leads", "centre"}, optional
        Where the value of a window is put; by default at its leads for ``crossfit``, else at the centre.
    sigma : {"standard_error", "spread"} or str or float
        Width of the weights of ``nasa``: height_uncertainty, h_std, another variable, or metres. The
        variance is always that of height_uncertainty unless a number is given.
    leads : "water", str, or boolean array
        Segments that are leads: those of surface_class open_water, a variable, or a mask shaped as height.
    min_probability : float
        Least class_probability of open water of a lead segment.
    bridge : float
        Missing cells over this length, m, do not end a lead (dark water leaves cells empty). By default any do.
    trim : float
        Segments this near to an end of a lead, m, get no weight (``crossfit``): their footprint holds ice.
    **options
        Further options of :func:`sea_surface`.

    Returns
    -------
    xarray.Dataset
        The segments with lead_index, h_ref, h_ref_uncertainty and h_ref_flag; where no lead is in reach,
        NaN and -1.

    Raises
    ------
    SchemaError
        A variable is missing, or x_atc does not increase.

    Examples
    --------
    >>> from is2ice import schema
    >>> ds = schema.mock_segments(2000, stages=("classified",))
    >>> ds["surface_class"][500:520] = schema.OPEN_WATER
    >>> estimate(ds).h_ref_flag.values[[0, 1999]]
    array([0, 0], dtype=int8)
    """
    if "height" not in segments:
        raise SchemaError("height: missing; the sea surface needs segments with a corrected height")
    x_atc = segments["x_atc"].values.astype(float)
    length = float(segments.attrs.get("segment_length", np.median(np.diff(x_atc)) if x_atc.size > 1 else 2.0))
    dims = segments["height"].dims
    if dims not in (("x_atc",), ("beam", "x_atc")):
        raise SchemaError(f"height: expected dims (x_atc,) or (beam, x_atc), got {dims}")
    height = np.atleast_2d(np.asarray(segments["height"].values, float))
    mask = np.atleast_2d(_is_lead(segments, leads, min_probability))
    number = not isinstance(sigma, str)
    error = np.atleast_2d(_sigma(segments, sigma if number else "standard_error"))
    scale = np.atleast_2d(_sigma(segments, sigma))
    results = [
        sea_surface(
            x_atc + length / 2, height[k], error[k], mask[k], method=method, window=window, step=step,
            spacing=length + bridge, min_segments=min_segments, extent=length, max_gap=max_gap, reach=reach,
            between=between, smooth=smooth, position=position, scale=scale[k], trim=trim,
            **{"edge": EDGE if method == "crossfit" and length < FOOTPRINT else 0.0} | options,
        )
        for k in range(height.shape[0])
    ]  # fmt: skip
    for k, result in enumerate(results):
        beam = segments["beam"].values[k] if "beam" in dims else segments.attrs.get("beam", "track")
        log.debug(
            "%s: %d leads, %d left out", beam, result.leads.sizes["lead"], int((~result.leads.used).sum())
        )

    def stack(name: str, dtype: str) -> tuple[tuple[Any, ...], np.ndarray]:
        values = np.stack([getattr(r, name) for r in results]).astype(dtype)
        return dims, values.reshape(segments["height"].shape)

    out = segments.assign(
        lead_index=stack("lead_index", "i4"),
        h_ref=stack("h_ref", "f4"),
        h_ref_uncertainty=stack("uncertainty", "f4"),
        h_ref_flag=stack("flag", "i1"),
    )
    if segments.attrs.get("height_reference") == "geoid":
        out["h_ref"].attrs["comment"] = "above the geoid: no mean sea surface was given"
    out = schema.annotate(out, "seasurface")
    out["h_ref"].attrs["source"] = f"{method}, windows of {window:g} m every {step:g} m"
    return out

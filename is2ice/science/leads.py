r"""Leads: runs of open water along a track, and the height of the sea in each of them.

Height of one lead
------------------
A lead is a run of neighbouring segments with heights :math:`h_i` and standard errors
:math:`\sigma_i`. Its height is a weighted mean :math:`H = \sum a_i h_i`, :math:`\sum a_i = 1`, with
standard error :math:`(\sum a_i^2 \sigma_i^2)^{1/2}`; the methods differ in the weights.

``nasa``
    :math:`a_i \propto w_i = \exp(-((h_i - h_{min})/\sigma_i)^2)`, as in ATL10 (ATBD 4.1.1.17, whose leads
    it reproduces). The minimum is an extreme of the noise and the weights follow the noise
    they are to average, so H is low by 1.4, 1.9 and 2.3 cm for leads of 10, 50 and 200 segments of
    5 cm noise where :math:`\sigma_i` is the photon spread (16 cm), and by 5.5, 7.8 and 9.4 cm where it is the
    standard error (5 cm).
``minimum``, ``mean``
    One segment has all the weight (lower still); all have the same (unbiased in pure water, but a
    quarter of 10 cm thin ice inside the lead raises it by 2.5 cm).
``crossfit``
    Weights that see the thin ice but not the noise which they average.

Cross-fitted weights
--------------------
Write :math:`h_i = \mu_i + e_i` with independent noise of mean zero. Any rule that computes the weights from
the same heights has :math:`E[a_i e_i] \neq 0`: that covariance is the bias. So the segments are split into the
even (E) and the odd (O) ones, and the weights of E are computed from the heights of O alone. Given O
these weights are constants, hence

.. math:: E[H_E \mid O] = \sum_E a_i(O)\,\mu_i, \qquad
          \mathrm{Var}[H_E \mid O] = \sum_E a_i(O)^2 \sigma_i^2,

with no contribution of the noise, whatever the rule is; so is :math:`H_O` given E. The two are averaged
with the fixed shares :math:`n_E/n, n_O/n`, so in pure water (:math:`\mu_i = \mu`) H is exactly unbiased for every
length of lead. The products of both halves' noise make their covariance slightly positive; it is left out
(the standard error is at most 5 % too small for it, in leads of 200 segments).

The rule: the footprint (11 m) is wider than a segment, so what lies under segment i shows in its
neighbours of the other half. Their kernel mean :math:`m_i`, with standard error :math:`s_i`, is compared with a
lower level q of that half (a low quantile of the same kernel means; its own selection does no harm,
since it is a constant for the half being averaged):

.. math:: w_i = \exp(-\tfrac12 (z_i / c)^2), \quad z_i = \max(0, m_i - q) / \sqrt{s_i^2 + \tau^2},
          \qquad a_i \propto w_i / (\sigma_i^2 + \tau^2).

**Ends.** Within half a footprint of the ice the footprint holds ice, which lifts a 20 m lead by 3 cm (ice of
30 cm, cells with at least half water). `trim` leaves such segments out by their place alone, so no
bias comes with it.

A lead of one to three segments has only one neighbour or none to judge by: all its weights are equal but
for precision, and thin ice in it is not seen. Thin ice is removed as far as its step exceeds the noise of the kernel
mean (about 2 cm for 5 cm noise at 2 m); a lead that is thin ice from end to end cannot be distinguished
here, but only against its neighbours (see :mod:`is2ice.science.seasurface`). True variation of the surface at
footprint scale, such as swell, is selected like thin ice: its troughs get more weight.

The standard error gains a scatter term: where the heights in the lead vary more than their errors say,
the excess is counted as correlated over a footprint.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from is2ice import schema
from is2ice.errors import SchemaError

from .compiled import njit

__all__ = [
    "FOOTPRINT",
    "LEAD_METHODS",
    "LeadOptions",
    "check_track",
    "consecutive_runs",
    "find_leads",
    "lead_extents",
    "lead_index",
    "used_lead_index",
]

F8 = NDArray[np.float64]

#: Diameter of the laser footprint, m.
FOOTPRINT = 11.0
#: Methods of a lead's height, by the number that the compiled loops know.
CROSSFIT, NASA, MINIMUM, MEAN = range(4)
LEAD_METHODS = {"crossfit": CROSSFIT, "nasa": NASA, "minimum": MINIMUM, "mean": MEAN}
#: Quantile of the kernel means that stands for open water.
LEVEL = 0.25
#: Width of the weight function, in standard errors of the kernel mean.
CUT = 1.0
#: Real variation of calm water at footprint scale, m (tau).
ROUGHNESS = 0.01


@dataclass(frozen=True)
class LeadOptions:
    """Rules that make leads and their heights out of segments.

    Attributes
    ----------
    method : {"crossfit", "nasa", "minimum", "mean"}
    min_segments : int
        Shorter runs are no leads.
    max_length : float, optional
        Longer leads are cut into equal parts, m, so that open sea has a local height.
    extent : float
        Added to the distance between the first and the last centre to give the length, m (2 for 2 m cells;
        ATL10 adds the 11 m footprint to the span of its shots).
    edge : float
        Error of very short leads, m, falling off by e every EDGE_LENGTH of lead: their footprints reach the
        ice on both sides.
    kernel : {"gaussian", "exponential"}
        Weights of ``nasa``: exp(-u^2), which ATL10 obeys, or exp(-2 u), as in published notebooks, with
        u = (h - h_min) / scale.
    trim : float
        Segments this near to an end of a lead, m, but no more than half of them, get no weight (``crossfit``):
        their footprint reaches onto the ice.
    min_sigma : float
        Floor of sigma and scale, m.
    roughness : float
        Real variation of calm water at footprint scale, m (``crossfit``).

    Raises
    ------
    ValueError
        Unknown method or kernel.
    """

    method: str = "crossfit"
    min_segments: int = 1
    max_length: float | None = None
    extent: float = 0.0
    edge: float = 0.0
    kernel: str = "gaussian"
    trim: float = 0.0
    min_sigma: float = 1e-3
    roughness: float = ROUGHNESS

    def __post_init__(self) -> None:
        if self.method not in LEAD_METHODS:
            raise ValueError(
                f"unknown lead method {self.method!r}; expected one of {', '.join(LEAD_METHODS)}"
            )
        if self.kernel not in ("gaussian", "exponential"):
            raise ValueError(f"unknown kernel {self.kernel!r}; expected 'gaussian' or 'exponential'")


#: A lead's segments near its ends see ice through the 11 m footprint. Over simulated passes (650 bright and dark
#: leads of three presets) leads of 5-17 m were 2.5-3 cm worse than their photons say, of 17-40 m 1-2 cm, of more
#: than 40 m below 1 cm: an error of EDGE exp(-length / EDGE_LENGTH) describes it.
EDGE, EDGE_LENGTH = 0.05, 20.0


@njit(cache=True, nogil=True)
def _kernel_means(
    x: NDArray[Any],
    h: NDArray[Any],
    v: NDArray[Any],
    at: NDArray[Any],
    other: NDArray[Any],
    width: Any,
    mean: NDArray[Any],
    var: NDArray[Any],
) -> None:
    """Precision-weighted kernel means of h at the rows `at`, from the rows `other` (both ascending)."""
    lo = 0
    for k in range(at.size):
        i = at[k]
        while lo < other.size and x[other[lo]] < x[i] - 2.5 * width:
            lo += 1
        total, value, square = 0.0, 0.0, 0.0
        j = lo
        while j < other.size and x[other[j]] <= x[i] + 2.5 * width:
            r = other[j]
            g = np.exp(-0.5 * ((x[r] - x[i]) / width) ** 2) / v[r]
            total += g
            value += g * h[r]
            square += g * g * v[r]
            j += 1
        if total > 0.0:
            mean[k], var[k] = value / total, square / total**2
        else:  # coarse segments: the nearest one of the other half
            best = min(max(np.searchsorted(other, i), 0), other.size - 1)
            if best > 0 and x[i] - x[other[best - 1]] < abs(x[other[best]] - x[i]):
                best -= 1
            mean[k], var[k] = h[other[best]], v[other[best]]


@njit(cache=True, nogil=True)
def _crossfit(x: Any, h: NDArray[Any], s: Any, roughness: Any) -> Any:
    """Cross-fitted weights of one lead (sum 1)."""
    n = h.size
    width = FOOTPRINT / 2.355
    v = s * s + roughness**2
    a = 1.0 / v
    if n < 4:
        return a / a.sum()
    for parity in range(2):
        mine, other = np.arange(parity, n, 2), np.arange(1 - parity, n, 2)
        mean, var = np.empty(other.size), np.empty(other.size)
        _kernel_means(x, h, v, other, other, width, mean, var)
        q = np.sort(mean)[int(LEVEL * (other.size - 1))]
        mean, var = np.empty(mine.size), np.empty(mine.size)
        _kernel_means(x, h, v, mine, other, width, mean, var)
        total = 0.0
        for k in range(mine.size):
            z = max(0.0, mean[k] - q) / np.sqrt(var[k]) / CUT
            a[mine[k]] *= np.exp(-0.5 * min(z * z, 200.0))
            total += a[mine[k]]
        for k in range(mine.size):
            a[mine[k]] *= mine.size / (n * total)
    return a


@njit(cache=True, nogil=True)
def _scatter(x: NDArray[Any], h: NDArray[Any], s: Any, a: Any, height: Any) -> Any:
    """Factor on the variance of a weighted mean for scatter beyond the standard errors."""
    n = h.size
    square = (a * a).sum()
    n_eff = 1.0 / square
    if n_eff < 2.0:
        return 1.0
    chi = (a * ((h - height) / s) ** 2).sum() * n_eff / (n_eff - 1.0)
    excess = chi - 1.0 - np.sqrt(2.0 / (n_eff - 1.0))
    spacing = (x[n - 1] - x[0]) / (n - 1)
    correlated = min(float(n), max(1.0, FOOTPRINT / max(spacing, 0.1)))
    return 1.0 + max(0.0, excess) * correlated


@njit(cache=True, nogil=True)
def _lead_table(
    segments: Any,
    first: NDArray[Any],
    last: NDArray[Any],
    method: Any,
    exponential: Any,
    trim: Any,
    roughness: Any,
    a: NDArray[Any],
) -> Any:
    """Position, height and standard error of each lead; fills the weights a of its segments."""
    x, h, s, scale = segments
    m = first.size
    out = np.empty((3, m))
    for k in range(m):
        i, j = first[k], last[k] + 1
        if method == CROSSFIT and trim > 0.0 and j - i > 3:
            spacing = (x[j - 1] - x[i]) / (j - 1 - i)
            ends = min(int(trim / spacing + 0.5), (j - i) // 4)
            i, j = i + ends, j - ends
        hk, sk, xk = h[i:j], s[i:j], x[i:j]
        if method == NASA:
            u = (hk - hk.min()) / scale[i:j]
            w = np.exp(-2.0 * u) if exponential else np.exp(-u * u)
            w = w / w.sum()
        elif method == MINIMUM:
            w = np.zeros(j - i)
            w[np.argmin(hk)] = 1.0
        elif method == MEAN:
            w = np.full(j - i, 1.0 / (j - i))
        else:
            w = _crossfit(xk, hk, sk, roughness)
        a[i:j] = w
        height = (w * hk).sum()
        out[0, k] = (w * xk).sum()
        out[1, k] = height
        variance = (w * w * sk * sk).sum()
        if method == CROSSFIT:
            variance *= _scatter(xk, hk, sk, w, height)
        out[2, k] = np.sqrt(variance)
    return out


def consecutive_runs(
    is_lead: ArrayLike,
    *,
    breaks: ArrayLike | None = None,
    min_segments: int = 1,
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """First and last row (both included) of each run of neighbouring lead segments.

    Parameters
    ----------
    is_lead : array_like of bool, shape (n,)
    breaks : array_like of bool, shape (n,), optional
        True where a row does not follow on the row before it (a missing segment between them).
    min_segments : int
        Shorter runs are left out.

    Examples
    --------
    >>> consecutive_runs([0, 1, 1, 0, 1, 1], breaks=[0, 0, 0, 0, 0, 1])
    (array([1, 4, 5]), array([2, 4, 5]))
    """
    lead = np.asarray(is_lead, bool)
    joined = np.zeros(lead.size + 1, bool)
    joined[1:-1] = lead[1:] & lead[:-1]
    if breaks is not None:
        joined[:-1] &= ~np.asarray(breaks, bool)
    first = np.flatnonzero(lead & ~joined[:-1])
    last = np.flatnonzero(lead & ~joined[1:])
    keep = last - first + 1 >= min_segments
    return first[keep], last[keep]


def _split(x: F8, first: NDArray[np.intp], last: NDArray[np.intp], max_length: float) -> tuple:
    """Cut runs longer than `max_length` metres into equal numbers of segments."""
    pieces = np.maximum(1, np.ceil((x[last] - x[first]) / max_length).astype(int))
    if (pieces == 1).all():
        return first, last
    begin = [f + (np.arange(k) * (m - f + 1)) // k for f, m, k in zip(first, last, pieces, strict=True)]
    new_first = np.concatenate(begin)
    new_last = np.concatenate([np.append(b[1:] - 1, m) for b, m in zip(begin, last, strict=True)])
    return new_first, new_last


def find_leads(
    x: ArrayLike,
    height: ArrayLike,
    sigma: ArrayLike,
    is_lead: ArrayLike,
    spacing: float | None = None,
    *,
    breaks: ArrayLike | None = None,
    scale: ArrayLike | None = None,
    **options: Any,
) -> xr.Dataset:
    """Leads of one track and their heights.

    Parameters
    ----------
    x : array_like, shape (n,)
        Along-track distance of the segments' centres, m, increasing.
    height, sigma : array_like, shape (n,)
        Height and its standard error, m. Segments without a finite height are missing; a missing sigma is
        replaced by the largest finite one of the leads.
    is_lead : array_like of bool, shape (n,)
    spacing : float, optional
        Greatest distance, m, between neighbouring segments of one lead: a missing segment ends a lead.
        By default rows that follow each other are neighbours.
    breaks : array_like of bool, shape (n,), optional
        Rows that do not follow on the row before, for segments of uneven length.
    scale : array_like, shape (n,), optional
        Width of the weights of ``nasa``, m; `sigma` by default.
    **options
        Fields of :class:`LeadOptions`, or ``options=`` with all of them.

    Returns
    -------
    xarray.Dataset
        On ``lead``: x (weighted position, m), height, sigma, length (m), n (segments), first and last row;
        and ``weight`` (segment,) of every segment in its lead, 0 outside.

    Raises
    ------
    SchemaError
        Shapes differ, or x does not increase.

    References
    ----------
    Kwok et al., ATBD for ATL07/ATL10, section 4.1.1.17 (lead heights).

    Examples
    --------
    >>> table = find_leads([0, 2, 4, 6], [0.1, 0.1, 0.9, 0.2], [0.05] * 4, [1, 1, 0, 1], 2.0)
    >>> table.n.values, table.height.values
    (array([2, 1]), array([0.1, 0.2]))
    """
    rules = replace(options.pop("options", LeadOptions()), **options)
    x, height = np.asarray(x, float), np.asarray(height, float)
    check_track(x, height=height, is_lead=is_lead)
    lead = np.asarray(is_lead, bool) & np.isfinite(height)
    sigma = _filled_sigma(sigma, lead, rules.min_sigma)
    scale = sigma if scale is None else _filled_sigma(scale, lead, rules.min_sigma)
    cut = np.zeros(x.size, bool) if breaks is None else np.array(breaks, bool)
    if spacing is not None:
        cut[1:] |= np.diff(x) > spacing * (1 + 1e-6)
    first, last = consecutive_runs(lead, breaks=cut, min_segments=rules.min_segments)
    if rules.max_length is not None and first.size:
        first, last = _split(x, first, last, rules.max_length)
    weight = np.zeros(x.size)
    position, value, error = _lead_table(
        (x, height, sigma, scale),
        first,
        last,
        LEAD_METHODS[rules.method],
        rules.kernel == "exponential",
        rules.trim,
        rules.roughness,
        weight,
    )
    length = x[last] - x[first] + rules.extent
    if rules.edge:
        error = np.hypot(error, rules.edge * np.exp(-length / EDGE_LENGTH))
    return xr.Dataset(
        {
            "x": ("lead", position, {"units": "m", "long_name": "along-track distance of the lead"}),
            "height": ("lead", value, {"units": "m", "long_name": f"height of the lead ({rules.method})"}),
            "sigma": ("lead", error, {"units": "m", "long_name": "standard error of the lead's height"}),
            "length": (
                "lead",
                length,
                {"units": "m", "long_name": "length of the lead"},
            ),
            "n": ("lead", last - first + 1, {"units": "1", "long_name": "segments in the lead"}),
            "first": ("lead", first, {"units": "1", "long_name": "first row of the lead"}),
            "last": ("lead", last, {"units": "1", "long_name": "last row of the lead"}),
            "weight": ("segment", weight, {"units": "1", "long_name": "weight of the segment in its lead"}),
        },
        attrs={"method": rules.method},
    )


def lead_index(leads: xr.Dataset, size: int) -> NDArray[np.int32]:
    """Return the number of the lead that each of `size` rows belongs to, -1 outside leads."""
    out = np.full(size, -1, np.int32)
    for k, (i, j) in enumerate(zip(leads["first"].values, leads["last"].values, strict=True)):
        out[i : j + 1] = k
    return out


def lead_extents(segments: xr.Dataset) -> F8:
    """Begin and end of each lead that the sea surface rests on, m along the track.

    Parameters
    ----------
    segments : xarray.Dataset
        One track with lead_index and, of the sea surface by evidence, lead_probability: leads under one half are left
        out.

    Returns
    -------
    numpy.ndarray, shape (lead, 2)
        Its length is the number of leads of a track: the same in runs, stores, `show`, statistics, comparisons and
        maps. Openings are water by class alone (:func:`is2ice.science.icestats.chords`).
    """
    index = used_lead_index(segments)
    inside = index >= 0
    x = np.asarray(segments["x_atc"], float)
    length = schema.segment_length(segments)
    row = np.flatnonzero(inside)
    _, first = np.unique(index[row], return_index=True)
    _, back = np.unique(index[row][::-1], return_index=True)
    last = row.size - 1 - back
    return np.column_stack([x[row[first]], x[row[last]] + length])


def used_lead_index(segments: xr.Dataset) -> NDArray[Any]:
    """Return the number of the lead of each segment, -1 outside leads and in those that the sea surface leaves out.

    Parameters
    ----------
    segments : xarray.Dataset
        One track with lead_index and, of the sea surface by evidence, lead_probability.
    """
    index = np.asarray(segments["lead_index"])
    if "lead_probability" not in segments:
        return index
    return np.where(np.asarray(segments["lead_probability"]) < 0.5, -1, index)


def check_track(x: F8, **columns: ArrayLike) -> None:
    """Raise SchemaError unless x increases and every column has its length."""
    if x.ndim != 1:
        raise SchemaError(f"x: expected one dimension (one track), got shape {x.shape}; loop over the beams")
    for name, column in columns.items():
        if np.shape(column) != x.shape:
            raise SchemaError(f"{name}: expected shape {x.shape} as x, got {np.shape(column)}")
    wrong = np.flatnonzero(~(np.diff(x) > 0))
    if wrong.size:
        i = int(wrong[0])
        raise SchemaError(
            f"x: along-track distance must increase, but row {i + 1} ({x[i + 1]:.3f} m) does not follow on "
            f"row {i} ({x[i]:.3f} m); {wrong.size} such rows. Sort the segments, one beam of one pass at a time"
        )


def _filled_sigma(sigma: ArrayLike, lead: NDArray[np.bool_], floor: float) -> F8:
    """Give standard errors a floor, and missing ones the largest finite one among the leads."""
    sigma = np.broadcast_to(np.asarray(sigma, float), lead.shape)
    good = np.isfinite(sigma) & (sigma >= 0)
    if not good[lead].all():
        known = sigma[lead & good]
        sigma = np.where(good, sigma, known.max() if known.size else 0.1)
    return np.maximum(np.where(np.isfinite(sigma), sigma, floor), floor)

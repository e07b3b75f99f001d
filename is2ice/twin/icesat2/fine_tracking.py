"""Fine tracking: from 150 signal photons to one surface height and width, as ATL07 does it.

Photons are gathered until there are 150 or a greatest number of pulses is reached, binned to 0.025 m about
their median, trimmed, and compared with a table of waveforms, the transmitted pulse convolved with Gaussian surfaces.
Own implementation, which shares no code with the package's segments.

References
----------
ATL07/ATL10 algorithm description, section 4.2.2; settings from ``ancillary_data/fine_surface_finding`` of
genuine granules.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from .instrument import C

__all__ = [
    "BIN",
    "BOTTOM",
    "WINDOW",
    "Fit",
    "Pulse",
    "fit_histograms",
    "gather",
    "histograms",
    "pulse_from_echo",
]

Array = NDArray[np.float64]

#: Histogram bin, m; centres of the first and last bin about the coarse height, m; lower edge of the first.
BIN = 0.025
WINDOW = (-2.0, 3.5)
N_BINS = 221
BOTTOM = WINDOW[0] - 0.5 * BIN
#: Photons of a segment; most pulses in a segment; pulses with more photons than this are left out.
N_PHOTONS = 150
MAX_PULSES = {"strong": 200, "weak": 800}
MAX_PER_PULSE = 16
#: Photons from one segment's start to the next: genuine strong beams advance by half a segment and weak
#: beams by an eighth (ratio of spacing to length .49 and .115 in release 006).
ADVANCE = {"strong": N_PHOTONS // 2, "weak": N_PHOTONS // 8}
#: Table of waveforms: step and reach of height and of width, m.
STEP = 0.01
HALF_HEIGHTS = 50
N_WIDTHS = 151
#: Spacing of a tabulated waveform, m: divides both the bin and the height step.
_FINE = 0.005
_REACH = 4.0
#: Share of photons that must survive the trimming, and counts below which outer bins are cut off.
MIN_SHARE = 0.8
MIN_COUNT = 2
#: Gap, m, beyond which photons of two places are not gathered into one segment.
MAX_GAP = 200.0
#: Half the span about its peak in which a pulse's centroid is taken, s.
_CENTROID = 4e-9

_jit = numba.njit(cache=True, nogil=True)


@dataclass(frozen=True)
class Pulse:
    """Table of waveforms over height: ``table[width, k]`` at ``(k - centre) * 0.005`` m above the surface."""

    table: Array

    @property
    def centre(self) -> int:
        """Index of height zero."""
        return self.table.shape[1] // 2


@dataclass(frozen=True)
class Fit:
    """Result of the fit, one value per segment; NaN where it failed.

    ``height`` relative to the histogram's zero (m), ``width`` (sigma of the Gaussian surface, m), ``rms`` (of
    the normalised histogram against the fitted waveform), ``quality`` (1 best, 5 poor, -1 invalid).
    """

    height: Array
    width: Array
    rms: Array
    quality: NDArray[np.int8]


def pulse_from_echo(time: Array | None = None, counts: Array | None = None) -> Pulse:
    """Tabulate the waveforms of a pulse.

    Parameters
    ----------
    time, counts : (n,) array, optional
        The transmitter echo's histogram of a granule, s and any unit; a Gaussian of 1.5 ns (full width at half
        maximum) by default.

    Returns
    -------
    Pulse
        Heights count from the pulse's centroid within 4 ns of its peak, to which the product's ranges refer.
    """
    sigma_0 = 1.5e-9 / 2.3548 * C / 2
    z = np.arange(-round(_REACH / _FINE), round(_REACH / _FINE) + 1) * _FINE
    if time is None or counts is None:
        pulse = np.exp(-0.5 * (z / sigma_0) ** 2)
    else:
        counts = np.asarray(counts, float)
        near = np.abs(time - time[np.argmax(counts)]) <= _CENTROID
        middle = float((time * counts)[near].sum() / counts[near].sum())
        # Late is low.
        pulse = np.interp(-z, (time - middle) * C / 2, counts, left=0.0, right=0.0)
    pulse = pulse / pulse.sum()
    frequency = np.fft.rfftfreq(2 * z.size, _FINE)
    spectrum = np.fft.rfft(pulse, 2 * z.size)
    widths = STEP * np.arange(N_WIDTHS)
    # Gaussian surfaces in the frequency domain: no table of them needed, and width 0 is exact.
    gauss = np.exp(-2.0 * (np.pi * np.outer(widths, frequency)) ** 2)
    table = np.fft.irfft(spectrum * gauss, 2 * z.size)[:, : z.size]
    return Pulse(np.maximum(table, 0.0))


@_jit
def gather(
    x: NDArray[Any],
    pulse: NDArray[Any],
    n_photons: Any,
    max_pulses: Any,
    advance: Any,
    max_per_pulse: Any,
    max_gap: Any,
) -> Any:  # pragma: no cover - compiled
    """Photons of each segment: runs of `n_photons` in order, at most `max_pulses` pulses long.

    Parameters
    ----------
    x : (n,) float64
        Along-track distance of each signal photon, m, rising.
    pulse : (n,) int64
        Pulse number of each.
    n_photons, max_pulses, advance, max_per_pulse : int
    max_gap : float
        m.

    Returns
    -------
    keep : (m,) int64
        Rows of photons of pulses that are not too bright.
    dropped : (m,) int64
        Pulses left out before each of them.
    first, last : (s,) int64
        First and one past the last of `keep` in each segment.
    """
    n = x.size
    keep = np.empty(n, np.int64)
    dropped = np.empty(n, np.int64)
    m = 0
    bright = 0
    i = 0
    while i < n:
        j = i
        while j < n and pulse[j] == pulse[i]:
            j += 1
        if j - i <= max_per_pulse:
            for k in range(i, j):
                keep[m] = k
                dropped[m] = bright
                m += 1
        else:
            bright += 1
        i = j
    keep = keep[:m]
    first = np.empty(m + 1, np.int64)  # a segment advances by at least one photon
    last = np.empty_like(first)
    s = 0
    a = 0
    while a < m:
        b = a
        while (
            b < m
            and b - a < n_photons
            and pulse[keep[b]] - pulse[keep[a]] < max_pulses
            and (b == a or x[keep[b]] - x[keep[b - 1]] <= max_gap)
        ):
            b += 1
        # The last pulse is taken whole.
        while b < m and b > a and pulse[keep[b]] == pulse[keep[b - 1]]:
            b += 1
        if b - a >= n_photons // 2:
            first[s] = a
            last[s] = b
            s += 1
        if b == m:
            break
        # A segment that ran into its length limit or a gap advances in proportion.
        a += max(1, advance if b - a >= n_photons else (b - a) * advance // n_photons)
    return keep, dropped[:m], first[:s], last[:s]


@_jit
def histograms(
    h: NDArray[Any],
    first: NDArray[Any],
    last: NDArray[Any],
    bins: Any,
    bin_size: Any,
    bottom: Any,
    min_count: Any,
) -> Any:  # pragma: no cover - compiled
    """Histogram of each segment about its coarse height (the median), with its trimmed part.

    Parameters
    ----------
    h : (n,) float64
        Heights, m, of the photons that `first` and `last` count.
    first, last : (s,) int64
    bins : int
    bin_size, bottom : float
        m.
    min_count : int

    Returns
    -------
    counts : (s, bins) int16
    span : (s, 2) int64
        First and last bin of the trimmed part.
    stats : (s, 10) float64
        Photons in the window, photons kept, their mean, standard deviation and median (about the coarse
        height), the 10-90 % span of all in the window, the coarse height and the standard deviation about
        it, the lowest and the highest photon kept; heights in m.

    Notes
    -----
    Trimmed to two standard deviations about the mean of the window, then outer bins with fewer than
    `min_count` photons: that keeps the very photons that genuine ATL07 histograms keep.
    """
    n_seg = first.size
    counts = np.zeros((n_seg, bins), np.int16)
    span = np.zeros((n_seg, 2), np.int64)
    stats = np.full((n_seg, 10), np.nan)
    for s in range(n_seg):
        z = np.sort(h[first[s] : last[s]])
        coarse = z[z.size // 2]
        z -= coarse
        stats[s, 6] = coarse
        stats[s, 7] = z.std()
        total = 0
        for v in z:
            k = int(np.floor((v - bottom) / bin_size))
            if 0 <= k < bins:
                counts[s, k] += 1
                total += 1
        stats[s, 0] = total
        if total < 10:
            continue
        lo_i, hi_i = np.searchsorted(z, bottom), np.searchsorted(z, bottom + bins * bin_size)
        w = z[lo_i:hi_i]
        stats[s, 5] = w[min(w.size - 1, int(0.9 * w.size))] - w[int(0.1 * w.size)]
        mean, sd = w.mean(), w.std()
        lo, hi = mean - 2.0 * sd, mean + 2.0 * sd
        k0 = max(int(np.floor((lo - bottom) / bin_size)), 0)
        k1 = min(int(np.floor((hi - bottom) / bin_size)), bins - 1)
        while k0 < k1 and counts[s, k0] < min_count:
            k0 += 1
        while k1 > k0 and counts[s, k1] < min_count:
            k1 -= 1
        span[s, 0], span[s, 1] = k0, k1
        i0 = np.searchsorted(w, bottom + k0 * bin_size)
        i1 = np.searchsorted(w, bottom + (k1 + 1) * bin_size)
        part = w[i0:i1]
        if part.size < 2:
            continue
        stats[s, 1] = part.size
        stats[s, 2] = part.mean()
        stats[s, 3] = part.std()
        stats[s, 4] = np.median(part)
        stats[s, 8], stats[s, 9] = part[0], part[-1]
    return counts, span, stats


def fit_histograms(counts: NDArray, span: NDArray, mean: Array, pulse: Pulse) -> Fit:
    """Fit every trimmed histogram with a waveform of the table.

    Parameters
    ----------
    counts : (s, bins) array
        Photons per bin; bin ``k`` is centred at ``WINDOW[0] + k * BIN``.
    span : (s, 2) array
        First and last bin to compare.
    mean : (s,) array
        Starting height (mean of the trimmed photons), m, NaN for segments to pass over.
    pulse : Pulse

    Returns
    -------
    Fit
    """
    out = np.full((mean.size, 5), np.nan)
    _fit(
        np.ascontiguousarray(counts, np.float64),
        np.asarray(span, np.int64),
        np.asarray(mean, np.float64),
        pulse.table,
        pulse.centre,
        HALF_HEIGHTS,
        out,
    )
    quality = np.full(mean.size, -1, np.int8)
    valid = np.isfinite(out[:, 0])
    row, shift = out[valid, 3], np.abs(out[valid, 4])
    # As the product grades: by how far the solution lies from the middle of the table.
    code = np.where(row < N_WIDTHS / 2, 1, 2)
    code = np.where(shift >= HALF_HEIGHTS / 2, 3, code)
    code = np.where(shift >= 0.75 * HALF_HEIGHTS, 4, code)
    quality[valid] = np.where(shift >= HALF_HEIGHTS - 2, 5, code)
    return Fit(out[:, 0], out[:, 1], out[:, 2], quality)


@_jit
def _misfit(
    p: NDArray[Any], k0: Any, k1: Any, offset: Any, row: Any, table: NDArray[Any]
) -> Any:  # pragma: no cover - compiled
    """Sum of squares of normalised histogram less waveform, whose bin k0 lies at index `offset`."""
    total, cross, square = 0.0, 0.0, 0.0
    n = table.shape[1]
    data = 0.0
    for k in range(k0, k1 + 1):
        i = offset + 5 * (k - k0)
        m = table[row, i] if 0 <= i < n else 0.0
        total += m
        cross += p[k] * m
        square += m * m
        data += p[k] * p[k]
    if total <= 0.0:
        return np.inf
    return data - 2.0 * cross / total + square / (total * total)


@_jit
def _fit(
    counts: NDArray[Any],
    span: NDArray[Any],
    mean: NDArray[Any],
    table: NDArray[Any],
    centre: Any,
    half: Any,
    out: NDArray[Any],
) -> None:  # pragma: no cover - compiled
    rows = table.shape[0]
    around = np.empty((3, 3))
    for s in range(counts.shape[0]):
        if not np.isfinite(mean[s]):
            continue
        k0, k1 = span[s]
        n = counts[s, k0 : k1 + 1].sum()
        if n <= 0 or k1 - k0 < 2:
            continue
        p = counts[s] / n
        # Heights are counted from the bin centre nearest the mean, so waveforms need no interpolation.
        nearest = int(np.floor((mean[s] - BOTTOM) / BIN))
        base = centre + 5 * (k0 - nearest)
        best, bi, bj = np.inf, 0, 0
        for i in range(0, rows, 5):
            for j in range(-half, half + 1, 5):
                e = _misfit(p, k0, k1, base - 2 * j, i, table)
                if e < best:
                    best, bi, bj = e, i, j
        ci, cj = bi, bj
        for i in range(max(ci - 5, 0), min(ci + 6, rows)):
            for j in range(max(cj - 5, -half), min(cj + 6, half + 1)):
                e = _misfit(p, k0, k1, base - 2 * j, i, table)
                if e < best:
                    best, bi, bj = e, i, j
        fi, fj = float(bi), float(bj)
        if -half < bj < half:
            if 0 < bi < rows - 1:
                for a in range(-1, 2):
                    for b in range(-1, 2):
                        around[a + 1, b + 1] = _misfit(p, k0, k1, base - 2 * (bj + b), bi + a, table)
                di, dj = _vertex(around)
                fi, fj = bi + di, bj + dj
            else:
                e0 = _misfit(p, k0, k1, base - 2 * (bj - 1), bi, table)
                e2 = _misfit(p, k0, k1, base - 2 * (bj + 1), bi, table)
                curve = e0 - 2 * best + e2
                if curve > 0:
                    fj = bj + 0.5 * (e0 - e2) / curve
        out[s, 0] = BOTTOM + (nearest + 0.5) * BIN + 0.01 * fj
        out[s, 1] = 0.01 * fi
        out[s, 2] = np.sqrt(best / p.size)
        out[s, 3] = bi
        out[s, 4] = bj


@_jit
def _vertex(e: NDArray[Any]) -> Any:  # pragma: no cover - compiled
    """Lowest point of the quadratic through 3 x 3 values, within one cell of the middle."""
    gi, gj, hii, hjj = 0.0, 0.0, 0.0, 0.0
    for b in range(3):
        gi += (e[2, b] - e[0, b]) / 6.0
        hii += (e[0, b] - 2.0 * e[1, b] + e[2, b]) / 3.0
        gj += (e[b, 2] - e[b, 0]) / 6.0
        hjj += (e[b, 0] - 2.0 * e[b, 1] + e[b, 2]) / 3.0
    hij = (e[2, 2] - e[2, 0] - e[0, 2] + e[0, 0]) / 4.0
    det = hii * hjj - hij * hij
    if hii <= 0.0 or hjj <= 0.0 or det <= 0.0:
        return 0.0, 0.0
    di = (-gi * hjj + gj * hij) / det
    dj = (-gj * hii + gi * hij) / det
    return min(max(di, -1.0), 1.0), min(max(dj, -1.0), 1.0)

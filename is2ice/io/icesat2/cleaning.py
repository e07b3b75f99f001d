"""Cleaning of ATL03 values: fills, impossible values, and tables that contradict each other.

A value that cannot be becomes NaN, a geosegment that contradicts the others is left out, and each is counted for a
note. What is left of a beam is used only while the contradictions are few.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Any

import numpy as np
from numpy.typing import NDArray

from is2ice.science.compiled import njit

__all__ = [
    "MENDED",
    "clean",
    "consistent_photons",
    "course_ratio",
    "increasing_rows",
    "isolated_rows",
    "jumps",
    "mended_pulses",
    "never_written",
    "position_outliers",
    "sound_photons",
    "standing_rows",
    "time_outliers",
]

F8 = NDArray[np.float64]
Mask = NDArray[np.bool_]

#: Least and greatest value that a variable of the product can hold; anything else is a fill or damage.
LIMITS: dict[str, tuple[float, float]] = {
    "segment_dist_x": (0.0, 4.1e7),  # m; the Earth's circumference
    "segment_length": (0.0, 200.0),
    "dist_ph_along": (-50.0, 100.0),
    "delta_time": (0.0, 3.2e9),
    "reference_photon_lat": (-90.0, 90.0),
    "reference_photon_lon": (-180.0, 360.0),
    "solar_elevation": (-90.0, 90.0),
    "geoid": (-120.0, 100.0),
    "dem_h": (-500.0, 9000.0),
    "tide_ocean": (-20.0, 20.0),
    "tide_equilibrium": (-5.0, 5.0),
    "dac": (-10.0, 10.0),
    "full_sat_fract": (0.0, 1.0),
    "bckgrd_counts": (0.0, 1e7),
    "bckgrd_rate": (0.0, 1e9),
    "dead_time": (1e-10, 1e-8),  # s; CAL-42 has about 3e-9
}
#: Speed of the beam on the ground, m/s, and how far a time may lie from it, s: 3,000 km are passed within 5 s of it.
SPEED, LATE = 7096.0, 60.0
RADIUS = 6.371e6
#: Pulses of a major frame, and the largest share of photons whose pulse is mended; beyond it the others are no guide.
PULSES, MENDED = 200, 0.1


def clean(a: NDArray, name: str = "") -> F8:
    """float64 with fills and values that the product cannot hold as NaN.

    Parameters
    ----------
    a : numpy.ndarray
    name : str
        Variable of :data:`LIMITS`; by default only fills (about 3.4e38 and 1.8e308) and infinities are cleaned.
    """
    out = np.asarray(a, "f8")
    low, high = LIMITS.get(name, (-1e30, 1e30))
    bad = ~((out >= low) & (out <= high))
    return np.where(bad, np.nan, out) if bad.any() else out


def never_written(h: NDArray, least: int = 50) -> Mask:
    """Values that stand the same in many photons in a row, as fill values of a dataset do."""
    same = np.diff(h) == 0
    out = np.zeros(h.size, bool)
    if np.count_nonzero(same) < least - 1:
        return out
    edges = np.flatnonzero(np.diff(np.concatenate([[False], same, [False]]).astype(np.int8))).reshape(-1, 2)
    for start, stop in edges[np.diff(edges)[:, 0] >= least - 1]:
        out[start : stop + 1] = True
    return out


def mended_pulses(frame: NDArray, pulse: NDArray) -> tuple[NDArray[np.int64], Mask]:
    """Pulse number of each photon (200 a major frame); one that cannot be becomes that of the photon before.

    Parameters
    ----------
    frame, pulse : numpy.ndarray
        ``pce_mframe_cnt`` and ``ph_id_pulse`` (1 to 200) of photons in file order.

    Returns
    -------
    number : numpy.ndarray of int
    bad : numpy.ndarray of bool
        Photons whose pulse lies outside 1 to 200, or whose number jumps out of the order of their neighbours. They
        are mended while they are at most a tenth.
    """
    number, bad = _numbered(frame, pulse)
    if number.size > 1 and (np.diff(number) < 0).any():
        bad |= _out_of_order(number)
    if not bad.any() or np.count_nonzero(bad) > MENDED * bad.size:
        return number, bad
    good = np.flatnonzero(~bad)
    before = np.searchsorted(good, np.flatnonzero(bad)) - 1
    number[bad] = number[good[np.clip(before, 0, None)]]
    return number, bad


@njit(cache=True, nogil=True)
def sound_photons(
    columns: Any, geosegments: Any, limits: Any, standing: int, x: F8, number: NDArray[np.int64]
) -> bool:
    """Return True if nothing about photons in file order is odd, with their positions and pulse numbers written.

    Odd are values that cannot be or that stand still (:func:`never_written`), unknown codes, pulses that are out of
    order, photons of no geosegment or of a degraded one. One pass, where the functions that mend make twenty.

    Parameters
    ----------
    columns : tuple of six arrays
        ``dist_ph_along``, ``h_ph``, ``signal_conf_ph`` of sea ice, ``quality_ph``, ``pce_mframe_cnt``, ``ph_id_pulse``.
    geosegments : tuple of four arrays
        Distance (m), row of the first photon, number of photons, and True where degraded.
    limits : tuple of two pairs
        Least and greatest distance in a geosegment, and height, m.
    standing : int
        Photons in a row with one place or pulse, beyond what a shot can have; a tenth of it for heights.
    x, number : arrays
        Position (m) and pulse number of each photon, written.
    """
    along, h, conf, quality, frame, pulse = columns
    dist_x, first, count, degraded = geosegments
    (near, far), (low, high) = limits
    i, at = 0, -1
    same_place = same_height = same_number = same_pulse = 1
    for g in range(count.size):
        if count[g] <= 0:
            continue
        if degraded[g] or (at >= 0 and first[g] != at):
            return False
        at = first[g] + count[g]
        for _ in range(count[g]):
            a, z = along[i], h[i]
            if not (near <= a <= far and low < z < high):
                return False
            if conf[i] < -2 or conf[i] > 4 or quality[i] < 0 or quality[i] > 29:
                return False
            if pulse[i] < 1 or pulse[i] > PULSES:
                return False
            x[i] = dist_x[g] + np.float64(a)
            number[i] = np.int64(frame[i]) * PULSES + np.int64(pulse[i]) - 1
            if i > 0:
                if number[i] < number[i - 1]:
                    return False
                same_place = same_place + 1 if a == along[i - 1] else 1
                same_height = same_height + 1 if z == h[i - 1] else 1
                same_number = same_number + 1 if number[i] == number[i - 1] else 1
                same_pulse = same_pulse + 1 if pulse[i] == pulse[i - 1] else 1
                if same_place >= standing or 10 * same_height >= standing or same_pulse >= standing:
                    return False
                if same_number >= 10 * standing:
                    return False
            i += 1
    return i == x.size


def _numbered(frame: NDArray, pulse: NDArray) -> tuple[NDArray[np.int64], Mask]:
    """Pulse numbers as the file has them, and those of pulses that cannot be."""
    if frame.dtype.kind != "u" or frame.dtype.itemsize > 4:
        frame = np.clip(clean(frame), 0, 2**32)
    if pulse.dtype.kind != "u" or pulse.dtype.itemsize > 1:
        pulse = np.clip(clean(pulse), 0, 255)
    bad = ~((pulse >= 1) & (pulse <= PULSES)) | np.isnan(frame)
    if "f" in (frame.dtype.kind, pulse.dtype.kind):
        both = frame.astype("f8") * PULSES + pulse
        return np.where(np.isnan(both), 0.0, both).astype(np.int64) - 1, bad
    return frame.astype(np.int64) * PULSES + pulse - 1, bad


def _out_of_order(number: NDArray[np.int64], reach: int = 5) -> Mask:
    """Numbers below the median some photons before, or above the median some photons after; none where they rise."""
    from scipy.ndimage import median_filter

    middle = median_filter(number, 2 * reach - 1, mode="mirror")
    out = np.zeros(number.size, bool)
    out[reach:] = number[reach:] < middle[:-reach]
    out[:-reach] |= number[:-reach] > middle[reach:]
    return out


def increasing_rows(dist_x: F8) -> Mask:
    """Rows of the longest increasing part of distances; NaN are no part of it."""
    keep = np.isfinite(dist_x)
    values = dist_x[keep]
    if (np.diff(values) > 0).all():
        return keep
    # Patience sorting: the last value of the shortest way to each length, and the row before it.
    tails: list[float] = []
    rows: list[int] = []
    before = np.full(values.size, -1, np.int64)
    for i, v in enumerate(values.tolist()):
        k = bisect_right(tails, v)
        if k and tails[k - 1] == v:  # equal distances do not increase
            continue
        if k == len(tails):
            tails.append(v)
            rows.append(i)
        else:
            tails[k], rows[k] = v, i
        before[i] = rows[k - 1] if k else -1
    longest = np.zeros(values.size, bool)
    i = rows[-1] if rows else -1
    while i >= 0:
        longest[i] = True
        i = int(before[i])
    keep[np.flatnonzero(keep)] = longest
    return keep


def isolated_rows(dist_x: F8, gap: float = 1e6) -> Mask:
    """Rows (increasing) more than a gap (m) away from nearly all others: distances that cannot be."""
    part = np.concatenate([[0], np.cumsum(np.diff(dist_x) > gap)])
    sizes = np.bincount(part)
    few = sizes < 0.01 * dist_x.size
    return few[part]


def standing_rows(moved: F8, dist_x: F8, least: int = 5) -> Mask:
    """Rows of a track along which something that moves with the satellite stands still.

    Parameters
    ----------
    moved : numpy.ndarray
        Distance (m) that it moves from each row to the next, NaN where not known.
    dist_x : numpy.ndarray
        Distance along the track, m.
    least : int
        Fewest steps in a row.
    """
    out = np.zeros(dist_x.size, bool)
    still = moved < 0.01 * np.diff(dist_x)
    if np.count_nonzero(still) < least:
        return out
    edges = np.flatnonzero(np.diff(np.concatenate([[False], still, [False]]).astype(np.int8))).reshape(-1, 2)
    for start, stop in edges[np.diff(edges)[:, 0] >= least]:
        out[start : stop + 1] = True
    return out


def jumps(values: F8, dist_x: F8, least: float = 1.0) -> tuple[Mask, F8]:
    """Rows of a smooth variable that jump away from the others, and the jumps that remain.

    Parameters
    ----------
    values : numpy.ndarray
        m; NaN are passed over.
    dist_x : numpy.ndarray
        m.
    least : float
        Smallest jump between neighbours, m, beside a slope of 0.001.

    Returns
    -------
    outliers : numpy.ndarray of bool
        Rows of stretches with less than a tenth of the rows, between jumps.
    left : numpy.ndarray
        Jumps (m) between the stretches that are kept.
    """
    out = np.zeros(values.size, bool)
    rows = np.flatnonzero(np.isfinite(values))
    step = np.diff(values[rows])
    far = np.abs(step) > least + 1e-3 * np.diff(dist_x[rows])
    if not far.any():
        return out, step[far]
    part = np.concatenate([[0], np.cumsum(far)])
    short = np.bincount(part) < 0.1 * rows.size
    if short.all():
        return out, step[far]
    out[rows[short[part]]] = True
    kept = rows[~short[part]]
    step = np.diff(values[kept])
    return out, step[np.abs(step) > least + 1e-3 * np.diff(dist_x[kept])]


def time_outliers(time: F8, dist_x: F8) -> Mask:
    """Find times that lie far from those of the satellite's speed along the track."""
    late = time - (dist_x - dist_x[0]) / SPEED
    if not np.isfinite(late).any():
        return np.zeros(time.size, bool)
    return (np.abs(late - np.nanmedian(late)) > LATE) | standing_rows(np.abs(np.diff(time)) * SPEED, dist_x)


def position_outliers(latitude: F8, longitude: F8, dist_x: F8) -> Mask:
    """Positions (degrees) from which both neighbours lie farther than along the track."""
    out = np.zeros(latitude.size, bool)
    rows = np.flatnonzero(np.isfinite(latitude) & np.isfinite(longitude))
    if rows.size < 3:
        return out
    xyz = _on_sphere(latitude[rows], longitude[rows])
    step = np.sqrt((np.diff(xyz, axis=1) ** 2).sum(axis=0))
    out[rows[standing_rows(step, dist_x[rows])]] = True
    far = step > 1.05 * np.diff(dist_x[rows]) + 500.0
    before, after = np.concatenate([[far[0]], far]), np.concatenate([far, [far[-1]]])
    bad = before & after
    # At the ends one neighbour decides, so the next one must be at peace with the rest.
    bad[0] &= not far[1]
    bad[-1] &= not far[-2]
    out[rows[bad]] = True
    return out


def course_ratio(latitude: F8, longitude: F8, dist_x: F8, least: float = 1000.0) -> float:
    """Median distance between positions over their distance along the track; NaN of tracks shorter than `least` (m)."""
    if dist_x.size < 2:
        return np.nan
    xyz = _on_sphere(latitude, longitude)
    if (span := float(dist_x[-1] - dist_x[0])) < least:
        ends = float(np.linalg.norm(xyz[:, -1] - xyz[:, 0]))
        return ends / span if ends > least else np.nan
    second = np.searchsorted(dist_x, dist_x + least)
    first = np.flatnonzero(second < dist_x.size)
    second = second[first]
    if not first.size:
        return np.nan
    apart = np.sqrt(((xyz[:, second] - xyz[:, first]) ** 2).sum(axis=0))
    along = dist_x[second] - dist_x[first]
    near = along < 1e5  # a chord is no way across a gap
    return float(np.median(apart[near] / along[near])) if near.any() else np.nan


def _on_sphere(latitude: F8, longitude: F8) -> F8:
    """Positions in m from the centre of the Earth, shape (3, n)."""
    phi, lam = np.radians(latitude), np.radians(longitude)
    return RADIUS * np.stack([np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)])


def consistent_photons(
    first: NDArray[np.int64], count: NDArray[np.int64], total: int
) -> tuple[Mask, Mask, Mask]:
    """Geosegments whose photons lie in the file and belong to no other one.

    Parameters
    ----------
    first : numpy.ndarray of int
        0-based row of the first photon.
    count : numpy.ndarray of int
        Photons of each geosegment.
    total : int
        Photons of the file.

    Returns
    -------
    used, outside, doubled : numpy.ndarray of bool
        Geosegments with photons that are consistent, that point out of the file, and that share photons.
    """
    some = (count > 0) & (first >= 0)
    outside = (count < 0) | (some & ((count > total) | (first > total - np.minimum(count, total))))
    used = some & ~outside
    doubled = np.zeros(first.size, bool)
    while True:
        rows = np.flatnonzero(used)
        rows = rows[np.argsort(first[rows], kind="stable")]
        over = (first[rows] + count[rows])[:-1] > first[rows][1:]
        if not over.any():
            return used, outside, doubled
        clash = np.zeros(rows.size, bool)
        clash[:-1] |= over
        clash[1:] |= over
        doubled[rows[clash]] = True
        used[rows[clash]] = False

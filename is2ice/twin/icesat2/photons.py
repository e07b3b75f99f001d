"""Numba kernels of the photon simulator: from incident light to the events a receiver records.

Random numbers are counter-based (a hash of seed, beam and shot starts each shot's own stream), so a
shot's photons do not depend on blocks, threads or on other shots, but for the toggling edge of a pixel.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from is2ice.twin.scene.fields import mix, uniform

__all__ = [
    "Detected",
    "Found",
    "Histogram",
    "Receiver",
    "Shots",
    "Strip",
    "confidence",
    "simulate_level",
    "simulate_shots",
]

Array = NDArray[np.float64]

_U = np.uint64
_GOLD = _U(0x9E3779B97F4A7C15)
_ONE = _U(1)
#: Most events considered in one shot.
_MAX = 400

_jit = numba.njit(cache=True, nogil=True)


@_jit
def _poisson(mean: Any, state: Any) -> Any:
    """Poisson number by inversion; means over 20 are split."""
    n = 0
    while mean > 20.0:
        m, state = _poisson_small(20.0, state)
        n += m
        mean -= 20.0
    m, state = _poisson_small(mean, state)
    return n + m, state


@_jit
def _poisson_small(mean: Any, state: Any) -> Any:
    state += _GOLD
    u = uniform(mix(state))
    p = np.exp(-mean)
    n, s = 0, p
    while u > s and n < 200:
        n += 1
        p *= mean / n
        s += p
    return n, state


class Shots(NamedTuple):
    """A run of shots.

    Attributes
    ----------
    first : int
        Number of the first shot in the pass (for its random stream).
    x : (n,) float64
        Along-track place of each shot, m.
    incident : float
        Incident photons per shot per unit of row weight.
    noise : (n,) float64
        Mean background photons in the telemetry band.
    bottom : (n,) float64
        Bottom of the band above the surface's zero, m.
    delayed : (n,) float64
        Share of photons scattered forward in cloud and so delayed.
    """

    first: int
    x: Array
    incident: float
    noise: Array
    bottom: Array
    delayed: Array


class Strip(NamedTuple):
    """Surface along the track, in rows of 1 m across the footprint.

    Attributes
    ----------
    begin : float
        Along-track centre of row 0, m.
    rows : (m,) float64
        Backscatter of a row, weighted across the footprint.
    cells : (m, c) float64
        Cumulative weight across each row, ending at 1.
    height, rough : (m, c) float32
        m.
    sigma : float
        Footprint, m.
    """

    begin: float
    rows: Array
    cells: Array
    height: NDArray[np.float32]
    rough: NDArray[np.float32]
    sigma: float


class Receiver(NamedTuple):
    """Pulse and detector of a beam.

    Attributes
    ----------
    pulse : (6,) float64
        Core sigma, offset (both m), then (share, mean m) of two tails.
    dead : (pixels,) float64
        Dead time, as m of height.
    afterpulse : (2,) float64
        Chance, mean delay in m.
    tep : (2,) float64
        Mean photons per shot of the transmitter echo and its height in the band, m; 0 for none.
    edge : (pixels,) int64
        Edge of the last event of each pixel; updated.
    band : float
        Height of the telemetry band, m.
    """

    pulse: Array
    dead: Array
    afterpulse: Array
    tep: Array
    edge: NDArray[np.int64]
    band: float


class Detected(NamedTuple):
    """Photons that are written.

    Attributes
    ----------
    shot : int32
        From 0.
    h : float64
        Height above zero, m.
    channel : uint8
        1-120 before the PCE offset: pixel + 1, plus 60 for the second edge.
    number : uint8
        Number of the event in its channel and shot.
    kind : int8
        0 noise, 1 signal, 2 afterpulse, 3 echo; for tests only, never written.
    """

    shot: NDArray[np.int32]
    h: Array
    channel: NDArray[np.uint8]
    number: NDArray[np.uint8]
    kind: NDArray[np.int8]

    @classmethod
    def empty(cls, n: int) -> Detected:
        """Make room for ``n`` photons."""
        return cls(
            np.empty(n, np.int32),
            np.empty(n),
            np.empty(n, np.uint8),
            np.empty(n, np.uint8),
            np.empty(n, np.int8),
        )

    def first(self, n: int) -> Detected:
        """Return the first ``n`` photons."""
        return Detected(self.shot[:n], self.h[:n], self.channel[:n], self.number[:n], self.kind[:n])


class _Events(NamedTuple):
    """Events of one shot in no order, and the state of the pixels."""

    t: Array
    kind: NDArray[np.int8]
    pixel: NDArray[np.int64]
    last: Array
    per_channel: NDArray[np.int64]


def simulate_level(
    shots: int, incident: float, rough: float, dead: Array, pulse: Array, *, noise: float = 0.0, seed: int = 0
) -> Detected:
    """Simulate shots over a level surface at 0 m, without afterpulses and echo, in a band of 20 m either side.

    Parameters
    ----------
    shots : int
    incident : float
        Photons per shot.
    rough : float
        Roughness of the surface, m.
    dead : (pixels,) float64
        Dead time, as m of height.
    pulse : (6,) float64
        As for :class:`Receiver`.
    noise : float
        Background photons per shot in the band.
    seed : int
    """
    run = Shots(
        0, np.full(shots, 20.0), incident, np.full(shots, noise), np.full(shots, -20.0), np.zeros(shots)
    )
    level = np.zeros((41, 1), np.float32)
    strip = Strip(0.0, np.ones(41), np.ones((41, 1)), level, np.full((41, 1), rough, np.float32), 2.75)
    edge = np.zeros(dead.size, np.int64)
    receiver = Receiver(pulse, dead, np.array([0.0, 1.0]), np.zeros(2), edge, 40.0)
    out = Detected.empty(int(shots * (incident + noise + 4)))
    n = simulate_shots(run, strip, receiver, np.uint64(seed), out)
    return out.first(n)


@_jit
def simulate_shots(shots: Any, strip: Any, receiver: Any, seed: Any, out: Any) -> Any:
    """Simulate a run of shots of one beam.

    Parameters
    ----------
    shots : Shots
    strip : Strip
    receiver : Receiver
        Its edges are updated.
    seed : uint64
    out : Detected
        Filled.

    Returns
    -------
    int
        Photons written, or -1 where the arrays are too small.
    """
    pulse, tep, rows, cells = receiver.pulse, receiver.tep, strip.rows, strip.cells
    n_pix = receiver.dead.size
    t = np.empty(_MAX)
    h = np.empty(_MAX)
    kind = np.empty(_MAX, np.int8)
    pix = np.empty(_MAX, np.int64)
    last = np.empty(n_pix)
    per_channel = np.zeros(2 * n_pix, np.int64)
    events = _Events(t, kind, pix, last, per_channel)
    m_rows = rows.size
    weight = np.empty(16)
    k = 0
    for q in range(shots.x.size):
        state = mix(seed ^ mix(_U(shots.first + q) * _GOLD + _ONE))
        # -- light from the footprint --
        r0 = int(np.floor(shots.x[q] - strip.begin + 0.5)) - 7
        total = 0.0
        for i in range(15):
            r = r0 + i
            if 0 <= r < m_rows:
                d = (strip.begin + r - shots.x[q]) / strip.sigma
                total += np.exp(-0.5 * d * d) * rows[r]
            weight[i] = total
        n, state = _poisson(shots.incident * total / (strip.sigma * 2.5066282746310002), state)
        n = min(n, _MAX // 2)
        for e in range(n):
            state += _GOLD
            u = uniform(mix(state)) * total
            i = 0
            while weight[i] < u and i < 14:
                i += 1
            r = r0 + i
            state += _GOLD
            u = uniform(mix(state))
            j = 0
            while cells[r, j] < u and j < cells.shape[1] - 1:
                j += 1
            state += _GOLD
            u1 = 1.0 - uniform(mix(state))
            state += _GOLD
            u2 = 6.283185307179586 * uniform(mix(state))
            radius = np.sqrt(-2.0 * np.log(u1))
            z = (
                strip.height[r, j]
                + strip.rough[r, j] * radius * np.cos(u2)
                - pulse[0] * radius * np.sin(u2)
                + pulse[1]
            )
            state += _GOLD
            u = uniform(mix(state))
            if u < pulse[2] + pulse[4]:
                state += _GOLD
                z += (pulse[3] if u < pulse[2] else pulse[5]) * np.log(1.0 - uniform(mix(state)))
            if shots.delayed[q] > 0.0:
                state += _GOLD
                if uniform(mix(state)) < shots.delayed[q]:
                    state += _GOLD
                    z += 0.10 * np.log(1.0 - uniform(mix(state)))
            h[e] = z
            kind[e] = 1
        # -- background and echo --
        m, state = _poisson(shots.noise[q], state)
        m = min(m, _MAX // 4)
        for e in range(n, n + m):
            state += _GOLD
            h[e] = shots.bottom[q] + receiver.band * uniform(mix(state))
            kind[e] = 0
        n += m
        if tep[0] > 0.0:
            m, state = _poisson(tep[0], state)
            for _ in range(min(m, 10)):
                state += _GOLD
                u1 = 1.0 - uniform(mix(state))
                state += _GOLD
                h[n] = (
                    shots.bottom[q]
                    + tep[1]
                    + pulse[0] * np.sqrt(-2 * np.log(u1)) * np.cos(6.283185307179586 * uniform(mix(state)))
                )
                kind[n] = 3
                n += 1
        # -- receiver: events in order of time (falling height), each on a pixel --
        for e in range(n):
            t[e] = -h[e]
        order = np.argsort(t[:n])
        for e in range(n):
            state += _GOLD
            pix[e] = np.int64(uniform(mix(state)) * n_pix)
        last[:] = -1e30
        per_channel[:] = 0
        start = k
        for o in range(n):
            e = order[o]
            k, state, full = _record(e, q, shots.bottom[q], events, receiver, state, k, out)
            if full:
                return -1
        if k - start > 1:
            _by_pixel(start, k, out)
    return k


@_jit
def _record(e: Any, shot: Any, bottom: Any, events: Any, receiver: Any, state: Any, k: Any, out: Any) -> Any:
    """Detect event `e` where its pixel is live, and an afterpulse that may follow in the same pixel."""
    p = events.pixel[e]
    when, what = events.t[e], events.kind[e]
    while when - events.last[p] >= receiver.dead[p]:
        events.last[p] = when
        if bottom <= -when < bottom + receiver.band:
            if k >= out.h.size:
                return k, state, True
            receiver.edge[p] = 1 - receiver.edge[p]
            c = p + receiver.edge[p] * receiver.dead.size
            events.per_channel[c] += 1
            out.shot[k], out.h[k], out.kind[k] = shot, -when, what
            out.channel[k] = p + 1 + 60 * receiver.edge[p]
            out.number[k] = min(events.per_channel[c], 255)
            k += 1
        if what == 2:
            break
        state += _GOLD
        if uniform(mix(state)) >= receiver.afterpulse[0]:
            break
        state += _GOLD
        when = when + receiver.dead[p] - receiver.afterpulse[1] * np.log(1.0 - uniform(mix(state)))
        what = np.int8(2)
    return k, state, False


@_jit
def _by_pixel(a: Any, b: Any, out: Any) -> None:
    """Order one shot's photons by pixel, then time, as the product does (insertion sort)."""
    h, channel, count, kind = out.h, out.channel, out.number, out.kind
    for i in range(a + 1, b):
        hi, ci, ni, ki = h[i], channel[i], count[i], kind[i]
        key = (ci - 1) % 60
        j = i - 1
        while j >= a and (channel[j] - 1) % 60 > key:
            h[j + 1], channel[j + 1], count[j + 1], kind[j + 1] = h[j], channel[j], count[j], kind[j]
            j -= 1
        h[j + 1], channel[j + 1], count[j + 1], kind[j + 1] = hi, ci, ni, ki


@_jit
def _poisson_threshold(mean: Any, chance: Any) -> Any:
    """Smallest count whose chance of being reached or passed by background alone is under `chance`."""
    p = np.exp(-mean)
    above = 1.0 - p
    n = 1
    while above >= chance and n < 10_000:
        p *= mean / n
        above -= p
        n += 1
        if p == 0.0:
            break
    return n


class Histogram(NamedTuple):
    """Windows of shots and bins of height in which signal is looked for.

    Attributes
    ----------
    window : int
        Shots.
    bin : float
        m.
    bottom, extent : float
        Lowest height and extent, m.
    per_metre : float
        2 / c, s per m.
    limits : (3,) float64
        Signal-to-background of medium and of high confidence; share of the densest bin at which the
        signal ends.
    """

    window: int
    bin: float
    bottom: float
    extent: float
    per_metre: float
    limits: Array


class Found(NamedTuple):
    """Signal found, a value for each photon.

    Attributes
    ----------
    confidence : (n,) int8
    density : (n,) float32
        Photons in the photon's bin and its neighbours relative to the window's densest three bins.
    peak : (n,) float32
        Height of the window's densest bin, m.
    """

    confidence: NDArray[np.int8]
    density: NDArray[np.float32]
    peak: NDArray[np.float32]

    @classmethod
    def empty(cls, n: int) -> Found:
        """Make room for ``n`` photons."""
        return cls(np.zeros(n, np.int8), np.zeros(n, np.float32), np.zeros(n, np.float32))


@_jit
def confidence(
    shot: NDArray[Any], h: NDArray[Any], rate: NDArray[Any], n_shots: Any, histogram: Any, out: Any
) -> None:
    """Signal confidence from the density of photons alone (in the spirit of the ATL03 ATBD, section 5).

    Half-overlapping windows of shots; in each a histogram of height; bins that background would fill
    with a chance under 1e-9 seed the signal, which grows over neighbours it would fill with under 1 %
    and is padded by one bin. Its ratio to the background expected in the same bins gives the level.

    Parameters
    ----------
    shot : (n,) int32
        Sorted, from 0.
    h : (n,) float
        Height, m.
    rate : (shots / 50,) float64
        Background rate of each 50-shot record, Hz, from the records themselves.
    n_shots : int
    histogram : Histogram
    out : Found
        Filled.
    """
    window, bin_height, bottom, limits = histogram.window, histogram.bin, histogram.bottom, histogram.limits
    conf, density, peak = out.confidence, out.density, out.peak
    half = window // 2
    bins = int(histogram.extent / bin_height) + 2
    count = np.zeros(bins, np.int64)
    level = np.zeros(bins, np.int8)
    conf[:] = 0
    density[:] = 0.0
    lo = hi = 0
    n = shot.size
    for s in range(-half, n_shots, half):
        while lo < n and shot[lo] < s:
            lo += 1
        hi = max(hi, lo)
        while hi < n and shot[hi] < s + window:
            hi += 1
        if hi == lo:
            continue
        count[:] = 0
        level[:] = 0
        for i in range(lo, hi):
            count[min(max(int((h[i] - bottom) / bin_height), 0), bins - 1)] += 1
        span = min(s + window, n_shots) - max(s, 0)
        record = min(max(s + half, 0) // 50, rate.size - 1)
        mean = rate[record] * bin_height * histogram.per_metre * span
        seed, grow = max(_poisson_threshold(mean, 1e-9), 3), max(_poisson_threshold(mean, 1e-2), 2)
        # The late tail of a bright return is not a surface: signal ends at a small share of the densest bin.
        tail = int(limits[2] * count.max()) + 1
        seed, grow = max(seed, tail), max(grow, tail)
        for b in range(bins):
            if count[b] >= seed and level[b] == 0:
                a = b
                while a > 0 and count[a - 1] >= grow:
                    a -= 1
                z = b
                while z < bins - 1 and count[z + 1] >= grow:
                    z += 1
                a, z = max(a - 1, 0), min(z + 1, bins - 1)
                total = 0
                for i in range(a, z + 1):
                    total += count[i]
                expected = mean * (z - a + 1)
                ratio = (total - expected) / max(expected, 1e-9)
                value = 2 if ratio < limits[0] else (3 if ratio < limits[1] else 4)
                for i in range(a, z + 1):
                    level[i] = max(level[i], value)
        top, most = 0, 1
        for b in range(1, bins - 1):
            near = count[b - 1] + count[b] + count[b + 1]
            if near > most:
                top, most = b, near
        found = level[top] > 0
        centre = bottom + (top + 0.5) * bin_height
        for i in range(lo, hi):
            b = min(max(int((h[i] - bottom) / bin_height), 1), bins - 2)
            # The window whose middle is nearest decides peak and density; confidence is the better one.
            value = level[b]
            if value == 0 and found and abs(h[i] - centre) <= 10.0:
                value = 1
            conf[i] = max(conf[i], value)
            if half // 2 <= shot[i] - s < half // 2 + half or s < 0 or s + window >= n_shots:
                density[i] = (count[b - 1] + count[b] + count[b + 1]) / most
                peak[i] = centre

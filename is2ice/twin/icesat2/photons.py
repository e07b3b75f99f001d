"""Numba kernels of the photon simulator: from incident light to the events a receiver records.

Random numbers are counter-based (a hash of seed, beam and shot starts each shot's own stream), so a
shot's photons do not depend on blocks, threads or on other shots, but for the toggling edge of a pixel.
"""

from __future__ import annotations

import numba
import numpy as np

from is2ice.twin.scene.fields import mix, uniform

__all__ = ["confidence", "simulate_shots"]

_U = np.uint64
_GOLD = _U(0x9E3779B97F4A7C15)
_ONE = _U(1)
#: Most events considered in one shot.
_MAX = 400

_jit = numba.njit(cache=True, nogil=True)


@_jit
def _poisson(mean, state):
    """Poisson number by inversion; means over 20 are split."""
    n = 0
    while mean > 20.0:
        m, state = _poisson_small(20.0, state)
        n += m
        mean -= 20.0
    m, state = _poisson_small(mean, state)
    return n + m, state


@_jit
def _poisson_small(mean, state):
    state += _GOLD
    u = uniform(mix(state))
    p = np.exp(-mean)
    n, s = 0, p
    while u > s and n < 200:
        n += 1
        p *= mean / n
        s += p
    return n, state


@_jit
def simulate_shots(
    first, x_shot, incident, noise, band_bottom, band_height, delay_share, along0, rows, cells, height, rough,
    sigma_along, pulse, dead, afterpulse, tep, edge, seed, out_shot, out_h, out_channel, out_count, out_kind,
):  # fmt: skip
    """Simulate a run of shots of one beam.

    Parameters
    ----------
    first : int
        Number of the first shot in the pass (for its random stream).
    x_shot : (n,) float64
        Along-track place of each shot, m.
    incident : float
        Incident photons per shot per unit of `rows` weight.
    noise : (n,) float64
        Mean background photons in the telemetry band.
    band_bottom : (n,) float64
        Bottom of the band above the surface's zero, m.
    band_height : float
        m.
    delay_share : (n,) float64
        Share of photons scattered forward in cloud and so delayed.
    along0 : float
        Along-track centre of row 0 of the strip, m (rows are 1 m apart).
    rows : (m,) float64
        Backscatter of a row, weighted across the footprint.
    cells : (m, c) float64
        Cumulative weight across each row, ending at 1.
    height, rough : (m, c) float32
        m.
    sigma_along : float
        Footprint, m.
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
    seed : uint64
    out_* : arrays
        Shot (int32, from 0), height above zero (float64, m), channel (uint8, 1-120 before the PCE
        offset: pixel + 1, plus 60 for the second edge), count (uint8), kind (int8: 0 noise, 1 signal,
        2 afterpulse, 3 echo; for tests only, never written).

    Returns
    -------
    int
        Photons written, or -1 where the arrays are too small.
    """
    n_pix = dead.size
    t = np.empty(_MAX)
    h = np.empty(_MAX)
    kind = np.empty(_MAX, np.int8)
    pix = np.empty(_MAX, np.int64)
    last = np.empty(n_pix)
    per_channel = np.zeros(2 * n_pix, np.int64)
    m_rows = rows.size
    weight = np.empty(16)
    k = 0
    for q in range(x_shot.size):
        state = mix(seed ^ mix(_U(first + q) * _GOLD + _ONE))
        # -- light from the footprint --
        r0 = int(np.floor(x_shot[q] - along0 + 0.5)) - 7
        total = 0.0
        for i in range(15):
            r = r0 + i
            if 0 <= r < m_rows:
                d = (along0 + r - x_shot[q]) / sigma_along
                total += np.exp(-0.5 * d * d) * rows[r]
            weight[i] = total
        n, state = _poisson(incident * total / (sigma_along * 2.5066282746310002), state)
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
            z = height[r, j] + rough[r, j] * radius * np.cos(u2) - pulse[0] * radius * np.sin(u2) + pulse[1]
            state += _GOLD
            u = uniform(mix(state))
            if u < pulse[2] + pulse[4]:
                state += _GOLD
                z += (pulse[3] if u < pulse[2] else pulse[5]) * np.log(1.0 - uniform(mix(state)))
            if delay_share[q] > 0.0:
                state += _GOLD
                if uniform(mix(state)) < delay_share[q]:
                    state += _GOLD
                    z += 0.10 * np.log(1.0 - uniform(mix(state)))
            h[e] = z
            kind[e] = 1
        # -- background and echo --
        m, state = _poisson(noise[q], state)
        m = min(m, _MAX // 4)
        for e in range(n, n + m):
            state += _GOLD
            h[e] = band_bottom[q] + band_height * uniform(mix(state))
            kind[e] = 0
        n += m
        if tep[0] > 0.0:
            m, state = _poisson(tep[0], state)
            for _ in range(min(m, 10)):
                state += _GOLD
                u1 = 1.0 - uniform(mix(state))
                state += _GOLD
                h[n] = (
                    band_bottom[q]
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
            k, state, full = _record(
                e, q, t, kind, pix, last, dead, edge, per_channel, afterpulse, state,
                band_bottom[q], band_height, k, out_shot, out_h, out_channel, out_count, out_kind,
            )  # fmt: skip
            if full:
                return -1
        if k - start > 1:
            _by_pixel(start, k, out_h, out_channel, out_count, out_kind)
    return k


@_jit
def _record(
    e, q, t, kind, pix, last, dead, edge, per_channel, afterpulse, state, bottom, band, k,
    out_shot, out_h, out_channel, out_count, out_kind,
):  # fmt: skip
    """Detect event `e` where its pixel is live, and an afterpulse that may follow in the same pixel."""
    p = pix[e]
    when, what = t[e], kind[e]
    while when - last[p] >= dead[p]:
        last[p] = when
        if bottom <= -when < bottom + band:
            if k >= out_h.size:
                return k, state, True
            edge[p] = 1 - edge[p]
            c = p + edge[p] * dead.size
            per_channel[c] += 1
            out_shot[k], out_h[k], out_kind[k] = q, -when, what
            out_channel[k] = p + 1 + 60 * edge[p]
            out_count[k] = min(per_channel[c], 255)
            k += 1
        if what == 2:
            break
        state += _GOLD
        if uniform(mix(state)) >= afterpulse[0]:
            break
        state += _GOLD
        when = when + dead[p] - afterpulse[1] * np.log(1.0 - uniform(mix(state)))
        what = np.int8(2)
    return k, state, False


@_jit
def _by_pixel(a, b, h, channel, count, kind):
    """Order one shot's photons by pixel, then time, as the product does (insertion sort)."""
    for i in range(a + 1, b):
        hi, ci, ni, ki = h[i], channel[i], count[i], kind[i]
        key = (ci - 1) % 60
        j = i - 1
        while j >= a and (channel[j] - 1) % 60 > key:
            h[j + 1], channel[j + 1], count[j + 1], kind[j + 1] = h[j], channel[j], count[j], kind[j]
            j -= 1
        h[j + 1], channel[j + 1], count[j + 1], kind[j + 1] = hi, ci, ni, ki


@_jit
def _poisson_threshold(mean, chance):
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


@_jit
def confidence(
    shot, h, rate, n_shots, window, bin_height, bottom, band, per_metre, limits, conf, density, peak
):
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
    n_shots, window : int
    bin_height : float
        m.
    bottom, band : float
        Lowest height and extent of the histogram, m.
    per_metre : float
        2 / c, s per m.
    limits : (3,) float64
        Signal-to-background of medium and of high confidence; share of the densest bin at which the
        signal ends.
    conf : (n,) int8
    density : (n,) float32
        Photons in the photon's bin and its neighbours relative to the window's densest three bins.
    peak : (n,) float32
        Height of the window's densest bin, m. All three are filled.
    """
    half = window // 2
    bins = int(band / bin_height) + 2
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
        mean = rate[record] * bin_height * per_metre * span
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

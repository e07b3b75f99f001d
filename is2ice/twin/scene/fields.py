"""Numba kernels of the scene: noise, floes, ridges and leads as pure functions of position and seed.

Every value comes from hashing lattice coordinates, so a point has the same value however the scene is
cut into tiles, and nothing has to be kept in memory.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

__all__ = ["candidate_leads", "noise_field", "surface_kernel"]

_U = np.uint64
_C1, _C2, _C3 = _U(0xBF58476D1CE4E5B9), _U(0x94D049BB133111EB), _U(0x9E3779B97F4A7C15)
_C4, _C5 = _U(0xD6E8FEB86659FD93), _U(0xA0761D6478BD642F)
_S30, _S27, _S31, _S11, _S16, _S32, _S48 = _U(30), _U(27), _U(31), _U(11), _U(16), _U(32), _U(48)
_M16 = _U(0xFFFF)

#: Kinds of surface.
SNOW_ICE, RIDGE, GREY_ICE, NILAS, CALM_WATER, ROUGH_WATER, POND = 0, 1, 2, 3, 4, 5, 6
#: Columns of the table of leads.
L_X, L_Y, L_COS, L_SIN, L_HALF, L_WIDTH, L_AGE, L_SPECULAR, L_BEND, L_PHASE, L_ROUGH = range(11)

_jit = numba.njit(cache=True, nogil=True)


@_jit
def mix(z: Any) -> Any:
    """Finaliser of splitmix64."""
    z = (z ^ (z >> _S30)) * _C1
    z = (z ^ (z >> _S27)) * _C2
    return z ^ (z >> _S31)


@_jit
def lattice(ix: Any, iy: Any, key: Any) -> Any:
    """Hash of a lattice point."""
    return mix(mix(_U(ix) * _C3 + key) ^ (_U(iy) * _C4 + _C5))


@_jit
def uniform(h: Any) -> Any:
    """Hash to [0, 1)."""
    return float(h >> _S11) * 1.1102230246251565e-16


@_jit
def gaussian(h: Any) -> Any:
    """Hash to a nearly normal number: the sum of four 16-bit uniforms."""
    s = float(h & _M16) + float((h >> _S16) & _M16) + float((h >> _S32) & _M16) + float(h >> _S48)
    return (s / 65535.0 - 2.0) * 1.7320508075688772


@_jit
def noise(x: Any, y: Any, scale: Any, key: Any) -> Any:
    """Smooth Gaussian noise of unit variance at every point, correlated over about `scale`."""
    u, v = x / scale, y / scale
    iu, iv = np.floor(u), np.floor(v)
    fu, fv = u - iu, v - iv
    i, j = np.int64(iu), np.int64(iv)
    a = fu * fu * fu * (fu * (fu * 6.0 - 15.0) + 10.0)
    b = fv * fv * fv * (fv * (fv * 6.0 - 15.0) + 10.0)
    w00, w10, w01, w11 = (1 - a) * (1 - b), a * (1 - b), (1 - a) * b, a * b
    s = (
        w00 * gaussian(lattice(i, j, key))
        + w10 * gaussian(lattice(i + 1, j, key))
        + w01 * gaussian(lattice(i, j + 1, key))
        + w11 * gaussian(lattice(i + 1, j + 1, key))
    )
    return s / np.sqrt(w00 * w00 + w10 * w10 + w01 * w01 + w11 * w11)


@_jit
def _spline(f: Any) -> Any:
    """Weights of a uniform cubic B-spline at the four lattice points about a fraction `f` of a cell."""
    g = 1.0 - f
    return (
        g * g * g / 6.0,
        2.0 / 3.0 - f * f * (1.0 - 0.5 * f),
        2.0 / 3.0 - g * g * (1.0 - 0.5 * g),
        f * f * f / 6.0,
    )


@_jit
def broad_noise(x: Any, y: Any, scale: Any, key: Any) -> Any:
    """As :func:`noise`, but without a visible lattice: for what an image shows over many pixels.

    A cubic B-spline over sixteen lattice points is nearly isotropic, where the four of :func:`noise` leave
    squares. The lattice is finer by 1.65, which gives the same correlation (0.14) at a distance of `scale`, and
    turned by an angle of its own, so that the fields of one scene do not line up.
    """
    turn = np.int64(key & _U(3))
    c, s = (
        (0.8, 0.6) if turn < 2 else (0.384615384615384615, 0.923076923076923077)
    )  # Pythagorean: exact enough
    if turn & 1:
        s = -s
    u, v = 1.65 * (c * x - s * y) / scale, 1.65 * (s * x + c * y) / scale
    iu, iv = np.floor(u), np.floor(v)
    i, j = np.int64(iu), np.int64(iv)
    wu, wv = _spline(u - iu), _spline(v - iv)
    total = squares_u = squares_v = 0.0
    for a in range(4):
        row = 0.0
        for b in range(4):
            row += wv[b] * gaussian(lattice(i + a - 1, j + b - 1, key))
        total += wu[a] * row
        squares_u += wu[a] * wu[a]
        squares_v += wv[a] * wv[a]
    return total / np.sqrt(squares_u * squares_v)


@_jit
def noise_field(x: NDArray[Any], y: NDArray[Any], scale: Any, key: Any) -> Any:
    """:func:`broad_noise` over arrays (flat, float64)."""
    out = np.empty(x.size)
    for k in range(x.size):
        out[k] = broad_noise(x[k], y[k], scale, key)
    return out


@_jit
def candidate_leads(tx: NDArray[Any], ty: NDArray[Any], tile: Any, leads: NDArray[Any], margin: Any) -> Any:
    """Leads that may touch each fine tile.

    Parameters
    ----------
    tx, ty : (n,) int64
        Fine tiles.
    tile : float
        Side of a fine tile, m.
    leads : (m, 11) float64
    margin : float
        Added to the half-width for bends, m.

    Returns
    -------
    start : (n + 1,) int64
    index : int64
        Rows of `leads`, tile after tile.
    """
    n = tx.size
    start = np.zeros(n + 1, np.int64)
    index = np.empty(max(16, 4 * n), np.int64)
    k = 0
    reach = 0.7072 * tile + margin
    for i in range(n):
        cx, cy = (tx[i] + 0.5) * tile, (ty[i] + 0.5) * tile
        for m in range(leads.shape[0]):
            dx, dy = cx - leads[m, L_X], cy - leads[m, L_Y]
            s = dx * leads[m, L_COS] + dy * leads[m, L_SIN]
            d = -dx * leads[m, L_SIN] + dy * leads[m, L_COS]
            if abs(s) <= leads[m, L_HALF] + reach and abs(d) <= 0.65 * leads[m, L_WIDTH] + reach:
                if k == index.size:
                    grown = np.empty(2 * k, np.int64)
                    grown[:k] = index
                    index = grown
                index[k] = m
                k += 1
        start[i + 1] = k
    return start, index[:k]


@_jit
def _floe(x: Any, y: Any, size: Any, key: Any) -> Any:
    """Nearest and second floe centre: hashes and the distance to their common border."""
    # Borders are bent by noise, so that floes are not polygons.
    wx = x + 0.10 * size * noise(x, y, 0.5 * size, key + _U(1))
    wy = y + 0.10 * size * noise(x, y, 0.5 * size, key + _U(2))
    iu, iv = np.int64(np.floor(wx / size)), np.int64(np.floor(wy / size))
    d1 = d2 = 1e30
    h1 = h2 = _U(0)
    x1 = y1 = x2 = y2 = 0.0
    for i in range(iu - 1, iu + 2):
        for j in range(iv - 1, iv + 2):
            h = lattice(i, j, key)
            px = (i + 0.05 + 0.9 * uniform(h)) * size
            py = (j + 0.05 + 0.9 * uniform(mix(h + _C3))) * size
            d = (px - wx) ** 2 + (py - wy) ** 2
            if d < d1:
                d2, h2, x2, y2 = d1, h1, x1, y1
                d1, h1, x1, y1 = d, h, px, py
            elif d < d2:
                d2, h2, x2, y2 = d, h, px, py
    apart = np.sqrt((x2 - x1) ** 2 + (y2 - y1) ** 2) + 1e-9
    return h1, h2, (d2 - d1) / (2.0 * apart)


@_jit
def _in_lead(x: Any, y: Any, lead: NDArray[Any], water: Any, key: Any) -> Any:
    """Kind of surface of a point inside one lead, or -1; and its place between the lead's stages."""
    dx, dy = x - lead[L_X], y - lead[L_Y]
    s = dx * lead[L_COS] + dy * lead[L_SIN]
    half = lead[L_HALF]
    if abs(s) >= half:
        return -1, 0.0
    d = -dx * lead[L_SIN] + dy * lead[L_COS]
    d -= lead[L_BEND] * np.sin(6.283185307179586 * (1.5 * s / half + lead[L_PHASE]))
    taper = np.sqrt(1.0 - (s / half) ** 2)
    k = key + _U(np.int64(lead[L_PHASE] * 1e9))
    w = lead[L_WIDTH]
    edge = 0.5 * w * taper * (1.0 + 0.15 * noise(s, 0.0, max(80.0, w), k))
    if abs(d) >= edge:
        return -1, 0.0
    # How far freezing has gone: a lead has an age, and parts of it opened later than others. The sum
    # of a uniform and a small normal part is nearly uniform, so shares of area follow the thresholds.
    stage = lead[L_AGE] + 0.12 * noise(s, 2.0 * d, max(60.0, 0.7 * w), k + _U(7))
    if stage < water:
        return (ROUGH_WATER if lead[L_ROUGH] > 0.5 else CALM_WATER), stage
    young = (stage - water) / (1.0 - water)
    return (NILAS if young < 0.5 else GREY_ICE), young


class Leads(NamedTuple):
    """Leads near some points.

    Attributes
    ----------
    tile_of : (n,) int64
        Fine tile of each point, into `start`.
    start, numbers, table
        From :func:`candidate_leads`.
    water : float
        Stage below which a lead is open water.
    """

    tile_of: NDArray[np.int64]
    start: NDArray[np.int64]
    numbers: NDArray[np.int64]
    table: NDArray[np.float64]
    water: float


class Surface(NamedTuple):
    """Surface at each point.

    Attributes
    ----------
    kind : (n,) int8
    height, albedo, rough, rate : (n,) float32
        m above local sea level, 532 nm albedo, rms (m), backscatter relative to snow.
    """

    kind: NDArray[np.int8]
    height: NDArray[np.float32]
    albedo: NDArray[np.float32]
    rough: NDArray[np.float32]
    rate: NDArray[np.float32]


@_jit
def surface_kernel(x: NDArray[Any], y: NDArray[Any], near: Any, p: NDArray[Any], key: Any, out: Any) -> None:
    """Fill the surface at each point.

    Parameters
    ----------
    x, y : (n,) float64
        Metres from the scene's origin.
    near : Leads
    p : (15,) float64
        floe_size, floe_gap, ridge_share, sail_mean, relief, log median, log sigma, water roughness, spread of snow
        albedo, backscatter of dark water and its spread, factors of nilas and grey ice, spread of snow backscatter,
        level of noise above which level ice bears a pond (infinite for none).
    key : uint64
    out : Surface
        Filled.
    """
    kind, height, albedo, rough, rate = out
    tile_of, start, index, leads, water = near
    size, gap, share, sail, relief, log_median, log_sigma = p[0], p[1], p[2], p[3], p[4], p[5], p[6]
    for q in range(x.size):
        px, py = x[q], y[q]
        what, stage, which = -1, 0.0, -1
        for m in range(start[tile_of[q]], start[tile_of[q] + 1]):
            what, stage = _in_lead(px, py, leads[index[m]], water, key + _U(50))
            if what >= 0:
                which = index[m]
                break
        border = 0.0
        h1 = h2 = _U(0)
        if what < 0:
            h1, h2, border = _floe(px, py, size, key + _U(10))
            if (
                gap > 0.0
                and border < gap * np.exp(0.8 * broad_noise(px, py, 12.0 * size, key + _U(20))) - 0.5
            ):
                what = ROUGH_WATER
        if what < 0:
            z = 0.65 * broad_noise(px, py, 9000.0, key + _U(30)) + 0.76 * gaussian(mix(h1 + _C4))
            f = np.exp(log_median + log_sigma * z)
            # Relief grows with the age of the ice, so with its freeboard.
            r = relief * (0.6 + 0.4 * min(f / 0.3, 2.0))
            bumps = (
                0.65 * noise(px, py, 3.5, key + _U(31))
                + 0.75 * noise(px, py, 9.0, key + _U(32))
                + 0.9 * noise(px, py, 30.0, key + _U(33))
                + 0.9 * noise(px, py, 110.0, key + _U(34))
            )
            h = max(f + r * bumps, 0.25 * f)
            what = SNOW_ICE
            pair = mix(h1 ^ h2)
            if uniform(pair) < share:
                top = -sail * np.log(1.0 - 0.98 * uniform(mix(pair + _C3)))
                half = 3.0 + 3.5 * top
                if border < half:
                    block = 1.0 + 0.35 * noise(px, py, 3.0, key + _U(35))
                    sailing = top * (1.0 - border / half) * max(block, 0.2)
                    h += sailing
                    if sailing > 0.25:
                        what = RIDGE
            height[q] = h
            # Snow differs from floe to floe about as much as across one.
            snow = 0.88 + 0.025 * broad_noise(px, py, 600.0, key + _U(36)) + p[8] * gaussian(mix(h1 ^ _C5))
            albedo[q] = snow - (0.03 if what == RIDGE else 0.0)
            rough[q] = (0.020 + 0.3 * r) if what == SNOW_ICE else 0.09
            rate[q] = albedo[q] / 0.88
            if p[13] > 0.0:
                rate[q] *= np.exp(p[13] * gaussian(mix(h1 ^ _C2)))
            if what == SNOW_ICE and np.isfinite(p[14]):
                wet = 0.9 * noise(px, py, 55.0, key + _U(44)) + 0.43589 * noise(px, py, 18.0, key + _U(45))
                if wet > p[14]:
                    # Flat meltwater a little below the ice about it: calm and bright, or dark under wind.
                    what = POND
                    height[q] = 0.8 * f
                    albedo[q] = 0.22 + 0.10 * uniform(mix(h1 ^ _C4))
                    rough[q] = 0.004
                    calm = uniform(mix(h1 ^ _C1)) < 0.6
                    rate[q] = np.exp(0.25 * wet) * ((1.5 + 3.0 * uniform(mix(h1 ^ _C3))) if calm else 0.25)
        elif what == GREY_ICE:
            n = noise(px, py, 25.0, key + _U(40))
            height[q] = 0.04 + 0.08 * min(max(2.0 * stage - 1.0 + 0.1 * n, 0.0), 1.0)
            albedo[q] = 0.42 + 0.12 * min(max(2.0 * stage - 1.0, 0.0), 1.0) + 0.02 * n
            rough[q] = 0.015
            rate[q] = p[12] * (albedo[q] / 0.88)
        elif what == NILAS:
            n = noise(px, py, 40.0, key + _U(41))
            height[q] = min(max(0.08 * stage + 0.004 * n, 0.0), 0.04)
            albedo[q] = 0.14 + 0.30 * min(max(2.0 * stage, 0.0), 1.0) + 0.015 * n
            rough[q] = 0.008
            rate[q] = p[11] * (albedo[q] / 0.88)
        elif what == CALM_WATER:
            n = noise(px, py, 60.0, key + _U(42))
            height[q] = 0.0
            albedo[q] = 0.07
            rough[q] = 0.004
            rate[q] = leads[which, L_SPECULAR] * np.exp(0.25 * n)
        else:
            n = noise(px, py, 80.0, key + _U(43))
            height[q] = 0.0
            albedo[q] = 0.08
            rough[q] = p[7]
            rate[q] = p[9] * np.exp(p[10] * n)
        kind[q] = what

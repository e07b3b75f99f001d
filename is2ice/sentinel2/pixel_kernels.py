"""Compiled loops over pixels of a scene, for its filters. Plain arrays in, plain arrays out.

Each pixel's result depends on that pixel and on its block only, so tiles give the very bits of the scene.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from is2ice.science.compiled import njit

U1 = NDArray[np.uint8]
I1 = NDArray[np.int8]
F4 = NDArray[np.float32]

_jit: Any = njit(cache=True, nogil=True)


#: Pixels a side of the blocks on which local light is estimated.
STEP = 4
#: Kinds of pixel that have a light of their own, and what has none.
CLEAR, CLOUDED, SHADED, NO_DATA = range(4)
#: Marks of a pixel by a scene classification.
CLOUD_MARK, SHADOW_MARK, LAND_MARK = 1, 2, 4
#: Widest square of :func:`running_median`, pixels: the counts of a wider one do not fit 16 bits.
WIDEST = 255


@_jit
def reflectance(numbers: NDArray[np.uint16], offset: np.float32, scale: np.float32) -> F4:
    """Turn digital numbers into reflectance; the number 0 is no data, NaN."""
    out = np.empty(numbers.shape, np.float32)
    for i in range(numbers.shape[0]):
        for j in range(numbers.shape[1]):
            n = numbers[i, j]
            out[i, j] = (np.float32(n) + offset) * scale if n else np.float32(np.nan)
    return out


@_jit
def _eight_bit(reflectance: Any, scale: Any) -> Any:
    """Reflectance, which is no NaN, on a scale of 8 bits."""
    return np.uint8(min(max(np.rint(np.float32(reflectance) * scale), np.float32(0)), np.float32(255)))


@_jit
def _sky(colour: Any, infrared: Any, mark: Any, cloud: Any, bits: Any) -> tuple[int, int, bool]:
    """Kind of light and bits of the mask of a pixel with data, and whether B11 shows a veil of cloud."""
    kind, mask = CLEAR, 0
    if mark & SHADOW_MARK:
        kind, mask = SHADED, bits[2]
    if mark & LAND_MARK:
        mask |= bits[3]
    veiled = infrared > cloud[0] * colour + cloud[1]
    if veiled or mark & CLOUD_MARK:
        kind, mask = CLOUDED, mask | bits[1]
    return kind, mask, veiled


@_jit
def light_bytes(
    colours: tuple[Any, Any, Any],
    infrared: NDArray[Any],
    marks: U1,
    scale: np.float32,
    cloud: tuple[Any, Any, Any],
    bits: tuple[int, int, int, int],
) -> U1:
    """Return four bytes a pixel: brightness, that without the veil of cloud, kind of light, and mask.

    Parameters
    ----------
    colours : tuple of three arrays, shape (rows, columns)
        Reflectance; NaN for no data.
    infrared : array, shape (rows, columns)
        Reflectance in B11; without pixels if there is none.
    marks : uint8, shape (rows, columns)
        Cloud, shadow and land of a scene classification; without pixels if there is none.
    scale : float32
        Value of 8 bits of the reflectance 1.
    cloud : tuple of three numbers of the colours' type
        Share of the brightness that a clear surface has in B11, the excess that is cloud, and 1 less the share.
    bits : tuple of int
        Bits of no data, cloud, shadow and land.

    Returns
    -------
    ndarray of uint8, shape (4, rows, columns)
    """
    red, green, blue = colours
    out = np.zeros((4, *red.shape), np.uint8)
    value, bare, kind, mask = out
    for i in range(red.shape[0]):
        for j in range(red.shape[1]):
            r, g, b = red[i, j], green[i, j], blue[i, j]
            if not (np.isfinite(r) and np.isfinite(g) and np.isfinite(b)):
                kind[i, j], mask[i, j] = NO_DATA, bits[0]
                continue
            colour = max(max(r, g), b)
            swir = infrared[i, j] if infrared.size else np.nan
            kind[i, j], mask[i, j], veiled = _sky(colour, swir, marks[i, j] if marks.size else 0, cloud, bits)
            value[i, j] = _eight_bit(colour, scale)
            bare[i, j] = _eight_bit((colour - infrared[i, j]) / cloud[2], scale) if veiled else value[i, j]
    return out


@_jit
def grey_bytes(
    colours: tuple[Any, Any, Any], light: U1, scale: np.float32, water: int, weights: tuple[int, int, int]
) -> U1:
    """Return three bytes a pixel: grey with water made white, water, and mask (of :func:`light_bytes`)."""
    red, green, blue = colours
    out = np.empty((3, *red.shape), np.uint8)
    for i in range(red.shape[0]):
        for j in range(red.shape[1]):
            r, g, b = red[i, j], green[i, j], blue[i, j]
            r8 = np.int32(_eight_bit(r, scale)) if r == r else np.int32(0)
            g8 = np.int32(_eight_bit(g, scale)) if g == g else np.int32(0)
            b8 = np.int32(_eight_bit(b, scale)) if b == b else np.int32(0)
            dark = max(r8, g8, b8) <= water
            sum_ = r8 * weights[0] + g8 * weights[1] + b8 * weights[2] + (1 << 14)
            out[0, i, j], out[1, i, j], out[2, i, j] = 255 if dark else sum_ >> 15, dark, light[3, i, j]
    return out


@_jit
def _means(total: NDArray[np.int32], count: NDArray[np.int32]) -> tuple[U1, U1]:
    """Round the means of blocks, and mark the blocks with a quarter of their pixels in the mean.

    Integers throughout: a tile must give the very bits that the scene gives.
    """
    mean, known = np.zeros(total.shape, np.uint8), np.zeros(total.shape, np.uint8)
    for i in range(total.shape[0]):
        for j in range(total.shape[1]):
            if count[i, j]:
                mean[i, j] = (total[i, j] + count[i, j] // 2) // count[i, j]
            known[i, j] = count[i, j] >= STEP * STEP // 4
    return mean, known


@_jit
def block_means(bare: U1, kind: U1, which: int, least: int) -> tuple[U1, U1, bool]:
    """Average the pixels of a kind that are brighter than `least` over blocks.

    Returns
    -------
    mean, known : uint8, shape (blocks, blocks)
        Mean, and 1 where a quarter of the block's pixels are in it.
    any : bool
        True if any pixel is of that kind.
    """
    shape = (-(-bare.shape[0] // STEP), -(-bare.shape[1] // STEP))
    total, count, there = np.zeros(shape, np.int32), np.zeros(shape, np.int32), False
    for i in range(bare.shape[0]):
        for j in range(bare.shape[1]):
            if kind[i, j] == which:
                there = True
                if bare[i, j] > least:
                    total[i // STEP, j // STEP] += bare[i, j]
                    count[i // STEP, j // STEP] += 1
    mean, known = _means(total, count)
    return mean, known, there


@_jit
def window_quantile(values: U1, known: U1, window: int, share: float) -> U1:
    """Least value that more than a share of the known values in a square window do not exceed; 0 where none is known.

    Parameters
    ----------
    values, known : uint8, shape (rows, columns)
        Values, and 1 where they count.
    window : int
        Side of the window, odd; it is cut at the edges.
    share : float
    """
    half, out = window // 2, np.zeros_like(values)
    for i in range(values.shape[0]):
        top, bottom = max(i - half, 0), min(i + half + 1, values.shape[0])
        counts = np.zeros(256, np.int32)
        number = below = level = 0  # values in the window, those less than the level
        for j in range(-half, values.shape[1]):
            if j + half < values.shape[1]:
                for a in range(top, bottom):
                    if known[a, j + half]:
                        v = values[a, j + half]
                        counts[v] += 1
                        number += 1
                        below += v < level
            if j > half:
                for a in range(top, bottom):
                    if known[a, j - half - 1]:
                        v = values[a, j - half - 1]
                        counts[v] -= 1
                        number -= 1
                        below -= v < level
            if j >= 0 and number > 0:
                while below > share * number:
                    level -= 1
                    below -= counts[level]
                while below + counts[level] <= share * number:
                    below += counts[level]
                    level += 1
                out[i, j] = level
    return out


@_jit
def window_mean(values: U1, known: U1, window: int) -> U1:
    """Mean of the known values in a square window, rounded down; 0 where none is known (as :func:`window_quantile`)."""
    half, out = window // 2, np.zeros_like(values)
    for i in range(values.shape[0]):
        top, bottom = max(i - half, 0), min(i + half + 1, values.shape[0])
        total = number = 0
        for j in range(-half, values.shape[1]):
            if j + half < values.shape[1]:
                for a in range(top, bottom):
                    total += int(known[a, j + half]) * int(values[a, j + half])
                    number += known[a, j + half]
            if j > half:
                for a in range(top, bottom):
                    total -= int(known[a, j - half - 1]) * int(values[a, j - half - 1])
                    number -= known[a, j - half - 1]
            if j >= 0 and number > 0:
                out[i, j] = total // number
    return out


@_jit
def fading_shade(level: U1, dull: tuple[float, float], least: float, fading: float, far: int) -> U1:
    """Mark the blocks darker than dull ones into which the level of the dull ones fades.

    Parameters
    ----------
    level : uint8, shape (blocks, blocks)
        Bright level around a block.
    dull : tuple of float
        Levels between which a block is in shade beyond doubt, where a square of 3 x 3 blocks is.
    least : float
        Least level in shade.
    fading : float
        Largest difference of neighbours, as a share of the brighter.
    far : int
        Largest number of blocks from a dull one.
    """
    rows, columns = level.shape
    reached = np.full(level.shape, 255, np.uint8)  # blocks from a dull one; 255 for none
    for i in range(1, rows - 1):
        for j in range(1, columns - 1):
            square = level[i - 1 : i + 2, j - 1 : j + 2]
            if dull[0] < square.min() and square.max() < dull[1]:
                reached[i - 1 : i + 2, j - 1 : j + 2] = 0
    for step in range(1, far + 1):
        some = False
        for i in range(rows):
            for j in range(columns):
                if reached[i, j] != 255 or not (least < level[i, j] <= dull[0]):
                    continue
                for a in range(max(i - 1, 0), min(i + 2, rows)):
                    for b in range(max(j - 1, 0), min(j + 2, columns)):
                        high, low = max(level[a, b], level[i, j]), min(level[a, b], level[i, j])
                        if reached[a, b] == step - 1 and high - low <= fading * high:
                            reached[i, j], some = step, True
        if not some:
            break
    out = np.zeros_like(level)
    for i in range(rows):
        for j in range(columns):
            out[i, j] = 0 < reached[i, j] < 255
    return out


@_jit
def shaded_in(kind: U1, shade: U1) -> U1:
    """Kind of light with clear pixels of marked blocks in shadow."""
    out = kind.copy()
    for i in range(kind.shape[0]):
        for j in range(kind.shape[1]):
            if kind[i, j] == CLEAR and shade[i // STEP, j // STEP]:
                out[i, j] = SHADED
    return out


@_jit
def _dim(kind: Any, level: Any, dull: tuple[float, float]) -> bool:
    """Return True for a pixel in less than full light: under cloud, in shadow, or with a dull neighbourhood."""
    return kind in (CLOUDED, SHADED) or (kind == CLEAR and dull[0] < level and level < dull[1])


@_jit
def bright_means(
    bare: U1, kind: U1, levels: U1, dull: tuple[float, float], share: float, least: float
) -> tuple[U1, U1]:
    """Average over blocks the pixels in dim light that have at least a share of it, as :func:`block_means`.

    Parameters
    ----------
    bare, kind : uint8, shape (rows, columns)
        As :func:`light_bytes` gives them.
    levels : uint8, shape (3, blocks, blocks)
        Bright level around a block for the kinds clear, cloud and shadow.
    dull : tuple of float
        Levels between which a clear pixel is taken to be in shade.
    share : float
        Share of the light that thick ice has.
    least : float
        Least light.
    """
    total = np.zeros(levels.shape[1:], np.int32)
    count = np.zeros(levels.shape[1:], np.int32)
    for i in range(bare.shape[0]):
        for j in range(bare.shape[1]):
            k = kind[i, j]
            if k == NO_DATA:
                continue
            level = levels[k, i // STEP, j // STEP]
            if _dim(k, level, dull) and bare[i, j] >= share * max(float(level), least):
                total[i // STEP, j // STEP] += bare[i, j]
                count[i // STEP, j // STEP] += 1
    return _means(total, count)


@_jit
def classes_in_light(
    planes: U1,
    levels: U1,
    refined: U1,
    dull: tuple[float, float],
    limits: tuple[float, float, float, float, float],
) -> tuple[I1, U1]:
    """Class of each pixel, and its brightness as if in full light.

    Parameters
    ----------
    planes : uint8, shape (3 or more, rows, columns)
        As :func:`light_bytes` gives them.
    levels : uint8, shape (3, blocks, blocks)
        Bright level around a block for the kinds clear, cloud and shadow.
    refined : uint8, shape (blocks, blocks)
        Light where thick ice shows it, 0 where there is none.
    dull : tuple of float
        Levels between which a clear pixel is taken to be in shade.
    limits : tuple of float
        Upper ends of water and of thin ice in full light, the share of the light that thick ice has, and the
        least and the full light.

    Returns
    -------
    classes : int8, shape (rows, columns)
        0 thick ice, 1 thin ice, 2 water.
    even : uint8, shape (rows, columns)
    """
    water, thin, share, least, full = limits
    value, bare, kind = planes[0], planes[1], planes[2]
    out = np.empty(value.shape, np.int8)
    even = value.copy()
    for i in range(value.shape[0]):
        for j in range(value.shape[1]):
            k, gain, limit = kind[i, j], 1.0, thin
            level = levels[k, i // STEP, j // STEP] if k != NO_DATA else np.uint8(0)
            if _dim(k, level, dull):
                near = refined[i // STEP, j // STEP]
                own = min(max(float(near) if near > 0 else max(float(level), least), least), full)
                gain = own / full
                limit = min(share * own, thin)
                even[i, j] = np.uint8(min(bare[i, j] / min(gain, 1.0), 255.0))
            # A cloud's veil is taken out only to find the ice below it; a pixel bright without that is thick.
            if bare[i, j] >= limit or value[i, j] > thin:
                out[i, j] = 0
            elif bare[i, j] <= water * min(gain, 1.0):
                out[i, j] = 2
            else:
                out[i, j] = 1
    return out, even


@_jit
def _extent(value: U1, kind: U1, rows: tuple[int, int], columns: tuple[int, int]) -> tuple[int, int]:
    """Darkest and brightest pixel with data of a window, which is cut at the edges."""
    low, high = 255, 0
    for i in range(max(rows[0], 0), min(rows[1], value.shape[0])):
        for j in range(max(columns[0], 0), min(columns[1], value.shape[1])):
            if kind[i, j] != NO_DATA:
                low, high = min(low, value[i, j]), max(high, value[i, j])
    return low, high


@_jit
def unmix(value: U1, classes: I1, kind: U1, flat: int, limits: tuple[int, int]) -> I1:
    """Give pixels of thin ice that belong to no even 2 x 2 window to the nearer extreme of the 5 x 5 around them.

    Parameters
    ----------
    value : uint8, shape (rows, columns)
        Brightness in full light.
    classes : int8, shape (rows, columns)
        0 thick ice, 1 thin ice, 2 water; another class is kept.
    kind : uint8, shape (rows, columns)
        Pixels of no data are in no window.
    flat : int
        Difference in an even window is less.
    limits : tuple of int
        Greatest brightness of water and of thin ice.
    """
    out = classes.copy()
    for i in range(value.shape[0]):
        for j in range(value.shape[1]):
            if classes[i, j] != 1 or kind[i, j] == NO_DATA:
                continue
            mixed = True
            for a in range(i, min(i + 2, value.shape[0])):
                for b in range(j, min(j + 2, value.shape[1])):
                    low, high = _extent(value, kind, (a - 1, a + 1), (b - 1, b + 1))
                    mixed = mixed and high - low >= flat
            if mixed:
                low, high = _extent(value, kind, (i - 2, i + 3), (j - 2, j + 3))
                pure = high if 2 * int(value[i, j]) >= high + low else low
                out[i, j] = 2 if pure <= limits[0] else 1 if pure <= limits[1] else 0
    return out


#: A sum over 16-bit parts of a word times this holds, in each part, the sum of the parts up to it.
_UPTO = np.uint64(0x0001000100010001)


@_jit
def _bin_of(w0: Any, w1: Any, w2: Any, w3: Any, rank: Any) -> tuple[int, int]:
    """Find the bin, of sixteen counts packed into four words, that holds a rank, and the rank within it."""
    word, bin_ = w0 * _UPTO, 0
    for k in range(1, 4):
        whole = np.int64(word >> np.uint64(48))
        if rank < whole:
            break
        rank -= whole
        bin_ = 4 * k
        word = (w1 if k == 1 else w2 if k == 2 else w3) * _UPTO
    below: Any = 0
    for k in range(4):
        upto = np.int64((word >> np.uint64(16 * k)) & np.uint64(0xFFFF))
        if rank < upto:
            return bin_ + k, rank - below
        below = upto
    return bin_ + 3, rank - below


@_jit
def running_median(padded: U1, half: int) -> U1:
    """Median of a square of 2 half + 1 pixels around each pixel that has `half` more on every side.

    The cost of a pixel does not depend on the square's size (Perreault and Hebert 2007,
    doi:10.1109/TIP.2007.902329): each column keeps a histogram of its part of the square, in 16 coarse and 256
    fine bins. The square's coarse counts slide with it; of its fine counts only the 16 in the median's coarse
    bin are brought up to date. Sixteen counts of 16 bits lie in four words, which are added and taken away whole.
    """
    rows, columns = padded.shape[0] - 2 * half, padded.shape[1] - 2 * half
    side = 2 * half + 1
    middle = side * side // 2
    coarse = np.zeros((padded.shape[1], 4), np.uint64)
    fine = np.zeros((16, padded.shape[1], 4), np.uint64)
    out = np.empty((rows, columns), np.uint8)
    part = np.zeros((16, 4), np.uint64)
    upto = np.zeros(16, np.int64)
    one = np.uint64(1)
    for i in range(-side + 1, rows):
        for j in range(padded.shape[1]):
            v = padded[i + side - 1, j]
            u = v >> 4
            coarse[j, u >> 2] += one << np.uint64(16 * (u & 3))
            fine[u, j, (v & 15) >> 2] += one << np.uint64(16 * (v & 3))
            if i > 0:
                v = padded[i - 1, j]
                u = v >> 4
                coarse[j, u >> 2] -= one << np.uint64(16 * (u & 3))
                fine[u, j, (v & 15) >> 2] -= one << np.uint64(16 * (v & 3))
        if i < 0:
            continue
        s0 = s1 = s2 = s3 = np.uint64(0)
        for j in range(side - 1):
            s0, s1, s2, s3 = s0 + coarse[j, 0], s1 + coarse[j, 1], s2 + coarse[j, 2], s3 + coarse[j, 3]
        upto[:] = -1  # first column of the square for which the fine counts of a coarse bin hold
        for j in range(columns):
            c = j + side - 1
            s0, s1, s2, s3 = s0 + coarse[c, 0], s1 + coarse[c, 1], s2 + coarse[c, 2], s3 + coarse[c, 3]
            if j > 0:
                c = j - 1
                s0, s1, s2, s3 = s0 - coarse[c, 0], s1 - coarse[c, 1], s2 - coarse[c, 2], s3 - coarse[c, 3]
            bin_, rank = _bin_of(s0, s1, s2, s3, middle)
            p0, p1, p2, p3 = part[bin_, 0], part[bin_, 1], part[bin_, 2], part[bin_, 3]
            if upto[bin_] < 0 or j - upto[bin_] > half:
                p0 = p1 = p2 = p3 = np.uint64(0)
                for c in range(j, j + side):
                    p0, p1 = p0 + fine[bin_, c, 0], p1 + fine[bin_, c, 1]
                    p2, p3 = p2 + fine[bin_, c, 2], p3 + fine[bin_, c, 3]
            else:
                for c in range(upto[bin_], j):
                    p0, p1 = (
                        p0 + fine[bin_, c + side, 0] - fine[bin_, c, 0],
                        p1 + fine[bin_, c + side, 1] - fine[bin_, c, 1],
                    )
                    p2, p3 = (
                        p2 + fine[bin_, c + side, 2] - fine[bin_, c, 2],
                        p3 + fine[bin_, c + side, 3] - fine[bin_, c, 3],
                    )
            part[bin_, 0], part[bin_, 1], part[bin_, 2], part[bin_, 3] = p0, p1, p2, p3
            upto[bin_] = j
            out[i, j] = 16 * bin_ + _bin_of(p0, p1, p2, p3, rank)[0]
    return out

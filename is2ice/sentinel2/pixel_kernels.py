"""Compiled loops over pixels for the guarded filter. Plain arrays in, plain arrays out.

Each pixel's result depends on that pixel and on its block only, so tiles give the very bits of the scene.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from is2ice.science.compiled import njit

U1 = NDArray[np.uint8]
I1 = NDArray[np.int8]
F8 = NDArray[np.float64]
Mask = NDArray[np.bool_]

_jit: Any = njit(cache=True, nogil=True)


@_jit
def block_means(values: U1, mask: Mask, step: int) -> tuple[U1, NDArray[np.int32]]:
    """Average the pixels of a mask over blocks of step x step, rounded, and count them.

    Integers throughout: a tile must give the very bits that the scene gives.
    """
    rows, columns = -(-values.shape[0] // step), -(-values.shape[1] // step)
    total = np.zeros((rows, columns), np.int32)
    count = np.zeros((rows, columns), np.int32)
    for i in range(values.shape[0]):
        for j in range(values.shape[1]):
            if mask[i, j]:
                total[i // step, j // step] += values[i, j]
                count[i // step, j // step] += 1
    mean = np.zeros((rows, columns), np.uint8)
    for i in range(rows):
        for j in range(columns):
            if count[i, j]:
                mean[i, j] = (total[i, j] + count[i, j] // 2) // count[i, j]
    return mean, count


@_jit
def local_light(
    levels: U1, kind: U1, step: int, dull: tuple[float, float], least: float, full: float
) -> tuple[F8, Mask]:
    """Brightness that thick ice has or would have at each pixel, and where it is less than in full light.

    `levels` holds a bright level by block for kinds of pixel 0 (neither cloud nor shadow), 1 (cloud) and
    2 (shadow); kind 3 is no data. A pixel of kind 0 is dull where its level lies between the two of `dull`.
    """
    light = np.full(kind.shape, full, np.float64)
    dark = np.zeros(kind.shape, np.bool_)
    for i in range(kind.shape[0]):
        for j in range(kind.shape[1]):
            k = kind[i, j]
            if k > 2:
                continue
            level = levels[k, i // step, j // step]
            dark[i, j] = k > 0 or (dull[0] < level < dull[1])
            if dark[i, j]:
                light[i, j] = max(float(level), least)
    return light, dark


@_jit
def bright_in(values: U1, light: F8, dark: Mask, share: float) -> Mask:
    """Pixels in dim light that are at least so bright a share of it."""
    out = np.zeros(dark.shape, np.bool_)
    for i in range(dark.shape[0]):
        for j in range(dark.shape[1]):
            out[i, j] = dark[i, j] and values[i, j] >= share * light[i, j]
    return out


@_jit
def classes_in_light(
    value: U1,
    bare: U1,
    light: F8,
    dark: Mask,
    refined: U1,
    step: int,
    limits: tuple[float, float, float, float, float],
) -> tuple[I1, U1]:
    """Class of each pixel, and its brightness as if in full light.

    `refined` is the light by block where thick ice shows it, 0 where there is none. `limits` are the upper
    ends of water and of thin ice in full light, the share of the light that thick ice has, and the least and
    the full light. Codes: 0 thick ice, 1 thin ice, 2 water.
    """
    water, thin, share, least, full = limits
    out = np.empty(value.shape, np.int8)
    even = value.copy()
    for i in range(value.shape[0]):
        for j in range(value.shape[1]):
            gain, limit = 1.0, thin
            if dark[i, j]:
                near = refined[i // step, j // step]
                own = min(max(float(near) if near > 0 else light[i, j], least), full)
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
def running_median(padded: U1, half: int) -> U1:
    """Median of a square of 2 half + 1 pixels around each pixel that has `half` more on every side.

    The cost of a pixel does not depend on the square's size (Perreault and Hebert 2007,
    doi:10.1109/TIP.2007.902329): each column keeps a histogram of its part of the square, in 16 coarse and 256
    fine bins. The square's coarse counts slide with it; of its fine counts only the 16 in the median's coarse
    bin are brought up to date.
    """
    rows, columns = padded.shape[0] - 2 * half, padded.shape[1] - 2 * half
    side = 2 * half + 1
    middle = side * side // 2
    coarse = np.zeros((padded.shape[1], 16), np.int32)
    fine = np.zeros((16, padded.shape[1], 16), np.int32)
    out = np.empty((rows, columns), np.uint8)
    for i in range(side - 1):
        for j in range(padded.shape[1]):
            v = padded[i, j]
            coarse[j, v >> 4] += 1
            fine[v >> 4, j, v & 15] += 1
    square = np.zeros(16, np.int32)
    part = np.zeros((16, 16), np.int32)
    upto = np.zeros(16, np.int64)
    for i in range(rows):
        for j in range(padded.shape[1]):
            v = padded[i + side - 1, j]
            coarse[j, v >> 4] += 1
            fine[v >> 4, j, v & 15] += 1
            if i > 0:
                v = padded[i - 1, j]
                coarse[j, v >> 4] -= 1
                fine[v >> 4, j, v & 15] -= 1
        square[:] = 0
        for j in range(side - 1):
            for k in range(16):
                square[k] += coarse[j, k]
        upto[:] = -1  # first column of the square for which the fine counts of a coarse bin hold
        for j in range(columns):
            for k in range(16):
                square[k] += coarse[j + side - 1, k]
            if j > 0:
                for k in range(16):
                    square[k] -= coarse[j - 1, k]
            below, bin_ = 0, 0
            while below + square[bin_] <= middle:
                below += square[bin_]
                bin_ += 1
            counts, held = part[bin_], fine[bin_]
            if upto[bin_] < 0 or j - upto[bin_] > half:
                counts[:] = 0
                for c in range(j, j + side):
                    for k in range(16):
                        counts[k] += held[c, k]
            else:
                for c in range(upto[bin_], j):
                    for k in range(16):
                        counts[k] += held[c + side, k] - held[c, k]
            upto[bin_] = j
            level = 0
            while below + counts[level] <= middle:
                below += counts[level]
                level += 1
            out[i, j] = 16 * bin_ + level
    return out

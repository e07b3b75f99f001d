"""Sentinel-2 colour to surface class: plain thresholds, the published cloud filter, and a guarded one.

Pure functions on arrays. Each needs a stated neighbourhood only (:data:`HALO`) or a histogram of the whole
scene, so a scene may be worked in tiles of any size with the same result.

Sources: Iqrah et al. (arXiv 2303.12719, 2403.13135) for the thresholds and the twelve-step filter; the
reflectances in the comments are Sentinel-2 means over ice of known thickness (oyssko's table) and ranges
quoted for snow, water, thin cloud and shadow in polar spring.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from is2ice import schema
from is2ice.errors import require
from is2ice.schema import LabelFlag

from . import pixel_kernels
from .pixel_kernels import STEP

__all__ = [
    "BITS",
    "HALO",
    "PUBLISHED_APERTURE",
    "brightness",
    "cloud_in_infrared",
    "eight_bit",
    "guarded",
    "guarded_bytes",
    "guarded_classes",
    "published",
    "published_bytes",
    "published_contrast",
    "published_grey",
    "published_table",
    "threshold",
    "unmix",
]

U1 = NDArray[np.uint8]
I1 = NDArray[np.int8]
Mask = NDArray[np.bool_]

#: Published thresholds on the brightest of three 8-bit colours: at most water, at most thin ice.
WATER, THIN = 30, 204
#: Published aperture of the median that stands for the background, pixels.
PUBLISHED_APERTURE = 155
_DILATION = 7
#: Weights of red, green and blue in the published grey, 15-bit fixed point: .299 and .114 change places, since the
#: file's blue comes first.
_WEIGHTS = (3735, 19235, 9798)

#: Brightness of sunlit thick ice, reflectance, and the least it has (snow: .85-.95).
_SNOW, _DULL_SNOW = 0.90, 0.85
#: No bare ice up to 30 cm thick is brighter than this in the visible (measured maximum .64).
_BRIGHTEST_THIN = 0.64
#: Midway between the brightest thin ice (.64 / .90 = .71) and dull thick ice (.82 / .90 = .91).
_THICK_SHARE = 0.80
#: Shadow and cloud leave at least this share of the light (shadow multiplies by .4-.7).
_LEAST_LIGHT = 0.45
#: Clear surfaces reflect in B11 about a tenth of what they do in the visible: water .006/.05, ice of 5-20 cm
#: .036/.44-.059/.64, snow .05-.15/.9. Cloud lifts B11 by .1-.3.
_INFRARED_SHARE, _INFRARED_EXCESS = 0.10, 0.06
#: Windows of local light, in blocks: 1.56 km, .2 km where only brightness tells of a shadow, .44 km where refined.
_WINDOW, _NEAR, _REFINED = 39, 5, 11
#: Bright level of a window: the upper quartile, so that a quarter of thick ice is enough.
_QUARTILE = 0.75
#: Colours within a 2 x 2 window of one surface differ by less (noise, relief), 8-bit.
_FLAT = 20

#: Where colours alone must tell (no B11, no SCL), shade fades: from squares of 3 blocks that are dull beyond doubt it
#: reaches darker neighbours whose bright level differs by this share, at most this many blocks on, down to this level.
_FADING, _FAR, _DEEPEST = 0.06, 24, 0.25

#: Pixels that a result may depend on beyond a tile's border, a multiple of the light's blocks: half a window,
#: half a refining window, a block, and the 5 x 5 of mixed pixels.
HALO = 4 * -(-(STEP * (_WINDOW // 2 + _REFINED // 2 + 1) + 4) // 4)
#: The same where colours alone must tell.
HALO_COLOURS = HALO + STEP * (_FAR + 2)


def eight_bit(reflectance: NDArray[Any], white: float = 1.0) -> U1:
    """Reflectance on a fixed 8-bit scale, never stretched to a scene's own range.

    Parameters
    ----------
    reflectance : ndarray
        NaN becomes 0.
    white : float
        Reflectance of the value 255.
    """
    scaled = np.asarray(reflectance, np.float32) * np.float32(255.0 / white)
    np.rint(scaled, out=scaled)
    return np.fmin(np.fmax(scaled, 0), 255).astype(np.uint8)


def brightness(red: U1, green: U1, blue: U1) -> U1:
    """V of the HSV colour model: the brightest of the three colours."""
    return np.maximum(np.maximum(red, green), blue)


def threshold(value: U1) -> I1:
    """Return the published classes: V up to 30 water, 31-204 thin ice, from 205 thick ice."""
    out = np.full(value.shape, schema.THICK_ICE, np.int8)
    out[value <= THIN] = schema.THIN_ICE
    out[value <= WATER] = schema.OPEN_WATER
    return out


# ---- the published filter ----


def published_grey(red: U1, green: U1, blue: U1) -> tuple[U1, Mask]:
    """Apply steps 1 and 2 of the published filter: grey with water (V <= 30) made white, and the water.

    Red and blue are swapped in the grey, as in the published code.
    """
    water = brightness(red, green, blue) <= WATER
    r, g, b = (np.where(water, np.uint8(255), c).astype(np.int32) for c in (red, green, blue))
    of_red, of_green, of_blue = _WEIGHTS
    return ((r * of_red + g * of_green + b * of_blue + (1 << 14)) >> 15).astype(np.uint8), water


def published_contrast(grey: U1, aperture: int = PUBLISHED_APERTURE, dilation: int = _DILATION) -> U1:
    """Apply steps 3-5 of the published filter: contrast with the local background, 255 for none.

    Dilation; a median of a large aperture is the background; 255 minus the difference from it.
    """
    half = aperture // 2
    spread = _extreme(np.maximum, grey, dilation // 2, dilation // 2)
    background = pixel_kernels.running_median(np.pad(spread, half, mode="edge"), half)
    return (255 - np.abs(grey.astype(np.int16) - background)).astype(np.uint8)


def _stretch(values: NDArray[np.int64], present: Mask) -> NDArray[np.int64]:
    """Minimum to 0 and maximum to 255, over the values that occur; a single value becomes 0."""
    low, high = values[present].min(), values[present].max()
    if low == high:
        return np.zeros_like(values)
    return np.clip(np.rint((values - low) * (255.0 / (high - low))), 0, 255).astype(np.int64)


def published_table(histogram: NDArray[Any]) -> tuple[I1, int]:
    """Return steps 6-12 of the published filter as a table from contrast to class.

    Otsu's threshold, the two stretches and the truncation at 235 depend on the histogram of all contrasts
    only, so a scene is worked in two passes: histogram, then table.

    Parameters
    ----------
    histogram : ndarray of int, shape (256,)

    Returns
    -------
    table : int8, shape (256,)
        Thick or thin ice for each contrast; pixels of water stay water whatever it says.
    otsu : int
        The threshold found.
    """
    require("skimage")
    from skimage.filters import threshold_otsu

    counts = np.asarray(histogram)
    present = counts > 0
    if not present.any():
        return np.full(256, schema.THIN_ICE, np.int8), 0
    otsu = int(threshold_otsu(hist=counts.astype(float))) if present.sum() > 1 else 0
    contrast = np.arange(256)
    kept = np.where(contrast > otsu, contrast, 0)
    final = _stretch(np.minimum(_stretch(kept, present), 235), present)
    # Painted 255 (thick) or 155 (thin) and cut by the thresholds once more, which changes nothing.
    return np.where(final > THIN, schema.THICK_ICE, schema.THIN_ICE).astype(np.int8), otsu


def published(
    red: U1, green: U1, blue: U1, aperture: int = PUBLISHED_APERTURE, dilation: int = _DILATION
) -> I1:
    """Classes of an image by the published thin-cloud and shadow filter, all twelve steps as published.

    Known flaws, kept: thin ice wider than about half the aperture turns thick; an image of one class turns
    thin; results depend on what else is in the image or tile; red and blue are swapped.

    Parameters
    ----------
    red, green, blue : uint8, shape (rows, columns)
    aperture, dilation : int
        Odd, pixels.

    Returns
    -------
    ndarray of int8
        Class codes of :mod:`is2ice.schema`.
    """
    grey, water = published_grey(red, green, blue)
    contrast = published_contrast(grey, aperture, dilation)
    table, _ = published_table(np.bincount(contrast.ravel(), minlength=256))
    return np.where(water, np.int8(schema.OPEN_WATER), table[contrast])


# ---- the guarded filter ----


def cloud_in_infrared(value: NDArray[Any], infrared: NDArray[Any]) -> Mask:
    """Cloud seen in B11: more light at 1.6 um than a clear surface of this brightness sends back.

    Over water and thin ice, where a thin cloud changes the class, a little is enough; over snow, where it
    does not, more is needed.

    Parameters
    ----------
    value, infrared : ndarray
        Reflectance of the brightest colour and of B11; NaN means no cloud.
    """
    return infrared > _INFRARED_SHARE * value + _INFRARED_EXCESS


def guarded(
    red: NDArray[Any],
    green: NDArray[Any],
    blue: NDArray[Any],
    *,
    infrared: NDArray[Any] | None = None,
    cloud: Mask | None = None,
    shadow: Mask | None = None,
    white: float = 1.0,
) -> I1:
    """Classes by the published thresholds, with thin cloud and shadow taken out where there is evidence of them.

    Cures what was measured of the published filter, each by its own means:

    1. *Wide thin ice turned thick* (its own background): a neighbourhood counts as shaded only where cloud or
       shadow is marked, or where its bright level lies between .64 and .85: brighter than bare ice up to 30 cm
       thick, duller than snow in the sun. Where colours alone must tell, darker neighbours into which that level
       fades count, too: shade has soft edges, a sheet of thin ice has a step.
    2. *Pure scenes turned thin* (Otsu and min-max stretch whatever is there): no stretch; sunlit pixels are
       compared with the fixed thresholds, others with the local light times a fixed share.
    3. *Tile dependence*: windows of stated size and integer arithmetic, see :data:`HALO`.
    4. *Swapped red and blue*: brightness is the maximum of the three, whatever their order.
    5. *Mixed pixels come out as thin ice* along every border of thick ice and water: :func:`unmix`.

    The veil of a thin cloud is nearly grey, so brightness less B11 is free of it; a clear surface loses a
    tenth, which is put back. Shadow multiplies, so the local light divides it out.

    Parameters
    ----------
    red, green, blue : ndarray, shape (rows, columns)
        Reflectance; NaN for no data.
    infrared : ndarray, optional
        Reflectance in B11.
    cloud, shadow : ndarray of bool, optional
        Cloud and shadow from other sources (SCL); cloud from B11 is added.
    white : float
        Reflectance of the value 255.

    Returns
    -------
    ndarray of int8
        Class codes; -1 for no data.
    """
    marks = np.zeros(np.shape(red), np.uint8)
    for mark, where in ((pixel_kernels.CLOUD_MARK, cloud), (pixel_kernels.SHADOW_MARK, shadow)):
        if where is not None:
            marks[where] |= mark
    alone = infrared is None and cloud is None and shadow is None
    return guarded_classes(guarded_bytes(red, green, blue, infrared, marks, white), white, alone=alone)


#: Bits of a mask in the bytes of :func:`guarded_bytes`.
BITS = tuple(int(bit) for bit in (LabelFlag.NO_DATA, LabelFlag.CLOUD, LabelFlag.CLOUD_SHADOW, LabelFlag.LAND))


def guarded_bytes(
    red: NDArray[Any],
    green: NDArray[Any],
    blue: NDArray[Any],
    infrared: NDArray[Any] | None = None,
    marks: U1 | None = None,
    white: float = 1.0,
) -> U1:
    """First step of :func:`guarded`, pixel by pixel: four bytes a pixel in place of five bands.

    Parameters
    ----------
    red, green, blue : ndarray, shape (rows, columns)
        Reflectance; NaN for no data.
    infrared : ndarray, optional
        Reflectance in B11.
    marks : uint8 ndarray, optional
        Cloud, shadow and land from other sources, marked as in :mod:`is2ice.sentinel2.pixel_kernels`.
    white : float
        Reflectance of the value 255.

    Returns
    -------
    ndarray of uint8, shape (4, rows, columns)
        Brightness, brightness without the veil of cloud, the kind of light (clear, cloud, shadow, no data), and the
        bits no_data, cloud, cloud_shadow and land of :data:`is2ice.schema.LABEL_BITS`.
    """
    colours, number = _alike(red, green, blue)
    swir = np.empty((0, 0), number) if infrared is None else np.ascontiguousarray(infrared)
    marked = np.empty((0, 0), np.uint8) if marks is None else np.ascontiguousarray(marks)
    cloud = tuple(number(x) for x in (_INFRARED_SHARE, _INFRARED_EXCESS, 1.0 - _INFRARED_SHARE))
    return pixel_kernels.light_bytes(colours, swir, marked, _scale(white), cloud, BITS)


def published_bytes(
    red: NDArray[Any], green: NDArray[Any], blue: NDArray[Any], light: U1, white: float
) -> U1:
    """First steps of :func:`published`, pixel by pixel: grey, water, and the mask of :func:`guarded_bytes`.

    Returns
    -------
    ndarray of uint8, shape (3, rows, columns)
    """
    return pixel_kernels.grey_bytes(_alike(red, green, blue)[0], light, _scale(white), WATER, _WEIGHTS)


def _alike(*colours: NDArray[Any]) -> tuple[tuple[NDArray[Any], ...], type]:
    """Return arrays of one type of float with rows in memory order, and that type."""
    number = np.result_type(np.float32, *colours).type
    return tuple(np.ascontiguousarray(c, number) for c in colours), number


def _scale(white: float) -> np.float32:
    """Value of 8 bits of the reflectance 1."""
    return np.float32(255.0 / white)


def guarded_classes(planes: U1, white: float = 1.0, *, alone: bool = False) -> I1:
    """Classes from the bytes of :func:`guarded_bytes` and their neighbourhood.

    Parameters
    ----------
    planes : uint8, shape (4, rows, columns)
        With :data:`HALO` pixels around those whose classes count.
    white : float
        Reflectance of the value 255.
    alone : bool
        True if colours alone must tell of cloud and shadow; the neighbourhood is then :data:`HALO_COLOURS`.
    """
    bare, kind = planes[1], planes[2]
    snow = 255.0 * _SNOW / white
    dull = (snow * _BRIGHTEST_THIN / _SNOW, snow * _DULL_SNOW / _SNOW)
    least = _LEAST_LIGHT * snow
    levels = _levels(bare, kind)
    if alone:
        least = snow * _DEEPEST / _SNOW
        shade = pixel_kernels.fading_shade(levels[pixel_kernels.CLEAR], dull, least, _FADING, _FAR)
        levels[pixel_kernels.SHADED] = levels[pixel_kernels.CLEAR]
        kind = pixel_kernels.shaded_in(kind, shade)
        planes = np.stack([planes[0], bare, kind])
    thick = pixel_kernels.bright_means(bare, kind, levels, dull, _THICK_SHARE, least)
    refined = pixel_kernels.window_mean(*thick, _REFINED)  # from the mean of the thick ice around each block
    limits = (WATER + 0.5, THIN + 0.5, _THICK_SHARE, least, snow)
    found, even = pixel_kernels.classes_in_light(planes, levels, refined, dull, limits)
    out = unmix(even, found, kind)
    out[kind == pixel_kernels.NO_DATA] = schema.UNLABELLED
    return out


def _levels(bare: U1, kind: U1) -> U1:
    """Brightness of the bright ice around each block, for each kind of light; 0 where there is none."""
    windows = {pixel_kernels.CLEAR: _NEAR, pixel_kernels.CLOUDED: _WINDOW, pixel_kernels.SHADED: _WINDOW}
    levels = np.zeros((len(windows), *(-(-n // STEP) for n in bare.shape)), np.uint8)
    for k, window in windows.items():
        mean, known, there = pixel_kernels.block_means(bare, kind, k, WATER)
        if there:
            levels[k] = pixel_kernels.window_quantile(mean, known, window, _QUARTILE)
    return levels


def unmix(value: U1, classes: I1, kind: U1) -> I1:
    """Give pixels that straddle a border to the side they mostly are of.

    A pixel half snow and half water has the brightness of thin ice. A pixel of thin ice that belongs to no
    even 2 x 2 window is therefore put on the side of the brightest or of the darkest pixel of the 5 x 5
    around it, whichever is nearer.

    Parameters
    ----------
    value : uint8, shape (rows, columns)
        Brightness in full light.
    classes : int8
    kind : uint8
        Kind of light of :func:`guarded_bytes`.

    Returns
    -------
    ndarray of int8
    """
    return pixel_kernels.unmix(value, classes, kind, _FLAT, (WATER, THIN))


def _extreme(which: np.ufunc, values: NDArray[Any], before: int, after: int) -> NDArray[Any]:
    """Largest or least value in a square window of `before` and `after` pixels around each, cut at the edges."""
    for axis in (0, 1):
        v = np.moveaxis(values, axis, 0)
        out = v.copy(order="K")
        for step in range(1, before + 1):
            which(out[step:], v[:-step], out=out[step:])
        for step in range(1, after + 1):
            which(out[:-step], v[step:], out=out[:-step])
        values = np.moveaxis(out, 0, axis)
    return values

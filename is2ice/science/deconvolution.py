r"""Brightness of single pieces of a track, from background records that blend them.

A record of the background is the sum over 50 pulses (35 m), each with a field of view of some 45 m, and is
interpolated to segments; so a strip narrower than some 80 m shares its record with the ice beside it. Pieces are known
from elsewhere (the laser sees them with 11 m), and their own brightness :math:`b` follows from the records :math:`y` by

.. math:: \min_b \; \frac{|y - K b|^2}{\sigma^2} + \sum_r \frac{(b_r - m_r)^2}{s_r^2}
    + \sum_{r \sim q} \frac{(b_r - b_q)^2}{d^2}

with :math:`K` the share of each piece in a record, :math:`m, s` what is expected of a piece before its record is read,
and :math:`d` how much neighbouring pieces of one run differ: the narrower a run, the less its record says and the
nearer :math:`b` stays to what was expected.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .along_track import running_sum
from .compiled import njit

__all__ = ["deconvolve", "pieces", "share_of"]

F8 = NDArray[np.float64]

#: Lengths of the boxes that make a record: 50 pulses, the field of view, the interpolation between records, m.
BOXES = (35.0, 35.0, 35.0)
#: Error of a record: counts, uneven snow. Records are 35 m long: cells of one record are not independent.
ERROR, INDEPENDENT = 0.04, 35.0
#: Expected brightness of ice and of a strip, and their spread.
ICE, STRIP = (0.95, 0.15), (0.55, 0.35)
#: Difference between neighbouring pieces of one run.
UNEVEN = 0.05
#: Pieces are cut to this length, m: ice is not even over more.
LONGEST = 60.0
#: Cells whose shares are held at once.
ROWS = 16_384


def pieces(change: NDArray[np.bool_], length: float, first: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Cut a track into pieces: where a run begins, and at fixed distances within long runs.

    Parameters
    ----------
    change : numpy.ndarray of bool, shape (n,)
        True where a run begins.
    length : float
        Length of a cell, m.
    first : int
        Number of the first cell from the equator crossing, so that a part of a track is cut where the whole is.

    Returns
    -------
    piece : numpy.ndarray of int, shape (n,)
        Number of the piece that each cell lies in.
    run : numpy.ndarray of int, shape (pieces,)
        Number of the run that each piece is of.
    """
    begins = change.copy()
    begins[:1] = True
    cut = begins | ((first + np.arange(change.size)) % max(1, round(LONGEST / length)) == 0)
    return np.cumsum(cut) - 1, np.cumsum(begins)[cut]


def share_of(cells: NDArray[np.bool_], length: float) -> F8:
    """Share of some cells in the record that each cell has."""
    share, seen = cells.astype("f8"), np.ones(cells.size)
    for metres in BOXES:
        half = max(0, round((metres / length - 1) / 2))
        share, seen = running_sum(share, half), running_sum(seen, half)
    return share / np.maximum(seen, 1e-12)


def deconvolve(
    brightness: F8,
    change: NDArray[np.bool_],
    strip: NDArray[np.bool_],
    met: NDArray[np.bool_],
    *,
    length: float,
    first: int = 0,
) -> F8:
    """Brightness of each cell's piece alone.

    Parameters
    ----------
    brightness : numpy.ndarray, shape (n,)
        Records at the cells, over the brightness of snow; NaN where there is none.
    change : numpy.ndarray of bool, shape (n,)
        True where a run begins.
    strip : numpy.ndarray of bool, shape (n,)
        Cells of strips, whose brightness may be anything.
    met : numpy.ndarray of bool, shape (n,)
        Cells that a pulse met: no other is in any record.
    length : float
        Length of a cell, m.
    first : int
        As for :func:`pieces`.

    Returns
    -------
    numpy.ndarray, shape (n,)
        As expected beforehand where no record says more.
    """
    from scipy.sparse import csr_array, diags_array
    from scipy.sparse.linalg import spsolve

    n = brightness.size
    if not n:
        return np.empty(0)
    piece, run = pieces(change, length, first)
    many = run.size
    known = np.isfinite(brightness)
    precision = known * (length / INDEPENDENT) / ERROR**2
    record = np.where(known, brightness, 0.0)
    # Shares are held for some cells at a time: of a whole pass they would be gigabytes.
    normal, right = csr_array((many, many)), np.zeros(many)
    for start in range(0, n, ROWS):
        share = _shares(piece, met, length, start, min(start + ROWS, n))
        weighted = share.T @ diags_array(precision[start : start + ROWS])
        normal = normal + weighted @ share
        right += weighted @ record[start : start + ROWS]
    wide = np.bincount(piece, strip, many) > 0.5 * np.bincount(piece, minlength=many)
    mean, spread = (np.where(wide, STRIP[k], ICE[k]) for k in (0, 1))
    alike = (run[1:] == run[:-1]) / UNEVEN**2
    ends = np.concatenate([alike, [0.0]]) + np.concatenate([[0.0], alike])
    normal = normal + diags_array([ends + spread**-2.0, -alike, -alike], offsets=[0, 1, -1])
    return np.asarray(spsolve(normal.tocsc(), right + mean / spread**2))[piece]


def _shares(piece: NDArray[np.intp], met: NDArray[np.bool_], length: float, start: int, stop: int) -> Any:
    """Share of each piece in the record of each of some cells, as a sparse matrix (cells, pieces)."""
    from scipy.sparse import csr_array

    kernel = np.ones(1)
    for metres in BOXES:
        kernel = np.convolve(kernel, np.ones(2 * max(0, round((metres / length - 1) / 2)) + 1))
    ends = np.zeros(stop - start + 1, np.int32)
    number = np.empty((stop - start) * kernel.size, np.int32)
    share = np.empty(number.size)
    _fill(piece, met, kernel, start, ends, number, share)
    used = slice(0, int(ends[-1]))
    return csr_array((share[used], number[used], ends), shape=(stop - start, int(piece[-1]) + 1))


@njit(cache=True, nogil=True)
def _fill(
    piece: NDArray[Any],
    met: NDArray[Any],
    kernel: NDArray[Any],
    start: int,
    ends: NDArray[Any],
    number: NDArray[Any],
    share: NDArray[Any],
) -> None:
    """Put the pieces in the record of each cell from ``start`` on, and their shares, row after row."""
    reach, at = kernel.size // 2, 0
    for row in range(ends.size - 1):
        cell, first, total = start + row, at, 0.0
        for k in range(max(0, cell - reach), min(piece.size, cell + reach + 1)):
            if not met[k]:
                continue
            weight = kernel[k - cell + reach]
            total += weight
            if at > first and number[at - 1] == piece[k]:
                share[at - 1] += weight
            else:
                number[at], share[at] = piece[k], weight
                at += 1
        scale = 1.0 / max(total, 1e-12)
        for k in range(first, at):
            share[k] *= scale
        ends[row + 1] = at

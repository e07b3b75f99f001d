"""Brightness of strips alone: the blend of a record is taken apart as far as it can be."""

from __future__ import annotations

import numpy as np
import pytest

from is2ice.science import deconvolution
from is2ice.science.deconvolution import deconvolve, pieces, share_of

N, MIDDLE = 2000, 1000


def blended(width: float, brightness: float) -> tuple[np.ndarray, np.ndarray]:
    """Records over a strip of a width in ice of brightness 1, and the cells of the strip."""
    strip = abs(np.arange(N) - MIDDLE) < width / 4
    record = np.where(strip, brightness, 1.0)
    for _ in range(3):
        record = np.convolve(np.pad(record, 8, "edge"), np.ones(17) / 17, "valid")
    return record, strip


def alone(record: np.ndarray, strip: np.ndarray, met: np.ndarray | None = None) -> np.ndarray:
    change = np.diff(strip.astype("i1"), prepend=0) != 0
    return deconvolve(record, change, strip, np.ones(N, bool) if met is None else met, length=2.0)


@pytest.mark.parametrize(("width", "error"), [(30.0, 0.12), (60.0, 0.04), (200.0, 0.02)])
@pytest.mark.parametrize("brightness", [0.2, 0.5])
def test_a_strip_gets_its_own_brightness(width, error, brightness):
    record, strip = blended(width, brightness)
    found = alone(record, strip)
    np.testing.assert_allclose(found[MIDDLE], brightness, atol=error)
    if width < 60:
        assert record[MIDDLE] > brightness + 0.15
    np.testing.assert_allclose(found[abs(np.arange(N) - MIDDLE) > 100], 1.0, atol=0.02)


def test_what_no_record_sees_stays_as_expected():
    record, strip = blended(60.0, 0.3)
    found = alone(np.full(N, np.nan), strip)
    np.testing.assert_allclose(found[strip], 0.55)
    np.testing.assert_allclose(found[~strip], 0.95)
    assert deconvolve(np.empty(0), *(np.empty(0, bool),) * 3, length=2.0).size == 0
    assert record.size == N


def test_a_part_of_a_track_is_cut_where_the_whole_is():
    change = np.zeros(N, bool)
    change[[0, 777]] = True
    piece, run = pieces(change, 2.0, 5)
    part, _ = pieces(change[700:], 2.0, 705)
    np.testing.assert_array_equal(np.diff(piece)[700:], np.diff(part))
    assert run.size == piece[-1] + 1
    assert np.bincount(piece).max() == 30


def test_the_share_of_a_wide_strip_is_one_and_of_half_a_track_is_half_at_its_edge():
    cells = np.arange(N) >= MIDDLE
    share = share_of(cells, 2.0)
    assert (share[-500:] > 0.999).all()
    assert share[MIDDLE] == pytest.approx(0.5, abs=0.03)


def test_the_result_does_not_depend_on_how_many_cells_are_held_at_once(monkeypatch):
    record, strip = blended(60.0, 0.3)
    whole = alone(record, strip)
    monkeypatch.setattr(deconvolution, "ROWS", 300)
    np.testing.assert_allclose(alone(record, strip), whole, atol=1e-12)

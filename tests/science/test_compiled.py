"""Loops are compiled at their first call, those that they call first; the compiled form takes their place."""

from __future__ import annotations

from is2ice.science.compiled import njit


@njit(nogil=True)
def _square(x):  # type: ignore[no-untyped-def]
    """Square a number."""
    return x * x


@njit(nogil=True)
def _sum_of_squares(n, offset=0.0):  # type: ignore[no-untyped-def]
    total = offset
    for k in range(n):
        total += _square(k)
    return total


def test_a_loop_that_calls_another_is_compiled_with_it_once() -> None:
    before, inner = _sum_of_squares, _square
    assert not hasattr(before, "signatures")
    assert inner.__doc__ == "Square a number."
    assert before(4, offset=1.0) == 15.0
    assert _sum_of_squares.signatures  # the names now stand for numba's own functions
    assert _square.signatures
    assert before(3) == 5.0  # the name that another module imported before
    assert before.compile() is _sum_of_squares

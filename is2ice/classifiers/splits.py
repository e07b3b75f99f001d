"""Splits of samples into training, validation and test.

Sequences a few metres apart share most of their segments, and everything within 10 km shares the local ice and
the local low level. A random split of them therefore tests on what was trained on; it is offered, by the name
``random_windows``, only to reproduce the published protocol.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from is2ice import schema

from .samples import Samples

__all__ = ["By", "Split", "check_split", "fitting", "split"]

By = Literal["scene", "track", "block", "random_windows"]
_BY = ("scene", "track", "block", "random_windows")
#: Ways and sizes that ``auto`` tries, from the strictest: by scene, by track, then by ever shorter blocks (m).
_TRIED: tuple[tuple[By, dict[str, float]], ...] = (
    ("scene", {}),
    ("track", {}),
    *(("block", {"block": size, "guard": 0.1 * size}) for size in (10_000.0, 5_000.0, 2_000.0, 1_000.0)),
)
#: Fewer samples of a class than this in a part say little of it.
_FEW = 100
#: What to do where there are too few groups.
_INSTEAD = {
    "scene": "label passes from more scenes, or split by track or block",
    "track": "label more tracks, or split by block",
    "block": "give longer tracks, or a smaller block",
    "random_windows": "give more samples",
}


@dataclass(frozen=True)
class Split:
    """Samples in three parts (``validation`` may be empty), and the way they were separated."""

    train: Samples
    validation: Samples
    test: Samples
    by: str
    seed: int
    dropped: int = 0

    def __iter__(self) -> Iterator[Samples]:
        return iter((self.train, self.validation, self.test))

    def report(self) -> str:
        """Return samples and share of each class in each part, as text."""
        lines = [f"split by {self.by}, seed {self.seed}; {self.dropped:,} samples in guard gaps left out"]
        lines.append(
            f"{'':12}{'samples':>10}{'tracks':>8}" + "".join(f"{name:>14}" for name in schema.CLASSES)
        )
        for name in ("train", "validation", "test"):
            part: Samples = getattr(self, name)
            shares = "".join(f"{100 * part.balance()[c]['share']:>13.2f}%" for c in schema.CLASSES)
            lines.append(f"{name:12}{len(part):>10,}{len(np.unique(part.track)):>8}{shares}")
        return "\n".join([*lines, *(f"warning: {text}" for text in self.doubts())])

    def lacking(self) -> int:
        """Count the classes, over all parts, of which there are too few samples."""
        balances = [part.balance() for part in self if len(part)]
        return sum(balance[c]["n"] < _FEW for balance in balances for c in schema.CLASSES)

    def doubts(self) -> list[str]:
        """Classes of which a part has too few samples to learn from or to score."""
        out = []
        for name in ("train", "validation", "test"):
            balance = getattr(self, name).balance()
            few = [f"{c} {balance[c]['n']:,}" for c in schema.CLASSES if balance[c]["n"] < _FEW]
            if few and len(getattr(self, name)):
                out.append(
                    f"{name} has fewer than {_FEW} samples of {', '.join(few)}; another seed may share better"
                )
        return out


def split(
    samples: Samples,
    by: By = "scene",
    *,
    test: float = 0.2,
    validation: float = 0.0,
    seed: int = 0,
    block: float = 10_000.0,
    guard: float = 1_000.0,
) -> Split:
    """Split samples so that what belongs together stays together.

    Parameters
    ----------
    samples : Samples
    by : {"scene", "track", "block", "random_windows"}
        ``scene``: tracks labelled from one image, or from images that share a track, stay together. ``track``:
        the two beams of a pair, 90 m apart on the same ice, stay together. ``block``: stretches of ``block`` m
        of all beams of a granule, with a gap of ``guard`` m wherever two parts meet. ``random_windows``: single
        sequences, as published; the test then holds what was trained on.
    test, validation : float
        Share of the groups (of the samples with ``random_windows``) in each part; at least one group each.
    seed : int
    block, guard : float
        m.

    Returns
    -------
    Split

    Raises
    ------
    ValueError
        Unknown ``by``, shares that leave nothing to train on, fewer groups than parts, or a part of which guard
        gaps leave nothing.
    """
    check_split(by, test=test, validation=validation, block=block, guard=guard)
    if by not in _BY:
        raise ValueError(
            f"split by {by!r}: is2ice.classifiers.splits.fitting chooses; here, name one of {', '.join(_BY)}"
        )
    rng = np.random.default_rng(seed)
    group = _groups(samples, by, block)
    number, part_of = _parts(group, by, test, validation, rng)
    part = part_of[np.searchsorted(number, group)]
    keep = np.ones(len(samples), bool)
    if by == "block" and guard:
        keep = ~_in_guard(samples, part, block, guard)
    _refuse_empty(part, keep, guard)
    train, between, held = (samples.take((part == k) & keep) for k in range(3))
    return Split(train, between, held, by, seed, int((~keep).sum()))


def fitting(
    samples: Samples, *, test: float = 0.2, validation: float = 0.0, seed: int = 0
) -> tuple[Split, dict[str, float]] | None:
    """Split samples by the strictest way that leaves enough samples of every class in every part.

    If none does, the way that lacks the fewest classes is taken; among equals, the strictest.

    Parameters
    ----------
    samples : Samples
    test, validation, seed
        As for :func:`split`.

    Returns
    -------
    (Split, dict) or None
        The split, with its ``block`` and ``guard`` (m) if it is one by block; None if no way works.
    """
    found = []
    for by, sizes in _TRIED:
        try:
            parts = split(samples, by, test=test, validation=validation, seed=seed, **sizes)
        except ValueError:
            continue
        found.append((parts, sizes))
        if parts.lacking() == 0:
            break
    return min(found, key=lambda one: one[0].lacking()) if found else None


def check_split(
    by: str = "scene",
    *,
    test: float = 0.2,
    validation: float = 0.0,
    block: float = 10_000.0,
    guard: float = 1_000.0,
) -> None:
    """Refuse sizes and names that :func:`split` cannot use whatever the samples; ``auto`` is :func:`fitting`.

    Raises
    ------
    ValueError
    """
    if by not in (*_BY, "auto"):
        raise ValueError(f"split: by: expected one of auto, {', '.join(_BY)}, got {by!r}")
    if not (0 < test < 1 and 0 <= validation < 1 and test + validation < 1):
        raise ValueError(
            "split: expected shares with 0 < test, 0 <= validation and test + validation < 1, got "
            f"{test} and {validation}"
        )
    if block <= 0 or not 0 <= guard < block:
        raise ValueError(f"split: expected 0 <= guard < block, in m, got guard {guard} and block {block}")


def _refuse_empty(part: NDArray[np.int8], keep: NDArray[np.bool_], guard: float) -> None:
    for k, name in enumerate(("train", "validation", "test")):
        n = int((part == k).sum())
        if n and not (keep & (part == k)).any():
            raise ValueError(
                f"split by block: all {n:,} samples of {name} lie in guard gaps of {guard:g} m; take a smaller guard, "
                "a larger block or longer tracks"
            )


def _groups(samples: Samples, by: str, block: float) -> NDArray[np.int64]:
    """Return the number of the group of each sample."""
    if by == "random_windows":
        return np.arange(len(samples))
    if by == "scene":
        return samples.scene.astype(np.int64)
    if by == "track":
        return _numbered([name[:-1] for name in samples.tracks])[samples.track]  # gt1l and gt1r: gt1
    return _granule(samples) * 1_000_000 + np.floor(samples.x_atc / block).astype(np.int64)


def _granule(samples: Samples) -> NDArray[np.int64]:
    return _numbered([name.rsplit("/", 1)[0] for name in samples.tracks])[samples.track]


def _numbered(names: list[str]) -> NDArray[np.int64]:
    number = {name: k for k, name in enumerate(dict.fromkeys(names))}
    return np.array([number[name] for name in names], np.int64)


def _parts(
    group: NDArray[np.int64], by: str, test: float, validation: float, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int8]]:
    """Return groups in ascending order, and the part of each: 0 train, 1 validation, 2 test."""
    number = np.unique(group)
    n_test = max(1, round(test * number.size))
    n_validation = max(1, round(validation * number.size)) if validation else 0
    if n_test + n_validation >= number.size:
        raise ValueError(
            f"split by {by}: {number.size} group{'s' * (number.size != 1)} cannot make {2 + bool(validation)} parts, "
            f"with {n_test} for test and {n_validation} for validation; {_INSTEAD[by]}"
        )
    part = np.zeros(number.size, np.int8)
    order = rng.permutation(number.size)
    part[order[:n_test]] = 2
    part[order[n_test : n_test + n_validation]] = 1
    return number, part


def _in_guard(samples: Samples, part: NDArray[np.int8], block: float, guard: float) -> NDArray[np.bool_]:
    """Return samples within half a guard gap of a border beyond which another part lies."""
    granule, k = _granule(samples), np.floor(samples.x_atc / block).astype(np.int64)
    place = samples.x_atc - k * block
    drop = np.zeros(len(samples), bool)
    for side, near in ((-1, place < guard / 2), (1, place > block - guard / 2)):
        key, other = granule * 1_000_000 + k, granule * 1_000_000 + k + side
        number, row = np.unique(key, return_index=True)
        at = np.clip(np.searchsorted(number, other), 0, number.size - 1)
        there = number[at] == other
        drop |= near & there & (part[row[at]] != part)
    return drop

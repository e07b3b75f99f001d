"""Boosted forests that come trained with the package: features of segments in, class probabilities out.

A first forest looks at each segment; a second one looks again, knowing what the first makes of the surroundings
(:mod:`is2ice.classifiers.context`). Trees are plain arrays in an ``.npz`` and are walked by a compiled loop, so that a
result needs neither scikit-learn nor a deep-learning library, and is the same on every machine.

The model knows the range of each feature over what it was trained on. A track that lies outside is reported, and by
default the radiometric tree classifies it (:class:`Boosted`). The tree also classifies segments of another length.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from is2ice import schema
from is2ice.errors import ModelError
from is2ice.io.documents import read_json
from is2ice.science.along_track import spots
from is2ice.science.compiled import njit
from is2ice.science.features import FEATURE_SETS, build

from .base import add_classes
from .context import NAMES, context
from .model_folder import packaged
from .radiometric import Radiometric
from .weights_file import read_arrays, write_arrays

__all__ = ["Boosted", "Forest", "card", "checksum", "shipped"]

F8 = NDArray[np.float64]

FORMAT = 2
#: Folder of the shipped model in this package.
HOME = "default"
#: Largest file that is read, bytes.
LIMIT = 16 * 2**20
#: Cells whose features are put together at once.
ROWS = 65_536


@dataclass(frozen=True)
class Forest:
    """Trees of all rounds and classes, their nodes one after another.

    Attributes
    ----------
    root : (rounds, 3) int32
        First node of each tree.
    feature : (nodes,) int8
        Column compared; -1 for a leaf.
    threshold : (nodes,) float32
        A value at most this goes left; of a leaf, what it adds.
    left, right : (nodes,) int32
        Next node.
    base : (3,) float64
        Start of the sums.
    """

    root: NDArray[np.int32]
    feature: NDArray[np.int8]
    threshold: NDArray[np.float32]
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    base: F8

    @classmethod
    def of(cls, fitted: Any) -> Forest:
        """From a fitted ``sklearn.ensemble.HistGradientBoostingClassifier`` of three classes."""
        root, parts, at = [], [], 0
        for trees in fitted._predictors:
            row = []
            for tree in trees:
                n = tree.nodes
                leaf = n["is_leaf"].astype(bool)
                value = np.where(leaf, n["value"], n["num_threshold"])
                # Rounded down, so that a float32 value compares with the float32 threshold as with the double.
                single = value.astype("f4")
                single = np.where(~leaf & (single > value), np.nextafter(single, np.float32(-np.inf)), single)
                feature = np.where(leaf, -1, n["feature_idx"])
                parts.append(
                    (feature, single, np.where(leaf, 0, n["left"] + at), np.where(leaf, 0, n["right"] + at))
                )
                row.append(at)
                at += n.size
            root.append(row)
        feature, threshold, left, right = (np.concatenate([p[k] for p in parts]) for k in range(4))
        base = np.asarray(fitted._baseline_prediction, "f8").ravel()
        return cls(
            np.array(root, "i4"),
            feature.astype("i1"),
            threshold.astype("f4"),
            left.astype("i4"),
            right.astype("i4"),
            base,
        )

    def arrays(self) -> list[NDArray[Any]]:
        """Arrays in the order of the attributes."""
        return [self.root, self.feature, self.threshold, self.left, self.right, self.base]

    def checked(self, features: int, where: str) -> Forest:
        """Return the forest; damaged indices are an error, since the loop trusts them.

        Raises
        ------
        ModelError
            An index that points outside, or backwards (a circle).
        """
        n, inner = self.feature.size, self.feature >= 0
        own = np.arange(n)
        fine = (
            self.threshold.shape == self.left.shape == self.right.shape == (n,)
            and self.root.ndim == 2
            and self.root.shape[1] == self.base.size == len(schema.CLASSES)
            and ((self.root >= 0) & (self.root < n)).all()
            and (self.feature < features).all()
            and all(((a > own) & (a < n))[inner].all() for a in (self.left, self.right))
            and np.isfinite(self.threshold).all()
        )
        if not fine:
            raise ModelError(
                f"{where}: the trees are damaged; install the package again or make the model again"
            )
        return self

    @cached_property
    def _steps(self) -> tuple[NDArray[Any], ...]:
        """Feature, threshold, left and right of each node; leaves lead to themselves."""
        leaf, own = self.feature < 0, np.arange(self.feature.size)
        left, right = (np.where(leaf, own, a).astype("u4") for a in (self.left, self.right))
        return np.where(leaf, 0, self.feature).astype("u1"), self.threshold, left, right

    def probabilities(self, x: NDArray[np.float32], temperature: float = 1.0, bias: ArrayLike = 0.0) -> F8:
        """Class probabilities.

        Parameters
        ----------
        x : numpy.ndarray, shape (n, F)
            Features, all finite.
        temperature : float
            Divides the sums of the trees.
        bias : array_like, shape (3,)
            Added to them after that.
        """
        x = np.ascontiguousarray(x, "f4")
        z = np.tile(self.base, (len(x), 1))
        _walk(x, self.root.astype("u4"), *self._steps, z)
        z = z / temperature + np.asarray(bias, "f8")
        e = np.exp(z - z.max(axis=1, keepdims=True))
        return e / e.sum(axis=1, keepdims=True)


@njit(cache=True, nogil=True)
def _walk(
    x: NDArray[Any],
    root: NDArray[Any],
    feature: NDArray[Any],
    threshold: NDArray[Any],
    left: NDArray[Any],
    right: NDArray[Any],
    out: NDArray[Any],
) -> None:
    """Add the leaves that each row reaches to ``out`` (n, classes).

    Some rows at a time, so that a tree stays near; four of them in step, which wait for memory together, until none
    moves: leaves lead to themselves, and neighbours along a track go much the same way.
    """
    for start in range(0, x.shape[0], 256):
        stop = min(start + 256, x.shape[0])
        for r in range(root.shape[0]):
            for c in range(root.shape[1]):
                top = root[r, c]
                for i in range(start, stop, 4):
                    # The last rows of all stand in for those that are missing.
                    i1, i2, i3 = min(i + 1, stop - 1), min(i + 2, stop - 1), min(i + 3, stop - 1)
                    k0 = k1 = k2 = k3 = top
                    moved = True
                    while moved:
                        l0, l1, l2, l3 = left[k0], left[k1], left[k2], left[k3]
                        r0, r1, r2, r3 = right[k0], right[k1], right[k2], right[k3]
                        n0 = l0 if x[i, feature[k0]] <= threshold[k0] else r0
                        n1 = l1 if x[i1, feature[k1]] <= threshold[k1] else r1
                        n2 = l2 if x[i2, feature[k2]] <= threshold[k2] else r2
                        n3 = l3 if x[i3, feature[k3]] <= threshold[k3] else r3
                        moved = ((n0 ^ k0) | (n1 ^ k1) | (n2 ^ k2) | (n3 ^ k3)) != 0
                        k0, k1, k2, k3 = n0, n1, n2, n3
                    out[i, c] += threshold[k0]
                    if i + 1 < stop:
                        out[i1, c] += threshold[k1]
                    if i + 2 < stop:
                        out[i2, c] += threshold[k2]
                    if i + 3 < stop:
                        out[i3, c] += threshold[k3]


@dataclass(frozen=True)
class Boosted:
    """The classifier of the package that comes trained.

    Attributes
    ----------
    first, second : Forest
        The forest that looks at single segments, and the one that knows what it made of their surroundings.
    card : mapping
        What they are made of, their ranges and their scores (``default/card.json``).
    outside : {"tree", "temper", "keep"}
        A track outside of what the model was trained on: the radiometric tree classifies it, the model does with
        probabilities drawn towards even, or the model does as ever. Segments of another length than the model's are
        outside, whatever their features.
    """

    first: Forest
    second: Forest
    card: Mapping[str, Any]
    outside: Literal["tree", "temper", "keep"] = "tree"
    name: str = field(default="default")

    def predict(self, segments: xr.Dataset) -> xr.Dataset:
        """Add ``surface_class`` and ``class_probability``.

        The attribute ``classifier_outside`` gives the share of each track's segments outside of the trained ranges,
        ``classifier_tree_tracks`` the tracks that the tree classified, and ``classifier_rule`` what becomes of a track
        outside if the tree is not to classify it ("temper" or "keep").

        Raises
        ------
        ModelError
            Segments of another length than the model was trained on, if the tree is not to classify them.
        """
        length = schema.segment_length(segments)
        if length != self.card["segment_length"] and self.outside != "tree":
            raise ModelError(
                f"{segments.attrs.get('granule', 'segments')}: segments of {length:g} m, the default model was trained "
                f"on {self.card['segment_length']:g} m; use classifier='radiometric'"
            )
        cube = "beam" in segments["n_photons"].dims
        number = spots(segments)
        tracks = [segments.isel(beam=b) for b in range(segments.sizes["beam"])] if cube else [segments]
        names = self._names(segments, number)
        looks = [self._look(t, s) for t, s in zip(tracks, number, strict=True)]
        about = {
            "outside": ", ".join(f"{n} {look.outside:.4f}" for n, look in zip(names, looks, strict=True))
        }
        by_tree = [n for n, look in zip(names, looks, strict=True) if look.by_tree]
        if by_tree:
            about["tree_tracks"] = ", ".join(by_tree)
        if self.outside != "tree":
            about["rule"] = self.outside
        stack = np.stack([look.probability for look in looks])
        probability = stack if cube else stack[0]
        known = np.isfinite(probability).all(axis=-1)
        return add_classes(
            segments, probability, known, self.name, checksum=str(self.card["checksum"]), **about
        )

    def _look(self, track: xr.Dataset, spot: int) -> _Look:
        """One track: probabilities of the model or, out of its depth, of the tree."""
        if not track.sizes["x_atc"]:
            return _Look(np.empty((0, len(schema.CLASSES))), 0.0)
        if schema.segment_length(track) != self.card["segment_length"]:
            return _Look(_of_tree(track, spot), 1.0, True)
        values = build(track.assign_attrs(spot=spot), self.card["features"]).values
        known = np.isfinite(values).all(axis=1)
        share = self.share_outside(values[known])
        beyond = share > self.card["outside_limit"]
        if beyond and self.outside == "tree":
            return _Look(_of_tree(track, spot), share, True)
        return _Look(
            self.probabilities(track, spot, values, 2.0 if beyond and self.outside == "temper" else 1.0),
            share,
        )

    def probabilities(
        self, track: xr.Dataset, spot: int, values: NDArray[np.float32], soften: float = 1.0
    ) -> F8:
        """Class probabilities of the cells of one track.

        Parameters
        ----------
        track : xarray.Dataset
            Dims ``(x_atc,)``.
        spot : int
        values : numpy.ndarray, shape (n, F)
            Features of the track (:func:`is2ice.science.features.build`).
        soften : float
            Factor on the temperature.
        """
        known = np.isfinite(values).all(axis=1)
        p = np.full((len(values), len(schema.CLASSES)), np.nan)
        p[known] = self.first.probabilities(values[known])
        around = context(track, spot, p)
        how = soften * self.card["temperature"], self.card["bias"]
        for start in range(0, len(values), ROWS):
            some = slice(start, start + ROWS)
            both = np.hstack([values[some], around[some]])[known[some]]
            p[some][known[some]] = self.second.probabilities(both, *how)
        return p

    @staticmethod
    def _names(segments: xr.Dataset, number: list[int]) -> list[str]:
        if "beam" in segments.dims and "beam" in segments.coords:
            return [str(b) for b in segments["beam"].values]
        return [str(segments.attrs.get("beam", f"spot {s}")) for s in number]

    def share_outside(self, x: NDArray[np.float32]) -> float:
        """Share of segments that are outside of the trained range in any feature."""
        if not len(x):
            return 0.0
        low, high = (np.array(self.card[k], "f4") for k in ("range_low", "range_high"))
        return float(((x < low) | (x > high)).any(axis=1).mean())

    def _arrays(self) -> list[NDArray[Any]]:
        return [*self.first.arrays(), *self.second.arrays()]

    def save(self, folder: str | Path) -> Path:
        """Write ``forest.npz`` and ``card.json``."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        groups = {"first": self.first.arrays(), "second": self.second.arrays()}
        write_arrays(folder / "forest.npz", groups, {"format": FORMAT})
        card = dict(self.card) | {"checksum": _digest(self._arrays())}
        (folder / "card.json").write_text(json.dumps(card, indent=1) + "\n")
        return folder

    @classmethod
    def load(cls, folder: str | Path, outside: Literal["tree", "temper", "keep"] = "tree") -> Boosted:
        """Read a model.

        Raises
        ------
        ModelError
            Damaged, of another format, or made for other features than this package has.
        """
        folder = Path(folder)
        about = read_json(folder / "card.json", error=ModelError, nan=True)
        lacks = [
            n
            for n in ("checksum", "features", "feature_names")
            if not isinstance(about, dict) or n not in about
        ]
        if lacks:
            raise ModelError(f"{folder}/card.json: not the card of a model: {', '.join(lacks)} missing")
        groups, meta = read_arrays(folder / "forest.npz", limit=LIMIT)
        if meta.get("format") != FORMAT or any(len(groups.get(k, ())) != 6 for k in ("first", "second")):
            raise ModelError(
                f"{folder}: format {meta.get('format')!r}, expected {FORMAT}; make the model again"
            )
        if _digest([*groups["first"], *groups["second"]]) != about["checksum"]:
            raise ModelError(
                f"{folder}: weights and card.json do not belong together; install the package again"
            )
        names = list(FEATURE_SETS[about["features"]].names) if about["features"] in FEATURE_SETS else []
        if names != about["feature_names"] or list(NAMES) != about["context_names"]:
            have = [*about["feature_names"], *about["context_names"]]
            raise ModelError(f"{folder}: features {have}, this package makes {[*names, *NAMES]}")
        first = Forest(*groups["first"]).checked(len(names), str(folder))
        second = Forest(*groups["second"]).checked(len(names) + len(NAMES), str(folder))
        return cls(first, second, about, outside)


def _of_tree(track: xr.Dataset, spot: int) -> F8:
    """Probabilities of the radiometric tree; NaN where it gives no class."""
    tree = Radiometric().predict(track.assign_attrs(spot=spot))
    p = np.asarray(tree["class_probability"].values, "f8")
    return np.where((tree["surface_class"].values >= 0)[:, None], p, np.nan)


@dataclass(frozen=True)
class _Look:
    """Outcome of one track: probabilities, share outside of the trained ranges, whether the tree gave them."""

    probability: F8
    outside: float
    by_tree: bool = False


def _digest(arrays: list[NDArray[Any]]) -> str:
    digest = hashlib.sha256()
    for a in arrays:
        digest.update(str((a.dtype.str, a.shape)).encode() + np.ascontiguousarray(a).tobytes())
    return digest.hexdigest()


@lru_cache(maxsize=1)
def shipped() -> Boosted:
    """Load the model in the package.

    Raises
    ------
    ModelError
        As :meth:`Boosted.load`.
    """
    with packaged(HOME) as folder:
        return Boosted.load(folder)


@lru_cache(maxsize=1)
def card() -> dict[str, Any]:
    """Return the card of the shipped model; its trees are not read."""
    text = files(__package__).joinpath(HOME, "card.json").read_text()
    return dict(json.loads(text))


def checksum() -> str:
    """Return the shipped model's checksum."""
    return str(card()["checksum"])

"""A boosted forest that comes trained with the package: features of single segments in, class probabilities out.

Trees are plain arrays in an ``.npz`` and are walked by a compiled loop, so that a result needs neither scikit-learn
nor a deep-learning library, and is the same on every machine.

The model knows the range of each feature over what it was trained on. A track that lies outside is reported, and by
default the radiometric tree classifies it (:class:`Boosted`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, Literal

import numba
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from is2ice import schema
from is2ice.errors import ModelError
from is2ice.science.along_track import spots
from is2ice.science.features import FEATURE_SETS, build

from .base import add_classes
from .radiometric import Radiometric
from .weights_file import read_arrays, write_arrays

__all__ = ["Boosted", "Forest", "card", "checksum", "shipped"]

F8 = NDArray[np.float64]

FORMAT = 1
#: Folder of the shipped model in this package.
HOME = "default"
#: Largest file that is read, bytes.
LIMIT = 16 * 2**20


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

    def probabilities(self, x: NDArray[np.float32], temperature: float = 1.0) -> F8:
        """Class probabilities of features (n, F), all finite."""
        x = np.ascontiguousarray(x, "f4")
        z = np.tile(self.base, (len(x), 1))
        _walk(x, self.root, self.feature, self.threshold, self.left, self.right, z)
        z /= temperature
        e = np.exp(z - z.max(axis=1, keepdims=True))
        return e / e.sum(axis=1, keepdims=True)


@numba.njit(cache=True, nogil=True)
def _walk(
    x: NDArray[Any],
    root: NDArray[Any],
    feature: NDArray[Any],
    threshold: NDArray[Any],
    left: NDArray[Any],
    right: NDArray[Any],
    out: NDArray[Any],
) -> None:
    """Add the leaves that each row reaches to ``out`` (n, classes)."""
    for i in range(x.shape[0]):
        for r in range(root.shape[0]):
            for c in range(root.shape[1]):
                k = root[r, c]
                while feature[k] >= 0:
                    k = left[k] if x[i, feature[k]] <= threshold[k] else right[k]
                out[i, c] += threshold[k]


@dataclass(frozen=True)
class Boosted:
    """The classifier of the package that comes trained.

    Attributes
    ----------
    forest : Forest
    card : mapping
        What it is made of, its ranges and its scores (``default/card.json``).
    outside : {"tree", "temper", "keep"}
        A track outside of what the model was trained on: the radiometric tree classifies it, the model does with
        probabilities drawn towards even, or the model does as ever.
    """

    forest: Forest
    card: Mapping[str, Any]
    outside: Literal["tree", "temper", "keep"] = "tree"
    name: str = field(default="default")

    def predict(self, segments: xr.Dataset) -> xr.Dataset:
        """Add ``surface_class`` and ``class_probability``.

        The attribute ``classifier_outside`` gives the share of each track's segments outside of the trained ranges,
        ``classifier_tree_tracks`` the tracks that the tree classified.

        Raises
        ------
        ModelError
            Segments of another length than the model was trained on.
        """
        length = float(segments.attrs.get("segment_length", schema.SEGMENT_LENGTH))
        if length != self.card["segment_length"]:
            raise ModelError(
                f"{segments.attrs.get('granule', 'segments')}: segments of {length:g} m, the default model was trained "
                f"on {self.card['segment_length']:g} m; use classifier='radiometric'"
            )
        values = build(segments, self.card["features"]).values
        cube = "beam" in segments["n_photons"].dims
        many = values if cube else values[None]
        probability = np.full((*many.shape[:2], len(schema.CLASSES)), np.nan)
        shares, names = [], self._names(segments, len(many))
        by_tree: list[str] = []
        tree = None
        for b, one in enumerate(many):
            known = np.isfinite(one).all(axis=1)
            share = self.share_outside(one[known])
            shares.append(share)
            beyond = share > self.card["outside_limit"]
            temperature = self.card["temperature"] * (2.0 if beyond and self.outside == "temper" else 1.0)
            if beyond and self.outside == "tree":
                tree = Radiometric().predict(segments) if tree is None else tree
                p = tree["class_probability"].values
                probability[b] = np.where((tree["surface_class"].values >= 0)[..., None], p, np.nan).reshape(
                    probability.shape
                )[b]
                by_tree.append(names[b])
            else:
                probability[b, known] = self.forest.probabilities(one[known], temperature)
        known_all = np.isfinite(probability).all(axis=-1)
        if not cube:
            probability, known_all = probability[0], known_all[0]
        about = {"outside": ", ".join(f"{n} {s:.4f}" for n, s in zip(names, shares, strict=True))}
        if by_tree:
            about["tree_tracks"] = ", ".join(by_tree)
        return add_classes(
            segments, probability, known_all, self.name, checksum=str(self.card["checksum"]), **about
        )

    @staticmethod
    def _names(segments: xr.Dataset, n: int) -> list[str]:
        if "beam" in segments.dims and "beam" in segments.coords:
            return [str(b) for b in segments["beam"].values]
        return [str(segments.attrs.get("beam", f"spot {s}")) for s in spots(segments)[:n]]

    def share_outside(self, x: NDArray[np.float32]) -> float:
        """Share of segments that are outside of the trained range in any feature."""
        if not len(x):
            return 0.0
        low, high = (np.array(self.card[k], "f4") for k in ("range_low", "range_high"))
        return float(((x < low) | (x > high)).any(axis=1).mean())

    def save(self, folder: str | Path) -> Path:
        """Write ``forest.npz`` and ``card.json``."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        write_arrays(folder / "forest.npz", {"forest": self.forest.arrays()}, {"format": FORMAT})
        card = dict(self.card) | {"checksum": _digest(self.forest.arrays())}
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
        about = json.loads((folder / "card.json").read_text())
        groups, meta = read_arrays(folder / "forest.npz", limit=LIMIT)
        if meta.get("format") != FORMAT or len(groups.get("forest", ())) != 6:
            raise ModelError(
                f"{folder}: format {meta.get('format')!r}, expected {FORMAT}; make the model again"
            )
        if _digest(groups["forest"]) != about["checksum"]:
            raise ModelError(
                f"{folder}: weights and card.json do not belong together; install the package again"
            )
        names = FEATURE_SETS[about["features"]].names if about["features"] in FEATURE_SETS else ()
        if list(names) != about["feature_names"]:
            raise ModelError(f"{folder}: features {about['feature_names']}, this package makes {list(names)}")
        forest = Forest(*groups["forest"]).checked(len(names), str(folder))
        return cls(forest, about, outside)


def _digest(arrays: list[NDArray[Any]]) -> str:
    digest = hashlib.sha256()
    for a in arrays:
        digest.update(str((a.dtype.str, a.shape)).encode() + np.ascontiguousarray(a).tobytes())
    return digest.hexdigest()


@lru_cache(maxsize=1)
def shipped() -> Boosted:
    """The model in the package.

    Raises
    ------
    ModelError
        As :meth:`Boosted.load`.
    """
    with as_file(files(__package__).joinpath(HOME)) as folder:
        return Boosted.load(folder)


@lru_cache(maxsize=1)
def card() -> dict[str, Any]:
    """The card of the shipped model; its trees are not read."""
    text = files(__package__).joinpath(HOME, "card.json").read_text()
    return dict(json.loads(text))


def checksum() -> str:
    """The shipped model's checksum."""
    return str(card()["checksum"])

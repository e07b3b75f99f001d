"""The classifier of Koo et al. (2023): a small network that gives each ATL07 segment one of three classes.

Labels are those of the images that label the 2 m segments (:func:`is2ice.science.koo.label_segments`). Class codes are
those of the package (0 thick ice, 1 thin ice, 2 open water); the published program counts the other way round.

References
----------
Koo et al. (2023), Remote Sensing of Environment 296, 113726.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from is2ice import schema
from is2ice.errors import ModelError
from is2ice.science import koo
from is2ice.science.features import Normalisation

from . import trained_model, training
from .calibration import softmax
from .scores import ClassScore, score_classes
from .trained_model import Trained

__all__ = ["Koo", "loaded"]

#: Hidden layers, and their usual training.
UNITS = (50, 50)
TRAINING: Mapping[str, Any] = {
    "loss": "cross_entropy",
    "class_weights": "balanced",
    "batch": 128,
    "learning_rate": 0.001,
    "epochs": 30,
}
_BLOCK = 16_384


@dataclass(frozen=True, eq=False)
class Koo(Trained):
    """A trained classifier of ATL07 segments."""

    kind: ClassVar[str] = "atl07"

    @classmethod
    def fit(
        cls,
        tables: Iterable[xr.Dataset],
        *,
        test: float = 0.2,
        seed: int = 0,
        progress: Callable[[dict[str, float]], None] | None = None,
        **options: Any,
    ) -> Koo:
        """Train on labelled segments, and score on a share of them.

        Parameters
        ----------
        tables : iterable of xarray.Dataset
            ATL07 segments, dims (segment,), with ``label`` (-1 unlabelled) and the variables of
            :data:`is2ice.science.koo.FEATURES`.
        test : float
            Share of the segments kept out, drawn at random as published; neighbours are alike, so that the score is
            kind.
        seed, progress, **options
            As for :func:`is2ice.classifiers.training.fit`.

        Raises
        ------
        ModelError
            Too few labelled segments, or none of some class.
        """
        x, y = _labelled(tables)
        rng = np.random.default_rng(seed)
        order = rng.permutation(len(y))
        held, used = np.split(order, [round(test * len(y))])
        norm = Normalisation.fit(x[used], koo.FEATURES)
        document: dict[str, Any] = {
            "kind": cls.kind,
            "architecture": "koo",
            "parameters": {"units": list(UNITS)},
            "features": list(koo.FEATURES),
            "normalisation": norm.to_dict(),
            "seed": seed,
        }
        model = cls._build(document, seed)
        history = training.fit(
            model, (norm.apply(x[used]), y[used]), seed=seed, progress=progress, **{**TRAINING, **options}
        )
        document |= {
            "training": history.card(),
            "data": {"train": len(used), "test": len(held), "classes": np.bincount(y, minlength=3).tolist()},
        }
        made = cls(model, document)
        if held.size:
            document["scores"] = {"test": made.score(x[held], y[held]).to_dict()}
        return made

    @cached_property
    def _normalisation(self) -> Normalisation:
        return Normalisation.from_dict(self.card["normalisation"])

    def _prepared(self, x: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(self._normalisation.apply(np.asarray(x, "f4")))

    def probabilities(self, x: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return class probabilities ``(n, 3)`` of features ``(n, 6)``."""
        return softmax(self._by_blocks(x, _BLOCK), 1.0)

    def score(self, x: NDArray[np.floating], y: NDArray[np.integer]) -> ClassScore:
        """Score the classes of features against labels."""
        return score_classes(y, self.probabilities(x))

    def classify(self, segments: xr.Dataset) -> xr.Dataset:
        """Add ``koo_class`` to ATL07 segments: class codes, -1 where a feature is missing.

        Raises
        ------
        SchemaError
            A variable is missing.
        """
        x = koo.features(segments)
        good = np.isfinite(x).all(axis=1)
        code = np.full(len(x), schema.UNLABELLED, np.int8)
        if good.any():
            code[good] = self.probabilities(x[good]).argmax(axis=1)
        attrs = {
            "long_name": "surface class, Koo et al. (2023)",
            "flag_values": np.arange(3, dtype="i1"),
            "flag_meanings": " ".join(schema.CLASSES),
        }
        return segments.assign(koo_class=("segment", code, attrs))

    # -- on disk -------------------------------------------------------------------------------------
    @staticmethod
    def _build(card: dict[str, Any], seed: int = 0) -> Any:
        import keras

        inputs = keras.Input((len(card["features"]),), dtype="float32")
        x = inputs
        for k, width in enumerate(card["parameters"]["units"]):
            start = keras.initializers.GlorotUniform(seed=seed + k)
            x = keras.layers.Dense(int(width), activation="relu", kernel_initializer=start)(x)
        start = keras.initializers.GlorotUniform(seed=seed + 100)
        logits = keras.layers.Dense(len(schema.CLASSES), kernel_initializer=start, name="logits")(x)
        return keras.Model(inputs, logits, name="koo")

    @staticmethod
    def _check(folder: str | os.PathLike[str], card: Mapping[str, Any]) -> None:
        try:
            names, units = list(card["features"]), [int(n) for n in card["parameters"]["units"]]
            Normalisation.from_dict(card["normalisation"])
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(f"{folder}: {error}; the card is damaged") from error
        if names != list(koo.FEATURES) or not all(1 <= n <= 1000 for n in units):
            raise ModelError(
                f"{folder}: trained on {', '.join(map(str, names))}; this is2ice takes {', '.join(koo.FEATURES)}"
            )


def loaded(folder: str | os.PathLike[str], checksum: str = "") -> Koo:
    """Load a saved classifier, once in each process (:func:`is2ice.classifiers.trained_model.loaded`)."""
    return trained_model.loaded(Koo, folder, checksum)


def _labelled(tables: Iterable[xr.Dataset]) -> tuple[NDArray[np.float32], NDArray[np.int8]]:
    """Features and labels of all labelled segments."""
    parts = []
    for table in tables:
        x, y = koo.features(table), np.asarray(table["label"].values, np.int8)
        good = np.isfinite(x).all(axis=1) & (y >= 0)
        parts.append((x[good], y[good]))
    x = np.concatenate([p[0] for p in parts]) if parts else np.empty((0, len(koo.FEATURES)), "f4")
    y = np.concatenate([p[1] for p in parts]) if parts else np.empty(0, np.int8)
    count = np.bincount(y, minlength=len(schema.CLASSES))
    if len(y) < 100 or not count.all():
        told = ", ".join(f"{n:,} {name}" for name, n in zip(schema.CLASSES, count, strict=True))
        raise ModelError(
            f"{len(y):,} labelled segments of ATL07 ({told}): expected 100 or more with all three classes; label "
            "more passes"
        )
    return x, y

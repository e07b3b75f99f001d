"""Classifiers with the interface of scikit-learn: used on lazy segments, and a sweep over parameters of our networks.

Both stand on dask-ml: :class:`dask_ml.wrappers.ParallelPostFit` applies a fitted estimator block by block, and
:class:`dask_ml.model_selection.GridSearchCV` trains all combinations of parameters on the Dask scheduler in use.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from sklearn.base import BaseEstimator

from is2ice import schema
from is2ice.errors import require
from is2ice.science import features as feats
from is2ice.science.features import Normalisation
from is2ice.science.metrics import Confusion

from .architectures import ARCHITECTURES, build
from .base import add_classes
from .samples import Samples

__all__ = ["SklearnClassifier", "WindowEstimator", "sweep"]

#: Cells in a block of lazy prediction.
BLOCK = 65_536


@dataclass(frozen=True)
class SklearnClassifier:
    """A fitted estimator with ``predict_proba`` as a classifier of segments.

    Attributes
    ----------
    estimator : object
        Fitted on rows of features, ``(n, F)``, with class codes 0 to 2; classes that it has not seen get
        probability 0.
    features : str
        Feature set of the rows (:data:`is2ice.science.features.FEATURE_SETS`).
    """

    estimator: Any
    features: str = "default"

    @property
    def name(self) -> str:
        """Name recorded with the classes."""
        return type(self.estimator).__name__

    def predict(self, segments: xr.Dataset) -> xr.Dataset:
        """Add ``surface_class`` and ``class_probability``; cells without features stay unlabelled."""
        require("dask_ml")
        import dask.array as da
        from dask_ml.wrappers import ParallelPostFit

        values = feats.build(segments, feats.feature_set(self.features)).values
        rows = values.reshape(-1, values.shape[-1])
        known = np.isfinite(rows).all(axis=1)
        probability = np.full((len(rows), len(schema.CLASSES)), np.nan, "f4")
        if known.any():
            lazy = da.from_array(rows[known], chunks=(BLOCK, -1))
            columns = np.asarray(self.estimator.classes_, int)
            meta = np.zeros((0, columns.size), "f8")
            given = ParallelPostFit(self.estimator, predict_proba_meta=meta).predict_proba(lazy)
            full = np.zeros((int(known.sum()), len(schema.CLASSES)), "f4")
            full[:, columns] = np.asarray(given)
            probability[known] = full
        shape = values.shape[:-1]
        return add_classes(
            segments, probability.reshape(*shape, -1), known.reshape(shape), self.name, features=self.features
        )


class WindowEstimator(BaseEstimator):
    """One of our architectures with the interface of scikit-learn, for a search over its parameters.

    Parameters
    ----------
    architecture : str
        A name of :data:`is2ice.classifiers.architectures.ARCHITECTURES`.
    epochs, batch : int
    learning_rate : float
    dropout : float, optional
        The architecture's own by default.
    seed : int
    """

    def __init__(
        self,
        architecture: str = "mlp",
        epochs: int = 20,
        batch: int = 32,
        learning_rate: float = 0.003,
        dropout: float | None = None,
        seed: int = 0,
    ) -> None:
        self.architecture, self.epochs, self.batch = architecture, epochs, batch
        self.learning_rate, self.dropout, self.seed = learning_rate, dropout, seed

    def fit(self, x: NDArray[Any], y: NDArray[Any]) -> WindowEstimator:
        """Train on windows ``(n, T, F)`` and class codes ``(n,)``; normalisation is learnt from these windows."""
        from . import training

        kind = ARCHITECTURES[self.architecture]
        self.normalisation_ = Normalisation.fit(x, [str(k) for k in range(x.shape[-1])])
        own: dict[str, Any] = {} if self.dropout is None else {"dropout": self.dropout}
        self.model_ = build(self.architecture, *x.shape[1:], seed=self.seed, **own)
        options = dict(kind.training) | {
            "epochs": self.epochs,
            "batch": self.batch,
            "learning_rate": self.learning_rate,
        }
        training.fit(self.model_, (self.normalisation_.apply(x), y), seed=self.seed, **options)
        return self

    def predict(self, x: NDArray[Any]) -> NDArray[np.int8]:
        """Return the class codes of windows."""
        logits = self.model_.predict(self.normalisation_.apply(x), batch_size=8192, verbose=0)
        return np.asarray(logits).argmax(axis=-1).astype(np.int8)

    def score(self, x: NDArray[Any], y: NDArray[Any]) -> float:
        """Return the macro-F1 of windows against class codes."""
        return Confusion.of(np.asarray(y), self.predict(x)).macro_f1


def sweep(
    samples: Samples,
    grid: Mapping[str, Sequence[Any]],
    *,
    architecture: str = "mlp",
    folds: Sequence[tuple[NDArray[np.intp], NDArray[np.intp]]] | None = None,
) -> list[dict[str, Any]]:
    """Train every combination of parameters, and score each on scenes that it has not seen.

    Parameters
    ----------
    samples : Samples
        Labelled windows.
    grid : mapping of str to sequence
        Values of each parameter of :class:`WindowEstimator`.
    architecture : str
    folds : sequence of (rows to train on, rows to score), optional
        By default each scene is held out once.

    Returns
    -------
    list of dict
        ``params``, ``macro_f1`` (mean over the folds) and ``sd``; the best first.

    Raises
    ------
    ValueError
        A single scene, and no folds.
    """
    require("dask_ml")
    from dask_ml.model_selection import GridSearchCV

    held = samples.compute()
    if folds is None:
        scenes = np.unique(held.scene)
        if scenes.size < 2:
            raise ValueError("sweep: expected samples of two or more scenes, or folds")
        folds = [(np.flatnonzero(held.scene != s), np.flatnonzero(held.scene == s)) for s in scenes]
    search = GridSearchCV(
        WindowEstimator(architecture),
        {k: list(v) for k, v in grid.items()},
        cv=list(folds),
        refit=False,
        scheduler="synchronous",
    )
    search.fit(held.x, held.y)
    found = search.cv_results_
    rows = [
        {"params": dict(p), "macro_f1": float(m), "sd": float(s)}
        for p, m, s in zip(found["params"], found["mean_test_score"], found["std_test_score"], strict=True)
    ]
    return sorted(rows, key=lambda r: -r["macro_f1"])

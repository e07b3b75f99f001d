"""Classifiers with the interface of scikit-learn: used on lazy segments, and a sweep over parameters of our networks.

Both stand on dask-ml: :class:`dask_ml.wrappers.ParallelPostFit` applies a fitted estimator block by block, and
:class:`dask_ml.model_selection.HyperbandSearchCV` trains combinations of parameters on a Dask cluster, the better ones
for more epochs.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
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
        ``epochs`` are those of :meth:`fit`; :meth:`partial_fit` adds one.
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
        """Train fresh weights on windows ``(n, T, F)`` and class codes ``(n,)``; normalisation is learnt from these."""
        self._begin(x)
        return self._train(x, y, self.epochs)

    def partial_fit(self, x: NDArray[Any], y: NDArray[Any]) -> WindowEstimator:
        """Train for one more epoch; Adam's running means begin again with each."""
        if not hasattr(self, "model_"):
            self._begin(x)
        return self._train(x, y, 1)

    def predict(self, x: NDArray[Any]) -> NDArray[np.int8]:
        """Return the class codes of windows."""
        logits = self.model_.predict(self.normalisation_.apply(x), batch_size=8192, verbose=0)
        return np.asarray(logits).argmax(axis=-1).astype(np.int8)

    def score(self, x: NDArray[Any], y: NDArray[Any]) -> float:
        """Return the macro-F1 of windows against class codes."""
        return Confusion.of(np.asarray(y), self.predict(x)).macro_f1

    def __getstate__(self) -> dict[str, Any]:
        """Hold the weights in place of the network, which a search copies and sends after each epoch."""
        state = dict(vars(self))
        if "model_" in state:
            state["model_"] = state["model_"].get_weights()
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if "model_" in state:
            self.model_ = self._network()
            self.model_.set_weights(state["model_"])

    def _network(self) -> Any:
        own: dict[str, Any] = {} if self.dropout is None else {"dropout": self.dropout}
        return build(self.architecture, *self.shape_, seed=self.seed, **own)

    def _begin(self, x: NDArray[Any]) -> None:
        self.shape_, self.epochs_ = x.shape[1:], 0
        self.normalisation_ = Normalisation.fit(x, [str(k) for k in range(x.shape[-1])])
        self.model_ = self._network()

    def _train(self, x: NDArray[Any], y: NDArray[Any], epochs: int) -> WindowEstimator:
        from . import training

        usual = dict(ARCHITECTURES[self.architecture].training)
        own = {"epochs": epochs, "batch": self.batch, "learning_rate": self.learning_rate}
        own["compiled"] = (
            len(y) > 10_000
        )  # compiling costs a second an epoch, which few windows do not pay back
        data = (self.normalisation_.apply(x), np.asarray(y))
        training.fit(self.model_, data, seed=self.seed + self.epochs_, **(usual | own))
        self.epochs_ += epochs
        return self


@dataclass(frozen=True)
class _HeldOut:
    """Score on windows held out, whatever part of the training data a search offers."""

    x: NDArray[Any]
    y: NDArray[Any]

    def __call__(self, estimator: WindowEstimator, x: Any = None, y: Any = None) -> float:
        return estimator.score(self.x, self.y)


def sweep(
    samples: Samples,
    grid: Mapping[str, Sequence[Any]],
    *,
    architecture: str = "mlp",
    epochs: int = 9,
    held: Sequence[str] = (),
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Search parameters by Hyperband, and score each combination on scenes that no training has seen.

    Many combinations begin with few epochs; the better third is trained three times as long, and so forth. The scenes
    that score also choose which combinations are trained on, so that the best score is too good by what the choice
    gained on these scenes: judge the combination that is taken on further scenes. The search runs on the Dask client
    in use, else on a thread of this process.

    Parameters
    ----------
    samples : Samples
        Labelled windows.
    grid : mapping of str to sequence
        Values of parameters of :class:`WindowEstimator` to choose from.
    architecture : str
    epochs : int
        Most epochs of a combination.
    held : sequence of str, optional
        Scenes to score on and to choose by; by default the last quarter of them in order of name, at least one.
    seed : int

    Returns
    -------
    list of dict
        ``params``, ``epochs`` and ``macro_f1``; the best first. A combination that is drawn twice stands there twice.

    Raises
    ------
    ValueError
        No scene is left to train on, or to score on.
    """
    require("dask_ml")
    import dask.array as da
    from dask_ml.model_selection import HyperbandSearchCV

    data = samples.compute()
    scenes = sorted(map(str, np.unique(np.asarray(data.scenes)[data.track])))
    chosen = set(held) if held else set(scenes[len(scenes) - max(1, len(scenes) // 4) :])
    out = np.isin(np.asarray(data.scenes)[data.track], sorted(chosen))
    if out.all() or not out.any():
        raise ValueError(
            f"sweep: expected samples of two or more scenes, some of them held out; got {', '.join(scenes)} with "
            f"{', '.join(sorted(chosen))} held out"
        )
    x, y = data.x[~out], data.y[~out]
    search = HyperbandSearchCV(
        WindowEstimator(architecture, seed=seed),
        {k: list(v) for k, v in grid.items()},
        max_iter=epochs,
        random_state=seed,
        test_size=0.01,  # drawn at random, and not used: whole scenes judge
        scoring=_HeldOut(data.x[out], data.y[out]),
    )
    with _cluster(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The total space of parameters")
        # A part of the data is a step of the search: all in one, so that a step is an epoch.
        search.fit(da.from_array(x, chunks=x.shape), da.from_array(y, chunks=y.shape))
    found = search.cv_results_
    columns = zip(found["params"], found["partial_fit_calls"], found["test_score"], strict=True)
    rows = [{"params": dict(p), "epochs": int(n), "macro_f1": float(m)} for p, n, m in columns]
    return sorted(rows, key=lambda r: -r["macro_f1"])


@contextmanager
def _cluster() -> Iterator[None]:
    """Use the client of Dask in use, or one in this process, for a search by dask-ml."""
    import dask
    from distributed import Client, get_client

    try:
        client, own = get_client(), False
    except ValueError:
        how = {"processes": False, "n_workers": 1, "threads_per_worker": 1, "dashboard_address": None}
        client, own = Client(**how), True
    try:
        # The search persists from within the client's own loop, which Dask refuses to a scheduler that it finds by
        # itself, and allows to one that is named.
        with dask.config.set(scheduler=client.get):
            yield
    finally:
        if own:
            client.close()

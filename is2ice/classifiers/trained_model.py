"""A trained model with its card: what models of windows and of tiles have in common."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any, ClassVar, Self, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from is2ice.engines import shared
from is2ice.errors import require
from is2ice.io.remote.location import SHARED, is_url

from . import model_folder, training

__all__ = ["Trained", "loaded"]

F4 = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Trained:
    """A model that is used, saved, loaded and sent to other processes; subclasses say of what.

    Attributes
    ----------
    model : keras.Model
        Samples to logits.
    card : dict
        Architecture, training data and scores (:mod:`is2ice.classifiers.model_folder`).
    checksum : str
        Checksum of the saved model; empty before it is saved.
    folder : str
        Place of the saved model, for messages.
    """

    kind: ClassVar[str]
    #: Samples that the model is always given at a time; any number where None.
    batch_size: ClassVar[int | None] = None

    model: Any = field(repr=False)
    card: dict[str, Any] = field(repr=False)
    checksum: str = ""
    folder: str = ""

    # -- what subclasses say -------------------------------------------------------------------------
    @staticmethod
    def _build(card: dict[str, Any]) -> Any:
        """Return the untrained model of a card."""
        raise NotImplementedError

    @staticmethod
    def _check(folder: str | os.PathLike[str], card: Mapping[str, Any]) -> None:
        """Refuse a card that says nothing sensible of its samples, before anything is built."""
        raise NotImplementedError

    def _outputs(self, x: Any) -> Any:
        """Compute the network's outputs for a tensor of samples."""
        return self.model(x, training=False)

    # -- inference -----------------------------------------------------------------------------------
    @cached_property
    def _forward(self) -> Any:
        require("tensorflow")
        import tensorflow as tf

        shape = (self.batch_size, *self.model.input_shape[1:])
        # A plain graph: blocks are large, so there is nothing for a compiler to gain that it would not spend.
        return tf.function(self._outputs, input_signature=[tf.TensorSpec(shape, tf.float32)])

    def _by_blocks(self, x: NDArray[Any], block: int) -> F4:
        """Compute outputs for samples in blocks of a size."""
        out = np.empty((len(x), *self.model.output_shape[1:]), np.float32)
        for k in range(0, len(x), block):
            part = np.asarray(self._prepared(x[k : k + block]), np.float32)
            n = len(part)
            if self.batch_size and n < self.batch_size:
                part = np.concatenate([part, np.zeros((self.batch_size - n, *part.shape[1:]), np.float32)])
            out[k : k + n] = self._forward(part).numpy()[:n]
        return out

    def _prepared(self, x: NDArray[Any]) -> NDArray[Any]:
        """Return samples as the model takes them, of those that a caller has."""
        return x

    # -- on disk, and to other processes -------------------------------------------------------------
    def save(self, folder: str | os.PathLike[str], *, overwrite: bool = False) -> Self:
        """Write the model (:func:`is2ice.classifiers.model_folder.save`); the same, with its checksum."""
        checksum = model_folder.save(folder, self.model, self.card, overwrite=overwrite)
        return type(self)(self.model, self.card, checksum, os.fspath(folder))

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Self:
        """Return a saved model, checked against this package.

        Raises
        ------
        ModelError
            As :func:`is2ice.classifiers.model_folder.load`; or its card says nothing sensible of its samples.
        """
        cls._check(folder, model_folder.read_card(folder, cls.kind))
        model, card = model_folder.load(folder, cls._build, kind=cls.kind)
        return cls(model, card, model_folder.checksum(folder), os.fspath(folder))

    def __reduce__(self) -> Any:
        weights = [w.numpy() for w in self.model.weights]
        return _again, (type(self), self.card, weights, self.checksum, self.folder)

    def __dask_tokenize__(self) -> Any:
        return self.checksum or [w.numpy().tobytes() for w in self.model.weights]


def _again(kind: type[Trained], card: dict[str, Any], weights: list[Any], *told: str) -> Trained:
    model = kind._build(card)
    model.set_weights(weights)
    return kind(model, card, *told)


_lock = threading.Lock()
T = TypeVar("T", bound=Trained)


def loaded(kind: type[T], folder: str | os.PathLike[str], checksum: str = "") -> T:
    """Load a saved model, once in each process and again only when it has changed.

    Parameters
    ----------
    kind : type
        Class of the model.
    folder : path or address
    checksum : str
        Checksum of the model; on a worker, a model that came with its job is found by that.
    """
    if checksum and shared(f"{SHARED}{checksum}/{model_folder.CARD}") is not None:
        folder = f"{SHARED}{checksum}"
    text = os.fspath(folder)
    with _lock:
        made: T = _load(
            cast(Any, kind), text if is_url(text) else os.path.abspath(text), model_folder.checksum(text)
        )
    return made


@lru_cache(maxsize=4)
def _load(kind: Any, folder: str, checksum: str) -> Any:
    if multiprocessing.parent_process() is not None:
        training.one_thread()  # one worker among many: the others have the other cores
    return kind.load(folder)

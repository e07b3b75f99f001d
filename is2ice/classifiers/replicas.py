"""Copies of one training that share its data: alone, or as many processes under Horovod.

Both classes have one face, so that :func:`is2ice.classifiers.training.fit` is written once. Horovod's own
wrappers of the Keras optimizer and its callbacks do not work with Keras 3; only its collective operations
are used here (allreduce, broadcast), on plain TensorFlow tensors.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from is2ice.errors import MissingExtraError, extra_hint

__all__ = ["Alone", "Horovod", "Replicas", "launched", "started_as"]


class Replicas(Protocol):
    """The copies of a model that train together.

    Attributes
    ----------
    rank, size : int
        Number of this copy, and how many there are.
    is_root : bool
        True for the copy that writes checkpoints, logs and the model.
    compiles : bool
        True if ``average`` may stand inside a function that XLA compiles.
    is_apart : bool
        True if each copy is given samples of its own, which no other holds.
    """

    rank: int
    size: int
    is_root: bool
    compiles: bool
    is_apart: bool

    def shard(self, n: int, *, equal: bool = True) -> NDArray[np.int64]:
        """Which of n samples are this copy's: disjoint; equally many in each copy if asked for."""
        ...

    def average(self, gradients: Any) -> Any:
        """Mean over the copies of a tensor; called inside a TensorFlow function."""
        ...

    def broadcast(self, variables: Sequence[Any]) -> None:
        """Give every copy the root's values of Keras variables."""
        ...

    def total(self, values: Mapping[str, Any]) -> dict[str, NDArray[np.float64]]:
        """Return sums over the copies, by name."""
        ...

    def root_says(self, text: str) -> str:
        """Return the root's text, in every copy."""
        ...

    def held_by(self, rank: int, value: Any) -> Any:
        """Return the value of the copy of that rank, in every copy."""
        ...

    def gathered(self, value: Any) -> list[Any]:
        """Return the values of all copies by rank, in every copy."""
        ...


class Alone:
    """One copy: every sample is its own, and there is nothing to average."""

    rank, size, is_root, compiles, is_apart = 0, 1, True, True, False

    def shard(self, n: int, *, equal: bool = True) -> NDArray[np.int64]:
        """All samples."""
        return np.arange(n)

    def average(self, gradients: Any) -> Any:
        """Gradients as they are."""
        return gradients

    def broadcast(self, variables: Sequence[Any]) -> None:
        """Nothing to do."""

    def total(self, values: Mapping[str, Any]) -> dict[str, NDArray[np.float64]]:
        """Values as they are."""
        return {k: np.asarray(v, "f8") for k, v in values.items()}

    def root_says(self, text: str) -> str:
        """Return the text."""
        return text

    def held_by(self, rank: int, value: Any) -> Any:
        """Return the value."""
        return value

    def gathered(self, value: Any) -> list[Any]:
        """Return the value alone."""
        return [value]


class Horovod:
    """One of many processes started by ``horovodrun`` (Gloo) or ``mpirun``.

    Parameters
    ----------
    apart : bool
        True if each is given samples of its own.
    seldom : bool
        True if tens of milliseconds lie between two averages: steps of large networks, or averages of weights.

    Raises
    ------
    MissingExtraError
        Horovod is not installed, or not built for TensorFlow.
    """

    compiles = False  # Horovod registers no XLA kernel on the CPU

    def __init__(self, *, apart: bool = False, seldom: bool = False) -> None:
        # Its thread looks for work this often, in ms, and each time asks the other copies for theirs. At its own 1 ms a
        # step of a small network waits longer for that than it computes; where averages are seldom, asking five
        # thousand times a second takes a quarter of the processor from the steps.
        os.environ.setdefault("HOROVOD_CYCLE_TIME", "2" if seldom else "0.2")
        try:
            import horovod.tensorflow as hvd
        except ImportError as error:
            raise MissingExtraError(
                f"{extra_hint('horovod')} ({error}; it is built from source against TensorFlow, as `make env` does)"
            ) from error
        hvd.init()
        self._hvd = hvd
        self.rank, self.size = int(hvd.rank()), int(hvd.size())
        self.is_root, self.is_apart = self.rank == 0, apart
        self._pin_gpu(int(hvd.local_rank()))

    @staticmethod
    def _pin_gpu(local_rank: int) -> None:
        import tensorflow as tf

        gpus = tf.config.list_physical_devices("GPU")
        if gpus:
            tf.config.set_visible_devices(gpus[local_rank % len(gpus)], "GPU")

    def shard(self, n: int, *, equal: bool = True) -> NDArray[np.int64]:
        """Every size-th sample, from this copy's rank; all where it was given its own."""
        if self.is_apart:
            return np.arange(n)
        mine = np.arange(self.rank, n, self.size)
        return mine[: n // self.size] if equal else mine

    def average(self, gradients: Any) -> Any:
        """Mean over the copies; ring allreduce, so every copy gets the same bits."""
        return self._hvd.allreduce(gradients, op=self._hvd.Average, name="gradients")

    def broadcast(self, variables: Sequence[Any]) -> None:
        """Give every copy the root's values of Keras variables."""
        for k, v in enumerate(variables):
            v.assign(self._hvd.broadcast(v.value, root_rank=0, name=f"variable_{k}"))

    def total(self, values: Mapping[str, Any]) -> dict[str, NDArray[np.float64]]:
        """Return sums over the copies, by name."""
        import tensorflow as tf

        shapes = {k: np.shape(v) for k, v in values.items()}
        flat = np.concatenate([np.ravel(np.asarray(v, "f8")) for v in values.values()])
        summed = self._hvd.allreduce(tf.constant(flat), op=self._hvd.Sum, name="total").numpy()
        ends = np.cumsum([int(np.prod(s)) for s in shapes.values()])
        parts = np.split(summed, ends[:-1])
        return {k: p.reshape(s) for (k, s), p in zip(shapes.items(), parts, strict=True)}

    def root_says(self, text: str) -> str:
        """Return the root's text, in every copy."""
        return str(self.held_by(0, text))

    def held_by(self, rank: int, value: Any) -> Any:
        """Return the value of the copy of that rank, in every copy."""
        return self._hvd.broadcast_object(value, root_rank=rank, name="value")

    def gathered(self, value: Any) -> list[Any]:
        """Return the values of all copies by rank, in every copy."""
        return list(self._hvd.allgather_object(value, name="values"))


def started_as() -> tuple[int, int]:
    """Rank and number of the processes that a launcher started, from its environment; (0, 1) without one."""
    for prefix in ("HOROVOD", "OMPI_COMM_WORLD", "PMI"):
        rank, size = (os.environ.get(f"{prefix}_{what}", "") for what in ("RANK", "SIZE"))
        if rank.isdigit() and size.isdigit():
            return int(rank), int(size)
    return 0, 1


def launched(*, apart: bool = False, seldom: bool = False) -> Replicas:
    """Return the copies that this process was started as: Horovod under a launcher, alone otherwise.

    Parameters
    ----------
    apart : bool
        True if each is given samples of its own, in place of the same set.
    seldom : bool
        True if tens of milliseconds lie between two averages (:class:`Horovod`).
    """
    return Horovod(apart=apart, seldom=seldom) if started_as()[1] > 1 else Alone()

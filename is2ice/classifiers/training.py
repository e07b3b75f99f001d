"""Training, written once: windows or tiles, one process or many, from the start or from a checkpoint.

Many steps run inside one compiled TensorFlow function on a block of shuffled samples, so that Python is not
in the loop. Models give logits; the softmax is the loss's and the inference's.
"""

from __future__ import annotations

import logging
import os
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from is2ice.classifiers.weights_file import read_arrays, write_arrays
from is2ice.errors import ModelError, require
from is2ice.io.remote.whole_files import Address, exists, fetched

from . import losses
from .replicas import Alone, Replicas

__all__ = [
    "History",
    "Settings",
    "TrainStep",
    "TrainingError",
    "fit",
    "one_thread",
    "split_options",
    "training_fingerprint",
]

log = logging.getLogger("is2ice")
T = TypeVar("T")

#: Samples handed over at once, bytes, and most steps.
_BLOCK, _STEPS = 2**25, 512


class TrainingError(ModelError):
    """A training cannot go on: its loss is not a number, or nothing is labelled."""


@dataclass
class History:
    """Record of a training.

    Attributes
    ----------
    epochs : list of dict
        One row an epoch: ``loss``, ``accuracy``, ``seconds`` and, with validation data, ``val_loss``,
        ``val_accuracy`` and ``val_macro_f1``; means over all replicas.
    best : int
        Epoch, from 0, whose weights the model has.
    resumed_at : int
        First epoch of this call: above 0 after a restart.
    settings : dict
        Loss, weights, rate and so on, as JSON can hold them.
    speed : dict
        Speed of several replicas, measured here: ``samples_per_s`` of all, ``share_in_averages`` of the training's
        time, and ``alone_s_an_epoch``, the seconds that one replica needs for the samples of all, beside
        ``s_an_epoch``.
    """

    epochs: list[dict[str, float]] = field(default_factory=list)
    best: int = -1
    resumed_at: int = 0
    settings: dict[str, Any] = field(default_factory=dict)
    speed: dict[str, float] = field(default_factory=dict)

    def column(self, name: str) -> list[float]:
        """One quantity over the epochs."""
        return [row[name] for row in self.epochs]

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {"epochs": self.epochs, "best": self.best, "settings": self.settings}

    def card(self) -> dict[str, Any]:
        """Return what a model's card holds of its training."""
        speed = {"speed": {k: round(v, 4) for k, v in self.speed.items()}} if self.speed else {}
        return {**self.settings, **speed, "history": self.to_dict()}


@dataclass(frozen=True)
class Settings:
    """Settings of a training.

    Attributes
    ----------
    loss : {"focal", "cross_entropy"} or callable
        A callable takes labels and logits and gives one loss a label (:mod:`is2ice.classifiers.losses`).
    class_weights : "balanced", sequence or None
        One weight a class; "balanced" is the inverse of its share in the training set.
    gamma : float
        Exponent of the focal loss.
    epochs, batch : int
        The batch is that of each replica; samples that fill no batch wait for a later epoch.
    learning_rate : float
        Rate of Adam; not scaled by the number of replicas.
    seed : int
        Seed of shuffling and dropout. Initial weights are the caller's (the root's, in many replicas).
    patience : int, optional
        Stop after this number of epochs without a lower validation loss.
    average_every : int
        Steps between two averages over the replicas. At 1 the gradients of each step are averaged: the result is
        that of one process with a larger batch. Above 1 each replica takes that number of steps alone, compiled as
        one loop, then weights and Adam's moments are averaged (local SGD): fewer averages, and another result. They are
        averaged at the end of each epoch, too.
    compiled : bool, optional
        Let XLA compile the steps. By default so for windows, not for images, whose convolutions the
        libraries of TensorFlow do faster.
    """

    loss: str | Callable[[Any, Any], Any] = "focal"
    class_weights: str | Sequence[float] | None = None
    gamma: float = 2.0
    epochs: int = 20
    batch: int = 32
    learning_rate: float = 0.003
    seed: int = 0
    patience: int | None = None
    average_every: int = 1
    compiled: bool | None = None

    def check(self, classes: int) -> None:
        """Refuse values that cannot be meant, before data are read or a model is built.

        Parameters
        ----------
        classes : int
            Number of classes of the model.

        Raises
        ------
        ValueError
        """
        if self.epochs < 1 or self.batch < 1 or not 0 < self.learning_rate < np.inf:
            raise ValueError(
                f"training: expected epochs and batch of at least 1 and a learning_rate above 0, got {self.epochs}, "
                f"{self.batch} and {self.learning_rate}"
            )
        if not isinstance(self.average_every, int) or self.average_every < 1:
            raise ValueError(f"average_every={self.average_every!r}: expected a number of steps, at least 1")
        if not 0 <= self.gamma < np.inf:
            raise ValueError(f"gamma={self.gamma!r}: expected 0 (cross entropy) or more")
        if self.patience is not None and self.patience < 1:
            raise ValueError(f"patience={self.patience!r}: expected epochs, at least 1")
        if isinstance(self.class_weights, str) and self.class_weights != "balanced":
            raise ValueError(f"class_weights={self.class_weights!r}: expected 'balanced', numbers or None")
        numbers = None if isinstance(self.class_weights, str) else self.class_weights
        if numbers is not None and len(numbers) != classes:
            raise ValueError(f"class_weights: {len(numbers)} given, the model has {classes} classes")
        _loss(self.loss, numbers, self.gamma)

    def to_dict(self, weights: Sequence[float] | None, replicas: int) -> dict[str, Any]:
        """Return what decides the weights of a model, as JSON can hold it."""
        loss = (
            self.loss if isinstance(self.loss, str) else getattr(self.loss, "__qualname__", repr(self.loss))
        )
        local = {"average_every": self.average_every} if self.average_every > 1 and replicas > 1 else {}
        return {
            "loss": loss,
            "class_weights": None if weights is None else [float(w) for w in weights],
            "gamma": self.gamma,
            "batch": self.batch,
            "learning_rate": self.learning_rate,
            "seed": self.seed,
            "replicas": replicas,
            **local,
        }


def fit(
    model: Any,
    train: Any,
    validation: Any = None,
    *,
    settings: Settings | None = None,
    replicas: Replicas | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    progress: Callable[[dict[str, float]], None] | None = None,
    **changes: Any,
) -> History:
    """Train a model in place with Adam, and give it the weights of its best epoch.

    Parameters
    ----------
    model : keras.Model
        From samples ``(n, ...)`` to **logits** ``(n, ..., class)``, without softmax.
    train, validation : (x, y), or an object with ``x`` and ``y``
        ``x``: ``(n, ...)``, an array or whatever gives one when indexed with an array of rows (so a memory
        map or a view of windows stays where it is); ``y``: class codes, ``(n,)`` or ``(n, ...)`` as the
        logits; -1 is unlabelled and weighs nothing. Every replica is given the same sets and takes its share; or,
        where they are apart (:func:`~is2ice.classifiers.replicas.launched`), samples of its own, of which an epoch
        takes equally many from each, drawn again every time.
    settings : Settings, optional
    replicas : Replicas, optional
        :class:`~is2ice.classifiers.replicas.Alone` by default.
    checkpoint : path or address, optional
        File (``.npz``) that the root writes after every epoch; a training that finds it resumes from there.
    progress : callable, optional
        Takes each row of the history, in the root.
    **changes
        Fields of :class:`Settings`, in place of those of `settings`.

    Returns
    -------
    History

    Raises
    ------
    TrainingError
        The loss is not a number, or a replica has no sample.
    ModelError
        The checkpoint is damaged, or of another training.

    Notes
    -----
    With validation data the best epoch has the lowest validation loss; without, the last is kept.
    """
    classes = int(model.output_shape[-1])
    chosen = replace(settings or Settings(), **changes)
    chosen.check(classes)
    replicas = replicas or Alone()
    x, y = _pair(train, "train")
    held = None if validation is None else _pair(validation, "validation")
    given = chosen.class_weights
    weights = losses.balanced(y, classes) if isinstance(given, str) else given
    mine = replicas.shard(len(y))
    share = min(replicas.gathered(len(mine)))
    step = _train_step(model, chosen, weights, share, replicas)
    state = _State(model, step.optimizer, checkpoint, replicas)
    record = chosen.to_dict(weights, replicas.size)
    history = state.restore(_mark(training_fingerprint(model, x, y, record), replicas), record)
    for epoch in range(len(history.epochs), chosen.epochs):
        if chosen.patience is not None and epoch - 1 - history.best >= chosen.patience:
            break
        started = time.perf_counter()
        _reseed(model, chosen.seed, epoch, replicas.rank)
        order = np.random.default_rng([chosen.seed, epoch, replicas.rank]).permutation(mine)[:share]
        row = step.train(x, y, order, epoch)
        state.average_statistics()
        if held is not None:
            row |= step.validate(*held, classes)
        row["seconds"] = time.perf_counter() - started
        history.epochs.append(row)
        if held is None or row["val_loss"] <= min(history.column("val_loss")):
            history.best = epoch
            state.keep()
        state.write(history)
        if replicas.is_root:
            log.info("epoch %d: %s", epoch + 1, ", ".join(f"{k} {v:.4g}" for k, v in row.items()))
            if progress is not None:
                progress(row)
    if replicas.size > 1:
        history.speed = step.speed(x, y, mine[:share])
    state.take_best()
    return history


def _mark(own: str, replicas: Replicas) -> str:
    """Return the fingerprint of a training: the replicas' own as one, if their samples are not the same."""
    marks = replicas.gathered(own)
    return own if len(set(marks)) == 1 else f"{zlib.crc32(' '.join(marks).encode()):08x}"


def _train_step(model: Any, settings: Settings, weights: Any, share: int, replicas: Replicas) -> TrainStep:
    """Compile the steps of a training on this replica's share of the samples."""
    if not share:
        raise TrainingError(
            f"too few training samples for {replicas.size} replicas: one has none; each needs at least one"
        )
    compiled = len(model.input_shape) <= 3 if settings.compiled is None else settings.compiled
    loss = _loss(settings.loss, weights, settings.gamma)
    batch = min(settings.batch, share)
    every = settings.average_every if replicas.size > 1 else 1
    return TrainStep(model, loss, settings.learning_rate, batch, replicas, compiled, every)


def split_options(kind: type[T], options: Mapping[str, Any]) -> tuple[T, dict[str, Any]]:
    """Make a record of the options that are its fields; return it and the other options."""
    names = {f.name for f in fields(kind)}  # type: ignore[arg-type]
    own = {k: v for k, v in options.items() if k in names}
    return kind(**own), {k: v for k, v in options.items() if k not in names}


def one_thread() -> None:
    """Let TensorFlow compute on one thread, if it has not begun.

    The layers here are so small that handing parts of them to other threads costs more than it gains; further
    cores serve further replicas, or other tracks.
    """
    require("tensorflow")
    import tensorflow as tf

    try:
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    except RuntimeError:
        log.debug("TensorFlow is in use; its threads stay as they are")


def _pair(data: Any, name: str) -> tuple[Any, NDArray[np.integer]]:
    x, y = (data.x, data.y) if hasattr(data, "x") and hasattr(data, "y") else data
    y = np.asarray(y)
    if len(x) != len(y) or not len(y):
        raise ValueError(f"{name}: {len(x)} samples and {len(y)} labels; expected as many, at least one")
    if not np.issubdtype(y.dtype, np.integer):
        raise ValueError(f"{name}: labels of type {y.dtype}; expected class codes (integers, -1 unlabelled)")
    return x, y


def _loss(
    loss: str | Callable[[Any, Any], Any], weights: Sequence[float] | None, gamma: float
) -> Callable[[Any, Any], Any]:
    if callable(loss):
        return loss
    if loss not in ("focal", "cross_entropy"):
        raise ValueError(f"loss={loss!r}: expected 'focal', 'cross_entropy' or a callable")
    return losses.focal(weights, gamma if loss == "focal" else 0.0)


def _reseed(model: Any, seed: int, epoch: int, rank: int) -> None:
    """Seed dropout from what is known at every epoch, so that a restart repeats it."""
    states = [v for v in model.non_trainable_variables if v.name == "seed_generator_state"]
    for k, v in enumerate(states):
        v.assign(np.random.default_rng([seed, epoch, rank, k]).integers(0, 2**31, 2).astype("u4"))


def training_fingerprint(model: Any, x: Any, y: NDArray[Any], settings: dict[str, Any]) -> str:
    """Return a digest of model, data and settings (not of the number of replicas)."""
    some = np.unique(np.linspace(0, len(y) - 1, 64).astype(int))
    crc = zlib.crc32(np.ascontiguousarray(x[some]).tobytes(), zlib.crc32(np.ascontiguousarray(y).tobytes()))
    shapes = [tuple(w.shape) for w in model.weights]
    kept = sorted((k, v) for k, v in settings.items() if k not in ("replicas", "average_every"))
    return f"{zlib.crc32(repr((shapes, len(y), kept)).encode()):08x}{crc:08x}"


class TrainStep:
    """The compiled parts of a training: steps over a block of batches, and measures over a block of samples."""

    def __init__(
        self,
        model: Any,
        loss: Callable[[Any, Any], Any],
        rate: float,
        batch: int,
        replicas: Replicas,
        jit: bool,
        every: int = 1,
    ) -> None:
        import keras
        import tensorflow as tf

        self.model, self.batch, self.replicas, self.every = model, batch, replicas, every
        self.laps: list[tuple[float, float]] = []  # seconds of each epoch's steps, and those in averages
        variables = model.trainable_variables
        self.optimizer = optimizer = keras.optimizers.Adam(rate)
        optimizer.build(variables)
        shapes = [tuple(v.shape) for v in variables]
        sizes = [int(np.prod(s)) for s in shapes]

        def measures(labels: Any, logits: Any) -> tuple[Any, Any, Any]:
            known = tf.cast(labels >= 0, tf.float32)
            right = tf.cast(tf.equal(tf.argmax(logits, -1, tf.int32), labels), tf.float32)
            return tf.reduce_sum(loss(labels, logits)), tf.reduce_sum(right), tf.reduce_sum(known)

        @tf.function(jit_compile=jit)
        def gradients(xb: Any, yb: Any) -> tuple[Any, Any]:
            with tf.GradientTape() as tape:
                total, right, known = measures(yb, model(xb, training=True))
                value = total / tf.maximum(known, 1.0)
            # As one vector: one collective operation a step.
            flat = tf.concat([tf.reshape(g, [-1]) for g in tape.gradient(value, variables)], 0)
            return flat, tf.stack([total, right, known])

        @tf.function(jit_compile=jit)
        def apply(flat: Any) -> None:
            parts = tf.split(flat, sizes)
            optimizer.apply([tf.reshape(p, s) for p, s in zip(parts, shapes, strict=True)], variables)

        def loop(average: Callable[[Any], Any]) -> Any:
            @tf.function(jit_compile=jit)
            def together(xs: Any, ys: Any, count: Any) -> Any:
                sums = tf.zeros(3)
                for k in tf.range(count):
                    flat, one = gradients(xs[k], ys[k])
                    apply(average(flat))
                    sums += one
                return sums

            return together

        @tf.function(jit_compile=jit)
        def onward(flat: Any, xb: Any, yb: Any) -> tuple[Any, Any]:
            apply(flat)
            return gradients(xb, yb)

        @tf.function
        def apart(xs: Any, ys: Any, count: Any) -> Any:
            # Between two averages there is one call of compiled code, not two: each costs as much as a step.
            flat, sums = gradients(xs[0], ys[0])
            for k in tf.range(1, count):
                flat, one = onward(replicas.average(flat), xs[k], ys[k])
                sums += one
            apply(replicas.average(flat))
            return sums

        @tf.function(jit_compile=jit)
        def check(xb: Any, yb: Any) -> tuple[Any, Any]:
            logits = model(xb, training=False)
            classes = logits.shape[-1]
            hot = tf.reshape(tf.one_hot(yb, classes), [-1, classes])
            got = tf.reshape(tf.one_hot(tf.argmax(logits, -1), classes), [-1, classes])
            return tf.stack(measures(yb, logits)), tf.matmul(hot, got, transpose_a=True)

        moving = [*variables, *(v for v in optimizer.variables if tuple(v.shape))]  # not its counter and rate
        lengths = [int(np.prod(v.shape)) for v in moving]

        @tf.function
        def average_state() -> None:
            flat = replicas.average(tf.concat([tf.reshape(v.value, [-1]) for v in moving], 0))
            for v, part in zip(moving, tf.split(flat, lengths), strict=True):
                v.assign(tf.reshape(part, v.shape))

        @tf.function
        def average_nothing(times: Any) -> Any:
            flat = tf.zeros(sum(sizes))
            for _ in tf.range(times):
                flat = replicas.average(flat)
            return flat

        self._alone = loop(lambda flat: flat)
        self._average_state, self._average_nothing = average_state, average_nothing
        if every > 1:
            self._steps = self._alone
        else:
            self._steps = loop(replicas.average) if replicas.compiles else apart
        self._check, self._as, self._moving = check, tf.constant, [*variables, *optimizer.variables]

    def train(self, x: Any, y: NDArray[Any], order: NDArray[np.int64], epoch: int) -> dict[str, float]:
        """One epoch over this replica's samples in the order given."""
        count, block = self._blocks(x, order)
        sums, started, averaging = np.zeros(3), time.perf_counter(), 0.0
        for first, k in self._spans(count, block):
            xs, ys = self._block(x, y, order[first * self.batch : (first + k) * self.batch], block)
            sums += self._steps(xs, ys, self._as(k)).numpy()
            if self.every > 1 and ((first + k) % self.every == 0 or first + k == count):
                averaging += self._timed(self._average_state)
            if not np.isfinite(sums[0]):
                raise TrainingError(
                    f"epoch {epoch + 1}: the loss is not a number. Are there NaN or unscaled values in x? "
                    "Otherwise try a lower learning_rate"
                )
        self.laps.append((time.perf_counter() - started, averaging))
        total = self.replicas.total({"loss": sums[0], "right": sums[1], "known": sums[2]})
        known = max(float(total["known"]), 1.0)
        return {"loss": float(total["loss"]) / known, "accuracy": float(total["right"]) / known}

    def _blocks(self, x: Any, order: NDArray[np.int64]) -> tuple[int, int]:
        """Return the number of steps of an epoch, and of those that are handed over at once."""
        count = len(order) // self.batch
        most = min(_STEPS, count, self.every if self.every > 1 else count)
        return count, int(np.clip(_BLOCK // (self.batch * _bytes(x)), 1, most))

    def _spans(self, count: int, block: int) -> Iterator[tuple[int, int]]:
        """Give first step and number of steps of each block; none reaches beyond the next average of the states."""
        first = 0
        while first < count:
            k = min(block, count - first)
            k = min(k, self.every - first % self.every) if self.every > 1 else k
            yield first, k
            first += k

    def _block(self, x: Any, y: NDArray[Any], rows: NDArray[np.int64], block: int) -> tuple[Any, Any]:
        """Return samples as batches. A short block repeats samples that are not used: one shape, compiled once."""
        rows = np.resize(rows, block * self.batch)
        xs = _floats(x, rows).reshape(block, self.batch, *x.shape[1:])
        ys = y[rows].astype("i4").reshape(block, self.batch, *y.shape[1:])
        return self._as(xs), self._as(ys)

    @staticmethod
    def _timed(work: Callable[..., Any], *given: Any) -> float:
        started = time.perf_counter()
        done = work(*given)
        if done is not None:
            done.numpy()
        return time.perf_counter() - started

    def speed(self, x: Any, y: NDArray[Any], order: NDArray[np.int64]) -> dict[str, float]:
        """Compare the epochs of several replicas with what one of them needs for all samples.

        The first epoch compiles and is left out if there are others. Weights stay as they are.
        """
        if not self.laps:
            return {}
        count, block = self._blocks(x, order)
        seconds, averaging = (float(np.median(v)) for v in np.transpose(self.laps[1:] or self.laps))
        if self.every == 1:
            times = 20
            self._average_nothing(self._as(2)).numpy()
            averaging = count * self._timed(self._average_nothing, self._as(times)) / times
        before = [v.numpy() for v in self._moving]
        given = (*self._block(x, y, order[: block * self.batch], block), self._as(block))
        self._alone(*given).numpy()
        alone = min(self._timed(self._alone, *given) for _ in range(3)) / block
        for v, value in zip(self._moving, before, strict=True):
            v.assign(value)
        samples = self.replicas.size * count * self.batch
        return {
            "samples_per_s": samples / seconds,
            "share_in_averages": min(1.0, averaging / seconds),
            "alone_s_an_epoch": self.replicas.size * count * alone,
            "s_an_epoch": seconds,
        }

    def validate(self, x: Any, y: NDArray[Any], classes: int) -> dict[str, float]:
        """Loss, accuracy and macro F1 over all replicas' shares of the validation set."""
        mine = self.replicas.shard(len(y), equal=False)
        block = int(np.clip(_BLOCK // (8 * _bytes(x)), 1, 8192))
        block = min(block, max(self.batch, len(mine)))
        sums, confusion = np.zeros(3), np.zeros((classes, classes))
        for first in range(0, len(mine), block):
            rows = mine[first : first + block]
            ys = np.full((block, *y.shape[1:]), -1, "i4")
            ys[: len(rows)] = y[rows]
            xs = _floats(x, np.resize(rows, block))
            part, table = self._check(self._as(xs), self._as(ys))
            sums += part.numpy()
            confusion += table.numpy()
        total = self.replicas.total({"sums": sums, "confusion": confusion})
        loss, right, known = total["sums"]
        c = total["confusion"]
        present = c.sum(1) > 0
        f1 = 2 * np.diag(c) / np.maximum(c.sum(0) + c.sum(1), 1.0)
        return {
            "val_loss": float(loss / max(known, 1.0)),
            "val_accuracy": float(right / max(known, 1.0)),
            "val_macro_f1": float(f1[present].mean()) if present.any() else float("nan"),
        }


def _bytes(x: Any) -> int:
    """Bytes of one sample as the model takes it."""
    return max(4 * int(np.prod(x.shape[1:])), 1)


def _floats(x: Any, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    return np.ascontiguousarray(np.asarray(x[rows]), "f4")


class _State:
    """State that a checkpoint keeps: weights, optimizer, history, best weights so far."""

    def __init__(self, model: Any, optimizer: Any, path: Address | None, replicas: Replicas) -> None:
        self.model, self.optimizer, self.path, self.replicas = model, optimizer, path, replicas
        self.best: list[NDArray[Any]] | None = None
        self.mark = ""

    def restore(self, mark: str, settings: dict[str, Any]) -> History:
        """Take up a checkpoint if there is one, and bring every replica to the root's state."""
        import json

        self.mark, document, fault = mark, {"epochs": [], "best": -1}, ""
        if self.replicas.is_root and self.path is not None and exists(self.path):
            try:
                document = self._read()
            except ModelError as error:  # every replica must hear of it, or the others would wait
                fault = str(error)
        said = json.loads(self.replicas.root_says(json.dumps({"document": document, "fault": fault})))
        if said["fault"]:
            raise ModelError(said["fault"])
        self.replicas.broadcast([*self.model.weights, *self.optimizer.variables])
        document = said["document"]
        return History(document["epochs"], document["best"], len(document["epochs"]), settings)

    def _read(self) -> dict[str, Any]:
        assert self.path is not None
        with fetched(self.path) as file:
            groups, meta = read_arrays(file, name=os.fspath(self.path))
        if meta.get("mark") != self.mark:
            raise ModelError(
                f"{self.path}: checkpoint of another training (other data, model or settings); remove it, or name "
                "another file"
            )
        self.best = groups["best"]
        for name, variables in (("weight", self.model.weights), ("optimizer", self.optimizer.variables)):
            for v, value in zip(variables, groups[name], strict=True):
                v.assign(value)
        return {k: meta[k] for k in ("epochs", "best")}

    def average_statistics(self) -> None:
        """Average moving statistics (of batch normalisation) over the replicas, each of which has its own."""
        own = [v for v in self.model.non_trainable_weights if "float" in str(v.dtype)]
        if own and self.replicas.size > 1:
            sums = self.replicas.total({str(k): v.numpy() for k, v in enumerate(own)})
            for k, v in enumerate(own):
                v.assign(sums[str(k)] / self.replicas.size)

    def keep(self) -> None:
        """Remember the weights as the best."""
        self.best = [v.numpy() for v in self.model.weights]

    def take_best(self) -> None:
        """Give the model the best weights, in every replica."""
        if self.replicas.is_root and self.best is not None:
            for v, value in zip(self.model.weights, self.best, strict=True):
                v.assign(value)
        self.replicas.broadcast(self.model.weights)

    def write(self, history: History) -> None:
        """Write the checkpoint, the root only."""
        if self.path is None or not self.replicas.is_root:
            return
        groups = {
            "weight": [v.numpy() for v in self.model.weights],
            "optimizer": [v.numpy() for v in self.optimizer.variables],
            "best": self.best or [],
        }
        meta = {"mark": self.mark, "epochs": history.epochs, "best": history.best}
        write_arrays(self.path, groups, meta)

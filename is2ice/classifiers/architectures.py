"""Architectures of the along-track classifiers, by name, and how each is trained.

All take windows ``(n, steps, features)``, the segment to be classified in the middle, and give logits
``(n, 3)``. ``lstm`` and ``mlp`` are those of the paper, ``lstm_notebook`` is that of the notebook whose run
is published; ``default`` is ours.

References
----------
Iqrah et al. (2025), Toward sea ice monitoring with deep learning on ICESat-2, section III.B and table III.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from is2ice import schema
from is2ice.errors import require

from .losses import ALPHA

__all__ = ["ARCHITECTURES", "Architecture", "build"]


@dataclass(frozen=True)
class Architecture:
    """One architecture.

    Attributes
    ----------
    layers : callable
        ``(inputs, **parameters) -> last hidden tensor (n, k)``.
    about : str
    features : str
        Feature set it is meant for.
    context : int
        Neighbours on either side; the window has ``2 context + 1`` steps.
    parameters : mapping
        Keyword arguments of ``layers``, with their usual values.
    training : mapping
        Usual arguments of :func:`is2ice.classifiers.training.fit`.
    along : callable, optional
        ``(model, **parameters) -> function``, from a stretch of track ``(n, features)`` to the logits
        ``(n - 2 context, 3)`` of its cells, but for the first and last ``context``: those of their windows, each
        cell's own part worked out once, not once in each window that it lies in.
    """

    layers: Callable[..., Any]
    about: str
    features: str
    context: int
    parameters: Mapping[str, Any]
    training: Mapping[str, Any]
    along: Callable[..., Callable[[Any], Any]] | None = None


def build(name: str, steps: int, features: int, *, seed: int = 0, **parameters: Any) -> Any:
    """Return a model with fresh weights.

    Parameters
    ----------
    name : str
        One of :data:`ARCHITECTURES`.
    steps, features : int
        Shape of a window; steps is odd.
    seed : int
        Seed of the initial weights.
    **parameters
        Instead of the architecture's own.

    Returns
    -------
    keras.Model
        ``(n, steps, features)`` float32 to logits ``(n, 3)``.

    Raises
    ------
    ValueError
        For an unknown name or parameter, or an even number of steps.
    """
    if name not in ARCHITECTURES:
        raise ValueError(f"architecture {name!r}: expected one of {', '.join(ARCHITECTURES)}")
    known = ARCHITECTURES[name]
    unknown = set(parameters) - set(known.parameters)
    if unknown:
        raise ValueError(f"{name} has no {sorted(unknown)}; it has {', '.join(known.parameters)}")
    if steps < 1 or steps % 2 == 0 or features < 1:
        raise ValueError(f"windows of {steps} steps, {features} features: expected an odd number, at least 1")
    import keras

    with seeded(seed):
        inputs = keras.Input((steps, features), dtype="float32")
        hidden = known.layers(inputs, **{**known.parameters, **parameters})
        return keras.Model(inputs, keras.layers.Dense(len(schema.CLASSES), name="logits")(hidden), name=name)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Keras draws the seeds of initial weights from Python's generator: fix it here, and put it back."""
    state = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(state)


def _lstm(
    x: Any, *, units: int, activation: str, dropout: float, dense: tuple[int, ...], dense_dropout: float
) -> Any:
    from keras import layers

    # Unrolled: a window has few steps, and the compiler then sees straight through them.
    x = layers.LSTM(units, activation=activation, unroll=True)(x)
    x = layers.Dropout(dropout)(x)
    for width in dense:
        x = layers.Dense(width, activation="elu")(x)
        x = layers.Dropout(dense_dropout)(x) if dense_dropout else x
    return x


def _mlp(x: Any, *, units: int, dropout: float) -> Any:
    from keras import layers

    x = layers.Dense(units, activation="relu")(layers.Flatten()(x))
    return layers.Dropout(dropout)(x)


def _bidirectional(x: Any, *, units: int, dropout: float, dense: tuple[int, ...]) -> Any:
    from keras import layers

    x = layers.Bidirectional(layers.LSTM(units, unroll=True))(x)
    x = layers.Dropout(dropout)(x)
    for width in dense:
        x = layers.Dense(width, activation="elu")(x)
    return x


def _default(x: Any, *, embed: int, near: int, dense: tuple[int, ...], dropout: float, noise: float) -> Any:
    """Each segment on its own, then the means of stretches that double in length away from the middle.

    Near segments are kept one by one, so that edges stay sharp; far segments are averaged, so that
    photon noise does. A stretch before the middle and its mirror image after it enter by their sum and their
    absolute difference: which way the satellite flew is not to matter.
    """
    from keras import layers, ops

    steps = x.shape[1]
    middle = steps // 2
    x = layers.GaussianNoise(noise)(x)
    parts = [x[:, middle, :]]
    for name in _EMBED:
        x = layers.Dense(embed, activation="gelu", name=name)(x)
    parts.append(x[:, middle, :])
    for reach, far in _stretches(middle, near):
        before = ops.mean(x[:, middle - far : middle - reach, :], axis=1)
        after = ops.mean(x[:, middle + reach + 1 : middle + far + 1, :], axis=1)
        parts += [before + after, ops.absolute(before - after)]
    x = layers.Concatenate()(parts)
    for k, width in enumerate(dense):
        x = layers.Dropout(dropout)(layers.Dense(width, activation="gelu", name=f"dense_{k}")(x))
    return x


def _default_along(model: Any, *, near: int, dense: tuple[int, ...], **_: Any) -> Callable[[Any], Any]:
    """As :func:`_default` without dropout and noise, for every cell that has a window."""
    require("tensorflow")
    import tensorflow as tf

    middle = model.input_shape[1] // 2
    embed = [model.get_layer(name) for name in _EMBED]
    head = [model.get_layer(name) for name in (*(f"dense_{k}" for k in range(len(dense))), "logits")]

    def forward(x: Any) -> Any:
        n = tf.shape(x)[0] - 2 * middle
        parts = [x[middle : middle + n]]
        for layer in embed:
            x = layer(x)
        parts.append(x[middle : middle + n])
        for reach, far in _stretches(middle, near):
            mean = tf.nn.avg_pool1d(x[None], far - reach, 1, "VALID")[0]  # of the cells from each one on
            before, after = mean[middle - far :][:n], mean[middle + reach + 1 :][:n]
            parts += [before + after, tf.abs(before - after)]
        x = tf.concat(parts, 1)
        for layer in head:
            x = layer(x)
        return x

    return forward


#: Names of the layers that see each segment on its own.
_EMBED = ("embed_0", "embed_1")


def _stretches(middle: int, near: int) -> list[tuple[int, int]]:
    """Stretches away from the middle, as (cells before it, cells up to its end): single ones, then doubling."""
    out, reach, length = [], 0, 1
    while reach < middle:
        length = 1 if reach < near else 2 * length
        out.append((reach, min(middle, reach + length)))
        reach = out[-1][1]
    return out


_PAPER = {"loss": "focal", "class_weights": ALPHA, "gamma": 2.0, "batch": 32}
ARCHITECTURES: Mapping[str, Architecture] = MappingProxyType(
    {
        "lstm": Architecture(
            _lstm,
            "the paper's: LSTM 16 ELU, dropout 0.2, seven dense layers",
            "paper",
            2,
            {
                "units": 16,
                "activation": "elu",
                "dropout": 0.2,
                "dense": (32, 96, 32, 16, 112, 48, 64),
                "dense_dropout": 0.0,
            },
            {**_PAPER, "learning_rate": 0.003, "epochs": 20},
        ),
        "mlp": Architecture(
            _mlp,
            "the paper's: dense 32 ReLU, dropout 0.2",
            "paper",
            2,
            {"units": 32, "dropout": 0.2},
            {**_PAPER, "learning_rate": 0.003, "epochs": 20},
        ),
        "lstm_notebook": Architecture(
            _lstm,
            "the notebook's: LSTM 48 tanh, dense 16 and 16 ELU, dropout 0.4 after each",
            "notebook",
            2,
            {"units": 48, "activation": "tanh", "dropout": 0.4, "dense": (16, 16), "dense_dropout": 0.4},
            {**_PAPER, "learning_rate": 8.886e-4, "epochs": 50},
        ),
        "bidirectional": Architecture(
            _bidirectional,
            "LSTM 24 in both directions, dense 32",
            "default",
            4,
            {"units": 24, "dropout": 0.2, "dense": (32,)},
            {"loss": "cross_entropy", "batch": 128, "learning_rate": 0.002, "epochs": 20},
        ),
        "default": Architecture(
            _default,
            "segments embedded, then averaged over stretches that lengthen away from the middle; dense 64 and 32",
            "default",
            16,
            {"embed": 24, "near": 2, "dense": (64, 32), "dropout": 0.3, "noise": 0.3},
            {"loss": "cross_entropy", "batch": 128, "learning_rate": 0.002, "epochs": 20},
            _default_along,
        ),
    }
)

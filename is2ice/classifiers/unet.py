"""U-Net for Sentinel-2 tiles: the published network and a smaller one, trained on automatic labels.

Labels are class maps made by :mod:`is2ice.sentinel2.cloud_filter`, never a truth. The published network sees grey; the
default sees reflectance in several bands on a fixed scale, and while it learns, thin cloud and shadow are
laid over tiles that are free of them, so that it learns what lies under them from labels of the clear view.

References
----------
Ronneberger et al. (2015) for the U-Net; Iqrah et al. (arXiv 2303.12719, 2403.13135) for the published sizes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from is2ice import schema
from is2ice.errors import ModelError, require

from . import training
from .architectures import seeded
from .augmentation import Augmented
from .losses import balanced_by_counts, label_counts
from .replicas import Alone, Replicas
from .trained_model import Trained

__all__ = ["ARCHITECTURES", "DEFAULT_INPUTS", "TileOptions", "UNet", "build"]

F4 = NDArray[np.float32]

#: Inputs of the default network; a scene without one of them needs a model trained without it.
DEFAULT_INPUTS = ("B02", "B03", "B04", "B08", "B11")
#: What a network may be given: bands, or grey made of three.
KNOWN_INPUTS = (*DEFAULT_INPUTS, "grey")
#: Tiles worked at a time: always as many, so that a tile's result does not depend on the others of its batch.
_BATCH = 8
#: No network here is larger.
_MOST_FILTERS, _MOST_LEVELS = 1024, 7


def _published(x: Any, *, filters: Sequence[int], dropout: Sequence[float]) -> Any:
    """Two 3 x 3 convolutions a level, dropout between; 2 x 2 pooling down, transposed convolution up."""
    from keras import layers

    def pair(x: Any, n: int, rate: float) -> Any:
        how = {"padding": "same", "activation": "relu", "kernel_initializer": "he_normal"}
        x = layers.Conv2D(n, 3, **how)(x)
        return layers.Conv2D(n, 3, **how)(layers.Dropout(rate)(x))

    down = []
    for n, rate in zip(filters[:-1], dropout, strict=False):
        x = pair(x, n, rate)
        down.append(x)
        x = layers.MaxPooling2D(2)(x)
    x = pair(x, filters[-1], dropout[len(filters) - 1])
    for n, rate, aside in zip(filters[-2::-1], dropout[len(filters) :], down[::-1], strict=True):
        x = layers.Conv2DTranspose(n, 2, strides=2, padding="same")(x)
        x = pair(layers.Concatenate()([x, aside]), n, rate)
    return x


def _default(x: Any, *, filters: Sequence[int]) -> Any:
    """Normalised convolutions, and repetition instead of transposed convolution on the way up."""
    from keras import layers

    def pair(x: Any, n: int) -> Any:
        for _ in range(2):
            x = layers.Conv2D(n, 3, padding="same", use_bias=False, kernel_initializer="he_normal")(x)
            x = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))
        return x

    down = []
    for n in filters[:-1]:
        x = pair(x, n)
        down.append(x)
        x = layers.MaxPooling2D(2)(x)
    x = pair(x, filters[-1])
    for n, aside in zip(filters[-2::-1], down[::-1], strict=True):
        x = pair(layers.Concatenate()([layers.UpSampling2D(2)(x), aside]), n)
    return x


#: Layers of each network, and their usual sizes.
ARCHITECTURES: Mapping[str, tuple[Callable[..., Any], Mapping[str, Any]]] = {
    "published": (
        _published,
        {
            "filters": (16, 32, 64, 128, 256, 512),
            "dropout": (0.1, 0.1, 0.2, 0.2, 0.2, 0.3, 0.2, 0.2, 0.2, 0.1, 0.1),
        },
    ),
    "default": (_default, {"filters": (8, 16, 32, 48, 64)}),
}


def build(name: str, channels: int, size: int = 256, *, seed: int = 0, **parameters: Any) -> Any:
    """Return a network with fresh weights.

    Parameters
    ----------
    name : {"published", "default"}
    channels : int
        Channels of a tile; 1 (grey) as published.
    size : int
        Pixels per side of a tile, a multiple of 2 for every level.
    seed : int
    **parameters
        ``filters`` from the finest level to the coarsest; of the published network also ``dropout``.

    Returns
    -------
    keras.Model
        ``(n, size, size, channels)`` float32 to logits ``(n, size, size, 3)``.

    Raises
    ------
    ValueError
        An unknown name or parameter, or a size that cannot be halved so often.
    """
    if name not in ARCHITECTURES:
        raise ValueError(f"architecture {name!r}: expected one of {', '.join(ARCHITECTURES)}")
    layers_of, own = ARCHITECTURES[name]
    if unknown := set(parameters) - set(own):
        raise ValueError(f"{name} has no {sorted(unknown)}; it has {', '.join(own)}")
    sizes = {k: tuple(v) for k, v in {**own, **parameters}.items()}
    levels = len(sizes["filters"])
    if not 2 <= levels <= _MOST_LEVELS or not all(0 < n <= _MOST_FILTERS for n in sizes["filters"]):
        raise ValueError(f"filters {sizes['filters']}: expected 2 to {_MOST_LEVELS} of 1 to {_MOST_FILTERS}")
    if size < 2**levels or size % 2 ** (levels - 1) or channels < 1:
        raise ValueError(
            f"tiles of {size} pixels, {channels} channels: expected a multiple of {2 ** (levels - 1)} for "
            f"{levels} levels, and a channel"
        )
    import keras

    with seeded(seed):
        inputs = keras.Input((size, size, channels), dtype="float32")
        logits = keras.layers.Conv2D(len(schema.CLASSES), 1, name="logits")(layers_of(inputs, **sizes))
        return keras.Model(inputs, logits, name=name)


@dataclass(frozen=True)
class TileOptions:
    """Options of the tiles that a network is trained on.

    Attributes
    ----------
    inputs : sequence of str, optional
        Names of the channels; those named by the tiles, else :data:`DEFAULT_INPUTS`.
    clouds : bool, optional
        Lay thin cloud and shadow over tiles (:mod:`is2ice.classifiers.augmentation`); by default for reflectance,
        not for grey, which may have been filtered already.
    copies : int
        Times each tile is seen in an epoch, turned, mirrored and each time under other clouds.
    parameters : mapping, optional
        Parameters of the network, in place of its own.
    """

    inputs: Sequence[str] | None = None
    clouds: bool | None = None
    copies: int = 4
    parameters: Mapping[str, Any] | None = None


@dataclass(frozen=True, eq=False)
class UNet(Trained):
    """A trained network of tiles; :func:`is2ice.sentinel2.scene.class_map` takes one for ``method="unet"``."""

    kind: ClassVar[str] = "tiles"
    batch_size: ClassVar[int | None] = _BATCH

    @classmethod
    def fit(
        cls,
        train: Any,
        validation: Any = None,
        architecture: str = "default",
        *,
        card: Mapping[str, Any] | None = None,
        replicas: Replicas | None = None,
        **options: Any,
    ) -> UNet:
        """Train on tiles and automatic labels.

        Parameters
        ----------
        train, validation : (x, y), or an object with ``x`` and ``y``
            ``x`` ``(n, size, size, channels)`` on the fixed scale, ``y`` ``(n, size, size)`` class codes, -1
            where there is none (:func:`is2ice.sentinel2.tiles.tiles_of`). Validation tiles are of other scenes.
            Replicas that are apart are given their own tiles (:func:`is2ice.workflows.train_tiles.labelled_tiles`).
        architecture : {"default", "published"}
        card : mapping, optional
            Further entries of the card.
        replicas : Replicas, optional
        **options
            Fields of :class:`TileOptions` (inputs, clouds, copies, parameters), and all that
            :func:`is2ice.classifiers.training.fit` takes; cross entropy, 8 tiles a batch and a rate of 0.003 by
            default.

        Raises
        ------
        ValueError
            Channels and inputs differ in number, or an input is unknown.
        """
        x, y = _pair(train)
        replicas = replicas or Alone()
        tiles, rest = training.split_options(TileOptions, options)
        seed, parameters = int(rest.get("seed", 0)), tiles.parameters or {}
        names = tuple(tiles.inputs or getattr(train, "inputs", None) or DEFAULT_INPUTS)
        if len(names) != x.shape[-1] or set(names) - set(KNOWN_INPUTS):
            raise ValueError(f"inputs {names}: expected {x.shape[-1]} of {', '.join(KNOWN_INPUTS)}")
        model = build(architecture, len(names), int(x.shape[1]), seed=seed, **parameters)
        clouds = "grey" not in names if tiles.clouds is None else tiles.clouds
        drawn = seed + replicas.rank if replicas.is_apart else seed  # no two replicas lay the same clouds
        augmented = Augmented(x, y, names if clouds else (), copies=tiles.copies, seed=drawn)
        rest = {"loss": "cross_entropy", "batch": 8, "learning_rate": 0.003, **rest}
        held = None if validation is None else _pair(validation)
        own = (len(x), label_counts(y, len(schema.CLASSES)), sorted(getattr(train, "scenes", ())))
        sizes, labels, scenes = zip(*(replicas.gathered(own) if replicas.is_apart else [own]), strict=True)
        counts = np.sum(labels, 0)
        if rest.get("class_weights") == "balanced":
            rest["class_weights"] = balanced_by_counts(counts)
        history = training.fit(model, augmented, held, replicas=replicas, **rest)
        document = {
            "kind": "tiles",
            "architecture": architecture,
            "parameters": {**ARCHITECTURES[architecture][1], **parameters},
            "inputs": list(names),
            "white": float(getattr(train, "white", 1.0)),
            "size": int(x.shape[1]),
            "level": str(getattr(train, "level", "unknown")),
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "seed": seed,
            "data": {
                "tiles": sum(sizes),
                "labels": str(getattr(train, "labels", "unknown")),
                "scenes": sorted({name for names in scenes for name in names}),
                "shares": dict(
                    zip(schema.CLASSES, (counts / max(counts.sum(), 1)).round(6).tolist(), strict=True)
                ),
                "veiled": clouds,
                "copies": tiles.copies,
            },
            "training": history.card(),
            **(card or {}),
        }
        return cls(model, document)

    @property
    def name(self) -> str:
        """Name recorded with the classes."""
        return f"unet {self.card['architecture']}"

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the channels: bands, or "grey"."""
        return tuple(self.card["inputs"])

    @property
    def size(self) -> int:
        """Pixels per side of a tile."""
        return int(self.card["size"])

    def _outputs(self, x: Any) -> Any:
        require("tensorflow")
        import tensorflow as tf

        return tf.nn.softmax(self.model(x, training=False))

    def probabilities(self, x: F4) -> F4:
        """Class probabilities ``(n, size, size, 3)`` of tiles ``(n, size, size, channels)``."""
        return self._by_blocks(x, _BATCH)

    @staticmethod
    def _build(card: dict[str, Any]) -> Any:
        return build(card["architecture"], len(card["inputs"]), int(card["size"]), **card["parameters"])

    @staticmethod
    def _check(folder: str | os.PathLike[str], card: Mapping[str, Any]) -> None:
        try:
            inputs, size, white = list(card["inputs"]), int(card["size"]), float(card["white"])
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(f"{folder}: the card lacks {error} of its tiles; it is damaged") from error
        if not inputs or set(inputs) - set(KNOWN_INPUTS) or not 16 <= size <= 4096 or not 0 < white < 100:
            raise ModelError(
                f"{folder}: inputs {inputs}, tiles of {size} pixels, white {white:g}: this is2ice knows "
                f"{', '.join(KNOWN_INPUTS)} and tiles of 16 to 4096; the card is damaged, or of another version"
            )


def _pair(data: Any) -> tuple[F4, NDArray[np.int8]]:
    x, y = (data.x, data.y) if hasattr(data, "x") else data
    x, y = np.asarray(x), np.asarray(y)
    if x.ndim != 4 or x.shape[1] != x.shape[2] or y.shape != x.shape[:3]:
        raise ValueError(
            f"tiles: expected x (n, size, size, channels) and y (n, size, size), got {x.shape}, {y.shape}"
        )
    return x, y

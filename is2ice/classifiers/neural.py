"""Along-track neural classifiers: labelled tracks in, a model out; segments in, classes out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property, lru_cache
from typing import Any, ClassVar, Self

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from is2ice import schema
from is2ice.errors import ModelError, require
from is2ice.science import features as feats
from is2ice.science.features import Normalisation

from . import architectures, model_folder, trained_model, training
from .base import add_classes, agree
from .calibration import softmax, temperature
from .replicas import Replicas
from .samples import Samples, from_tracks
from .trained_model import Trained

__all__ = ["Neural", "WindowOptions", "check_card", "loaded", "one_of", "packaged"]

#: Cells evaluated at once.
BLOCK = 4096
#: Cells of context, or units of a layer, that no model here has.
_LARGEST = 10_000


@dataclass(frozen=True)
class WindowOptions:
    """Options of the windows that a network is trained on.

    Attributes
    ----------
    features, context, leaking
        As for :func:`is2ice.classifiers.samples.from_tracks`; the architecture's own by default. Samples
        bring theirs.
    parameters : mapping, optional
        Parameters of the architecture, in place of its own.
    normalisation : {"z", "published"}
    night : float
        Share of the training windows shown as at night, if the features hold the sun's part
        (:meth:`is2ice.classifiers.samples.Samples.at_night`).
    """

    features: str | None = None
    context: int | None = None
    leaking: Iterable[str] = ()
    parameters: Mapping[str, Any] | None = None
    normalisation: str = "z"
    night: float = 0.3


@dataclass(frozen=True, eq=False)
class Neural(Trained):
    """A trained classifier of windows along the track; the model takes them normalised."""

    kind: ClassVar[str] = "windows"

    @classmethod
    def fit(
        cls,
        train: Samples | xr.Dataset | Iterable[xr.Dataset],
        validation: Samples | xr.Dataset | Iterable[xr.Dataset] | None = None,
        architecture: str = "default",
        *,
        release: str | None = None,
        card: Mapping[str, Any] | None = None,
        replicas: Replicas | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        progress: Callable[[dict[str, float]], None] | None = None,
        **options: Any,
    ) -> Neural:
        """Train on labelled tracks, or on samples of them.

        Parameters
        ----------
        train, validation : Samples, Dataset or iterable of Datasets
            Validation data choose the epoch and the temperature; they must be of other tracks or blocks
            (:func:`is2ice.classifiers.splits.split`).
        architecture : str
            Name in :data:`is2ice.classifiers.architectures.ARCHITECTURES`.
        release : str, optional
            ATL03 release of the tracks; read from Datasets.
        card : mapping, optional
            Further entries of the card: data, split.
        replicas, checkpoint, progress
            As for :func:`is2ice.classifiers.training.fit`.
        **options
            Fields of :class:`WindowOptions` (features, context, normalisation ...) and of
            :class:`is2ice.classifiers.training.Settings` (epochs, learning_rate, seed ...); the architecture's own
            by default.

        Raises
        ------
        ModelError
            Tracks of several releases, or of segments of several lengths.
        """
        if architecture not in architectures.ARCHITECTURES:
            known = ", ".join(architectures.ARCHITECTURES)
            raise ValueError(f"architecture {architecture!r}: expected one of {known}")
        kind = architectures.ARCHITECTURES[architecture]
        windows, rest = training.split_options(WindowOptions, options)
        settings = training.Settings(**{**kind.training, **rest})
        parameters = windows.parameters or {}
        if not isinstance(train, Samples):
            train = [train] if isinstance(train, xr.Dataset) else list(train)
            release = one_of([t.attrs for t in train], "release", release)
        make = (
            windows.features or kind.features,
            kind.context if windows.context is None else windows.context,
            windows.leaking,
        )
        train = _samples(train, *make).at_night(windows.night, seed=settings.seed)
        # Of lazy samples the normalisation is learnt block by block, before any sequence is kept.
        norm = Normalisation.fit(train.x, train.features.names, form=windows.normalisation)
        train = train.compute()
        held = None if validation is None else _samples(validation, *make).compute()
        if held is not None and held.x.shape[1:] != train.x.shape[1:]:
            raise ValueError(f"validation: windows {held.x.shape[1:]}, those to train on {train.x.shape[1:]}")
        model = architectures.build(architecture, *train.x.shape[1:], seed=settings.seed, **parameters)
        history = training.fit(
            model,
            (norm.apply(train.x), train.y),
            None if held is None else (norm.apply(held.x), held.y),
            settings=settings,
            replicas=replicas,
            checkpoint=checkpoint,
            progress=progress,
        )
        document = {
            "kind": "windows",
            "architecture": architecture,
            "parameters": {**kind.parameters, **parameters},
            "features": {
                "set": train.features.name,
                "names": list(train.features.names),
                "units": [f.units for f in train.features.features],
                "leaking": list(train.features.leaking),
                "dark_cells": train.features.dark_cells,
            },
            "context": train.context,
            "segment_length": schema.SEGMENT_LENGTH,
            "release": release or "unknown",
            "normalisation": norm.to_dict(),
            "temperature": 1.0,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "seed": settings.seed,
            "data": _data(train, held),
            "training": history.card(),
            **(card or {}),
        }
        made = cls(model, document)
        if held is not None and len(held):
            document["temperature"] = temperature(made.logits(held.x), held.y)
        return made

    # -- inference -----------------------------------------------------------------------------------
    @property
    def name(self) -> str:
        """Name recorded with the classes."""
        return str(self.card["architecture"])

    @cached_property
    def _normalisation(self) -> Normalisation:
        return Normalisation.from_dict(self.card["normalisation"])

    def _prepared(self, x: NDArray[Any]) -> NDArray[Any]:
        return self._normalisation.apply(np.asarray(x, "f4"))

    @cached_property
    def _along(self) -> Any:
        """The model for all cells of a stretch of track at once, where its architecture allows that."""
        require("tensorflow")
        import tensorflow as tf

        kind = architectures.ARCHITECTURES[self.card["architecture"]]
        if kind.along is None:
            return None
        parameters = {**kind.parameters, **self.card["parameters"]}
        return tf.function(
            kind.along(self.model, **parameters),
            input_signature=[tf.TensorSpec((None, self.model.input_shape[-1]), tf.float32)],
        )

    def logits(self, x: NDArray[np.floating]) -> NDArray[np.float32]:
        """Logits ``(n, 3)`` of windows ``(n, steps, features)`` as they are, not normalised."""
        return self._by_blocks(x, BLOCK)

    def probabilities(self, x: NDArray[np.floating]) -> NDArray[np.float32]:
        """Calibrated class probabilities ``(n, 3)`` of windows ``(n, steps, features)``, not normalised."""
        return softmax(self.logits(x), float(self.card["temperature"]))

    def predict(self, segments: xr.Dataset, evaluated: NDArray[np.float32] | None = None) -> xr.Dataset:
        """Add ``surface_class`` and ``class_probability``.

        Parameters
        ----------
        segments : xarray.Dataset
            :data:`is2ice.schema.SEGMENTS`, whole tracks, dims ``(beam, x_atc)`` or ``(x_atc,)``. Segments without
            values all around (gaps, ends) stay unlabelled.
        evaluated : (..., 3) array, optional
            Result of :meth:`evaluate` for all cells, if computed before.

        Raises
        ------
        ModelError
            Another release of ATL03, or another length of segment, than the model was trained on.
        """
        if evaluated is None:
            values = self.features(segments)
            tracks = values if values.ndim == 3 else values[None]
            probability = np.stack([self.evaluate(track) for track in tracks])
            evaluated = probability if values.ndim == 3 else probability[0]
        else:
            self._agree(segments)
        return add_classes(
            segments,
            evaluated,
            np.isfinite(evaluated[..., 0]),
            self.name,
            checksum=self.checksum,
            features=self._feature_set.name,
        )

    def features(self, segments: xr.Dataset) -> NDArray[np.float32]:
        """Features ``(..., x_atc, feature)`` of every cell, not normalised; NaN where it has no values.

        Raises
        ------
        ModelError
            As :meth:`predict`.
        """
        self._agree(segments)
        return feats.build(segments, self._feature_set, leaking=self.card["features"]["leaking"]).values

    def evaluate(
        self, values: NDArray[np.floating], first: int = 0, stop: int | None = None
    ) -> NDArray[np.float32]:
        """Class probabilities of some cells of a track, NaN where a cell has no values all around.

        Parameters
        ----------
        values : (n, F) array
            Features of the whole track; only those of the cells and of the context about them are read.
        first, stop : int
            Cells. Batches begin at multiples of :data:`BLOCK` cells of the track, so blocks that do give the same bits
            as the whole.

        Returns
        -------
        (stop - first, 3) array
        """
        context, stop = int(self.card["context"]), len(values) if stop is None else stop
        out = np.full((stop - first, len(schema.CLASSES)), np.nan, "f4")
        for i in range(first, stop, BLOCK):
            j = min(i + BLOCK, stop)
            begin = max(0, i - context)
            near = np.asarray(values[begin : j + context])
            middle = feats.centres(near, context)
            middle = middle[(middle >= i - begin) & (middle < j - begin)]
            if middle.size:
                out[middle + begin - first] = self._about(near, middle, context)
        return out

    def _about(self, near: NDArray[Any], middle: NDArray[np.intp], context: int) -> NDArray[np.float32]:
        """Probabilities ``(m, 3)`` of some cells of a stretch of track that have values all around."""
        if self._along is None:
            return self.probabilities(feats.sequences(near, middle, context))
        x = self._prepared(near)
        # Cells without values are in no window of these; they only must not spoil the others.
        logits = self._along(np.where(np.isfinite(x), x, np.float32(0))).numpy()
        return softmax(logits[middle - context], float(self.card["temperature"]))

    @cached_property
    def _feature_set(self) -> feats.FeatureSet:
        return feats.feature_set(self.card["features"]["set"], self.card["features"]["leaking"])

    def _agree(self, segments: xr.Dataset) -> None:
        length = schema.segment_length(segments)
        release = str(segments.attrs.get("release", "unknown"))
        agree(self.card, str(segments.attrs.get("granule", "segments")), release, length, self.folder)

    # -- on disk -------------------------------------------------------------------------------------
    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Self:
        """Return a saved model, checked against this package.

        Raises
        ------
        ModelError
            As :func:`is2ice.classifiers.model_folder.load`; or its features are not those of this package.
        """
        made = super().load(folder)
        card = made.card
        try:
            if made._normalisation.features != tuple(card["features"]["names"]):
                raise ValueError(f"normalisation of {made._normalisation.features}")
            if not 0 < float(card["temperature"]) < 1e3:
                raise ValueError(f"temperature {card['temperature']}")
        except (ValueError, TypeError, KeyError) as error:
            raise ModelError(f"{folder}: {error}; the card is damaged") from error
        return made

    @staticmethod
    def _build(card: dict[str, Any]) -> Any:
        steps, names = 2 * int(card["context"]) + 1, card["features"]["names"]
        own: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in card["parameters"].items()
        }
        return architectures.build(card["architecture"], steps, len(names), **own)

    @staticmethod
    def _check(folder: str | os.PathLike[str], card: Mapping[str, Any]) -> None:
        check_card(folder, card)


def check_card(folder: str | os.PathLike[str], card: Mapping[str, Any]) -> None:
    """See that the windows of a card are such as this package makes.

    Raises
    ------
    ModelError
    """
    try:
        told, context = card["features"], int(card["context"])
        name, names, units = str(told["set"]), list(told["names"]), list(told["units"])
        _ = card["normalisation"], told["leaking"], float(card["segment_length"])
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{folder}: the card lacks {error} of its windows; it is damaged") from error
    sizes = [context, *_numbers(card["parameters"])]
    if not all(0 <= n <= _LARGEST for n in sizes):
        raise ModelError(
            f"{folder}: context or parameters {card['parameters']} beyond {_LARGEST}; the card is damaged"
        )
    try:
        here = feats.feature_set(name, told["leaking"])
    except ValueError as error:
        raise ModelError(f"{folder}: {error}") from error
    mine = [f.units for f in here.features]
    if list(here.names) != names or mine != units:
        raise ModelError(
            f"{folder}: trained on features {', '.join(names)}; the set {name!r} of this is2ice has "
            f"{', '.join(here.names)}. Train it again"
        )


def _numbers(value: Any) -> Iterable[float]:
    """All numbers in a JSON value."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    if isinstance(value, int | float):
        yield value
    for part in inner:
        yield from _numbers(part)


def _samples(data: Any, features: str, context: int, leaking: Iterable[str]) -> Samples:
    return data if isinstance(data, Samples) else from_tracks(data, features, context, leaking=leaking)


def one_of(attributes: Iterable[Mapping[Any, Any]], name: str, given: str | None = None) -> str | None:
    """Return the one value of an attribute in all tracks.

    Parameters
    ----------
    attributes : iterable of mapping
        Attributes of each track.
    name : str
    given : str, optional
        Value that is asked for.

    Raises
    ------
    ModelError
        They have several.
    """
    found: dict[str, list[str]] = {}
    for one in attributes:
        found.setdefault(str(one.get(name) or "unknown"), []).append(str(one.get("granule", "?")))
    if given is not None:
        found.setdefault(given, ["asked for"])
    known = {k: v for k, v in found.items() if k != "unknown"}
    if len(known) > 1:
        text = "; ".join(f"{k}: {', '.join(v[:3])}" for k, v in known.items())
        raise ModelError(f"tracks of several values of {name} cannot train one model: {text}")
    return next(iter(known), None)


def _data(train: Samples, held: Samples | None) -> dict[str, Any]:
    document: dict[str, Any] = {}
    for name, part in (("train", train), ("validation", held)):
        if part is not None:
            used = np.unique(part.track)
            document[name] = {
                "samples": len(part),
                "tracks": [part.tracks[k] for k in used],
                "scenes": sorted({part.scenes[k] for k in used}),
                "shares": {k: round(v["share"], 6) for k, v in part.balance().items()},
            }
    return document


def loaded(folder: str | os.PathLike[str], checksum: str = "") -> Neural:
    """Load a saved model, once in each process (:func:`is2ice.classifiers.trained_model.loaded`)."""
    return trained_model.loaded(Neural, folder, checksum)


@lru_cache(maxsize=2)
def packaged(name: str) -> Neural:
    """Load a network that comes with the package.

    Parameters
    ----------
    name : str
        One of :data:`is2ice.classifiers.registry.NETWORKS`.
    """
    with model_folder.packaged("networks", name) as folder:
        return Neural.load(folder)

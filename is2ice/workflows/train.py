"""Labelled stores to a trained model, as a configuration file says: where stores and classifiers meet.

A configuration is a TOML file; all but ``labelled`` and ``model`` may be left out::

    labelled = ["labelled.zarr"]      # stores of labelled tracks
    model = "models/ross"             # folder to write
    architecture = "default"          # or lstm, mlp, lstm_notebook, bidirectional
    seed = 0

    [data]                            # windows and how they are split
    features = "default"              # or paper, notebook
    leaking = []                      # features made from labels that are asked for all the same, by name
    context = 8
    normalisation = "z"               # or published
    split = "scene"                   # or track, block, random_windows
    test = 0.2
    validation = 0.2
    block = 10000.0                   # m; with split = "block", and so is guard: the gap where two parts meet
    guard = 1000.0

    [training]                        # arguments of is2ice.classifiers.training.fit
    epochs = 20
    class_weights = "balanced"

    [parameters]                      # of the architecture
    dropout = 0.1

Paths are relative to the file.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from is2ice import schema
from is2ice.classifiers import model_folder, training
from is2ice.classifiers.architectures import ARCHITECTURES
from is2ice.classifiers.splits import check_split
from is2ice.errors import ModelError
from is2ice.science.features import LeakError, feature_set

__all__ = ["Config", "launch", "may_write", "read_config", "train"]

log = logging.getLogger("is2ice")

_VALIDATION = 0.2
_DATA = {
    "features": str, "context": int, "leaking": list, "normalisation": str, "split": str, "test": float,
    "validation": float, "block": float, "guard": float,
}  # fmt: skip
_TRAINING = {
    "loss": str, "class_weights": (str, list), "gamma": float, "epochs": int, "batch": int,
    "learning_rate": float, "patience": int,
}  # fmt: skip


@dataclass(frozen=True)
class Config:
    """What a training is made of; see the module.

    Attributes
    ----------
    labelled : tuple of str
    model : Path
    architecture : str
    seed : int
    data, training, parameters : mapping
    """

    labelled: tuple[str, ...]
    model: Path
    architecture: str = "default"
    seed: int = 0
    data: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def checkpoint(self) -> Path:
        """Where an unfinished training is kept."""
        return self.model.with_name(f".{self.model.name}.checkpoint.npz")


def read_config(path: str | os.PathLike[str]) -> Config:
    """Read and check a configuration.

    Raises
    ------
    ValueError
        Not TOML, a name that is not known, or a value of another type.
    FileNotFoundError
    """
    path = Path(path)
    try:
        told = tomllib.loads(path.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not a TOML file: {error}") from error
    missing = [k for k in ("labelled", "model") if k not in told]
    if missing:
        raise ValueError(f"{path}: {', '.join(missing)} missing; see `is2ice train --help`")
    known = {
        "labelled": (str, list), "model": str, "architecture": str, "seed": int, "data": dict,
        "training": dict, "parameters": dict,
    }  # fmt: skip
    _check(told, known, f"{path}")
    _check(told.get("data", {}), _DATA, f"{path}: [data]")
    _check(told.get("training", {}), _TRAINING, f"{path}: [training]")
    name = told.get("architecture", "default")
    if name not in ARCHITECTURES:
        raise ValueError(f"{path}: architecture {name!r}: expected one of {', '.join(ARCHITECTURES)}")
    _check(
        told.get("parameters", {}),
        {k: list if isinstance(v, tuple) else type(v) for k, v in ARCHITECTURES[name].parameters.items()},
        f"{path}: [parameters]",
    )
    try:
        _check_values(told.get("data", {}), told.get("training", {}))
    except (ValueError, LeakError) as error:
        raise ValueError(f"{path}: {error}") from error
    labelled = [told["labelled"]] if isinstance(told["labelled"], str) else told["labelled"]
    here = path.parent
    stores = tuple(s if "://" in s else str(here / s) for s in map(str, labelled))
    return Config(
        stores, here / told["model"], **{f.name: told[f.name] for f in fields(Config)[2:] if f.name in told}
    )


def _check_values(data: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    """What training would refuse once hours of work are done, refused at once."""
    training.check_settings(len(schema.CLASSES), **settings)
    sizes = {k: data[k] for k in ("test", "block", "guard") if k in data}
    check_split(data.get("split", "scene"), validation=data.get("validation", _VALIDATION), **sizes)
    if "features" in data:
        feature_set(data["features"], data.get("leaking", ()))
    if data.get("context", 0) < 0:
        raise ValueError(f"context = {data['context']}: expected 0 or more cells")
    if data.get("normalisation", "z") not in ("z", "published"):
        raise ValueError(f"normalisation = {data['normalisation']!r}: expected 'z' or 'published'")


def _check(told: Mapping[str, Any], known: Mapping[str, Any], where: str) -> None:
    unknown = sorted(set(told) - set(known))
    if unknown:
        raise ValueError(f"{where}: unknown {', '.join(unknown)}; expected some of {', '.join(known)}")
    for name, value in told.items():
        kinds = (int, float) if known[name] is float else known[name]
        if not isinstance(value, kinds) or (isinstance(value, bool) and kinds is not object):
            kinds = kinds if isinstance(kinds, tuple) else (kinds,)
            raise ValueError(
                f"{where}: {name} = {value!r}: expected {' or '.join(k.__name__ for k in kinds)}"
            )


def train(
    config: Config,
    *,
    overwrite: bool = False,
    progress: Callable[[dict[str, float]], None] | None = None,
    say: Callable[[str], None] = log.info,
) -> dict[str, Any]:
    """Train a model as configured, score it on the tracks kept out, and save it.

    Under ``horovodrun`` every replica calls this, and the root writes. An unfinished training goes on from its
    checkpoint, which lies hidden beside the model.

    Parameters
    ----------
    config : Config
    overwrite : bool
        Replace a model that is there.
    progress : callable, optional
        Given the row of each epoch, in the root.
    say : callable, optional
        Given lines of text, in the root.

    Returns
    -------
    dict
        The model's card.

    Raises
    ------
    ModelError, StoreError, ValueError
        As :meth:`is2ice.classifiers.neural.Neural.fit`, :func:`is2ice.workflows.training_data.labelled_tracks` and
        :func:`is2ice.classifiers.splits.split`.
    """
    from is2ice.classifiers import tensorflow_logging
    from is2ice.classifiers.neural import Neural, one_of
    from is2ice.classifiers.replicas import launched
    from is2ice.classifiers.samples import from_tracks
    from is2ice.classifiers.scores import score_classes
    from is2ice.classifiers.splits import split

    from .training_data import labelled_tracks

    may_write(config, overwrite)
    training.one_thread()
    replicas = launched()
    tensorflow_logging.start()
    if not replicas.is_root:
        say = log.debug
    kind, data = ARCHITECTURES[config.architecture], dict(config.data)
    tracks = labelled_tracks(config.labelled)
    release = one_of(tracks, "release")
    features, context = data.pop("features", kind.features), data.pop("context", None)
    if context is None:
        context = kind.context if features == kind.features else None
    leaking, form = data.pop("leaking", ()), data.pop("normalisation", "z")
    samples = from_tracks(tracks, features, context, leaking=leaking)
    by = data.pop("split", "scene")
    parts = split(samples, by, seed=config.seed, **{"validation": _VALIDATION, **data})
    say(parts.report())
    model = Neural.fit(
        parts.train, parts.validation if len(parts.validation) else None, config.architecture,
        parameters=_tuples(config.parameters), normalisation=form, release=release, seed=config.seed,
        replicas=replicas, checkpoint=config.checkpoint, progress=progress, **_tuples(config.training),
        card={"split": {"by": by, "seed": config.seed, "dropped": parts.dropped, **data}},
    )  # fmt: skip
    if replicas.is_root:
        held = parts.test.compute()
        used = sorted({held.tracks[k] for k in held.track})
        model.card["data"]["test"] = {"samples": len(held), "tracks": used}
        model.card["scores"] = {"test": score_classes(held.y, model.probabilities(held.x)).to_dict()}
        model.card["replicas"] = replicas.size
        config.model.parent.mkdir(parents=True, exist_ok=True)
        model.save(config.model, overwrite=overwrite)
        config.checkpoint.unlink(missing_ok=True)
    return model.card


def may_write(config: Config, overwrite: bool) -> None:
    """Refuse a model that is there before hours of work, not after."""
    if config.model.exists() and not (overwrite and model_folder.is_model(config.model)):
        raise ModelError(
            f"{config.model}: exists; pass --overwrite to replace a model, or name another folder"
        )
    config.model.parent.mkdir(parents=True, exist_ok=True)


def _tuples(told: Mapping[str, Any]) -> dict[str, Any]:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in told.items()}


# -- many replicas ------------------------------------------------------------------------------------
def launch(config: str | os.PathLike[str], replicas: int, arguments: list[str]) -> None:
    """Run ``is2ice train`` in so many processes on this machine; the root's words are passed on.

    Raises
    ------
    ImportError
        Horovod is not installed.
    ModelError
        The training failed; what it said.
    """
    program = Path(sys.executable).with_name("horovodrun")
    if not program.exists():
        raise ImportError(
            f"no horovodrun beside {sys.executable}: Horovod is built from source, see `make env`"
        )
    command = [
        str(program), "-np", str(replicas), "-H", f"localhost:{replicas}", sys.executable, "-m", "is2ice", "train",
        os.fspath(config), *arguments,
    ]  # fmt: skip
    env = {"TF_CPP_MIN_LOG_LEVEL": "2", "OMP_NUM_THREADS": "1", **os.environ}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env) as run:
        assert run.stdout is not None
        assert run.stderr is not None
        from threading import Thread

        errors: list[str] = []
        reader = Thread(target=lambda: errors.extend(run.stderr or ()), daemon=True)
        reader.start()
        for line in _words_of_root(run.stdout):
            print(line, flush=True)  # noqa: T201  the root's own output, as it is
        reader.join()
    if run.returncode:
        told = [line.split("is2ice: error:", 1)[1].strip() for line in errors if "is2ice: error:" in line]
        log.debug("%s", "".join(errors))
        raise ModelError(
            f"training in {replicas} replicas failed: {told[0] if told else ''.join(errors[-3:]).strip()}. What was "
            "done is kept: the same command goes on from there"
        )


def _words_of_root(lines: Iterator[str] | Any) -> Iterator[str]:
    for line in lines:
        rank, found, text = line.rstrip("\n").partition("<stdout>:")
        if not found:
            yield rank
        elif rank.endswith("[0]"):
            yield text

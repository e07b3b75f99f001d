"""Configuration of a training: a TOML file, read and checked.

All but ``labelled`` and ``model`` may be left out::

    labelled = ["labelled.zarr"]      # stores of labelled tracks
    model = "models/ross"             # folder to write
    architecture = "default"          # or lstm, mlp, lstm_notebook, bidirectional
    seed = 0

    [data]                            # windows and how they are split
    features = "default"              # or paper, notebook
    leaking = []                      # names of features made from labels, if wanted nevertheless
    context = 8
    normalisation = "z"               # or published
    split = "auto"                    # or scene, track, block, random_windows
    test = 0.2
    validation = 0.2
    block = 10000.0                   # m, with split = "block" only; guard is the gap where two parts meet
    guard = 1000.0

    [training]                        # fields of is2ice.classifiers.training.Settings
    epochs = 20
    class_weights = "balanced"

    [parameters]                      # parameters of the architecture
    dropout = 0.1

Paths are relative to the file.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from is2ice import schema
from is2ice.classifiers import training
from is2ice.classifiers.architectures import ARCHITECTURES
from is2ice.classifiers.splits import check_split
from is2ice.errors import DocumentError
from is2ice.io.documents import read_toml
from is2ice.io.remote.location import is_url
from is2ice.io.remote.whole_files import address
from is2ice.science.features import LeakError, feature_set

__all__ = ["VALIDATION", "Config", "read_config"]

#: Share of the labelled data by which the epoch is chosen, unless the configuration names another.
VALIDATION = 0.2


_DATA = {
    "features": str,
    "context": int,
    "leaking": list,
    "normalisation": str,
    "split": str,
    "test": float,
    "validation": float,
    "block": float,
    "guard": float,
}


_TRAINING = {
    "loss": str,
    "class_weights": (str, list),
    "gamma": float,
    "epochs": int,
    "batch": int,
    "learning_rate": float,
    "patience": int,
}


@dataclass(frozen=True)
class Config:
    """Configuration of a training; see the module.

    Attributes
    ----------
    labelled : tuple of str
    model : Path or str
        Folder, or address in a bucket.
    architecture : str
    seed : int
    data, training, parameters : mapping
    """

    labelled: tuple[str, ...]
    model: Path | str
    architecture: str = "default"
    seed: int = 0
    data: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def checkpoint(self) -> Path | str:
        """File of an unfinished training, hidden beside the model."""
        above, _, name = str(self.model).rpartition("/")
        return address(f"{above}/.{name}.checkpoint.npz" if above else f".{name}.checkpoint.npz")


def read_config(path: str | os.PathLike[str]) -> Config:
    """Read and check a configuration.

    Raises
    ------
    DocumentError
        Not TOML, a name that is not known, or a value of another type.
    FileNotFoundError
    """
    path = Path(path)
    document = read_toml(path, error=DocumentError)
    missing = [k for k in ("labelled", "model") if k not in document]
    if missing:
        raise DocumentError(f"{path}: {', '.join(missing)} missing; see `is2ice train --help`")
    known = {
        "labelled": (str, list),
        "model": str,
        "architecture": str,
        "seed": int,
        "data": dict,
        "training": dict,
        "parameters": dict,
    }
    _check(document, known, f"{path}")
    _check(document.get("data", {}), _DATA, f"{path}: [data]")
    _check(document.get("training", {}), _TRAINING, f"{path}: [training]")
    name = document.get("architecture", "default")
    if name not in ARCHITECTURES:
        raise DocumentError(f"{path}: architecture {name!r}: expected one of {', '.join(ARCHITECTURES)}")
    _check(
        document.get("parameters", {}),
        {k: list if isinstance(v, tuple) else type(v) for k, v in ARCHITECTURES[name].parameters.items()},
        f"{path}: [parameters]",
    )
    try:
        _check_values(document.get("data", {}), document.get("training", {}))
    except (ValueError, LeakError) as error:
        raise DocumentError(f"{path}: {error}") from error
    labelled = [document["labelled"]] if isinstance(document["labelled"], str) else document["labelled"]
    here = path.parent
    stores = tuple(s if is_url(s) else str(here / s) for s in map(str, labelled))
    return Config(
        stores,
        document["model"] if is_url(document["model"]) else here / document["model"],
        **{f.name: document[f.name] for f in fields(Config)[2:] if f.name in document},
    )


def _check_values(data: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    """Refuse at once the values that training would refuse after hours of work."""
    training.Settings(**settings).check(len(schema.CLASSES))
    sizes = {k: data[k] for k in ("test", "block", "guard") if k in data}
    check_split(data.get("split", "auto"), validation=data.get("validation", VALIDATION), **sizes)
    if "features" in data:
        feature_set(data["features"], data.get("leaking", ()))
    if data.get("context", 0) < 0:
        raise DocumentError(f"context = {data['context']}: expected 0 or more cells")
    if data.get("normalisation", "z") not in ("z", "published"):
        raise DocumentError(f"normalisation = {data['normalisation']!r}: expected 'z' or 'published'")


def _check(document: Mapping[str, Any], known: Mapping[str, Any], where: str) -> None:
    unknown = sorted(set(document) - set(known))
    if unknown:
        raise DocumentError(f"{where}: unknown {', '.join(unknown)}; expected some of {', '.join(known)}")
    for name, value in document.items():
        kinds = (int, float) if known[name] is float else known[name]
        if not isinstance(value, kinds) or (isinstance(value, bool) and kinds is not object):
            kinds = kinds if isinstance(kinds, tuple) else (kinds,)
            raise DocumentError(
                f"{where}: {name} = {value!r}: expected {' or '.join(k.__name__ for k in kinds)}"
            )

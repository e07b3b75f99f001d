"""A trained model on disk: a folder with a card (JSON) and weights (``.npz``), nothing executable in either.

The card says what the model is, what it was trained on and how well it does, and all that a user's data must
agree with: features and their normalisation, class codes, ATL03 release. The architecture is built by this
package from its name; only numbers are read. The model's checksum is the card's, which holds that of the weights.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from is2ice import schema
from is2ice.classifiers.weights_file import read_arrays, write_arrays
from is2ice.errors import ModelError, StoreError
from is2ice.io.documents import parse_json
from is2ice.io.remote.location import FolderLocation, location
from is2ice.io.remote.whole_files import exists, written_folder
from is2ice.version import __version__

__all__ = [
    "CARD",
    "ModelError",
    "checksum",
    "describe",
    "is_model",
    "load",
    "objects",
    "packaged",
    "packed_weights",
    "read_card",
    "save",
]

CARD, WEIGHTS = "card.json", "weights.npz"
FORMAT = 1
#: Class codes as the card tells them.
CLASSES = {name: code for code, name in enumerate(schema.CLASSES)}
_NEEDED = ("format", "kind", "architecture", "parameters", "classes", "is2ice", "weights")
_LARGEST_CARD = 2**24


@contextmanager
def packaged(*names: str) -> Iterator[Path]:
    """Give the folder of a model that comes with the package; a copy of it where the package is a zip file."""
    home = files(__package__).joinpath(*names)
    if isinstance(home, Path):
        yield home
        return
    with TemporaryDirectory(prefix="is2ice-") as folder:
        for file in home.iterdir():
            Path(folder, file.name).write_bytes(file.read_bytes())
        yield Path(folder)


def save(
    folder: str | os.PathLike[str], model: Any, card: Mapping[str, Any], *, overwrite: bool = False
) -> str:
    """Write a model, whole or not at all.

    Parameters
    ----------
    folder : path or address
        Made; the folder above it must exist.
    model : keras.Model
    card : mapping
        ``kind`` ("windows", "tiles" or "atl07"), ``architecture``, ``parameters`` and whatever else is known, as
        JSON can hold it. Format, class codes, version and checksums are added here.
    overwrite : bool
        Replace a model that is there.

    Returns
    -------
    str
        Checksum of the model.

    Raises
    ------
    ModelError
        Something is there already, or the weights are not finite.
    """
    if exists(folder) and not (overwrite and is_model(folder)):
        what = "a model is there; pass overwrite=True to replace it" if is_model(folder) else "it exists"
        raise ModelError(f"{folder}: {what}, or name another folder")
    weights = [w.numpy() for w in model.weights]
    if not all(np.isfinite(w).all() for w in weights):
        raise ModelError(f"{folder}: not saved: some weights are not finite; the training has failed")
    try:
        with written_folder(folder, CARD) as part:
            _write(part, weights, card)
    except StoreError as error:
        raise ModelError(str(error)) from error
    return checksum(folder)


def _write(folder: Path, weights: Sequence[NDArray[Any]], card: Mapping[str, Any]) -> None:
    write_arrays(folder / WEIGHTS, {"weight": weights}, {"is2ice": __version__})
    packed = (folder / WEIGHTS).read_bytes()
    held = {
        "sha256": hashlib.sha256(packed).hexdigest(),
        "bytes": len(packed),
        "parameters": int(sum(w.size for w in weights)),
    }
    document = {"format": FORMAT, **card, "classes": CLASSES, "is2ice": __version__, "weights": held}
    (folder / CARD).write_text(json.dumps(document, indent=1, default=_plain, allow_nan=True))


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    return dict(value) if isinstance(value, Mapping) else str(value)


def is_model(folder: str | os.PathLike[str]) -> bool:
    """Return True for a folder or an address that holds a saved model."""
    try:
        return _read(folder, CARD) is not None
    except (ModelError, StoreError):
        return False


def checksum(folder: str | os.PathLike[str]) -> str:
    """Compute the checksum of a model, 32 hexadecimal digits, from its card."""
    raw = _read(folder, CARD)
    if raw is None:
        raise _absent(folder)
    return hashlib.sha256(raw).hexdigest()[:32]


def objects(folder: str | os.PathLike[str]) -> dict[str, bytes]:
    """Read the files of a model, by name."""
    card = read_card(folder)
    return {CARD: _read(folder, CARD) or b"", WEIGHTS: packed_weights(folder, card)}


def _read(folder: str | os.PathLike[str], name: str) -> bytes | None:
    """Read a file of a model from its folder or bucket; None if it is not there."""
    where = location(folder)
    if name == CARD and isinstance(where, FolderLocation):
        path = where.folder / name
        if path.is_file() and path.stat().st_size > _LARGEST_CARD:
            raise ModelError(f"{path}: {path.stat().st_size:,} bytes, expected at most {_LARGEST_CARD:,}")
    held = where.read(name)
    return None if held is None else held[0]


def read_card(folder: str | os.PathLike[str], kind: str | None = None) -> dict[str, Any]:
    """Return the card of a model, checked against this package.

    Parameters
    ----------
    folder : path
    kind : {"windows", "tiles", "atl07"}, optional
        Expected kind of model.

    Raises
    ------
    ModelError
        No model, a damaged card, another format, other class codes, another version of the package.
    """
    path, raw = _path(folder, CARD), _read(folder, CARD)
    if raw is None:
        raise _absent(folder, kind)
    card = parse_json(raw, path, error=ModelError, nan=True)
    missing = [k for k in _NEEDED if not isinstance(card, dict) or k not in card]
    if missing:
        raise ModelError(f"{path}: not the card of a model: {', '.join(missing)} missing")
    if card["format"] != FORMAT:
        raise ModelError(f"{path}: format {card['format']!r}, this is2ice {__version__} reads {FORMAT}")
    if card["classes"] != CLASSES:
        raise ModelError(
            f"{path}: class codes {card['classes']}, expected {CLASSES}. A model with other codes would name ice "
            "water: train it again"
        )
    if _minor(card["is2ice"]) != _minor(__version__):
        raise ModelError(
            f"{path}: trained with is2ice {card['is2ice']}, this is {__version__}, whose features may differ; train "
            f"it again, or install is2ice {card['is2ice']}"
        )
    if kind is not None and card["kind"] != kind:
        raise ModelError(f"{path}: a model of {card['kind']}, expected one of {kind}")
    return card


def _path(folder: str | os.PathLike[str], name: str) -> str:
    """Name a file of a model for messages."""
    return f"{location(folder).name}/{name}"


def _absent(folder: str | os.PathLike[str], kind: str | None = None) -> ModelError:
    maker = {"windows": "`is2ice train`", "tiles": "`is2ice unet train`"}.get(
        str(kind), "`is2ice train` or `is2ice unet train`"
    )
    return ModelError(f"{folder}: no model there (no {CARD}); expected a folder made by {maker}")


def _minor(version: Any) -> list[str]:
    return str(version).split(".")[:2]


def load(
    folder: str | os.PathLike[str], build: Callable[[dict[str, Any]], Any], *, kind: str | None = None
) -> tuple[Any, dict[str, Any]]:
    """Return a model and its card.

    Parameters
    ----------
    folder : path
    build : callable
        Makes the untrained model from the card.
    kind : {"windows", "tiles", "atl07"}, optional

    Raises
    ------
    ModelError
        As :func:`read_card`; weights missing, truncated, damaged, with Python objects, or of other shapes.
    """
    card = read_card(folder, kind)
    path = _path(folder, WEIGHTS)
    groups, _ = read_arrays(io.BytesIO(packed_weights(folder, card)), name=path)
    try:
        model = build(card)
    except (ValueError, TypeError, KeyError) as error:
        raise ModelError(f"{folder}: {card['architecture']!r} cannot be built here: {error}") from error
    _set_weights(model, groups.get("weight", []), path)
    return model, card


def packed_weights(folder: str | os.PathLike[str], card: Mapping[str, Any]) -> bytes:
    """Name the file of weights that a card describes, without reading it.

    Raises
    ------
    ModelError
        It is missing, truncated or of another model.
    """
    path, told = _path(folder, WEIGHTS), card["weights"]
    if not isinstance(told, dict) or not isinstance(told.get("bytes"), int):
        raise ModelError(f"{_path(folder, CARD)}: weights: expected their size and checksum, got {told!r}")
    packed = _read(folder, WEIGHTS)
    if packed is None:
        raise ModelError(f"{folder}: its {WEIGHTS} is missing; copy the whole folder")
    if len(packed) != told["bytes"]:
        raise ModelError(
            f"{path}: {len(packed):,} bytes, the card says {told['bytes']:,}: truncated, or of another "
            "model; copy the folder again"
        )
    if hashlib.sha256(packed).hexdigest() != told.get("sha256"):
        raise ModelError(f"{path}: not the weights of this card (checksum); copy the folder again")
    return packed


def _set_weights(model: Any, weights: list[Any], path: str) -> None:
    have, want = [tuple(w.shape) for w in weights], [tuple(v.shape) for v in model.weights]
    if have != want:
        raise ModelError(f"{path}: weights of shapes {have}, expected {want} for this architecture")
    for v, w in zip(model.weights, weights, strict=True):
        if w.dtype.kind not in "fiu" or not np.isfinite(w).all():
            raise ModelError(f"{path}: weights of type {w.dtype} or not finite; the file is damaged")
        v.assign(w)


def describe(folder: str | os.PathLike[str]) -> list[str]:
    """Describe a model on one screen, and say if the weights are not there as the card says."""
    card = read_card(folder)
    size = card["weights"].get("parameters") if isinstance(card["weights"], dict) else None
    lines = [
        f"model {Path(folder).name}: {card['architecture']} of {card['kind']}, {_short(size)} parameters, checksum "
        f"{checksum(folder)}"
    ]
    for key, value in card.items():
        if key in ("data", "scores") and isinstance(value, dict):
            for part, numbers in value.items():
                lines.append(f"{key + ' ' + part:16} {_flat(numbers)}")
                lines += _class_rows(numbers)
        elif key not in _NOT_SHOWN:
            lines.append(f"{key:16} {_flat(value)}")
    try:
        packed_weights(folder, card)
    except ModelError as error:
        lines.append(f"NOT USABLE: {error}")
    return [line if len(line) < _LONGEST_LINE else f"{line[: _LONGEST_LINE - 5]} ..." for line in lines]


#: Characters of a line of the description; the card itself holds everything.
_LONGEST_LINE = 240


#: Parts of a card that only programs read, by whatever level.
_NOT_SHOWN = {
    *("classes", "kind", "architecture", "format", "normalisation", "weights"),
    *("matrix", "reliability", "leaking", "classes"),
}


def _flat(value: Any) -> str:
    """Write a value on one line; of lists longer than six the first names."""
    if not isinstance(value, dict):
        if isinstance(value, list) and len(value) > 6:
            return f"{', '.join(map(_short, value[:6]))} ... ({len(value)})"
        return ", ".join(map(_short, value)) if isinstance(value, list) else _short(value)
    parts = []
    for key, inner in value.items():
        if key in ("tracks", "scenes") and isinstance(inner, list):
            shown = f"{', '.join(map(str, inner[:3]))}{' ...' if len(inner) > 3 else ''}"
            parts.append(f"{len(inner)} {key} ({shown})")
        elif key == "history":
            parts.append(f"history {_history(inner)}")
        elif key == "shares" and isinstance(inner, dict):
            parts += [f"{name} {100 * share:.1f} %" for name, share in inner.items()]
        elif key not in _NOT_SHOWN and not (key == "units" and isinstance(inner, list)):
            parts.append(f"{key} {_flat(inner)}")
    return ", ".join(parts)


def _class_rows(score: Any) -> list[str]:
    """Write a row per class from the score of a part, if it holds any."""
    classes = score.get("classes") if isinstance(score, dict) else None
    if not isinstance(classes, dict):
        return []
    columns = ("support", "precision", "recall", "f1")
    rows = [f"{'':16} {'':12}" + "".join(f"{c:>11}" for c in columns)]
    for name, numbers in classes.items():
        held = numbers if isinstance(numbers, dict) else {}
        rows.append(f"{'':16} {name:12}" + "".join(f"{_short(held.get(c)):>11}" for c in columns))
    return rows


def _history(value: Any) -> str:
    known = value if isinstance(value, dict) else {}
    rows, best = known.get("epochs"), known.get("best")
    if not isinstance(rows, list) or not rows:
        return "none"
    if isinstance(best, int) and 0 <= best < len(rows) and isinstance(rows[best], dict):
        shown = ", ".join(f"{k} {_short(v)}" for k, v in rows[best].items())
        return f"{len(rows)} epochs, best {best + 1}: {shown}"
    return f"{len(rows)} epochs, best {best!r}: no such epoch; the card was edited"


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.5g}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_short, value)) + "]"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)

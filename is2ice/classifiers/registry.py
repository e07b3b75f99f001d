"""Classifiers by name: the tree that needs no training, or the folder of a trained one."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from is2ice.classifiers.base import Classifier
from is2ice.engines import shared
from is2ice.io.remote.location import SHARED

__all__ = ["NETWORKS", "SHIPPED", "ModelReference", "by_name", "fingerprint", "to_share", "usable"]

#: Largest model that travels with a job, bytes; workers read a larger one at its address.
LARGEST_SHARED = 16 * 2**20

#: Classifiers that come with the package, by name; its version tells which they are.
NETWORKS = ("paper_lstm", "paper_mlp")
#: The default model may keep a track outside of what it was trained on, with or without even probabilities.
OUTSIDE: dict[str, Literal["temper", "keep"]] = {"default:temper": "temper", "default:keep": "keep"}
SHIPPED = ("default", "radiometric", *OUTSIDE, *NETWORKS)
#: What messages say of names.
_EXPECTED = f"expected {', '.join(map(repr, SHIPPED))}, or a folder made by `is2ice train`"


def by_name(name: str, checksum: str = "") -> Classifier:
    """Return the classifier of a name, or the saved model of a folder or address.

    Parameters
    ----------
    name : str
    checksum : str
        Checksum of a saved model, by which a worker finds a model that came with its job.

    Raises
    ------
    ValueError
        For a name that is not known and no folder of a model.
    ModelError
        The model cannot be used here (:mod:`is2ice.classifiers.model_folder`).
    """
    if name == "radiometric":
        from is2ice.classifiers.radiometric import Radiometric

        return Radiometric()
    if name == "default" or name in OUTSIDE:
        from is2ice.classifiers.boosted import shipped

        return replace(shipped(), outside=OUTSIDE[name]) if name in OUTSIDE else shipped()
    if name in NETWORKS:
        from is2ice.classifiers.neural import packaged

        return packaged(name)
    from is2ice.classifiers.model_folder import CARD, is_model

    if (checksum and shared(f"{SHARED}{checksum}/{CARD}")) or is_model(name):
        from is2ice.classifiers.neural import loaded

        return loaded(name, checksum)
    raise ValueError(f"classifier {name!r}: {_EXPECTED}")


def usable(name: str) -> dict[str, Any]:
    """Return the card of a trained model, once card and weights are seen to be whole and of this package.

    The model itself is not loaded, and no deep-learning library imported. Empty for the classifiers that come with
    the package.

    Raises
    ------
    ValueError, ModelError
        As :func:`by_name`.
    """
    from is2ice.classifiers.model_folder import is_model, packed_weights, read_card

    if name in SHIPPED:
        return {}
    if not is_model(name):
        raise ValueError(f"classifier {name!r}: {_EXPECTED}")
    from is2ice.classifiers.neural import check_card

    card = read_card(name, "windows")
    check_card(name, card)
    packed_weights(name, card)
    return card


@dataclass(frozen=True)
class ModelReference:
    """A trained model that is named by its content, for tasks: workers have it from their job, or read it.

    Attributes
    ----------
    folder : str
        Folder or address.
    checksum : str
    """

    folder: str = field(compare=False)
    checksum: str

    @classmethod
    def of(cls, model: Any) -> ModelReference | None:
        """Refer to a saved model, given as such or by its folder; None for one that is not saved."""
        from is2ice.classifiers.model_folder import checksum, is_model

        if isinstance(model, str | os.PathLike):
            return cls(os.fspath(model), checksum(model))
        folder = str(getattr(model, "folder", ""))
        if not (folder and is_model(folder) and checksum(folder) == model.checksum):
            return None
        return cls(folder, model.checksum)

    def __str__(self) -> str:
        return f"model {self.checksum}"

    def share(self) -> dict[str, bytes]:
        """Read the model for the workers of a job (:func:`to_share`)."""
        return to_share(self.folder, self.checksum)

    def open(self) -> Any:
        """Load a model of tiles, once in each process."""
        from is2ice.classifiers.trained_model import loaded
        from is2ice.classifiers.unet import UNet

        return loaded(UNet, self.folder, self.checksum)


def to_share(name: str, checksum: str) -> dict[str, bytes]:
    """Read a trained model for the workers of a job; empty for a large one, which they read at its address.

    Parameters
    ----------
    name : str
        Folder or address.
    checksum : str
        Checksum of the model; empty if nothing was trained.
    """
    from is2ice.classifiers.model_folder import objects

    files = objects(name) if checksum else {}
    if sum(map(len, files.values())) > LARGEST_SHARED:
        return {}
    return {f"{SHARED}{checksum}/{file}": data for file, data in files.items()}


def fingerprint(name: str) -> str:
    """Return the checksum that tells a trained model from any other; empty for the classifiers of the package.

    Raises
    ------
    ValueError, ModelError
        As :func:`usable`.
    """
    from is2ice.classifiers.model_folder import checksum

    return checksum(name) if usable(name) else ""

"""Classifiers by name: the tree that needs no training, or the folder of a trained one."""

from __future__ import annotations

from typing import Any

from is2ice.classifiers.base import Classifier

__all__ = ["SHIPPED", "by_name", "fingerprint", "usable"]

#: Classifiers that come with the package, by name; its version tells which they are.
SHIPPED = ("default", "radiometric")


def by_name(name: str) -> Classifier:
    """The classifier of a name, or the saved model in a folder.

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
    if name == "default":
        from is2ice.classifiers.boosted import shipped

        return shipped()
    from is2ice.classifiers.model_folder import is_model

    if is_model(name):
        from is2ice.classifiers.neural import loaded

        return loaded(name)
    raise ValueError(
        f"classifier {name!r}: expected 'default', 'radiometric', or a folder made by `is2ice train`"
    )


def usable(name: str) -> dict[str, Any]:
    """The card of a trained model, once card and weights are seen to be whole and of this package.

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
        raise ValueError(
            f"classifier {name!r}: expected 'default', 'radiometric', or a folder made by `is2ice train`"
        )
    from is2ice.classifiers.neural import check_card

    card = read_card(name, "windows")
    check_card(name, card)
    packed_weights(name, card)
    return card


def fingerprint(name: str) -> str:
    """What tells a trained model from any other; empty for the classifiers that come with the package.

    Raises
    ------
    ValueError, ModelError
        As :func:`usable`.
    """
    from is2ice.classifiers.model_folder import checksum

    return checksum(name) if usable(name) else ""

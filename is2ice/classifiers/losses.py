r"""Losses of class labels against logits, with class weights; unlabelled samples weigh nothing.

Focal loss of a sample of class :math:`c`, to which the model gives the probability :math:`p_c`:
:math:`-\alpha_c (1 - p_c)^\gamma \ln p_c`. With :math:`\gamma = 0` it is the cross entropy.

References
----------
Lin et al. (2017), Focal loss for dense object detection, equation 5.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from is2ice.errors import require

__all__ = ["ALPHA", "balanced", "balanced_by_counts", "focal", "label_counts"]

#: Class weights of the published notebook: thick ice, thin ice, open water.
ALPHA = (0.05, 0.45, 0.60)


def focal(class_weights: Sequence[float] | None = None, gamma: float = 2.0) -> Callable[[Any, Any], Any]:
    """Focal loss of each sample.

    Parameters
    ----------
    class_weights : sequence of float, optional
        One a class; all 1 by default.
    gamma : float
        How much less a sample counts that is classified well; 0 for the cross entropy.

    Returns
    -------
    callable
        ``(labels (...), logits (..., class)) -> losses (...)``; labels below 0 give 0.
    """
    weights = None if class_weights is None else np.asarray(class_weights, "f4")
    if weights is not None and (weights.ndim != 1 or not np.all(weights >= 0) or not weights.any()):
        raise ValueError(f"class_weights={class_weights!r}: expected one number >= 0 a class, not all 0")

    def loss(labels: Any, logits: Any) -> Any:
        require("tensorflow")
        import tensorflow as tf

        # A one-hot product, not a gather: its gradient is a product too, where a gather's scatters.
        hot = tf.one_hot(labels, logits.shape[-1], dtype=tf.float32)  # all zero for labels below 0
        log_p = tf.reduce_sum(hot * tf.nn.log_softmax(tf.cast(logits, tf.float32)), axis=-1)
        value = -log_p if gamma == 0 else -((1.0 - tf.exp(log_p)) ** gamma) * log_p
        return value if weights is None else value * tf.linalg.matvec(hot, tf.constant(weights))

    return loss


def label_counts(labels: NDArray[np.integer], classes: int) -> NDArray[np.float64]:
    """Count the labels of each class, a part at a time; codes below 0 are unlabelled."""
    counts = np.zeros(classes)
    for part in np.array_split(labels, max(1, labels.size // 2**24)):
        counts += np.bincount(part[part >= 0].ravel(), minlength=classes)[:classes]
    return counts


def balanced(labels: NDArray[np.integer], classes: int) -> list[float]:
    """Class weights that make every class count alike: inverse share, 1 on average over the samples.

    Parameters
    ----------
    labels : (...)
        Class codes; below 0 is unlabelled.
    classes : int

    Raises
    ------
    ValueError
        Nothing is labelled.
    """
    return balanced_by_counts(label_counts(labels, classes))


def balanced_by_counts(counts: NDArray[np.float64]) -> list[float]:
    """Class weights as of :func:`balanced`, from the number of labels of each class.

    Raises
    ------
    ValueError
        Nothing is labelled.
    """
    if not counts.any():
        raise ValueError("class weights: no sample is labelled")
    present = counts > 0
    weights = np.where(present, counts.sum() / (present.sum() * np.maximum(counts, 1)), 1.0)
    return [float(w) for w in weights]

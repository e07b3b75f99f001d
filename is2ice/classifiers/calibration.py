r"""Temperature: one number that makes a model's probabilities as sure as it is right.

Logits are divided by :math:`T` before the softmax, which leaves the likeliest class as it is. :math:`T` minimises
the negative log-likelihood of data that the model was not trained on.

References
----------
Guo et al. (2017), On calibration of modern neural networks, section 4.2.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["softmax", "temperature"]


def softmax(logits: NDArray[np.floating], temperature: float = 1.0) -> NDArray[np.float32]:
    """Probabilities ``(..., class)`` of logits."""
    scaled = (logits - logits.max(axis=-1, keepdims=True)) * np.float32(1.0 / temperature)
    p = np.exp(scaled, dtype="f4")
    return p / p.sum(axis=-1, keepdims=True)


def temperature(logits: NDArray[np.floating], labels: NDArray[np.integer]) -> float:
    """Temperature of a model.

    Parameters
    ----------
    logits : (n, class)
    labels : (n,)
        Class codes; below 0 is unlabelled.

    Returns
    -------
    float
        Between 0.1 and 10; 1 where nothing is labelled.
    """
    from scipy.optimize import minimize_scalar

    known = labels >= 0
    if not known.any():
        return 1.0
    z, y = logits[known].astype("f8"), labels[known].astype("i8")

    def cost(log_t: float) -> float:
        scaled = z / np.exp(log_t)
        top = scaled.max(axis=1)
        total = top + np.log(np.exp(scaled - top[:, None]).sum(axis=1))
        return float(np.mean(total - np.take_along_axis(scaled, y[:, None], 1)[:, 0]))

    found = minimize_scalar(cost, bounds=(np.log(0.1), np.log(10.0)), method="bounded")
    return float(np.exp(found.x))

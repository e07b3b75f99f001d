"""Pictures of scores: confusion matrix, reliability, learning curves, ablation. Matplotlib when one is made."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from is2ice import schema
from is2ice.errors import require

from .plot_style import NAMES, SERIES, saved

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from is2ice.classifiers.scores import ClassScore

__all__ = ["ablation", "confusion", "learning_curves", "reliability"]

Path = str | os.PathLike[str]
_CLASSES = [NAMES[k] for k in range(len(schema.CLASSES))]


def confusion(
    scores: Mapping[str, ClassScore] | ClassScore,
    *,
    title: str = "",
    against: str = "true class",
    path: str | os.PathLike[str] | None = None,
) -> Figure:
    """Draw confusion matrices as in the paper's figure 4: each row the segments of one class, in per cent.

    Parameters
    ----------
    scores : ClassScore, or mapping of name to ClassScore
        One panel each.
    title : str
        Above all panels, such as the granule and its beams.
    against : str
        Meaning of the rows: "true class", or "label" where classes are compared with labels from images.
    path : path, optional
        Also save the picture there.

    References
    ----------
    Iqrah et al. (2025), arXiv:2502.02700, figure 4.
    """
    panels = scores if isinstance(scores, Mapping) else {"": scores}
    figure = _figure((3.35 * len(panels), 3.2))  # a panel is a column of a page wide, 8.5 cm
    if title:
        figure.suptitle(title, fontsize=8)
    columns = [*_CLASSES, NAMES[schema.UNLABELLED]]
    for k, (name, score) in enumerate(panels.items()):
        axes = figure.add_subplot(1, len(panels), k + 1)
        matrix = score.confusion.matrix
        # Without a single unlabelled segment the column says nothing.
        shown = matrix if matrix[:, -1].any() else matrix[:, :-1]
        support = matrix.sum(1, keepdims=True)
        share = np.divide(100.0 * shown, support, out=np.full(shown.shape, np.nan), where=support > 0)
        axes.imshow(np.nan_to_num(share), cmap="Blues", vmin=0, vmax=100, aspect="auto")
        for (row, column), value in np.ndenumerate(share):
            text = "-" if np.isnan(value) else f"{value:.2f}\n{shown[row, column]:,}"
            axes.text(
                column, row, text, ha="center", va="center", fontsize=8, color="w" if value > 55 else "k"
            )
        axes.set_xticks(range(shown.shape[1]), columns[: shown.shape[1]], fontsize=8)
        axes.set_yticks(range(len(_CLASSES)), _CLASSES, fontsize=8, rotation=90, va="center")
        axes.set_xlabel(f"predicted class (% of the {against}, segments)", fontsize=8)
        axes.set_ylabel(against if k == 0 else "", fontsize=8)
        c = score.confusion
        axes.set_title(
            f"{name}\naccuracy {100 * c.accuracy:.2f} %, macro-F1 {100 * c.macro_f1:.2f} %".strip(),
            fontsize=8,
        )
    return saved(figure, path, 150)


def reliability(
    scores: Mapping[str, ClassScore] | ClassScore, *, path: str | os.PathLike[str] | None = None
) -> Figure:
    """Share of right classes against the probability they were given: on the diagonal it can be trusted.

    Parameters
    ----------
    scores : ClassScore, or mapping of name to ClassScore
        With probabilities; the others are left out.
    path : path, optional

    Raises
    ------
    ValueError
        No score has probabilities.
    """
    every = scores if isinstance(scores, Mapping) else {"": scores}
    known = {name: s.reliability for name, s in every.items() if s.reliability is not None}
    if not known:
        raise ValueError("reliability: expected scores of probabilities, got only scores of classes")
    figure = _figure((5.0, 5.6))
    axes, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    axes.plot([0, 1], [0, 1], color="#888888", linewidth=0.8)
    for (name, r), style in zip(known.items(), _styles(), strict=False):
        some = r.n > 0
        label = f"{name} (expected error {100 * r.expected_error:.2f} %)".strip()
        axes.plot(r.total[some] / r.n[some], r.right[some] / r.n[some], label=label, markersize=4, **style)
        edges = np.linspace(0, 1, r.n.size + 1)
        below.stairs(r.n / r.n.sum(), edges, color=style["color"])
    axes.set_ylabel("share right")
    axes.legend(fontsize=7, loc="lower right")
    below.set_yscale("log")
    below.set_ylabel("share of segments")
    below.set_xlabel("probability of the likeliest class")
    below.set_xlim(1 / len(_CLASSES) - 0.02, 1.0)
    return saved(figure, path, 150)


def learning_curves(
    history: Mapping[str, Sequence[float]] | Mapping[str, Any], *, path: str | os.PathLike[str] | None = None
) -> Figure:
    """Loss, accuracy and macro-F1 by epoch, of training and (where there is one) validation data.

    Parameters
    ----------
    history : mapping
        ``History.to_dict()``, as on a model's card: ``epochs``, one mapping an epoch, and ``best``.
    path : path, optional

    Raises
    ------
    ValueError
        No epoch.
    """
    rows = list(history.get("epochs", []))  # type: ignore[arg-type]
    if not rows:
        raise ValueError("learning curves: the history holds no epoch")
    names = [n for n in ("loss", "accuracy", "macro_f1") if n in rows[0] or f"val_{n}" in rows[0]]
    figure = _figure((3.6 * len(names), 3.0))
    epoch = np.arange(1, len(rows) + 1)
    for k, name in enumerate(names):
        axes = figure.add_subplot(1, len(names), k + 1)
        for key, label, style in zip(
            (name, f"val_{name}"), ("training", "validation"), _styles(), strict=False
        ):
            if key in rows[0]:
                axes.plot(epoch, [row.get(key, np.nan) for row in rows], label=label, markersize=3, **style)
        best = history.get("best")
        if isinstance(best, int) and best >= 0:
            axes.axvline(best + 1, color="#888888", linewidth=0.8, linestyle=":")
        axes.set_xlabel("epoch")
        axes.set_title(name.replace("_", " "), fontsize=9)
        axes.locator_params(axis="x", integer=True)
        axes.legend(fontsize=7)
    return saved(figure, path, 150)


def ablation(
    rows: Mapping[str, Mapping[str, float]],
    *,
    measure: str = "macro-F1",
    path: str | os.PathLike[str] | None = None,
) -> Figure:
    """Draw one bar for each variant of a model: a metric in per cent; the first variant is the whole model.

    Parameters
    ----------
    rows : mapping of variant to mapping of region (such as ``"interior"``) to value, 0 to 1
    measure : str
        For the axis.
    path : path, optional
    """
    if not rows:
        raise ValueError("ablation: no variant")
    variants, regions = list(rows), list(next(iter(rows.values())))
    figure = _figure((3.6 * len(regions) + 1.6, 0.28 * len(variants) + 1.1))
    whole = rows[variants[0]]
    for k, region in enumerate(regions):
        axes = figure.add_subplot(1, len(regions), k + 1)
        values = np.array([100 * rows[v][region] for v in variants])
        places = np.arange(len(variants))
        axes.barh(places, values, color=[SERIES[0] if v == variants[0] else SERIES[4] for v in variants])
        axes.axvline(100 * whole[region], color=SERIES[0], linewidth=0.8)
        low = max(0.0, values.min() - 3.0)
        axes.set_xlim(low, min(100.0, values.max() + 1.5))
        for place, value in zip(places, values, strict=True):
            axes.text(value, place, f" {value:.1f}", va="center", fontsize=7)
        axes.set_yticks(places, variants if k == 0 else [""] * len(variants), fontsize=8)
        axes.invert_yaxis()
        axes.set_xlabel(f"{measure}, {region}, %", fontsize=8)
    return saved(figure, path, 150)


def _styles() -> list[dict[str, Any]]:
    return [{"color": c, "marker": m} for c, m in zip(SERIES, "os^Dvx", strict=True)]


def _figure(size: tuple[float, float]) -> Figure:
    require("matplotlib")
    from .picture import Picture

    figure = Picture(figsize=size, layout="constrained")
    return figure

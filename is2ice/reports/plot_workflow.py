"""Workflow diagrams (the paper's figures 1 and 3), drawn from the steps that run and the stages that are defined."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import fill
from typing import TYPE_CHECKING, Any

from is2ice import schema
from is2ice.errors import require
from is2ice.workflows.paper import STEPS, Step

from .plot_style import SEA, THEIRS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_stages", "draw_steps"]

#: Stages of a track, the function that makes each, and the stage that it needs.
STAGES = (
    ("segments", "is2ice.segments.resample"),
    ("classified", "is2ice.classify"),
    ("seasurface", "is2ice.seasurface.estimate"),
    ("freeboard", "is2ice.freeboard.compute"),
)


def draw_steps(steps: Sequence[Step] = STEPS, *, width: float = 18.0) -> Figure:
    """Draw the steps of the study from top to bottom, with what each takes and makes (figure 1).

    Parameters
    ----------
    steps : sequence of Step
    width : float
        cm.
    """
    figure, ax = _canvas(width, 1.25 * len(steps) + 0.3)
    made: dict[str, int] = {}
    for k, step in enumerate(steps):
        y = -float(k)
        _box(ax, 0.34, y, 0.32, f"{k + 1}  {step.name.replace('_', ' ')}", step.about, SEA)
        given = [t for t in step.takes if t not in made]
        for j, name in enumerate(given):
            at = y + 0.22 * (len(given) - 1) - 0.44 * j
            _box(ax, 0.0, at, 0.22, "", name, THEIRS, height=0.36)
            _arrow(ax, (0.22, at), (0.34, y))
        for name in step.makes:
            _box(ax, 0.78, y, 0.22, "", name, "#333333", height=0.5)
            _arrow(ax, (0.66, y), (0.78, y))
            made[name] = k
        for name in (t for t in step.takes if made.get(t, k) < k):
            _arrow(ax, (0.78, -float(made[name]) - 0.25), (0.66, y + 0.2))
    ax.set_ylim(-len(steps) + 0.45, 0.55)
    figure.suptitle("Steps of the study (is2ice.workflows.paper.STEPS)", fontsize=10)
    return figure


def draw_stages(*, width: float = 18.0) -> Figure:
    """Draw the stages of one track with the variables that each adds (figure 3)."""
    figure, ax = _canvas(width, 1.35 * len(STAGES) + 0.3)
    for k, (stage, function) in enumerate(STAGES):
        names = ", ".join(schema.variables(stage))
        _box(ax, 0.0, -float(k), 0.26, stage, function, SEA, height=0.6)
        _box(ax, 0.34, -float(k), 0.66, "adds", names, "#333333", height=0.86, letters=78)
        _arrow(ax, (0.26, -float(k)), (0.34, -float(k)))
        if k:
            _arrow(ax, (0.13, -float(k) + 0.7), (0.13, -float(k) + 0.3))
    ax.set_ylim(-len(STAGES) + 0.45, 0.55)
    figure.suptitle("Stages of a track and their variables (is2ice.schema)", fontsize=10)
    return figure


def _canvas(width: float, height: float) -> tuple[Figure, Axes]:
    require("matplotlib")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width / 2.54, height), layout="constrained")
    FigureCanvasAgg(figure)
    ax = figure.subplots()
    ax.set_xlim(-0.01, 1.01)
    ax.axis("off")
    return figure, ax


def _box(
    ax: Axes,
    x: float,
    y: float,
    width: float,
    head: str,
    body: str,
    colour: str,
    *,
    height: float = 0.72,
    letters: int = 0,
) -> None:
    """Draw a box with a heading and a text, its left edge at x and its middle at y."""
    from matplotlib.patches import FancyBboxPatch

    box = FancyBboxPatch(
        (x, y - height / 2),
        width,
        height,
        boxstyle="round,pad=0,rounding_size=0.012",
        fc="white",
        ec=colour,
        lw=1.3,
    )
    ax.add_patch(box)
    text = fill(body, letters or max(12, int(118 * width)))
    style: dict[str, Any] = {"ha": "center", "color": "black"}
    if head:
        ax.text(x + width / 2, y + height / 2 - 0.07, head, va="top", fontsize=8.5, weight="bold", **style)
    ax.text(x + width / 2, y - (0.09 if head else 0.0), text, va="center", fontsize=7, **style)


def _arrow(ax: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    ax.annotate("", xy=end, xytext=start, arrowprops={"arrowstyle": "-|>", "lw": 0.9, "color": "#666666"})

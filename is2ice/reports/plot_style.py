"""Colours and names that all figures share."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from is2ice.io.remote.whole_files import written

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["BACKGROUND", "COLOURS", "FREEBOARD", "KOO", "NAMES", "RATE", "SEA", "SERIES", "THEIRS", "saved"]

#: Okabe-Ito colours, told apart by every kind of colour vision; dark is water, light is ice.
COLOURS = {-1: "#BBBBBB", 0: "#56B4E9", 1: "#E69F00", 2: "#00468B"}
NAMES = {-1: "unlabelled", 0: "thick ice", 1: "thin ice", 2: "open water"}
#: What is no class never has a class's colour: our sea surface and all that is ours beside another's, rates, NASA's.
SEA, FREEBOARD, RATE, BACKGROUND, THEIRS = "#D55E00", "#333333", "#009E73", "#7A5195", "#AA3377"
#: The method of Koo et al. (2023) on ATL07; no figure shows it beside a rate.
KOO = RATE
#: Curves that are neither: methods, engines, models, epochs.
SERIES = ("#000000", "#D55E00", "#009E73", "#7A5195", "#8C8C8C", "#B59B6A")


def saved(figure: Figure, path: str | os.PathLike[str] | None, dpi: int) -> Figure:
    """Write a figure to a path or an address, whose ending sets the format; return it."""
    if path is not None:
        with written(path) as file:
            figure.savefig(file, dpi=dpi)
    return figure

"""Pictures of maps on their own projection."""

from __future__ import annotations

import os
from collections.abc import Callable
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from is2ice import schema
from is2ice.errors import require

from .plot_style import saved

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw_map"]


def draw_map(
    made: xr.Dataset,
    name: str = "freeboard",
    *,
    time: int = 0,
    width: float = 18.0,
    path: str | os.PathLike[str] | None = None,
) -> Figure:
    """Draw a variable of a map, with its standard error (or spread) beside it.

    Parameters
    ----------
    made : xarray.Dataset
        Map from :func:`is2ice.science.grid.to_map`.
    name : str
    time : int
        Which period.
    width : float
        cm: a page (18, panels side by side) or a column of one (8.5, one above the other).
    path : path, optional
        Also save the picture there.

    Raises
    ------
    ValueError
        No such variable, or no cell with a value.
    """
    require("matplotlib")
    from .picture import Picture

    if name not in made:
        raise ValueError(f"{name!r}: the map has {', '.join(str(v) for v in made.data_vars)}")
    beside = next((n for n in (f"{name}_uncertainty", f"{name}_spread", "n_segments") if n in made), name)
    filled = np.isfinite(made[name].isel(time=time).values)
    if not filled.any():
        raise ValueError(f"{name}: no cell of this map has a value")
    row, column = np.nonzero(filled)
    pad = max(4, int(0.3 * max(np.ptp(row), np.ptp(column))))
    part = made.isel(
        time=time,
        y=slice(max(0, row.min() - pad), row.max() + pad + 1),
        x=slice(max(0, column.min() - pad), column.max() + pad + 1),
    )
    inches = width / 2.54
    narrow = inches < 5.0
    size = 7.0 if narrow else 8.0
    figure = Picture(figsize=(inches, 1.75 * inches if narrow else 0.52 * inches), layout="constrained")
    start = str(part["time"].values.astype("datetime64[D]"))
    when = "all time" if made.attrs.get("period") == "all" else f"{made.attrs.get('period')} from {start}"
    title = fill(schema.titled(f"{made.attrs.get('title', 'Map')}, {when}", made.attrs), 44 if narrow else 90)
    figure.suptitle(title, fontsize=size + 1)
    panels = figure.subplots(2, 1) if narrow else figure.subplots(1, 2)
    for ax, variable, colours in zip(panels, (name, beside), ("viridis", "cividis"), strict=True):
        values = part[variable].values.astype(float)
        good = values[np.isfinite(values)]
        low, high = np.percentile(good, [1, 99]) if good.size else (0.0, 1.0)
        one = low == high
        x, y = part["x"].values / 1e3, part["y"].values / 1e3
        shown = ax.pcolormesh(x, y, values, cmap=colours, vmin=low, vmax=high, shading="nearest")
        units = part[variable].attrs.get("units", "")
        label = f"{variable.replace('_', ' ')}" + (f" ({units})" if units != "1" else "")
        if one:  # a range would be an invention
            told = f"{good[0]:.3g} {units if units != '1' else ''}".strip() if good.size else "no value"
            ax.text(
                0.98,
                0.98,
                f"every cell: {told}" if good.size > 1 else told,
                ha="right",
                va="top",
                transform=ax.transAxes,
                fontsize=size,
                zorder=6,
                bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.9, "pad": 1.5},
            )
        else:  # in the panel's own coordinates: as high as it, whatever its aspect
            bar = figure.colorbar(shown, cax=ax.inset_axes((1.03, 0.0, 0.05, 1.0)), extend="both")
            bar.set_label(label, fontsize=size)
            bar.ax.tick_params(labelsize=size - 0.5)
        _graticule(ax, part, size - 1.0)
        ax.set_aspect("equal")
        ax.set_xlabel(f"x (km, {made['crs'].attrs.get('epsg_code', '')})", fontsize=size)
        ax.set_ylabel("y (km)", fontsize=size)
        ax.tick_params(labelsize=size - 0.5)
        long = str(part[variable].attrs.get("long_name", variable))
        ax.set_title(fill(long, 38), fontsize=size)
    return saved(figure, path, 300 if narrow else 150)


def _graticule(ax: Any, part: xr.Dataset, size: float) -> None:
    """Parallels and meridians, drawn as contours and named near the frame; longitude is cut where it jumps."""
    if min(part.sizes["x"], part.sizes["y"]) < 2:  # no contour lies in a single row of cells
        return
    x, y = part["x"].values / 1e3, part["y"].values / 1e3
    latitude, longitude = part["latitude"].values, part["longitude"].values
    style = {"colors": "#555555", "linewidths": 0.5, "alpha": 0.8, "linestyles": "solid"}
    step = _step(float(np.ptp(latitude)))
    levels = np.arange(np.floor(latitude.min() / step) * step, latitude.max() + step, step)
    lines = ax.contour(x, y, latitude, levels=levels, **style)
    taken: list[tuple[float, float]] = []
    _name_lines(ax, lines, lambda v: f"{abs(v):g}°{'S' if v < 0 else 'N'}", size, taken)
    # Longitudes counted from the middle of the part, so that none jumps within it unless it holds the pole.
    middle = float(np.degrees(np.angle(np.exp(1j * np.radians(longitude)).mean())))
    turn = (longitude - middle + 180.0) % 360.0 - 180.0
    wide = float(np.ptp(turn))
    step = _step(min(wide, 180.0))
    first = np.floor((turn.min() + middle) / step) * step
    levels = np.arange(first, turn.max() + middle + step, step) - middle
    turn = np.where(np.abs(turn) > 175.0, np.nan, turn)
    lines = ax.contour(x, y, turn, levels=levels, **style)

    def label(v: float) -> str:
        east = (v + middle + 180.0) % 360.0 - 180.0
        return f"{abs(east):g}°{'W' if east < 0 else 'E'}"

    _name_lines(ax, lines, label, size, taken)


def _name_lines(
    ax: Any, lines: Any, name: Callable[[float], str], size: float, taken: list[tuple[float, float]]
) -> None:
    """Label each contour where it comes nearest to the frame: the cells with values lie in the middle."""
    from matplotlib.patheffects import withStroke

    (left, right), (low, high) = ax.get_xlim(), ax.get_ylim()
    for level, pieces in zip(lines.levels, lines.allsegs, strict=True):
        places = [((p - [left, low]) / [right - left, high - low]) for p in pieces if len(p)]
        if not places:
            continue
        at = np.concatenate(places)
        edge = np.minimum(at, 1.0 - at)
        # Clear of the frame and of the names that stand already.
        cost = np.abs(edge - [0.09, 0.05]).min(axis=1) + 10.0 * (edge < [0.08, 0.04]).any(axis=1)
        for x, y in taken:
            cost += 5.0 * ((np.abs(at[:, 0] - x) < 0.2) & (np.abs(at[:, 1] - y) < 0.07))
        k = int(cost.argmin())
        if cost[k] > 1.0:  # no room
            continue
        taken.append((float(at[k, 0]), float(at[k, 1])))
        told = ax.text(
            *at[k],
            name(float(level)),
            transform=ax.transAxes,
            fontsize=size,
            color="#333333",
            ha="center",
            va="center",
            zorder=5,
        )
        told.set_path_effects([withStroke(linewidth=1.8, foreground="white")])


def _step(span: float) -> float:
    return next((s for s in (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0) if span / s <= 6), 45.0)

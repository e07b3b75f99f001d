"""Pictures that help a person judge labels: the image straightened along the track above what was measured.

All panels share the axis ``x_atc``, in the metres that a corrections file takes.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from is2ice import schema
from is2ice.errors import require
from is2ice.science.labels.image_grid import grid_of, read_near, segment_crs, segment_positions

from .plot_style import BACKGROUND, COLOURS, NAMES, RATE, saved

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from is2ice.science.labels.corrections import Corrections
    from is2ice.science.labels.drift import Drift

__all__ = ["draw_drift", "draw_labels", "draw_stretch", "straighten"]

F8 = NDArray[np.float64]

#: Most columns of a straightened image.
_COLUMNS = 2000
#: Bands shown as red, green and blue, by any of their names.
_RGB = (("B04", "red"), ("B03", "green"), ("B02", "blue"))
_HAND = "#D55E00"
_PHOTONS = "#C8B8DC"


def straighten(
    track: xr.Dataset,
    image: xr.Dataset,
    names: list[str],
    *,
    shift: tuple[float, float] | Drift = (0.0, 0.0),
    across: float = 300.0,
) -> tuple[F8, F8, list[NDArray[Any]]]:
    """Resample an image to along-track by across-track coordinates.

    Parameters
    ----------
    track : xarray.Dataset
        One track, dims ``(x_atc,)``.
    image : xarray.Dataset
    names : list of str
        Variables (y, x) to look up.
    shift : (dx, dy) or Drift
        As in :func:`is2ice.science.labels.transfer.transfer`.
    across : float
        Half-width, m.

    Returns
    -------
    x_atc, offset : ndarray
        m; the offset grows to the left of the direction of increasing ``x_atc``.
    values : list of ndarray, shape (offsets, x_atc)
        The nearest pixel; float NaN, and integer -1, outside the image.
    """
    crs, grid = segment_crs(track), grid_of(image)
    dx, dy = shift if isinstance(shift, tuple) else shift.shift_in(crs)
    x, y = np.asarray(track["x"], "f8"), np.asarray(track["y"], "f8")
    (known,) = np.nonzero(np.isfinite(x) & np.isfinite(y))
    if known.size < 2:
        raise ValueError("the track has no two positions to draw an image along")
    at = np.linspace(known[0], known[-1], min(_COLUMNS, known[-1] - known[0] + 1))
    px, py = np.interp(at, known, x[known]), np.interp(at, known, y[known])
    ux, uy = px[-1] - px[0], py[-1] - py[0]
    length = np.hypot(ux, uy)
    offset = np.arange(-across, across + 1.0, grid.pixel)
    row, column = segment_positions(
        px + dx - offset[:, None] * uy / length, py + dy + offset[:, None] * ux / length, crs, grid
    )
    inside = (row >= 0) & (row < grid.rows) & (column >= 0) & (column < grid.columns)
    arrays = [image[n].transpose("y", "x") for n in names]
    parts, row0, column0 = read_near(arrays, row[inside], column[inside], 1)
    values = []
    for part in parts:
        out = np.full(row.shape, np.nan if part.dtype.kind == "f" else -1, part.dtype)
        out[inside] = part[row[inside].astype(int) - row0, column[inside].astype(int) - column0]
        values.append(out)
    step = schema.segment_length(track)
    return float(track["x_atc"].values[0]) + (at + 0.5) * step, offset, values


def draw_labels(
    track: xr.Dataset,
    class_map: xr.Dataset,
    reflectance: xr.Dataset | None = None,
    *,
    shift: tuple[float, float] | Drift = (0.0, 0.0),
    x_atc: tuple[float, float] | None = None,
    across: float = 300.0,
    corrections: Corrections | None = None,
    path: str | os.PathLike[str] | None = None,
) -> Figure:
    """One picture of labels: image and classes along the track, labels, heights, rate and background.

    Parameters
    ----------
    track : xarray.Dataset
        Labelled segments of one track (or of a cube with one beam).
    class_map : xarray.Dataset
    reflectance : xarray.Dataset, optional
        Bands B04, B03, B02 (or red, green, blue) of the same image.
    shift : (dx, dy) or Drift
        The displacement with which the labels were made.
    x_atc : (first, last), optional
        Part to show, m.
    across : float
        Half-width of the image shown, m.
    corrections : Corrections, optional
        Drawn as outlined intervals.
    path : path, optional
        Also save the picture there.

    Raises
    ------
    ValueError
        Several beams, no label, or nothing within ``x_atc``.
    """
    require("matplotlib")
    from .picture import Picture

    track = _one_track(track, x_atc)
    x = track["x_atc"].values + 0.5 * schema.segment_length(track)
    ratios = [2.0, 2.0, 0.7, 3.2, 1.6] if reflectance is not None else [2.0, 0.7, 3.2, 1.6]
    figure = Picture(figsize=(13, 1.05 * sum(ratios) + 1.0), layout="constrained")
    axes = list(figure.subplots(len(ratios), 1, sharex=True, height_ratios=ratios))
    figure.suptitle(_title(track, class_map), fontsize=11)
    if reflectance is not None:
        _draw_colour(axes[0], track, reflectance, shift, across)
    classes, strip, heights, rates = axes[-4:]
    _draw_classes(classes, track, class_map, shift, across)
    _draw_strips(strip, track, x, corrections)
    _draw_heights(heights, track, x)
    _draw_rates(rates, track, x)
    rates.set_xlim(x[0], x[-1])
    rates.ticklabel_format(axis="x", useOffset=False, style="plain")
    rates.set_xlabel("x_atc (m), as a corrections file takes it")
    figure.align_ylabels(axes)
    return saved(figure, path, 120)


def draw_stretch(
    track: xr.Dataset,
    x_atc: tuple[float, float],
    *,
    image: xr.Dataset | None = None,
    photons: xr.Dataset | None = None,
    shift: tuple[float, float] = (0.0, 0.0),
    across: float = 200.0,
) -> Figure:
    """Draw a short stretch for a decision by eye: image, photons with heights, label and predicted class.

    Parameters
    ----------
    track : xarray.Dataset
        Labelled segments of one track.
    x_atc : (first, last)
        Part to show, m.
    image : xarray.Dataset, optional
        Reflectance of the scene; without it the reflectance kept beside the labels is shown as a strip.
    photons : xarray.Dataset, optional
        Photons of the part, with x_atc, h_ph and signal_conf.
    shift, across
        As for :func:`draw_labels`.
    """
    require("matplotlib")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    track = _one_track(track, x_atc)
    x = track["x_atc"].values + 0.5 * schema.segment_length(track)
    figure = Figure(figsize=(9.5, 5.0), layout="constrained")
    FigureCanvasAgg(figure)
    top, heights, strip = figure.subplots(
        3, 1, sharex=True, height_ratios=[1.6 if image is not None else 0.5, 3, 0.8]
    )
    if image is not None:
        _draw_colour(top, track, image, shift, across)
    else:
        _draw_evidence(top, track, x)
    if photons is not None:
        _draw_photons(heights, track, photons)
    _draw_heights(heights, track, x)
    _draw_strips(strip, track, x, None)
    strip.set_xlim(*x_atc)
    strip.ticklabel_format(axis="x", useOffset=False, style="plain")
    strip.set_xlabel("x_atc (m)")
    return figure


def _draw_evidence(ax: Axes, track: xr.Dataset, x: F8) -> None:
    """Draw the colour of the image at each segment, of the reflectance that lies beside the labels."""
    names = ("image_b04", "image_b03", "image_b02")
    ax.set_yticks([])
    ax.set_ylabel("image")
    if not all(n in track for n in names):
        ax.text(
            0.5, 0.5, "no image given, and none kept beside the labels", transform=ax.transAxes, ha="center"
        )
        return
    colour = np.stack([np.asarray(track[n].values, float) for n in names], -1)
    known = np.isfinite(colour)
    shown = np.where(known.all(-1, keepdims=True), np.clip(colour, 0, 1) ** 0.7, 0.6)
    ax.imshow(shown[None], extent=(x[0], x[-1], 0, 1), aspect="auto", interpolation="nearest")


def _draw_photons(ax: Axes, track: xr.Dataset, photons: xr.Dataset) -> None:
    """Draw photons, brought to the corrections of the segments."""
    offset = np.nanmedian(np.asarray(track["h_core"], "f8") - np.asarray(track["height"], "f8"))
    h = np.asarray(photons["h_ph"].values, "f8") - (offset if np.isfinite(offset) else 0.0)
    sure = np.asarray(photons["signal_conf"].values) >= 3
    x = photons["x_atc"].values
    ax.plot(x[sure], h[sure], ".", ms=1.2, color=_PHOTONS, zorder=0, label="photons", rasterized=True)


def draw_drift(drift: Drift, path: str | os.PathLike[str] | None = None) -> Figure:
    """Draw the score over the displacements searched, with the one found and its 2-sigma ellipse.

    Raises
    ------
    ValueError
        The displacement was not searched for.
    """
    require("matplotlib")
    from matplotlib.patches import Ellipse

    from .picture import Picture

    if drift.table is None:
        raise ValueError("this displacement has no table of scores: it was given by hand or refused at once")
    figure = Picture(figsize=(6.4, 5.6), layout="constrained")
    ax = figure.subplots()
    dx, dy = drift.table["dx"].values, drift.table["dy"].values
    mesh = ax.pcolormesh(dx, dy, drift.table["score"].values, cmap="viridis", rasterized=True)
    figure.colorbar(mesh, label="correlation of segments and image")
    colour = "white" if drift.accepted else _HAND
    ax.plot(drift.dx, drift.dy, "+", color=colour, ms=14)
    if np.isfinite(drift.covariance).all():
        value, axis = np.linalg.eigh(drift.covariance)
        size = 4.0 * np.sqrt(value)
        angle = np.degrees(np.arctan2(axis[1, 1], axis[0, 1]))
        ax.add_patch(Ellipse((drift.dx, drift.dy), size[1], size[0], angle=angle, fill=False, color=colour))
    ax.set_aspect("equal")
    ax.set_xlabel(f"dx (m, {drift.crs})")
    ax.set_ylabel("dy (m)")
    verdict = "accepted" if drift.accepted else "refused"
    ax.set_title(f"{drift.dx:.0f}, {drift.dy:.0f} m, {verdict}:\n{drift.reason}", fontsize=9)
    return saved(figure, path, 120)


def _one_track(track: xr.Dataset, x_atc: tuple[float, float] | None) -> xr.Dataset:
    if "beam" in track.dims:
        if track.sizes["beam"] != 1:
            raise ValueError(f"{track.sizes['beam']} beams: give one, such as cube.sel(beam=['gt1r'])")
        track = track.isel(beam=0).assign_attrs(beam=str(track["beam"].values[0]))
    if "label" not in track:
        raise ValueError("the track has no label: make them with is2ice.science.labels.transfer.transfer")
    if x_atc is not None:
        at = track["x_atc"].values
        inside = (at >= x_atc[0]) & (at < x_atc[1])
        if not inside.any():
            raise ValueError(f"x_atc={x_atc}: the track reaches from {at[0]:.0f} to {at[-1]:.0f} m")
        track = track.isel(x_atc=inside)
    return track.compute()


def _title(track: xr.Dataset, class_map: xr.Dataset) -> str:
    scene = f"{class_map.attrs.get('scene', '')} {class_map.attrs.get('time', '')}".strip()
    beam = track.attrs.get("beam") or (track["beam"].item() if "beam" in track.coords else "")
    return schema.titled(f"{track.attrs.get('granule', '')} {beam}\n{scene}".strip(), track.attrs)


def _draw_colour(ax: Axes, track: xr.Dataset, image: xr.Dataset, shift: Any, across: float) -> None:
    names = [next((n for n in pair if n in image), None) for pair in _RGB]
    if None in names:
        raise ValueError(f"reflectance: expected bands {_RGB}, got {sorted(str(n) for n in image.data_vars)}")
    at, offset, bands = straighten(track, image, [str(n) for n in names], shift=shift, across=across)
    colour = np.stack([np.asarray(b, "f8") for b in bands], -1)
    known = np.isfinite(colour)
    top = max(np.percentile(colour[known], 99), 1e-6) if known.any() else 1.0
    shown = np.where(known.all(-1, keepdims=True), np.clip(colour / top, 0, 1) ** 0.7, 0.6)
    _show(ax, shown, at, offset)
    ax.set_ylabel("image\nacross (m)")


def _draw_classes(ax: Axes, track: xr.Dataset, class_map: xr.Dataset, shift: Any, across: float) -> None:
    from matplotlib.colors import to_rgb

    names = ["surface_class"] + (["mask"] if "mask" in class_map else [])
    at, offset, values = straighten(track, class_map, names, shift=shift, across=across)
    code = values[0].astype(int)
    if len(values) > 1:
        code[values[1] != 0] = schema.UNLABELLED
    palette = np.array([to_rgb(COLOURS[c]) for c in (0, 1, 2, -1)])
    _show(ax, palette[code], at, offset)
    ax.set_ylabel("classes\nacross (m)")


def _show(ax: Axes, colour: NDArray[Any], at: F8, offset: F8) -> None:
    extent = (float(at[0]), float(at[-1]), float(offset[0]), float(offset[-1]))
    ax.imshow(colour, extent=extent, origin="lower", aspect="auto", interpolation="nearest")
    ax.axhline(0.0, color="black", lw=0.8, ls=":")


def _draw_strips(ax: Axes, track: xr.Dataset, x: F8, corrections: Corrections | None) -> None:
    from matplotlib.colors import to_rgb

    names = ["label"] + (["surface_class"] if "surface_class" in track else [])
    palette = np.array([to_rgb(COLOURS[c]) for c in (0, 1, 2, -1)])
    for k, name in enumerate(reversed(names)):
        strip = palette[np.asarray(track[name], int)][None]
        ax.imshow(strip, extent=(x[0], x[-1], k, k + 0.9), aspect="auto", interpolation="nearest")
    ax.set_ylim(0, len(names))
    ax.set_yticks(
        [k + 0.45 for k in range(len(names))],
        [n.replace("surface_class", "predicted") for n in reversed(names)],
    )
    beam = track.attrs.get("beam") or (track["beam"].item() if "beam" in track.coords else "")
    for entry in corrections.entries if corrections is not None else ():
        if entry.track == f"{track.attrs.get('granule')}/{beam}":
            ax.axvspan(entry.x_atc_from, entry.x_atc_to, fill=False, ec=_HAND, lw=1.5)


def _draw_heights(ax: Axes, track: xr.Dataset, x: F8) -> None:
    height, label, name = np.asarray(track["height"], "f8"), np.asarray(track["label"]), "height (m)"
    if not np.isfinite(height).any():  # no corrections known: above the ellipsoid
        height, name = np.asarray(track["h_mean"], "f8"), "height above\nthe ellipsoid (m)"
    for code in (0, -1, 1, 2):
        rows = np.isfinite(height) & (label == code)
        # A class without a point is in the legend all the same: the panels above may show it.
        ax.scatter(x[rows], height[rows], s=6, lw=0, c=COLOURS[code], label=NAMES[code], rasterized=True)
    ax.set_ylabel(name)
    ax.grid(alpha=0.3, lw=0.5)
    if np.isfinite(height).any():
        low, high = np.nanpercentile(height, [0.2, 99.8])
        ax.set_ylim(low - 0.15, high + 0.15)
        ax.legend(loc="upper right", fontsize=8, ncols=4, markerscale=2, frameon=False)


def _draw_rates(ax: Axes, track: xr.Dataset, x: F8) -> None:
    ax.plot(x, np.asarray(track["photon_rate"], "f8"), ".", ms=2, color=RATE, rasterized=True)
    ax.set_ylabel("photons\nper pulse", color=RATE)
    background = np.asarray(track["background_rate"], "f8")
    if np.isfinite(background).any():
        right = ax.twinx()
        right.plot(x, background / 1e6, color=BACKGROUND, lw=1.0)
        right.set_ylabel("background (MHz)", color=BACKGROUND)

"""Pictures of a track. Matplotlib is imported when a picture is made."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from is2ice import schema
from is2ice.errors import require
from is2ice.science.epoch import EPOCH

from .plot_style import BACKGROUND, COLOURS, FREEBOARD, NAMES, RATE, SEA, saved

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["quicklook"]

F8 = NDArray[np.float64]

#: More points than this are thinned out evenly, and the legend says so.
MAX_PHOTONS = 400_000
MAX_POINTS = 60_000
#: Columns of the class strip.
STRIP = 1_500


def quicklook(
    track: xr.Dataset,
    photons: xr.Dataset | None = None,
    *,
    x: tuple[float, float] | None = None,
    path: str | os.PathLike[str] | None = None,
    truth: xr.Dataset | None = None,
) -> Figure:
    """Draw one track: heights and sea surface, classes, photon rate and background, freeboard.

    Parameters
    ----------
    track : xarray.Dataset
        Segments of one track, dims ``(x_atc,)``, or a cube of one beam. What a stage has not added is said
        in its panel.
    photons : xarray.Dataset, optional
        Photons of the same track, drawn behind the segments with the same corrections.
    x : (first, last), optional
        Part to show, km from the start of the track; by default all of it, or the longest stretch of a
        track that is mostly gaps.
    path : path, optional
        Also save the picture there; the ending sets the format.
    truth : xarray.Dataset, optional
        Truth of a simulated beam, as :func:`is2ice.twin.open_truth` reads it: the true sea surface is drawn over the
        estimated one, and the true classes below the estimated ones.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        For a cube of several beams, or a window without segments.
    """
    require("matplotlib")
    from .picture import Picture

    schema.check_dataset(track, "quicklook")
    if "beam" in track.dims:
        if track.sizes["beam"] != 1:
            raise ValueError(f"{track.sizes['beam']} beams: give one, such as cube.sel(beam=['gt1r'])")
        track = track.isel(beam=0).assign_attrs(beam=str(track["beam"].values[0]))
    track = schema.segments_of(track)
    start = float(track["x_atc"].values[0])
    km = (track["x_atc"].values + schema.segment_length(track) / 2 - start) / 1e3
    lo, hi = x if x is not None else _span(track, km)
    inside = (km >= lo) & (km <= hi)
    if not inside.any():
        raise ValueError(f"x=({lo:g}, {hi:g}) km: no segment there; the track is {km[-1]:.3f} km long")
    total = float(km[-1])
    track, km = track.isel(x_atc=inside).compute(), km[inside]
    if truth is not None:
        truth = truth[["h_ref", "footprint_class"]].reindex(x_atc=track["x_atc"].values)
    figure = Picture(figsize=(13, 9.5), layout="constrained")
    axes = figure.subplots(4, 1, sharex=True, height_ratios=[4.2, 0.55 if truth is None else 0.8, 1.5, 2.2])
    figure.suptitle(_title(track), fontsize=11)
    if x is None and hi - lo < 0.5 * total:
        figure.text(0.01, 0.995, f"longest stretch of a {total:.0f} km track", fontsize=8, va="top")
    if truth is not None:
        axes[0].plot(km, truth["h_ref"], color="black", lw=1.2, ls="--", label="true sea surface", zorder=6)
    _heights(axes[0], track, km, photons, start, (lo, hi))
    _strip(axes[1], track, km, (lo, hi), truth)
    _rates(axes[2], track, km)
    _freeboard(axes[3], track, km)
    axes[3].set_xlim(lo, hi)
    axes[3].set_xlabel(f"along-track distance from x_atc = {start:,.0f} m (km)")
    figure.align_ylabels(axes)
    return saved(figure, path, 120)


def _span(track: xr.Dataset, km: F8) -> tuple[float, float]:
    """Return the range of the whole track, or of its longest stretch, if most of it is gaps of more than 5 km."""
    filled = np.flatnonzero(_values(track, "n_photons") > 0)
    whole = (0.0, float(km[-1]) + 1e-3)
    if filled.size == 0:
        return whole
    cuts = np.flatnonzero(np.diff(km[filled]) > 5.0)
    first, last = np.r_[filled[0], filled[cuts + 1]], np.r_[filled[cuts], filled[-1]]
    length = km[last] - km[first]
    if length.sum() > 0.5 * whole[1]:
        return whole
    best = int(np.argmax(length))
    return float(km[first[best]]) - 1e-3, float(km[last[best]]) + 1e-3


def _title(track: xr.Dataset) -> str:
    attrs = dict(track.attrs)
    if "beam" in track.coords:  # a beam taken out of a cube
        attrs["beam"] = track["beam"].item()
    parts = [str(attrs.get("granule", "")), str(attrs.get("beam", ""))]
    if attrs.get("beam_strength"):
        parts[-1] += f" ({attrs['beam_strength']})"
    time = _values(track, "delta_time")
    time = time[np.isfinite(time)]
    if time.size:
        first = EPOCH.astype("datetime64[ms]") + np.timedelta64(int(time[0] * 1e3), "ms")
        parts.append(str(first.astype("datetime64[s]")).replace("T", " ") + " UTC")
    if attrs.get("classifier"):
        parts.append(f"classes: {attrs['classifier']}")
    return schema.titled("   ".join(p for p in parts if p), attrs)


def _heights(
    ax: Axes, track: xr.Dataset, km: F8, photons: xr.Dataset | None, start: float, span: tuple[float, float]
) -> None:
    height, h_ref = _values(track, "height"), _values(track, "h_ref")
    reference = {"geoid": "geoid"}.get(str(track.attrs.get("height_reference")), "mean sea surface")
    ax.set_ylabel(f"height above\n{reference} (m)")
    seen = np.isfinite(height)
    if photons is not None:
        _photons(ax, track, photons, start, span)
    if not seen.any():
        _say(ax, "no segment heights here")
        return
    codes = _codes(track)
    size = float(np.clip(30_000 / seen.sum(), 1.0, 14.0))
    for code in (0, -1, 1, 2):  # the rare and dark on top
        rows = np.flatnonzero(seen & (codes == code))
        if rows.size:
            shown, every = _thin(rows, MAX_POINTS)
            label = (NAMES[code] if "surface_class" in track else "segments") + (
                f" (1 in {every})" if every > 1 else ""
            )
            ax.scatter(
                km[shown],
                height[shown],
                s=size,
                c=COLOURS[code],
                lw=0,
                label=label,
                zorder=3,
                rasterized=True,
            )
    error = _values(track, "h_ref_uncertainty")
    if np.isfinite(h_ref).any():
        ax.fill_between(km, h_ref - error, h_ref + error, color=SEA, alpha=0.25, lw=0, zorder=4)
        ax.plot(km, h_ref, color=SEA, lw=1.6, label="local sea surface ± 1σ", zorder=5)
    elif "h_ref" in track:
        _say(ax, "no lead within reach: no local sea surface", y=0.94)
    low, high = np.nanpercentile(height, [0.2, 99.9])
    if np.isfinite(h_ref).any():
        low, high = min(low, np.nanmin(h_ref - error)), max(high, np.nanmax(h_ref + error))
    margin = max(0.15, 0.15 * (high - low))
    ax.set_ylim(low - margin, high + margin)
    from matplotlib.collections import PathCollection

    legend = ax.legend(
        loc="lower right", bbox_to_anchor=(1.0, 1.0), fontsize=8, ncols=7, frameon=False, borderaxespad=0.2
    )
    for handle in legend.legend_handles:
        if isinstance(handle, PathCollection):  # the points of a long track are too small to show a colour
            handle.set_sizes([18.0])
    ax.grid(alpha=0.3, lw=0.5)


def _photons(
    ax: Axes, track: xr.Dataset, photons: xr.Dataset, start: float, span: tuple[float, float]
) -> None:
    """Photons at their corrected height: each takes the correction of its place from the segments."""
    offset = _values(track, "h_mean") - _values(track, "height")
    at = track["x_atc"].values + schema.segment_length(track) / 2
    good = np.isfinite(offset)
    if not good.any() or photons.sizes["photon"] == 0:
        return
    x = photons["x_atc"].values
    rows = np.flatnonzero((x >= start + span[0] * 1e3) & (x <= start + span[1] * 1e3))
    rows, every = _thin(rows, MAX_PHOTONS)
    h = photons["h_ph"].values[rows] - np.interp(x[rows], at[good], offset[good])
    signal = photons["signal_conf"].values[rows] >= int(track.attrs.get("confidence", 3))
    more = f" (1 in {every})" if every > 1 else ""
    for rest, colour, label in ((~signal, "#D5D5D5", "noise photons"), (signal, "#5A5A5A", "signal photons")):
        if rest.any():
            ax.scatter(
                (x[rows][rest] - start) / 1e3,
                h[rest],
                s=1.2,
                c=colour,
                lw=0,
                label=label + more,
                zorder=1,
                rasterized=True,
            )


def _strip(ax: Axes, track: xr.Dataset, km: F8, span: tuple[float, float], truth: xr.Dataset | None) -> None:
    """Draw the classes of the track, and below them the true ones if they are known."""
    ax.set_yticks([])
    if truth is None:
        ax.set_ylabel("class", rotation=0, ha="right", va="center")
    else:
        ax.set_yticks([0.25, 0.75], ["truth", "class"])
        ax.tick_params(axis="y", length=0)
    if "surface_class" not in track:
        _say(ax, "not classified")
        return
    filled = _values(track, "n_photons") > 0
    if not filled.any():
        _say(ax, "no filled segment here")
        return
    edges = np.linspace(*span, int(min(STRIP, km.size)) + 1)
    _shares(ax, km[filled], _codes(track)[filled], edges, (0.0 if truth is None else 0.53, 1.0))
    if truth is not None:
        codes = np.nan_to_num(np.asarray(truth["footprint_class"], "f8"), nan=schema.UNLABELLED).astype(int)
        _shares(ax, km, codes, edges, (0.0, 0.47))
    ax.set_ylim(0, 1)


def _shares(ax: Axes, km: F8, codes: NDArray[Any], edges: F8, rows: tuple[float, float]) -> None:
    """Fill each column between `edges` by the share of each class; a column of one segment has one colour."""
    columns = edges.size - 1
    column = np.clip(
        ((km - edges[0]) / max(edges[-1] - edges[0], 1e-6) * columns).astype(int), 0, columns - 1
    )
    order = (2, 1, 0, schema.UNLABELLED)
    share = np.stack([np.bincount(column[codes == c], minlength=columns) for c in order])
    with np.errstate(invalid="ignore", divide="ignore"):
        tops = rows[0] + (rows[1] - rows[0]) * np.cumsum(share, axis=0) / share.sum(axis=0)
    from matplotlib.patches import StepPatch

    bottom = np.full(columns, rows[0])
    for top, code in zip(tops, order, strict=True):
        # Not ax.stairs: it looks for the limits of the axes, which are set, column by column for seconds.
        base: Any = bottom  # an array, which its stub does not know
        ax.add_artist(StepPatch(top, edges, baseline=base, fill=True, color=COLOURS[code], lw=0))
        bottom = top


def _rates(ax: Axes, track: xr.Dataset, km: F8) -> None:
    ax.set_ylabel("signal photons\nper pulse", color=RATE)
    rate, background = _values(track, "photon_rate"), _values(track, "background_rate")
    if np.isfinite(rate).any():
        _dots(ax, km, rate, RATE)
        ax.set_ylim(0, max(1.0, 1.1 * float(np.nanpercentile(rate, 99.8))))
    else:
        _say(ax, "no photon rates here")
    ax.tick_params(axis="y", colors=RATE)
    ax.grid(alpha=0.3, lw=0.5)
    right = ax.twinx()
    right.set_ylabel("background (MHz)", color=BACKGROUND)
    right.tick_params(axis="y", colors=BACKGROUND)
    if np.isfinite(background).any():
        right.plot(km, background / 1e6, color=BACKGROUND, lw=1.0)
        right.set_ylim(0, max(0.1, 1.15 * float(np.nanmax(background)) / 1e6))
    else:
        right.set_yticks([])
        _say(ax, "no background rates", y=0.88)


def _freeboard(ax: Axes, track: xr.Dataset, km: F8) -> None:
    ax.set_ylabel("total freeboard\n(m, snow included)")
    value, error = _values(track, "freeboard"), _values(track, "freeboard_uncertainty")
    seen = np.isfinite(value)
    if not seen.any():
        _say(ax, "no freeboard" + (": no lead within reach" if "freeboard" in track else " computed"))
        ax.set_yticks([])
        return
    shown, every = _thin(np.flatnonzero(seen), MAX_POINTS)
    good = np.isfinite(error[shown])
    bars = shown[good]
    ax.vlines(
        km[bars],
        (value - error)[bars],
        (value + error)[bars],
        color="#888888",
        alpha=0.35,
        lw=0.6,
        label="± 1σ" + (f" (1 in {every})" if every > 1 else ""),
        rasterized=True,
    )
    codes = _codes(track)[shown]
    ax.scatter(
        km[shown],
        value[shown],
        s=float(np.clip(30_000 / seen.sum(), 1.0, 10.0)),
        c=[COLOURS[int(c)] for c in codes],
        lw=0,
        zorder=3,
        rasterized=True,
    )
    ax.axhline(0.0, color=SEA, lw=1.0)
    median = float(np.median(value[seen]))
    ax.axhline(median, color=FREEBOARD, lw=1.0, ls="--", label=f"median {median:.2f} m", zorder=4)
    low, high = np.percentile(value[seen], [0.2, 99.9])
    margin = max(0.1, 0.1 * (high - low))
    ax.set_ylim(min(low, 0.0) - margin, high + margin)
    ax.legend(
        loc="lower right", bbox_to_anchor=(1.0, 1.0), fontsize=8, ncols=2, frameon=False, borderaxespad=0.2
    )
    ax.grid(alpha=0.3, lw=0.5)


def _dots(ax: Axes, km: F8, values: F8, colour: str) -> None:
    rows, _ = _thin(np.flatnonzero(np.isfinite(values)), MAX_POINTS)
    size = float(np.clip(20_000 / max(rows.size, 1), 0.6, 8.0))
    ax.scatter(km[rows], values[rows], s=size, c=colour, lw=0, rasterized=True)


def _thin(rows: NDArray[np.intp], limit: int) -> tuple[NDArray[np.intp], int]:
    """Every n-th row, so that at most `limit` are left, and n."""
    every = max(1, -(-rows.size // limit))
    return rows[::every], every


def _values(track: xr.Dataset, name: str) -> F8:
    """Return a variable as float64, or all NaN if the track lacks it."""
    if name not in track:
        return np.full(track.sizes["x_atc"], np.nan)
    return np.asarray(track[name], "f8")


def _codes(track: xr.Dataset) -> NDArray[np.int64]:
    if "surface_class" not in track:
        return np.full(track.sizes["x_atc"], schema.UNLABELLED)
    return np.asarray(track["surface_class"], "i8")


def _say(ax: Any, text: str, y: float = 0.5) -> None:
    box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 2.0}
    ax.text(
        0.5, y, text, transform=ax.transAxes, ha="center", va="center", color="#555555", bbox=box, zorder=9
    )

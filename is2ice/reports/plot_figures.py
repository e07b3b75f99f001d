"""Pictures that set our tracks beside NASA's products, images, truth labels and other methods.

They are counterparts of the figures of Iqrah et al. (2025): 2 labels over the image, 5 training under Horovod, 6 and 7
classes, 8 four sea surfaces, 9 sea surface against ATL07/ATL10, 10 and 11 freeboard. Figure 4 is
:func:`is2ice.reports.plot_scores.confusion`, 1 and 3 are in :mod:`is2ice.reports.plot_workflow`, and scaling of
labelling and freeboard (tables II and V) has a figure too. Each is drawn for the width it is asked for, a page (18 cm)
or a column of one (8.5 cm): letters keep their size, legends and panels move. Classes have the colours of
:data:`is2ice.reports.plot_style.COLOURS` in every figure, products and methods others; every kind of colour vision
tells them apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from is2ice import schema
from is2ice.errors import require
from is2ice.io.icesat2.atl07_atl10 import DARK, SPECULAR

from .nasa_comparison import Comparison
from .plot_style import COLOURS, KOO, NAMES, SEA, SERIES, THEIRS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "draw_classes",
    "draw_freeboards",
    "draw_label_panels",
    "draw_methods",
    "draw_scaling",
    "draw_surfaces",
    "draw_training",
]

F8 = NDArray[np.float64]
#: NASA's types are no classes of ours: tints of its colour, the darker the lower the photon rate of a lead.
TYPES = {
    "cloud": ((0,), "#DDDDDD"),
    "ice": ((1,), "#EBCBDD"),
    "specular": (SPECULAR, THEIRS),
    "dark": (DARK, "#4A1033"),
}
#: Line styles of sea-surface methods: colour and dashes both differ.
METHODS = {
    "crossfit": (SEA, "-."),
    "evidence": (SEA, "-"),
    "nasa": (SERIES[2], "--"),
    "minimum": (SERIES[0], ":"),
    "mean": (SERIES[5], "-"),
    "nearest_minimum": (SERIES[3], "-."),
}
#: Widths, cm: of a page, and of one of its two columns.
PAGE, COLUMN = 18.0, 8.5
#: Below this a figure is a column, inches.
_NARROW = 5.0


def _figure(heights: tuple[float, float], title: str, width: float) -> Figure:
    """Make a figure `width` cm wide, with its height (inches) for a page and for a column."""
    require("matplotlib")
    from .picture import Picture

    inches = width / 2.54
    figure = Picture(figsize=(inches, heights[inches < _NARROW]), layout="constrained")
    limit = int(inches * 72 / (0.63 * (_size(figure) + 1)))
    figure.suptitle("\n".join(_broken(title, limit)), fontsize=_size(figure) + 1)
    return figure


def _broken(title: str, limit: int) -> list[str]:
    """Lines of at most `limit` letters; names of granules and scenes may be broken behind an underscore."""
    lines = []
    for line in title.split("\n"):
        for part in wrap(line.replace("_", "_\u200b "), limit, break_long_words=False):
            lines.append(part.replace("_\u200b ", "_").replace("_\u200b", "_"))
    return lines


def _narrow(figure: Any) -> bool:
    return bool(figure.get_figwidth() < _NARROW)


def _size(figure: Any) -> float:
    """Size of letters, points."""
    return 7.0 if _narrow(figure) else 9.0


def _style(ax: Axes, ylabel: str, xlabel: str = "") -> None:
    size = _size(ax.figure)
    ax.set_ylabel(ylabel, fontsize=size)
    ax.set_xlabel(xlabel, fontsize=size)
    ax.tick_params(labelsize=size - 0.5)
    ax.grid(alpha=0.3, lw=0.5)


def _legend(ax: Axes, columns: int = 4, markers: float = 2.0) -> None:
    narrow, size = _narrow(ax.figure), _size(ax.figure)
    if ax.get_legend_handles_labels()[0]:
        ax.legend(
            loc="lower right",
            bbox_to_anchor=(1.0, 1.0),
            ncols=2 if narrow else columns,
            fontsize=size - 0.5,
            frameon=False,
            borderaxespad=0.1,
            markerscale=markers,
            handlelength=2.6,
            columnspacing=1.2,
            labelspacing=0.3,
        )


def _note(ax: Axes, text: str, y: float = 0.5) -> None:
    ax.text(0.5, y, text, transform=ax.transAxes, ha="center", va="center", fontsize=_size(ax.figure))


def _title(c: Comparison, what: str) -> str:
    ours, theirs = c.numbers["ours"], c.numbers["theirs"]
    product = f"{theirs.get('product')} release {theirs.get('release')}"
    return schema.titled(f"{what}\n{ours.get('granule')} {ours.get('beam')} and {product}", ours, theirs)


def _product(c: Comparison) -> str:
    return str(c.numbers["theirs"].get("product", "product"))


def _absent(c: Comparison, what: str) -> str:
    """Why the product has nothing to draw."""
    name = _product(c)
    if name == "ATL07":
        return f"ATL07 holds no {what}"
    lead = "" if c.leads["theirs"].size else f":\nit has no lead on {c.numbers['ours'].get('beam')} here"
    return f"{name} gives no {what}{lead}"


def _km(c: Comparison, x: ArrayLike) -> F8:
    return (np.asarray(x, float) - float(c.track["x_atc"].values[0])) / 1e3


def _window(c: Comparison, span: tuple[float, float] | None) -> tuple[float, float]:
    """Part to show, km; by default the 5 km with the most leads of either."""
    total = float(_km(c, c.track["x_atc"].values[-1]))
    if span is not None:
        return span
    if total <= 5.0:
        return 0.0, total
    at = np.concatenate([_km(c, v).mean(1) for v in c.leads.values() if v.size] or [np.array([2.5])])
    start = np.arange(0.0, total - 5.0 + 0.5, 0.5)
    best = start[np.argmax([((at >= s) & (at < s + 5.0)).sum() for s in start])]
    return float(best), float(min(best + 5.0, total))


def _xlabel(c: Comparison) -> str:
    return f"along-track distance from x_atc = {float(c.track['x_atc'].values[0]):,.0f} m (km)"


def draw_classes(c: Comparison, span: tuple[float, float] | None = None, *, width: float = PAGE) -> Figure:
    """Heights and classes at 2 m, the product's segments and types, and the leads of both.

    Parameters
    ----------
    c : Comparison
    span : (first, last), optional
        km from the start; by default the 5 km with the most leads.
    width : float
        cm; here and below, a page (18) or a column (8.5).
    """
    span = _window(c, span)
    figure = _figure((5.0, 5.0), _title(c, f"Surface classes at 2 m beside types of {_product(c)}"), width)
    top, strips = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1.6 if c.koo is None else 2.2])
    km = _km(c, c.track["x_atc"].values + schema.segment_length(c.track) / 2)
    inside = (km >= span[0]) & (km <= span[1])
    height, code = np.asarray(c.track["height"].values, float), c.track["surface_class"].values
    for k in (0, 1, 2):
        rows = inside & (code == k) & np.isfinite(height)
        top.plot(
            km[rows], height[rows], ".", ms=1.6, color=COLOURS[k], label=f"ours: {NAMES[k]}", rasterized=True
        )
    s = c.segments
    at, half = _km(c, s["x_atc"].values), s["length"].values / 2e3
    near = (at + half >= span[0]) & (at - half <= span[1]) & np.isfinite(s["height"].values)
    ends = (at - half)[near], (at + half)[near]
    # One line through the segments, broken where they are: each alone is finer than a column prints.
    line = np.where(np.isfinite(s["height"].values), s["height"].values, np.nan)[near]
    middle, gap = at[near], np.flatnonzero(ends[0][1:] > ends[1][:-1] + 1e-6) + 1
    for part in (slice(*p) for p in zip([0, *gap], [*gap, line.size], strict=True)):
        marker = "." if line[part].size == 1 else ""
        top.plot(middle[part], line[part], marker=marker, ms=2, color=THEIRS, lw=0.9)
    top.plot([], [], color=THEIRS, lw=0.9, label=f"{_product(c)} segments")
    shown = np.concatenate([height[inside], s["height"].values[near]])
    shown = shown[np.isfinite(shown)]
    if shown.size:
        low, high = np.percentile(shown, [0.2, 99.8])
        top.set_ylim(low - 0.15, high + 0.2)
    _style(top, "height above mean\nsea surface (m)")
    _legend(top)
    for k in (0, 1, 2):
        strips.fill_between(km, 3, 3.8, where=inside & (code == k), color=COLOURS[k], lw=0, step="mid")
    for name, (codes, colour) in TYPES.items():
        rows = near & np.isin(s["surface_type"].values, codes)
        bars = list(zip((at - half)[rows], 2 * half[rows], strict=True))
        strips.broken_barh(bars, (2, 0.8), color=colour, lw=0, label=f"{_product(c)}: {name}")
    rows_of_leads = [(1.0, "ours", SEA), (0.0, "theirs", THEIRS)]
    names = {0.4: f"{_product(c)} leads", 1.4: "our leads", 2.4: f"{_product(c)} types", 3.4: "our classes"}
    if c.koo is not None:
        _koo_classes(strips, c, span)
        rows_of_leads.append((-2.0, "koo", KOO))
        names |= {-0.6: "Koo's classes", -1.6: "Koo's leads"}
    for y, who, colour in rows_of_leads:
        for a, b in c.leads[who]:
            strips.plot(_km(c, [a, b]), [y + 0.3, y + 0.3], color=colour, lw=5, solid_capstyle="butt")
        middles = _km(c, c.leads[who].reshape(-1, 2).mean(1))
        above = np.full(middles.size, y + 0.78)
        strips.plot(middles, above, "v", ms=2 if _narrow(figure) else 3, color="black")
    strips.plot([], [], "v", ms=2, color="black", label="middle of a lead")
    strips.set_yticks(list(names), list(names.values()))
    strips.set_ylim(0 if c.koo is None else -2, 4)
    _style(strips, "", _xlabel(c))
    strips.grid(False)
    _legend(strips)
    strips.set_xlim(*span)
    return figure


def _koo_classes(ax: Axes, c: Comparison, span: tuple[float, float]) -> None:
    """Draw a bar for each segment of ATL07 in the colour of its class by Koo's method."""
    assert c.koo is not None
    at, half = _km(c, c.koo["x_atc"].values), c.koo["length"].values / 2e3
    near = (at + half >= span[0]) & (at - half <= span[1])
    for k in (0, 1, 2):
        rows = near & (c.koo["koo_class"].values == k)
        ax.broken_barh(
            list(zip((at - half)[rows], 2 * half[rows], strict=True)), (-1, 0.8), color=COLOURS[k], lw=0
        )


def draw_surfaces(c: Comparison, span: tuple[float, float] | None = None, *, width: float = PAGE) -> Figure:
    """Our local sea surface and the product's reference surfaces, with the heights of water.

    Parameters
    ----------
    c : Comparison
    span : (first, last), optional
        km; all of the stretch by default.
    """
    figure = _figure((3.8, 3.0), _title(c, "Local sea surface beside ATL10's reference"), width)
    ax = figure.subplots()
    km = _km(c, c.track["x_atc"].values + schema.segment_length(c.track) / 2)
    span = span or (0.0, float(km[-1]))
    water = (c.track["surface_class"].values == schema.OPEN_WATER) & np.isfinite(c.track["height"].values)
    height = c.track["height"].values
    ax.plot(
        km[water],
        height[water],
        ".",
        ms=1.2,
        color=COLOURS[2],
        alpha=0.5,
        label="our open water",
        rasterized=True,
    )
    h, e = (np.asarray(c.track[n].values, float) for n in ("h_ref", "h_ref_uncertainty"))
    ax.fill_between(km, h - e, h + e, color=SEA, alpha=0.25, lw=0)
    ax.plot(km, h, color=SEA, lw=1.5, label="ours ± 1σ")
    if not np.isfinite(h).any():
        _note(ax, "no lead of ours within reach: no sea surface")
    if c.sections is not None:
        at, value = _km(c, c.sections["x_atc"].values), c.sections["h_ref"].values
        error = (
            c.sections["h_ref_uncertainty"].values if "h_ref_uncertainty" in c.sections else np.zeros(at.size)
        )
        good = np.isfinite(value)
        shown = good & (at + 5.0 > span[0]) & (at - 5.0 < span[1])
        _sections(ax, at[shown], value[shown], error[shown], span)
        if not shown.any():
            ax.plot([], [], " ", label=_absent(c, "reference surface"))
    values = np.concatenate([(h - e)[np.isfinite(h)], (h + e)[np.isfinite(h)], height[water]])
    if c.koo is not None:
        at, value = _km(c, c.koo["x_atc"].values), c.koo["koo_h_ref"].values
        ax.plot(at, value, color=KOO, ls="-.", lw=1.3, label="Koo et al. on ATL07")
        values = np.concatenate([values, value[np.isfinite(value)]])
    if values.size:
        low, high = np.percentile(values, [1, 99])
        ax.set_ylim(low - 0.1, high + 0.1)
    ax.set_xlim(*span)
    _style(ax, "height above mean sea surface (m)", _xlabel(c))
    _legend(ax, 3, 1.2)
    return figure


def _sections(ax: Axes, at: F8, value: F8, error: F8, span: tuple[float, float]) -> None:
    """Draw the reference surfaces of ATL10, each over its 10 km, with their errors; mark ends within the picture."""
    if not at.size:
        return
    most = 100 * float(np.nanmax(error, initial=0.0))
    for k in range(at.size):
        ends = [at[k] - 5.0, at[k] + 5.0]
        ax.fill_between(ends, *(value[k] + s * error[k] for s in (-1, 1)), color=THEIRS, alpha=0.35, lw=0)
        ax.plot(ends, [value[k]] * 2, "--", color=THEIRS, lw=1.5)
        inside = [e for e in ends if span[0] < e < span[1]]
        ax.plot(inside, [value[k]] * len(inside), "|", color=THEIRS, ms=9, mew=1.5)
    ax.plot([], [], "--", color=THEIRS, lw=1.5, label=f"ATL10, 10 km section ± 1σ ({most:.1f} cm)")
    ends = np.concatenate([at - 5.0, at + 5.0])
    if ((ends > span[0]) & (ends < span[1])).any():
        ax.plot([], [], "|", color=THEIRS, ms=6, mew=1.5, label="end of a section")


def draw_methods(
    track: xr.Dataset, surfaces: Mapping[str, xr.Dataset], title: str = "", *, width: float = PAGE
) -> Figure:
    """Local sea surfaces of several methods on one track.

    Parameters
    ----------
    track : xarray.Dataset
        Dims (x_atc,), with height and surface_class.
    surfaces : mapping of str to xarray.Dataset
        By method, each with h_ref on the same cells.
    """
    figure = _figure(
        (3.6, 3.0),
        schema.titled(f"Local sea surface by method\n{title or track.attrs.get('granule', '')}", track.attrs),
        width,
    )
    ax = figure.subplots()
    x0 = float(track["x_atc"].values[0])
    km = (track["x_atc"].values + schema.segment_length(track) / 2 - x0) / 1e3
    water = (track["surface_class"].values == schema.OPEN_WATER) & np.isfinite(track["height"].values)
    height = track["height"].values[water]
    ax.plot(km[water], height, ".", ms=1.2, color=COLOURS[2], alpha=0.35, label="open water", rasterized=True)
    for name, ds in surfaces.items():
        colour, dashes = METHODS.get(name, ("black", "-"))
        wide = 3.0 if name == "mean" else 1.4  # close to crossfit, and seen beneath it
        ax.plot(
            km,
            ds["h_ref"].values,
            color=colour,
            ls=dashes,
            lw=wide,
            label=name.replace("_", " "),
            zorder=2.0 if name == "mean" else 2.5,
        )
    values = np.concatenate([ds["h_ref"].values[np.isfinite(ds["h_ref"].values)] for ds in surfaces.values()])
    if values.size:
        ax.set_ylim(values.min() - 0.15, values.max() + 0.2)
    else:
        _note(ax, "no lead within reach: no sea surface")
    _style(ax, "height above mean sea surface (m)", f"along-track distance from x_atc = {x0:,.0f} m (km)")
    _legend(ax, 3)
    return figure


def draw_freeboards(c: Comparison, span: tuple[float, float] | None = None, *, width: float = PAGE) -> Figure:
    """Freeboard along the track, its distribution in like places, and the points per km of both.

    Parameters
    ----------
    c : Comparison
    span : (first, last), optional
        km of the upper panels; all of the stretch by default.
    """
    figure = _figure((6.6, 7.4), _title(c, f"Total freeboard at 2 m and of {_product(c)}"), width)
    if _narrow(figure):
        top, below, left, right = figure.subplots(4, 1, height_ratios=[1, 1, 1.25, 1])
        below.sharex(top)
        below.sharey(top)
    else:
        axes = figure.subplot_mosaic("aa;bb;cd", height_ratios=[1, 1, 1.25])
        top, below, left, right = (axes[k] for k in "abcd")
        below.sharex(top)
        below.sharey(top)
    km, code = (
        _km(c, c.track["x_atc"].values + schema.segment_length(c.track) / 2),
        c.track["surface_class"].values,
    )
    ours = np.asarray(c.track["freeboard"].values, float)
    for k in (0, 1, 2):
        rows = (code == k) & np.isfinite(ours)
        top.plot(km[rows], ours[rows], ".", ms=1.4, color=COLOURS[k], label=NAMES[k], rasterized=True)
    _style(top, "total freeboard,\nours (m)")
    _legend(top, 3)
    if not np.isfinite(ours).any():
        _note(top, "no lead of ours within reach: no freeboard")
    s = c.segments
    theirs = s["freeboard"].values.astype(float) if "freeboard" in s else np.full(s.sizes["segment"], np.nan)
    good = np.isfinite(theirs)
    dots = {"marker": ".", "ls": "", "rasterized": True}
    # On top of Koo's, which stand on the same segments, and finer: where both have one, both are seen.
    below.plot(_km(c, s["x_atc"].values[good]), theirs[good], ms=1.4, color=THEIRS, zorder=3, **dots)
    if not good.any():
        _note(below, _absent(c, "freeboard"), 0.5 if c.koo is None else 0.84)
    if c.koo is not None:
        x, koo = _km(c, c.koo["x_atc"].values), c.koo["koo_freeboard"].values
        below.plot(x, koo, ms=3.2, color=KOO, alpha=0.5, label="Koo et al. on ATL07", zorder=2, **dots)
        below.plot([], [], ms=2.5, color=THEIRS, label=_product(c), **dots)
        _legend(below, 3)
    _style(below, f"total freeboard,\n{_product(c)} (m)", _xlabel(c))
    shown = np.concatenate([ours[np.isfinite(ours)], theirs[good]])
    if shown.size:
        low, high = np.percentile(shown, [0.1, 99.9])
        top.set_ylim(min(low, 0) - 0.1, high + 0.15)
    top.tick_params(labelbottom=False)
    top.set_xlim(*(span or (0.0, float(km[-1]))))
    _distributions(left, c, ours)
    _density(right, c, km[np.isfinite(ours)], _km(c, s["x_atc"].values[good]))
    right.set_xlim(top.get_xlim())
    return figure


def _distributions(ax: Axes, c: Comparison, ours: F8) -> None:
    from .nasa_comparison import alike_places

    alike = alike_places(c.segments)
    ice = np.isin(c.track["surface_class"].values, (0, 1)) & np.isfinite(ours)
    top = np.percentile(ours[ice], 99.5) if ice.any() else 1.0
    bins = np.linspace(-0.2, max(0.5, top), 45)
    curves = [("ours, every 2 m of ice", ours[ice], "#888888", ":")]
    if alike.any():
        curves.append(("ours, over the same segments", c.segments["ours_freeboard"].values[alike], SEA, "-"))
        curves.append((f"{_product(c)} segments of ice", c.segments["freeboard"].values[alike], THEIRS, "--"))
    if c.koo is not None:
        koo = c.koo["koo_freeboard"].values
        koo = koo[np.isin(c.koo["koo_class"].values, (0, 1)) & np.isfinite(koo)]
        curves.append(("Koo et al., segments of ice", koo, KOO, "-."))
    for label, values, colour, dashes in curves:
        if values.size:
            count, _ = np.histogram(values, bins)
            density = count / max(values.size, 1) / np.diff(bins)
            ax.stairs(density, bins, color=colour, ls=dashes, lw=1.4, label=f"{label}, n {values.size:,}")
    _style(ax, "density (1/m)", "total freeboard (m)")
    if not ax.get_legend_handles_labels()[0]:
        _note(ax, "no freeboard of ice")
        return
    ax.legend(fontsize=_size(ax.figure) - 1, frameon=False, loc="upper right", labelspacing=0.3)
    ax.set_ylim(0, (1.5 if len(curves) < 4 else 1.75) * ax.get_ylim()[1])


def _density(ax: Axes, c: Comparison, ours: F8, theirs: F8) -> None:
    total = float(_km(c, c.track["x_atc"].values[-1]))
    edges = np.linspace(0.0, total, max(2, min(41, int(np.ceil(total)) + 1)))
    width = np.diff(edges)
    for x, colour, label, dashes in ((ours, SEA, "ours", "-"), (theirs, THEIRS, _product(c), "--")):
        label = label if x.size else f"{label}: none"
        ax.stairs(np.histogram(x, edges)[0] / width, edges, color=colour, lw=1.4, label=label, ls=dashes)
    along = (
        _xlabel(c) if _narrow(ax.figure) else _xlabel(c).replace(" from", "\nfrom")
    )  # half a page wide there
    _style(ax, "freeboards per km", along)
    ratio = c.numbers["density"]["ratio_freeboards"]
    ax.set_title(
        "" if ratio is None else f"ours {ratio:g} times as many as {_product(c)}", fontsize=_size(ax.figure)
    )
    ax.legend(fontsize=_size(ax.figure) - 0.5, frameon=False, loc="center")
    ax.set_ylim(0, 560)


def draw_scaling(
    series: Mapping[str, Sequence[tuple[float, float]]],
    title: str,
    unit: str = "workers",
    *,
    width: float = PAGE,
) -> Figure:
    """Speed-up against the number of workers, with the ideal.

    Parameters
    ----------
    series : mapping of str to sequence of (workers, seconds)
        The first of each is its own reference.
    """
    figure = _figure((3.6, 2.9), title, width)
    ax = figure.subplots()
    most = 1.0
    for k, (name, rows) in enumerate(series.items()):
        n, t = np.array(sorted(rows), float).T
        most = max(most, n[-1] / n[0])
        colour = SERIES[k % 5]
        ax.plot(n, t[0] / t, marker="osv^D"[k % 5], ms=4, lw=1.3, color=colour, label=name)
    ax.plot([1, most], [1, most], color="#888888", ls=":", lw=1, label="ideal")
    from matplotlib.ticker import FormatStrFormatter, LogLocator, NullLocator

    for axis, scale in ((ax.xaxis, ax.set_xscale), (ax.yaxis, ax.set_yscale)):  # 1 to 2 beside 1 to 16
        scale("log", base=2)
        axis.set_major_locator(LogLocator(base=2))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FormatStrFormatter("%g"))
    _style(ax, "speed-up over one", unit)
    ax.legend(fontsize=_size(figure) - 0.5, frameon=False)
    return figure


def draw_label_panels(
    image: xr.Dataset, classes: xr.Dataset, track: xr.Dataset, title: str, *, width: float = PAGE
) -> Figure:
    """Three views of a labelled track: heights over the image, labels over the image, labels over the class map.

    Parameters
    ----------
    image, classes : xarray.Dataset
        Reflectance and class map of one scene.
    track : xarray.Dataset
        Dims (x_atc,), with x, y, height and label.
    title : str
    """
    figure = _figure((3.9, 10.5), schema.titled(title, track.attrs), width)
    axes = figure.subplots(*((3, 1) if _narrow(figure) else (1, 3)), sharex=True, sharey=True)
    at, seen = _place(track, image)
    height = np.asarray(track["height"].values, float)
    good = seen & np.isfinite(height)
    for ax, name in zip(axes, ("elevation", "labels", "labels on the class map"), strict=True):
        if name == "labels on the class map":
            _draw_class_map(ax, classes)
        else:
            _draw_image(ax, image)
        ax.set_title(name, fontsize=_size(figure))
        if name != "elevation":
            _draw_classes_on(ax, track, image, "label")
    _rim(axes[0], at, good)
    low, high = np.percentile(height[good], [2, 98]) if good.any() else (0.0, 1.0)
    shown = {"s": 6, "cmap": "plasma", "vmin": low, "vmax": high, "lw": 0, "zorder": 3, "rasterized": True}
    points = axes[0].scatter(at[0][good], at[1][good], c=height[good], **shown)
    bar = figure.colorbar(points, ax=axes[0], orientation="horizontal", shrink=0.85, pad=0.02)
    bar.set_label("height above mean sea surface (m)", fontsize=_size(figure) - 0.5)
    bar.ax.tick_params(labelsize=_size(figure) - 0.5)
    if not _narrow(figure):
        for ax in axes[1:]:
            ax.set_ylabel("")
    _class_legend(figure)
    return figure


def _draw_image(ax: Axes, image: xr.Dataset) -> None:
    """Draw an image in natural colours, axes in km from its upper left corner."""
    bands = [
        next(n for n in pair if n in image) for pair in (("B04", "red"), ("B03", "green"), ("B02", "blue"))
    ]
    part = _thinned(image)
    colour = np.stack([np.asarray(part[b].values, float) for b in bands], -1)
    known = np.isfinite(colour)
    top = max(float(np.percentile(colour[known], 99)), 1e-6) if known.any() else 1.0
    picture = np.where(known.all(-1, keepdims=True), np.clip(colour / top, 0, 1) ** 0.7, 0.6)
    _draw_raster(ax, picture, image)


def _draw_class_map(ax: Axes, classes: xr.Dataset) -> None:
    """Draw a class map in the colours of the classes, pale, so that a track shows on it."""
    from matplotlib.colors import to_rgb

    code = np.asarray(_thinned(classes)["surface_class"].values, int)
    picture = np.full((*code.shape, 3), 0.85)
    for k in (0, 1, 2):
        picture[code == k] = 0.45 + 0.55 * np.array(to_rgb(COLOURS[k]))
    _draw_raster(ax, picture, classes)


def _thinned(image: xr.Dataset) -> xr.Dataset:
    every = max(1, max(image.sizes["y"], image.sizes["x"]) // 900)
    return image.isel(y=slice(None, None, every), x=slice(None, None, every))


def _draw_raster(ax: Axes, picture: F8, image: xr.Dataset) -> None:
    from is2ice.science.labels.image_grid import grid_of

    grid = grid_of(image)
    right, bottom = grid.columns * grid.pixel / 1e3, grid.rows * grid.pixel / 1e3
    ax.imshow(picture, extent=(0.0, right, bottom, 0.0))
    ax.set_xlim(0.0, right)
    ax.set_ylim(bottom, 0.0)
    _style(ax, "from the upper edge (km)", "from the left edge (km)")
    ax.grid(False)


def _place(track: xr.Dataset, image: xr.Dataset) -> tuple[tuple[F8, F8], NDArray[np.bool_]]:
    """Position of each segment in the image when it was taken, km, and a mask of those inside."""
    from is2ice.science.labels.image_grid import grid_of, segment_crs, segment_positions

    grid = grid_of(image)
    dx, dy = _shift(track, str(image.attrs.get("scene", "")))
    row, column = segment_positions(track["x"].values + dx, track["y"].values + dy, segment_crs(track), grid)
    seen = (row >= 0) & (row < grid.rows) & (column >= 0) & (column < grid.columns)
    return (column * grid.pixel / 1e3, row * grid.pixel / 1e3), seen


def _rim(ax: Axes, at: tuple[F8, F8], rows: NDArray[np.bool_]) -> None:
    """Draw a rim below points: the image is white to black itself."""
    for edge, size in (("black", 6.4), ("white", 5.2)):
        ax.plot(at[0][rows], at[1][rows], ".", ms=size, color=edge, mec="none", rasterized=True)


def _draw_classes_on(ax: Axes, track: xr.Dataset, image: xr.Dataset, name: str) -> None:
    """Draw a track in the colours of its classes, with the name of its beam."""
    at, seen = _place(track, image)
    code = np.asarray(track[name].values, int)
    _rim(ax, at, seen)
    for k in (-1, 0, 1, 2):
        rows = (code == k) & seen
        ax.plot(at[0][rows], at[1][rows], ".", ms=3, color=COLOURS[k], mec="none", rasterized=True)
    first = np.flatnonzero(seen)
    if first.size:
        k = first[first.size // 2]
        ax.annotate(
            str(track.attrs.get("beam", "")),
            (at[0][k], at[1][k]),
            xytext=(6, 0),
            textcoords="offset points",
            fontsize=_size(ax.figure) - 0.5,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 1},
        )


def _class_legend(figure: Figure) -> None:
    ax = figure.axes[0]
    handles = [ax.plot([], [], "o", ms=5, color=COLOURS[k], label=NAMES[k])[0] for k in (0, 1, 2, -1)]
    columns = 2 if _narrow(figure) else 4
    figure.legend(
        handles=handles, fontsize=_size(figure), ncols=columns, loc="outside lower center", frameon=False
    )


def draw_training(
    published: Mapping[int, tuple[float, float, float]],
    here: Mapping[int, Mapping[str, float | None]],
    title: str,
    *,
    width: float = PAGE,
) -> Figure:
    """Training in replicas under Horovod: speed-up, total time, time per epoch, samples a second.

    Parameters
    ----------
    published : mapping of number of GPUs to (total s, s per epoch, samples per s)
    here : mapping of number of ranks to mapping
        ``total``, ``epoch`` and ``rate`` as :func:`is2ice.reports.published_tables.training_rows` gives them; None or
        absent what was not measured.
    title : str
    """
    figure = _figure((5.2, 6.2), title, width)
    axes = figure.subplots(2, 2, sharex=True).ravel()
    sets: list[tuple[str, dict[int, list[float]], str, str, str]] = [
        ("published, GPUs", {n: list(map(float, row)) for n, row in published.items()}, THEIRS, "s", "--"),
        (
            "here, ranks on processors",
            {n: [_or_nan(r.get(k)) for k in ("total", "epoch", "rate")] for n, r in here.items()},
            SEA,
            "o",
            "-",
        ),
    ]
    most = max([*published, *here, 1])
    axes[0].plot([1, most], [1, most], color="#888888", ls=":", lw=1, label="ideal")
    labels = ("speed-up per epoch", "total time (s)", "time per epoch (s)", "samples per second")
    for name, rows, colour, marker, dashes in sets:
        if not rows:
            continue
        n = np.array(sorted(rows), float)
        total, epoch, rate = np.array([rows[int(k)] for k in n]).T
        for ax, values in zip(axes, (epoch[0] / epoch, total, epoch, rate), strict=True):
            ax.plot(n, values, marker=marker, ms=4, lw=1.3, color=colour, ls=dashes, label=name)
    for ax, label in zip(axes, labels, strict=True):
        _style(ax, label, "GPUs, or ranks" if ax in axes[2:] else "")
        ax.set_xticks([1, 2, 4, 6, 8])
        if label != labels[0]:
            _log_axis(ax)
    axes[0].legend(fontsize=_size(figure) - 0.5, frameon=False)
    if not here:
        _note(axes[0], "not measured here", 0.15)
    return figure


def _log_axis(ax: Axes) -> None:
    """Scale the vertical axis by powers, with plain numbers at 1, 2 and 5."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    ax.set_yscale("log")
    ax.yaxis.set_major_locator(LogLocator(base=10, subs=(1.0, 2.0, 5.0)))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:,.0f}" if v >= 10 else f"{v:g}"))


def _or_nan(value: float | None) -> float:
    return np.nan if value is None else float(value)


def _shift(track: xr.Dataset, scene: str) -> tuple[float, float]:
    """Displacement with which a scene labelled the track, m."""
    names, shifts = (np.atleast_1d(track.attrs.get(k, [])).tolist() for k in ("label_scenes", "label_shift"))
    if scene not in names or len(shifts) < 2 * len(names):
        return 0.0, 0.0
    k = names.index(scene)
    return float(shifts[2 * k]), float(shifts[2 * k + 1])

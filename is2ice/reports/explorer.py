"""A page to look at a store: a polar map of its tracks, and the profile of the track that is clicked.

The page is one HTML file that needs no server and no network. Bokeh is imported when a page is made.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from is2ice import schema
from is2ice.errors import StoreError, require
from is2ice.io.stores import store as stores

from .plot_style import COLOURS, FREEBOARD, NAMES, SEA

__all__ = ["explore"]

#: Points of a profile, and of a line on the map.
POINTS, LINE = 600, 40
#: Profiles hold whole millimetres; this stands for a value that is absent.
ABSENT = -32768
_VALUES = ("height", "h_ref", "freeboard", "freeboard_uncertainty")


@dataclass(frozen=True)
class _Track:
    """What the page holds of a track."""

    name: str
    time: str
    simulated: str
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    mean: float
    water: float
    profile: dict[str, str]
    km: tuple[float, float]


def explore(
    store: str | os.PathLike[str],
    path: str | os.PathLike[str] = "explore.html",
    *,
    points: int = POINTS,
    progress: Callable[[str], None] | None = None,
) -> Path:
    """Write a page with a map of the tracks of a store; a click on a track shows its profile.

    Parameters
    ----------
    store : path or URL
        A working or published store.
    path : path
        Page to write (``.html``).
    points : int
        Segments shown of each track, evenly spaced among the filled ones.
    progress : callable, optional
        Takes the name of each track that was read.

    Returns
    -------
    Path

    Raises
    ------
    StoreError
        No store, an empty one, or a page that cannot be written.
    ValueError
        Another ending than ``.html``.
    """
    require("bokeh")
    page = Path(path)
    if page.suffix.lower() != ".html":
        raise ValueError(f"{page}: expected a page ending in .html")
    if not page.parent.is_dir():
        raise StoreError(f"cannot write {page}: there is no folder {page.parent}; make it, or name another")
    listed = stores.open_store(store)
    tracks, crs = [], set()
    for granule, beam in listed.tracks:
        ds = listed.open_track(granule, [beam], chunks=None).isel(beam=0)
        crs.add(str(ds.attrs.get("crs", "")))
        tracks.append(_read(schema.segments_of(ds), f"{granule} {beam}", points))
        if progress is not None:
            progress(f"{granule} {beam}")
    if not tracks:
        raise StoreError(f"{store}: no track to show")
    if len(crs) > 1:
        raise StoreError(
            f"{store}: tracks of several projections ({', '.join(sorted(crs))}); explore one hemisphere"
        )
    _write(tracks, crs.pop(), str(store), page)
    return page


def _read(ds: xr.Dataset, name: str, points: int) -> _Track:
    filled = np.flatnonzero(np.asarray(ds["n_photons"]) > 0)
    at = filled[np.linspace(0, filled.size - 1, min(points, filled.size)).round().astype(int)]
    line = filled[np.linspace(0, filled.size - 1, min(LINE, filled.size)).round().astype(int)]
    part = ds.isel(x_atc=at)
    km = (part["x_atc"].values - float(ds["x_atc"].values[0])) / 1e3
    codes = part["surface_class"].values if "surface_class" in part else np.full(at.size, schema.UNLABELLED)
    profile = {n: _packed(part[n].values if n in part else np.full(at.size, np.nan)) for n in _VALUES}
    profile["km"] = base64.b64encode(km.astype("<f4").tobytes()).decode()
    profile["code"] = base64.b64encode(codes.astype("i1").tobytes()).decode()
    freeboard = np.asarray(ds["freeboard"]) if "freeboard" in ds else np.array([np.nan])
    water = np.asarray(ds["surface_class"]) if "surface_class" in ds else np.array([-1])
    known = np.isfinite(freeboard).any()
    return _Track(
        name,
        str(ds.attrs.get("time_coverage_start", ""))[:16],
        str(schema.simulated_by(ds.attrs) or ""),
        ds["x"].values[line] / 1e3,
        ds["y"].values[line] / 1e3,
        float(np.nanmean(freeboard)) if known else float("nan"),
        float((water == schema.OPEN_WATER).sum() / max(1, (water != schema.UNLABELLED).sum())),
        profile,
        (float(km[0]), float(km[-1])) if km.size else (0.0, 0.0),
    )


def _packed(values: NDArray[Any]) -> str:
    """Pack heights as whole millimetres in base64."""
    with np.errstate(invalid="ignore"):
        whole = np.where(np.isfinite(values), np.clip(np.round(values * 1e3), -32767, 32767), ABSENT)
    return base64.b64encode(whole.astype("<i2").tobytes()).decode()


#: Runs in the page at each click: unpacks the profile of the track, and scales the axes to it.
_SHOW = """
const i = cb_obj.indices[0];
if (i === undefined) { return; }
const p = profiles[i];
const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer;
const metres = (text) => Array.from(new Int16Array(bytes(text)), (v) => v === absent ? NaN : v / 1000);
const height = metres(p.height), h_ref = metres(p.h_ref), freeboard = metres(p.freeboard);
const error = metres(p.freeboard_uncertainty);
const code = Array.from(new Int8Array(bytes(p.code)));
segments.data = {
  km: Array.from(new Float32Array(bytes(p.km))), height: height, h_ref: h_ref, freeboard: freeboard,
  low: freeboard.map((v, k) => v - error[k]), high: freeboard.map((v, k) => v + error[k]),
  colour: code.map((c) => colours[String(c)]), name: code.map((c) => names[String(c)]),
};
above.title.text = titles[i];

"""


def _write(tracks: list[_Track], crs: str, store: str, page: Path) -> None:
    from bokeh.embed import file_html
    from bokeh.layouts import column, row
    from bokeh.models import ColumnDataSource, CustomJS, Select
    from bokeh.resources import INLINE

    simulated = any(t.simulated for t in tracks)
    title = f"{'SIMULATED: ' if simulated else ''}{store}, {len(tracks)} tracks"
    source = ColumnDataSource(
        {
            "xs": [t.x for t in tracks],
            "ys": [t.y for t in tracks],
            "name": [t.name for t in tracks],
            "time": [t.time for t in tracks],
            "mean": [t.mean for t in tracks],
            "water": [t.water for t in tracks],
        }
    )
    polar, line = _map(source, tracks, crs, title)
    segments = ColumnDataSource(
        {n: [] for n in ("km", "height", "h_ref", "freeboard", "low", "high", "colour", "name")}
    )
    above, below = _profile(segments)
    show = CustomJS(
        args={
            "segments": segments,
            "above": above,
            "profiles": [t.profile for t in tracks],
            "titles": [f"{'SIMULATED: ' if t.simulated else ''}{t.name} {t.time}" for t in tracks],
            "colours": {str(k): v for k, v in COLOURS.items()},
            "names": {str(k): v for k, v in NAMES.items()},
            "absent": ABSENT,
        },
        code=_SHOW,
    )
    source.selected.js_on_change("indices", show)
    chosen = Select(
        title="colour", value="mean", options=[("mean", "mean freeboard"), ("water", "share of open water")]
    )
    chosen.js_on_change(
        "value",
        CustomJS(
            args={
                "line": line,
                "limits": {"mean": _limits(tracks, "mean"), "water": _limits(tracks, "water")},
            },
            code="""
            const by = line.glyph.line_color;
            by.transform.low = limits[cb_obj.value][0];
            by.transform.high = limits[cb_obj.value][1];
            line.glyph.line_color = {field: cb_obj.value, transform: by.transform};
            """,
        ),
    )
    page.write_text(file_html(row(column(chosen, polar), column(above, below)), INLINE, title))


def _limits(tracks: list[_Track], name: str) -> tuple[float, float]:
    values = np.array([getattr(t, name) for t in tracks])
    values = values[np.isfinite(values)]
    if not values.size or values.min() == values.max():
        return 0.0, float(values.max()) or 1.0 if values.size else 1.0
    return float(values.min()), float(values.max())


def _map(source: Any, tracks: list[_Track], crs: str, title: str) -> tuple[Any, Any]:
    """Draw the tracks on their polar projection, with circles of latitude."""
    from bokeh.models import ColorBar, HoverTool, LinearColorMapper, TapTool
    from bokeh.palettes import Viridis256
    from bokeh.plotting import figure

    polar = figure(
        name="map",
        frame_width=520,
        frame_height=520,
        title=title,
        tools="pan,wheel_zoom,box_zoom,reset,save",
        x_axis_label=f"x (km, {crs})",
        y_axis_label="y (km)",
        active_scroll="wheel_zoom",
    )
    if crs:
        for label, x, y in _circles(crs):
            polar.line(x, y, line_color="#CCCCCC", line_width=0.7, level="underlay")
            polar.text([x[0]], [y[0]], [label], text_font_size="8px", text_color="#999999")
    low, high = _limits(tracks, "mean")
    mapper = LinearColorMapper(palette=Viridis256, low=low, high=high, nan_color="#BBBBBB")
    line = polar.multi_line(
        "xs",
        "ys",
        source=source,
        line_width=3,
        line_color={"field": "mean", "transform": mapper},
        selection_line_color=SEA,
        nonselection_line_alpha=0.5,
        hover_line_color=SEA,
    )
    polar.add_tools(
        TapTool(renderers=[line]),
        HoverTool(
            renderers=[line],
            tooltips=[
                ("track", "@name"),
                ("time", "@time"),
                ("mean freeboard", "@mean{0.00} m"),
                ("water", "@water{0.0%}"),
            ],
        ),
    )
    polar.add_layout(ColorBar(color_mapper=mapper, width=10), "right")
    all_x, all_y = (np.concatenate([getattr(t, n) for t in tracks]) for n in "xy")
    half = 0.55 * max(
        float(np.ptp(all_x)), float(np.ptp(all_y)), 1.0
    )  # the same for both axes: a map keeps its shape
    for span, values in ((polar.x_range, all_x), (polar.y_range, all_y)):
        middle = 0.5 * float(values.min() + values.max())
        span.start, span.end = middle - half, middle + half
    return polar, line


def _circles(crs: str) -> list[tuple[str, NDArray[np.float64], NDArray[np.float64]]]:
    """Circles of latitude every 5 degrees, km in the projection."""
    from pyproj import Transformer

    to = Transformer.from_crs("EPSG:4326", crs, always_xy=True)
    south = to.transform(0.0, -80.0)[1] ** 2 < to.transform(0.0, 80.0)[1] ** 2
    longitude = np.linspace(-180.0, 180.0, 181)
    out = []
    for latitude in range(55, 90, 5):
        x, y = to.transform(longitude, np.full(longitude.size, -latitude if south else latitude))
        out.append((f"{latitude}°{'S' if south else 'N'}", np.asarray(x) / 1e3, np.asarray(y) / 1e3))
    return out


def _profile(segments: Any) -> tuple[Any, Any]:
    """Draw empty panels of heights and of freeboard, which a click fills."""
    from bokeh.models import HoverTool
    from bokeh.plotting import figure

    tools = "pan,wheel_zoom,box_zoom,reset,save"
    above = figure(
        name="profile",
        width=760,
        height=340,
        tools=tools,
        title="click a track",
        y_axis_label="height above mean sea surface (m)",
    )
    above.scatter("km", "height", source=segments, color="colour", size=3)
    above.line("km", "h_ref", source=segments, color=SEA, line_width=2, legend_label="local sea surface")
    above.add_tools(
        HoverTool(tooltips=[("km", "@km{0.00}"), ("height", "@height{0.00} m"), ("class", "@name")])
    )
    below = figure(
        width=760,
        height=280,
        tools=tools,
        x_range=above.x_range,
        x_axis_label="distance from the start of the track (km)",
        y_axis_label="total freeboard (m)",
    )
    below.segment("km", "low", "km", "high", source=segments, color="#BBBBBB")
    below.scatter("km", "freeboard", source=segments, color="colour", size=3)
    below.add_tools(
        HoverTool(tooltips=[("km", "@km{0.00}"), ("freeboard", "@freeboard{0.00} m"), ("class", "@name")])
    )
    for name, colour in ((NAMES[c], COLOURS[c]) for c in (0, 1, 2)):
        below.scatter([], [], color=colour, legend_label=name)
    below.xgrid.grid_line_color = above.xgrid.grid_line_color = FREEBOARD + "22"
    return above, below

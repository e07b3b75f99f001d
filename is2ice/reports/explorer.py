"""A page to look at a store: a polar map of its tracks, and the profile of the track that is clicked.

The page is one HTML file that needs no server and no network. The map alone is drawn when the page opens: the profiles
lie behind it, compressed, and a click unpacks one. Bokeh is imported when a page is made.
"""

from __future__ import annotations

import base64
import os
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from is2ice import schema
from is2ice.errors import StoreError, require
from is2ice.io.remote.whole_files import address, place_of, suffix, written
from is2ice.io.stores import store as stores

from .plot_style import COLOURS, FREEBOARD, NAMES, SEA

__all__ = ["explore", "page_version"]

#: Points of a profile, and of a line on the map: tracks are nearly straight there.
POINTS, LINE = 600, 16
#: Profiles hold whole millimetres; this stands for a value that is absent.
ABSENT = -(2**20)
#: Version of the published store that a page shows, as it stands in the head of the page.
_VERSION = re.compile(rb'<meta name="is2ice-version" content="(\d+)">')
_HEIGHTS = ("height", "h_ref", "freeboard", "freeboard_uncertainty")
_VARIABLES = (*_HEIGHTS, "surface_class", "n_photons")


@dataclass(frozen=True)
class _Track:
    """Content of the page for one track."""

    name: str
    time: str
    simulated: str
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    mean: float
    water: float
    profile: str


def explore(
    store: str | os.PathLike[str],
    path: str | os.PathLike[str] = "explore.html",
    *,
    points: int = POINTS,
    version: int | str | None = None,
    progress: Callable[[str], None] | None = None,
) -> Path | str:
    """Write a page with a map of the tracks of a store; a click on a track shows its profile.

    Parameters
    ----------
    store : path or URL
        A working or published store.
    path : path or address of a bucket
        Page to write (``.html``).
    points : int
        Segments shown of each track, evenly spaced among the filled ones.
    version : int or "draft", optional
        Version of a published store; a number is written into the page (:func:`page_version`).
    progress : callable, optional
        Takes the name of each track that was read.

    Returns
    -------
    Path or str
        Path or address of the page.

    Raises
    ------
    StoreError
        No store, an empty one, or a page that cannot be written.
    ValueError
        Another ending than ``.html``.
    """
    require("bokeh")
    if suffix(path) != ".html":
        raise ValueError(f"{path}: expected a page ending in .html")
    place_of(path)
    listed = stores.open_store(store, version=version)
    tracks = []
    for granule, beam in sorted(listed.tracks):
        ds = listed.open_track(granule, [beam]).isel(beam=0)
        ds = ds[[name for name in _VARIABLES if name in ds]].load()
        tracks.append(_read(schema.segments_of(ds), f"{granule} {beam}", points))
        if progress is not None:
            progress(f"{granule} {beam}")
    if not tracks:
        raise StoreError(f"{store}: no track to show")
    crs = sorted({str(attrs.get("crs", "")) for attrs in listed.tracks.values()})
    if len(crs) > 1:
        raise StoreError(f"{store}: tracks of several projections ({', '.join(crs)}); explore one hemisphere")
    with written(path) as part:
        part.write_text(_page(tracks, crs[0], listed))
    return address(path)


def page_version(path: str | os.PathLike[str]) -> int | None:
    """Return the version of the published store that a page shows; None if it names none, or there is no page.

    Raises
    ------
    StoreError
        The page cannot be read.
    """
    place, name = place_of(path)
    held = place.read(name)
    named = _VERSION.search(held[0][:4096]) if held else None
    return int(named[1]) if named else None


def _read(ds: xr.Dataset, name: str, points: int) -> _Track:
    filled = np.flatnonzero(np.asarray(ds["n_photons"]) > 0)
    at = filled[np.linspace(0, filled.size - 1, min(points, filled.size)).round().astype(int)]
    line = filled[np.linspace(0, filled.size - 1, min(LINE, filled.size)).round().astype(int)]
    freeboard = np.asarray(ds["freeboard"]) if "freeboard" in ds else np.array([np.nan])
    codes = np.asarray(ds["surface_class"]) if "surface_class" in ds else np.full(ds.sizes["x_atc"], -1)
    return _Track(
        name,
        str(ds.attrs.get("time_coverage_start", ""))[:16],
        str(schema.simulated_by(ds.attrs) or ""),
        ds["x"].values[line] / 1e3,
        ds["y"].values[line] / 1e3,
        float(np.nanmean(freeboard)) if np.isfinite(freeboard).any() else float("nan"),
        float((codes == schema.OPEN_WATER).sum() / max(1, (codes != schema.UNLABELLED).sum())),
        _packed(ds, at, codes[at]),
    )


def _packed(ds: xr.Dataset, at: NDArray[np.intp], codes: NDArray[Any]) -> str:
    """Pack the profile of a track for the page, which undoes the steps (``_SHOW``).

    Rows are the distance from the start in m, heights in mm and the class; each is stored as differences along the
    track, its bytes sorted by significance, deflated, in base64: a fifth of the plain numbers.
    """
    x = ds["x_atc"].values
    rows = [x[at] - x[0] if x.size else x[at]]
    for name in _HEIGHTS:
        values = 1e3 * ds[name].values[at] if name in ds else np.full(at.size, np.nan)
        rows.append(np.where(np.isfinite(values), values, ABSENT))
    whole = np.round(np.stack([*rows, codes])).astype("<i4")
    steps = np.diff(whole, axis=1, prepend=np.int32(0)).astype("<i4")
    planes = steps.reshape(-1, 1).view("u1").T.tobytes()
    return base64.b64encode(zlib.compress(planes, 9)).decode()


#: Runs in the page at each click: unpacks the profile of the track (:func:`_packed`).
_SHOW = """
const k = source.selected.indices[0];
if (k === undefined) { return; }
const text = atob(document.getElementById("profile-" + k).textContent);
const packed = new Blob([Uint8Array.from(text, (c) => c.charCodeAt(0))]);
const unpacked = new Response(packed.stream().pipeThrough(new DecompressionStream("deflate"))).arrayBuffer();
unpacked.then((buffer) => {
  if (source.selected.indices[0] !== k) { return; }
  const bytes = new Uint8Array(buffer), size = bytes.length / 4, n = size / 6;
  const row = (r, scale) => {
    let sum = 0;
    return Array.from({length: n}, (_, j) => {
      const i = r * n + j;
      sum += bytes[i] | bytes[size + i] << 8 | bytes[2 * size + i] << 16 | bytes[3 * size + i] << 24;
      return sum === absent ? NaN : sum / scale;
    });
  };
  const freeboard = row(3, 1000), error = row(4, 1000), code = row(5, 1);
  segments.data = {
    km: row(0, 1000), height: row(1, 1000), h_ref: row(2, 1000), freeboard: freeboard,
    low: freeboard.map((v, j) => v - error[j]), high: freeboard.map((v, j) => v + error[j]),
    colour: code.map((c) => colours[String(c)]), name: code.map((c) => names[String(c)]),
  };
  above.title.text = simulated[k] + source.data.name[k] + " " + source.data.time[k];
});
"""


def _page(tracks: list[_Track], crs: str, store: stores.Store) -> str:
    """Write the page, its profiles last: the map does not wait for them."""
    from bokeh.embed import file_html
    from bokeh.layouts import column, row
    from bokeh.models import ColumnDataSource, CustomJS
    from bokeh.resources import INLINE

    simulated = ["SIMULATED: " if t.simulated else "" for t in tracks]
    title = f"{max(simulated)}{store.location}, {len(tracks)} tracks"
    source = ColumnDataSource(
        {
            "xs": [t.x.round(2).tolist() for t in tracks],
            "ys": [t.y.round(2).tolist() for t in tracks],
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
    given = {
        "source": source,
        "segments": segments,
        "above": above,
        "simulated": simulated,
        "colours": {str(k): v for k, v in COLOURS.items()},
        "names": {str(k): v for k, v in NAMES.items()},
        "absent": ABSENT,
    }
    source.selected.js_on_change("indices", CustomJS(args=given, code=_SHOW))
    page = file_html(row(column(_colours(tracks, line), polar), column(above, below)), INLINE, title)
    head, end, tail = page.rpartition("</body>")
    profiles = [
        f'<script type="text/plain" id="profile-{k}">{t.profile}</script>' for k, t in enumerate(tracks)
    ]
    if isinstance(store.version, int):
        head = head.replace("<title>", f'<meta name="is2ice-version" content="{store.version}">\n<title>', 1)
    return "\n".join([head, *profiles, end + tail])


def _colours(tracks: list[_Track], line: Any) -> Any:
    """Choose the values that colour the map."""
    from bokeh.models import CustomJS, Select

    chosen = Select(
        title="colour", value="mean", options=[("mean", "mean freeboard"), ("water", "share of open water")]
    )
    code = """
    const by = line.glyph.line_color;
    by.transform.low = limits[cb_obj.value][0];
    by.transform.high = limits[cb_obj.value][1];
    line.glyph.line_color = {field: cb_obj.value, transform: by.transform};
    """
    limits = {name: _limits(tracks, name) for name in ("mean", "water")}
    chosen.js_on_change("value", CustomJS(args={"line": line, "limits": limits}, code=code))
    return chosen


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
        # Without a point the legend has no mark.
        below.scatter([np.nan], [np.nan], color=colour, size=6, legend_label=name)
    below.xgrid.grid_line_color = above.xgrid.grid_line_color = FREEBOARD + "22"
    return above, below

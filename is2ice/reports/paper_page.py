"""Tables I to V and figures 1 to 11 of Iqrah et al. (2025) for a study, on one HTML page.

A figure or table whose data are missing is named with the reason. What is simulated says so on the page and in every
picture.
"""

from __future__ import annotations

import base64
import html
import json
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from is2ice import schema
from is2ice.classifiers.model_folder import is_model, read_card
from is2ice.classifiers.scores import ClassScore, score_classes
from is2ice.errors import Is2IceError
from is2ice.io.stores import store as stores
from is2ice.science import seasurface
from is2ice.science.metrics import Confusion
from is2ice.workflows.paper import ARCHITECTURES, PAIRS, STEPS, PassData, Study, number_of

from . import plot_figures, plot_scores, plot_workflow, published_tables
from .nasa_comparison import Comparison, compare

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["PageOptions", "as_published", "measure", "window", "write_page"]

log = logging.getLogger("is2ice")

#: The published methods of the sea surface, and ours.
METHODS = ("minimum", "mean", "nearest_minimum", "nasa", "crossfit", "evidence")
#: Longitudes of figures 6, 7, 10 and 11, by the start of the granule's name.
WINDOWS = {"ATL03_20191104195311": (-170.5, -170.0), "ATL03_20191126182014": (-162.96, -162.7)}
#: Distances (m) and heights (m) of figures 8 and 9 for the same two tracks.
SURFACES = (28.30e6, 28.55e6), (-0.4, 0.4)
#: What the sea surface and the freeboard added, to compute them again by another method.
_ADDED = (
    "h_ref",
    "h_ref_uncertainty",
    "h_ref_flag",
    "lead_index",
    "lead_probability",
    "freeboard",
    "freeboard_uncertainty",
)
_CSS = (
    "body{font:15px sans-serif;max-width:64em;margin:2em auto;padding:0 1em}img{max-width:100%}"
    "table{border-collapse:collapse;margin:1em 0;font-size:13px}td,th{padding:.2em .7em;border-bottom:1px solid #ccc;"
    "text-align:left}.sim{background:#ffe9c7;padding:.6em}figure{margin:2em 0}figcaption{font-size:13px;color:#444}"
)
#: What each figure shows, by its name.
CAPTIONS = {
    "1_workflow": "Figure 1. Steps of the study.",
    "2_labels": "Figure 2. Heights over the image, labels over the image, and labels over the class map.",
    "3_stages": "Figure 3. Stages of one track and the variables that each adds.",
    "4_confusion": "Figure 4. Predicted classes against labels: LSTM and MLP on windows that training did not see.",
    "5_horovod": "Figure 5. Training in replicas under Horovod: published, and measured here.",
    "6_classes": "Figure 6. Classes at 2 m beside NASA's types and Koo's classes, first track.",
    "7_classes": "Figure 7. The same for the second track.",
    "8_sea_surfaces": "Figure 8. Local sea surface by the four published methods and ours, first track.",
    "9_sea_surface": "Figure 9. Our sea surface beside ATL10's reference and Koo's method, first track.",
    "10_freeboard": "Figure 10. Freeboard along the first track, its distribution, and the density of points.",
    "11_freeboard": "Figure 11. The same for the second track.",
    "scaling_labelling": "Scaling of the labelling (table II).",
    "scaling_freeboard": "Scaling of the freeboard (table V).",
}


@dataclass(frozen=True)
class PageOptions:
    """Options of a page.

    Attributes
    ----------
    classifier : str
        Classifier of the tracks shown in figures 6 to 11, one of the study's.
    measured : Path
        Folder with what the benchmarks wrote (:data:`is2ice.reports.published_tables.FILES`).
    width : float
        Width of figures, cm.
    km : (first, last), optional
        Part of the tracks shown in figures 6, 7, 10 and 11; by default the paper's windows, or the part with most
        leads.
    """

    classifier: str = "lstm"
    measured: Path = Path("build")
    width: float = plot_figures.PAGE
    km: tuple[float, float] | None = None


# -- numbers --------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class _Track:
    """A classified track with the products of its pass; travels to workers."""

    store: str
    granule: str
    beam: str
    atl07: str | None
    atl10: str | None
    koo: str | None

    def __str__(self) -> str:
        return f"{self.granule} {self.beam}"

    def open(self) -> xr.Dataset:
        """Open the track, dims (x_atc,)."""
        cube = stores.open_track(self.store, self.granule, [self.beam], chunks=None)
        return cube.isel(beam=0).assign_attrs(beam=self.beam)

    def compare(self, track: xr.Dataset | None = None) -> Comparison:
        """Compare the track with what there is of its pass."""
        koo = self.koo if self.atl07 else None
        return compare(self.open() if track is None else track, self.atl07, self.atl10, koo=koo)


def _surfaces(track: xr.Dataset) -> dict[str, xr.Dataset]:
    """Sea surface of a classified track by every method."""
    bare = track.drop_vars([name for name in _ADDED if name in track])
    return {method: seasurface.estimate(bare, method) for method in METHODS}


def _measured(item: _Track) -> dict[str, Any]:
    """Sea surface by all methods, freeboard, and the comparison of one track, as JSON can hold it."""
    track = item.open()
    out: dict[str, Any] = {"surfaces": {}, "freeboard": _spread(_ice_freeboard(track)), "comparison": None}
    for method, ds in _surfaces(track).items():
        h = np.asarray(ds["h_ref"].values, float)
        free = np.asarray(track["height"].values, float) - h
        ice = np.isin(track["surface_class"].values, (0, 1))
        out["surfaces"][method] = {"h_ref": _spread(h), "freeboard": _spread(free[ice])}
    if item.atl07 or item.atl10:
        result = item.compare(track)
        out["comparison"] = {**result.numbers, "not_comparable": result.statements}
    return out


def _ice_freeboard(track: xr.Dataset) -> np.ndarray:
    ice = np.isin(track["surface_class"].values, (0, 1))
    return np.asarray(track["freeboard"].values, float)[ice]


def _spread(values: np.ndarray) -> dict[str, float | int]:
    values = values[np.isfinite(values)]
    if not values.size:
        return {"n": 0}
    low, middle, high = np.percentile(values, [10, 50, 90])
    numbers = {"mean": values.mean(), "sd": values.std(), "p10": low, "median": middle, "p90": high}
    return {"n": int(values.size), **{k: round(float(v), 4) for k, v in numbers.items()}}


def _tracks(study: Study, classifier: str) -> list[_Track]:
    """All classified tracks of a study."""
    held = stores.open_store(study.tracks(classifier))
    koo = str(study.model("koo")) if is_model(study.model("koo")) else None
    passes = {stores.group_name(p.name): p for p in study.passes}
    return [
        _Track(str(study.tracks(classifier)), granule, beam, p.atl07, p.atl10, koo)
        for granule, beam in sorted(held.tracks)
        if (p := passes.get(granule)) is not None
    ]


def measure(study: Study, classifier: str = "lstm") -> dict[str, Any]:
    """Measure every classified track on the engine of the study, and keep the numbers in ``measured.json``.

    Returns
    -------
    dict
        By track (``granule beam``): ``surfaces`` by method, ``freeboard`` of ice, and ``comparison`` (None without a
        product). A track that fails is named in ``study.failed``.
    """
    out: dict[str, Any] = {}
    for item, result in study.settings.execution.map(_measured, _tracks(study, classifier)):
        if isinstance(result, BaseException):
            study.failed[f"measure {item}"] = str(result)
        else:
            out[str(item)] = result
    out = dict(sorted(out.items()))
    (study.folder / "measured.json").write_text(json.dumps(out, indent=1))
    return out


# -- figures --------------------------------------------------------------------------------------------
def window(track: xr.Dataset, km: tuple[float, float] | None = None) -> tuple[float, float] | None:
    """Return the part to show, km from the start: as asked for, the paper's for its two tracks, else None."""
    if km is not None:
        return km
    west, east = WINDOWS.get(str(track.attrs.get("granule"))[:20], (np.nan, np.nan))
    (inside,) = np.nonzero((track.longitude.values >= west) & (track.longitude.values <= east))
    return (inside[0] * 0.002, inside[-1] * 0.002) if inside.size else None


def as_published(figure: Figure, track: xr.Dataset) -> Figure:
    """Show figure 8 or 9 in the paper's window, if the track is one of its two and reaches there."""
    first, last = (float(track.x_atc[k]) for k in (0, -1))
    is_theirs = str(track.attrs.get("granule"))[:20] in WINDOWS
    low, high = SURFACES[0]
    if is_theirs and min(last, high) - max(first, low) > 0.5 * (high - low):
        figure.axes[0].set_xlim(*(np.array(SURFACES[0]) - first) / 1e3)
        figure.axes[0].set_ylim(*SURFACES[1])
    return figure


def _shown(tracks: list[_Track], numbers: Mapping[str, Any]) -> list[_Track]:
    """Choose two tracks of different passes: the paper's (rows 2 and 8, gt2r), else those with most leads.

    A beam on which ATL10 has a sea surface goes before one that can be compared with nothing.
    """
    if not tracks:
        return []
    leads = {
        (g, b): int(a.get("n_leads") or stores.track_summary(a).get("n_leads") or 0)
        for (g, b), a in stores.open_store(tracks[0].store).tracks.items()
    }

    def rank(t: _Track) -> tuple[bool, bool, bool, int]:
        compared = (numbers.get(str(t), {}).get("comparison") or {}).get("sea_surface") or {}
        is_theirs, has_surface = number_of(t.granule) in (2, 8), bool(compared.get("n"))
        return is_theirs, has_surface, t.beam == "gt2r", leads.get((t.granule, t.beam), 0)

    best: dict[str, _Track] = {}
    for t in sorted(tracks, key=rank, reverse=True):
        best.setdefault(t.granule, t)
    return sorted(list(best.values())[:2], key=lambda t: t.granule)


def _label_figure(study: Study, options: PageOptions, wanted: list[_Track]) -> Figure | str:
    """Figure 2 of a labelled pass: one of those shown, else the first labelled."""
    from is2ice.sentinel2.scene import class_map, open_scene

    held = stores.open_store(study.labelled)
    names = [t.granule for t in wanted] + sorted(held.granules)
    granule = next(g for g in names if g in held.granules)
    beam = max(held.beams(granule), key=lambda b: (b == "gt2r", b))
    track = held.open_track(granule, [beam], chunks=None).isel(beam=0).assign_attrs(beam=beam)
    p = next(p for p in study.passes if stores.group_name(p.name) == granule)
    items = list(p.scenes["item"]) if hasattr(p.scenes, "columns") else list(p.scenes)
    for item in items:
        image = open_scene(item)
        if image.attrs["scene"] in np.atleast_1d(track.attrs["label_scenes"]):
            title = f"Labels over their image\n{image.attrs['scene']}\n{granule} {beam}"
            return plot_figures.draw_label_panels(image, class_map(image), track, title, width=options.width)
    return "the image of the labels is not among the items of the pass"


def _confusion_figure(study: Study, classifier: str) -> Figure | str:
    """Figure 4: of LSTM and MLP on their test windows; without them, of the classifier on all labels."""
    simulated: dict[str, Any] = {}
    for attrs in stores.open_store(study.labelled).tracks.values():
        simulated |= {k: v for k, v in attrs.items() if k == schema.SIMULATED}
    scores = {}
    for name in (n for n in ARCHITECTURES if is_model(study.model(n))):
        card = read_card(study.model(name))
        scores[name.upper()] = ClassScore(Confusion(np.array(card["scores"]["test"]["matrix"])))
    how = "windows drawn at random"
    if not scores:
        scores, how = {classifier: _label_score(study, classifier)}, "all labelled segments"
    title = schema.titled(f"Classes against labels, {how}", simulated)
    return plot_scores.confusion(scores, title=title, against="label")


def _label_score(study: Study, classifier: str) -> ClassScore:
    """Score the classified tracks of a study against the labels."""
    total = ClassScore(Confusion(np.zeros((len(schema.CLASSES), len(schema.CLASSES) + 1), np.int64)))
    labelled, classified = stores.open_store(study.labelled), stores.open_store(study.tracks(classifier))
    for granule, beam in labelled.tracks.keys() & classified.tracks.keys():
        label = labelled.open_track(granule, [beam], chunks=None)["label"].isel(beam=0)
        code = classified.open_track(granule, [beam], chunks=None)["surface_class"].isel(beam=0)
        code = code.reindex(x_atc=label["x_atc"], fill_value=schema.UNLABELLED)
        total += score_classes(label.values, code.values)
    return total


def _scaling_figure(measured: Mapping[str, Any], kind: str, width: float) -> Figure | str:
    rows = published_tables.scaling_rows(measured["scaling"], kind)
    if not rows:
        return f"not measured here (no {published_tables.FILES['scaling']})"
    lines = {
        f"here: {e}": [(r["workers"], r["reduce"]) for r in rows if r["engine"] == e]
        for e in {r["engine"]: 0 for r in rows}
    }
    lines["paper, cores of its cluster"] = sorted(
        (e * c, v[2]) for (e, c), v in published_tables.PUBLISHED[kind].items() if e == 1 or c == 4
    )
    title = f"Scaling of the {kind}, computing (reduce)" + _state(measured["scaling"])
    return plot_figures.draw_scaling(lines, title, "workers, or cores", width=width)


def _state(measured: Any) -> str:
    """Return a second line of a title: the machine on which something was measured."""
    text = published_tables.machine_state(measured).lstrip(", ").split(": ")[0]
    return f"\nhere: {text}" if text else ""


def figures(
    study: Study, options: PageOptions, numbers: Mapping[str, Any]
) -> Iterator[tuple[str, Callable[[], Figure | str]]]:
    """Yield the name of each figure and a function that draws it, or gives the reason why there is none."""
    measured, width = published_tables.read_measured(options.measured), options.width
    tracks = _tracks(study, options.classifier)
    shown = _shown(tracks, numbers)
    results: dict[int, Comparison] = {}

    def result(k: int) -> Comparison | str:
        if k >= len(shown):
            return "no second pass"
        if not (shown[k].atl07 or shown[k].atl10):
            return "no product of this pass (ATL07 or ATL10)"
        if k not in results:
            results[k] = shown[k].compare()
        return results[k]

    def of(k: int, draw: Callable[[Comparison], Figure]) -> Callable[[], Figure | str]:
        def figure() -> Figure | str:
            found = result(k)
            return found if isinstance(found, str) else draw(found)

        return figure

    def classes(c: Comparison) -> Figure:
        return plot_figures.draw_classes(c, window(c.track, options.km), width=width)

    def freeboards(c: Comparison) -> Figure:
        return plot_figures.draw_freeboards(c, window(c.track, options.km), width=width)

    def surface(c: Comparison) -> Figure:
        return as_published(plot_figures.draw_surfaces(c, width=width), c.track)

    def methods() -> Figure | str:
        if not shown:
            return "no track was classified"
        track = shown[0].open()
        return as_published(
            plot_figures.draw_methods(track, _surfaces(track), str(shown[0]), width=width), track
        )

    def horovod() -> Figure:
        here = published_tables.training_rows(measured["training"])
        title = "Training in replicas under Horovod" + _state(measured["training"])
        return plot_figures.draw_training(published_tables.PUBLISHED["training"], here, title, width=width)

    yield "1_workflow", lambda: plot_workflow.draw_steps(STEPS, width=width)
    yield "2_labels", lambda: _label_figure(study, options, shown)
    yield "3_stages", lambda: plot_workflow.draw_stages(width=width)
    yield "4_confusion", lambda: _confusion_figure(study, options.classifier)
    yield "5_horovod", horovod
    for kind in ("labelling", "freeboard"):
        yield f"scaling_{kind}", lambda kind=kind: _scaling_figure(measured, kind, width)  # type: ignore[misc]
    for k, names in enumerate((("6_classes", "10_freeboard"), ("7_classes", "11_freeboard"))):
        yield names[0], of(k, classes)
        yield names[1], of(k, freeboards)
    yield "8_sea_surfaces", methods
    yield "9_sea_surface", of(0, surface)


# -- the page -------------------------------------------------------------------------------------------
def write_page(study: Study, options: PageOptions | None = None) -> Path:
    """Measure the classified tracks of a study, draw all figures, and write ``index.html`` in its folder.

    Returns
    -------
    Path
        The page. Pictures lie beside it in ``figures/`` as well.
    """
    options = options or PageOptions()
    study.say(f"measure: {STEPS[-1].about}")
    with study.timed(STEPS[-1].name):
        numbers = measure(study, options.classifier)
    folder = study.folder / "figures"
    folder.mkdir(exist_ok=True)
    pictures: dict[str, str] = {}
    for name, draw in figures(study, options, numbers):
        try:
            figure = draw()
        except (Is2IceError, ValueError, OSError) as error:  # one figure stops no other
            figure = str(error)
        if isinstance(figure, str):
            study.say(f"  figure {name}: {figure}")
            pictures[name] = f"<p>{html.escape(CAPTIONS[name])} Not drawn: {html.escape(figure)}.</p>"
            continue
        path = folder / f"figure_{name}.png"
        figure.savefig(path, dpi=150)
        data = base64.b64encode(path.read_bytes()).decode()
        caption = html.escape(CAPTIONS[name])
        pictures[name] = (
            f'<figure id="{name}"><img alt="{caption}" src="data:image/png;base64,{data}">'
            f"<figcaption>{caption}</figcaption></figure>"
        )
    tables = [_table_1(study), *_published(study, options), *_own_tables(study, numbers), _seconds(study)]
    page = study.folder / "index.html"
    shown = {k: pictures[k] for k in CAPTIONS if k in pictures}
    page.write_text(_page(study, tables, shown, _by_track(numbers)))
    study.say(f"page: {page}")
    return page


def _page(study: Study, tables: list[str], pictures: Mapping[str, str], folded: str) -> str:
    from markdown_it import MarkdownIt  # comes with rich

    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    simulated = {
        a[schema.SIMULATED]
        for a in stores.open_store(study.labelled).tracks.values()
        if schema.SIMULATED in a
    }
    title = "Iqrah et al. (2025), arXiv:2502.02700, reproduced" + (
        " on SIMULATED passes" if simulated else ""
    )
    told = html.escape("; ".join(sorted(map(str, simulated))))
    note = (
        f'<p class="sim"><b>Simulated.</b> Passes and images are simulated: the tables show that the chain works, not '
        f"what the satellite saw. Made by: {told}.</p>"
        if simulated
        else ""
    )
    failed = (
        "".join(f"<li>{html.escape(k)}: {html.escape(v)}</li>" for k, v in study.failed.items())
        or "<li>none</li>"
    )
    # Names of granules and images may break behind an underscore, or their tables would leave the page.
    body, last = (
        re.sub(r"<td>.*?</td>", lambda m: m[0].replace("_", "_<wbr>"), markdown.render("\n".join(some)))
        for some in (tables, [folded])
    )
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title><style>{_CSS}</style>'
        f"<h1>{html.escape(title)}</h1>{note}<h2>Tables</h2>{body}<h2>Figures</h2>{''.join(pictures.values())}"
        f"<h2>What failed</h2><ul>{failed}</ul><details><summary>Every track</summary>{last}</details></html>\n"
    )


def _table_1(study: Study) -> str:
    """Table I, and below it the passes of the study."""
    held = stores.open_store(study.labelled)
    shifts, rows = {}, []
    for p in study.passes:
        granule = stores.group_name(p.name)
        beams = held.beams(granule)
        attrs = held.tracks[granule, beams[0]] if beams else {}
        text, count = _shift(study, p, attrs), study.count_labels(p)
        rows.append(
            f"| {p.name} | {', '.join(map(str, np.atleast_1d(attrs.get('label_scenes', []))))} | "
            f"{', '.join(beams)} | {'-' if count is None else f'{count:,}'} | {text} |"
        )
        if (number := number_of(p.name)) is not None:
            shifts[number] = text
    head = "\n### Passes of this study\n\n| pass | images used | beams | labelled segments | displacement |\n"
    head += "|---|---|---|---|---|\n"
    return published_tables.table_1(PAIRS, shifts) + head + "\n".join(rows) + "\n"


def _shift(study: Study, p: PassData, attrs: Mapping[str, Any]) -> str:
    """Displacement of the ice of a pass in words, or why it has none."""
    if not attrs:
        why = next((v for k, v in study.failed.items() if k.startswith(f"label {p.name}")), "not labelled")
        return "refused: " + why.split("refused (")[-1].split("). Give")[0].replace("|", "/")[-160:]
    shift = np.asarray(attrs.get("label_shift", []), float).reshape(-1, 2)
    return "; ".join(f"{np.hypot(*v):.0f} m ({v[0]:+.0f}, {v[1]:+.0f} in {attrs.get('crs')})" for v in shift)


def _published(study: Study, options: PageOptions) -> list[str]:
    """Tables II to V."""
    have = published_tables.read_measured(options.measured)
    scores = {}
    for name in ("mlp", "lstm"):
        for suffix, text in (("", "random windows"), ("_by_scene", "")):
            folder = study.model(name + suffix)
            if is_model(folder):
                card = read_card(folder)
                how = f"by {card.get('split', {}).get('by', 'scene')}" if suffix else text
                scores[f"{name.upper()}, {how}"] = card["scores"]["test"]
    if is_model(study.model("koo")):
        scores["Koo's MLP on ATL07, random segments"] = read_card(study.model("koo"))["scores"]["test"]
    for name in study.classifiers:
        if stores.is_store(study.tracks(name)):
            shown = name.upper() if name in ARCHITECTURES else name
            scores[f"{shown}, all labelled cells"] = _label_score(study, name).to_dict()
    return [
        published_tables.table_2(have["scaling"]),
        published_tables.table_3(have["scores"], scores),
        published_tables.figure_4(
            {
                f"{name.upper()}, here": read_card(study.model(name))["scores"]["test"]["matrix"]
                for name in ARCHITECTURES
                if is_model(study.model(name))
            }
        ),
        published_tables.table_4(have["training"]),
        published_tables.table_5(have["scaling"]),
    ]


_COLUMNS = (
    "h_ref mean | sd | freeboard of ice: mean | median | p10 | p90 |\n|---|---|---|---|---|---|---|---|\n"
)


def _by_track(numbers: Mapping[str, Any]) -> str:
    """Sea surface by method and freeboard of each track."""
    cells = []
    for name, one in numbers.items():
        for method, d in one["surfaces"].items():
            parts = [f"{v:.3f}" for v in _row(d)] or ["no lead within reach", *[""] * 5]
            cells.append(f"| {name} | {method.replace('_', ' ')} | {' | '.join(parts)} |")
    return (
        f"### Sea surface and freeboard by track and method, m\n\n| track | method | {_COLUMNS}"
        + "\n".join(cells)
        + "\n"
    )


def _row(d: Mapping[str, Any]) -> list[float]:
    """Numbers of a sea surface and its freeboard in the order of the columns; none without a lead."""
    h, f = d["h_ref"], d["freeboard"]
    return (
        [h["mean"], h["sd"], *(f[k] for k in ("mean", "median", "p10", "p90"))] if h["n"] and f["n"] else []
    )


def _own_tables(study: Study, numbers: Mapping[str, Any]) -> list[str]:
    """Means over tracks by method, and differences to ATL10 and Koo's method of each track."""
    if not numbers:
        return ["### Sea surface and freeboard\n\nNo track was measured.\n"]
    cells = []
    for method in METHODS:
        tracks = [row for one in numbers.values() if (row := _row(one["surfaces"][method]))]
        means = [f"{v:.3f}" for v in np.mean(tracks, 0)] if tracks else ["-"] * 6
        cells.append(f"| {method.replace('_', ' ')} | {len(tracks)} | {' | '.join(means)} |")
    first = (
        "### Sea surface and freeboard by method, m\n\nMeans over the tracks that have a sea surface by that method; "
        f"each track stands at the end of the page.\n\n| method | tracks | {_COLUMNS}"
        + "\n".join(cells)
        + "\n"
    )
    rows = [f"| {name} | {_against(one['comparison'])} |" for name, one in numbers.items()]
    second = (
        "### Ours minus others, cm (bias, robust sd)\n\n| track | height | sea surface, ATL10 | freeboard, like places "
        "| sea surface, Koo | freeboard, Koo | leads: ours / NASA / Koo |\n|---|---|---|---|---|---|---|\n"
    )
    return [first, second + "\n".join(rows) + "\n"]


def _seconds(study: Study) -> str:
    """Seconds of each step in this call; a resumed study finds most of its work done."""
    rows = [f"| {name.replace('_', ' ')} | {seconds:.0f} |" for name, seconds in study.seconds.items()]
    settings = study.settings
    where = f"engine {settings.execution.name}" + (
        f", {settings.workers} workers" if settings.workers else ""
    )
    return (
        f"### Seconds of this call\n\nHere: {where}. What was there already is kept and costs nothing.\n\n"
        "| step | s |\n|---|---|\n" + "\n".join(rows) + "\n"
    )


def _against(c: Mapping[str, Any] | None) -> str:
    if c is None:
        return "no product | | | | |"
    koo = c.get("koo") or {}
    parts = [
        c["height"],
        c["sea_surface"],
        c["freeboard"]["alike"].get("difference"),
        koo.get("sea_surface"),
        koo.get("freeboard", {}).get("difference"),
    ]
    leads = f"{c['leads']['ours']} / {c['leads']['theirs']} / {koo.get('leads', {}).get('koo', '-')}"
    return " | ".join([*map(_cm, parts), leads])


def _cm(d: Mapping[str, Any] | None) -> str:
    if not d or not d.get("n"):
        return "-"
    return f"{100 * d['bias']:+.1f}, {100 * d['robust_sd']:.1f} (n {d['n']:,})"

"""One HTML page to correct labels by eye: a picture of each doubtful stretch, and a form that makes a corrections file.

The page needs no server: it opens from disk, and the file is saved by the browser.
"""

from __future__ import annotations

import base64
import html
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from is2ice import schema
from is2ice.io.stores import store as stores
from is2ice.science.labels.corrections import review

from .plot_labels import draw_stretch

__all__ = ["write_review_page"]

#: Track shown beyond a stretch on either side, m.
_MARGIN = 60.0
_CSS = (
    "body{font:15px sans-serif;max-width:64em;margin:2em auto;padding:0 1em}img{max-width:100%;display:block}"
    "section{border-top:1px solid #ccc;padding:1em 0}label{margin-right:1em}input[type=number]{width:9em}"
    "#bar{position:sticky;top:0;background:white;padding:.6em 0;border-bottom:2px solid #888}.set{background:#e3f4e3}"
)
_SCRIPT = """
const quote = v => /[",\\n]/.test(v) ? '"' + v.replace(/"/g, '""') + '"' : v;
const value = (s, n) => s.querySelector('[name=' + n + ']').value.trim();
function corrections() {
  const who = document.getElementById('who').value.trim(), rows = [], faults = [];
  for (const s of document.querySelectorAll('section')) {
    const label = value(s, 'label');
    s.classList.toggle('set', label !== '');
    if (label === '') continue;
    const a = Number(value(s, 'from')), b = Number(value(s, 'to')), why = value(s, 'why') || 'by eye';
    if (!(a < b)) faults.push(s.id + ': from must be below to');
    rows.push([s.dataset.track, a, b, label, who, why].map(v => quote(String(v))).join(','));
  }
  if (rows.length && !who) faults.push('give your name');
  return {rows, faults};
}
function refresh() {
  const {rows, faults} = corrections();
  document.getElementById('count').textContent = [rows.length + ' corrections', ...faults].join('; ');
  document.getElementById('save').disabled = !rows.length || faults.length > 0;
}
function save() {
  const {rows} = corrections(), link = document.createElement('a');
  const text = HEAD + rows.map(r => r + '\\n').join('');
  link.href = URL.createObjectURL(new Blob([text], {type: 'text/csv'}));
  link.download = 'corrections.csv';
  link.click();
}
document.addEventListener('input', refresh);
document.getElementById('save').addEventListener('click', save);
refresh();
"""


def write_review_page(
    segments: xr.Dataset,
    path: str | Path,
    *,
    images: dict[str, xr.Dataset] | None = None,
    granule: Any = None,
    shortest: float = 20.0,
    most: int = 20,
) -> int:
    """Write the page of the stretches in which label and predicted class disagree, the longest first.

    Parameters
    ----------
    segments : xarray.Dataset
        Labelled cube or track of one granule.
    path : path
        HTML file.
    images : dict of str to xarray.Dataset, optional
        Reflectance by name of the scene; without it the reflectance kept beside the labels is shown.
    granule : source, optional
        ATL03, for photons.
    shortest : float
        Shortest stretch, m.
    most : int
        Stretches on the page.

    Returns
    -------
    int
        Number of stretches on the page.
    """
    found = review(segments, shortest=shortest).head(most)
    names = "".join(f"<option>{name}</option>" for name in (*schema.CLASSES, "unlabelled"))
    sections = [
        _section(k, row, segments, images or {}, granule, names)
        for k, row in enumerate(found.to_dict("records"), 1)
    ]
    title = schema.titled(f"Labels of {segments.attrs.get('granule', 'a track')} to review", segments.attrs)
    head = "# Labels corrected by hand; the later line wins. Distances in m along the track.\n"
    head += "track,x_atc_from,x_atc_to,label,who,why\n"
    script = f"const HEAD = {json.dumps(head)};{_SCRIPT}"
    bar = (
        '<div id="bar"><label>your name <input id="who"></label><button id="save">Save corrections.csv</button> '
        '<span id="count"></span></div>'
    )
    text = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title><style>{_CSS}</style>'
        f"<h1>{html.escape(title)}</h1><p>Choose a label where the given one is wrong, then save. Apply the file with "
        f"<code>is2ice labels make ... --corrections corrections.csv</code>.</p>{bar}{''.join(sections)}"
        f"<script>{script}</script></html>\n"
    )
    path = Path(path)
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)
    return len(sections)


def _section(
    number: int,
    row: dict[Any, Any],
    segments: xr.Dataset,
    images: dict[str, xr.Dataset],
    granule: Any,
    names: str,
) -> str:
    """One stretch: its picture and its form."""
    beam = str(row["track"]).rpartition("/")[2]
    track = segments.sel(beam=[beam]) if "beam" in segments.dims else segments
    window = float(row["x_atc_from"]) - _MARGIN, float(row["x_atc_to"]) + _MARGIN
    image, shift = _image(track, images)
    figure = draw_stretch(track, window, image=image, photons=_photons(granule, beam, window), shift=shift)
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=100)
    label, predicted = (str(row[k]).replace("_", " ") for k in ("label", "surface_class"))
    track_name = f"{stores.group_name(str(segments.attrs.get('granule', 'track')))}/{beam}"
    what = (
        f"{number}. {beam}, {row['x_atc_from']:.0f} to {row['x_atc_to']:.0f} m: label {label}, predicted {predicted}, "
        f"{row['segments']} segments"
    )
    form = (
        f'<label>label <select name="label"><option value="">keep</option>{names}</select></label>'
        f'<label>from <input type="number" name="from" step="2" value="{row["x_atc_from"]:.0f}"></label>'
        f'<label>to <input type="number" name="to" step="2" value="{row["x_atc_to"]:.0f}"></label>'
        '<label>why <input name="why"></label>'
    )
    picture = base64.b64encode(data.getvalue()).decode()
    return (
        f'<section id="stretch-{number}" data-track="{html.escape(track_name)}"><h2>{html.escape(what)}</h2>'
        f'<img alt="{html.escape(what)}" src="data:image/png;base64,{picture}">{form}</section>'
    )


def _image(track: xr.Dataset, images: dict[str, xr.Dataset]) -> tuple[xr.Dataset | None, tuple[float, float]]:
    """Find the image of a track's labels, and the displacement of the ice in it."""
    shifts = np.asarray(track.attrs.get("label_shift", []), float).reshape(-1, 2)
    for name, shift in zip(np.atleast_1d(track.attrs.get("label_scenes", [])), shifts, strict=False):
        if str(name) in images:
            return images[str(name)], (float(shift[0]), float(shift[1]))
    return None, (0.0, 0.0)


def _photons(granule: Any, beam: str, window: tuple[float, float]) -> xr.Dataset | None:
    if granule is None:
        return None
    from is2ice.io.icesat2.atl03 import Granule, Subset

    with Granule(granule) as opened:
        return opened.photons(beam, Subset(x_atc=window))

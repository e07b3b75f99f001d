"""The report of a comparison with NASA's products: text, one HTML page, and the command ``is2ice compare``."""

from __future__ import annotations

import base64
import html
import io
import os
from pathlib import Path
from typing import Any

from is2ice import schema
from is2ice.io.remote.whole_files import address, written

from .nasa_comparison import Comparison
from .plot_figures import draw_classes, draw_freeboards, draw_surfaces

__all__ = ["text", "write_html"]

_CSS = (
    "body{font:15px sans-serif;max-width:70em;margin:2em auto;padding:0 1em}img{max-width:100%}"
    "table{border-collapse:collapse;margin:1.5em 0}caption{font-weight:bold;text-align:left;padding:.3em 0}"
    "td,th{padding:.2em .8em;border-bottom:1px solid #ccc;text-align:right}tr>th:first-child{text-align:left}"
)


def _cm(d: dict[str, Any] | None) -> str:
    if not d or not d.get("n"):
        return "nothing to compare"
    told = f"n {d['n']:,}, bias {100 * d['bias']:+.2f} cm, RMSE {100 * d['rmse']:.2f} cm, robust sd "
    told += f"{_spread(d, 'robust_sd', 100)} cm" if d["n"] > 1 else "-"
    if "z_rms" in d:
        told += f"; over stated errors: mean {d['z_mean']:+.2f}, rms {d['z_rms']:.2f}, robust sd "
        told += _spread(d, "z_robust_sd")
    return told


def _spread(d: dict[str, Any], name: str, scale: float = 1.0) -> str:
    """Format a spread; a single value has none."""
    return "-" if d["n"] < 2 or d.get(name) is None else f"{scale * d[name]:.2f}"


def _or(value: Any, instead: str = "-") -> str:
    return instead if value is None else str(value)


def text(c: Comparison) -> str:
    """Return the numbers of a comparison as text for a terminal."""
    n = c.numbers
    leads, density, freeboard, theirs = n["leads"], n["density"], n["freeboard"], n["theirs"]
    lines = [
        schema.titled(f"ours: {n['ours'].get('granule')} {n['ours'].get('beam')}", n["ours"]),
        schema.titled(f"theirs: {theirs.get('product')} {theirs.get('granule')}", theirs),
        f"common stretch {n['stretch_km']} km; ours minus theirs:",
        f"  corrections (taken out)  {_cm(n['corrections'])}",
        f"  height                   {_cm(n['height'])}",
        f"  sea surface by section   {_cm(n['sea_surface'])}",
        *_atl07(n),
        f"  freeboard, like places   {_cm(freeboard['alike'].get('difference'))}",
        "freeboard (m):",
    ]
    for name, values in (
        ("ours, like places", freeboard["alike"].get("ours")),
        ("theirs, like places", freeboard["alike"].get("theirs")),
        ("ours at 2 m, ice", freeboard["ours_2m_ice"]),
    ):
        if values and values["n"]:
            quantiles = " ".join(f"{k} {values[k]:.3f}" for k in values if k.startswith("p"))
            lines.append(f"  {name + ':':22} n {values['n']:,} mean {values['mean']:.3f} {quantiles}")
    lines.append("points per km, ours to theirs:")
    for name in ("freeboards", "heights"):
        a, b, ratio = (density[k] for k in (f"ours_{name}_per_km", f"theirs_{name}_per_km", f"ratio_{name}"))
        lines.append(
            f"  {name}: {a} to {b or 'none'}" + (f", {ratio} times" if b and ratio is not None else "")
        )
    alone, ratio = density["theirs_not_overlapping_per_km"], density["ratio_not_overlapping"]
    lines += [
        f"  heights to their segments that do not overlap: {alone}" + (f", {ratio} times" if ratio else ""),
        *_budget(density),
        f"leads: ours {leads['ours']} (openings by class {leads['our_openings']}), theirs {leads['theirs']}",
        f"  of theirs we see {leads['theirs_with_ours']} (recall {_or(leads['recall'])}; "
        f"{leads['theirs_in_our_openings']} as openings), of ours they see {leads['ours_with_theirs']} "
        f"(precision {_or(leads['precision'])})",
        f"  only ours {leads['ours_only']}, narrower than a segment {leads['ours_only_narrower_than_a_segment']}",
        f"  precision by width: {_by_width(leads)}",
        "classes, segments by their type and our class:",
    ]
    for kind, row in n["classes"].items():
        lines.append(f"  their {kind}: " + ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in row.items()))
    return "\n".join([*lines, *_koo(n.get("koo"))])


def _atl07(n: dict[str, Any]) -> list[str]:
    """Lines on heights and sea surface of ATL07 itself; none without it."""
    if n["atl07"] is None:
        return []
    return [
        f"  height, ATL07            {_cm(n['atl07']['height'])}",
        f"  sea surface, ATL07 leads {_cm(n['atl07']['sea_surface'])}",
    ]


def _width(row: dict[str, Any]) -> str:
    return f"{row['from']:g}-{row['to']:g} m" if row["to"] is not None else f"over {row['from']:g} m"


def _by_width(leads: dict[str, Any]) -> str:
    """Precision of our leads by width."""
    rows = leads["precision_by_width"]
    return ", ".join(f"{_width(r)} {_or(r['precision'])} of {r['ours']}" for r in rows)


def _koo(n: dict[str, Any] | None) -> list[str]:
    """Lines on Koo's method; none without it."""
    if n is None:
        return []
    fb = n["freeboard"]
    lines = [
        "method of Koo et al. (2023) on ATL07, ours minus it:",
        f"  sea surface              {_cm(n['sea_surface'])}",
        f"  freeboard, like places   {_cm(fb['difference'])}",
        f"  its leads {n['leads']['koo']}, of which we see {n['leads']['koo_with_ours']}; "
        f"freeboards set to zero {fb['clipped']:,}",
    ]
    for kind, row in n["classes"].items():
        counts = ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in row.items())
        lines.append(f"  its {kind.replace('_', ' ')}: {counts}")
    return lines


def _budget(density: dict[str, Any]) -> list[str]:
    """Explain the number of points."""
    theirs, photons = density["theirs"], density["photons_per_cell"]
    if photons is None or theirs["median_spacing"] is None:
        return []
    rate = theirs["photons_per_pulse"]
    return [
        f"  photons: {photons:.1f} in each of our cells, of which {100 * density['cells_filled']:.1f} % hold some; "
        f"theirs {theirs['median_length']:.1f} m long, one every {theirs['median_spacing']:.1f} m"
        + (f", {rate:.2f} photons a pulse" if rate is not None else ""),
        f"  were every cell of ours filled, the ratio of heights would be {density['most_heights_ratio']}",
    ]


def _table(caption: str, head: list[str], rows: list[list[Any]]) -> str:
    """Return an HTML table; the first column names the rows."""
    cells = ["<tr>" + "".join(f"<th>{html.escape(h)}</th>" for h in head) + "</tr>"]
    for name, *values in rows:
        told = "".join(f"<td>{html.escape(f'{v:,}' if isinstance(v, int) else _or(v))}</td>" for v in values)
        cells.append(f"<tr><th>{html.escape(str(name))}</th>{told}</tr>")
    return f"<table><caption>{html.escape(caption)}</caption>{''.join(cells)}</table>"


def _tables(c: Comparison) -> str:
    """All numbers of a comparison."""
    n = c.numbers
    leads, density, freeboard, theirs = n["leads"], n["density"], n["freeboard"], n["theirs"]
    name = str(theirs.get("product"))
    about = [["granule", n["ours"].get("granule"), theirs.get("granule")]]
    about += [[k, n["ours"].get(k), theirs.get(k)] for k in ("beam", "release")]
    methods = ("classifier", "sea_surface_method")
    about += [[k.replace("_", " "), n["ours"][k], None] for k in methods if k in n["ours"]]
    differences = []
    seven = n["atl07"] or {}
    for what, d in (
        ("corrections (taken out)", n["corrections"]),
        ("height", n["height"]),
        ("sea surface by section", n["sea_surface"]),
        *((f"{kind.replace('_', ' ')}, ATL07", value) for kind, value in seven.items()),
        ("freeboard, like places", freeboard["alike"].get("difference")),
    ):
        if not d or not d.get("n"):
            differences.append([what, 0, *["-"] * 6])
            continue
        z = ["-", "-", "-"]
        if "z_rms" in d:
            z = [f"{d['z_mean']:+.2f}", f"{d['z_rms']:.2f}", _spread(d, "z_robust_sd")]
        centre = [f"{100 * d['bias']:+.2f}", f"{100 * d['rmse']:.2f}", _spread(d, "robust_sd", 100)]
        differences.append([what, d["n"], *centre, *z])
    sets = {
        "ours, like places": freeboard["alike"].get("ours"),
        f"{name}, like places": freeboard["alike"].get("theirs"),
        "ours at 2 m, ice": freeboard["ours_2m_ice"],
        f"{name}, all": freeboard.get("theirs_all"),
    }
    columns = ["mean", "p05", "p25", "p50", "p75", "p95"]
    quantiles = [[k, (v or {}).get("n", 0), *[(v or {}).get(q) for q in columns]] for k, v in sets.items()]
    points = [
        [k, *[density[f"{who}_{k}_per_km"] or "none" for who in ("ours", "theirs")], density[f"ratio_{k}"]]
        for k in ("freeboards", "heights")
    ]
    alone = density["theirs_not_overlapping_per_km"], density["ratio_not_overlapping"]
    points.append(["heights, to segments that do not overlap", density["ours_heights_per_km"], *alone])
    classes = [[kind, *row.values()] for kind, row in n["classes"].items()]
    kinds = [k.replace("_", " ") for k in next(iter(n["classes"].values()), {})]
    return "".join(
        (
            _table(f"Common stretch: {n['stretch_km']} km", ["", "ours", name], about),
            _table(
                f"Ours minus {name}, cm; z: over stated errors",
                ["", "n", "bias", "RMSE", "robust sd", "mean z", "rms z", "robust sd of z"],
                differences,
            ),
            _table("Total freeboard, m", ["", "n", *columns], quantiles),
            _table("Points per km", ["", "ours", name, "ratio"], points),
            _table(
                "Leads",
                ["", ""],
                [[k.replace("_", " "), v] for k, v in leads.items() if not isinstance(v, list)],
            ),
            _table(
                "Precision of our leads by width",
                ["", "ours", "precision"],
                [[_width(r), r["ours"], r["precision"]] for r in leads["precision_by_width"]],
            ),
            _table(f"Segments by type of {name} and our class", ["", *kinds], classes),
        )
    )


def write_html(c: Comparison, path: str | os.PathLike[str]) -> Path | str:
    """One page with figures, numbers and statements; nothing is loaded from elsewhere."""
    pictures = []
    for title, draw in (
        ("Heights, classes and leads", draw_classes),
        ("Local sea surface", draw_surfaces),
        ("Freeboard", draw_freeboards),
    ):
        image = io.BytesIO()
        draw(c).savefig(image, format="png", dpi=110)
        data = base64.b64encode(image.getvalue()).decode()
        pictures.append(f'<h2>{title}</h2><img alt="{title}" src="data:image/png;base64,{data}">')
    third = "\n".join(_koo(c.numbers.get("koo")))
    if third:
        pictures.append(f"<h2>Koo et al. (2023)</h2><pre>{html.escape(third)}</pre>")
    said = "".join(f"<li>{html.escape(s)}</li>" for s in c.statements)
    ours, theirs = c.numbers["ours"], c.numbers["theirs"]
    against = f"{ours.get('granule')} {ours.get('beam')} against NASA"
    title = html.escape(schema.titled(against, ours, theirs))
    page = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{_CSS}</style>'
        f"<h1>{title}</h1>{_tables(c)}{''.join(pictures)}<h2>Not comparable</h2><ul>{said}</ul></html>\n"
    )
    with written(path) as file:
        file.write_text(page)
    return address(path)

"""Command ``is2ice products``."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer
import xarray as xr

from is2ice.errors import GranuleError
from is2ice.io.catalogs.icesat2 import PRODUCTS
from is2ice.io.icesat2.atl07_atl10 import open_atl07, open_atl10
from is2ice.reports.nasa_product_checks import (
    FREEBOARDS,
    SAME,
    SAME_FREEBOARD,
    agreement,
    check_atl07,
    check_atl10,
)

from .console import AsJson, out, print_json

__all__ = ["app", "lines_atl07", "lines_atl10"]

app = typer.Typer(add_completion=False)


@app.command(
    epilog="Examples: is2ice products ATL10-02_20191104195311_05940501_006_01.h5\n\nis2ice products ATL07\n\n"
    "is2ice products ATL03_20191104195311_05940510_006_01.h5 --variables"
)
def check(
    path: Annotated[
        Path, typer.Argument(help="An ATL07 or ATL10 granule; or the name of a product, such as ATL07.")
    ],
    variables: Annotated[
        bool, typer.Option("--variables", help="List the variables of the granule, ATL03 too, or product.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check an ATL07 or ATL10 granule against its own data, or describe a product and list its variables.

    Numbers of a granule are computed again from its own data, and their agreement is printed. Products are described by
    NASA's catalogue, through icepyx, without a login.
    """
    if variables or str(path) in PRODUCTS:
        _describe(str(path), variables, as_json)
        return
    try:
        ten, tree = True, open_atl10(path)
    except GranuleError as error:
        if "another product" not in str(error):
            raise
        ten, tree = False, _atl07(path)
    beams, notes = check_atl10(tree) if ten else check_atl07(tree), list(tree.attrs["notes"])
    if as_json:
        document: dict[str, Any] = {
            "granule": path.name,
            "product": "ATL10" if ten else "ATL07",
            "beams": beams,
            "notes": notes,
        }
        document |= {"not_computed_again": _left_out(beams)} if ten else {"agreement": agreement(beams)}
        print_json(document)
        return
    for line in lines_atl10(beams) if ten else lines_atl07(beams):
        out.print(line)
    for note in notes:
        out.print(f"note: {note}")


def _describe(source: str, variables: bool, as_json: bool) -> None:
    """Print the description of a product, or the variables of a product or granule."""
    from is2ice.io.catalogs import orders

    if variables:
        found = orders.product_variables(source)
        if as_json:
            print_json(found)
        for name in () if as_json else found:
            out.print(name)
        return
    product = orders.product_info(source)
    if as_json:
        print_json(vars(product))
        return
    out.print(f"{product.title}\n{product.summary}")
    out.print(f"releases {', '.join(product.releases)}; data from {product.start}; {product.collection}")


def _atl07(path: Path) -> xr.DataTree:
    """Open ATL07; of any other product name its groups."""
    try:
        return open_atl07(path)
    except GranuleError as error:
        found = re.search(r"found the groups (.*?)\. Is this another product", str(error))
        if found is None:
            raise
        raise GranuleError(
            f"{path}: expected ATL07 (gtx/sea_ice_segments) or ATL10 (gtx/freeboard_segment), found the groups "
            f"{found[1]}. Is this another product, such as ATL03?"
        ) from error


def _left_out(beams: dict[str, Any]) -> list[str]:
    """List the parts of an ATL10 granule that cannot be recomputed at all, with the reason."""
    leads = [one["leads"] for one in beams.values()]
    sections = [s for one in beams.values() for s in one["sections"]]
    freeboards = [one["freeboard"] for one in beams.values()]
    n, given = sum(k["n"] for k in leads), [s for s in sections if s["h_ref"] is not None]
    out = []
    if not any(k["with_segments"] for k in leads):
        out.append(
            f"heights of leads ({f'the segments of all {n} lie outside the file' if n else 'it has none'})"
        )
    if not any(s["difference"] is not None for s in given):
        why = f"the leads of all {len(given)} lie outside the file" if given else "no section has one"
        out.append(f"references of its {len(sections)} sections ({why})")
    if not any(k["compared"] for k in freeboards):
        some = any(k["n"] for k in freeboards)
        out.append(
            f"freeboards ({'their references lie outside the file' if some else 'no segment has one'})"
        )
    return out


def _warned(beams: dict[str, Any]) -> list[str]:
    """Return the first line for a file from which too little can be recomputed."""
    left = _left_out(beams)
    if not left:
        return []
    outside = sum(one["leads"]["n"] - one["leads"]["with_segments"] for one in beams.values())
    subset = "this file is a subset of its granule: " if outside else ""
    nothing = "nothing of it can be verified; " if len(left) == 3 else ""
    return [f"{subset}{nothing}not computed again: {'; '.join(left)}"]


def _m(value: float | None, digits: int = 4) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _lie(layout: dict[str, Any]) -> list[str]:
    """Describe length and spacing of segments."""
    if not layout["per_km"]:
        return []
    rate = (
        "" if layout["photons_per_pulse"] is None else f", {layout['photons_per_pulse']:.2f} photons a pulse"
    )
    return [
        f"  segments {layout['median_length']:.1f} m long, one every {layout['median_spacing']:.1f} m: "
        f"{layout['per_km']:.0f} per km of unbroken track, {layout['independent_per_km']:.0f} that do not overlap{rate}"
    ]


def lines_atl10(beams: dict[str, Any]) -> list[str]:
    """Write the result of :func:`is2ice.reports.nasa_product_checks.check_atl10` as text."""
    lines = _warned(beams)
    for beam, one in beams.items():
        leads, fb = one["leads"], one["freeboard"]
        held = f"{leads['with_segments']} of {leads['n']} leads have their segments in the file"
        same = f", heights agree to {leads['height_difference_max']:.1e} m" if leads["with_segments"] else ""
        lines += [f"{beam} ({one['strength']}): {held}{same}", *_lie(one["layout"])]
        for s in one["sections"]:
            lines.append(
                f"  section at {s['x_atc'] / 1e3:.1f} km: h_ref {_m(s['h_ref'])} m, flag {s['flag']}, {s['leads']} "
                f"leads; ours {_m(s['ours'])}, difference {_m(s['difference'], 6)} m: {s['why']}"
            )
            if s["freeboards"]:
                lines.append(f"    freeboards of its segments: {_kinds(s['freeboards'])}")
        lines.append(
            f"  freeboard: {fb['n']} of {fb['of_segments']} segments have one, {fb['compared']} computed again"
            + (f", to {fb['difference_max']:.1e} m" if fb["compared"] else "")
            + (f"; {fb['clipped']} negative ones are 0 in the product" if fb["clipped"] else "")
            + (
                f"; {fb['without_reference']} lie where there is no reference"
                if fb["without_reference"]
                else ""
            )
        )
    return [*lines, *_in_all(beams)]


def _kinds(count: dict[str, int]) -> str:
    """Write numbers of segments by the kind of their freeboard."""
    return ", ".join(f"{n} {FREEBOARDS[kind]}" for kind, n in count.items())


def _in_all(beams: dict[str, Any]) -> list[str]:
    """Count the sections of all beams by their outcome."""
    every = [s for one in beams.values() for s in one["sections"]]
    made = [abs(s["difference"]) for s in every if s["difference"] is not None]
    same = sum(d <= SAME for d in made)
    absent = [s for s in every if s["h_ref"] is None]
    lines = [
        f"in all: {len(every)} sections; {len(made)} references computed again, {same} of them to {SAME:g} m"
        + (f" (largest difference {max(made):.1e} m)" if made else "")
        + f"; {len(absent)} have none"
    ]
    for why, n in Counter(re.sub(r"-?\d+(\.\d+)? (km|m)\b", "...", s["why"]) for s in absent).most_common():
        lines.append(f"  {n}: {why}")
    kinds: Counter[str] = Counter()
    for one in beams.values():
        kinds.update(one["freeboard"]["by_kind"])
    if kinds:
        found = {k: kinds[k] for k in FREEBOARDS if kinds[k]}
        lines.append(f"freeboards of {kinds.total()} segments (to {SAME_FREEBOARD:g} m): {_kinds(found)}")
    return lines


def lines_atl07(beams: dict[str, Any]) -> list[str]:
    """Write the result of :func:`is2ice.reports.nasa_product_checks.check_atl07` as text."""
    lines = []
    for beam, one in beams.items():
        lines += [f"{beam} ({one['strength']}): {one['segments']} segments", *_lie(one["layout"])]
        if "histogram_is_gathered" in one:
            lines.append(
                f"  histogram sums to the photons gathered in {one['histogram_is_gathered']} of {one['segments']} "
                f"(largest difference {one['histogram_difference_max']})"
            )
        for kind, row in one.get("types", {}).items():
            lines.append(
                f"  type {kind}: " + ", ".join(f"{name.replace('_', ' ')} {k}" for name, k in row.items())
            )
    lines.append("agreement of our thresholds (rate and width alone) with the product's types, all beams:")
    for group, k in agreement(beams).items():
        share = f", {100 * k['agree'] / k['labelled']:.1f} %" if k["labelled"] else ""
        dim = k["segments"] - k["labelled"]
        lines.append(
            f"  {group}: {k['agree']} of {k['labelled']} labelled segments agree{share}; {dim} too dim for us to label"
        )
    return lines

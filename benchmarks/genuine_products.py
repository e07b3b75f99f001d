"""Genuine ATL07 and ATL10 granules computed again: every section, every freeboard, and the sea surface of ATL07.

    IS2ICE_REAL_DATA=FOLDER python benchmarks/genuine_products.py [FILE ...]

FOLDER holds granules in ``atl07`` and ``atl10``; FILES are granules of either product. Of ATL10 each section's surface
is computed from its leads, and each freeboard from its section, with the reason by name where the product's is another
(clipped, smoothed, cut). Of ATL07 the heights of its runs of sea-surface segments (of specular segments where none is
flagged) are compared with the sea surface that `evidence` and `crossfit` make of the same segments.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
import xarray as xr

from is2ice.cli.products import lines_atl07, lines_atl10
from is2ice.errors import GranuleError
from is2ice.io.icesat2.atl07_atl10 import SPECULAR, open_atl07, open_atl10
from is2ice.reports.nasa_comparison import columns, in_order, surface_leads
from is2ice.reports.nasa_product_checks import check_atl07, check_atl10
from is2ice.science import seasurface


def of_atl07(beam: str, ds: xr.Dataset) -> list[str]:
    """Compare the sea surface of ATL07's own segments with what our methods make of them."""
    ds = in_order(ds)
    flagged = ds["ssh_flag"].values > 0
    surface = flagged if flagged.any() else np.isin(ds["surface_type"].values, SPECULAR)
    what = "flagged as sea surface" if flagged.any() else "specular, none flagged"
    if not surface.any():
        return [
            f"{beam}: {ds.sizes['segment']} segments, none flagged and none specular: no sea surface of its own"
        ]
    x, height, sigma, breaks = columns(ds)
    leads = surface_leads(ds, surface)
    row = f"{beam}: {surface.sum()} of {surface.size} segments {what}, {leads.sizes['lead']} leads"
    for method in ("evidence", "crossfit"):
        ours = seasurface.sea_surface(x, height, sigma, surface, breaks, method=method, trim=0.0)
        there = np.isfinite(ours.h_ref)
        if not there.any():
            row += f"; {method}: no surface"
            continue
        d = np.interp(leads["x"].values, x[there], ours.h_ref[there]) - leads["height"].values
        z = d / np.hypot(
            np.interp(leads["x"].values, x[there], ours.uncertainty[there]), leads["sigma"].values
        )
        row += f"; {method} less theirs {100 * d.mean():+.2f} cm, rms {100 * np.sqrt((d**2).mean()):.2f} cm, z rms "
        row += f"{np.sqrt((z**2).mean()):.2f}"
    return [row]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="*", type=Path)
    args = parser.parse_args()
    files = args.files
    if not files:
        folder = os.environ.get("IS2ICE_REAL_DATA")
        if folder is None:
            parser.error("name granules, or set IS2ICE_REAL_DATA to the folder of genuine ones")
        files = sorted(p for kind in ("atl07", "atl10") for p in (Path(folder) / kind).glob("*.h5"))
    for path in files:
        print(f"\n{path.name}")
        try:
            lines = lines_atl10(check_atl10(open_atl10(path)))
        except GranuleError:
            tree = open_atl07(path)
            lines = lines_atl07(check_atl07(tree))
            for beam, node in tree.children.items():
                if node["segments"].sizes.get("segment"):
                    lines += of_atl07(beam, node["segments"].to_dataset())
        print("\n".join(lines))


if __name__ == "__main__":
    main()

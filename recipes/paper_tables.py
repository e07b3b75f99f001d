"""Tables I to V of Iqrah et al. (2025), the paper's numbers beside ours.

    python recipes/paper_tables.py                       # what build/ holds of the benchmarks, else "not measured here"
    python recipes/paper_tables.py --measured build --store labelled.zarr --out build/tables.md

Ours come from the files that the benchmarks write (`is2ice.reports.published_tables.FILES`), and the shifts
of table I from a store of labelled passes (`recipes/ross_sea_2019.py`).
"""

import argparse
from pathlib import Path

from ross_sea_2019 import PAIRS

import is2ice
from is2ice.reports import published_tables


def shifts(store: str | None) -> dict[int, str]:
    """Displacements stored with the labels of each pair."""
    found = {}
    for (granule, _), attrs in is2ice.open_store(store).tracks.items() if store else ():
        for pair in (p for p in PAIRS if granule.startswith(p.granule)):
            found[pair.number] = f"{list(attrs.get('label_shift', []))} m in {attrs.get('crs')}"
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--measured", type=Path, default=Path("build"))
    parser.add_argument("--store")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    have = published_tables.read_measured(args.measured)
    text = "\n".join(
        [
            published_tables.table_1(PAIRS, shifts(args.store)),
            published_tables.table_2(have["scaling"]),
            published_tables.table_3(have["scores"]),
            published_tables.table_4(have["training"]),
            published_tables.table_5(have["scaling"]),
        ]
    )
    print(text)
    if args.out is not None:
        args.out.write_text(text)


if __name__ == "__main__":
    main()

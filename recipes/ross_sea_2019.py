"""The eight pairs of the Ross Sea, November 2019, labelled from the public archives.

    python recipes/ross_sea_2019.py                  # the pairs, and what is known of each
    python recipes/ross_sea_2019.py labelled.zarr    # search, stream, label and store (needs an Earthdata login)
    python recipes/ross_sea_2019.py labelled.zarr --pairs 2 8 --shift table

Times and shifts are those of Table I of Iqrah et al. (2025), arXiv:2502.02700. The IS2 time is that of the
granule's name; photons reach the scenes six to seven minutes later. The shift is how far the authors moved
the image by hand; whether their north is true or the map's is not said, so by default it is estimated.
"""

import argparse
from datetime import datetime, timedelta
from typing import NamedTuple

import is2ice
from is2ice.io.stores.store import consolidate
from is2ice.science.labels import transfer

#: The study area: west, south, east, north, degrees.
REGION = (-180.0, -78.0, -140.0, -70.0)
CENTRE = (-165.0, -75.0)


class Pair(NamedTuple):
    """One row of Table I."""

    number: int
    granule: str  # name up to the release; track, cycle and region follow from the pass
    confirmed: bool  # whether the name was seen in print; else track from the times of neighbouring passes
    scene_time: str  # UTC, start of the data take
    minutes: float  # as printed
    shift: tuple[float, str] | None  # metres, towards
    tiles: tuple[str, ...]  # where the authors name them


PAIRS = (
    Pair(1, "ATL03_20191103184432_05780510", True, "2019-11-03T18:34:59", 9.55, (550.0, "NW"), ()),
    Pair(
        2,
        "ATL03_20191104195311_05940510",
        True,
        "2019-11-04T19:45:29",
        7.7,
        None,
        ("02CNA", "02CNB", "02CNC"),
    ),
    Pair(3, "ATL03_20191113191053_07310510", True, "2019-11-13T18:34:59", 35.9, (200.0, "W"), ()),
    Pair(4, "ATL03_20191116192813_07770510", False, "2019-11-16T18:44:59", 43.23, None, ()),
    Pair(5, "ATL03_20191117190234_07920510", False, "2019-11-17T18:15:09", 47.57, (530.0, "NW"), ()),
    Pair(6, "ATL03_20191120191952_08380510", True, "2019-11-20T20:05:29", 45.62, (400.0, "NW"), ()),
    Pair(7, "ATL03_20191123180255_08830510", True, "2019-11-23T18:34:59", 32.07, (150.0, "E"), ()),
    Pair(8, "ATL03_20191126182014_09290510", True, "2019-11-26T18:44:59", 24.75, (350.0, "SW"), ("03CWT",)),
)


def by_hand(pair: Pair, convention: str) -> is2ice.Drift:
    """The printed shift of a pair."""
    metres, towards = pair.shift or (0.0, "N")
    return is2ice.Drift.by_hand(metres, towards, convention=convention, at=CENTRE)


def find(pair: Pair, endpoint: str) -> tuple[object, object]:
    """The granule and the scenes of a pair in the archives."""
    import earthaccess

    earthaccess.login(strategy="environment")
    granules = earthaccess.search_data(short_name="ATL03", granule_name=f"{pair.granule}_006_*")
    if not granules:
        raise LookupError(f"pair {pair.number}: no granule {pair.granule}_006 in the archive")
    taken = datetime.fromisoformat(pair.scene_time)
    span = (taken - timedelta(minutes=2), taken + timedelta(minutes=2))
    scenes = is2ice.search_scenes(REGION, span, endpoint=endpoint)
    return granules[0], scenes[scenes["tile"].isin(pair.tiles)] if pair.tiles else scenes


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("store", nargs="?")
    parser.add_argument("--pairs", type=int, nargs="+", default=[p.number for p in PAIRS])
    parser.add_argument("--shift", choices=("estimate", "table", "none"), default="estimate")
    parser.add_argument("--convention", choices=("true", "grid"), default="true")
    parser.add_argument("--endpoint", default="earth_search")
    args = parser.parse_args()
    for pair in (p for p in PAIRS if p.number in args.pairs):
        print(
            pair.number,
            pair.granule,
            pair.scene_time,
            f"{pair.minutes:g} min",
            pair.shift or "no shift",
            *pair.tiles,
        )
        if args.store is None:
            continue
        granule, scenes = find(pair, args.endpoint)
        drift = by_hand(pair, args.convention) if args.shift == "table" else args.shift
        done = is2ice.label_pass(granule, scenes, drift=drift)
        print(done.table().to_string(index=False), transfer.summary(done.segments), sep="\n")
        for beam in done.segments["beam"].values:
            is2ice.write_track(done.segments.sel(beam=[beam]), args.store)
    if args.store is not None:
        consolidate(args.store)


if __name__ == "__main__":
    main()

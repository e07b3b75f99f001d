"""One beam and a box of a granule in the cloud, from photons to freeboard, reading only the bytes it needs.

python recipes/stream_granule.py ATL03_20191104195311_05940510_006_01 --bbox 178 -76 -178 -75   # Earthdata login
python recipes/stream_granule.py https://host/ATL03_20191104195311_05940510_006_01.h5
"""

import argparse

import is2ice


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("granule", help="name in NASA's archive, URL or path")
    parser.add_argument("--beam")
    parser.add_argument("--bbox", type=float, nargs=4, metavar=("W", "S", "E", "N"))
    parser.add_argument("--csv", help="write the segments there")
    args = parser.parse_args()
    source = args.granule
    if source.startswith("ATL03_") and not source.endswith(".h5"):
        source = is2ice.search(name=f"{source}*").iloc[0]
    with is2ice.Granule(source) as granule:
        beam = args.beam or granule.resolve_beams()[0]
        options = is2ice.Options(bbox=tuple(args.bbox) if args.bbox else None)
        track = is2ice.one_track(granule, beam, options)
        print(granule.traffic or "a local file")
    print(track.is2ice)
    print(
        f"freeboard {float(track['freeboard'].mean()):.3f} m over {int((track['n_photons'] > 0).sum())} segments"
    )
    if args.csv:
        track.is2ice.to_csv(args.csv)


if __name__ == "__main__":
    main()

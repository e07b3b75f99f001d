"""A region and a time, from search to a published store that others open in one line.

    python recipes/publish_region.py ross_sea_2019_11 s3://bucket/ross.zarr s3://public/ross_sea   # an Earthdata login
    python recipes/publish_region.py demo build/demo.zarr build/public --granules sample_data/ATL03_*.h5

Run again, it computes what is new, and changes nothing otherwise.
"""

import argparse

import is2ice


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("declaration", help="name of a declaration, or its .toml file")
    parser.add_argument("store", help="s3://bucket/prefix or a folder")
    parser.add_argument("target", help="s3://bucket/prefix or a folder")
    parser.add_argument("--granules", nargs="+", help="files or URLs, in place of a search")
    parser.add_argument("--engine", default="serial")
    args = parser.parse_args()
    declaration = is2ice.find_declaration(args.declaration)
    granules = args.granules
    if not granules:
        granules = list(is2ice.search(declaration.region, declaration.time)["https"])
    bbox = declaration.region or None
    run = is2ice.run(granules, args.store, engine=args.engine, options=is2ice.Options(bbox=bbox))
    print(run.report())
    published = is2ice.publish(args.store, args.target, declaration=declaration)
    print(published)
    print(is2ice.open_store(published.url).table()[["granule", "beam", "n_filled", "freeboard_mean"]])


if __name__ == "__main__":
    main()

"""A month of a region on Dask Gateway: search, compute on the cluster, publish.

    python recipes/gateway_month.py ross_sea_2019_11 /shared/ross.zarr s3://bucket/ross --gateway http://gateway:8000

Workers write into the store, so it must lie where they and this machine both reach it; they log in to
Earthdata by their own environment (EARTHDATA_TOKEN), which the cluster's options should pass on.
"""

import argparse

import is2ice
from is2ice.io.stores.declarations import find_declaration


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("declaration", help="name of a declaration, which states region and time")
    parser.add_argument("store")
    parser.add_argument("target")
    parser.add_argument("--gateway", help="address; by default that of Dask's configuration")
    parser.add_argument("--proxy", help="address of its scheduler proxy, where that is another one")
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--granules", nargs="+", help="URLs or paths the workers reach, in place of a search")
    args = parser.parse_args()
    declaration = find_declaration(args.declaration)
    granules = args.granules or list(is2ice.search(declaration.region, declaration.time)["https"])
    options = is2ice.Options(bbox=declaration.region or None)
    where = {"address": args.gateway, "proxy_address": args.proxy}
    with is2ice.cluster("gateway", workers=args.workers, **where) as cluster:
        run = is2ice.run(granules, args.store, engine=cluster, options=options)
    print(run.report())
    print(is2ice.publish(args.store, args.target, declaration=declaration))


if __name__ == "__main__":
    main()

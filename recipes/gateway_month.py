"""A month of a region on Dask Gateway: search, compute on the cluster into a bucket, publish.

    python recipes/gateway_month.py ross_sea_2019_11 s3://bucket/ross.zarr s3://public/ross --gateway http://gateway:8000

Workers share no folder with this machine: they read granules from the archive and write tracks to the bucket. They need
access to it: a role of theirs, or the AWS_... variables of this process, which go to them with each track, as does
EARTHDATA_TOKEN. Run again, it continues with what is missing.
"""

import argparse

import is2ice


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("declaration", help="name of a declaration, which states region and time")
    parser.add_argument("store", help="s3://bucket/prefix that workers reach, too")
    parser.add_argument("target", help="s3://bucket/prefix or a folder, for the published version")
    parser.add_argument("--gateway", help="address; by default that of Dask's configuration")
    parser.add_argument("--proxy", help="address of its scheduler proxy, where that is another one")
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--granules", nargs="+", help="URLs that the workers reach, in place of a search")
    args = parser.parse_args()
    declaration = is2ice.find_declaration(args.declaration)
    granules = args.granules or list(is2ice.search(declaration.region, declaration.time)["https"])
    options = is2ice.Options(bbox=declaration.region or None)
    where = {"address": args.gateway, "proxy_address": args.proxy}
    with is2ice.cluster("gateway", workers=args.workers, **where) as cluster:
        run = is2ice.run(granules, args.store, engine=cluster, options=options)
    print(run.report())
    print(is2ice.publish(args.store, args.target, declaration=declaration))


if __name__ == "__main__":
    main()

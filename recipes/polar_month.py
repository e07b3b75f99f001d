"""A month of a hemisphere: search, run into a store at any address, publish, and map at 25 km; with its cost.

    python recipes/polar_month.py antarctic_month s3://bucket/work s3://bucket/antarctic --engine gateway --workers 200
    python recipes/polar_month.py antarctic_month work.zarr public --limit 20         # measure a few, project the month
    python recipes/polar_month.py antarctic_month work.zarr public --simulate 60      # offline, simulated granules

Needs an Earthdata login unless simulated. The same command resumes: tracks that are stored and up to date are kept. The
cost of a granule (processor seconds where the workers are on this machine, worker seconds, bytes, requests) is printed,
with the projection to all granules that the search found (or --project). Maps of freeboard, thickness and lead fraction
go to --maps.
"""

import argparse
import resource
import tempfile
from contextlib import ExitStack
from pathlib import Path

import h5py

import is2ice
from is2ice.io.stores.declarations import find_declaration
from is2ice.workflows.cost import cost_of

#: Variables of ATL03 that hold longitudes.
LONGITUDES = ("lon_ph", "reference_photon_lon")
#: Length of the tracks of a genuine granule over sea ice, km: three strong beams, half of a 14th of an orbit.
GRANULE_KM = 3 * 40_000 / 14 / 2


def simulated(count: int, stack: ExitStack) -> list[str]:
    """Serve simulated granules by HTTP on this machine, so that bytes and requests are those of a remote archive.

    They are one pass, turned about the pole: a ring of tracks that a map shows apart.
    """
    from is2ice.twin.server.local_archive import LocalCloud
    from is2ice.twin.server.timing_archive import make_archive

    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="is2ice-month-")))
    archive = make_archive(folder, count, length_km=4.0)
    for k, path in enumerate(archive.granules):
        turn(path, 360.0 * k / count)
    cloud = stack.enter_context(LocalCloud(folder, stac=False))
    return [cloud.href(p) for p in archive.granules]


def turn(path: Path, degrees: float) -> None:
    """Give a granule a file of its own, with its positions turned about the pole."""
    raw = path.read_bytes()
    path.unlink()  # the name of a file that all granules share
    path.write_bytes(raw)
    with h5py.File(path, "r+") as file:
        found: list[h5py.Dataset] = []
        file.visititems(lambda name, node: found.append(node) if name.split("/")[-1] in LONGITUDES else None)
        for node in found:
            node[...] = (node[...] + degrees + 180.0) % 360.0 - 180.0


def processor_seconds() -> float:
    """Processor seconds of this process and of its children that have ended."""
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("declaration", help="antarctic_month, arctic_month, or a declaration's .toml file")
    add("store", help="folder or address (s3://, gs://, az://) that workers reach")
    add("target", help="folder or address to publish to")
    add("--engine", default="processes", help="serial, processes, dask, gateway or spark")
    add("--workers", type=int)
    add("--time", nargs=2, help="first and last day, in place of the declaration's")
    add("--limit", type=int, help="run only so many granules, as a measurement")
    add("--project", type=int, help="granules of the month, for the projection of a simulated run")
    add("--simulate", type=int, help="so many simulated granules instead of a search")
    add("--maps", type=Path, default=Path("maps"), help="folder of the maps")
    args = parser.parse_args()
    declaration = find_declaration(args.declaration)
    grid = "nsidc_north" if declaration.region[1] > 0 else "nsidc_south"
    with ExitStack() as stack:
        if args.simulate:
            granules, found = simulated(args.simulate, stack), args.simulate
        else:
            is2ice.login()
            granules = list(is2ice.search(declaration.region, tuple(args.time or declaration.time))["https"])
            found = len(granules)
        print(f"{found:,} granules of {declaration.name}")
        options = is2ice.Options(bbox=None if args.simulate else declaration.region)
        before = processor_seconds()
        run = is2ice.run(
            granules[: args.limit], args.store, options=options, engine=args.engine, workers=args.workers
        )
        local = args.engine in ("serial", "processes")
        cost = cost_of(run, processor_seconds() - before if local else None)
    print("\n".join(run.report().splitlines()[-3:]))
    print(cost.report(args.project or found, GRANULE_KM if args.simulate else None))
    print(is2ice.publish(args.store, args.target, declaration=declaration))
    args.maps.mkdir(parents=True, exist_ok=True)
    wanted = is2ice.MapOptions(grid=grid, cell=25_000.0, values=("freeboard", "thickness"), crop=True)
    maps = is2ice.make_map([args.store], options=wanted)
    path = is2ice.write_map(maps, args.maps / f"{declaration.name}_25km.nc")
    named = ("freeboard", "thickness", "lead_fraction")
    told = ", ".join(f"{n} mean {float(maps[n].mean()):.3f} in {int(maps[n].count())} cells" for n in named)
    print(f"{path}: {told}")


if __name__ == "__main__":
    main()

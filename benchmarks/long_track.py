"""Peak memory of a granule of 2,000 km over the imported package, at each step of the chain.

    python benchmarks/long_track.py [--km 2000] [--photons-per-pulse 2]

The beam is generated (:mod:`is2ice.twin.icesat2.flat_beam`) with few photons a pulse by default, which bounds the time
of writing it: cells and geosegments are as many as in a real one, and photons are read in blocks. Each step is measured
in a process of its own, as the highest resident memory less that after the import.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

SPACING = 0.7098
STEPS = {
    "open the granule and its table": "is2ice.open_track(path, 'gt2r')",
    "segments (2 m), whole track in memory": "is2ice.one_track(path, 'gt2r', is2ice.Options(until='segments'))",
    "classes, sea surface and freeboard": "is2ice.one_track(path, 'gt2r')",
    "run into a store": "is2ice.run(path, store, beams='gt2r', progress=False)",
}
MEASURE = """
import json, resource, sys
import is2ice
is2ice.open_track, is2ice.one_track, is2ice.run, is2ice.Options
import is2ice.io.icesat2.lazy_cube, is2ice.workflows.track, is2ice.classifiers, is2ice.science.seasurface
path, store = sys.argv[1:]
base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
done = {step}
cells = int(done.sizes["x_atc"]) if hasattr(done, "sizes") else None
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps([base / 1024, (peak - base) / 1024, cells]))
"""
WRITE = """
import sys
from pathlib import Path
from is2ice.twin.icesat2.flat_beam import write_beam
write_beam(Path(sys.argv[1]), int(sys.argv[2]), photons_per_pulse=float(sys.argv[3]))
"""


def in_process(code: str, *arguments: str) -> str:
    """Output of code that a process of its own runs."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False, env=os.environ
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return done.stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--km", type=float, default=2000.0)
    parser.add_argument("--photons-per-pulse", type=float, default=2.0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ATL03_20191104195311_05940510_006_01.h5"
        photons = int(args.km * 1e3 / SPACING * args.photons_per_pulse)
        in_process(WRITE, str(path), str(photons), str(args.photons_per_pulse))
        print(f"{args.km:,.0f} km, {photons:,} photons, file of {path.stat().st_size / 1e6:,.0f} MB")
        for name, step in STEPS.items():
            out = in_process(MEASURE.replace("{step}", step), str(path), str(Path(folder) / "s.zarr"))
            base, over, cells = json.loads(out.splitlines()[-1])
            size = "" if cells is None else f" ({cells:,} cells)"
            print(
                f"{name:40} {over:7,.0f} MB over the {base:,.0f} MB of the imported package{size}", flush=True
            )


if __name__ == "__main__":
    main()

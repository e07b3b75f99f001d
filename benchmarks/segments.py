"""Speed and memory of opening and resampling one beam, side by side in one run.

    python benchmarks/segments.py [--photons 30_000_000] [--repeat 3]

Prints, for a generated strong beam in the true layout (gzip, shuffle, chunks of 10,000):

- open + resample (two threads) against plainly reading the same datasets with h5py;
- resampling alone, photons per second on two threads and on one;
- the same means by pandas groupby, as published notebooks do;
- peak memory over the imported package, in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from timing import median_seconds

from is2ice.io.icesat2.atl03 import Granule
from is2ice.science import segments
from is2ice.twin.icesat2.flat_beam import write_beam

BEAM = "gt2r"
READ = ("h_ph", "dist_ph_along", "signal_conf_ph", "quality_ph", "pce_mframe_cnt", "ph_id_pulse")


def plain_read(path: Path) -> None:
    with h5py.File(path) as f:
        for name in READ:
            f[f"{BEAM}/heights/{name}"][()]


def open_and_resample(path: Path) -> None:
    with Granule(path) as granule:
        granule.track(BEAM)


def blocks_in_memory(granule: Granule, cells: int) -> list:
    """Photons of consecutive blocks, read beforehand, so that only the resampling is timed."""
    plan, table = granule.plan(BEAM), granule.table(BEAM)
    pad = segments.margin(plan.length) + 40.0
    out = []
    for k in range(plan.k0, plan.k0 + plan.n, cells):
        n = min(cells, plan.k0 + plan.n - k)
        g0, g1 = np.searchsorted(table.dist_x, [k * plan.length - pad, (k + n) * plan.length + pad])
        out.append((*granule._read(BEAM, table, int(g0), int(g1)), k, n))
    return out


def resample(granule: Granule, blocks: list, threads: int) -> None:
    plan, table, bias = granule.plan(BEAM), granule.table(BEAM), granule.first_photon_bias(BEAM)

    def one(block) -> None:
        photons, nodes, k, n = block
        segments.segment_block(
            photons,
            nodes,
            table.background,
            bias,
            segments.Cells(k, n, plan.length),
            selection=plan.selection,
            reference=plan.reference,
        )

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(one, blocks))


def by_pandas(frame: Any) -> None:
    """Mean, deviation and median of the five published columns by sample, photons already in memory."""
    import pandas as pd

    pulses = frame.groupby("pulse")["signal"]
    frame = frame.assign(pcnt=pulses.transform("size"), pcnth=pulses.transform("sum"))
    frame = frame[frame.signal]
    assert isinstance(frame, pd.DataFrame)
    columns = ["h", "pcnt", "pcnth", "bcnt", "brate"]
    frame.groupby((frame.x // 2).astype("i8"))[columns].agg(["mean", "std", "median"])


def by_polars(frame: Any) -> None:
    """The same by polars."""
    import polars as pl

    table = pl.from_pandas(frame)
    counts = [pl.len().over("pulse").alias("pcnt"), pl.col("signal").sum().over("pulse").alias("pcnth")]
    table = table.with_columns(counts).filter(pl.col("signal"))
    sample = (pl.col("x") // 2).cast(pl.Int64).alias("sample")
    columns = ["h", "pcnt", "pcnth", "bcnt", "brate"]
    ways = [getattr(pl.col(columns), how)().name.suffix(f"_{how}") for how in ("mean", "std", "median")]
    table.group_by(sample).agg(ways)


def by_flox(frame: Any) -> None:
    """Mean, deviation and median of the height alone by flox."""
    import flox

    frame = frame[frame.signal]
    sample = (frame.x // 2).astype("i8").to_numpy()
    for how in ("nanmean", "nanstd", "nanmedian"):
        flox.groupby_reduce(frame.h.to_numpy(), sample, func=how)


#: Other programs that make means of samples.
OTHERS = {"pandas": by_pandas, "polars": by_polars, "flox": by_flox}


def pandas_frame(granule: Granule):
    import pandas as pd

    table = granule.table(BEAM)
    photons, _ = granule._read(BEAM, table, 0, table.dist_x.size)
    record = (photons.pulse - photons.pulse[0]) // 50
    return pd.DataFrame(
        {
            "x": photons.x,
            "h": photons.h.astype("f8"),
            "pulse": photons.pulse,
            "signal": photons.conf >= 3,
            "bcnt": table.background.counts[record],
            "brate": table.background.rate[record],
        }
    )


def peak_memory(path: Path) -> float:
    """Peak resident memory of a whole track over the imported package, MB, in a fresh process."""
    code = f"""
import json, threading, time, psutil, os
from is2ice.io.icesat2.atl03 import Granule
from is2ice.twin.icesat2.flat_beam import write_beam
import tempfile, pathlib
with tempfile.TemporaryDirectory() as d:  # compile and load everything first
    Granule(write_beam(pathlib.Path(d) / "warm.h5", 20_000)).track({BEAM!r})
me = psutil.Process(); base = me.memory_info().rss; peak = [base]; stop = threading.Event()
def watch():
    while not stop.is_set():
        peak[0] = max(peak[0], me.memory_info().rss); time.sleep(0.01)
t = threading.Thread(target=watch); t.start()
ds = Granule({str(path)!r}).track({BEAM!r})
stop.set(); t.join()
print(json.dumps([(peak[0] - base) / 1e6, ds.nbytes / 1e6]))
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    over, result = json.loads(out.splitlines()[-1])
    print(f"peak memory over baseline      {over:8.0f} MB   (the result itself: {result:.0f} MB)")
    return over


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photons", type=lambda s: int(s.replace("_", "")), default=30_000_000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=Path("build"))
    args = parser.parse_args()
    path = args.folder / f"beam_{args.photons}.h5"
    if not path.exists():
        print(f"writing {path} ...")
        write_beam(path, args.photons)
    with Granule(path) as granule:
        n = granule.file[f"{BEAM}/heights/h_ph"].shape[0]
        granule.track(BEAM, block=200, x_atc=None) if n < 50_000 else open_and_resample(path)
        print(f"photons                        {n:12,}   threads {threading.active_count()}")
        read = median_seconds(lambda: plain_read(path), args.repeat)
        both = median_seconds(lambda: open_and_resample(path), args.repeat)
        print(f"plain h5py read                {read:8.2f} s")
        print(f"open + resample                {both:8.2f} s   ratio to plain reading {both / read:.2f}")
        blocks = blocks_in_memory(granule, 16_384)
        two = median_seconds(lambda: resample(granule, blocks, 2), args.repeat)
        one = median_seconds(lambda: resample(granule, blocks, 1), args.repeat)
        blocks.clear()
        print(f"resample, two threads          {two:8.2f} s   {n / two / 1e6:.1f} million photons/s")
        print(f"resample, one thread           {one:8.2f} s   {n / one / 1e6:.1f} million photons/s")
        frame = pandas_frame(granule)
        groupby = median_seconds(lambda: by_pandas(frame), 1)
        print(f"pandas groupby                 {groupby:8.2f} s   {groupby / two:.1f} x the resampling")
    peak_memory(path)


if __name__ == "__main__":
    main()

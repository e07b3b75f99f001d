"""First view of the page of a published store of 1,000 tracks in headless Chromium, and the profile after a click.

    python benchmarks/explorer.py [--tracks 1000] [--folder build/explorer] [--picture page.png]

The tracks are copies of one, moved over the Ross Sea. The clock of the page starts at its navigation. A blank page is
opened in the same way, for comparison.
"""

from __future__ import annotations

import argparse
import base64
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / "tests")]

import browser  # noqa: E402  (of the tests)

import is2ice  # noqa: E402
from is2ice import schema  # noqa: E402
from is2ice.io.stores import store as stores  # noqa: E402

DRAWN = 'Bokeh.documents[0].is_idle && Bokeh.documents[0].get_model_by_name("map")'
PLACE = """
(() => {
  const view = Bokeh.index.find_one_by_id(Bokeh.documents[0].get_model_by_name("map").id);
  const data = view.model.renderers.find((r) => r.glyph.type === "MultiLine").data_source.data;
  const n = data.xs.length >> 1, k = data.xs[n].length >> 1, at = view.el.getBoundingClientRect();
  return [at.x + view.frame.x_scale.compute(data.xs[n][k]), at.y + view.frame.y_scale.compute(data.ys[n][k])];
})()
"""
PROFILE = 'Bokeh.documents[0].get_model_by_name("profile")'


def fill(root: Path, tracks: int, cells: int = 5_000) -> None:
    """Write tracks of 10 km to a store."""
    rng = np.random.default_rng(0)
    one = schema.mock_segments(cells, stages=("classified", "seasurface", "freeboard"))
    along = 2.0 * np.arange(cells)
    for k in range(tracks):
        turn, (x, y) = rng.uniform(0, 2 * np.pi), rng.uniform((-9e5, -2.2e6), (9e5, -1.2e6))
        ds = one.copy(deep=True)
        ds["x"][:], ds["y"][:] = x + 30 * along * np.cos(turn), y + 30 * along * np.sin(turn)
        ds["freeboard"][:] = np.abs(rng.normal(rng.uniform(0.1, 0.8), 0.1, cells))
        about = {"granule": f"ATL03_2019{k:010d}_05940510_006_01", "beam": "gt2r", "crs": "EPSG:3976"}
        stores.write_track(ds.assign_attrs(about, simulated="a pattern of benchmarks/explorer.py"), root)
    stores.consolidate(root)


def seconds_blank(folder: Path) -> float:
    """Return the seconds to the end of loading of an empty page."""
    (folder / "blank.html").write_text("<html><body></body></html>")

    async def load(view: browser.Page) -> float:
        await view.wait("document.readyState === 'complete'")
        return await view.value("performance.timing.loadEventEnd - performance.timing.navigationStart") / 1e3

    return browser.visit((folder / "blank.html").as_uri(), folder / "profile-blank", load)


def visit(page: Path, folder: Path, picture: Path | None) -> tuple[float, float, str]:
    """Return the seconds to the first view and from a click to its profile, and the title of the profile."""

    async def look(view: browser.Page) -> tuple[float, float, str]:
        while not await view.value(f"(() => {{ try {{ return !!({DRAWN}) }} catch {{ return false }} }})()"):
            pass
        first = await view.value("performance.now()") / 1e3
        x, y = await view.value(PLACE)
        start = time.perf_counter()
        await view.click(x, y)
        await view.wait(f"{PROFILE}.title.text !== 'click a track'")
        shown, title = time.perf_counter() - start, await view.value(f"{PROFILE}.title.text")
        if picture is not None:
            taken = await view.ask("Page.captureScreenshot", format="png")
            picture.write_bytes(base64.b64decode(taken["data"]))
        return first, shown, title

    return browser.visit(page.as_uri(), folder / "profile", look)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tracks", type=int, default=1000)
    parser.add_argument("--folder", type=Path, default=Path("build/explorer"))
    parser.add_argument("--picture", type=Path)
    args = parser.parse_args()
    store, page = args.folder / f"s{args.tracks}", args.folder / f"page{args.tracks}.html"
    args.folder.mkdir(parents=True, exist_ok=True)
    if not store.exists():
        fill(args.folder / "work", args.tracks)
        is2ice.publish(args.folder / "work", store, declaration="demo")
    start = time.process_time()
    is2ice.explore(store, page)
    print(
        f"{args.tracks:,} tracks: page of {page.stat().st_size / 1e6:.1f} MB, {time.process_time() - start:.1f} CPU s"
    )
    with tempfile.TemporaryDirectory() as folder:
        blank = seconds_blank(Path(folder))
        first, shown, title = visit(page.resolve(), Path(folder), args.picture)
    print(
        f"first view {first:.2f} s (an empty page {blank:.2f} s); from a click to its profile {shown:.2f} s ({title}); "
        f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    )


if __name__ == "__main__":
    main()

"""The page of a store: what it holds, what it refuses, and a click on a track in a browser."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import browser
import numpy as np
import pytest

import is2ice
from is2ice import schema
from is2ice.errors import StoreError
from is2ice.io.stores import store

pytest.importorskip("bokeh")

#: The screen position of the middle of a track, from the view of the map.
PLACE = """
(() => {
  const view = Bokeh.index.find_one_by_id(Bokeh.documents[0].get_model_by_name("map").id);
  const data = view.model.renderers.find((r) => r.glyph.type === "MultiLine").data_source.data;
  const k = Math.floor(data.xs[%d].length / 2), at = view.el.getBoundingClientRect();
  return [at.x + view.frame.x_scale.compute(data.xs[%d][k]), at.y + view.frame.y_scale.compute(data.ys[%d][k])];
})()
"""
PROFILE = 'Bokeh.documents[0].get_model_by_name("profile")'


def make_store(path: Path, tracks: int = 6) -> Path:
    for k in range(tracks):
        ds = schema.mock_segments(400, stages=("classified", "seasurface", "freeboard"))
        r, angle = np.linspace(1.2e6, 2.4e6, 400), 2 * np.pi * k / tracks
        ds["x"][:], ds["y"][:] = r * np.cos(angle), r * np.sin(angle)
        ds["freeboard"][:] = 0.1 * (k + 1)
        about = {"granule": f"ATL03_2019110{k + 1}195311_05940510_006_01", "beam": "gt2r", "crs": "EPSG:3976"}
        store.write_track(ds.assign_attrs(about, simulated="twin"), path)
    return path


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("explore")
    return is2ice.explore(make_store(folder / "s.zarr"), folder / "page.html", points=100)


def test_the_page_needs_no_network_and_says_simulated(page: Path) -> None:
    text = page.read_text()
    assert "SIMULATED: " in text.split("</title>")[0]
    assert "ATL03_20191103195311_05940510_006_01 gt2r" in text
    assert not re.search(r'<(script|link)[^>]+(src|href)="http', text)


def test_what_is_no_page_or_no_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expected a page ending in \.html"):
        is2ice.explore(tmp_path, tmp_path / "page.txt")
    with pytest.raises(StoreError):
        is2ice.explore(tmp_path / "none.zarr", tmp_path / "page.html")
    with pytest.raises(StoreError, match="without versions"):
        is2ice.explore(make_store(tmp_path / "s.zarr", 1), tmp_path / "page.html", version=1)
    with pytest.raises(StoreError, match="there is no folder"):
        is2ice.explore(tmp_path, tmp_path / "none" / "page.html")


def test_an_earlier_version_on_request(cli, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    first, both = make_store(tmp_path / "a.zarr", 1), make_store(tmp_path / "b.zarr", 2)
    for source in (first, both):
        is2ice.publish(source, tmp_path / "published")
    for number, last in ((1, "20191101"), (2, "20191102")):
        page = tmp_path / f"{number}.html"
        assert cli("explore", tmp_path / "published", "--version", str(number), "--out", page)[0] == 0
        assert f'"is2ice-version" content="{number}"' in page.read_text()
        assert (f"ATL03_{last}" in page.read_text(), "ATL03_20191103" in page.read_text()) == (True, False)
        assert ("ATL03_20191102" in page.read_text()) == (number == 2)


@pytest.mark.skipif(browser.CHROMIUM is None, reason="no Chromium here")
def test_a_click_shows_the_profile_of_its_track(page: Path, tmp_path: Path) -> None:
    async def click(view: browser.Page) -> tuple[str, Any]:
        await view.wait(f"{PROFILE} && Bokeh.index.find_one_by_id({PROFILE}.id).frame.bbox.width > 0")
        x, y = await view.value(PLACE % (2, 2, 2))
        await view.click(x, y)
        await view.wait(f"{PROFILE}.title.text !== 'click a track'")
        data = f"{PROFILE}.renderers[0].data_source.data"
        return await view.value(f"{PROFILE}.title.text"), await view.value(f"Array.from({data}.freeboard)")

    title, freeboard = browser.visit(page.as_uri(), tmp_path / "profile", click)
    assert title.startswith("SIMULATED: ATL03_20191103195311_05940510_006_01 gt2r")
    np.testing.assert_allclose([v for v in freeboard if v is not None], 0.3, atol=1e-3)
    assert len(freeboard) == 100

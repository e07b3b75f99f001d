"""The page of corrections: what it holds, and driven by a real browser from disk to a labelled store."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import is2ice
from is2ice import schema
from is2ice.cli.labels import app
from is2ice.io.stores import store
from is2ice.reports.review_page import write_review_page
from is2ice.science.labels.corrections import Correction, Corrections, agreement

TRACK = "ATL03_20191116193412_07410510_006_01"
SAMPLE = Path(__file__).resolve().parents[2] / "sample_data"
GRANULE = SAMPLE / f"{TRACK}.h5"
ITEMS = [p for p in (SAMPLE / "sentinel-2-l2a").rglob("*.json") if p.name != "collection.json"]


def cube():
    """A labelled track with one stretch of 40 m labelled water and predicted ice, and its colours beside it."""
    ds = schema.mock_segments(600, stages=("labels", "classified"))
    ds["label"][:], ds["surface_class"][:] = 0, 0
    ds["label"][100:120] = schema.OPEN_WATER
    for name in ("image_b02", "image_b03", "image_b04"):
        ds[name] = ("x_atc", np.where(ds.label == 2, 0.05, 0.9).astype("f4"))
    return schema.annotate(ds, "labels").assign_attrs(granule=TRACK, beam="gt2r")


def test_the_page_holds_each_stretch(tmp_path):
    ds = cube()
    assert write_review_page(ds, tmp_path / "page.html") == 1
    text = (tmp_path / "page.html").read_text()
    (found,) = re.findall(r'data-track="([^"]+)"', text)
    assert found == f"{TRACK}/gt2r"
    assert f'name="from" step="2" value="{ds.x_atc.values[100]:.0f}"' in text
    assert "label open water, predicted thick ice, 20 segments" in text
    assert text.count("data:image/png;base64,") == 1
    assert "http" not in re.sub(r"base64,[^\"]+", "", text)  # nothing from elsewhere


async def _drive(port, path, steps):
    """Run JavaScript in a page that Chromium opened from disk, by its own protocol."""
    import aiohttp

    async with aiohttp.ClientSession() as session:
        async with session.get(f"http://127.0.0.1:{port}/json") as reply:
            page = next(p for p in await reply.json() if p["type"] == "page")
        async with session.ws_connect(page["webSocketDebuggerUrl"], max_msg_size=0) as socket:

            async def call(number, method, **params):
                await socket.send_json({"id": number, "method": method, "params": params})
                while (answer := await socket.receive_json()).get("id") != number:
                    pass
                assert "error" not in answer, answer
                return answer["result"]

            await call(1, "Browser.setDownloadBehavior", behavior="allow", downloadPath=str(path))
            # A new browser shows an empty page first, which is complete, too.
            loaded, number = "location.protocol == 'file:' && document.readyState == 'complete'", 2
            while not (await call(number, "Runtime.evaluate", expression=loaded))["result"].get("value"):
                number += 1
                await asyncio.sleep(0.1)
            for k, step in enumerate(steps, number + 1):
                result = await call(k, "Runtime.evaluate", expression=step)
                assert "exceptionDetails" not in result, result
            for _ in range(300):  # the download ends with the session
                if (path / "corrections.csv").is_file():
                    return
                await asyncio.sleep(0.2)


def test_a_stretch_is_relabelled_in_a_browser(tmp_path, cli):
    """Choose, name, save: `labels make` with the file that Chromium saves gives the new labels."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium on this machine: the page was not driven")
    ds = cube()
    first = is2ice.open_track(GRANULE)["x_atc"].values[500]  # where the sample's image lies
    ds = ds.assign_coords(x_atc=ds.x_atc - ds.x_atc[0] + first)
    write_review_page(ds, tmp_path / "page.html")
    profile = tmp_path / "profile"
    browser = subprocess.Popen(
        [
            chromium,
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--remote-debugging-port=0",
            f"--user-data-dir={profile}",
            (tmp_path / "page.html").as_uri(),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until, note = time.monotonic() + 120, profile / "DevToolsActivePort"
        while not (note.is_file() and note.read_text().strip()) and time.monotonic() < until:
            time.sleep(0.2)
        port = note.read_text().split()[0]
        steps = [
            "document.querySelector('#stretch-1 [name=label]').value = 'thin_ice'",
            "document.querySelector('#stretch-1 [name=why]').value = 'grey, \"smooth\"'",
            "document.getElementById('who').value = 'A. Person'",
            "refresh()",
            "if (document.getElementById('save').disabled) throw Error('save is off')",
            "document.getElementById('save').click()",
        ]
        asyncio.run(_drive(port, tmp_path, steps))
    finally:
        browser.terminate()
        browser.wait(20)
    done = Corrections.read(tmp_path / "corrections.csv")
    x = ds.x_atc.values
    (entry,) = done.entries
    assert entry == Correction(f"{TRACK}/gt2r", x[100], x[119] + 2, "thin_ice", "A. Person", 'grey, "smooth"')
    how = ["--shift", 79, 115, "--corrections", tmp_path / "corrections.csv", "--store", tmp_path / "s.zarr"]
    code, told, error = cli("labels", "make", GRANULE, *ITEMS, *how)
    assert code == 0, error
    assert "corrections: intervals 1, segments 20" in told
    made = store.open_track(tmp_path / "s.zarr", TRACK, ["gt2r"], chunks=None).isel(beam=0)
    got = made.label.sel(x_atc=slice(x[90], x[129])).values
    assert (got[10:30] == schema.THIN_ICE).all()
    assert not (got[:10] == schema.THIN_ICE).all()


def test_agreement_by_hand(tmp_path):
    def line(a, b, label):
        return Correction(f"{TRACK}/gt2r", a, b, label, "me", "test")

    first = Corrections((line(0, 60, "thin_ice"), line(60, 100, "open_water"), line(200, 210, "thick_ice")))
    second = Corrections((line(0, 40, "thin_ice"), line(40, 100, "open_water"), line(300, 304, "unlabelled")))
    found = agreement(first, second)
    assert (found.n, found.only_first, found.only_second) == (50, 5, 2)
    assert found.matrix[1].tolist() == [0, 20, 10, 0]
    assert found.observed == pytest.approx(0.8)
    chance = (30 * 20 + 20 * 30) / 50**2
    assert found.kappa == pytest.approx((0.8 - chance) / (1 - chance))
    assert np.isnan(agreement(first, Corrections()).kappa)
    for name, file in (("a", first), ("b", second)):
        file.write(tmp_path / f"{name}.csv")
    done = CliRunner().invoke(app, ["agree", str(tmp_path / "a.csv"), str(tmp_path / "b.csv"), "--json"])
    assert json.loads(done.output)["kappa"] == pytest.approx(found.kappa)


def test_the_command_writes_the_page(tmp_path):
    store.write_track(cube(), tmp_path / "s.zarr")
    done = CliRunner().invoke(app, ["review", str(tmp_path / "s.zarr"), "--page", str(tmp_path / "p.html")])
    assert done.exit_code == 0, done.output
    assert "1 stretches" in done.output
    assert (tmp_path / "p.html").stat().st_size > 20_000

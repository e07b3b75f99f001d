"""The published study: pairs of Table I, files joined to passes, the page, resumed, and a pass that fails."""

from __future__ import annotations

import csv
import json
import runpy
import shutil
import sys
from datetime import datetime
from fnmatch import fnmatch
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import earthaccess
import numpy as np
import pytest
import services

from is2ice.io.stores import store
from is2ice.reports.paper_page import CAPTIONS, measure
from is2ice.twin.server.local_archive import LocalCloud
from is2ice.twin.server.paper_archive import SimulatedPair, make_pair
from is2ice.workflows import paper

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "sample_data"
GRANULE = SAMPLE / "ATL03_20191116193412_07410510_006_01.h5"


def recipe(monkeypatch, *args):
    monkeypatch.setattr(sys, "argv", ["paper.py", *map(str, args)])
    runpy.run_path(str(ROOT / "recipes" / "paper.py"), run_name="__main__")


def test_the_eight_pairs_agree_with_themselves():
    """Minutes follow from the times but for one printed otherwise, tracks from times at 94.27 min an orbit."""
    assert [p.number for p in paper.PAIRS] == list(range(1, 9))
    start = [datetime.strptime(p.granule[6:20], "%Y%m%d%H%M%S") for p in paper.PAIRS]
    for pair, passed in zip(paper.PAIRS, start, strict=True):
        minutes = abs(datetime.fromisoformat(pair.scene_time) - passed).total_seconds() / 60
        assert minutes == pytest.approx(pair.minutes, abs=0.16 if pair.number == 5 else 0.06), pair.number
        assert pair.granule.endswith("0510")  # cycle 5, region 10
    track = np.array([int(p.granule[21:25]) for p in paper.PAIRS])
    since = np.array([(t - start[0]).total_seconds() / 60 for t in start])
    known = np.array([p.confirmed for p in paper.PAIRS])
    orbit, first = np.polyfit(track[known], since[known], 1)
    assert orbit == pytest.approx(94.27, abs=0.02)
    assert np.abs(orbit * track + first - since).max() < 0.3  # all eight, the unconfirmed tracks too


def test_tracks_agree_with_genuine_coincidences(real_data):
    """ATL10 names of the same days: the time of day of each reference track on its day."""
    table = next((real_data / "coincidences").glob("*.csv"))
    seen = {}
    for row in csv.DictReader(table.open()):
        name = row["IS2_file"]
        if name[9:15] == "201911" and name[28:30] == "05":
            seen[int(name[24:28])] = name[9:17]
    shared = [p for p in paper.PAIRS if int(p.granule[21:25]) in seen]
    assert len(shared) >= 3
    for pair in shared:
        assert seen[int(pair.granule[21:25])] == pair.granule[6:14]


def test_shifts_of_the_table_in_both_conventions():
    pair = paper.PAIRS[2]  # 200 m W
    grid, true = paper.table_shift(pair, "grid"), paper.table_shift(pair, "true")
    # The image was moved west, so the ice lies east of where the pass saw it: grid +x, and true east is -x.
    assert (grid.dx, grid.dy) == pytest.approx((200.0, 0.0))
    assert true.dx == pytest.approx(-190.6, abs=1.0)  # 200 m x .98666 x cos(15 deg)
    assert true.dy == pytest.approx(51.1, abs=1.0) or true.dy == pytest.approx(-51.1, abs=1.0)
    assert paper.table_shift(paper.PAIRS[1], "true").distance == 0.0


def test_files_join_by_pass_and_time(tmp_path):
    items = [p for p in (SAMPLE / "sentinel-2-l2a").rglob("*.json") if p.name != "collection.json"]
    products = [p for p in SAMPLE.glob("ATL[01]*.h5") if not p.name.startswith("ATL03")]
    (one,) = paper.from_files([str(GRANULE)], list(map(str, items)), list(map(str, products)))
    assert one.name == GRANULE.stem
    assert len(one.scenes) == len(items)
    assert Path(one.atl07).name.startswith("ATL07-02_20191116193412")
    assert Path(one.atl10).name.startswith("ATL10-02_20191116193412")
    other = "ATL03_20191118193412_07410510_006_01.h5"
    assert paper.from_files([other], list(map(str, items)), list(map(str, products)))[0] == paper.PassData(
        other, []
    )
    with pytest.raises(ValueError, match="at least one of each"):
        paper.from_files([], ["x.json"])
    said = []
    (tmp_path / "other.json").write_text("{}")
    shutil.copytree(SAMPLE / "sentinel-2-l2a", tmp_path / "items")
    found = runpy.run_path(str(ROOT / "recipes" / "paper.py"))["items_in"](tmp_path, said.append)
    assert len(found) == len(items)
    assert len(said) == 1
    assert "other.json" in said[0]
    assert paper.number_of(paper.PAIRS[2].granule + "_006_01.h5") == 3
    assert paper.number_of(str(GRANULE)) is None


def test_wrong_studies_are_refused(tmp_path):
    one = [paper.PassData("a.h5", [])]
    for wrong, text in (
        ({"passes": []}, "at least one pass"),
        ({"passes": one, "shift": "guess"}, "expected 'estimate'"),
        ({"passes": one, "epochs": 0}, "are trained"),
    ):
        with pytest.raises(ValueError, match=text):
            paper.Study(tmp_path, **wrong)


def test_the_recipe_on_files_resumed_and_with_a_pass_that_fails(tmp_path, monkeypatch, capsys):
    """The whole page without training: one pass with its image and products, one that is no granule."""
    bad = tmp_path / "ATL03_20191116203412_07420510_006_01.h5"
    bad.write_bytes(b"no granule")
    args = [
        "--granules",
        GRANULE,
        bad,
        "--scenes",
        SAMPLE / "sentinel-2-l2a",
        "--products",
        str(SAMPLE / "ATL07*.h5"),
        str(SAMPLE / "ATL10*.h5"),
        "--classifier",
        "radiometric",
        "--no-train",
        "--no-measure",
        "--engine",
        "serial",
        "--shift",
        "79",
        "115",
        "--out",
        tmp_path / "out",
    ]
    recipe(monkeypatch, *args)
    first = capsys.readouterr().out
    assert f"failed: label {bad.stem}" in first
    page = (tmp_path / "out" / "index.html").read_text()
    assert "Simulated." in page
    for number in ("I:", "II:", "III:", "IV:", "V:"):
        assert f"<h3>Table {number}" in page
    assert "radiometric, all labelled cells, against labels" in page
    assert all(f"<td>{step}</td>" in page for step in ("label", "segments", "classify", "measure"))
    drawn = {p.stem.removeprefix("figure_") for p in (tmp_path / "out" / "figures").glob("*.png")}
    missing = {
        "7_classes",
        "11_freeboard",
        "scaling_labelling",
        "scaling_freeboard",
    }  # one pass, nothing measured
    assert drawn == set(CAPTIONS) - missing
    assert all(f"figure {name}: " in first for name in missing)
    numbers = json.loads((tmp_path / "out" / "measured.json").read_text())
    assert set(numbers[f"{GRANULE.stem} gt1r"]["surfaces"]) == {
        "minimum",
        "mean",
        "nearest_minimum",
        "nasa",
        "crossfit",
        "evidence",
    }
    held = store.open_store(tmp_path / "out" / "labelled.zarr")
    assert held.tracks[GRANULE.stem, "gt2r"]["label_shift"] == [79.0, 115.0]
    recipe(monkeypatch, *args)
    assert "0 done, 3 there, 1 failed" in capsys.readouterr().out


class Catalogue(services.Quiet):
    """A catalogue of granules: answers patterns of names as NASA's does."""

    def do_GET(self) -> None:
        query = parse_qs(urlsplit(self.path).query)
        patterns = query.get("readable_granule_name[]") or query["readable_granule_name"]
        urls = [u for u in self.server.urls if any(fnmatch(Path(u).name, p) for p in patterns)]
        body = json.dumps({"hits": len(urls), "items": [self.entry(u) for u in urls]}).encode()
        self.answer(200, body, Content_Type="application/json", CMR_Hits=str(len(urls)))

    @staticmethod
    def entry(url: str) -> dict:
        name = Path(url).stem
        when = datetime.strptime(name.split("_")[1], "%Y%m%d%H%M%S").isoformat() + "Z"
        orbit = {"AscendingCrossing": 31.0, "StartLatitude": -50, "StartDirection": "D"}
        orbit |= {"EndLatitude": -50, "EndDirection": "A"}
        umm = {
            "GranuleUR": name,
            "TemporalExtent": {"RangeDateTime": {"BeginningDateTime": when, "EndingDateTime": when}},
            "SpatialExtent": {"HorizontalSpatialDomain": {"Orbit": orbit}},
            "RelatedUrls": [{"URL": url, "Type": "GET DATA"}],
        }
        return {"meta": {"concept-id": name, "provider-id": "NSIDC_CPRD"}, "umm": umm}


@pytest.fixture
def archives(tmp_path, monkeypatch):
    """Archives on this machine with pairs 3 and 4 of Table I, the image of the second all cloud."""
    for pair in (p for p in paper.PAIRS if p.number in (3, 4)):
        make_pair(
            SimulatedPair(
                pair.granule,
                pair.scene_time,
                str(tmp_path / "archive"),
                length_km=8.0,
                size_km=4.0,
                beams=("gt2r",),
                seed=pair.number,
                overcast=pair.number == 4,
            )
        )
    with LocalCloud(tmp_path / "archive") as cloud:
        urls = [cloud.href(p) for p in sorted((tmp_path / "archive").rglob("*.h5"))]
        with services.http_server(Catalogue, urls=urls) as server:
            monkeypatch.setenv("IS2ICE_CMR", f"{server.url}/search/")
            monkeypatch.setenv("EARTHDATA_TOKEN", "planted")
            for name in ("authenticated", "token"):
                monkeypatch.setattr(earthaccess.__auth__, name, None)
            yield cloud


def test_pairs_from_the_archives_interrupted_and_resumed(archives, tmp_path, monkeypatch, capsys):
    """Granules, products and images are found and streamed; an image that is all cloud stops no other pair."""
    args = ["--pairs", 3, 4, 5, "--endpoint", archives.stac_url, "--shift", "none", "--engine", "serial"]
    args += ["--classifier", "radiometric", "--no-train", "--no-measure", "--out", tmp_path / "out"]

    def stopped(study):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(paper.Study, "segments", stopped)
        with pytest.raises(KeyboardInterrupt):
            recipe(monkeypatch, *args)
    first = capsys.readouterr().out
    assert f"pair 5: no granule {paper.PAIRS[4].granule} in the archive" in first
    cloudy = paper.PAIRS[3].granule
    assert f"label {cloudy}_006_01: no segment labelled: cloud" in first
    assert "2 done, 0 there, 0 failed" in first
    assert archives.traffic.partial > 20
    passes = paper.from_archives([3, 4], archives.stac_url)
    study = paper.Study(tmp_path / "out", passes, "none", classifiers=("radiometric",), epochs=0)
    study.carry_out()
    assert (len(study.runs["label"].done), len(study.runs["label"].skipped)) == (0, 2)
    assert study.failed == {
        f"label {cloudy}_006_01": "no segment labelled: cloud, shadow or no data in the image"
    }
    numbers = measure(study, "radiometric")
    clear = f"{paper.PAIRS[2].granule}_006_01 gt2r"
    assert set(numbers) == {clear, f"{cloudy}_006_01 gt2r"}  # clouds over the image hide labels alone
    assert numbers[clear]["comparison"]["height"]["n"] > 100  # ATL07 by its address


def test_wrong_arguments(monkeypatch, capsys, tmp_path):
    for wrong, text in (
        (["--offline", "--granules", "x.h5", "--scenes", "y"], "simulates its own pairs"),
        (["--granules", "x.h5"], "go together"),
        (["--no-train"], "is trained"),
        (["--shift", "a", "b"], "two numbers"),
    ):
        with pytest.raises(SystemExit):
            recipe(monkeypatch, *wrong)
        assert text in capsys.readouterr().err
    with pytest.raises(SystemExit, match=r"paper.py: error: none.json: "):
        recipe(monkeypatch, "--granules", GRANULE, "--scenes", "none.json", "--out", tmp_path)

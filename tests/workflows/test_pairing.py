"""Pairs of passes and scenes: photon times, overlap, and why a scene is none."""

from __future__ import annotations

import csv
import inspect
import json
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from pyproj import Geod
from shapely.geometry import box, mapping

from is2ice.science.footprints import GroundTrack
from is2ice.twin.icesat2.atl03 import make_granule
from is2ice.twin.scene.scene import Scene
from is2ice.twin.sentinel2.make_scene import make_scene
from is2ice.twin.server.local_archive import LocalCloud
from is2ice.workflows import pairing

START = np.datetime64("2019-11-04T19:53:11", "ns")


def a_track(
    beam: str = "gt2l", longitude: float = -170.0, south: float = -76.0, north: float = -73.0
) -> GroundTrack:
    """Due south along a meridian at 7 km/s; a position every 20 m, as far as the ellipsoid says."""
    length = Geod(ellps="WGS84").inv(longitude, north, longitude, south)[2]
    distance = np.arange(0.0, length, 20.0)
    latitude = np.interp(distance, [0.0, length], [north, south])
    time = START + np.rint(distance / 7000.0 * 1e9).astype("timedelta64[ns]")
    lon = np.full(distance.size, longitude)
    return GroundTrack(
        "ATL03_20191104195311_05940510_006_01", beam, "strong", time, lon, latitude, 2.8e7 + distance
    )


def an_item(name: str, west: float, south: float, east: float, north: float, time: str, **more) -> dict:
    area = box(west, south, east, north)
    properties = {
        "datetime": time,
        "eo:cloud_cover": 7.0,
        "platform": "sentinel-2a",
        "grid:code": "MGRS-02CNB",
    } | more
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": name,
        "geometry": mapping(area),
        "bbox": list(area.bounds),
        "properties": properties,
        "assets": {},
        "links": [],
        "collection": "sentinel-2-l2a",
    }


def test_time_is_that_of_the_photons_over_the_scene():
    track = a_track()
    # The scene covers 75.0 to 75.5 S; the track reaches its middle (75.25 S) 2.25 of 3 degrees on.
    item = an_item("a", -171, -75.5, -169, -75.0, "2019-11-04T19:45:29Z")
    found = pairing.pairs(track, [item])
    assert len(found) == 1
    row = found.iloc[0]
    whole = (track.time[-1] - track.time[0]) / np.timedelta64(1, "s")
    middle = START + np.timedelta64(round(whole * 2.25 / 3 * 1e9), "ns")
    assert abs((row["is2_time"].to_datetime64() - middle) / np.timedelta64(1, "s")) < 0.05
    # 7.7 minutes by the granule's own time (the paper's table); the photons are 36 s later.
    assert row["minutes"] == pytest.approx(-(7.7 + whole * 0.75 / 60.0), abs=0.01)
    # Half a degree of meridian there is 55.8 km.
    expected = Geod(ellps="WGS84").inv(-170, -75.0, -170, -75.5)[2] / 1e3
    assert row["overlap_km"] == pytest.approx(expected, abs=0.05)
    assert row["x_atc_last"] - row["x_atc_first"] == pytest.approx(1e3 * expected, abs=50)
    assert row.geometry.bounds == pytest.approx((-170, -75.5, -170, -75.0), abs=1e-3)


def test_limits_are_inclusive_of_what_they_say_and_reasons_are_given():
    track = a_track()
    middle = START + np.timedelta64(round((track.time[-1] - START) / np.timedelta64(1, "ns") * 0.75), "ns")

    def at(minutes: float) -> str:
        return f"{np.datetime_as_string(middle + np.timedelta64(round(minutes * 60e9), 'ns'), unit='ms')}Z"

    items = [
        an_item("in time", -171, -75.5, -169, -75.0, at(79.9)),
        an_item("late", -171, -75.5, -169, -75.0, at(80.1)),
        an_item("early", -171, -75.5, -169, -75.0, at(-79.9)),
        an_item("elsewhere", -168, -75.5, -167, -75.0, at(0)),
        an_item("short", -171, -75.27, -169, -75.25, at(0)),
    ]
    found = pairing.pairs(track, items, least_km=3.0)
    assert sorted(found["scene"]) == ["early", "in time"]
    reasons = found.attrs["rejected"]
    assert reasons["late"].startswith("80.1 minutes apart")
    assert "overlap shorter than 3 km" in reasons["short"]
    # Two degrees of longitude at 75 S or so, from the track to the western border: 56-58 km.
    assert float(reasons["elsewhere"].split(" km")[0].split()[-1]) == pytest.approx(57, abs=1.5)
    assert sorted(pairing.pairs(track, items, 81)["scene"]) == ["early", "in time", "late", "short"]


def test_nothing_found_is_an_empty_frame():
    found = pairing.pairs(a_track(), [])
    assert len(found) == 0
    assert list(found.columns) == [*pairing.COLUMNS, "geometry"]
    assert len(pairing.summary(found)) == 0


def test_gaps_are_not_counted():
    track = a_track()
    keep = (track.latitude > -75.2) | (track.latitude < -75.3)
    holed = GroundTrack(*(v[keep] if isinstance(v, np.ndarray) else v for v in vars(track).values()))
    item = an_item("a", -171, -75.5, -169, -75.0, "2019-11-04T19:45:29Z")
    lost = pairing.pairs(track, [item])["overlap_km"][0] - pairing.pairs(holed, [item])["overlap_km"][0]
    assert lost == pytest.approx(Geod(ellps="WGS84").inv(-170, -75.2, -170, -75.3)[2] / 1e3, abs=0.05)


def test_across_the_antimeridian():
    west, east = a_track(longitude=179.9), a_track("gt3l", longitude=-179.9)
    whole = an_item("a", 178, -75.5, 182, -75.0, "2019-11-04T19:45:29Z")
    found = pairing.pairs([west, east], [whole])  # its longitudes run on past 180
    assert sorted(found["beam"]) == ["gt2l", "gt3l"]
    torn = an_item("b", -179.5, -75.5, 179.5, -75.0, "2019-11-04T19:45:29Z")  # the long way round
    found = pairing.pairs([west, east, a_track("gt1l", longitude=0.0)], [torn])
    assert sorted(found["beam"]) == ["gt2l", "gt3l"]
    assert found["overlap_km"].round(1).nunique() == 1


def test_summary_is_like_the_papers_table():
    tracks = [a_track("gt1r", -170.05), a_track("gt2r", -170.0)]
    items = [
        an_item("later", -171, -75.5, -169, -75.0, "2019-11-04T20:30:00Z"),
        an_item("sooner", -171, -75.2, -169, -75.0, "2019-11-04T19:45:29Z"),
    ]
    table = pairing.summary(pairing.pairs(tracks, items))
    assert table["scene"].tolist() == ["sooner", "later"]
    assert list(table.columns) == [
        "IS2 time",
        "S2 time",
        "minutes",
        "tile",
        "cloud",
        "gt1r km",
        "gt2r km",
        "granule",
        "scene",
    ]
    assert (table["minutes"] > 0).all()
    assert table["gt1r km"].tolist() == pytest.approx([22.3, 55.8], abs=0.1)


def test_genuine_coincidences_are_within_the_default_limit(real_data):
    """Published coincidences over the Ross Sea, by the times in the names of granule and scene."""
    path = next((real_data / "coincidences").glob("*.csv"))
    minutes = []
    for row in csv.DictReader(path.open()):
        if not row["S1_id"]:
            continue
        is2 = datetime.strptime(row["IS2_file"].split("_")[1], "%Y%m%d%H%M%S")
        s2 = datetime.strptime(row["S1_id"].split("/")[-1].split("_")[0], "%Y%m%dT%H%M%S")
        minutes.append(abs((is2 - s2).total_seconds()) / 60.0)
    assert len(minutes) == 91
    limit = inspect.signature(pairing.pairs).parameters["within"].default
    assert np.mean(np.array(minutes) <= limit) > 0.97
    # The rest lies beyond by less than a granule's start and its photons differ.
    assert max(minutes) < limit + 7


def test_from_a_granule_to_pairs_in_one_call(tmp_path):
    """Search and pairing against a STAC API on this machine; the scene is that of the granule's ice."""
    scene = Scene.preset("ross_sea_november", seed=2, length_km=6)
    granule = make_granule(scene, tmp_path / "ATL03", beams="strong", truth_path=tmp_path / "truth.nc")
    make_scene(scene, tmp_path, minutes=15, size_km=3, samples=1)
    make_scene(scene, tmp_path, minutes=95, size_km=3, samples=1)
    with LocalCloud(tmp_path) as cloud:
        found = pairing.pairs(granule, cloud.stac_url, collections=["sentinel-2-l2a"])
    assert found["scene"].nunique() == 1
    assert set(found["strength"]) == {"strong"}
    middle = next(row for _, row in found.iterrows() if row["beam"] == "gt2r" or row["beam"] == "gt2l")
    # 15 minutes after the first shot; the photons over it are about half a second later.
    assert middle["minutes"] == pytest.approx(15.0, abs=0.02)
    assert 2.0 < middle["overlap_km"] < 4.5
    assert json.dumps(found["item"][0])
    assert Path(found["granule"][0]).stem == Path(granule).stem

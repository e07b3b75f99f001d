"""Search of Sentinel-2 scenes: a real STAC API on this machine, and recorded genuine replies."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pystac_client
import pytest
import yaml
from pystac_client.stac_api_io import StacApiIO
from shapely.geometry import LineString, Point, Polygon, box, shape

from is2ice.errors import CatalogError
from is2ice.io.catalogs import sentinel2 as catalog
from is2ice.io.catalogs import stac_endpoints
from is2ice.io.icesat2.ground_tracks import ground_tracks
from is2ice.science.footprints import GroundTrack, cut_antimeridian, local_plane, outline
from is2ice.sentinel2 import scene as sentinel2
from is2ice.twin.scene.scene import Scene
from is2ice.twin.sentinel2.make_scene import make_scene
from is2ice.twin.server.local_archive import LocalCloud

PASS = np.datetime64("2019-11-16T19:34:12", "ns")


def a_track(longitude, latitude, start=PASS) -> GroundTrack:
    longitude, latitude = np.asarray(longitude, float), np.asarray(latitude, float)
    n = longitude.size
    x_atc = 2.8e7 + 20.0 * np.arange(n)
    return GroundTrack(
        "ATL03_x",
        "gt2l",
        "strong",
        start + np.arange(n) * np.timedelta64(3, "ms"),
        longitude,
        latitude,
        x_atc,
    )


def along(scene: Scene) -> GroundTrack:
    """The middle beam's track over a twin scene."""
    track = scene.track("gt2l")
    x = np.arange(track.x_start, track.x_end, 20.0)
    lon, lat = track.lonlat(x)
    return a_track(lon, lat)


@pytest.fixture(scope="module")
def scenes() -> dict[str, Scene]:
    return {
        "ross": Scene.preset("ross_sea_november", seed=3, length_km=10),
        "dateline": Scene.preset(
            "ross_sea_november", seed=4, length_km=10, start_lon=180.0, start_lat=-74.0, lead_spacing=0.0
        ),
    }


@pytest.fixture(scope="module")
def cloud(tmp_path_factory, scenes):
    root = tmp_path_factory.mktemp("archive")
    make_scene(scenes["ross"], root, minutes=20, size_km=3, samples=1)
    make_scene(scenes["ross"], root, minutes=70, size_km=3, samples=1, baseline="02.08")
    make_scene(scenes["ross"], root, minutes=200, size_km=3, samples=1)
    make_scene(scenes["ross"], root, minutes=20, size_km=3, samples=1, level="l1c")
    make_scene(scenes["dateline"], root, minutes=30, size_km=6, samples=1)
    with LocalCloud(root) as running:
        yield running


# ---- search ----


def test_search_along_a_track(cloud, scenes):
    found = catalog.search_scenes(
        along(scenes["ross"]), endpoint=cloud.stac_url, collections=["sentinel-2-l2a"]
    )
    assert list(found.columns) == [*catalog.COLUMNS, "geometry"]
    assert [f"{t:%H:%M}" for t in found["time"]] == ["19:54", "20:44"]
    assert found["baseline"].tolist() == ["05.00", "02.08"]
    assert set(found["platform"]) == {"S2B"}
    assert set(found["level"]) == {"L2A"}
    assert found.crs.to_epsg() == 4326
    every = catalog.search_scenes(along(scenes["ross"]), endpoint=cloud.stac_url)
    assert sorted(every["level"]) == ["L1C", "L2A", "L2A"]
    near = catalog.search_scenes(along(scenes["ross"]), endpoint=cloud.stac_url, within=30)
    assert len(near) == 2
    scene = sentinel2.open_scene(found.iloc[0])
    assert scene.attrs["scene"] == found["scene"][0]
    assert float(scene["B04"].mean()) > 0.3


def test_search_by_area_time_and_cloud(cloud, scenes):
    place = along(scenes["ross"])
    lon, lat = float(np.median(place.longitude)), float(np.median(place.latitude))
    day = ("2019-11-16", "2019-11-17")
    options = {"endpoint": cloud.stac_url, "collections": ["sentinel-2-l2a"]}
    assert len(catalog.search_scenes((lon - 1, lat - 0.5, lon + 1, lat + 0.5), day, **options)) == 3
    assert len(catalog.search_scenes(Point(lon, lat), day, **options)) == 3
    assert len(catalog.search_scenes(Point(lon, lat), ("2019-11-17", "2019-11-18"), **options)) == 0
    assert len(catalog.search_scenes(Point(lon + 3, lat), day, **options)) == 0
    states = catalog.search_scenes(Point(lon, lat), day, **options)["cloud_cover"]
    limit = float(np.sort(states)[0]) + 1e-9
    assert len(catalog.search_scenes(Point(lon, lat), day, cloud=limit, **options)) == int(
        (states <= limit).sum()
    )
    with pytest.raises(ValueError, match="an area needs time"):
        catalog.search_scenes(Point(lon, lat), **options)


def test_search_across_the_antimeridian(cloud, scenes):
    track = along(scenes["dateline"])
    scene = catalog.search_scenes(track, endpoint=cloud.stac_url, collections=["sentinel-2-l2a"])
    assert len(scene) == 1
    assert scene.geometry[0].geom_type == "MultiPolygon"
    wide = catalog.search_scenes(
        (178.0, -75.0, -178.0, -73.0), ("2019-11-16", "2019-11-17"), endpoint=cloud.stac_url
    )
    assert wide["scene"].tolist() == scene["scene"].tolist()
    # The long way round holds the rest of the world and not this scene.
    rest = catalog.search_scenes(
        (-178.0, -80.0, 178.0, -60.0), ("2019-11-16", "2019-11-17"), endpoint=cloud.stac_url
    )
    assert set(scene["scene"]).isdisjoint(rest["scene"])
    assert len(rest) == 4
    opened = sentinel2.open_scene(scene.iloc[0])
    assert opened.sizes == {"y": 600, "x": 600}
    assert not np.isnan(opened["B02"].values).any()


def test_times_with_and_without_fractions_of_a_second(cloud, scenes):
    """Catalogues mix them."""
    item = catalog.search_scenes(along(scenes["ross"]), endpoint=cloud.stac_url)["item"].iloc[0]
    document = item if isinstance(item, dict) else item.to_dict()
    other = json.loads(json.dumps(document)) | {"id": "other"}
    other["properties"]["datetime"] = "2019-11-16T19:54:12.024000Z"
    document["properties"]["datetime"] = "2019-11-16T19:54:12Z"
    frame = catalog.scene_frame([document, other])
    assert (frame["time"].diff().dropna() == np.timedelta64(24, "ms")).all()


def test_map(cloud, scenes, tmp_path):
    for name in ("ross", "dateline"):
        track = along(scenes[name])
        found = catalog.search_scenes(track, endpoint=cloud.stac_url)
        catalog.scene_map(found, track, tmp_path / f"{name}.html")
        page = (tmp_path / f"{name}.html").read_text()
        assert found["scene"][0] in page
        assert "gt2l" in page
    # Across the antimeridian longitudes run on, so that nothing is drawn around the globe.
    assert "-179." not in page
    assert "180." in page


# ---- replies of genuine archives ----


class Replay(StacApiIO):
    """Answers every request from a recorded session, in its order for each address."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.replies: dict[tuple[str, str], list[str]] = {}
        for one in yaml.safe_load(path.read_text())["interactions"]:
            body = one["response"]["body"]["string"]
            if isinstance(body, bytes):
                body = (gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body).decode()
            key = one["request"]["method"], one["request"]["uri"].rstrip("/")
            self.replies.setdefault(key, []).append(body)

    def request(self, href, method=None, headers=None, parameters=None):
        waiting = self.replies[method or "GET", str(href).rstrip("/")]
        return waiting.pop(0) if len(waiting) > 1 else waiting[0]


def test_recorded_search_of_planetary_computer(real_data):
    folder = real_data / "stac" / "pystac-client"
    io = Replay(folder / "TestItemSearch.test_datetime_results.yaml")
    io.replies |= Replay(folder / "TestCollectionClient.test_get_items.yaml").replies
    client = pystac_client.Client.open(stac_endpoints.endpoint("planetary_computer").url, stac_io=io)
    options = {"endpoint": client}
    span = ("2019-01-01T00:00:01Z", "2019-01-01T00:00:10Z")
    found = catalog.search_scenes((-180.0, -90.0, 179.99, 90.0), span, **options)
    assert len(found) == 33  # all that the archive had in those nine seconds
    assert set(found["platform"]) == {"S2A"}
    assert set(found["baseline"]) == {"02.12"}
    assert set(found["level"]) == {"L2A"}
    assert found["tile"].str.fullmatch(r"\d\d[C-X][A-Z]{2}").all()
    assert found["cloud_cover"].between(0, 100).all()
    numbers = {sentinel2_offset(row) for row in found["item"]}
    assert numbers == {0}
    # The filter by real outlines, on this side and on the other of the antimeridian.
    few = catalog.search_scenes((173.0, 57.0, 175.0, 59.0), span, **options)
    assert 0 < len(few) < len(found)
    assert all(g.intersects(box(173, 57, 175, 59)) for g in few.geometry)
    clear = catalog.search_scenes((173.0, 57.0, 175.0, 59.0), span, cloud=50, **options)
    assert 0 < len(clear) < len(few)
    assert clear["cloud_cover"].max() <= 50


def sentinel2_offset(item: dict) -> int:
    from is2ice.sentinel2.stac_item import assets_of, numbers_of

    found = catalog.SceneItem.parse(item)
    return numbers_of(found, assets_of(found, ("B04",))["B04"]).offset


def test_recorded_items_of_earth_search(real_data):
    """One scene in its three collections: with the offset, without it, and level 1C."""
    io = Replay(real_data / "stac" / "pystac-client" / "TestCLISearch.test_filter[inprocess].yaml")
    documents = [
        d for bodies in io.replies.values() for b in bodies for d in json.loads(b).get("features", [])
    ]
    sentinel = [d for d in documents if str(d.get("collection", "")).startswith("sentinel-2")]
    frame = catalog.scene_frame(sentinel, endpoint="earth_search")
    offsets = {c: {sentinel2_offset(i) for i in g["item"]} for c, g in frame.groupby("collection")}
    assert offsets == {"sentinel-2-c1-l2a": {-1000}, "sentinel-2-l2a": {0}, "sentinel-2-l1c": {-1000}}
    assert {"20EPT"} <= set(frame["tile"])
    assert frame.groupby("collection")["level"].unique().map(list).to_dict() == {
        "sentinel-2-c1-l2a": ["L2A"],
        "sentinel-2-l2a": ["L2A"],
        "sentinel-2-l1c": ["L1C"],
    }


def test_genuine_items_of_polar_tiles(real_data):
    paths = sorted((real_data / "s2_metadata").glob("*/expected_output.json"))
    frame = catalog.scene_frame([json.loads(p.read_text()) for p in paths]).set_index("tile")
    assert sorted(frame.index) == ["01CCV", "33XWJ", "60CWS"]
    assert frame["platform"].to_dict() == {"60CWS": "S2A", "01CCV": "S2B", "33XWJ": "S2B"}
    assert frame["baseline"].to_dict() == {"60CWS": "05.10", "01CCV": "02.12", "33XWJ": "04.00"}
    assert frame.geometry["60CWS"].geom_type == "MultiPolygon"
    # 52.1 % of a tile of 109.8 km holds data (nodata 47.85 %): the two pieces together.
    _, flat = local_plane(frame.geometry["60CWS"])
    assert flat.geom_type == "Polygon"
    assert flat.area == pytest.approx(0.5215 * 109_800**2, rel=0.02)
    # A track through the antimeridian inside it.
    to_plane, flat = local_plane(frame.geometry["60CWS"])
    for lon in (179.9, -180.0, 180.0, -179.9):
        assert flat.contains(Point(*to_plane.transform(lon, -79.95)))
    assert not flat.contains(Point(*to_plane.transform(0.0, -79.95)))


def test_outlines_drawn_the_long_way_round_are_mended():
    # One image across the antimeridian given as a single ring from 179 to -179 degrees.
    wrong = Polygon([(179, -75), (-179, -75), (-179, -74), (179, -74)])
    right = outline(wrong)
    assert right.geom_type == "MultiPolygon"
    assert right.area == pytest.approx(2.0)
    assert right.contains(Point(179.5, -74.5))
    assert right.contains(Point(-179.5, -74.5))
    assert not right.intersects(Point(0.0, -74.5))
    fine = box(10, 60, 12, 61)
    assert outline(fine).equals(fine)


def test_cut():
    line = cut_antimeridian(LineString([(179, -75), (181, -76)]))
    assert [list(g.coords) for g in line.geoms] == [[(179, -75), (180, -75.5)], [(-180, -75.5), (-179, -76)]]
    assert cut_antimeridian(Point(181, 0)).equals(Point(-179, 0))
    assert shape(json.loads('{"type": "Point", "coordinates": [5, 5]}')).equals(cut_antimeridian(Point(5, 5)))


# ---- endpoints and faults ----


def test_endpoints():
    assert set(stac_endpoints.endpoints()) == {"earth_search", "planetary_computer", "cdse"}
    assert stac_endpoints.endpoint("https://earth-search.aws.element84.com/v1/").name == "earth_search"
    assert stac_endpoints.endpoint("http://127.0.0.1:9").url == "http://127.0.0.1:9"
    with pytest.raises(CatalogError, match="endpoint 'nasa': expected one of earth_search"):
        stac_endpoints.endpoint("nasa")


SERVER = """
import http.server, sys, time
seen = {"n": 0}
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        seen["n"] += 1
        mode = self.path.strip("/").split("/")[0]
        if mode == "slow":
            time.sleep(3)
        body, status = b"busy", 500
        if mode == "count":
            body, status = str(seen["n"] - 1).encode(), 200
        elif mode == "page":
            body, status = b"<html></html>", 200
        elif mode == "token":
            body, status = b'{"msft:expiry": "2199-01-01T00:00:00Z", "token": "se=2199&sig=T%d"}' % seen["n"], 200
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    do_POST = do_GET
    def log_message(self, *args):
        pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
"""


@pytest.fixture
def server():
    command = subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True)
    assert command.stdout is not None
    yield f"http://127.0.0.1:{int(command.stdout.readline())}"
    command.terminate()
    command.wait()


def test_faults_of_a_catalogue(server):
    import urllib.request

    time_span = ("2019-11-16", "2019-11-17")

    def search(url, **changes):
        site = replace(stac_endpoints.endpoint(url), **{"retries": 2, **changes})
        return catalog.search_scenes(Point(0, -75), time_span, endpoint=site)

    with pytest.raises(CatalogError, match=r"/down could not be opened: .*500"):
        search(f"{server}/down")
    with urllib.request.urlopen(f"{server}/count") as reply:
        assert int(reply.read()) == 3  # one attempt and two more
    start = time.monotonic()
    with pytest.raises(CatalogError, match=r"timed? ?out"):
        search(f"{server}/slow", retries=1, timeout=0.5)
    assert time.monotonic() - start < 10
    with pytest.raises(CatalogError, match=r"is it the root of a STAC API\?"):
        search(f"{server}/page")
    with pytest.raises(CatalogError, match="could not be opened"):
        search("http://127.0.0.1:9")


def test_no_secret_of_an_address_is_told(server, caplog):
    import traceback

    for host in (server.removeprefix("http://"), "127.0.0.1:9"):
        site = stac_endpoints.endpoint(f"http://user:SECRETPW@{host}/page?token=SECRETTOK&x=SECRET%2FX")
        with pytest.raises(CatalogError) as caught:
            replace(site, retries=0, timeout=2.0).client()
        said = "".join(traceback.format_exception(caught.value)) + repr(site)
        assert f"http://{host}/page could not be opened" in said
        assert "SECRET" not in said
    item = "http://user:SECRETPW@127.0.0.1:9/item.json?token=SECRETTOK"
    with pytest.raises(CatalogError, match="cannot be read as a STAC item") as caught:
        catalog.item_of(item)
    assert "SECRET" not in "".join(traceback.format_exception(caught.value))
    assert "Retrying" in caplog.text
    assert "SECRET" not in caplog.text
    with pytest.raises(CatalogError, match="expected one of") as caught:
        stac_endpoints.endpoint("ftp://user:SECRETPW@host/")
    assert "SECRET" not in str(caught.value)


def test_signing(server, monkeypatch):
    planet = stac_endpoints.endpoint("planetary_computer")
    local = stac_endpoints.Endpoint(
        "planet", planet.url, sign="token", token_url=server + "/token/{collection}", hosts=planet.hosts
    )
    monkeypatch.setattr(stac_endpoints, "endpoints", lambda: {"planet": local})
    href = f"https://{planet.hosts[0]}/a/B02.tif"
    first = stac_endpoints.signed(href, "sentinel-2-l2a")
    assert first.startswith(f"{href}?se=2199&sig=T")
    assert stac_endpoints.signed(href, "sentinel-2-l2a") == first  # the token is kept while it is fresh
    monkeypatch.setattr(
        stac_endpoints, "_tokens", {k: (t, time.time()) for k, (t, _) in stac_endpoints._tokens.items()}
    )
    assert stac_endpoints.signed(href, "sentinel-2-l2a") != first
    assert stac_endpoints.signed(first, "sentinel-2-l2a") == first
    for public in ("https://sentinel-cogs.s3.us-west-2.amazonaws.com/a/B02.tif", "/data/B02.tif"):
        assert stac_endpoints.signed(public, "sentinel-2-l2a") == public


def test_things_that_are_no_item(tmp_path):
    (tmp_path / "x.json").write_text('{"type": "FeatureCollection"}')
    for wrong in (tmp_path / "x.json", tmp_path / "absent.json", 3):
        with pytest.raises(CatalogError, match="STAC item"):
            catalog.item_of(wrong)


def test_ground_tracks_of_segments():
    from is2ice import schema

    track = schema.mock_segments(100)
    found = ground_tracks(track)[0]
    assert (found.beam, found.strength, found.granule) == ("gt2r", "strong", "mock")
    # One position every 20 m, and the very times of the segments.
    np.testing.assert_allclose(np.diff(found.x_atc), 20.0)
    expected = np.datetime64("2018-01-01", "ns") + np.timedelta64(
        round(float(track.delta_time[0]) * 1e9), "ns"
    )
    assert abs((found.time[0] - expected) / np.timedelta64(1, "us")) < 1
    cube = schema.mock_segments(100, beam="gt1r")
    cube["latitude"][0, :50] = np.nan
    found = ground_tracks([cube, track])
    assert [t.beam for t in found] == ["gt1r", "gt2r"]
    assert found[0].x_atc[0] == float(cube.x_atc[50])
    with pytest.raises(ValueError, match="no delta_time"):
        ground_tracks(track.drop_vars("delta_time"))

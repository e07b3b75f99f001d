"""Search and login against recorded genuine replies of CMR and Earthdata Login, and local servers that give them."""

from __future__ import annotations

import base64
import copy
import json
import time
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
import services
from shapely import Polygon, box
from typer.testing import CliRunner

from is2ice import open_track
from is2ice.cli import main as cli
from is2ice.errors import CatalogError, GranuleError
from is2ice.io.catalogs import icesat2
from is2ice.io.catalogs.areas import search_shape
from is2ice.io.catalogs.orbits import ground_track, meets
from is2ice.io.catalogs.seas import SEAS, sea
from is2ice.io.remote import earthdata as login
from is2ice.io.remote.earthdata import LoginError
from is2ice.io.remote.source import Source
from is2ice.science.epoch import span
from is2ice.workflows import run as pipeline

NAME = "ATL03_20221012161617_03351705_005_01"


@pytest.fixture(scope="module")
def genuine(real_data):
    reply = json.loads((real_data / "cmr" / "earthaccess" / "unit" / "atl03_umm.json").read_text())
    return reply["items"][0]


class Replies(services.Quiet):
    """Gives out genuine entries page by page, as CMR's search-after does."""

    def do_GET(self) -> None:
        server = self.server
        server.asked.append((parse_qs(urlsplit(self.path).query), dict(self.headers)))
        if server.status != 200:
            self._send(server.status, json.dumps({"errors": server.errors}))
            return
        at, size = int(self.headers.get("CMR-Search-After", 0)), int(server.asked[-1][0]["page_size"][0])
        page = server.entries[at : at + min(size, server.most)]
        headers = {"CMR-Hits": str(server.hits or len(server.entries))}
        if page:
            headers["CMR-Search-After"] = str(at + len(page))
        self._send(200, json.dumps({"hits": len(server.entries), "took": 5, "items": page}), headers)

    def do_POST(self) -> None:
        self.server.asked.append(({}, dict(self.headers)))
        self._send(self.server.status, self.server.errors)

    def _send(self, status, text, headers=None) -> None:
        self.answer(status, text.encode(), Content_Type="application/json", **(headers or {}))


@pytest.fixture
def cmr(monkeypatch):
    with services.http_server(
        Replies, entries=[], status=200, errors=[], asked=[], hits=0, most=2000
    ) as server:
        monkeypatch.setenv("IS2ICE_CMR", f"{server.url}/search/")
        yield server


def moved(entry: dict, crossing: float, number: int) -> dict:
    """The genuine entry, of an orbit that crosses the equator elsewhere."""
    other = json.loads(
        json.dumps(entry).replace("_0335", f"_{400 + number:04d}")
    )  # a granule of another name
    other["meta"]["concept-id"] = f"G{number}-NSIDC_ECS"
    other["umm"]["SpatialExtent"]["HorizontalSpatialDomain"]["Orbit"]["AscendingCrossing"] = crossing
    return other


# -- the ground track ---------------------------------------------------------------------------------
def test_the_track_lies_in_the_genuine_footprint(real_data, genuine):
    """The catalogue's footprint of this granule is right (it is far from the pole)."""
    entry = json.loads((real_data / "cmr" / "earthaccess" / "unit" / "atl03.json").read_text())["feed"][
        "entry"
    ][0]
    numbers = np.array(entry["polygons"][0][0].split(), float).reshape(-1, 2)
    footprint = Polygon(numbers[:, ::-1])
    line = icesat2.granule_frame([genuine]).geometry[0]
    inside = line.intersection(box(-180, 62.7, 0, 64.1))
    assert inside.length > 1.0
    assert footprint.buffer(0.02).contains(inside)


def test_the_track_lies_on_genuine_photons(real_data):
    """87.3 N, from the node of the track's own name, and the file's own positions."""
    import h5py

    with h5py.File(real_data / "atl03" / "ATL03_20181014002445_02350104_006_02_gt1l.h5") as f:
        latitude = f["gt1l/geolocation/reference_photon_lat"][:]
        longitude = f["gt1l/geolocation/reference_photon_lon"][:]
    # The node that puts the model through the first photon, going north, must put it through the last, going
    # south on the other side of the turn: 403 km apart.
    lon, lat = ground_track(0.0, (80.0, "A"), (80.0, "D"), 20_000)
    top = int(np.argmax(lat))
    north = longitude[0] - lon[:top][np.argmin(np.abs(lat[:top] - latitude[0]))]
    south = longitude[-1] - lon[top:][np.argmin(np.abs(lat[top:] - latitude[-1]))]
    apart = abs((south - north + 180.0) % 360.0 - 180.0) * np.cos(np.radians(87.3)) * 111.0
    assert apart < 12.0  # km; the beam lies 3 km beside nadir


def test_passes_and_areas():
    lon, lat = ground_track(0.0, (-50.0, "D"), (-50.0, "A"))
    assert lat.min() < -87.9
    assert np.abs(np.diff(lon)).max() < 30
    middle = int(np.argmin(np.abs(lat + 75.0)))
    here = (lon[middle] + 180.0) % 360.0 - 180.0
    assert meets(lon, lat, box(here - 0.5, -75.2, here + 0.5, -74.8))
    assert not meets(lon, lat, box(here + 3.0, -75.2, here + 4.0, -74.8))
    assert not meets(lon, lat, box(here - 0.5, 74.8, here + 0.5, 75.2))


# -- searching ----------------------------------------------------------------------------------------
def test_polar_over_returns(cmr, genuine):
    cmr.entries = [genuine, moved(genuine, -100.0, 2), moved(genuine, 31.2, 3), moved(genuine, 120.0, 4)]
    frame = icesat2.search((-160.0, 60.0, -140.0, 79.0), ("2022-10-12", "2022-10-13"), release=5)
    assert sorted(frame["granule_item"].map(lambda g: g["meta"]["concept-id"])) == [
        "G2560598660-NSIDC_ECS",
        "G3-NSIDC_ECS",
    ]
    row = frame[frame["granule_item"].map(lambda g: g["meta"]["concept-id"] == "G2560598660-NSIDC_ECS")].iloc[
        0
    ]
    assert (row["granule"], row["rgt"], row["cycle"], row["region"], row["release"]) == (
        NAME,
        335,
        17,
        5,
        "005",
    )
    assert str(row["start"]).startswith("2022-10-12 16:16:17.77")
    assert frame.crs.to_epsg() == 4326
    query, _ = cmr.asked[0]
    assert query["short_name"] == ["ATL03"]
    assert query["version"] == ["005"]
    west, south, east, north = map(float, query["bounding_box"][0].split(","))
    assert (south, north) == pytest.approx(
        (60.0 - 0.135, 79.0 + 0.135), abs=0.001
    )  # 15 km: beams beside nadir
    assert (west, east) == pytest.approx((-160.0 - 0.716, -140.0 + 0.716), abs=0.001)
    assert query["temporal[]"] == ["2022-10-12T00:00:00Z,2022-10-13T23:59:59Z"]
    assert Source.of(row).url.endswith(f"{NAME}.h5")
    assert Source.of(row["granule_item"]).url == Source.of(row).url


def test_every_page_is_asked_for(cmr, genuine):
    cmr.entries = [{"meta": {"concept-id": f"G{k}"}, "umm": genuine["umm"]} for k in range(2003)]
    assert len(icesat2._ask("ATL03", None, span(("2022-10-12", "2022-10-13")), None, [], 5000)) == 2003
    assert [h.get("cmr-search-after") for _, h in cmr.asked] == [None, "2000"]


def test_the_antimeridian_and_named_seas(cmr, genuine):
    cmr.entries = [genuine]
    icesat2.search("Ross Sea", ("2022-10-12", "2022-10-13"))
    boxes = sorted(tuple(round(float(v)) for v in q["bounding_box"][0].split(",")) for q, _ in cmr.asked)
    assert boxes == [
        (159, -79, -179, -60),
        (179, -79, -139, -60),
    ]  # the sea in two pieces, each with a margin
    with pytest.raises(CatalogError, match="no such sea; known are amundsen_sea"):
        sea("caspian")
    assert all(-90 <= s < n <= 90 for _, s, _, n in SEAS.values())


def test_tracks_and_cycles(cmr, genuine):
    cmr.entries = [genuine]
    assert len(icesat2.search(rgt=335, cycle=[17, 18])) == 1
    query, _ = cmr.asked[0]
    names = query.get("readable_granule_name[]") or query["readable_granule_name"]
    assert names == ["ATL03_??????????????_033517??_*", "ATL03_??????????????_033518??_*"]
    cmr.asked.clear()
    icesat2.search(rgt=335)
    assert "ATL03_??????????????_0335????_*" in str(cmr.asked[0][0])
    for wrong in ({"rgt": 1388}, {"cycle": 0}):
        with pytest.raises(ValueError, match="expected 1 to"):
            icesat2.search(**wrong)
    with pytest.raises(ValueError, match="the whole archive is too much"):
        icesat2.search()
    with pytest.raises(ValueError, match="expected one of ATL03"):
        icesat2.search("ross_sea", product="ATL99")


def test_matching_products_of_the_orbit(cmr, genuine):
    entries = []
    for hemisphere in ("01", "02"):
        other = copy.deepcopy(genuine)
        other["meta"]["concept-id"] = f"G{hemisphere}-NSIDC_ECS"
        text = json.dumps(other).replace(NAME, f"ATL10-{hemisphere}_20221012150000_03351701_005_01")
        entries.append(json.loads(text))
    cmr.entries = entries
    frame = icesat2.matching(NAME)
    assert list(frame["granule"]) == ["ATL10-01_20221012150000_03351701_005_01"]
    assert "ATL10-??_??????????????_033517??_*" in str(cmr.asked[0][0])
    assert cmr.asked[0][0]["version"] == ["005"]
    with pytest.raises(ValueError, match="expected a name such as"):
        icesat2.matching("x")


def test_a_granule_by_its_name(cmr, genuine, tmp_path, monkeypatch):
    cmr.entries = [genuine]
    assert icesat2.resolve_granule(NAME).endswith(f"/{NAME}.h5")
    assert icesat2.resolve_granule(f"{NAME}.h5") == icesat2.resolve_granule(NAME)
    assert f"{NAME}*" in str(cmr.asked[0][0])
    asked = len(cmr.asked)
    monkeypatch.chdir(tmp_path)
    for name in (NAME, f"{NAME}.h5"):  # files of these names come first
        (tmp_path / name).write_text("")
    for other in (NAME, f"{NAME}.h5", "s3://b/x", tmp_path, f"https://host/{NAME}.h5"):
        assert icesat2.resolve_granule(other) is other
    assert len(cmr.asked) == asked
    cmr.entries = []
    (tmp_path / NAME).unlink()
    (tmp_path / f"{NAME}.h5").unlink()
    with pytest.raises(GranuleError, match="no file of this name here, and no such granule in NASA's"):
        open_track(NAME)
    run = pipeline.run(NAME, tmp_path / "s.zarr", engine_options={"retry_wait": 0.0})
    assert "no such granule" in run.failed[0]["error"]
    monkeypatch.setenv("IS2ICE_CMR", "http://127.0.0.1:9/search/")
    with pytest.raises(CatalogError, match="no file of this name here, and its address cannot be asked for"):
        open_track(NAME)


def test_fewer_entries_than_the_catalogue_holds_are_an_error(cmr, genuine):
    cmr.entries, cmr.hits = [genuine], 7
    with pytest.raises(CatalogError, match="holds 7 granules and gave 1"):
        icesat2.search(time=("2022-10-12", "2022-10-13"))


def test_short_pages_are_followed_and_doubled_entries_come_once(cmr, genuine):
    cmr.entries = [moved(genuine, 0.0, k) for k in range(1, 26)]
    cmr.most = 10  # of a page, whatever is asked for
    frame = icesat2.search(time=("2022-10-12", "2022-10-13"))
    assert len(frame) == frame["granule"].nunique() == 25
    assert len(cmr.asked) == 3


def test_a_limit_is_said(cmr, genuine, caplog):
    cmr.entries = [moved(genuine, 0.0, k) for k in range(1, 26)]
    assert len(icesat2.search(time=("2022-10-12", "2022-10-13"), limit=20)) == 20
    assert "holds 25 granules, limit=20" in caplog.text


def test_a_granule_of_two_providers_is_one_row_in_the_cloud(cmr, genuine):
    text = json.dumps(genuine)
    cloud = json.loads(text.replace("n5eil01u.ecs.nsidc.org", "data.nsidc.earthdatacloud.nasa.gov"))
    cloud["meta"] |= {"concept-id": "G9-NSIDC_CPRD", "provider-id": "NSIDC_CPRD"}
    for entries in ([genuine, cloud], [cloud, genuine]):
        cmr.entries = entries
        frame = icesat2.search(time=("2022-10-12", "2022-10-13"))
        assert [g["meta"]["concept-id"] for g in frame["granule_item"]] == ["G9-NSIDC_CPRD"]


@pytest.mark.parametrize(
    "absent", ["TemporalExtent", "SpatialExtent", "DataGranule", "CollectionReference", "RelatedUrls"]
)
def test_fields_that_are_null_or_absent_cost_only_themselves(cmr, genuine, absent):
    for value in ({}, {absent: None}):
        entry = copy.deepcopy(genuine)
        del entry["umm"][absent]
        entry["umm"] |= value
        cmr.entries = [entry]
        (row,) = icesat2.search(time=("2022-10-12", "2022-10-13")).to_dict("records")
        assert row["start"].isoformat().startswith("2022-10-12T16:")
        assert (row["https"] is None) == (absent == "RelatedUrls")


@pytest.mark.parametrize(
    ("area", "box"),
    [
        ((170.0, -75.0, 179.99, -70.0), (169.5, -75.1, -179.4, -69.9)),
        ((-180.0, 60.0, 180.0, 90.0), (-180.0, 59.9, 180.0, 90.0)),
    ],
)
def test_the_box_asked_for_has_room_for_the_beams_beside_nadir(area, box):
    assert icesat2._with_margin(search_shape(area, "search")) == pytest.approx(box, abs=0.1)


def test_no_hits(cmr):
    frame = icesat2.search("weddell_sea", ("2022-10-12", "2022-10-13"))
    assert len(frame) == 0
    assert list(frame.columns)[:3] == ["granule", "start", "end"]


def test_refusals_of_the_catalogue(cmr, monkeypatch):
    cmr.status, cmr.errors = 401, ["Token [planted-token] does not exist"]
    with pytest.raises(CatalogError, match=r"refused the login \(HTTP 401\)") as caught:
        icesat2.search("weddell_sea", ("2022-10-12", "2022-10-13"))
    assert "planted" not in str(caught.value)
    cmr.status, cmr.errors = 500, ["An Internal Error has occurred."]
    with pytest.raises(CatalogError, match=r"answered with an error .*Internal Error"):
        icesat2.search("weddell_sea", ("2022-10-12", "2022-10-13"))
    monkeypatch.setenv("IS2ICE_CMR", "http://127.0.0.1:9/search/")
    with pytest.raises(CatalogError, match="cannot be reached"):
        icesat2.search("weddell_sea", ("2022-10-12", "2022-10-13"))


def test_the_command(cmr, genuine, tmp_path):
    cmr.entries = [genuine]
    run = CliRunner().invoke
    box = ["--bbox", "-160", "60", "-140", "79"]
    done = run(cli.app, ["search", *box, "--out", str(tmp_path / "m.html"), "--json"])
    assert done.exit_code == 0, (done.output, done.exception)
    assert json.loads(done.stdout)[0]["granule"] == NAME
    assert NAME in (tmp_path / "m.html").read_text()
    assert NAME in run(cli.app, ["search", *box]).output
    cmr.entries = []
    assert "no granule found" in run(cli.app, ["search", "ross_sea", "2019-11-01", "2019-11-02"]).output


# -- login --------------------------------------------------------------------------------------------
@pytest.fixture
def out(monkeypatch, tmp_path):
    """Logged out, without credentials, and with nobody to ask."""
    import earthaccess

    for name in ("EARTHDATA_TOKEN", "EARTHDATA_USERNAME", "EARTHDATA_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))

    def never(*args):
        raise AssertionError("asked the user")

    monkeypatch.setattr("builtins.input", never)
    monkeypatch.setattr("getpass.getpass", never)
    auth = earthaccess.__auth__
    for name in ("authenticated", "token", "username", "password"):
        monkeypatch.setattr(auth, name, None)
    return auth


def jwt(until: float) -> str:
    body = base64.urlsafe_b64encode(json.dumps({"uid": "me", "exp": until}).encode()).decode().rstrip("=")
    return f"planted.{body}.signature"


def test_nothing_to_log_in_with(out):
    with pytest.raises(LoginError, match="no credentials found; set EARTHDATA_TOKEN"):
        login.login()
    assert login.token() is None


def test_a_token_of_the_environment(out, monkeypatch):
    good = jwt(time.time() + 3600)
    monkeypatch.setenv("EARTHDATA_TOKEN", good)
    assert login.login().authenticated
    url = "https://data.nsidc.earthdatacloud.nasa.gov/x.h5"
    assert login.headers(url) == {"Authorization": f"Bearer {good}"}
    for other in (
        "http://data.nsidc.earthdatacloud.nasa.gov/x.h5",
        "https://earthdata.nasa.gov.evil.org/x.h5",
        "https://evilearthdata.nasa.gov/x",
        "https://host/x?to=earthdata.nasa.gov",
    ):
        assert login.headers(other) == {}
    monkeypatch.setenv("EARTHDATA_TOKEN", jwt(time.time() - 3600))
    with pytest.raises(LoginError, match="expired on 20") as caught:
        login.login(again=True)
    assert "planted" not in str(caught.value)


@pytest.mark.parametrize("way", ["environment", "netrc"])
def test_refused_credentials(out, cmr, monkeypatch, tmp_path, way, caplog):
    """The genuine refusal of Earthdata Login."""
    cmr.status = 401
    cmr.errors = '{"error": "invalid_credentials", "error_description": "Invalid user credentials"}'
    if way == "environment":
        monkeypatch.setenv("EARTHDATA_USERNAME", "me")
        monkeypatch.setenv("EARTHDATA_PASSWORD", "planted")
    else:
        (tmp_path / "netrc").write_text("machine urs.earthdata.nasa.gov login me password planted\n")
    monkeypatch.setattr(out, "EDL_FIND_OR_CREATE_TOKEN_URL", f"{cmr.url}/api/users/find_or_create_token")
    with pytest.raises(LoginError, match=f"refused the user name and password of .*{way}") as caught:
        login.login()
    assert "planted" not in str(caught.value) + caplog.text
    cmr.status, cmr.errors = (
        200,
        json.dumps({"access_token": jwt(time.time() + 99), "expiration_date": "soon"}),
    )
    assert login.login().authenticated
    assert login.token()


def test_expired_tokens_are_noticed(out):
    out.authenticated, out.token = True, {"access_token": jwt(time.time() - 1)}
    assert not login.logged_in()
    assert login.token() is None
    with pytest.raises(LoginError, match="no credentials found"):
        login.login()

"""Product metadata and orders through icepyx and harmony-py, against a server that speaks as CMR and Harmony do."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import earthaccess
import h5py
import pytest
import services

import is2ice
from is2ice.errors import CatalogError
from is2ice.io.catalogs import orders
from is2ice.io.remote import earthdata

NAME = "ATL03_20191104195311_05940510_006_01"
JOB = "931355e8-0005-4dff-9c76-7903a5be283d"


def entry(release: str, identifier: str) -> dict[str, str]:
    return {
        "id": identifier,
        "short_name": "ATL03",
        "version_id": release,
        "title": f"ATLAS/ICESat-2 L2A Global Geolocated Photon Data V{release}",
        "summary": "Height above the WGS 84 ellipsoid of each photon downlinked.",
        "time_start": "2018-10-13T00:00:00.000Z",
    }


class Nasa(services.Quiet):
    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        self.server.asked.append((self.command, parts.path, parse_qs(parts.query), dict(self.headers)))
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.bodies.append(body.decode(errors="replace"))
        if self.server.status != 200:
            self.answer(self.server.status, b'{"code": "harmony.ForbiddenError", "description": "no"}')
        elif parts.path == "/collections.json":
            self._json({"feed": {"entry": self.server.entries}})
        elif parts.path.startswith("/C2-NSIDC_CPRD/"):
            self._json({"status": "accepted", "jobID": JOB})
        elif parts.path == "/jobs/status":
            self._json({"jobStatuses": [{**self.server.jobs[0], "jobID": JOB}]})
        elif parts.path.startswith("/jobs/"):
            self._json(self.server.jobs.pop(0) if len(self.server.jobs) > 1 else self.server.jobs[0])
        elif parts.path.endswith(".h5"):
            self.answer(200, b"\x89HDF")
        else:
            self._json({})

    do_POST = do_PUT = do_GET

    def _json(self, document) -> None:
        self.answer(200, json.dumps(document).encode(), Content_Type="application/json")


def job(status: str, progress: int, **more) -> dict:
    stamp = "2026-11-24T12:00:00.000Z"
    common = {"createdAt": stamp, "updatedAt": stamp, "request": "x", "numInputGranules": 1, "links": []}
    return {"status": status, "message": f"is {status}", "progress": progress, **common, **more}


@pytest.fixture
def nasa(monkeypatch, tmp_path):
    pytest.importorskip("icepyx")
    from icepyx.core import harmony, is2ref

    releases = [
        entry("005", "C0-NSIDC_ECS"),
        entry("006", "C1-NSIDC_ECS"),
        entry("006", "C2-NSIDC_CPRD"),
        entry("007", "C3-NSIDC_CPRD"),
    ]
    state = {"asked": [], "bodies": [], "status": 200, "entries": releases, "jobs": []}
    with services.http_server(Nasa, **state) as server:
        monkeypatch.setattr(is2ref, "COLLECTION_SEARCH_BASE_URL", f"{server.url}/collections.json")
        monkeypatch.setattr(harmony, "REQUEST_RETRY_INTERVAL_SECONDS", 0)
        monkeypatch.setenv("ROOT_URL", server.url)  # harmony-py's own setting
        monkeypatch.setenv("EARTHDATA_TOKEN", "planted")
        for name in ("authenticated", "token"):
            monkeypatch.setattr(earthaccess.__auth__, name, None)
        monkeypatch.chdir(tmp_path)
        yield server


def test_what_a_product_is(nasa):
    latest, older = is2ice.product_info("ATL03"), is2ice.product_info("ATL03", 6)
    assert (latest.release, latest.collection) == ("007", "C3-NSIDC_CPRD")
    assert (older.release, older.collection, older.releases) == (
        "006",
        "C2-NSIDC_CPRD",
        ("005", "006", "007"),
    )
    assert "photon" in older.summary
    with pytest.raises(CatalogError, match="no release 004; the catalogue holds 005, 006, 007"):
        is2ice.product_info("ATL03", 4)
    with pytest.raises(ValueError, match="expected one of ATL03"):
        is2ice.product_info("ATL99")


def test_variables_of_a_granule(tmp_path):
    pytest.importorskip("icepyx")
    with h5py.File(tmp_path / f"{NAME}.h5", "w") as f:
        f.attrs["short_name"] = b"ATL03"
        f.create_group("METADATA/DatasetIdentification").attrs["VersionID"] = b"006"
        f["gt2r/heights/h_ph"] = f["orbit_info/sc_orient"] = [1]
    found = orders.product_variables(tmp_path / f"{NAME}.h5")
    assert found == ["gt2r/heights/h_ph", "orbit_info/sc_orient"]


def test_an_order_is_placed_waited_for_and_fetched(nasa, tmp_path, capsys):
    placed = is2ice.order([NAME], (170.0, -78.0, -150.0, -70.0), ("2019-11-04", "2019-11-05"))
    assert placed.job == JOB
    _, path, query, headers = next(a for a in nasa.asked if "coverage" in a[1])
    assert path.startswith("/C2-NSIDC_CPRD/")  # the release its name says
    told = json.dumps(query) + "".join(nasa.bodies)
    for part in (f"{NAME}.h5", "lat(-78.0:-70.0)", "lon(170.0:-150.0)", "2019-11-04T00:00:00"):
        assert part in told
    assert headers["Authorization"] == "Bearer planted"
    data = [{"rel": "data", "href": f"{nasa.url}/{NAME}_subsetted.h5"}]
    nasa.jobs[:] = [job("running", 50), job("successful", 100, links=data)]
    again = orders.Order(JOB)
    assert again.status()["progress"] == 50
    assert again.wait(every=0.01)["status"] == "successful"
    files = again.download(tmp_path / "got")
    assert [f.name for f in files] == [f"{NAME}_subsetted.h5"]
    assert files[0].read_bytes() == b"\x89HDF"
    assert capsys.readouterr().out == ""
    assert [p.name for p in tmp_path.iterdir()] == ["got"]  # nothing left in the working folder


def test_the_commands(nasa, tmp_path, cli):
    """Describe a product, list the variables of a granule, place an order and fetch it: each by one command."""
    code, text, _ = cli("products", "ATL03")
    assert code == 0
    assert "releases 005, 006, 007" in text
    assert json.loads(cli("products", "ATL03", "--json")[1])["collection"] == "C3-NSIDC_CPRD"
    with h5py.File(tmp_path / f"{NAME}.h5", "w") as f:
        f.attrs["short_name"] = b"ATL03"
        f.create_group("METADATA/DatasetIdentification").attrs["VersionID"] = b"006"
        f["gt2r/heights/h_ph"] = [1]
    assert cli("products", tmp_path / f"{NAME}.h5", "--variables")[1] == "gt2r/heights/h_ph\n"
    data = [{"rel": "data", "href": f"{nasa.url}/{NAME}_subsetted.h5"}]
    nasa.jobs[:] = [job("running", 5), job("successful", 100, links=data)]
    code, text, rest = cli("order", NAME, "--area", "ross_sea")
    assert (code, text) == (0, f"order {JOB}: running, 5 % done: is running\n")
    assert rest.startswith(f"order {JOB}\n")
    assert f"next: is2ice order --job {JOB} --out FOLDER" in rest
    code, text, _ = cli("order", "--job", JOB, "--out", tmp_path / "got", "--json")
    assert [Path(f).name for f in json.loads(text)["files"]] == [f"{NAME}_subsetted.h5"]
    assert (tmp_path / "got" / f"{NAME}_subsetted.h5").read_bytes() == b"\x89HDF"
    for wrong, why in (
        ((), "name granules"),
        ((NAME, "--area", "ross_sea", "--bbox", 1, 2, 3, 4), "not both"),
    ):
        code, _, rest = cli("order", *wrong)
        assert code == 2
        assert why in rest


def test_the_number_of_an_order_is_printed_before_the_wait(nasa, tmp_path, cli):
    nasa.jobs[:] = [job("running", 5)]
    code, text, rest = cli("order", NAME, "--area", "ross_sea", "--json", "--out", tmp_path, "--wait", 0)
    assert code == 2
    assert "5 % done after 0 s; wait again" in rest
    assert text == ""
    assert rest.startswith(f"order {JOB}\n")


@pytest.mark.parametrize("status", ["paused", "complete_with_errors", "failed", "canceled"])
def test_an_order_that_is_not_successful_ends_with_status_1(nasa, tmp_path, cli, status):
    data = [{"rel": "data", "href": f"{nasa.url}/{NAME}_subsetted.h5"}]
    nasa.jobs[:] = [job(status, 100 if status == "complete_with_errors" else 10, links=data)]
    code, _, rest = cli("order", "--job", JOB, "--out", tmp_path / "got")
    assert code == 1
    assert f"order {JOB} is {status}, not successful: is {status}" in rest
    there = [p.name for p in (tmp_path / "got").glob("*")]
    assert there == ([] if status in ("failed", "canceled") else [f"{NAME}_subsetted.h5"])
    assert ("--skip-preview" in rest) == (status == "paused")


def test_the_preview_is_skipped_and_a_paused_order_is_resumed(nasa, cli):
    nasa.jobs[:] = [job("running", 5)]
    cli("order", NAME, "--area", "ross_sea")
    assert "skipPreview" not in str(nasa.asked) + str(nasa.bodies)
    cli("order", NAME, "--area", "ross_sea", "--skip-preview")
    assert "skipPreview" in str(nasa.asked) + str(nasa.bodies)
    assert not [path for _, path, *_ in nasa.asked if path.endswith("/resume")]
    nasa.jobs[:] = [job("paused", 5)]
    cli("order", "--job", JOB, "--skip-preview")
    assert [path for _, path, *_ in nasa.asked if path.endswith("/resume")]


def test_orders_that_go_wrong(nasa, monkeypatch):
    with pytest.raises(ValueError, match="name an area or a time to cut by"):
        is2ice.order([NAME])
    with pytest.raises(ValueError, match="no granule named"):
        is2ice.order([], "ross_sea")
    nasa.jobs[:] = [job("failed", 10)]
    with pytest.raises(CatalogError, match=f"order {JOB}: failed: is failed"):
        orders.Order(JOB).wait()
    nasa.jobs[:] = [job("running", 10)]
    with pytest.raises(CatalogError, match="10 % done after 0 s; wait again"):
        orders.Order(JOB).wait(0.0)
    nasa.status = 403
    with pytest.raises(CatalogError, match=r"Harmony. refused .*HTTP 403") as caught:
        orders.Order(JOB).status()
    assert "planted" not in str(caught.value)
    monkeypatch.setattr(earthaccess.__auth__, "authenticated", False)
    monkeypatch.delenv("EARTHDATA_TOKEN")
    monkeypatch.setenv("NETRC", "none")
    monkeypatch.delenv("EARTHDATA_USERNAME", raising=False)
    with pytest.raises(earthdata.LoginError, match="no credentials found"):
        orders.Order(JOB).status()

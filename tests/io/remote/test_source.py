"""Granules over the network: what refuses, what is not there, and what is not told."""

from __future__ import annotations

import os

import h5py
import pytest
import services

from is2ice import open_track
from is2ice.errors import GranuleError, RemoteError
from is2ice.io.remote.earthdata import LoginError
from is2ice.io.urls import scrub
from is2ice.twin.icesat2.flat_beam import write_beam
from is2ice.twin.server.local_archive import LocalCloud

NAME = "ATL03_20191104195311_05940510_006_01.h5"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cloud")
    write_beam(folder / NAME, 30_000)
    return folder


@pytest.fixture(scope="module")
def expected(folder):
    return open_track(folder / NAME).load()


def same(got, expected):
    for name in expected.data_vars:
        assert got[name].values.tobytes() == expected[name].values.tobytes(), name


def test_an_earthdata_granule_needs_a_login(real_data, monkeypatch, tmp_path):
    """A genuine search result, no network: what is missing is the login, and that is said."""
    import json

    from earthaccess.results import DataGranule

    reply = json.loads((real_data / "cmr" / "earthaccess" / "unit" / "atl03_umm.json").read_text())
    item = reply["items"][0] if "items" in reply else reply
    granule = DataGranule(item)
    for name in ("EARTHDATA_TOKEN", "EARTHDATA_USERNAME", "EARTHDATA_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    with pytest.raises(
        LoginError, match=r"ATL03_.*\.h5: Earthdata: no credentials found; set EARTHDATA_TOKEN"
    ):
        open_track(granule)


def test_a_server_that_is_not_there():
    with pytest.raises(RemoteError, match="the server cannot be reached; try again"):
        open_track("http://127.0.0.1:9/ATL03_20191104195311_05940510_006_01.h5")


@pytest.mark.parametrize(
    ("status", "said"), [(403, "access refused .HTTP 403.*expired"), (503, "the server failed .HTTP 503")]
)
def test_a_server_that_refuses(status, said):
    class Refuse(services.Quiet):
        def do_GET(self):
            self.answer(status)

        do_HEAD = do_GET

    with services.http_server(Refuse) as server, pytest.raises(GranuleError, match=said) as caught:
        open_track(f"{server.url}/x.h5?token=hush")
    assert "hush" not in str(caught.value)
    assert isinstance(caught.value, RemoteError) == (status == 503)


def test_secrets_are_taken_out_of_any_text():
    assert "hush" not in scrub("GET https://me:hush@host/a?sig=hush failed, see http://host:80/b?sig=hush")
    assert scrub("https://me:hush@host/a?sig=hush") == "https://host/a"


@pytest.mark.slow
def test_over_http(folder, expected):
    with LocalCloud(folder) as cloud:
        url = f"{cloud.url.rstrip('/')}/{NAME}"
        same(open_track(url).load(), expected)
        with pytest.raises(GranuleError, match="no such file"):
            open_track(url.replace("195311", "000000"))


def test_a_user_block_before_the_granule_changes_nothing(folder, expected, tmp_path):
    path = tmp_path / NAME
    with h5py.File(folder / NAME) as f, h5py.File(path, "w", userblock_size=1024) as out:
        for name in f:
            f.copy(name, out)
        out.attrs.update(f.attrs)
    with path.open("r+b") as block:
        block.write(b"#!/bin/sh\n")
    same(open_track(path).load(), expected)
    with LocalCloud(tmp_path) as cloud:
        same(open_track(f"{cloud.url.rstrip('/')}/{NAME}").load(), expected)


def test_a_pipe_is_no_granule(tmp_path):
    os.mkfifo(tmp_path / NAME)
    for path in (tmp_path / NAME, "/dev/zero"):
        with pytest.raises(GranuleError, match="got a pipe or device"):
            open_track(path)


def test_a_damaged_file_with_a_user_block_is_called_damaged(tmp_path):
    """The signature of HDF5 may stand behind a block of the user's own; what follows it is cut here."""
    path = tmp_path / "cut.h5"
    path.write_bytes(b"#!/bin/sh".ljust(512, b"\n") + b"\x89HDF\r\n\x1a\n" + bytes(40))
    with pytest.raises(GranuleError, match=r"cut\.h5.*(damaged|truncated)"):
        open_track(path)
    path.write_bytes(b"<html>" + bytes(2000))
    with pytest.raises(GranuleError, match="it starts with b'<html>"):
        open_track(path)

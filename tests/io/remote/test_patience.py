"""Servers that are busy: how long they are waited for, and when that ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise

import pytest
import requests

from is2ice.errors import GranuleError, RemoteError
from is2ice.io.remote import patience
from is2ice.io.remote.patience import Patience, patient_session, retry_seconds, wait_asked_for
from is2ice.io.remote.range_file import RemoteFile

BODY = bytes(range(256)) * 16


@contextmanager
def busy_server(for_seconds: float, status: int = 503, **headers: str) -> Iterator[tuple[str, list[float]]]:
    """Server that refuses for a while, with headers; its address, and when it was asked."""
    asked: list[float] = []

    class Busy(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            asked.append(time.monotonic())
            if asked[-1] - asked[0] < for_seconds:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name.replace("_", "-"), value)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            first, last = 0, len(BODY) - 1
            if wanted := self.headers.get("Range"):
                first, last = (int(v) for v in wanted.removeprefix("bytes=").split("-"))
                last = min(last, len(BODY) - 1)
            self.send_response(206 if wanted else 200)
            if wanted:
                self.send_header("Content-Range", f"bytes {first}-{last}/{len(BODY)}")
            self.send_header("ETag", '"a"')
            self.send_header("Last-Modified", "Sat, 16 Nov 2019 19:34:12 GMT")
            self.send_header("Content-Length", str(last + 1 - first))
            self.end_headers()
            self.wfile.write(BODY[first : last + 1])

        def log_message(self, *args: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Busy)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/a.h5", asked
    finally:
        server.shutdown()
        server.server_close()


def test_what_a_server_asks_for_is_read_as_seconds_or_date():
    assert wait_asked_for("120") == 120.0
    assert 8.0 < wait_asked_for(formatdate(time.time() + 10, usegmt=True)) <= 10.0
    assert wait_asked_for(formatdate(time.time() - 10, usegmt=True)) == 0.0
    assert [wait_asked_for(v) for v in (None, "", "soon", "-5", "1e3")] == [None] * 5


def test_pauses_reach_a_minute_and_end_with_the_limit(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(patience.time, "monotonic", lambda: now[0])
    left, pauses = Patience(300.0), []
    while (pause := left.next_pause()) is not None:
        pauses.append(pause)
        now[0] += pause
    assert max(pauses) > 30.0
    assert 150.0 < sum(pauses) <= 300.0
    assert Patience(300.0).next_pause(asked=299.0) == 299.0
    assert Patience(300.0).next_pause(asked=301.0) is None
    assert Patience(300.0).next_pause(asked=16.0, reached=False) is None


def test_the_limit_is_an_option(monkeypatch):
    monkeypatch.delenv("IS2ICE_RETRY_SECONDS")
    assert (retry_seconds(), retry_seconds(7)) == (300.0, 7.0)
    monkeypatch.setenv("IS2ICE_RETRY_SECONDS", "90")
    assert (retry_seconds(), retry_seconds(7)) == (90.0, 7.0)
    for wrong in ("soon", "-1", "nan", "inf"):
        monkeypatch.setenv("IS2ICE_RETRY_SECONDS", wrong)
        with pytest.raises(GranuleError, match=r"IS2ICE_RETRY_SECONDS.*number of seconds"):
            retry_seconds()


@pytest.mark.parametrize("status", [429, 503])
def test_a_remote_file_waits_as_long_as_it_is_asked_to(status):
    with busy_server(0.5, status, Retry_After="1") as (url, asked):
        file = RemoteFile(url, "a.h5", seconds=20.0)
        assert file.fetch([(0, 8)])[0] == BODY[:8]
        gaps = [b - a for a, b in pairwise(asked)]
        assert max(gaps) >= 0.9  # one pause as asked for, and at most one question before it
        assert len(asked) <= 4


def test_a_longer_wait_than_allowed_is_said_at_once():
    with busy_server(60.0, 503, Retry_After="3600") as (url, asked):
        with pytest.raises(RemoteError, match=r"HTTP 503.*asks to wait 3,600 s.*IS2ICE_RETRY_SECONDS"):
            RemoteFile(url, "a.h5", seconds=20.0)
        assert len(asked) == 2


def test_without_a_wish_the_limit_ends_it():
    with busy_server(60.0, 500) as (url, asked), pytest.raises(RemoteError, match=r"HTTP 500.*try again"):
        RemoteFile(url, "a.h5", seconds=1.5)
    assert 2 <= len(asked) <= 6


@pytest.mark.parametrize("wish", ["1", "date"])
def test_catalogues_are_waited_for(wish):
    wish = formatdate(time.time() + 2, usegmt=True) if wish == "date" else wish
    with busy_server(0.5, 429, Retry_After=wish) as (url, asked):
        session = patient_session(requests.Session(), timeout=5.0, limit=10_000, seconds=20.0)
        assert session.get(url).content == BODY
        assert len(asked) == 2
        assert asked[1] - asked[0] >= 0.9
    with busy_server(60.0, 503, Retry_After="3600") as (url, asked):
        session = patient_session(requests.Session(), timeout=5.0, limit=10_000, seconds=20.0)
        assert session.get(url).status_code == 503
        assert len(asked) == 1


def test_a_body_beyond_the_limit_is_refused():
    with busy_server(-1.0) as (url, _):
        session = patient_session(requests.Session(), timeout=5.0, limit=4_000, seconds=1.0)
        with pytest.raises(requests.RequestException, match="more than 4,000 bytes"):
            session.get(url)

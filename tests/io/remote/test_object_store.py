"""Granules read from a server of the S3 protocol, with one in between that lets requests go wrong."""

from __future__ import annotations

import json
import sys
import time
from datetime import UTC, datetime, timedelta

import boto3
import pytest
import services

from is2ice import open_track
from is2ice.errors import GranuleError, RemoteError
from is2ice.io.icesat2.atl03 import Granule, Subset
from is2ice.io.remote import range_file
from is2ice.io.remote.range_file import ChangedError, RemoteFile
from is2ice.twin.icesat2.flat_beam import write_beam

pytest.importorskip("moto.server")
NAME = "ATL03_20191104195311_05940510_006_01.h5"
BEAM = "gt2r"
BUCKET = "granules"
URL = f"s3://{BUCKET}/ATL03/{NAME}"
KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE")


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return write_beam(tmp_path_factory.mktemp("s3") / NAME, 200_000)


@pytest.fixture(scope="module")
def expected(file):
    with Granule(file) as g:
        x = g.table(BEAM).dist_x
        subset = Subset(x_atc=(float(x[x.size // 2]), float(x[x.size // 2]) + 2000.0))
        return subset, g.track(BEAM, subset)


@pytest.fixture(scope="module")
def server(file):
    with services.s3_server(BUCKET) as env, services.in_between(env["AWS_ENDPOINT_URL"]) as between:
        with pytest.MonkeyPatch.context() as patch:
            for key, value in env.items():
                patch.setenv(key, value)
            boto3.client("s3").upload_file(str(file), BUCKET, f"ATL03/{NAME}")
        yield env, between


@pytest.fixture
def between(server, monkeypatch, tmp_path):
    """The server in between, undisturbed, and nothing of AWS but what reaches it."""
    env, between = server
    monkeypatch.setattr(range_file, "PAUSE", 0.01)
    for key, value in (env | {"AWS_ENDPOINT_URL": between.url}).items():
        monkeypatch.setenv(key, value)
    for key in ("AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(key, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    between.faults.set({})
    between.keys.clear()
    yield between
    between.faults.set({})


def same(got, expected):
    for name in expected.data_vars:
        assert got[name].values.tobytes() == expected[name].values.tobytes(), name


def disturb(between, **fault):
    between.faults.set({"plan": [fault]})


def test_only_the_needed_bytes(between, file, expected):
    with Granule(URL) as g:
        same(g.track(BEAM, expected[0]), expected[1])
        assert g.traffic.bytes < 0.5 * file.stat().st_size
        assert g.traffic.requests == len(between.keys)
    x_atc = expected[0].x_atc
    same(open_track(URL, BEAM, x_atc=x_atc).load(), open_track(file, BEAM, x_atc=x_atc).load())


# -- what passes ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("skip", [0, 4, 14])
@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "status", "status": 500},
        {"kind": "status", "status": 503},  # "SlowDown"
        {"kind": "reset"},
        {"kind": "short"},
    ],
    ids=lambda fault: str(fault.get("status", fault["kind"])),
)
def test_what_passes_is_tried_again(between, expected, fault, skip):
    disturb(between, **fault, skip=skip, count=2)
    with Granule(URL) as g:
        same(g.track(BEAM, expected[0]), expected[1])
        assert g.traffic.retries == 2


def test_a_stalled_answer_is_given_up_and_tried_again(between, expected, monkeypatch):
    monkeypatch.setattr(range_file, "TIMEOUT", 1.0)
    disturb(between, kind="stall", skip=6, seconds=6.0)
    with Granule(URL) as g:
        same(g.track(BEAM, expected[0]), expected[1])
        assert g.traffic.retries >= 1  # a busy machine may stall by itself


# -- what lasts -----------------------------------------------------------------------------------------
@pytest.mark.parametrize("skip", [2, 14])
@pytest.mark.parametrize(
    ("fault", "error", "said"),
    [
        ({"kind": "status", "status": 503}, RemoteError, r"the server failed \(HTTP 503\); try again"),
        ({"kind": "reset"}, RemoteError, "the server cannot be reached; try again"),
        (
            {"kind": "status", "status": 403},
            GranuleError,
            r"refused \(HTTP 403\); may these credentials read",
        ),
        ({"kind": "changed"}, ChangedError, "changed while it was read .its content is another"),
        ({"kind": "truncated"}, ChangedError, "changed while it was read .from [0-9,]+ to [0-9,]+ bytes"),
    ],
    ids=lambda value: str(value.get("status", value["kind"])) if isinstance(value, dict) else "",
)
def test_what_lasts_is_said(between, expected, fault, error, said, skip):
    disturb(between, **fault, skip=skip, count=None)
    with pytest.raises(error, match=said) as caught:
        Granule(URL).track(BEAM, expected[0])
    assert NAME in str(caught.value)
    assert "planted" not in str(caught.value)
    between.faults.set({})
    same(Granule(URL).track(BEAM, expected[0]), expected[1])


def test_no_such_object_and_no_such_bucket(between):
    with pytest.raises(GranuleError, match="no such file"):
        Granule(URL.replace("_006_01", "_006_02"))
    with pytest.raises(GranuleError, match="no such file"):
        Granule(URL.replace(BUCKET, "nowhere"))


def test_an_object_replaced_between_two_reads(between, server, expected, tmp_path, monkeypatch):
    other = URL.replace(NAME, "other.h5")
    client = boto3.client("s3")
    client.upload_file(str(write_beam(tmp_path / NAME, 60_000)), BUCKET, "ATL03/other.h5")
    g = Granule(other)
    g.track(BEAM)
    client.upload_file(str(write_beam(tmp_path / NAME, 60_000, seed=2)), BUCKET, "ATL03/other.h5")
    g.stream._ranges.clear()
    with pytest.raises(ChangedError, match="open it again"):
        g.track(BEAM)


# -- credentials that end while a granule is read -------------------------------------------------------
PROCESS = """
import json, pathlib, sys
from datetime import UTC, datetime, timedelta
asked = pathlib.Path(sys.argv[1])
number = int(asked.read_text()) + 1 if asked.exists() else 1
asked.write_text(str(number))
if number > int(sys.argv[2]):
    sys.exit("the planted session is over")
print(json.dumps({"Version": 1, "AccessKeyId": f"KEY{number}", "SecretAccessKey": "planted-secret",
                  "SessionToken": f"planted-token-{number}",
                  "Expiration": (datetime.now(UTC) + timedelta(hours=1)).isoformat()}))
"""


@pytest.fixture
def process(between, monkeypatch, tmp_path):
    """AWS's own kind of provider that renews: a program that gives KEY1, then KEY2, ... so many times."""

    def provide(times: int):
        for key in KEYS:
            monkeypatch.delenv(key, raising=False)
        (tmp_path / "give.py").write_text(PROCESS)
        command = f"{sys.executable} {tmp_path / 'give.py'} {tmp_path / 'asked'} {times}"
        (tmp_path / "config").write_text(f"[default]\nregion = us-west-2\ncredential_process = {command}\n")
        monkeypatch.setenv("AWS_PROFILE", "default")

    return provide


@pytest.mark.parametrize("skip", [1, 3, 5])
def test_expired_credentials_are_renewed_and_the_read_goes_on(between, process, expected, skip):
    process(1000)
    g = Granule(URL)
    first = set(between.keys)
    between.faults.set({"plan": [{"kind": "expired", "key": next(iter(first)), "skip": skip, "count": None}]})
    same(g.track(BEAM, expected[0]), expected[1])
    assert len(first) == 1
    assert set(between.keys) > first  # the rest was read with others
    assert g.traffic.retries >= 1


@pytest.mark.parametrize("skip", [1, 5])
def test_credentials_that_cannot_be_renewed(between, process, expected, skip):
    process(1)
    g = Granule(URL)
    disturb(between, kind="expired", key="KEY1", skip=skip, count=None)
    with pytest.raises(GranuleError) as caught:
        g.track(BEAM, expected[0])
    said = str(caught.value)
    assert f"{NAME}: access refused (the credentials have expired), and there are no new credentials" in said
    assert "CredentialRetrievalError" in said
    assert "planted" not in said
    process(1000)  # the provider is mended: the same granule reads on
    same(g.track(BEAM, expected[0]), expected[1])


def test_fixed_credentials_that_expire(between, expected, monkeypatch):
    monkeypatch.setenv("AWS_SESSION_TOKEN", "planted-token")
    g = Granule(URL)
    disturb(between, kind="expired", key="planted-key", skip=3, count=None)
    with pytest.raises(
        GranuleError, match=r"have expired\); renew them .*AWS_SESSION_TOKEN.* and read again"
    ):
        g.track(BEAM, expected[0])
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "fresh-key")
    same(g.track(BEAM, expected[0]), expected[1])
    assert between.keys[-1] == "fresh-key"


def test_credentials_are_renewed_before_they_end(between, process):
    process(1000)
    f = RemoteFile(URL, "x")
    f._address.until = time.time() + 60.0  # as those do that are good for an hour, in the end
    f.fetch([(100_000, 110_000)])
    assert between.keys == ["KEY1", "KEY2"]
    assert f.traffic.retries == 0
    process(0)
    f._address.until = time.time() + 60.0  # not to be had again, but good for a minute still
    f.fetch([(200_000, 210_000)])
    assert between.keys[-1] == "KEY2"


def test_credentials_of_earthdata(between, expected, monkeypatch):
    """NSIDC's bucket: temporary credentials from its own service, asked for again when they are refused."""
    import earthaccess

    from is2ice.io.remote import earthdata

    asked = []

    def given(daac):
        asked.append(daac)
        if len(asked) > most:
            raise ConnectionError("planted")
        until = datetime.now(UTC) + timedelta(hours=1)
        return {
            "accessKeyId": f"EDL{len(asked)}",
            "secretAccessKey": "planted",
            "sessionToken": "planted",
            "expiration": until.isoformat(sep=" "),
        }

    for key in KEYS:
        monkeypatch.delenv(key, raising=False)
    monkeypatch.setattr(earthdata, "BUCKETS", (BUCKET,))
    monkeypatch.setattr(range_file, "BUCKETS", (BUCKET,))
    monkeypatch.setattr(earthaccess.__auth__, "authenticated", True)
    monkeypatch.setattr(earthaccess.__auth__, "token", {"access_token": "planted"})
    monkeypatch.setattr(earthaccess.__auth__, "get_s3_credentials", given)
    most = 2
    g = Granule(URL)
    disturb(between, kind="expired", key="EDL1", skip=2, count=None)
    same(g.track(BEAM, expected[0]), expected[1])
    assert {"EDL1", "EDL2"} <= set(between.keys)
    g.stream._ranges.clear()
    disturb(between, kind="expired", key="EDL", count=None)
    with pytest.raises(earthdata.LoginError, match=r"Earthdata gave no S3 credentials .*licence") as caught:
        g.track(BEAM, expected[0])
    assert "planted" not in json.dumps(str(caught.value))

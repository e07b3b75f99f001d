"""The local cloud: real searches and real range requests on 127.0.0.1, and only what should be served."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import h5py
import numpy as np
import pystac_client
import pytest
import rasterio
from typer.testing import CliRunner

from is2ice.cli.twin import app
from is2ice.twin.scene.scene import Scene
from is2ice.twin.sentinel2.make_scene import make_scene
from is2ice.twin.server.granule_items import granule_item
from is2ice.twin.server.local_archive import CloudError, LocalCloud, serve

GRANULE = "ATL03_20191116193412_07410510_006_02"


def write_granule(path: Path, lon: np.ndarray, lat: np.ndarray) -> None:
    """As much of an ATL03 granule as the catalogue looks at, and 4 MB of photon heights."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as f:
        for k, beam in enumerate(("gt1l", "gt2l")):
            place = f.create_group(f"{beam}/geolocation")
            place["reference_photon_lat"] = lat
            place["reference_photon_lon"] = (lon + 0.1 * k + 180) % 360 - 180
            # 2019-11-16T19:34:12 is 684 days and 70,452 s after 2018-01-01.
            place["delta_time"] = 684 * 86400 + 70_452 + np.arange(lat.size) * 0.3
        heights = np.random.default_rng(0).normal(size=1_000_000).astype("f4")
        f.create_dataset("gt1l/heights/h_ph", data=heights, chunks=(10_000,))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("cloud")
    scene = Scene.preset("ross_sea_november", seed=3, length_km=10)
    make_scene(scene, root, minutes=20, size_km=3, samples=1)
    make_scene(scene, root, minutes=90, size_km=3, samples=1, baseline="02.08")
    write_granule(root / "atl03" / f"{GRANULE}.h5", np.linspace(178, 182, 50), np.linspace(-74, -76, 50))
    (root / "notes.json").write_text('{"not": "an item"}')
    (root / "broken.json").write_text("{")
    return root


@pytest.fixture(scope="module")
def cloud(folder):
    with LocalCloud(folder) as running:
        yield running


@pytest.fixture(scope="module")
def client(cloud):
    return pystac_client.Client.open(cloud.stac_url)


def found(client, **query) -> list[str]:
    return sorted(item.id for item in client.search(**query).items())


def fetch(cloud, path: str, ranges: str | None = None, method: str = "GET") -> tuple[int, bytes]:
    request = urllib.request.Request(f"{cloud.url}/{path}", method=method)
    if ranges:
        request.add_header("Range", ranges)
    try:
        with urllib.request.urlopen(request, timeout=10) as reply:
            return reply.status, reply.read()
    except urllib.error.HTTPError as fault:
        return fault.code, b""


# ---- search ----


def test_collections(client):
    assert {c.id for c in client.get_collections()} == {"sentinel-2-l2a", "ATL03_006"}
    assert client.get_collection("sentinel-2-l2a").title == "Sentinel-2 Level-2A, simulated"


def test_search_by_box_time_and_geometry(client, folder):
    names = sorted(p.stem for p in (folder / "sentinel-2-l2a").glob("*/*.json"))
    assert len(names) == 2
    assert found(client, collections=["sentinel-2-l2a"]) == names
    west, south, east, north = json.loads(
        next((folder / "sentinel-2-l2a").glob(f"{names[0]}/*.json")).read_text()
    )["bbox"]
    assert found(client, bbox=[west - 1, south - 1, east + 1, north + 1]) == names
    assert found(client, bbox=[west - 3, south - 1, west - 2, north + 1]) == []
    early = "2019-11-16T19:50:00Z/2019-11-16T20:00:00Z"
    assert found(client, collections=["sentinel-2-l2a"], datetime=early) == names[:1]
    assert found(client, datetime="2019-11-17") == []
    middle = {"type": "Point", "coordinates": [(west + east) / 2, (south + north) / 2]}
    assert found(client, intersects=middle) == names
    assert found(client, intersects={"type": "Point", "coordinates": [0.0, -75.0]}) == []


def test_granules_are_found_by_their_tracks_across_the_antimeridian(client):
    assert found(client, collections=["ATL03_006"]) == [GRANULE]
    for box in ([179.0, -75.2, 179.9, -74.6], [-179.9, -75.6, -179.0, -75.0]):
        assert found(client, collections=["ATL03_006"], bbox=box) == [GRANULE]
    # The beams run 2 degrees of longitude per degree of latitude: nothing of them is here.
    assert found(client, collections=["ATL03_006"], bbox=[178.0, -76.0, 179.0, -75.5]) == []
    item = next(client.search(ids=[GRANULE]).items())
    assert item.properties["start_datetime"].startswith("2019-11-16T19:34:12")
    assert item.bbox[0] > 177
    assert item.bbox[2] < -177


def test_items_of_genuine_granules(real_data):
    path = real_data / "atl03" / "ATL03_20181014002445_02350104_006_02_gt1l.h5"
    item = granule_item(path, "http://example/x.h5")
    assert item is not None
    assert item.collection_id == "ATL03_006"
    assert item.datetime is not None
    assert f"{item.datetime:%Y-%m-%dT%H:%M}" == "2018-10-14T00:26"  # two minutes into the granule
    assert 87.2 < item.bbox[1] < item.bbox[3] < 87.4
    for path in sorted((real_data / "atl10").glob("*.h5")):
        item = granule_item(path, "http://example/x.h5")
        assert item is not None
        assert item.collection_id == "ATL10_006"
        assert 78 < item.bbox[1] < item.bbox[3] < 81
    assert granule_item(real_data / "atl03" / "land_clip_gt1r.h5", "x") is None


# ---- streaming ----


def test_image_over_ranges_equals_the_local_file(cloud, client, folder):
    import odc.stac

    item = next(client.search(collections=["sentinel-2-l2a"], max_items=1).items())
    assert item.assets["red"].href.startswith(cloud.url)
    before = cloud.traffic.partial
    loaded = odc.stac.load([item], bands=["red", "swir16"], resolution=10, chunks={})
    remote = loaded.red[0].compute().values
    assert cloud.traffic.partial > before
    with rasterio.open(folder / "sentinel-2-l2a" / item.id / "B04.tif") as f:
        np.testing.assert_array_equal(remote, f.read(1))
    with (
        rasterio.open(item.assets["scl"].href) as a,
        rasterio.open(folder / "sentinel-2-l2a" / item.id / "SCL.tif") as b,
    ):
        np.testing.assert_array_equal(a.read(), b.read())


def test_hdf5_over_ranges_reads_only_what_it_needs(cloud, folder):
    import fsspec

    path = folder / "atl03" / f"{GRANULE}.h5"
    before = cloud.traffic.sent, cloud.traffic.partial
    with fsspec.open(cloud.href(path), block_size=2**16) as source, h5py.File(source) as f:
        part = f["gt1l/heights/h_ph"][500_000:500_100]
    with h5py.File(path) as f:
        np.testing.assert_array_equal(part, f["gt1l/heights/h_ph"][500_000:500_100])
    assert cloud.traffic.partial > before[1]
    assert cloud.traffic.sent - before[0] < path.stat().st_size / 4


def test_ranges(cloud, folder):
    name = f"atl03/{GRANULE}.h5"
    content = (folder / name).read_bytes()
    size = len(content)
    for ranges, expected in (
        ("bytes=0-0", content[:1]),
        ("bytes=10-19", content[10:20]),
        ("bytes=-7", content[-7:]),
        (f"bytes={size - 5}-", content[-5:]),
        (f"bytes=100-{size + 100}", content[100:]),
    ):
        assert fetch(cloud, name, ranges) == (206, expected)
    assert fetch(cloud, name) == (200, content)
    assert fetch(cloud, name, method="HEAD") == (200, b"")
    assert fetch(cloud, name, f"bytes={size}-")[0] == 416
    assert fetch(cloud, "atl03/absent.h5")[0] == 404


def test_many_ranges_on_one_connection(cloud, folder):
    """Answers on a kept connection never run into each other."""
    import http.client

    name = f"atl03/{GRANULE}.h5"
    content = (folder / name).read_bytes()
    connection = http.client.HTTPConnection(cloud.url.removeprefix("http://"), timeout=10)
    rng = np.random.default_rng(1)
    for first in rng.integers(0, len(content) - 5000, 40).tolist():
        last = first + int(rng.integers(0, 5000))
        connection.request("GET", f"/{name}", headers={"Range": f"bytes={first}-{last}"})
        assert connection.getresponse().read() == content[first : last + 1]
    connection.close()


def test_truth_and_the_world_outside_are_not_served(cloud, client, folder):
    truth = next((folder / "truth").glob("*.tif"))
    for path in (f"truth/{truth.name}", f"%74ruth/{truth.name}", "truth/", f"atl03/../truth/{truth.name}"):
        assert fetch(cloud, path)[0] == 404
        assert fetch(cloud, path, "bytes=0-1")[0] == 404
        assert fetch(cloud, path, "bytes=-1")[0] == 404
    outside = folder.parent / "outside.txt"
    outside.write_text("secret")
    for path in ("../outside.txt", "%2e%2e/outside.txt"):
        assert fetch(cloud, path)[0] == 404
    text = json.dumps([item.to_dict() for item in client.search().items()])
    assert "truth" not in text


# ---- life ----


def port_of(url: str) -> int:
    return int(url.rsplit(":", 1)[1])


def is_free(port: int) -> bool:
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def test_close_frees_everything(folder):
    cloud = LocalCloud(folder).start()
    processes, ports = list(cloud._processes), [port_of(cloud.url), port_of(cloud.stac_url)]
    assert len(processes) == 2
    assert cloud._scratch is not None
    scratch = Path(cloud._scratch.name)
    assert not any(is_free(p) for p in ports)
    cloud.close()
    cloud.close()
    assert all(p.poll() is not None for p in processes)
    assert all(is_free(p) for p in ports)
    assert not scratch.exists()


def test_errors_say_what_to_do(folder, tmp_path):
    with pytest.raises(CloudError, match="no folder"):
        LocalCloud(tmp_path / "absent").start()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(CloudError, match="cannot bind"):
            LocalCloud(folder, port=port).start()
        failed = LocalCloud(folder, stac_port=port, timeout=5)
        with pytest.raises(CloudError, match="STAC API"):
            failed.start()
        assert failed._processes == []
    with pytest.raises(CloudError, match="does not answer"):
        failed.traffic  # noqa: B018


def test_serve_is_bounded_and_an_empty_folder_serves(tmp_path):
    seen = []
    traffic = serve(tmp_path, seconds=0.3, ready=lambda c: seen.append(fetch(c, "")[0]))
    assert seen == [200]
    assert traffic.requests >= 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_command_leaves_nothing_behind(folder, number):
    code = "from is2ice.cli.twin import app; app()"
    command = subprocess.Popen(
        [sys.executable, "-c", code, "serve", str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert command.stdout is not None
    lines = [command.stdout.readline() for _ in range(3)]
    ports = [int(re.search(r":(\d+)", line)[1]) for line in lines[:2]]
    # The interrupt key reaches every process of the terminal, SIGTERM only the one it is sent to.
    (os.killpg if number == signal.SIGINT else os.kill)(command.pid, number)
    rest, errors = command.communicate(timeout=20)
    assert command.returncode == 0, errors
    assert "requests" in rest
    assert all(is_free(p) for p in ports)


def test_servers_end_with_a_killed_owner(folder):
    """The file server ends when its owner is killed outright, since its standard input closes."""
    code = (
        "import sys, time\n"
        "from is2ice.twin.server.local_archive import LocalCloud; c = LocalCloud(sys.argv[1]).start();"
        "print(c.url, c._processes[1].pid, flush=True); time.sleep(60)"
    )
    owner = subprocess.Popen([sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    url, other = owner.stdout.readline().split()
    owner.kill()
    owner.wait()
    os.kill(int(other), signal.SIGTERM)  # the STAC API has no such watch
    deadline = time.monotonic() + 10
    while not is_free(port_of(url)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert is_free(port_of(url))


def test_command_line(folder, tmp_path):
    run = CliRunner()
    served = run.invoke(app, ["serve", str(folder), "--seconds", "0.2"])
    assert served.exit_code == 0, served.output
    assert "http://127.0.0.1:" in served.output
    assert "3 items" in served.output
    absent = run.invoke(app, ["serve", str(tmp_path / "absent"), "--seconds", "0.2"])
    assert absent.exit_code == 2
    unknown = run.invoke(app, ["make", "atlantis", "--out", str(tmp_path)])
    assert unknown.exit_code == 2
    assert "ross_sea_november" in unknown.output
    for command in ("serve", "make", "statistics"):
        assert run.invoke(app, [command, "--help"]).exit_code == 0

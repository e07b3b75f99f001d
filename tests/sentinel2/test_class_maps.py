"""Sentinel-2 scenes: what their numbers mean, classes from them, and clear words when something is wrong."""

from __future__ import annotations

import copy
import importlib.util
import json
import subprocess
import sys
import time
from pathlib import Path

import dask
import numpy as np
import pytest
import rasterio
import xarray as xr

from is2ice import schema
from is2ice.io.catalogs.sentinel2 import SceneItem
from is2ice.sentinel2 import cloud_filter, pixel_kernels
from is2ice.sentinel2 import scene as sentinel2
from is2ice.sentinel2.stac_item import SceneError, numbers_of
from is2ice.twin.scene.scene import Scene
from is2ice.twin.sentinel2.make_scene import make_scene

THICK, THIN, WATER = schema.THICK_ICE, schema.THIN_ICE, schema.OPEN_WATER
NO_DATA, CLOUD, SHADOW, LAND = 2, 4, 8, 16


def a_scene(**overrides) -> Scene:
    settings = {"lead_spacing": 500.0, "lead_width": (30.0, 900.0)} | overrides
    return Scene.preset("ross_sea_november", seed=5, length_km=10, **settings)


def truth_of(item: Path) -> np.ndarray:
    with rasterio.open(item.parents[2] / "truth" / f"{item.stem}_class.tif") as f:
        return f.read()


@pytest.fixture(scope="module")
def clear(tmp_path_factory) -> Path:
    return make_scene(a_scene(cloud_cover=0.0), tmp_path_factory.mktemp("clear"), size_km=6, swath=0.15)


@pytest.fixture(scope="module")
def cloudy(tmp_path_factory) -> Path:
    scene = a_scene(cloud_cover=0.3, cloud_depth=0.6)
    return make_scene(scene, tmp_path_factory.mktemp("cloudy"), size_km=8)


def flat(value: float, n: int = 400, **more: float) -> xr.Dataset:
    """A scene of one grey, in memory."""
    bands = dict.fromkeys(("B02", "B03", "B04"), value) | more
    axis = 10.0 * np.arange(n) + 5.0
    return xr.Dataset(
        {b: (("y", "x"), np.full((n, n), v, np.float32)) for b, v in bands.items()},
        coords={"y": axis[::-1], "x": axis},
        attrs={"scene": "flat"},
    )


# ---- opening ----


def test_reflectance_is_that_of_the_files(clear):
    scene = sentinel2.open_scene(clear)
    assert all(dask.is_dask_collection(scene[b].data) for b in scene.data_vars)
    for band in ("B02", "B03", "B04", "B08", "B11"):
        with rasterio.open(clear.parent / f"{band}.tif") as f:
            number = f.read(1)
        if band == "B11":
            number = number.repeat(2, 0).repeat(2, 1)
        expected = np.where(number == 0, np.nan, (number.astype(float) - 1000.0) / 10_000.0)
        np.testing.assert_allclose(scene[band].values, expected, atol=2e-7)
        assert scene[band].dtype == np.float32
    with rasterio.open(clear.parent / "SCL.tif") as f:
        np.testing.assert_array_equal(scene["SCL"].values, f.read(1).repeat(2, 0).repeat(2, 1))
    with rasterio.open(clear.parent / "B02.tif") as f:
        x, y = f.xy(17, 41)
        assert str(f.crs) == scene.attrs["crs"] == f"EPSG:{scene.spatial_ref.item()}"
    assert (scene.x[41], scene.y[17]) == (x, y)
    assert scene.attrs["offset"] == -1000
    assert scene.attrs["baseline"] == "05.00"
    assert scene.attrs["tile"] == clear.stem.split("_")[5].removeprefix("T")
    assert np.datetime64(scene.attrs["time"].removesuffix("Z")) == np.datetime64("2019-11-16T19:54:12")
    assert np.isnan(scene["B02"].values[0, -1])  # the corner outside the swath


def test_a_scene_can_be_written_and_keeps_its_grid(clear, tmp_path):
    scene = sentinel2.open_scene(clear).isel(x=slice(8), y=slice(8)).load()
    scene.to_netcdf(tmp_path / "scene.nc", engine="h5netcdf")
    with xr.open_dataset(tmp_path / "scene.nc", engine="h5netcdf", decode_coords="all") as again:
        xr.testing.assert_equal(again["B03"], scene["B03"])
        assert again["B03"].odc.crs == scene["B03"].odc.crs == scene.attrs["crs"]


def test_the_same_scene_from_every_catalogue(clear, tmp_path):
    """Names and words differ between catalogues; reflectance must not."""
    document = json.loads(clear.read_text())
    for asset in document["assets"].values():
        asset["href"] = str(clear.parent / asset["href"])
    earth = document
    planetary = copy.deepcopy(document)
    for old, new in (
        ("blue", "B02"),
        ("green", "B03"),
        ("red", "B04"),
        ("nir", "B08"),
        ("swir16", "B11"),
        ("scl", "SCL"),
    ):
        planetary["assets"][new] = planetary["assets"].pop(old)
        planetary["assets"][new].pop("raster:bands", None)
    planetary["properties"]["proj:epsg"] = int(planetary["properties"].pop("proj:code").removeprefix("EPSG:"))
    cdse = copy.deepcopy(planetary)
    for band, size in (("B02", 10), ("B03", 10), ("B04", 10), ("B08", 10), ("B11", 20), ("SCL", 20)):
        asset = cdse["assets"][f"{band}_{size}m"] = cdse["assets"].pop(band)
        if band != "SCL":
            asset |= {"raster:scale": 0.0001, "raster:offset": -0.1}
    unnamed = copy.deepcopy(document)
    for k, name in enumerate(("blue", "green", "red", "nir", "swir16")):
        unnamed["assets"][f"file{k}"] = unnamed["assets"].pop(name)
    expected = sentinel2.open_scene(earth)
    for other in (planetary, cdse, unnamed):
        found = sentinel2.open_scene(other)
        for band in ("B02", "B03", "B04", "B08", "B11", "SCL"):
            np.testing.assert_array_equal(found[band].values, expected[band].values)
    assert sentinel2.open_scene(planetary).attrs["offset_source"] == "processing baseline 05.00"


def test_offset_traps(tmp_path):
    """Old and new baselines, Collection-1 style reprocessing of a 2019 scene, and files with the offset taken out."""
    scene, found = a_scene(cloud_cover=0.0), {}
    for name, options in (
        ("old", {"baseline": "02.08"}),
        ("new", {"baseline": "05.00"}),  # sensed in 2019, long before baseline 04.00
        ("applied", {"baseline": "05.00", "offset_applied": True}),
    ):
        path = make_scene(scene, tmp_path / name, size_km=2, samples=1, **options)
        found[name] = path, sentinel2.open_scene(path)
    assert {n: d.attrs["offset"] for n, (_, d) in found.items()} == {"old": 0, "new": -1000, "applied": 0}
    for name in ("new", "applied"):
        np.testing.assert_allclose(found[name][1].B04, found["old"][1].B04, atol=1e-7)


def test_offset_flag_that_lies_is_found_out(tmp_path, caplog):
    """Earth Search has served files without the offset while its flag said that they had it."""
    path = make_scene(a_scene(cloud_cover=0.0), tmp_path, size_km=2, samples=1, offset_applied=True)
    document = json.loads(path.read_text())
    document["properties"]["earthsearch:boa_offset_applied"] = False
    path.write_text(json.dumps(document))
    right = make_scene(a_scene(cloud_cover=0.0), tmp_path / "right", size_km=2, samples=1)
    scene = sentinel2.open_scene(path)
    assert "which nothing does" in caplog.text
    assert scene.attrs["offset"] == 0
    assert "against stated by asset" in scene.attrs["offset_source"]
    np.testing.assert_allclose(scene.B04, sentinel2.open_scene(right).B04, atol=1e-7)
    assert sentinel2.open_scene(path, offset=-1000).attrs["offset"] == -1000
    # The other way round: said to be taken out, but still there.
    document = json.loads(right.read_text())
    document["properties"]["earthsearch:boa_offset_applied"] = True
    right.write_text(json.dumps(document))
    caplog.clear()
    assert sentinel2.open_scene(right).attrs["offset"] == 0
    assert "open with offset=-1000" in caplog.text


@pytest.mark.parametrize(
    ("name", "asset", "offset", "source"),
    [
        (
            "stac/odc-stac/S2B_MSIL2A_20190629T212529_R043_T06VVN_20201006T080531.json",
            "B04",
            0,
            "baseline 02.12",
        ),
        ("stac/odc-stac/S2A_28QCH_20200714_0_L2A.json", "B04", 0, "baseline 02.14"),
        ("s2_metadata/S2A_T60CWS_20240109T203651_L2A/expected_output.json", "red", -1000, "stated"),
        ("s2_metadata/S2B_MSIL2A_20191228T210519_N0212_R071_T01CCV_20201003T104658.SAFE", "red", 0, "stated"),
        (
            "s2_metadata/S2B_MSIL2A_20220413T150759_N0400_R025_T33XWJ_20220414T082126.SAFE",
            "red",
            -1000,
            "stated",
        ),
    ],
)
def test_offset_of_genuine_items(real_data, name, asset, offset, source):
    path = real_data / name
    path = path / "expected_output.json" if path.is_dir() else path
    numbers = numbers_of(SceneItem.parse(json.loads(path.read_text())), asset)
    assert (numbers.offset, numbers.scale) == (offset, 1e-4)
    assert source in numbers.source


def test_offset_of_genuine_products_is_that_of_their_metadata(real_data):
    for folder in (real_data / "s2_metadata").glob("*.SAFE"):
        text = (folder / "MTD_MSIL2A.xml").read_text()
        item = json.loads((folder / "expected_output.json").read_text())
        assert numbers_of(SceneItem.parse(item), "red").offset == (
            -1000 if '<BOA_ADD_OFFSET band_id="3">-1000<' in text else 0
        )


def test_offset_unknown_or_contradicted():
    item = {"id": "x", "properties": {"datetime": "2023-01-01T00:00:00Z"}, "assets": {"red": {"href": "x"}}}
    with pytest.raises(SceneError, match=r"asset red: the DN offset is unknown.*offset=-1000"):
        numbers_of(SceneItem.parse(item), "red")
    assert numbers_of(SceneItem.parse(item), "red", 0).offset == 0
    item["properties"]["s2:processing_baseline"] = "05.00"
    item["assets"]["red"]["raster:bands"] = [{"scale": 0.0001, "offset": 0}]
    with pytest.raises(
        SceneError, match=r"states a DN offset of 0, but processing baseline 05.00 means -1000"
    ):
        numbers_of(SceneItem.parse(item), "red")


# ---- what can be wrong with a scene ----


def edited(item: Path, target: Path, change) -> Path:
    """The item elsewhere, its addresses absolute, after a change."""
    document = json.loads(item.read_text())
    for asset in document["assets"].values():
        asset["href"] = str((item.parent / asset["href"]).resolve())
    change(document)
    target.write_text(json.dumps(document))
    return target


def test_missing_band_and_wrong_grid(clear, tmp_path):
    def without_red(d):
        del d["assets"]["red"]

    with pytest.raises(SceneError, match=r"no asset for B04; the item has .*blue"):
        sentinel2.open_scene(edited(clear, tmp_path / "a.json", without_red))
    with pytest.raises(SceneError, match="no asset for B05"):
        sentinel2.open_scene(clear, bands=["B02", "B05"])

    def other_zone(d):
        d["properties"]["proj:code"] = "EPSG:32760"

    with pytest.raises(SceneError, match=r"the item states EPSG:32760.*the file is EPSG:32703"):
        sentinel2.open_scene(edited(clear, tmp_path / "b.json", other_zone))

    def degrees(d):
        d["properties"]["proj:code"] = "EPSG:4326"

    with pytest.raises(SceneError, match="expected a projected CRS in metres"):
        sentinel2.open_scene(edited(clear, tmp_path / "c.json", degrees))

    def silent(d):  # nothing said of the grid: the file knows
        del d["properties"]["proj:code"]

    scene = sentinel2.open_scene(edited(clear, tmp_path / "d.json", silent))
    np.testing.assert_array_equal(scene.x, sentinel2.open_scene(clear).x)
    with pytest.raises(SceneError, match="B02, B03 missing"):
        sentinel2.class_map(scene[["B04"]])
    with pytest.raises(SceneError, match="B11 missing"):
        sentinel2.class_map(scene[["B02", "B03", "B04"]], cloud="infrared")


def test_damaged_files(clear, tmp_path):
    whole = (clear.parent / "B03.tif").read_bytes()
    damaged, page = tmp_path / "B03.tif", tmp_path / "page.tif"
    damaged.write_bytes(whole[: len(whole) // 2] + bytes(len(whole) - len(whole) // 2))
    page.write_text("<html>Service unavailable</html>")

    def broken(d):
        d["assets"]["green"]["href"] = str(damaged)

    scene = sentinel2.open_scene(edited(clear, tmp_path / "a.json", broken))
    with pytest.raises(SceneError, match=r"asset green \(.*B03.tif\).*damaged"):
        scene["B03"].compute()
    scene["B04"].compute()

    def error_page(d):
        d["assets"]["blue"]["href"] = str(page)

    with pytest.raises(SceneError, match=r"asset blue .*page.tif.*damaged or no image"):
        sentinel2.open_scene(edited(clear, tmp_path / "b.json", error_page))

    def absent(d):
        d["assets"]["swir16"]["href"] = str(tmp_path / "absent.tif")

    with pytest.raises(SceneError, match=r"asset swir16 .*absent.tif.*no such file"):
        sentinel2.open_scene(edited(clear, tmp_path / "c.json", absent))


SERVER = """
import http.server, os, sys, time
folder, seen = sys.argv[1], {}
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self, body=True):
        mode, name = self.path.split("?")[0].strip("/").split("/")
        seen[self.path] = seen.get(self.path, 0) + 1
        if mode == "slow":
            time.sleep(3)
        fails = {"e403": 403, "e500": 500, "slow": 500}.get(mode)
        if mode == "flaky" and seen[self.path] <= 2:
            fails = 503
        data = b"no" if fails else open(os.path.join(folder, name), "rb").read()
        span = self.headers.get("Range")
        status = fails or 200
        if span and not fails:
            first, last = span.split("=")[1].split("-")
            size = len(data)
            data, status = data[int(first) : int(last or size - 1) + 1], 206
        self.send_response(status)
        if status == 206:
            self.send_header("Content-Range", f"bytes {first}-{int(first) + len(data) - 1}/{size}")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if body:
            self.wfile.write(data)
    def do_HEAD(self):
        self.do_GET(False)
    def log_message(self, *args):
        pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
"""


@pytest.fixture(scope="module")
def server(clear):
    # A process of its own: GDAL may keep Python's lock while it waits for an answer.
    command = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(clear.parent)], stdout=subprocess.PIPE, text=True
    )
    assert command.stdout is not None
    yield f"http://127.0.0.1:{int(command.stdout.readline())}"
    command.terminate()
    command.wait()


@pytest.mark.parametrize(
    ("mode", "query", "message"),
    [
        (
            "e403",
            "?se=2019-11-16T20%3A00%3A00Z&sig=SECRET",
            "HTTP 403: its signed address expired at 2019-11-16T20:00",
        ),
        ("e403", "", "HTTP 403: access refused"),
        ("e500", "", "HTTP 500 from the server, also when tried again"),
        ("slow", "", "did not answer in time"),
    ],
)
def test_server_faults_are_tried_again_and_named(clear, server, tmp_path, mode, query, message):
    def remote(d):
        for key, name in (("red", "B04"), ("blue", "B02")):
            d["assets"][key]["href"] = f"{server}/{mode}/{name}.tif{query}"

    path = edited(clear, tmp_path / "x.json", remote)
    start = time.monotonic()
    with pytest.raises(SceneError, match=f"asset blue .*{mode}/B02.tif.*{message}") as early:
        sentinel2.open_scene(path, retries=1, timeout=1.0)
    # Bounded: two attempts at each of the few requests that opening takes.
    assert time.monotonic() - start < 20
    assert "SECRET" not in str(early.value)
    scene = sentinel2.open_scene(path, retries=1, timeout=1.0, check=False)
    with pytest.raises(SceneError, match=f"asset red .*{mode}/B04.tif.*{message}"):
        scene["B04"].compute()


def test_a_passing_fault_is_survived(clear, server, tmp_path):
    def remote(d):
        for key, name in (("red", "B04"), ("blue", "B02"), ("green", "B03")):
            d["assets"][key]["href"] = f"{server}/flaky/{name}.tif"

    scene = sentinel2.open_scene(edited(clear, tmp_path / "x.json", remote), retries=3)
    expected = sentinel2.open_scene(clear)
    for band in ("B02", "B03", "B04"):
        np.testing.assert_array_equal(scene[band].values, expected[band].values)


# ---- classes ----


def test_thresholds_on_the_fixed_scale():
    # 30.5 / 255 = .1196 and 204.5 / 255 = .80196: rounded values 30 | 31 and 204 | 205.
    values = np.array([[0.0, 0.1195, 0.1197, 0.5, 0.8019, 0.8021, 1.3, np.nan]], np.float32)
    eight = cloud_filter.eight_bit(values)
    assert eight[0].tolist() == [0, 30, 31, 128, 204, 205, 255, 0]
    assert cloud_filter.threshold(eight)[0].tolist() == [WATER, WATER, THIN, THIN, THIN, THICK, THICK, WATER]
    assert cloud_filter.eight_bit(np.array([0.5]), white=0.5)[0] == 255
    # The brightest of three colours decides, whichever it is.
    scene = flat(0.05).assign(B02=lambda d: d.B02 + 0.3)
    classes = sentinel2.class_map(scene, "threshold")
    assert np.all(classes.surface_class == THIN)
    assert np.all(classes.mask == 0)


def plain_filter(red, green, blue, aperture: int = 155):
    """The twelve published steps, one after another on a whole image, in plain NumPy and SciPy."""
    from scipy.ndimage import maximum_filter, median_filter

    value = np.max([red, green, blue], axis=0)
    water = value <= 30
    r, g, b = (np.where(water, 255, c).astype(float) for c in (red, green, blue))
    grey = np.floor(0.299 * b + 0.587 * g + 0.114 * r + 0.5)
    background = median_filter(maximum_filter(grey, 7, mode="nearest"), aperture, mode="nearest")
    diff = 255 - np.abs(grey - background)
    best, otsu = -1.0, 0
    for t in range(255):
        low, high = diff[diff <= t], diff[diff > t]
        between = low.size * high.size * (low.mean() - high.mean()) ** 2 if low.size and high.size else 0.0
        if between > best * (1 + 1e-12):
            best, otsu = between, t
    kept = np.where(diff > otsu, diff, 0)
    kept = np.rint((kept - kept.min()) * (255 / np.ptp(kept)))
    kept = np.minimum(kept, 235)
    kept = np.rint((kept - kept.min()) * (255 / np.ptp(kept)))
    thick = (kept >= 205) ^ water
    painted = np.where(water, 0, np.where(kept <= 204, 155, np.where(thick, 255, 0)))
    return np.where(painted <= 30, WATER, np.where(painted <= 204, THIN, THICK))


def test_published_filter_step_by_step():
    rng = np.random.default_rng(3)
    image = np.clip(rng.normal(225, 6, (3, 120, 130)), 0, 255)
    image[:, 30:50] *= 0.5  # a band of thin ice
    image[:, 70:80, 40:90] = rng.normal(15, 2, (3, 10, 50))
    red, green, blue = np.rint(np.clip(image, 0, 255)).astype(np.uint8)
    expected = plain_filter(red, green, blue, 41)
    found = cloud_filter.published(red, green, blue, 41)
    assert set(np.unique(expected)) == {THICK, THIN, WATER}
    # 15-bit fixed point against decimal weights: a grey value may fall the other way.
    assert np.mean(found != expected) < 0.002


def test_windows_are_those_of_rank_filters():
    """Quantile, mean and median of windows against scikit-image and SciPy."""
    from scipy.ndimage import median_filter
    from skimage.filters import rank

    rng = np.random.default_rng(4)
    values = rng.integers(0, 256, (40, 53)).astype(np.uint8)
    values[10:25, 20:40] = 190  # most of a window of one value
    known = (rng.random(values.shape) < 0.3).astype(np.uint8)
    known[:12, :12] = 0  # windows without any
    for window in (5, 11):
        square = np.ones((window, window), np.uint8)
        quantile = rank.percentile(values, square, mask=known, p0=0.75)
        np.testing.assert_array_equal(pixel_kernels.window_quantile(values, known, window, 0.75), quantile)
        mean = rank.mean(values, square, mask=known)
        np.testing.assert_array_equal(pixel_kernels.window_mean(values, known, window), mean)
    padded = np.pad(values, 12, mode="edge")
    expected = median_filter(values, 25, mode="nearest")
    np.testing.assert_array_equal(pixel_kernels.running_median(padded, 12), expected)


def bands_of_thin_ice(width: int, n: int = 512) -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    image = rng.normal(0.90, 0.01, (3, n, n)).astype(np.float32)
    first = (n - width) // 2
    image[:, first : first + width] = rng.normal(0.40, 0.01, (3, width, n))
    image[:, 40:60, 40:200] = 0.04  # some water, so that the image has every class
    return list(image)


def test_flaw_wide_thin_ice_is_kept_by_the_published_filter_and_cured_by_the_guarded():
    for width, published_thin in ((60, True), (200, False)):
        red, green, blue = bands_of_thin_ice(width)
        middle = slice(256 - width // 4, 256 + width // 4)
        eight = [cloud_filter.eight_bit(c) for c in (red, green, blue)]
        share = np.mean(cloud_filter.published(*eight)[middle] == THIN)
        assert share > 0.95 if published_thin else share < 0.10
        assert np.mean(cloud_filter.guarded(red, green, blue)[middle] == THIN) > 0.99


def test_flaw_pure_scenes_are_stretched_by_the_published_filter_and_not_by_the_guarded():
    rng = np.random.default_rng(2)
    for noise, least_thin in ((0.0, 1.0), (1.0, 0.2), (3.0, 0.2)):
        counts = np.rint(230 + noise * rng.standard_normal((300, 300)))
        eight = [counts.astype(np.uint8)] * 3
        assert np.mean(cloud_filter.published(*eight) == THIN) >= least_thin
        grey = (counts / 255).astype(np.float32)
        assert np.all(cloud_filter.guarded(grey, grey, grey) == THICK)


def test_flaw_mixed_pixels():
    """A floe's border over water: a pixel half and half looks like thin ice, but is none."""
    image = np.full((40, 40), 0.04, np.float32)
    image[:, 20:] = 0.90
    image[:, 19], image[:, 20] = 0.30, 0.62  # 30 % and 67 % ice
    image[5:9, 5:9] = 0.40  # a small floe of thin ice, 4 x 4
    found = cloud_filter.guarded(image, image, image)
    assert np.all(found[:, 19] == WATER)
    assert np.all(found[:, 20:] == THICK)
    assert np.all(found[5:9, 5:9] == THIN)
    eight = cloud_filter.eight_bit(image)
    assert np.all(cloud_filter.threshold(eight)[:, 19:21] == THIN)


def test_cloud_and_shadow_by_hand():
    """A grey veil of .20 and a shadow that halves the light, over known surfaces."""
    n = 240
    surface = np.full((n, n), 0.90, np.float32)  # snow; B11 a tenth of it
    surface[100:140], surface[180:200] = 0.42, 0.05
    truth = np.where(surface > 0.8, THICK, np.where(surface > 0.1, THIN, WATER))
    # Veil: 20 % reflected, of what lies below three quarters come back up.
    veiled, swir = 0.20 + 0.75 * surface, 0.20 + 0.75 * 0.1 * surface
    grey = veiled.astype(np.float32)
    assert np.all(cloud_filter.cloud_in_infrared(grey, swir))
    found = cloud_filter.guarded(grey, grey, grey, infrared=swir.astype(np.float32))
    np.testing.assert_array_equal(found, truth)
    plain = cloud_filter.threshold(cloud_filter.eight_bit(grey))
    assert np.all(plain[180:200] == THIN)  # the water shows .24
    dark = (0.55 * surface).astype(np.float32)
    shadow = np.ones((n, n), bool)
    found = cloud_filter.guarded(dark, dark, dark, infrared=0.1 * dark, shadow=shadow)
    np.testing.assert_array_equal(found, truth)
    # Clear surfaces of any brightness are no cloud.
    clear = np.linspace(0.02, 1.0, 50)
    assert not cloud_filter.cloud_in_infrared(clear, 0.15 * clear).any()


@pytest.mark.parametrize("method", sentinel2.FILTERS)
def test_result_does_not_depend_on_tiles_or_laziness(cloudy, method):
    scene = sentinel2.open_scene(cloudy, chunks=512)
    whole = sentinel2.class_map(scene.compute(), method, tile=4096)
    assert not dask.is_dask_collection(whole.surface_class.data)
    for tile in (300, 128):
        lazy = sentinel2.class_map(scene, method, tile=tile)
        assert dask.is_dask_collection(lazy.surface_class.data)
        assert lazy.surface_class.data.npartitions > 4
        xr.testing.assert_identical(lazy.compute(), whole)


def test_shade_is_told_from_thin_ice_by_its_soft_edge(cloudy):
    """Colours alone: snow into which shade fades is thick ice, a sheet of the same brightness with an edge is thin."""
    n = 400
    row = np.interp(np.arange(n), [0, 100, 250, 400], [0.90, 0.90, 0.45, 0.45])
    soft = np.broadcast_to(row.astype(np.float32), (n, n))
    found = cloud_filter.guarded(soft, soft, soft)
    assert np.mean(found[:, :270] == THICK) > 0.99  # to a kilometre from where it is dull beyond doubt
    hard = np.where(np.arange(n) < 200, 0.90, 0.45).astype(np.float32)
    hard = np.broadcast_to(hard, (n, n))
    found = cloud_filter.guarded(hard, hard, hard)
    assert np.all(found[:, :200] == THICK)
    assert np.all(found[:, 204:] == THIN)
    # With other evidence that there is no cloud, the brightness alone decides.
    found = cloud_filter.guarded(soft, soft, soft, infrared=0.1 * soft)
    assert np.mean(found[:, 260:] == THIN) > 0.99
    scene = sentinel2.open_scene(cloudy).compute().drop_vars(["B11", "SCL"])
    whole = sentinel2.class_map(scene, tile=4096)
    xr.testing.assert_identical(sentinel2.class_map(scene, tile=128), whole)


@pytest.mark.slow
def test_workers_in_other_processes(clear, server, tmp_path):
    """The same bits from Dask workers, and the same words when an asset fails there."""
    from distributed import Client, LocalCluster

    here = sentinel2.class_map(sentinel2.open_scene(clear, chunks=256), tile=256).compute()

    def remote(d):
        d["assets"]["green"]["href"] = f"{server}/e403/B03.tif"

    path = edited(clear, tmp_path / "x.json", remote)
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster),
    ):
        there = sentinel2.class_map(sentinel2.open_scene(clear, chunks=256), tile=256).compute()
        with pytest.raises(SceneError, match=r"asset green .*HTTP 403: access refused"):
            sentinel2.open_scene(path, check=False)["B03"].compute()
    xr.testing.assert_identical(there, here)


def test_published_filter_by_tile_is_another_result(cloudy):
    """The published Spark job ran the filter on squares of 256, each as if it were an image."""
    scene = sentinel2.open_scene(cloudy).compute()
    whole = sentinel2.class_map(scene, "published").surface_class.values
    tiles = sentinel2.class_map(scene, "published", per_tile=256).surface_class.values
    eight = [cloud_filter.eight_bit(scene[b].values[256:512, 256:512]) for b in ("B04", "B03", "B02")]
    np.testing.assert_array_equal(tiles[256:512, 256:512], cloud_filter.published(*eight))
    assert np.mean(whole != tiles) > 0.02
    with pytest.raises(ValueError, match="per_tile=256 belongs to method='published'"):
        sentinel2.class_map(scene, "guarded", per_tile=256)


def test_masks(clear, cloudy):
    scene = sentinel2.open_scene(clear).compute()
    classes = sentinel2.class_map(scene)
    gone = np.isnan(scene.B02.values)
    assert gone.any()
    np.testing.assert_array_equal((classes.mask.values & NO_DATA) != 0, gone)
    np.testing.assert_array_equal(classes.surface_class.values == -1, gone)
    sky = truth_of(cloudy)[1]
    scene = sentinel2.open_scene(cloudy).compute()
    classes = sentinel2.class_map(scene)
    assert classes.attrs["cloud_source"] == "infrared"
    seen = (classes.mask.values & CLOUD) != 0
    assert np.mean(seen[sky == 1]) > 0.85
    assert np.mean(seen[sky == 0]) < 0.02
    assert np.mean((classes.mask.values & SHADOW)[sky == 2] != 0) > 0.8
    by_scl = sentinel2.class_map(scene, cloud="scl")
    np.testing.assert_array_equal((by_scl.mask.values & CLOUD) != 0, np.isin(scene.SCL.values, (8, 9, 10)))
    nothing = sentinel2.class_map(scene, cloud="none", shadow="none", land="none")
    assert np.all(nothing.mask == 0)
    assert set(np.unique(classes.surface_class)) <= {0, 1, 2}
    schema_bits = {b for b in (1 << k for k in range(16)) if (classes.mask.values & b).any()}
    assert schema_bits <= {NO_DATA, CLOUD, SHADOW, LAND}


def test_land_from_scl_and_from_outlines(clear):
    import geopandas
    from shapely.geometry import box

    scene = sentinel2.open_scene(clear).compute()
    scl = scene.SCL.copy()
    scl[300:320, 300:340] = 5
    classes = sentinel2.class_map(scene.assign(SCL=scl))
    assert int(((classes.mask & LAND) != 0).sum()) == 800
    x, y = float(scene.x[100]) - 5, float(scene.y[500]) + 5  # upper left corner of pixel (500, 100)
    shelf = geopandas.GeoDataFrame(geometry=[box(x, y - 200, x + 300, y)], crs=scene.attrs["crs"]).to_crs(
        4326
    )
    for source in (scene, scene.chunk({"y": 256, "x": 256})):
        classes = sentinel2.class_map(source, land=shelf).compute()
        land = (classes.mask.values & LAND) != 0
        assert abs(int(land.sum()) - 600) <= 30  # edges straight in degrees are not quite so in metres
        assert land[505:515, 105:125].all()
        assert np.all(classes.surface_class.values[land] == -1)


def test_all_cloud_is_refused():
    classes = sentinel2.class_map(flat(0.85, B11=0.40))
    assert np.all(classes.mask == CLOUD)
    assert sentinel2.shares(classes)["cloud"] == 1.0
    with pytest.raises(SceneError, match=r"flat: 0.0% of its pixels are usable.*100.0% cloud"):
        sentinel2.require_usable(classes)
    assert sentinel2.require_usable(sentinel2.class_map(flat(0.85, B11=0.08))).attrs["method"] == "guarded"


def test_unknown_options():
    for options, message in (
        ({"method": "magic"}, "method='magic'"),
        ({"cloud": "maybe"}, "cloud='maybe'"),
        ({"shadow": "x"}, "shadow='x'"),
        ({"land": "x"}, "land='x'"),
        ({"land": None}, "land=None: expected 'scl', 'none' or a GeoDataFrame"),
        ({"white": 0.0}, "white=0.0: expected the reflectance"),
        ({"white": np.nan}, "white=nan"),
        ({"aperture": 0, "method": "published"}, "aperture=0: expected an odd number"),
        ({"per_tile": 0, "method": "published"}, "per_tile=0: expected pixels, at least 1"),
        ({"tile": 0}, "tile=0: expected pixels, at least 1"),
    ):
        with pytest.raises(ValueError, match=message):
            sentinel2.class_map(flat(0.5), **options)
    with pytest.raises(TypeError, match="open_scene, got str 'item"):
        sentinel2.class_map("item.json")


def test_against_truth(clear, cloudy):
    """Clear and cloudy ice of the paper's case: the guarded filter against the published one."""

    def right(item: Path, method: str) -> float:
        truth = truth_of(item)[0]
        classes = sentinel2.class_map(sentinel2.open_scene(item).compute(), method).surface_class.values
        known = truth != 255
        return float(np.mean(classes[known] == truth[known]))

    for item, least in ((clear, 0.97), (cloudy, 0.90)):  # cloud of depth .6 covers nine tenths of the second
        scores = {m: right(item, m) for m in sentinel2.FILTERS}
        assert scores["guarded"] > max(scores["published"], scores["threshold"])
        assert scores["guarded"] > least


# ---- genuine images ----


@pytest.fixture(scope="module")
def masks():
    """The command that prints the agreement, so that it and these tests measure the same."""
    path = Path(__file__).resolve().parents[2] / "benchmarks" / "published_masks.py"
    spec = importlib.util.spec_from_file_location("published_masks", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_thresholds_reproduce_the_published_masks(masks, real_data):
    """Published figures of image and mask, drawn at a fifth and an eighth of their size (so borders blur)."""
    for figure, least in (
        ("scene and mask", 0.995),
        ("shaded image, mask of the same", 0.995),
        ("filtered image, mask of the same", 0.99),
    ):
        row = masks.agreement(real_data, figure)
        assert row["compared"] > 0.6
        assert row["thresholds"] > least


def test_published_filter_on_the_published_figure(masks, real_data):
    """The figure's shaded image through our filter, its lengths shrunk as the figure is, against its mask."""
    row = masks.agreement(real_data, "shaded image, mask of the filtered")
    assert row["published"] > 0.92
    assert row["thresholds"] < 0.6  # what the filter was made for
    assert row["guarded"] > row["published"]


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_published_masks_hold_the_three_colours(masks, real_data):
    for number in ("02", "17", "22"):
        with rasterio.open(real_data / "s2_seaice_png" / f"s2_seg_{number}.png") as f:
            classes = masks.mask_classes(f.read())
        assert classes.shape == (2048, 2048)
        assert set(np.unique(classes)) == {THICK, THIN, WATER}


def test_genuine_crops_are_classified(real_data):
    """Arctic summer floes with melt ponds: their numbers carry the offset, which decides what ponds look like."""
    paths = sorted((real_data / "atl03_s2_crops").glob("*/*.tiff"))
    assert len(paths) == 10
    shares = {}
    for path in paths:
        with rasterio.open(path) as f:
            numbers = f.read()
        bands = {
            offset: xr.Dataset(
                {
                    b: (("y", "x"), ((numbers[k] + offset) / 1e4).astype(np.float32))
                    for k, b in enumerate(("B02", "B03", "B04"))
                }
            )
            for offset in (0.0, -1000.0)
        }
        for scene in bands.values():
            classes = sentinel2.class_map(scene)
            assert np.all(np.isin(classes.surface_class, (THICK, THIN, WATER)))
            assert np.all(classes.mask == 0)
        found = {o: sentinel2.class_map(d, "threshold").surface_class.values for o, d in bands.items()}
        shares[path.stem] = {o: float(np.mean(c == THICK)) for o, c in found.items()}
    # A tenth of reflectance moves many pixels across the published threshold: the offset is no detail.
    moved = [s[0.0] - s[-1000.0] for s in shares.values()]
    assert max(moved) > 0.3
    assert min(moved) >= 0.0


# -- many scenes on an engine ---------------------------------------------------------------------------
def test_receipts_hold_no_secrets(tmp_path):
    from is2ice.workflows.make_class_maps import make_class_maps

    address = f"{(tmp_path / 'none.json').as_uri()}?sig=SECRET"
    made = make_class_maps([address], tmp_path / "maps")
    assert "none.json" in made.receipts[0]["scene"]
    assert "SECRET" not in str(made.receipts) + made.report()


@pytest.mark.parametrize("engine", ["serial", "processes", pytest.param("spark", marks=pytest.mark.slow)])
def test_many_scenes_become_class_maps(engine, clear, tmp_path, request):
    """The bits of one call; a scene that fails stops no other; what is finished is kept, what is damaged is named."""
    from is2ice.errors import StoreError
    from is2ice.workflows.make_class_maps import make_class_maps, open_class_map

    document = json.loads(clear.read_text())
    broken = tmp_path / "broken.json"
    for name, asset in document["assets"].items():
        asset["href"] = str(tmp_path / f"{name}.tif")
    broken.write_text(json.dumps(document | {"id": "broken"}))
    where = request.getfixturevalue("spark_cluster") if engine == "spark" else engine
    scenes = [broken, clear, tmp_path / "none.json"]
    made = make_class_maps(scenes, tmp_path / "maps", engine=where, classes={"method": "threshold"})
    assert sorted(r["outcome"] for r in made.receipts) == ["done", "failed", "failed"]
    assert "1 done, 0 skipped, 2 failed" in made.report()
    want = sentinel2.class_map(sentinel2.open_scene(clear), "threshold").compute()
    scene = want.attrs["scene"]
    got = open_class_map(tmp_path / "maps", scene)
    for name in ("surface_class", "mask"):
        np.testing.assert_array_equal(got[name].values, want[name].values)
        assert got[name].dtype == want[name].dtype
    np.testing.assert_allclose(got["x"].values, want["x"].values)
    np.testing.assert_allclose(got["y"].values, want["y"].values)
    assert got.attrs["method"] == "threshold"
    if engine != "serial":
        return
    again = make_class_maps([clear], tmp_path / "maps", classes={"method": "threshold"})
    assert [r["outcome"] for r in again.receipts] == ["skipped"]
    other = make_class_maps([clear], tmp_path / "maps", classes={"method": "guarded"})
    assert [r["outcome"] for r in other.receipts] == ["done"]
    file = tmp_path / "maps" / f"{scene}.tif"
    raw = bytearray(file.read_bytes())
    raw[len(raw) // 2] ^= 1
    file.write_bytes(raw)
    with pytest.raises(StoreError, match="damaged"):
        open_class_map(tmp_path / "maps", scene)
    once_more = make_class_maps([clear], tmp_path / "maps", classes={"method": "guarded"})
    assert [r["outcome"] for r in once_more.receipts] == ["done"]
    assert open_class_map(tmp_path / "maps", scene).attrs["method"] == "guarded"


def test_the_item_of_a_scene_is_not_overwritten(clear, tmp_path):
    """Maps into the folder of the STAC items are refused, and the items stay as they are."""
    from is2ice.errors import StoreError
    from is2ice.workflows.make_class_maps import make_class_maps, open_class_map

    document = json.loads(clear.read_text())
    item = tmp_path / f"{document['id']}.json"
    item.write_bytes(clear.read_bytes())
    made = make_class_maps([document], tmp_path, classes={"method": "threshold"})
    assert [r["outcome"] for r in made.receipts] == ["failed"]
    assert "a folder of their own" in made.receipts[0]["error"]
    assert item.read_bytes() == clear.read_bytes()
    assert list(tmp_path.iterdir()) == [item]
    with pytest.raises(StoreError, match="another document"):
        open_class_map(tmp_path, document["id"])

"""The simulated Sentinel-2 image: its place, its numbers, its item, and what the scene says of it."""

from __future__ import annotations

import csv
import hashlib
import json
import re
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pystac
import pytest
import rasterio
from pyproj import Geod, Transformer

from is2ice.science.footprints import cut_antimeridian
from is2ice.twin.scene import optics
from is2ice.twin.scene.scene import Scene
from is2ice.twin.scene.tracks import sun
from is2ice.twin.sentinel2.image import Image, classify_scene, radiometric_offset
from is2ice.twin.sentinel2.make_scene import _place, make_scene
from is2ice.twin.sentinel2.mgrs_tiles import Tile, orbit, tile_at
from is2ice.twin.server.granule_items import bounding_box

BANDS = ("B02", "B03", "B04", "B08", "B11")


def a_scene(**overrides) -> Scene:
    """Ross Sea with leads dense enough for a few kilometres to hold every class, no cloud."""
    settings = {"lead_spacing": 500.0, "lead_width": (30.0, 900.0), "cloud_cover": 0.0} | overrides
    return Scene.preset("ross_sea_november", seed=5, length_km=20, **settings)


def numbers(item: Path, band: str) -> np.ndarray:
    with rasterio.open(item.parent / f"{band}.tif") as f:
        return f.read()


def reflectance(item: Path, band: str) -> np.ndarray:
    """By the item's own words: scale and offset of ``raster:bands``."""
    keys = dict(zip(BANDS, ("blue", "green", "red", "nir", "swir16"), strict=True))
    asset = json.loads(item.read_text())["assets"][keys[band]]["raster:bands"][0]
    return numbers(item, band)[0] * asset["scale"] + asset["offset"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("twin")


@pytest.fixture(scope="module")
def image(folder) -> Path:
    return make_scene(a_scene(), folder, minutes=25, size_km=6)


@pytest.fixture(scope="module")
def truth(image) -> np.ndarray:
    with rasterio.open(image.parents[2] / "truth" / f"{image.stem}_class.tif") as f:
        return f.read()


# ---- where and when ----


@pytest.mark.parametrize(
    ("name", "epsg", "left", "top"),
    # Corner of the upper left pixel in genuine products.
    [
        ("01CCV", 32701, 300000, 2000020),
        ("60CWS", 32760, 499980, 1200040),
        ("20EPT", 32720, 600000, 3300040),
        ("24MVV", 32724, 399960, 9500020),
        ("28QCH", 32628, 300000, 2300040),
        ("13TDE", 32613, 399960, 4500000),
        ("33XWJ", 32633, 499980, 8900040),
    ],
)
def test_tile_origin_of_genuine_products(name, epsg, left, top):
    tile = Tile.from_name(f"T{name}")
    assert (tile.name, tile.epsg, tile.left, tile.top) == (name, epsg, left, top)


def test_tile_origin_agrees_with_genuine_metadata(real_data):
    found = 0
    for path in sorted((real_data / "s2_metadata").rglob("*.xml")):
        text = path.read_text()
        corner = re.search(r"<ULX>(\d+)</ULX>\s*<ULY>(\d+)</ULY>", text)
        code = re.search(r"HORIZONTAL_CS_CODE>EPSG:(\d+)", text)
        name = re.search(r"_T(\d\d[A-Z]{3})_N", text)
        if corner and code and name:
            tile = Tile.from_name(name[1])
            assert (tile.left, tile.top, tile.epsg) == (int(corner[1]), int(corner[2]), int(code[1]))
            found += 1
    assert found == 3


def test_tile_of_a_position_agrees_with_ross_sea_products(real_data):
    table = next((real_data / "coincidences").glob("*.csv"))
    names = {row["S1_id"][-5:] for row in csv.DictReader(table.open()) if row["S1_id"]}
    assert len(names) > 40
    other_zone = 0
    for name in names:
        tile = Tile.from_name(name)
        to_lonlat = Transformer.from_crs(tile.epsg, 4326, always_xy=True)
        lon, lat = to_lonlat.transform(tile.left + 50_000, tile.top - 50_000)
        if int((lon + 180) // 6) + 1 == tile.zone:
            assert tile_at(lon, lat) == tile
        else:  # such a square is nearer to the neighbouring zone, which has its own tile there
            other_zone += 1
    assert other_zone <= 2


def test_tile_of_awkward_positions():
    assert tile_at(15.0, 80.1).zone == 33  # Svalbard: zones 32, 34 and 36 do not exist there
    assert tile_at(8.9, 75.0).zone == 31
    assert tile_at(180.0, -75.0).zone == 1
    assert tile_at(-180.0, -75.0) == tile_at(180.0, -75.0)
    assert tile_at(179.999, -75.0).zone == 60
    # 01DFA starts at 72.08S, but its centre lies in band D.
    assert Tile.from_name("01DFA").band == "D"
    for lat in (-80.5, 84.5):
        with pytest.raises(ValueError, match="80S to 84N"):
            tile_at(0.0, lat)
    for wrong in ("T61CNB", "T02CNI", "02ANB", "T02CAB", "nonsense"):
        with pytest.raises(ValueError, match="tile"):
            Tile.from_name(wrong)


@pytest.mark.parametrize(
    ("platform", "time", "absolute", "relative"),
    # From the names of genuine products.
    [
        ("S2B", "2019-12-28T21:05:21", 14683, 71),
        ("S2B", "2022-04-13T15:07:56", 26649, 25),
        ("S2B", "2025-07-31T13:19:05", 43879, 95),
        ("S2A", "2023-10-08T17:59:27", 43324, 141),
        ("S2A", "2024-01-09T18:47:54", 44654, 41),
    ],
)
def test_orbit_numbers_of_genuine_products(platform, time, absolute, relative):
    assert orbit(platform, datetime.fromisoformat(time)) == (absolute, relative)


@pytest.mark.parametrize(
    ("name", "time", "zenith", "azimuth"),
    # Mean_Sun_Angle of genuine tiles.
    [
        ("33XWJ", "2022-04-13T15:08:07", 76.52862, 246.54042),
        ("60CWS", "2024-01-09T18:47:54", 66.50757, 84.29996),
        ("01CCV", "2019-12-28T21:05:52", 55.20127, 52.61427),
    ],
)
def test_sun_of_genuine_tiles(name, time, zenith, azimuth):
    tile = Tile.from_name(name)
    to_lonlat = Transformer.from_crs(tile.epsg, 4326, always_xy=True)
    lon, lat = to_lonlat.transform(tile.left + 54_900, tile.top - 54_900)
    elevation, direction = sun(lon, lat, datetime.fromisoformat(time))
    assert 90 - elevation == pytest.approx(zenith, abs=0.02)
    assert direction == pytest.approx(azimuth, abs=0.05)


def test_place_is_on_the_tile_grid():
    scene = a_scene()
    tile, left, top, size = _place(scene, None, None)
    assert (left, top, size) == (tile.left, tile.top, 10_980)
    tile, left, top, size = _place(scene, None, 7.5)
    assert size == 750
    assert (left - tile.left) % 20 == 0
    assert (tile.top - top) % 20 == 0
    x, y = scene.track("gt2l").xy(scene.track("gt2l").x_start + 10_000)
    east, north = Transformer.from_crs(scene.crs, tile.epsg, always_xy=True).transform(x, y)
    assert abs(left + 3750 - east) <= 10
    assert abs(top - 3750 - north) <= 10
    # A cut larger than what is left of the tile is moved inside.
    tile, left, top, size = _place(scene, None, 109.8)
    assert (left, top, size) == (tile.left, tile.top, 10_980)
    with pytest.raises(ValueError, match="size_km"):
        _place(scene, None, 120.0)


def test_positions_are_projected_to_centimetres():
    scene = a_scene()
    tile, left, top, size = _place(scene, None, None)
    big = Image(scene, tile, left, top, size, size, "l2a", "05.00", "S2B", 0, 0.0, 3, 1000)
    x, y = big._positions(512, 10_240, 256, 256)
    row, column = 300, 41  # a sub-pixel point; the first one lies one outside the block
    east = left + 10 * (10_240 + (column - 0.5) / 3)
    north = top - 10 * (512 + (row - 0.5) / 3)
    expected = Transformer.from_crs(tile.epsg, scene.crs, always_xy=True).transform(east, north)
    assert np.hypot(x[row, column] - expected[0], y[row, column] - expected[1]) < 0.01


# ---- light ----


def test_thin_ice_is_the_measured_series():
    """Under the table's own sky the model gives the table back (10 cm: .54 .42 .48 .47 .046; spread .05)."""
    air = optics.Atmosphere(10.0, 400.0)
    for row in optics.THIN_ICE[[0, 2, 3, 4]]:
        surface = air.to_surface(row[1:])
        albedo = surface[0] + (532 - 492) / (560 - 492) * (surface[1] - surface[0])
        ice = optics.surface_reflectance(3, albedo)
        np.testing.assert_allclose(air.to_space(ice), row[1:], atol=0.02)
        assert albedo == pytest.approx(surface[2], abs=0.06)  # the ozone dip in B03 has closed


def test_atmosphere_is_inverted_and_brightens_blue_water():
    air = optics.Atmosphere(25.0)
    surface = np.linspace(0.01, 0.95, 9)[:, None] * np.ones(5)
    np.testing.assert_allclose(air.to_surface(air.to_space(surface)), surface, atol=1e-12)
    water = air.to_space(optics.surface_reflectance(4, 0.07))
    assert 0.08 <= water[0] <= 0.15
    assert 0.03 <= water[2] <= 0.06
    assert 0.02 <= water[3] <= 0.04
    assert water[4] < 0.02


def test_thin_cloud_and_shadow():
    water, snow = optics.surface_reflectance(4, 0.07), optics.surface_reflectance(0, 0.88)
    for depth in (0.1, 0.3, 0.6, 1.0):
        over_water = optics.cloud_over(water, depth, 29.0) - water
        over_snow = optics.cloud_over(snow, depth, 29.0) - snow
        assert over_water[:4].min() > 0.02
        assert over_water[:4].max() < 0.25
        assert np.ptp(over_water[:4]) < 0.02  # nearly grey
        assert np.abs(over_snow[:3]).max() < 0.02  # invisible over snow ...
        assert over_snow[4] > 0.8 * over_water[4] * (1 - snow[4])  # ... but for the short-wave infrared
    np.testing.assert_array_equal(optics.cloud_over(snow, 0.0, 29.0), snow)
    dark = optics.shade(snow, 1.0) / snow
    assert np.all((dark[:3] >= 0.4) & (dark[:3] <= 0.7))
    assert dark[0] > dark[1] > dark[2] > dark[3]


# ---- the image ----


def test_reflectance_of_each_class(image, truth):
    """Medians inside each class, away from borders, against ranges of measured surfaces."""
    from scipy.ndimage import binary_erosion

    inner = [binary_erosion(truth[0] == c, iterations=2) for c in range(3)]
    assert min(m.sum() for m in inner) > 300
    bands = {b: reflectance(image, b) for b in BANDS}
    assert bands["B11"].shape == (300, 300)
    bands["B11"] = bands["B11"].repeat(2, 0).repeat(2, 1)
    median = {b: [float(np.median(v[m])) for m in inner] for b, v in bands.items()}
    for b in ("B02", "B03", "B04"):
        snow, thin, water = median[b]
        assert 0.82 <= snow <= 0.95
        assert 0.12 <= thin <= 0.65
        assert 0.02 <= water <= 0.08
    assert 0.75 <= median["B08"][0] <= 0.90
    assert 0.05 <= median["B11"][0] <= 0.15
    assert median["B11"][2] < 0.02
    # Noise over open water: a few thousandths.
    assert 0.0005 < np.std(bands["B03"][inner[2]]) < 0.01


def test_pixels_mix(image, truth):
    """At the edge of a lead reflectances lie between those of its sides."""
    from scipy.ndimage import binary_dilation

    red = reflectance(image, "B04")
    edge = binary_dilation(truth[0] == 2) & binary_dilation(truth[0] == 0)
    assert np.mean((red[edge] > 0.12) & (red[edge] < 0.75)) > 0.3


def test_visual_and_scene_classification(image, truth):
    scl = numbers(image, "SCL")[0]
    water = (truth[0] == 2).reshape(300, 2, 300, 2).all((1, 3))
    snow = (truth[0] == 0).reshape(300, 2, 300, 2).all((1, 3))
    assert np.mean(scl[water] == 6) > 0.95
    assert np.mean(scl[snow] == 11) > 0.95
    visual = numbers(image, "TCI")
    assert visual.shape == (3, 600, 600)
    assert visual.dtype == np.uint8
    assert np.all(visual >= 1)
    colours = np.array(
        [[0.06, 0.05, 0.04, 0.03, 0.01], [0.9, 0.9, 0.9, 0.8, 0.1], [0.9, 0.9, 0.9, 0.8, 0.25]]
    )
    assert classify_scene(colours[None], np.array([[0.0, 0.0, 0.0]])).tolist() == [[6, 11, 8]]


def test_offset_follows_the_baseline(tmp_path):
    scene = a_scene()
    new = make_scene(scene, tmp_path / "new", size_km=2, baseline="04.00")
    old = make_scene(scene, tmp_path / "old", size_km=2, baseline="02.08")
    earth = make_scene(scene, tmp_path / "earth", size_km=2, baseline="05.00", offset_applied=True)
    assert "_N0400_" in new.stem
    assert "_N0208_" in old.stem
    for band in BANDS:
        a, b, c = (numbers(p, band)[0].astype(int) for p in (new, old, earth))
        np.testing.assert_array_equal(a - b, 1000)
        np.testing.assert_array_equal(c, b)
        np.testing.assert_allclose(reflectance(new, band), reflectance(old, band), atol=1e-12)
    documents = [json.loads(p.read_text()) for p in (new, old, earth)]
    assert [d["assets"]["red"]["raster:bands"][0]["offset"] for d in documents] == [-0.1, 0, -0.1]
    assert [d["properties"]["earthsearch:boa_offset_applied"] for d in documents] == [False, False, True]
    assert [radiometric_offset(b) for b in ("03.01", "04.00", "05.10")] == [0, 1000, 1000]
    with pytest.raises(ValueError, match="baseline"):
        radiometric_offset("5.0")


def test_level_1c_is_seen_through_the_atmosphere(tmp_path, image, truth):
    space = make_scene(a_scene(), tmp_path, minutes=25, size_km=6, level="l1c")
    document = json.loads(space.read_text())
    assert document["collection"] == "sentinel-2-l1c"
    assert "scl" not in document["assets"]
    assert not (space.parent / "SCL.tif").exists()
    assert "_MSIL1C_" in document["id"]
    elevation = document["properties"]["view:sun_elevation"]
    for k, band in enumerate(BANDS[:4]):
        surface = reflectance(image, band)
        expected = np.zeros((*surface.shape, 5))
        expected[..., k] = surface
        expected = optics.Atmosphere(elevation).to_space(expected)[..., k]
        np.testing.assert_allclose(reflectance(space, band), expected, atol=2e-4)


def test_same_seed_same_bytes(tmp_path, folder, image):
    def digest(root: Path) -> dict[str, str]:
        return {
            str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest()
            for p in sorted(root.rglob("*"))
            if p.is_file()
        }

    again = make_scene(a_scene(), tmp_path / "same", minutes=25, size_km=6)
    assert digest(tmp_path / "same") == digest(folder)
    other = make_scene(a_scene(), tmp_path / "other", minutes=25, size_km=6, seed=6)
    assert again.name == other.name
    assert digest(tmp_path / "other") != digest(folder)


def test_drift_between_images(tmp_path):
    """Cross-correlation of two images finds the drift, to half a pixel, in the image's own grid."""
    from skimage.registration import phase_cross_correlation

    scene = a_scene(drift=(0.11, 0.16))
    minutes = (10, 55)
    items = [make_scene(scene, tmp_path, minutes=m, size_km=5, samples=1) for m in minutes]
    first, second = (reflectance(p, "B04") for p in items)
    shift, _, _ = phase_cross_correlation(second, first, upsample_factor=20)
    tile, left, top, size = _place(scene, None, 5)
    to_scene = Transformer.from_crs(tile.epsg, scene.crs, always_xy=True)
    east, north = left + 5 * size, top - 5 * size
    x, y = to_scene.transform(east, north)
    dt = 60.0 * (minutes[1] - minutes[0])
    moved = to_scene.transform(x + 0.11 * dt, y + 0.16 * dt, direction="INVERSE")
    expected = -(moved[1] - north) / 10, (moved[0] - east) / 10
    assert np.hypot(*expected) > 40  # 524 m: not lost in half a pixel
    np.testing.assert_allclose(shift, expected, atol=0.5)


def test_image_shows_the_ice_of_the_pass_moved_by_the_drift(image, truth):
    """Class under the track at the pass, looked up in the image 25 minutes of drift away."""
    scene = a_scene()
    track = scene.track("gt2l")
    middle = 0.5 * (track.x_start + track.x_end)
    x, y = track.xy(np.arange(middle - 2200, middle + 2200, 2.0))
    at_pass = scene.surface(x, y).surface_class
    with rasterio.open(image.parent / "B04.tif") as f:
        to_image = Transformer.from_crs(scene.crs, f.crs, always_xy=True)
        transform = f.transform

    def agreement(minutes: float) -> float:
        dt = 60.0 * minutes
        east, north = to_image.transform(x + scene.drift[0] * dt, y + scene.drift[1] * dt)
        column, row = ~transform * (east, north)
        return float(np.mean(truth[0][row.astype(int), column.astype(int)] == at_pass))

    assert agreement(25.0) > 0.97
    assert agreement(25.0) > agreement(0.0) + 0.05


class OneCloud(Scene):
    """A scene whose only cloud covers the half plane beyond its middle, and whose shadow lies 1 km before it."""

    def _beyond(self, x, y, distance: float) -> np.ndarray:
        track = self.track("gt2l")
        here = 0.5 * (track.x_start + track.x_end)
        (x0, y0), (x1, y1) = track.xy(here), track.xy(here + 1.0)
        return (np.asarray(x) - x0) * (x1 - x0) + (np.asarray(y) - y0) * (y1 - y0) > distance

    def cloud(self, x, y, *, time=None):
        return 0.5 * self._beyond(x, y, 0.0)

    def shadow(self, x, y, *, time=None):
        return 0.9 * (self._beyond(x, y, -1000.0) & ~self._beyond(x, y, 0.0))


def test_cloud_and_shadow_are_seen_and_marked(tmp_path):
    scene = OneCloud.preset("no_leads", seed=1, length_km=10)
    item = make_scene(scene, tmp_path, size_km=4)
    with rasterio.open(tmp_path / "truth" / f"{item.stem}_class.tif") as f:
        surface, sky = f.read()
    assert np.all(surface == 0)
    assert (sky == 1).mean() == pytest.approx(0.5, abs=0.02)
    assert (sky == 2).mean() > 0.2
    red, swir = reflectance(item, "B04"), reflectance(item, "B11").repeat(2, 0).repeat(2, 1)
    clear, cloud, shadow = (red[sky == k] for k in range(3))
    assert abs(np.median(cloud) - np.median(clear)) < 0.03
    assert 0.1 < np.median(swir[sky == 1]) - np.median(swir[sky == 0]) < 0.3
    # .9 of the direct light is gone, which is .57 of all: 1 - .9 x .57 = .49.
    assert np.median(shadow) / np.median(clear) == pytest.approx(0.49, abs=0.02)
    scl = numbers(item, "SCL")[0].repeat(2, 0).repeat(2, 1)
    assert np.mean(np.isin(scl[sky == 1], (8, 9, 10))) > 0.95
    assert np.mean(scl[sky == 2] == 3) > 0.9
    assert np.mean(scl[sky == 0] == 11) > 0.95
    properties = json.loads(item.read_text())["properties"]
    assert properties["eo:cloud_cover"] == pytest.approx(100 * np.isin(scl, (8, 9, 10)).mean(), abs=1e-4)


def test_swath_edge_has_no_data(tmp_path):
    from shapely.geometry import shape

    item = make_scene(a_scene(), tmp_path, size_km=4, swath=0.3, samples=1)
    empty = numbers(item, "B02")[0] == 0
    # A corner of legs .6 of the side: .6 x .6 / 2 of the image.
    assert empty.mean() == pytest.approx(0.18, abs=0.005)
    for band in ("B03", "B04", "B08"):
        np.testing.assert_array_equal(numbers(item, band)[0] == 0, empty)
    np.testing.assert_array_equal(numbers(item, "SCL")[0] == 0, empty[::2, ::2])
    document = json.loads(item.read_text())
    assert document["properties"]["s2:nodata_pixel_percentage"] == pytest.approx(18, abs=0.5)
    area = abs(Geod(ellps="WGS84").geometry_area_perimeter(shape(document["geometry"]))[0])
    # UTM's scale factor is within .1 % of 1.
    assert area == pytest.approx(0.82 * 4000**2, rel=0.005)


def test_files_are_cloud_optimised(image):
    for band, size in (("B02", 600), ("B11", 300), ("SCL", 300), ("TCI", 600)):
        with rasterio.open(image.parent / f"{band}.tif") as f:
            assert f.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
            assert f.block_shapes[0] == (512, 512)
            assert f.shape == (size, size)
            assert f.nodata == 0
            assert bool(f.overviews(1)) == (size > 512)


# ---- the item ----


def test_item_is_valid_and_loads(image):
    import odc.stac

    item = pystac.Item.from_file(str(image))
    assert pystac.Item.from_dict(item.to_dict()).to_dict() == item.to_dict()
    assert re.fullmatch(r"S2B_MSIL2A_20191116T195912_N0500_R\d{3}_T\d\d[C-X][A-Z]{2}_\d{8}T\d{6}", item.id), (
        item.id
    )
    scene = a_scene()
    assert item.datetime is not None
    assert item.datetime.replace(tzinfo=None) == scene.pass_time + timedelta(minutes=25)
    assert item.properties["grid:code"] == f"MGRS-{item.id.split('_T')[1][:5]}"
    assert not any("truth" in a.href or "class" in a.href for a in item.assets.values())
    loaded = odc.stac.load([item], bands=["red", "nir", "swir16", "scl"], chunks={})
    assert loaded.red.shape == (1, 600, 600)  # on the item's own grid
    np.testing.assert_array_equal(loaded.red[0].values, numbers(image, "B04")[0])
    np.testing.assert_array_equal(loaded.nir[0].values, numbers(image, "B08")[0])
    assert loaded.red.dtype == np.uint16
    collection = pystac.Collection.from_file(str(image.parents[1] / "collection.json"))
    assert collection.id == item.collection_id == "sentinel-2-l2a"
    assert [link.rel for link in collection.links].count("item") == 1


def test_item_has_what_public_catalogues_have(image, real_data):
    """Every asset and property is one of a genuine item of the same kind, and grids are written alike."""
    path = next((real_data / "s2_metadata").glob("*T01CCV*")) / "expected_output.json"
    genuine, ours = json.loads(path.read_text()), json.loads(image.read_text())
    assert set(ours["assets"]) <= set(genuine["assets"])
    extra = set(ours["properties"]) - set(genuine["properties"])
    assert extra == {"earthsearch:boa_offset_applied", "sat:absolute_orbit"}
    for key, asset in ours["assets"].items():
        other = genuine["assets"][key]
        assert set(asset) <= set(other) | {"gsd"}
        assert asset.get("eo:bands") == other.get("eo:bands")
        assert asset["type"] == other["type"]
        assert asset["roles"] == other["roles"]
        assert len(asset["proj:transform"]) == len(other["proj:transform"])


def test_item_at_the_antimeridian(tmp_path):
    from shapely.geometry import shape

    scene = Scene.preset(
        "ross_sea_november", seed=2, length_km=4, start_lon=180.0, start_lat=-75.0, cloud_cover=0.0
    )
    item = json.loads(make_scene(scene, tmp_path, size_km=6, samples=1).read_text())
    footprint = shape(item["geometry"])
    assert footprint.geom_type == "MultiPolygon"
    assert footprint.is_valid
    west, _, east, _ = item["bbox"]
    assert west > 179
    assert east < -179
    for piece in footprint.geoms:
        assert piece.bounds[2] - piece.bounds[0] < 1
    geod = Geod(ellps="WGS84")
    assert abs(geod.geometry_area_perimeter(footprint)[0]) == pytest.approx(6000**2, rel=0.005)


def test_cutting_at_the_antimeridian():
    from shapely import LineString, box

    plain = box(170, -76, 175, -75)
    assert cut_antimeridian(plain).equals(plain)
    assert bounding_box(plain) == [170, -76, 175, -75]
    for shift in (0, 360, -360):
        pieces = cut_antimeridian(box(178 + shift, -76, 183 + shift, -75))
        assert sorted(g.bounds for g in pieces.geoms) == [(-180, -76, -177, -75), (178, -76, 180, -75)]
        assert bounding_box(pieces) == [178, -76, -177, -75]
    line = cut_antimeridian(LineString([(179, -75), (181, -77)]))
    assert line.geom_type == "MultiLineString"
    assert bounding_box(line) == [179, -77, -179, -75]
    # All the way round is no crossing.
    assert bounding_box(box(-180, -90, 180, -70)) == [-180, -90, 180, -70]


def test_refusals(tmp_path):
    night = Scene.preset("arctic_winter_night", seed=1, length_km=5)
    with pytest.raises(ValueError, match="sun stands at"):
        make_scene(night, tmp_path, size_km=2)
    for option in ({"level": "l3"}, {"platform": "S2X"}, {"swath": 1.5}, {"samples": 2}):
        with pytest.raises(ValueError, match=next(iter(option))):
            make_scene(a_scene(), tmp_path, size_km=2, **option)
    assert not any(tmp_path.rglob("*.tif"))

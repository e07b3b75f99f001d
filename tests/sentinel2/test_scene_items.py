"""STAC items whose fields are not what STAC defines, and assets that would open other files."""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path

import pytest

from is2ice.errors import CatalogError
from is2ice.io.catalogs.sentinel2 import SceneItem, scene_frame
from is2ice.sentinel2.scene import open_scene
from is2ice.sentinel2.stac_item import SceneError

SAMPLE = next((Path(__file__).resolve().parents[2] / "sample_data").glob("sentinel-2-l2a/*/*.json"))


@pytest.fixture
def item():
    document = json.loads(SAMPLE.read_text())
    for asset in document["assets"].values():
        asset["href"] = str((SAMPLE.parent / asset["href"]).resolve())
    return document


def _all(document, **fields):
    for asset in document["assets"].values():
        asset.update({name.replace("__", ":"): copy.deepcopy(value) for name, value in fields.items()})


@pytest.mark.parametrize(
    "fields",
    [
        {"proj__shape": [10980]},
        {"proj__shape": [-5, 5]},
        {"proj__shape": [10**9, 10**9]},
        {"proj__transform": [0] * 6},
        {"proj__transform": [10, 0, 5e5]},
        {"proj__transform": [10, 0, "x", 0, -10, 1]},
        {"raster__bands": [{"scale": "\x00"}]},
        {"raster__bands": [{"scale": 0, "offset": 0}]},
        {"raster__bands": [{"scale": "nan"}]},
        {"raster__bands": 5},
    ],
)
def test_fields_of_assets_are_named_where_they_are_wrong(item, fields):
    _all(item, **fields)
    with pytest.raises(SceneError, match=r"asset blue: a field of the item is not what STAC defines"):
        open_scene(item)


@pytest.mark.parametrize(
    ("properties", "said"),
    [
        ({"view:sun_elevation": "low"}, "could not convert string to float"),
        ({"datetime": "yesterday"}, "not what STAC defines"),
        ({"proj:epsg": {"a": 1}, "proj:code": None}, "unknown CRS"),
    ],
)
def test_properties_are_named_where_they_are_wrong(item, properties, said):
    item["properties"] |= properties
    for asset in item["assets"].values():
        asset.pop("proj:code", None)
        asset.pop("proj:epsg", None)
    with pytest.raises(SceneError, match=said):
        open_scene(item)


def test_assets_open_no_other_file(item, tmp_path):
    blue = item["assets"]["blue"]
    real = blue["href"]
    (tmp_path / "secret.tif").write_bytes(Path(real).read_bytes())
    (tmp_path / "x.vrt").write_text(
        '<VRTDataset rasterXSize="10" rasterYSize="10"><VRTRasterBand dataType="UInt16" band="1"><SimpleSource>'
        f"<SourceFilename>{tmp_path}/secret.tif</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>"
    )
    os.mkfifo(tmp_path / "pipe")
    for href, said in (
        (str(tmp_path / "x.vrt"), "not recognized as being in a supported file format"),
        (f"/vsisubfile/0,{tmp_path}/secret.tif", "no such file"),
        ((tmp_path / "x.vrt").read_text(), "no such file"),
        (str(tmp_path / "pipe"), "expected a file, got a folder, pipe or device"),
        ((tmp_path / "pipe").as_uri(), "expected a file, got a folder, pipe or device"),
        (str(tmp_path), "expected a file, got a folder, pipe or device"),
    ):
        blue["href"] = href
        with pytest.raises(SceneError, match=f"asset blue .*{said}"):
            open_scene(item)
    blue["href"] = real
    item["assets"]["green"]["href"] = str(tmp_path / "x.vrt")  # whose grid is not looked at
    scene = open_scene(item)
    with pytest.raises(SceneError, match=r"asset green .*not recognized"):
        scene["B03"][:8, :8].load(scheduler="synchronous")


def test_items_without_a_geometry_that_can_be_are_left_out(item, caplog):
    wrong = [
        item | {"geometry": g}
        for g in ("x", {"type": "Polygon"}, {"type": "Polygon", "coordinates": [[[None]]]})
    ]
    assert len(scene_frame([item, *wrong])) == 1
    assert caplog.text.count("the geometry of the item is none") == 3


@pytest.mark.parametrize("part", ["properties", "assets"])
def test_an_item_whose_parts_are_no_objects_is_refused(item, part, caplog):
    with pytest.raises(CatalogError, match="whose properties and assets are objects"):
        SceneItem.parse(item | {part: [1]})
    assert len(scene_frame([item | {part: [1]}, item])) == 1  # a frame leaves it out
    assert "whose properties and assets are objects; fetch it again; left out" in caplog.text

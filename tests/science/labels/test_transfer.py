"""Labels from class maps: pixel by pixel answers worked out by hand, and genuine crops."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from crops import read_crop, read_image
from pyproj import Transformer

from is2ice import schema
from is2ice.errors import SchemaError
from is2ice.science.labels import transfer
from is2ice.science.labels.corrections import Correction, Corrections
from is2ice.science.labels.drift import Drift, DriftError
from is2ice.science.segments import from_photons
from is2ice.sentinel2.scene import class_map

UTM, POLAR = "EPSG:32702", "EPSG:3976"
LEFT, TOP = 500_000.0, 1_700_000.0


def codes(code, mask=None, **attrs) -> xr.Dataset:
    """Pixels of 10 m from (LEFT, TOP) down."""
    code = np.asarray(code, "i1")
    rows, columns = code.shape
    data = {"surface_class": (("y", "x"), code)}
    if mask is not None:
        data["mask"] = (("y", "x"), np.asarray(mask, "u1"))
    coords = {"x": LEFT + 10 * (np.arange(columns) + 0.5), "y": TOP - 10 * (np.arange(rows) + 0.5)}
    return xr.Dataset(data, coords, {"crs": UTM, "scene": "mock", "time": "2019-11-04T19:45:29"} | attrs)


def track(row, column, *, beam: bool = False, **values) -> xr.Dataset:
    """Segments at fractional pixel positions of such a map."""
    row, column = np.atleast_1d(np.asarray(row, "f8")), np.atleast_1d(np.asarray(column, "f8"))
    x, y = Transformer.from_crs(UTM, POLAR, always_xy=True).transform(LEFT + 10 * column, TOP - 10 * row)
    ds = schema.mock_segments(row.size, beam="gt2r" if beam else None)
    dims = ds["x"].dims
    shape = ds["x"].shape
    ds = ds.assign(
        x=(dims, x.reshape(shape)),
        y=(dims, y.reshape(shape)),
        **{k: (dims, np.broadcast_to(np.asarray(v, "f8"), shape)) for k, v in values.items()},
    )
    return ds.assign_attrs(crs=POLAR)


def test_class_of_the_pixel_a_segment_lies_in():
    code = [[0, 1, 2], [2, 0, 1]]
    # Just inside each of the six pixels; borders belong to the pixel right and below.
    rows, columns = [0.01, 0.5, 0.99, 1.01, 1.5, 1.99], [0.01, 1.5, 2.99, 0.99, 1.01, 2.01]
    ds = transfer.transfer(track(rows, columns), codes(code), transition=0)
    assert ds["label"].values.tolist() == [0, 1, 2, 2, 0, 1]
    assert ds["label"].dtype == np.int8
    assert ds["label_flags"].values.tolist() == [0] * 6
    schema.conform(ds, "labels")


def test_segments_outside_are_not_snapped_to_the_edge():
    ds = transfer.transfer(
        track([-0.01, 0.5, 2.01, 0.5, -500], [0.5, -0.01, 0.5, 3.01, -500]), codes(np.full((2, 3), 2))
    )
    assert (ds["label"] == -1).all()
    assert (ds["label_flags"] == 1).all()


def test_reasons_for_no_label():
    code = np.zeros((1, 6), "i1") - np.array([[0, 0, 0, 0, 0, 1]])
    mask = np.array([[0, 2, 4, 8, 16, 0]])
    ds = transfer.transfer(
        track(np.full(6, 0.5), np.arange(6) + 0.5), codes(np.repeat(code, 2, 0), np.repeat(mask, 2, 0))
    )
    # An unlabelled pixel without a reason counts as no data.
    assert ds["label_flags"].values.tolist() == [0, 2, 4, 8, 16, 2]
    assert ds["label"].values.tolist() == [0, -1, -1, -1, -1, -1]


def test_transition_zone_is_a_distance_to_the_other_class():
    code = np.zeros((9, 20), "i1")
    code[:, 10:] = 2
    # An edge at column 10: 1.5 pixels are 15 m on both sides.
    columns = np.array([8.4, 8.6, 9.9, 10.1, 11.4, 11.6])
    ds = transfer.transfer(track(np.full(6, 4.5), columns), codes(code))
    assert ds["label"].values.tolist() == [0, -1, -1, -1, -1, 2]
    assert ds["label_flags"].values.tolist() == [0, 32, 32, 32, 32, 0]
    # Around a lone pixel at (4, 4) the zone has round corners: 1.1 pixels along both axes are 1.56 away.
    code = np.zeros((9, 9), "i1")
    code[4, 4] = 1
    ds = transfer.transfer(track([2.9, 2.9, 2.95], [2.9, 4.5, 2.95]), codes(code))
    assert ds["label_flags"].values.tolist() == [0, 32, 32]  # 1.1 * sqrt(2) = 1.556; 1.05 * sqrt(2) = 1.485
    # What lies under a cloud is no class, so no edge.
    mask = np.zeros((9, 9), "u1")
    mask[4, 4] = 4
    assert transfer.transfer(track([2.9], [4.5]), codes(code, mask))["label_flags"].item() == 0


def test_shift_is_where_the_image_saw_the_ice():
    code = np.zeros((200, 200), "i1")
    code[:, 100:] = 2
    ds = track([50.0], [50.0])
    # Column 150 of the image, in metres of the segments' crs.
    x, y = Transformer.from_crs(UTM, POLAR, always_xy=True).transform(LEFT + 1500, TOP - 500)
    shift = (x - ds["x"].item(), y - ds["y"].item())
    assert transfer.transfer(ds, codes(code))["label"].item() == 0
    out = transfer.transfer(ds, codes(code), shift=shift)
    assert out["label"].item() == 2
    assert out.attrs["label_shift"] == pytest.approx(list(shift))
    assert transfer.transfer(ds, codes(code), shift=Drift(*shift, POLAR))["label"].item() == 2
    with pytest.raises(DriftError, match=r"refused \(too dark\)"):
        transfer.transfer(ds, codes(code), shift=Drift(*shift, POLAR, accepted=False, reason="too dark"))
    with pytest.raises(DriftError, match="EPSG:3413"):
        transfer.transfer(ds, codes(code), shift=Drift(*shift, "EPSG:3413"))


def test_one_row_a_segment_whatever_the_number_of_scenes():
    """Time of the segments: 10 s after scene a, 60 s before scene b."""
    when = float(
        (np.datetime64("2019-11-04T19:45:39") - np.datetime64("2018-01-01")) / np.timedelta64(1, "s")
    )
    a = codes([[0, 0, -1, 1]] * 2, [[0, 4, 2, 0]] * 2)
    b = codes([[2, 2, 2, 1]] * 2, scene="b", time="2019-11-04T19:46:39Z")
    ds = track(np.full(5, 0.5), [0.5, 1.5, 2.5, 3.5, 9.5], delta_time=when)
    out = transfer.transfer(ds, [b, a], transition=0)
    # They differ: the closer one; cloud or no data in one: the other; they agree; both outside.
    assert out["label"].values.tolist() == [0, 2, 2, 1, -1]
    assert out["label_flags"].values.tolist() == [64, 0, 0, 0, 1]
    strict = transfer.transfer(ds, [b, a], transition=0, conflict="unlabelled")
    assert strict["label"].values.tolist() == [-1, 2, 2, 1, -1]
    assert strict["label_flags"].values.tolist() == [64, 0, 0, 0, 1]
    # Two tiles of one datatake are equally close.
    twin = b.assign_attrs(time=a.attrs["time"])
    out = transfer.transfer(ds, [a, twin], transition=0)
    assert out["label"].values.tolist() == [-1, 2, 2, 1, -1]
    with pytest.raises(SchemaError, match=r"attrs\['time'\]"):
        transfer.transfer(ds, [a, b.assign_attrs(time=None)])
    with pytest.raises(ValueError, match="2 class maps, got 3"):
        transfer.transfer(ds, [a, b], shift=[(0, 0)] * 3)


def test_each_scene_has_its_own_shift():
    a, b = codes(np.zeros((40, 40))), codes(np.zeros((40, 40)), scene="b", time="2019-11-04T20:45:29")
    b["surface_class"][:, 20:] = 1
    ds = track([20.0], [10.0])
    x, y = Transformer.from_crs(UTM, POLAR, always_xy=True).transform(LEFT + 300, TOP - 200)
    out = transfer.transfer(ds, [a, b], shift=[(0.0, 0.0), (x - ds["x"].item(), y - ds["y"].item())])
    assert out["label_flags"].item() == 64


@pytest.fixture(scope="module")
def big() -> tuple[xr.Dataset, xr.Dataset]:
    """20,000 segments across 3,000 x 3,000 pixels of all classes and masks."""
    rng = np.random.default_rng(1)
    code = np.repeat(np.repeat(rng.integers(-1, 3, (60, 60)), 50, 0), 50, 1)
    mask = np.repeat(np.repeat(rng.choice([0, 0, 0, 4, 8], (30, 30)), 100, 0), 100, 1)
    i = np.arange(20_000)
    return track(-20.0123 + 0.15 * i, 200 + 0.1 * i + 5 * np.sin(i / 300), beam=True), codes(code, mask)


def test_lazy_cube_and_lazy_image_give_the_same(big):
    ds, image = big
    expected = transfer.transfer(ds, image)
    assert {-1, 0, 1, 2} == set(np.unique(expected["label"]))
    lazy = transfer.transfer(ds.chunk(x_atc=3000), image.chunk(x=400, y=700))
    assert lazy["label"].chunks is not None
    for name in ("label", "label_flags"):
        assert lazy[name].dtype == expected[name].dtype
        np.testing.assert_array_equal(lazy[name].values, expected[name].values)


def test_only_what_the_track_meets_is_read(big):
    import dask.array as da

    ds, image = big
    read = []

    def block(block_info=None):
        where = block_info[None]["array-location"]
        read.append(where)
        return image["surface_class"].values[tuple(slice(*w) for w in where)]

    chunks = ((300,) * 10, (300,) * 10)
    lazy = image[["surface_class"]].copy()
    lazy["surface_class"] = (
        ("y", "x"),
        da.map_blocks(block, chunks=chunks, dtype="i1", meta=np.empty((0, 0), "i1")),
    )
    out = transfer.transfer(ds, lazy)
    assert len(read) == len({str(w) for w in read}), "a chunk was made twice"
    assert len(read) < 45  # of 100
    whole = transfer.transfer(ds, image[["surface_class"]])
    np.testing.assert_array_equal(out["label"], whole["label"])


def test_same_labels_from_any_raster_order(big):
    ds, image = big
    flipped = image.isel(y=slice(None, None, -1)).transpose("x", "y")
    np.testing.assert_array_equal(
        transfer.transfer(ds, flipped)["label"], transfer.transfer(ds, image)["label"]
    )


def test_positions_unknown_and_nothing_at_all():
    ds = track([0.5, 0.5], [0.5, 0.5])
    ds["x"][1] = np.nan
    out = transfer.transfer(ds, codes(np.ones((2, 2))))
    assert out["label"].values.tolist() == [1, -1]
    assert out["label_flags"].values.tolist() == [0, 0]
    empty = transfer.transfer(ds.isel(x_atc=slice(0, 0)), codes(np.ones((2, 2))))
    assert empty["label"].size == 0


def test_bad_input_is_refused():
    ds, image = track([0.5], [0.5]), codes(np.ones((2, 2)))
    cases = [
        (ds, image.rename(surface_class="class"), "surface_class"),
        (ds, image.assign(surface_class=image.surface_class.astype("f4")), "integer codes"),
        (ds, image.assign(surface_class=image.surface_class + 6), "codes -1 to 2, got 7"),
        (ds, image.drop_attrs(), "no crs"),
        (ds, image.assign_attrs(crs="EPSG:4326"), "projected"),
        (ds, image.drop_vars("x"), "coordinates x and y"),
        (ds, image.assign_coords(x=[LEFT, LEFT + 11]), "square pixels"),
        (ds.drop_attrs(), image, "crs None"),
    ]
    for segments, scene, message in cases:
        with pytest.raises(SchemaError, match=message):
            transfer.transfer(segments, scene)
    with pytest.raises(ValueError, match="conflict"):
        transfer.transfer(ds, image, conflict="both")
    with pytest.raises(ValueError, match="transition"):
        transfer.transfer(ds, image, transition=-1)
    with pytest.raises(ValueError, match="shift"):
        transfer.transfer(ds, image, shift=(np.nan, 0.0))


def test_corrections_go_on_top_and_the_summary_counts():
    ds = track(np.full(4, 0.5), np.arange(4) + 0.5)
    name = f"{ds.attrs['granule']}/gt2r"
    x0 = float(ds["x_atc"][0])
    by_hand = Corrections((Correction(name, x0 + 2, x0 + 4, "thin_ice", "me", "seen"),))
    out = transfer.transfer(ds, codes(np.full((2, 3), 2)), corrections=by_hand)
    assert out["label"].values.tolist() == [2, 1, 2, -1]
    assert out["label_flags"].values.tolist() == [0, 128, 0, 1]
    counts = transfer.summary(out)
    assert counts["segments"] == 4
    assert (counts["open_water"], counts["thin_ice"], counts["thick_ice"], counts["unlabelled"]) == (
        2,
        1,
        0,
        1,
    )
    assert (counts["outside_scene"], counts["corrected_by_hand"], counts["cloud"]) == (1, 1, 0)


# ---- genuine photons and pixels ----


def genuine_pair(path: Path) -> tuple[xr.Dataset, xr.Dataset, xr.Dataset]:
    """Segments of a crop with classes and colours of its image: pale summer ice with melt ponds."""
    ds = from_photons(read_crop(path))
    colours = read_image(path)
    classes = class_map(colours, "threshold", cloud="none", shadow="none", land="none")
    x, y = Transformer.from_crs(4326, 3413, always_xy=True).transform(ds["longitude"], ds["latitude"])
    ds = ds.assign(x=("x_atc", x), y=("x_atc", y))
    return ds.assign_attrs(crs="EPSG:3413", granule=path.stem, beam="gt1l"), classes, colours


def test_genuine_crops_are_labelled_and_drawn(real_data, tmp_path):
    from is2ice.reports.plot_labels import draw_labels

    paths = sorted((real_data / "atl03_s2_crops").glob("*/*_ATL03_*.csv"))
    assert len(paths) == 9
    for path in paths:
        ds, classes, colours = genuine_pair(path)
        out = transfer.transfer(ds, classes, transition=0)
        # The crops were cut around the tracks: nearly every segment lies on its image.
        inside = (out["label_flags"].values & 1) == 0
        assert inside.mean() > 0.9, path.name
        # Against rasterio's own lookup of the same positions, pixel by pixel.
        to_utm = Transformer.from_crs(4326, classes.attrs["crs"], always_xy=True)
        east, north = to_utm.transform(out["longitude"].values, out["latitude"].values)
        column = np.floor((east - (classes.x.values[0] - 5)) / 10).astype(int)
        row = np.floor(((classes.y.values[0] + 5) - north) / 10).astype(int)
        expected = np.full(out.sizes["x_atc"], -1)
        expected[inside] = classes["surface_class"].values[row[inside], column[inside]]
        np.testing.assert_array_equal(out["label"].values, expected)
        figure = draw_labels(out, classes, colours, across=60.0, path=tmp_path / f"{path.stem}.png")
        assert len(figure.axes) >= 5
        assert (tmp_path / f"{path.stem}.png").stat().st_size > 20_000

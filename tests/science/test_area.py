"""Areas of every kind select the same positions; wrong ones are refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
from shapely.geometry import MultiPolygon, Polygon, mapping

from is2ice.errors import CatalogError
from is2ice.io.catalogs.areas import area
from is2ice.science.area import area_of, area_shape, in_area

TRIANGLE = Polygon([(10.0, 70.0), (20.0, 70.0), (10.0, 80.0)])
LONGITUDE = np.array([11.0, 19.0, 10.0, 25.0, np.nan, 371.0])
LATITUDE = np.array([71.0, 79.0, 75.0, 71.0, 71.0, 71.0])
INSIDE = [True, False, True, False, False, True]


def test_a_polygon_of_every_kind_selects_the_same_positions(tmp_path):
    import geopandas

    frame = geopandas.GeoDataFrame(geometry=[TRIANGLE], crs="EPSG:4326")
    (tmp_path / "a.geojson").write_text(json.dumps(mapping(TRIANGLE)))
    (tmp_path / "b.geojson").write_text(frame.to_json())
    frame.to_file(tmp_path / "c.gpkg")
    for value in (
        *(TRIANGLE, TRIANGLE.wkt, mapping(TRIANGLE), frame, frame.geometry, json.loads(frame.to_json())),
        *(tmp_path / "a.geojson", str(tmp_path / "b.geojson"), tmp_path / "c.gpkg"),
    ):
        assert in_area(LONGITUDE, LATITUDE, area(value)).tolist() == INSIDE
    assert area("weddell_sea") == area_of((-60.0, -78.5, 20.0, -55.0))
    assert area(area(TRIANGLE)) == area(TRIANGLE)  # a checked area stays as it is


def test_a_projected_frame_is_in_degrees():
    import geopandas

    frame = geopandas.GeoSeries(
        [Polygon([(1e5, -1e6), (1e6, -1e6), (1e6, -2e6), (1e5, -2e6)])], crs="EPSG:3976"
    )
    west, south, east, north = area_shape(area_of(frame)).bounds
    assert (round(west), round(east)) == (135, 177)
    assert -82 < south < north < -69


@pytest.mark.parametrize("ring", [(170.0, 190.0), (-190.0, -170.0), (170.0, -170.0)])
def test_polygons_that_cross_180(ring):
    west, east = ring
    square = Polygon([(west, -75.0), (east, -75.0), (east, -70.0), (west, -70.0)])
    found = in_area(np.array([175.0, -175.0, 160.0, 0.0]), np.full(4, -72.0), area_of(square))
    assert found.tolist() == [True, True, False, False]


def test_holes_and_parts_are_kept():
    hole = [(12.0, 71.0), (14.0, 71.0), (14.0, 73.0), (12.0, 73.0)]
    both = MultiPolygon([Polygon(TRIANGLE.exterior, [hole]), Polygon([(0, 0), (1, 0), (1, 1)])])
    found = in_area(np.array([13.0, 11.0, 0.9]), np.array([72.0, 71.0, 0.5]), area_of(both))
    assert found.tolist() == [False, True, True]


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("POINT (1 2)", "expected polygons with an area, got Point"),
        ("POLYGON ((nonsense", "expected well-known text"),
        (Polygon([(0, 0), (5e5, 0), (5e5, 5e5)]), "expected degrees of longitude and latitude"),
        ({"type": "Feature", "geometry": None}, "expected polygons with an area"),
        ({"type": "FeatureCollection", "features": None}, "expected polygons of GeoJSON"),
        ({"type": "FeatureCollection", "features": [1]}, "expected polygons of GeoJSON"),
        ({"type": "Polygon"}, "expected polygons of GeoJSON"),
        ({"type": "Nonsense", "coordinates": []}, "expected polygons of GeoJSON"),
        ({}, "expected polygons of GeoJSON"),
        ((1, 2, 3), r"expected \(west, south, east, north\)"),
    ],
)
def test_what_is_no_area_is_refused(value, why):
    with pytest.raises(ValueError, match=why):
        area_of(value)


def test_an_edge_around_the_earth_is_no_jump_at_180_degrees():
    cap = Polygon([(-180, -90), (180, -90), (180, -60), (-180, -60)])
    assert in_area(np.array([0.0, 179.0, 0.0]), np.array([-70.0, -89.0, -59.0]), area_of(cap)).tolist() == [
        True,
        True,
        False,
    ]


def test_a_word_is_a_file_or_a_sea(tmp_path):
    with pytest.raises(CatalogError, match="neither a file of polygons nor a sea; known seas are amundsen"):
        area("narnia")
    (tmp_path / "x.geojson").write_text("{")
    with pytest.raises(ValueError, match="not JSON"):
        area(tmp_path / "x.geojson")


def test_a_track_is_cut_by_a_polygon_as_by_its_box(tmp_path):
    """In a granule and in a store; the polygon is part of what a run records."""
    import is2ice

    whole = is2ice.open_track(is2ice.sample(), "gt1r").load()
    middle = float(whole.latitude.median())
    west, east = float(whole.longitude.min()) - 1, float(whole.longitude.max()) + 1
    box = (west, middle, east, middle + 1.0)
    square = Polygon([(west, middle), (east, middle), (east, middle + 1.0), (west, middle + 1.0)])
    boxed = is2ice.open_track(is2ice.sample(), "gt1r", bbox=box)
    cut = is2ice.open_track(is2ice.sample(), "gt1r", bbox=square)
    assert 0 < cut.sizes["x_atc"] < whole.sizes["x_atc"]
    assert cut.identical(boxed.assign_attrs(cut.attrs))
    options = is2ice.Options(bbox=square, until="segments")
    assert is2ice.Options.from_parameters(json.loads(json.dumps(options.parameters()))) == options
    assert is2ice.run(is2ice.sample(), tmp_path / "s.zarr", beams="gt1r", options=options, progress=False).ok
    stored = is2ice.open_track(tmp_path / "s.zarr")
    np.testing.assert_array_equal(stored.isel(beam=0).n_photons, cut.isel(beam=0).n_photons)

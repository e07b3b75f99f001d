"""Scores against truth, with answers worked out by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr

from is2ice import twin
from is2ice.science.metrics import Confusion, Errors

NAN = float("nan")


def make_truth(classes, *, x0=1000.0, beam="gt1r", granule="G", footprint=None, edge=None):
    """Truth of one beam: sea surface .10 m; freeboard .5, .1 and 0 m by class."""
    classes = np.array(classes, "i1")
    freeboard = np.array([0.5, 0.1, 0.0], "f4")[classes]
    n = classes.size
    return xr.Dataset(
        {
            "point_class": ("x_atc", classes),
            "footprint_class": ("x_atc", np.array(classes if footprint is None else footprint, "i1")),
            "footprint_height": ("x_atc", freeboard),
            "h_ref": ("x_atc", np.full(n, 0.10)),
            "freeboard": ("x_atc", freeboard),
            "edge_distance": ("x_atc", np.full(n, 100.0, "f4") if edge is None else np.array(edge, "f4")),
        },
        {"x_atc": x0 + 2.0 * np.arange(n)},
        {"beam": beam, "granule": granule},
    )


def make_result(classes, *, x0=1000.0, beam="gt1r", granule="G", **other):
    n = len(classes)
    data = {"surface_class": ("x_atc", np.array(classes, "i1"))}
    data |= {name: ("x_atc", np.asarray(values)) for name, values in other.items()}
    return xr.Dataset(
        data, {"x_atc": x0 + 2.0 * np.arange(n)}, {"beam": beam, "granule": granule, "segment_length": 2.0}
    )


def test_classes_by_hand():
    truth = make_truth([0, 0, 0, 0, 1, 1, 1, 2, 2, 2])
    s = twin.score(make_result([0, 0, 1, -1, 1, 1, 2, 2, 2, 1]), truth)
    c = s.all.point
    assert c.matrix.tolist() == [[2, 1, 0, 1], [0, 2, 1, 0], [0, 1, 2, 0]]
    assert (c.n, c.unlabelled, s.outside) == (10, 1, 0)
    np.testing.assert_allclose(c.precision, [2 / 2, 2 / 4, 2 / 3])
    np.testing.assert_allclose(c.recall, [2 / 4, 2 / 3, 2 / 3])  # the unlabelled one is missed
    np.testing.assert_allclose(c.recall_labelled, [2 / 3, 2 / 3, 2 / 3])
    # F1 = 2 TP / (true + predicted): 4 / (4 + 2), 4 / (3 + 4), 4 / (3 + 3)
    np.testing.assert_allclose(c.f1, [4 / 6, 4 / 7, 4 / 6])
    assert c.macro_f1 == pytest.approx((4 / 6 + 4 / 7 + 4 / 6) / 3)
    assert c.accuracy == pytest.approx(0.6)
    assert c.accuracy_labelled == pytest.approx(6 / 9)
    assert c.coverage == pytest.approx(0.9)


def test_absent_class_is_left_out_of_the_mean_but_a_false_one_counts():
    truth = make_truth([0, 0, 2, 2])
    right = twin.score(make_result([0, 0, 2, 2]), truth).all.point
    assert right.macro_f1 == 1.0
    assert np.isnan(right.f1[1])
    # Thin ice is predicted though there is none: its F1 is 0 and it counts.
    wrong = twin.score(make_result([0, 0, 2, 1]), truth).all.point
    assert wrong.macro_f1 == pytest.approx((1.0 + 0.0 + 2 / 3) / 3)


def test_nothing_labelled_is_all_missed():
    c = twin.score(make_result([-1, -1, -1]), make_truth([0, 1, 2])).all.point
    assert c.unlabelled == 3
    assert c.accuracy == 0.0
    np.testing.assert_array_equal(c.recall, [0, 0, 0])
    assert np.isnan(c.precision).all()
    assert c.macro_f1 == 0.0


def test_point_and_footprint_and_boundary_apart():
    # Edge in the middle: 1 and 3 m away are boundary, 6 m too (at most 6 m), 7 m is not.
    truth = make_truth([0, 0, 2, 2], footprint=[0, 2, 2, 2], edge=[7.0, 1.0, 1.0, 6.0])
    s = twin.score(make_result([0, 2, 2, 0]), truth)
    assert s.all.point.matrix[0].tolist() == [1, 0, 1, 0]
    assert s.all.footprint.matrix[0].tolist() == [1, 0, 0, 0]
    assert s.all.footprint.matrix[2].tolist() == [1, 0, 2, 0]
    assert (s.interior.point.n, s.boundary.point.n) == (1, 3)
    assert s.interior.point.accuracy == 1.0
    assert s.boundary.point.accuracy == pytest.approx(1 / 3)
    wide = twin.score(make_result([0, 2, 2, 0]), truth, boundary=10.0)
    assert (wide.interior.point.n, wide.boundary.point.n) == (0, 4)
    assert np.isnan(wide.interior.point.accuracy)


def test_errors_by_hand():
    # Errors +1, -1, +3 cm with standard errors 1, 1, 1 cm; the fourth has no value.
    truth = make_truth([0, 0, 0, 0])
    s = twin.score(
        make_result(
            [0, 0, 0, 0],
            h_ref=[0.11, 0.09, 0.13, NAN],
            h_ref_uncertainty=[0.01, 0.01, 0.01, NAN],
            h_ref_flag=np.array([0, 0, 1, -1], "i1"),
            freeboard=[0.51, 0.49, 0.53, NAN],
            freeboard_uncertainty=[0.02, 0.02, 0.02, NAN],
        ),
        truth,
    )
    e = s.all.h_ref
    assert (e.n, e.possible) == (3, 4)
    assert e.coverage == pytest.approx(0.75)
    assert e.bias == pytest.approx(0.01)
    assert e.rmse == pytest.approx(np.sqrt((1 + 1 + 9) / 3) / 100)
    assert e.z_bias == pytest.approx(1.0)
    assert e.z_spread == pytest.approx(np.sqrt(11 / 3))
    d = e.to_dict()
    assert d["within_2_sigma"] == pytest.approx(2 / 3)
    f = s.all.freeboard
    assert f.bias == pytest.approx(0.01)
    assert f.z_spread == pytest.approx(np.sqrt((0.25 + 0.25 + 2.25) / 3))
    by = s.all.h_ref_by_flag
    assert list(by) == ["from_leads", "interpolated"]
    assert by["from_leads"].bias == pytest.approx(0.0)
    assert by["from_leads"].rmse == pytest.approx(0.01)
    assert by["interpolated"].bias == pytest.approx(0.03)
    assert s.all.freeboard_by_flag["from_leads"].n == 2


def test_zero_or_missing_uncertainty_gives_no_z():
    e = Errors.of(np.array([0.1, 0.2]), np.array([0.0, NAN]))
    assert (e.n, e.n_z) == (2, 0)
    assert np.isnan(e.z_spread)
    assert Errors.of(np.array([0.1])).n_z == 0


def test_measures_add_up():
    rng = np.random.default_rng(3)
    e, s = rng.normal(size=50), rng.uniform(0.5, 2, 50)
    whole, parts = Errors.of(e, s), Errors.of(e[:20], s[:20]) + Errors.of(e[20:], s[20:])
    assert parts.rmse == pytest.approx(whole.rmse)
    assert parts.z_spread == pytest.approx(whole.z_spread)
    t, p = rng.integers(0, 3, 50), rng.integers(-1, 3, 50)
    both = Confusion.of(t[:20], p[:20]) + Confusion.of(t[20:], p[20:])
    np.testing.assert_array_equal(both.matrix, Confusion.of(t, p).matrix)


def test_beams_are_scored_each_and_together():
    truth = {"gt1r": make_truth([0, 0, 1]), "gt3r": make_truth([2, 2, 2], beam="gt3r")}
    one, two = make_result([0, 0, 0]), make_result([2, 2, 1], beam="gt3r")
    cube = xr.concat([one, two], "beam").assign_coords(beam=["gt1r", "gt3r"])
    s = twin.score(cube, truth)
    assert list(s.beams) == ["gt1r", "gt3r"]
    assert s.n == 6
    assert s.beams["gt1r"].all.point.accuracy == pytest.approx(2 / 3)
    assert s.all.point.matrix.tolist() == [[2, 0, 0, 0], [1, 0, 0, 0], [0, 1, 2, 0]]
    np.testing.assert_array_equal(twin.score(two, truth).all.point.matrix, s.beams["gt3r"].all.point.matrix)


def test_segments_outside_the_truth_are_counted_not_scored():
    truth = make_truth([0, 0, 0], x0=1000.0)
    s = twin.score(make_result([1, 0, 0, 0, 1], x0=998.0), truth)
    assert (s.n, s.outside) == (3, 2)
    assert s.all.point.accuracy == 1.0


def test_truth_is_taken_at_the_centre_of_longer_segments():
    truth = make_truth([0, 1, 2, 2], x0=1000.0)
    result = make_result([0, 0], x0=1000.0).assign_coords(x_atc=[1000.0, 1004.0])
    result.attrs["segment_length"] = 4.0
    # Centres 1002 and 1006 lie on the lower edges of the second and the fourth cell.
    assert twin.truth_for(result, truth)["surface_class_truth"].values.tolist() == [1, 2]


def test_truth_for_has_the_shape_of_the_result(tmp_path):
    truth = make_truth([0, 1, 2])
    ds = twin.truth_for(make_result([0, 0, 0, 0]), truth)
    assert ds["surface_class_truth"].values.tolist() == [0, 1, 2, -1]
    np.testing.assert_allclose(ds["height_truth"].values, [0.6, 0.2, 0.1, NAN], rtol=1e-6)
    np.testing.assert_allclose(ds["freeboard_truth"].values, [0.5, 0.1, 0.0, NAN], rtol=1e-6)
    path = tmp_path / "truth.nc"
    truth.to_netcdf(path, group="gt1r", engine="h5netcdf")
    cube = make_result([0, 0, 0]).expand_dims(beam=["gt1r"])
    from_file = twin.truth_for(cube, path)
    assert from_file["surface_class_truth"].dims == ("beam", "x_atc")
    assert from_file["surface_class_truth"].values.tolist() == [[0, 1, 2]]
    assert twin.score(cube, path).n == 3


def test_only_what_the_result_holds_is_scored():
    truth = make_truth([0, 1, 2])
    result = make_result([0, 0, 0], h_ref=[0.1, 0.1, 0.1]).drop_vars("surface_class")
    s = twin.score(result, truth)
    assert s.all.point is None
    assert s.all.freeboard is None
    assert s.all.h_ref.rmse == pytest.approx(0.0)
    assert s.all.h_ref_by_flag == {}
    assert "h_ref" in s.table()


def test_wrong_input_raises():
    truth = make_truth([0, 1, 2])
    with pytest.raises(ValueError, match="none of surface_class"):
        twin.score(make_result([0, 0, 0]).drop_vars("surface_class"), truth)
    with pytest.raises(ValueError, match="no truth for beam gt2r; there is gt1r"):
        twin.score(make_result([0, 0, 0], beam="gt2r"), truth)
    with pytest.raises(ValueError, match="granule H, the truth of G"):
        twin.score(make_result([0, 0, 0], granule="H"), truth)


def test_dictionary_and_table():
    truth = make_truth([0, 0, 1, 2])
    s = twin.score(make_result([0, 0, 1, -1], freeboard=[0.5, 0.5, 0.1, NAN]), truth)
    d = json.loads(json.dumps(s.to_dict(), allow_nan=False))
    assert d["all"]["point"]["classes"]["open_water"]["recall"] == 0.0
    assert d["all"]["point"]["classes"]["open_water"]["precision"] is None
    assert d["all"]["point"]["unlabelled"] == 1
    assert d["all"]["freeboard"]["coverage"] == 0.75
    text = s.table()
    assert "4 segments with truth, 0 without" in text
    assert "unlabelled" in text
    row = next(line for line in text.splitlines() if line.startswith("open_water"))
    assert row.split() == ["open_water", "0", "0", "0", "1"]

"""Class codes of a user in the place of a classifier."""

from __future__ import annotations

import numpy as np
import pytest

import is2ice
from is2ice import schema

TRACK = schema.mock_segments(400)


def test_codes_become_classes_with_certainty():
    codes = np.resize(np.array([0, 1, 2, -1]), 400)
    made = is2ice.classify(TRACK, codes)
    schema.conform(made, "classified")
    assert made.attrs["classifier"] == "given"
    np.testing.assert_array_equal(made["surface_class"], codes)
    likely = made["class_probability"].values
    np.testing.assert_array_equal(likely[:3], np.eye(3))
    assert np.isnan(likely[3]).all()


def test_dimensions_may_be_in_another_order_and_lists_are_taken():
    cube = TRACK.expand_dims(beam=["gt1r", "gt2r"])
    codes = np.resize(np.array([0, 2, 1]), (2, 400))
    like = cube["n_photons"].copy(data=codes).transpose("x_atc", "beam")
    np.testing.assert_array_equal(is2ice.classify(cube, like)["surface_class"], codes)
    np.testing.assert_array_equal(is2ice.classify(cube, codes.tolist())["surface_class"], codes)


def test_codes_of_other_segments_are_refused(tmp_path):
    codes = TRACK["n_photons"].copy(data=np.zeros(400, int))
    np.testing.assert_array_equal(is2ice.classify(TRACK, codes)["surface_class"], 0)
    with pytest.raises(ValueError, match="their x_atc is not that of the segments"):
        is2ice.classify(TRACK, codes.assign_coords(x_atc=codes["x_atc"] + 800.0))
    with pytest.raises(ValueError, match="shape"):
        is2ice.classify(TRACK, codes.expand_dims(year=[2018, 2019]))
    with pytest.raises(ValueError, match="a folder made by"):  # a path is the folder of a model
        is2ice.classify(TRACK, tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        ([0, 1], r"shape \(400,\) of the segments, got \(2,\)"),
        (None, "got None"),
        (np.full(400, 7), r"got \[7\]"),
        (np.zeros(400), "type float64"),
    ],
)
def test_other_codes_are_refused(codes, message):
    with pytest.raises(ValueError, match=message):
        is2ice.classify(TRACK, codes)

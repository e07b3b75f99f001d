"""The vocabulary: faults are named all at once, and its table is current."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from is2ice import schema
from is2ice.errors import SchemaError

ALL = ("segments", "labels", "classified", "seasurface", "freeboard")


def test_mocks_conform():
    ds = schema.mock_segments(50, stages=ALL[1:])
    assert schema.conform(ds, *ALL) is ds
    schema.conform(schema.mock_segments(50, beam="gt2r"))
    schema.conform(schema.mock_photons(), "photons")


def test_all_faults_at_once():
    ds = schema.mock_segments(20, stages=ALL[1:])
    ds = ds.drop_vars("dac")
    ds["n_photons"] = ds.n_photons.astype("f4").assign_attrs(units="1")
    ds["height"] = ds.height.assign_attrs(units="cm")
    ds["latitude"] = (ds.latitude - 30).assign_attrs(ds.latitude.attrs)
    ds["surface_class"] = (ds.surface_class + np.int8(7)).assign_attrs(units="1")
    ds["label_flags"] = (ds.label_flags + np.uint16(4096)).assign_attrs(units="1")
    ds = ds.assign_coords(x_atc=ds.x_atc.values + np.r_[np.zeros(10), np.ones(10)])
    with pytest.raises(SchemaError) as caught:
        schema.conform(ds, *ALL)
    text = "\n".join(caught.value.faults)
    for part in (
        "dac: missing",
        "n_photons: dtype float32, expected int32",
        "height: units 'cm', expected 'm'",
        "latitude: 20 values outside [-90, 90]",
        "surface_class: flag values [7] not in",
        "label_flags: unknown flag bits 0x1000",
        "x_atc: units None",
        "x_atc: not a regular grid of 2 m (a step of 3 m)",
    ):
        assert part in text
    assert len(caught.value.faults) == 8
    assert str(caught.value).startswith("8 faults in mock")


def test_dims_and_infinite_values():
    ds = schema.mock_segments(5)
    ds["height"] = ds.height.expand_dims("beam")
    ds["mss"] = (ds.mss * np.inf).assign_attrs(units="m")
    with pytest.raises(SchemaError, match=r"mss: 5 infinite values") as caught:
        schema.conform(ds)
    assert "height: dims ('beam', 'x_atc')" not in str(caught.value)  # a beam dimension exists now
    assert "dims ('x_atc',), expected ('beam', 'x_atc')" in str(caught.value)


def test_renamed_and_decoded_variables_are_named():
    ds = schema.mock_segments(5).rename(h_mean="hmean")
    with pytest.raises(SchemaError, match=r"h_mean: missing .*; is it 'hmean'\?"):
        schema.conform(ds)
    import xarray as xr

    with pytest.raises(SchemaError, match=r"delta_time: decoded times .*open it with is2ice.open_track"):
        schema.conform(xr.decode_cf(schema.mock_segments(5)))
    with pytest.raises(TypeError, match=r"expected an xarray.Dataset, got int"):
        schema.conform(3)


def test_encoding_shards_are_whole_chunks():
    ds = schema.mock_segments(100_001)
    enc = schema.encoding(ds, chunk=1000, shard=16_000)["height"]
    assert enc["chunks"] == (1000,)
    assert enc["shards"][0] % 1000 == 0


def test_every_variable_is_described():
    for table in schema.STAGES.values():
        for name, var in table.items():
            assert var.long_name, name
            assert var.units, name
            if var.flag_masks:
                assert all(bit & (bit - 1) == 0 for bit in var.flag_masks)


def test_table_in_the_documents_is_current():
    page = Path(__file__).resolve().parents[1] / "stores" / "SCHEMA.md"
    assert page.read_text() == schema.markdown_table() + "\n", (
        "run: python -m is2ice schema > stores/SCHEMA.md"
    )


def test_length_of_segments():
    track = schema.mock_segments(50)
    track.attrs["segment_length"] = 10
    assert schema.segment_length(track) == 10.0
    bare = track.drop_attrs().assign_coords(x_atc=np.delete(np.arange(55) * 5.0, slice(20, 25)))
    assert schema.segment_length(bare) == 5.0
    assert schema.segment_length(bare.isel(x_atc=[0])) == schema.SEGMENT_LENGTH
    backwards = track.isel(x_atc=slice(None, None, -1)).drop_attrs(deep=False)
    with pytest.raises(SchemaError, match="x_atc: expected distances that increase"):
        schema.segment_length(backwards)
    with pytest.raises(SchemaError) as refused:
        schema.conform(backwards.drop_vars("height"))
    assert any("distances that increase" in fault for fault in refused.value.faults)
    assert any(fault.startswith("height: missing") for fault in refused.value.faults)
    for wrong in (0, "wide", np.nan, [2.0, 2.0]):
        with pytest.raises(SchemaError, match="segment_length"):
            schema.segment_length(track.assign_attrs(segment_length=wrong))

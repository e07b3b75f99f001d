"""The committed sample: intact, small, and made again by its command."""

from __future__ import annotations

import warnings
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray as xr

from is2ice import open_track, twin
from is2ice.twin import sample
from is2ice.workflows.track import one_track

FOLDER = Path(__file__).resolve().parents[2] / "sample_data"
GRANULE = FOLDER / "ATL03_20191116193412_07410510_006_01.h5"


def test_every_file_is_as_listed_and_all_is_small():
    assert sample.check_sample(FOLDER) == []
    assert (
        sum(p.stat().st_size for p in FOLDER.rglob("*") if p.is_file()) < 11e6
    )  # two labelled passes among them


def test_a_changed_file_is_named(tmp_path):
    (tmp_path / "a").write_bytes(b"1")
    (tmp_path / sample.SUMS).write_text("".join(f"{d}  {n}\n" for n, d in sample.hashes(tmp_path).items()))
    assert sample.check_sample(tmp_path) == []
    (tmp_path / "a").write_bytes(b"2")
    (tmp_path / "b").write_bytes(b"3")
    assert sample.check_sample(tmp_path) == ["a", "b"]


def test_the_chain_runs_on_it():
    track = one_track(GRANULE, "gt3r")
    score = twin.score(track, FOLDER / "truth" / "truth.nc")
    assert score.interior.point.accuracy > 0.9
    assert np.isfinite(track.freeboard).any()


@pytest.mark.slow
def test_same_seed_same_bytes_or_at_least_same_science(tmp_path):
    """Bit for bit on the kind of machine that made it; elsewhere a last bit may differ, the science may not."""
    made = sample.make_sample(tmp_path)
    listed = dict(line.split("  ", 1)[::-1] for line in (FOLDER / sample.SUMS).read_text().splitlines())
    assert made.keys() == listed.keys()
    again = sample.make_sample(tmp_path / "again")
    assert again == made  # same seed, same bytes, here
    if made != listed:
        got, expected = (open_track(f / GRANULE.name).load() for f in (tmp_path, FOLDER))
        assert abs(int(got.n_photons_all.sum()) / int(expected.n_photons_all.sum()) - 1) < 1e-3
        assert abs(float((got.h_core - expected.h_core).median())) < 1e-3


@pytest.mark.parametrize("path", sorted(FOLDER.glob("ATL*.h5")), ids=lambda p: p.name[:5])
def test_netcdf4_reads_every_group(path):
    """As of genuine granules; it refuses a file in which a variable names but one of its dimensions."""
    groups = xr.open_groups(path, engine="netcdf4", decode_times=False, mask_and_scale=False)
    with h5py.File(path) as f:
        for name, ds in groups.items():
            for variable in ds.variables:
                held = f[name][str(variable)]
                if held.dtype.kind != "S":
                    np.testing.assert_array_equal(ds[variable].values, held[()])
        assert len(groups) == 1 + sum(isinstance(f[n], h5py.Group) for n in names_of(f))


def names_of(f: h5py.File) -> list[str]:
    names: list[str] = []
    f.visit(names.append)
    return names


@pytest.mark.parametrize(
    ("product", "group", "sizes"),
    [
        ("ATL03", "gt1r/geolocation", {"delta_time": 398, "ds_surf_type": 5, "ds_xyz": 3}),
        ("ATL07", "gt1r/sea_ice_segments/stats", {"delta_time": 874, "ds_si_hist_bins": 221}),
        ("ATL10", "gt1r/reference_surface_section", {"delta_time": 1, "ds_si_hist_bins": 161}),
    ],
)
def test_h5netcdf_opens_groups_by_their_scales(product, group, sizes):
    (path,) = FOLDER.glob(f"{product}*.h5")
    with xr.open_dataset(path, engine="h5netcdf", group=group, phony_dims="sort") as ds:
        assert ds.sizes == sizes


@pytest.mark.parametrize(("product", "name"), [("ATL03", "h_ph"), ("ATL10", "beam_fb_height")])
def test_icepyx_reads_it(product, name):
    read = pytest.importorskip("icepyx.core.read")
    (path,) = FOLDER.glob(f"{product}*.h5")
    reader = read.Read(str(path))
    assert (reader.product, reader.variables.version) == (product, "006")
    reader.variables.append(beam_list=["gt1r"], var_list=[name])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ds = reader.load()
    with h5py.File(path) as f:
        held = f[reader.variables.wanted[name][0]][()]
    assert int(ds["rgt"].values.ravel()[0]) == 741
    got = ds[name].values.ravel()
    assert np.isfinite(got).sum() > 500
    np.testing.assert_array_equal(got[np.isfinite(got)], held[held < 1e30])


def test_the_sample_holds_no_links():
    """Wheels follow links, and then leave out what these lead to."""
    assert [p for p in FOLDER.rglob("*") if p.is_symlink()] == []

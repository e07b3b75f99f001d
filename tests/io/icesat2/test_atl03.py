"""The ATL03 reader: genuine files, the lazy cube against the eager path, and damaged input."""

from __future__ import annotations

import pickle
import shutil
import tracemalloc
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray as xr

from is2ice import schema
from is2ice.errors import GranuleError, NoSignalError, TransitionOrbitError
from is2ice.io.icesat2.atl03 import Granule, Subset
from is2ice.io.icesat2.lazy_cube import open_cube
from is2ice.twin.icesat2.flat_beam import write_beam

SEA_ICE = "ATL03_20181014002445_02350104_006_02_gt1l.h5"


@pytest.fixture(scope="session")
def genuine(real_data) -> Path:
    return real_data / "atl03" / SEA_ICE


@pytest.fixture(scope="session")
def flat(tmp_path_factory) -> Path:
    """About 60,000 photons of one strong beam, 4.7 km."""
    return write_beam(tmp_path_factory.mktemp("flat") / "ATL03_20191104195311_05940510_006_01.h5", 60_000)


@pytest.fixture
def damaged(flat, tmp_path):
    """A copy to damage: call with a function of the open file."""

    def make(change) -> Path:
        path = tmp_path / flat.name
        shutil.copy(flat, path)
        with h5py.File(path, "r+") as f:
            change(f)
        return path

    return make


# -- the genuine granule ----------------------------------------------------------------------------------
def test_genuine_photons(genuine):
    g = Granule(genuine)
    assert (g.release, g.rgt, g.cycle, g.region) == ("006", 235, 1, 4)
    assert g.beams == ("gt1l",)
    assert g.orientation == 1  # from the group's attributes: there is no orbit_info
    assert (g.spot("gt1l"), g.strength("gt1l")) == (6, "weak")
    ph = g.photons("gt1l")
    schema.conform(ph, "photons")
    assert ph.sizes["photon"] == 2909
    codes, counts = np.unique(ph.signal_conf, return_counts=True)
    assert dict(zip(codes.tolist(), counts.tolist(), strict=True)) == {0: 8, 1: 223, 4: 2678}
    assert np.unique(ph.pulse).size == 1097


def test_genuine_segments_equal_plain_numpy(genuine):
    with h5py.File(genuine) as f:
        geo, hts = f["gt1l/geolocation"], f["gt1l/heights"]
        x = np.repeat(geo["segment_dist_x"][:], geo["segment_ph_cnt"][:]) + hts["dist_ph_along"][:]
        h = hts["h_ph"][:].astype("f8")
        keep = (hts["signal_conf_ph"][:, 2] >= 3) & (hts["quality_ph"][:] == 0)
        cor = f["gt1l/geophys_corr"]
        mid = geo["reference_photon_lat"][:]
        assert (cor["dem_flag"][:] == 3).all()
        total = sum(cor[k][:].astype("f8") for k in ("dem_h", "tide_ocean", "tide_equilibrium", "dac"))
        row = geo["ph_index_beg"][:] - 1 + geo["reference_photon_index"][:] - 1
        np.testing.assert_array_equal(hts["lat_ph"][:][row], mid)  # the 1-based convention of the product
        node_x = x[row]
    ds = Granule(genuine).track("gt1l")
    schema.conform(ds)
    cell = np.floor(x / 2.0).astype(int)
    filled = ds.where(ds.n_photons > 0, drop=True)
    np.testing.assert_array_equal(filled.x_atc.values, np.unique(cell[keep]) * 2.0)
    for k in np.unique(cell[keep]):
        got = ds.sel(x_atc=2.0 * k)
        assert float(got.h_mean) == pytest.approx(h[keep & (cell == k)].mean(), abs=1e-6)
        middle = np.median(h[keep & (cell == k)])
        assert float(got.h_median) == pytest.approx(middle, abs=1e-6)
        core = keep & (cell == k) & (np.abs(h - middle) <= 0.5)
        assert float(got.h_core) == pytest.approx(h[core].mean(), abs=1e-6)
        assert int(got.n_photons_all) == (cell == k).sum()
    # Corrections at the middle of inner cells by NumPy's own interpolation.
    inner = filled.sel(x_atc=slice(node_x[4] + 2, node_x[-1] - 2))
    expected = inner.h_core - np.interp(inner.x_atc + 1, node_x, total) - inner.first_photon_bias
    np.testing.assert_allclose(inner.height, expected, atol=2e-6)
    assert 0.0 < float(filled.height.mean()) < 1.0


def test_genuine_gap_stays_empty(genuine):
    ds = Granule(genuine).track("gt1l")
    centre = ds.x_atc + 1
    gap = (centre > 9_834_050) & (centre < 10_236_900)
    assert int(gap.sum()) > 201_000
    inside = ds.where(gap, drop=True)
    for name in ("n_photons", "n_photons_all", "n_pulses"):
        assert int(inside[name].sum()) == 0
    for name in ("h_mean", "height", "latitude", "mss", "background_rate", "first_photon_bias"):
        assert inside[name].isnull().all(), name
    assert any("403 km" in note for note in ds.attrs["notes"])
    assert any("no orbit_info" in note for note in ds.attrs["notes"])
    assert any("no ancillary_data" in note for note in ds.attrs["notes"])


def test_genuine_background_is_found_in_the_uncut_table(genuine):
    """11,378 records for 2,909 photons: each segment finds those of its own time."""
    ds = Granule(genuine).track("gt1l")
    filled = ds.where(ds.n_photons > 0, drop=True)
    with h5py.File(genuine) as f:
        b = f["gt1l/bckgrd_atlas"]
        expected = np.interp(filled.delta_time, b["delta_time"][:] + 0.0025, b["bckgrd_rate"][:])
    np.testing.assert_allclose(filled.background_rate, expected, rtol=1e-5)
    assert any("background was not cut with the photons (11,378 records)" in n for n in ds.attrs["notes"])


def test_genuine_land_is_refused(real_data):
    said = r"6,327 are of sea-ice confidence below 3 \(signal_conf_ph\[:, 2\]\).*-1: 6,327.*sea-ice mask"
    with pytest.raises(NoSignalError, match=said):
        Granule(real_data / "atl03" / "land_clip_gt1r.h5").track("gt1r")


# -- lazy and eager ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("chunks", [333, 1000, 16_384])
def test_lazy_equals_eager_bit_for_bit(flat, chunks):
    eager = Granule(flat).track("gt2r", block=500)
    lazy = open_cube(flat, chunks=chunks)
    assert lazy.chunks["x_atc"][0] == min(chunks, eager.sizes["x_atc"])
    loaded = lazy.compute(scheduler="threads").sel(beam="gt2r")
    for name in eager.data_vars:
        assert eager[name].dtype == loaded[name].dtype
        assert eager[name].values.tobytes() == loaded[name].values.tobytes(), name


def test_sound_photons_are_those_that_the_slow_way_gives(flat, genuine, monkeypatch):
    """Photons looked at in one pass, and by the functions that mend, are the same to the bit."""
    for path in (flat, genuine):
        with Granule(path) as granule:
            beam = granule.beams[0]
            fast = granule.track(beam)
        with monkeypatch.context() as patched, Granule(path) as granule:
            patched.setattr(Granule, "_sound", lambda *_: None)
            slow = granule.track(beam)
        for name in slow.variables:
            assert fast[name].values.tobytes() == slow[name].values.tobytes(), name
        assert fast.attrs["notes"] == slow.attrs["notes"]


def test_a_selection_reads_only_its_own_photons(flat, monkeypatch):
    read = []
    real = Granule._read

    def spy(self, beam, table, g0, g1):
        read.append(int(table.count[g0:g1].sum()))
        return real(self, beam, table, g0, g1)

    monkeypatch.setattr(Granule, "_read", spy)
    lazy = open_cube(flat, chunks=100)
    assert read == []  # opening reads no photon
    x = float(lazy.x_atc[1000])
    part = lazy.h_mean.sel(x_atc=slice(x, x + 99)).load()
    assert part.sizes["x_atc"] == 50
    assert len(read) == 1
    assert read[0] < 12_000  # of 60,000: the chunk and its margins


def test_subsets_equal_selections(flat):
    g = Granule(flat)
    whole = g.track("gt2r")
    x0 = float(whole.x_atc[700])
    for subset in (
        Subset(x_atc=(x0, x0 + 500)),
        Subset(time=(float(whole.delta_time[700]), float(whole.delta_time[1200]))),
        Subset(bbox=(-171, float(whole.latitude[1200]), -169, float(whole.latitude[700]))),
    ):
        part = g.track("gt2r", subset)
        used = part.where(part.n_photons_all > 0, drop=True)
        assert 200 < used.sizes["x_atc"] < 520
        same = whole.sel(x_atc=used.x_atc)
        for name in whole.data_vars:
            np.testing.assert_array_equal(used[name].astype("f8"), same[name].astype("f8"), err_msg=name)
    assert part.sizes["x_atc"] < 530


def test_a_subset_that_keeps_everything_loses_nothing(genuine):
    g = Granule(genuine)
    whole = g.track("gt1l")
    for subset in (Subset(time=(0.0, 1e9)), Subset(bbox=(-180, 80, 180, 90))):
        part = g.track("gt1l", subset)
        assert int((part.n_photons > 0).sum()) == int((whole.n_photons > 0).sum()) == 401


def test_subset_across_the_antimeridian(damaged):
    def turn(f):
        lon = f["gt2r/geolocation/reference_photon_lon"]
        lon[...] = (np.linspace(179.9, 180.1003, lon.shape[0]) + 180) % 360 - 180

    g = Granule(damaged(turn))
    both = g.track("gt2r", Subset(bbox=(179.95, -80, -179.95, -70)))
    west = g.track("gt2r", Subset(bbox=(179.95, -80, 180, -70)))
    east = g.track("gt2r", Subset(bbox=(-180, -80, -179.95, -70)))
    counts = [int(d.n_photons_all.sum()) for d in (west, east, both)]
    assert counts[0] + counts[1] == counts[2]
    assert min(counts) > 10_000
    lon = both.longitude.values[both.n_photons_all.values > 0]
    assert (np.abs(lon) > 179.94).all()


def test_other_ways_in(flat):
    """Path, text, open file, xarray engine, pickle."""
    expected = Granule(flat).track("gt2r")
    with flat.open("rb") as handle:
        got = Granule(handle).track("gt2r")
        xr.testing.assert_identical(got.drop_attrs(), expected.drop_attrs())
    ds = xr.open_dataset(flat, engine="is2ice", group="gt2r")
    assert ds.sizes == expected.sizes
    np.testing.assert_array_equal(ds.h_mean, expected.h_mean)
    cube = xr.open_dataset(flat, engine="is2ice")
    assert cube.h_mean.dims == ("beam", "x_atc")
    heights = xr.open_dataset(flat, engine="is2ice", group="gt2r/heights")
    assert heights.sizes["photon"] == int(expected.n_photons_all.sum())
    again = pickle.loads(pickle.dumps(Granule(str(flat))))
    assert again.beams == ("gt2r",)


def test_backend_claims_only_atl03(tmp_path):
    from is2ice.io.icesat2.xarray_backend import IS2IceBackendEntrypoint

    claim = IS2IceBackendEntrypoint().guess_can_open
    assert claim("s3://bucket/ATL03_20191104195311_05940510_007_01.h5")
    for other in ("ATL06_20191104195311_05940510_006_01.h5", "some.h5", "x.nc", b"ATL03", tmp_path):
        assert not claim(other)


def test_memory_is_bounded(tmp_path):
    """Four times the photons do not take four times the memory beyond the result."""
    peaks = []
    for n in (200_000, 800_000):
        g = Granule(write_beam(tmp_path / f"b{n}.h5", n))
        g.table("gt2r")
        tracemalloc.start()
        ds = g.track("gt2r", block=2000, workers=1)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        peaks.append(peak - ds.nbytes)
    assert peaks[1] < 1.7 * peaks[0]


def test_no_secret_of_a_url_is_shown():
    from is2ice.io.remote.source import Source

    source = Source.of("https://me:hush@host/a/ATL03_20191104195311_05940510_006_01.h5?token=hush#x")
    assert source.name == "https://host/a/ATL03_20191104195311_05940510_006_01.h5"
    assert "hush" not in repr(source)
    with pytest.raises(GranuleError) as caught:
        Source.of("http://me:hush@127.0.0.1:9/x.h5?token=hush").open_hdf5()
    assert "hush" not in str(caught.value)


# -- beams and orientation --------------------------------------------------------------------------------
def test_beams(genuine, flat):
    g = Granule(flat)
    assert g.resolve_beams() == g.resolve_beams("strong") == g.resolve_beams("all") == ("gt2r",)
    with pytest.raises(GranuleError, match=r"no weak beam in the file; it holds gt2r \(strong, spot 3\)"):
        g.resolve_beams("weak")
    with pytest.raises(GranuleError, match="unknown beam 'gt4r'"):
        g.resolve_beams("gt4r")
    with pytest.raises(GranuleError, match="no photons of gt1l in the file"):
        g.resolve_beams(["gt1l"])
    assert Granule(genuine).resolve_beams() == ("gt1l",)  # weak, but all there is
    with pytest.raises(GranuleError, match="no strong beam"):
        Granule(genuine).resolve_beams("strong")


def test_transition_orbit_is_refused(damaged):
    def turn(f):
        f["orbit_info/sc_orient"][...] = 2

    with pytest.raises(TransitionOrbitError, match="sc_orient is 2"):
        Granule(damaged(turn)).resolve_beams()


def test_contradicting_orientation_is_refused(damaged):
    def turn(f):
        f["orbit_info/sc_orient"][...] = 0

    with pytest.raises(GranuleError, match="contradicts itself"):
        Granule(damaged(turn))


# -- damaged input ----------------------------------------------------------------------------------------
def test_not_hdf5(tmp_path):
    path = tmp_path / "ATL03_20191104195311_05940510_006_01.h5"
    path.write_text("<html>401 Unauthorized</html>")
    with pytest.raises(GranuleError, match=r"not an HDF5 file \(it starts with b'<html>40'\)"):
        Granule(path)
    path.write_bytes(b"")
    with pytest.raises(GranuleError, match="it is empty"):
        Granule(path)
    with pytest.raises(GranuleError, match="no such file"):
        Granule(tmp_path / "nothing.h5")
    with pytest.raises(GranuleError, match="is a folder"):
        Granule(tmp_path)
    with pytest.raises(GranuleError, match="cannot open int"):
        Granule(3)


def test_truncated(flat, tmp_path):
    path = tmp_path / flat.name
    data = flat.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(GranuleError, match="truncated"):
        Granule(path)


def test_another_product(tmp_path):
    path = tmp_path / "ATL06_20191104195311_05940510_006_01.h5"
    with h5py.File(path, "w") as f:
        f.attrs["short_name"] = "ATL06"
        f["gt1l/land_ice_segments/h_li"] = np.zeros(3)
    with pytest.raises(GranuleError, match=r"not an ATL03 granule \(it says ATL06\).*land_ice_segments"):
        Granule(path)


@pytest.mark.parametrize("name", ["geolocation/segment_dist_x", "geolocation/reference_photon_lat"])
def test_missing_dataset(damaged, name):
    def remove(f):
        del f[f"gt2r/{name}"]

    with pytest.raises(GranuleError, match=f"gt2r/{name} is missing"):
        Granule(damaged(remove)).track("gt2r")


def test_missing_group(damaged):
    def remove(f):
        del f["gt2r/geolocation"]

    with pytest.raises(GranuleError, match="no beam can be read: gt2r lacks geolocation/ph_index_beg"):
        Granule(damaged(remove))


def test_missing_correction(damaged):
    def remove(f):
        del f["gt2r/geophys_corr/dac"]

    g = Granule(damaged(remove))
    with pytest.raises(
        GranuleError, match=r"geophys_corr/dac is missing.*corrections=\('tide_ocean', 'tide_eq"
    ):
        g.track("gt2r")
    ds = g.track("gt2r", corrections=("tide_ocean", "tide_equilibrium"))
    assert ds.dac.isnull().all()
    assert ds.height.notnull().any()
    assert ds.attrs["corrections"] == ["tide_ocean", "tide_equilibrium"]


def test_fill_in_a_correction_is_flagged(damaged):
    def fill(f):
        f["gt2r/geophys_corr/tide_ocean"][50:60] = 3.4028235e38

    ds = Granule(damaged(fill)).track("gt2r")
    hole = ds.where((ds.segment_quality.astype(int) & 8) > 0, drop=True)
    assert 100 < hole.sizes["x_atc"] < 130
    assert hole.height.isnull().all()
    assert hole.h_mean.notnull().all()


def test_missing_background_is_flagged(damaged):
    def remove(f):
        del f["gt2r/bckgrd_atlas"]

    ds = Granule(damaged(remove)).track("gt2r")
    filled = ds.where(ds.n_photons > 0, drop=True)
    assert filled.background_rate.isnull().all()
    assert (filled.segment_quality.astype(int) & 32 > 0).all()
    assert any("no background" in note for note in ds.attrs["notes"])


def test_no_mean_sea_surface_falls_back_on_the_geoid(damaged):
    def flag(f):
        f["gt2r/geophys_corr/dem_flag"][...] = 2

    ds = Granule(damaged(flag)).track("gt2r")
    assert ds.attrs["height_reference"] == "geoid"
    filled = ds.where(ds.n_photons > 0, drop=True)
    assert (filled.segment_quality.astype(int) & 16 > 0).all()
    expected = filled.h_core - filled.geoid - 0.1 - 0.01 + 0.1 - filled.first_photon_bias
    np.testing.assert_allclose(filled.height, expected, atol=2e-3)


def test_all_noise(damaged):
    def noise(f):
        f["gt2r/heights/signal_conf_ph"][...] = 0

    path = damaged(noise)
    with pytest.raises(
        NoSignalError, match=r"gt2r: .* none is left: .* are of sea-ice confidence below 3 .*thick cloud"
    ):
        Granule(path).track("gt2r")
    lazy = open_cube(path)  # lazily, absence is data
    assert int(lazy.n_photons.sum()) == 0


def test_distances_that_do_not_increase(damaged):
    def swap(f):
        f["gt2r/geolocation/segment_dist_x"][100] = 5.0

    notes = Granule(damaged(swap)).track("gt2r").attrs["notes"]  # one costs itself
    assert "gt2r: segment_dist_x of 1 of 237 geosegments cannot be: they are left out" in notes

    def merge(f):
        x = f["gt2r/geolocation/segment_dist_x"]
        x[100:] = x[100:] - 1000.0

    with pytest.raises(
        GranuleError, match=r"segment_dist_x does not increase, .* in \d+ of 237 rows: row 99"
    ):
        Granule(damaged(merge)).track("gt2r")


def test_zero_length_geosegments(damaged):
    def zero(f):
        f["gt2r/geolocation/segment_length"][...] = 0.0

    got = Granule(damaged(zero)).track("gt2r")
    assert int(got.n_photons_all.sum()) > 59_000  # lengths are not used, distances are

    def repeat(f):
        x = f["gt2r/geolocation/segment_dist_x"]
        x[51] = x[50]

    notes = Granule(damaged(repeat)).track("gt2r").attrs["notes"]
    assert "gt2r: segment_dist_x of 1 of 237 geosegments cannot be: they are left out" in notes


def test_index_beyond_the_photons(damaged):
    def shift(f):
        f["gt2r/geolocation/ph_index_beg"][-1] += 1000

    assert any(
        "points out of the file" in note for note in Granule(damaged(shift)).track("gt2r").attrs["notes"]
    )

    def rebase(f):
        f["gt2r/geolocation/ph_index_beg"][...] = f["gt2r/geolocation/ph_index_beg"][...] + 1_000_000

    shift = rebase
    with pytest.raises(GranuleError, match="ph_index_beg was not rebased"):
        Granule(damaged(shift)).track("gt2r")


def test_degraded_pointing_is_removed(damaged, flat):
    def degrade(f):
        f["gt2r/geolocation/podppd_flag"][100:110] = 3

    ds = Granule(damaged(degrade)).track("gt2r")
    whole = Granule(flat).track("gt2r")
    lost = int(whole.n_photons_all.sum()) - int(ds.n_photons_all.sum())
    with h5py.File(flat) as f:
        assert lost == f["gt2r/geolocation/segment_ph_cnt"][100:110].sum()
    assert ((ds.segment_quality.astype(int) & 4) > 0).sum() >= 98


def test_degraded_photons_go_even_where_some_photons_belong_to_no_geosegment(damaged):
    def change(f):
        g = f["gt2r/geolocation"]
        g["podppd_flag"][100:110] = 3
        g["segment_ph_cnt"][50] = 0  # its photons stay in the file
        g["ph_index_beg"][50] = 0

    g = Granule(damaged(change))
    ds, ph = g.track("gt2r"), g.photons("gt2r")
    assert int(ds.n_photons_all.sum()) == ph.sizes["photon"]
    x = g.table("gt2r").dist_x
    inside = ds.sel(x_atc=slice(x[100] + 2, x[110] - 4))
    assert int(inside.n_photons_all.sum()) == 0


def test_a_cube_does_not_mix_height_references(flat, tmp_path):
    path = tmp_path / flat.name
    shutil.copy(flat, path)
    with h5py.File(path, "r+") as f:
        f.copy("gt2r", "gt1r")
        f["gt1r"].attrs["atlas_spot_number"] = "5"
        f["gt1r/geophys_corr/dem_flag"][...] = 2
    with pytest.raises(GranuleError, match=r"different surfaces \(gt1r geoid, gt2r mss\)"):
        open_cube(path)
    cube = open_cube(path, reference="geoid")
    assert cube.attrs["height_reference"] == "geoid"
    g = Granule(path)
    g.track("gt1r")
    assert not any("gt1r" in note for note in g.track("gt2r").attrs["notes"])


def test_empty_geosegments_and_zero_index(damaged):
    """Geosegments with neither photons nor index, as the product writes them over dark water."""

    def empty(f):
        g = f["gt2r/geolocation"]
        g["segment_ph_cnt"][40:42] = 0
        g["ph_index_beg"][40:42] = 0
        g["reference_photon_index"][40:42] = 0

    ds = Granule(damaged(empty)).track("gt2r")
    x = Granule(damaged(empty)).table("gt2r").dist_x
    hole = ds.sel(x_atc=slice(x[40] + 2, x[42] - 4))
    assert int(hole.n_photons_all.sum()) == 0
    assert int(hole.n_pulses.sum()) > 40  # the laser fired; the pulses are placed by interpolation
    assert hole.latitude.notnull().all()
    assert hole.h_mean.isnull().all()


def test_empty_subset(flat):
    with pytest.raises(
        GranuleError, match=r"no geosegment lies in the subset \(bbox=\(10, 70, 20, 80\)\).*latitude -74"
    ):
        Granule(flat).track("gt2r", Subset(bbox=(10, 70, 20, 80)))
    with pytest.raises(ValueError, match="expected \\(west, south, east, north\\)"):
        Granule(flat).track("gt2r", Subset(bbox=(-180, -70, 180, -80)))


def test_wrong_options(flat):
    g = Granule(flat)
    with pytest.raises(ValueError, match="segment length"):
        g.track("gt2r", length=-2)
    with pytest.raises(ValueError, match="reference='ellipsoid'"):
        g.track("gt2r", reference="ellipsoid")
    with pytest.raises(ValueError, match="expected a choice of tide_ocean"):
        g.track("gt2r", corrections=["tide_earth"])
    with pytest.raises(GranuleError, match="first_photon_bias/gt2r is missing"):
        g.track("gt2r", first_photon="cal19")


@pytest.mark.parametrize("length", [1.0, 2.0, 10.0])
def test_any_segment_length(flat, length):
    ds = Granule(flat).track("gt2r", length=length)
    schema.conform(ds)
    assert ds.attrs["segment_length"] == length
    assert int(ds.n_photons_all.sum()) == Granule(flat).photons("gt2r").sizes["photon"]

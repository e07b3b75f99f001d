"""Odd, damaged and hostile granules: a number is right, absent with a flag or note, or refused with the reason."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
from contextlib import ExitStack, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import h5py
import numpy as np
import pytest

from is2ice.errors import GranuleError, NoSignalError
from is2ice.io.icesat2 import cleaning
from is2ice.io.icesat2.atl03 import Granule
from is2ice.io.icesat2.lazy_cube import open_cube
from is2ice.schema import Quality
from is2ice.science.first_photon_bias import from_cal19, from_model, renewal_table

SAMPLE = next((Path(__file__).resolve().parents[3] / "sample_data").glob("ATL03_*.h5"))
SECRET = b"another file's secret text"


@pytest.fixture
def edited(tmp_path):
    """A copy of the sample, changed by a function of the open file."""

    def edit(change) -> Path:
        path = tmp_path / SAMPLE.name
        shutil.copy(SAMPLE, path)
        path.chmod(0o644)
        with h5py.File(path, "r+") as f:
            change(f)
        return path

    return edit


@pytest.fixture(scope="module")
def whole():
    return Granule(SAMPLE).track("gt2r")


# -- numbers ------------------------------------------------------------------------------------------
@pytest.mark.parametrize("fill", [3.4028235e38, np.nan, np.inf, -9e9])
def test_a_place_that_cannot_be_costs_its_photon(edited, whole, fill):
    def change(f):
        f["gt2r/heights/dist_ph_along"][5000] = fill

    got = Granule(edited(change)).track("gt2r")
    assert int(whole.n_photons_all.sum() - got.n_photons_all.sum()) == 1
    np.testing.assert_allclose(got.height, whole.height, atol=0.2)
    assert int((got.segment_quality & 256 > 0).sum()) >= 1


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("geolocation/delta_time", 1e300),
        ("geolocation/delta_time", 6.5e7),
        ("geolocation/reference_photon_lat", -70.0),
        ("geolocation/reference_photon_lat", 500.0),
        ("geolocation/reference_photon_lon", np.nan),
        ("geophys_corr/dac", 99.0),
        ("geophys_corr/tide_ocean", np.inf),
        ("geolocation/segment_dist_x", 4.09e7),
        ("geolocation/segment_dist_x", np.nan),
        ("geolocation/reference_photon_index", 1_000_000),
        ("geolocation/segment_ph_cnt", -5),
        ("geolocation/segment_ph_cnt", 2**31 - 1),
        ("geolocation/ph_index_beg", 2**62),
        ("geolocation/ph_index_beg", -(2**62)),
        ("geolocation/ph_index_beg", 1),
    ],
)
def test_an_outlier_among_nodes_costs_itself_with_a_note(edited, whole, path, value):
    def change(f):
        f[f"gt2r/{path}"][150] = value

    got = Granule(edited(change)).track("gt2r")
    assert any("of 398 geosegments" in note for note in got.attrs["notes"])
    a, b = got.height.reindex_like(whole).values, whole.height.values
    same = got.n_photons.reindex_like(whole).values == whole.n_photons.values  # not beside what is left out
    both = np.isfinite(a) & np.isfinite(b) & same
    assert both.sum() > np.isfinite(b).sum() - 60
    assert np.nanmax(np.abs(a[both] - b[both])) < 0.1
    where = np.isfinite(got.latitude.reindex_like(whole).values) & np.isfinite(whole.latitude.values)
    np.testing.assert_allclose(
        got.latitude.reindex_like(whole).values[where], whole.latitude.values[where], atol=2e-4
    )


@pytest.mark.parametrize(
    ("column", "value"), [("signal_conf_ph", 9), ("quality_ph", 127), ("h_ph", -5000.0), ("h_ph", 20_000.0)]
)
def test_photons_of_unknown_codes_or_impossible_heights_are_no_signal(edited, whole, column, value):
    rows = slice(1000, 1100)

    def change(f):
        f[f"gt2r/heights/{column}"][rows] = value

    got = Granule(edited(change)).track("gt2r")
    assert int(got.n_photons.sum()) < int(whole.n_photons.sum())
    assert float(np.nanmax(np.abs(got.height - whole.height))) < 1.0


def test_heights_never_written_are_no_heights(edited):
    def change(f):
        f["gt2r/heights/h_ph"][...] = 0.0

    with pytest.raises(NoSignalError, match="without a height that can be"):
        Granule(edited(change)).track("gt2r")

    def part(f):
        f["gt2r/heights/h_ph"][10_000:20_000] = 0.0

    got = Granule(edited(part)).track("gt2r")
    assert float(np.nanmax(np.abs(got.height))) < 5.0
    assert 100 < int((got.segment_quality & 256 > 0).sum()) < 1000


def test_heights_of_another_surface_are_flagged(edited):
    def change(f):
        f["gt2r/heights/h_ph"][10_000:20_000] += 900.0

    got = Granule(edited(change)).track("gt2r")
    assert float(np.nanmax(np.abs(got.height))) < 5.0
    assert any("cannot be" in note and "flagged" in note for note in got.attrs["notes"])
    flagged = (got.segment_quality & Quality.HEIGHT_IMPOSSIBLE > 0).values
    assert flagged.any()
    assert not np.isfinite(got.height.values[flagged]).any()


def test_positions_of_geosegments_without_photons_mean_nothing(edited):
    def change(f):
        f["gt2r/geolocation/segment_ph_cnt"][200:210] = 0
        f["gt2r/geolocation/reference_photon_lat"][200:210] = 0.0

    table = Granule(edited(change)).table("gt2r")
    assert -75.3 < table.latitude.min() < table.latitude.max() < -75.1


def test_index_tables_that_contradict_each_other():
    first, count = np.arange(0, 1000, 10), np.full(100, 10)
    used, outside, doubled = cleaning.consistent_photons(first, count, 1000)
    assert (used & ~outside & ~doubled).all()
    count[50] = 500  # swallows those that follow: costs itself and, in doubt, its neighbour
    used, outside, doubled = cleaning.consistent_photons(first, count, 1000)
    assert list(np.flatnonzero(doubled)) == [50, 51]
    assert used.sum() == 98
    count[50], first[50] = 10, 995
    assert list(np.flatnonzero(cleaning.consistent_photons(first, count, 1000)[1])) == [50]


def test_the_longest_increasing_part_is_kept():
    x = np.arange(100.0)
    x[[10, 40, 41, 99]] = 1e6, -5.0, np.nan, 0.5
    keep = cleaning.increasing_rows(x)
    assert list(np.flatnonzero(~keep)) == [10, 40, 41, 99]


# -- calibration --------------------------------------------------------------------------------------
@pytest.mark.parametrize("dead", [-3.0, 0.0, np.nan, 1e9])
def test_a_dead_time_that_cannot_be_is_refused(dead):
    with pytest.raises(ValueError, match="dead time"):
        renewal_table(dead)
    with pytest.raises(ValueError, match="dead time"):
        from_model("strong", dead)


def test_a_negative_dead_time_in_a_file_does_not_end_the_process(edited):
    def change(f):
        f["ancillary_data/calibrations/dead_time/gt2r/dead_time"][...] = -3e-9
        del f["ancillary_data/calibrations/first_photon_bias"]

    got = Granule(edited(change)).track("gt2r")
    assert got.attrs["first_photon"] == "model"
    assert any("dead times of 16 of 16 channels" in note for note in got.attrs["notes"])


def test_calibration_of_another_sign_is_not_used(edited):
    def change(f):
        table = f["ancillary_data/calibrations/first_photon_bias/gt2r/ffb_corr"]
        table[...] = -table[...]

    path = edited(change)
    got = Granule(path).track("gt2r")
    assert got.attrs["first_photon"] == "model"
    assert any("another sign" in note for note in got.attrs["notes"])
    with pytest.raises(GranuleError, match="another sign"):
        Granule(path).track("gt2r", first_photon="cal19")


def test_tables_with_one_width_are_refused():
    axis = np.array([2.8, 3.0])
    with pytest.raises(ValueError, match="axis does not increase"):
        from_cal19(2.9, axis, np.ones((2, 5)) * np.arange(5), np.ones((2, 1)), np.ones((2, 5, 1)))


# -- reasons and beams --------------------------------------------------------------------------------
def test_degraded_pointing_is_the_reason(edited):
    def change(f):
        f["gt2r/geolocation/podppd_flag"][...] = 2

    with pytest.raises(NoSignalError, match=r"podppd_flag.*degraded"):
        Granule(edited(change)).track("gt2r")


def test_an_empty_orientation_is_no_turn(edited):
    def change(f):
        del f["orbit_info/sc_orient"]
        f["orbit_info/sc_orient"] = np.zeros(0, "i1")

    granule = Granule(edited(change))
    assert granule.strength("gt2r") == "strong"
    assert any("sc_orient is empty" in note for note in granule.notes)


def test_a_bad_beam_is_noted_and_the_others_open(edited):
    def change(f):
        del f["gt1r/geophys_corr"]
        del f["gt3r/heights/quality_ph"]

    path = edited(change)
    cube = open_cube(path)
    assert list(cube.beam.values) == ["gt2r"]
    assert sum("is left out" in note for note in cube.attrs["notes"]) == 2
    with pytest.raises(GranuleError, match="gt3r/heights/quality_ph is missing"):
        open_cube(path, ["gt3r"])


# -- other files, damage, bombs -----------------------------------------------------------------------
def _external_storage(f, other):
    h = f["gt2r/heights/h_ph"]
    n = h.shape[0]
    del f["gt2r/heights/h_ph"]
    f["gt2r/heights"].create_dataset("h_ph", (n,), "f4", external=[(str(other), 0, 4 * n)])


def _external_link(f, other):
    del f["gt2r/heights"]
    f["gt2r/heights"] = h5py.ExternalLink(str(other), "/gt2r/heights")


def _external_link_by_soft_link(f, other):
    f["away"] = h5py.ExternalLink(str(other), "/gt2r/heights")
    del f["gt2r/heights"]
    f["gt2r/heights"] = h5py.SoftLink("/away")


def _virtual(f, other):
    n = f["gt2r/heights/h_ph"].shape[0]
    del f["gt2r/heights/h_ph"]
    layout = h5py.VirtualLayout((n,), "f4")
    layout[:] = h5py.VirtualSource(str(other), "gt2r/heights/h_ph", (n,))
    f["gt2r/heights"].create_virtual_dataset("h_ph", layout)


@pytest.mark.parametrize("change", [_external_storage, _external_link, _external_link_by_soft_link, _virtual])
def test_no_other_file_is_opened(edited, tmp_path, change, monkeypatch):
    other = tmp_path / "other.bin"
    other.write_bytes(SECRET * 20_000)
    path = edited(lambda f: change(f, other))
    with pytest.raises(GranuleError) as caught:
        Granule(path).track("gt2r")
    assert SECRET.decode() not in str(caught.value)
    assert "not opened" in str(caught.value)
    # One's own master file of links is read where that is allowed.
    if change is _external_link:
        shutil.copy(SAMPLE, other)
        monkeypatch.setenv("IS2ICE_LINKED_FILES", "1")
        assert int(Granule(path).track("gt2r").n_photons.sum()) > 0


def test_a_link_to_a_pipe_does_not_hang(edited, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    path = edited(lambda f: _external_link(f, tmp_path / "pipe"))
    code = "import sys; from is2ice.io.icesat2.atl03 import Granule; Granule(sys.argv[1]).track('gt2r')"
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, timeout=120, check=False
    )
    assert "link to another file" in done.stderr


def test_declared_sizes_are_not_believed(edited):
    def change(f):
        n = f["gt2r/geolocation/segment_dist_x"].shape[0]
        del f["gt2r/bckgrd_atlas/delta_time"]
        f["gt2r/bckgrd_atlas"].create_dataset("delta_time", (2**40,), "f8", chunks=(n,))

    notes = Granule(edited(change)).table("gt2r").notes
    assert any("declares" in note and "bckgrd_atlas/delta_time" in note for note in notes)


def test_damage_names_file_and_dataset(edited):
    path = edited(lambda f: None)
    with h5py.File(path) as f:
        d = f["gt2r/heights/h_ph"]
        place = d.id.get_chunk_info_by_coord((0,)).byte_offset
    raw = bytearray(path.read_bytes())
    raw[place : place + 64] = bytes(64)
    path.write_bytes(raw)
    with pytest.raises(GranuleError, match=rf"{SAMPLE.stem}.*gt2r/heights/h_ph.*damaged.*fetch it again"):
        Granule(path).track("gt2r")


@pytest.fixture(params=["local", "http"])
def address(request):
    """How a granule is given: by its path, or by the address of a server that serves its folder."""
    from is2ice.twin.server.local_archive import LocalCloud

    if request.param == "local":
        yield str
        return
    with ExitStack() as stack:
        yield lambda path: f"{stack.enter_context(LocalCloud(path.parent, stac=False)).url}/{path.name}"


def test_nothing_of_another_file_gets_into_errors_receipts_or_store(
    edited, tmp_path, address, monkeypatch, capfd
):
    """Also where links are allowed for local masters: a granule of a server never has that right."""
    from is2ice.workflows.run import run

    monkeypatch.setenv("IS2ICE_LINKED_FILES", "0")
    (tmp_path / "secret").mkdir()
    other = tmp_path / "secret" / "other.bin"
    other.write_bytes(SECRET * 200_000)

    def change(f):
        for beam, kind in (
            ("gt1r", _external_storage),
            ("gt2r", _external_link_by_soft_link),
            ("gt3r", _virtual),
        ):
            kind(_Beam(f, beam), other)

    granule = address(edited(change))
    if granule.startswith("http"):
        monkeypatch.setenv("IS2ICE_LINKED_FILES", "1")
    store, texts = tmp_path / "store.zarr", []
    try:
        result = run(granule, str(store), beams="all", progress=False)
        texts.append(str(result))
    except GranuleError as error:
        texts.append(str(error))
    texts += [str(error) for error in _errors_of_beams(granule)]
    assert sum("not opened" in text for text in texts) >= 3
    files = [p for p in tmp_path.rglob("*") if p.is_file() and p != other and p.suffix != ".h5"]
    said = " ".join(texts) + "".join(capfd.readouterr())
    assert SECRET.decode() not in said
    assert not any(b"secret text" in p.read_bytes() for p in files)


class _Beam:
    """An open file whose gt2r is another beam."""

    def __init__(self, f, beam):
        self.f, self.beam = f, beam

    def __getitem__(self, path):
        return self.f[path.replace("gt2r", self.beam)]

    def __setitem__(self, path, value):
        self.f[path.replace("gt2r", self.beam)] = value

    def __delitem__(self, path):
        del self.f[path.replace("gt2r", self.beam)]


def _errors_of_beams(granule):
    for beam in ("gt1r", "gt2r", "gt3r"):
        try:
            with Granule(granule) as g:
                g.track(beam)
        except GranuleError as error:
            yield error


def test_a_body_without_end_is_not_taken(tmp_path, monkeypatch):
    """A server that declares 2^40 bytes: only what is asked for is taken, and links to it say what it is."""
    from is2ice.io.remote.range_file import RemoteFile

    class Endless(BaseHTTPRequestHandler):
        def do_GET(self):
            first, last = map(int, self.headers["Range"].removeprefix("bytes=").split("-"))
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{last}/{2**40}")
            self.send_header("Content-Length", str(2**40))
            self.send_header("Last-Modified", "Sat, 16 Nov 2019 19:34:12 GMT")
            self.end_headers()
            with suppress(OSError):
                for _ in range(64):
                    self.wfile.write(bytes(2**20))
            self.close_connection = True

        def log_message(self, *args): ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Endless)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with pytest.raises(GranuleError, match=r"a\.h5: "):
            RemoteFile(f"http://127.0.0.1:{server.server_port}/a.h5", "a.h5", seconds=0.1)
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("kilometres", [1e6, 1e9])
def test_a_track_longer_than_the_earth_takes_no_memory(edited, kilometres):
    def change(f):
        dist = f["gt2r/geolocation/segment_dist_x"]
        dist[...] = dist[0] + np.linspace(0.0, kilometres * 1e3, dist.shape[0])

    with pytest.raises(GranuleError, match="segment_dist_x"):
        Granule(edited(change)).track("gt2r")


# -- variants -----------------------------------------------------------------------------------------
def test_a_correction_that_jumps_away_is_left_out_and_lasting_jumps_are_found():
    x = np.arange(200) * 20.0
    smooth = 0.1 + 1e-4 * np.arange(200)
    few, half = smooth.copy(), smooth.copy()
    few[50:60] = 15.0
    half[100:] += 4.0
    outliers, left = cleaning.jumps(few, x)
    assert np.flatnonzero(outliers).tolist() == list(range(50, 60))
    assert not left.size
    outliers, left = cleaning.jumps(half, x)
    assert not outliers.any()
    np.testing.assert_allclose(left, [4.0], atol=1e-3)
    # A slope across a gap is no jump.
    outliers, left = cleaning.jumps(np.where(x > 2000, smooth + 3.0, smooth), np.where(x > 2000, x + 1e4, x))
    assert not outliers.any()
    assert not left.size


def test_what_stands_still_is_found():
    x = np.arange(50) * 20.0
    moved = np.full(49, 20.0)
    assert not cleaning.standing_rows(moved, x).any()
    moved[10:16] = 0.0
    assert np.flatnonzero(cleaning.standing_rows(moved, x)).tolist() == list(range(10, 17))


@pytest.mark.parametrize(
    ("path", "rows", "value", "said"),
    [
        ("geophys_corr/tide_ocean", slice(50, 60), 15.0, "tide_ocean of 10 of 398 geosegments jumps away"),
        (
            "geophys_corr/dem_h",
            slice(50, 60),
            -40.0,
            "mean sea surface .dem_h. of 10 of 398 geosegments jumps",
        ),
        ("geophys_corr/dac", slice(200, None), 5.0, "dac jumps by up to 5.* m, 1 times"),
        (
            "heights/dist_ph_along",
            slice(1000, 3000),
            -40.0,
            "dist_ph_along of photons is a fill, or stands still",
        ),
        ("bckgrd_atlas/bckgrd_rate", slice(None), 0.0, "background is 0 in all records"),
        ("heights/h_ph", slice(40_000, None), 0.0, "h_ph stands the same in many photons"),
    ],
)
def test_values_of_another_kind_are_noted(edited, path, rows, value, said):
    def change(f):
        f[f"gt2r/{path}"][rows] = value

    notes = Granule(edited(change)).track("gt2r").attrs["notes"]
    assert any(re.search(said, note) for note in notes), notes


def _as(path, change):
    """An edit that replaces a dataset of beam gt2r by a function of its values."""

    def edit(f):
        values = change(f[f"gt2r/{path}"][()])
        del f[f"gt2r/{path}"]
        f[f"gt2r/{path}"] = values

    return edit


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            _as("geolocation/segment_dist_x", np.float32),
            "segment_dist_x is stored as float32, expected float64",
        ),
        (_as("heights/h_ph", lambda v: v.astype("i2")), "h_ph is stored as int16, expected float32"),
        (_as("geolocation/segment_dist_x", lambda v: v / 1e3), "positions move 1e.03 m per m"),
        (_as("geolocation/reference_photon_lat", lambda v: v * 0), "positions move 0.6 m per m"),
        (_as("geolocation/reference_photon_lat", np.negative), "latitude 75.2 contradict region 10"),
        (_as("geolocation/reference_photon_lat", lambda v: v[::-1]), "latitude -75.2 contradict region 10"),
        (_as("geolocation/delta_time", lambda v: v[::-1]), "delta_time falls 397 times"),
        (
            _as("geolocation/delta_time", lambda v: v + 3.15e7),
            r"31,500,\d+ s after the time in the granule's name",
        ),
        (_as("bckgrd_atlas/delta_time", lambda v: v[::-1]), "background are not in the order of time"),
        (_as("bckgrd_atlas/bckgrd_rate", np.negative), "of background are fills or impossible"),
        (lambda f: f["gt2r/geolocation"].__delitem__("solar_elevation"), "no usable solar_elevation"),
    ],
)
def test_tables_that_contradict_each_other_or_the_name_are_noted(edited, change, said):
    notes = Granule(edited(change)).table("gt2r").notes
    assert any(re.search(said, note) for note in notes), notes
    assert not any(re.search(said, note) for note in Granule(SAMPLE).table("gt2r").notes)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_as("heights/dist_ph_along", np.negative), "dist_ph_along of .* lies outside of their geosegment"),
        (_as("heights/signal_conf_ph", lambda v: v + 100), "signal_conf_ph of 84,752 photons is no code"),
        (_as("heights/quality_ph", lambda v: np.where(v > 0, 99, v)), "quality_ph of .* is no code"),
        (_as("heights/ph_id_pulse", lambda v: v * 0 + 1), "ph_id_pulse stand still"),
    ],
)
def test_photons_of_unknown_codes_and_places_are_counted(edited, change, said):
    granule = Granule(edited(change))
    plan = granule.plan("gt2r")
    granule.block(plan, plan.k0, plan.n)
    assert any(re.search(said, note) for note in granule.notes_of("gt2r")), granule.notes_of("gt2r")


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("dead_time", lambda v: v[::-1]),
        ("dead_time", lambda v: v * 1000),
        ("strength", lambda v: v * 1000),
        ("width", lambda v: v * 1000),
        ("ffb_corr", lambda v: v * 0),
        ("ffb_corr", lambda v: v[..., ::-1]),
        ("ffb_corr", lambda v: v[:, ::-1]),
    ],
)
def test_tables_of_calibration_in_another_order_or_unit_are_not_used(edited, name, change):
    where = f"ancillary_data/calibrations/first_photon_bias/gt2r/{name}"

    def edit(f):
        f[where][...] = change(f[where][()])

    granule = Granule(edited(edit))
    assert granule.first_photon_bias("gt2r").source.startswith("model")
    assert any("from the model, not CAL-19: first-photon tables" in n for n in granule.notes_of("gt2r"))


@pytest.mark.parametrize("name", ["delta_time", "reference_photon_lat"])
def test_a_beam_whose_times_or_positions_stand_still_is_refused(edited, name):
    def change(f):
        for one in {name, name.replace("lat", "lon")}:
            f[f"gt2r/geolocation/{one}"][...] = 0.0

    with pytest.raises(GranuleError, match="no geosegment with photons has a position and a time"):
        Granule(edited(change)).table("gt2r")


def test_freeboards_that_cannot_be_are_flagged_and_noted(edited):
    from is2ice.workflows.options import Options
    from is2ice.workflows.track import one_track

    def change(f):
        h = f["gt2r/heights/h_ph"]
        h[20_000:] = h[20_000:] - 7.0

    track = one_track(edited(change), "gt2r", Options(method="crossfit"))  # which withholds none of them
    values = track["height"] - track["h_ref"]
    wrong = (values < -2.0).values
    assert wrong.any()
    assert not np.isfinite(track["freeboard"].values[wrong]).any()
    flagged = track["segment_quality"].values & Quality.FREEBOARD_IMPOSSIBLE > 0
    np.testing.assert_array_equal(flagged, wrong)
    assert any(f"freeboards of {wrong.sum():,} segments cannot be" in note for note in track.attrs["notes"])


# -- damaged photons, counted -----------------------------------------------------------------------------
def _note_with(ds, words: str) -> str:
    return next(note for note in ds.attrs["notes"] if words in note)


@pytest.mark.parametrize(("fill", "declared"), [(3.4028235e38, False), (np.nan, False), (-77.0, True)])
def test_scattered_fills_of_heights_are_counted(edited, whole, fill, declared):
    n = h5py.File(SAMPLE)["gt2r/heights/h_ph"].shape[0]
    rows = np.random.default_rng(1).random(n) < 0.1

    def change(f):
        h = f["gt2r/heights/h_ph"]
        h[...] = np.where(rows, np.float32(fill), h[()])
        if declared:
            h.attrs["_FillValue"] = np.float32(fill)

    granule = Granule(edited(change))
    got = granule.track("gt2r", block=500)  # blocks overlap, and photons count once
    assert f"h_ph of {rows.sum():,} photons is a fill" in _note_with(got, "h_ph")
    assert int(got.n_photons_all.sum()) < int(whole.n_photons_all.sum())
    assert float(np.nanmax(np.abs(got.height - whole.height))) < 1.0
    assert not any("h_ph" in note for note in whole.attrs["notes"])
    again = granule.track("gt2r")
    assert again.attrs["notes"] == got.attrs["notes"]
    assert again.drop_vars("x_atc").equals(got.drop_vars("x_atc"))


def test_damage_found_by_other_processes_and_by_lazy_cubes_is_said(edited, tmp_path, caplog):
    from is2ice.io.remote.location import location
    from is2ice.workflows.options import Options
    from is2ice.workflows.segment_blocks import Joined, Part
    from is2ice.workflows.track import load

    def change(f):
        f["gt2r/heights/h_ph"][::100] = np.nan
        f["gt2r/heights/dist_ph_along"][:10] = -1e9

    path, options = edited(change), Options()
    expected = Granule(path).track("gt2r", block=2000)
    assert len([n for n in expected.attrs["notes"] if "h_ph" in n or "dist_ph_along" in n]) == 2
    joined = Joined(location(tmp_path / "parts"), 2000, load)
    for number in range(2):
        joined.make(options, Part(path, "g", "gt2r", number))
    got = joined(path, "gt2r", options)
    assert sorted(got.attrs["notes"]) == sorted(expected.attrs["notes"])

    (part, *_) = (tmp_path / "parts").rglob("*-0.npz")
    part.write_bytes(part.read_bytes()[:1000])  # a full disk
    assert joined(path, "gt2r", options).equals(got)
    assert "a part is damaged" in caplog.text

    caplog.clear()
    cube = open_cube(path, "gt2r", chunks=1000)
    assert not any("h_ph" in note for note in cube.attrs["notes"])
    cube.load(scheduler="synchronous")
    assert caplog.text.count("is a fill or no possible value: these are left out") == 1
    assert caplog.text.count("dist_ph_along of photons is a fill") == 1


@pytest.mark.parametrize(("name", "value"), [("ph_id_pulse", 255), ("ph_id_pulse", 0), ("pce_mframe_cnt", 0)])
def test_pulses_that_cannot_be_are_mended_and_counted(edited, whole, name, value):
    with h5py.File(SAMPLE) as f:
        n = f["gt2r/heights/h_ph"].shape[0]
    rows = np.flatnonzero(np.random.default_rng(1).random(n) < 0.001)

    def change(f):
        f[f"gt2r/heights/{name}"][rows] = value

    got = Granule(edited(change)).track("gt2r")
    assert f"ph_id_pulse of {rows.size} photons cannot be" in _note_with(got, "ph_id_pulse")
    np.testing.assert_array_equal(got.n_photons, whole.n_photons)
    assert int((got.n_pulses != whole.n_pulses).sum()) <= 2 * rows.size
    assert abs(int(got.n_pulses.sum()) - int(whole.n_pulses.sum())) <= 2
    assert not any("pulse" in note for note in whole.attrs["notes"])


def test_pulses_are_mended_from_their_neighbours():
    number = np.repeat(np.arange(150, 450), 3)
    frame, pulse = (number // 200).astype("u4"), (number % 200 + 1).astype("u1")
    right, bad = cleaning.mended_pulses(frame, pulse)
    assert not bad.any()
    np.testing.assert_array_equal(right, number)
    rows = [0, 100, 101, 500, 899]  # the first of a pulse, too: that of the photon before
    damaged = pulse.copy()
    damaged[rows] = [201, 255, 0, 3, 250]
    got, bad = cleaning.mended_pulses(frame, damaged)
    assert np.flatnonzero(bad).tolist() == rows
    assert np.abs(got - number).max() <= 1
    everything, bad = cleaning.mended_pulses(frame, np.full_like(pulse, 255))
    assert bad.all()
    np.testing.assert_array_equal(everything, frame * 200 + 254)

"""Airborne lidar, moored sonar and radar beside a track: the layouts, and matching in space and time with drift."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pytest
from pyproj import Transformer

from is2ice import schema
from is2ice.io.stores import store
from is2ice.reports.outside_data import compare_points, lidar_height, match_points, radar_freeboard
from is2ice.reports.outside_tables import TableError, read_atm, read_mooring, read_points
from is2ice.science import thickness

CRS = "EPSG:3976"
TO_MAP = Transformer.from_crs("EPSG:4326", CRS, always_xy=True)
DRIFT = (0.10, -0.05)
HOURS = 5.0


def track(n=15_000):
    """30 km with a freeboard that varies over kilometres."""
    ds = schema.mock_segments(n, stages=("classified", "seasurface", "freeboard"))
    x = ds.x_atc.values - ds.x_atc.values[0]
    ds["freeboard"] = ("x_atc", (0.4 + 0.2 * np.sin(x / 3000)).astype("f4"), ds.freeboard.attrs)
    return ds.assign_attrs(crs=CRS)


def positions(ds, rows):
    """Where the ice of some segments is HOURS after the pass, degrees, and when."""
    late = 3600 * HOURS
    lon, lat = TO_MAP.transform(
        ds.x.values[rows] + DRIFT[0] * late, ds.y.values[rows] + DRIFT[1] * late, direction="INVERSE"
    )
    passed = np.datetime64("2018-01-01", "ns") + (ds.delta_time.values[rows] * 1e9).astype("m8[ns]")
    return np.asarray(lat), np.asarray(lon), passed + np.timedelta64(int(late * 1e9), "ns")


def test_airborne_points_find_their_ice_with_the_drift(tmp_path):
    """A flight five hours later over ice that moved by 2 km, 3 cm higher with 2 cm noise."""
    ds = track()
    rows = np.arange(200, 14_800, 40)
    lat, lon, when = positions(ds, rows)
    rng = np.random.default_rng(0)
    theirs = ds.freeboard.values[rows] + 0.03 + rng.normal(0, 0.02, rows.size)
    lines = ["time,lat,lon,fb,sigma"]
    lines += [f"{t}Z,{a:.6f},{o:.6f},{f:.4f},0.02" for t, a, o, f in zip(when, lat, lon, theirs, strict=True)]
    (tmp_path / "flight.csv").write_text("\n".join(lines))
    points = read_points(tmp_path / "flight.csv")
    numbers, joined = compare_points(ds, points, drift=DRIFT, radius=20.0)
    assert numbers["n"] == rows.size
    assert joined.distance.values.max() < 2.0
    assert numbers["bias"] == pytest.approx(-0.03, abs=0.004)
    assert numbers["bias_uncertainty"] < 0.01
    assert numbers["robust_sd"] == pytest.approx(0.02, abs=0.005)
    assert numbers["correlation"] > 0.98
    still, _ = compare_points(ds, points, radius=20.0)
    assert still["n"] == 0  # without the drift there is no ice of ours
    none, _ = compare_points(ds, points, drift=DRIFT, hours=1.0)
    assert (none["n"], none["points"]) == (0, 0)


def test_the_layout_of_atm(tmp_path, cli):
    """A flight over a surface at -54.5 m: the photon counter's own bias is no part of the difference."""
    ds = track()
    rows = np.arange(100, 2000, 100)
    lat, lon, when = positions(ds, rows)
    midnight = when.astype("M8[D]")
    seconds = (when - midnight) / np.timedelta64(1, "s")
    day = str(midnight[0]).replace("-", "")
    head = "# ILATM2\n# UTC_Seconds_Of_Day, Latitude(deg), Longitude(deg), WGS84_Ellipsoid_Height(m), ...\n"
    body = "".join(
        f" {s:.2f}, {a:.6f}, {o % 360:.6f}, -54.5, 0.01, -0.02, 7.5, 900, 3, 0, 1\n"
        for s, a, o in zip(seconds, lat, lon, strict=True)
    )
    path = tmp_path / f"ILATM2_{day}_193000_smooth_nadir3seg_50pt.csv"
    path.write_text(head + body)
    points = read_atm(path)
    np.testing.assert_allclose(points.longitude.values, lon, atol=1e-5)
    np.testing.assert_allclose((points.time.values - when) / np.timedelta64(1, "s"), 0, atol=0.01)
    assert points.uncertainty.values[0] == 0.075
    numbers, _ = compare_points(ds, points, name="h_mean", theirs="height", drift=DRIFT, radius=10.0)
    assert numbers["n"] == rows.size
    assert numbers["bias"] == pytest.approx(float(ds.h_mean.mean()) + 54.5, abs=0.03)
    apart = float((lidar_height(ds) - ds.h_core).mean())
    assert apart == pytest.approx(-float(ds.first_photon_bias.mean()))
    assert apart < -0.01
    store.write_track(
        ds.assign_attrs(granule="ATL03_20191104195311_05940510_006_01", beam="gt2r"), tmp_path / "s"
    )
    call = ("compare", tmp_path / "s", "gt2r", "--points", path, "--drift", *DRIFT, "--radius", 10, "--json")
    found = json.loads(cli(*call)[1])
    assert found["n"] == rows.size
    assert found["bias"] == pytest.approx(float(lidar_height(ds).mean()) + 54.5, abs=0.03)
    assert found["bias"] == pytest.approx(
        compare_points(ds, points, name="h_core", theirs="height", drift=DRIFT, radius=10.0)[0]["bias"]
        + apart,
        abs=1e-4,
    )
    path.rename(tmp_path / "flight.csv")
    with pytest.raises(TableError, match="ILATM2_20191104"):
        read_atm(tmp_path / "flight.csv")


def test_of_a_table_with_freeboard_and_height_the_freeboard_is_compared(tmp_path, cli):
    ds = track(2000)
    lat, lon, when = positions(ds, np.arange(400, 1600, 100))
    rows = [f"{t},{a},{o},-54.5,0.31\n" for t, a, o in zip(when, lat, lon, strict=True)]
    (tmp_path / "flight.csv").write_text("time,lat,lon,height,freeboard\n" + "".join(rows))
    granule = "ATL03_20191104195311_05940510_006_01"
    store.write_track(ds.assign_attrs(granule=granule, beam="gt2r"), tmp_path / "s")
    call = ("compare", tmp_path / "s", "gt2r", "--points", tmp_path / "flight.csv", "--drift", *DRIFT)
    assert "meet our freeboard" in cli(*call)[1]
    assert json.loads(cli(*call, "--json")[1])["theirs"]["mean"] == pytest.approx(0.31)


def test_a_mooring_sees_the_ice_that_drifts_over_it(tmp_path):
    """The sonar stands still: each record meets another piece of ice, along the drift."""
    ds = track()
    ds["draft"] = ("x_atc", (1.5 + 0.5 * np.sin((ds.x_atc.values - ds.x_atc.values[0]) / 3000)).astype("f4"))
    seconds = np.arange(0, 20 * 3600, 600)
    along = np.array([ds.x.values[-1] - ds.x.values[0], ds.y.values[-1] - ds.y.values[0]])
    wind = -along / np.linalg.norm(along) * 0.3  # the ice moves back along the track
    lon, lat = TO_MAP.transform(ds.x.values[0], ds.y.values[0], direction="INVERSE")
    passed = np.datetime64("2018-01-01", "ns") + (np.median(ds.delta_time.values) * 1e9).astype("m8[ns]")
    step = np.hypot(np.diff(ds.x.values[:2]), np.diff(ds.y.values[:2]))[0]
    rows = np.minimum((0.3 * seconds / step).astype(int), 14_999)
    stamps = [str((passed + np.timedelta64(int(s), "s")).astype("M8[s]")) for s in seconds]
    lines = ["%BGEP ULS", "%date time(UTC) draft(m)"]
    lines += [
        f"{t[:10].replace('-', '')} {t[11:].replace(':', '')} {ds.draft.values[r]:.3f}"
        for t, r in zip(stamps, rows, strict=True)
    ]
    (tmp_path / "uls.dat").write_text("\n".join(lines))
    points = read_mooring(tmp_path / "uls.dat", lat, lon)
    assert points.sizes["point"] == seconds.size
    numbers, joined = compare_points(ds, points, name="draft", drift=tuple(wind), radius=60.0)
    assert numbers["n"] > 100
    assert abs(numbers["bias"]) < 0.02
    assert numbers["correlation"] > 0.99
    assert joined.x_atc.values[-1] - joined.x_atc.values[0] > 15_000


def test_crossovers_of_a_radar_and_wrong_tables(tmp_path):
    ds = track(2000)
    lat, lon, _ = positions(ds, np.array([1000]))
    passed = np.median(ds.delta_time.values)
    (tmp_path / "cs2.csv").write_text(
        f"delta_time,lat,lon,radar_freeboard\n{passed + 3600 * HOURS},{lat[0]},{lon[0]},0.21\n"
    )
    points = read_points(tmp_path / "cs2.csv")
    own = radar_freeboard(ds)
    snow = thickness.compute(ds).snow_depth
    # Snow of 300 kg/m3 delays the pulse as 1.238 times its depth of air would.
    np.testing.assert_allclose(own, ds.freeboard - snow * 1.2381, atol=1e-4)
    numbers, _ = compare_points(
        ds.assign(radar_freeboard=own), points, name="radar_freeboard", drift=DRIFT, radius=150.0
    )
    assert numbers["ours"]["mean"] == pytest.approx(float(own[922:1078].mean()), abs=0.01)
    near = match_points(ds, points, drift=DRIFT, radius=150.0)
    assert near.ours_n.values[0] == pytest.approx(156, abs=2)  # of 1.92 m on the map
    assert near.hours.values[0] == pytest.approx(HOURS, abs=0.01)
    assert np.isfinite(near.ours.values[0])
    for text, why in (
        ("lat,lon,fb\n1,2,3\n", "lacks time"),
        ("time,lat,lon\n2019-01-01,1,2\n", "height or freeboard or radar"),
        ("time,lat,lon,fb\n2019-01-01,-170,-75,0.3\n", "swapped"),
        ("time,lat,lon,fb\nnever,1,2,3\n", "no row"),
        ("%date time draft\n20191104 195311 1.2\n", "--at LAT LON"),
        ("time,lat,lon,fb,freeboard\n2019-01-01,1,2,3,4\n", "more than one column means freeboard"),
        ("", "not a table"),
    ):
        (tmp_path / "w.csv").write_text(text)
        with pytest.raises(TableError, match=why):
            read_points(tmp_path / "w.csv")
    (tmp_path / "w.csv.gz").write_bytes(gzip.compress(b"time,lat,lon,fb\n" * 1000)[:-20])
    with pytest.raises(TableError, match="not a table"):
        read_points(tmp_path / "w.csv.gz")
    with pytest.raises(TableError, match="No such file"):
        read_points(tmp_path / "none.csv")
    with pytest.raises(KeyError, match="not among the points"):
        compare_points(ds, points, theirs="draft")
    with pytest.raises(KeyError, match="not in the track"):
        match_points(ds, points, name="draft")


def test_what_is_left_out_and_why_no_point_meets_the_track(tmp_path, cli):
    ds = track(2000)
    store.write_track(
        ds.assign_attrs(granule="ATL03_20191104195311_05940510_006_01", beam="gt2r"), tmp_path / "s"
    )
    lat, lon, when = positions(ds, np.arange(400, 1600, 100))
    lines = [f"{t},{a},{o},0.31" for t, a, o in zip(when, lat, lon, strict=True)]
    lines += [lines[0].replace("0.31", "-999"), lines[0].replace(str(when[0]), "never")]
    (tmp_path / "flight.csv").write_text("\n".join(["time,lat,lon,freeboard", *lines]))

    def said(*more):
        return cli("compare", tmp_path / "s", "gt2r", "--points", tmp_path / "flight.csv", *more)[1]

    found = said("--drift", *DRIFT)
    assert "left out: 1 rows without time or position" in found
    assert "left out: 1 impossible values" in found
    assert "12 of 13 points" in found
    assert "the nearest is 1.9 km from a segment" in said()
    assert f"the points are of {str(when[0])[:16]}" in said("--hours", 1)

"""Displacement between pass and image: known patterns, conventions, refusals, and the twin."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from pyproj import Geod, Transformer
from scipy.ndimage import gaussian_filter, map_coordinates

from is2ice import schema
from is2ice.errors import SchemaError
from is2ice.science.labels import drift
from is2ice.science.labels.drift import Drift, DriftError
from is2ice.science.labels.drift_moments import Frame, information, read_layers, track_cells
from is2ice.science.labels.drift_null import LEAST, chance_of
from is2ice.science.labels.image_grid import grid_of

POLAR, UTM = "EPSG:3976", "EPSG:32702"
LEFT, TOP, SIZE = 480_000.0, 1_720_000.0, 800


def pattern(kind: str, seed: int = 0) -> np.ndarray:
    """A field on the pixels: patches of 60 m, bands that all run one way, or speckle."""
    rng = np.random.default_rng(seed)
    field = rng.standard_normal((SIZE, SIZE))
    if kind == "patches":
        return gaussian_filter(field, 3.0) * 10
    if kind == "bands":
        return np.repeat(gaussian_filter(field[:1] * np.ones((1, SIZE)), (0, 3.0)) * 5, SIZE, 0)
    return gaussian_filter(field, 1.0) * 3


def image(field: np.ndarray, *, classes: bool = False) -> xr.Dataset:
    coords = {"x": LEFT + 10 * (np.arange(SIZE) + 0.5), "y": TOP - 10 * (np.arange(SIZE) + 0.5)}
    attrs = {"crs": UTM, "scene": "mock"}
    if classes:
        code = np.select([field > 1.5, field > 0.8], [2, 1], 0).astype("i1")
        return xr.Dataset({"surface_class": (("y", "x"), code)}, coords, attrs)
    return xr.Dataset({"B04": (("y", "x"), (0.6 - 0.1 * field).astype("f4"))}, coords, attrs)


def segments(
    field: np.ndarray, shift: tuple[float, float], *, noise: float = 0.3, seed: int = 1
) -> xr.Dataset:
    """Three beams of 7 km that measure the field at their place displaced by the shift."""
    n = 3_500
    to_polar = Transformer.from_crs(UTM, POLAR, always_xy=True)
    rng = np.random.default_rng(seed)
    beams = []
    for k, beam in enumerate(("gt1r", "gt2r", "gt3r")):
        along = 2.0 * np.arange(n) + 500
        east, north = LEFT + 1_300 + 2_300 * k + 0.1 * along, TOP - along
        x, y = to_polar.transform(east, north)
        u, v = Transformer.from_crs(POLAR, UTM, always_xy=True).transform(x + shift[0], y + shift[1])
        seen = map_coordinates(field, [(TOP - v) / 10 - 0.5, (u - LEFT) / 10 - 0.5], order=1, mode="nearest")
        ds = schema.mock_segments(n, beam=beam, seed=seed + k).assign_attrs(crs=POLAR)
        ds["x"][0], ds["y"][0] = x, y
        for name, level, gain in (("height", 0.4, -0.1), ("background_rate", 6e6, -1e6)):
            error = rng.standard_normal(n) * noise
            ds[name] = (("beam", "x_atc"), (level + gain * (seen + error))[None].astype("f4"))
        rate = np.exp(1.5 - 0.3 * seen)
        photons = rng.poisson(rate * 3.0)[None].astype("i4")
        ds["n_photons"] = (("beam", "x_atc"), photons)
        beams.append(ds)
    return xr.concat(beams, "beam")


@pytest.mark.parametrize(
    ("shift", "classes"), [((137.0, -421.0), False), ((-640.0, 298.0), True), ((0.0, 0.0), False)]
)
def test_known_shift_is_found(shift, classes):
    field = pattern("patches")
    found = drift.estimate(segments(field, shift), image(field, classes=classes))
    assert found.accepted, found.reason
    assert np.hypot(found.dx - shift[0], found.dy - shift[1]) < (5.0 if classes else 2.0)
    assert found.agreement > 0.95
    assert found.chance < 1e-4
    assert Drift.from_dict(found.to_dict()).to_dict() == found.to_dict()
    assert 0.5 < found.score <= 1.0
    # Half a pixel is never undercut: light moves edges by that much.
    assert 5.0 <= found.uncertainty < 15.0
    assert found.crs == POLAR
    assert float(found.table["score"].max()) == pytest.approx(found.score, abs=0.3)
    best = found.table["score"].stack(z=("dy", "dx")).idxmax().item()
    assert np.hypot(best[1] - shift[0], best[0] - shift[1]) < 40


def test_one_beam_and_lazy_image_give_the_place_too():
    field = pattern("patches", 3)
    ds = segments(field, (200.0, 120.0))
    alone = ds.sel(beam="gt2r").drop_vars("beam").assign_attrs(beam="gt2r")
    found = drift.estimate(alone, image(field))
    assert np.hypot(found.dx - 200, found.dy - 120) < 6
    lazy = drift.estimate(alone, image(field).chunk(x=256, y=256))
    assert (lazy.dx, lazy.dy, lazy.score) == pytest.approx((found.dx, found.dy, found.score))


def test_uncertainty_tells_of_the_error():
    """Errors of 12 noisy draws: as large as stated, once the floor of half a pixel is taken off."""
    field = pattern("patches", 5)
    shown = image(field)
    pulls = []
    for seed in range(12):
        found = drift.estimate(segments(field, (55.0, -75.0), noise=2.5, seed=10 * seed), shown, search=400)
        error = np.array([found.dx - 55.0, found.dy + 75.0])
        pulls.append(error / np.sqrt(np.diag(found.covariance) - 25.0))
    spread = np.sqrt(np.mean(np.square(pulls)))
    assert 0.4 < spread < 2.0, spread


def test_cloud_is_left_out():
    field = pattern("patches", 7)
    shown = image(field)
    mask = np.zeros((SIZE, SIZE), "u1")
    mask[200:500] = 4
    shown["B04"][200:500] = 0.9
    shown["mask"] = (("y", "x"), mask)
    found = drift.estimate(segments(field, (90.0, 160.0)), shown)
    assert found.accepted
    assert np.hypot(found.dx - 90, found.dy - 160) < 5
    covered = shown.assign(mask=(("y", "x"), np.full((SIZE, SIZE), 4, "u1")))
    blind = drift.estimate(segments(field, (90.0, 160.0)), covered)
    assert not blind.accepted
    assert "clear image" in blind.reason


@pytest.mark.parametrize("kind", ["speckle", "bands"])
def test_unrelated_or_one_sided_patterns_are_refused(kind):
    # Speckle of the image that the track knows nothing of; bands along the y axis of the image, which say
    # nothing of a displacement along them.
    shown = pattern(kind, seed=0 if kind == "bands" else 9)
    found = drift.estimate(segments(pattern(kind), (150.0, 150.0)), image(shown))
    assert not found.accepted
    assert any(word in found.reason for word in ("chance alone", "resamples", "uncertain", "border"))
    with pytest.raises(DriftError, match="refused"):
        found.shift_in(POLAR)


def test_one_class_only_is_refused():
    plain = image(np.zeros((SIZE, SIZE)), classes=True)
    found = drift.estimate(segments(pattern("patches"), (0.0, 0.0)), plain)
    assert (found.accepted, found.reason) == (False, "the image is featureless along the track")


def test_too_far_or_too_little_is_refused():
    field = pattern("patches")
    ds = segments(field, (900.0, 0.0))
    found = drift.estimate(ds, image(field), search=880)
    assert not found.accepted
    aside = drift.estimate(ds.assign(x=ds.x + 500_000), image(field))
    assert not aside.accepted
    assert "0.0 km of track lie on the image" in aside.reason
    dark = drift.estimate(ds.assign(n_pulses=0 * ds.n_pulses), image(field))
    assert (dark.accepted, dark.reason) == (False, "no beam has enough photons")


def test_bad_input_is_refused():
    field = pattern("patches")
    ds, shown = segments(field, (0.0, 0.0)), image(field)
    with pytest.raises(SchemaError, match="h_spread: missing"):
        drift.estimate(ds.drop_vars("h_spread"), shown)
    with pytest.raises(SchemaError, match="crs None"):
        drift.estimate(ds.drop_attrs(), shown)
    with pytest.raises(SchemaError, match="expected surface_class or reflectance"):
        drift.estimate(ds, shown.rename(B04="x2").astype("i4"))
    with pytest.raises(ValueError, match="search"):
        drift.estimate(ds, shown, search=50)
    with pytest.raises(ValueError, match="significance"):
        drift.estimate(ds, shown, significance=0.0)


def test_a_short_piece_is_judged_by_chance():
    """1.4 km of one beam: accepted over its own image, refused over another one."""
    field = pattern("patches", 3)
    piece = segments(field, (60.0, -90.0)).isel(x_atc=slice(700, 1400), beam=[1])
    found = drift.estimate(piece, image(field), search=300)
    assert found.accepted, found.reason
    assert np.hypot(found.dx - 60, found.dy + 90) < 5
    assert found.rival > 0.05
    other = drift.estimate(piece, image(pattern("patches", 4)), search=300)
    assert not other.accepted
    assert other.chance > 0.005


def test_chance_is_an_even_number_for_unrelated_pairs():
    """Over images that the track knows nothing of, chances spread from 0 to 1 and none is small."""
    piece = segments(pattern("patches", 3), (0.0, 0.0)).isel(x_atc=slice(700, 1700), beam=[1])
    chance = [drift.estimate(piece, image(pattern("patches", 50 + k)), search=200).chance for k in range(12)]
    assert 0.25 < np.mean(chance) < 0.75
    assert min(chance) > 0.005


def test_chance_from_a_few_searches_keeps_about_its_share():
    """Draws of one Gumbel law, beside 24 of the same: chances below 5 and .5 % come about as often as that."""
    rng = np.random.default_rng(3)
    chance = np.array([chance_of(float(rng.gumbel()), [rng.gumbel(size=24)]) for _ in range(4_000)])
    assert 0.04 < np.mean(chance < 0.05) < 0.065
    assert 0.003 < np.mean(chance < 0.005) < 0.01
    assert chance_of(1e9, [rng.gumbel(size=24)]) == LEAST
    assert chance_of(-1e9, [rng.gumbel(size=24)]) == 1.0
    assert chance_of(1e9, [rng.gumbel(size=7)]) == 1.0


def test_beams_on_both_sides_of_the_suns_limit_have_the_same_features():
    ds = segments(pattern("patches", 3), (0.0, 0.0)).isel(x_atc=slice(0, 500))
    ds["solar_elevation"][:, 10:60] = np.nan  # unknown somewhere: the rest tells
    high = track_cells(ds, 10.0)
    ds["solar_elevation"][0] = 4.9
    mixed = track_cells(ds, 10.0)
    assert (high.day, mixed.day) == (True, False)
    np.testing.assert_array_equal(mixed.features, np.delete(high.features, 4, axis=1))


def test_cells_of_long_segments_are_as_long_as_these():
    ds = segments(pattern("patches", 3), (0.0, 0.0)).isel(x_atc=slice(None, None, 10))
    cells = track_cells(ds.assign_attrs(segment_length=20.0), 10.0)
    assert (cells.length, len(cells.x)) == (20.0, ds.sizes["x_atc"] * ds.sizes["beam"])
    assert cells.merged(2).length == 40.0


def test_sums_by_stretch_and_in_all_are_the_same():
    """The sums of the bootstrap, added up, against those of the search, some cells beside the image."""
    field = pattern("patches", 5)
    ds, shown = segments(field, (0.0, 0.0)), image(field)
    cells, grid = track_cells(ds, 10.0), grid_of(shown)
    frame = Frame.of(cells, POLAR, grid)
    layers = read_layers(shown, grid, frame.row, frame.column, 30)
    trials = np.array([[0.0, 0.0], [2_000.0, -900.0], [0.0, 3_000.0]])
    own = np.ascontiguousarray(cells.features.T, np.float32)
    one = layers.moments(frame, trials, cells.stretches(800.0)).sum(1)
    two = layers.totals(frame, trials, np.stack([own, own[:, ::-1]]))[:, 0]
    assert one[:, 0].max() > one[:, 0].min() > 0
    np.testing.assert_allclose(one, two, atol=2e-2)


def test_information_of_a_known_correlation():
    """Two unit normals of correlation r: the mutual information is -ln(1 - r^2) / 2."""
    r, n = 0.6, 1_000_000
    # Sums of n, mean 0, variance 1, covariance r.
    moments = np.array([n, 0.0, 0.0, n, n * r, n])
    expected = -0.5 * np.log(1 - r**2)
    assert information(moments, 1) == pytest.approx(expected, rel=5e-3)  # the floor of variance is 0.001
    assert information(np.array([4.0, 0, 0, 4, 2.4, 4]), 1) == -np.inf


# ---- by hand ----


def test_by_hand_in_both_conventions():
    # Grid: up the y axis is north. The image was moved, so the ice went the other way.
    d = Drift.by_hand(200, "W", convention="grid")
    assert (d.dx, d.dy) == pytest.approx((200.0, 0.0))
    d = Drift.by_hand(100, "NW", convention="grid", moves="ice")
    assert (d.dx, d.dy) == pytest.approx((-70.7107, 70.7107), abs=1e-3)
    # True: at 180 degrees in EPSG:3976 north is straight down the y axis and east against the x axis.
    d = Drift.by_hand(100, "N", convention="true", at=(180.0, -75.0), moves="ice")
    assert d.dx == pytest.approx(0.0, abs=0.01)
    assert d.dy == pytest.approx(-98.7, abs=0.2)  # the scale there is .987
    d = Drift.by_hand(100, 90.0, convention="true", at=(180.0, -75.0), moves="ice")
    assert d.dx == pytest.approx(-98.7, abs=0.2)
    assert d.accepted
    assert np.isnan(d.score)
    for wrong in (
        {"towards": "up", "convention": "grid"},
        {"towards": "N", "convention": "map"},
        {"towards": "N", "convention": "true"},
        {"towards": "N", "convention": "grid", "moves": "track"},
    ):
        with pytest.raises(ValueError, match=r"expected|needs a place"):
            Drift.by_hand(100, **wrong)


def test_true_metres_are_metres_on_the_ground():
    at = (-166.0, -76.0)
    d = Drift.by_hand(550, "NW", convention="true", at=at, moves="ice")
    to_lonlat = Transformer.from_crs(POLAR, 4326, always_xy=True)
    x, y = to_lonlat.transform(*at, direction="INVERSE")
    azimuth, _, metres = Geod(ellps="WGS84").inv(*at, *to_lonlat.transform(x + d.dx, y + d.dy))
    assert metres == pytest.approx(550.0, abs=1e-3)
    assert azimuth == pytest.approx(-45.0, abs=1e-3)


def test_the_search_is_drawn(tmp_path):
    from is2ice.reports.plot_labels import draw_drift

    field = pattern("patches")
    found = drift.estimate(segments(field, (100.0, 0.0)), image(field), search=400)
    figure = draw_drift(found, tmp_path / "drift.png")
    assert "accepted" in figure.axes[0].get_title()
    assert (tmp_path / "drift.png").stat().st_size > 10_000
    with pytest.raises(ValueError, match="no table"):
        draw_drift(Drift.by_hand(100, "N", convention="grid"))


# ---- the twin: photons and an image some minutes later ----


@pytest.fixture(scope="module")
def bench():
    """The benchmark's own functions, so that its table and these tests measure the same."""
    path = Path(__file__).resolve().parents[3] / "benchmarks" / "drift.py"
    spec = importlib.util.spec_from_file_location("benchmark_drift", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def check(rows: list[dict]) -> None:
    for row in rows:
        found, true = row["found"], row["true"]
        assert found.accepted, (row["from"], found.reason)
        error = np.array([found.dx, found.dy]) - true
        sigma = np.sqrt(np.diag(found.covariance))
        assert np.abs(error / sigma).max() < 3.0, (row["from"], error, sigma)
        # Labels with the estimate within half a percent of those with the true displacement, edges and all.
        assert row["estimated"] > row["ideal"] - 0.5, row
        assert row["estimated inside"] > row["ideal inside"] - 0.5, row


def test_twin_with_leads(bench, tmp_path):
    """Two scenes with many leads, displaced by 691 and 302 m."""
    errors = []
    for seed, velocity, minutes in ((41, (0.15, -0.12), 60), (42, (-0.10, 0.05), 45)):
        made = bench.make(tmp_path, "ross_sea_november", seed, velocity, minutes, 14.0, 1)
        rows = bench.measure(*made, sources=["reflectance"])
        check(rows)
        errors.append([rows[0]["found"].dx, rows[0]["found"].dy] - rows[0]["true"])
        assert rows[0]["none"] < rows[0]["estimated"] - 1.0
    assert np.sqrt(np.mean(np.square(errors))) < 10.0


def test_relief_alone_gives_the_place_and_classes_do_not(bench, tmp_path):
    """Snow without leads: light on its slopes tells, to a few metres; classes have nothing to hold on to."""
    true, item = bench.make(tmp_path, "no_leads", 43, (0.1, 0.1), 40, 9.0, 3)
    from_light, from_classes = bench.measure(true, item)
    found = from_light["found"]
    assert found.accepted, found.reason
    assert np.hypot(found.dx - true[0], found.dy - true[1]) < 5.0
    found = from_classes["found"]
    assert not found.accepted or np.hypot(found.dx - true[0], found.dy - true[1]) < 10.0


def test_level_snow_is_refused(bench, tmp_path):
    """Neither leads nor ridges nor relief."""
    for row in bench.measure(*bench.make(tmp_path, "level", 52, (0.1, 0.1), 40, 9.0, 1)):
        assert not row["found"].accepted, row["found"]


def test_slopes_seen_in_the_image_do_not_move_the_place():
    """Brightness that is the slope of the relief towards the sun, and no lead."""
    field = pattern("patches", 11)
    shown = image(np.gradient(field, axis=0) * 3.0)  # rows run south, as the tracks do
    ds = segments(field, (120.0, 80.0))
    for name in ("background_rate", "n_photons"):  # the sun's light and the photons tell nothing of relief
        ds[name] = (ds[name].dims, np.random.default_rng(4).permuted(ds[name].values, axis=1))
    found = drift.estimate(ds, shown)
    assert found.accepted, found.reason
    assert np.hypot(found.dx - 120, found.dy - 80) < 5.0


@pytest.mark.slow
def test_twin_over_seeds_and_shifts(bench, tmp_path):
    """Within 10 m (1 sigma) along each axis for displacements up to 700 m, from images averaged as genuine."""
    errors = []
    for k, seed in enumerate((21, 22, 23, 24, 26)):
        made = bench.make(tmp_path, "ross_sea_november", seed, *bench.DRIFTS[k], 14.0)
        (row,) = bench.measure(*made, sources=["reflectance"])
        check([row])
        errors.append([row["found"].dx, row["found"].dy] - row["true"])
    assert (np.sqrt(np.mean(np.square(errors), axis=0)) < 10.0).all()
    for seed in (51, 52, 53):
        for row in bench.measure(*bench.make(tmp_path, "level", seed, (0.1, 0.1), 40, 9.0, 1)):
            assert not row["found"].accepted, row["found"]


@pytest.mark.slow
def test_twin_in_small_images(bench, tmp_path):
    """Images of 9 km: within 10 m (1 sigma) along each axis; two of eight hold too few leads and are refused."""
    errors, accepted = [], 0
    for k, seed in enumerate(range(41, 49)):
        made = bench.make(tmp_path, "ross_sea_november", seed, *bench.DRIFTS[k % 5], 9.0)
        (row,) = bench.measure(*made, sources=["reflectance"])
        errors.append([row["found"].dx, row["found"].dy] - row["true"])
        accepted += row["found"].accepted
    assert accepted >= 6
    assert (np.sqrt(np.mean(np.square(errors), axis=0)) < 10.0).all()

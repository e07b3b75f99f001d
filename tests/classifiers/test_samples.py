"""Samples from labelled stores, and splits that keep apart what they say they keep apart."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from is2ice import schema
from is2ice.classifiers.samples import Samples, from_tracks
from is2ice.classifiers.splits import split
from is2ice.errors import StoreError
from is2ice.io.stores import store
from is2ice.science import features
from is2ice.workflows.train import labelled_samples


def a_cube(granule: str, scenes: list[str], n: int = 3_000, seed: int = 0) -> xr.Dataset:
    """Two beams of a pair and one of another, with labels in part."""
    parts = []
    rng = np.random.default_rng(seed)
    for k in range(3):
        ds = schema.mock_segments(n, stages=("labels",), seed=seed + k)
        ds["label"][:] = rng.choice([0, 0, 0, 0, 1, 2], n)
        ds["label"][:200] = schema.UNLABELLED
        parts.append(ds)
    cube = xr.concat(parts, "beam").assign_coords(
        beam=["gt1l", "gt1r", "gt2r"], spot=("beam", np.array([6, 5, 3], "i1"))
    )
    return schema.annotate(cube.assign_attrs(granule=granule, label_scenes=scenes, crs="EPSG:3976"))


@pytest.fixture(scope="module")
def samples() -> Samples:
    cubes = [
        a_cube("A", ["s1"]),
        a_cube("B", ["s2"], seed=10),
        a_cube("C", ["s2", "s3"], seed=20),
        a_cube("D", ["s4"]),
    ]
    return from_tracks(cubes, "paper", 2)


def test_a_sample_is_what_the_features_say(samples):
    assert samples.lazy
    assert samples.x.dtype == np.float32
    done = samples.compute()
    assert not done.lazy
    assert done.x.shape == (len(samples), 5, 6)
    cube = a_cube("B", ["s2"], seed=10)
    values = features.build(cube, "paper").values
    rows = np.flatnonzero(done.track == done.tracks.index("B/gt2r"))
    cell = np.searchsorted(cube["x_atc"].values, done.x_atc[rows])
    assert rows.size > 2_000
    np.testing.assert_array_equal(done.y[rows], cube["label"].values[2][cell])
    for r, c in list(zip(rows, cell, strict=True))[::397]:
        np.testing.assert_array_equal(done.x[r], values[2, c - 2 : c + 3])
    assert cell.min() == 200  # labelled from there on; unlabelled neighbours serve all the same


def test_tracks_that_share_a_scene_are_one_scene(samples):
    names = dict(zip(samples.tracks, samples.scenes, strict=True))
    assert names["B/gt1l"] == names["C/gt2r"] == "s2 + s3"
    assert len(set(samples.scenes)) == 3


def test_balance_and_weights(samples):
    balance = samples.balance()
    assert sum(b["n"] for b in balance.values()) == len(samples)
    assert balance["thick_ice"]["share"] == pytest.approx(2 / 3, abs=0.02)
    weights = samples.class_weights()
    counts = np.bincount(samples.y)
    np.testing.assert_allclose(weights * counts, len(samples) / 3)
    np.testing.assert_allclose(samples.class_weights(0.0), 1.0)
    thin = samples.thin(500)
    assert np.bincount(thin.y).tolist() == [500, 500, 500]


@pytest.mark.parametrize("by", ["scene", "track", "block", "random_windows"])
def test_splits_keep_apart_what_they_say(samples, by):
    guard = 100.0
    parts = split(samples, by, test=0.3, validation=0.2, seed=1, block=1_000.0, guard=guard)
    sizes = [len(p) for p in parts]
    assert min(sizes) > 0
    assert sum(sizes) + parts.dropped == len(samples)
    assert (parts.dropped > 0) == (by == "block")
    names = [{s.tracks[t] for t in np.unique(s.track)} for s in parts]
    for a in range(3):
        for b in range(a):
            if by == "scene":
                pa, pb = (set(np.unique(p.scene)) for p in (list(parts)[a], list(parts)[b]))
                assert not pa & pb
            if by == "track":
                assert not {n[:-1] for n in names[a]} & {n[:-1] for n in names[b]}
            if by == "block":
                assert closest(list(parts)[a], list(parts)[b]) >= guard
    if by == "random_windows":  # neighbours end up on both sides: that is its flaw
        assert closest(parts.train, parts.test) <= 2.0
    again = split(samples, by, test=0.3, validation=0.2, seed=1, block=1_000.0, guard=guard)
    np.testing.assert_array_equal(again.test.x_atc, parts.test.x_atc)
    assert f"split by {by}" in parts.report()


def closest(a: Samples, b: Samples) -> float:
    """Least distance along the track between samples of one granule, m."""
    best = np.inf
    granules = [np.array([t.split("/")[0] for t in s.tracks])[s.track] for s in (a, b)]
    for g in np.unique(granules[0]):
        there = np.sort(b.x_atc[granules[1] == g])
        if there.size:
            x = a.x_atc[granules[0] == g]
            k = np.clip(np.searchsorted(there, x), 1, there.size - 1)
            best = min(best, np.abs(x - there[k]).min(), np.abs(x - there[k - 1]).min())
    return float(best)


def test_splits_that_cannot_be_made(samples):
    one = samples.take(samples.scene == 0)
    with pytest.raises(ValueError, match=r"1 group cannot make 2 parts, .* or split by track or block"):
        split(one, "scene")
    with pytest.raises(ValueError, match=r"cannot make 3 parts, .* or a smaller block"):
        split(one, "block", validation=0.2, block=1e6, guard=0.0)
    few = split(samples.thin(60), "random_windows", test=0.2)
    assert any(text.startswith("test has fewer than 100 samples of thick_ice ") for text in few.doubts())
    assert "warning: test has fewer" in few.report()
    for wrong in ({"by": "beam"}, {"test": 0.0}, {"validation": 0.9}, {"guard": -1.0}, {"block": 0.0}):
        with pytest.raises(ValueError, match="expected"):
            split(samples, **wrong)


def test_from_a_store_and_what_is_no_training_data(tmp_path):
    cube = a_cube("ATL03_X", ["s1"], n=600)
    for beam in cube["beam"].values:
        store.write_track(cube.sel(beam=[beam]), tmp_path / "a.zarr")
    store.consolidate(tmp_path / "a.zarr")
    kept = labelled_samples(tmp_path / "a.zarr", "default", 3).compute()
    direct = from_tracks(cube, "default", 3).compute()
    np.testing.assert_array_equal(kept.x, direct.x)
    np.testing.assert_array_equal(kept.y, direct.y)
    assert kept.tracks == ("ATL03_X/gt1l", "ATL03_X/gt1r", "ATL03_X/gt2r")
    bare = cube.drop_vars(["label", "label_flags"])
    store.write_track(bare.sel(beam=["gt1l"]), tmp_path / "b.zarr")
    store.consolidate(tmp_path / "b.zarr")
    with pytest.raises(StoreError, match="no labelled track"):
        labelled_samples(tmp_path / "b.zarr")
    with pytest.raises(KeyError, match="label it first"):
        from_tracks(bare)
    with pytest.raises(ValueError, match="given twice"):
        from_tracks([cube, cube])
    with pytest.raises(ValueError, match="no labelled segment"):
        from_tracks(cube.assign(label=cube["label"] * 0 - 1))
    with pytest.raises(ValueError, match="expected codes"):
        from_tracks(cube.assign(label=cube["label"] * 0 + 3))


def test_parts_put_together(samples):
    some = [samples.take(samples.track == t) for t in (0, 4)]
    both = Samples.concat(some)
    assert len(both) == sum(map(len, some))
    np.testing.assert_array_equal(both.compute().x[: len(some[0])], some[0].compute().x)
    with pytest.raises(ValueError, match="different features"):
        Samples.concat([samples, from_tracks(a_cube("E", ["s9"]), "default", 2)])
    with pytest.raises(ValueError, match="one length"):
        Samples(
            samples.x,
            samples.y[:5],
            samples.track,
            samples.x_atc,
            samples.tracks,
            samples.scenes,
            samples.features,
        )


def test_a_share_is_shown_as_at_night():
    day = from_tracks(a_cube("F", ["s1"]), "default", 2).compute()
    mixed = day.at_night(0.4, seed=3)
    names = list(day.features.names)
    dark = mixed.x[:, 2, names.index("day")] == 0
    assert 0.35 < dark.mean() < 0.45
    np.testing.assert_array_equal(mixed.x[~dark], day.x[~dark])
    # What a window looks like at night is what the features of a night say.
    night = from_tracks(
        a_cube("F", ["s1"]).assign(solar_elevation=lambda d: d["solar_elevation"] * 0 - 9), "default", 2
    )
    np.testing.assert_array_equal(mixed.x[dark], night.compute().x[dark])
    lazy = from_tracks(a_cube("F", ["s1"]), "default", 2).at_night(0.4, seed=3)
    assert lazy.lazy
    np.testing.assert_array_equal(lazy.compute().x, mixed.x)
    paper = from_tracks(a_cube("F", ["s1"]), "paper", 2)
    assert paper.at_night(0.5) is paper  # the published features do not tell the sun's part
    with pytest.raises(ValueError, match="share"):
        day.at_night(1.5)

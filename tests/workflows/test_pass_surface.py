"""Beams of different length share one sea."""

from __future__ import annotations

import numpy as np
import xarray as xr

from is2ice import schema
from is2ice.errors import NoSignalError
from is2ice.science import seasurface
from is2ice.workflows.opening import open_track
from is2ice.workflows.options import Options
from is2ice.workflows.pass_surface import freeboards, pass_surface, together
from is2ice.workflows.run import run
from is2ice.workflows.track import Chain, Item


def track(beam: str, spot: int, leads: list[int], n: int = 12_000) -> xr.Dataset:
    """Noisy ice, and dark leads of 80 m."""
    rng = np.random.default_rng(spot)
    ds = schema.mock_segments(n, stages=("classified",), seed=spot).assign_attrs(beam=beam, spot=spot)
    height = 0.6 + 0.2 * rng.random(n)
    for at in leads:
        water = slice(at, at + 40)
        height[water] = 0.1 + rng.normal(0, 0.02, 40)
        ds["n_photons"][water], ds["surface_class"][water] = 3, schema.OPEN_WATER
        ds["class_probability"][water] = [0.05, 0.1, 0.85]
    return ds.assign(height=ds["height"].copy(data=height.astype("f4")))


def test_tracks_get_what_the_cube_gets_and_keep_their_own_cells():
    tracks = [track("gt1r", 5, [2000, 6000]), track("gt2r", 3, []), track("gt3r", 1, [9000])]
    tracks[2] = tracks[2].isel(x_atc=slice(1500, 11_000))
    whole = pass_surface(tracks)
    for before, after in zip(tracks, whole, strict=True):
        assert after.sizes == before.sizes
        schema.conform(after, "segments", "classified", "seasurface")
        for name in before.variables:
            np.testing.assert_array_equal(before[name].values, after[name].values)
    assert set(np.unique(whole[1]["h_ref_flag"])) == {4}
    alone = [pass_surface([t])[0] for t in tracks]
    assert (alone[1]["h_ref_flag"] == -1).all()
    xr.testing.assert_identical(alone[0], seasurface.estimate(tracks[0]))
    near = float(whole[1]["h_ref"].values[6000])
    assert abs(near - 0.1) < 3 * float(whole[1]["h_ref_uncertainty"].values[6000])


def test_published_methods_take_each_beam_alone():
    tracks = [track("gt1r", 5, [2000, 6000]), track("gt3r", 1, [9000])]
    for joined, by_itself in zip(pass_surface(tracks, "nasa"), tracks, strict=True):
        np.testing.assert_array_equal(joined["h_ref"], seasurface.estimate(by_itself, "nasa")["h_ref"])


# -- runs: stand-ins for the reader and the classifier, which any engine can send ------------------------------
LEADS = {"gt1r": [2000, 4000, 6000, 8000], "gt2r": [], "gt3r": [3000, 5000, 7000]}


def survey(source: str, beams: object) -> list[Item]:
    names = beams if isinstance(beams, tuple) else tuple(LEADS)
    return [Item(source, source.removesuffix(".h5"), beam, {"size": 10}) for beam in names]


def load(source: str, beam: str, options: Options, *, threads: int) -> xr.Dataset:
    if source == "bad.h5" and beam == "gt3r":
        raise NoSignalError("bad gt3r: no photon has sea-ice confidence >= 3")
    return track(beam, {"gt1r": 5, "gt2r": 3, "gt3r": 1}[beam], LEADS[beam]).assign_attrs(notes=[])


def classified(segments: xr.Dataset, options: Options) -> xr.Dataset:
    assert options.until == "classes"
    return segments


def test_a_run_joins_the_beams_of_a_granule_on_every_engine(tmp_path):
    chain = Chain(survey, load, classified, freeboards)
    serial = run(["a.h5", "bad.h5"], tmp_path / "serial.zarr", chain=chain, progress=False)
    by_track = {(r["granule"], r["beam"]): r for r in serial.receipts}
    assert [by_track["a", b]["outcome"] for b in LEADS] == ["done"] * 3
    assert [by_track["bad", b]["outcome"] for b in LEADS] == ["done", "done", "failed"]
    middle = open_track(tmp_path / "serial.zarr" / "a" / "gt2r").load()
    assert set(np.unique(middle["h_ref_flag"])) == {4}
    assert middle["freeboard"].notnull().any()
    assert middle["h_ref"].attrs["source"] == "evidence, from beams gt1r, gt2r, gt3r"
    others = run(["a.h5"], tmp_path / "two.zarr", chain=chain, engine="processes", workers=2, progress=False)
    assert {r["beam"]: r["checksum"] for r in others.receipts} == {
        b: by_track["a", b]["checksum"] for b in LEADS
    }
    again = run(["a.h5"], tmp_path / "serial.zarr", chain=chain, progress=False)
    assert [r["outcome"] for r in again.receipts] == ["skipped"] * 3
    # With other beams beside it a track is another one.
    fewer = run(["a.h5"], tmp_path / "serial.zarr", beams=("gt1r", "gt2r"), chain=chain, progress=False)
    assert [r["outcome"] for r in fewer.receipts] == ["done"] * 2


def test_beams_that_were_computed_without_a_failed_one_are_computed_again(tmp_path):
    def fails_once(source: str, beam: str, options: Options, *, threads: int) -> xr.Dataset:
        if beam == "gt1r" and not tries:
            tries.append(beam)
            raise OSError("gone for a moment")
        return load(source, beam, options, threads=threads)

    def outcomes(done):
        return {r["beam"]: r["outcome"] for r in done.receipts}

    tries: list[str] = []
    chain = Chain(survey, fails_once, classified, freeboards)
    how = {"chain": chain, "progress": False, "retries": 0}
    first = run(["a.h5"], tmp_path / "s.zarr", **how)
    assert outcomes(first) == {"gt1r": "failed", "gt2r": "done", "gt3r": "done"}
    second = run(["a.h5"], tmp_path / "s.zarr", **how)
    assert outcomes(second) == dict.fromkeys(LEADS, "done")
    clean = run(["a.h5"], tmp_path / "clean.zarr", **how)
    sums = [{r["beam"]: r["checksum"] for r in done.receipts} for done in (second, clean)]
    assert sums[0] == sums[1]
    tries.clear()  # what was made of all beams stays, although one cannot be read now
    (tmp_path / "s.zarr" / "current" / "a" / "gt1r.json").unlink()
    third = run(["a.h5"], tmp_path / "s.zarr", **how)
    assert outcomes(third) == {"gt1r": "failed", "gt2r": "skipped", "gt3r": "skipped"}


def test_a_beam_that_is_refused_is_not_named_with_the_others():
    items = together(survey("a.h5", None))
    assert together(items)[0].origin["joined"] == ["gt1r", "gt2r", "gt3r"]
    assert together(items[:2])[0].origin["joined"] == ["gt1r", "gt2r"]
    assert together(items[:1])[0].origin == {"size": 10}

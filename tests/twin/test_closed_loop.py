"""The whole chain against truth on simulated passes, and against an independent ATL10 of the same photons."""

from __future__ import annotations

from functools import reduce
from operator import add

import numpy as np
import pytest

from is2ice import twin
from is2ice.io.icesat2 import atl07_atl10
from is2ice.science.leads import find_leads
from is2ice.workflows.track import one_track


@pytest.fixture(scope="module")
def passes(tmp_path_factory):
    """Granule and truth of a preset and seed, made once."""
    folder = tmp_path_factory.mktemp("passes")
    made = {}

    def make(preset: str, seed: int, length_km: float = 60.0):
        key = (preset, seed)
        if key not in made:
            scene = twin.Scene.preset(preset, seed=seed, length_km=length_km)
            truth = folder / f"{preset}_{seed}_truth.nc"
            made[key] = (twin.make_granule(scene, folder / f"{preset}_{seed}.h5", truth_path=truth), truth)
        return made[key]

    return make


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["ross_sea_november", "marginal_ice_zone"])
def test_sea_surface_and_freeboard(passes, preset):
    """Where leads exist: sea surface within 1 cm of truth and 3 cm RMSE, freeboard within 2 cm, over three beams
    and two passes; errors no more than half as large again as they say.

    Freeboard is that of segments more than 6 m from a class edge: nearer, bright ice outshines dark water in the
    same footprint, and the height of the return is not that of the mean surface, whatever the method.
    """
    scores = []
    for seed in (41, 42):
        granule, truth = passes(preset, seed)
        for beam in ("gt1r", "gt2r", "gt3r"):
            scores.append(twin.score(one_track(granule, beam), truth))
    sea = reduce(add, (s.all for s in scores)).h_ref_by_flag["from_leads"]
    freeboard = reduce(add, (s.interior for s in scores)).freeboard_by_flag["from_leads"]
    assert sea.n > 100_000
    assert abs(sea.bias) < 0.01
    assert sea.rmse < 0.03
    assert abs(freeboard.bias) < 0.02
    assert (sea.z_square / sea.n_z) ** 0.5 < 1.5


@pytest.mark.slow
def test_no_lead_no_freeboard(passes):
    granule, _ = passes("no_leads", 43, 30.0)
    for beam in ("gt1r", "gt2r", "gt3r"):
        track = one_track(granule, beam)
        assert (track.h_ref_flag == -1).all()
        assert track.h_ref.isnull().all()
        assert track.freeboard.isnull().all()
        assert (track.lead_index == -1).all()


@pytest.mark.slow
def test_leads_of_an_independent_atl10(passes, tmp_path):
    """The twin's ATL10 is written by other code from the same photons: its leads follow from its segments."""
    granule, _ = passes("marginal_ice_zone", 41)
    atl10 = twin.make_atl10(twin.make_atl07(granule, tmp_path / "atl07.h5"), tmp_path / "atl10.h5")
    checked = 0
    for node in atl07_atl10.open_atl10(atl10).children.values():
        segments, leads = node["segments"].to_dataset(), node["leads"].to_dataset()
        first = atl07_atl10.match_leads(node)
        assert (first >= 0).all()
        for row, n, height, sigma in zip(
            first,
            leads["ssh_n"].values,
            leads["height"].values,
            leads["height_uncertainty"].values,
            strict=True,
        ):
            part = segments.isel(segment=slice(row, row + n))
            got = find_leads(
                part["x_atc"],
                part["height"],
                part["height_uncertainty"],
                np.ones(n, bool),
                method="nasa",
                min_sigma=0.0,
            )
            assert float(got["height"][0]) == pytest.approx(height, abs=1e-6)
            assert float(got["sigma"][0]) == pytest.approx(sigma, abs=1e-6)
            checked += 1
    print(f"\n{checked} leads of an independent ATL10 recomputed to 1e-6 m")
    assert checked > 5

"""Cost of a run from its receipts, and the projection; declarations of the polar months."""

from __future__ import annotations

import pytest

from is2ice.io.stores.declarations import find_declaration
from is2ice.workflows.cost import cost_of
from is2ice.workflows.receipts import Run


def receipt(granule, beam, **more):
    return {
        "granule": granule,
        "beam": beam,
        "outcome": "done",
        "seconds": {"load": 2.0, "compute": 1.0, "write": 0.5},
        "bytes": 1000,
        "length_km": 30.0,
        **more,
    }


def test_receipts_add_up_and_grow():
    done = [
        receipt("a", "gt1r", traffic="read 12.5 MB of 1.2 GB in 40 requests"),
        receipt("a", "gt2r", traffic="read 500 kB of 1.2 GB in 7 requests, 2 of them again"),
        receipt("b", "gt1r"),
        receipt("c", "gt1r", outcome="skipped"),
    ]
    cost = cost_of(Run("s", tuple(done), "serial", 1.0), processor=6.0)
    assert (cost.granules, cost.tracks, cost.requests) == (2, 3, 47)
    assert cost.seconds == pytest.approx(10.5)
    assert cost.read == pytest.approx(13.0e6)
    assert cost.km == 90.0
    one = cost.per_granule()
    assert one["processor seconds"] == 3.0
    assert one["bytes read"] == pytest.approx(6.5e6)
    month = cost.project(1000, km=450.0)  # ten times as long as measured
    assert month["processor hours"] == pytest.approx(3.0 * 1000 * 10 / 3600)
    assert month["requests at least"] == pytest.approx(23.5 * 1000)  # all for metadata
    assert month["requests at most"] == pytest.approx(23.5 * 1000 * 10)  # all for photons
    assert "23,500.0 requests at least" in cost.report(1000, 450.0)
    assert cost.project(1000)["requests"] == pytest.approx(23.5 * 1000)
    assert "not measured" in cost.report(1000)
    bare = cost_of(Run("s", (), "dask", 1.0))
    assert "processor seconds" not in bare.per_granule()


@pytest.mark.parametrize(("name", "south"), [("antarctic_month", -78.5), ("arctic_month", 60.0)])
def test_a_month_is_declared(name, south):
    found = find_declaration(name)
    assert found.region[1] == south
    assert found.recipe == "recipes/polar_month.py"
    assert found.time[0] < found.time[1]

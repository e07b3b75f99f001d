"""A short fixed corpus of the fuzzer: the same edits each time; ``make fuzz`` draws many more."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))

from targets import GOOD, TARGETS, Target

#: Examples of each input.
EXAMPLES = {"ATL03": 25, "ATL07": 6, "ATL10": 8, "item": 10, "reply": 12}


@pytest.mark.parametrize("name", TARGETS)
def test_edits_give_right_numbers_a_note_or_an_error_of_the_package(name, tmp_path):
    target = Target(name, tmp_path)
    assert target.outcome([])[0] == "right"

    @settings(
        max_examples=EXAMPLES.get(name, 20),
        database=None,
        deadline=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def one(data):
        change = data.draw(target.strategy)
        outcome, said = target.outcome(change)
        assert outcome in GOOD, (outcome, said, change)

    one()

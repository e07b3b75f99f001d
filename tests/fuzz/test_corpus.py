"""A short fixed corpus of the fuzzer: the same edits each time; ``make fuzz`` draws many more."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))

from edits import Edit, changed_document
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


@pytest.mark.parametrize("depth", [500, 5000, 100_000])
@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("item", "/properties"),
        ("reply", "/items/0/umm"),
        ("declaration", "/title"),
        ("training", "/data/split"),
        ("card", "/parameters"),
    ],
)
def test_values_nested_without_end_are_refused(name, place, depth, tmp_path):
    outcome, said = Target(name, tmp_path).outcome([Edit("nest", place, depth), Edit("nest", place, 3)])
    # A parser may take some hundred; then the value is noted where it is used.
    assert outcome in (("refused", "noted") if depth == 500 else ("refused",)), (outcome, said)


def test_nested_values_are_written_as_they_are():
    document = {"a": [1, {"b": 2}], "c": "d"}
    change = [Edit("nest", "/a/1/b", 2), Edit("nest", "/a", 1), Edit("nest", "/c", 1)]
    assert json.loads(changed_document(document, change)) == {"a": [[1, {"b": [[2]]}]], "c": ["d"]}
    assert changed_document(document, [Edit("nest", "/c", 10**6)]).count("[") == 10**6 + 1

"""What plans cost on the benchmark's traffic: near the least possible, and below every marking that never learns.

A part of the benchmark that runs in seconds; `python -m benchmarks.prefix --gate` holds all of it to the targets.
"""

from __future__ import annotations

import pytest
from benchmarks.prefix import report
from benchmarks.prefix.__main__ import measure
from benchmarks.prefix.strategies import PLANNER, STATIC
from benchmarks.prefix.workloads import ONE_SHOT

SOME = ("talks, fast users", "talks, slow users", "agent loops", "clock in the system prompt", "just over the minimum")


@pytest.mark.parametrize(("reading", "most"), [("optimistic", 1.08), ("pessimistic", 1.25)])
def test_plans_stay_near_the_bound_and_below_every_static_strategy(reading: str, most: float) -> None:
    rows = measure(["train"], [reading], SOME, [*STATIC, PLANNER])
    found = report.means(rows)
    assert found.pop(PLANNER) < min(most, *found.values())
    assert all(row.bills[PLANNER].refused == 0 for row in rows)
    assert all(row.to_plain(PLANNER) <= 1.05 for row in rows)


def test_what_never_comes_back_costs_what_it_costs_without_a_cache() -> None:
    for row in measure(["train"], ["optimistic"], ONE_SHOT, [PLANNER]):
        assert row.to_plain(PLANNER) <= 1.01

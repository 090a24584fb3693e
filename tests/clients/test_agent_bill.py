"""An agent with tools pays less than half with Payonce in front of a provider that caches what is marked, and is told
the same."""

from __future__ import annotations

import pytest
from benchmarks.agent_bill import APIS, measure


@pytest.mark.parametrize("api", APIS)
def test_the_agents_bill_is_less_than_half(api: str) -> None:
    (line,) = measure(turns=5, apis=(api,))
    assert line.same, "the agent was told something else"
    assert line.read_alone == 0.0
    assert line.planned < line.alone / 2, (line.planned, line.alone)

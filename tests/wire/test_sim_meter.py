"""The seam of the simulated provider's usage: a meter says what was cached; usage, bill and prices follow from it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

import pytest
from sim_client import raw

from payonce.testing.sim import SimulatedProvider, running_sim
from payonce.testing.sim_ask import AskError, Function, Offer, Turn, wanted
from payonce.testing.sim_bill import MODELS, Input
from payonce.testing.sim_meter import count

NOW = 1_790_000_000.0
GIVEN = Input(10, cache_read=200, cache_write_5m=30, cache_write_1h=4, provider="Host B", memo="m")
ASKS: dict[str, dict[str, Any]] = {
    "chat/completions": {"model": "sim/large", "messages": [{"role": "user", "content": "x"}]},
    "messages": {"model": "sim/large", "messages": [{"role": "user", "content": "x"}]},
    "responses": {"model": "sim/large", "input": "x"},
}


class Told:
    """A meter that always says the same, and keeps what it was told."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Mapping[str, Any], Mapping[str, str], float]] = []
        self.begun: list[tuple[Input, float]] = []

    def charge(self, endpoint: str, body: Mapping[str, Any], headers: Mapping[str, str], now: float) -> Input:
        if body.get("user") == "nobody":
            raise AskError(400, "A maximum of 4 blocks with cache_control may be provided. Found 5.")
        self.asked.append((endpoint, body, headers, now))
        return GIVEN

    def began(self, given: Input, now: float) -> None:
        self.begun.append((given, now))


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def sim(told: Told) -> Iterator[SimulatedProvider]:
    with running_sim(meter=told, clock=lambda: NOW) as running:
        yield running


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("endpoint", ASKS)
def test_usage_bill_and_cost_are_what_the_meter_says(
    sim: SimulatedProvider, told: Told, endpoint: str, stream: bool
) -> None:
    answer = raw(sim, ASKS[endpoint] | {"stream": stream}, path=f"/api/v1/{endpoint}")
    last = (answer.events()[-1] if endpoint != "messages" else answer.events()[-2]) if stream else answer.json()
    usage = last.get("usage") or last["response"]["usage"]
    if endpoint == "messages":
        assert (usage["input_tokens"], usage["cache_read_input_tokens"], usage["cache_creation_input_tokens"]) == (
            *(10, 200, 34),
        )
        assert usage["cache_creation"] == {"ephemeral_5m_input_tokens": 30, "ephemeral_1h_input_tokens": 4}
    else:
        read = "prompt_tokens" if endpoint == "chat/completions" else "input_tokens"
        details = usage[f"{read}_details"]
        assert (usage[read], details["cached_tokens"], details["cache_write_tokens"]) == (244, 200, 34)
    large = MODELS["sim/large"]
    assert large.cache_read and large.cache_write and large.cache_write_1h
    cost = 10 * large.prompt + 200 * large.cache_read + 30 * large.cache_write + 4 * large.cache_write_1h
    cost += sim.bill.completion_tokens * large.completion
    assert sim.bill.cost == cost == Decimal(str(usage["cost"]))
    assert (sim.bill.prompt_tokens, sim.bill.cache_read_tokens, sim.bill.cache_write_tokens) == (244, 200, 34)
    [(asked, body, headers, now)] = told.asked
    assert (asked, now, body["model"]) == (endpoint, NOW, "sim/large") and headers["authorization"] == "Bearer sk-or-a"
    assert told.begun == [(GIVEN, NOW)]
    if endpoint != "responses":
        assert b'"provider":"Host B"' in answer.body


def test_a_meter_may_refuse_a_request(sim: SimulatedProvider) -> None:
    answer = raw(sim, ASKS["messages"] | {"user": "nobody"}, path="/api/v1/messages")
    assert answer.status == 400 and "maximum of 4 blocks" in answer.json()["error"]["message"]
    assert sim.bill.calls == 0


def test_what_is_not_billed_is_not_metered(sim: SimulatedProvider, told: Told) -> None:
    assert raw(sim, ASKS["messages"], path="/api/v1/messages", fault="503").status == 503
    assert told.asked == told.begun == []


def test_all_that_is_sent_counts_and_markers_do_not() -> None:
    tool = {"name": "weather", "input_schema": {"type": "object"}}
    plain = {"system": "s" * 400, "tools": [tool], "messages": [{"role": "user", "content": "u" * 40}]}
    assert count("messages", plain) == 100 + 12 + 4 + 10
    marker = {"cache_control": {"type": "ephemeral"}}
    marked = {
        "system": [{"type": "text", "text": "s" * 400, **marker}],
        "tools": [tool | marker],
        "messages": [{"role": "user", "content": [{"type": "text", "text": "u" * 40, **marker}]}],
    }
    assert count("messages", marked) == count("messages", plain)
    assert count("responses", {"input": "u" * 40, "instructions": "s" * 400}) == 114


A, B = Function("alpha", {}), Function("beta", {})


@pytest.mark.parametrize(
    ("said", "choice", "calls"),
    [
        ("hello", "auto", ["alpha", None]),
        ("3 tool calls, please", "auto", ["alpha", "beta", "alpha", None]),
        ("ask beta", "auto", ["beta", None]),
        ("without tools", "auto", [None]),
        ("hello", "none", [None]),
        ("hello", "required", ["alpha", "beta", "beta"]),
        ("hello", ("beta",), ["beta", "beta"]),
    ],
)
def test_an_agent_is_led_to_its_end(said: str, choice: Any, calls: list[str | None]) -> None:
    for rounds, name in enumerate(calls):
        found = wanted(Offer((A, B), choice), Turn(said, rounds))
        assert [function.name for function in found] == ([name] if name else [])


def test_two_tools_are_called_at_once_where_that_is_allowed() -> None:
    both = Turn("in parallel", 0)
    assert wanted(Offer((A, B)), both) == (A, B)
    assert wanted(Offer((A, B), parallel=False), both) == (A,)

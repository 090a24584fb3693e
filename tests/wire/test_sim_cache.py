"""The simulated provider's prompt cache over the wire: usage, cost and bill, documented 400s, hosts, its clock."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import pytest
from sim_client import raw
from tests.support.gateway import until
from tests.support.held import held_back

from payonce.testing.providers import Outage
from payonce.testing.sim import CacheMeter, SimulatedProvider, running_sim

EPHEMERAL = {"type": "ephemeral"}
CLAUDE = "anthropic/claude-sonnet-4.5"
PATHS = {name: f"/api/v1/{name}" for name in ("chat/completions", "messages", "responses")}
Json = dict[str, Any]


@pytest.fixture
def sim() -> Iterator[SimulatedProvider]:
    with running_sim(meter=CacheMeter()) as running:
        yield running


def part(letter: str = "x", mark: Json | None = None, *, kind: str = "text") -> Json:
    return {"type": kind, "text": letter * 8000} | ({"cache_control": mark} if mark else {})


def asked(endpoint: str, *parts: Json, model: str = CLAUDE, **more: Any) -> Json:
    turns = [{"role": "user", "content": list(parts)}]
    shape: Json = {"input": turns} if endpoint == "responses" else {"messages": turns}
    return {"model": model, "max_tokens": 10, "session_id": "one host", **shape, **more}


def used(answer: Any) -> tuple[int, int]:
    """Read and written tokens, in whichever convention."""
    usage = answer.json()["usage"]
    if "cache_read_input_tokens" in usage:
        return usage["cache_read_input_tokens"], usage["cache_creation_input_tokens"]
    details = usage.get("prompt_tokens_details") or usage["input_tokens_details"]
    return details["cached_tokens"], details["cache_write_tokens"]


@pytest.mark.parametrize("endpoint", PATHS)
def test_a_marked_prefix_is_written_and_then_read(sim: SimulatedProvider, endpoint: str) -> None:
    kind = "input_text" if endpoint == "responses" else "text"
    body = asked(endpoint, part("a", EPHEMERAL, kind=kind), part("q", kind=kind))
    answers = [raw(sim, body, path=PATHS[endpoint]) for _ in range(2)]
    assert [used(answer) for answer in answers] == [(0, 2000), (2000, 0)]
    write, read, plain = Decimal("0.00000375"), Decimal("0.0000003"), Decimal("0.000003")
    costs = sim.bill.cost - sim.bill.completion_tokens * Decimal("0.000015")
    assert costs == 2000 * write + 2000 * read + 2 * 2000 * plain
    assert (sim.bill.cache_read_tokens, sim.bill.cache_write_tokens) == (2000, 2000)


@pytest.mark.parametrize(
    ("path", "wants"),
    [(PATHS["chat/completions"], "error"), (PATHS["messages"], "type"), ("/anthropic/v1/messages", "type")],
)
def test_a_fifth_marker_is_a_400_in_the_endpoints_own_shape(sim: SimulatedProvider, path: str, wants: str) -> None:
    body = asked("messages", *(part("a", EPHEMERAL) for _ in range(5)))
    answer = raw(sim, body, path=path, more=("anthropic-version: 2023-06-01",))
    assert answer.status == 400 and "Found 5." in answer.json()["error"]["message"] and wants in answer.json()
    assert sim.bill.calls == 0


def test_an_hour_after_five_minutes_is_a_400(sim: SimulatedProvider) -> None:
    body = asked("messages", part("a", EPHEMERAL), part("b", {"type": "ephemeral", "ttl": "1h"}))
    answer = raw(sim, body, path=PATHS["messages"])
    assert answer.status == 400 and "must not come after" in answer.json()["error"]["message"]


def test_the_clock_can_be_moved_over_the_wire(sim: SimulatedProvider) -> None:
    body, path = asked("messages", part("a", EPHEMERAL)), PATHS["messages"]
    raw(sim, body, path=path)
    for seconds, read in ((290, 2000), (290, 2000), (310, 0)):
        moved = raw(sim, {}, path=f"/_sim/clock?advance={seconds}")
        assert moved.json()["now"] == pytest.approx(sim.advance(0), abs=5)
        assert used(raw(sim, body, path=path))[0] == read
    assert raw(sim, {}, path="/_sim/clock?advance=soon").status == 400
    assert raw(sim, {}, path="/_sim/clock?advance=-1").status == 400


def test_without_a_session_hosts_change_and_with_the_clients_order_they_do_not(sim: SimulatedProvider) -> None:
    path = PATHS["chat/completions"]
    free = asked("chat/completions", {"type": "text", "text": "hi"})
    del free["session_id"]
    assert len({raw(sim, free, path=path).json()["provider"] for _ in range(12)}) > 1
    pinned = free | {"provider": {"order": ["Google"]}}
    assert {raw(sim, pinned, path=path).json()["provider"] for _ in range(5)} == {"Google"}


def test_a_host_that_is_lost_loses_the_cache() -> None:
    now = 1_790_000_000.0
    body, path = asked("messages", part("a", EPHEMERAL)), PATHS["messages"]
    hosts = ("Anthropic", "Amazon Bedrock", "Google")
    with running_sim(meter=CacheMeter(), clock=lambda: now) as sim:
        home = raw(sim, body, path=path).json()["provider"]
        assert home in hosts and used(raw(sim, body, path=path)) == (2000, 0)
    with running_sim(meter=CacheMeter(outages=[Outage(home, now + 50, now + 99)]), clock=lambda: now) as sim:
        assert raw(sim, body, path=path).json()["provider"] == home
        sim.advance(60)
        answer = raw(sim, body, path=path)
        assert answer.json()["provider"] != home and used(answer) == (0, 2000)


def test_what_is_written_can_be_read_only_once_the_answer_has_begun() -> None:
    with held_back() as held, running_sim(meter=CacheMeter()) as sim, ThreadPoolExecutor(2) as pool:
        body, path = asked("messages", part("a", EPHEMERAL)), PATHS["messages"]
        both = [pool.submit(raw, sim, body, path=path) for _ in range(2)]
        assert until(lambda: held.waiting == 2)
        held.go.set()
        assert [used(one.result()) for one in both] == [(0, 2000), (0, 2000)]
        assert used(raw(sim, body, path=path)) == (2000, 0)


def test_keys_do_not_share_a_cache(sim: SimulatedProvider) -> None:
    body, path = asked("messages", part("a", EPHEMERAL)), PATHS["messages"]
    raw(sim, body, path=path, auth="Bearer sk-or-a")
    assert used(raw(sim, body, path=path, auth="Bearer sk-or-b")) == (0, 2000)


@pytest.mark.parametrize(
    ("model", "second"),
    [
        ("openai/gpt-5.6", (4000, 0)),
        ("openai/gpt-4.1", (3968, 0)),
        ("sim/small", (3968, 0)),
        ("deepseek/deepseek-chat", (3968, 0)),
        ("nobody/knows", (0, 0)),
    ],
)
def test_models_that_need_no_marker_cache_by_their_own_rules(
    sim: SimulatedProvider, model: str, second: tuple[int, int]
) -> None:
    body = asked("chat/completions", part("a"), part("b"), model=model)
    raw(sim, body, path=PATHS["chat/completions"])
    assert used(raw(sim, body, path=PATHS["chat/completions"])) == second


@pytest.mark.parametrize("turns", [[{"role": "user"}], ["hi"], [{"role": "user", "content": [1]}]])
def test_odd_requests_are_answered_and_never_break_the_provider(sim: SimulatedProvider, turns: list[Any]) -> None:
    body = {"model": CLAUDE, "max_tokens": 9, "messages": turns}
    assert raw(sim, body, path=PATHS["messages"]).status in {200, 400}
    assert used(raw(sim, asked("messages", part("a", EPHEMERAL)), path=PATHS["messages"])) == (0, 2000)


# ------------------------------------------------------------------------------- Anthropic's own account of a miss


def diagnosed(sim: SimulatedProvider, previous: str | None, *turns: str, **more: Any) -> tuple[Any, str]:
    """The account of one turn, and the answer's id."""
    messages = [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(turns)]
    tools = [{"name": "f", "input_schema": {"type": "object"}}]
    body: Json = {"model": "claude-sonnet-4.5", "max_tokens": 9, "system": "s" * 400, "messages": messages}
    body |= {"tools": tools, "diagnostics": {"previous_message_id": previous}, **more}
    answer = raw(sim, body, path="/anthropic/v1/messages", more=("anthropic-version: 2023-06-01",)).json()
    return answer["diagnostics"], answer["id"]


def test_a_conversation_that_only_grows_has_nothing_to_account_for(sim: SimulatedProvider) -> None:
    found, first = diagnosed(sim, None, "hi")
    assert found is None
    assert diagnosed(sim, first, "hi", "hello", "more")[0] is None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"model": "claude-opus-5"}, {"type": "model_changed", "cache_missed_input_tokens": 106}),
        ({"tools": [{"name": "g", "input_schema": {}}]}, {"type": "tools_changed", "cache_missed_input_tokens": 102}),
        ({"system": "t" * 400}, {"type": "system_changed", "cache_missed_input_tokens": 101}),
        (
            {"messages": [{"role": "user", "content": "no"}]},
            {"type": "messages_changed", "cache_missed_input_tokens": 1},
        ),
        ({"tool_choice": {"type": "any"}}, {"type": "unavailable"}),
        ({"diagnostics": {"previous_message_id": "msg_other"}}, {"type": "previous_message_not_found"}),
    ],
)
def test_a_miss_is_accounted_for_by_its_earliest_level(sim: SimulatedProvider, change: Json, reason: Json) -> None:
    _, first = diagnosed(sim, None, "hi")
    assert diagnosed(sim, first, "hi", **change)[0] == {"cache_miss_reason": reason}


def test_who_does_not_ask_gets_no_account(sim: SimulatedProvider) -> None:
    body = asked("messages", part("a"), model="claude-sonnet-4.5")
    native = raw(sim, body, path="/anthropic/v1/messages", more=("anthropic-version: 2023-06-01",)).json()
    routed = raw(sim, body | {"model": CLAUDE, "diagnostics": {"previous_message_id": None}}, path=PATHS["messages"])
    assert "diagnostics" not in native and "diagnostics" not in routed.json()

"""The client's own word goes first: its markers, its settings, and what the operator set."""

from __future__ import annotations

from typing import Any

import pytest

from payonce.optimise import Act, Planner
from tests.optimise.planning import MODEL, ask, bare, marks, text

EPHEMERAL = {"type": "ephemeral"}


def warm(planner: Planner, **more: Any) -> dict[str, Any]:
    """Let the planner see a system prompt often; gives the body of one more request."""
    for number in range(4):
        planner.plan(ask(f"q{number}", system=text(3000)), dialect="messages", model=MODEL, now=number * 10.0, **more)
    return ask("one more", system=text(3000))


def test_the_control_a_known_prompt_is_marked() -> None:
    planner = Planner()
    assert marks(planner.plan(warm(planner), dialect="messages", model=MODEL, now=50.0).body)


@pytest.mark.parametrize(
    "own",
    [
        {"cache_control": EPHEMERAL},
        {"system": [{"type": "text", "text": text(3000), "cache_control": EPHEMERAL}]},
        {"tools": [{"name": "a", "input_schema": {}, "cache_control": EPHEMERAL}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "x", "cache_control": EPHEMERAL}]}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "x", "prompt_cache_breakpoint": {}}]}]},
    ],
    ids=["top level", "system", "tools", "message", "breakpoint"],
)
def test_the_clients_own_markers_stay_alone(own: dict[str, Any]) -> None:
    planner = Planner()
    body = warm(planner) | own
    plan = planner.plan(body, dialect="messages", model=MODEL, now=50.0, upstream="anthropic")
    assert plan.body == body
    assert not plan.changed
    assert [one.act for one in plan.advice] == [Act.STAND_DOWN]


def test_respect_leaves_the_body_and_keeps_the_host() -> None:
    planner = Planner()
    plan = planner.plan(warm(planner), dialect="messages", model=MODEL, now=50.0, mode="respect")
    assert not marks(plan.body)
    assert [one.act for one in plan.advice] == [Act.STAND_DOWN, Act.STICK]


def test_off_does_nothing_at_all() -> None:
    planner = Planner()
    body = warm(planner)
    headers = ((b"anthropic-beta", b"prompt-caching-2024-07-31"),)
    plan = planner.plan(body, dialect="messages", model=MODEL, now=50.0, mode="off", headers=headers)
    assert (plan.body, plan.headers, plan.changed) == (body, (), False)
    assert plan.body is not body
    planner.observe(plan, {"input_tokens": 3}, now=51.0)


@pytest.mark.parametrize("ttl", ["5m", "1h"])
def test_the_operators_lifetime_is_used_for_every_marker(ttl: Any) -> None:
    planner = Planner()
    plan = planner.plan(warm(planner, ttl=ttl), dialect="messages", model=MODEL, now=50.0, ttl=ttl)
    assert set(marks(plan.body)) == {ttl}


@pytest.mark.parametrize(
    "model", ["acme/unheard-of-1", "deepseek/deepseek-v3.2", "google/gemini-2.5-pro", "x-ai/grok-4"]
)
def test_models_that_take_no_markers_get_none(model: str) -> None:
    planner = Planner()
    for number in range(6):
        plan = planner.plan(ask(f"q{number}", system=text(3000)), dialect="chat", model=model, now=number * 10.0)
        assert bare(plan.body) == bare(ask(f"q{number}", system=text(3000)))
        assert not marks(plan.body)
    assert plan.body["session_id"]


@pytest.mark.parametrize(
    ("upstream", "dialect", "marked"),
    [
        ("openrouter", "messages", True), ("openrouter", "chat", True), ("anthropic", "messages", True),
        ("other", "messages", True), ("other", "chat", False), ("openai", "chat", False),
    ],
)  # fmt: skip
def test_markers_go_only_where_the_upstream_takes_them(upstream: Any, dialect: Any, marked: bool) -> None:
    planner = Planner()
    for number in range(6):
        messages = [{"role": "system", "content": text(3000)}, {"role": "user", "content": f"q{number}"}]
        body: dict[str, Any] = {"model": MODEL, "messages": messages}
        plan = planner.plan(body, dialect=dialect, model=MODEL, now=number * 10.0, upstream=upstream)
    assert bool(marks(plan.body)) is marked


def test_a_refusal_is_remembered_and_the_clients_own_body_goes_out() -> None:
    planner = Planner()
    plan = planner.plan(warm(planner), dialect="messages", model=MODEL, now=50.0)
    said = b'{"error":{"message":"messages.0: cache_control: Extra inputs are not permitted"}}'
    assert not planner.refused(plan, 500, said)
    assert not planner.refused(plan, 400, b'{"error":{"message":"max_tokens: too large"}}')
    assert planner.refused(plan, 400, said)
    later = planner.plan(warm(planner), dialect="messages", model=MODEL, now=60.0)
    assert not marks(later.body)
    assert later.advice[0].act is Act.STAND_DOWN
    next_day = planner.plan(warm(planner), dialect="messages", model=MODEL, now=90_000.0)
    assert next_day.advice[0].act is not Act.STAND_DOWN


def test_a_body_that_nothing_was_added_to_is_not_sent_twice() -> None:
    planner = Planner()
    plan = planner.plan(ask("hi"), dialect="messages", model=MODEL, now=0.0, upstream="anthropic")
    assert not planner.refused(plan, 400, b"cache_control")

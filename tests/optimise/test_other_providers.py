"""OpenAI's paid writes, and the dialect of responses."""

from __future__ import annotations

from typing import Any

from payonce.optimise import Act, Plan, Planner
from tests.optimise.planning import MODEL, text

GPT = "openai/gpt-5.6"


def gpt(planner: Planner, messages: list[Any], now: float, **more: Any) -> Plan:
    body: dict[str, Any] = {"model": GPT, "messages": messages} | more
    return planner.plan(body, dialect="chat", model=GPT, now=now, upstream="openai")


def test_paid_writes_are_switched_off_for_prompts_that_nobody_asks_again() -> None:
    planner = Planner()
    for number in range(10):
        plan = gpt(planner, [{"role": "user", "content": text(3000, number)}], number * 5.0)
        assert plan.body["prompt_cache_options"] == {"mode": "explicit"}
        assert plan.advice[0].act is Act.SWITCH_OFF
        assert plan.advice[0].saving > 500


def test_a_conversation_keeps_the_providers_own_caching() -> None:
    planner = Planner()
    said: list[Any] = []
    for number in range(6):
        said = [*said, {"role": "user", "content": text(900, number)}]
        plan = gpt(planner, said, number * 20.0)
        said = [*said, {"role": "assistant", "content": "yes"}]
    assert "prompt_cache_options" not in plan.body
    assert plan.advice[0].act is Act.LEAVE
    assert plan.advice[0].saving > 0


def test_what_many_share_is_kept_without_each_question() -> None:
    planner = Planner()
    for number in range(6):
        messages = [{"role": "developer", "content": text(3000)}, {"role": "user", "content": text(200, number)}]
        plan = gpt(planner, messages, number * 20.0)
    assert plan.body["prompt_cache_options"] == {"mode": "explicit"}
    (part,) = plan.body["messages"][0]["content"]
    assert part == {"type": "text", "text": text(3000), "prompt_cache_breakpoint": {"mode": "explicit"}}
    assert isinstance(plan.body["messages"][1]["content"], str)


def test_short_prompts_and_the_clients_own_options_are_left_alone() -> None:
    planner = Planner()
    assert "prompt_cache_options" not in gpt(planner, [{"role": "user", "content": "hi"}], 0.0).body
    own = {"mode": "implicit"}
    plan = gpt(planner, [{"role": "user", "content": text(3000)}], 1.0, prompt_cache_options=own)
    assert plan.body["prompt_cache_options"] == own
    assert plan.advice[0].act is Act.STAND_DOWN


def responses(planner: Planner, items: Any, now: float) -> Plan:
    return planner.plan({"model": MODEL, "input": items}, dialect="responses", model=MODEL, now=now)


def test_a_conversation_in_responses_is_marked_at_the_top() -> None:
    planner = Planner()
    said: list[Any] = []
    for number in range(4):
        said = [*said, {"role": "user", "content": text(900, number)}]
        plan = responses(planner, said, number * 20.0)
        said = [*said, {"role": "assistant", "content": "yes"}]
    assert plan.body["cache_control"] == {"type": "ephemeral"}
    assert plan.body["input"] == said[:-1]


def test_a_shared_beginning_in_responses_is_marked_by_a_breakpoint() -> None:
    planner = Planner()
    for number in range(6):
        items = [{"role": "developer", "content": text(3000)}, {"role": "user", "content": text(400, number)}]
        plan = responses(planner, items, number * 20.0)
    assert "cache_control" not in plan.body
    (part,) = plan.body["input"][0]["content"]
    assert part == {"type": "input_text", "text": text(3000), "prompt_cache_breakpoint": {"mode": "explicit"}}


def test_a_plain_string_as_input_is_read_too() -> None:
    plan = responses(Planner(), "hello", 0.0)
    assert plan.body["input"] == "hello"
    assert "session_id" in plan.body


def test_conversations_of_one_beginning_meet_where_writing_is_paid_and_they_are_few() -> None:
    planner = Planner()
    plans = [_talked(planner, number, 300.0 * number) for number in range(4)]
    assert "prompt_cache_key" in plans[0][0].body  # nothing was seen of the beginning yet
    for turns in plans[1:]:
        for plan in turns:
            assert "prompt_cache_key" not in plan.body
            (part,) = plan.body["messages"][0]["content"]
            assert part["prompt_cache_breakpoint"] == {"mode": "explicit"}
            assert "prompt_cache_options" not in plan.body
            assert {one.act for one in plan.advice} == {Act.LEAVE, Act.MARK}


def test_conversations_of_one_beginning_stay_apart_where_they_are_many() -> None:
    planner = Planner()
    plans = [_talked(planner, number, 4.0 * number)[0] for number in range(40)]
    assert all("prompt_cache_key" in plan.body for plan in plans[20:])
    assert len({plan.body["prompt_cache_key"] for plan in plans[20:]}) == 20


def _talked(planner: Planner, number: int, start: float) -> list[Plan]:
    """A conversation of three turns, seconds apart, under a developer message that all share."""
    said: list[Any] = [{"role": "developer", "content": text(3000)}]
    plans = []
    for turn in range(3):
        said = [*said, {"role": "user", "content": text(900, 10 * number + turn)}]
        plans.append(gpt(planner, said, start + turn))
        said = [*said, {"role": "assistant", "content": "yes"}]
    return plans

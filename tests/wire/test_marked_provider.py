"""Anthropic's cache in the strict model: recorded bills turn by turn, documented 400s, lifetimes, isolation."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from payonce.testing.providers import MarkedCache, MarkerRules, Provider, Rates, Served

RATES = Rates.times("3", output="5", read="0.1", write="1.25", write_1h="2")
RULES = MarkerRules(minimum=1024)
EPHEMERAL = {"type": "ephemeral"}
HOUR = {"type": "ephemeral", "ttl": "1h"}
Json = dict[str, Any]


def text(tokens: int, mark: Json | None = None, letter: str = "x") -> Json:
    return {"type": "text", "text": letter * (4 * tokens)} | ({"cache_control": mark} if mark else {})


def user(*parts: Json) -> Json:
    return {"role": "user", "content": list(parts)}


def said(*parts: Json) -> Json:
    return {"role": "assistant", "content": list(parts)}


def body(*messages: Json, **more: Any) -> Json:
    return {"model": "claude-sonnet-4.5", "messages": list(messages)} | more


def provider(rules: MarkerRules = RULES) -> Provider:
    return Provider(MarkedCache(rules), RATES)


def ask(one: Provider, given: Json, now: float, **more: Any) -> Served:
    return one.serve(given, dialect="messages", now=now, **more)


def billed(served: Served) -> tuple[int, int, int, int]:
    assert served.error is None, served.error
    return served.read, served.write_5m, served.write_1h, served.plain


# ------------------------------------------------------------------------------------------------ recorded bills


def test_a_recorded_agent_loop_is_billed_turn_by_turn() -> None:
    """0xPlaygrounds/rig, `conformance_agent_loop`: what was written is read in the next turn."""
    one = provider(replace(RULES, closing={"text": 3, "tool_result": 1}))
    start = [text(5169, letter="s")]

    def turn(*more: Json, mark_last: bool = True) -> Json:
        messages = copy.deepcopy([user(*start), *more])
        messages[-1]["content"][-1]["cache_control"] = EPHEMERAL
        return body(*messages)

    def step(n: int, tokens: int) -> list[Json]:
        called = {"role": "assistant", "content": [{"type": "tool_use", "id": f"i{n}", "name": "ab", "input": {}}]}
        answer = {"type": "tool_result", "tool_use_id": f"i{n}", "content": "r" * 4 * (tokens - 1)}
        return [called, user(answer)]

    assert billed(ask(one, turn(), 0)) == (0, 5169, 0, 3)
    assert billed(ask(one, turn(*step(1, 101)), 5)) == (5169, 101, 0, 1)
    assert billed(ask(one, turn(*step(1, 101), *step(2, 99)), 9)) == (5270, 99, 0, 1)


def test_recorded_mixed_lifetimes_are_written_side_by_side() -> None:
    """rig, `static_prefix_with_explicit_tool_marker_at_marker_limit`: 9,777 written = 9,441 for 1h + 336 for 5m."""
    served = ask(provider(), body(user(text(336, EPHEMERAL)), system=[text(9441, HOUR, "s")]), 0)
    assert billed(served) == (0, 336, 9441, 0)
    assert served.usage["cache_creation_input_tokens"] == 9777
    assert served.usage["cache_creation"] == {"ephemeral_5m_input_tokens": 336, "ephemeral_1h_input_tokens": 9441}


def test_recorded_prompt_costs_of_sonnet_are_exact() -> None:
    """Sonnet 4.6 through OpenRouter, marked system and messages: three prompts, exact to the last digit."""
    one = provider(replace(RULES, closing={"text": 3, "tool_result": 1}))
    system, ask_one, ask_other = text(2240, EPHEMERAL, "s"), text(329, EPHEMERAL, "u"), text(329, EPHEMERAL, "o")
    call = {"role": "assistant", "content": [{"type": "tool_use", "id": "abcd", "name": "abcdefgh", "input": {}}]}
    result = {"type": "tool_result", "tool_use_id": "abcd", "content": "r" * 4 * 77, "cache_control": EPHEMERAL}
    first = ask(one, body(user(ask_one), system=[system]), 0)
    second = ask(one, body(user(ask_one), call, user(result), system=[system]), 5)
    third = ask(one, body(user(ask_other), system=[system]), 9)
    assert [billed(s) for s in (first, second, third)] == [(0, 2569, 0, 3), (2569, 79, 0, 1), (2240, 329, 0, 3)]
    assert [s.prompt_cost for s in (first, second, third)] == [
        Decimal("0.00964275"), Decimal("0.00106995"), Decimal("0.00191475"),
    ]  # fmt: skip


# --------------------------------------------------------------------------------------------------- the 400s

REFUSED: list[tuple[str, Json]] = [
    ("Found 5", body(user(*(text(9, EPHEMERAL) for _ in range(5))))),
    ("Found 5", body(user(*(text(9, EPHEMERAL) for _ in range(4)), text(9)), cache_control=EPHEMERAL)),
    ("must not come after", body(user(text(9, HOUR)), system=[text(9, EPHEMERAL)])),
    ("must not come after", body(user(text(9, EPHEMERAL), text(9)), cache_control=HOUR)),
    ("another ttl", body(user(text(9, EPHEMERAL)), cache_control=HOUR)),
    ("empty text", body(user({"type": "text", "text": "", "cache_control": EPHEMERAL}))),
    ("thinking", body(said({"type": "thinking", "thinking": "x", "cache_control": EPHEMERAL}))),
    ("defer_loading", body(user(text(9)), tools=[{"name": "f", "defer_loading": True, "cache_control": EPHEMERAL}])),
    ("clear_at", body({"role": "system", "content": [text(9, EPHEMERAL)], "clear_at": "next_user_message"})),
    ("ttl", body(user(text(9, {"type": "ephemeral", "ttl": "2h"})))),
    ("ephemeral", body(user(text(9, {"type": "persistent"})))),
    ("citations", body(user({"type": "text", "text": "x", "citations": [{"cache_control": EPHEMERAL}]}))),
    ("model", {"messages": []}),
    ("messages", {"model": "m"}),
]  # fmt: skip


@pytest.mark.parametrize(("word", "given"), REFUSED, ids=[f"{n} {word}" for n, (word, _) in enumerate(REFUSED)])
def test_what_is_documented_as_an_error_is_refused_and_not_billed(word: str, given: Json) -> None:
    served = ask(provider(), given, 0)
    assert (served.status, served.cost, served.usage) == (400, 0, {})
    assert word in (served.error or "")


@pytest.mark.parametrize(
    "given",
    [
        body(user(*(text(9, EPHEMERAL) for _ in range(4)))),
        body(user(*(text(9, EPHEMERAL) for _ in range(3)), text(9)), cache_control=EPHEMERAL),
        body(user(*(text(9, EPHEMERAL) for _ in range(4))), cache_control=EPHEMERAL),
        body(user(text(9, EPHEMERAL)), system=[text(9, HOUR)]),
        body(user(text(2000)), said({"type": "thinking", "thinking": "x"}), cache_control=HOUR),
    ],
)  # fmt: skip
def test_what_is_just_allowed_is_not_refused(given: Json) -> None:
    assert ask(provider(), given, 0).status == 200


def test_the_automatic_marker_walks_back_to_a_block_that_can_carry_it() -> None:
    thinking = {"role": "assistant", "content": [{"type": "thinking", "thinking": "t" * 400}]}
    assert billed(ask(provider(), body(user(text(2000)), thinking, cache_control=EPHEMERAL), 0)) == (0, 2000, 0, 100)


# ----------------------------------------------------------------------------------------- lifetimes and minimum


@pytest.mark.parametrize(("mark", "lives"), [(EPHEMERAL, 300), (HOUR, 3600)])
def test_an_entry_lives_from_the_start_of_the_request_and_each_read_renews_it(mark: Json, lives: float) -> None:
    one, given = provider(), body(user(text(2000, mark)))
    assert ask(one, given, 0, first_token_after=200).read == 0
    assert ask(one, given, lives - 1).read == 2000
    assert ask(one, given, 2 * lives - 2).read == 2000
    assert ask(one, given, 3 * lives - 2).read == 0


def test_a_prefix_under_the_minimum_is_silently_not_kept() -> None:
    one = provider()
    for tokens, kept in ((1023, 0), (1024, 1024)):
        given = body(user(text(tokens, EPHEMERAL)))
        assert billed(ask(one, given, 0)) == (0, kept, 0, tokens - kept)
        assert ask(one, given, 10).read == kept


def test_nothing_is_written_without_a_marker() -> None:
    one = provider()
    assert billed(ask(one, body(user(text(5000))), 0)) == (0, 0, 0, 5000)
    assert billed(ask(one, body(user(text(5000, EPHEMERAL))), 9)) == (0, 5000, 0, 0)


def test_an_entry_is_readable_only_once_the_first_answer_has_begun() -> None:
    one, given = provider(), body(user(text(2000, EPHEMERAL)))
    assert [ask(one, given, at, first_token_after=5).write_5m for at in (0, 4.9)] == [2000, 2000]
    assert ask(one, given, 5).read == 2000


# ------------------------------------------------------------------------------------------------- the look-back


@pytest.mark.parametrize(("blocks", "read"), [(19, 2000), (20, 0)])
def test_a_marker_looks_back_over_twenty_positions(blocks: int, read: int) -> None:
    one = provider()
    ask(one, body(user(text(2000, EPHEMERAL))), 0)
    more = [text(5) for _ in range(blocks - 1)]
    assert ask(one, body(user(text(2000), *more, text(5, EPHEMERAL))), 9).read == read


@pytest.mark.parametrize(("collapse", "read"), [(True, 2000), (False, 0)])
def test_a_run_of_tool_results_is_one_position_or_many_by_reading(collapse: bool, read: int) -> None:
    one = provider(replace(RULES, collapse_tool_runs=collapse))
    ask(one, body(user(text(2000, EPHEMERAL))), 0)
    calls = [{"type": "tool_use", "id": f"c{n}", "name": "f", "input": {}} for n in range(30)]
    results: list[Json] = [{"type": "tool_result", "tool_use_id": f"c{n}", "content": "ok"} for n in range(30)]
    results[-1]["cache_control"] = EPHEMERAL
    grown = body(user(text(2000)), {"role": "assistant", "content": calls}, user(*results))
    assert ask(one, grown, 9).read == read


# ------------------------------------------------------------------------------------------------ open questions


@pytest.mark.parametrize(("reading", "then", "late"), [("no", 0, 2000), ("reads", 2000, 0), ("extends", 2000, 2000)])
def test_whether_a_marker_of_an_hour_reads_an_entry_of_five_minutes(reading: Any, then: int, late: int) -> None:
    one = provider(replace(RULES, one_hour_reads_5m=reading))
    ask(one, body(user(text(2000, EPHEMERAL))), 0)
    assert ask(one, body(user(text(2000, HOUR))), 100).read == then
    assert ask(one, body(user(text(2000, HOUR))), 2000).read == late


@pytest.mark.parametrize(("ancestors", "read"), [(True, 2000), (False, 0)])
def test_whether_a_read_renews_the_entries_of_shorter_prefixes(ancestors: bool, read: int) -> None:
    one = provider(replace(RULES, reads_refresh_ancestors=ancestors))
    ask(one, body(user(text(2000, EPHEMERAL), text(500, EPHEMERAL))), 0)
    ask(one, body(user(text(2000), text(500, EPHEMERAL))), 250)
    assert ask(one, body(user(text(2000, EPHEMERAL), text(9))), 400).read == read


def test_a_marked_shorter_prefix_is_renewed_under_either_reading() -> None:
    one = provider(RULES.pessimistic())
    ask(one, body(user(text(2000, EPHEMERAL), text(500, EPHEMERAL))), 0)
    ask(one, body(user(text(2000, EPHEMERAL), text(500, EPHEMERAL))), 250)
    assert ask(one, body(user(text(2000, EPHEMERAL), text(9))), 400).read == 2000


# ------------------------------------------------------------------------------------- what a prefix depends on

BASE = body(
    user(text(2000), text(100, EPHEMERAL)),
    tools=[{"name": "f", "description": "d" * 4400, "input_schema": {"a": 1, "b": 2}, "cache_control": EPHEMERAL}],
    system=[text(1100, EPHEMERAL, "s")],
)
CHANGES: list[tuple[str, Mapping[str, Any], str]] = [
    ("nothing", {}, "all"),
    ("model", {"model": "claude-other"}, ""),
    ("order of keys in a tool", {"tools": [{"name": "f", "description": "d" * 4400, "input_schema": {"b": 2, "a": 1},
                                           "cache_control": EPHEMERAL}]}, ""),
    ("speed", {"speed": "fast"}, "tools"),
    ("system", {"system": [text(1100, EPHEMERAL, "z")]}, "tools"),
    ("tool_choice", {"tool_choice": {"type": "any"}}, "system"),
    ("thinking", {"thinking": {"type": "enabled", "budget_tokens": 2048}}, "system"),
    ("effort", {"output_config": {"effort": "low"}}, "system"),
    ("the default effort", {"output_config": {"effort": "high"}}, "all"),
    ("temperature", {"temperature": 0}, "all"),
    ("another marker", {"system": [text(1100, letter="s")]}, "all"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "kept"), [(c, k) for _, c, k in CHANGES], ids=[n for n, _, _ in CHANGES])
def test_a_change_loses_its_level_and_what_follows(change: Mapping[str, Any], kept: str) -> None:
    one = provider()
    first = ask(one, BASE, 0)
    whole = first.write_5m
    tools = whole - 1100 - 2100
    wanted = {"": 0, "tools": tools, "system": tools + 1100, "all": whole}[kept]
    assert ask(one, BASE | change, 10).read == wanted


def test_pictures_that_appear_lose_the_messages() -> None:
    one = provider()
    ask(one, BASE, 0)
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}}
    later = user({"type": "text", "text": "x", "cache_control": EPHEMERAL}, picture)
    messages = [user(text(2000), text(100)), later]
    assert ask(one, BASE | {"messages": messages}, 10).read == ask(one, BASE | {"messages": [later]}, 11).read


@pytest.mark.parametrize(("keeps", "read"), [(True, 2101), (False, 2000)])
def test_older_models_drop_thinking_when_the_user_speaks_again(keeps: bool, read: int) -> None:
    one = provider(replace(RULES, keeps_thinking=keeps))
    thought = said(
        {"type": "thinking", "thinking": "t" * 200, "signature": "s"},
        {"type": "tool_use", "id": "i", "name": "f", "input": {}},
    )
    result = {"type": "tool_result", "tool_use_id": "i", "content": "r" * 200}
    ask(one, body(user(text(2000, EPHEMERAL))), 0)
    assert ask(one, body(user(text(2000)), thought, user(result | {"cache_control": EPHEMERAL})), 5).read == 2000
    later = body(user(text(2000)), thought, user(result), said(text(9)), user(text(9, EPHEMERAL)))
    assert ask(one, later, 9).read == read


def test_tenants_do_not_share() -> None:
    one, given = provider(), body(user(text(2000, EPHEMERAL)))
    ask(one, given, 0, tenant="a")
    assert ask(one, given, 5, tenant="b").read == 0
    assert ask(one, given, 6, tenant="a").read == 2000


def test_a_string_and_a_list_of_one_text_are_the_same_prompt() -> None:
    one = provider()
    ask(one, body({"role": "user", "content": "x" * 8000}, cache_control=EPHEMERAL), 0)
    assert ask(one, body(user(text(2000, EPHEMERAL))), 5).read == 2000


# ------------------------------------------------------------------------------------------------------ properties

MARKS = st.sampled_from([None, None, EPHEMERAL, HOUR])
CONTENTS = st.sampled_from(["a", "b", "c"]).flatmap(
    lambda letter: st.tuples(st.just(letter), st.sampled_from([200, 900, 1300]), MARKS)
)
BODIES = st.lists(st.lists(CONTENTS, min_size=1, max_size=3), min_size=1, max_size=3)


def made(shape: list[list[tuple[str, int, Json | None]]], *, marks: bool = True) -> Json:
    return body(*(user(*(text(n, mark if marks else None, letter) for letter, n, mark in parts)) for parts in shape))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(BODIES, st.floats(0, 2000)), max_size=8), st.booleans())
def test_each_token_is_billed_once_and_markers_change_no_total(
    asked: list[tuple[list[list[tuple[str, int, Json | None]]], float]], pessimistic: bool
) -> None:
    one, now = provider(RULES.pessimistic() if pessimistic else RULES), 0.0
    for shape, gap in asked:
        now += gap
        before = copy.deepcopy(made(shape))
        given = copy.deepcopy(before)
        served, bare = ask(one, given, now), ask(provider(), made(shape, marks=False), now)
        assert given == before
        if served.status == 200:
            usage = served.usage
            told = usage["input_tokens"] + usage["cache_creation_input_tokens"] + usage["cache_read_input_tokens"]
            assert told == served.split.total == bare.split.total
            assert min(billed(served)) >= 0
        else:
            assert served.cost == 0


@settings(max_examples=50, deadline=None)
@given(BODIES, st.floats(0, 4000))
def test_the_same_requests_give_the_same_bills(shape: list[list[tuple[str, int, Json | None]]], gap: float) -> None:
    runs = []
    for _ in range(2):
        one = provider()
        runs.append([ask(one, made(shape), 0), ask(one, made(shape), gap)])
    assert runs[0] == runs[1]

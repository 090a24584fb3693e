"""The other caches in the strict models: OpenAI old and new, DeepSeek, Gemini, Qwen; and OpenRouter's routing."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from payonce.testing.providers import (
    AutomaticCache,
    AutomaticRules,
    BoundaryCache,
    BoundaryRules,
    LastMarkerCache,
    LastMarkerRules,
    Outage,
    Provider,
    Rates,
    Router,
    Served,
    family_of,
)  # fmt: skip

Json = dict[str, Any]
NEW = Rates.times("5", output="6", read="0.1", write="1.25")
POINT = {"prompt_cache_breakpoint": {"mode": "explicit"}}


def say(role: str, *tokens: int, letter: str = "x", **more: Any) -> Json:
    parts = [{"type": "text", "text": letter * 4 * n} for n in tokens]
    return {"role": role, "content": [*parts[:-1], parts[-1] | more]}


def chat(*messages: Json, model: str = "m", **more: Any) -> Json:
    return {"model": model, "messages": list(messages)} | more


def ask(one: Provider | Router, given: Json, now: float, **more: Any) -> Served:
    served = one.serve(given, dialect="chat", now=now, **more)
    assert served.error is None, served.error
    return served


def billed(served: Served) -> tuple[int, int, int]:
    return served.read, served.write_5m, served.plain


# -------------------------------------------------------------------------------------------- OpenAI, paid writes


def new(per_minute: int = 15) -> Provider:
    return Provider(BoundaryCache(BoundaryRules(1024, per_minute=per_minute)), NEW, convention="openai")


def test_a_growing_conversation_reads_up_to_its_last_boundary() -> None:
    one = new()
    first, answer = say("user", 2000), say("assistant", 50)
    assert billed(ask(one, chat(first), 0)) == (0, 2000, 0)
    assert billed(ask(one, chat(first, answer, say("user", 30)), 60)) == (2000, 80, 0)
    assert billed(ask(one, chat(first, answer, say("user", 30)), 90)) == (2080, 0, 0)


def test_recorded_costs_of_gpt_5_6_are_exact() -> None:
    """GPT-5.6 through OpenRouter, Responses: 4,020 tokens of which 4,012 are written, then read."""
    router = Router([new()])
    body = {"model": "m", "prompt_cache_options": {"mode": "explicit"}, "input": [
        {"role": "user", "content": [{"type": "input_text", "text": "x" * 4 * 4012, **POINT},
                                     {"type": "input_text", "text": "y" * 4 * 8}]}]}  # fmt: skip
    costs = []
    for at in (0, 5):
        served = router.serve(body, dialect="responses", now=at)
        costs.append(served.prompt_cost)
        assert served.usage["cost_details"]["upstream_inference_input_cost"] == float(served.prompt_cost)
    assert costs == [Decimal("0.025115"), Decimal("0.002046")]


def test_explicit_mode_without_a_breakpoint_keeps_nothing_and_costs_no_write() -> None:
    one, given = new(), chat(say("user", 5000), prompt_cache_options={"mode": "explicit"})
    assert [billed(ask(one, given, at)) for at in (0, 9)] == [(0, 0, 5000)] * 2


def test_switching_the_mode_loses_what_was_kept() -> None:
    one = new()
    ask(one, chat(say("user", 2000, **POINT)), 0)
    assert ask(one, chat(say("user", 2000, **POINT), prompt_cache_options={"mode": "explicit"}), 9).read == 0


def test_extending_a_message_is_another_boundary() -> None:
    one = new()
    ask(one, chat(say("user", 2000)), 0)
    assert ask(one, chat(say("user", 2000, 30)), 9).read == 0
    assert ask(one, chat(say("user", 2000), say("user", 30)), 9).read == 2000


def test_at_most_four_boundaries_are_written() -> None:
    one = new()
    marked = [say("assistant", 1100, letter=letter, **POINT) for letter in "abcdef"]
    ask(one, chat(*marked, say("user", 5)), 0)
    reads = [ask(one, chat(*marked[:n], prompt_cache_options={"mode": "implicit"}), 9).read for n in range(1, 7)]
    assert [read for read in reads if read] == [4400, 5500, 6600]


def test_half_an_hour_renewed_by_reads() -> None:
    one, given = new(), chat(say("user", 2000))
    assert [ask(one, given, at).read for at in (0, 1799, 3598, 5398)] == [0, 2000, 2000, 0]


def test_above_fifteen_a_minute_another_machine_serves_that_knows_nothing() -> None:
    one, given = new(), chat(say("user", 2000))
    reads = [ask(one, given, 2 + n).read for n in range(18)]
    assert reads == [0] + [2000] * 14 + [0] + [2000] * 2


def test_another_key_is_another_cache() -> None:
    one, given = new(), chat(say("user", 2000))
    ask(one, given | {"prompt_cache_key": "a"}, 0)
    assert ask(one, given | {"prompt_cache_key": "b"}, 9).read == 0
    assert ask(one, given | {"prompt_cache_key": "a"}, 9).read == 2000


def test_a_breakpoint_on_a_tool_is_refused() -> None:
    tools = [{"type": "function", "function": {"name": "f"}, **POINT}]
    served = new().serve(chat(say("user", 9), tools=tools), dialect="chat", now=0)
    assert served.status == 400


# ---------------------------------------------------------------------------------------------------- automatic


def test_openai_before_counts_in_steps_from_a_minimum() -> None:
    one = Provider(AutomaticCache(AutomaticRules(1024, 128, 600.0)), NEW, convention="openai")
    for letter, tokens, read in (("a", 1000, 0), ("b", 1030, 1024), ("c", 1500, 1408)):
        given = chat(say("user", tokens, letter=letter))
        assert billed(ask(one, given, 0)) == (0, 0, tokens)
        served = ask(one, given, 9)
        assert billed(served) == (read, 0, tokens - read)
        assert served.usage["prompt_tokens_details"]["cached_tokens"] == read


def test_a_shared_beginning_is_read_by_another_question() -> None:
    one = Provider(AutomaticCache(AutomaticRules(1024, 128, 600.0)), NEW, convention="plain")
    ask(one, chat(say("system", 2000), say("user", 10, letter="a")), 0)
    assert ask(one, chat(say("system", 2000), say("user", 10, letter="b")), 9).read == 1920


def test_deepseek_keeps_a_common_beginning_once_two_requests_parted_there() -> None:
    one = Provider(AutomaticCache(AutomaticRules(64, 64, 7200.0, units=True)), NEW, convention="deepseek")
    asked = [chat(say("user", 2000, 100, letter="d"), model="m") for _ in range(3)]
    for n, body in enumerate(asked):
        body["messages"][0]["content"][1]["text"] = str(n) * 400
    reads = [ask(one, body, 10 * n).read for n, body in enumerate(asked)]
    assert reads == [0, 0, 1984]


def test_deepseek_puts_tools_behind_the_system_prompt() -> None:
    def served(order: bool) -> int:
        rules = AutomaticRules(64, 64, 7200.0, tools_after_system=order)
        one = Provider(AutomaticCache(rules), NEW, convention="deepseek")
        tools = [[{"type": "function", "function": {"name": name}}] for name in "fg"]
        ask(one, chat(say("system", 2000), say("user", 10), tools=tools[0]), 0)
        return ask(one, chat(say("system", 2000), say("user", 10), tools=tools[1]), 9).read

    assert (served(True), served(False)) == (1984, 0)


def test_deepseek_tells_hit_and_miss() -> None:
    usage = ask(family_of("deepseek/deepseek-chat").provider(), chat(say("user", 2000)), 0).usage
    assert (usage["prompt_cache_hit_tokens"], usage["prompt_cache_miss_tokens"]) == (0, 2000)


# ------------------------------------------------------------------------------------------------- Gemini and Qwen


def test_recorded_usage_and_costs_of_gemini_overlap() -> None:
    """Gemini 2.5 Flash through OpenRouter: 2168 tokens, 2161 written and read; then 2167, 2161 read."""
    rates = family_of("google/gemini-2.5-flash").rates
    router = Router([Provider(LastMarkerCache(LastMarkerRules(2048)), rates)], overlap=True)
    mark = {"cache_control": {"type": "ephemeral"}}

    def body(tail: int) -> Json:
        return chat(say("system", 2161, letter="s", **mark), say("user", tail))

    first, second = ask(router, body(7), 0), ask(router, body(6), 5)
    details = [served.usage["prompt_tokens_details"] for served in (first, second)]
    assert [(d["cache_write_tokens"], d["cached_tokens"]) for d in details] == [(2161, 2161), (0, 2161)]
    assert [served.usage["prompt_tokens"] for served in (first, second)] == [2168, 2167]
    assert round(first.prompt_cost, 9) == Decimal("0.000247013")
    assert second.prompt_cost == Decimal("0.00006663")


def test_gemini_uses_the_last_marker_only_and_never_renews_it() -> None:
    one = Provider(LastMarkerCache(LastMarkerRules(2048)), NEW)
    mark = {"cache_control": {"type": "ephemeral"}}
    given = chat(say("system", 3000, **mark), say("user", 3000, **mark))
    assert billed(ask(one, given, 0)) == (0, 6000, 0)
    assert ask(one, chat(say("system", 3000, **mark), say("user", 9)), 9).read == 0
    assert [ask(one, given, at).read for at in (250, 299, 301)] == [6000, 6000, 0]


def test_qwen_has_no_hour_and_keeps_only_after_the_answer() -> None:
    one = family_of("qwen/qwen3-max").provider()
    hour = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
    assert one.serve(chat(say("user", 2000, **hour)), dialect="chat", now=0).status == 400
    given = chat(say("user", 2000, cache_control={"type": "ephemeral"}))
    assert [ask(one, given, at, answer_after=8.0).read for at in (0, 5, 8)] == [0, 0, 2000]


# ------------------------------------------------------------------------------------------------------- routing

NAMES = ("Anthropic", "Amazon Bedrock", "Google")


def routed(**more: Any) -> Router:
    return Router([family_of("claude-sonnet-4.5").provider(host=name) for name in NAMES], **more)


def marked(letter: str = "x", **more: Any) -> Json:
    return chat(say("user", 2000, letter=letter, cache_control={"type": "ephemeral"}), **more)


def test_without_a_hit_or_a_session_requests_spread_over_the_hosts() -> None:
    router = routed(seed=3)
    hosts = Counter(ask(router, marked(str(n)), n).host for n in range(60))
    assert set(hosts) == set(NAMES)


def test_a_session_sticks_from_the_first_success() -> None:
    for how in ({"session_id": "s"}, {"headers": {"X-Session-Id": "s"}}):
        router = routed(seed=3)
        headers = how.get("headers")
        body = {name: value for name, value in how.items() if name != "headers"}
        hosts = {ask(router, chat(say("user", 9)) | body, n, headers=headers).host for n in range(20)}
        assert len(hosts) == 1


def test_an_opening_sticks_only_after_a_hit() -> None:
    router = routed(seed=3)
    hosts = [ask(router, chat(say("user", 9)), n).host for n in range(20)]
    assert len(set(hosts)) > 1
    served = [ask(router, marked(), 100 + n) for n in range(30)]
    first = next(n for n, one in enumerate(served) if one.read)
    assert {one.host for one in served[first:]} == {served[first].host}


def test_stickiness_ends_after_ten_idle_minutes() -> None:
    hosts = set()
    for seed in range(12):
        router = routed(seed=seed)
        before = ask(router, marked(session_id="s"), 0).host
        assert ask(router, marked(session_id="s"), 599).host == before
        hosts.add(ask(router, marked(session_id="s"), 1200).host == before)
    assert hosts == {True, False}


def test_the_clients_order_is_obeyed_and_switches_stickiness_off() -> None:
    router = routed(seed=1, outages=[Outage("Google", 50, 60)])
    pinned = {"provider": {"order": ["google"]}, "session_id": "s"}
    assert {ask(router, marked() | pinned, n).host for n in range(5)} == {"Google"}
    assert ask(router, marked() | pinned, 55).host != "Google"
    refused = router.serve(
        marked() | {"provider": {"order": ["google"], "allow_fallbacks": False}}, dialect="chat", now=56
    )
    assert refused.status == 404
    assert (
        len({ask(router, chat(say("user", 9), provider={"only": ["google", "anthropic"]}), n).host for n in range(9)})
        == 2
    )


def test_a_host_that_is_down_loses_the_conversation() -> None:
    router = routed(seed=1)
    home = ask(router, marked(session_id="s"), 0).host
    assert ask(router, marked(session_id="s"), 10).read == 2000
    router = routed(seed=1, outages=[Outage(home, 5, 20)])
    ask(router, marked(session_id="s"), 0)
    moved = ask(router, marked(session_id="s"), 10)
    assert (moved.host != home, moved.read) == (True, 0)


def test_usage_through_openrouter_is_inclusive_and_names_the_cost() -> None:
    served = ask(routed(), marked(), 0, output_tokens=10)
    assert served.usage["prompt_tokens"] == 2000
    assert served.usage["prompt_tokens_details"]["cache_write_tokens"] == 2000
    assert served.usage["cost"] == float(served.cost)
    assert served.cost == Decimal("0.0075") + 10 * Decimal("0.000015")
    assert served.cache_discount == Decimal("-0.0015")


# ------------------------------------------------------------------------------------------------------ properties

MODELS = (
    "anthropic/claude-sonnet-4.5", "openai/gpt-5.6", "openai/gpt-4.1", "deepseek/deepseek-chat", "x-ai/grok-4",
    "groq/llama", "google/gemini-2.5-flash", "qwen/qwen3-max", "nobody/knows",
)  # fmt: skip
SHAPES = st.lists(
    st.tuples(st.sampled_from(["system", "user", "assistant"]), st.sampled_from("ab"), st.sampled_from([300, 1500]),
              st.booleans()), min_size=1, max_size=5,
)  # fmt: skip


@pytest.mark.parametrize("model", MODELS)
@settings(max_examples=40, deadline=None)
@given(asked=st.lists(st.tuples(SHAPES, st.floats(0, 900)), max_size=6), direct=st.booleans())
def test_each_token_is_billed_once_by_every_provider(model: str, asked: Any, direct: bool) -> None:
    family, now = family_of(model), 0.0
    one: Provider | Router = family.provider() if direct else family.router()
    for shape, gap in asked:
        now += gap
        marks = 0
        messages = []
        for role, letter, tokens, wants in shape:
            marks += wants
            mark = {"cache_control": {"type": "ephemeral"}} if wants and marks <= 4 else {}
            messages.append(say(role, tokens, letter=letter, **mark))
        served = ask(one, chat(*messages, model=model), now)
        assert served.split.total == sum(tokens for _, _, tokens, _ in shape)
        assert min(served.read, served.write_5m, served.write_1h, served.plain) >= 0
        assert served.prompt_cost >= 0


def test_every_name_finds_its_family() -> None:
    found = [family_of(model).name for model in MODELS]
    assert len(set(found)) == len(MODELS)
    assert family_of("claude-opus-4-8").name == family_of("us.anthropic.claude-sonnet-4").name == "Claude"
    assert family_of("gpt-6.1").name == family_of("openai/gpt-5.6-mini").name == "GPT-5.6 and later"

"""Whatever a client sends, the plan of it is taken by the provider and says the same."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from payonce.optimise import Planner
from payonce.testing.providers import MarkedCache, Provider
from tests.optimise.planning import MODEL, RATES, RULES, bare, marks, text

_TEXTS = st.one_of(st.just(""), st.text(max_size=20), st.integers(1, 3000).map(lambda n: text(n, n)))
_TEXT = st.builds(lambda t: {"type": "text", "text": t}, _TEXTS)
_CITED = st.builds(
    lambda t: {"type": "text", "text": t, "citations": [{"type": "char_location", "cited_text": "x"}]}, _TEXTS
)
_THINKING = st.builds(lambda t: {"type": "thinking", "thinking": t, "signature": "s"}, _TEXTS)
_IMAGE = st.just({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}})
_CALL = st.builds(
    lambda n: {"type": "tool_use", "id": f"c{n}", "name": "t", "input": {"z": n, "a": [1]}}, st.integers(0, 99)
)
_RESULT = st.builds(
    lambda n, c: {"type": "tool_result", "tool_use_id": f"c{n}", "content": c},
    st.integers(0, 99),
    st.one_of(_TEXTS, st.lists(_TEXT, max_size=2)),
)
_USER = st.one_of(_TEXTS, st.lists(st.one_of(_TEXT, _CITED, _IMAGE, _RESULT), min_size=1, max_size=30))
_ASSISTANT = st.one_of(_TEXTS, st.lists(st.one_of(_TEXT, _THINKING, _CALL), min_size=1, max_size=30))
_MESSAGE = st.one_of(
    st.builds(lambda c: {"role": "user", "content": c}, _USER),
    st.builds(lambda c: {"role": "assistant", "content": c}, _ASSISTANT),
    st.builds(
        lambda t: {"role": "system", "content": [{"type": "text", "text": t}], "clear_at": "next_user_message"}, _TEXTS
    ),
)
_TOOL = st.builds(
    lambda name, size, later: (
        {"name": name, "description": text(size, name), "input_schema": {}} | ({"defer_loading": True} if later else {})
    ),
    st.text("abc", min_size=1, max_size=3),
    st.integers(1, 900),
    st.booleans(),
)
_TOOLS = st.lists(_TOOL, max_size=5)
_SYSTEM = st.one_of(_TEXTS, st.lists(_TEXT, max_size=4))

_CHAT_PART = st.one_of(_TEXT, st.just({"type": "image_url", "image_url": {"url": "https://x.test/a.png"}}))
_CHAT_CALLS = st.lists(
    st.builds(
        lambda n: {"id": f"c{n}", "type": "function", "function": {"name": "t", "arguments": "{}"}}, st.integers(0, 9)
    ),
    min_size=1,
    max_size=25,
)
_CHAT_MESSAGE = st.one_of(
    st.builds(
        lambda c: {"role": "user", "content": c}, st.one_of(_TEXTS, st.lists(_CHAT_PART, min_size=1, max_size=4))
    ),
    st.builds(lambda c: {"role": "assistant", "content": c}, _TEXTS),
    st.builds(
        lambda c, k: {"role": "assistant", "content": c, "tool_calls": k}, st.one_of(st.none(), _TEXTS), _CHAT_CALLS
    ),
    st.builds(
        lambda c: {"role": "tool", "tool_call_id": "c1", "content": c}, st.one_of(_TEXTS, st.lists(_TEXT, max_size=3))
    ),
)


def _messages(system: Any, tools: list[Any], said: list[Any]) -> dict[str, Any]:
    return {"model": MODEL, "system": system, "tools": tools, "messages": said, "max_tokens": 9}


def _chat(system: Any, tools: list[Any], said: list[Any]) -> dict[str, Any]:
    functions = [{"type": "function", "function": {"name": t["name"], "description": t["description"]}} for t in tools]
    first = [{"role": "system", "content": system}] if system else []
    return {"model": MODEL, "messages": [*first, *said], "tools": functions}


_TALKS = st.one_of(
    st.tuples(st.just("messages"), st.builds(_messages, _SYSTEM, _TOOLS, st.lists(_MESSAGE, min_size=1, max_size=12))),
    st.tuples(st.just("chat"), st.builds(_chat, _SYSTEM, _TOOLS, st.lists(_CHAT_MESSAGE, min_size=1, max_size=12))),
)
_STEPS = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.integers(1, 12),
        st.sampled_from([0.0, 0.3, 8.0, 200.0, 310.0, 2000.0, 4000.0]),
        st.booleans(),
    ),
    min_size=1,
    max_size=14,
)
"""Which talk, how many of its messages, how long after the last request, and whether the answer is observed."""


def _cut(body: dict[str, Any], length: int) -> dict[str, Any]:
    return body | {"messages": body["messages"][: max(length, 1)]}


@pytest.mark.parametrize("rules", [RULES, RULES.pessimistic()], ids=["documented", "pessimistic"])
@settings(max_examples=150, deadline=None)
@given(talks=st.lists(_TALKS, min_size=1, max_size=3), steps=_STEPS, ttl=st.sampled_from(["auto", "auto", "5m", "1h"]))
def test_no_plan_is_refused_and_none_changes_what_is_said(rules: Any, talks: Any, steps: Any, ttl: str) -> None:
    planner, twin = Planner(), Planner()
    provider = Provider(MarkedCache(rules), RATES)
    now = 0.0
    for which, length, gap, seen in steps:
        dialect, whole = talks[which % len(talks)]
        body = _cut(whole, length)
        now += gap
        before = copy.deepcopy(body)
        plan = planner.plan(body, dialect=dialect, model=MODEL, tenant="t", now=now, ttl=ttl)
        again = twin.plan(body, dialect=dialect, model=MODEL, tenant="t", now=now, ttl=ttl)
        assert body == before
        assert plan.body is not body
        assert plan == again
        assert bare(plan.body) == bare(body)
        assert [name for name in plan.body if name in body] == list(body)
        assert len(marks(plan.body)) <= 4
        served = provider.serve(plan.body, dialect=dialect, now=now)
        assert served.status == 200, served.error
        if seen:
            for one, its in ((planner, plan), (twin, again)):
                one.observe(its, served.usage, now=now + 2)


def test_the_model_behind_this_refuses_a_fifth_marker_and_a_wrong_order() -> None:
    provider = Provider(MarkedCache(RULES), RATES)
    part = {"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}
    five = {"model": MODEL, "messages": [{"role": "user", "content": [part] * 5}]}
    assert provider.serve(five, dialect="messages", now=0).status == 400
    late = part | {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
    wrong = {"model": MODEL, "messages": [{"role": "user", "content": [part, late]}]}
    assert provider.serve(wrong, dialect="messages", now=0).status == 400


@pytest.mark.parametrize("dialect", ["messages", "chat", "responses"])
@given(
    body=st.dictionaries(
        st.sampled_from(["messages", "input", "system", "tools", "instructions"]),
        st.recursive(
            st.none() | st.integers() | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(st.sampled_from(["role", "content", "type", "text"]), inner)
            ),
            max_leaves=8,
        ),
    )
)
@settings(max_examples=200, deadline=None)
def test_what_is_no_request_is_left_as_it_is(dialect: Any, body: dict[str, Any]) -> None:
    plan = Planner().plan(body, dialect=dialect, model=MODEL, now=0.0, upstream="anthropic")
    assert plan.body == body
    assert plan.body is not body

"""What counts as the same prefix, and what reading a body costs."""

from __future__ import annotations

from typing import Any

import pytest

from payonce.optimise import prefix as prefixes
from payonce.optimise.bodies import read
from payonce.optimise.prefix import Prefix
from tests.optimise.planning import ask, text, tool

SEED = b"s" * 16


def of(body: dict[str, Any], dialect: str = "messages") -> Prefix:
    return read(body, dialect, SEED)


def shared(one: dict[str, Any], other: dict[str, Any], dialect: str = "messages") -> int:
    """How many blocks two bodies share from the start."""
    first, second = of(one, dialect).digests, of(other, dialect).digests
    same = [one == another for one, another in zip(first, second, strict=False)]
    return same.index(False) if False in same else len(same)


def test_a_string_and_one_text_part_are_the_same_block() -> None:
    part = {"role": "user", "content": [{"type": "text", "text": "hello"}]}
    assert of(ask("hello")).digests == of(ask("hello") | {"messages": [part]}).digests


def test_a_marker_is_no_part_of_a_prefix_but_is_noticed() -> None:
    plain = ask("hello", tools=[tool("a")])
    part = {"type": "text", "text": "hello", "cache_control": {"type": "ephemeral"}}
    marked = plain | {
        "tools": [tool("a") | {"cache_control": {"type": "ephemeral"}}],
        "messages": [{"role": "user", "content": [part]}],
    }
    assert of(plain).digests == of(marked).digests
    assert of(plain).marked == 0
    assert of(marked).marked == 2


@pytest.mark.parametrize(
    "holder",
    [
        {"cache_control": {"type": "ephemeral"}},
        {"prompt_cache_options": {"mode": "explicit"}},
    ],
)
def test_a_marker_at_the_top_is_noticed(holder: dict[str, Any]) -> None:
    assert of(ask("hello") | holder).marked == 1


def test_a_marker_inside_a_tools_result_and_on_a_message_are_noticed() -> None:
    inner = {"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}
    result = {"type": "tool_result", "tool_use_id": "c", "content": [inner]}
    assert of(ask("x") | {"messages": [{"role": "user", "content": [result]}]}).marked == 1
    message = {"role": "tool", "tool_call_id": "c", "content": "x", "cache_control": {"type": "ephemeral"}}
    assert of({"messages": [message]}, "chat").marked == 1


def test_the_order_of_tools_and_of_their_keys_counts() -> None:
    tools = [tool("a"), tool("b"), tool("c")]
    assert shared(ask("x", tools=tools), ask("x", tools=[tools[0], tools[2], tools[1]])) == 1
    turned = dict(reversed(tools[1].items()))
    assert shared(ask("x", tools=tools), ask("x", tools=[tools[0], turned, tools[2]])) == 1


def test_a_setting_breaks_the_prefix_from_its_level_on() -> None:
    body = ask("x", "y", "z", system="s", tools=[tool("a")])
    assert shared(body, body | {"tool_choice": {"type": "any"}}) == 2
    assert shared(body, body | {"thinking": {"type": "enabled", "budget_tokens": 1024}}) == 2
    assert shared(body, body | {"speed": "fast"}) == 1
    assert shared(body, body | {"temperature": 1.0, "stream": True, "metadata": {"user_id": "u"}}) == 5


def test_tenants_and_models_share_nothing() -> None:
    assert not set(read(ask("x"), "messages", b"a" * 16).digests) & set(read(ask("x"), "messages", b"b" * 16).digests)


def test_chat_bodies_have_their_system_messages_first_and_tool_results_in_one_piece() -> None:
    two = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    calls = [{"id": f"c{n}", "type": "function", "function": {"name": "t", "arguments": "{}"}} for n in range(3)]
    body = {
        "messages": [
            {"role": "developer", "content": "be brief"},
            {"role": "user", "content": "go"},
            {"role": "assistant", "content": None, "tool_calls": calls},
            {"role": "tool", "tool_call_id": "c0", "content": two},
        ]
    }  # fmt: skip
    found = of(body, "chat")
    assert (found.system, found.opening, found.last) == (1, 2, "tool")
    assert found.places[-1] == ("messages", 3, "content", 1)
    assert found.able == [True, True, False, True]
    assert found.spots[-1] == 6  # three calls are three positions


def test_a_conversation_is_known_by_what_came_before_its_first_answer() -> None:
    first, later = of(ask("hi", system="s")), of(ask("hi", "hello", "more", system="s"))
    assert first.identity == later.identity
    assert first.identity != of(ask("ho", system="s")).identity
    assert first.identity == of(ask("hi", system="s") | {"tool_choice": {"type": "any"}}).identity


@pytest.mark.parametrize("dialect", ["messages", "chat"])
def test_reading_hashes_each_block_once_and_every_byte_a_bounded_number_of_times(
    monkeypatch: pytest.MonkeyPatch, dialect: str
) -> None:
    hashed: list[int] = []
    real = prefixes.blake3

    def counting(data: bytes) -> Any:
        hashed.append(len(data))
        return real(data)

    monkeypatch.setattr(prefixes, "blake3", counting)

    def cost(turns: int) -> tuple[int, int]:
        hashed.clear()
        of(ask(*(text(250, n) for n in range(turns))), dialect)
        return len(hashed), sum(hashed)

    calls, total = cost(100)
    more_calls, more = cost(400)
    assert calls <= 100 + 3
    assert more_calls <= 4 * calls
    assert more <= 4.05 * total
    assert total <= 1.1 * 100 * 1000

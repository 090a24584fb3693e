"""Every field of /messages is classified: one test a field shows the key move or stay."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.fields import ABSENT, ON, FieldsContract, Keys
from tests.support.words import HEADERS, PLAIN

from payonce.dialects.tables import MESSAGES_IGNORED
from payonce.intake import Admitted, Bypassed

STAYS: dict[str, list[Any]] = {
    "stream": [True, False, None],
    "user": ["user-1", "user-2"],
    "metadata": [{"user_id": "user_1_account__session_a"}, {"user_id": "user_1_account__session_b"}, {}, None],
    "trace": [{"trace_id": "1", "span_name": "a"}, {"trace_id": "2"}],
    "session_id": ["s-1", "s-2"],
    "cache_control": [{"type": "ephemeral"}, {"type": "ephemeral", "ttl": "1h"}, None],
}

USER = {"role": "user", "content": "hi"}
TOOL = {"name": "f", "description": "d", "input_schema": {"type": "object", "properties": {"a": {"type": "string"}}}}
MARK = {"type": "ephemeral"}
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}}
USED = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": "b"}}
MOVES: dict[str, list[Any]] = {
    "model": ["claude-sonnet-4-5", "anthropic/claude-sonnet-4.5", "claude-sonnet-4-5:thinking", "@preset/x"],
    "models": [["m/a", "m/b"], ["m/b", "m/a"], []],
    "fallbacks": [[{"model": "claude-opus-4-8"}], [{"model": "claude-opus-4-1"}], None],
    "messages": [
        [USER],
        [USER, USER],
        [{"role": "user", "content": "hi "}],
        [{"role": "assistant", "content": "hi"}],
        [{"role": "user", "content": [{"type": "text", "text": "hi"}]}],
        [{"role": "user", "content": [{"type": "text", "text": "hi", "cache_control": MARK}]}],
        [{"role": "user", "content": [{"type": "text", "text": "hi", "cache_control": {**MARK, "ttl": "1h"}}]}],
        [{"role": "user", "content": [{"type": "text", "text": "hi", "citations": [{"a": 1}]}]}],
        [{"role": "user", "content": [IMAGE]}],
        [{"role": "user", "content": [{**IMAGE, "source": {"type": "url", "url": "https://example.org/a.png"}}]}],
        [{"role": "user", "content": [{"type": "document", "source": {"type": "file", "file_id": "file_1"}}]}],
        [USER, {"role": "assistant", "content": [USED]}],
        [USER, {"role": "assistant", "content": [{**USED, "id": "toolu_2"}]}],
        [USER, {"role": "assistant", "content": [{"type": "thinking", "thinking": "t", "signature": "s"}]}],
        [USER, {"role": "system", "content": "mid-conversation"}],
        [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "b"}]}],
        [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "is_error": True}]}],
        [],
        None,
    ],
    "system": [
        "be brief",
        "be  brief",
        [{"type": "text", "text": "be brief"}],
        [{"type": "text", "text": "be brief", "cache_control": MARK}],
        "",
    ],
    "max_tokens": [1, 1024, 0, None],
    "temperature": [0, 1, 0.5],
    "top_p": [1, 0.5],
    "top_k": [0, 40],
    "stop_sequences": [["x"], ["x", "y"], []],
    "tools": [
        [TOOL],
        [TOOL, TOOL],
        [{**TOOL, "name": "g"}],
        [{**TOOL, "cache_control": MARK}],
        [{**TOOL, "strict": True}],
        [{"type": "web_search_20250305", "name": "web_search", "max_uses": 5}],
        [{"type": "openrouter:web_search"}],
        [],
    ],
    "tool_choice": [
        {"type": "auto"},
        {"type": "any"},
        {"type": "none"},
        {"type": "tool", "name": "f"},
        {"type": "auto", "disable_parallel_tool_use": True},
    ],
    "thinking": [
        {"type": "enabled", "budget_tokens": 1024},
        {"type": "enabled", "budget_tokens": 2048},
        {"type": "enabled", "budget_tokens": 1024, "display": "omitted"},
        {"type": "adaptive"},
        {"type": "disabled"},
    ],
    "output_config": [
        {"effort": "low"},
        {"effort": "max"},
        {"format": {"type": "json_schema", "schema": {"type": "object"}}},
        {"task_budget": {"type": "tokens", "total": 20000}},
    ],
    "output_format": [{"type": "json_schema", "schema": {"type": "object"}}],
    "context_management": [
        {"edits": [{"type": "clear_tool_uses_20250919"}]},
        {"edits": [{"type": "compact_20260112", "pause_after_compaction": True}]},
        None,
    ],
    "speed": ["fast", "standard", None],
    "service_tier": ["auto", "standard_only"],
    "inference_geo": ["us", "global"],
    "mcp_servers": [[{"type": "url", "url": "https://example.org/sse", "name": "m"}], []],
    "container": [{"skills": [{"type": "anthropic", "skill_id": "pptx", "version": "latest"}]}, {}, None],
    "provider": [{"order": ["a", "b"]}, {"order": ["b", "a"]}, {"only": ["a"]}, {"quantizations": ["fp8"]}, {}],
    "plugins": [[{"id": "web"}], [{"id": "web", "max_results": 3}], []],
    "preset": ["a", "b"],
    "route": ["fallback", "sort"],
    "stop_server_tools_when": [[{"type": "step_count_is", "step_count": 5}], [{"type": "max_cost"}]],
    "diagnostics": [{"previous_message_id": None}, {"previous_message_id": "msg_1"}],
    "safeguards": [{"a": 1}, {}],
    "deferred_tools": [["f"], []],
    "reasoning": [{"effort": "high"}, {"effort": "low"}],
    "response_format": [{"type": "json_object"}],
    "stream_options": [{"include_usage": True}],
    "safety_identifier": ["a", "b"],
    "prompt_cache_key": ["a", "b"],
    "debug": [{"echo_upstream_body": True}],
    "seed": [1, 2],
    "Metadata": [{"user_id": "a"}],
    "a_field_nobody_knows_yet": [None, False, True, 0, "", [], {}],
}

KEYS = Keys("messages", model="claude-sonnet-4-5", max_tokens=100, temperature=0, messages=[USER])
body, admit, asked, digest = KEYS.body, KEYS.admit, KEYS.asked, KEYS.digest


class TestFields(FieldsContract):
    keys, ignored, stays, moves, least = KEYS, MESSAGES_IGNORED, STAYS, MOVES, 30
    inside = ("messages", "tools", "system", "x")


def test_behaviour_headers_of_anthropic_move_the_key() -> None:
    betas = [(b"anthropic-beta", b"context-1m-2025-08-07"), (b"anthropic-beta", b"x"), (b"anthropic-version", b"2")]
    assert len({digest(body(), beta) for beta in betas} | {digest(body())}) == 4


def test_the_endpoint_is_part_of_the_key() -> None:
    other = PLAIN.admit("", "chat/completions", b"", HEADERS, body())
    assert isinstance(other, Admitted)
    assert other.ask.key.digest != digest(body())


@pytest.mark.parametrize("container", ["container_011CPR5CNjB747bTd36fQLFk", {"id": "c"}, {"id": "c", "skills": []}])
def test_a_request_for_a_container_that_the_provider_keeps_goes_past_the_cache(container: Any) -> None:
    found = admit(body(container=container), ON)
    assert isinstance(found, Bypassed)
    assert (found.reason.id, found.call.body) == ("server-state", body(container=container))


@pytest.mark.parametrize(("limit", "sets"), [(1, True), (0, True), (None, False), (ABSENT, False)])
def test_whether_the_client_limits_the_answer_is_seen(limit: Any, sets: bool) -> None:
    assert asked(body(max_tokens=limit)).intent.sets_limit is sets


@pytest.mark.parametrize(("temperature", "is_kept"), [(0, True), (0.0, True), (1, False), (None, False), ("0", False)])
def test_only_temperature_zero_is_deterministic(temperature: Any, is_kept: bool) -> None:
    found = admit(body(temperature=temperature))
    assert isinstance(found, Admitted) is is_kept


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "bad-json"),
        (b"[]", "not-an-object"),
        (b'{"model":"m","model":"m"}', "duplicate-member"),
        (b'{"metadata":{"user_id":1,"user_id":1}}', "duplicate-member"),
        (b'{"temperature":NaN}', "bad-number"),
        (b'{"user":"\\ud800"}', "bad-text"),
        (b'{"user":' + b"[" * 128 + b"]" * 128 + b"}", "too-deep"),
    ],
)
def test_a_body_without_a_key_goes_on_untouched_and_says_why(text: bytes, reason: str) -> None:
    found = admit(text, ON)
    assert isinstance(found, Bypassed)
    assert (found.reason.id, found.call.body) == (reason, text)

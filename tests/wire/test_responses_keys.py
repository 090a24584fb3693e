"""Every field of /responses is classified: one test a field shows the key move or stay."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from tests.support.fields import ABSENT, ON, FieldsContract, Keys

from payonce.dialects.tables import RESPONSES_IGNORED
from payonce.intake import Admitted, Bypassed

STAYS: dict[str, list[Any]] = {
    "stream": [True, False, None],
    "user": ["user-1", "user-2", None],
    "safety_identifier": ["a", "b"],
    "metadata": [{"run": "1"}, {"run": "2"}, {}, None],
    "trace": [{"trace_id": "1", "span_name": "a"}, {"trace_id": "2"}],
    "session_id": ["s-1", "s-2"],
    "prompt_cache_key": ["k-1", "k-2", None],
    "prompt_cache_options": [{"mode": "explicit"}, {"mode": "implicit", "ttl": "12h"}, {"prewarm": False}, None],
    "prompt_cache_retention": ["in_memory", "24h"],
    "cache_control": [{"type": "ephemeral"}, {"type": "ephemeral", "ttl": "1h"}],
}

SAID = {"role": "user", "content": "hi"}
PART = {"type": "input_text", "text": "hi"}
TOOL = {"type": "function", "name": "f", "parameters": {"type": "object", "properties": {}}, "strict": True}
CALL = {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{}"}
DEEP = {"type": "json_schema", "name": "a", "strict": True, "schema": {"type": "object"}}
MOVES: dict[str, list[Any]] = {
    "model": ["gpt-5", "openai/gpt-5", "openai/gpt-5:nitro", "@preset/x"],
    "models": [["m/a", "m/b"], ["m/b", "m/a"], []],
    "input": [
        "hi",
        "hi ",
        [SAID],
        [SAID, SAID],
        [{"role": "developer", "content": "hi"}],
        [{"type": "message", **SAID}],
        [{"type": "message", "id": "msg_1", **SAID}],
        [{"id": "msg_1", **SAID}],
        [{"role": "user", "content": [PART]}],
        [{"role": "user", "content": [{**PART, "prompt_cache_breakpoint": {"mode": "explicit"}}]}],
        [{"role": "user", "content": [{"type": "input_image", "image_url": "https://example.org/a.png"}]}],
        [{"role": "user", "content": [{"type": "input_image", "file_id": "file-1", "detail": "high"}]}],
        [{"role": "user", "content": [{"type": "input_file", "filename": "a.pdf", "file_data": "AA=="}]}],
        [SAID, CALL, {"type": "function_call_output", "call_id": "call_1", "output": "1"}],
        [SAID, CALL, {"type": "function_call_output", "call_id": "call_1", "output": "2"}],
        [SAID, {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"}],
        [],
        None,
    ],
    "instructions": ["be brief", "be  brief", "", None],
    "prompt": [{"id": "pmpt_1"}, {"id": "pmpt_1", "version": "2"}, {"id": "pmpt_1", "variables": {"a": "b"}}],
    "max_output_tokens": [16, 100, None],
    "max_tool_calls": [1, 30],
    "max_tokens": [16, 100],
    "temperature": [0, 1, 0.5],
    "top_p": [1, 0.5],
    "top_k": [0, 40],
    "top_logprobs": [0, 5],
    "frequency_penalty": [0, 0.5],
    "presence_penalty": [0, 0.5],
    "seed": [1, 2],
    "stop": ["x", ["x"]],
    "text": [
        {"format": {"type": "text"}},
        {"format": {"type": "json_object"}},
        {"format": DEEP},
        {"format": {**DEEP, "strict": False}},
        {"verbosity": "low"},
        {"verbosity": "high"},
    ],
    "reasoning": [
        {"effort": "low"},
        {"effort": "high"},
        {"summary": "auto"},
        {"max_tokens": 9},
        {"enabled": False},
        None,
    ],
    "include": [["reasoning.encrypted_content"], ["message.output_text.logprobs"], []],
    "tools": [
        [TOOL],
        [TOOL, TOOL],
        [{**TOOL, "name": "g"}],
        [{"type": "web_search"}],
        [{"type": "openrouter:web_search"}],
        [{"type": "file_search", "vector_store_ids": ["vs_1"]}],
        [{"type": "code_interpreter", "container": {"type": "auto"}}],
        [{"type": "mcp", "server_label": "m", "server_url": "https://example.org/mcp"}],
        [],
    ],
    "tool_choice": ["auto", "none", "required", {"type": "function", "name": "f"}],
    "parallel_tool_calls": [True, False, None],
    "deferred_tools": [["f"], []],
    "truncation": ["auto", "disabled"],
    "context_management": [[{"type": "compaction", "compact_threshold": 1000}], []],
    "store": [True, False, None],
    "background": [False, None],
    "previous_response_id": [None],
    "conversation": [None],
    "generate": [True, False],
    "service_tier": ["auto", "flex", "priority", "fast"],
    "modalities": [["text"], ["text", "image"]],
    "image": [{"context_compression": "enabled"}],
    "image_config": [{"aspect_ratio": "1:1"}, {"aspect_ratio": "16:9"}],
    "provider": [{"order": ["a", "b"]}, {"order": ["b", "a"]}, {"only": ["a"]}, {}],
    "plugins": [[{"id": "web"}], [{"id": "web", "max_results": 3}], []],
    "preset": ["a", "b"],
    "route": ["fallback", "sort"],
    "stop_server_tools_when": [[{"type": "step_count_is", "step_count": 5}], [{"type": "max_cost"}]],
    "moderation": [{"model": "a"}, {"model": "b"}],
    "access_programs": [{"cyber": "standard"}],
    "stream_options": [{"include_obfuscation": True}, {"include_obfuscation": False}],
    "debug": [{"echo_upstream_body": True}, {"echo_upstream_body": False}],
    "Metadata": [{"a": "b"}],
    "a_field_nobody_knows_yet": [None, False, True, 0, "", [], {}],
}

KEYS = Keys("responses", model="openai/gpt-5", temperature=0, input="say hi")
body, admit, asked, digest = KEYS.body, KEYS.admit, KEYS.asked, KEYS.digest


class TestFields(FieldsContract):
    keys, ignored, stays, moves, least = KEYS, RESPONSES_IGNORED, STAYS, MOVES, 30
    inside = ("tools", "include", "x")


STATE: list[dict[str, Any]] = [
    {"previous_response_id": "resp_1"},
    {"previous_response_id": ""},
    {"conversation": "conv_1"},
    {"conversation": {"id": "conv_1"}},
    {"background": True},
    {"background": 1},
    {"background": 0},
    {"background": 0.0},
    {"input": [SAID, {"type": "item_reference", "id": "msg_1"}]},
    {"input": [{"id": "msg_1"}]},
    {"input": [{"id": "msg_1", "type": None}]},
    {"prompt_cache_options": {"comparison_response_id": "resp_1"}},
    {"prompt_cache_options": {"prewarm": True}},
]


@pytest.mark.parametrize("members", STATE, ids=lambda members: orjson.dumps(members).decode())
@pytest.mark.parametrize("stream", [True, False])
def test_a_request_about_what_the_provider_keeps_goes_past_the_cache(members: dict[str, Any], stream: bool) -> None:
    text = body(**members, stream=stream)
    found = admit(text, ON)
    assert isinstance(found, Bypassed)
    assert (found.reason.id, found.call.body) == ("server-state", text)


@pytest.mark.parametrize(("limit", "sets"), [(16, True), (None, False), (ABSENT, False)])
def test_whether_the_client_limits_the_answer_is_seen(limit: Any, sets: bool) -> None:
    assert asked(body(max_output_tokens=limit)).intent.sets_limit is sets


@pytest.mark.parametrize(("temperature", "is_kept"), [(0, True), (0.0, True), (1, False), (None, False), ("0", False)])
def test_only_temperature_zero_is_deterministic(temperature: Any, is_kept: bool) -> None:
    assert isinstance(admit(body(temperature=temperature)), Admitted) is is_kept


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "bad-json"),
        (b"[]", "not-an-object"),
        (b'{"model":"m","model":"m"}', "duplicate-member"),
        (b'{"metadata":{"a":1,"a":1}}', "duplicate-member"),
        (b'{"temperature":NaN}', "bad-number"),
        (b'{"user":"\\ud800"}', "bad-text"),
        (b'{"user":' + b"[" * 128 + b"]" * 128 + b"}", "too-deep"),
    ],
)
def test_a_body_without_a_key_goes_on_untouched_and_says_why(text: bytes, reason: str) -> None:
    found = admit(text, ON)
    assert isinstance(found, Bypassed)
    assert (found.reason.id, found.call.body) == (reason, text)

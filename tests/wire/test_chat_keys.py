"""Every field of /chat/completions is classified: one test a field shows the key move or stay."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from tests.support.fields import ABSENT, ON, FieldsContract, Keys
from tests.support.words import CHAT, HEADERS, PLAIN, admit, asked, bypassed, chat, digest

from payonce.dialects import CACHED_ENDPOINTS, DIALECTS
from payonce.dialects.tables import CHAT_IGNORED
from payonce.intake import Bypassed

STAYS: dict[str, list[Any]] = {
    "stream": [True, False, None],
    "stream_options": [{"include_usage": True}, {"include_usage": False}, {}, None],
    "usage": [{"include": True}, {"include": False}],
    "user": ["user-1", "user-2", None],
    "safety_identifier": ["a", "b"],
    "metadata": [{"run": "1"}, {"run": "2"}, {}],
    "trace": [{"trace_id": "1", "span_name": "a"}, {"trace_id": "2"}],
    "session_id": ["s-1", "s-2"],
    "prompt_cache_key": ["k-1", "k-2"],
    "prompt_cache_options": [{"ttl": "5m"}, {"ttl": "1h"}],
    "prompt_cache_retention": ["in_memory", "24h"],
    "cache_control": [{"type": "ephemeral"}, {"type": "ephemeral", "ttl": "1h"}],
}

USER = {"role": "user", "content": "hi"}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
MOVES: dict[str, list[Any]] = {
    "model": ["m/one", "m/two", "M/one", "m/one:free", "m/one:nitro", "m/one@preset/x", "@preset/x"],
    "models": [["m/a", "m/b"], ["m/b", "m/a"], ["m/a"], []],
    "messages": [
        [USER],
        [USER, USER],
        [{"role": "system", "content": "hi"}],
        [{"role": "user", "content": "hi "}],
        [{"role": "user", "content": "Hi"}],
        [{"role": "user", "content": "hi", "name": "ann"}],
        [{"role": "user", "content": [{"type": "text", "text": "hi"}]}],
        [{"role": "user", "content": [{"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}}]}],
        [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]}],
        [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AQ=="}}]}],
        [{"role": "assistant", "content": None, "tool_calls": []}, USER],
        [],
    ],
    "provider": [{"order": ["a", "b"]}, {"order": ["b", "a"]}, {"only": ["a"]}, {"quantizations": ["fp8"]}, {}],
    "plugins": [[{"id": "web"}], [{"id": "web", "max_results": 3}], [{"id": "file-parser"}], []],
    "preset": ["a", "b"],
    "route": ["fallback", "sort"],
    "transforms": [["middle-out"], []],
    "temperature": [0],
    "top_p": [1, 1.0, 0.5],
    "top_k": [0, 40],
    "top_a": [0, 0.5],
    "min_p": [0, 0.1],
    "frequency_penalty": [0, 0.5],
    "presence_penalty": [0, 0.5],
    "repetition_penalty": [1, 1.1],
    "seed": [0, 1, 2**53 + 1, -1],
    "max_tokens": [1, 100, None],
    "max_completion_tokens": [1, 100, None],
    "max_output_tokens": [1, 2],
    "min_tokens": [1, 2],
    "stop": ["x", ["x"], ["x", "y"], None],
    "stop_token_ids": [[1], [2]],
    "stop_server_tools_when": [{"max_calls": 1}, {"max_calls": 2}],
    "logit_bias": [{"50256": -100}, {"50256": 100}, {}],
    "logprobs": [True, False],
    "top_logprobs": [0, 5],
    "n": [1, 2],
    "best_of": [1, 2],
    "echo": [True, False],
    "suffix": ["x"],
    "prompt": ["hi", "ho"],
    "response_format": [
        {"type": "json_object"},
        {"type": "text"},
        {"type": "json_schema", "json_schema": {"name": "a", "strict": True, "schema": {"type": "object"}}},
        {"type": "json_schema", "json_schema": {"name": "a", "strict": False, "schema": {"type": "object"}}},
    ],
    "structured_outputs": [True, False],
    "grammar": ["root ::= x"],
    "guided_json": [{"type": "object"}],
    "tools": [[TOOL], [TOOL, TOOL], [{**TOOL, "function": {"name": "g"}}], [{"type": "openrouter:web_search"}], []],
    "tool_choice": ["auto", "none", "required", {"type": "function", "function": {"name": "f"}}],
    "parallel_tool_calls": [True, False],
    "functions": [[{"name": "f"}], [{"name": "g"}]],
    "function_call": ["auto", {"name": "f"}],
    "deferred_tools": [["f"], []],
    "reasoning": [{"effort": "high"}, {"effort": "low"}, {"max_tokens": 100}, {"exclude": True}, {"enabled": False}],
    "reasoning_effort": ["none", "low", "high"],
    "include_reasoning": [True, False],
    "verbosity": ["low", "high"],
    "modalities": [["text"], ["text", "image"], ["image", "text"]],
    "image_config": [{"aspect_ratio": "1:1"}, {"aspect_ratio": "16:9"}],
    "audio": [{"voice": "alloy", "format": "wav"}, {"voice": "echo", "format": "wav"}],
    "prediction": [{"type": "content", "content": "a"}, {"type": "content", "content": "b"}],
    "web_search_options": [{}, {"search_context_size": "high"}],
    "service_tier": ["auto", "flex", "priority"],
    "speed": ["fast"],
    "store": [True, False],
    "safe_prompt": [True, False],
    "raw_mode": [True, False],
    "moderation": [True, False],
    "debug": [{"echo_upstream_body": True}, {"echo_upstream_body": False}],
    "enable_thinking": [True, False],
    "chat_template_kwargs": [{"enable_thinking": False}, {"enable_thinking": True}],
    "thinking": [{"type": "enabled", "budget_tokens": 1024}, {"type": "disabled"}],
    "cache_salt": ["a", "b"],
    "extra_body": [{"a": 1}, {"a": 2}],
    "Stream": [True, False],
    "user_id": ["u"],
    "": [1, 2],
    "a_field_nobody_knows_yet": [None, False, True, 0, "", [], {}],
}


class TestFields(FieldsContract):
    keys = Keys(CHAT, model="m/one", temperature=0, messages=[USER])
    ignored, stays, moves, least = CHAT_IGNORED, STAYS, MOVES, 60
    inside = ("messages", "tools", "provider", "x")


@pytest.mark.parametrize(
    "texts",
    [
        ["0", "0.0", "-0", "0e0"],
        ["1", "1.0", "1.00", "1e0", "true", '"1"', "null"],
        ["100", "1e2", "1E2", "1e+2"],
        ["18446744073709551617", "18446744073709551618", "18446744073709551616", "1.8446744073709552e19"],
        ["9007199254740992", "9007199254740993"],
        ["0.1", "0.10", "0.1000000000000000055511151231257827"],
    ],
)
def test_numbers_keep_their_text_in_the_key(texts: list[str]) -> None:
    keys = {digest(b'{"model":"m","seed":%b}' % text.encode(), ON) for text in texts}
    assert len(keys) == len(texts)
    keys = {digest(b'{"model":"m","x":{"y":[%b]}}' % text.encode(), ON) for text in texts}
    assert len(keys) == len(texts)


def test_order_of_members_white_space_and_escapes_leave_the_key() -> None:
    a = b'{"model":"m","temperature":0,"messages":[{"role":"user","content":"h\xc3\xa9/"}],"tools":[]}'
    b = (
        b' {\t"tools" : [ ] ,\r\n "\\u006dessages":[ {"content":"h\\u00e9\\/","role":"user"} ],'
        b'"temperature": 0 ,"model":"\\u006d"}\n'
    )
    assert digest(a) == digest(b)


def test_order_inside_lists_moves_the_key() -> None:
    turns = [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]
    assert digest(chat(messages=turns)) != digest(chat(messages=turns[::-1]))


def test_names_are_taken_as_they_are_written() -> None:
    for name in STAYS:
        assert digest(chat(**{name.upper(): "x"})) != digest(chat())
        assert digest(chat(**{f" {name}": "x"})) != digest(chat())
        assert digest(chat(**{f"{name}\0": "x"})) != digest(chat())


# ------------------------------------------------------------------------------------------------ framing


@pytest.mark.parametrize("value", [None, False, ABSENT])
def test_a_stream_that_is_not_asked_for_is_a_whole_answer(value: Any) -> None:
    assert asked(chat(stream=value)).key == asked(chat()).key


@pytest.mark.parametrize("value", [1, 0, "true", "false", "", [], {}, [True]])
def test_a_stream_that_is_no_boolean_is_part_of_the_key_with_its_options(value: Any) -> None:
    odd = asked(chat(stream=value))
    assert odd.intent.stream is False
    assert odd.key.digest != digest(chat())
    assert digest(chat(stream=value, stream_options={"include_usage": True})) != odd.key.digest


@pytest.mark.parametrize(
    ("options", "wants"),
    [
        ({"include_usage": True}, True),
        ({"include_usage": False}, False),
        ({"include_usage": 1}, False),
        ({"include_usage": "true"}, False),
        ({}, False),
        (None, False),
        ([], False),
        ("include_usage", False),
        (ABSENT, False),
    ],
)
def test_a_usage_chunk_is_wanted_when_it_is_plainly_asked_for(options: Any, wants: bool) -> None:
    assert asked(chat(stream=True, stream_options=options)).intent.wants_usage is wants


# ------------------------------------------------------------------------------------------------ what is read besides


@pytest.mark.parametrize("text", ["0", "0.0", "-0", "-0.0", "0e5", "0E-3", "0.000"])
def test_temperature_zero_is_deterministic_however_it_is_written(text: str) -> None:
    assert asked(b'{"model":"m","temperature":%b}' % text.encode()).intent.deterministic


@pytest.mark.parametrize("text", ["1", "1e-9", "null", '"0"', "false", "[0]", "{}", "-1"])
def test_any_other_temperature_is_not(text: str) -> None:
    assert bypassed(b'{"model":"m","temperature":%b}' % text.encode()) == "not-deterministic"
    assert bypassed(b'{"model":"m"}') == "not-deterministic"


@pytest.mark.parametrize(
    ("limits", "sets"),
    [
        ({}, False),
        ({"max_tokens": 5}, True),
        ({"max_completion_tokens": 5}, True),
        ({"max_tokens": None, "max_completion_tokens": None}, False),
        ({"max_tokens": None, "max_completion_tokens": 1}, True),
    ],
)
def test_whether_the_client_limits_the_answer_is_seen(limits: dict[str, Any], sets: bool) -> None:
    assert asked(chat(**limits)).intent.sets_limit is sets


@pytest.mark.parametrize("model", [None, 1, ["m"], {}, ABSENT])
def test_a_model_that_is_no_text_has_no_name_and_still_counts(model: Any) -> None:
    odd = asked(chat(model=model))
    assert odd.intent.model == ""
    assert odd.key.digest != digest(chat())


# ------------------------------------------------------------------------------------------------ passing through

HOSTILE = [
    (b"", "bad-json"),
    (b"null", "not-an-object"),
    (b"[]", "not-an-object"),
    (b'{"model":"m","model":"m"}', "duplicate-member"),
    (b'{"a":1,"\\u0061":1}', "duplicate-member"),
    (b'{"metadata":{"a":1,"a":2}}', "duplicate-member"),
    (b'{"temperature":NaN}', "bad-number"),
    (b'{"user":-Infinity}', "bad-number"),
    (b'{"user":"\\ud800"}', "bad-text"),
    (b'{"\\udc00":1}', "bad-text"),
    (b'{"user":"\xff"}', "bad-text"),
    (b'\xef\xbb\xbf{"model":"m"}', "bad-json"),
    ('{"model":"m"}'.encode("utf-16"), "bad-text"),
    (b'{"user":' + b"[" * 128 + b"]" * 128 + b"}", "too-deep"),
    (b'{"user":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "too-deep"),
    (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "too-deep"),
]


@pytest.mark.parametrize(("body", "reason"), HOSTILE, ids=[f"{why}-{n}" for n, (_, why) in enumerate(HOSTILE)])
def test_a_body_without_a_key_goes_on_untouched_and_says_why(body: bytes, reason: str) -> None:
    assert bypassed(body) == reason


def test_a_body_without_a_key_goes_on_even_when_caching_is_demanded() -> None:
    assert bypassed(b'{"a":1,"a":1}', ON) == "duplicate-member"


def test_the_original_bytes_go_upstream_not_the_canonical_ones() -> None:
    body = b' { "temperature":0.0 , "model" : "m", "user":"\\u0041"} '
    assert asked(body).call.body == body


@pytest.mark.parametrize("endpoint", [*sorted(CACHED_ENDPOINTS - DIALECTS.keys()), "completions", "rerank"])
def test_an_endpoint_without_a_dialect_passes_through(endpoint: str) -> None:
    found = PLAIN.admit("", endpoint, b"", HEADERS, chat())
    assert isinstance(found, Bypassed)
    assert found.reason.id == "no-dialect"


@pytest.mark.parametrize(
    ("media", "reason"),
    [
        (b"application/json", None),
        (b"application/json; charset=utf-8", None),
        (b" Application/JSON ;x=y", None),
        (b"text/plain", "unread-type"),
        (b"application/jsonl", "unread-type"),
        (b"multipart/form-data; boundary=x", "unread-type"),
        (b"", "unread-type"),
        (None, "unread-type"),
    ],
)
def test_only_a_body_that_says_it_is_json_is_read(media: bytes | None, reason: str | None) -> None:
    headers = HEADERS[:1] if media is None else (HEADERS[0], (b"content-type", media))
    found = admit(headers=headers)
    assert (found.reason.id if isinstance(found, Bypassed) else None) == reason


@pytest.mark.parametrize(("coding", "reads"), [(b"gzip", False), (b"br", False), (b"identity", True), (b"", True)])
def test_a_compressed_body_is_not_read(coding: bytes, reads: bool) -> None:
    found = admit(None, (b"content-encoding", coding))
    assert isinstance(found, Bypassed) is not reads
    assert reads or (isinstance(found, Bypassed) and found.reason.id == "encoded-request")


def test_an_error_of_the_gateway_has_openrouters_shape() -> None:
    dialect = PLAIN.admit("", "chat/completions", b"", HEADERS, chat()).dialect  # type: ignore[union-attr]
    found = orjson.loads(dialect.error(504, "only-if-cached", 'nothing "usable"'))
    assert found == {
        "error": {"code": 504, "message": 'nothing "usable"', "metadata": {"payonce": "only-if-cached"}},
    }

"""The messages dialect judges answers: only what is whole, free of errors and worth giving twice is kept.

The streams in recordings/messages are made by hand after the documented examples of Anthropic and OpenRouter.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.verdicts import ENDS, RecordingsContract, is_verdict, json_of, judge_by
from tests.support.words import SECRET, entry, intent

from payonce.dialects import MessagesDialect
from payonce.dialects.usage import read_message_tokens
from payonce.gateway.wire import error_body
from payonce.model import reason as why
from payonce.model.entry import Facts, Tokens, seal, unseal
from payonce.model.reason import Reason

MESSAGES = MessagesDialect()
STREAMS = {path.stem: path.read_bytes() for path in (Path(__file__).parent / "recordings/messages").glob("*.sse")}
FACTS = {
    "anthropic-text": Facts(
        "msg_01XFDUDYJgAACzvnptvVoYEL", "claude-sonnet-4-5-20250929", "always", Tokens(3097, 15, None, (2048, 1024, 0))
    ),
    "anthropic-thinking-tools": Facts(
        "msg_014p7gG3wDgGV9EUtLvnow3U", "claude-opus-4-1-20250805", "always", Tokens(472, 89, None, ())
    ),
    "openrouter-search": Facts(
        "gen-1790000001-aBcDeFgHiJkLmNoPqRsT",
        "anthropic/claude-4.6-sonnet-20260217",
        "always",
        Tokens(18003, 510, 42_103_500),
    ),
}
USAGE = {"input_tokens": 3, "output_tokens": 2, "cost": 0.00025}
ERROR = {"type": "overloaded_error", "message": "Overloaded"}
TEXT = {"type": "text", "text": "hi"}
THINKING = {"type": "thinking", "thinking": "hm", "signature": "s"}
CALL = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": 1}}
SEARCH_FAILED = {
    "type": "web_search_tool_result",
    "tool_use_id": "srvtoolu_1",
    "content": {"type": "web_search_tool_result_error", "error_code": "unavailable"},
}


def event(part: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (part["type"].encode(), orjson.dumps(part))


def message(*blocks: Any, stop: Any = "end_turn", **more: Any) -> dict[str, Any]:
    plain = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m-1", "content": list(blocks)}
    return {**plain, "stop_reason": stop, "stop_sequence": None, "usage": USAGE, **more}


def parts(whole: dict[str, Any]) -> list[dict[str, Any]]:
    """The events in which a message arrives as a stream."""
    found: list[dict[str, Any]] = [
        {
            "type": "message_start",
            "message": {**whole, "content": [], "stop_reason": None, "usage": {"input_tokens": 3}},
        }
    ]
    for index, block in enumerate(whole["content"]):
        start, delta = dict(block), None
        if block["type"] == "text":
            start, delta = {**block, "text": ""}, {"type": "text_delta", "text": block["text"]}
        elif block["type"].endswith("tool_use"):
            said = block["input"] if isinstance(block["input"], str) else orjson.dumps(block["input"]).decode()
            start, delta = {**block, "input": {}}, {"type": "input_json_delta", "partial_json": said}
        found.append({"type": "content_block_start", "index": index, "content_block": start})
        if delta is not None:
            found.append({"type": "content_block_delta", "index": index, "delta": delta})
        found.append({"type": "content_block_stop", "index": index})
    end = {"stop_reason": whole["stop_reason"], "stop_sequence": None}
    return [*found, {"type": "message_delta", "delta": end, "usage": whole["usage"]}, {"type": "message_stop"}]


def stream(*events: dict[str, Any], done: bytes = b"") -> bytes:
    return b"".join(map(event, events)) + done


judge = judge_by(MESSAGES)


def both(*blocks: Any, stop: Any = "end_turn", **wish: Any) -> list[Facts | Reason]:
    whole = message(*blocks, stop=stop)
    return [judge(stream(*parts(whole)), **wish), judge(whole, **wish)]


# ------------------------------------------------------------------------------------------------ recordings

ERRORS = [
    b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}',
    b'data: {"type":"error","error":{"type":"api_error","message":"x"}}',
    b'data: {"error":{"code":502,"message":"Provider returned error"}}',
    b'event: error\ndata: {"message":"x"}',
    b"event: error\ndata: not json",
    b"event:error\ndata: {}",
]


class TestRecordings(RecordingsContract):
    dialect, streams, facts, errors, stride = MESSAGES, STREAMS, FACTS, ERRORS, 7

    def whole_from(self, body: bytes, end: bytes) -> int:
        """From which length on a stream is whole: past the blank line that ends `message_stop`."""
        return body.index(end * 2, body.index(b"event: message_stop")) + 2 * len(end)


# ------------------------------------------------------------------------------------------------ good answers


def test_a_whole_answer_says_what_it_is() -> None:
    assert judge(message(TEXT)) == Facts("msg_1", "m-1", "always", Tokens(3, 2, 250_000))
    assert judge(stream(*parts(message(TEXT)))) == judge(message(TEXT))


@pytest.mark.parametrize(
    "done", [b"", b"data: [DONE]\n\n", b"data: [DONE]", b": bye\n\n", b'event: ping\ndata: {"type":"ping"}\n\n']
)
def test_what_may_follow_the_end(done: bytes) -> None:
    assert isinstance(judge(stream(*parts(message(TEXT)), done=done)), Facts)


KEPT: list[tuple[str, list[Any], str]] = [
    ("text", [TEXT], "end_turn"),
    ("blank text", [{"type": "text", "text": " "}], "end_turn"),
    ("a stop sequence", [TEXT], "stop_sequence"),
    ("thinking and text", [THINKING, TEXT], "end_turn"),
    ("hidden thinking and text", [{"type": "redacted_thinking", "data": "AA"}, TEXT], "end_turn"),
    ("a tool call", [CALL], "tool_use"),
    ("a tool call without input", [{**CALL, "input": {}}], "tool_use"),
    ("tool calls in parallel", [TEXT, CALL, {**CALL, "id": "toolu_2"}], "tool_use"),
    ("a compaction and text", [{"type": "compaction", "content": "so far"}, TEXT], "end_turn"),
    ("an unknown kind", [{"type": "container_upload", "file_id": "file_1"}], "end_turn"),
]


@pytest.mark.parametrize(("blocks", "stop"), [row[1:] for row in KEPT], ids=[row[0] for row in KEPT])
def test_an_answer_with_substance_is_kept_in_either_framing(blocks: list[Any], stop: str) -> None:
    assert all(isinstance(found, Facts) for found in both(*blocks, stop=stop))


UNKEPT: list[tuple[str, list[Any], Any, Reason]] = [
    ("nothing", [], "end_turn", why.EMPTY),
    ("no text", [{"type": "text", "text": ""}], "end_turn", why.EMPTY),
    ("only thinking", [THINKING], "end_turn", why.EMPTY),
    ("only hidden thinking", [{"type": "redacted_thinking", "data": "AA"}], "end_turn", why.EMPTY),
    ("only a compaction", [{"type": "compaction", "content": "so far"}], "end_turn", why.EMPTY),
    ("a refusal", [], "refusal", why.REFUSAL),
    ("a refusal after text", [TEXT], "refusal", why.REFUSAL),
    ("cut off", [TEXT], "max_tokens", why.TRUNCATED),
    ("out of context", [TEXT], "model_context_window_exceeded", why.TRUNCATED),
    ("a pause", [TEXT], "pause_turn", why.NO_FINISH),
    ("a pause after compaction", [{"type": "compaction", "content": "x"}, TEXT], "compaction", why.NO_FINISH),
    ("an unknown end", [TEXT], "something_new", why.NO_FINISH),
    ("no end", [TEXT], None, why.NO_FINISH),
    ("an empty end", [TEXT], "", why.NO_FINISH),
    ("torn input", [{**CALL, "input": '{"a":'}], "tool_use", why.BAD_TOOL_JSON),
    ("input that is text", [{**CALL, "input": '"a"'}], "tool_use", why.BAD_TOOL_JSON),
    ("input with more after", [{**CALL, "input": "{}{}"}], "tool_use", why.BAD_TOOL_JSON),
    ("one torn input of two", [CALL, {**CALL, "input": "{"}], "tool_use", why.BAD_TOOL_JSON),
    ("a search that failed", [SEARCH_FAILED, TEXT], "end_turn", why.ERROR_INSIDE),
]


@pytest.mark.parametrize(("blocks", "stop", "reason"), [row[1:] for row in UNKEPT], ids=[row[0] for row in UNKEPT])
def test_an_answer_not_worth_giving_twice_is_not_kept_in_either_framing(
    blocks: list[Any], stop: Any, reason: Reason
) -> None:
    assert both(*blocks, stop=stop) == [reason, reason]


def test_an_answer_that_the_client_itself_limited_is_whole_at_its_limit() -> None:
    assert all(isinstance(found, Facts) for found in both(TEXT, stop="max_tokens", sets_limit=True))
    assert both(THINKING, stop="max_tokens", sets_limit=True) == [why.EMPTY] * 2
    assert both(stop="max_tokens", sets_limit=True) == [why.EMPTY] * 2, "max_tokens 0 warms the provider's cache"
    assert both(TEXT, stop="model_context_window_exceeded", sets_limit=True) == [why.TRUNCATED] * 2


@pytest.mark.parametrize("said", [{}, {"a": 1}])
def test_a_tool_call_at_the_limit_may_have_lost_its_input(said: dict[str, Any]) -> None:
    assert both(TEXT, {**CALL, "input": said}, stop="max_tokens", sets_limit=True) == [why.BAD_TOOL_JSON] * 2


def test_input_in_the_start_of_a_block_counts_where_no_delta_follows() -> None:
    events = parts(message(CALL, stop="tool_use"))
    del events[2]
    assert isinstance(judge(stream(*events)), Facts)
    events[1] = {**events[1], "content_block": {**CALL, "input": "torn"}}
    assert judge(stream(*events)) is why.BAD_TOOL_JSON


@pytest.mark.parametrize(
    ("start", "end", "tokens"),
    [
        ({"input_tokens": 5, "output_tokens": 1}, {"output_tokens": 9}, Tokens(5, 9, None, ())),
        ({"input_tokens": 5}, {"input_tokens": 7, "output_tokens": 9}, Tokens(7, 9, None, ())),
        ({"input_tokens": 5, "cache_read_input_tokens": 100}, {"output_tokens": 9}, Tokens(105, 9, None, ())),
        (
            {"input_tokens": 0, "cache_creation_input_tokens": 10, "cache_read_input_tokens": 5},
            {},
            Tokens(15, None, None, (5, 10, 0)),
        ),
        ({"input_tokens": 5}, {"input_tokens": None, "output_tokens": 1, "cost": 0.5}, Tokens(5, 1, 500_000_000)),
        ({}, {"cost": 0}, Tokens(cost=0)),
    ],
)
def test_usage_is_gathered_over_a_stream(start: dict[str, Any], end: dict[str, Any], tokens: Tokens) -> None:
    events = parts(message(TEXT))
    events[0]["message"]["usage"] = start
    events[-2]["usage"] = end
    found = judge(stream(*events))
    assert isinstance(found, Facts)
    assert found.tokens == tokens


@pytest.mark.parametrize("usage", [None, {}, ...])
def test_an_answer_without_usage_is_kept(usage: Any) -> None:
    whole = message(TEXT, usage=usage)
    if usage is ...:
        del whole["usage"]
    found = judge(whole)
    assert isinstance(found, Facts)
    assert (found.usage, found.tokens) == ("none", Tokens())


@pytest.mark.parametrize("count", [None, True, "5", 1.5, -1, 2**63, 2**64])
def test_odd_counts_fit_an_entry(count: Any) -> None:
    usage = {"input_tokens": count, "cache_read_input_tokens": count, "output_tokens": 1}
    tokens = read_message_tokens(usage)
    slot = b"s" * 33
    kept = entry(facts=Facts("a", "b", "always", tokens))
    assert unseal(seal(kept, slot, SECRET), slot, SECRET) == kept


# ------------------------------------------------------------------------------------------------ cut, out of order


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_that_lost_an_event_of_its_frame_is_not_kept(name: str) -> None:
    events = STREAMS[name].split(b"\n\n")
    for place, lost in enumerate(events):
        kinds = (b"message_start", b"content_block_start", b"content_block_stop", b"message_delta", b"message_stop")
        if any(b"event: " + kind in lost for kind in kinds):
            assert isinstance(judge(b"\n\n".join(events[:place] + events[place + 1 :])), Reason), lost


def test_words_of_a_model_are_no_events() -> None:
    assert isinstance(
        judge(stream(*parts(message({"type": "text", "text": "\nevent: error\ndata: [DONE]\n\n"})))), Facts
    )


@pytest.mark.parametrize(
    "error",
    [
        {"type": "error", "error": ERROR},
        {"type": "error", "error": ERROR, "request_id": "gen-1"},
        {"error": {"code": 502, "message": "Provider returned error"}},
        {**message(TEXT), "error": ERROR},
    ],
)
def test_an_error_inside_a_200_is_not_kept(error: dict[str, Any]) -> None:
    assert judge(error) is why.ERROR_INSIDE


def _moved(events: list[Any], *, place: int, to: int) -> list[Any]:
    rest = events[:place] + events[place + 1 :]
    return [*rest[:to], events[place], *rest[to:]]


def test_events_out_of_order_are_not_read() -> None:
    events = parts(message(TEXT, CALL, stop="tool_use"))
    start, text_start, text_delta, text_stop, *_, end, stop = events
    bad = {
        "a second start": [start, *events],
        "a start in the middle": _moved(events, place=0, to=3),
        "a block twice": [start, text_start, *events[1:]],
        "a delta before its block": _moved(events, place=2, to=1),
        "a delta after its block": [*events[:4], text_delta, *events[4:]],
        "a stop twice": [*events[:4], text_stop, *events[4:]],
        "text after the end": [*events, text_delta],
        "an end twice": [*events, stop],
        "usage after the end": [*events, end],
        "nothing but an end": [stop],
    }
    assert {name: judge(stream(*row)) for name, row in bad.items()} == dict.fromkeys(bad, why.UNREADABLE)
    assert judge(stream(*_moved(events, place=3, to=7))) != why.UNREADABLE, "blocks may overlap"
    assert judge(stream(*events[:3], *events[4:])) is why.NO_FINISH


@pytest.mark.parametrize(
    "after", [b"data: [DONE]\n\n" * 2, b"data: x\n\n", b"data: {}\n\n", b"data: [DONE]\n\ndata: 1\n\n"]
)
def test_noise_after_the_end_is_not_read(after: bytes) -> None:
    assert judge(stream(*parts(message(TEXT)), done=after)) is why.UNREADABLE


def test_done_does_not_stand_in_for_the_end() -> None:
    events = parts(message(TEXT))
    assert judge(stream(*events[:-1], done=b"data: [DONE]\n\n")) is why.UNREADABLE
    assert judge(stream(*events[:-1])) is why.NO_TERMINAL
    assert judge(stream(*events, done=b"data: [DO")) is why.CUT


@pytest.mark.parametrize("body", [b"", b" ", b"\n\n", b": OPENROUTER PROCESSING\n\n"])
def test_a_stream_without_events_is_empty(body: bytes) -> None:
    assert judge(body) is why.EMPTY


def test_unknown_events_and_deltas_change_nothing() -> None:
    events = parts(message(TEXT))
    more = {"type": "content_block_delta", "index": 0, "delta": {"type": "new_delta", "x": [1]}}
    assert isinstance(judge(stream(events[0], {"type": "new_event"}, *events[1:3], more, *events[3:])), Facts)


# ------------------------------------------------------------------------------------------------ whatever comes

# fmt: off
words = st.sampled_from([
    "type", "message", "message_start", "message_delta", "message_stop", "content_block_start",
    "content_block_delta", "content_block_stop", "index", "delta", "content_block", "text", "text_delta",
    "tool_use", "input", "content", "partial_json", "input_json_delta", "stop_reason", "end_turn", "usage",
    "input_tokens", "error", "id", "model",
])
# fmt: on
anything = json_of(words)


@given(anything)
def test_any_json_gets_a_verdict(value: Any) -> None:
    assert is_verdict(MESSAGES.judge(intent(), (), orjson.dumps(value)))


@given(st.data())
@settings(max_examples=200)
def test_any_events_get_a_verdict(data: st.DataObject) -> None:
    events: list[Any] = parts(message(TEXT, CALL, stop="tool_use"))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(events) - 1))
        if isinstance(events[place], dict) and data.draw(st.booleans()):
            events[place] = {**events[place], data.draw(words): data.draw(anything)}
        else:
            events[place] = data.draw(anything)
    found = judge(b"".join(b"data: %b\n\n" % orjson.dumps(part) for part in events))
    assert is_verdict(found)
    if isinstance(found, Facts):
        seal(entry(facts=found), b"s" * 33, SECRET)


# ------------------------------------------------------------------------------------------------ what a hit reports


def datas(body: bytes) -> list[Any]:
    return [orjson.loads(line[6:]) for line in body.splitlines() if line.startswith(b"data: {")]


def usages(part: dict[str, Any]) -> list[dict[str, Any]]:
    return [holder["usage"] for holder in (part, part.get("message") or {}) if isinstance(holder.get("usage"), dict)]


def numbers(value: Any) -> list[float]:
    if isinstance(value, dict | list):
        return [number for inner in (value.values() if isinstance(value, dict) else value) for number in numbers(inner)]
    return [value] if isinstance(value, int | float) and not isinstance(value, bool) else []


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_of_a_hit_differs_in_its_usage_alone(name: str, end: str) -> None:
    body = STREAMS[name].replace(b"\n", ENDS[end])
    assert MESSAGES.respend(body, True, "verbatim") == body
    zero, free = MESSAGES.respend(body, True, "zero"), MESSAGES.respend(body, True, "free")
    for lines, old in zip(
        zip(zero.split(ENDS[end]), free.split(ENDS[end]), strict=True), body.split(ENDS[end]), strict=True
    ):
        for new in lines:
            if b'"usage"' not in old:
                assert new == old
            else:
                head, tail = old.split(b'"usage":', 1)[0], old[old.rindex(b"}", 0, -1) :]
                assert new.startswith(head)
                assert new.endswith(tail)
    found = [usage for part in datas(zero) for usage in usages(part)]
    assert len(found) == 2
    assert set(numbers(found)) == {0}
    for old_part, new_part in zip(datas(body), datas(free), strict=True):
        for old_usage, new_usage in zip(usages(old_part), usages(new_part), strict=True):
            costs = {key for key in old_usage if "cost" in key}
            assert {**old_usage, **{key: new_usage[key] for key in costs}} == new_usage
            assert set(numbers([new_usage[key] for key in costs])) <= {0}
    assert isinstance(judge(zero), Facts)
    assert MESSAGES.respend(zero, True, "zero") == zero


def test_a_whole_answer_of_a_hit_differs_in_its_usage_alone() -> None:
    usage = b'{"input_tokens":9,"cache_creation":{"ephemeral_5m_input_tokens":1},"iterations":[{"n":3}],"cost":0.5}'
    frame = b'{ "type":"message", "content":[{"text":"\\u00e9 \\"usage\\":{\\"a\\":1}"}],  "usage": %b ,"n":1e2}\n'
    zeroed = b'{"input_tokens":0,"cache_creation":{"ephemeral_5m_input_tokens":0},"iterations":[{"n":0}],"cost":0}'
    assert MESSAGES.respend(frame % usage, False, "zero") == frame % zeroed
    assert MESSAGES.respend(frame % usage, False, "free") == frame % usage.replace(b"0.5", b"0")


def test_a_usage_anywhere_else_is_not_the_answers() -> None:
    body = event({"type": "x", "delta": {"usage": {"a": 1}}}) + event(
        {"message": {"message": {"usage": {"a": 1}}}, "type": "y"}
    )
    assert MESSAGES.respend(body, True, "zero") == body


# ------------------------------------------------------------------------------------------------ errors


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (403, "permission_error"),
        (404, "not_found_error"),
        (408, "timeout_error"),
        (413, "request_too_large"),
        (421, "invalid_request_error"),
        (429, "rate_limit_error"),
        (500, "api_error"),
        (502, "api_error"),
        (503, "overloaded_error"),
        (504, "timeout_error"),
        (529, "overloaded_error"),
    ],
)
def test_an_error_has_anthropics_shape(status: int, kind: str) -> None:
    found = orjson.loads(MESSAGES.error(status, "some-id", 'what "is" wrong'))
    assert found == {"type": "error", "error": {"type": kind, "message": 'what "is" wrong'}}


def test_the_gateway_speaks_to_each_endpoint_in_its_own_shape() -> None:
    assert orjson.loads(error_body("messages", why.ONLY_IF_CACHED))["error"]["type"] == "timeout_error"
    for endpoint in ("responses", "chat/completions", "embeddings", "models", ""):
        assert orjson.loads(error_body(endpoint, why.ONLY_IF_CACHED))["error"]["code"] == 504

"""`/messages` in the other framing: what the anthropic SDK accumulates is what it parses, or there is no conversion."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.answers import JSON, MESSAGE, in_pieces
from tests.support.mutants import spoil, strangers
from tests.support.sdks import message_of_stream, message_of_whole, same

from payonce.dialects import MessagesDialect
from payonce.dialects.sse import events

pytestmark = pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")  # the SDK takes what it gets

MESSAGES = MessagesDialect()
STREAMS = {path.stem: path.read_bytes() for path in (Path(__file__).parent / "recordings/messages").glob("*.sse")}


def to_stream(body: bytes) -> bytes | None:
    return MESSAGES.convert(body, to_stream=True, wants_usage=False)


def to_whole(body: bytes) -> bytes | None:
    return MESSAGES.convert(body, to_stream=False, wants_usage=False)


def stream(parts: list[Any], end: bytes = b"\n") -> bytes:
    lines = [
        b"event: %b%bdata: %b" % (str(part.get("type")).encode(), end, json.dumps(part).encode()) for part in parts
    ]
    return b"".join(line + end + end for line in [b": OPENROUTER PROCESSING", *lines])


def parts_of(body: bytes) -> list[Any]:
    return [json.loads(data) for data in events(body) if data != b"[DONE]"]


def carried(path: tuple[Any, ...]) -> bool:
    """What is in citations, inputs, results, containers and the counters of a usage is carried as it is."""
    values = {"citations", "citation", "input", "caller", "container", "stop_details"}
    inside_usage = "usage" in path and path[-1] != "usage"
    inside_result = "content" in path[:-1] and path.index("content") < len(path) - 2
    inside_start = path.count("content_block") == 1 and path[-1] != "content_block"
    return bool(values & set(path)) or inside_usage or inside_result or inside_start


# ------------------------------------------------------------------------------------------------ proofs


@settings(max_examples=150, deadline=None)
@given(MESSAGE)
def test_the_stream_made_of_a_message_accumulates_to_it(message: dict[str, Any]) -> None:
    whole = json.dumps(message).encode()
    made = to_stream(whole)
    assert made is not None
    assert list(same(message_of_stream(made), message_of_whole(whole))) == []


@settings(max_examples=150, deadline=None)
@given(MESSAGE, st.sampled_from([b"\n", b"\r\n", b"\r"]), st.booleans(), st.data())
def test_the_message_made_of_a_stream_is_what_the_stream_accumulates_to(
    message: dict[str, Any], end: bytes, done: bool, data: st.DataObject
) -> None:
    made = to_stream(json.dumps(message).encode())
    assert made is not None
    body = stream(in_pieces(data.draw, parts_of(made)), end)
    whole = to_whole(body + (b"data: [DONE]" + end + end if done else b""))
    assert whole is not None
    assert list(same(message_of_stream(body), message_of_whole(whole))) == []


@pytest.mark.parametrize("name", STREAMS)
def test_recorded_streams_become_what_they_accumulate_to_and_back(name: str) -> None:
    whole = to_whole(STREAMS[name])
    assert whole is not None
    assert list(same(message_of_stream(STREAMS[name]), message_of_whole(whole))) == []
    again = to_stream(whole)
    assert again is not None
    assert list(same(message_of_stream(again), message_of_whole(whole))) == []


# ------------------------------------------------------------------------------------------------ refusals


@settings(max_examples=150, deadline=None)
@given(MESSAGE, JSON, st.data())
def test_a_message_with_anything_changed_is_converted_right_or_not_at_all(
    message: dict[str, Any], other: Any, data: st.DataObject
) -> None:
    whole = json.dumps(spoil(message, other, data)).encode()
    made = to_stream(whole)
    if made is not None:
        assert list(same(message_of_stream(made), message_of_whole(whole))) == []


@settings(max_examples=200, deadline=None)
@given(MESSAGE, JSON, st.data())
def test_a_stream_with_anything_changed_is_converted_right_or_not_at_all(
    message: dict[str, Any], other: Any, data: st.DataObject
) -> None:
    made = to_stream(json.dumps(message).encode())
    assert made is not None
    spoiled = spoil(in_pieces(data.draw, parts_of(made)), other, data)
    if not all(isinstance(part, dict) for part in spoiled):
        return
    whole = to_whole(stream(spoiled))
    if whole is not None:
        assert list(same(message_of_stream(stream(spoiled)), message_of_whole(whole))) == []


@settings(max_examples=60, deadline=None)
@given(MESSAGE)
def test_a_member_that_is_not_known_is_never_carried(message: dict[str, Any]) -> None:
    made = to_stream(json.dumps(message).encode())
    assert made is not None
    for spoiled in strangers(message, carried):
        assert to_stream(json.dumps(spoiled).encode()) is None
    for spoiled in strangers(parts_of(made), carried):
        assert to_whole(stream(spoiled)) is None


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"type":"text","text":""', b'"type":"mystery","text":""'),
        (b'"type":"text_delta"', b'"type":"mystery_delta"'),
        (b"event: message_stop", b'event: message_delta\ndata: {"type":"mystery"}\n\nevent: message_stop'),
        (b'{"type":"message_stop"}', b'{"type":"message_stop","openrouter_metadata":{}}'),
        (b'"output_tokens":15', b'"output_tokens":15,"mystery":1'),
        (b'"output_tokens":15', b'"output_tokens":15,"output_tokens":15'),
        (b'"output_tokens":15', b'"output_tokens":15,"output_tokens_details":[{"\\u0000":null}]'),
        (b'"output_tokens":15', b'"output_tokens":15,"service_tier":"\\u0000"'),
        (b'"content":[]', b'"content":[{"type":"text","text":"a"}]'),
        (b'{"type":"content_block_stop","index":0}', b'{"type":"ping"}'),
        (b'"stop_reason":"end_turn"', b'"stop_reason":null'),
    ],
)
def test_an_unusual_stream_is_not_converted(old: bytes, new: bytes) -> None:
    assert old in STREAMS["anthropic-text"]
    assert to_whole(STREAMS["anthropic-text"].replace(old, new, 1)) is None


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"event: message_stop\n", b""),  # the SDK drops an event without a name
        (b"event: message_stop\n", b"event: ping\n"),
        (b"event: message_stop\n", b"event: message_stop\nevent: message_stop\n"),
        (b"event: message_stop\n", b"event: message_\xb8top\n"),
        (b"event: ping\n", b": \xff\nevent: ping\n"),
        (b"event: ping\n", b"retry: x\nevent: ping\n"),
        (b"event: ping\n", b"event: ping\ndata: {}\n"),
        (b"event: ping\n", b"event: message_delta\n\nevent: ping\n"),
    ],
)
def test_a_stream_whose_framing_is_not_plain_is_not_converted(old: bytes, new: bytes) -> None:
    assert old in STREAMS["anthropic-text"]
    assert to_whole(STREAMS["anthropic-text"].replace(old, new, 1)) is None


def test_what_is_torn_or_empty_or_no_stream_is_not_converted() -> None:
    whole = to_whole(STREAMS["anthropic-text"])
    assert whole is not None
    for body in (b"", b"[]", b"null", b"data: [DONE]\n\n", STREAMS["anthropic-text"][:-30], whole, b"\xff"):
        assert to_whole(body) is None
    for body in (b"", b"[]", b"null", b"{}", whole[:-1], STREAMS["anthropic-text"], b"\xff"):
        assert to_stream(body) is None


# ------------------------------------------------------------------------------------------------ details


def test_the_numbers_of_a_tools_input_keep_their_text() -> None:
    whole = to_whole(STREAMS["anthropic-thinking-tools"])
    assert whole is not None
    exact = whole.replace(b'"input":{}', b'"input":{"a":1.50,"b":-0,"c":1e3,"d":12345678901234567890123}')
    made = to_stream(exact)
    assert made is not None
    back = to_whole(made)
    assert back is not None
    for body in (made.replace(b"\\", b""), back):
        assert b'{"a":1.50,"b":-0,"c":1e3,"d":12345678901234567890123}' in body


def test_the_cost_of_openrouter_is_in_the_whole_answer() -> None:
    whole = to_whole(STREAMS["openrouter-search"])
    assert whole is not None
    usage = orjson.loads(whole)["usage"]
    assert (usage["cost"], usage["input_tokens"], usage["cache_read_input_tokens"]) == (0.0421035, 10682, 7321)


def test_a_stream_begins_with_nothing_said_and_ends_as_anthropic_does() -> None:
    whole = to_whole(STREAMS["anthropic-thinking-tools"])
    assert whole is not None
    made = to_stream(whole)
    assert made is not None
    first, *_, delta, last = parts_of(made)
    assert (first["message"]["content"], first["message"]["stop_reason"]) == ([], None)
    assert first["message"]["usage"]["output_tokens"] == 0
    assert (delta["delta"]["stop_reason"], delta["usage"]["output_tokens"]) == ("tool_use", 89)
    assert last == {"type": "message_stop"}
    assert b"[DONE]" not in made


def test_a_lost_signature_would_be_seen() -> None:
    """The control: the comparison that proves the conversions goes red when one loses something."""
    whole = to_whole(STREAMS["anthropic-thinking-tools"])
    assert whole is not None
    made = to_stream(whole)
    assert made is not None
    lossy = stream([part for part in parts_of(made) if part.get("delta", {}).get("type") != "signature_delta"])
    assert any("signature" in difference for difference in same(message_of_stream(lossy), message_of_whole(whole)))

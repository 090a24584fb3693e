"""`/responses` in the other framing: what the openai SDK accumulates is what it parses, or there is no conversion."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.answers import JSON, RESPONSE
from tests.support.mutants import spoil
from tests.support.sdks import response_events, response_of_stream, response_of_whole, same

from payonce.dialects import ResponsesDialect
from payonce.dialects.sse import events

pytestmark = pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")  # the SDK takes what it gets

RESPONSES = ResponsesDialect()
STREAMS = {path.stem: path.read_bytes() for path in (Path(__file__).parent / "recordings/responses").glob("*.sse")}
NAMES = {"refusal": "refusal", "function_call_arguments": "arguments"}
TEXTS = ("output_text", "refusal", "function_call_arguments", "reasoning_text", "reasoning_summary_text")


def to_stream(body: bytes) -> bytes | None:
    return RESPONSES.convert(body, to_stream=True, wants_usage=False)


def to_whole(body: bytes) -> bytes | None:
    return RESPONSES.convert(body, to_stream=False, wants_usage=False)


def stream(parts: list[Any]) -> bytes:
    return b"".join(b"data: " + json.dumps(part).encode() + b"\n\n" for part in parts) + b"data: [DONE]\n\n"


def parts_of(body: bytes) -> list[Any]:
    return [json.loads(data) for data in events(body) if data != b"[DONE]"]


def made_of(response: dict[str, Any]) -> bytes:
    made = to_stream(json.dumps(response).encode())
    assert made is not None
    return made


# ------------------------------------------------------------------------------------------------ proofs


@settings(max_examples=40, deadline=None)
@given(RESPONSE)
def test_the_stream_made_of_a_response_accumulates_to_it(response: dict[str, Any]) -> None:
    whole = json.dumps(response).encode()
    made = made_of(response)
    assert list(same(response_of_stream(made), response_of_whole(whole))) == []
    again = to_whole(made)
    assert again is not None
    assert list(same(response_of_whole(again), response_of_whole(whole))) == []


@settings(max_examples=30, deadline=None)
@given(RESPONSE)
def test_the_events_alone_say_every_item(response: dict[str, Any]) -> None:
    """Without the output of the last event, the SDK puts it together from those before."""
    *parts, last = parts_of(made_of(response))
    recovered = response_of_stream(stream([*parts, {**last, "response": {**last["response"], "output": None}}]))
    assert list(same(recovered["output"], response_of_whole(json.dumps(response).encode())["output"])) == []


@settings(max_examples=30, deadline=None)
@given(RESPONSE)
def test_the_deltas_say_every_text_and_the_events_are_in_step(response: dict[str, Any]) -> None:
    made = made_of(response)
    deltas: dict[Any, str] = {}
    dones: dict[Any, str] = {}
    numbers = []
    for event in response_events(made):
        numbers.append(event.sequence_number)
        kind, _, step = event.type.removeprefix("response.").partition(".")
        if kind in TEXTS and step in ("delta", "done"):
            where = (kind, event.output_index, getattr(event, "content_index", getattr(event, "summary_index", None)))
            if step == "delta":
                deltas[where] = deltas.get(where, "") + event.delta
            else:
                dones[where] = getattr(event, NAMES.get(kind, "text"))
    assert deltas == dones
    assert numbers == list(range(len(numbers)))
    shown = [part["type"] for part in parts_of(made)]
    assert (shown[:2], shown[-1]) == (["response.created", "response.in_progress"], "response.completed")


@pytest.mark.parametrize("name", STREAMS)
def test_recorded_streams_become_the_response_that_they_end_with(name: str) -> None:
    whole = to_whole(STREAMS[name])
    assert whole is not None
    assert b'"response":' + whole in STREAMS[name]  # byte for byte
    assert list(same(response_of_stream(STREAMS[name]), response_of_whole(whole))) == []


@pytest.mark.parametrize("name", ["openai-text", "openai-tools"])
def test_recorded_responses_become_the_events_that_were_recorded(name: str) -> None:
    whole = to_whole(STREAMS[name])
    assert whole is not None
    made = to_stream(whole)
    assert made is not None

    def steps(body: bytes) -> list[str]:
        found = [part["type"] for part in parts_of(body)]
        return [kind for kind, before in zip(found, ["", *found], strict=False) if kind != before]

    assert steps(made) == steps(STREAMS[name])
    assert list(same(response_of_stream(made), response_of_whole(whole))) == []


# ------------------------------------------------------------------------------------------------ refusals


@settings(max_examples=40, deadline=None)
@given(RESPONSE, JSON, st.data())
def test_a_response_with_anything_changed_is_converted_right_or_not_at_all(
    response: dict[str, Any], other: Any, data: st.DataObject
) -> None:
    whole = json.dumps(spoil(response, other, data)).encode()
    made = to_stream(whole)
    if made is not None:
        assert list(same(response_of_stream(made), response_of_whole(whole))) == []


@settings(max_examples=60, deadline=None)
@given(RESPONSE, JSON, st.data())
def test_a_stream_with_anything_changed_is_converted_right_or_not_at_all(
    response: dict[str, Any], other: Any, data: st.DataObject
) -> None:
    body = stream(spoil(parts_of(made_of(response)), other, data))
    whole = to_whole(body)
    if whole is not None:
        assert list(same(response_of_stream(body), response_of_whole(whole))) == []


@settings(max_examples=60, deadline=None)
@given(RESPONSE, st.data())
def test_an_item_or_a_part_with_an_unknown_member_makes_no_stream(
    response: dict[str, Any], data: st.DataObject
) -> None:
    item = data.draw(st.sampled_from(response["output"]))
    holders = [item, *(item.get("content") or ()), *item.get("summary", ())]
    data.draw(st.sampled_from(holders))["stranger"] = 1
    assert to_stream(json.dumps(response).encode()) is None


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"type":"response.in_progress"', b'"type":"response.mystery"'),
        (b'"type":"response.in_progress"', b'"type":"response.debug"'),
        (b'"type":"response.created"', b'"type":"response.in_progress"'),
        (b'"status":"completed","background"', b'"status":"incomplete","background"'),
        (b'"text":"Hi there!\\n\\nevent: error\\nHow can I assist?"}],"role"', b'"text":"Bye"}],"role"'),
        (b'"type":"response.output_item.done"', b'"type":"response.content_part.done"'),
        (b'"sequence_number":11', b'"mystery":11'),
    ],
)
def test_an_unusual_stream_is_not_converted(old: bytes, new: bytes) -> None:
    assert old in STREAMS["openai-text"]
    assert to_whole(STREAMS["openai-text"].replace(old, new, 1)) is None


def test_an_item_that_is_shown_twice_or_never_done_is_not_converted() -> None:
    parts = parts_of(STREAMS["openai-text"])
    (added,) = (number for number, part in enumerate(parts) if part["type"] == "response.output_item.added")
    (done,) = (number for number, part in enumerate(parts) if part["type"] == "response.output_item.done")
    assert to_whole(stream(parts)) is not None
    for spoiled in (
        [*parts[: added + 1], *parts[added:]],
        [*parts[: done + 1], *parts[done:]],
        [*parts[:added], *parts[added + 1 :]],
        [*parts[:done], *parts[done + 1 :]],
    ):
        assert to_whole(stream(spoiled)) is None


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"status": "completed", "error"', '"status": "incomplete", "error"'),
        ('"error": null', '"error": {"code": "server_error"}'),
        ('"type": "message"', '"type": "web_search_call"'),
        ('"output_text"', '"output_audio"'),
        ('"role": "assistant"', '"role": "user"'),
        ('"id": "m1", ', ""),
        ('"usage": {', '"usage": null, "x": {'),
    ],
)
def test_an_unusual_response_makes_no_stream(old: str, new: str) -> None:
    part = {"type": "output_text", "text": "hi", "annotations": []}
    item = {"id": "m1", "type": "message", "role": "assistant", "content": [part]}
    plain = {"id": "r", "object": "response", "status": "completed", "error": None, "output": [item], "usage": {"a": 1}}
    written = json.dumps(plain)
    assert to_stream(written.encode()) is not None
    assert old in written
    assert to_stream(written.replace(old, new).encode()) is None


def test_what_is_torn_or_empty_or_no_stream_is_not_converted() -> None:
    whole = to_whole(STREAMS["openai-text"])
    assert whole is not None
    for body in (b"", b"[]", b"null", b"data: [DONE]\n\n", STREAMS["openai-text"][:-30], whole, b"\xff"):
        assert to_whole(body) is None
    for body in (b"", b"[]", b"null", b"{}", whole[:-1], STREAMS["openai-text"], b"\xff"):
        assert to_stream(body) is None


def test_numbers_keep_their_text() -> None:
    whole = to_whole(STREAMS["openai-text"])
    assert whole is not None
    exact = whole.replace(b'"temperature":0.0', b'"temperature":1.00e-2')
    assert exact != whole
    made = to_stream(exact)
    assert made is not None
    assert made.count(b'"temperature":1.00e-2') == 3
    assert orjson.loads(to_whole(made) or b"") == orjson.loads(exact)


def test_a_lost_item_would_be_seen() -> None:
    """The control: the comparison that proves the conversions goes red when one loses something."""
    whole = to_whole(STREAMS["openai-tools"])
    assert whole is not None
    lossy = (to_stream(whole) or b"").replace(b"Two cities.", b"")
    assert any("summary" in difference for difference in same(response_of_stream(lossy), response_of_whole(whole)))

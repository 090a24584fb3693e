"""`/chat/completions` in the other framing: the openai SDK accumulates what it parses, or there is no conversion.

Proven on made-up answers of every kind, on recorded streams, and on answers with something wrong in a place chosen at
random: for each of these the conversion is right, or refused.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.answers import JSON, chat_stream, chat_whole
from tests.support.mutants import spoil, strangers
from tests.support.sdks import chat_of_stream, chat_of_whole, same, without_tool_indices

from payonce.dialects import ChatDialect
from payonce.dialects.carry import MAX_BYTES
from payonce.dialects.sse import events

pytestmark = pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")  # the SDKs take what they get

CHAT = ChatDialect()
RECORDED = Path(__file__).parent / "recordings"
STREAMS = {path.stem: path.read_bytes() for path in RECORDED.glob("*.sse")}
WHOLES = {path.stem: path.read_bytes() for path in RECORDED.glob("*.json")}
REFUSED = {
    "chat-stream-error-in-200": "an error",
    "made-choices-logprobs": "the SDK doubles the logprobs of a choice that begins with some",
}


def carried(path: tuple[Any, ...]) -> bool:
    """Usage, annotations and the tokens of logprobs are carried as they are, whatever is in them."""
    return "usage" in path or "annotations" in path or ("logprobs" in path and path[-1] != "logprobs")


def to_stream(body: bytes, *, wants_usage: bool = False) -> bytes | None:
    return CHAT.convert(body, to_stream=True, wants_usage=wants_usage)


def to_whole(body: bytes) -> bytes | None:
    return CHAT.convert(body, to_stream=False, wants_usage=False)


def stream(chunks: list[Any], end: bytes = b"\n") -> bytes:
    lines = [b"data: " + json.dumps(chunk).encode() + end + end for chunk in chunks]
    return b": OPENROUTER PROCESSING" + end + end + b"".join(lines) + b"data: [DONE]" + end + end


def proves(whole: bytes, made: bytes) -> None:
    """A stream `made` from `whole` says all that it says; usage may be left out."""
    left, right = without_tool_indices(chat_of_stream(made)), without_tool_indices(chat_of_whole(whole))
    if b'"usage"' not in made:
        right["usage"] = None
    assert list(same(left, right)) == []


# ------------------------------------------------------------------------------------------------ proofs


@settings(max_examples=150, deadline=None)
@given(chat_whole(), st.booleans())
def test_the_stream_made_of_a_whole_answer_accumulates_to_it(answer: dict[str, Any], wants: bool) -> None:
    whole = json.dumps(answer).encode()
    made = to_stream(whole, wants_usage=wants)
    if wants and "usage" not in answer:
        assert made is None
        return
    assert made is not None
    proves(whole, made)
    assert (b'"usage":' in made) == ("usage" in answer and (wants or "cost" in answer["usage"]))


@settings(max_examples=150, deadline=None)
@given(chat_stream(), st.sampled_from([b"\n", b"\r\n", b"\r"]))
def test_the_whole_answer_made_of_a_stream_is_what_the_stream_accumulates_to(chunks: list[Any], end: bytes) -> None:
    body = stream(chunks, end)
    made = to_whole(body)
    assert made is not None
    assert list(same(chat_of_stream(body), chat_of_whole(made))) == []


@pytest.mark.parametrize("name", STREAMS)
def test_recorded_streams_become_what_they_accumulate_to(name: str) -> None:
    made = to_whole(STREAMS[name])
    assert (made is None) == (name in REFUSED)
    if made is not None:
        assert list(same(chat_of_stream(STREAMS[name]), chat_of_whole(made))) == []


@pytest.mark.parametrize("name", WHOLES)
def test_recorded_whole_answers_become_streams_of_themselves(name: str) -> None:
    made = to_stream(WHOLES[name])
    assert made is not None
    proves(WHOLES[name], made)


@pytest.mark.parametrize("name", ["sim-content", "sim-reasoning", "sim-schema"])
def test_a_stream_becomes_what_the_same_provider_gives_whole(name: str) -> None:
    made = to_whole(STREAMS[name])
    assert made is not None
    differences = set(same(chat_of_whole(made), chat_of_whole(WHOLES[name])))
    absent = {f".choices[0].message.{name}: only in the second" for name in ("reasoning", "refusal")}
    assert differences <= absent


def test_there_and_back_again_is_the_same_answer() -> None:
    for whole in WHOLES.values():
        made = to_stream(whole, wants_usage=True)
        assert made is not None
        back = to_whole(made)
        assert back is not None
        assert not list(same(chat_of_whole(back), chat_of_whole(whole))) or b'"tool_calls"' in whole


# ------------------------------------------------------------------------------------------------ refusals


@settings(max_examples=150, deadline=None)
@given(chat_whole(), JSON, st.data())
def test_a_whole_answer_with_anything_changed_is_converted_right_or_not_at_all(
    answer: dict[str, Any], other: Any, data: st.DataObject
) -> None:
    whole = json.dumps(spoil(answer, other, data)).encode()
    made = to_stream(whole)
    if made is not None:
        proves(whole, made)


@settings(max_examples=200, deadline=None)
@given(chat_stream(), JSON, st.data())
def test_a_stream_with_anything_changed_is_converted_right_or_not_at_all(
    chunks: list[Any], other: Any, data: st.DataObject
) -> None:
    body = stream(spoil(chunks, other, data))
    made = to_whole(body)
    if made is not None:
        assert list(same(chat_of_stream(body), chat_of_whole(made))) == []


@settings(max_examples=60, deadline=None)
@given(chat_whole(), chat_stream())
def test_a_member_that_is_not_known_is_never_carried(answer: dict[str, Any], chunks: list[Any]) -> None:
    for spoiled in strangers(answer, carried):
        assert to_stream(json.dumps(spoiled).encode()) is None
    for spoiled in strangers(chunks, carried):
        assert to_whole(stream(spoiled)) is None


@pytest.mark.parametrize(
    "change",
    [
        (b"[DONE]", b"[GONE]"),
        (b'"created":1792600002', b'"created":1792600002,"created":1'),
        (b'"cost":0.000165', b'"cost":NaN'),
        (b'"chat.completion.chunk"', b'"chat.completion"'),
        (b'"index":0,"delta"', b'"index":1,"delta"'),
        (b'"content":null', b'"content":["parts"]'),
        (b'"usage":{', b'"usage":null,"x":{'),
    ],
)
def test_an_unusual_stream_is_not_converted(change: tuple[bytes, bytes]) -> None:
    assert to_whole(STREAMS["sim-tools"].replace(*change)) is None


def test_with_a_nul_there_is_no_conversion() -> None:
    """A value of a kind that the SDK does not expect makes it warn, and it stumbles over a NUL in its warning."""
    for to_other, body in ((to_whole, STREAMS["sim-tools"]), (to_stream, WHOLES["sim-tools"])):
        assert to_other(body) is not None
        assert to_other(body.replace(b'"provider":"', b'"provider":"\\u0000', 1)) is None


def made_by_hand(*changes: tuple[int, dict[str, Any]], detail: Any = ()) -> bytes:
    """Four chunks, the last with usage; `changes` are laid over the chunk with that number."""
    beside = {"id": "g", "object": "chat.completion.chunk", "created": 1, "model": "m", "system_fingerprint": "f"}
    said = [
        {"role": "assistant", "content": "a"},
        *({"reasoning_details": [part]} for part in detail),
        {"content": "b"},
    ]
    chunks = [{**beside, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in said]
    chunks[-1]["choices"] = [{"index": 0, "delta": {"content": "b"}, "finish_reason": "stop"}]
    chunks.append({**beside, "choices": [], "usage": {"prompt_tokens": 1}})
    for number, change in changes:
        chunks[number] |= change
    return stream(chunks)


def test_what_the_accumulator_takes_from_the_last_chunk_only() -> None:
    grown = [(place, {"usage": {"prompt_tokens": place}}) for place in range(3)]
    made = to_whole(made_by_hand(*grown))
    assert made is not None
    assert orjson.loads(made)["usage"] == {"prompt_tokens": 2}
    assert orjson.loads(made)["system_fingerprint"] == "f"
    for change in ({"usage": None}, {"system_fingerprint": None}, {"system_fingerprint": "g"}, {"model": "other"}):
        assert to_whole(made_by_hand((-1, change))) is None


@pytest.mark.parametrize(
    ("pieces", "merged"),
    [
        ([{"text": "a", "format": "f"}, {"text": "b", "format": "f"}], {"text": "ab", "format": "f"}),
        ([{"text": "a", "signature": None}, {"signature": "s"}], {"text": "a", "signature": "s"}),
        ([{"text": "a"}, {"type": "reasoning.encrypted", "data": "d"}], None),
        ([{"text": "a"}, {"text": "b", "type": None}], None),
        ([{"signature": "s"}, {"signature": "t"}], None),
        ([{"data": "s"}, {"data": "s"}], None),
        ([{"text": "a", "format": "f"}, {"text": "b", "format": "g"}], None),
        ([{"text": "a", "index": 1}], None),
        ([{"text": "a", "stranger": 1}], None),
    ],
)
def test_pieces_of_a_reasoning_detail_are_joined_where_they_are_sure_to_be_one(pieces: Any, merged: Any) -> None:
    same_detail = {"type": "reasoning.text", "index": 0}
    body = made_by_hand(detail=[same_detail | piece for piece in pieces])
    made = to_whole(body)
    if merged is None:
        assert made is None
        return
    assert made is not None
    assert orjson.loads(made)["choices"][0]["message"]["reasoning_details"] == [same_detail | merged]
    assert list(same(chat_of_stream(body), chat_of_whole(made))) == []


def test_what_is_torn_or_empty_or_no_stream_is_not_converted() -> None:
    for body in (
        b"",
        b"[]",
        b"null",
        b"data: [DONE]\n\n",
        STREAMS["sim-content"][:-20],
        WHOLES["sim-content"],
        b"\xff",
    ):
        assert to_whole(body) is None
    for body in (b"", b"[]", b"null", b"{}", b'{"a":1', WHOLES["sim-content"][:-1], STREAMS["sim-content"], b"\xff"):
        assert to_stream(body) is None


def test_what_is_large_is_not_converted() -> None:
    padded = WHOLES["sim-content"].replace(b"Answer", b"A" * MAX_BYTES)
    assert to_stream(padded) is None
    assert to_stream(padded.replace(b"A" * MAX_BYTES, b"A" * (MAX_BYTES // 2))) is not None


# ------------------------------------------------------------------------------------------------ details


def test_numbers_keep_their_text() -> None:
    whole = WHOLES["made-choices-logprobs"].replace(b"-0.0012", b"-1.200E-3").replace(b"4.95e-6", b"4.950e-06")
    made = to_stream(whole, wants_usage=True)
    assert made is not None
    back = to_whole(made)
    assert back is not None
    for body in (made, back):
        for number in (b'"logprob":-1.200E-3', b'"logprob":-1e-7', b'"cost":4.950e-06'):
            assert number in body


@pytest.mark.parametrize("value", [[-(2**70)], [[2**70, 1.5]], [{"token": 2**70}]])
@pytest.mark.parametrize("name", ["logprobs", "log\\u0070robs"])
def test_a_stranger_among_log_probabilities_is_carried_with_its_number_as_it_was(name: str, value: Any) -> None:
    beside = {"finish_reason": "stop", "logprobs": {"content": value, "refusal": None}}
    body = made_by_hand((1, {"choices": [{"index": 0, "delta": {"content": "x"}, **beside}]}))
    body = body.replace(b"logprobs", name.encode())
    made = to_whole(body)
    assert made is not None
    assert str(2**70).encode() in made
    assert list(same(chat_of_stream(body), chat_of_whole(made))) == []


@pytest.mark.parametrize("name", ["system_fingerprint", "provider", "service_tier"])
def test_a_number_in_the_place_of_a_name_is_not_carried(name: str) -> None:
    for value, carried in (("f", True), (2**70, False), (1.5, False), ([], False)):
        body = made_by_hand(*((place, {name: value}) for place in range(3)))
        assert (to_whole(body) is not None) is carried


def test_an_integer_of_any_length_is_carried_also_beside_a_role_that_is_said_again() -> None:
    again = {"choices": [{"index": 0, "delta": {"role": "assistant"}}], "usage": {"prompt_tokens": -(2**70) - 1}}
    body = made_by_hand((-1, again))
    made = to_whole(body)
    assert made is not None
    assert b'"prompt_tokens":-1180591620717411303425}' in made
    assert list(same(chat_of_stream(body), chat_of_whole(made))) == []


@pytest.mark.parametrize(("wants", "cost", "given_"), [(0, 0, 0), (1, 0, 1), (0, 1, 1), (1, 1, 1)])
def test_usage_is_for_who_asked_unless_the_upstream_gives_it_to_everybody(wants: int, cost: int, given_: int) -> None:
    whole = orjson.loads(WHOLES["sim-content"])
    if not cost:
        del whole["usage"]["cost"]
    made = to_stream(orjson.dumps(whole), wants_usage=bool(wants))
    assert made is not None
    *_, last, done = events(made)
    assert done == b"[DONE]"
    found = orjson.loads(last)
    assert (found.get("usage") == whole["usage"] and found["choices"] == []) == bool(given_)


def test_a_stream_that_was_stored_without_usage_makes_no_whole_answer() -> None:
    without = b"\n\n".join(part for part in STREAMS["sim-content"].split(b"\n\n") if b'"usage"' not in part)
    assert without.endswith(b"[DONE]\n\n")
    assert to_whole(without) is None


def test_the_text_comes_after_the_role_and_before_the_end() -> None:
    made = to_stream(WHOLES["sim-reasoning"])
    assert made is not None
    choices = [choice for data in list(events(made))[:-1] for choice in orjson.loads(data)["choices"]]
    assert [sorted(choice["delta"]) for choice in choices] == [
        ["content", "reasoning", "refusal", "role"],
        ["reasoning", "reasoning_details"],
        ["content"],
        [],
    ]
    assert [choice["finish_reason"] for choice in choices] == [None, None, None, "stop"]


def test_a_lost_logprob_would_be_seen() -> None:
    """The control: the comparison that proves the conversions goes red when one loses something."""
    whole = WHOLES["made-choices-logprobs"]
    made = to_stream(whole)
    assert made is not None
    lossy = b"".join(
        b"data: " + (data if data == b"[DONE]" else orjson.dumps(_without_logprobs(orjson.loads(data)))) + b"\n\n"
        for data in events(made)
    )
    proves(whole, made)
    with pytest.raises(AssertionError, match="logprobs"):
        proves(whole, lossy)
    with pytest.raises(AssertionError, match="content"):
        proves(whole, made.replace("é😀".encode(), "e😀".encode()))


def _without_logprobs(chunk: dict[str, Any]) -> dict[str, Any]:
    for choice in chunk["choices"]:
        choice["logprobs"] = None
    return chunk


def test_why_a_choice_that_begins_with_logprobs_is_refused() -> None:
    """The SDK's accumulator counts them twice; should this fail one day, the rule can go."""
    found = chat_of_stream(STREAMS["made-choices-logprobs"])
    tokens = [token["token"] for token in found["choices"][1]["logprobs"]["content"]]
    assert tokens == [tokens[0]] * 2

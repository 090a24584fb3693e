"""What an answer says of its price is heard however it is cut into chunks, and nothing else of it is kept."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payonce.dialects.ear import LINE_BYTES, Ear, Heard

JSON = ((b"content-type", b"application/json"),)
SSE = ((b"content-type", b"text/event-stream; charset=utf-8"),)
RECORDINGS = sorted((Path(__file__).parent / "recordings").rglob("*.sse"))


def hear(headers: tuple[tuple[bytes, bytes], ...], *chunks: bytes, limit: int = 1 << 20) -> Heard:
    ear = Ear(headers, limit)
    for chunk in chunks:
        ear.feed(chunk)
    return ear.told()


def sse(*events: object, end: bytes = b"\n") -> bytes:
    return b"".join(b"data: " + json.dumps(event).encode() + end + end for event in events)


MESSAGES = sse(
    {"type": "message_start", "message": {"id": "msg_1", "model": "claude", "usage": {"input_tokens": 7, "x": 1}}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": 'say "usage"'}},
    {"type": "message_delta", "delta": {}, "usage": {"output_tokens": 5, "x": None}},
)
CHAT = sse(
    {"id": "gen-1", "model": "m", "provider": "Host A", "choices": [{"delta": {"content": "hi"}}]},
    {"id": "gen-1", "model": "m", "provider": "Host A", "choices": [], "usage": {"prompt_tokens": 3, "cost": 0.5}},
)
RESPONSES = sse(
    {"type": "response.created", "response": {"id": "resp_1", "usage": None}},
    {
        "type": "response.completed",
        "response": {
            "id": "resp_1",
            "model": "gpt",
            "usage": {"input_tokens": 9},
            "prompt_cache_diagnostics": {"a": 1},
        },
    },
)


def test_a_whole_answer_says_its_usage_host_and_identity() -> None:
    body = json.dumps({"id": "gen-2", "model": "m", "provider": "Host B", "usage": {"prompt_tokens": 4}}).encode()
    assert hear(JSON, body) == Heard({"prompt_tokens": 4}, "gen-2", "m", "Host B")


def test_the_two_usages_of_a_message_are_one_and_a_null_takes_nothing_back() -> None:
    heard = hear(SSE, MESSAGES)
    assert (heard.usage, heard.id, heard.model) == ({"input_tokens": 7, "x": 1, "output_tokens": 5}, "msg_1", "claude")


def test_a_chat_stream_says_its_usage_at_its_end() -> None:
    assert hear(SSE, CHAT) == Heard({"prompt_tokens": 3, "cost": 0.5}, "gen-1", "m", "Host A")


def test_a_responses_stream_says_its_usage_and_what_the_provider_found() -> None:
    assert hear(SSE, RESPONSES) == Heard(
        {"input_tokens": 9}, "resp_1", "gpt", "", {"prompt_cache_diagnostics": {"a": 1}}
    )


@given(st.sampled_from([MESSAGES, CHAT, RESPONSES]), st.sampled_from([b"\n", b"\r\n", b"\r"]), st.data())
def test_chunks_do_not_matter(body: bytes, end: bytes, data: st.DataObject) -> None:
    body = body.replace(b"\n", end)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=8)))
    pieces = [body[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(body)], strict=True)]
    assert hear(SSE, *pieces) == hear(SSE, body.replace(end, b"\n"))


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.name)
def test_recorded_streams_are_heard_byte_by_byte_as_at_once(path: Path) -> None:
    body = path.read_bytes()
    assert hear(SSE, *(body[n : n + 1] for n in range(len(body)))) == hear(SSE, body)


def test_there_are_recorded_streams_and_some_say_their_usage() -> None:
    assert RECORDINGS
    assert any(hear(SSE, path.read_bytes()).usage for path in RECORDINGS)


@pytest.mark.parametrize(
    "body", [b"", b"no json", b"[1]", b"null", b'{"usage": 3}', b'{"usage": "x", "id": 5}', b"\xff"]
)
def test_what_can_not_be_read_is_left_out(body: bytes) -> None:
    assert hear(JSON, body) == Heard()
    assert hear(SSE, b"data: " + body + b"\n\n") == Heard()


def test_an_answer_past_the_limit_is_not_held() -> None:
    ear = Ear(JSON, limit=10)
    ear.feed(b'{"usage": {"prompt_tokens": 1}}')
    assert ear._chunks == []
    assert ear.told() == Heard()


def test_a_line_without_end_is_not_held() -> None:
    ear = Ear(SSE, limit=10)
    for _ in range(LINE_BYTES // (1 << 16) + 1):
        ear.feed(b"x" * (1 << 16))
    assert ear._chunks == []


def test_a_compressed_answer_is_not_heard() -> None:
    assert hear((*JSON, (b"content-encoding", b"gzip")), b'{"usage": {"prompt_tokens": 1}}') == Heard()

"""Recorded requests: what is read of a line, what is refused, and that no line is lost and no secret kept."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payonce.recorded import BadLine, Record, read_records

CHAT = {"model": "m/n", "messages": [{"role": "user", "content": "hi"}]}


def only(said: Any) -> Record:
    (record,) = read_records([json.dumps(said).encode()])
    assert isinstance(record, Record), record
    return record


def refused(said: Any) -> str:
    (bad,) = read_records([said if isinstance(said, bytes) else json.dumps(said).encode()])
    assert isinstance(bad, BadLine), bad
    return bad.because


def test_a_full_line_is_read_as_it_stands() -> None:
    record = only({
        "at": 12.5, "dialect": "messages", "body": CHAT, "tenant": "t", "session": "s", "provider": "Anthropic",
        "usage": {"input_tokens": 3}, "headers": {"X-Title": "x"}, "ended": 14,
    })  # fmt: skip
    assert record == Record(
        1, 12.5, "messages", CHAT, "m/n", "t", "s", "Anthropic", {"input_tokens": 3}, {"x-title": "x"}, None, 14.0
    )


@pytest.mark.parametrize(
    ("body", "dialect"),
    [
        (CHAT, "chat"),
        ({"model": "m", "input": "hi"}, "responses"),
        ({**CHAT, "system": "be brief"}, "messages"),
        ({**CHAT, "tools": [{"name": "f", "input_schema": {}}]}, "messages"),
        ({"model": "m", "messages": [{"role": "user", "content": [{"type": "tool_result"}]}]}, "messages"),
    ],
)
def test_a_bare_body_shows_its_dialect(body: dict[str, Any], dialect: str) -> None:
    record = only({**body, "timestamp": 3})
    assert (record.dialect, record.at, record.body) == (dialect, 3.0, body)


@pytest.mark.parametrize(
    ("place", "dialect"),
    [
        ("chat/completions", "chat"),
        ("/v1/messages", "messages"),
        ("https://openrouter.ai/api/v1/responses?x=1", "responses"),
    ],
)
@pytest.mark.parametrize("name", ["endpoint", "url", "path"])
def test_the_endpoint_says_the_dialect(name: str, place: str, dialect: str) -> None:
    assert only({name: place, "body": CHAT}).dialect == dialect


def test_a_line_of_a_batch_file_is_a_request() -> None:
    record = only({"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": CHAT})
    assert (record.dialect, record.at, record.body) == ("chat", None, CHAT)


@pytest.mark.parametrize(
    ("time", "seconds"),
    [
        (7, 7.0),
        ("7.5", 7.5),
        ("1970-01-01T00:01:00Z", 60.0),
        ("1970-01-01T00:01:00", 60.0),
        ("1970-01-01T01:01:00+01:00", 60.0),
        (1_800_000_000_000, 1_800_000_000.0),
    ],
)
@pytest.mark.parametrize("name", ["at", "timestamp", "time", "created_at"])
def test_times_are_numbers_or_dates(name: str, time: object, seconds: float) -> None:
    assert only({name: time, "body": CHAT}).at == seconds
    assert only({name: time, **CHAT}).at == seconds


@pytest.mark.parametrize(
    ("line", "word"),
    [
        (b"{", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        ([1], "not an object"),
        ({"body": 3}, "not an object"),
        ({"body": {"messages": []}}, "names no model"),
        ({"dialect": "klingon", "body": CHAT}, "klingon"),
        ({"url": "/v1/embeddings", "body": CHAT}, "/v1/embeddings"),
        ({"method": "GET", "body": CHAT}, "GET"),
        ({"at": "soon", "body": CHAT}, '"at"'),
        ({"at": True, "body": CHAT}, '"at"'),
        ({"model": "m", "prompt": "hi"}, "neither"),
        ({"model": "m", "messages": [], "input": []}, "dialect"),
    ],
)
def test_a_bad_line_says_why(line: Any, word: str) -> None:
    assert word in refused(line)


def test_bad_lines_keep_their_numbers_and_the_others_are_read() -> None:
    good = json.dumps(CHAT).encode()
    found = list(read_records([b"\xef\xbb\xbf" + good + b"\n", b"\n", b"nonsense\n", good]))
    assert [(type(one), one.number) for one in found] == [(Record, 1), (BadLine, 3), (Record, 4)]


@pytest.mark.parametrize("header", ["Authorization", "x-api-key", "Cookie"])
def test_credentials_are_not_kept(header: str) -> None:
    record = only({"body": CHAT, "headers": {header: "Bearer sk-very-secret"}})
    other = only({"body": CHAT, "headers": {header: "Bearer sk-another"}})
    assert "secret" not in repr(record)
    assert record.key is not None
    assert record.key != other.key
    assert "sk-k" not in repr(only({"body": CHAT, "key": "sk-k"}))


@given(st.lists(st.binary(max_size=60)))
def test_any_bytes_give_one_result_a_line_and_no_exception(lines: list[bytes]) -> None:
    lines = [line.replace(b"\n", b"") for line in lines]
    found = list(read_records(lines))
    assert len(found) <= len(lines)
    numbers = [one.number for one in found]
    assert numbers == sorted(set(numbers))


SMALL = st.sampled_from([None, True, -1, 1e300, "", "x", "2026-01-01", [], [1], [["a"]], {}, {"model": "m"}, CHAT])
NAMES = ("at", "body", "dialect", "endpoint", "headers", "key", "messages", "model", "tools", "input", "usage")


@given(st.dictionaries(st.sampled_from(NAMES), SMALL))
def test_any_object_is_a_record_or_a_bad_line(said: dict[str, Any]) -> None:
    (one,) = read_records([json.dumps(said).encode()])
    assert isinstance(one, Record | BadLine)

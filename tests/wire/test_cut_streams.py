"""An answer that was cut anywhere is never taken for a whole one: every recording, every byte, every line end."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.words import intent

from payonce.core.tape import COMPLETE, Tape
from payonce.dialects import ChatDialect
from payonce.model import reason as why
from payonce.model.entry import Facts
from payonce.model.ports import Head
from payonce.model.reason import Reason

RECORDINGS = Path(__file__).parent / "recordings"
OURS = ("chat-", "sim-", "made-")
"""Recorded traffic, the simulated provider's answers, and what neither shows; other dialects' lie beside them."""


def recorded(suffix: str) -> dict[str, bytes]:
    paths = sorted(RECORDINGS.glob(f"*.{suffix}"))
    return {path.stem: path.read_bytes() for path in paths if path.name.startswith(OURS)}


STREAMS, WHOLES = recorded("sse"), recorded("json")
BROKEN = {"chat-stream-error-in-200": why.ERROR_INSIDE}
GOOD = sorted(set(STREAMS) - set(BROKEN))
ENDS = {"lf": b"\n", "crlf": b"\r\n", "cr": b"\r"}
CHAT = ChatDialect()
STREAM, WHOLE = intent(stream=True, sets_limit=True), intent(sets_limit=True)
DONE = b"data: [DONE]"


def judge(body: bytes, *, stream: bool = True) -> Facts | Reason:
    return CHAT.judge(STREAM if stream else WHOLE, (), body)


def with_ends(body: bytes, end: str) -> bytes:
    assert b"\r" not in body
    return body.replace(b"\n", ENDS[end])


def whole_from(body: bytes, end: str) -> int:
    """From which length on a stream is whole: past the blank line that ends the terminal event."""
    return body.rindex(ENDS[end] + DONE) + len(ENDS[end] + DONE) + 2 * len(ENDS[end])


def test_there_are_recordings_of_every_kind() -> None:
    everything = b"".join(STREAMS.values())
    for kind in (
        b"tool_calls",
        b'"reasoning"',
        b'"logprobs":{',
        b'"index":1',
        b'"choices":[],"usage"',
        b'"stop"',
        b"[DONE]",
    ):
        assert kind in everything
    assert STREAMS["made-comments-after-done"].endswith(b"bye\n\n")
    assert len(GOOD) >= 7
    assert len(WHOLES) >= 5


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("name", GOOD)
def test_a_stream_that_is_cut_at_any_byte_is_not_whole(name: str, end: str) -> None:
    body = with_ends(STREAMS[name], end)
    first = whole_from(body, end)
    early = [size for size in range(first) if isinstance(judge(body[:size]), Facts)]
    assert early == []


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("name", GOOD)
def test_a_stream_that_lost_nothing_but_comments_and_blank_lines_is_whole(name: str, end: str) -> None:
    body = with_ends(STREAMS[name], end)
    facts = judge(body)
    assert isinstance(facts, Facts)
    first = whole_from(body, end)
    assert all(line[:1] in (b"", b":") for line in body[first:].split(ENDS[end]))
    assert all(judge(body[:size]) == facts for size in range(first, len(body)))


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("name", BROKEN)
def test_a_stream_with_an_error_inside_is_whole_at_no_length(name: str, end: str) -> None:
    body = with_ends(STREAMS[name], end)
    assert judge(body) is BROKEN[name]
    assert all(isinstance(judge(body[:size]), Reason) for size in range(len(body)))


@pytest.mark.parametrize("name", sorted(STREAMS))
def test_what_a_cut_stream_is_called_is_one_of_few_words(name: str) -> None:
    body = STREAMS[name]
    found = {judge(body[:size]) for size in range(0, whole_from(body, "lf"), 7)}
    assert found <= {why.EMPTY, why.NO_TERMINAL, why.ERROR_INSIDE}


@pytest.mark.parametrize("name", GOOD)
def test_a_stream_without_its_terminal_event_is_not_whole_and_one_without_comments_is(name: str) -> None:
    blocks = [block + b"\n\n" for block in STREAMS[name].split(b"\n\n")[:-1]]
    for place, block in enumerate(blocks):
        rest = b"".join(blocks[:place] + blocks[place + 1 :])
        if block.startswith(DONE):
            assert judge(rest) is why.NO_TERMINAL
        elif block.startswith(b":"):
            assert judge(rest) == judge(STREAMS[name])


@pytest.mark.parametrize("name", sorted(WHOLES))
def test_a_whole_answer_that_is_cut_at_any_byte_is_not_whole(name: str) -> None:
    body = WHOLES[name]
    facts = judge(body, stream=False)
    assert isinstance(facts, Facts)
    end = len(body.rstrip())
    assert not any(isinstance(judge(body[:size], stream=False), Facts) for size in range(end))
    assert all(judge(body[:size], stream=False) == facts for size in range(end, len(body) + 1))


@pytest.mark.parametrize("name", sorted(WHOLES))
def test_a_whole_answer_without_its_beginning_is_not_whole(name: str) -> None:
    body = WHOLES[name]
    assert not any(isinstance(judge(body[start:], stream=False), Facts) for start in range(1, len(body)))


@pytest.mark.parametrize("name", sorted(STREAMS))
def test_a_stream_is_no_whole_answer_and_a_whole_answer_no_stream(name: str) -> None:
    assert isinstance(judge(STREAMS[name], stream=False), Reason)
    for body in WHOLES.values():
        assert isinstance(judge(body), Reason)
        assert isinstance(judge(b"data: " + body.strip() + b"\n\ndata: [DONE]\n\n"), Reason)


# ------------------------------------------------------------------------------------------------ any chunking


def taped(body: bytes, cuts: list[int]) -> tuple[bytes | None, bytes]:
    """What a tape that was fed `body` in pieces kept, and what its reader got."""
    tape = Tape()
    reader = tape.read()
    tape.begin(Head(200, ((b"content-type", b"text/event-stream"),)))
    got: list[bytes] = []
    edges = [0, *sorted(cuts), len(body)]
    for start, stop in pairwise(edges):
        tape.feed(body[start:stop])
        if stop % 3:
            got += reader.take()
    tape.end(COMPLETE)
    return tape.body(), b"".join([*got, *reader.take()])


@given(st.sampled_from(sorted(STREAMS)), st.sampled_from(sorted(ENDS)), st.data())
def test_any_chunking_gives_the_same_bytes_and_the_same_judgement(name: str, end: str, data: st.DataObject) -> None:
    body = with_ends(STREAMS[name], end)
    kept, got = taped(body, data.draw(st.lists(st.integers(0, len(body)), max_size=12)))
    assert kept == got == body
    assert kept is not None
    assert judge(kept) == judge(body)


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("name", sorted(STREAMS))
def test_a_split_at_each_offset_and_byte_by_byte_changes_nothing(name: str, end: str) -> None:
    body = with_ends(STREAMS[name], end)
    assert all(taped(body, [cut]) == (body, body) for cut in range(0, len(body) + 1, 5))
    assert taped(body, list(range(len(body)))) == (body, body)


@pytest.mark.parametrize("name", GOOD)
def test_every_line_end_gives_the_same_judgement(name: str) -> None:
    assert len({repr(judge(with_ends(STREAMS[name], end))) for end in ENDS}) == 1
    assert judge(b"\xef\xbb\xbf" + STREAMS[name]) == judge(STREAMS[name])

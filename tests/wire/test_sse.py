"""Server-sent events: lines end with CR, LF or CRLF and nothing else; what no blank line ends is no event."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payonce.dialects.sse import events

ENDS = [b"\n", b"\r\n", b"\r"]


def every_end(text: bytes) -> list[bytes]:
    return [text.replace(b"\n", end) for end in ENDS]


def read(body: bytes) -> list[bytes]:
    return list(events(body))


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b"data: a\n\n", [b"a"]),
        (b"data:a\n\n", [b"a"]),
        (b"data:  a\n\n", [b" a"]),
        (b"data: a \n\n", [b"a "]),
        (b"data: a\n\ndata: b\n\n", [b"a", b"b"]),
        (b"data: a\ndata: b\n\n", [b"a\nb"]),
        (b"data: a\ndata:\ndata: b\n\n", [b"a\n\nb"]),
        (b"data: a\n\n\n\ndata: b\n\n", [b"a", b"b"]),
        (b"\n\ndata: a\n\n", [b"a"]),
        (b": comment\n\ndata: a\n\n", [b"a"]),
        (b": data: x\ndata: a\n:\n\n", [b"a"]),
        (b"event: x\nid: 1\nretry: 5\ndata: a\nunknown: y\n\n", [b"a"]),
        (b"event: x\n\n", []),
        (b"data\n\n", [b""]),
        (b"data:\n\n", [b""]),
        (b"data\ndata\n\n", [b"\n"]),
        (b"datax: a\n\n", []),
        (b" data: a\n\n", []),
        (b"Data: a\n\n", []),
        (b"data : a\n\n", []),
        (b"", []),
        (b"\n", []),
        (b": only comments\n\n: and more\n\n", []),
        (b"data: a", []),
        (b"data: a\n", []),
        (b"data: a\n\ndata: b\n", [b"a"]),
        (b"data: a\n\ndata: b", [b"a"]),
        (b"data: a\n\n: bye", [b"a"]),
    ],
)
def test_events_are_what_the_standard_says_with_every_line_end(body: bytes, found: list[bytes]) -> None:
    assert [read(form) for form in every_end(body)] == [found] * 3


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b"data: a\n\r\n", [b"a"]),
        (b"data: a\r\n\n", [b"a"]),
        (b"data: a\r\r\n", [b"a"]),
        (b"data: a\r\ndata: b\rdata: c\n\n", [b"a\nb\nc"]),
        (b"data: a\n\ndata: b\r\rdata: c\r\n\r\n", [b"a", b"b", b"c"]),
    ],
)
def test_line_ends_may_be_mixed(body: bytes, found: list[bytes]) -> None:
    assert read(body) == found


@pytest.mark.parametrize(
    "text", ["\u2028", "\u2029", "\u0085", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\0", "a\u2028data: b"]
)
def test_what_python_takes_for_a_line_end_is_text(text: str) -> None:
    assert read(f"data: {text}\n\n".encode()) == [text.encode()]


def test_one_byte_order_mark_at_the_start_is_no_text() -> None:
    bom = b"\xef\xbb\xbf"
    assert read(bom + b"data: a\n\n") == [b"a"]
    assert read(bom + bom + b"data: a\n\n") == []
    assert read(b"data: a\n\n" + bom + b"data: b\n\n") == [b"a"]
    assert read(b"data: " + bom + b"\n\n") == [bom]
    assert read(bom) == read(bom[:2]) == []


def test_half_of_a_crlf_has_not_ended_its_line() -> None:
    whole = b"data: a\r\n\r\ndata: b\r\n\r\n"
    assert read(whole[:-1]) == [b"a"]
    assert read(b"data: a\r\n\r") == []


# ------------------------------------------------------------------------------------------------ a second reader


def slowly(body: bytes) -> list[bytes]:
    """The standard's own algorithm, a byte at a time."""
    lines, line, skip = [], b"", False
    for byte in body.removeprefix(b"\xef\xbb\xbf"):
        if skip and byte == 10:
            skip = False
            continue
        skip = byte == 13
        if byte in (10, 13):
            lines.append(line)
            line = b""
        else:
            line += bytes([byte])
    found: list[bytes] = []
    data: list[bytes] = []
    for text in lines:
        name, _, value = text.partition(b":")
        if not text:
            found += [b"\n".join(data)] * bool(data)
            data = []
        elif name == b"data":
            data.append(value.removeprefix(b" "))
    return found


pieces = st.sampled_from(
    [
        b"data:",
        b"data",
        b" ",
        b":",
        b"\n",
        b"\r",
        b"\r\n",
        b"\n\n",
        b"a",
        b"[DONE]",
        b"\xe2\x80\xa8",
        b"\xef\xbb\xbf",
        b"id: 1",
    ]
)


@given(st.lists(pieces, max_size=25).map(b"".join))
def test_any_bytes_are_read_as_the_standard_reads_them(body: bytes) -> None:
    found, expected = read(body), slowly(body)
    if body.endswith(b"\r"):
        # Whether a lone CR at the very end is a line end or half of one can't be known; then an event less is read.
        assert found in (expected, expected[:-1])
    else:
        assert found == expected


@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n")).map(str.encode), max_size=6),
    st.data(),
)
def test_what_is_written_is_read_whatever_stands_between(texts: list[bytes], data: st.DataObject) -> None:
    end = data.draw(st.sampled_from(ENDS))
    noise = st.sampled_from([b"", b": OPENROUTER PROCESSING" + end, b": x" + end + end, b"event: a" + end, end])
    body = b""
    for text in texts:
        colon = data.draw(st.sampled_from([b"data: ", b"data:"])) if not text.startswith(b" ") else b"data: "
        body += data.draw(noise) + colon + text + end + end
    assert read(body) == texts

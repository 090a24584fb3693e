"""Server-sent events, read from whole bodies: the data of each event, in order.

Source: WHATWG HTML, section 9.2.6. Lines end with CR, LF or CRLF and with nothing else (U+2028 and U+0085 are text); an
event that no blank line ends is no event. This room must never know what an event says.
"""

from __future__ import annotations

from collections.abc import Iterator

_BOM = b"\xef\xbb\xbf"


def events(body: bytes) -> Iterator[bytes]:
    """The data of every complete event; comments, other fields and an unfinished last event are left out."""
    for block in blocks(body.removeprefix(_BOM)):
        data = [line[6:] if line.startswith(b"data: ") else line[5:] for line in block.split(b"\n") if _is_data(line)]
        if data:
            yield data[0] if len(data) == 1 else b"\n".join(data)


def _is_data(line: bytes) -> bool:
    return line.startswith(b"data:") or line == b"data"


def blocks(body: bytes) -> list[bytes]:
    """What stands between blank lines, each line of it ended by LF; an unfinished last block is left out."""
    if b"\r" in body:
        if body.endswith(b"\r") and b"\r\n" in body:
            body = body[:-1]  # half of a CRLF: the line has not ended yet
        body = body.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    found = body.split(b"\n\n")
    found.pop()  # what follows the last blank line was never dispatched
    return found

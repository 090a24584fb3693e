"""The gateway's own words on the wire: the head of an answer, and errors in the endpoint's own shape.

The ASGI face and the fast lane both write with these functions, so that they always agree. This room must never know
why an answer is what it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus

from payonce.dialects import DIALECTS
from payonce.model.call import Headers
from payonce.model.ports import Head
from payonce.model.reason import Reason

Fields = list[tuple[bytes, bytes]]
NO_BODY = (204, 304)
"""Statuses of answers that have no body."""

_STATUS_LINES = {status.value: b"HTTP/1.1 %d %s\r\n" % (status, status.phrase.encode()) for status in HTTPStatus}


def answer_fields(head: Head, fields: Headers, length: int | None) -> Fields:
    """The header fields of an answer: the head's, the cache's own (which win), and the length where it is known."""
    ours = {name for name, _ in fields}
    result = [field for field in head.headers if field[0] not in ours]
    result += fields
    if length is not None:
        result.append((b"content-length", b"%d" % length))
    return result


def head_bytes(status: int, default: Iterable[tuple[bytes, bytes]], fields: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Status line and header block, blank line included."""
    lines = [_STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status]
    for name, value in (*default, *fields):
        lines += (name, b": ", value, b"\r\n")
    lines.append(b"\r\n")
    return b"".join(lines)


def error_body(endpoint: str, reason: Reason, detail: str = "") -> bytes:
    """What is wrong and what to do, in the shape that clients of `endpoint` understand."""
    message = reason.sentence + (f" ({detail})" if detail else "") + (f"; {reason.fix}" if reason.fix else "")
    return DIALECTS.get(endpoint, DIALECTS["chat/completions"]).error(reason.status, reason.id, message)


def error_fields(reason: Reason, fields: Headers = ()) -> Fields:
    """The header fields of the gateway's own errors."""
    return [
        (b"content-type", b"application/json"),
        (b"cache-control", b"no-store, private"),
        (b"x-payonce-error", reason.id.encode()),
        *fields,
    ]

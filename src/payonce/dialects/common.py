"""What every dialect needs: a request's members with their canonical text, and small questions about an answer.

This room must never know one dialect from another.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec
import orjson

from payonce.dialects.canonical import number, parse, spell
from payonce.model.reason import Reason

DONE = b"[DONE]"
_FRAMING = frozenset(("stream", "stream_options"))
_SAFE_ID = re.compile(r"[\x21-\x7e]{1,200}")
_ERROR_EVENT = re.compile(rb"(?:\A|[\r\n])event: ?(?:[\w.]+\.)?(?:error|failed)[ \t]*(?=[\r\n]|\Z)")
_LINE_ENDS = re.compile(rb"\r\n|\r|\n")


class Reading(msgspec.Struct, frozen=True):
    """A request's members (numbers as `parse` has them) and what all dialects read in them."""

    members: dict[str, Any]
    model: str
    stream: bool
    deterministic: bool
    canonical: bytes


def read_body(body: bytes, ignored: Mapping[str, str]) -> Reading | Reason:
    """A request, or why it has no key. A `stream` that is no boolean counts: it is not known what it will do."""
    members = parse(body)
    if isinstance(members, Reason):
        return members
    stream, model = members.get("stream"), members.get("model")
    left_out = ignored.keys() if stream is None or isinstance(stream, bool) else ignored.keys() - _FRAMING
    canonical = spell({name: value for name, value in members.items() if name not in left_out})
    if isinstance(canonical, Reason):
        return canonical
    return Reading(members, text(model), stream is True, number(members.get("temperature")) == 0.0, canonical)


def error_shape(status: int, code: str, message: str) -> bytes:
    """OpenRouter's error shape, on all endpoints but Anthropic's."""
    return orjson.dumps({"error": {"code": status, "message": message, "metadata": {"payonce": code}}})


def text(value: object) -> str:
    """`value` where it is text."""
    return value if isinstance(value, str) else ""


def safe_id(value: str) -> str:
    """`value` where it can stand in a header."""
    return value if _SAFE_ID.fullmatch(value) else ""


def is_json(said: str) -> bool:
    """Whether a text is JSON."""
    try:
        orjson.loads(said)
    except ValueError:
        return False
    return True


def names_an_error(body: bytes) -> bool:
    """Whether an `event:` line of a stream names an error or a failure, whatever its data says."""
    return b"event:" in body and _ERROR_EVENT.search(body) is not None


def is_torn(body: bytes) -> bool:
    """Whether a stream's last event was begun and not ended. A last `[DONE]` without its blank line is not torn."""
    if b"\r" in body:
        body = _LINE_ENDS.sub(b"\n", body)
    rest = body.rpartition(b"\n\n")[2].split(b"\n")
    return any(line and not line.startswith(b":") and line != b"data: " + DONE for line in rest)

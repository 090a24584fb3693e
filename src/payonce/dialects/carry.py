"""What the conversions between stream and whole share: exact parsing, the refusal of whatever is unusual, and printing.

A conversion may carry only what it is proven to carry (tests/wire/test_convert_*.py prove it with the SDKs' own
parsers); at anything else it raises `NotProvenError`, and `conversion` makes that a None. Numbers keep their text. This
room must never know one dialect from another.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable
from typing import Any

import orjson

from payonce.dialects.canonical import no_constant, unique_members
from payonce.dialects.common import DONE
from payonce.dialects.sse import blocks

MAX_BYTES = 1 << 20
"""What is larger is not converted: the loop that serves everybody does it, at 30 MB/s or more."""

_NUL = b"\\u0000"
"""Where a value is of a kind that an SDK does not expect, it warns, and stumbles over a NUL in its own warning."""


class NotProvenError(ValueError):
    """A body holds something that the conversion is not proven to carry."""


def conversion(how: Callable[[bytes], bytes], body: bytes) -> bytes | None:
    """What `how` makes of `body`; None where it is not proven to lose nothing."""
    if len(body) > MAX_BYTES or _NUL in body:
        return None
    try:
        return how(body)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
        return None


def _integer(text: str) -> object:
    """Small whole numbers are numbers, so that they can be compared; what would be printed otherwise keeps its text."""
    return int(text) if len(text) < 16 and text != "-0" else orjson.Fragment(text)


_decoder = json.JSONDecoder(
    object_pairs_hook=unique_members, parse_int=_integer, parse_float=orjson.Fragment, parse_constant=no_constant
)


def exact(text: bytes) -> dict[str, Any]:
    """A JSON object; numbers whose text could change are `orjson.Fragment`s, and no member is named twice."""
    return mapping(_decoder.decode(text.decode()))


def mapping(value: object) -> dict[str, Any]:
    """`value`, which has to be an object."""
    if not isinstance(value, dict):
        raise NotProvenError
    return value


def only(value: object, known: Collection[str]) -> dict[str, Any]:
    """`value`, which has to be an object with no members but these."""
    found = mapping(value)
    require(known >= found.keys() if isinstance(known, frozenset) else set(known) >= found.keys())
    return found


def require(condition: object) -> None:
    """Refuse the conversion unless `condition` holds."""
    if not condition:
        raise NotProvenError


def string(value: object) -> str:
    """`value`, which has to be text."""
    if not isinstance(value, str):
        raise NotProvenError
    return value


def listed(value: object) -> list[Any]:
    """`value`, which has to be a list; None counts as an empty one."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise NotProvenError
    return value


def joined(known: str | None, more: str | None) -> str | None:
    """A text that grows by pieces; None until there is one."""
    if more is None:
        return known
    return string(more) if known is None else known + string(more)


def said_once(known: Any, more: Any) -> Any:
    """What a stream says once, or again and again in the same words."""
    if not more:
        return more if known is None else known
    require(not known or known == more)
    return more


def plain_events(body: bytes, *, named: bool | None) -> list[bytes]:
    """The data of every event of a stream whose framing is plain: comments, ids, and one line of data for each event.

    `named`: each event has to be called by its `type` (True), must have no name of its own (False), or either (None).
    SDKs go by the name, drop an event without one, or stumble over bytes that are not UTF-8, wherever these stand.
    """
    body.decode()
    found = []
    for block in blocks(body):
        name, data = b"", b""
        for line in block.split(b"\n"):
            field, _, value = line.partition(b":")
            value = value.removeprefix(b" ")
            if field == b"data":
                require(value and not data)
                data = value
            elif field == b"event":
                require(value and not name)
                name = value
            else:
                require(field in (b"", b"id"))
        require(data or not name)
        if data:
            if named is False:
                require(name in (b"", b"message"))
            elif name or (named and data != DONE):
                require(name.decode() == mapping(orjson.loads(data))["type"])
            found.append(data)
    return found


def data_lines(parts: Iterable[object]) -> list[bytes]:
    """Events without a name."""
    return [b"data: " + orjson.dumps(part) + b"\n\n" for part in parts]


def named_events(parts: Iterable[dict[str, Any]]) -> bytes:
    """Events that are called by their `type`."""
    return b"".join([b"event: %b\ndata: %b\n\n" % (part["type"].encode(), orjson.dumps(part)) for part in parts])

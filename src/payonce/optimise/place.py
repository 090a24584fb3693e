"""Puts markers into a copy of a body: only the objects on the way to a marker are copied, the rest is shared.

The order of keys stays as it was; a marker is the last key of its block. Content that is a string becomes a list of
one text part, which renders the same. This room must never decide where a marker stands, nor change anything else.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from payonce.optimise.prefix import Json, Place


def put(body: Json, marks: Iterable[tuple[Place, Json]], member: str, text_type: str = "text") -> Json:
    """A copy of `body` with `member` set on the block at each place."""
    out = dict(body)
    copied: dict[tuple[Any, ...], Any] = {(): out}
    for place, value in marks:
        holder = _reach(copied, place, text_type)
        holder[member] = value
    return out


def _reach(copied: dict[tuple[Any, ...], Any], place: Place, text_type: str) -> Json:
    """The block at a place, with everything above it copied once."""
    holder: Any = copied[()]
    for depth, step in enumerate(place):
        path = place[: depth + 1]
        inner = copied.get(path)
        if inner is None:
            inner = holder[step]
            inner = list(inner) if isinstance(inner, list) else dict(inner) if isinstance(inner, dict) else inner
            if isinstance(inner, str):
                copied[path] = holder[step] = [{"type": text_type, "text": inner}]
                inner = copied[path]
            copied[path] = holder[step] = inner
        holder = inner
    if isinstance(holder, list):
        first: Json = holder[0]
        return first
    block: Json = holder
    return block

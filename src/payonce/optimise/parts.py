"""The parts of a content: the bytes that stand for each, how long it is, and whether it can carry a marker.

Markers are no part of these bytes, and a string is the same as a list of one text part: both render alike. This room
must never change a part.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson

from payonce.optimise.prefix import Json, Place, Reader

MARKERS: Final = frozenset(("cache_control", "prompt_cache_breakpoint"))
_PICTURE_CHARACTERS: Final = 6000
"""What an image or a file weighs, in characters; its own bytes say nothing of its tokens."""
_PICTURES: Final = frozenset(("image", "image_url", "input_image", "document", "file", "input_file", "input_audio"))
_TEXTS: Final = frozenset(("text", "input_text", "output_text"))
_UNMARKABLE: Final = frozenset(("thinking", "redacted_thinking", "reasoning"))
_TEXT_KEYS: Final = frozenset(("type", "text", *MARKERS))

Able = Callable[[Json], bool]
"""Whether a part of this kind may carry a marker where it stands."""


def dumps(value: Any) -> bytes:
    """A value's bytes, keys in their own order."""
    try:
        return orjson.dumps(value)
    except TypeError:  # integers beyond 64 bits, and what no JSON has
        return repr(value).encode("utf-8", "replace")


def as_bytes(text: str) -> bytes:
    """A text's bytes, lone surrogates included."""
    return text.encode("utf-8", "surrogatepass")


def chosen(body: Mapping[str, Any], names: tuple[str, ...]) -> bytes:
    """The bytes of some members of a body, none where all are missing."""
    given = {name: body[name] for name in names if body.get(name) is not None}
    return dumps(given) if given else b""


def anything(_part: Json) -> bool:
    """Any part."""
    return True


def never(_part: Json) -> bool:
    """No part."""
    return False


def part_of(part: Json, reader: Reader) -> tuple[bytes, int, bool]:
    """The bytes that stand for one part of a content, its size, and whether it can carry a marker."""
    kind = part["type"]
    if kind in _TEXTS:
        text = part["text"]
        if part.keys() <= _TEXT_KEYS:
            reader.out.marked += len(part) - 2
            return b"t\0" + as_bytes(text), len(text), bool(text)
        data, found = stripped(part)
        reader.out.marked += found
        return data, len(text), bool(text) and not part.get("clear_at")
    data, found = stripped(part)
    reader.out.marked += found
    size = _PICTURE_CHARACTERS if kind in _PICTURES and not _is_text(part) else len(data)
    return data, size, kind not in _UNMARKABLE and not part.get("clear_at")


def _is_text(part: Json) -> bool:
    source = part.get("source")
    return isinstance(source, dict) and source.get("type") in {"text", "content"}


def stripped(part: Json) -> tuple[bytes, int]:
    """A part's bytes without markers, those inside a tool result's own list included, and how many there were."""
    found = sum(name in part for name in MARKERS)
    inner = part.get("content")
    if isinstance(inner, list) and any(isinstance(one, dict) and "cache_control" in one for one in inner):
        found += sum(isinstance(one, dict) and "cache_control" in one for one in inner)
        bare = [{k: v for k, v in one.items() if k not in MARKERS} if isinstance(one, dict) else one for one in inner]
        part = {**part, "content": bare}
    if found:
        part = {name: value for name, value in part.items() if name not in MARKERS}
    return dumps(part), found


def content_of(content: Any, head: bytes, reader: Reader, place: Place, name: str, able: Able) -> None:
    """The blocks of a string or of a list of parts; `head` says who speaks and goes before the first."""
    if isinstance(content, str):
        can = bool(content) and able({"type": "text"})
        reader.add(head + b"t\0" + as_bytes(content), len(content), place, name, able=can)
        return
    for index, part in enumerate(content or ()):
        data, size, can = part_of(part, reader)
        reader.add(head + data, size, (*place, index), f"{name}:{index}", able=can and able(part))

"""What a key's body is made of, part by part, as digests: so that two requests can be compared when neither is at hand.

A digest is 6 bytes of BLAKE3, keyed: without the installation's secret it can't be tried against guessed prompts. The
names of parameters are kept where they look like names. This room must never give back a piece of the body.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson
from blake3 import blake3

from payonce.core.fields import keyed_headers
from payonce.model.call import Headers

MOST: Final = 64
"""So many messages, and so many parameters, have a digest of their own; those behind them share one."""

_DIGEST: Final = 6
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,39}", re.ASCII)
_MESSAGES: Final = {
    "chat/completions": "messages",
    "messages": "messages",
    "responses": "input",
    "embeddings": "input",
}
_SYSTEM: Final = ("system", "instructions")

Parts = dict[str, Any]
"""`tools` and `system` (hexadecimal digests), `messages` (a list of them, in order), `parameters` and `headers` (by
name), `count` (of all messages). What a request does not have is left out."""


def parts_of(endpoint: str, canonical: bytes, headers: Headers, query: bytes, secret: bytes) -> Parts:
    """The parts of a request; `canonical` as in its key, `secret` 32 bytes. Empty where the body is not an object."""
    try:
        body = orjson.loads(canonical)
    except orjson.JSONDecodeError:
        return {}
    if not isinstance(body, dict):
        return {}

    def digest(value: object) -> str:
        text = value if isinstance(value, bytes) else orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
        return blake3(text, key=secret).hexdigest(_DIGEST)

    place = _MESSAGES.get(endpoint, "messages")
    turns = body.get(place)
    turns = turns if isinstance(turns, list) else [] if turns is None else [turns]
    rest = {name: value for name, value in body.items() if name not in {place, "tools", *_SYSTEM}}
    system = [body[name] for name in _SYSTEM if name in body]
    found: Parts = {"count": len(turns), "messages": [digest(turn) for turn in turns[:MOST]]}
    if len(turns) > MOST:
        found["messages"].append(digest(turns[MOST:]))
    if "tools" in body:
        found["tools"] = digest(body["tools"])
    if system:
        found["system"] = digest(system)
    found["parameters"] = _named({name: digest(value) for name, value in rest.items()}, digest)
    spoken: dict[str, list[str]] = {"query": [query.hex()]} if query else {}
    for name, value in keyed_headers(headers):
        spoken.setdefault(name.decode("latin-1"), []).append(value.hex())
    found["headers"] = _named({name: digest(values) for name, values in spoken.items()}, digest)
    return {name: value for name, value in found.items() if value}


def differing(a: Parts, b: Parts) -> tuple[str, ...]:
    """The parts in which two requests differ, in words: `tools`, `system`, `messages[3] and after`, `temperature`,
    `headers.anthropic-beta`; empty where no part that has a digest does."""
    found = [name for name in ("tools", "system") if a.get(name) != b.get(name)]
    ours, theirs = a.get("messages", ()), b.get("messages", ())
    if ours != theirs or a.get("count") != b.get("count"):
        found.append(_messages(ours, theirs))
    for group, prefix in (("parameters", ""), ("headers", "headers.")):
        mine, others = a.get(group, {}), b.get(group, {})
        found += [prefix + name for name in sorted({*mine, *others}) if mine.get(name) != others.get(name)]
    return tuple(found)


def distance(a: Parts, b: Parts) -> tuple[int, int]:
    """How far two requests are apart: parts that differ, then messages behind the first that does."""
    ours, theirs = a.get("messages", ()), b.get("messages", ())
    same = _alike(ours, theirs)
    return len(differing(a, b)), max(len(ours), len(theirs)) - same


def _messages(ours: Sequence[str], theirs: Sequence[str]) -> str:
    same = _alike(ours, theirs)
    if len(ours) == len(theirs) and ours[same + 1 :] == theirs[same + 1 :]:
        return f"messages[{same}]"
    return f"messages[{same}] and after"


def _alike(ours: Sequence[str], theirs: Sequence[str]) -> int:
    pairs = enumerate(zip(ours, theirs, strict=False))
    return next((place for place, (x, y) in pairs if x != y), min(len(ours), len(theirs)))


def _named(digests: Mapping[str, str], digest: Any) -> dict[str, str]:
    """Those under plain names, the first so many; all others as one."""
    plain = {name: value for name, value in digests.items() if _NAME.fullmatch(name)}
    kept = dict(sorted(plain.items())[:MOST])
    rest = sorted((name, value) for name, value in digests.items() if name not in kept)
    return {**kept, "(other)": digest(rest)} if rest else kept

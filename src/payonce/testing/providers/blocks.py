"""A request as the provider's cache sees it: blocks in render order, each with a digest, a length and its marker.

Written without a look at the planner's own parser, so that one can prove the other wrong. A marker is never part of a
digest or of a length: text of one part and a plain string are the same block. This room must never know what a cache
does with blocks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

TOOLS: Final = 0
SYSTEM: Final = 1
MESSAGES: Final = 2

MARKERS: Final = ("cache_control", "prompt_cache_breakpoint")

Counter = Callable[[str], int]


def quarter(text: str) -> int:
    """Four characters a token, rounded up: the same for every provider, exact for nobody."""
    return -(-len(text) // 4)


@dataclass(frozen=True, slots=True)
class Sizes:
    """How long things are, in tokens: text by `count`; what is no text by a fixed number."""

    count: Counter = quarter
    image: int = 1500
    document: int = 3000


@dataclass(frozen=True, slots=True)
class Mark:
    """A marker as it stood: its lifetime ("5m", "1h" or what else was written) and in which member."""

    ttl: str
    member: str = "cache_control"
    malformed: str = ""


@dataclass(frozen=True, slots=True)
class Block:
    """One piece of the prompt. `refuses` says why it can't carry a marker; `message` counts messages from 0."""

    level: int
    kind: str
    role: str
    digest: bytes
    tokens: int
    mark: Mark | None = None
    refuses: str = ""
    message: int = -1


@dataclass(frozen=True, slots=True)
class Asked:
    """A whole request, rendered. `salts` are what else each level's prefix depends on."""

    model: str
    blocks: tuple[Block, ...]
    automatic: Mark | None = None
    salts: tuple[bytes, bytes, bytes] = (b"", b"", b"")
    options: Mapping[str, Any] = field(default_factory=dict)
    opening: bytes = b""


def digest(*parts: object) -> bytes:
    """One hash of a list of values: equal values and nothing else give equal hashes."""
    return hashlib.blake2b(orjson.dumps(parts, default=repr), digest_size=16).digest()


def without_markers(value: Any) -> Any:
    """A copy without any marker, however deep it stands."""
    if isinstance(value, dict):
        return {name: without_markers(inner) for name, inner in value.items() if name not in MARKERS}
    if isinstance(value, list):
        return [without_markers(inner) for inner in value]
    return value


def mark_of(holder: Mapping[str, Any]) -> Mark | None:
    """The marker that stands on a block, in either of its two spellings; None where there is none."""
    control = holder.get("cache_control")
    if control is not None:
        if not isinstance(control, dict) or control.get("type") != "ephemeral":
            return Mark("5m", malformed="cache_control: Input should be an object of type 'ephemeral'")
        ttl = control.get("ttl", "5m")
        if ttl not in {"5m", "1h"}:
            return Mark("5m", malformed=f"cache_control.ttl: Input should be '5m' or '1h', not {ttl!r}")
        return Mark(ttl)
    point = holder.get("prompt_cache_breakpoint")
    if point is not None:
        good = isinstance(point, dict) and point.get("mode", "explicit") == "explicit"
        return Mark("5m", "prompt_cache_breakpoint", "" if good else "prompt_cache_breakpoint: mode must be 'explicit'")
    return None

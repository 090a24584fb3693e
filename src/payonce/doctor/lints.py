"""What can be told of one request alone, before it is sent.

Lengths are estimates, marked as such: a token is taken for three to four characters. This room must never compare two
requests, and never read the clock: `now` is handed in.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from payonce.doctor import causes as why
from payonce.doctor.blocks import Chain, find, render, spell, text_of
from payonce.doctor.excerpts import excerpt
from payonce.doctor.findings import Finding
from payonce.doctor.markers import lint_markers
from payonce.doctor.models import Habit, Marking, MinimumOf, habit_of, no_minimum
from payonce.doctor.volatile import Volatile, volatile

RETIRED = frozenset(("prompt-caching-2024-07-31",))
"""Beta values that were needed before prompt caching was generally available; Vertex answers them with a 400."""

FEW = 3.0
MANY = 4.0
"""Characters of a token: with so few a prefix is as long as it can be, with so many it is surely that long."""
_MIN_UNKNOWN = 4096
"""The longest minimum there is among Claude models: where none is known, only a prefix beyond it is called long."""
_HISTORY = 1024
"""Tokens of a conversation from which on it is worth a marker."""
_BLOCKS = 400
"""Blocks of the static part that are searched for changing text at most."""

_BETA_HEADERS = ("anthropic-beta", "x-anthropic-beta")
_RANDOM = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|[0-9a-f]{16,64}", re.IGNORECASE)
_TIMED = re.compile(r"1[6-9]\d{8}(\d{3})?|20\d\d-?\d\d-?\d\d[T_ -]?\d\d", re.ASCII)


def lint(
    body: Mapping[str, Any],
    *,
    dialect: str,
    model: str = "",
    headers: Mapping[str, str] | None = None,
    minimum_of: MinimumOf = no_minimum,
    now: float | None = None,
) -> list[Finding]:
    """Everything that is wrong with one request of `dialect` (`messages`, `chat`, `responses`), in wire order.

    `headers` have names in lower case. `now` is in Unix seconds: without it, a date is only told by the words around.
    """
    model = model or str(body.get("model") or "")
    habit = habit_of(model, dialect)
    chain = render(body, dialect)
    minimum = minimum_of(model)
    found = [
        *lint_headers(headers or {}, body),
        *lint_markers(body, chain, dialect, habit),
        *_length(chain, habit, minimum),
        *_fillers(body, chain),
        *_texts(body, chain, habit, minimum, now),
        *_key(body),
    ]
    return [dataclasses.replace(finding, model=model) for finding in found]


def lint_headers(headers: Mapping[str, str], body: Mapping[str, Any]) -> Iterator[Finding]:
    """Beta values that have had their day, in a header or in the body's own list."""
    for name in _BETA_HEADERS:
        for value in str(headers.get(name, "")).split(","):
            if value.strip() in RETIRED:
                yield Finding(why.RETIRED_HEADER, where=f"headers.{name}", detail=value.strip())
    for name in ("anthropic_beta", "betas"):
        values = body.get(name)
        for value in values if isinstance(values, list) else ():
            if isinstance(value, str) and value in RETIRED:
                yield Finding(why.RETIRED_HEADER, where=name, detail=str(value))


def turns(chain: Chain, body: Mapping[str, Any]) -> int:
    """How many messages an assistant has said already."""
    messages = body.get("messages") if isinstance(body.get("messages"), list) else body.get("input")
    if not isinstance(messages, list) or not len(chain):
        return 0
    return sum(1 for message in messages if isinstance(message, dict) and message.get("role") == "assistant")


def _length(chain: Chain, habit: Habit, minimum: int | None) -> Iterator[Finding]:
    """Whether what is marked is long enough, and what is long enough is marked."""
    if not len(chain):
        return
    if not chain.marks:
        needed = minimum or _MIN_UNKNOWN
        surely = int(sum(chain.sizes) / MANY)
        if habit.marking is Marking.NEEDED and surely >= needed:
            yield Finding(why.NO_MARKER, detail=f"about {surely:,} tokens, of which none will be cached")
        return
    deepest = max(chain.marks, key=lambda mark: mark.block)
    most = int(chain.size_to(deepest.block) / FEW)
    if minimum is not None and most < minimum and habit.marking is not Marking.UNUSED:
        yield Finding(
            why.UNDER_MINIMUM,
            where=spell(deepest.path),
            block=deepest.block,
            detail=f"about {int(chain.size_to(deepest.block) / MANY):,} to {most:,} tokens; the minimum is {minimum:,}",
        )
    yield from _tail(chain, habit, deepest.block)


def _tail(chain: Chain, habit: Habit, deepest: int) -> Iterator[Finding]:
    if habit.marking is not Marking.NEEDED or deepest >= chain.static:
        return
    last = chain.paths[-1][:2]
    history = [place for place in range(chain.static, len(chain)) if chain.paths[place][:2] != last]
    tokens = int(sum(chain.sizes[place] for place in history) / MANY)
    if len({chain.paths[place][:2] for place in history}) >= 2 and tokens >= _HISTORY:
        yield Finding(
            why.TAIL_UNMARKED,
            where=spell(chain.paths[-1]),
            block=len(chain) - 1,
            detail=f"about {tokens:,} tokens of earlier messages stand behind the last marker",
        )


def _fillers(body: Mapping[str, Any], chain: Chain) -> Iterator[Finding]:
    for place, path in enumerate(chain.paths):
        block = find(body, path) if chain.sizes[place] < 200 else None
        if isinstance(block, dict) and block.get("type") in ("text", "input_text"):
            text = block.get("text")
            if isinstance(text, str) and text and not text.strip():
                yield Finding(why.FILLER_BLOCK, where=spell(path), block=place, detail=f"its text is {text[:8]!r}")


def _texts(
    body: Mapping[str, Any], chain: Chain, habit: Habit, minimum: int | None, now: float | None
) -> Iterator[Finding]:
    """Changing text in the static part, where something behind it is to be cached."""
    if chain.marks:
        end = max(mark.block for mark in chain.marks)
    elif habit.marking is not Marking.NEEDED and sum(chain.sizes) / MANY >= (minimum or 1024):
        end = len(chain) - 1
    else:
        return
    seen: set[tuple[str, str]] = set()
    for place in islice(range(min(chain.static, end + 1)), _BLOCKS):
        text, inner = text_of(find(body, chain.paths[place]))
        for piece in volatile_pieces(text, now, careful=place < chain.tools):
            cause = _PACES[piece.pace]
            key = cause.id, spell(chain.paths[place])
            if key not in seen:
                seen.add(key)
                yield Finding(
                    cause,
                    where=spell((*chain.paths[place], *inner)),
                    block=place,
                    detail=piece.what,
                    after=excerpt(text, piece.start),
                )


_PACES = {"always": why.VOLATILE_TEXT, "daily": why.DAILY_TEXT, "local": why.LOCAL_TEXT}


def volatile_pieces(text: str, now: float | None, *, careful: bool) -> Iterable[Volatile]:
    """The first of each kind, and no date that is part of a time."""
    taken: list[Volatile] = []
    for piece in islice(volatile(text, now, careful=careful), 64):
        if not any(piece.start < other.end and other.start < piece.end for other in taken):
            taken.append(piece)
    return taken


def _key(body: Mapping[str, Any]) -> Iterator[Finding]:
    key = body.get("prompt_cache_key")
    if isinstance(key, str) and "session_id" not in body and (_RANDOM.search(key) or _TIMED.search(key)):
        yield Finding(why.CACHE_KEY_RANDOM, where="prompt_cache_key", after=excerpt(key))

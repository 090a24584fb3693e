"""The usage object of an answer: what it says was used, and how a hit reports it.

Sources: OpenRouter, "Usage Accounting" (cost in US dollars, always sent) and "Response Caching" (all billable
counters of a hit are 0). This room must never know why an answer is served again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from decimal import Decimal, InvalidOperation
from typing import Any

import orjson

from payonce.ledger.usage import parse
from payonce.model.entry import Tokens
from payonce.model.policy import HitUsage

_LINE_ENDS = re.compile(rb"(\r\n|\r|\n)")
_SPACE = re.compile(r"[ \t\n\r]*")
_decoder = json.JSONDecoder(parse_int=orjson.Fragment, parse_float=orjson.Fragment)


def read_tokens(usage: dict[str, Any]) -> Tokens:
    """Token counts and charged cost (billionths of a dollar) of a usage object; None for what it does not say."""
    return _used(usage, "chat", _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens")))


def read_response_tokens(usage: dict[str, Any]) -> Tokens:
    """The same of `/responses`, which counts under other names."""
    return _used(usage, "responses", _count(usage.get("input_tokens")), _count(usage.get("output_tokens")))


def read_message_tokens(usage: dict[str, Any]) -> Tokens:
    """The same of `/messages`, whose `input_tokens` leave out what was read from or written to the prompt cache."""
    said = _count(usage.get("input_tokens"))
    cached = (_count(usage.get(name)) or 0 for name in ("cache_creation_input_tokens", "cache_read_input_tokens"))
    whole = None if said is None else said + sum(cached)
    whole = whole if whole is None or whole < 1 << 63 else None  # what an entry can hold
    return _used(usage, "messages", whole, _count(usage.get("output_tokens")))


def _used(usage: dict[str, Any], dialect: str, whole: int | None, output: int | None) -> Tokens:
    """With the cost that is said; where none is, with what the provider's prompt cache had to do with the input."""
    cost = nano_dollars(usage.get("cost"))
    if cost is not None or not usage:
        return Tokens(whole, output, cost)
    read = parse(usage, dialect=dialect)
    if read.input_uncached is None or read.input_total is None:
        return Tokens(whole, output, None, ())
    cached = read.cache_read or 0, read.cache_write_5m or 0, read.cache_write_1h or 0
    return Tokens(whole, output, None, cached if any(cached) else None)


def nano_dollars(cost: object) -> int | None:
    """A JSON number of US dollars as billionths; None for anything else."""
    if isinstance(cost, bool) or not isinstance(cost, int | float):
        return None
    if isinstance(cost, float) and 0.0 <= (quick := cost * 1e9) < 1e12 and abs(quick - round(quick)) < 1e-4:
        return round(quick)  # the same as below, for every price there is, at a tenth of the time
    try:
        nano = int((Decimal(repr(cost)) * 1_000_000_000).to_integral_value())
    except (InvalidOperation, ValueError, OverflowError):
        return None
    return nano if abs(nano) < 1 << 63 else None  # what an entry can hold


def respend(body: bytes, stream: bool, mode: HitUsage, inside: Collection[str] = ()) -> bytes:
    """`body` with the usage that a hit reports under `mode`. Every byte outside the usage objects stays as it is; so
    does a body that holds none or can't be read. `inside` names members that may hold a usage object themselves."""
    if mode == "verbatim" or b'"usage"' not in body:
        return body
    if not stream:
        return _respend_json(body, mode, inside)
    return b"".join(
        b"data:" + _respend_json(line[5:], mode, inside) if line.startswith(b"data:") and b'"usage"' in line else line
        for line in _LINE_ENDS.split(body)
    )


def _respend_json(text: bytes, mode: HitUsage, inside: Collection[str]) -> bytes:
    try:
        whole = text.decode()
        pieces, kept = [], 0
        for value, start, end in _usages(whole, 0, inside):
            zeroed = orjson.dumps(_zeroed(value, all_counters=mode == "zero"))
            pieces += [whole[kept:start], zeroed.decode()]
            kept = end
        return "".join((*pieces, whole[kept:])).encode()
    except (ValueError, IndexError, TypeError, RecursionError):
        return text


def _usages(text: str, place: int, inside: Collection[str]) -> Iterator[tuple[dict[str, Any], int, int]]:
    """Each usage object of the JSON object that begins at `place`, with its start and end in `text`."""
    for name, value, start, end in members(text, place):
        if name == "usage" and isinstance(value, dict):
            yield value, start, end
        elif name in inside and isinstance(value, dict):
            yield from _usages(text, start, ())


def members(text: str, place: int) -> Iterator[tuple[str, Any, int, int]]:
    """Name, value, and the value's start and end, of each member of the JSON object that begins at `place`. Raises
    ValueError or IndexError where there is none."""
    place = _past_space(text, place)
    if text[place] != "{":
        raise ValueError("no object")
    place = _past_space(text, place + 1)
    while text[place] != "}":
        name, place = _decoder.raw_decode(text, place)
        place = _past_space(text, place)
        start = _past_space(text, place + 1)  # past the colon
        value, place = _decoder.raw_decode(text, start)
        yield name, value, start, place
        place = _past_space(text, place)
        if text[place] == ",":
            place = _past_space(text, place + 1)


def _past_space(text: str, place: int) -> int:
    found = _SPACE.match(text, place)
    return found.end() if found else place


def _zeroed(value: Any, *, all_counters: bool, cost: bool = False) -> Any:
    """`value` with its cost numbers, or all its numbers, set to 0; texts, booleans and nulls stay."""
    if isinstance(value, dict):
        return {
            name: _zeroed(inner, all_counters=all_counters, cost=cost or "cost" in name)
            for name, inner in value.items()
        }
    if isinstance(value, list):
        return [_zeroed(inner, all_counters=all_counters, cost=cost) for inner in value]
    return 0 if isinstance(value, orjson.Fragment) and (cost or all_counters) else value


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None

"""The usage object of an answer: what it says was used, and how a hit reports it.

Sources: OpenRouter, "Usage Accounting" (cost in US dollars, always sent) and "Response Caching" (all billable
counters of a hit are 0). This room must never know why an answer is served again.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Any

import orjson

from payonce.model.entry import Tokens
from payonce.model.policy import HitUsage


def read_tokens(usage: dict[str, Any]) -> Tokens:
    """Token counts and charged cost (billionths of a dollar) of a usage object; None for what it does not say."""
    return Tokens(
        _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens")), nano_dollars(usage.get("cost"))
    )


def nano_dollars(cost: object) -> int | None:
    """A JSON number of US dollars as billionths; None for anything else."""
    if isinstance(cost, bool) or not isinstance(cost, int | float):
        return None
    try:
        return int((Decimal(repr(cost)) * 1_000_000_000).to_integral_value())
    except (InvalidOperation, ValueError, OverflowError):
        return None


def respend(body: bytes, stream: bool, mode: HitUsage) -> bytes:
    """`body` with the usage that a hit reports under `mode`; untouched where it holds none or can't be read."""
    if mode == "verbatim" or b'"usage"' not in body:
        return body
    if not stream:
        return _respend_json(body, mode)
    return b"\n".join(
        b"data: " + _respend_json(line[5:], mode) if line.startswith(b"data:") and b'"usage"' in line else line
        for line in body.split(b"\n")
    )


def _respend_json(text: bytes, mode: HitUsage) -> bytes:
    try:
        part = orjson.loads(text)
        usage = part["usage"]
    except (ValueError, KeyError, TypeError):
        return text
    if not isinstance(usage, dict):
        return text
    part["usage"] = _zeroed(usage, all_counters=mode == "zero")
    return orjson.dumps(part)


def _zeroed(value: Any, *, all_counters: bool, cost: bool = False) -> Any:
    """`value` with its cost numbers, or all its numbers, set to 0; texts, booleans and nulls stay."""
    if isinstance(value, dict):
        return {
            name: _zeroed(inner, all_counters=all_counters, cost=cost or "cost" in name)
            for name, inner in value.items()
        }
    if isinstance(value, int | float) and not isinstance(value, bool) and (cost or all_counters):
        return 0
    return value


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None

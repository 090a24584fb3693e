"""The prompt cache's part of the tally: bills, unread writes and avoidable misses as plain integers.

It stands apart from what the response cache avoided: only an answer that an upstream gave is entered here, so that a
hit never counts a prompt-cache discount again. Money is in billionths of a dollar, rounded once an answer. This room
must never compute a price.
"""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from typing import Any, Final

from payonce.ledger.money import Bill, nano_dollars
from payonce.ledger.unread import Expired

UNKNOWN: Final = ("usage", "price")
"""Why a bill's saving may be unknown."""


def enter(counts: Counter[str], bill: Bill, *, cacheable: bool) -> None:
    """Enter the bill of one upstream answer: what was paid for it, said by the answer or estimated, and what the
    prompt cache did. Calls past the cache (`cacheable` is False) have sums of their own."""
    usage = bill.usage
    name = "paid" if cacheable else "passed"
    counts[f"{name}.calls"] += 1
    counts[f"{name}.nano_dollars"] += nano_dollars(bill.cost)
    counts[f"{name}.input_tokens"] += usage.input_total or 0
    counts[f"{name}.output_tokens"] += usage.output or 0
    if bill.estimated:
        counts[f"{name}.estimated_nano_dollars"] += nano_dollars(bill.cost)
        counts[f"{name}.estimated_calls"] += 1
    counts["prompt.calls"] += 1
    counts["prompt.input_tokens"] += usage.input_total or 0
    counts["prompt.read_tokens"] += usage.cache_read or 0
    counts["prompt.written_tokens"] += usage.cache_write or 0
    counts["prompt.plain_tokens"] += usage.input_uncached or 0
    if usage.anomaly:
        counts["prompt.anomalies"] += 1
    if bill.unknown:
        counts["prompt.unknown." + bill.unknown] += 1
    saving, premium = nano_dollars(bill.read_saving), nano_dollars(bill.write_premium)
    counts["prompt.read_saving"] += saving
    counts["prompt.write_premium"] += premium
    if not bill.ours:
        counts["prompt.unaided"] += saving - premium


def enter_unread(counts: Counter[str], expired: Expired) -> None:
    """Enter writes that expired without ever being read. Their premium is part of the premiums entered before."""
    counts["prompt.unread_writes"] += expired.writes
    counts["prompt.unread_tokens"] += expired.tokens
    counts["prompt.unread"] += nano_dollars(expired.premium)


def enter_missed(counts: Counter[str], tokens: int, cost: Decimal | None) -> None:
    """Enter tokens that a live entry held and an answer did not read, and what that cost, None where unknown."""
    counts["prompt.missed_tokens"] += tokens
    counts["prompt.missed"] += nano_dollars(cost)


def prompt_figures(counts: Counter[str]) -> dict[str, Any]:
    """The prompt cache's figures: tokens, and billionths of a dollar under the names that end in `_nano`.

    net = read saving - write premium; claimed = net - unaided.
    """
    net = counts["prompt.read_saving"] - counts["prompt.write_premium"]
    whole = counts["prompt.input_tokens"]
    return {
        "calls": counts["prompt.calls"],
        "input_tokens": whole,
        "read_tokens": counts["prompt.read_tokens"],
        "written_tokens": counts["prompt.written_tokens"],
        "plain_tokens": counts["prompt.plain_tokens"],
        "read_share": round(counts["prompt.read_tokens"] / whole, 4) if whole else None,
        "read_saving_nano": counts["prompt.read_saving"],
        "write_premium_nano": counts["prompt.write_premium"],
        "net_nano": net,
        "unaided_nano": counts["prompt.unaided"],
        "claimed_nano": net - counts["prompt.unaided"],
        "unread_nano": counts["prompt.unread"],
        "unread_tokens": counts["prompt.unread_tokens"],
        "missed_nano": counts["prompt.missed"],
        "missed_tokens": counts["prompt.missed_tokens"],
        "unknown_usage": counts["prompt.unknown.usage"],
        "unknown_price": counts["prompt.unknown.price"],
        "anomalies": counts["prompt.anomalies"],
    }

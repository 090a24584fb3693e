"""The books' sums under the names of the tally, so that one summary tells of both. Pure.

What the books have no sums of (calls of others that were awaited, entries that a store lost) is not in it. This room
must never ask a file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final

from payonce.books.words import CALL, PASSED, Figures, Total
from payonce.ledger.tally import Tally
from payonce.model.receipt import Outcome

BY: Final = ("outcome", "reason", "model", "endpoint")
"""By what the totals have to be told apart."""
_EMBEDDINGS: Final = "embeddings"
"""Batches of these are put together from what is missing: nobody listens for what a prompt cache did with them."""
_REQUESTS: Final = {
    "converted": "requests.converted",
    "fast": "requests.fast_lane",
    "served_bytes": "bytes.served",
    "avoided_calls": "avoided.calls",
    "avoided_unpriced": "avoided.calls_without_price",
    "avoided_nano": "avoided.nano_dollars",
    "avoided_input": "avoided.input_tokens",
    "avoided_output": "avoided.output_tokens",
    "avoided_ns": "avoided.nanoseconds",
}
_PROMPT: Final = {
    "billed": "prompt.calls",
    "input_tokens": "prompt.input_tokens",
    "read_tokens": "prompt.read_tokens",
    "written_tokens": "prompt.written_tokens",
    "plain_tokens": "prompt.plain_tokens",
    "read_saving_nano": "prompt.read_saving",
    "premium_nano": "prompt.write_premium",
    "unaided_nano": "prompt.unaided",
    "unknown_usage": "prompt.unknown.usage",
    "unknown_price": "prompt.unknown.price",
    "anomalies": "prompt.anomalies",
    "unread_writes": "prompt.unread_writes",
    "unread_tokens": "prompt.unread_tokens",
    "unread_nano": "prompt.unread",
    "missed_tokens": "prompt.missed_tokens",
    "missed_nano": "prompt.missed",
}
_MONEY: Final = {
    "billed": "calls",
    "paid_nano": "nano_dollars",
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
    "estimated_nano": "estimated_nano_dollars",
    "estimated_calls": "estimated_calls",
}


def tallied(totals: Iterable[Total]) -> Tally:
    """Totals, told apart by `BY`, as one tally without histograms."""
    tally = Tally()
    for total in totals:
        outcome, reason, model, endpoint = total.by
        if outcome in {CALL, PASSED}:
            _add_calls(tally.counts, total.figures, outcome, reason)
            if outcome == PASSED or endpoint != _EMBEDDINGS:
                _add(tally.counts, total.figures, _PROMPT)
        else:
            _add_requests(tally, total.figures, outcome, reason, model)
    return tally


def _add_requests(tally: Tally, figures: Figures, outcome: str, reason: str, model: str) -> None:
    counts = tally.counts
    counts["requests." + outcome] += figures.requests
    tally.seconds[outcome] += figures.answer_ns
    if reason:
        counts["reasons." + reason] += figures.requests
    _add(counts, figures, _REQUESTS)
    if outcome != Outcome.COLLAPSED.value and figures.avoided_calls:
        tally.models[model] += figures.avoided_calls


def _add_calls(counts: Counter[str], figures: Figures, outcome: str, reason: str) -> None:
    name = "paid." if outcome == CALL else "passed."
    _add(counts, figures, {figure: name + money for figure, money in _MONEY.items()})
    if outcome == CALL:
        counts["upstream.calls"] += figures.calls
        counts["upstream.nanoseconds"] += figures.call_ns
        counts["upstream.stored"] += figures.kept
        if reason:
            counts["unkept." + reason] += figures.calls


def _add(counts: Counter[str], figures: Figures, names: dict[str, str]) -> None:
    for figure, count in names.items():
        counts[count] += getattr(figures, figure)

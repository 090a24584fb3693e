"""What the books say, as values: figures, histograms, receipts, upstream calls and conversations.

Money is in billionths of a US dollar (`…_nano`), times are Unix seconds, lengths of time nanoseconds in sums and
seconds else. This room must never read a file.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, Final

from payonce.ledger.hits import BUCKETS

CALL: Final = "call"
"""Stands as the outcome of what an upstream call was paid and gave, for requests that the cache took part in."""
PASSED: Final = "passed"
"""The same for requests that went past the cache."""
OTHER: Final = "(other)"
"""Stands for names that there were too many of."""

BY: Final = ("tenant", "namespace", "model", "provider", "endpoint", "outcome", "reason")
"""By what figures can be told apart."""


@dataclass(frozen=True, slots=True)
class Figures:
    """Sums over some time. What the response cache avoided, and what the provider's prompt cache discounted of what was
    paid, stand apart: a hit is only in `avoided_…`, an upstream call only in the rest.

    `requests` are of any outcome. `avoided_…` is what hits, stale answers and followers spared; of `avoided_nano`,
    `avoided_estimated` was worked out by price. `calls` are upstream
    calls, `kept` those whose answer was stored, `paid_nano` their cost; of it `estimated_nano`, for `estimated_calls`,
    was worked out by price. Of the tokens, `read_tokens` came from the prompt cache and `written_tokens` went to it.
    `read_saving_nano` is the discount, `premium_nano` the price of writing, and `unaided_nano` what of their difference
    is not due to Payonce. `unread_…` was written and never read, `missed_…` could have been read.
    """

    requests: int = 0
    hits: int = 0
    stale: int = 0
    collapsed: int = 0
    misses: int = 0
    bypassed: int = 0
    refused: int = 0
    answer_ns: int = 0
    fast: int = 0
    converted: int = 0
    served_bytes: int = 0
    avoided_calls: int = 0
    avoided_unpriced: int = 0
    avoided_nano: int = 0
    avoided_input: int = 0
    avoided_output: int = 0
    avoided_ns: int = 0
    calls: int = 0
    kept: int = 0
    call_ns: int = 0
    billed: int = 0
    unpriced: int = 0
    paid_nano: int = 0
    estimated_nano: int = 0
    estimated_calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    read_tokens: int = 0
    written_tokens: int = 0
    plain_tokens: int = 0
    read_saving_nano: int = 0
    premium_nano: int = 0
    unaided_nano: int = 0
    unknown_usage: int = 0
    unknown_price: int = 0
    anomalies: int = 0
    unread_writes: int = 0
    unread_tokens: int = 0
    unread_nano: int = 0
    missed_tokens: int = 0
    missed_nano: int = 0
    avoided_estimated: int = 0

    @property
    def served(self) -> int:
        """Requests that were answered without a call of their own."""
        return self.hits + self.stale + self.collapsed

    @property
    def hit_rate(self) -> float | None:
        """Of the requests that the cache took part in; None where there was none."""
        return _share(self.served, self.served + self.misses)

    @property
    def token_hit_rate(self) -> float | None:
        """Of all tokens, those that were not paid for."""
        avoided = self.avoided_input + self.avoided_output
        return _share(avoided, avoided + self.input_tokens + self.output_tokens)

    @property
    def money_hit_rate(self) -> float | None:
        """Of what all answers cost, or had cost, what was not paid."""
        return _share(self.avoided_nano, self.avoided_nano + self.paid_nano)

    @property
    def read_share(self) -> float | None:
        """Of the input tokens that were paid for, those read from the prompt cache."""
        return _share(self.read_tokens, self.input_tokens)

    @property
    def net_nano(self) -> int:
        """What the prompt cache saved: the discount on reads less the premium for writes."""
        return self.read_saving_nano - self.premium_nano

    def plus(self, other: Figures) -> Figures:
        """Both together."""
        return Figures(*(getattr(self, name) + getattr(other, name) for name in FIGURES))


FIGURES: Final = tuple(each.name for each in fields(Figures))
OUTCOMES: Final = {
    "hits": "hit",
    "stale": "stale",
    "collapsed": "collapsed",
    "misses": "miss",
    "bypassed": "bypass",
    "refused": "refused",
}
"""The figures that count requests of one outcome."""
SUMMED: Final = tuple(name for name in FIGURES if name not in OUTCOMES)
"""The figures that the file keeps; the others follow from the outcome they stand under."""


@dataclass(frozen=True, slots=True)
class Total:
    """Figures, and what they are of: a value for each word of `by` that was asked for, in order."""

    by: tuple[str, ...]
    figures: Figures


@dataclass(frozen=True, slots=True)
class Point:
    """Figures of the time that begins at `at`."""

    at: int
    figures: Figures


@dataclass(frozen=True, slots=True)
class Histogram:
    """How long answers took: a count for each bucket, whose upper bounds are `payonce.ledger.tally.BUCKETS`, and one
    for what took longer."""

    counts: tuple[int, ...] = (0,) * (len(BUCKETS) + 1)

    @property
    def total(self) -> int:
        """How many there are."""
        return sum(self.counts)

    def plus(self, other: Histogram) -> Histogram:
        """Both together."""
        return Histogram(tuple(ours + theirs for ours, theirs in zip(self.counts, other.counts, strict=True)))

    def quantile(self, share: float) -> float | None:
        """The seconds within which this share of them was answered, interpolated in its bucket as Prometheus does; the
        last bound for what took longer, None where there are none."""
        total = self.total
        if not total:
            return None
        rank, before, lower = share * total, 0, 0.0
        for bound, count in zip(BUCKETS, self.counts, strict=False):
            if count and before + count >= rank:
                return lower + (bound - lower) * max(0.0, rank - before) / count
            before, lower = before + count, bound
        return BUCKETS[-1]


@dataclass(frozen=True, slots=True)
class Spent:
    """One upstream call: what it used, cost, and what the planner and the doctor had to say.

    `request` is the id of the request that made it, `kept` whether its answer was stored, `unkept` why not, `followers`
    how many others it answered. Tokens and money are None where unknown. `advice` are the planner's decisions,
    `findings` what the doctor found, both as plain values without text of the prompt. `conversation` names the one that
    the call belongs to; empty where it is not known to be of one.
    """

    n: int
    request: str
    at: float
    tenant: str
    namespace: str
    endpoint: str
    model: str
    provider: str
    passed: bool = False
    answered_by: str = ""
    status: int = 0
    kept: bool = False
    unkept: str = ""
    followers: int = 0
    took: float | None = None
    ttfb: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    read_tokens: int | None = None
    written_tokens: int | None = None
    plain_tokens: int | None = None
    cost_nano: int | None = None
    estimated: bool = False
    read_saving_nano: int | None = None
    premium_nano: int | None = None
    ours: bool = False
    missed_tokens: int = 0
    missed_nano: int = 0
    advice: tuple[dict[str, Any], ...] = ()
    findings: tuple[dict[str, Any], ...] = ()
    conversation: str = ""


@dataclass(frozen=True, slots=True)
class Filed:
    """One receipt: how a request was answered, and why it was no hit. Neither prompt nor answer is in it.

    `n` grows with every receipt of this file. `id` is what the answer's `X-Payonce-Request-Id` said. `times` is more
    than 1 where the fast lane gave the same answer so often in a row; `took` is then their mean. `key` is shown as
    `b3:…`, empty where there is none. The `avoided_…` are those of the call that once brought the answer; they were not
    paid, and `avoided_estimated` says that the money was worked out by price. `parts` are digests of what the key is
    made of, for requests that were no hit. `call` is the upstream call that answered, the request's own or the one it
    joined.
    """

    n: int
    id: str
    at: float
    tenant: str
    namespace: str
    endpoint: str
    model: str
    outcome: str
    reason: str = ""
    times: int = 1
    took: float = 0.0
    stream: bool = False
    converted: bool = False
    key: str = ""
    avoided_nano: int | None = None
    avoided_input: int | None = None
    avoided_output: int | None = None
    served_bytes: int = 0
    parts: dict[str, Any] = field(default_factory=dict)
    call: Spent | None = None
    avoided_estimated: bool = False


@dataclass(frozen=True, slots=True)
class Conversation:
    """The upstream calls of one conversation, added up."""

    id: str
    tenant: str
    model: str
    began: float
    ended: float
    turns: int
    input_tokens: int
    read_tokens: int
    written_tokens: int
    output_tokens: int
    cost_nano: int
    saving_nano: int
    missed_tokens: int
    missed_nano: int


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None

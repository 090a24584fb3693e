"""What an answer's usage teaches: lengths, minimums, which entries are there, what was paid, which host served.

Usage is read defensively: what is not told changes nothing. This room must never raise on what a provider says.
"""

from __future__ import annotations

from dataclasses import dataclass

from payonce.ledger.usage import Usage
from payonce.optimise import sessions
from payonce.optimise.accounts import Account
from payonce.optimise.keep import Keeping
from payonce.optimise.learned import Model
from payonce.optimise.nodes import Sight
from payonce.optimise.prefix import Prefix
from payonce.optimise.traits import Traits

_GONE = float("-inf")
_HALF = 0.5
_ABOUT = 1.15


@dataclass(slots=True)
class Trace:
    """What is remembered of a plan until its answer."""

    model: str
    traits: Traits
    knows: Model
    account: Account
    sight: Sight
    prefix: Prefix
    keeping: Keeping
    now: float
    dialect: str
    done: bool = False


def forget(keeping: Keeping) -> None:
    """Nothing was written: what the plan's markers were to write is not there, and nothing was paid for it."""
    if keeping.stake is not None:
        keeping.stake.settle()
    for mark in keeping.marks:
        if mark.fresh:
            mark.node.until_short = mark.node.until_long = _GONE


def learn(trace: Trace, usage: Usage, host: str) -> None:
    """Take in an answer's usage."""
    total = _total(usage)
    if not total or not trace.prefix.sizes:
        return
    trace.knows.measured(total, trace.prefix.sizes[-1])
    for mark in trace.keeping.marks:
        mark.node.ready = min(mark.node.ready, trace.now)
    if usage.cache_read is None:
        return
    read, written = usage.cache_read, usage.cache_write
    _settle(trace, total, usage)
    scale = total / max(trace.keeping.total, 1.0)
    expected = trace.keeping.read * scale
    fell_short = expected > 0 and read < _HALF * expected
    if fell_short:
        _lost(trace, read / scale)
    if trace.keeping.asks_short:
        trace.knows.reading(not fell_short)
    trace.account.proved = trace.account.proved or read > 0
    sessions.served(trace.sight.talk, host, trace.now, fell_short=fell_short, read=read > 0)
    if trace.keeping.marks and written is not None:
        _minimum(trace, read, written, scale, host)


def _total(usage: Usage) -> float:
    if usage.input_total is not None:
        return float(usage.input_total)
    return float(
        (usage.input_uncached or 0)
        + (usage.cache_read or 0)
        + (usage.cache_write_5m or 0)
        + (usage.cache_write_1h or 0)
    )


def _settle(trace: Trace, total: float, usage: Usage) -> None:
    """Put what was paid in the place of what was expected."""
    traits, keeping = trace.traits, trace.keeping
    hour, short = float(usage.cache_write_1h or 0), float(usage.cache_write_5m or 0)
    if short and not hour and keeping.marks and "cache_write_5m" in usage.inferred:
        hour, short = _shared(keeping, short)
    read = float(usage.cache_read or 0)
    plain = max(0.0, total - read - hour - short)
    paid = plain + read * traits.read + short * traits.write_5m + hour * (traits.write_1h or traits.write_5m)
    if keeping.stake is not None:
        keeping.stake.premium = max(0.0, paid - plain - read * traits.read - short - hour)
    for account in (trace.account, trace.knows.account):
        account.correct(total, paid, keeping.total, keeping.paid)


def _shared(keeping: Keeping, written: float) -> tuple[float, float]:
    """Writes of unknown lifetime, shared out as the markers were to write them."""
    fresh = [mark for mark in keeping.marks if mark.fresh]
    last = max((mark.tokens for mark in fresh), default=0.0) - keeping.read
    hour = max((mark.tokens for mark in fresh if mark.ttl == "1h"), default=keeping.read) - keeping.read
    part = hour / last if last > 0 else 0.0
    return written * part, written * (1.0 - part)


def _lost(trace: Trace, read: float) -> None:
    """Less was read than we thought was there: what is longer than that is gone."""
    scale = trace.keeping.total / max(trace.prefix.sizes[-1], 1)
    fresh = {mark.at for mark in trace.keeping.marks if mark.fresh}
    for at, node in trace.sight.nodes.items():
        if at not in fresh and trace.prefix.sizes[at] * scale > read * _ABOUT + 1:
            node.until_short = node.until_long = _GONE


def _minimum(trace: Trace, read: int, written: int, scale: float, host: str) -> None:
    deepest = max((mark.tokens for mark in trace.keeping.marks), default=0.0) * scale
    if written:
        trace.knows.was_written(host, read + written)
    elif not read and any(mark.fresh for mark in trace.keeping.marks):
        trace.knows.was_not_written(host, deepest, trace.traits.minimum)
        forget(trace.keeping)

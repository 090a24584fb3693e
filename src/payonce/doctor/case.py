"""Two turns of one conversation side by side, and how a finding about them is made.

This room must never decide what went wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from payonce.doctor import causes as why
from payonce.doctor.blocks import Chain
from payonce.doctor.causes import Cause
from payonce.doctor.excerpts import Texts
from payonce.doctor.findings import Finding
from payonce.doctor.models import Habit, Marking, PriceOf, lost, no_price
from payonce.doctor.seen import Turn


@dataclass(frozen=True, slots=True)
class Case:
    """Two turns of one conversation, and what is needed to tell them apart."""

    before: Turn
    now: Turn
    chain: Chain
    body: Mapping[str, Any]
    texts: Texts
    habit: Habit
    minimum: int | None = None
    upstream: str = ""
    turns: int = 2
    caches: bool = False
    """Whether its provider has ever read anything of this conversation from a cache."""
    diagnostics: Mapping[str, Any] | None = None
    price_of: PriceOf = field(default=no_price)
    blind: bool = False
    """Whether what is not reported is judged by the requests alone."""


def too_late(case: Case) -> tuple[Cause, str] | None:
    """The cause and a detail where an entry of the turn before had outlived its TTL; None where it had not."""
    gap = case.now.started - case.before.started
    deepest = case.before.deepest
    lives = float(deepest[1]) if deepest and case.habit.marking is not Marking.UNUSED else case.habit.ttl
    lives = max(lives, case.habit.ttl)
    if gap <= lives:
        return None
    return why.TTL_EXPIRED, f"{gap:,.0f} s from start to start; the entry lives {lives:,.0f} s"


def about(
    case: Case,
    cause: Cause,
    tokens: int | None,
    where: str,
    *,
    block: int | None = None,
    detail: str = "",
    before: str = "",
    after: str = "",
) -> Finding:
    """A finding about the later turn; `tokens` are priced as what they were paid for: written anew, or plain."""
    now = case.now
    cost = None
    if tokens is not None:
        long = min(tokens, now.written_1h or 0)
        short = min(tokens - long, now.written_5m or 0)
        rates = case.price_of(now.model, case.upstream, now.total, now.started)
        cost = lost(rates, tokens - long - short, short, long)
    return Finding(
        cause,
        where=where,
        block=block,
        detail=detail,
        before=before,
        after=after,
        tokens=tokens,
        cost=cost,
        model=now.model,
        upstream=case.upstream,
        requests=(case.before.number, now.number),
        at=now.started,
    )

"""Why less was read than the turn before had left in the cache: one cause, and what it cost.

A conversation is healthy where it reads what was read and written before (facts: `read[n] == read[n-1] + write[n-1]`).
What a provider does not report is unknown and never a loss. This room must never look at a request that was healthy for
more than its figures.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from payonce.doctor import causes as why
from payonce.doctor.blocks import Chain, spell
from payonce.doctor.causes import Cause
from payonce.doctor.changes import Change, first_change
from payonce.doctor.excerpts import Texts, excerpt
from payonce.doctor.findings import Finding
from payonce.doctor.lineage import common
from payonce.doctor.models import Habit, Marking, PriceOf, lost, no_price
from payonce.doctor.seen import Turn

SLACK: Final = 32
"""Tokens that may be missing, or a hundredth: hosts count a little differently from call to call."""
WINDOW: Final = 20
"""Positions that a provider looks back from a marker, the marked block included (Anthropic)."""
LONG: Final = 4096
"""Tokens from which on a prefix is long for every model, where the minimum is not known."""
TAIL: Final = 1024
"""Tokens of a conversation that are worth a marker of their own."""


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


def diagnose(case: Case) -> list[Finding]:
    """What went wrong between the two turns; empty where nothing did, or where nobody can know."""
    before, now = case.before, case.now
    if now.read is None:
        return _assumed(case) if case.blind else []
    expected = _expected(case)
    if expected is not None and expected - now.read > max(SLACK, expected // 100):
        return _missed(case, expected, expected - now.read)
    if case.habit.marking is Marking.NEEDED and before.read is not None:
        return _never_cached(case)
    return []


def _expected(case: Case) -> int | None:
    """Tokens that should have been read; None where that can't be told."""
    before = case.before
    if before.held is None:
        return None
    held = min(before.held, before.total)
    if case.habit.marking is Marking.NEEDED or before.written:
        return held
    if not case.caches and not _flipped(case):
        return None
    same = common(before.digests, case.now.digests)
    prefix = before.tokens_to(same - 1) if same else 0
    steady = max(held, before.total * 3 // 4 if same == len(before.digests) else 0)
    wanted = steady - 2 * case.habit.step
    changed = same < len(before.digests)
    if wanted < TAIL or (not changed and case.now.read is not None and case.now.read * 2 >= wanted):
        return None  # automatic caches are best effort: half of it is taken for well
    return None if changed and prefix + case.habit.step >= wanted else wanted


def _flipped(case: Case) -> bool:
    """Whether a model that is known to cache by itself was asked at another host, and read nothing there."""
    return case.habit.marking is Marking.UNUSED and not case.now.read and _elsewhere(case) is not None


# ------------------------------------------------------------------------------------------- less was read


def _missed(case: Case, expected: int, missing: int) -> list[Finding]:
    before, now = case.before, case.now
    if before.model != now.model:
        return [_finding(case, why.MODEL_CHANGED, missing, "model", before=before.model, after=now.model)]
    change = first_change(before, case.chain, case.body, case.texts)
    reach = before.deepest[0] if before.deepest is not None and not _automatic(case) else len(before.digests) - 1
    if change is not None and change.block > reach:
        change = None
    salt = _salt(before, now)
    if change is not None and (salt is None or change.block < before.static):
        return _changed(case, change, expected, missing)
    if salt is not None:
        name, old, new = salt
        cause = why.CACHE_KEY_CHANGED if name == "prompt_cache_key" else why.PARAMETER_CHANGED
        return [_finding(case, cause, missing, name, before=excerpt(old), after=excerpt(new))]
    if now.digests == before.digests and _late(case):
        return []  # the same request, asked again some time later, is no conversation
    return [_unchanged(case, missing, reach)]


def _assumed(case: Case) -> list[Finding]:
    """What must have kept the turn from being read, whatever was: for recordings that hold no usage."""
    before, now = case.before, case.now
    if not before.marks and case.habit.marking in (Marking.NEEDED, Marking.UNKNOWN):
        return []  # nothing was kept, or nobody knows
    if before.model != now.model:
        return [_finding(case, why.MODEL_CHANGED, None, "model", before=before.model, after=now.model)]
    change = first_change(before, case.chain, case.body, case.texts)
    reach = before.deepest[0] if before.deepest is not None else len(before.digests) - 1
    if change is not None and change.block <= reach:
        return _changed(case, change, 0, None)
    if salt := _salt(before, now):
        cause = why.CACHE_KEY_CHANGED if salt[0] == "prompt_cache_key" else why.PARAMETER_CHANGED
        return [_finding(case, cause, None, salt[0], before=excerpt(salt[1]), after=excerpt(salt[2]))]
    late = _late(case) if before.marks else None
    return [_finding(case, late[0], None, "", detail=late[1])] if late else []


def _automatic(case: Case) -> bool:
    return case.habit.marking is not Marking.NEEDED and not case.before.marks


def _salt(before: Turn, now: Turn) -> tuple[str, str, str] | None:
    for name in dict.fromkeys((*before.salts, *now.salts)):
        old, new = before.salts.get(name, "(absent)"), now.salts.get(name, "(absent)")
        if old != new:
            return name, old, new
    return None


def _changed(case: Case, change: Change, expected: int, missing: int | None) -> list[Finding]:
    """What a change explains, and apart from it what time or another host did to the rest."""
    now = case.now
    kept = max((tokens for block, tokens in case.before.points if block < change.block), default=0)
    rest = min(kept, expected) - (now.read or 0)
    second: list[Finding] = []
    if (
        missing is not None
        and rest > max(SLACK, expected // 4)
        and not now.read
        and (late := _late(case) or _elsewhere(case))
    ):
        second = [_finding(case, late[0], rest, "", detail=late[1])]
        missing -= rest
    first = _finding(
        case,
        change.cause,
        missing,
        change.where,
        block=change.block,
        detail=change.detail,
        before=change.before,
        after=change.after,
    )
    return [first, *second]


def _unchanged(case: Case, missing: int, reach: int) -> Finding:
    """Nothing changed up to what was written: too early, too late, out of sight, elsewhere, or dropped."""
    before, now = case.before, case.now
    if now.started < before.ready:
        detail = f"sent {before.ready - now.started:.1f} s before the earlier one had begun to answer"
        return _finding(case, why.CONCURRENT, missing, "", detail=detail)
    if late := _late(case):
        return _finding(case, late[0], missing, "", detail=late[1])
    if case.habit.marking is Marking.NEEDED:
        sight = _out_of_sight(case, missing, reach)
        if sight is not None:
            return sight
    if elsewhere := _elsewhere(case):
        return _finding(case, elsewhere[0], missing, "", detail=elsewhere[1])
    said = provider_says(case.diagnostics)
    if said is not None:
        return _finding(case, said[0], missing, "", detail=f"the provider says {said[1]}")
    host = f", both times from {now.host}" if now.host else ""
    gap = now.started - before.started
    return _finding(case, why.EVICTED, missing, "", detail=f"{gap:.0f} s after the turn before{host}")


def _late(case: Case) -> tuple[Cause, str] | None:
    gap = case.now.started - case.before.started
    deepest = case.before.deepest
    lives = float(deepest[1]) if deepest and case.habit.marking is not Marking.UNUSED else case.habit.ttl
    lives = max(lives, case.habit.ttl)
    if gap <= lives:
        return None
    return why.TTL_EXPIRED, f"{gap:,.0f} s from start to start; the entry lives {lives:,.0f} s"


def _elsewhere(case: Case) -> tuple[Cause, str] | None:
    before, now = case.before, case.now
    if not before.host or not now.host or before.host == now.host:
        return None
    return why.HOST_CHANGED, f"from {before.host} to {now.host}"


def _out_of_sight(case: Case, missing: int, reach: int) -> Finding | None:
    """Whether no marker of this request can see the block `reach`."""
    now, chain = case.now, case.chain
    if not now.marks:
        return _finding(case, why.NO_MARKER, missing, "", detail="the turn before had markers, this one has none")
    behind = [block for block, _ in now.marks if block >= reach]
    if not behind:
        where, block = chain.where(reach), reach
        detail = "the turn before marked this block, and nothing from here on is marked now"
        return _finding(case, why.TAIL_UNMARKED, missing, where, block=block, detail=detail)
    if min(behind) - reach >= WINDOW:
        where = spell(chain.paths[min(behind)])
        detail = f"{min(behind) - reach} blocks from the last marker to this one"
        return _finding(case, why.LOOKBACK, missing, where, block=min(behind), detail=detail)
    return None


_ANTHROPIC: Final = {
    "model_changed": why.MODEL_CHANGED,
    "system_changed": why.SYSTEM_CHANGED,
    "tools_changed": why.TOOL_CHANGED,
    "messages_changed": why.HISTORY_REWRITTEN,
}
_OPENAI: Final = {
    "model_changed": why.MODEL_CHANGED,
    "prompt_cache_key_changed": why.CACHE_KEY_CHANGED,
    "service_tier_changed": why.PARAMETER_CHANGED,
    "tools_changed": why.TOOL_CHANGED,
    "text_format_changed": why.PARAMETER_CHANGED,
    "reasoning_effort_changed": why.PARAMETER_CHANGED,
    "verbosity_changed": why.PARAMETER_CHANGED,
    "context_compacted": why.HISTORY_REWRITTEN,
    "input_changed": why.HISTORY_REWRITTEN,
}


def provider_says(diagnostics: Mapping[str, Any] | None) -> tuple[Cause, str, int | None] | None:
    """The cause that a provider itself names, its word for it, and the tokens it says were missed.

    Anthropic's `diagnostics.cache_miss_reason.type`, or OpenAI's `prompt_cache_diagnostics.reason`; None where it says
    nothing, or that it can't tell.
    """
    if not diagnostics:
        return None
    reason = diagnostics.get("cache_miss_reason")
    if isinstance(reason, Mapping):
        word, tokens = str(reason.get("type")), reason.get("cache_missed_input_tokens")
        cause = _ANTHROPIC.get(word)
    else:
        word, tokens = str(diagnostics.get("reason")), diagnostics.get("cache_missed_tokens")
        cause = _OPENAI.get(word) if diagnostics.get("type") == "cache_miss" else None
    return None if cause is None else (cause, word, tokens if isinstance(tokens, int) else None)


# ------------------------------------------------------------------------------------------- nothing was to be read


def _never_cached(case: Case) -> list[Finding]:
    """A conversation of a model that needs markers, of which the turn before left too little in the cache."""
    before, now, chain = case.before, case.now, case.chain
    same = common(before.digests, now.digests)
    if now.written is None or before.written is None or not same or now.started - before.started > 3600:
        return []
    shared = before.tokens_to(same - 1)
    if not before.marks and not now.marks and not now.read and not now.written:
        if shared >= (case.minimum or LONG):
            return [_finding(case, why.NO_MARKER, shared, "", detail=f"{shared:,} tokens were sent again")]
        return []
    if before.marks and now.marks and not before.held and not now.read and not now.written:
        return _no_effect(case, shared)
    deepest = max((block for block, _ in before.marks), default=-1)
    idle = shared - max(now.read or 0, before.tokens_to(deepest) if deepest >= 0 else 0)
    same_place = all(block < chain.static for block, _ in (*before.marks, *now.marks))
    if case.turns >= 3 and before.marks and now.marks and same_place and idle >= TAIL and not _late(case):
        where = spell(chain.paths[same - 1])
        detail = f"{idle:,} tokens of earlier messages were paid in full"
        return [_finding(case, why.TAIL_UNMARKED, idle, where, block=same - 1, detail=detail)]
    return []


def _no_effect(case: Case, shared: int) -> list[Finding]:
    """Markers that were sent twice, and did nothing."""
    block = max(block for block, _ in case.now.marks)
    where = next(spell(mark.path) for mark in case.chain.marks if mark.block == block)
    tokens = case.now.tokens_to(block)
    if tokens < (case.minimum or LONG):
        least = f"the minimum is {case.minimum:,}" if case.minimum else "that is under the minimum of this model's host"
        detail = f"{tokens:,} tokens up to here; {least}"
        return [_finding(case, why.UNDER_MINIMUM, None, where, block=block, detail=detail)]
    detail = f"{tokens:,} tokens up to here" + (f", at {case.now.host}" if case.now.host else "")
    return [_finding(case, why.NOT_CACHED, min(shared, tokens), where, block=block, detail=detail)]


def _finding(
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

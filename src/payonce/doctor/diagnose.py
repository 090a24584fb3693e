"""Why less was read than the turn before had left in the cache: the cause, and what it cost.

A conversation is healthy where it reads what was read and written before (facts: `read[n] == read[n-1] + write[n-1]`).
What a provider does not report is unknown and never a loss. This room must never look at a request that was healthy for
more than its figures.
"""

from __future__ import annotations

from typing import Final

from payonce.doctor import causes as why
from payonce.doctor.blocks import spell
from payonce.doctor.case import Case, about, too_late
from payonce.doctor.causes import Cause
from payonce.doctor.changes import Change, first_change
from payonce.doctor.excerpts import excerpt
from payonce.doctor.findings import Finding
from payonce.doctor.lineage import common
from payonce.doctor.models import Marking
from payonce.doctor.seen import Turn
from payonce.doctor.told import provider_says
from payonce.doctor.unmarked import TAIL, never_cached

SLACK: Final = 32
"""Tokens that may be missing, or a hundredth: hosts count a little differently from call to call."""
WINDOW: Final = 20
"""Positions that a provider looks back from a marker, the marked block included (Anthropic)."""


def diagnose(case: Case) -> list[Finding]:
    """What went wrong between the two turns; empty where nothing did, or where nobody can know."""
    before, now = case.before, case.now
    if now.read is None:
        return _assumed(case) if case.blind else []
    expected = _expected(case)
    if expected is not None and expected - now.read > max(SLACK, expected // 100):
        return _missed(case, expected, expected - now.read)
    if case.habit.marking is Marking.NEEDED and before.read is not None:
        return never_cached(case)
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
        return [about(case, why.MODEL_CHANGED, missing, "model", before=before.model, after=now.model)]
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
        return [about(case, cause, missing, name, before=excerpt(old), after=excerpt(new))]
    if now.digests == before.digests and too_late(case):
        return []  # the same request, asked again some time later, is no conversation
    return [_unchanged(case, missing, reach)]


def _assumed(case: Case) -> list[Finding]:
    """What must have kept the turn from being read, whatever was: for recordings that hold no usage."""
    before, now = case.before, case.now
    if not before.marks and case.habit.marking in (Marking.NEEDED, Marking.UNKNOWN):
        return []  # nothing was kept, or nobody knows
    if before.model != now.model:
        return [about(case, why.MODEL_CHANGED, None, "model", before=before.model, after=now.model)]
    change = first_change(before, case.chain, case.body, case.texts)
    reach = before.deepest[0] if before.deepest is not None else len(before.digests) - 1
    if change is not None and change.block <= reach:
        return _changed(case, change, 0, None)
    if salt := _salt(before, now):
        cause = why.CACHE_KEY_CHANGED if salt[0] == "prompt_cache_key" else why.PARAMETER_CHANGED
        return [about(case, cause, None, salt[0], before=excerpt(salt[1]), after=excerpt(salt[2]))]
    late = too_late(case) if before.marks else None
    return [about(case, late[0], None, "", detail=late[1])] if late else []


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
        and (late := too_late(case) or _elsewhere(case))
    ):
        second = [about(case, late[0], rest, "", detail=late[1])]
        missing -= rest
    said = provider_says(case.diagnostics)
    agreed = f"; the provider says {said[1]}" if said is not None else ""
    first = about(
        case,
        change.cause,
        missing,
        change.where,
        block=change.block,
        detail=(change.detail + agreed).removeprefix("; "),
        before=change.before,
        after=change.after,
    )
    return [first, *second]


def _unchanged(case: Case, missing: int, reach: int) -> Finding:
    """Nothing changed up to what was written: too early, too late, out of sight, elsewhere, or dropped."""
    before, now = case.before, case.now
    if now.started < before.ready:
        detail = f"sent {before.ready - now.started:.1f} s before the earlier one had begun to answer"
        return about(case, why.CONCURRENT, missing, "", detail=detail)
    if late := too_late(case):
        return about(case, late[0], missing, "", detail=late[1])
    if case.habit.marking is Marking.NEEDED:
        sight = _out_of_sight(case, missing, reach)
        if sight is not None:
            return sight
    if elsewhere := _elsewhere(case):
        return about(case, elsewhere[0], missing, "", detail=elsewhere[1])
    said = provider_says(case.diagnostics)
    if said is not None:
        return about(case, said[0], missing, "", detail=f"the provider says {said[1]}")
    host = f", both times from {now.host}" if now.host else ""
    gap = now.started - before.started
    return about(case, why.EVICTED, missing, "", detail=f"{gap:.0f} s after the turn before{host}")


def _elsewhere(case: Case) -> tuple[Cause, str] | None:
    before, now = case.before, case.now
    if not before.host or not now.host or before.host == now.host:
        return None
    return why.HOST_CHANGED, f"from {before.host} to {now.host}"


def _out_of_sight(case: Case, missing: int, reach: int) -> Finding | None:
    """Whether no marker of this request can see the block `reach`."""
    now, chain = case.now, case.chain
    if not now.marks:
        return about(case, why.NO_MARKER, missing, "", detail="the turn before had markers, this one has none")
    behind = [block for block, _ in now.marks if block >= reach]
    if not behind:
        where, block = chain.where(reach), reach
        detail = "the turn before marked this block, and nothing from here on is marked now"
        return about(case, why.TAIL_UNMARKED, missing, where, block=block, detail=detail)
    if min(behind) - reach >= WINDOW:
        where = spell(chain.paths[min(behind)])
        detail = f"{min(behind) - reach} blocks from the last marker to this one"
        return about(case, why.LOOKBACK, missing, where, block=min(behind), detail=detail)
    return None

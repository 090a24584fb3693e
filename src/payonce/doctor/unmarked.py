"""Conversations that read little because little was written: no markers, too short a prefix, the static part alone.

This room must never be asked of a turn that read less than there was.
"""

from __future__ import annotations

from typing import Final

from payonce.doctor import causes as why
from payonce.doctor.blocks import spell
from payonce.doctor.case import Case, about, too_late
from payonce.doctor.findings import Finding
from payonce.doctor.lineage import common

LONG: Final = 4096
"""Tokens from which on a prefix is long for every model, where the minimum is not known."""
TAIL: Final = 1024
"""Tokens of a conversation that are worth a marker of their own."""


def never_cached(case: Case) -> list[Finding]:
    """A conversation of a model that needs markers, of which the turn before left too little in the cache."""
    before, now, chain = case.before, case.now, case.chain
    same = common(before.digests, now.digests)
    if now.written is None or before.written is None or not same or now.started - before.started > 3600:
        return []
    shared = before.tokens_to(same - 1)
    if not before.marks and not now.marks and not now.read and not now.written:
        if shared >= (case.minimum or LONG):
            return [about(case, why.NO_MARKER, shared, "", detail=f"{shared:,} tokens were sent again")]
        return []
    if before.marks and now.marks and not before.held and not now.read and not now.written:
        return _no_effect(case, shared)
    deepest = max((block for block, _ in before.marks), default=-1)
    idle = shared - max(now.read or 0, before.tokens_to(deepest) if deepest >= 0 else 0)
    same_place = all(block < chain.static for block, _ in (*before.marks, *now.marks))
    if case.turns >= 3 and before.marks and now.marks and same_place and idle >= TAIL and not too_late(case):
        where = spell(chain.paths[same - 1])
        detail = f"{idle:,} tokens of earlier messages were paid in full"
        return [about(case, why.TAIL_UNMARKED, idle, where, block=same - 1, detail=detail)]
    return []


def _no_effect(case: Case, shared: int) -> list[Finding]:
    """Markers that were sent twice, and did nothing."""
    block = max(block for block, _ in case.now.marks)
    where = next(spell(mark.path) for mark in case.chain.marks if mark.block == block)
    tokens = case.now.tokens_to(block)
    if tokens < (case.minimum or LONG):
        least = f"the minimum is {case.minimum:,}" if case.minimum else "that is under the minimum of this model's host"
        detail = f"{tokens:,} tokens up to here; {least}"
        return [about(case, why.UNDER_MINIMUM, None, where, block=block, detail=detail)]
    detail = f"{tokens:,} tokens up to here" + (f", at {case.now.host}" if case.now.host else "")
    return [about(case, why.NOT_CACHED, min(shared, tokens), where, block=block, detail=detail)]

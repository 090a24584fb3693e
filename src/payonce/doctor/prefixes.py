"""Prefixes that several conversations share: who wrote one last, and why the next one did not read it.

A conversation's first request has no turn before it, but its tools and its system prompt may have been written by
another conversation's, moments ago. Bounded. This room must never look at the messages of a conversation.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from payonce.doctor import causes as why
from payonce.doctor.blocks import Chain, spell
from payonce.doctor.causes import Cause
from payonce.doctor.changes import Change, first_change
from payonce.doctor.excerpts import Texts
from payonce.doctor.lineage import Scope
from payonce.doctor.seen import Turn

_SHORT: Final = 1024
"""Tokens under which a prefix may be too short to be cached, where the minimum is not known."""


@dataclass(frozen=True, slots=True)
class Written:
    """A prefix that was written or read last by the request `number`."""

    started: float
    ready: float
    lives: float
    host: str
    tokens: int
    exact: bool
    number: int


@dataclass(frozen=True, slots=True)
class Miss:
    """A prefix of a first request that should have been read."""

    cause: Cause
    tokens: int
    number: int
    where: str = ""
    block: int | None = None
    detail: str = ""
    before: str = ""
    after: str = ""


class Prefixes:
    """The prefixes that are known to be cached, and the last static part of each family of requests."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._written: OrderedDict[tuple[Scope, str, int, str], Written] = OrderedDict()
        self._families: OrderedDict[tuple[Scope, str, int], Turn] = OrderedDict()

    def __len__(self) -> int:
        return len(self._written) + len(self._families)

    def miss(
        self, scope: Scope, turn: Turn, chain: Chain, body: Mapping[str, Any], texts: Texts, minimum: int | None
    ) -> Miss | None:
        """What the first request of a conversation should have read, and why it did not; None where all is well."""
        if turn.read is None or not turn.marks or not turn.written:
            return None
        return self._same(scope, turn, chain, minimum or _SHORT) or self._family(
            scope, turn, chain, body, texts, minimum or _SHORT
        )

    def _same(self, scope: Scope, turn: Turn, chain: Chain, least: int) -> Miss | None:
        """The very same prefix was written before."""
        for block, _ in reversed(turn.marks):
            prefix = scope, turn.model, _prefix(turn, block)
            known = self._written.get((*prefix, turn.host)) or self._written.get((*prefix, ""))
            if known is None:
                continue
            tokens = min(known.tokens, turn.tokens_to(block)) if not known.exact else known.tokens
            missing = tokens - (turn.read or 0)
            if tokens < least or missing <= tokens // 4:
                return None
            cause, detail = _why_not(known, turn)
            if cause is None:
                return None
            where = next(spell(mark.path[:-1]) for mark in chain.marks if mark.block == block)
            return Miss(cause, missing, known.number, where, block, detail)
        return None

    def _family(
        self, scope: Scope, turn: Turn, chain: Chain, body: Mapping[str, Any], texts: Texts, least: int
    ) -> Miss | None:
        """A request with the same tools, or nearly the same system prompt, was written before."""
        last = self._families.get((scope, turn.model, _family(turn)))
        reach = turn.marks[-1][0]
        if last is None or turn.read or reach < turn.static - 1 or turn.started - last.started > _lives(last):
            return None
        tokens = turn.tokens_to(turn.static - 1)
        if tokens < least or turn.started < last.ready:
            return None
        change: Change | None = first_change(last, chain, body, texts)
        if change is None or change.block >= turn.static or change.cause not in _TELLING:
            return None
        return Miss(
            change.cause,
            tokens,
            last.number,
            change.where,
            change.block,
            change.detail,
            change.before,
            change.after,
        )

    def note(self, scope: Scope, turn: Turn) -> None:
        """What `turn` wrote or read can be read by others now."""
        if not turn.held:
            return
        for block, ttl in turn.marks:
            deepest = block == turn.marks[-1][0]
            tokens = min(turn.held, turn.total) if deepest else turn.tokens_to(block)
            written = Written(turn.started, turn.ready, float(ttl), turn.host, tokens, deepest, turn.number)
            prefix = scope, turn.model, _prefix(turn, block)
            for key in {(*prefix, turn.host), (*prefix, "")}:
                known = self._written.get(key)
                if known is None or known.ready <= turn.started:  # else the one that can be read first stays
                    self._written[key] = written
                    self._written.move_to_end(key)
        if turn.static:
            static = replace(turn, digests=turn.digests[: turn.static], sizes=turn.sizes[: turn.static], points=())
            self._families[scope, turn.model, _family(turn)] = static
            self._families.move_to_end((scope, turn.model, _family(turn)))
        while len(self._written) > 2 * self._limit:
            self._written.popitem(last=False)
        while len(self._families) > self._limit:
            self._families.popitem(last=False)


_TELLING: Final = frozenset((why.TOOLS_REORDERED, why.TOOL_CHANGED, why.VOLATILE_TEXT))
"""Changes between two conversations that nobody means to make; another system prompt is another program."""


def _why_not(known: Written, turn: Turn) -> tuple[Cause | None, str]:
    elsewhere = bool(known.host and turn.host and known.host != turn.host)
    if turn.started < known.ready and known.started < turn.ready:
        if elsewhere:
            return None, ""  # neither could have read the other's
        early = known.ready - turn.started
        return why.CONCURRENT, f"sent {early:.1f} s before {_who(known)} had begun to answer"
    gap = turn.started - known.started
    if gap < 0 or gap > known.lives:
        return None, ""
    if elsewhere:
        return why.HOST_CHANGED, f"from {known.host} to {turn.host}"
    return (why.EVICTED, f"{gap:.0f} s after {_who(known)} had it") if known.exact else (None, "")


def _who(known: Written) -> str:
    return f"request {known.number}" if known.number else "another request"


def _lives(turn: Turn) -> float:
    return float(max((ttl for _, ttl in turn.marks), default=300))


def _prefix(turn: Turn, block: int) -> int:
    return hash(turn.digests[: block + 1].tobytes())


def _family(turn: Turn) -> int:
    """The same for requests of the same program: the same tools in any order, and as many system blocks."""
    return hash((tuple(sorted(turn.names)), turn.static - turn.tools))

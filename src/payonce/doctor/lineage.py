"""Which earlier request the present one goes on from: by session where one is named, else by the messages they share.

Bounded: so many conversations in all, so many blocks held by them, the least recently used dropped first. This room
must never see text, nor judge what was read.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from payonce.doctor.blocks import Chain
from payonce.doctor.seen import Turn

Scope = tuple[str, str]
"""Tenant and upstream: what is cached for one is not read by another."""

_BRANCHES: Final = 8
"""Conversations of one session that are told apart: subagents, and what was asked anew."""
_VOTES: Final = 64
"""Messages that are looked up to find a conversation, from either end."""
_SUBSTANCE: Final = 24
"""Characters from which on a message can identify a conversation; an "ok" can't."""


@dataclass(slots=True, eq=False)
class Lineage:
    """One conversation, by its last turn."""

    scope: Scope
    session: str | None
    turn: Turn
    turns: int = 1
    anchors: list[int] = field(default_factory=list)
    cached: bool = False
    """Whether anything of it was ever read: its provider does cache."""


class Lineages:
    """The conversations that are followed."""

    def __init__(self, limit: int, blocks: int) -> None:
        """At most `limit` conversations, which hold at most `blocks` blocks together."""
        self._limit = limit
        self._room = blocks
        self._held = 0
        self._all: OrderedDict[int, Lineage] = OrderedDict()
        self._sessions: dict[tuple[Scope, str], list[Lineage]] = {}
        self._anchors: dict[Scope, dict[int, list[Lineage]]] = {}

    def __len__(self) -> int:
        return len(self._all)

    @property
    def blocks(self) -> int:
        """How many blocks are held."""
        return self._held

    def find(
        self, scope: Scope, session: str | None, chain: Chain, model: str, alike: Callable[[int, int], bool]
    ) -> Lineage | None:
        """The conversation that a request goes on with; None where it is the first of one.

        `alike` tells whether the texts of two digests are mostly the same.
        """
        best: tuple[tuple[int, ...], Lineage] | None = None
        for lineage in self._candidates(scope, session, chain):
            named = session is not None and lineage.session == session
            rank = _rank(lineage, chain, named, alike)
            if rank is not None and lineage.session != session and not _grown(lineage.turn, chain):
                continue
            if rank is None:
                continue
            ranked = (*rank, int(lineage.turn.model == model))
            if best is None or ranked > best[0]:
                best = ranked, lineage
        return best[1] if best else None

    def _candidates(self, scope: Scope, session: str | None, chain: Chain) -> Iterable[Lineage]:
        if session is not None and (branches := self._sessions.get((scope, session))):
            return tuple(reversed(branches))
        known = self._anchors.get(scope)
        if not known:
            return ()
        messages = chain.digests[chain.static :]
        asked = messages if len(messages) <= 2 * _VOTES else messages[:_VOTES] + messages[-_VOTES:]
        found = {id(lineage): lineage for digest in asked for lineage in known.get(digest, ())}
        return list(found.values())

    def begin(self, scope: Scope, session: str | None, turn: Turn) -> Lineage:
        """A new conversation."""
        lineage = Lineage(scope, session, turn)
        self._all[id(lineage)] = lineage
        self._held += len(turn.digests)
        if session is not None:
            branches = self._sessions.setdefault((scope, session), [])
            branches.append(lineage)
            if len(branches) > _BRANCHES:
                self._drop(branches[0])
        self._anchor(lineage)
        self._trim()
        return lineage

    def follow(self, lineage: Lineage, turn: Turn) -> None:
        """`turn` is now the last one of `lineage`."""
        self._held += len(turn.digests) - len(lineage.turn.digests)
        self._lift(lineage)
        lineage.turn = turn
        lineage.turns += 1
        self._all.move_to_end(id(lineage))
        if lineage.session is not None:
            branches = self._sessions[lineage.scope, lineage.session]
            branches.remove(lineage)
            branches.append(lineage)
        self._anchor(lineage)
        self._trim()

    def _anchor(self, lineage: Lineage) -> None:
        """Make it findable by its first and its last messages of some length."""
        turn = lineage.turn
        own = [place for place in range(turn.static, len(turn.digests)) if turn.sizes[place] >= _SUBSTANCE]
        places = dict.fromkeys((*range(turn.static, turn.static + 1), *own[:2], *own[-3:]))
        lineage.anchors = [turn.digests[place] for place in places if place < len(turn.digests)]
        known = self._anchors.setdefault(lineage.scope, {})
        for digest in lineage.anchors:
            known[digest] = [*known.get(digest, ())[1 - _BRANCHES :], lineage]

    def _lift(self, lineage: Lineage) -> None:
        known = self._anchors.get(lineage.scope)
        if known is None:
            return
        for digest in lineage.anchors:
            left = [other for other in known.get(digest, ()) if other is not lineage]
            if left:
                known[digest] = left
            else:
                known.pop(digest, None)
        if not known:
            del self._anchors[lineage.scope]

    def _trim(self) -> None:
        while len(self._all) > self._limit or (self._held > self._room and len(self._all) > 1):
            self._drop(next(iter(self._all.values())))

    def _drop(self, lineage: Lineage) -> None:
        del self._all[id(lineage)]
        self._held -= len(lineage.turn.digests)
        self._lift(lineage)
        if lineage.session is not None:
            branches = self._sessions[lineage.scope, lineage.session]
            branches.remove(lineage)
            if not branches:
                del self._sessions[lineage.scope, lineage.session]


def _rank(lineage: Lineage, chain: Chain, named: bool, alike: Callable[[int, int], bool]) -> tuple[int, ...] | None:
    """How well a request goes on from a conversation's last turn; None where it does not."""
    turn = lineage.turn
    old, new = turn.digests[turn.static :], chain.digests[chain.static :]
    same = common(old, new)
    kind = _kind(old, new, same, chain)
    if kind == _STARTS_ALIKE and named and old and new and len(new) >= len(old) and alike(old[0], new[0]):
        return 0, 0, 0
    if kind <= _STARTS_ALIKE:
        return None
    unchanged = turn.digests[: turn.static] == chain.digests[: chain.static]
    if not unchanged and not named and (len(new) == len(old) or not _same_program(turn, chain, alike)):
        return None  # who says "hi" to two programs has not gone on with one conversation
    return kind, int(unchanged), same


def _grown(turn: Turn, chain: Chain) -> bool:
    """Whether a request has all the messages of an earlier one, an answer among them, and more: the same conversation
    under another name."""
    old, new = turn.digests[turn.static :], chain.digests[chain.static :]
    return 2 <= len(old) < len(new) and common(old, new) == len(old)


_OTHER, _STARTS_ALIKE, _LAST_CHANGED, _SHARES, _EXTENDS = range(-1, 4)


def _kind(old: Sequence[int], new: Sequence[int], same: int, chain: Chain) -> int:
    """What the messages of a request are to those of an earlier one."""
    if old and same == len(old):
        return _EXTENDS
    if len(new) < len(old) and same == len(new):
        return _OTHER  # asked anew from an earlier place: a branch of its own
    beyond = set(old[same:])
    if any(digest in beyond and _says(chain, place) for place, digest in enumerate(new[same:], same)):
        return _SHARES
    left = len(old) - same
    if len(new) > len(old) and same and left <= 4:
        return _LAST_CHANGED  # its last message came back changed, with more behind it
    return _STARTS_ALIKE if not same else _OTHER


def _same_program(turn: Turn, chain: Chain, alike: Callable[[int, int], bool]) -> bool:
    """Whether most of the tools and the system prompt is the same, or nearly so."""
    old = set(turn.digests[: turn.static])
    kept = whole = 0
    for place in range(chain.static):
        size = chain.sizes[place]
        whole += size
        digest = chain.digests[place]
        if digest in old or (place < turn.static and alike(turn.digests[place], digest)):
            kept += size
    return 2 * kept >= whole


def _says(chain: Chain, place: int) -> bool:
    return chain.sizes[chain.static + place] >= _SUBSTANCE


def common(a: Iterable[int], b: Iterable[int]) -> int:
    """How many digests two chains begin with alike."""
    count = 0
    for x, y in zip(a, b, strict=False):
        if x != y:
            break
        count += 1
    return count

"""Whether the model behind a name is still the one that answered before, and what is counted when it is not.

A name's count, in its scope of its own, holds three numbers: how often the model behind it has changed, a mark of the
one that answers now, and some room for processes that count at once. So one count, raised as for a purge, retires what
the model before has answered and tells every process who answers now. All pure; this room must never know a store.
"""

from __future__ import annotations

from enum import Enum, auto

from blake3 import blake3

from payonce.core.effects import Story, Witness
from payonce.model.call import Ask
from payonce.model.entry import Facts
from payonce.model.scopes import ROOM_BITS

_MARK_BITS = 24
MOST_CHANGES = 1 << 21
"""With a mark and the room they stay below 2**53, up to which every store counts exactly."""
FIRST_PAUSE, LONGEST_PAUSE = 600.0, 28 * 86400.0
"""Seconds. After a change the next one has to wait, twice as long each time: a name that two models answer in turns is
retired a dozen times on its first days, then once in four weeks. The first sight of a model is no such change."""


class Standing(Enum):
    """What an answer says of the model behind its name."""

    SAME = auto()
    """It is the one that answers now."""
    LATE = auto()
    """Its call took off before the last change: it says nothing of the present."""
    CHANGED = auto()
    """It is another one."""


def mark(said: str) -> int:
    """A mark of what an answer says of who made it: two are alike once in 16 million."""
    return int.from_bytes(blake3(said.encode("utf-8", "replace")).digest(_MARK_BITS // 8), "big")


def changes_in(count: int) -> int:
    """How often a name's model has changed, the first time it was seen included."""
    return count >> (_MARK_BITS + ROOM_BITS)


def standing(count: int, born: int, said: str, name: str) -> Standing:
    """How an answer stands, of which `said` tells who made it: `count` is its name's now, `born` was it when its call
    took off. A name that was never counted is answered by the model of that name."""
    present = count >> ROOM_BITS & ((1 << _MARK_BITS) - 1) if count else mark(name)
    if present == mark(said):
        return Standing.SAME
    return Standing.LATE if count != born else Standing.CHANGED


def changed(count: int, said: str) -> int:
    """The count of a name that is answered by `said` from now on."""
    return (changes_in(count) + 1) << (_MARK_BITS + ROOM_BITS) | mark(said) << ROOM_BITS


def pause(count: int) -> float:
    """For how many seconds after its last change a name's model is not taken to change again."""
    changes = changes_in(count) - 1
    return min(FIRST_PAUSE * 2.0 ** min(changes - 1, 30), LONGEST_PAUSE) if changes > 0 else 0.0


def witnessed(ask: Ask, facts: Facts, scopes: tuple[str, ...], epochs: tuple[int, ...]) -> Story[tuple[int, ...]]:
    """The counts under which an answer is kept: those of its take-off, but for that of the name that was asked for. An
    answer of the model that answers now lives on; one of a model that does not is dead."""
    if not ask.watched or not facts.model:
        return epochs
    said = f"{facts.model}\n{facts.fingerprint}" if ask.by_fingerprint and facts.fingerprint else facts.model
    born = epochs[scopes.index(ask.watched)]
    count = yield from Witness(ask.watched, ask.intent.model, said, born)
    return tuple([count if scope == ask.watched else epoch for scope, epoch in zip(scopes, epochs, strict=True)])

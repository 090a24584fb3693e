"""What a store can do beyond the least that every store does, asked once: as a way to do it, or None.

This room must never call a store on behalf of a request.
"""

from __future__ import annotations

from collections.abc import Callable

from payonce.model import reason as why
from payonce.model.call import Ask
from payonce.model.ports import (
    About,
    Asking,
    AsyncReading,
    Choosy,
    Declining,
    Distant,
    Explaining,
    HandyReading,
    Recorder,
    Sieving,
    Store,
)
from payonce.model.reason import Reason


def distant(store: object) -> Distant | None:
    """`store` as one on servers of others; None where it is not."""
    return store if isinstance(store, Distant) else None


def read_by_loops(store: object) -> AsyncReading | None:
    """`store` as one that an event loop reads without a thread; None where it is not."""
    return store if isinstance(store, AsyncReading) else None


def asked_by_loops(store: object) -> Asking | None:
    """`store` as one that an event loop asks for one entry; None where it is not."""
    return store if isinstance(store, Asking) else None


def handy(store: object) -> HandyReading | None:
    """`store` as one that a thread may read by itself; None where it is not."""
    return store if isinstance(store, HandyReading) else None


def offering(store: Store) -> Callable[[bytes, bytes, About], object]:
    """How `store` is given what another one has."""
    return store.offer if isinstance(store, Choosy) else store.put


def keeping(store: Store) -> Callable[[Ask, bytes, About], Reason | None]:
    """How `store` is given an entry, with the question where it keeps that too; why it did not take it. One that can't
    say why has it in what it counts as dropped."""
    if isinstance(store, Recorder):
        return lambda ask, blob, about: store.keep_asked(ask.key.slot, blob, about, ask.asked)
    if isinstance(store, Explaining):
        return lambda ask, blob, about: store.keep(ask.key.slot, blob, about)
    return lambda ask, blob, about: None if store.put(ask.key.slot, blob, about) else why.WRITE_FAULT


def declining(store: object) -> Callable[[bytes, int], Reason | None]:
    """What says, at once, why so many bytes would not be kept at a slot."""
    return store.declines if isinstance(store, Declining) else lambda _slot, _size: None


def absence(behind: object) -> Callable[[bytes], bool]:
    """What says for certain, and at once, that a slot is empty."""
    if isinstance(behind, Sieving):
        return behind.absent
    certain = behind is None
    return lambda _slot: certain

"""Whether a store may take in an entry from elsewhere, and how it does.

Pure, apart from `Importer`, which reads and fills one store. What is brought in is held against every purge that the
store knows of: whatever can't be shown to be younger than all that concern it stays out. This room must never see a
secret but to seal with it, nor an API key.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec

from payonce.model.entry import Entry, seal, unseal
from payonce.model.key import Key
from payonce.model.ports import About, Chronicle, Clock, Store
from payonce.model.scopes import BEFORE, KEY_SCOPE_SECONDS, alive, of_key
from payonce.moving_lines import Moved

SKEW_SECONDS = 60.0
"""By how much the clocks of two machines may differ: an entry counts as so much older than it says."""
FLUSH_SECONDS = 30.0


class Verdict(StrEnum):
    """What became of an entry that was to be brought in."""

    IMPORTED = "imported"
    PRESENT = "present"
    """The store has an answer under this key that is as new."""
    EXPIRED = "expired"
    PURGED = "purged"
    """A purge in this store concerns it, or can't be shown not to."""
    FUTURE = "future"
    """It was stored at a time that is yet to come."""
    REFUSED = "refused"
    """The store did not take it."""


def fresh(entry: Entry, now: float) -> bool:
    """Whether an entry is within its TTL; past it, it is neither taken out nor brought in."""
    return entry.age(now) < entry.ttl


def outlived(
    entry: Entry, key: Key, current: Mapping[str, int], raised: Mapping[str, float] | None, now: float
) -> bool:
    """Whether no purge in a store concerns an entry from elsewhere.

    `current` are the store's epochs, read first; `raised` says when each was raised, None where the store can't. The
    entry is as old as the call that brought it (a purge concerns answers under way), and `SKEW_SECONDS` on top. Where a
    time is not known, or the store may have forgotten the purge of its key, the answer is no.
    """
    asked_at = min(entry.stored_at, now) - entry.took - SKEW_SECONDS
    if current.get(BEFORE, 0) >= asked_at * 1000:
        return False
    times = raised or {}
    if any(
        current.get(scope, 0) and times.get(scope, now) >= asked_at for scope in (*entry.scopes, of_key(key.digest))
    ):
        return False
    forgotten = now - KEY_SCOPE_SECONDS if raised is None else times.get("key:", float("-inf"))
    return forgotten < asked_at


class Importer:
    """Brings entries into `store`, sealed with its own envelope key `secret`."""

    def __init__(self, store: Store, secret: bytes, clock: Clock) -> None:
        self._store = store
        self._secret = secret
        self._clock = clock
        self._epochs: Mapping[str, int] | None = None
        self._raised: Mapping[str, float] | None = None
        self.refusals = 0
        """How often the store said no; it counts each of them as dropped."""

    def take(self, moved: Moved) -> Verdict:
        """Bring one entry in, unless something stands against it. Raises StoreError."""
        now, entry = self._clock(), moved.entry
        if entry.stored_at > now + SKEW_SECONDS:
            return Verdict.FUTURE
        if not fresh(entry, now):
            return Verdict.EXPIRED
        current = self._current()
        if not outlived(entry, moved.key, current, self._raised, now):
            return Verdict.PURGED
        if self._has(moved, current, now):
            return Verdict.PRESENT
        epochs = tuple([current.get(scope, 0) for scope in entry.scopes])
        own = msgspec.structs.replace(entry, stored_at=min(entry.stored_at, now), epochs=epochs)
        return Verdict.IMPORTED if self._put(moved.key, own) else Verdict.REFUSED

    def _current(self) -> Mapping[str, int]:
        """The epochs first, then when they were raised: a purge in between, or later, finds the entry too old."""
        current = self._store.epochs()
        if current != self._epochs:
            self._raised = self._store.raised() if isinstance(self._store, Chronicle) else None
            self._epochs = dict(current)
        return self._epochs

    def _has(self, moved: Moved, current: Mapping[str, int], now: float) -> bool:
        """Whether the store has a living answer that is as new."""
        blob = self._store.get(moved.key.slot)
        there = unseal(blob, moved.key.slot, self._secret) if blob is not None else None
        return (
            there is not None
            and _asked_at(there) > min(_asked_at(moved.entry), now) - 1.0  # a cassette's times are whole seconds
            and fresh(there, now)
            and alive(there.scopes, there.epochs, there.stored_at, current)
        )

    def _put(self, key: Key, entry: Entry) -> bool:
        blob = seal(entry, key.slot, self._secret)
        about = About(
            entry.stored_at, entry.expires_at, entry.tenant, entry.namespace, entry.endpoint, entry.model, entry.tags
        )
        for last in (False, True):
            if self._store.put(key.slot, blob, about):
                return True
            self.refusals += 1
            if not last:
                self._store.flush(FLUSH_SECONDS)  # its queue may be full
        return False


def _asked_at(entry: Entry) -> float:
    return entry.stored_at - entry.took


def counted(verdicts: Mapping[Verdict, int]) -> dict[str, Any]:
    """How many entries met which verdict, every verdict named."""
    return {verdict.value: verdicts.get(verdict, 0) for verdict in Verdict}

"""How the player with threads looks into the stores: in front at once, behind within a budget: in the thread that asks,
where the store keeps to the budget and a connection is there, else in one of a few threads.

As drive/aio_reads.py; a parity test holds the two together. This room must never judge what it finds.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from payonce.core import effects as do
from payonce.drive.leases import UNSURE, CrowdedError, Leases
from payonce.drive.performing import READERS, SLICE_ITEMS, WAITING_READS
from payonce.drive.tiers import Tiers
from payonce.errors import NoneIdleError, StoreError
from payonce.model import reason as why
from payonce.model.call import Ask, Sought
from payonce.model.entry import Entry
from payonce.model.reason import Reason

K = TypeVar("K")
V = TypeVar("V")


class SyncReads:
    """Reads of one player: each has `budget` seconds; `pool` is made here unless one is given."""

    def __init__(self, tiers: Tiers, budget: float, pool: ThreadPoolExecutor | None) -> None:
        self.tiers = tiers
        self.leases = Leases(tiers)
        self.budget = budget
        self.pool = pool or ThreadPoolExecutor(READERS, thread_name_prefix="payonce-read")
        self.room = threading.Semaphore(WAITING_READS)

    def find(self, ask: Ask | Sought) -> Entry | Reason:
        """What is stored for `ask`, or why there is nothing."""
        found = self.tiers.look(ask)
        if found is not None:
            return found
        started = time.monotonic()
        try:
            blob = self._read_one(ask.key.slot)
        except (StoreError, TimeoutError) as error:
            waited = time.monotonic() - started > self.budget / 2
            return self.leases.failed(error, ask.key.digest, waited=waited)
        if blob is None:
            return why.ABSENT
        entry = self.tiers.prove(ask, blob)
        if isinstance(entry, Entry):
            self.tiers.promote(ask, blob, entry)
        return entry

    def find_many(self, asks: Sequence[Ask]) -> tuple[Entry | Reason, ...]:
        """Slice by slice; once the store behind was slow or failed, only the front is asked."""
        found: list[Entry | Reason] = []
        against: Reason | None = None
        for start in range(0, len(asks), SLICE_ITEMS):
            some = asks[start : start + SLICE_ITEMS]
            seen = [self.tiers.look(ask) for ask in some]
            behind = [ask for ask, entry in zip(some, seen, strict=True) if entry is None]
            blobs: Sequence[bytes | None] = ()
            if behind and against is None:
                try:
                    blobs = self._read(self.tiers.read_many, [ask.key.slot for ask in behind])
                except (StoreError, TimeoutError) as error:
                    against = self.leases.failed(error)
            found += self.tiers.settle(some, seen, blobs, against)
        return tuple(found)

    def claim(self, ask: Ask) -> do.Claimed:
        """The right to make the call for `ask`; a store that does not answer in time lets everybody go. It is the
        flight's own thread that waits."""
        if not self.leases.needed(ask.key.slot):
            return do.FREE
        if self.leases.shy(ask.key.digest):
            return UNSURE
        try:
            return self.leases.judged(ask, self.leases.claim(ask.key.slot))
        except (StoreError, TimeoutError) as error:
            self.leases.failed(error)
            return UNSURE

    def _read_one(self, slot: bytes) -> bytes | None:
        try:
            return self.tiers.read_now(slot)
        except NoneIdleError:
            return self._read(self.tiers.read_behind, slot)

    def _read(self, read: Callable[[K], V], what: K) -> V:
        """The store behind is read in another thread, within the budget; a read that comes late is let go."""
        if not self.room.acquire(blocking=False):
            raise CrowdedError
        try:
            future = self.pool.submit(read, what)
        except RuntimeError:  # the interpreter ends, and no thread begins any more
            self.room.release()
            return read(what)
        future.add_done_callback(lambda _: self.room.release())
        return future.result(self.budget)

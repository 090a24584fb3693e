"""What the players share of the leases: whether one is needed, and what a claim has brought.

A store that has no leases, or is in trouble, costs nothing: the call is made at once. One that has just let the time
for an answer pass is not asked again on behalf of the same request. This room must never wait, but in `claim`, for the
player to call as it can.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from contextlib import suppress
from math import inf

from payonce.core import effects as do
from payonce.drive.tiers import Tiers
from payonce.errors import StoreError
from payonce.model import reason as why
from payonce.model.call import Ask
from payonce.model.entry import Entry
from payonce.model.leasing import Claimed, Leasing
from payonce.model.reason import Reason

UNSURE = do.Claimed(True, sure=False)


SHY_SECONDS = 0.02
"""So long after a question that was not answered no lease is asked for: the request has waited for one budget."""
LATE_SECONDS = 2.0
"""The same for the key that was asked about: between its lookup and its claim a busy machine may do something else."""
MOST_LATE = 1024
"""So many keys are remembered for that."""


class CrowdedError(TimeoutError):
    """Too many wait to read: that says nothing of the store."""


class Leases:
    """Those on the store behind `tiers`."""

    def __init__(self, tiers: Tiers) -> None:
        self._tiers = tiers
        self._store = _leasing(tiers.behind)
        self._failed_at = -inf
        self._late: OrderedDict[bytes, float] = OrderedDict()
        self._flying: set[bytes] = set()

    def needed(self, slot: bytes) -> bool:
        """Whether anybody else may make the call for `slot`, and can be asked."""
        return self._store is not None and self._store.leases.needed(slot)

    def claim(self, slot: bytes) -> Claimed:
        """As the port has it, and always with what stands at the slot. May wait; raises StoreError."""
        store = self._store
        assert store is not None
        claimed = store.leases.claim(slot)
        return claimed if claimed.looked else Claimed(claimed.free, self._tiers.read_behind(slot), looked=True)

    def judged(self, ask: Ask, claimed: Claimed) -> do.Claimed:
        """The same for the story: what was found is an entry only if it proves to be one."""
        if claimed.found is None:
            return do.Claimed(claimed.free)
        entry = self._tiers.prove(ask, claimed.found)
        if not isinstance(entry, Entry):
            return do.Claimed(claimed.free)
        self._tiers.promote(ask, claimed.found, entry)
        return do.Claimed(claimed.free, entry)

    def shy(self, digest: bytes) -> bool:
        """Whether an answer has just not come in time, or none about the key of this digest."""
        now = time.monotonic()
        late_at = self._late.pop(digest, -inf) if self._late else -inf
        return now - self._failed_at < SHY_SECONDS or now - late_at < LATE_SECONDS

    def failed(self, error: StoreError | TimeoutError, digest: bytes = b"", *, waited: bool = False) -> Reason:
        """A question that was not answered, counted; for a lookup, the reason of its miss. `digest` is of the key that
        it was about, if of one; `waited` says that a store's fault took the time of a budget to come."""
        if waited or (isinstance(error, TimeoutError) and not isinstance(error, CrowdedError)):
            self._failed_at = self._late[digest] = time.monotonic()
            while len(self._late) > MOST_LATE:
                with suppress(KeyError):  # another thread was quicker
                    self._late.popitem(last=False)
        if isinstance(error, TimeoutError):
            self._tiers.dropped["store-slow"] += 1
            return why.STORE_SLOW
        self._tiers.complain(error)
        return why.STORE_FAULT

    def begun(self, slot: bytes) -> None:
        """A flight is about to claim `slot`, and may not wait for the end of it."""
        self._flying.add(slot)

    def release(self, flight: do.Flight) -> None:
        """The flight has landed."""
        self._flying.discard(flight.ask.key.slot)
        if self._store is not None and flight.landing is not None:
            self._store.leases.release(flight.ask.key.slot, kept=flight.landing.reason is None)

    def let_go(self, slot: bytes) -> None:
        """A claim has ended that nobody waited for any longer. Where its flight has landed, the lease would be kept up
        for as long as the process lives; one that still flies has use for it, and lets go of it in the end."""
        if self._store is not None and slot not in self._flying:
            self._store.leases.release(slot, kept=True)


def _leasing(store: object) -> Leasing | None:
    return store if isinstance(store, Leasing) else None

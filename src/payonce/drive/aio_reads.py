"""How the asyncio player looks into the stores: in front at once, behind within a budget, on the loop or in a thread.

A store that is slow or fails makes a miss here, counted under its reason. This room must never judge what it finds.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from payonce.core import effects as do
from payonce.drive.leases import UNSURE, CrowdedError, Leases
from payonce.drive.performing import READERS, SLICE_ITEMS, WAITING_READS
from payonce.drive.tiers import Tiers
from payonce.errors import NoneIdleError, StoreError
from payonce.model import reason as why
from payonce.model.call import Ask, Sought
from payonce.model.entry import Entry
from payonce.model.key import Key
from payonce.model.ports import Later
from payonce.model.reason import Reason

K = TypeVar("K")
V = TypeVar("V")


class AsyncReads:
    """Reads of one player: each has `budget` seconds; `pool` is made, and then closed, here unless one is given."""

    def __init__(self, tiers: Tiers, budget: float, pool: ThreadPoolExecutor | None) -> None:
        self.tiers = tiers
        self.leases = Leases(tiers)
        self.budget = budget
        self.under_way = 0
        self._owns_pool = pool is None
        self._claims = ThreadPoolExecutor(READERS, thread_name_prefix="payonce-claim")  # no crowd of lookups before it
        self._pool = pool or ThreadPoolExecutor(READERS, thread_name_prefix="payonce-read")

    async def find(self, ask: Ask | Sought) -> Entry | Reason:
        """What is stored for `ask`, or why there is nothing."""
        found = self.begin(ask)
        if found is None:
            return await self._find_slowly(ask)
        if isinstance(found, Entry | Reason):
            return found
        started = time.monotonic()
        answer = await found
        ended = self.end(ask, answer, time.monotonic() - started)
        return await self.read_on(ask, answer) if ended is None else ended

    def begin(self, ask: Ask | Sought) -> Entry | Reason | Later | None:
        """What is stored for `ask`, where that can be told at once; else what `end` is to be given when it is done, or
        None where only `find` can tell."""
        return self.tiers.look_or_ask(ask)

    def end(self, ask: Ask | Sought, answer: Any, seconds: float) -> Entry | Reason | None:
        """What the answer means that came after so many seconds; None where `read_on` has to tell."""
        try:
            blob = self.tiers.answered(ask.key.slot, answer)
        except NoneIdleError:
            return None
        except (StoreError, TimeoutError) as error:
            return self.leases.failed(error, ask.key.digest, waited=seconds > self.budget / 2)
        return self._proven(ask, blob)

    async def read_on(self, ask: Ask | Sought, answer: Any) -> Entry | Reason:
        """What an answer means that is large, or says that a thread has to ask."""
        try:
            blob = await asyncio.to_thread(self.tiers.answered, ask.key.slot, answer, in_thread=True)
        except NoneIdleError:
            return await self._find_slowly(ask)
        except (StoreError, TimeoutError) as error:
            return self.leases.failed(error, ask.key.digest)
        return self._proven(ask, blob)

    async def _find_slowly(self, ask: Ask | Sought) -> Entry | Reason:
        started = time.monotonic()
        try:
            [blob] = await self._read([ask.key.slot])
        except (StoreError, TimeoutError) as error:
            waited = time.monotonic() - started > self.budget / 2
            return self.leases.failed(error, ask.key.digest, waited=waited)
        return self._proven(ask, blob)

    def _proven(self, ask: Ask | Sought, blob: bytes | None) -> Entry | Reason:
        if blob is None:
            return why.ABSENT
        entry = self.tiers.prove(ask, blob)
        if isinstance(entry, Entry):
            self.tiers.promote(ask, blob, entry)
        return entry

    async def find_many(self, asks: Sequence[Ask]) -> tuple[Entry | Reason, ...]:
        """Slice by slice, so that the loop is never held for long; once the store behind was slow or failed, only the
        front is asked."""
        found: list[Entry | Reason] = []
        against: Reason | None = None
        for start in range(0, len(asks), SLICE_ITEMS):
            if start:
                await asyncio.sleep(0)
            some = asks[start : start + SLICE_ITEMS]
            seen = [self.tiers.look(ask) for ask in some]
            behind = [ask for ask, entry in zip(some, seen, strict=True) if entry is None]
            blobs: Sequence[bytes | None] = ()
            if behind and against is None:
                try:
                    blobs = await self._read([ask.key.slot for ask in behind])
                except (StoreError, TimeoutError) as error:
                    against = self.leases.failed(error)
            found += self.tiers.settle(some, seen, blobs, against)
        return tuple(found)

    async def claim(self, ask: Ask) -> do.Claimed:
        """The right to make the call for `ask`; a store that does not answer in time lets everybody go."""
        if not self.leases.needed(ask.key.slot):
            return do.FREE
        if self.leases.shy(ask.key.digest):
            return UNSURE
        slot = ask.key.slot
        self.leases.begun(slot)
        try:
            claimed = await self._in_thread(self._claims, self.leases.claim, slot, lambda: self.leases.let_go(slot))
            return self.leases.judged(ask, claimed)
        except (StoreError, TimeoutError) as error:
            self.leases.failed(error)
            return UNSURE

    async def drop(self, keys: Sequence[Key]) -> None:
        """Purge keys, in a thread."""
        await asyncio.get_running_loop().run_in_executor(self._pool, self.tiers.drop, keys)

    def close(self) -> None:
        """Read no more."""
        self._claims.shutdown(wait=False, cancel_futures=True)
        if self._owns_pool:
            self._pool.shutdown(wait=False, cancel_futures=True)

    async def _read(self, slots: Sequence[bytes]) -> Sequence[bytes | None]:
        """The store behind is read within the budget: on the loop where the store can do that, else in a thread. A read
        that comes late is let go. Raises TimeoutError and StoreError."""
        found = await self.tiers.read_soon(slots)
        if found is not None:
            return found
        if self.under_way >= WAITING_READS:
            raise CrowdedError
        return await self._in_thread(self._pool, self.tiers.read_many, slots)

    async def _in_thread(
        self, pool: ThreadPoolExecutor, read: Callable[[K], V], what: K, late: Callable[[], None] | None = None
    ) -> V:
        """What `read` gives within the budget; `late` is called once it has ended, where nobody waits for it then."""
        self.under_way += 1
        future = asyncio.get_running_loop().run_in_executor(pool, read, what)
        future.add_done_callback(self._read_done)
        in_time: set[asyncio.Future[V]] = set()
        try:
            in_time, _ = await asyncio.wait((future,), timeout=self.budget)
        finally:
            if not in_time and late is not None:
                future.add_done_callback(lambda _: late())
        if not in_time:
            raise TimeoutError
        return future.result()

    def _read_done(self, future: asyncio.Future[Any]) -> None:
        self.under_way -= 1
        if not future.cancelled():
            future.exception()

"""Where a player keeps and finds entries: a memory tier in front, a store behind, and the book of epochs.

Verifies every envelope on every read. A store's fault ends here as a reason; it never reaches a client. What a distant
store's epochs allow is served for a second after they were read: while it is not known whether something was purged,
nothing is served, from the front neither. This room must never judge an answer; what may wait says so, for the player.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from math import inf
from typing import Any

from payonce.core.effects import Flight
from payonce.drive.abilities import absence, asked_by_loops, declining, distant, handy, keeping, offering, read_by_loops
from payonce.drive.changes import Changes
from payonce.drive.newest import Newest
from payonce.errors import NoneIdleError, StoreError
from payonce.model import reason as why
from payonce.model.about import about_entry
from payonce.model.call import Ask, Sought
from payonce.model.entry import Entry, seal, unseal
from payonce.model.key import DIGEST_BYTES, Key
from payonce.model.ports import Bulk, BulkRaising, Clock, Later, Store
from payonce.model.reason import Reason
from payonce.model.scopes import alive, of_key

log = logging.getLogger("payonce.drive")

SAY_EVERY = 60.0
"""Seconds between two warnings of one kind."""
_BOOT: int | None = getattr(time, "CLOCK_BOOTTIME", None)
_KEY = of_key(b"")


class Tiers:
    """`front` answers at once and may forget; `behind` (None: there is only the front) may wait for a disk."""

    def __init__(
        self,
        front: Store,
        behind: Store | None,
        secret: bytes,
        now: Callable[[], float] | None = None,
        clock: Clock = time.time,
    ) -> None:
        self.front = front
        self.behind = behind
        self.secret = secret
        self.current: Mapping[str, int] = {}
        self.purges = 0
        self.unread = ""  # why the epochs could not be read the last time, in words
        self.dropped: Counter[str] = Counter()
        self.on_change: list[Callable[[bytes], None]] = []
        self.changes = Changes(self, clock, self.complain)
        self._said_at: dict[str, float] = {}
        self._newest = Newest()
        self._clock = clock
        self._absent = absence(behind)
        self._keep = keeping(self.keeper)
        self.declines = declining(self.keeper)
        self._distant = distant(behind)
        self._loops = read_by_loops(behind)
        self._asks = asked_by_loops(behind)
        self._handy = handy(behind)
        self._offer = offering(front)
        self._now = now or since_boot
        self._read_at = -inf
        self._reading = threading.Lock()

    @property
    def keeper(self) -> Store:
        """The store that has the last word: what is behind, else the front."""
        return self.behind or self.front

    @property
    def trusted(self) -> bool:
        """Whether every purge that is older than a moment is known."""
        far = self._distant
        return far is None or self._now() - self._read_at <= far.trust

    def look(self, ask: Ask | Sought) -> Entry | Reason | None:
        """What the front has; None where only the store behind can tell."""
        slot, far = ask.key.slot, self._distant
        if far is not None and not self.trusted:
            return why.STORE_DOWN if far.trouble(slot) else None
        blob = self.front.get(slot)
        if blob is not None:
            return self.prove(ask, blob)
        if far is not None and far.trouble(slot):
            return why.STORE_DOWN
        return why.ABSENT if self._absent(slot) else None

    def read_behind(self, slot: bytes) -> bytes | None:
        """The bytes that the store behind has. May wait; raises StoreError."""
        assert self.behind is not None
        self._catch_up()
        return self.behind.get(slot)

    def read_now(self, slot: bytes) -> bytes | None:
        """The same, in this very thread, where the store keeps to the read budget by itself. Raises NoneIdleError where
        another thread has to read; TimeoutError; StoreError."""
        if self._handy is None or not self.trusted:
            raise NoneIdleError("the store may need longer than a read may take")
        return self._handy.get_now(slot)

    def read_many(self, slots: Sequence[bytes]) -> Sequence[bytes | None]:
        """The same for each slot; in one round trip where the store can do that. May wait; raises StoreError."""
        behind = self.behind
        assert behind is not None
        self._catch_up()
        if isinstance(behind, Bulk) and len(slots) > 1:
            return behind.get_many(slots)
        return [behind.get(slot) for slot in slots]

    async def read_soon(self, slots: Sequence[bytes]) -> Sequence[bytes | None] | None:
        """As `read_many`, on the running loop; None where a thread has to read. Raises StoreError and TimeoutError."""
        if self._loops is None or not self.trusted:
            return None
        return await self._loops.get_soon(slots)

    def look_or_ask(self, ask: Ask | Sought) -> Entry | Reason | Later | None:
        """As `look`; where only the store behind can tell, and can be asked on the running loop, what `answered` is to
        be given. That it can be asked says that it is well."""
        asks = self._asks
        if asks is None or not self.trusted:
            return self.look(ask)
        slot = ask.key.slot
        if (blob := self.front.get(slot)) is not None:
            return self.prove(ask, blob)
        later = asks.ask_for(slot)
        return self.look(ask) if later is None else later

    def answered(self, slot: bytes, answer: Any, *, in_thread: bool = False) -> bytes | None:
        """The bytes. Raises NoneIdleError where a thread has to look, or to ask again; TimeoutError; StoreError."""
        assert self._asks is not None
        return self._asks.answered(slot, answer, in_thread=in_thread)

    def promote(self, ask: Ask | Sought, blob: bytes, entry: Entry) -> None:
        """Let the front have what was found behind, unless something newer was put, or all deleted, meanwhile."""
        slot = ask.key.slot
        if self._newest.allows(slot, entry.stored_at):
            self._offer(slot, blob, about_entry(entry))

    def settle(
        self,
        asks: Sequence[Ask],
        seen: Sequence[Entry | Reason | None],
        blobs: Sequence[bytes | None],
        against: Reason | None,
    ) -> list[Entry | Reason]:
        """What many lookups have found: `seen` in front and, for each None there, the next of `blobs` behind; with
        `against`, those that only the store behind could tell are misses for that reason."""
        behind = iter(blobs)
        found: list[Entry | Reason] = []
        for ask, entry in zip(asks, seen, strict=True):
            if entry is not None:
                found.append(entry)
            elif against is not None:
                found.append(against)
            else:
                blob = next(behind)
                proven = why.ABSENT if blob is None else self.prove(ask, blob)
                if blob is not None and isinstance(proven, Entry):
                    self.promote(ask, blob, proven)
                found.append(proven)
        return found

    def prove(self, ask: Ask | Sought, blob: bytes) -> Entry | Reason:
        """The entry that `blob` proves to be, for this key and tenant and past no purge; else why it is a miss."""
        entry = unseal(blob, ask.key.slot, self.secret)
        if entry is None or entry.tenant != ask.tenant:
            self.dropped["damaged"] += 1
            self.forget(ask.key.slot)
            return why.DAMAGED
        if not alive(entry.scopes, entry.epochs, entry.stored_at, self.current):
            return why.PURGED
        return entry

    def put(self, ask: Ask, entry: Entry) -> Reason | None:
        """Keep the entry; where the store that has the last word did not, the reason under which that store counts it.
        Never raises, never waits for the medium.

        With a store behind, the front gets an entry when it is asked for the first time: most never are, and would
        only push out what is. One that was dropped behind stands in front for as long as it can.
        """
        slot = ask.key.slot
        blob = seal(entry, slot, self.secret)
        about = about_entry(entry)
        self._newest.put(slot, entry.stored_at)
        try:
            unkept = self._keep(ask, blob, about)
        except StoreError as error:
            unkept = why.WRITE_FAULT
            self.complain(error, unkept)
        if self.behind is not None and unkept is None:
            self.front.delete(slot)
        elif self.behind is not None:
            self.front.put(slot, blob, about)
        self._changed(slot)
        return unkept

    def forget(self, slot: bytes) -> None:
        """Delete what stands at `slot`."""
        self._newest.put(slot, self._clock())
        self.front.delete(slot)
        try:
            if self.behind is not None:
                self.behind.delete(slot)
        except StoreError as error:
            self.complain(error, why.WRITE_FAULT)
        self._changed(slot)

    def drop(self, keys: Sequence[Key]) -> None:
        """Purge keys in both framings, in every process that shares the store. May wait; never raises."""
        scopes = [of_key(key.digest) for key in keys]
        for key in keys:
            for framing in (True, False):
                self.forget(Key(key.digest, framing).slot)
        try:
            if isinstance(self.keeper, BulkRaising):
                self.keeper.raise_epochs(scopes)
            else:
                for scope in scopes:
                    self.keeper.raise_epoch(scope)
        except StoreError as error:
            self.complain(error, why.WRITE_FAULT)
        self.refresh()

    def refresh(self, teller: Flight | None = None) -> bool:
        """Read the epochs anew; True if anything was purged since the last time. May wait; never raises. What a server
        that is down has not said is no fault more. What `teller` has told of its model is no purge to who boards it."""
        try:
            with self._reading:
                return self._read_epochs(teller)
        except StoreError as error:
            self.unread = str(error)
            if self._distant is None or not self._distant.trouble():
                self.complain(error)
            return False

    def _catch_up(self) -> None:
        """Learn what was purged, if that is not known. May wait; raises StoreError."""
        if not self.trusted:
            with self._reading:
                if not self.trusted:
                    self._read_epochs()

    def _read_epochs(self, teller: Flight | None = None) -> bool:
        started = self._now()
        current = self.keeper.epochs()
        self.unread = ""
        self._read_at = started
        if current == self.current:
            return False
        if teller is not None and teller.purges == self.purges:
            moved = {scope for scope, _ in self.current.items() ^ current.items()}
            teller.purges += moved == {teller.ask.watched}  # first: who asks the same meanwhile is not to pay again
        if self.behind is not None:
            self._clear_keys(current)
        self.current = dict(current)
        self.purges += 1
        return True

    def _clear_keys(self, current: Mapping[str, int]) -> None:
        """A single key's epoch is forgotten some day: until then, what was purged by it has to be gone in front."""
        for scope, count in current.items():
            if scope.startswith(_KEY) and self.current.get(scope) != count:
                with suppress(ValueError):
                    digest = bytes.fromhex(scope.removeprefix(_KEY))
                    for framing in (b"s", b"w"):
                        if len(digest) == DIGEST_BYTES:
                            self.front.delete(digest + framing)

    def epochs(self, scopes: tuple[str, ...]) -> tuple[int, ...]:
        """The counts of these scopes, as last read."""
        current = self.current
        return tuple([current.get(scope, 0) for scope in scopes])

    def complain(self, error: Exception, as_: Reason = why.STORE_FAULT) -> None:
        """Count a fault; one warning a minute of each kind."""
        self.dropped[as_.id] += 1
        now = self._now()
        if now - self._said_at.get(as_.id, -inf) >= SAY_EVERY:
            self._said_at[as_.id] = now
            log.warning("%s, which costs misses and no answer: %s", as_.sentence, error)

    def _changed(self, slot: bytes) -> None:
        for listener in self.on_change:
            listener(slot)


def since_boot() -> float:
    """Seconds on a clock that goes on while the machine sleeps, where there is one."""
    return time.clock_gettime(_BOOT) if _BOOT is not None else time.monotonic()

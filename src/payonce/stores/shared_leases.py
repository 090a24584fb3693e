"""The leases of one process on a shared store: taken on the request path, kept up and given back by the keeper.

A lease is an item that is there for LEASE_SECONDS and names its owner. Nothing is ever changed but by its owner, in one
step that fails if it is not. A claim that fails costs nothing: its call is made without a lease. This room must never
know an engine.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple, Protocol

from payonce.errors import StoreError
from payonce.model.leasing import FREE, Claimed
from payonce.stores.write_queue import WriteQueue

LEASE_SECONDS = 3.0
"""For so long those who wait believe in a process that was killed."""
UNKEPT = b"-"
"""Stands in the place of an owner when an answer was not kept: whoever reads it need not wait."""
UNKEPT_SECONDS = 2.0
"""Long enough for everybody who waits to read it."""
MOST_DONE = 10_000
_TURN_SECONDS = 0.25
_log = logging.getLogger("payonce.stores")


class Seen(NamedTuple):
    """What a server says of a lease: who has it (b"" where nobody could take it), and the parcel at its slot."""

    holder: bytes
    parcel: bytes | None


class LeaseMedium(Protocol):
    """A server that keeps leases. Raises StoreError where there is no answer by `deadline` (monotonic seconds)."""

    def claim(self, slot: bytes, owner: bytes, seconds: float, deadline: float) -> Seen:
        """Give it to `owner` if nobody has it, then look at the slot; in one round trip."""
        ...

    def turn(self, slot: bytes, owner: bytes, into: bytes | None, seconds: float, deadline: float) -> bool:
        """If `owner` has it, let it be `into`, for `seconds`, or nobody's; False where `owner` has it no more."""
        ...


class _Held:
    """A lease that was asked for; it is there until it is released."""

    __slots__ = ("renew_at",)

    def __init__(self) -> None:
        self.renew_at = float("inf")


class SharedLeases:
    """Those on `medium`; `queue` is what waits to be written there, `trouble` says why a slot is not asked for, and
    `opened` takes a value out of its parcel."""

    def __init__(
        self,
        medium: LeaseMedium,
        queue: WriteQueue,
        trouble: Callable[[bytes], str],
        opened: Callable[[bytes, bytes | None], bytes | None],
    ) -> None:
        self._medium, self._queue, self._trouble, self._opened = medium, queue, trouble, opened
        self._owner = secrets.token_hex(12).encode()
        self._lock = threading.Lock()
        self._held: dict[bytes, _Held] = {}
        self._done: deque[tuple[bytes, bool]] = deque(maxlen=MOST_DONE)
        self.budget = 0.05

    def needed(self, slot: bytes) -> bool:
        """Whether the server of `slot` can be asked."""
        return not self._trouble(slot)

    def claim(self, slot: bytes) -> Claimed:
        """As the port has it; a second claim of this process is free: who waits for whom in it, its tower knows."""
        with self._lock:
            if slot in self._held:
                return FREE
            held = self._held[slot] = _Held()
        started = time.monotonic()
        try:
            seen = self._medium.claim(slot, self._owner, LEASE_SECONDS, started + self.budget)
        except StoreError:
            self._forget(slot, held)
            raise
        if seen.holder == self._owner:
            held.renew_at = started + LEASE_SECONDS / 3
            with self._lock:
                if self._held.get(slot) is not held:  # it came too late, and was released before it was there
                    self._done.append((slot, True))
        else:
            self._forget(slot, held)
        write = self._queue.pending.get(slot)
        found = write.value if write is not None else self._opened(slot, seen.parcel)
        return Claimed(seen.holder in (self._owner, UNKEPT), found, looked=True)

    def release(self, slot: bytes, *, kept: bool) -> None:
        """As the port has it; the keeper does it."""
        with self._lock:
            if self._held.pop(slot, None) is None:
                return
            self._done.append((slot, kept))
        self._queue.nudge(hurry=not kept)

    def tend(self) -> None:
        """Give back what is done, and keep up what is held. May wait; never raises."""
        try:
            for _ in range(len(self._done)):
                slot, kept = self._done.popleft()
                write = self._queue.pending.get(slot)
                if kept and write is not None and write.value is not None:
                    self._done.append((slot, kept))  # not before it is written
                else:
                    self._turn(slot, None if kept else UNKEPT, UNKEPT_SECONDS)
            now = time.monotonic()
            with self._lock:
                due = [(slot, held) for slot, held in self._held.items() if held.renew_at <= now]
            for slot, held in due:
                held.renew_at = now + LEASE_SECONDS / 3
                self._turn(slot, self._owner, LEASE_SECONDS)
        except StoreError as error:
            _log.debug("a lease was left to lapse: %s", error)

    def _turn(self, slot: bytes, into: bytes | None, seconds: float) -> None:
        if not self._trouble(slot):
            self._medium.turn(slot, self._owner, into, seconds, time.monotonic() + _TURN_SECONDS)

    def _forget(self, slot: bytes, held: _Held) -> None:
        with self._lock:
            if self._held.get(slot) is held:
                del self._held[slot]

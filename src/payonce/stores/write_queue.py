"""What waits to be written, and who waits for it: bounded, visible to readers at once, ticketed so that a flush knows.

A change stays in `pending` until it is on the medium, so `pending` first, then the medium, is always the latest. A put
that can't be written becomes a deletion in its place: what the medium holds there is older. This room must never know a
medium.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from itertools import islice
from typing import NamedTuple

from payonce.model import reason
from payonce.model.ports import About

ROW_OVERHEAD = 300
"""What an entry costs beyond its value: its words, its places in indexes and tables (measured in SQLite)."""

_MAX_TOUCHES = 4096
_BATCH_BYTES = 2 << 20


class Write(NamedTuple):
    """One change that waits to be written; without a value it deletes."""

    ticket: int
    weight: int
    value: bytes | None = None
    about: About | None = None


class Batch(NamedTuple):
    """What is to be written at once."""

    writes: Mapping[bytes, Write]
    notes: Mapping[str, tuple[int, bytes]]
    touches: Mapping[bytes, int]

    def __bool__(self) -> bool:
        return bool(self.writes or self.notes or self.touches)


class Losses:
    """How many entries were dropped, by reason id; any thread may count."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[str, int] = {}

    def add(self, why: reason.Reason, count: int = 1) -> None:
        """Count `count` more for `why`."""
        if count:
            with self._lock:
                self._counts[why.id] = self._counts.get(why.id, 0) + count

    def add_all(self, counts: Mapping[reason.Reason, int]) -> None:
        """Count several."""
        for why, count in counts.items():
            self.add(why, count)

    def counts(self) -> Mapping[str, int]:
        """All counts, as of now."""
        with self._lock:
            return dict(self._counts)


class WriteQueue:
    """Changes on their way to the file. `blocked` says why none is taken at the moment, if so."""

    def __init__(self, losses: Losses, *, max_rows: int, max_bytes: int, batch_rows: int) -> None:
        self.pending: OrderedDict[bytes, Write] = OrderedDict()
        self.losses = losses
        self.blocked: reason.Reason | None = None
        self.wake = threading.Event()
        """Something is to be done."""
        self.hurry = threading.Event()
        """It is to be done now: a batch is full, or somebody waits."""
        self.closed = False
        self._max_rows, self._max_bytes, self._batch_rows = max_rows, max_bytes, batch_rows
        self._notes: dict[str, tuple[int, bytes]] = {}
        self._touches: dict[bytes, int] = {}
        self._changed = threading.Condition(threading.Lock())
        self._bytes = 0
        self._ticket = 0
        self._durable = 0
        self._failures = 0
        self._lost = self._told = 0
        self._waiting = 0

    def put(self, slot: bytes, value: bytes, about: About) -> reason.Reason | None:
        """Queue `value`; where the queue is full or nothing can be written now, why not, counted."""
        weight = len(value) + ROW_OVERHEAD
        with self._changed:
            why = self._refusal(slot, weight)
            if why is None:
                self._enter(slot, weight, value, about)
                full = len(self.pending) >= self._batch_rows
        if why is None:
            self.nudge(hurry=full)
        else:
            self.losses.add(why)
        return why

    @property
    def refusal(self) -> reason.Reason | None:
        """Why nothing is taken, whatever it is."""
        return reason.WRITE_FAULT if self.closed else self.blocked

    def delete(self, slot: bytes) -> None:
        """Queue a deletion: always, it is small."""
        with self._changed:
            if self.closed:
                return
            self._enter(slot, 0, None, None)
        self.nudge()

    def forget_deletions(self) -> None:
        """Drop the deletions that wait: whoever calls this has another way to keep them from being seen."""
        with self._changed:
            for slot in [slot for slot, write in self.pending.items() if write.value is None]:
                del self.pending[slot]

    def note(self, name: str, value: bytes) -> None:
        """Queue a record."""
        with self._changed:
            if self.closed:
                return
            self._ticket += 1
            self._notes[name] = (self._ticket, value)
        self.nudge()

    def notes(self) -> dict[str, bytes]:
        """The records that wait."""
        with self._changed:
            return {name: value for name, (_, value) in self._notes.items()}

    def touch(self, slot: bytes, at: int) -> None:
        """Remember that `slot` was used; written with the next batch, or never."""
        if len(self._touches) < _MAX_TOUCHES:
            self._touches[slot] = at

    def nudge(self, *, hurry: bool = False) -> None:
        """Tell the writer that there is work."""
        if hurry:
            self.hurry.set()
        if not self.wake.is_set():
            self.wake.set()

    def take(self) -> Batch:
        """The next batch; its changes stay pending until they are settled or lost."""
        touches, self._touches = self._touches, {}
        with self._changed:
            writes: dict[bytes, Write] = {}
            room = _BATCH_BYTES
            for slot, write in islice(self.pending.items(), self._batch_rows):
                if writes and write.weight > room:
                    break
                writes[slot] = write
                room -= write.weight
            return Batch(writes, dict(self._notes), dict(touches))  # a copy: a get may still hold the old one

    def settle(self, batch: Batch) -> None:
        """`batch` is committed."""
        with self._changed:
            for slot, write in batch.writes.items():
                if self.pending.get(slot) is write:
                    del self.pending[slot]
                    self._bytes -= write.weight
            for name, note in batch.notes.items():
                if self._notes.get(name) is note:
                    del self._notes[name]

    def lose(self, batch: Batch, why: reason.Reason) -> None:
        """`batch` can't be written: count its entries and leave deletions in their places."""
        with self._changed:
            lost = 0
            for slot, write in batch.writes.items():
                if self.pending.get(slot) is not write:
                    continue
                self.pending.move_to_end(slot)  # what can be written comes first
                if write.value is not None:
                    self.pending[slot] = Write(write.ticket, 0)
                    self._bytes -= write.weight
                    lost += 1
            self._lost += lost
            self._failures += 1
            self._changed.notify_all()
        self.losses.add(why, lost)

    def covered(self) -> int:
        """Up to which ticket everything is settled."""
        with self._changed:
            waiting = [write.ticket for write in self.pending.values()] + [ticket for ticket, _ in self._notes.values()]
            return min(waiting, default=self._ticket + 1) - 1

    def is_awaited(self) -> bool:
        """Whether somebody waits for `flush`."""
        return self._waiting > 0

    def has_batch(self) -> bool:
        """Whether a full batch waits."""
        return len(self.pending) >= self._batch_rows

    def is_empty(self) -> bool:
        """Whether nothing waits to be written."""
        return not (self.pending or self._notes)

    def announce(self, durable: int) -> None:
        """Everything up to ticket `durable` is on the medium."""
        with self._changed:
            self._durable = max(self._durable, durable)
            self._changed.notify_all()

    def flush(self, timeout: float) -> bool:
        """Wait until what was put before is durable; False where it took too long, or some of it was lost."""
        deadline = time.monotonic() + timeout
        with self._changed:
            target, failures = self._ticket, self._failures
            self._waiting += 1
            try:
                while self._durable < target and self._failures == failures:
                    self.nudge(hurry=True)
                    if not self._changed.wait(deadline - time.monotonic()):
                        break
                whole = self._durable >= target and self._lost == self._told
                self._told = self._lost
                return whole
            finally:
                self._waiting -= 1

    def close(self) -> None:
        """Take nothing more."""
        with self._changed:
            self.closed = True
        self.nudge(hurry=True)

    def _refusal(self, slot: bytes, weight: int) -> reason.Reason | None:
        if (why := self.refusal) is not None:
            return why
        old = self.pending.get(slot)
        if old is None and len(self.pending) >= self._max_rows:
            return reason.QUEUE_FULL
        if self._bytes + weight - (0 if old is None else old.weight) > self._max_bytes:
            return reason.QUEUE_FULL
        return None

    def _enter(self, slot: bytes, weight: int, value: bytes | None, about: About | None) -> None:
        old = self.pending.get(slot)
        self._bytes += weight - (0 if old is None else old.weight)
        self._ticket += 1
        self.pending[slot] = Write(self._ticket, weight, value, about)
        self.pending.move_to_end(slot)  # in order of the latest put; never absent, so a reader needs no lock

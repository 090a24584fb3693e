"""The one thread of a process that writes to a shared store, and looks after the servers while they don't answer.

Nothing it meets reaches a caller of `put`: a fault is counted, said once a minute, and the queue is told to refuse
until writing works again. Reading goes on meanwhile, if it can. This room must never serve a read.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from payonce.errors import StoreError
from payonce.model import reason
from payonce.model.ports import Clock
from payonce.model.quota import Quotas
from payonce.stores import parcel
from payonce.stores.notes import NOTE_SECONDS
from payonce.stores.shared_leases import SharedLeases
from payonce.stores.shared_medium import Medium, Parcel, Puts
from payonce.stores.write_queue import Batch, Write, WriteQueue

TICK_SECONDS = 0.1
"""How often it looks whether something is to be done."""
GATHER_SECONDS = 0.005
"""For how long writes are collected into one batch."""
WRITE_SECONDS = 1.0
"""For how long a batch may take."""
RETRY_SECONDS = 0.25
MOST_RETRY_SECONDS = 2.0
SAY_EVERY = 60.0
_NOTHING = Batch({}, {}, {})
_log = logging.getLogger("payonce.stores")


class Keeper:
    """Drains a `WriteQueue` into a `Medium`."""

    def __init__(self, medium: Medium, queue: WriteQueue, leases: SharedLeases, clock: Clock, name: str) -> None:
        self._medium, self._queue, self._leases, self._clock, self._name = medium, queue, leases, clock, name
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self.quotas = Quotas()
        self._stamp = 0
        self._pause = 0.0
        self._try_at = 0.0
        self._said: dict[str, float] = {}

    def start(self) -> None:
        """Start the thread, once."""
        if self._thread is None:
            self._start()

    def _start(self) -> None:
        with self._starting:
            if self._thread is None and not self._queue.closed:
                self._thread = threading.Thread(target=self._run, name="payonce-shared-keeper", daemon=True)
                self._thread.start()

    def drain(self, timeout: float) -> None:
        """Write what waits and take nothing more; within `timeout` seconds or not at all."""
        if self._thread is not None and not self._queue.closed and not self._queue.is_empty():
            self._queue.flush(timeout)
        self._queue.close()

    def stop(self, timeout: float) -> None:
        """End."""
        self._queue.close()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout)

    def _run(self) -> None:
        while not self._queue.closed:
            try:
                self._await()
                self._medium.tend()
                self._round()
                self._leases.tend()
            except Exception:  # noqa: BLE001 - whatever it is, the thread must live and no caller may see it
                _log.exception("the keeper of %s stumbled; it goes on", self._name)
                self._hold(reason.WRITE_FAULT)

    def _await(self) -> None:
        queue = self._queue
        if queue.wake.wait(TICK_SECONDS) and not queue.hurry.is_set():
            queue.hurry.wait(GATHER_SECONDS)
        queue.wake.clear()
        queue.hurry.clear()

    def _round(self) -> None:
        queue = self._queue
        if time.monotonic() < self._try_at:
            return
        if queue.blocked is not None and not self._works_again():
            return
        batch = queue.take()
        if batch:
            self._write(batch)
        if queue.is_awaited():
            queue.announce(queue.covered())
        if not queue.is_empty() and queue.blocked is None:
            queue.nudge(hurry=queue.is_awaited() or queue.has_batch())

    def _works_again(self) -> bool:
        try:
            why = self._medium.can_write(_soon())
        except StoreError as error:
            why = reason.WRITE_FAULT
            self._say(why.id, error)
        if why is None:
            self._queue.blocked = None
            self._pause = 0.0
            return True
        self._hold(why)
        return False

    def _write(self, batch: Batch) -> None:
        queue = self._queue
        parcels, wide = self._packed(batch)
        puts = self._admit(batch, parcels)
        deadline = _soon()
        try:
            refused = self._medium.write(parcels, deadline) if parcels else {}
        except StoreError as error:
            self._say("write", error)
            self._hold(reason.WRITE_FAULT)
            queue.lose(batch, reason.WRITE_FAULT)
            return
        for why in {*refused.values()}:
            queue.lose(_part(batch, [slot for slot, other in refused.items() if other is why]), why)
        if wide:
            queue.lose(_part(batch, wide), reason.ENTRY_TOO_LARGE)
        self._trim(puts)
        queue.settle(_part(batch, [slot for slot in parcels if slot not in refused]))
        if refused:
            self._try_at = time.monotonic() + RETRY_SECONDS
            self._refused(refused, all_of_it=len(refused) == len(parcels))
        if batch.notes:
            self._note(batch, _soon())

    def _admit(self, batch: Batch, parcels: dict[bytes, Parcel]) -> Puts:
        """Take out of `parcels` what its tenants have no room for; what is put of the others, if anybody has a quota.
        Where it can't be counted, there is room."""
        puts: dict[str, dict[bytes, float]] = {}
        for slot, item in parcels.items() if self.quotas else ():
            about = batch.writes[slot].about
            if item.data is not None and about is not None:
                puts.setdefault(about.tenant, {})[slot] = about.expires_at
        with self._quietly("quotas"):
            refused = self._medium.admit(puts, self.quotas, self._clock(), _soon()) if puts else ()
            if refused:
                self._queue.lose(_part(batch, list(refused)), reason.OVER_QUOTA)
            for slot in refused:
                del parcels[slot]
        return puts

    def _trim(self, puts: Puts) -> None:
        with self._quietly("quotas"):
            evicted = self._medium.trim(puts, self.quotas, self._clock(), _soon()) if puts else 0
            self._queue.losses.add(reason.OVER_QUOTA, evicted)

    @contextmanager
    def _quietly(self, what: str) -> Iterator[None]:
        try:
            yield
        except StoreError as error:
            self._say(what, error)

    def _refused(self, refused: Mapping[bytes, reason.Reason], *, all_of_it: bool) -> None:
        why = next(iter(refused.values()))
        if why is not reason.ENTRY_TOO_LARGE:
            self._say(why.id, why.sentence)
            if all_of_it:
                self._works_again()  # it may have been one server of several

    def _note(self, batch: Batch, deadline: float) -> None:
        try:
            records = {name: value for name, (_, value) in batch.notes.items()}
            self._medium.note(int(self._clock()) // 86400, records, NOTE_SECONDS, deadline)
        except StoreError as error:
            self._say("note", error)
            self._try_at = time.monotonic() + RETRY_SECONDS
        else:
            self._queue.settle(Batch({}, batch.notes, {}))

    def _packed(self, batch: Batch) -> tuple[dict[bytes, Parcel], list[bytes]]:
        """What is to be sent, and the slots whose parcels are too large for that."""
        now = self._clock()
        parcels: dict[bytes, Parcel] = {}
        wide = []
        for slot, write in batch.writes.items():
            data, ttl = self._pack(write, now)
            if data is not None and len(data) > self._medium.largest:
                wide.append(slot)
            else:
                parcels[slot] = Parcel(data, ttl)
        return parcels, wide

    def _pack(self, write: Write, now: float) -> tuple[bytes | None, float]:
        about = write.about
        if write.value is None or about is None or about.expires_at <= now:
            return None, 0.0
        self._stamp = max(self._stamp + 1, time.time_ns())
        return parcel.pack(write.value, about, self._stamp), about.expires_at - now

    def _hold(self, why: reason.Reason) -> None:
        """Take nothing more for a while."""
        self._pause = min(max(RETRY_SECONDS, 2 * self._pause), MOST_RETRY_SECONDS)
        self._try_at = time.monotonic() + self._pause
        self._queue.blocked = why
        self._queue.lose(_NOTHING, why)  # whoever waits for a flush is told

    def _say(self, what: str, because: object) -> None:
        now = time.monotonic()
        if now - self._said.get(what, -SAY_EVERY) >= SAY_EVERY:
            self._said[what] = now
            _log.warning("payonce: %s could not be written (%s); answers go on", self._name, because)


def _soon() -> float:
    return time.monotonic() + WRITE_SECONDS


def _part(batch: Batch, slots: list[bytes]) -> Batch:
    return Batch({slot: batch.writes[slot] for slot in slots}, {}, {})

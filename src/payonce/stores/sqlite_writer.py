"""The one thread of a process that writes to a SQLite store, and what it does when writing fails.

Nothing it meets reaches a caller of `put`: a fault is counted, said once a burst, and the queue is told to refuse until
writing works again. A full disk is met by giving the ballast back, evicting, and living within what there is; an I/O
error by closing, opening and checking anew; a damaged file by setting it aside. This room must never serve a read.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress

import apsw

from payonce.errors import StoreUnavailableError
from payonce.model import reason
from payonce.model.ports import Clock
from payonce.model.quota import Quotas
from payonce.stores import sqlite_place as place
from payonce.stores import sqlite_room as room
from payonce.stores import sqlite_rows as rows
from payonce.stores.notes import PRUNE_SECONDS
from payonce.stores.sqlite_hand import Hand
from payonce.stores.sqlite_medium import Fault, Medium
from payonce.stores.sqlite_pace import Pace, Rhythm
from payonce.stores.write_queue import Batch, WriteQueue

_WAL_LIMIT = 64 << 20
_SWEEP_ROWS = 500
_WHY = {Fault.FULL: reason.STORE_FULL, Fault.READ_ONLY: reason.STORE_READ_ONLY}
_log = logging.getLogger("payonce.stores")

Job = Callable[[apsw.Connection], int]


class Writer:
    """Drains a `WriteQueue` into a `Medium`. `gate` is held while it does; a fork waits for it."""

    def __init__(self, medium: Medium, queue: WriteQueue, clock: Clock, pace: Pace) -> None:
        self.gate = threading.Lock()
        self.quotas = Quotas()
        self._medium, self._queue, self._clock, self._pace = medium, queue, clock, pace
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._hand = Hand(medium)
        self._rhythm = Rhythm(queue, pace)
        self._limit = pace.max_bytes
        self._jobs: deque[tuple[Job, Future[int]]] = deque()
        self._warned: set[Fault] = set()
        self._dirty = False
        self._swept_at = clock()
        self._pruned_at = 0.0

    def start(self) -> None:
        """Start the thread, once."""
        if self._thread is None:
            self._start()

    def _start(self) -> None:
        with self._starting:
            if self._thread is None and not self._queue.closed:
                self._thread = threading.Thread(target=self._run, name="payonce-sqlite-writer", daemon=True)
                self._thread.start()

    def drain(self, timeout: float) -> None:
        """Write what waits and take nothing more; within `timeout` seconds or not at all."""
        if self._thread is not None and not self._queue.closed:
            self._queue.flush(timeout)
        self._queue.close()

    def stop(self, timeout: float) -> None:
        """End."""
        self._queue.close()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout)

    def call(self, job: Job, timeout: float) -> int:
        """Run `job` on the writing connection, between two batches."""
        if self._queue.closed:
            raise StoreUnavailableError("the store is closed")
        future: Future[int] = Future()
        self._jobs.append((job, future))
        self.start()
        self._queue.nudge(hurry=True)
        try:
            return future.result(timeout)
        except TimeoutError:
            raise StoreUnavailableError(f"the store did not come to it within {timeout} s: try again") from None

    def suspect(self, generation: int, error: BaseException) -> None:
        """A reader found the file of `generation` damaged."""
        self._hand.suspect(generation, error)
        self.start()
        self._queue.nudge(hurry=True)

    def _run(self) -> None:
        while not self._queue.closed:
            self._rhythm.wait()
            with self.gate:
                self._round()
        while self._jobs:
            self._jobs.popleft()[1].set_exception(StoreUnavailableError("the store is closed"))
        self._hand.let_go()

    def _round(self) -> None:
        batch = self._queue.take()
        self._rhythm.came(len(batch.writes))
        gone: Counter[reason.Reason] = Counter()
        try:
            db = self._hand.connected()
            if self._queue.blocked is not None:
                rows.probe(db)  # a batch proves nothing: to delete what is not there writes nothing
            if batch:
                gone = rows.apply(db, batch, self._clock(), self._limit, self.quotas)
        except Exception as error:  # noqa: BLE001 - whatever it is, the thread must live and no caller may see it
            self._trouble(error, batch)
            return
        self._written(batch, gone)
        try:
            self._chores(db)
            self._after(db)
        except Exception as error:  # noqa: BLE001 - the same
            self._trouble(error, Batch({}, {}, {}))

    def _written(self, batch: Batch, gone: Counter[reason.Reason]) -> None:
        queue = self._queue
        queue.settle(batch)
        queue.losses.add_all(gone)
        queue.blocked = None
        self._dirty |= bool(batch)
        self._rhythm.resume()
        if any(write.value is not None for write in batch.writes.values()):
            self._hand.proven()
            self._warned.clear()  # the same operation works again: the next fault is a new burst

    def _after(self, db: apsw.Connection) -> None:
        queue = self._queue
        awaited = queue.is_awaited()
        if awaited:
            covered = queue.covered()
            if self._dirty:
                place.sync(self._medium.path)
                self._dirty = False
            queue.announce(covered)
        while self._jobs:
            job, future = self._jobs.popleft()
            try:
                future.set_result(job(db))
            except BaseException as error:
                future.set_exception(StoreUnavailableError(f"the store could not do it: {error}"))
                raise
        if not queue.is_empty():
            queue.nudge(hurry=awaited or queue.has_batch())

    def _chores(self, db: apsw.Connection) -> None:
        now = self._clock()
        if abs(now - self._swept_at) >= self._pace.sweep_every:
            self._tidy(db, now)
        wal = self._medium.path.with_name(self._medium.path.name + "-wal")
        with suppress(FileNotFoundError):
            if wal.stat().st_size > _WAL_LIMIT:
                _checkpoint(db, apsw.SQLITE_CHECKPOINT_TRUNCATE)

    def _tidy(self, db: apsw.Connection, now: float) -> None:
        if self._medium.ballast is not None and self._medium.ballast.restore(spare=4):
            self._limit = self._pace.max_bytes
        with rows.transaction(db):
            swept = room.sweep(db, now, _SWEEP_ROWS)
            self._queue.losses.add_all(room.make_room(db, self._limit, now, self.quotas))
            if abs(now - self._pruned_at) >= PRUNE_SECONDS:
                self._pruned_at = now
                rows.prune_notes(db, now)
        rows.shrink(db)
        if swept == _SWEEP_ROWS:
            self._queue.nudge()  # more to sweep: next round, behind what waits
        else:
            self._swept_at = now

    def _trouble(self, error: Exception, batch: Batch) -> None:
        fault = self._hand.fault(error)
        if fault is Fault.BUSY:
            self._rhythm.pause()
            return
        if self._hand.is_astray():
            self._hand.let_go()  # the file went away under us: the next round makes a fresh one
            self._queue.nudge()
            return
        self._warn(fault, error)
        if fault is Fault.FULL and self._make_do(batch):
            return
        if fault is Fault.DAMAGED and self._hand.repaired(error):
            self._queue.nudge(hurry=True)
            return
        why = _WHY.get(fault, reason.WRITE_FAULT)
        self._hand.recheck = fault is not Fault.FULL
        self._rhythm.pause()
        self._queue.blocked = why
        self._queue.lose(batch, why)
        while self._jobs:
            self._jobs.popleft()[1].set_exception(StoreUnavailableError(f"the store can't be written: {error}"))

    def _make_do(self, batch: Batch) -> bool:
        # The disk is full: the ballast makes room for the evicting itself, then we live within what the file has.
        db, ballast, now = self._hand.db, self._medium.ballast, self._clock()
        if db is None or ballast is None:
            return False
        ballast.release()
        try:
            _checkpoint(db, apsw.SQLITE_CHECKPOINT_RESTART)
            limit = min(self._limit, room.used_bytes(db) * 9 // 10)
            with rows.transaction(db):
                gone = room.make_room(db, limit, now, self.quotas)
            self._queue.losses.add_all(gone)
            _checkpoint(db, apsw.SQLITE_CHECKPOINT_RESTART)
            gone = rows.apply(db, batch, now, limit, self.quotas)
        except apsw.Error:
            return False
        self._limit = limit
        self._swept_at = now
        self._written(batch, gone)
        self._queue.nudge(hurry=True)
        return True

    def _warn(self, fault: Fault, error: Exception) -> None:
        if fault not in self._warned:
            self._warned.add(fault)
            _log.warning(
                "payonce: %s could not be written (%s, %s); answers go on", self._medium.path, fault.name.lower(), error
            )


def _checkpoint(db: apsw.Connection, mode: int) -> None:
    with suppress(apsw.BusyError, apsw.LockedError):
        db.wal_checkpoint(mode=mode)

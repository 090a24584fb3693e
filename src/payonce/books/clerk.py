"""The clerk: a thread that posts the journal into the file once a second, and prunes it.

Several processes post into one file. Whatever fails is tried again for a while and then counted as dropped: figures are
lost, nothing else. A crash loses what was not yet posted. This room must never be called on the request path.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import apsw

from payonce.books import schema
from payonce.books.batch import Batch
from payonce.books.entering import enter
from payonce.books.file import BooksFile, transaction
from payonce.books.journal import Journal
from payonce.books.posting import Posting
from payonce.errors import StoreError
from payonce.ledger.worth import Worth
from payonce.model.ports import Clock

TICK: Final = 1.0
"""Seconds between two postings."""
SLICE: Final = 100
"""So many happenings are posted before others have their turn."""
HELD: Final = 40
"""So many batches are held on to while they can't be written."""
PRUNE_SECONDS: Final = 20.0
TELL_SECONDS: Final = 10.0
_log = logging.getLogger("payonce.books")


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is kept: so many receipts and upstream calls each, sums of minutes and of hours for so many seconds, and
    no more than `max_bytes` in all (the oldest receipts go first)."""

    receipts: int = 1_000_000
    minutes: int = 48 * 3600
    hours: int = 400 * 86400
    max_bytes: int = 512 << 20


class Clerk:
    """See the room's first paragraph. `also` publishes what others are to see: it is called with the open file within
    ten seconds of a posting, and at the end, told that this is the last time. False says that it is still to do."""

    def __init__(
        self,
        journal: Journal,
        file: BooksFile,
        secret: bytes,
        clock: Clock,
        limits: Limits | None = None,
        also: Callable[[apsw.Connection, bool], bool] | None = None,
        worth: Worth | None = None,
    ) -> None:
        self.journal = journal
        self.file = file
        self.limits = limits or Limits()
        self.fault = ""
        """Why nothing can be written at the moment; empty where it can."""
        self.dropped: Counter[str] = Counter()
        self._posting = Posting(secret, worth)
        self._clock = clock
        self._also = also
        self._db: apsw.Connection | None = None
        self._held: deque[Batch] = deque()
        self._scenes: dict[schema.Scene, int] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._pruned = self._told = 0.0
        self._untold = False
        self._thread = threading.Thread(target=self._run, name="payonce-ledger", daemon=True)

    def start(self) -> None:
        """Begin to post."""
        self._thread.start()

    def stop(self, timeout: float = 5.0) -> None:
        """Post what waits, and end; waits at most `timeout` seconds."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout)

    def flush(self) -> None:
        """Post what waits, now. May wait for a disk; never raises."""
        with self._lock:
            self._work(last=False)

    def losses(self) -> Counter[str]:
        """What is missing in the books, by why: `journal-full`, `parts` (a request too large to be told apart),
        `unwritten`, `unfiled` (a receipt or a call that is in the sums only)."""
        return Counter(self.journal.dropped) + self.dropped + Counter(unfiled=self._posting.unfiled)

    def _run(self) -> None:
        while not self._stop.wait(TICK):
            with self._lock:
                self._work(last=False)
        with self._lock:
            self._work(last=True)
            self._close()

    def _work(self, *, last: bool) -> None:
        try:
            self._post(last=last)
            if self._held:
                self._write()
            if self._untold and self._also is not None:
                self._tell(self._also, last=last)
        except (apsw.Error, StoreError, OSError) as error:
            self._failed(error)
        except Exception:  # noqa: BLE001 - figures are not worth a thread
            _log.exception("the ledger stumbled; it goes on")
            self._drop_all()

    def _post(self, *, last: bool) -> None:
        batch = Batch()
        while events := self.journal.take(SLICE):
            self._posting.post(events, batch)
            time.sleep(0)
        self._posting.settle(batch, self._clock(), last=last)
        if batch:
            self._held.append(batch)
        while len(self._held) > HELD:
            self._drop(self._held.popleft())

    def _write(self) -> None:
        db = self._connected()
        while self._held:
            batch = self._held[0]
            try:
                with transaction(db):
                    placed = enter(db, batch, self._scenes, self.journal.id_of)
            except BaseException:
                self._scenes.clear()  # some of them were only in what was rolled back
                raise
            for call, row in placed:
                call.row = row
            self._held.popleft()
        self.fault = ""
        self._untold = True
        now = time.monotonic()
        if now - self._pruned >= PRUNE_SECONDS:
            self._pruned = now
            self._prune(db)

    def _tell(self, also: Callable[[apsw.Connection, bool], bool], *, last: bool) -> None:
        now = time.monotonic()
        if last or now - self._told >= TELL_SECONDS:
            self._told = now
            self._untold = not also(self._connected(), last)

    def _connected(self) -> apsw.Connection:
        if self._db is not None and self.file.moved():
            self._close()
        if self._db is None:
            self._db = self.file.writer()
        return self._db

    def _prune(self, db: apsw.Connection) -> None:
        limits = self.limits
        with transaction(db):
            schema.prune(
                db,
                int(self._clock()),
                receipts=limits.receipts,
                minutes=limits.minutes,
                hours=limits.hours,
                max_bytes=limits.max_bytes,
            )
        db.execute("PRAGMA incremental_vacuum(2000)").fetchall()

    def _failed(self, error: BaseException) -> None:
        if not self.fault:
            _log.warning("the ledger can't be written (%s); figures are held for a while, then dropped", error)
        self.fault = str(error)
        self._close()

    def _close(self) -> None:
        db, self._db = self._db, None
        self._scenes.clear()
        if db is not None:
            try:
                db.close()
            except apsw.Error:
                return

    def _drop(self, batch: Batch) -> None:
        self.dropped["unwritten"] += len(batch.receipts) + len(batch.calls) or 1

    def _drop_all(self) -> None:
        while self._held:
            self._drop(self._held.popleft())

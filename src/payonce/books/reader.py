"""The reader: what the books say, for commands, pages and metrics. Sums of hundreds of thousands of requests are read
from minutes, hours and days, single receipts by an index; docs/design/ledger.md describes how to ask.

May wait for a disk, so an event loop asks in a thread. This room must never write.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import apsw

from payonce.books import rows, schema, sums
from payonce.books.elsewhere import Elsewhere
from payonce.books.file import BooksFile
from payonce.books.rows import Which
from payonce.books.words import Conversation, Figures, Filed, Histogram, Point, Spent, Total
from payonce.errors import StoreError, StoreUnavailableError
from payonce.ledger.tally import HOUR
from payonce.model.ports import Clock

_ID = re.compile(r"[0-9a-f]{16}", re.ASCII)
_REQUEST = re.compile(r"[0-7][0-9a-f]{15}", re.ASCII)
"""Requests are numbered below 2**63, as the books' file counts; conversations have any 8 bytes."""
MINUTES_KEPT = 48 * HOUR
_EVER = schema.LENGTHS["day"] << 20
"""One step for all of time."""


class Reader:
    """Answers from the books in `file`, and for sums from those that other machines published: `notes` gives what the
    shared store has of them. Where there are no books yet, everything is empty. Raises `StoreError` where there are and
    can't be read. Safe for threads."""

    def __init__(self, file: BooksFile, clock: Clock, notes: Callable[[], Mapping[str, bytes]] | None = None) -> None:
        self._file = file
        self._clock = clock
        self._lock = threading.RLock()
        self._db: apsw.Connection | None = None
        self._elsewhere = Elsewhere(notes)

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._drop()

    @property
    def kept(self) -> bool:
        """Whether there are books, on this machine or on another that has published its own. Raises `StoreError` also
        where another program's database stands in their place."""
        with self._open() as db:
            if db is None:
                self._file.refuse_foreign()
            return db is not None or self._elsewhere.kept

    @contextmanager
    def still(self) -> Iterator[None]:
        """All that is asked within is told of one moment. Others who ask wait meanwhile."""
        with self._open() as db, self._elsewhere.still():
            if db is not None:
                db.execute("BEGIN").fetchall()
            try:
                yield
            finally:
                if db is not None and db is self._db:  # and was not let go of, for a fault
                    db.execute("COMMIT").fetchall()

    # Sums, of all machines. Times are Unix seconds; what is read is widened to whole minutes, or to whole hours where
    # it is older than two days or, on another machine, than the hour before this one.

    def total(self, since: float, until: float | None = None) -> Figures:
        """All figures of that time as one."""
        found = self.totals(since, until)
        return found[0].figures if found else Figures()

    def totals(self, since: float, until: float | None = None, by: Sequence[str] = ()) -> list[Total]:
        """Figures of that time, one for each different value of `by` (of `words.BY`), the most requests first, then the
        most money."""
        end = self._until(until)
        held: dict[tuple[str, ...], Figures] = {}
        with self._open() as db:
            found = list(sums.totals(db, self._spans(since, end), by)) if db is not None else []
            found += self._elsewhere.totals(db, since, end, by)
        for one in found:
            held[one.by] = held[one.by].plus(one.figures) if one.by in held else one.figures
        told = [Total(by_, figures) for by_, figures in held.items()]
        return sorted(told, key=lambda one: (-one.figures.requests, -one.figures.paid_nano, one.by))

    def series(self, since: float, until: float | None = None, step: int = 60) -> list[Point]:
        """Figures by steps of `step` seconds (whole minutes); every step has a point, and the first holds what was in
        it from `since` on, so that all of them together are the total of this time. Hours stand in the step in which
        they begin, where there is nothing shorter (`finest`)."""
        end, step = self._until(until), max(60, step // 60 * 60)
        origin = int(since) // step * step
        held: dict[int, Figures] = {at: Figures() for at in range(origin, int(end) + 1, step)}
        with self._open() as db:
            found = list(sums.series(db, self._spans(since, end, step), step, origin)) if db is not None else []
            found += self._elsewhere.series(db, since, end, step)
        for point in found:
            held[point.at] = held[point.at].plus(point.figures) if point.at in held else point.figures
        return [Point(at, figures) for at, figures in sorted(held.items())]

    def latency(self, since: float, until: float | None = None) -> dict[str, Histogram]:
        """How long answers took, by outcome."""
        end = self._until(until)
        found = self.latency_series(since, end, _EVER)
        return found[0][1] if found else {}

    def latency_series(
        self, since: float, until: float | None = None, step: int = 60
    ) -> list[tuple[int, dict[str, Histogram]]]:
        """The same by steps, as in `series`; steps without a request are left out."""
        end = self._until(until)
        origin = int(since) // step * step
        held: dict[int, dict[str, Histogram]] = {}
        with self._open() as db:
            found = list(sums.latency(db, self._spans(since, end, step), step, origin)) if db is not None else []
            found += self._elsewhere.latency(db, since, end, step)
        for at, outcome, histogram in found:
            at_step = held.setdefault(at, {})
            at_step[outcome] = at_step.get(outcome, Histogram()).plus(histogram)
        return sorted(held.items())

    def finest(self, since: float) -> int:
        """The seconds of the shortest steps that a series since then has on all machines: 60 or 3600."""
        return self._elsewhere.finest(since, self._clock())

    # Single receipts, of this machine's books.

    def recent(self, which: Which | None = None, limit: int = 50) -> list[Filed]:
        """The newest receipts that fit, newest first. A live tail asks with `after`, the number of the newest it has;
        the next page with `before`, that of the oldest."""
        with self._open() as db:
            return rows.recent(db, which or Which(), limit) if db is not None else []

    def receipt(self, id: str) -> Filed | None:  # noqa: A002 - what the header calls it
        """The receipt of the request with this id; None where there is none (any more)."""
        if not _REQUEST.fullmatch(id):
            return None
        with self._open() as db:
            return rows.of_id(db, int(id, 16)) if db is not None else None

    def of_key(self, digest: bytes, limit: int = 50) -> list[Filed]:
        """The newest receipts of a key (`payonce.model.key.parse_key` reads its text), or of all keys that begin with
        at least 6 bytes, newest first."""
        with self._open() as db:
            return rows.of_key(db, digest, limit) if db is not None and len(digest) >= 6 else []

    def calls(self, conversation: str = "", before: int | None = None, limit: int = 50) -> list[Spent]:
        """The newest upstream calls, newest first; with `conversation` (its id) only those of that one, which are its
        turns."""
        with self._open() as db:
            return rows.calls(db, bytes.fromhex(conversation) or None, before, limit) if db is not None else []

    def slowest(self, since: float, limit: int = 10) -> list[Spent]:
        """The upstream calls that took longest, among the latest 100,000."""
        with self._open() as db:
            return rows.slowest(db, since, limit) if db is not None else []

    def conversations(self, since: float = 0.0, before: float | None = None, limit: int = 50) -> list[Conversation]:
        """Conversations that went on after `since`, the latest first; the next page with `before`, when the oldest on
        this one `ended`."""
        with self._open() as db:
            return rows.conversations(db, since, before, limit) if db is not None else []

    def conversation(self, id: str) -> Conversation | None:  # noqa: A002
        """One conversation."""
        if not _ID.fullmatch(id):
            return None
        with self._open() as db:
            return rows.conversation(db, bytes.fromhex(id)) if db is not None else None

    def _until(self, until: float | None) -> float:
        """With None, what happens this very moment is in it."""
        return self._clock() + 1 if until is None else until

    def _spans(self, since: float, until: float, step: int = _EVER) -> list[sums.Span]:
        return sums.spans(since, until, minutes_from=int(self._clock()) - MINUTES_KEPT, step=step)

    @contextmanager
    def _open(self) -> Iterator[apsw.Connection | None]:
        """The file, for one question; None where there is none."""
        with self._lock:
            if self._db is not None and self._file.replaced():
                self._drop()
            try:
                if self._db is None and self._file.exists:
                    self._db = self._file.reader()
                yield self._db
            except apsw.Error as error:
                self._drop()
                raise StoreUnavailableError(f"the ledger can't be read: {error}") from error
            except StoreError:
                self._drop()
                raise

    def _drop(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            db.close()

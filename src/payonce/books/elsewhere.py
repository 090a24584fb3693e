"""Sums of other machines that share the store: what their books have published there, hour by hour.

Hours that lie wholly in what is asked for are read as they are, others by their minutes where their note has these.
Both are sums of the same, so a total and the series of the same time agree. This room must never know which store it
is, nor write to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import apsw

from payonce.books.note import MINUTE, PREFIX, By, Note, Sums, decode, figures, titled
from payonce.books.publishing import minutes_from, name_of
from payonce.books.words import BY, Histogram, Point, Total
from payonce.ledger.tally import HOUR


class Elsewhere:
    """What others published: `notes` gives all notes of the store; None where it is not shared."""

    def __init__(self, notes: Callable[[], Mapping[str, bytes]] | None) -> None:
        self._notes = notes
        self._known: dict[str, tuple[bytes, Note]] = {}

    @property
    def kept(self) -> bool:
        """Whether anything was published."""
        return self._notes is not None and any(name.startswith(PREFIX) for name in self._notes())

    @contextmanager
    def still(self) -> Iterator[None]:
        """All that is asked within is read from the same notes."""
        if (notes := self._notes) is None:
            yield
            return
        said = notes()
        self._notes = lambda: said
        try:
            yield
        finally:
            self._notes = notes

    def totals(self, db: apsw.Connection | None, since: float, until: float, by: Sequence[str]) -> Iterator[Total]:
        """Their figures of this time, in whole minutes; in whole hours where they have told of no minutes."""
        places = [BY.index(name) for name in by]
        for _, of, sums in self._sums(db, since, until, HOUR):
            yield Total(tuple(of[place] for place in places), figures(of, sums))

    def series(self, db: apsw.Connection | None, since: float, until: float, step: int) -> Iterator[Point]:
        """The same by steps; an hour of which no minutes are told stands in the step in which it begins."""
        for at, of, sums in self._sums(db, since, until, step):
            yield Point(_step(at, since, step), figures(of, sums))

    def latency(
        self, db: apsw.Connection | None, since: float, until: float, step: int
    ) -> Iterator[tuple[int, str, Histogram]]:
        """How long their answers took, by the same steps."""
        for hour, note in self._hours(db, since, until):
            for at, outcome, histogram in note.latency:
                if note.minutes is None or _within(hour + at, since, until):
                    yield _step(hour + at, since, step), outcome, histogram

    def finest(self, since: float, now: float) -> int:
        """The seconds of the shortest steps in which all of them tell of the time since then."""
        return MINUTE if self._notes is None or since >= minutes_from(now) else HOUR

    def _sums(
        self, db: apsw.Connection | None, since: float, until: float, step: int
    ) -> Iterator[tuple[int, By, Sums]]:
        for hour, note in self._hours(db, since, until):
            if note.minutes is None or (since <= hour and hour + HOUR <= until and step % HOUR == 0):
                yield from ((hour, by, sums) for by, sums in note.rows)
            else:
                told = ((hour + at, by, sums) for at, by, sums in note.minutes)
                yield from (each for each in told if _within(each[0], since, until))

    def _hours(self, db: apsw.Connection | None, since: float, until: float) -> Iterator[tuple[int, Note]]:
        """The hours of others that touch this time."""
        if self._notes is None:
            return
        ours = name_of(db) if db is not None else ""
        notes = {name: value for name, value in self._notes().items() if name.startswith(PREFIX)}
        self._known = {name: known for name, known in self._known.items() if name in notes}
        for name, value in notes.items():
            told = titled(name)
            if told is None or told[1] == ours or told[0] + HOUR <= since or told[0] >= until:
                continue
            known = self._known.get(name)
            if known is None or known[0] != value:
                known = self._known[name] = value, decode(value)
            yield told[0], known[1]


def _within(at: int, since: float, until: float) -> bool:
    """Whether a minute touches this time."""
    return int(since) // MINUTE * MINUTE <= at < until


def _step(at: int, since: float, step: int) -> int:
    """The beginning of the step in which this is, no earlier than the first one."""
    return max(at, int(since)) // step * step

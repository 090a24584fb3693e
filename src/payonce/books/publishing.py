"""Publishing: each set of books on a shared store notes its hours, for who reads on other machines.

A note is bounded: what there are more rows of is told apart no further than by endpoint, outcome and reason. Recent
hours are noted by minutes too, and once more without them when they are no longer recent. Receipts stay where they were
written. This room must never know which store it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

import apsw

from payonce.books import sums
from payonce.books.note import By, Note, Sums, encode, title
from payonce.books.words import BY, OTHER, SUMMED
from payonce.ledger.tally import HOUR

ROWS: Final = 200
"""So many rows of an hour are published as they are."""
MINUTE_ROWS: Final = 20
"""And so many of them minute by minute."""
RECENT: Final = 1
"""An hour is told by minutes until so many more have begun and ended: whoever looks back for an hour needs no more."""
SELDOM: Final = 9
"""Seconds between two notes of one set of books, whichever process writes them."""
LATE: Final = 600
"""For so many seconds after its end an hour is noted again: something may have been added to it, or two processes may
have noted it in the wrong order."""
_APART: Final = ("endpoint", "outcome", "reason")
"""By these the rest is told apart."""
_PLACE: Final = "scene, outcome, reason"
_REST: Final = tuple(name if name in _APART else f"'{OTHER}'" for name in BY)
_SUMS: Final = ", ".join(f"sum({name})" for name in SUMMED)
_GROUP: Final = ", ".join(str(place + 1) for place in range(len(BY) + 1))


def publish(
    db: apsw.Connection,
    note: Callable[[str, bytes], None],
    now: float,
    *,
    seldom: float = SELDOM,
    flush: Callable[[], bool] = lambda: True,
) -> bool:
    """Note the hours that have changed since this was last done, and have them written by `flush`. False if that was
    done less than `seldom` seconds ago, in whichever process, or if `flush` says that not all was written. Raises what
    `note` raises. What was not written is still to be noted then."""
    db.execute("INSERT INTO fact VALUES ('published', 0) ON CONFLICT DO NOTHING").fetchall()
    before = float(str(db.execute("SELECT value FROM fact WHERE name = 'published'").get))
    if before <= now < before + seldom or not _set_published(db, before, now):
        return False
    try:
        for hour in _changed(before, now):
            found = _note(db, hour, by_minutes=hour >= minutes_from(now))
            if found.rows:
                note(title(hour, name_of(db)), encode(found))
        written = flush()
    except BaseException:
        _set_published(db, now, before)
        raise
    if not written:
        _set_published(db, now, before)
    return written


def minutes_from(now: float) -> int:
    """Since when others are told of minutes; of what was before they know the hours."""
    return (int(now) // HOUR - RECENT) * HOUR


def name_of(db: apsw.Connection) -> str:
    """What these books are called among others."""
    return str(db.execute("SELECT value FROM fact WHERE name = 'name'").get)


def _set_published(db: apsw.Connection, before: float, now: float) -> bool:
    """Whether this process is the one that has set it."""
    changes = db.total_changes()
    db.execute("UPDATE fact SET value = ? WHERE name = 'published' AND value = ?", (now, before)).fetchall()
    return db.total_changes() > changes


def _changed(before: float, now: float) -> range:
    """The hours to which something may have been added since `before`, or whose minutes are no longer told; no more
    than those of two days."""
    last = int(now) // HOUR * HOUR
    first = int(before - LATE) // HOUR * HOUR
    if minutes_from(before) < minutes_from(now):
        first = min(first, minutes_from(before))
    return range(max(min(first, last), last - 48 * HOUR), last + 1, HOUR)


def _note(db: apsw.Connection, hour: int, *, by_minutes: bool) -> Note:
    """What is to be published of an hour, all of it of one moment."""
    table = "minute" if by_minutes else "hour"
    with db:
        rows = tuple((by, sums) for _, by, sums in _sums(db, "hour", hour, ROWS))
        minutes = tuple(_sums(db, table, hour, MINUTE_ROWS)) if by_minutes else None
        took = tuple(sums.latency(db, [(table, hour, hour + HOUR)], sums.MINUTE, hour))
    return Note(rows, minutes, tuple((at - hour, outcome, histogram) for at, outcome, histogram in took))


def _sums(db: apsw.Connection, table: str, hour: int, most: int) -> Iterator[tuple[int, By, Sums]]:
    """The sums of an hour by the steps of a table: those of the `most` rows with the most requests and money, and the
    rest added up."""
    busiest = f"SELECT {_PLACE} FROM hour WHERE at = ? ORDER BY requests DESC, paid_nano DESC, {_PLACE} LIMIT ?"
    first = db.execute(busiest, (hour, most)).fetchall()
    named = ", ".join("(?, ?, ?)" for _ in first)
    args = (hour, hour + HOUR, *(value for row in first for value in row))
    for condition, by in (("IN", BY), ("NOT IN", _REST)) if first else ():
        query = (
            f"SELECT at, {', '.join(by)}, {_SUMS} FROM {table} JOIN scene USING (scene)"
            f" WHERE at >= ? AND at < ? AND ({_PLACE}) {condition} (VALUES {named}) GROUP BY {_GROUP}"
        )
        for at, *row in db.execute(query, args):
            yield int(str(at)) - hour, tuple(map(str, row[: len(BY)])), _told(row[len(BY) :])


def _told(values: Sequence[apsw.SQLiteValue]) -> Sums:
    return {name: int(str(value)) for name, value in zip(SUMMED, values, strict=True) if value}

"""Sums of other machines that share the store: each set of books publishes its hours as notes, and reads the others'.

A note holds one hour of one set of books, bounded in rows; what there is more of is told apart no further than by
endpoint and outcome. Receipts stay where they were written. This room must never know which store it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import apsw
import orjson

from payonce.books.words import BY, OTHER, OUTCOMES, SUMMED, Figures, Point, Total
from payonce.ledger.tally import HOUR

PREFIX: Final = "books/"
ROWS: Final = 200
"""So many rows of an hour are published as they are."""
SELDOM: Final = 9
"""Seconds between two notes of one set of books, whichever process writes them."""
LATE: Final = 600
"""For so many seconds after its end an hour is noted again: something may have been added to it, or two processes may
have noted it in the wrong order."""

_Row = tuple[tuple[str, ...], Mapping[str, int]]
"""What the figures are of, in the order of `words.BY`, and the figures that are not 0."""


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
    db.execute("INSERT INTO fact VALUES ('published', ?) ON CONFLICT DO NOTHING", (now - SELDOM - 1,)).fetchall()
    before = float(str(db.execute("SELECT value FROM fact WHERE name = 'published'").get))
    if before <= now < before + seldom or not _set_published(db, before, now):
        return False
    try:
        for at in _changed(before, now):
            found = list(_rows(db, at))
            if found:
                note(f"{PREFIX}{at}/{name_of(db)}", orjson.dumps([[*by, figures] for by, figures in _bounded(found)]))
        written = flush()
    except BaseException:
        _set_published(db, now, before)
        raise
    if not written:
        _set_published(db, now, before)
    return written


def _set_published(db: apsw.Connection, before: float, now: float) -> bool:
    """Whether this process is the one that has set it."""
    changes = db.total_changes()
    db.execute("UPDATE fact SET value = ? WHERE name = 'published' AND value = ?", (now, before)).fetchall()
    return db.total_changes() > changes


def _changed(before: float, now: float) -> range:
    """The hours to which something may have been added since `before`; no more than those of two days."""
    last = int(now) // HOUR * HOUR
    first = int(before - LATE) // HOUR * HOUR
    return range(max(min(first, last), last - 48 * HOUR), last + 1, HOUR)


def name_of(db: apsw.Connection) -> str:
    """What these books are called among others."""
    return str(db.execute("SELECT value FROM fact WHERE name = 'name'").get)


def _rows(db: apsw.Connection, at: int) -> Iterator[_Row]:
    query = f"SELECT {', '.join(BY)}, {', '.join(SUMMED)} FROM hour JOIN scene USING (scene) WHERE at = ?"
    for row in db.execute(query, (at,)):
        figures = dict(zip(SUMMED, row[len(BY) :], strict=True))
        yield tuple(map(str, row[: len(BY)])), {name: int(str(value)) for name, value in figures.items() if value}


def _bounded(found: list[_Row]) -> Iterable[_Row]:
    """The rows with the most requests and money; the rest added up."""
    found.sort(key=lambda row: (-row[1].get("requests", 0), -row[1].get("paid_nano", 0)))
    rest: dict[tuple[str, ...], Counter[str]] = {}
    for by, figures in found[ROWS:]:
        known = dict(zip(BY, by, strict=True))
        place = tuple(known[name] if name in {"endpoint", "outcome", "reason"} else OTHER for name in BY)
        rest.setdefault(place, Counter()).update(figures)
    return [*found[:ROWS], *rest.items()]


class Elsewhere:
    """What others published: `notes` gives all notes of the store; None where it is not shared."""

    def __init__(self, notes: Callable[[], Mapping[str, bytes]] | None) -> None:
        self._notes = notes
        self._known: dict[str, tuple[bytes, list[_Row]]] = {}

    def totals(self, db: apsw.Connection | None, since: float, until: float, by: Sequence[str]) -> Iterator[Total]:
        """Their figures of the hours that touch this time."""
        places = [BY.index(name) for name in by]
        for _, row in self._hours(db, since, until):
            yield Total(tuple(row[0][place] for place in places), _figures(row))

    def series(self, db: apsw.Connection | None, origin: int, until: float, step: int) -> Iterator[Point]:
        """The same by steps; nothing where these are shorter than an hour."""
        for hour, row in self._hours(db, origin, until) if step >= HOUR else ():
            yield Point((max(hour, origin) - origin) // step * step + origin, _figures(row))

    def _hours(self, db: apsw.Connection | None, since: float, until: float) -> Iterator[tuple[int, _Row]]:
        if self._notes is None:
            return
        ours = name_of(db) if db is not None else ""
        notes = {name: value for name, value in self._notes().items() if name.startswith(PREFIX)}
        self._known = {name: known for name, known in self._known.items() if name in notes}
        for name, value in notes.items():
            hour, _, books = name.removeprefix(PREFIX).partition("/")
            if not hour.isdigit() or books == ours or int(hour) + HOUR <= since or int(hour) >= until:
                continue
            known = self._known.get(name)
            if known is None or known[0] != value:
                known = self._known[name] = value, _decoded(value)
            yield from ((int(hour), row) for row in known[1])


def _decoded(value: bytes) -> list[_Row]:
    """The rows of a note; none where it can't be read."""
    try:
        said: Any = orjson.loads(value)
        return [
            (tuple(str(word) for word in row[: len(BY)]), {str(k): int(v) for k, v in row[len(BY)].items()})
            for row in said
            if len(row) == len(BY) + 1
        ]
    except (ValueError, TypeError, AttributeError, IndexError, KeyError):
        return []


def _figures(row: _Row) -> Figures:
    by, sums = row
    known = {name: value for name, value in sums.items() if name in SUMMED}
    outcome = by[BY.index("outcome")]
    counted = {name: sums.get("requests", 0) for name, word in OUTCOMES.items() if word == outcome}
    return Figures(**known, **counted)

"""Questions about sums: totals, series and histograms, from the minutes, hours and days alone, however many receipts
there are. Whole days are taken from the days' table, what is left at either end from the hours', then the minutes'.

This room must never write.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import apsw

from payonce.books.schema import LENGTHS
from payonce.books.words import BY, OUTCOMES, SUMMED, Figures, Histogram, Point, Total
from payonce.ledger.hits import BUCKETS
from payonce.ledger.tally import HOUR

MINUTE: Final = LENGTHS["minute"]
Span = tuple[str, int, int]
"""A table, and from when until when it is read."""

_COLUMNS: Final = ", ".join(
    (
        *(f"sum(requests) FILTER (WHERE outcome = '{outcome}')" for outcome in OUTCOMES.values()),
        *(f"sum({name})" for name in SUMMED),
    )
)
_NAMES: Final = (*OUTCOMES, *SUMMED)
_LONGEST_FIRST: Final = ("day", "hour", "minute")


def spans(since: float, until: float, *, minutes_from: int, step: int) -> list[Span]:
    """What to read for the time from `since` until `until`, in whole minutes; in whole hours where that lies before
    `minutes_from`, since when there are minutes. No row that is read reaches over the end of a step of `step` seconds,
    but hours where there is nothing shorter."""
    start, end = int(since) // MINUTE * MINUTE, -(-int(until) // MINUTE) * MINUTE
    if start < minutes_from:
        start = start // HOUR * HOUR
    if end // HOUR * HOUR < minutes_from:
        end = -(-end // HOUR) * HOUR
    if step % HOUR:
        edge = min(-(-minutes_from // HOUR) * HOUR, end) if start < minutes_from else start
        found = [("hour", start, edge), ("minute", edge, end)]
    else:
        found = _covered(start, end, [table for table in _LONGEST_FIRST if step % LENGTHS[table] == 0])
    return [span for span in found if span[1] < span[2]] or [("minute", start, end)]


def _covered(start: int, end: int, tables: Sequence[str]) -> list[Span]:
    """This time by the first of the tables as far as it has whole rows for it, the rest by those that follow."""
    table, *shorter = tables
    first, last = -(-start // LENGTHS[table]) * LENGTHS[table], end // LENGTHS[table] * LENGTHS[table]
    if not shorter:
        return [(table, start, end)]
    if last <= first:
        return _covered(start, end, shorter)
    return [*_covered(start, first, shorter), (table, first, last), *_covered(last, end, shorter)]


def totals(db: apsw.Connection, parts: Sequence[Span], by: Sequence[str]) -> Iterator[Total]:
    """Figures of that time, one for each different value of `by`."""
    columns = "".join(f"{_column(name)}, " for name in by)
    group = f" GROUP BY {', '.join(str(place + 1) for place in range(len(by)))}" if by else ""
    source, args = _source(parts, "*")
    for row in db.execute(f"SELECT {columns}{_COLUMNS} FROM ({source}) JOIN scene USING (scene){group}", args):
        yield Total(tuple(str(value) for value in row[: len(by)]), _figures(row[len(by) :]))


def series(db: apsw.Connection, parts: Sequence[Span], step: int, origin: int) -> Iterator[Point]:
    """Figures by steps of so many seconds, counted from `origin`; steps in which nothing was are left out."""
    source, args = _source(parts, "*")
    query = f"SELECT (at - ?) / ? * ? + ? AS step, {_COLUMNS} FROM ({source}) GROUP BY step ORDER BY step"
    for row in db.execute(query, (origin, step, step, origin, *args)):
        yield Point(int(str(row[0])), _figures(row[1:]))


def latency(db: apsw.Connection, parts: Sequence[Span], step: int, origin: int) -> Iterator[tuple[int, str, Histogram]]:
    """(step, outcome, how long its answers took), in order."""
    source, args = _source([(f"{table}_latency", start, end) for table, start, end in parts], "*")
    query = f"SELECT (at - ?) / ? * ? + ? AS step, outcome, bucket, sum(count) FROM ({source}) GROUP BY 1, 2, 3"
    held: dict[tuple[int, str], list[int]] = {}
    for at, outcome, bucket, count in db.execute(query, (origin, step, step, origin, *args)):
        counts = held.setdefault((int(str(at)), str(outcome)), [0] * (len(BUCKETS) + 1))
        counts[int(str(bucket))] = int(str(count))
    for (at_step, name), found in sorted(held.items()):
        yield at_step, name, Histogram(tuple(found))


def _source(parts: Sequence[Span], columns: str) -> tuple[str, list[int]]:
    read = [f"SELECT {columns} FROM {table} WHERE at >= ? AND at < ?" for table, _, _ in parts]
    return " UNION ALL ".join(read), [bound for _, start, end in parts for bound in (start, end)]


def _column(name: str) -> str:
    if name not in BY:
        raise ValueError(f"figures can't be told apart by {name!r}: use {', '.join(BY)}")
    return name


def _figures(row: Iterable[Any]) -> Figures:
    return Figures(**{name: int(value or 0) for name, value in zip(_NAMES, row, strict=True)})

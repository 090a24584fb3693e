"""A note: what one set of books publishes of one hour, and how it is written. Pure.

It is a JSON list. A row of sums is what they are of, in the order of `words.BY`, and the figures that are not 0. What
else there is has a name first and is two long, so that a reader which does not know it passes over it: `minutes`, the
same sums by minutes, which only the notes of recent hours have, and `latency`, how long answers took, by the same
steps. This room must never ask a file or a store.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from payonce.books.words import BY, OUTCOMES, SUMMED, Figures, Histogram
from payonce.ledger.hits import BUCKETS
from payonce.ledger.tally import HOUR

PREFIX: Final = "books/"
MINUTE: Final = 60
_MINUTES: Final = "minutes"
_LATENCY: Final = "latency"

By = tuple[str, ...]
"""What figures are of, in the order of `words.BY`."""
Sums = Mapping[str, int]
"""Figures that are not 0."""


@dataclass(frozen=True, slots=True)
class Note:
    """The sums of an hour; the same by the minutes in which they were, where they are known; and how long answers took,
    by the same steps. Minutes are told by the seconds since the hour began, without them all stands at 0."""

    rows: tuple[tuple[By, Sums], ...] = ()
    minutes: tuple[tuple[int, By, Sums], ...] | None = None
    latency: tuple[tuple[int, str, Histogram], ...] = ()


def title(hour: int, books: str) -> str:
    """What a note is called."""
    return f"{PREFIX}{hour}/{books}"


def titled(name: str) -> tuple[int, str] | None:
    """The hour of a note and whose it is; None where this is no name of a note."""
    hour, _, books = name.removeprefix(PREFIX).partition("/")
    return (int(hour), books) if name.startswith(PREFIX) and hour.isdigit() else None


def encode(note: Note) -> bytes:
    """A note as JSON. Of the minutes, what figures are of and how they are called is written once for all of them."""
    said: list[Any] = [[*by, sums] for by, sums in note.rows]
    if note.minutes is not None:
        said.append([_MINUTES, _columns(note.minutes)])
    if note.latency:
        spread = ((at, outcome, _buckets(histogram)) for at, outcome, histogram in note.latency)
        said.append([_LATENCY, [[at // MINUTE, outcome, counts] for at, outcome, counts in spread]])
    return orjson.dumps(said)


def decode(value: bytes) -> Note:
    """What a note says; nothing where it can't be read, nor of a part that can't."""
    try:
        said = [each for each in orjson.loads(value) if isinstance(each, list)]
    except (ValueError, TypeError):
        return Note()
    try:
        rows = tuple((_by(row), _sums(row[-1].items())) for row in said if len(row) == len(BY) + 1)
        parts = {str(each[0]): each[1] for each in said if len(each) == 2}
        minutes = _minutes(parts[_MINUTES]) if _MINUTES in parts else None
        return Note(rows, minutes, tuple(map(_took, parts.get(_LATENCY, ()))))
    except (ValueError, TypeError, AttributeError, IndexError):
        return Note()


def figures(by: By, sums: Sums) -> Figures:
    """Sums as figures; requests count under the outcome that they are of."""
    known = {name: value for name, value in sums.items() if name in SUMMED}
    outcome = by[BY.index("outcome")]
    counted = {name: sums.get("requests", 0) for name, word in OUTCOMES.items() if word == outcome}
    return Figures(**known, **counted)


def _columns(minutes: Iterable[tuple[int, By, Sums]]) -> list[list[Any]]:
    held: dict[By, list[tuple[int, Sums]]] = {}
    for at, by, sums in minutes:
        held.setdefault(by, []).append((at, sums))
    told = []
    for by, steps in held.items():
        names = [name for name in SUMMED if any(name in sums for _, sums in steps)]
        told.append([*by, names, [[at // MINUTE, *(sums.get(name, 0) for name in names)] for at, sums in steps]])
    return told


def _minutes(told: Iterable[Sequence[Any]]) -> tuple[tuple[int, By, Sums], ...]:
    return tuple(
        (_second(step[0]), _by(each), _sums(zip(each[len(BY)], step[1:], strict=True)))
        for each in told
        for step in each[len(BY) + 1]
    )


def _took(told: Sequence[Any]) -> tuple[int, str, Histogram]:
    counts = [0] * (len(BUCKETS) + 1)
    for bucket, count in told[2]:
        counts[min(int(bucket), len(BUCKETS))] += int(count)
    return _second(told[0]), str(told[1]), Histogram(tuple(counts))


def _buckets(histogram: Histogram) -> list[tuple[int, int]]:
    return [(bucket, count) for bucket, count in enumerate(histogram.counts) if count]


def _second(minute: Any) -> int:
    return min(max(0, int(minute) * MINUTE), HOUR - MINUTE)


def _by(row: Sequence[Any]) -> By:
    return tuple(str(word) for word in row[: len(BY)])


def _sums(pairs: Iterable[tuple[Any, Any]]) -> Sums:
    return {str(name): int(value) for name, value in pairs if value}

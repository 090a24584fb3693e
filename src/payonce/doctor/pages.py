"""A report as bytes for the store's notebook, one page a day and worker, and the pages of all workers added up.

This room must never know a store.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from payonce.doctor.findings import Finding, from_json, ranked
from payonce.doctor.watch import Watch

PREFIX: Final = "doctor/"
DAY: Final = 86400
SELDOM: Final = 30.0
"""Seconds between two notes of a page on which nothing but the counts is new."""


@dataclass(frozen=True, slots=True)
class Report:
    """What one or many workers found: `counts` as in `Watch.counts`, findings the worst first."""

    counts: Counter[str] = field(default_factory=Counter)
    findings: tuple[Finding, ...] = ()

    @property
    def wrong(self) -> bool:
        """Whether something is to be put right."""
        return any(finding.wrong for finding in self.findings)


class Diary:
    """One worker's pages: notes what its watch found, and turns the page with the day."""

    def __init__(self, watch: Watch, worker: str, now: float) -> None:
        self._watch = watch
        self._worker = worker
        self._day = int(now) // DAY * DAY
        self._noted = 0, 0
        self._noted_at = now

    def leaf(self, now: float, *, last: bool = False) -> tuple[str, bytes] | None:
        """The present page as a record to note, where there is a new finding; where only more was seen, the first
        time, now and then, at the end of the day, or when it is the `last` time. None else."""
        watch, record = self._watch, None
        day = int(now) // DAY * DAY
        found, seen = watch.revision, watch.counts["seen"]
        due = last or not self._noted[1] or day != self._day or now - self._noted_at >= SELDOM
        if found != self._noted[0] or (due and seen != self._noted[1]):
            self._noted, self._noted_at = (found, seen), now
            record = f"{PREFIX}{self._day}/{self._worker}", encode(watch)
        if day != self._day:
            self._day, self._noted = day, (found, 0)
            watch.clear()
        return record


def encode(watch: Watch) -> bytes:
    """A watch's report as JSON."""
    return orjson.dumps({"counts": dict(watch.counts), "findings": [finding.as_json() for finding in watch.report()]})


def decode(record: bytes) -> Report:
    """A page as `encode` wrote it. Raises ValueError, KeyError, TypeError or AttributeError where it is none."""
    said: Any = orjson.loads(record)
    counts = Counter({str(name): int(count) for name, count in said["counts"].items()})
    return Report(counts, tuple(from_json(finding) for finding in said["findings"]))


def add_up(notes: Mapping[str, bytes], since: float = 0.0) -> Report:
    """All workers' pages of the days that end after `since` (Unix seconds) as one; what can't be read is counted as
    `unreadable_pages`, and a finding that was last seen before `since` is left out."""
    counts: Counter[str] = Counter()
    found: dict[tuple[str, ...], Finding] = {}
    for name, record in notes.items():
        day, _, worker = name.removeprefix(PREFIX).partition("/")
        if not name.startswith(PREFIX) or not worker or not day.isdigit() or int(day) + DAY <= since:
            continue
        try:
            page = decode(record)
        except (ValueError, KeyError, TypeError, AttributeError):
            counts["unreadable_pages"] += 1
            continue
        counts.update(page.counts)
        for finding in page.findings:
            if finding.at >= since:
                key = finding.id, finding.upstream, finding.model, finding.where
                found[key] = found[key].plus(finding) if key in found else finding
    return Report(counts, tuple(ranked(list(found.values()))))

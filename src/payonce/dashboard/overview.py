"""The first page's figures: what was saved, how often the cache answered, how fast, over time.

All of them are the ledger's own sums, so that they are those of `payonce stats`. This room must never add up receipts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, Final

from payonce.books.words import Figures, Histogram, Point, Total
from payonce.dashboard.backstage import Backstage
from payonce.ledger.tally import dollars

HOUR: Final = 3600
MODELS: Final = 8
REASONS: Final = 10


@dataclass(frozen=True, slots=True)
class Span:
    """A length of time that can be looked at, in steps of so many seconds."""

    name: str
    title: str
    seconds: int
    step: int


SPANS: Final = {
    span.name: span
    for span in (
        Span("1h", "Hour", HOUR, 60),
        Span("24h", "Day", 24 * HOUR, HOUR),
        Span("7d", "Week", 7 * 24 * HOUR, 4 * HOUR),
        Span("30d", "Month", 30 * 24 * HOUR, 24 * HOUR),
    )
}
USUAL: Final = "24h"


@dataclass(frozen=True, slots=True)
class Overview:
    """The figures of one span: all of it, step by step, and by what is asked most."""

    span: Span
    since: float
    total: Figures
    series: tuple[Point, ...]
    latency: Mapping[str, Histogram]
    latency_series: tuple[tuple[int, Mapping[str, Histogram]], ...]
    models: tuple[Total, ...]
    reasons: tuple[Total, ...]
    trouble: str = ""
    """Why figures are missing at the moment; empty where none are."""

    @property
    def saved_nano(self) -> int:
        """What Payonce saved: calls that were not made, and what its prompt caching brought."""
        return self.total.avoided_nano + self.prompt_nano

    @property
    def prompt_nano(self) -> int:
        """The part of the prompt cache's net saving that is due to Payonce."""
        return self.total.net_nano - self.total.unaided_nano


def overview(stage: Backstage, name: str) -> Overview:
    """The figures of a span; of the usual one where `name` is none. Raises StoreError."""
    span, books, now = SPANS.get(name, SPANS[USUAL]), stage.books, stage.clock()
    since = now - span.seconds
    with books.still():
        parts = books.totals(since, now, by=("model", "outcome", "reason"))  # one look at the sums for three questions
        latency = books.latency_series(since, now, span.step)
        series = books.series(since, now, span.step)
    models = [one for one in grouped(parts, (0,)) if one.by[0]]
    reasons = [one for one in grouped(parts, (1, 2)) if one.by[1] and one.figures.requests]
    return Overview(
        span=span,
        since=since,
        total=reduce(Figures.plus, (one.figures for one in parts), Figures()),
        series=tuple(series),
        latency=added_up(latency),
        latency_series=tuple(latency),
        models=tuple(models[:MODELS]),
        reasons=tuple(reasons[:REASONS]),
        trouble=stage.state()["ledger"]["trouble"],
    )


def grouped(parts: Iterable[Total], places: Sequence[int]) -> list[Total]:
    """Figures added up by some of what they are told apart by, the most requests first, then the most money."""
    held: dict[tuple[str, ...], Figures] = {}
    for one in parts:
        by = tuple(one.by[place] for place in places)
        held[by] = held[by].plus(one.figures) if by in held else one.figures
    found = [Total(by, figures) for by, figures in held.items()]
    return sorted(found, key=lambda one: (-one.figures.requests, -one.figures.paid_nano, one.by))


def added_up(series: Iterable[tuple[int, Mapping[str, Histogram]]]) -> dict[str, Histogram]:
    """The histograms of all steps as one for each outcome."""
    held: dict[str, Histogram] = {}
    for _, step in series:
        for outcome, found in step.items():
            before = held.get(outcome, Histogram())
            held[outcome] = Histogram(tuple(a + b for a, b in zip(before.counts, found.counts, strict=True)))
    return held


def as_json(shown: Overview) -> dict[str, Any]:
    """The same as plain values: money as decimal text in US dollars, times in seconds."""
    return {
        "span": shown.span.name,
        "since": shown.since,
        "trouble": shown.trouble,
        "saved_dollars": dollars(shown.saved_nano),
        "total": figures_json(shown.total),
        "series": [{"at": point.at, **figures_json(point.figures)} for point in shown.series],
        "median_seconds": {outcome: histogram.quantile(0.5) for outcome, histogram in shown.latency.items()},
        "models": [{"model": one.by[0], **figures_json(one.figures)} for one in shown.models],
        "reasons": [
            {"outcome": one.by[0], "reason": one.by[1], "requests": one.figures.requests} for one in shown.reasons
        ],
    }


def figures_json(figures: Figures) -> dict[str, Any]:
    """The figures that pages show."""
    return {
        "requests": figures.requests,
        "hits": figures.hits,
        "stale": figures.stale,
        "collapsed": figures.collapsed,
        "misses": figures.misses,
        "bypassed": figures.bypassed,
        "refused": figures.refused,
        "hit_rate": figures.hit_rate,
        "avoided_calls": figures.avoided_calls,
        "avoided_dollars": dollars(figures.avoided_nano),
        "avoided_estimated_dollars": dollars(figures.avoided_estimated),
        "calls": figures.calls,
        "paid_dollars": dollars(figures.paid_nano),
        "prompt_net_dollars": dollars(figures.net_nano),
        "prompt_unaided_dollars": dollars(figures.unaided_nano),
        "read_share": figures.read_share,
        "unread_dollars": dollars(figures.unread_nano),
        "missed_dollars": dollars(figures.missed_nano),
    }

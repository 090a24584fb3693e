"""What happened, added up: one tally an hour for each worker, plain integers, money in billionths of a dollar.

A worker's tallies are noted in the store, so that `payonce stats` and `/metrics` can add up those of all workers. What
was avoided is counted once, where it was avoided: a hit at its answer, a follower at the landing of its flight. This
room must never do I/O or hold a prompt.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from payonce.ledger.avoiding import Avoided
from payonce.ledger.hits import BUCKETS, HitSums
from payonce.ledger.spending import prompt_figures
from payonce.model.entry import Entry
from payonce.model.receipt import Outcome, Saved

MODELS = 100
"""So many models have a name of their own in a worker's figures since its start, first come, first named."""
OTHER = "other"
"""The name of all the others."""

PREFIX = "tally/"
HOUR = 3600
_AVOIDED = (
    *("avoided.calls", "avoided.input_tokens", "avoided.output_tokens", "avoided.nano_dollars", "avoided.nanoseconds"),
    *("avoided.calls_without_price", "avoided.estimated_nano_dollars"),
)


class Tally:
    """One worker's figures for one hour."""

    __slots__ = ("counts", "latency", "models", "seconds")

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.latency: dict[str, list[int]] = {}
        self.seconds: Counter[str] = Counter()
        self.models: Counter[str] = Counter()

    def request(self, outcome: str, reason: str, seconds: float) -> None:
        """A request was answered; `seconds` until it was answered in full."""
        self.counts["requests." + outcome] += 1
        if reason:
            self.counts["reasons." + reason] += 1
        histogram = self.latency.get(outcome)
        if histogram is None:
            histogram = self.latency[outcome] = [0] * (len(BUCKETS) + 1)
        histogram[bisect_left(BUCKETS, seconds)] += 1
        self.seconds[outcome] += round(seconds * 1e9)

    def avoided(self, avoided: Avoided) -> None:
        """Upstream calls were not made."""
        for name, amount in zip(_AVOIDED, avoided, strict=True):
            self.counts[name] += amount

    def served(self, entry: Entry, times: int, *, converted: bool = False) -> None:
        """`entry` was served `times` times, as it is stored or `converted` to the other framing."""
        if converted:
            self.counts["requests.converted"] += times
        self.counts["bytes.served"] += len(entry.body) * times
        self.models[entry.model] += times

    def hits(self, histogram: list[int], nanoseconds: int) -> None:
        """Hits: so many in each latency bucket, `nanoseconds` in all."""
        self.counts["requests.hit"] += sum(histogram)
        self.seconds["hit"] += nanoseconds
        held = self.latency.setdefault("hit", [0] * (len(BUCKETS) + 1))
        for place, count in enumerate(histogram):
            held[place] += count

    def added(self, sums: HitSums) -> None:
        """Hits of one scene were served."""
        if sums.converted:
            self.counts["requests.converted"] += sums.converted
        self.counts["bytes.served"] += sums.size
        self.models[sums.scene[3]] += sums.requests

    def gathered(self, saved: Saved) -> None:
        """A part of a batch was served, or all of it."""
        self.counts["bytes.served"] += saved.size
        if saved.calls:
            self.models[saved.model] += saved.calls


def encode(tally: Tally) -> bytes:
    """A tally as JSON."""
    return orjson.dumps(
        {
            "counts": dict(tally.counts),
            "latency": tally.latency,
            "seconds": dict(tally.seconds),
            "models": dict(tally.models.most_common(200)),
        }
    )


def add_up(notes: Mapping[str, bytes], since: float = 0.0) -> Tally:
    """All workers' tallies of the hours that end after `since` (Unix seconds), as one, unreadable ones left out."""
    total = Tally()
    for name, record in notes.items():
        hour, _, worker = name.removeprefix(PREFIX).partition("/")
        if not name.startswith(PREFIX) or not worker or not hour.isdigit() or int(hour) + HOUR <= since:
            continue
        try:
            merge(total, orjson.loads(record))
        except (ValueError, KeyError, TypeError, AttributeError):
            total.counts["ledger.unreadable"] += 1
    return total


def merge(total: Tally, record: Mapping[str, Any]) -> None:
    """Add one decoded record to `total`."""
    join(total, record["counts"], record["latency"], record["seconds"], record["models"])


def join(
    total: Tally,
    counts: Mapping[str, int],
    latency: Mapping[str, list[int]],
    seconds: Mapping[str, int],
    models: Mapping[str, int],
) -> None:
    total.counts.update(counts)
    total.seconds.update(seconds)
    total.models.update(models)
    for outcome, counted in latency.items():
        held = total.latency.setdefault(outcome, [0] * (len(BUCKETS) + 1))
        for place, count in enumerate(counted[: len(held)]):
            held[place] += count


def summary(tally: Tally, dropped: Iterable[tuple[str, int]] = ()) -> dict[str, Any]:
    """The figures that people ask for first: rates, money in US dollars as decimal text, times in seconds."""
    counts = tally.counts
    outcomes = {outcome.value: counts["requests." + outcome.value] for outcome in Outcome}
    asked = sum(outcomes[name] for name in ("hit", "stale", "miss", "collapsed"))
    served = outcomes["hit"] + outcomes["stale"] + outcomes["collapsed"]
    return {
        "requests": sum(outcomes.values()),
        "outcomes": outcomes,
        "hit_rate": round(served / asked, 4) if asked else None,
        "converted": counts["requests.converted"],
        "upstream_calls": counts["upstream.calls"],
        "stored": counts["upstream.stored"],
        "avoided": {
            "calls": counts["avoided.calls"],
            "dollars": dollars(counts["avoided.nano_dollars"]),
            "input_tokens": counts["avoided.input_tokens"],
            "output_tokens": counts["avoided.output_tokens"],
            "seconds": round(counts["avoided.nanoseconds"] / 1e9, 3),
            "calls_without_price": counts["avoided.calls_without_price"],
            "estimated_dollars": dollars(counts["avoided.estimated_nano_dollars"]),
        },
        "paid": {
            "dollars": dollars(counts["paid.nano_dollars"]),
            "input_tokens": counts["paid.input_tokens"],
            "output_tokens": counts["paid.output_tokens"],
            "estimated_dollars": dollars(counts["paid.estimated_nano_dollars"]),
            "estimated_calls": counts["paid.estimated_calls"],
        },
        "passed": {
            "dollars": dollars(counts["passed.nano_dollars"]),
            "calls": counts["passed.calls"],
            "input_tokens": counts["passed.input_tokens"],
            "output_tokens": counts["passed.output_tokens"],
        },
        "prompt_cache": {
            name.removesuffix("_nano"): dollars(figure) if name.endswith("_nano") else figure
            for name, figure in prompt_figures(counts).items()
        },
        "waits": {**_group(counts, "waits."), "seconds": round(counts["waited.nanoseconds"] / 1e9, 3)},
        "bytes_served": counts["bytes.served"],
        "reasons": _group(counts, "reasons."),
        "unkept": _group(counts, "unkept."),
        "dropped": {**_group(counts, "dropped."), **dict(dropped)},
        "models": dict(tally.models.most_common(20)),
        "mean_seconds": {
            name: round(tally.seconds[name] / 1e9 / count, 6) for name, count in outcomes.items() if count
        },
    }


def dollars(nano: int) -> str:
    """Billionths of a dollar as decimal text, exact."""
    sign, nano = ("-", -nano) if nano < 0 else ("", nano)
    whole, fraction = divmod(nano, 1_000_000_000)
    return f"{sign}{whole}.{fraction:09d}".rstrip("0").rstrip(".") if fraction else f"{sign}{whole}"


def _group(counts: Counter[str], prefix: str) -> dict[str, int]:
    found = {name.removeprefix(prefix): count for name, count in counts.items() if name.startswith(prefix)}
    return dict(sorted(found.items(), key=lambda item: -item[1]))

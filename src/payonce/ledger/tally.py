"""What happened, added up: one tally an hour for each worker, plain integers, money in billionths of a dollar.

A worker's tallies are noted in the store, so that `payonce stats` and `/metrics` can add up those of all workers. What
was avoided is counted once, where it was avoided: a hit at its answer, a follower at the landing of its flight. This
room must never do I/O or hold a prompt.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any, Protocol

import orjson

from payonce.ledger.money import Bill
from payonce.ledger.spending import enter, enter_missed, enter_unread, prompt_figures
from payonce.ledger.unread import Expired
from payonce.model.call import Ask, Call
from payonce.model.entry import Entry, Tokens
from payonce.model.reason import Reason
from payonce.model.receipt import Hits, Landing, Outcome, Receipt, Saved

BUCKETS = (
    *(0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05),
    *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0),
)
"""Upper bounds of the latency histogram, in seconds."""

MODELS = 100
"""So many models have a name of their own in a worker's figures since its start, first come, first named."""
OTHER = "other"
"""The name of all the others."""

PREFIX = "tally/"
HOUR = 3600
_SERVED = (Outcome.HIT, Outcome.STALE)


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

    def avoided(self, tokens: Tokens, took: float, calls: int = 1) -> None:
        """`calls` upstream calls of this size were not made."""
        self.counts["avoided.calls"] += calls
        self.counts["avoided.input_tokens"] += (tokens.input or 0) * calls
        self.counts["avoided.output_tokens"] += (tokens.output or 0) * calls
        self.counts["avoided.nano_dollars"] += (tokens.cost or 0) * calls
        self.counts["avoided.nanoseconds"] += round(took * 1e9) * calls
        if tokens.cost is None:
            self.counts["avoided.calls_without_price"] += calls

    def served(self, entry: Entry, times: int, *, converted: bool = False) -> None:
        """`entry` was served `times` times, as it is stored or `converted` to the other framing."""
        if converted:
            self.counts["requests.converted"] += times
        self.counts["bytes.served"] += len(entry.body) * times
        self.models[entry.model] += times
        self.avoided(entry.facts.tokens, entry.took, times)

    def gathered(self, saved: Saved) -> None:
        """A part of a batch was served, or all of it: what was not paid counts, and a call only where none was made."""
        counts, tokens = self.counts, saved.tokens
        counts["bytes.served"] += saved.size
        counts["avoided.input_tokens"] += tokens.input or 0
        counts["avoided.nano_dollars"] += tokens.cost or 0
        if saved.calls:
            self.models[saved.model] += saved.calls
            counts["avoided.calls"] += saved.calls
            counts["avoided.nanoseconds"] += round(saved.took * 1e9)
            if tokens.cost is None:
                counts["avoided.calls_without_price"] += saved.calls


class Scribe(Protocol):
    """Who writes down what the ledger is told, for later: `payonce.books.journal.Journal`."""

    def exchanged(self, receipt: Receipt, seconds: float, asked: Ask | Call | None) -> None:
        """A request was answered."""
        ...

    def landed(self, landing: Landing, followers: int, ask: Ask) -> None:
        """An upstream call ended."""
        ...

    def shelved(self, hits: list[Hits], histogram: list[int], nanoseconds: int) -> None:
        """The fast lane answered."""
        ...

    def unread(self, expired: Expired) -> None:
        """Written prefixes expired unread."""
        ...


class Ledger:
    """One worker's tally of the present hour; what it is told, `scribe` hears too. Not thread safe: it belongs to the
    loop that serves."""

    def __init__(self, worker: str, hour: int, scribe: Scribe | None = None) -> None:
        self.worker = worker
        self.hour = hour
        self.scribe = scribe
        self.now = Tally()
        self.gone = Tally()
        """The hours before."""
        self._named: dict[str, None] = {}
        self.fresh = False

    def so_far(self) -> Tally:
        """Everything since this worker started, as a tally of its own. No count in it ever falls: a model that has a
        name keeps it."""
        total = Tally()
        for part in (self.gone, self.now):
            _join(total, part.counts, part.latency, part.seconds, {})
            for model, count in part.models.items():
                if model not in self._named and len(self._named) < MODELS:
                    self._named[model] = None
                total.models[model if model in self._named else OTHER] += count
        return total

    def exchanged(self, receipt: Receipt, seconds: float, asked: Ask | Call | None = None) -> None:
        """A request was answered through the story."""
        self.fresh = True
        tally = self.now
        tally.request(receipt.outcome.value, "" if receipt.reason is None else receipt.reason.id, seconds)
        entry = receipt.entry
        if entry is not None and receipt.outcome in _SERVED:
            tally.served(entry, 1, converted=receipt.converted)
        if receipt.saved is not None:
            tally.gathered(receipt.saved)
        if self.scribe is not None:
            self.scribe.exchanged(receipt, seconds, asked)

    def turned_away(self, reason: Reason) -> None:
        """A connection was refused before there was a request to tell of. It leaves no receipt: whoever floods us would
        drive out those of others."""
        self.fresh = True
        self.now.counts["reasons." + reason.id] += 1

    def landed(self, landing: Landing, followers: int, ask: Ask | None = None) -> None:
        """An upstream call ended; each follower avoided one like it. What it cost is told by `spent`, or here where
        nobody steers the call."""
        self.fresh = True
        counts, waited = self.now.counts, landing.waited
        if waited is not None:
            counts["waits." + waited.came] += 1
            counts["waited.nanoseconds"] += round(waited.seconds * 1e9)
        if self.scribe is not None and ask is not None:
            self.scribe.landed(landing, followers, ask)
        if landing.brought and landing.facts is not None:
            self.now.avoided(landing.facts.tokens, landing.took, followers + 1)
            return
        counts["upstream.calls"] += 1
        counts["upstream.nanoseconds"] += round(landing.took * 1e9)
        if landing.reason is None:
            counts["upstream.stored"] += 1
        else:
            counts["unkept." + landing.reason.id] += 1
        if landing.facts is not None:
            tokens = landing.facts.tokens
            if ask is None or ask.call.steering is None:
                counts["paid.nano_dollars"] += tokens.cost or 0
                counts["paid.input_tokens"] += tokens.input or 0
                counts["paid.output_tokens"] += tokens.output or 0
            if followers:
                self.now.avoided(tokens, landing.took, followers)

    def spent(self, bill: Bill, *, cacheable: bool = True) -> None:
        """An upstream answered, and this is its bill (`payonce.ledger.money.price`). Once for every answer, never for a
        hit. `cacheable` is False for a call that the response cache took no part in: such are counted apart."""
        self.fresh = True
        enter(self.now.counts, bill, cacheable=cacheable)

    def unread(self, expired: Expired) -> None:
        """Written prefixes expired unread."""
        self.fresh = True
        enter_unread(self.now.counts, expired)
        if self.scribe is not None:
            self.scribe.unread(expired)

    def missed(self, tokens: int, cost: Decimal | None) -> None:
        """An answer read less of a live entry than it could (`payonce.ledger.money.avoidable`)."""
        self.fresh = True
        enter_missed(self.now.counts, tokens, cost)

    def fast_hits(self, hits: list[Hits], histogram: list[int], nanoseconds: int) -> None:
        """The fast lane answered: so many requests in each latency bucket, `nanoseconds` in all."""
        self.fresh = True
        tally = self.now
        tally.counts["requests.hit"] += sum(histogram)
        tally.counts["requests.fast_lane"] += sum(histogram)
        tally.seconds["hit"] += nanoseconds
        held = tally.latency.setdefault("hit", [0] * (len(BUCKETS) + 1))
        for place, count in enumerate(histogram):
            held[place] += count
        for each in hits:
            tally.served(each.entry, each.times, converted=each.converted)
        if self.scribe is not None:
            self.scribe.shelved(hits, histogram, nanoseconds)

    def leaf(self, now: float) -> tuple[str, bytes] | None:
        """The present hour's tally as a record to note, if it changed since; turns the page with the hour."""
        record = None
        if self.fresh:
            self.fresh = False
            record = (f"{PREFIX}{self.hour}/{self.worker}", encode(self.now))
        hour = int(now) // HOUR * HOUR
        if hour != self.hour:
            self.hour = hour
            self.gone, self.now = self.so_far(), Tally()
        return record


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
    _join(total, record["counts"], record["latency"], record["seconds"], record["models"])


def _join(
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

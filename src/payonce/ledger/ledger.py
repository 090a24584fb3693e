"""The ledger: whatever happens in one worker is told here, counted in its tally, and passed on to who writes it down.

This room must never do I/O or hold a prompt.
"""

from __future__ import annotations

import time
from collections import Counter
from decimal import Decimal
from typing import Final, Protocol

from payonce.ledger.avoiding import NOTHING, avoided, gathered
from payonce.ledger.hits import SHOWN, HitBook, HitSums, Told, summed
from payonce.ledger.money import Bill
from payonce.ledger.spending import enter, enter_missed, enter_unread
from payonce.ledger.tally import HOUR, MODELS, OTHER, PREFIX, Tally, encode, join
from payonce.ledger.unread import Expired
from payonce.ledger.worth import Owed, Worth, owed_of
from payonce.model.call import Ask, Call
from payonce.model.entry import Facts
from payonce.model.ports import Clock
from payonce.model.reason import Reason
from payonce.model.receipt import Hits, Landing, Outcome, Receipt

MOST_SCENES: Final = 1024
"""Hits of so many scenes are added up before they are entered."""
MOST_OWED: Final = 1024
"""So many different answers may wait for prices, to be valued by them; others stay of unknown price."""
_SERVED: Final = (Outcome.HIT, Outcome.STALE)


class Scribe(Protocol):
    """Who writes down what the ledger is told, for later: `payonce.books.journal.Journal`."""

    wants_each: bool
    """Whether every hit is to be told by `hit` when it happens, and not only in sums by `hits`."""

    def exchanged(self, receipt: Receipt, seconds: float, asked: Ask | Call | None) -> None:
        """A request was answered, and it is no hit that `hits` will tell of."""
        ...

    def hit(self, receipt: Receipt, seconds: float, asked: Ask) -> None:
        """A request was answered from the cache."""
        ...

    def hits(self, told: Told) -> None:
        """Requests were answered from the cache."""
        ...

    def landed(self, landing: Landing, followers: int, ask: Ask) -> None:
        """An upstream call ended."""
        ...

    def shelved(self, told: Told, shown: list[Hits]) -> None:
        """The fast lane answered."""
        ...

    def unread(self, expired: Expired) -> None:
        """Written prefixes expired unread."""
        ...


class Ledger:
    """One worker's tally of the present hour; what it is told, `scribe` hears too. Not thread safe: it belongs to the
    loop that serves."""

    def __init__(
        self,
        worker: str,
        hour: int,
        scribe: Scribe | None = None,
        clock: Clock = time.time,
        worth: Worth | None = None,
    ) -> None:
        """`worth` values what was avoided and does not say its cost; without it, that stays unknown."""
        self.worker = worker
        self.hour = hour
        self.scribe = scribe
        self._wants_each = scribe is not None and scribe.wants_each
        self._tally = Tally()
        self._hits = HitBook(clock)
        self._worth = worth
        self._owed: Counter[Owed] = Counter()
        self.gone = Tally()
        """The hours before."""
        self._named: dict[str, None] = {}
        self.fresh = False

    @property
    def now(self) -> Tally:
        """The tally of the present hour, with all that was told so far."""
        if self._hits:
            self._enter_hits()
        if self._owed:
            self._value()
        return self._tally

    @property
    def owing(self) -> bool:
        """Whether some of what was avoided waits for prices."""
        if self._hits:
            self._enter_hits()
        return bool(self._owed)

    def so_far(self) -> Tally:
        """Everything since this worker started, as a tally of its own. No count in it ever falls: a model that has a
        name keeps it."""
        total = Tally()
        for part in (self.gone, self.now):
            join(total, part.counts, part.latency, part.seconds, {})
            for model, count in part.models.items():
                if model not in self._named and len(self._named) < MODELS:
                    self._named[model] = None
                total.models[model if model in self._named else OTHER] += count
        return total

    def exchanged(self, receipt: Receipt, seconds: float, asked: Ask | Call | None = None) -> None:
        """A request was answered through the story."""
        self.fresh = True
        seconds = max(0.0, seconds)  # the clock may have been set back meanwhile; no sum may fall
        tally, entry, outcome = self._tally, receipt.entry, receipt.outcome
        if outcome is Outcome.HIT and entry is not None and isinstance(asked, Ask):
            self._hits.add(asked, entry, seconds, converted=receipt.converted)
            if self._wants_each and self.scribe is not None:
                self.scribe.hit(receipt, seconds, asked)
            if len(self._hits) > MOST_SCENES:
                self._enter_hits()
            return
        tally.request(outcome.value, "" if receipt.reason is None else receipt.reason.id, seconds)
        if entry is not None and outcome in _SERVED:
            tally.served(entry, 1, converted=receipt.converted)
            if receipt.spared is not None:
                self._avoided(entry.model, entry.facts, entry.took, 1)
        if receipt.saved is not None:
            tally.gathered(receipt.saved)
            tally.avoided(gathered(receipt.saved))
        if self.scribe is not None:
            self.scribe.exchanged(receipt, seconds, asked)

    def turned_away(self, reason: Reason) -> None:
        """A connection was refused before there was a request to tell of. It leaves no receipt: whoever floods us would
        drive out those of others."""
        self.fresh = True
        self._tally.counts["reasons." + reason.id] += 1

    def landed(self, landing: Landing, followers: int, ask: Ask | None = None) -> None:
        """An upstream call ended; each follower avoided one like it. What it cost is told by `spent`, or here where
        nobody steers the call."""
        self.fresh = True
        counts, waited = self._tally.counts, landing.waited
        if waited is not None:
            counts["waits." + waited.came] += 1
            counts["waited.nanoseconds"] += round(waited.seconds * 1e9)
        if self.scribe is not None and ask is not None:
            self.scribe.landed(landing, followers, ask)
        if landing.brought and landing.facts is not None:
            self._avoided(_model(ask), landing.facts, landing.took, followers + 1)
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
                self._avoided(_model(ask), landing.facts, landing.took, followers)

    def spent(self, bill: Bill, *, cacheable: bool = True) -> None:
        """An upstream answered, and this is its bill (`payonce.ledger.money.price`). Once for every answer, never for a
        hit. `cacheable` is False for a call that the response cache took no part in: such are counted apart."""
        self.fresh = True
        enter(self._tally.counts, bill, cacheable=cacheable)

    def unread(self, expired: Expired) -> None:
        """Written prefixes expired unread."""
        self.fresh = True
        enter_unread(self._tally.counts, expired)
        if self.scribe is not None:
            self.scribe.unread(expired)

    def missed(self, tokens: int, cost: Decimal | None) -> None:
        """An answer read less of a live entry than it could (`payonce.ledger.money.avoidable`)."""
        self.fresh = True
        enter_missed(self._tally.counts, tokens, cost)

    def fast_hits(self, hits: list[Hits], histogram: list[int], nanoseconds: int) -> None:
        """The fast lane answered: so many requests in each latency bucket, `nanoseconds` in all."""
        self.fresh = True
        tally = self._tally
        tally.counts["requests.fast_lane"] += sum(histogram)
        tally.hits(histogram, nanoseconds)
        sums = summed(hits, nanoseconds / 1e9 / (sum(histogram) or 1))
        for each in sums:
            self._enter_sums(each)
        if self.scribe is not None:
            self.scribe.shelved(Told(sums, histogram, []), hits[:SHOWN])

    def leaf(self, now: float) -> tuple[str, bytes] | None:
        """The present hour's tally as a record to note, if it changed since; turns the page with the hour."""
        record = None
        if self.fresh or self._owed:
            record = (f"{PREFIX}{self.hour}/{self.worker}", encode(self.now))
            self.fresh = False
        hour = int(now) // HOUR * HOUR
        if hour != self.hour:
            self.hour = hour
            self.gone, self._tally = self.so_far(), Tally()
        return record

    def _enter_hits(self) -> None:
        told, tally = self._hits.take(), self._tally
        tally.hits(told.histogram, round(sum([each.took for each in told.sums]) * 1e9))
        for each in told.sums:
            self._enter_sums(each)
        if self.scribe is not None:
            self.scribe.hits(told)

    def _enter_sums(self, sums: HitSums) -> None:
        self._tally.added(sums)
        self._tally.avoided(sums.avoided)
        if sums.owed:
            for owed, times in owed_of(sums.scene[3], sums.owed).items():
                self._owe(owed, times)

    def _avoided(self, asked: str, facts: Facts, took: float, calls: int) -> None:
        """So many calls for the model that was asked were not made."""
        what = avoided(facts.tokens, took, calls)
        self._tally.avoided(what._replace(unpriced=0))
        if what.unpriced:
            self._owe(Owed(asked, facts.model, facts.tokens), calls)

    def _owe(self, owed: Owed, calls: int) -> None:
        """So many calls are to be valued once that takes no time: no figure of ours may fall, so that they are not of
        unknown price before that is known."""
        if self._worth is not None and (owed in self._owed or len(self._owed) < MOST_OWED):
            self._owed[owed] += calls
        else:
            self._tally.counts["avoided.calls_without_price"] += calls

    def _value(self) -> None:
        if self._worth is not None and self._worth.prices.ready():
            owed, self._owed = self._owed, Counter()
            self._tally.avoided(self._worth.settled(NOTHING, owed))
            self.fresh = True


def _model(ask: Ask | None) -> str:
    return "" if ask is None else ask.intent.model

"""From happenings to rows: what each of them adds to the sums, and what is filed of it. Pure.

An upstream call is told of twice, when it has landed and when it was billed: both halves are joined here, so that each
call is entered once, under one scene. This room must never know SQL.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

import orjson

from payonce.books.batch import (
    HIT,
    MINUTE,
    SERVED,
    Batch,
    CallRow,
    answered_row,
    hit_row,
    joined_row,
    scene_of,
    shelved_row,
)
from payonce.books.counting import add_hits, avoid, count_call
from payonce.books.journal import Answered, Billed, Event, Landed, Served, Shelved, Unread
from payonce.books.schema import ReceiptRow, Scene
from payonce.books.values import Values
from payonce.books.words import CALL
from payonce.dialects.parts import parts_of
from payonce.ledger.avoiding import gathered
from payonce.ledger.hits import BUCKETS
from payonce.ledger.money import nano_dollars
from payonce.ledger.worth import Worth
from payonce.model.call import Ask
from payonce.model.entry import Facts
from payonce.model.receipt import Outcome

PATIENCE: Final = 5.0
"""For so many seconds one half of a call waits for the other."""
FILED: Final = 100
"""So many hits get a receipt in a second (those of the fast lane one for each different answer); all of them are in
the sums."""
ROWS: Final = 500
"""So many other requests, and so many upstream calls, get a row of their own in a second; all of them are in the sums.
No upstream is asked as often; a storm of refusals or a benchmark is not to cost more than it tells."""
OPEN: Final = 4096
"""So many calls are remembered for a half that comes late."""


class Joined(NamedTuple):
    """A request that was answered by the upstream call of another, or by another process: the number of the flight."""

    flight: int
    row: ReceiptRow


class Posting:
    """Turns happenings into batches. `secret` keys the digests of what is asked, `worth` values what was avoided and
    does not say its cost; without it, that stays unknown."""

    def __init__(self, secret: bytes, worth: Worth | None = None) -> None:
        self._secret = secret
        self._values = Values(worth)
        self.unfiled = 0
        """How many receipts and calls are in the sums only."""
        self._open: OrderedDict[int, CallRow] = OrderedDict()
        self._waiting: list[CallRow] = []
        """Those that had one half when they were last looked at, oldest first."""
        self._joined: list[Joined] = []
        """Receipts of requests that joined a call which is not known to have landed."""
        self._landings: OrderedDict[int, Facts | None] = OrderedDict()
        self._filed = self._receipts = self._calls = 0
        self._how: dict[type, Callable[[Batch, Any], None]] = {
            Answered: self._answered,
            Served: self._served,
            Shelved: self._shelved,
            Landed: self._landed,
            Billed: self._half,
            Unread: self._unread,
        }

    def post(self, events: Iterable[Event], batch: Batch) -> None:
        """Add to `batch` what enters these events."""
        for event in events:
            self._how[type(event)](batch, event)

    def settle(self, batch: Batch, now: float, *, last: bool = False) -> None:
        """Add the calls that have waited long enough for their other half; with `last`, all of them. Begins a new
        second's share of rows."""
        self._filed = self._receipts = self._calls = 0
        due = [call for call in self._waiting if call.due]
        most = 0 if last else OPEN
        self._waiting = []
        for number, call in enumerate(due):
            if len(due) - number > most or now - call.since >= PATIENCE:
                count_call(batch, call, self._values)
            else:
                self._waiting.append(call)
        while len(self._open) > OPEN:
            self._open.popitem(last=False)
        self._file_joined(batch, now, last=last)

    def _served(self, batch: Batch, event: Served) -> None:
        self._spread(batch, event.at, event.told.histogram)
        for sums in event.told.sums:
            add_hits(batch.at(event.at, Scene(*sums.scene), HIT), sums, self._values)
        filed = event.told.shown[: max(0, FILED - self._filed)]
        self._filed += len(filed)
        batch.receipts += [hit_row(hit, self._values) for hit in filed]

    def _spread(self, batch: Batch, at: float, histogram: list[int]) -> None:
        minute = int(at) // MINUTE * MINUTE
        for bucket, count in enumerate(histogram):
            if count:
                batch.latency[minute, HIT, bucket] += count

    def _answered(self, batch: Batch, event: Answered) -> None:
        receipt, asked = event.receipt, event.asked
        scene, _ = scene_of(asked)
        outcome, reason = receipt.outcome.value, receipt.reason.id if receipt.reason is not None else ""
        sums = batch.at(event.at, scene, outcome, reason)
        sums["requests"] += 1
        sums["answer_ns"] += round(event.took * 1e9)
        batch.latency[int(event.at) // MINUTE * MINUTE, outcome, bisect_left(BUCKETS, event.took)] += 1
        entry, saved = receipt.entry, receipt.saved
        if entry is not None and receipt.outcome in SERVED:
            sums["converted"] += receipt.converted
            sums["served_bytes"] += len(entry.body)
            if receipt.spared is not None:
                avoid(sums, self._values.avoided(scene.model, entry.facts, entry.took))
        elif saved is not None:
            sums["served_bytes"] += saved.size
            avoid(sums, gathered(saved))
        self._receipts += 1
        if self._receipts > ROWS:
            self.unfiled += 1
            return
        parts = self._parts(asked) if isinstance(asked, Ask) and receipt.outcome not in SERVED else None
        row = answered_row(event, scene, parts, self._values)
        if receipt.outcome is Outcome.COLLAPSED and receipt.flight:
            self._joined.append(Joined(receipt.flight, row))
        else:
            batch.receipts.append(row)

    def _file_joined(self, batch: Batch, now: float, *, last: bool) -> None:
        """File the receipts of those who joined a call once it has landed: what it cost is what they did not pay."""
        waiting = []
        for joined in self._joined:
            known = joined.flight in self._landings
            if not known and not last and now - joined.row.at < PATIENCE:
                waiting.append(joined)
            else:
                batch.receipts.append(joined_row(joined.row, self._landings.get(joined.flight), self._values))
        self._joined = waiting
        while len(self._landings) > OPEN:
            self._landings.popitem(last=False)

    def _parts(self, ask: Ask) -> bytes | None:
        if not ask.intent.canonical:
            return None
        body = ask.call.body if ask.batch is not None else ask.intent.canonical
        parts = parts_of(ask.call.endpoint, body, ask.call.headers, ask.call.query, self._secret)
        return orjson.dumps(parts) if parts else None

    def _shelved(self, batch: Batch, event: Shelved) -> None:
        told = event.told
        self._spread(batch, event.at, told.histogram)
        for each in told.sums:
            sums = batch.at(event.at, Scene(*each.scene), HIT)
            sums["fast"] += each.requests
            add_hits(sums, each, self._values)
        took = sum([each.took for each in told.sums]) / (sum(told.histogram) or 1)
        filed = event.shown[: max(0, FILED - self._filed)]
        self._filed += len(filed)
        batch.receipts += [shelved_row(hits, event.at, took, self._values) for hits in filed]

    def _unread(self, batch: Batch, event: Unread) -> None:
        sums = batch.at(event.at, Scene(), CALL)
        sums["unread_writes"] += event.expired.writes
        sums["unread_tokens"] += event.expired.tokens
        sums["unread_nano"] += nano_dollars(event.expired.premium)

    def _landed(self, batch: Batch, event: Landed) -> None:
        landing = event.landing
        if event.request:
            self._landings[event.request] = landing.facts
        if landing.brought and landing.facts is not None:  # another process has made the call, and entered it
            sums = batch.at(event.at, event.scene, Outcome.COLLAPSED.value)
            avoid(sums, self._values.avoided(event.scene.model, landing.facts, landing.took, event.followers + 1))
        else:
            self._half(batch, event)

    def _half(self, batch: Batch, event: Landed | Billed) -> None:
        call = self._open.get(event.request)
        if call is None or not event.request or (isinstance(event, Landed) and call.landed is not None):
            self._calls += 1
            call = CallRow(event.request, since=event.at, filed=self._calls <= ROWS)
            self.unfiled += not call.filed
            if event.request:
                self._open[event.request] = call
        if isinstance(event, Landed):
            call.landed = event
        else:
            call.billed = event
        if call.whole or not event.request:
            count_call(batch, call, self._values)
        else:
            self._waiting.append(call)

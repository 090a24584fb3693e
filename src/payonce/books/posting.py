"""From happenings to rows: what each of them adds to the sums, and what is filed of it. Pure.

An upstream call is told of twice, when it has landed and when it was billed: both halves are joined here, so that each
call is entered once, under one scene. This room must never know SQL.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from payonce.books.journal import Answered, Billed, Event, Landed, Shelved, Unread
from payonce.books.schema import Place, Scene
from payonce.books.words import CALL, PASSED
from payonce.dialects.parts import Parts, parts_of
from payonce.ledger.money import Bill, nano_dollars
from payonce.ledger.tally import BUCKETS
from payonce.model.call import Ask, Call
from payonce.model.entry import Tokens
from payonce.model.receipt import Hits, Outcome

MINUTE: Final = 60
PATIENCE: Final = 5.0
"""For so many seconds one half of a call waits for the other."""
FILED: Final = 100
"""So many hits get a receipt in a second (those of the fast lane one for each different answer); all of them are in
the sums."""
OPEN: Final = 4096
"""So many calls are remembered for a half that comes late."""
_SERVED: Final = (Outcome.HIT, Outcome.STALE)


@dataclass(frozen=True, slots=True)
class ReceiptRow:
    """One receipt to be filed; `request` is its number, `follows` that of the request whose call answered it."""

    request: int
    follows: int
    at: float
    scene: Scene
    outcome: str
    reason: str
    times: int
    took: float
    stream: bool
    converted: bool
    key: bytes | None
    avoided: Tokens | None
    served_bytes: int
    parts: Parts


@dataclass(slots=True)
class CallRow:
    """What is known of one upstream call: either half, or both. `row` is where it stands in the file, if it does."""

    request: int
    landed: Landed | None = None
    billed: Billed | None = None
    since: float = 0.0
    row: int | None = None
    counted: set[str] = field(default_factory=set)
    """Which halves are in the sums."""

    @property
    def whole(self) -> bool:
        """Whether nothing more will come."""
        if self.landed is None:
            return self.billed is not None and not self.billed.steering.cacheable
        return self.billed is not None or not self.landed.steered

    @property
    def scene(self) -> Scene:
        """Who asked whom for what, as far as it is known."""
        if self.billed is None:
            return self.landed.scene if self.landed is not None else Scene()
        return self.billed.scene


@dataclass(slots=True)
class Batch:
    """What is to be entered at once."""

    sums: dict[Place, Counter[str]] = field(default_factory=dict)
    latency: Counter[tuple[int, str, int]] = field(default_factory=Counter)
    receipts: list[ReceiptRow] = field(default_factory=list)
    calls: list[CallRow] = field(default_factory=list)
    turns: list[Billed] = field(default_factory=list)
    """The bills of calls that belong to a conversation."""

    def __bool__(self) -> bool:
        return bool(self.sums or self.receipts or self.calls or self.latency)

    def at(self, at: float, scene: Scene, outcome: str, reason: str = "") -> Counter[str]:
        """The sums of this minute, scene, outcome and reason."""
        place = int(at) // MINUTE * MINUTE, scene, outcome, reason
        found = self.sums.get(place)
        if found is None:
            found = self.sums[place] = Counter()
        return found


class Posting:
    """Turns happenings into batches. `secret` keys the digests of what is asked."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._open: OrderedDict[int, CallRow] = OrderedDict()
        self._filed = 0
        self._how: dict[type, Callable[[Batch, Any], None]] = {
            Answered: self._answered,
            Shelved: self._shelved,
            Landed: self._landed,
            Billed: self._half,
            Unread: self._unread,
        }

    def post(self, events: Iterable[Event], batch: Batch) -> None:
        """Add to `batch` what enters these events."""
        alike: dict[tuple[object, ...], list[Answered]] = {}
        for event in events:
            if type(event) is Answered and event.receipt.outcome is Outcome.HIT and event.receipt.entry is not None:
                ask = event.asked
                key = ask.key if isinstance(ask, Ask) else None
                alike.setdefault((key, event.receipt.converted, int(event.at) // MINUTE), []).append(event)
            else:
                self._how[type(event)](batch, event)
        for hits in alike.values():
            self._hits(batch, hits)

    def settle(self, batch: Batch, now: float, *, last: bool = False) -> None:
        """Add the calls that have waited long enough for their other half; with `last`, all of them. Begins a new
        second's share of filed hits."""
        self._filed = 0
        for call in self._open.values():
            halves = {name for name in ("landed", "billed") if getattr(call, name) is not None}
            if halves - call.counted and (last or now - call.since >= PATIENCE):
                _count(batch, call)
        while len(self._open) > OPEN:
            _, oldest = self._open.popitem(last=False)
            _count(batch, oldest)

    def _hits(self, batch: Batch, events: list[Answered]) -> None:
        """The same hit, some times: what they have in common is added up once."""
        first = events[0]
        entry, count = first.receipt.entry, len(events)
        assert entry is not None
        scene, _ = scene_of(first.asked)
        sums = batch.at(first.at, scene, Outcome.HIT.value)
        sums["requests"] += count
        sums["answer_ns"] += round(sum(event.took for event in events) * 1e9)
        sums["converted"] += first.receipt.converted * count
        sums["served_bytes"] += len(entry.body) * count
        avoid(sums, entry.facts.tokens, entry.took, count)
        minute = int(first.at) // MINUTE * MINUTE
        for event in events:
            batch.latency[minute, Outcome.HIT.value, bisect_left(BUCKETS, event.took)] += 1
        filed = events[: max(0, FILED - self._filed)]
        self._filed += len(filed)
        batch.receipts += [_receipt_row(event, scene, {}) for event in filed]

    def _answered(self, batch: Batch, event: Answered) -> None:
        receipt, asked = event.receipt, event.asked
        scene, _ = scene_of(asked)
        outcome, reason = receipt.outcome.value, receipt.reason.id if receipt.reason is not None else ""
        sums = batch.at(event.at, scene, outcome, reason)
        sums["requests"] += 1
        sums["answer_ns"] += round(event.took * 1e9)
        batch.latency[int(event.at) // MINUTE * MINUTE, outcome, bisect_left(BUCKETS, event.took)] += 1
        entry, saved = receipt.entry, receipt.saved
        if entry is not None and receipt.outcome in _SERVED:
            sums["converted"] += receipt.converted
            sums["served_bytes"] += len(entry.body)
            avoid(sums, entry.facts.tokens, entry.took, 1)
        elif saved is not None:
            sums["served_bytes"] += saved.size
            avoid(sums, saved.tokens, saved.took, saved.calls)
            if not saved.calls:  # part of a batch: what was not paid counts, but a call was made
                sums["avoided_input"] += saved.tokens.input or 0
                sums["avoided_nano"] += saved.tokens.cost or 0
        parts = self._parts(asked) if isinstance(asked, Ask) and receipt.outcome not in _SERVED else {}
        batch.receipts.append(_receipt_row(event, scene, parts))

    def _parts(self, ask: Ask) -> Parts:
        if not ask.intent.canonical:
            return {}
        body = ask.call.body if ask.batch is not None else ask.intent.canonical
        return parts_of(ask.call.endpoint, body, ask.call.headers, ask.call.query, self._secret)

    def _shelved(self, batch: Batch, event: Shelved) -> None:
        minute = int(event.at) // MINUTE * MINUTE
        for bucket, count in enumerate(event.histogram):
            if count:
                batch.latency[minute, Outcome.HIT.value, bucket] += count
        took = event.nanoseconds / (sum(event.histogram) or 1)
        for hits in event.hits:
            entry, times = hits.entry, hits.times
            scene = Scene(entry.tenant, entry.namespace, entry.endpoint, entry.model)
            sums = batch.at(event.at, scene, Outcome.HIT.value)
            sums["requests"] += times
            sums["fast"] += times
            sums["answer_ns"] += round(took * times)
            sums["served_bytes"] += len(entry.body) * times
            sums["converted"] += times * hits.converted
            avoid(sums, entry.facts.tokens, entry.took, times)
            if self._filed < FILED:
                self._filed += 1
                batch.receipts.append(_hit_row(hits, event.at, scene, took / 1e9))

    def _unread(self, batch: Batch, event: Unread) -> None:
        sums = batch.at(event.at, Scene(), CALL)
        sums["unread_writes"] += event.expired.writes
        sums["unread_tokens"] += event.expired.tokens
        sums["unread_nano"] += nano_dollars(event.expired.premium)

    def _landed(self, batch: Batch, event: Landed) -> None:
        landing = event.landing
        if landing.brought and landing.facts is not None:  # another process has made the call, and entered it
            sums = batch.at(event.at, event.scene, Outcome.COLLAPSED.value)
            avoid(sums, landing.facts.tokens, landing.took, event.followers + 1)
        else:
            self._half(batch, event)

    def _half(self, batch: Batch, event: Landed | Billed) -> None:
        call = self._open.get(event.request)
        if call is None or not event.request or (isinstance(event, Landed) and call.landed is not None):
            call = CallRow(event.request, since=event.at)
            if event.request:
                self._open[event.request] = call
        if isinstance(event, Landed):
            call.landed = event
        else:
            call.billed = event
        if call.whole or not event.request:
            _count(batch, call)


def _receipt_row(event: Answered, scene: Scene, parts: Parts) -> ReceiptRow:
    receipt, asked = event.receipt, event.asked
    ask = asked if isinstance(asked, Ask) else None
    avoided, size = None, 0
    if receipt.entry is not None and receipt.outcome in _SERVED:
        avoided, size = receipt.entry.facts.tokens, len(receipt.entry.body)
    elif receipt.saved is not None:
        avoided, size = receipt.saved.tokens, receipt.saved.size
    _, number = scene_of(asked)
    return ReceiptRow(
        request=number,
        follows=receipt.flight or (number if receipt.outcome is Outcome.BYPASS else 0),
        at=event.at,
        scene=scene,
        outcome=receipt.outcome.value,
        reason=receipt.reason.id if receipt.reason is not None else "",
        times=1,
        took=event.took,
        stream=ask is not None and ask.key.stream,
        converted=receipt.converted,
        key=None if ask is None else ask.key.digest,
        avoided=avoided,
        served_bytes=size,
        parts=parts,
    )


def _hit_row(hits: Hits, at: float, scene: Scene, took: float) -> ReceiptRow:
    entry = hits.entry
    return ReceiptRow(
        request=hits.request,
        follows=0,
        at=at,
        scene=scene,
        outcome=Outcome.HIT.value,
        reason="",
        times=hits.times,
        took=took,
        stream=hits.slot[-1:] == b"s",
        converted=hits.converted,
        key=hits.slot[:-1],
        avoided=entry.facts.tokens,
        served_bytes=len(entry.body),
        parts={},
    )


def scene_of(asked: Ask | Call | None) -> tuple[Scene, int]:
    """Who asked whom for what, and the number of the request."""
    if asked is None:
        return Scene(), 0
    if isinstance(asked, Ask):
        return Scene(asked.tenant, asked.namespace, asked.call.endpoint, asked.intent.model), asked.call.number
    steering = asked.steering
    if steering is None:
        return Scene(endpoint=asked.endpoint), asked.number
    return Scene(steering.tenant, steering.namespace, asked.endpoint, steering.model), asked.number


def avoid(sums: Counter[str], tokens: Tokens, took: float, calls: int) -> None:
    """`calls` upstream calls of this size were not made."""
    sums["avoided_calls"] += calls
    sums["avoided_input"] += (tokens.input or 0) * calls
    sums["avoided_output"] += (tokens.output or 0) * calls
    sums["avoided_nano"] += (tokens.cost or 0) * calls
    sums["avoided_ns"] += round(took * 1e9) * calls
    if tokens.cost is None:
        sums["avoided_unpriced"] += calls


def _count(batch: Batch, call: CallRow) -> None:
    """Enter what is new of a call."""
    scene, fresh = call.scene, not call.counted
    passed = call.landed is None and call.billed is not None and not call.billed.steering.cacheable
    outcome = PASSED if passed else CALL
    if call.landed is not None and "landed" not in call.counted:
        _count_landing(batch, call, scene, outcome)
    if call.billed is not None and "billed" not in call.counted:
        _count_bill(batch.at(call.billed.at, scene, outcome, ""), call.billed)
        if call.billed.session:
            batch.turns.append(call.billed)
        if call.landed is None and fresh:
            batch.at(call.billed.at, scene, outcome, "")["calls"] += 1
    elif fresh and call.landed is not None and not call.landed.steered:
        _count_facts(batch.at(call.landed.at, scene, outcome, ""), call.landed)
    call.counted = {name for name in ("landed", "billed") if getattr(call, name) is not None}
    batch.calls.append(call)


def _count_landing(batch: Batch, call: CallRow, scene: Scene, outcome: str) -> None:
    landed = call.landed
    assert landed is not None
    landing = landed.landing
    sums = batch.at(landed.at, scene, outcome, landing.reason.id if landing.reason is not None else "")
    if not call.counted:
        sums["calls"] += 1
    sums["call_ns"] += round(landing.took * 1e9)
    sums["kept"] += landing.reason is None
    if landed.followers and landing.facts is not None:
        avoided = batch.at(landed.at, scene._replace(provider=""), Outcome.COLLAPSED.value)
        avoid(avoided, landing.facts.tokens, landing.took, landed.followers)


def _count_facts(sums: Counter[str], landed: Landed) -> None:
    """An answer that is not billed apart: what it says of itself counts."""
    if landed.landing.facts is None:
        return
    tokens = landed.landing.facts.tokens
    sums["billed"] += 1
    sums["unpriced"] += tokens.cost is None
    sums["paid_nano"] += tokens.cost or 0
    sums["input_tokens"] += tokens.input or 0
    sums["plain_tokens"] += tokens.input or 0
    sums["output_tokens"] += tokens.output or 0


def _count_bill(sums: Counter[str], billed: Billed) -> None:
    for finding in billed.findings:
        if finding.wrong and finding.tokens:
            sums["missed_tokens"] += finding.tokens
            sums["missed_nano"] += nano_dollars(finding.cost)
    for bill in billed.bills:
        _add_bill(sums, bill)


def _add_bill(sums: Counter[str], bill: Bill) -> None:
    usage = bill.usage
    saving, premium = nano_dollars(bill.read_saving), nano_dollars(bill.write_premium)
    sums["billed"] += 1
    sums["unpriced"] += bill.cost is None
    sums["paid_nano"] += nano_dollars(bill.cost)
    if bill.estimated:
        sums["estimated_calls"] += 1
        sums["estimated_nano"] += nano_dollars(bill.cost)
    sums["input_tokens"] += usage.input_total or 0
    sums["output_tokens"] += usage.output or 0
    sums["read_tokens"] += usage.cache_read or 0
    sums["written_tokens"] += usage.cache_write or 0
    sums["plain_tokens"] += usage.input_uncached or 0
    sums["read_saving_nano"] += saving
    sums["premium_nano"] += premium
    if not bill.ours:
        sums["unaided_nano"] += saving - premium
    sums["anomalies"] += bool(usage.anomaly)
    if bill.unknown:
        sums["unknown_" + bill.unknown] += 1

"""The story of a batch: its items are kept one by one, and only those that are missing are paid for.

`gather` is the story of one request, `batch_flight` that of one upstream call. A batch of which nothing is known goes
upstream as it came and its answer comes back byte for byte; of any other, the missing items are sent, each once, and
the answer is put together. What goes wrong with such a shortened call costs a further call, never a wrong answer. As
in core/exchange.py nothing is done here and no vendor is known.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterable
from math import inf
from typing import TypeVar

from msgspec.structs import replace

from payonce.core.changes import witnessed
from payonce.core.effects import (
    Await,
    Board,
    Drop,
    Epochs,
    Flight,
    Land,
    LookupMany,
    Pause,
    Put,
    Refuse,
    Relay,
    Renew,
    Story,
)
from payonce.core.exchange import bypass, exchange, fetch_whole, foreseen
from payonce.core.keying import batch_key
from payonce.core.labels import Label
from payonce.core.rules import make_entry
from payonce.core.stock import Stock, alike, all_usable, nothing, saved, stocked, take_stock, weights
from payonce.core.tape import COMPLETE, Tape
from payonce.model import reason as why
from payonce.model.call import Ask, Batch, Headers
from payonce.model.entry import Entry
from payonce.model.ports import BatchDialect, Dialect, Head
from payonce.model.reason import Reason
from payonce.model.receipt import Landing, Outcome, Receipt

R = TypeVar("R")

PUTS_BETWEEN_PAUSES = 64
_OF_THE_BODY = frozenset(b"content-length etag last-modified content-md5 digest content-digest repr-digest".split())
"""Fields that speak of the bytes of an upstream's body, and so of no other."""


def told(ask: Ask, dialect: Dialect, now: float) -> Story[Receipt]:
    """The story of one request, whichever it is."""
    return exchange(ask, dialect, now) if ask.batch is None else gather(ask, dialect, now)


def gather(ask: Ask, dialect: Dialect, now: float, *, again: bool = False) -> Story[Receipt]:
    """One request for a batch, from lookup to receipt. `now` and `again` as for any exchange."""
    batch, dialect = _batch(ask), _of_batches(dialect)
    if ask.clear:
        yield from Drop(tuple([item.key for item in batch.items]))
    found: Iterable[Entry | Reason] = [why.REFRESH] * len(batch.items)
    if not ask.refresh:
        found = yield from LookupMany(batch.items)
    stock = take_stock(batch, found, now)
    renewing = bool(stock.lacking) and all_usable(stock, ask.terms.stale_while_revalidate, now)
    if renewing or not stock.lacking:
        body = yield from _from_stock(ask, dialect, stock)
        if body is not None:
            renewal = (yield from Renew(_narrowed(ask, dialect, stock.lacking), now)) if renewing else None
            missed = stock.missed if renewing else None
            return (yield from _serve(ask, stock, body, missed, now, renewing=renewing, renewal=renewal))
    if stock.held and (not stock.lacking or renewing or not alike(stock.held.values())):
        stock = nothing(batch, why.MODEL_CHANGED)
    if ask.only_if_cached:
        yield from Refuse(why.ONLY_IF_CACHED, Label(Outcome.REFUSED, why.ONLY_IF_CACHED))
        return Receipt(Outcome.REFUSED, why.ONLY_IF_CACHED)
    whole = not stock.held and len(batch.items) == len(batch.places)
    since = inf if again or ask.refresh else now
    return (yield from (_fly_whole if whole else _fly_part)(ask, dialect, stock, now, since))


def _serve(
    ask: Ask,
    stock: Stock,
    body: bytes,
    reason: Reason | None,
    now: float,
    *,
    renewing: bool = False,
    renewal: Flight | None = None,
) -> Story[Receipt]:
    """Everything from the stock; `renewal` has taken off for what is lacking in it, which is paid for once more."""
    batch = _batch(ask)
    entries = stocked(stock, len(batch.items))
    oldest = max(int(entry.age(now)) for entry in entries)
    least = min(entry.ttl - int(entry.age(now)) for entry in entries)
    sources = {entry.facts.source_id for entry in entries}
    total = len(batch.places)
    label = Label(
        Outcome.HIT if reason is None else Outcome.STALE,
        reason,
        age=oldest,
        ttl=max(0, least) if reason is None else least,
        source_id=sources.pop() if len(sources) == 1 else "",
        renewing=renewing,
        items=(total, total),
    )
    head = Head(200, _fitting(entries[0].headers))
    yield from Relay(head, Tape.finished(head, body), label)
    paid, flight = ((), 0) if renewal is None else (stock.lacking, renewal.number)
    return Receipt(label.outcome, reason, saved=saved(batch, entries, paid, len(body)), flight=flight)


def _fly_whole(ask: Ask, dialect: BatchDialect, stock: Stock, now: float, since: float = inf) -> Story[Receipt]:
    """Send the batch as it came and read its flight's tape, as for any other call."""
    boarding = yield from Board(ask, since)
    if boarding is None:
        return (yield from gather(ask, dialect, now, again=True))
    if isinstance(boarding, Reason):
        return (yield from bypass(ask.call, boarding))
    flight = boarding.flight
    head = yield from Await(flight, settle=True)
    failure = head if isinstance(head, Reason) else why.STATUS if head.status >= 500 else None
    if failure is not None and (body := (yield from _despite(ask, dialect, stock, now))) is not None:
        return (yield from _serve(ask, stock, body, failure, now))
    outcome, items = Outcome.MISS if boarding.leader else Outcome.COLLAPSED, (0, len(_batch(ask).places))
    if isinstance(head, Reason):
        yield from Refuse(head, Label(outcome, stock.missed, unkept=head, items=items))
        return Receipt(outcome, stock.missed, flight=flight.number)
    unkept = yield from foreseen(ask, flight, head)
    ttl = ask.terms.ttl if unkept is None else 0
    label = Label(outcome, stock.missed, unkept=unkept, ttl=ttl, stored=unkept is None, items=items)
    yield from Relay(head, flight.tape, label)
    return Receipt(outcome, stock.missed, flight=flight.number)


def _fly_part(ask: Ask, dialect: BatchDialect, stock: Stock, now: float, since: float) -> Story[Receipt]:
    """Send only what is lacking, each item once, and put the answer together when it has come. An error of the
    upstream is passed on as it is; an answer that can't be used is asked for once more, for the batch as it came."""
    batch = _batch(ask)
    boarding = yield from Board(_narrowed(ask, dialect, stock.lacking), since)
    if boarding is None:
        return (yield from gather(ask, dialect, now, again=True))
    if isinstance(boarding, Reason):
        return (yield from bypass(ask.call, boarding))
    number = boarding.flight.number
    landing = yield from Land(boarding.flight)
    tape = boarding.flight.tape
    head, ending = tape.head, tape.ending
    whole = head is not None and ending == COMPLETE and not tape.spilled
    too_large = landing.reason is why.TOO_LARGE or (ending is not None and ending.reason is why.TOO_LARGE)
    failed = not (whole or too_large) or (head is not None and head.status >= 500)
    if failed and (body := (yield from _despite(ask, dialect, stock, now))) is not None:
        return (yield from _serve(ask, stock, body, landing.reason or why.STATUS, now))
    outcome, total = Outcome.MISS if boarding.leader else Outcome.COLLAPSED, len(batch.places)
    if head is not None and whole and (head.status != 200 or landing.reason is why.ERROR_INSIDE):
        yield from Relay(head, tape, Label(outcome, stock.missed, unkept=landing.reason, items=(0, total)))
        return Receipt(outcome, stock.missed, flight=number)
    if failed or head is None:
        reason = _answerable(ending.reason if ending is not None else None)
        yield from Refuse(reason, Label(outcome, stock.missed, unkept=reason, items=(0, total)))
        return Receipt(outcome, stock.missed, flight=number)
    if not landing.entries:
        return (yield from _fly_whole(ask, dialect, nothing(batch, why.UNUSABLE_PART), now))
    paid = dict(zip(stock.lacking, landing.entries, strict=True))
    entries = [paid.get(number) or stock.held[number] for number in range(len(batch.items))]
    joined = yield from _assembled(ask, dialect, entries, paid)
    if joined is None:
        return (yield from _fly_whole(ask, dialect, nothing(batch, why.MODEL_CHANGED), now))
    stored = landing.reason is None
    label = Label(
        outcome,
        stock.missed,
        unkept=landing.reason,
        ttl=ask.terms.ttl if stored else 0,
        stored=stored,
        items=(sum(place in stock.held for place in batch.places), total),
    )
    head = Head(head.status, _fitting(head.headers))
    yield from Relay(head, Tape.finished(head, joined), label)
    return Receipt(outcome, stock.missed, saved=saved(batch, entries, paid, len(joined)), flight=number)


def batch_flight(ask: Ask, tape: Tape, dialect: Dialect, jitter: float) -> Story[Landing]:
    """One upstream call for a batch: the answer is written on `tape`, divided when it has ended, and its items are kept
    if it is whole. `jitter` as for any flight."""
    batch, dialect = _batch(ask), _of_batches(dialect)
    scopes = tuple([scope for item in batch.items for scope in item.scopes])
    counts = yield from Epochs(scopes)
    answer = yield from fetch_whole(ask, tape)
    if isinstance(answer, Landing):
        return answer
    assert tape.head is not None
    division = yield from _at_leisure(dialect.divide(answer.body, weights(batch)))
    if isinstance(division, Reason):
        return Landing(None, division, answer.took)
    if division.unkept is not None:  # what it cost is known all the same
        return Landing(division.facts, division.unkept, answer.took)
    epochs = iter((yield from witnessed(ask, division.facts, scopes, counts)))
    entries: list[Entry] = []
    dropped: Reason | None = None
    pieces = dict(zip(reversed(batch.places), reversed(division.pieces), strict=True))  # the first of each counts
    for number, item in enumerate(batch.items):
        own = item.scopes
        entry = make_entry(
            item,
            tape.head,
            pieces[number].body,
            pieces[number].facts,
            own,
            tuple([next(epochs) for _ in own]),
            stored_at=answer.ended,
            took=answer.took,
            jitter=jitter,
        )
        entries.append(entry)
        dropped = (yield from Put(item, entry)) or dropped
        if number % PUTS_BETWEEN_PAUSES == PUTS_BETWEEN_PAUSES - 1:
            yield from Pause()
    return Landing(division.facts, dropped, answer.took, tuple(entries))


# What is known of the items.


def _from_stock(ask: Ask, dialect: BatchDialect, stock: Stock) -> Story[bytes | None]:
    return (yield from _assembled(ask, dialect, stocked(stock, len(_batch(ask).items)), ()))


def _despite(ask: Ask, dialect: BatchDialect, stock: Stock, now: float) -> Story[bytes | None]:
    """What may be served although the upstream has failed."""
    if not all_usable(stock, ask.terms.stale_if_error, now):
        return None
    return (yield from _from_stock(ask, dialect, stock))


# The parts and the whole.


def _narrowed(ask: Ask, dialect: BatchDialect, wanted: tuple[int, ...]) -> Ask:
    """The ask for these items alone, each once."""
    batch = _batch(ask)
    if len(wanted) == len(batch.places):
        return ask
    first = {number: place for place, number in reversed(list(enumerate(batch.places)))}
    items = tuple([batch.items[number] for number in wanted])
    return replace(
        ask,
        call=replace(ask.call, body=dialect.narrow(ask.call.body, [first[number] for number in wanted])),
        key=batch_key(item.key for item in items),
        batch=Batch(items, tuple(range(len(items)))),
    )


def _assembled(ask: Ask, dialect: BatchDialect, entries: list[Entry], paid: Collection[int]) -> Story[bytes | None]:
    """The answer made of these entries; None where they don't belong together."""
    if not alike(entries):
        return None
    bodies = [entry.body for entry in entries]
    return (yield from _at_leisure(dialect.assemble(bodies, _batch(ask).places, paid, ask.hit_usage)))


def _fitting(headers: Headers) -> Headers:
    return tuple([field for field in headers if field[0] not in _OF_THE_BODY])


def _answerable(reason: Reason | None) -> Reason:
    """A reason with which a client can be answered."""
    return reason if reason is not None and reason.status else why.UPSTREAM_CUT


def _batch(ask: Ask) -> Batch:
    assert ask.batch is not None
    return ask.batch


def _of_batches(dialect: Dialect) -> BatchDialect:
    assert isinstance(dialect, BatchDialect)
    return dialect


def _at_leisure(work: Generator[None, None, R]) -> Story[R]:
    """Work that lets others have their turn now and then."""
    while True:
        try:
            next(work)
        except StopIteration as done:
            result: R = done.value
            return result
        yield from Pause()

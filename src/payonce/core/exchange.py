"""The story, told once: how a request is answered, and how an upstream call is judged and kept.

`exchange` is the story of one request, `flight` that of one upstream call; any number of exchanges read the tape of
one flight. Both yield effects (core/effects.py) and do nothing themselves: they read no clock and know no vendor.
Reading order is execution order.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import inf
from typing import NamedTuple

from msgspec.structs import replace

from payonce.core.changes import witnessed
from payonce.core.effects import (
    Await,
    Board,
    Boarding,
    Claim,
    Copy,
    Declined,
    Drop,
    Epochs,
    Fetch,
    Flight,
    Lookup,
    Now,
    Pass,
    Put,
    Refuse,
    Relay,
    Renew,
    Rest,
    Story,
)
from payonce.core.labels import Label, hit_label, stale_label
from payonce.core.rules import (
    declared_size,
    keepable,
    make_entry,
    still_fresh,
    turned_entry,
    usable_stale,
    worth_turning,
    young_enough,
)
from payonce.core.tape import End, Tape
from payonce.model import reason as why
from payonce.model.call import Ask, Call, Sought
from payonce.model.entry import Entry
from payonce.model.ports import Dialect, Head
from payonce.model.reason import Reason
from payonce.model.receipt import Came, Landing, Outcome, Receipt, Waited

_FIRST_PAUSE = 0.025
_LONGEST_PAUSE = 0.4
_STRIKES = 3
"""So often in a row a store may leave a question who makes a call unanswered, before nobody waits any more."""


def exchange(ask: Ask, dialect: Dialect, now: float, *, again: bool = False) -> Story[Receipt]:
    """One request of a client, from lookup to receipt. `now` is when it arrived, in Unix seconds. `again` says that it
    was told before: up to its boarding, which came too late for the flight that had landed meanwhile."""
    if ask.clear:
        yield from Drop((ask.key,))
    found: Entry | Reason = why.REFRESH
    if not ask.refresh:
        found = yield from Lookup(ask)
    stale: Entry | None = None
    if isinstance(found, Entry):
        verdict = still_fresh(found, ask, now)
        if verdict is None:
            return (yield from _replay(ask, dialect, found, hit_label(found, now)))
        stale, found = found, verdict
    if worth_turning(ask, found):
        turned = yield from _turned(ask, dialect, now)
        if turned is not None:
            return (yield from _replay(ask, dialect, turned, hit_label(turned, now, converted=True)))
    if stale is not None and usable_stale(stale, ask.terms.stale_while_revalidate, found, now):
        renewal = yield from Renew(ask, now)
        receipt = yield from _replay(ask, dialect, stale, stale_label(stale, now, found, renewing=True))
        return receipt if renewal is None else replace(receipt, flight=renewal.number)
    if ask.only_if_cached:
        yield from Refuse(why.ONLY_IF_CACHED, Label(Outcome.REFUSED, why.ONLY_IF_CACHED))
        return Receipt(Outcome.REFUSED, why.ONLY_IF_CACHED)
    boarding = yield from Board(ask, inf if again or ask.refresh else now)
    if boarding is None:
        return (yield from exchange(ask, dialect, now, again=True))
    if isinstance(boarding, Reason):
        return (yield from bypass(ask.call, boarding))
    return (yield from _fly(ask, dialect, boarding, found, stale, now))


def bypass(call: Call, reason: Reason) -> Story[Receipt]:
    """One request that the cache takes no part in."""
    yield from Pass(call, Label(Outcome.BYPASS, reason))
    return Receipt(Outcome.BYPASS, reason)


def _replay(ask: Ask, dialect: Dialect, entry: Entry, label: Label) -> Story[Receipt]:
    head = Head(entry.status, entry.headers)
    body = entry.body if ask.hit_usage == "verbatim" else dialect.respend(entry.body, ask.key.stream, ask.hit_usage)
    yield from Relay(head, Tape.finished(head, body), label)
    return Receipt(label.outcome, label.reason, entry, converted=label.converted)


def _turned(ask: Ask, dialect: Dialect, now: float) -> Story[Entry | None]:
    """The answer as it is stored in the other framing, if it is fresh and loses nothing in this one."""
    found = yield from Lookup(Sought(ask.key.turned, ask.tenant))
    if isinstance(found, Reason) or young_enough(found, ask, now) is not None:
        return None
    to_stream = ask.key.stream
    body = dialect.convert(found.body, to_stream=to_stream, wants_usage=ask.intent.wants_usage)
    return None if body is None else turned_entry(found, body, to_stream=to_stream)


def _fly(
    ask: Ask, dialect: Dialect, boarding: Boarding, missed: Reason, stale: Entry | None, now: float
) -> Story[Receipt]:
    """Read the flight's tape; where the upstream fails, fall back on what is stale if the terms allow it."""
    flight = boarding.flight
    head = yield from Await(flight, settle=not ask.intent.stream)
    failure = head if isinstance(head, Reason) else why.STATUS if head.status >= 500 else None
    if failure is not None and stale is not None and usable_stale(stale, ask.terms.stale_if_error, missed, now):
        return (yield from _replay(ask, dialect, stale, stale_label(stale, now, failure, renewing=False)))
    landing = flight.landing
    alone = boarding.leader and not (landing is not None and landing.brought)
    outcome = Outcome.MISS if alone else Outcome.COLLAPSED
    if isinstance(head, Reason):
        yield from Refuse(head, Label(outcome, missed, unkept=head, ttl=0))
        return Receipt(outcome, missed, flight=flight.number)
    unkept = yield from foreseen(ask, flight, head)
    label = Label(outcome, missed, unkept=unkept, ttl=ask.terms.ttl if unkept is None else 0, stored=unkept is None)
    yield from Relay(head, flight.tape, label)
    return Receipt(outcome, missed, flight=flight.number)


def foreseen(ask: Ask, flight: Flight, head: Head) -> Story[Reason | None]:
    """Why the flight's answer is not kept, as far as that is known when its head is passed on. None where it was kept,
    or, as long as it has not landed, where nothing stands against it."""
    if flight.landing is not None:
        return flight.landing.reason
    unkept = keepable(head, ask.intent)
    if unkept is not None:
        return unkept
    size = declared_size(head)
    if flight.tape.spilled or size > flight.tape.cap:
        return why.TOO_LARGE
    return (yield from Declined(ask, size if ask.batch is None else 0))


def flight(ask: Ask, tape: Tape, dialect: Dialect, jitter: float, patience: float = 0.0) -> Story[Landing]:
    """One upstream call: the answer is written on `tape`, judged when it has ended, and kept if it is whole. Where
    another process makes the same call, its answer is awaited for `patience` seconds at most.

    The epochs are read before the call: whatever is purged while the answer is under way is purged for it too.
    `jitter` in 0..1 shortens the time to live, so that what was stored together does not expire together.
    """
    waited = (yield from await_others(ask, tape, patience)) if patience else None
    if isinstance(waited, Landing):
        return waited
    scopes = ask.scopes
    epochs = yield from Epochs(scopes)
    answer = yield from fetch_whole(ask, tape)
    if isinstance(answer, Landing):
        return replace(answer, waited=waited)
    assert tape.head is not None
    took = answer.took
    facts = dialect.judge(ask.intent, tape.head.headers, answer.body)
    if isinstance(facts, Reason):
        return Landing(None, facts, took, waited=waited)
    epochs = yield from witnessed(ask, facts, scopes, epochs)
    entry = make_entry(
        ask, tape.head, answer.body, facts, scopes, epochs, stored_at=answer.ended, took=took, jitter=jitter
    )
    dropped = yield from Put(ask, entry)
    return Landing(facts, dropped, took, waited=waited)


def await_others(ask: Ask, tape: Tape, patience: float) -> Story[Landing | Waited | None]:
    """Wait while another process makes this call, and land with its answer; None where there was nobody to wait for.

    Nobody waits for ever: not longer than `patience` seconds, and not for a process that has died or whose answer was
    not kept, nor while the store does not say who makes the call. Who wants a new answer waits for nobody.
    """
    claimed = yield from Claim(ask)
    if ask.refresh or (claimed.free and claimed.entry is None):
        return None
    started = now = yield from Now()
    strikes = 0
    for pause in (*pauses(patience), 0.0):
        entry = claimed.entry
        if entry is not None and still_fresh(entry, ask, now) is None:
            yield from Copy(tape, Head(entry.status, entry.headers), entry.body)
            return Landing(entry.facts, None, entry.took, waited=Waited(max(0.0, now - started), Came.BROUGHT))
        strikes = 0 if claimed.sure else strikes + 1
        if claimed.free and (claimed.sure or strikes == _STRIKES):
            return Waited(now - started, Came.NOTHING) if now > started else None
        if pause:
            yield from Rest(pause)
            now = yield from Now()
            claimed = yield from Claim(ask)
    return Waited(max(0.0, now - started), Came.IN_VAIN)


def pauses(patience: float) -> Iterator[float]:
    """How long to rest between two looks, in seconds: longer and longer, and `patience` in all."""
    pause, left = _FIRST_PAUSE, patience
    while left > 0:
        yield min(pause, left)
        left -= pause
        pause = min(pause * 1.5, _LONGEST_PAUSE)


class Whole(NamedTuple):
    """An answer that came whole: its body, when it had come (Unix seconds), and how long that took."""

    body: bytes
    ended: float
    took: float


def fetch_whole(ask: Ask, tape: Tape) -> Story[Whole | Landing]:
    """The answer to an upstream call, written on `tape`; a landing where nothing of it may be kept."""
    started = yield from Now()
    ending = yield from Fetch(ask.call, tape)
    ended = yield from Now()
    took = max(0.0, ended - started)
    if ending.end is not End.COMPLETE or tape.head is None:
        return Landing(None, why.CUT if ending.end is End.CUT else ending.reason, took)
    unkept = keepable(tape.head, ask.intent)
    if unkept is not None:
        return Landing(None, unkept, took)
    body = tape.body()
    if body is None:
        return Landing(None, why.TOO_LARGE, took)
    return Whole(body, ended, took)

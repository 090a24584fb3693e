"""Asking a list of requests once each, so that their answers are in the cache: with bounded concurrency, patience with
an upstream that says "later", and nothing paid for that could not be kept.

`warm` knows only how to repeat and when to stop; a `Sender` asks through the very intake and story that the gateway
uses, so that what is warm here is warm there. This room must never know a command line, nor show a credential.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from enum import StrEnum

import msgspec

from payonce.assembly import World
from payonce.core import effects as do
from payonce.core.fields import CREDENTIALS, credentials
from payonce.core.tape import COMPLETE
from payonce.drive.performing import Turn
from payonce.intake import Admitted, Bypassed, Intake
from payonce.model.call import Ask, Headers
from payonce.model.ports import Clock, Dialect, Head
from payonce.model.reason import Reason
from payonce.model.receipt import Outcome

TRIES = 6
"""How often a request is sent at most, where the upstream says "later"."""
LONGEST_WAIT = 600.0
"""Seconds; an upstream that asks for more patience is not asked again."""
LATER = frozenset((429, 503, 529))
"""The upstream did nothing and charged nothing. Whatever else failed may have been paid for, and is not repeated."""

Sleep = Callable[[float], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Request:
    """One request; `number` is its line."""

    number: int
    endpoint: str
    headers: Headers
    body: bytes


@dataclass(frozen=True, slots=True)
class Unread:
    """A line that is no request."""

    number: int
    because: str


class Warmth(StrEnum):
    """How one request ended."""

    HIT = "hit"
    """It was in the cache already."""
    KEPT = "kept"
    """It was asked, or somebody else just did, and its answer was kept."""
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Sent:
    """What came of sending a request once. `cost` is in billionths of a US dollar, None where it is not known; `status`
    is the upstream's, 0 where there was none; `later` is for how many seconds it asked to wait, None where it did not
    say. `paid` tells that this very request made a call."""

    warmth: Warmth
    because: str = ""
    status: int = 0
    cost: int | None = None
    later: float | None = None
    paid: bool = False


@dataclass(frozen=True, slots=True)
class Done:
    """A request that will not be sent again."""

    number: int
    sent: Sent
    tries: int


@dataclass(slots=True)
class Summary:
    """How it went; `cost` adds up what is known, `unpriced` counts the calls whose price is not."""

    counts: Counter[Warmth] = field(default_factory=Counter)
    failed: list[tuple[int, str]] = field(default_factory=list)
    cost: int = 0
    unpriced: int = 0
    complete: bool = True

    @property
    def warm(self) -> bool:
        """Whether every request is in the cache now."""
        return self.complete and not self.failed


Send = Callable[[Request], Awaitable[Sent]]


class _Round:
    """One call of `warm`: what its workers share."""

    def __init__(self, send: Send, tries: int, sleep: Sleep, clock: Clock, stop: asyncio.Event) -> None:
        self._send = send
        self._tries = tries
        self._sleep = sleep
        self._clock = clock
        self._stop = stop
        self._not_before = 0.0
        self.summary = Summary()

    async def ask(self, request: Request) -> Done | None:
        """Send until it is no longer "later"; None where it was stopped before."""
        sent = Sent(Warmth.FAILED)
        for attempt in range(1, self._tries + 1):
            if not await self._may_send():
                return None
            sent = await self._send(request)
            self._pay(sent)
            if sent.warmth is not Warmth.FAILED or sent.status not in LATER:
                return Done(request.number, sent, attempt)
            wait = 2.0 ** (attempt - 1) if sent.later is None else sent.later
            if wait > LONGEST_WAIT:
                because = f"{sent.because}; it asks to wait {wait:.0f} s, which is too long"
                return Done(request.number, dataclasses.replace(sent, because=because), attempt)
            self._not_before = max(self._not_before, self._clock() + wait)
        because = f"{sent.because}; still so after {self._tries} tries"
        return Done(request.number, dataclasses.replace(sent, because=because), self._tries)

    async def _may_send(self) -> bool:
        """Wait while the upstream wants to be left alone: it says so to all. False where it is to be stopped."""
        while not self._stop.is_set() and (wait := self._not_before - self._clock()) > 0:
            waiting = [asyncio.ensure_future(self._sleep(wait)), asyncio.ensure_future(self._stop.wait())]
            try:
                await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in waiting:
                    task.cancel()
        return not self._stop.is_set()

    def _pay(self, sent: Sent) -> None:
        if sent.paid and sent.status == 200:
            self.summary.cost += sent.cost or 0
            self.summary.unpriced += sent.cost is None


async def warm(
    requests: Iterable[Request | Unread],
    send: Send,
    *,
    clock: Clock,
    concurrency: int = 8,
    tries: int = TRIES,
    sleep: Sleep = asyncio.sleep,
    on_done: Callable[[Done, Summary], None] = lambda _done, _summary: None,
    stop: asyncio.Event | None = None,
) -> Summary:
    """Send every request, `concurrency` at a time, until its answer is kept or can't be.

    Where the upstream says 429, 503 or 529, all wait as long as it asks, on `clock` by `sleep`. `on_done` is told of
    each request when it is done. Once `stop` is set, nothing more is sent, and what is under way is finished.
    `requests` is read as it goes.
    """
    stop = stop or asyncio.Event()
    turn = _Round(send, tries, sleep, clock, stop)
    summary, source = turn.summary, iter(requests)

    async def work(source: Iterator[Request | Unread]) -> None:
        for request in source:
            if stop.is_set():
                summary.complete = False
                return
            if isinstance(request, Unread):
                done: Done | None = Done(request.number, Sent(Warmth.FAILED, request.because), 0)
            else:
                done = await turn.ask(request)
            if done is None:
                summary.complete = False
                return
            summary.counts[done.sent.warmth] += 1
            if done.sent.warmth is Warmth.FAILED:
                summary.failed.append((done.number, done.sent.because))
            on_done(done, summary)

    async with asyncio.TaskGroup() as group:
        for _ in range(max(1, concurrency)):
            group.create_task(work(source))
    summary.failed.sort()
    return summary


class Sender:
    """Sends a request the way the gateway would. `upstream` is the name of one of the settings' upstreams."""

    def __init__(self, world: World, upstream: str = "") -> None:
        self._world = world
        self._intake = Intake(world.settings, world.tenant_secret)
        self._upstream = upstream

    async def __call__(self, request: Request) -> Sent:
        """Ask once. A request that the cache would take no part in is not sent: it would be paid for in vain."""
        taken = self._intake.admit(self._upstream, request.endpoint, b"", request.headers, request.body)
        if not isinstance(taken, Admitted):
            what = "it would not be cached" if isinstance(taken, Bypassed) else "it is refused"
            return Sent(Warmth.FAILED, f"not sent, as {what}: {_sentence(taken.reason)}")
        ask = taken.ask
        async with self._asked(ask, taken.dialect) as turn:
            outcome = _hit(turn)
        if outcome is Outcome.STALE:  # a hit that is past its TTL is not warm: join its renewal, or ask anew
            ask = dataclasses.replace(ask, refresh=True)
            async with self._asked(ask, taken.dialect) as turn:
                outcome = _hit(turn)
        if outcome is Outcome.HIT:
            return Sent(Warmth.HIT)
        return await self._landed(turn, request)

    @asynccontextmanager
    async def _asked(self, ask: Ask, dialect: Dialect) -> AsyncIterator[Turn]:
        """A turn whose answer is taken, and thrown away, before it ends."""
        player = self._world.player
        turn = await player.open(ask, dialect)
        try:
            yield turn
            if turn.reader is not None:
                async for _ in player.chunks(turn):
                    pass
        finally:
            taken = turn.reader is not None and turn.reader.tape.ending is COMPLETE
            if turn.reader is not None:
                turn.reader.leave()
            turn.end(taken)

    async def _landed(self, turn: Turn, request: Request) -> Sent:
        """What became of the call, once it is known whether its answer was kept."""
        flight = turn.flight
        if flight is None:
            effect = turn.effect
            reason = effect.reason if isinstance(effect, do.Refuse) else effect.label.reason
            return Sent(Warmth.FAILED, f"not sent: {_sentence(reason)}")
        await self._world.player.drain(self._world.settings.total_timeout, lambda other: other is flight)
        landing, head = flight.landing, flight.tape.head
        status = head.status if head is not None else 0
        facts = landing.facts if landing is not None else None
        cost = facts.tokens.cost if facts is not None else None
        if landing is not None and landing.reason is None:
            return Sent(Warmth.KEPT, status=status, cost=cost, paid=turn.leader)
        if status not in (0, 200):
            because = f"the upstream answered {status}{_said(flight.tape.body(), request.headers)}"
        else:
            because = _sentence(landing.reason if landing is not None else None)
        later = _later(head, self._world.clock()) if head is not None else None
        return Sent(Warmth.FAILED, because, status, cost, later, paid=turn.leader)


def _hit(turn: Turn) -> Outcome:
    """How a turn is being answered."""
    return turn.effect.label.outcome


def _sentence(reason: Reason | None) -> str:
    if reason is None:
        return "the call did not end"
    return reason.sentence + (f"; {reason.fix}" if reason.fix else "")


class _Error(msgspec.Struct):
    message: str = ""


class _ErrorBody(msgspec.Struct):
    error: _Error


def _said(body: bytes | None, headers: Headers) -> str:
    """The message in an error's body, without the credentials of the request, which some repeat."""
    try:
        message = msgspec.json.decode(body or b"", type=_ErrorBody).error.message
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
    for _, value in credentials(headers):
        for word in value.decode("latin-1").split():
            message = message.replace(word, "***")
    return f" ({' '.join(message.split())[:200]})" if message else ""


def _later(head: Head, now: float) -> float | None:
    """The seconds that `Retry-After` asks for, written as a number or as a date."""
    for name, value in head.headers:
        if name != b"retry-after":
            continue
        text = value.decode("latin-1").strip()
        try:
            seconds = (
                float(text) if text.replace(".", "", 1).isdigit() else parsedate_to_datetime(text).timestamp() - now
            )
        except (ValueError, OverflowError):
            return None
        return max(0.0, seconds)
    return None


# ------------------------------------------------------------------------------------------ a file of requests


class _Wrapped(msgspec.Struct, forbid_unknown_fields=True):
    body: msgspec.Raw
    headers: dict[str, str] = {}
    endpoint: str = ""


class _Outer(msgspec.Struct):
    body: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_JSON = (b"content-type", b"application/json")


def read_line(number: int, line: bytes, endpoint: str, headers: Headers) -> Request | Unread:
    """The request that a line of a file means: a body, or `{"body": …, "headers": {…}, "endpoint": "…"}`.

    A body keeps its bytes, so that its numbers keep their text. `headers` are for every line; a line's own come first,
    but may hold no credential: a file is no place for one.
    """
    line = line.strip()
    try:
        bare = msgspec.json.decode(line, type=_Outer).body is msgspec.UNSET
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return Unread(number, f"it is not a request in JSON: {error}")
    if bare:
        return Request(number, endpoint, (_JSON, *headers), line)
    try:
        said = msgspec.json.decode(line, type=_Wrapped)
        raw = bytes(said.body)
        body = msgspec.json.decode(raw, type=str).encode() if raw.startswith(b'"') else raw
        own = tuple(
            (name.strip().lower().encode("ascii"), value.encode("latin-1")) for name, value in said.headers.items()
        )
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        return Unread(number, f'it has a "body" and is not {{"body": …, "headers": {{…}}, "endpoint": "…"}}: {error}')
    names = {name for name, _ in own}
    if names & CREDENTIALS:
        return Unread(number, "its headers hold a credential; leave it out: the API key comes from the environment")
    fields = own if b"content-type" in names else (_JSON, *own)
    fields += tuple(header for header in headers if header[0] not in names)
    return Request(number, _path(said.endpoint) or endpoint, fields, body)


def _path(endpoint: str) -> str:
    """An endpoint as it stands behind `/v1/`."""
    return endpoint.strip("/").removeprefix("api/").removeprefix("v1/")

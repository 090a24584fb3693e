"""Sending one request so that its answer is kept, and what came of it: by the gateway's world, or by any player.

This room must never repeat a request, nor show a credential.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime

import msgspec
from msgspec import structs

from payonce.assembly import World
from payonce.core import effects as do
from payonce.core.fields import credentials
from payonce.core.tape import COMPLETE
from payonce.drive.aio import AsyncPlayer
from payonce.drive.performing import Turn
from payonce.drive.sync import SyncPlayer
from payonce.intake import Admitted, Bypassed, Intake, Refused
from payonce.model.call import Ask, Headers
from payonce.model.ports import Dialect, Head
from payonce.model.receipt import Outcome
from payonce.warming.watch import sentence
from payonce.warming.words import Request, Sent, Warmth


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
            return not_sent(taken)
        world = self._world
        return await ask_once(
            world.player, taken, request.headers, now=world.clock(), seconds=world.settings.total_timeout
        )


def not_sent(taken: Bypassed | Refused) -> Sent:
    """A request that would not be kept."""
    what = "it would not be cached" if isinstance(taken, Bypassed) else "it is refused"
    return Sent(Warmth.FAILED, f"not sent, as {what}: {sentence(taken.reason)}")


async def ask_once(player: AsyncPlayer, taken: Admitted, headers: Headers, *, now: float, seconds: float) -> Sent:
    """Ask by `player`, take the answer and throw it away, and wait, for `seconds` at most, until it is known whether it
    was kept. An answer that is past its TTL is not warm: it is asked for anew, or its renewal is joined."""
    async with _asked(player, _only_fresh(taken.ask), taken.dialect) as turn:
        outcome = turn.effect.label.outcome
    if outcome is not Outcome.HIT and turn.flight is not None:
        flight = turn.flight
        await player.drain(seconds, lambda other: other is flight)
    return _came_of(turn, outcome, headers, now)


def ask_once_here(player: SyncPlayer, taken: Admitted, headers: Headers, *, now: float, seconds: float) -> Sent:
    """As `ask_once`, in this thread."""
    turn = player.open(_only_fresh(taken.ask), taken.dialect)
    outcome = turn.effect.label.outcome
    try:
        if turn.reader is not None:
            for _ in player.chunks(turn):
                pass
    finally:
        complete = _complete(turn)
        player.leave(turn)
        turn.end(complete)
    if outcome is not Outcome.HIT and turn.flight is not None:
        flight = turn.flight
        player.drain(seconds, lambda other: other is flight)
    return _came_of(turn, outcome, headers, now)


def _only_fresh(ask: Ask) -> Ask:
    """The same, and nothing past its TTL will do."""
    batch = ask.batch
    if batch is not None:
        batch = structs.replace(batch, items=tuple([_only_fresh(item) for item in batch.items]))
    return structs.replace(ask, only_fresh=True, batch=batch)


@asynccontextmanager
async def _asked(player: AsyncPlayer, ask: Ask, dialect: Dialect) -> AsyncIterator[Turn]:
    """A turn whose answer is taken, and thrown away, before it ends."""
    turn = await player.open(ask, dialect)
    try:
        yield turn
        if turn.reader is not None:
            async for _ in player.chunks(turn):
                pass
    finally:
        complete = _complete(turn)
        if turn.reader is not None:
            turn.reader.leave()
        turn.end(complete)


def _complete(turn: Turn) -> bool:
    return turn.reader is not None and turn.reader.tape.ending is COMPLETE


def _came_of(turn: Turn, outcome: Outcome, headers: Headers, now: float) -> Sent:
    """What became of a turn, once it is known whether its answer was kept."""
    flight = turn.flight
    if outcome is Outcome.HIT:
        return Sent(Warmth.HIT)
    if flight is None:
        effect = turn.effect
        reason = effect.reason if isinstance(effect, do.Refuse) else effect.label.reason
        return Sent(Warmth.FAILED, f"not sent: {sentence(reason)}")
    landing, head = flight.landing, flight.tape.head
    status = head.status if head is not None else 0
    facts = landing.facts if landing is not None else None
    cost = facts.tokens.cost if facts is not None else None
    if landing is not None and landing.reason is None:
        return Sent(Warmth.KEPT, status=status, cost=cost, paid=turn.leader)
    if status not in (0, 200):
        because = f"the upstream answered {status}{_said(flight.tape.body(), headers)}"
    else:
        because = sentence(landing.reason if landing is not None else None)
    later = _later(head, now) if head is not None else None
    return Sent(Warmth.FAILED, because, status, cost, later, paid=turn.leader)


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

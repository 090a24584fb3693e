"""The asyncio player: performs the exchanges, for the gateway and for async clients.

Each request's exchange is performed by the task that serves it; what it boards flies by itself (drive/aio_flights.py).
This room must never judge.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from payonce.core import effects as do
from payonce.core.exchange import bypass
from payonce.core.gather import told
from payonce.core.labels import headers as label_headers
from payonce.drive import aio_faces
from payonce.drive.aio_faces import Face, HeadWait, change, resolve
from payonce.drive.aio_flights import AsyncFlights
from payonce.drive.aio_reads import AsyncReads
from payonce.drive.performing import Listener, Turn
from payonce.drive.tiers import Tiers
from payonce.drive.tower import Tower
from payonce.model.call import Ask, Call, Headers
from payonce.model.entry import Entry
from payonce.model.ports import Clock, Dialect, Head, Upstream
from payonce.model.reason import Reason
from payonce.model.receipt import Landing, Receipt

R = TypeVar("R")


class AsyncPlayer:
    """One process's player. `upstreams` by name; times in seconds."""

    def __init__(
        self,
        *,
        tiers: Tiers,
        tower: Tower,
        upstreams: Mapping[str, Upstream],
        listener: Listener,
        clock: Clock,
        read_budget: float = 0.05,
        ttl_jitter: float = 0.1,
        total_timeout: float = 900.0,
        flight_wait: float = 0.0,
        pool: ThreadPoolExecutor | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self.closing = False
        self.tower = tower
        self.listener = listener
        self.clock = clock
        self.reads = AsyncReads(tiers, read_budget, pool)
        self.flights = AsyncFlights(
            reads=self.reads,
            tower=tower,
            upstreams=upstreams,
            listener=listener,
            clock=clock,
            ttl_jitter=ttl_jitter,
            total_timeout=total_timeout,
            flight_wait=flight_wait,
            rng=rng or random.Random(),  # noqa: S311 - spreads expiry, guards nothing
        )

    async def exchange(self, ask: Ask, dialect: Dialect, face: Face) -> Receipt:
        """Answer a request that the cache takes part in."""
        started = self.clock()
        receipt = await self.perform(told(ask, dialect, started), face, dialect)
        self.listener.exchanged(receipt, self.clock() - started, ask)
        return receipt

    async def bypass(self, call: Call, reason: Reason, face: Face) -> Receipt:
        """Answer a request that the cache takes no part in."""
        started = self.clock()
        receipt = await self.perform(bypass(call, reason), face, None)
        self.listener.exchanged(receipt, self.clock() - started, call)
        return receipt

    async def open(self, ask: Ask, dialect: Dialect, patience: float | None = None) -> Turn:
        """Perform an exchange up to its answer, for a client that takes it at its own pace. Who follows another's
        flight waits `patience` seconds for its head, then gets a TimeoutError; who leads has the upstream's own time
        limits."""
        started = self.clock()
        turn = Turn(told(ask, dialect, started), ask, self.listener, self.clock, started)
        answer: Any = None
        while (effect := turn.ask(answer)) is not None:
            at_once = _SYNC.get(type(effect))
            if at_once is not None:
                answer = at_once(self, effect, dialect)
            else:
                performed = _ASYNC[type(effect)](self, effect, None)
                if patience is not None and turn.flight is not None and not turn.leader:
                    async with asyncio.timeout(patience):
                        answer = await performed
                else:
                    answer = await performed
            if isinstance(answer, do.Boarding):
                turn.board(answer)
        relayed = turn.effect
        if isinstance(relayed, do.Relay) and relayed.tape.joinable:
            turn.reader = relayed.tape.read()
        return turn

    async def chunks(self, turn: Turn, patience: float | None = None) -> AsyncGenerator[bytes]:
        """The tape of a turn that relays, as it grows; ends with the tape, whose ending tells how. A follower that
        gets nothing for `patience` seconds gets a TimeoutError."""
        reader = turn.reader
        assert reader is not None
        while True:
            taken = reader.take()
            for chunk in taken:
                yield chunk
            if taken:
                continue
            if reader.tape.ending is not None:
                return
            async with asyncio.timeout(None if turn.leader else patience):
                await change(reader.tape)

    async def drain(self, seconds: float, which: Callable[[do.Flight], bool]) -> None:
        """Let the flights that `which` names land within `seconds`, and cancel the rest of them."""
        await self.flights.drain(seconds, which)

    async def pass_on(self, call: Call, face: Face, fields: Headers = ()) -> Reason | None:
        """Send `call` upstream and its answer back as it comes; a reason if the upstream failed."""
        return await aio_faces.pass_on(self.flights.upstreams[call.upstream], call, face, fields)

    async def close(self, drain: float) -> None:
        """Let what is in the air land within `drain` seconds, cancel the rest, and stop reading."""
        self.closing = True
        await self.flights.close(drain)
        self.reads.close()

    async def perform(
        self, story: do.Story[R], face: Face, dialect: Dialect | None, effect: do.Effect[Any] | None = None
    ) -> R:
        """What a story returns; where it was begun elsewhere, `effect` is what it waits for."""
        answer: Any = None
        try:
            while True:
                if effect is None:
                    effect = story.send(answer)
                at_once = _SYNC.get(type(effect))
                if at_once is not None:
                    answer = at_once(self, effect, dialect)
                else:
                    answer = await _ASYNC[type(effect)](self, effect, face)
                effect = None
        except StopIteration as end:
            result: R = end.value
            return result

    # What is performed at once.

    def _board(self, effect: do.Board, dialect: Dialect) -> do.Boarding | Reason | None:
        return self.flights.board(effect, dialect)

    def _renew(self, effect: do.Renew, dialect: Dialect) -> do.Flight | None:
        return self.flights.renew(effect, dialect)

    def _declined(self, effect: do.Declined, _dialect: Dialect) -> Reason | None:
        return self.reads.tiers.declines(effect.ask.key.slot, effect.size)

    # What may take a while.

    def _lookup(self, effect: do.Lookup, _face: Face | None) -> Awaitable[Entry | Reason]:
        return self.reads.find(effect.ask)

    def _lookup_many(self, effect: do.LookupMany, _face: Face | None) -> Awaitable[tuple[Entry | Reason, ...]]:
        return self.reads.find_many(effect.asks)

    def _drop(self, effect: do.Drop, _face: Face | None) -> Awaitable[None]:
        return self.reads.drop(effect.keys)

    async def _await(self, effect: do.Await, _face: Face | None) -> Head | Reason:
        come: asyncio.Future[Head | Reason] = asyncio.get_running_loop().create_future()
        wait = HeadWait(effect, lambda head: None if come.done() else come.set_result(head))
        try:
            return await come
        finally:
            wait.give_up()

    async def _land(self, effect: do.Land, _face: Face | None) -> Landing:
        if effect.flight.landing is None:
            landed = asyncio.get_running_loop().create_future()
            effect.flight.on_landing(lambda: resolve(landed))
            await landed
        assert effect.flight.landing is not None
        return effect.flight.landing

    async def _pause(self, _effect: do.Pause, _face: Face | None) -> None:
        await asyncio.sleep(0)

    def _relay(self, effect: do.Relay, face: Face) -> Awaitable[bool]:
        return aio_faces.relay(effect, face)

    def _pass(self, effect: do.Pass, face: Face) -> Awaitable[Reason | None]:
        return self.pass_on(effect.call, face, label_headers(effect.label))

    def _refuse(self, effect: do.Refuse, face: Face) -> Awaitable[None]:
        return face.refuse(effect.reason, label_headers(effect.label))


_SYNC: dict[type, Callable[..., Any]] = {
    do.Board: AsyncPlayer._board,  # noqa: SLF001 - the table is part of the class
    do.Renew: AsyncPlayer._renew,  # noqa: SLF001
    do.Declined: AsyncPlayer._declined,  # noqa: SLF001
}
_ASYNC: dict[type, Callable[..., Any]] = {
    do.Lookup: AsyncPlayer._lookup,  # noqa: SLF001
    do.LookupMany: AsyncPlayer._lookup_many,  # noqa: SLF001
    do.Drop: AsyncPlayer._drop,  # noqa: SLF001
    do.Land: AsyncPlayer._land,  # noqa: SLF001
    do.Pause: AsyncPlayer._pause,  # noqa: SLF001
    do.Await: AsyncPlayer._await,  # noqa: SLF001
    do.Relay: AsyncPlayer._relay,  # noqa: SLF001
    do.Pass: AsyncPlayer._pass,  # noqa: SLF001
    do.Refuse: AsyncPlayer._refuse,  # noqa: SLF001
}

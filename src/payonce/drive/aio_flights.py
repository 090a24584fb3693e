"""The flights of the asyncio player: each upstream call in a task of its own, which no client's leaving touches.

Whatever happens to a flight, its tape ends, its gate is free again, and its landing is told. This room must never know
a client.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Mapping
from typing import Any

from payonce.core import effects as do
from payonce.core.exchange import flight
from payonce.core.gather import batch_flight
from payonce.core.tape import COMPLETE, End, Ending, Tape
from payonce.drive.aio_faces import change
from payonce.drive.aio_reads import AsyncReads
from payonce.drive.performing import Listener
from payonce.drive.tower import Tower
from payonce.model import reason as why
from payonce.model.call import Ask, Call
from payonce.model.ports import Clock, Dialect, Upstream, UpstreamFault
from payonce.model.reason import Reason
from payonce.model.receipt import Landing

log = logging.getLogger("payonce.drive")

SWEEP_SECONDS = 0.25
"""How often flights are looked at for having been in the air too long: cheaper than a timer for each."""


class AsyncFlights:
    """All flights of one player. `upstreams` by name; times in seconds."""

    def __init__(
        self,
        *,
        reads: AsyncReads,
        tower: Tower,
        upstreams: Mapping[str, Upstream],
        listener: Listener,
        clock: Clock,
        ttl_jitter: float,
        total_timeout: float,
        flight_wait: float,
        rng: random.Random,
    ) -> None:
        self.reads = reads
        self.tiers = reads.tiers
        self.tower = tower
        self.upstreams = upstreams
        self.listener = listener
        self.clock = clock
        self.ttl_jitter = ttl_jitter
        self.total_timeout = total_timeout
        self.flight_wait = flight_wait
        self.tasks: dict[asyncio.Task[None], do.Flight] = {}
        self._rng = rng
        self._sweeping: asyncio.TimerHandle | None = None

    def board(self, effect: do.Board, dialect: Dialect) -> do.Boarding | Reason | None:
        """A seat, as `Board` has it."""
        found = self.tower.find(effect.ask, self.tiers.purges)
        if found is not None:
            found.followers += 1
            return do.Boarding(found, leader=False)
        if self.tower.landed_since(effect.ask, effect.since):
            return None
        if self.tower.full:
            return why.FLIGHTS_FULL
        return do.Boarding(self._take_off(effect.ask, dialect), leader=True)

    def renew(self, effect: do.Renew, dialect: Dialect) -> do.Flight | None:
        """A flight that nobody waits for, as `Renew` has it."""
        tower, ask = self.tower, effect.ask
        if tower.full or tower.find(ask, self.tiers.purges) is not None or tower.landed_since(ask, effect.since):
            return None
        return self._take_off(ask, dialect)

    async def drain(self, seconds: float, which: Callable[[do.Flight], bool]) -> None:
        """Let the flights that `which` names land within `seconds`, and cancel the rest of them."""
        flying = [task for task, flight_ in self.tasks.items() if which(flight_)]
        if flying:
            _, late = await asyncio.wait(flying, timeout=seconds)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=1.0)

    async def close(self, drain: float) -> None:
        """Let what is in the air land within `drain` seconds, and cancel the rest."""
        if self.tasks:
            await asyncio.wait(self.tasks, timeout=drain)
        for task in tuple(self.tasks):
            task.cancel()
        if self._sweeping is not None:
            self._sweeping.cancel()
        if self.tasks:
            await asyncio.wait(self.tasks, timeout=1.0)

    def _take_off(self, ask: Ask, dialect: Dialect) -> do.Flight:
        loop = asyncio.get_running_loop()
        new = self.tower.take_off(ask, self.tiers.purges)
        new.took_off = loop.time()
        task = loop.create_task(self._fly(new, dialect))
        self.tasks[task] = new
        task.add_done_callback(self._ended)
        if self._sweeping is None:
            self._sweeping = loop.call_later(SWEEP_SECONDS, self._sweep)
        return new

    async def _fly(self, new: do.Flight, dialect: Dialect) -> None:
        """Perform the story of one flight."""
        landing = Landing(None, why.INTERNAL, 0.0)
        try:
            landing = await self._perform(self._story(new, dialect))
        except asyncio.CancelledError:
            landing = Landing(None, self._why_cancelled(new), 0.0)
            if not new.overdue:
                raise
        except Exception:
            log.exception("a flight failed; its readers get an error, nothing is kept")
        finally:
            self._land(new, landing)

    def _ended(self, task: asyncio.Task[None]) -> None:
        flown = self.tasks.pop(task)
        if flown.landing is None:  # cancelled before its first step, of which the task itself could not tell
            self._land(flown, Landing(None, why.STOPPING, 0.0))

    def _land(self, flown: do.Flight, landing: Landing) -> None:
        flown.land(landing)
        self.tower.land(flown, self.clock())
        self.reads.leases.release(flown)
        flown.tape.end(Ending(End.CUT if flown.tape.head else End.FAILED, landing.reason or why.INTERNAL))
        self.listener.landed(landing, flown.followers, flown.ask)

    def _story(self, new: do.Flight, dialect: Dialect) -> do.Story[Landing]:
        jitter = self._rng.random() * self.ttl_jitter
        if new.ask.batch is not None:
            return batch_flight(new.ask, new.tape, dialect, jitter)
        return flight(new.ask, new.tape, dialect, jitter, self.flight_wait)

    async def _perform(self, story: do.Story[Landing]) -> Landing:
        answer: Any = None
        try:
            while True:
                effect = story.send(answer)
                at_once = _AT_ONCE.get(type(effect))
                answer = at_once(self, effect) if at_once is not None else await _AWAITED[type(effect)](self, effect)
        except StopIteration as end:
            landing: Landing = end.value
            return landing

    # What the flight asks for.

    def _epochs(self, effect: do.Epochs) -> tuple[int, ...]:
        return self.tiers.epochs(effect.scopes)

    def _now(self, _effect: do.Now) -> float:
        return self.clock()

    def _put(self, effect: do.Put) -> Reason | None:
        return self.tiers.put(effect.ask, effect.entry)

    def _copy(self, effect: do.Copy) -> None:
        effect.tape.begin(effect.head)
        effect.tape.feed(effect.body)
        effect.tape.end(COMPLETE)

    async def _claim(self, effect: do.Claim) -> do.Claimed:
        return await self.reads.claim(effect.ask)

    async def _rest(self, effect: do.Rest) -> None:
        await asyncio.sleep(effect.seconds)

    async def _witness(self, effect: do.Witness) -> int:
        known = self.tiers.changes.seen(effect)
        if known is not None:
            return known
        task = asyncio.current_task()
        assert task is not None  # each flight has one of its own
        return await asyncio.to_thread(self.tiers.changes.settle, effect, self.tasks[task])

    async def _pause(self, _effect: do.Pause) -> None:
        await asyncio.sleep(0)

    async def _fetch(self, effect: do.Fetch) -> Ending:
        ending = await self._record(effect.call, effect.tape)
        effect.tape.end(ending)
        return ending

    async def _record(self, call: Call, tape: Tape) -> Ending:
        try:
            answer = await self.upstreams[call.upstream].open(call)
        except UpstreamFault as fault:
            return Ending(End.FAILED, fault.reason)
        try:
            tape.begin(answer.head)
            if (body := answer.whole()) is not None:
                return await _fed(tape, body) or COMPLETE
            async for chunk in answer.chunks():
                if (cut := await _fed(tape, chunk)) is not None:
                    return cut
        except UpstreamFault as fault:
            return Ending(End.CUT, fault.reason)
        finally:
            answer.close()
        return COMPLETE

    # Flights that take too long.

    def _sweep(self) -> None:
        """Cancel every flight that has been in the air for longer than it may; again while there are any."""
        loop = asyncio.get_running_loop()
        limit = loop.time() - self.total_timeout
        for task, flying in tuple(self.tasks.items()):
            if flying.took_off < limit and not flying.overdue:
                flying.overdue = True
                task.cancel()
        self._sweeping = loop.call_later(SWEEP_SECONDS, self._sweep) if self.tasks else None

    @staticmethod
    def _why_cancelled(flying: do.Flight) -> Reason:
        if not flying.overdue:
            return why.STOPPING
        return why.UPSTREAM_SLOW if flying.tape.readers or flying.tape.head is None else why.ABANDONED


async def _fed(tape: Tape, chunk: bytes) -> Ending | None:
    """Write a chunk, at the pace of the readers; how it ends where nobody reads what is too large to be kept."""
    tape.feed(chunk)
    while tape.full:
        await change(tape)
    return Ending(End.CUT, why.TOO_LARGE) if tape.spilled and not tape.readers else None


_AT_ONCE: dict[type, Callable[..., Any]] = {
    do.Epochs: AsyncFlights._epochs,  # noqa: SLF001 - the table is part of the class
    do.Now: AsyncFlights._now,  # noqa: SLF001
    do.Put: AsyncFlights._put,  # noqa: SLF001
    do.Copy: AsyncFlights._copy,  # noqa: SLF001
}
_AWAITED: dict[type, Callable[..., Any]] = {
    do.Claim: AsyncFlights._claim,  # noqa: SLF001
    do.Rest: AsyncFlights._rest,  # noqa: SLF001
    do.Witness: AsyncFlights._witness,  # noqa: SLF001
    do.Pause: AsyncFlights._pause,  # noqa: SLF001
    do.Fetch: AsyncFlights._fetch,  # noqa: SLF001
}

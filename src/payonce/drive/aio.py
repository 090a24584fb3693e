"""The asyncio player: performs the effects of both stories, for the gateway and for async clients.

Each request's exchange is performed by the task that serves it; each flight by a task of its own, which no client's
leaving touches. Faults of the store become misses here and nowhere else. This room must never judge.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, TypeVar

from payonce.core import effects as do
from payonce.core.exchange import bypass, flight
from payonce.core.gather import batch_flight, told
from payonce.core.labels import headers as label_headers
from payonce.core.tape import COMPLETE, End, Ending, Reader, Tape
from payonce.drive.performing import READERS, SETTLE_SECONDS, SLICE_ITEMS, WAITING_READS, Listener, Turn
from payonce.drive.tiers import Tiers
from payonce.drive.tower import Tower
from payonce.errors import StoreError
from payonce.model import reason as why
from payonce.model.call import Ask, Call, Headers
from payonce.model.entry import Entry
from payonce.model.ports import Clock, Dialect, Head, Upstream, UpstreamFault
from payonce.model.reason import Reason
from payonce.model.receipt import Landing, Receipt

R = TypeVar("R")
log = logging.getLogger("payonce.drive")

SWEEP_SECONDS = 0.25
"""How often flights are looked at for having been in the air too long: cheaper than a timer for each."""


class Face(Protocol):
    """Where an answer goes: one client's connection."""

    @property
    def gone(self) -> bool:
        """Whether the client has left."""
        ...

    def on_gone(self, call: Callable[[], None]) -> None:
        """Call `call` when the client leaves; at once if it has left already."""
        ...

    async def start(self, head: Head, fields: Headers, body: bytes | None) -> None:
        """Send the head, with `fields` added; with `body`, the whole answer in one go."""
        ...

    async def send(self, chunk: bytes) -> None:
        """Send a part of the body; returns when the client's buffer has room again."""
        ...

    async def finish(self) -> None:
        """The body is whole."""
        ...

    def abort(self) -> None:
        """The body will never be whole: break the connection, so that the client can tell."""
        ...

    async def refuse(self, reason: Reason, fields: Headers) -> None:
        """Answer with the gateway's own error."""
        ...


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
        pool: ThreadPoolExecutor | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self.tiers = tiers
        self.tower = tower
        self.upstreams = upstreams
        self.listener = listener
        self.clock = clock
        self.read_budget = read_budget
        self.ttl_jitter = ttl_jitter
        self.total_timeout = total_timeout
        self._rng = rng or random.Random()  # noqa: S311 - spreads expiry, guards nothing
        self._tasks: dict[asyncio.Task[None], do.Flight] = {}
        self._sweeping: asyncio.TimerHandle | None = None
        self._owns_pool = pool is None
        self._pool = pool or ThreadPoolExecutor(READERS, thread_name_prefix="payonce-read")
        self._reads = 0

    async def exchange(self, ask: Ask, dialect: Dialect, face: Face) -> Receipt:
        """Answer a request that the cache takes part in."""
        started = self.clock()
        receipt = await self._perform(told(ask, dialect, started), face, dialect)
        self.listener.exchanged(receipt, self.clock() - started)
        return receipt

    async def bypass(self, call: Call, reason: Reason, face: Face) -> Receipt:
        """Answer a request that the cache takes no part in."""
        started = self.clock()
        receipt = await self._perform(bypass(call, reason), face, None)
        self.listener.exchanged(receipt, self.clock() - started)
        return receipt

    async def open(self, ask: Ask, dialect: Dialect, patience: float | None = None) -> Turn:
        """Perform an exchange up to its answer, for a client that takes it at its own pace. Who follows another's
        flight waits `patience` seconds for its head, then gets a TimeoutError; who leads has the upstream's own time
        limits."""
        started = self.clock()
        turn = Turn(told(ask, dialect, started), self.listener, self.clock, started)
        answer: Any = None
        while (effect := turn.ask(answer)) is not None:
            at_once = _SYNC.get(type(effect))
            if at_once is not None:
                answer = at_once(self, effect, dialect)
            else:
                following = turn.flight is not None and not turn.leader
                async with asyncio.timeout(patience if following else None):
                    answer = await _ASYNC[type(effect)](self, effect, None)
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
                await _change(reader.tape)

    async def drain(self, seconds: float, which: Callable[[do.Flight], bool]) -> None:
        """Let the flights that `which` names land within `seconds`, and cancel the rest of them."""
        flying = [task for task, flight_ in self._tasks.items() if which(flight_)]
        if flying:
            _, late = await asyncio.wait(flying, timeout=seconds)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=1.0)

    async def pass_on(self, call: Call, face: Face, fields: Headers = ()) -> Reason | None:
        """Send `call` upstream and its answer back as it comes; a reason if the upstream failed.

        The face's own pace holds the upstream back; a client that leaves ends the upstream's call.
        """
        try:
            answer = await self._unless_gone(self.upstreams[call.upstream].open(call), face)
        except UpstreamFault as fault:
            await face.refuse(fault.reason, fields)
            return fault.reason
        if answer is None:
            return None
        try:
            face.on_gone(answer.close)
            await face.start(answer.head, fields, None)
            async for chunk in answer.chunks():
                await face.send(chunk)
                if face.gone:
                    return None
            await face.finish()
        except UpstreamFault as fault:
            face.abort()
            return fault.reason
        finally:
            answer.close()
        return None

    async def close(self, drain: float) -> None:
        """Let what is in the air land within `drain` seconds, cancel the rest, and stop reading."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=drain)
        for task in tuple(self._tasks):
            task.cancel()
        if self._sweeping is not None:
            self._sweeping.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=1.0)
        if self._owns_pool:
            self._pool.shutdown(wait=False, cancel_futures=True)

    async def _perform(self, story: do.Story[R], face: Face | None, dialect: Dialect | None) -> R:
        answer: Any = None
        try:
            while True:
                effect = story.send(answer)
                at_once = _SYNC.get(type(effect))
                if at_once is not None:
                    answer = at_once(self, effect, dialect)
                else:
                    answer = await _ASYNC[type(effect)](self, effect, face)
        except StopIteration as end:
            result: R = end.value
            return result

    # What is performed at once.

    def _board(self, effect: do.Board, dialect: Dialect | None) -> do.Boarding | Reason:
        found = self.tower.find(effect.ask, self.tiers.purges)
        if found is not None:
            found.followers += 1
            return do.Boarding(found, leader=False)
        if self.tower.full or dialect is None:
            return why.FLIGHTS_FULL
        return do.Boarding(self._take_off(effect.ask, dialect), leader=True)

    def _renew(self, effect: do.Renew, dialect: Dialect | None) -> None:
        if dialect is not None and not self.tower.full and self.tower.find(effect.ask, self.tiers.purges) is None:
            self._take_off(effect.ask, dialect)

    def _take_off(self, ask: Ask, dialect: Dialect) -> do.Flight:
        loop = asyncio.get_running_loop()
        new = self.tower.take_off(ask, self.tiers.purges)
        new.took_off = loop.time()
        task = loop.create_task(self._fly(new, dialect))
        self._tasks[task] = new
        task.add_done_callback(self._tasks.pop)
        if self._sweeping is None:
            self._sweeping = loop.call_later(SWEEP_SECONDS, self._sweep)
        return new

    def _epochs(self, effect: do.Epochs, _dialect: Dialect | None) -> tuple[int, ...]:
        return self.tiers.epochs(effect.scopes)

    def _now(self, _effect: do.Now, _dialect: Dialect | None) -> float:
        return self.clock()

    def _put(self, effect: do.Put, _dialect: Dialect | None) -> Reason | None:
        return self.tiers.put(effect.ask, effect.entry)

    # What may take a while.

    async def _lookup(self, effect: do.Lookup, _face: Face | None) -> Entry | Reason:
        found = self.tiers.look(effect.ask)
        if found is not None:
            return found
        try:
            [blob] = await self._read([effect.ask.key.slot])
        except TimeoutError:
            self.tiers.dropped["store-slow"] += 1
            return why.STORE_SLOW
        except StoreError as error:
            self.tiers.complain(error)
            return why.STORE_FAULT
        if blob is None:
            return why.ABSENT
        entry = self.tiers.prove(effect.ask, blob)
        if isinstance(entry, Entry):
            self.tiers.promote(effect.ask, blob, entry)
        return entry

    async def _lookup_many(self, effect: do.LookupMany, _face: Face | None) -> tuple[Entry | Reason, ...]:
        """Slice by slice, so that the loop is never held for long; once the store behind was slow or failed, only the
        front is asked."""
        found: list[Entry | Reason] = []
        against: Reason | None = None
        for start in range(0, len(effect.asks), SLICE_ITEMS):
            if start:
                await asyncio.sleep(0)
            asks = effect.asks[start : start + SLICE_ITEMS]
            seen = [self.tiers.look(ask) for ask in asks]
            behind = [ask for ask, entry in zip(asks, seen, strict=True) if entry is None]
            blobs: Sequence[bytes | None] = ()
            if behind and against is None:
                try:
                    blobs = await self._read([ask.key.slot for ask in behind])
                except TimeoutError:
                    self.tiers.dropped["store-slow"] += 1
                    against = why.STORE_SLOW
                except StoreError as error:
                    self.tiers.complain(error)
                    against = why.STORE_FAULT
            found += self.tiers.settle(asks, seen, blobs, against)
        return tuple(found)

    async def _read(self, slots: Sequence[bytes]) -> Sequence[bytes | None]:
        """The store behind is read within the budget: on the loop where the store can do that, else in a thread. A read
        that comes late is let go. Raises TimeoutError and StoreError."""
        found = await self.tiers.read_soon(slots)
        if found is not None:
            return found
        if self._reads >= WAITING_READS:
            raise TimeoutError
        self._reads += 1
        future = asyncio.get_running_loop().run_in_executor(self._pool, self.tiers.read_many, slots)
        future.add_done_callback(self._read_done)
        done, _ = await asyncio.wait((future,), timeout=self.read_budget)
        if not done:
            raise TimeoutError
        return future.result()

    def _read_done(self, future: asyncio.Future[Any]) -> None:
        self._reads -= 1
        if not future.cancelled():
            future.exception()

    async def _witness(self, effect: do.Witness, _dialect: Dialect | None) -> int:
        known = self.tiers.changes.seen(effect)
        if known is None:
            loop = asyncio.get_running_loop()
            known = await loop.run_in_executor(self._pool, self.tiers.changes.settle, effect)
        return known

    async def _drop(self, effect: do.Drop, _face: Face | None) -> None:
        await asyncio.get_running_loop().run_in_executor(self._pool, self.tiers.drop, effect.key)

    async def _await(self, effect: do.Await, _face: Face | None) -> Head | Reason:
        flight_, tape = effect.flight, effect.flight.tape
        place = tape.read()  # without a reader, a tape past its cap lets go of its start
        try:
            while tape.head is None and tape.ending is None:
                await _change(tape)
            if tape.head is None:
                return (tape.ending and tape.ending.reason) or why.INTERNAL
            landed = flight_.landing is not None
            if effect.settle and not landed:
                try:
                    async with asyncio.timeout(SETTLE_SECONDS):
                        while flight_.landing is None and tape.ending is None and not tape.spilled:
                            await _change(tape)
                except TimeoutError:
                    pass
            return tape.head
        finally:
            asyncio.get_running_loop().call_soon(place.leave)  # `_relay`, if it comes to that, reads on before that

    async def _land(self, effect: do.Land, _face: Face | None) -> Landing:
        if effect.flight.landing is None:
            landed = asyncio.get_running_loop().create_future()
            effect.flight.on_landing(lambda: _resolve(landed))
            await landed
        assert effect.flight.landing is not None
        return effect.flight.landing

    async def _pause(self, _effect: do.Pause, _face: Face | None) -> None:
        await asyncio.sleep(0)

    async def _relay(self, effect: do.Relay, face: Face | None) -> bool:
        assert face is not None
        tape, fields = effect.tape, label_headers(effect.label)
        if tape.ending is COMPLETE and (body := tape.body()) is not None:
            await face.start(effect.head, fields, body)
            return not face.gone
        if not tape.joinable:
            await face.refuse(why.UPSTREAM_CUT, fields)
            return False
        reader = tape.read()
        try:
            return await self._follow(reader, effect.head, fields, face)
        finally:
            reader.leave()

    async def _follow(self, reader: Reader, head: Head, fields: Headers, face: Face) -> bool:
        tape = reader.tape
        await face.start(head, fields, None)
        while True:
            for chunk in reader.take():
                await face.send(chunk)
            if face.gone:
                return False
            if reader.place < tape.base + len(tape.chunks):
                continue
            if tape.ending is not None:
                break
            await _change(tape)
        if tape.ending.end is End.COMPLETE:
            await face.finish()
            return not face.gone
        face.abort()
        return False

    async def _pass(self, effect: do.Pass, face: Face | None) -> Reason | None:
        assert face is not None
        return await self.pass_on(effect.call, face, label_headers(effect.label))

    async def _refuse(self, effect: do.Refuse, face: Face | None) -> None:
        assert face is not None
        await face.refuse(effect.reason, label_headers(effect.label))

    async def _unless_gone(self, opening: Any, face: Face) -> Any:
        """The answer that `opening` brings, or None when the client leaves first (the call is then given up)."""
        task = asyncio.ensure_future(opening)
        face.on_gone(task.cancel)
        try:
            return await task
        except asyncio.CancelledError:
            if face.gone and not _cancelled_from_outside():
                return None
            task.cancel()
            if task.done() and not task.cancelled() and task.exception() is None:
                task.result().close()  # it was opened, and nobody will pick it up
            raise

    async def _fetch(self, effect: do.Fetch, _face: Face | None) -> Ending:
        tape = effect.tape
        ending = await self._record(effect.call, tape)
        tape.end(ending)
        return ending

    async def _record(self, call: Call, tape: Tape) -> Ending:
        try:
            answer = await self.upstreams[call.upstream].open(call)
        except UpstreamFault as fault:
            return Ending(End.FAILED, fault.reason)
        try:
            tape.begin(answer.head)
            async for chunk in answer.chunks():
                tape.feed(chunk)
                while tape.full:
                    await _change(tape)
                if tape.spilled and not tape.readers:
                    return Ending(End.CUT, why.TOO_LARGE)
        except UpstreamFault as fault:
            return Ending(End.CUT, fault.reason)
        finally:
            answer.close()
        return COMPLETE

    def _sweep(self) -> None:
        """Cancel every flight that has been in the air for longer than it may; again while there are any."""
        loop = asyncio.get_running_loop()
        limit = loop.time() - self.total_timeout
        for task, flying in tuple(self._tasks.items()):
            if flying.took_off < limit and not flying.overdue:
                flying.overdue = True
                task.cancel()
        self._sweeping = loop.call_later(SWEEP_SECONDS, self._sweep) if self._tasks else None

    @staticmethod
    def _why_cancelled(flying: do.Flight) -> Reason:
        if not flying.overdue:
            return why.STOPPING
        return why.UPSTREAM_SLOW if flying.tape.readers or flying.tape.head is None else why.ABANDONED

    async def _fly(self, new: do.Flight, dialect: Dialect) -> None:
        """Perform the story of one flight; whatever happens, its tape ends and its gate is free again."""
        landing = Landing(None, why.INTERNAL, 0.0)
        try:
            story_of = flight if new.ask.batch is None else batch_flight
            story = story_of(new.ask, new.tape, dialect, self._rng.random() * self.ttl_jitter)
            landing = await self._perform(story, None, dialect)
        except asyncio.CancelledError:
            landing = Landing(None, self._why_cancelled(new), 0.0)
            if not new.overdue:
                raise
        except Exception:
            log.exception("a flight failed; its readers get an error, nothing is kept")
        finally:
            new.land(landing)
            self.tower.land(new)
            new.tape.end(Ending(End.CUT if new.tape.head else End.FAILED, landing.reason or why.INTERNAL))
            self.listener.landed(landing, new.followers)


def _cancelled_from_outside() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def _change(tape: Tape) -> None:
    """Wait for the tape's next change."""
    changed = asyncio.get_running_loop().create_future()
    tape.on_change(lambda: _resolve(changed))
    await changed


def _resolve(changed: asyncio.Future[None]) -> None:
    if not changed.done():
        changed.set_result(None)


_SYNC: dict[type, Callable[..., Any]] = {
    do.Board: AsyncPlayer._board,  # noqa: SLF001 - the table is part of the class
    do.Renew: AsyncPlayer._renew,  # noqa: SLF001
    do.Epochs: AsyncPlayer._epochs,  # noqa: SLF001
    do.Now: AsyncPlayer._now,  # noqa: SLF001
    do.Put: AsyncPlayer._put,  # noqa: SLF001
}
_ASYNC: dict[type, Callable[..., Any]] = {
    do.Lookup: AsyncPlayer._lookup,  # noqa: SLF001
    do.LookupMany: AsyncPlayer._lookup_many,  # noqa: SLF001
    do.Drop: AsyncPlayer._drop,  # noqa: SLF001
    do.Witness: AsyncPlayer._witness,  # noqa: SLF001
    do.Land: AsyncPlayer._land,  # noqa: SLF001
    do.Pause: AsyncPlayer._pause,  # noqa: SLF001
    do.Await: AsyncPlayer._await,  # noqa: SLF001
    do.Relay: AsyncPlayer._relay,  # noqa: SLF001
    do.Pass: AsyncPlayer._pass,  # noqa: SLF001
    do.Refuse: AsyncPlayer._refuse,  # noqa: SLF001
    do.Fetch: AsyncPlayer._fetch,  # noqa: SLF001
}

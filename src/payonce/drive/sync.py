"""The player with threads: performs the effects of both stories, for clients that block.

Each exchange is performed by the thread that asks; each flight by a daemon thread of its own, which no client's leaving
touches. One lock guards tower and tapes. Faults of the store become misses here, as in drive/aio.py; a parity test
holds the two together. This room must never judge.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, TypeVar

from payonce.core import effects as do
from payonce.core.exchange import bypass, flight
from payonce.core.gather import batch_flight, told
from payonce.core.tape import COMPLETE, End, Ending, Reader, Tape
from payonce.drive.performing import READERS, SETTLE_SECONDS, SLICE_ITEMS, WAITING_READS, Listener, Turn
from payonce.drive.tiers import Tiers
from payonce.drive.tower import Tower
from payonce.errors import StoreError
from payonce.model import reason as why
from payonce.model.call import Ask, Call
from payonce.model.entry import Entry
from payonce.model.ports import Clock, Dialect, Head, UpstreamFault
from payonce.model.reason import Reason
from payonce.model.receipt import Landing

K = TypeVar("K")
V = TypeVar("V")
log = logging.getLogger("payonce.drive")

_FULL_SECONDS = 0.25
"""How often a writer that waits for slow readers looks for readers that were dropped without a word."""


class SyncAnswer(Protocol):
    """As `Answer`, for threads."""

    head: Head

    def chunks(self) -> Iterator[bytes]:
        """The body as it arrives. Raises `UpstreamFault` when it ends before it is whole."""
        ...

    def close(self) -> None:
        """Give the connection back if the answer was read whole; otherwise destroy it."""
        ...


class SyncUpstream(Protocol):
    """As `Upstream`, for threads."""

    def open(self, call: Call) -> SyncAnswer:
        """Send `call`, wait for the head. Raises `UpstreamFault`."""
        ...


class _Flying:
    """A flight in the hands of its thread: the ending is written once the answer was judged, so that whoever has read
    an answer to its end finds it kept."""

    def __init__(self, new: do.Flight, dialect: Dialect) -> None:
        self.flight = new
        self.dialect = dialect
        self.ending: Ending | None = None


class SyncPlayer:
    """One process's player for threads. `upstreams` by name; times in seconds."""

    def __init__(
        self,
        *,
        tiers: Tiers,
        tower: Tower,
        upstreams: Mapping[str, SyncUpstream],
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
        self._pool = pool or ThreadPoolExecutor(READERS, thread_name_prefix="payonce-read")
        self._reads = threading.Semaphore(WAITING_READS)
        self._lock = threading.Lock()
        self._landed = threading.Condition(self._lock)
        self._air: set[do.Flight] = set()
        self._dropped: deque[Reader] = deque()

    def open(self, ask: Ask, dialect: Dialect, patience: float | None = None) -> Turn:
        """Perform an exchange up to its answer. Who follows another's flight waits `patience` seconds for its head,
        then gets a TimeoutError; who leads has the upstream's own time limits."""
        started = self.clock()
        turn = Turn(told(ask, dialect, started), self.listener, self.clock, started)
        stage = _Stage(turn, dialect, patience)
        answer: Any = None
        try:
            while (effect := turn.ask(answer)) is not None:
                answer = _HOW[type(effect)](self, effect, stage)
        except BaseException:
            self.leave(turn)
            raise
        return turn

    def bypass(self, call: Call, reason: Reason) -> Turn:
        """An exchange that the cache takes no part in, at its answer."""
        turn = Turn(bypass(call, reason), self.listener, self.clock, self.clock())
        turn.ask(None)
        return turn

    def chunks(self, turn: Turn, patience: float | None = None) -> Iterator[bytes]:
        """The tape of a turn that relays, as it grows; ends with the tape, whose ending tells how. A follower that
        gets nothing for `patience` seconds gets a TimeoutError."""
        reader = turn.reader
        assert reader is not None
        tape = reader.tape
        while True:
            until = None if patience is None or turn.leader else time.monotonic() + patience
            with self._lock:
                while not (taken := reader.take()) and tape.ending is None:
                    self._wait_or_raise(tape, until)
            if not taken:
                return
            yield from taken

    def leave(self, turn: Turn) -> None:
        """Read no more of a turn's tape."""
        if turn.reader is not None:
            with self._lock:
                turn.reader.leave()

    def drop(self, turn: Turn) -> None:
        """As `leave`, for garbage collectors: takes no lock, and takes effect at the writer's next step."""
        if turn.reader is not None:
            self._dropped.append(turn.reader)

    def drain(self, seconds: float, which: Callable[[do.Flight], bool] = lambda _: True) -> bool:
        """Wait until the flights that `which` names have landed; False if `seconds` were not enough."""
        with self._lock:
            return self._landed.wait_for(lambda: not any(map(which, self._air)), seconds)

    # What the stories ask for.

    def _lookup(self, effect: do.Lookup, _stage: _Stage) -> Entry | Reason:
        found = self.tiers.look(effect.ask)
        if found is not None:
            return found
        try:
            blob = self._read(self.tiers.read_behind, effect.ask.key.slot)
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

    def _lookup_many(self, effect: do.LookupMany, _stage: _Stage) -> tuple[Entry | Reason, ...]:
        found: list[Entry | Reason] = []
        against: Reason | None = None
        for start in range(0, len(effect.asks), SLICE_ITEMS):
            asks = effect.asks[start : start + SLICE_ITEMS]
            seen = [self.tiers.look(ask) for ask in asks]
            behind = [ask for ask, entry in zip(asks, seen, strict=True) if entry is None]
            blobs: Sequence[bytes | None] = ()
            if behind and against is None:
                try:
                    blobs = self._read(self.tiers.read_many, [ask.key.slot for ask in behind])
                except TimeoutError:
                    self.tiers.dropped["store-slow"] += 1
                    against = why.STORE_SLOW
                except StoreError as error:
                    self.tiers.complain(error)
                    against = why.STORE_FAULT
            found += self.tiers.settle(asks, seen, blobs, against)
        return tuple(found)

    def _read(self, read: Callable[[K], V], what: K) -> V:
        """The store behind is read in another thread, within the budget; a read that comes late is let go."""
        if not self._reads.acquire(blocking=False):
            raise TimeoutError
        try:
            future = self._pool.submit(read, what)
        except RuntimeError:  # the interpreter ends, and no thread begins any more
            self._reads.release()
            return read(what)
        future.add_done_callback(lambda _: self._reads.release())
        return future.result(self.read_budget)

    def _drop(self, effect: do.Drop, _stage: _Stage) -> None:
        self.tiers.drop(effect.key)

    def _board(self, effect: do.Board, stage: _Stage) -> do.Boarding | Reason:
        turn = stage.turn
        with self._lock:
            self._reap()
            found = self.tower.find(effect.ask, self.tiers.purges)
            if found is None and self.tower.full:
                return why.FLIGHTS_FULL
            boarding = do.Boarding(found or self._new(effect.ask), leader=found is None)
            boarding.flight.followers += found is not None
            turn.reader = boarding.flight.tape.read()  # from now on, so that the start stays on the tape
        turn.board(boarding)
        if boarding.leader and not self._take_off(boarding.flight, stage.dialect):
            return why.FLIGHTS_FULL
        return boarding

    def _renew(self, effect: do.Renew, stage: _Stage) -> None:
        with self._lock:
            if self.tower.full or self.tower.find(effect.ask, self.tiers.purges) is not None:
                return
            new = self._new(effect.ask)
        self._take_off(new, stage.dialect)

    def _new(self, ask: Ask) -> do.Flight:
        new = self.tower.take_off(ask, self.tiers.purges)
        new.took_off = time.monotonic()
        self._air.add(new)
        return new

    def _take_off(self, new: do.Flight, dialect: Dialect) -> bool:
        """Give the flight its thread; False where the system has no more threads."""
        flying = _Flying(new, dialect)
        try:
            threading.Thread(target=self._fly, args=(flying,), name="payonce-flight", daemon=True).start()
        except RuntimeError:
            self._land(flying, Landing(None, why.INTERNAL, 0.0))
            return False
        return True

    def _await(self, effect: do.Await, stage: _Stage) -> Head | Reason:
        tape = effect.flight.tape
        until = None if stage.patience is None or stage.turn.leader else time.monotonic() + stage.patience
        with self._lock:
            while tape.head is None and tape.ending is None:
                self._wait_or_raise(tape, until)
            if tape.head is None:
                return (tape.ending and tape.ending.reason) or why.INTERNAL
            until = time.monotonic() + SETTLE_SECONDS
            while effect.settle and tape.ending is None and not tape.spilled:
                if not self._wait(tape, until):
                    break
            return tape.head

    def _await_landing(self, effect: do.Land, stage: _Stage) -> Landing:
        wait = None if stage.patience is None or stage.turn.leader else stage.patience
        with self._lock:
            if stage.turn.reader is not None:
                stage.turn.reader.leave()  # nobody reads on: the writer must not wait for it
            if not self._landed.wait_for(lambda: effect.flight.landing is not None, wait):
                raise TimeoutError
            assert effect.flight.landing is not None
            return effect.flight.landing

    def _pause(self, _effect: do.Pause, _stage: object) -> None:
        pass  # threads take turns by themselves

    # What the flight asks for.

    def _epochs(self, effect: do.Epochs, _flying: _Flying) -> tuple[int, ...]:
        return self.tiers.epochs(effect.scopes)

    def _witness(self, effect: do.Witness, _flying: _Flying) -> int:
        known = self.tiers.changes.seen(effect)
        return self.tiers.changes.settle(effect) if known is None else known

    def _now(self, _effect: do.Now, _flying: _Flying) -> float:
        return self.clock()

    def _put(self, effect: do.Put, _flying: _Flying) -> Reason | None:
        return self.tiers.put(effect.ask, effect.entry)

    def _fetch(self, effect: do.Fetch, flying: _Flying) -> Ending:
        flying.ending = self._record(effect.call, effect.tape, flying.flight.took_off + self.total_timeout)
        return flying.ending

    def _record(self, call: Call, tape: Tape, deadline: float) -> Ending:
        try:
            answer = self.upstreams[call.upstream].open(call)
        except UpstreamFault as fault:
            return Ending(End.FAILED, fault.reason)
        try:
            with self._lock:
                tape.begin(answer.head)
            for chunk in answer.chunks():
                with self._lock:
                    tape.feed(chunk)
                    self._await_room(tape, deadline)
                    if tape.spilled and not tape.readers:
                        return Ending(End.CUT, why.TOO_LARGE)
                if time.monotonic() > deadline:
                    return Ending(End.CUT, why.UPSTREAM_SLOW)
        except UpstreamFault as fault:
            return Ending(End.CUT, fault.reason)
        finally:
            answer.close()
        return COMPLETE

    def _await_room(self, tape: Tape, deadline: float) -> None:
        while tape.full and (now := time.monotonic()) < deadline:
            self._wait(tape, min(deadline, now + _FULL_SECONDS))
            self._reap()

    def _reap(self) -> None:
        while self._dropped:
            self._dropped.popleft().leave()

    def _fly(self, flying: _Flying) -> None:
        """Perform the story of one flight; whatever happens, its tape ends and its gate is free again."""
        new = flying.flight
        landing = Landing(None, why.INTERNAL, 0.0)
        try:
            story_of = flight if new.ask.batch is None else batch_flight
            story = story_of(new.ask, new.tape, flying.dialect, self._rng.random() * self.ttl_jitter)
            answer: Any = None
            while True:
                effect = story.send(answer)
                answer = _HOW[type(effect)](self, effect, flying)
        except StopIteration as end:
            landing = end.value
        except Exception:
            log.exception("a flight failed; its readers get an error, nothing is kept")
        finally:
            self._land(flying, landing)

    def _land(self, flying: _Flying, landing: Landing) -> None:
        new, tape = flying.flight, flying.flight.tape
        try:
            self.listener.landed(landing, new.followers)
        finally:
            with self._lock:
                new.land(landing)
                self.tower.land(new)
                self._air.discard(new)
                tape.end(flying.ending or Ending(End.CUT if tape.head else End.FAILED, landing.reason or why.INTERNAL))
                self._landed.notify_all()

    def _wait(self, tape: Tape, until: float | None) -> bool:
        """Let go of the lock until the tape changes; False when `until` comes first."""
        changed = threading.Event()
        tape.on_change(changed.set)
        self._lock.release()
        try:
            return changed.wait(None if until is None else max(0.0, until - time.monotonic()))
        finally:
            self._lock.acquire()

    def _wait_or_raise(self, tape: Tape, until: float | None) -> None:
        if not self._wait(tape, until):
            raise TimeoutError


class _Stage:
    """What the performance of an exchange needs to know beside its effects."""

    __slots__ = ("dialect", "patience", "turn")

    def __init__(self, turn: Turn, dialect: Dialect, patience: float | None) -> None:
        self.turn = turn
        self.dialect = dialect
        self.patience = patience


_HOW: dict[type, Callable[..., Any]] = {
    do.Lookup: SyncPlayer._lookup,  # noqa: SLF001 - the table is part of the class
    do.LookupMany: SyncPlayer._lookup_many,  # noqa: SLF001
    do.Drop: SyncPlayer._drop,  # noqa: SLF001
    do.Land: SyncPlayer._await_landing,  # noqa: SLF001
    do.Pause: SyncPlayer._pause,  # noqa: SLF001
    do.Board: SyncPlayer._board,  # noqa: SLF001
    do.Await: SyncPlayer._await,  # noqa: SLF001
    do.Renew: SyncPlayer._renew,  # noqa: SLF001
    do.Epochs: SyncPlayer._epochs,  # noqa: SLF001
    do.Now: SyncPlayer._now,  # noqa: SLF001
    do.Fetch: SyncPlayer._fetch,  # noqa: SLF001
    do.Witness: SyncPlayer._witness,  # noqa: SLF001
    do.Put: SyncPlayer._put,  # noqa: SLF001
}

"""The flights of the player with threads: each upstream call in a daemon thread of its own, which no client's leaving
touches.

One lock guards tower and tapes; the exchanges hold it too when they wait for a tape. Whatever happens to a flight, its
tape ends, its gate is free again, and its landing is told. This room must never know a client.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

from payonce.core import effects as do
from payonce.core.exchange import flight
from payonce.core.gather import batch_flight
from payonce.core.tape import COMPLETE, End, Ending, Reader, Tape
from payonce.drive.performing import Listener, Turn
from payonce.drive.sync_reads import SyncReads
from payonce.drive.tower import Tower
from payonce.model import reason as why
from payonce.model.call import Ask, Call
from payonce.model.ports import Clock, Dialect, Head, UpstreamFault
from payonce.model.reason import Reason
from payonce.model.receipt import Landing

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
        self.copied: do.Copy | None = None
        """An answer that another process has paid for; written when it lands, in one step."""


class SyncFlights:
    """All flights of one player. `upstreams` by name; times in seconds."""

    def __init__(
        self,
        *,
        reads: SyncReads,
        tower: Tower,
        upstreams: Mapping[str, SyncUpstream],
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
        self.lock = threading.Lock()
        self.landed = threading.Condition(self.lock)
        self._rng = rng
        self._air: set[do.Flight] = set()
        self._dropped: deque[Reader] = deque()

    def board(self, effect: do.Board, dialect: Dialect, turn: Turn) -> do.Boarding | Reason | None:
        """A seat for `turn`, as `Board` has it; it reads the tape from now on, so that the start stays there."""
        ask = effect.ask
        with self.lock:
            self._reap()
            found = self.tower.find(ask, self.tiers.purges)
            if found is None and self.tower.landed_since(ask, effect.since):
                return None
            if found is None and self.tower.full:
                return why.FLIGHTS_FULL
            boarding = do.Boarding(found or self._new(ask), leader=found is None)
            boarding.flight.followers += found is not None
            turn.reader = boarding.flight.tape.read()
        turn.board(boarding)
        if boarding.leader and not self._take_off(boarding.flight, dialect):
            return why.FLIGHTS_FULL
        return boarding

    def renew(self, effect: do.Renew, dialect: Dialect) -> do.Flight | None:
        """A flight that nobody waits for, as `Renew` has it."""
        tower, ask = self.tower, effect.ask
        with self.lock:
            if tower.full or tower.find(ask, self.tiers.purges) is not None or tower.landed_since(ask, effect.since):
                return None
            new = self._new(ask)
        return new if self._take_off(new, dialect) else None

    def drop(self, reader: Reader) -> None:
        """It reads no more; takes no lock, and takes effect at the writer's next step."""
        self._dropped.append(reader)

    def drain(self, seconds: float, which: Callable[[do.Flight], bool]) -> bool:
        """Wait until the flights that `which` names have landed; False if `seconds` were not enough."""
        with self.lock:
            return self.landed.wait_for(lambda: not any(map(which, self._air)), seconds)

    def wait(self, tape: Tape, until: float | None) -> bool:
        """Let go of the lock until the tape changes; False when `until` comes first."""
        changed = threading.Event()
        tape.on_change(changed.set)
        self.lock.release()
        try:
            return changed.wait(None if until is None else max(0.0, until - time.monotonic()))
        finally:
            self.lock.acquire()

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

    def _fly(self, flying: _Flying) -> None:
        """Perform the story of one flight."""
        new = flying.flight
        landing = Landing(None, why.INTERNAL, 0.0)
        try:
            story = self._story(new, flying.dialect)
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
            self.listener.landed(landing, new.followers, new.ask)
        finally:
            with self.lock:
                new.land(landing)
                self.tower.land(new, self.clock())
                self._air.discard(new)
                self._write_copy(flying)
                tape.end(flying.ending or Ending(End.CUT if tape.head else End.FAILED, landing.reason or why.INTERNAL))
                self.landed.notify_all()
            self.reads.leases.release(new)

    def _story(self, new: do.Flight, dialect: Dialect) -> do.Story[Landing]:
        jitter = self._rng.random() * self.ttl_jitter
        if new.ask.batch is not None:
            return batch_flight(new.ask, new.tape, dialect, jitter)
        return flight(new.ask, new.tape, dialect, jitter, self.flight_wait)

    @staticmethod
    def _write_copy(flying: _Flying) -> None:
        copied = flying.copied
        if copied is not None:
            copied.tape.begin(copied.head)
            copied.tape.feed(copied.body)
            flying.ending = COMPLETE

    # What the flight asks for.

    def _epochs(self, effect: do.Epochs, _flying: _Flying) -> tuple[int, ...]:
        return self.tiers.epochs(effect.scopes)

    def _now(self, _effect: do.Now, _flying: _Flying) -> float:
        return self.clock()

    def _put(self, effect: do.Put, _flying: _Flying) -> Reason | None:
        return self.tiers.put(effect.ask, effect.entry)

    def _copy(self, effect: do.Copy, flying: _Flying) -> None:
        flying.copied = effect

    def _claim(self, effect: do.Claim, _flying: _Flying) -> do.Claimed:
        return self.reads.claim(effect.ask)

    def _rest(self, effect: do.Rest, _flying: _Flying) -> None:
        threading.Event().wait(effect.seconds)

    def _witness(self, effect: do.Witness, flying: _Flying) -> int:
        known = self.tiers.changes.seen(effect)
        return self.tiers.changes.settle(effect, flying.flight) if known is None else known

    def _pause(self, _effect: do.Pause, _flying: _Flying) -> None:
        pass  # threads take turns by themselves

    def _fetch(self, effect: do.Fetch, flying: _Flying) -> Ending:
        flying.ending = self._record(effect.call, effect.tape, flying.flight.took_off + self.total_timeout)
        return flying.ending

    def _record(self, call: Call, tape: Tape, deadline: float) -> Ending:
        try:
            answer = self.upstreams[call.upstream].open(call)
        except UpstreamFault as fault:
            return Ending(End.FAILED, fault.reason)
        try:
            with self.lock:
                tape.begin(answer.head)
            for chunk in answer.chunks():
                with self.lock:
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
            self.wait(tape, min(deadline, now + _FULL_SECONDS))
            self._reap()

    def _reap(self) -> None:
        while self._dropped:
            self._dropped.popleft().leave()


_HOW: dict[type, Callable[..., Any]] = {
    do.Epochs: SyncFlights._epochs,  # noqa: SLF001 - the table is part of the class
    do.Now: SyncFlights._now,  # noqa: SLF001
    do.Witness: SyncFlights._witness,  # noqa: SLF001
    do.Put: SyncFlights._put,  # noqa: SLF001
    do.Copy: SyncFlights._copy,  # noqa: SLF001
    do.Claim: SyncFlights._claim,  # noqa: SLF001
    do.Rest: SyncFlights._rest,  # noqa: SLF001
    do.Pause: SyncFlights._pause,  # noqa: SLF001
    do.Fetch: SyncFlights._fetch,  # noqa: SLF001
}

"""The player with threads: performs the exchanges, for clients that block.

Each exchange is performed by the thread that asks; what it boards flies by itself (drive/sync_flights.py). As
drive/aio.py; a parity test holds the two together. This room must never judge.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from payonce.core import effects as do
from payonce.core.exchange import bypass
from payonce.core.gather import told
from payonce.core.tape import Tape
from payonce.drive.performing import SETTLE_SECONDS, Listener, Turn
from payonce.drive.sync_flights import SyncFlights, SyncUpstream
from payonce.drive.sync_reads import SyncReads
from payonce.drive.tiers import Tiers
from payonce.drive.tower import Tower
from payonce.model import reason as why
from payonce.model.call import Ask, Call
from payonce.model.entry import Entry
from payonce.model.ports import Clock, Dialect, Head
from payonce.model.reason import Reason
from payonce.model.receipt import Landing


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
        flight_wait: float = 0.0,
        pool: ThreadPoolExecutor | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self.tiers = tiers
        self.tower = tower
        self.listener = listener
        self.clock = clock
        self.reads = SyncReads(tiers, read_budget, pool)
        self.flights = SyncFlights(
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

    def open(self, ask: Ask, dialect: Dialect, patience: float | None = None) -> Turn:
        """Perform an exchange up to its answer. Who follows another's flight waits `patience` seconds for its head,
        then gets a TimeoutError; who leads has the upstream's own time limits."""
        started = self.clock()
        turn = Turn(told(ask, dialect, started), ask, self.listener, self.clock, started)
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
        turn = Turn(bypass(call, reason), call, self.listener, self.clock, self.clock())
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
            with self.flights.lock:
                while not (taken := reader.take()) and tape.ending is None:
                    self._wait_or_raise(tape, until)
            if not taken:
                return
            yield from taken

    def leave(self, turn: Turn) -> None:
        """Read no more of a turn's tape."""
        if turn.reader is not None:
            with self.flights.lock:
                turn.reader.leave()

    def drop(self, turn: Turn) -> None:
        """As `leave`, for garbage collectors: takes no lock, and takes effect at the writer's next step."""
        if turn.reader is not None:
            self.flights.drop(turn.reader)

    def drain(self, seconds: float, which: Callable[[do.Flight], bool] = lambda _: True) -> bool:
        """Wait until the flights that `which` names have landed; False if `seconds` were not enough."""
        return self.flights.drain(seconds, which)

    # What the exchange asks for.

    def _lookup(self, effect: do.Lookup, _stage: _Stage) -> Entry | Reason:
        return self.reads.find(effect.ask)

    def _lookup_many(self, effect: do.LookupMany, _stage: _Stage) -> tuple[Entry | Reason, ...]:
        return self.reads.find_many(effect.asks)

    def _drop(self, effect: do.Drop, _stage: _Stage) -> None:
        self.tiers.drop(effect.keys)

    def _board(self, effect: do.Board, stage: _Stage) -> do.Boarding | Reason | None:
        return self.flights.board(effect, stage.dialect, stage.turn)

    def _renew(self, effect: do.Renew, stage: _Stage) -> do.Flight | None:
        return self.flights.renew(effect, stage.dialect)

    def _await(self, effect: do.Await, stage: _Stage) -> Head | Reason:
        tape = effect.flight.tape
        until = None if stage.patience is None or stage.turn.leader else time.monotonic() + stage.patience
        with self.flights.lock:
            while tape.head is None and tape.ending is None:
                self._wait_or_raise(tape, until)
            if tape.head is None:
                return (tape.ending and tape.ending.reason) or why.INTERNAL
            until = time.monotonic() + SETTLE_SECONDS
            while effect.settle and tape.ending is None and not tape.spilled:
                if not self.flights.wait(tape, until):
                    break
            return tape.head

    def _land(self, effect: do.Land, stage: _Stage) -> Landing:
        wait = None if stage.patience is None or stage.turn.leader else stage.patience
        with self.flights.lock:
            if stage.turn.reader is not None:
                stage.turn.reader.leave()  # nobody reads on: the writer must not wait for it
            if not self.flights.landed.wait_for(lambda: effect.flight.landing is not None, wait):
                raise TimeoutError
            assert effect.flight.landing is not None
            return effect.flight.landing

    def _declined(self, effect: do.Declined, _stage: _Stage) -> Reason | None:
        return self.tiers.declines(effect.ask.key.slot, effect.size)

    def _pause(self, _effect: do.Pause, _stage: _Stage) -> None:
        pass  # threads take turns by themselves

    def _wait_or_raise(self, tape: Tape, until: float | None) -> None:
        if not self.flights.wait(tape, until):
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
    do.Board: SyncPlayer._board,  # noqa: SLF001
    do.Renew: SyncPlayer._renew,  # noqa: SLF001
    do.Await: SyncPlayer._await,  # noqa: SLF001
    do.Declined: SyncPlayer._declined,  # noqa: SLF001
    do.Land: SyncPlayer._land,  # noqa: SLF001
    do.Pause: SyncPlayer._pause,  # noqa: SLF001
}

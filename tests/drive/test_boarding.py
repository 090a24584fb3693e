"""Identical requests make one call, whenever each of them has looked and whenever the answer comes: both players."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from payonce.core import effects as do
from payonce.drive import tower
from payonce.drive.aio import AsyncPlayer
from payonce.drive.performing import Turn
from payonce.drive.sync import SyncPlayer
from payonce.drive.tiers import Tiers
from payonce.drive.tower import LANDINGS, Tower
from payonce.intake import Admitted
from payonce.model import ports
from payonce.model import reason as why
from payonce.model.call import Call
from payonce.model.ports import Head
from payonce.model.receipt import Landing, Outcome, Receipt
from payonce.stores.memory import MemoryStore
from payonce.stores.sqlite import SqliteStore
from payonce.testing.clock import FakeClock
from tests.support.on_a_loop import turns
from tests.support.words import FACTS, JSON_HEADERS, NOW, SECRET, WHOLE, admit, ask, chat


class Held(Executor):
    """Reads at once, as a pool of threads would; what was read is given when the test says so."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Future[Any], Any]] = []
        self.some = threading.Condition()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        with self.some:
            self.waiting.append((future, fn(*args, **kwargs)))
            self.some.notify_all()
        return future

    def deliver(self, number: int = 0) -> None:
        with self.some:
            future, value = self.waiting.pop(number)
        future.set_result(value)

    def until(self, count: int) -> None:
        with self.some:
            assert self.some.wait_for(lambda: len(self.waiting) >= count, 10)


class Listening:
    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []

    def exchanged(self, receipt: Receipt, seconds: float, asked: object) -> None:
        self.outcomes.append(receipt.outcome)

    def landed(self, landing: Landing, followers: int, ask: object) -> None:
        assert landing.reason is None


class Upstream:
    """One JSON answer for each call, when the test lets it."""

    def __init__(self) -> None:
        self.calls = 0
        self.gates: list[asyncio.Event] = []

    async def open(self, call: Call) -> _Answer:
        self.calls += 1
        gate = asyncio.Event()
        self.gates.append(gate)
        await gate.wait()
        return _Answer()


class _Answer(ports.Answer):
    head = Head(200, JSON_HEADERS)

    async def chunks(self) -> AsyncIterator[bytes]:
        yield WHOLE

    def close(self) -> None:
        pass


class SyncUpstream:
    """One JSON answer for each call, at once."""

    def __init__(self) -> None:
        self.calls = 0
        self._lock = threading.Lock()

    def open(self, call: Call) -> _SyncAnswer:
        with self._lock:
            self.calls += 1
        return _SyncAnswer()


class _SyncAnswer:
    head = Head(200, JSON_HEADERS)

    def chunks(self) -> Iterator[bytes]:
        yield WHOLE

    def close(self) -> None:
        pass


def kit(upstream: Any, behind: Any, pool: Executor | None) -> dict[str, Any]:
    clock = FakeClock(NOW)
    return {
        "tiers": Tiers(MemoryStore(1 << 20, clock), behind, SECRET),
        "tower": Tower(64, 1 << 20),
        "upstreams": {"": upstream},
        "listener": Listening(),
        "clock": clock,
        "read_budget": 10.0,
        "pool": pool,
        "rng": random.Random(1),
    }


def one(**members: Any) -> Admitted:
    found = admit(chat(**members))
    assert isinstance(found, Admitted)
    return found


class Slow(MemoryStore):
    slow = True


async def paid(steps: list[int], askers: int) -> tuple[int, list[Outcome]]:
    """How many calls `askers` identical requests make, and their outcomes: each step lets one more ask, or an upstream
    answer, or gives somebody what was read."""
    upstream, pool = Upstream(), Held()
    player = AsyncPlayer(**kit(upstream, Slow(1 << 20, FakeClock(NOW)), pool))
    taken, tasks = one(), []

    async def body() -> bytes:
        turn = await player.open(taken.ask, taken.dialect)
        assert isinstance(turn.effect, do.Relay)
        found = b"".join([chunk async for chunk in player.chunks(turn)])
        turn.end(True)
        return found

    for step in [*steps, *range(99)]:
        gates = [gate for gate in upstream.gates if not gate.is_set()]
        may: list[Callable[[], Any]] = [
            lambda number=number: pool.deliver(number) for number in range(len(pool.waiting))
        ]
        may += [gate.set for gate in gates]
        if len(tasks) < askers:
            may.append(lambda: tasks.append(asyncio.ensure_future(body())))
        if not may:
            break
        may[step % len(may)]()
        await turns()
    assert set(await asyncio.gather(*tasks)) == {WHOLE}
    await player.close(1.0)
    return upstream.calls, player.listener.outcomes  # type: ignore[attr-defined]


@given(steps=st.lists(st.integers(0, 11), max_size=20), askers=st.integers(2, 5))
@settings(max_examples=150)
def test_tasks_make_one_call_in_whatever_order_they_look_and_it_answers(steps: list[int], askers: int) -> None:
    calls, outcomes = asyncio.run(paid(steps, askers))
    assert calls == 1
    assert sorted(outcomes)[-1:] == [Outcome.MISS]
    assert outcomes.count(Outcome.MISS) == 1


async def test_who_looked_before_a_landing_looks_again() -> None:
    first = [0, 1, 0, 1]  # ask, ask too (the other choice is to deliver), deliver the first's, let the upstream answer
    assert await paid(first, 2) == (1, [Outcome.MISS, Outcome.HIT])


async def test_without_looking_again_it_would_be_paid_for_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tower, "landed_since", lambda *_: False)
    calls, outcomes = await paid([0, 1, 0, 1], 2)
    assert (calls, outcomes) == (2, [Outcome.MISS, Outcome.MISS])


# Threads


def threads_paid(pool: Held) -> tuple[int, list[Outcome]]:
    """Two threads look; one flies and lands before the other is told what it had found."""
    upstream = SyncUpstream()
    player = SyncPlayer(**kit(upstream, Slow(1 << 20, FakeClock(NOW)), pool))
    taken = one()
    plain = replace(taken.ask, convert=False)  # one look each

    def body() -> None:
        _read(player, player.open(plain, taken.dialect))

    threads = [threading.Thread(target=body) for _ in range(2)]
    for number, thread in enumerate(threads):
        thread.start()
        pool.until(number + 1)
    pool.deliver(1)
    threads[1].join(10)
    assert player.drain(10)
    pool.deliver()
    if player.tower.landed_since(plain, NOW):
        pool.until(1)
        pool.deliver()
    threads[0].join(10)
    assert player.drain(10)
    return upstream.calls, player.listener.outcomes  # type: ignore[attr-defined]


def _read(player: SyncPlayer, turn: Turn) -> None:
    assert isinstance(turn.effect, do.Relay)
    if turn.reader is not None:
        assert b"".join(player.chunks(turn)) == WHOLE
        player.leave(turn)
    turn.end(True)


def test_a_thread_that_looked_before_a_landing_looks_again() -> None:
    assert threads_paid(Held()) == (1, [Outcome.MISS, Outcome.HIT])


def test_a_thread_that_does_not_look_again_pays_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tower, "landed_since", lambda *_: False)
    assert threads_paid(Held()) == (2, [Outcome.MISS, Outcome.MISS])


def test_sixteen_threads_that_nobody_holds_back_make_one_call(tmp_path: Path) -> None:
    store, upstream = SqliteStore(tmp_path / "c.db", 1 << 26), SyncUpstream()
    with_clock = {**kit(upstream, store, None), "clock": time.time}
    player = SyncPlayer(**with_clock)
    for round_ in range(60):
        taken, start = one(seed=round_), threading.Barrier(16)

        def body(taken: Admitted = taken, start: threading.Barrier = start) -> None:
            start.wait()
            _read(player, player.open(taken.ask, taken.dialect))

        threads = [threading.Thread(target=body) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert player.drain(10)
        assert upstream.calls == round_ + 1
    player.reads.pool.shutdown()
    store.close()


# The tower


def landed(of: Any, landing: Landing, at: float, in_: Tower) -> None:
    flight = in_.take_off(of, 0)
    flight.land(landing)
    in_.land(flight, at)


def test_the_tower_remembers_what_was_kept_since_when_and_no_more() -> None:
    of, kept = ask(), Tower(4, 1 << 20)
    assert not kept.landed_since(of, 0.0)
    landed(of, Landing(None, why.STATUS, 1.0), NOW, kept)
    assert not kept.landed_since(of, 0.0), "an error is nothing to look for"
    landed(of, Landing(FACTS, None, 1.0), NOW, kept)
    assert kept.landed_since(of, NOW)
    assert not kept.landed_since(of, NOW + 0.001)
    assert not kept.landed_since(ask(intent={"stream": True}), NOW)
    for number in range(LANDINGS):
        landed(one(seed=number).ask, Landing(FACTS, None, 1.0), NOW, kept)
    assert not kept.landed_since(of, NOW)
    assert len(kept._landed) == tower.LANDINGS

"""The player with threads: one call for many, readers at their own pace, and nothing that waits for ever."""

from __future__ import annotations

import gc
import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from payonce.core import effects as do
from payonce.drive import sync_flights
from payonce.drive.performing import Turn
from payonce.drive.sync import SyncPlayer
from payonce.drive.tiers import Tiers
from payonce.drive.tower import Tower
from payonce.errors import StoreError
from payonce.intake import Admitted
from payonce.model import reason as why
from payonce.model.call import Call
from payonce.model.ports import Head, UpstreamFault
from payonce.model.receipt import Landing, Outcome, Receipt
from payonce.stores.memory import MemoryStore
from payonce.testing.clock import FakeClock
from tests.support.words import JSON_HEADERS, NOW, SECRET, WHOLE, admit, chat

SSE = ((b"content-type", b"text/event-stream"),)


class Gated:
    """An upstream that sends each part of its answer when the test lets it."""

    def __init__(self, parts: list[bytes] | None = None) -> None:
        self.calls: list[Call] = []
        self.gate = threading.Semaphore(0)
        self.parts = parts if parts is not None else [WHOLE[:20], WHOLE[20:]]
        self.fault: UpstreamFault | None = None
        self.sent = 0
        self.closed = threading.Event()

    def free(self) -> Gated:
        self.gate.release(1_000_000)
        return self

    def open(self, call: Call) -> Gated:
        self.calls.append(call)
        assert self.gate.acquire(timeout=10)
        if self.fault is not None:
            raise self.fault
        return self

    @property
    def head(self) -> Head:
        return Head(200, SSE if b'"stream":true' in self.calls[-1].body else JSON_HEADERS)

    def chunks(self) -> Iterator[bytes]:
        for part in self.parts:
            assert self.gate.acquire(timeout=10)
            self.sent += 1
            yield part

    def close(self) -> None:
        self.closed.set()


@dataclass
class Listening:
    receipts: list[Receipt] = field(default_factory=list)
    landings: list[tuple[Landing, int]] = field(default_factory=list)

    def exchanged(self, receipt: Receipt, seconds: float, asked: object) -> None:
        self.receipts.append(receipt)

    def landed(self, landing: Landing, followers: int, ask: object) -> None:
        self.landings.append((landing, followers))


class Rig:
    def __init__(self, upstream: Gated, behind: Any = None, *, max_tape: int = 1 << 20, **options: Any) -> None:
        self.upstream = upstream
        self.listener = Listening()
        self.clock = FakeClock(NOW)
        self.tiers = Tiers(MemoryStore(1 << 20, self.clock), behind, SECRET)
        self.tower = Tower(8, max_tape)
        self.player = SyncPlayer(
            tiers=self.tiers,
            tower=self.tower,
            upstreams={"": upstream},
            listener=self.listener,
            clock=self.clock,
            rng=random.Random(1),
            **{"read_budget": 10.0} | options,
        )

    def ask(self, patience: float | None = None, **members: Any) -> Turn:
        found = admit(chat(**members))
        assert isinstance(found, Admitted)
        return self.player.open(found.ask, found.dialect, patience)

    def read(self, turn: Turn, patience: float | None = None) -> bytes:
        assert isinstance(turn.effect, do.Relay)
        if turn.reader is None:
            return turn.effect.tape.body() or b""
        body = b"".join(self.player.chunks(turn, patience))
        self.player.leave(turn)
        turn.end(True)
        return body


@pytest.fixture
def rigs() -> Iterator[Callable[..., Rig]]:
    made: list[Rig] = []

    def make(*arguments: Any, **options: Any) -> Rig:
        made.append(Rig(*arguments, **options))
        return made[-1]

    yield make
    for rig in made:
        rig.upstream.free()
        assert rig.player.drain(10)
        assert not len(rig.tower)
        rig.player.reads.pool.shutdown()


def together(count: int, call: Callable[[], Any]) -> list[Any]:
    """What `call` gives in `count` threads at once; an exception is a result."""
    results: list[Any] = []

    def one() -> None:
        try:
            results.append(call())
        except BaseException as error:
            results.append(error)

    threads = [threading.Thread(target=one) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(results) == count
    return results


def until_waiting(rig: Rig, followers: int) -> None:
    """Until so many have boarded the one flight."""
    waiting = threading.Event()
    for _ in range(2000):
        flights = list(rig.tower)
        if flights and flights[0].followers >= followers:
            return
        waiting.wait(0.005)
    raise AssertionError("nobody boards")


@pytest.mark.parametrize("stream", [True, False])
def test_many_threads_make_one_call(rigs: Callable[..., Rig], stream: bool) -> None:
    rig = rigs(Gated())
    opener = threading.Thread(target=lambda: (until_waiting(rig, 49), rig.upstream.free()))
    opener.start()
    bodies = together(50, lambda: rig.read(rig.ask(stream=stream)))
    opener.join()
    assert set(bodies) == {WHOLE}
    assert len(rig.upstream.calls) == 1
    assert sorted(receipt.outcome for receipt in rig.listener.receipts) == [Outcome.COLLAPSED] * 49 + [Outcome.MISS]
    assert [followers for _, followers in rig.listener.landings] == [49]


def test_who_has_read_an_answer_to_its_end_finds_it_kept(rigs: Callable[..., Rig]) -> None:
    rig = rigs(Gated().free())
    for seed in range(50):
        rig.read(rig.ask(seed=seed))
        again = rig.ask(seed=seed)
        again.end(True)
        assert rig.listener.receipts[-1].outcome is Outcome.HIT


def test_a_fault_reaches_the_leader_and_every_follower(rigs: Callable[..., Rig]) -> None:
    rig = rigs(Gated())
    rig.upstream.fault = UpstreamFault(why.UPSTREAM_REFUSED)
    opener = threading.Thread(target=lambda: (until_waiting(rig, 9), rig.upstream.free()))
    opener.start()
    turns = together(10, rig.ask)
    opener.join()
    assert {turn.effect.reason for turn in turns} == {why.UPSTREAM_REFUSED}
    assert sum(turn.leader for turn in turns) == 1
    for turn in turns:
        rig.player.leave(turn)


def test_the_leader_leaves_and_the_answer_is_kept(rigs: Callable[..., Rig]) -> None:
    rig = rigs(Gated())
    rig.upstream.gate.release(2)
    turn = rig.ask(stream=True)
    assert next(rig.player.chunks(turn)) == WHOLE[:20]
    rig.player.leave(turn)
    turn.end(False)
    rig.upstream.free()
    assert rig.player.drain(10)
    assert [landing.reason for landing, _ in rig.listener.landings] == [why.EMPTY]  # this body is no stream
    assert rig.upstream.closed.is_set()


def test_a_follower_waits_no_longer_than_its_own_time(rigs: Callable[..., Rig]) -> None:
    rig = rigs(Gated())
    leader = threading.Thread(target=lambda: rig.read(rig.ask()))
    leader.start()
    until_waiting(rig, 0)
    with pytest.raises(TimeoutError):
        rig.ask(patience=0.01)
    assert len(next(iter(rig.tower)).tape.readers) == 1  # the leader's
    rig.upstream.gate.release(2)
    follower = rig.ask(patience=10)
    with pytest.raises(TimeoutError):
        list(rig.player.chunks(follower, 0.01))
    rig.player.leave(follower)
    rig.upstream.free()
    leader.join()
    assert len(rig.upstream.calls) == 1


def test_a_slow_reader_holds_the_writer_back_past_the_cap_only(rigs: Callable[..., Rig]) -> None:
    parts = [b"x" * 65536] * 40
    rig = rigs(Gated(parts).free(), max_tape=1 << 18)
    turn = rig.ask(stream=True)
    chunks = rig.player.chunks(turn)
    first = next(chunks)
    for _ in range(400):  # the writer comes to a halt by itself
        if next(iter(rig.tower)).tape.full:
            break
        threading.Event().wait(0.005)
    assert rig.upstream.sent < len(parts)
    assert first + b"".join(chunks) == b"".join(parts)
    rig.player.leave(turn)
    assert rig.player.drain(10)
    assert rig.listener.landings[0][0].reason is why.TOO_LARGE


def test_a_reader_that_is_dropped_without_a_word_does_not_hold_the_writer(rigs: Callable[..., Rig]) -> None:
    rig = rigs(Gated([b"x" * 65536] * 40).free(), max_tape=1 << 18)
    turn = rig.ask(stream=True)
    next(rig.player.chunks(turn))
    rig.player.drop(turn)
    del turn
    gc.collect()
    assert rig.player.drain(10)
    assert rig.listener.landings[0][0].reason is why.CUT


def test_a_flight_that_takes_too_long_is_cut(rigs: Callable[..., Rig]) -> None:
    rig = rigs(Gated([b"x"] * 10).free(), total_timeout=0.0)
    turn = rig.ask(stream=True)
    list(rig.player.chunks(turn))
    assert turn.reader is not None
    assert turn.reader.tape.ending is not None
    assert turn.reader.tape.ending.reason is why.UPSTREAM_SLOW
    rig.player.leave(turn)


def test_without_a_thread_to_spare_the_call_passes(rigs: Callable[..., Rig], monkeypatch: pytest.MonkeyPatch) -> None:
    rig = rigs(Gated().free())

    class NoThread(threading.Thread):
        def start(self) -> None:
            raise RuntimeError("can't start new thread")

    monkeypatch.setattr(sync_flights.threading, "Thread", NoThread)
    turn = rig.ask()
    assert isinstance(turn.effect, do.Pass)
    rig.player.leave(turn)
    monkeypatch.undo()
    assert rig.read(rig.ask()) == WHOLE


def test_a_story_that_breaks_down_lets_its_readers_know(rigs: Callable[..., Rig], caplog: Any) -> None:
    rig = rigs(Gated().free())
    rig.tiers.put = None  # type: ignore[assignment]
    assert rig.read(rig.ask()) == WHOLE
    assert rig.player.drain(10)
    assert rig.listener.landings[0][0].reason is why.INTERNAL
    assert "a flight failed" in caplog.text


class Behind(MemoryStore):
    """A store behind that answers when the test lets it."""

    slow = True
    gate = threading.Event()

    def get(self, slot: bytes) -> bytes | None:
        self.gate.wait(10)
        return super().get(slot)


def test_a_store_that_does_not_answer_costs_its_budget_and_no_more(rigs: Callable[..., Rig]) -> None:
    behind = Behind(1 << 20)
    behind.gate = threading.Event()
    rig = rigs(Gated().free(), behind, read_budget=0.01)
    rig.read(rig.ask())
    assert rig.listener.receipts[-1].reason is why.STORE_SLOW
    behind.gate.set()
    rig.tiers.front.delete(admit(chat()).ask.key.slot)  # type: ignore[union-attr]
    rig.player.reads.budget = 10.0
    turn = rig.ask()
    turn.end(True)
    assert rig.listener.receipts[-1].outcome is Outcome.HIT


def test_no_more_reads_wait_than_may(rigs: Callable[..., Rig]) -> None:
    behind = Behind(1 << 20)
    behind.gate = threading.Event()
    rig = rigs(Gated().free(), behind, read_budget=0.0)
    rig.player.reads.room = threading.Semaphore(1)
    rig.read(rig.ask(seed=1))
    rig.read(rig.ask(seed=2))
    assert rig.tiers.dropped["store-slow"] == 2
    behind.gate.set()


def test_a_read_after_the_last_thread_is_made_directly(rigs: Callable[..., Rig]) -> None:
    rig = rigs(Gated().free(), MemoryStore(1 << 20))
    rig.player.reads.pool.shutdown()
    rig.read(rig.ask())
    assert rig.listener.receipts[-1].reason is why.ABSENT


def test_a_broken_store_is_an_empty_one(rigs: Callable[..., Rig]) -> None:
    class Broken(MemoryStore):
        def get(self, slot: bytes) -> bytes | None:
            raise StoreError("no such disk")

    rig = rigs(Gated().free(), Broken(1 << 20))
    rig.read(rig.ask())
    assert rig.listener.receipts[-1].reason is why.STORE_FAULT

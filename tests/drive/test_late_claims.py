"""A claim that ends after its time, when the flight that it was for has landed, leaves no lease behind."""

from __future__ import annotations

import asyncio
import random
import threading
from typing import Any

import pytest

from payonce.core.effects import Flight
from payonce.core.tape import Tape
from payonce.drive.aio import AsyncPlayer
from payonce.drive.aio_reads import AsyncReads
from payonce.drive.leases import Leases
from payonce.drive.tiers import Tiers
from payonce.drive.tower import Tower
from payonce.intake import Admitted
from payonce.ledger.ledger import Ledger
from payonce.model.leasing import Claimed
from payonce.model.receipt import Landing
from payonce.stores.memory import MemoryStore
from payonce.testing.clock import FakeClock
from tests.drive.test_parity import AsyncScript
from tests.support.batches import Reply
from tests.support.on_a_loop import turns
from tests.support.words import NOW, SECRET, admit, chat
from tests.support.words import ask as words_ask


class Held:
    """Leases of a store whose claims end when the test lets them."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.asked = threading.Event()
        self.claimed = threading.Event()
        self.held: set[bytes] = set()

    def needed(self, slot: bytes) -> bool:
        return True

    def claim(self, slot: bytes) -> Claimed:
        self.asked.set()
        assert self.gate.wait(30)
        self.held.add(slot)
        self.claimed.set()
        return Claimed(True, None, looked=True)

    def release(self, slot: bytes, *, kept: bool) -> None:
        self.held.discard(slot)

    def tend(self) -> None:
        pass


class Behind(MemoryStore):
    slow = True

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(1 << 20, clock)
        self.leases = Held()

    def absent(self, slot: bytes) -> bool:
        return True


def player_over(behind: Behind, clock: FakeClock, budget: float) -> AsyncPlayer:
    player = AsyncPlayer(
        tiers=Tiers(MemoryStore(1 << 20, clock), behind, SECRET),
        tower=Tower(8, 1 << 20),
        upstreams={"": AsyncScript()},
        listener=Ledger("w", 0),
        clock=clock,
        read_budget=10.0,
        flight_wait=10.0,
        rng=random.Random(1),
    )
    player.reads.budget = budget
    return player


async def flown_past(budget: float) -> Held:
    """The leases after a request whose claim had so many seconds, and ended when that was answered, if not before."""
    clock = FakeClock(NOW)
    behind = Behind(clock)
    if budget > 1:
        behind.leases.gate.set()
    player = player_over(behind, clock, budget)
    taken = admit(chat())
    assert isinstance(taken, Admitted)
    reply: Any = Reply()
    await player.exchange(taken.ask, taken.dialect, reply)
    assert (reply.status, reply.ended) == (200, "whole")
    await player.drain(30.0, lambda _: True)
    await claims_end(player, behind)
    return behind.leases


async def claims_end(player: AsyncPlayer, behind: Behind) -> None:
    behind.leases.gate.set()
    assert await asyncio.to_thread(behind.leases.claimed.wait, 30)
    async with asyncio.timeout(30):
        while player.reads.under_way:  # noqa: ASYNC110 - until the loop is told of the end of a thread's work
            await asyncio.sleep(0.001)
    await turns()
    await player.close(5.0)


@pytest.mark.parametrize("budget", [0.01, 30.0], ids=["late", "in time"])
async def test_no_lease_is_left_when_all_has_landed(budget: float) -> None:
    assert (await flown_past(budget)).held == set()


async def test_no_lease_is_left_of_a_flight_that_was_cancelled_while_it_claimed() -> None:
    """A client of the library that is closed cancels its flights; the process, and its leases, live on."""
    clock = FakeClock(NOW)
    behind = Behind(clock)
    player = player_over(behind, clock, 30.0)
    taken = admit(chat())
    assert isinstance(taken, Admitted)
    reply: Any = Reply()
    asking = asyncio.create_task(player.exchange(taken.ask, taken.dialect, reply))
    assert await asyncio.to_thread(behind.leases.asked.wait, 30)
    await player.drain(0.0, lambda _: True)
    await asking
    assert not player.flights.tasks
    await claims_end(player, behind)
    assert behind.leases.held == set()


async def test_a_control_without_being_told_that_it_was_late_it_would_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Leases, "let_go", lambda *_: None)
    assert len((await flown_past(0.01)).held) == 1


async def test_a_claim_that_ends_late_serves_the_flight_that_is_still_in_the_air() -> None:
    """Were it let go of, another gateway would make the same call meanwhile."""
    clock, ask = FakeClock(NOW), words_ask()
    behind = Behind(clock)
    reads = AsyncReads(Tiers(MemoryStore(1 << 20, clock), behind, SECRET), 0.01, None)
    assert not (await reads.claim(ask)).sure
    behind.leases.gate.set()
    async with asyncio.timeout(30):
        while reads.under_way:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.001)
    await turns()
    assert behind.leases.held == {ask.key.slot}
    flight = Flight(ask, Tape(), 0)
    flight.land(Landing(None, None, 0.0))
    reads.leases.release(flight)
    assert behind.leases.held == set()
    reads.close()

"""The wait for a flight's head: told once, when it is time, whatever the tape does meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payonce.core.effects import Await, Board, Boarding, Flight
from payonce.core.tape import COMPLETE, End, Ending, Tape
from payonce.drive import aio_faces
from payonce.drive.aio import AsyncPlayer
from payonce.drive.aio_faces import HeadWait
from payonce.drive.tiers import Tiers
from payonce.drive.tower import Tower
from payonce.intake import Admitted
from payonce.ledger.ledger import Ledger
from payonce.model import reason as why
from payonce.model.ports import Head
from payonce.model.reason import Reason
from payonce.model.receipt import Landing
from payonce.stores.memory import MemoryStore
from payonce.testing.clock import FakeClock
from tests.drive.test_parity import AsyncScript
from tests.support import words
from tests.support.on_a_loop import turns

HEAD = Head(200, ())
CUT = Ending(End.CUT, why.UPSTREAM_CUT)
STEPS = ("begin", "feed", "flood", "complete", "cut", "fail", "land", "time")


@pytest.fixture(autouse=True, scope="module")
def _no_time_of_its_own() -> Iterator[None]:
    """Time is the test's: `Told` says when it is up, however long a turn of the loop takes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(aio_faces, "SETTLE_SECONDS", 3600.0)
        yield


class Told:
    """A wait, what it was told, and what it should be told by now."""

    def __init__(self, *, settle: bool) -> None:
        self.flight = Flight(words.ask(), Tape(cap=8, window=4), 0)
        self.tape = self.flight.tape
        self.settle = settle
        self.given: list[Head | Reason] = []
        self.wait = HeadWait(Await(self.flight, settle), self.given.append)

    def do(self, step: str) -> None:
        steps: dict[str, Callable[[], None]] = {
            "begin": lambda: self.tape.begin(HEAD),
            "feed": lambda: self.tape.feed(b"x"),
            "flood": lambda: self.tape.feed(b"x" * 9),
            "complete": lambda: self.tape.end(COMPLETE),
            "cut": lambda: self.tape.end(CUT),
            "fail": lambda: self.tape.end(Ending(End.FAILED)),
            "land": lambda: self.flight.land(Landing(None, None, 0.0)),
            "time": self._time,
        }
        steps[step]()

    def due(self) -> Head | Reason | None:
        """What is to be told by now, if anything."""
        if self.tape.head is None:
            return None if self.tape.ending is None else self.tape.ending.reason or why.INTERNAL
        over = self.tape.ending is not None or self.tape.spilled or self.flight.landing is not None
        return self.tape.head if over or not self.settle else None

    def _time(self) -> None:
        """The time for which a head may wait is up, if it has begun."""
        if self.wait._timer is not None:
            self.settle = False
            self.wait._settled()


def sensible(steps: list[str]) -> list[str]:
    """The same without what no flight does: a body before its head, anything but a landing after the end."""
    kept: list[str] = []
    for step in steps:
        ended = {"complete", "cut", "fail"} & set(kept)
        if step == "land" and not ended:
            continue  # a flight lands once its tape has ended
        if step not in ("land", "time") and ended:
            continue
        if step in ("feed", "flood", "complete", "cut") and "begin" not in kept:
            continue
        if step == "begin" and "begin" in kept:
            continue
        kept.append(step)
    return kept


@given(st.lists(st.sampled_from(STEPS), max_size=12).map(sensible), st.booleans(), st.integers(0, 12))
async def test_the_head_is_told_once_and_when_it_is_time(steps: list[str], settle: bool, before: int) -> None:
    told = Told(settle=settle)
    due: Head | Reason | None = None
    for number, step in enumerate(steps):
        told.do(step)
        if number >= before:  # what comes at once is looked at when all of it has come
            await turns()
        if number >= before or number == len(steps) - 1:
            await turns()
            due = due or told.due()
            assert told.given == ([] if due is None else [due])
            assert bool(told.tape.readers) == (due is None), "it keeps its place until it is told, and no longer"
    told.wait.give_up()
    told.tape.begin(HEAD)
    await turns()
    assert told.given == ([] if due is None else [due]), "who has given up is told nothing"
    assert not told.tape.readers
    assert told.wait._timer is None or told.wait._timer.cancelled()


async def test_who_reads_on_does_so_before_the_place_is_given_up() -> None:
    """A tape past its cap lets go of what no reader holds: the head's reader holds it for who comes next."""
    told = Told(settle=True)
    came: list[bytes] = []
    told.wait._done = lambda _: came.extend(told.tape.read().take())
    told.tape.begin(HEAD)
    told.tape.feed(b"123456789")
    await turns()
    assert came == [b"123456789"]


async def test_what_landed_before_is_told_at_once() -> None:
    """The control of `turns`: without a wait there is nothing to wait for."""
    flight = Flight(words.ask(), Tape.finished(HEAD, b"x"), 0)
    flight.land(Landing(None, None, 0.0))
    given_: list[Head | Reason] = []
    HeadWait(Await(flight, settle=True), given_.append)
    assert given_ == [HEAD]


async def test_who_waits_for_a_flight_that_was_cancelled_before_its_first_step_is_told() -> None:
    """A request that takes off in the very turn in which the player is closed: its task never gets to its own end."""
    clock, taken = FakeClock(words.NOW), words.admit(words.chat())
    assert isinstance(taken, Admitted)
    player = AsyncPlayer(
        tiers=Tiers(MemoryStore(1 << 20, clock), None, words.SECRET),
        tower=Tower(8, 1 << 20),
        upstreams={"": AsyncScript()},
        listener=Ledger("w", 0),
        clock=clock,
    )
    boarding = player.flights.board(Board(taken.ask, words.NOW), taken.dialect)
    assert isinstance(boarding, Boarding)
    given_: list[Head | Reason] = []
    HeadWait(Await(boarding.flight, settle=True), given_.append)
    [task] = player.flights.tasks
    task.cancel()
    await turns()
    assert given_ == [why.STOPPING]
    assert boarding.flight.landing == Landing(None, why.STOPPING, 0.0)
    assert (len(player.tower), player.flights.tasks) == (0, {})
    await player.close(0.0)

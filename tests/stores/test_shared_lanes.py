"""An event loop's connections: every command gets its own reply or none, in time, whatever is cancelled or said."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payonce.errors import StoreError, StoreUnavailableError
from payonce.stores import lane as lane_module
from payonce.stores.lane import Judge, Lane
from payonce.stores.lane_queue import MOST_AT_ONCE, MOST_WAITING, Job
from payonce.stores.lanes import Lanes
from payonce.stores.talk import LostError, Talk
from payonce.testing import FakeClock


class Numbers:
    """One end of a pair of sockets, on which numbers are said and each is answered by its negative."""

    made: list[Numbers]

    def __init__(self) -> None:
        self.sock, self.far = socket.socketpair()
        self.far.settimeout(5)
        self.held = b""
        self.closed = False

    @property
    def holds_more(self) -> bool:
        return bool(self.held)

    def talk(self, commands: Sequence[int]) -> Talk[list[int]]:
        self.held += yield b"".join([b"%d\n" % number for number in commands])
        replies: list[int] = []
        for _ in commands:
            while b"\n" not in self.held:
                self.held += yield b""
            line, _, self.held = self.held.partition(b"\n")
            replies.append(int(line))
        return replies

    def is_quiet(self) -> bool:
        return not self.closed

    def close(self) -> None:
        self.closed = True
        self.sock.close()

    def asked(self) -> list[int]:
        """What has been said to the server."""
        return [int(word) for word in self.far.recv(1 << 16).split()]

    def answer(self, numbers: Sequence[int], sizes: Iterator[int] | None = None) -> list[bytes]:
        """The pieces in which the server says it; `sizes` cuts them."""
        whole = b"".join(b"%d\n" % -number for number in numbers)
        pieces = []
        while whole:
            size = next(sizes, len(whole)) if sizes is not None else len(whole)
            pieces.append(whole[:size])
            whole = whole[size:]
        return pieces


class Rig:
    """A lane on the running loop, with `count` connections, and what its judge has heard."""

    def __init__(self, count: int = 1) -> None:
        self.heard: list[str] = []
        self.asked_on = True
        self.lane: Lane[int, int] = Lane(
            asyncio.get_running_loop(), "server", Judge(self.sound, self.worked, self.failed)
        )
        self.lines = [Numbers() for _ in range(count)]
        for line in self.lines:
            self.lane.offer(line)

    def sound(self, replies: Sequence[object]) -> None:
        if 0 in replies:
            raise LostError("unwell")

    def worked(self) -> None:
        self.heard.append("worked")

    def failed(self, error: LostError) -> bool:
        self.heard.append("failed")
        return self.asked_on

    def ask(self, *numbers: int, seconds: float = 5.0) -> asyncio.Future[list[int] | StoreError | TimeoutError]:
        return self.lane.ask(numbers, asyncio.get_running_loop().time() + seconds)

    def __enter__(self) -> Rig:
        return self

    def __exit__(self, *_: object) -> None:
        self.lane.close()
        assert all(line.closed for line in self.lines)
        for line in self.lines:
            line.far.close()


async def turns(count: int = 4) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_those_who_wait_at_one_moment_share_the_next_exchange() -> None:
    with Rig() as rig:
        await turns()
        [line] = rig.lines
        first = rig.ask(1)
        others = [rig.ask(2, 3), rig.ask(4)]
        assert line.asked() == [1]
        line.far.send(b"-1\n")
        assert await first == [-1]
        assert line.asked() == [2, 3, 4]
        line.far.send(b"-2\n-3\n-4\n")
        assert [await other for other in others] == [[-2, -3], [-4]]
        assert rig.heard == ["worked", "worked"]
        assert rig.lane.counts == (0, 1)


async def test_a_request_that_is_cancelled_lets_go_and_its_reply_is_nobody_elses() -> None:
    with Rig() as rig:
        await turns()
        [line] = rig.lines
        together = [rig.ask(0 + number) for number in (1, 2, 3)]
        together[0].cancel()
        together[1].cancel()
        assert line.asked() == [1]
        line.far.send(b"-1\n")
        await turns()
        assert line.asked() == [3], "whoever has left before it began is not asked for"
        late = rig.ask(4)
        together[2].cancel()
        line.far.send(b"-3\n")
        await turns()
        assert line.asked() == [4]
        line.far.send(b"-4\n")
        assert await late == [-4]
        assert not line.closed


async def wrong(jobs: Sequence[tuple[int, bool]], sizes: Sequence[int], count: int) -> list[object]:
    """What is not as it should be after these jobs (how many commands, and whether it is cancelled once it was asked),
    with answers cut into pieces of these sizes."""
    with Rig(count) as rig:
        await turns()
        cuts, number = iter(sizes), 0
        waiting = []
        for width, leaves in jobs:
            numbers = list(range(number + 1, number + width + 1))
            number += width
            waiting.append((numbers, leaves, rig.ask(*numbers)))
        for line in rig.lines:
            line.far.setblocking(False)
        while not all(future.done() for _, _, future in waiting):
            for line in rig.lines:
                with suppress(BlockingIOError):
                    numbers = line.asked()
                    for asked, leaves, future in waiting:
                        if leaves and asked[0] in numbers:
                            future.cancel()
                    for piece in line.answer(numbers, cuts):
                        line.far.send(piece)
                        await turns(2)
            await turns(2)
        return [
            (numbers, future)
            for numbers, leaves, future in waiting
            if not (future.cancelled() if leaves else future.result() == [-each for each in numbers])
        ]


JOBS = st.lists(st.tuples(st.integers(1, 3), st.booleans()), min_size=1, max_size=30)


@given(JOBS, st.lists(st.integers(1, 9), max_size=60), st.integers(1, 2))
def test_in_any_pieces_and_with_any_cancellations_each_gets_its_own(
    jobs: list[tuple[int, bool]], sizes: list[int], count: int
) -> None:
    assert asyncio.run(wrong(jobs, sizes, count)) == []


async def test_a_control_a_lane_that_forgets_the_place_of_those_who_left_is_found_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def settle(jobs: Iterable[Job[int, int]], replies: list[int]) -> None:
        real_settle([job for job in jobs if not job.future.done()], replies)

    real_settle = lane_module.settle
    monkeypatch.setattr(lane_module, "settle", settle)
    assert await wrong([(1, False), (1, True), (1, False)], [], 1)


@pytest.fixture
def ticks(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    """What lanes take the time from: it stands still until it is moved on."""
    clock = FakeClock(time.monotonic())
    monkeypatch.setattr(lane_module, "time", SimpleNamespace(monotonic=clock))
    return clock


async def test_a_reply_that_is_late_is_no_reply_and_its_connection_is_gone(ticks: FakeClock) -> None:
    with Rig() as rig:
        await turns()
        first, second = rig.ask(1, seconds=0.02), rig.ask(2, seconds=0.03)
        ticks.advance(1)
        assert isinstance(await first, TimeoutError)
        assert isinstance(await second, StoreError | TimeoutError)
        assert rig.heard == ["failed"]
        assert rig.lines[0].closed
        assert not rig.lane.is_open


async def test_one_who_has_no_more_time_is_told_while_the_exchange_goes_on_for_the_others(ticks: FakeClock) -> None:
    with Rig() as rig:
        await turns()
        [line] = rig.lines
        before = rig.ask(1)
        short, long = rig.ask(2, seconds=0.03), rig.ask(3)
        line.far.send(b"-1\n")
        assert await before == [-1]
        assert line.asked() == [1, 2, 3]
        ticks.advance(1)
        assert isinstance(await short, TimeoutError)
        assert not line.closed
        line.far.send(b"-2\n-3\n")
        assert await long == [-3]
        assert rig.heard == ["worked", "worked"]


@pytest.mark.parametrize("said", [b"-1\n-2\n", b"-1\nx", b"junk\n", b"0\n", b""])
async def test_a_connection_on_which_something_else_was_said_is_gone(said: bytes) -> None:
    with Rig() as rig:
        await turns()
        [line] = rig.lines
        asked = rig.ask(1)
        if said:
            line.far.send(said)
        else:
            line.far.close()
        found = await asked
        assert found == [-1] if said.startswith(b"-1\n") else isinstance(found, LostError)
        await turns()
        assert line.closed
        assert rig.lane.counts == (0, 0)


@pytest.mark.parametrize("unasked", [b"-1\n", b""])
async def test_an_idle_connection_that_says_something_or_ends_is_gone_and_that_is_no_failure(unasked: bytes) -> None:
    with Rig() as rig:
        await turns()
        if unasked:
            rig.lines[0].far.send(unasked)
        else:
            rig.lines[0].far.close()
        await turns()
        assert rig.lines[0].closed
        assert not rig.lane.is_open
        assert rig.heard == []


async def test_when_the_server_is_not_asked_any_more_no_connection_is_kept_idle() -> None:
    with Rig(2) as rig:
        await turns()
        rig.asked_on = False
        asked = rig.ask(1)
        rig.lines[1].far.close()
        assert isinstance(await asked, LostError)
        assert [line.closed for line in rig.lines] == [True, True]


async def test_what_waits_and_what_goes_into_an_exchange_is_bounded() -> None:
    with Rig() as rig:
        await turns()
        [line] = rig.lines
        first = rig.ask(1)
        waiting = [rig.ask(number) for number in range(2, MOST_WAITING + 2)]
        with pytest.raises(StoreUnavailableError, match="wait already"):
            rig.ask(9999)
        assert line.asked() == [1]
        line.far.send(b"-1\n")
        await first
        while not waiting[-1].done():
            numbers = line.asked()
            assert len(numbers) <= MOST_AT_ONCE
            [piece] = line.answer(numbers)
            line.far.send(piece)
            await turns()
        assert [future.result() for future in waiting] == [[-number] for number in range(2, MOST_WAITING + 2)]


async def test_a_batch_larger_than_an_exchange_goes_in_one_all_the_same() -> None:
    with Rig() as rig:
        await turns()
        numbers = list(range(1, MOST_AT_ONCE + 10))
        asked = rig.ask(*numbers)
        [piece] = rig.lines[0].answer(rig.lines[0].asked())
        rig.lines[0].far.send(piece)
        assert await asked == [-number for number in numbers]


def lanes(dial: Callable[[], Numbers]) -> Lanes[int, int]:
    return Lanes("server", dial, Judge(lambda replies: None, lambda: None, lambda error: True))


def test_connections_of_a_loop_that_was_closed_are_destroyed() -> None:
    made: list[Numbers] = []
    held = lanes(lambda: made.append(Numbers()) or made[-1])  # type: ignore[func-returns-value]

    async def once(rest: bool) -> None:
        assert held.here() is None
        held.furnish()
        if rest:
            await turns()
            assert held.here() is not None

    for rest in (True, False):
        asyncio.run(once(rest))
        assert len(made) == lane_module.LINES
        held.furnish()
        assert all(line.closed for line in made)
        assert held.counts == (0, 0)
        for line in made:
            line.far.close()
        made.clear()
    held.close()


def test_a_loop_that_stands_still_gets_no_more_than_its_share() -> None:
    made: list[Numbers] = []
    held = lanes(lambda: made.append(Numbers()) or made[-1])  # type: ignore[func-returns-value]
    loop = asyncio.new_event_loop()

    async def once() -> None:
        held.here()

    loop.run_until_complete(once())
    for _ in range(10):
        held.furnish()
    assert len(made) == lane_module.LINES
    loop.run_until_complete(turns())
    held.close()
    assert all(line.closed for line in made)
    loop.close()
    for line in made:
        line.far.close()

"""One event loop's connections to one server: reads without a thread, by the same talks that threads hold.

Each connection holds one exchange at a time, for whoever waits at that moment. The exchange is nobody's: a request that
is cancelled lets go of a future, and the exchange ends whole, or destroys its connection, by a deadline of its own.
A connection on which anything arrives that was not asked for is destroyed. This room must never know a protocol, and
never connects.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from typing import Generic, NamedTuple, Protocol, TypeVar

from payonce.errors import StoreError
from payonce.stores.lane_queue import Fault, Job, LaneQueue, expire, fail, settle
from payonce.stores.links import Link
from payonce.stores.talk import MOST_BYTES, READ_BYTES, LostError, Talk, has_pending, heed

LINES = 2
"""Connections of a lane. With one, a large value holds up the others; each is one more for the server to keep."""
_READS_AT_ONCE = 16
"""So many pieces are taken before others on the loop have their turn."""
_NOT_YET = (BlockingIOError, InterruptedError, ssl.SSLWantReadError)

C_contra = TypeVar("C_contra", contravariant=True)
C = TypeVar("C")
R = TypeVar("R")


class Line(Link, Protocol[C_contra, R]):
    """A connection that holds talks."""

    @property
    def sock(self) -> socket.socket:
        """The open socket. Raises LostError where there is none."""
        ...

    @property
    def holds_more(self) -> bool:
        """Whether more was read than was asked for."""
        ...

    def talk(self, commands: Sequence[C_contra]) -> Talk[list[R]]:
        """An exchange."""
        ...


class Judge(NamedTuple):
    """Who hears how exchanges end."""

    sound: Callable[[Sequence[object]], None]
    """Raises LostError where a reply says that the server is unwell."""
    worked: Callable[[], None]
    failed: Callable[[LostError], bool]
    """Counts it; whether the server is asked any more."""


class _Held(Generic[C, R]):
    """A connection, and the exchange that it holds."""

    __slots__ = ("fd", "gone", "jobs", "line", "room", "sock", "talk", "timer", "wakes_at")

    def __init__(self, line: Line[C, R]) -> None:
        self.line, self.sock = line, line.sock
        self.fd = self.sock.fileno()
        self.jobs: list[Job[C, R]] = []
        self.talk: Talk[list[R]] | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.wakes_at = 0.0
        """When the timer is due, in monotonic seconds. It outlives exchanges: one that comes early is set anew, which
        costs less than a timer for each of them."""
        self.room = 0
        self.gone = False

    def end(self) -> list[Job[C, R]]:
        """The exchange has ended: who waited for it."""
        jobs, self.jobs, self.talk = self.jobs, [], None
        return jobs

    def disarm(self) -> None:
        """Nothing is due any more."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None


class Lane(Generic[C, R]):
    """The connections to the server `name` on `loop`. Every method but `wants`, `offer` and `abandon` is called on the
    loop's thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, name: str, judge: Judge) -> None:
        self._loop, self._name, self._judge = loop, name, judge
        self._lines: list[_Held[C, R]] = []
        self._idle: list[_Held[C, R]] = []
        self._coming: list[Line[C, R]] = []
        self._queue: LaneQueue[C, R] = LaneQueue()
        self._buffer = bytearray(READ_BYTES)
        self._view = memoryview(self._buffer)
        self._closed = False

    @property
    def wants(self) -> int:
        """How many more connections it could do with."""
        return 0 if self._closed else LINES - len(self._lines) - len(self._coming)

    @property
    def is_open(self) -> bool:
        """Whether it can be asked."""
        return bool(self._lines)

    @property
    def counts(self) -> tuple[int, int]:
        """How many connections hold an exchange, and how many are idle."""
        return len(self._lines) - len(self._idle), len(self._idle)

    def ask(self, commands: Sequence[C], deadline: float) -> asyncio.Future[list[R] | Fault]:
        """The replies; or what went wrong: a TimeoutError where they did not come by `deadline` (monotonic seconds).
        Raises StoreUnavailableError at once where too much waits already."""
        future: asyncio.Future[list[R] | Fault] = self._loop.create_future()
        self._queue.add(Job(commands, deadline, future))
        if self._idle:
            self._next(self._idle.pop())
        return future

    def offer(self, line: Line[C, R]) -> None:
        """A connection that has just been made."""
        self._coming.append(line)
        try:
            self._loop.call_soon_threadsafe(self._take, line)
        except RuntimeError:  # the loop was closed meanwhile
            self.abandon()

    def close(self) -> None:
        """Destroy every connection; those who wait are told."""
        self._closed = True
        for held in tuple(self._lines):
            self._drop(held, LostError(f"{self._name}: the store is closed"))

    def abandon(self) -> None:
        """Destroy every connection of a loop that is closed."""
        self._closed = True
        lines, self._lines, self._idle = self._lines, [], []
        coming, self._coming = self._coming, []
        for line in (*coming, *(held.line for held in lines)):
            line.close()

    def _take(self, line: Line[C, R]) -> None:
        self._coming.remove(line)
        try:
            held = _Held(line)
            held.sock.setblocking(False)
            if self._closed:
                raise StoreError("the store is closed")
            self._loop.add_reader(held.fd, self._readable, held)
        except (OSError, ValueError, StoreError):
            line.close()
            return
        self._lines.append(held)
        self._next(held)

    def _next(self, held: _Held[C, R]) -> None:
        """Begin an exchange for those who wait, if somebody does."""
        now = time.monotonic()
        jobs = self._queue.take(now) if self._queue else None
        if not jobs:
            self._idle.append(held)
            return
        held.jobs, held.room = jobs, MOST_BYTES
        try:
            held.talk = held.line.talk(
                jobs[0].commands if len(jobs) == 1 else [command for job in jobs for command in job.commands]
            )
            data = next(held.talk)
            if held.sock.send(data) != len(data):
                raise LostError(f"{self._name} does not listen")
            self._wake_at(min([job.deadline for job in jobs]), held, now)
        except Exception as error:  # noqa: BLE001 - whatever it is, it ends this connection and nothing else
            self._fail(held, error)

    def _wake_at(self, due: float, held: _Held[C, R], now: float) -> None:
        """Look at the exchange when a deadline of its has passed, or before that."""
        if held.timer is None or held.wakes_at > due:
            held.disarm()
            held.timer, held.wakes_at = self._loop.call_later(due - now, self._late, held), due

    def _late(self, held: _Held[C, R]) -> None:
        """Tell those whose time is up; with the last of them the exchange ends."""
        held.timer = None
        if not held.jobs:
            return
        now = time.monotonic()
        due = max(job.deadline for job in held.jobs)
        if due <= now:
            self._fail(held, LostError("no whole answer in time"))
        else:
            self._wake_at(expire(held.jobs, now) or due, held, now)

    def _readable(self, held: _Held[C, R]) -> None:
        talk = held.talk
        if held.gone:
            return
        try:
            for _ in range(_READS_AT_ONCE):
                count = held.sock.recv_into(self._buffer)
                held.room -= count
                heed(count, held.room)
                if talk is None:
                    raise LostError("something was said that was not asked for")
                talk.send(self._view[:count])
                if count < READ_BYTES and not has_pending(held.sock):
                    return
        except _NOT_YET:
            return
        except StopIteration as end:
            self._finish(held, end.value)
        except Exception as error:  # noqa: BLE001 - whatever an answer has done to a parser
            self._fail(held, error)

    def _finish(self, held: _Held[C, R], replies: list[R]) -> None:
        try:
            self._judge.sound(replies)
        except LostError as error:
            self._fail(held, error)
            return
        self._judge.worked()
        settle(held.end(), replies)
        if held.line.holds_more:
            self._drop(held, LostError(f"{self._name} said more than was asked for"))
        else:
            self._next(held)

    def _fail(self, held: _Held[C, R], error: Exception) -> None:
        lost = LostError(f"{self._name}: {error if isinstance(error, StoreError | OSError) else repr(error)}")
        if held.talk is None and not held.jobs:
            self._drop(held, lost)  # it was idle, and a server may close what is idle
            return
        asked_on = self._judge.failed(lost)
        expire(held.jobs, time.monotonic())  # those are told that it was slow
        self._drop(held, lost)
        if not asked_on:
            for other in tuple(self._idle):
                self._drop(other, lost)  # the server there may be another one when it answers again

    def _drop(self, held: _Held[C, R], error: LostError) -> None:
        """Destroy a connection; with the last one, nobody waits any longer."""
        held.gone = True
        held.disarm()
        self._lines.remove(held)
        if held in self._idle:
            self._idle.remove(held)
        self._loop.remove_reader(held.fd)
        held.line.close()
        fail(held.end(), error)
        if not self._lines:
            fail(self._queue.take_all(), error)

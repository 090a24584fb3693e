"""Who waits for a reply on an event loop, and what each of them is told: exactly one thing, in time.

Commands of one moment go together into one exchange; each job has its own deadline and its own future. A future that
was let go of (its request was cancelled) stays in its place, so that no reply is paired with another's command. This
room must never know a connection.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Generic, TypeVar

from payonce.errors import StoreError, StoreUnavailableError

MOST_WAITING = 256
"""Commands that wait for a connection; further ones are misses."""
MOST_AT_ONCE = 64
"""Commands in one exchange."""

C = TypeVar("C")
R = TypeVar("R")
Fault = StoreError | TimeoutError
"""Why there is no reply: a value, as nobody may be there any more to catch it."""


class Job(Generic[C, R]):
    """Commands that were asked together; `deadline` in monotonic seconds."""

    __slots__ = ("commands", "deadline", "future")

    def __init__(self, commands: Sequence[C], deadline: float, future: asyncio.Future[list[R] | Fault]) -> None:
        self.commands, self.deadline, self.future = commands, deadline, future


class LaneQueue(Generic[C, R]):
    """The jobs that wait, in their order."""

    def __init__(self) -> None:
        self._jobs: deque[Job[C, R]] = deque()
        self._commands = 0

    def __bool__(self) -> bool:
        return bool(self._jobs)

    def add(self, job: Job[C, R]) -> None:
        """Let it wait. Raises StoreUnavailableError where too much waits already."""
        if self._commands + len(job.commands) > MOST_WAITING:
            raise StoreUnavailableError(f"{self._commands} reads wait already: ask less at once")
        self._jobs.append(job)
        self._commands += len(job.commands)

    def take(self, now: float) -> list[Job[C, R]]:
        """What goes into the next exchange; nothing that is too late, or that nobody waits for any more."""
        taken: list[Job[C, R]] = []
        room = MOST_AT_ONCE
        while self._jobs and (not taken or len(self._jobs[0].commands) <= room):
            job = self._jobs.popleft()
            self._commands -= len(job.commands)
            if expire([job], now) is not None:
                taken.append(job)
                room -= len(job.commands)
        return taken

    def take_all(self) -> list[Job[C, R]]:
        """Everything, for good."""
        jobs = list(self._jobs)
        self._jobs.clear()
        self._commands = 0
        return jobs


def settle(jobs: Iterable[Job[C, R]], replies: list[R]) -> None:
    """Each has its share of the replies, which are in the order of the commands."""
    start = 0
    for job in jobs:
        end = start + len(job.commands)
        if not job.future.done():
            job.future.set_result(replies[start:end])
        start = end


def fail(jobs: Iterable[Job[C, R]], error: Fault) -> None:
    """Each is told that there is no reply."""
    for job in jobs:
        if not job.future.done():
            job.future.set_result(error)


def expire(jobs: Iterable[Job[C, R]], now: float) -> float | None:
    """Tell those whose time is up; when that is so for the next of them, None where nobody waits any more."""
    due: float | None = None
    for job in jobs:
        if job.future.done():
            continue
        if job.deadline <= now:
            job.future.set_result(TimeoutError("no whole answer in time"))
        elif due is None or job.deadline < due:
            due = job.deadline
    return due

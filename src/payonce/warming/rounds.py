"""Sending a list of requests until the answer to each is kept or can't be: on asyncio, and in threads.

`Course` decides and does nothing: whether a request is done, and for how long everybody waits before another is sent.
The two drivers wait, by the clock and the sleep that they are given. This room must never know how a request is sent.
"""

from __future__ import annotations

import asyncio
import dataclasses
import threading
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, wait

from payonce.model.ports import Clock
from payonce.warming.words import (
    LATER,
    LONGEST_WAIT,
    TRIES,
    Done,
    OnDone,
    Request,
    Sent,
    Summary,
    Trouble,
    Unread,
    Warmth,
    silent,
    untroubled,
)

Send = Callable[[Request], Awaitable[Sent]]
Sleep = Callable[[float], Awaitable[None]]


class Course:
    """One round of warming: what has been learnt so far."""

    def __init__(self, tries: int, clock: Clock, on_done: OnDone, trouble: Trouble) -> None:
        self.summary = Summary()
        self._trouble = trouble
        self._tries = tries
        self._clock = clock
        self._on_done = on_done
        self._not_before = 0.0

    def wait(self) -> float:
        """For how many seconds the upstream wants to be left alone: it says so to all."""
        return self._not_before - self._clock()

    def took(self, request: Request, sent: Sent, attempt: int) -> bool:
        """Note what came of sending `request` for the `attempt`-th time; False where it is to be sent again. A store
        that has lost something is trouble, and the sum says so from then on."""
        self.summary.because = self.summary.because or self._trouble()
        if sent.paid and sent.status == 200:
            self.summary.cost += sent.cost or 0
            self.summary.unpriced += sent.cost is None
        if sent.warmth is not Warmth.FAILED or sent.status not in LATER:
            return self._done(request.number, sent, attempt)
        wait = 2.0 ** (attempt - 1) if sent.later is None else sent.later
        if wait > LONGEST_WAIT:
            return self._failed(request.number, sent, attempt, f"it asks to wait {wait:.0f} s, which is too long")
        self._not_before = max(self._not_before, self._clock() + wait)
        if attempt == self._tries:
            return self._failed(request.number, sent, attempt, f"still so after {self._tries} tries")
        return False

    def skipped(self, unread: Unread) -> None:
        """What is no request fails without being sent."""
        self._done(unread.number, Sent(Warmth.FAILED, unread.because), 0)

    def stopped(self) -> None:
        """Not everything was sent."""
        self.summary.complete = False

    def end(self) -> Summary:
        """The sum of all."""
        self.summary.failed.sort()
        return self.summary

    def _failed(self, number: int, sent: Sent, tries: int, because: str) -> bool:
        return self._done(number, dataclasses.replace(sent, because=f"{sent.because}; {because}"), tries)

    def _done(self, number: int, sent: Sent, tries: int) -> bool:
        self.summary.counts[sent.warmth] += 1
        if sent.warmth is Warmth.FAILED:
            self.summary.failed.append((number, sent.because))
        self._on_done(Done(number, sent, tries), self.summary)
        return True


async def warm(
    requests: Iterable[Request | Unread],
    send: Send,
    *,
    clock: Clock,
    concurrency: int = 8,
    tries: int = TRIES,
    sleep: Sleep = asyncio.sleep,
    on_done: OnDone = silent,
    stop: asyncio.Event | None = None,
    trouble: Trouble = untroubled,
) -> Summary:
    """Send every request, `concurrency` at a time, until its answer is kept or can't be.

    Where the upstream says 429, 503 or 529, all wait as long as it asks, on `clock` by `sleep`. `on_done` is told of
    each request when it is done. Once `stop` is set, nothing more is sent, and what is under way is finished; it is set
    here where `trouble` has something to say. `requests` is read as it goes.
    """
    halt = stop or asyncio.Event()
    course, source = Course(tries, clock, on_done, trouble), iter(requests)

    async def may_send() -> bool:
        while not halt.is_set() and (seconds := course.wait()) > 0:
            waiting = [asyncio.ensure_future(sleep(seconds)), asyncio.ensure_future(halt.wait())]
            try:
                await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in waiting:
                    task.cancel()
        return not halt.is_set()

    async def work() -> None:
        for request in source:
            if isinstance(request, Unread) and not halt.is_set():
                course.skipped(request)
                continue
            for attempt in range(1, tries + 1):
                if isinstance(request, Unread) or not await may_send():
                    return course.stopped()
                done = course.took(request, await send(request), attempt)
                if course.summary.because:
                    halt.set()
                if done:
                    break
        return None

    async with asyncio.TaskGroup() as group:
        for _ in range(max(1, concurrency)):
            group.create_task(work())
    return course.end()


def warm_threads(
    requests: Iterable[Request | Unread],
    send: Callable[[Request], Sent],
    *,
    clock: Clock,
    concurrency: int = 8,
    tries: int = TRIES,
    sleep: Callable[[float], object] | None = None,
    on_done: OnDone = silent,
    stop: threading.Event | None = None,
    trouble: Trouble = untroubled,
) -> Summary:
    """As `warm`, in threads. `on_done` is called by one thread at a time. `sleep` may return early (a wait for `stop`,
    by default). An interrupt (Ctrl-C), or what `send`, `on_done` or `requests` raise, stops it and is raised once the
    calls under way have ended."""
    halt = stop or threading.Event()
    crew = _Crew(requests, send, Course(tries, clock, on_done, trouble), tries, sleep or halt.wait, halt)
    with ThreadPoolExecutor(max(1, concurrency), thread_name_prefix="payonce-warm") as pool:
        workers = [pool.submit(crew.work) for _ in range(max(1, concurrency))]
        try:
            wait(workers)
        except BaseException:
            halt.set()
            raise
    for worker in workers:
        worker.result()
    return crew.course.end()


class _Crew:
    """The threads of one round, and what they share."""

    def __init__(
        self,
        requests: Iterable[Request | Unread],
        send: Callable[[Request], Sent],
        course: Course,
        tries: int,
        sleep: Callable[[float], object],
        halt: threading.Event,
    ) -> None:
        self.course = course
        self._source = iter(requests)
        self._send = send
        self._tries = tries
        self._sleep = sleep
        self._halt = halt
        self._lock = threading.Lock()

    def work(self) -> None:
        """Take one request after the other."""
        try:
            while (request := self._next()) is not None and self._ask(request):
                pass
        except BaseException:
            self._halt.set()
            raise

    def _next(self) -> Request | None:
        with self._lock:
            for request in self._source:
                if self._halt.is_set():
                    self.course.stopped()
                    return None
                if isinstance(request, Request):
                    return request
                self.course.skipped(request)
            return None

    def _ask(self, request: Request) -> bool:
        """Send until it is no longer "later"; False where it was stopped before."""
        for attempt in range(1, self._tries + 1):
            while not self._halt.is_set() and (seconds := self.course.wait()) > 0:
                self._sleep(seconds)
            if self._halt.is_set():
                self.course.stopped()
                return False
            sent = self._send(request)
            with self._lock:
                done = self.course.took(request, sent, attempt)
                if self.course.summary.because:
                    self._halt.set()
            if done:
                break
        return True

"""A call that is steered: its answer passes untouched, its course hears all of it, a rejection is sent again bare."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from msgspec.structs import replace

from payonce.drive.navigated import NavigatedSyncUpstream, NavigatedUpstream
from payonce.model import ports
from payonce.model import reason as why
from payonce.model.call import Call, Steering
from payonce.model.ports import Head, UpstreamFault
from tests.support import words

BARE = replace(words.ask().call, steering=Steering("m", "t", "https://upstream.example/v1"))
PIECES = [b"one ", b"two ", b"three"]


@dataclass
class Course:
    call: Call
    changed: bool = True
    refuses: bool = False
    keen: bool = True
    events: list[Any] = field(default_factory=list)
    again: Course | None = None

    def bare(self) -> Course:
        assert self.events[-1] is False, "the first answer is over"
        self.again = Course(BARE, changed=False)
        return self.again

    def refused(self, status: int, body: bytes) -> bool:
        self.events.append((status, body))
        return self.refuses

    def begun(self, head: Head) -> None:
        self.events.append(head.status)

    def heard(self, chunk: bytes) -> None:
        self.events.append(chunk)

    def over(self, *, whole: bool) -> None:
        if not self.events or not isinstance(self.events[-1], bool):
            self.events.append(whole)


@dataclass
class Navigator:
    plotted: Course | None

    def course(self, call: Call) -> Course | None:
        assert call.steering is not None
        return self.plotted


@dataclass
class Answer:
    head: Head
    fault: bool
    closed: int = 0

    def close(self) -> None:
        self.closed += 1

    def pieces(self) -> Iterator[bytes]:
        yield from PIECES
        if self.fault:
            raise UpstreamFault(why.UPSTREAM_CUT)


class AsyncAnswer(Answer, ports.Answer):
    async def chunks(self) -> AsyncIterator[bytes]:
        for piece in self.pieces():
            yield piece


class SyncAnswer(Answer):
    def chunks(self) -> Iterator[bytes]:
        yield from self.pieces()


@dataclass
class Upstream:
    """Answers with these statuses, one after the other; None is a fault before the head."""

    statuses: list[int | None]
    kind: Any
    fault: bool = False
    calls: list[Call] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)

    def reply(self, call: Call) -> Any:
        self.calls.append(call)
        status = self.statuses.pop(0)
        if status is None:
            raise UpstreamFault(why.UPSTREAM_REFUSED)
        self.answers.append(self.kind(Head(status, ()), self.fault))
        return self.answers[-1]


class AsyncUpstream(Upstream):
    async def open(self, call: Call) -> Any:
        return self.reply(call)


class SyncUpstream(Upstream):
    def open(self, call: Call) -> Any:
        return self.reply(call)


def drive(
    threads: bool, navigator: Navigator, statuses: list[int | None], *, fault: bool = False
) -> tuple[Any, Upstream]:
    """Open the bare call, read its answer, close it: the body, or what was raised; and the upstream that was asked."""
    if threads:
        below: Any = SyncUpstream(statuses, SyncAnswer, fault)

        def read() -> bytes:
            answer = NavigatedSyncUpstream(below, navigator).open(BARE)
            try:
                return b"".join(answer.chunks())
            finally:
                answer.close()

        run: Any = read
    else:
        below = AsyncUpstream(statuses, AsyncAnswer, fault)

        async def aread() -> bytes:
            answer = await NavigatedUpstream(below, navigator).open(BARE)
            try:
                return b"".join([chunk async for chunk in answer.chunks()])
            finally:
                answer.close()

        def run() -> bytes:
            return asyncio.run(aread())

    try:
        return run(), below
    except UpstreamFault as raised:
        return raised.reason, below


PLAYERS = pytest.mark.parametrize("threads", [True, False], ids=["threads", "asyncio"])
CHANGED = replace(BARE, body=b"changed")
WHOLE = b"".join(PIECES)


@PLAYERS
def test_the_changed_call_goes_up_and_the_course_hears_what_the_client_gets(threads: bool) -> None:
    course = Course(CHANGED)
    body, below = drive(threads, Navigator(course), [200])
    assert (body, below.calls, course.events) == (WHOLE, [CHANGED], [200, *PIECES, True])
    assert below.answers[0].closed == 1


@PLAYERS
def test_a_call_without_a_course_goes_up_as_it_is(threads: bool) -> None:
    body, below = drive(threads, Navigator(None), [200])
    assert (body, below.calls) == (WHOLE, [BARE])


@PLAYERS
def test_a_rejection_of_what_was_changed_is_sent_again_as_the_client_wrote_it(threads: bool) -> None:
    course = Course(CHANGED, refuses=True)
    body, below = drive(threads, Navigator(course), [400, 200])
    assert (body, below.calls) == (WHOLE, [CHANGED, BARE])
    assert course.events == [400, (400, WHOLE), False]
    assert course.again is not None and course.again.events == [200, *PIECES, True], "the second answer is listened to"
    assert [answer.closed for answer in below.answers] == [1, 1]


@PLAYERS
def test_no_answer_after_a_rejection_ends_the_second_course(threads: bool) -> None:
    course = Course(CHANGED, refuses=True)
    body, _ = drive(threads, Navigator(course), [400, None])
    assert body == why.UPSTREAM_REFUSED
    assert course.again is not None and course.again.events == [False]


@PLAYERS
def test_a_rejection_that_is_the_clients_own_comes_back_whole(threads: bool) -> None:
    course = Course(CHANGED)
    body, below = drive(threads, Navigator(course), [400])
    assert (body, below.calls) == (WHOLE, [CHANGED])
    assert course.events == [400, (400, WHOLE), *PIECES, True]


@PLAYERS
def test_a_rejection_of_an_unchanged_call_is_not_looked_at(threads: bool) -> None:
    course = Course(BARE, changed=False, refuses=True)
    body, below = drive(threads, Navigator(course), [400])
    assert (body, below.calls, course.events) == (WHOLE, [BARE], [400, *PIECES, True])


@PLAYERS
def test_an_answer_that_is_cut_is_over_and_not_whole(threads: bool) -> None:
    course = Course(CHANGED)
    body, below = drive(threads, Navigator(course), [200], fault=True)
    assert (body, course.events) == (why.UPSTREAM_CUT, [200, *PIECES, False])
    assert below.answers[0].closed == 1


@PLAYERS
def test_a_cut_rejection_closes_its_connection(threads: bool) -> None:
    course = Course(CHANGED, refuses=True)
    body, below = drive(threads, Navigator(course), [400], fault=True)
    assert (body, course.events[-1], below.answers[0].closed) == (why.UPSTREAM_CUT, False, 1)


@PLAYERS
def test_an_upstream_that_gives_no_answer_ends_the_course(threads: bool) -> None:
    course = Course(CHANGED)
    body, _ = drive(threads, Navigator(course), [None])
    assert (body, course.events) == (why.UPSTREAM_REFUSED, [False])

"""Bodies that are still arriving, as a client reads them: the tape of a call under way, by threads and by tasks.

They end as the tape does, with what the wrapped transport raised where it did not end well; closing one leaves the call
alone. A body that comes from the wrapped transport itself passes by a course that listens. This room must never know
how an answer came about.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

from payonce.core.tape import End
from payonce.desk import Desk
from payonce.drive.aio import AsyncPlayer
from payonce.drive.performing import Turn
from payonce.drive.sync import SyncPlayer
from payonce.model.course import Course


class TapeStream:
    """A body that is still arriving, for a thread that reads it."""

    def __init__(self, desk: Desk, player: SyncPlayer, turn: Turn, patience: float | None) -> None:
        self._desk = desk
        self._player = player
        self._turn = turn
        self._patience = patience
        self._taken = False
        self._closed = False

    def __iter__(self) -> Iterator[bytes]:
        turn = self._turn
        try:
            yield from self._player.chunks(turn, self._patience)
        except TimeoutError:
            raise self._desk.mod.ReadTimeout("payonce: the call that this one follows has stalled") from None
        _check(self._desk, turn)
        self._taken = True

    def close(self) -> None:
        """Read no more; the call that fills the cache goes on."""
        if not self._closed:
            self._closed = True
            self._player.leave(self._turn)
            self._turn.end(self._taken)

    def __del__(self) -> None:
        if not getattr(self, "_closed", True):
            self._player.drop(self._turn)


class AsyncTapeStream:
    """A body that is still arriving, for a task that reads it."""

    def __init__(self, desk: Desk, player: AsyncPlayer, turn: Turn, patience: float | None) -> None:
        self._desk = desk
        self._player = player
        self._turn = turn
        self._patience = patience
        self._taken = False
        self._closed = False
        self._loop = asyncio.get_running_loop()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        turn = self._turn
        try:
            async with contextlib.aclosing(self._player.chunks(turn, self._patience)) as chunks:
                async for chunk in chunks:
                    yield chunk
        except TimeoutError:
            raise self._desk.mod.ReadTimeout("payonce: the call that this one follows has stalled") from None
        _check(self._desk, turn)
        self._taken = True

    async def aclose(self) -> None:
        """Read no more; the call that fills the cache goes on."""
        if not self._closed:
            self._closed = True
            if self._turn.reader is not None:
                self._turn.reader.leave()
            self._turn.end(self._taken)

    def __del__(self) -> None:
        reader = self._turn.reader if not getattr(self, "_closed", True) else None
        if reader is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed, and its tapes with it
                self._loop.call_soon_threadsafe(reader.leave)


class HeardStream:
    """A body of the wrapped transport that a course listens to, for a thread that reads it."""

    def __init__(self, inner: Any, course: Course) -> None:
        self._inner = inner
        self._course = course

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._inner:
            self._course.heard(chunk)
            yield chunk
        self._course.over(whole=True)

    def close(self) -> None:
        """Read no more."""
        self._course.over(whole=False)
        self._inner.close()


class AsyncHeardStream:
    """A body of the wrapped transport that a course listens to, for a task that reads it."""

    def __init__(self, inner: Any, course: Course) -> None:
        self._inner = inner
        self._course = course

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._inner:
            self._course.heard(chunk)
            yield chunk
        self._course.over(whole=True)

    async def aclose(self) -> None:
        """Read no more."""
        self._course.over(whole=False)
        await self._inner.aclose()


def _check(desk: Desk, turn: Turn) -> None:
    """Raise what the wrapped transport raised, if the tape has not ended well."""
    assert turn.reader is not None
    ending = turn.reader.tape.ending
    if ending is None or ending.end is not End.COMPLETE:
        raise desk.failure(turn, ending.reason if ending else None)

"""How an answer is given to a client that it is pushed to: the port that a face fills, and the ways to fill it.

Nothing of the stories is known here; this room must never decide what is given.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from payonce.core import effects as do
from payonce.core.labels import headers as label_headers
from payonce.core.tape import COMPLETE, End, Reader, Tape
from payonce.drive.performing import SETTLE_SECONDS
from payonce.model import reason as why
from payonce.model.call import Call, Headers
from payonce.model.ports import Head, Upstream, UpstreamFault
from payonce.model.reason import Reason


class Face(Protocol):
    """Where an answer goes: one client's connection."""

    @property
    def gone(self) -> bool:
        """Whether the client has left."""
        ...

    def on_gone(self, call: Callable[[], None]) -> None:
        """Call `call` when the client leaves; at once if it has left already."""
        ...

    async def start(self, head: Head, fields: Headers, body: bytes | None) -> None:
        """Send the head, with `fields` added; with `body`, the whole answer in one go."""
        ...

    async def send(self, chunk: bytes) -> None:
        """Send a part of the body; returns when the client's buffer has room again."""
        ...

    async def finish(self) -> None:
        """The body is whole."""
        ...

    def abort(self) -> None:
        """The body will never be whole: break the connection, so that the client can tell."""
        ...

    async def refuse(self, reason: Reason, fields: Headers) -> None:
        """Answer with the gateway's own error."""
        ...


async def relay(effect: do.Relay, face: Face) -> bool:
    """Give the tape to the client as it grows; True if the client took all of it."""
    tape, fields = effect.tape, label_headers(effect.label)
    if tape.ending is COMPLETE and (body := tape.body()) is not None:
        await face.start(effect.head, fields, body)
        return not face.gone
    if not tape.joinable:
        await face.refuse(why.UPSTREAM_CUT, fields)
        return False
    reader = tape.read()
    try:
        return await _follow(reader, effect.head, fields, face)
    finally:
        reader.leave()


async def _follow(reader: Reader, head: Head, fields: Headers, face: Face) -> bool:
    tape = reader.tape
    await face.start(head, fields, None)
    while True:
        for chunk in reader.take():
            await face.send(chunk)
        if face.gone:
            return False
        if reader.place < tape.base + len(tape.chunks):
            continue
        if tape.ending is not None:
            break
        await change(tape)
    if tape.ending.end is End.COMPLETE:
        await face.finish()
        return not face.gone
    face.abort()
    return False


async def pass_on(upstream: Upstream, call: Call, face: Face, fields: Headers) -> Reason | None:
    """Send `call` upstream and its answer back as it comes; a reason if the upstream failed.

    The face's own pace holds the upstream back; a client that leaves ends the upstream's call.
    """
    try:
        answer = await _unless_gone(upstream.open(call), face)
    except UpstreamFault as fault:
        await face.refuse(fault.reason, fields)
        return fault.reason
    if answer is None:
        return None
    try:
        face.on_gone(answer.close)
        await face.start(answer.head, fields, None)
        async for chunk in answer.chunks():
            await face.send(chunk)
            if face.gone:
                return None
        await face.finish()
    except UpstreamFault as fault:
        face.abort()
        return fault.reason
    finally:
        answer.close()
    return None


async def _unless_gone(opening: Any, face: Face) -> Any:
    """The answer that `opening` brings, or None when the client leaves first (the call is then given up)."""
    task = asyncio.ensure_future(opening)
    face.on_gone(task.cancel)
    try:
        return await task
    except asyncio.CancelledError:
        if face.gone and not _cancelled_from_outside():
            return None
        task.cancel()
        if task.done() and not task.cancelled() and task.exception() is None:
            task.result().close()  # it was opened, and nobody will pick it up
        raise


def _cancelled_from_outside() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


class HeadWait:
    """The wait for a flight's head, as `Await` has it: `done` is called with the answer, once, unless the wait is given
    up. Needs no task; the tape's changes are looked at when whoever wrote them has finished."""

    __slots__ = ("_done", "_flight", "_loop", "_over", "_place", "_settle", "_timer")

    def __init__(self, effect: do.Await, done: Callable[[Head | Reason], None]) -> None:
        self._flight = effect.flight
        self._settle = effect.settle
        self._done = done
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._over = False
        self._place = effect.flight.tape.read()  # without a reader, a tape past its cap lets go of its start
        self._look()

    def give_up(self) -> None:
        """Wait no more; harmless where it is over."""
        if not self._over:
            self._end(None)

    def _look(self) -> None:
        if self._over:
            return
        tape = self._flight.tape
        if tape.head is None and tape.ending is None:
            tape.on_change(self._stirred)
        elif tape.head is None:
            self._end((tape.ending and tape.ending.reason) or why.INTERNAL)
        elif self._settle and self._flight.landing is None and tape.ending is None and not tape.spilled:
            if self._timer is None:
                self._timer = self._loop.call_later(SETTLE_SECONDS, self._settled)
            tape.on_change(self._stirred)
        else:
            self._end(tape.head)

    def _stirred(self) -> None:
        self._loop.call_soon(self._look)

    def _settled(self) -> None:
        """Time is up: the head is given as it is."""
        self._settle = False
        self._look()

    def _end(self, answer: Head | Reason | None) -> None:
        self._over = True
        if self._timer is not None:
            self._timer.cancel()
        try:
            if answer is not None:
                self._done(answer)
        finally:
            self._loop.call_soon(self._place.leave)  # who reads on takes a place of their own before that


async def change(tape: Tape) -> None:
    """Wait for the tape's next change."""
    changed = asyncio.get_running_loop().create_future()
    tape.on_change(lambda: resolve(changed))
    await changed


def resolve(changed: asyncio.Future[None]) -> None:
    """Let whoever waits for `changed` go on."""
    if not changed.done():
        changed.set_result(None)

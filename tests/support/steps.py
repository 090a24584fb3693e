"""Tasks that are cancelled at a chosen await, and an upstream in the process whose connections are counted.

For tests that want every place where a task can be cancelled, or very many cancellations, without waiting for a clock.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Coroutine, Generator
from types import ModuleType
from typing import Any, TypeVar

from tests.support.echo_upstream import PARTS, _answer

T = TypeVar("T")


class Counted:
    """Awaits `work`; while it rests at its `number`-th await, the task that awaits it is cancelled. `awaits` counts."""

    def __init__(self, work: Coroutine[Any, Any, T], number: int) -> None:
        self._work = work
        self._number = number
        self.awaits = 0

    def __await__(self) -> Generator[Any, Any, Any]:
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        assert task is not None
        steps = self._work.__await__()
        value: Any = None
        error: BaseException | None = None
        while True:
            try:
                rests_at = steps.send(value) if error is None else steps.throw(error)
            except StopIteration as end:
                return end.value
            self.awaits += 1
            if self.awaits == self._number:
                loop.call_soon(task.cancel)
            value = error = None
            try:
                value = yield rests_at
            except BaseException as raised:
                error = raised


async def cancelled_at(number: int, work: Coroutine[Any, Any, T]) -> T | None:
    """What `work` gives; None where it has been cancelled at its `number`-th await. 0: it is left alone."""
    counted = Counted(work, number)

    async def main() -> Any:
        return await counted

    task = asyncio.create_task(main())
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        if not task.done():
            task.cancel()
            raise
        return None


def pool_of(mod: ModuleType, slots: int, seed: int) -> Any:
    """A transport of `mod` whose answers say for whom they are (tests/support/echo_upstream.py), by `slots`
    connections; each rests a few times for no time at all."""

    class Body(mod.AsyncByteStream):  # type: ignore[name-defined, misc]
        def __init__(self, pool: Pool, chunks: list[bytes]) -> None:
            self.pool = pool
            self.chunks = chunks
            self.open = True

        async def __aiter__(self) -> AsyncIterator[bytes]:
            for chunk in self.chunks:
                await self.pool.rest()
                yield chunk

        async def aclose(self) -> None:
            if self.open:
                self.open = False
                await self.pool.rest()
                self.pool.free.release()
                self.pool.closed += 1

    class Pool(mod.AsyncBaseTransport):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            self.slots = slots
            self.free = asyncio.Semaphore(slots)
            self.random = random.Random(seed)
            self.calls = self.closed = 0

        async def rest(self) -> None:
            for _ in range(self.random.randrange(3)):
                await asyncio.sleep(0)

        async def handle_async_request(self, request: Any) -> Any:
            await self.free.acquire()
            self.calls += 1
            try:
                await self.rest()
                page = json.loads(request.content)
                whose = {"who": request.headers["authorization"], "prompt": page["messages"][-1]["content"]}
                chunks = _chunks(page.get("stream", False), {**whose, "call": self.calls})
            except BaseException:
                self.free.release()
                self.closed += 1
                raise
            media = "text/event-stream" if page.get("stream") else "application/json"
            return mod.Response(200, headers={"content-type": media}, stream=Body(self, chunks))

    return Pool()


def _chunks(stream: bool, whose: dict[str, object]) -> list[bytes]:
    if not stream:
        whole = json.dumps(_answer(whose)).encode()
        return [whole[:100], whole[100:]]
    deltas = [{"content": json.dumps({**whose, "part": part, "of": PARTS}) + "\n"} for part in range(PARTS)]
    choices = [{"index": 0, "delta": delta} for delta in deltas] + [{"index": 0, "delta": {}, "finish_reason": "stop"}]
    events = [b"data: " + json.dumps({"id": "g", "choices": [choice]}).encode() + b"\n\n" for choice in choices]
    return [*events, b"data: [DONE]\n\n"]

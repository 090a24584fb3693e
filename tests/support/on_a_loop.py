"""A shared store that is read on an event loop, behind the face of a store: what threads are promised holds there. And
what gives all tasks of a loop their turns."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

from payonce.errors import NoneIdleError
from payonce.stores.shared import SharedStore


async def turns() -> None:
    """As many turns of the loop as any task needs that waits for nothing else."""
    for _ in range(30):
        await asyncio.sleep(0)


class OnALoop:
    """`store`, whose reads are done by a loop in a thread of its own; all else is the store's."""

    def __init__(self, store: SharedStore) -> None:
        self._store = store
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="test-loop", daemon=True)
        self._thread.start()
        self.reads = 0
        self.asked = 0
        """How many reads needed no thread, and how many of one slot were asked for and answered."""

    def get(self, slot: bytes) -> bytes | None:
        return asyncio.run_coroutine_threadsafe(self._read_one(slot), self._loop).result(30)

    def get_many(self, slots: Sequence[bytes]) -> Sequence[bytes | None]:
        return asyncio.run_coroutine_threadsafe(self._read(slots), self._loop).result(30)

    async def _read_one(self, slot: bytes) -> bytes | None:
        asked = self._store.ask_for(slot)
        if asked is None:
            [found] = await self._read([slot])
            return found
        try:
            found = self._store.answered(slot, await asked)
        except NoneIdleError:
            return await asyncio.to_thread(self._store.get, slot)
        self.asked += 1
        return found

    async def _read(self, slots: Sequence[bytes]) -> Sequence[bytes | None]:
        found = await self._store.get_soon(slots)
        if found is None:
            return await asyncio.to_thread(self._store.get_many, slots)
        self.reads += 1
        return found

    def close(self) -> None:
        self._store.close()
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(30)
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
            self._loop.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

"""Answers of the simulated provider that begin when a test says so, and not after some time: what is to be under way
together is so, however busy the machine."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from unittest import mock

from payonce.testing.sim_reply import Reply


class Held:
    """`waiting` answers are ready to begin; they do once `go` is set, and those that come later at once."""

    def __init__(self) -> None:
        self.waiting = 0
        self.go = threading.Event()

    async def pause(self, _reply: Reply, _seconds: float) -> None:
        self.waiting += 1
        while not self.go.is_set():  # noqa: ASYNC110 - it is set in another thread
            await asyncio.sleep(0.001)
        self.waiting -= 1


@contextlib.contextmanager
def held_back() -> Iterator[Held]:
    """For all providers that run while the block does."""
    held = Held()
    with mock.patch.object(Reply, "pause", lambda reply, seconds: held.pause(reply, seconds)):
        try:
            yield held
        finally:
            held.go.set()

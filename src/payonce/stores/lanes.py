"""Which event loops read from a server, each by a lane of its own.

What is not a matter of course on the way of a read (connecting, logging in, TLS) is done by the keeper's thread, which
calls `furnish`; until then threads read. This room must never know a protocol.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Generic, TypeVar

from payonce.errors import StoreError
from payonce.stores.lane import Judge, Lane, Line

DIAL_AGAIN = 1.0
"""Seconds between a connection that could not be made and the next try."""

C = TypeVar("C")
R = TypeVar("R")


class Lanes(Generic[C, R]):
    """The lanes to the server `name`; `dial` connects. Every method may be called from any thread."""

    def __init__(self, name: str, dial: Callable[[], Line[C, R]], judge: Judge) -> None:
        self._name, self._dial, self._judge = name, dial, judge
        self._lock = threading.Lock()
        self._lanes: dict[asyncio.AbstractEventLoop, Lane[C, R]] = {}
        self._try_at = 0.0
        self._closed = False

    def here(self) -> Lane[C, R] | None:
        """The running loop's lane; None where it has no connection yet."""
        loop = asyncio.get_running_loop()
        lane = self._lanes.get(loop)
        if lane is None:
            with self._lock:
                if not self._closed:
                    self._lanes.setdefault(loop, Lane(loop, self._name, self._judge))
            return None
        return lane if lane.is_open else None

    def furnish(self) -> None:
        """Connect what lanes want, and let go of those whose loop is closed. May wait; never raises."""
        if not self._lanes:
            return
        for loop, lane in tuple(self._lanes.items()):
            if loop.is_closed():
                with self._lock:
                    self._lanes.pop(loop, None)
                lane.abandon()
            elif lane.wants and time.monotonic() >= self._try_at:
                try:
                    for _ in range(lane.wants):
                        lane.offer(self._dial())
                except StoreError:
                    self._try_at = time.monotonic() + DIAL_AGAIN

    def close(self) -> None:
        """Destroy every connection, each on its own loop where that runs."""
        with self._lock:
            self._closed = True
            lanes, self._lanes = self._lanes, {}
        for loop, lane in lanes.items():
            if loop.is_closed():
                lane.abandon()
            elif not loop.is_running() or _running() is loop:
                lane.close()
            else:
                with suppress(RuntimeError):  # it has just been closed
                    loop.call_soon_threadsafe(lane.close)

    @property
    def counts(self) -> tuple[int, int]:
        """How many connections hold an exchange, and how many are idle."""
        each = [lane.counts for lane in tuple(self._lanes.values())]
        return sum(used for used, _ in each), sum(idle for _, idle in each)


def _running() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None

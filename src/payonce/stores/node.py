"""One server of a shared store: its connections, and the breaker that says whether it is asked at all.

Whatever goes wrong on a connection destroys it and counts against the server. This room must never know a protocol.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from payonce.errors import StoreUnavailableError
from payonce.stores.breaker import Breaker
from payonce.stores.lane import Judge, Line
from payonce.stores.lane_queue import Fault
from payonce.stores.lanes import Lanes
from payonce.stores.links import Pool
from payonce.stores.talk import LostError

L = TypeVar("L", bound=Line[Any, Any])
T = TypeVar("T")


class Node(Generic[L]):
    """The server that `dial` connects to; `name` is for messages."""

    def __init__(self, name: str, dial: Callable[[float], L]) -> None:
        self.name = name
        self.pool: Pool[L] = Pool(dial)
        self.lanes: Lanes[Any, Any] = Lanes(
            name, lambda: dial(time.monotonic()), Judge(self.sound, self._worked, self._failed)
        )
        self.breaker = Breaker(time.monotonic, random.random)
        self._lock = threading.Lock()

    def use(self, job: Callable[[L], T], deadline: float, *, probe: bool = False, idle: bool = False) -> T:
        """What `job` returns for a connection. Raises StoreError: at once while the breaker is open, and LostError
        where there was no sound answer. With `idle` nothing connects: NoneIdleError where that would have to be."""
        if not probe:
            self._check()
        try:
            with self.pool.link(deadline, idle=idle) as link:
                result = job(link)
        except StoreUnavailableError:
            raise
        except Exception as error:  # whatever an answer has done to a parser
            if not self._failed(error):
                self.pool.forget_idle()
            raise error if isinstance(error, LostError) else LostError(f"{self.name}: {error!r}") from error
        self._worked()
        return result

    def ask_soon(self, commands: Sequence[Any], deadline: float) -> asyncio.Future[list[Any] | Fault]:
        """The replies, without a thread, where the running loop has a lane. Raises StoreUnavailableError at once while
        the breaker is open."""
        self._check()
        lane = self.lanes.here()
        if lane is None:
            raise StoreUnavailableError(f"{self.name}: this loop has no connection at the moment")
        return lane.ask(commands, deadline)

    def sound(self, replies: Sequence[object]) -> None:
        """Raises LostError where a reply says that the server is unwell."""

    def tend(self) -> None:
        """Make the connections that event loops want. May wait; never raises."""
        if not self.breaker.open:
            self.lanes.furnish()

    def close(self) -> None:
        """Destroy every connection."""
        self.pool.close()
        self.lanes.close()

    def _check(self) -> None:
        if self.breaker.open:
            raise StoreUnavailableError(f"{self.name} is not asked for a moment ({self.breaker.because})")

    def _worked(self) -> None:
        with self._lock:
            self.breaker.worked()

    def _failed(self, error: Exception) -> bool:
        with self._lock:
            self.breaker.failed(str(error))
            return not self.breaker.open

"""One server of a shared store: its connections, and the breaker that says whether it is asked at all.

Whatever goes wrong on a connection destroys it and counts against the server. This room must never know a protocol.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from payonce.errors import StoreError, StoreUnavailableError
from payonce.stores.breaker import Breaker
from payonce.stores.links import Link, Pool

L = TypeVar("L", bound=Link)
T = TypeVar("T")


class LostError(StoreError):
    """The server did not answer as it should: the connection, and maybe the server, is of no use."""


class Node(Generic[L]):
    """The server that `dial` connects to; `name` is for messages."""

    def __init__(self, name: str, dial: Callable[[float], L]) -> None:
        self.name = name
        self.pool: Pool[L] = Pool(dial)
        self.breaker = Breaker(time.monotonic, random.random)
        self._lock = threading.Lock()

    def use(self, job: Callable[[L], T], deadline: float, *, probe: bool = False) -> T:
        """What `job` returns for a connection. Raises StoreError: at once while the breaker is open, and LostError
        where there was no sound answer."""
        if self.breaker.open and not probe:
            raise StoreUnavailableError(f"{self.name} is not asked for a moment ({self.breaker.because})")
        try:
            with self.pool.link(deadline) as link:
                result = job(link)
        except StoreUnavailableError:
            raise
        except Exception as error:  # whatever an answer has done to a parser
            with self._lock:
                self.breaker.failed(str(error))
            if self.breaker.open:
                self.pool.forget_idle()
            raise error if isinstance(error, LostError) else LostError(f"{self.name}: {error!r}") from error
        with self._lock:
            self.breaker.worked()
        return result

"""Connections to a server, and who may use them next: whoever got less than a whole answer never gives one back.

That is the rule that the leak of March 2023 broke: a connection with an unread reply was handed to the next borrower,
who then read somebody else's answer (CVE-2023-28858). Here a connection comes back only after the block that used it
has ended without any exception; after anything else, a cancellation included, it is destroyed. This room must never
know a protocol.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, Protocol, TypeVar

from payonce.errors import NoneIdleError, StoreUnavailableError


class Link(Protocol):
    """One connection."""

    def is_quiet(self) -> bool:
        """Whether it is open and nothing waits on it to be read."""
        ...

    def close(self) -> None:
        """Destroy it."""
        ...


L = TypeVar("L", bound=Link)


class Pool(Generic[L]):
    """Connections to one server: `dial(deadline)` makes one; at most `most` at once, of which `idle` are kept."""

    def __init__(self, dial: Callable[[float], L], *, most: int = 64, idle: int = 8) -> None:
        self._dial, self._most, self._keep = dial, most, idle
        self._lock = threading.Lock()
        self._idle: list[L] = []
        self._used = 0
        self._closed = False

    @contextmanager
    def link(self, deadline: float, *, idle: bool = False) -> Iterator[L]:
        """A connection for one block; raises whatever `dial` does, and StoreUnavailableError where there are too many
        already. With `idle` none is made: NoneIdleError where there is none."""
        link = self._take(idle=idle)
        whole = False
        try:
            if link is None:
                link = self._dial(deadline)
                if time.monotonic() > deadline:
                    whole = True
                    raise StoreUnavailableError("a connection was made, but too late for this time")
            yield link
            whole = True
        finally:
            self._done(link, whole)

    def close(self) -> None:
        """Destroy what is idle now, and what is used when it comes back."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for link in idle:
            link.close()

    def forget_idle(self) -> None:
        """Destroy what is idle: the server there may be another one now."""
        with self._lock:
            idle, self._idle = self._idle, []
        for link in idle:
            link.close()

    @property
    def counts(self) -> tuple[int, int]:
        """How many are used, and how many are idle."""
        with self._lock:
            return self._used, len(self._idle)

    def _take(self, *, idle: bool) -> L | None:
        while True:
            with self._lock:
                if self._closed:
                    raise StoreUnavailableError("the store is closed")
                link = self._idle.pop() if self._idle else None
                if link is None:
                    if idle:
                        raise NoneIdleError("no connection is idle")
                    if self._used >= self._most:
                        raise StoreUnavailableError(f"all {self._most} connections are in use: ask less at once")
                    self._used += 1
                    return None
            if link.is_quiet():
                with self._lock:
                    self._used += 1
                return link
            link.close()

    def _done(self, link: L | None, whole: bool) -> None:
        with self._lock:
            self._used -= 1
            keep = whole and not self._closed and len(self._idle) < self._keep
            if keep and link is not None:
                self._idle.append(link)
        if link is not None and not keep:
            link.close()

"""What becomes of stores when their process forks: the child builds its own, and never touches what is its parent's.

What the parent had is kept in the child and never closed there: to close a connection would be to speak on it, and to
close a file would drop the parent's locks and log. This room must never know an engine.
"""

from __future__ import annotations

import os
import weakref
from threading import Lock
from typing import Protocol


class Forking(Protocol):
    """A store that is to be told."""

    @property
    def gate(self) -> Lock | None:
        """Held while the process forks, so that nobody is in the middle of something then; None where that is free."""
        ...

    def forked(self) -> object:
        """Build anew, in the child; what was the parent's is returned."""
        ...


_stores: weakref.WeakSet[Forking] = weakref.WeakSet()
_of_the_parent: list[object] = []
_held: list[Lock] = []


def tell(store: Forking) -> None:
    """Tell it of every fork from now on."""
    _stores.add(store)


def forget(store: Forking) -> None:
    """It is closed."""
    _stores.discard(store)


def _before() -> None:
    for store in list(_stores):
        gate = store.gate
        if gate is not None and gate.acquire(timeout=2.0):
            _held.append(gate)


def _after_in_parent() -> None:
    while _held:
        _held.pop().release()


def _after_in_child() -> None:
    _held.clear()
    _of_the_parent.extend(store.forked() for store in list(_stores))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child)

"""What was put at a slot of late, so that what was read before that is not taken for the newest.

A read of a distant store takes a moment, in which the same slot may be written: then its answer may still be served to
whoever asked, but must not be kept in front of what is newer. This room must never know a store.
"""

from __future__ import annotations

import threading

MOST_SLOTS = 1024
"""So many are remembered: many times more than are written while a read is under way."""


class Newest:
    """See the room's first paragraph. Safe for threads; times are those at which entries were stored."""

    def __init__(self) -> None:
        self._stored: dict[bytes, float] = {}
        self._lock = threading.Lock()

    def put(self, slot: bytes, stored_at: float) -> None:
        """Nothing older than that stands at `slot` any more."""
        with self._lock:
            self._stored.pop(slot, None)
            self._stored[slot] = stored_at
            if len(self._stored) > MOST_SLOTS:
                del self._stored[next(iter(self._stored))]

    def allows(self, slot: bytes, stored_at: float) -> bool:
        """Whether an entry of that time may be the newest."""
        newest = self._stored.get(slot)
        return newest is None or stored_at >= newest

"""What was put at a slot of late, so that what was read before that is not taken for the newest.

A read of a distant store takes a moment, in which the same slot may be written: then its answer may still be served to
whoever asked, but must not be kept in front of what is newer. This room must never know a store.
"""

from __future__ import annotations

import threading
from collections import OrderedDict

MOST_SLOTS = 1024
"""So many are remembered: many times more than are written while a read is under way."""


class Newest:
    """See the room's first paragraph. Safe for threads; times are those at which entries were stored."""

    def __init__(self) -> None:
        self._stored: OrderedDict[bytes, float] = OrderedDict()
        self._lock = threading.Lock()

    def put(self, slot: bytes, stored_at: float) -> None:
        """Nothing older than that stands at `slot` any more."""
        with self._lock:
            self._stored[slot] = stored_at
            self._stored.move_to_end(slot)
            if len(self._stored) > MOST_SLOTS:
                self._stored.popitem(last=False)

    def allows(self, slot: bytes, stored_at: float) -> bool:
        """Whether an entry of that time may be the newest."""
        newest = self._stored.get(slot)
        return newest is None or stored_at >= newest

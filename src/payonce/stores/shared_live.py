"""What a store on servers holds in one process: the medium, what waits to be written, the epochs, the keeper.

After a fork the child builds its own. This room must never decide what is read or written.
"""

from __future__ import annotations

from collections.abc import Callable

from payonce.model import reason
from payonce.model.ports import Clock
from payonce.stores import parcel
from payonce.stores.shared_book import EpochBook
from payonce.stores.shared_keeper import Keeper
from payonce.stores.shared_leases import SharedLeases
from payonce.stores.shared_medium import Medium
from payonce.stores.write_queue import Losses, WriteQueue

MOST_BYTES = 64 << 20
"""No value is larger, whatever a parcel says."""


class Live:
    """What a store holds in one process; after a fork the child builds its own."""

    def __init__(self, build: Callable[[], Medium], clock: Clock, name: str, rows: int, size: int) -> None:
        self.losses = Losses()
        self.medium = build()
        self.queue = WriteQueue(self.losses, max_rows=rows, max_bytes=size, batch_rows=256)
        self.book = EpochBook(self.medium, clock)
        self.clock = clock
        self.ignored = 0  # what was packed before that (nanoseconds) is as good as deleted
        self.leases = SharedLeases(self.medium.leases, self.queue, self.medium.trouble, self.opened)
        self.keeper = Keeper(self.medium, self.queue, self.leases, clock, name)

    def opened(self, slot: bytes, found: bytes | None) -> bytes | None:
        """The bytes in a parcel, if it is whole and has not expired."""
        if found is None:
            return None
        on = parcel.label(found)
        value = None if on is None else parcel.unpack(found, on, MOST_BYTES)
        if on is None or value is None:
            self.losses.add(reason.DAMAGED)
            self.queue.delete(slot)
            return None
        return value if on.expires_at > self.clock() and on.stamp > self.ignored else None

    def close(self, timeout: float) -> None:
        self.keeper.drain(timeout)
        self.keeper.stop(timeout)
        self.leases.tend()
        self.medium.close()

"""Listing what is on servers: everything, or the newest of as much as can be looked at within moments.

Servers keep no order and no index, so whoever wants the newest has to look at all; heads are read, never bodies. What
waits to be deleted is left out. This room must never know an engine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from heapq import nlargest

from payonce.model.ports import Glance, Row
from payonce.stores import parcel
from payonce.stores.shared_medium import Medium
from payonce.stores.write_queue import WriteQueue

LOOKED_AT = 30_000
"""So many names are looked at in a glance, of all servers together."""


def everything(medium: Medium, queue: WriteQueue, now: float) -> Iterator[Row]:
    """Every entry, newest first. Raises StoreError."""
    found = {row.slot: (stamp, row) for stamp, row in _found(medium, queue, now, None)}
    for _, row in sorted(found.values(), key=lambda item: item[0], reverse=True):
        yield row


def glance(medium: Medium, queue: WriteQueue, now: float, wanted: Callable[[Row], bool], most: int) -> Glance:
    """The newest `most` that are wanted among `LOOKED_AT` names, and how many entries there were. Raises StoreError."""
    seen: set[bytes] = set()

    def fresh() -> Iterator[tuple[int, Row]]:
        for stamp, row in _found(medium, queue, now, LOOKED_AT):
            if row.slot not in seen:
                seen.add(row.slot)
                if wanted(row):
                    yield stamp, row

    newest = nlargest(most, fresh(), key=lambda item: item[0])
    return Glance([row for _, row in newest], len(seen))


def _found(medium: Medium, queue: WriteQueue, now: float, most: int | None) -> Iterator[tuple[int, Row]]:
    """Entries as they are found, and when each was packed."""
    for piece in medium.listing(most):
        for slot, head in piece:
            on = parcel.label(head)
            about = None if on is None else parcel.about(head, on)
            waiting = queue.pending.get(slot)
            if on is None or about is None or on.expires_at <= now or (waiting and waiting.value is None):
                continue
            yield on.stamp, Row(slot, on.size, about)

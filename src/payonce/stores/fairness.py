"""Whose entries make room for others: the tenant that holds most gives first, so that a fair share is never touched.

While every tenant is cut down to one level, and no further than that, whoever holds at most the store's size divided by
the number of tenants loses nothing, whatever the others do (max-min fairness). Pure, but for `Heaviest`, which only
counts. This room must never know an entry.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping


def cuts(held: Mapping[str, int], need: int) -> dict[str, int]:
    """How many bytes each tenant gives so that together they give `need`, from the largest holding down to one level.

    All they have where that is not enough. Rounded up, so that their sum is at least `need`.
    """
    ordered = sorted(held.items(), key=lambda item: item[1], reverse=True)
    above = 0
    level = 0
    for count, (_, size) in enumerate(ordered, start=1):
        above += size
        below = ordered[count][1] if count < len(ordered) else 0
        if above - count * below >= need:
            level = max(0, (above - need) // count)
            break
    return {tenant: size - level for tenant, size in ordered if size > level}


class Heaviest:
    """Who holds most, found without looking at all: counts in a dict, and a heap of what they once were."""

    def __init__(self) -> None:
        self.held: dict[str, int] = {}
        self._heap: list[tuple[int, str]] = []

    def add(self, tenant: str, size: int) -> None:
        """`tenant` holds `size` more (or, below 0, less)."""
        count = self.held.get(tenant, 0) + size
        if count > 0:
            self.held[tenant] = count
        else:
            self.held.pop(tenant, None)
        if size > 0:
            heapq.heappush(self._heap, (-count, tenant))
            if len(self._heap) > 2 * len(self.held) + 64:
                self._heap = [(-held, name) for name, held in self.held.items()]
                heapq.heapify(self._heap)

    def top(self) -> tuple[str, int]:
        """The tenant that holds most, and how much; ("", 0) where nobody holds anything."""
        heap = self._heap
        while heap:
            once, tenant = heap[0]
            count = self.held.get(tenant, 0)
            if count == -once:
                return tenant, count
            if count:
                heapq.heapreplace(heap, (-count, tenant))
            else:
                heapq.heappop(heap)
        return "", 0

"""What each tenant has in a memory store: its entries in the order in which they were put, and its bytes in the main
region. This room must never evict: it says whose turn it is.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Iterable

from payonce.model.quota import Holding, Quota
from payonce.stores.fairness import Heaviest


class Tenants:
    """The books of a memory store whose main region has room for `main_limit` bytes."""

    def __init__(self, main_limit: int) -> None:
        self._limit = main_limit
        self._slots: dict[str, OrderedDict[bytes, None]] = {}
        self._used: dict[str, int] = {}
        self._main = Heaviest()
        self._main_used = 0

    def put(self, tenant: str, slot: bytes, weight: int) -> None:
        """`slot` is a new entry of `tenant`, in the window."""
        slots = self._slots.get(tenant)
        if slots is None:
            slots = self._slots[tenant] = OrderedDict()
        slots[slot] = None
        self._used[tenant] = self._used.get(tenant, 0) + weight

    def promote(self, tenant: str, weight: int) -> None:
        """An entry of `tenant` goes from the window to the main region."""
        self._main.add(tenant, weight)
        self._main_used += weight

    def drop(self, tenant: str, slot: bytes, weight: int, *, in_main: bool) -> None:
        """An entry is gone."""
        slots = self._slots[tenant]
        del slots[slot]
        if slots:
            self._used[tenant] -= weight
        else:
            del self._slots[tenant], self._used[tenant]
        if in_main:
            self._main.add(tenant, -weight)
            self._main_used -= weight

    @property
    def crowded(self) -> bool:
        """Whether the main region holds more than it may."""
        return self._main_used > self._limit

    def would_crowd(self, weight: int) -> bool:
        """Whether an entry of `weight` has no room in the main region."""
        return self._main_used + weight > self._limit

    def spares(self, tenant: str) -> bool:
        """Whether an entry of `tenant` stays and somebody else gives: it holds no more of the main region than its
        share, which is the region's size divided by the number of tenants in it."""
        held = self._main.held
        return len(held) > 1 and held.get(tenant, 0) * len(held) <= self._limit

    def largest(self) -> str:
        """Who holds most of the main region."""
        return self._main.top()[0]

    def oldest(self, tenant: str) -> bytes:
        """The entry of `tenant` that was put first."""
        return next(iter(self._slots[tenant]))

    def exceeds(self, tenant: str, quota: Quota) -> bool:
        """Whether `tenant` holds more than `quota` allows."""
        slots = self._slots.get(tenant, ())
        over_bytes = quota.bytes and self._used.get(tenant, 0) > quota.bytes
        return bool(over_bytes or (quota.entries and len(slots) > quota.entries))

    def holdings(self, most: int, named: Iterable[str]) -> list[Holding]:
        """What the `most` tenants that hold most hold, and those in `named`, largest first."""
        shown = {*heapq.nlargest(most, self._used, key=self._used.__getitem__), *(self._used.keys() & set(named))}
        found = [Holding(tenant, len(self._slots[tenant]), self._used[tenant]) for tenant in shown]
        return sorted(found, key=lambda holding: -holding.used_bytes)

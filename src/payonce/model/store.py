"""What a store is to the house: bytes under 33-byte slots, and epochs that it counts. Protocol and words only.

A store knows no HTTP and no language model; what it is told *about* an entry is for listing, sweeping and eviction,
never for deciding whether the entry may be served. What only some stores can do besides is in `abilities.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import msgspec

Clock = Callable[[], float]
"""Seconds since the Unix epoch."""


class About(msgspec.Struct, frozen=True):
    """What a store may know of the bytes it keeps: enough to list, sweep and evict."""

    stored_at: float
    expires_at: float
    """When the entry can't be served any more, stale windows included."""
    tenant: str
    namespace: str
    endpoint: str
    model: str
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Row:
    """One entry in a listing; `size` in bytes, as stored."""

    slot: bytes
    size: int
    about: About


@dataclass(frozen=True, slots=True)
class Volume:
    """How full a store is; `limit_bytes` 0 means unbounded."""

    entries: int
    used_bytes: int
    limit_bytes: int


class Store(Protocol):
    """Bytes under slots, safe to use from any thread. Proven by `payonce.testing.StoreContract`.

    `get` raises `StoreError` where the store can't answer; whoever performs the story turns that into a miss.
    `put` never blocks on the medium: it queues, and says False where the entry was dropped (queue full, too large).
    """

    def get(self, slot: bytes) -> bytes | None:
        """The bytes last put under `slot`, if they are still kept; never older ones after `put` returned True."""
        ...

    def put(self, slot: bytes, value: bytes, about: About) -> bool:
        """Keep `value`; True once it is queued and visible to `get` of this process."""
        ...

    def delete(self, slot: bytes) -> None:
        """Forget `slot`; a later `get` in this process gives None."""
        ...

    def epochs(self) -> Mapping[str, int]:
        """Every epoch that was ever raised, by scope, as seen by all processes that share the store."""
        ...

    def raise_epoch(self, scope: str, at_least: int = 0) -> int:
        """Count `scope` up by one (or to `at_least`, if that is more); durable and visible to all on return."""
        ...

    def flush(self, timeout: float = 5.0) -> bool:
        """Wait until all that was put is durable; False if `timeout` seconds were not enough."""
        ...

    def volume(self) -> Volume:
        """How full it is."""
        ...

    def rows(self) -> Iterator[Row]:
        """Every entry that is kept, newest first; a snapshot that does not block writers."""
        ...

    def dropped(self) -> Mapping[str, int]:
        """How many entries were dropped or damaged since the start, by reason id."""
        ...

    def close(self) -> None:
        """Flush within a bound and release everything; calling it twice is harmless."""
        ...

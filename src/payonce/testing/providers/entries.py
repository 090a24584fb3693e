"""What a cache keeps: a key, from when it can be read, and until when.

This room must never know what a key stands for.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from payonce.testing.providers.rules import Ready

_FEW = 1000


@dataclass(slots=True)
class Entry:
    """One kept prefix: readable once any of the answers whose requests wrote it has begun, until it expires."""

    written: float
    ready: tuple[Ready, ...]
    until: float

    def live(self, now: float) -> bool:
        """Whether it can be read."""
        return now < self.until and any(one.at <= now for one in self.ready)

    def again(self, ready: Ready, now: float, until: float) -> None:
        """It is written once more while it lives."""
        if not any(one.at <= now for one in self.ready):
            self.ready = (*self.ready, ready)
        self.until = max(self.until, until)


class Entries:
    """Keys with one lifetime each, in seconds. Expired ones are swept now and then, so that memory follows use."""

    def __init__(self, lifetime: float) -> None:
        self._lifetime = lifetime
        self._kept: dict[bytes, Entry] = {}
        self._limit = _FEW

    def __len__(self) -> int:
        return len(self._kept)

    def live(self, key: bytes, now: float) -> bool:
        """Whether the entry can be read."""
        entry = self._kept.get(key)
        return entry is not None and entry.live(now)

    def keep(self, key: bytes, ready: Ready, now: float, *, renew: bool = True) -> None:
        """Keep an entry from now on; one that lives already is renewed, or its end is left as it is."""
        before, until = self._kept.get(key), now + self._lifetime
        if before is not None and now < before.until:
            before.again(ready, now, until if renew else before.until)
            return
        self._kept[key] = Entry(now, (ready,), until)
        if len(self._kept) > self._limit:
            self._kept = {name: kept for name, kept in self._kept.items() if now < kept.until}
            self._limit = max(_FEW, 2 * len(self._kept))

    def renew(self, keys: Iterable[bytes], now: float) -> None:
        """Let living entries live on from now."""
        for key in keys:
            entry = self._kept.get(key)
            if entry is not None and entry.live(now):
                entry.until = now + self._lifetime

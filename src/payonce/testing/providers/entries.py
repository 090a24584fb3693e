"""What a cache without lifetimes of several kinds keeps: a key, from when it can be read, and until when.

This room must never know what a key stands for.
"""

from __future__ import annotations

_FEW = 1000


class Entries:
    """Keys with one lifetime each, in seconds. Expired ones are swept now and then, so that memory follows use."""

    def __init__(self, lifetime: float) -> None:
        self._lifetime = lifetime
        self._kept: dict[bytes, tuple[float, float]] = {}
        self._limit = _FEW

    def __len__(self) -> int:
        return len(self._kept)

    def live(self, key: bytes, now: float) -> bool:
        """Whether the entry can be read."""
        readable, until = self._kept.get(key, (0.0, 0.0))
        return readable <= now < until

    def keep(self, key: bytes, readable: float, now: float, *, renew: bool = True) -> None:
        """Keep an entry from now on; one that lives already is renewed, or left as it is."""
        before = self._kept.get(key)
        if before is not None and now < before[1]:
            if not renew:
                return
            readable = min(readable, before[0])
        self._kept[key] = (readable, now + self._lifetime)
        if len(self._kept) > self._limit:
            self._kept = {name: kept for name, kept in self._kept.items() if now < kept[1]}
            self._limit = max(_FEW, 2 * len(self._kept))

    def renew(self, key: bytes, now: float) -> None:
        """Let a living entry live on from now."""
        if self.live(key, now):
            self._kept[key] = (self._kept[key][0], now + self._lifetime)

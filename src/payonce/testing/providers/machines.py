"""Which machine of a host a request reaches, where a cache belongs to a machine: by key, until there is too much of it.

This room must never know what a machine keeps.
"""

from __future__ import annotations

from collections import deque

_MINUTE = 60.0
_MOST_KEYS = 10_000


class Machines:
    """Counts the requests of each key over the last minute; every `per_minute` of them fill one machine."""

    def __init__(self, per_minute: int | None) -> None:
        self._per_minute = per_minute
        self._recent: dict[str, deque[float]] = {}

    def of(self, key: str, now: float) -> str:
        """The name of the machine that serves this request."""
        if self._per_minute is None:
            return f"{key}\0000"
        if len(self._recent) > _MOST_KEYS:
            self._recent = {name: times for name, times in self._recent.items() if times[-1] > now - _MINUTE}
        times = self._recent.setdefault(key, deque())
        while times and times[0] <= now - _MINUTE:
            times.popleft()
        number = len(times) // self._per_minute
        times.append(now)
        return f"{key}\0{number}"

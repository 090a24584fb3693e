"""The epochs of a memory store: a table that is never changed, only replaced, so that readers need no lock.

This room must never know what a scope means, beyond that scopes of single keys are forgotten after two days.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from types import MappingProxyType

from payonce.model.ports import Clock
from payonce.model.scopes import KEY_SCOPE_SECONDS


class EpochBook:
    """Counts, and when each was last raised. Safe from any thread."""

    def __init__(self, clock: Clock) -> None:
        self.counts: Mapping[str, int] = MappingProxyType({})
        """Every epoch, by scope."""
        self._clock = clock
        self._lock = threading.Lock()
        self._raised_at: dict[str, float] = {}
        self._forgotten_keys = 0.0

    def raise_(self, least: Mapping[str, int]) -> Mapping[str, int]:
        """Count scopes up by one, or to what is given. Their counts."""
        with self._lock:
            now = self._clock()
            counts = {scope: max(self.counts.get(scope, 0) + 1, at_least) for scope, at_least in least.items()}
            self._raised_at.update(dict.fromkeys(counts, now))
            over = {name for name in self.counts if self._is_over(name, now)}
            self._forgotten_keys = max((self._raised_at[name] for name in over), default=self._forgotten_keys)
            kept = {name: n for name, n in self.counts.items() if name not in over}
            self.counts = MappingProxyType({**kept, **counts})
            self._raised_at = {name: self._raised_at[name] for name in self.counts}
            return counts

    def raised(self) -> Mapping[str, float]:
        """When each scope was last raised; under `key:` the latest of the single keys that were forgotten."""
        with self._lock:
            forgotten = {"key:": self._forgotten_keys} if self._forgotten_keys else {}
            return {**self._raised_at, **forgotten}

    def _is_over(self, scope: str, now: float) -> bool:
        return scope.startswith("key:") and now - self._raised_at[scope] > KEY_SCOPE_SECONDS

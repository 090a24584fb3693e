"""The epochs of a shared store as one process knows them: they never fall back, whatever a server forgets.

A server that failed over, was restarted empty or evicted its book may know less than we do; what it has lost is given
back to it. This room must never know an engine.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import suppress
from types import MappingProxyType

from payonce.errors import StoreError
from payonce.model.ports import Clock
from payonce.model.scopes import KEY_SCOPE_SECONDS
from payonce.stores.shared_medium import Medium

_KEY = "key:"


def merge(
    known: Mapping[str, int], found: Mapping[str, int], forget_before: int
) -> tuple[dict[str, int], dict[str, int]]:
    """What holds after a server has said `found`, and what it has to be told. Single keys count in milliseconds, so
    those before `forget_before` may be gone for good."""
    lost = {
        scope: count
        for scope, count in known.items()
        if found.get(scope, 0) < count and not (scope.startswith(_KEY) and count < forget_before)
    }
    return {**found, **lost}, lost


class EpochBook:
    """The counts, read from `medium` and merged with what was known."""

    def __init__(self, medium: Medium, clock: Clock) -> None:
        self._medium, self._clock = medium, clock
        self._lock = threading.Lock()
        self._known: Mapping[str, int] = MappingProxyType({})
        self._found: Mapping[str, int] | None = None

    def read(self, deadline: float) -> Mapping[str, int]:
        """Every epoch. Raises StoreError."""
        found = self._medium.epochs(deadline)
        with self._lock:
            if found is self._found:
                return self._known
            forget = int((self._clock() - KEY_SCOPE_SECONDS) * 1000)
            known, lost = merge(self._known, found, forget)
            self._known = MappingProxyType(known)
            if not lost:
                self._found = found
        if lost:
            with suppress(StoreError):
                self._medium.carry(lost, deadline)
        return self._known

    def raise_(self, least: Mapping[str, int], deadline: float) -> Mapping[str, int]:
        """Count scopes up, to what is given and past everything that is known of them. Their counts. Raises
        StoreError."""
        known = self._known
        past = {scope: max(n, known[scope] + 1 if known.get(scope) else 0) for scope, n in least.items()}
        counts = self._medium.raise_epochs(past, self._clock(), deadline)
        with self._lock:
            higher = {scope: max(count, self._known.get(scope, 0)) for scope, count in counts.items()}
            self._known = MappingProxyType({**self._known, **higher})
            self._found = None
        return counts

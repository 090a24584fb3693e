"""The epochs of a shared store as one process knows them: they never fall back, whatever a server forgets.

A server that failed over, was restarted empty or evicted its book may know less than we do; what it has lost is given
back to it. A purge that it was told of after it had lost another may count as that one did: where that may be, it
is given back as one purge more. This room must never know an engine.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import suppress
from types import MappingProxyType

from payonce.errors import StoreError
from payonce.model.ports import Clock
from payonce.model.scopes import ANSWERS, KEY_SCOPE_SECONDS
from payonce.stores.shared_medium import Epochs, Medium

_KEY = "key:"


def merge(known: Epochs, found: Epochs, forget_before: int, before: Epochs) -> tuple[Epochs, Epochs]:
    """What holds after a server has said `found`, and what it has to be told. Single keys count in milliseconds, so
    those before `forget_before` may be gone for good. `before` is what it has said the last time: where it says the
    same of a scope, or nothing, it was told of no purge since; else what is lost is counted as one purge more."""
    lost: dict[str, int] = {}
    times = dict(found.raised)
    for scope, count in known.counts.items():
        if _is_hidden(scope, known, found) and not (scope.startswith(_KEY) and count < forget_before):
            told = not scope.startswith(ANSWERS) and _said(scope, found) not in (_said(scope, before), _NOTHING)
            lost[scope] = count + told
            if scope in known.raised:
                times[scope] = max(known.raised[scope], found.raised.get(scope, 0.0))
    carried = {scope: times[scope] for scope in lost if scope in times}
    return Epochs({**found.counts, **lost}, times), Epochs(lost, carried)


_NOTHING = (0, None)


def _said(scope: str, epochs: Epochs) -> tuple[int, float | None]:
    return epochs.counts.get(scope, 0), epochs.raised.get(scope)


def _is_hidden(scope: str, known: Epochs, found: Epochs) -> bool:
    """Whether a purge of this scope may not show: the server counts less than it did, or as much, but by another purge.
    Single keys count by their time, and a model's name (`answers:`) by the model: there, as much is the same."""
    count, there = known.counts[scope], found.counts.get(scope, 0)
    if there != count or scope.startswith((ANSWERS, _KEY)):
        return there < count
    at, now = known.raised.get(scope), found.raised.get(scope)
    return at is not None and now is not None and at != now


class EpochBook:
    """The counts, read from `medium` and merged with what was known."""

    def __init__(self, medium: Medium, clock: Clock) -> None:
        self._medium, self._clock = medium, clock
        self._lock = threading.Lock()
        self._known = Epochs(MappingProxyType({}), {})
        self._found: Epochs | None = None
        self._said = Epochs({}, {})
        self._turn = 0

    def read(self, deadline: float) -> Mapping[str, int]:
        """Every epoch. Raises StoreError."""
        turn = self._turn
        found = self._medium.epochs(deadline)
        with self._lock:
            if found is self._found:
                return self._known.counts
            if turn != self._turn:  # what another thread has just raised would seem lost: the next read tells
                self._raise_to(found.counts)
                return self._known.counts
            lost = self._learn(found)
        if lost.counts:
            with suppress(StoreError):
                self._medium.carry(lost, deadline)
        return self._known.counts

    def _learn(self, found: Epochs) -> Epochs:
        """What has to be given back."""
        forget = int((self._clock() - KEY_SCOPE_SECONDS) * 1000)
        known, lost = merge(self._known, found, forget, self._said)
        self._known = Epochs(MappingProxyType(known.counts), known.raised)
        self._said = found
        self._found = None if lost.counts else found
        self._turn += 1
        return lost

    def raise_(self, least: Mapping[str, int], deadline: float) -> Mapping[str, int]:
        """Count scopes up, to what is given and past everything that is known of them. Their counts. Raises
        StoreError."""
        known = self._known.counts
        past = {scope: max(n, known[scope] + 1 if known.get(scope) else 0) for scope, n in least.items()}
        counts = self._medium.raise_epochs(past, self._clock(), deadline)
        with self._lock:
            self._raise_to(counts)
        return counts

    def _raise_to(self, counts: Mapping[str, int]) -> None:
        """These are known at least. What is raised by it has a time that the next read tells."""
        known = self._known
        higher = {scope: count for scope, count in counts.items() if count > known.counts.get(scope, 0)}
        times = {scope: at for scope, at in known.raised.items() if scope not in higher}
        self._known = Epochs(MappingProxyType({**known.counts, **higher}), times)
        self._found = None
        self._turn += 1

"""Where the promises of a store are tried: its opening, its clock, and what is put into it.

This room must never import pytest, nor know one store.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import closing, contextmanager

from payonce.model.ports import About, Store
from payonce.testing.clock import FakeClock


def slot_of(name: object) -> bytes:
    """A slot of 33 bytes for any name."""
    return hashlib.sha256(repr(name).encode()).digest() + b"w"


def check(condition: object, promise: str) -> None:
    """Fail with the promise that was broken: pytest does not rewrite an `assert` of an installed package."""
    if not condition:
        raise AssertionError(promise)


class StorePlace:
    """A new store for each promise, and what they all need."""

    clock: FakeClock

    def setup_method(self) -> None:
        """A new clock for each test."""
        self.clock = FakeClock()

    def open(self) -> Store:
        """A new, empty store that reads `self.clock`, with room for at least two million bytes."""
        raise NotImplementedError

    def shared(self, store: Store) -> Store | None:  # noqa: ARG002 - for stores that can
        """The same place as `store`, opened once more as another process would; None where that can't be."""
        return None

    def about(self, ttl: float = 3600.0, *, model: str = "some/model", tags: tuple[str, ...] = ()) -> About:
        """Words about an entry that is stored now."""
        now = self.clock()
        return About(now, now + ttl, "tenant", "space", "chat/completions", model, tags)

    @contextmanager
    def opened(self) -> Iterator[Store]:
        """A new store, closed at the end."""
        with closing(self.open()) as store:
            yield store

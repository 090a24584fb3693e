"""Stores that wait for a busy machine, as whoever asks what they do, not how fast, has to."""

from __future__ import annotations

import pytest

from payonce.stores import memcached_scan, redis_map, redis_scan, shared, shared_keeper, shared_leases
from payonce.stores.shared import SharedStore
from payonce.stores.sqlite import SqliteStore
from tests.support.gateway import PATIENCE

BOUNDS = (
    *((shared, "_POLL_SECONDS"), (shared, "_CALL_SECONDS"), (shared_keeper, "WRITE_SECONDS")),
    *((memcached_scan, "_CALL_SECONDS"), (redis_scan, "_LIST_SECONDS"), (redis_map, "LOOK_SECONDS")),
    (shared_leases, "_TURN_SECONDS"),
)
"""What a server has to be asked in: from a quarter of a second to two."""

CODE = """\
import functools
from payonce import clients
clients.Settings = functools.partial(clients.Settings, read_budget=20.0)
"""
"""What makes the library's clients as patient, in a program of a test's own."""


def wait_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shared stores that are opened from now on have ten seconds for each of these and for a read, and stores a minute
    for a flush."""
    usual = SharedStore.__init__

    def opened(store: SharedStore, *arguments: object, **options: object) -> None:
        usual(store, *arguments, **options)  # type: ignore[arg-type]
        store.pace(PATIENCE)

    monkeypatch.setattr(SharedStore, "__init__", opened)
    for room, name in BOUNDS:
        monkeypatch.setattr(room, name, PATIENCE)
    for store in (SharedStore, SqliteStore):
        monkeypatch.setattr(store.flush, "__defaults__", (6 * PATIENCE,))
